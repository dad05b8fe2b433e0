"""The sample scenarios through the production core, in any order of processing and with every event twice."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest

from cxstream.domain.policy import Policy
from cxstream.offline.conformance import Outcome, Reorder, read_scenarios, run
from cxstream.offline.events_file import Delivered
from cxstream.vital_signs import CATALOGUE

SHARED = Path(os.environ.get("CXSTREAM_TEST_SHARED", Path(__file__).parents[2].parent / "shared"))
SAMPLE = SHARED / "scenarios" / "sample.json"
ORDERS = 50
"""Orders of processing, with every event once and with every event twice."""


@pytest.fixture(scope="module")
def scenarios() -> list[dict[str, Any]]:
    """Return the scenarios of the sample."""
    if not SAMPLE.exists():
        pytest.skip(f"SAMPLE SCENARIOS NOT RUN: {SAMPLE} is not there; set CXSTREAM_TEST_SHARED to the shared folder")
    return [dict(scenario) for scenario in read_scenarios(SAMPLE)]


def outcome_of(scenarios: list[dict[str, Any]], reorder: Reorder | None = None) -> Outcome:
    """Run scenarios."""
    if reorder is None:
        return run(scenarios, CATALOGUE, Policy())
    return run(scenarios, CATALOGUE, Policy(), reorder)


def test_every_expectation_holds(scenarios: list[dict[str, Any]]) -> None:
    """No expectation of a sign that is built fails, at any checkpoint, and the rejected counts agree."""
    outcome = outcome_of(scenarios)
    assert outcome.failed == []
    assert outcome.scenarios == len(scenarios) > 20
    assert outcome.expectations == sum(len(scenario["expect"]) for scenario in scenarios)
    assert outcome.earlier > 5


def test_signs_that_are_not_built_are_named(scenarios: list[dict[str, Any]]) -> None:
    """Missing are exactly the signs expected somewhere that the catalogue lacks, each with its expectations."""
    checkpoints = [one for scenario in scenarios for one in (scenario, *scenario.get("earlier", ()))]
    claimed = [claim.partition("@")[0] for checkpoint in checkpoints for claim in checkpoint["expect"]]
    missing = {sign: claimed.count(sign) for sign in set(claimed) if sign not in CATALOGUE}
    assert dict(outcome_of(scenarios).missing) == missing


@pytest.mark.parametrize("seed", range(ORDERS))
def test_processing_order_never_matters(scenarios: list[dict[str, Any]], seed: int) -> None:
    """With the delivery times kept, any order of processing gives the same verdicts and counts (rules 1 and 2)."""
    dice = random.Random(seed)

    def shuffled(facts: list[Delivered]) -> list[Delivered]:
        return dice.sample(facts, len(facts))

    assert outcome_of(scenarios, shuffled).failed == []


@pytest.mark.parametrize("seed", [None, *range(ORDERS)])
def test_duplicates_never_matter(scenarios: list[dict[str, Any]], seed: int | None) -> None:
    """With every event twice, in order or not, all verdicts are the same; only duplicates are counted (rule 1)."""
    doubled = []
    for scenario in scenarios:
        events = [*scenario["events"], *scenario["events"]]
        if seed is not None:
            random.Random(seed).shuffle(events)
        doubled.append({key: value for key, value in scenario.items() if key != "rejected"} | {"events": events})
    assert outcome_of(doubled).failed == []


def test_a_wrong_expectation_would_be_told(scenarios: list[dict[str, Any]]) -> None:
    """Turned round, every expectation of a built sign fails: the runner compares what it says it compares."""
    turned = []
    for scenario in scenarios:
        wrong = {
            claim: "excluded" if verdict != "excluded" else "miss" for claim, verdict in scenario["expect"].items()
        }
        turned.append({"id": scenario["id"], "as_of": scenario["as_of"], "events": scenario["events"], "expect": wrong})
    outcome = outcome_of(turned)
    assert len(outcome.failed) == outcome.expectations - outcome.missing.total()
