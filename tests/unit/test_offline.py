"""The offline drivers: `cxstream judge` and `cxstream conformance` on files, as people and scripts use them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cases import Event, arrived, completed, event, opened, reopened, resolved, rfc3339, scheduled, visit_cancelled
from cxstream.cli import main
from cxstream.vital_signs import CATALOGUE

NAIVE = "2026-03-02T10:00:00"
STORY = [
    opened(),
    scheduled("0h", "1h", "2h", named="promise"),
    arrived("90m", named="came"),
    completed("3h", "fixed", named="done"),
]


def written(path: Path, *events: object) -> str:
    """Write events as NDJSON, text as it is, and return the path."""
    lines = [one if isinstance(one, str) else json.dumps(one) for one in events]
    path.write_text("".join(f"{line}\n" for line in lines))
    return str(path)


def cxstream(*arguments: str) -> Result:
    """Run the command line."""
    return CliRunner().invoke(main, arguments)


def judge(path: Path, *events: object, as_of: str = "4h") -> Result:
    """Run `cxstream judge` on one file."""
    return cxstream("judge", written(path / "events.ndjson", *events), "--as-of", rfc3339(as_of))


def documents(result: Result) -> dict[tuple[str, str], dict[str, Any]]:
    """Return what was printed by sign and unit."""
    printed = [json.loads(line) for line in result.stdout.splitlines()]
    return {(document["sign"], document["unit"]): document for document in printed}


def test_judge_prints_one_document_per_verdict(tmp_path: Path) -> None:
    """A document says sign, unit, verdict, reason, anchor, seal and the event ids it rests on; times are RFC 3339."""
    result = judge(tmp_path, *STORY)
    assert (result.exit_code, result.stderr) == (0, "")
    found = documents(result)
    assert set(found) >= {("first_time_fix", "C1"), ("stayed_fixed", "C1"), ("on_time_arrival", "V1")}
    assert found["on_time_arrival", "V1"] == {
        "sign": "on_time_arrival",
        "unit": "V1",
        "case": "C1",
        "verdict": "provisional_hit",
        "reason": "on_time",
        "anchor": rfc3339("90m"),
        "seals_at": rfc3339("75h"),
        "evidence": ["promise", "came"],
    }
    assert found["first_time_fix", "C1"]["evidence"] == ["done"]
    assert found["first_time_fix", "C1"]["seals_at"] == rfc3339("33d3h")


def test_judge_sees_nothing_delivered_after_its_clock(tmp_path: Path) -> None:
    """`--as-of` is a clock reading: what was delivered later is unknown then, at the very instant it is known."""
    events = [*STORY[:2], arrived("90m", seen="5h")]
    assert documents(judge(tmp_path, *events, as_of="4h59m59s"))["on_time_arrival", "V1"]["verdict"] == "miss"
    assert documents(judge(tmp_path, *events, as_of="5h"))["on_time_arrival", "V1"]["verdict"] == "provisional_hit"


def test_judge_counts_what_is_rejected_and_names_the_line(tmp_path: Path) -> None:
    """Every wrong line is named as FILE:LINE with reason, field and expectation; the rest is judged; status 2."""
    result = judge(
        tmp_path,
        STORY[0],
        {**STORY[1], "window_end": NAIVE},
        "",
        "{not json",
        "[1, 2]",
        event("ticket.acknowledged", "9h", seen="8h"),
        {**arrived("1h"), "visit_id": None, "secret": "s3cret"},
        STORY[2],
        STORY[2],
        {**STORY[2], "technician_id": "T1"},
    )
    path = tmp_path / "events.ndjson"
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert lines[0].startswith(f"{path}:2: naive_time: window_end: expected RFC 3339 with an offset")
    assert lines[1].startswith(f"{path}:4: invalid: expected a JSON object (")
    assert lines[2] == f"{path}:5: invalid: expected a JSON object on every line"
    assert lines[3] == f"{path}:6: future: at: expected at most 300 s after its delivery"
    assert lines[4] == f"{path}:7: invalid: visit_id: expected a value, which dispatch.arrived needs"
    assert lines[5:] == [
        "rejected conflict 1",
        "rejected duplicate 1",
        "rejected future 1",
        "rejected invalid 3",
        "rejected naive_time 1",
    ]
    assert "s3cret" not in result.stderr
    assert ("on_time_arrival", "V1") in documents(result)


def test_duplicates_alone_are_no_wrong_input(tmp_path: Path) -> None:
    """At-least-once delivery is normal: duplicates are counted on standard error, with status 0."""
    result = judge(tmp_path, *STORY, *STORY)
    assert (result.exit_code, result.stderr) == (0, "rejected duplicate 4\n")
    assert result.stdout == judge(tmp_path, *STORY).stdout


def test_several_files_are_one_history(tmp_path: Path) -> None:
    """The facts of all files are taken together, in whatever order the files are named and the lines stand."""
    first, second = written(tmp_path / "a", *STORY[2:]), written(tmp_path / "b", *STORY[:2])
    as_of = ("--as-of", rfc3339("4h"))
    expected = judge(tmp_path, *STORY).stdout
    assert cxstream("judge", first, second, *as_of).stdout == expected
    assert cxstream("judge", second, first, *as_of).stdout == expected
    assert judge(tmp_path, *STORY[::-1]).stdout == expected


def test_an_empty_file_is_a_history_without_cases(tmp_path: Path) -> None:
    """No events, no verdicts, no complaint."""
    result = judge(tmp_path)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--as-of", NAIVE], "with an offset"),
        (["--as-of", "yesterday"], "with an offset"),
        (["--as-of", "9999-12-31T23:59:59-14:00"], "between 1970 and 9999 in UTC"),
        (["--as-of", "0001-01-01T00:00:00+14:00"], "between 1970 and 9999 in UTC"),
        ([], "Missing option '--as-of'"),
        (["/nowhere/events.ndjson", "--as-of", "2026-03-02T10:00:00Z"], "does not exist"),
    ],
)
def test_judge_refuses_wrong_arguments(tmp_path: Path, arguments: list[str], complaint: str) -> None:
    """A clock without offset, no clock, or a file that is not there: usage error, status 2, nothing judged."""
    result = cxstream("judge", written(tmp_path / "events.ndjson", *STORY), *arguments)
    assert result.exit_code == 2
    assert complaint in result.stderr
    assert result.stdout == ""


def scenario(**changed: object) -> dict[str, Any]:
    """Return a scenario that holds."""
    made: dict[str, object] = {
        "id": "X1",
        "as_of": rfc3339("4h"),
        "events": STORY,
        "expect": {"on_time_arrival@V1": "provisional_hit", "first_time_fix@C1": "provisional_hit"},
    }
    return {**made, **changed}


def conformance(path: Path, *scenarios: object) -> Result:
    """Run `cxstream conformance` on one file."""
    file = path / "scenarios.json"
    file.write_text(json.dumps(scenarios))
    return cxstream("conformance", str(file))


def test_conformance_counts_what_holds(tmp_path: Path) -> None:
    """With nothing failed and nothing missing there is a closing count and status 0."""
    earlier = [{"as_of": rfc3339("1h"), "expect": {"on_time_arrival@V1": "pending"}}]
    result = conformance(tmp_path, scenario(), scenario(id="X2", earlier=earlier))
    assert result.exit_code == 0
    assert result.stdout == "2 scenarios, 4 expectations and 1 at earlier checkpoints: 0 failed, 0 missing\n"


def test_conformance_prints_one_line_per_failed_expectation(tmp_path: Path) -> None:
    """A failed line names scenario, clock, claim, expected and found, at earlier checkpoints too; status 1."""
    earlier = [{"as_of": rfc3339("1h"), "expect": {"on_time_arrival@V1": "miss"}}]
    expect = {"on_time_arrival@V1": "miss", "on_time_arrival@V2": "miss", "first_time_fix@C1": "provisional_hit"}
    result = conformance(tmp_path, scenario(expect=expect, earlier=earlier), scenario(id="X2"))
    assert result.exit_code == 1
    assert sorted(result.stdout.splitlines()[:-1]) == [
        f"X1 {rfc3339('1h')} on_time_arrival@V1: expected miss, got pending",
        f"X1 {rfc3339('4h')} on_time_arrival@V1: expected miss, got provisional_hit",
        f"X1 {rfc3339('4h')} on_time_arrival@V2: expected miss, got no such unit",
    ]
    assert result.stdout.splitlines()[-1].endswith("3 failed, 0 missing")


def test_conformance_names_signs_that_are_not_built(tmp_path: Path) -> None:
    """A sign that is not in the catalogue is missing, not failed, and named with its expectations; status 1."""
    assert "levitation" not in CATALOGUE
    earlier = [{"as_of": rfc3339("1h"), "expect": {"levitation@C1": "pending"}}]
    result = conformance(tmp_path, scenario(expect={"levitation@C1": "miss"}, earlier=earlier))
    assert result.exit_code == 1
    assert result.stdout.splitlines()[0] == "missing: levitation is not built (2 expectations)"
    assert result.stdout.splitlines()[-1].endswith("0 failed, 2 missing")


@pytest.mark.parametrize(
    ("events", "rejected", "holds"),
    [
        ([*STORY, *STORY[:2], {**STORY[2], "technician_id": "T1"}], {"duplicate": 3}, True),
        ([*STORY, {**STORY[0], "at": NAIVE}], {"naive_time": 1}, True),
        ([*STORY, event("ticket.closed", "9h", seen="8h")], {"future": 1}, True),
        ([*STORY, {**STORY[0], "seen": "9999-12-31T23:59:59-14:00"}], {"invalid": 1}, True),
        (STORY, {"duplicate": 1}, False),
        ([*STORY, *STORY[:1]], {}, False),
    ],
)
def test_conformance_checks_what_is_rejected(
    tmp_path: Path, events: list[Event], rejected: dict[str, int], *, holds: bool
) -> None:
    """Rejected events are compared by reason, conflicts counted as duplicates, where the scenario states them."""
    result = conformance(tmp_path, scenario(events=events, rejected=rejected))
    assert result.exit_code == (0 if holds else 1)
    assert ("X1 rejected: expected" in result.stdout) is not holds


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"id": 5}, "scenario 5: id: expected text"),
        ({"events": [5]}, "scenario X1: events: expected a list of events, each an object"),
        ({"as_of": 5}, "scenario X1: as_of: expected an RFC 3339 time with an offset"),
        ({"as_of": "9999-12-31T23:59:59-14:00"}, "scenario X1: as_of: expected an RFC 3339 time with an offset"),
        ({"expect": ["on_time_arrival@V1"]}, 'scenario X1: expect: expected an object of "sign@unit": verdict'),
        ({"earlier": 5}, "scenario X1: earlier: expected a list of objects, each with as_of and expect"),
        ({"earlier": [{"as_of": rfc3339("1h")}]}, "scenario X1: earlier 1: expect: expected an object"),
        ({"rejected": 5}, "scenario X1: rejected: expected an object of reason: count"),
    ],
)
def test_conformance_names_scenario_and_field_of_what_it_cannot_read(
    tmp_path: Path, changed: dict[str, object], said: str
) -> None:
    """A scenario with a wrong field is an error that names the scenario, the field and what is expected; status 1."""
    result = conformance(tmp_path, scenario(id="X0"), scenario(**changed))
    assert result.exit_code == 1
    assert said in result.stderr


@pytest.mark.parametrize("content", ['{"id": "X1"}', "[1, 2]", "[{}]", "not json"])
def test_conformance_refuses_what_is_no_scenario_file(tmp_path: Path, content: str) -> None:
    """A file that is no list of scenarios is an error in words, not a stack trace, and does not pass."""
    file = tmp_path / "scenarios.json"
    file.write_text(content)
    result = cxstream("conformance", str(file))
    assert result.exit_code == 1
    assert "not a scenario file" in result.stderr
    assert isinstance(result.exception, SystemExit)


def test_evidence_is_what_the_verdict_rests_on(tmp_path: Path) -> None:
    """Every verdict an event decides names it: the reopening, the change, the repeat case, the desk's word."""
    told = documents(judge(tmp_path, *STORY, reopened("4h", named="again"), as_of="5h"))
    assert told["stayed_fixed", "C1"]["evidence"] == ["done", "again"]
    assert told["first_time_fix", "C1"]["evidence"] == ["done", "again"]
    repeat = {**opened("4h", named="other"), "case_id": "C2"}
    assert documents(judge(tmp_path, *STORY, repeat, as_of="5h"))["stayed_fixed", "C1"]["evidence"] == ["done", "other"]
    broken = [*STORY[:2], visit_cancelled("30m", named="sorry")]
    assert documents(judge(tmp_path, *broken))["on_time_arrival", "V1"]["evidence"] == ["sorry"]
    silent = [opened(), arrived("1h"), completed("2h", named="silent"), resolved("3h", named="desk")]
    assert documents(judge(tmp_path, *silent))["first_time_fix", "C1"]["evidence"] == ["silent", "desk"]
