"""The composition root: settings become a Faust app with its agent, ledgers, metrics and pages."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import logging
import logging.config
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any, NamedTuple, NoReturn

import structlog
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaError
from faust.types import TP
from pydantic import SecretStr

from cxstream.config import Settings, policy_stated
from cxstream.domain.instant import SECOND_MS
from cxstream.domain.vocabulary import TOPICS
from cxstream.engine.assess import Clock, fingerprint
from cxstream.engine.policies import PolicyRecord, Succession, fingerprint_of, succession
from cxstream.engine.source_quality import SourceQuality
from cxstream.engine.watermark import GroupWatermark, Marks, Said, latest
from cxstream.exposition.activity import Activity
from cxstream.exposition.collector import Collector, page
from cxstream.exposition.snapshot import Objective, PartitionSnapshot, WorkerSnapshot, WorkerState
from cxstream.kafka.case_agent import CaseAgent, TopicRoles
from cxstream.kafka.changelog_table import Changed, OffsetRange, PartitionLostError
from cxstream.kafka.codec import Codec
from cxstream.kafka.connection import Connection, client_tls, connection, server_tls
from cxstream.kafka.dead_letters import REASONS
from cxstream.kafka.engine import EngineApp, EngineSettings, run
from cxstream.kafka.oauth import TokenEndpoint, TokenFile
from cxstream.kafka.partition import Holdings, Partition
from cxstream.kafka.partitioner import partition_of
from cxstream.kafka.ports import Engine, Table
from cxstream.kafka.records import RESIDUE_PREFIX
from cxstream.kafka.schemas import Registry, SchemaIds, Schemas
from cxstream.kafka.topics import (
    BOARDS_TABLE,
    CASES_TABLE,
    LARGE_MESSAGE_BYTES,
    TopicTable,
    check,
    topic_table,
    watermarks_topic,
)
from cxstream.kafka.verdict_stream import VerdictStream
from cxstream.kafka.watermarks import Owner, WatermarkTopic, read_policies
from cxstream.live import WorkerLive, advertised_url
from cxstream.web.live import Limits
from cxstream.web.pages import Pages
from cxstream.web.probes import LoopTick
from cxstream.web.server import Server
from cxstream.web.sources import source_pages

logger = logging.getLogger(__name__)

TICK_SECONDS = 0.5
"""How often the clock is looked at for cases it may have changed."""
DUE_AT_ONCE = 1_000
"""Cases that are judged again by the clock before batches get their turn."""
SEARCH_SECONDS = 60.0
"""Between two searches for garbage, which is what the count of references does not free: cycles.

Python would search whenever some hundred objects were made, and find nothing, since cases, facts and what libraries
read hold no cycles: with a backlog in memory that was a tenth to a quarter of all CPU.
"""
SEARCHED_RECORDS = 20_000
"""With more records than that read ahead a search is put off: it would take a quarter of a second ..."""
SEARCH_PUT_OFF = 10
"""... but not more often than so."""
SAY_EVERY_MS = 1000
"""How often the group is told how far the partitions of this worker are."""


def wall_ms() -> int:
    """Return the wall clock in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class WriteFailedError(Exception):
    """What the clock changed could not be written; the worker ends, and the next owner judges it again."""


class TopicShrunkError(Exception):
    """A topic ends before what was read of it: what it brings next would be taken for what is known, and dropped."""


@contextmanager
def _writing() -> Iterator[None]:
    """Tell a write that was refused, and ends the worker, from an answer that did not come, and is asked for again."""
    try:
        yield
    except KafkaError as error:
        raise WriteFailedError(str(error)) from error


class _Lingering(NamedTuple):
    """The last figures of a lost partition, shown until the new owner speaks (hand-over)."""

    snapshot: PartitionSnapshot
    until_ms: int


class _HoldingsOfAll:
    """What the case records come to, by partition, of those held as standby too: follows the table of cases."""

    def __init__(self, begin: Callable[[], Holdings]) -> None:
        self._begin = begin
        self._by_number: dict[int, Holdings] = {}

    def of(self, partition: int) -> Holdings:
        if partition not in self._by_number:
            self._by_number[partition] = self._begin()
        return self._by_number[partition]

    def read(self, partition: int, changes: Sequence[Changed]) -> None:
        self.of(partition).read(changes)

    def forgot(self, partition: int) -> None:
        self._by_number.pop(partition, None)


class Worker:
    """One worker of the consumer group: owns partitions, judges their cases, knows what they come to."""

    def __init__(self, settings: Settings, engine: Engine, wall_ms: Callable[[], int] = wall_ms) -> None:
        """Wire everything to an engine; nothing connects before that runs, and calls `start`."""
        self.settings = settings
        self.version = version("cxstream")
        self.windows = settings.windows()
        self._engine = engine
        self._wall_ms = wall_ms
        self._policy = settings.policy()
        self._policy_stated = policy_stated(settings)
        self._policy_fingerprint = fingerprint_of(self._policy_stated)
        self._policy_recorded = False
        self._objectives = [
            *(Objective(sign, "job", "", ratio) for sign, ratio in settings.objective_ratios().items()),
            *(Objective(*stated) for stated in settings.objectives_of_segments()),
        ]
        self._roles = topic_roles(settings)
        self._partitions: dict[int, Partition] = {}
        self._recovering: frozenset[int] = frozenset()
        self._given_up: dict[int, Partition] = {}
        self._lingering: dict[int, _Lingering] = {}
        self._state: WorkerState = "starting"
        self._rebalances = 0
        self._has_recovered = False
        self._capped = 0
        self._rebalancing_since_ms: int | None = None
        kafka = settings.kafka
        self._group = GroupWatermark(kafka.partitions)
        self._watermarks = WatermarkTopic(watermarks_topic(kafka.group), self._group, engine)
        self._said_ms = 0
        self._shrunk: frozenset[TP] = frozenset()
        judged_under = fingerprint(settings.catalogue(), self._policy)
        self._holdings = _HoldingsOfAll(lambda: Holdings(self.windows, judged_under))
        self._cases = engine.changelog_table(CASES_TABLE, self._holdings)
        self._boards = engine.changelog_table(BOARDS_TABLE)
        self._tables = (self._cases, self._boards)
        schemas = Schemas.packaged()
        schema_ids = SchemaIds(schemas, settings.schema.ids, registry_of(settings))
        sources = settings.sources
        self.sources = SourceQuality(TOPICS, sources.names, kept=sources.rejections_shown)
        self.activity = Activity(
            kafka.group,
            reasons=REASONS,
            signs=tuple(settings.catalogue()),
            sources=self.sources,
        )
        verdicts_topic = kafka.verdicts
        verdict_stream = verdicts_topic and VerdictStream(verdicts_topic, engine, self._cases, self._policy_fingerprint)
        self._agent = CaseAgent(
            catalogue=settings.catalogue(),
            policy=self._policy,
            codec=Codec(
                schemas,
                schema_ids,
                skew_ms=self._policy.clock_skew_ms,
                max_message_bytes=settings.limits.max_message_bytes,
            ),
            schema_ids=schema_ids,
            topics=self._roles,
            cases=self._cases,
            boards=self._boards,
            produce=engine.produce_many,
            partition=self._owned,
            clock=self._clock,
            wall_ms=wall_ms,
            activity=self.activity,
            partition_of=lambda key: partition_of(key, kafka.partitions),
            version=self.version,
            residue_key=residue_key(settings),
            verdicts=verdict_stream or None,
            quality=self.sources,
            due_limit=min(settings.limits.max_batch_records, DUE_AT_ONCE),
            max_record_bytes=LARGE_MESSAGE_BYTES // 8,
        )
        engine.process(self._agent.process)
        engine.hooks.on_partitions_revoked = self._on_revoked
        engine.hooks.on_partitions_assigned = self._on_assigned
        engine.hooks.on_recovered = self._on_recovered
        engine.hooks.on_left = self._on_left
        self._loop_tick = LoopTick()

    async def start(self) -> None:
        """Begin what goes on beside the batches: the clock, and hearing how far the group is."""
        self._engine.add_future(self._loop_tick.run())
        self._engine.add_future(self._watermarks.hear())
        self._engine.add_future(self.run_clock())

    # --- ownership

    async def _on_revoked(self, numbers: frozenset[int]) -> None:
        """Keep showing the last figures of what is given up, with the generation they were owned in."""
        now_ms = self._wall_ms()
        until_ms = now_ms + int(self.settings.linger_seconds * SECOND_MS)
        for number in numbers:
            partition = self._partitions.pop(number, None)
            if partition is not None:
                self._given_up[number] = partition
                self._capped += partition.ledger.capped
                partition.ledger.capped = 0
                self._lingering[number] = _Lingering(self._partition_snapshot(partition), until_ms)
        self._recovering = frozenset()
        if self._engine.should_stop:
            self._state = "draining"
            return
        self._state = "rebalancing"
        self._rebalancing_since_ms = now_ms
        self._rebalances += 1

    async def _on_left(self) -> None:
        """Go on showing the last figures until others will have taken over, no longer than the drain budget.

        Nobody takes over from the only worker, and a static member's partitions wait for it to come back.
        """
        kafka = self.settings.kafka
        if 0 < len(self._lingering) < kafka.partitions and kafka.instance_id is None:
            left_ms = max(kept.until_ms for kept in self._lingering.values()) - self._wall_ms()
            await asyncio.sleep(max(0.0, min(left_ms / SECOND_MS, self.settings.drain_seconds)))

    async def _on_assigned(self, numbers: frozenset[int]) -> None:
        if self._state not in ("starting", "rebalancing"):
            self._rebalances += 1  # nothing was owned to be given up: a recovery was interrupted, or none was needed
        self._recovering = numbers
        self._state = "recovering"

    async def _on_recovered(self, numbers: frozenset[int]) -> None:
        """Take over: what the records come to is added up already."""
        for number in sorted(numbers):
            partition = self._given_up.pop(number, None) if number in self._engine.kept else None
            if partition is None:
                holdings = self._holdings.of(number)
                holdings.complete()
                sources, marks = self._roles.sources.values(), self._group.of(number)
                partition = Partition(number, self._engine.generation, holdings, sources, marks)
                partition.puts_off = True
            partition.generation = self._engine.generation
            self._partitions[number] = partition
            await self._unite_stale(partition)
            self._lingering.pop(number, None)
        self._given_up.clear()
        self._recovering = frozenset()
        self._state = "running"
        self._has_recovered = True
        if self._rebalancing_since_ms is not None:
            self.activity.rebalanced((self._wall_ms() - self._rebalancing_since_ms) / SECOND_MS)
            self._rebalancing_since_ms = None

    def _owned(self, number: int) -> Partition:
        # The engine knows before we are told: while it gives partitions up, nothing may be said of them any more.
        partition = self._partitions.get(number)
        if partition is None or number not in self._engine.owned:
            raise PartitionLostError(f"partition {number} is not owned")
        return partition

    # --- the clock

    def _clock(self, partition: Partition) -> Clock:
        """Read the clock of a partition. What is final waits for the group, and for clocks that differ."""
        clock = self.reading(partition)
        if partition.is_heard(self._group.of(partition.number)):  # before, a source may only seem to be silent
            partition.hears(clock.silent_since_ms)
        return clock

    def reading(self, partition: Partition) -> Clock:
        """Read the clock of a partition for a reader, who judges nothing by it."""
        now_ms = partition.clock.now_ms
        # A millisecond at least: the next record may have been delivered at the very instant of the last one.
        margin_ms = max(1, int(self.settings.kafka.clock_margin_seconds * SECOND_MS))
        return Clock(now_ms, min(now_ms, self._group.settled_ms - margin_ms), self._silent_since_ms(now_ms))

    def _silent_since_ms(self, now_ms: int) -> dict[str, int]:
        """Return which source topics are dead as a whole at a clock reading, by what all owners said of them.

        And by what was taken here since: in a backlog a clock runs hours ahead of what was last said.
        """
        heard = [self._group.delivered_ms, *(partition.clock.delivered_ms for partition in self._partitions.values())]
        sources = self._roles.sources.values()
        delivered_ms = {source: max(taken.get(source, 0) for taken in heard) for source in sources}
        limits_ms = self.settings.kafka.source_silent_after
        return {
            source: last_ms
            for source, last_ms in delivered_ms.items()
            if 0 < limits_ms.get(source, 0) < now_ms - last_ms
        }

    async def run_clock(self) -> None:
        """Let the clock have its say, until the worker ends: it stands still while the brokers do not answer."""
        while not self._engine.should_stop:
            now_ms = self._wall_ms()
            self._lingering = {n: kept for n, kept in self._lingering.items() if kept.until_ms > now_ms}
            try:
                await self._tick()
            except KafkaError as error:
                logger.warning("the clock stands still: %s", error)
            except Exception as error:
                await self._engine.crash(error)
                raise
            await asyncio.sleep(TICK_SECONDS)

    async def _tick(self) -> None:
        """Ask how far the topics go; move clocks and watermarks, judge what is due, and say how far all is."""
        lows, asked_ms = self._group.lows, self._wall_ms()
        read = {
            TP(topic, number): acked
            for number in sorted(self._partitions)
            for topic, acked in self._acked(number).items()
        }
        numbers = sorted({tp.partition for tp in read})
        changelogs = [TP(table.changelog_topic_name, number) for table in self._tables for number in numbers]
        ends = await self._engine.ends([*read, *changelogs])
        if self._has_shrunk(read, ends):
            return
        said: dict[Partition, Said] = {}
        for number in numbers:
            partition = self._partitions.get(number)
            if partition is not None:
                its_ends = {tp.topic: end for tp, end in ends.items() if tp.partition == number}
                word = await self._attend(partition, its_ends, asked_ms, lows)
                said |= {} if word is None else {partition: word}
        if not 0 <= asked_ms - self._said_ms < SAY_EVERY_MS:  # the wall clock may be set back
            self._said_ms = asked_ms
            try:
                with _writing():
                    await self._watermarks.say({partition.number: word for partition, word in said.items()})
            except PartitionLostError:
                return
            for partition, word in said.items():
                partition.announced(word)

    def _has_shrunk(self, read: Mapping[TP, int], ends: Mapping[TP, int]) -> bool:
        """Tell whether a topic ends before what had been read of it before its end was asked for.

        Raises TopicShrunkError when it still does at the second look: not for a leader that has just changed.
        """
        before, self._shrunk = self._shrunk, frozenset(tp for tp, acked in read.items() if ends[tp] < acked)
        for tp in sorted(before & self._shrunk):
            raise TopicShrunkError(
                f"{tp.topic}[{tp.partition}] ends at {ends[tp]}, but was read up to {read[tp]}: it was created anew, or"
                " has lost its end. `cxstream doctor` says whether a restart will do"
            )
        return bool(self._shrunk)

    async def _record_policy(self) -> None:
        """Record by which policy is judged. Own words have been heard: so is all that was recorded before."""
        record = PolicyRecord(self._policy_fingerprint, self._wall_ms(), self.version, self._policy_stated)
        with _writing():
            await self._watermarks.record(record)
        self._policy_recorded = True

    async def _attend(self, partition: Partition, ends: Mapping[str, int], asked_ms: int, lows: Marks) -> Said | None:
        """Move the clock of a partition, judge what is due by it, and note whether it has caught up.

        None, and nothing is said of it, if it is lost or not all that is due is judged yet.
        """
        async with partition.lock:  # between batches, or a batch in hand would count as taken
            acked = self._acked(partition.number)
            if self._partitions.get(partition.number) is not partition or not acked:
                return None
            for topic, source in self._roles.sources.items():
                if acked[topic] >= ends[topic]:
                    partition.clock.knows(source, asked_ms)
            relays = {topic: ends[topic] for topic in (self._roles.assets, self._roles.relays)}
            marks = partition.marks.advance(partition.clock.now_ms, lows, relays, acked)
            taken = self._group.delivered_of(partition.number), partition.clock.delivered_ms
            said = Said(marks, latest(*taken))
        is_past = partition.observe(acked, {topic: ends[topic] for topic in acked})
        try:
            for table in self._tables:
                await self._unite(partition, table, ends[table.changelog_topic_name])
            is_heard = partition.is_heard(self._group.of(partition.number))
            if is_past and is_heard:
                partition.judge_at_once()
            # Judged before it is caught up: figures of an earlier clock must not be shown as those of now.
            with _writing():
                is_judged = await self._agent.judge_due(partition)
                await self._agent.sweep(partition, self._group.settled_ms)
            if is_heard and not self._policy_recorded:
                await self._record_policy()
        except PartitionLostError:
            return None
        if not is_judged:
            return None
        partition.caught_up |= is_past and is_heard
        return said

    def _acked(self, number: int) -> dict[str, int]:
        """Return how far each topic of a partition is processed; empty while it is not read."""
        return {topic: lane.acked for topic, lane in self._engine.progress(number).items()}

    async def _unite_stale(self, partition: Partition) -> None:
        """Unite what an owner of old wrote after a later one, and recovery has set aside."""
        for table in self._tables:
            stale = table.stale(partition.number)
            if stale:
                logger.warning("an owner of old wrote %d records of %s[%d]", len(stale), table.name, partition.number)
                try:
                    async with partition.lock:
                        await self._agent.unite(partition, table, stale)
                        table.was_united(partition.number)
                except PartitionLostError:
                    return  # the next rebalance has begun
                self.activity.foreign_write(table.name, len(stale))

    async def _unite(self, partition: Partition, table: Table, end: int) -> None:
        """Read back what another worker wrote into the changelog of a partition, and write it united with ours."""
        async with partition.lock:  # no write of our own is under way
            ranges = table.unread_ranges(partition.number)
            beyond = OffsetRange(table.complete_offset(partition.number) + 1, end - 1)
        if not ranges and beyond.last >= beyond.first:
            ranges = [beyond]
        for offsets in ranges:
            logger.warning("another worker wrote %s of %s[%d]", offsets, table.name, partition.number)
            records = await self._engine.read(TP(table.changelog_topic_name, partition.number), offsets)
            async with partition.lock:
                with _writing():
                    await self._agent.unite(partition, table, records)
                table.was_read(partition.number, offsets)
            self.activity.foreign_write(table.name, len(records))

    # --- what is shown

    @property
    def partitions(self) -> Mapping[int, Partition]:
        """The partitions owned now, recovered, by number."""
        return self._partitions

    @property
    def cases(self) -> Table:
        """The case records."""
        return self._cases

    @property
    def url(self) -> str:
        """Where this worker answers, empty while it says so to nobody."""
        return self._watermarks.url

    @property
    def owners(self) -> Mapping[int, Owner]:
        """What the owners of the group said last of where they answer, by partition."""
        return self._watermarks.owners

    def advertise(self, url: str) -> None:
        """Say to the group from now on where this worker answers."""
        self._watermarks.url = url

    def snapshot(self) -> WorkerSnapshot:
        """Return what this worker knows now, for a scrape."""
        shown = {number: self._recovering_snapshot(number) for number in self._recovering}
        shown |= {number: kept.snapshot for number, kept in self._lingering.items()}
        shown |= {number: self._partition_snapshot(partition) for number, partition in self._partitions.items()}
        return WorkerSnapshot(
            group=self.settings.kafka.group,
            state=self._state,
            partitions_expected=self.settings.kafka.partitions,
            partitions=[shown[number] for number in sorted(shown)],
            now_ms=self._wall_ms(),
            version=self.version,
            policy=self._policy_fingerprint,
            history_since_ms=self._policy.history_since_ms,
            objectives=self._objectives,
            withhold_business=self.fenced,
            cpu_seconds=time.process_time(),
            rebalances=self._rebalances,
            label_values_capped=self._capped + sum(partition.ledger.capped for partition in self._partitions.values()),
        )

    @property
    def fenced(self) -> bool:
        """Whether the group was not heard for a session: somebody else may own what this worker thinks it does."""
        return bool(self._partitions) and self._engine.lease_expired

    def _partition_snapshot(self, partition: Partition) -> PartitionSnapshot:
        number, now_ms = partition.number, self._wall_ms()
        sources, progress = self._roles.sources, self._engine.progress(number)
        lag = {sources[topic]: lane.lag for topic, lane in progress.items() if topic in sources}
        took = partition.clock.delivered_ms
        return PartitionSnapshot(
            partition=number,
            generation=partition.generation,
            ready=partition.caught_up,
            rows=partition.rows(),
            watermark_ms=partition.counted_ms,
            lasting=partition.lasting(),
            source_watermark_ms=latest(self._group.delivered_of(number), took),
            lag_records=lag,
            lag_seconds={
                topic: max(0, now_ms - took.get(topic, now_ms)) / SECOND_MS if behind else 0.0
                for topic, behind in lag.items()
            },
            cases=self._cases.count(number),
            boards=self._boards.count(number),
            recovery_remaining=self._recovery_remaining(number),
            state_bytes=self._state_bytes(number),
            version=partition.ledger.version,
        )

    def _recovering_snapshot(self, number: int) -> PartitionSnapshot:
        """Say that the partition is this worker's to recover: owned, not ready, nothing to show yet."""
        return PartitionSnapshot(
            partition=number,
            generation=self._engine.generation,
            ready=False,
            rows=(),
            watermark_ms=None,
            cases=self._cases.count(number),
            boards=self._boards.count(number),
            recovery_remaining=self._recovery_remaining(number),
            state_bytes=self._state_bytes(number),
        )

    def _state_bytes(self, number: int) -> dict[str, int]:
        return {table.name: table.state_bytes(number) for table in self._tables}

    def _recovery_remaining(self, number: int) -> dict[str, int]:
        tables = {table.changelog_topic_name: table.name for table in self._tables}
        remaining = self._engine.recovery_remaining().items()
        return {tables[tp.topic]: left for tp, left in remaining if tp.partition == number and tp.topic in tables}

    # --- probes

    def tick_age_seconds(self) -> float:
        """Return how many seconds ago the event loop last ticked."""
        return self._loop_tick.age_seconds()

    def ready(self) -> tuple[bool, str]:
        """Return whether every owned table is recovered, and if not, what is missing."""
        return self._state == "running", self._state

    def started(self) -> bool:
        """Return whether the first assignment is recovered."""
        return self._has_recovered


def topic_roles(settings: Settings) -> TopicRoles:
    """Return the topics of a configuration by the part they play."""
    kafka = settings.kafka
    return TopicRoles(
        sources={name: kind for kind, name in kafka.topics.by_kind().items()},
        trusted=frozenset(kafka.trusted_topics),
        assets=f"{kafka.group}-assets",
        relays=f"{kafka.group}-relays",
    )


def engine_settings(settings: Settings) -> EngineSettings:
    """Return what a configuration asks of the engine."""
    kafka = settings.kafka
    secured = connection_of(settings)
    return EngineSettings(
        group=kafka.group,
        bootstrap=kafka.bootstrap,
        source_topics=topic_roles(settings).all,
        partitions=kafka.partitions,
        data_folder=settings.data_folder,
        max_batch_records=settings.limits.max_batch_records,
        max_queued_records=settings.limits.max_queued_records,
        concurrent_batches=settings.limits.concurrent_batches,
        session_timeout_seconds=kafka.session_timeout_seconds,
        heartbeat_seconds=kafka.heartbeat_seconds,
        commit_interval_seconds=kafka.commit_interval_seconds,
        drain_seconds=settings.drain_seconds,
        stop_seconds=2 * settings.drain_seconds + 20,
        standby_replicas=kafka.standby_replicas,
        replication_factor=kafka.replication_factor,
        declare_topics=False,
        max_record_bytes=LARGE_MESSAGE_BYTES,
        instance_id=kafka.instance_id,
        credentials=secured.credentials,
        client=secured.client,
    )


def residue_key(settings: Settings) -> Callable[[bytes], bytes]:
    """Return how the key of an erased case is hashed."""
    secret = settings.erasure_key.get_secret_value() if settings.erasure_key is not None else ""
    hash_key = hashlib.sha256(f"{settings.kafka.group}:{secret}".encode()).digest()
    return lambda key: RESIDUE_PREFIX + hashlib.blake2b(key, key=hash_key, digest_size=16).hexdigest().encode()


def connection_of(settings: Settings) -> Connection:
    """Return how a configuration speaks to the brokers. Raises ConnectError if a certificate or key cannot be read."""
    kafka = settings.kafka
    encrypts = kafka.security_protocol in ("SSL", "SASL_SSL")
    return connection(
        kafka.security_protocol,
        mechanism=kafka.sasl_mechanism,
        username=kafka.username,
        password=_revealed(kafka.password),
        tokens=_tokens_of(settings) if kafka.sasl_mechanism == "OAUTHBEARER" else None,
        tls=client_tls(kafka.ca_file, kafka.cert_file, kafka.key_file, _revealed(kafka.key_password))
        if encrypts
        else None,
    )


def _tokens_of(settings: Settings) -> AbstractTokenProvider:
    kafka = settings.kafka
    if kafka.oauth_token_file is not None:
        return TokenFile(kafka.oauth_token_file, kafka.oauth_extensions)
    return TokenEndpoint(
        kafka.oauth_token_url or "",
        kafka.oauth_client_id or "",
        _revealed(kafka.oauth_client_secret) or "",
        tls=client_tls(kafka.oauth_ca_file, group="kafka.oauth_"),
        scope=kafka.oauth_scope,
        extensions=kafka.oauth_extensions,
    )


def _revealed(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


def registry_of(settings: Settings) -> Registry | None:
    """Return the schema registry a configuration names, with its login."""
    schema = settings.schema
    if schema.registry_url is None:
        return None
    headers: dict[str, str] = {}
    if schema.registry_username is not None and schema.registry_password is not None:
        login = f"{schema.registry_username}:{schema.registry_password.get_secret_value()}"
        headers = {"Authorization": f"Basic {b64encode(login.encode()).decode()}"}
    return Registry(schema.registry_url, headers, ca_file=schema.registry_ca_file)


def logging_config(settings: Settings) -> dict[str, Any]:
    """Return the logging configuration: one JSON object a line, or text for people.

    Only what cxstream says itself is written at DEBUG: there the libraries write requests, logins and records as they
    are.
    """
    shared = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: Any = (
        structlog.processors.JSONRenderer() if settings.log.format == "json" else structlog.dev.ConsoleRenderer()
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": shared,
                "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
            }
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": max(_level_number(settings.log.level), logging.INFO)},
        "loggers": {"cxstream": {"level": settings.log.level}},
    }


def _level_number(name: str) -> int:
    return logging.getLevelNamesMapping()[name]


def pages_of(worker: Worker, settings: Settings) -> Pages:
    """Return the pages a worker serves, for the whole job."""
    shown, token = settings.pages, settings.http.case_data_token
    live = WorkerLive(
        worker,
        settings,
        partition_of=lambda case_id: partition_of(case_id.encode(), settings.kafka.partitions),
        residue_key=residue_key(settings),
        wall_ms=wall_ms,
        count=worker.activity.page_limit,
    )
    limits = Limits(shown.rows, shown.workers_at_once, shown.answer_seconds, shown.answer_max_bytes)
    secret = token.get_secret_value() if token is not None else None
    return Pages(live, token=secret, limits=limits, count=worker.activity.page_limit)


def topics_of(settings: Settings) -> TopicTable:
    """Return the table of all topics a configuration names."""
    kafka = settings.kafka
    return topic_table(
        group=kafka.group,
        sources=kafka.topics.by_kind(),
        verdicts=kafka.verdicts,
        trusted=kafka.trusted_topics,
        partitions=kafka.partitions,
        replication_factor=kafka.replication_factor,
    )


def recorded_policies(settings: Settings) -> list[Succession]:
    """Return the policies the group has judged by, the first one held against the defaults. Raises KafkaError."""
    kafka = settings.kafka
    reading = read_policies(watermarks_topic(kafka.group), kafka.bootstrap, connection_of(settings).client)
    return list(succession(asyncio.run(reading), policy_stated(Settings())))


async def search_for_garbage(app: EngineApp) -> None:
    """Search for it now and then, as long as the worker lives, and rather not while there is a backlog in memory."""
    put_off = 0
    while not app.should_stop:
        await asyncio.sleep(SEARCH_SECONDS)
        put_off += 1
        if app.batches.queued_records <= SEARCHED_RECORDS or put_off > SEARCH_PUT_OFF:
            gc.collect()
            put_off = 0


def main(settings: Settings) -> NoReturn:
    """Check the topics, then run a worker until SIGTERM, SIGINT or a crash, and end the process.

    Raises TopicsError with what to mend if the topics are not as they must be, ConnectError if the brokers refuse this
    client as it is configured.
    """
    logging.config.dictConfig(logging_config(settings))
    kafka, http = settings.kafka, settings.http
    client = connection_of(settings).client
    started = check(kafka.bootstrap, topics_of(settings), declare=kafka.declare_topics, client=client)
    for finding in asyncio.run(started):
        logger.warning("%s", finding)
    app = EngineApp(engine_settings(settings), logging_config=logging_config(settings))
    worker = Worker(settings, app)
    collector = Collector(worker.snapshot, levels=worker.windows.levels)
    web = Server(
        lambda accept: page(collector, worker.activity.registry, accept),
        worker,
        host=http.host,
        port=http.port,
        catalogue=settings.catalogue(),
        pages=pages_of(worker, settings),
        more=(source_pages(worker.sources, worker.version),),
        tls=server_tls(http.cert_file, http.key_file, _revealed(http.key_password), group="http."),
        max_connections=http.max_connections,
        refused=worker.activity.http_refused,
    )

    async def start() -> None:
        await web.start()
        worker.advertise(advertised_url(settings, web.port))
        await worker.start()
        app.add_future(search_for_garbage(app))

    app.hooks.on_start = start
    gc.collect()
    gc.freeze()  # what is there now lasts as long as the process
    gc.disable()
    run(app, loglevel=settings.log.level)
