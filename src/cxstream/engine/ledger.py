"""The ledger: windowed counts of the units of one partition, the sum of what its case records contribute."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from cxstream.domain.cases import Segment
from cxstream.domain.instant import MINUTE_MS, NEVER_MS
from cxstream.domain.verdict import Verdict
from cxstream.domain.windows import BUCKET_MS, WindowedCounts
from cxstream.engine.journey import journey
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
_OF_UNITS = frozenset({"good", "bad", "pending", "excluded", MEASURED})
"""States of which every unit is in one."""
_LIVE = frozenset({AT_RISK, LASTING, MEASURED, TOTAL, MOMENT})
"""States shown at the live levels alone."""


_Key = tuple[str, str, str, str]
"""Sign, state, detail and label of the segment."""
_Standing = tuple[str, str, str]
"""Sign (or moment, or loophole), state and detail."""
_Add = Callable[[Any, int, int], None]
"""Adds to what is counted under a key, at an instant in milliseconds, so many."""


class _Place(NamedTuple):
    """Where the figures of one level are kept; what is live only at some levels."""

    dimensions: tuple[str, ...]
    counts: WindowedCounts[_Key]
    at_risk: WindowedCounts[_Key] | None
    lasting: Longest[tuple[str, str]]


class _Figure:
    """One figure of a segment at every level it is shown at: what is the same for all that is ever counted in it."""

    __slots__ = ("adds", "is_capped", "is_of_units")

    def __init__(
        self, standing: _Standing, places: Iterable[_Place], labels: Sequence[str], *, is_capped: bool
    ) -> None:
        """Find out where it is counted; `labels` are those of the segment at every level."""
        self.adds = list(_adds(standing, places, labels))
        """The levels' counts, and the key in each."""
        self.is_of_units = standing[1] in _OF_UNITS
        """Whether units are counted."""
        self.is_capped = is_capped and self.is_of_units
        """Whether units are counted that have a label value outside its closed list."""


def _adds(standing: _Standing, places: Iterable[_Place], labels: Sequence[str]) -> Iterator[tuple[_Add, Any]]:
    """Yield where a figure is counted, and under which key there."""
    sign, state, detail = standing
    for place, label in zip(places, labels, strict=True):
        if state in _LIVE:
            if place.at_risk is None:
                continue
            if state == LASTING:
                yield place.lasting.add, (sign, label)
            elif state == AT_RISK:
                yield place.at_risk.add, (sign, state, detail, label)
            else:
                yield place.counts.add, (sign, MEASURED if state == TOTAL else state, detail, label)
        elif not place.dimensions:
            yield place.counts.add, (sign, state, detail, label)
        elif state in ("good", "bad"):
            yield place.counts.add, (sign, state, "", label)


class _Figures(dict[_Standing, _Figure]):
    """The figures of a segment, each made when it is first asked for."""

    def __init__(self, places: Iterable[_Place], labels: Sequence[str]) -> None:
        super().__init__()
        self.is_capped = any(OTHER in label.split("/") for label in labels)
        """Whether a value of the segment is outside its closed list."""
        self._places = places
        self._labels = labels

    def __missing__(self, standing: _Standing) -> _Figure:
        figure = self[standing] = _Figure(standing, self._places, self._labels, is_capped=self.is_capped)
        return figure


_Cell = tuple[_Figure, int, int]
"""A figure, an instant in milliseconds (the beginning of a bucket; of what lasts, its own), and how much is there."""
Tally = defaultdict[tuple[_Figure, int], int]
"""Cells added up: how much is counted in which figure at which instant."""


class Ledger:
    """Windowed counts of one partition, by sign, level, segment and standing.

    It holds nothing a record does not say: rebuilt from all records it is the same as after any sequence of revisions.
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
        self.units = 0
        """Units the records contribute, whatever their anchor."""
        self.version = 0
        """Rises with every change, so that a reader may keep what it made of the last one."""
        self.capped = 0
        """How often a unit was counted with a label value outside the closed list, under OTHER."""

    def replace(self, old: Published | None, new: Published | None) -> None:
        """Take back what the old record of a case contributed and add what the new one does; None: no record."""
        if old is not None and new is not None and old.segment == new.segment:
            before, after = self._changed(old, new)
        else:
            before, after = ([] if record is None else self._cells(record) for record in (old, new))
        if before or after:
            self._count(before, -1)
            self._count(after, 1)

    def tally(self, tally: Tally, record: Published) -> None:
        """Add to a tally what a record contributes."""
        for figure, at_ms, count in self._cells(record):
            tally[figure, at_ms] += count

    def apply(self, tally: Mapping[tuple[_Figure, int], int]) -> None:
        """Count what a tally holds."""
        self._count(((figure, at_ms, count) for (figure, at_ms), count in tally.items()), 1)

    def _count(self, cells: Iterable[_Cell], times: int) -> None:
        """Count cells so many times: once, or once less."""
        units = 0
        for figure, at_ms, count in cells:
            more = count * times
            if figure.is_of_units:
                units += more
                if figure.is_capped:
                    self.capped += max(0, more)
            for add, key in figure.adds:
                add(key, at_ms, more)
        self.units += units
        self.version += 1

    def _cells(self, record: Published) -> list[_Cell]:
        """Return what a record contributes."""
        figures = self._figures_of(record.segment)
        cells = self._standing_cells(figures, record.verdicts)
        cells += _instant_cells(figures, MOMENT, journey(record.verdicts))
        cells += _instant_cells(figures, LOOPHOLE, record.sightings)
        return cells

    def _changed(self, old: Published, new: Published) -> tuple[list[_Cell], list[_Cell]]:
        """Return what a record contributed and one of the same segment that follows it does not, and the reverse.

        Most verdicts of a revised record are the very objects of the one before.
        """
        figures = self._figures_of(new.segment)
        kept = set(map(id, old.verdicts)).intersection(map(id, new.verdicts))
        before = self._standing_cells(figures, [one for one in old.verdicts if id(one) not in kept])
        after = self._standing_cells(figures, [one for one in new.verdicts if id(one) not in kept])
        if figures.is_capped:
            same = Counter(before) & Counter(after)
            self.capped -= sum(times for cell, times in same.items() if cell[0].is_capped)
        if before or after:
            steps, now = journey(old.verdicts), journey(new.verdicts)
            before += _instant_cells(figures, MOMENT, [step for step in steps if step not in now])
            after += _instant_cells(figures, MOMENT, [step for step in now if step not in steps])
        if old.sightings != new.sightings:
            before += _instant_cells(figures, LOOPHOLE, old.sightings)
            after += _instant_cells(figures, LOOPHOLE, new.sightings)
        return before, after

    def _standing_cells(self, figures: _Figures, verdicts: Iterable[Verdict]) -> list[_Cell]:
        """Return where units are counted by their verdicts."""
        signs, horizon_ms = self._windows.signs, self._windows.risk_horizon_ms
        cells: list[_Cell] = []
        for verdict in verdicts:
            sign = verdict.sign
            if signs is not None and sign not in signs:
                continue
            bucket_ms = verdict.anchor_ms - verdict.anchor_ms % BUCKET_MS
            state, detail = standing_of(verdict)
            cells.append((figures[sign, state, detail], bucket_ms, 1))
            if state == MEASURED:
                cells.append((figures[sign, TOTAL, TOTAL], bucket_ms, verdict.measured or 0))
            if verdict.retracted:
                cells.append((figures[sign, "retracted", ""], bucket_ms, 1))
            if verdict.due_ms < NEVER_MS:
                # In the window that ends now from the horizon before it is due until it is due.
                cells.append((figures[sign, AT_RISK, ""], _bucket_ms(verdict.due_ms - horizon_ms), 1))
            if verdict.since_ms is not None:
                cells.append((figures[sign, LASTING, ""], verdict.since_ms, 1))
        return cells

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


def standing_of(verdict: Verdict) -> tuple[str, str]:
    """Return how a unit is counted: its state, and the detail of it."""
    name, measured = verdict.verdict, verdict.measured
    if name == "excluded":
        return name, verdict.reason
    if measured is not None and name in ("provisional_hit", "final_hit"):
        return MEASURED, next((str(bound) for bound in _BOUNDS[verdict.sign] if measured <= bound), BEYOND)
    return _STANDINGS[name, verdict.sealed]


def _instant_cells(figures: _Figures, state: str, instants: Iterable[tuple[str, int]]) -> list[_Cell]:
    """Return where instants are counted: moments of the journey, or uses of loopholes."""
    return [(figures[name, state, ""], _bucket_ms(at_ms), 1) for name, at_ms in instants]


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
