"""first_time_fix: did the first visit that tried fix the fault for good? (rule 12)."""

from __future__ import annotations

import msgspec

from cxstream.domain.evidence import Evidence
from cxstream.domain.gaming import LATE, Gaming, excluded, loophole, other_sign
from cxstream.domain.policy import Policy
from cxstream.domain.reasons import Reason
from cxstream.domain.units import CASE
from cxstream.domain.verdict import Judgement
from cxstream.domain.visits import attempt_state
from cxstream.domain.vital_sign import VitalSign


def judge(evidence: Evidence, _case_id: str, clock_ms: int, policy: Policy) -> Judgement:
    """Judge the first attempt and whether it held (rules 11, 12 and 13)."""
    attempt = evidence.first_attempt(policy)
    if attempt is None:
        if evidence.fix_claims:
            claim = evidence.fix_claims[0]
            return Judgement("excluded", "fixed_without_visit", claim.at_ms, (claim.event_id,))
        return _cancelled(evidence) or Judgement("pending", "no_attempt_yet")
    state = attempt_state(attempt, evidence.resolutions, clock_ms, policy)
    proof = tuple([fact.event_id for fact in state.evidence])
    second = attempt.later_arrivals[0] if attempt.later_arrivals else None
    if state.state == "failed":
        return Judgement("miss", "first_attempt_failed", state.end_ms, proof, state.wakes_ms)
    if state.state == "open":
        if second is not None:
            return Judgement("miss", "second_attempt", state.end_ms, (*proof, second.event_id), state.wakes_ms)
        open_or_cancelled = _cancelled(evidence) or Judgement("pending", "attempt_open", None, proof)
        return msgspec.structs.replace(open_or_cancelled, wakes_ms=state.wakes_ms)
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
    gaming=Gaming(
        "Resolve from the desk what the technician did not fix, call the second attempt a continuation of the "
        "first, report no access so that a visit is no attempt, or cancel the case.",
        (
            loophole("resolved_after_not_fixed"),
            loophole("continued_failed_visit"),
            excluded("fixed_without_visit"),
            excluded("cancelled"),
            other_sign("visit_productive"),
            LATE,
        ),
    ),
    needs_opening=False,
    reasons={
        "fixed_without_visit": Reason(
            "The fault was fixed without a repair visit, so there was no first visit to judge.",
            (12,),
            "a repair visit that took place, told late or still to come",
        ),
        "no_attempt_yet": Reason(
            "No repair visit has taken place yet.",
            (11, 12),
            "a repair visit, or a fix or a cancellation without one (both left out)",
        ),
        "cancelled": Reason(
            "The case was cancelled, and no repair visit had shown by then whether it fixed the fault.",
            (12,),
            "a void of the cancellation, or the outcome of a repair visit, told late",
        ),
        "first_attempt_failed": Reason(
            "The first repair visit ended without fixing the fault.",
            (11, 12),
            "a corrected outcome of that visit, or an earlier visit or one of the same crew that fixed it, told late",
            counted_at="the end of the first repair visit",
        ),
        "attempt_open": Reason(
            "The first repair visit has begun; whether it fixed the fault has not been reported.",
            (11, 12),
            "the outcome of the visit (good if fixed, else bad), a second repair visit (bad), or a cancellation"
            " (left out)",
        ),
        "second_attempt": Reason(
            "Somebody had to come to repair the fault a second time.",
            (11, 12),
            "a correction or void of the second visit, or of when the first one ended",
            counted_at="the end of the first repair visit",
        ),
        "reopened": Reason(
            "The first repair visit fixed the fault, but the case was reopened for the same fault within"
            " {repeat_window}.",
            (7, 12),
            "a correction or void of the reopening or of the fix",
            counted_at="the end of the first repair visit",
        ),
        "repeat_case": Reason(
            "The first repair visit fixed the fault, but it came back: another case for it or for the same"
            " equipment was opened within {repeat_window}.",
            (12, 13),
            "a cancellation, correction or void of the other case, or a correction of the fix",
            counted_at="the end of the first repair visit",
        ),
        "crowded_asset": Reason(
            "More than {crowded_asset_cases} cases name the same equipment, or they say too much to be compared, so"
            " whether one of them is this fault again cannot be told.",
            (13,),
            "a second repair visit or a reopening for the fault (both bad)",
            in_repeat_window=True,
        ),
        "fixed_first_time": Reason(
            "The first repair visit fixed the fault, and so far nothing shows that the repair did not hold.",
            (11, 12),
            "a second repair visit, a reopening for the fault, or a new case of the same equipment (each bad); or a"
            " correction or void of the fix",
            in_repeat_window=True,
        ),
    },
)
