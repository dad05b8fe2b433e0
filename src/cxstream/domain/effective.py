"""Effective facts: what a set of facts says once its corrections and voids are applied (rule 5)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from cxstream.domain.facts import Fact
from cxstream.domain.vocabulary import TIE_ORDER

_TIE_RANK = {name: rank for rank, name in enumerate(TIE_ORDER)}
_LAST = len(TIE_ORDER)
META = frozenset({"corrected", "voided"})
"""Types that amend other facts."""


def delivery_order(fact: Fact) -> tuple[int, str]:
    """Sort key of folding: delivery time, then event id (rule 3)."""
    return fact.delivered_ms, fact.event_id


def world_order(fact: Fact) -> tuple[int, int, str]:
    """Sort key of what happened: event time, then type, then event id (rule 5)."""
    return fact.at_ms, _TIE_RANK.get(fact.type, _LAST), fact.event_id


def effective(facts: Sequence[Fact]) -> Iterable[Fact]:
    """Return one case's facts with corrections applied in order of delivery and voided facts removed (rule 5).

    `facts` come in delivery order; the corrections and voids themselves are not returned. A correction works on its
    target wherever that stands, so both may be delivered before it. Voiding a correction or a void takes nothing back:
    a wrong correction is mended by another correction.
    """
    if META.isdisjoint([fact.type for fact in facts]):
        return facts
    current, voids, _amendments = amended(facts)
    voided = {void.target for void in voids}
    return [fact for fact in current.values() if fact.type not in META and fact.event_id not in voided]


class Amendment(NamedTuple):
    """What one correction made of its target."""

    correction: Fact
    before: Fact
    after: Fact


class Amended(NamedTuple):
    """One case's facts with corrections applied and the voids not yet carried out (rule 5)."""

    current: dict[str, Fact]
    """Every fact as corrected, by event id, corrections and voids included."""
    voids: list[Fact]
    amendments: list[Amendment]
    """In the order in which they were applied."""


def amended(facts: Sequence[Fact]) -> Amended:
    """Return one case's facts, given in delivery order, with corrections applied, and what each changed (rule 5)."""
    current = {fact.event_id: fact for fact in facts}
    amendments = []
    for fact in facts:
        if fact.type == "corrected":
            correction = current[fact.event_id]
            target = current.get(correction.target)
            changes = correction.fields.get("set")
            if target is not None and isinstance(changes, dict):
                current[target.event_id] = after = target.corrected_by(changes)
                amendments.append(Amendment(correction, target, after))
    return Amended(current, [current[fact.event_id] for fact in facts if fact.type == "voided"], amendments)
