"""Every way a record can be refused, every way its schema can be found, and what its dead letter looks like."""

from __future__ import annotations

import asyncio
import io
import json
import re
import time
import tracemalloc
from typing import TYPE_CHECKING, Any

import fastavro
import pytest
from aiohttp import web

from cxstream.domain.facts import Fact, RejectedError, admit
from cxstream.kafka import dead_letters, schemas
from cxstream.kafka.codec import DELIVERED_AT, REASONS, Codec, delivery_ms
from cxstream.kafka.schemas import (
    Registry,
    RegistryUnavailableError,
    SchemaIds,
    SchemaRefusedError,
    Schemas,
    UnknownSchemaIdError,
    read_schema,
)

if TYPE_CHECKING:
    from collections.abc import Callable

PACKAGED = Schemas.packaged()
SKEW_MS = 300_000
CODEC = Codec(PACKAGED, SchemaIds.from_text(PACKAGED, "1=ticket/v1,2=dispatch/v1,3=parts/v1"), skew_ms=SKEW_MS)
AT_MS = 1_772_445_600_000
CUSTOMER = "Erika Mustermann"
OPENED = {
    "event_id": "e1",
    "topic": "ticket",
    "type": "opened",
    "case_id": "C1",
    "at": "2026-03-02T10:00:00Z",
    "asset_id": "A1",
    "channel": "phone",
    "priority": "P1",
    "tz": "Europe/Berlin",
    "symptom": CUSTOMER,
    "first_contact_at": "2026-03-02T10:50:00+01:00",
    "transfers": 2,
}
SCHEDULED = {
    "event_id": "e2",
    "topic": "dispatch",
    "type": "scheduled",
    "case_id": "C1",
    "at": "2026-03-02T10:00:00Z",
    "visit_id": "V1",
    "window_start": "2026-03-02T12:00:00Z",
    "window_end": "2026-03-02T14:00:00Z",
    "agreed": True,
}


class Answers:
    """A registry in memory; counts how often it is asked."""

    def __init__(self, answers: dict[int, str | Exception | None]) -> None:
        self.answers = answers
        self.asked = 0

    async def lookup(self, schema_id: int) -> str | None:
        self.asked += 1
        await asyncio.sleep(0)
        answer = self.answers.get(schema_id)
        if isinstance(answer, Exception):
            raise answer
        return answer


def _foreign(change: Callable[[dict[str, Any]], None], name: str = "dispatch/v1") -> str:
    """Return a packaged schema as another team might have changed it."""
    schema = json.loads(PACKAGED.text(name))
    change(schema)
    return json.dumps(schema)


def _record(schema: dict[str, Any], name: str) -> dict[str, Any]:
    return next(record for record in schema["fields"][-1]["type"] if record["name"] == name)


def _set_type(record: str | None, field: str, avro: object) -> Callable[[dict[str, Any]], None]:
    def change(schema: dict[str, Any]) -> None:
        fields = (_record(schema, record) if record else schema)["fields"]
        next(found for found in fields if found["name"] == field).update(type=avro)

    return change


def _codec_for(text: str) -> Codec:
    ids = SchemaIds(PACKAGED, registry=Answers({7: text}))  # type: ignore[arg-type]
    asyncio.run(ids.fetch(7))
    return Codec(PACKAGED, ids, skew_ms=SKEW_MS)


def _written(text: str, record: dict[str, Any]) -> bytes:
    out = io.BytesIO(b"\x00" + (7).to_bytes(4, "big"))
    out.seek(5)
    fastavro.schemaless_writer(out, fastavro.parse_schema(json.loads(text)), record)
    return out.getvalue()


def _raw(topic: str, branch: str, payload: dict[str, Any], **envelope: Any) -> bytes:  # noqa: ANN401
    """Write a message without any checks: what a careless producer could send."""
    schema = PACKAGED.latest(topic)
    content = {"event_id": "e1", "case_id": "C1", "at": AT_MS, "asset_id": None, **envelope}
    out = io.BytesIO()
    out.write(b"\xc3\x01" + schema.fingerprint)
    fastavro.schemaless_writer(out, schema.parsed, {**content, "payload": (f"io.cxstream.{topic}.{branch}", payload)})
    return out.getvalue()


GOOD = CODEC.encode(OPENED)

REJECTED: dict[str, tuple[str, dict[str, Any]]] = {
    "null value": ("empty", {"value": None}),
    "no bytes": ("empty", {"value": b""}),
    "one byte beyond the limit": ("too_large", {"value": GOOD + b"x" * (1024 * 1024)}),
    "JSON": ("undecodable", {"value": b'{"event_id": "e1"}'}),
    "text": ("undecodable", {"value": b"hello, world"}),
    "half a header": ("undecodable", {"value": GOOD[:7]}),
    "half a Confluent header": ("undecodable", {"value": b"\x00\x00\x00"}),
    "header alone": ("undecodable", {"value": GOOD[:10]}),
    "cut short": ("undecodable", {"value": GOOD[:-1]}),
    "text that is not UTF-8": ("undecodable", {"value": GOOD.replace(b"Erika", b"\xff\xfe\xfd\xfc\xfb")}),
    "a byte too many": ("trailing_bytes", {"value": GOOD + b"\x00"}),
    "unknown fingerprint": ("unknown_schema", {"value": GOOD[:2] + b"\x00" * 8 + GOOD[10:]}),
    "unknown id": ("unknown_schema", {"value": b"\x00\x00\x00\x00\x09" + GOOD[10:]}),
    "schema of another topic": ("unknown_schema", {"value": CODEC.encode(SCHEDULED)}),
    "null key": ("wrong_key", {"key": None}),
    "other key": ("wrong_key", {"key": b"C2"}),
    "other key of an invalid message": ("wrong_key", {"value": _raw("ticket", "Merged", {"into": "C2"}), "key": b"C2"}),
    "naive header": ("bad_delivery_header", {"headers": [(DELIVERED_AT, b"2026-03-02T10:00:00")], "trusted": True}),
    "header in micros": ("bad_delivery_header", {"headers": [(DELIVERED_AT, b"1772445600000000")], "trusted": True}),
    "null header": ("bad_delivery_header", {"headers": [(DELIVERED_AT, None)], "trusted": True}),
    "header of garbage": ("bad_delivery_header", {"headers": {DELIVERED_AT: b"\xff"}, "trusted": True}),
    "ahead of its delivery": ("future", {"record_timestamp_ms": AT_MS - SKEW_MS - 1}),
    "choice unknown": ("invalid", {"value": _raw("ticket", "Opened", {"priority": CUSTOMER})}),
    "zone unknown": ("invalid", {"value": _raw("ticket", "Opened", {"tz": CUSTOMER})}),
    "zone outside the database": ("invalid", {"value": _raw("ticket", "Opened", {"tz": "../../etc/passwd"})}),
    "count negative": ("invalid", {"value": _raw("ticket", "Opened", {"transfers": -1})}),
    "event without id": ("invalid", {"value": _raw("ticket", "Diagnosed", {}, event_id="")}),
    "case without id": ("invalid", {"value": _raw("ticket", "Diagnosed", {}, case_id=""), "key": b""}),
    "nothing corrected": ("invalid", {"value": _raw("ticket", "Corrected", {"target": "e0", "set": {}})}),
    "time corrected to text": (
        "invalid",
        {"value": _raw("ticket", "Corrected", {"target": "e0", "set": {"at": CUSTOMER}})},
    ),
    "time corrected to a naive one": (
        "naive_time",
        {"value": _raw("ticket", "Corrected", {"target": "e0", "set": {"due": "2026-03-02T10:00:00"}})},
    ),
    "type without a name": ("invalid", {"value": _raw("ticket", "Other", {"type": "", "attributes": {}})}),
    "window without an end": (
        "invalid",
        {"topic_name": "dispatch", "value": _raw("dispatch", "Scheduled", {"visit_id": "V", "window_start": 5})},
    ),
    "window backwards": (
        "invalid",
        {
            "topic_name": "dispatch",
            "value": _raw("dispatch", "Scheduled", {"visit_id": "V", "window_start": 5, "window_end": 4}),
        },
    ),
}


def _decode(**changed: Any) -> tuple[str, Fact]:  # noqa: ANN401
    record: dict[str, Any] = {
        "topic_name": "ticket",
        "key": b"C1",
        "value": GOOD,
        "record_timestamp_ms": AT_MS,
        "headers": [("trace", b"1")],
        "trusted": False,
    }
    return CODEC.decode(**{**record, **changed})


@pytest.mark.parametrize("case", REJECTED)
def test_rejected(case: str) -> None:
    """A record that cannot become a fact is rejected with its reason, and the text shows nothing of what it says."""
    reason, changed = REJECTED[case]
    with pytest.raises(RejectedError) as caught:
        _decode(**changed)
    assert caught.value.reason == reason
    assert CUSTOMER not in str(caught.value)
    assert "passwd" not in str(caught.value)


def test_every_reason_is_tried() -> None:
    """The cases above cover every reason the codec can give."""
    assert {reason for reason, _ in REJECTED.values()} == set(REASONS)


def test_accepted() -> None:
    """A good record is the fact that admit makes of the same content, with the record's delivery time."""
    assert _decode() == admit(OPENED, AT_MS, skew_ms=SKEW_MS)
    assert _decode(record_timestamp_ms=AT_MS - SKEW_MS) == admit(OPENED, AT_MS - SKEW_MS, skew_ms=SKEW_MS)


def test_confluent_framing() -> None:
    """The same message may come in Confluent framing, its id configured."""
    assert _decode(value=CODEC.encode(OPENED, schema_id=1)) == _decode()


@pytest.mark.parametrize(
    "headers", [[(DELIVERED_AT, b"2026-03-02T11:00:00.250+01:00")], {DELIVERED_AT: b"1772445600250"}]
)
def test_trusted_delivery_header(headers: Any) -> None:  # noqa: ANN401
    """On a trusted topic the header states the delivery time, elsewhere it says nothing."""
    later_ms = AT_MS + 86_400_000
    assert _decode(headers=headers, trusted=True, record_timestamp_ms=later_ms)[1].delivered_ms == AT_MS + 250
    assert _decode(headers=headers, trusted=False, record_timestamp_ms=later_ms)[1].delivered_ms == later_ms
    assert _decode(headers=[("x", b"")], trusted=True, record_timestamp_ms=later_ms)[1].delivered_ms == later_ms


def test_last_delivery_header_counts() -> None:
    """Of several headers of the name the last one counts, as in Kafka's own clients."""
    assert delivery_ms(5, [(DELIVERED_AT, b"7"), (DELIVERED_AT, b"8")]) == 8


def test_unknown_type_is_accepted() -> None:
    """An event type that the vocabulary does not know becomes a fact without fields, and keeps its name."""
    event = {**OPENED, "type": "survey_answered", "score": 4, "via": "mail"}
    _, fact = _decode(value=CODEC.encode(event))
    assert (fact.type, fact.fields) == ("survey_answered", {})


def test_known_type_in_other() -> None:
    """A type that arrives in Other although this version knows it is read as what it is, its texts as values."""
    attributes = {"auto": "true", "reason": "x"}
    _, fact = _decode(value=_raw("ticket", "Other", {"type": "acknowledged", "attributes": attributes}))
    assert (fact.type, fact.fields) == ("acknowledged", {"auto": True})
    attributes = {"line_id": "L1", "qty": "3"}
    value = _raw("parts", "Other", {"type": "ordered", "attributes": attributes})
    assert _decode(topic_name="parts", value=value)[1].fields == {"line_id": "L1", "qty": 3}


def test_record_of_a_later_schema() -> None:
    """A payload record that only a later schema has is an unknown type: accepted, not refused as Avro would have it."""

    def change(schema: dict[str, Any]) -> None:
        fields = [{"name": "minutes", "type": "int"}]
        schema["fields"][-1]["type"].insert(0, {"type": "record", "name": "Delayed", "fields": fields})

    text = _foreign(change)
    record = {
        "event_id": "e",
        "case_id": "C1",
        "at": AT_MS,
        "payload": ("io.cxstream.dispatch.Delayed", {"minutes": 5}),
    }
    _, fact = _codec_for(text).decode("dispatch", b"C1", _written(text, record), AT_MS)
    assert (fact.type, fact.fields) == ("delayed", {})


@pytest.mark.parametrize(
    "change",
    [
        lambda schema: _record(schema, "Scheduled")["fields"].append({"name": "note", "type": ["null", "string"]}),
        lambda schema: _record(schema, "Scheduled")["fields"].insert(0, {"name": "n", "type": "double", "default": 0}),
        lambda schema: schema["fields"].reverse(),
        lambda schema: schema["fields"].insert(0, {"name": "source", "type": ["string", "null"]}),
        lambda schema: schema.update(namespace="com.example", name="Visit"),
        _set_type("Scheduled", "by", ["null", {"type": "enum", "name": "Who", "symbols": ["customer", "provider"]}]),
        _set_type("Scheduled", "agreed", ["boolean", "null"]),
        lambda schema: _record(schema, "Scheduled")["fields"][5].update(type="string", default="repair"),
    ],
    ids=["field", "double", "order", "envelope", "names", "enum", "union order", "not null"],
)
def test_schema_of_another_team(change: Callable[[dict[str, Any]], None]) -> None:
    """What another team added to or reordered in its schema changes nothing about the facts."""
    text = _foreign(change)
    payload = {"visit_id": "V1", "window_start": 5, "window_end": 6, "by": "customer", "agreed": True}
    payload |= {"purpose": "survey", "note": "x", "n": 0.5}
    name = f"{json.loads(text)['namespace']}.Scheduled"
    record = {
        "event_id": "e2",
        "case_id": "C1",
        "at": AT_MS,
        "asset_id": "A",
        "payload": (name, payload),
        "source": "s",
    }
    event = {"event_id": "e2", "case_id": "C1", "at": AT_MS, "topic": "dispatch", "type": "scheduled", **payload}
    read = _codec_for(text).decode("dispatch", b"C1", _written(text, record), AT_MS)
    assert read == admit(event, AT_MS, skew_ms=0)


@pytest.mark.parametrize(("record", "field"), [(None, "at"), ("Scheduled", "window_end")])
def test_local_timestamps_are_naive(record: str | None, field: str) -> None:
    """A time declared as a local timestamp names no zone, so an event that states it is rejected as naive."""
    local = {"type": "long", "logicalType": "local-timestamp-millis"}
    text = _foreign(_set_type(record, field, ["null", local] if record else local))
    codec = _codec_for(text)

    def decode(payload: dict[str, Any]) -> tuple[str, Fact]:
        content = {
            "event_id": "e",
            "case_id": "C1",
            "at": AT_MS,
            "payload": ("io.cxstream.dispatch.Scheduled", payload),
        }
        return codec.decode("dispatch", b"C1", _written(text, content), AT_MS)

    with pytest.raises(RejectedError) as caught:
        decode({"visit_id": "V1", "window_start": 5, "window_end": 6})
    assert (caught.value.reason, caught.value.field) == ("naive_time", field)
    if record:
        assert decode({"visit_id": "V1"})[1].fields == {"visit_id": "V1"}


BOMB = {"type": "array", "items": {"type": "record", "name": "Nothing", "fields": []}}
WIDE = {"type": "record", "name": "N0", "fields": [{"name": "x", "type": "null"}]}
for _level in range(1, 8):
    _again = [{"name": f"again{number}", "type": f"N{_level - 1}"} for number in range(4)]
    WIDE = {"type": "record", "name": f"N{_level}", "fields": [{"name": "first", "type": WIDE}, *_again]}
LIST = {"type": "record", "name": "Node", "fields": [{"name": "next", "type": ["null", "Node"]}]}
DEEP: object = "string"
for _level in range(20):
    DEEP = {"type": "array", "items": DEEP}
MICROS = {"type": "long", "logicalType": "timestamp-micros"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (_set_type("Scheduled", "continues", BOMB), "next to no bytes"),
        (_set_type("Scheduled", "continues", {"type": "array", "items": "null"}), "next to no bytes"),
        (_set_type("Scheduled", "continues", {"type": "map", "values": WIDE}), "of no bytes"),
        (_set_type("Scheduled", "continues", WIDE), "of no bytes"),
        (_set_type("Scheduled", "continues", LIST), "contains itself"),
        (_set_type("Scheduled", "continues", DEEP), "nested deeper"),
        (_set_type("Scheduled", "continues", "com.example.Elsewhere"), "before it is defined"),
        (_set_type("Scheduled", "continues", {"type": "fixed", "name": "F", "size": 2**40}), "a fixed"),
        (_set_type("Scheduled", "continues", {"type": "array", "items": []}), "empty union"),
        (_set_type("Scheduled", "window_start", ["null", MICROS]), "window_start: expected"),
        (_set_type("Scheduled", "window_start", ["null", "long"]), "window_start: expected"),
        (_set_type("Scheduled", "window_start", ["null", "string"]), "window_start: expected"),
        (_set_type(None, "at", MICROS), "at: expected"),
        (_set_type(None, "case_id", "long"), "case_id: expected"),
        (_set_type(None, "payload", "string"), "payload: expected"),
        (_set_type(None, "payload", ["null", "string"]), "payload: expected"),
        (lambda schema: schema["fields"].pop(0), "event_id: expected"),
        (lambda schema: schema.update(doc="x" * 300_000), "larger than"),
        (lambda schema: schema.update(fields="none"), "without fields"),
        (lambda schema: _record(schema, "Voided").update(name="Corrected"), "defined twice"),
        (_set_type("Scheduled", "continues", {"type": "enum", "name": "E", "symbols": 5}), "not an Avro schema"),
    ],
)
def test_refused_schema(change: Callable[[dict[str, Any]], None], expected: str) -> None:
    """A writer schema that could exhaust us or leaves its times open is refused, and its messages are rejected."""
    text = _foreign(change)
    with pytest.raises(SchemaRefusedError, match=re.escape(expected)):
        read_schema(text, "id 7")
    with pytest.raises(RejectedError) as caught:
        _codec_for(text).decode("dispatch", b"C1", b"\x00\x00\x00\x00\x07xyz", AT_MS)
    assert caught.value.reason == "unknown_schema"


@pytest.mark.parametrize(
    "text", ["", "[", '"string"', "[" * 100_000, '{"type": 1}', '{"__fastavro_parsed": true}', "1"]
)
def test_no_schema_at_all(text: str) -> None:
    """Whatever a registry sends instead of a schema is refused, nothing else is raised."""
    with pytest.raises(SchemaRefusedError):
        read_schema(text, "id 7")


def test_private_marks_of_fastavro_do_not_pass() -> None:
    """A schema that claims to be parsed already is parsed all the same."""
    text = _foreign(lambda schema: schema.update({"__fastavro_parsed": True, "__named_schemas": {}}))
    assert read_schema(text, "id 7").fingerprint == PACKAGED.named("dispatch/v1").fingerprint


def test_corrected_bomb_stays_small() -> None:
    """A correction that claims two thousand million fields costs memory in proportion to its bytes."""
    head = _raw("ticket", "Corrected", {"target": "t", "set": {}})[:-1]
    value = head + b"\x80\x80\x80\x80\x10" + b"".join(b"\x0a%05d\x00" % number for number in range(40_000))
    tracemalloc.start()
    with pytest.raises(RejectedError):
        _decode(value=value)
    assert tracemalloc.get_traced_memory()[1] < 50 * len(value)
    tracemalloc.stop()


def test_endless_number_is_quick() -> None:
    """A number of a million bytes is given up after ten of them."""
    started = time.process_time()
    with pytest.raises(RejectedError):
        _decode(value=GOOD[:10] + b"\xff" * 1_000_000)
    assert time.process_time() - started < 1


# ---- schema ids


def test_configured_ids() -> None:
    """Ids come from configuration; a wrong entry is named."""
    ids = SchemaIds.from_text(PACKAGED, " 1=ticket/v1, 2=dispatch/v1,")
    assert ids.get(2).name == "dispatch/v1"
    with pytest.raises(SchemaRefusedError, match="no registry"):
        ids.get(3)
    for text in ("1", "x=ticket/v1", "1=ticket/v9", "1=ticket/v1,1=parts/v1", "-1=ticket/v1", "9999999999=ticket/v1"):
        with pytest.raises(ValueError, match=re.escape(text.split(",")[-1])):
            SchemaIds.from_text(PACKAGED, text)


def test_registry_is_asked_once() -> None:
    """An id is looked up once however many records wait for it; the packaged schema under an id is recognised."""
    registry = Answers({7: PACKAGED.text("ticket/v1")})
    ids = SchemaIds(PACKAGED, registry=registry)  # type: ignore[arg-type]
    codec = Codec(PACKAGED, ids, skew_ms=SKEW_MS)
    value = b"\x00\x00\x00\x00\x07" + GOOD[10:]
    with pytest.raises(UnknownSchemaIdError) as caught:
        codec.decode("ticket", b"C1", value, AT_MS)
    assert caught.value.schema_id == 7

    async def wait() -> None:
        await asyncio.gather(*(ids.fetch(7) for _ in range(5)))

    asyncio.run(wait())
    assert registry.asked == 1
    assert codec.decode("ticket", b"C1", value, AT_MS) == _decode()
    assert ids.get(7).name == "ticket/v1"
    with pytest.raises(RejectedError, match="unknown_schema"):
        codec.decode("parts", b"C1", value, AT_MS)


def test_absent_ids_are_asked_for_again_later() -> None:
    """An id the registry does not have is remembered for a minute, a failure of the registry not at all."""
    registry = Answers({7: None, 8: RegistryUnavailableError("down")})
    now = [0.0]
    ids = SchemaIds(PACKAGED, registry=registry, clock_seconds=lambda: now[0])  # type: ignore[arg-type]
    asyncio.run(ids.fetch(7))
    with pytest.raises(SchemaRefusedError, match="no such schema"):
        ids.get(7)
    now[0] = schemas.ABSENT_TTL_SECONDS
    with pytest.raises(UnknownSchemaIdError):
        ids.get(7)
    for _ in range(2):
        with pytest.raises(RegistryUnavailableError):
            asyncio.run(ids.fetch(8))
        with pytest.raises(UnknownSchemaIdError):
            ids.get(8)
    assert registry.asked == 3


def test_garbage_ids_do_not_fill_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers are kept up to a limit."""
    monkeypatch.setattr(schemas, "MAX_REGISTRY_IDS", 10)
    ids = SchemaIds(PACKAGED, registry=Answers({}))  # type: ignore[arg-type]

    async def ask() -> None:
        for schema_id in range(50):
            await ids.fetch(schema_id)

    asyncio.run(ask())
    assert len(ids._known) == 10


ROUTES: dict[str, tuple[int, object, str]] = {
    "/schemas/ids/1": (200, {"schema": PACKAGED.text("ticket/v1")}, "known"),
    "/schemas/ids/2": (404, {"error_code": 40403, "message": "Schema not found"}, "absent"),
    "/schemas/ids/3": (404, "<html>", "unavailable"),
    "/schemas/ids/4": (500, {"error_code": 50001}, "unavailable"),
    "/schemas/ids/5": (200, {"schema": "{}", "schemaType": "JSON"}, "refused"),
    "/schemas/ids/6": (200, {"schema": "x" * 2_000_000}, "unavailable"),
    "/schemas/ids/7": (200, {"schema": '"string"', "references": [{"name": "x"}]}, "refused"),
    "/schemas/ids/8": (401, {"error_code": 40101}, "unavailable"),
    "/schemas/ids/9": (302, "elsewhere", "unavailable"),
    "/schemas/ids/10": (200, "slow", "unavailable"),
}


def test_registry_over_http() -> None:
    """Each answer of a registry is understood; only its own word that an id is unknown counts as absence."""
    asked: list[str | None] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.headers.get("Authorization"))
        status, body, _ = ROUTES[request.path]
        if body == "slow":
            await asyncio.sleep(0.8)
        if status == 302:
            raise web.HTTPFound("/schemas/ids/1")
        return web.Response(status=status, text=body if isinstance(body, str) else json.dumps(body))

    async def run() -> dict[str, str]:
        app = web.Application()
        app.router.add_get("/schemas/ids/{id}", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        registry = Registry(f"http://{host}:{port}/", {"Authorization": "Basic eDp5"}, timeout_seconds=0.5)
        ids = SchemaIds(PACKAGED, registry=registry)
        found = {path: await _outcome(ids, int(path.rpartition("/")[2])) for path in ROUTES}
        await runner.cleanup()
        found["nobody there"] = await _outcome(ids, 99)
        return found

    expected = {path: outcome for path, (_, _, outcome) in ROUTES.items()}
    assert asyncio.run(run()) == {**expected, "nobody there": "unavailable"}
    assert set(asked) == {"Basic eDp5"}


async def _outcome(ids: SchemaIds, schema_id: int) -> str:
    try:
        await ids.fetch(schema_id)
        ids.get(schema_id)
    except RegistryUnavailableError as error:
        return "leaking" if "eDp5" in str(error) else "unavailable"
    except SchemaRefusedError as error:
        return "absent" if "no such schema" in str(error) else "refused"
    return "known"


# ---- encoding


@pytest.mark.parametrize(
    ("event", "field"),
    [
        ({**OPENED, "priority": "P9"}, "priority"),
        ({**OPENED, "case_id": None}, "case_id"),
        ({**OPENED, "at": "2026-03-02T10:00:00"}, "at"),
        ({**OPENED, "topic": "tickets"}, "topic"),
        ({**OPENED, "transfers": 2**70}, "transfers"),
        ({**OPENED, "symptom": "\ud800"}, "symptom"),
        ({**SCHEDULED, "asset_id": 5}, "asset_id"),
        ({**SCHEDULED, "visit_id": None}, "visit_id"),
        ({**OPENED, "type": "corrected", "target": "e", "set": {"x": 2**70}}, "set"),
    ],
)
def test_encode_names_the_field(event: dict[str, Any], field: str) -> None:
    """What cannot be written is refused with the name of the field."""
    with pytest.raises(RejectedError) as caught:
        CODEC.encode(event)
    assert caught.value.field == field


def test_encode_for_an_unknown_id() -> None:
    """Framing for an id without a schema is refused."""
    with pytest.raises(SchemaRefusedError):
        CODEC.encode(OPENED, schema_id=99)


# ---- dead letters


def test_dead_letter() -> None:
    """A dead letter has the record's key, value and headers, the reason, and what Kafka Streams' tools look for."""
    headers = [("trace", b"1"), ("trace", b"2"), ("nothing", None), ("cxstream.error.reason", b"earlier")]
    record = dead_letters.SourceRecord("dispatch", 3, 42, AT_MS, b"C1", b"\x00bytes", headers)
    letter = dead_letters.dead_letter(record, "invalid", "visit_id: text", worker_version="1.2.3")
    assert (letter.topic, letter.key, letter.value) == ("dispatch.dead-letters", b"C1", b"\x00bytes")
    assert letter.headers == [
        ("trace", b"1"),
        ("trace", b"2"),
        ("nothing", None),
        ("cxstream.error.reason", b"invalid"),
        ("cxstream.error.detail", b"visit_id: text"),
        ("cxstream.error.topic", b"dispatch"),
        ("cxstream.error.partition", b"3"),
        ("cxstream.error.offset", b"42"),
        ("cxstream.error.timestamp", b"2026-03-02T10:00:00Z"),
        ("cxstream.error.worker-version", b"1.2.3"),
        ("__streams.errors.exception", b"cxstream.domain.facts.RejectedError"),
        ("__streams.errors.message", b"invalid: visit_id: text"),
        ("__streams.errors.topic", b"dispatch"),
        ("__streams.errors.partition", b"3"),
        ("__streams.errors.offset", b"42"),
    ]
    assert dead_letters.without_error_headers(letter.headers) == headers[:3]


def test_dead_letter_of_a_dead_letter_is_bounded() -> None:
    """Headers stay within limits whatever came with the record, and what was left out is counted."""
    headers = [("big", b"x" * 40_000), *((f"h{number}", b"y") for number in range(200))]
    record = dead_letters.SourceRecord("parts", 0, 0, 2**62, None, None, headers)
    letter = dead_letters.dead_letter(record, "undecodable", "ü" * 5_000, worker_version="1")
    ours = dict(letter.headers)
    assert letter.headers_dropped == 73
    assert ours["cxstream.error.headers-dropped"] == b"73"
    assert len(ours["cxstream.error.detail"] or b"") == 512
    assert ours["cxstream.error.timestamp"] == str(2**62).encode()
    assert sum(len(name) + len(value or b"") for name, value in letter.headers) < 40_000
