"""Tries a map on sample records, without a broker: what each line becomes, or which field is wrong, and its mend."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import orjson

from cxstream.domain import vocabulary
from cxstream.domain.instant import format_instant
from cxstream.domain.policy import Policy
from cxstream.intake.intake import End, Intake
from cxstream.intake.mapper import Raw, Told
from cxstream.intake.mapping import IntakeMap
from cxstream.kafka.codec import Codec
from cxstream.kafka.schemas import Schemas


class Line(NamedTuple):
    """One thing that is said of a line of a sample."""

    place: str
    """File and line."""
    said: str
    events: tuple[dict[str, object], ...] = ()
    """The events it tells, as `cxstream judge` reads them."""
    wrong: bool = False

    def __str__(self) -> str:
        """Return it as editors and people read it."""
        return f"{self.place}: {self.said}"


class SampleError(Exception):
    """A line of a sample from which no record can be made; the text says where and why."""


def try_out(intake_map: IntakeMap, paths: list[Path], topic: str | None = None) -> Iterator[Line]:
    """Yield what becomes of every line, and at the end of those that wait in vain.

    Each line is a record of `topic`; without one it is a line of `kcat -J`: `topic`, `payload` (a text, or the record
    itself) and `ts`, milliseconds. Raises SampleError, OSError.
    """
    skew_ms = Policy().clock_skew_ms
    intake = Intake(
        intake_map,
        encode=Codec(Schemas.packaged(), skew_ms=skew_ms).encode,
        topics={kind: kind for kind in vocabulary.TOPICS},
        trusted=frozenset(vocabulary.TOPICS),
        state_topic="",
        skew_ms=skew_ms,
        version="",
    )
    places: dict[tuple[str, int, int], str] = {}
    for path in paths:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                place = f"{path}:{number}"
                raw = _raw(intake_map, line.strip(), topic, place)._replace(partition=0, offset=len(places))
                places[raw[:3]] = place
                for end in intake.take([raw], raw.timestamp_ms or 0).ends:
                    yield _said(end, places[end.raw[:3]])
    for parked in intake.parking.all():
        yield Line(places[parked.place], f"{parked.topic}: nothing taught what it waits for", wrong=True)


def _raw(intake_map: IntakeMap, line: bytes, topic: str | None, place: str) -> Raw:
    if topic is not None:
        return Raw(topic, 0, 0, None, None, line)
    try:
        message = orjson.loads(line)
        name, payload, at_ms = message["topic"], message["payload"], message.get("ts")
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        expected = 'a JSON object with "topic" and "payload" (kcat -J), or --topic for a file of records'
        raise SampleError(f"{place}: expected {expected}") from None
    if name not in {one.name for one in intake_map.topics}:
        known = ", ".join(one.name for one in intake_map.topics)
        raise SampleError(f"{place}: topic: expected one of the map: {known}")
    value = payload.encode() if isinstance(payload, str) else orjson.dumps(payload)
    return Raw(name, 0, 0, at_ms if isinstance(at_ms, int) else None, None, value)


def _said(end: End, place: str) -> Line:
    topic, mapped = end.raw.topic, end.mapped
    again = "now that it is known: " if end.waited else ""
    notes = "".join(f" ({_NOTES[note]})" for note in mapped.notes)
    if mapped.refused is not None:
        return Line(place, f"{topic}: {again}refused, {mapped.refused}", wrong=True)
    if mapped.waits is not None:
        return Line(place, f"{topic}: {again}{mapped.waits}")
    if mapped.events:
        kinds = ", ".join(f"{one.event['topic']}.{one.event['type']}" for one in end.told)
        repeats = len(mapped.events) - len(end.told)
        before = f"{' and ' if kinds else ''}{repeats} told before" if repeats else ""
        return Line(place, f"{topic}: {again}{kinds}{before}{notes}", tuple(map(document, end.told)))
    taught = ", ".join(dict.fromkeys(one.lookup for one in mapped.learned))
    return Line(place, f"{topic}: {again}" + (f"teaches {taught}" if taught else "tells nothing"))


_NOTES = {
    "gap_shifted": "a local time that never was, moved past the gap",
    "overlap_first": "a local time that was twice, taken for the first",
    "overlap_second": "a local time that was twice, taken for the second",
}


def document(told: Told) -> dict[str, object]:
    """Return an event as files have it: times as RFC 3339, and `seen` where its delivery is known."""
    declared = vocabulary.fields_of(told.topic, str(told.event["type"])) or {}
    times = {"at"} | {name for name, field in declared.items() if field.kind == "time"}
    event = {
        name: format_instant(value) if name in times and isinstance(value, int) else value
        for name, value in told.event.items()
    }
    return event if told.delivered_ms is None else {**event, "seen": format_instant(told.delivered_ms)}


def written(event: dict[str, object]) -> str:
    """Return an event as one line."""
    return json.dumps(event, ensure_ascii=False)
