"""Sends events to Kafka, so that each is acknowledged by all brokers it must be on, and none is sent half."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType, TracebackType
from typing import Any, NamedTuple, Self, TypeVar

from aiokafka import AIOKafkaProducer

from cxstream.client.event import Event
from cxstream.client.records import DEFAULT_TOPICS, Record, Records, partitioner

Sendable = Event | Mapping[str, object]
"""A typed event, or one in the JSON vocabulary."""

MOST_IN_FLIGHT = 1_000
"""Events of one `send_all` that wait for their acknowledgement at a time."""

T = TypeVar("T")


class Sent(NamedTuple):
    """Where an event is, now that the brokers have acknowledged it."""

    topic: str
    partition: int
    offset: int
    case_id: str
    event_id: str


def wall_ms() -> int:
    """Return the wall clock in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class AsyncProducer:
    """Sends events from asyncio; `async with AsyncProducer("kafka-1:9092") as producer: await producer.send(event)`."""

    def __init__(
        self,
        bootstrap: str,
        *,
        topics: Mapping[str, str] = DEFAULT_TOPICS,
        schema_ids: Mapping[int, str] = MappingProxyType({}),
        client: Mapping[str, Any] = MappingProxyType({}),
        allow_unknown: bool = False,
        records: Records | None = None,
    ) -> None:
        """Prepare; nothing connects before `start`. Raises ValueError for a kind of topic there is none of.

        `topics` are the names of the source topics by kind (ticket, dispatch, parts). With `schema_ids`, the ids of
        packaged schemas at a registry like {7: "ticket/v1"}, messages of these are in Confluent framing.
        `client` are further arguments of an AIOKafkaProducer: security_protocol, ssl_context, sasl_mechanism ...
        With `allow_unknown`, types and fields that this version does not know are no error.
        `records` makes the records instead of what these say.
        """
        self._records = records or Records(wall_ms, topics, schema_ids, allow_unknown=allow_unknown)
        self._arguments = {
            "bootstrap_servers": bootstrap,
            "acks": "all",
            "enable_idempotence": True,
            "linger_ms": 5,
            **client,
            "partitioner": partitioner,
        }
        self._producer: AIOKafkaProducer | None = None

    async def start(self) -> None:
        """Connect. Raises KafkaError if no broker answers."""
        producer = AIOKafkaProducer(**self._arguments)
        try:
            await producer.start()
        except BaseException:
            await producer.stop()
            raise
        self._producer = producer

    async def close(self) -> None:
        """Send what is under way, and disconnect."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()

    async def send(self, event: Sendable, *, partition: int | None = None) -> Sent:
        """Send one event and return when it is acknowledged.

        Raises RejectedError, with the field and what is expected there, before anything is sent; ValueError for a
        `partition` the topic does not have; KafkaError if the brokers do not take it. Sending it again is safe: the
        same event_id with the same content is one fact.
        """
        return (await self.send_records([self._records.of(event)], partition=partition))[0]

    async def send_all(self, events: Iterable[Sendable], *, partition: int | None = None) -> list[Sent]:
        """Send events and return when all are acknowledged, in their order; the events of a case keep their order.

        Raises RejectedError for the first that is wrong, before anything is sent; KafkaError as `send`.
        """
        return await self.send_records([self._records.of(event) for event in events], partition=partition)

    async def send_records(self, records: Sequence[Record], *, partition: int | None = None) -> list[Sent]:
        """Send what `Records.of` made and return when all are acknowledged, in their order.

        Raises ValueError for a partition a topic does not have, before anything is sent; KafkaError as `send`.
        """
        if partition is not None:
            await self._refuse_partition(partition, {record.topic for record in records})
        sent: list[Sent] = []
        for first in range(0, len(records), MOST_IN_FLIGHT):
            under_way = [await self._begin(record, partition) for record in records[first : first + MOST_IN_FLIGHT]]
            sent += await asyncio.gather(*under_way)
        return sent

    async def _refuse_partition(self, partition: int, topics: Iterable[str]) -> None:
        for topic in topics:
            every = await self._started.partitions_for(topic)
            if partition not in every:
                raise ValueError(f"partition: expected 0 to {max(every)}, which {topic} has")

    @property
    def _started(self) -> AIOKafkaProducer:
        if self._producer is None:
            raise RuntimeError("the producer is not started: use `async with`, or call start()")
        return self._producer

    async def _begin(self, record: Record, partition: int | None) -> Coroutine[Any, Any, Sent]:
        acknowledged = await self._started.send(
            record.topic, record.value, record.key, partition=partition, headers=list(record.headers)
        )

        async def told() -> Sent:
            where = await acknowledged
            event = record.event
            return Sent(where.topic, where.partition, where.offset, str(event["case_id"]), str(event["event_id"]))

        return told()

    async def __aenter__(self) -> Self:
        """Connect."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect."""
        await self.close()


class Producer:
    """Sends events from code without asyncio: `with Producer("kafka-1:9092") as producer: producer.send(event)`.

    The same as AsyncProducer, which runs in a thread of its own; any thread may send.
    """

    def __init__(
        self,
        bootstrap: str,
        *,
        topics: Mapping[str, str] = DEFAULT_TOPICS,
        schema_ids: Mapping[int, str] = MappingProxyType({}),
        client: Mapping[str, Any] = MappingProxyType({}),
        allow_unknown: bool = False,
    ) -> None:
        """Prepare, as AsyncProducer does; nothing connects before `start`, which raises what that does."""
        self._prepare = partial(
            AsyncProducer, bootstrap, topics=topics, schema_ids=schema_ids, client=client, allow_unknown=allow_unknown
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._producer: AsyncProducer | None = None

    def start(self) -> None:
        """Connect. Raises KafkaError if no broker answers."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="cxstream-producer", daemon=True)
        self._thread.start()
        try:
            self._producer = self._prepare()
            self._run(self._producer.start())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Send what is under way, and disconnect."""
        producer, self._producer = self._producer, None
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        if producer is not None:
            self._run(producer.close())
        self._loop = self._thread = None
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    def send(self, event: Sendable, *, partition: int | None = None) -> Sent:
        """Send one event and return when it is acknowledged; raises as AsyncProducer.send."""
        return self._run(self._started.send(event, partition=partition))

    def send_all(self, events: Iterable[Sendable], *, partition: int | None = None) -> list[Sent]:
        """Send events and return when all are acknowledged, in their order; raises as AsyncProducer.send_all."""
        return self._run(self._started.send_all(events, partition=partition))

    @property
    def _started(self) -> AsyncProducer:
        if self._producer is None:
            raise RuntimeError("the producer is not started: use `with`, or call start()")
        return self._producer

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            raise RuntimeError("the producer is not started: use `with`, or call start()")
        return asyncio.run_coroutine_threadsafe(call, self._loop).result()

    def __enter__(self) -> Self:
        """Connect."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect."""
        self.close()
