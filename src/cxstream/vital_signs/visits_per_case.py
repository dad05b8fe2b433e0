"""visits_per_case: how often did somebody have to come? (definition B9).

Unit: case, sealed as the case. Out of: fixed cases, those fixed without a visit too. Measured: the attempts (rule 11)
that began by the last fix claim, so that a reopening adds those it took; counted at the fix. No fix: excluded if
cancelled, else pending.
"""

from __future__ import annotations

from cxstream.domain.evidence import Evidence
from cxstream.domain.gaming import Gaming, loophole, other_sign
from cxstream.domain.policy import Policy
from cxstream.domain.reasons import Reason
from cxstream.domain.units import CASE
from cxstream.domain.verdict import Judgement
from cxstream.domain.vital_sign import Measure, VitalSign


def judge(evidence: Evidence, _case_id: str, _clock_ms: int, policy: Policy) -> Judgement:
    """Measure how many attempts it took until the fault was fixed (definition B9, by rules 7 and 11)."""
    if not evidence.fix_claims:
        for cancellation in evidence.cancellations[:1]:
            return Judgement("excluded", "cancelled", cancellation.at_ms, (cancellation.event_id,))
        return Judgement("pending", "not_fixed_yet")
    first, last = evidence.fix_claims[0], evidence.fix_claims[-1]
    attempt = evidence.first_attempt(policy)
    arrivals = (attempt.visits[0].arrival, *attempt.later_arrivals) if attempt else ()
    came = [arrival.event_id for arrival in arrivals if arrival is not None and arrival.at_ms <= last.at_ms]
    return Judgement("hit", "fixed", first.at_ms, (*came, first.event_id), measured=len(came))


VITAL_SIGN = VitalSign(
    name="visits_per_case",
    title="Visits until the fix",
    question="How often must you come?",
    numerator="attended attempts that began by the last fix of the case",
    denominator="fixed cases, those fixed without a visit included",
    unit=CASE,
    judge=judge,
    topics=("ticket", "dispatch"),
    objective=None,
    measure=Measure("visits", (0, 1, 2, 3, 5)),
    known="at the fix; a later fix adds the attempts it took until the seal",
    gaming=Gaming(
        "Call the second attempt a continuation of the first, report no access so that it is none, or resolve from the "
        "desk and send the next one under a new case.",
        (
            loophole("continued_failed_visit"),
            loophole("resolved_after_not_fixed"),
            other_sign("visit_productive"),
            other_sign("stayed_fixed"),
        ),
    ),
    tier="B",
    reasons={
        "cancelled": Reason("The case was cancelled without a fix.", (), "a void of the cancellation, or a fix"),
        "not_fixed_yet": Reason("The fault is not fixed yet.", (7,), "a fix, or a cancellation (left out)"),
        "fixed": Reason(
            "The fault was fixed; measured is how many attempts it took.",
            (7, 11),
            "a further fix, or a correction or void of a visit or of the fix",
        ),
    },
)
