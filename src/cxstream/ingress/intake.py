"""A body becomes records for Kafka here, event by event, or a problem for each that a worker would refuse."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import orjson

from cxstream.domain.facts import RejectedError, admit
from cxstream.ingress import problems
from cxstream.ingress.problems import Problem
from cxstream.kafka.codec import Codec

JSON = "application/json"
NDJSON = "application/x-ndjson"
CONTENT_TYPES = {JSON: JSON, NDJSON: NDJSON, "application/ndjson": NDJSON, "application/jsonl": NDJSON}
"""Content types that are taken, and which of the two forms each is."""
LONGEST_ID = 1024


class Record(NamedTuple):
    """What is produced of an event; `topic` is ticket, dispatch or parts."""

    topic: str
    key: bytes
    value: bytes


@dataclass(slots=True)
class Item:
    """One event of a request, and what became of it so far."""

    event_id: str | None
    record: Record | None = None
    problem: Problem | None = None
    same_as: int | None = None
    """The index of an earlier item with the same event, which is produced once."""


class MalformedError(Exception):
    """A body that cannot be read at all; the text says what was expected."""


class TooManyError(Exception):
    """A body of more events than are taken at a time."""


class Batch(NamedTuple):
    """The events of a body: JSON values, or the problem of a line that is none."""

    events: Sequence[object]
    is_single: bool
    """True for one JSON object, which is answered without a list."""


def read_body(body: bytes, form: str, max_events: int) -> Batch:
    """Read a body as one event, an array or lines of them; `form` is JSON or NDJSON.

    Raises MalformedError, TooManyError. A line that is no JSON is an item with a problem, not an error.
    """
    if form == NDJSON:
        lines = [line for line in re.split(rb"\r?\n", body) if line.strip()]
        if len(lines) > max_events:
            raise TooManyError
        events: list[object] = [_line(line) for line in lines]
        is_single = False
    else:
        try:
            read = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise MalformedError(f"expected JSON in UTF-8 ({_place(error)})") from None
        is_single = isinstance(read, dict)
        if not is_single and not isinstance(read, list):
            raise MalformedError("expected one event (a JSON object) or an array of events")
        events = [read] if is_single else read
        if len(events) > max_events:
            raise TooManyError
    if not events:
        raise MalformedError("expected at least one event")
    return Batch(events, is_single)


def _line(line: bytes) -> object:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return Problem(problems.INVALID, f"expected a JSON object in UTF-8 ({_place(error)})")


def _place(error: orjson.JSONDecodeError) -> str:
    """Say where JSON ends, without the text that is there."""
    return f"line {error.lineno}, column {error.colno}"


class Intake:
    """Judges events as the edge of a worker will, and writes them as it reads them."""

    def __init__(self, codec: Codec, schema_ids: Mapping[str, int], *, skew_ms: int) -> None:
        """`schema_ids` are the ids to frame events with by topic; without one single-object encoding is written."""
        self._codec = codec
        self._schema_ids = schema_ids
        self._skew_ms = skew_ms

    def items(self, events: Sequence[object], now_ms: int) -> list[Item]:
        """Return what becomes of the events of a request that are delivered now (milliseconds)."""
        items: list[Item] = []
        first: dict[tuple[str, str], tuple[int, bytes]] = {}
        for event in events:
            items.append(self._item(event, now_ms, first, len(items)))
        return items

    def _item(self, event: object, now_ms: int, first: dict[tuple[str, str], tuple[int, bytes]], index: int) -> Item:
        if isinstance(event, Problem):
            return Item(None, problem=event)
        if not isinstance(event, dict):
            return Item(None, problem=Problem(problems.INVALID, "expected a JSON object"))
        given = event.get("event_id")
        event_id = given if isinstance(given, str) and len(given) <= LONGEST_ID else None
        try:
            case_id, record, payload = self._judge(event, now_ms)
        except RejectedError as error:
            kind = problems.OF_EVENTS.get(error.reason, problems.INVALID)
            return Item(event_id, problem=Problem(kind, f"expected {error.expected}", error.field))
        except RecursionError:
            return Item(event_id, problem=Problem(problems.INVALID, "expected fields that are not nested so deep"))
        known = first.setdefault((case_id, str(event_id)), (index, payload))
        if known[0] == index:
            return Item(event_id, record=record)
        if known[1] == payload:
            return Item(event_id, same_as=known[0])
        detail = f"expected the event of item {known[0]}, which has this event_id and case_id"
        return Item(event_id, problem=Problem(problems.CONFLICT, detail, "event_id"))

    def _judge(self, event: Mapping[str, object], now_ms: int) -> tuple[str, Record, bytes]:
        """Return case, record and content of an event. Raises RejectedError with a reason of `problems.OF_EVENTS`.

        What is written is read back: so nothing is accepted here that a worker would refuse.
        """
        case_id, stated = admit(event, now_ms, skew_ms=self._skew_ms)
        value = self._codec.encode(event, schema_id=self._schema_ids.get(stated.topic))
        key = case_id.encode()
        _case_id, fact = self._codec.decode(stated.topic, key, value, now_ms)
        return case_id, Record(stated.topic, key, value), fact.payload()
