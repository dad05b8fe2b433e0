"""Copies a source topic into one with another number of partitions, so that what is judged from the copy is the same.

Ordinary tools do not do: a record must go where murmur2 of its key puts it now, and keep the time at which it was
delivered; and none may be written behind one that was delivered later, or the clock of a partition would be ahead of
it and its verdicts final. So the partitions of the old topic are merged by that time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.structs import OffsetAndMetadata

from cxstream.config import Settings
from cxstream.kafka.cluster import POLL_MS, Cluster, ClusterSeen, Record
from cxstream.operations.findings import Progress, no_progress
from cxstream.worker import connection_of

CHUNK_RECORDS = 1000
"""Records between two commits: so many may be written twice if the copying is broken off, which changes nothing."""


class CopyError(Exception):
    """The topics are not fit to be copied; the text says why, and what to do."""


def group_of(old: str, new: str) -> str:
    """Return the name of the consumer group in which it is kept how far a copy is."""
    return f"{old}-to-{new}"


async def copy(settings: Settings, old: str, new: str, *, progress: Progress = no_progress) -> int:
    """Copy what is in `old` now into `new`, from where an earlier run has ended; return the number of records.

    Key, value, headers and timestamp are kept. Run it again until nothing is left; the last time when nobody writes to
    `old` any more, and before anybody writes to `new`. Raises CopyError, UnreachableError, KafkaError.
    """
    if old == new:
        raise CopyError(f"{old} would be copied into itself, and hold everything twice: name another topic to copy to")
    connection, bootstrap = connection_of(settings).client, settings.kafka.bootstrap
    async with Cluster(bootstrap, connection) as cluster:
        seen = await cluster.look([old, new])
        _check(seen, new)
        tps = [TopicPartition(old, number) for number in seen.topics[old].partitions]
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        group_id=group_of(old, new),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        **connection,
    )
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, acks="all", enable_idempotence=True, linger_ms=5, **connection
    )
    async with consumer, producer:
        consumer.assign(tps)
        return await _copy(consumer, producer, new, tps, progress)


def _check(seen: ClusterSeen, new: str) -> None:
    for name, topic in seen.topics.items():
        if not topic.exists:
            raise CopyError(f"{name} cannot be seen ({topic.error}); `cxstream topics apply` creates what is missing")
    kind = (seen.topics[new].configuration or {}).get("message.timestamp.type")
    if kind != "CreateTime":
        raise CopyError(
            f"{new} has message.timestamp.type={kind}: records would seem to be delivered while they are copied, and be"
            " late for their cases. Set CreateTime for the time of the copying, and LogAppendTime when it is done"
        )


async def _copy(
    consumer: AIOKafkaConsumer, producer: AIOKafkaProducer, new: str, tps: Sequence[TopicPartition], progress: Progress
) -> int:
    firsts, ends = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
    starts = {tp: max(firsts[tp], await consumer.committed(tp) or 0) for tp in tps}
    beyond = [tp for tp in tps if starts[tp] > ends[tp]]
    if beyond:
        tp = beyond[0]
        raise CopyError(f"{tp.topic}[{tp.partition}] ends at {ends[tp]}, and was copied to {starts[tp]}: created anew?")
    what, there_are, copied = f"copy {tps[0].topic}", sum(ends[tp] - starts[tp] for tp in tps), 0
    for tp, start in starts.items():
        consumer.seek(tp, start)
    sent: list[Any] = []
    done: dict[TopicPartition, OffsetAndMetadata] = {}
    async for record in _merged(consumer, starts, ends):
        # By murmur2 of the key: aiokafka's own partitioner is Java's.
        kept = {"timestamp_ms": record.timestamp, "headers": list(record.headers)}
        sent.append(await producer.send(new, record.value, record.key, **kept))
        done[TopicPartition(record.topic, record.partition)] = OffsetAndMetadata(record.offset + 1, "")
        copied += 1
        if len(sent) == CHUNK_RECORDS:
            await _settle(consumer, sent, done)
            progress(what, copied, there_are)
    done |= {tp: OffsetAndMetadata(ends[tp], "") for tp in tps}  # what transactions left in between is no record
    await _settle(consumer, sent, done)
    progress(what, there_are, there_are)
    return copied


async def _settle(consumer: AIOKafkaConsumer, sent: list[Any], done: dict[TopicPartition, OffsetAndMetadata]) -> None:
    await asyncio.gather(*sent)
    await consumer.commit(done)
    sent.clear()
    done.clear()


async def _merged(
    consumer: AIOKafkaConsumer, starts: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
) -> AsyncIterator[Record]:
    """Yield the records of all partitions by the time they were delivered; each partition's in its own order."""
    waiting: dict[TopicPartition, deque[Record]] = {tp: deque() for tp in ends if starts[tp] < ends[tp]}
    while waiting:
        empty = [tp for tp, records in waiting.items() if not records]
        for tp, fetched in (await consumer.getmany(*empty, timeout_ms=POLL_MS)).items() if empty else ():
            waiting[TopicPartition(*tp)].extend(record for record in fetched if record.offset < ends[tp])
        for tp in empty:
            if not waiting[tp] and await consumer.position(tp) >= ends[tp]:
                del waiting[tp]
        while waiting and all(waiting.values()):
            first = min(waiting, key=lambda tp: (waiting[tp][0].timestamp, tp))
            yield waiting[first].popleft()
