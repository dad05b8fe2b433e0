"""What a worker knows of a partition it owns beyond its tables: ledger, deadlines, clock and how far it is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

from cxstream.domain.cases import Case
from cxstream.domain.instant import NEVER_MS
from cxstream.engine.assess import SOURCE_SILENT
from cxstream.engine.clock import PartitionClock
from cxstream.engine.deadlines import Deadlines
from cxstream.engine.ledger import Lasting, Ledger, Row, Windows
from cxstream.engine.watermark import NOTHING, Marks, PartitionMarks, Said
from cxstream.kafka.changelog_table import Changed
from cxstream.kafka.records import PublishedCase, UnreadableRecordError, is_residue, read_published


class Holdings:
    """What the case records of one partition come to: added up while they are read, no case is judged for it.

    It follows the table of cases record by record, that of a standby replica too, so that nothing is left to be added
    up when the partition is taken over.
    """

    def __init__(self, windows: Windows, judged_under: int) -> None:
        """Begin with no records. `judged_under` is the fingerprint of the policy and the signs in force."""
        self.ledger = Ledger(windows)
        self.deadlines = Deadlines()
        """When the clock alone may change a verdict of a case."""
        self.settling = Deadlines()
        """Up to when the group must have come for a verdict of a case to be final."""
        self.judged_ms = 0
        """The newest clock reading a case was judged at."""
        # Dictionaries, for their order: a set would have another one in every process.
        self.withheld: dict[bytes, None] = {}
        """Cases with a miss withheld for the silence of a dead source."""
        self.missed_ms: dict[bytes, int] = {}
        """Cases with a miss that is not final, and the latest instant one is counted at."""
        self.overtaken: dict[bytes, None] = {}
        """Cases to be judged whatever the clock.

        One that was put off, or was last judged by another policy, or other signs, though all of it be final: a unit
        whose facts were too late for all that there was may come to exist. And one that was erased is to be buried:
        its owner ended before it had.
        """
        self.unreadable: dict[bytes, UnreadableRecordError] = {}
        """Records that this version cannot read, and that add nothing: see `complete`."""
        self._judged_under = judged_under

    def read(self, changes: Iterable[Changed]) -> None:
        """Follow records that have been read: their labels were counted as capped by who wrote them."""
        for key, before, after in changes:
            counted = before if self.unreadable.pop(key, None) is None else None
            old = None if counted is None else read_published(counted)
            new = self._readable(key, after)
            self.ledger.replace(old, new, is_news=False)
            self._follow(key, new)

    def _readable(self, key: bytes, data: bytes | None) -> PublishedCase | None:
        try:
            return None if data is None else read_published(data)
        except UnreadableRecordError as error:
            self.unreadable[key] = error
            return None

    def complete(self) -> None:
        """Take what was read for all there is, to be owned; raises UnreadableRecordError if one could not be read."""
        for error in self.unreadable.values():
            raise error

    def replace(self, key: bytes, old: Case | None, new: Case | None) -> None:
        """Follow a record that has been written by what was judged here."""
        self.ledger.replace(old, new)
        self._follow(key, new)

    def _follow(self, key: bytes, new: Case | PublishedCase | None) -> None:
        for kept in (self.withheld, self.overtaken, self.missed_ms):
            if kept:
                kept.pop(key, None)
        if new is None:
            self.deadlines.set(key, NEVER_MS)
            self.settling.set(key, NEVER_MS)
            return
        self.deadlines.set(key, new.deadline_ms)
        self.settling.set(key, new.settles_ms)
        self.judged_ms = max(self.judged_ms, new.judged_ms)
        if self._is_overtaken(key, new):
            self.overtaken[key] = None
        for verdict in new.verdicts:
            if verdict.verdict == "miss" and not verdict.sealed:
                self.missed_ms[key] = max(verdict.anchor_ms, self.missed_ms.get(key, verdict.anchor_ms))
            elif verdict.reason == SOURCE_SILENT:
                self.withheld[key] = None

    def _is_overtaken(self, key: bytes, case: Case | PublishedCase) -> bool:
        if case.closed == "erased":
            return not is_residue(key)
        if case.judged_under == self._judged_under:
            return False
        return bool(case.facts) if isinstance(case, Case) else case.has_facts


class Partition:
    """One owned partition number over all co-partitioned topics. Everything in it is derived from its case records."""

    def __init__(
        self, number: int, generation: int, holdings: Holdings, sources: Iterable[str], marks: Marks = NOTHING
    ) -> None:
        """Begin, owned in a generation of the consumer group, with all its records and what was said of it before.

        `sources` are the kinds of source topics: ticket, dispatch, parts.
        """
        self.number = number
        self.generation = generation
        self.holdings = holdings
        self.ledger = holdings.ledger
        self.deadlines = holdings.deadlines
        self.settling = holdings.settling
        self.clock = PartitionClock(sources)
        self.marks = PartitionMarks(marks)
        self.clock.floor(max(holdings.judged_ms, self.marks.clock_ms))
        self.lock = asyncio.Lock()
        """Held by whoever changes cases of this partition, from reading them to the acknowledged write."""
        self._silent_since_ms: Mapping[str, int] | None = None
        self._announced_ms: int | None = None
        self._recheck: dict[bytes, None] = dict(holdings.overtaken)
        self.sweeping: Iterator[bytes] = iter(())
        """Boards still to be looked at for cases that are long over."""
        self.counted_ms = self.clock.now_ms
        """The clock reading that the ledger follows."""
        self.is_announced = False
        """Whether all that was published is announced, by this owner or those before."""
        self.puts_off = False
        """Whether judging may wait: nobody is shown its figures before it has caught up."""
        self.caught_up = False
        """Whether all that was in the topics when the partition was taken over is processed, and the clock heard."""
        self._behind: Mapping[str, int] | None = None
        self._rows: tuple[int, list[Row]] = (-1, [])

    def update(self, key: bytes, old: Case | None, new: Case | None) -> None:
        """Let ledger and deadlines follow a record that has been replaced; None: there was none, or is none now."""
        self.holdings.replace(key, old, new)

    def announced(self, said: Said) -> None:
        """Note what was said of it; the first word in this tenure counts."""
        if self._announced_ms is None:
            self._announced_ms = said.marks[0]

    def is_heard(self, marks: Marks) -> bool:
        """Whether its own word has been heard, and with it all that was said in the group before."""
        return self._announced_ms is not None and marks[0] >= self._announced_ms

    def hears(self, silent_since_ms: Mapping[str, int]) -> None:
        """Note which source topics are dead with the last delivery of each, before cases are judged by it.

        What may change is judged again: where one has fallen silent, misses that are counted after its last delivery;
        and in any case what was withheld for a silence.
        """
        before = self._silent_since_ms
        if silent_since_ms == before:
            return
        self._silent_since_ms = silent_since_ms
        self._recheck |= self.holdings.withheld
        fallen_silent = dict(silent_since_ms.items() - (before or {}).items())
        if fallen_silent:
            since_ms = min(fallen_silent.values())
            missed = self.holdings.missed_ms.items()
            self._recheck |= dict.fromkeys(key for key, missed_ms in missed if missed_ms > since_ms)

    def judge_at_once(self) -> None:
        """Put nothing off any more, and judge what was."""
        if self.puts_off:
            self.puts_off = False
            self._recheck |= self.holdings.overtaken

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

    def recheck(self, keys: Iterable[bytes]) -> None:
        """Judge cases again whatever their deadlines: they were taken for judged, and nothing of it was written."""
        self._recheck |= dict.fromkeys(keys)

    def rows(self) -> Sequence[Row]:
        """Return the figures as of the clock reading they follow, made anew only when they have changed.

        None before it has caught up.
        """
        if not self.caught_up:
            return ()
        self.ledger.advance(self.counted_ms)
        if self._rows[0] != self.ledger.version:
            self._rows = self.ledger.version, list(self.ledger.rows())
        return self._rows[1]

    def lasting(self) -> Sequence[Lasting]:
        """Return what goes on now, as the ledger has it; nothing before it has caught up."""
        return tuple(self.ledger.lasting()) if self.caught_up else ()

    def observe(self, acked: Mapping[str, int], ends: Mapping[str, int]) -> bool:
        """Note how far each topic of the partition is; return whether all are past where they ended at first."""
        behind = ends if self._behind is None else self._behind
        self._behind = {topic: end for topic, end in behind.items() if acked[topic] < end}
        return not self._behind
