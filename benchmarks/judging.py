"""The pure core as competitors drive it: facts are received, cases assessed, and one ledger per partition follows."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import cache

from cxstream.config import load
from cxstream.domain.cases import Case
from cxstream.domain.facts import Fact, admit
from cxstream.domain.policy import Policy
from cxstream.engine.assess import NOT_JUDGED, Clock, assess, fingerprint, put_off, receive
from cxstream.engine.ledger import Ledger
from cxstream.kafka.records import read_case, write
from cxstream.vital_signs import TIER_A

from .events import reference_case
from .measuring import Counts

WINDOWS = load(None, {}).windows()
WINDOW = "30d"
"""The window that holds every unit of every history here."""
STATES = ("good", "bad", "pending", "excluded")


class Judging:
    """Judges at the newest delivery of a partition; it seals nothing, and tells no case of another."""

    def __init__(self) -> None:
        self._policy = Policy()
        self._judged_under = fingerprint(TIER_A, load(None, {}).policy())
        self._ledgers: defaultdict[int, Ledger] = defaultdict(lambda: Ledger(WINDOWS))
        self._now_ms: defaultdict[int, int] = defaultdict(int)

    def revise(self, partition: int, old: Case, facts: Iterable[Fact]) -> Case:
        """Return a case with facts taken in and judged; the ledger has followed."""
        return self._judge(partition, old, self._receive(partition, old, facts))

    def take_in(self, partition: int, old: Case, facts: Iterable[Fact]) -> Case:
        """Return a case with facts taken in, and judged only where that cannot wait until `catch_up`."""
        case = self._receive(partition, old, facts)
        return put_off(case, TIER_A, self._policy, self._clock(partition)) or self._judge(partition, old, case)

    def catch_up(self, partition: int, case: Case) -> None:
        """Judge a case that was put off."""
        if case.judged_under == NOT_JUDGED:
            self._judge(partition, case, case)

    def _receive(self, partition: int, case: Case, facts: Iterable[Fact]) -> Case:
        now_ms = self._now_ms[partition]
        for fact in facts:
            case, _ = receive(case, fact, TIER_A, self._policy)
            now_ms = max(now_ms, fact.delivered_ms)
        self._now_ms[partition] = now_ms
        return case

    def _judge(self, partition: int, old: Case, case: Case) -> Case:
        new = assess(case, TIER_A, self._policy, self._clock(partition), self._judged_under).case
        self._ledgers[partition].replace(old if old.facts else None, new)
        return new

    def _clock(self, partition: int) -> Clock:
        return Clock(self._now_ms[partition], 0)

    def counts(self) -> Counts:
        """Return how many units of each sign stand how now."""
        counts: Counter[str] = Counter()
        for partition, ledger in self._ledgers.items():
            ledger.advance(self._now_ms[partition])
            for row in ledger.rows():
                counted = row.sign in TIER_A and TIER_A[row.sign].objective is not None
                if counted and (row.level, row.window) == ("job", WINDOW) and row.state in STATES:
                    counts[f"{row.sign} {row.state}"] += row.units
        return dict(sorted(counts.items()))


@cache
def records_of_a_case() -> list[bytes]:
    """Return the record of a reference case after each of its facts."""
    judging = Judging()
    records: list[bytes] = []
    for _, event in reference_case(0, opened_ms=0):
        case_id, fact = admit(event, skew_ms=0)
        records.append(write(judging.revise(0, read_case(records[-1]) if records else Case(case_id), [fact])))
    return records
