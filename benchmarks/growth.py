"""How the whole job grows: with the partitions one worker has, and with the workers that share them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from statistics import median

from cxstream.demo.upstream import MINUTE
from parts.apache_kafka import ApacheKafka
from parts.figures import wall_ms

from . import worker
from .events import Load
from .measuring import Competitor, Run, in_turn, typical
from .printing import show
from .sources import counts_of, filled

PARTITIONS_SHARED = 16
TOGETHER = {"group.initial.rebalance.delay.ms": 4_000}
"""Workers that start together begin together: a group waits so long for one more, as brokers do by default (3 s)."""
HEAD = ("", "µs CPU/event", "least", "most", "events/s", "records/event", "counts")


def by_partitions(bootstrap: str, load: Load, numbers: Sequence[int], rounds: int, settings: Mapping[str, str]) -> None:
    """Print what an event costs one worker that has so many partitions; raises BenchmarkFailedError if it miscounts."""
    ends_ms = wall_ms() - MINUTE
    sources = {number: filled(bootstrap, load, number, ends_ms) for number in numbers}
    competitors: dict[str, Competitor] = {
        _named(number, "partition"): partial(worker.measure, its, settings) for number, its in sources.items()
    }
    found = in_turn(competitors, counts_of(sources[numbers[0]].figures), rounds)
    show(f"The whole job by partitions, one worker: {_of(load, rounds)}", HEAD, _rows(found))


def by_workers(load: Load, numbers: Sequence[int], rounds: int, settings: Mapping[str, str]) -> None:
    """Print what an event costs all workers together when so many share the partitions, each a process.

    Raises BenchmarkFailedError if what they count together is not what `cxstream judge` counts.
    """
    with ApacheKafka(properties=TOGETHER) as kafka:
        sources = filled(kafka.bootstrap, load, PARTITIONS_SHARED)
        competitors: dict[str, Competitor] = {
            _named(number, "worker"): partial(worker.measure, sources, settings, workers=number) for number in numbers
        }
        found = in_turn(competitors, counts_of(sources.figures), rounds)
    shared = f"{PARTITIONS_SHARED} partitions, {os.cpu_count()} cores for workers and broker"
    show(f"The whole job by workers, their CPU added up: {_of(load, rounds)}, {shared}", HEAD, _rows(found))


def _of(load: Load, rounds: int) -> str:
    return f"{load.cases:,} reference cases, {load.live:,} open at a time; medians of {rounds} rounds in turn"


def _named(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _rows(found: Mapping[str, Sequence[Run]]) -> list[tuple[str, ...]]:
    return [_row(name, runs) for name, runs in found.items()]


def _row(name: str, runs: Sequence[Run]) -> tuple[str, ...]:
    cpu_us, rate = typical(runs)
    costs = [run.cpu_us for run in runs]
    written = f"{median(run.written or 0 for run in runs):.2f}"
    return name, f"{cpu_us:.1f}", f"{min(costs):.1f}", f"{max(costs):.1f}", f"{rate:,.0f}", written, "as judged"
