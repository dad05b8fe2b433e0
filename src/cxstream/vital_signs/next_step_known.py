"""next_step_known: does a customer who waits now know what comes next? (definition B13).

Unit: case, sealed as the case; judged only while it is open, so that the figure is one of now. Out of: cases open now.
Good: a visit not completed whose last window is not over, or a commitment without evidence so far whose due time as
last stated has not passed. Bad: neither, by the clock. Both counted at the opening. Ended by a fix or a cancellation:
excluded.
"""

from __future__ import annotations

from collections.abc import Iterator

from cxstream.domain.evidence import Evidence
from cxstream.domain.facts import Fact
from cxstream.domain.gaming import Gaming, other_sign
from cxstream.domain.policy import Policy
from cxstream.domain.promises import promised
from cxstream.domain.reasons import Reason
from cxstream.domain.units import CASE
from cxstream.domain.verdict import Judgement
from cxstream.domain.vital_sign import VitalSign


def steps(evidence: Evidence) -> Iterator[tuple[int, Fact]]:
    """Yield until when each step lies ahead that the customer was told of, and what told of it."""
    for visit in evidence.visits.values():
        window = promised(visit.changes[-1]) if visit.changes and visit.completion is None else None
        if window is not None:
            yield window.end_ms, window.made
    for made in evidence.of("ticket", "commitment_made"):
        promise = evidence.commitment(str(made.fields["commitment_id"]))
        if promise is None or promise.made is not made or promise.due_ms is None:
            continue
        if promise.state == "kept" or promise.late is not None:
            continue
        moved = [
            fact
            for fact in evidence.of("ticket", "commitment_changed")
            if fact.fields["commitment_id"] == made.fields["commitment_id"]
            and fact.at_ms >= made.at_ms
            and fact.instant_ms("due") is not None
        ]
        stated = moved[-1] if moved else made
        due_ms = stated.instant_ms("due")
        if due_ms is not None:
            yield due_ms, stated


def judge(evidence: Evidence, _case_id: str, clock_ms: int, _policy: Policy) -> Judgement:
    """Judge whether an open case has a window or a due time ahead of it (definition B13, by rules 20 and 22)."""
    opened = evidence.opened
    if opened is None:
        return Judgement("pending", "not_opened")
    ends_ms = [span.end_ms for span in evidence.open_spans]
    if None not in ends_ms:
        ended_ms = max(end_ms for end_ms in ends_ms if end_ms is not None)
        ended_by = (fact.event_id for fact in (*evidence.fix_claims, *evidence.cancellations) if fact.at_ms == ended_ms)
        return Judgement("excluded", "not_open", ended_ms, (next(ended_by),))
    ahead = [(until_ms, fact) for until_ms, fact in steps(evidence) if until_ms >= clock_ms]
    if not ahead:
        unheard = ("ticket", "dispatch")
        return Judgement("miss", "nothing_ahead", opened.at_ms, (opened.event_id,), silent_topics=unheard)
    until_ms, told = max(ahead, key=lambda step: (step[0], step[1].event_id))
    return Judgement("hit", "told", opened.at_ms, (opened.event_id, told.event_id), until_ms + 1)


VITAL_SIGN = VitalSign(
    name="next_step_known",
    title="Knows what comes next",
    question="What happens next, and when?",
    numerator="cases open now with a visit window not over or a commitment not due yet",
    denominator="cases open now",
    unit=CASE,
    judge=judge,
    topics=("ticket", "dispatch"),
    objective=0.9,
    known="now, by every window, commitment and passing of time; left out as soon as the case is ended, until the seal",
    gaming=Gaming(
        "Make windows and due times that nobody means to keep, or that lie far ahead. The former are misses elsewhere; "
        "a far day shows nowhere.",
        (other_sign("on_time_arrival"), other_sign("short_notice_change"), other_sign("commitment_kept")),
    ),
    tier="B",
    reasons={
        "not_open": Reason("The customer does not wait any more.", (20,), "a reopening, or a void of what ended it"),
        "nothing_ahead": Reason(
            "The customer waits, and has been told of nothing that is still to come.",
            (6, 20),
            "a window or a commitment with a due time ahead; or the end of the case (left out)",
        ),
        "told": Reason(
            "The customer waits, and has been told of a window or a due time that is still to come.",
            (20, 22),
            "its passing without another one (bad), or the end of the case (left out)",
        ),
    },
)
