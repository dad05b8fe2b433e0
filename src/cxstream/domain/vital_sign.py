"""What a vital sign is: a question a customer asks, the unit it is asked of, and the pure function that answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

from cxstream.domain.evidence import Evidence
from cxstream.domain.policy import Policy
from cxstream.domain.reasons import Reason
from cxstream.domain.units import Unit
from cxstream.domain.verdict import Judgement

Tier = Literal["A", "B", "C"]
"""A is the product; B uses the same machinery; C rests on events that few upstreams send."""

Judge = Callable[[Evidence, str, int, Policy], Judgement]
"""(evidence, unit id, clock in ms, policy) -> judgement. Pure; the clock never passes the unit's seal."""


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
    """The share of decided units that should be hits, unless the policy says otherwise. None: the sign measures a time;
    published is how the times are distributed, and none of them is good or bad (rule 25)."""
    known: str
    """When a verdict is known, and until when it can change."""
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
