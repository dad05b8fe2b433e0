"""The map of an intake: what its TOML file may say, and what is wrong with one, each with its place and its mend."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from annotated_types import Len, MaxLen
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, StringConstraints, ValidationError
from pydantic_core import ErrorDetails

from cxstream.config import types as t
from cxstream.domain import instant, vocabulary
from cxstream.domain.instant import DAY_MS
from cxstream.kafka.dead_letters import SUFFIX

MAX_FILE_BYTES = 1024 * 1024
ITEM = "item"
"""The path of the element an event with `each` is made of."""
ISO, EPOCH_MS, EPOCH_S = "iso", "epoch_ms", "epoch_s"

Scalar = str | int | bool


def _format(given: str) -> str:
    if given in (ISO, EPOCH_MS, EPOCH_S):
        return given
    moment = datetime(2026, 11, 23, 14, 15, 16, tzinfo=UTC)
    try:
        read = datetime.strptime(moment.strftime(given), given)  # noqa: DTZ007  # times without an offset are the point
    except ValueError:
        read = None
    if "%" not in given or read is None or read.date() != moment.date():
        raise ValueError(f"found {t.shown(given)}")
    return given


def _zone(given: str) -> str:
    try:
        instant.zone(given)
    except ValueError:
        raise ValueError(f"found {t.shown(given)}") from None
    return given


def _alternatives(given: object) -> object:
    """Read a path for itself, a table, or a list of these."""
    listed = given if isinstance(given, list) else [given]
    return [{"path": one} if isinstance(one, str) else one for one in listed]


def _listed(given: object) -> object:
    return [given] if isinstance(given, str) else given


def _texts(given: object) -> object:
    """Read one text or number, or a list of them, as the texts they are compared as; true and false stay."""
    if isinstance(given, bool):
        return given
    listed = given if isinstance(given, list) else [given]
    return [str(one) if isinstance(one, int) and not isinstance(one, bool) else one for one in listed]


PathIn = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Paths = Annotated[tuple[PathIn, ...], BeforeValidator(_listed), Len(1, 16)]
TimeFormat = Annotated[str, AfterValidator(_format)]
Zone = Annotated[str, AfterValidator(_zone)]
Condition = Annotated[t.Flag | tuple[str, ...], BeforeValidator(_texts)]
Conditions = Annotated[dict[PathIn, Condition], MaxLen(16)]


class Part(BaseModel, frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True):
    """A table of the file. What a field's docstring says is what an error tells to put there."""


class Times(Part):
    """How times are written; what a value does not say its topic says, else the whole map."""

    format: TimeFormat | None = None
    """`iso` (RFC 3339, the offset may be missing), `epoch_ms`, `epoch_s`, or strptime's words for a date and a time,
    like "%Y-%m-%d %H:%M:%S"."""
    zone: Zone | None = None
    """The IANA zone of times without an offset, like "Europe/Berlin" or "UTC"."""
    zone_path: PathIn | None = None
    """Where a record states that zone itself; `zone` is for those that do not."""
    gap: Literal["refuse", "shift"] | None = None
    """What to do with a time the clocks left out when they went forward: `refuse` the record, or `shift` the time by
    what was left out."""
    overlap: Literal["first", "second", "refuse"] | None = None
    """Which of the two instants a time is that the clocks showed twice when they went back: `first`, `second`, or
    `refuse` the record."""

    @property
    def needs_zone(self) -> bool:
        """Return whether no time of this format could be read: it has no offset, and there is no zone."""
        form = self.format or ISO
        with_offset = form in (ISO, EPOCH_MS, EPOCH_S) or "%z" in form
        return not with_offset and self.zone is None and self.zone_path is None

    def over(self, other: Times) -> Times:
        """Return these, with what they leave open from `other`."""
        if self.model_fields_set.isdisjoint(Times.model_fields):
            return other
        stated = {name: getattr(self, name) for name in Times.model_fields if getattr(self, name) is not None}
        return Times.model_construct(**{**{name: getattr(other, name) for name in Times.model_fields}, **stated})


class Source(Times):
    """One way to a value: where it is in the record, and what is made of it."""

    path: Paths | None = None
    """Where the value is: a path like "u_site.region", or several, of which the first that is there counts."""
    constant: Scalar | None = None
    """The value itself, instead of a path."""
    values: Annotated[dict[str, Scalar], MaxLen(1000)] = {}
    """Our value for each of theirs, like { "1" = "P1", "2" = "P2" }."""
    otherwise: Scalar | None = None
    """Our value for all of theirs that `values` does not name; without it they are refused."""
    lookup: t.Name | None = None
    """The lookup that what is found at the path is a key of: the value is what was learned for it."""


Value = Annotated[tuple[Source, ...], BeforeValidator(_alternatives), Len(1, 8)]


class Learn(Part):
    """What a record teaches a lookup."""

    lookup: t.Name
    """The name of the lookup, as `lookup = "..."` of a value names it."""
    key: Value
    """What is known elsewhere, like the id of a work order: a path."""
    value: Value
    """What it stands for, like the id of its case: a path, or a value by another lookup."""
    when: Conditions = {}
    """Only records of which all of this holds: path = "text", a list of texts, true (is there) or false (is not)."""
    unless: Conditions = {}
    """Not records of which any of this holds."""


class Event(Part):
    """An event that a record tells."""

    event: Annotated[str, StringConstraints(pattern=r"^[a-z]+\.[a-z_]+$")]
    """Topic and type of the event, like "dispatch.arrived"."""
    case: Value
    """The id of the case, or a lookup of it by what the record knows, like { lookup = "order", path = "parent" }."""
    at: Value
    """When it happened in the world: the path of a time."""
    id: Paths
    """Paths whose values tell this event from all others of its type and case, the same in every copy of it: the
    event id is made of them, so that a replay is a duplicate."""
    fields: Annotated[dict[str, Value], MaxLen(50)] = {}
    """The fields of the event: a path, { path, values, ... }, { constant = ... }, or a list of these."""
    when: Conditions = {}
    """Only records of which all of this holds: path = "text", a list of texts, true (is there) or false (is not)."""
    unless: Conditions = {}
    """Not records of which any of this holds."""
    each: PathIn | None = None
    """The path of a list: an event for each of its elements, which paths that begin with "item." then read."""

    @property
    def topic(self) -> str:
        """Return ticket, dispatch or parts."""
        return self.event.partition(".")[0]

    @property
    def type(self) -> str:
        """Return the type within the topic."""
        return self.event.partition(".")[2]


class Topic(Part):
    """A topic that is read, and what its records tell."""

    name: t.Topic
    """The name of the topic."""
    source: t.Label | None = None
    """The name of the system behind it, for the header `cxstream-source` of its events."""
    root: PathIn | None = None
    """Where the record is in the message, like "payload.after" or "result"; without it, it is the message."""
    snapshots: t.Flag = False
    """True if every record is a row as it stands, which tells again what earlier ones told: events that were told
    before are left out, as far as this process remembers."""
    delivered_at: Value | None = None
    """When it reached us: the path of a time. Without it: when the record was written to its topic."""
    time: Times = Times()
    """How times are written in this topic: a table of format, zone, zone_path, gap, overlap."""
    learn: Annotated[tuple[Learn, ...], MaxLen(20)] = ()
    """A list of tables [[topics.learn]]."""
    events: Annotated[tuple[Event, ...], MaxLen(100)] = ()
    """A list of tables [[topics.events]]."""


class Limits(Part):
    """What the intake holds or takes at most."""

    parked_for: t.Span = 7 * DAY_MS
    """How long a record waits for a lookup: a duration like "7d" or "36h"."""
    parked_records: t.Whole = Field(10_000, ge=1, le=1_000_000)
    """So many records wait at most: a whole number from 1 to 1000000."""
    parked_bytes: t.Whole = Field(64 * 1024 * 1024, ge=1024, le=4 * 1024**3)
    """So many bytes of records wait at most: a whole number from 1024 to 4294967296."""
    lookup_keys: t.Whole = Field(1_000_000, ge=1, le=50_000_000)
    """So many keys are known at most, of all lookups: a whole number from 1 to 50000000."""
    lookup_kept: t.Span = 400 * DAY_MS
    """How long a key is known after it was last learned: a duration like "400d"."""
    message_bytes: t.Whole = Field(1024 * 1024, ge=1024, le=4 * 1024 * 1024)
    """A longer message is refused unread: a whole number from 1024 to 4194304."""
    events_per_record: t.Whole = Field(200, ge=1, le=10_000)
    """A record that tells more events is refused: a whole number from 1 to 10000."""
    remembered_events: t.Whole = Field(200_000, ge=0, le=10_000_000)
    """So many events of topics with `snapshots` are remembered: a whole number from 0 to 10000000."""
    batch_records: t.Whole = Field(500, ge=1, le=10_000)
    """So many records are handled at a time: a whole number from 1 to 10000."""


class IntakeMap(Part):
    """The whole file."""

    name: t.Name
    """A name for this intake; its consumer group and its state are named after it."""
    time: Times = Times()
    """How times are written where neither topic nor value says: a table of format, zone, zone_path, gap, overlap."""
    limits: Limits = Limits()
    """A table of limits."""
    topics: Annotated[tuple[Topic, ...], Len(1, 50)]
    """A list of 1 to 50 tables [[topics]]."""

    def topic(self, name: str) -> Topic:
        """Return a topic by its name; raises KeyError."""
        return next((topic for topic in self.topics if topic.name == name), None) or self._unknown(name)

    @staticmethod
    def _unknown(name: str) -> Topic:
        raise KeyError(name)


class Problem(NamedTuple):
    """One thing that is wrong with a map: where, what, and how to mend it."""

    place: str
    wrong: str
    expected: str

    def __str__(self) -> str:
        """Return it as one sentence."""
        return f"{self.place}: {self.wrong}; expected {self.expected}"


class MappingError(Exception):
    """A map that cannot be used; `problems` are all that were found."""

    def __init__(self, path: Path | None, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        head = f"{path or 'the map'}: {count} thing{'s are' if count > 1 else ' is'} wrong:"
        super().__init__("\n  ".join([head, *map(str, self.problems)]))


def load(path: Path) -> IntakeMap:
    """Read a map from its file. Raises MappingError with all that is wrong."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise MappingError(path, [Problem("file", "it is larger", f"at most {MAX_FILE_BYTES} bytes")])
        return read(content.decode(), path)
    except OSError as error:
        raise MappingError(path, [Problem("file", f"it cannot be read ({error.strerror})", "a TOML file")]) from None
    except UnicodeDecodeError:
        raise MappingError(path, [Problem("file", "it is not UTF-8", "a TOML file")]) from None


def read(text: str, path: Path | None = None) -> IntakeMap:
    """Read a map from its text. Raises MappingError with all that is wrong."""
    try:
        tree = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise MappingError(path, [Problem("file", f"it is not TOML ({error})", "a TOML file")]) from None
    try:
        intake_map = IntakeMap.model_validate(tree)
    except ValidationError as refused:
        found = [_problem(error, tree) for error in refused.errors(include_url=False)]
        places = dict.fromkeys(one.place for one in found)  # one that may be of several types is wrong as each of them
        raise MappingError(path, [next(one for one in found if one.place == place) for place in places]) from None
    problems = list(_clashes(intake_map))
    if problems:
        raise MappingError(path, problems)
    return intake_map


# --- what is wrong with single values


def _problem(error: ErrorDetails, tree: dict[str, Any]) -> Problem:
    loc = error["loc"]
    if error["type"] == "extra_forbidden":
        part = _part_at(loc[:-1])
        known = part.model_fields if part else ()
        expected = t.nearest(str(loc[-1]), known) or f"one of {', '.join(known)}"
        return Problem(_place(loc, tree), "there is no such name", expected)
    expected = _about(loc)
    match error["type"]:
        case "missing":
            return Problem(_place(loc, tree), "not there", expected)
        case "value_error":
            return Problem(_place(loc, tree), str(error["ctx"]["error"]), expected)
        case "too_short" | "too_long":
            return Problem(_place(loc, tree), f"found {len(error['input'])} items", expected)
        case _:
            return Problem(_place(loc, tree), f"found {t.shown(error['input'])}", expected)


_OF_TYPES = frozenset({"[key]", "str", "int", "bool"})
"""What pydantic adds to a place for the alternatives of a type."""


def _place(loc: Iterable[int | str], tree: object) -> str:
    """Say where in the file: lists counted from 1, with the name of the topic or event."""
    words: list[str] = []
    for key in loc:
        if isinstance(key, int):
            tree = tree[key] if isinstance(tree, list) and key < len(tree) else None
            called = (
                next((tree[name] for name in ("name", "event", "lookup") if name in tree), None)
                if isinstance(tree, dict)
                else None
            )
            if words and words[-1] in ("topics", "events", "learn"):
                words[-1] += f" {key + 1}" + (f" ({t.shown(called)[1:-1]})" if isinstance(called, str) else "")
        elif key not in _OF_TYPES and not key.startswith(("function-", "tuple[", "constrained-")):
            words.append(key)
            tree = tree.get(key) if isinstance(tree, dict) else None
    return ", ".join(words) or "file"


def _parts_in(kind: Any) -> Iterator[type[Part]]:  # noqa: ANN401  # a type is a value of any type
    if isinstance(kind, type) and issubclass(kind, Part):
        yield kind
    elif get_origin(kind) in (Union, UnionType, tuple, Annotated, dict):
        for inner in get_args(kind):
            yield from _parts_in(inner)


def _part_at(loc: Iterable[int | str]) -> type[Part] | None:
    """Return the kind of table at a place of the file."""
    part: type[Part] | None = IntakeMap
    for key in loc:
        if part is not None and isinstance(key, str) and key in part.model_fields:
            field = part.model_fields[key]
            part = next(_parts_in(field.annotation), None)
    return part


def _about(loc: tuple[int | str, ...]) -> str:
    """Return what is to be at a place: what the field there says of itself, else the one it is within."""
    about = "a table"
    part: type[Part] | None = IntakeMap
    for key in loc:
        if part is not None and isinstance(key, str) and key in part.model_fields:
            field = part.model_fields[key]
            about = (field.description or "").replace("\n", " ").removesuffix(".")
            part = next(_parts_in(field.annotation), None)
    return about[:1].lower() + about[1:]


# --- what is wrong with values together


def _clashes(intake_map: IntakeMap) -> Iterator[Problem]:
    taught = {learn.lookup for topic in intake_map.topics for learn in topic.learn}
    names = Counter(topic.name for topic in intake_map.topics)
    for number, topic in enumerate(intake_map.topics, 1):
        place = f"topics {number} ({topic.name})"
        if names[topic.name] > 1:
            yield Problem(place, f"{names[topic.name]} tables have this name", "one table for each topic")
        if topic.name.endswith(SUFFIX):
            yield Problem(place, "it is a topic of dead letters", "a topic that other systems write to")
        if not topic.learn and not topic.events:
            yield Problem(place, "it tells and teaches nothing", "[[topics.events]] or [[topics.learn]]")
        times = topic.time.over(intake_map.time)
        if topic.delivered_at is not None:
            yield from _wrong_value(f"{place}, delivered_at", topic.delivered_at, taught, "time", times)
        for index, learn in enumerate(topic.learn, 1):
            at = f"{place}, learn {index} ({learn.lookup})"
            for name, value in (("key", learn.key), ("value", learn.value)):
                yield from _wrong_value(f"{at}, {name}", value, taught, "text", times)
        for index, event in enumerate(topic.events, 1):
            yield from _wrong_event(f"{place}, events {index} ({event.event})", event, taught, times)


def _wrong_event(place: str, event: Event, taught: Collection[str], times: Times) -> Iterator[Problem]:
    declared = vocabulary.fields_of(event.topic, event.type) if event.topic in vocabulary.TOPICS else None
    if declared is None:
        known = {f"{topic}.{name}" for topic, name in vocabulary.EVENT_TYPES}
        expected = t.nearest(event.event, known, "{}, perhaps") or "a topic and a type of docs/rules.md, section 1"
        yield Problem(place, "there is no such event", expected.removesuffix(", perhaps"))
        return
    if any(field.kind == "changes" for field in declared.values()):
        yield Problem(place, "corrections cannot be mapped", "the event as it is now told, or `voided`")
        return
    yield from _wrong_value(f"{place}, case", event.case, taught, "text", times)
    yield from _wrong_value(f"{place}, at", event.at, taught, "time", times)
    for name, value in event.fields.items():
        if name not in declared:
            near = t.nearest(name, declared, " (did you mean {}?)")
            fields = f"one of {', '.join(declared)}{near}" if declared else "no fields: it has none"
            yield Problem(f"{place}, fields, {name}", "there is no such field", fields)
            continue
        field = declared[name]
        yield from _wrong_value(f"{place}, fields, {name}", value, taught, field.kind, times, field.choices)
    for name, field in declared.items():
        if field.required and name not in event.fields:
            yield Problem(f"{place}, fields", f"{name} is not there", f"{name}, which {event.event} needs")
    if ("window_start" in event.fields) != ("window_end" in event.fields):
        yield Problem(f"{place}, fields", "a window has one end", "both window_start and window_end")


_WORDS = {
    "flag": "true or false",
    "count": "a whole number, 0 or more",
    "zone": "an IANA time zone, like America/Chicago",
}


def _wrong_value(
    place: str,
    value: tuple[Source, ...],
    taught: Collection[str],
    kind: str,
    times: Times,
    choices: Collection[str] = (),
) -> Iterator[Problem]:
    for source in value:
        for wrong, expected in _wrong_source(source, kind, times):
            yield Problem(place, wrong, expected)
        if source.lookup is not None and source.lookup not in taught:
            near = t.nearest(source.lookup, taught, " (did you mean {}?)")
            expected = f"one of {', '.join(sorted(taught)) or 'those of [[topics.learn]]'}{near}"
            yield Problem(place, f"no topic teaches the lookup {t.shown(source.lookup)}", expected)
        stated = [one for one in (source.constant, source.otherwise, *source.values.values()) if one is not None]
        for one in stated:
            if not _fits(one, kind, choices):
                near = t.nearest(str(one), choices, ", perhaps {}")
                yield Problem(place, f"found {t.shown(one)}", _expected(kind, choices) + near)


def _wrong_source(source: Source, kind: str, times: Times) -> Iterator[tuple[str, str]]:
    """Yield what of a value does not go together, and what is expected."""
    if (source.path is None) == (source.constant is None):
        found = "neither path nor constant" if source.path is None else "both path and constant"
        yield found, "a path, or a constant"
    if source.constant is not None and (source.values or source.lookup):
        yield "a constant with values or a lookup", "a path with them, or the constant alone"
    if kind == "time" and (source.values or source.lookup):
        yield "a time with values or a lookup", "the path of a time"
    if source.otherwise is not None and not source.values:
        yield "otherwise without values", "values beside it (for what is missing: a list with a constant at its end)"
    if kind == "time" and source.path is not None and source.over(times).needs_zone:
        yield "its format has no offset, and it has no zone", 'zone = "UTC", or the zone it is written in'


def _expected(kind: str, choices: Collection[str]) -> str:
    if kind == "choice":
        return f"one of {', '.join(choices)}"
    return _WORDS.get(kind, "a path: a time cannot be a constant" if kind == "time" else "text")


def _fits(given: Scalar, kind: str, choices: Collection[str]) -> bool:
    match kind:
        case "choice":
            return given in choices
        case "flag":
            return isinstance(given, bool)
        case "count":
            return isinstance(given, int) and not isinstance(given, bool) and given >= 0
        case "time":
            return False
        case "zone":
            try:
                instant.zone(str(given))
            except ValueError:
                return False
            return True
        case _:
            return isinstance(given, str) and re.fullmatch(r"\s*", given) is None
