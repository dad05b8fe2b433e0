"""extended_value: did the customer get more than the repair? (definition C4)."""

from __future__ import annotations

import pytest

from cases import Event, booked, cancelled, completed, event, judged, ms, opened, resolved, told, voided, wakes_ms
from cxstream.engine.assess import Clock
from cxstream.vital_signs import CATALOGUE

HIT, MISS, AWAITED = "provisional_hit value_added", "miss nothing_added", "pending awaited"
FIXED = [opened(), resolved("1h")]


def given(at: str, **more: object) -> Event:
    """Return something of value added."""
    return event("ticket.value_added", at, what="check-up", **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("events", "as_of", "expected"),
    [
        ([opened(), given("1h")], "2h", "pending not_fixed_yet"),
        ([opened(), given("1h"), cancelled("2h")], "3h", "excluded cancelled"),
        ([opened(), given("1h"), completed("2h", "fixed")], "3h", HIT),
        (FIXED, "2h", AWAITED),
        (FIXED, "30d1h", AWAITED),
        (FIXED, "30d1h1ms", MISS),
        ([*FIXED, given("30m")], "2h", HIT),
        ([*FIXED, given("9h")], "9h", HIT),
        ([*FIXED, given("30d1h")], "31d", HIT),
        ([*FIXED, given("30d1h1ms")], "31d", MISS),
        ([*FIXED, given("9d", seen="32d")], "32d", HIT),
        ([*FIXED, given("9h"), voided("10h", "value_added-9h")], "31d", MISS),
        ([*FIXED, event("ticket.compensated", "9h")], "31d", MISS),
        ([*FIXED, event("dispatch.value_added", "9h", visit_id="V1", what="check-up")], "31d", HIT),
        ([*FIXED, event("dispatch.value_added", "9h")], "31d", HIT),
        ([*FIXED, event("dispatch.value_added", "30d1h1ms")], "31d", MISS),
        ([*FIXED, event("parts.value_added", "9h")], "31d", MISS),
        ([resolved("1h"), given("2h")], "3h", "pending not_opened"),
    ],
)
def test_what_adds_value(events: list[Event], as_of: str, expected: str) -> None:
    """A value_added of a fixed case by 30 days after the fix, end inclusive; then the clock proves a miss (C4)."""
    assert told(events, as_of, "extended_value") == expected


def test_where_it_is_counted_and_when_it_is_final() -> None:
    """A hit at the first value added, a miss at fix + R; sealed as the case (C4, rule 4)."""
    for events, expected, at in (([given("9h"), given("8h")], "final_hit", "8h"), ([], "miss", "30d1h")):
        found = judged([*FIXED, *events], "34d", "extended_value")
        assert found is not None
        assert (found.verdict, found.anchor_ms, found.seal_ms) == (expected, ms(at), ms("33d1h"))


def test_the_clock_wakes_it() -> None:
    """It is judged again at the first instant after fix + R (C4, rule 6)."""
    casebook = booked(FIXED, catalogue={"extended_value": CATALOGUE["extended_value"]})
    casebook.assess(Clock.at(ms("2h")))
    assert wakes_ms(casebook.cases["C1"]) == ms("30d1h") + 1
