"""Whatever stands in a record, the agent takes it or writes a dead letter of it: no partition ever stops."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxstream.domain import vocabulary
from cxstream.domain.facts import Fact
from cxstream.domain.instant import DAY_MS, HOUR_MS, MINUTE_MS, parse_instant
from cxstream.domain.policy import Policy
from cxstream.engine.ledger import Row
from cxstream.kafka.codec import REASONS
from cxstream.kafka.dead_letters import MAX_DETAIL_BYTES, MAX_ORIGINAL_HEADERS_BYTES
from cxstream.kafka.records import VERSION, NewerRecordError, Relay, read_case, write
from parts.accounts import dispositions, unaccounted
from parts.agent import ASSETS, LETTERS, POLICY, RELAYS, Broker, Life, Record
from parts.messages import (
    CODEC,
    EXAMPLES,
    MESSAGES,
    events,
    headers,
    keys,
    payloads,
    swollen,
    timestamps,
)
from parts.messages import write as message_of
from parts.trials import tried

CASE_IDS = sorted({event["case_id"] for event in EXAMPLES})
NOW_MS = max(parse_instant(event["at"]) for event in EXAMPLES) + HOUR_MS
POSSIBLE = {*REASONS, "wrong_partition", "too_old_for_unknown_case"}

_Drawn = TypeVar("_Drawn")


def _mostly(usual: st.SearchStrategy[_Drawn], seldom: st.SearchStrategy[_Drawn]) -> st.SearchStrategy[_Drawn]:
    """Draw what is usual four times in five, else hardly anything would be read."""
    return st.integers(0, 4).flatmap(lambda number: seldom if number == 1 else usual)


IN_TIME = [
    (topic, Record(key, value, parse_instant(event["at"]) + MINUTE_MS))
    for (topic, key, value), event in zip(MESSAGES, EXAMPLES, strict=True)
]
"""Good records, each delivered a minute after it happened."""
ABOUT = {topic: [event for event in EXAMPLES if event["topic"] == topic] for topic in vocabulary.TOPICS}
KNOWN = [record for record, event in zip(IN_TIME, EXAMPLES, strict=True) if event["type"] != "erased"]
_good = st.sampled_from(MESSAGES)
_headers = _mostly(st.just([]), headers)


@st.composite
def _records(draw: st.DrawFn) -> tuple[str, Record]:
    """Draw a record of a source topic: a good one, an odd event, a damaged message, or anything."""
    topic, (key, value, usual_ms, _headers_of, _offset) = draw(st.sampled_from(IN_TIME))
    match draw(st.sampled_from(["good", "anew", "anew", "event", "event", "swollen", "anything", "topic"])):
        case "anew":
            event = {**draw(st.sampled_from(ABOUT[topic])), "event_id": draw(st.sampled_from("abc"))}
            key, value, usual_ms = event["case_id"].encode(), CODEC.encode(event), NOW_MS
        case "event":
            event = draw(events())
            event["case_id"] = draw(_mostly(st.sampled_from(CASE_IDS), st.just(event["case_id"])))
            topic, key, value = event["topic"], event["case_id"].encode(), message_of(event)
            usual_ms = min(max(event["at"], 0), NOW_MS) + MINUTE_MS
        case "swollen":
            topic, key, value = draw(swollen())
        case "anything":
            value = draw(payloads)
        case "topic":
            topic = draw(st.sampled_from(vocabulary.TOPICS))
    timestamp_ms = draw(_mostly(st.just(usual_ms), timestamps))
    return topic, Record(draw(_mostly(st.just(key), keys)), value, timestamp_ms, draw(_headers))


class Situation(NamedTuple):
    """What the agent meets records with: the partitions of the job, of which it owns one, a policy, what it knows."""

    partitions: int
    policy: Policy
    before: list[tuple[str, Record]]


SITUATIONS = [
    Situation(1, POLICY, []),
    Situation(3, POLICY, []),
    Situation(1, POLICY, KNOWN),
    Situation(1, Policy(longest_window_ms=3650 * DAY_MS), KNOWN),
]
"""In the last one nothing is forgotten."""


def _good_record() -> Record:
    event = {"event_id": "good", "topic": "ticket", "type": "opened", "case_id": "good", "at": NOW_MS}
    return Record(b"good", CODEC.encode(event), NOW_MS)


async def _feed(life: Life, drawn: Sequence[tuple[str, Record]], batch_records: int) -> dict[str, list[Record]]:
    """Give records to the agent in batches, topic by topic, and return them with their offsets."""
    sent: dict[str, list[Record]] = {}
    for topic, record in drawn:
        of_topic = sent.setdefault(topic, [])
        of_topic.append(record._replace(offset=len(of_topic)))
    for topic, records in sent.items():
        for first in range(0, len(records), batch_records):
            await life.process(topic, records[first : first + batch_records])
    return sent


@tried(250)
@given(st.lists(_records(), min_size=1, max_size=8), st.integers(1, 8), st.sampled_from(SITUATIONS))
def test_no_record_stops_a_partition(drawn: list[tuple[str, Record]], batch_records: int, situation: Situation) -> None:
    """Every record comes to one end, what is dead is kept unchanged, and the next good event is taken all the same.

    What is left in the tables can be read by the next owner, who adds it up without complaint.
    """

    async def run() -> None:
        broker = Broker()
        life = Life(broker, wall_ms=lambda: NOW_MS, partitions=situation.partitions, policy=situation.policy)
        sent = await _feed(life, [*situation.before, *drawn], batch_records)
        await life.settle()
        _all_is_accounted_for(life, broker, sent)
        next_owner = Life(broker, wall_ms=lambda: NOW_MS, policy=situation.policy)
        await next_owner.recover()
        assert _figures(next_owner, NOW_MS) == _figures(life, NOW_MS)
        await next_owner.process("ticket", [_good_record()])
        assert dispositions(next_owner.scrape())["ticket"] == {"applied": 1}
        assert next_owner.cases.get(0, b"good") is not None

    asyncio.run(run())


@pytest.mark.parametrize("timestamp_ms", [-1, 0, 2**53, 2**62, 2**63 - 1])
def test_no_timestamp_stops_a_partition(timestamp_ms: int) -> None:
    """A record without a timestamp or with one beyond all time is taken or refused, and its case goes on being judged.

    Brokers set the time of arrival (LogAppendTime); this is what a topic that was declared otherwise can hold.
    """

    async def run() -> None:
        broker, now_ms = Broker(), NOW_MS
        life = Life(broker, wall_ms=lambda: now_ms)
        fields = {"arrived": {"visit_id": "V1"}, "completed": {"visit_id": "V1", "outcome": "fixed"}}
        await life.process("ticket", [_good_record()])
        for event_type, more in fields.items():
            event = {"event_id": event_type, "topic": "dispatch", "type": event_type, "case_id": "good", "at": NOW_MS}
            await life.process("dispatch", [Record(b"good", CODEC.encode({**event, **more}), timestamp_ms)])
        now_ms += 3650 * DAY_MS
        await life.agent.judge_due(life.partition)
        await life.process("ticket", [_good_record()])
        assert not unaccounted(life.scrape())
        next_owner = Life(broker, wall_ms=lambda: now_ms)
        await next_owner.recover()
        assert _figures(next_owner, now_ms) == _figures(life, now_ms)

    asyncio.run(run())


def _figures(life: Life, now_ms: int) -> list[Row]:
    life.partition.ledger.advance(now_ms)
    return sorted(life.partition.ledger.rows())


def _all_is_accounted_for(life: Life, broker: Broker, sent: dict[str, list[Record]]) -> None:
    assert not unaccounted(life.scrape())
    assert life.acknowledged == sum(map(len, sent.values()))
    ends = dispositions(life.scrape())
    for topic, records in sent.items():
        letters = broker.produced.get(topic + LETTERS, [])
        assert len(letters) == ends[topic]["dead_letter"]
        for letter in letters:
            added = dict(letter.headers)
            record = records[int(added["cxstream.error.offset"] or b"")]
            assert (letter.key, letter.value) == (record.key, record.value)
            assert (added["cxstream.error.reason"] or b"").decode() in POSSIBLE
            assert len(added["cxstream.error.detail"] or b"") <= MAX_DETAIL_BYTES
            assert sum(len(name) + len(value or b"") for name, value in letter.headers) < 2 * MAX_ORIGINAL_HEADERS_BYTES
    for data in broker.tables["cases"].values():
        assert write(read_case(data)) == data


_facts = st.builds(
    Fact,
    st.text(st.characters(codec="utf-8"), max_size=5),
    st.sampled_from((*vocabulary.TOPICS, "elsewhere")),
    st.sampled_from(
        ("opened", "merged", "cancelled", "corrected", "voided", "completed", "resolved", "from the future")
    ),
    st.integers(0, 2**53),
    st.integers(0, 2**53),
    st.dictionaries(
        st.sampled_from(("asset_id", "into", "replaced_by", "target", "set", "reason", "tz")),
        st.one_of(st.none(), st.integers(-5, 5), st.sampled_from(["A1", "C1", "e1", ""]), st.just({"asset_id": "A2"})),
        max_size=3,
    ),
)
_relays = st.builds(
    Relay,
    st.sampled_from(["", "C1", "C2", "C3"]),
    st.lists(_facts, max_size=3),
    st.one_of(st.none(), st.integers(0, 2**53)),
)


@st.composite
def _own_records(draw: st.DrawFn) -> tuple[str, Record]:
    """Draw a record of a topic that only workers should write to: a relay, a damaged one, or anything.

    Of a later version it is a test of its own, below.
    """
    topic = draw(st.sampled_from([ASSETS, RELAYS]))
    value: bytes | None = write(draw(_relays))
    match draw(st.sampled_from(["good", "good", "damaged", "random", "null", "older", "deep"])):
        case "damaged":
            damaged = bytearray(value or b"")
            damaged[draw(st.integers(1, len(damaged) - 1))] ^= 1 << draw(st.integers(0, 7))
            value = bytes(damaged)
        case "random":
            value = VERSION + draw(st.binary(max_size=30))
        case "null":
            value = None
        case "older":
            value = b"\x00" + (value or b"")[1:]
        case "deep":
            value = VERSION + b"\x91" * draw(st.integers(0, 500)) + msgspec.msgpack.encode(None)
    key = draw(st.sampled_from([b"A1", b"C1", b"C2", b"C3", None, b""]))
    return topic, Record(key, value, draw(timestamps), draw(headers))


@tried(200)
@given(st.lists(_own_records(), min_size=1, max_size=8), st.integers(1, 8))
def test_no_relay_stops_a_partition(drawn: list[tuple[str, Record]], batch_records: int) -> None:
    """A relay that cannot be read is counted and passed over; one that says odd things does no more than it says."""

    async def run() -> None:
        broker = Broker()
        life = Life(broker, wall_ms=lambda: NOW_MS)
        await life.process("ticket", [_good_record()])
        await _feed(life, drawn, batch_records)
        await life.settle()
        assert dispositions(life.scrape())["ticket"] == {"applied": 1}
        next_owner = Life(broker, wall_ms=lambda: NOW_MS)
        await next_owner.recover()
        assert read_case(broker.tables["cases"][b"good"]).facts

    asyncio.run(run())


_RELAY = write(Relay("C1", [Fact("e1", "ticket", "opened", 1, 1, {"asset_id": "A1"})]))


@pytest.mark.parametrize("topic", [ASSETS, RELAYS])
@pytest.mark.parametrize(
    "record",
    [
        Record(b"C1", _RELAY.replace(b"A1", b"A\xff"), NOW_MS),
        Record(b"C1", VERSION + b"\x94\xa2C1\x90\xc0" + b"\x91" * 5_000 + b"\xc0", NOW_MS),
        Record(b"C\xff", _RELAY, NOW_MS),
    ],
    ids=["text is not UTF-8", "bottomless", "key is not UTF-8"],
)
def test_a_relay_of_no_text_or_no_bottom_is_passed_over(topic: str, record: Record) -> None:
    """What nobody can have written is counted as unreadable, under its own topic, and does not stop the partition."""

    async def run() -> None:
        life = Life(Broker(), wall_ms=lambda: NOW_MS)
        await life.process(topic, [record])
        scrape = life.scrape()
        assert scrape.sum("cxstream_events_rejected_total") == 1
        assert scrape.sum("cxstream_events_rejected_total", topic=topic, reason="unreadable") == 1

    asyncio.run(run())


@pytest.mark.parametrize("topic", [ASSETS, RELAYS])
def test_a_relay_of_a_later_release_is_not_passed_over(topic: str) -> None:
    """It holds facts that this release cannot read: the worker ends, and the relay is there for a later one."""
    life = Life(Broker(), wall_ms=lambda: NOW_MS)
    with pytest.raises(NewerRecordError):
        asyncio.run(life.process(topic, [Record(b"C1", b"\x02" + _RELAY[1:], NOW_MS)]))


@tried(60)
@given(st.lists(st.one_of(swollen(), _good), min_size=1, max_size=6))
def test_what_is_not_there_costs_nothing(drawn: list[tuple[str, bytes, bytes]]) -> None:
    """A batch of messages that lie about their lengths costs memory in proportion to its bytes."""
    life = Life(Broker(), wall_ms=lambda: NOW_MS)
    records = [(topic, Record(key, value, NOW_MS)) for topic, key, value in drawn]
    tracemalloc.start()
    try:
        asyncio.run(_feed(life, records, 6))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3_000_000 + 1_000 * sum(len(value) for _topic, _key, value in drawn)
