"""A case is a set of facts, its own and those relayed to it; taking one in is idempotent and commutative."""

from __future__ import annotations

from bisect import insort
from typing import Literal

import msgspec

from cxstream.domain.effective import delivery_order
from cxstream.domain.facts import Fact
from cxstream.domain.instant import NEVER_MS
from cxstream.domain.verdict import Announced, Verdict

Reception = Literal["applied", "duplicate", "conflict", "refused"]
"""How a case takes a fact: new, known already, known with another content, or refused as the case is closed."""

Closing = Literal["erased", "overflow"]
"""Why a case takes no more facts: erased (rule 10), or more facts than a case may have."""


class Segment(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The segment a case is counted under, as its opening states it; `unknown` where it does not."""

    priority: str = "unknown"
    region: str = "unknown"
    product: str = "unknown"
    tier: str = "unknown"
    provider: str = "unknown"


class Transition(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One published verdict that a record replaces: which, and what was published before it."""

    index: int
    """Into the verdicts of the record; beyond these, into those it has withdrawn."""
    old: Announced | None = None
    """None for the first one of its unit and sign."""
    old_reason: str = ""


class Withdrawn(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A published verdict that is in the record no more, kept so that its numbers go on if it comes back."""

    verdict: Verdict
    """As it was published last; of a unit that turned out to be none, under the number of that announcement."""
    is_no_unit: bool
    """Whether the unit turned out to be none, which is announced; else its sign is not judged here, which is not."""


class Case(msgspec.Struct, array_like=True, gc=False):
    """The record of one case: the only durable state.

    The facts decide every verdict. The rest is what was published of it, so that a restart neither repeats nor hides a
    transition: the verdicts, the segment they were counted under, and the clock reading they were judged at.
    """

    case_id: str
    facts: list[Fact] = []
    """Its own facts, in delivery order, one per event id."""
    relayed: dict[str, list[Fact]] = {}
    """Facts of other cases by case id, each list in delivery order (rule 9)."""
    crowded_since_ms: int | None = None
    """Delivery time since which its asset is known to have too many cases to tell a repeat."""
    closed: Closing | None = None
    """Why it holds no facts and takes none."""
    verdicts: list[Verdict] = []
    """Last published verdict of every unit and sign, ordered by sign and unit."""
    segment: Segment = Segment()
    judged_ms: int = 0
    """Clock reading of the last judgement that changed the record."""
    deadline_ms: int = NEVER_MS
    """The first instant at which the clock alone may change a verdict."""
    settles_ms: int = NEVER_MS
    """The instant up to which the group must have come for a verdict to be final, or for something to be forgotten."""
    is_forgotten: bool = False
    """Its facts were dropped when all its units were final and in no window any more; no case sign is judged again."""
    sightings: list[tuple[str, int]] = []
    """What it shows of the watched loopholes: which, and when in milliseconds (rule 24)."""
    transitions: list[Transition] = []
    """Which published verdicts this record replaced when it was written: they can be announced again from it."""
    withdrawn: list[Withdrawn] = []
    """Published verdicts of units that turned out to be none, and of signs that are not judged here any more."""
    judged_under: int = 0
    """By which policy and signs it was judged last, as `engine.assess.fingerprint` counts them; 0: it holds facts that
    are not judged yet, or an early release wrote it."""

    def advance(self, fact: Fact, origin: str | None = None) -> tuple[Case, Reception]:
        """Return the case with a fact taken in, and how: the very same Case if it changes nothing (rules 1, 2 and 10).

        `origin` is the case the fact belongs to, if not this one.
        """
        if self.closed is not None or (self.is_forgotten and origin is not None):
            return self, "refused"
        if origin is not None:
            fact = fact.told()
        known = self.facts if origin is None else self.relayed.get(origin, [])
        kept, reception = with_fact(known, fact)
        if kept is known:
            return self, reception
        if origin is None:
            return msgspec.structs.replace(self, facts=kept), reception
        return msgspec.structs.replace(self, relayed={**self.relayed, origin: kept}), reception

    def unite(self, other: Case) -> Case:
        """Return the case with all that another record of it knows; what was published of it stays as it is here."""
        united = self
        for fact in other.facts:
            united, _reception = united.advance(fact)
        for origin, facts in other.relayed.items():
            for fact in facts:
                united, _reception = united.advance(fact, origin)
        return united if other.crowded_since_ms is None else united.crowd(other.crowded_since_ms)

    def crowd(self, since_ms: int) -> Case:
        """Return the case knowing that its asset is crowded since this delivery time; the earliest is kept."""
        if self.crowded_since_ms is not None and self.crowded_since_ms <= since_ms:
            return self
        return msgspec.structs.replace(self, crowded_since_ms=since_ms)


def with_fact(known: list[Fact], fact: Fact) -> tuple[list[Fact], Reception]:
    """Return a case's facts with one more, and how it was taken.

    Of copies of one event id the one with the smallest `Fact.precedence` is kept (rule 1); the very same list comes
    back if that is the one already there.
    """
    event_ids = [other.event_id for other in known]
    if fact.event_id not in event_ids:
        kept = list(known)
        if known and fact.delivered_ms <= known[-1].delivered_ms:
            insort(kept, fact, key=delivery_order)
        else:
            kept.append(fact)
        return kept, "applied"
    index = event_ids.index(fact.event_id)
    other = known[index]
    if other == fact:
        return known, "duplicate"
    ours, theirs = other.payload(), fact.payload()
    reception: Reception = "duplicate" if ours == theirs else "conflict"
    if other.precedence() <= fact.precedence():
        return known, reception
    kept = known[:index] + known[index + 1 :]
    insort(kept, fact, key=delivery_order)
    return kept, reception
