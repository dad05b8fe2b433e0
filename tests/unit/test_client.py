"""The producer kit makes the records a worker takes, and says what is wrong before anything is sent."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone

import pytest
from aiokafka.partitioner import DefaultPartitioner

from cxstream.client import AsyncProducer, Event, Producer, RejectedError, dispatch, partition_of, stable_id, ticket
from cxstream.client import parts as lines
from cxstream.client.records import DEFAULT_TOPICS, Records, partitioner
from cxstream.kafka.codec import DELIVERED_AT, Codec
from cxstream.kafka.schemas import SchemaIds, Schemas
from parts.messages import EXAMPLES

AT = datetime(2026, 3, 2, 9, 5, tzinfo=timezone(timedelta(hours=1)))
NOW_MS = round(AT.timestamp() * 1000)
CODEC = Codec(Schemas.packaged(), skew_ms=0)


def records(**options: object) -> Records:
    """Return what makes records when it is NOW_MS."""
    return Records(lambda: NOW_MS, **options)  # type: ignore[arg-type]


def test_the_id_is_made_of_the_content() -> None:
    """The same event made twice has the same id, another content another one, and a given id is kept."""
    one, same = (ticket.Opened(case_id="C", at=AT, priority="P2") for _ in range(2))
    assert one.event_id == same.event_id
    others = [
        ticket.Opened(case_id="C", at=AT, priority="P1"),
        ticket.Opened(case_id="D", at=AT, priority="P2"),
        ticket.Opened(case_id="C", at=AT + timedelta(seconds=1), priority="P2"),
        ticket.Diagnosed(case_id="C", at=AT),
        dispatch.Cancelled(case_id="C", at=AT, visit_id="V"),
    ]
    assert len({event.event_id for event in (one, *others)}) == 6
    assert ticket.Diagnosed(case_id="C", at=AT, event_id="7").event_id == "7"


def test_ids_of_keys_do_not_collide_where_parts_meet() -> None:
    """stable_id tells ("ab", "c") from ("a", "bc"), and is for ever what it was."""
    assert stable_id("ab", "c") != stable_id("a", "bc")
    assert stable_id("crm", "4711") == "d91a6feeb0f3cf4a13687507f28e1e4c"


@pytest.mark.parametrize(
    ("make", "reason", "field"),
    [
        (lambda: ticket.Opened(case_id="C", at=AT.replace(tzinfo=None)), "naive_time", "at"),
        (lambda: ticket.Opened(case_id="", at=AT), "invalid", "case_id"),
        (lambda: ticket.Opened(case_id="C", at=AT, tz="Europe/Berln"), "invalid", "tz"),
        (lambda: ticket.Opened(case_id="C", at=AT, symptom="x" * 1025), "invalid", "symptom"),
        (lambda: dispatch.Scheduled(case_id="C", at=AT, visit_id="V", window_start=AT), "invalid", "window_end"),
        (lambda: dispatch.Completed(case_id="C", at=AT, visit_id="V", outcome="fixd"), "invalid", "outcome"),  # type: ignore[arg-type]
        (lambda: lines.Required(case_id="C", at=AT, line_id="L", qty=-1), "invalid", "qty"),
        (lambda: ticket.Corrected(case_id="C", at=AT, target="1", set={}), "invalid", "set"),
        (lambda: ticket.Corrected(case_id="C", at=AT, target="1", set={"at": AT.date()}), "invalid", "set.at"),  # type: ignore[dict-item]
        (lambda: ticket.Corrected(case_id="C", at=AT, target="1", set={"tz": "UTC", "x": b"x"}), "invalid", "set"),  # type: ignore[dict-item]
        (lambda: ticket.Opened(case_id="C", at=AT, region=b"x"), "invalid", "region"),  # type: ignore[arg-type]
        (lambda: ticket.Opened(case_id=b"C", at=AT), "invalid", "case_id"),  # type: ignore[arg-type]
        (lambda: ticket.Opened(case_id="\udcff", at=AT), "invalid", "case_id"),
        (lambda: ticket.Opened(case_id="C", at=AT.date()), "invalid", "at"),  # type: ignore[arg-type]
        (lambda: ticket.Opened(case_id="C", at=timedelta(hours=1)), "invalid", "at"),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_field_is_an_error_where_the_event_is_made(make: object, reason: str, field: str) -> None:
    """An event no worker would take cannot be made; the error names the field."""
    with pytest.raises(RejectedError) as caught:
        make()  # type: ignore[operator]
    assert (caught.value.reason, caught.value.field) == (reason, field)


def test_a_record_is_what_a_worker_reads() -> None:
    """Key, topic and single-object bytes of a typed event are those a worker decodes to the same fact."""
    event = ticket.Corrected(case_id="\u00df-1", at=AT, target="7", set={"at": AT, "region": "north", "tier": None})
    record = records().of(event)
    assert (record.topic, record.key, record.headers) == ("cxstream.tickets", "\u00df-1".encode(), [])
    assert record.value[:2] == b"\xc3\x01"
    case_id, fact = CODEC.decode("ticket", record.key, record.value, NOW_MS)
    assert (case_id, fact.event_id, fact.at_ms) == ("\u00df-1", event.event_id, NOW_MS)
    assert fact.fields == {"target": "7", "set": {"at": NOW_MS, "region": "north", "tier": None}}


def test_the_future_is_refused_by_the_clock_of_the_sender() -> None:
    """An event up to five minutes ahead is sent, one further ahead is an error before it is."""
    for ahead, right in ((300, True), (301, False)):
        event = ticket.Diagnosed(case_id="C", at=AT + timedelta(seconds=ahead))
        if right:
            records().of(event)
        else:
            with pytest.raises(RejectedError, match="future: at"):
                records().of(event)


def test_events_of_the_vocabulary_are_sent_as_they_are() -> None:
    """An event in the JSON vocabulary becomes the same record as a typed one; what would be ignored is refused."""
    event = ticket.Opened(case_id="C", at=AT, priority="P2")
    assert records().of(event.document()).value == records().of(event).value
    for change, field in (({"type": "open"}, "type"), ({"prio": "P1"}, "prio"), ({"type": "arrived"}, "type")):
        with pytest.raises(RejectedError) as caught:
            records().of({**event.document(), **change})
        assert caught.value.field == field
        records(allow_unknown=True).of({**event.document(), **change})
    with pytest.raises(RejectedError, match=r"^unknown_field: prio, regio: for prio .* priority; for regio .* region$"):
        records().of({**event.document(), "prio": "P1", "regio": "north"})
    known = [one for one in EXAMPLES if one["type"] != "firmware_updated"]
    for example in known:
        Records(lambda: 1 << 50, allow_unknown=True).of(example)


def test_a_stated_delivery_becomes_the_header_trusted_topics_read() -> None:
    """`seen` is no field of the event but the header cxstream-delivered-at; an event after it is refused."""
    event = {**ticket.Diagnosed(case_id="C", at=AT).document(), "seen": "2026-03-02T10:00:00Z"}
    record = records().of(event)
    assert record.headers == [(DELIVERED_AT, b"2026-03-02T10:00:00Z")]
    with pytest.raises(RejectedError, match="future"):
        records().of({**event, "seen": "2026-03-02T07:59:00Z"})


def test_confluent_framing_has_the_id_of_the_registry() -> None:
    """With the id of a topic's schema its messages are framed for a registry; those of other topics are not."""
    made = records(schema_ids={7: "ticket/v1"})
    framed = made.of(ticket.Diagnosed(case_id="C", at=AT))
    assert framed.value[:5] == b"\x00\x00\x00\x00\x07"
    schemas = Schemas.packaged()
    reading = Codec(schemas, SchemaIds(schemas, {7: "ticket/v1"}), skew_ms=0)
    assert reading.decode("ticket", b"C", framed.value, NOW_MS)[0] == "C"
    assert made.of(lines.Required(case_id="C", at=AT, line_id="L")).value[:2] == b"\xc3\x01"


def test_the_partition_is_that_of_java_clients() -> None:
    """partition_of is murmur2 as in Kafka's own clients, whatever is available; the values are Kafka's."""
    # From the tests of Apache Kafka: murmur2 of these keys, made positive, modulo 1000.
    expected = {"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536}
    for key, value in expected.items():
        assert partition_of(key, 1000) == (value & 0x7FFFFFFF) % 1000
    default = DefaultPartitioner()
    every = [3, 0, 2, 1]
    for number in range(200):
        key = f"C-{number}".encode()
        assert partitioner(key, every, [0]) == default(key, sorted(every), [0]) == partition_of(key.decode(), 4)


def test_topics_are_the_configured_ones_or_the_defaults() -> None:
    """Topics that are not given keep their default names; a kind of topic there is none of is an error."""
    made = records(topics={"parts": "spares"})
    assert made.of(lines.Required(case_id="C", at=AT, line_id="L")).topic == "spares"
    assert made.of(ticket.Diagnosed(case_id="C", at=AT)).topic == DEFAULT_TOPICS["ticket"] == "cxstream.tickets"
    with pytest.raises(ValueError, match=r"^topics: expected ticket, dispatch, parts, found 'tickets'$"):
        AsyncProducer("127.0.0.1:1", topics={"tickets": "calls"})


def test_who_forgets_to_start_is_told() -> None:
    """A producer that is not started says so instead of waiting; closing it twice or unstarted does nothing."""
    event = ticket.Diagnosed(case_id="C", at=datetime.now(UTC))
    with pytest.raises(RuntimeError, match="not started"):
        Producer("127.0.0.1:1").send(event)
    with pytest.raises(RuntimeError, match="not started"):
        asyncio.run(AsyncProducer("127.0.0.1:1").send(event))
    Producer("127.0.0.1:1").close()


def test_events_are_values() -> None:
    """Two events with the same content are equal, and none can be changed after it was checked."""
    event: Event = ticket.Diagnosed(case_id="C", at=AT)
    assert event == ticket.Diagnosed(case_id="C", at=AT)
    with pytest.raises(AttributeError):
        event.case_id = "D"  # type: ignore[misc]
