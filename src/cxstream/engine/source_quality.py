"""What each source sends and what became of it: counts, how far its times are off, and its last rejections.

A source is a topic and, where a record states one in its header, the name of the system that sent it. Names are a
closed list: what is not in it is counted together. Nothing here holds what a record says, or of which case it is.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from cxstream.domain.instant import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS
from cxstream.engine.ledger import OTHER

SOURCE_HEADER = "cxstream-source"
"""Header in which a producer names the system an event comes from."""
UNNAMED = "none"
"""The source of records that name none."""

DISPOSITIONS = ("applied", "unknown_type", "duplicate", "conflict", "after_seal", "closed_case", "dead_letter")
"""What becomes of a record that is read; each has exactly one."""
DIRECTIONS = ("behind", "ahead")
"""Of an event and its delivery: it was delivered after it happened, or before."""
SKEW_BOUNDS_MS = (SECOND_MS, 10 * SECOND_MS, MINUTE_MS, 5 * MINUTE_MS, HOUR_MS, 6 * HOUR_MS, DAY_MS, 7 * DAY_MS)

Headers = Mapping[str, bytes | None] | Iterable[tuple[str, bytes | None]] | None


class Rejection(NamedTuple):
    """A record that was no fact: when that was found, why, where it is, and nothing of what it says."""

    rejected_ms: int
    reason: str
    field: str | None
    expected: str
    partition: int
    offset: int


class Skews:
    """How far deliveries were from what happened, in one direction; at an instant both, it counts as behind."""

    def __init__(self) -> None:
        self.counts = [0] * (len(SKEW_BOUNDS_MS) + 1)
        self.sum_ms = 0


class Account:
    """What one source sent since this process started."""

    def __init__(self, kept: int) -> None:
        self.dispositions: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.skews = {direction: Skews() for direction in DIRECTIONS}
        self.rejections: deque[Rejection] = deque(maxlen=kept)
        """The last ones, oldest first."""

    @property
    def records(self) -> int:
        """Return how many records were read."""
        return self.dispositions.total()


class SourceQuality:
    """The accounts of all sources, by topic and name. Call it from one thread."""

    def __init__(self, topics: Iterable[str], names: Iterable[str] = (), *, kept: int = 50) -> None:
        """`names` are told apart, `kept` is how many rejections of a source are kept."""
        self._names = {name.encode(): name for name in names}
        self._kept = kept
        self.accounts = {(topic, name): Account(kept) for topic in topics for name in (UNNAMED, *self._names.values())}

    def name_of(self, headers: Headers) -> str:
        """Return the name of the source of a record: the last header of the name counts, as in Kafka's clients."""
        if not headers:
            return UNNAMED
        stated: bytes | None = None
        for name, value in headers.items() if isinstance(headers, Mapping) else headers:
            if name == SOURCE_HEADER:
                stated = value
        return UNNAMED if not stated else self._names.get(stated, OTHER)

    def count(self, topic: str, dispositions: Mapping[tuple[str, str], int]) -> None:
        """Count records of a topic, by the name of their source and what became of them."""
        for (name, disposition), records in dispositions.items():
            if records:
                self.account(topic, name).dispositions[disposition] += records

    def reject(self, topic: str, name: str, rejection: Rejection) -> None:
        """Note why a record became a dead letter."""
        account = self.account(topic, name)
        account.reasons[rejection.reason] += 1
        account.rejections.append(rejection)

    def delivered(self, topic: str, name: str, delays_ms: Iterable[int]) -> None:
        """Note how long after they happened events were delivered; less than nothing if their times are ahead."""
        skews = self.account(topic, name).skews
        for delay_ms in delays_ms:
            of = skews["behind" if delay_ms >= 0 else "ahead"]
            of.counts[bisect_left(SKEW_BOUNDS_MS, abs(delay_ms))] += 1
            of.sum_ms += abs(delay_ms)

    def account(self, topic: str, name: str) -> Account:
        """Return the account of a source; OTHER gets one when it is first heard of."""
        account = self.accounts.get((topic, name))
        if account is None:
            account = self.accounts[topic, name] = Account(self._kept)
        return account
