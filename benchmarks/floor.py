"""The floor: what aiokafka takes to hand events over and fastavro to decode them, when nothing is done with them."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from typing import Any

import fastavro
from aiokafka import AIOKafkaConsumer, TopicPartition

from cxstream.kafka.schemas import Schemas

from .measuring import Run, Stopwatch, tell

PASSES = 5
"""One pass is over too soon to be measured well."""
FRAMING_BYTES = 10
"""Avro's single-object encoding: what stands before the record."""


async def read_all(asked: dict[str, Any]) -> Run:
    """Read and decode every event of the source topics."""
    schemas = Schemas.packaged()
    parsed = {topic: schemas.latest(kind).parsed for kind, topic in asked["topics"].items()}
    consumer = AIOKafkaConsumer(bootstrap_servers=asked["bootstrap"], auto_offset_reset="earliest")
    async with consumer:
        consumer.assign([TopicPartition(topic, number) for topic in parsed for number in range(asked["partitions"])])
        watch, read = Stopwatch(), 0
        for passed in range(1, PASSES + 1):
            while read < passed * asked["records"]:
                for tp, records in (await consumer.getmany(timeout_ms=1000)).items():
                    schema = parsed[tp.topic]
                    for record in records:
                        value = io.BytesIO(record.value)
                        value.seek(FRAMING_BYTES)
                        fastavro.schemaless_reader(value, schema, return_record_name=True)
                    read += len(records)
            await consumer.seek_to_beginning()
        return watch.stop(read)


if __name__ == "__main__":
    tell(asyncio.run(read_all(json.loads(sys.argv[1]))))
