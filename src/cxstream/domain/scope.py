"""Scope: which units count at all (rule 23)."""

from __future__ import annotations

from collections.abc import Collection

from cxstream.domain.evidence import Evidence
from cxstream.domain.policy import Policy
from cxstream.domain.reasons import Reason
from cxstream.domain.units import Unit
from cxstream.domain.verdict import Judgement


def out_of_scope(
    evidence: Evidence, unit: Unit, *, needs_opening: bool, kinds: Collection[str] = ("break_fix",)
) -> Judgement | None:
    """Return why a unit is not judged, None if it is (rule 23).

    Cases that never existed are excluded everywhere; merged cases and cases of another kind than `kinds` from case
    signs; a case sign without an opening waits for it.
    """
    mistake = evidence.never_existed
    if mistake is not None:
        return Judgement("excluded", str(mistake.text("reason")), mistake.at_ms, (mistake.event_id,))
    if unit.kind != "case":
        return None
    if evidence.merges:
        merge = evidence.merges[0]
        return Judgement("excluded", "merged", merge.at_ms, (merge.event_id,))
    opened = evidence.opened
    if opened is None:
        return Judgement("pending", "not_opened") if needs_opening else None
    if evidence.kind not in kinds:
        return Judgement("excluded", str(evidence.kind), opened.at_ms, (opened.event_id,))
    return None


def before_start(evidence: Evidence, policy: Policy) -> Judgement | None:
    """Return that a case began before events reached us, None if it did not: what we do not know of it is no miss.

    A case without an opening counts as such for as long as one lasts that nobody ends; its opening may still come.
    """
    if not policy.history_since_ms:
        return None
    opened = evidence.opened
    first = opened or (evidence.facts[0] if evidence.facts else None)
    if first is None:
        return None
    known_ms = policy.history_since_ms + (0 if opened else policy.abandonment_ms)
    if first.at_ms >= known_ms:
        return None
    return Judgement("excluded", "before_start", first.at_ms, (first.event_id,))


_UNDONE = "a void of that cancellation, or a correction of its reason"
_KIND = "a correction of the kind of case on its opening"
REASONS = {
    "duplicate": Reason("The case was cancelled as a duplicate: it does not count at all.", (23,), _UNDONE),
    "test": Reason("The case was cancelled as a test: it does not count at all.", (23,), _UNDONE),
    "created_in_error": Reason("The case was cancelled as created in error: it does not count at all.", (23,), _UNDONE),
    "merged": Reason(
        "The case was merged into another one, and the customer's experience is judged there.",
        (9, 23),
        "a void of the merge",
    ),
    "not_opened": Reason(
        "The opening of the case has not reached us, so it cannot be judged yet.", (23,), "the opening reaching us"
    ),
    "preventive": Reason("The case is planned maintenance, not a fault a customer reported.", (23,), _KIND),
    "before_start": Reason(
        "The case began before its events reached us, so what happened in it is known in part.",
        (23,),
        "an opening, or a correction of it, that says it began later",
    ),
    "alert": Reason("The case comes from an alert, not from a fault a customer reported.", (23,), _KIND),
}
"""Why a unit is out of scope, in plain words."""
