"""What the worker's consumer returns is what aiokafka reads, without a ConsumerRecord made of each record."""

from __future__ import annotations

import inspect
from itertools import chain
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.consumer import fetcher
from aiokafka.consumer.fetcher import READ_COMMITTED, FetchResult
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import ConsumerRecord
from faust.types import TP

from cxstream.kafka import as_read, engine
from parts.record_batches import Written, batch_of

TOPIC = TP("t", 0)
FIELDS = ("key", "value", "timestamp", "timestamp_type", "offset")


def batches(count: int, compression: int = 0) -> bytes:
    """Return batches of ten records, one after another; the last has neither key, value nor headers."""
    records = [Written(b"k%d" % number, b"v" * number, 7 + number, (("h", b"x"),)) for number in range(9)]
    records.append(Written(None, None, 99))
    return b"".join(batch_of(records, first, compression) for first in range(0, count * 10, 10))


def fetched(data: bytes, *, as_they_are: bool, start: int = 0) -> Any:  # noqa: ANN401  # aiokafka's types
    """Return what a fetch from an offset brought, as a consumer keeps it."""
    consumer = SimpleNamespace(_key_deserializer=None)
    if as_they_are:
        as_read.takes_as_read(consumer)
    records = fetcher.PartitionRecords(
        TOPIC, MemoryRecords(data), [], start, consumer._key_deserializer, None, True, READ_COMMITTED
    )
    state = SimpleNamespace(position=start, paused=False)
    state.consumed_to = lambda position: vars(state).update(position=position)
    assignment = SimpleNamespace(active=True, state_value=lambda _tp: state)
    return FetchResult(TOPIC, assignment=assignment, partition_records=records, backoff=0)


def fields(record: Any) -> tuple[Any, ...]:  # noqa: ANN401  # aiokafka's types
    """Return what of a record the worker looks at."""
    return (*(getattr(record, name) for name in FIELDS), list(record.headers))


@pytest.mark.parametrize("compression", [0, 1], ids=["plain", "gzip"])
@pytest.mark.parametrize("start", [0, 3])
@pytest.mark.parametrize("at_a_time", [None, 1, 7, 10])
def test_what_is_read_is_what_stock_reads(at_a_time: int | None, start: int, compression: int) -> None:
    """All records from an offset on, in order, however many are asked for at a time, and the positions between."""
    found = []
    for as_they_are in (False, True):
        result = fetched(batches(4, compression), as_they_are=as_they_are, start=start)
        parts, positions = [], []
        while result.has_more():
            parts.append(result.getall(at_a_time))
            positions.append(result._assignment.state_value(TOPIC).position)
        records = list(chain.from_iterable(parts))
        assert all(isinstance(one, ConsumerRecord) is not as_they_are for one in records)
        found.append(([len(part) for part in parts], positions, [fields(one) for one in records]))
    assert found[0] == found[1]
    assert [one[4] for one in found[1][2]] == list(range(start, 40))


def test_other_consumers_read_as_ever() -> None:
    """One at a time as well; only the worker's own consumer, which asks for it, is affected."""
    assert engine.READ_FROM["aiokafka"] == "0.14.0"
    assert inspect.signature(AIOKafkaConsumer).parameters["key_deserializer"].default is None
    result = fetched(batches(1), as_they_are=False)
    assert isinstance(result.getone(), ConsumerRecord)
