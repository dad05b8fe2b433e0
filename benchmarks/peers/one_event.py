"""What both peers do with one event: decode it, judge its case with it, and return the record to keep."""

from __future__ import annotations

from typing import Any

from benchmarks.judging import Judging
from benchmarks.measuring import Run, Stopwatch
from cxstream.domain.cases import Case
from cxstream.domain.policy import Policy
from cxstream.kafka.codec import Codec, Headers
from cxstream.kafka.records import read_case, write
from cxstream.kafka.schemas import Schemas


class Judge:
    """Counts the events it is given, from the first on."""

    def __init__(self, asked: dict[str, Any]) -> None:
        self.left = int(asked["records"])
        self._records = self.left
        self._kinds = {topic: kind for kind, topic in asked["topics"].items()}
        self._codec = Codec(Schemas.packaged(), skew_ms=Policy().clock_skew_ms)
        self._judging = Judging()
        self._watch: Stopwatch | None = None

    def record(
        self, topic: str, partition: int, key: bytes, value: bytes, headers: Headers, kept: bytes | None
    ) -> bytes:
        """Return the record of a case after an event; `kept` is the one before."""
        if self._watch is None:
            self._watch = Stopwatch()
        case_id, fact = self._codec.decode(self._kinds[topic], key, value, 0, headers, trusted=True)
        old = Case(case_id) if kept is None else read_case(kept)
        new = self._judging.revise(partition, old, [fact])
        self.left -= 1
        return write(new)

    def stop(self) -> Run:
        """Return what all of it took."""
        assert self._watch is not None
        return self._watch.stop(self._records, counts=self._judging.counts(), written=1.0)
