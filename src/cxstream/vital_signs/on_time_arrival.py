"""on_time_arrival: did the technician come in the window we promised? (rule 15)."""

from __future__ import annotations

from cxstream.domain.evidence import Evidence
from cxstream.domain.facts import Fact
from cxstream.domain.gaming import LATE, RETRACTED, Gaming, excluded, loophole
from cxstream.domain.instant import NEVER_MS
from cxstream.domain.policy import Policy
from cxstream.domain.promises import Promise, broken_by_change, changes_that_exist, promised
from cxstream.domain.reasons import Reason
from cxstream.domain.units import VISIT
from cxstream.domain.verdict import Judgement
from cxstream.domain.visits import Visit
from cxstream.domain.vital_sign import VitalSign


def judge(evidence: Evidence, visit_id: str, clock_ms: int, policy: Policy) -> Judgement:
    """Judge one visit, of any purpose, against the last window made at or before its arrival (rule 15)."""
    visit = evidence.visits.get(visit_id) or Visit(visit_id)
    arrival = visit.arrivals[0] if visit.arrivals else None
    changes = changes_that_exist(visit)
    windows = [window for change in changes if (window := promised(change)) is not None]
    if not windows:
        came = arrival or visit.completion
        if came is not None:
            return Judgement("excluded", "no_promise", came.at_ms, (came.event_id,))
        return Judgement("pending", "no_window_yet")
    promise = windows[-1]
    grace_ends_ms = promise.end_ms + policy.late_grace_ms
    anchor_ms = arrival.at_ms if arrival else grace_ends_ms
    broken = broken_by_change(changes, policy)
    if broken is not None:
        reason, change = broken
        return Judgement("miss", reason, anchor_ms, (change.event_id,))
    last = changes[-1]
    if last.type == "cancelled":
        return Judgement("excluded", "visit_cancelled", last.at_ms, (last.event_id,))
    if arrival is not None:
        return _arrived(promise, arrival, policy)
    return _not_arrived(evidence, visit, promise, clock_ms, policy)


def _arrived(promise: Promise, arrival: Fact, policy: Policy) -> Judgement:
    proof = (promise.made.event_id, arrival.event_id)
    if arrival.at_ms < promise.start_ms - policy.early_tolerance_ms:
        return Judgement("miss", "too_early", arrival.at_ms, proof)
    if arrival.at_ms > promise.end_ms + policy.late_grace_ms:
        return Judgement("miss", "late", arrival.at_ms, proof)
    return Judgement("hit", "on_time", arrival.at_ms, proof)


def _not_arrived(evidence: Evidence, visit: Visit, promise: Promise, clock_ms: int, policy: Policy) -> Judgement:
    grace_ends_ms = promise.end_ms + policy.late_grace_ms
    for cancellation in evidence.cancellations[:1]:
        if cancellation.at_ms <= grace_ends_ms:
            return Judgement("excluded", "case_cancelled", cancellation.at_ms, (cancellation.event_id,))
    completion = visit.completion
    if completion is not None:
        proof: tuple[str, ...] = (promise.made.event_id, completion.event_id)
        if promise.start_ms - policy.early_tolerance_ms <= completion.at_ms <= grace_ends_ms:
            return Judgement("hit", "completed_in_window", grace_ends_ms, proof)
        return Judgement("pending", "arrival_not_reported", None, proof)
    for claim in evidence.fix_claims:
        if promise.made.at_ms < claim.at_ms < promise.start_ms and not any(
            claim.at_ms < reopen.at_ms < promise.start_ms for reopen in evidence.fault_reopens
        ):
            return Judgement("excluded", "not_needed", claim.at_ms, (claim.event_id,))
    proof = (promise.made.event_id,)
    if clock_ms > grace_ends_ms:
        return Judgement("miss", "no_show", grace_ends_ms, proof, silent_topics=("dispatch",))
    is_on_its_way = any(fact.at_ms >= promise.made.at_ms for fact in visit.departures)
    due_ms = NEVER_MS if is_on_its_way else grace_ends_ms
    return Judgement("pending", "awaited", None, proof, grace_ends_ms + 1, due_ms)


VITAL_SIGN = VitalSign(
    name="on_time_arrival",
    title="Arrived when promised",
    question="Was the technician there when you said?",
    numerator="visits that arrived within the promised window (30 min early to 15 min late)",
    denominator="visits with a promised window",
    unit=VISIT,
    judge=judge,
    topics=("dispatch",),
    objective=0.9,
    known="at arrival or 15 min after the window; final 72 h later",
    gaming=Gaming(
        "Make the window when somebody has arrived, move it just before the notice that is owed, promise none, or "
        "mend the arrival afterwards. A window that is too wide shows nowhere.",
        (
            loophole("window_after_arrival"),
            loophole("change_just_beyond_notice"),
            excluded("no_promise"),
            excluded("visit_cancelled"),
            RETRACTED,
            LATE,
        ),
    ),
    missing="a technician on the way",
    reasons={
        "no_promise": Reason(
            "The visit took place without a window having been promised before.",
            (15,),
            "a window promised before the visit, told late",
        ),
        "no_window_yet": Reason(
            "No window has been promised for this visit.",
            (15,),
            "a window being promised, or the visit taking place without one (left out)",
        ),
        "changed_after_window": Reason(
            "The visit was moved or called off only after its promised window had passed.",
            (15,),
            "a correction or void of that change or of the window before it, or an arrival before the change,"
            " told late",
            counted_at="the arrival, or else {late_grace} after the window",
        ),
        "short_notice_change": Reason(
            "The provider moved or called off the visit less than {provider_notice} before the promised window was"
            " to begin, and the customer had not agreed.",
            (15,),
            "a correction or void of that change or of the window before it, or an arrival before the change,"
            " told late",
            counted_at="the arrival, or else {late_grace} after the window",
        ),
        "visit_cancelled": Reason(
            "The visit was called off in good time, or with the customer's agreement, or by the customer.",
            (15,),
            "a void of the cancellation, or a new window or an arrival before it, told late",
        ),
        "case_cancelled": Reason(
            "The case was cancelled before the promised window had passed, and nobody had come.",
            (15,),
            "a void of the cancellation, or an arrival",
        ),
        "too_early": Reason(
            "The technician came more than {early_tolerance} before the promised window began.",
            (15,),
            "a corrected arrival or window, or a window promised before the arrival, told late",
        ),
        "late": Reason(
            "The technician came more than {late_grace} after the promised window had ended.",
            (15,),
            "a corrected arrival or window, an earlier arrival, or a window promised before the arrival, told late",
        ),
        "on_time": Reason(
            "The technician came within the promised window, or at most {early_tolerance} before or {late_grace}"
            " after it.",
            (15,),
            "a corrected arrival or window, or an earlier arrival or a change of the promise, told late",
        ),
        "completed_in_window": Reason(
            "No arrival was reported, but the visit was completed within the promised window, so somebody was there"
            " in time.",
            (15,),
            "an arrival before the window, told late, or a correction of the completion or of the window",
            counted_at="{late_grace} after the window",
        ),
        "arrival_not_reported": Reason(
            "The visit was completed outside the promised window and no arrival was reported, so whether somebody"
            " came in time cannot be told.",
            (15,),
            "the arrival being reported",
        ),
        "not_needed": Reason(
            "The fault was fixed after the window was promised and before it began: the visit was not needed.",
            (7, 15),
            "a correction or void of the fix, a reopening before the window began, or an arrival",
        ),
        "no_show": Reason(
            "Nobody came: the promised window and {late_grace} more passed without an arrival.",
            (6, 15),
            "an arrival, told late; or a change of the promise, a fix or a cancellation in time, told late",
            counted_at="{late_grace} after the window",
        ),
        "awaited": Reason(
            "Nobody has come yet, and the promised window and {late_grace} more have not passed.",
            (15,),
            "an arrival (good within the window), the window passing without one (bad), or a change of the promise",
        ),
    },
)
