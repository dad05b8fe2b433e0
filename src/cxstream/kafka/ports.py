"""What a worker needs of the machinery under it: who owns partitions, delivers batches, keeps tables, produces.

`EngineApp` is that machinery on Faust and Apache Kafka; the fault simulator puts a deterministic one in its place.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from faust.types import TP

from .changelog_table import Follower, OffsetRange, Outgoing
from .partition_batches import PartitionBatch, Progress, Record


async def _nothing(_partitions: frozenset[int]) -> None:
    return None


async def _nothing_yet() -> None:
    return None


@dataclass
class Hooks:
    """What the worker does when partitions (their numbers) come and go; an exception in any of them ends the process.

    on_partitions_revoked and on_partitions_assigned hold up the rebalance, and no heartbeat is sent during the latter:
    keep them short.
    """

    #: The app starts; nothing is assigned yet.
    on_start: Callable[[], Awaitable[None]] = _nothing_yet
    #: A rebalance or the end begins: none of these partitions is owned from here on; batches have been waited for.
    on_partitions_revoked: Callable[[frozenset[int]], Awaitable[None]] = _nothing
    #: Faust has been assigned these; their tables are not recovered yet.
    on_partitions_assigned: Callable[[frozenset[int]], Awaitable[None]] = _nothing
    #: The tables of these partitions are complete; batches follow when this returns. Cancelled by a rebalance.
    on_recovered: Callable[[frozenset[int]], Awaitable[None]] = _nothing
    #: The group is left in order, and the process ends when this returns.
    on_left: Callable[[], Awaitable[None]] = _nothing_yet


class Table(Protocol):
    """Keys of owned partitions, in memory and in a compacted changelog of the same number of partitions."""

    @property
    def name(self) -> str:
        """The table's name within the group."""

    @property
    def changelog_topic_name(self) -> str:
        """The topic its writes go to."""

    def get(self, partition: int, key: bytes) -> bytes | None:
        """Return a value, None when there is none or the partition is not here."""

    def items_of(self, partition: int) -> Iterator[tuple[bytes, bytes]]:
        """Iterate over one owned partition; it must not be written meanwhile."""

    def count(self, partition: int) -> int:
        """Return the number of keys in a partition."""

    def state_bytes(self, partition: int) -> int:
        """Return how much memory the keys and values of a partition take."""

    def put_many(self, partition: int, items: Sequence[tuple[bytes, bytes | None]]) -> Awaitable[list[OffsetRange]]:
        """Set the keys (None deletes) at once here, and in the changelog when awaited.

        Raises PartitionLostError and RecordTooLargeError at once, with nothing changed; awaited, whatever failed.
        """

    def complete_offset(self, partition: int) -> int:
        """Return the changelog offset up to which this memory holds everything, -1 when that is nothing."""

    def unread_ranges(self, partition: int) -> list[OffsetRange]:
        """Return changelog offsets before our own acknowledged writes that are not ours: another worker's."""

    def stale(self, partition: int) -> Sequence[Record]:
        """Return records that an owner of old wrote after a later one had written; recovery has not applied them."""

    def was_united(self, partition: int) -> None:
        """Note that the stale records have been united with what is here."""

    def was_read(self, partition: int, read: OffsetRange) -> None:
        """Note that changelog offsets of another writer have been read and united with what is here."""


class Engine(Protocol):
    """Membership of the consumer group, delivery, tables and producing, for one worker."""

    @property
    def hooks(self) -> Hooks:
        """What to call when partitions come and go."""

    @property
    def should_stop(self) -> bool:
        """Whether the worker is told to end, or has crashed."""

    @property
    def generation(self) -> int:
        """The group's generation as this worker knows it."""

    @property
    def owned(self) -> frozenset[int]:
        """Partition numbers that may be written now."""

    @property
    def kept(self) -> frozenset[int]:
        """Owned partitions whose tables are just as in the generation before."""

    @property
    def lease_expired(self) -> bool:
        """Whether the group was not heard for a session: somebody else may own our partitions."""

    def changelog_table(self, name: str, follower: Follower | None = None) -> Table:
        """Declare a table, and who follows what it reads, before anything runs."""

    def process(self, handler: Callable[[PartitionBatch], Awaitable[None]]) -> None:
        """Give every batch to `handler`, which acknowledges it; what it raises ends the worker."""

    async def produce_many(self, topic: str, partition: int | None, records: Sequence[Outgoing]) -> None:
        """Produce records, spread by key if no partition is given; returns when all are acknowledged, or raises."""

    def progress(self, number: int) -> Mapping[str, Progress]:
        """Return how far each topic is in one partition number; empty while it is not read."""

    async def ends(self, tps: Collection[TP]) -> Mapping[TP, int]:
        """Ask the brokers where partitions end, open transactions included. Raises KafkaError."""

    async def read(self, tp: TP, offsets: OffsetRange) -> Sequence[Record]:
        """Read a range of a partition, outside the group; what was compacted away is missing. Raises KafkaError."""

    async def keys(self, tp: TP, first: int) -> Mapping[bytes, int]:
        """Return the keys in a partition from an offset on, each with the offset of its last record.

        Raises KafkaError.
        """

    async def last(self, tp: TP) -> Record | None:
        """Return the last record of a partition; None where nothing was written, or nothing of it is left.

        Raises KafkaError.
        """

    async def follow(self, topic: str, take: Callable[[Record], None]) -> None:
        """Give every record of a topic's partition 0 to `take`, from its start on, until cancelled."""

    def recovery_remaining(self) -> Mapping[TP, int]:
        """Return the changelog records still to be read, per active changelog partition."""

    def add_future(self, coroutine: Any) -> Any:
        """Run a coroutine as long as the worker lives."""

    async def crash(self, reason: BaseException) -> None:
        """End the worker, visibly, with what it has in hand unacknowledged."""
