"""The watermark topic: how far every partition is, as its owner says, and the policies the group has judged by."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
from aiokafka import AIOKafkaConsumer
from faust.types import TP

from cxstream.engine.policies import PolicyRecord
from cxstream.engine.watermark import GroupWatermark, Said
from cxstream.kafka.changelog_table import Outgoing
from cxstream.kafka.partition_batches import Record
from cxstream.kafka.ports import Engine

logger = logging.getLogger(__name__)


class Word(Said, frozen=True, omit_defaults=True):
    """What is said of a partition, with where its owner answers.

    That holds for a moment only, and earlier releases pass it over.
    """

    url: str = ""
    """Empty: not said."""


class Owner(NamedTuple):
    """Where the owner of a partition answers, and when it said so in milliseconds since the epoch."""

    url: str
    said_ms: int


_said = msgspec.json.Decoder(Word)
_policy = msgspec.json.Decoder(PolicyRecord)

POLICY_KEY = b"policy:"
"""Stands before the fingerprint in the key of a policy. Readers who do not know it pass over what is no number."""


class WatermarkTopic:
    """Says how far owned partitions are and hears it of all; one compacted partition, keyed by partition number.

    Beside these it keeps every policy, under a key of its own.
    """

    def __init__(self, topic: str, group: GroupWatermark, engine: Engine) -> None:
        self._topic = topic
        self._group = group
        self._engine = engine
        self._policies: set[bytes] = set()
        self.url = ""
        """Where this worker answers; it is said with what is said of its partitions."""
        self.owners: dict[int, Owner] = {}
        """What owners said last of where they answer, by partition."""

    async def say(self, partitions: Mapping[int, Said]) -> None:
        """Publish how far partitions are."""
        records = [
            Outgoing(str(number).encode(), msgspec.json.encode(Word(said.marks, said.delivered_ms, self.url)))
            for number, said in partitions.items()
        ]
        if records:
            await self._engine.produce_many(self._topic, 0, records)

    async def record(self, policy: PolicyRecord) -> None:
        """Record a policy, unless it was heard already that somebody has."""
        key = POLICY_KEY + policy.fingerprint.encode()
        if key not in self._policies:
            await self._engine.produce_many(self._topic, 0, [Outgoing(key, msgspec.json.encode(policy))])
            self._policies.add(key)

    async def hear(self) -> None:
        """Take in what is said of all partitions, from the start of the topic on, until cancelled."""
        await self._engine.follow(self._topic, self._take)

    def _take(self, record: Record) -> None:
        if (record.key or b"").startswith(POLICY_KEY):
            self._policies.add(record.key or b"")
            return
        try:
            number, word = int(record.key or b""), _said.decode(record.value or b"")
            self._group.heard(number, word)
            if word.url and number in self._group.partitions:
                self.owners[number] = Owner(word.url, record.timestamp)
        except (ValueError, msgspec.DecodeError):
            logger.warning("ignored an unreadable watermark at offset %d", record.offset)


async def read_policies(topic: str, bootstrap: str, client: Mapping[str, Any]) -> list[PolicyRecord]:
    """Read the policies recorded in a watermark topic; none if there is no such topic.

    `client` are further arguments of an aiokafka client (security). Raises KafkaError.
    """
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False, **client
    )
    found: dict[bytes, PolicyRecord] = {}
    try:
        await consumer.start()
        if topic not in await consumer.topics():
            return []
        tp = TP(topic, 0)
        consumer.assign([tp])
        end = (await consumer.end_offsets([tp]))[tp]
        while await consumer.position(tp) < end:
            for records in (await consumer.getmany(timeout_ms=500)).values():
                for record in records:
                    if (record.key or b"").startswith(POLICY_KEY):
                        policy = _readable(record.value, record.offset)
                        found |= {} if policy is None else {record.key: policy}
    finally:
        await consumer.stop()
    return list(found.values())


def _readable(value: bytes | None, offset: int) -> PolicyRecord | None:
    try:
        return _policy.decode(value or b"")
    except msgspec.DecodeError:
        logger.warning("ignored an unreadable policy at offset %d", offset)
        return None
