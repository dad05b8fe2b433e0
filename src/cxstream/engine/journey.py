"""The journey: how many cases reached each of the four key moments of a service, a funnel over their verdicts.

A case reaches a moment only if it reached those before. It is counted where its first response is, the one thing that
is known of every case soon.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from cxstream.domain.cases import Case
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


def journey(case: Case) -> Iterator[Step]:
    """Yield the moments a case has reached, by its published verdicts."""
    by_sign: dict[str, list[Verdict]] = {}
    for verdict in case.verdicts:
        by_sign.setdefault(verdict.sign, []).append(verdict)

    def is_hit(sign: str) -> bool:
        return any(one.decided and one.verdict != "miss" for one in by_sign.get(sign, ()))

    def is_missed(sign: str) -> bool:
        return any(one.verdict == "miss" for one in by_sign.get(sign, ()))

    answered = next((one for one in by_sign.get("first_response", ()) if one.decided), None)
    if answered is None:
        return
    reached = (
        True,
        is_hit("first_response") and not is_missed("easy_to_open"),
        (is_hit("first_time_fix") or is_hit("same_day"))
        and not (is_missed("on_time_arrival") or is_missed("parts_ready")),
        is_hit("stayed_fixed"),
        is_hit("extended_value"),
    )
    for moment, is_reached in zip(MOMENTS, reached, strict=True):
        if not is_reached:
            return
        yield Step(moment, answered.anchor_ms)
