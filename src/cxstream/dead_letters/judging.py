"""Judges a dead letter once more, as a worker would now: what would be rejected again need not be sent again."""

from __future__ import annotations

import base64
from collections.abc import Collection
from typing import Any

from cxstream.dead_letters.letters import Letter
from cxstream.domain.facts import Fact, RejectedError
from cxstream.domain.instant import format_instant
from cxstream.kafka.codec import Codec
from cxstream.kafka.schemas import SchemaIds, UnknownSchemaIdError


class Judge:
    """Reads letters as the workers of a group read records."""

    def __init__(self, codec: Codec, schema_ids: SchemaIds, kinds: dict[str, str], trusted: Collection[str]) -> None:
        """`kinds` are ticket, dispatch or parts by source topic; of `trusted` ones the delivery header is believed."""
        self._codec = codec
        self._schema_ids = schema_ids
        self._kinds = kinds
        self._trusted = frozenset(trusted)

    def is_trusted(self, source: str) -> bool:
        """Whether a source topic keeps the first delivery of what is sent again."""
        return source in self._trusted

    async def read(self, letter: Letter, now_ms: int) -> tuple[str, Fact]:
        """Return the case and the fact a worker would make of a letter that is sent again now.

        Raises RejectedError if it would be rejected again, RegistryUnavailableError if that cannot be known.
        """
        kind = self._kinds.get(letter.source)
        if kind is None:
            raise RejectedError("unknown_topic", None, f"one of {', '.join(self._kinds)}")
        trusted = letter.source in self._trusted
        for _attempt in range(2):
            try:
                return self._codec.decode(
                    kind, letter.key, letter.value, now_ms, letter.headers_again(), trusted=trusted
                )
            except UnknownSchemaIdError as unknown:
                await self._schema_ids.fetch(unknown.schema_id)
        raise RejectedError("unknown_schema", None, "a schema id that the registry or the configuration knows")


def content(letter: Letter, read: tuple[str, Fact] | None) -> dict[str, Any]:
    """Return what a letter says, case data and all: as an event if it is one, else as text or Base64."""
    if read is not None:
        case_id, fact = read
        envelope = {"event_id": fact.event_id, "topic": fact.topic, "type": fact.type, "case_id": case_id}
        return {"event": {**envelope, "at": format_instant(fact.at_ms), **fact.fields}}
    return {"key": _shown(letter.key), "value": _shown(letter.value)}


def _shown(data: bytes | None) -> str | None:
    if data is None:
        return None
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return f"base64:{base64.b64encode(data).decode()}"
    return text if text.isprintable() else f"base64:{base64.b64encode(data).decode()}"
