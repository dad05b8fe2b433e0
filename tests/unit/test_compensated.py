"""compensated: was what was broken made good? (definition C2)."""

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

NONE, AWAITED = "excluded no_broken_promise", "pending awaited"
HIT, MISS = "provisional_hit compensated", "miss not_compensated"
WINDOW = [opened(), scheduled("1h", "48h", "50h")]
LATE = [*WINDOW, arrived("51h")]


def verdict(*events: Event, as_of: str = "33d") -> str:
    """Return what the sign says of C1."""
    return told([*events], as_of, "compensated")


def paid(at: str, **more: object) -> Event:
    """Return a compensation."""
    return event("ticket.compensated", at, amount="50 EUR", **more)  # type: ignore[arg-type]


def made(at: str, due: str, commitment: str = "K1", **more: object) -> Event:
    """Return a commitment."""
    return event("ticket.commitment_made", at, commitment_id=commitment, due=due, named=commitment, **more)  # type: ignore[arg-type]


def changed(at: str, due: str, **more: object) -> Event:
    """Return a change of the commitment, by default by the provider without agreement."""
    return event("ticket.commitment_changed", at, commitment_id="K1", due=due, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("events", "since"),
    [
        (LATE, "50h15m"),
        (WINDOW, "50h15m"),
        ([*WINDOW, arrived("47h")], "47h"),
        ([*WINDOW, rescheduled("47h", "60h", "61h"), arrived("60h")], "47h"),
        ([*WINDOW, visit_cancelled("47h")], "47h"),
        ([*WINDOW, rescheduled("52h", "60h", "61h", by="customer"), arrived("60h")], "52h"),
        ([*WINDOW, rescheduled("2h", "60h", "61h"), arrived("62h")], "61h15m"),
        ([opened(), made("1h", "9h", kind="callback")], "9h"),
        ([opened(), made("1h", "9h", kind="callback"), event("ticket.customer_updated", "20h")], "9h"),
        ([opened(), made("1h", "9h"), changed("5h", "30h")], "5h"),
        ([opened(), made("1h", "9h"), changed("10h", "30h", by="customer")], "9h"),
        ([opened(), made("1h", "9h"), changed("5h", "30h", by="customer")], "30h"),
        ([opened(), resolved("1h"), reopened("9h")], "9h"),
        ([opened(), resolved("1h"), reopened("20h"), *of_case("C2", opened("9h"))], "9h"),
        ([opened(), resolved("1h"), *of_case("C2", opened("9h"))], "9h"),
    ],
)
def test_when_a_promise_is_broken(events: list[Event], since: str) -> None:
    """At the change, else at the end of window and grace, the due time, the reopening or repeat (C2)."""
    since_ms, before_ms = ms(since), 30 * 24 * 3_600_000
    at = f"{(since_ms - ms('0h')) // 1000}s"
    too_early = f"{(since_ms - ms('0h')) // 1000 - 1}s"
    assert verdict(*events, paid(at)) == HIT
    assert verdict(*events, paid(too_early), as_of="32d") in (AWAITED, MISS)
    found = judged([*events], "40d", "compensated")
    assert found is not None
    assert (found.reason, found.anchor_ms) == ("not_compensated", since_ms + before_ms)


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([opened()], NONE),
        ([opened(), paid("1h")], NONE),
        ([*WINDOW, arrived("49h")], NONE),
        ([*WINDOW, cancelled("2h")], NONE),
        ([*WINDOW, visit_cancelled("2h")], NONE),
        ([opened(), made("1h", "9h"), event("ticket.commitment_kept", "8h", commitment_id="K1")], NONE),
        ([opened(asset_id=None), resolved("1h"), reopened("9h")], NONE),
        ([*LATE, voided("52h", "arrived-V1-51h"), arrived("49h", named="right")], NONE),
        ([*LATE, merged("60h", "C2"), *of_case("C2", opened())], "excluded merged"),
        ([opened(kind="preventive"), *LATE[1:]], "excluded preventive"),
        (LATE[1:], "pending not_opened"),
        ([*LATE, cancelled("60h", reason="test")], "excluded test"),
        ([*LATE, cancelled("60h"), paid("61h")], HIT),
    ],
)
def test_cases_without_a_broken_promise_are_left_out(events: list[Event], expected: str) -> None:
    """Only misses of on_time_arrival, commitment_kept and stayed_fixed are broken promises; scope is as ever (C2)."""
    assert verdict(*events, as_of="20d") == expected


@pytest.mark.parametrize(
    ("events", "as_of", "expected"),
    [
        ([], "50h15m", NONE),
        ([], "50h15m1ms", AWAITED),
        ([], "32d2h15m", AWAITED),
        ([], "32d2h15m1ms", MISS),
        ([paid("32d2h15m")], "33d", HIT),
        ([paid("32d2h15m1ms")], "33d", MISS),
        ([paid("32d", seen="34d")], "34d", HIT),
        ([paid("60h"), voided("61h", "compensated-60h")], "33d", MISS),
    ],
)
def test_the_compensation_window(events: list[Event], as_of: str, expected: str) -> None:
    """From the broken promise on, 30 days inclusive, then a miss by the clock that a late fact takes back (C2)."""
    assert verdict(*WINDOW, *events, as_of=as_of) == expected


def test_every_broken_promise_is_to_be_made_good() -> None:
    """One compensation answers all promises broken by then, not those broken later; the last counts (C2)."""
    twice = [*LATE, made("60h", "80h")]
    assert verdict(*twice, paid("90h"), as_of="20d") == HIT
    assert verdict(*twice, paid("70h"), as_of="20d") == AWAITED
    assert verdict(*twice, paid("70h"), as_of="34d") == MISS
    found = judged([*twice, paid("70h"), paid("90h"), paid("95h")], "20d", "compensated")
    assert found is not None
    assert (found.verdict, found.anchor_ms) == ("provisional_hit", ms("90h"))


def test_a_miss_is_counted_at_the_end_of_the_first_window_left_unanswered() -> None:
    """Of several promises not made good the first to run out is where the miss begins (C2)."""
    found = judged([*LATE, made("60h", "80h")], "60d", "compensated")
    assert found is not None
    assert (found.verdict, found.anchor_ms) == ("miss", ms("32d2h15m"))


def test_the_visits_of_absorbed_cases_count() -> None:
    """A promise broken to a case that was merged into this one is one broken to this customer (C2, rule 9)."""
    other = of_case("C2", *LATE, merged("52h", "C1"))
    assert verdict(opened(), *other, as_of="20d") == AWAITED


@pytest.mark.parametrize("back", [[reopened("20d")], of_case("C2", opened("20d"))], ids=["reopened", "repeat case"])
def test_what_comes_before_its_own_seal_counts(back: list[Event]) -> None:
    """Whether the case itself tells of the broken promise or another case: the seal that gives is in force (C2)."""
    assert verdict(opened(), resolved("1h"), *back, paid("40d"), as_of="45d") == HIT


@pytest.mark.parametrize(
    ("events", "seal"),
    [
        ([*WINDOW, resolved("49h")], "35d2h15m"),
        ([*WINDOW, arrived("49h"), resolved("49h")], "35d1h"),
        ([opened(), resolved("1h"), reopened("20d")], "53d"),
        ([opened(), made("1h", "50d"), resolved("1h")], "83d"),
    ],
)
def test_when_it_is_sealed(events: list[Event], seal: str) -> None:
    """The later of the case's seal and 30 days and H after the last promise broken, or that would be (C2, rule 4)."""
    found = judged(events, "52h", "compensated")
    assert found is not None
    assert found.seal_ms == ms(seal)


def test_the_clock_wakes_it() -> None:
    """It is judged again when the next promise would break, and when the compensation is overdue (C2, rule 6)."""
    casebook = booked(WINDOW, catalogue={"compensated": CATALOGUE["compensated"]})
    casebook.assess(Clock.at(ms("2h")))
    assert wakes_ms(casebook.cases["C1"]) == ms("50h15m") + 1
    casebook.assess(Clock.at(ms("51h")))
    assert wakes_ms(casebook.cases["C1"]) == ms("32d2h15m") + 1


def test_a_promise_that_breaks_by_the_clock_is_not_overlooked() -> None:
    """Though one is broken by a change stated minutes ahead, the clock wakes it for another before (C2, rule 6)."""
    other = [scheduled("1h", "60h", "61h", "V2"), rescheduled("50h17m", "70h", "71h", "V2", seen="50h14m")]
    casebook = booked([*WINDOW, *other], catalogue={"compensated": CATALOGUE["compensated"]})
    casebook.assess(Clock.at(ms("50h14m")))
    assert wakes_ms(casebook.cases["C1"]) == ms("50h15m") + 1


def test_a_dead_feed_proves_no_broken_promise() -> None:
    """A no-show that only a dead feed suggests, and a compensation that it would bring, are no miss (C2, rule 6)."""
    casebook = booked(WINDOW)
    for silent in ({"dispatch": ms("40h")}, {"ticket": ms("40h")}):
        found = casebook.assess(Clock(ms("33d"), ms("33d"), silent))["C1"].case.verdicts
        assert [one.reason for one in found if one.sign == "compensated"] == ["source_silent"]


def test_a_visit_completed_without_a_report_of_arrival_is_not_broken() -> None:
    """What on_time_arrival cannot decide is no broken promise here either (C2, by rule 15)."""
    assert verdict(*WINDOW, completed("60h", "fixed"), as_of="20d") == NONE
