"""What the records of a partition come to is added up while they are read, and says whom a silence concerns."""

from __future__ import annotations

import random
from collections import Counter

import msgspec
import pytest

from cases import POLICY, booked, delivered, ms, opened, scheduled
from cxstream.config import load
from cxstream.domain.cases import Case
from cxstream.domain.facts import RejectedError
from cxstream.domain.instant import HOUR_MS, NEVER_MS
from cxstream.engine.assess import SOURCE_SILENT, Clock, assess, close
from cxstream.engine.casebook import Casebook
from cxstream.kafka.changelog_table import Changed
from cxstream.kafka.partition import Holdings, Partition
from cxstream.kafka.records import NewerRecordError, read_case, write
from cxstream.offline.events_file import read_event
from cxstream.vital_signs import CATALOGUE
from oracle.histories import interesting_clocks, random_history

WINDOWS = load(None, {}).windows()
SOURCES = ("ticket", "dispatch", "parts")
FINGERPRINT = 7
REMEMBERING = msgspec.structs.replace(POLICY, longest_window_ms=NEVER_MS)


def versions(seed: int) -> list[tuple[bytes, bytes | None]]:
    """Return how the records of a random history are written one after the other; some keys are deleted in between."""
    dice = random.Random(seed)
    events = random_history(dice, 40)
    casebook, clocks = Casebook(CATALOGUE, POLICY), interesting_clocks(events)
    written: list[tuple[bytes, bytes | None]] = []
    for event in events:
        try:
            casebook.take(*read_event(event, POLICY.clock_skew_ms))
        except RejectedError:
            continue
        now_ms = dice.choice(clocks)
        silent = {source: now_ms - dice.randrange(50) * HOUR_MS for source in SOURCES if dice.random() < 0.2}
        case_id = dice.choice(sorted(casebook.cases))
        case = casebook.cases[case_id]
        judged = assess(case, CATALOGUE, POLICY, Clock(now_ms, now_ms, silent), dice.choice((FINGERPRINT, 3))).case
        if dice.random() < 0.1:
            judged = close(judged, "erased", case)
        casebook.cases[case_id] = judged if judged.closed is None else case
        written.append((case_id.encode(), None if dice.random() < 0.1 else write(judged)))
    return written


def come_to(holdings: Holdings) -> dict[str, object]:
    """Return everything that holdings say, as of one clock reading."""
    holdings.complete()
    holdings.ledger.advance(ms("10d"))
    return {
        "rows": Counter(holdings.ledger.rows()),
        "lasting": sorted(holdings.ledger.lasting()),
        "units": holdings.ledger.units,
        "deadlines": holdings.deadlines.due(ms("1000d"), 999),
        "settling": holdings.settling.due(ms("1000d"), 999),
        "withheld": set(holdings.withheld),
        "missed": holdings.missed_ms,
        "overtaken": set(holdings.overtaken),
    }


@pytest.mark.parametrize("seed", range(15))
def test_reading_along_comes_to_what_is_there_in_the_end(seed: int) -> None:
    """Of records read one by one, or written here, only the last of each key counts, in however many pieces."""
    dice = random.Random(seed)
    along, there = Holdings(WINDOWS, FINGERPRINT), dict[bytes, bytes]()
    waiting: list[Changed] = []
    for key, data in versions(seed):
        before = there.pop(key, None)
        if data is not None:
            there[key] = data
        if dice.random() < 0.3:
            along.read(waiting)
            waiting = []
            old, new = (None if one is None else read_case(one) for one in (before, data))
            along.replace(key, old, new)
        else:
            waiting.append(Changed(key, before, data))
    along.read(waiting)
    once = Holdings(WINDOWS, FINGERPRINT)
    once.read(Changed(key, None, data) for key, data in there.items())
    assert come_to(along) == come_to(once)
    assert along.judged_ms >= once.judged_ms


def test_who_reads_a_record_counts_no_label_as_capped() -> None:
    """Where a partition is taken over, or held as standby, its owner before has counted them."""
    windows = load(None, {"CXSTREAM_LEDGER_LABEL_VALUES_REGION": "north"}).windows()
    judged = assess(booked([opened(region="south")]).cases["C1"], CATALOGUE, POLICY, Clock.at(ms("1d"))).case
    holdings = Holdings(windows, FINGERPRINT)
    holdings.read([Changed(b"C1", None, write(judged))])
    assert holdings.ledger.capped == 0
    holdings.replace(b"C1", judged, None)
    holdings.replace(b"C1", None, judged)
    assert holdings.ledger.capped > 0


def test_a_record_that_cannot_be_read_is_in_the_way_of_taking_over_only() -> None:
    """A later release may write what a standby of this one cannot read; what is read over it is all there is."""
    holdings = Holdings(WINDOWS, FINGERPRINT)
    newer, known = b"\x02", write(Case("C1"))
    holdings.read([Changed(b"C1", None, newer), Changed(b"C2", None, known)])
    with pytest.raises(NewerRecordError):
        holdings.complete()
    holdings.read([Changed(b"C1", newer, known)])
    holdings.complete()
    holdings.read([Changed(b"C1", known, newer), Changed(b"C1", newer, None)])
    holdings.complete()


@pytest.mark.parametrize("seed", range(15))
def test_whom_a_silence_does_not_concern_is_not_judged_again(seed: int) -> None:
    """Where sources fall silent, or are heard again, all others would be judged as they were (rule 6)."""
    dice = random.Random(seed)
    events = random_history(dice, 30)
    casebook = Casebook(CATALOGUE, POLICY)
    for event in events:
        try:
            casebook.take(*read_event(event, POLICY.clock_skew_ms))
        except RejectedError:
            continue
    cases = {case_id.encode(): case for case_id, case in casebook.cases.items()}
    for now_ms in sorted(dice.sample(interesting_clocks(events), 4)):
        holdings = Holdings(WINDOWS, 0)
        partition = Partition(0, 1, holdings, SOURCES)
        for _ in range(4):
            silent = {source: now_ms - dice.randrange(1, 99) * HOUR_MS for source in SOURCES if dice.random() < 0.4}
            clock = Clock(now_ms, now_ms - 24 * HOUR_MS, silent)
            partition.hears(silent)
            again = set(partition.rechecked(999))
            anew = {key: assess(case, CATALOGUE, REMEMBERING, clock).case for key, case in cases.items()}
            if holdings.judged_ms:
                for key in cases.keys() - again:
                    assert anew[key].verdicts == cases[key].verdicts
            for key, case in anew.items():
                holdings.replace(key, cases[key] if holdings.judged_ms else None, case)
            cases = anew


def test_misses_after_the_last_delivery_are_judged_again_when_a_source_falls_silent() -> None:
    """Not those from when it still spoke; and when it is heard again, what was withheld, also by an owner before."""

    def no_show(silent: dict[str, int]) -> Case:
        ((_, opening), (_, visit)) = delivered(opened(), scheduled("1h", "48h", "50h"))
        return assess(Case("C1", facts=[opening, visit]), CATALOGUE, POLICY, Clock(ms("60h"), 0, silent)).case

    holdings = Holdings(WINDOWS, 0)
    accused, withheld = no_show({}), no_show({"dispatch": ms("40h")})
    (missed_ms,) = {one.anchor_ms for one in accused.verdicts if one.reason == "no_show"}
    assert [one.sign for one in withheld.verdicts if one.reason == SOURCE_SILENT] == ["on_time_arrival"]
    latest_ms = max(one.anchor_ms for one in accused.verdicts if one.verdict == "miss")
    holdings.read([Changed(b"C1", None, write(accused)), Changed(b"C2", None, write(withheld))])
    partition = Partition(0, 1, holdings, SOURCES)
    partition.hears({})
    assert partition.rechecked(9) == [b"C2"]
    partition.hears({"dispatch": latest_ms})
    assert partition.rechecked(9) == [b"C2"]
    partition.hears({"dispatch": missed_ms - 1})
    assert set(partition.rechecked(9)) == {b"C1", b"C2"}
    partition.hears({"dispatch": missed_ms - 1})
    assert not partition.is_to_recheck


def test_a_final_miss_concerns_no_silence() -> None:
    """What is sealed is judged no more (rule 4)."""
    miss = next(
        one
        for one in assess(
            Case("C1", facts=[fact for _, fact in delivered(opened())]), CATALOGUE, POLICY, Clock(ms("60h"), 0)
        ).case.verdicts
        if one.verdict == "miss"
    )
    for sealed in (False, True):
        holdings = Holdings(WINDOWS, 0)
        case = Case("C1", verdicts=[msgspec.structs.replace(miss, sealed=sealed)])
        holdings.read([Changed(b"C1", None, write(case))])
        assert bool(holdings.missed_ms) is not sealed


def test_figures_are_as_of_the_clock_whoever_looks_first() -> None:
    """Nothing is shown before a partition has caught up; then its windows end at its clock, looked at before or not."""
    case = assess(
        Case("C1", facts=[fact for _, fact in delivered(opened())]), CATALOGUE, POLICY, Clock(ms("60h"), 0)
    ).case
    holdings = Holdings(WINDOWS, 0)
    holdings.read([Changed(b"C1", None, write(case))])
    partition = Partition(0, 1, holdings, SOURCES)
    assert not partition.rows()
    assert not partition.lasting()
    partition.caught_up = True
    partition.counted_ms = ms("60h")
    shown = {(row.window, row.units) for row in partition.rows() if (row.sign, row.state) == ("first_response", "bad")}
    assert shown == {("7d", 1), ("30d", 1)}
    assert {one.sign for one in partition.lasting()} == {"time_to_restore", "no_silence"}
