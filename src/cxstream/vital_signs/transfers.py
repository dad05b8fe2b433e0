"""transfers: did the case stay in the same hands? Its complement is the ping-pong ratio (definition B3).

Unit: case, sealed as the case. Out of: cases fixed, and cases reassigned too often. Bad: more than
`policy.most_transfers` (2) `transferred`, counted at the first too many. Good: fixed with no more, counted at the
fix. With no more: pending while the case is open, excluded if cancelled without a fix.
"""

from __future__ import annotations

from cxstream.domain.evidence import Evidence
from cxstream.domain.gaming import PENDING, Gaming, other_sign
from cxstream.domain.policy import Policy
from cxstream.domain.reasons import Reason
from cxstream.domain.units import CASE
from cxstream.domain.verdict import Judgement
from cxstream.domain.vital_sign import VitalSign


def judge(evidence: Evidence, _case_id: str, _clock_ms: int, policy: Policy) -> Judgement:
    """Judge how often a case was reassigned (definition B3)."""
    opened = evidence.opened
    if opened is None:
        return Judgement("pending", "not_opened")
    reassigned = evidence.of("ticket", "transferred")
    proof = (opened.event_id, *(fact.event_id for fact in reassigned[: policy.most_transfers + 1]))
    if len(reassigned) > policy.most_transfers:
        return Judgement("miss", "passed_around", reassigned[policy.most_transfers].at_ms, proof)
    if evidence.is_open:
        return Judgement("pending", "open", None, proof)
    if evidence.fix_claims:
        fix = evidence.fix_claims[0]
        return Judgement("hit", "few_transfers", fix.at_ms, (*proof, fix.event_id))
    cancellation = evidence.cancellations[0]
    return Judgement("excluded", "cancelled", cancellation.at_ms, (cancellation.event_id,))


VITAL_SIGN = VitalSign(
    name="transfers",
    title="Not passed around",
    question="Who looks after my case now?",
    numerator="fixed cases reassigned at most twice",
    denominator="cases fixed, or reassigned more than twice",
    unit=CASE,
    judge=judge,
    topics=("ticket", "dispatch"),
    objective=0.9,
    known="miss at the third reassignment; hit at the fix, final at the seal",
    gaming=Gaming(
        "Pass the case on without saying so, or before it is opened. The former shows nowhere.",
        (PENDING, other_sign("easy_to_open")),
    ),
    lower_is_better="ping_pong",
    tier="B",
    reasons={
        "passed_around": Reason(
            "The case was reassigned more than {most_transfers} times.", (), "a void of a transfer"
        ),
        "open": Reason(
            "The case is open, and was not reassigned too often so far.", (20,), "a further transfer, or a fix"
        ),
        "few_transfers": Reason(
            "The case was fixed and reassigned {most_transfers} times at most.",
            (7,),
            "a further transfer (bad); or a correction or void of the fix",
        ),
        "cancelled": Reason("The case was cancelled without a fix.", (), "a void of the cancellation, or a fix"),
    },
)
