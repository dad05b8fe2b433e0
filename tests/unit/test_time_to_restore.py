"""time_to_restore: how long the customer was without, how that is distributed, and what lasts now (rule 25)."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from cases import Event, booked, cancelled, completed, event, ms, opened, reopened, resolved, told
from cxstream.config import load
from cxstream.domain.instant import HOUR_MS
from cxstream.engine.assess import Clock
from cxstream.engine.ledger import Lasting, Ledger
from cxstream.engine.longest import Longest

WINDOWS = load(None, {}).windows()
TWICE = [opened(), resolved("1h"), reopened("2h"), resolved("4h", named="again")]


def measured(events: Sequence[Event], as_of: str = "9h") -> float | None:
    """Return the hours measured of the one case, None if it is not."""
    casebook = booked(events)
    casebook.assess(Clock.at(ms(as_of)))
    (found,) = (one for one in casebook.cases["C1"].verdicts if one.sign == "time_to_restore")
    assert (found.measured is not None) == found.verdict.endswith("hit")
    return None if found.measured is None else found.measured / HOUR_MS


@pytest.mark.parametrize(
    ("events", "hours"),
    [
        ([opened()], None),
        ([opened(), resolved("3h")], 3),
        ([opened(), completed("2h", "fixed"), resolved("3h")], 2),
        (TWICE, 3),
        (TWICE[:3], 1),
        ([*TWICE, reopened("5h", named="r2"), cancelled("6h")], 3),
        ([*TWICE[:3], reopened("3h", named="r2"), TWICE[3]], 3),
        ([opened(), cancelled("1h")], None),
        ([opened(), cancelled("1h"), resolved("3h")], 3),
        ([opened("1h"), resolved("0h")], 0),
        ([opened(), resolved("1h"), reopened("2h", reason="billing"), resolved("4h", named="again")], 1),
    ],
)
def test_the_time_from_the_opening_to_the_fix_and_of_each_outage_after_it(
    events: list[Event], hours: float | None
) -> None:
    """Every outage that ended in a fix counts once, from the opening or a fault reopen to its fix (rule 25)."""
    assert measured(events) == hours


def test_it_is_measured_at_the_first_fix_and_a_later_outage_adds_to_it() -> None:
    """The unit is counted at its first fix; a later outage that is over makes it longer: another verdict (rule 25)."""
    assert told([opened()], "9h", "time_to_restore") == "pending not_fixed_yet"
    assert told(TWICE, "9h", "time_to_restore") == "provisional_hit restored"
    casebook = booked(TWICE[:3])
    casebook.assess(Clock.at(ms("3h")))
    before = next(one for one in casebook.cases["C1"].verdicts if one.sign == "time_to_restore")
    again = booked(TWICE)
    again.cases["C1"].verdicts[:] = [before]
    again.assess(Clock.at(ms("9h")))
    after = next(one for one in again.cases["C1"].verdicts if one.sign == "time_to_restore")
    assert (before.anchor_ms, after.anchor_ms) == (ms("1h"), ms("1h"))
    assert (before.sequence, after.sequence, after.retracted) == (0, 1, False)


def ledger_of(*cases: list[Event], as_of: str) -> Ledger:
    """Return the ledger of cases at a clock reading."""
    ledger = Ledger(WINDOWS)
    for events in cases:
        casebook = booked(events)
        casebook.assess(Clock.at(ms(as_of)))
        ledger.replace(None, casebook.cases["C1"])
    ledger.advance(ms(as_of))
    return ledger


def test_times_are_counted_in_buckets_and_added_up_and_are_neither_good_nor_bad() -> None:
    """A measured unit is in the bucket of its time, and in the sum, over the windows for times, and nowhere else."""
    found = [
        row
        for row in ledger_of([opened(region="north"), resolved("3h")], TWICE, as_of="9h").rows()
        if row.sign == "time_to_restore"
    ]
    job = {(row.window, row.state, row.detail): row.units for row in found if row.level == "job"}
    assert job == {
        (window, "measured", detail): units
        for window in ("7d", "30d")
        for detail, units in ((str(4 * HOUR_MS), 2), ("total", 6 * HOUR_MS))
    }
    assert {row.segment for row in found if row.level == "region"} == {"north", "unknown"}
    assert {row.level for row in found} == {"job", "region"}


def test_what_lasts_now_is_the_oldest_open_case_and_the_longest_silence() -> None:
    """Open cases are counted and the oldest is known, from its opening or reopening; so is the longest silence."""
    waiting, updated = [opened("1h", region="north")], [opened(), event("ticket.customer_updated", "5h")]
    lasting = set(ledger_of(waiting, updated, TWICE[:3], [opened(), resolved("1h")], as_of="9h").lasting())
    assert lasting == {
        Lasting("time_to_restore", "job", "", 3, ms("0h")),
        Lasting("time_to_restore", "region", "north", 1, ms("1h")),
        Lasting("time_to_restore", "region", "unknown", 2, ms("0h")),
        Lasting("no_silence", "job", "", 3, ms("1h")),
        Lasting("no_silence", "region", "north", 1, ms("1h")),
        Lasting("no_silence", "region", "unknown", 2, ms("2h")),
    }


def test_a_silence_goes_on_when_it_has_become_a_miss_and_a_pause_is_none() -> None:
    """The longest silence is that of now, broken promise or not; waiting on the customer does not count (rule 20)."""
    paused = [opened(), event("ticket.waiting_on_customer", "2h"), event("ticket.resumed", "12h")]
    (broken,) = (one for one in ledger_of([opened()], as_of="40h").lasting() if one[:2] == ("no_silence", "job"))
    (rested,) = (one for one in ledger_of(paused, as_of="40h").lasting() if one[:2] == ("no_silence", "job"))
    assert (broken.since_ms, rested.since_ms) == (ms("0h"), ms("10h"))


def test_what_no_longer_lasts_is_taken_back() -> None:
    """The longest is right after every change, whatever came and went, in any number."""
    longest: Longest[str] = Longest()
    for since_ms in [*range(200, 0, -1), 5]:
        longest.add(since_ms, {"x": 1})
    for since_ms in range(1, 150):
        longest.add(since_ms, {"x": -1})
    assert list(longest.lasting()) == [("x", 52, 5)]
    longest.add(5, {"x": -1})
    assert list(longest.lasting()) == [("x", 51, 150)]
    for since_ms in range(150, 201):
        longest.add(since_ms, {"x": -1})
    assert list(longest.lasting()) == []
