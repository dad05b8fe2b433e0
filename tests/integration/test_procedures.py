"""The procedures of docs/operations.md, done as written there on a real Apache Kafka: the figures are exact after."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from click.testing import CliRunner, Result

from cxstream.cli import main
from cxstream.config import load
from cxstream.demo.upstream import DAY, Delivery, Upstream
from cxstream.domain.instant import parse_instant
from cxstream.kafka.cluster import Cluster
from cxstream.kafka.topics import Topic
from cxstream.operations.doctor import examine
from parts.broker import require_apache_kafka, test_broker
from parts.figures import Figures, exposed, figures_at, segments_of, wall_ms
from parts.producer import Job, facts_of
from parts.worker import WorkerProcess

pytestmark = pytest.mark.slow

LONG_AGO_MS = parse_instant("2024-03-01T00:00:00Z")
ALL_OF_TIME = {
    "CXSTREAM_KAFKA_SOURCE_SILENT_AFTER": "ticket=0s",
    "CXSTREAM_LEDGER_WINDOWS": "24h,3650d",
    "CXSTREAM_LEDGER_LEVELS": "job=all,region=3650d,product=3650d",
}
"""Windows at no edge of which anything lies: figures that stand still."""


class Judged(NamedTuple):
    """A job whose worker has processed a history of long ago, and was stopped; with the figures of judge."""

    job: Job
    environ: Mapping[str, str]
    deliveries: list[Delivery]
    figures: Figures


@pytest.fixture(scope="module")
def judged(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Judged:
    """Run a worker over a history until its figures are those of judge, and stop it in order."""
    folder = tmp_path_factory.mktemp("judged")
    if test_broker().kind == "embedded":
        require_apache_kafka()
    job = Job(kafka, "runbook")
    job.declare()
    deliveries = list(Upstream(8, LONG_AGO_MS - 20 * DAY, cases_per_day=3).events(LONG_AGO_MS))
    job.deliver(deliveries)
    windows = load(None, ALL_OF_TIME).windows()
    figures = figures_at(wall_ms(), facts_of(deliveries), segments_of(deliveries), windows)
    found = Judged(job, {**job.settings(folder), **ALL_OF_TIME}, deliveries, figures)
    worked(found.environ, figures, folder / "before.log")
    return found


def worked(environ: Mapping[str, str], figures: Figures, log: Path) -> None:
    """Run a worker until it shows these figures, and stop it in order."""
    with WorkerProcess(environ, log) as worker:
        worker.wait_for(
            lambda: worker.caught_up() and not exposed(worker.metrics()).differences(figures), "the figures", seconds=60
        )
        worker.stop()


def cxstream(environ: Mapping[str, str], *arguments: str) -> Result:
    """Run a command with settings of its own."""
    return CliRunner().invoke(main, list(arguments), env=dict(environ))


def renamed(job: Job, environ: Mapping[str, str], suffix: str) -> dict[str, str]:
    """Return the settings with a group, and a topic of verdicts, of another name."""
    group = f"{job.group}{suffix}"
    return {**environ, "CXSTREAM_KAFKA_GROUP": group, "CXSTREAM_KAFKA_VERDICTS_TOPIC": f"{group}.verdicts"}


async def kind_of(cluster: Cluster, topic: str) -> str:
    """Return who stamps the records of a topic."""
    return ((await cluster.look([topic])).topics[topic].configuration or {})["message.timestamp.type"]


async def stamped(bootstrap: str, topic: str, kind: str) -> None:
    """Say who stamps the records of a topic, and wait until its broker knows."""
    async with Cluster(bootstrap, {}) as cluster:
        await cluster.alter(topic, {"message.timestamp.type": kind})
        while await kind_of(cluster, topic) != kind:  # noqa: ASYNC110  # the broker tells nobody
            await asyncio.sleep(0.05)


async def delete(bootstrap: str, topic: Topic) -> None:
    """Delete a topic, and wait until it is gone."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.delete_topics([topic.name])
        while topic.name in await admin.list_topics():  # noqa: ASYNC110  # the broker tells nobody
            await asyncio.sleep(0.05)
    finally:
        await admin.close()


def test_a_backfill_beside_the_group_at_work_changes_nothing_of_it(judged: Judged, tmp_path: Path) -> None:
    """Another group reads the same history meanwhile: it comes to the figures, the first keeps its own."""
    other = renamed(judged.job, judged.environ, "-backfill")
    assert cxstream(other, "topics", "apply").exit_code == 0
    with WorkerProcess(judged.environ, tmp_path / "first.log") as first:
        first.wait_for(first.caught_up, "caught up")
        worked(other, judged.figures, tmp_path / "backfill.log")
        assert not exposed(first.metrics()).differences(judged.figures)
        assert first.metrics().sum("cxstream_events_consumed_total") == 0
        first.stop()


def test_a_job_is_re_partitioned_by_copying_its_sources(judged: Judged, tmp_path: Path) -> None:
    """Copied by key, in the order and with the time of delivery, the sources give a new group the same figures.

    A topic that would stamp the copies is refused; what is copied once is not copied again, and what came since is.
    """
    job, partitions = judged.job, 6
    new = {name: f"{name}-6" for name in job.topics.values()}
    wider = {
        **renamed(job, judged.environ, "-6"),
        "CXSTREAM_KAFKA_PARTITIONS": str(partitions),
        "CXSTREAM_KAFKA_TRUSTED_TOPICS": ",".join(new.values()),
        **{f"CXSTREAM_KAFKA_TOPICS_{kind.upper()}": new[name] for kind, name in job.topics.items()},
    }
    assert cxstream(wider, "topics", "apply").exit_code == 0
    ticket = job.topics["ticket"]

    asyncio.run(stamped(job.bootstrap, new[ticket], "LogAppendTime"))
    refused = cxstream(wider, "topics", "copy", ticket, new[ticket])
    assert refused.exit_code == 2
    assert "has message.timestamp.type=LogAppendTime" in refused.stderr
    asyncio.run(stamped(job.bootstrap, new[ticket], "CreateTime"))
    copied = {old: cxstream(wider, "topics", "copy", old, topic).stdout for old, topic in new.items()}
    assert sum(int(said.split()[0]) for said in copied.values()) == len(judged.deliveries)
    assert cxstream(wider, "topics", "copy", ticket, new[ticket]).stdout.startswith("0 records")
    for old, topic in new.items():
        records = job.read(topic)
        kept = Counter((record.key, record.value, record.headers, record.timestamp) for record in records)
        assert kept == Counter((one.key, one.value, one.headers, one.timestamp) for one in job.read(old))
        for number in range(partitions):
            times = [record.timestamp for record in records if record.partition == number]
            assert times == sorted(times), "written behind a record that was delivered later"
    doctor = json.loads(cxstream(wider, "doctor", "--json", "--listen", "0").stdout)
    assert [one for one in doctor["findings"] if one["severity"] != "ok"] == []
    worked({**wider, "CXSTREAM_DATA_FOLDER": str(tmp_path / "wider")}, judged.figures, tmp_path / "wider.log")


def test_a_lost_changelog_is_refused_and_built_anew_under_another_group(judged: Judged, tmp_path: Path) -> None:
    """No command makes a lost changelog anew; a new group reads the sources from their start, to the same figures.

    The verdicts topic of the old group is refused for the new one. (The last of these tests: the job is broken after.)
    """
    job, environ = judged.job, {**judged.environ, "CXSTREAM_KAFKA_DECLARE_TOPICS": "true"}
    asyncio.run(delete(job.bootstrap, job.table.changelogs["cases"]))
    with WorkerProcess(environ, tmp_path / "refused.log").launch() as worker:
        assert worker.wait(30) == 1
    for said in (worker.log.read_text(), cxstream(environ, "topics", "plan").stdout):
        assert f"has committed {len(judged.deliveries)} records of its sources" in said
        assert "Choose a new kafka.group" in said
    assert cxstream(environ, "topics", "apply").exit_code == 2

    mixed = {**environ, "CXSTREAM_KAFKA_GROUP": f"{job.group}-2"}
    assert cxstream(mixed, "topics", "apply").exit_code == 0
    report = asyncio.run(examine(load(None, mixed), listen_seconds=0))
    assert [one.subject for one in report.findings if one.severity == "error"] == [f"{job.group}.verdicts"]

    again = renamed(job, environ, "-2")
    assert cxstream(again, "topics", "apply").exit_code == 0
    assert cxstream(again, "doctor", "--listen", "0").exit_code == 0
    worked(again, judged.figures, tmp_path / "after.log")
