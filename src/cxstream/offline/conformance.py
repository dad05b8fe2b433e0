"""Runs scenario files against the production core: what `cxstream conformance` prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from cxstream.domain.facts import RejectedError
from cxstream.domain.instant import parse_instant
from cxstream.domain.policy import Policy
from cxstream.engine.assess import Catalogue
from cxstream.offline.events_file import Delivered, read_event
from cxstream.offline.judge import judge_facts

Scenario = Mapping[str, Any]
Reorder = Callable[[list[Delivered]], list[Delivered]]


class Outcome(NamedTuple):
    """What running scenarios came to."""

    scenarios: int
    expectations: int
    earlier: int
    """Expectations at earlier checkpoints, counted apart."""
    failed: list[str]
    """One line per failed expectation."""
    missing: Counter[str]
    """Expectations by sign that is not in the catalogue."""


def read_scenarios(path: Path) -> list[Scenario]:
    """Return the scenarios of a file; raises ValueError if it is not a JSON list of objects."""
    scenarios = orjson.loads(path.read_bytes())
    if not isinstance(scenarios, list) or not all(isinstance(scenario, dict) for scenario in scenarios):
        message = f"{path}: expected a JSON list of scenarios"
        raise ValueError(message)
    return scenarios


def run(
    scenarios: Iterable[Scenario], catalogue: Catalogue, policy: Policy, reorder: Reorder = lambda facts: facts
) -> Outcome:
    """Check every expectation of the scenarios, the facts processed in the order `reorder` returns them in."""
    outcome = Outcome(0, 0, 0, [], Counter())
    for scenario in scenarios:
        facts, rejected = _admit(scenario["events"], policy)
        final = {"as_of": scenario["as_of"], "expect": scenario["expect"]}
        for checkpoint in (final, *scenario.get("earlier", ())):
            judged, not_taken = judge_facts(reorder(facts), parse_instant(checkpoint["as_of"]), catalogue, policy)
            verdicts: dict[str, str] = {f"{one.verdict.sign}@{one.verdict.unit}": one.verdict.verdict for one in judged}
            for claim, expected in checkpoint["expect"].items():
                sign = claim.partition("@")[0]
                if sign not in catalogue:
                    outcome.missing[sign] += 1
                elif verdicts.get(claim) != expected:
                    got = verdicts.get(claim, "no such unit")
                    outcome.failed.append(
                        f"{scenario['id']} {checkpoint['as_of']} {claim}: expected {expected}, got {got}"
                    )
            if checkpoint is final and "rejected" in scenario:
                counted = rejected + Counter({"duplicate": not_taken["duplicate"] + not_taken["conflict"]})
                if dict(+counted) != scenario["rejected"]:
                    outcome.failed.append(
                        f"{scenario['id']} rejected: expected {scenario['rejected']}, got {dict(+counted)}"
                    )
        outcome = outcome._replace(
            scenarios=outcome.scenarios + 1,
            expectations=outcome.expectations + len(scenario["expect"]),
            earlier=outcome.earlier + sum(len(checkpoint["expect"]) for checkpoint in scenario.get("earlier", ())),
        )
    return outcome


def _admit(events: Iterable[Mapping[str, object]], policy: Policy) -> tuple[list[Delivered], Counter[str]]:
    facts, rejected = [], Counter[str]()
    for event in events:
        try:
            facts.append(read_event(event, policy.clock_skew_ms))
        except RejectedError as error:
            rejected[error.reason] += 1
    return facts, rejected
