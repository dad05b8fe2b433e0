"""The messages of the stream of verdicts, and the order in which the owner of a partition writes them."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

import cxstream.kafka.case_agent
from cases import POLICY, Event, arrived, booked, completed, delivered, erased, ms, opened, reopened, scheduled
from cxstream.domain.cases import Segment
from cxstream.domain.instant import NEVER_MS, parse_instant
from cxstream.domain.verdict import Verdict
from cxstream.engine.assess import Clock
from cxstream.engine.transitions import Announcement
from cxstream.kafka.codec import Codec
from cxstream.kafka.records import read_case
from cxstream.kafka.verdict_stream import OFFSET_HEADER, encode, id_of, key_of
from parts.agent import SCHEMAS, Broker, CrashError, Life, Record
from parts.verdicts import Consumer, decode, decode_plain

PAGE = Path(__file__).resolve().parents[2] / "docs" / "verdict-stream.md"
FIXED = [opened(account_ref="K-7"), scheduled("0h", "1h", "2h"), arrived("90m"), completed("3h", "fixed")]
LATE = Verdict("on_time_arrival", "V-1", "miss", "late", ms("26h"), ms("99h"), sequence=1, retracted=True)


def announcement(**more: Any) -> Announcement:  # noqa: ANN401 - fields of any type
    """Return a change from a hit to a miss."""
    made = Announcement(
        case_id="C-1007",
        kind="visit",
        unit="V-1",
        sign="on_time_arrival",
        sequence=1,
        old=("provisional_hit", "on_time"),
        announced="miss",
        reason="late",
        verdict=LATE,
        evidence=("2", "3"),
        account_ref="K-7",
        segment=Segment("P2", "north", "pump"),
        judged_ms=ms("27h"),
    )
    return made._replace(**more)


def test_a_message_says_what_was_announced() -> None:
    """Every field of the schema is written, times as milliseconds, and read back by any Avro library."""
    message = decode_plain(encode(announcement(), "0123456789ab"))
    assert message == {
        "id": "C-1007/visit/V-1:on_time_arrival:1",
        "case_id": "C-1007",
        "unit_kind": "visit",
        "unit": "V-1",
        "sign": "on_time_arrival",
        "sequence": 1,
        "old": {"verdict": "provisional_hit", "reason": "on_time"},
        "verdict": "miss",
        "reason": "late",
        "final": False,
        "retracted": True,
        "anchor": ms("26h"),
        "seals_at": ms("99h"),
        "measured": None,
        "evidence": ["2", "3"],
        "account_ref": "K-7",
        "priority": "P2",
        "region": "north",
        "product": "pump",
        "tier": "unknown",
        "provider": "unknown",
        "judged_at": ms("27h"),
        "policy": "0123456789ab",
    }
    assert decode(encode(announcement(), ""))["anchor"].isoformat() == "2026-03-03T10:00:00+00:00"


def test_what_is_not_known_is_null() -> None:
    """A first verdict replaces nothing; a unit may have no seal, a closed case no clock reading and no account."""
    unsealed = LATE.__class__("first_time_fix", "C", "pending", "open", 0, NEVER_MS)
    message = decode_plain(encode(announcement(old=None, verdict=unsealed, account_ref=None, judged_ms=0), ""))
    assert [message[name] for name in ("old", "seals_at", "account_ref", "judged_at")] == [None] * 4


@pytest.mark.parametrize(
    ("kind", "case_id", "unit", "key"),
    [
        ("case", "C-1", "C-1", "C-1"),
        ("visit", "C-1", "V 1", "C-1/visit/V%201"),
        ("visit", "C/visit", "1", "C%2Fvisit/visit/1"),
        ("case", "C/visit/1", "C/visit/1", "C%2Fvisit%2F1"),
        ("line", "C:1", "%2F", "C%3A1/line/%252F"),
        ("commitment", "Fall-ü", "1", "Fall-%C3%BC/commitment/1"),
    ],
)
def test_keys_are_one_to_one(kind: str, case_id: str, unit: str, key: str) -> None:
    """Whatever case and unit are called, no two units have one key, and no two changes one id."""
    made = announcement(kind=kind, case_id=case_id, unit=unit)
    assert key_of(made) == key
    assert id_of(made) == f"{key}:on_time_arrival:1"
    assert len(re.findall("[:]", id_of(made))) == 2


class Process:
    """A case agent on one partition that ends and starts again, and a consumer of what it announces."""

    def __init__(self, *events: Event) -> None:
        self.now_ms = ms("0h")
        self.broker = Broker()
        self.consumer = Consumer()
        self.start()
        if events:
            self.take(*events)

    def start(self) -> None:
        """Start a process on what the broker holds."""
        self.broker.crash_after = None
        self.life = Life(self.broker, wall_ms=lambda: self.now_ms, policy=POLICY)
        asyncio.run(self.life.recover())

    def take(self, *events: Event) -> None:
        """Take events in one batch of tickets and dispatches each."""
        codec = Codec(SCHEMAS, skew_ms=POLICY.clock_skew_ms)
        facts = delivered(*events)
        self.now_ms = max(self.now_ms, *(fact.delivered_ms for _case, fact in facts))
        for topic in ("ticket", "dispatch"):
            records = [
                Record(
                    case_id.encode(),
                    codec.encode(
                        {
                            "event_id": fact.event_id,
                            "topic": topic,
                            "type": fact.type,
                            "case_id": case_id,
                            "at": fact.at_ms,
                            **fact.fields,
                        }
                    ),
                    fact.delivered_ms,
                    [("cxstream-delivered-at", str(fact.delivered_ms).encode())],
                    offset,
                )
                for offset, (case_id, fact) in enumerate(facts)
                if fact.topic == topic
            ]
            asyncio.run(self.life.process(topic, records))

    def tick(self) -> None:
        """Let the clock have its say."""
        asyncio.run(self.life.agent.judge_due(self.life.partition))

    def read(self) -> list[Record]:
        """Let the consumer read what is new; it must be in order."""
        sent = self.broker.verdicts()
        self.broker.produced["verdicts"] = []
        assert self.consumer.broken((one.key, one.value) for one in sent) == []
        return sent

    def agrees(self) -> bool:
        """Whether the consumer was told last what the records say."""
        records = [read_case(data) for key, data in self.broker.tables["cases"].items() if b"erased:" not in key]
        return not list(self.consumer.differences(records))


def test_every_message_names_the_record_it_comes_from() -> None:
    """Its header has the offset of the record in the changelog of cases, and its key is that of the unit."""
    process = Process(*FIXED)
    sent = process.read()
    assert sent
    for message in sent:
        offset = int(dict(message.headers)[OFFSET_HEADER] or b"")
        assert process.broker.changelogs["cases"][offset] == decode_plain(message.value or b"")["case_id"].encode()
    assert process.agrees()


def test_a_case_too_large_for_the_changelog_is_announced_as_it_is_left() -> None:
    """It is closed, with nothing to rest on; a new process says the same again."""
    process = Process()
    process.life.agent.max_record_bytes = 10
    process.take(FIXED[0])
    sent = process.read()
    assert {(one["reason"], *one["evidence"]) for one in (decode_plain(message.value or b"") for message in sent)} == {
        ("overflow",)
    }
    process.start()
    process.tick()
    assert process.read()
    assert process.agrees()


def test_no_message_vouches_for_what_another_worker_wrote(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a foreign record stands in the changelog, not read yet, messages name no offset behind it."""
    process = Process(*FIXED)
    process.read()
    monkeypatch.setattr(process.life.cases, "complete_offset", lambda _partition: 0)
    process.take(reopened("5h"))
    assert {dict(message.headers)[OFFSET_HEADER] for message in process.read()} == {b"1"}
    assert len(process.broker.changelogs["cases"]) > 2


@pytest.mark.parametrize("event", [reopened("5h"), erased("5h")], ids=["reopened", "erased"])
@pytest.mark.parametrize("taken", range(12))
def test_what_a_crash_cut_short_is_announced_before_anything_else(taken: int, event: Event) -> None:
    """However many records were taken, the next process says what is missing, without a gap and with one content."""
    process = Process(*FIXED)
    process.broker.crash_after = taken
    process.now_ms = ms("5h")
    try:
        process.take(event)
    except CrashError:
        process.start()
        process.tick()
        process.take(event)
    process.read()
    assert process.agrees()


def test_a_topic_nobody_has_written_to_gets_the_last_changes_of_all_records() -> None:
    """Where the stream is new, or all of it has aged out, what the records changed last is said."""
    process = Process(*FIXED)
    first = {decode_plain(one.value or b"")["id"] for one in process.read()}
    process.start()
    process.tick()
    again = process.read()
    assert {decode_plain(one.value or b"")["id"] for one in again} <= first
    assert again
    assert {dict(one.headers)[OFFSET_HEADER] for one in again} == {b"0"}


def test_reading_what_is_missing_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Brokers that do not answer hold the partition up, and end nothing."""
    monkeypatch.setattr(cxstream.kafka.case_agent, "ANNOUNCE_PAUSE_SECONDS", 0.0)
    process = Process(*FIXED)
    process.start()
    process.life.reading.unanswered = 3
    process.tick()
    assert process.life.reading.unanswered == 0
    process.read()
    assert process.agrees()


def test_changes_by_closing_are_counted() -> None:
    """The counter of verdict changes counts what an erasure excludes, like any other change that is announced."""
    process = Process(*FIXED)
    process.read()
    family = "cxstream_vital_sign_verdict_changes_total"
    before = process.life.scrape().sum(family)
    process.take(erased("5h"))
    assert process.life.scrape().sum(family) - before == len(process.read()) > 0


def _example() -> tuple[bytes, dict[str, Any]]:
    """Return the bytes and the JSON of the example on the page."""
    text = PAGE.read_text("utf-8")
    (data,) = re.findall(r"```hex\n(.*?)```", text, re.DOTALL)
    (shown,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    return bytes.fromhex(data), json.loads(shown)


def test_the_example_of_the_page_is_decoded() -> None:
    """The bytes shown are the message shown, of the case the README judges."""
    data, shown = _example()
    message = decode(data)
    times = ("anchor", "seals_at", "judged_at")
    assert {**message, **{name: message[name].isoformat().replace("+00:00", "Z") for name in times}} == shown
    assert shown["id"] == "C-1007/visit/V-1:on_time_arrival:1"


def test_the_page_names_every_field() -> None:
    """Every field of the schema has its row on the page, and no others."""
    rows = re.findall(r"^\| `(\w+)` \|", PAGE.read_text("utf-8"), re.MULTILINE)
    assert rows == list(_example()[1])
    assert rows == list(decode(_example()[0]))


def test_the_page_says_what_the_case_would_be_judged() -> None:
    """What the example says of the visit is what the core says of such a case."""
    events = [
        opened(case="C-1007"),
        scheduled("1h", "24h", "28h", "V-1", case="C-1007"),
        arrived("28h20m", "V-1", case="C-1007"),
    ]
    casebook = booked(events)
    (one,) = (
        one for one in casebook.assess(Clock.at(ms("29h")))["C-1007"].case.verdicts if one.sign == "on_time_arrival"
    )
    shown = _example()[1]
    assert (one.verdict, one.reason) == (shown["verdict"], shown["reason"])
    assert parse_instant(shown["anchor"])
