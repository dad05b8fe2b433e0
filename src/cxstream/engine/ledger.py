"""The ledger: windowed counts of the units of one partition, the sum of what its case records contribute."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from cxstream.domain.cases import Segment
from cxstream.domain.instant import MINUTE_MS, NEVER_MS
from cxstream.domain.verdict import Verdict
from cxstream.domain.windows import BUCKET_MS, WindowedCounts
from cxstream.engine.journey import Step, journey, until
from cxstream.engine.longest import Longest
from cxstream.vital_signs import CATALOGUE

OTHER = "__other__"
"""The label of every value outside the configured closed list."""

RISK_HORIZON_MS = 60 * MINUTE_MS
MEASURED = "measured"
LOOPHOLE = "loophole"
MOMENT = "moment"
AT_RISK = "at_risk"
LASTING = "lasting"
BEYOND = "+Inf"
TOTAL = "total"
TALLIED_TOGETHER = 5_000
"""Changes are added up until there are so many different ones, and then counted: no reader has to wait long for it."""
SEGMENTS_KEPT = 4096
LABELS_KEPT = 1024
"""Segments, and lists of their labels, of which is kept where they are counted; beyond that it is found out anew."""


class Level(msgspec.Struct, frozen=True, kw_only=True):
    """One marginal the vital signs are published at: a list of segment dimensions and the windows counted over."""

    name: str
    dimensions: tuple[str, ...] = ()
    """Names of Segment fields; none for the whole job."""
    windows: tuple[str, ...]


class Windows(msgspec.Struct, frozen=True):
    """The levels published, the length of every window in milliseconds, and the closed lists of label values."""

    lengths_ms: dict[str, int]
    levels: tuple[Level, ...]
    label_values: dict[str, frozenset[str]]
    """Allowed values by dimension; a dimension that is not named here takes any value, up to `label_limit` segments."""
    risk_horizon_ms: int = RISK_HORIZON_MS
    """A pending unit that will be a miss within this time is at risk now (rule 26); a multiple of 5 minutes."""
    live_levels: tuple[str, ...] = ("job", "region")
    """The levels of what is live (units at risk, open cases, silences), of what is measured and of the journey."""
    time_windows: tuple[str, ...] = ("7d", "30d")
    """The windows what is measured and the journey are shown over, of those of their level."""
    label_limit: int = 50
    """Segments shown of a level and window; the others, in order of name, are shown together as OTHER."""
    signs: frozenset[str] | None = None
    """The vital signs counted; None: all. A record may hold verdicts of signs that are judged no more."""


class Row(NamedTuple):
    """One figure of a snapshot: how many units of a sign stand how, in a window of a level and segment."""

    sign: str
    """The vital sign, or the name of a loophole or a moment of the journey."""
    level: str
    segment: str
    window: str
    state: str
    """good, bad, pending, excluded, retracted, measured, loophole, moment, or at_risk: that one has no window."""
    detail: str
    """provisional or final for good and bad, the reason for excluded, the upper bound of a bucket of what is measured
    or TOTAL for its sum, else empty."""
    units: int
    """How many; for TOTAL what was measured: times in milliseconds."""


class Lasting(NamedTuple):
    """What of a sign goes on now in a segment: how many cases, and since when the longest of them has lasted."""

    sign: str
    level: str
    segment: str
    units: int
    since_ms: int


class Slice(NamedTuple):
    """Decided units of a sign in one slice of a window."""

    number: int
    """From 0, the oldest, to the number of slices less one, which ends now."""
    sign: str
    segment: str
    state: str
    """good or bad."""
    units: int


class Published(Protocol):
    """What of a case record the ledger counts; a whole Case is one."""

    @property
    def verdicts(self) -> Sequence[Verdict]:
        """Last published verdict of every unit and sign."""

    @property
    def segment(self) -> Segment:
        """What they are counted under."""

    @property
    def sightings(self) -> Sequence[tuple[str, int]]:
        """Uses of the watched loopholes: which, and when in milliseconds."""


_BOUNDS = {name: sign.measure.bounds for name, sign in CATALOGUE.items() if sign.measure is not None}
_STANDINGS = {
    ("provisional_hit", False): ("good", "provisional"),
    ("provisional_hit", True): ("good", "final"),
    ("final_hit", False): ("good", "provisional"),
    ("final_hit", True): ("good", "final"),
    ("miss", False): ("bad", "provisional"),
    ("miss", True): ("bad", "final"),
    ("pending", False): ("pending", ""),
    ("pending", True): ("pending", ""),
}
"""State and detail of a verdict that measures nothing and is not excluded, by its name and whether it is sealed."""
_LIVE = frozenset({AT_RISK, LASTING, MEASURED, TOTAL, MOMENT})
"""States shown at the live levels alone."""


_Key = tuple[str, str, str, str]
"""Sign, state, detail and label of the segment."""
_Standing = tuple[str, str, str]
"""Sign (or moment, or loophole), state and detail."""


class _Place(NamedTuple):
    """Where the figures of one level are kept; what is live only at some levels."""

    dimensions: tuple[str, ...]
    counts: WindowedCounts[_Key]
    at_risk: WindowedCounts[_Key] | None
    lasting: Longest[tuple[str, str]]


class _Counts(Protocol):
    """Counts by key and instant."""

    def add(self, at_ms: int, counts: Mapping[Any, int]) -> None:
        """Count so many more of each key, at an instant in milliseconds."""


class _Figure:
    """One figure of a segment at every level it is shown at: what is the same for all that is ever counted in it."""

    __slots__ = ("cells",)

    def __init__(self, cells: Iterable[tuple[_Counts, Any]]) -> None:
        self.cells = list(cells)
        """The levels' counts, and the key in each."""


class _Figures(dict[_Standing, _Figure]):
    """The figures of a segment, each made when it is first asked for."""

    def __init__(self, places: Collection[_Place], labels: Sequence[str]) -> None:
        """`labels` are those of the segment at every level."""
        super().__init__()
        self.is_capped = any(OTHER in label.split("/") for label in labels)
        """Whether a value of the segment is outside its closed list."""
        self.of_verdicts = _FiguresOfVerdicts(self)
        self._places = places
        self._labels = labels

    def __missing__(self, standing: _Standing) -> _Figure:
        sign, state, detail = standing
        signs = until(sign) if state == MOMENT else (sign,)
        figure = self[standing] = _Figure(cell for one in signs for cell in self._cells(one, state, detail))
        return figure

    def _cells(self, sign: str, state: str, detail: str) -> Iterator[tuple[_Counts, Any]]:
        """Yield where a standing is counted, and under which key there."""
        for place, label in zip(self._places, self._labels, strict=True):
            if state in _LIVE:
                if place.at_risk is None:
                    continue
                if state == LASTING:
                    yield place.lasting, (sign, label)
                elif state == AT_RISK:
                    yield place.at_risk, (sign, state, detail, label)
                else:
                    yield place.counts, (sign, MEASURED if state == TOTAL else state, detail, label)
            elif not place.dimensions:
                yield place.counts, (sign, state, detail, label)
            elif state in ("good", "bad"):
                yield place.counts, (sign, state, "", label)


class _FiguresOfVerdicts(dict[tuple[str, str, str, bool], _Figure]):
    """The figures of a segment by what verdicts say that measure nothing: sign, verdict, reason and whether sealed."""

    def __init__(self, figures: _Figures) -> None:
        super().__init__()
        self._figures = figures

    def __missing__(self, said: tuple[str, str, str, bool]) -> _Figure:
        sign, name, reason, sealed = said
        figure = self[said] = self._figures[(sign, *_standing(name, reason, sealed=sealed))]
        return figure


class Ledger:
    """Windowed counts of one partition, by sign, level, segment and standing.

    It holds nothing a record does not say: rebuilt from all records it is the same as after any sequence of revisions.
    What changes is added up first, and counted in the windows when these are read, or there is much of it: most of it
    is taken back soon, or is the same of many cases.
    """

    def __init__(self, windows: Windows) -> None:
        self._windows = windows
        self._places = {
            level.name: _Place(
                level.dimensions,
                WindowedCounts[_Key]([windows.lengths_ms[label] for label in level.windows]),
                WindowedCounts[_Key]([windows.risk_horizon_ms]) if level.name in windows.live_levels else None,
                Longest[tuple[str, str]](),
            )
            for level in windows.levels
        }
        self._figures: dict[Segment, _Figures] = {}
        self._figures_by_labels: dict[tuple[str, ...], _Figures] = {}
        self._tally: defaultdict[int, defaultdict[_Figure, int]] = defaultdict(lambda: defaultdict(int))
        """What is not counted in the windows yet, by instant in milliseconds: the beginning of a bucket, or of what
        lasts its own."""
        self._tallied = 0
        """How many different changes it may hold: those it was found to hold last, and all since."""
        self.units = 0
        """Units the records contribute, whatever their anchor."""
        self.version = 0
        """Rises with every change, so that a reader may keep what it made of the last one."""
        self.capped = 0
        """How often a unit was counted with a label value outside the closed list, under OTHER."""

    def replace(self, old: Published | None, new: Published | None, *, is_news: bool = True) -> None:
        """Take back what the old record of a case contributed and add what the new one does; None: no record.

        Most of what a revised record says is counted as what the one before said: that stays where it is. It is no news
        where another has counted it before: then nothing is added to `capped`.
        """
        gone, come = _contribution_of(old), _contribution_of(new)
        is_revision = old is not None and new is not None and old.segment == new.segment
        if is_revision:
            gone, come = _moved(gone, come)
            if gone == come:
                return
        if old is not None:
            self._tally_up(gone, -1, self._figures_of(old.segment))
        if new is not None:
            figures = self._figures_of(new.segment)
            self._tally_up(come, 1, figures)
            if figures.is_capped and is_news:
                self.capped += self._newly_counted(gone.verdicts if is_revision else (), come.verdicts)
        self.version += 1
        if self._tallied >= TALLIED_TOGETHER:
            self._tallied = sum(map(len, self._tally.values()))
            if self._tallied >= TALLIED_TOGETHER:
                self._count()

    def _tally_up(self, contribution: _Contribution, times: int, figures: _Figures) -> None:
        """Add to the tally what a record contributes, so many times: once, or once less."""
        verdicts, step, sightings = contribution
        tally, of_verdicts, counted = self._tally, figures.of_verdicts, self._counted(verdicts)
        self.units += times * len(counted)
        self._tallied += len(counted) + len(sightings) + 1
        for verdict in counted:
            sign, anchor_ms, measured = verdict.sign, verdict.anchor_ms, verdict.measured
            counts = tally[anchor_ms - anchor_ms % BUCKET_MS]
            if measured is None:
                counts[of_verdicts[sign, verdict.verdict, verdict.reason, verdict.sealed]] += times
            else:
                state, detail = standing_of(verdict)
                counts[figures[sign, state, detail]] += times
                if state == MEASURED:
                    counts[figures[sign, TOTAL, TOTAL]] += times * measured
            if verdict.retracted:
                counts[figures[sign, "retracted", ""]] += times
            if verdict.due_ms < NEVER_MS:
                # In the window that ends now from the horizon before it is due until it is due.
                begins_ms = verdict.due_ms - self._windows.risk_horizon_ms
                tally[_bucket_ms(begins_ms)][figures[sign, AT_RISK, ""]] += times
            if verdict.since_ms is not None:
                tally[verdict.since_ms][figures[sign, LASTING, ""]] += times
        if step is not None:
            tally[_bucket_ms(step.anchor_ms)][figures[step.moment, MOMENT, ""]] += times
        for loophole, at_ms in sightings:
            tally[_bucket_ms(at_ms)][figures[loophole, LOOPHOLE, ""]] += times

    def _counted(self, verdicts: Sequence[Verdict]) -> Sequence[Verdict]:
        """Return those of signs that are counted."""
        signs = self._windows.signs
        return verdicts if signs is None else [one for one in verdicts if one.sign in signs]

    def _newly_counted(self, gone: Sequence[Verdict], come: Sequence[Verdict]) -> int:
        """Return how many units come to be counted, less those that were counted in the same place before."""
        before, after = (
            Counter((one.sign, standing_of(one), _bucket_ms(one.anchor_ms)) for one in self._counted(verdicts))
            for verdicts in (gone, come)
        )
        return (after - before).total()

    def _count(self) -> None:
        """Count in the windows what was added up."""
        for at_ms, figures in self._tally.items():
            changes: dict[_Counts, dict[Any, int]] = {}
            for figure, count in figures.items():
                if count:
                    for counts, key in figure.cells:
                        if counts in changes:
                            changed = changes[counts]
                            changed[key] = changed.get(key, 0) + count
                        else:
                            changes[counts] = {key: count}
            for counts, changed in changes.items():
                counts.add(at_ms, changed)
        self._tally.clear()
        self._tallied = 0

    def _figures_of(self, segment: Segment) -> _Figures:
        """Return the figures of a segment: those of all that have the same labels."""
        figures = self._figures.get(segment)
        if figures is None:
            if len(self._figures) >= SEGMENTS_KEPT or len(self._figures_by_labels) >= LABELS_KEPT:
                self._figures.clear()
                self._figures_by_labels.clear()
            places = self._places.values()
            labels = tuple(label_of(segment, place.dimensions, self._windows) for place in places)
            figures = self._figures_by_labels.setdefault(labels, _Figures(places, labels))
            self._figures[segment] = figures
        return figures

    def advance(self, now_ms: int) -> None:
        """Let windows end at `now_ms`: what they no longer cover expires."""
        places = self._places.values()
        moved = [place.counts.advance(now_ms) for place in places]
        moved += [place.at_risk.advance(now_ms) for place in places if place.at_risk is not None]
        self.version += any(moved)

    def rows(self) -> Iterator[Row]:
        """Yield every figure that is not zero, as of the last `advance`."""
        self._count()
        for level in self._windows.levels:
            place = self._places[level.name]
            shown_over = [(window, place.counts.over(n)) for n, window in enumerate(level.windows)]
            if place.at_risk is not None:
                shown_over.append(("", place.at_risk.over(0)))
            for window, counts in shown_over:
                shown = self._shown(counts)
                rest: Counter[_Key] = Counter()
                for (sign, state, detail, label), units in counts.items():
                    if state in (MEASURED, MOMENT) and window not in self._windows.time_windows:
                        continue
                    if label in shown:
                        yield Row(sign, level.name, label, window, state, detail, units)
                    else:
                        rest[sign, state, detail, OTHER] += units
                for (sign, state, detail, label), units in rest.items():
                    yield Row(sign, level.name, label, window, state, detail, units)

    def lasting(self) -> Iterator[Lasting]:
        """Yield what goes on now, by sign and segment, where anything does."""
        self._count()
        for level, place in self._places.items():
            found = list(place.lasting.lasting())
            shown = set(sorted({segment for (_, segment), _, _ in found} - {OTHER})[: self._windows.label_limit])
            rest: dict[str, Lasting] = {}
            for (sign, segment), units, since_ms in found:
                if segment in shown:
                    yield Lasting(sign, level, segment, units, since_ms)
                else:
                    other = rest.get(sign, Lasting(sign, level, OTHER, 0, since_ms))
                    rest[sign] = Lasting(sign, level, OTHER, other.units + units, min(other.since_ms, since_ms))
            yield from rest.values()

    def slices(self, level: str, window: str, count: int) -> Iterator[list[Slice]]:
        """Yield the decided units of a window in `count` slices of equal length, as of the last `advance`.

        One list a bucket: all of them added up are the good and bad of `rows`. The ledger may change between two lists.
        Nothing comes of a window that the level is not counted over.
        """
        counted = self._counted_over(level, window)
        if counted is None:
            return
        counts, index = counted
        span, shown = counts.span(index), self._shown(counts.over(index))
        for offset, bucket in enumerate(span):
            found = [
                Slice(offset * count // len(span), sign, label if label in shown else OTHER, state, units)
                for (sign, state, _detail, label), units in counts.within(bucket).items()
                if state in ("good", "bad")
            ]
            if found:
                yield found

    def scope(self, level: str, window: str, *, at_risk: bool = False) -> Scope | None:
        """Return which buckets and segments make the figures of a level over a window, as of the last `advance`.

        Of units at risk the window plays no part. None if there are no such figures.
        """
        dimensions = next((one.dimensions for one in self._windows.levels if one.name == level), None)
        counted = self._counted_over(level, window)
        if at_risk:
            place = self._places.get(level)
            counted = None if place is None or place.at_risk is None else (place.at_risk, 0)
        if dimensions is None or counted is None:
            return None
        counts, index = counted
        return Scope(counts.span(index), dimensions, self._shown(counts.over(index)), self._windows)

    def _counted_over(self, level: str, window: str) -> tuple[WindowedCounts[_Key], int] | None:
        self._count()
        windows = next((one.windows for one in self._windows.levels if one.name == level), ())
        return (self._places[level].counts, windows.index(window)) if window in windows else None

    def _shown(self, counts: Mapping[_Key, int]) -> frozenset[str]:
        """Return the segments that are shown by their own names."""
        return frozenset(sorted({label for _, _, _, label in counts} - {OTHER})[: self._windows.label_limit])


class Scope(NamedTuple):
    """Which units of a partition make the figures of a level over a window."""

    buckets: range
    """Numbers of the buckets a unit is counted in."""
    dimensions: tuple[str, ...]
    shown: frozenset[str]
    """Segments shown by their own names; the others are shown together as OTHER."""
    windows: Windows

    def holds(self, instant_ms: int) -> bool:
        """Whether a unit that is counted at an instant is in the window."""
        return instant_ms // BUCKET_MS in self.buckets

    def segment(self, segment: Segment) -> str:
        """Return under which label the units of a segment are shown."""
        label = label_of(segment, self.dimensions, self.windows)
        return label if label in self.shown else OTHER


class _Contribution(NamedTuple):
    """What a record of a case adds to the figures of its segment."""

    verdicts: Sequence[Verdict]
    step: Step | None
    sightings: Sequence[tuple[str, int]]


_NOTHING = _Contribution((), None, ())


def _contribution_of(record: Published | None) -> _Contribution:
    return _NOTHING if record is None else _Contribution(record.verdicts, journey(record.verdicts), record.sightings)


def _moved(gone: _Contribution, come: _Contribution) -> tuple[_Contribution, _Contribution]:
    """Return two contributions without what is counted alike in both; verdicts are compared place by place."""
    both = min(len(gone.verdicts), len(come.verdicts))
    less, more = [*gone.verdicts[both:]], [*come.verdicts[both:]]
    for old, new in zip(gone.verdicts, come.verdicts, strict=False):
        if old is not new and not _is_counted_alike(old, new):
            less.append(old)
            more.append(new)
    if gone.step == come.step and gone.sightings == come.sightings:
        return _Contribution(less, None, ()), _Contribution(more, None, ())
    return gone._replace(verdicts=less), come._replace(verdicts=more)


def _is_counted_alike(old: Verdict, new: Verdict) -> bool:
    """Whether two verdicts add the same to the figures: all that is left is their unit, their seal and their number."""
    return (
        old.anchor_ms == new.anchor_ms
        and old.verdict == new.verdict
        and old.reason == new.reason
        and old.due_ms == new.due_ms
        and old.since_ms == new.since_ms
        and old.sign == new.sign
        and old.sealed == new.sealed
        and old.retracted == new.retracted
        and old.measured == new.measured
    )


def standing_of(verdict: Verdict) -> tuple[str, str]:
    """Return how a unit is counted: its state, and the detail of it."""
    name, measured = verdict.verdict, verdict.measured
    if measured is not None and name in ("provisional_hit", "final_hit"):
        bounds = _BOUNDS[verdict.sign]
        index = bisect_left(bounds, measured)
        return MEASURED, str(bounds[index]) if index < len(bounds) else BEYOND
    return _standing(name, verdict.reason, sealed=verdict.sealed)


def _standing(name: str, reason: str, *, sealed: bool) -> tuple[str, str]:
    """Return how a unit is counted that measures nothing."""
    return (name, reason) if name == "excluded" else _STANDINGS[name, sealed]


def _bucket_ms(at_ms: int) -> int:
    return at_ms - at_ms % BUCKET_MS


def label_of(segment: Segment, dimensions: Sequence[str], windows: Windows) -> str:
    """Return the label of a segment at a level: values outside the closed lists are OTHER."""
    values = []
    for dimension in dimensions:
        value = getattr(segment, dimension)
        allowed = windows.label_values.get(dimension)
        is_other = allowed is not None and value not in allowed and value != "unknown"
        values.append(OTHER if is_other else value)
    return "/".join(values)
