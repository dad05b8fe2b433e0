"""Makes of an event the record a worker takes: right topic, key, partition and bytes, or an error before sending."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from cxstream.client.event import Event
from cxstream.config.settings import Topics
from cxstream.domain import vocabulary
from cxstream.domain.facts import RejectedError, admit
from cxstream.domain.policy import Policy
from cxstream.kafka.codec import DELIVERED_AT, Codec
from cxstream.kafka.partitioner import partition_of as of_key
from cxstream.kafka.schemas import SchemaIds, Schemas
from cxstream.offline.events_file import read_event

DEFAULT_TOPICS: Mapping[str, str] = MappingProxyType(Topics().by_kind())
"""The source topics by kind, where nothing else is configured."""

SEEN = "seen"
"""A field of event files, not of events: when it was delivered."""


class Record(NamedTuple):
    """What is sent of an event."""

    topic: str
    key: bytes
    value: bytes
    headers: Sequence[tuple[str, bytes]]
    event: Mapping[str, object]
    """The event in the JSON vocabulary."""


def partition_of(case_id: str, partitions: int) -> int:
    """Return the partition of a case: murmur2 of its UTF-8 bytes, as Java clients have it by themselves."""
    return of_key(case_id.encode(), partitions)


def partitioner(key: bytes | None, every: Sequence[int], _available: Sequence[int]) -> int:
    """Choose the partition of a key among all of a topic, whether their leaders are known or not; for aiokafka."""
    return sorted(every)[of_key(key, len(every))]


class Records:
    """Makes records: single-object encoded, or in Confluent framing where the registry's id of a schema is given."""

    def __init__(
        self,
        wall_ms: Callable[[], int],
        topics: Mapping[str, str] = DEFAULT_TOPICS,
        schema_ids: Mapping[int, str] = MappingProxyType({}),
        *,
        skew_ms: int = Policy().clock_skew_ms,
        allow_unknown: bool = False,
    ) -> None:
        """Take the wall clock, the topics by kind, and schema ids like {7: "ticket/v1"}.

        With `allow_unknown` types and fields this version does not know are let through (unknown fields are not sent).
        Raises ValueError for a kind of topic there is none of, KeyError for a schema id of a schema that is not there.
        """
        for kind in topics:
            if kind not in DEFAULT_TOPICS:
                raise ValueError(f"topics: expected {', '.join(DEFAULT_TOPICS)}, found {kind!r}")
        schemas = Schemas.packaged()
        self._wall_ms = wall_ms
        self._topics = {**DEFAULT_TOPICS, **topics}
        self._codec = Codec(schemas, SchemaIds(schemas, schema_ids), skew_ms=skew_ms)
        newest = {schemas.latest(topic).name: topic for topic in vocabulary.TOPICS}
        self._ids = {newest[name]: schema_id for schema_id, name in schema_ids.items() if name in newest}
        self._skew_ms = skew_ms
        self._allow_unknown = allow_unknown

    def of(self, event: Event | Mapping[str, object]) -> Record:
        """Return the record of an event.

        Raises RejectedError, naming the field, for one no worker would take; and, unless unknown ones are allowed, for
        one of a type or with fields that a worker does not know and would ignore.
        """
        document = event.document() if isinstance(event, Event) else event
        told = {name: value for name, value in document.items() if name != SEEN}
        seen = document.get(SEEN)
        if seen is None:
            case_id, fact = admit(told, self._wall_ms(), skew_ms=self._skew_ms)
        else:
            case_id, fact = read_event(document, self._skew_ms)
        if not self._allow_unknown:
            refuse_unknown(told)
        headers = [(DELIVERED_AT, str(seen).encode())] if seen is not None else []
        value = self._codec.encode(told, schema_id=self._ids.get(fact.topic))
        return Record(self._topics[fact.topic], case_id.encode(), value, headers, told)


def refuse_unknown(event: Mapping[str, object]) -> None:
    """Raise RejectedError `unknown_type` or `unknown_field`, which names them all, for what a worker ignores."""
    found = unknown(event)
    if len(found) > 1:
        fields = ", ".join(str(one.field) for one in found)
        raise RejectedError(found[0].reason, fields, "; ".join(f"for {one.field} {one.expected}" for one in found))
    for one in found:
        raise one


def unknown(event: Mapping[str, object]) -> list[RejectedError]:
    """Return what a worker would ignore in silence of an admitted event: its type, or each field it does not know."""
    topic, event_type = str(event["topic"]), str(event["type"])
    declared = vocabulary.fields_of(topic, event_type)
    if declared is None:
        known = [name for of, name in vocabulary.EVENT_TYPES if of == topic] + [*vocabulary.ANY_TOPIC]
        elsewhere = [of for of, name in vocabulary.EVENT_TYPES if name == event_type]
        hint = f" ({event_type} is of the topic {elsewhere[0]})" if elsewhere else nearest(event_type, known)
        return [RejectedError("unknown_type", "type", f"a type of the topic {topic}{hint}")]
    names = {*declared, *vocabulary.ENVELOPE, "asset_id"}
    found = []
    for name in (name for name in event if name not in names):
        hint = nearest(name, names) or f" ({', '.join(sorted(declared)) or 'it has none of its own'})"
        found.append(RejectedError("unknown_field", name, f"a field of {topic}.{event_type}{hint}"))
    return found


def nearest(name: str, known: Sequence[str] | set[str]) -> str:
    """Return which known name was meant, in words; nothing if none is like it."""
    return "".join(f", perhaps {one}" for one in difflib.get_close_matches(name, sorted(known), n=1))
