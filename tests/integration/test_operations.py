"""What the doctor, the topic plan and the status say of a real Apache Kafka on which everything is wrong, or well."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any
from zlib import crc32

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from click.testing import CliRunner

from cxstream.cli import main
from cxstream.config import Settings, load, policy_stated
from cxstream.domain.instant import DAY_MS, HOUR_MS
from cxstream.engine.policies import PolicyRecord
from cxstream.kafka.topics import Topic
from cxstream.kafka.watermarks import POLICY_KEY
from cxstream.operations.doctor import examine
from cxstream.operations.findings import Finding, Report
from cxstream.operations.status import status
from parts.acls import AUTHORIZER, allow_only
from parts.apache_kafka import ApacheKafka
from parts.broker import require_apache_kafka
from parts.figures import wall_ms
from parts.poison import an_opening
from parts.processes import free_port
from parts.producer import Job, Message
from parts.worker import WorkerProcess

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

PARTITIONS = 4
OF_NOBODY = 999
"""A schema id that nobody knows."""


@pytest.fixture(scope="module")
def guarded() -> Iterator[str]:
    """Return the address of an Apache Kafka that has an authoriser."""
    require_apache_kafka()
    with ApacheKafka(properties={**AUTHORIZER, "group.min.session.timeout.ms": 6000}) as cluster:
        yield cluster.bootstrap


def settings_of(job: Job, **others: str) -> Settings:
    """Return the settings of a job with some of them changed."""
    return load(None, {**job.settings(Path("/nonexistent")), **others})


def run(asked: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401
    """Run to the end."""
    return asyncio.run(asyncio.wait_for(asked, 60))


async def create(bootstrap: str, *topics: tuple[Topic, int, Mapping[str, str]]) -> None:
    """Create topics as an operator might: with other partitions or another configuration."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        made = [NewTopic(one.name, count, 1, topic_configs=dict(settings)) for one, count, settings in topics]
        answer = await admin.create_topics(made)
        assert {code for _, code, *_ in answer.topic_errors} == {0}, answer
        names = {topic.name for topic, _count, _settings in topics}
        while not names <= set(await admin.list_topics()):  # noqa: ASYNC110  # the broker tells nobody
            await asyncio.sleep(0.05)
    finally:
        await admin.close()


# --- Everything is wrong ----------------------------------------------------------------------------------------------


def events(job: Job, kind: str, count: int, *, lead_ms: int = 0) -> list[tuple[bytes, bytes]]:
    """Return openings of as many cases, by key; dated so much later than now."""
    cases = [f"{kind}-{number}" for number in range(count)]
    return [(case.encode(), job.codec.encode(an_opening(case, wall_ms() + lead_ms))) for case in cases]


@pytest.fixture(scope="module")
def sick(guarded: str) -> Report:
    """Return what the doctor says of a job with which nearly everything is wrong."""
    job = Job(guarded, "sick", partitions=PARTITIONS, trusted=False)
    table = job.table
    ticket, dispatch, parts = table.sources.values()
    cases, boards = table.changelogs.values()
    assert table.verdicts is not None
    small = {"max.message.bytes": "1048588"}
    wrong = {
        ticket.name: (PARTITIONS, {}),
        dispatch.name: (PARTITIONS + 2, dict(dispatch.configuration)),
        parts.name: (PARTITIONS, {**parts.configuration, "retention.ms": str(DAY_MS), "max.message.bytes": "4000000"}),
        cases.name: (PARTITIONS, {**cases.configuration, "unclean.leader.election.enable": "true"}),
        boards.name: (PARTITIONS, {"cleanup.policy": "delete"}),
        table.relays.name: (PARTITIONS, {"retention.ms": str(7 * DAY_MS)}),
        table.verdicts.name: (PARTITIONS, {"min.insync.replicas": "2"}),
        table.dead_letters[parts.name].name: (1, small),
        table.dead_letters[table.relays.name].name: (0, {}),
    }
    made = [(topic, *wrong.get(topic.name, (topic.partitions, topic.configuration))) for topic in table.topics]
    run(create(guarded, *(one for one in made if one[1])))
    later = 2 * HOUR_MS
    unknown = b"\x00" + OF_NOBODY.to_bytes(4, "big") + b"whatever"
    job.produce(
        [
            *(Message(ticket.name, key, value, (), crc32(key) % PARTITIONS) for key, value in events(job, "t", 40)),
            *(Message(parts.name, f"p{number}".encode(), unknown) for number in range(5)),
            Message(parts.name, None, unknown),
        ]
    )
    settings = settings_of(
        job,
        CXSTREAM_KAFKA_SESSION_TIMEOUT_SECONDS="3",
        CXSTREAM_KAFKA_REPLICATION_FACTOR="3",
        CXSTREAM_KAFKA_STANDBY_REPLICAS="1",
        CXSTREAM_SCHEMA_REGISTRY_URL=f"http://127.0.0.1:{free_port()}",
        CXSTREAM_LIMITS_MAX_MESSAGE_BYTES="1000000",
    )
    another = PolicyRecord("another", wall_ms(), "0.0", {**policy_stated(settings), "policy.late_grace": "1m"})

    async def with_strangers() -> Report:
        async with AIOKafkaProducer(bootstrap_servers=guarded) as producer:
            for key, value in events(job, "t", 3, lead_ms=later):
                await producer.send_and_wait(ticket.name, value, key)
            await producer.send_and_wait(
                table.watermarks.name, msgspec.json.encode(another), POLICY_KEY + b"another", partition=0
            )
        async with AIOKafkaConsumer(bootstrap_servers=guarded, group_id=job.group, enable_auto_commit=False) as ours:
            old = TopicPartition(table.watermarks.name, 0)
            ours.assign([old, TopicPartition(ticket.name, 0)])
            await ours.commit({old: 0, TopicPartition(ticket.name, 0): 500})
        async with AIOKafkaConsumer(boards.name, bootstrap_servers=guarded, group_id=job.group) as stranger:
            while not stranger.assignment():  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            await asyncio.to_thread(allow_only, guarded, "topic", table.assets.name, ("read", "describe"))
            await asyncio.to_thread(allow_only, guarded, "topic", dispatch.name, ("describe",))
            await asyncio.to_thread(allow_only, guarded, "topic", table.dead_letters[ticket.name].name, ())
            return await examine(settings, samples=100, listen_seconds=0)

    report: Report = run(with_strangers())
    job_names = {topic.name: f"{topic.role}:{topic.name.removeprefix(job.group)}" for topic in table.topics}
    return Report([one._replace(subject=job_names.get(one.subject, one.subject)) for one in report.findings])


PLANTED = {
    ("error", "brokers", "kafka.session_timeout_seconds"): "is 3, and the brokers allow 6 to ",
    ("error", "brokers", "kafka.replication_factor"): "3 copies are wanted of every topic, and there are 1 brokers",
    ("error", "permissions", "assets:-assets"): "this user may not write it",
    ("error", "permissions", "source:.dispatch"): "this user may not read it",
    ("error", "permissions", "dead-letters:.ticket.dead-letters"): "this user may not describe and write it",
    ("warning", "topics", "source:.ticket"): "has message.timestamp.type=CreateTime",
    ("error", "topics", "source:.dispatch"): "has 6 partitions, needs 4 partitions",
    ("error", "topics", "dead-letters:-relays.dead-letters"): "missing, needs 4 partitions",
    ("warning", "topics", "changelog:-cases-changelog"): "unclean.leader.election.enable=true",
    ("error", "topics", "changelog:-boards-changelog"): "has cleanup.policy=delete, needs cleanup.policy=compact",
    ("warning", "topics", "relays:-relays"): "has retention.ms=604800000, needs retention.ms=7776000000",
    ("error", "topics", "verdicts:.verdicts"): "has min.insync.replicas=2 and 1 copies",
    ("warning", "retention", "source:.parts"): "keeps events for 24 h; verdicts may need them for 90 d",
    ("warning", "sizes", "source:.parts"): "a message of more than 1000000 becomes a dead letter unread",
    ("error", "sizes", "dead-letters:.parts.dead-letters"): "takes batches of 1048588 bytes",
    ("error", "keys", "source:.parts"): "1 of 6 sampled records have no key",
    ("error", "keys", "source:.ticket"): "are where CRC-32 puts them",
    ("error", "schemas", "source:.parts"): "6 of 6 sampled records would become dead letters",
    ("error", "clocks", "source:.ticket"): "3 of 43 sampled events are dated up to ",
    ("error", "state", "source:.ticket"): "and the group has committed 500",
    ("error", "state", "changelog:-cases-changelog"): "is empty, and the group has committed 500 records",
    ("warning", "policy", ""): "policy.late_grace: 1m there, 15m here",
    ("error", "group", ""): "does not read",
    ("warning", "group", ""): "-watermarks, which this configuration does not read",
    ("warning", "sizing", "kafka.standby_replicas"): "1 copies beside the owner are wanted of 1 workers",
}


@pytest.mark.parametrize(("severity", "check", "subject"), PLANTED)
def test_what_is_wrong_is_told_with_what_was_seen_and_what_to_do(
    sick: Report, severity: str, check: str, subject: str
) -> None:
    """Each planted fault is a finding of its own severity, with the observed value and an advice."""
    fitting = [
        one
        for one in sick.findings
        if (one.severity, one.check) == (severity, check) and one.subject.startswith(subject)
    ]
    assert any(PLANTED[severity, check, subject] in one.observed and one.advice for one in fitting), (
        fitting or "\n".join(one.text for one in sick.findings if one.check == check)
    )


def test_nothing_is_called_wrong_that_was_not_planted(sick: Report) -> None:
    """Of a topic on which nothing is wrong nothing is said but that; the worst decides the exit status."""
    planted = {subject for _severity, _check, subject in PLANTED}
    others = [one for one in sick.findings if one.severity != "ok" and one.subject not in planted]
    allowed = ("has 1 copies", "min.insync.replicas=1, needs", "the registry cannot be reached", "policy", "group")
    assert not [one for one in others if not any(word in f"{one.check} {one.observed}" for word in allowed)], others
    assert sick.status == 2


# --- All is well ------------------------------------------------------------------------------------------------------


def of(report: Report, check: str) -> list[Finding]:
    """Return the findings of one question."""
    return [one for one in report.findings if one.check == check]


def test_a_worker_at_work_is_well_and_its_status_is_whole(guarded: str, tmp_path: Path) -> None:
    """With a worker that has read all, the doctor finds nothing, and the status has every partition covered and fresh.

    Seen from a machine whose clock is an hour ahead or behind, the brokers' clocks are wrong by an hour.
    """
    job = Job(guarded, "well", partitions=PARTITIONS, trusted=False)
    environ = job.settings(tmp_path / "data")
    planned = CliRunner().invoke(main, ["topics", "plan", "--json"], env=environ)
    assert planned.exit_code == 1
    actions = json.loads(planned.stdout)["actions"]
    assert {one["topic"]: one["partitions"] for one in actions} == {t.name: t.partitions for t in job.table.topics}
    applied = CliRunner().invoke(main, ["topics", "apply"], env=environ)
    assert (applied.exit_code, applied.stdout.count("created ")) == (0, len(job.table.topics))
    topic = job.topics["ticket"]
    job.produce(Message(topic, key, value) for key, value in events(job, "w", 20))

    asleep = run(status(load(None, environ)))
    assert (asleep.coverage, asleep.owned, asleep.lag.records, asleep.status) == (None, 0, 20, 1)
    assert [one.owner for one in asleep.partitions] == [None] * PARTITIONS

    with WorkerProcess(environ, tmp_path / "worker.log") as worker:
        worker.wait_for(worker.caught_up, "caught up")
        worker.wait_for(lambda: job.committed() == 20, "committed")
        command = ["status", "--json", "--worker", worker.address]
        shown = CliRunner().invoke(main, command, env=environ)
        found = json.loads(shown.stdout)
        assert (shown.exit_code, found["coverage"], found["owned"], found["lag"]["records"]) == (0, 1, 1, 0), found
        assert found["freshness_seconds"] < 60
        assert found["recovery_remaining_records"] == 0
        assert [one["ready"] for one in found["partitions"]] == [True] * PARTITIONS
        assert found["members"][0]["partitions"] == list(range(PARTITIONS))

        settings = load(None, environ)

        async def looked_at(by_ms: int) -> Report:
            async def write() -> None:
                async with AIOKafkaProducer(bootstrap_servers=guarded) as producer:
                    while True:
                        for key, value in events(job, "w", 1):
                            await producer.send_and_wait(topic, value, key)
                        await asyncio.sleep(0.1)

            writing = asyncio.ensure_future(write())
            try:
                return await examine(settings, listen_seconds=5, wall_ms=lambda: wall_ms() + by_ms)
            finally:
                writing.cancel()

        report = run(looked_at(0))
        assert [one.text for one in report.findings if one.severity != "ok"] == []
        assert any("is what the group has judged by" in one.observed for one in of(report, "policy"))
        assert any("agree with the clock of this machine" in one.observed for one in of(report, "clocks"))
        for by_ms, said in ((HOUR_MS, "behind"), (-HOUR_MS, "ahead of")):
            (wrong,) = [one for one in of(run(looked_at(by_ms)), "clocks") if one.severity == "error"]
            assert said in wrong.observed
        other = run(examine(settings_of(job, CXSTREAM_POLICY_LATE_GRACE="1m"), listen_seconds=0))
        assert [one.check for one in other.findings if one.severity != "ok"] == ["policy"]
        worker.stop()


def test_no_broker_is_an_error_and_not_a_crash() -> None:
    """Where nobody listens, the doctor says which address and why, as JSON too; status and plan exit with 2."""
    address = f"127.0.0.1:{free_port()}"
    environ = {"CXSTREAM_KAFKA_BOOTSTRAP": address}
    found = CliRunner().invoke(main, ["doctor", "--json"], env=environ)
    report = json.loads(found.stdout)
    assert (found.exit_code, report["status"]) == (2, "error")
    assert [(one["check"], one["subject"]) for one in report["findings"]] == [("brokers", address)]
    assert "cannot be spoken to (ConnectionRefusedError" in report["findings"][0]["observed"]
    for command in (["status"], ["topics", "plan"], ["topics", "apply"]):
        refused = CliRunner().invoke(main, command, env=environ)
        assert refused.exit_code == 2
        assert address in refused.stderr


# --- The plan of topics -----------------------------------------------------------------------------------------------


def test_configurations_are_altered_only_when_told_and_only_our_own(guarded: str) -> None:
    """Without --alter configurations stay; with it ours are mended, one by one, and what else they have is kept."""
    job = Job(guarded, "alter", partitions=PARTITIONS, trusted=False)
    table, environ = job.table, job.settings(Path("/nonexistent"))
    cases = table.changelogs["cases"]
    run(
        create(
            guarded,
            (cases, PARTITIONS, {"cleanup.policy": "delete", "segment.ms": "3600000", "max.message.bytes": "9000000"}),
            (table.sources["ticket"], PARTITIONS, {"message.timestamp.type": "CreateTime"}),
        )
    )
    kept = CliRunner().invoke(main, ["topics", "apply"], env=environ)
    assert kept.exit_code == 2, "the source is not ours to alter"
    assert f"alter   {cases.name}: cleanup.policy from delete to compact" in kept.stdout
    assert "It is upstream's to change." in kept.stdout
    mended = CliRunner().invoke(main, ["topics", "apply", "--alter", "--json"], env=environ)
    left = json.loads(mended.stdout)["left"]
    assert {one["topic"] for one in left} == {table.sources["ticket"].name}

    async def configured() -> Mapping[str, str]:
        from cxstream.kafka.cluster import Cluster

        async with Cluster(guarded, {}) as cluster:
            return (await cluster.look([cases.name])).topics[cases.name].configuration or {}

    found = run(configured())
    expected = {**cases.configuration, "segment.ms": "3600000", "max.message.bytes": "9000000"}
    assert {key: found[key] for key in expected} == expected


def test_partitions_are_never_changed_and_nothing_is_made_beside(guarded: str) -> None:
    """While a topic has another number of partitions nothing is created, and it is said how to re-partition."""
    job = Job(guarded, "counted", partitions=PARTITIONS)
    run(create(guarded, (job.table.sources["ticket"], 3, {})))
    environ = job.settings(Path("/nonexistent"))
    plan = CliRunner().invoke(main, ["topics", "plan"], env=environ)
    assert plan.exit_code == 2
    assert f"cannot  {job.topics['ticket']}: has 3 partitions, needs 4 partitions" in plan.stdout
    applied = CliRunner().invoke(main, ["topics", "apply", "--alter"], env=environ)
    assert applied.exit_code == 2
    assert "To re-partition, create a topic of another name" in applied.stderr
    again = CliRunner().invoke(main, ["topics", "plan", "--json"], env=environ)
    created = [one["topic"] for one in json.loads(again.stdout)["actions"] if one["action"] == "create"]
    assert len(created) == len(job.table.topics) - 1
