"""recovery: was a broken promise turned into something positive? (definition C3)."""

from __future__ import annotations

import pytest

from cases import (
    Event,
    arrived,
    booked,
    cancelled,
    event,
    judged,
    ms,
    opened,
    reopened,
    resolved,
    scheduled,
    told,
    wakes_ms,
)
from cxstream.engine.assess import Clock
from cxstream.vital_signs import CATALOGUE

NONE, AWAITED, OPEN = "excluded no_broken_promise", "pending awaited", "pending open"
HIT, MISS = "provisional_hit recovered", "miss not_recovered"
BROKEN = [opened(), scheduled("1h", "48h", "50h"), arrived("51h")]
"""Broken at 50h15m; made good until 32d2h15m."""


def verdict(*events: Event, as_of: str = "10d") -> str:
    """Return what the sign says of C1."""
    return told([*events], as_of, "recovery")


def kept(at: str, made: str = "52h", commitment: str = "K1") -> list[Event]:
    """Return a commitment that was made and kept."""
    return [
        event("ticket.commitment_made", made, commitment_id=commitment, due="40d", named=f"{commitment}-made"),
        event("ticket.commitment_kept", at, commitment_id=commitment, named=f"{commitment}-kept"),
    ]


def paid(at: str) -> Event:
    """Return a compensation."""
    return event("ticket.compensated", at)


def given(at: str) -> Event:
    """Return something of value added."""
    return event("ticket.value_added", at, what="check-up")


FIXED = resolved("60h")


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([opened()], NONE),
        ([opened(), *kept("60h"), paid("61h"), FIXED], NONE),
        (BROKEN, AWAITED),
        ([*BROKEN, *kept("55h"), FIXED], AWAITED),
        ([*BROKEN, paid("55h"), FIXED], AWAITED),
        ([*BROKEN, *kept("55h"), paid("56h"), FIXED], HIT),
        ([*BROKEN, *kept("57h"), given("56h"), FIXED], HIT),
        ([*BROKEN, *kept("55h"), paid("56h")], OPEN),
        ([*BROKEN, *kept("55h"), paid("56h"), cancelled("60h")], HIT),
        ([*BROKEN, *kept("55h"), paid("56h"), FIXED, reopened("61h")], AWAITED),
        ([*BROKEN, *kept("55h", made="2h"), paid("56h"), FIXED], HIT),
        ([*BROKEN, *kept("50h", made="2h"), paid("56h"), FIXED], AWAITED),
        ([*BROKEN, *kept("55h"), paid("50h"), FIXED], AWAITED),
        ([*BROKEN, *kept("50h15m", made="2h"), paid("50h15m"), FIXED], HIT),
        (BROKEN[1:], "pending not_opened"),
    ],
)
def test_what_turns_it_round(events: list[Event], expected: str) -> None:
    """After the last broken promise one kept and amends made, and the case not open (C3)."""
    assert verdict(*events) == expected


@pytest.mark.parametrize(
    ("events", "as_of", "expected"),
    [
        ([FIXED], "32d2h15m", AWAITED),
        ([FIXED], "32d2h15m1ms", MISS),
        ([], "33d", MISS),
        ([*kept("32d2h15m"), paid("32d2h15m"), FIXED], "33d", HIT),
        ([*kept("32d2h15m1ms"), paid("32d2h15m"), FIXED], "33d", MISS),
        ([*kept("32d2h15m"), paid("32d2h15m1ms"), FIXED], "33d", MISS),
        ([*kept("55h"), paid("56h")], "33d", OPEN),
    ],
)
def test_both_within_the_window(events: list[Event], as_of: str, expected: str) -> None:
    """Both come within 30 days of the last promise broken, end inclusive, or the clock proves a miss (C3, rule 6)."""
    assert verdict(*BROKEN, *events, as_of=as_of) == expected


def test_a_promise_broken_later_begins_anew() -> None:
    """What was done before the last promise broke does not count for it (C3)."""
    again = event("ticket.commitment_made", "60h", commitment_id="K2", due="70h", kind="callback", named="K2-made")
    turned = [*BROKEN, *kept("55h"), paid("56h"), resolved("58h")]
    assert verdict(*turned) == HIT
    assert verdict(*turned, again) == AWAITED
    assert verdict(*turned, again, *kept("80h", commitment="K3"), given("81h")) == HIT


def test_a_commitment_that_was_changed_was_not_kept() -> None:
    """The change that broke a commitment keeps nothing, though it decided it (C3, rule 22)."""
    made = event("ticket.commitment_made", "52h", commitment_id="K1", due="40d", named="K1-made")
    change = event("ticket.commitment_changed", "55h", commitment_id="K1", due="50d", named="K1-changed")
    assert verdict(*BROKEN, made, change, paid("56h"), FIXED) == AWAITED


def test_where_it_is_counted() -> None:
    """A hit at the later of what was kept and the amends, a miss at the end of the 30 days (C3)."""
    for events, as_of, at in (
        ([*kept("55h"), paid("56h"), FIXED], "10d", "56h"),
        ([*kept("57h"), paid("56h"), paid("58h"), FIXED], "10d", "57h"),
        ([FIXED], "33d", "32d2h15m"),
    ):
        found = judged([*BROKEN, *events], as_of, "recovery")
        assert found is not None
        assert (found.decided, found.anchor_ms) == (True, ms(at))
        assert found.seal_ms == ms("35d12h")


def test_the_clock_wakes_it() -> None:
    """It is judged again at the first instant after the window (C3, rule 6)."""
    casebook = booked([*BROKEN, FIXED], catalogue={"recovery": CATALOGUE["recovery"]})
    casebook.assess(Clock.at(ms("61h")))
    assert wakes_ms(casebook.cases["C1"]) == ms("32d2h15m") + 1
