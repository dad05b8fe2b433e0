"""What one client, and all of them together, may send: a bucket of tokens for each, and a budget of bytes."""

from __future__ import annotations

from collections import OrderedDict
from math import ceil

MAX_CLIENTS = 10_000
"""Clients whose rate is remembered; the one not heard for longest gives way."""


class Rates:
    """Token buckets: a client may send `burst` requests at once, and `per_second` of them in the long run."""

    def __init__(self, per_second: float, burst: int, max_clients: int = MAX_CLIENTS) -> None:
        self._per_second = per_second
        self._burst = burst
        self._max_clients = max_clients
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str, now_seconds: float) -> int:
        """Take a token of the client; return 0, or after how many whole seconds there is one again."""
        tokens, since_seconds = self._buckets.pop(client, (float(self._burst), now_seconds))
        tokens = min(float(self._burst), tokens + (now_seconds - since_seconds) * self._per_second)
        wait_seconds = 0 if tokens >= 1 else max(1, ceil((1 - tokens) / self._per_second))
        self._buckets[client] = (tokens if wait_seconds else tokens - 1, now_seconds)
        while len(self._buckets) > self._max_clients:
            self._buckets.popitem(last=False)
        return wait_seconds


class InFlight:
    """Bytes of bodies that are being read, or whose events the brokers have not acknowledged."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self.held_bytes = 0

    def hold(self, size_bytes: int) -> bool:
        """Hold so many bytes more, and return whether the limit allows it; if not, nothing is held."""
        if self.held_bytes + size_bytes > self._limit_bytes:
            return False
        self.held_bytes += size_bytes
        return True

    def keep(self, size_bytes: int) -> None:
        """Hold so many bytes more, whatever the limit: they are held already, and go on being."""
        self.held_bytes += size_bytes

    def release(self, size_bytes: int) -> None:
        """Hold so many bytes less."""
        self.held_bytes -= size_bytes
