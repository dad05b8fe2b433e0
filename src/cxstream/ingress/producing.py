"""Puts records on Kafka, and says of each whether all copies of the brokers have it, as far as is known."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from cxstream.client.topics import WrongTopicsError, check_topics
from cxstream.ingress.intake import Record
from cxstream.ingress.limits import InFlight
from cxstream.kafka.partitioner import partition_of

logger = logging.getLogger(__name__)

Outcome = Literal["acknowledged", "unknown", "not_sent"]
"""`unknown`: it may have reached the topic, or may yet. `not_sent`: it has not, and will not."""

SOURCE_HEADER = "cxstream-source"
"""Header that names the source whose token an event was sent with."""
PAUSE_SECONDS = 1.0
"""Between attempts to reach the brokers."""
REQUEST_SECONDS = 10.0
"""One request to a broker; the producer repeats it."""
LINGER_MS = 5
BATCH_BYTES = 256 * 1024
MAX_EVENT_BYTES = 1024 * 1024 - 8 * 1024
"""Of an event as it is written: brokers take 1 MiB by default, with key, header and framing."""


class Connection(NamedTuple):
    """Where the brokers are, and the further arguments of an aiokafka client (security)."""

    bootstrap: str
    client: Mapping[str, Any]


class Producing:
    """Produces records of events: stays connected, and gives up a producer that failed.

    Such a one would refuse all that follows, because its sequence has a gap: another takes its place.
    """

    def __init__(
        self,
        connection: Connection,
        topics: Mapping[str, str],
        in_flight: InFlight,
        *,
        partitions: int,
        delivery_seconds: float,
    ) -> None:
        """`topics` are names by ticket, dispatch and parts, all with so many `partitions`."""
        self._connection = connection
        self._topics = topics
        self._in_flight = in_flight
        self._partitions = partitions
        self._delivery_seconds = delivery_seconds
        self._producer: AIOKafkaProducer | None = None
        self._missing = "not connected to the brokers yet"
        self._connecting: asyncio.Task[None] | None = None
        self._retiring: set[asyncio.Task[None]] = set()

    @property
    def missing(self) -> str:
        """What is missing before events can be taken; empty if nothing is."""
        return "" if self._producer is not None else self._missing

    def start(self) -> None:
        """Begin to connect, and go on trying until it succeeds."""
        self._connecting = asyncio.create_task(self._connect())

    async def stop(self) -> None:
        """Flush what is under way, for at most `delivery_seconds`, and disconnect."""
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        producer, self._producer = self._producer, None
        if producer is not None:
            self._retire(producer)
        if self._retiring:
            await asyncio.wait(self._retiring)

    async def deliver(self, records: Sequence[Record], source: str) -> list[Outcome]:
        """Produce records in this order, and return what is known of each after `delivery_seconds` at the latest.

        What the producer still holds then stays in flight until it is acknowledged or given up.
        """
        producer = self._producer
        if producer is None:
            return ["not_sent"] * len(records)
        sent: list[asyncio.Future[Any]] = []
        try:
            async with asyncio.timeout(self._delivery_seconds):
                for record in records:
                    sent.append(await self._send(producer, record, source))  # noqa: PERF401  # what is sent is known when it fails
                if sent:
                    await asyncio.wait(sent)
        except TimeoutError:
            logger.warning("the brokers have not acknowledged within %g s", self._delivery_seconds)
        except KafkaError as error:
            self._give_up(producer, error)
        for future, record in zip(sent, records, strict=False):
            if not future.done():
                self._hold(future, len(record.value))
        failures = [future.exception() if future.done() else None for future in sent]
        for failure in failures:
            if failure is not None:
                self._give_up(producer, failure)
        outcomes: list[Outcome] = [
            "acknowledged" if future.done() and failure is None else "unknown"
            for future, failure in zip(sent, failures, strict=True)
        ]
        return outcomes + ["not_sent"] * (len(records) - len(sent))

    def _hold(self, future: asyncio.Future[Any], size_bytes: int) -> None:
        """Keep the bytes of a record in flight until its fate is known."""

        def known(done: asyncio.Future[Any]) -> None:
            self._in_flight.release(size_bytes)
            if not done.cancelled():
                done.exception()  # asked for, or asyncio complains that nobody did

        self._in_flight.keep(size_bytes)
        future.add_done_callback(known)

    async def _send(self, producer: AIOKafkaProducer, record: Record, source: str) -> asyncio.Future[Any]:
        partition = partition_of(record.key, self._partitions)
        topic, headers = self._topics[record.topic], [(SOURCE_HEADER, source.encode())]
        future: asyncio.Future[Any] = await producer.send(topic, record.value, record.key, partition, headers=headers)
        return future

    def _give_up(self, producer: AIOKafkaProducer, error: BaseException) -> None:
        """Take another producer from now on; what this one holds may still be acknowledged."""
        if self._producer is producer:
            logger.warning("an event could not be produced, a new producer takes over: %s", error)
            self._producer = None
            self._missing = "a new producer is being connected after a failure"
            self._retire(producer)
            self.start()

    def _retire(self, producer: AIOKafkaProducer) -> None:
        async def stop() -> None:
            with contextlib.suppress(KafkaError, TimeoutError):
                async with asyncio.timeout(self._delivery_seconds):
                    await producer.stop()

        task = asyncio.create_task(stop())
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def _connect(self) -> None:
        while self._producer is None:
            try:
                await check_topics(*self._connection, self._topics.values(), self._partitions)
                self._producer = await self._started()
            except (KafkaError, OSError, TimeoutError, WrongTopicsError) as error:
                self._wait_because(error)
                await asyncio.sleep(PAUSE_SECONDS)
        logger.info("connected to %s", self._connection.bootstrap)

    def _wait_because(self, error: Exception) -> None:
        said = str(error) or type(error).__name__
        if not isinstance(error, WrongTopicsError):
            said = f"no broker of {self._connection.bootstrap} could be asked ({said})"
        if said != self._missing:
            logger.warning("%s", said)
        self._missing = said

    async def _started(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._connection.bootstrap,
            acks="all",
            enable_idempotence=True,
            linger_ms=LINGER_MS,
            max_batch_size=BATCH_BYTES,
            max_request_size=2 * MAX_EVENT_BYTES,
            request_timeout_ms=int(REQUEST_SECONDS * 1000),
            **self._connection.client,
        )
        try:
            await producer.start()
            # Their metadata is asked for now: the first event is not to wait for it.
            for topic in self._topics.values():
                await producer.partitions_for(topic)
        except BaseException:
            await producer.stop()
            raise
        return producer
