"""stayed_fixed: once fixed, did it stay fixed? Its complement is the repeat failure ratio (rule 14)."""

from __future__ import annotations

from cxstream.domain.evidence import Evidence
from cxstream.domain.gaming import LATE, Gaming, excluded, loophole
from cxstream.domain.policy import Policy
from cxstream.domain.reasons import Reason
from cxstream.domain.units import CASE
from cxstream.domain.verdict import Judgement
from cxstream.domain.vital_sign import VitalSign


def judge(evidence: Evidence, _case_id: str, _clock_ms: int, policy: Policy) -> Judgement:
    """Judge whether the fault came back within the repeat window after the fix (rules 13 and 14)."""
    if not evidence.fix_claims:
        if evidence.cancellations:
            cancellation = evidence.cancellations[0]
            return Judgement("excluded", "cancelled", cancellation.at_ms, (cancellation.event_id,))
        return Judgement("pending", "not_fixed_yet")
    fix = evidence.fix_claims[0]
    if evidence.asset(policy) is None:
        return Judgement("excluded", "asset_unknown", fix.at_ms, (fix.event_id,))
    until_ms = fix.at_ms + policy.repeat_window_ms
    for reopen in evidence.fault_reopens:
        if fix.at_ms < reopen.at_ms <= until_ms:
            return Judgement("miss", "reopened", fix.at_ms, (fix.event_id, reopen.event_id))
    if evidence.crowded:
        return Judgement("excluded", "crowded_asset", fix.at_ms, (fix.event_id,))
    for repeat in evidence.repeat_cases(fix.at_ms, until_ms, policy):
        return Judgement("miss", "repeat_case", fix.at_ms, (fix.event_id, repeat.event_id))
    return Judgement("hit", "stayed_fixed", fix.at_ms, (fix.event_id,))


VITAL_SIGN = VitalSign(
    name="stayed_fixed",
    title="Stayed fixed",
    question="I don't want it to happen again",
    numerator="fixed cases with neither a fault reopen nor a repeat case within the repeat window",
    denominator="fixed cases whose asset is known",
    unit=CASE,
    judge=judge,
    topics=("ticket", "dispatch"),
    objective=0.9,
    known="provisional at the fix, final at the seal",
    gaming=Gaming(
        "Leave the asset out, open the repeat on another one, cancel it as created in error, or reopen for an "
        "administrative reason. The last shows nowhere.",
        (excluded("asset_unknown"), excluded("crowded_asset"), loophole("created_in_error"), LATE),
    ),
    needs_opening=False,
    lower_is_better="repeat_failure",
    reasons={
        "cancelled": Reason("The case was cancelled without a fix.", (14,), "a void of the cancellation, or a fix"),
        "not_fixed_yet": Reason("The fault is not fixed yet.", (14,), "a fix, or a cancellation (left out)"),
        "asset_unknown": Reason(
            "The case does not say which equipment failed, so another failure of it could not be noticed.",
            (8, 14),
            "a correction that names the equipment",
        ),
        "reopened": Reason(
            "The fault came back: the case was reopened for it within {repeat_window} of the fix.",
            (7, 14),
            "a correction or void of the reopening or of the fix",
        ),
        "crowded_asset": Reason(
            "More than {crowded_asset_cases} cases name the same equipment, or they say too much to be compared, so"
            " whether one of them is this fault again cannot be told.",
            (13,),
            "a reopening for the fault (bad)",
            in_repeat_window=True,
        ),
        "repeat_case": Reason(
            "The fault came back: another case for it or for the same equipment was opened within {repeat_window}"
            " of the fix.",
            (13, 14),
            "a cancellation, correction or void of the other case, or a correction of the fix",
        ),
        "stayed_fixed": Reason(
            "The fault was fixed, and so far nothing shows that it came back.",
            (13, 14),
            "a reopening for the fault or a new case of the same equipment (both bad); or a correction or void of"
            " the fix",
            in_repeat_window=True,
        ),
    },
)
