"""`cxstream validate` names the line, the field and the fix of everything that is wrong or odd with events."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import fastavro
import pytest
from click.testing import CliRunner, Result

from cxstream.cli import main
from cxstream.domain import vocabulary
from cxstream.kafka.schemas import Schemas
from cxstream.upstream.samples import sample, sample_names
from cxstream.upstream.validate import _CHECKS

AS_OF = "2026-03-05T00:00:00Z"
OPENED = {"event_id": "1", "topic": "ticket", "type": "opened", "case_id": "C", "at": "2026-03-02T08:00:00Z"}
SCHEDULED = {
    "event_id": "2",
    "topic": "dispatch",
    "type": "scheduled",
    "case_id": "C",
    "at": "2026-03-02T09:00:00Z",
    "visit_id": "V",
    "window_start": "2026-03-03T08:00:00Z",
    "window_end": "2026-03-03T12:00:00Z",
}
ARRIVED = {
    "event_id": "3",
    "topic": "dispatch",
    "type": "arrived",
    "case_id": "C",
    "at": "2026-03-03T12:20:00Z",
    "visit_id": "V",
}
REQUIRED = {
    "event_id": "4",
    "topic": "parts",
    "type": "required",
    "case_id": "C",
    "at": "2026-03-02T10:00:00Z",
    "line_id": "L",
    "visit_id": "V",
}
CORRECTED = {**OPENED, "event_id": "9", "type": "corrected", "target": "1"}
GOOD = (OPENED, SCHEDULED, ARRIVED, REQUIRED)

Event = dict[str, Any]


def run(folder: Path, *events: Event | str, options: tuple[str, ...] = ()) -> Result:
    """Validate events (a text is a line as it is)."""
    file = folder / "events.ndjson"
    file.write_text("".join(f"{one if isinstance(one, str) else json.dumps(one)}\n" for one in events))
    return CliRunner().invoke(main, ["validate", str(file), "--as-of", AS_OF, *options])


def found(result: Result) -> list[tuple[int, str, str, str | None]]:
    """Return line, severity, reason and field of what was found."""
    document = json.loads(result.stdout)
    return [(one["line"], one["severity"], one["reason"], one["field"]) for one in document["findings"]]


def test_good_events_are_told_by_what_they_do(tmp_path: Path) -> None:
    """Nothing is said of good events but their number and what they make of the vital signs; the status is 0."""
    result = run(tmp_path, *GOOD)
    assert result.exit_code == 0
    head, *effects = result.stdout.splitlines()
    assert head == "4 events, 0 errors, 0 warnings"
    assert "  on_time_arrival: 0 good, 1 missed, 0 pending, 0 excluded (1 miss late)" in effects
    assert any(line.startswith("  first_response: 0 good, 1 missed") for line in effects)


def test_the_effect_is_what_judge_says(tmp_path: Path) -> None:
    """The units told are those `cxstream judge` prints of the same events at the same instant."""
    document = json.loads(run(tmp_path, *GOOD, options=("--json",)).stdout)
    judged = CliRunner().invoke(main, ["judge", str(tmp_path / "events.ndjson"), "--as-of", AS_OF, "--tiers", "A"])
    verdicts = [json.loads(line) for line in judged.stdout.splitlines()]
    for effect in document["vital_signs"]:
        of = [one["verdict"] for one in verdicts if one["sign"] == effect["sign"]]
        assert [effect[name] for name in ("good", "miss", "pending", "excluded")] == [
            sum(one.endswith("_hit") for one in of),
            *(of.count(name) for name in ("miss", "pending", "excluded")),
        ]
    assert {effect["sign"] for effect in document["vital_signs"]} == {one["sign"] for one in verdicts}


@pytest.mark.parametrize(
    ("event", "reason", "field", "fix"),
    [
        ({**OPENED, "tz": "Europe/Berln"}, "invalid", "tz", "write Europe/Berlin"),
        ({**OPENED, "at": "2026-03-02T08:00:00"}, "naive_time", "at", "add the offset"),
        ({**OPENED, "at": "2026-03-05T00:05:01Z"}, "future", "at", "check the clock"),
        ({**OPENED, "priority": "P 2"}, "invalid", "priority", "write P2"),
        ({**OPENED, "topic": "tickets"}, "invalid", "topic", "write ticket"),
        ({**ARRIVED, "visit_id": None}, "invalid", "visit_id", "state visit_id"),
        ({**SCHEDULED, "window_end": None}, "invalid", "window_end", "state window_end"),
        ({**OPENED, "transfers": -1}, "invalid", "transfers", "or leave it out"),
        ("{", "invalid", None, "one JSON object a line"),
        ("[1]", "invalid", None, "one JSON object a line"),
    ],
)
def test_what_a_worker_rejects_is_an_error(
    event: Event | str, reason: str, field: str | None, fix: str, tmp_path: Path
) -> None:
    """What would become a dead letter is an error with line, reason, field and fix, and the status is 2."""
    result = run(tmp_path, *(one for one in GOOD if not isinstance(event, dict) or one["type"] != event["type"]), event)
    assert result.exit_code == 2
    wrong = [line for line in result.stdout.splitlines() if ": error: " in line]
    assert len(wrong) == 1
    number = 4 if isinstance(event, dict) else 5
    said = f"{tmp_path / 'events.ndjson'}:{number}: error: {reason}: {f'{field}: ' if field else ''}expected "
    assert wrong[0].startswith(said)
    assert fix in wrong[0].split("Fix: ")[1]


TEXT = "non-empty text of at most 1024 characters"
TIME = "an RFC 3339 time with an offset, between 1970 and 9999"
TOPICS = "one of ticket, dispatch, parts"
MISDATED = {**OPENED, "type": "corrected", "target": "1", "set": {"at": 0.5, "tz": "UTC"}}


@pytest.mark.parametrize(
    ("event", "field", "expected", "fix"),
    [
        ({**OPENED, "event_id": 7}, "event_id", TEXT, "write event_id as expected"),
        ({**ARRIVED, "visit_id": ""}, "visit_id", TEXT, "write visit_id as expected"),
        ({**ARRIVED, "visit_id": None}, "visit_id", "a value, which dispatch.arrived needs", "state visit_id"),
        ({**SCHEDULED, "window_end": None}, "window_end", "both ends of the window", "state window_end"),
        (
            {**OPENED, "transfers": -1},
            "transfers",
            "a whole number, 0 or more",
            "write transfers as expected, or leave it out",
        ),
        ({**OPENED, "seen": 7}, "seen", TIME, "write seen as expected, or leave it out"),
        (MISDATED, "set.at", TIME, "write set.at as expected, or leave it out"),
        ({**OPENED, "topic": None}, "topic", TEXT, f"write {TOPICS}"),
        ({**OPENED, "topic": "xyz"}, "topic", TOPICS, f"write {TOPICS}"),
    ],
)
def test_a_fix_is_one_that_helps(event: Event, field: str, expected: str, fix: str, tmp_path: Path) -> None:
    """A field may be left out only where it is optional, and a topic that is missing or unknown is one of the three."""
    (line,) = [line for line in run(tmp_path, event).stdout.splitlines() if ": error: " in line]
    assert line.endswith(f": error: invalid: {field}: expected {expected}. Fix: {fix}.")


@pytest.mark.parametrize(
    ("events", "line", "reason", "field"),
    [
        ((SCHEDULED,), 1, "never_opened", "case_id"),
        ((*GOOD, {**ARRIVED, "event_id": "9", "at": "2026-03-02T07:00:00Z"}), 5, "before_opening", "at"),
        ((OPENED, ARRIVED), 2, "never_scheduled", "visit_id"),
        ((OPENED, SCHEDULED, {**ARRIVED, "at": "2026-03-02T08:30:00Z"}), 3, "before_scheduled", "at"),
        ((OPENED, {**SCHEDULED, "at": "2026-03-03T12:00:01Z"}), 2, "window_past", "window_end"),
        ((*GOOD, {**REQUIRED, "event_id": "9", "visit_id": "W"}), 5, "unknown_visit", "visit_id"),
        ((*GOOD[:3], {**REQUIRED, "type": "delivered"}), 4, "never_required", "line_id"),
        ((OPENED, {**OPENED, "event_id": "9", "type": "corrected", "target": "7", "set": {"tz": "UTC"}}), 2,
         "unknown_target", "target"),
        ((OPENED, {**OPENED, "event_id": "9", "type": "merged", "into": "D"}), 2, "unknown_case", "into"),
        ((OPENED, {**OPENED, "event_id": "9", "type": "commitment_kept", "commitment_id": "K"}), 2,
         "unknown_commitment", "commitment_id"),
        ((OPENED, {**OPENED, "event_id": "9", "type": "commitment_made", "commitment_id": "K"}), 2,
         "no_due_time", "due"),
        ((OPENED, OPENED), 2, "duplicate", "event_id"),
        ((OPENED, {**OPENED, "priority": "P1"}), 2, "conflict", "event_id"),
        ((OPENED, {**OPENED, "event_id": "9", "type": "diagnozed"}), 2, "unknown_type", "type"),
        ((OPENED, {**OPENED, "event_id": "9", "type": "arrived"}), 2, "unknown_type", "type"),
        (({**OPENED, "prioity": "P2"},), 1, "unknown_field", "prioity"),
        (({**OPENED, "prioity": "P2", "regio": "north"},), 1, "unknown_field", "regio"),
        ((OPENED, {**CORRECTED, "set": {"tz": "UTC", "qty": 2}}), 2, "unknown_field", "set.qty"),
        ((OPENED, {**CORRECTED, "target": "7", "set": {"tz": "UTC", "zone": "U"}}), 2, "unknown_field", "set.zone"),
        (({**OPENED, "at": 1_772_438_400},), 1, "too_old", "at"),
        (({**OPENED, "at": "2025-01-02T08:00:00Z", "seen": "2026-03-02T08:00:00Z"},), 1, "too_old", "at"),
    ],
)  # fmt: skip
def test_what_refers_to_nothing_or_will_be_ignored_is_a_warning(
    events: tuple[Event, ...], line: int, reason: str, field: str, tmp_path: Path
) -> None:
    """What a worker takes and is hardly meant is a warning with line and field; the status is 0, with --strict 2."""
    result = run(tmp_path, *events, options=("--json",))
    assert (line, "warning", reason, field) in found(result)
    assert result.exit_code == 0
    assert run(tmp_path, *events, options=("--strict",)).exit_code == 2


def test_what_is_old_is_told_with_what_it_may_be(tmp_path: Path) -> None:
    """Of seconds in place of milliseconds it is said that they are, of other old events what makes them known."""
    events = [{**OPENED, "at": 1_772_438_400}, {**OPENED, "event_id": "2", "at": "2025-01-02T08:00:00Z"}]
    lines = [line for line in run(tmp_path, *events).stdout.splitlines() if "too_old" in line]
    assert [line.split("Fix: ")[1] for line in lines] == [
        "write milliseconds: it seems to be seconds.",
        "state in seen when it was delivered, or send first what the case began with.",
    ]
    known = {**OPENED, "at": "2025-01-02T08:00:00Z", "seen": "2025-01-02T08:00:00Z"}
    assert "too_old" not in run(tmp_path, known).stdout


def test_every_check_has_a_case_that_passes_it(tmp_path: Path) -> None:
    """The samples of all types together draw none of the warnings about fields and types; checks are not noise."""
    assert len(_CHECKS) == 8
    now_ms = 1_772_445_600_000
    events = [sample(name, "C", now_ms) for name in sample_names()]
    reasons = {reason for _, _, reason, _ in found(run(tmp_path, *events, options=("--json",)))}
    assert not reasons & {"unknown_field", "unknown_type", "never_opened", "conflict", "invalid", "naive_time"}


def test_no_value_of_a_wrong_event_is_shown(tmp_path: Path) -> None:
    """What is said names fields and what was expected, never what was found there."""
    private = "Mrs-Smith-0171-555"
    events = [{**OPENED, "tz": private}, {**OPENED, "at": private}, {**OPENED, "priority": private}]
    assert private not in run(tmp_path, *events).stdout


def avro_file(
    path: Path, events: list[Event], change: Callable[[Any], None] = lambda _: None, codec: str = "null"
) -> None:
    """Write ticket events as an Avro object container file, its schema changed before."""
    schemas = Schemas.packaged()
    schema = json.loads(schemas.text("ticket/v1"))
    change(schema)
    out = io.BytesIO()
    records = []
    for event in events:
        branch = schemas.named("ticket/v1").branch_of(str(event["type"]))
        payload = {name: event.get(name) for name in vocabulary.fields_of("ticket", str(event["type"])) or {}}
        records.append({**event, "asset_id": event.get("asset_id"), "payload": (branch, payload)})
    fastavro.writer(out, schema, records, codec=codec)
    path.write_bytes(out.getvalue())


def test_events_are_read_from_pipes(tmp_path: Path) -> None:
    """What cannot be set back is read as a file is, NDJSON (the number of a line counts empty ones) and Avro."""
    avro = tmp_path / "events.avro"
    avro_file(avro, [{**OPENED, "at": 1_772_438_400_000}] * 3)
    for content, records in ((b"\n" + json.dumps(OPENED).encode() + b"\n{", 2), (avro.read_bytes(), 3), (b"", 0)):
        pipe = tmp_path / f"pipe{records}"
        os.mkfifo(pipe)
        writer = Thread(target=pipe.write_bytes, args=(content,))
        writer.start()
        result = CliRunner().invoke(main, ["validate", str(pipe), "--as-of", AS_OF, "--json"])
        writer.join()
        assert json.loads(result.stdout)["records"] == records
        if records == 2:
            assert found(result) == [(3, "error", "invalid", None)]


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_file_may_be_named_in_any_bytes(tmp_path: Path, options: tuple[str, ...]) -> None:
    """A file name that is not UTF-8 is told with a mark where it cannot be read."""
    file = tmp_path / os.fsdecode(b"events-\xff.ndjson")
    file.write_text("{")
    result = CliRunner().invoke(main, ["validate", str(file), "--as-of", AS_OF, *options])
    assert result.exit_code == 2
    assert "events-\ufffd.ndjson" in result.stdout


def test_avro_files_are_read_record_by_record(tmp_path: Path) -> None:
    """A container file is checked as NDJSON is, packed or not; the line is the number of the record."""
    at_ms = 1_772_438_400_000
    good = {**OPENED, "at": at_ms}
    wrong = {**OPENED, "event_id": "2", "at": at_ms, "priority": "P9"}
    for codec in ("null", "deflate"):
        file = tmp_path / f"{codec}.avro"
        avro_file(file, [good, wrong], codec=codec)
        result = CliRunner().invoke(main, ["validate", str(file), "--as-of", AS_OF, "--json"])
        assert found(result) == [(2, "error", "invalid", "priority")]
        assert json.loads(result.stdout)["records"] == 2


def test_an_avro_file_that_cannot_be_read_is_one_error(tmp_path: Path) -> None:
    """A cut file, one of times without zone and one of another schema end with an error, not with a traceback."""
    good = {**OPENED, "at": 1_772_438_400_000}
    naive, cut = tmp_path / "naive.avro", tmp_path / "cut.avro"
    avro_file(naive, [good], lambda schema: schema["fields"][2]["type"].update(logicalType="local-timestamp-millis"))
    avro_file(cut, [good] * 10)
    cut.write_bytes(cut.read_bytes()[:-40])
    other = tmp_path / "other.avro"
    with other.open("wb") as out:
        fastavro.writer(out, {"type": "record", "name": "X", "fields": []}, [{}])
    expected = {naive: "naive_time", cut: "undecodable", other: "unknown_schema"}
    for file, reason in expected.items():
        result = CliRunner().invoke(main, ["validate", str(file), "--as-of", AS_OF, "--json"])
        assert [finding[1:3] for finding in found(result)][-1] == ("error", reason)
        assert result.exit_code == 2
