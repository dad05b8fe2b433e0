"""What the producer kit, its examples and `cxstream emit` put on a real broker is where and what a worker expects."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiokafka.errors import KafkaError
from click.testing import CliRunner, Result

from cxstream.cli import main
from cxstream.client import AsyncProducer, Producer, RejectedError, partition_of, ticket
from cxstream.kafka.codec import DELIVERED_AT, Codec
from cxstream.kafka.schemas import SchemaIds, Schemas
from parts.processes import free_port
from parts.producer import Job

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples" / "upstream"
NOW = datetime.now(UTC)
SCHEMAS = Schemas.packaged()


@pytest.fixture
def job(kafka: str) -> Job:
    """Return topics of the test's own, which exist."""
    job = Job(kafka, "upstream")
    job.declare_sources()
    return job


def settings(job: Job) -> dict[str, str]:
    """Return the variables by which commands and examples find the job's brokers and topics."""
    topics = {f"CXSTREAM_KAFKA_TOPICS_{kind.upper()}": name for kind, name in job.topics.items()}
    return {
        "CXSTREAM_KAFKA_BOOTSTRAP": job.bootstrap,
        "CXSTREAM_KAFKA_PARTITIONS": str(job.partitions),
        **topics,
    }


def emit(job: Job, *arguments: str, **more: str) -> Result:
    """Run `cxstream emit` on the job's topics."""
    return CliRunner(env={**settings(job), **more}).invoke(main, ["emit", *arguments])


def facts(job: Job, kind: str, ids: SchemaIds | None = None) -> list[tuple[str, str, str]]:
    """Return case, type and event id of a topic's records, each decoded as a worker does, on its right partition."""
    codec = Codec(SCHEMAS, ids, skew_ms=300_000)
    found = []
    for record in job.read(job.topics[kind]):
        case_id, fact = codec.decode(kind, record.key, record.value, record.timestamp)
        assert record.partition == partition_of(case_id, job.partitions)
        found.append((case_id, fact.type, fact.event_id))
    return found


def test_producers_with_and_without_asyncio_send_the_same(job: Job) -> None:
    """Both producers say where each event is, on the partition of its case and in the order of a case."""
    events = [
        event
        for number in range(20)
        for event in (ticket.Opened(case_id=f"C-{number}", at=NOW), ticket.Diagnosed(case_id=f"C-{number}", at=NOW))
    ]

    async def run() -> list[tuple[int, int]]:
        async with AsyncProducer(job.bootstrap, topics=job.topics) as producer:
            return [(one.partition, one.offset) for one in await producer.send_all(events)]

    first = asyncio.run(run())
    with Producer(job.bootstrap, topics=job.topics) as producer:
        second = producer.send_all(events)
        with pytest.raises(ValueError, match="partition: expected 0 to 3"):
            producer.send_all(events, partition=99)
        with pytest.raises(RejectedError):
            producer.send({**events[0].document(), "priority": "P9"})
    records = job.read(job.topics["ticket"])
    assert len(records) == 80
    by_place = {(record.partition, record.offset): record for record in records}
    for event, place, sent in zip(events, first, second, strict=True):
        again = by_place[sent.partition, sent.offset]
        assert (sent.case_id, sent.event_id) == (event.case_id, event.event_id)
        assert (again.key, again.value) == (by_place[place].key, by_place[place].value)
        assert again.key == event.case_id.encode()
    by_case: dict[str, list[str]] = {}
    for case_id, event_type, _ in facts(job, "ticket"):
        by_case.setdefault(case_id, []).append(event_type)
    assert set(map(tuple, by_case.values())) == {("opened", "diagnosed") * 2}


def test_a_broker_that_is_not_there_is_an_error(job: Job) -> None:
    """A producer that finds no broker raises, and leaves no thread behind; emit says the address."""
    nowhere = f"127.0.0.1:{free_port()}"
    with pytest.raises(KafkaError):
        Producer(nowhere).start()
    assert "cxstream-producer" not in {thread.name for thread in threading.enumerate()}
    result = emit(job, "--sample", "ticket.opened", CXSTREAM_KAFKA_BOOTSTRAP=nowhere)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: no broker of {nowhere} could be reached (")
    assert "kafka.bootstrap" in result.stderr
    assert "KafkaConnectionError" not in result.stderr


@pytest.mark.parametrize("script", ["sync_producer.py", "asyncio_producer.py"])
def test_examples_run_as_they_are(script: str, job: Job) -> None:
    """Each example runs, says where its events are, and what it sent is what a worker reads."""
    environment = {**os.environ, **settings(job), "PYTHONPATH": str(ROOT / "src"), "CASE_ID": "C-7"}
    done = subprocess.run(
        [sys.executable, EXAMPLES / script], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    told = [(kind, event_type) for kind in job.topics for _, event_type, _ in facts(job, kind)]
    expected = {
        "sync_producer.py": [("ticket", "opened"), ("ticket", "acknowledged"), ("dispatch", "scheduled")],
        "asyncio_producer.py": [
            *(("dispatch", name) for name in ("arrived", "completed")),
            *(("parts", name) for name in ("required", "delivered")),
        ],
    }
    assert told == expected[script]
    assert done.stdout.count("Sent(") == len(told)


def test_the_shell_example_stops_at_a_wrong_file(job: Job, tmp_path: Path) -> None:
    """emit.sh sends a good file and tells where each event is; of a wrong one it sends nothing."""
    program = tmp_path / "cxstream"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m cxstream "$@"\n')
    program.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    environment = {**os.environ, **settings(job), "PYTHONPATH": str(ROOT / "src"), "PATH": path}
    good, wrong = tmp_path / "good.ndjson", tmp_path / "wrong.ndjson"
    event = ticket.Opened(case_id="C-7", at=NOW).document()
    good.write_text(json.dumps(event))
    wrong.write_text(json.dumps({**event, "tz": "Berlin"}))
    for file, status in ((wrong, 2), (good, 0)):
        done = subprocess.run(
            [EXAMPLES / "emit.sh", file], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == status, done.stderr
        assert len(facts(job, "ticket")) == (status == 0)
    assert json.loads(done.stdout.splitlines()[-1])["event_id"] == event["event_id"]


def test_emit_says_where_each_event_is(job: Job, tmp_path: Path) -> None:
    """Events of a file and samples are sent in order; partition and offset told are those on the broker."""
    file = tmp_path / "events.ndjson"
    lines = [ticket.Opened(case_id=f"C-{number}", at=NOW).document() for number in range(8)]
    file.write_text("\n".join(map(json.dumps, lines)))
    result = emit(job, str(file), "--sample", "dispatch.scheduled", "--case", "C-3", "--json")
    assert result.exit_code == 0, result.stderr
    told = [json.loads(line) for line in result.stdout.splitlines()]
    assert [one["event_id"] for one in told[:8]] == [line["event_id"] for line in lines]
    records = {(one.topic, one.partition, one.offset): one for kind in job.topics for one in job.read(job.topics[kind])}
    assert {(one["topic"], one["partition"], one["offset"]) for one in told} == set(records)
    assert [event_type for _, event_type, _ in facts(job, "dispatch")] == ["scheduled"]


def test_emit_sends_nothing_if_a_line_is_wrong(job: Job, tmp_path: Path) -> None:
    """One wrong line, a stated delivery nobody believes or an unknown sample: nothing is sent, and it is said why."""
    file = tmp_path / "events.ndjson"
    good = ticket.Opened(case_id="C", at=NOW).document()
    file.write_text(json.dumps(good) + "\n" + json.dumps({**good, "prio": "P1"}))
    wrong = emit(job, str(file))
    assert (wrong.exit_code, wrong.stderr) == (
        2,
        f"{file}:2: unknown_field: prio: expected a field of ticket.opened, perhaps priority\n",
    )
    file.write_text(json.dumps({**good, "seen": NOW.isoformat()}))
    untrusted = emit(job, str(file))
    assert untrusted.exit_code == 1
    assert "kafka.trusted_topics" in untrusted.stderr
    unknown = emit(job, "--sample", "ticket.open")
    assert (unknown.exit_code, unknown.stderr) == (
        1,
        "Error: there is no event type ticket.open, perhaps ticket.opened\n",
    )
    assert emit(job).exit_code == 2
    assert emit(job, "--sample", "ticket.opened", "--dry-run").exit_code == 0
    assert facts(job, "ticket") == []
    trusted = emit(job, str(file), CXSTREAM_KAFKA_TRUSTED_TOPICS=job.topics["ticket"])
    assert trusted.exit_code == 0
    (record,) = job.read(job.topics["ticket"])
    assert record.headers == ((DELIVERED_AT, NOW.isoformat().encode()),)


def test_emit_writes_to_no_topic_that_workers_refuse(kafka: str) -> None:
    """A topic that is missing or has other partitions is told with the fix; nothing is sent, and no topic created."""
    job = Job(kafka, "upstream")
    job.declare_miscounted("dispatch", 1)
    for kind, sample, found in (("ticket", "opened", "is missing"), ("dispatch", "arrived", "has 1 partitions")):
        result = emit(job, "--sample", f"{kind}.{sample}")
        assert result.exit_code == 1
        assert f"{job.topics[kind]} {found}; expected 4 partitions (kafka.partitions)" in result.stderr
        assert "cxstream topics apply" in result.stderr
    assert job.read(job.topics["dispatch"]) == []
    job.declare_miscounted("ticket", 4)  # it would have one partition if emit had created it
    assert emit(job, "--sample", "ticket.opened").exit_code == 0


def test_emit_frames_for_a_registry_where_it_knows_the_ids(job: Job) -> None:
    """With --confluent messages carry the ids of schema.ids; where one is missing nothing is sent, and it is said."""
    ids = "7=ticket/v1,8=dispatch/v1,9=parts/v1"
    sent = emit(job, "--sample", "ticket.opened", "--confluent", CXSTREAM_SCHEMA_IDS=ids)
    assert sent.exit_code == 0, sent.stderr
    (record,) = job.read(job.topics["ticket"])
    assert record.value[:5] == b"\x00\x00\x00\x00\x07"
    assert facts(job, "ticket", SchemaIds.from_text(SCHEMAS, ids))[0][1] == "opened"
    missing = emit(job, "--sample", "ticket.opened", "--confluent", CXSTREAM_SCHEMA_IDS="8=dispatch/v1")
    assert missing.exit_code == 1
    assert "ticket/v1 has no id" in missing.stderr
