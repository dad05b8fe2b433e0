"""The same events under another policy, side by side."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
from click.testing import CliRunner

from cases import POLICY, Event, arrived, completed, delivered, ms, of_case, opened, resolved, rfc3339, scheduled
from cxstream.cli import main
from cxstream.domain.instant import HOUR_MS, MINUTE_MS
from cxstream.offline.what_if import Tally, compare
from cxstream.vital_signs import TIER_A

VISIT = [opened(), scheduled("1h", "20h", "22h"), arrived("22h20m"), completed("23h", "fixed")]
EVENTS: list[Event] = [*VISIT, *of_case("C2", opened("0h", asset_id="A2"), resolved("2h"))]


def test_a_policy_changes_what_it_is_about_and_nothing_else() -> None:
    """Ten minutes more grace make the late arrival good; every other verdict stays, and is not listed."""
    lenient = msgspec.structs.replace(POLICY, late_grace_ms=30 * MINUTE_MS)
    found = compare(delivered(*EVENTS), ms("30h"), TIER_A, POLICY, lenient)
    assert found.policy == {"late_grace_ms": (15 * MINUTE_MS, 30 * MINUTE_MS)}
    assert [(one.sign, one.case_id, one.unit) for one in found.changed] == [("on_time_arrival", "C1", "V1")]
    assert found.signs["on_time_arrival"] == (Tally(0, 1, 0, 0), Tally(1, 0, 0, 0))
    assert [name for name, (was, now) in found.signs.items() if was != now] == ["on_time_arrival"]


def test_the_same_policy_changes_nothing() -> None:
    """Held against itself a policy differs in no constant, no figure and no unit; the ratio of nothing is none."""
    found = compare(delivered(*EVENTS), ms("30h"), TIER_A, POLICY, POLICY)
    assert (found.policy, found.changed) == ({}, [])
    assert all(was == now for was, now in found.signs.values())
    assert found.signs["commitment_kept"][0].ratio is None


def test_the_command_says_constants_signs_and_units(tmp_path: Path) -> None:
    """It prints what differs, both tallies of every sign, and every unit that changes with both reasons."""
    events, policy = tmp_path / "events.ndjson", tmp_path / "new.toml"
    events.write_text("".join(json.dumps(one) + "\n" for one in EVENTS))
    policy.write_text('[policy]\nexplanation = "1h"\nplaceholder_assets = ["?"]\n')
    result = CliRunner().invoke(main, ["what-if", str(events), "--as-of", rfc3339("3h"), "--policy", str(policy)])
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in result.output.splitlines()]
    assert {one["constant"]: one["after"] for one in lines if "constant" in one} == {
        "explanation_ms": HOUR_MS,
        "placeholder_assets": ["?"],
    }
    (explained,) = (one for one in lines if one.get("sign") == "explained" and "case" not in one)
    assert explained["before"] == {"ratio": None, "good": 0, "bad": 0, "pending": 2, "excluded": 0}
    assert explained["after"] == {"ratio": 0.0, "good": 0, "bad": 2, "pending": 0, "excluded": 0}
    assert [(one["case"], one["before"]["reason"], one["after"]["reason"]) for one in lines if "case" in one] == [
        ("C1", "awaited", "no_answer"),
        ("C2", "awaited", "no_answer"),
    ]


def test_constants_of_a_segment_change_the_cases_of_the_segment(tmp_path: Path) -> None:
    """A file with entries for single segments is tried like any other: only cases of these are judged differently."""
    events, policy = tmp_path / "events.ndjson", tmp_path / "new.toml"
    moved = [{**one, "region": "north"} if one["type"] == "opened" else one for one in VISIT]
    known = [*moved, *of_case("C2", *VISIT)]
    events.write_text("".join(json.dumps(one) + "\n" for one in known))
    policy.write_text('[[policy_for]]\nwhere = { region = "north" }\nlate_grace = "30m"\n')
    result = CliRunner().invoke(main, ["what-if", str(events), "--as-of", rfc3339("30h"), "--policy", str(policy)])
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in result.output.splitlines()]
    entry = {"where": {"region": "north"}, "constants": {"late_grace_ms": 30 * MINUTE_MS}}
    assert lines[0] == {"constant": "overrides", "before": [], "after": [entry]}
    changed = {(one["sign"], one["case"]) for one in lines if "case" in one}
    assert ("on_time_arrival", "C1") in changed
    assert {case_id for _, case_id in changed} == {"C1"}


def test_a_wrong_policy_is_refused_with_its_field(tmp_path: Path) -> None:
    """What is wrong with the file is said by field; nothing is judged."""
    policy = tmp_path / "new.toml"
    policy.write_text('[policy]\nlate_grace = "soon"\n')
    events = tmp_path / "events.ndjson"
    events.write_text("")
    result = CliRunner().invoke(main, ["what-if", str(events), "--as-of", rfc3339("3h"), "--policy", str(policy)])
    assert result.exit_code == 1
    assert "policy.late_grace" in result.output
