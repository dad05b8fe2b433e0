"""Order and duplication: at every layer the same facts give the same result, however they arrive (rules 1 and 2)."""

from __future__ import annotations

import random
from itertools import groupby

import msgspec
import pytest

from cxstream.domain.cases import Case
from cxstream.domain.facts import Fact, RejectedError
from cxstream.domain.policy import Override, Policy
from cxstream.domain.verdict import Verdict
from cxstream.engine import boards
from cxstream.engine.assess import Clock
from cxstream.engine.boards import Board
from cxstream.engine.casebook import Casebook
from cxstream.kafka.records import (
    Relay,
    UnreadableRecordError,
    read_board,
    read_case,
    read_relay,
    write,
)
from cxstream.offline.events_file import Delivered, read_event
from cxstream.vital_signs import TIER_A
from oracle.histories import Event, in_segments, interesting_clocks, random_history, segment_policies
from parts.trials import seeds

POLICY = Policy()
CROWDED = msgspec.structs.replace(POLICY, crowded_asset_cases=3)
SEEDS = seeds(40)


def history(seed: int, *, erasures: bool = False) -> list[Delivered]:
    """Return the facts of a random history, conflicting copies included, in order of delivery."""
    return admitted(random_history(random.Random(seed), 25, erasures=erasures))


def admitted(events: list[Event]) -> list[Delivered]:
    """Return the facts that events make; what is rejected makes none."""
    facts = []
    for event in events:
        try:
            facts.append(read_event(event, POLICY.clock_skew_ms))
        except RejectedError:
            continue
    return facts


def reordered(facts: list[Delivered], dice: random.Random) -> list[Delivered]:
    """Return the facts in another order, some of them several times."""
    copies = [*facts, *dice.choices(facts, k=len(facts) // 2)]
    return dice.sample(copies, len(copies))


def smallest_copies(facts: list[Delivered]) -> dict[str, list[Fact]]:
    """Return what must be kept, by case: of each event id the smallest (delivered, payload), in delivery order.

    What others are told of a fact is compared first of its payload.
    """

    def of_event(one: Delivered) -> tuple[str, str, int, bytes, bytes]:
        told, whole = one.fact.told().payload(), one.fact.payload()
        return one.case_id, one.fact.event_id, one.fact.delivered_ms, told, whole

    kept: dict[str, list[Fact]] = {}
    for (case_id, _), copies in groupby(sorted(facts, key=of_event), key=lambda one: of_event(one)[:2]):
        kept.setdefault(case_id, []).append(next(copies).fact)
    for its_facts in kept.values():
        its_facts.sort(key=lambda fact: (fact.delivered_ms, fact.event_id))
    return kept


def conflicting(seed: int) -> list[Delivered]:
    """Return a history to which copies with other deliveries, times and fields have been added."""
    dice = random.Random(seed)
    facts = history(seed)
    for case_id, fact in dice.choices(facts, k=10):
        other = dice.choice([one.fact.fields for one in facts if one.fact.type == fact.type])
        at_ms, delivered_ms = fact.at_ms + dice.choice((0, 1, 7)), fact.delivered_ms + dice.choice((0, 0, -5, 9))
        copy = msgspec.structs.replace(fact, at_ms=at_ms, delivered_ms=delivered_ms, fields=other)
        facts.append(Delivered(case_id, copy))
    return facts


@pytest.mark.parametrize("seed", SEEDS)
def test_a_case_holds_the_same_facts_in_any_order(seed: int) -> None:
    """Any permutation with duplicates leaves the same facts, of every id the smallest copy (rules 1 and 2)."""
    facts = conflicting(seed)
    expected = smallest_copies(facts)
    dice = random.Random(seed)
    for _ in range(3):
        cases = {case_id: Case(case_id) for case_id in expected}
        relayed = Case("listener")
        for case_id, fact in reordered(facts, dice):
            cases[case_id], _reception = cases[case_id].advance(fact)
            relayed, _reception = relayed.advance(fact, case_id)
        assert {case_id: case.facts for case_id, case in cases.items()} == expected
        assert relayed.relayed == {case_id: [fact.told() for fact in its] for case_id, its in expected.items()}
        assert relayed.facts == []


@pytest.mark.parametrize("seed", SEEDS)
def test_receptions_add_up(seed: int) -> None:
    """Every copy is new, a duplicate or a conflict, and every id is applied exactly once, in any order (rule 1)."""
    facts = conflicting(seed)
    dice = random.Random(seed)
    case = Case("C1")
    receptions = []
    copies = reordered(facts, dice)
    for case_id, fact in copies:
        case, reception = case.advance(msgspec.structs.replace(fact, event_id=f"{case_id} {fact.event_id}"))
        receptions.append(reception)
    assert receptions.count("applied") == len(case.facts)
    assert set(receptions) <= {"applied", "duplicate", "conflict"}
    assert len(receptions) == len(copies)


def boards_of(facts: list[Delivered], policy: Policy, seed: int) -> list[Board]:
    """Return the board of some facts, taken in three orders with duplicates."""
    dice = random.Random(seed)
    held = []
    for _ in range(3):
        board = Board("A1")
        for case_id, fact in reordered(facts, dice):
            board = board.advance(case_id, fact, policy)
        held.append(board)
    return held


@pytest.mark.parametrize("seed", SEEDS)
def test_a_board_holds_the_same_facts_in_any_order(seed: int) -> None:
    """Any permutation with duplicates leaves what is told of the same facts, of every id the smallest copy."""
    facts = conflicting(seed)
    told = {case_id: [fact.told() for fact in its] for case_id, its in smallest_copies(facts).items()}
    for board in boards_of(facts, POLICY, seed):
        assert board.crowded_since_ms is None
        assert board.facts == told


@pytest.mark.parametrize("seed", SEEDS)
def test_a_crowded_board_is_bounded_in_any_order(seed: int) -> None:
    """A board is crowded since the same delivery in any order, and keeps nothing that came after it (rules 2 and 9)."""
    opened = [
        Delivered(f"C{number}", Fact("e1", "ticket", "opened", at_ms=1_000 * number, delivered_ms=1_000 * number + lag))
        for number, lag in enumerate(random.Random(seed).choices(range(9_000), k=12), start=1)
    ]
    held = boards_of(opened, CROWDED, seed)
    since_ms = sorted(one.fact.delivered_ms for one in opened)[CROWDED.crowded_asset_cases]
    assert held[1] == held[2] == held[0]
    assert held[0].crowded_since_ms == since_ms
    kept = {one.case_id for one in opened if one.fact.delivered_ms <= since_ms}
    assert set(held[0].facts) == kept


@pytest.mark.parametrize("seed", SEEDS)
def test_a_full_board_holds_the_same_in_any_order(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds the first facts in order of delivery, many at the same instant, whatever was taken in first (rule 2)."""
    monkeypatch.setattr(boards, "LARGEST_BOARD_BYTES", 1_000)
    dice = random.Random(seed)
    said = [
        Delivered(
            f"C{dice.randrange(4)}",
            Fact(f"e{number}", "ticket", "corrected", at_ms=0, delivered_ms=dice.randrange(4), fields={"target": "o"}),
        )
        for number in range(60)
    ]
    first, second, third = boards_of(said, POLICY, seed)
    assert first == second == third
    kept = {fact.event_id for facts in first.facts.values() for fact in facts}
    in_order = sorted(said, key=lambda one: (one.fact.delivered_ms, one.fact.event_id))
    assert kept == {one.fact.event_id for one in in_order[: len(kept)]}
    assert first.crowded_since_ms == in_order[len(kept) - 1].fact.delivered_ms
    assert 10 < len(kept) < 60


def meaning(verdicts: list[Verdict]) -> list[tuple[object, ...]]:
    """Return all of the verdicts but their story: how often they were revised depends on when they were judged."""
    return [(one.sign, one.unit, one.verdict, one.reason, one.anchor_ms, one.seal_ms, one.sealed) for one in verdicts]


def judged(facts: list[Delivered], now_ms: int, policy: Policy) -> dict[str, list[tuple[object, ...]]]:
    """Return the verdicts of all cases at a clock reading, the facts taken in as given."""
    casebook = Casebook(TIER_A, policy)
    for case_id, fact in facts:
        casebook.take(case_id, fact)
    casebook.assess(Clock.at(now_ms))
    return {case_id: meaning(case.verdicts) for case_id, case in casebook.cases.items() if case.facts}


@pytest.mark.parametrize("policy", [POLICY, CROWDED], ids=["usual", "easily crowded"])
@pytest.mark.parametrize("seed", SEEDS)
def test_processing_order_never_matters(seed: int, policy: Policy) -> None:
    """With delivery times kept, any order with duplicates gives the same verdicts at any clock (rules 1, 2 and 9)."""
    # A conflicting copy that named another asset stays counted there, towards crowding: known, and left as it is.
    facts = conflicting(seed) if policy is POLICY and seed % 2 else history(seed)
    dice = random.Random(seed)
    for now_ms in dice.sample(interesting_clocks(random_history(random.Random(seed), 25)), 3):
        known = [one for one in facts if one.fact.delivered_ms <= now_ms]
        expected = judged(known, now_ms, policy)
        for _ in range(2):
            assert judged(reordered(known, dice), now_ms, policy) == expected


@pytest.mark.parametrize("seed", SEEDS)
def test_processing_order_never_matters_across_segments(seed: int) -> None:
    """Nor does it where limits depend on the segment, and the segment is corrected on the way (rules 2, 3 and 5)."""
    dice = random.Random(seed)
    events = in_segments(random_history(random.Random(seed), 25), dice)
    overrides = tuple(
        Override(where, {name: value for name, value in constants.items() if name != "silence_limit_ms"})
        for where, constants in segment_policies(dice)
    )
    policy = msgspec.structs.replace(POLICY, overrides=overrides)
    facts = admitted(events)
    for now_ms in dice.sample(interesting_clocks(events), 3):
        known = [one for one in facts if one.fact.delivered_ms <= now_ms]
        expected = judged(known, now_ms, policy)
        for _ in range(2):
            assert judged(reordered(known, dice), now_ms, policy) == expected


@pytest.mark.parametrize("seed", SEEDS)
def test_what_was_judged_before_never_matters(seed: int) -> None:
    """A case judged after every single fact ends with the verdicts of one judged once (rule 2)."""
    facts = history(seed)
    casebook = Casebook(TIER_A, POLICY)
    now_ms = 0
    for case_id, fact in facts:
        now_ms = max(now_ms, fact.delivered_ms)
        casebook.take(case_id, fact)
        casebook.assess(Clock(now_ms, now_ms - 1))  # the next one may be delivered at the same instant
    casebook.assess(Clock.at(now_ms))
    verdicts = {case_id: meaning(case.verdicts) for case_id, case in casebook.cases.items() if case.facts}
    assert verdicts == judged(facts, now_ms, POLICY)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_sealed_verdict_never_changes(seed: int) -> None:
    """With facts taken in as delivered, what was once sealed stays as it was, whatever comes later (rules 3 and 4)."""
    facts = history(seed)
    casebook = Casebook(TIER_A, POLICY)
    sealed: dict[tuple[str, str, str], tuple[object, ...]] = {}
    clocks = interesting_clocks(random_history(random.Random(seed), 25))
    taken = 0
    for now_ms in sorted(random.Random(seed).sample(clocks, min(len(clocks), 40))):
        while taken < len(facts) and facts[taken].fact.delivered_ms <= now_ms:
            casebook.take(*facts[taken])
            taken += 1
        casebook.assess(Clock.at(now_ms))
        found = {(case.case_id, one.sign, one.unit): one for case in casebook.cases.values() for one in case.verdicts}
        for unit, before in sealed.items():
            assert (found[unit].verdict, found[unit].reason, found[unit].anchor_ms) == before
        sealed |= {key: (one.verdict, one.reason, one.anchor_ms) for key, one in found.items() if one.sealed}


@pytest.mark.parametrize("seed", SEEDS)
def test_records_round_trip(seed: int) -> None:
    """A case or a board that is written and read again is the same, and goes on in the same way (rule 2)."""
    casebook, restarted = Casebook(TIER_A, CROWDED), Casebook(TIER_A, CROWDED)
    facts = history(seed, erasures=True)
    now_ms = 0
    for number, (case_id, fact) in enumerate(facts):
        now_ms = max(now_ms, fact.delivered_ms)
        for one in (casebook, restarted):
            one.take(case_id, fact)
            if number % 5 == 0:
                one.assess(Clock.at(now_ms))
        restarted.cases = {name: read_case(write(case)) for name, case in restarted.cases.items()}
        restarted.boards = {name: read_board(write(board)) for name, board in restarted.boards.items()}
    assert restarted.cases == casebook.cases
    assert restarted.boards == casebook.boards
    assert [write(case) for case in restarted.cases.values()] == [write(case) for case in casebook.cases.values()]


def test_relays_round_trip() -> None:
    """A relay of facts, and the notice that an asset is crowded, are read as they were written (rule 9)."""
    for relay in (Relay("C1", [fact for _, fact in history(1)]), Relay("C1", crowded_since_ms=7), Relay("C1")):
        assert read_relay(write(relay)) == relay


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x02\x90", b"\x01", b"\x01\xc1", b"\x01\x91\x01", b"{}"])
def test_an_unreadable_record_is_refused_as_such(data: bytes) -> None:
    """Another version, a torn record or other bytes are one kind of error, never half a record."""
    for read in (read_case, read_board, read_relay):
        with pytest.raises(UnreadableRecordError):
            read(data)
