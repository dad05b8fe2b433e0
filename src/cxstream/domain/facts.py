"""A fact is one admitted event of one case; admission is the only way to make one (rule 1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from cxstream.domain import instant, vocabulary

Scalar = str | int | bool | None
Value = Scalar | dict[str, Scalar]
Reason = Literal["naive_time", "future", "invalid"]


class Fact(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one event of a case says, with the time it reached us.

    `at_ms` is event time (when it happened), `delivered_ms` delivery time, both milliseconds since the epoch. `fields`
    holds only what the event states beyond the envelope, instants in milliseconds; `field()` knows the defaults.
    """

    event_id: str
    topic: str
    type: str
    at_ms: int
    delivered_ms: int
    fields: dict[str, Value] = {}

    def text(self, name: str) -> str | None:
        """Return a text or choice field or its default; None if neither is there."""
        value = self.fields.get(name)
        return value if isinstance(value, str) else _DEFAULT_TEXTS.get((self.topic, self.type, name))

    def instant_ms(self, name: str) -> int | None:
        """Return a time field in milliseconds, None if the event does not state it."""
        value = self.fields.get(name)
        return value if isinstance(value, int) else None

    def flag(self, name: str) -> bool:
        """Return a boolean field; absent means false."""
        return self.fields.get(name) is True

    def count(self, name: str) -> int:
        """Return a whole number or its default (0 if it has none)."""
        value = self.fields.get(name)
        return value if isinstance(value, int) else _DEFAULT_COUNTS.get((self.topic, self.type, name), 0)

    @property
    def target(self) -> str:
        """Return the event id a correction or a void is about."""
        return str(self.fields.get("target"))

    def payload(self) -> bytes:
        """Return what the fact says as canonical bytes: equal for equal content, ordered for conflicting copies."""
        content = (self.topic, self.type, self.at_ms, self.fields)
        return msgspec.json.encode(content, order="deterministic")

    def told(self) -> Fact:
        """Return what other cases are told of this fact: without the fields none of them is judged by (rule 9).

        The very same fact comes back if it has none of these.
        """
        declared = vocabulary.fields_of(self.topic, self.type) or {}
        fields: dict[str, Value] = {}
        for name, value in self.fields.items():
            if isinstance(value, dict):
                fields[name] = {key: new for key, new in value.items() if _is_told(key, new)}
            elif name in declared and vocabulary.is_told(name, declared[name]):
                fields[name] = value
        return self if fields == self.fields else msgspec.structs.replace(self, fields=fields)

    def precedence(self) -> tuple[int, bytes, bytes]:
        """Return what decides between copies of one fact, the smallest is kept: delivery, then payload (rule 1).

        What others are told comes first in the payload, so that they keep the copy that is kept where it came from.
        """
        return self.delivered_ms, self.told().payload(), self.payload()

    def corrected_by(self, changes: Mapping[str, Scalar]) -> Fact:
        """Return this fact with fields replaced; a value its type cannot hold leaves the field as it was (rule 5)."""
        declared = vocabulary.fields_of(self.topic, self.type) or {}
        fields, at_ms = dict(self.fields), self.at_ms
        for name, value in changes.items():
            if name == "at":
                at_ms = value if isinstance(value, int) else at_ms
            elif value is None:
                if not (name in declared and declared[name].required):
                    fields.pop(name, None)
            elif name in declared and not _complaint(declared[name], value):
                fields[name] = value
        return msgspec.structs.replace(self, at_ms=at_ms, fields=fields)


_CORRECTION = "an object of field: value, with at least one field that can be corrected"
_DEFAULTS = {
    (topic, event_type, name): field.default
    for (topic, event_type), fields in vocabulary.EVENT_TYPES.items()
    for name, field in fields.items()
}
_DEFAULT_TEXTS = {key: default for key, default in _DEFAULTS.items() if isinstance(default, str)}
_DEFAULT_COUNTS = {key: default for key, default in _DEFAULTS.items() if isinstance(default, int)}
"""What an absent field means, by topic, type and name."""
_OFFSET = "RFC 3339 with an offset, like 2026-03-02T10:00:00+01:00"
_AT_MOST = f" of at most {vocabulary.LONGEST_TEXT} characters"
_LARGEST_COUNT = 1 << 53
"""Beyond this JSON does not keep whole numbers exact."""


class RejectedError(Exception):
    """An event that cannot become a fact: why, which field, and what was expected there (never the value itself)."""

    def __init__(self, reason: str, field: str | None, expected: str) -> None:
        super().__init__(f"{reason}: {field}: {expected}" if field else f"{reason}: {expected}")
        self.reason = reason
        self.field = field
        self.expected = expected


def admit(event: Mapping[str, object], delivered_ms: int | None = None, *, skew_ms: int) -> tuple[str, Fact]:
    """Make the fact an event states and return it with the id of its case (rule 1).

    Times are RFC 3339 text with an offset, or integers in milliseconds. `delivered_ms` None means delivered when it
    happened. Unknown types are admitted (they are ignored for verdicts); fields the vocabulary does not know are
    dropped. Raises RejectedError: `naive_time` for a timestamp without offset, `future` for an event more than
    `skew_ms` ahead of its delivery, `invalid` for a missing or ill-formed field.
    """
    event_id, topic, event_type, case_id = (_required_text(event, name) for name in vocabulary.ENVELOPE[:4])
    if topic not in vocabulary.TOPICS:
        raise RejectedError("invalid", "topic", f"one of {', '.join(vocabulary.TOPICS)}")
    at_ms = _time("at", event.get("at"))
    declared = vocabulary.fields_of(topic, event_type) or {}
    _refuse_naive(event, vocabulary.TIME_FIELDS & event.keys() - declared.keys())
    fields: dict[str, Value] = {}
    for name, field in declared.items():
        value = event.get(name)
        if value is None:
            if field.required:
                raise RejectedError("invalid", name, f"a value, which {topic}.{event_type} needs")
        elif field.kind == "changes":
            fields[name] = _changes(value)
        else:
            fields[name] = _value(name, field, value)
    start, end = fields.get("window_start"), fields.get("window_end")
    if (start is None) != (end is None):
        raise RejectedError("invalid", "window_end" if end is None else "window_start", "both ends of the window")
    if isinstance(start, int) and isinstance(end, int) and end < start:
        raise RejectedError("invalid", "window_end", "not before window_start")
    if delivered_ms is None:
        delivered_ms = at_ms
    if at_ms > delivered_ms + skew_ms:
        raise RejectedError("future", "at", f"at most {skew_ms // 1000} s after its delivery")
    return case_id, Fact(event_id, topic, event_type, at_ms, delivered_ms, fields)


def _required_text(event: Mapping[str, object], name: str) -> str:
    value = event.get(name)
    if not is_text(value) or not value:
        raise RejectedError("invalid", name, f"non-empty text{_AT_MOST}")
    return str(value)


def _time(name: str, value: object) -> int:
    instant_ms: object = value
    if isinstance(value, str):
        try:
            instant_ms = instant.parse_instant(value)
        except instant.NaiveTimeError:
            raise RejectedError("naive_time", name, _OFFSET) from None
        except (ValueError, OverflowError):
            instant_ms = None
    if _is_instant(instant_ms):
        return int(instant_ms)  # type: ignore[call-overload,no-any-return]  # _is_instant has checked it
    raise RejectedError("invalid", name, "an RFC 3339 time with an offset, between 1970 and 9999")


def _refuse_naive(event: Mapping[str, object], undeclared: Iterable[str]) -> None:
    """Raise RejectedError for a time without offset in a field that the type does not have, and drops (rule 1)."""
    for name in sorted(undeclared):
        value = event[name]
        try:
            instant.parse_instant(value if isinstance(value, str) else "")
        except instant.NaiveTimeError:
            raise RejectedError("naive_time", name, _OFFSET) from None
        except (ValueError, OverflowError):
            continue  # no time, or none that can be told: it is dropped


def _is_instant(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= instant.LATEST_MS


def is_text(value: object) -> bool:
    """Whether a value is text, not too long, that can be written as UTF-8 (JSON can spell half a character)."""
    if not isinstance(value, str) or len(value) > vocabulary.LONGEST_TEXT:
        return False
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _value(name: str, field: vocabulary.Field, value: object) -> Scalar:
    if field.kind == "time":
        return _time(name, value)
    complaint = _complaint(field, value)
    if complaint:
        raise RejectedError("invalid", name, complaint)
    return value  # type: ignore[return-value]  # _complaint has checked its type


def _is_told(name: str, new: Scalar) -> bool:
    """Whether others are told of a change that a correction makes; its text may be one that the field cannot hold."""
    if name in vocabulary.TEXTS_TOLD or name == "at":
        return True
    choices = vocabulary.TOLD_CHOICES.get(name)
    return choices is not None and (not isinstance(new, str) or new in choices)


def _complaint(field: vocabulary.Field, value: object) -> str | None:
    """Say what a value of this field should have been, None if it is right."""
    match field.kind:
        case "time":
            return None if _is_instant(value) else "an instant"
        case "flag":
            return None if isinstance(value, bool) else "true or false"
        case "count":
            right = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _LARGEST_COUNT
            return None if right else "a whole number, 0 or more"
        case "choice":
            return None if value in field.choices else f"one of {', '.join(field.choices)}"
        case "zone":
            return None if _is_zone(value) else "an IANA time zone, like America/Chicago"
        case "changes":
            return "fields that are not themselves corrected"
        case _:
            right = is_text(value) and bool(value or not field.required)
            return None if right else f"{'non-empty ' if field.required else ''}text{_AT_MOST}"


def _is_zone(value: object) -> bool:
    try:
        instant.zone(str(value))
    except ValueError:
        return False
    return isinstance(value, str)


def _changes(value: object) -> dict[str, Scalar]:
    """Read the fields a correction sets; what no event type has, and what may never be corrected, is left out."""
    if not isinstance(value, Mapping) or not value:
        raise RejectedError("invalid", "set", _CORRECTION)
    changes: dict[str, Scalar] = {}
    for name in sorted(value.keys() & vocabulary.CORRECTABLE):
        new = value[name]
        if name in vocabulary.TIME_FIELDS and new is not None:
            changes[name] = _time(f"set.{name}", new)
        elif (
            new is None or isinstance(new, bool) or (isinstance(new, int) and abs(new) < _LARGEST_COUNT) or is_text(new)
        ):
            changes[name] = new
        else:
            raise RejectedError("invalid", f"set.{name}", "text, a whole number, true, false or null")
    if not changes:
        raise RejectedError("invalid", "set", _CORRECTION)
    return changes
