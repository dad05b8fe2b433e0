"""The fire call adapter and the judge are held to figures computed here from the CSV files, with no code of either."""

from __future__ import annotations

import csv
from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pytest

from parts.logs import DATA, require_files, surveyed

FILES = [DATA / "sf_fire_dispatch" / f"calls_{part}.csv" for part in ("a", "b")]
LOCAL = ZoneInfo("America/Los_Angeles")
STEPS = ("Received DtTm", "Entry DtTm", "Dispatch DtTm", "Response DtTm", "On Scene DtTm", "Available DtTm")
REPEAT_WINDOW = timedelta(days=30)
LATE_HORIZON = timedelta(hours=72)
ABANDONED_AFTER = timedelta(days=90)
ON_SITE_LIMIT = timedelta(hours=12)
READINGS = ("end", "sealed")

Row = dict[str, str]


class Unit(NamedTuple):
    """A row: when the unit was called, entered, sent, left, arrived and was free again; None where not stamped."""

    row: Row
    received: datetime
    entered: datetime
    sent: datetime
    left: datetime | None
    came: datetime | None
    free: datetime | None


@pytest.fixture(scope="module", autouse=True)
def _real_data(request: pytest.FixtureRequest) -> None:
    require_files(request, *FILES)


@cache
def lines_of(part: int) -> list[tuple[int, Row]]:
    """Return the rows of a file with the lines they stand on; no field has a line break."""
    with FILES[part].open(newline="") as file:
        return list(enumerate(csv.DictReader(file), start=2))


def stamp(text: str) -> datetime | None:
    """Read a local time, None where there is none."""
    return datetime.strptime(text, "%m/%d/%Y %I:%M:%S %p").replace(tzinfo=LOCAL).astimezone(UTC) if text else None


def unit(row: Row) -> Unit:
    """Return the unit of a row."""
    return Unit(row, *(stamp(row[step]) for step in STEPS))  # type: ignore[arg-type]


def in_order(row: Row) -> bool:
    """Whether every stamp follows the one before it."""
    stamps = [moment for moment in (stamp(row[step]) for step in STEPS) if moment]
    return stamps == sorted(stamps)


@pytest.fixture(scope="module")
def calls() -> dict[str, list[Unit]]:
    """Return the units of every call, rows that contradict themselves left out."""
    found: dict[str, list[Unit]] = {}
    for _, row in lines_of(0):
        if in_order(row):
            found.setdefault(row["Call Number"], []).append(unit(row))
    return found


def resolved_at(units: list[Unit]) -> datetime | None:
    """Return when the last unit of a call was free, if the disposition says that the department resolved it."""
    free = [one.free for one in units if one.free]
    return max(free) if free and any(one.row["Call Final Disposition"] == "Fire" for one in units) else None


def sealed_at(units: list[Unit]) -> datetime:
    """Return when a call's own verdicts become final: 33 days after the fix, without one 90 after the last word."""
    fix = resolved_at(units)
    if fix:
        return fix + REPEAT_WINDOW + LATE_HORIZON
    return max(moment for one in units for moment in one[2:] if moment) + ABANDONED_AFTER


def attempts(units: list[Unit]) -> list[list[Unit]]:
    """Group the units that arrived: one who comes while another is still there belongs to it."""
    groups: list[list[Unit]] = []
    there_until = datetime.min.replace(tzinfo=UTC)
    for one in sorted((one for one in units if one.came), key=lambda one: one.came):  # type: ignore[arg-type,return-value]
        assert one.came
        if one.came < there_until:
            groups[-1].append(one)
        else:
            groups.append([one])
        there_until = max(there_until, gone(one))
    return groups


def gone(one: Unit) -> datetime:
    """Return when a unit that arrived left, twelve hours later where that is not stamped or is longer."""
    assert one.came
    limit = one.came + ON_SITE_LIMIT
    return min(one.free, limit) if one.free else limit


def later_calls(calls: dict[str, list[Unit]], call: str, fix: datetime) -> bool:
    """Whether another call came from the same address within 30 days after a fix."""
    address = calls[call][0].row["Address"]
    return any(
        other != call and units[0].row["Address"] == address and fix < units[0].received <= fix + REPEAT_WINDOW
        for other, units in calls.items()
    )


def undecided(seal: datetime, now: datetime) -> str:
    """Say what becomes of what cannot be decided."""
    return "excluded unknown_at_seal" if now > seal else "pending"


@cache
def clock(reading: str) -> datetime:
    """Return a clock reading: the last stamp of the log, or when everything is final."""
    if reading == "sealed":
        return datetime(2019, 4, 15, tzinfo=UTC)
    return max(moment for _, row in lines_of(0) for moment in unit(row)[1:] if moment)  # type: ignore[type-var]


def told(sign: str, reading: str, *, misses_by_reason: bool = False) -> dict[str, str]:
    """Return what judge says of each unit: hit, miss, pending, or excluded and why."""
    survey = surveyed("fire")
    judged = survey.at_end if reading == "end" else survey.sealed
    said = {}
    for _, verdict, _ in judged:
        if verdict.sign == sign:
            word = "hit" if verdict.verdict.endswith("_hit") else verdict.verdict
            with_reason = word == "excluded" or (word == "miss" and misses_by_reason)
            said[verdict.unit] = f"{word} {verdict.reason.partition(':')[0]}" if with_reason else word
    return said


def test_every_row_is_told_or_reported() -> None:
    """5,205 rows: 11 whose stamps contradict each other are left out by file, line and field, all others are visits."""
    taken = surveyed("fire").taken
    wrong = [number for number, row in lines_of(0) if not in_order(row)]
    assert [line.partition(": ")[0] for line in taken.wrong] == [f"sf_fire_dispatch/calls_a.csv:{n}" for n in wrong]
    assert all(": expected a time not before " in line for line in taken.wrong)
    assert len(wrong) == 11
    assert taken.rows == sum(len(lines_of(part)) for part in (0, 1)) == 5205
    sent = Counter(event["visit_id"] for event in taken.events if event["type"] == "assigned")
    expected = Counter(row["RowID"] for part in (0, 1) for _, row in lines_of(part) if in_order(row))
    assert sent == expected


def test_events_are_the_stamps(calls: dict[str, list[Unit]]) -> None:
    """Accepted are one opening a call, one event a stamp, one resolution a call that the department resolved."""
    survey = surveyed("fire")
    units = [one for of_call in calls.values() for one in of_call]
    expected = {
        "opened": len(calls),
        "assigned": len(units),
        "en_route": sum(one.left is not None for one in units),
        "arrived": sum(one.came is not None for one in units),
        "completed": sum(one.came is not None and one.free is not None for one in units),
        "cancelled": sum(one.came is None and one.free is not None for one in units),
        "resolved": sum(resolved_at(of_call) is not None for of_call in calls.values()),
    }
    distinct = {(event["case_id"], event["event_id"]): event for event in survey.taken.events}
    assert Counter(event["type"] for event in distinct.values()) == expected
    assert survey.accepted == len(distinct)


def test_the_second_file_is_duplicates() -> None:
    """calls_b repeats 865 rows of calls_a: each of its events is counted as a duplicate, none as a conflict."""
    survey = surveyed("fire")
    again = [row for _, row in lines_of(1)]
    first = {row["RowID"]: row for _, row in lines_of(0)}
    assert len(again) == 865
    assert all(first[row["RowID"]] == row for row in again)
    units = [unit(row) for row in again if in_order(row)]
    by_call: dict[str, list[Unit]] = {}
    for one in units:
        by_call.setdefault(one.row["Call Number"], []).append(one)
    told_of = sum(moment is not None for one in units for moment in one[3:])
    told_of += len(by_call) + sum(resolved_at(of_call) is not None for of_call in by_call.values())
    assert survey.not_accepted == {"duplicate": told_of}


@pytest.mark.parametrize("reading", READINGS)
def test_a_unit_that_never_arrived_is_no_no_show(calls: dict[str, list[Unit]], reading: str) -> None:
    """Without a window no visit is a miss of on_time_arrival; arrived is `no_promise`, the rest not knowable."""
    expected = {}
    for units in calls.values():
        for one in units:
            seal = one.free + LATE_HORIZON if one.free else sealed_at(units)
            expected[one.row["RowID"]] = "excluded no_promise" if one.came else undecided(seal, clock(reading))
    found = told("on_time_arrival", reading)
    assert found == expected
    assert "miss" not in found.values()
    if reading == "sealed":
        assert Counter(found.values()) == {"excluded no_promise": 2906, "excluded unknown_at_seal": 1423}


@pytest.mark.parametrize("reading", READINGS)
def test_visits_that_moved_the_call(calls: dict[str, list[Unit]], reading: str) -> None:
    """Arrived and free again is a hit of visit_productive, turned back under way a miss, before that excluded."""
    expected = {}
    for units in calls.values():
        for one in units:
            if one.free and one.came:
                word = "hit"
            elif one.free:
                word = "miss" if one.left else "excluded cancelled"
            else:
                seal = one.came + LATE_HORIZON if one.came else sealed_at(units)
                word = undecided(seal, clock(reading))
            expected[one.row["RowID"]] = word
    assert told("visit_productive", reading) == expected


@pytest.mark.parametrize("reading", READINGS)
def test_units_that_overlap_are_one_attempt(calls: dict[str, list[Unit]], reading: str) -> None:
    """A call with one attempt that is resolved is fixed unless one follows within 30 days; two attempts are a miss."""
    expected = {}
    for call, units in calls.items():
        groups, fix = attempts(units), resolved_at(units)
        last = max((one.free for one in groups[0] if one.free), default=None) if groups else None
        if not groups:
            word = "excluded fixed_without_visit" if fix else undecided(sealed_at(units), clock(reading))
        elif len(groups) > 1:
            word = "miss second_attempt"
        elif fix is None or last is None:
            word = undecided(sealed_at(units), clock(reading))
        else:
            word = "miss repeat_case" if later_calls(calls, call, last) else "hit"
        expected[call] = word
    assert told("first_time_fix", reading, misses_by_reason=True) == expected
    assert sum(len(attempts(units)) > 1 for units in calls.values()) > 0
    arrived = [one for units in calls.values() for one in units if one.came]
    assert sum(len(attempts(units)) for units in calls.values()) < len(arrived)


@pytest.mark.parametrize("reading", READINGS)
def test_calls_that_stayed_fixed(calls: dict[str, list[Unit]], reading: str) -> None:
    """A resolved call stayed fixed unless one from the same address follows within 30 days; others are not knowable."""
    expected = {}
    for call, units in calls.items():
        fix = resolved_at(units)
        if fix is None:
            expected[call] = undecided(sealed_at(units), clock(reading))
        else:
            expected[call] = "miss" if later_calls(calls, call, fix) else "hit"
    assert told("stayed_fixed", reading) == expected


@pytest.mark.parametrize("reading", READINGS)
def test_calls_resolved_on_the_day(calls: dict[str, list[Unit]], reading: str) -> None:
    """The day is San Francisco's: a call taken before midnight there and resolved after it is a miss of same_day."""
    expected = {}
    for call, units in calls.items():
        day = units[0].received.astimezone(LOCAL).date()
        fix = resolved_at(units)
        if fix is None:
            expected[call] = "miss" if clock(reading).astimezone(LOCAL).date() > day else "pending"
        else:
            expected[call] = "hit" if fix.astimezone(LOCAL).date() == day else "miss"
    assert told("same_day", reading) == expected


def test_signs_that_the_log_cannot_tell(calls: dict[str, list[Unit]]) -> None:
    """Nobody answers or explains in this log, no part is asked for, and a call without an end is silent for ever."""
    counts = {sign: Counter(told(sign, "sealed").values()) for sign in ("first_response", "explained", "parts_ready")}
    assert counts["first_response"] == counts["explained"] == {"miss": len(calls)}
    assert {word.partition(" ")[0] for word in counts["parts_ready"]} == {"excluded"}
    silent = {call for call, word in told("no_silence", "sealed").items() if word == "miss"}
    assert silent == {call for call, units in calls.items() if resolved_at(units) is None}


def test_nothing_stays_pending() -> None:
    """When every unit is sealed none is pending."""
    assert not [verdict for _, verdict, _ in surveyed("fire").sealed if verdict.verdict == "pending"]
