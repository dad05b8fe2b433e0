"""stayed_fixed: once fixed, did it stay fixed? Its complement is the repeat failure ratio (rule 14)."""

from __future__ import annotations

from cxstream.domain.evidence import Evidence
from cxstream.domain.policy import Policy
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
    needs_opening=False,
    lower_is_better="repeat_failure",
)
