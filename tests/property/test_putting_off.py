"""Judging that is put off until a partition has caught up: cases are judged less often, and nothing else changes."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from cxstream.domain.instant import DAY_MS, NEVER_MS
from cxstream.engine.assess import NOT_JUDGED
from cxstream.kafka import case_agent
from cxstream.kafka.changelog_table import PartitionLostError
from cxstream.kafka.partition_batches import Record
from parts.accounts import dispositions
from parts.agent import Broker, Life
from parts.lives import KEEPS_ALL, cases_of, lived, meaning, sent, verdicts_of
from parts.trials import often, seeds
from parts.verdicts import Consumer

SEEDS = seeds(40)
OF_THE_WAY = ("retracted",)
"""Figures that say how often verdicts were taken back, not what they are."""


def _figures(life: Life, now_ms: int) -> set[tuple[object, ...]]:
    life.partition.ledger.advance(now_ms)
    return {row for row in life.partition.ledger.rows() if row.state not in OF_THE_WAY}


def test_what_is_judged_later_is_judged_the_same() -> None:
    """In any batches, wherever a worker ends: verdicts, deadlines, figures and late facts are those judged at once.

    What is late after seal is counted when it is taken in (rule 3), and what is announced is what the records say.
    """
    met: Counter[str] = Counter()
    for seed in SEEDS:
        dice = random.Random(seed)
        records = sent(seed, dice)
        if not records:
            continue
        now_ms = records[-1].record.timestamp + dice.choice((0, 1, DAY_MS, 40 * DAY_MS))
        broker, other = Broker(), Broker()
        expected = lived(broker, records, now_ms, KEEPS_ALL)
        batches = dice.choices((1, 1, 2, 5), k=dice.randrange(12))
        count = dice.randrange(len(records) + 1)
        first = lived(other, records[:count], now_ms, KEEPS_ALL, batches=batches, puts_off=True, ends=True)
        met["put off"] += sum(case.judged_under == NOT_JUDGED for case in cases_of(other).values())
        second = lived(other, records[count:], now_ms, KEEPS_ALL, batches=batches, puts_off=True)

        assert meaning(verdicts_of(other)) == meaning(verdicts_of(broker)), seed
        for key, case in cases_of(other).items():
            alone = cases_of(broker)[key]
            assert (case.deadline_ms, case.settles_ms) == (alone.deadline_ms, alone.settles_ms), seed
            assert case.judged_under == alone.judged_under, seed
        assert _figures(second, now_ms) == _figures(expected, now_ms), seed
        found = dispositions(first.scrape()), dispositions(second.scrape())
        once = dispositions(expected.scrape())
        assert {topic: found[0][topic] + found[1][topic] for topic in once} == once, seed
        consumer = Consumer()
        assert not consumer.broken((one.key, one.value) for one in other.verdicts())
        assert not list(consumer.differences(cases_of(other).values()))
        met["late"] += sum(ends["after_seal"] for ends in once.values())
        met["final"] += sum(one.sealed for one in verdicts_of(broker).values())
    assert min(met[kind] for kind in ("put off", "late", "final")) >= often(21), met


def test_judging_that_a_rebalance_breaks_off_begins_anew() -> None:
    """Where the partition stays with its worker, what was put off is judged before its figures are shown."""
    met = 0
    for seed in SEEDS:
        records = sent(seed, random.Random(seed))
        broker = Broker()
        now_ms = records[-1].record.timestamp if records else 0
        life = lived(broker, records, now_ms, KEEPS_ALL, batches=[len(records)], puts_off=True, ends=True)
        waiting = sum(case.judged_under == NOT_JUDGED for case in cases_of(broker).values())
        life.partition.judge_at_once()
        owned = life.agent.partition
        life.agent.partition = lambda number: owned(number) if owned(number).is_to_recheck else object()  # noqa: B023  # called in this round
        if waiting:
            with pytest.raises(PartitionLostError):
                asyncio.run(life.agent.judge_due(life.partition))
        life.agent.partition = owned
        asyncio.run(life.agent.judge_due(life.partition))
        assert not [case for case in cases_of(broker).values() if case.facts and case.judged_under == NOT_JUDGED], seed
        assert not life.partition.is_to_recheck
        met += waiting
    assert met >= often(21)


@pytest.mark.parametrize("residue_bytes", [case_agent.LARGEST_RESIDUE_BYTES, 10])
def test_a_case_that_grows_too_large_is_closed_with_its_units(
    residue_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All are counted as excluded, judged or put off, but where even that is too much. It is forgotten in time."""
    monkeypatch.setattr(case_agent, "LARGEST_RESIDUE_BYTES", residue_bytes)
    met = 0
    for seed in SEEDS:
        records = sent(seed, random.Random(seed))
        now_ms = records[-1].record.timestamp if records else 0
        taken: dict[str, list[Record]] = {}
        for offset, one in enumerate(records):
            taken.setdefault(one.topic, []).append(one.record._replace(offset=offset))
        closed = []
        for puts_off in (False, True):
            broker = Broker()
            life = Life(broker, wall_ms=lambda: now_ms)  # noqa: B023  # called in this round
            life.agent.max_record_bytes = 10
            life.partition.puts_off = puts_off
            asyncio.run(life.process_all(taken))
            closed.append(verdicts_of(broker))
            assert all(case.settles_ms < NEVER_MS for case in cases_of(broker).values()), seed
        assert meaning(closed[True]) == meaning(closed[False]), seed
        met += len(closed[True])
    assert met >= often(21) if residue_bytes > 10 else met == 0
