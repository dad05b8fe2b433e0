"""Whatever arrives, the codec makes a fact or a rejection of it, the very one that `admit` makes of that content."""

from __future__ import annotations

import contextlib
import io
import json
import time
from pathlib import Path
from typing import Any

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxstream.domain import vocabulary
from cxstream.domain.facts import Fact, RejectedError, admit
from cxstream.kafka.codec import REASONS, Codec
from cxstream.kafka.schemas import SchemaIds, SchemaRefusedError, Schemas, UnknownSchemaIdError, read_schema

SCHEMAS = Schemas.packaged()
SKEW_MS = 300_000
IDS = SchemaIds.from_text(SCHEMAS, "1=ticket/v1,2=dispatch/v1,3=parts/v1")
CODEC = Codec(SCHEMAS, IDS, skew_ms=SKEW_MS)
AT_MS = 1_772_445_600_000
TYPES = [*vocabulary.EVENT_TYPES, *((topic, name) for topic in vocabulary.TOPICS for name in vocabulary.ANY_TOPIC)]
EXAMPLES = [
    json.loads(file.read_text("utf-8"))
    for file in sorted((Path(__file__).parents[2] / "schemas").glob("*/examples/*.json"))
]
MESSAGES = [(event["topic"], event["case_id"].encode(), CODEC.encode(event)) for event in EXAMPLES]

_texts = st.text(st.characters(codec="utf-8"), max_size=200)
_longs = st.integers(-(2**63), 2**63 - 1)
_times = st.one_of(st.integers(AT_MS - 10**9, AT_MS + 10**6), _longs)
_zones = st.sampled_from(["UTC", "Europe/Berlin", "America/Chicago", "Nowhere/Land", "", "../x"])
_changes = st.dictionaries(
    st.one_of(st.sampled_from(sorted(vocabulary.CORRECTABLE | {"event_id", "topic", "type", "case_id"})), _texts),
    st.one_of(
        st.none(), st.booleans(), _longs, _texts, st.just("2026-03-02T10:00:00"), st.just("2026-03-02T10:00:00Z")
    ),
    max_size=4,
)


def _value(field: vocabulary.Field) -> st.SearchStrategy[Any]:
    """Return values Avro can carry in a field, right ones and wrong ones."""
    match field.kind:
        case "time":
            right: st.SearchStrategy[Any] = _times
        case "flag":
            right = st.booleans()
        case "count":
            right = st.integers(-1, 2**40)
        case "choice":
            right = st.sampled_from([*field.choices, *field.choices, "nonsense", ""])
        case "zone":
            right = _zones
        case "changes":
            right = _changes
        case _:
            right = _texts
    return right if field.required else st.one_of(st.none(), right)


@st.composite
def _events(draw: st.DrawFn) -> dict[str, Any]:
    """Draw an event as a careless producer could write it with the packaged schemas."""
    topic, event_type = draw(st.sampled_from(TYPES))
    fields = vocabulary.fields_of(topic, event_type) or {}
    content = {name: draw(_value(field)) for name, field in fields.items()}
    envelope = {
        "event_id": draw(_texts),
        "case_id": draw(_texts),
        "at": draw(_times),
        "asset_id": content.get("asset_id"),
    }
    return {**content, **envelope, "topic": topic, "type": event_type}


def _write(event: dict[str, Any]) -> bytes:
    """Write an event with nothing of it checked."""
    schema = SCHEMAS.latest(event["topic"])
    envelope = {name: event[name] for name in ("event_id", "case_id", "at", "asset_id")}
    names = set(vocabulary.fields_of(event["topic"], event["type"]) or {}) - {"asset_id"}
    payload = {name: event[name] for name in names}
    out = io.BytesIO()
    out.write(b"\xc3\x01" + schema.fingerprint)
    fastavro.schemaless_writer(out, schema.parsed, {**envelope, "payload": (schema.branch_of(event["type"]), payload)})
    return out.getvalue()


def _outcome(read: Any) -> Any:  # noqa: ANN401
    try:
        return read()
    except RejectedError as error:
        return error.reason, error.field, error.expected


@settings(max_examples=600, deadline=None)
@given(_events(), st.integers(AT_MS - 10**6, AT_MS + 10**6))
def test_decode_is_admit(event: dict[str, Any], record_timestamp_ms: int) -> None:
    """Decoding gives the fact, or the rejection in the very words, that admit gives for the same content as JSON."""
    value, key = _write(event), event["case_id"].encode()
    read = _outcome(lambda: CODEC.decode(event["topic"], key, value, record_timestamp_ms))
    assert read == _outcome(lambda: admit(event, record_timestamp_ms, skew_ms=SKEW_MS))


@settings(max_examples=300, deadline=None)
@given(_events())
def test_quick_way_is_exact_way(event: dict[str, Any]) -> None:
    """The quick way gives up or agrees with fastavro and admit, whatever it is given."""
    value, topic = _write(event), event["topic"]
    schema = SCHEMAS.latest(topic)
    quick = CODEC._plan(topic, value[:10]).read(value, 10)
    if quick is not None:
        case_id, event_id, event_type, at_ms, fields = quick
        fact = Fact(event_id, topic, event_type, at_ms, at_ms, fields)
        assert CODEC._decode_exactly(topic, schema, case_id.encode(), value, at_ms, None, False) == (case_id, fact)


@settings(max_examples=300, deadline=None)
@given(_events())
def test_what_is_admitted_can_be_encoded(event: dict[str, Any]) -> None:
    """An admitted event comes back from encode and decode as the same fact, in either framing."""
    try:
        case_id, fact = admit(event, skew_ms=SKEW_MS)
    except RejectedError:
        return
    key, topic = case_id.encode(), fact.topic
    for value in (
        CODEC.encode(event),
        CODEC.encode_fact(case_id, fact),
        CODEC.encode(event, schema_id=1 + vocabulary.TOPICS.index(topic)),
    ):
        assert CODEC.decode(topic, key, value, fact.at_ms) == (case_id, fact)


def _only_known_errors(topic: str, key: bytes | None, value: bytes | None) -> None:
    started = time.process_time()
    try:
        reason, text = None, CODEC.decode(topic, key, value, AT_MS)[0]
    except RejectedError as error:
        reason, text = error.reason, str(error)
    except UnknownSchemaIdError as error:
        reason, text = "unknown_schema", str(error)
    assert time.process_time() - started < 1
    assert (reason in REASONS and len(text) < 400) if reason else text.encode() == key


_heads = st.sampled_from(
    [b"", b"\x00", b"\xc3\x01", *(b"\xc3\x01" + SCHEMAS.named(name).fingerprint for name in SCHEMAS.names)]
    + [b"\x00" + number.to_bytes(4, "big") for number in (1, 2, 3, 9)]
)


@settings(max_examples=800, deadline=None)
@given(st.sampled_from(vocabulary.TOPICS), st.none() | st.binary(max_size=9), _heads, st.binary(max_size=300))
def test_arbitrary_bytes(topic: str, key: bytes | None, head: bytes, tail: bytes) -> None:
    """Any bytes at all, with or without a good header, give a fact or a rejection."""
    _only_known_errors(topic, key, head + tail)


@st.composite
def _mutants(draw: st.DrawFn) -> tuple[str, bytes, bytes]:
    """Draw a good message with a few bytes cut, flipped, put in or added."""
    topic, key, message = draw(st.sampled_from(MESSAGES))
    value = bytearray(message)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(0, len(value) - 1)))
        match draw(st.sampled_from(["cut", "flip", "set", "insert", "append", "double"])):
            case "cut":
                del value[place:]
            case "flip" if value:
                value[place] ^= 1 << draw(st.integers(0, 7))
            case "set" if value:
                value[place] = draw(st.sampled_from([0, 1, 2, 0x7F, 0x80, 0xFE, 0xFF]))
            case "insert":
                value[place:place] = draw(st.binary(min_size=1, max_size=12))
            case "append":
                value += draw(st.binary(min_size=1, max_size=12))
            case _:
                value += value[10:]
    return topic, key, bytes(value)


@settings(max_examples=1_000, deadline=None)
@given(_mutants())
def test_mutated_messages(mutant: tuple[str, bytes, bytes]) -> None:
    """A damaged message gives a fact or a rejection, and the same one on both ways."""
    topic, key, value = mutant
    _only_known_errors(topic, key, value)
    schema = SCHEMAS.latest(topic)
    if value[:10] == b"\xc3\x01" + schema.fingerprint:
        both = _outcome(lambda: CODEC.decode(topic, key, value, AT_MS))
        assert both == _outcome(lambda: CODEC._decode_exactly(topic, schema, key, value, AT_MS, None, False))


_names = st.sampled_from(["A", "B", "C", "D"])
_avro = st.recursive(
    st.one_of(
        st.sampled_from(["null", "boolean", "int", "long", "float", "double", "bytes", "string", "A", "B", "nonsense"]),
        st.builds(lambda name, size: {"type": "fixed", "name": name, "size": size}, _names, st.integers(-1, 40)),
        st.builds(lambda name: {"type": "enum", "name": name, "symbols": ["x", "y"]}, _names),
        st.just({"type": "long", "logicalType": "timestamp-micros"}),
        st.just({"type": "bytes", "logicalType": "decimal", "precision": 4}),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.builds(lambda items: {"type": "array", "items": items}, inner),
        st.builds(lambda values: {"type": "map", "values": values}, inner),
        st.builds(
            lambda name, types: {
                "type": "record",
                "name": name,
                "fields": [{"name": f"f{number}", "type": avro} for number, avro in enumerate(types)],
            },
            _names,
            st.lists(inner, max_size=3),
        ),
    ),
    max_leaves=8,
)


@settings(max_examples=400, deadline=None)
@given(_avro, st.binary(max_size=60))
def test_schemas_of_others(extra: object, tail: bytes) -> None:
    """A schema with anything in it is refused, or decodes any bytes to a fact or a rejection within bounds."""
    schema = json.loads(SCHEMAS.text("parts/v1"))
    schema["fields"].append({"name": "extra", "type": extra})
    try:
        read = read_schema(json.dumps(schema), "id 7")
    except SchemaRefusedError:
        return
    ids = SchemaIds(SCHEMAS)
    ids._known[7] = read
    good = MESSAGES[-1][2][10:]
    for value in (b"\x00\x00\x00\x00\x07" + good + tail, b"\x00\x00\x00\x00\x07" + tail):
        started = time.process_time()
        codec = Codec(SCHEMAS, ids, skew_ms=SKEW_MS)
        with contextlib.suppress(RejectedError):
            codec.decode("parts", MESSAGES[-1][1], value, 2**62)
        assert time.process_time() - started < 1


@pytest.mark.parametrize("items", [{"type": "record", "name": "Z", "fields": []}, "null", ["null"]])
def test_zero_width_array_bomb(items: object) -> None:
    """Six bytes that stand for two hundred million empty items are refused by their schema, before they are read."""
    schema = json.loads(SCHEMAS.text("parts/v1"))
    schema["fields"].append({"name": "bomb", "type": {"type": "array", "items": items}})
    if items == ["null"]:  # a union of one takes a byte for each item: harmless
        assert read_schema(json.dumps(schema), "id 7").name == "id 7"
        return
    with pytest.raises(SchemaRefusedError):
        read_schema(json.dumps(schema), "id 7")
