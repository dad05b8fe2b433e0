"""The schemas, the vocabulary, the examples and the released bytes say the same thing."""

from __future__ import annotations

import io
import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any, get_args

import fastavro
import pytest
from fastavro.read import SchemaResolutionError

from contract.regenerate_bytes import ROOT, digest_of, digests, examples, released
from cxstream.domain import instant, vocabulary
from cxstream.domain.cases import Segment
from cxstream.domain.facts import Fact, admit
from cxstream.domain.verdict import Announced, Verdict
from cxstream.engine.transitions import Announcement
from cxstream.kafka.codec import Codec
from cxstream.kafka.schemas import WITHDRAWN, Schemas, event_type_of, packaged
from cxstream.kafka.verdict_stream import encode

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMAS = Schemas.packaged()
IN_OTHER = {"dispatch": {"value_added"}, "ticket": set(), "parts": set()}
"""Types that are younger than the first version of their schema: a new record would not be FULL_TRANSITIVE."""
CODEC = Codec(SCHEMAS, skew_ms=0)
TIME = {"type": "long", "logicalType": "timestamp-millis"}
AVRO = {
    "text": "string",
    "choice": "string",
    "zone": "string",
    "flag": "boolean",
    "count": "long",
    "time": TIME,
    "changes": {"type": "map", "values": ["null", "boolean", "long", "string"]},
}


def _avsc(topic: str) -> dict[str, Any]:
    return json.loads(SCHEMAS.text(SCHEMAS.latest(topic).name))


def _field(schema: dict[str, Any], name: str) -> dict[str, Any]:
    return next(field for field in schema["fields"] if field["name"] == name)


def _records(topic: str) -> dict[str, dict[str, Any]]:
    return {event_type_of(record["name"]): record for record in _field(_avsc(topic), "payload")["type"]}


def _documented(node: object, path: str) -> Iterator[str]:
    """Yield the path of every record and field without a doc worth the name."""
    if isinstance(node, dict):
        name = f"{path}.{node.get('name', '')}".strip(".")
        if (node.get("type") == "record" or "name" in node) and len(str(node.get("doc", ""))) < 20:
            yield name
        for value in node.values():
            yield from _documented(value, name)
    elif isinstance(node, list):
        for value in node:
            yield from _documented(value, path)


def _known_types() -> list[tuple[str, str]]:
    every = [(topic, name) for topic in vocabulary.TOPICS for name in vocabulary.ANY_TOPIC]
    return [*vocabulary.EVENT_TYPES, *every]


def _cases() -> list[Any]:
    return [
        pytest.param(topic, event, id=f"{topic}/{name}")
        for topic in vocabulary.TOPICS
        for name, event in examples(topic).items()
    ]


@pytest.mark.parametrize("topic", vocabulary.TOPICS)
def test_event_types_are_the_vocabulary(topic: str) -> None:
    """A schema has one payload record per event type it was released with, Other for all later ones, and no more."""
    expected = {name for known, name in _known_types() if known == topic}
    assert set(_records(topic)) == expected - IN_OTHER[topic] | {"other"}


@pytest.mark.parametrize(
    ("topic", "event_type"), [(topic, name) for topic, name in _known_types() if name not in IN_OTHER[topic]]
)
def test_fields_are_the_vocabulary(topic: str, event_type: str) -> None:
    """A payload record has the fields of its type, of the right Avro type, optional unless required, and no more.

    The asset of `opened` rides on the envelope.
    """
    declared = vocabulary.fields_of(topic, event_type) or {}
    record = _records(topic)[event_type]
    assert {field["name"] for field in record["fields"]} == set(declared) - {"asset_id"}
    for field in record["fields"]:
        known = declared[field["name"]]
        avro = AVRO[known.kind]
        assert field["type"] == (avro if known.required else ["null", avro])
        assert ("default" in field, field.get("default")) == (not known.required, None)
        assert field.get("choices", []) == list(known.choices)
        assert field.get("absent_means") == known.default
        assert all(choice in field["doc"] for choice in known.choices)
        assert known.default is None or str(known.default).lower() in field["doc"].lower()


@pytest.mark.parametrize("topic", vocabulary.TOPICS)
def test_envelope(topic: str) -> None:
    """The envelope is event_id, case_id, at and a nullable asset_id; topic and type follow from where a message is."""
    fields = {field["name"]: field["type"] for field in _avsc(topic)["fields"] if field["name"] != "payload"}
    assert fields == {"event_id": "string", "case_id": "string", "at": TIME, "asset_id": ["null", "string"]}


@pytest.mark.parametrize("topic", vocabulary.TOPICS)
def test_everything_is_documented(topic: str) -> None:
    """Every record and every field says what it means."""
    assert list(_documented(_avsc(topic), "")) == []


def test_the_schema_of_verdicts_is_documented() -> None:
    """Every record and every field of what is announced says what it means; choices are named where they are listed."""
    schema = json.loads(packaged("verdict")["verdict/v1"])
    assert list(_documented(schema, "")) == []
    for field in (*schema["fields"], *_field(schema, "old")["type"][1]["fields"]):
        assert all(choice in field["doc"] for choice in field.get("choices", []))
    assert _field(schema, "verdict")["choices"] == list(get_args(Announced))
    assert _field(schema, "unit_kind")["choices"] == ["case", "visit", "commitment", "line"]


def test_the_schema_of_verdicts_is_pinned() -> None:
    """What consumers read by never changes its canonical form: this is the header of every message."""
    message = encode(_an_announcement(), "policy")
    assert message[:10].hex() == "c301730d59cf44d33829"


def _an_announcement() -> Announcement:
    verdict = Verdict("on_time_arrival", "V1", "miss", "late", 0, 0)
    return Announcement(
        "C1", "visit", "V1", "on_time_arrival", 0, None, "miss", "late", verdict, (), None, Segment(), 0
    )


@pytest.mark.parametrize(("topic", "event_type"), _known_types())
def test_every_type_has_an_example(topic: str, event_type: str) -> None:
    """There is an example of every event type."""
    assert event_type in {event["type"] for event in examples(topic).values()}


def test_every_field_has_an_example() -> None:
    """Together the examples use every field and every time, flag and choice kind of every type family."""
    used: set[tuple[str, str]] = set()
    for topic in vocabulary.TOPICS:
        used |= {(topic, name) for event in examples(topic).values() for name in event}
    declared = {(topic, name) for (topic, _), fields in vocabulary.EVENT_TYPES.items() for name in fields}
    assert declared <= used


def test_examples_tell_coherent_cases() -> None:
    """Event ids are unique within a case, and every correction, void and merge names something that is there."""
    events = [event for topic in vocabulary.TOPICS for event in examples(topic).values()]
    ids = [(event["case_id"], event["event_id"]) for event in events]
    assert len(set(ids)) == len(ids)
    assert all((event["case_id"], event["target"]) in ids for event in events if "target" in event)
    assert {event["into"] for event in events if "into" in event} <= {case_id for case_id, _ in ids}
    opened = {event["case_id"] for event in events if event["type"] == "opened"}
    assert opened == {case_id for case_id, _ in ids}


@pytest.mark.parametrize(("topic", "event"), _cases())
def test_example_round_trips(topic: str, event: dict[str, Any]) -> None:
    """An example is the same fact whether it is admitted as JSON or written as Avro and read again."""
    case_id, fact = admit(event, skew_ms=0)
    assert topic == event["topic"]
    delivered_ms = fact.at_ms
    key = event["case_id"].encode()
    assert CODEC.decode(topic, key, CODEC.encode(event), delivered_ms) == (case_id, fact)
    assert CODEC.decode(topic, key, CODEC.encode_fact(case_id, fact), delivered_ms) == (case_id, fact)


@pytest.mark.parametrize(("topic", "event"), _cases())
def test_example_has_nothing_the_schema_lacks(topic: str, event: dict[str, Any]) -> None:
    """An example of a known type has only fields of its type, so that nobody copies one that is dropped."""
    declared = vocabulary.fields_of(topic, event["type"])
    if declared is not None:
        assert set(event) <= {*vocabulary.ENVELOPE, "asset_id", *declared}


@pytest.mark.parametrize(
    "file", sorted(ROOT.glob("*/examples/*.bin")), ids=lambda file: f"{file.parts[-3]}/{file.name}"
)
def test_released_bytes_are_read(file: Any) -> None:  # noqa: ANN401
    """Bytes released with any version of a schema decode to the examples they were written from."""
    topic = file.parts[-3]
    by_id = {(event["case_id"], event["event_id"]): event for event in examples(topic).values()}
    messages = released(file)
    assert messages
    read = [_read(topic, message) for message in messages]
    assert read == [admit(by_id[case_id, fact.event_id], skew_ms=0) for case_id, fact in read]


def _resolved(message: bytes, writer: str, reader: str) -> Any:  # noqa: ANN401
    """Decode a message as Avro's resolution does: written by one version, read by another."""
    schemas = [fastavro.parse_schema(json.loads(_TEXTS[name])) for name in (writer, reader)]
    return fastavro.schemaless_reader(io.BytesIO(message[10:]), *schemas, return_record_name=True)


_TEXTS = {name: text for kind in (*vocabulary.TOPICS, "verdict") for name, text in packaged(kind).items()}
_BY_HEAD = {SCHEMAS.named(name).fingerprint: name for name in SCHEMAS.names}


def _pairs() -> list[tuple[str, str]]:
    """Return every ordered pair of versions of one schema that are written, each with itself too."""
    return [
        (writer, reader)
        for writer in sorted(_TEXTS)
        for reader in sorted(_TEXTS)
        if writer.partition("/")[0] == reader.partition("/")[0] and not {writer, reader} & WITHDRAWN
    ]


@pytest.mark.parametrize(("writer", "reader"), _pairs())
def test_every_version_reads_what_every_other_has_written(writer: str, reader: str) -> None:
    """Schemas are FULL_TRANSITIVE: bytes of each version are read by each other, older and newer, field by field."""
    kind = writer.partition("/")[0]
    messages = _verdicts() if kind == "verdict" else _written(writer)
    assert messages
    for message in messages:
        before, after = _resolved(message, writer, writer), _resolved(message, writer, reader)
        assert _shared(before, after) == _shared(after, before) != {}
        fields = {field["name"] for field in json.loads(_TEXTS[writer])["fields"]}
        assert (
            fields & {field["name"] for field in json.loads(_TEXTS[reader])["fields"]} == _shared(before, after).keys()
        )


def _written(writer: str) -> list[bytes]:
    """Return the released bytes of a version, and the examples as they are written with it today."""
    topic = writer.partition("/")[0]
    old = [message for file in (ROOT / topic / "examples").glob("*.bin") for message in released(file)]
    codec = Codec(Schemas({writer: _TEXTS[writer]}), skew_ms=0)
    now = [codec.encode(event) for event in examples(topic).values()]
    return [message for message in (*old, *now) if _BY_HEAD[message[2:10]] == writer]


def _verdicts() -> list[bytes]:
    return [encode(_an_announcement(), "policy")]


def _shared(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in one.items() if name in other}


def test_a_new_record_in_the_union_is_why_a_version_was_withdrawn() -> None:
    """dispatch/v2 is read and not written: readers of v1 cannot resolve its record value_added."""
    messages = released(ROOT / "dispatch" / "examples" / "v2.bin")
    (message,) = [message for message in messages if _read("dispatch", message)[1].type == "value_added"]
    with pytest.raises(SchemaResolutionError):
        _resolved(message, "dispatch/v2", "dispatch/v1")
    assert SCHEMAS.latest("dispatch").name == "dispatch/v1"


@pytest.mark.parametrize("path", sorted(digests()))
def test_a_released_schema_is_never_changed(path: str) -> None:
    """Every released schema file is, byte by byte, what was released."""
    version = int(path.rpartition("/v")[2].removesuffix(".avsc"))
    assert digest_of(path) == digests()[path], (
        f"schemas/{path} is released, and others write and read by it: put it back, make v{version + 1}.avsc beside it"
        " instead, and release that with tests/contract/regenerate_bytes.py"
    )


def test_every_schema_is_released() -> None:
    """Every schema file has its digest, and the versions of each have no gap."""
    files = {file.relative_to(ROOT).as_posix() for file in ROOT.glob("*/*.avsc")}
    assert files == set(digests()), "release it: python tests/contract/regenerate_bytes.py"
    for kind in {path.partition("/")[0] for path in files}:
        versions = sorted(
            int(path.rpartition("/v")[2].removesuffix(".avsc")) for path in files if path.startswith(kind)
        )
        assert versions[0] == 1
        assert all(after - before == 1 for before, after in pairwise(versions))


@pytest.mark.parametrize("topic", vocabulary.TOPICS)
def test_every_example_is_released(topic: str) -> None:
    """Every example is among the released bytes; `python tests/contract/regenerate_bytes.py` adds a new one."""
    files = (ROOT / topic / "examples").glob("*.bin")
    facts = {_read(topic, message)[1].event_id for file in files for message in released(file)}
    assert facts == {event["event_id"] for event in examples(topic).values()}


def test_fingerprints_of_released_schemas_are_pinned() -> None:
    """A released schema never changes its canonical form: these are the headers that messages carry in topics."""
    fingerprints = {name: SCHEMAS.named(name).fingerprint.hex() for name in SCHEMAS.names}
    assert fingerprints == {
        "dispatch/v1": "8aa888e26e65f2bc",
        "dispatch/v2": "dcf18aa6182f1a1c",
        "parts/v1": "90fee5d161a83d7a",
        "ticket/v1": "272edaf97a6a180c",
    }


def _read(topic: str, message: bytes) -> tuple[str, Fact]:
    """Decode a message whose case is not known beforehand, as delivered when it happened."""
    keys = {event["case_id"].encode() for event in examples(topic).values()}
    key = next(key for key in keys if key in message[10:120] and _decodes(topic, key, message))
    case_id, fact = CODEC.decode(topic, key, message, instant.NEVER_MS)
    return CODEC.decode(topic, case_id.encode(), message, fact.at_ms)


def _decodes(topic: str, key: bytes, message: bytes) -> bool:
    try:
        CODEC.decode(topic, key, message, instant.NEVER_MS)
    except Exception:  # noqa: BLE001  # the key of another case
        return False
    return True
