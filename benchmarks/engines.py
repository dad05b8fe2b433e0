"""Competitors on one load, in turn: the floor, the pure core, the whole job, other engines round the same core."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median

import msgspec

from cxstream.config.settings import Limits

from . import worker
from .events import Load
from .measuring import BenchmarkFailedError, Competitor, Run, in_turn, run_apart, typical
from .printing import show
from .sources import Sources, counts_of, filled

FLOOR = "floor: aiokafka + fastavro"
CORE, ONE_BY_ONE = "pure core, as cxstream drives it", "pure core, one event at a time"
JOB, STREAM = "cxstream, the whole job", "the same with the stream of verdicts"
NO_STREAM = {"CXSTREAM_KAFKA_VERDICTS_TOPIC": "none"}
PEERS = {"Quix Streams": "benchmarks.peers.quix_streams", "plain Faust agent": "benchmarks.peers.faust_agent"}
SAME_CORE, NO_CORE = "same core", "judging nothing"
BATCH = Limits().max_batch_records
"""Records of a topic a worker takes at once, by default."""


def competitors(sources: Sources, load: Load, peers: Path | None, settings: Mapping[str, str]) -> dict[str, Competitor]:
    """Return who runs, in order; without a Python for them no peers."""
    partitions = sources.job.partitions
    found: dict[str, Competitor] = {
        FLOOR: partial(apart, "benchmarks.floor", sources),
        CORE: partial(core, load, sources.ends_ms, BATCH, partitions, puts_off=True),
        ONE_BY_ONE: partial(core, load, sources.ends_ms, 1, partitions),
        JOB: partial(worker.measure, sources, {**NO_STREAM, **settings}),
        STREAM: partial(worker.measure, sources, settings),
        f"cxstream, {NO_CORE}": partial(worker.measure_nothing, sources, load, {**NO_STREAM, **settings}),
    }
    if peers is not None:
        for name, module in PEERS.items():
            found[f"{name}, {SAME_CORE}"] = partial(apart, module, sources, peers)
            found[f"{name}, {NO_CORE}"] = partial(apart, module, sources, peers, judges=False)
    return found


def apart(module: str, sources: Sources, python: Path | None = None, *, judges: bool = True) -> Run:
    """Run a competitor on the source topics, in a process and a consumer group of its own."""
    group = module.rpartition(".")[2].replace("_", "-")
    return read(run_apart(module, {**sources.asked(group), "judges": judges}, python=python))


def core(load: Load, ends_ms: int, batch: int, partitions: int, *, puts_off: bool = False) -> Run:
    """Run the pure core on a load in a process of its own: judging with every batch, or as a worker that catches up."""
    asked = {"load": load._asdict(), "ends_ms": ends_ms, "batch": batch, "partitions": partitions, "puts_off": puts_off}
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
    runs = in_turn(competitors(sources, load, peers, settings), counts_of(sources.figures), rounds)
    of = f"{sources.records:,} events of {load.cases:,} cases of {load.facts} facts"
    make = f"{load.live:,} open at a time, {load.duplicates:.0%} delivered twice, {partitions} partitions"
    show(
        f"CPU per event, medians of {rounds} rounds in turn: {of}, {make}",
        ("", "µs CPU/event", "least", "most", "events/s", "records/event", "counts"),
        [_row(*one) for one in runs.items()],
    )
    show(
        "Engine overhead: what is left of an event without the shared core and the floor, µs CPU; medians by round",
        ("", "all of it", "- core", "- floor", "= overhead", "measured: judging nothing - floor"),
        list(overheads(runs)),
    )
    if peers is None:
        print("left out: the peers; their virtual environment is not there (make bench makes it)", flush=True)


def overheads(runs: Mapping[str, Sequence[Run]]) -> Iterator[tuple[str, ...]]:
    """Yield a row for each engine: from each run the core as that engine drives it and the floor of the same round.

    What each costs with a judge that does nothing is measured as well; the floor is subtracted there, too.
    """
    engines = [(JOB, CORE, f"cxstream, {NO_CORE}")]
    engines += [(f"{name}, {SAME_CORE}", ONE_BY_ONE, f"{name}, {NO_CORE}") for name in PEERS]
    engines = [one for one in engines if one[0] in runs]
    left = {name: overhead(runs[name], runs[core], runs[FLOOR]) for name, core, _idle in engines}
    for name, core, idle in engines:
        parts = (typical(runs[part])[0] for part in (name, core, FLOOR))
        measured = overhead(runs[idle], runs[FLOOR])
        yield (name, *(f"{part:.1f}" for part in parts), f"{left[name]:.1f}", f"{measured:.1f}")


def overhead(whole: Sequence[Run], *parts: Sequence[Run]) -> float:
    """Return the median over rounds of what a run costs beyond its parts, in CPU microseconds per event."""
    rounds = zip(whole, *parts, strict=True)
    return median(run.cpu_us - sum(part.cpu_us for part in others) for run, *others in rounds)


def _row(name: str, runs: Sequence[Run]) -> tuple[str, ...]:
    cpu_us, rate = typical(runs)
    costs = [run.cpu_us for run in runs]
    written = "-" if runs[0].written is None else f"{median(run.written or 0 for run in runs):.2f}"
    counts = "-" if runs[0].counts is None else "as judged"
    return name, f"{cpu_us:.1f}", f"{min(costs):.1f}", f"{max(costs):.1f}", f"{rate:,.0f}", written, counts
