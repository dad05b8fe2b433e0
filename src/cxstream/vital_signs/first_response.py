"""first_response: did a person answer in time? (rule 19)."""

from __future__ import annotations

from cxstream.domain.evidence import Evidence
from cxstream.domain.gaming import Gaming, excluded, loophole, other_sign
from cxstream.domain.policy import Policy
from cxstream.domain.units import FIRST_RESPONSE
from cxstream.domain.verdict import Judgement
from cxstream.domain.vital_sign import VitalSign
from cxstream.domain.waiting import answered_in_time, reasons


def judge(evidence: Evidence, _case_id: str, clock_ms: int, policy: Policy) -> Judgement:
    """Judge the first acknowledgement by a person against the target of the opening's priority (rule 19)."""
    people = [fact for fact in evidence.of("ticket", "acknowledged") if not fact.flag("auto")]
    priority = str(evidence.opened.text("priority")) if evidence.opened else "P3"
    return answered_in_time(evidence, people, policy.first_response_ms[priority], clock_ms)


VITAL_SIGN = VitalSign(
    name="first_response",
    title="Answered in time",
    question="Is anybody there?",
    numerator="cases a person acknowledged within the target of their priority",
    denominator="cases opened",
    unit=FIRST_RESPONSE,
    judge=judge,
    topics=("ticket",),
    objective=0.9,
    known="at the acknowledgement or when it was due; final 72 h later",
    gaming=Gaming(
        "Acknowledge by a robot that does not say so, answer and then do nothing, or state a lower priority, "
        "which has a longer target. What follows an empty answer shows in other signs; a false priority shows "
        "nowhere.",
        (excluded("cancelled"), loophole("created_in_error"), other_sign("explained"), other_sign("no_silence")),
    ),
    missing="an acknowledgement by a person",
    reasons=reasons(
        "an acknowledgement by a person (an automatic one does not count)",
        "the target of its priority ({first_response})",
    ),
)
