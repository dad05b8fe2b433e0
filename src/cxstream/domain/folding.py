"""Folding: which of a case's facts count for a unit, by delivery time and the unit's own seal (rule 3)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from cxstream.domain.effective import delivery_order, effective
from cxstream.domain.evidence import Evidence, OtherCase
from cxstream.domain.facts import Fact
from cxstream.domain.instant import NEVER_MS
from cxstream.domain.policy import Policy
from cxstream.domain.units import Unit
from cxstream.domain.vocabulary import EVENT_TYPES, TIME_FIELDS


def _instants_named() -> dict[str, tuple[str, ...]]:
    """Return which fields of a fact name instants besides its own, by its type; a correction may state any of them."""
    named: dict[str, set[str]] = {"corrected": {*TIME_FIELDS}}
    for (_topic, event_type), fields in EVENT_TYPES.items():
        named.setdefault(event_type, set()).update(TIME_FIELDS & fields.keys())
    return {event_type: tuple(sorted(names)) for event_type, names in named.items() if names}


_INSTANTS_NAMED = _instants_named()


class FactStack(Protocol):
    """The facts a unit is judged on, in delivery order, and the evidence that the first `count` of them give."""

    @property
    def delivered_ms(self) -> Sequence[int]:
        """Delivery times, ascending."""

    @property
    def moves_seal(self) -> Sequence[bool]:
        """Whether each fact can move a seal of rule 4: those of other cases that are merely known cannot (rule 9)."""

    @property
    def earliest_ms(self) -> int:
        """The earliest instant any of the facts names: no seal lies before it plus the policy's `soonest_seal_ms`."""

    def evidence(self, count: int) -> Evidence:
        """Return the evidence of the first `count` facts."""

    def event_ids(self) -> list[str]:
        """Return the event ids of the facts; one of an absorbed case stands there for each way it may count."""


class Folded(msgspec.Struct, frozen=True):
    """The evidence that counts for a unit, its seal, and the delivery of the last fact that counts, in milliseconds."""

    evidence: Evidence
    seal_ms: int
    last_counted_ms: int
    counted: int
    """How many of the stack's facts count."""
    policy: Policy
    """The policy of the segment that the evidence states."""
    settles_ms: int
    """When all is known that may count: past the seal, and up to the last delivery that counts."""


def fold(stack: FactStack, unit: Unit, unit_id: str, policy: Policy) -> Folded:
    """Return what counts for a unit: facts delivered no later than the seal which those before them give (rule 3).

    The first fact always counts. What counts is a prefix in delivery order: once a fact came too late, so did all
    after it. Each seal is given by the policy of the segment that is known by then.
    """
    delivered_ms, moves_seal = stack.delivered_ms, stack.moves_seal
    count = sealed_by = bisect_right(delivered_ms, stack.earliest_ms + policy.soonest_seal_ms) or 1
    evidence, its_policy, seal_ms = _sealed(stack, count, unit, unit_id, policy)
    while count < len(delivered_ms) and delivered_ms[count] <= seal_ms:
        count += 1
        if unit.learned_moves_seal or moves_seal[count - 1]:
            sealed_by = count
            evidence, its_policy, seal_ms = _sealed(stack, count, unit, unit_id, policy)
    if sealed_by < count:
        evidence, its_policy, seal_ms = _sealed(stack, count, unit, unit_id, policy)
    last_counted_ms = delivered_ms[count - 1]
    return Folded(evidence, seal_ms, last_counted_ms, count, its_policy, max(seal_ms + 1, last_counted_ms))


def _sealed(stack: FactStack, count: int, unit: Unit, unit_id: str, policy: Policy) -> tuple[Evidence, Policy, int]:
    """Return the evidence of the first `count` facts, the policy of its segment, and the seal these give a unit."""
    evidence = stack.evidence(count)
    its_policy = policy.of(evidence.opened)
    return evidence, its_policy, unit.seal(evidence, unit_id, its_policy)


class OwnFacts:
    """A case's own facts as a stack: what visits, commitments, first response and explanation are judged on."""

    def __init__(self, facts: Sequence[Fact], merges_in_force: frozenset[str]) -> None:
        self._facts = facts
        self._merges_in_force = merges_in_force
        self._evidence: dict[int, Evidence] = {}
        self.delivered_ms: Sequence[int] = [fact.delivered_ms for fact in facts]
        self.moves_seal: Sequence[bool] = [True] * len(facts)
        self.earliest_ms = _earliest_ms(facts, self.delivered_ms)

    def evidence(self, count: int) -> Evidence:
        """Return the evidence of the first `count` facts."""
        evidence = self._evidence.get(count)
        if evidence is None:
            counted = self._facts[:count]
            facts = effective(counted)
            evidence = self._evidence[count] = Evidence(
                facts,
                merges_in_force=self._merges_in_force,
                last_delivery_ms=counted[-1].delivered_ms,
                as_delivered=() if facts is counted else counted,
            )
        return evidence

    def event_ids(self) -> list[str]:
        """Return the event ids of the facts."""
        return [fact.event_id for fact in self._facts]


class _Entry(NamedTuple):
    """One fact in the delivery order of a case that also hears of others."""

    delivered_ms: int
    event_id: str
    origin: str
    """Case the fact belongs to; empty for the case's own."""
    since_ms: int | None
    """Delivery time of the merge by which a fact of an absorbed case counts here; None: an own or an identity fact."""
    fact: Fact | None
    """None: the notice that the asset is crowded."""

    @property
    def counts(self) -> bool:
        """Whether the case is judged by the fact as by its own, seal included."""
        return self.fact is not None and (self.since_ms is not None or not self.origin)


IDENTITY_TYPES = frozenset({"opened", "cancelled", "merged"})


def is_identity(fact: Fact) -> bool:
    """Whether other cases on the asset learn of it: openings, cancellations, merges, what mends them (rule 9)."""
    return (fact.topic == "ticket" and fact.type in IDENTITY_TYPES) or fact.type in ("corrected", "voided")


class Absorption(NamedTuple):
    """Which cases are merged into one, as known from an instant on, and the delivery time of the merge that did it."""

    known_ms: int
    since_ms: Mapping[str, int]


class AllFacts:
    """A case's own facts and those of other cases that count for its case signs, in one delivery order (rule 9)."""

    def __init__(
        self,
        own: Sequence[Fact],
        relayed: Mapping[str, Sequence[Fact]],
        *,
        own_merges: frozenset[str],
        merges_elsewhere: Mapping[str, frozenset[str]],
        absorptions: Sequence[Absorption],
        crowded_since_ms: int | None,
    ) -> None:
        self._own_merges = own_merges
        self._merges_elsewhere = merges_elsewhere
        self._absorptions = absorptions
        entries = [_Entry(fact.delivered_ms, fact.event_id, "", None, fact) for fact in own]
        for origin, facts in relayed.items():
            entries += [
                _Entry(fact.delivered_ms, fact.event_id, origin, None, fact) for fact in facts if is_identity(fact)
            ]
            for since_ms in {known.since_ms[origin] for known in absorptions if origin in known.since_ms}:
                entries += [
                    _Entry(max(fact.delivered_ms, since_ms), fact.event_id, origin, since_ms, fact)
                    for fact in facts
                    if fact.topic != "ticket" or fact.type in ("corrected", "voided")
                ]
        if crowded_since_ms is not None:
            entries.append(_Entry(crowded_since_ms, "", "", None, None))
        entries.sort(key=lambda entry: (entry.delivered_ms, entry.event_id, entry.origin, entry.since_ms or 0))
        self._entries = entries
        self._evidence: dict[int, Evidence] = {}
        self.delivered_ms: Sequence[int] = [entry.delivered_ms for entry in entries]
        turns_ms = {known.known_ms for known in absorptions}
        self.moves_seal: Sequence[bool] = [entry.counts or entry.delivered_ms in turns_ms for entry in entries]
        self.earliest_ms = _earliest_ms(
            [entry.fact for entry in entries if entry.fact is not None and entry.counts], self.delivered_ms
        )

    def evidence(self, count: int) -> Evidence:
        """Return the evidence of the first `count` facts."""
        if count not in self._evidence:
            self._evidence[count] = self._build(self._entries[:count])
        return self._evidence[count]

    def event_ids(self) -> list[str]:
        """Return the event ids of the facts; the notice of a crowded asset has an empty one."""
        return [entry.fact.event_id if entry.fact else "" for entry in self._entries]

    def _build(self, entries: Sequence[_Entry]) -> Evidence:
        absorbed_since_ms = self._absorbed_since_ms(entries[-1].delivered_ms)
        groups: dict[tuple[str, bool], list[Fact]] = {}
        last_delivery_ms: int | None = None
        for entry in entries:
            absorbed = entry.since_ms is not None
            if absorbed and entry.since_ms != absorbed_since_ms.get(entry.origin):
                continue
            if entry.fact is not None:
                groups.setdefault((entry.origin, absorbed), []).append(entry.fact)
                if entry.counts and (not entry.origin or entry.fact.topic != "ticket"):
                    last_delivery_ms = max(last_delivery_ms or 0, entry.delivered_ms)
        own = groups.pop(("", False), [])
        facts = list(effective(own))
        others = []
        for (origin, absorbed), its_facts in groups.items():
            if absorbed:
                facts += [fact for fact in effective(sorted(its_facts, key=delivery_order)) if fact.topic != "ticket"]
            else:
                others.append(self._other(origin, its_facts, absorbed=origin in absorbed_since_ms))
        return Evidence(
            facts,
            merges_in_force=self._own_merges,
            others=others,
            crowded=any(entry.fact is None for entry in entries),
            last_delivery_ms=last_delivery_ms if own else None,
        )

    def _absorbed_since_ms(self, until_ms: int) -> Mapping[str, int]:
        """Return the cases merged into this one as known at a delivery time: a merge undone later was in force then."""
        known = bisect_right(self._absorptions, until_ms, key=lambda absorption: absorption.known_ms)
        return self._absorptions[known - 1].since_ms if known else {}

    def _other(self, case_id: str, identity: Sequence[Fact], *, absorbed: bool) -> OtherCase:
        known = Evidence(effective(identity), merges_in_force=self._merges_elsewhere.get(case_id, frozenset()))
        return OtherCase(case_id, known.opened, bool(known.cancellations), bool(known.merges), absorbed)


_ENDS = frozenset({"cancelled", "merged"})


def count_for_case(facts: Sequence[Fact], policy: Policy) -> bool:
    """Whether each of a case's own facts, in delivery order, counts for its case signs, whatever other facts there are.

    So it is where none was delivered later than any seal of these signs may lie (rules 3 and 4). Facts of absorbed
    cases may bring a seal forward: with them nothing can be said.
    """
    ends = any(fact.type in _ENDS and fact.topic == "ticket" for fact in facts)
    seals_ms = policy.soonest_seal_ms if ends else policy.soonest_open_seal_ms
    return facts[-1].delivered_ms <= _earliest_ms(facts, [facts[0].delivered_ms]) + seals_ms


def _earliest_ms(facts: Sequence[Fact], delivered_ms: Sequence[int]) -> int:
    """Return the earliest instant there is in these facts, delivered from the first of `delivered_ms` on."""
    earliest_ms = min([*delivered_ms[:1], *[fact.at_ms for fact in facts]], default=NEVER_MS)
    for fact in facts:
        names = _INSTANTS_NAMED.get(fact.type)
        if names is not None:
            changes = fact.fields.get("set")
            stated = changes if isinstance(changes, dict) else fact.fields
            for name in names:
                value = stated.get(name)
                if isinstance(value, int) and value < earliest_ms:
                    earliest_ms = value
    return earliest_ms
