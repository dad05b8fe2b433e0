"""Writes whole batches to Kafka and keeps the tables: one produce batch per partition, not one message per key."""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import faust
from aiokafka.errors import KafkaTimeoutError
from faust.types import TP

from .packing import pack, unpack
from .partition_batches import Record

Headers = list[tuple[str, bytes | None]]
#: Bytes a produce batch needs around its first record, generously.
_BATCH_OVERHEAD_BYTES = 256
_NO_HEADERS: Headers = []
STAMP_HEADER = "cxstream-owner"


class PartitionLostError(Exception):
    """The partition is not owned (any more); whoever owns it now will do the work."""


class RecordTooLargeError(ValueError):
    """One record does not fit into a produce batch; nothing of that call was written."""


class Outgoing(NamedTuple):
    """One record to produce; the time is in milliseconds since the epoch, None for now."""

    key: bytes | None
    value: bytes | None
    headers: Headers = _NO_HEADERS
    timestamp_ms: int | None = None


class Stamp(NamedTuple):
    """Who wrote a record of a changelog: owners that follow each other have rising stamps.

    The term is one more than what was in the changelog when the owner had read it; the generation of the group tells
    owners apart of whom the first had written nothing yet.
    """

    term: int
    generation: int

    @classmethod
    def of(cls, record: Record) -> Stamp:
        """Return the stamp of a record; one without is older than any."""
        for name, value in record.headers or ():
            if name == STAMP_HEADER and value:
                return _read_stamp(value)
        return _UNSTAMPED


@lru_cache(maxsize=64)
def _read_stamp(value: bytes) -> Stamp:
    term, _, generation = value.partition(b".")
    return Stamp(int(term), int(generation))


_UNSTAMPED = Stamp(0, 0)


class Changed(NamedTuple):
    """A key and its value before and after; None: it had none, or has none any more."""

    key: bytes
    before: bytes | None
    after: bytes | None


class Follower(Protocol):
    """Follows what a table reads from its changelog, of standby replicas too; not what is written here."""

    def read(self, partition: int, changes: Sequence[Changed]) -> None:
        """Take changes of a partition, in order."""

    def forgot(self, partition: int) -> None:
        """Take note that nothing is held of a partition any more."""


_EMPTY_BYTES = sys.getsizeof(b"")


class _Kept:
    """The keys of one partition with their values, compressed, and how many bytes these are."""

    __slots__ = ("content_bytes", "values")

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.content_bytes = 0

    def keep(self, key: bytes, value: bytes | None) -> bytes | None:
        """Keep the value of a key, None keeps none; return what was kept of it before, compressed."""
        before = self.values.get(key)
        if value is not None:
            self.values[key] = packed = pack(value)
            self.content_bytes += len(packed) + (len(key) if before is None else -len(before))
        elif before is not None:
            del self.values[key]
            self.content_bytes -= len(key) + len(before)
        return before

    @property
    def memory_bytes(self) -> int:
        """What all of it takes, what Python adds included."""
        return sys.getsizeof(self.values) + self.content_bytes + 2 * _EMPTY_BYTES * len(self.values)


class OffsetRange(NamedTuple):
    """Offsets first..last, both included."""

    first: int
    last: int


class BatchProducer:
    """Packs records into produce batches, keeps their order per partition, and knows what is not acknowledged yet."""

    def __init__(
        self,
        producer: Callable[[], Any],
        permission: Callable[[], Awaitable[None]],
        max_record_bytes: int,
        timeout_seconds: float,
    ) -> None:
        """Send through the started AIOKafkaProducer that `producer` returns, each time after awaiting `permission`.

        What is not acknowledged after `timeout_seconds` has failed.
        """
        self._producer = producer
        self._permission = permission
        self._max_record_bytes = max_record_bytes
        self._timeout_seconds = timeout_seconds
        self._order: defaultdict[TP, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._unacknowledged: set[asyncio.Task[Any]] = set()
        self._tenure = 0
        #: Whether anything was to be written in this tenure.
        self.has_sent = False

    def send(
        self,
        topic: str,
        partition: int,
        records: Iterable[Outgoing],
        acknowledged: Callable[[list[OffsetRange]], None] | None = None,
    ) -> asyncio.Task[list[OffsetRange]]:
        """Produce to one partition; the task returns the offsets written when all are acknowledged, or raises.

        Order is the order of the calls. Raises RecordTooLargeError at once, before anything is sent; the task raises
        PartitionLostError when partitions were given up before it was this call's turn, KafkaTimeoutError when what was
        sent is not acknowledged in time: an idempotent producer would repeat it without end.
        """
        packed = self._pack(topic, partition, records)
        task = asyncio.ensure_future(self._deliver(TP(topic, partition), packed, self._tenure, acknowledged))
        self.has_sent = True
        self._unacknowledged.add(task)
        task.add_done_callback(self._unacknowledged.discard)
        return task

    async def end_tenure(self, timeout_seconds: float) -> bool:
        """Refuse what waits for its turn, wait for what is on its way; False when some of it is not acknowledged.

        What was refused is not: tables hold it already, and what is derived from them does not follow.
        """
        self._tenure += 1
        self.has_sent = False
        begun = set(self._unacknowledged)
        if begun and timeout_seconds > 0:
            await asyncio.wait(begun, timeout=timeout_seconds)
        return all(task.done() and not task.cancelled() and task.exception() is None for task in begun)

    def _pack(self, topic: str, partition: int, records: Iterable[Outgoing]) -> list[Any]:
        create_batch = self._producer().create_batch
        limit = self._max_record_bytes - _BATCH_OVERHEAD_BYTES  # a batch takes its first record, whatever its size
        batches, batch = [], None
        for key, value, headers, timestamp_ms in records:
            size = len(key or b"") + len(value or b"")
            if headers:
                size += sum(len(name) + len(content or b"") + 10 for name, content in headers)
            if size > limit:
                raise RecordTooLargeError(f"{size} bytes for {topic}[{partition}]; a record may have {limit}")
            if batch is None or batch.append(key=key, value=value, timestamp=timestamp_ms, headers=headers) is None:
                batch = create_batch()
                batches.append(batch)
                batch.append(key=key, value=value, timestamp=timestamp_ms, headers=headers)
        for batch in batches:
            batch.close()  # send at once: nothing else is appended, so lingering would only delay
        return batches

    async def _deliver(
        self, tp: TP, batches: list[Any], tenure: int, acknowledged: Callable[[list[OffsetRange]], None] | None
    ) -> list[OffsetRange]:
        producer = self._producer()
        sizes = [batch.record_count() for batch in batches]
        async with self._order[tp]:  # first come first served, or an older value of a key could end up behind a newer
            await self._permission()
            if tenure != self._tenure:
                raise PartitionLostError(f"partitions were given up before {tp} could be written")
            futures = [await producer.send_batch(batch, tp.topic, partition=tp.partition) for batch in batches]
        if futures:  # all of them: a failed one must not leave the others unwatched
            _done, pending = await asyncio.wait(futures, timeout=self._timeout_seconds)
            if pending:
                raise KafkaTimeoutError(f"a write to {tp} was not acknowledged within {self._timeout_seconds:g} s")
        ranges = []
        for future, size in zip(futures, sizes, strict=True):
            first: int = future.result().offset
            ranges.append(OffsetRange(first, first + size - 1))
        if acknowledged is not None:
            acknowledged(ranges)
        return ranges


class ChangelogTable(faust.Table[bytes, bytes]):
    """A Faust table whose keys are kept per partition in memory, compressed; its writes and recovery come in batches.

    Faust decides where it lives, declares its changelog and runs its recovery; `table[key] = value` is refused.
    """

    def __init__(
        self,
        app: Any,
        *,
        writes: BatchProducer,
        owned: Callable[[], frozenset[int]],
        follower: Follower | None = None,
        **options: Any,
    ) -> None:
        """Write through `writes`, and only to partitions that `owned` returns."""
        super().__init__(app, key_type=bytes, value_type=bytes, **options)
        self._follower = follower
        self._writes = writes
        self._owned = owned
        self._partitions: dict[int, _Kept] = {}
        # Up to which changelog offset this memory is complete, and what we wrote beyond a gap (see unread_ranges).
        self._complete: dict[int, int] = {}
        self._beyond: defaultdict[int, dict[int, int]] = defaultdict(dict)
        # The highest stamp that is in the changelog, as far as we know, and the one we write with.
        self._stamps: dict[int, Stamp] = {}
        self._own: dict[int, Stamp] = {}
        # The records of lower stamps that came after the highest, by key.
        self._stale: defaultdict[int, dict[bytes, list[Record]]] = defaultdict(dict)

    def get(self, partition: int, key: bytes) -> bytes | None:  # type: ignore[override]  # the partition is part of a key
        """Return the value of a key in a partition, None when there is none or the partition is not here."""
        kept = self._partitions.get(partition)
        packed = None if kept is None else kept.values.get(key)
        return None if packed is None else unpack(packed)

    def find(self, key: bytes) -> bytes | None:
        """Return the value of a key in any owned partition; slower than `get`."""
        found = (self.get(partition, key) for partition in self._owned())
        return next((value for value in found if value is not None), None)

    def items_of(self, partition: int) -> Iterator[tuple[bytes, bytes]]:
        """Iterate over one owned partition (nothing, when it is not owned); it must not be written meanwhile."""
        kept = self._partitions.get(partition) if partition in self._owned() else None
        return ((key, unpack(packed)) for key, packed in (() if kept is None else kept.values.items()))

    def count(self, partition: int) -> int:
        """Return the number of keys in one partition, standbys included."""
        kept = self._partitions.get(partition)
        return 0 if kept is None else len(kept.values)

    def state_bytes(self, partition: int) -> int:
        """Return how much memory the keys and values of one partition take, standbys included."""
        kept = self._partitions.get(partition)
        return 0 if kept is None else kept.memory_bytes

    def put_many(self, partition: int, items: Sequence[tuple[bytes, bytes | None]]) -> Awaitable[list[OffsetRange]]:
        """Set the keys (None deletes), here at once and in the changelog; await it before acknowledging the cause.

        The awaitable returns the changelog offsets written, or raises when any of them failed.
        Raises PartitionLostError and RecordTooLargeError at once, with nothing changed.
        """
        if partition not in self._owned():
            raise PartitionLostError(f"{self.name}[{partition}] is not owned")
        kept = self._partitions.setdefault(partition, _Kept())

        def acknowledged(ranges: list[OffsetRange]) -> None:
            if self._partitions.get(partition) is kept:  # else it was given up meanwhile
                self._stamps[partition] = max(stamp, self._stamps.get(partition, stamp))
                self._advance(partition, ranges)

        stamp = self._own.get(partition, Stamp(0, 0))
        headers: Headers = [(STAMP_HEADER, b"%d.%d" % stamp)]
        records = (Outgoing(key, value, headers) for key, value in items)
        sent = self._writes.send(self.changelog_topic_name, partition, records, acknowledged)
        for key, value in items:
            kept.keep(key, value)
        return sent

    def complete_offset(self, partition: int) -> int:
        """Return the changelog offset up to which this memory holds everything, -1 when that is nothing."""
        return self._complete.get(partition, -1)

    def unread_ranges(self, partition: int) -> list[OffsetRange]:
        """Return changelog offsets that lie before our own acknowledged writes and are not ours.

        Empty in sound operation. Otherwise another worker wrote here, late: its records are to be read and united.
        They are also read at the next rebalance, because this memory does not count as complete beyond them.
        """
        gaps, complete = [], self._complete.get(partition, -1)
        for first, last in sorted(self._beyond[partition].items()):
            if first > complete + 1:
                gaps.append(OffsetRange(complete + 1, first - 1))
            complete = max(complete, last)
        return gaps

    def begin_tenure(self, partition: int, generation: int) -> None:
        """Write with a higher stamp than anything in the changelog, now that all of it is read.

        Its term is not raised by a tenure in which nothing was written: whoever owned the partition in between, and
        found nothing of ours, would have written with a lower stamp.
        """
        self._own[partition] = Stamp(self._stamps.get(partition, Stamp(0, 0)).term + 1, generation)

    def stale(self, partition: int) -> Sequence[Record]:
        """Return records that an owner of old wrote after a later one had written, and nobody has written over.

        They are not applied, but to be united with what is.
        """
        return [record for records in self._stale[partition].values() for record in records]

    def was_united(self, partition: int) -> None:
        """Note that the stale records have been united with what is here."""
        self._stale.pop(partition, None)

    def was_read(self, partition: int, read: OffsetRange) -> None:
        """Note that changelog offsets of another writer have been read and united with what is here."""
        if partition in self._partitions:
            self._advance(partition, [read])

    # --- for recovery -----------------------------------------------------------------------------------------------

    def apply(self, partition: int, records: Iterable[Record], next_offset: int) -> bool:
        """Apply records read from the changelog, in order; False when none of them was news."""
        kept, stale = self._partitions.setdefault(partition, _Kept()), self._stale[partition]
        complete = self._complete.get(partition, -1)
        newest = self._stamps.get(partition, _UNSTAMPED)
        follower = self._follower
        news = False
        changes: list[Changed] = []
        for record in records:
            if record.offset <= complete:
                continue
            news = True
            stamp, key, value = Stamp.of(record), record.key, record.value
            if stamp < newest:
                stale.setdefault(key, []).append(record)
                continue
            newest = stamp
            if stale:
                stale.pop(key, None)
            before = kept.keep(key, value)
            if follower is not None:
                changes.append(Changed(key, None if before is None else unpack(before), value))
        if news:
            self._stamps[partition] = newest
        if follower is not None:
            follower.read(partition, changes)
        self._complete[partition] = max(complete, next_offset - 1)
        self._advance(partition, [])
        return news

    def forget(self, partition: int) -> None:
        """Drop the keys of a partition; it is read from the start of the changelog when it comes back."""
        self._partitions.pop(partition, None)
        self._complete.pop(partition, None)
        self._beyond.pop(partition, None)
        self._stamps.pop(partition, None)
        self._own.pop(partition, None)
        self._stale.pop(partition, None)
        if self._follower is not None:
            self._follower.forgot(partition)

    def persisted_offset(self, tp: TP) -> int | None:
        """Tell Faust's recovery up to where this memory is complete (for the stock memory store: always None).

        So a partition kept over a rebalance, or promoted from standby, reads only what it has not seen.
        """
        return self._complete.get(tp.partition)

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        """Forget the partitions that are neither active nor standby here any more: no ghosts."""
        kept = {tp.partition for tp in assigned if tp.topic == self.changelog_topic_name}
        for partition in [p for p in self._partitions if p not in kept]:
            self.forget(partition)
        await super().on_rebalance(assigned, revoked, newly_assigned, generation_id)

    def _advance(self, partition: int, ranges: list[OffsetRange]) -> None:
        beyond = self._beyond[partition]
        complete = self._complete.get(partition, -1)
        for first, last in ranges:
            beyond[first] = max(last, beyond.get(first, last))
        for first in sorted(beyond):  # ranges may overlap: one that was read back may hold one of ours
            if first > complete + 1:
                break
            complete = max(complete, beyond.pop(first))
        self._complete[partition] = complete

    # --- refused: one changelog message per key is what this class is there to avoid ----------------------------------

    def on_key_set(self, key: bytes, value: bytes) -> None:  # noqa: ARG002 - Faust's signature
        """Refuse `table[key] = value`."""
        raise TypeError("write with put_many(partition, items)")

    def on_key_del(self, key: bytes) -> None:  # noqa: ARG002 - Faust's signature
        """Refuse `del table[key]`."""
        raise TypeError("delete with put_many(partition, [(key, None)])")
