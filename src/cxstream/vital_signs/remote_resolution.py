"""remote_resolution: was it taken care of without a visit? (definition B5).

Unit: case, sealed as the case. Out of: fixed cases. Good: no attempt (rule 11) at any time. Bad: an attempt, before
the fix or after it. Both counted at the fix, the earliest claim. What the desk says in `remote` does not matter:
visits prove themselves. No fix: excluded if cancelled, else pending.
"""

from __future__ import annotations

from cxstream.domain.evidence import Evidence
from cxstream.domain.gaming import Gaming, other_sign
from cxstream.domain.policy import Policy
from cxstream.domain.reasons import Reason
from cxstream.domain.units import CASE
from cxstream.domain.verdict import Judgement
from cxstream.domain.visits import first_attempt
from cxstream.domain.vital_sign import VitalSign


def judge(evidence: Evidence, _case_id: str, _clock_ms: int, policy: Policy) -> Judgement:
    """Judge whether a case was fixed without an on-site attempt (definition B5)."""
    if not evidence.fix_claims:
        for cancellation in evidence.cancellations[:1]:
            return Judgement("excluded", "cancelled", cancellation.at_ms, (cancellation.event_id,))
        return Judgement("pending", "not_fixed_yet")
    fix = evidence.fix_claims[0]
    attempt = first_attempt(evidence.visits.values(), policy)
    if attempt is not None:
        arrivals = tuple(visit.arrival.event_id for visit in attempt.visits[:1] if visit.arrival is not None)
        return Judgement("miss", "visited", fix.at_ms, (*arrivals, fix.event_id))
    return Judgement("hit", "fixed_remotely", fix.at_ms, (fix.event_id,))


VITAL_SIGN = VitalSign(
    name="remote_resolution",
    title="Fixed without a visit",
    question="Can you fix it from where you are?",
    numerator="fixed cases without an on-site attempt",
    denominator="fixed cases",
    unit=CASE,
    judge=judge,
    topics=("ticket", "dispatch"),
    objective=0.3,
    known="provisional at the fix, final at the seal",
    gaming=Gaming(
        "Resolve from the desk what is not fixed, and send somebody under a new case.",
        (other_sign("stayed_fixed"), other_sign("reopened")),
    ),
    tier="B",
    reasons={
        "cancelled": Reason("The case was cancelled without a fix.", (), "a void of the cancellation, or a fix"),
        "not_fixed_yet": Reason("The fault is not fixed yet.", (7,), "a fix, or a cancellation (left out)"),
        "visited": Reason(
            "The fault was fixed, and somebody had come for it.",
            (7, 11),
            "a correction or void of the visit or of the fix",
        ),
        "fixed_remotely": Reason(
            "The fault was fixed without a visit.",
            (7, 11),
            "a visit before the fix, told late (bad); or a correction or void of the fix",
        ),
    },
)
