"""Turns one record into the events it tells, by the map: a function of the record and of what the lookups know."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import NamedTuple

import orjson

from cxstream.domain import vocabulary
from cxstream.domain.facts import RejectedError, admit
from cxstream.intake.mapping import ITEM, Event, IntakeMap, Source, Topic
from cxstream.intake.values import Knows, NotMappedError, Reading, WaitsError, at_path, holds, plain, scalar_of, text_of

_FRAMED = 0
_FRAME_BYTES = 5
"""Before JSON that was written with a schema registry: a zero, and the id of the schema."""


class Raw(NamedTuple):
    """A record as it was read. `timestamp_ms` is when it was written to its topic, None where that is not known."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int | None
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()


class Told(NamedTuple):
    """An event that a record tells, in the JSON vocabulary with times in milliseconds, and when it reached us."""

    event: dict[str, object]
    delivered_ms: int | None
    source: str | None

    @property
    def topic(self) -> str:
        """Return ticket, dispatch or parts."""
        return str(self.event["topic"])

    @property
    def case_id(self) -> str:
        """Return the id of its case."""
        return str(self.event["case_id"])


class Learned(NamedTuple):
    """What a record teaches."""

    lookup: str
    key: str
    value: str


class Mapped(NamedTuple):
    """What becomes of a record: it teaches, and it tells all of its events; or it waits, or is refused, and tells none.

    What it teaches counts however it ends.
    """

    events: tuple[Told, ...] = ()
    learned: tuple[Learned, ...] = ()
    notes: tuple[str, ...] = ()
    waits: WaitsError | None = None
    refused: NotMappedError | None = None


class Mapper:
    """Maps records; it holds nothing but the map."""

    def __init__(self, intake_map: IntakeMap, *, skew_ms: int) -> None:
        """`skew_ms`: an event further ahead of its delivery is refused (rule 1)."""
        self._map = intake_map
        self._topics = {topic.name: topic for topic in intake_map.topics}
        self._skew_ms = skew_ms

    def map(self, raw: Raw, knows: Knows) -> Mapped:
        """Return what becomes of a record of one of the topics of the map. A record without a value tells nothing."""
        topic = self._topics[raw.topic]
        if not raw.value:
            return Mapped()
        try:
            record = _read(raw.value, topic, self._map.limits.message_bytes)
        except NotMappedError as error:
            return Mapped(refused=error)
        reading = Reading(record, knows, topic.time.over(self._map.time), [])
        learned, failed = self._learn(topic, reading)
        if failed is None:
            reading = reading._replace(knows=_also(knows, learned))
            try:
                events = tuple(self._tell(topic, reading, raw))
                return Mapped(events, tuple(learned), tuple(reading.notes))
            except (NotMappedError, WaitsError) as error:
                failed = error
        if isinstance(failed, WaitsError):
            return Mapped(learned=tuple(learned), waits=failed)
        return Mapped(learned=tuple(learned), refused=failed)

    def _learn(self, topic: Topic, reading: Reading) -> tuple[list[Learned], NotMappedError | WaitsError | None]:
        """Return what a record teaches, and why it does not teach or tell all, if so."""
        learned: list[Learned] = []
        failed: NotMappedError | WaitsError | None = None
        for learn in topic.learn:
            if holds(reading.record, learn.when, learn.unless):
                knowing = reading._replace(knows=_also(reading.knows, learned))
                try:
                    key, value = text_of(knowing, learn.key), text_of(knowing, learn.value)
                except (NotMappedError, WaitsError) as error:
                    failed = failed or error
                else:
                    learned += [Learned(learn.lookup, key, value)] if key and value else []
        return learned, failed

    def _tell(self, topic: Topic, reading: Reading, raw: Raw) -> Iterator[Told]:
        delivered_ms = raw.timestamp_ms
        if topic.delivered_at is not None:
            delivered_ms = _time(reading, topic.delivered_at, "delivered_at")
        ids: set[tuple[str, str]] = set()
        for rule in topic.events:
            for one in _elements(reading, rule):
                if not holds(one.record, rule.when, rule.unless):
                    continue
                told = Told(_event(one, rule), delivered_ms, topic.source)
                self._admit(told)
                its_id = told.case_id, str(told.event["event_id"])
                if its_id in ids:
                    mend = "name a path in id that tells them apart"
                    raise NotMappedError("same_id", f"id of {rule.event}", "an id of its own for each event", mend)
                ids.add(its_id)
                if len(ids) > (most := self._map.limits.events_per_record):
                    mend = "raise limits.events_per_record in the map"
                    raise NotMappedError("too_many_events", rule.event, f"at most {most} events of a record", mend)
                yield told

    def _admit(self, told: Told) -> None:
        """Refuse here what a worker would refuse (rule 1), with what a worker would say."""
        try:
            admit(told.event, told.delivered_ms, skew_ms=self._skew_ms)
        except RejectedError as error:
            of = f"{told.event['topic']}.{told.event['type']}"
            mend = f"mend the field {error.field} of {of} in the map, or the system that writes it"
            raise NotMappedError(error.reason, f"{of}, {error.field}", error.expected, mend) from None


def event_id(rule: Event, values: Sequence[str]) -> str:
    """Return the id of an event: of its kind and the values that tell it apart, so the same in every replay."""
    escaped = (value.replace("\\", "\\\\").replace("|", "\\|") for value in values)
    text = f"{rule.event}:{'|'.join(escaped)}"
    if len(text) <= vocabulary.LONGEST_TEXT:
        return text
    return f"{rule.event}:{blake2b(text.encode(errors='surrogatepass'), digest_size=16).hexdigest()}"


def _read(value: bytes, topic: Topic, most_bytes: int) -> object:
    """Return the record in a message. Raises NotMappedError."""
    if len(value) > most_bytes:
        raise NotMappedError(
            "too_large", "value", f"at most {most_bytes} bytes", "raise limits.message_bytes in the map"
        )
    try:
        message = orjson.loads(value[_FRAME_BYTES:] if value[0] == _FRAMED else value)
    except orjson.JSONDecodeError:
        mend = "see what the topic holds: Avro, Protobuf and XML are not read"
        raise NotMappedError("not_json", "value", "a JSON object in UTF-8", mend) from None
    record = at_path(message, topic.root) if topic.root else message
    if not isinstance(record, dict):
        where = topic.root or "value"
        raise NotMappedError("not_json", where, "a JSON object", "mend root in the map, or see what the topic holds")
    return record


def _also(knows: Knows, learned: Sequence[Learned]) -> Knows:
    """Return what is known, and what a record itself has just taught."""
    taught = {(one.lookup, one.key): one.value for one in learned}
    return lambda lookup, key: knows(lookup, key) or taught.get((lookup, key))


def _elements(reading: Reading, rule: Event) -> Iterator[Reading]:
    """Yield the record, or one for each element of a list of it."""
    if rule.each is None:
        yield reading
        return
    listed = at_path(reading.record, rule.each)
    if listed is None:
        return
    if not isinstance(listed, list):
        raise NotMappedError("bad_value", rule.each, "a list", f"mend each of {rule.event} in the map")
    for one in listed:
        record = reading.record if isinstance(reading.record, dict) else {}
        yield reading._replace(record={**record, ITEM: one})


def _event(reading: Reading, rule: Event) -> dict[str, object]:
    case_id = text_of(reading, rule.case)
    if case_id is None:
        raise _missing(rule.case, f"case of {rule.event}")
    values = []
    for path in rule.id:
        value = plain(at_path(reading.record, path))
        if value is None:
            raise NotMappedError("missing", path, f"a value, which the id of {rule.event} is made of", _SEND_IT)
        values.append(value)
    event: dict[str, object] = {
        "event_id": event_id(rule, values),
        "topic": rule.topic,
        "type": rule.type,
        "case_id": case_id,
        "at": _time(reading, rule.at, f"at of {rule.event}"),
    }
    declared = vocabulary.fields_of(rule.topic, rule.type) or {}
    for name, given in rule.fields.items():
        found = scalar_of(reading, given, declared[name].kind)
        if found is not None:
            event[name] = found
        elif declared[name].required:
            raise _missing(given, f"{name} of {rule.event}")
    return event


_SEND_IT = "have it sent, or leave out such records with when or unless"


def _time(reading: Reading, value: Sequence[Source], what: str) -> int:
    found = scalar_of(reading, value, "time")
    if found is None:
        raise _missing(value, what)
    return int(found)


def _missing(value: Sequence[Source], what: str) -> NotMappedError:
    paths = " or ".join(path for source in value for path in source.path or ()) or what
    return NotMappedError("missing", paths, f"a value for {what}", _SEND_IT)
