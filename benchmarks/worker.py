"""The whole job: a worker process with state, changelog and metrics, watched from outside as it reads a backlog."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from cxstream.kafka.topics import CASES_TABLE
from parts.accounts import CONSUMED, dispositions
from parts.figures import exposed
from parts.worker import Samples, WorkerProcess

from .measuring import RUN_SECONDS, BenchmarkFailedError, Counts, Run
from .sources import Sources, counts_of, length

LOOK_EVERY_SECONDS = 0.25
"""How often the page is read while the worker works; before it has caught up that page is short."""
FEW_SAMPLES = 4
AGREE_SECONDS = 60.0
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Look(NamedTuple):
    """What is seen of a worker at one moment."""

    seconds: float
    cpu_seconds: float
    consumed: int


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process so far, all threads, as /proc tells."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def resident_bytes(pid: int) -> int:
    """Return the memory a process holds, as /proc tells."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES


def looked(worker: WorkerProcess, samples: Samples | None = None) -> Look:
    """Look at a worker now."""
    samples = worker.metrics() if samples is None else samples
    return Look(time.perf_counter(), cpu_seconds(worker.process.pid), int(samples.sum(CONSUMED)))


def watched(worker: WorkerProcess, until: int) -> Run:
    """Return what events cost until so many are read, from the first look that saw some of them to the last but one.

    So neither start-up nor waiting counts. Raises BenchmarkFailedError if it was over too soon to be looked at.
    """
    looks: list[Look] = []
    deadline = time.monotonic() + RUN_SECONDS
    while not looks or looks[-1].consumed < until:
        if not worker.process.running or time.monotonic() > deadline:
            raise BenchmarkFailedError(f"the worker ended, or did not read all of it:\n{worker.log_tail()}")
        looks.append(looked(worker))
        time.sleep(LOOK_EVERY_SECONDS)
    between = [look for look in looks if 0 < look.consumed < until]
    if len(between) < FEW_SAMPLES:
        raise BenchmarkFailedError(f"{until} events are too few to measure a worker with")
    first, last = between[0], between[-1]
    return Run(
        events=last.consumed - first.consumed,
        cpu_seconds=last.cpu_seconds - first.cpu_seconds,
        seconds=last.seconds - first.seconds,
    )


def caught_up_counts(worker: WorkerProcess, wanted: Counts) -> Counts:
    """Return what the figures are once all is counted, or what they are still not after AGREE_SECONDS."""
    deadline = time.monotonic() + AGREE_SECONDS
    while True:
        samples = worker.metrics()
        counts = counts_of(exposed(samples))
        ready = samples.sum("cxstream_partition_ready") == samples.sum("cxstream_partitions_expected")
        if (ready and counts == wanted) or time.monotonic() > deadline:
            return counts
        time.sleep(LOOK_EVERY_SECONDS)


def standing(worker: WorkerProcess) -> str:
    """Say how far a worker is: what became of what it read, what it has not read, for how many partitions it speaks."""
    samples = worker.metrics()
    read = {topic: dict(of_topic) for topic, of_topic in dispositions(samples).items()}
    lag = {topic: int(records) for (topic,), records in samples.by("cxstream_consumer_lag_records", "topic").items()}
    return f"read {read}, not yet {lag}, ready {samples.sum('cxstream_partition_ready'):.0f}"


def measure(sources: Sources, settings: Mapping[str, str]) -> Run:
    """Let a new worker read a load from its start, and return what an event cost it, and what it counted.

    `settings` are CXSTREAM_ variables that differ from the defaults.
    """
    job = sources.group("cxstream")
    job.declare()
    with tempfile.TemporaryDirectory(prefix="cxstream-bench-") as name:
        folder = Path(name)
        worker = WorkerProcess({**job.settings(folder / "data"), **settings}, folder / "worker.log")
        with worker:
            run = watched(worker, sources.records)
            run.counts = caught_up_counts(worker, counts_of(sources.figures))
            if run.counts != counts_of(sources.figures):
                raise BenchmarkFailedError(f"the worker counts wrong; {standing(worker)}\n{worker.log_tail()}")
            written = length(job.bootstrap, job.table.changelogs[CASES_TABLE].name, job.partitions)
            run.written = written / sources.records
    return run
