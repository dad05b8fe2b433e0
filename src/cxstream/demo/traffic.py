"""What the demo's company writes to Kafka: a history, then live events, a few of them unreadable."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from cxstream.demo.upstream import Delivery, Incident, Upstream, demo_upstream
from cxstream.domain.instant import MINUTE_MS
from cxstream.domain.policy import Policy
from cxstream.kafka.codec import DELIVERED_AT, Codec
from cxstream.kafka.schemas import Schemas

SOURCES = {"ticket": "cxstream.tickets", "dispatch": "cxstream.dispatch", "parts": "cxstream.parts"}
DAYS = 40
"""Of history; a fix counts as one that held after thirty."""
INCIDENT_REGION = "east"
INCIDENT_AGE_MS = 30 * MINUTE_MS
POISON_EVERY = 250
"""Every so many live events one that no codec can read: dead letters are part of real life."""
LIVE_SECONDS = 0.2


class TrafficError(RuntimeError):
    """The brokers do not take the events; the message is for the person who wanted them there."""


class Traffic:
    """The events of one company on their way to the brokers of a running stack."""

    def __init__(self, producer: AIOKafkaProducer, upstream: Upstream) -> None:
        self._producer = producer
        self._upstream = upstream
        self._codec = Codec(Schemas.packaged(), skew_ms=Policy().clock_skew_ms)

    async def write_history(self) -> int:
        """Write all that was delivered until now, and wait for the brokers; return how many events that were."""
        sent = await self._send(self._upstream.events(_wall_ms()))
        await self._producer.flush()
        return sent

    async def go_on(self) -> None:
        """Go on in real time until cancelled: what is delivered now is sent now, and at times something unreadable."""
        sent = 0
        while True:
            sent += await self._send(self._upstream.events(_wall_ms()))
            if sent >= POISON_EVERY:
                sent = 0
                await self._producer.send(SOURCES["dispatch"], b"not an event", key=b"nobody")
            await asyncio.sleep(LIVE_SECONDS)

    async def _send(self, deliveries: Iterable[Delivery]) -> int:
        sent = 0
        for delivered_ms, topic, event in deliveries:
            headers = [(DELIVERED_AT, str(delivered_ms).encode())]
            value, key = self._codec.encode(event), str(event["case_id"]).encode()
            await self._producer.send(SOURCES[topic], value, key=key, headers=headers)
            sent += 1
        return sent


@contextlib.asynccontextmanager
async def traffic(bootstrap: str, *, seed: int, days: int = DAYS, prefix: str = "C") -> AsyncIterator[Traffic]:
    """Connect the company of a seed, with `days` of history, to brokers; the ids of its cases begin with `prefix`.

    Since half an hour parts do not arrive in one region.
    """
    now_ms = _wall_ms()
    incident = Incident(INCIDENT_REGION, now_ms - INCIDENT_AGE_MS)
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=20, max_batch_size=1 << 18)
    try:
        await producer.start()
        yield Traffic(producer, demo_upstream(now_ms, seed=seed, days=days, incident=incident, prefix=prefix))
    finally:
        await producer.stop()


async def play(bootstrap: str, *, seed: int, days: int = DAYS, seconds: int | None = None) -> int:
    """Write a history to the source topics, which must be there, then go on for `seconds` or until cancelled.

    The ids of the cases are of this run alone, so that a second one adds cases. Returns how many events of history
    there were.
    Raises TrafficError if the brokers cannot be reached, or do not have the topics.
    """
    try:
        async with traffic(bootstrap, seed=seed, days=days, prefix=f"C{_wall_ms() // 1000:x}-") as company:
            sent = await company.write_history()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(company.go_on(), seconds)
    except KafkaError as error:
        names = ", ".join(SOURCES.values())
        raise TrafficError(f"the brokers at {bootstrap} do not take the events ({error!r}); topics: {names}") from error
    return sent


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
