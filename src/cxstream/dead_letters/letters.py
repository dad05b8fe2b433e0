"""A dead letter as it is read back: what was rejected, where it came from, why, and how often it was sent again."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from cxstream.domain import instant
from cxstream.kafka.codec import DELIVERED_AT
from cxstream.kafka.dead_letters import ERROR_PREFIX, SUFFIX, Header, without_error_headers

PARKED_SUFFIX = ".parked"
PARKED_PREFIX = "cxstream.parked."
"""Headers of a parked letter: the topic, partition and offset it was moved from, when, and why."""
REPLAYS = "cxstream-replays"
"""Header that counts how often a record was sent again."""
UNKNOWN = "unknown"


class UnknownTopicError(Exception):
    """A topic that has no dead letters of this group; the text lists those that may."""


class Place(NamedTuple):
    """Where a letter is."""

    topic: str
    partition: int
    offset: int


class Letter(NamedTuple):
    """One record of a topic of dead letters, or of parked ones. `rejected_ms` is its own timestamp, in milliseconds."""

    place: Place
    rejected_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]

    @property
    def errors(self) -> dict[str, str]:
        """What is said of the rejection: reason, detail, topic, partition, offset, timestamp, worker-version."""
        return _texts(self.headers, ERROR_PREFIX)

    @property
    def reason(self) -> str:
        """Why it was rejected."""
        return self.errors.get("reason", UNKNOWN)

    @property
    def source(self) -> str:
        """The topic it was read from."""
        return self.errors.get("topic") or source_of(self.place.topic)

    @property
    def delivered_ms(self) -> int:
        """When it was first delivered, by its broker; when it was rejected where that is not known."""
        try:
            return instant.parse_instant(self.errors.get("timestamp", ""))
        except ValueError:
            return self.rejected_ms

    @property
    def replays(self) -> int:
        """How often it was sent again before it was rejected this time."""
        counts = [value for name, value in self.headers if name == REPLAYS and value is not None]
        return int(counts[-1]) if counts and re.fullmatch(rb"[0-9]{1,6}", counts[-1]) else 0

    @property
    def moved_from(self) -> Place | None:
        """Where a parked letter was a dead letter."""
        where = _texts(self.headers, PARKED_PREFIX)
        partition, offset = where.get("partition", ""), where.get("offset", "")
        if not (partition.isdecimal() and offset.isdecimal()):
            return None
        return Place(where.get("topic", ""), int(partition), int(offset))

    def original_headers(self) -> list[Header]:
        """Return the headers it had when it was first read."""
        return [(name, value) for name, value in without_error_headers(self.headers) if not _is_ours(name)]

    def headers_again(self) -> list[Header]:
        """Return the headers to send it again with: its own, its first delivery, and how often it was sent again.

        A delivery time that its producer stated stays; of a record without one that of the broker is stated.
        """
        own = self.original_headers()
        if all(name != DELIVERED_AT for name, _ in own):
            own.append((DELIVERED_AT, instant.format_instant(self.delivered_ms).encode()))
        return [*own, (REPLAYS, str(self.replays + 1).encode())]

    def headers_parked(self, now_ms: int, why: str) -> list[Header]:
        """Return the headers to park it with: all it has, and where it was."""
        kept = [(name, value) for name, value in self.headers if not name.startswith(PARKED_PREFIX)]
        topic, partition, offset = self.place
        where = {"topic": topic, "partition": str(partition), "offset": str(offset)}
        told = {**where, "at": instant.format_instant(now_ms), "why": why}
        return [*kept, *((PARKED_PREFIX + name, text.encode()) for name, text in told.items())]


class Filters(NamedTuple):
    """Which letters are meant; `since_ms` and `until_ms` are about when they were rejected."""

    topics: tuple[str, ...]
    """Topics of dead letters, or of parked ones."""
    since_ms: int | None = None
    until_ms: int | None = None
    reasons: frozenset[str] = frozenset()
    """Reasons they were rejected for; none: any."""

    def take(self, letter: Letter) -> bool:
        """Return whether a letter of these topics is meant."""
        return (
            (not self.reasons or letter.reason in self.reasons)
            and (self.since_ms is None or letter.rejected_ms >= self.since_ms)
            and (self.until_ms is None or letter.rejected_ms < self.until_ms)
        )

    @property
    def fingerprint(self) -> str:
        """The same for the same filters: under it is kept how far a replay has come."""
        stated = (sorted(self.topics), self.since_ms, self.until_ms, sorted(self.reasons))
        return hashlib.sha256(repr(stated).encode()).hexdigest()[:12]


def source_of(topic: str) -> str:
    """Return the topic whose dead or parked letters a topic holds."""
    return topic.removesuffix(PARKED_SUFFIX).removesuffix(SUFFIX)


def topics_named(name: str | None, sources: Mapping[str, str], known: Iterable[str], suffix: str) -> tuple[str, ...]:
    """Return the topics of letters that a name means: a kind (ticket), a source topic, or one with its suffix.

    `known` are the topics that may have letters; without a name all of them. Raises UnknownTopicError.
    """
    known = tuple(known)
    if name is None:
        return tuple(topic + suffix for topic in known)
    source = sources.get(name, source_of(name))
    if source not in known:
        raise UnknownTopicError(
            f"{name} has no dead letters of this group; expected one of {', '.join((*sources, *known))}"
        )
    return (source + suffix,)


def _is_ours(name: str) -> bool:
    return name == REPLAYS or name.startswith(PARKED_PREFIX)


def _texts(headers: Iterable[Header], prefix: str) -> dict[str, str]:
    """Return headers that begin so as text, without the prefix; the first of a name counts, which is ours."""
    return {
        name.removeprefix(prefix): (value or b"").decode(errors="replace")
        for name, value in headers
        if name.startswith(prefix)
    }
