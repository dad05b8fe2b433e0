"""Reads topics of dead letters up to where they ended when they were asked, without taking part in any group."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, OffsetAndMetadata, TopicPartition
from aiokafka.errors import KafkaError

from cxstream.dead_letters.letters import PARKED_SUFFIX, Filters, Letter, Place
from cxstream.kafka import tolerant_records

POLL_MS = 500
FETCH_BYTES = 8 * 1024**2
SILENT_SECONDS = 30.0
"""So long nothing may come of a topic that is not read to its end."""


class Brokers(NamedTuple):
    """Where the brokers are, and the further arguments of an aiokafka client (security)."""

    bootstrap: str
    client: Mapping[str, Any]


class StalledError(Exception):
    """The brokers have more, and do not hand it out."""


Range = tuple[int, int]
"""The first offset to read, and the one not to read any more."""


class Reader:
    """A consumer of some partitions that commits only where it is told to."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        """Take a consumer that runs."""
        self._consumer = consumer

    async def ranges(self, filters: Filters) -> dict[TopicPartition, Range]:
        """Return what of the topics there is to read; those that are not there have nothing."""
        there = await self._consumer.topics()  # all of them: to ask for one may create it
        tps = []
        for topic in filters.topics:
            if topic in there:
                await self._consumer._client._wait_on_metadata(topic)  # noqa: SLF001  # there is no public way
                numbers = self._consumer.partitions_for_topic(topic) or set()
                tps += [TopicPartition(topic, number) for number in sorted(numbers)]
        if not tps:
            return {}
        firsts, ends = await self._consumer.beginning_offsets(tps), await self._consumer.end_offsets(tps)
        since, until = filters.since_ms, filters.until_ms
        if since is not None:
            found = await self._consumer.offsets_for_times(dict.fromkeys(tps, since))
            firsts = {tp: ends[tp] if (at := found.get(tp)) is None else max(firsts[tp], at.offset) for tp in tps}
        if until is not None:
            found = await self._consumer.offsets_for_times(dict.fromkeys(tps, until))
            ends = {tp: ends[tp] if (at := found.get(tp)) is None else at.offset for tp in tps}
        return {tp: (firsts[tp], ends[tp]) for tp in tps if firsts[tp] < ends[tp]}

    async def begun(self, ranges: Mapping[TopicPartition, Range]) -> dict[TopicPartition, Range]:
        """Return what of the ranges lies behind what was committed."""
        left = {}
        self._consumer.assign(list(ranges))
        for tp, (first, end) in ranges.items():
            begins = max(first, await self._consumer.committed(tp) or 0)
            if begins < end:
                left[tp] = (begins, end)
        return left

    async def letters(self, ranges: Mapping[TopicPartition, Range], at_most: int) -> AsyncIterator[list[Letter]]:
        """Yield the letters of ranges, at most so many at a time. Raises StalledError."""
        if not ranges:
            return
        self._consumer.assign(list(ranges))
        for tp, (first, _end) in ranges.items():
            self._consumer.seek(tp, first)
        behind = dict(ranges)
        heard = asyncio.get_running_loop().time()
        while behind:
            fetched = await self._consumer.getmany(*behind, timeout_ms=POLL_MS, max_records=at_most)
            now = asyncio.get_running_loop().time()
            if not fetched and now - heard > SILENT_SECONDS:
                raise StalledError(f"nothing came of {len(behind)} partitions for {SILENT_SECONDS:g} s")
            heard = now if fetched else heard
            yield [
                _letter(record)
                for tp, records in fetched.items()
                for record in records
                if record.offset < ranges[tp][1]
            ]
            # Its position, not the last record: control records and gaps take offsets too.
            behind = {tp: limits for tp, limits in behind.items() if await self._consumer.position(tp) < limits[1]}

    async def one(self, place: Place) -> Letter | None:
        """Return the letter at a place, None if there is none."""
        tp = TopicPartition(place.topic, place.partition)
        ranges = await self.ranges(Filters((place.topic,)))
        first, end = ranges.get(tp, (0, 0))
        if not first <= place.offset < end:
            return None
        async for letters in self.letters({tp: (place.offset, place.offset + 1)}, 1):
            for letter in letters:
                return letter
        return None

    async def parked(self, topics: Iterable[str]) -> frozenset[Place]:
        """Return the places of the dead letters that were parked, by what the topics of parked letters say."""
        ranges = await self.ranges(Filters(tuple(topic + PARKED_SUFFIX for topic in topics)))
        places = [
            letter.moved_from
            async for letters in self.letters(ranges, 1000)
            for letter in letters
            if letter.moved_from is not None
        ]
        return frozenset(places)

    async def commit(self, positions: Mapping[Place, int]) -> None:
        """Commit the offset to go on from, by topic and partition (of the place). Raises KafkaError."""
        await self._consumer.commit(
            {TopicPartition(at.topic, at.partition): OffsetAndMetadata(next_, "") for at, next_ in positions.items()}
        )


@asynccontextmanager
async def reading(brokers: Brokers, group: str | None = None) -> AsyncIterator[Reader]:
    """Connect a reader; `group` is where it commits. Raises KafkaError."""
    tolerant_records.install()
    consumer = AIOKafkaConsumer(
        bootstrap_servers=brokers.bootstrap,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=FETCH_BYTES,
        **brokers.client,
    )
    try:
        await consumer.start()
        yield Reader(consumer)
    finally:
        with suppress(KafkaError):  # what matters was committed, or raised, before
            await consumer.stop()


def _letter(record: Any) -> Letter:  # noqa: ANN401  # aiokafka's ConsumerRecord has no types
    place = Place(record.topic, record.partition, record.offset)
    return Letter(place, record.timestamp, record.key, record.value, tuple(record.headers or ()))
