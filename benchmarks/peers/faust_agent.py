"""A plain Faust agent: one event at a time, one table write per event."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import faust

from benchmarks.measuring import tell
from benchmarks.peers.one_event import Judge


def main(asked: dict[str, Any]) -> None:
    """Run a worker until all events are taken and their table writes sent."""
    app = faust.App(
        asked["group"],
        broker=f"kafka://{asked['bootstrap']}",
        store="memory://",
        datadir=asked["folder"],
        topic_partitions=asked["partitions"],
        topic_replication_factor=1,
        topic_disable_leader=True,
        table_standby_replicas=0,
        consumer_auto_offset_reset="earliest",
        key_serializer="raw",
        value_serializer="raw",
        web_enabled=False,
        worker_redirect_stdouts=False,
    )
    source = app.topic(*asked["topics"].values(), key_type=bytes, value_type=bytes)
    cases = app.Table("cases", key_type=bytes, value_type=bytes, partitions=asked["partitions"])
    judge = Judge(asked)

    @app.agent(source)
    async def take(events: faust.StreamT[bytes]) -> None:
        async for event in events.events():
            message = event.message
            cases[event.key] = judge.record(
                message.topic, message.partition, event.key, event.value, event.headers, cases.get(event.key)
            )
            if not judge.left:
                await app.producer.flush()
                tell(judge.stop())
                os._exit(0)

    worker = faust.Worker(app, loglevel="INFO")
    worker.spinner = None  # it would set the root logger to DEBUG
    worker.execute_from_commandline()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
