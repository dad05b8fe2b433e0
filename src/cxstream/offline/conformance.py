"""Runs scenario files against the production core: what `cxstream conformance` prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
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
    """Return the scenarios of a file.

    Raises ValueError if it is not a JSON list of scenarios: it names the scenario, the field and what is expected.
    """
    scenarios = orjson.loads(path.read_bytes())
    if not isinstance(scenarios, list) or not all(isinstance(scenario, dict) for scenario in scenarios):
        message = f"{path}: expected a JSON list of scenarios"
        raise ValueError(message)
    for number, scenario in enumerate(scenarios, start=1):
        for field, expected in _wrong(scenario):
            raise ValueError(
                f"{path}: scenario {scenario.get('id') or f'number {number}'}: {field}: expected {expected}"
            )
    return scenarios


def _wrong(scenario: Scenario) -> Iterator[tuple[str, str]]:
    """Yield the fields of a scenario that cannot be read, and what is expected there."""
    if not isinstance(scenario.get("id"), str):
        yield "id", "text"
    events = scenario.get("events")
    if not isinstance(events, list) or not all(isinstance(event, dict) for event in events):
        yield "events", "a list of events, each an object"
    yield from _wrong_checkpoint(scenario, "")
    earlier = scenario.get("earlier", [])
    if not isinstance(earlier, list) or not all(isinstance(checkpoint, dict) for checkpoint in earlier):
        yield "earlier", "a list of objects, each with as_of and expect"
        return
    for number, checkpoint in enumerate(earlier, start=1):
        yield from _wrong_checkpoint(checkpoint, f"earlier {number}: ")
    rejected = scenario.get("rejected", {})
    if not isinstance(rejected, dict) or not all(isinstance(count, int) for count in rejected.values()):
        yield "rejected", "an object of reason: count"


def _wrong_checkpoint(checkpoint: Scenario, where: str) -> Iterator[tuple[str, str]]:
    try:
        parse_instant(str(checkpoint.get("as_of")))
    except ValueError:
        yield f"{where}as_of", "an RFC 3339 time with an offset, between 1970 and 9999"
    expect = checkpoint.get("expect")
    if not isinstance(expect, dict) or not all(isinstance(verdict, str) for verdict in expect.values()):
        yield f"{where}expect", 'an object of "sign@unit": verdict'


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
