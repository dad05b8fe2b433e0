"""Batches of records as brokers send them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from aiokafka.record.default_records import DefaultRecordBatchBuilder


class Written(NamedTuple):
    """A record of a batch. `timestamp` is in milliseconds."""

    key: bytes | None
    value: bytes | None
    timestamp: int = 7
    headers: tuple[tuple[str, bytes], ...] = ()


def batch_of(records: Iterable[Written], base_offset: int = 0, compression: int = 0) -> bytes:
    """Return the bytes of one batch, format 2; `compression` is the codec's number in it, 0 for none."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=compression,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=0,
        batch_size=100_000,
    )
    for offset, one in enumerate(records):
        builder.append(offset, timestamp=one.timestamp, key=one.key, value=one.value, headers=list(one.headers))
    return base_offset.to_bytes(8, "big") + bytes(builder.build())[8:]  # the checksum is of what follows
