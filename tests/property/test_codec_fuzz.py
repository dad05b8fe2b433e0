"""Whatever arrives, the codec makes a fact or a rejection of it, the very one that `admit` makes of that content."""

from __future__ import annotations

import contextlib
import json
import time
import tracemalloc
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxstream.domain import vocabulary
from cxstream.domain.facts import Fact, RejectedError, admit
from cxstream.kafka.codec import DELIVERED_AT, REASONS, Codec, Headers
from cxstream.kafka.schemas import MAX_DEPTH, SchemaIds, SchemaRefusedError, UnknownSchemaIdError, read_schema
from parts.messages import (
    AT_MS,
    CODEC,
    HUGE,
    MESSAGES,
    SCHEMAS,
    SKEW_MS,
    events,
    headers,
    heads,
    keys,
    mutants,
    swollen,
    timestamps,
    write,
    zigzag,
)
from parts.trials import tried

PARTS = next(message for message in MESSAGES if message[0] == "parts")
"""A good message to go with a schema of others, which are made of this topic's."""


def _outcome(read: Any) -> Any:  # noqa: ANN401
    try:
        return read()
    except RejectedError as error:
        return error.reason, error.field, error.expected


@tried(600)
@given(events(), st.integers(AT_MS - 10**6, AT_MS + 10**6))
def test_decode_is_admit(event: dict[str, Any], record_timestamp_ms: int) -> None:
    """Decoding gives the fact, or the rejection in the very words, that admit gives for the same content as JSON."""
    value, key = write(event), event["case_id"].encode()
    read = _outcome(lambda: CODEC.decode(event["topic"], key, value, record_timestamp_ms))
    assert read == _outcome(lambda: admit(event, record_timestamp_ms, skew_ms=SKEW_MS))


@tried(300)
@given(events())
def test_quick_way_is_exact_way(event: dict[str, Any]) -> None:
    """The quick way gives up or agrees with fastavro and admit, whatever it is given."""
    value, topic = write(event), event["topic"]
    schema = SCHEMAS.latest(topic)
    quick = CODEC._plan(topic, value[:10]).read(value, 10)
    if quick is not None:
        case_id, event_id, event_type, at_ms, fields = quick
        fact = Fact(event_id, topic, event_type, at_ms, at_ms, fields)
        assert CODEC._decode_exactly(topic, schema, case_id.encode(), value, at_ms, None, False) == (case_id, fact)


@tried(300)
@given(events())
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


@tried(800)
@given(st.sampled_from(vocabulary.TOPICS), st.none() | st.binary(max_size=9), heads, st.binary(max_size=300))
def test_arbitrary_bytes(topic: str, key: bytes | None, head: bytes, tail: bytes) -> None:
    """Any bytes at all, with or without a good header, give a fact or a rejection."""
    _only_known_errors(topic, key, head + tail)


@tried(1_000)
@given(mutants())
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


@tried(400)
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
    _topic, key, good = PARTS
    good = good[10:]
    for value in (b"\x00\x00\x00\x00\x07" + good + tail, b"\x00\x00\x00\x00\x07" + tail):
        started = time.process_time()
        codec = Codec(SCHEMAS, ids, skew_ms=SKEW_MS)
        with contextlib.suppress(RejectedError):
            codec.decode("parts", key, value, 2**62)
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


# ---- what stands around a message, and what it costs

OVERHEAD_BYTES = 3_000_000
"""What reading may cost whatever the message: a plan, a traceback, ten thousand values of no bytes."""
COST_PER_BYTE = 100
"""What a byte of a message may cost by a packaged schema."""
FOREIGN_COST_PER_BYTE = 700
"""What a byte may cost by the worst schema that passes the lint: records in records around one byte, in an array."""


def _peak_bytes(read: Any) -> int:  # noqa: ANN401
    tracemalloc.start()
    try:
        _outcome(read)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _as_mapping(pairs: list[tuple[str, bytes | None]]) -> Headers:
    return dict(pairs)


@tried(600)
@given(
    st.sampled_from(MESSAGES),
    st.one_of(st.just("its own"), keys),
    timestamps,
    st.one_of(st.none(), headers, headers.map(tuple), headers.map(_as_mapping)),
    st.booleans(),
)
def test_keys_timestamps_and_headers(
    message: tuple[str, bytes, bytes],
    key: str | bytes | None,
    timestamp_ms: int,
    given_headers: Headers,
    trusted: object,
) -> None:
    """A good message under any key, timestamp and headers is a fact with that delivery time, or rejected in our words.

    A header counts on trusted topics only, and what it says is between 1970 and 9999.
    """
    topic, own_key, value = message
    used = own_key if key == "its own" else key
    assert not isinstance(used, str)
    outcome = _outcome(lambda: CODEC.decode(topic, used, value, timestamp_ms, given_headers, trusted=bool(trusted)))
    if len(outcome) > len(("case id", "fact")):
        reason, field, expected = outcome
        assert reason in {"wrong_key", "future", *(["bad_delivery_header"] if trusted else [])}
        assert (reason == "wrong_key") == (used != own_key)
        assert len(f"{field}{expected}") < 200
        return
    case_id, fact = outcome
    assert case_id.encode() == used == own_key
    pairs = given_headers.items() if isinstance(given_headers, Mapping) else given_headers or ()
    stated = [one for name, one in pairs if name == DELIVERED_AT]
    assert fact.delivered_ms == timestamp_ms or (trusted and stated and 0 <= fact.delivered_ms < 253_402_300_800_000)
    assert fact.at_ms <= fact.delivered_ms + SKEW_MS


@tried(300)
@given(st.integers(10, 200), st.binary(max_size=400), st.sampled_from(MESSAGES))
def test_sizes(limit: int, more: bytes, message: tuple[str, bytes, bytes]) -> None:
    """A message beyond the limit is refused as too large before anything of it is read, one at the limit is not."""
    topic, key, value = message
    codec = Codec(SCHEMAS, skew_ms=SKEW_MS, max_message_bytes=limit)
    for sent in (value, value + more, more, value[:limit]):
        outcome = _outcome(lambda sent=sent: codec.decode(topic, key, sent, AT_MS))
        assert (outcome[0] == "too_large") == (len(sent) > limit)


@tried(300)
@given(st.one_of(swollen(), mutants()))
def test_lies_about_lengths_cost_nothing(message: tuple[str, bytes, bytes]) -> None:
    """A length or count of any size costs memory in proportion to the bytes that are there."""
    topic, key, value = message
    _only_known_errors(topic, key, value)
    assert _peak_bytes(lambda: CODEC.decode(topic, key, value, AT_MS)) < OVERHEAD_BYTES + COST_PER_BYTE * len(value)


@tried(150)
@given(st.sampled_from(["array", "map", "record", "union", "list"]), st.integers(0, 3_000), st.binary(max_size=80))
def test_deep_schemas(kind: str, depth: int, tail: bytes) -> None:
    """A schema of any depth is refused, or is so shallow that it reads any bytes at once."""
    names = {"array": '{"type":"array","items":', "map": '{"type":"map","values":', "list": "[", "union": '["null",'}
    opening, closing = names.get(kind, ""), "]" if kind in {"union", "list"} else "}"
    levels = [opening] * depth
    if kind == "record":
        levels = [f'{{"type":"record","name":"R{n}","fields":[{{"name":"f","type":' for n in range(depth)]
        closing = "}]}"
    schema = json.loads(SCHEMAS.text("parts/v1"))
    schema["fields"].append({"name": "deep", "type": "DEEP"})
    text = json.dumps(schema).replace('"DEEP"', "".join(levels) + '"boolean"' + closing * depth)
    try:
        read = read_schema(text, "id 7")
    except SchemaRefusedError:
        return
    assert depth <= MAX_DEPTH
    ids = SchemaIds(SCHEMAS)
    ids._known[7] = read
    topic, key, value = PARTS
    _outcome(lambda: Codec(SCHEMAS, ids, skew_ms=SKEW_MS).decode(topic, key, b"\0\0\0\0\7" + value[10:] + tail, AT_MS))


def _nested(depth: int, leaf: object) -> object:
    avro = leaf
    for level in range(depth):
        avro = {"type": "record", "name": f"N{level}", "fields": [{"name": "f", "type": avro}]}
    return avro


def _record_of(*types: object) -> dict[str, object]:
    return {"type": "record", "name": "M", "fields": [{"name": f"f{n}", "type": avro} for n, avro in enumerate(types)]}


WORST_ITEMS: dict[str, tuple[object, bytes]] = {
    "records in records": (_nested(3, "boolean"), b"\0"),
    "record of one byte": (_record_of("boolean", "null", "null"), b"\0"),
    "union of nulls": (["boolean", _record_of("null", "null", "null")], b"\2"),
    "arrays": ({"type": "array", "items": "boolean"}, b"\0"),
    "maps": ({"type": "map", "values": "boolean"}, b"\0"),
    "fixed": ({"type": "fixed", "name": "F", "size": 1}, b"\0"),
    "enum": ({"type": "enum", "name": "E", "symbols": ["a"]}, b"\0"),
    "strings": ("string", b"\0"),
    "longs": ("long", b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\1"),
}


@pytest.mark.parametrize("name", WORST_ITEMS)
@pytest.mark.parametrize("kind", ["array", "map"])
def test_what_a_schema_of_others_lets_a_byte_cost(name: str, kind: str) -> None:
    """The dearest schemas that pass the lint make a message cost in proportion to its bytes; a lying count nothing."""
    items, item = WORST_ITEMS[name]
    schema = json.loads(SCHEMAS.text("parts/v1"))
    schema["fields"].append({"name": "extra", "type": {"type": kind, "items" if kind == "array" else "values": items}})
    ids = SchemaIds(SCHEMAS)
    ids._known[7] = read_schema(json.dumps(schema), "id 7")
    codec = Codec(SCHEMAS, ids, skew_ms=SKEW_MS)
    topic, key, good = PARTS
    count = 20_000
    entries = (
        item * count
        if kind == "array"
        else b"".join(b"\x0a" + f"{number:05d}".encode() + item for number in range(count))
    )
    honest = b"\0\0\0\0\7" + good[10:] + zigzag(count) + entries + b"\0"
    assert codec.decode(topic, key, honest, AT_MS)[0].encode() == key
    peak = _peak_bytes(lambda: codec.decode(topic, key, honest, AT_MS))
    assert peak < OVERHEAD_BYTES + FOREIGN_COST_PER_BYTE * len(honest)
    for number in HUGE:
        lying = b"\0\0\0\0\7" + good[10:] + zigzag(number)
        started = time.process_time()
        assert _peak_bytes(lambda lying=lying: codec.decode(topic, key, lying, AT_MS)) < OVERHEAD_BYTES
        assert time.process_time() - started < 1
