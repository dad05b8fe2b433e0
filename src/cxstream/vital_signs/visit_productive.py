"""visit_productive: did the visit move the case? Its complement is the wasted truck roll ratio (rule 17)."""

from __future__ import annotations

from cxstream.domain.evidence import Evidence
from cxstream.domain.gaming import Gaming, excluded, loophole, other_sign
from cxstream.domain.policy import Policy
from cxstream.domain.reasons import Reason
from cxstream.domain.units import VISIT
from cxstream.domain.verdict import Judgement
from cxstream.domain.visits import Visit
from cxstream.domain.vital_sign import VitalSign

WASTED_OUTCOMES = frozenset({"no_access", "no_parts", "not_fixed", "wrong_skill"})


def judge(evidence: Evidence, visit_id: str, _clock_ms: int, _policy: Policy) -> Judgement:
    """Judge the last completion of a visit of any purpose, or how it was called off (rule 17)."""
    visit = evidence.visits.get(visit_id) or Visit(visit_id)
    completion = visit.completion
    if completion is not None:
        outcome = completion.text("outcome")
        if outcome in WASTED_OUTCOMES:
            return Judgement("miss", str(outcome), completion.at_ms, (completion.event_id,))
        return Judgement("hit", outcome or "completed", completion.at_ms, (completion.event_id,))
    cancellations = [change for change in visit.changes if change.type == "cancelled"]
    for cancellation in cancellations:
        for moved in (*visit.departures, *visit.arrivals):
            if moved.at_ms <= cancellation.at_ms:
                proof = (moved.event_id, cancellation.event_id)
                return Judgement("miss", "cancelled_under_way", cancellation.at_ms, proof)
    if visit.cancelled:
        return Judgement("excluded", "cancelled", cancellations[-1].at_ms, (cancellations[-1].event_id,))
    return Judgement("pending", "not_completed_yet")


VITAL_SIGN = VitalSign(
    name="visit_productive",
    title="Visit moved the case",
    question="Was that visit of any use?",
    numerator="visits completed with an outcome that moved the case",
    denominator="visits completed, or cancelled when somebody was on the way",
    unit=VISIT,
    judge=judge,
    topics=("dispatch",),
    objective=0.85,
    known="at completion; final 72 h later",
    gaming=Gaming(
        "State no outcome, call a failed visit partial or continued, or never say that somebody was on the way "
        "when it is called off.",
        (loophole("continued_failed_visit"), excluded("cancelled"), other_sign("first_time_fix")),
    ),
    lower_is_better="wasted_truck_roll",
    reasons={
        "fixed": Reason("The visit ended with the fault fixed.", (17,), "a corrected or further outcome of the visit"),
        "partial": Reason(
            "The visit ended with part of the work done.", (17,), "a corrected or further outcome of the visit"
        ),
        "diagnosed_only": Reason(
            "The visit ended with the cause found.", (17,), "a corrected or further outcome of the visit"
        ),
        "temporary": Reason(
            "The visit ended with a temporary repair.", (17,), "a corrected or further outcome of the visit"
        ),
        "continued": Reason(
            "The visit ended with work that goes on in another one.",
            (17,),
            "a corrected or further outcome of the visit",
        ),
        "completed": Reason(
            "The visit was completed; no outcome was stated that would have wasted it.",
            (17,),
            "a corrected or further outcome of the visit",
        ),
        "no_access": Reason(
            "The visit was wasted: the technician could not get in.",
            (17,),
            "a corrected or further outcome of the visit",
        ),
        "no_parts": Reason(
            "The visit was wasted: the parts were missing.", (17,), "a corrected or further outcome of the visit"
        ),
        "not_fixed": Reason(
            "The visit was wasted: it ended without the fault being fixed.",
            (17,),
            "a corrected or further outcome of the visit",
        ),
        "wrong_skill": Reason(
            "The visit was wasted: the technician was not the right one for the work.",
            (17,),
            "a corrected or further outcome of the visit",
        ),
        "cancelled_under_way": Reason(
            "The visit was called off when the technician was already on the way or there.",
            (17,),
            "a completion, told late, or a correction or void of the cancellation or the departure",
        ),
        "cancelled": Reason(
            "The visit was called off before anybody set out.",
            (17,),
            "a void of the cancellation, a new window, or a departure before the cancellation, told late",
        ),
        "not_completed_yet": Reason(
            "The visit is not completed yet.",
            (17,),
            "its completion, or a cancellation (left out unless somebody was on the way)",
        ),
    },
)
