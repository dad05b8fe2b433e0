"""Deadlines: which cases of a partition the clock alone may change, and when."""

from __future__ import annotations

from heapq import heapify, heappop, heappush

from cxstream.domain.instant import MINUTE_MS, NEVER_MS

_BUCKET_MS = MINUTE_MS


class Deadlines:
    """The next instant of every case at which it must be judged again, by key.

    Those that are far off lie unsorted in buckets, which is half as much memory; those that are near, in a heap.
    """

    def __init__(self) -> None:
        self._at_ms: dict[bytes, int] = {}
        # What was once set lies where it was put until it is met, though the deadline has moved.
        self._near: list[tuple[int, bytes]] = []
        self._far: dict[int, list[bytes]] = {}
        self._far_order: list[int] = []
        """A heap of the numbers of the buckets."""
        self._near_until = 0
        """The number of the first bucket that is far off."""
        self._entries = 0

    def __len__(self) -> int:
        return len(self._at_ms)

    def set(self, key: bytes, deadline_ms: int) -> None:
        """Set the deadline of a case, in place of the one it had; NEVER_MS takes it away."""
        if deadline_ms >= NEVER_MS:
            self._at_ms.pop(key, None)
        elif self._at_ms.get(key) != deadline_ms:
            self._at_ms[key] = deadline_ms
            self._enter(key, deadline_ms)
            if self._entries > 2 * len(self._at_ms) + 1024:
                self._begin_anew()

    def due(self, now_ms: int, limit: int) -> list[bytes]:
        """Return up to `limit` cases whose deadline has come, earliest first; they keep it until a new one is set."""
        self._come_near(now_ms)
        keys: list[bytes] = []
        passed: list[tuple[int, bytes]] = []
        while self._near and self._near[0][0] <= now_ms and len(keys) < limit:
            entry = heappop(self._near)
            stands = self._at_ms.get(entry[1]) == entry[0]
            if stands and passed[-1:] != [entry]:  # a deadline that moved away and back is there twice
                keys.append(entry[1])
                passed.append(entry)
            else:
                self._entries -= 1
        for entry in passed:
            heappush(self._near, entry)
        return keys

    def _come_near(self, now_ms: int) -> None:
        before = len(self._near)
        while self._far_order and self._far_order[0] * _BUCKET_MS <= now_ms:
            number = heappop(self._far_order)
            self._near_until = number + 1
            entered = self._far.pop(number)
            standing = [(at_ms, key) for key in entered if (at_ms := self._at_ms.get(key, -1)) // _BUCKET_MS == number]
            self._entries += len(standing) - len(entered)
            self._near += standing
        if len(self._near) > before:
            heapify(self._near)

    def _enter(self, key: bytes, at_ms: int) -> None:
        self._entries += 1
        number = at_ms // _BUCKET_MS
        if number < self._near_until:
            heappush(self._near, (at_ms, key))
        elif number in self._far:
            self._far[number].append(key)
        else:
            self._far[number] = [key]
            heappush(self._far_order, number)

    def _begin_anew(self) -> None:
        self._near, self._far, self._far_order, self._entries = [], {}, [], 0
        for key, at_ms in self._at_ms.items():
            self._enter(key, at_ms)
