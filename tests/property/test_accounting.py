"""Every record that is read comes to exactly one end, and the counters say which: nothing is lost between them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxstream.domain import vocabulary
from cxstream.domain.cases import Case
from cxstream.domain.facts import Fact, RejectedError
from cxstream.domain.instant import DAY_MS, HOUR_MS, parse_instant
from cxstream.domain.policy import Policy
from cxstream.engine.assess import Clock, assess, receive
from cxstream.engine.source_quality import SOURCE_HEADER
from cxstream.kafka.codec import DELIVERED_AT, Codec
from cxstream.kafka.records import read_case
from cxstream.vital_signs import TIER_A
from parts.accounts import dispositions, unaccounted
from parts.agent import POLICY, SCHEMAS, TRUSTED, Broker, CrashError, Life, Record, residue_key
from parts.trials import tried

TOO_OLD = "too_old_for_unknown_case"
T0_MS = parse_instant("2026-03-02T08:00:00Z")
NOW_MS = T0_MS + 1_000 * DAY_MS
CODEC = Codec(SCHEMAS, skew_ms=POLICY.clock_skew_ms)
CASES = ("C1", "C2", "C3")
TICKET = ("opened", "acknowledged", "customer_updated", "resolved", "reopened", "cancelled", "merged", "erased")
DISPATCH = ("scheduled", "arrived", "completed", "cancelled")
UNKNOWN = "escalated"
UNFORGETTING = Policy(longest_window_ms=3650 * DAY_MS)
"""A policy with windows so long that no case is forgotten."""
REPLAY_KEEPS = {"dead_letter", "duplicate", "conflict", "closed_case"}
"""What a record can come to that was taken in before."""


class Stopped:
    """A wall clock that goes only when it is set."""

    def __init__(self) -> None:
        self.now_ms = T0_MS

    def __call__(self) -> int:
        return self.now_ms


class Sent(NamedTuple):
    """A record and the topic it is on."""

    topic: str
    record: Record


def _written(topic: str, event_type: str, case_id: str, event_id: str, at_ms: int, priority: str) -> bytes:
    required = {"visit_id": "V1", "into": "C3", "target": "e1", "set": {"at": at_ms}, "line_id": "L1"}
    declared = vocabulary.fields_of(topic, event_type) or {}
    more: dict[str, object] = {name: required[name] for name, field in declared.items() if field.required}
    if event_type == "opened":
        more |= {"asset_id": "A1", "priority": priority}
    envelope = {"event_id": event_id, "topic": topic, "type": event_type, "case_id": case_id, "at": at_ms}
    return CODEC.encode({**envelope, **more})


@st.composite
def _sent(draw: st.DrawFn) -> Sent:
    """Draw a record of few cases and event ids, so that ids meet again; late, unknown, erased and poisoned ones too."""
    topic = draw(st.sampled_from(("ticket", "ticket", "dispatch")))
    known = TICKET if topic == "ticket" else DISPATCH
    event_type = draw(st.sampled_from((*known[:-1] * 3, known[-1], UNKNOWN, UNKNOWN, "voided")))
    case_id, event_id = draw(st.sampled_from(CASES)), draw(st.sampled_from(("e1", "e2", "e3", "e4", "e5", "e6")))
    at_ms = T0_MS + draw(st.integers(0, 4)) * 6 * HOUR_MS
    delivered_ms = at_ms + draw(st.sampled_from((0, 0, 0, HOUR_MS, 3 * DAY_MS, 200 * DAY_MS, 500 * DAY_MS)))
    value: bytes | None = _written(topic, event_type, case_id, event_id, at_ms, draw(st.sampled_from(("P1", "P3"))))
    key: bytes | None = case_id.encode()
    timestamp = delivered_ms
    headers: list[tuple[str, bytes | None]] = []
    if topic in TRUSTED:
        headers, timestamp = [(DELIVERED_AT, str(delivered_ms).encode())], NOW_MS
    sender = draw(st.sampled_from((None, None, b"desk", b"field", b"nobody listed", b"\xff")))
    sent_by: list[tuple[str, bytes | None]] = [(SOURCE_HEADER, sender)] if sender else []
    match draw(st.sampled_from(("good",) * 12 + ("null", "garbage", "key", "trailing", "future", "header"))):
        case "null":
            value = None
        case "garbage":
            value = draw(st.binary(max_size=40))
        case "key":
            key = draw(st.sampled_from((None, b"", b"\xff", b"C9")))
        case "trailing":
            value = (value or b"") + b"\x00"
        case "future":
            timestamp, headers = T0_MS - DAY_MS, []
        case "header":
            headers = [(DELIVERED_AT, b"yesterday")]
    return Sent(topic, Record(key, value, timestamp, [*headers, *sent_by]))


_histories = st.lists(st.lists(_sent(), min_size=1, max_size=12), min_size=1, max_size=5)
"""Batches of any topics."""

Batch = dict[str, list[Record]]


def _batches(history: Sequence[Sequence[Sent]]) -> list[Batch]:
    """Return the batches in order, by topic, with offsets."""
    offsets: Counter[str] = Counter()
    batches = []
    for mixed in history:
        batch: Batch = {}
        for topic, record in mixed:
            batch.setdefault(topic, []).append(record._replace(offset=offsets[topic]))
            offsets[topic] += 1
        batches.append(batch)
    return batches


def _size(batches: Sequence[Batch]) -> int:
    return sum(len(records) for batch in batches for records in batch.values())


def _decoded(topic: str, record: Record) -> tuple[str, Fact]:
    trusted = topic in TRUSTED
    return CODEC.decode(topic, record.key, record.value, record.timestamp, record.headers, trusted=trusted)


def _deliveries(batch: Batch) -> list[int]:
    delivered = []
    for topic, records in batch.items():
        for record in records:
            with suppress(RejectedError):
                delivered.append(_decoded(topic, record)[1].delivered_ms)
    return delivered


def _expected(
    known: Mapping[bytes, bytes],
    batch: Batch,
    now_ms: int,
    refused: Collection[tuple[str, int]],
    policy: Policy,
) -> dict[str, Counter[str]]:
    """Say what becomes of each record of a batch, one after the other, by topic.

    `known` are the records of cases before it, `refused` where facts are that are dead letters, though facts.
    """
    cases: dict[str, Case] = {}
    ends: dict[str, Counter[str]] = {topic: Counter() for topic in vocabulary.TOPICS}
    new: list[tuple[str, Fact]] = []
    for topic, record in [(name, one) for name in vocabulary.TOPICS for one in batch.get(name, ())]:
        found = ends[topic]
        try:
            case_id, fact = _decoded(topic, record)
        except RejectedError:
            found["dead_letter"] += 1
            continue
        if (topic, record.offset) in refused:
            found["dead_letter"] += 1
            continue
        if case_id not in cases:
            key = case_id.encode()
            data = known.get(key) or known.get(residue_key(key))
            cases[case_id] = Case(case_id) if data is None else read_case(data)
        cases[case_id], reception = receive(cases[case_id], fact, TIER_A, policy)
        if reception == "refused":
            found["closed_case"] += 1
        elif reception != "applied":
            found[reception] += 1
        elif fact.type == UNKNOWN:
            found["unknown_type"] += 1
        else:
            new.append((case_id, fact))
    for case_id, fact in new:
        late = assess(cases[case_id], TIER_A, policy, Clock.at(now_ms)).late_event_ids
        ends[fact.topic]["after_seal" if fact.event_id in late else "applied"] += 1
    return ends


def _balanced(life: Life) -> None:
    assert not unaccounted(life.scrape())


async def _live(broker: Broker, batches: Sequence[Batch], policy: Policy = POLICY) -> tuple[Life, int]:
    """Run a process over batches until it crashes or all are acknowledged; return it, and how many batches were.

    It is the time of the latest delivery so far.
    """
    clock = Stopped()
    life = Life(broker, wall_ms=clock, policy=policy, sources=("desk", "field"))
    broker.watch = lambda: _balanced(life)
    await life.recover()
    said: dict[str, Counter[str]] = {topic: Counter() for topic in vocabulary.TOPICS}
    earlier = Counter(broker.letters())
    for done, batch in enumerate(batches):
        clock.now_ms = max([clock.now_ms, *_deliveries(batch)])
        known = dict(broker.tables["cases"])
        try:
            await life.process_all(batch)
        except CrashError:
            assert dispositions(life.scrape()) == said, "a batch that was not acknowledged was counted"
            return life, done
        letters = Counter(broker.letters()) - earlier
        refused = {(one.source, one.offset) for one in letters if one.reason == TOO_OLD}
        for topic, ends in _expected(known, batch, clock.now_ms, refused, policy).items():
            said[topic] += ends
        try:
            await life.settle()
        except CrashError:
            return life, done + 1
        finally:
            assert dispositions(life.scrape()) == said
    _balanced(life)
    return life, len(batches)


@tried(60)
@given(_histories, st.lists(st.integers(0, 12), max_size=3))
def test_every_record_has_one_disposition(history: list[list[Sent]], crashes: list[int]) -> None:
    """Records read are applied, duplicates, conflicts, late, unknown or dead letters, exactly, in every process life.

    At every instant at which a scrape could come; what a crash cut short is counted by the life that does it again.
    """

    async def run() -> None:
        broker, batches = Broker(), _batches(history)
        for crash_after in (*crashes, None):
            broker.crash_after = crash_after
            life, done = await _live(broker, batches)
            read = life.scrape().sum("cxstream_events_consumed_total")
            assert read == life.acknowledged == _size(batches[:done])
            batches = batches[done:]
        assert not batches

    asyncio.run(run())


@tried(60)
@given(_histories, st.integers(0, 12))
def test_a_replay_applies_nothing_again(history: list[list[Sent]], crash_after: int) -> None:
    """What was durable before a crash is a duplicate after it, whatever it was the first time (rule 1).

    Unless another copy of its event id was kept (a conflict again), or its case was closed by then. Cases that were
    forgotten are out of reach of any replay: that takes a year.
    """

    async def run() -> None:
        broker, batches = Broker(), _batches(history)
        first, _ = await _live(broker, batches, UNFORGETTING)
        broker.produced.clear()
        second, _ = await _live(broker, batches, UNFORGETTING)
        before = dispositions(first.scrape())
        plain = not any(ends["conflict"] + ends["closed_case"] for ends in before.values())
        for topic, ends in dispositions(second.scrape()).items():
            assert set(ends) <= REPLAY_KEEPS
            assert ends.total() == before[topic].total()
            assert ends["dead_letter"] == before[topic]["dead_letter"]
            if plain and not _erases(history):
                assert ends["duplicate"] == ends.total() - ends["dead_letter"]
        broker.crash_after = crash_after
        third, done = await _live(broker, batches, UNFORGETTING)
        assert third.acknowledged == _size(batches[:done])

    asyncio.run(run())


def _erases(history: Sequence[Sequence[Sent]]) -> bool:
    """Whether a case is erased in a history: not every schema's bytes show it, so by what they decode to."""
    types = set()
    for sent in (sent for mixed in history for sent in mixed):
        with suppress(RejectedError):
            types.add(_decoded(sent.topic, sent.record)[1].type)
    return "erased" in types


OPENED, LATE = T0_MS, T0_MS + 500 * DAY_MS
ONE_OF_EACH = [
    ("applied", "opened", "C1", "e1", OPENED, OPENED),
    ("duplicate", "opened", "C1", "e1", OPENED, OPENED + HOUR_MS),
    ("conflict", "opened", "C1", "e1", OPENED + HOUR_MS, OPENED + HOUR_MS),
    ("applied", "resolved", "C1", "e2", OPENED, OPENED),
    ("after_seal", "acknowledged", "C1", "e3", OPENED, LATE),
    ("unknown_type", UNKNOWN, "C1", "e4", OPENED, LATE),
    ("duplicate", UNKNOWN, "C1", "e4", OPENED, LATE),
    ("applied", "erased", "C2", "e1", OPENED, OPENED),
    ("closed_case", UNKNOWN, "C2", "e2", OPENED, LATE),
    ("closed_case", "erased", "C2", "e1", OPENED, OPENED),
    ("dead_letter", UNKNOWN, "C1", "e5", LATE, OPENED),
]


@pytest.mark.parametrize("one_batch", [True, False], ids=["in one batch", "one by one"])
def test_the_first_that_fits_counts(*, one_batch: bool) -> None:
    """Of several ends that fit a record, the first in the documented order counts (rules 1, 3 and 10).

    A late fact of an unknown type is of an unknown type: it would count for nothing in time either. One for a closed
    case is late for it, known or not, whatever its type.
    """

    async def run() -> None:
        clock = Stopped()
        life = Life(Broker(), wall_ms=clock, policy=UNFORGETTING)
        records = [
            Record(case_id.encode(), _written("ticket", event_type, case_id, event_id, at_ms, "P1"), delivered_ms)
            for _end, event_type, case_id, event_id, at_ms, delivered_ms in ONE_OF_EACH
        ]
        for batch in [records] if one_batch else [[record] for record in records]:
            clock.now_ms = max([clock.now_ms, *(record.timestamp for record in batch)])
            await life.process("ticket", batch)
        assert dispositions(life.scrape())["ticket"] == Counter(end for end, *_ in ONE_OF_EACH)
        assert life.scrape().sum("cxstream_events_consumed_total", topic="ticket") == len(ONE_OF_EACH)

    asyncio.run(run())


def test_a_fact_too_old_for_an_unknown_case_is_a_dead_letter() -> None:
    """It has one end, the dead letter with that reason, and is in no count of late facts."""

    async def run() -> None:
        broker = Broker()
        life = Life(broker, wall_ms=lambda: LATE)
        await life.process("ticket", [Record(b"C1", _written("ticket", "opened", "C1", "e1", OPENED, "P1"), LATE)])
        assert [letter.reason for letter in broker.letters()] == [TOO_OLD]
        assert dispositions(life.scrape())["ticket"] == {"dead_letter": 1}
        rejected = +life.scrape().by("cxstream_events_rejected_total", "topic", "reason")
        assert rejected == {("ticket", TOO_OLD): 1}
        assert not unaccounted(life.scrape())

    asyncio.run(run())


def test_what_is_dead_is_counted_by_its_reason_once() -> None:
    """Each record that is no fact has one dead letter, one rejection and one end, under the same reason."""

    async def run() -> None:
        broker = Broker()
        life = Life(broker, wall_ms=lambda: NOW_MS)
        poison = [Record(b"C1", None, T0_MS, offset=0), Record(b"C1", b"{}", T0_MS, offset=1)]
        await life.process("parts", [*poison, Record(b"C1", b"\xc3\x01" + b"\x07" * 9, T0_MS, offset=2)])
        reasons = Counter(letter.reason for letter in broker.letters())
        scrape = life.scrape()
        assert reasons == Counter(["empty", "undecodable", "unknown_schema"])
        for family in ("cxstream_dead_letters_total", "cxstream_events_rejected_total"):
            assert +scrape.by(family, "reason", topic="parts") == Counter({(one,): n for one, n in reasons.items()})
        assert not unaccounted(scrape)

    asyncio.run(run())
