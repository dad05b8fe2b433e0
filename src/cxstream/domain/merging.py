"""Merges: which are in force, and whose facts a surviving case takes over (rule 9)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cxstream.domain.facts import Fact
from cxstream.domain.folding import FactStack, OwnFacts, fold
from cxstream.domain.policy import Policy
from cxstream.domain.units import case_seal


class Merge(NamedTuple):
    """A merge in force: into which case, by which event, and when it reached us."""

    into: str
    event_id: str
    delivered_ms: int


def merges_in_force(case_id: str, own_facts: Sequence[Fact], policy: Policy) -> list[Merge]:
    """Return the merges that count for the merged case folded on its own facts alone (rule 9)."""
    if not any(fact.type == "merged" for fact in own_facts):
        return []
    every_merge = frozenset(fact.event_id for fact in own_facts if fact.type == "merged")
    stack: FactStack = OwnFacts(own_facts, every_merge)
    folded = fold(stack, case_seal, case_id, policy)
    return [Merge(str(fact.text("into")), fact.event_id, fact.delivered_ms) for fact in folded.evidence.merges]


def absorbed_since(case_id: str, merges: Mapping[str, Sequence[Merge]], policy: Policy) -> dict[str, int]:
    """Return the cases merged into this one, directly or through others, with the delivery of the merge that did it.

    `merges` are the merges in force of every other case known here. Followed at most `policy.merge_hops` hops; a cycle
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
