"""A service desk sends what happened to a case, without asyncio: copy it, change the case, run it.

    CXSTREAM_KAFKA_BOOTSTRAP=localhost:9092 python sync_producer.py

It needs `pip install cxstream` and nothing else. Run it twice within the hour: ids and contents are the same, nothing
counts twice.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

from cxstream.client import DEFAULT_TOPICS, Producer, RejectedError, dispatch, stable_id, ticket

now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
case_id = os.environ.get("CASE_ID", "C-1007")

bootstrap = os.environ.get("CXSTREAM_KAFKA_BOOTSTRAP", "localhost:9092")
topics = {kind: os.environ.get(f"CXSTREAM_KAFKA_TOPICS_{kind.upper()}", name) for kind, name in DEFAULT_TOPICS.items()}

with Producer(bootstrap, topics=topics) as producer:
    opened = ticket.Opened(
        case_id=case_id,
        at=now - timedelta(hours=2),
        event_id=stable_id("helpdesk", case_id, "opened"),  # of your own keys: a resend is recognised
        asset_id="PUMP-17",
        priority="P2",
        tz="Europe/Berlin",
        region="north",
        product="pump",
    )
    print(producer.send(opened))

    print(*producer.send_all([
        ticket.Acknowledged(case_id=case_id, at=now - timedelta(hours=1)),  # without an id: made of the content
        dispatch.Scheduled(
            case_id=case_id,
            at=now - timedelta(hours=1),
            visit_id="V-1",
            window_start=now + timedelta(hours=1),
            window_end=now + timedelta(hours=5),
        ),
    ]), sep="\n")  # fmt: skip

    try:
        ticket.Opened(case_id=case_id, at=datetime.now())  # noqa: DTZ005 - wrong on purpose: no time zone
    except RejectedError as error:
        print(f"not sent: {error.field}: expected {error.expected}")
