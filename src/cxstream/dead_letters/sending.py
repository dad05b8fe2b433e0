"""Sends letters again, and parks them, with every one acknowledged before it is said to be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from cxstream.dead_letters.letters import PARKED_SUFFIX
from cxstream.dead_letters.reading import Brokers
from cxstream.domain.instant import DAY_MS
from cxstream.kafka.dead_letters import Header
from cxstream.kafka.topics import DEAD_LETTER_RETENTION_MS, LARGE_MESSAGE_BYTES

PARKED_RETENTION_MS = DEAD_LETTER_RETENTION_MS + 60 * DAY_MS
"""Longer than dead letters are kept: what is parked must not come back as a dead letter."""
BATCH_BYTES = 256 * 1024
REQUEST_MS = 30_000


class Posting(NamedTuple):
    """One record to send."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: list[Header]


class NoParkingError(Exception):
    """A topic for parked letters is missing; the text says how to create it."""


class Sender:
    """An idempotent producer, and what it needs to know of the topics."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        """Take a producer that runs."""
        self._producer = producer

    async def send(self, postings: Sequence[Posting]) -> None:
        """Send records in this order; returns when all are acknowledged. Raises KafkaError."""
        await asyncio.gather(*[await self._send(one) for one in postings])

    async def _send(self, one: Posting) -> asyncio.Future[Any]:
        future: asyncio.Future[Any]
        if one.key is None and one.value is None:  # a record like any other, but `send` asserts that there is none
            batch = self._producer.create_batch()
            batch.append(timestamp=None, key=None, value=None, headers=one.headers)
            batch.close()
            future = await self._producer.send_batch(batch, one.topic, partition=one.partition)
        else:
            future = await self._producer.send(one.topic, one.value, one.key, one.partition, headers=one.headers)
        return future


@asynccontextmanager
async def sending(brokers: Brokers) -> AsyncIterator[Sender]:
    """Connect a sender. Raises KafkaError."""
    producer = AIOKafkaProducer(
        bootstrap_servers=brokers.bootstrap,
        acks="all",
        enable_idempotence=True,
        linger_ms=5,
        max_batch_size=BATCH_BYTES,
        max_request_size=LARGE_MESSAGE_BYTES,
        request_timeout_ms=REQUEST_MS,
        **brokers.client,
    )
    try:
        await producer.start()
        yield Sender(producer)
    finally:
        await producer.stop()


async def make_parking(
    brokers: Brokers, sources: Sequence[str], *, partitions: int, replication_factor: int, declare: bool
) -> None:
    """See to it that the topics for parked letters are there. Raises NoParkingError, KafkaError."""
    admin = AIOKafkaAdminClient(bootstrap_servers=brokers.bootstrap, request_timeout_ms=REQUEST_MS, **brokers.client)
    configuration = {
        "cleanup.policy": "delete",
        "message.timestamp.type": "LogAppendTime",
        "retention.ms": str(PARKED_RETENTION_MS),
        "max.message.bytes": str(LARGE_MESSAGE_BYTES),
        "min.insync.replicas": str(max(1, min(2, replication_factor - 1))),
    }
    try:
        await admin.start()
        there = set(await admin.list_topics())
        missing = [source + PARKED_SUFFIX for source in sources if source + PARKED_SUFFIX not in there]
        if not missing:
            return
        if not declare:
            settings = " ".join(f"--config {key}={value}" for key, value in configuration.items())
            raise NoParkingError(
                f"there is no topic {', '.join(missing)}. Create it (kafka-topics.sh --create --topic {missing[0]}"
                f" --partitions {partitions} --replication-factor {replication_factor} {settings}), or set"
                " kafka.declare_topics = true"
            )
        made = [NewTopic(name, partitions, replication_factor, topic_configs=configuration) for name in missing]
        response = await admin.create_topics(made)
        for name, code, *_words in response.topic_errors:
            if code and for_code(code) is not TopicAlreadyExistsError:
                raise NoParkingError(f"the topic {name} could not be created ({for_code(code).__name__})")
    finally:
        await admin.close()
