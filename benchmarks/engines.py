"""Competitors on one load, in turn: the floor, the pure core, the whole job, other engines round the same core."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median

import msgspec

from . import worker
from .events import Load
from .measuring import BenchmarkFailedError, Run, run_apart, typical
from .printing import show
from .sources import Sources, counts_of, filled

FLOOR, CORE, JOB = "floor: aiokafka + fastavro", "pure core", "cxstream, the whole job"
STREAM = "the same with the stream of verdicts"
NO_STREAM = {"CXSTREAM_KAFKA_VERDICTS_TOPIC": "none"}
PEERS = {
    "Quix Streams, same core": "benchmarks.peers.quix_streams",
    "plain Faust agent, same core": "benchmarks.peers.faust_agent",
}
BATCH = 1000
"""Records a worker takes at once, by default."""

Competitor = Callable[[], Run]


def competitors(sources: Sources, load: Load, peers: Path | None, settings: Mapping[str, str]) -> dict[str, Competitor]:
    """Return who runs, in order; without a Python for them no peers."""
    found: dict[str, Competitor] = {
        FLOOR: partial(apart, "benchmarks.floor", sources),
        CORE: partial(core, load, sources.ends_ms, BATCH, sources.job.partitions),
        JOB: partial(worker.measure, sources, {**NO_STREAM, **settings}),
        STREAM: partial(worker.measure, sources, settings),
    }
    if peers is not None:
        found |= {name: partial(apart, module, sources, peers) for name, module in PEERS.items()}
    return found


def apart(module: str, sources: Sources, python: Path | None = None) -> Run:
    """Run a competitor on the source topics, in a process and a consumer group of its own."""
    group = module.rpartition(".")[2].replace("_", "-")
    return read(run_apart(module, sources.asked(group), python=python))


def core(load: Load, ends_ms: int, batch: int, partitions: int) -> Run:
    """Run the pure core on a load, in a process of its own."""
    asked = {"load": load._asdict(), "ends_ms": ends_ms, "batch": batch, "partitions": partitions}
    return read(run_apart("benchmarks.core", asked))


def read(told: str) -> Run:
    """Read what a competitor told; raises BenchmarkFailedError."""
    try:
        return msgspec.json.decode(told, type=Run)
    except msgspec.DecodeError as error:
        raise BenchmarkFailedError(f"a competitor told {told[:200]!r}") from error


def compare(
    bootstrap: str, load: Load, partitions: int, rounds: int, peers: Path | None, settings: Mapping[str, str]
) -> None:
    """Run all competitors in turn, so many rounds, and print what an event costs each.

    `peers` is a Python that can run them, `settings` are CXSTREAM_ variables of the worker.
    Raises BenchmarkFailedError if one counts anything else than `cxstream judge`.
    """
    sources = filled(bootstrap, load, partitions)
    wanted = counts_of(sources.figures)
    runs: defaultdict[str, list[Run]] = defaultdict(list)
    for number in range(1, rounds + 1):
        for name, measure in competitors(sources, load, peers, settings).items():
            run = measure()
            if run.counts is not None and run.counts != wanted:
                raise BenchmarkFailedError(f"{name} counts {differences(wanted, run.counts)}")
            runs[name].append(run)
            print(f"  round {number}: {name}: {run.cpu_us:.1f} µs", flush=True)
    title = (
        f"CPU per event, medians of {rounds} rounds in turn: {sources.records:,} events of {load.cases:,} cases"
        f" of {load.facts} facts, {load.live:,} open at a time, {load.duplicates:.0%} delivered twice,"
        f" {partitions} partitions"
    )
    show(
        title,
        ("", "µs CPU/event", "least", "most", "events/s", "records/event", "counts"),
        [_row(*one) for one in runs.items()],
    )
    floor, pure, job = (typical(runs[name])[0] for name in (FLOOR, CORE, JOB))
    print(f"\nengine overhead = cxstream - core - floor = {job - pure - floor:.1f} µs CPU/event", flush=True)
    if peers is None:
        print("left out: the peers; their virtual environment is not there (make bench makes it)")


def differences(wanted: Mapping[str, int], found: Mapping[str, int]) -> str:
    """Say where counts differ."""
    return ", ".join(
        f"{found.get(key, 0)} {key}, not {wanted.get(key, 0)}"
        for key in sorted(wanted.keys() | found.keys())
        if wanted.get(key, 0) != found.get(key, 0)
    )


def _row(name: str, runs: Sequence[Run]) -> tuple[str, ...]:
    cpu_us, rate = typical(runs)
    costs = [run.cpu_us for run in runs]
    written = "-" if runs[0].written is None else f"{median(run.written or 0 for run in runs):.2f}"
    counts = "-" if runs[0].counts is None else "as judged"
    return name, f"{cpu_us:.1f}", f"{min(costs):.1f}", f"{max(costs):.1f}", f"{rate:,.0f}", written, counts
