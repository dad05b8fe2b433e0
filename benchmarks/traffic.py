"""What an event is in Kafka: records and bytes the job writes for it, by topic, as the broker's logs have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from aiokafka.codec import lz4_encode

from parts.apache_kafka import ApacheKafka
from parts.producer import Job

from . import worker
from .events import Load
from .judging import records_of_a_case
from .measuring import in_turn
from .printing import show
from .sources import counts_of, filled, length

BATCHES = {"a backlog, batches of 1,000": {}, "one event at a time": {"CXSTREAM_LIMITS_MAX_BATCH_RECORDS": "1"}}
"""How much of one case comes together: most, and least."""


def log_bytes(kafka: ApacheKafka, topic: str, partitions: int) -> int:
    """Return how long the logs of a topic are, as they are sent and stored; copies on other brokers count as well."""
    folders = [node.folder / "data" / f"{topic}-{number}" for node in kafka.nodes for number in range(partitions)]
    return sum(log.stat().st_size for folder in folders for log in folder.glob("*.log"))


def topics_of(job: Job) -> dict[str, Sequence[str]]:
    """Return the topics whose traffic grows with events, by what they are called here."""
    table = job.table
    assert table.verdicts is not None
    return {
        "sources": list(job.topics.values()),
        "changelog of cases": [table.changelogs["cases"].name],
        "changelog of boards": [table.changelogs["boards"].name],
        "assets": [table.assets.name],
        "relays": [table.relays.name],
        "stream of verdicts": [table.verdicts.name],
    }


def compare(kafka: ApacheKafka, load: Load, partitions: int, settings: Mapping[str, str]) -> None:
    """Print the traffic of a load that is read as a backlog, and of the same load event by event; one run each."""
    sources = filled(kafka.bootstrap, load, partitions)
    for name, more in BATCHES.items():
        job = sources.group("traffic")
        measure = partial(worker.measure, sources, {**settings, **more}, job=job)
        in_turn({name: measure}, counts_of(sources.figures), rounds=1)
        rows = []
        for what, topics in topics_of(job).items():
            records = sum(length(job.bootstrap, topic, partitions) for topic in topics)
            size = sum(log_bytes(kafka, topic, partitions) for topic in topics)
            each = f"{size / records:,.0f}" if records else "-"
            rows.append((what, f"{records / sources.records:.2f}", each, f"{size / sources.records:,.0f}"))
        head = ("", "records/event", "bytes/record", "bytes/event")
        show(f"Kafka traffic, {name}: {sources.records:,} events, {partitions} partitions", head, rows)
    record = records_of_a_case()[-1]
    print(f"\nrecord of a case that is over: {len(record):,} bytes, {len(lz4_encode(record)):,} compressed", flush=True)
