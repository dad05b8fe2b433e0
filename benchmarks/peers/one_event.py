"""What both peers do with one event: decode it, judge its case with it, and return the record to keep."""

from __future__ import annotations

from itertools import cycle
from typing import Any

from benchmarks.judging import Judging, records_of_a_case
from benchmarks.measuring import Run, Stopwatch
from cxstream.domain.cases import Case
from cxstream.domain.policy import Policy
from cxstream.kafka.codec import Codec, Headers
from cxstream.kafka.records import read_case, write
from cxstream.kafka.schemas import Schemas


class Judge:
    """Counts the events it is given, from the first on.

    One that is asked not to judge decodes the event and returns a record as long as those the others keep.
    """

    def __init__(self, asked: dict[str, Any]) -> None:
        self.left = int(asked["records"])
        self._records = self.left
        self._kinds = {topic: kind for kind, topic in asked["topics"].items()}
        self._codec = Codec(Schemas.packaged(), skew_ms=Policy().clock_skew_ms)
        self._judging = Judging() if asked["judges"] else None
        self._ready_made = cycle(records_of_a_case())
        self._watch: Stopwatch | None = None

    def record(
        self, topic: str, partition: int, key: bytes, value: bytes, headers: Headers, kept: bytes | None
    ) -> bytes:
        """Return the record of a case after an event; `kept` is the one before."""
        if self._watch is None:
            self._watch = Stopwatch()
        case_id, fact = self._codec.decode(self._kinds[topic], key, value, 0, headers, trusted=True)
        self.left -= 1
        if self._judging is None:
            return next(self._ready_made)
        old = Case(case_id) if kept is None else read_case(kept)
        return write(self._judging.revise(partition, old, [fact]))

    def stop(self) -> Run:
        """Return what all of it took."""
        assert self._watch is not None
        counts = None if self._judging is None else self._judging.counts()
        return self._watch.stop(self._records, counts=counts, written=1.0)
