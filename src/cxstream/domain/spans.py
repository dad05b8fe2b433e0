"""Open spans: when the customer of a case was waiting for a fix (rules 20, 21 and 25)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cxstream.domain.facts import Fact


class Span(NamedTuple):
    """A time a case was open, in milliseconds; `end_ms` None: it still is."""

    start_ms: int
    end_ms: int | None


def open_spans(
    opened: Fact, fault_reopens: Sequence[Fact], fix_claims: Sequence[Fact], cancellations: Sequence[Fact]
) -> list[Span]:
    """Return the spans from the opening, and from each fault reopen before any cancellation, to what ended them.

    A fix claim or a cancellation ends a span. A claim at the very instant of the opening does; one at the instant of a
    reopen comes before it. All facts are in event-time order.
    """
    ends_ms = sorted([fact.at_ms for fact in (*fix_claims, *cancellations)])
    spans = [Span(opened.at_ms, next((ms for ms in ends_ms if ms >= opened.at_ms), None))]
    spans += [
        Span(reopen.at_ms, next((ms for ms in ends_ms if ms > reopen.at_ms), None))
        for reopen in fault_reopens
        if not cancellations or reopen.at_ms < cancellations[0].at_ms
    ]
    return spans


def restored_spans(spans: Sequence[Span], fix_claims: Sequence[Fact]) -> list[tuple[int, int]]:
    """Return the outages that ended in a fix, (start, end) in milliseconds: none overlaps another (rule 25).

    `spans` are the open spans of the case, from the opening on. The first outage is from the opening to the first fix
    claim, and empty if that claims to be earlier. A reopen while an outage lasts begins no other one; an outage that a
    cancellation ended was not restored.
    """
    if not spans or not fix_claims:
        return []
    claims_ms = [fact.at_ms for fact in fix_claims]
    restored = [(min(spans[0].start_ms, claims_ms[0]), claims_ms[0])]
    for start_ms, end_ms in spans[1:]:
        if end_ms is not None and end_ms in claims_ms and start_ms >= restored[-1][1]:
            restored.append((start_ms, end_ms))
    return restored
