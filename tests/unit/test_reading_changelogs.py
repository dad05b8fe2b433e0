"""Recovery applies what it reads some records at a time, so that the worker goes on breathing."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from faust.types import TP

from cxstream.kafka.engine import APPLY_RECORDS, _Recovery
from cxstream.kafka.partition_batches import ReadRange
from parts.agent import Record

CHANGELOG = TP("changelog", 0)


class Recovering:
    """What `_Recovery.apply` asks of its own."""

    def __init__(self) -> None:
        self.readable = {CHANGELOG}
        self.applied: list[tuple[int, int, bool]] = []
        self._is_applying = False

    def _apply(self, _tp: TP, records: list[Any], next_offset: int) -> None:
        self.applied.append((len(records), next_offset, self._is_applying))


def read(count: int) -> ReadRange:
    """Return so many records, and a gap after them."""
    return ReadRange([Record(b"k", b"v", 0, [], offset) for offset in range(count)], count + 7, None, None)


def applied(recovering: Recovering, fetched: ReadRange) -> list[tuple[int, int, bool]]:
    """Return what was applied: how many records, up to where, and whether more is to come."""
    asyncio.run(_Recovery.apply(recovering, CHANGELOG, fetched, recovering.readable))  # type: ignore[arg-type]
    return recovering.applied


def test_what_was_read_is_applied_some_records_at_a_time() -> None:
    """Every record once and in order; a gap at the end is known with the last of them, and alone."""
    count = 2 * APPLY_RECORDS
    assert applied(Recovering(), read(count + 1)) == [
        (APPLY_RECORDS, APPLY_RECORDS, True),
        (APPLY_RECORDS, count, True),
        (1, count + 8, False),
    ]
    assert applied(Recovering(), read(0)) == [(0, 7, False)]


def test_what_was_read_before_a_rebalance_is_dropped() -> None:
    """It is read again from where the table is complete; one that was forgotten must not begin in the middle."""
    recovering = Recovering()

    async def run() -> None:
        before = recovering.readable
        task = asyncio.ensure_future(
            _Recovery.apply(recovering, CHANGELOG, read(2 * APPLY_RECORDS), before)  # type: ignore[arg-type]
        )
        await asyncio.sleep(0)
        recovering.readable = {CHANGELOG}
        await task
        await _Recovery.apply(recovering, TP("changelog", 1), read(1), recovering.readable)  # type: ignore[arg-type]

    asyncio.run(run())
    assert recovering.applied == [(APPLY_RECORDS, APPLY_RECORDS, True)]


def test_recovery_does_not_end_while_something_read_is_to_be_applied() -> None:
    """Or it would be applied over what the new owner writes."""
    _Recovery._end_when_complete(SimpleNamespace(_is_applying=True))  # type: ignore[arg-type]
