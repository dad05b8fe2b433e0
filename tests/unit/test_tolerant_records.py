"""A header name that is no UTF-8 does not stop a partition."""

from __future__ import annotations

import struct

import pytest
from aiokafka.consumer import fetcher
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c
from faust.types import TP

from cxstream.kafka import engine
from cxstream.kafka.tolerant_records import TolerantRecords
from parts.record_batches import Written, batch_of

CRC_AT, CRC_FROM = 17, 21
NAMES = ("source", "zzzz", "other")


def batch(base_offset: int, *, damaged: bool = False) -> bytes:
    """Return a batch of two records with headers, as brokers send it; a damaged one names a header in no UTF-8."""
    records = (Written(b"k%d" % n, b"v", headers=tuple((name, b"%d" % n) for name in NAMES)) for n in range(2))
    data = bytearray(batch_of(records, base_offset))
    if damaged:
        data = data.replace(b"zzzz", b"z\xff\xfez", 1)
    struct.pack_into(">I", data, CRC_AT, calc_crc32c(memoryview(data)[CRC_FROM:]))
    return bytes(data)


def read(records: object) -> list[tuple[int, bytes, list[str]]]:
    """Read all records as aiokafka's consumer does: offset, key and header names."""
    found = PartitionRecords(TP("t", 0), records, [], 0, None, None, True, READ_COMMITTED)
    return [(one.offset, one.key, [name for name, _value in one.headers]) for one in found]


def test_a_header_name_that_is_no_text_is_escaped() -> None:
    """Every record before, in and behind such a batch is read once, in order, with its other headers as they are."""
    data = batch(0) + batch(2, damaged=True) + batch(4)
    with pytest.raises(UnicodeDecodeError):
        read(MemoryRecords(data))
    expected = [(offset, b"k%d" % (offset % 2), list(NAMES)) for offset in range(6)]
    expected[2] = (2, b"k0", ["source", "z\\xff\\xfez", "other"])
    assert read(TolerantRecords(data)) == expected


def test_what_is_sound_is_read_as_ever() -> None:
    """Without such a name the records are those that aiokafka reads by itself, also of a batch that was cut."""
    data = batch(0) + batch(2) + batch(4)[:-3]
    assert read(TolerantRecords(data)) == read(MemoryRecords(data))
    assert len(read(TolerantRecords(data))) == 4


def test_all_consumers_of_a_worker_read_so() -> None:
    """Importing the engine puts it in place."""
    assert engine.READ_FROM["aiokafka"] == "0.14.0"
    assert fetcher.MemoryRecords is TolerantRecords
