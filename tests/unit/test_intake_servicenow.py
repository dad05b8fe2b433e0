"""The worked map of a ServiceNow export, to the end: what its rows tell is judged as a reader would judge them."""

from __future__ import annotations

import json
from pathlib import Path

import orjson
from click.testing import CliRunner

from cxstream.cli import main

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "intake" / "servicenow"
EXPECTED = {
    ("first_time_fix", "INC0010001"): "provisional_hit fixed_first_time",
    ("first_time_fix", "INC0010002"): "miss first_attempt_failed",
    ("first_time_fix", "INC0010003"): "excluded duplicate",
    ("first_time_fix", "WO0010003"): "provisional_hit fixed_first_time",
    ("first_response", "INC0010001"): "final_hit in_time",
    ("first_response", "INC0010002"): "miss late",
    ("on_time_arrival", "WOT0010001"): "final_hit on_time",
    ("on_time_arrival", "WOT0010002"): "miss late",
    ("on_time_arrival", "WOT0010003"): "final_hit on_time",
    ("on_time_arrival", "WOT0010004"): "final_hit on_time",
    ("same_day", "INC0010001"): "miss fixed_later",
    ("visit_productive", "WOT0010001"): "final_hit fixed",
    ("visit_productive", "WOT0010002"): "miss not_fixed",
    ("stayed_fixed", "INC0010002"): "provisional_hit stayed_fixed",
    ("no_silence", "INC0010001"): "miss silence",
}
"""Read off the rows by hand. INC0010001: opened on a Friday, promised for Monday 8 to 12 in Berlin, where the clocks
went forward on Sunday, come at 11:50, fixed; nobody told the customer anything from Friday 16:15 to Monday. INC0010002:
acknowledged after 80 min (P1: 1 h), promised for 14 to 16, come at 16:40, not fixed; a second visit the next day, in
time, fixes it. INC0010003: a duplicate. WO0010003: an order that no incident was opened for, on time."""


def mapped(*paths: Path) -> tuple[str, str]:
    """Return the events a dry run prints, and what it says; nothing may be wrong."""
    samples = [argument for path in paths for argument in ("--sample", str(path))]
    result = CliRunner().invoke(main, ["intake", "--map", str(FOLDER / "mapping.toml"), "--dry-run", *samples])
    assert result.exit_code == 0, result.output
    return result.stdout, result.stderr


def judged(events: str, folder: Path) -> dict[tuple[str, str], str]:
    """Return the verdicts and reasons of events by sign and unit."""
    file = folder / "events.ndjson"
    file.write_text(events)
    result = CliRunner().invoke(main, ["judge", str(file), "--as-of", "2026-04-03T00:00:00Z"])
    assert result.exit_code == 0, result.output
    verdicts = [json.loads(line) for line in result.stdout.splitlines()]
    return {(one["sign"], one["unit"]): f"{one['verdict']} {one['reason']}" for one in verdicts}


def test_the_rows_are_judged_as_they_read(tmp_path: Path) -> None:
    """Every verdict is the one a person gives who reads the rows: work orders, zones, state codes and all."""
    events, said = mapped(FOLDER / "sample.ndjson")
    found = judged(events, tmp_path)
    assert {unit: found.get(unit) for unit in EXPECTED} == EXPECTED
    assert "waits for the lookup order of parent" in said
    assert "now that it is known: dispatch.scheduled" in said


def test_the_order_tables_come_in_does_not_matter(tmp_path: Path) -> None:
    """Tasks first, then orders, then incidents, as separate exports are loaded: the same events, the same verdicts."""
    lines = (FOLDER / "sample.ndjson").read_bytes().splitlines()
    sample = tmp_path / "sample.ndjson"
    sample.write_bytes(b"\n".join(sorted(lines, key=lambda line: orjson.loads(line)["topic"], reverse=True)))
    events, _said = mapped(sample)
    assert sorted(events.splitlines()) == sorted(mapped(FOLDER / "sample.ndjson")[0].splitlines())
    assert judged(events, tmp_path) == judged(mapped(FOLDER / "sample.ndjson")[0], tmp_path)


def test_nothing_personal_is_mapped() -> None:
    """Who called, who came and what was written are in no event: the map names none of these fields."""
    text = (FOLDER / "mapping.toml").read_text("utf-8")
    named = [line.partition("#")[0] for line in text.splitlines()]
    for field in ("caller_id", "description", "work_notes", "comments", "technician_id"):
        assert not any(field in line for line in named), field
