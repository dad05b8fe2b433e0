"""Joins our batches to Faust: membership, assignment, recovery, ownership stay Faust's; records bypass its event path.

Every override below says which stock behaviour it replaces; all were read from faust-streaming 0.15.3 (mode-streaming
0.7.1, aiokafka 0.14.0). Other versions are refused at import: read docs/adr on the Faust seam before raising them.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import faulthandler
import inspect
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from time import monotonic
from typing import Any, NoReturn

import faust
from aiokafka import AIOKafkaConsumer
from aiokafka.consumer.fetcher import Fetcher, PartitionRecords
from aiokafka.consumer.group_coordinator import SyncGroupRequest
from aiokafka.errors import KafkaError
from faust.exceptions import ImproperlyConfigured
from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery, ServiceStopped
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode import Service

from . import as_read, tolerant_records
from .changelog_table import (
    BatchProducer,
    ChangelogTable,
    Follower,
    OffsetRange,
    Outgoing,
    PartitionLostError,
)
from .partition_batches import PartitionBatch, PartitionBatches, Progress, ReadRange, Record
from .ports import Hooks

logger = logging.getLogger(__name__)

READ_FROM = {"faust-streaming": "0.15.3", "mode-streaming": "0.7.1", "aiokafka": "0.14.0"}
_SHAPES: Mapping[Any, str] = {
    driver.Consumer._drain_messages: "self, fetcher",
    driver.Consumer._new_offset: "self, tp",
    driver.Consumer.subscribe: "self, topics",
    driver.Consumer._filter_tps_with_pending_acks: "self, topics",
    driver.Consumer.on_partitions_revoked: "self, revoked",
    driver.Consumer.on_partitions_assigned: "self, assigned, generation_id",
    driver.Consumer.seek_wait: "self, partitions",
    driver.Consumer.verify_event_path: "self, now, tp",
    driver.AIOKafkaConsumerThread._create_worker_consumer: "self, transport",
    driver.Producer._settings_extra: "self",
    driver.Producer.flush: "self",
    Recovery.on_rebalance: "self, assigned, revoked, newly_assigned, generation_id",
    Recovery._seek_offsets: "self, consumer, tps, offsets, title",
    Recovery._set_recovery_started: "self",
    Recovery.on_recovery_completed: "self, generation_id",
    Recovery._wait: "self, coro, timeout",
    faust.Table.persisted_offset: "self, tp",
    faust.Table.on_rebalance: "self, assigned, revoked, newly_assigned, generation_id",
    faust.App._stop_consumer: "self",
    Fetcher._proc_fetch_request: "self, assignment, node_id, request",
    PartitionRecords._consumer_record: "self, tp, record",
}


def _assert_read_versions() -> None:
    for package, read in READ_FROM.items():
        if version(package) != read:
            raise ImportError(f"cxstream.kafka.engine was written against {package} {read}, found {version(package)}")
    for method, shape in _SHAPES.items():
        if ", ".join(inspect.signature(method).parameters) != shape:
            raise ImportError(f"{method.__qualname__} is not the method cxstream.kafka.engine overrides: {shape}")


def _let_fetches_be_cancelled() -> None:
    # Stock lets a fetch be cancelled while it waits for the answer, but not while it waits after a failure: cancelled
    # there by close(), it ends the consumer's thread, and a worker that stops while a broker is away hangs.
    stock = Fetcher._proc_fetch_request

    async def fetch(self: Any, *args: Any) -> Any:
        try:
            return await stock(self, *args)
        except asyncio.CancelledError:
            return False

    Fetcher._proc_fetch_request = fetch


_assert_read_versions()
tolerant_records.install()
as_read.install()
_let_fetches_be_cancelled()

READ_UNCOMMITTED = 0
FOLLOW_PAUSE_SECONDS = 1.0
"""Between attempts to follow a topic while the brokers are away."""
APPLY_RECORDS = 500
"""Recovery lets the event loop breathe after this many records."""
COMMIT_SECONDS = 2.0
"""The commit before partitions are given up may take so long, however long the drain took."""
FETCH_SECONDS = 0.25
FETCH_SECONDS_UNDER_PRESSURE = 0.02


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """What the engine needs to know. Times in seconds, sizes in bytes."""

    group: str
    bootstrap: str
    source_topics: Sequence[str]
    partitions: int
    data_folder: Path
    #: Of each topic of a partition number.
    max_batch_records: int
    #: Read ahead over all partitions; the read that fills it may bring as many again.
    max_queued_records: int
    #: Batches of different partition numbers worked on at the same time.
    concurrent_batches: int = 2
    session_timeout_seconds: float = 20.0
    heartbeat_seconds: float = 3.0
    #: A worker whose batches do not move for so long leaves the group.
    stuck_seconds: float = 300.0
    commit_interval_seconds: float = 1.0
    #: How long a rebalance or a stop waits for batches and writes in flight.
    drain_seconds: float = 10.0
    #: A process that has been told to end, or has crashed, is ended after so long whatever still hangs in it.
    stop_seconds: float = 60.0
    crash_seconds: float = 10.0
    #: A write that is not acknowledged by then has failed, and the process ends.
    write_timeout_seconds: float = 60.0
    #: A fetch waits so long for so many bytes: many small answers cost more than the events in them.
    fetch_wait_seconds: float = 0.2
    fetch_least_bytes: int = 128 * 1024
    #: A question to the brokers that is not answered by then is asked again later.
    request_seconds: float = 5.0
    standby_replicas: int = 0
    replication_factor: int = 3
    declare_topics: bool = True
    changelog_configuration: Mapping[str, Any] | None = None
    produce_batch_bytes: int = 512 * 1024
    #: A larger record is refused before anything is sent; the topics written to must take batches of this size.
    max_record_bytes: int = 8 * 1024 * 1024
    #: Stronger than aiokafka's lz4 (its level 9), at half the cost from ten records in a batch on.
    compression: str | None = "zstd"
    #: Static membership: the pod's stable name.
    instance_id: str | None = None
    #: faust.SASLCredentials, faust.SSLCredentials, ...
    credentials: Any = field(default=None, repr=False)
    ssl_context: ssl.SSLContext | None = None
    #: The same security, for the aiokafka clients outside the group.
    client: Mapping[str, Any] = field(default_factory=dict, repr=False)


class _ConsumerThread(driver.AIOKafkaConsumerThread):
    """aiokafka's consumer, in Faust's thread for it: fetches, heartbeats and commits."""

    #: When the last heartbeat, or request for an assignment, that the coordinator accepted was sent (seconds).
    heard_at = 0.0

    def _create_worker_consumer(self, transport: Any) -> Any:
        # Stock reads uncommitted unless exactly_once, and long-polls 1.5 s, in which time a partition that was emptied
        # just after the poll began is not fetched again (one request per broker at a time). It is answered as soon as
        # there is a single record.
        consumer = super()._create_worker_consumer(transport)
        consumer._isolation_level = "read_committed"
        consumer._fetch_min_bytes = self.app.settings.fetch_least_bytes  # type: ignore[attr-defined]
        consumer._fetch_max_wait_ms = int(self.app.settings.fetch_wait_seconds * 1000)  # type: ignore[attr-defined]
        as_read.takes_as_read(consumer)
        return consumer

    async def on_start(self) -> None:
        # Adds to stock: remembers when the coordinator was heard, the lease for writing.
        await super().on_start()
        coordinator = self._ensure_consumer()._coordinator
        heartbeat = coordinator._do_heartbeat

        async def timed_heartbeat() -> bool:
            sent_at = monotonic()
            accepted: bool = await heartbeat()
            if accepted:
                self.heard_at = sent_at
            return accepted

        coordinator._do_heartbeat = timed_heartbeat
        send = coordinator._send_req

        async def timed_send(request: Any) -> Any:
            sent_at = monotonic()
            response = await send(request)
            if isinstance(request, SyncGroupRequest) and response.error_code == 0:
                self.heard_at = sent_at  # not now: an answer may have waited in a paused process, and be void since
            return response

        coordinator._send_req = timed_send

    async def fetch_ranges(self, wanted: set[TP], *, timeout_seconds: float, alive: bool) -> dict[TP, ReadRange]:
        """Return what was fetched for each wanted partition, and how far its position moved, with or without records.

        `alive` with nothing wanted tells aiokafka that this is no stuck consumer (it would leave the group).
        """
        ranges: dict[TP, ReadRange] = await self.call_thread(self._fetch_ranges, wanted, timeout_seconds, alive=alive)
        return ranges

    async def written_ends(self, tps: Collection[TP]) -> Mapping[TP, int]:
        """Ask the brokers where partitions end, open transactions included."""
        ends: Mapping[TP, int] = await self.call_thread(self._written_ends, tps)
        return ends

    async def _written_ends(self, tps: Collection[TP]) -> Mapping[TP, int]:
        # end_offsets of a consumer that reads committed ends where the first open transaction begins, and what stands
        # in that one was delivered before: nothing after it may be taken for known.
        fetcher = copy.copy(self._ensure_consumer()._fetcher)
        fetcher._isolation_level = READ_UNCOMMITTED
        ends: Mapping[TP, int] = await fetcher.end_offsets(list(tps), self.app.settings.request_seconds * 1000)  # type: ignore[attr-defined]
        return ends

    async def _fetch_ranges(self, wanted: set[TP], timeout_seconds: float, *, alive: bool) -> dict[TP, ReadRange]:
        # In place of _fetch_records: aiokafka's result as it is, and the positions of the same instant.
        consumer = self._ensure_consumer()
        subscriptions = consumer._subscription
        if not wanted:  # to aiokafka, no partitions means all of them
            if alive:
                with subscriptions.fetch_context():
                    pass
            return {}
        with subscriptions.fetch_context():
            most: int = self.app.settings.max_queued_records  # type: ignore[attr-defined]
            fetched = await consumer._fetcher.fetched_records(wanted, timeout_seconds, most)
        assignment = subscriptions.subscription.assignment
        states = {tp: assignment.state_value(tp) for tp in wanted} if assignment is not None else {}
        return {
            tp: ReadRange(fetched.get(tp, []), state.position, state.lso, state.timestamp)
            for tp, state in states.items()
            if state is not None and state.has_valid_position
        }


class _Consumer(driver.Consumer):
    """Faust's consumer, delivering source topics to PartitionBatches and changelogs to recovery, list by list.

    Rule that keeps reading exact: what was read is dropped only when the partition was given up meanwhile, and a
    partition is sought to its start before it is read again, never while a read is under way (`_reading`).
    """

    app: EngineApp
    _thread: _ConsumerThread

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._reading = asyncio.Lock()
        #: Counts revocations; what was begun before one must not be finished after it.
        self.epoch = 0

    def _new_consumer_thread(self) -> _ConsumerThread:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def subscribe(self, topics: Any) -> None:
        # Adds to stock: an app stopped while it starts would still join, without its changelogs, and while the group
        # contains a member with other topics Faust assigns nobody co-partitioned.
        if not self.app.should_stop:
            await super().subscribe(topics)

    # --- reading ----------------------------------------------------------------------------------------------------

    async def _drain_messages(self, fetcher: Any) -> None:
        # In place of stock: four tasks, a lock and a queue per record, and a generation check that forgets positions.
        try:
            while not (self.should_stop or fetcher.should_stop):
                await self._read_once()
        except self.consumer_stopped_errors:
            if not self.app.should_stop:
                raise
        except asyncio.CancelledError:
            # Stock takes a cancellation while a rebalance is under way for one to recover from, and crashes the app.
            if not (self.app.should_stop or fetcher.should_stop):
                raise

    async def _read_once(self) -> None:
        batches, recovery = self.app.batches, self.app.recovery
        wanted, pressed = batches.wanted()
        readable = recovery.readable
        wanted |= readable & self._get_active_partitions()
        timeout = FETCH_SECONDS_UNDER_PRESSURE if pressed else FETCH_SECONDS
        async with self._reading:
            ranges = await self._thread.fetch_ranges(wanted, timeout_seconds=timeout, alive=not pressed)
        for tp, read in ranges.items():
            if tp.topic in self.app.source_topics:
                batches.offer(tp, read)
            else:
                await recovery.apply(tp, read, readable)
        if not wanted:
            await asyncio.sleep(FETCH_SECONDS_UNDER_PRESSURE)

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        # Adds to stock: not while a read is under way, or its result would move the position that was just set.
        async with self._reading:
            await super().seek_wait(partitions)

    async def open_sources(self, epoch: int, generation: int) -> None:
        """Begin to deliver the source partitions, from their committed offsets or else the start of the log."""
        sources = {tp for tp in self.assignment() if tp.topic in self.app.source_topics}
        starts = {tp: offset for tp in sources if (offset := self._committed_offset[tp]) is not None}
        starts.update(await self.earliest_offsets(*(sources - starts.keys())))
        ends = await self.highwaters(*sources)
        for tp, start in starts.items():
            if start > ends[tp]:
                raise ImproperlyConfigured(f"committed {start}, but {tp} ends at {ends[tp]}: topic created anew?")
        await self.seek_wait(starts)
        if self.epoch == epoch:
            self.app.batches.open(generation, {tp: (start, ends[tp]) for tp, start in starts.items()})

    # --- rebalancing ------------------------------------------------------------------------------------------------

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        # Adds to stock, before it: stock forgets what was acknowledged first and commits afterwards.
        # aiokafka only logs what a rebalance listener raises, so it crashes the app here.
        try:
            await self.app.give_up()
        except Exception as exc:  # noqa: BLE001 - whatever it is
            await self.app.crash(exc)
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        # Adds to stock, before it: the check of co-partitioning and our hook.
        if not self.app.should_stop:
            try:
                assigned_numbers = self.app.co_partitions()
                self.app.untouched &= assigned_numbers
                await self.app.hooks.on_partitions_assigned(assigned_numbers)
            except Exception as exc:  # noqa: BLE001 - whatever it is
                await self.app.crash(exc)
        await super().on_partitions_assigned(assigned, generation_id)

    @property
    def lease_expired(self) -> bool:
        """True when the coordinator was not heard for a session: somebody else may own our partitions by now."""
        return monotonic() - self._thread.heard_at > self.app.settings.session_timeout_seconds

    # --- committing -------------------------------------------------------------------------------------------------

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        # In place of a list of every acknowledged offset: one number per partition.
        return (tp for tp in self.app.batches.tps() if topics is None or tp in topics or tp.topic in topics)

    def _new_offset(self, tp: TP) -> int | None:
        return self.app.batches.committable(tp)

    async def commit_now(self) -> None:
        """Commit what is acknowledged at this instant (`commit()` does nothing when a commit is under way)."""
        while await self.maybe_wait_for_commit_to_finish():
            pass
        await self.commit()

    def verify_event_path(self, now: float, tp: TP) -> None:  # noqa: ARG002 - Faust's signature
        # In place of stock, which looks for streams that stopped: there are none. Lag is exported instead.
        return None


class _Producer(driver.Producer):
    def _settings_extra(self) -> Mapping[str, Any]:
        # Stock is idempotent only with exactly_once. A resent older value must not land behind a newer one.
        return {"enable_idempotence": True}

    async def flush(self) -> None:
        # In place of stock, which waits for every batch before it commits or gives partitions up, and an idempotent
        # producer repeats one without end. What may be committed is acknowledged; end_tenure waits for the rest.
        return None


class _Transport(driver.Transport):
    Consumer = _Consumer
    Producer = _Producer


class _Recovery(Recovery):
    """Faust's recovery with its decisions kept and the record path replaced."""

    app: EngineApp

    def __post_init__(self) -> None:
        #: Changelog partitions sought in this generation; others are not read.
        self.readable: set[TP] = set()
        self._is_applying = False
        self._hook: asyncio.Task[None] | None = None
        self._epoch = -1

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        # Adds to stock: remembers which assignment this recovery is for. Stock compares generations only, and from a
        # revocation until everybody has joined again (as long as the slowest member drains) the old one is still known.
        self._epoch = self.app.consumer.epoch
        self.readable = set()
        self._is_applying = False
        await super().on_rebalance(assigned, revoked, newly_assigned, generation_id)

    def overtaken(self) -> bool:
        """Tell whether the partitions this recovery is for have been revoked meanwhile."""
        return self.app.consumer.epoch != self._epoch or self.app.consumer_generation_id != self._generation_id

    async def apply(self, tp: TP, read: ReadRange, readable: set[TP]) -> None:
        """Apply what was read from one changelog partition to its table, some records at a time.

        What was read before a rebalance, as `readable` tells, is dropped: it is read again.
        """
        for first in range(0, max(len(read.records), 1), APPLY_RECORDS):
            if tp not in readable or readable is not self.readable:
                return
            records = read.records[first : first + APPLY_RECORDS]
            self._is_applying = first + APPLY_RECORDS < len(read.records)
            self._apply(tp, records, records[-1].offset + 1 if self._is_applying else read.next_offset)
            await asyncio.sleep(0)

    def _apply(self, tp: TP, records: Sequence[Record], next_offset: int) -> None:
        offsets = self.active_offsets if tp in self.active_tps else self.standby_offsets
        table: Any = self.tp_to_table[tp]
        if table.apply(tp.partition, records, next_offset):
            self.app.untouched -= {tp.partition}
        offsets[tp] = max(offsets[tp], next_offset - 1)
        self._last_flush_at = monotonic()  # stock's watchdog looks at these two
        self._active_events_received_at[tp] = self._last_flush_at
        self._end_when_complete()
        if not self.tables.standbys_ready and not self.standby_remaining_total():
            self.tables.on_standbys_ready()

    def _end_when_complete(self) -> None:
        # Not while something that was read is still to be applied: it must not come after what is then written here.
        if self._is_applying:
            return
        if self.in_recovery and self.readable >= self.active_tps and not self.need_recovery():
            self._set_recovery_ended()
            self.signal_recovery_end.set()

    @Service.task
    async def _slurp_changelogs(self) -> None:
        # In place of stock: one event at a time off a queue, errors swallowed. Records come through apply();
        # what is left is to notice an end that no record announces.
        async for _ in self.itertimer(0.5, name="recovery-end"):
            self._end_when_complete()

    def _set_recovery_started(self) -> None:
        # Stock clears the signal in its record loop, where a signal given early is lost.
        super()._set_recovery_started()
        self.signal_recovery_end.clear()

    async def _seek_offsets(self, consumer: Any, tps: set[TP], offsets: Any, title: str) -> None:
        # Adds to stock: from here on these partitions may be read.
        epoch = self._epoch
        await super()._seek_offsets(consumer, tps, offsets, title)
        if epoch == self._epoch and not self.overtaken():
            self.readable |= tps  # the very set that reads under way were begun with

    async def _wait(self, coro: Any, timeout: Any = None) -> None:  # noqa: ASYNC109 - Faust's signature
        # Adds to stock: a question that takes too long ends the process. mode says of it that the service has stopped,
        # stock ends its loop by that, and a live worker would never recover again.
        try:
            await super()._wait(coro, timeout)
        except ServiceStopped:
            if self.should_stop or self.app.should_stop:
                raise
            raise TimeoutError(f"recovery waited {timeout} s for the brokers and had no answer") from None

    async def on_recovery_completed(self, generation_id: int = 0) -> None:
        # Adds to stock: ownership and our hook before anything flows (stock swallows exceptions of its callbacks), the
        # sources after it. _wait() raises when the next rebalance overtakes this.
        if self.overtaken() or generation_id != self._generation_id:
            # The next assignment starts a recovery of its own (stock swallows RebalanceAgain while it waits).
            return
        for tp in self.active_tps:
            table: Any = self.tp_to_table[tp]
            table.apply(tp.partition, [], self.active_highwaters[tp] + 1)
        await self._wait(self._announce(generation_id))
        if self.overtaken():
            return
        await super().on_recovery_completed(generation_id)
        if not self.overtaken():
            await self._wait(self.app.consumer.open_sources(self._epoch, generation_id))

    async def _announce(self, generation: int) -> None:
        self._hook = hook = asyncio.ensure_future(self.app.take_over(generation))
        try:
            await asyncio.wait([hook])
        finally:
            hook.cancel()
        if not hook.cancelled():
            hook.result()

    async def interrupt(self) -> bool:
        """Stop reading changelogs, and stop the hook if it runs (True): a rebalance begins."""
        self.readable = set()
        if self._hook is None or self._hook.done():
            return False
        self._hook.cancel()
        await asyncio.wait([self._hook])
        return True


class _TableManager(TableManager):
    @property
    def recovery(self) -> _Recovery:
        if self._recovery is None:
            self._recovery = _Recovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery  # type: ignore[return-value]


class EngineApp(faust.App):
    """A Faust app whose source topics come as batches and whose tables are ChangelogTables."""

    consumer: _Consumer
    #: Whether the process is the app's own, to be ended with it.
    owns_process = False

    def __init__(self, settings: EngineSettings, **options: Any) -> None:
        """Prepare; nothing connects before `run`. `options` are further Faust settings."""
        settings.data_folder.mkdir(parents=True, exist_ok=True)
        self.settings = settings
        self.source_topics = frozenset(settings.source_topics)
        self.batches = PartitionBatches(
            max_batch_records=settings.max_batch_records, max_queued_records=settings.max_queued_records
        )
        self.hooks = Hooks()
        #: The partitions whose tables are complete here and may be written.
        self.owned: frozenset[int] = frozenset()
        #: Those of `owned` whose tables are just as in the generation before: what was derived from them still holds.
        self.kept: frozenset[int] = frozenset()
        #: The candidates for `kept` while a rebalance is under way.
        self.untouched: frozenset[int] = frozenset()
        self.writes = BatchProducer(
            self._aiokafka_producer,
            self._permission_to_write,
            settings.max_record_bytes,
            settings.write_timeout_seconds,
        )
        self._handler: Callable[[PartitionBatch], Awaitable[None]] | None = None
        self._working: dict[asyncio.Task[Any], PartitionBatch] = {}
        super().__init__(
            settings.group,
            **{
                "broker": [f"kafka://{address}" for address in settings.bootstrap.split(",")],
                "broker_credentials": settings.credentials,
                "ssl_context": settings.ssl_context,
                "broker_session_timeout": settings.session_timeout_seconds,
                "broker_heartbeat_interval": settings.heartbeat_seconds,
                "broker_max_poll_interval": settings.stuck_seconds,
                "broker_commit_interval": settings.commit_interval_seconds,
                "consumer_group_instance_id": settings.instance_id,
                "consumer_auto_offset_reset": "earliest",
                "producer_acks": -1,
                "producer_request_timeout": settings.write_timeout_seconds,
                "producer_linger": 0.0,
                "producer_max_batch_size": settings.produce_batch_bytes,
                "producer_compression_type": settings.compression,
                "processing_guarantee": "at_least_once",
                "store": "memory://",
                "table_standby_replicas": settings.standby_replicas,
                "topic_partitions": settings.partitions,
                "topic_replication_factor": settings.replication_factor,
                "topic_allow_declare": settings.declare_topics,
                "topic_disable_leader": True,
                "web_enabled": False,
                "worker_redirect_stdouts": False,
                "datadir": settings.data_folder,
                "TableManager": _TableManager,
                **options,
            },
        )
        for name in settings.source_topics:
            topic = self.topic(name, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")
            self.topics.add(topic)

    # --- for the composition root -----------------------------------------------------------------------------------

    def changelog_table(self, name: str, follower: Follower | None = None) -> ChangelogTable:
        """Declare a table, and who follows what it reads; all of them before `run`."""
        table = ChangelogTable(
            self,
            writes=self.writes,
            owned=lambda: self.owned,
            follower=follower,
            name=name,
            partitions=self.settings.partitions,
            extra_topic_configs=dict(self.settings.changelog_configuration or {}),
            beacon=self.tables.beacon,
        )
        self.tables.add(table)
        return table

    def process(self, handler: Callable[[PartitionBatch], Awaitable[None]]) -> None:
        """Give every batch to `handler`, which acknowledges it; anything it raises ends the process, unacknowledged.

        A handler that is still busy when its partition is given up is cancelled; PartitionLostError is no failure then.
        """
        self._handler = handler

    async def produce_many(self, topic: str, partition: int | None, records: Sequence[Outgoing]) -> None:
        """Produce records in batches; partition None spreads them by key as Java and Faust do. Raises if any failed."""
        if partition is not None:
            await self.writes.send(topic, partition, records)
            return
        producer = self._aiokafka_producer()
        await producer.client._wait_on_metadata(topic)
        spread: dict[int, list[Outgoing]] = {}
        for record in records:
            number = producer._partition(topic, None, record.key, record.value, record.key, record.value)
            spread.setdefault(number, []).append(record)
        sent = [self.writes.send(topic, number, part) for number, part in spread.items()]
        for result in await asyncio.gather(*sent, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    def recovery_remaining(self) -> dict[TP, int]:
        """Return the changelog records still to be read, per active changelog partition."""
        return {tp: max(0, count) for tp, count in self.recovery.active_remaining().items()}

    def progress(self, number: int) -> Mapping[str, Progress]:
        """Return how far each topic is in one partition number; empty while it is not read."""
        return self.batches.progress(number)

    async def ends(self, tps: Collection[TP]) -> Mapping[TP, int]:
        """Ask the brokers where partitions end (the offset the next record will get), open transactions included.

        A changelog that ends beyond `complete_offset + 1` with no write of ours under way: somebody else wrote.
        """
        return await self.consumer._thread.written_ends(tps) if tps else {}

    async def read(self, tp: TP, offsets: OffsetRange) -> Sequence[Record]:
        """Read a range of a partition, outside the group; what was compacted away is missing."""
        async with self._outside_consumer() as consumer:
            return [record async for record in _between(consumer, tp, offsets)]

    async def keys(self, tp: TP, first: int) -> Mapping[bytes, int]:
        """Return the keys in a partition from an offset on, each with the offset of its last record."""
        async with self._outside_consumer() as consumer:
            consumer.assign([tp])
            written = OffsetRange(first, (await consumer.end_offsets([tp]))[tp] - 1)
            return {record.key: record.offset async for record in _between(consumer, tp, written)}

    async def last(self, tp: TP) -> Record | None:
        """Return the last record of a partition; None where nothing was written, or nothing of it is left."""
        async with self._outside_consumer() as consumer:
            consumer.assign([tp])
            end = (await consumer.end_offsets([tp]))[tp]
            tail = [record async for record in _between(consumer, tp, OffsetRange(end - 1, end - 1))] if end else []
        return tail[-1] if tail else None

    async def follow(self, topic: str, take: Callable[[Record], None]) -> None:
        """Give every record of a topic's partition 0 to `take`, from its start on, until cancelled."""
        while True:
            try:
                async with self._outside_consumer() as consumer:
                    consumer.assign([TP(topic, 0)])
                    async for record in consumer:
                        take(record)
            except KafkaError as error:
                logger.warning("cannot follow %s: %s", topic, error)
            await asyncio.sleep(FOLLOW_PAUSE_SECONDS)

    @contextlib.asynccontextmanager
    async def _outside_consumer(self) -> AsyncIterator[AIOKafkaConsumer]:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.settings.bootstrap,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            **self.settings.client,
        )
        try:
            await consumer.start()
            await asyncio.sleep(0)  # its tasks begin: one that never did lets its cancellation by stop() out on us
            yield consumer
        finally:
            await consumer.stop()

    @property
    def lease_expired(self) -> bool:
        """True when the group was not heard for a session; writes wait, and nothing should be exposed."""
        return self.consumer.lease_expired

    @property
    def generation(self) -> int:
        """The group's generation as this worker knows it."""
        return self.consumer_generation_id

    @property
    def recovery(self) -> _Recovery:
        """Faust's recovery service."""
        return self.tables.recovery  # type: ignore[attr-defined,no-any-return]

    # --- ownership --------------------------------------------------------------------------------------------------

    async def give_up(self) -> None:
        """Stop delivery, wait for what is in flight and commit (bounded), give up every partition, tell the worker."""
        consumer = self.consumer
        consumer.epoch += 1
        is_cut_short = await self.recovery.interrupt()
        self.batches.close()
        # A crashed app has nobody to finish a batch; without a lease nothing may be written any more.
        patience = 0.0 if self.crashed or consumer.lease_expired else self.settings.drain_seconds
        loop = asyncio.get_running_loop()
        until = loop.time() + patience
        late = await self.batches.drain(patience)
        for task, batch in list(self._working.items()):
            if not batch.current:
                task.cancel()  # or it could write, much later, what it made of a table that is not ours any more
        owned, self.owned = self.owned, frozenset()
        is_in_doubt = is_cut_short and self.writes.has_sent  # what the hook wrote is in tables, and nothing follows it
        if not await self.writes.end_tenure(patience) or is_in_doubt:
            late = owned  # unknown what of it reaches the changelog: read it again
        committing = asyncio.ensure_future(consumer.commit_now())
        await asyncio.wait([committing], timeout=max(COMMIT_SECONDS, until - loop.time()))
        if committing.done():
            committing.result()
        else:
            committing.cancel()  # not wait_for: stock's wait for another commit outlives a cancellation
            logger.warning("gave up without a commit: what was done since the last one is done again")
        self.batches.forget()
        if late:
            logger.warning("gave up partitions with work in flight: %s", sorted(late))
        for table in self.tables.values():
            for partition in late:
                table.forget(partition)  # all tables are ChangelogTables
                self.recovery.revoke(TP(table.changelog_topic_name, partition))
        if owned:
            self.untouched = owned - late
            await self.hooks.on_partitions_revoked(owned)

    async def take_over(self, generation: int) -> None:
        """Own the recovered partitions and tell the worker."""
        self.owned = self.co_partitions()
        self.kept = self.owned & self.untouched
        for table in self.tables.values():
            for partition in self.owned:
                table.begin_tenure(partition, generation)  # all tables are ChangelogTables
        logger.info("generation %d: recovered partitions %s", generation, sorted(self.owned))
        await self.hooks.on_recovered(self.owned)

    def co_partitions(self) -> frozenset[int]:
        """Return the assigned partition numbers; raises when topics and changelogs are not assigned alike."""
        topics = self.source_topics | {table.changelog_topic_name for table in self.tables.values()}
        actives = self.assignor.assigned_actives()
        numbers = {topic: frozenset(tp.partition for tp in actives if tp.topic == topic) for topic in topics}
        if len(set(numbers.values())) > 1:
            shown = {topic: sorted(partitions) for topic, partitions in sorted(numbers.items())}
            raise ImproperlyConfigured(f"not co-partitioned, is the number of partitions the same everywhere? {shown}")
        return next(iter(numbers.values()), frozenset())

    async def _permission_to_write(self) -> None:
        # A worker that was paused longer than a session may have been replaced: ask the group before writing.
        epoch = self.consumer.epoch
        while self.consumer.lease_expired:
            if self.consumer.epoch != epoch or self.should_stop:
                raise PartitionLostError("the group was not heard for a session")
            await asyncio.sleep(0.05)

    # --- running ----------------------------------------------------------------------------------------------------

    async def on_start(self) -> None:
        """Refuse to run without tables (adds to stock): Faust would assign topics round-robin, not co-partitioned."""
        if not self.tables:
            raise ImproperlyConfigured("declare at least one changelog_table")
        await self.hooks.on_start()
        await super().on_start()

    async def on_started_init_extra_tasks(self) -> None:
        """Start the tasks that process batches (adds to stock; called after the first recovery)."""
        await super().on_started_init_extra_tasks()
        if self._handler is not None:
            for _ in range(self.settings.concurrent_batches):
                self.add_future(self._process(self._handler))

    async def _process(self, handler: Callable[[PartitionBatch], Awaitable[None]]) -> None:
        task: Any = asyncio.current_task()
        async for batch in self.batches:
            self._working[task] = batch
            try:
                await handler(batch)
            except PartitionLostError:
                if batch.current and self.batches.is_open:
                    raise
            except asyncio.CancelledError:
                if self.should_stop:
                    raise
                if batch.current:  # mode would end a cancelled task silently, and a partition would stand still
                    raise RuntimeError(f"cancelled while processing {batch}") from None
                task.uncancel()
            else:
                if batch.current:
                    raise RuntimeError(f"the handler neither acknowledged nor failed: {batch}")
            finally:
                del self._working[task]

    def add_future(self, coro: Any) -> Any:
        """Run a coroutine as long as the worker lives (adds to stock: a stray cancellation is a crash)."""
        return super().add_future(self._lasting(coro))

    async def _lasting(self, coroutine: Awaitable[None]) -> None:
        try:
            await coroutine
        except asyncio.CancelledError:
            if self.should_stop:
                raise
            # A library let out a cancellation of its own; mode would end the task silently: a clock that stands still.
            raise RuntimeError(f"cancelled, and not by a stop: {coroutine!r}") from None

    async def crash(self, reason: BaseException) -> None:
        """Crash (adds to stock: a limit to how long the end may take)."""
        self._end_process_within(self.settings.crash_seconds)
        await super().crash(reason)

    async def stop(self) -> None:
        """Stop (adds to stock: a limit to how long it may take)."""
        self._end_process_within(self.settings.crash_seconds if self.crashed else self.settings.stop_seconds)
        await super().stop()

    async def on_shutdown(self) -> None:
        """End (adds to stock, before it: the hook for what remains to be done once others have taken over)."""
        if not self.crashed:
            await self.hooks.on_left()
        await super().on_shutdown()

    def _end_process_within(self, seconds: float) -> None:
        # A crash ends the consumer's thread, and what waits for an answer of it (a commit, a fetch) would wait for
        # ever: the process would hold nothing, do nothing and look alive. The stacks of all threads are written first.
        if self.owns_process:
            faulthandler.dump_traceback_later(seconds, exit=True)

    async def _stop_consumer(self) -> None:
        # Adds to stock, before it: batches in flight are finished and committed while we are still a member.
        self.batches.stop()
        if self._consumer is not None and self._consumer.started:
            try:
                await self.give_up()
            except Exception:  # stopping goes on: what was not committed is done again by the next owner
                logger.exception("partitions could not be given up in order")
        await super()._stop_consumer()

    def _new_transport(self) -> Any:
        # In place of stock's lookup by URL scheme.
        return _Transport(self.conf.broker_consumer, self)

    def _new_producer_transport(self) -> Any:
        return _Transport(self.conf.broker_producer, self)

    def _aiokafka_producer(self) -> Any:
        return self.producer._ensure_producer()  # type: ignore[attr-defined]


async def _between(consumer: AIOKafkaConsumer, tp: TP, offsets: OffsetRange) -> AsyncIterator[Record]:
    if offsets.last < offsets.first:
        return
    consumer.assign([tp])
    consumer.seek(tp, offsets.first)
    while await consumer.position(tp) <= offsets.last:
        for fetched in (await consumer.getmany(timeout_ms=500)).values():
            for record in fetched:
                if record.offset <= offsets.last:
                    yield record


def run(app: EngineApp, *, loglevel: str = "INFO") -> NoReturn:
    """Run the worker until SIGTERM, SIGINT or a crash, then end the process (0, or 1 after a crash)."""
    app.owns_process = True
    worker = faust.Worker(app, loglevel=loglevel)
    worker.spinner = None  # its handler sets the root logger to DEBUG
    worker.execute_from_commandline()
