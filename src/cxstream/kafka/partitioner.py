"""Where producers must put a key: as Java clients do by themselves, and everything here by this function."""

from __future__ import annotations

from aiokafka.partitioner import murmur2


def partition_of(key: bytes | None, partitions: int) -> int:
    """Return the partition of a key among so many: murmur2, as Java clients have it; no key counts as an empty one."""
    number: int = (murmur2(key or b"") & 0x7FFFFFFF) % partitions
    return number
