"""transfers_per_case: how often was the case handed on? (definition B8).

Unit: case, sealed as the case. Out of: fixed cases. Measured: the `transferred` of the case, whenever they happen, as
B3 counts them; counted at the fix. No fix: excluded if cancelled, else pending.
"""

from __future__ import annotations

from cxstream.domain.evidence import Evidence
from cxstream.domain.gaming import OPEN_CASES, Gaming, other_sign
from cxstream.domain.policy import Policy
from cxstream.domain.reasons import Reason
from cxstream.domain.units import CASE
from cxstream.domain.verdict import Judgement
from cxstream.domain.vital_sign import Measure, VitalSign


def judge(evidence: Evidence, _case_id: str, _clock_ms: int, _policy: Policy) -> Judgement:
    """Measure how often a fixed case was reassigned (definition B8, by rule 7)."""
    if not evidence.fix_claims:
        for cancellation in evidence.cancellations[:1]:
            return Judgement("excluded", "cancelled", cancellation.at_ms, (cancellation.event_id,))
        return Judgement("pending", "not_fixed_yet")
    fix, moved = evidence.fix_claims[0], evidence.of("ticket", "transferred")
    proof = (*(fact.event_id for fact in moved), fix.event_id)
    return Judgement("hit", "fixed", fix.at_ms, proof, measured=len(moved))


VITAL_SIGN = VitalSign(
    name="transfers_per_case",
    title="Hand-overs of a case",
    question="How many people must I tell it to?",
    numerator="times the case was reassigned",
    denominator="fixed cases",
    unit=CASE,
    judge=judge,
    topics=("ticket", "dispatch"),
    objective=None,
    measure=Measure("transfers", (0, 1, 2, 3, 5)),
    known="at the fix; a later transfer adds to it until the seal",
    gaming=Gaming(
        "Pass the case on without saying so, before it is opened, or leave open what was passed on often. The first "
        "shows nowhere.",
        (OPEN_CASES, other_sign("transfers"), other_sign("easy_to_open")),
    ),
    tier="B",
    reasons={
        "cancelled": Reason("The case was cancelled without a fix.", (), "a void of the cancellation, or a fix"),
        "not_fixed_yet": Reason("The fault is not fixed yet.", (7,), "a fix, or a cancellation (left out)"),
        "fixed": Reason(
            "The fault was fixed; measured is how often the case was reassigned.",
            (7,),
            "a further transfer, or a correction or void of one or of the fix",
        ),
    },
)
