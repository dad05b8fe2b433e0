"""What an intake remembers: what lookups have learned, and the records that wait; kept in one compacted topic.

Each entry is a record of that topic under a key of its own, None where it is forgotten. Reading the topic from its
start gives what was acknowledged.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from cxstream.domain.instant import DAY_MS
from cxstream.intake.mapper import Learned, Raw
from cxstream.intake.mapping import Limits

LOOKUP, PARKED = "lookup", "parked"
REFRESH_MS = DAY_MS
"""What is learned again is written again once it is this old."""


class UnreadableStateError(Exception):
    """The topic of the state holds what no intake has written, or a later version has."""


class Parked(msgspec.Struct, array_like=True, frozen=True):
    """A record that waits, as it was read; `parked_ms` is when it began to."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int | None
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    parked_ms: int

    @property
    def raw(self) -> Raw:
        """Return the record."""
        return Raw(self.topic, self.partition, self.offset, self.timestamp_ms, self.key, self.value, self.headers)

    @property
    def place(self) -> Place:
        """Return where it was read."""
        return self.topic, self.partition, self.offset

    @property
    def size_bytes(self) -> int:
        """Return about how much of memory it takes."""
        return (
            200 + len(self.key or b"") + len(self.value or b"") + sum(len(n) + len(v or b"") for n, v in self.headers)
        )


Place = tuple[str, int, int]
"""Topic, partition and offset of a record."""
Entry = tuple[bytes, bytes | None]
"""Key and value of a record of the state's topic."""

_learned = msgspec.json.Decoder(tuple[str, int])
_parked = msgspec.msgpack.Decoder(Parked)


class Lookups:
    """What was learned: the first value of a key counts, so that a replay maps as it was mapped before."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._known: dict[tuple[str, str], tuple[str, int]] = {}

    def __len__(self) -> int:
        """Return how many keys are known."""
        return len(self._known)

    def knows(self, lookup: str, key: str) -> str | None:
        """Return what was learned for a key, None if nothing was."""
        found = self._known.get((lookup, key))
        return None if found is None else found[0]

    def learn(self, one: Learned, now_ms: int) -> tuple[str, Entry | None]:
        """Learn a key; return `learned`, `known` or `contradicted`, and what to write, if anything.

        A key that stands for something else already goes on doing so.
        """
        place = one.lookup, one.key
        found = self._known.get(place)
        if found is not None and found[0] != one.value:
            return "contradicted", None
        if found is not None and now_ms - found[1] < REFRESH_MS:
            return "known", None
        self._known.pop(place, None)
        self._known[place] = one.value, now_ms
        entry = msgspec.json.encode((LOOKUP, *place)), msgspec.json.encode((one.value, now_ms))
        return "learned" if found is None else "known", entry

    def forget(self, now_ms: int) -> Iterator[Entry]:
        """Forget what was learned longest ago: what is too old, and what is too many. Yields what to write."""
        while self._known:
            place, (_value, learned_ms) = next(iter(self._known.items()))
            if len(self._known) <= self._limits.lookup_keys and now_ms - learned_ms <= self._limits.lookup_kept:
                return
            del self._known[place]
            yield msgspec.json.encode((LOOKUP, *place)), None

    def restore(self, known: dict[tuple[str, str], tuple[str, int]]) -> None:
        """Take over what was read."""
        self._known = dict(sorted(known.items(), key=lambda one: one[1][1]))


class Parking:
    """The records that wait, in the order they began to."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._parked: dict[Place, Parked] = {}
        self._waiting: dict[tuple[str, str], dict[Place, None]] = {}
        self._waits: dict[Place, tuple[str, str]] = {}
        self._last_ms = 0
        self.size_bytes = 0

    def __len__(self) -> int:
        """Return how many records wait."""
        return len(self._parked)

    @property
    def oldest_ms(self) -> int | None:
        """Return since when the first of them waits, None if none does."""
        return next((parked.parked_ms for parked in self._parked.values()), None)

    def park(self, raw: Raw, waits: tuple[str, str], now_ms: int) -> Entry | None:
        """Let a record wait for a lookup's key; return what to write, None if it waited already."""
        place = raw.topic, raw.partition, raw.offset
        known = self._parked.get(place)
        if known is not None:
            self._wait(place, waits)
            return None
        self._last_ms = max(self._last_ms, now_ms)
        parked = Parked(*place, raw.timestamp_ms, raw.key, raw.value, list(raw.headers), self._last_ms)
        self._add(parked)
        self._wait(place, waits)
        return _parked_key(place), msgspec.msgpack.encode(parked)

    def waiting_for(self, lookup: str, key: str) -> list[Parked]:
        """Return the records that wait for a key, in the order they began to."""
        return [self._parked[place] for place in self._waiting.get((lookup, key), ())]

    def all(self) -> list[Parked]:
        """Return all records that wait, in the order they began to."""
        return list(self._parked.values())

    def holds(self, raw: Raw) -> bool:
        """Return whether a record waits."""
        return (raw.topic, raw.partition, raw.offset) in self._parked

    def end(self, place: Place) -> Entry:
        """Let a record wait no longer; return what to write once what became of it is acknowledged."""
        self.size_bytes -= self._parked.pop(place).size_bytes
        self._wait(place, None)
        return _parked_key(place), None

    def beyond(self, now_ms: int) -> tuple[str, Parked] | None:
        """Return the oldest record and why it may wait no longer: `case_unknown` or `parking_full`; None if it may."""
        oldest = next(iter(self._parked.values()), None)
        if oldest is None:
            return None
        if len(self._parked) > self._limits.parked_records or self.size_bytes > self._limits.parked_bytes:
            return "parking_full", oldest
        return ("case_unknown", oldest) if now_ms - oldest.parked_ms > self._limits.parked_for else None

    def restore(self, parked: Iterable[Parked]) -> list[Parked]:
        """Take over what was read, not yet waiting for anything; return it in the order it was parked."""
        ordered = sorted(parked, key=lambda one: (one.parked_ms, one.place))
        for one in ordered:
            self._add(one)
            self._last_ms = max(self._last_ms, one.parked_ms)
        return ordered

    def _add(self, parked: Parked) -> None:
        self._parked[parked.place] = parked
        self.size_bytes += parked.size_bytes

    def _wait(self, place: Place, waits: tuple[str, str] | None) -> None:
        before = self._waits.pop(place, None)
        if before is not None:
            self._waiting[before].pop(place, None)
            if not self._waiting[before]:
                del self._waiting[before]
        if waits is not None:
            self._waits[place] = waits
            self._waiting.setdefault(waits, {})[place] = None


def _parked_key(place: Place) -> bytes:
    return msgspec.json.encode((PARKED, *place))


def restore(entries: Iterable[Entry], lookups: Lookups, parking: Parking) -> list[Parked]:
    """Make a state of the records of its topic, in their order; return what waited, in the order it was parked.

    Raises UnreadableStateError.
    """
    last = dict(entries)
    known: dict[tuple[str, str], tuple[str, int]] = {}
    parked: list[Parked] = []
    for key, value in last.items():
        if value is None:
            continue
        try:
            kind, *place = msgspec.json.decode(key)
            if kind == LOOKUP:
                lookup, of = place
                known[lookup, of] = _learned.decode(value)
            elif kind == PARKED:
                parked.append(_parked.decode(value))
            else:
                raise UnreadableStateError(f"the state holds an entry of the kind {str(kind)[:20]!r}")
        except (msgspec.MsgspecError, ValueError, TypeError) as error:
            raise UnreadableStateError(
                f"the state holds an entry that cannot be read ({type(error).__name__})"
            ) from None
    lookups.restore(known)
    return parking.restore(parked)
