"""The example adapters of public logs: every row is told or reported, no time is guessed, no value read too early."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from cxstream.domain.policy import Policy
from cxstream.offline.events_file import read_event
from parts.logs import load

FIRE = load("examples/adapters/fire_dispatch.py")
INCIDENTS = load("examples/adapters/incidents.py")

CALL = {
    "Call Number": "1",
    "Unit ID": "E21",
    "RowID": "1-E21",
    "Final Priority": "3",
    "Address": "GROVE ST",
    "Call Type": "Structure Fire",
    "Call Final Disposition": "Fire",
    "Received DtTm": "07/01/2018 01:00:00 PM",
    "Entry DtTm": "07/01/2018 01:01:00 PM",
    "Dispatch DtTm": "07/01/2018 01:02:00 PM",
    "Response DtTm": "07/01/2018 01:03:00 PM",
    "On Scene DtTm": "07/01/2018 01:10:00 PM",
    "Available DtTm": "07/01/2018 01:40:00 PM",
}
CHANGE = {
    "number": "INC1",
    "incident_state": "New",
    "reopen_count": "0",
    "sys_mod_count": "0",
    "opened_at": "01-03-2016 09:00",
    "sys_updated_at": "01-03-2016 09:05",
    "contact_type": "Phone",
    "u_symptom": "?",
    "cmdb_ci": "?",
    "priority": "2 - High",
    "resolved_at": "02-03-2016 10:00",
    "closed_at": "07-03-2016 11:00",
}

Row = dict[str, str]
Event = dict[str, Any]


def written(path: Path, *rows: Row) -> Path:
    """Write rows as CSV with a heading; return the path."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def fire(tmp_path: Path, *rows: Row) -> tuple[list[Event], list[str]]:
    """Return what becomes of fire calls: the events, and the rows left out without the folder they are in."""
    converted = FIRE.convert([written(tmp_path / "calls.csv", *rows)], ZoneInfo("America/Los_Angeles"))
    assert converted.rows == len(rows)
    return converted.events, [line.removeprefix(f"{tmp_path}/") for line in converted.wrong]


def incidents(tmp_path: Path, *rows: Row, zone: str = "UTC") -> tuple[list[Event], list[str]]:
    """Return what becomes of incident rows, likewise."""
    converted = INCIDENTS.convert([written(tmp_path / "log.csv", *rows)], ZoneInfo(zone))
    assert converted.rows == len(rows)
    return converted.events, [line.removeprefix(f"{tmp_path}/") for line in converted.wrong]


def steps(events: Sequence[Event]) -> list[tuple[str, str]]:
    """Return type and time of events."""
    return [(event["type"], event["at"]) for event in events]


# --- Fire calls ---


def test_a_unit_is_a_visit(tmp_path: Path) -> None:
    """A row is told as a call opened and resolved, delivered at entry, and a visit with each of its stamps."""
    events, wrong = fire(tmp_path, CALL)
    assert wrong == []
    assert steps(events) == [
        ("opened", "2018-07-01T20:00:00+00:00"),
        ("assigned", "2018-07-01T20:02:00+00:00"),
        ("en_route", "2018-07-01T20:03:00+00:00"),
        ("arrived", "2018-07-01T20:10:00+00:00"),
        ("completed", "2018-07-01T20:40:00+00:00"),
        ("resolved", "2018-07-01T20:40:00+00:00"),
    ]
    assert events[0]["seen"] == "2018-07-01T20:01:00+00:00"
    assert all(event["seen"] == event["at"] for event in events[1:])
    assert "outcome" not in events[4]


def test_a_unit_that_never_arrived_was_turned_back(tmp_path: Path) -> None:
    """Without On Scene a visit is cancelled by the provider, not completed: nobody was there."""
    events, wrong = fire(tmp_path, CALL | {"On Scene DtTm": "", "Call Final Disposition": "Other"})
    assert wrong == []
    assert [event["type"] for event in events] == ["opened", "assigned", "en_route", "cancelled"]
    assert events[-1]["by"] == "provider"


def test_the_disposition_is_read_when_the_last_unit_is_free(tmp_path: Path) -> None:
    """The disposition stands in every row of a call, but resolves it only once its last unit is free."""
    later = CALL | {"Unit ID": "T10", "RowID": "1-T10", "Available DtTm": "07/01/2018 03:00:00 PM"}
    events, _ = fire(tmp_path, CALL, later)
    resolved = [event for event in events if event["type"] == "resolved"]
    assert steps(resolved) == [("resolved", "2018-07-01T22:00:00+00:00")]
    assert resolved[0]["seen"] == "2018-07-01T22:00:00+00:00"
    assert [event["type"] for event in events].count("opened") == 1


def test_the_second_of_two_like_hours(tmp_path: Path) -> None:
    """When clocks are set back, a stamp shown twice is the first time that is not before the stamp it follows."""
    night = {
        "Received DtTm": "11/04/2018 01:50:00 AM",
        "Entry DtTm": "11/04/2018 01:51:00 AM",
        "Dispatch DtTm": "11/04/2018 01:52:00 AM",
        "Response DtTm": "11/04/2018 01:59:00 AM",
        "On Scene DtTm": "11/04/2018 01:05:00 AM",
        "Available DtTm": "11/04/2018 02:10:00 AM",
    }
    events, wrong = fire(tmp_path, CALL | night)
    assert wrong == []
    assert [at for _, at in steps(events)] == [
        "2018-11-04T08:50:00+00:00",
        "2018-11-04T08:52:00+00:00",
        "2018-11-04T08:59:00+00:00",
        "2018-11-04T09:05:00+00:00",
        "2018-11-04T10:10:00+00:00",
        "2018-11-04T10:10:00+00:00",
    ]


def test_an_hour_that_never_was(tmp_path: Path) -> None:
    """When clocks are set forward, a stamp in the hour left out makes the row wrong; the others are told."""
    never = CALL | {"On Scene DtTm": "03/11/2018 02:30:00 AM", "Available DtTm": "", "Call Number": "2"}
    before = ("Received DtTm", "Entry DtTm", "Dispatch DtTm", "Response DtTm")
    never |= {field: f"03/11/2018 01:5{minute}:00 AM" for minute, field in enumerate(before)}
    events, wrong = fire(tmp_path, never, CALL)
    assert wrong == ["calls.csv:2: On Scene DtTm: expected a time that clocks in America/Los_Angeles have shown"]
    assert {event["case_id"] for event in events} == {"1"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"Call Number": ""}, "Call Number: expected a value"),
        ({"Final Priority": "A"}, "Final Priority: expected one of 3, 2"),
        ({"Received DtTm": ""}, "Received DtTm: expected a time like 05/23/2015 04:44:04 AM"),
        ({"Available DtTm": "2018-07-01 13:40"}, "Available DtTm: expected a time like 05/23/2015 04:44:04 AM"),
        ({"Available DtTm": "07/01/2018 01:09:59 PM"}, "Available DtTm: expected a time not before On Scene DtTm"),
    ],
)
def test_a_wrong_row_of_a_call(tmp_path: Path, change: Row, said: str) -> None:
    """A wrong row is told by file, line and field with what was expected, and left out; the rest is processed."""
    good = CALL | {"Unit ID": "T10", "RowID": "1-T10"}
    events, wrong = fire(tmp_path, CALL | change, good)
    assert wrong == [f"calls.csv:2: {said}"]
    assert events == fire(tmp_path, good)[0]


# --- Incidents ---


def history(**columns: str) -> list[Row]:
    """Return the rows of an incident that is asked about, resolved, reopened, and closed; with columns changed."""
    states = [
        ("New", "0", "01-03-2016 09:05"),
        ("Active", "0", "01-03-2016 10:00"),
        ("Active", "0", "01-03-2016 10:30"),
        ("Awaiting User Info", "0", "01-03-2016 11:00"),
        ("Resolved", "0", "02-03-2016 09:00"),
        ("Active", "1", "02-03-2016 09:30"),
        ("Resolved", "1", "02-03-2016 10:00"),
        ("Closed", "1", "07-03-2016 11:00"),
    ]
    return [
        CHANGE
        | {"incident_state": state, "reopen_count": reopens, "sys_updated_at": at, "sys_mod_count": str(number)}
        | columns
        for number, (state, reopens, at) in enumerate(states)
    ]


TOLD = [
    ("opened", "2016-03-01T09:00:00+00:00"),
    ("acknowledged", "2016-03-01T10:00:00+00:00"),
    ("updated", "2016-03-01T10:30:00+00:00"),
    ("waiting_on_customer", "2016-03-01T11:00:00+00:00"),
    ("resumed", "2016-03-02T09:00:00+00:00"),
    ("resolved", "2016-03-02T09:00:00+00:00"),
    ("reopened", "2016-03-02T09:30:00+00:00"),
    ("resolved", "2016-03-02T10:00:00+00:00"),
    ("closed", "2016-03-07T11:00:00+00:00"),
]


def test_an_incident_is_told_by_its_changes(tmp_path: Path) -> None:
    """Changes of state and reopenings are told when the row was written; only the first Active acknowledges."""
    events, wrong = incidents(tmp_path, *history())
    assert wrong == []
    assert steps(events) == TOLD
    assert events[0]["seen"] == "2016-03-01T09:05:00+00:00"
    assert (events[0]["asset_id"], events[0]["priority"], events[0]["channel"]) == (None, "P2", "phone")


def test_columns_that_are_filled_in_later_are_not_read(tmp_path: Path) -> None:
    """Whatever resolved_at, closed_at and made_sla say, the events are the same."""
    garbled = history(resolved_at="when it is done", closed_at="31-02-2016 99:99", made_sla="?")
    assert incidents(tmp_path, *garbled) == incidents(tmp_path, *history())


def test_nothing_is_told_before_it_is_known(tmp_path: Path) -> None:
    """The events of the first rows are the first events of all rows: no row is read for an earlier one."""
    rows = history()
    events, _ = incidents(tmp_path, *rows)
    for count in range(1, len(rows) + 1):
        so_far, _ = incidents(tmp_path, *rows[:count])
        assert so_far == events[: len(so_far)]


def test_rows_are_read_in_the_order_they_were_written(tmp_path: Path) -> None:
    """Neither the order of the file nor the number of a change matters, but among the changes of one minute."""
    rows = history()
    assert incidents(tmp_path, *reversed(rows)) == incidents(tmp_path, *rows)
    misnumbered = [rows[0] | {"sys_mod_count": "9"}, *rows[1:]]
    assert steps(incidents(tmp_path, *misnumbered)[0]) == TOLD
    hasty = [row | {"sys_updated_at": "01-03-2016 09:05"} for row in rows]
    assert [event["type"] for event in incidents(tmp_path, *reversed(hasty))[0]] == [told for told, _ in TOLD]


def test_a_row_from_before_its_own_opening(tmp_path: Path) -> None:
    """A row written before the opening it states is left out; the next row of the incident opens it."""
    early = CHANGE | {"sys_updated_at": "01-03-2016 08:59"}
    events, wrong = incidents(tmp_path, early, *history())
    assert wrong == ["log.csv:2: opened_at: expected a time not after sys_updated_at, when the row was written"]
    assert steps(events) == TOLD


def test_both_ways_to_write_a_date(tmp_path: Path) -> None:
    """Day first, with dashes or with slashes and no leading zeros: the events are the same, so duplicates."""
    slashes = [
        row
        | {
            name: "/".join(str(int(part)) for part in text[:10].split("-")) + text[10:]
            for name, text in row.items()
            if name in ("opened_at", "sys_updated_at")
        }
        for row in history()
    ]
    assert slashes[0]["opened_at"] == "1/3/2016 09:00"
    assert incidents(tmp_path, *slashes) == incidents(tmp_path, *history())


def test_the_zone_is_stated_with_the_case(tmp_path: Path) -> None:
    """Times are of the zone that was chosen, which is sent with the opening: local days are those of the log."""
    events, _ = incidents(tmp_path, *history(), zone="America/Sao_Paulo")
    assert events[0]["at"] == "2016-03-01T12:00:00+00:00"
    assert events[0]["tz"] == "America/Sao_Paulo"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"number": ""}, "number: expected a value"),
        ({"incident_state": "-100"}, "incident_state: expected one of New, Active, "),
        ({"priority": "?"}, "priority: expected one that begins with 1, 2, 3, 4"),
        ({"sys_updated_at": "2016-03-01 09:05"}, "sys_updated_at: expected a time like 29-02-2016 01:16 or "),
        ({"sys_updated_at": "27-03-2016 01:30"}, "sys_updated_at: expected a time that clocks in Europe/Lisbon have"),
        ({"reopen_count": "-1"}, "reopen_count: expected a whole number"),
        ({"sys_mod_count": "²"}, "sys_mod_count: expected a whole number"),
    ],
)
def test_a_wrong_row_of_an_incident(tmp_path: Path, change: Row, said: str) -> None:
    """A wrong row is told by file, line and field with what was expected, and left out; the rest is processed."""
    events, wrong = incidents(tmp_path, CHANGE | change, *history(), zone="Europe/Lisbon")
    assert len(wrong) == 1
    assert wrong[0].startswith(f"log.csv:2: {said}")
    assert events == incidents(tmp_path, *history(), zone="Europe/Lisbon")[0]


# --- Both ---


@pytest.mark.parametrize(
    ("adapter", "good", "bad", "zone"),
    [
        (FIRE, CALL, CALL | {"Unit ID": ""}, "America/Los_Angeles"),
        (INCIDENTS, CHANGE, CHANGE | {"number": ""}, "UTC"),
    ],
    ids=["fire", "incidents"],
)
def test_the_command_line(
    adapter: ModuleType, good: Row, bad: Row, zone: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Events that are admitted (rule 1) go to standard output in order of delivery, complaints elsewhere; status 2."""
    assert adapter.main([str(written(tmp_path / "good.csv", good))]) == 0
    alone = capsys.readouterr()
    assert adapter.main([str(written(tmp_path / "both.csv", bad, good)), str(tmp_path / "good.csv")]) == 2
    twice = capsys.readouterr()
    assert sorted(twice.out.splitlines()) == sorted(2 * alone.out.splitlines())
    assert alone.err.startswith("1 rows, 0 left out: ")
    assert f"{tmp_path}/both.csv:2: " in twice.err
    events = [json.loads(line) for line in alone.out.splitlines()]
    delivered = [read_event(event, Policy().clock_skew_ms).fact.delivered_ms for event in events]
    assert delivered == sorted(delivered)
    assert events[0]["tz"] == zone


@pytest.mark.parametrize(("adapter", "row"), [(FIRE, CALL), (INCIDENTS, CHANGE)], ids=["fire", "incidents"])
def test_a_file_cut_short(adapter: ModuleType, row: Row, tmp_path: Path) -> None:
    """A row that ends too early, and one with bytes that are no UTF-8, are told or left out; none ends the run."""
    file = written(tmp_path / "cut.csv", row, row)
    whole = file.read_bytes()
    file.write_bytes(whole + b"\xff\xfe\r\n" + whole.splitlines()[1])
    converted = adapter.convert([file], ZoneInfo("UTC"))
    assert converted.rows == 4
    assert len(converted.wrong) == 1
    assert "cut.csv:4: " in converted.wrong[0]
