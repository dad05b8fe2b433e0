"""The journey: how many cases reached each of the four key moments of a service, a funnel over their verdicts.

A case reaches a moment only if it reached those before. It is counted where its first response is, the one thing that
is known of every case soon.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import takewhile
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


_ANSWERED, _HARD_TO_OPEN, _FIXED, _SPOILT, _STAYED_FIXED, _EXTENDED = (1 << bit for bit in range(6))
_HITS = ("provisional_hit", "final_hit")
_SHOWN = {
    "first_response": dict.fromkeys(_HITS, _ANSWERED),
    "easy_to_open": {"miss": _HARD_TO_OPEN},
    "first_time_fix": dict.fromkeys(_HITS, _FIXED),
    "same_day": dict.fromkeys(_HITS, _FIXED),
    "on_time_arrival": {"miss": _SPOILT},
    "parts_ready": {"miss": _SPOILT},
    "stayed_fixed": dict.fromkeys(_HITS, _STAYED_FIXED),
    "extended_value": dict.fromkeys(_HITS, _EXTENDED),
}
"""What the verdicts of a sign show of the moments, a bit each; others show nothing."""


class Step(NamedTuple):
    """The last moment a case has reached, and the instant it is counted at in milliseconds."""

    moment: str
    anchor_ms: int


def journey(verdicts: Sequence[Verdict]) -> Step | None:
    """Return the last moment a case has reached, by its published verdicts; None: it is no case of the funnel yet."""
    answered_ms, shown = None, 0
    for one in verdicts:
        shows = _SHOWN.get(one.sign)
        if shows is not None:
            shown |= shows.get(one.verdict, 0)
            if one.sign == "first_response" and one.decided:
                answered_ms = one.anchor_ms
    if answered_ms is None:
        return None
    return Step(_last_moment(shown), answered_ms)


@cache
def _last_moment(shown: int) -> str:
    reached = (
        shown & _ANSWERED and not shown & _HARD_TO_OPEN,
        shown & _FIXED and not shown & _SPOILT,
        shown & _STAYED_FIXED,
        shown & _EXTENDED,
    )
    return list(MOMENTS)[sum(1 for _ in takewhile(bool, reached))]


def until(moment: str) -> list[str]:
    """Return a moment and those before it: who reached it reached them."""
    moments = list(MOMENTS)
    return moments[: moments.index(moment) + 1]
