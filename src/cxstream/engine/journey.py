"""The journey: how many cases reached each of the four key moments of a service, a funnel over their verdicts.

A case reaches a moment only if it reached those before. It is counted where its first response is, the one thing that
is known of every case soon.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from cxstream.domain.verdict import Verdict

CASES = "cases"
"""All cases the funnel is of: those whose first response is decided."""
MOMENTS = {
    CASES: "cases whose first response is decided",
    "first_impression": "a person answered in time (and, where it is judged, reporting was easy)",
    "first_value": "fixed the first time or the same day, with every visit on time and no part missing",
    "intended_value": "fixed, and it stayed fixed so far",
    "extended_value": "more than the repair (tier C: where it is judged)",
}
"""The moments in order, and what a case must show for each."""


class Step(NamedTuple):
    """A moment a case has reached, and the instant it is counted at in milliseconds."""

    moment: str
    anchor_ms: int


def journey(verdicts: Iterable[Verdict]) -> Iterator[Step]:
    """Yield the moments a case has reached, by its published verdicts."""
    hit: set[str] = set()
    missed: set[str] = set()
    answered_ms: int | None = None
    for verdict in verdicts:
        if verdict.verdict == "miss":
            missed.add(verdict.sign)
        elif verdict.decided:
            hit.add(verdict.sign)
        if answered_ms is None and verdict.sign == "first_response" and verdict.decided:
            answered_ms = verdict.anchor_ms
    if answered_ms is None:
        return
    reached = (
        True,
        "first_response" in hit and "easy_to_open" not in missed,
        not hit.isdisjoint(("first_time_fix", "same_day")) and missed.isdisjoint(("on_time_arrival", "parts_ready")),
        "stayed_fixed" in hit,
        "extended_value" in hit,
    )
    for moment, is_reached in zip(MOMENTS, reached, strict=True):
        if not is_reached:
            return
        yield Step(moment, answered_ms)
