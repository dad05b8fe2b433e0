"""What every typed event has in common: it is checked when it is made, and its id is the same whenever it is made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import ClassVar

from cxstream.domain.facts import RejectedError, admit

ID_CHARACTERS = 32

Change = str | int | bool | datetime | None
"""What a correction may set a field to; None takes the field back."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """One thing that happened to a case, at `at` in the world (a datetime with its zone).

    Without an `event_id` the id is made of the content: the same event made twice is one fact. Give one (`stable_id`)
    where your record of the event may change after it was sent: a second version is then a correction of the first.
    Raises RejectedError, which names the field and what is expected there, for an event no worker would take.
    """

    topic: ClassVar[str]
    type: ClassVar[str]

    case_id: str
    at: datetime
    event_id: str = ""

    def __post_init__(self) -> None:
        """Check the event and give it its id."""
        document = self.document()
        admit({**document, "event_id": self.event_id or "still to be made"}, skew_ms=0)
        if not self.event_id:
            content = {name: value for name, value in document.items() if name != "event_id"}
            object.__setattr__(self, "event_id", stable_id(_written(content)))

    def document(self) -> dict[str, object]:
        """Return the event in the JSON vocabulary, as `cxstream judge` and `cxstream emit` read it."""
        stated = {field.name: _plain(getattr(self, field.name)) for field in fields(self)}
        named = {"event_id": self.event_id, "topic": self.topic, "type": self.type}
        return named | {name: value for name, value in stated.items() if value is not None}


def stable_id(*parts: str) -> str:
    """Return an id that is the same for the same parts: `stable_id("crm", row.table, row.number)`.

    Unique like the parts are; 32 hexadecimal digits that tell nothing about them.
    """
    told = b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in parts)
    return hashlib.sha256(told).hexdigest()[:ID_CHARACTERS]


def _written(content: Mapping[str, object]) -> str:
    """Return content as JSON, the same for the same; raises RejectedError for what admission does not look at."""
    for name, value in content.items():
        try:
            json.dumps(value, sort_keys=True)
        except (TypeError, ValueError):
            raise RejectedError("invalid", name, "text, a whole number, true, false, or an object of these") from None
    return json.dumps(content, sort_keys=True)


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {name: _plain(changed) for name, changed in value.items()}
    return value
