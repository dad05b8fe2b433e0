"""Whether an event costs more beside many cases that can still change, and what memory and recovery these take."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import msgspec

from cxstream.demo.upstream import MINUTE
from cxstream.domain.cases import Case
from cxstream.domain.facts import admit
from cxstream.domain.vocabulary import TOPICS
from cxstream.engine.watermark import NOTHING, Said
from cxstream.kafka.engine import EngineSettings
from cxstream.kafka.records import write
from cxstream.kafka.topics import CASES_TABLE
from cxstream.kafka.verdict_stream import OFFSET_HEADER
from parts.figures import wall_ms
from parts.producer import Job, Message
from parts.worker import WorkerProcess

from .events import LASTS_MS, Load, reference_case, reference_events
from .judging import Judging
from .measuring import BenchmarkFailedError, Run
from .printing import show
from .sources import length
from .worker import resident_bytes, watched

PATTERN = 1_234_567_890
"""Number of the first of the cases all held ones are copies of: its digits are in all its ids, and nowhere else."""
PATTERNS = 144
"""So many of them, of all segments, fixed one after the other."""
FIXED_EVERY_MS = 15 * MINUTE
BEYOND_ALL = 1 << 62
"""An offset no topic comes to."""
AT_A_TIME = 20_000
"""Records produced together: more would take memory."""
PATIENCE_SECONDS = 1800.0


class Held(NamedTuple):
    """What it meant to hold so many cases."""

    recovery_seconds: float
    resident_bytes: int
    run: Run


def held_cases(count: int, fixed_by_ms: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and records of cases that were fixed by an instant and can still change: most that a worker holds."""
    patterns = [_pattern(PATTERN + index, fixed_by_ms - index * FIXED_EVERY_MS) for index in range(PATTERNS)]
    for number in range(count):
        digits, key, record = patterns[number % PATTERNS]
        own = b"9" + f"{number:0{len(digits)}d}".encode()[1:]
        yield key.replace(digits, own), record.replace(digits, own)


def _pattern(number: int, fixed_by_ms: int) -> tuple[bytes, bytes, bytes]:
    events = [event for _, event in reference_case(number, fixed_by_ms - LASTS_MS)]
    facts = [admit(event, skew_ms=0)[1] for event in events]
    case_id = str(events[0]["case_id"])
    return str(number).encode(), case_id.encode(), write(Judging().revise(0, Case(case_id), facts))


def words_of_an_owner_before(job: Job, taken_ms: int) -> Iterator[Message]:
    """Yield what an owner of each partition leaves behind: what it took, and that all it wrote is announced."""
    said = msgspec.json.encode(Said(NOTHING, dict.fromkeys(TOPICS, taken_ms)))
    for number in range(job.partitions):
        yield Message(job.table.watermarks.name, str(number).encode(), said, partition=0)
        yield Message(f"{job.group}.verdicts", b"", b"", [(OFFSET_HEADER, b"%d" % BEYOND_ALL)], number)


def prefill(job: Job, count: int, fixed_by_ms: int) -> None:
    """Put so many held cases into the changelog of a job, as a worker writes them, and what else an owner leaves."""
    changelog = job.table.changelogs[CASES_TABLE].name
    left = (Message(changelog, key, record) for key, record in held_cases(count, fixed_by_ms))
    while some := list(islice(left, AT_A_TIME)):
        job.produce(some, compression=EngineSettings.compression)
    job.produce(words_of_an_owner_before(job, fixed_by_ms))


def hold(bootstrap: str, count: int, load: Load, partitions: int, settings: Mapping[str, str]) -> Held:
    """Let a worker with these CXSTREAM_ variables recover so many cases from its changelog, then read a load."""
    job = Job(bootstrap, "bench-live", partitions=partitions)
    job.declare()
    ends_ms = wall_ms() - MINUTE
    changelog = job.table.changelogs[CASES_TABLE].name
    prefill(job, count, ends_ms - load.history_ms)
    deliveries = list(reference_events(load, ends_ms))
    job.deliver(deliveries)
    with tempfile.TemporaryDirectory(prefix="cxstream-bench-") as name:
        worker = WorkerProcess({**job.settings(Path(name) / "data"), **settings}, Path(name) / "worker.log").launch()
        began = time.monotonic()
        with worker:
            worker.wait_for(lambda: worker.ask("/readyz").status == 200, "recovered", seconds=PATIENCE_SECONDS)
            recovered_seconds = time.monotonic() - began
            run = watched([worker], len(deliveries), partitions)
            found = worker.metrics().sum("cxstream_table_keys", table="cases")
            if found != count + load.cases:
                raise BenchmarkFailedError(f"{found:.0f} cases are held, not {count + load.cases}")
            written = length(job.bootstrap, changelog, partitions) - count
            run.written = written / len(deliveries)
            return Held(recovered_seconds, resident_bytes(worker.process.pid), run)


def compare(bootstrap: str, sizes: Sequence[int], load: Load, partitions: int, settings: Mapping[str, str]) -> None:
    """Print what events cost beside so many cases."""
    rows = []
    for size in sizes:
        held = hold(bootstrap, size, load, partitions, settings)
        memory = f"{held.resident_bytes / 2**20:,.0f}"
        written = f"{held.run.written or 0:.2f}"
        rows.append((f"{size:,}", f"{held.run.cpu_us:.1f}", written, f"{held.recovery_seconds:.1f}", memory))
    head = ("cases held", "µs CPU/event", "records/event", "seconds from start to recovered", "MiB resident")
    show(f"The whole job beside cases fixed a day ago: {load.cases:,} reference cases on top; one run each", head, rows)
