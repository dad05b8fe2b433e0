"""The composition root: settings become a Faust app with its agent, ledgers, metrics and pages."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import logging.config
import time
from base64 import b64encode
from importlib.metadata import version
from typing import Any, NamedTuple, NoReturn

import msgspec
import structlog
from aiokafka.partitioner import murmur2

from cxstream.config import Settings
from cxstream.domain.instant import SECOND_MS
from cxstream.engine.assess import Clock
from cxstream.exposition.activity import Activity
from cxstream.exposition.collector import Collector, page
from cxstream.exposition.snapshot import Objective, PartitionSnapshot, WorkerSnapshot, WorkerState
from cxstream.kafka.case_agent import CaseAgent, TopicRoles
from cxstream.kafka.changelog_table import PartitionLostError
from cxstream.kafka.codec import REASONS, Codec
from cxstream.kafka.connection import Connection, connection
from cxstream.kafka.engine import EngineApp, EngineSettings, run
from cxstream.kafka.partition import Partition
from cxstream.kafka.partition_batches import PartitionBatch, Progress
from cxstream.kafka.schemas import Registry, SchemaIds, Schemas
from cxstream.kafka.topics import LARGE_MESSAGE_BYTES, TopicTable, check, topic_table
from cxstream.vital_signs import CATALOGUE
from cxstream.web.probes import LoopTick
from cxstream.web.server import Server

logger = logging.getLogger(__name__)

TICK_SECONDS = 0.5
"""How often the clock is looked at for cases it may have changed."""


class _Lingering(NamedTuple):
    """The last figures of a lost partition, shown until the new owner speaks (hand-over)."""

    snapshot: PartitionSnapshot
    until_ms: int


class Worker:
    """One worker of the consumer group: owns partitions, judges their cases, shows what they come to."""

    def __init__(self, settings: Settings) -> None:
        """Wire everything; nothing connects before the app runs."""
        self.settings = settings
        self.version = version("cxstream")
        self._windows = settings.windows()
        self._policy = settings.policy()
        self._policy_fingerprint = hashlib.sha256(msgspec.json.encode(self._policy, order="sorted")).hexdigest()[:12]
        self._roles = topic_roles(settings)
        self._partitions: dict[int, Partition] = {}
        self._recovering: frozenset[int] = frozenset()
        self._given_up: dict[int, Partition] = {}
        self._lingering: dict[int, _Lingering] = {}
        self._state: WorkerState = "starting"
        self._rebalances = 0
        self._capped = 0
        self._rebalancing_since_ms: int | None = None
        kafka = settings.kafka
        self.app = EngineApp(
            EngineSettings(
                group=kafka.group,
                bootstrap=kafka.bootstrap,
                source_topics=self._roles.all,
                partitions=kafka.partitions,
                data_folder=settings.data_folder,
                max_batch_records=settings.limits.max_batch_records,
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
                credentials=connection_of(settings).credentials,
            ),
            logging_config=logging_config(settings),
        )
        self._cases = self.app.changelog_table("cases")
        self._boards = self.app.changelog_table("boards")
        schemas = Schemas.packaged()
        schema_ids = SchemaIds(schemas, settings.schema.ids, registry_of(settings))
        self.activity = Activity(kafka.group, reasons=(*REASONS, "wrong_partition"))
        self._agent = CaseAgent(
            catalogue=CATALOGUE,
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
            produce=self.app.produce_many,
            partition=self._owned,
            clock=self._read_clock,
            wall_ms=wall_ms,
            activity=self.activity,
            partition_of=lambda key: (murmur2(key) & 0x7FFFFFFF) % kafka.partitions,
            version=self.version,
            due_limit=settings.limits.max_batch_records,
            max_record_bytes=LARGE_MESSAGE_BYTES // 8,
        )
        self.app.process(self._agent.process)
        self.app.hooks.on_partitions_revoked = self._on_revoked
        self.app.hooks.on_partitions_assigned = self._on_assigned
        self.app.hooks.on_recovered = self._on_recovered
        self.collector = Collector(self.snapshot, levels=self._windows.levels)
        self._loop_tick = LoopTick()
        self.web = Server(
            lambda accept: page(self.collector, self.activity.registry, accept),
            self,
            host=settings.http.host,
            port=settings.http.port,
        )
        self.app.hooks.on_start = self._start

    # --- ownership

    async def _on_revoked(self, numbers: frozenset[int]) -> None:
        """Keep showing the last figures of what is given up, with the generation they were owned in."""
        now_ms = wall_ms()
        until_ms = now_ms + int(self.settings.linger_seconds * SECOND_MS)
        for number in numbers:
            partition = self._partitions.pop(number, None)
            if partition is not None:
                self._given_up[number] = partition
                self._lingering[number] = _Lingering(self._partition_snapshot(partition), until_ms)
        self._recovering = frozenset()
        if self.app.should_stop:
            self._state = "draining"
            return
        self._state = "rebalancing"
        self._rebalancing_since_ms = now_ms
        self._rebalances += 1

    async def _on_assigned(self, numbers: frozenset[int]) -> None:
        self._recovering = numbers
        self._state = "recovering"

    async def _on_recovered(self, numbers: frozenset[int]) -> None:
        """Take over: ledgers of kept partitions are still right, the others are added up from their records."""
        for number in sorted(numbers):
            partition = self._given_up.pop(number, None) if number in self.app.kept else None
            if partition is None:
                partition = Partition(number, self.app.generation, self._windows)
                await partition.rebuild(self._cases.items_of(number))
            partition.generation = self.app.generation
            self._partitions[number] = partition
            self._lingering.pop(number, None)
        self._capped += sum(partition.ledger.capped for partition in self._given_up.values())
        self._given_up.clear()
        self._recovering = frozenset()
        self._state = "running"
        if self._rebalancing_since_ms is not None:
            self.activity.rebalanced((wall_ms() - self._rebalancing_since_ms) / SECOND_MS)
            self._rebalancing_since_ms = None

    def _owned(self, number: int) -> Partition:
        partition = self._partitions.get(number)
        if partition is None:
            raise PartitionLostError(f"partition {number} is not owned")
        return partition

    # --- the clock

    def _read_clock(self, partition: Partition, batch: PartitionBatch | None) -> Clock:
        """Read the clock of a partition; what is in `batch` counts as taken."""
        lag = {source: progress.lag for source, progress in self._source_progress(partition.number).items()}
        if batch is not None and batch.tp.topic in self._roles.sources:
            source = self._roles.sources[batch.tp.topic]
            lag[source] = max(0, lag[source] - (batch.next_offset - batch.records[0].offset))
        return Clock.at(partition.clock.read(wall_ms(), lag) if lag else partition.clock.now_ms)

    def _source_progress(self, number: int) -> dict[str, Progress]:
        """Return how far ticket, dispatch and parts are in a partition; empty while it is not read."""
        sources = self._roles.sources
        return {sources[topic]: state for topic, state in self._progress(number).items() if topic in sources}

    def _progress(self, number: int) -> dict[str, Progress]:
        return {tp.topic: progress for tp, progress in self.app.batches.progress().items() if tp.partition == number}

    async def _start(self) -> None:
        await self.web.start()
        self.app.add_future(self._loop_tick.run())
        self.app.add_future(self._tick())

    async def _tick(self) -> None:
        """Let the clock have its say: judge due cases, note who caught up, drop what lingered long enough."""
        while not self.app.should_stop:
            now_ms = wall_ms()
            self._lingering = {n: kept for n, kept in self._lingering.items() if kept.until_ms > now_ms}
            for partition in list(self._partitions.values()):
                progress = self._progress(partition.number)
                if progress:
                    is_past = partition.observe(progress)
                    # Judged first: figures of an earlier clock must not be shown as those of now.
                    if await self._judge_due(partition) and is_past:
                        partition.caught_up = True
            await asyncio.sleep(TICK_SECONDS)

    async def _judge_due(self, partition: Partition) -> bool:
        """Judge the cases that are due; False if the partition was lost over it."""
        try:
            await self._agent.judge_due(partition)
        except PartitionLostError:
            return False
        except Exception as error:
            await self.app.crash(error)
            raise
        return True

    # --- what is shown

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
            now_ms=wall_ms(),
            version=self.version,
            policy=self._policy_fingerprint,
            objectives=[Objective(sign, "job", "", ratio) for sign, ratio in self.settings.objective_ratios().items()],
            withhold_business=self._fenced,
            rebalances=self._rebalances,
            label_values_capped=self._capped + sum(partition.ledger.capped for partition in self._partitions.values()),
        )

    @property
    def _fenced(self) -> bool:
        """Whether the group was not heard for a session: somebody else may own what this worker thinks it does."""
        return bool(self._partitions) and self.app.consumer.lease_expired

    def _partition_snapshot(self, partition: Partition) -> PartitionSnapshot:
        number, now_ms = partition.number, wall_ms()
        lag = {source: progress.lag for source, progress in self._source_progress(number).items()}
        if partition.caught_up and lag:
            partition.ledger.advance(partition.clock.read(now_ms, lag))
        took = partition.clock.delivered_ms
        return PartitionSnapshot(
            partition=number,
            generation=partition.generation,
            ready=partition.caught_up,
            rows=partition.rows() if partition.caught_up else (),
            watermark_ms=partition.clock.now_ms,
            source_watermark_ms=dict(took),
            lag_records=lag,
            lag_seconds={
                topic: max(0, now_ms - took.get(topic, now_ms)) / SECOND_MS if behind else 0.0
                for topic, behind in lag.items()
            },
            cases=self._cases.count(number),
            boards=self._boards.count(number),
            recovery_remaining=self._recovery_remaining(number),
            version=partition.ledger.version,
        )

    def _recovering_snapshot(self, number: int) -> PartitionSnapshot:
        """Say that the partition is this worker's to recover: owned, not ready, nothing to show yet."""
        return PartitionSnapshot(
            partition=number,
            generation=self.app.generation,
            ready=False,
            rows=(),
            watermark_ms=None,
            cases=self._cases.count(number),
            boards=self._boards.count(number),
            recovery_remaining=self._recovery_remaining(number),
        )

    def _recovery_remaining(self, number: int) -> dict[str, int]:
        tables = {table.changelog_topic_name: table.name for table in (self._cases, self._boards)}
        remaining = self.app.recovery_remaining().items()
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
        return self._rebalances > 0 or self._state == "running"


def topic_roles(settings: Settings) -> TopicRoles:
    """Return the topics of a configuration by the part they play."""
    kafka = settings.kafka
    return TopicRoles(
        sources={name: kind for kind, name in kafka.topics.by_kind().items()},
        trusted=frozenset(kafka.trusted_topics),
        assets=f"{kafka.group}-assets",
        relays=f"{kafka.group}-relays",
    )


def connection_of(settings: Settings) -> Connection:
    """Return how a configuration speaks to the brokers."""
    kafka = settings.kafka
    return connection(
        kafka.security_protocol,
        mechanism=kafka.sasl_mechanism,
        username=kafka.username,
        password=kafka.password.get_secret_value() if kafka.password else None,
        ca_file=kafka.ca_file,
        cert_file=kafka.cert_file,
        key_file=kafka.key_file,
    )


def registry_of(settings: Settings) -> Registry | None:
    """Return the schema registry a configuration names, with its login."""
    schema = settings.schema
    if schema.registry_url is None:
        return None
    if schema.registry_username is None or schema.registry_password is None:
        return Registry(schema.registry_url)
    login = f"{schema.registry_username}:{schema.registry_password.get_secret_value()}"
    return Registry(schema.registry_url, {"Authorization": f"Basic {b64encode(login.encode()).decode()}"})


def wall_ms() -> int:
    """Return the wall clock in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def logging_config(settings: Settings) -> dict[str, Any]:
    """Return the logging configuration: one JSON object a line, or text for people."""
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
        "root": {"handlers": ["stderr"], "level": settings.log.level},
    }


def topics_of(settings: Settings) -> TopicTable:
    """Return the table of all topics a configuration names."""
    kafka = settings.kafka
    return topic_table(
        group=kafka.group,
        sources=kafka.topics.by_kind(),
        trusted=kafka.trusted_topics,
        partitions=kafka.partitions,
        replication_factor=kafka.replication_factor,
    )


def main(settings: Settings) -> NoReturn:
    """Check the topics, then run a worker until SIGTERM, SIGINT or a crash, and end the process.

    Raises TopicsError with what to mend if the topics are not as they must be.
    """
    logging.config.dictConfig(logging_config(settings))
    kafka = settings.kafka
    client = connection_of(settings).client
    started = check(kafka.bootstrap, topics_of(settings), declare=kafka.declare_topics, client=client)
    for finding in asyncio.run(started):
        logger.warning("%s", finding)
    run(Worker(settings).app, loglevel=settings.log.level)
