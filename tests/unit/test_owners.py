"""Where owners answer: said beside their marks, read by those who know it, passed over by those who do not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from cxstream.engine.watermark import NOTHING, GroupWatermark, Said
from cxstream.kafka.changelog_table import Outgoing
from cxstream.kafka.watermarks import Owner, WatermarkTopic
from parts.agent import Record

MARKS = tuple(range(1, len(NOTHING) + 1))


class _Topic:
    """The topic: what was produced to it."""

    def __init__(self) -> None:
        self.sent: list[Outgoing] = []

    async def produce_many(self, _topic: str, _partition: int | None, records: Sequence[Outgoing]) -> None:
        """Take records."""
        self.sent += records


def said_by(url: str) -> bytes:
    """Return what an owner writes that answers there."""
    topic = _Topic()
    engine: Any = topic
    watermarks = WatermarkTopic("t", GroupWatermark(2), engine)
    watermarks.url = url
    asyncio.run(watermarks.say({1: Said(MARKS, {"ticket": 7})}))
    (record,) = topic.sent
    assert record.value is not None
    return record.value


def heard(value: bytes, key: bytes = b"1") -> tuple[GroupWatermark, dict[int, Owner]]:
    """Return what a reader makes of it."""
    group = GroupWatermark(2)
    engine: Any = _Topic()
    watermarks = WatermarkTopic("t", group, engine)
    watermarks._take(Record(key, value, 5_000))
    return group, watermarks.owners


def test_an_owner_says_where_it_answers_and_when() -> None:
    """Readers keep the address by partition, with the time of the record, so that it can expire."""
    group, owners = heard(said_by("http://w1:9109"))
    assert owners == {1: Owner("http://w1:9109", 5_000)}
    assert group.of(1) == MARKS


def test_an_earlier_release_hears_the_marks_and_passes_the_rest_over() -> None:
    """What is written decodes as what was always said; without an address it is the same byte by byte."""
    assert msgspec.json.decode(said_by("http://w1:9109"), type=Said) == Said(MARKS, {"ticket": 7})
    assert said_by("") == msgspec.json.encode(Said(MARKS, {"ticket": 7}))


@pytest.mark.parametrize("key", [b"1", b"7"])
def test_of_an_earlier_release_and_of_no_partition_of_ours_no_address_is_known(key: bytes) -> None:
    """What says none, and what is said of another partition, leads to nobody."""
    before = msgspec.json.encode(Said(MARKS, {}))
    assert heard(before if key == b"1" else said_by("http://w1:9109"), key)[1] == {}
