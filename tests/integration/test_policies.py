"""The record of policies on a real broker: read whole from among the watermarks, and nothing where there is none."""

from __future__ import annotations

import asyncio
import uuid

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from cxstream.engine.policies import PolicyRecord
from cxstream.kafka.watermarks import POLICY_KEY, read_policies


def test_policies_are_read_from_among_the_watermarks(kafka: str) -> None:
    """All policies of a topic come, whatever else it holds; a topic that is not there has none, and is not made."""
    topic = f"cx-{uuid.uuid4().hex[:8]}-watermarks"
    first, second = PolicyRecord("a", 1, "1.0", {"x": 1}), PolicyRecord("b", 2, "1.0", {"x": 2})

    async def run() -> tuple[list[PolicyRecord], list[PolicyRecord], list[PolicyRecord]]:
        before = await read_policies(topic, kafka, {})
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
        await admin.start()
        try:
            missing = topic not in await admin.list_topics()
            await admin.create_topics([NewTopic(topic, 1, 1)])
        finally:
            await admin.close()
        assert missing, "to ask for the topic has made it"
        empty = await read_policies(topic, kafka, {})
        async with AIOKafkaProducer(bootstrap_servers=kafka) as producer:
            for policy in (first, second):
                for number in range(500):
                    await producer.send(topic, b"{}", key=str(number % 7).encode(), partition=0)
                key = POLICY_KEY + policy.fingerprint.encode()
                await producer.send_and_wait(topic, msgspec.json.encode(policy), key=key, partition=0)
            await producer.send_and_wait(topic, b"torn", key=POLICY_KEY + b"c", partition=0)
        return before, empty, await read_policies(topic, kafka, {})

    assert asyncio.run(run()) == ([], [], [first, second])
