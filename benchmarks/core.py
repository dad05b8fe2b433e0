"""The pure core alone: decoded facts are taken in and judged, batch by batch as a worker does."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence

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


def batches(facts: Sequence[Delivered], size: int, partitions: int) -> Iterator[Batch]:
    """Cut the log of every topic and partition into batches, and take them in turn, as a worker with a backlog does."""
    logs: defaultdict[tuple[str, int], list[Delivered]] = defaultdict(list)
    for one in facts:
        logs[one.fact.topic, partition_of(one.case_id.encode(), partitions)].append(one)
    for start in range(0, max(map(len, logs.values())), size):
        for (_topic, partition), log in logs.items():
            by_case: defaultdict[str, list[Fact]] = defaultdict(list)
            for case_id, fact in log[start : start + size]:
                by_case[case_id].append(fact)
            if by_case:
                yield partition, by_case


def judge_all(load: Load, ends_ms: int, size: int, partitions: int) -> Run:
    """Judge a load that ends at an instant (milliseconds since the epoch), in batches of so many events."""
    facts = facts_of(reference_events(load, ends_ms))
    ready = list(batches(facts, size, partitions))
    judging, cases, writes = Judging(), dict[str, Case](), 0
    watch = Stopwatch()
    for partition, by_case in ready:
        for case_id, its in by_case.items():
            cases[case_id] = judging.revise(partition, cases.get(case_id) or Case(case_id), its)
        writes += len(by_case)
    run = watch.stop(len(facts), written=writes / len(facts))
    run.counts = judging.counts()
    return run


def main() -> None:
    """Judge what is asked for."""
    asked = json.loads(sys.argv[1])
    tell(judge_all(Load(**asked["load"]), asked["ends_ms"], asked["batch"], asked["partitions"]))


if __name__ == "__main__":
    main()
