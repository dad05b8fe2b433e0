"""Tiers: what is judged and published where, and that every sign beyond tier A is defined, and its definition held."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from unittest.mock import MagicMock

import pytest
from click.testing import CliRunner

from cases import booked, ms, opened, resolved, rfc3339
from cxstream.cli import main
from cxstream.config import load
from cxstream.engine.assess import Clock
from cxstream.engine.ledger import Ledger
from cxstream.render.reference import rules_of
from cxstream.vital_signs import CATALOGUE, TIER_A, of_tiers
from cxstream.worker import Worker

ROOT = Path(__file__).resolve().parents[2]
BEYOND = {name: sign for name, sign in CATALOGUE.items() if sign.tier != "A"}
STORY = [opened(), resolved("1h")]


def events_file(folder: Path) -> str:
    """Write the story to a file; return its path."""
    file = folder / "events.ndjson"
    file.write_text("".join(json.dumps(one) + "\n" for one in STORY))
    return str(file)


@pytest.mark.parametrize(
    ("asked", "tiers"), [([], "ABC"), (["--tiers", "A"], "A"), (["--tiers", "c,b"], "BC"), (["--tiers", "B,B"], "B")]
)
def test_judge_says_what_it_is_asked_for(tmp_path: Path, asked: list[str], tiers: str) -> None:
    """Offline all tiers are judged, unless some are named."""
    result = CliRunner().invoke(main, ["judge", events_file(tmp_path), "--as-of", rfc3339("2h"), *asked])
    assert result.exit_code == 0
    signs = {json.loads(line)["sign"] for line in result.output.splitlines()}
    assert signs == {name for name, sign in of_tiers(tiers).items() if sign.unit.kind == "case"}


@pytest.mark.parametrize("tiers", ["D", "", "A;B"])
def test_judge_refuses_a_tier_that_is_not_there(tmp_path: Path, tiers: str) -> None:
    """A wrong tier is told in words."""
    result = CliRunner().invoke(main, ["judge", events_file(tmp_path), "--as-of", rfc3339("2h"), "--tiers", tiers])
    assert result.exit_code != 0
    assert "expected one or more of A, B, C" in result.output


def test_conformance_knows_all_tiers(tmp_path: Path) -> None:
    """An expectation of a sign of any tier is checked; missing is only what no tier knows."""
    expect = {"reopened@C1": "provisional_hit", "proactive_contact@C1": "hit", "levitation@C1": "miss"}
    scenario = {"id": "X1", "events": STORY, "as_of": rfc3339("2h"), "expect": expect}
    file = tmp_path / "scenarios.json"
    file.write_text(json.dumps([scenario]))
    lines = CliRunner().invoke(main, ["conformance", str(file)]).output.splitlines()
    assert lines[0].endswith("proactive_contact@C1: expected hit, got miss")
    assert lines[1] == "missing: levitation is not built (1 expectations)"
    assert lines[2].endswith("1 failed, 1 missing")


@pytest.mark.parametrize("tiers", ["A", "A,B", "C"])
def test_a_worker_judges_and_shows_the_tiers_of_its_settings(tiers: str) -> None:
    """Its agent judges them, its ledgers count them, its counters and objectives name them, and no others."""
    settings = load(None, {"CXSTREAM_SIGN_TIERS": tiers})
    worker = Worker(settings, MagicMock())
    expected = of_tiers(tiers)
    assert worker._agent.catalogue == expected
    assert worker.windows.signs == expected.keys()
    (changes,) = [one for one in worker.activity.collect() if "verdict_changes" in one.name]
    assert {sample.labels["vital_sign"] for sample in changes.samples} == expected.keys()
    judged = {name for name, sign in expected.items() if sign.objective is not None}
    assert settings.objective_ratios().keys() == judged


def test_verdicts_of_a_tier_no_longer_judged_are_not_counted() -> None:
    """A record that was judged with all tiers contributes to a ledger of tier A what it would have then."""
    records = []
    for catalogue in (CATALOGUE, TIER_A):
        casebook = booked(STORY, catalogue=catalogue)
        casebook.assess(Clock.at(ms("2h")))
        ledger = Ledger(load(None, {}).windows())
        ledger.replace(None, casebook.cases["C1"])
        ledger.advance(ms("2h"))
        records.append((ledger.units, sorted(ledger.rows())))
        ledger.replace(casebook.cases["C1"], None)
        assert (ledger.units, list(ledger.rows())) == (0, [])
    assert records[0] == records[1]
    assert records[0][0] == len([sign for sign in TIER_A.values() if sign.unit.kind == "case"])


def test_the_rules_are_made_for_all_tiers() -> None:
    """What is read the other way round is recorded, whatever its tier: a series that is absent costs nothing."""
    rules = (ROOT / "deploy" / "prometheus" / "cxstream.rules.yml").read_text("utf-8")
    for sign in CATALOGUE.values():
        if sign.lower_is_better:
            assert f"record: job:cxstream_{sign.lower_is_better}:ratio" in rules


def test_tier_a_is_the_product() -> None:
    """The signs that rules define are tier A, those that section 9 defines are not."""
    assert all(rules_of(sign).startswith("rule") for sign in TIER_A.values())
    assert all(rules_of(sign).startswith(f"definition {sign.tier}") for sign in BEYOND.values())


@pytest.mark.parametrize("name", BEYOND)
def test_a_sign_beyond_tier_a_is_defined_and_its_definition_held(name: str) -> None:
    """docs/rules.md defines it under its number and name, its module says the same number, its tests cite it."""
    cited = re.match(r"definition ([BC]\d+)", rules_of(BEYOND[name]))
    assert cited is not None
    number = cited[1]
    section = (ROOT / "docs" / "rules.md").read_text("utf-8").partition("\n## 9. ")[2]
    assert re.findall(rf"^\*\*{number}\. (\w+)\*\*", section, re.MULTILINE) == [name]
    module = ast.parse((ROOT / "src" / "cxstream" / "vital_signs" / f"{name}.py").read_text("utf-8"))
    first_line = str(ast.get_docstring(module)).split("\n")[0]
    assert f"(definition {number})" in first_line, f"the first line of {name}.py does not cite (definition {number})"
    tests = ast.parse((ROOT / "tests" / "unit" / f"test_{name}.py").read_text("utf-8"))
    functions = [one for one in tests.body if isinstance(one, ast.FunctionDef) and one.name.startswith("test_")]
    citation = re.compile(rf"\((?:definition )?{number}\b")
    assert any(citation.search(str(ast.get_docstring(one))) for one in functions), (
        f"no docstring of a test in test_{name}.py cites (definition {number})"
    )


def test_definitions_are_numbered_without_a_gap() -> None:
    """Section 9 numbers B1, B2, ... and C1, C2, ... in order, one per sign."""
    section = (ROOT / "docs" / "rules.md").read_text("utf-8").partition("\n## 9. ")[2]
    numbers = re.findall(r"^\*\*([BC]\d+)\. ", section, re.MULTILINE)
    of_tier = {tier: len(of_tiers(tier)) for tier in "BC"}
    assert numbers == [f"{tier}{number}" for tier in "BC" for number in range(1, of_tier[tier] + 1)]
