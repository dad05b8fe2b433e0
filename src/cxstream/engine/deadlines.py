"""Deadlines: which cases of a partition the clock alone may change, and when."""

from __future__ import annotations

from heapq import heapify, heappop, heappush

from cxstream.domain.instant import NEVER_MS


class Deadlines:
    """The next instant of every case at which it must be judged again, by key."""

    def __init__(self) -> None:
        self._at_ms: dict[bytes, int] = {}
        self._heap: list[tuple[int, bytes]] = []

    def __len__(self) -> int:
        return len(self._at_ms)

    def keys(self) -> list[bytes]:
        """Return the keys that have a deadline."""
        return list(self._at_ms)

    def set(self, key: bytes, deadline_ms: int) -> None:
        """Set the deadline of a case, in place of the one it had; NEVER_MS takes it away."""
        if deadline_ms >= NEVER_MS:
            self._at_ms.pop(key, None)
        elif self._at_ms.get(key) != deadline_ms:
            self._at_ms[key] = deadline_ms
            heappush(self._heap, (deadline_ms, key))
            if len(self._heap) > 2 * len(self._at_ms) + 1024:
                self._heap = [(at_ms, known) for known, at_ms in self._at_ms.items()]
                heapify(self._heap)

    def due(self, now_ms: int, limit: int) -> list[bytes]:
        """Return up to `limit` cases whose deadline has come, earliest first; they keep it until a new one is set."""
        keys: list[bytes] = []
        passed: list[tuple[int, bytes]] = []
        while self._heap and self._heap[0][0] <= now_ms and len(keys) < limit:
            entry = heappop(self._heap)
            stands = self._at_ms.get(entry[1]) == entry[0]
            if stands and passed[-1:] != [entry]:  # a deadline that moved away and back is there twice
                keys.append(entry[1])
                passed.append(entry)
        for entry in passed:
            heappush(self._heap, entry)
        return keys
