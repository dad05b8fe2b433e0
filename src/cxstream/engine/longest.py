"""The longest of what lasts: the earliest beginning per key, kept right as cases come and go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


class Longest(Generic[Key]):
    """Beginnings by key, each as often as it was added: how many last, and since when the longest does."""

    def __init__(self) -> None:
        self._counts: dict[Key, Counter[int]] = {}
        self._heaps: dict[Key, list[int]] = {}
        self._totals: Counter[Key] = Counter()

    def add(self, key: Key, since_ms: int, count: int) -> None:
        """Add something of a key that began at `since_ms`, in milliseconds, `count` times; negative: take it back."""
        counts = self._counts.setdefault(key, Counter())
        heap = self._heaps.setdefault(key, [])
        if not counts[since_ms]:
            heappush(heap, since_ms)
        counts[since_ms] += count
        self._totals[key] += count
        if not counts[since_ms]:
            del counts[since_ms]
        if not counts:
            del self._counts[key], self._heaps[key], self._totals[key]
        elif len(heap) > 2 * len(counts) + 64:
            heap[:] = counts
            heapify(heap)

    def lasting(self) -> Iterator[tuple[Key, int, int]]:
        """Yield every key with how many last and since when the longest does, in milliseconds."""
        for key, counts in self._counts.items():
            heap = self._heaps[key]
            while heap[0] not in counts:
                heappop(heap)
            yield key, self._totals[key], heap[0]
