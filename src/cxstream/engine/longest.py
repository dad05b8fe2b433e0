"""The longest of what lasts: the earliest beginning per key, kept right as cases come and go."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


class _Begun:
    """What began under one key: how often when, the instants in a heap (some that count no more), how many in all."""

    __slots__ = ("counts", "heap", "total")

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}
        self.heap: list[int] = []
        self.total = 0


class Longest(Generic[Key]):
    """Beginnings by key, each as often as it was added: how many last, and since when the longest does."""

    def __init__(self) -> None:
        self._begun: dict[Key, _Begun] = {}

    def add(self, at_ms: int, counts: Mapping[Key, int]) -> None:
        """Add so many of each key that began at `at_ms`, in milliseconds; negative: take them back."""
        for key, count in counts.items():
            self._add(key, at_ms, count)

    def _add(self, key: Key, since_ms: int, count: int) -> None:
        begun = self._begun.get(key)
        if begun is None:
            begun = self._begun[key] = _Begun()
        counts, heap = begun.counts, begun.heap
        before = counts.get(since_ms, 0)
        begun.total += count
        if not before:
            heappush(heap, since_ms)
        if before + count:
            counts[since_ms] = before + count
        else:
            counts.pop(since_ms, None)
        if not counts:
            del self._begun[key]
        elif len(heap) > 2 * len(counts) + 64:
            heap[:] = counts
            heapify(heap)

    def lasting(self) -> Iterator[tuple[Key, int, int]]:
        """Yield every key with how many last and since when the longest does, in milliseconds."""
        for key, begun in self._begun.items():
            while begun.heap[0] not in begun.counts:
                heappop(begun.heap)
            yield key, begun.total, begun.heap[0]
