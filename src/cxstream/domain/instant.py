"""Instants are integer milliseconds since the epoch inside the service and RFC 3339 with an offset outside it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS

NEVER_MS = 1 << 62
"""Later than every instant: the seal of nothing, the deadline of a unit the clock cannot change."""

LATEST_MS = 253_402_300_799_999
"""The last instant that has a date: the end of the year 9999, UTC."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


class NaiveTimeError(ValueError):
    """A timestamp names no offset, so it could be any of about 26 hours."""


def parse_instant(text: str) -> int:
    """Read RFC 3339 text as milliseconds since the epoch (finer digits are cut).

    Raises NaiveTimeError if it has no offset, ValueError if it is not a timestamp between 1970 and LATEST_MS.
    """
    moment = parse_moment(text)
    if moment.tzinfo is None:
        raise NaiveTimeError(text)
    instant_ms = milliseconds(moment)
    if not 0 <= instant_ms <= LATEST_MS:
        raise ValueError(f"not between 1970 and 9999 in UTC: {text}")
    return instant_ms


def parse_moment(text: str) -> datetime:
    """Read RFC 3339 text with an offset or without, also with a small t and z; raises ValueError if it is none."""
    return datetime.fromisoformat(text.upper())


def milliseconds(moment: datetime) -> int:
    """Return milliseconds since the epoch (finer digits are cut); a moment without an offset raises TypeError."""
    return (moment - _EPOCH) // _MILLISECOND


def format_instant(instant_ms: int) -> str:
    """Write milliseconds since the epoch as RFC 3339 in UTC, with milliseconds only where there are any.

    Raises OverflowError for what is later than LATEST_MS.
    """
    moment = _EPOCH + timedelta(milliseconds=instant_ms)
    text = moment.isoformat(timespec="milliseconds" if instant_ms % SECOND_MS else "seconds")
    return text.replace("+00:00", "Z")


def format_limit(instant_ms: int) -> str:
    """Write an instant counted from a stated one, as a seal is: what is later than any date as the last that is one."""
    return format_instant(min(instant_ms, LATEST_MS))


def format_duration(length_ms: int) -> str:
    """Write a length of time for people by its two largest units: "1 h 30 min"; up to three days are hours."""
    parts = []
    for unit_ms, unit in ((DAY_MS, "d"), (HOUR_MS, "h"), (MINUTE_MS, "min"), (SECOND_MS, "s"), (1, "ms")):
        if unit_ms == DAY_MS and length_ms <= 3 * DAY_MS:
            continue
        count, length_ms = divmod(length_ms, unit_ms)
        parts += [f"{count} {unit}"] if count else []
    return " ".join(parts[:2]) or "0 s"


@lru_cache(maxsize=1024)
def zone(name: str) -> ZoneInfo:
    """Return the IANA zone; raises ValueError with its name if there is none."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        message = f"unknown time zone {name!r}"
        raise ValueError(message) from error


@lru_cache(maxsize=4096)
def local_midnight_after(instant_ms: int, zone_name: str) -> int:
    """Return the first instant of the local day after the one `instant_ms` falls on, DST included (rule 18)."""
    here = zone(zone_name)
    local = (_EPOCH + timedelta(milliseconds=instant_ms)).astimezone(here)
    tomorrow = local.date() + timedelta(days=1)
    midnight = datetime(tomorrow.year, tomorrow.month, tomorrow.day, tzinfo=here)
    return (midnight.astimezone(UTC) - _EPOCH) // _MILLISECOND
