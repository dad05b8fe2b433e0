"""At risk now, on random histories: what is said to be due breaks just then, and nothing breaks unannounced."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from cxstream.domain.facts import RejectedError
from cxstream.domain.instant import DAY_MS, NEVER_MS
from cxstream.domain.policy import Policy
from cxstream.domain.verdict import Verdict
from cxstream.engine.assess import Clock
from cxstream.engine.casebook import Casebook
from cxstream.offline.events_file import Delivered, read_event
from cxstream.vital_signs import CATALOGUE
from oracle.histories import interesting_clocks, random_history
from parts.trials import blocks, often

POLICY = Policy()
BY_CLOCK = {"no_answer", "not_kept", "silence", "no_show"}
"""Reasons of misses that the clock alone brings (rule 6)."""


def said_at(facts: Sequence[Delivered], heard_until_ms: int, now_ms: int) -> dict[tuple[str, str, str], Verdict]:
    """Return every verdict at a clock reading, by what was delivered until an earlier one."""
    casebook = Casebook(CATALOGUE, POLICY)
    for case_id, fact in facts:
        if fact.delivered_ms <= heard_until_ms:
            casebook.take(case_id, fact)
    casebook.assess(Clock.at(now_ms))
    return {(one.sign, name, one.unit): one for name, case in casebook.cases.items() for one in case.verdicts}


def facts_of(events: Sequence[dict[str, Any]]) -> list[Delivered]:
    """Return the facts that events make; what is rejected makes none."""
    facts = []
    for event in events:
        try:
            facts.append(read_event(event, POLICY.clock_skew_ms))
        except RejectedError:
            continue
    return facts


@pytest.mark.parametrize("seeds", blocks(80, 20), ids=str)
def test_what_is_due_is_a_miss_just_after_and_no_miss_of_the_clock_comes_unannounced(seeds: range) -> None:
    """A unit is pending at the instant it is due and a miss one later, unless something happens (rules 6, 26).

    Whatever else the clock alone turns into a miss had its technician on the way: nothing breaks unannounced. Parts are
    due when the visit is to begin, and no miss of the clock: they are left out here.
    """
    announced = 0
    for seed in seeds:
        dice = random.Random(seed)
        events = random_history(dice, 20)
        facts = facts_of(events)
        clocks = interesting_clocks(events)
        for now_ms in dice.sample(clocks, min(3, len(clocks))):
            said = said_at(facts, now_ms, now_ms)
            due = {unit: one.due_ms for unit, one in said.items() if unit[0] != "parts_ready" and one.due_ms < NEVER_MS}
            assert all(said[unit].verdict == "pending" for unit in due)
            for unit, due_ms in due.items():
                assert due_ms < said[unit].seal_ms
                if now_ms <= due_ms:
                    announced += 1
                    before, after = (said_at(facts, now_ms, at_ms)[unit] for at_ms in (due_ms, due_ms + 1))
                    assert (before.verdict, after.verdict) == ("pending", "miss"), (seed, now_ms, unit, before, after)
                    told_ahead = any(fact.delivered_ms <= now_ms and fact.at_ms > due_ms for _, fact in facts)
                    assert after.reason in BY_CLOCK or (told_ahead and after.reason == "late"), (seed, now_ms, unit)
            for unit, one in said_at(facts, now_ms, now_ms + 60 * DAY_MS).items():
                if one.reason in BY_CLOCK and said[unit].verdict == "pending" and unit not in due:
                    named = (fact for _, fact in facts if fact.fields.get("visit_id") == unit[2])
                    assert any(fact.type == "en_route" for fact in named), (seed, now_ms, unit, said[unit], one)
    assert announced >= often(21)
