"""Merges: which are in force, and whose facts a surviving case takes over (rule 9)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cxstream.domain.effective import effective
from cxstream.domain.facts import Fact
from cxstream.domain.folding import Absorption, FactStack, OwnFacts, fold
from cxstream.domain.policy import Policy
from cxstream.domain.units import CASE


class Merge(NamedTuple):
    """A merge in force: into which case, and when it reached us."""

    into: str
    delivered_ms: int


def merging(case_id: str, own_facts: Sequence[Fact], policy: Policy) -> list[Fact]:
    """Return the merges that count for the merged case folded on its own facts alone, and what amends them (rule 9)."""
    every_merge = merge_ids(own_facts)
    if not every_merge:
        return []
    stack: FactStack = OwnFacts(own_facts, every_merge)
    counted = fold(stack, CASE, case_id, policy).counted
    return [fact for fact in own_facts[:counted] if fact.type in ("merged", "corrected", "voided")]


def merge_ids(facts: Sequence[Fact]) -> frozenset[str]:
    """Return the event ids of the merges among some facts."""
    return frozenset([fact.event_id for fact in facts if fact.type == "merged"])


def absorptions(case_id: str, merging_facts: Mapping[str, Sequence[Fact]], policy: Policy) -> list[Absorption]:
    """Return which cases are merged into this one, as known at each instant at which that changes (rule 9).

    `merging_facts` are those of every other case known here. A merge voided or redirected was in force until then.
    """
    history: list[Absorption] = []
    for known_ms in sorted({fact.delivered_ms for facts in merging_facts.values() for fact in facts}):
        merges = {origin: _in_force(facts, known_ms) for origin, facts in merging_facts.items()}
        since_ms = _absorbed_since(case_id, merges, policy)
        if since_ms != (history[-1].since_ms if history else {}):
            history.append(Absorption(known_ms, since_ms))
    return history


def _in_force(merging_facts: Sequence[Fact], until_ms: int) -> list[Merge]:
    known = effective([fact for fact in merging_facts if fact.delivered_ms <= until_ms])
    return [Merge(str(fact.text("into")), fact.delivered_ms) for fact in known if fact.type == "merged"]


def _absorbed_since(case_id: str, merges: Mapping[str, Sequence[Merge]], policy: Policy) -> dict[str, int]:
    """Return the cases merged into this one, directly or through others, with the delivery of the merge that did it.

    `merges` are the merges in force of every case known here. Followed at most `policy.merge_hops` hops; a cycle
    back to this case stops (rule 9). Of several ways the earliest complete one counts.
    """
    since_ms = {case_id: 0}
    for _hop in range(policy.merge_hops):
        reached = dict(since_ms)
        for origin, its_merges in merges.items():
            ways = [max(merge.delivered_ms, since_ms[merge.into]) for merge in its_merges if merge.into in since_ms]
            if ways and origin != case_id:
                reached[origin] = min([*ways, reached.get(origin, ways[0])])
        if reached == since_ms:
            break
        since_ms = reached
    del since_ms[case_id]
    return since_ms
