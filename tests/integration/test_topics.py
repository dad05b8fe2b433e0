"""The topic table against a real broker: what is missing, wrong, created and fine is told with the way to mend it."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import Mapping

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from cxstream.domain import vocabulary
from cxstream.kafka import topics
from cxstream.kafka.topics import BrokersUnreachableError, Finding, Topic, TopicsError, TopicTable, topic_table
from parts.apache_kafka import ApacheKafka
from parts.processes import free_port

NOTHING_THERE_SECONDS = 2.0


def a_table(replication_factor: int = 1) -> TopicTable:
    """Return the table of a group of its own, with four partitions."""
    group = f"cx-{uuid.uuid4().hex[:8]}"
    sources = {kind: f"{group}.{kind}" for kind in vocabulary.TOPICS}
    return topic_table(
        group=group,
        sources=sources,
        partitions=4,
        replication_factor=replication_factor,
        verdicts=f"{group}.verdicts",
    )


async def create(bootstrap: str, topic: Topic, partitions: int = 0, config: Mapping[str, str] | None = None) -> None:
    """Create a topic of the table as an operator might: with other partitions or another configuration."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        settings = dict(topic.configuration if config is None else config)
        made = NewTopic(topic.name, partitions or topic.partitions, topic.replication_factor, topic_configs=settings)
        answer = await admin.create_topics([made])
        assert [code for _, code, *_ in answer.topic_errors] == [0], answer
        while topic.name not in await admin.list_topics():  # noqa: ASYNC110  # the broker tells nobody
            await asyncio.sleep(0.1)
    finally:
        await admin.close()


async def there(bootstrap: str, table: TopicTable) -> dict[str, int]:
    """Return the number of partitions of those topics of the table that exist."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        described = {topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics()}
    finally:
        await admin.close()
    return {topic.name: described[topic.name] for topic in table.topics if topic.name in described}


def refused(bootstrap: str, table: TopicTable, *, declare: bool = False) -> TopicsError:
    """Return the error the check ends with."""
    with pytest.raises(TopicsError) as raised:
        asyncio.run(topics.check(bootstrap, table, declare=declare))
    return raised.value


def brief(findings: list[Finding] | tuple[Finding, ...]) -> set[tuple[str, str, str]]:
    """Return the findings that say more than "created", without the advice."""
    return {(one.severity, one.topic, one.has) for one in findings if one.severity != "created"}


def test_the_table_names_every_topic_of_the_group() -> None:
    """Sources, boards, relays, changelogs, watermarks and dead letters; what takes part is co-partitioned."""
    sources = {"ticket": "t", "dispatch": "d", "parts": "p"}
    table = topic_table(group="cx", sources=sources, trusted=["p"], partitions=12, replication_factor=3, verdicts="v")
    assert [topic.name for topic in table.topics] == [
        *("t", "d", "p", "cx-assets", "cx-relays", "cx-cases-changelog", "cx-boards-changelog", "v", "cx-watermarks"),
        *("t.dead-letters", "d.dead-letters", "p.dead-letters", "cx-assets.dead-letters", "cx-relays.dead-letters"),
    ]
    assert table.consumed == ("t", "d", "p", "cx-assets", "cx-relays")
    assert [topic.name for topic in table.topics if not topic.co_partitioned] == [
        "cx-watermarks",
        *(topic.name for topic in table.dead_letters.values()),
    ]
    assert {topic.name: topic.partitions for topic in table.topics if topic.partitions != 12} == {"cx-watermarks": 1}
    assert {topic.configuration["min.insync.replicas"] for topic in table.topics} == {"2"}
    timestamps = {topic.name: topic.configuration.get("message.timestamp.type") for topic in table.topics[:5]}
    assert timestamps == {
        "t": "LogAppendTime",
        "d": "LogAppendTime",
        "p": "CreateTime",
        "cx-assets": "LogAppendTime",
        "cx-relays": "LogAppendTime",
    }


@pytest.mark.parametrize(("copies", "insync"), [(1, "1"), (2, "1"), (3, "2"), (5, "2")])
def test_one_broker_may_always_be_away(copies: int, insync: str) -> None:
    """The copies a write waits for are fewer than there are, and two where that is possible."""
    assert a_table(replication_factor=copies).relays.configuration["min.insync.replicas"] == insync


def test_records_that_state_their_own_time_are_not_deleted_by_it() -> None:
    """A topic with CreateTime has no retention by time: facts of old cases are born older than any."""
    table = a_table()
    for topic in table.topics:
        if topic.configuration.get("message.timestamp.type") == "CreateTime":
            assert topic.configuration["retention.ms"] == "-1", topic.name
        if "delete" in topic.configuration["cleanup.policy"]:
            assert {"retention.ms", "retention.bytes"} & topic.configuration.keys(), topic.name


def test_only_state_and_what_states_its_own_time_is_kept_for_ever() -> None:
    """What cases tell each other is deleted by age like the sources: it may be about a case that was erased since."""
    table = topic_table(
        group="cx", sources={"ticket": "t", "dispatch": "d"}, trusted=["d"], partitions=1, replication_factor=1
    )
    lasting = {topic.name for topic in table.topics if int(topic.configuration.get("retention.ms", "-1")) < 0}
    assert lasting == {"d", "cx-cases-changelog", "cx-boards-changelog", "cx-watermarks"}


def test_two_topics_of_one_name_are_refused() -> None:
    """A source that is named like a topic of the service's own is no table."""
    with pytest.raises(ValueError, match="cx-relays"):
        topic_table(group="cx", sources={"ticket": "cx-relays"}, partitions=1, replication_factor=1)


def test_missing_topics_are_told_with_the_command_to_create_them(kafka: str) -> None:
    """Without declare nothing is created; the error says for each topic how to create it."""
    table = a_table()
    error = refused(kafka, table)
    assert {finding.topic for finding in error.findings} == {topic.name for topic in table.topics}
    assert asyncio.run(there(kafka, table)) == {}
    cases = table.changelogs["cases"]
    command = f"kafka-topics.sh --bootstrap-server {kafka} --create --topic {cases.name} --partitions 4"
    assert f"{cases.name}: missing, needs 4 partitions, like every topic that takes part. Create it: {command}" in str(
        error
    )
    assert " --replication-factor 1 --config cleanup.policy=compact " in str(error)


def test_declared_topics_are_created_and_then_fine(kafka: str) -> None:
    """With declare what is missing is created as the table says; the next check finds nothing to say."""
    table = a_table()
    findings = asyncio.run(topics.check(kafka, table, declare=True))
    assert {finding.topic for finding in findings if finding.severity == "created"} == {t.name for t in table.topics}
    assert asyncio.run(there(kafka, table)) == {topic.name: topic.partitions for topic in table.topics}
    assert asyncio.run(topics.check(kafka, table, declare=False)) == []


def test_two_workers_may_declare_at_the_same_time(kafka: str) -> None:
    """Workers that start together create every topic once, and neither fails."""
    table = a_table()

    async def both() -> list[list[Finding]]:
        return list(await asyncio.gather(*(topics.check(kafka, table, declare=True) for _ in range(2))))

    one, other = asyncio.run(both())
    created = [finding.topic for finding in (*one, *other) if finding.severity == "created"]
    assert sorted(created) == sorted(topic.name for topic in table.topics)


def test_another_number_of_partitions_is_an_error_and_nothing_is_altered(kafka: str) -> None:
    """The error says what the topic has and needs and how to re-partition; declare neither alters nor creates."""
    table = a_table()
    asyncio.run(create(kafka, table.sources["ticket"]))
    asyncio.run(create(kafka, table.sources["dispatch"], 6))
    asyncio.run(create(kafka, table.changelogs["cases"], 3))
    before = asyncio.run(there(kafka, table))
    error = refused(kafka, table, declare=True)
    assert asyncio.run(there(kafka, table)) == before
    by_topic = {finding.topic: str(finding) for finding in error.findings}
    dispatch = table.sources["dispatch"].name
    assert f"{dispatch}: has 6 partitions, needs 4 partitions, like every topic" in by_topic[dispatch]
    assert "Partitions cannot be taken away, and added ones re-hash the keys" in by_topic[dispatch]
    assert f"--create --topic {dispatch}-4 --partitions 4" in by_topic[dispatch]
    assert "choose a new kafka.group" in by_topic[dispatch]
    assert "All source topics have" not in by_topic[dispatch]
    state = by_topic[table.changelogs["cases"].name]
    assert f"The state of group {table.group} was made with 3 partitions: set kafka.partitions back to 3" in state


def test_sources_that_agree_with_each_other_suggest_the_setting(kafka: str) -> None:
    """Where all source topics have the same other count, the setting is the first thing to mend."""
    table = a_table()
    for source in table.sources.values():
        asyncio.run(create(kafka, source, 2))
    error = refused(kafka, table, declare=True)
    assert {finding.topic for finding in error.findings} == {source.name for source in table.sources.values()}
    assert "All source topics have 2; if that is meant, set kafka.partitions = 2." in str(error)


def test_dead_letters_may_have_any_number_of_partitions(kafka: str) -> None:
    """Nothing is looked up in a dead-letter topic by key, so its partitions are the operator's choice."""
    table = a_table()
    for topic in table.dead_letters.values():
        asyncio.run(create(kafka, topic, 1))
    asyncio.run(topics.check(kafka, table, declare=True))
    assert asyncio.run(there(kafka, table))[next(iter(table.dead_letters.values())).name] == 1


def test_configuration_that_loses_records_is_told(apache_kafka: ApacheKafka) -> None:
    """Deleted changelogs and compacted events are errors; untrusted clocks and thin safety are warnings."""
    kafka = apache_kafka.bootstrap
    untrusting = a_table()
    name = untrusting.sources["parts"].name
    sources = {kind: topic.name for kind, topic in untrusting.sources.items()}
    group = untrusting.group
    table = topic_table(
        group=group,
        sources=sources,
        trusted=[name],
        partitions=4,
        replication_factor=1,
        verdicts=f"{group}.verdicts",
    )
    asyncio.run(create(kafka, table.sources["ticket"], config={}))
    asyncio.run(create(kafka, table.relays, config={"retention.ms": "1000"}))
    asyncio.run(create(kafka, table.changelogs["boards"], config={"cleanup.policy": "compact"}))
    findings = asyncio.run(topics.check(kafka, table, declare=True))
    ticket = table.sources["ticket"].name
    assert brief(findings) == {
        ("warning", ticket, "has message.timestamp.type=CreateTime"),
        ("warning", table.relays.name, "has retention.ms=1000"),
        ("warning", table.relays.name, "has max.message.bytes=1048588"),
        ("warning", table.changelogs["boards"].name, "has max.message.bytes=1048588"),
    }
    mend = f"kafka-configs.sh --bootstrap-server {kafka} --alter --entity-type topics --entity-name {ticket}"
    assert any(f"{mend} --add-config message.timestamp.type=LogAppendTime" in str(one) for one in findings)
    untrusted = asyncio.run(topics.check(kafka, untrusting, declare=False))
    assert ("warning", name, "has message.timestamp.type=CreateTime") in brief(untrusted)

    other = a_table()
    asyncio.run(create(kafka, other.changelogs["cases"], config={"cleanup.policy": "compact,delete"}))
    asyncio.run(create(kafka, other.sources["ticket"], config={"cleanup.policy": "compact"}))
    error = refused(kafka, other, declare=True)
    assert ("error", other.changelogs["cases"].name, "has cleanup.policy=compact,delete") in brief(error.findings)
    assert ("error", other.sources["ticket"].name, "has cleanup.policy=compact") in brief(error.findings)


def test_more_copies_than_brokers_is_told_in_the_brokers_words(apache_kafka: ApacheKafka) -> None:
    """A topic that the brokers refuse to create is an error with their reason and the command."""
    table = a_table(replication_factor=3)
    error = refused(apache_kafka.bootstrap, table, declare=True)
    assert "could not be created (" in str(error)
    assert "replication factor" in str(error).lower()
    one_copy = topic_table(
        group=table.group,
        sources={kind: topic.name for kind, topic in table.sources.items()},
        partitions=4,
        replication_factor=1,
        verdicts=f"{table.group}.verdicts",
    )
    asyncio.run(topics.check(apache_kafka.bootstrap, one_copy, declare=True))
    findings = asyncio.run(topics.check(apache_kafka.bootstrap, table, declare=False))
    assert ("warning", table.relays.name, "has 1 copies") in brief(findings)


def test_no_broker_is_an_error_within_the_time() -> None:
    """Where nobody listens the check gives up in time and names the address and the last error."""
    address = f"127.0.0.1:{free_port()}"
    begun = time.monotonic()
    with pytest.raises(BrokersUnreachableError) as raised:
        asyncio.run(topics.check(address, a_table(), declare=False, timeout_seconds=NOTHING_THERE_SECONDS))
    assert time.monotonic() - begun < NOTHING_THERE_SECONDS + 1
    assert f"no broker of {address} could be asked about the topics within 2 s (ConnectionRefusedError" in str(
        raised.value
    )


def test_a_silent_broker_is_an_error_and_one_that_comes_back_is_waited_for(apache_kafka: ApacheKafka) -> None:
    """A broker that accepts and does not answer ends in the same error; one that is back in time is no error."""
    table = a_table()
    apache_kafka.pause()
    begun = time.monotonic()
    with pytest.raises(BrokersUnreachableError):
        asyncio.run(topics.check(apache_kafka.bootstrap, table, declare=True, timeout_seconds=NOTHING_THERE_SECONDS))
    assert time.monotonic() - begun < NOTHING_THERE_SECONDS + 1
    back = threading.Timer(2.0, apache_kafka.resume)
    back.start()
    findings = asyncio.run(topics.check(apache_kafka.bootstrap, table, declare=True))
    back.join()
    assert {finding.severity for finding in findings} == {"created"}
