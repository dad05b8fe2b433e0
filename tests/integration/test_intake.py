"""The intake on a real broker: processes of it are killed under traffic, and every event is there, under its case."""

from __future__ import annotations

import asyncio
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import orjson
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.partitioner import murmur2

from cxstream.config import load
from cxstream.domain.instant import parse_instant
from cxstream.intake.mapper import Raw
from parts.processes import ServerFailedError, ServerProcess
from parts.producer import Job, Message
from parts.rows import MAP, ORDERS, TICKETS, VISITS, intake_map, story, told
from parts.worker import SOURCES as CODE
from parts.worker import WorkerProcess

SESSION = {"CXSTREAM_KAFKA_SESSION_TIMEOUT_SECONDS": "2", "CXSTREAM_KAFKA_HEARTBEAT_SECONDS": "0.4"}
CASES = 30


class IntakeProcess(WorkerProcess):
    """`cxstream intake`, asked and killed as a worker is."""

    def __init__(self, settings: Mapping[str, str], map_path: Path, log: Path) -> None:
        super().__init__({**settings, **SESSION}, log)
        self._map_path = map_path

    def launch(self) -> IntakeProcess:
        """Start the process and return at once."""
        variables = {**self.settings, "CXSTREAM_HTTP_PORT": str(self.port), "PYTHONPATH": str(CODE)}
        command = [sys.executable, "-m", "cxstream", "intake", "--map", str(self._map_path)]
        self._process = ServerProcess(command, self.log, variables)
        return self

    def is_active(self) -> bool:
        """Tell whether it reads the topics."""
        try:
            return self.metrics().sum("cxstream_intake_active") == 1
        except ServerFailedError:
            return False

    def now(self, family: str) -> float:
        """Return a figure of the intake added up; 0 while it does not answer."""
        try:
            return self.metrics().sum(f"cxstream_intake_{family}")
        except ServerFailedError:
            return 0


class Desk:
    """A job whose events come by an intake: topics of rows, the map, and processes of it."""

    def __init__(self, bootstrap: str, folder: Path) -> None:
        self.job = Job(bootstrap, "intake", partitions=4)
        self.job.declare()
        self.folder = folder
        self.names = {name: f"{self.job.group}.{name}" for name in (TICKETS, ORDERS, VISITS)}
        self.map_path = folder / "mapping.toml"
        text = MAP
        for name, own in self.names.items():
            text = text.replace(f'name = "{name}"', f'name = "{own}"')
        self.map_path.write_text(text)
        self.state = f"{self.job.group}-intake-rows-state"
        self.sent: list[Raw] = []
        asyncio.run(self._create())

    async def _create(self) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.job.bootstrap)
        try:
            await admin.start()
            await admin.create_topics([NewTopic(name, 2, 1) for name in self.names.values()])
        finally:
            await admin.close()

    def launch(self, stack: ExitStack) -> IntakeProcess:
        """Start a process of the intake, and return at once."""
        settings = {**self.job.settings(self.folder), "CXSTREAM_KAFKA_DECLARE_TOPICS": "true"}
        launched = IntakeProcess(settings, self.map_path, self.folder / f"{uuid.uuid4().hex[:6]}.log").launch()
        return stack.enter_context(launched)

    def write(self, rows: list[tuple[str, dict[str, object]]]) -> None:
        """Write rows as their systems would, by keys of their own."""
        records = [(self.names[topic], str(row["id"]).encode(), orjson.dumps(row)) for topic, row in rows]
        self.job.produce(Message(*record) for record in records)
        self.sent += [Raw(name, 0, 0, None, key, value) for name, key, value in records]

    def events(self) -> list[tuple[str, bytes, bytes]]:
        """Return the events on the topics of the job, partition by partition."""
        found = [record for name in self.job.topics.values() for record in self.job.read(name)]
        assert all(record.partition == (murmur2(record.key) & 0x7FFFFFFF) % 4 for record in found)
        return [(record.topic, record.key, record.value) for record in found]

    def expected(self) -> list[list[tuple[str, bytes, bytes]]]:
        """Return what each row tells to who knows all."""
        topics = {f"cx.{kind}": name for kind, name in self.job.topics.items()}
        rows = [raw._replace(timestamp_ms=parse_instant("2026-03-03T00:00:00Z")) for raw in self.sent]
        by_row = told(intake_map(**self.names), rows)
        return [[(topics[topic], key, value) for topic, key, value in events] for events in by_row]

    def parked(self) -> set[bytes]:
        """Return the keys of what waits, as the topic of the state says."""
        last = {record.key: record.value for record in self.job.read(self.state)}
        return {key for key, value in last.items() if value is not None and b"parked" in key}


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 40.0) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise ServerFailedError(f"not within {seconds:g} s: {what}")
        time.sleep(0.1)


def who_works(*processes: IntakeProcess) -> list[IntakeProcess]:
    """Return the one that works, then the others: once a hand-over between them, if there is one, is over."""

    def asked() -> list[bool]:
        return [one.is_active() for one in processes]

    wait_for(lambda: (said := asked()).count(True) == 1 and asked() == said, "one works, the others stand by")
    return sorted(processes, key=IntakeProcess.is_active, reverse=True)


@contextmanager
def desk(bootstrap: str, folder: Path) -> Iterator[tuple[Desk, ExitStack]]:
    """Yield a desk, and what ends its processes."""
    with ExitStack() as stack:
        yield Desk(bootstrap, folder), stack


def test_processes_killed_under_traffic_lose_nothing(kafka: str, tmp_path: Path) -> None:
    """The process that works is killed (-9), twice; one of those that stand by takes over, each time.

    Every event is on its source topic, on the partition murmur2 gives its case, those of a row in their order; what
    waits when a process is killed waits on, and is told when its case is known.
    """
    with desk(kafka, tmp_path) as (at, stack):
        rows = story(CASES)
        visits_first = sorted(rows, key=lambda row: row[0] != VISITS)
        both = at.launch(stack), at.launch(stack)
        wait_for(lambda: any(one.is_active() for one in both), "one of them works")
        at.write(visits_first[: len(rows) // 2 + 8])
        wait_for(lambda: any(one.now("events_total") > 0 for one in both), "something is told, by whoever works then")
        active, standby = who_works(*both)
        active.kill()
        left = standby, at.launch(stack)
        at.write(visits_first[len(rows) // 2 + 8 : -20])
        wait_for(lambda: any(one.now("parked_records") > 0 for one in left), "one of them works, and something waits")
        active, last = who_works(*left)
        active.kill()
        at.write(visits_first[-20:])
        expected = at.expected()
        wanted = {event for events in expected for event in events}
        wait_for(last.is_active, "the last one works")
        wait_for(lambda: at.job.records() >= len(wanted) and last.now("parked_records") == 0, "everything is told")
        last.stop()
        found = at.events()
        assert set(found) == wanted
        for events in expected:
            assert sorted(map(found.index, events)) == [found.index(one) for one in events]
        assert not at.parked()


def test_a_map_that_does_not_fit_is_refused_at_the_start(kafka: str, tmp_path: Path) -> None:
    """A topic that is not there, or is one of ours, and a delivery nobody believes, end it with what to mend."""
    from click.testing import CliRunner

    from cxstream.cli import main

    job = Job(kafka, "refused", partitions=2)
    job.declare()
    settings = {**job.settings(tmp_path), "CXSTREAM_KAFKA_DECLARE_TOPICS": "true", "CXSTREAM_HTTP_PORT": "0"}
    assert load(None, settings).kafka.declare_topics
    path = tmp_path / "mapping.toml"

    def said(text: str, **others: str) -> str:
        path.write_text(text)
        result = CliRunner(env={**settings, **others}).invoke(main, ["intake", "--map", str(path)])
        assert result.exit_code == 1
        return result.output

    assert f"there is no topic {TICKETS}, {ORDERS}, {VISITS}" in said(MAP)
    own = said(MAP.replace('name = "tickets"', f'name = "{job.topics["ticket"]}"'))
    assert "it is a topic of cxstream itself" in own
    stated = MAP.replace('source = "desk"', 'source = "desk"\ndelivered_at = "opened"')
    assert "workers do not believe it" in said(stated, CXSTREAM_KAFKA_TRUSTED_TOPICS="")
