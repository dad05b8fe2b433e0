"""same_day: was it fixed on the day it was reported? Local days, reopens and the instant of midnight (rule 18)."""

from __future__ import annotations

import pytest

from cases import (
    Event,
    arrived,
    booked,
    cancelled,
    completed,
    corrected,
    judged,
    merged,
    ms,
    of_case,
    opened,
    planned,
    reopened,
    resolved,
    told,
    voided,
    wakes_ms,
)
from cxstream.domain.instant import format_instant, local_midnight_after, parse_instant
from cxstream.engine.assess import Clock
from cxstream.vital_signs import CATALOGUE

HIT, LATER = "provisional_hit fixed_same_day", "miss fixed_later"
NOT_FIXED, AWAITED = "miss not_fixed_by_midnight", "pending not_fixed_yet"
CALLED_OFF = "excluded cancelled"


def verdict(*events: Event, as_of: str = "20h", tz: str | None = None) -> str:
    """Return what same_day says of a case opened at 0h: 08:00 UTC, 16 h before midnight there."""
    return told([opened(tz=tz), *events], as_of, "same_day")


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("0h", HIT),
        ("1h", HIT),
        ("15h59m59s", HIT),
        ("15h59m59s999ms", HIT),
        ("16h", LATER),
        ("16h1ms", LATER),
        ("16h1s", LATER),
        ("18h", LATER),
    ],
)
def test_fixed_before_midnight(at: str, expected: str) -> None:
    """A fix before local midnight is a hit, one at midnight or later a miss, by desk or by visit (rules 7 and 18)."""
    assert verdict(resolved(at)) == expected
    assert verdict(resolved(at, remote=True)) == expected
    assert verdict(completed(at, "fixed")) == expected


@pytest.mark.parametrize(
    ("as_of", "expected"),
    [("15h59m59s", AWAITED), ("15h59m59s999ms", AWAITED), ("16h", NOT_FIXED), ("16h1s", NOT_FIXED)],
)
def test_the_miss_begins_at_midnight(as_of: str, expected: str) -> None:
    """Without any event the day is lost at the very instant of midnight (rules 6 and 18)."""
    assert verdict(as_of=as_of) == expected


def test_a_fix_that_the_clock_has_not_reached_is_no_miss_before_midnight() -> None:
    """Known ahead that the fix is after midnight, by skew or correction, the miss begins at midnight (rule 18)."""
    skewed = resolved("16h1m", seen="15h58m")
    assert verdict(skewed, as_of="15h59m59s999ms") == AWAITED
    assert verdict(skewed, as_of="16h") == LATER
    ahead = [resolved("10h", named="r"), corrected("11h", "r", {"at": "20h"})]
    assert verdict(*ahead, as_of="12h") == AWAITED
    assert verdict(*ahead, as_of="16h") == LATER
    assert verdict(cancelled("9h"), *ahead, as_of="12h") == AWAITED
    assert verdict(cancelled("9h"), *ahead, as_of="16h") == LATER


def test_a_miss_is_taken_back_when_the_fix_arrives() -> None:
    """A fix of that day that reaches us later, by the seal, makes it a hit after all (rules 2, 3 and 18)."""
    assert verdict(resolved("15h", seen="30h"), as_of="30h") == HIT


@pytest.mark.parametrize(
    "claim",
    [
        [completed("2h", "partial")],
        [completed("2h", "not_fixed")],
        [completed("2h")],
        [planned("1h", purpose="survey"), completed("2h", "fixed")],
        [planned("1h", purpose="preventive"), completed("2h", "fixed")],
        [arrived("2h")],
    ],
)
def test_what_is_no_fix(claim: list[Event]) -> None:
    """Only a repair visit that reports fixed and the ticket's resolution are fixes (rules 7 and 18)."""
    assert verdict(*claim, as_of="15h") == AWAITED
    assert verdict(*claim) == NOT_FIXED


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([resolved("1h"), reopened("2h")], NOT_FIXED),
        ([resolved("1h"), reopened("2h"), resolved("3h", named="again")], HIT),
        ([resolved("1h"), reopened("2h"), resolved("15h59m59s999ms", named="again")], HIT),
        ([resolved("1h"), reopened("2h"), resolved("16h", named="again")], LATER),
        ([resolved("1h"), reopened("2h"), completed("3h", "fixed")], HIT),
        ([resolved("1h"), reopened("2h"), resolved("3h", named="again"), reopened("4h")], NOT_FIXED),
        ([resolved("1h"), resolved("3h", named="again"), reopened("2h"), reopened("4h")], NOT_FIXED),
        ([resolved("1h"), reopened("2h", reason="billing")], HIT),
        ([resolved("1h"), reopened("2h", reason="other")], HIT),
        ([resolved("1h"), reopened("17h")], NOT_FIXED),
        ([resolved("1h"), reopened("17h"), resolved("18h", named="again")], LATER),
        ([resolved("1h"), reopened("2h"), resolved("2h", named="again")], NOT_FIXED),
        ([resolved("1h"), reopened("2h"), resolved("2h1ms", named="again")], HIT),
        ([resolved("1h"), reopened("1h")], NOT_FIXED),
        ([resolved("1h"), resolved("2h", named="again"), reopened("1h30m")], HIT),
        ([reopened("30m"), resolved("1h")], HIT),
        ([resolved("1h"), resolved("17h", named="again")], HIT),
    ],
)
def test_the_fix_that_counts(events: list[Event], expected: str) -> None:
    """The first claim strictly after the last fault reopen counts, administrative reopens undo nothing (rule 18)."""
    assert verdict(*events) == expected


@pytest.mark.parametrize(
    ("at", "expected"),
    [("30d59m59s", NOT_FIXED), ("30d1h", NOT_FIXED), ("30d1h1ms", HIT), ("30d1h1s", HIT)],
)
def test_a_reopen_counts_until_fix_and_r(at: str, expected: str) -> None:
    """A fault reopen at fix + R still undoes the fix, one later does not (rule 18)."""
    assert verdict(resolved("1h"), reopened(at), as_of="32d") == expected


def test_r_runs_from_the_first_claim() -> None:
    """The last reopen that counts is by the first fix and R, not by a later claim's (rule 18)."""
    twice = [resolved("1h"), reopened("2h"), resolved("3h", named="again")]
    assert verdict(*twice, reopened("30d1h"), as_of="32d") == NOT_FIXED
    assert verdict(*twice, reopened("30d1h1ms"), as_of="32d") == HIT


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([cancelled("1h")], CALLED_OFF),
        ([cancelled("15h59m59s999ms")], CALLED_OFF),
        ([cancelled("16h")], NOT_FIXED),
        ([cancelled("16h1s")], NOT_FIXED),
        ([cancelled("1h"), resolved("2h")], HIT),
        ([cancelled("1h"), resolved("17h")], LATER),
        ([resolved("1h"), cancelled("2h")], HIT),
        ([resolved("1h"), reopened("2h"), cancelled("3h")], CALLED_OFF),
        ([resolved("1h"), reopened("2h"), cancelled("16h")], NOT_FIXED),
        ([cancelled("1h", named="x"), voided("2h", "x")], NOT_FIXED),
    ],
)
def test_a_cancelled_case(events: list[Event], expected: str) -> None:
    """Cancelled before midnight without a fix is excluded, at midnight or with a fix it is judged (rules 7, 18)."""
    assert verdict(*events) == expected


def test_a_cancelled_case_is_excluded_at_once() -> None:
    """A case that ended without a fix does not wait for midnight (rule 18)."""
    assert verdict(cancelled("1h"), as_of="2h") == CALLED_OFF


@pytest.mark.parametrize(
    ("tz", "midnight"),
    [
        (None, "16h"),
        ("UTC", "16h"),
        ("Europe/Berlin", "15h"),
        ("America/Chicago", "22h"),
        ("Pacific/Auckland", "3h"),
        ("Pacific/Honolulu", "2h"),
        ("Asia/Kathmandu", "10h15m"),
    ],
)
def test_the_day_is_the_local_one_of_the_site(tz: str | None, midnight: str) -> None:
    """Midnight is that of the zone of the opening, UTC if it states none (rule 18)."""
    just_before = f"{ms(midnight) - ms('0h') - 1}ms"
    assert verdict(resolved(just_before), as_of="23h", tz=tz) == HIT
    assert verdict(resolved(midnight), as_of="23h", tz=tz) == LATER
    assert verdict(as_of=just_before, tz=tz) == AWAITED
    assert verdict(as_of=midnight, tz=tz) == NOT_FIXED


@pytest.mark.parametrize(
    ("opened_at", "zone", "midnight"),
    [
        ("2026-03-28T10:00:00Z", "Europe/Berlin", "2026-03-28T23:00:00Z"),  # the day before: 24 h of winter time
        ("2026-03-28T23:00:00Z", "Europe/Berlin", "2026-03-29T22:00:00Z"),  # 23 h
        ("2026-03-29T00:59:59Z", "Europe/Berlin", "2026-03-29T22:00:00Z"),  # before the change at 01:00 UTC
        ("2026-03-29T01:00:00Z", "Europe/Berlin", "2026-03-29T22:00:00Z"),
        ("2026-10-24T22:00:00Z", "Europe/Berlin", "2026-10-25T23:00:00Z"),  # 25 h
        ("2026-10-25T00:30:00Z", "Europe/Berlin", "2026-10-25T23:00:00Z"),  # the first 02:30
        ("2026-10-25T01:30:00Z", "Europe/Berlin", "2026-10-25T23:00:00Z"),  # the second 02:30
        ("2026-03-08T06:00:00Z", "America/Chicago", "2026-03-09T05:00:00Z"),
        ("2026-09-05T12:00:00Z", "America/Santiago", "2026-09-06T04:00:00Z"),  # the midnight that does not exist
    ],
)
def test_days_of_daylight_saving(opened_at: str, zone: str, midnight: str) -> None:
    """On days of 23 and 25 h, and where midnight is skipped, the day ends where the next begins (rule 18)."""
    midnight_ms = parse_instant(midnight)
    assert local_midnight_after(parse_instant(opened_at), zone) == midnight_ms
    opening = {**opened(tz=zone), "at": opened_at, "seen": opened_at}
    for fixed_ms, expected in ((midnight_ms - 1, "provisional_hit"), (midnight_ms, "miss")):
        casebook = booked([opening, {**resolved("0h"), "at": format_instant(fixed_ms)}])
        casebook.assess(Clock.at(midnight_ms))
        (found,) = (one for one in casebook.cases["C1"].verdicts if one.sign == "same_day")
        assert (found.verdict, found.anchor_ms) == (expected, fixed_ms)


def test_a_corrected_zone_moves_midnight() -> None:
    """The zone is the corrected one, and so is the opening (rules 5 and 18)."""
    fixed = resolved("15h30m")
    assert verdict(fixed) == HIT
    assert verdict(fixed, corrected("17h", "opened-0h", {"tz": "Europe/Berlin"})) == LATER
    assert verdict(fixed, corrected("17h", "opened-0h", {"at": "-9h"})) == LATER


def test_the_seal_of_a_case_that_is_fixed() -> None:
    """A hit and a miss are final 1 ms after the fix, R and H (rules 4 and 18)."""
    assert verdict(resolved("1h"), as_of="33d1h") == HIT
    assert verdict(resolved("1h"), as_of="33d1h1ms") == "final_hit fixed_same_day"
    for at, sealed in (("33d17h", False), ("33d17h1ms", True)):
        found = judged([opened(), resolved("17h")], at, "same_day")
        assert found is not None
        assert (found.verdict, found.sealed) == ("miss", sealed)


@pytest.mark.parametrize(("seen", "expected"), [("33d1h", NOT_FIXED), ("33d1h1ms", "final_hit fixed_same_day")])
def test_a_reopen_that_reaches_us_late(seen: str, expected: str) -> None:
    """A reopen delivered by the seal counts, one delivered after it does not (rules 3, 4 and 18)."""
    assert verdict(resolved("1h"), reopened("2h", seen=seen), as_of="34d") == expected


def test_the_fix_of_an_absorbed_case_counts() -> None:
    """A visit of a case merged into this one fixes this one too (rules 9 and 18)."""
    absorbed = of_case("C2", opened("1h", asset_id="A2"), completed("2h", "fixed", "V2"), merged("3h", "C1"))
    assert verdict(*absorbed) == HIT


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([opened(kind="preventive"), resolved("1h")], "excluded preventive"),
        ([opened(kind="alert")], "excluded alert"),
        ([opened(), merged("1h", "C9")], "excluded merged"),
        ([opened(), cancelled("17h", reason="test")], "excluded test"),
        ([resolved("1h")], "pending not_opened"),
        ([opened(asset_id=None), resolved("1h")], HIT),
    ],
)
def test_which_cases_are_judged(events: list[Event], expected: str) -> None:
    """Only break_fix cases that exist, are not merged and were opened are judged, whatever their asset (rule 23)."""
    assert told(events, "20h", "same_day") == expected


@pytest.mark.parametrize(
    ("events", "anchor"),
    [
        ([resolved("1h")], "1h"),
        ([resolved("1h"), reopened("2h"), resolved("3h", named="again")], "3h"),
        ([resolved("17h")], "16h"),
        ([], "16h"),
    ],
)
def test_a_case_is_counted_at_its_fix_or_at_midnight(events: list[Event], anchor: str) -> None:
    """A hit is counted at the fix that counts, a miss at local midnight (rule 18)."""
    found = judged([opened(), *events], "20h", "same_day")
    assert found is not None
    assert found.anchor_ms == ms(anchor)


@pytest.mark.parametrize("events", [[], [resolved("1h"), reopened("2h")], [resolved("16h1m", seen="15h57m")]])
def test_the_case_is_judged_again_at_midnight(events: list[Event]) -> None:
    """While it is pending the case wakes at midnight, where the verdict changes, and not before (rules 6, 18)."""
    casebook = booked([opened(), *events], catalogue={"same_day": CATALOGUE["same_day"]})
    casebook.assess(Clock.at(ms("15h58m")))
    assert wakes_ms(casebook.cases["C1"]) == ms("16h")
    for clock_ms, expected in ((ms("16h") - 1, "pending"), (ms("16h"), "miss")):
        casebook.assess(Clock.at(clock_ms))
        assert [one.verdict for one in casebook.cases["C1"].verdicts] == [expected]


def test_silence_of_a_dead_source_is_no_evidence() -> None:
    """While visits are not reported a day without a fix proves nothing; a fix on the next day does (rules 6, 18)."""
    for events, expected in (([], "pending source_silent"), ([resolved("17h")], LATER)):
        casebook = booked([opened(), *events], catalogue={"same_day": CATALOGUE["same_day"]})
        casebook.assess(Clock(ms("20h"), ms("20h"), {"dispatch": 0}))
        assert [f"{one.verdict} {one.reason}" for one in casebook.cases["C1"].verdicts] == [expected]
