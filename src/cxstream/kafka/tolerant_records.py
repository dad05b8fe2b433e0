"""Reads record batches whose header names are no UTF-8: aiokafka cannot, and would fail on them again and again.

Written against aiokafka 0.14.0. Batches are read as ever; only one that fails is read once more, by aiokafka's reader
in Python, with the bytes of such names escaped. So the record can be taken, or become a dead letter, like any other.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import unpack_from
from typing import Any, SupportsIndex

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords

_LENGTH_AT = 8
_HEAD_BYTES = 12
"""A batch begins with its offset (8 bytes) and the length (4 bytes) of what follows."""


class _Text(bytes):
    """Bytes that always decode; what is no UTF-8 is escaped."""

    def decode(self, encoding: str = "utf-8", _errors: str = "strict") -> str:
        return bytes(self).decode(encoding, "backslashreplace")


class _Buffer(bytearray):
    """A batch whose slices always decode."""

    def __getitem__(self, index: SupportsIndex | slice) -> Any:
        found = super().__getitem__(index)
        return _Text(found) if isinstance(index, slice) else found


class _Batch:
    """A batch of aiokafka's, read once more if it fails on a header name."""

    def __init__(self, batch: Any, data: memoryview) -> None:
        self._batch = batch
        self._data = data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __iter__(self) -> Iterator[Any]:
        try:
            return iter(list(self._batch))
        except UnicodeDecodeError:
            again: Any = _DefaultRecordBatchPy(bytearray(self._data))
            again._maybe_uncompress()
            again._buffer = _Buffer(again._buffer)
            return iter(list(again))

    def __next__(self) -> Any:
        return next(self._batch)


class TolerantRecords:
    """What one fetch brought of a partition, batch by batch; in place of aiokafka's MemoryRecords."""

    def __init__(self, data: bytes) -> None:
        self._records: Any = MemoryRecords(data)
        self._data = memoryview(data)
        self._at = 0

    def has_next(self) -> bool:
        """Whether there is another whole batch."""
        return bool(self._records.has_next())

    def size_in_bytes(self) -> int:
        """Return how many bytes were fetched."""
        return int(self._records.size_in_bytes())

    def next_batch(self) -> _Batch | None:
        """Return the next batch, None when there is none."""
        batch = self._records.next_batch()
        if batch is None:
            return None
        begins = self._at
        (length,) = unpack_from(">i", self._data, begins + _LENGTH_AT)
        self._at = begins + _HEAD_BYTES + length
        return _Batch(batch, self._data[begins : self._at])


def install() -> None:
    """Let all consumers of this process read so."""
    fetcher.MemoryRecords = TolerantRecords
