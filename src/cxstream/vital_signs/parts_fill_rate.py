"""parts_fill_rate: was the part in the van, or there before the visit? (definition B7).

Unit: part line, made by a `required` that counts; sealed as the visit it is for once that was attended, else as the
case, merges apart. It is for the visit it names, unless that found nobody in, was called off or was over when the
line was required; else for the first attended visit not over then. Good: in full at that visit, as rule 16 counts,
where pieces allocated until the visit's end count too (from the van). Bad: not. Both counted at arrival, or when it
was required if that is later. Not attended yet, or short and somebody still on site: pending. Cancelled before
arrival: excluded.
"""

from __future__ import annotations

from cxstream.domain.evidence import Evidence
from cxstream.domain.gaming import LATE, Gaming, excluded, other_sign
from cxstream.domain.instant import NEVER_MS
from cxstream.domain.lines import on_hand, required_of, visit_of
from cxstream.domain.policy import Policy
from cxstream.domain.reasons import Reason
from cxstream.domain.units import LINE
from cxstream.domain.verdict import Judgement
from cxstream.domain.vital_sign import VitalSign


def judge(evidence: Evidence, line_id: str, clock_ms: int, policy: Policy) -> Judgement:
    """Judge whether a line was filled from the van or before the visit (definition B7, by rule 16)."""
    required = required_of(evidence, line_id)
    if required is None:
        return Judgement("pending", "not_required")
    visit = visit_of(evidence, required, policy)
    arrived_ms = visit.arrived_ms if visit is not None and visit.attended else NEVER_MS
    for cancelled in evidence.of("parts", "cancelled"):
        if cancelled.fields["line_id"] == line_id and cancelled.at_ms <= arrived_ms:
            return Judgement("excluded", "cancelled", cancelled.at_ms, (cancelled.event_id,))
    if visit is None or visit.arrival is None or not visit.attended:
        return Judgement("pending", "not_attended_yet", None, (required.event_id,))
    counted_ms = max(arrived_ms, required.at_ms)
    proof = (required.event_id, visit.arrival.event_id)
    leaves_ms = visit.leaves_ms(policy)
    if on_hand(evidence, line_id, required, visit, allocated_by_ms=leaves_ms):
        return Judgement("hit", "on_hand", counted_ms, proof)
    if clock_ms < leaves_ms:
        return Judgement("pending", "on_site", None, proof, leaves_ms)
    return Judgement("miss", "not_on_hand", counted_ms, proof)


VITAL_SIGN = VitalSign(
    name="parts_fill_rate",
    title="Part was in the van or there before",
    question="Do you carry the part?",
    numerator="part lines in full at the visit they were for, from the van or delivered before",
    denominator="part lines required for a visit that was attended",
    unit=LINE,
    judge=judge,
    topics=("dispatch", "parts"),
    objective=0.85,
    known="at the visit; final 72 h later",
    gaming=Gaming(
        "Require a line only when the part has come, cancel it before the visit, or require none. A visit without "
        "its part is a miss elsewhere, required or not.",
        (excluded("cancelled"), other_sign("parts_ready"), LATE),
    ),
    tier="B",
    reasons={
        "not_required": Reason("Nothing says any more what the line requires.", (16,), "a requirement of the line"),
        "cancelled": Reason("The line was cancelled before the visit.", (16,), "a void of that cancellation"),
        "not_attended_yet": Reason(
            "The visit the line is for has not taken place.",
            (16,),
            "the visit, or a cancellation of the line (left out)",
        ),
        "on_hand": Reason(
            "The line was there in full at the visit.",
            (16,),
            "a return as dead or wrong (bad), or a correction or void of what came",
        ),
        "on_site": Reason(
            "The technician is there, and the line is not there in full so far.", (11, 16), "an allocation from the van"
        ),
        "not_on_hand": Reason(
            "The line was not there in full at the visit.",
            (16,),
            "an allocation, a pick-up or a delivery before the visit, told late",
        ),
    },
)
