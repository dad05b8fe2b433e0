"""The journey: how many cases reached each of the four key moments of a service, a funnel over their verdicts.

A case reaches a moment only if it reached those before. It is counted where its first response is, the one thing that
is known of every case soon.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
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


def _hits(*signs: str) -> frozenset[tuple[str, str]]:
    return frozenset((sign, verdict) for sign in signs for verdict in ("provisional_hit", "final_hit"))


_ANSWERED = _hits("first_response")
_FIXED = _hits("first_time_fix", "same_day")
_SPOILT = frozenset({("on_time_arrival", "miss"), ("parts_ready", "miss")})
_STAYED_FIXED = _hits("stayed_fixed")
_EXTENDED = _hits("extended_value")


class Step(NamedTuple):
    """A moment a case has reached, and the instant it is counted at in milliseconds."""

    moment: str
    anchor_ms: int


def journey(verdicts: Sequence[Verdict]) -> list[Step]:
    """Return the moments a case has reached, by its published verdicts."""
    answered_ms = next((one.anchor_ms for one in verdicts if one.sign == "first_response" and one.decided), None)
    if answered_ms is None:
        return []
    said = {(one.sign, one.verdict) for one in verdicts}
    reached = (
        True,
        not said.isdisjoint(_ANSWERED) and ("easy_to_open", "miss") not in said,
        not said.isdisjoint(_FIXED) and said.isdisjoint(_SPOILT),
        not said.isdisjoint(_STAYED_FIXED),
        not said.isdisjoint(_EXTENDED),
        False,
    )
    return [Step(moment, answered_ms) for moment in islice(MOMENTS, reached.index(False))]
