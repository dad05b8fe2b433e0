"""Hands out batches over all topics of one partition number, and knows which are in flight when it is taken away."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from operator import attrgetter
from typing import Any, NamedTuple, TypeAlias

from faust.types import TP

#: A record as aiokafka reads it (untyped there): key, value, headers, timestamp (ms), timestamp_type, offset.
Record: TypeAlias = Any
_timestamp_ms = attrgetter("timestamp")


LEAST_SHARE = 4
"""A topic that is ahead of others still gives a batch this part of the most it may: a quarter."""


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
    """What was queued of one partition number, to be acknowledged as a whole once its effects are durable."""

    number: int
    #: In offset order, of each topic of which there is something.
    records: Mapping[str, Sequence[Record]]
    #: The group generation in which the records were read.
    generation: int
    _acknowledge: Callable[[PartitionBatch], bool] = field(repr=False)
    _is_current: Callable[[PartitionBatch], bool] = field(repr=False)

    @property
    def current(self) -> bool:
        """True from delivery until `ack()`, or until the partition was given up without waiting for this batch."""
        return self._is_current(self)

    def ack(self) -> bool:
        """Allow the offsets of this batch to be committed; False, and nothing happens, when it is not current.

        Call it only after everything the batch caused is acknowledged by the broker.
        """
        return self._acknowledge(self)

    def __str__(self) -> str:
        """Name the batch without what its records say."""
        first = ", ".join(f"{topic} from {records[0].offset}" for topic, records in self.records.items())
        return f"partition {self.number} ({first})"


@dataclass(slots=True)
class _Lane:
    """One source partition: what is queued, and how far it was read and acknowledged."""

    acked: int
    read: int
    end: int
    as_of_ms: int | None = None
    queue: list[Record] = field(default_factory=list)
    advanced: bool = False

    @property
    def begins(self) -> int:
        """The first offset that was not handed out yet, and is not in a gap."""
        return self.queue[0].offset if self.queue else self.read

    def until_ms(self, most: int) -> float:
        """Return up to which delivery time so many records go; no end if all that is queued is not so many."""
        return self.queue[most - 1].timestamp if len(self.queue) >= most else inf

    def take(self, until_ms: float, least: int, most: int) -> list[Record]:
        """Take off the queue what was delivered up to a time, no less and no more than so many records."""
        count = max(least, bisect_right(self.queue, until_ms, hi=min(most, len(self.queue)), key=_timestamp_ms))
        taken, self.queue = self.queue[:count], self.queue[count:]
        return taken

    def reach(self, offset: int) -> None:
        """Note that everything before an offset is processed, or a gap."""
        if offset > self.acked:
            self.acked, self.advanced = offset, True


class PartitionBatches:
    """An asynchronous iterator over batches; any number of tasks may iterate, each batch goes to one of them.

    Topics are co-partitioned, so what concerns a case has one partition number in all of them. A batch is what is
    queued of one number, so a case is judged once for what all topics say of it. Where more is queued than fits, all
    topics go up to the same delivery time, or a case would meet its facts again and again, batch by batch; but each
    gives some of what it has, so none keeps another waiting. One batch of a number is in flight; those of different
    numbers may be worked on at the same time. Not thread-safe: everything happens in the loop that owns the consumer.
    """

    def __init__(self, *, max_batch_records: int, max_queued_records: int = sys.maxsize) -> None:
        """Take at most `max_batch_records` of a topic into a batch; read more of it while less than two are queued.

        Of many partitions less is read ahead: each has its share of `max_queued_records`.
        """
        self._max_batch_records = max_batch_records
        self._max_queued_records = max_queued_records
        self._lanes: dict[TP, _Lane] = {}
        self._numbers: dict[int, dict[str, _Lane]] = {}
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
        lanes = self._numbers.get(number, {}).items()
        return {topic: Progress(lane.acked, lane.read, lane.end, lane.as_of_ms) for topic, lane in lanes}

    @property
    def queued_records(self) -> int:
        """How many records are read ahead over all partitions."""
        return sum(len(lane.queue) for lane in self._lanes.values())

    # --- for the consumer -------------------------------------------------------------------------------------------

    def open(self, generation: int, starts: Mapping[TP, tuple[int, int]]) -> None:
        """Begin a generation: each partition with the offset it is read from and the offset its log ends at."""
        self.generation = generation
        self._lanes = {tp: _Lane(acked=start, read=start, end=end) for tp, (start, end) in starts.items()}
        self._numbers = {}
        for tp in sorted(self._lanes):
            self._numbers.setdefault(tp.partition, {})[tp.topic] = self._lanes[tp]
        self.is_open = True

    def wanted(self) -> tuple[set[TP], bool]:
        """Return the partitions to read more of now, and whether others are left out because they have enough."""
        if not self.is_open:
            return set(), False
        share = max(1, self._max_queued_records // max(1, len(self._lanes)))
        enough = min(share, 2 * self._max_batch_records)
        wanted = {tp for tp, lane in self._lanes.items() if len(lane.queue) < enough}
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
        lane.queue += records
        if tp.partition not in self._in_flight:
            lane.reach(lane.begins)
        if records:
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
            lane.read = lane.begins  # what is dropped counts as not read, or a batch in flight would acknowledge it
            lane.queue = []

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
        lanes = self._numbers.get(number, {})
        waiting = {topic: lane for topic, lane in lanes.items() if lane.queue}
        if not waiting:
            return None
        most = self._max_batch_records
        until_ms = min(lane.until_ms(most) for lane in waiting.values())
        records = {topic: lane.take(until_ms, max(1, most // LEAST_SHARE), most) for topic, lane in waiting.items()}
        batch = self._in_flight[number] = PartitionBatch(number, records, self.generation, self._ack, self._current)
        self._idle.clear()
        return batch

    def _current(self, batch: PartitionBatch) -> bool:
        return self._in_flight.get(batch.number) is batch

    def _ack(self, batch: PartitionBatch) -> bool:
        if not self._current(batch):
            return False
        del self._in_flight[batch.number]
        lanes = self._numbers.get(batch.number, {}).values()
        for lane in lanes:
            lane.reach(lane.begins)  # all before it was in the batch, or is a gap
        if any(lane.queue for lane in lanes):
            self._announce(batch.number)
        if not self._in_flight:
            self._idle.set()
        return True
