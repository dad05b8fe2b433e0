"""The ledger: windowed counts of the units of one partition, the sum of what its case records contribute."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple, Protocol

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
"""Segments whose labels are kept; beyond that they are made anew."""


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


Cell = tuple[str, str, str, Segment, int]
"""State, sign (or moment, or loophole), detail, segment, and the instant in milliseconds: a bucket's beginning."""
Tally = defaultdict[Cell, int]
"""How much is counted where."""

_BOUNDS = {name: sign.measure.bounds for name, sign in CATALOGUE.items() if sign.measure is not None}
_OF_UNITS = frozenset({"good", "bad", "pending", "excluded", MEASURED})
"""States of which every unit is in one."""
_LIVE = frozenset({AT_RISK, LASTING, MEASURED, TOTAL, MOMENT})
"""States shown at the live levels alone."""


_Key = tuple[str, str, str, str]
"""Sign, state, detail and label of the segment."""


class _Place(NamedTuple):
    """Where the figures of one level are kept; what is live only at some levels."""

    dimensions: tuple[str, ...]
    counts: WindowedCounts[_Key]
    at_risk: WindowedCounts[_Key] | None
    lasting: Longest[tuple[str, str]]


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
        self._labels: dict[Segment, tuple[tuple[str, ...], bool]] = {}
        self.units = 0
        """Units the records contribute, whatever their anchor."""
        self.version = 0
        """Rises with every change, so that a reader may keep what it made of the last one."""
        self.capped = 0
        """How often a unit was counted with a label value outside the closed list, under OTHER."""

    def replace(self, old: Published | None, new: Published | None) -> None:
        """Take back what the old record of a case contributed and add what the new one does; None: no record."""
        tally = Tally(int)
        kept: set[int] = set()
        if old is not None and new is not None and old.segment == new.segment:
            # Most verdicts of a revised record are the very objects of the one before: those cancel out.
            kept = {id(verdict) for verdict in old.verdicts} & {id(verdict) for verdict in new.verdicts}
        for record, times in ((old, -1), (new, 1)):
            if record is not None:
                self.tally(tally, record, times, kept)
        self.apply(tally)

    def tally(self, tally: Tally, record: Published, times: int = 1, kept: AbstractSet[int] = frozenset()) -> None:
        """Add to a tally what a record contributes, so many times; `kept` are ids of verdict objects left out."""
        segment, signs = record.segment, self._windows.signs
        for verdict in record.verdicts:
            if id(verdict) in kept or (signs is not None and verdict.sign not in signs):
                continue
            sign, bucket_ms = verdict.sign, _bucket_ms(verdict.anchor_ms)
            state, detail = standing_of(verdict)
            tally[state, sign, detail, segment, bucket_ms] += times
            if state == MEASURED:
                tally[TOTAL, sign, TOTAL, segment, bucket_ms] += times * (verdict.measured or 0)
            if verdict.retracted:
                tally["retracted", sign, "", segment, bucket_ms] += times
            if verdict.due_ms < NEVER_MS:
                # In the window that ends now from the horizon before it is due until it is due.
                enters_ms = verdict.due_ms - self._windows.risk_horizon_ms
                tally[AT_RISK, sign, "", segment, _bucket_ms(enters_ms)] += times
            if verdict.since_ms is not None:
                tally[LASTING, sign, "", segment, verdict.since_ms] += times
        for loophole, at_ms in record.sightings:
            tally[LOOPHOLE, loophole, "", segment, _bucket_ms(at_ms)] += times
        for moment, at_ms in journey(record.verdicts):
            tally[MOMENT, moment, "", segment, _bucket_ms(at_ms)] += times

    def apply(self, tally: Mapping[Cell, int]) -> None:
        """Count what a tally holds."""
        for (state, sign, detail, segment, at_ms), count in tally.items():
            if not count:
                continue
            self.version += 1
            labels, is_capped = self._labels_of(segment)
            if state in _OF_UNITS:
                self.units += count
                self.capped += max(0, count) if is_capped else 0
            if state in _LIVE:
                self._add_live(state, (sign, MEASURED if state == TOTAL else state, detail), labels, at_ms, count)
                continue
            is_decided = state in ("good", "bad")
            for place, label in zip(self._places.values(), labels, strict=True):
                if not place.dimensions:
                    place.counts.add((sign, state, detail, label), at_ms, count)
                elif is_decided:
                    place.counts.add((sign, state, "", label), at_ms, count)

    def _add_live(
        self, state: str, figure: tuple[str, str, str], labels: Sequence[str], at_ms: int, count: int
    ) -> None:
        """Count what is shown at the live levels alone."""
        for place, label in zip(self._places.values(), labels, strict=True):
            if place.at_risk is None:
                continue
            if state == LASTING:
                place.lasting.add((figure[0], label), at_ms, count)
            else:
                counts = place.at_risk if state == AT_RISK else place.counts
                counts.add((*figure, label), at_ms, count)

    def _labels_of(self, segment: Segment) -> tuple[tuple[str, ...], bool]:
        """Return the label of a segment at every level, and whether a value is outside its closed list."""
        known = self._labels.get(segment)
        if known is None:
            if len(self._labels) >= SEGMENTS_KEPT:
                self._labels.clear()
            labels = tuple(label_of(segment, place.dimensions, self._windows) for place in self._places.values())
            known = self._labels[segment] = labels, any(OTHER in label.split("/") for label in labels)
        return known

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
    match verdict.verdict:
        case "provisional_hit" | "final_hit" if verdict.measured is not None:
            measured = verdict.measured
            return MEASURED, next((str(bound) for bound in _BOUNDS[verdict.sign] if measured <= bound), BEYOND)
        case "provisional_hit" | "final_hit":
            return "good", "final" if verdict.sealed else "provisional"
        case "miss":
            return "bad", "final" if verdict.sealed else "provisional"
        case "excluded":
            return "excluded", verdict.reason
        case _:
            return "pending", ""


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
