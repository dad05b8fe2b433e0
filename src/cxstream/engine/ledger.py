"""The ledger: windowed counts of the units of one partition, the sum of what its case records contribute."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

import msgspec

from cxstream.domain.cases import Case, Segment
from cxstream.domain.instant import MINUTE_MS, NEVER_MS
from cxstream.domain.verdict import Verdict
from cxstream.domain.windows import WindowedCounts
from cxstream.engine.journey import Step, journey
from cxstream.engine.longest import Longest
from cxstream.vital_signs import CATALOGUE

OTHER = "__other__"
"""The label of every value outside the configured closed list."""

RISK_HORIZON_MS = 60 * MINUTE_MS
MEASURED = "measured"
LOOPHOLE = "loophole"
MOMENT = "moment"
BEYOND = "+Inf"
TOTAL = "total"


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


class Contribution(NamedTuple):
    """What one published verdict adds to the ledger."""

    sign: str
    unit: str
    state: str
    detail: str
    anchor_ms: int
    retracted: bool
    due_ms: int
    since_ms: int | None
    measured: int | None
    segment: Segment


def contributions(verdicts: Iterable[Verdict], segment: Segment) -> Iterator[Contribution]:
    """Yield what published verdicts of a case contribute, one each."""
    for verdict in verdicts:
        match verdict.verdict:
            case "provisional_hit" | "final_hit" if verdict.measured is not None:
                state, detail = MEASURED, ""
            case "provisional_hit" | "final_hit":
                state, detail = "good", "final" if verdict.sealed else "provisional"
            case "miss":
                state, detail = "bad", "final" if verdict.sealed else "provisional"
            case "excluded":
                state, detail = "excluded", verdict.reason
            case _:
                state, detail = "pending", ""
        yield Contribution(
            verdict.sign,
            verdict.unit,
            state,
            detail,
            verdict.anchor_ms,
            verdict.retracted,
            verdict.due_ms,
            verdict.since_ms,
            verdict.measured,
            segment,
        )


_BOUNDS = {name: sign.measure.bounds for name, sign in CATALOGUE.items() if sign.measure is not None}


class _Key(NamedTuple):
    sign: str
    state: str
    detail: str
    segment: str


class Ledger:
    """Windowed counts of one partition, by sign, level, segment and standing.

    It holds nothing a record does not say: rebuilt by `replace(None, record)` over all records it is the same as after
    any sequence of revisions.
    """

    def __init__(self, windows: Windows) -> None:
        self._windows = windows
        self._counts = {
            level.name: WindowedCounts[_Key]([windows.lengths_ms[label] for label in level.windows])
            for level in windows.levels
        }
        self._at_risk = {
            level.name: WindowedCounts[_Key]([windows.risk_horizon_ms])
            for level in windows.levels
            if level.name in windows.live_levels
        }
        self._lasting = {level: Longest[tuple[str, str]]() for level in self._at_risk}
        self.units = 0
        """Units the records contribute, whatever their anchor."""
        self.version = 0
        """Rises with every change, so that a reader may keep what it made of the last one."""
        self.capped = 0
        """How often a label value outside the closed list was counted under OTHER."""

    def replace(self, old: Case | None, new: Case | None) -> None:
        """Take back what the old record of a case contributed and add what the new one does; None: no record."""
        if old is not None and new is not None and old.segment == new.segment:
            # Most verdicts of a revised record are the very objects of the one before: those cancel out.
            kept = {id(verdict) for verdict in old.verdicts} & {id(verdict) for verdict in new.verdicts}
        else:
            kept = set()
        gone, come = self._counted(old, kept), self._counted(new, kept)
        for contribution in gone - come:
            self._add(contribution, -1)
        for contribution in come - gone:
            self._add(contribution, 1)
        if (old.sightings if old is not None else []) != (new.sightings if new is not None else []):
            self._replace_sightings(old, new)
        if gone or come:
            self._replace_journey(old, new)

    def _counted(self, case: Case | None, kept: AbstractSet[int]) -> set[Contribution]:
        if case is None:
            return set()
        signs = self._windows.signs
        counted = (
            verdict for verdict in case.verdicts if id(verdict) not in kept and (signs is None or verdict.sign in signs)
        )
        return set(contributions(counted, case.segment))

    def _replace_sightings(self, old: Case | None, new: Case | None) -> None:
        seen = Counter(new.sightings if new is not None else ())
        seen.subtract(old.sightings if old is not None else ())
        for (loophole, at_ms), count in seen.items():
            if count:
                self._add_sighting(loophole, at_ms, count)

    def _replace_journey(self, old: Case | None, new: Case | None) -> None:
        was, now = ([] if case is None else [*journey(case)] for case in (old, new))
        if old is not None and new is not None and (was, old.segment) == (now, new.segment):
            return
        for case, steps, count in ((old, was, -1), (new, now, 1)):
            if case is not None:
                self._add_journey(case.segment, steps, count)

    def advance(self, now_ms: int) -> None:
        """Let windows end at `now_ms`: what they no longer cover expires."""
        moved = [counts.advance(now_ms) for counts in (*self._counts.values(), *self._at_risk.values())]
        self.version += any(moved)

    def rows(self) -> Iterator[Row]:
        """Yield every figure that is not zero, as of the last `advance`."""
        for level in self._windows.levels:
            shown_over = [(window, self._counts[level.name].over(n)) for n, window in enumerate(level.windows)]
            if level.name in self._at_risk:
                shown_over.append(("", self._at_risk[level.name].over(0)))
            for window, counts in shown_over:
                shown = set(sorted({key.segment for key in counts} - {OTHER})[: self._windows.label_limit])
                rest: Counter[_Key] = Counter()
                for key, units in counts.items():
                    if key.state in (MEASURED, MOMENT) and window not in self._windows.time_windows:
                        continue
                    if key.segment in shown:
                        yield Row(key.sign, level.name, key.segment, window, key.state, key.detail, units)
                    else:
                        rest[key._replace(segment=OTHER)] += units
                for key, units in rest.items():
                    yield Row(key.sign, level.name, OTHER, window, key.state, key.detail, units)

    def lasting(self) -> Iterator[Lasting]:
        """Yield what goes on now, by sign and segment, where anything does."""
        for level, lasting in self._lasting.items():
            found = list(lasting.lasting())
            shown = set(sorted({segment for (_, segment), _, _ in found} - {OTHER})[: self._windows.label_limit])
            rest: dict[str, Lasting] = {}
            for (sign, segment), units, since_ms in found:
                if segment in shown:
                    yield Lasting(sign, level, segment, units, since_ms)
                else:
                    other = rest.get(sign, Lasting(sign, level, OTHER, 0, since_ms))
                    rest[sign] = Lasting(sign, level, OTHER, other.units + units, min(other.since_ms, since_ms))
            yield from rest.values()

    def _add(self, contribution: Contribution, count: int) -> None:
        self.version += 1
        self.units += count
        sign, _unit, state, detail, anchor_ms, retracted, due_ms, since_ms, _measured, segment = contribution
        is_live = due_ms != NEVER_MS or since_ms is not None or state == MEASURED
        for level in self._windows.levels:
            if is_live and level.name in self._at_risk:
                self._add_live(contribution, level, count)
            if level.dimensions:
                if state in ("good", "bad"):
                    key = _Key(sign, state, "", self._segment(level.dimensions, segment))
                    self._counts[level.name].add(key, anchor_ms, count)
                continue
            if state != MEASURED:
                self._counts[level.name].add(_Key(sign, state, detail, ""), anchor_ms, count)
            if retracted:
                self._counts[level.name].add(_Key(sign, "retracted", "", ""), anchor_ms, count)

    def _add_live(self, contribution: Contribution, level: Level, count: int) -> None:
        """Count what lasts, what is at risk, and what was measured."""
        sign, _unit, state, _detail, anchor_ms, _retracted, due_ms, since_ms, measured, _whose = contribution
        segment = self._segment(level.dimensions, contribution.segment)
        if due_ms < NEVER_MS:
            # In the window that ends now from the horizon before it is due until it is due.
            enters_ms = due_ms - self._windows.risk_horizon_ms
            self._at_risk[level.name].add(_Key(sign, "at_risk", "", segment), enters_ms, count)
        if since_ms is not None:
            self._lasting[level.name].add((sign, segment), since_ms, count)
        if state == MEASURED and measured is not None:
            bucket = next((str(bound) for bound in _BOUNDS[sign] if measured <= bound), BEYOND)
            counts = self._counts[level.name]
            counts.add(_Key(sign, MEASURED, bucket, segment), anchor_ms, count)
            counts.add(_Key(sign, MEASURED, TOTAL, segment), anchor_ms, count * measured)

    def _add_journey(self, segment: Segment, steps: Sequence[Step], count: int) -> None:
        self.version += bool(steps)
        for level in self._windows.levels if steps else ():
            if level.name in self._at_risk:
                label = self._segment(level.dimensions, segment)
                for moment, anchor_ms in steps:
                    self._counts[level.name].add(_Key(moment, MOMENT, "", label), anchor_ms, count)

    def _add_sighting(self, loophole: str, at_ms: int, count: int) -> None:
        self.version += 1
        for level in self._windows.levels:
            if not level.dimensions:
                self._counts[level.name].add(_Key(loophole, LOOPHOLE, "", ""), at_ms, count)

    def _segment(self, dimensions: Sequence[str], segment: Segment) -> str:
        if not dimensions:
            return ""
        labels = []
        for dimension in dimensions:
            value = getattr(segment, dimension)
            allowed = self._windows.label_values.get(dimension)
            if allowed is not None and value not in allowed and value != "unknown":
                self.capped += 1
                value = OTHER
            labels.append(value)
        return "/".join(labels)
