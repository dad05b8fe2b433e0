"""Signs of tiers B and C hold to the rules of all, and some to a second reading, on histories that rouse them."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable

import pytest

from cases import wakes_ms
from cxstream.domain.facts import RejectedError
from cxstream.domain.instant import DAY_MS, HOUR_MS, MINUTE_MS, format_instant, parse_instant
from cxstream.domain.policy import Policy
from cxstream.domain.verdict import Verdict
from cxstream.engine.assess import Clock
from cxstream.engine.casebook import Casebook
from cxstream.offline.events_file import Delivered, read_event
from cxstream.vital_signs import CATALOGUE, of_tiers
from oracle import beyond
from oracle.histories import interesting_clocks, random_history
from parts.trials import seeds

POLICY = Policy()
SIGNS = of_tiers(("B", "C"))
SEEDS = seeds(20)
AT_THE_END_MS = 1 << 52
_AFTER_MS = (0, MINUTE_MS, HOUR_MS, DAY_MS, 30 * DAY_MS, 30 * DAY_MS + 1)

Event = dict[str, object]


def events_of(seed: int, *, entangled: bool = False) -> list[Event]:
    """Return a random history with what it lacks: amends, reassignments, first contacts, machines, a desk."""
    dice = random.Random(seed)
    events: list[Event] = random_history(dice, dice.choice((5, 15, 30)), entangled=entangled)
    more: list[Event] = []
    for number, one in enumerate(events):
        at_ms = _at_ms(one)
        if at_ms is None:
            continue
        if one["type"] == "opened" and dice.random() < 0.6:
            one["first_contact_at"] = format_instant(at_ms - dice.choice((-1, 0, 10 * MINUTE_MS, 10 * MINUTE_MS + 1)))
            one["transfers"] = dice.choice((0, 1, 2))
            one["channel"] = dice.choice(("phone", "iot"))
        for kind in dice.choices(("compensated", "value_added", "transferred", "customer_contacted", "promised"), k=2):
            if dice.random() < 0.3:
                happened_ms = at_ms + dice.choice(_AFTER_MS)
                named = {"event_id": f"{kind}-{number}", "topic": "ticket", "type": kind, "case_id": one["case_id"]}
                seen_ms = happened_ms + dice.choice((0, 0, DAY_MS, 40 * DAY_MS))
                stated = {"at": format_instant(happened_ms), "seen": format_instant(seen_ms)}
                if kind == "promised":
                    named |= {"type": "commitment_made", "commitment_id": f"K-{number}"}
                    due_ms = happened_ms + dice.choice((DAY_MS, DAY_MS, 200 * DAY_MS))
                    more.append({**named, **stated, "due": format_instant(due_ms), "kind": "callback"})
                    if dice.random() < 0.4:
                        continue
                    named |= {"type": "commitment_kept", "event_id": f"kept-{number}"}
                if kind == "value_added":
                    named["topic"] = dice.choice(("ticket", "dispatch"))
                more.append({**named, **stated, "channel": dice.choice(("phone", "phone", "mail"))})
    begins = format_instant(dice.choice([ms for one in events if (ms := _at_ms(one)) is not None]))
    desk = {"topic": "ticket", "case_id": "by-the-desk", "at": begins}
    return [*events, *more, *({**desk, "event_id": kind, "type": kind} for kind in ("opened", "resolved"))]


def _at_ms(event: Event) -> int | None:
    try:
        return parse_instant(str(event["at"]))
    except ValueError:
        return None


def history(seed: int) -> list[Delivered]:
    """Return the facts of such a history in order of delivery."""
    return admitted(events_of(seed))


def admitted(events: Iterable[Event]) -> list[Delivered]:
    """Return the facts of events in order of delivery; what is rejected makes none."""
    facts = []
    for one in events:
        try:
            facts.append(read_event(one, POLICY.clock_skew_ms))
        except RejectedError:
            continue
    return sorted(facts, key=lambda one: one.fact.delivered_ms)


def clocks(seed: int, count: int) -> list[int]:
    """Return some clock readings at and beside the moments that matter, ascending."""
    dice, all_of_them = random.Random(seed), interesting_clocks(events_of(seed))
    return sorted(dice.sample(all_of_them, min(count, len(all_of_them))))


def meaning(verdicts: Iterable[Verdict]) -> list[tuple[object, ...]]:
    """Return all of the verdicts but their story."""
    return [
        (one.sign, one.unit, one.verdict, one.reason, one.anchor_ms, one.measured, one.seal_ms, one.sealed)
        for one in verdicts
    ]


def judged(facts: Iterable[Delivered], now_ms: int) -> dict[str, list[tuple[object, ...]]]:
    """Return the verdicts of all cases at a clock reading, the facts taken in as given."""
    casebook = Casebook(SIGNS, POLICY)
    for case_id, fact in facts:
        casebook.take(case_id, fact)
    casebook.assess(Clock.at(now_ms))
    return {case_id: meaning(case.verdicts) for case_id, case in casebook.cases.items() if case.facts}


def test_the_histories_rouse_every_sign() -> None:
    """Of every sign every verdict it can have occurs, provisional and final: what follows is not empty."""
    met: dict[str, set[str]] = defaultdict(set)
    for seed in range(40):
        facts = history(seed)
        for now_ms in (*clocks(seed, 6), AT_THE_END_MS):
            for verdicts in judged([one for one in facts if one.fact.delivered_ms <= now_ms], now_ms).values():
                for sign, _unit, verdict, *_ in verdicts:
                    met[str(sign)].add(str(verdict))
    judging = {"pending", "provisional_hit", "final_hit", "miss", "excluded"}
    every = {name: judging - ({"miss"} if sign.measure else set()) for name, sign in SIGNS.items()}
    assert met == every


def said_by_engine(facts: Iterable[Delivered], now_ms: int) -> dict[tuple[str, str, str], tuple[object, ...]]:
    """Return what the engine says of the signs that are read twice: verdict, anchor if decided, measured, seal."""
    casebook = Casebook({name: CATALOGUE[name] for name in beyond.SIGNS}, POLICY)
    for case_id, fact in facts:
        if fact.delivered_ms <= now_ms:
            casebook.take(case_id, fact)
    casebook.assess(Clock.at(now_ms))
    return {
        (one.sign, case_id, one.unit): (
            one.verdict,
            one.anchor_ms if one.decided else None,
            one.measured,
            one.seal_ms,
            one.sealed,
        )
        for case_id, case in casebook.cases.items()
        for one in case.verdicts
    }


@pytest.mark.parametrize("entangled", [False, True], ids=["plain", "entangled"])
def test_what_is_measured_agrees_with_a_second_reading(*, entangled: bool) -> None:
    """Verdict, anchor, seal and what is measured are what a plain reading of B8 to B13 says (rules 1, 3, 4 and 9)."""
    for seed in seeds(10 if entangled else 25):
        events = events_of(seed, entangled=entangled)
        facts, dice = admitted(events), random.Random(seed)
        moments = interesting_clocks(events)
        for now_ms in dice.sample(moments, min(3, len(moments))):
            engine = said_by_engine(facts, now_ms)
            second = {
                key: (one.verdict, one.anchor, measured, one.seals_at, one.sealed)
                for key, (one, measured) in beyond.read(events, now_ms).items()
            }
            found = {key: (engine.get(key), second.get(key)) for key in engine.keys() | second.keys()}
            differ = {key: both for key, both in found.items() if both[0] != both[1]}
            assert not differ, (seed, now_ms, differ)


@pytest.mark.parametrize("seed", SEEDS)
def test_order_and_duplicates_never_matter(seed: int) -> None:
    """With delivery times kept, any order with duplicates gives the same verdicts at any clock (rules 1, 2 and 9)."""
    facts, dice = history(seed), random.Random(seed)
    for now_ms in clocks(seed, 2):
        known = [one for one in facts if one.fact.delivered_ms <= now_ms]
        copies = [*known, *dice.choices(known, k=len(known) // 2)] if known else []
        assert judged(dice.sample(copies, len(copies)), now_ms) == judged(known, now_ms)


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_sealed_stays_and_the_clock_is_never_missed(seed: int) -> None:
    """Sealed verdicts never change, and between its deadlines a case is judged the same (rules 3, 4 and 6)."""
    facts, casebook = history(seed), Casebook(SIGNS, POLICY)
    sealed: dict[tuple[str, str, str], tuple[object, ...]] = {}
    taken = 0
    for now_ms in clocks(seed, 20):
        before = {case_id: (case, len(case.facts)) for case_id, case in casebook.cases.items()}
        relayed = {case_id: case.relayed for case_id, case in casebook.cases.items()}
        while taken < len(facts) and facts[taken].fact.delivered_ms <= now_ms:
            casebook.take(*facts[taken])
            taken += 1
        for case_id, assessment in casebook.assess(Clock.at(now_ms)).items():
            old, count = before.get(case_id, (None, 0))
            nothing_new = old is not None and count == len(assessment.case.facts)
            if nothing_new and old and relayed[case_id] == assessment.case.relayed and wakes_ms(old) > now_ms:
                assert meaning(assessment.case.verdicts) == meaning(old.verdicts)
            for one in assessment.case.verdicts:
                known = sealed.get((case_id, one.sign, one.unit))
                assert known in (None, (one.verdict, one.reason, one.anchor_ms))
                if one.sealed:
                    sealed[case_id, one.sign, one.unit] = one.verdict, one.reason, one.anchor_ms


@pytest.mark.parametrize("seed", SEEDS)
def test_a_seal_is_final_for_a_reader_who_comes_later(seed: int) -> None:
    """Facts delivered after a unit's seal change nothing: judged at once in the end, it is what it was (rule 3)."""
    facts = history(seed)
    at_the_end = judged(facts, AT_THE_END_MS)
    for now_ms in clocks(seed, 4):
        known = [one for one in facts if one.fact.delivered_ms <= now_ms]
        for case_id, verdicts in judged(known, now_ms).items():
            final = {(sign, unit): rest for sign, unit, *rest in at_the_end[case_id]}
            for sign, unit, *rest in verdicts:
                if rest[-1]:
                    assert rest == final[sign, unit]
