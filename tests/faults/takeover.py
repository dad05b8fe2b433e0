"""Measures how long a job with many live cases is without a full voice when a worker leaves, dies or joins.

`make takeover`. With and without a standby replica; printed as a table, seconds by the wall clock.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from cxstream.demo.upstream import HOUR, Delivery
from parts.figures import wall_ms
from parts.poison import an_opening
from parts.producer import Job

from .broker import ProxiedKafka
from .fleet import Fleet, Seen, wait_until
from .trial import SESSION_SECONDS, WORKER, recovery_seconds

PATIENCE_SECONDS = 300.0
LOAD = {"CXSTREAM_LIMITS_MAX_BATCH_RECORDS": "1000"}

STANDBY_SECONDS = 15.0
"""For standby replicas to be read, which no figure tells."""

Interrupt = Callable[[Fleet], None]


def live_cases(count: int) -> Iterator[Delivery]:
    """Yield the first events of cases nobody has fixed yet: an opening, an answer and an appointment tomorrow."""
    now_ms = wall_ms()
    for number in range(count):
        case_id = f"L{number:06d}"
        opened_ms = now_ms - 10_000 - number % HOUR
        opening = an_opening(case_id, opened_ms, priority="P3", region="north", product="pump", tz="Europe/Oslo")
        answer = {**_fact(case_id, 2, "ticket", "acknowledged"), "at": opened_ms + 2}
        visit = {
            **_fact(case_id, 3, "dispatch", "scheduled"),
            "visit_id": f"{case_id}-V1",
            "at": opened_ms + 3,
            "window_start": opened_ms + 24 * HOUR,
            "window_end": opened_ms + 28 * HOUR,
        }
        yield from (Delivery(now_ms, "ticket", event) for event in (opening, answer))
        yield Delivery(now_ms, "dispatch", visit)


def _fact(case_id: str, number: int, topic: str, kind: str) -> dict[str, object]:
    return {"event_id": f"{case_id}-{number}", "topic": topic, "type": kind, "case_id": case_id}


def settled(fleet: Fleet, cases: int) -> bool:
    """Tell whether every partition is spoken for and all cases are counted, each once."""
    spoken = fleet.spoken()
    pending = spoken.samples.sum("cxstream_vital_sign_pending_units", vital_sign="stayed_fixed", window="3650d")
    return len(spoken.covered) == fleet.job.partitions and pending == cases


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
    fleet.ready(*fleet.launch())


INTERRUPTIONS: dict[str, Interrupt] = {
    "kill -9 of one of two": kill_one,
    "SIGTERM of one of two": leave_one,
    "a third joins two": join_one,
    "kill -9 of all, one starts": kill_only,
}


def measure(fleet: Fleet, cases: int, interrupt: Interrupt) -> tuple[float, int]:
    """Interrupt two workers; return how long not all was spoken for, and how few partitions were at worst."""
    while len(fleet.workers) > 2:
        fleet.stop(fleet.workers[-1])
    fleet.ready(*fleet.launch(2 - len(fleet.workers)))
    wait_until(lambda: settled(fleet, cases), "all cases counted", seconds=PATIENCE_SECONDS)
    time.sleep(STANDBY_SECONDS)
    seen: list[Seen]
    with fleet.watched(lambda _: []) as seen:
        began = time.monotonic()
        interrupt(fleet)
        time.sleep(SESSION_SECONDS + 2)  # nothing happens before a session ends
        wait_until(lambda: settled(fleet, cases), "all cases counted", seconds=PATIENCE_SECONDS)
        time.sleep(1)
    return recovery_seconds(seen, began, fleet.job.partitions), min(one.covered for one in seen)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print the table."""
    parser = argparse.ArgumentParser(prog="faults.takeover", description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--partitions", type=int, default=4)
    options = parser.parse_args(arguments)
    logging.disable(logging.CRITICAL)
    folder = Path(tempfile.mkdtemp(prefix="cxstream-takeover-"))
    head = f"{'what happens':30}{'standby':>9}{'seconds':>9}{'at worst covered':>18}"
    with ProxiedKafka(folder=folder / "kafka") as kafka:
        job = Job(kafka.bootstrap, "takeover", partitions=options.partitions)
        job.declare()
        job.deliver(live_cases(options.cases))
        print(f"{options.cases:,} live cases, session timeout {SESSION_SECONDS:g} s\n\n{head}\n{'-' * len(head)}")
        for standby in (0, 1):
            settings = {**WORKER, **LOAD, "CXSTREAM_KAFKA_STANDBY_REPLICAS": str(standby)}
            fleet = Fleet(job, folder / f"standby-{standby}", settings)
            try:
                for name, interrupt in INTERRUPTIONS.items():
                    seconds, covered = measure(fleet, options.cases, interrupt)
                    print(f"{name:30}{standby:9}{seconds:9.1f}{covered:12} of {job.partitions:3}", flush=True)
                fleet.stop(*fleet.workers)
            finally:
                fleet.end()
    shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
