"""What the doctor, the topic plan and the status make of what was seen, and of faults a test broker cannot have."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from zlib import crc32

import pytest
import trustme
from aiokafka import TopicPartition
from click.testing import CliRunner
from rich.console import Console

from cxstream.cli import main
from cxstream.cli import operations as commands
from cxstream.config import load
from cxstream.domain.instant import DAY_MS, HOUR_MS, SECOND_MS
from cxstream.domain.policy import Policy
from cxstream.kafka.cluster import (
    Bounds,
    BrokerSeen,
    ClusterSeen,
    GroupSeen,
    Member,
    PartitionSeen,
    TopicSeen,
)
from cxstream.kafka.partitioner import partition_of
from cxstream.kafka.topics import Finding as TopicFinding
from cxstream.kafka.topics import Topic
from cxstream.live import scheme_of
from cxstream.operations.checks import CHECKS, longest_need_ms
from cxstream.operations.findings import Finding, Report
from cxstream.operations.observation import Arrivals, Observation, Sample
from cxstream.operations.partitioners import elsewhere, explained_by
from cxstream.operations.status import FRESH_SECONDS, Lag, PartitionStatus, Status, WorkerSeen, _ask, worker_of
from cxstream.operations.topic_plan import plan_of
from cxstream.worker import topics_of

NOW_MS = 1_800_000_000_000
SETTINGS = load(None, {"CXSTREAM_KAFKA_PARTITIONS": "4"})
TABLE = topics_of(SETTINGS)
TICKET, DISPATCH, PARTS = (topic.name for topic in TABLE.sources.values())
CASES = TABLE.changelogs["cases"].name
ALL_RIGHTS = frozenset({"describe", "read", "write", "create"})


def seen(topic: Topic, **others: Any) -> TopicSeen:  # noqa: ANN401
    """Return a topic as it should be, but for what is given."""
    partitions = {number: PartitionSeen(1, (1, 2, 3), (1, 2, 3)) for number in range(topic.partitions)}
    configuration = {"max.message.bytes": "1048588", **topic.configuration, **others.pop("configuration", {})}
    found = TopicSeen(topic.name, None, partitions, ALL_RIGHTS, configuration)
    return found._replace(**others)


def cluster(**topics: TopicSeen) -> ClusterSeen:
    """Return three brokers with all topics as they should be, but for those given, by role."""
    brokers = [BrokerSeen(number, f"kafka-{number}:9092", None) for number in (1, 2, 3)]
    found = {topic.name: seen(topic) for topic in TABLE.topics} | {one.name: one for one in topics.values()}
    return ClusterSeen("c", brokers, found, ALL_RIGHTS)


WELL = Observation(
    settings=SETTINGS,
    table=TABLE,
    now_ms=NOW_MS,
    cluster=cluster(),
    topic_findings=(),
    broker_configuration={},
    group=GroupSeen("Stable", "consumer", (), None, ALL_RIGHTS),
    committed={},
    bounds={},
    samples={},
    unreadable={},
    unread_since_ms={},
    arrivals=Arrivals(NOW_MS, NOW_MS, ()),
    policies=(),
    registry_failure=None,
)


def report(observation: Observation) -> Report:
    """Return what the doctor says of it."""
    return Report([finding for check in CHECKS for finding in check(observation)])


def wrong(**changes: Any) -> list[tuple[str, str, str, str]]:  # noqa: ANN401
    """Return what is wrong when this is seen instead: severity, check, subject, observed."""
    findings = report(replace(WELL, **changes)).findings
    assert all(one.advice for one in findings if one.severity != "ok")
    return [one[:4] for one in findings if one.severity != "ok"]


def member(number: int, *topics: str) -> Member:
    """Return a member of the group that subscribed to these topics."""
    return Member(f"m{number}", None, "faust", "10.0.0.1", frozenset(topics or TABLE.consumed), {})


# --- The doctor -------------------------------------------------------------------------------------------------------


def test_all_is_well() -> None:
    """Of a job with nothing wrong every question is answered with ok, and the status is 0."""
    found = report(WELL)
    assert [one.text for one in found.findings if one.severity != "ok"] == []
    assert {one.check for one in found.findings} == {check.__name__ for check in CHECKS} - {"schemas"}
    assert (found.status, found.worst, found.counts["ok"]) == (0, "ok", len(found.findings))


def test_limits_on_stated_times_are_told() -> None:
    """Of a trusted topic, whose records state their own time, a limit on old ones is told, and so is a retention."""
    settings = load(None, {"CXSTREAM_KAFKA_PARTITIONS": "4", "CXSTREAM_KAFKA_TRUSTED_TOPICS": TICKET})
    table = topics_of(settings)
    limits = {"message.timestamp.before.max.ms": str(DAY_MS), "retention.ms": str(HOUR_MS)}
    ticket = next(topic for topic in table.sources.values() if topic.name == TICKET)
    found = wrong(settings=settings, table=table, cluster=cluster(ticket=seen(ticket, configuration=limits)))
    told = [observed for _severity, _check, subject, observed in found if subject == TICKET]
    assert any("has message.timestamp.before.max.ms=86400000 (24 h)" in observed for observed in told), told
    assert any("and has retention.ms=3600000" in observed for observed in told), told


@pytest.mark.parametrize(("severities", "status"), [([], 0), (["ok"], 0), (["warning", "ok"], 1), (["error", "ok"], 2)])
def test_the_worst_decides_the_status(severities: list[Any], status: int) -> None:
    """0 if all is well, 1 if there are warnings, 2 if there are errors."""
    assert Report([Finding(severity, "c", "s", "o") for severity in severities]).status == status


def test_a_topic_is_not_copied_into_itself() -> None:
    """FROM and TO must be two topics: a copy into itself would hold everything twice; no broker is asked."""
    result = CliRunner().invoke(main, ["topics", "copy", "cxstream.tickets", "cxstream.tickets"])
    assert result.exit_code == 2
    assert "cxstream.tickets would be copied into itself" in result.stderr


def test_a_partition_without_a_leader_or_a_copy_behind_is_told() -> None:
    """No leader is an error, a copy that is not in sync a warning; each names the partitions."""
    topic = TABLE.sources["ticket"]
    healthy = seen(topic).partitions
    sick = {**healthy, 2: PartitionSeen(None, (1, 2, 3), ()), 3: PartitionSeen(1, (1, 2, 3), (1, 2))}
    assert wrong(cluster=cluster(ticket=seen(topic, partitions=sick))) == [
        ("error", "topics", TICKET, "partitions 2 have no leader: they can be neither read nor written"),
        ("warning", "topics", TICKET, "partitions 3 have copies that are not in sync"),
    ]


def test_as_many_copies_in_sync_as_there_are_is_a_warning() -> None:
    """With min.insync.replicas of 3 and 3 copies no broker may be away."""
    topic = TABLE.relays
    found = wrong(cluster=cluster(relays=seen(topic, configuration={"min.insync.replicas": "3"})))
    assert [one[:3] for one in found] == [("warning", "topics", topic.name)]


def test_a_broker_that_advertises_where_nobody_is_is_told() -> None:
    """A broker that cannot be spoken to at its own address is an error with that address."""
    there = cluster()
    lost = there.brokers[1]._replace(unreachable="ConnectionRefusedError")
    (found,) = wrong(cluster=there._replace(brokers=[there.brokers[0], lost, there.brokers[2]]))
    assert found[:3] == ("error", "brokers", "broker 2")
    assert "kafka-2:9092" in found[3]


def test_records_deleted_unread_are_told() -> None:
    """A log that begins behind what is committed has lost what lies between; one that ends before it is another."""
    tp = TopicPartition(TICKET, 1)
    (lost,) = wrong(bounds={tp: Bounds(50, 90)}, committed={tp: 20})
    assert lost == ("error", "state", TICKET, "30 records of partitions 1 were deleted before they were processed")
    (other,) = wrong(bounds={tp: Bounds(0, 10)}, committed={tp: 20})
    assert other[:3] == ("error", "state", TICKET)
    assert "ends at 10, and the group has committed 20" in other[3]
    assert wrong(bounds={tp: Bounds(20, 20)}, committed={tp: 20}) == []


def test_an_empty_changelog_is_lost_state_only_if_something_was_read() -> None:
    """Committed records and no state is an error; a new group has neither."""
    empty = {TopicPartition(CASES, number): Bounds(0, 0) for number in range(4)}
    source = TopicPartition(TICKET, 0)
    assert wrong(bounds=empty) == []
    (found,) = wrong(bounds={**empty, source: Bounds(0, 9)}, committed={source: 9})
    assert found[:3] == ("error", "state", CASES)
    written = {**empty, TopicPartition(CASES, 2): Bounds(5, 5)}
    assert wrong(bounds={**written, source: Bounds(0, 9)}, committed={source: 9}) == []


def test_forgotten_offsets_are_no_loss() -> None:
    """State without anything committed is a warning: the sources will be read again."""
    (found,) = wrong(bounds={TopicPartition(CASES, 0): Bounds(0, 9)})
    assert found[:3] == ("warning", "state", "group cxstream")


def test_what_waits_for_half_of_its_retention_is_told() -> None:
    """An unprocessed record that is older than half of what the topic keeps is a warning; a younger one is none."""
    tp = TopicPartition(TICKET, 0)
    for age_days, expected in ((44, []), (46, ["warning"])):
        found = wrong(unread_since_ms={tp: NOW_MS - age_days * DAY_MS}, committed={tp: 1})
        assert [one[0] for one in found] == expected, age_days


def test_events_are_needed_until_a_case_nobody_ends_is_abandoned() -> None:
    """The longest need is the abandonment, or R + H + the longest window where that is longer."""
    assert longest_need_ms(Policy()) == 90 * DAY_MS
    assert longest_need_ms(Policy(longest_window_ms=365 * DAY_MS)) == (365 + 30 + 3) * DAY_MS


def test_a_size_limit_is_no_promise_of_time() -> None:
    """Sources that are limited in bytes may lose young events: a warning."""
    topic = TABLE.sources["parts"]
    (found,) = wrong(cluster=cluster(parts=seen(topic, configuration={"retention.bytes": "1000"})))
    assert found[:3] == ("warning", "retention", PARTS)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"group": WELL.group._replace(protocol_type="connect")}, ("error", "group")),
        ({"group": WELL.group._replace(members=[member(1, TICKET)])}, ("error", "group")),
        ({"group": WELL.group._replace(members=[member(1, *TABLE.consumed, "else")])}, ("error", "group")),
        ({"group": WELL.group._replace(members=[member(n) for n in range(5)])}, ("warning", "sizing")),
        ({"group": WELL.group._replace(rights=frozenset({"describe"}))}, ("error", "permissions")),
        ({"group": WELL.group._replace(error="GroupAuthorizationFailedError")}, ("error", "permissions")),
        ({"unreadable": {TICKET: "TopicAuthorizationFailedError"}}, ("error", "permissions")),
        ({"unreadable": {TICKET: "KafkaTimeoutError"}}, ("error", "permissions")),
        ({"broker_configuration": {"group.max.size": "2"}}, ("warning", "sizing")),
        ({"broker_configuration": {"group.max.session.timeout.ms": "5000"}}, ("error", "brokers")),
        ({"registry_failure": "it is down"}, ("error", "schemas")),
        ({"bounds": {TopicPartition("cxstream.verdicts", 0): Bounds(0, 7)}}, ("error", "state")),
    ],
)
def test_one_thing_that_is_wrong_is_one_finding(changes: Mapping[str, Any], expected: tuple[str, str]) -> None:
    """Each of these alone is told once, with its severity and question."""
    assert [one[:2] for one in wrong(**changes)] == [expected]


def test_a_member_as_workers_are_is_welcome() -> None:
    """Workers subscribe to what they consume, with or without their changelogs."""
    changelogs = [topic.name for topic in TABLE.changelogs.values()]
    workers = [member(1), member(2, *TABLE.consumed, *changelogs)]
    assert wrong(group=WELL.group._replace(members=workers)) == []


def a_sample(**others: Any) -> Sample:  # noqa: ANN401
    """Return a sample with nothing wrong."""
    return Sample(partition_of(b"k", 4), b"k", NOW_MS, None, "", -SECOND_MS)._replace(**others)


def test_clocks_are_held_against_the_margin_both_ways() -> None:
    """Stamps ahead of us, and arrivals stamped before we asked, are errors beyond kafka.clock_margin_seconds."""
    for stamped_ms, expected in ((NOW_MS + 4_000, []), (NOW_MS + 6_000, ["error"])):
        assert [one[0] for one in wrong(samples={TICKET: [a_sample(stamped_ms=stamped_ms)]})] == expected
    for stamped_ms, expected in ((NOW_MS - 4_000, []), (NOW_MS - 6_000, ["error"]), (NOW_MS + 6_000, ["error"])):
        found = wrong(arrivals=Arrivals(NOW_MS, NOW_MS, [stamped_ms]))
        assert [one[0] for one in found] == expected, stamped_ms


@pytest.mark.parametrize(
    ("lead_ms", "expected"), [(-HOUR_MS, []), (SECOND_MS, []), (2 * SECOND_MS, ["warning"]), (HOUR_MS, ["error"])]
)
def test_events_from_the_future_are_told_before_they_are_refused(lead_ms: int, expected: list[str]) -> None:
    """Within policy.clock_skew of their delivery they are a warning, beyond it an error."""
    assert [one[0] for one in wrong(samples={TICKET: [a_sample(lead_ms=lead_ms)]})] == expected


def test_some_undecodable_records_warn_and_nothing_but_them_is_an_error() -> None:
    """One bad record among good ones is a warning; where all are bad nothing would be judged."""
    bad = a_sample(reason="unknown_schema", detail="unknown_schema: id 7: not configured", lead_ms=None)
    assert [one[0] for one in wrong(samples={TICKET: [bad, a_sample()]})] == ["warning"]
    ((severity, _check, _subject, observed),) = wrong(samples={TICKET: [bad, bad]})
    assert severity == "error"
    assert observed == (
        "2 of 2 sampled records would become dead letters: unknown_schema (expected: id 7: not configured)"
    )


# --- Keys -------------------------------------------------------------------------------------------------------------


def _fnv1a(key: bytes) -> int:
    value = 2166136261
    for byte in key:
        value = (value ^ byte) * 16777619 % 2**32
    return abs(value - 2**32 if value >= 2**31 else value)


@pytest.mark.parametrize(("name", "of"), [("CRC-32", crc32), ("FNV-1a", _fnv1a)])
def test_another_partitioner_is_found_by_where_its_keys_are(name: str, of: Any) -> None:  # noqa: ANN401
    """Keys that another library has spread are known by its hash, unless they are too few to tell."""
    keys = [(f"case-{number}".encode(), of(f"case-{number}".encode()) % 12) for number in range(60)]
    assert len(elsewhere(keys, 12)) > 40
    assert explained_by(keys, 12) == name
    assert explained_by(keys[:4], 12) is None


def test_murmur2_is_right_and_chance_is_not_called_a_partitioner() -> None:
    """Keys where murmur2 puts them are not elsewhere; keys spread by nothing known are not explained."""
    keys = [(f"case-{number}".encode(), partition_of(f"case-{number}".encode(), 12)) for number in range(60)]
    assert elsewhere(keys, 12) == []
    assert explained_by([(key, (at + 1) % 12) for key, at in keys], 12) is None


# --- The plan of topics -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "has", "is_altered"),
    [
        ("cleanup.policy", "compact,delete", True),
        ("min.insync.replicas", "1", True),
        ("min.insync.replicas", "3", False),
        ("delete.retention.ms", "1", True),
        ("delete.retention.ms", str(30 * DAY_MS), False),
        ("max.compaction.lag.ms", str(2 * DAY_MS), True),
        ("max.compaction.lag.ms", str(HOUR_MS), False),
        ("max.message.bytes", "1048588", True),
        ("max.message.bytes", "16777216", False),
    ],
)
def test_what_keeps_or_takes_more_is_left_as_it_is(key: str, has: str, is_altered: bool) -> None:  # noqa: FBT001
    """A configuration is altered where it is not good enough, and not where it is better than asked for."""
    topic = TABLE.changelogs["cases"]
    plan = plan_of(TABLE, cluster(cases=seen(topic, configuration={key: has})), ())
    assert [(one.topic, one.key, one.has, one.needs) for one in plan.alterations] == (
        [(CASES, key, has, topic.configuration[key])] if is_altered else []
    )
    assert plan.status == (1 if is_altered else 0)


def test_unbounded_is_more_than_any_bound_and_less_than_nothing_else() -> None:
    """retention.ms of -1 is at least anything; where -1 is needed, only that will do."""
    for role, has, expected in (("verdicts", "-1", 0), ("relays", "1000", 1)):
        topic = next(one for one in TABLE.topics if one.role == role)
        plan = plan_of(TABLE, cluster(one=seen(topic, configuration={"retention.ms": has})), ())
        assert len(plan.alterations) == expected, role


def test_sources_and_hidden_topics_are_left_to_others() -> None:
    """A configuration of a source is told and not altered; a topic that may not be seen is not created."""
    source, hidden = TABLE.sources["ticket"], TABLE.relays
    there = cluster(
        ticket=seen(source, configuration={"retention.ms": "1"}),
        relays=seen(hidden, error="TopicAuthorizationFailedError"),
    )
    finding = TopicFinding("warning", source.name, "has x", "y", "Mend it.", "configuration")
    plan = plan_of(TABLE, there, [finding])
    assert (plan.creations, plan.alterations, plan.status) == ([], [], 2)
    assert [one.topic for one in plan.obstacles] == [hidden.name, source.name]


def test_a_lost_changelog_is_not_created() -> None:
    """One that is missing while records are committed is an obstacle, one that was never there a creation."""
    missing = seen(TABLE.changelogs["cases"], error="UnknownTopicOrPartitionError")
    new = plan_of(TABLE, cluster(cases=missing), [TopicFinding("error", CASES, "missing", "x", "Make it.")])
    assert ([one.topic.name for one in new.creations], new.obstacles, new.status) == ([CASES], [], 1)
    lost = plan_of(TABLE, cluster(cases=missing), [TopicFinding("error", CASES, "missing", "x", "Do not.", "state")])
    assert (lost.creations, [one.topic for one in lost.obstacles], lost.status) == ([], [CASES], 2)


# --- The status -------------------------------------------------------------------------------------------------------


def test_a_worker_is_read_from_its_metrics() -> None:
    """State, policy, what it speaks for, how far, and what it still has to recover, both tables together."""
    text = """
cxstream_worker_state{group="g",state="recovering"} 1.0
cxstream_worker_state{group="g",state="running"} 0.0
cxstream_policy_info{group="g",fingerprint="abc"} 1.0
cxstream_partition_ready{group="g",partition="0"} 1.0
cxstream_partition_ready{group="g",partition="1"} 0.0
cxstream_partition_owner_generation{group="g",partition="0"} 7.0
cxstream_partition_watermark_timestamp_seconds{group="g",partition="0"} 5.0
cxstream_table_recovery_remaining_records{group="g",partition="1",table="cases"} 30.0
cxstream_table_recovery_remaining_records{group="g",partition="1",table="boards"} 4.0
"""
    found = worker_of("w:1", text)
    assert found == WorkerSeen("w:1", None, "recovering", "abc", frozenset({0}), {0: 7}, {0: 5_000}, {1: 34})


def a_status(*partitions: PartitionStatus, answered: bool = True) -> Status:
    """Return the status of a group with these partitions."""
    worker = WorkerSeen("w:1", None if answered else "does not answer")
    return Status("g", "Stable", (), partitions, {}, [worker], NOW_MS, ())


def a_partition(**others: Any) -> PartitionStatus:  # noqa: ANN401
    """Return a partition with nothing wrong."""
    whole = PartitionStatus(
        0, "w", ready=True, lag=Lag(0, 0.0), clock_ms=NOW_MS, recovery_remaining=0, changelog_records=9
    )
    return whole._replace(**others)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, 0),
        ({"clock_ms": NOW_MS - int(FRESH_SECONDS) * SECOND_MS}, 0),
        ({"clock_ms": NOW_MS - int(FRESH_SECONDS + 1) * SECOND_MS}, 1),
        ({"clock_ms": None}, 1),
        ({"ready": False}, 1),
    ],
)
def test_the_status_is_0_only_if_all_is_covered_and_fresh(changes: Mapping[str, Any], status: int) -> None:
    """One partition that is not spoken for, of which nothing was said, or that is 900 s behind, makes it 1."""
    assert a_status(a_partition(), a_partition(**changes)).status == status


def test_without_a_worker_that_answers_nothing_is_covered_for_all_we_know() -> None:
    """Where no worker can be asked the coverage is not known: the status is 1, and the text says why."""
    whole = a_status(a_partition(ready=None), answered=False)
    assert (whole.coverage, whole.owned, whole.status) == (None, 1, 1)
    half = a_status(a_partition(ready=None), a_partition(ready=None, owner=None), answered=False)
    assert (half.coverage, half.owned, half.status) == (None, 0.5, 1)
    told = half.text()
    assert "unknown (no worker answered: name them with --worker); 50% of 2 partitions have an owner" in told
    assert "worker     w:1: does not answer" in told


def test_workers_with_a_certificate_are_asked_by_https() -> None:
    """Where http.cert_file is set the status speaks https, and believes no certificate the system does not trust."""
    own = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(own)

    async def asked() -> WorkerSeen:
        server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0, ssl=own)
        async with server:
            return await _ask(f"127.0.0.1:{server.sockets[0].getsockname()[1]}", scheme_of(guarded))

    guarded = load(None, {"CXSTREAM_HTTP_CERT_FILE": __file__, "CXSTREAM_HTTP_KEY_FILE": __file__})
    assert (scheme_of(SETTINGS), scheme_of(guarded)) == ("http", "https")
    assert asyncio.run(asked()).error == "does not answer (ClientConnectorCertificateError)"


def test_progress_is_shown_on_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bar says what is being done and how far it is; where standard error is no terminal nothing is written."""
    with commands._bar() as tell:
        tell("copy", 3, 9)
    assert capsys.readouterr().err == ""
    terminal = Console(force_terminal=True, stderr=True, width=100)
    monkeypatch.setattr(commands, "Console", lambda **_options: terminal)
    with terminal.capture() as captured, commands._bar() as tell:
        tell("copy", 3, 9)
    assert "copy" in captured.get()
    assert "3/9" in captured.get()
