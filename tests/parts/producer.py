"""A job's topics on a broker many tests share, and an upstream that writes to them: events as Avro, or any bytes."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from cxstream.demo.upstream import Delivery
from cxstream.domain.facts import admit
from cxstream.domain.policy import Policy
from cxstream.domain.vocabulary import TOPICS
from cxstream.kafka.codec import DELIVERED_AT, Codec
from cxstream.kafka.schemas import Schemas
from cxstream.kafka.topics import TopicTable, check, topic_table
from cxstream.offline.events_file import Delivered

SKEW_MS = Policy().clock_skew_ms

Header = tuple[str, bytes]


def first_schemas() -> Schemas:
    """Return the first version of each schema: what upstreams write that have not moved to a later one."""
    packaged = Schemas.packaged()
    return Schemas({name: packaged.text(name) for name in packaged.names if name.endswith("/v1")})


class Message(NamedTuple):
    """A record to produce: with a partition it goes there, else where murmur2 of its key sends it."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[Header] = ()
    partition: int | None = None


class Job:
    """One consumer group with topics of its own, so that tests share a broker and nothing else. Its methods block."""

    def __init__(
        self, bootstrap: str, name: str, *, partitions: int = 4, trusted: bool = True, copies: int = 1
    ) -> None:
        """Choose names nobody else has; `trusted` topics say in a header when an event was delivered."""
        self.bootstrap = bootstrap
        self.copies = copies
        self.group = f"{name}-{uuid.uuid4().hex[:8]}"
        self.partitions = partitions
        self.topics = {kind: f"{self.group}.{kind}" for kind in TOPICS}
        self.trusted = tuple(self.topics.values()) if trusted else ()
        self.codec = Codec(first_schemas(), skew_ms=SKEW_MS)

    @property
    def table(self) -> TopicTable:
        """Every topic of the job as it should be."""
        return topic_table(
            group=self.group,
            sources=self.topics,
            verdicts=f"{self.group}.verdicts",
            trusted=self.trusted,
            partitions=self.partitions,
            replication_factor=self.copies,
        )

    def settings(self, folder: Path) -> dict[str, str]:
        """Return the settings of a worker of this job that keeps its files in `folder`, as environment variables."""
        return {
            "CXSTREAM_KAFKA_BOOTSTRAP": self.bootstrap,
            "CXSTREAM_KAFKA_GROUP": self.group,
            **{f"CXSTREAM_KAFKA_TOPICS_{kind.upper()}": name for kind, name in self.topics.items()},
            "CXSTREAM_KAFKA_VERDICTS_TOPIC": f"{self.group}.verdicts",
            "CXSTREAM_KAFKA_TRUSTED_TOPICS": ",".join(self.trusted),
            "CXSTREAM_KAFKA_PARTITIONS": str(self.partitions),
            "CXSTREAM_KAFKA_REPLICATION_FACTOR": str(self.copies),
            "CXSTREAM_KAFKA_SESSION_TIMEOUT_SECONDS": "6",
            "CXSTREAM_KAFKA_HEARTBEAT_SECONDS": "1",
            "CXSTREAM_DATA_FOLDER": str(folder),
            "CXSTREAM_DRAIN_SECONDS": "5",
            "CXSTREAM_LINGER_SECONDS": "2",
            "CXSTREAM_LOG_FORMAT": "console",
        }

    def declare(self) -> None:
        """Create the topics."""
        asyncio.run(check(self.bootstrap, self.table, declare=True))

    def declare_sources(self) -> None:
        """Create the source topics alone, for tests without a worker."""
        for kind in self.topics:
            self.declare_miscounted(kind, self.partitions)

    def declare_miscounted(self, kind: str, partitions: int) -> None:
        """Create one source topic, with another number of partitions than the job has."""

        async def run() -> None:
            admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
            try:
                await admin.start()
                await admin.create_topics([NewTopic(self.topics[kind], partitions, 1)])
            finally:
                await admin.close()

        asyncio.run(run())

    def message(self, delivery: Delivery) -> Message:
        """Return an event as the record a true upstream would write."""
        key = str(delivery.event["case_id"]).encode()
        headers = [(DELIVERED_AT, str(delivery.delivered_ms).encode())] if self.trusted else []
        return Message(self.topics[delivery.topic], key, self.codec.encode(delivery.event), headers)

    def deliver(self, deliveries: Iterable[Delivery]) -> None:
        """Produce events in this order, and return when the broker has acknowledged all of them."""
        self.produce(map(self.message, deliveries))

    def produce(self, messages: Iterable[Message], compression: str | None = None) -> None:
        """Produce records as they are, and return when the broker has acknowledged all of them.

        `compression` is what Kafka calls it: None, "zstd", "lz4".
        """

        async def run() -> None:
            # aiokafka's own partitioner is Java's: murmur2 of the key.
            async with AIOKafkaProducer(
                bootstrap_servers=self.bootstrap, linger_ms=5, acks="all", compression_type=compression
            ) as producer:
                sent = [
                    await producer.send(topic, value, key, partition=partition, headers=list(headers))
                    for topic, key, value, headers, partition in messages
                ]
                await asyncio.gather(*sent)

        asyncio.run(run())

    def read(self, topic: str, first: Mapping[int, int] = MappingProxyType({})) -> list[Any]:
        """Return every record of a topic (aiokafka's), partition by partition, in order of offset.

        `first` are the offsets to begin at, by partition; of others from the start.
        """

        async def run() -> list[Any]:
            async with AIOKafkaConsumer(bootstrap_servers=self.bootstrap, auto_offset_reset="earliest") as consumer:
                tps = await _partitions(consumer, topic)
                consumer.assign(tps)
                ends = await consumer.end_offsets(tps)
                records: dict[TopicPartition, list[Any]] = {tp: [] for tp in tps}
                for tp in tps:
                    if tp.partition in first:
                        consumer.seek(tp, first[tp.partition])
                behind = {tp for tp, end in ends.items() if end > first.get(tp.partition, 0)}
                while behind:
                    for tp, fetched in (await consumer.getmany(timeout_ms=200)).items():
                        records[tp] += fetched
                    behind = {tp for tp in behind if await consumer.position(tp) < ends[tp]}
                return [record for tp in tps for record in records[tp]]

        return asyncio.run(asyncio.wait_for(run(), 30))

    def records(self) -> int:
        """Return how many records are in the source topics."""

        async def run() -> int:
            async with AIOKafkaConsumer(bootstrap_servers=self.bootstrap) as consumer:
                tps = [tp for topic in self.topics.values() for tp in await _partitions(consumer, topic)]
                return sum((await consumer.end_offsets(tps)).values())

        return asyncio.run(run())

    def committed(self) -> int:
        """Return up to where the group has committed its source topics, added up over their partitions."""

        async def run() -> int:
            admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
            try:
                await admin.start()
                offsets = await admin.list_consumer_group_offsets(self.group)
            finally:
                await admin.close()
            return sum(max(0, one.offset) for tp, one in offsets.items() if tp.topic in self.topics.values())

        return asyncio.run(run())


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> list[TopicPartition]:
    await consumer._client._wait_on_metadata(topic)
    return [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]


def facts_of(deliveries: Iterable[Delivery]) -> list[Delivered]:
    """Return what the events say, as `cxstream judge` takes it."""
    return [Delivered(*admit(one.event, one.delivered_ms, skew_ms=SKEW_MS)) for one in deliveries]
