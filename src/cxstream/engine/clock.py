"""The clock of a partition: how far its source topics are known, by delivery time."""

from __future__ import annotations

from collections.abc import Iterable


class PartitionClock:
    """Reads what time it is for the cases of one partition; it never goes back.

    A source topic is known up to the last delivery taken from it, or, where the broker says that nothing more is there,
    up to the instant it was asked. The clock is the least of these: wall time when the partition is caught up, delivery
    time while it is behind. So history is judged as it would have been, the change from backfill to live is continuous,
    and nothing is judged by a silence that has not been listened to.
    """

    def __init__(self, topics: Iterable[str]) -> None:
        """Know nothing of these source topics yet."""
        self._known_ms = dict.fromkeys(topics, 0)
        self._floor_ms = 0
        self.delivered_ms: dict[str, int] = {}
        """Latest delivery taken from each source topic."""

    @property
    def now_ms(self) -> int:
        """The time, in milliseconds since the epoch."""
        return max(self._floor_ms, min(self._known_ms.values()))

    def floor(self, recovered_ms: int) -> None:
        """Start no earlier than the newest clock reading that was recovered."""
        self._floor_ms = recovered_ms

    def took(self, topic: str, delivered_ms: int) -> None:
        """Note that everything of a topic up to a delivery time has been taken."""
        self.delivered_ms[topic] = max(delivered_ms, self.delivered_ms.get(topic, 0))
        self.knows(topic, delivered_ms)

    def knows(self, topic: str, until_ms: int) -> None:
        """Note that a topic held nothing more that was delivered up to an instant."""
        self._known_ms[topic] = max(until_ms, self._known_ms[topic])
