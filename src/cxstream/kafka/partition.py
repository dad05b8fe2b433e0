"""What a worker knows of a partition it owns beyond its tables: ledger, deadlines, clock and how far it is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from cxstream.domain.cases import Case
from cxstream.domain.instant import NEVER_MS
from cxstream.engine.assess import SOURCE_SILENT
from cxstream.engine.clock import PartitionClock
from cxstream.engine.deadlines import Deadlines
from cxstream.engine.ledger import Ledger, Row, Tally, Windows
from cxstream.engine.watermark import NOTHING, Marks, PartitionMarks, Said
from cxstream.kafka.records import PublishedCase, is_residue, read_published

YIELD_EVERY_RECORDS = 500
"""Rebuilding lets the event loop breathe after this many records."""
YIELD_EVERY_CELLS = 5_000
"""And after so many different cells were counted: records that follow each other share most of theirs."""


class Partition:
    """One owned partition number over all co-partitioned topics. Everything in it is derived from its case records."""

    def __init__(
        self, number: int, generation: int, windows: Windows, sources: Iterable[str], marks: Marks = NOTHING
    ) -> None:
        """Begin empty, owned in a generation of the consumer group, with what was said of it before.

        `sources` are the kinds of source topics: ticket, dispatch, parts.
        """
        self.number = number
        self.generation = generation
        self.ledger = Ledger(windows)
        self.deadlines = Deadlines()
        """When the clock alone may change a verdict of a case."""
        self.settling = Deadlines()
        """Up to when the group must have come for a verdict of a case to be final."""
        self.clock = PartitionClock(sources)
        self.marks = PartitionMarks(marks)
        self.lock = asyncio.Lock()
        """Held by whoever changes cases of this partition, from reading them to the acknowledged write."""
        self._silent_since_ms: Mapping[str, int] | None = None
        self._withheld: dict[bytes, None] = {}  # in order: a set would have another one in every process
        self._announced_ms: int | None = None
        self._recheck: dict[bytes, None] = {}
        self.sweeping: Iterator[bytes] = iter(())
        """Boards still to be looked at for cases that are long over."""
        self.counted_ms = 0
        """The clock reading that the ledger follows."""
        self.is_announced = False
        """Whether all that was published is announced, by this owner or those before."""
        self.caught_up = False
        """Whether all that was in the topics when the partition was taken over is processed, and the clock heard."""
        self._behind: Mapping[str, int] | None = None
        self._rows: tuple[int, list[Row]] = (-1, [])

    async def rebuild(self, records: Iterable[tuple[bytes, bytes]], judged_under: int) -> None:
        """Add up what the recovered case records contribute: no case is judged for it.

        But one that was last judged by another policy, or other signs, than those of this fingerprint is to be judged,
        though all of it be final: a unit whose facts were too late for all that there was may come to exist. And one
        that was erased is to be buried: its owner ended before it had.
        """
        floor_ms = 0
        tally = Tally(int)
        for count, (key, data) in enumerate(records, start=1):
            case = read_published(data)
            self.ledger.tally(tally, case)
            self._follow(key, case)
            is_to_bury = case.closed == "erased" and not is_residue(key)
            if is_to_bury or (case.has_facts and case.judged_under != judged_under):
                self._recheck[key] = None
            floor_ms = max(floor_ms, case.judged_ms)
            if count % YIELD_EVERY_RECORDS == 0:
                await asyncio.sleep(0)
            if len(tally) >= YIELD_EVERY_CELLS:
                self.ledger.apply(tally)
                tally.clear()
                await asyncio.sleep(0)
        self.ledger.apply(tally)
        self.clock.floor(max(floor_ms, self.marks.clock_ms))
        self.counted_ms = self.clock.now_ms

    def update(self, key: bytes, old: Case | None, new: Case | None) -> None:
        """Let ledger and deadlines follow a record that has been replaced; None: there was none, or is none now."""
        if old is None or new is None or _contributed(old) != _contributed(new):
            self.ledger.replace(old, new)
        self._follow(key, new)

    def _follow(self, key: bytes, new: Case | PublishedCase | None) -> None:
        self.deadlines.set(key, NEVER_MS if new is None else new.deadline_ms)
        self.settling.set(key, NEVER_MS if new is None else new.settles_ms)
        self._withheld.pop(key, None)
        if new is not None and any(verdict.reason == SOURCE_SILENT for verdict in new.verdicts):
            self._withheld[key] = None

    def announced(self, said: Said) -> None:
        """Note what was said of it; the first word in this tenure counts."""
        if self._announced_ms is None:
            self._announced_ms = said.marks[0]

    def is_heard(self, marks: Marks) -> bool:
        """Whether its own word has been heard, and with it all that was said in the group before."""
        return self._announced_ms is not None and marks[0] >= self._announced_ms

    def hears(self, silent_since_ms: Mapping[str, int]) -> None:
        """Note which source topics are dead with the last delivery of each, before cases are judged by it.

        Where one has fallen silent all that is not final is judged again, else what was withheld for a silence.
        """
        before = self._silent_since_ms
        if silent_since_ms != before:
            is_new = before is None or not silent_since_ms.items() <= before.items()
            self._recheck |= dict.fromkeys(self.settling.keys() if is_new and silent_since_ms else self._withheld)
            self._silent_since_ms = silent_since_ms

    @property
    def is_to_recheck(self) -> bool:
        """Whether cases are still to be judged again, whatever their deadlines."""
        return bool(self._recheck)

    def rechecked(self, limit: int) -> list[bytes]:
        """Return up to `limit` of those, and take them for judged."""
        keys = list(islice(self._recheck, limit))
        for key in keys:
            del self._recheck[key]
        return keys

    def rows(self) -> list[Row]:
        """Return the figures of the ledger, made anew only when it has changed."""
        if self._rows[0] != self.ledger.version:
            self._rows = self.ledger.version, list(self.ledger.rows())
        return self._rows[1]

    def observe(self, acked: Mapping[str, int], ends: Mapping[str, int]) -> bool:
        """Note how far each topic of the partition is; return whether all are past where they ended at first."""
        behind = ends if self._behind is None else self._behind
        self._behind = {topic: end for topic, end in behind.items() if acked[topic] < end}
        return not self._behind


def _contributed(case: Case) -> tuple[object, ...]:
    return case.verdicts, case.segment, case.sightings
