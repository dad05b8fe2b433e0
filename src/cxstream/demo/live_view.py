"""A terminal page for whoever tries the demo: the vital signs as Prometheus would add them up, without a Prometheus.

It is made of what workers expose and of nothing else: `read` turns the text of their /metrics into a Board, fenced and
added as the recording rules do it; `Session` remembers boards; `render` and `summary` show one.
"""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from math import inf, isnan, sqrt
from typing import NamedTuple

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

WINDOWS = ("24h", "7d", "30d")
ALARM_WINDOW = "24h"
"""The window in which segments are compared: the present is what matters most to a customer."""
ABSENT = "-"
"""What stands where a denominator is zero: never 0 %, never 100 %."""

ALARM_UNITS_MIN = 10
"""Below this many units a segment is listed, never marked."""
ALARM_SCORE = -3.0
"""Standard errors below the rest of the job from which a segment is marked."""
TREND_POINTS_MAX = 240
TREND_KEYS_MAX = 2_000
STALE_SECONDS = 900

Labels = Mapping[str, str]

_PREFIX = "cxstream_"
_BUSINESS = (
    "vital_sign_window_units",
    "vital_sign_pending_units",
    "vital_sign_excluded_units",
    "vital_sign_retracted_units",
    "at_risk_units",
    "open_cases",
    "oldest_open_case_seconds",
    "longest_current_silence_seconds",
)
_WANTED = frozenset(
    _PREFIX + name
    for name in (
        *_BUSINESS,
        "vital_sign_objective_ratio",
        "partition_owner_generation",
        "partition_ready",
        "partition_watermark_timestamp_seconds",
        "partitions_expected",
        "consumer_lag_records",
        "events_consumed_total",
        "duplicate_events_total",
        "late_events_total",
        "dead_letters_total",
    )
)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"\\(.)")
_SPARKS = "▁▂▃▄▅▆▇█"
_TREND_SPAN_MIN = 0.05
_WILSON_Z = 2.326  # 99 %, one-sided
_SEGMENTS_MIN = 3
_SEGMENTS_MAX = 12
_WIDE_COLUMNS = 96


class Count(NamedTuple):
    """Decided units: good and bad for the customer."""

    good: float = 0
    bad: float = 0

    @property
    def units(self) -> float:
        """The denominator."""
        return self.good + self.bad

    @property
    def ratio(self) -> float | None:
        """The share of good units; None, and not a number, without units."""
        return self.good / self.units if self.units else None

    def plus(self, good: float, bad: float) -> Count:
        """Return the sum."""
        return Count(self.good + good, self.bad + bad)

    def wilson_upper(self) -> float:
        """Return the upper 99 % bound of the ratio, 1 without units."""
        n, z = self.units, _WILSON_Z
        if not n:
            return 1.0
        share = self.good / n
        return (share + z * z / (2 * n) + z * sqrt(share * (1 - share) / n + z * z / (4 * n * n))) / (1 + z * z / n)


@dataclass(slots=True)
class Sign:
    """The figures of one vital sign, by window where a window is named."""

    name: str
    decided: dict[str, Count] = field(default_factory=dict)
    final: dict[str, Count] = field(default_factory=dict)
    """The part of `decided` that nothing can change any more."""
    pending: dict[str, float] = field(default_factory=dict)
    excluded: dict[str, dict[str, float]] = field(default_factory=dict)
    """By window, then by reason."""
    retracted: dict[str, float] = field(default_factory=dict)
    segments: dict[tuple[str, str], dict[str, Count]] = field(default_factory=dict)
    """By (level, segment), then by window."""
    objective_ratio: float | None = None

    def over(self, window: str) -> Count:
        """Return the decided units of a window."""
        return self.decided.get(window, Count())


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Whether the figures may be believed."""

    partitions_ready: int = 0
    partitions_expected: int = 0
    watermark_seconds: float | None = None
    """The oldest clock among the partitions that count, in Unix time; None if none counts."""
    events_consumed: float = 0
    duplicate_events: float = 0
    late_events: float = 0
    dead_letters: float = 0
    lag_records: float = 0

    @property
    def covered(self) -> bool:
        """Whether every partition has a worker that speaks for it."""
        return 0 < self.partitions_expected <= self.partitions_ready


@dataclass(frozen=True, slots=True)
class Present:
    """What goes on now, over the whole job."""

    open_cases: float = 0
    oldest_seconds: float = 0
    """How long the oldest of them has been open."""
    silence_seconds: float = 0
    """How long a waiting customer has not heard from us, at most."""
    at_risk: Mapping[str, float] = field(default_factory=dict)
    """Units that will be misses soon unless something happens, by sign."""


@dataclass(frozen=True, slots=True)
class Board:
    """What all workers say together at one moment."""

    signs: tuple[Sign, ...] = ()
    present: Present = Present()
    pipeline: Pipeline = Pipeline()
    workers: int = 0


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment of one sign against the rest of the job."""

    sign: str
    level: str
    name: str
    count: Count
    others: Count
    score: float
    """How many standard errors it lies above (below: negative) the others."""

    @property
    def alarming(self) -> bool:
        """Whether it lies so far below the others that chance is no explanation."""
        return self.count.units >= ALARM_UNITS_MIN and self.score <= ALARM_SCORE


# Reading.


class _Scrape(NamedTuple):
    """The samples of one worker by family, and which partitions it claims."""

    samples: dict[str, list[tuple[Labels, float]]]
    generation: dict[str, float]
    ready: frozenset[str]

    def of(self, family: str) -> Iterable[tuple[Labels, float]]:
        return self.samples.get(_PREFIX + family, ())


def read(texts: Iterable[str], *, group: str | None = None) -> Board:
    """Add up the /metrics texts of the workers of one consumer group.

    Of each partition only the ready worker with the highest generation is believed. `group` may be left out where only
    one is exposed; raises ValueError if there are several.
    """
    scrapes = [_scrape(text, group) for text in texts]
    groups = {
        labels["group"] for one in scrapes for of in one.samples.values() for labels, _ in of if "group" in labels
    }
    if len(groups) > 1:
        message = f"several consumer groups, name one: {', '.join(sorted(groups))}"
        raise ValueError(message)
    speaker_generation: dict[str, float] = {}
    newest_generation: dict[str, float] = {}
    for one in scrapes:
        for partition, generation in one.generation.items():
            newest_generation[partition] = max(generation, newest_generation.get(partition, -inf))
            if partition in one.ready:
                speaker_generation[partition] = max(generation, speaker_generation.get(partition, -inf))
    speaking = [
        {p for p in one.ready if p in one.generation and one.generation[p] == speaker_generation[p]} for one in scrapes
    ]
    owning = [{p for p, g in one.generation.items() if g == newest_generation[p]} for one in scrapes]
    return Board(
        signs=_signs(scrapes, speaking),
        present=_present(scrapes, speaking),
        pipeline=_pipeline(scrapes, speaking, owning, len(speaker_generation)),
        workers=sum(bool(one.samples) for one in scrapes),
    )


def _scrape(text: str, group: str | None) -> _Scrape:
    samples: dict[str, list[tuple[Labels, float]]] = defaultdict(list)
    for line in text.splitlines():
        name, brace, rest = line.partition("{")
        if not brace:
            name, _, rest = line.partition(" ")
        if name not in _WANTED:
            continue
        pairs, _, number = rest.rpartition("} ") if brace else ("", "", rest)
        labels = _labels(pairs)
        value = float(number.split()[0])
        if isnan(value) or (group is not None and labels.get("group", group) != group):
            continue
        samples[name].append((labels, value))
    by_partition = {
        name: {labels["partition"]: value for labels, value in samples.get(_PREFIX + name, ())}
        for name in ("partition_owner_generation", "partition_ready")
    }
    ready = frozenset(partition for partition, value in by_partition["partition_ready"].items() if value == 1)
    return _Scrape(samples, by_partition["partition_owner_generation"], ready)


@lru_cache(maxsize=65_536)
def _labels(pairs: str) -> Labels:
    """Return the labels of a sample; workers repeat themselves, so they are remembered."""
    return {name: _ESCAPED.sub(_unescaped, value) for name, value in _LABEL.findall(pairs)}


def _unescaped(match: re.Match[str]) -> str:
    return "\n" if match[1] == "n" else match[1]


def _fenced(
    scrapes: Sequence[_Scrape], speaking: Sequence[set[str]], family: str
) -> Iterator[tuple[dict[str, str], float]]:
    """Yield each series of a partition once, as the workers that speak for the partition say it."""
    series: dict[tuple[tuple[str, str], ...], float] = {}
    for one, partitions in zip(scrapes, speaking, strict=True):
        for labels, value in one.of(family):
            if labels.get("partition") in partitions:
                key = tuple(labels.items())
                series[key] = max(value, series.get(key, value))
    for key, value in series.items():
        yield dict(key), value


def _signs(scrapes: Sequence[_Scrape], speaking: Sequence[set[str]]) -> tuple[Sign, ...]:
    signs: dict[str, Sign] = {}

    def sign_of(labels: Labels) -> Sign:
        name = labels["vital_sign"]
        return signs.setdefault(name, Sign(name))

    for one in scrapes:
        for labels, value in one.of("vital_sign_objective_ratio"):
            if labels["level"] == "job":
                sign_of(labels).objective_ratio = value
    for labels, value in _fenced(scrapes, speaking, "vital_sign_window_units"):
        _add_decided(sign_of(labels), labels, value)
    for labels, value in _fenced(scrapes, speaking, "vital_sign_pending_units"):
        _add(sign_of(labels).pending, labels["window"], value)
    for labels, value in _fenced(scrapes, speaking, "vital_sign_retracted_units"):
        _add(sign_of(labels).retracted, labels["window"], value)
    for labels, value in _fenced(scrapes, speaking, "vital_sign_excluded_units"):
        _add(sign_of(labels).excluded.setdefault(labels["window"], {}), labels["reason"], value)
    return tuple(signs[name] for name in sorted(signs))


def _present(scrapes: Sequence[_Scrape], speaking: Sequence[set[str]]) -> Present:
    def of_job(family: str) -> list[tuple[dict[str, str], float]]:
        return [one for one in _fenced(scrapes, speaking, family) if one[0]["level"] == "job"]

    at_risk: dict[str, float] = {}
    for labels, value in of_job("at_risk_units"):
        _add(at_risk, labels["vital_sign"], value)
    return Present(
        open_cases=sum(value for _, value in of_job("open_cases")),
        oldest_seconds=max((value for _, value in of_job("oldest_open_case_seconds")), default=0),
        silence_seconds=max((value for _, value in of_job("longest_current_silence_seconds")), default=0),
        at_risk=dict(sorted(at_risk.items(), key=lambda one: (-one[1], one[0]))),
    )


def _add(counts: dict[str, float], key: str, value: float) -> None:
    counts[key] = counts.get(key, 0) + value


def _add_decided(sign: Sign, labels: Labels, value: float) -> None:
    window = labels["window"]
    good, bad = (value, 0.0) if labels["outcome"] == "good" else (0.0, value)
    if labels["level"] == "job":
        counts = [sign.decided, sign.final] if labels["finality"] == "final" else [sign.decided]
    else:
        counts = [sign.segments.setdefault((labels["level"], labels["segment"]), {})]
    for count in counts:
        count[window] = count.get(window, Count()).plus(good, bad)


def _pipeline(
    scrapes: Sequence[_Scrape], speaking: Sequence[set[str]], owning: Sequence[set[str]], ready: int
) -> Pipeline:
    watermarks: dict[str, float] = {}
    for labels, value in _fenced(scrapes, speaking, "partition_watermark_timestamp_seconds"):
        watermarks[labels["partition"]] = value

    def total(family: str) -> float:
        return sum(value for one in scrapes for _, value in one.of(family))

    return Pipeline(
        partitions_ready=ready,
        partitions_expected=int(max((v for one in scrapes for _, v in one.of("partitions_expected")), default=0)),
        watermark_seconds=min(watermarks.values(), default=None),
        events_consumed=total("events_consumed_total"),
        duplicate_events=total("duplicate_events_total"),
        late_events=total("late_events_total"),
        dead_letters=total("dead_letters_total"),
        lag_records=sum(value for _, value in _fenced(scrapes, owning, "consumer_lag_records")),
    )


def worst_segments(board: Board, *, window: str = ALARM_WINDOW) -> list[Segment]:
    """Return the segments that have units in the window, those furthest below the rest of the job first."""
    segments = []
    for sign in board.signs:
        job = sign.over(window)
        for (level, name), counts in sign.segments.items():
            count = counts.get(window, Count())
            if count.units:
                others = Count(max(0, job.good - count.good), max(0, job.bad - count.bad))
                segments.append(Segment(sign.name, level, name, count, others, _score(count, others)))
    return sorted(segments, key=lambda one: (one.score, one.sign, one.level, one.name))


def _score(count: Count, others: Count) -> float:
    """Return the difference of two ratios in standard errors, 0 where there is nothing to compare."""
    if count.ratio is None or others.ratio is None:
        return 0.0
    pooled = (count.good + others.good) / (count.units + others.units)
    error = sqrt(pooled * (1 - pooled) * (1 / count.units + 1 / others.units))
    return (count.ratio - others.ratio) / error if error else 0.0


# Remembering.


class Session:
    """Remembers the ratios of the boards shown so far: the whole session, thinned when it gets long."""

    def __init__(self) -> None:
        self._now: dict[tuple[str, str, str], float | None] = {}
        self._trends: dict[tuple[str, str, str], list[float | None]] = {}
        self._points = 0
        self._observed = 0
        self._stride = 1
        self._consumed: deque[tuple[int, float]] = deque(maxlen=10)

    def observe(self, board: Board, now_ms: int) -> None:
        """Remember a board shown at `now_ms`."""
        self._now = {(sign.name, "job", ""): sign.over(ALARM_WINDOW).ratio for sign in board.signs}
        for sign in board.signs:
            for (level, name), counts in sign.segments.items():
                self._now[sign.name, level, name] = counts.get(ALARM_WINDOW, Count()).ratio
        if self._observed % self._stride == 0:
            self._keep()
        self._observed += 1
        self._consumed.append((now_ms, board.pipeline.events_consumed))

    def _keep(self) -> None:
        for key in self._now:
            if key not in self._trends and len(self._trends) < TREND_KEYS_MAX:
                self._trends[key] = [None] * self._points
        for key, trend in self._trends.items():
            trend.append(self._now.get(key))
        self._points += 1
        if self._points >= TREND_POINTS_MAX:
            self._trends = {key: trend[::2] for key, trend in self._trends.items()}
            self._points = len(range(0, self._points, 2))
            self._stride *= 2

    def trend(self, sign: str, level: str = "job", segment: str = "") -> list[float | None]:
        """Return the ratios over the session, the present one last; None where there was none."""
        key = (sign, level, segment)
        kept = self._trends.get(key, [])
        is_kept = (self._observed - 1) % self._stride == 0
        return kept if is_kept or key not in self._now else [*kept, self._now[key]]

    def events_per_second(self) -> float | None:
        """Return the rate over the last boards, None before there are two."""
        if not self._consumed or self._consumed[0][0] == self._consumed[-1][0]:
            return None
        (from_ms, before), (to_ms, after) = self._consumed[0], self._consumed[-1]
        return max(0.0, (after - before) * 1000 / (to_ms - from_ms))


def sparkline(ratios: Sequence[float | None], width: int) -> str:
    """Draw ratios as one line of at most `width` characters, the last one last; gaps where there was none.

    The scale is that of the line itself, but at least five points of percentage high, so that noise stays flat.
    """
    if len(ratios) > width:
        ratios = [ratios[(index + 1) * len(ratios) // width - 1] for index in range(width)]
    known = [ratio for ratio in ratios if ratio is not None]
    if not known:
        return ""
    low, high = min(known), max(known)
    missing = max(0.0, _TREND_SPAN_MIN - (high - low)) / 2
    low, span = low - missing, high - low + 2 * missing
    top = len(_SPARKS) - 1
    return "".join(" " if ratio is None else _SPARKS[round((ratio - low) / span * top)] for ratio in ratios)


# Showing.


def render(
    board: Board,
    session: Session | None = None,
    *,
    now_ms: int,
    size: tuple[int, int] = (100, 30),
    links: Sequence[tuple[str, str]] = (),
) -> RenderableType:
    """Return the page for a terminal of `size` (columns, rows): signs, segments, pipeline, and links (name, URL)."""
    session = session or Session()
    columns, rows = size
    foot = [*_pipeline_lines(board, session, now_ms, columns), *_link_lines(links, columns)]
    now = _packed(_present_parts(board.present), columns, " · ")
    left = rows - len(now) - len(foot) - 7  # the heading, two table heads, three blank lines, and one for the cursor
    signs = max(1, min(len(board.signs), left - _SEGMENTS_MIN))
    below = [one for one in worst_segments(board) if one.score < 0]
    return Group(
        _heading(board, now_ms, columns),
        *now,
        Text(),
        _sign_table(board.signs[:signs], len(board.signs) - signs, session, wide=columns >= _WIDE_COLUMNS),
        Text(),
        _segment_table(below[: max(1, min(left - signs, _SEGMENTS_MAX))], session, wide=columns >= _WIDE_COLUMNS),
        Text(),
        *foot,
    )


def summary(board: Board, *, now_ms: int | None = None, segments: int = 5) -> str:
    """Return the board as plain text: one line per sign, the worst segments, the pipeline."""
    lines = []
    for sign in board.signs:
        ratios = ", ".join(f"{_percent(sign.over(w))} of {sign.over(w).units:.0f} in {w}" for w in WINDOWS)
        widest = sign.over(WINDOWS[-1])
        final = sign.final.get(WINDOWS[-1], Count()).units
        standing = (
            *(f"{final:.0f} final", f"{widest.units - final:.0f} provisional", f"{_widest(sign.pending):.0f} pending"),
            *(f"{_widest(sign.retracted):.0f} retracted", f"excluded: {_reasons(sign)}"),
        )
        lines += [f"{sign.name}: {ratios}", f"  {', '.join(standing)}"]
    for one in worst_segments(board)[:segments]:
        mark = "  <-- far below the rest" if one.alarming else ""
        lines.append(
            f"{one.sign} in {one.level} {one.name}: {_percent(one.count)} of {one.count.units:.0f} in {ALARM_WINDOW}, "
            f"others {_percent(one.others)}{mark}"
        )
    if not board.signs:
        lines.append("no vital signs yet")
    lines.append("now: " + ", ".join(part.plain for part in _present_parts(board.present)))
    lines.append("pipeline: " + ", ".join(f"{name} {value}" for name, value, _ in _pipeline_parts(board, now_ms)))
    return "\n".join(lines)


def _heading(board: Board, now_ms: int, columns: int) -> Text:
    moment = datetime.fromtimestamp(now_ms // 1000, tz=UTC)
    text = Text.assemble(("cxstream ", "bold cyan"), "vital signs, live", (f"   {moment:%Y-%m-%d %H:%M:%S} UTC", "dim"))
    text.append(f"   {board.workers} worker{'' if board.workers == 1 else 's'}", "dim")
    if not board.pipeline.covered:
        text.append("   not all partitions are ready: incomplete", "yellow")
    text.truncate(columns, overflow="ellipsis")
    return text


def _present_parts(present: Present) -> list[Text]:
    """Return what goes on now, the promises about to break first."""
    parts = [
        Text.assemble((f"{sign} ", "dim"), (_compact(units), "bold yellow")) for sign, units in present.at_risk.items()
    ]
    risk = Text("at risk within the hour: ", "bold").append_text(parts[0] if parts else Text("nothing", "green"))
    waiting = Text.assemble(("open ", "dim"), (_compact(present.open_cases), "bold"))
    if present.open_cases:
        waiting.append(f", the oldest for {_duration(present.oldest_seconds)}")
        waiting.append(f", the longest silence {_duration(present.silence_seconds)}")
    return [risk, *parts[1:], waiting]


def _duration(seconds: float) -> str:
    """Return a time in its largest units that matter: 42 s, 12 min, 3 h 20 min, 5 d 2 h."""
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86400)
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{seconds:.0f} s"


def _sign_table(signs: Sequence[Sign], left_out: int, session: Session, *, wide: bool) -> Table:
    table = _table()
    table.add_column("vital sign", no_wrap=True, style="bold")
    table.add_column("trend", no_wrap=True, style="cyan", min_width=14 if wide else 6)
    for window in WINDOWS:
        table.add_column(f"{window} of n", justify="right", no_wrap=True)
    for name in ("prov", "final", "pend", "excl", *(["retr"] if wide else [])):
        table.add_column(name, justify="right", no_wrap=True, style="dim")
    for sign in signs:
        decided, final = sign.over(WINDOWS[-1]).units, sign.final.get(WINDOWS[-1], Count()).units
        counts = [decided - final, final, _widest(sign.pending), sum(_excluded(sign).values())]
        if wide:
            counts.append(_widest(sign.retracted))
        table.add_row(
            sign.name,
            sparkline(session.trend(sign.name), 14 if wide else 6),
            *(_cell(sign.over(window), sign.objective_ratio) for window in WINDOWS),
            *(_compact(count) for count in counts),
        )
    if not signs:
        table.add_row(Text("none yet", "dim"), "", *[ABSENT] * len(WINDOWS))
    if left_out:
        table.add_row(Text(f"+ {left_out} more", "dim"))
    return table


def _segment_table(segments: Sequence[Segment], session: Session, *, wide: bool) -> Table:
    table = _table()
    table.add_column(f"furthest below the rest, {ALARM_WINDOW}", no_wrap=True)
    table.add_column("segment", no_wrap=True)
    table.add_column("ratio of n", justify="right", no_wrap=True)
    table.add_column("others", justify="right", no_wrap=True)
    table.add_column("points", justify="right", no_wrap=True)
    table.add_column("trend", no_wrap=True, min_width=14 if wide else 6)
    for one in segments:
        style = "bold red" if one.alarming else "yellow" if one.score <= ALARM_SCORE / 1.5 else "dim"
        points = ABSENT
        if one.count.ratio is not None and one.others.ratio is not None:
            points = f"{(one.count.ratio - one.others.ratio) * 100:+.1f}"
        table.add_row(
            Text(f"{'▼' if one.alarming else ' '} {one.sign}", style),
            Text(f"{one.level} {one.name}", style),
            Text(f"{_percent(one.count)} {_compact(one.count.units):>4}", style),
            Text(_percent(one.others), style),
            Text(points, style),
            Text(sparkline(session.trend(one.sign, one.level, one.name), 14 if wide else 6), style),
        )
    if not segments:
        table.add_row(Text("none", "dim"))
    return table


def _table() -> Table:
    return Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim underline", expand=False)


def _pipeline_lines(board: Board, session: Session, now_ms: int, columns: int) -> list[Text]:
    parts = _pipeline_parts(board, now_ms, session.events_per_second())
    return _packed([Text.assemble((f"{name} ", "dim"), (value, style)) for name, value, style in parts], columns, " · ")


def _pipeline_parts(board: Board, now_ms: int | None, per_second: float | None = None) -> list[tuple[str, str, str]]:
    """Return name, value and style of each pipeline figure."""
    pipeline = board.pipeline
    age, stale = "unknown", True
    if pipeline.watermark_seconds is not None and now_ms is not None:
        age_seconds = max(0, round(now_ms / 1000 - pipeline.watermark_seconds))
        age, stale = f"{age_seconds} s old", age_seconds > STALE_SECONDS
    elif pipeline.watermark_seconds is not None:
        age, stale = f"at {datetime.fromtimestamp(pipeline.watermark_seconds, tz=UTC):%Y-%m-%dT%H:%M:%SZ}", False
    rate = "" if per_second is None else f" (+{per_second:,.0f}/s)"
    return [
        (
            "coverage",
            f"{pipeline.partitions_ready}/{pipeline.partitions_expected}",
            "green" if pipeline.covered else "yellow",
        ),
        ("watermark", age, "yellow" if stale else "green"),
        ("events", f"{pipeline.events_consumed:,.0f}{rate}", "bold"),
        ("duplicates", f"{pipeline.duplicate_events:,.0f}", ""),
        ("late", f"{pipeline.late_events:,.0f}", ""),
        ("dead letters", f"{pipeline.dead_letters:,.0f}", "yellow" if pipeline.dead_letters else ""),
        ("lag", f"{pipeline.lag_records:,.0f}", ""),
    ]


def _link_lines(links: Sequence[tuple[str, str]], columns: int) -> list[Text]:
    texts = [Text.assemble((f"{name} ", "dim"), (url, f"link {url} underline")) for name, url in links]
    return _packed(texts, columns, "   ")


def _packed(parts: Sequence[Text], columns: int, separator: str) -> list[Text]:
    """Return lines of whole parts, as many on each as there is room for."""
    lines: list[Text] = []
    for part in parts:
        if lines and lines[-1].cell_len + len(separator) + part.cell_len <= columns:
            lines[-1].append(separator, "dim").append_text(part)
        else:
            part.truncate(columns, overflow="ellipsis")
            lines.append(part)
    return lines


def _cell(count: Count, objective_ratio: float | None) -> Text:
    style = ""
    if count.ratio is not None and objective_ratio is not None:
        below = count.ratio < objective_ratio
        proven = count.units >= ALARM_UNITS_MIN and count.wilson_upper() < objective_ratio
        style = "bold red" if proven else "yellow" if below else "green"
    return Text.assemble((_percent(count), style), (f" {_compact(count.units):>4}", "dim"))


def _percent(count: Count) -> str:
    """Return the ratio in percent; all and nothing only where it is all or nothing, a dash without units."""
    if count.ratio is None:
        return ABSENT
    if not count.bad:
        return "100%"
    return f"{min(99.9, max(0.1, count.ratio * 100)):.1f}%" if count.good else "0%"


def _compact(units: float) -> str:
    """Return a count in at most four characters."""
    for limit, divisor, unit in ((10_000, 1, ""), (1_000_000, 1_000, "k")):
        if units < limit:
            return f"{units // divisor:.0f}{unit}"
    return f"{units / 1_000_000:.0f}M"


def _widest(by_window: Mapping[str, float]) -> float:
    """Return the count over the widest window that has one."""
    return next((by_window[window] for window in reversed(WINDOWS) if window in by_window), 0)


def _excluded(sign: Sign) -> Mapping[str, float]:
    """Return the excluded units by reason over the widest window that has any."""
    return next((sign.excluded[window] for window in reversed(WINDOWS) if window in sign.excluded), {})


def _reasons(sign: Sign) -> str:
    most = sorted(_excluded(sign).items(), key=lambda one: (-one[1], one[0]))
    return ", ".join(f"{count:.0f} {reason}" for reason, count in most if count) or "none"
