"""The producer kit: typed events, and producers for asyncio and without it. It needs no Faust.

from cxstream.client import Producer, ticket

with Producer("kafka-1:9092") as producer:
    producer.send(ticket.Opened(case_id="C-1007", at=datetime.now(UTC), asset_id="PUMP-17", priority="P2"))
"""

from cxstream.client import dispatch, parts, ticket
from cxstream.client.event import Change, Event, stable_id
from cxstream.client.producer import AsyncProducer, Producer, Sent
from cxstream.client.records import DEFAULT_TOPICS, partition_of
from cxstream.domain.facts import RejectedError

__all__ = [
    "DEFAULT_TOPICS",
    "AsyncProducer",
    "Change",
    "Event",
    "Producer",
    "RejectedError",
    "Sent",
    "dispatch",
    "partition_of",
    "parts",
    "stable_id",
    "ticket",
]
