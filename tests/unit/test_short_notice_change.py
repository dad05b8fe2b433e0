"""short_notice_change: could the customer rely on the date? (definition B6)."""

from __future__ import annotations

import pytest

from cases import (
    Event,
    arrived,
    booked,
    cancelled,
    completed,
    judged,
    ms,
    opened,
    planned,
    rescheduled,
    scheduled,
    told,
    visit_cancelled,
    voided,
    wakes_ms,
)
from cxstream.engine.assess import Clock
from cxstream.vital_signs import CATALOGUE

PROMISE = [opened(), scheduled("1h", "48h", "50h")]
HIT, MISS, AWAITED = "provisional_hit unchanged", "miss short_notice", "pending awaited"
CALLED_OFF = "provisional_hit cancelled_in_time"


def verdict(*events: Event, as_of: str = "60h") -> str:
    """Return what the sign says of V1."""
    return told([*events], as_of, "short_notice_change", "V1")


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        (rescheduled("24h", "70h", "72h"), False),
        (rescheduled("24h1ms", "70h", "72h"), True),
        (rescheduled("47h", "70h", "72h", by="provider"), True),
        (rescheduled("47h", "70h", "72h", by="customer"), False),
        (rescheduled("47h", "70h", "72h", agreed=True), False),
        (rescheduled("47h", "48h", "49h"), False),
        (rescheduled("47h", "48h", "50h1ms"), True),
        (rescheduled("47h", "47h", "49h"), True),
        (scheduled("47h", "70h", "72h"), True),
        (rescheduled("51h", "70h", "72h"), True),
        (rescheduled("51h", "70h", "72h", by="customer"), False),
        (visit_cancelled("24h"), False),
        (visit_cancelled("24h1ms"), True),
        (visit_cancelled("47h", by="customer"), False),
        (visit_cancelled("47h", agreed=True), False),
    ],
)
def test_which_change_is_at_short_notice(change: Event, broken: bool) -> None:  # noqa: FBT001 - a table
    """The provider's, with less than 24 h, neither agreed nor inside the window; it sticks (B6, by rule 15)."""
    later = [scheduled("90h", "200h", "201h", by="customer"), arrived("200h")]
    assert (verdict(*PROMISE, change, as_of="300h") == MISS) is broken
    assert (verdict(*PROMISE, change, *later, as_of="300h") == MISS) is broken


@pytest.mark.parametrize(
    ("events", "as_of", "expected"),
    [
        (PROMISE, "47h", AWAITED),
        (PROMISE, "50h15m", AWAITED),
        (PROMISE, "50h15m1ms", HIT),
        ([*PROMISE, arrived("47h")], "47h", HIT),
        ([*PROMISE, completed("46h", "no_access")], "47h", HIT),
        ([*PROMISE, arrived("47h"), rescheduled("49h", "70h", "72h")], "60h", HIT),
        ([*PROMISE, arrived("47h"), visit_cancelled("47h")], "60h", HIT),
        ([*PROMISE, visit_cancelled("2h")], "3h", CALLED_OFF),
        ([*PROMISE, visit_cancelled("2h"), scheduled("3h", "4h", "5h")], "3h", AWAITED),
        ([*PROMISE, visit_cancelled("2h"), scheduled("3h", "4h", "5h")], "6h", HIT),
        ([*PROMISE, cancelled("2h")], "60h", HIT),
        ([opened(), planned("1h")], "60h", "pending no_window_yet"),
        ([opened(), visit_cancelled("1h")], "60h", "pending no_window_yet"),
        ([opened(), planned("1h"), arrived("2h")], "60h", "excluded no_promise"),
        ([opened(), completed("2h")], "60h", "excluded no_promise"),
        ([*PROMISE, rescheduled("47h", "70h", "72h"), voided("49h", "rescheduled-V1-47h")], "60h", HIT),
        ([*PROMISE, cancelled("2h", reason="duplicate")], "60h", "excluded duplicate"),
        ([opened(kind="preventive"), *PROMISE[1:], arrived("48h")], "60h", HIT),
    ],
)
def test_when_it_is_known(events: list[Event], as_of: str, expected: str) -> None:
    """A promise unchanged is a hit once somebody came, it was called off, or its window and grace are over (B6)."""
    assert verdict(*events, as_of=as_of) == expected


@pytest.mark.parametrize(
    ("events", "at"),
    [
        ([rescheduled("47h", "70h", "72h"), arrived("70h")], "47h"),
        ([arrived("49h")], "49h"),
        ([completed("49h")], "49h"),
        ([visit_cancelled("2h")], "2h"),
        ([], "50h15m"),
    ],
)
def test_where_it_is_counted(events: list[Event], at: str) -> None:
    """A miss at the change; a hit where somebody came, it was called off, or the window and grace ended (B6)."""
    found = judged([*PROMISE, *events], "100h", "short_notice_change", "V1")
    assert found is not None
    assert found.anchor_ms == ms(at)


def test_the_end_of_the_window_wakes_it() -> None:
    """The clock alone makes it a hit at the first instant after window and grace (B6, rule 6)."""
    casebook = booked(PROMISE, catalogue={"short_notice_change": CATALOGUE["short_notice_change"]})
    casebook.assess(Clock.at(ms("2h")))
    assert wakes_ms(casebook.cases["C1"]) == ms("50h15m") + 1
