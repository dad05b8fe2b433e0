"""Sample events, one for each type: an example of the schema, moved to now and into a case of one's own."""

from __future__ import annotations

import json
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from cxstream.client.event import stable_id
from cxstream.client.records import nearest
from cxstream.domain import vocabulary
from cxstream.domain.instant import format_instant, parse_instant


class UnknownTypeError(ValueError):
    """There is no such event type; the text says which was perhaps meant."""


def sample(name: str, case_id: str, now_ms: int) -> dict[str, object]:
    """Return a sample event of a type such as `ticket.opened`, as if it happened now, in the JSON vocabulary.

    Its other times are as far from now as in the example; its id is made of the type, the case and the instant.
    Raises UnknownTypeError.
    """
    topic, _, event_type = name.partition(".")
    if vocabulary.fields_of(topic, event_type) is None or topic not in vocabulary.TOPICS:
        raise UnknownTypeError(f"there is no event type {name}{nearest(name, sample_names())}")
    event = _example(topic, event_type)
    shift_ms = now_ms - parse_instant(str(event["at"]))
    for field in vocabulary.TIME_FIELDS & event.keys():
        event[field] = format_instant(parse_instant(str(event[field])) + shift_ms)
    return {**event, "event_id": stable_id(name, case_id, str(now_ms)), "case_id": case_id}


def sample_names() -> tuple[str, ...]:
    """Return every event type there is a sample of."""
    every = [(topic, name) for topic in vocabulary.TOPICS for name in vocabulary.ANY_TOPIC]
    return tuple(f"{topic}.{name}" for topic, name in sorted([*vocabulary.EVENT_TYPES, *every]))


def _example(topic: str, event_type: str) -> dict[str, object]:
    """Return the packaged example of a type, the plainest of several."""
    folder: Traversable = resources.files("cxstream") / "_schemas"
    if not folder.is_dir():
        folder = Path(__file__).resolve().parents[3] / "schemas"
    files = sorted((folder / topic / "examples").iterdir(), key=lambda file: (len(file.name), file.name))
    events = (json.loads(file.read_text("utf-8")) for file in files if file.name.endswith(".json"))
    return next(dict(event) for event in events if event["type"] == event_type)
