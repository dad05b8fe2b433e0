"""A dispatch system sends what happened on a visit, from asyncio: copy it, change the visit, run it.

    CXSTREAM_KAFKA_BOOTSTRAP=localhost:9092 python asyncio_producer.py

It needs `pip install cxstream` and nothing else. For brokers with a login and TLS give the client its arguments:
client={"security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-512", "sasl_plain_username": ...,
"sasl_plain_password": ..., "ssl_context": ssl.create_default_context(cafile=...)}.
"""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime, timedelta

from cxstream.client import DEFAULT_TOPICS, AsyncProducer, dispatch, parts


async def main() -> None:
    """Send a visit with the part it needed."""
    now = datetime.now(UTC)
    case_id, visit_id = os.environ.get("CASE_ID", "C-1007"), "V-1"
    events = [
        parts.Required(
            case_id=case_id, at=now - timedelta(minutes=50), line_id="L-1", part_no="SEAL-4", visit_id=visit_id
        ),
        parts.Delivered(case_id=case_id, at=now - timedelta(minutes=45), line_id="L-1", to="van", visit_id=visit_id),
        dispatch.Arrived(case_id=case_id, at=now - timedelta(minutes=40), visit_id=visit_id),
        dispatch.Completed(case_id=case_id, at=now, visit_id=visit_id, outcome="fixed"),
    ]
    bootstrap = os.environ.get("CXSTREAM_KAFKA_BOOTSTRAP", "localhost:9092")
    topics = {
        kind: os.environ.get(f"CXSTREAM_KAFKA_TOPICS_{kind.upper()}", name) for kind, name in DEFAULT_TOPICS.items()
    }
    async with AsyncProducer(bootstrap, topics=topics) as producer:
        for sent in await producer.send_all(events):
            print(sent)


asyncio.run(main())
