"""The whole path on real parts: events on Apache Kafka, a worker process, Prometheus with the generated rules."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest
from aiokafka.partitioner import murmur2

from cxstream.config import load
from cxstream.demo.upstream import DAY, Delivery, Upstream
from cxstream.domain.instant import DAY_MS, parse_instant
from cxstream.domain.policy import Policy
from cxstream.domain.windows import BUCKET_MS
from cxstream.kafka.codec import REASONS
from cxstream.kafka.records import read_case
from cxstream.offline.judge import judge_facts
from cxstream.render.rules import COVERED, WATERMARK_AGE, recording_rules, rules_file
from cxstream.vital_signs import CATALOGUE, TIER_A
from parts.accounts import dispositions, unaccounted
from parts.broker import require_apache_kafka, test_broker
from parts.figures import UNITS, Figures, exposed, figures_at, recorded, segments_of, wall_ms
from parts.poison import an_opening, poison_of
from parts.producer import Job, Message, facts_of
from parts.prometheus import Prometheus, promtool, require_prometheus
from parts.verdicts import Consumer
from parts.worker import Samples, WorkerProcess

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("_a_broker_that_keeps_its_promises")]

REPOSITORY = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("CXSTREAM_TEST_SHARED", REPOSITORY.parent / "shared"))

DEFAULT_WINDOWS = load(None, {}).windows()
NO_FEED_IS_DEAD = {"CXSTREAM_KAFKA_SOURCE_SILENT_AFTER": "ticket=0s"}
"""A feed quiet for hours, as a small company's is at night, proves a miss all the same: so `judge` reads it."""
ALL_OF_TIME = {
    **NO_FEED_IS_DEAD,
    "CXSTREAM_LEDGER_WINDOWS": "24h,3650d",
    "CXSTREAM_LEDGER_LEVELS": "job=all,region=3650d,product=3650d",
}
"""Windows in which what happened long ago counts, and at no edge of which anything lies: figures that stand still."""
ALL_OF_TIME_WINDOWS = load(None, ALL_OF_TIME).windows()
ALL_TIERS = {**ALL_OF_TIME, "CXSTREAM_SIGN_TIERS": "A,B,C"}
LONG_AGO_MS = parse_instant("2024-03-01T00:00:00Z")


@pytest.fixture(scope="module")
def _a_broker_that_keeps_its_promises() -> None:
    """Skip on the embedded broker: it does not evict dead members and may hang when one joins."""
    if test_broker().kind == "embedded":
        require_apache_kafka()


def history(seed: int, *, until_ms: int, days: int, cases_per_day: float) -> list[Delivery]:
    """Return what a company's systems delivered in the days before an instant."""
    return list(Upstream(seed, until_ms - days * DAY, cases_per_day=cases_per_day).events(until_ms))


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the generated recording rules for the default levels."""
    file = tmp_path_factory.mktemp("rules") / "cxstream.rules.yml"
    file.write_text(rules_file(recording_rules(DEFAULT_WINDOWS.levels, CATALOGUE)))
    return file


# --- Live figures -----------------------------------------------------------------------------------------------------


class Live(NamedTuple):
    """A worker that has caught up with a history that ends now, scraped by a Prometheus with the generated rules."""

    job: Job
    worker: WorkerProcess
    prometheus: Prometheus
    deliveries: list[Delivery]


@pytest.fixture(scope="module")
def live(kafka: str, rules: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Play forty days: most before the worker starts, the last days while it runs and out of order."""
    require_prometheus()
    folder = tmp_path_factory.mktemp("live")
    job = Job(kafka, "live")
    job.declare()
    deliveries = history(11, until_ms=wall_ms(), days=40, cases_per_day=7)
    before, meanwhile = deliveries[: len(deliveries) * 3 // 4], deliveries[len(deliveries) * 3 // 4 :]
    job.deliver(before)
    with (
        WorkerProcess({**job.settings(folder), **NO_FEED_IS_DEAD}, folder / "worker.log") as worker,
        Prometheus({"cxstream": [worker.address]}, rule_files=[rules]) as prometheus,
    ):
        worker.wait_for(worker.caught_up, "caught up")
        Random(5).shuffle(meanwhile)
        job.deliver(meanwhile)
        yield Live(job, worker, prometheus, deliveries)


QUIET_MS = 10_000


def test_recorded_figures_are_what_judge_says_of_the_same_events(live: Live) -> None:
    """Every sum and ratio of job, region and product, pending and excluded too, is what judge makes of the events."""
    facts, segments = facts_of(live.deliveries), segments_of(live.deliveries)

    def expected(at_ms: int) -> Figures:
        return figures_at(at_ms, facts, segments, DEFAULT_WINDOWS)

    deadline = time.monotonic() + 60
    while True:
        begins_ms = wall_ms()
        wanted = expected(begins_ms)
        found = recorded(live.prometheus, live.job)
        if wanted == expected(begins_ms + QUIET_MS):  # no deadline and no edge of a window until then
            while found != wanted and wall_ms() < begins_ms + QUIET_MS:
                time.sleep(0.25)
                found = recorded(live.prometheus, live.job)
            if found == wanted:
                break
        assert time.monotonic() < deadline, "\n".join(["recorded, not judged:", *found.differences(wanted)])
        time.sleep(0.5)
    assert {level for level, *_ in wanted.ratios} == {"job", "region", "product"}
    assert {sign for _, sign, *_ in wanted.ratios} == {name for name, sign in TIER_A.items() if sign.objective}
    assert {outcome for *_, outcome, _ in wanted.units} == {"good", "bad"}
    assert wanted.pending
    assert wanted.excluded


def test_measured_times_and_open_cases_are_recorded(live: Live) -> None:
    """How many cases were restored in 30 days, how long that took in all, how many are open: as judged (rule 25)."""
    facts = facts_of(live.deliveries)

    def expected(at_ms: int) -> tuple[float, ...]:
        judged = [one.verdict for one in judge_facts(facts, at_ms, TIER_A, Policy())[0]]
        restored = [one for one in judged if one.sign == "time_to_restore"]
        first_ms = (at_ms // BUCKET_MS - 30 * DAY_MS // BUCKET_MS + 1) * BUCKET_MS
        times_ms = [one.measured for one in restored if one.measured is not None and one.anchor_ms >= first_ms]
        return len(times_ms), sum(times_ms) / 1000, sum(one.since_ms is not None for one in restored)

    def found() -> tuple[float, ...]:
        of = f'{{group="{live.job.group}"'
        times = "job:cxstream_time_to_restore_window_seconds"
        queries = (f'{times}_{part}:sum{of}, window="30d"}}' for part in ("gcount", "gsum"))
        answers = [live.prometheus.query(query) for query in (*queries, f"job:cxstream_open_cases:sum{of}}}")]
        return tuple(float(answer[0]["value"][1]) if answer else 0.0 for answer in answers)

    deadline = time.monotonic() + 60
    while found() != (wanted := expected(wall_ms())):
        assert time.monotonic() < deadline, (found(), wanted)
        time.sleep(0.5)
    assert all(wanted)


def test_ratios_are_trusted_while_all_partitions_are_covered_and_fresh(live: Live) -> None:
    """With every partition owned by a worker that has caught up, the trusted ratios are the ratios."""
    assert live.prometheus.wait_for(f'{COVERED}{{group="{live.job.group}"}} == 1')
    assert live.prometheus.wait_for(f'{WATERMARK_AGE}{{group="{live.job.group}"}} < 30')
    ratios = "{level}:cxstream_vital_sign_good_per_units:{kind}{{group=" + f'"{live.job.group}"' + "}}"
    for level in ("job", "region", "product"):
        ratio, trusted = (ratios.format(level=level, kind=kind) for kind in ("ratio", "trusted"))
        live.prometheus.wait_for(trusted)
        assert live.prometheus.query(f"{ratio} unless {trusted}") == []


def test_metrics_pass_promtool(live: Live) -> None:
    """A worker at work exposes what `promtool check metrics` has nothing to say about."""
    promtool("check metrics", text=live.worker.metrics().text)


# --- The machine-failure log ------------------------------------------------------------------------------------------


@pytest.fixture
def machine_failures(request: pytest.FixtureRequest) -> list[Delivery]:
    """Run the adapter over the failure log; skip, audibly, where it is not on this machine."""
    files = [SHARED / "data" / "azure_pdm" / f"PdM_{name}.csv" for name in ("failures", "maint", "errors")]
    missing = [str(path) for path in files if not path.exists()]
    if missing:
        message = (
            f"NOT PROVEN: {request.node.name}: no {', '.join(missing)}; set CXSTREAM_TEST_SHARED to the shared folder"
        )
        capture = request.config.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled() if capture else nullcontext():
            sys.stderr.write(f"\n{message}\n")
        pytest.skip(message)
    adapter = REPOSITORY / "examples" / "adapters" / "machine_failures.py"
    command = [sys.executable, str(adapter), *map(str, files), "--only", "failures"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    events: list[dict[str, Any]] = [json.loads(line) for line in lines]
    return [Delivery(parse_instant(event.pop("seen")), event["topic"], event) for event in events]


def test_machine_failures_are_recorded_as_the_log_has_them(
    kafka: str, rules: Path, tmp_path: Path, machine_failures: list[Delivery]
) -> None:
    """Of 719 failures in the log 319 are recorded as repeated within 30 days and 400 as staying fixed, all final."""
    require_prometheus()
    job = Job(kafka, "machines")
    job.declare()
    job.deliver(machine_failures)
    units = f'job:cxstream_vital_sign_window_units:sum{{group="{job.group}",vital_sign="stayed_fixed",window="3650d"}}'
    sealed = f'job:cxstream_vital_sign_good_per_sealed_units:ratio{{group="{job.group}",vital_sign="stayed_fixed"}}'
    with (
        WorkerProcess({**job.settings(tmp_path), **ALL_OF_TIME}, tmp_path / "worker.log") as worker,
        Prometheus({"cxstream": [worker.address]}, rule_files=[rules]) as prometheus,
    ):
        prometheus.wait_for(f'sum({units}) == 719 and sum({units[:-1]},finality="final"}}) == 719', seconds=60)
        found = {
            (series["metric"]["outcome"], series["metric"]["finality"]): float(series["value"][1])
            for series in prometheus.query(f"{units} > 0")
        }
        assert found == {("good", "final"): 400, ("bad", "final"): 319}
        assert prometheus.value(sealed) == 400 / 719


# --- Crashes, stops and starts ----------------------------------------------------------------------------------------


def consumed(worker: WorkerProcess) -> float:
    """Return how many records of the source topics a worker has processed since it started."""
    return worker.metrics().sum("cxstream_events_consumed_total")


def test_a_killed_worker_loses_nothing_and_counts_nothing_twice(kafka: str, tmp_path: Path) -> None:
    """The only worker, killed with -9 in mid-stream and started again, ends with judge's figures of all tiers.

    And every change of a verdict was announced: without a gap, with one content, at last what judge says.
    """
    job = Job(kafka, "killed")
    job.declare()
    deliveries = history(3, until_ms=LONG_AGO_MS, days=40, cases_per_day=12)
    job.deliver(deliveries)
    settings = {
        **job.settings(tmp_path),
        **ALL_TIERS,
        "CXSTREAM_LIMITS_MAX_BATCH_RECORDS": "20",
        "CXSTREAM_KAFKA_COMMIT_INTERVAL_SECONDS": "2",
    }
    with WorkerProcess(settings, tmp_path / "first.log") as first:
        first.wait_for(lambda: consumed(first) >= len(deliveries) / 2, "half of the events consumed")
        seen = consumed(first)
        first.kill()
    assert seen < len(deliveries) * 0.9, "killed too late to prove anything"
    committed = job.committed()
    assert committed < len(deliveries)

    facts, segments = facts_of(deliveries), segments_of(deliveries)
    wanted = figures_at(wall_ms(), facts, segments, load(None, ALL_TIERS).windows())
    assert {sign for _, sign, *_ in wanted.units} == {name for name, sign in CATALOGUE.items() if sign.objective}
    with WorkerProcess(settings, tmp_path / "second.log") as second:
        scrapes: list[Samples] = []

        def all_done() -> bool:
            scrapes.append(second.metrics())
            done = scrapes[-1].sum("cxstream_events_consumed_total") == len(deliveries) - committed
            return done and not exposed(scrapes[-1]).differences(wanted)

        second.wait_for(all_done, "read on from what was committed, to the figures of judge", seconds=60)
        assert scrapes[-1].sum("cxstream_partition_ready") == job.partitions
        assert scrapes[-1].sum("cxstream_duplicate_events_total") >= seen - committed
        decided = ("level", "vital_sign", "window", "outcome")
        for scrape in scrapes:  # it is years later: what the clock decides is decided before anything is shown
            assert not unaccounted(scrape), "records were read that have no disposition, or more than one"
            if scrape.sum("cxstream_partition_ready") == job.partitions:
                assert scrape.by(UNITS, *decided) == scrapes[-1].by(UNITS, *decided)
        second.stop()

    consumer = Consumer()
    assert job.table.verdicts is not None
    assert not consumer.broken((one.key, one.value) for one in job.read(job.table.verdicts.name))
    records = {one.key: one.value for one in job.read(job.table.changelogs["cases"].name)}
    assert not list(consumer.differences(read_case(value) for value in records.values() if value is not None))
    announced = {(case, unit, sign): last["verdict"] for (case, _kind, unit, sign), last in consumer.last.items()}
    judged = judge_facts(facts, wall_ms(), CATALOGUE, Policy())[0]
    assert announced == {(one.case_id, one.verdict.unit, one.verdict.sign): one.verdict.verdict for one in judged}


def test_a_second_worker_shares_the_work_and_takes_over(kafka: str, tmp_path: Path) -> None:
    """A worker that joins in mid-stream takes its share, and all of it when the first is killed: judge's figures."""
    job = Job(kafka, "scaled")
    job.declare()
    deliveries = history(5, until_ms=LONG_AGO_MS, days=40, cases_per_day=12)
    job.deliver(deliveries)
    settings = {**job.settings(tmp_path / "first"), **ALL_OF_TIME, "CXSTREAM_LIMITS_MAX_BATCH_RECORDS": "20"}

    def owned(worker: WorkerProcess) -> int:
        return len(worker.metrics().by("cxstream_table_keys", "partition", table="cases"))

    with WorkerProcess(settings, tmp_path / "first.log") as first:
        first.wait_for(lambda: consumed(first) >= len(deliveries) / 3, "a third of the events consumed")
        settings["CXSTREAM_DATA_FOLDER"] = str(tmp_path / "second")
        with WorkerProcess(settings, tmp_path / "second.log") as second:
            second.wait_for(lambda: 0 < owned(second) < job.partitions, "a share of the partitions", seconds=60)
            first.kill()
            facts, segments = facts_of(deliveries), segments_of(deliveries)
            wanted = figures_at(wall_ms(), facts, segments, ALL_OF_TIME_WINDOWS)

            def all_done() -> bool:
                scrape = second.metrics()
                covered = scrape.sum("cxstream_partition_ready") == job.partitions
                return covered and not exposed(scrape).differences(wanted)

            second.wait_for(all_done, "the figures of judge over all partitions", seconds=90)
            second.stop()


class Stopped(NamedTuple):
    """A job whose only worker has processed a history of long ago and was stopped in order."""

    job: Job
    settings: dict[str, str]
    deliveries: list[Delivery]
    figures: Figures
    """What the worker showed last."""


@pytest.fixture(scope="module")
def stopped(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Stopped:
    """Run a worker over a history and stop it with SIGTERM, which has to end with status 0."""
    folder = tmp_path_factory.mktemp("stopped")
    job = Job(kafka, "stopped")
    job.declare()
    deliveries = history(8, until_ms=LONG_AGO_MS, days=40, cases_per_day=4)
    job.deliver(deliveries)
    settings = {**job.settings(folder), **ALL_OF_TIME, "CXSTREAM_KAFKA_COMMIT_INTERVAL_SECONDS": "60"}
    wanted = figures_at(wall_ms(), facts_of(deliveries), segments_of(deliveries), ALL_OF_TIME_WINDOWS)
    with WorkerProcess(settings, folder / "worker.log") as worker:
        worker.wait_for(worker.caught_up, "caught up")
        worker.wait_for(lambda: not exposed(worker.metrics()).differences(wanted), "the figures of judge")
        shown = exposed(worker.metrics())
        worker.stop()
    return Stopped(job, settings, deliveries, shown)


def test_a_stopped_worker_leaves_nothing_to_do_again(stopped: Stopped, tmp_path: Path) -> None:
    """SIGTERM ends with status 0 and everything committed: the next worker reads no event again, and shows the same."""
    assert stopped.job.committed() == stopped.job.records() == len(stopped.deliveries)
    with WorkerProcess(stopped.settings, tmp_path / "worker.log") as worker:
        worker.wait_for(worker.caught_up, "caught up")  # so whatever there was to read again has been read
        samples = worker.metrics()
        assert not exposed(samples).differences(stopped.figures)
        assert samples.sum("cxstream_events_consumed_total") == 0
        assert samples.sum("cxstream_vital_sign_verdict_changes_total") == 0, "verdicts were published again"
        worker.process.signal(signal.SIGTERM)
        said = set()
        while worker.process.running:
            said.add(worker.ask("/readyz").reason)
        assert "draining" in said
        assert not said & {"rebalancing", "recovering"}
        worker.stop()


def test_a_recovering_worker_is_live_and_not_ready(stopped: Stopped, tmp_path: Path) -> None:
    """While tables are recovered /livez says 200, /readyz 503 and /metrics what is missing, but no vital sign yet."""
    changelog = stopped.job.table.changelogs["cases"].name
    records = stopped.job.read(changelog)
    copies = max(1, 20_000 // len(records))  # as if it had not been compacted for long: recovery takes a moment
    again = [Message(changelog, one.key, one.value, one.headers, one.partition) for one in records]
    stopped.job.produce(again * copies)
    seen: list[tuple[int, int, str]] = []
    scrapes: list[Samples] = []
    with WorkerProcess(stopped.settings, tmp_path / "worker.log").launch() as worker:

        def ready() -> bool:
            live, (status, reason) = worker.ask("/livez"), worker.ask("/readyz")
            if status and (not seen or seen[-1] != (live.status, status, reason)):
                seen.append((live.status, status, reason))
            if reason == "recovering":
                scrapes.append(worker.metrics())
            return status == 200

        worker.wait_for(ready, "ready", seconds=60)
        assert [live for live, _, _ in seen] == [200] * len(seen)
        assert [status for _, status, _ in seen] == [503] * (len(seen) - 1) + [200]
        assert "recovering" in {reason for _, _, reason in seen}
        recovering = [scrape for scrape in scrapes if scrape.sum("cxstream_worker_state", state="recovering")]
        assert max(scrape.sum("cxstream_table_recovery_remaining_records", table="cases") for scrape in recovering) > 0
        for scrape in recovering:
            assert scrape.by("cxstream_partition_ready", "partition") == {(str(n),): 0 for n in range(4)}
            assert not exposed(scrape).units
        worker.wait_for(worker.caught_up, "caught up")
        assert not exposed(worker.metrics()).differences(stopped.figures)
        assert ready()
        worker.stop()


def test_what_another_worker_writes_late_is_united(stopped: Stopped, tmp_path: Path) -> None:
    """Old records, written behind the owner's back, are read and written over: figures and changelog stay judge's."""
    tables = {name: stopped.job.table.changelogs[name].name for name in ("cases", "boards")}
    zombie: list[Message] = []
    for topic in tables.values():
        first = {record.key: record for record in reversed(stopped.job.read(topic))}
        old = [Message(topic, record.key, record.value, (), record.partition) for record in first.values()]
        zombie += [*old[:20], *(message._replace(value=None) for message in old[20:25])]
    with WorkerProcess(stopped.settings, tmp_path / "owner.log") as owner:
        owner.wait_for(owner.caught_up, "caught up")
        stopped.job.produce(zombie)
        owner.wait_for(
            lambda: owner.metrics().sum("cxstream_foreign_writes_total") == len(zombie), "the late records united"
        )
        assert not exposed(owner.metrics()).differences(stopped.figures)
        owner.stop()
    with WorkerProcess(stopped.settings, tmp_path / "next.log") as following:
        following.wait_for(following.caught_up, "caught up")
        assert not exposed(following.metrics()).differences(stopped.figures)
        assert following.metrics().sum("cxstream_foreign_writes_total") == 0
        following.stop()


def test_a_topic_of_another_partition_count_is_refused(kafka: str, tmp_path: Path) -> None:
    """A topic with another number of partitions ends the start, with a message that says which and how to mend it."""
    job = Job(kafka, "miscounted", partitions=4)
    job.declare_miscounted("dispatch", 3)
    settings = {**job.settings(tmp_path), "CXSTREAM_KAFKA_DECLARE_TOPICS": "true"}
    with WorkerProcess(settings, tmp_path / "worker.log").launch() as worker:
        assert worker.wait(30) == 1
    said = worker.log.read_text()
    dispatch = job.topics["dispatch"]
    assert f"{dispatch}: has 3 partitions, needs 4 partitions, like every topic that takes part" in said
    assert f"--create --topic {dispatch}-4 --partitions 4" in said
    assert "copy the records into it by key" in said
    assert "Traceback" not in said


# --- Poison -----------------------------------------------------------------------------------------------------------


def reason_of(letter: Any) -> str:  # noqa: ANN401 - aiokafka's record has no type
    """Return why a record became a dead letter."""
    reason = dict(letter.headers)["cxstream.error.reason"]
    assert isinstance(reason, bytes)
    return reason.decode()


def test_poison_becomes_dead_letters_and_the_partition_goes_on(kafka: str, tmp_path: Path) -> None:
    """What cannot become a fact is kept unchanged with its reason and counted; the event behind it is still judged.

    Every record that was read has exactly one disposition: the counters of these add up to those read.
    """
    job = Job(kafka, "poison", partitions=2)
    job.declare()
    topic, now_ms = job.topics["ticket"], wall_ms()
    poison = poison_of(job.codec, now_ms)
    assert set(poison) == set(REASONS)
    poisoned = [Message(topic, *record, partition=1) for record in poison.values()]
    settings = {**job.settings(tmp_path), "CXSTREAM_LIMITS_MAX_MESSAGE_BYTES": "1024"}
    with WorkerProcess(settings, tmp_path / "worker.log") as worker:
        mine = next(name for name in (f"after-{n}" for n in range(99)) if murmur2(name.encode()) % 2 == 1)
        after = Delivery(now_ms, "ticket", an_opening(mine, now_ms))
        another = Delivery(now_ms + 1, "ticket", an_opening(mine, now_ms, priority="P1"))
        unknown = Delivery(now_ms, "ticket", {**an_opening(mine, now_ms), "event_id": "x", "type": "escalated"})
        behind = [after, after, another, unknown]
        job.produce([*poisoned, *map(job.message, behind)])
        worker.wait_for(lambda: consumed(worker) == len(poison) + len(behind), "everything consumed")
        worker.wait_for(lambda: worker.metrics().sum("cxstream_vital_sign_pending_units") > 0, "the event behind it")
        samples = worker.metrics()
        rejected = samples.by("cxstream_events_rejected_total", "topic", "reason")
        assert +rejected == {("ticket", reason): 1 for reason in poison}
        assert +samples.by("cxstream_dead_letters_total", "topic", "reason") == +rejected
        assert samples.sum("cxstream_table_keys", table="cases") == 1
        assert samples.sum("cxstream_state_bytes", table="cases") > 0
        ends = {"dead_letter": len(poison), "applied": 1, "duplicate": 1, "conflict": 1, "unknown_type": 1}
        assert dispositions(samples)["ticket"] == ends
        assert not unaccounted(samples)
        worker.stop()
    letters = {
        dict(letter.headers)["cxstream.error.reason"].decode(): letter for letter in job.read(f"{topic}.dead-letters")
    }
    assert set(letters) == set(poison)
    for offset, (reason, (key, value, headers)) in enumerate(poison.items()):
        letter = letters[reason]
        assert (letter.key, letter.value) == (key, value), reason
        assert list(letter.headers[: len(headers)]) == headers, reason
        added = dict(letter.headers[len(headers) :])
        where = {"topic": topic.encode(), "partition": b"1", "offset": str(offset).encode()}
        assert {name: added[f"cxstream.error.{name}"] for name in where} == where
        assert {name: added[f"__streams.errors.{name}"] for name in where} == where
        assert all(name.startswith(("cxstream.error.", "__streams.errors.")) for name in added)


def test_poison_as_large_as_brokers_take_is_kept_whole(kafka: str, tmp_path: Path) -> None:
    """A record of the megabyte that brokers take by default becomes a dead letter like any other."""
    job = Job(kafka, "large", partitions=1)
    job.declare()
    garbage = Random(1).randbytes(1_000_000)
    job.produce([Message(job.topics["parts"], b"large", garbage)])
    with WorkerProcess(job.settings(tmp_path), tmp_path / "worker.log") as worker:
        worker.wait_for(lambda: consumed(worker) == 1, "the record consumed")
    (letter,) = job.read(f"{job.topics['parts']}.dead-letters")
    assert (letter.key, letter.value, reason_of(letter)) == (b"large", garbage, "undecodable")
