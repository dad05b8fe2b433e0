"""Whole lives of the agent on a random history: what records say in the end, whatever happened on the way."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from cxstream.domain.cases import Case
from cxstream.domain.facts import RejectedError
from cxstream.domain.instant import NEVER_MS
from cxstream.domain.policy import Policy
from cxstream.domain.verdict import Verdict
from cxstream.kafka.records import read_case
from cxstream.offline.events_file import read_event
from oracle.histories import in_segments, random_history

from .agent import Broker, Life, Record

KEEPS_ALL = Policy(longest_window_ms=NEVER_MS)
"""Nothing is forgotten by it: all verdicts are there to compare."""

Unit = tuple[str, str, str]
"""(case id, sign, unit id)"""


class Sent(NamedTuple):
    """A record of a source topic."""

    topic: str
    record: Record


def sent(seed: int, dice: random.Random) -> list[Sent]:
    """Return a random history as records, in order of delivery; what cannot be sent is left out."""
    codec = Life(Broker(), wall_ms=lambda: 0).codec
    records = []
    for event in in_segments(random_history(random.Random(seed), 25), dice):
        try:
            fact = read_event(event, KEEPS_ALL.clock_skew_ms).fact
            key, value = event["case_id"].encode(), codec.encode(event)
        except RejectedError:
            continue
        records.append(Sent(event["topic"], Record(key, value, fact.delivered_ms)))
    return sorted(records, key=lambda one: one.record.timestamp)


def lived(
    broker: Broker,
    records: Sequence[Sent],
    now_ms: int,
    policy: Policy,
    *,
    batches: Sequence[int] = (),
    puts_off: bool = False,
    ends: bool = False,
) -> Life:
    """Return a process that has started from what the broker holds, taken the records as delivered, and judged then.

    It takes so many records at a time as `batches` say, then one at a time. `puts_off`: it catches up meanwhile, and
    `ends`: it does not come to that.
    """
    clock_ms = settled_ms = 0
    life = Life(broker, wall_ms=lambda: clock_ms, settled_ms=lambda: settled_ms, policy=policy)

    async def live() -> None:
        nonlocal clock_ms, settled_ms
        await life.recover()
        life.partition.puts_off = puts_off
        first = 0
        for size in (*batches, *(1 for _ in records)):
            taken: dict[str, list[Record]] = {}
            for offset, one in enumerate(records[first : first + size], start=first):
                clock_ms = one.record.timestamp
                taken.setdefault(one.topic, []).append(one.record._replace(offset=offset))
            first += size
            await life.process_all(taken)
            await life.settle()
            settled_ms = clock_ms - 1  # the next one may be delivered at the same instant
        if ends:
            return
        clock_ms = settled_ms = now_ms
        life.partition.judge_at_once()
        await life.agent.judge_due(life.partition)

    asyncio.run(live())
    return life


def cases_of(broker: Broker) -> dict[bytes, Case]:
    """Return the records of cases a broker holds."""
    return {key: read_case(data) for key, data in broker.tables["cases"].items()}


def verdicts_of(broker: Broker) -> dict[Unit, Verdict]:
    """Return all verdicts that are published."""
    return {(case.case_id, one.sign, one.unit): one for case in cases_of(broker).values() for one in case.verdicts}


def meaning(verdicts: Mapping[Unit, Verdict]) -> dict[Unit, tuple[Any, ...]]:
    """Return what they say, without how often they were revised."""
    return {
        unit: (one.verdict, one.reason, one.anchor_ms, one.seal_ms, one.sealed, one.due_ms)
        for unit, one in verdicts.items()
    }
