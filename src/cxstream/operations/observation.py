"""Everything the doctor judges by, asked of the brokers once: nothing is written, and no topic is made by asking."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from cxstream.config import Settings
from cxstream.domain.facts import RejectedError
from cxstream.domain.instant import NEVER_MS
from cxstream.engine.policies import PolicyRecord
from cxstream.kafka import topics
from cxstream.kafka.cluster import Bounds, Cluster, ClusterSeen, GroupSeen, Reader, Record
from cxstream.kafka.codec import Codec
from cxstream.kafka.schemas import RegistryUnavailableError, SchemaIds, Schemas, UnknownSchemaIdError
from cxstream.kafka.topics import TopicTable
from cxstream.kafka.watermarks import read_policies
from cxstream.operations.findings import Progress, no_progress
from cxstream.worker import connection_of, registry_of, topics_of

LOG_APPEND_TIME = 1
"""aiokafka's `timestamp_type` of a record that its broker has stamped."""
BROKER_SETTINGS = ("group.min.session.timeout.ms", "group.max.session.timeout.ms", "group.max.size")
TAIL_READ_BYTES = 256 * 1024
"""Fetched of a partition at a time: only its newest records are wanted."""


class Sample(NamedTuple):
    """One record of a source topic as a worker would take it."""

    partition: int
    key: bytes | None
    stamped_ms: int | None
    """When its broker took it; None where its producer says when."""
    reason: str | None
    """Why it would become a dead letter, None if it would not; what is too far in the future is judged apart."""
    detail: str
    lead_ms: int | None
    """By how much the event is later than its delivery (negative: earlier)."""


class Arrivals(NamedTuple):
    """Records that were written while the doctor looked: between the two instants, by the local clock."""

    asked_ms: int
    until_ms: int
    stamped_ms: Sequence[int]


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What was seen of one job."""

    settings: Settings
    table: TopicTable
    now_ms: int
    cluster: ClusterSeen
    topic_findings: Sequence[topics.Finding]
    """What the check of a worker at its start would say."""
    broker_configuration: Mapping[str, str]
    group: GroupSeen
    committed: Mapping[TopicPartition, int]
    bounds: Mapping[TopicPartition, Bounds]
    """Of the partitions that have a leader, of source topics, relays, assets, changelogs and verdicts."""
    samples: Mapping[str, Sequence[Sample]]
    """By source topic."""
    unreadable: Mapping[str, str]
    """Topics that could not be read, with the name of the error."""
    unread_since_ms: Mapping[TopicPartition, int]
    """When the oldest record that is not processed yet was stamped, where there is one."""
    arrivals: Arrivals
    policies: Sequence[PolicyRecord]
    registry_failure: str | None
    """What the schema registry answered, None if it is well or none is configured."""


async def observe(
    settings: Settings,
    *,
    samples: int,
    listen_seconds: float,
    timeout_seconds: float,
    wall_ms: Callable[[], int],
    progress: Progress = no_progress,
) -> Observation:
    """Look at the job of a configuration: `samples` records of each source partition, and what arrives meanwhile.

    Raises UnreachableError where no broker can be spoken to, KafkaError where one does not answer later on.
    """
    kafka = settings.kafka
    table, client = topics_of(settings), connection_of(settings).client
    async with Cluster(kafka.bootstrap, client) as cluster:
        progress("brokers and topics", 0, 1)
        seen = await cluster.look([topic.name for topic in table.topics])
        topic_findings = await cluster.again(lambda: topics.inspect(cluster.admin, kafka.bootstrap, table, client))
        reached = [broker for broker in seen.brokers if broker.unreachable is None]
        configuration = await cluster.broker_configuration(reached[0].number, BROKER_SETTINGS) if reached else {}
        progress("the group", 0, 1)
        group = await cluster.group(kafka.group)
        committed = await cluster.committed(kafka.group)
        look = _Look(settings, seen, samples, timeout_seconds, wall_ms, progress)
        async with cluster.reader(max_partition_fetch_bytes=TAIL_READ_BYTES) as reader:
            await look.read(reader, table, committed, listen_seconds)
        progress("policies", 0, 1)
        policies: Sequence[PolicyRecord] = ()
        try:
            policies = await read_policies(table.watermarks.name, kafka.bootstrap, client)
        except KafkaError as error:
            look.unreadable[table.watermarks.name] = type(error).__name__
        registry_failure = look.registry_failure or await _registry_failure(settings)
    return Observation(
        settings=settings,
        table=table,
        now_ms=wall_ms(),
        cluster=seen,
        topic_findings=topic_findings,
        broker_configuration=configuration,
        group=group,
        committed=committed,
        bounds=look.bounds,
        samples=look.samples,
        unreadable=look.unreadable,
        unread_since_ms=look.unread_since_ms,
        arrivals=look.arrivals,
        policies=policies,
        registry_failure=registry_failure,
    )


class _Look:
    """The part that reads records."""

    def __init__(
        self,
        settings: Settings,
        seen: ClusterSeen,
        count: int,
        timeout_seconds: float,
        wall_ms: Callable[[], int],
        progress: Progress,
    ) -> None:
        self._settings = settings
        self._seen = seen
        self._count = count
        self._timeout_seconds = timeout_seconds
        self._wall_ms = wall_ms
        self._progress = progress
        schemas = Schemas.packaged()
        self._ids = SchemaIds(schemas, settings.schema.ids, registry_of(settings))
        # What is in the future is taken here: by how much is what is asked.
        limit = settings.limits.max_message_bytes
        self._codec = Codec(schemas, self._ids, skew_ms=NEVER_MS, max_message_bytes=limit)
        self.bounds: dict[TopicPartition, Bounds] = {}
        self.samples: dict[str, list[Sample]] = {}
        self.unreadable: dict[str, str] = {}
        self.unread_since_ms: dict[TopicPartition, int] = {}
        self.arrivals = Arrivals(0, 0, ())
        self.registry_failure: str | None = None

    async def read(
        self, reader: Reader, table: TopicTable, committed: Mapping[TopicPartition, int], listen_seconds: float
    ) -> None:
        """Ask where topics begin and end, sample the sources, and listen to what arrives."""
        names = [*table.consumed, *(topic.name for topic in table.changelogs.values())]
        names += [] if table.verdicts is None else [table.verdicts.name]
        try:
            self._progress("how far topics go", 0, 1)
            self.bounds = await reader.bounds([tp for name in names for tp in self._led(name)])
        except KafkaError:  # one of them at least: which?
            for done, name in enumerate(names):
                self._progress("how far topics go", done, len(names))
                await self._try(name, self._measure(reader, name))
        kinds = {topic.name: (kind, topic.trusted) for kind, topic in table.sources.items()}
        for name, (kind, trusted) in kinds.items():
            self.samples[name] = []
            await self._try(name, self._sample(reader, name, kind, trusted=trusted))
        unread = {
            tp: max(committed.get(tp, 0), first)
            for tp, (first, end) in self.bounds.items()
            if tp.topic in table.consumed and tp.topic not in self.unreadable and committed.get(tp, first) < end
        }
        self._progress("what is not processed yet", 0, 1)
        found = await reader.first(unread, within_seconds=self._timeout_seconds / 2)
        self.unread_since_ms = {tp: record.timestamp for tp, record in found.items()}
        await self._listen(reader, [name for name in kinds if name not in self.unreadable], listen_seconds)

    async def _try(self, name: str, reading: Any) -> None:  # noqa: ANN401 - a coroutine
        try:
            await reading
        except KafkaError as error:
            self.unreadable[name] = type(error).__name__

    def _led(self, name: str) -> list[TopicPartition]:
        topic = self._seen.topics[name]
        return [TopicPartition(name, number) for number, one in topic.partitions.items() if one.leader is not None]

    async def _measure(self, reader: Reader, name: str) -> None:
        self.bounds |= await reader.bounds(self._led(name))

    async def _sample(self, reader: Reader, name: str, kind: str, *, trusted: bool) -> None:
        ours = {tp: bounds for tp, bounds in self.bounds.items() if tp.topic == name}
        records = await reader.tail(
            ours,
            self._count,
            within_seconds=self._timeout_seconds,
            progress=lambda done, there_are: self._progress(f"records of {name}", done, there_are),
        )
        for record in records:
            self.samples[name].append(await self._taken(record, kind, trusted=trusted))

    async def _taken(self, record: Record, kind: str, *, trusted: bool) -> Sample:
        stamped_ms = record.timestamp if record.timestamp_type == LOG_APPEND_TIME else None
        reason: str | None = None
        detail, lead_ms = "", None
        for _attempt in range(2):
            try:
                _case, fact = self._codec.decode(
                    kind, record.key, record.value, record.timestamp, record.headers, trusted=trusted
                )
                lead_ms = fact.at_ms - fact.delivered_ms
            except RejectedError as error:
                reason, detail = error.reason, str(error)
            except UnknownSchemaIdError as error:
                try:
                    await self._ids.fetch(error.schema_id)
                except RegistryUnavailableError as failure:
                    self.registry_failure = str(failure)
                    reason, detail = "registry_unavailable", str(failure)
                else:
                    continue
            break
        return Sample(record.partition, record.key, stamped_ms, reason, detail, lead_ms)

    async def _listen(self, reader: Reader, names: Sequence[str], seconds: float) -> None:
        self._progress("what arrives", 0, 1)
        by_broker = [name for name in names if _stamped_on_arrival(self._seen, name)]
        tps = [tp for name in by_broker for tp in self._led(name)]
        asked_ms = self._wall_ms()
        ends = {tp: bounds.end for tp, bounds in (await reader.bounds(tps)).items()}
        records = await reader.arriving(ends, seconds=seconds)
        self.arrivals = Arrivals(asked_ms, self._wall_ms(), [record.timestamp for record in records])
        self._progress("what arrives", 1, 1)


def _stamped_on_arrival(seen: ClusterSeen, name: str) -> bool:
    return (seen.topics[name].configuration or {}).get("message.timestamp.type") == "LogAppendTime"


async def _registry_failure(settings: Settings) -> str | None:
    """Ask the registry for an id that it may not have: a registry says so."""
    registry = registry_of(settings)
    if registry is None:
        return None
    try:
        await registry.lookup(1)
    except RegistryUnavailableError as error:
        return str(error)
    except ValueError:
        return None  # it answered like a registry: with a schema that is not ours to like
    return None


def by_topic(bounds: Mapping[TopicPartition, Bounds]) -> dict[str, dict[int, Bounds]]:
    """Return the bounds by topic and partition number."""
    found: dict[str, dict[int, Bounds]] = defaultdict(dict)
    for tp, one in bounds.items():
        found[tp.topic][tp.partition] = one
    return dict(found)


def wall_ms() -> int:
    """Return the wall clock in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000
