"""Event-time windows: counts by the instant a unit is counted at; they expire by the clock and can be taken back."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Generic, TypeVar

from cxstream.domain.instant import MINUTE_MS

BUCKET_MS = 5 * MINUTE_MS
"""Width of a bucket: windows move in steps of this."""

Key = TypeVar("Key", bound=Hashable)


class WindowedCounts(Generic[Key]):
    """Counts per key over several windows that end now.

    A unit counted at `anchor_ms` is in a window of length w at `now_ms` if its bucket is one of the w / BUCKET_MS last
    ones, the running one included. Adding and taking back cost the same; moving the clock costs what enters and
    leaves.
    """

    def __init__(self, windows_ms: Sequence[int]) -> None:
        """Count over windows of these lengths in milliseconds, multiples of BUCKET_MS."""
        self._windows: list[tuple[int, dict[Key, int]]] = [(window_ms // BUCKET_MS, {}) for window_ms in windows_ms]
        self._longest = max(length for length, _sums in self._windows)
        self._buckets: dict[int, dict[Key, int]] = {}
        self._now = -(1 << 62)

    def add(self, anchor_ms: int, counts: Mapping[Key, int]) -> None:
        """Count so many more units of each key (fewer, if negative); beyond the longest window they are forgotten."""
        bucket, now = anchor_ms // BUCKET_MS, self._now
        there = self._buckets.get(bucket)
        if there is None:
            if bucket <= now - self._longest:
                return
            there = self._buckets[bucket] = {}
        _merge(there, counts, 1)
        if not there:
            del self._buckets[bucket]
        if bucket <= now:
            for length, sums in self._windows:
                if bucket > now - length:
                    _merge(sums, counts, 1)

    def advance(self, now_ms: int) -> bool:
        """Move the end of all windows to `now_ms`, never back; return whether it moved."""
        now = now_ms // BUCKET_MS
        if now <= self._now:
            return False
        for length, sums in self._windows:
            for bucket in self._between(self._now - length, now - length):
                if bucket <= self._now:
                    _merge(sums, self._buckets[bucket], -1)
            for bucket in self._between(max(self._now, now - length), now):
                _merge(sums, self._buckets[bucket], 1)
        for bucket in self._between(None, now - self._longest):
            del self._buckets[bucket]
        self._now = now
        return True

    def over(self, window_index: int) -> Mapping[Key, int]:
        """Return the counts over one window as of the last `advance`; keys that count nothing are absent."""
        return self._windows[window_index][1]

    def span(self, window_index: int) -> range:
        """Return the numbers of the buckets of one window as of the last `advance`, the running one last."""
        return range(self._now - self._windows[window_index][0] + 1, self._now + 1)

    def within(self, bucket: int) -> Mapping[Key, int]:
        """Return the counts of one bucket by its number: instant in milliseconds // BUCKET_MS."""
        return self._buckets.get(bucket, {})

    def _between(self, after: int | None, until: int) -> Iterator[int]:
        """Yield the filled buckets in (after, until]."""
        if after is not None and until - after < len(self._buckets):
            return iter([bucket for bucket in range(after + 1, until + 1) if bucket in self._buckets])
        return iter([bucket for bucket in self._buckets if (after is None or bucket > after) and bucket <= until])


def _merge(counts: dict[Key, int], others: Mapping[Key, int], sign: int) -> None:
    for key, count in others.items():
        total = counts.get(key, 0) + sign * count
        if total:
            counts[key] = total
        else:
            counts.pop(key, None)
