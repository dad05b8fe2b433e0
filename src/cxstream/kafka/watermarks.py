"""The watermark topic: what the owner of every partition says of how far it is, heard by every worker of the group."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import msgspec

from cxstream.engine.watermark import GroupWatermark, Said
from cxstream.kafka.changelog_table import Outgoing
from cxstream.kafka.partition_batches import Record
from cxstream.kafka.ports import Engine

logger = logging.getLogger(__name__)

_said = msgspec.json.Decoder(Said)


class WatermarkTopic:
    """Says how far owned partitions are and hears it of all; one compacted partition, keyed by partition number."""

    def __init__(self, topic: str, group: GroupWatermark, engine: Engine) -> None:
        self._topic = topic
        self._group = group
        self._engine = engine

    async def say(self, partitions: Mapping[int, Said]) -> None:
        """Publish how far partitions are."""
        records = [Outgoing(str(number).encode(), msgspec.json.encode(said)) for number, said in partitions.items()]
        if records:
            await self._engine.produce_many(self._topic, 0, records)

    async def hear(self) -> None:
        """Take in what is said of all partitions, from the start of the topic on, until cancelled."""
        await self._engine.follow(self._topic, self._take)

    def _take(self, record: Record) -> None:
        try:
            self._group.heard(int(record.key or b""), _said.decode(record.value or b""))
        except (ValueError, msgspec.DecodeError):
            logger.warning("ignored an unreadable watermark at offset %d", record.offset)
