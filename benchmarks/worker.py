"""The whole job: worker processes with state, changelog and metrics, watched from outside as they read a backlog."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

from cxstream.kafka.topics import CASES_TABLE
from faults.fence import fence, scrape
from parts.accounts import CONSUMED, dispositions
from parts.figures import exposed
from parts.producer import Job
from parts.worker import START_SECONDS, WorkerProcess

from .events import Load
from .judging_nothing import counts_of_nothing
from .measuring import ROOT, RUN_SECONDS, BenchmarkFailedError, Counts, Run, differences
from .sources import Sources, counts_of, length

LOOK_EVERY_SECONDS = 0.25
"""How often the page is read while workers work; before they have caught up that page is short."""
FEW_SAMPLES = 4
AGREE_SECONDS = 60.0
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_OF_A_PROCESS = 2
"""What Linux adds to the number of a process that is asked for all CPU time it took (clock_getcpuclockid)."""


class Look(NamedTuple):
    """What is seen of one worker, or of several together, at one moment."""

    seconds: float
    cpu_seconds: float
    consumed: int
    all_read: bool
    """Whether each has read something."""
    ready: int
    """For how many partitions they speak."""


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process so far, all threads."""
    return time.clock_gettime(~pid << 3 | _OF_A_PROCESS)


def resident_bytes(pid: int) -> int:
    """Return the memory a process holds, as /proc tells."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES


def looked(*workers: WorkerProcess) -> Look:
    """Look at workers now."""
    with ThreadPoolExecutor(len(workers)) as pool:  # one that is busy answers late, and keeps no other waiting
        seen = list(pool.map(_read_and_spent, workers))
    read = [events for events, _, _ in seen]
    ready = sum(partitions for _, partitions, _ in seen)
    return Look(time.perf_counter(), sum(spent for _, _, spent in seen), sum(read), all(read), ready)


def _read_and_spent(worker: WorkerProcess) -> tuple[int, int, float]:
    samples = worker.metrics()
    return int(samples.sum(CONSUMED)), int(samples.sum("cxstream_partition_ready")), cpu_seconds(worker.process.pid)


def watched(workers: Sequence[WorkerProcess], until: int, partitions: int) -> Run:
    """Return what events cost until so many are read, from the first look at which each worker has read some of them.

    It ends with the first look at which all is read and so many partitions are spoken for: what was put off is in it,
    start-up is not. The CPU is of all workers.
    Raises BenchmarkFailedError if it was over too soon to be looked at.
    """
    looks: list[Look] = []
    deadline = time.monotonic() + RUN_SECONDS
    while not looks or looks[-1].consumed < until or looks[-1].ready < partitions:
        for worker in workers:
            if not worker.process.running or time.monotonic() > deadline:
                raise BenchmarkFailedError(f"a worker ended, or did not read all of it:\n{worker.log_tail()}")
        looks.append(looked(*workers))
        time.sleep(LOOK_EVERY_SECONDS)
    between = [look for look in looks if look.all_read and look.consumed < until]
    if len(between) < FEW_SAMPLES:
        raise BenchmarkFailedError(f"{until} events are too few to measure {len(workers)} workers with")
    first, last = between[0], looks[-1]
    return Run(
        events=last.consumed - first.consumed,
        cpu_seconds=last.cpu_seconds - first.cpu_seconds,
        seconds=last.seconds - first.seconds,
    )


def caught_up_counts(workers: Sequence[WorkerProcess], wanted: Counts, partitions: int) -> Counts:
    """Return what the figures are once all is counted, or what they are still not after AGREE_SECONDS.

    Of each partition its owner is believed, as the recording rules do.
    """
    deadline = time.monotonic() + AGREE_SECONDS
    while True:
        spoken = fence([page for page in (scrape(worker.address) for worker in workers) if page is not None])
        counts = counts_of(exposed(spoken.samples))
        if (len(spoken.covered) == partitions and counts == wanted) or time.monotonic() > deadline:
            return counts
        time.sleep(LOOK_EVERY_SECONDS)


def _answers(worker: WorkerProcess) -> bool:
    return worker.ask("/livez").status == 200


def standing(worker: WorkerProcess) -> str:
    """Say how far a worker is: what became of what it read, what it has not read, for how many partitions it speaks."""
    samples = worker.metrics()
    read = {topic: dict(of_topic) for topic, of_topic in dispositions(samples).items()}
    lag = {topic: int(records) for (topic,), records in samples.by("cxstream_consumer_lag_records", "topic").items()}
    return f"read {read}, not yet {lag}, ready {samples.sum('cxstream_partition_ready'):.0f}"


class JudgingNothing(WorkerProcess):
    """A worker like any other, with a judge that does nothing."""

    command = ("-m", "benchmarks.judging_nothing")
    path = os.pathsep.join(str(ROOT / folder) for folder in ("", "src", "tests"))


def measure(sources: Sources, settings: Mapping[str, str], *, workers: int = 1, job: Job | None = None) -> Run:
    """Let new workers read a load from its start, and return what an event cost them together, and what they counted.

    `settings` are CXSTREAM_ variables that differ from the defaults, `job` is the group, a new one unless it is named.
    Raises BenchmarkFailedError if that is not what `cxstream judge` counts.
    """
    return run_group(
        WorkerProcess,
        job or sources.group("cxstream"),
        sources.records,
        workers,
        settings,
        wanted=counts_of(sources.figures),
    )


def measure_nothing(sources: Sources, load: Load, settings: Mapping[str, str]) -> Run:
    """Return what an event of a load costs a worker with a judge that does nothing.

    Raises BenchmarkFailedError if it counts anything but the ready-made verdicts: some other judge judged.
    """
    run = run_group(
        JudgingNothing, sources.group("nothing"), sources.records, 1, settings, wanted=counts_of_nothing(load.cases)
    )
    run.counts = None
    return run


def run_group(
    kind: type[WorkerProcess], job: Job, records: int, workers: int, settings: Mapping[str, str], *, wanted: Counts
) -> Run:
    """Let so many new workers read all records of a job; raises BenchmarkFailedError if they do not count as wanted."""
    job.declare()
    with tempfile.TemporaryDirectory(prefix="cxstream-bench-") as name, ExitStack() as ending:
        folder = Path(name)
        group = [
            kind({**job.settings(folder / f"data-{n}"), **settings}, folder / f"worker-{n}.log").launch()
            for n in range(workers)
        ]
        for worker in group:
            ending.enter_context(worker).wait_for(partial(_answers, worker), "answering", seconds=START_SECONDS)
        run = watched(group, records, job.partitions)
        run.counts = caught_up_counts(group, wanted, job.partitions)
        if run.counts != wanted:
            said = "\n".join(f"{standing(worker)}\n{worker.log_tail()}" for worker in group)
            raise BenchmarkFailedError(f"the workers count {differences(wanted, run.counts)}: {said}")
        run.written = length(job.bootstrap, job.table.changelogs[CASES_TABLE].name, job.partitions) / records
    return run
