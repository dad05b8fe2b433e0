"""extended_value: did the customer get more than the repair? (definition C4).

Unit: case, sealed as the case. Out of: fixed cases. Good: a `value_added`, on the ticket or on a visit, at or before
the fix + R, counted there. Bad: none, once the clock is past the fix + R, counted there; until then pending. No fix:
excluded if cancelled, else pending.
"""

from __future__ import annotations

from cxstream.domain.evidence import Evidence
from cxstream.domain.gaming import Gaming
from cxstream.domain.policy import Policy
from cxstream.domain.reasons import Reason
from cxstream.domain.units import CASE
from cxstream.domain.verdict import Judgement
from cxstream.domain.vital_sign import VitalSign


def judge(evidence: Evidence, _case_id: str, clock_ms: int, policy: Policy) -> Judgement:
    """Judge whether value was added to a fixed case within the repeat window (definition C4)."""
    if not evidence.fix_claims:
        for cancellation in evidence.cancellations[:1]:
            return Judgement("excluded", "cancelled", cancellation.at_ms, (cancellation.event_id,))
        return Judgement("pending", "not_fixed_yet")
    fix = evidence.fix_claims[0]
    until_ms = fix.at_ms + policy.repeat_window_ms
    for added in evidence.values_added[:1]:
        if added.at_ms <= until_ms:
            return Judgement("hit", "value_added", added.at_ms, (fix.event_id, added.event_id))
    if clock_ms > until_ms:
        return Judgement("miss", "nothing_added", until_ms, (fix.event_id,), silent_topics=("ticket", "dispatch"))
    return Judgement("pending", "awaited", None, (fix.event_id,), until_ms + 1)


VITAL_SIGN = VitalSign(
    name="extended_value",
    title="More than the repair",
    question="Can you make it better than it was?",
    numerator="fixed cases with something of value added by 30 days after the fix",
    denominator="fixed cases",
    unit=CASE,
    judge=judge,
    topics=("ticket", "dispatch"),
    objective=0.1,
    known="at the added value or 30 days after the fix; final at the seal",
    gaming=Gaming(
        "Report small courtesies as value added: what it was worth is not judged.",
    ),
    tier="C",
    reasons={
        "cancelled": Reason("The case was cancelled without a fix.", (), "a void of the cancellation, or a fix"),
        "not_fixed_yet": Reason("The fault is not fixed yet.", (7,), "a fix, or a cancellation (left out)"),
        "value_added": Reason(
            "Something of value was added beyond the repair.", (7,), "a void of it, or a correction of the fix"
        ),
        "nothing_added": Reason(
            "Nothing of value was added within {repeat_window} of the fix.",
            (7,),
            "something of value added in time, told late",
        ),
        "awaited": Reason(
            "The fault was fixed, and something of value can still be added.", (7,), "something of value added"
        ),
    },
)
