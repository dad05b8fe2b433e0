"""same_day: was it fixed on the day it was reported? (rule 18)."""

from __future__ import annotations

from cxstream.domain.evidence import Evidence
from cxstream.domain.facts import Fact
from cxstream.domain.gaming import Gaming, excluded, loophole, other_sign
from cxstream.domain.instant import local_midnight_after
from cxstream.domain.policy import Policy
from cxstream.domain.reasons import Reason
from cxstream.domain.units import CASE
from cxstream.domain.verdict import Judgement
from cxstream.domain.vital_sign import VitalSign


def judge(evidence: Evidence, _case_id: str, clock_ms: int, policy: Policy) -> Judgement:
    """Judge whether the fix that counts came before midnight of the local day of opening (rule 18)."""
    opened = evidence.opened
    if opened is None:
        return Judgement("pending", "not_opened")
    midnight_ms = local_midnight_after(opened.at_ms, str(opened.text("tz")))
    fix = _fix_that_counts(evidence, policy)
    if fix is not None:
        proof = (opened.event_id, fix.event_id)
        if fix.at_ms < midnight_ms:
            return Judgement("hit", "fixed_same_day", fix.at_ms, proof)
        if clock_ms >= midnight_ms:
            return Judgement("miss", "fixed_later", midnight_ms, proof)
    for cancellation in evidence.cancellations[:1]:
        if cancellation.at_ms < midnight_ms and fix is None:
            return Judgement("excluded", "cancelled", cancellation.at_ms, (cancellation.event_id,))
    if clock_ms >= midnight_ms:
        unheard = ("ticket", "dispatch")
        return Judgement("miss", "not_fixed_by_midnight", midnight_ms, (opened.event_id,), silent_topics=unheard)
    return Judgement("pending", "not_fixed_yet", None, (opened.event_id,), midnight_ms)


def _fix_that_counts(evidence: Evidence, policy: Policy) -> Fact | None:
    """Return the first claim after the last fault reopen that is not later than the first fix + R."""
    claims = evidence.fix_claims
    if not claims:
        return None
    until_ms = claims[0].at_ms + policy.repeat_window_ms
    reopened_ms = [fact.at_ms for fact in evidence.fault_reopens if fact.at_ms <= until_ms]
    return next((claim for claim in claims if not reopened_ms or claim.at_ms > reopened_ms[-1]), None)


VITAL_SIGN = VitalSign(
    name="same_day",
    title="Fixed the same day",
    question="Can you fix it today?",
    numerator="cases fixed, and not reopened, on the local calendar day of their opening",
    denominator="cases opened",
    unit=CASE,
    judge=judge,
    topics=("ticket", "dispatch"),
    objective=0.5,
    known="at the fix or at local midnight; final at the seal",
    gaming=Gaming(
        "Resolve before midnight what is not fixed, cancel before it, or open the case on the next morning.",
        (
            loophole("resolved_after_not_fixed"),
            excluded("cancelled"),
            other_sign("stayed_fixed"),
            other_sign("easy_to_open"),
        ),
    ),
    reasons={
        "fixed_same_day": Reason(
            "The fault was fixed, and stayed so, on the local day it was reported.",
            (7, 18),
            "a reopening for the fault within {repeat_window} of the first fix (bad unless fixed again before"
            " midnight), or a correction or void of the fix",
        ),
        "fixed_later": Reason(
            "The fault was fixed for good only after the local day it was reported.",
            (7, 18),
            "a fix on that day, told late; a void of the reopening; or a correction of the opening, its time"
            " zone or the fix",
            counted_at="the end of that day",
        ),
        "not_fixed_by_midnight": Reason(
            "The local day on which the fault was reported passed without a lasting fix.",
            (6, 18),
            "a fix on that day, told late; a void of the reopening; or a correction of the opening or its time zone",
            counted_at="the end of that day",
        ),
        "not_fixed_yet": Reason(
            "The fault is not fixed yet, and the local day it was reported on has not passed.",
            (18,),
            "a fix before local midnight (good), midnight without one (bad), or a cancellation before it (left out)",
        ),
        "cancelled": Reason(
            "The case was cancelled on the local day it was reported, without a fix.",
            (18,),
            "a void of the cancellation, or a fix on that day, told late",
        ),
    },
)
