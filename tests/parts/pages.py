"""Pages over case records in memory: the real reader, gathering and server, without a Kafka under them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

from cxstream.config import Settings, load
from cxstream.domain.cases import Case
from cxstream.domain.vocabulary import TOPICS
from cxstream.engine.assess import Clock, anonymous, close
from cxstream.engine.casebook import Casebook
from cxstream.exposition.snapshot import PartitionSnapshot, WorkerSnapshot
from cxstream.kafka.partition import Holdings, Partition
from cxstream.kafka.partitioner import partition_of as of_key
from cxstream.kafka.records import write
from cxstream.kafka.watermarks import Owner
from cxstream.live import Stretches, WorkerLive
from cxstream.offline.events_file import read_event
from cxstream.web.live import Limits
from cxstream.web.pages import Pages
from cxstream.web.server import Server
from parts.agent import residue_key

T = TypeVar("T")

GROUP = "by-hand"


class Records:
    """The case records of some partitions."""

    name = "cases"

    def __init__(self) -> None:
        self.by_partition: dict[int, dict[bytes, bytes]] = {}

    def get(self, partition: int, key: bytes) -> bytes | None:
        """Return a record."""
        return self.by_partition.get(partition, {}).get(key)

    def items_of(self, partition: int) -> Iterator[tuple[bytes, bytes]]:
        """Iterate over a partition."""
        return iter(self.by_partition.get(partition, {}).items())

    def count(self, partition: int) -> int:
        """Return the number of records."""
        return len(self.by_partition.get(partition, {}))


class StandIn:
    """What pages read of a worker that owns some partitions of a job, at a clock reading that the test sets."""

    def __init__(self, settings: Settings, owned: Iterable[int], now_ms: int, *, generation: int = 1) -> None:
        self.settings = settings
        self.now_ms = now_ms
        self.fenced = False
        self.url = ""
        self.owners: dict[int, Owner] = {}
        self.cases: Any = Records()
        self.partitions: dict[int, Partition] = {}
        for number in owned:
            partition = Partition(number, generation, Holdings(settings.windows(), 0), TOPICS)
            for topic in TOPICS:
                partition.clock.took(topic, now_ms)
            partition.counted_ms = now_ms
            partition.caught_up = True
            self.partitions[number] = partition
            self.cases.by_partition[number] = {}

    def put(self, cases: Iterable[Case]) -> None:
        """Take in the cases of the partitions it owns, in place of what it had of them."""
        for case in cases:
            key = case.case_id.encode()
            partition = self.partitions.get(partition_of(case.case_id, self.settings.kafka.partitions))
            if partition is not None:
                records = self.cases.by_partition[partition.number]
                old = records.get(key)
                partition.update(key, None if old is None else msgspec.msgpack.decode(old[1:], type=Case), case)
                records[key] = write(case)

    def erase(self, case: Case) -> None:
        """Bury a case as the agent does: under a key from which its own cannot be told."""
        number = partition_of(case.case_id, self.settings.kafka.partitions)
        partition, key = self.partitions[number], case.case_id.encode()
        buried = anonymous(close(case, "erased", case), residue_key(key).decode())
        del self.cases.by_partition[number][key]
        partition.update(key, case, None)
        partition.update(residue_key(key), None, buried)
        self.cases.by_partition[number][residue_key(key)] = write(buried)

    def snapshot(self) -> WorkerSnapshot:
        """Return what it knows now, as a worker does."""
        shown = []
        for number, partition in sorted(self.partitions.items()):
            shown.append(
                PartitionSnapshot(
                    partition=number,
                    generation=partition.generation,
                    ready=partition.caught_up,
                    rows=partition.rows(),
                    watermark_ms=partition.counted_ms,
                    lasting=partition.lasting(),
                    source_watermark_ms=dict(partition.clock.delivered_ms),
                    cases=self.cases.count(number),
                )
            )
        return WorkerSnapshot(
            group=self.settings.kafka.group,
            state="running",
            partitions_expected=self.settings.kafka.partitions,
            partitions=shown,
            now_ms=self.now_ms,
            version="0",
            policy="p",
            withhold_business=self.fenced,
        )

    def reading(self, _partition: Partition) -> Clock:
        """Read the clock."""
        return Clock.at(self.now_ms)

    def rows(self) -> dict[tuple[str, ...], int]:
        """Return the figures of all its ledgers, added up."""
        sums: dict[tuple[str, ...], int] = {}
        for one in self.snapshot().partitions:
            for *key, units in one.rows:
                sums[tuple(map(str, key))] = sums.get(tuple(map(str, key)), 0) + units
        return sums


def partition_of(case_id: str, partitions: int) -> int:
    """Return the partition of a case."""
    return of_key(case_id.encode(), partitions)


def settings_of(partitions: int = 4, **other: str) -> Settings:
    """Return the settings of a job; others by the name of their variable without CXSTREAM_."""
    given = {"CXSTREAM_KAFKA_PARTITIONS": str(partitions), "CXSTREAM_KAFKA_GROUP": GROUP}
    return load(None, given | {f"CXSTREAM_{name}": value for name, value in other.items()})


def judged(events: Iterable[Mapping[str, object]], now_ms: int, settings: Settings) -> list[Case]:
    """Return the cases of events, judged at a clock reading."""
    casebook = Casebook(settings.catalogue(), settings.policy())
    for event in events:
        casebook.take(*read_event(dict(event), settings.policy().clock_skew_ms))
    return [one.case for one in casebook.assess(Clock.at(now_ms)).values()]


def live_of(worker: StandIn, *, count: Callable[[str], None] = lambda _limit: None, **other: Any) -> WorkerLive:  # noqa: ANN401 - of WorkerLive
    """Return the reader of a worker."""
    return WorkerLive(
        worker,
        worker.settings,
        partition_of=lambda case_id: partition_of(case_id, worker.settings.kafka.partitions),
        residue_key=residue_key,
        wall_ms=lambda: worker.now_ms,
        count=count,
        **other,
    )


def limits_of(settings: Settings) -> Limits:
    """Return the limits of the pages by settings."""
    pages = settings.pages
    return Limits(pages.rows, pages.workers_at_once, pages.answer_seconds, pages.answer_max_bytes)


class _Probes:
    def tick_age_seconds(self) -> float:
        return 0.0

    def ready(self) -> tuple[bool, str]:
        return True, ""

    def started(self) -> bool:
        return True


def server_of(worker: StandIn, *, count: Callable[[str], None] = lambda _limit: None, port: int = 0) -> Server:
    """Return the server of a worker, not started."""
    token = worker.settings.http.case_data_token
    pages = Pages(
        live_of(worker, count=count),
        token=token.get_secret_value() if token else None,
        limits=limits_of(worker.settings),
        count=count,
    )
    return Server(lambda _accept: (b"", "text/plain"), _Probes(), port=port, pages=pages)


def acquaint(*workers: StandIn) -> None:
    """Let workers hear of each other what they own; each has its URL by then."""
    owners = {number: Owner(one.url, one.now_ms) for one in workers for number in one.partitions}
    for one in workers:
        one.owners |= owners


class Serving:
    """Servers of workers in a thread of their own, for what blocks: a browser."""

    def __init__(self, *workers: StandIn) -> None:
        self.workers = workers
        self.servers: list[Server] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine where the servers run."""
        future: Future[T] = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        return future.result(30)

    async def _start(self) -> None:
        for worker in self.workers:
            server = server_of(worker)
            await server.start()
            self.servers.append(server)
            worker.url = f"http://127.0.0.1:{server.port}"
        acquaint(*self.workers)

    async def _stop(self, servers: Sequence[Server]) -> None:
        for server in servers:
            await server.stop()

    def stop(self, number: int) -> None:
        """Stop one of them."""
        self.run(self._stop([self.servers[number]]))

    def __enter__(self) -> Self:
        """Start."""
        self._thread.start()
        self.run(self._start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.run(self._stop(self.servers))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


@contextmanager
def resting(rests: list[float]) -> Iterator[Callable[[], Stretches]]:
    """Yield stretches by a clock of a millisecond a reading; the length of each is noted when it ends."""
    now = [0.0]
    began = [0.0]

    def clock() -> float:
        now[0] += 0.001
        return now[0]

    async def sleep(_seconds: float) -> None:
        rests.append(now[0] - began[0])
        began[0] = now[0]
        await asyncio.sleep(0)

    yield lambda: Stretches(clock, sleep)
