"""One job under trial: its upstream, its workers, its truth; and the comparison that follows every fault."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import NamedTuple, Self

from cxstream.config import load
from cxstream.domain.cases import Case
from cxstream.kafka.records import is_residue, read_case
from parts.figures import Figures, exposed, wall_ms
from parts.producer import Job
from parts.verdicts import Consumer

from .broker import ProxiedKafka
from .feed import Feed
from .fence import Spoken
from .fleet import Fleet, Seen
from .truth import Truth, Unit, said_of, taken_back

SESSION_SECONDS = 5.0
LEDGER = {
    "CXSTREAM_LEDGER_WINDOWS": "1h,24h,3650d",
    "CXSTREAM_LEDGER_LEVELS": "job=all,region=24h 3650d,product=3650d",
}
"""One window that much leaves, and one that nothing does: in that one every unit is counted."""
WORKER = {
    **LEDGER,
    "CXSTREAM_KAFKA_SESSION_TIMEOUT_SECONDS": f"{SESSION_SECONDS:g}",
    "CXSTREAM_KAFKA_HEARTBEAT_SECONDS": "0.5",
    "CXSTREAM_KAFKA_COMMIT_INTERVAL_SECONDS": "1",
    "CXSTREAM_LIMITS_MAX_BATCH_RECORDS": "50",
    "CXSTREAM_LINGER_SECONDS": "30",
    # `cxstream judge` knows of no feed that is dead, and a history of four cases a day has silences of hours.
    "CXSTREAM_KAFKA_SOURCE_SILENT_AFTER": "ticket=0s",
}
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
SETTLE_SECONDS = 120.0
"""For everything to be processed."""
AGREE_SECONDS = 60.0
"""For figures to follow when all is processed. What is final waits until the watermark has gone ten rounds of
a second, from where it stood when the fault began."""
LOOK_SECONDS = 1.0
"""Between looks at the figures."""
SHOWN_DIFFERENCES = 12


class Compared(NamedTuple):
    """One comparison with the truth: what differed at its end, and what was compared."""

    differences: list[str]
    series: int


class Outcome(NamedTuple):
    """What came of one fault."""

    differences: list[str]
    recovery_seconds: float
    """From the fault until somebody spoke for every partition again for good; 0 if somebody always did."""
    seconds: float
    """Of the fault and the comparisons after it."""


class Trial:
    """A job with live traffic and workers that things happen to. A context manager."""

    def __init__(
        self,
        kafka: ProxiedKafka,
        folder: Path,
        *,
        seed: int,
        name: str = "trial",
        cases_per_second: float = 3.0,
        history_per_day: float = 4.0,
        settings: Mapping[str, str] | None = None,
        python: Path | None = None,
    ) -> None:
        """Prepare a job of four partitions, with as many copies as there are brokers."""
        self.kafka = kafka
        self.seed = seed
        self.is_upgrade = python is not None
        self.job = Job(kafka.bootstrap, name, copies=len(kafka.nodes))
        self.truth = Truth(load(None, LEDGER).windows())
        self.feed = Feed(self.job, self.truth, seed, cases_per_second=cases_per_second, history_per_day=history_per_day)
        self.folder = folder
        self.settings = {**WORKER, "CXSTREAM_KAFKA_BOOTSTRAP": kafka.proxied, **(settings or {})}
        self.fleet = Fleet(self.job, folder, self.settings, python=python)
        self.consumer = Consumer()
        self._heard: dict[int, int] = {}
        """Up to which offset of each partition it has heard what was announced."""
        self._records: dict[bytes, Case | None] = {}
        self._read: dict[int, int] = {}
        """Up to which offset of each partition of the changelog these are read."""

    def begin(self, workers: int) -> None:
        """Create the topics, write the history, start workers and let live traffic begin."""
        self.job.declare()
        self.feed.write_history()
        self.fleet.launch(workers)
        self.fleet.ready()
        self.feed.resume()

    def settled(self, spoken: Spoken) -> bool:
        """Tell whether every partition is spoken for and no source topic lags."""
        return len(spoken.covered) == self.job.partitions and spoken.lag_records == 0

    def compare(self, fleet: Fleet | None = None) -> Compared:
        """Pause the traffic, wait until all is processed, and hold the fenced figures against the truth."""
        fleet = fleet or self.fleet
        self.feed.pause()
        settle_by = time.monotonic() + SETTLE_SECONDS
        agree_by = float("inf")
        while True:
            fleet.check_alive()
            spoken, now_ms = fleet.spoken(), wall_ms()
            now = time.monotonic()
            if not self.settled(spoken):
                agree_by = float("inf")
                if now > settle_by:
                    covered = f"{len(spoken.covered)} of {self.job.partitions} partitions spoken for"
                    return Compared([f"not settled: {covered}, lag {spoken.lag_records}"], 0)
            else:
                agree_by = min(agree_by, now + AGREE_SECONDS)
                found, wanted = exposed(spoken.samples), self.truth.at(now_ms)
                differences = found.differences(wanted)
                if not differences or now > agree_by:
                    if differences:
                        differences = [*self.recorded_differences(fleet.job, now_ms), *differences]
                    return Compared(differences[:SHOWN_DIFFERENCES], series_of(wanted))
            time.sleep(LOOK_SECONDS)

    def suffer(self, inject: Callable[[Trial, Random], None], dice: Random, workers: int = 0) -> Outcome:
        """Do a fault while traffic flows and compare; then once more with `workers` new workers. Never raises."""
        began = time.monotonic()
        seen: list[Seen] = []
        try:
            self.feed.resume()
            time.sleep(dice.uniform(0.2, 0.8))
            with self.fleet.watched(self.truth.excess) as seen:
                at = time.monotonic()
                inject(self, dice)
                compared = self.compare()
                differences = compared.differences + [line for one in seen for line in one.excess][:SHOWN_DIFFERENCES]
            if workers and not differences:
                differences += self.renew(workers)
        except Exception as failure:  # noqa: BLE001 - a fault that is not survived is told like a difference
            said = _COLOURS.sub("", str(failure)).splitlines() or [""]
            first, last = said[0], said[-1] if len(said) > 1 else ""
            return Outcome([f"{type(failure).__name__}: {first} ... {last}"], 0.0, time.monotonic() - began)
        recovery = recovery_seconds(seen, at, self.job.partitions)
        return Outcome(differences, recovery, time.monotonic() - began)

    def recorded_differences(self, job: Job, now_ms: int) -> list[str]:
        """Say of which units the records in the changelog say something else than the truth, and leave both to read."""
        records = records_of(job)
        found, wanted = said_of(records), self.truth.verdicts(now_ms)
        units = [unit for unit in sorted(found.keys() | wanted.keys()) if found.get(unit) != wanted.get(unit)]
        cases = {case_id for _sign, case_id, _unit in units}
        lines = [str(event) for event in self.truth.events if event.event["case_id"] in cases]
        lines += [str(record) for record in records if record.case_id in cases]
        (self.folder / "differing-cases.txt").write_text("\n".join(lines))
        return [f"record of {unit}: {found.get(unit)}, not {wanted.get(unit)}" for unit in units][:SHOWN_DIFFERENCES]

    def records(self) -> list[Case]:
        """Return the case records as the changelog has them, each as it was written last."""
        written = self.job.read(self.job.table.changelogs["cases"].name, self._read)
        self._read |= {record.partition: record.offset + 1 for record in written}
        self._records |= {one.key: None if one.value is None else read_case(one.value) for one in written}
        return [case for case in self._records.values() if case is not None]

    def renew(self, workers: int) -> list[str]:
        """Replace all workers by new ones, which have nothing but the changelog, and compare again.

        What a figure's past was (units once taken back) is nowhere but in the records: it must be in them still.
        """
        old = tuple(self.fleet.workers)
        before = taken_back(self.records())
        self.fleet.ready(*self.fleet.launch(workers))
        self.fleet.stop(*old)
        differences = self.compare().differences or self.retracted_differences(before) or self.announced_differences()
        return [f"fresh workers: {difference}" for difference in differences]

    def retracted_differences(self, before: set[Unit]) -> list[str]:
        """Say what is shown as taken back and not recorded so, or was once and is no more; the clock may add some."""
        agree_by = time.monotonic() + AGREE_SECONDS
        while True:
            shown, recorded = self.truth.retracted(self.fleet.spoken()), taken_back(self.records())
            if before <= recorded and shown == len(recorded):
                return []
            if time.monotonic() > agree_by:
                lost = [f"{unit} was taken back, and its record says so no more" for unit in sorted(before - recorded)]
                return [f"{shown} units are shown as taken back, {len(recorded)} recorded", *lost][:SHOWN_DIFFERENCES]

    def announced_differences(self) -> list[str]:
        """Say where the topic of verdicts breaks its contract, or lacks what the records said before it was read.

        Workers of a version that announced nothing leave gaps.
        """
        if self.is_upgrade:
            return []
        agree_by = time.monotonic() + AGREE_SECONDS
        while True:
            records = [case for case in self.records() if not is_residue(case.case_id.encode())]
            messages = self.job.read(f"{self.job.group}.verdicts", self._heard)
            self._heard |= {message.partition: message.offset + 1 for message in messages}
            broken = self.consumer.broken((message.key, message.value) for message in messages)
            differences = broken or list(self.consumer.unheard(records))
            if not differences:
                return [] if self.consumer.last else ["nothing was announced"]
            if broken or time.monotonic() > agree_by:
                return [f"announced: {difference}" for difference in differences][:SHOWN_DIFFERENCES]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End workers and traffic."""
        self.fleet.end()
        self.feed.stop()


def records_of(job: Job) -> list[Case]:
    """Return the case records of a job, as a worker that begins anew would read them."""
    written = job.read(job.table.changelogs["cases"].name)
    records = {one.key: None if one.value is None else read_case(one.value) for one in written}
    return [case for case in records.values() if case is not None]


def series_of(figures: Figures) -> int:
    """Return how many figures were compared."""
    return sum(len(kind) for kind in figures)


def recovery_seconds(seen: list[Seen], since: float, partitions: int) -> float:
    """Return how long after an instant somebody spoke for every partition again for good; 0 if never interrupted."""
    after = [one for one in seen if one.at >= since]
    gaps = [index for index, one in enumerate(after) if one.covered < partitions]
    if not gaps:
        return 0.0
    following = after[gaps[-1] + 1 :]
    return (following[0].at if following else after[-1].at) - since
