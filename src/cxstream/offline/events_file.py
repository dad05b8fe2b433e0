"""Reads events from NDJSON files, one JSON object a line, and says of every wrong line what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import orjson

from cxstream.domain.facts import Fact, RejectedError, admit
from cxstream.domain.instant import NaiveTimeError, parse_instant


class WrongLine(NamedTuple):
    """A line that is no event: where it stands, the reason it is counted under, the field, and what was expected."""

    path: str
    line: int
    reason: str
    field: str | None
    expected: str
    case_id: str | None = None
    """The case it names, if any."""
    event_id: str | None = None

    def __str__(self) -> str:
        """Return the line as editors and people read it."""
        field = f"{self.field}: " if self.field else ""
        return f"{self.path}:{self.line}: {self.reason}: {field}expected {self.expected}"


class Delivered(NamedTuple):
    """A fact and the case it belongs to."""

    case_id: str
    fact: Fact


def read_event(event: Mapping[str, object], skew_ms: int) -> Delivered:
    """Admit one event of a file; its delivery time is `seen`, or `at` where that is absent.

    Raises RejectedError with the field and what was expected there.
    """
    seen = event.get("seen")
    delivered_ms = None
    if seen is not None:
        try:
            delivered_ms = parse_instant(str(seen))
        except NaiveTimeError:
            raise RejectedError("naive_time", "seen", "RFC 3339 with an offset") from None
        except ValueError:
            raise RejectedError("invalid", "seen", "an RFC 3339 time with an offset, between 1970 and 9999") from None
    return Delivered(*admit(event, delivered_ms, skew_ms=skew_ms))


def read_events(paths: Iterable[Path], skew_ms: int) -> tuple[list[Delivered], list[WrongLine]]:
    """Return the facts of all files in order of delivery (file order where equal), and the lines that are wrong.

    Raises OSError if a file cannot be read.
    """
    facts: list[Delivered] = []
    wrong: list[WrongLine] = []
    for path in paths:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                event: dict[str, object] = {}
                try:
                    event = _object(line)
                    facts.append(read_event(event, skew_ms))
                except RejectedError as error:
                    named = _text(event.get("case_id")), _text(event.get("event_id"))
                    wrong.append(WrongLine(str(path), number, error.reason, error.field, error.expected, *named))
                except orjson.JSONDecodeError as error:
                    wrong.append(WrongLine(str(path), number, "invalid", None, f"a JSON object ({error})"))
    facts.sort(key=lambda delivered: delivered.fact.delivered_ms)
    return facts, wrong


def _object(line: bytes) -> dict[str, object]:
    event = orjson.loads(line)
    if not isinstance(event, dict):
        raise RejectedError("invalid", None, "a JSON object on every line")
    return event


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
