"""What a GET of /metrics costs beside many cases held, and for how long the event loop answers nobody."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from typing import NamedTuple

from aiokafka.partitioner import murmur2

from cxstream.demo.upstream import MINUTE, Delivery
from cxstream.kafka.topics import CASES_TABLE
from parts.accounts import CONSUMED
from parts.figures import wall_ms
from parts.producer import Job
from parts.worker import WorkerProcess

from .events import Load, reference_case, reference_events
from .live import PATIENCE_SECONDS, prefill
from .measuring import BenchmarkFailedError
from .printing import show
from .sources import length
from .worker import cpu_seconds

SCRAPES = 20
CALM_SECONDS = 3.0
"""Nothing was written for so long: nothing is left to be judged."""
COMMIT_SECONDS = 1.0
"""Between looks at how far the group has come; those ask the broker, not the worker."""
PAUSE_SECONDS = 0.005
"""Between two questions to a worker that is asked all the time."""
FIRST_NEW_CASE = 5_000_000


class Scrape(NamedTuple):
    """One answer to GET /metrics, and what it took the worker and who asked."""

    page: bytes
    cpu_ms: float
    wall_ms: float

    @property
    def lines(self) -> list[bytes]:
        """The samples."""
        return [line for line in self.page.splitlines() if not line.startswith(b"#")]

    @property
    def consumed(self) -> int:
        """How many records of the sources were read."""
        name = CONSUMED.encode() + b"{"
        return sum(int(float(line.rpartition(b" ")[2])) for line in self.lines if line.startswith(name))


class Row(NamedTuple):
    """What was found beside so many cases."""

    held: int
    still: Sequence[Scrape]
    """While nothing changed."""
    changed: Sequence[Scrape]
    """Each after every partition's ledger had changed."""
    idle_ms: float
    """Longest answer of a worker that has nothing to do: what the machine adds."""
    scraped_ms: float
    """The same while it is scraped, with every ledger changed."""
    processing_ms: float
    """The same while it reads the load."""

    def cells(self) -> tuple[str, ...]:
        """Return them as they are printed."""
        costs = (
            f"{median(one.cpu_ms for one in scrapes):.1f} / {median(one.wall_ms for one in scrapes):.1f}"
            for scrapes in (self.still, self.changed)
        )
        page = self.still[-1]
        longest = (f"{milliseconds:.0f} ms" for milliseconds in (self.idle_ms, self.scraped_ms, self.processing_ms))
        return f"{self.held:,} held", f"{len(page.lines):,}", f"{len(page.page) / 1024:,.0f}", *costs, *longest


def ask(connection: HTTPConnection, path: str) -> bytes:
    """Ask once; raises BenchmarkFailedError for anything but 200."""
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise BenchmarkFailedError(f"{path} answered {answer.status}")
    return body


def scrape(worker: WorkerProcess, connection: HTTPConnection) -> Scrape:
    """Scrape once."""
    pid = worker.process.pid
    began, cpu = time.perf_counter(), cpu_seconds(pid)
    page = ask(connection, "/metrics")
    return Scrape(page, (cpu_seconds(pid) - cpu) * 1e3, (time.perf_counter() - began) * 1e3)


@contextmanager
def asked_all_the_time(worker: WorkerProcess) -> Iterator[list[float]]:
    """Ask /livez again and again; yield how long answers took in milliseconds, which is filled meanwhile.

    The event loop gives them, so the longest is at least as long as it did anything else.
    """
    took_ms: list[float] = []
    ending = threading.Event()

    def run() -> None:
        connection = HTTPConnection("127.0.0.1", worker.port, timeout=60)
        while not ending.wait(PAUSE_SECONDS):
            began = time.perf_counter()
            ask(connection, "/livez")
            took_ms.append((time.perf_counter() - began) * 1e3)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield took_ms
    finally:
        ending.set()
        thread.join()


class NewCases:
    """Opens a case in every partition of a job at a time: after that every ledger has changed."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._number = FIRST_NEW_CASE
        self._changelog = job.table.changelogs[CASES_TABLE].name

    def open(self) -> int:
        """Open one everywhere and return how many that were, once they are processed: committed."""
        before, now_ms = self._job.committed(), wall_ms()
        openings: dict[int, Delivery] = {}
        while len(openings) < self._job.partitions:
            self._number += 1
            event = reference_case(self._number, now_ms - MINUTE)[0][1]
            partition = (murmur2(str(event["case_id"]).encode()) & 0x7FFFFFFF) % self._job.partitions
            openings[partition] = Delivery(now_ms, "ticket", event)
        self._job.deliver(openings.values())
        while self._job.committed() < before + len(openings):
            time.sleep(COMMIT_SECONDS)
        return len(openings)

    def calm(self) -> None:
        """Wait until nothing is written any more."""
        before = -1
        while before != (before := self._length()):
            time.sleep(CALM_SECONDS)

    def _length(self) -> int:
        return length(self._job.bootstrap, self._changelog, self._job.partitions)


def measured(bootstrap: str, held: int, load: Load, partitions: int, settings: Mapping[str, str]) -> Row:
    """Let a worker hold so many cases, read a load, and be scraped."""
    job = Job(bootstrap, "bench-scrape", partitions=partitions)
    job.declare()
    ends_ms = wall_ms() - MINUTE
    prefill(job, held, ends_ms - load.history_ms)
    deliveries = list(reference_events(load, ends_ms))
    job.deliver(deliveries)
    new = NewCases(job)
    with (
        tempfile.TemporaryDirectory(prefix="cxstream-bench-") as name,
        WorkerProcess({**job.settings(Path(name) / "data"), **settings}, Path(name) / "worker.log").launch() as worker,
    ):
        worker.wait_for(lambda: worker.ask("/readyz").status == 200, "recovered", seconds=PATIENCE_SECONDS)
        with asked_all_the_time(worker) as processing:
            while job.committed() < len(deliveries) and worker.process.running:
                time.sleep(COMMIT_SECONDS)
        worker.wait_for(worker.caught_up, "caught up", seconds=PATIENCE_SECONDS)
        new.calm()
        connection = HTTPConnection("127.0.0.1", worker.port, timeout=60)
        still = [scrape(worker, connection) for _ in range(SCRAPES)]
        with asked_all_the_time(worker) as idle:
            time.sleep(CALM_SECONDS)
        changed = list(after_changes(worker, connection, new, still[-1].consumed))
        with asked_all_the_time(worker) as scraped:
            list(after_changes(worker, connection, new, changed[-1].consumed))
    return Row(held, still, changed, max(idle), max(scraped), max(processing))


def after_changes(worker: WorkerProcess, connection: HTTPConnection, new: NewCases, consumed: int) -> Iterator[Scrape]:
    """Scrape again and again, each time after every ledger has changed; raises BenchmarkFailedError if it has not."""
    for _ in range(SCRAPES):
        consumed += new.open()
        found = scrape(worker, connection)
        if found.consumed != consumed:
            raise BenchmarkFailedError(f"a page knew of {found.consumed} events, not of {consumed}")
        yield found


def compare(bootstrap: str, sizes: Sequence[int], load: Load, partitions: int, settings: Mapping[str, str]) -> None:
    """Print what a scrape costs beside so many cases held."""
    rows = [measured(bootstrap, size, load, partitions, settings).cells() for size in sizes]
    head = ("cases", "series", "KiB", "nothing changed: ms CPU / wall", "all changed: ms CPU / wall")
    longest = ("longest answer, idle", "while scraped", "while processing")
    of = f"{partitions} partitions, {load.cases:,} reference cases on top; medians of {SCRAPES} scrapes, one run each"
    show(f"GET /metrics, and the longest the event loop answered nobody: {of}", (*head, *longest), rows)
