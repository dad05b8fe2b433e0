"""Quix Streams: three topics as one dataframe, with state in RocksDB and its changelog."""

from __future__ import annotations

import json
import sys
from typing import Any

from quixstreams import Application, State, message_context
from quixstreams.state.rocksdb import RocksDBOptions

from benchmarks.measuring import tell
from benchmarks.peers.one_event import Judge
from cxstream.kafka.codec import Headers

RECORD = b"record"


def main(asked: dict[str, Any]) -> None:
    """Run an application until all events are taken and the last checkpoint is made."""
    app = Application(
        broker_address=asked["bootstrap"],
        consumer_group=asked["group"],
        auto_offset_reset="earliest",
        state_dir=asked["folder"],
        rocksdb_options=RocksDBOptions(dumps=bytes, loads=bytes),  # records are bytes, as everywhere here
        loglevel="WARNING",
    )
    topics = [
        app.topic(name, value_deserializer="bytes", key_deserializer="bytes") for name in asked["topics"].values()
    ]
    events, *others = [app.dataframe(topic) for topic in topics]
    for other in others:
        events = events.concat(other)
    judge = Judge(asked)

    def take(value: bytes, key: bytes, _timestamp_ms: int, headers: Headers, state: State) -> None:
        of = message_context()
        state.set(RECORD, judge.record(of.topic, of.partition, key, value, headers, state.get(RECORD)))

    events.apply(take, stateful=True, metadata=True)
    app.run(count=asked["records"], collect=False)
    tell(judge.stop())


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
