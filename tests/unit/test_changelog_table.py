"""Writing whole batches and knowing whose a record is: what a partition given up in mid-write leaves behind."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.live import held_cases
from cases import ms
from cxstream.kafka.changelog_table import (
    STAMP_HEADER,
    BatchProducer,
    Changed,
    ChangelogTable,
    OffsetRange,
    Outgoing,
    PartitionLostError,
    Stamp,
)
from cxstream.kafka.packing import pack, unpack
from parts.agent import Record


class Producer:
    """A producer whose batches are acknowledged at once."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    def create_batch(self) -> Any:  # noqa: ANN401 - aiokafka's batch has no type
        """Return a batch that takes everything."""
        return Batch()

    async def send_batch(self, _batch: object, topic: str, *, partition: int) -> asyncio.Future[Any]:
        """Take a batch."""
        self.sent.append(f"{topic}[{partition}]")
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        done.set_result(Record(None, None, 0, (), len(self.sent)))
        return done


class Batch:
    """A batch that takes everything."""

    def append(self, **_record: object) -> object:
        """Take a record."""
        return self

    def close(self) -> None:
        """Take no more."""

    def record_count(self) -> int:
        """Return how many records there are."""
        return 1


@pytest.mark.parametrize("is_permitted", [True, False])
def test_a_write_that_was_refused_leaves_the_tenure_in_doubt(is_permitted: bool) -> None:  # noqa: FBT001
    """Tables hold what was to be written: unless all of it reached the changelog, they are to be read again."""

    async def run() -> None:
        allowed = asyncio.Event()
        if is_permitted:
            allowed.set()

        async def permission() -> None:
            await allowed.wait()

        producer = Producer()
        writes = BatchProducer(lambda: producer, permission, 1024, 60.0)
        task = writes.send("t", 0, [Outgoing(b"k", b"v")])
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(0.01, allowed.set)
        assert await writes.end_tenure(1.0) is is_permitted
        if is_permitted:
            assert await task == [OffsetRange(1, 1)]
        else:
            with pytest.raises(PartitionLostError):
                await task
        assert producer.sent == (["t[0]"] if is_permitted else [])

    asyncio.run(run())


def test_a_write_that_is_not_acknowledged_in_time_has_failed() -> None:
    """An idempotent producer repeats it without end: a worker would wait for ever, and look alive."""

    async def run() -> None:
        async def permission() -> None:
            return None

        class Silent(Producer):
            async def send_batch(self, *_batch: object, **_where: object) -> asyncio.Future[Any]:
                return asyncio.get_running_loop().create_future()

        producer = Silent()
        writes = BatchProducer(lambda: producer, permission, 1024, 0.01)
        with pytest.raises(KafkaTimeoutError, match=r"partition=3.*within 0\.01 s"):
            await asyncio.wait_for(writes.send("t", 3, [Outgoing(b"k", b"v")]), 2.0)

    asyncio.run(run())


class Memory(ChangelogTable):
    """The table without Faust under it."""

    def __init__(self) -> None:
        self._partitions = {}
        self._owned = lambda: frozenset({0})
        self._follower = None
        self._complete = {}
        self._beyond = {0: {}}  # type: ignore[assignment]
        self._stamps = {}
        self._own = {}
        self._stale = {0: {}}  # type: ignore[assignment]


def written(offset: int, value: bytes | None, term: int, key: bytes = b"k", generation: int = 1) -> Record:
    """Return a record of a changelog as its owner stamped it."""
    stamp = b"%d.%d" % Stamp(term, generation)
    return Record(key, value, 0, [(STAMP_HEADER, stamp)], offset)


def test_a_record_of_an_owner_of_old_is_set_aside() -> None:
    """What comes after a later owner's records is not applied by recovery, whoever wrote it; it is to be united."""
    table = Memory()
    late = written(2, b"zombie", 1)
    table.apply(0, [written(0, b"first", 1), written(1, b"second", 2), late], 3)
    assert table.get(0, b"k") == b"second"
    assert table.stale(0) == [late]
    table.apply(0, [written(3, b"third", 2)], 4)
    assert (table.get(0, b"k"), table.stale(0)) == (b"third", [])


def test_owners_that_wrote_nothing_are_told_apart_by_generation() -> None:
    """Two owners that recovered the same changelog have the same term; the later generation is the later owner."""
    table = Memory()
    table.apply(0, [written(0, b"of 8", 3, generation=8), written(1, b"of 7", 3, generation=7)], 2)
    assert table.get(0, b"k") == b"of 8"
    assert len(table.stale(0)) == 1


def test_what_a_table_takes_is_counted_as_it_changes() -> None:
    """Its size is that of what it holds, whatever was put, replaced and deleted before, read or written."""
    table = Memory()
    table.apply(0, [written(n, b"v" * 50 * n, 1, key=b"key-%d" % (n % 4)) for n in range(12)], 12)
    table.apply(0, [written(12, b"w", 1, key=b"key-9"), written(13, None, 1, key=b"key-0")], 14)
    values = table._partitions[0].values
    assert sorted(values) == [b"key-1", b"key-2", b"key-3", b"key-9"]
    held = sum(sys.getsizeof(one) for key_and_value in values.items() for one in key_and_value)
    assert table.state_bytes(0) == sys.getsizeof(values) + held
    table.forget(0)
    assert table.state_bytes(0) == 0


def test_a_tenure_writes_with_a_higher_term_than_all_before() -> None:
    """Terms rise from owner to owner, also where the group was deleted and generations begin anew."""
    table = Memory()
    table.apply(0, [written(0, b"old", 5, generation=90)], 1)
    table.begin_tenure(0, 1)
    assert table._own[0] == Stamp(6, 1)
    assert Stamp(6, 1) > Stamp(5, 90)


def test_a_tenure_without_a_write_raises_no_term() -> None:
    """Who owned a partition twice, and wrote nothing, takes what an owner in between wrote for what it is: the last."""
    table = Memory()
    table.begin_tenure(0, 1)
    table.begin_tenure(0, 2)
    table.apply(0, [written(0, b"theirs", 1, generation=3)], 1)
    assert not table.stale(0)
    assert dict(table.items_of(0)) == {b"k": b"theirs"}
    table.begin_tenure(0, 4)
    assert table._own[0] > Stamp(1, 3)


def test_ranges_that_overlap_are_complete_together() -> None:
    """A range that was read back may hold one of ours that was acknowledged meanwhile; nothing goes back for it."""
    table = Memory()
    table.apply(0, [], 10)
    table._advance(0, [OffsetRange(14, 14)])
    table.was_read(0, OffsetRange(10, 20))
    assert (table.complete_offset(0), table.unread_ranges(0)) == (20, [])
    table._advance(0, [OffsetRange(23, 24)])
    table._advance(0, [OffsetRange(25, 25)])
    table._advance(0, [OffsetRange(27, 27)])
    assert table.unread_ranges(0) == [OffsetRange(21, 22), OffsetRange(26, 26)]


class Along:
    """Follows a table, and writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[int, list[Changed]]] = []

    def read(self, partition: int, changes: Sequence[Changed]) -> None:
        self.told.append((partition, [*changes]))

    def forgot(self, partition: int) -> None:
        self.told.append((partition, []))


def test_who_follows_a_table_is_told_what_recovery_changes() -> None:
    """Each record applied with the value before it, and none that was known already or is set aside."""
    table, along = Memory(), Along()
    table._follower = along
    table.apply(0, [written(0, b"1", 1), written(1, b"2", 2), written(2, b"zombie", 1)], 3)
    assert along.told.pop() == (0, [Changed(b"k", None, b"1"), Changed(b"k", b"1", b"2")])
    gone = Record(b"k", None, 0, written(3, b"", 2).headers, 4)
    table.apply(0, [written(1, b"2", 2), written(3, b"3", 2, b"other"), gone], 5)
    assert along.told.pop() == (0, [Changed(b"other", None, b"3"), Changed(b"k", b"2", None)])
    table.forget(0)
    assert along.told == [(0, [])]


@given(st.binary(max_size=3000), st.integers(1, 3))
def test_what_is_packed_comes_back(value: bytes, times: int) -> None:
    """Values are kept whole, like a record or not."""
    assert unpack(pack(value * times)) == value * times


def test_records_are_kept_in_a_third_of_their_length() -> None:
    """What most records say is in the dictionary, so that what is left of one are its ids and instants."""
    whole = sum(len(data) for _, data in held_cases(1, ms("0h")))
    assert sum(len(pack(data)) for _, data in held_cases(1, ms("0h"))) < whole / 3
