"""Which producer library put a key on its partition: each spreads keys by another hash, and only one is right here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from zlib import crc32

from cxstream.kafka.partitioner import partition_of

_FNV_OFFSET, _FNV_PRIME = 0x811C9DC5, 0x01000193
LEAST_SHARE = 0.95
"""A partitioner explains where keys are if it does so for this share of those that are elsewhere."""
LEAST_KEYS = 5
"""Of fewer different keys nothing is said: chance explains them."""


def _by_crc32(key: bytes, partitions: int) -> int:
    return crc32(key) % partitions


def _by_fnv1a(key: bytes, partitions: int) -> int:
    value = _FNV_OFFSET
    for byte in key:
        value = ((value ^ byte) * _FNV_PRIME) & 0xFFFFFFFF
    signed = value - (1 << 32) if value >> 31 else value
    return abs(signed) % partitions


OTHERS: Mapping[str, tuple[Callable[[bytes, int], int], str]] = {
    "CRC-32": (_by_crc32, "the default of librdkafka (consistent_random); set partitioner=murmur2_random"),
    "FNV-1a": (_by_fnv1a, "the default of Sarama (NewHashPartitioner); use its murmur2-compatible partitioner"),
}
"""Hashes other libraries spread keys by, and what to do about each."""


def elsewhere(keys: Sequence[tuple[bytes, int]], partitions: int) -> list[tuple[bytes, int]]:
    """Return those of the keys (each with its partition) that are not where murmur2 puts them."""
    return [(key, at) for key, at in keys if partition_of(key, partitions) != at]


def explained_by(keys: Sequence[tuple[bytes, int]], partitions: int) -> str | None:
    """Return the name of the hash that puts keys (each with its partition) where they are; None if none does."""
    distinct = set(keys)
    if len(distinct) < LEAST_KEYS:
        return None
    for name, (of, _mend) in OTHERS.items():
        if sum(of(key, partitions) == at for key, at in distinct) >= LEAST_SHARE * len(distinct):
            return name
    return None
