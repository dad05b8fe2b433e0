"""A map is checked as a whole before anything is read: what is wrong is told with its place and its mend."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from cxstream.cli import main
from cxstream.intake.mapping import MappingError, load, read
from parts.rows import MAP, intake_map

WRONG = {
    "a name that is not there": (
        ('at = "opened"', 'att = "opened"'),
        "topics 1 (tickets), events 1 (ticket.opened), att: there is no such name; expected at",
    ),
    "what is missing": (
        ('at = "opened"\n', ""),
        "topics 1 (tickets), events 1 (ticket.opened), at: not there; expected when it happened in the world",
    ),
    "a field that is misspelt": (
        ('fields.visit_id = "id"', 'fields.visit = "id"'),
        (
            "events 2 (dispatch.arrived), fields, visit: there is no such field; expected one of visit_id,"
            " technician_id, silent (did you mean visit_id?)"
        ),
    ),
    "a field the event needs": (
        ('fields.visit_id = "id"', ""),
        "events 2 (dispatch.arrived), fields: visit_id is not there; expected visit_id, which dispatch.arrived needs",
    ),
    "an event nobody knows": (
        ("ticket.opened", "ticket.open"),
        "events 1 (ticket.open): there is no such event; expected ticket.opened",
    ),
    "a correction": (
        ("ticket.opened", "ticket.corrected"),
        "corrections cannot be mapped; expected the event as it is now told, or `voided`",
    ),
    "a value that is none of ours": (
        ('1 = "P1"', '1 = "p1"'),
        "fields, priority: found 'p1'; expected one of P1, P2, P3",
    ),
    "a lookup nobody teaches": (
        ('lookup = "order" }\nat = "made"', 'lookup = "orders" }\nat = "made"'),
        "case: no topic teaches the lookup 'orders'; expected one of order, ticket (did you mean order?)",
    ),
    "a zone": (('zone = "UTC"', 'zone = "Berlin"'), "time, zone: found 'Berlin'; expected the IANA zone"),
    "a format": (
        ('format = "%Y-%m-%d %H:%M:%S"', 'format = "YYYY-MM-DD"'),
        "time, format: found 'YYYY-MM-DD'; expected",
    ),
    "no zone for local times": (
        ('zone = "UTC"', ""),
        'at: its format has no offset, and it has no zone; expected zone = "UTC", or the zone it is written in',
    ),
    "half a window": ((', window_end = "end"', ""), "fields: a window has one end; expected both"),
    "a topic twice": (('name = "orders"', 'name = "tickets"'), "topics 1 (tickets): 2 tables have this name"),
    "a topic of dead letters": (('name = "orders"', 'name = "x.dead-letters"'), "it is a topic of dead letters"),
    "a number without quotes that could mean presence": (
        ("when = { arrived = true }", "when = { arrived = 1.5 }"),
        "when, arrived: found",
    ),
    "a limit out of bounds": (
        ('name = "rows"', 'name = "rows"\nlimits.parked_records = 0'),
        "limits, parked_records: found 0; expected so many records wait at most: a whole number from 1 to 1000000",
    ),
    "a duration": (('name = "rows"', 'name = "rows"\nlimits.parked_for = "soon"'), "limits, parked_for: found 'soon'"),
    "neither path nor constant": (('fields.visit_id = "id"', "fields.visit_id = {}"), "neither path nor constant"),
    "an otherwise for nothing": (
        ('fields.visit_id = "id"', 'fields.visit_id = { path = "id", otherwise = "x" }'),
        "otherwise without values",
    ),
    "a time that is a constant": (('at = "made"', "at = { constant = 5 }"), "at: found 5; expected a path: a time"),
    "no TOML": (("[time]", "[time"), "file: it is not TOML"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_told_with_its_place_and_its_mend(wrong: str) -> None:
    """Each mistake is one line that names the table, the name in it, what was found and what is expected."""
    (found, instead), said = WRONG[wrong]
    assert found in MAP
    with pytest.raises(MappingError) as refused:
        read(MAP.replace(found, instead, 1))
    assert said in str(refused.value)


def test_everything_wrong_is_told_at_once() -> None:
    """Two mistakes are two problems, each told once."""
    with pytest.raises(MappingError) as refused:
        read(MAP.replace('at = "opened"', 'when = { a = 1.5, b = 2.5 }\nat = "opened"'))
    assert str(refused.value).startswith("the map: 2 things are wrong:")


def test_a_number_in_a_condition_is_the_text_it_is_compared_with() -> None:
    """`when = { state = 1 }` means the value 1, not that there is one: only true and false ask for that."""
    made = intake_map(MAP.replace("when = { arrived = true }", "when = { state = 1, other = [2, '3'] }"))
    assert made.topic("visits").events[1].when == {"state": ("1",), "other": ("2", "3")}


def test_a_dry_run_without_a_sample_checks_the_map(tmp_path: Path) -> None:
    """The command says that the map is right, or all that is wrong, and asks no broker."""
    path = tmp_path / "mapping.toml"
    path.write_text(MAP)
    right = CliRunner().invoke(main, ["intake", "--map", str(path), "--dry-run"])
    assert (right.exit_code, "the map of 3 topics is right" in right.output) == (0, True)
    path.write_text(MAP.replace("[time]", "[times]"))
    wrong = CliRunner().invoke(main, ["intake", "--map", str(path), "--dry-run"])
    assert wrong.exit_code == 1
    assert "times: there is no such name; expected time" in wrong.output
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(MappingError, match="not UTF-8"):
        load(path)


def test_samples_are_tried_in_a_dry_run_only(tmp_path: Path) -> None:
    """A sample without --dry-run is refused: nobody means to send it."""
    path = tmp_path / "mapping.toml"
    path.write_text(MAP)
    result = CliRunner().invoke(main, ["intake", "--map", str(path), "--sample", str(path)])
    assert result.exit_code == 2
    assert "need --dry-run" in result.output


def test_a_sample_says_of_every_line_what_it_becomes(tmp_path: Path) -> None:
    """Events go to standard output as judge reads them; of each line it is said what became of it, or what to mend."""
    path, sample = tmp_path / "mapping.toml", tmp_path / "visits.ndjson"
    path.write_text(MAP)
    sample.write_text('{"id": "t1", "number": "C1", "opened": "2026-03-02 08:00:00"}\n\n{"id": "t2", "opened": "?"}\n')
    arguments = ["intake", "--map", str(path), "--dry-run", "--sample", str(sample), "--topic", "tickets"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert '"type": "opened", "case_id": "C1", "at": "2026-03-02T08:00:00Z"}' in result.stdout
    assert result.stderr.splitlines() == [
        f"{sample}:1: tickets: ticket.opened",
        (
            f"{sample}:3: tickets: refused, missing: number: expected a value for case of ticket.opened; have it"
            " sent, or leave out such records with when or unless"
        ),
        "1 events; 1 records wrong or waiting in vain",
    ]
    vain = CliRunner().invoke(main, [*arguments[:-1], "orders"])
    assert re.search(r"visits.ndjson:1: orders: tells nothing", vain.stderr)
    listed = CliRunner().invoke(main, arguments[:-2])
    assert (listed.exit_code, 'expected a JSON object with "topic" and "payload"' in listed.output) == (1, True)
