"""What the benchmarks make of what they measured: who counts wrong fails, and figures are of what they say."""

from __future__ import annotations

import pytest

from benchmarks import worker
from benchmarks.engines import CORE, FLOOR, JOB, NO_CORE, ONE_BY_ONE, PEERS, SAME_CORE, overheads
from benchmarks.events import reference_case
from benchmarks.judging import WINDOW, WINDOWS
from benchmarks.judging_nothing import assess_nothing, counts_of_nothing
from benchmarks.latency import latencies, quantile
from benchmarks.measuring import BenchmarkFailedError, Counts, Run, in_turn
from benchmarks.scrape import Scrape
from benchmarks.takeover import split
from benchmarks.worker import Look, watched
from cases import MONDAY_MS
from cxstream.domain.cases import Case
from cxstream.domain.facts import admit
from cxstream.engine.ledger import Ledger
from cxstream.exposition.families import EVENT_TO_GAUGE
from faults.fleet import Seen
from parts.worker import Samples


def run_of(cpu_us: float, counts: Counts | None = None) -> Run:
    """Return a run of a million events."""
    return Run(events=1_000_000, cpu_seconds=cpu_us, seconds=1, counts=counts)


def test_a_competitor_that_counts_wrong_fails_the_run() -> None:
    """Wrong is not fast: one unit too few, in any round, and there is no table; the message says who and what."""
    right, told = {"explained good": 3, "same_day bad": 1}, iter([3, 2])

    def second_round_wrong() -> Run:
        return run_of(1, {**right, "explained good": next(told)})

    with pytest.raises(BenchmarkFailedError, match="hasty counts 2 explained good, not 3"):
        in_turn({"right": lambda: run_of(1, right), "hasty": second_round_wrong}, right, 2)


def test_competitors_run_in_turn() -> None:
    """All run once before any runs again, and one that judges nothing is not asked for counts."""
    order: list[str] = []

    def competitor(name: str, counts: Counts | None) -> Run:
        order.append(name)
        return run_of(len(order), counts)

    competitors = {"floor": lambda: competitor("floor", None), "core": lambda: competitor("core", {"a": 1})}
    runs = in_turn(competitors, {"a": 1}, 2)
    assert order == ["floor", "core", "floor", "core"]
    assert {name: [run.cpu_us for run in its] for name, its in runs.items()} == {"floor": [1, 3], "core": [2, 4]}


def test_overhead_is_subtracted_round_by_round() -> None:
    """Of each engine the core it drives and the floor of the same round are taken off, then comes the median."""
    quix, faust = PEERS
    costs = {
        FLOOR: (10, 10, 100),
        CORE: (100, 250, 120),
        ONE_BY_ONE: (400, 500, 450),
        JOB: (200, 300, 400),
        f"cxstream, {NO_CORE}": (50, 90, 160),
        f"{quix}, {SAME_CORE}": (460, 600, 560),
        f"{quix}, {NO_CORE}": (40, 30, 135),
        f"{faust}, {SAME_CORE}": (800, 1400, 900),
        f"{faust}, {NO_CORE}": (300, 210, 430),
    }
    rows = list(overheads({name: [run_of(cost) for cost in its] for name, its in costs.items()}))
    assert [(row[0], *row[-2:]) for row in rows] == [
        (JOB, "90.0", "60.0"),
        (f"{quix}, {SAME_CORE}", "50.0", "30.0"),
        (f"{faust}, {SAME_CORE}", "390.0", "290.0"),
    ]


def test_all_that_is_done_for_a_load_is_in_the_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    """What several workers cost is counted from when each has read something until all is read and judged."""
    looks = iter(
        [
            Look(0, 5.0, 0, all_read=False, ready=0),
            Look(1, 9.0, 100, all_read=False, ready=0),  # one of them is still starting
            Look(2, 10.0, 200, all_read=True, ready=0),
            Look(3, 11.0, 400, all_read=True, ready=0),
            Look(4, 12.0, 600, all_read=True, ready=0),
            Look(5, 13.0, 800, all_read=True, ready=2),
            Look(6, 14.0, 1000, all_read=True, ready=2),  # two more partitions judge what was put off
            Look(9, 20.0, 1000, all_read=True, ready=4),
            Look(10, 30.0, 1000, all_read=True, ready=4),
        ]
    )
    monkeypatch.setattr(worker, "looked", lambda *_: next(looks))
    monkeypatch.setattr(worker, "LOOK_EVERY_SECONDS", 0)
    run = watched([], 1000, partitions=4)
    assert (run.events, run.cpu_seconds, run.seconds) == (800, 10.0, 7)


def test_too_few_looks_are_no_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    """A load that is over too soon is refused, not extrapolated."""
    looks = iter([Look(n, n, read, all_read=read > 0, ready=read // 100) for n, read in enumerate((0, 90, 100))])
    monkeypatch.setattr(worker, "looked", lambda *_: next(looks))
    monkeypatch.setattr(worker, "LOOK_EVERY_SECONDS", 0)
    with pytest.raises(BenchmarkFailedError, match="too few"):
        watched([], 100, partitions=1)


def test_a_takeover_is_split_where_the_group_decided() -> None:
    """The session timeout ends when somebody knows of a later generation; the gap ends when all is spoken for again."""
    seen = [
        Seen(9.5, 4, [], 7),
        Seen(10.5, 2, [], 7),
        Seen(16.0, 2, [], 8),
        Seen(17.0, 3, [], 8),
        Seen(18.5, 4, [], 8),
    ]
    found = split(seen, began=10.0, before=7, partitions=4)
    assert (found.detected, found.whole, found.covered) == (6.0, 8.5, 2)
    assert found.cells() == ("6.0", "2.5", "8.5")


def test_a_page_says_how_much_was_read_over_all_topics() -> None:
    """Whether a scrape came after a change is seen from the page itself."""
    page = b"""# HELP cxstream_events_consumed_total x
cxstream_events_consumed_total{group="g",topic="ticket"} 7.0
cxstream_events_consumed_total{group="g",topic="parts"} 5.0
cxstream_events_applied_total{group="g",topic="parts"} 5.0
"""
    scraped = Scrape(page, 0, 0)
    assert (scraped.consumed, len(scraped.lines)) == (12, 3)


def test_quantiles_are_interpolated_within_their_bucket() -> None:
    """Half of ten latencies, of which four are up to a second and the rest up to two, is at one and a sixth."""
    name = f"{EVENT_TO_GAUGE.name}_bucket"
    counts = {"1.0": 4.0, "2.0": 10.0, "+Inf": 10.0}
    samples = Samples("", [(name, {"le": bound}, count) for bound, count in counts.items()])
    assert quantile(latencies(samples), 0.5) == pytest.approx(1 + 1 / 6)


def test_who_judges_nothing_keeps_what_was_judged_before() -> None:
    """Every case has the same verdicts, not its own, so a judge that did judge would be counted otherwise."""
    case_id, fact = admit(reference_case(1, MONDAY_MS)[0][1], skew_ms=0)
    case, _ = Case(case_id).advance(fact)
    judged = assess_nothing(case).case
    assert assess_nothing(judged).case is judged
    ledger = Ledger(WINDOWS)
    ledger.replace(None, judged)
    ledger.advance(MONDAY_MS)
    wanted = counts_of_nothing(1)
    rows = (row for row in ledger.rows() if (row.level, row.window) == ("job", WINDOW))
    found = {f"{row.sign} {row.state}": row.units for row in rows if row.state in ("good", "bad")}
    assert {name: found.get(name) for name in wanted} == wanted
