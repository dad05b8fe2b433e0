"""parts_ready: were the parts there when the technician was? (rule 16)."""

from __future__ import annotations

from cxstream.domain.evidence import Evidence
from cxstream.domain.facts import Fact
from cxstream.domain.gaming import Gaming, excluded, other_sign
from cxstream.domain.lines import on_hand
from cxstream.domain.policy import Policy
from cxstream.domain.reasons import Reason
from cxstream.domain.units import VISIT
from cxstream.domain.verdict import Judgement
from cxstream.domain.visits import Visit
from cxstream.domain.vital_sign import VitalSign


def judge(evidence: Evidence, visit_id: str, _clock_ms: int, _policy: Policy) -> Judgement:
    """Judge whether every line a visit needed was on hand in full at its arrival (rule 16)."""
    visit = evidence.visits.get(visit_id) or Visit(visit_id)
    lines = _lines(evidence, visit)
    if not visit.attended:
        if visit.outcome == "no_access" and visit.completion is not None:
            return Judgement("excluded", "no_access", visit.completion.at_ms, (visit.completion.event_id,))
        if lines and not visit.cancelled:
            proof = tuple([fact.event_id for fact in lines.values()])
            starts_ms = visit.windows[-1].instant_ms("window_start") if visit.windows else None
            if starts_ms is None or all(on_hand(evidence, *line, visit) for line in lines.items()):
                return Judgement("pending", "not_attended_yet", None, proof)
            return Judgement("pending", "not_attended_yet", None, proof, due_ms=starts_ms)
        return Judgement("excluded", "cancelled" if visit.cancelled else "no_parts_needed")
    if visit.outcome == "no_parts" and visit.completion is not None:
        return Judgement("miss", "no_parts", visit.arrived_ms, (visit.completion.event_id,))
    if not lines:
        return Judgement("excluded", "no_parts_needed", visit.arrived_ms)
    for line_id, required in lines.items():
        if not on_hand(evidence, line_id, required, visit):
            return Judgement("miss", "not_on_hand", visit.arrived_ms, (required.event_id,))
    return Judgement("hit", "on_hand", visit.arrived_ms, tuple([fact.event_id for fact in lines.values()]))


def _lines(evidence: Evidence, visit: Visit) -> dict[str, Fact]:
    """Return the live lines of a visit by id: those naming it, and those naming none that no earlier arrival took."""
    earlier_ms = [other.arrived_ms for other in evidence.visits.values() if other.arrived_ms < visit.arrived_ms]
    lines: dict[str, Fact] = {}
    for required in evidence.of("parts", "required"):
        named = required.fields.get("visit_id")
        taken = any(required.at_ms <= arrived_ms for arrived_ms in earlier_ms)
        if required.at_ms <= visit.arrived_ms and (named == visit.visit_id or (named is None and not taken)):
            lines[str(required.fields["line_id"])] = required
    for cancelled in evidence.of("parts", "cancelled"):
        if cancelled.at_ms <= visit.arrived_ms:
            lines.pop(str(cancelled.fields["line_id"]), None)
    return lines


VITAL_SIGN = VitalSign(
    name="parts_ready",
    title="Parts were there",
    question="You came, but without the part?",
    numerator="attended visits whose required lines were all on hand in full at arrival",
    denominator="attended visits that needed parts",
    unit=VISIT,
    judge=judge,
    topics=("dispatch", "parts"),
    objective=0.9,
    known="at arrival; final 72 h after the visit",
    gaming=Gaming(
        "Require no lines, report no access, or allocate pieces that nobody carries. The last shows in visits "
        "that come to nothing.",
        (excluded("no_parts_needed"), excluded("no_access"), excluded("cancelled"), other_sign("visit_productive")),
    ),
    missing="required parts on hand",
    reasons={
        "no_access": Reason(
            "The technician could not get in, so whether the parts were there made no difference.",
            (16,),
            "a corrected or further outcome of the visit",
        ),
        "not_attended_yet": Reason(
            "The visit needs parts and has not taken place yet.",
            (16,),
            "the arrival (good if every part is there in full, else bad), or a cancellation (left out)",
        ),
        "cancelled": Reason(
            "The visit was called off before anybody came.",
            (16,),
            "a void of the cancellation, a new window or an arrival",
        ),
        "no_parts_needed": Reason(
            "No parts were required for this visit.",
            (16,),
            "a part required by the arrival, told late or still to come",
        ),
        "no_parts": Reason(
            "The visit ended for lack of parts.",
            (16,),
            "a corrected or further outcome of the visit",
            counted_at="the arrival",
        ),
        "not_on_hand": Reason(
            "When the technician came, a required part was not there in full, or it proved dead or wrong.",
            (16,),
            "a delivery, a pick-up or an allocation by the arrival, told late; or a correction or void",
            counted_at="the arrival",
        ),
        "on_hand": Reason(
            "When the technician came, every required part was there in full.",
            (16,),
            "a return of a part as dead or wrong, or a further part required by the arrival, told late; or a"
            " correction",
            counted_at="the arrival",
        ),
    },
)
