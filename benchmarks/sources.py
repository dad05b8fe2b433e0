"""Source topics with a load: encoded and produced once, then read by every competitor in a group of its own."""

from __future__ import annotations

import asyncio
import copy
import uuid
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition

from cxstream.demo.upstream import MINUTE, Delivery
from parts.figures import Figures, figures_at, segments_of, wall_ms
from parts.producer import Job, facts_of

from .events import Load, reference_events
from .judging import WINDOW, WINDOWS
from .measuring import Counts


class Sources(NamedTuple):
    """Topics with a load in them."""

    job: Job
    ends_ms: int
    """When the last of it was delivered, at the latest."""
    records: int
    figures: Figures
    """What `cxstream judge` makes of it."""

    def group(self, name: str) -> Job:
        """Return a consumer group that has read nothing yet, on these topics."""
        job = copy.copy(self.job)
        job.group = f"{name}-{uuid.uuid4().hex[:8]}"
        return job

    def asked(self, group: str) -> dict[str, object]:
        """Return what a competitor in a process of its own has to know."""
        return {
            "bootstrap": self.job.bootstrap,
            "group": self.group(group).group,
            "topics": self.job.topics,
            "records": self.records,
            "partitions": self.job.partitions,
        }


def filled(bootstrap: str, wanted: Load, partitions: int, ends_ms: int | None = None) -> Sources:
    """Create topics with a load in them whose last delivery was a minute ago, and say what it must come to.

    `ends_ms` is another end: loads with the same end are the same.
    """
    job = Job(bootstrap, "bench", partitions=partitions)
    job.declare()
    ends_ms = wall_ms() - MINUTE if ends_ms is None else ends_ms
    deliveries = list(reference_events(wanted, ends_ms))
    job.deliver(deliveries)
    return Sources(job, ends_ms, len(deliveries), judged(deliveries, wall_ms()))


def length(bootstrap: str, topic: str, partitions: int) -> int:
    """Return how many records were ever written to a topic."""

    async def ask() -> int:
        async with AIOKafkaConsumer(bootstrap_servers=bootstrap) as consumer:
            return sum((await consumer.end_offsets([TopicPartition(topic, n) for n in range(partitions)])).values())

    return asyncio.run(ask())


def judged(deliveries: Sequence[Delivery], now_ms: int) -> Figures:
    """Return the figures `cxstream judge` gives these events at a clock reading."""
    return figures_at(now_ms, facts_of(deliveries), segments_of(deliveries), WINDOWS)


def counts_of(figures: Figures) -> Counts:
    """Return how many units of each sign stand how in the window of all: "sign good" to a number."""
    counts: Counter[str] = Counter()
    for (level, sign, _segment, window, outcome, _finality), units in figures.units.items():
        if (level, window) == ("job", WINDOW):
            counts[f"{sign} {outcome}"] += units
    for state, standing in (("pending", figures.pending), ("excluded", figures.excluded)):
        for (sign, window, *_reason), units in standing.items():
            if window == WINDOW:
                counts[f"{sign} {state}"] += units
    return dict(sorted((+counts).items()))
