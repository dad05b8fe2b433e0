"""Hands out whole batches of one partition at a time, and knows which are in flight when partitions are taken away."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from faust.types import TP

#: An aiokafka ConsumerRecord (untyped there): key, value, headers, timestamp (ms), timestamp_type, offset.
Record: TypeAlias = Any


class ReadRange(NamedTuple):
    """What one fetch brought of one partition; also without records, when control records or compaction left a gap."""

    records: list[Record]
    #: Where reading goes on, beyond any gap at the end.
    next_offset: int
    #: Where the log ends, and when (ms since the epoch) the broker said so; None while it has not.
    end_offset: int | None = None
    as_of_ms: int | None = None


class Progress(NamedTuple):
    """How far one source partition is: acknowledged, read into memory, and where the (committed) log ends."""

    acked: int
    read: int
    end: int
    #: When the broker last said so (ms since the epoch); None before the first answer to a fetch.
    as_of_ms: int | None = None

    @property
    def lag(self) -> int:
        """Offsets that are not acknowledged yet; 0 when caught up."""
        return max(0, self.end - self.acked)


@dataclass(slots=True, eq=False)
class PartitionBatch:
    """Records of one source partition in offset order, to be acknowledged as a whole once their effects are durable."""

    tp: TP
    records: list[Record]
    #: Where the next batch starts. Greater than the last record's offset + 1 when the log has a gap there.
    next_offset: int
    #: The group generation in which the records were read.
    generation: int
    _acknowledge: Callable[[PartitionBatch], bool] = field(repr=False)
    _is_current: Callable[[PartitionBatch], bool] = field(repr=False)

    @property
    def current(self) -> bool:
        """True from delivery until `ack()`, or until the partition was given up without waiting for this batch."""
        return self._is_current(self)

    def ack(self) -> bool:
        """Allow the offset of this batch to be committed; False, and nothing happens, when it is not current.

        Call it only after everything the batch caused is acknowledged by the broker.
        """
        return self._acknowledge(self)


@dataclass(slots=True)
class _Lane:
    """One source partition: what is queued, and how far it was read and acknowledged."""

    acked: int
    read: int
    end: int
    as_of_ms: int | None = None
    queue: deque[PartitionBatch] = field(default_factory=deque)
    queued_records: int = 0
    advanced: bool = False


class PartitionBatches:
    """An asynchronous iterator over batches; any number of tasks may iterate, each batch goes to one of them.

    One batch per partition number is in flight, over all source topics: topics are co-partitioned, so two batches of
    one number may touch the same case. Batches of different numbers may be worked on at the same time.
    Not thread-safe: everything happens in the loop that owns the consumer.
    """

    def __init__(self, *, max_batch_records: int = 1000) -> None:
        """Cut what is read into batches of at most `max_batch_records`; ask for more when less than two are queued."""
        self._max_batch_records = max_batch_records
        self._max_queued_records = 2 * max_batch_records
        self._lanes: dict[TP, _Lane] = {}
        self._numbers: dict[int, deque[TP]] = {}
        self._in_flight: dict[int, PartitionBatch] = {}
        self._ready: asyncio.Queue[int | None] = asyncio.Queue()
        self._announced: set[int] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopped = False
        self.is_open = False
        self.generation = -1
        #: Records that were read twice within a generation and refused.
        self.refused_records = 0

    # --- for the worker ---------------------------------------------------------------------------------------------

    def __aiter__(self) -> PartitionBatches:
        """Iterate until the application stops."""
        return self

    async def __anext__(self) -> PartitionBatch:
        """Wait for the next batch of any partition number that has none in flight."""
        while True:
            number = await self._ready.get()
            if number is None:
                self._ready.put_nowait(None)  # for the other iterating tasks
                raise StopAsyncIteration
            self._announced.discard(number)
            batch = self._take(number)
            if batch is not None:
                return batch

    def progress(self, number: int) -> Mapping[str, Progress]:
        """Return how far each topic is in one partition number, idle ones included; empty while it is not read."""
        lanes = {tp.topic: self._lanes[tp] for tp in sorted(self._numbers.get(number, ()))}
        return {topic: Progress(lane.acked, lane.read, lane.end, lane.as_of_ms) for topic, lane in lanes.items()}

    # --- for the consumer -------------------------------------------------------------------------------------------

    def open(self, generation: int, starts: Mapping[TP, tuple[int, int]]) -> None:
        """Begin a generation: each partition with the offset it is read from and the offset its log ends at."""
        self.generation = generation
        self._lanes = {tp: _Lane(acked=start, read=start, end=end) for tp, (start, end) in starts.items()}
        self._numbers = {}
        for tp in sorted(self._lanes):
            self._numbers.setdefault(tp.partition, deque()).append(tp)
        self.is_open = True

    def wanted(self) -> tuple[set[TP], bool]:
        """Return the partitions to read more of now, and whether others are left out because they have enough."""
        if not self.is_open:
            return set(), False
        wanted = {tp for tp, lane in self._lanes.items() if lane.queued_records < self._max_queued_records}
        return wanted, len(wanted) < len(self._lanes)

    def offer(self, tp: TP, read: ReadRange) -> None:
        """Queue what was read from one partition."""
        records, next_offset, end_offset, as_of_ms = read
        lane = self._lanes.get(tp)
        if lane is None or not self.is_open:
            return  # given up while it was read; reading starts anew at the committed offset when it comes back
        if end_offset is not None:
            lane.end, lane.as_of_ms = end_offset, as_of_ms
        if next_offset <= lane.read:
            self.refused_records += len(records)
            return
        if records and records[0].offset < lane.read:
            fresh = [record for record in records if record.offset >= lane.read]
            self.refused_records += len(records) - len(fresh)
            records = fresh
        lane.read = next_offset
        lane.queued_records += len(records)
        size, queue = self._max_batch_records, lane.queue
        if queue and len(queue[-1].records) + len(records) <= size:
            queue[-1].records.extend(records)
            queue[-1].next_offset = next_offset
        else:
            for i in range(0, max(len(records), 1), size):
                ends_at = records[i + size].offset if i + size < len(records) else next_offset
                chunk = records[i : i + size]
                queue.append(PartitionBatch(tp, chunk, ends_at, self.generation, self._ack, self._current))
        if tp.partition not in self._in_flight:
            self._skip_gaps(lane)
        if queue:
            self._announce(tp.partition)

    def tps(self) -> Iterable[TP]:
        """Return the partitions whose offsets can be committed."""
        return list(self._lanes)

    def committable(self, tp: TP) -> int | None:
        """Return the offset that may be committed for this partition, None when nothing was acknowledged."""
        lane = self._lanes.get(tp)
        return lane.acked if lane is not None and lane.advanced else None

    def close(self) -> None:
        """Hand out nothing more and drop what is queued; batches in flight can still be acknowledged."""
        self.is_open = False
        for lane in self._lanes.values():
            lane.queue.clear()
            lane.queued_records = 0

    async def drain(self, timeout_seconds: float) -> frozenset[int]:
        """Wait for the batches in flight, abandon those that take longer, and return their partition numbers."""
        if self._in_flight and timeout_seconds > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), timeout_seconds)
        late = frozenset(self._in_flight)
        self._in_flight.clear()
        self._idle.set()
        return late

    def forget(self) -> None:
        """End the generation: nothing is owned, nothing can be committed."""
        self._lanes = {}
        self._numbers = {}

    def stop(self) -> None:
        """End all iterations."""
        if not self._stopped:
            self._stopped = True
            self._ready.put_nowait(None)

    # --- inside -----------------------------------------------------------------------------------------------------

    def _announce(self, number: int) -> None:
        if number not in self._announced and number not in self._in_flight:
            self._announced.add(number)
            self._ready.put_nowait(number)

    def _take(self, number: int) -> PartitionBatch | None:
        if number in self._in_flight or not self.is_open:
            return None
        tps = self._numbers.get(number, deque())
        for _ in range(len(tps)):
            tp = tps[0]
            tps.rotate(-1)  # the next batch of this number comes from the next topic that has one
            lane = self._lanes[tp]
            self._skip_gaps(lane)
            if lane.queue:
                batch = lane.queue.popleft()
                lane.queued_records -= len(batch.records)
                self._in_flight[number] = batch
                self._idle.clear()
                return batch
        return None

    @staticmethod
    def _skip_gaps(lane: _Lane) -> None:
        # Ranges without records (control records, aborted transactions, compaction): nothing to do but move the offset.
        while lane.queue and not lane.queue[0].records:
            lane.acked = lane.queue.popleft().next_offset
            lane.advanced = True

    def _current(self, batch: PartitionBatch) -> bool:
        return self._in_flight.get(batch.tp.partition) is batch

    def _ack(self, batch: PartitionBatch) -> bool:
        if not self._current(batch):
            return False
        del self._in_flight[batch.tp.partition]
        lane = self._lanes[batch.tp]
        lane.acked, lane.advanced = batch.next_offset, True
        self._skip_gaps(lane)
        if any(self._lanes[tp].queue for tp in self._numbers.get(batch.tp.partition, ())):
            self._announce(batch.tp.partition)
        if not self._in_flight:
            self._idle.set()
        return True
