"""The figures of the whole job: what all workers say, believed by the same fence as the recording rules, and added."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from math import inf, sqrt
from typing import Literal, NamedTuple

from cxstream.domain.instant import SECOND_MS, format_duration, format_instant
from cxstream.domain.vital_sign import Measure, VitalSign
from cxstream.domain.windows import BUCKET_MS
from cxstream.engine.ledger import BEYOND, MEASURED, TOTAL, Windows
from cxstream.web.live import Live
from cxstream.web.models import (
    AtRisk,
    Figure,
    Measured,
    Overview,
    PartitionFigures,
    Present,
    SegmentFigure,
    SignPage,
    Slice,
    Source,
    Trust,
    WorkerFigures,
    WorkerWord,
)

STALE_SECONDS = 900
"""A job whose slowest partition is further behind is stale: its ratios are not shown (as in the recording rules)."""
UNITS_MIN = 10
"""Fewer units say nothing against an objective or the rest."""
ALARM_SCORE = -3.0
"""Standard errors below the rest of the job from which a segment is marked."""
MOST_BELOW = 12
WILSON_Z = 2.326
"""99 %, one-sided: as in the alerts."""
JOB = "job"
_OPEN, _SILENCE = "time_to_restore", "no_silence"

Standing = Literal["met", "below", "unclear", "none"]


class Word(NamedTuple):
    """What came of asking one worker."""

    url: str
    figures: WorkerFigures | None
    problem: str = ""


class Believed(NamedTuple):
    """The partitions of the job, each as the ready worker of the highest generation says it."""

    partitions: Sequence[PartitionFigures]
    trust: Trust
    sources: Sequence[Source]


def believe(words: Iterable[Word], live: Live, expected: int = 0) -> Believed:
    """Fence what the workers say: of each partition only the ready one of the highest generation is believed.

    `expected` is how many partitions the job has at least, where no worker says more.
    """
    words, now_ms = list(words), live.now_ms()
    speakers: dict[int, tuple[int, str, PartitionFigures]] = {}
    taken_ms: dict[str, int] = {}
    for word in words:
        for one in word.figures.partitions if word.figures else ():
            for topic, at_ms in one.sources_ms.items():
                taken_ms[topic] = max(at_ms, taken_ms.get(topic, 0))
            if one.ready and (one.partition not in speakers or one.generation > speakers[one.partition][0]):
                speakers[one.partition] = one.generation, word.url, one
    expected = max((word.figures.partitions_expected for word in words if word.figures), default=expected)
    believed = [speakers[number][2] for number in sorted(speakers) if number < expected]
    sources = [_source(topic, taken_ms.get(topic), now_ms, live) for topic in sorted(live.source_silent_after_ms)]
    return Believed(believed, _trust(words, speakers, expected, now_ms), sources)


def _trust(
    words: Sequence[Word], speakers: Mapping[int, tuple[int, str, PartitionFigures]], expected: int, now_ms: int
) -> Trust:
    watermarks = [one.watermark_ms for _, _, one in speakers.values() if one.watermark_ms is not None]
    slowest_ms = min(watermarks, default=None)
    age_seconds = None if slowest_ms is None else max(0, (now_ms - slowest_ms) // SECOND_MS)
    uncovered = [number for number in range(expected) if number not in speakers]
    problems = []
    if uncovered or not expected:
        problems.append(f"{len(uncovered)} of {expected} partitions have nobody who speaks for them")
    if age_seconds is not None and age_seconds > STALE_SECONDS:
        problems.append(f"what is shown is {format_duration(age_seconds * SECOND_MS)} old")
    problems += [f"the worker at {word.url} {word.problem}" for word in words if word.figures is None]
    if len({word.figures.policy for word in words if word.figures}) > 1:
        problems.append("workers judge by different policies")
    trusted = not uncovered and bool(expected) and age_seconds is not None and age_seconds <= STALE_SECONDS
    return Trust(
        trusted=trusted,
        problems=problems,
        partitions_covered=expected - len(uncovered),
        partitions_expected=expected,
        uncovered=uncovered,
        watermark=None if slowest_ms is None else format_instant(slowest_ms),
        age_seconds=age_seconds,
        workers=[
            WorkerWord(
                url=word.url,
                answered=word.figures is not None,
                problem=word.problem,
                version=word.figures.version if word.figures else "",
                state=word.figures.state if word.figures else "",
                partitions=sorted(number for number, (_, url, _) in speakers.items() if url == word.url),
            )
            for word in words
        ],
    )


def _source(topic: str, last_ms: int | None, now_ms: int, live: Live) -> Source:
    limit_ms = live.source_silent_after_ms.get(topic, 0)
    age_ms = None if last_ms is None else max(0, now_ms - last_ms)
    return Source(
        topic=topic,
        last_delivery=None if last_ms is None else format_instant(last_ms),
        age_seconds=None if age_ms is None else age_ms // SECOND_MS,
        dead=age_ms is not None and 0 < limit_ms < age_ms,
    )


class Sums:
    """What the believed partitions come to."""

    def __init__(self, partitions: Collection[PartitionFigures]) -> None:
        self.units: Counter[tuple[str, str, str, str, str, str]] = Counter()
        """By sign, level, segment, window, state and detail."""
        self.lasting: dict[tuple[str, str, str], tuple[int, float]] = {}
        """Cases and the earliest beginning, by sign, level and segment."""
        self._slices: dict[str, list[list[int]]] = {}
        self._segments: defaultdict[str, set[str]] = defaultdict(set)
        for partition in partitions:
            self.add(partition)

    def add(self, partition: PartitionFigures) -> None:
        """Add one partition."""
        for *key, units in partition.rows:
            self.units[tuple(key)] += units  # type: ignore[index]  # a row is the six of the key, and the units
        for sign, level, segment, cases, since_ms in partition.lasting:
            known, first_ms = self.lasting.get((sign, level, segment), (0, inf))
            self.lasting[sign, level, segment] = known + cases, min(first_ms, since_ms)
        for name, (good, bad) in partition.trend.items():
            known_slices = self._slices.setdefault(name, [[0] * len(good), [0] * len(bad)])
            if len(known_slices[0]) == len(good):
                for total, more in zip(known_slices, (good, bad), strict=True):
                    total[:] = map(int.__add__, total, more)

    def decided(self, sign: str, level: str, segment: str, window: str) -> tuple[int, int]:
        """Return the good and the bad units of a figure."""
        counts = {
            state: sum(
                self.units[sign, level, segment, window, state, detail] for detail in ("", "provisional", "final")
            )
            for state in ("good", "bad")
        }
        return counts["good"], counts["bad"]

    def segments(self, level: str) -> list[str]:
        """Return the segments there are at a level."""
        if not self._segments:
            for _sign, of_level, segment, *_ in self.units:
                self._segments[of_level].add(segment)
        return sorted(self._segments[level])

    def trend(self, sign: str, level: str, segment: str, *, from_ms: int, length_ms: int) -> list[Slice]:
        """Return a window in slices, that which begins first first."""
        good, bad = self._slices.get(f"{sign} {level} {segment}", ([], []))
        return [
            Slice(begins=format_instant(from_ms + index * length_ms // len(good)), good=one, bad=other)
            for index, (one, other) in enumerate(zip(good, bad, strict=True))
        ]


def overview(believed: Believed, sums: Sums, live: Live, *, level: str, segment: str, window: str) -> Overview:
    """Return the job, or one segment of it, over one window."""
    making = _Making(believed, sums, live, window)
    return Overview(
        group=live.group,
        as_of=format_instant(live.now_ms()),
        level=level,
        segment=segment,
        window=window,
        windows=windows_of(live.windows, level),
        segments={one.name: sums.segments(one.name) for one in live.windows.levels if one.dimensions},
        trust=believed.trust,
        sources=list(believed.sources),
        present=making.present(level, segment),
        figures=sorted(
            (making.figure(sign, level, segment) for sign in live.catalogue.values() if sign.measure is None),
            key=lambda one: (_ORDER[one.standing], one.sign),
        ),
        furthest_below=making.furthest_below() if level == JOB else [],
        measured=list(making.measured(level, segment)),
    )


def sign_page(believed: Believed, sums: Sums, live: Live, sign: VitalSign, *, window: str) -> SignPage:
    """Return one vital sign with its segments."""
    making = _Making(believed, sums, live, window)
    return SignPage(
        sign=sign.name,
        title=sign.title,
        question=sign.question,
        numerator=sign.numerator,
        denominator=sign.denominator,
        unit=sign.unit.kind,
        known=sign.known,
        gaming=sign.gaming.how,
        as_of=format_instant(live.now_ms()),
        window=window,
        windows=windows_of(live.windows, JOB),
        trust=believed.trust,
        figure=making.figure(sign, JOB, ""),
        by_window=[
            _Making(believed, sums, live, one).figure(sign, JOB, "", is_whole=False)
            for one in windows_of(live.windows, JOB)
        ],
        segments=sorted(making.segments(sign), key=lambda one: (one.figure.level, _points(one), one.figure.segment)),
    )


def windows_of(windows: Windows, level: str) -> list[str]:
    """Return the windows that are counted at a level."""
    return list(next((one.windows for one in windows.levels if one.name == level), ()))


_ORDER: Mapping[Standing, int] = {"below": 0, "unclear": 1, "met": 2, "none": 3}


def _points(one: SegmentFigure) -> float:
    return inf if one.points is None else one.points


class _Making(NamedTuple):
    """Makes figures of sums over one window."""

    believed: Believed
    sums: Sums
    live: Live
    window: str

    def figure(self, sign: VitalSign, level: str, segment: str, *, is_whole: bool = True) -> Figure:
        """Return a figure; what is not whole has no trend and none of what is only known of the window in hand."""
        sums, window = self.sums, self.window
        good, bad = sums.decided(sign.name, level, segment, window)
        objective = self.live.objectives.get(
            (sign.name, level, segment), self.live.objectives.get((sign.name, JOB, ""))
        )
        trusted = self.believed.trust.trusted
        figure = Figure(
            sign=sign.name,
            title=sign.title,
            question=sign.question,
            level=level,
            segment=segment,
            window=window,
            good=good,
            bad=bad,
            ratio=good / (good + bad) if trusted and good + bad else None,
            objective=objective,
            standing=standing(good, bad, objective) if trusted else "none",
            trend=[],
            at_risk=sums.units[sign.name, level, segment, "", "at_risk", ""],
        )
        if not is_whole:
            return figure
        length_ms = self.live.windows.lengths_ms[window]
        from_ms = (self.live.now_ms() // BUCKET_MS + 1) * BUCKET_MS - length_ms
        figure.trend = sums.trend(sign.name, level, segment, from_ms=from_ms, length_ms=length_ms)
        dead = {source.topic for source in self.believed.sources if source.dead}
        figure.sources_dead = sorted(dead & set(sign.topics))
        if level == JOB:
            figure.final = sum(sums.units[sign.name, JOB, "", window, state, "final"] for state in ("good", "bad"))
            figure.pending = sums.units[sign.name, JOB, "", window, "pending", ""]
            figure.retracted = sums.units[sign.name, JOB, "", window, "retracted", ""]
            figure.excluded = dict(sorted(self._excluded(sign.name).items(), key=lambda one: (-one[1], one[0])))
        return figure

    def _excluded(self, sign: str) -> Counter[str]:
        reasons: Counter[str] = Counter()
        for (name, level, _segment, window, state, detail), units in self.sums.units.items():
            if (name, level, window, state) == (sign, JOB, self.window, "excluded") and units:
                reasons[detail.partition(":")[0]] += units
        return reasons

    def segments(self, sign: VitalSign) -> Iterator[SegmentFigure]:
        """Yield the segments of a sign that have units."""
        for level, segment, of_segment, others in self._against_rest(sign):
            yield self._segment(sign, level, segment, of_segment, others)

    def _against_rest(self, sign: VitalSign) -> Iterator[tuple[str, str, tuple[int, int], tuple[int, int]]]:
        """Yield every segment of a sign that has units: good and bad there, and in the rest of the job."""
        job = self.sums.decided(sign.name, JOB, "", self.window)
        for level in self.live.windows.levels:
            for segment in self.sums.segments(level.name) if level.dimensions else ():
                good, bad = self.sums.decided(sign.name, level.name, segment, self.window)
                if good + bad:
                    yield level.name, segment, (good, bad), (max(0, job[0] - good), max(0, job[1] - bad))

    def _segment(
        self, sign: VitalSign, level: str, segment: str, of_segment: tuple[int, int], others: tuple[int, int]
    ) -> SegmentFigure:
        figure, trusted, of_rest = self.figure(sign, level, segment), self.believed.trust.trusted, sum(others)
        rest = others[0] / of_rest if trusted and of_rest else None
        points = None if figure.ratio is None or rest is None else 100 * (figure.ratio - rest)
        alarming = trusted and sum(of_segment) >= UNITS_MIN and score(of_segment, others) <= ALARM_SCORE
        return SegmentFigure(figure=figure, others_ratio=rest, points=points, alarming=alarming)

    def furthest_below(self) -> list[SegmentFigure]:
        """Return the segments below the rest of the job, the furthest first; none while ratios are not shown."""
        if not self.believed.trust.trusted:
            return []
        below = [
            (score(of_segment, others), sign.name, level, segment, of_segment, others)
            for sign in self.live.catalogue.values()
            if sign.measure is None
            for level, segment, of_segment, others in self._against_rest(sign)
            if score(of_segment, others) < 0
        ]
        return [
            self._segment(self.live.catalogue[name], level, segment, of_segment, others)
            for _, name, level, segment, of_segment, others in sorted(below)[:MOST_BELOW]
        ]

    def present(self, level: str, segment: str) -> Present:
        """Return what goes on now."""
        sums, now_ms = self.sums, self.live.now_ms()
        at_risk = [
            AtRisk(sign=sign.name, title=sign.title, units=units, missing=sign.missing)
            for sign in self.live.catalogue.values()
            if (units := sums.units[sign.name, level, segment, "", "at_risk", ""])
        ]
        is_live = level in self.live.windows.live_levels

        def lasted(sign: str) -> int | None:
            found = sums.lasting.get((sign, level, segment))
            return max(0, int(now_ms - found[1]) // SECOND_MS) if found else 0 if is_live else None

        return Present(
            at_risk=sorted(at_risk, key=lambda one: (-one.units, one.sign)),
            risk_horizon_seconds=self.live.windows.risk_horizon_ms // SECOND_MS,
            open_cases=sums.lasting.get((_OPEN, level, segment), (0, 0))[0] if is_live else None,
            oldest_open_seconds=lasted(_OPEN),
            longest_silence_seconds=lasted(_SILENCE),
        )

    def measured(self, level: str, segment: str) -> Iterator[Measured]:
        """Yield what the signs that measure found."""
        by_sign: dict[str, Counter[str]] = defaultdict(Counter)
        for (sign, at_level, of_segment, window, state, bound), count in self.sums.units.items():
            if (at_level, of_segment, window, state) == (level, segment, self.window, MEASURED):
                by_sign[sign][bound] += count
        for name, counts in sorted(by_sign.items()):
            known = self.live.catalogue.get(name)
            units = sum(count for bound, count in counts.items() if bound != TOTAL)
            if known is not None and known.measure is not None and units:
                yield Measured(
                    sign=name,
                    title=known.title,
                    window=self.window,
                    units=units,
                    mean=_told(known.measure, counts[TOTAL] / units),
                    median_at_most=_at_most(known.measure, counts, 0.5 * units),
                    ninth_decile_at_most=_at_most(known.measure, counts, 0.9 * units),
                )


def _at_most(measure: Measure, counts: Mapping[str, int], units: float) -> str:
    """Return the bound of the first bucket below which so many units lie."""
    below = 0
    for bound in measure.bounds:
        below += counts.get(str(bound), 0)
        if below >= units:
            return _told(measure, bound)
    return f"more than {_told(measure, measure.bounds[-1])}" if counts.get(BEYOND) else ""


def _told(measure: Measure, value: float) -> str:
    if measure.unit == "seconds":
        return format_duration(round(value / SECOND_MS) * SECOND_MS)
    return f"{value:.1f}".removesuffix(".0")


def standing(good: int, bad: int, objective: float | None) -> Standing:
    """Return how a ratio stands against its objective: below only where chance is no explanation."""
    if objective is None or not good + bad:
        return "none"
    if good / (good + bad) >= objective:
        return "met"
    return "below" if good + bad >= UNITS_MIN and wilson_upper(good, bad) < objective else "unclear"


def wilson_upper(good: int, bad: int) -> float:
    """Return the upper 99 % bound of a ratio (Wilson)."""
    n, z = good + bad, WILSON_Z
    share = good / n
    return (share + z * z / (2 * n) + z * sqrt(share * (1 - share) / n + z * z / (4 * n * n))) / (1 + z * z / n)


def score(segment: tuple[int, int], others: tuple[int, int]) -> float:
    """Return by how many standard errors a segment lies above the others; 0 where there is nothing to compare."""
    n, rest = sum(segment), sum(others)
    if not n or not rest:
        return 0.0
    pooled = (segment[0] + others[0]) / (n + rest)
    error = sqrt(pooled * (1 - pooled) * (1 / n + 1 / rest))
    return (segment[0] / n - others[0] / rest) / error if error else 0.0
