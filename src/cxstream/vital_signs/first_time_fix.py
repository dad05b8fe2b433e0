"""first_time_fix: did the first visit that tried fix the fault for good? (rule 12)."""

from __future__ import annotations

from cxstream.domain.evidence import Evidence
from cxstream.domain.policy import Policy
from cxstream.domain.units import CASE
from cxstream.domain.verdict import Judgement
from cxstream.domain.visits import attempt_state, first_attempt
from cxstream.domain.vital_sign import VitalSign


def judge(evidence: Evidence, _case_id: str, clock_ms: int, policy: Policy) -> Judgement:
    """Judge the first attempt and whether it held (rules 11, 12 and 13)."""
    attempt = first_attempt(evidence.visits.values(), policy)
    if attempt is None:
        if evidence.fix_claims:
            claim = evidence.fix_claims[0]
            return Judgement("excluded", "fixed_without_visit", claim.at_ms, (claim.event_id,))
        return _cancelled(evidence) or Judgement("pending", "no_attempt_yet")
    state = attempt_state(attempt, evidence.resolutions, clock_ms, policy)
    proof = tuple(fact.event_id for fact in state.evidence)
    second = attempt.later_arrivals[0] if attempt.later_arrivals else None
    if state.state == "failed":
        return Judgement("miss", "first_attempt_failed", state.end_ms, proof, state.wakes_ms)
    if state.state == "open":
        if second is not None:
            return Judgement("miss", "second_attempt", state.end_ms, (*proof, second.event_id), state.wakes_ms)
        open_or_cancelled = _cancelled(evidence) or Judgement("pending", "attempt_open", None, proof)
        return open_or_cancelled._replace(wakes_ms=state.wakes_ms)
    fixed_ms = state.fixed_ms
    until_ms = fixed_ms + policy.repeat_window_ms
    for reason, facts in (
        ("second_attempt", attempt.later_arrivals),
        ("reopened", evidence.fault_reopens),
        ("repeat_case", () if evidence.crowded else evidence.repeat_cases(fixed_ms, until_ms, policy)),
    ):
        for fact in facts:
            if fixed_ms < fact.at_ms <= until_ms:
                return Judgement("miss", reason, state.end_ms, (*proof, fact.event_id), state.wakes_ms)
    if evidence.crowded:
        return Judgement("excluded", "crowded_asset", fixed_ms, proof, state.wakes_ms)
    return Judgement("hit", "fixed_first_time", fixed_ms, proof, state.wakes_ms)


def _cancelled(evidence: Evidence) -> Judgement | None:
    if not evidence.cancellations:
        return None
    cancellation = evidence.cancellations[0]
    return Judgement("excluded", "cancelled", cancellation.at_ms, (cancellation.event_id,))


VITAL_SIGN = VitalSign(
    name="first_time_fix",
    title="Fixed first time",
    question="I can't get it fixed",
    numerator="cases whose first on-site attempt fixed the fault, and it held for the repeat window",
    denominator="cases with an on-site attempt",
    unit=CASE,
    judge=judge,
    topics=("ticket", "dispatch"),
    objective=0.75,
    known="miss at the end of the first attempt; hit provisional at the fix, final at the seal",
    needs_opening=False,
)
