"""How long a job with many cases held is without a full voice when a worker leaves, dies or joins."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from cxstream.demo.upstream import DAY
from faults.fleet import Fleet, Seen, wait_until
from faults.trial import SESSION_SECONDS, recovery_seconds
from parts.figures import UNITS, wall_ms
from parts.producer import Job

from .judging import WINDOW
from .live import PATIENCE_SECONDS, prefill
from .printing import show
from .worker import cpu_seconds

SETTINGS = {
    "CXSTREAM_KAFKA_SESSION_TIMEOUT_SECONDS": f"{SESSION_SECONDS:g}",
    "CXSTREAM_KAFKA_HEARTBEAT_SECONDS": "0.5",
    "CXSTREAM_KAFKA_SOURCE_SILENT_AFTER": "ticket=0s",  # nothing arrives, and that is not what is measured
}
RESTED_SECONDS = 10.0
"""Workers that take hardly any time for so long have read their standby replicas too, which no figure tells."""
BUSY = 0.25
"""Of a core: a worker that has nothing to do takes less."""
WATCH_SECONDS = 0.25

Interrupt = Callable[[Fleet], None]


class Interruption(NamedTuple):
    """How long it took, in seconds, and how bad it was."""

    detected: float
    """Until the group had decided anew who owns what, as the first worker said that heard of it."""
    whole: float
    """Until somebody spoke for every partition again; 0 if somebody always did."""
    covered: int
    """Partitions somebody spoke for when it was worst."""

    def cells(self) -> tuple[str, ...]:
        """Return them as they are printed."""
        if not self.whole:
            return f"{self.detected:.1f}", "-", "0.0"
        return f"{self.detected:.1f}", f"{self.whole - self.detected:.1f}", f"{self.whole:.1f}"


def kill_one(fleet: Fleet) -> None:
    """Kill a worker of two; the other takes over."""
    fleet.kill(fleet.workers[0])


def leave_one(fleet: Fleet) -> None:
    """Ask one of two to stop; the other takes over."""
    fleet.stop(fleet.workers[0])


def kill_only(fleet: Fleet) -> None:
    """Kill all there are and start one."""
    for worker in tuple(fleet.workers):
        fleet.kill(worker)
    fleet.launch()


def join_one(fleet: Fleet) -> None:
    """Let a third worker join two."""
    fleet.launch()


INTERRUPTIONS: dict[str, Interrupt] = {
    "kill -9 of one of two": kill_one,
    "SIGTERM of one of two": leave_one,
    "a third joins two": join_one,
    "kill -9 of all, one starts": kill_only,
}


def settled(fleet: Fleet, cases: int) -> bool:
    """Tell whether every partition is spoken for and all cases are counted, each once."""
    spoken = fleet.spoken()
    counted = spoken.samples.sum(UNITS, vital_sign="stayed_fixed", level="job", window=WINDOW)
    return len(spoken.covered) == fleet.job.partitions and counted == cases


def await_rest(fleet: Fleet) -> None:
    """Wait until no worker has had anything to do for a while."""

    def spent() -> list[float]:
        return [cpu_seconds(worker.process.pid) for worker in fleet.workers]

    def rested() -> bool:
        before = spent()
        time.sleep(RESTED_SECONDS)
        return all(after - once < BUSY * RESTED_SECONDS for once, after in zip(before, spent(), strict=True))

    wait_until(rested, "workers at rest", seconds=PATIENCE_SECONDS)


def measure(fleet: Fleet, cases: int, interrupt: Interrupt) -> Interruption:
    """Interrupt two workers that have come to rest, and watch until all cases are counted again, each once."""
    at_rest = partial(settled, fleet, cases)
    while len(fleet.workers) > 2:
        fleet.stop(fleet.workers[-1])
    fleet.launch(2 - len(fleet.workers))
    wait_until(
        lambda: all(map(fleet.owned, fleet.workers)) and at_rest(), "all cases counted", seconds=PATIENCE_SECONDS
    )
    await_rest(fleet)
    before = fleet.spoken().generation
    seen: list[Seen]
    with fleet.watched(lambda _: [], every_seconds=WATCH_SECONDS) as seen:
        began = time.monotonic()
        interrupt(fleet)
        wait_until(
            lambda: any(one.generation > before for one in seen) and at_rest(),
            "all counted again",
            seconds=PATIENCE_SECONDS,
        )
        time.sleep(1)
    return split(seen, began, before, fleet.job.partitions)


def split(seen: Sequence[Seen], began: float, before: int, partitions: int) -> Interruption:
    """Tell how long it took the group to decide, of all the time it took; `before` is the generation it was then."""
    decided = next(one.at for one in seen if one.at >= began and one.generation > before)
    return Interruption(
        decided - began, recovery_seconds(list(seen), began, partitions), min(one.covered for one in seen)
    )


def compare(bootstrap: str, sizes: Sequence[int], partitions: int, settings: Mapping[str, str]) -> None:
    """Print how long each interruption took beside so many cases, with and without a standby replica."""
    head = (
        "",
        "standbys",
        "seconds until the group decided",
        "from that until all is spoken for",
        "together",
        "at worst",
    )
    for cases in sizes:
        rows = []
        job = Job(bootstrap, "bench-takeover", partitions=partitions)
        job.declare()
        prefill(job, cases, wall_ms() - DAY)
        for standbys in (0, 1):
            standby = {"CXSTREAM_KAFKA_STANDBY_REPLICAS": f"{standbys}"}
            with tempfile.TemporaryDirectory(prefix="cxstream-bench-") as name:
                fleet = Fleet(job, Path(name), {**SETTINGS, **settings, **standby})
                try:
                    for what, interrupt in INTERRUPTIONS.items():
                        found = measure(fleet, cases, interrupt)
                        at_worst = f"{found.covered} of {partitions} partitions"
                        rows.append((what, f"{standbys}", *found.cells(), at_worst))
                        print(f"  {standbys} standbys, {what}: {found.whole:.1f} s", flush=True)
                finally:
                    fleet.end()
        title = f"Takeover beside {cases:,} cases held, session timeout {SESSION_SECONDS:g} s; one run each"
        show(title, head, rows)
