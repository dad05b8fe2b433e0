"""Open spans: when the customer of a case was waiting for a fix (rules 20 and 21)."""

from __future__ import annotations

from typing import NamedTuple

from cxstream.domain.evidence import Evidence


class Span(NamedTuple):
    """A time a case was open, in milliseconds; `end_ms` None: it still is."""

    start_ms: int
    end_ms: int | None


def open_spans(evidence: Evidence) -> list[Span]:
    """Return the spans from the opening, and from each fault reopen before any cancellation, to what ended them.

    A fix claim or a cancellation ends a span. A claim at the very instant of the opening does; one at the instant of a
    reopen comes before it.
    """
    if evidence.opened is None:
        return []
    claims_ms = [fact.at_ms for fact in evidence.fix_claims]
    cancelled_ms = [fact.at_ms for fact in evidence.cancellations]
    opened_ms = evidence.opened.at_ms
    spans = [Span(opened_ms, min((ms for ms in claims_ms + cancelled_ms if ms >= opened_ms), default=None))]
    for reopen in evidence.fault_reopens:
        if not cancelled_ms or reopen.at_ms < cancelled_ms[0]:
            ends_ms = (ms for ms in claims_ms + cancelled_ms if ms > reopen.at_ms)
            spans.append(Span(reopen.at_ms, min(ends_ms, default=None)))
    return spans
