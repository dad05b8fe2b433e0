"""reopened: was the answer accurate and complete? Its complement is the reopening ratio (definition B4).

Unit: case, sealed as the case. Out of: fixed cases, of whatever asset. Bad: a fault reopen in (fix, fix + R]. Good:
none. Both counted at the fix, the earliest claim. No fix: excluded if cancelled, else pending.
"""

from __future__ import annotations

from cxstream.domain.evidence import Evidence
from cxstream.domain.gaming import LATE, Gaming, other_sign
from cxstream.domain.policy import Policy
from cxstream.domain.reasons import Reason
from cxstream.domain.units import CASE
from cxstream.domain.verdict import Judgement
from cxstream.domain.vital_sign import VitalSign


def judge(evidence: Evidence, _case_id: str, _clock_ms: int, policy: Policy) -> Judgement:
    """Judge whether a fixed case was reopened for the fault within the repeat window (definition B4)."""
    if not evidence.fix_claims:
        for cancellation in evidence.cancellations[:1]:
            return Judgement("excluded", "cancelled", cancellation.at_ms, (cancellation.event_id,))
        return Judgement("pending", "not_fixed_yet")
    fix = evidence.fix_claims[0]
    for reopen in evidence.fault_reopens:
        if fix.at_ms < reopen.at_ms <= fix.at_ms + policy.repeat_window_ms:
            return Judgement("miss", "reopened", fix.at_ms, (fix.event_id, reopen.event_id))
    return Judgement("hit", "not_reopened", fix.at_ms, (fix.event_id,))


VITAL_SIGN = VitalSign(
    name="reopened",
    title="Not reopened",
    question="You closed it, but is it fixed?",
    numerator="fixed cases not reopened for the fault within the repeat window",
    denominator="fixed cases",
    unit=CASE,
    judge=judge,
    topics=("ticket", "dispatch"),
    objective=0.9,
    known="provisional at the fix, final at the seal",
    gaming=Gaming(
        "Open a new case for the same fault, or reopen for an administrative reason. The latter shows nowhere.",
        (other_sign("stayed_fixed"), LATE),
    ),
    lower_is_better="reopening",
    tier="B",
    reasons={
        "cancelled": Reason("The case was cancelled without a fix.", (), "a void of the cancellation, or a fix"),
        "not_fixed_yet": Reason("The fault is not fixed yet.", (7,), "a fix, or a cancellation (left out)"),
        "reopened": Reason(
            "The case was reopened for the fault within {repeat_window} of the fix.",
            (7,),
            "a correction or void of the reopening or of the fix",
        ),
        "not_reopened": Reason(
            "The fault was fixed, and the case was not reopened for it so far.",
            (7,),
            "a reopening for the fault (bad); or a correction or void of the fix",
        ),
    },
)
