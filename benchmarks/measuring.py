"""What a competitor's run came to, and how it tells: by one line of JSON at its end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median

import msgspec

ROOT = Path(__file__).resolve().parents[1]
RUN_SECONDS = 600.0

Counts = dict[str, int]
"""How many units of each sign stand how, as "sign state"."""


class BenchmarkFailedError(Exception):
    """A competitor failed, or counted wrong: there is nothing to compare."""


class Run(msgspec.Struct, kw_only=True):
    """One run of one competitor, its start-up left out."""

    events: int
    cpu_seconds: float
    """Of its whole process, all threads."""
    seconds: float
    counts: Counts | None = None
    """What its figures were in the end; None if it judges nothing."""
    written: float | None = None
    """Records of cases it wrote per event of the load, if it keeps any."""

    @property
    def cpu_us(self) -> float:
        """CPU microseconds per event."""
        return self.cpu_seconds / self.events * 1e6

    @property
    def rate(self) -> float:
        """Events per second."""
        return self.events / self.seconds


Competitor = Callable[[], Run]


class Stopwatch:
    """CPU and wall time of this process, from its making on."""

    def __init__(self) -> None:
        self._cpu_seconds = time.process_time()
        self._seconds = time.perf_counter()

    def stop(self, events: int, *, counts: Counts | None = None, written: float | None = None) -> Run:
        """Return what the time was spent on."""
        return Run(
            events=events,
            cpu_seconds=time.process_time() - self._cpu_seconds,
            seconds=time.perf_counter() - self._seconds,
            counts=counts,
            written=written,
        )


def tell(told: object) -> None:
    """Print what the parent process is to read, as the last line."""
    sys.stdout.write(msgspec.json.encode(told).decode() + "\n")
    sys.stdout.flush()


def run_apart(module: str, asked: Mapping[str, object], *, python: Path | None = None) -> str:
    """Run a module in a process of its own, which is told what to do as JSON; return the last line it printed.

    It is told a `folder` for its files as well. `python` has other things installed than this one.
    Raises BenchmarkFailedError with what it said.
    """
    path = os.pathsep.join(str(ROOT / folder) for folder in (".", "src", "tests"))
    environment = {**os.environ, "PYTHONPATH": path}
    with tempfile.TemporaryDirectory(prefix="cxstream-bench-") as folder:
        try:
            done = subprocess.run(
                [python or sys.executable, "-m", module, json.dumps({**asked, "folder": folder})],
                capture_output=True,
                text=True,
                check=True,
                timeout=RUN_SECONDS,
                env=environment,
            )
        except subprocess.CalledProcessError as failure:
            raise BenchmarkFailedError(
                f"{module} ended with {failure.returncode}:\n{failure.stderr[-4000:]}"
            ) from failure
        except subprocess.TimeoutExpired as failure:
            raise BenchmarkFailedError(f"{module} was not done in {RUN_SECONDS:g} s:\n{failure.stderr!r}") from failure
    return done.stdout.strip().rpartition("\n")[2]


def in_turn(competitors: Mapping[str, Competitor], wanted: Counts, rounds: int) -> dict[str, list[Run]]:
    """Run all in turn, so many rounds, and say how far it is.

    Raises BenchmarkFailedError if one counts anything else than what is wanted.
    """
    runs: defaultdict[str, list[Run]] = defaultdict(list)
    for number in range(1, rounds + 1):
        for name, measure in competitors.items():
            run = measure()
            if run.counts is not None and run.counts != wanted:
                raise BenchmarkFailedError(f"{name} counts {differences(wanted, run.counts)}")
            runs[name].append(run)
            print(f"  round {number}: {name}: {run.cpu_us:.1f} µs", flush=True)
    return dict(runs)


def differences(wanted: Mapping[str, int], found: Mapping[str, int]) -> str:
    """Say where counts differ."""
    return ", ".join(
        f"{found.get(key, 0)} {key}, not {wanted.get(key, 0)}"
        for key in sorted(wanted.keys() | found.keys())
        if wanted.get(key, 0) != found.get(key, 0)
    )


def typical(runs: Sequence[Run]) -> tuple[float, float]:
    """Return the medians of CPU microseconds per event and of events per second."""
    return median(run.cpu_us for run in runs), median(run.rate for run in runs)
