"""The pure core alone: decoded facts are taken in and judged, batch by batch as a worker does."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable

from cxstream.domain.cases import Case
from cxstream.domain.facts import Fact
from cxstream.kafka.partitioner import partition_of
from cxstream.offline.events_file import Delivered
from parts.producer import facts_of

from .events import Load, reference_events
from .judging import Judging
from .measuring import Run, Stopwatch, tell

Batch = tuple[int, dict[str, list[Fact]]]
"""A partition, and the facts of each of its cases."""


def batches(facts: Iterable[Delivered], size: int, partitions: int) -> list[Batch]:
    """Cut what was delivered of each partition into batches, up to so many facts of a topic, as a worker does."""
    cut: list[Batch] = []
    begun: dict[int, tuple[Batch, Counter[str]]] = {}
    for one in facts:
        partition = partition_of(one.case_id.encode(), partitions)
        if partition not in begun:
            begun[partition] = (partition, {}), Counter()
            cut.append(begun[partition][0])
        (_, by_case), taken = begun[partition]
        by_case.setdefault(one.case_id, []).append(one.fact)
        taken[one.fact.topic] += 1
        if taken[one.fact.topic] == size:
            del begun[partition]
    return cut


def judge_all(load: Load, ends_ms: int, size: int, partitions: int, *, puts_off: bool) -> Run:
    """Judge a load that ends at an instant (milliseconds since the epoch), in batches of so many facts of a topic.

    Judging is put off as by a worker that catches up, or is done with every batch.
    """
    facts = facts_of(reference_events(load, ends_ms))
    ready = batches(facts, size, partitions)
    judging, cases, writes = Judging(), dict[tuple[int, str], Case](), 0
    take_in = judging.take_in if puts_off else judging.revise
    watch = Stopwatch()
    for partition, by_case in ready:
        for case_id, its in by_case.items():
            cases[partition, case_id] = take_in(partition, cases.get((partition, case_id)) or Case(case_id), its)
        writes += len(by_case)
    for (partition, _), case in cases.items():
        judging.catch_up(partition, case)
    run = watch.stop(len(facts), written=writes / len(facts))
    run.counts = judging.counts()
    return run


def main() -> None:
    """Judge what is asked for."""
    asked = json.loads(sys.argv[1])
    load = Load(**asked["load"])
    tell(judge_all(load, asked["ends_ms"], asked["batch"], asked["partitions"], puts_off=asked["puts_off"]))


if __name__ == "__main__":
    main()
