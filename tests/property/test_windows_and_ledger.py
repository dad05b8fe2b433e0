"""Windows and ledger: whatever is counted, revised or expired, the figures are what a plain recount says."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cxstream.engine.ledger
from cxstream.domain.cases import Case, Segment
from cxstream.domain.facts import RejectedError
from cxstream.domain.instant import DAY_MS, HOUR_MS
from cxstream.domain.policy import Policy
from cxstream.domain.verdict import Verdict
from cxstream.domain.windows import BUCKET_MS, WindowedCounts
from cxstream.engine.assess import Clock
from cxstream.engine.casebook import Casebook
from cxstream.engine.ledger import TOTAL, Lasting, Ledger, Level, Row, Windows
from cxstream.offline.events_file import Delivered, read_event
from cxstream.vital_signs import TIER_A
from oracle.histories import interesting_clocks, random_history
from parts.trials import seeds

POLICY = Policy()
WINDOWS = Windows(
    lengths_ms={"1h": HOUR_MS, "24h": DAY_MS, "30d": 30 * DAY_MS, "400d": 400 * DAY_MS},
    levels=(
        Level(name="job", windows=("1h", "24h", "30d", "400d")),
        Level(name="priority", dimensions=("priority",), windows=("24h", "400d")),
        Level(name="both", dimensions=("priority", "region"), windows=("30d",)),
    ),
    label_values={"priority": frozenset({"P1", "P2"})},
    live_levels=("job", "priority", "both"),
    time_windows=("30d", "400d"),
)
SEEDS = seeds(30)

_LENGTHS = (3, 1, 7)
_adds = st.tuples(st.sampled_from("abc"), st.integers(-2, 30 * BUCKET_MS), st.sampled_from([1, 1, 2, -1]))
_moves = st.integers(0, 45 * BUCKET_MS)


@given(st.lists(st.one_of(_adds, _moves), max_size=60))
def test_windows_count_what_a_recount_counts(steps: list[tuple[str, int, int] | int]) -> None:
    """After any additions, retractions and movements of the clock each window holds what a plain recount gives."""
    counts = WindowedCounts[str]([length * BUCKET_MS for length in _LENGTHS])
    taken: list[tuple[str, int, int]] = []
    now_ms: int | None = None
    for step in steps:
        if isinstance(step, tuple):
            key, anchor_ms, count = step
            counts.add(anchor_ms, {key: count})
            taken.append(step)
        else:
            moved = counts.advance(step)
            assert moved == (now_ms is None or step // BUCKET_MS > now_ms // BUCKET_MS)
            now_ms = step if now_ms is None else max(now_ms, step)
        for index, length in enumerate(_LENGTHS):
            assert dict(counts.over(index)) == recount(taken, now_ms, length)


def recount(taken: list[tuple[str, int, int]], now_ms: int | None, length: int) -> dict[str, int]:
    """Return the counts by key of the last `length` buckets, the running one included; none is zero."""
    expected: Counter[str] = Counter()
    for key, anchor_ms, count in taken:
        if now_ms is not None and 0 <= now_ms // BUCKET_MS - anchor_ms // BUCKET_MS < length:
            expected[key] += count
    return {key: count for key, count in expected.items() if count}


@given(st.lists(_adds, max_size=30), st.lists(_moves, max_size=5))
def test_nothing_survives_expiry(adds: list[tuple[str, int, int]], moves: list[int]) -> None:
    """Once the longest window has passed, neither figures nor memory are left, whatever was counted."""
    counts = WindowedCounts[str]([length * BUCKET_MS for length in _LENGTHS])
    for key, anchor_ms, count in adds:
        counts.add(anchor_ms, {key: count})
    for now_ms in moves:
        counts.advance(now_ms)
    counts.advance((46 + max(_LENGTHS)) * BUCKET_MS)
    assert [dict(counts.over(index)) for index in range(len(_LENGTHS))] == [{}, {}, {}]
    assert counts._buckets == {}
    for key, anchor_ms, count in adds:
        counts.add(anchor_ms, {key: count})
    assert counts._buckets == {}


@given(st.lists(_adds, max_size=30), st.lists(_moves, max_size=5))
def test_what_is_taken_back_is_gone(adds: list[tuple[str, int, int]], moves: list[int]) -> None:
    """A count taken back leaves nothing, even if windows moved in between."""
    counts = WindowedCounts[str]([length * BUCKET_MS for length in _LENGTHS])
    for key, anchor_ms, count in adds:
        counts.add(anchor_ms, {key: count})
    for now_ms in moves:
        counts.advance(now_ms)
    for key, anchor_ms, count in adds:
        counts.add(anchor_ms, {key: -count})
    assert [dict(counts.over(index)) for index in range(len(_LENGTHS))] == [{}, {}, {}]
    assert counts._buckets == {}


def test_a_window_of_one_hour_is_twelve_buckets() -> None:
    """A unit is in a window from its anchor's bucket on until that bucket is the window's length behind."""
    counts = WindowedCounts[str]([HOUR_MS])
    counts.add(0, {"a": 1})
    for now_ms, seen in ((-1, 0), (0, 1), (HOUR_MS - 1, 1), (HOUR_MS, 0)):
        counts.advance(now_ms)
        assert counts.over(0).get("a", 0) == seen


def history(seed: int, prefix: str = "") -> list[Delivered]:
    """Return the facts of a random history in order of delivery, its cases and assets under names of their own."""
    facts = []
    for event in random_history(random.Random(seed), 25, erasures=seed % 3 == 0):
        renamed = {name: f"{prefix}{event[name]}" for name in ("case_id", "asset_id", "into") if event.get(name)}
        try:
            facts.append(read_event({**event, **renamed}, POLICY.clock_skew_ms))
        except RejectedError:
            continue
    return facts


def revisions(seed: int) -> Iterator[tuple[int, dict[str, Case]]]:
    """Yield the records of all cases as they were kept at ever later clock readings, facts taken in as they arrive."""
    facts = history(seed)
    casebook = Casebook(TIER_A, POLICY)
    clocks = interesting_clocks(random_history(random.Random(seed), 25))
    taken = 0
    for now_ms in sorted(random.Random(seed).sample(clocks, min(len(clocks), 30))):
        while taken < len(facts) and facts[taken].fact.delivered_ms <= now_ms:
            casebook.take(*facts[taken])
            taken += 1
        casebook.assess(Clock.at(now_ms))
        yield now_ms, dict(casebook.cases)


def rebuilt(records: Iterable[Case], now_ms: int) -> Ledger:
    """Return the ledger that the records alone give."""
    ledger = Ledger(WINDOWS)
    ledger.advance(now_ms)
    for record in records:
        ledger.replace(None, record)
    return ledger


def figures(*ledgers: Ledger) -> dict[Row, int]:
    """Return the sum of what ledgers say: units by row; no row is there twice in one ledger, none is zero or less."""
    summed: Counter[Row] = Counter()
    for ledger in ledgers:
        rows = [row._replace(units=0) for row in ledger.rows()]
        assert len(rows) == len(set(rows))
        for row in ledger.rows():
            assert row.units > 0
            summed[row._replace(units=0)] += row.units
    return dict(summed)


@pytest.mark.parametrize("seed", SEEDS)
def test_revisions_leave_what_the_last_records_say(seed: int) -> None:
    """After any sequence of revisions and expiries the ledger is the one rebuilt from the last records (rule 2)."""
    ledger = Ledger(WINDOWS)
    known: dict[str, Case] = {}
    for now_ms, records in revisions(seed):
        ledger.advance(now_ms)
        for case_id, record in records.items():
            ledger.replace(known.get(case_id), record)
        known = records
        fresh = rebuilt(records.values(), now_ms)
        assert figures(ledger) == figures(fresh)
        assert set(ledger.lasting()) == set(fresh.lasting())
        assert ledger.units == fresh.units == sum(len(record.verdicts) for record in records.values())
    for record in known.values():
        ledger.replace(record, None)
    assert (figures(ledger), ledger.units) == ({}, 0)


@pytest.mark.parametrize("seed", seeds(10))
def test_when_it_is_read_does_not_matter(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Read at any time by anybody, the ledger is the one rebuilt from the records of then (rule 2).

    So it is however much is added up before it is counted, which is never more than is allowed; and nothing is capped
    more or less often for it.
    """
    together = (1, 20, 10_000)[seed % 3]
    monkeypatch.setattr(cxstream.engine.ledger, "TALLIED_TOGETHER", together)
    dice = random.Random(seed)
    ledger, unread = Ledger(WINDOWS), Ledger(WINDOWS)
    known: dict[str, Case] = {}
    for now_ms, records in revisions(seed):
        ledger.advance(now_ms)
        for case_id, record in records.items():
            for one in (ledger, unread):
                one.replace(known.get(case_id), record)
            assert unread._tallied < together
            known[case_id] = record
            if dice.random() < 0.05:
                look = dice.choice(LOOKS)
                assert look(ledger) == look(rebuilt(known.values(), now_ms))
    assert (ledger.units, ledger.capped) == (unread.units, unread.capped)
    unread.advance(now_ms)
    assert [look(ledger) for look in LOOKS] == [look(unread) for look in LOOKS]


def sliced(ledger: Ledger) -> Counter[tuple[Any, ...]]:
    """Return the decided units of a window by slice, sign, segment and state."""
    units: Counter[tuple[Any, ...]] = Counter()
    for found in ledger.slices("priority", "400d", 5):
        for one in found:
            units[one[:4]] += one.units
    return units


LOOKS: tuple[Callable[[Ledger], Any], ...] = (
    figures,
    sliced,
    lambda ledger: set(ledger.lasting()),
    lambda ledger: ledger.scope("both", "30d"),
)
"""Who reads a ledger, each for what it is there for."""


@pytest.mark.parametrize("seed", seeds(10))
def test_any_split_over_partitions_sums_to_one_ledger(seed: int) -> None:
    """However cases are spread over partitions, the sum of their ledgers is the ledger of all (rule 2)."""
    casebook = Casebook(TIER_A, POLICY)
    facts = [one for part in range(8) for one in history(10 * seed + part, f"{part}-")]
    for case_id, fact in facts:
        casebook.take(case_id, fact)
    now_ms = max(fact.delivered_ms for _, fact in facts)
    casebook.assess(Clock.at(now_ms))
    records = list(casebook.cases.values())
    whole = figures(rebuilt(records, now_ms))
    assert whole
    for partitions in (1, 2, 3, 16):
        dice = random.Random(seed)
        split: list[list[Case]] = [[] for _ in range(partitions)]
        for record in records:
            dice.choice(split).append(record)
        assert figures(*(rebuilt(part, now_ms) for part in split)) == whole


@pytest.mark.parametrize("seed", SEEDS)
def test_a_unit_is_never_in_two_outcomes(seed: int) -> None:
    """Of every sign each unit is counted once and in one standing; retracted is counted beside, never instead."""
    for now_ms, records in revisions(seed):
        for record in records.values():
            units = [(one.sign, one.unit) for one in record.verdicts]
            assert len(units) == len(set(units))
            ledger = rebuilt([record], now_ms)
            standing: Counter[str] = Counter()
            for row in ledger.rows():
                is_count = row.state not in ("retracted", "loophole", "moment") and row.detail != TOTAL
                if (row.level, row.window) == ("job", "400d") and is_count:
                    standing[row.sign] += row.units
            now = now_ms // BUCKET_MS
            ages = [(one.sign, now - one.anchor_ms // BUCKET_MS) for one in record.verdicts]
            assert standing == Counter(sign for sign, age in ages if 0 <= age < 400 * DAY_MS // BUCKET_MS)


@pytest.mark.parametrize("seed", seeds(10))
def test_segments_add_up_to_the_whole(seed: int) -> None:
    """Over the segments of a level the decided units of a window are those of the whole job, in one standing each."""
    *_, (now_ms, records) = revisions(seed)
    by_level: dict[str, Counter[tuple[str, str]]] = {"job": Counter(), "priority": Counter()}
    for row in rebuilt(records.values(), now_ms).rows():
        if row.level in by_level and row.window == "400d" and row.state in ("good", "bad"):
            by_level[row.level][row.sign, row.state] += row.units
            assert row.level == "job" or row.segment in ("P1", "P2", "__other__", "unknown")
    assert by_level["job"] == by_level["priority"]


@pytest.mark.parametrize("seed", seeds(10))
def test_the_ledger_forgets(seed: int) -> None:
    """Beyond the longest window no figure and no memory of a case is left, though its record is (rule 2)."""
    *_, (now_ms, records) = revisions(seed)
    ledger = rebuilt(records.values(), now_ms)
    ledger.advance(now_ms + 401 * DAY_MS)
    assert figures(ledger) == {}
    assert all(not place.counts._buckets for place in ledger._places.values())
    for record in records.values():
        ledger.replace(record, None)
    assert figures(ledger) == {}
    assert all(not place.counts._buckets for place in ledger._places.values())


def record(segment: Segment, *, retracted: bool = False) -> Case:
    """Return the record of a case with one hit, counted at 0 under a segment."""
    hit = Verdict("stayed_fixed", "C1", "provisional_hit", "stayed_fixed", 0, HOUR_MS, retracted=retracted)
    return Case("C1", verdicts=[hit], segment=segment)


@pytest.mark.parametrize(
    ("priority", "region", "segments"),
    [
        ("P1", "north", {"P1", "P1/north"}),
        ("P3", "north", {"__other__", "__other__/north"}),
        ("unknown", "unknown", {"unknown", "unknown/unknown"}),
    ],
)
def test_label_values_come_from_closed_lists(priority: str, region: str, segments: set[str]) -> None:
    """A value outside the closed list is counted as other, what is not stated as unknown; open dimensions take any."""
    ledger = rebuilt([record(Segment(priority=priority, region=region))], now_ms=1)
    assert {row.segment for row in ledger.rows() if row.level != "job"} == segments
    assert (ledger.capped > 0) == ("__other__" in segments)


def test_what_was_retracted_is_counted_beside_its_standing() -> None:
    """A verdict once taken back is one more figure of the whole job, and of no segment (rule 2)."""
    states = {(row.level, row.state): row.units for row in rebuilt([record(Segment(), retracted=True)], 1).rows()}
    assert states == {("job", "good"): 1, ("job", "retracted"): 1, ("priority", "good"): 1, ("both", "good"): 1}


def test_segments_beyond_the_limit_are_shown_together() -> None:
    """At most so many segments of a level are shown; the rest, in order of name, are summed as other."""
    windows = msgspec.structs.replace(WINDOWS, label_limit=2)
    ledger = Ledger(windows)
    ledger.advance(1)
    for region in ("b", "d", "a", "c"):
        ledger.replace(None, record(Segment(priority="P1", region=region)))
    shown = {row.segment: row.units for row in ledger.rows() if row.level == "both"}
    assert shown == {"P1/a": 1, "P1/b": 1, "__other__": 2}


@pytest.mark.parametrize("limit", ["SEGMENTS_KEPT", "LABELS_KEPT"])
def test_what_is_kept_of_segments_decides_nothing(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    """However few segments are kept with where they are counted, a record is taken back where it was counted."""
    monkeypatch.setattr(cxstream.engine.ledger, limit, 2)
    records = [record(Segment(priority=priority, region=region)) for priority in ("P1", "P3") for region in "abc"]
    ledger = rebuilt(records, now_ms=1)
    assert figures(ledger) == figures(*(rebuilt([one], now_ms=1) for one in records))
    assert ledger.capped == len(records) / 2
    assert len(ledger._figures) <= 2
    for one in records:
        ledger.replace(one, None)
    assert (figures(ledger), ledger.units) == ({}, 0)


@pytest.mark.parametrize(
    ("changed", "capped"),
    [({"seal_ms": 2 * HOUR_MS}, 1), ({"sealed": True}, 2), ({"anchor_ms": 1}, 1), ({"anchor_ms": HOUR_MS}, 2)],
)
def test_a_unit_is_capped_as_often_as_it_comes_to_be_counted(changed: dict[str, Any], capped: int) -> None:
    """A revision that leaves a unit where it was counted does not count its label again."""
    old = record(Segment(priority="P3"))
    new = msgspec.structs.replace(old, verdicts=[msgspec.structs.replace(old.verdicts[0], **changed)])
    ledger = rebuilt([old], now_ms=1)
    ledger.replace(old, new)
    assert ledger.capped == capped


@pytest.mark.parametrize(
    ("before", "changed"),
    [
        ({}, {"anchor_ms": HOUR_MS}),
        ({}, {"verdict": "miss"}),
        ({}, {"sealed": True}),
        ({}, {"retracted": True}),
        ({"verdict": "excluded"}, {"reason": "another"}),
        ({"verdict": "pending"}, {"due_ms": 2 * HOUR_MS}),
        ({"verdict": "pending"}, {"since_ms": HOUR_MS}),
        ({"sign": "time_to_restore", "measured": HOUR_MS}, {"measured": 2 * HOUR_MS}),
        ({}, {"sign": "same_day"}),
    ],
)
def test_each_thing_that_is_counted_is_revised_alone(before: dict[str, Any], changed: dict[str, Any]) -> None:
    """A revision that changes one thing of a verdict leaves what its last version says, and so does taking it back."""
    first = record(Segment())
    old = msgspec.structs.replace(first, verdicts=[msgspec.structs.replace(first.verdicts[0], **before)])
    new = msgspec.structs.replace(old, verdicts=[msgspec.structs.replace(old.verdicts[0], **changed)])
    now_ms = 2 * HOUR_MS - 1
    ledger = rebuilt([old], now_ms)
    ledger.replace(old, new)
    assert said(ledger) == said(rebuilt([new], now_ms)) != said(rebuilt([old], now_ms))
    ledger.replace(new, old)
    assert said(ledger) == said(rebuilt([old], now_ms))


def said(ledger: Ledger) -> tuple[list[Row], list[Lasting]]:
    """Return all that a ledger shows, in order."""
    return sorted(ledger.rows()), sorted(ledger.lasting())
