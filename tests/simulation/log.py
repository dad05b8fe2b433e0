"""Kafka in memory: partitions that keep offsets, times, gaps, open transactions and compaction as brokers do."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Sequence
from hashlib import sha256
from typing import NamedTuple

from aiokafka.partitioner import murmur2
from faust.types import TP

Headers = tuple[tuple[str, bytes | None], ...]


class Stored(NamedTuple):
    """One record as consumers get it; times in milliseconds since the epoch."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class PartitionLog:
    """One partition. Offsets without a record are gaps: control records, aborted transactions, compaction."""

    def __init__(self) -> None:
        self.records: list[Stored] = []
        self.end = 0
        """The offset the next record will get."""
        self.start = 0
        self.open_since: int | None = None
        """First offset of the transaction that is under way; nothing from there on can be read."""
        self.digest = sha256()

    @property
    def stable_end(self) -> int:
        """Where those who read committed records find the end."""
        return self.end if self.open_since is None else self.open_since

    def append(self, records: Iterable[tuple[bytes | None, bytes | None, Headers]], timestamp_ms: int) -> int:
        """Append records and return the offset of the first."""
        first = self.end
        for key, value, headers in records:
            self.records.append(Stored(self.end, timestamp_ms, key, value, headers))
            self.digest.update(repr((self.end, timestamp_ms, key, value, headers)).encode())
            self.end += 1
        return first

    def begin(self) -> None:
        """Begin a transaction: what follows is hidden until it ends."""
        self.open_since = self.end

    def finish(self, aborted: Collection[int] = ()) -> None:
        """End the transaction, without the records at the aborted offsets; its control record leaves a gap."""
        self.records = [record for record in self.records if record.offset not in aborted]
        self.open_since = None
        self.skip(1)

    def skip(self, offsets: int) -> None:
        """Leave a gap."""
        self.end += offsets
        self.digest.update(b"gap %d" % self.end)

    def compact(self, until: int, *, drop_tombstones: bool) -> None:
        """Keep only the last record of each key, below an offset; of deleted keys at last nothing."""
        last = {record.key: record.offset for record in self.records}
        self.records = [
            record
            for record in self.records
            if record.offset >= until
            or (last[record.key] == record.offset and not (drop_tombstones and record.value is None))
        ]

    def read(self, first: int, limit: int, until: int | None = None) -> tuple[list[Stored], int]:
        """Return up to `limit` committed records from an offset on, and where reading goes on."""
        end = self.stable_end if until is None else min(until, self.stable_end)
        found = self.records[self._index(first) : self._index(end)]
        if len(found) > limit > 0:
            return found[:limit], found[limit - 1].offset + 1
        return found, max(first, end)

    def _index(self, offset: int) -> int:
        return bisect_left(self.records, offset, key=lambda record: record.offset)


class Brokers:
    """All topics of the simulated cluster."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self.now_ms = now_ms
        self.logs: dict[TP, PartitionLog] = {}
        self.counts: dict[str, int] = {}
        self.listeners: dict[str, list[Callable[[TP], None]]] = {}
        """Who wants to know what is written, by process."""

    def create(self, topic: str, partitions: int) -> None:
        """Create a topic."""
        self.counts[topic] = partitions
        self.logs |= {TP(topic, number): PartitionLog() for number in range(partitions)}

    def partition_of(self, topic: str, key: bytes | None) -> int:
        """Return the partition producers put a key on."""
        return int((murmur2(key or b"") & 0x7FFFFFFF) % self.counts[topic])

    def append(self, tp: TP, records: Sequence[tuple[bytes | None, bytes | None, Headers]]) -> int:
        """Append records at this instant, tell whoever listens, and return the offset of the first."""
        first = self.logs[tp].append(records, self.now_ms())
        self.changed(tp)
        return first

    def changed(self, tp: TP) -> None:
        """Tell whoever listens that there may be something to read."""
        for listeners in self.listeners.values():
            for listen in listeners:
                listen(tp)

    def digest(self) -> str:
        """Return a fingerprint of everything that was ever written."""
        whole = sha256()
        for tp in sorted(self.logs):
            whole.update(f"{tp.topic} {tp.partition} {self.logs[tp].digest.hexdigest()}\n".encode())
        return whole.hexdigest()
