"""What an event is in Kafka: records and bytes the job writes for it, by topic, as the broker's logs have them."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from aiokafka.codec import zstd_encode

from parts.apache_kafka import ApacheKafka
from parts.producer import Job
from parts.worker import WorkerProcess

from .events import Load
from .judging import records_of_a_case
from .latency import SETTLE_SECONDS, judged_live, messages
from .printing import show
from .sources import filled, length
from .worker import measure

LIVE_EVENTS = 12_000
LIVE_RATE = 1_000
"""Events a second: few of a case come together."""


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
    """Print the traffic of a load that is read as a backlog, and of events that come live; one run each."""
    sources = filled(kafka.bootstrap, load, partitions)
    job = sources.group("traffic")
    measure(sources, settings, job=job)
    show_traffic(kafka, job, "a backlog", sources.records)
    show_traffic(kafka, live_job(kafka.bootstrap, partitions, settings), f"live, {LIVE_RATE:,} a second", LIVE_EVENTS)
    record = records_of_a_case()[-1]
    print(
        f"\nrecord of a case that is over: {len(record):,} bytes, {len(zstd_encode(record)):,} compressed", flush=True
    )


def live_job(bootstrap: str, partitions: int, settings: Mapping[str, str]) -> Job:
    """Return a job whose worker had caught up when events came."""
    job = Job(bootstrap, "traffic-live", partitions=partitions, trusted=False)
    job.declare()
    sent = messages(job, LIVE_EVENTS)
    with (
        tempfile.TemporaryDirectory(prefix="cxstream-bench-") as name,
        WorkerProcess({**job.settings(Path(name) / "data"), **settings}, Path(name) / "worker.log") as worker,
    ):
        worker.wait_for(worker.caught_up, "caught up", seconds=SETTLE_SECONDS)
        judged_live(worker, bootstrap, sent, LIVE_RATE, len(sent))
    return job


def show_traffic(kafka: ApacheKafka, job: Job, name: str, events: int) -> None:
    """Print what is in the topics of a job that has read so many events."""
    rows = []
    for what, topics in topics_of(job).items():
        records = sum(length(job.bootstrap, topic, job.partitions) for topic in topics)
        size = sum(log_bytes(kafka, topic, job.partitions) for topic in topics)
        each = f"{size / records:,.0f}" if records else "-"
        rows.append((what, f"{records / events:.2f}", each, f"{size / events:,.0f}"))
    head = ("", "records/event", "bytes/record", "bytes/event")
    show(f"Kafka traffic, {name}: {events:,} events, {job.partitions} partitions", head, rows)
