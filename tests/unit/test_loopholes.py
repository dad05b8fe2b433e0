"""Watched loopholes: what makes a figure look better than the customer was treated is counted (rule 24)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest

from cases import Event, booked, cancelled, completed, event, ms, opened, reopened, rescheduled, resolved, scheduled
from cxstream.config import load
from cxstream.domain.loopholes import LOOPHOLES
from cxstream.engine.assess import Clock
from cxstream.engine.ledger import Ledger

VISIT = [opened(), scheduled("0h", "50h", "52h")]
WAITING = event("ticket.waiting_on_customer", "2h")


def seen(events: Sequence[Event], as_of: str = "60h") -> list[tuple[str, int]]:
    """Return the sightings in the record of the one case."""
    casebook = booked(events)
    casebook.assess(Clock.at(ms(as_of)))
    return list(casebook.cases["C1"].sightings)


@pytest.mark.parametrize(
    ("events", "as_of", "expected"),
    [
        ([opened(), cancelled("1h", reason="created_in_error")], "2h", [("created_in_error", "1h")]),
        ([opened(), cancelled("1h", reason="customer_withdrew")], "2h", []),
        (
            [*VISIT, event("dispatch.arrived", "51h", visit_id="V1"), rescheduled("51h30m", "51h", "53h")],
            "60h",
            [("window_after_arrival", "51h30m")],
        ),
        ([*VISIT, event("dispatch.arrived", "51h", visit_id="V1"), rescheduled("10h", "51h", "53h")], "60h", []),
        ([opened(), completed("5h", "not_fixed"), resolved("6h")], "9h", [("resolved_after_not_fixed", "6h")]),
        ([opened(), completed("5h", "not_fixed"), completed("6h", "fixed", visit="V2"), resolved("7h")], "9h", []),
        ([opened(), completed("5h", "not_fixed"), resolved("4h")], "9h", []),
        ([opened(), WAITING], "9h", []),
        ([opened(), WAITING, resolved("5h")], "9h", [("pause_not_resumed", "2h")]),
        ([opened(), WAITING, event("ticket.resumed", "4h"), resolved("5h")], "9h", []),
        ([opened(), WAITING, event("ticket.resumed", "2h"), resolved("5h")], "9h", []),
        ([opened(), WAITING, event("ticket.resumed", "1h"), resolved("5h")], "9h", [("pause_not_resumed", "2h")]),
        ([opened(), WAITING], "170h", []),
        ([opened(), WAITING], "170h1ms", [("pause_not_resumed", "2h")]),
        ([*VISIT, rescheduled("25h59m", "70h", "72h")], "60h", [("change_just_beyond_notice", "25h59m")]),
        ([*VISIT, rescheduled("26h", "70h", "72h")], "60h", [("change_just_beyond_notice", "26h")]),
        ([*VISIT, rescheduled("26h1m", "70h", "72h")], "60h", []),
        ([*VISIT, rescheduled("24h", "70h", "72h")], "60h", []),
        ([*VISIT, rescheduled("25h", "70h", "72h", by="customer")], "60h", []),
        ([*VISIT, rescheduled("25h", "70h", "72h", agreed=True)], "60h", []),
    ],
)
def test_what_is_seen(events: list[Event], as_of: str, expected: list[tuple[str, str]]) -> None:
    """Each loophole is seen where it is used, at the instant of its use, and nowhere else (rule 24)."""
    assert seen(events, as_of) == [(name, ms(at)) for name, at in expected]


def test_a_visit_that_continues_a_failed_one_is_seen() -> None:
    """A visit said to continue one that failed would hide a second attempt; one that was to be continued is fair."""
    for outcome, expected in (("not_fixed", ["continued_failed_visit"]), ("continued", [])):
        first = [event("dispatch.arrived", "4h", visit_id="V1"), completed("5h", outcome)]
        second = scheduled("6h", "20h", "22h", visit="V2", continues="V1")
        assert [name for name, _ in seen([opened(), *first, second])] == expected


def test_the_clock_alone_makes_a_pause_one_that_was_never_resumed() -> None:
    """The record wakes when the longest pause has passed, without any event (rules 6 and 24)."""
    casebook = booked([opened(priority="P1"), WAITING, reopened("3h")])
    casebook.assess(Clock.at(ms("9h")))
    assert casebook.cases["C1"].deadline_ms <= ms("170h1ms")


def test_sightings_are_counted_in_windows_and_taken_back() -> None:
    """A correction takes a sighting off its bucket, as it does a verdict (rules 5 and 24)."""
    windows = load(None, {}).windows()
    ledger = Ledger(windows)
    late = booked([opened(), WAITING, resolved("5h")])
    late.assess(Clock.at(ms("9h")))
    mended = booked([opened(), WAITING, resolved("5h"), event("ticket.resumed", "4h")])
    mended.assess(Clock.at(ms("9h")))
    ledger.replace(None, late.cases["C1"])
    ledger.advance(ms("9h"))
    assert Counter(row.window for row in ledger.rows() if row.sign in LOOPHOLES) == Counter(["24h", "7d", "30d"])
    ledger.replace(late.cases["C1"], mended.cases["C1"])
    assert not [row for row in ledger.rows() if row.sign in LOOPHOLES]
