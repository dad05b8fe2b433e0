"""What is final and in no figure any more is forgotten, and forgetting changes no figure (rules 3, 4 and 10)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable

import pytest

from cases import Event, arrived, completed, delivered, erased, ms, of_case, opened, resolved, scheduled
from cxstream.domain.cases import Case
from cxstream.domain.policy import Policy
from cxstream.domain.windows import BUCKET_MS
from cxstream.engine.boards import Board
from cxstream.engine.ledger import Row
from cxstream.kafka.case_agent import DUE_ROUNDS
from cxstream.kafka.codec import Codec
from cxstream.kafka.records import read_board, read_case
from cxstream.vital_signs import TIER_A
from parts.agent import SCHEMAS, Broker, CrashError, Life, Record, residue_key

POLICY = Policy(crowded_asset_cases=3)
MEMORY_DAYS = 63
CODEC = Codec(SCHEMAS, skew_ms=POLICY.clock_skew_ms)
HISTORY = [opened(), scheduled("1h", "4h", "6h"), arrived("5h"), completed("6h", "fixed"), resolved("6h")]
FINAL = ms("33d6h1ms")
"""When the case signs of this history are sealed: fix + R + H."""
ERASURE_RECORDS = len([name for name, sign in TIER_A.items() if sign.unit.kind in ("case", "visit")]) + 3
"""A closed record, what it announces of C1 and V1, a residue and a tombstone: all that an erasure of it writes."""
REMEMBERED = FINAL + POLICY.remembered_ms


class Process:
    """A case agent on one partition, fed with events at the times they are delivered."""

    def __init__(self) -> None:
        self.now_ms = ms("0h")
        self.broker = Broker()
        self.life = Life(self.broker, wall_ms=lambda: self.now_ms, policy=POLICY)
        self._offset = 0

    def take(self, *events: Event) -> None:
        """Deliver events, each at its time, and what they relay."""
        for case_id, fact in delivered(*events):
            self.now_ms = max(self.now_ms, fact.delivered_ms)
            envelope = {"event_id": fact.event_id, "topic": fact.topic, "type": fact.type, "case_id": case_id}
            value = CODEC.encode({**envelope, "at": fact.at_ms, **fact.fields})
            headers = [("cxstream-delivered-at", str(fact.delivered_ms).encode())]
            record = Record(case_id.encode(), value, fact.delivered_ms, headers, self._offset)
            self._offset += 1
            asyncio.run(self.life.process(fact.topic, [record]))
            asyncio.run(self.life.settle())

    def come_to(self, now_ms: int) -> None:
        """Let the clock come to an instant, and look at the boards."""
        self.now_ms = now_ms
        for _ in range(2):  # what is judged final is forgotten by a judgement of its own
            asyncio.run(self.life.agent.judge_due(self.life.partition))
        for _ in range(3):
            asyncio.run(self.life.agent.sweep(self.life.partition, now_ms))

    def case(self, case_id: str = "C1") -> Case | None:
        """Return the record of a case."""
        data = self.broker.tables["cases"].get(case_id.encode())
        return None if data is None else read_case(data)

    def board(self, asset_id: str = "A1") -> Board | None:
        """Return the board of an asset."""
        data = self.broker.tables["boards"].get(asset_id.encode())
        return None if data is None else read_board(data)

    def rows(self) -> list[Row]:
        """Return the figures at the clock reading."""
        self.life.partition.ledger.advance(self.now_ms)
        return sorted(self.life.partition.ledger.rows())

    def letters(self) -> Counter[str]:
        """Return the dead letters so far, by reason."""
        return Counter(letter.reason for letter in self.broker.letters())


def process(events: Iterable[Event], now_ms: int | None = None) -> Process:
    """Return a process that has taken events, and come to an instant."""
    made = Process()
    made.take(*events)
    if now_ms is not None:
        made.come_to(now_ms)
    return made


def verdicts(case: Case | None) -> dict[str, str]:
    """Return what is published of a case: sign and unit -> verdict."""
    assert case is not None
    return {f"{one.sign} {one.unit}": one.verdict for one in case.verdicts}


def test_what_is_final_is_forgotten_when_it_is_in_no_figure() -> None:
    """All facts stay until every unit is final and out of the longest window, and then none (rule 4)."""
    kept = process(HISTORY, FINAL - 1)
    assert kept.case() is not None
    assert len(kept.case().facts) == len(HISTORY)  # type: ignore[union-attr]
    before = kept.rows()
    kept.come_to(FINAL)
    forgotten = kept.case()
    assert forgotten is not None
    assert (forgotten.is_forgotten, forgotten.facts, forgotten.verdicts) == (True, [], [])
    assert kept.rows() == before, "forgetting must change no figure"


def test_a_unit_in_the_longest_window_keeps_the_case() -> None:
    """A visit that came later holds the case until it has left the window itself (rule 4)."""
    later = [scheduled("20d", "21d", "21d2h", "V2"), arrived("21d1h", "V2"), completed("21d2h", "fixed", "V2")]
    kept = process([*HISTORY, *later], ms("51d1h") + BUCKET_MS - 1)
    assert verdicts(kept.case())["on_time_arrival V2"] == "final_hit"
    kept.come_to(ms("51d2h") + BUCKET_MS)
    assert kept.case() is not None
    assert kept.case().is_forgotten  # type: ignore[union-attr]


def test_a_late_fact_of_a_forgotten_case_is_not_judged_as_if_it_were_all() -> None:
    """Case signs stay final and are not judged again; a new visit is a unit of its own (rules 3 and 4)."""
    late = process(HISTORY, FINAL)
    late.take(scheduled("40d", "41d", "41d2h", "V9"), arrived("41d3h", "V9"), completed("41d4h", "fixed", "V9"))
    found = verdicts(late.case())
    assert found["on_time_arrival V9"] == "miss"
    assert not {name for name in found if name.endswith(" C1")}


def test_a_late_fact_of_a_forgotten_case_is_counted_as_late() -> None:
    """A fact that counts for no unit is late after seal, whether or not the case still knows its facts (rule 3)."""
    late = process(HISTORY, FINAL)
    before = late.life.scrape().sum("cxstream_late_events_total", disposition="after_seal")
    late.take(resolved("40d"))
    assert late.life.scrape().sum("cxstream_late_events_total", disposition="after_seal") == before + 1


def test_in_the_end_nothing_is_left() -> None:
    """A year after it was forgotten the record of a case is deleted; until then it says that it is final (rule 4)."""
    over = process(HISTORY, FINAL)
    over.come_to(REMEMBERED - 1)
    assert over.case() is not None
    over.come_to(REMEMBERED)
    assert over.case() is None
    assert over.life.partition.ledger.units == 0


@pytest.mark.parametrize(("late_ms", "letters"), [(0, 0), (1, 1)])
def test_a_fact_older_than_our_memory_creates_no_case(late_ms: int, letters: int) -> None:
    """Older on arrival than R + H + the longest window, it is a dead letter: its case may have been forgotten."""
    made = Process()
    made.take(opened(seen=f"{MEMORY_DAYS}d{late_ms}ms"))
    assert made.letters() == ({"too_old_for_unknown_case": letters} if letters else {})
    assert (made.case() is None) is bool(letters)


def test_an_old_fact_of_a_known_case_is_taken() -> None:
    """Lateness is never a reason to refuse a fact of a case that is known (rule 1)."""
    made = process([opened("70d"), arrived("1h", seen="70d")])
    assert made.letters() == {}
    assert made.case() is not None
    assert len(made.case().facts) == 2  # type: ignore[union-attr]


def test_an_erased_case_is_kept_under_a_hash() -> None:
    """The residue holds what it contributes and neither id nor fact, and refuses what comes later (rule 10)."""
    gone = process([*HISTORY, erased("10d")])
    assert gone.case() is None
    table = gone.broker.tables["cases"]
    assert list(table) == [residue_key(b"C1")]
    assert not [data for data in table.values() if b"C1" in data or b"V1" in data]
    before = gone.rows()
    assert [row for row in before if row.state == "good"], "what was final stays counted"
    gone.take(resolved("11d"))
    assert (list(table), gone.rows()) == ([residue_key(b"C1")], before)
    assert gone.life.scrape().sum("cxstream_late_events_total", disposition="closed_case") == 1
    gone.come_to(ms("41d"))
    gone.come_to(ms("41d") + POLICY.remembered_ms)
    assert table == {}


@pytest.mark.parametrize("replayed", [True, False])
@pytest.mark.parametrize("taken", range(ERASURE_RECORDS))
def test_half_an_erasure_is_done_again(taken: int, *, replayed: bool) -> None:
    """Cut short after any of its records it is finished, by the clock if nobody replays it, and counted once."""
    whole, half = process([*HISTORY, erased("10d")]), process(HISTORY)
    half.broker.crash_after = taken
    with pytest.raises(CrashError):
        half.take(erased("10d"))
    half.broker.crash_after = None
    assert b"C1" in half.broker.tables["cases"]
    half.life = Life(half.broker, wall_ms=lambda: half.now_ms, policy=POLICY)
    asyncio.run(half.life.recover())
    if replayed or not taken:
        half.take(erased("10d"))
    half.come_to(half.now_ms)
    assert set(half.broker.tables["cases"]) == {residue_key(b"C1")}
    assert verdicts(read_case(half.broker.tables["cases"][residue_key(b"C1")]))
    assert half.rows() == whole.rows()
    assert half.life.partition.ledger.units == whole.life.partition.ledger.units


def test_the_late_write_of_another_worker_does_not_bring_an_erased_case_back() -> None:
    """What it wrote of the case is not the last word: its record is deleted once more, the residue stays (rule 10)."""
    gone = process(HISTORY)
    written = gone.broker.tables["cases"][b"C1"]
    gone.take(erased("10d"))
    before = gone.rows()
    gone.broker.tables["cases"][b"C1"] = written
    late = [Record(b"C1", written, gone.now_ms), Record(residue_key(b"C1"), None, gone.now_ms)]
    asyncio.run(gone.life.agent.unite(gone.life.partition, gone.life.cases, late))
    assert set(gone.broker.tables["cases"]) == {residue_key(b"C1")}
    assert gone.rows() == before


def test_an_erased_case_expires_with_its_window() -> None:
    """What it contributes leaves the figures as it would have without the erasure (rule 10)."""
    gone, kept = process([*HISTORY, erased("10d")]), process(HISTORY)
    for now_ms in (ms("10d"), ms("29d"), ms("40d")):
        gone.come_to(now_ms)
        kept.come_to(now_ms)
        final = [row for row in gone.rows() if row.detail == "final"]
        assert final == [row for row in kept.rows() if row.detail == "final"]


def test_boards_forget_what_is_long_over() -> None:
    """A case of which a board heard nothing for a year is taken off it; an empty board is deleted (rule 9)."""
    made = process([*HISTORY, *of_case("C2", opened("20d"))])
    made.come_to(ms("366d"))
    assert made.board() is not None
    assert set(made.board().facts) == {"C2"}  # type: ignore[union-attr]
    made.come_to(ms("386d"))
    assert made.board() is None


def test_a_crowded_board_stays_crowded() -> None:
    """Its repeats were not knowable, and what it did not keep cannot be known later (rule 9)."""
    made = Process()
    for number in range(5):
        made.take(*of_case(f"C{number}", opened(f"{number}h", named=f"o{number}")))
    since_ms = made.board().crowded_since_ms  # type: ignore[union-attr]
    assert since_ms is not None
    made.come_to(ms("800d"))
    assert made.board() == Board("A1", {}, since_ms)


def test_much_that_is_due_is_judged_in_turns() -> None:
    """However many cases are due, a call comes to an end, so that other clocks go on, and says if that was all."""
    made = Process()
    for number in range(25):
        made.take(*of_case(f"C{number}", opened(named=f"o{number}")))
    made.now_ms = ms("10d")
    agent, partition = made.life.agent, made.life.partition
    agent.due_limit = 1
    before = len(made.broker.changelogs["cases"])
    turns = []
    while not turns or not turns[-1][0]:
        is_all = asyncio.run(agent.judge_due(partition))
        turns.append((is_all, len(made.broker.changelogs["cases"]) - before))
    assert [is_all for is_all, _judged in turns[:-1]] == [False] * (len(turns) - 1)
    assert turns[0] == (False, DUE_ROUNDS)
    assert turns[-1][1] >= 25
