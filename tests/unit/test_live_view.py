"""The live page says what the workers' metrics say: fenced, added, divided last, and honest about what is not known."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from rich.console import Console

from cxstream.demo.live_view import (
    ABSENT,
    TREND_POINTS_MAX,
    Board,
    Count,
    Pipeline,
    Session,
    read,
    render,
    sparkline,
    summary,
    worst_segments,
)

NOW = 1_772_452_800_000
LINKS = (
    ("metrics", "http://127.0.0.1:9101/metrics"),
    ("cases", "http://127.0.0.1:9101/live"),
    ("Prometheus", "http://127.0.0.1:9090/graph"),
)
WINDOW = "cxstream_vital_sign_window_units"


def line(name: str, value: float, **labels: str) -> str:
    """Return one sample as a worker of group demo exposes it."""
    pairs = ",".join(f'{key}="{text}"' for key, text in {"group": "demo", **labels}.items())
    return f"cxstream_{name}{{{pairs}}} {value}"


def claim(partition: int, generation: int, *, ready: bool = True, watermark_ms: int = NOW) -> list[str]:
    """Return what a worker says of a partition it owns."""
    number = str(partition)
    return [
        line("partition_owner_generation", generation, partition=number),
        line("partition_ready", float(ready), partition=number),
        line("partition_watermark_timestamp_seconds", watermark_ms / 1000, partition=number),
        line("consumer_lag_records", 2.0, topic="ticket", partition=number),
    ]


def units(
    partition: int, good: int, bad: int, *, sign: str = "first_time_fix", window: str = "24h", **where: str
) -> list[str]:
    """Return the decided units of a sign at a level (job unless named), both outcomes."""
    labels = {"level": "job", "segment": "", "finality": "provisional", **where}
    if labels["level"] != "job":
        labels["finality"] = ""
    common = {"vital_sign": sign, "window": window, "partition": str(partition), **labels}
    return [
        line("vital_sign_window_units", count, outcome=outcome, **common)
        for outcome, count in (("good", good), ("bad", bad))
    ]


def text(*parts: list[str], expected: int = 2, consumed: int = 1000) -> str:
    """Return the /metrics text of one worker."""
    always = [line("partitions_expected", expected), line("events_consumed_total", consumed, topic="ticket")]
    return "\n".join(["# HELP cxstream_x y", *always, *(one for part in parts for one in part), ""])


def shown(board: Board, session: Session | None = None, *, size: tuple[int, int] = (100, 30)) -> str:
    """Return the page as a terminal of that size would show it, without colours."""
    out = io.StringIO()
    console = Console(file=out, width=size[0], height=size[1], color_system=None, force_terminal=True)
    console.print(render(board, session, now_ms=NOW, size=size, links=LINKS))
    return out.getvalue()


def incident_text(signs: tuple[str, ...] = ("first_time_fix", "on_time_arrival", "stayed_fixed")) -> str:
    """Return a worker on whose figures one region is in trouble with the first sign only."""
    parts = [claim(0, 7), claim(1, 7)]
    for sign in signs:
        for partition in (0, 1):
            for region in ("north", "south", "east", "west"):
                count = (21, 29) if (sign, region) == (signs[0], "east") else (41, 9)
                parts.append(units(partition, *count, sign=sign, level="region", segment=region))
            for product in ("hvac", "boiler", "elevator", "pump"):
                count = (36, 14) if sign == signs[0] else (41, 9)
                parts.append(units(partition, *count, sign=sign, level="product", segment=product))
            job = (144, 56) if sign == signs[0] else (164, 36)
            for window, factor in (("24h", 1), ("7d", 7), ("30d", 30)):
                parts.append(units(partition, job[0] * factor, job[1] * factor, sign=sign, window=window))
            parts.append([line("vital_sign_objective_ratio", 0.8, vital_sign=sign, level="job", segment="")])
    return text(*parts)


def test_counts_are_added_and_divided_last() -> None:
    """Counts of all partitions are added before they are divided: 0.736, not the mean of the partitions' ratios."""
    board = read([text(claim(0, 1), units(0, 9, 1)), text(claim(1, 1), units(1, 72, 28))])
    assert board.signs[0].over("24h") == Count(81, 29)
    assert board.signs[0].over("24h").ratio == pytest.approx(81 / 110)
    assert board.pipeline.partitions_ready == 2
    assert board.pipeline.events_consumed == 2000


def test_provisional_and_final() -> None:
    """At job level provisional and final units make one ratio, and the final part of it is known."""
    board = read([text(claim(0, 1), units(0, 6, 1), units(0, 2, 1, finality="final"))])
    assert board.signs[0].over("24h") == Count(8, 2)
    assert board.signs[0].final["24h"] == Count(2, 1)


def test_fence() -> None:
    """Of a partition only the ready worker with the highest generation counts: hand-over neither doubles nor drops."""
    old = text(claim(0, 4), claim(1, 4), units(0, 10, 0), units(1, 5, 5))
    recovering = text(claim(0, 5, ready=False))
    taken_over = text(claim(0, 5), units(0, 11, 0))
    assert read([old]).signs[0].over("24h") == Count(15, 5)
    assert read([old, recovering]).signs[0].over("24h") == Count(15, 5)
    assert read([old, taken_over]).signs[0].over("24h") == Count(16, 5)
    assert read([taken_over, old]) == read([old, taken_over])
    assert [read(texts).pipeline.partitions_ready for texts in ([old], [old, recovering], [taken_over])] == [2, 2, 1]
    assert read([old, taken_over]).pipeline.lag_records == 4


def test_unready_partitions_do_not_count() -> None:
    """A worker that says it is not ready, or says nothing of a partition's generation, is not believed."""
    board = read([text(claim(0, 5, ready=False), units(0, 10, 0), units(1, 10, 0))])
    assert board.signs == ()
    assert board.pipeline.watermark_seconds is None
    assert "not all partitions are ready" in shown(board)


def test_absent_ratio_is_a_dash() -> None:
    """A zero denominator is shown as a dash, never as 0 % or 100 %, on the page and in the summary."""
    board = read([text(claim(0, 1), units(0, 0, 0), units(0, 0, 0, level="region", segment="east"))])
    assert board.signs[0].over("24h").ratio is None
    row = next(one for one in shown(board).splitlines() if one.startswith("first_time_fix"))
    assert row.split()[1:7] == [ABSENT, "0", ABSENT, "0", ABSENT, "0"]
    assert f"first_time_fix: {ABSENT} of 0 in 24h" in summary(board)
    assert "%" not in shown(board) + summary(board)
    assert worst_segments(board) == []


def test_all_and_nothing() -> None:
    """100 % and 0 % are said only of all and nothing; a single bad unit among many stays visible."""
    for good, bad, expected in ((5, 0, "100%"), (0, 5, "0%"), (99_999, 1, "99.9%"), (1, 99_999, "0.1%")):
        assert f"{expected} of" in summary(read([text(claim(0, 1), units(0, good, bad))]))


def test_planted_incident_is_seen() -> None:
    """The one region in trouble is the first segment of the list and the only one marked, with its denominator."""
    board = read([incident_text()])
    worst = worst_segments(board)
    assert (worst[0].sign, worst[0].level, worst[0].name) == ("first_time_fix", "region", "east")
    assert worst[0].count == Count(42, 58)
    assert worst[0].others == Count(246, 54)
    assert [one.alarming for one in worst[:2]] == [True, False]
    for size in ((100, 30), (80, 24)):
        marked = [one for one in shown(board, size=size).splitlines() if "▼" in one]
        assert len(marked) == 1
        assert all(part in marked[0] for part in ("first_time_fix", "region east", "42.0%  100", "82.0%", "-40.0"))
    assert "first_time_fix in region east: 42.0% of 100 in 24h, others 82.0%  <-- far below" in summary(board)


def test_few_units_are_never_marked() -> None:
    """A segment of fewer than ten units is listed but not marked, however bad it looks."""
    parts = [units(0, 0, 5, level="region", segment="east"), units(0, 500, 0, level="region", segment="west")]
    board = read([text(claim(0, 1), units(0, 500, 5), *parts)])
    assert worst_segments(board)[0].name == "east"
    assert not worst_segments(board)[0].alarming


@pytest.mark.parametrize("size", [(100, 30), (80, 24), (80, 18), (132, 50)])
@pytest.mark.parametrize("signs", [3, 11])
def test_fits(size: tuple[int, int], signs: int) -> None:
    """The page fits the terminal in both directions, with three signs as with eleven, all of it in place."""
    names = ("first_time_fix", *(f"sign_with_a_name_{number}"[:16] for number in range(1, signs)))
    board = read([incident_text(names)])
    session = Session()
    session.observe(board, NOW)
    page = shown(board, session, size=size).splitlines()
    assert len(page) < size[1], "one line is left for the cursor"
    assert max(map(len, page)) <= size[0]
    assert any("coverage 2/2" in one for one in page)
    assert all(url in "\n".join(page) for _, url in LINKS)
    assert "first_time_fix" in page[4]
    assert "…" not in "\n".join(page)


def test_other_figures() -> None:
    """Pending, excluded by reason, retracted and the pipeline's counters are added over partitions and workers."""
    labels = {"vital_sign": "stayed_fixed", "window": "30d"}
    workers = []
    for partition in (0, 1):
        number = str(partition)
        extra = [
            line("vital_sign_pending_units", 3, partition=number, **labels),
            line("vital_sign_retracted_units", 1, partition=number, **labels),
            line("vital_sign_excluded_units", 2, partition=number, reason="asset_unknown", **labels),
            line("vital_sign_excluded_units", 5, partition=number, reason="merged", **labels),
            line("duplicate_events_total", 7, topic="ticket"),
            line("late_events_total", 1, topic="ticket", disposition="after_seal"),
            line("dead_letters_total", 2, topic="parts", reason="invalid"),
        ]
        workers.append(text(claim(partition, 1, watermark_ms=NOW - partition * 5000), extra))
    board = read(workers)
    sign = board.signs[0]
    assert (sign.pending, sign.retracted) == ({"30d": 6}, {"30d": 2})
    assert sign.excluded == {"30d": {"asset_unknown": 4, "merged": 10}}
    assert board.pipeline == Pipeline(2, 2, (NOW - 5000) / 1000, 2000, 14, 2, 4, 4)
    said = summary(board, now_ms=NOW)
    assert "6 pending, 2 retracted, excluded: 10 merged, 4 asset_unknown" in said
    assert (
        "pipeline: coverage 2/2, watermark 5 s old, events 2,000, duplicates 14, late 2, dead letters 4, lag 4" in said
    )
    assert "watermark at 2026-03-02T11:59:55Z" in summary(board)


def test_what_goes_on_now_stands_above_the_ratios() -> None:
    """What is at risk is added up over partitions, most first; ages are those of the oldest; regions are left out."""

    def now(partition: int, at_risk: dict[str, int], open_cases: int, oldest: float, silence: float) -> list[str]:
        of = {"level": "job", "segment": "", "partition": str(partition)}
        return [
            *(line("at_risk_units", units, vital_sign=sign, **of) for sign, units in at_risk.items()),
            line("open_cases", open_cases, **of),
            line("open_cases", open_cases, **{**of, "level": "region", "segment": "north"}),
            line("oldest_open_case_seconds", oldest, **of),
            line("longest_current_silence_seconds", silence, **of),
        ]

    first = [*claim(0, 3), *now(0, {"first_response": 1, "on_time_arrival": 2}, 4, 90.0, 40.0)]
    second = [*claim(1, 3), *now(1, {"on_time_arrival": 3}, 5, 200_000.0, 4_000.0)]
    board = read([text(first, second)])
    said = "at risk within the hour: on_time_arrival 5 · first_response 1 · open 9, the oldest for 2 d 7 h, the longest"
    assert said in shown(board, size=(140, 30))
    assert "now: at risk within the hour: on_time_arrival 5, first_response 1, open 9" in summary(board)
    assert "at risk within the hour: nothing · open 0" in shown(read([text(claim(0, 3))]))


def test_nothing_yet() -> None:
    """Before any worker answers the page stands and says that there is nothing."""
    board = read([])
    assert board == Board()
    assert "none yet" in shown(board)
    assert "coverage 0/0" in shown(board)
    assert "no vital signs yet" in summary(board)


def test_groups_are_not_mixed() -> None:
    """Two consumer groups are two jobs: the page shows the one named and refuses to add them up."""
    mine = text(claim(0, 1), units(0, 1, 0))
    theirs = mine.replace('group="demo"', 'group="other"')
    with pytest.raises(ValueError, match="demo, other"):
        read([mine, theirs])
    assert read([mine, theirs], group="demo").signs[0].over("24h") == Count(1, 0)


def test_reads_what_prometheus_client_writes() -> None:
    """Text of prometheus_client is read with its escapes, floats and timestamps; families of others are passed over."""

    class Worker:
        def collect(self) -> Iterator[Metric]:
            decided = GaugeMetricFamily(
                WINDOW, "x", labels=["vital_sign", "level", "segment", "window", "outcome", "finality", "partition"]
            )
            odd = 'a"b\\c\nd} e,f="g"'
            decided.add_metric(["first_time_fix", "region", odd, "24h", "good", "", "0"], 12.0)
            decided.add_metric(["first_time_fix", "region", odd, "24h", "bad", "", "0"], 3e0, timestamp=NOW / 1000)
            yield decided
            for name, value in (("owner_generation", 5), ("ready", 1)):
                of_partition = GaugeMetricFamily(f"cxstream_partition_{name}", "x", labels=["partition"])
                of_partition.add_metric(["0"], value)
                yield of_partition
            yield GaugeMetricFamily("cxstream_partitions_expected", "x", value=1)
            yield GaugeMetricFamily("process_open_fds", "x", value=7)

    registry = CollectorRegistry()
    registry.register(Worker())
    board = read([generate_latest(registry).decode()])
    assert board.signs[0].segments == {("region", 'a"b\\c\nd} e,f="g"'): {"24h": Count(12, 3)}}
    assert board.pipeline.covered


def test_sparkline() -> None:
    """The trend shows fall and rise, gaps where nothing was known, and stays flat for noise below five points."""
    assert sparkline([0.9, 0.8, 0.7, 0.6], 10) == "█▆▃▁"
    assert sparkline([None, 0.5, None, 1.0], 10) == " ▁ █"
    assert set(sparkline([0.80, 0.81, 0.80], 10)) <= set("▃▄▅▆")
    assert len(sparkline([0.5 + 0.001 * number for number in range(1000)], 12)) == 12
    assert sparkline([0.1] * 50 + [0.9], 8)[-1] == "█"
    assert sparkline([None, None], 5) == ""
    assert sparkline([], 5) == ""


def test_session_keeps_the_whole_session() -> None:
    """A long session is thinned, not cut: beginning and present stay, memory is bounded, a late segment is aligned."""
    session = Session()
    for number in range(5 * TREND_POINTS_MAX + 3):
        parts = [units(0, 1000 - number // 2, number // 2)]
        if number >= 600:
            parts.append(units(0, 1, 1, level="region", segment="east"))
        session.observe(read([text(claim(0, 1), *parts, consumed=number * 50)]), NOW + number * 500)
    trend = session.trend("first_time_fix")
    assert trend[0] == 1.0
    assert trend[-1] == pytest.approx(1 - (5 * TREND_POINTS_MAX + 2) // 2 / 1000)
    assert TREND_POINTS_MAX / 2 <= len(trend) <= TREND_POINTS_MAX
    late = session.trend("first_time_fix", "region", "east")
    assert len(late) == len(trend)
    assert 0.45 < late.index(0.5) / len(late) < 0.55
    assert session.events_per_second() == pytest.approx(100)
    assert session.trend("unheard_of") == []


def test_reading_is_cheap() -> None:
    """Twelve partitions of a thousand series are read in a fraction of a second, every time the page is drawn."""
    parts = [claim(partition, 3) for partition in range(12)]
    parts += [
        units(partition, 9, 1, level="region", segment=f"r{number}") for partition in range(12) for number in range(500)
    ]
    worker = text(*parts, expected=12)
    read([worker])
    began = time.process_time()
    board = read([worker])
    assert time.process_time() - began < 1.0
    assert board.signs[0].segments["region", "r0"]["24h"] == Count(108, 12)
