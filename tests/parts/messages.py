"""Messages as careless, broken and hostile producers write them, for properties of everything that reads messages."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import fastavro
from hypothesis import strategies as st

from cxstream.domain import vocabulary
from cxstream.kafka.codec import DELIVERED_AT, Codec
from cxstream.kafka.schemas import SchemaIds, Schemas

SCHEMAS = Schemas.packaged()
SKEW_MS = 300_000
IDS = SchemaIds.from_text(SCHEMAS, "1=ticket/v1,2=dispatch/v1,3=parts/v1")
CODEC = Codec(SCHEMAS, IDS, skew_ms=SKEW_MS)
AT_MS = 1_772_445_600_000
TYPES = [
    (topic, name)
    for topic, name in (
        *vocabulary.EVENT_TYPES,
        *((topic, name) for topic in vocabulary.TOPICS for name in vocabulary.ANY_TOPIC),
    )
    if SCHEMAS.latest(topic).branch_of(name) is not None
]
"""Those with a record of their own; the others travel in Other."""
EXAMPLES = [
    json.loads(file.read_text("utf-8"))
    for file in sorted((Path(__file__).parents[2] / "schemas").glob("*/examples/*.json"))
]
MESSAGES = [(event["topic"], event["case_id"].encode(), CODEC.encode(event)) for event in EXAMPLES]
"""Good ones: topic, key and value."""
HUGE = (2**31 - 1, 2**31, 2**40, 2**62, 2**63 - 1, -1, -2, -(2**31), -(2**63))
"""Numbers that lie where a length or a count is read."""


def zigzag(number: int) -> bytes:
    """Return a number as Avro writes it."""
    number = (number << 1) ^ (number >> 63)
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


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
def events(draw: st.DrawFn) -> dict[str, Any]:
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


def write(event: dict[str, Any]) -> bytes:
    """Write an event with nothing of it checked."""
    schema = SCHEMAS.latest(event["topic"])
    envelope = {name: event[name] for name in ("event_id", "case_id", "at", "asset_id")}
    names = set(vocabulary.fields_of(event["topic"], event["type"]) or {}) - {"asset_id"}
    payload = {name: event[name] for name in names}
    out = io.BytesIO()
    out.write(b"\xc3\x01" + schema.fingerprint)
    fastavro.schemaless_writer(out, schema.parsed, {**envelope, "payload": (schema.branch_of(event["type"]), payload)})
    return out.getvalue()


@st.composite
def mutants(draw: st.DrawFn) -> tuple[str, bytes, bytes]:
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


heads = st.sampled_from(
    [b"", b"\x00", b"\xc3\x01", *(b"\xc3\x01" + SCHEMAS.named(name).fingerprint for name in SCHEMAS.names)]
    + [b"\x00" + number.to_bytes(4, "big") for number in (1, 2, 3, 9)]
)
"""How messages begin, and how they look as if they began."""

timestamps = st.one_of(
    st.sampled_from([-1, 0, AT_MS, -(2**63), 2**62, 2**63 - 1, 253_402_300_799_999, 253_402_300_800_000]),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(AT_MS - 10**9, AT_MS + 10**9),
)
"""Record timestamps: -1 is Kafka's for none; nothing keeps a producer from writing any other on a CreateTime topic."""

keys = st.one_of(
    st.sampled_from([None, b"", b"\xff\xfe", b"\x00", "\u00df".encode(), b"k" * 100_000]), st.binary(max_size=12)
)
"""Keys that are hardly ever the case's."""

_stated = st.one_of(
    st.none(),
    st.binary(max_size=20),
    st.integers(-(10**16), 10**16).map(lambda number: str(number).encode()),
    st.sampled_from([b"2026-03-02T10:00:00", b"2026-03-02T10:00:00Z", b"9999-12-31T23:59:59+23:59", b"9" * 5000]),
    st.sampled_from(["\u0661\u0662".encode(), b"1e9", b"-0", b" 1", b"1772445600000\n"]),
)
headers = st.lists(
    st.tuples(st.one_of(st.just(DELIVERED_AT), _texts, st.just("cxstream.error.reason")), _stated), max_size=4
)
"""Headers, of which some state a delivery time."""


@st.composite
def swollen(draw: st.DrawFn) -> tuple[str, bytes, bytes]:
    """Draw a good message in which some byte has become a huge number, so that lengths and counts lie."""
    topic, key, message = draw(st.sampled_from(MESSAGES))
    place = draw(st.integers(10, len(message) - 1))
    number = zigzag(draw(st.sampled_from(HUGE)))
    return topic, key, message[:place] + number + message[place + draw(st.integers(0, 2)) :]


payloads = st.one_of(
    mutants().map(lambda mutant: mutant[2]),
    swollen().map(lambda mutant: mutant[2]),
    events().map(write),
    st.builds(lambda head, tail: head + tail, heads, st.binary(max_size=200)),
    st.sampled_from([b"", *(message for _topic, _key, message in MESSAGES)]),
    st.none(),
)
"""Whatever can stand in a record."""
