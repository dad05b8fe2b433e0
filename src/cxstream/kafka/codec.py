"""Bytes become facts here, or are rejected with a reason: nothing behind this module sees a message that is not a fact.

Two ways lead from bytes to a fact. The exact one decodes with fastavro and asks the domain's `admit`. The quick one
reads the flat records our schemas are made of by a plan made once per schema, in a fraction of the time, and gives up
at the first doubt: it only ever accepts, so whatever is rejected is rejected by the exact one and in its words.

A message is read by the schema it was written with and matched to the vocabulary by field and record name. That makes a
second, resolving schema needless: Avro's resolution would refuse a union branch the reader does not know, and here an
event type from the future has to be accepted.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple, cast

import fastavro

from cxstream.domain import instant, vocabulary
from cxstream.domain.facts import Fact, RejectedError, Value, admit
from cxstream.kafka.schemas import SchemaIds, SchemaRefusedError, Schemas, WriterSchema, event_type_of

DELIVERED_AT = "cxstream-delivered-at"
"""Header in which a trusted producer states when a fact reached us: RFC 3339 with an offset, or milliseconds."""

REASONS = (
    "empty",
    "too_large",
    "undecodable",
    "trailing_bytes",
    "unknown_schema",
    "wrong_key",
    "bad_delivery_header",
    "naive_time",
    "future",
    "invalid",
)
"""Why a record can be rejected here."""

Headers = Mapping[str, bytes | None] | Iterable[tuple[str, bytes | None]] | None

MAX_MESSAGE_BYTES = 1024 * 1024
MAX_PLANS = 1_024

_CONFLUENT = 0x00
_CONFLUENT_BYTES = 5
_SINGLE_OBJECT = b"\xc3\x01"
_SINGLE_OBJECT_BYTES = 10
_OTHER = "other"
_MOST_DIGITS = 15
_LAST_INSTANT_MS = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z; a header in microseconds is beyond it
_LONG = range(-(2**63), 2**63)


class Codec:
    """Decodes and encodes the events of the topics; holds no state but plans for the schemas it has met."""

    def __init__(
        self,
        schemas: Schemas,
        ids: SchemaIds | None = None,
        *,
        skew_ms: int,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
    ) -> None:
        """`ids` resolves Confluent framing; without it such messages are of an unknown schema."""
        self._schemas = schemas
        self._ids = SchemaIds(schemas) if ids is None else ids
        self._skew_ms = skew_ms
        self._max_message_bytes = max_message_bytes
        self._plans: dict[tuple[str, bytes], _Plan] = {}

    def decode(
        self,
        topic_name: str,
        key: bytes | None,
        value: bytes | None,
        record_timestamp_ms: int,
        headers: Headers = None,
        *,
        trusted: bool = False,
    ) -> tuple[str, Fact]:
        """Return the id of the case and the fact of a record of the topic `ticket`, `dispatch` or `parts`.

        Raises RejectedError with one of `REASONS`, its text free of anything the message says; UnknownSchemaIdError if
        the registry has to be asked first (await `SchemaIds.fetch`, decode again). Nothing else, whatever the bytes.
        """
        if not value:
            raise RejectedError("empty", None, "a message (deleting a record is no void: send voided)")
        if len(value) > self._max_message_bytes:
            raise RejectedError("too_large", None, f"at most {self._max_message_bytes} bytes")
        prefix = value[:_SINGLE_OBJECT_BYTES] if value[:1] == b"\xc3" else value[:_CONFLUENT_BYTES]
        plan = self._plans.get((topic_name, prefix)) or self._plan(topic_name, prefix)
        event = plan.read(value, len(prefix))
        if event is None:
            return self._decode_exactly(topic_name, plan.schema, key, value, record_timestamp_ms, headers, trusted)
        case_id, event_id, event_type, at_ms, fields = event
        if case_id.encode() != key:
            raise _wrong_key()
        delivered_ms = delivery_ms(record_timestamp_ms, headers) if trusted else record_timestamp_ms
        if at_ms > delivered_ms + self._skew_ms:
            return self._decode_exactly(topic_name, plan.schema, key, value, record_timestamp_ms, headers, trusted)
        return case_id, Fact(event_id, topic_name, event_type, at_ms, delivered_ms, fields)

    def _decode_exactly(
        self,
        topic_name: str,
        schema: WriterSchema,
        key: bytes | None,
        value: bytes,
        record_timestamp_ms: int,
        headers: Headers,
        trusted: bool,  # noqa: FBT001
    ) -> tuple[str, Fact]:
        event = _event(topic_name, schema, value)
        case_id = event.get("case_id")
        if not isinstance(case_id, str) or case_id.encode() != key:
            raise _wrong_key()
        delivered_ms = delivery_ms(record_timestamp_ms, headers) if trusted else record_timestamp_ms
        return admit(event, delivered_ms, skew_ms=self._skew_ms)

    def _plan(self, topic_name: str, prefix: bytes) -> _Plan:
        if topic_name not in vocabulary.TOPICS:
            raise ValueError(f"topic_name: expected one of {', '.join(vocabulary.TOPICS)}")
        schema = self._schema(prefix)
        if schema.topic not in {None, topic_name}:
            raise RejectedError("unknown_schema", None, f"a schema of {topic_name}; this one is {schema.name}")
        if len(self._plans) >= MAX_PLANS:
            self._plans.clear()
        plan = self._plans[topic_name, prefix] = _Plan(topic_name, schema)
        return plan

    def _schema(self, prefix: bytes) -> WriterSchema:
        """Return the schema the first bytes of a message name."""
        if prefix[:2] == _SINGLE_OBJECT and len(prefix) == _SINGLE_OBJECT_BYTES:
            schema = self._schemas.by_fingerprint(prefix[2:])
            if schema is None:
                raise RejectedError("unknown_schema", None, f"one of {', '.join(self._schemas.names)}")
            return schema
        if prefix[:1] == b"\x00" and len(prefix) == _CONFLUENT_BYTES:
            try:
                return self._ids.get(int.from_bytes(prefix[1:], "big"))
            except SchemaRefusedError as error:
                raise RejectedError("unknown_schema", None, str(error)) from error
        if prefix[:1] in {b"{", b"["}:
            raise RejectedError("undecodable", None, "Avro, not JSON")
        raise RejectedError("undecodable", None, "Avro in Confluent framing (00) or single-object encoding (C3 01)")

    def encode(self, event: Mapping[str, object], *, schema_id: int | None = None) -> bytes:
        """Write an event of the JSON vocabulary: single-object encoded, or in Confluent framing for a `schema_id`.

        A type the schema does not have is written as Other. Fields the vocabulary does not know are left out.
        Raises RejectedError naming the field that is wrong; SchemaRefusedError or UnknownSchemaIdError for a
        `schema_id` without a schema.
        """
        case_id, fact = admit(event, skew_ms=0)
        asset_id = event.get("asset_id")
        if not (asset_id is None or isinstance(asset_id, str)):
            raise RejectedError("invalid", "asset_id", "text")
        return self._write(case_id, fact, asset_id, event, schema_id)

    def encode_fact(self, case_id: str, fact: Fact, *, schema_id: int | None = None) -> bytes:
        """Write a fact as `encode` writes an event (its delivery time is the record's); raises as that does."""
        return self._write(case_id, fact, fact.text("asset_id"), fact.fields, schema_id)

    def _write(
        self, case_id: str, fact: Fact, asset_id: str | None, event: Mapping[str, object], schema_id: int | None
    ) -> bytes:
        schema = self._schemas.latest(fact.topic) if schema_id is None else self._ids.get(schema_id)
        branch = schema.branch_of(fact.type)
        payload: dict[str, object] = dict(fact.fields)
        if branch is None or fact.type == _OTHER:
            branch = schema.branch_of(_OTHER)
            payload = {"type": fact.type, "attributes": _attributes(event)}
        record = {
            "event_id": fact.event_id,
            "case_id": case_id,
            "at": fact.at_ms,
            "asset_id": asset_id,
            "payload": (branch, payload),
        }
        out = io.BytesIO()
        if schema_id is None:
            out.write(_SINGLE_OBJECT + schema.fingerprint)
        else:
            out.write(b"\x00" + schema_id.to_bytes(4, "big"))
        try:
            fastavro.schemaless_writer(out, schema.parsed, record)
        except Exception as error:
            raise _unwritable({**payload, **record}, schema) from error
        return out.getvalue()


def delivery_ms(record_timestamp_ms: int, headers: Headers) -> int:
    """Return the delivery time of a record of a trusted topic: what its header says, else the record's timestamp.

    The last header of the name counts, as in Kafka's own clients. Raises RejectedError `bad_delivery_header`.
    """
    stated: bytes | None = None
    found = False
    for name, value in headers.items() if isinstance(headers, Mapping) else headers or ():
        if name == DELIVERED_AT:
            stated, found = value, True
    if not found:
        return record_timestamp_ms
    text = stated or b""
    try:
        is_number = text.isdigit() and len(text) <= _MOST_DIGITS
        delivered_ms = int(text) if is_number else instant.parse_instant(text.decode("ascii"))
    except ValueError:
        delivered_ms = -1
    if not 0 <= delivered_ms <= _LAST_INSTANT_MS:
        raise RejectedError("bad_delivery_header", DELIVERED_AT, "RFC 3339 with an offset, or milliseconds")
    return delivered_ms


def _wrong_key() -> RejectedError:
    return RejectedError("wrong_key", "case_id", "as UTF-8 the key of the record")


# ---- the exact way


def _event(topic_name: str, schema: WriterSchema, value: bytes) -> dict[str, object]:
    """Return a message as an event of the JSON vocabulary (times in milliseconds), with nothing of it checked yet."""
    stream = io.BytesIO(value)
    stream.seek(_CONFLUENT_BYTES if value[0] == _CONFLUENT else _SINGLE_OBJECT_BYTES)
    try:
        message = fastavro.schemaless_reader(stream, schema.parsed, None, return_record_name=True)
    except Exception as error:  # noqa: BLE001  # garbage makes fastavro raise a dozen types
        raise RejectedError("undecodable", None, f"{schema.name} ({type(error).__name__})") from None
    if stream.tell() != len(value):
        raise RejectedError("trailing_bytes", None, f"nothing after the {schema.name} record")
    return event_of(topic_name, schema, cast("dict[str, object]", message))


def event_of(topic_name: str, schema: WriterSchema, envelope: Mapping[str, object]) -> dict[str, object]:
    """Return a message as fastavro read it, with the names of records, as an event of the JSON vocabulary.

    Times are in milliseconds; nothing is checked yet, but for times without a zone: those raise RejectedError.
    """
    payload = envelope["payload"]
    branch, content = cast(
        "tuple[str, dict[str, object]]",
        payload if isinstance(payload, tuple) else (schema.branches[0], payload),
    )
    _refuse_naive(schema, "", envelope)
    _refuse_naive(schema, branch, content)
    event_type: object = event_type_of(branch)
    if event_type == _OTHER:
        event_type, content = content.get("type"), _from_attributes(topic_name, content)
    stated = {name: envelope.get(name) for name in ("event_id", "case_id", "at")}
    if envelope.get("asset_id") is not None:
        stated["asset_id"] = envelope["asset_id"]
    return {**content, **stated, "topic": topic_name, "type": event_type}


def _refuse_naive(schema: WriterSchema, branch: str, content: Mapping[str, object]) -> None:
    for name in schema.naive.get(branch, ()):
        if content.get(name) is not None:
            raise RejectedError("naive_time", name, "logicalType timestamp-millis, not a local timestamp")


def _attributes(event: Mapping[str, object]) -> dict[str, str]:
    """Return the fields of an event as the texts that Other carries."""
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in event.items()
        if value is not None and name not in {*vocabulary.ENVELOPE, "asset_id"}
    }


def _from_attributes(topic_name: str, other: Mapping[str, object]) -> dict[str, object]:
    """Return what Other says, read as the fields of its type if this version knows the type after all."""
    event_type, attributes = other.get("type"), other.get("attributes")
    if not isinstance(attributes, dict) or not isinstance(event_type, str):
        return {}
    declared = vocabulary.fields_of(topic_name, event_type) or {}
    content: dict[str, object] = dict(attributes)
    for name, field in declared.items():
        text = attributes.get(name)
        if isinstance(text, str) and field.kind in {"flag", "count", "time"}:
            content[name] = _LITERALS.get(text, int(text) if re.fullmatch(r"-?\d{1,18}", text, re.ASCII) else text)
    return content


_LITERALS: dict[str, bool] = {"true": True, "false": False}


def _unwritable(content: Mapping[str, object], schema: WriterSchema) -> RejectedError:
    """Say which field Avro cannot hold: a number beyond 64 bits, or text that is not Unicode."""
    for name, value in content.items():
        for part in value.values() if isinstance(value, dict) else (value,):
            if isinstance(part, int) and part not in _LONG:
                return RejectedError("invalid", name, "at most 64 bits")
            if isinstance(part, str) and part.encode(errors="replace") != part.encode(errors="surrogatepass"):
                return RejectedError("invalid", name, "text without lone surrogates")
    return RejectedError("invalid", None, f"what {schema.name} can hold")


# ---- the quick way

_TEXT, _CHOICE, _ZONE, _TIME, _COUNT, _FLAG, _ID = range(7)
_KINDS = {"text": _TEXT, "choice": _CHOICE, "zone": _ZONE, "time": _TIME, "count": _COUNT, "flag": _FLAG}
_AVRO = {_TEXT: "string", _CHOICE: "string", _ZONE: "string", _TIME: "long", _COUNT: "long", _FLAG: "boolean"}
_NEVER = -1
_SEVEN_BITS = 0x7F
_MAX_SHIFT = 63
_LATEST_ZIGZAG = 2 * instant.LATEST_MS
_LONGEST_ZIGZAG = 2 * vocabulary.LONGEST_TEXT  # in bytes; what is longer may still be few enough characters
_UNKNOWN = vocabulary.Field("text")

_Event = tuple[str, str, str, int, dict[str, Value]]
"""Case id, event id, type, event time in milliseconds, fields."""


class _Step(NamedTuple):
    """One field to read; `null` and `some` are the bytes by which its union says absent or there (-1: no union)."""

    name: str
    kind: int
    null: int
    some: int
    choices: dict[bytes, str]


class _Branch(NamedTuple):
    event_type: str
    steps: tuple[_Step, ...]
    unknown: tuple[str, ...]
    opened: bool
    window: bool


class _Plan:
    """How to read the messages of one schema on one topic without asking again what each field is."""

    def __init__(self, topic_name: str, schema: WriterSchema) -> None:
        self.schema = schema
        self._envelope: tuple[_Step, ...] = ()
        self._branches: dict[int, _Branch] = {}
        fields = cast("list[dict[str, object]]", schema.parsed["fields"])
        payload = fields[-1]
        if payload["name"] != "payload" or not isinstance(payload["type"], list) or "" in schema.naive:
            return
        declared = {name: vocabulary.Field("text", required=True) for name in ("event_id", "case_id")}
        declared |= {"at": vocabulary.Field("time", required=True), "asset_id": _UNKNOWN}
        envelope = _steps(fields[:-1], declared)
        if envelope is None:
            return
        self._envelope = envelope
        for index, record in enumerate(payload["type"][:64]):
            branch = _branch(topic_name, schema, record)
            if branch is not None:
                self._branches[index << 1] = branch

    def read(self, value: bytes, position: int) -> _Event | None:
        """Return what a message says, None at the slightest doubt about it."""
        try:
            envelope, position = _read(value, position, self._envelope)
            event_type, steps, unknown, opened, window = self._branches[value[position]]
            fields, position = _read(value, position + 1, steps)
            event_id, case_id, at_ms = envelope["event_id"], envelope["case_id"], envelope["at"]
        except (LookupError, ValueError):
            return None
        if position != len(value) or not event_id or not case_id:
            return None
        for name in unknown:
            fields.pop(name, None)
        if opened and "asset_id" in envelope:
            fields["asset_id"] = envelope["asset_id"]
        if window:
            start, end = fields.get("window_start"), fields.get("window_end")
            if (start is None) != (end is None) or (start is not None and end < start):  # type: ignore[operator]
                return None
        return case_id, event_id, event_type, at_ms, fields  # type: ignore[return-value]  # the plan knows their types


def _branch(topic_name: str, schema: WriterSchema, record: object) -> _Branch | None:
    """Return how to read a payload record, None if it is not flat enough to be read quickly."""
    if not isinstance(record, dict) or record["name"] in schema.naive:
        return None
    event_type = event_type_of(record["name"])
    declared = vocabulary.fields_of(topic_name, event_type) or {}
    steps = None if event_type == _OTHER else _steps(record["fields"], declared)
    if steps is None:
        return None
    names = {step.name for step in steps}
    if any(field.required and name not in names for name, field in declared.items()):
        return None
    unknown = tuple(name for name in names if name not in declared)
    return _Branch(event_type, steps, unknown, "asset_id" in declared, "window_start" in declared)


def _steps(fields: list[dict[str, object]], declared: Mapping[str, vocabulary.Field]) -> tuple[_Step, ...] | None:
    steps = []
    for field in fields:
        name, avro = cast("str", field["name"]), field["type"]
        null = some = _NEVER
        if isinstance(avro, list):
            if len(avro) != 2 or "null" not in avro:  # noqa: PLR2004
                return None
            null = avro.index("null") << 1
            some = null ^ 2
            avro = avro[some >> 1]
        known = declared.get(name)
        if known is None:
            kind = {"string": _TEXT, "long": _TIME, "int": _TIME, "boolean": _FLAG}.get(str(avro), _NEVER)
        else:
            kind = _KINDS.get(known.kind, _NEVER)
        if kind == _NEVER or (known and avro != _AVRO[kind]) or (known and known.required and null != _NEVER):
            return None
        if known and known.required and kind == _TEXT:
            kind = _ID
        choices = {choice.encode(): choice for choice in known.choices} if known else {}
        steps.append(_Step(name, kind, null, some, choices))
    return tuple(steps)


def _read(  # noqa: C901, PLR0912, PLR0915  # one flat loop: a call per field would cost more than the reading
    value: bytes, position: int, steps: tuple[_Step, ...]
) -> tuple[dict[str, Value], int]:
    """Read fields from a position on and return them with the position after them; raises LookupError or ValueError.

    A text that runs past the end is cut by the slice and found out by the position, so ends are not checked on the way.
    """
    fields: dict[str, Value] = {}
    for name, kind, null, some, choices in steps:
        if null >= 0:
            which = value[position]
            position += 1
            if which == null:
                continue
            if which != some:
                raise ValueError
        number = value[position]
        position += 1
        if kind == _FLAG:
            if number > 1:
                raise ValueError
            fields[name] = number == 1
            continue
        if number > _SEVEN_BITS:
            number &= _SEVEN_BITS
            shift = 7
            while (byte := value[position]) > _SEVEN_BITS:
                number |= (byte & _SEVEN_BITS) << shift
                shift += 7
                position += 1
                if shift >= _MAX_SHIFT:
                    raise ValueError
            number |= byte << shift
            position += 1
        if kind == _TIME:
            if number & 1 or number > _LATEST_ZIGZAG:
                raise ValueError
            fields[name] = number >> 1
        elif number & 1:  # a negative size or count
            raise ValueError
        elif kind == _COUNT:
            if number > _LATEST_ZIGZAG:
                raise ValueError
            fields[name] = number >> 1
        else:
            if number > _LONGEST_ZIGZAG:
                raise ValueError
            end = position + (number >> 1)
            if kind == _TEXT:
                fields[name] = value[position:end].decode()
            elif kind == _ID:
                if end == position:
                    raise ValueError
                fields[name] = value[position:end].decode()
            elif kind == _CHOICE:
                fields[name] = choices[value[position:end]]
            else:
                zone = value[position:end].decode()
                instant.zone(zone)
                fields[name] = zone
            position = end
    return fields, position
