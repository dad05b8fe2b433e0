"""The machinery under one worker, simulated: what is cxstream's own of `EngineApp` is real, Faust is not there.

Real are the batches, the batch producer, the tables, giving up, taking over and the tasks that process batches.
Simulated are the consumer, the producer's way to the brokers, membership and recovery.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

from aiokafka.errors import KafkaError, KafkaTimeoutError
from faust.types import TP

from cxstream.kafka.changelog_table import BatchProducer, ChangelogTable, Follower, OffsetRange, Outgoing
from cxstream.kafka.engine import EngineApp
from cxstream.kafka.partition_batches import PartitionBatch, PartitionBatches, Progress, ReadRange, Record
from cxstream.kafka.ports import Hooks
from simulation.group import Coordinator, FencedError, Member
from simulation.log import Brokers, Headers
from simulation.loop import OUTSIDE

RECORDS_PER_FETCH = 20


@dataclass(kw_only=True)
class Conditions:
    """What the world does to one worker's messages just now; times in seconds."""

    session_seconds: float
    heartbeat_seconds: float
    commit_seconds: float
    drain_seconds: float
    client_seconds: float = 0.002
    """At most so long a record waits in the process before it is sent."""
    network_seconds: float = 0.02
    """At most so long a message is under way."""
    produce_batch_records: int = 12
    """So many records fit into a produce batch: what one call writes may arrive in parts."""
    failing_writes: int = 0
    """So many of the next produce batches are not acknowledged: half of them are written all the same."""
    silent_brokers: bool = False
    """Questions to the brokers are not answered."""
    stalled: frozenset[TP] = frozenset()
    """Partitions that cannot be read."""
    clock_ahead_ms: int = 0
    """By how much the process's clock is ahead of the brokers'."""
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while the coordinator can be reached."""

    def __post_init__(self) -> None:
        self.heard.set()


class Written(NamedTuple):
    """What a producer learns of a batch."""

    offset: int


class _ProduceBatch:
    """Records on their way to one partition, as aiokafka's builder takes them."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.records: list[tuple[bytes | None, bytes | None, Headers]] = []

    def append(
        self,
        *,
        key: bytes | None,
        value: bytes | None,
        timestamp: int | None,
        headers: Sequence[tuple[str, bytes | None]],
    ) -> object | None:
        """Take a record; None when the batch is full."""
        if len(self.records) >= self._limit:
            return None
        self.records.append((key, value, tuple(headers)))
        return self

    def close(self) -> None:
        """Take no more."""

    def record_count(self) -> int:
        """Return the number of records."""
        return len(self.records)


class _Producer:
    """Takes batches to the brokers, in order per partition; what is under way outlives its process.

    It is idempotent as the real one: behind a batch that was lost the brokers take no other of this producer.
    """

    def __init__(self, brokers: Brokers, dice: random.Random, conditions: Conditions) -> None:
        self._brokers = brokers
        self._dice = dice
        self._conditions = conditions
        self._arrival: dict[TP, float] = {}
        self._departure: dict[TP, float] = {}
        self._out_of_order: set[TP] = set()

    def create_batch(self) -> _ProduceBatch:
        """Return an empty batch."""
        return _ProduceBatch(self._conditions.produce_batch_records)

    async def send_batch(self, batch: _ProduceBatch, topic: str, partition: int) -> asyncio.Future[Written]:
        """Send a batch; the future is done when it is acknowledged."""
        loop = asyncio.get_running_loop()
        tp, future = TP(topic, partition), loop.create_future()
        wait = self._dice.uniform(0.2, 1.0) * self._conditions.client_seconds
        departure = max(loop.time() + wait, self._departure.get(tp, 0.0) + 1e-4)
        self._departure[tp] = departure
        loop.call_at(departure, self._depart, tp, batch, future)  # in the process: frozen and killed with it
        return future

    def _depart(self, tp: TP, batch: _ProduceBatch, future: asyncio.Future[Written]) -> None:
        loop = asyncio.get_running_loop()
        failing = self._conditions.failing_writes > 0
        self._conditions.failing_writes -= failing
        arrival = max(loop.time() + self._delay(), self._arrival.get(tp, 0.0) + 1e-4)
        self._arrival[tp] = arrival
        loop.call_at(arrival, self._arrive, tp, batch, future, failing, context=OUTSIDE)

    def _arrive(self, tp: TP, batch: _ProduceBatch, future: asyncio.Future[Written], failing: bool) -> None:  # noqa: FBT001
        loop = asyncio.get_running_loop()
        if failing or tp in self._out_of_order:
            if tp not in self._out_of_order and self._dice.random() < 0.5:
                self._brokers.append(tp, batch.records)
            else:
                self._out_of_order.add(tp)
            loop.call_later(self._delay(), _fail, future, context=OUTSIDE)
            return
        written = Written(self._brokers.append(tp, batch.records))
        loop.call_later(self._delay(), _acknowledge, future, written, context=OUTSIDE)

    def _delay(self) -> float:
        return self._dice.uniform(0.1, 1.0) * self._conditions.network_seconds


class WriteFailedError(KafkaTimeoutError):  # type: ignore[misc]  # aiokafka has no types
    """A write was not acknowledged: a fault of the simulation, and the only reason for which a worker may crash."""


def _acknowledge(future: asyncio.Future[Written], written: Written) -> None:
    if not future.done():
        future.set_result(written)


def _fail(future: asyncio.Future[Written]) -> None:
    if not future.done():
        future.set_exception(WriteFailedError())
        future.exception()  # its process may have ended


class _NoStore:
    """Stands where Faust keeps a table's store."""

    async def on_rebalance(self, *_: object) -> None:
        """Do nothing."""


class SimTable(ChangelogTable):
    """The real table, without Faust under it."""

    def __init__(  # pylint: disable=super-init-not-called
        self,
        name: str,
        topic: str,
        writes: BatchProducer,
        owned: Callable[[], frozenset[int]],
        follower: Follower | None,
    ) -> None:
        """Set up what the real table has of its own, and nothing of Faust's."""
        self._name, self._topic = name, topic
        self._writes = writes
        self._owned = owned
        self._follower = follower
        self._partitions = {}
        self._complete = {}
        self._beyond = defaultdict(dict)
        self._stamps = {}
        self._own = {}
        self._stale = defaultdict(dict)

    @property
    def name(self) -> str:  # type: ignore[override]
        """Return the table's name."""
        return self._name

    @property
    def changelog_topic_name(self) -> str:
        """Return the topic its writes go to."""
        return self._topic

    @property
    def data(self) -> Any:  # type: ignore[override]  # noqa: ANN401 - Faust sets it, nobody does here
        """Return what stands for the store."""
        return _NoStore()


class _Membership:
    """What `EngineApp` asks of its consumer."""

    def __init__(self, engine: SimEngine) -> None:
        self._engine = engine
        self.epoch = 0

    @property
    def lease_expired(self) -> bool:
        """Whether the coordinator was not heard for a session."""
        return self._engine.lease_expired

    async def commit_now(self) -> None:
        """Commit what is acknowledged at this instant."""
        await self._engine.commit()


class _Recovery:
    """What `EngineApp` asks of the recovery of its tables."""

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None

    async def interrupt(self) -> bool:
        """Stop recovering if that is under way (True): a rebalance begins."""
        if self.task is None or self.task.done():
            return False
        self.task.cancel()
        await asyncio.wait([self.task])
        return True

    def revoke(self, _tp: TP) -> None:
        """Do nothing: what was forgotten is read again because the table does not know it."""


class SimEngine:
    """One worker's engine. Everything it starts belongs to the process it is created in."""

    def __init__(
        self,
        name: str,
        *,
        brokers: Brokers,
        coordinator: Coordinator,
        dice: random.Random,
        conditions: Conditions,
        group: str,
        source_topics: Sequence[str],
        max_batch_records: int,
        concurrent_batches: int,
        on_end: Callable[[SimEngine, BaseException | None], None],
    ) -> None:
        self.name = name
        self.settings = conditions  # give_up asks for drain_seconds
        self.hooks = Hooks()
        self.batches = PartitionBatches(max_batch_records=max_batch_records)
        self.owned: frozenset[int] = frozenset()
        self.kept: frozenset[int] = frozenset()
        self.untouched: frozenset[int] = frozenset()
        self.should_stop = False
        self.crashed = False
        self.generation = -1
        self.assigned: frozenset[int] = frozenset()
        self.standbys: frozenset[int] = frozenset()
        self.tables: dict[str, SimTable] = {}
        self.consumer = _Membership(self)
        self.recovery = _Recovery()
        self.member = Member(name)
        self.unheard_since: float | None = None
        self._brokers = brokers
        self._coordinator = coordinator
        self._dice = dice
        self._conditions = conditions
        self._group = group
        self._source_topics = tuple(source_topics)
        self._concurrent_batches = concurrent_batches
        self._on_end = on_end
        self._producer = _Producer(brokers, dice, conditions)
        self.writes = BatchProducer(lambda: self._producer, self._permission_to_write, 8 * 1024 * 1024, 60.0)
        self._handler: Callable[[PartitionBatch], Awaitable[None]] | None = None
        self._working: dict[asyncio.Task[Any], PartitionBatch] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._news = asyncio.Event()
        self._standby_news = asyncio.Event()
        self._commit_due = False
        self._positions: dict[TP, int] = {}
        self.opened_ends: dict[TP, int] = {}
        """Where the sources ended when they were opened in this generation."""
        self.given_up_at: dict[int, float] = {}
        """When each partition was given up last, in virtual seconds."""
        self._remaining: dict[TP, int] = {}

    # --- the Engine protocol ----------------------------------------------------------------------------------------

    @property
    def lease_expired(self) -> bool:
        """Whether the group was not heard for a session."""
        since = self.unheard_since
        return since is not None and asyncio.get_running_loop().time() - since > self._conditions.session_seconds

    def changelog_table(self, name: str, follower: Follower | None = None) -> SimTable:
        """Declare a table, and who follows what it reads."""
        topic = f"{self._group}-{name}-changelog"
        self.tables[name] = table = SimTable(name, topic, self.writes, lambda: self.owned, follower)
        return table

    def process(self, handler: Callable[[PartitionBatch], Awaitable[None]]) -> None:
        """Give every batch to `handler`."""
        self._handler = handler

    async def produce_many(self, topic: str, partition: int | None, records: Sequence[Outgoing]) -> None:
        """Produce records, spread by key if no partition is given; returns when all are acknowledged, or raises."""
        spread: dict[int, list[Outgoing]] = {}
        for record in records:
            number = self._brokers.partition_of(topic, record.key) if partition is None else partition
            spread.setdefault(number, []).append(record)
        sent = [self.writes.send(topic, number, part) for number, part in spread.items()]
        for result in await asyncio.gather(*sent, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    def progress(self, number: int) -> Mapping[str, Progress]:
        """Return how far each topic is in one partition number."""
        return self.batches.progress(number)

    async def ends(self, tps: Collection[TP]) -> Mapping[TP, int]:
        """Ask the brokers where partitions end, open transactions included."""
        await self._travel()
        ends = {tp: self._brokers.logs[tp].end for tp in tps}
        await self._travel()
        return ends

    async def read(self, tp: TP, offsets: OffsetRange) -> Sequence[Record]:
        """Read a range of a partition."""
        await self._travel()
        records, _next = self._brokers.logs[tp].read(offsets.first, offsets.last - offsets.first + 1, offsets.last + 1)
        return records

    async def keys(self, tp: TP, first: int) -> Mapping[bytes, int]:
        """Return the keys in a partition from an offset on, each with the offset of its last record."""
        await self._travel()
        records, _end = self._brokers.logs[tp].read(first, 1_000_000)
        return {record.key or b"": record.offset for record in records}

    async def last(self, tp: TP) -> Record | None:
        """Return the last record of a partition, None where there is none."""
        await self._travel()
        records = self._brokers.logs[tp].records
        return records[-1] if records else None

    async def follow(self, topic: str, take: Callable[[Record], None]) -> None:
        """Give every record of a topic's partition 0 to `take`, from its start on, until cancelled."""
        tp, position = TP(topic, 0), 0
        changed = asyncio.Event()
        changed.set()

        def listen(written: TP) -> None:
            if written == tp and not changed.is_set():
                loop.call_later(self._delay(), changed.set, context=OUTSIDE)

        loop = asyncio.get_running_loop()
        self._brokers.listeners.setdefault(self.name, []).append(listen)
        while True:
            await changed.wait()
            changed.clear()
            await self._conditions.heard.wait()
            records, position = self._brokers.logs[tp].read(position, 1_000_000)
            for record in records:
                take(record)

    def recovery_remaining(self) -> Mapping[TP, int]:
        """Return the changelog records still to be read."""
        return dict(self._remaining)

    def add_future(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a coroutine as long as the worker lives; the worker crashes with it."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def crash(self, reason: BaseException) -> None:
        """End the worker with what it has in hand unacknowledged."""
        self._crash(reason)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._crash(error)

    def _crash(self, reason: BaseException) -> None:
        if not self.crashed:
            self.crashed = self.should_stop = True
            self._on_end(self, reason)

    # --- a worker's life --------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Join the group and work until told to stop."""
        self._brokers.listeners.setdefault(self.name, []).append(self._listen)
        await self.hooks.on_start()
        self.add_future(self._read())
        for _ in range(self._concurrent_batches):
            if self._handler is not None:
                self.add_future(EngineApp._process(cast("EngineApp", self), self._handler))
        self.add_future(self._stay())

    async def stop(self) -> None:
        """End in order: finish what is in flight, commit, leave."""
        self.should_stop = True
        self.batches.stop()
        await self.give_up()
        await self._travel(asking=False)
        self._coordinator.leave(self.member)
        self._on_end(self, None)

    async def _stay(self) -> None:
        """Join whenever the coordinator asks for it, and take over what is assigned."""
        while not self.should_stop:
            await self._conditions.heard.wait()
            if self.member.evicted:
                self.member = Member(self.name)
            try:
                await self._travel(asking=False)
                assignment = await self._coordinator.join(self.member)
                await self._conditions.heard.wait()
                asked = asyncio.get_running_loop().time()
                await self._travel(asking=False)
                self._coordinator.sync(self.member, assignment.generation)
                await self._travel(asking=False)
            except FencedError:
                continue
            if self.unheard_since is not None and self.unheard_since <= asked:
                self.unheard_since = None
            self.generation, self.assigned, self.standbys = assignment
            self.untouched &= self.assigned
            await self.hooks.on_partitions_assigned(self.assigned)
            numbers = self.assigned | self.standbys
            tps = {TP(table.changelog_topic_name, n) for table in self.tables.values() for n in numbers}
            for table in self.tables.values():
                await table.on_rebalance(tps, set(), set(), self.generation)
            self.recovery.task = self.add_future(self._recover(self.consumer.epoch))
            if self.standbys:
                self.add_future(self._stand_by(self.consumer.epoch))
            await self.member.called.wait()
            await asyncio.sleep(self._dice.random() * self._conditions.heartbeat_seconds)
            await self._conditions.heard.wait()
            if not self.should_stop:
                await self.give_up()

    async def give_up(self) -> None:
        """Give up every partition, as the real engine does."""
        self.given_up_at |= dict.fromkeys(self.owned, asyncio.get_running_loop().time())
        self._standby_news.set()
        await EngineApp.give_up(cast("EngineApp", self))

    async def _recover(self, epoch: int) -> None:
        """Read the changelogs of what is assigned, take it over, and open the sources."""
        targets = {
            (table.name, number): self._brokers.logs[TP(table.changelog_topic_name, number)].end
            for table in self.tables.values()
            for number in sorted(self.assigned)
        }
        await self._travel(asking=False)
        for (name, number), target in targets.items():
            table = self.tables[name]
            tp = TP(table.changelog_topic_name, number)
            position = table.complete_offset(number) + 1
            while position < target:
                self._remaining[tp] = target - position
                records, position = self._brokers.logs[tp].read(position, RECORDS_PER_FETCH, target)
                await self._travel(asking=False)
                if table.apply(number, records, position):
                    self.untouched -= {number}
            self._remaining.pop(tp, None)
            table.apply(number, [], target)
        await EngineApp.take_over(cast("EngineApp", self), self.generation)
        starts: dict[TP, tuple[int, int]] = {}
        for tp in (TP(topic, number) for topic in self._source_topics for number in sorted(self.owned)):
            start = self._coordinator.committed.get(tp, self._brokers.logs[tp].start)
            starts[tp] = start, self._brokers.logs[tp].stable_end
        await self._travel(asking=False)
        if self.consumer.epoch == epoch:
            self._positions = {tp: start for tp, (start, _end) in starts.items()}
            self.opened_ends = {tp: end for tp, (_start, end) in starts.items()}
            self.batches.open(self.generation, starts)
            self._news.set()

    async def _stand_by(self, epoch: int) -> None:
        """Read along the changelogs of what others own, as long as the assignment holds."""
        while self.consumer.epoch == epoch:
            self._standby_news.clear()
            is_behind = False
            for table, number in [(table, n) for table in self.tables.values() for n in sorted(self.standbys)]:
                log, first = (
                    self._brokers.logs[TP(table.changelog_topic_name, number)],
                    table.complete_offset(number) + 1,
                )
                records, position = log.read(first, RECORDS_PER_FETCH)
                if position > first:
                    await self._conditions.heard.wait()
                    await self._travel(asking=False)
                    if self.consumer.epoch != epoch:
                        return
                    if table.apply(number, records, position):
                        self.untouched -= {number}
                    is_behind |= position < log.end
            if not is_behind:
                await self._standby_news.wait()

    def co_partitions(self) -> frozenset[int]:
        """Return the assigned partition numbers (for `take_over`)."""
        return self.assigned

    async def _permission_to_write(self) -> None:
        await EngineApp._permission_to_write(cast("EngineApp", self))

    # --- reading and committing -------------------------------------------------------------------------------------

    def _listen(self, tp: TP) -> None:
        if tp.partition in self.standbys and tp.topic.endswith("-changelog") and not self._standby_news.is_set():
            asyncio.get_running_loop().call_later(self._delay(), self._standby_news.set, context=OUTSIDE)
        if tp in self._positions and not self._news.is_set():
            asyncio.get_running_loop().call_later(self._delay(), self._news.set, context=OUTSIDE)

    async def _read(self) -> None:
        """Fetch what is wanted whenever there may be something."""
        while not self.should_stop:
            await self._news.wait()
            self._news.clear()
            await self._conditions.heard.wait()
            wanted, pressed = self.batches.wanted()
            epoch = self.consumer.epoch
            fetched = {
                tp: (log.read(self._positions[tp], RECORDS_PER_FETCH), log.stable_end)
                for tp in sorted(wanted - self._conditions.stalled)
                for log in [self._brokers.logs[tp]]
            }
            more = pressed
            await self._travel(asking=False)
            if self.consumer.epoch != epoch:
                continue
            now_ms = self._brokers.now_ms()
            for tp, ((records, position), end) in fetched.items():
                self._positions[tp] = position
                more |= position < end
                self.batches.offer(tp, ReadRange(list[Any](records), position, end, now_ms))
            self.commit_soon()
            if more:
                asyncio.get_running_loop().call_later(0.05, self._news.set)

    def look(self) -> None:
        """Look for records, as after a partition could not be read."""
        self._news.set()

    def commit_soon(self) -> None:
        """Commit at the end of the commit interval."""
        if not self._commit_due:
            self._commit_due = True
            self.add_future(self._commit_later())

    async def _commit_later(self) -> None:
        await asyncio.sleep(self._conditions.commit_seconds)
        self._commit_due = False
        await self.commit()
        behind = any(lane.read > lane.acked for number in self.owned for lane in self.progress(number).values())
        committed = self._coordinator.committed
        behind |= any((self.batches.committable(tp) or 0) > committed.get(tp, 0) for tp in self.batches.tps())
        if behind or not self._conditions.heard.is_set():
            self.commit_soon()

    async def commit(self) -> None:
        """Commit what is acknowledged; the coordinator refuses who is no member any more."""
        offsets = {tp: offset for tp in self.batches.tps() if (offset := self.batches.committable(tp)) is not None}
        member = self.member
        await self._travel(asking=False)
        if offsets and self._conditions.heard.is_set():
            try:
                self._coordinator.commit(member, offsets)
            except FencedError:
                return
            await self._travel(asking=False)

    def _delay(self) -> float:
        return self._dice.uniform(0.1, 1.0) * self._conditions.network_seconds

    async def _travel(self, *, asking: bool = True) -> None:
        """Let a message go one way; a question to silent brokers fails."""
        await asyncio.sleep(self._delay())
        if asking and self._conditions.silent_brokers:
            raise KafkaError("the brokers do not answer")
