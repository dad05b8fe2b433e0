"""Explanations: what is explained is what is judged, in whatever order the lines stand (rules 1 and 2)."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from cxstream.domain.policy import Policy
from cxstream.offline.events_file import Delivered, WrongLine, read_events
from cxstream.offline.explain import WIDTH, explain_case
from cxstream.offline.judge import judge_facts
from cxstream.vital_signs import CATALOGUE
from oracle.histories import Event, interesting_clocks, random_history
from parts.trials import seeds

POLICY = Policy()
SEEDS = seeds(30)
CLOCKS = 2


def read(path: Path, events: list[Event]) -> tuple[list[Delivered], list[WrongLine]]:
    """Return what a file with these lines gives."""
    path.write_text("".join(f"{json.dumps(event)}\n" for event in events))
    return read_events([path], POLICY.clock_skew_ms)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_verdict_is_explained_as_it_is_judged(seed: int, tmp_path: Path) -> None:
    """Every verdict of `judge` is explained with the same verdict, reason, anchor, seal and evidence, and no other is.

    Each has a sentence, what is not final says what could change it, and no line of the text is too wide.
    """
    dice = random.Random(seed)
    events = random_history(dice, 25)
    facts, wrong = read(tmp_path / "events.ndjson", events)
    for clock_ms in dice.sample(sorted(interesting_clocks(events)), CLOCKS):
        judged, _not_taken = judge_facts(facts, clock_ms, CATALOGUE, POLICY)
        for case_id in sorted({one.case_id for one in facts if one.fact.delivered_ms <= clock_ms}):
            told = explain_case(facts, wrong, case_id, clock_ms, CATALOGUE, POLICY)
            explained = {
                (one.sign, one.unit): (
                    (one.verdict, one.reason, one.anchor_ms, one.seals_at_ms, one.final),
                    tuple(fact.event_id for fact in one.evidence),
                )
                for one in told.explanation.verdicts
            }
            assert explained == {
                (one.verdict.sign, one.verdict.unit): (
                    (
                        one.verdict.verdict,
                        one.verdict.reason,
                        one.verdict.anchor_ms,
                        one.verdict.seal_ms,
                        one.verdict.sealed,
                    ),
                    tuple(dict.fromkeys(one.evidence)),
                )
                for one in judged
                if one.case_id == case_id
            }
            for one in told.explanation.verdicts:
                assert one.why.endswith("."), f"{one.sign} has no words for its reason {one.reason}"
                assert bool(one.open_to) is not one.final, one.reason
            assert max(map(len, told.text().splitlines())) <= WIDTH


@pytest.mark.parametrize("seed", SEEDS)
def test_an_explanation_does_not_depend_on_the_order_of_lines(seed: int, tmp_path: Path) -> None:
    """The lines in any order, some of them copied, give the same explanation; where they stand and copies apart."""
    dice = random.Random(seed)
    events = random_history(dice, 25)
    clock_ms = dice.choice(sorted(interesting_clocks(events)))
    case_ids = sorted({str(event["case_id"]) for event in events})
    path = tmp_path / "events.ndjson"
    documents = []
    for lines in (events, dice.sample(events, len(events)), events[::-1]):
        facts, wrong = read(path, lines)
        known = {one.case_id for one in facts if one.fact.delivered_ms <= clock_ms}
        told = [
            explain_case(facts, wrong, case_id, clock_ms, CATALOGUE, POLICY) for case_id in case_ids if case_id in known
        ]
        documents.append(
            [one._replace(rejected=sorted(line._replace(line=0) for line in one.rejected)) for one in told]
        )
    assert documents[0] == documents[1] == documents[2]
