"""time_to_restore: how long was the customer without, in all? (rule 25)."""

from __future__ import annotations

from cxstream.domain.evidence import Evidence
from cxstream.domain.gaming import OLDEST_OPEN_CASE, OPEN_CASES, Gaming, loophole, other_sign
from cxstream.domain.instant import DAY_MS, HOUR_MS, SECOND_MS
from cxstream.domain.policy import Policy
from cxstream.domain.reasons import Reason
from cxstream.domain.spans import restored_spans
from cxstream.domain.units import CASE
from cxstream.domain.verdict import Judgement
from cxstream.domain.vital_sign import Measure, VitalSign


def judge(evidence: Evidence, _case_id: str, _clock_ms: int, _policy: Policy) -> Judgement:
    """Measure the time from the opening to the first fix, and from each later fault reopen to its fix (rule 25)."""
    opened = evidence.opened
    if opened is None:
        return Judgement("pending", "not_opened")
    since_ms = min([span.start_ms for span in evidence.open_spans if span.end_ms is None], default=None)
    if not evidence.fix_claims:
        if evidence.cancellations:
            cancellation = evidence.cancellations[0]
            return Judgement("excluded", "cancelled", cancellation.at_ms, (cancellation.event_id,))
        return Judgement("pending", "not_fixed_yet", None, (opened.event_id,), since_ms=since_ms)
    fix = evidence.fix_claims[0]
    outages = restored_spans(evidence.open_spans, evidence.fix_claims)
    restored_ms = sum([end_ms - start_ms for start_ms, end_ms in outages])
    proof = (opened.event_id, fix.event_id)
    return Judgement("hit", "restored", fix.at_ms, proof, since_ms=since_ms, measured=restored_ms)


VITAL_SIGN = VitalSign(
    name="time_to_restore",
    title="Time to restore",
    question="How long will I be without it?",
    numerator="time from the opening to the first fix, plus the time from each later fault reopen to its fix",
    denominator="fixed cases",
    unit=CASE,
    judge=judge,
    topics=("ticket", "dispatch"),
    objective=None,
    measure=Measure(
        "seconds",
        (4 * HOUR_MS, 8 * HOUR_MS, DAY_MS, 3 * DAY_MS, 7 * DAY_MS),
        per_unit=SECOND_MS,
        quantiles=(0.5, 0.9),
    ),
    known="at the fix; a later outage adds to it until the seal",
    gaming=Gaming(
        "Resolve first and repair later, leave the hard cases open (only what is fixed is measured), or cancel them.",
        (OPEN_CASES, OLDEST_OPEN_CASE, loophole("resolved_after_not_fixed"), other_sign("stayed_fixed")),
    ),
    reasons={
        "not_fixed_yet": Reason("The fault is not fixed yet.", (25,), "a fix, or a cancellation (left out)"),
        "cancelled": Reason("The case was cancelled without a fix.", (25,), "a void of the cancellation, or a fix"),
        "restored": Reason(
            "The fault was fixed; each later outage that ended counts too.",
            (7, 25),
            "an earlier fix, another outage, or a correction or void of the opening, a fix or a reopening",
        ),
    },
)
