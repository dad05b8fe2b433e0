"""How long after its record an event is in the figures, at rates that are offered for some seconds."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer

from cxstream.exposition.families import EVENT_TO_GAUGE
from parts.figures import wall_ms
from parts.producer import Job, Message
from parts.worker import Samples, WorkerProcess

from .events import Load, reference_events
from .measuring import BenchmarkFailedError
from .printing import show
from .worker import looked

SLICE_SECONDS = 0.05
"""A sender sends what is due in slices of this."""
SETTLE_SECONDS = 120.0
WARM_UP_SECONDS = 5.0
"""The rate is offered for so long first, which is not measured: brokers and worker have just been started."""


def messages(job: Job, count: int) -> list[Message]:
    """Return so many events of cases that overlap, the newest of which happened just now."""
    load = Load(cases=count // 12 + 1, live=count // 12 + 1, duplicates=0.0)
    return [job.message(delivery) for delivery in islice(reference_events(load, wall_ms()), count)]


async def offer(bootstrap: str, sent: Sequence[Message], rate: int) -> float:
    """Send messages at a rate a second, whatever becomes of them; return the rate that was reached."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=5, acks="all") as producer:
        began = time.perf_counter()
        waiting: list[Awaitable[Any]] = []
        left = iter(sent)
        for number in range(1, len(sent)):
            due = list(islice(left, int(number * SLICE_SECONDS * rate) - len(waiting)))
            waiting += [await producer.send(one.topic, one.value, one.key) for one in due]
            if len(waiting) == len(sent):
                break
            await asyncio.sleep(max(0.0, began + number * SLICE_SECONDS - time.perf_counter()))
        reached = len(sent) / (time.perf_counter() - began)
        await asyncio.gather(*waiting)
        return reached


def judged_live(worker: WorkerProcess, bootstrap: str, sent: Sequence[Message], rate: int, read: int) -> float:
    """Offer messages, and wait until a worker has read so many in all; return the rate that was reached."""
    reached = asyncio.run(offer(bootstrap, sent, rate))
    worker.wait_for(lambda: looked(worker).consumed >= read, "all read", seconds=SETTLE_SECONDS)
    return reached


def latencies(samples: Samples) -> dict[float, float]:
    """Return how many events took no longer than each upper bound in seconds."""
    return {float(bound): count for (bound,), count in samples.by(f"{EVENT_TO_GAUGE.name}_bucket", "le").items()}


def quantile(at_most: Mapping[float, float], share: float) -> float:
    """Return a quantile of latencies in seconds, interpolated within its bucket as Prometheus does."""
    wanted = share * max(at_most.values())
    lower, below = 0.0, 0.0
    for bound in sorted(at_most):
        if at_most[bound] >= wanted:
            return lower + (min(bound, 1e6) - lower) * (wanted - below) / max(1.0, at_most[bound] - below)
        lower, below = bound, at_most[bound]
    return lower


def measured(bootstrap: str, rate: int, seconds: float, partitions: int, settings: Mapping[str, str]) -> Iterator[str]:
    """Yield the cells of one row: what was offered, what came of it, and what that took."""
    job = Job(bootstrap, "bench-latency", partitions=partitions, trusted=False)
    job.declare()
    prepared = messages(job, int(rate * (WARM_UP_SECONDS + seconds)))
    warming, sent = prepared[: int(rate * WARM_UP_SECONDS)], prepared[int(rate * WARM_UP_SECONDS) :]
    with (
        tempfile.TemporaryDirectory(prefix="cxstream-bench-") as name,
        WorkerProcess({**job.settings(Path(name) / "data"), **settings}, Path(name) / "worker.log") as worker,
    ):
        worker.wait_for(worker.caught_up, "caught up", seconds=SETTLE_SECONDS)
        judged_live(worker, bootstrap, warming, rate, len(warming))
        before, known = looked(worker), latencies(worker.metrics())
        reached = judged_live(worker, bootstrap, sent, rate, len(prepared))
        after = looked(worker)
        at_most = {bound: count - known.get(bound, 0) for bound, count in latencies(worker.metrics()).items()}
    if max(at_most.values()) != len(sent):
        raise BenchmarkFailedError(f"{max(at_most.values()):.0f} latencies were counted of {len(sent)} events")
    yield f"{rate:,}"
    yield f"{reached:,.0f}"
    yield f"{quantile(at_most, 0.5):.2f}"
    yield f"{quantile(at_most, 0.99):.2f}"
    yield f"{(after.cpu_seconds - before.cpu_seconds) / len(sent) * 1e6:.1f}"


def compare(bootstrap: str, rates: Sequence[int], seconds: float, partitions: int, settings: Mapping[str, str]) -> None:
    """Print the latencies at each rate."""
    rows = [tuple(measured(bootstrap, rate, seconds, partitions, settings)) for rate in rates]
    head = ("events/s offered", "reached", "p50 s", "p99 s", "µs CPU/event")
    title = f"From the record to the figures: one worker, {partitions} partitions, {seconds:.0f} s each; one run each"
    show(title, head, rows)
