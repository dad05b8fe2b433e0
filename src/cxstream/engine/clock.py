"""The clock of a partition: wall time when it is caught up, delivery time while it is behind."""

from __future__ import annotations

from collections.abc import Mapping


class PartitionClock:
    """Reads what time it is for the cases of one partition; it never goes back.

    While a source topic of the partition lags, nothing later than the last delivery taken from it may be assumed to be
    known: the clock is the smallest such delivery time among the lagging topics. So history is judged as it would have
    been, and the change from backfill to live is continuous.
    """

    def __init__(self, floor_ms: int = 0) -> None:
        """Start no earlier than `floor_ms`, the newest clock reading that was recovered."""
        self.now_ms = floor_ms
        self.delivered_ms: dict[str, int] = {}
        """Latest delivery time taken from each source topic."""

    def took(self, topic: str, delivered_ms: int) -> None:
        """Note that everything of a topic up to a delivery time has been taken."""
        if delivered_ms > self.delivered_ms.get(topic, 0):
            self.delivered_ms[topic] = delivered_ms

    def read(self, wall_ms: int, lag_records: Mapping[str, int]) -> int:
        """Return the time in milliseconds, given the wall clock and how far each source topic lags.

        A topic that lags and of which nothing was taken yet holds the clock where it is.
        """
        lagging = [topic for topic, lag in lag_records.items() if lag > 0]
        reading_ms = min((self.delivered_ms.get(topic, 0) for topic in lagging), default=wall_ms)
        self.now_ms = max(self.now_ms, min(reading_ms, wall_ms))
        return self.now_ms
