"""short_notice_change: could the customer rely on the date? Its complement is the short notice ratio (definition B6).

Unit: visit of any purpose, sealed as the visit. Out of: visits with a promised window. The changes that exist are
those of rule 15. Bad: a change by the provider with less notice than `policy.provider_notice` (24 h) to the start of
the window it replaces, neither agreed nor inside that window; counted at the change. Good: none by arrival,
completion, a last change that is a cancellation, or the end of the last window + grace, and counted there. Until then
pending. No window before arrival: excluded once arrived or completed, else pending.
"""

from __future__ import annotations

from cxstream.domain.evidence import Evidence
from cxstream.domain.gaming import Gaming, excluded, loophole
from cxstream.domain.policy import Policy
from cxstream.domain.promises import Promise, changes_that_exist, is_short_notice, promised
from cxstream.domain.reasons import Reason
from cxstream.domain.units import VISIT
from cxstream.domain.verdict import Judgement
from cxstream.domain.visits import Visit
from cxstream.domain.vital_sign import VitalSign


def judge(evidence: Evidence, visit_id: str, clock_ms: int, policy: Policy) -> Judgement:
    """Judge whether the provider changed a promised window at short notice (definition B6, by rule 15)."""
    visit = evidence.visits.get(visit_id) or Visit(visit_id)
    changes = changes_that_exist(visit)
    came = visit.arrivals[0] if visit.arrivals else visit.completion
    current: Promise | None = None
    for change in changes:
        if current is not None and is_short_notice(change, current, policy):
            proof = (current.made.event_id, change.event_id)
            return Judgement("miss", "short_notice", change.at_ms, proof)
        current = promised(change)
    if not changes:
        if came is not None:
            return Judgement("excluded", "no_promise", came.at_ms, (came.event_id,))
        return Judgement("pending", "no_window_yet")
    last = changes[-1]
    if current is None:
        return Judgement("hit", "cancelled_in_time", last.at_ms, (last.event_id,))
    if came is not None:
        return Judgement("hit", "unchanged", came.at_ms, (last.event_id, came.event_id))
    grace_ends_ms = current.end_ms + policy.late_grace_ms
    if clock_ms > grace_ends_ms:
        return Judgement("hit", "unchanged", grace_ends_ms, (last.event_id,))
    return Judgement("pending", "awaited", None, (last.event_id,), grace_ends_ms + 1)


VITAL_SIGN = VitalSign(
    name="short_notice_change",
    title="Date not moved at short notice",
    question="I took the day off, and now you are not coming?",
    numerator="visits whose window the provider did not change with less than 24 h notice",
    denominator="visits with a promised window",
    unit=VISIT,
    judge=judge,
    topics=("dispatch",),
    objective=0.95,
    known="miss at the change; hit at arrival or 15 min after the window; final 72 h later",
    gaming=Gaming(
        "Say that the customer asked for the change or agreed to it, move the window just before the notice that "
        "is owed, or promise none. A wish the customer never had shows nowhere.",
        (loophole("change_just_beyond_notice"), excluded("no_promise")),
    ),
    lower_is_better="short_notice",
    tier="B",
    reasons={
        "short_notice": Reason(
            "The provider changed the window with less than {provider_notice} notice.",
            (15,),
            "a correction or void of that change",
        ),
        "no_promise": Reason(
            "Somebody came without a window having been promised.", (15,), "a window promised before that, told late"
        ),
        "no_window_yet": Reason("No window was promised yet.", (15,), "a window"),
        "cancelled_in_time": Reason(
            "The visit was called off, and not at short notice.",
            (15,),
            "a correction of that cancellation, or a new window",
        ),
        "unchanged": Reason(
            "The promised window was not changed at short notice.", (15,), "a change at short notice, told late (bad)"
        ),
        "awaited": Reason(
            "The visit is still to come, and its window was not changed at short notice so far.",
            (15,),
            "a change by the provider at short notice (bad), or the visit",
        ),
    },
)
