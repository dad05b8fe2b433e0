"""The composition: settings become readers, senders and the judge of letters, each for one command."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from typing import Any, NamedTuple

from cxstream.config import Settings
from cxstream.config.types import nearest
from cxstream.dead_letters.counting import Survey
from cxstream.dead_letters.judging import Judge, content
from cxstream.dead_letters.letters import PARKED_SUFFIX, UNKNOWN, Filters, Letter, Place, topics_named
from cxstream.dead_letters.reading import Brokers, reading
from cxstream.dead_letters.replaying import Options, Outcome, Progress, Replay, Site
from cxstream.domain.facts import RejectedError
from cxstream.domain.instant import format_instant
from cxstream.kafka.codec import DELIVERED_AT, Codec
from cxstream.kafka.dead_letters import REASONS, SUFFIX
from cxstream.kafka.schemas import RegistryUnavailableError, SchemaIds, Schemas
from cxstream.worker import connection_of, registry_of, topics_of, wall_ms

KNOWN_REASONS = (*REASONS, UNKNOWN)
"""What letters are rejected for; UNKNOWN where their headers do not say it."""


class UnknownReasonError(ValueError):
    """A reason for which nothing is rejected; the text lists those that there are."""


class Selection(NamedTuple):
    """Which letters a command means, as it was called."""

    topic: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    reasons: tuple[str, ...] = ()
    parked: bool = False
    """Whether parked letters are meant, not dead ones."""


class DeadLetters:
    """The dead letters of a group, as a configuration names it. Its methods block, and raise KafkaError."""

    def __init__(self, settings: Settings) -> None:
        """Take the settings of the workers. Raises OSError or ssl.SSLError if a certificate cannot be read."""
        kafka = settings.kafka
        self._brokers = Brokers(kafka.bootstrap, connection_of(settings).client)
        self._kinds = kafka.topics.by_kind()
        self._topics = tuple(topics_of(settings).dead_letters)
        self._site = Site(kafka.group, kafka.partitions, kafka.replication_factor, kafka.declare_topics)
        self._trusted = kafka.trusted_topics
        schemas = Schemas.packaged()
        ids = SchemaIds(schemas, settings.schema.ids, registry_of(settings))
        codec = Codec(
            schemas,
            ids,
            skew_ms=settings.policy().clock_skew_ms,
            max_message_bytes=settings.limits.max_message_bytes,
        )
        self._judge = Judge(codec, ids, {name: kind for kind, name in self._kinds.items()}, self._trusted)

    def filters(self, selection: Selection) -> Filters:
        """Return the letters meant. Raises UnknownTopicError for a topic that has none."""
        suffix = PARKED_SUFFIX if selection.parked else SUFFIX
        topics = topics_named(selection.topic, self._kinds, self._topics, suffix)
        return Filters(topics, selection.since_ms, selection.until_ms, frozenset(selection.reasons))

    def untrusted(self) -> list[str]:
        """Return the source topics where the first delivery of what is sent again is not believed."""
        return [topic for topic in self._kinds.values() if topic not in self._trusted]

    def survey(self, selection: Selection, limit: int) -> Survey:
        """Count letters, and keep so many of the last ones. Raises UnknownTopicError, StalledError."""
        return asyncio.run(self._survey(self.filters(selection), limit, left_out=not selection.parked))

    def show(self, topic: str, partition: int, offset: int, *, payload: bool) -> dict[str, Any] | None:
        """Return all that is known of one letter, what it says only with `payload`; None if it is not there.

        Raises UnknownTopicError for a topic that has no letters.
        """
        suffix = PARKED_SUFFIX if topic.endswith(PARKED_SUFFIX) else SUFFIX
        (name,) = topics_named(topic, self._kinds, self._topics, suffix)
        return asyncio.run(self._show(Place(name, partition, offset), payload=payload))

    def replay(self, selection: Selection, options: Options, progress: Progress) -> Outcome:
        """Send letters again. Raises UnknownTopicError, and as `Replay.replay` does."""
        return asyncio.run(self._replay(self.filters(selection), options, progress))

    def park(self, selection: Selection, options: Options, progress: Progress) -> Outcome:
        """Move letters to the topics for parked ones. Raises UnknownTopicError, and as `Replay.replay` does."""
        return asyncio.run(self._replay(self.filters(selection), options, progress, parks_all=True))

    async def _survey(self, filters: Filters, limit: int, *, left_out: bool) -> Survey:
        survey = Survey(wall_ms(), limit)
        async with reading(self._brokers) as reader:
            parked = await reader.parked(self._topics) if left_out else frozenset()
            async for letters in reader.letters(await reader.ranges(filters), 1000):
                for letter in filter(filters.take, letters):
                    if letter.place in parked:
                        survey.parked += 1
                    else:
                        survey.add(letter)
        return survey

    async def _show(self, place: Place, *, payload: bool) -> dict[str, Any] | None:
        async with reading(self._brokers) as reader:
            letter = await reader.one(place)
        if letter is None:
            return None
        read = None
        try:
            read = await self._judge.read(letter, wall_ms())
            now: dict[str, Any] = {"would_be": "accepted"}
        except RejectedError as error:
            now = {"would_be": "rejected", "reason": error.reason, "field": error.field, "expected": error.expected}
        except RegistryUnavailableError as error:
            now = {"would_be": "unknown", "reason": str(error)}
        said: dict[str, Any] = {
            "topic": place.topic,
            "partition": place.partition,
            "offset": place.offset,
            "rejected": format_instant(letter.rejected_ms),
            "error": letter.errors,
            "replays": letter.replays,
            "now": now,
            "key_bytes": None if letter.key is None else len(letter.key),
            "value_bytes": None if letter.value is None else len(letter.value),
            "framing": _framing(letter),
            "headers": _headers(letter, payload=payload),
        }
        if letter.moved_from is not None:
            said["moved_from"] = letter.moved_from._asdict()
        if read is not None:
            said["event_type"] = f"{read[1].topic}.{read[1].type}"
        return {**said, **content(letter, read)} if payload else said

    async def _replay(
        self, filters: Filters, options: Options, progress: Progress, *, parks_all: bool = False
    ) -> Outcome:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        run = Replay(self._brokers, self._site, self._judge, options, now_ms=wall_ms, stop=stop, progress=progress)
        return await (run.park if parks_all else run.replay)(filters, self._topics)


def _framing(letter: Letter) -> str:
    """Say by the first bytes what a value seems to be."""
    value = letter.value
    if not value:
        return "nothing"
    if value[:2] == b"\xc3\x01":
        schemas = Schemas.packaged()
        schema = schemas.by_fingerprint(value[2:10])
        return f"single-object, {'a schema that is not known here' if schema is None else schema.name}"
    if value[0] == 0 and len(value) >= 5:  # noqa: PLR2004  # the zero and four bytes
        return f"registry, schema id {int.from_bytes(value[1:5], 'big')}"
    return "JSON, it seems" if value[:1] in (b"{", b"[") else "none that is known"


def _headers(letter: Letter, *, payload: bool) -> dict[str, Any]:
    """Return the headers the record had: their values only with `payload`, else how long they are."""
    told: dict[str, Any] = {}
    for name, value in letter.original_headers():
        is_open = payload or name == DELIVERED_AT
        told[name] = (value or b"").decode(errors="replace") if is_open else f"{len(value or b'')} bytes"
    return told


def reasons_of(said: Sequence[str]) -> tuple[str, ...]:
    """Return reasons that were given one by one, or separated by commas.

    Raises UnknownReasonError for one that no letter has.
    """
    reasons = tuple(reason.strip() for one in said for reason in one.split(",") if reason.strip())
    for reason in reasons:
        if reason not in KNOWN_REASONS:
            meant = nearest(reason, KNOWN_REASONS, "; did you mean {}?")
            raise UnknownReasonError(f"no letter is rejected for {reason}: expected {', '.join(KNOWN_REASONS)}{meant}")
    return reasons
