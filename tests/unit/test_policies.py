"""The record of policies: each is kept once, told in order of first use, and shown by a fingerprint of all it says."""

from __future__ import annotations

import asyncio
import json
from typing import Any, NamedTuple
from unittest.mock import AsyncMock, MagicMock

import msgspec
import pytest
from aiokafka.errors import KafkaConnectionError
from click.testing import CliRunner

from cxstream import worker as composition
from cxstream.cli import main
from cxstream.config import load, policy_stated
from cxstream.domain.vocabulary import TOPICS
from cxstream.engine.policies import PolicyRecord, fingerprint_of, succession
from cxstream.engine.watermark import NOTHING, GroupWatermark, Said
from cxstream.kafka.changelog_table import Outgoing
from cxstream.kafka.partition import Holdings, Partition
from cxstream.kafka.watermarks import POLICY_KEY, WatermarkTopic
from cxstream.worker import Worker, WriteFailedError

IN_THE_NORTH = {"CXSTREAM_POLICY_FOR": '[{"where": {"region": "north"}, "late_grace": "5m"}]'}


class Written(NamedTuple):
    """A record of the watermark topic."""

    key: bytes | None
    value: bytes | None
    offset: int = 0


class Topic:
    """A watermark topic in memory: what one worker writes the others hear."""

    def __init__(self) -> None:
        self.records: list[Written] = []
        self.group = GroupWatermark(1)

    def reader(self) -> WatermarkTopic:
        """Return a worker's view of the topic, once it has heard all of it."""
        topic = WatermarkTopic("t", self.group, self)  # type: ignore[arg-type]
        asyncio.run(topic.hear())
        return topic

    async def produce_many(self, _topic: str, _partition: int | None, records: list[Outgoing]) -> None:
        """Take records."""
        self.records += [Written(one.key, one.value) for one in records]

    async def follow(self, _topic: str, take: Any) -> None:  # noqa: ANN401
        """Give all there is."""
        for record in self.records:
            take(record)


def record(since_ms: int, **environ: str) -> PolicyRecord:
    """Return the record of the policy that variables state."""
    stated = policy_stated(load(None, {f"CXSTREAM_{name}": text for name, text in environ.items()}))
    return PolicyRecord(fingerprint_of(stated), since_ms, "1.0", stated)


def test_a_policy_is_recorded_once_for_all() -> None:
    """Who has heard that a policy is recorded does not record it again, nor who did it; another one is beside it."""
    topic, usual, other = Topic(), record(1), record(2, POLICY_EXPLANATION="1h")
    first = topic.reader()
    for _ in range(2):
        asyncio.run(first.record(usual))
    asyncio.run(topic.reader().record(msgspec.structs.replace(usual, since_ms=9)))
    asyncio.run(topic.reader().record(other))
    assert [one.key for one in topic.records] == [POLICY_KEY + one.fingerprint.encode() for one in (usual, other)]
    assert msgspec.json.decode(topic.records[0].value or b"", type=PolicyRecord) == usual


def test_a_worker_records_its_policy_before_it_shows_figures() -> None:
    """Once own words have come back to it, and with them all that was recorded before, and once only."""
    engine = MagicMock(owned={0})
    engine.produce_many = AsyncMock()
    worker = Worker(load(None, {**IN_THE_NORTH, "CXSTREAM_KAFKA_VERDICTS_TOPIC": "none"}), engine, lambda: 5)
    topics = [*worker._roles.sources, worker._roles.assets, worker._roles.relays]
    engine.progress.return_value = {topic: MagicMock(acked=0) for topic in topics}
    ends = dict.fromkeys([*topics, *(table.changelog_topic_name for table in worker._tables)], 0)
    partition = Partition(0, 1, Holdings(worker.windows, 0), TOPICS)
    worker._partitions = {0: partition}

    def attend() -> None:
        for table in worker._tables:
            table.unread_ranges.return_value = []  # type: ignore[attr-defined]
            table.complete_offset.return_value = 0  # type: ignore[attr-defined]
        asyncio.run(worker._attend(partition, ends, 5, NOTHING))

    attend()
    assert not partition.caught_up
    engine.produce_many.assert_not_awaited()
    partition.announced(Said(NOTHING, {}))
    engine.produce_many.side_effect = KafkaConnectionError
    with pytest.raises(WriteFailedError):
        attend()
    assert not partition.caught_up
    engine.produce_many.side_effect = None
    for _ in range(2):
        attend()
    assert partition.caught_up
    assert engine.produce_many.await_count == 2
    topic, number, (written,) = engine.produce_many.await_args.args
    assert (topic, number) == ("cxstream-watermarks", 0)
    found = msgspec.json.decode(written.value, type=PolicyRecord)
    assert (found.since_ms, found.fingerprint) == (5, worker.snapshot().policy)
    assert found.settings["policy_for"] == [{"where": {"region": "north"}, "late_grace": "5m"}]
    assert written.key == POLICY_KEY + found.fingerprint.encode()


def test_policies_and_watermarks_do_not_mix(caplog: pytest.LogCaptureFixture) -> None:
    """A policy moves no watermark and is no unreadable one; who knows no policies passes over what is no number."""
    topic = Topic()
    asyncio.run(topic.reader().record(record(1)))
    asyncio.run(topic.reader().say({0: Said((7,) * len(NOTHING), {})}))
    topic.reader()
    assert topic.group.settled_ms == 7
    assert not caplog.records
    with pytest.raises(ValueError, match="invalid literal"):
        int(topic.records[0].key or b"")


def test_policies_follow_each_other_with_what_each_changed() -> None:
    """They come by first use, whatever the order in the topic; the first is held against the defaults."""
    defaults = policy_stated(load(None, {}))
    first, second = record(1, OBJECTIVES="explained=0.5"), record(5, POLICY_EXPLANATION="1h")
    told = list(succession([second, first], defaults))
    assert [one.record for one in told] == [first, second]
    assert [sorted(one.changed) for one in told] == [["objectives"], ["objectives", "policy.explanation"]]
    assert told[1].changed["policy.explanation"] == ("24h", "1h")
    later = PolicyRecord("x", 9, "2.0", {**second.settings, "policy.new": 1})
    assert list(succession([second, later], defaults))[1].changed == {"policy.new": (None, 1)}


@pytest.mark.parametrize(
    "environ",
    [
        {"CXSTREAM_POLICY_EXPLANATION": "1h"},
        {"CXSTREAM_OBJECTIVES": "explained=0.5"},
        {"CXSTREAM_OBJECTIVES_FOR": '[{"where": {"region": "north"}, "explained": 0.5}]'},
        IN_THE_NORTH,
        {"CXSTREAM_SIGN_TIERS": "A,B"},
        {"CXSTREAM_LIMITS_MAX_FACTS_PER_CASE": "100"},
    ],
    ids=lambda environ: next(iter(environ)),
)
def test_the_fingerprint_is_of_all_that_is_judged_by(environ: dict[str, str]) -> None:
    """Constants, objectives and tiers of all and of segments change what `cxstream_policy_info` says; ports do not."""
    usual = Worker(load(None, {"CXSTREAM_HTTP_PORT": "1"}), MagicMock()).snapshot().policy
    assert Worker(load(None, environ), MagicMock()).snapshot().policy != usual
    again = {"CXSTREAM_SIGN_TIERS": "A", "CXSTREAM_POLICY_LATE_HORIZON": "3d", "CXSTREAM_HTTP_PORT": "2"}
    assert Worker(load(None, again), MagicMock()).snapshot().policy == usual


def test_a_worker_shows_the_objectives_of_segments() -> None:
    """Beside those of the job, one for each sign that is judged, level and segment."""
    entries = '[{"where": {"region": "north"}, "explained": 0.5, "transfers": 0.5}]'
    snapshot = Worker(load(None, {"CXSTREAM_OBJECTIVES_FOR": entries}), MagicMock()).snapshot()
    assert [one for one in snapshot.objectives if one.level != "job"] == [("explained", "region", "north", 0.5)]
    assert {one.segment for one in snapshot.objectives if one.level == "job"} == {""}


def test_the_command_lists_policies(monkeypatch: pytest.MonkeyPatch) -> None:
    """One JSON object each: fingerprint, first use, version, whether it is the one configured, and what it changed."""
    first, second = record(0), record(86_400_000, POLICY_FOR=IN_THE_NORTH["CXSTREAM_POLICY_FOR"])

    async def read(topic: str, bootstrap: str, _client: object) -> list[PolicyRecord]:
        assert (topic, bootstrap) == ("cxstream-watermarks", "kafka-1:9092")
        return [second, first]

    monkeypatch.setattr(composition, "read_policies", read)
    environ = {**IN_THE_NORTH, "CXSTREAM_KAFKA_BOOTSTRAP": "kafka-1:9092"}
    result = CliRunner(env=environ).invoke(main, ["policies"])
    assert result.exit_code == 0, result.output
    assert [json.loads(line) for line in result.output.splitlines()] == [
        {
            "fingerprint": first.fingerprint,
            "first_used": "1970-01-01T00:00:00Z",
            "version": "1.0",
            "configured": False,
            "changed": {},
        },
        {
            "fingerprint": second.fingerprint,
            "first_used": "1970-01-02T00:00:00Z",
            "version": "1.0",
            "configured": True,
            "changed": {"policy_for": {"before": [], "after": [{"where": {"region": "north"}, "late_grace": "5m"}]}},
        },
    ]


def test_brokers_that_cannot_be_asked_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command ends with status 1 and the address it tried."""

    async def read(*_: object) -> list[PolicyRecord]:
        raise KafkaConnectionError("no answer")

    monkeypatch.setattr(composition, "read_policies", read)
    result = CliRunner(env={"CXSTREAM_KAFKA_BOOTSTRAP": "kafka-9:1"}).invoke(main, ["policies"])
    assert result.exit_code == 1
    assert "kafka-9:1" in result.output
