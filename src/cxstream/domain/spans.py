"""Open spans: when the customer of a case was waiting for a fix (rules 20, 21 and 25)."""

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


def restored_spans(evidence: Evidence) -> list[tuple[int, int]]:
    """Return the outages that ended in a fix, (start, end) in milliseconds: none overlaps another (rule 25).

    The first is from the opening to the first fix claim, and empty if that claims to be earlier. A reopen while an
    outage lasts begins no other one; an outage that a cancellation ended was not restored.
    """
    claims_ms = [fact.at_ms for fact in evidence.fix_claims]
    if evidence.opened is None or not claims_ms:
        return []
    opened_ms, fixed_ms = evidence.opened.at_ms, claims_ms[0]
    spans = [(min(opened_ms, fixed_ms), fixed_ms)]
    for span in open_spans(evidence)[1:]:
        if span.end_ms is not None and span.end_ms in claims_ms and span.start_ms >= spans[-1][1]:
            spans.append((span.start_ms, span.end_ms))
    return spans
