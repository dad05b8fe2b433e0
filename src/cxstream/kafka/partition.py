"""What a worker knows of a partition it owns beyond its tables: ledger, deadlines, clock and how far it is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from cxstream.domain.cases import Case
from cxstream.engine.clock import PartitionClock
from cxstream.engine.deadlines import Deadlines
from cxstream.engine.ledger import Ledger, Row, Windows
from cxstream.kafka.partition_batches import Progress
from cxstream.kafka.records import read_case

YIELD_EVERY_RECORDS = 500
"""Rebuilding lets the event loop breathe after this many records."""


class Partition:
    """One owned partition number over all co-partitioned topics. Everything in it is derived from its case records."""

    def __init__(self, number: int, generation: int, windows: Windows) -> None:
        """Begin empty, owned in a generation of the consumer group."""
        self.number = number
        self.generation = generation
        self.ledger = Ledger(windows)
        self.deadlines = Deadlines()
        self.clock = PartitionClock()
        self.lock = asyncio.Lock()
        """Held by whoever changes cases of this partition, from reading them to the acknowledged write."""
        self.caught_up = False
        """Whether all that was in the topics when the partition was taken over is processed, and the clock heard."""
        self._behind: dict[str, int] | None = None
        self._rows: tuple[int, list[Row]] = (-1, [])

    async def rebuild(self, records: Iterable[tuple[bytes, bytes]]) -> None:
        """Add up what the recovered case records contribute: no case is judged for it."""
        floor_ms = 0
        for count, (key, data) in enumerate(records, start=1):
            case = read_case(data)
            self.update(key, None, case)
            floor_ms = max(floor_ms, case.judged_ms)
            if count % YIELD_EVERY_RECORDS == 0:
                await asyncio.sleep(0)
        self.clock = PartitionClock(floor_ms)

    def update(self, key: bytes, old: Case | None, new: Case) -> None:
        """Let ledger and deadlines follow a record that has been replaced."""
        if old is None or old.verdicts != new.verdicts or old.segment != new.segment:
            self.ledger.replace(old, new)
        self.deadlines.set(key, new.deadline_ms)

    def rows(self) -> list[Row]:
        """Return the figures of the ledger, made anew only when it has changed."""
        if self._rows[0] != self.ledger.version:
            self._rows = self.ledger.version, list(self.ledger.rows())
        return self._rows[1]

    def observe(self, progress: Mapping[str, Progress]) -> bool:
        """Note how far each topic of the partition is; return whether all are past where they ended at first."""
        if self._behind is None:
            self._behind = {name: topic.end for name, topic in progress.items()}
        self._behind = {name: end for name, end in self._behind.items() if progress[name].acked < end}
        return not self._behind
