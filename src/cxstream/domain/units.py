"""The units a sign judges and when each is sealed (rule 4; openings and lines: section 9 of docs/rules.md)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from cxstream.domain.evidence import Evidence
from cxstream.domain.instant import NEVER_MS
from cxstream.domain.lines import required_of, visit_of
from cxstream.domain.policy import Policy
from cxstream.domain.visits import attempt_state

Seal = Callable[[Evidence, str, Policy], int]
"""Gives the seal of a unit, in milliseconds, from evidence alone: without a clock it is always the same."""


class Unit(NamedTuple):
    """What a sign is judged on: a kind of unit, whether facts of other cases count for it, and its seal."""

    kind: Literal["case", "visit", "commitment", "line"]
    relayed: bool
    seal: Seal
    learned_moves_seal: bool = False
    """Whether what is merely known of other cases moves it, as it moves no seal of rule 4 (rule 9)."""


def case_seal(evidence: Evidence, _unit_id: str, policy: Policy) -> int:
    """Seal of the case signs: the fix and its repeat window, else cancellation or merge, else abandonment (rule 4)."""
    return _case_seal(evidence, policy, merges=True)


def case_seal_merges_apart(evidence: Evidence, _unit_id: str, policy: Policy) -> int:
    """Seal "as the case, merges apart": what a unit without a limit of its own waits for (rule 4)."""
    return _case_seal(evidence, policy, merges=False)


def visit_seal(evidence: Evidence, unit_id: str, policy: Policy) -> int:
    """Seal of the visit signs: the last limit the visit gave us, plus the late horizon (rule 4)."""
    visit = evidence.visits.get(unit_id)
    if visit is None:
        return case_seal_merges_apart(evidence, unit_id, policy)
    limits_ms = [fact.at_ms for fact in (*visit.arrivals[-1:], *visit.completions[-1:])]
    for window in visit.windows[-1:]:
        end_ms = window.instant_ms("window_end")
        limits_ms += [] if end_ms is None else [end_ms + policy.late_grace_ms]
    if not limits_ms:
        limits_ms = [fact.at_ms for fact in visit.changes if fact.type == "cancelled"]
    if not limits_ms:
        return case_seal_merges_apart(evidence, unit_id, policy)
    return max(limits_ms) + policy.late_horizon_ms


def _case_seal(evidence: Evidence, policy: Policy, *, merges: bool) -> int:
    if evidence.last_delivery_ms is None:
        return NEVER_MS
    claims = evidence.fix_claims
    if claims:
        fixed_ms = claims[0].at_ms
        attempt = evidence.first_attempt(policy)
        if attempt is not None:
            state = attempt_state(attempt, evidence.resolutions, NEVER_MS, policy)
            if state.state == "fixed":
                fixed_ms = max(fixed_ms, state.fixed_ms)
        return fixed_ms + policy.repeat_window_ms + policy.late_horizon_ms
    ends = evidence.cancellations[:1] + (evidence.merges[:1] if merges else [])
    if ends:
        return min(fact.at_ms for fact in ends) + policy.late_horizon_ms
    return evidence.last_delivery_ms + policy.abandonment_ms


def commitment_seal(evidence: Evidence, unit_id: str, policy: Policy) -> int:
    """Seal of a commitment: the due time in force plus the late horizon (rule 4)."""
    promised = evidence.commitment(unit_id)
    if promised is None or promised.due_ms is None:
        return case_seal_merges_apart(evidence, unit_id, policy)
    return promised.due_ms + policy.late_horizon_ms


def first_response_seal(evidence: Evidence, unit_id: str, policy: Policy) -> int:
    """Seal of first_response: when the answer was due, plus the late horizon (rule 4)."""
    opened = evidence.opened
    if opened is None:
        return case_seal_merges_apart(evidence, unit_id, policy)
    return opened.at_ms + policy.first_response_ms[str(opened.text("priority"))] + policy.late_horizon_ms


def explanation_seal(evidence: Evidence, unit_id: str, policy: Policy) -> int:
    """Seal of explained: when the explanation was due, plus the late horizon (rule 4)."""
    opened = evidence.opened
    if opened is None:
        return case_seal_merges_apart(evidence, unit_id, policy)
    return opened.at_ms + policy.explanation_ms + policy.late_horizon_ms


def opening_seal(evidence: Evidence, unit_id: str, policy: Policy) -> int:
    """Seal of what the opening alone decides: the opening plus the late horizon (section 9)."""
    opened = evidence.opened
    if opened is None:
        return case_seal_merges_apart(evidence, unit_id, policy)
    return opened.at_ms + policy.late_horizon_ms


def line_seal(evidence: Evidence, unit_id: str, policy: Policy) -> int:
    """Seal of a part line: that of the visit it was for, once that was attended (section 9)."""
    required = required_of(evidence, unit_id)
    visit = visit_of(evidence, required, policy) if required else None
    if visit is None or not visit.attended:
        return case_seal_merges_apart(evidence, unit_id, policy)
    return visit_seal(evidence, visit.visit_id, policy)


CASE = Unit("case", relayed=True, seal=case_seal)
VISIT = Unit("visit", relayed=False, seal=visit_seal)
COMMITMENT = Unit("commitment", relayed=False, seal=commitment_seal)
FIRST_RESPONSE = Unit("case", relayed=False, seal=first_response_seal)
EXPLANATION = Unit("case", relayed=False, seal=explanation_seal)
OPENING = Unit("case", relayed=False, seal=opening_seal)
LINE = Unit("line", relayed=False, seal=line_seal)
