"""Reads single values out of a record by the map: paths, enumerations, local times. No error quotes a value."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple

from cxstream.domain import instant
from cxstream.intake.mapping import EPOCH_MS, EPOCH_S, ISO, Conditions, Scalar, Source, Times

REASONS = (
    "not_json",
    "too_large",
    "missing",
    "unknown_value",
    "bad_value",
    "bad_time",
    "same_id",
    "too_many_events",
    "naive_time",
    "future",
    "invalid",
    "case_unknown",
    "parking_full",
)
"""Why a record can end as a dead letter of the intake. The last two end waiting: too long, or too many at a time."""

NOTES = ("gap_shifted", "overlap_first", "overlap_second")
"""What was decided about a time that a local clock showed never, or twice."""

Knows = Callable[[str, str], "str | None"]
"""Lookup and key -> what was learned for it, None if nothing was."""

_YES, _NO = frozenset({"true", "1", "yes"}), frozenset({"false", "0", "no"})


class NotMappedError(Exception):
    """A record that cannot be mapped: why, at which path or field, what was expected there, and how to mend it."""

    def __init__(self, reason: str, field: str, expected: str, mend: str = "") -> None:
        super().__init__(f"{reason}: {field}: expected {expected}" + (f"; {mend}" if mend else ""))
        self.reason = reason
        self.field = field


class WaitsError(Exception):
    """A record needs what a lookup has not learned yet."""

    def __init__(self, lookup: str, key: str, path: str) -> None:
        super().__init__(f"waits for the lookup {lookup} of {path}")
        self.lookup = lookup
        self.key = key
        self.path = path


class Reading(NamedTuple):
    """A record that is read: the record, what is known, and what was noted on the way."""

    record: object
    knows: Knows
    times: Times
    notes: list[str]


def at_path(record: object, path: str) -> object:
    """Return what is at a path, None where nothing is, or what its system writes for nothing: an empty text.

    A name with dots in it is found before the path they could be; a number is the index of a list.
    """
    if isinstance(record, dict):
        if path in record:
            found = record[path]
            return None if found == "" else found
        head, dot, rest = path.partition(".")
        return at_path(record.get(head), rest) if dot else None
    if isinstance(record, list):
        head, dot, rest = path.partition(".")
        inner = record[int(head)] if re.fullmatch(r"\d{1,6}", head) and int(head) < len(record) else None
        return at_path(inner, rest) if dot else (None if inner == "" else inner)
    return None


def holds(record: object, when: Conditions, unless: Conditions) -> bool:
    """Return whether all of `when` and none of `unless` holds of a record."""
    return all(_holds(record, *one) for one in when.items()) and not any(_holds(record, *one) for one in unless.items())


def _holds(record: object, path: str, wanted: bool | Sequence[str]) -> bool:  # noqa: FBT001  # as the map has it
    found = at_path(record, path)
    if isinstance(wanted, bool):
        return (found is not None) == wanted
    return plain(found) in wanted


def text_of(reading: Reading, value: Sequence[Source]) -> str | None:
    """Return a value as text, None where nothing is. Raises NotMappedError, WaitsError."""
    found = scalar_of(reading, value, "text")
    return None if found is None else str(found)


def scalar_of(reading: Reading, value: Sequence[Source], kind: str) -> Scalar | None:
    """Return a value of a field of this kind, times in milliseconds; None where nothing is.

    The first way counts that leads to anything. Raises NotMappedError, WaitsError.
    """
    for source in value:
        if source.constant is not None:
            return source.constant
        for path in source.path or ():
            found = at_path(reading.record, path)
            if found is not None:
                return _made(reading, source, path, found, kind)
    return None


def _made(reading: Reading, source: Source, path: str, found: object, kind: str) -> Scalar | None:
    """Return what the map makes of what is at a path."""
    if kind == "time":
        return instant_of(found, path, source.over(reading.times), reading)
    text = plain(found)
    if text is None:
        raise NotMappedError("bad_value", path, "a text, a number, true or false", f"name what is within it: {path}.…")
    if source.lookup is not None:
        known = reading.knows(source.lookup, text)
        if known is None:
            raise WaitsError(source.lookup, text, path)
        text = known
    if source.values:
        made = source.values.get(text, source.otherwise)
        if made is None:
            mend = f"add the value that is there to the values of {path} in the map, or an otherwise"
            raise NotMappedError("unknown_value", path, f"one of {', '.join(map(repr, source.values))}", mend)
        return made
    return _typed(text, path, kind)


def _typed(text: str, path: str, kind: str) -> Scalar:
    """Return a text as a field of this kind has it."""
    if kind == "flag":
        if text.casefold() not in _YES | _NO:
            raise NotMappedError("bad_value", path, "true or false", f"give values for {path} in the map")
        return text.casefold() in _YES
    if kind == "count":
        if not re.fullmatch(r"\d{1,15}(\.0+)?", text, re.ASCII):
            raise NotMappedError("bad_value", path, "a whole number, 0 or more", "mend it where it is written")
        return int(text.partition(".")[0])
    return text


def plain(found: object) -> str | None:
    """Return what is a text, a number or a flag as text, as maps write it; None for anything else."""
    if isinstance(found, str):
        return found
    if isinstance(found, bool):
        return "true" if found else "false"
    if isinstance(found, int):
        return str(found)
    if isinstance(found, float):
        return str(int(found)) if found.is_integer() else repr(found)
    return None


# --- times


def instant_of(found: object, path: str, times: Times, reading: Reading) -> int:
    """Return the instant a time names, in milliseconds since the epoch. Raises NotMappedError."""
    form = times.format or ISO
    text = plain(found)
    if text is None:
        raise NotMappedError("bad_time", path, "a time", "name the path of the time itself")
    if form in (EPOCH_MS, EPOCH_S):
        if not re.fullmatch(r"\d{1,15}(\.\d{1,9})?", text, re.ASCII):
            raise NotMappedError("bad_time", path, f"a number ({form})", "mend the format of this time in the map")
        instant_ms = int(float(text) * (1 if form == EPOCH_MS else instant.SECOND_MS))
        return _dated(instant_ms, path)
    try:
        shown = instant.parse_moment(text) if form == ISO else datetime.strptime(text, form)  # noqa: DTZ007
    except ValueError:
        expected = "RFC 3339" if form == ISO else f"a time like {form}"
        raise NotMappedError("bad_time", path, expected, "mend the format of this time in the map") from None
    if shown.tzinfo is None:
        return _dated(_local(shown, path, times, reading), path)
    return _dated(instant.milliseconds(shown), path)


def _dated(instant_ms: int, path: str) -> int:
    if not 0 <= instant_ms <= instant.LATEST_MS:
        raise NotMappedError("bad_time", path, "a time between 1970 and 9999", "check its format in the map")
    return instant_ms


def _local(shown: datetime, path: str, times: Times, reading: Reading) -> int:
    """Return when the clocks of a zone showed a time; what they showed never, or twice, is decided by the map."""
    stated = at_path(reading.record, times.zone_path) if times.zone_path else None
    name = plain(stated) or times.zone
    if name is None:
        mend = f'give it a zone in the map, like zone = "UTC"{", or zone_path" if times.zone_path is None else ""}'
        raise NotMappedError("naive_time", path, "a time with an offset, or a zone to read it in", mend)
    try:
        zone = instant.zone(name)
    except ValueError:
        where = str(times.zone_path)
        raise NotMappedError("bad_value", where, "an IANA time zone, like Europe/Berlin", "mend it there") from None
    first, second = (shown.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    before, after = first.utcoffset(), second.utcoffset()
    if before == after or before is None or after is None:
        return instant.milliseconds(first)
    if before < after:
        if times.gap != "shift":
            mend = 'the clocks went forward over it; gap = "shift" in the map moves such times by what was left out'
            raise NotMappedError("bad_time", path, f"a time that clocks in {zone.key} have shown", mend)
        reading.notes.append("gap_shifted")
        return instant.milliseconds(first)
    if times.overlap == "refuse":
        mend = 'the clocks went back over it; overlap = "first" or "second" in the map chooses'
        raise NotMappedError("bad_time", path, f"a time that clocks in {zone.key} have shown once", mend)
    if times.overlap == "second":
        reading.notes.append("overlap_second")
        return instant.milliseconds(second)
    reading.notes.append("overlap_first")
    return instant.milliseconds(first)
