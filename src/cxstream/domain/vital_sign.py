"""What a vital sign is: a question a customer asks, the unit it is asked of, and the pure function that answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

from propcache import cached_property

from cxstream.domain.evidence import Evidence
from cxstream.domain.gaming import Gaming
from cxstream.domain.instant import format_duration
from cxstream.domain.policy import Policy
from cxstream.domain.reasons import Reason
from cxstream.domain.units import CASE, Unit
from cxstream.domain.verdict import Judgement

Tier = Literal["A", "B", "C"]
"""A is the product; B uses the same machinery; C rests on events that few upstreams send."""

Judge = Callable[[Evidence, str, int, Policy], Judgement]
"""(evidence, unit id, clock in ms, policy) -> judgement. Pure; the clock never passes the unit's seal."""


class Measure(NamedTuple):
    """How what a sign measures is published: as a distribution, of which nothing is good or bad (rule 25)."""

    unit: str
    """What a published figure counts, in the plural: it stands last in the names of the families."""
    bounds: tuple[int, ...]
    """Upper bounds of the buckets, ascending, the last one apart; in milliseconds for times, else as counted."""
    per_unit: int = 1
    """How much of what is measured makes one published unit: 1,000 for times, which are measured in milliseconds."""
    quantiles: tuple[float, ...] = ()
    """Those recorded beside the mean; none where all that can be found is counted in a bucket of its own."""
    better: Literal["less", "more"] = "less"
    """What a customer wishes for."""

    def told(self, measured: int) -> str:
        """Return what was found of one unit for people: "1 h 30 min", "2 visits"."""
        if self.unit == "seconds":
            return format_duration(measured)
        return f"{measured} {self.unit if measured != 1 else self.unit.removesuffix('s')}"


class VitalSign(NamedTuple):
    """One entry of the catalogue. Everything published, ruled, drawn and documented about a sign derives from it."""

    name: str
    title: str
    question: str
    """In a customer's words."""
    numerator: str
    denominator: str
    unit: Unit
    judge: Judge
    topics: tuple[str, ...]
    """Source topics its evidence comes from: if one of them is dead, the figure is not to be trusted."""
    objective: float | None
    """The share of decided units that should be hits, unless the policy says otherwise. None: the sign measures."""
    known: str
    """When a verdict is known, and until when it can change."""
    gaming: Gaming
    """How the figure can be made to look better than customers were treated, and which counters show it."""
    missing: str = ""
    """What has to happen for a pending unit to be no miss, where that can be told ahead (rule 26)."""
    needs_opening: bool = True
    """A case sign that stays pending until the opening of the case is known (rule 23)."""
    lower_is_better: str = ""
    """Name of the published complement (1 - hit ratio), where the field reads the sign that way round."""
    reasons: Mapping[str, Reason] = MappingProxyType({})
    """Every reason its judge gives, in plain words."""
    tier: Tier = "A"
    """Which settings judge it: those that name its tier."""
    kinds: tuple[str, ...] = ("break_fix",)
    """Kinds of case that a case sign judges; all others are excluded from it (rule 23)."""
    measure: Measure | None = None
    """What its hits are measured in, where it measures: such a sign has no objective and no miss (rule 25)."""


class Signs(dict[str, VitalSign]):
    """Vital signs by name. They stay as they are, so that they are grouped once for all cases."""

    @cached_property
    def by_scope(self) -> Iterable[list[VitalSign]]:
        """The signs, those of one kind of unit and one scope together."""
        signs: defaultdict[tuple[Unit, bool, tuple[str, ...]], list[VitalSign]] = defaultdict(list)
        for sign in self.values():
            signs[sign.unit, sign.needs_opening, sign.kinds].append(sign)
        return signs.values()

    @cached_property
    def of_cases(self) -> frozenset[str]:
        """The names of the case signs, apart from those with a seal of their own (rule 4)."""
        return frozenset(sign.name for sign in self.values() if sign.unit == CASE)
