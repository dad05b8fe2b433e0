"""The asset board: a bulletin board where the cases of one asset leave their identity facts for each other (rule 9)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate

import msgspec

from cxstream.domain.cases import Case, with_fact
from cxstream.domain.effective import delivery_order
from cxstream.domain.facts import Fact
from cxstream.domain.folding import IDENTITY_TYPES
from cxstream.domain.instant import NEVER_MS
from cxstream.domain.policy import Policy

Postings = dict[tuple[str, str, str], Fact]
"""Facts on their way: (asset or case they go to, case they belong to, event id) -> fact."""


LARGEST_BOARD_BYTES = 512 * 1024
"""Of all facts of a board as they are written: some five thousand. What every case of the asset would be told, and
compared with, must fit its own record too."""
_FEW_FACTS = 8
"""So many fit, whatever they say."""


class Board(msgspec.Struct, array_like=True, gc=False):
    """The record of one asset: facts by case, a set union. It concludes nothing of its own."""

    asset_id: str
    facts: dict[str, list[Fact]] = {}
    """Facts by the case they belong to, each list in delivery order."""
    crowded_since_ms: int | None = None
    """Delivery time of the fact that made the asset crowded; it is then not told apart any more."""

    def advance(self, origin: str, fact: Fact, policy: Policy) -> Board:
        """Return the board with a fact taken in; the very same Board if it changes nothing.

        A crowded board keeps nothing that was delivered after it became so: no later fact can change since when it is.
        It is crowded by too many openings, or too much text.
        """
        if self.crowded_since_ms is not None and fact.delivered_ms > self.crowded_since_ms:
            return self
        known = self.facts.get(origin, [])
        kept, _reception = with_fact(known, fact.told())
        if kept is known:
            return self
        facts, full_since_ms = _fitting({**self.facts, origin: kept})
        crowded_since_ms = _earliest(self.crowded_since_ms, _crowded_since_ms(facts, policy), full_since_ms)
        if crowded_since_ms is not None:
            facts = _delivered_until(facts, crowded_since_ms)
        new = Board(self.asset_id, facts, crowded_since_ms)
        return self if full_since_ms is not None and new == self else new

    def unite(self, other: Board, policy: Policy) -> Board:
        """Return the board with all that another record of it knows."""
        united = self
        for origin, facts in other.facts.items():
            for fact in facts:
                united = united.advance(origin, fact, policy)
        since_ms = _earliest(united.crowded_since_ms, other.crowded_since_ms)
        if since_ms is None or since_ms == united.crowded_since_ms:
            return united
        return Board(self.asset_id, _delivered_until(united.facts, since_ms), since_ms)

    def since(self, before_ms: int) -> Board | None:
        """Return the board without the cases of which it heard nothing since an instant; None if nothing is left.

        A crowded board stays crowded.
        """
        kept = {
            origin: facts
            for origin, facts in self.facts.items()
            if any(max(fact.at_ms, fact.delivered_ms) >= before_ms for fact in facts)
        }
        if len(kept) == len(self.facts):
            return self
        return Board(self.asset_id, kept, self.crowded_since_ms) if kept or self.crowded_since_ms is not None else None


def for_boards(case: Case, policy: Policy) -> Postings:
    """Return what a case tells the boards of its asset, of every asset an older version named, and of its replacement.

    Identity facts with what mends them; a merged case tells all its facts, because whether its merge is in force is
    decided by them (rule 9). So does a survivor where a case merged into it names the replacement: by its identity
    facts alone, which may be none, it might not be heard there.
    """
    named = _values(case.facts, "opened", "asset_id") | _values(case.facts, "completed", "replaced_by")
    taken_over = _replacements_taken_over(case, policy)
    if not named and not taken_over:
        return {}
    merged = any(fact.type == "merged" for fact in case.facts)
    identity = case.facts if merged else list(_identity(case.facts))
    return {
        (asset, case.case_id, fact.event_id): fact.told()
        for assets, told in ((named, identity), (taken_over, case.facts))
        for asset in map(policy.asset, sorted(assets))
        if asset
        for fact in told
    }


def for_survivors(case: Case) -> Postings:
    """Return what a merged case tells every case that a version of it names as survivor: all its facts (rule 9).

    Facts of cases merged into it travel on with their own origin, so that chains arrive whole; a fact that is known
    already where it arrives goes no further, so cycles end.
    """
    survivors = _values(case.facts, "merged", "into") - {case.case_id}
    if not survivors:
        return {}
    known = {case.case_id: case.facts, **_absorbing(case.relayed)}
    return {
        (survivor, origin, fact.event_id): fact.told()
        for survivor in sorted(survivors)
        for origin, facts in known.items()
        if origin != survivor
        for fact in facts
    }


def for_members(old: Board, new: Board) -> Postings:
    """Return what a board tells its cases of each other now that it has taken in facts.

    New facts go to every other case; a case that is new here is told everything. Once the board is crowded that is
    what was delivered before it was: what came after is not told apart, whatever was taken in first (rule 2).
    """
    until_ms = NEVER_MS if new.crowded_since_ms is None else new.crowded_since_ms
    postings: Postings = {}
    for origin, facts in new.facts.items():
        known = old.facts.get(origin)
        if known is facts:
            continue
        fresh = [fact for fact in facts if fact.delivered_ms < until_ms and (known is None or fact not in known)]
        for member in new.facts:
            if member != origin:
                postings |= {(member, origin, fact.event_id): fact for fact in fresh}
                if known is None:
                    earlier = [fact for fact in new.facts[member] if fact.delivered_ms < until_ms]
                    postings |= {(origin, member, fact.event_id): fact for fact in earlier}
    return postings


def told_crowded(old: Board, new: Board, heard: Iterable[str]) -> list[str]:
    """Return the cases that must be told that the board is crowded, or since an earlier instant than they know.

    `heard` are the cases whose facts were just taken in: they are told, kept or not.
    """
    if new.crowded_since_ms is None:
        return []
    moved = old.crowded_since_ms != new.crowded_since_ms
    return sorted({*heard, *old.facts, *new.facts} if moved else set(heard))


def told_by(old: Case, new: Case, policy: Policy) -> tuple[Postings, Postings]:
    """Return what a case tells boards, and what it tells its survivors, now that it has taken in facts."""
    moved = _moved(old.facts, new.facts)
    types = {fact.type for facts in (new.facts, moved) for fact in facts}
    absorbs = bool(_absorbing(old.relayed) or _absorbing(new.relayed))
    if absorbs or not types.isdisjoint(_FAR_REACHING):
        tells = bool(moved) or (new.relayed is not old.relayed and absorbs)
    else:  # what else such a case holds is told nobody, and changes nothing of what is
        tells = any(fact.type in IDENTITY_TYPES or _names_replacement(fact) for fact in moved)
    boards = _news(for_boards(old, policy), for_boards(new, policy), new) if tells else {}
    return boards, _news(for_survivors(old), for_survivors(new), new) if "merged" in types else {}


_FAR_REACHING = frozenset({"merged", "corrected", "voided"})
"""Types that change what other facts say to others."""


def _moved(old: Sequence[Fact], new: Sequence[Fact]) -> list[Fact]:
    """Return the facts that a case has taken in, and those they replaced: all others are the very same."""
    before = set(map(id, old))
    moved = [fact for fact in new if id(fact) not in before]
    if len(new) - len(moved) < len(old):
        after = set(map(id, new))
        moved += [fact for fact in old if id(fact) not in after]
    return moved


def _news(old: Postings, new: Postings, case: Case) -> Postings:
    """Return what is told now and was not told before.

    Whom only a copy named that is no longer kept is told the kept one: what was heard must not stand (rule 1).
    """
    told = {key: fact for key, fact in new.items() if old.get(key) != fact}
    for key in sorted(old.keys() - new.keys()):
        _to, origin, event_id = key
        facts = case.facts if origin == case.case_id else case.relayed.get(origin, [])
        kept = next((fact.told() for fact in facts if fact.event_id == event_id), old[key])
        if kept != old[key]:
            told[key] = kept
    return told


def _identity(facts: Iterable[Fact]) -> Iterator[Fact]:
    """Yield openings, cancellations and merges, and the corrections and voids of these, whatever came first.

    With them what names a replacement: by it a case is heard of there even without an opening. Where an
    amendment is itself amended, all are told: it may be another fact they work on.
    """
    facts = list(facts)
    identity = {fact.event_id for fact in facts if fact.topic == "ticket" and fact.type in IDENTITY_TYPES}
    amendments = {fact.event_id: fact.target for fact in facts if fact.type in ("corrected", "voided")}
    redirected = not amendments.keys().isdisjoint(amendments.values())
    for fact in facts:
        amends = fact.event_id in amendments and (redirected or fact.target in identity)
        if fact.event_id in identity or amends or _names_replacement(fact):
            yield fact


def _names_replacement(fact: Fact) -> bool:
    changes = fact.fields.get("set")
    return "replaced_by" in fact.fields or (isinstance(changes, dict) and "replaced_by" in changes)


def _replacements_taken_over(case: Case, policy: Policy) -> set[str]:
    """Return the assets that visits of cases merged into this one name as replacement: they are its own (rule 9)."""
    absorbing = _absorbing(case.relayed)
    chain = {case.case_id}
    for _hop in range(policy.merge_hops if absorbing else 0):
        chain |= {
            origin for origin, facts in absorbing.items() if not chain.isdisjoint(_values(facts, "merged", "into"))
        }
    chain &= absorbing.keys()
    return {asset for origin in chain for asset in _values(absorbing[origin], "completed", "replaced_by")}


def _values(facts: list[Fact], event_type: str, name: str) -> set[str]:
    """Return every value a type's field may have had: as delivered, and as any correction states it."""
    values: set[str] = set()
    if not any(fact.type == event_type for fact in facts):
        return values
    for fact in facts:
        changes = fact.fields.get("set")
        stated: object = None
        if fact.type == event_type:
            stated = fact.fields.get(name)
        elif isinstance(changes, dict):
            stated = changes.get(name)
        if isinstance(stated, str):
            values.add(stated)
    return values


def _absorbing(relayed: Mapping[str, list[Fact]]) -> dict[str, list[Fact]]:
    """Return the relayed cases that have a merge: their facts belong to a chain."""
    if not relayed:
        return {}
    return {origin: facts for origin, facts in relayed.items() if any(fact.type == "merged" for fact in facts)}


def _earliest(*instants_ms: int | None) -> int | None:
    return min((instant_ms for instant_ms in instants_ms if instant_ms is not None), default=None)


def _delivered_until(facts: Mapping[str, list[Fact]], until_ms: int) -> dict[str, list[Fact]]:
    kept = {
        origin: [fact for fact in its_facts if fact.delivered_ms <= until_ms] for origin, its_facts in facts.items()
    }
    return {origin: its_facts for origin, its_facts in kept.items() if its_facts}


def _fitting(facts: dict[str, list[Fact]]) -> tuple[dict[str, list[Fact]], int | None]:
    """Return the facts a board has room for, and the delivery time of the one that fills it; None if all fit.

    The first in order of delivery: whatever else comes, those that did not fit never will.
    """
    told = [(origin, fact) for origin, its_facts in facts.items() for fact in its_facts]
    if len(told) <= _FEW_FACTS or _bytes_of(told) <= LARGEST_BOARD_BYTES:
        return facts, None
    told.sort(key=_order_on_board)
    sizes = accumulate(_bytes_of([one]) for one in told)
    full = next(number for number, size in enumerate(sizes) if size > LARGEST_BOARD_BYTES)
    kept: dict[str, list[Fact]] = {}
    for origin, fact in told[: full + 1]:
        kept.setdefault(origin, []).append(fact)
    return kept, told[full][1].delivered_ms


def _bytes_of(told: Sequence[tuple[str, Fact]]) -> int:
    """Return how many bytes these take, one by one: the head of a list is as long as that of as many bytes."""
    return len(msgspec.msgpack.encode(told)) - len(msgspec.msgpack.encode([None] * len(told))) + len(told)


def _order_on_board(told: tuple[str, Fact]) -> tuple[tuple[int, str], str]:
    origin, fact = told
    return delivery_order(fact), origin


def _crowded_since_ms(facts: Mapping[str, list[Fact]], policy: Policy) -> int | None:
    """Return the delivery time of the opening with which too many cases had opened within R + H, None if none did.

    In order of delivery: a fact that arrives later can only bring the instant forward.
    """
    openings = [fact for its_facts in facts.values() for fact in its_facts if fact.type == "opened"]
    limit, span_ms = policy.crowded_asset_cases, policy.repeat_span_ms
    if len(openings) <= limit:
        return None
    opened_ms: list[int] = []
    for opening in sorted(openings, key=delivery_order):
        at = bisect_right(opened_ms, opening.at_ms)
        opened_ms.insert(at, opening.at_ms)
        for first in range(max(0, at - limit), min(at, len(opened_ms) - limit - 1) + 1):
            if opened_ms[first + limit] - opened_ms[first] <= span_ms:
                return opening.delivered_ms
    return None
