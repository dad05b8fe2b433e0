"""next_step_known: does a customer who waits now know what comes next? (definition B13)."""

from __future__ import annotations

import pytest

from cases import (
    Event,
    arrived,
    booked,
    cancelled,
    completed,
    event,
    judged,
    merged,
    ms,
    of_case,
    opened,
    planned,
    reopened,
    rescheduled,
    resolved,
    scheduled,
    told,
    visit_cancelled,
    voided,
    wakes_ms,
)
from cxstream.engine.assess import Clock
from cxstream.vital_signs import CATALOGUE

HIT, MISS, ENDED = "provisional_hit told", "miss nothing_ahead", "excluded not_open"
WINDOW = scheduled("1h", "9h", "10h")


def promise(at: str, **more: object) -> Event:
    """Return a commitment."""
    return event("ticket.commitment_made", at, commitment_id="K1", **more)  # type: ignore[arg-type]


def changed(at: str, due: str, **more: object) -> Event:
    """Return a change of its due time, by default by the provider and not agreed."""
    return event("ticket.commitment_changed", at, commitment_id="K1", due=due, **more)  # type: ignore[arg-type]


KEPT = event("ticket.commitment_kept", "3h", commitment_id="K1")


@pytest.mark.parametrize(
    ("events", "as_of", "expected"),
    [
        ([], "0h", MISS),
        ([WINDOW], "2h", HIT),
        ([WINDOW], "10h", HIT),
        ([WINDOW], "10h1ms", MISS),
        ([WINDOW, arrived("9h")], "9h30m", HIT),
        ([WINDOW, completed("9h15m", "partial")], "9h30m", MISS),
        ([WINDOW, visit_cancelled("2h")], "3h", MISS),
        ([WINDOW, visit_cancelled("2h"), scheduled("3h", "9h", "10h")], "4h", HIT),
        ([WINDOW, rescheduled("2h", "20h", "21h")], "12h", HIT),
        ([WINDOW, rescheduled("2h", "5h", "6h")], "7h", MISS),
        ([WINDOW, scheduled("1h", "30h", "31h", "V2")], "12h", HIT),
        ([scheduled("1h", "9h", "10h", purpose="survey")], "2h", HIT),
        ([planned("1h")], "2h", MISS),
        ([WINDOW, voided("2h", "scheduled-V1-1h")], "3h", MISS),
        ([promise("1h", due="9h")], "2h", HIT),
        ([promise("1h", due="9h")], "9h", HIT),
        ([promise("1h", due="9h")], "9h1ms", MISS),
        ([promise("1h")], "2h", MISS),
        ([promise("1h"), changed("2h", "9h", by="customer")], "3h", MISS),
        ([promise("1h", due="9h"), KEPT], "4h", MISS),
        ([promise("1h", due="9h", kind="arrive"), arrived("3h", "V9")], "4h", MISS),
        ([promise("1h", due="9h"), changed("2h", "20h")], "12h", HIT),
        ([promise("1h", due="9h"), changed("2h", "20h", by="customer")], "12h", HIT),
        ([promise("1h", due="9h"), changed("2h", "20h"), KEPT], "12h", MISS),
        ([promise("1h", due="9h"), changed("2h", "5h")], "6h", MISS),
        ([WINDOW, resolved("2h")], "3h", ENDED),
        ([WINDOW, cancelled("2h")], "3h", ENDED),
        ([resolved("2h"), reopened("3h")], "4h", MISS),
        ([resolved("2h"), reopened("3h"), scheduled("4h", "9h", "10h")], "5h", HIT),
        ([resolved("2h"), reopened("3h", reason="billing"), scheduled("4h", "9h", "10h")], "5h", ENDED),
        ([merged("1h", "C2"), WINDOW], "2h", "excluded merged"),
    ],
)
def test_what_a_customer_who_waits_knows(events: list[Event], as_of: str, expected: str) -> None:
    """A window not over or a due time not passed, kept or called off ones apart, while the case is open (B13)."""
    for order in (events, events[::-1]):
        assert told([opened(), *order], as_of, "next_step_known") == expected


def test_the_clock_wakes_it_when_the_last_step_has_passed() -> None:
    """It is judged again at the first instant after the last window or due time, and not before (B13, rule 6)."""
    events = [opened(), WINDOW, promise("1h", due="20h")]
    casebook = booked(events, catalogue={"next_step_known": CATALOGUE["next_step_known"]})
    casebook.assess(Clock.at(ms("2h")))
    assert wakes_ms(casebook.cases["C1"]) == ms("20h") + 1


def test_it_is_counted_at_the_opening_and_left_out_at_the_end() -> None:
    """Good and bad are counted at the opening, the exclusion where the case ended the last time (B13)."""
    for events, at in (([], "0h"), ([WINDOW], "0h"), ([resolved("2h")], "2h")):
        found = judged([opened(), *events], "3h", "next_step_known")
        assert found is not None
        assert found.anchor_ms == ms(at)
    again = [opened(), resolved("1h"), reopened("2h"), resolved("4h", named="again")]
    found = judged(again, "5h", "next_step_known")
    assert found is not None
    assert (found.verdict, found.anchor_ms) == ("excluded", ms("4h"))


def test_a_visit_of_an_absorbed_case_is_a_next_step_of_the_survivor() -> None:
    """Windows of a case merged into this one lie ahead here (B13, rule 9)."""
    other = of_case("C2", opened("30m", asset_id="A2"), scheduled("1h", "9h", "10h", "V9"), merged("2h", "C1"))
    assert told([opened(), *other], "3h", "next_step_known") == HIT


def test_a_dead_feed_proves_nothing() -> None:
    """Where the ticket or dispatch feed was dead by the opening, that nothing lies ahead is not known (B13, rule 6)."""
    for topic in ("ticket", "dispatch"):
        casebook = booked([opened()], catalogue={"next_step_known": CATALOGUE["next_step_known"]})
        casebook.assess(Clock(ms("1h"), ms("1h"), {topic: ms("-1h")}))
        (found,) = casebook.cases["C1"].verdicts
        assert (found.verdict, found.reason) == ("pending", "source_silent")
