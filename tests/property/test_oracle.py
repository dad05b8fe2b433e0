"""The engine against the oracle: two readings of the vital-signs page, written apart, must say the same."""

from __future__ import annotations

import os
import random
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from cases import (
    arrived,
    completed,
    corrected,
    merged,
    ms,
    of_case,
    opened,
    planned,
    reopened,
    resolved,
    scheduled,
    visit_cancelled,
    voided,
    wakes_ms,
)
from cxstream.domain.facts import RejectedError
from cxstream.domain.instant import DAY_MS
from cxstream.domain.policy import Override, Policy
from cxstream.engine.assess import Clock, assess
from cxstream.engine.casebook import Casebook
from cxstream.offline.events_file import Delivered, read_event
from cxstream.vital_signs import TIER_A
from oracle.evaluator import SIGNS, evaluate
from oracle.histories import in_segments, interesting_clocks, random_history, segment_policies
from parts.trials import blocks, often, seeds, tried

POLICY = Policy()
HISTORIES = int(os.environ.get("CXSTREAM_TEST_HISTORIES", "350"))
"""How many random histories are judged twice: a few in every run of the tests, thousands by `make histories`."""
ENTANGLED = HISTORIES * 2 // 7
"""How many of them merge their cases to and fro."""


History = list[dict[str, Any]]
Key = tuple[str, str, str]
"""(sign, case id, unit id)"""


class Said(NamedTuple):
    """What is said of one unit: the verdict, the anchor if it is decided, and the seal."""

    verdict: str
    anchor_ms: int | None
    seal_ms: int
    sealed: bool
    measured: int | None = None


def admitted(events: Iterable[dict[str, Any]]) -> list[Delivered]:
    """Return the facts that events make, in order of delivery; what is rejected makes none."""
    facts = []
    for one in events:
        try:
            facts.append(read_event(one, POLICY.clock_skew_ms))
        except RejectedError:
            continue
    return sorted(facts, key=lambda one: one.fact.delivered_ms)


def redelivered(one: Delivered, delay_ms: int) -> Delivered:
    """Return the same fact as it is delivered again after a while."""
    return Delivered(one.case_id, msgspec.structs.replace(one.fact, delivered_ms=one.fact.delivered_ms + delay_ms))


def booked(facts: Iterable[Delivered], now_ms: int, policy: Policy = POLICY) -> Casebook:
    """Return a casebook that has taken in, in the order given, what was delivered by the clock reading."""
    casebook = Casebook(TIER_A, policy)
    for case_id, fact in facts:
        if fact.delivered_ms <= now_ms:
            casebook.take(case_id, fact)
    return casebook


def said_by_engine(casebook: Casebook, now_ms: int) -> dict[Key, Said]:
    """Return what the engine says of every unit at the clock reading."""
    casebook.assess(Clock.at(now_ms))
    return {
        (one.sign, case_id, one.unit): Said(
            one.verdict, one.anchor_ms if one.decided else None, one.seal_ms, one.sealed, one.measured
        )
        for case_id, case in casebook.cases.items()
        for one in case.verdicts
    }


def said_by_oracle(events: History, now_ms: int, policy: dict[str, Any] | None = None) -> dict[Key, Said]:
    """Return what the oracle says of every unit at the clock reading, for the signs that are built."""
    result = evaluate(events, now_ms, policy)
    times = {name: round(1000 * sum(outages)) for name, outages in result.time_to_restore.items()}
    return {
        key: Said(
            one.verdict,
            one.anchor,
            one.seals_at,
            one.sealed,
            times[key[1]] if key[0] == "time_to_restore" and one.verdict.endswith("hit") else None,
        )
        for key, one in result.by_case.items()
        if key[0] in TIER_A
    }


def differences(engine: dict[Key, Said], oracle: dict[Key, Said]) -> list[str]:
    """Return the units the two disagree on, in words."""
    return [
        f"{key}: the engine says {engine.get(key)}, the oracle {oracle.get(key)}"
        for key in sorted(engine.keys() | oracle.keys())
        if engine.get(key) != oracle.get(key)
    ]


def history_of(seed: int, *, entangled: bool = False) -> tuple[History, random.Random]:
    """Return a random history, and the dice to go on with."""
    dice = random.Random(seed)
    return random_history(dice, dice.choice((5, 15, 30)), entangled=entangled), dice


def some_clocks(events: History, dice: random.Random, count: int) -> list[int]:
    """Return that many clock readings at, just before or just after a limit."""
    clocks = interesting_clocks(events)
    return dice.sample(clocks, min(count, len(clocks)))


def assert_agreement(events: History, clocks_ms: Iterable[int], note: object) -> None:
    """Hold the engine to the oracle at these clock readings."""
    facts = admitted(events)
    for now_ms in clocks_ms:
        found = differences(said_by_engine(booked(facts, now_ms), now_ms), said_by_oracle(events, now_ms))
        assert not found, (note, now_ms, found)


def test_the_oracle_knows_every_sign() -> None:
    """Whatever sign is built is held to the oracle: it judges every name of the catalogue."""
    assert set(TIER_A) <= set(SIGNS)


def test_histories_meet_every_verdict() -> None:
    """Agreement is not emptiness: on these seeds every built sign meets every verdict, sealed and not."""
    met: dict[str, set[tuple[str, bool]]] = defaultdict(set)
    for seed in range(150):
        events, dice = history_of(seed)
        facts = admitted(events)
        for now_ms in some_clocks(events, dice, 3):
            for (sign, _, _), said in said_by_engine(booked(facts, now_ms), now_ms).items():
                met[sign].add((said.verdict, said.sealed))
    verdicts = {("pending", False), ("provisional_hit", False), ("final_hit", True)}
    verdicts |= {(verdict, sealed) for verdict in ("miss", "excluded") for sealed in (False, True)}
    missed = {("miss", False), ("miss", True)}
    can_be = {name: verdicts - (missed if sign.objective is None else set()) for name, sign in TIER_A.items()}
    assert {sign: can_be[sign] - met[sign] for sign in TIER_A} == {sign: set() for sign in TIER_A}


@pytest.mark.parametrize(
    "seeds", blocks(HISTORIES - ENTANGLED, 25), ids=lambda seeds: f"{seeds.start}-{seeds.stop - 1}"
)
def test_the_engine_agrees_with_the_oracle(seeds: range) -> None:
    """At any clock verdicts, anchors and seals of every built sign are the oracle's (rules 1, 3, 4, 12, 14 and 15)."""
    for seed in seeds:
        events, dice = history_of(seed)
        assert_agreement(events, some_clocks(events, dice, 3), f"seed {seed}")


@pytest.mark.parametrize("seeds", blocks(ENTANGLED, 25), ids=lambda seeds: f"{seeds.start}-{seeds.stop - 1}")
def test_they_agree_on_merged_cases(seeds: range) -> None:
    """They agree where cases are merged to and fro and what ties them is mended or voided (rules 9, 13 and 23)."""
    for seed in seeds:
        events, dice = history_of(seed, entangled=True)
        assert_agreement(events, some_clocks(events, dice, 2), f"entangled, seed {seed}")


def policy_of(segments: list[tuple[dict[str, str], dict[str, Any]]]) -> Policy:
    """Return the engine's policy with these segments: what the oracle has by priority is a table of its own here."""
    names = {"silence_limit_ms": "silence_limit_by_priority_ms"}
    overrides = [
        Override(where, {names.get(name, name): value for name, value in constants.items()})
        for where, constants in segments
    ]
    return msgspec.structs.replace(POLICY, overrides=tuple(overrides))


@pytest.mark.parametrize("entangled", [False, True], ids=["plain", "entangled"])
def test_they_agree_on_segments(*, entangled: bool) -> None:
    """With constants per segment, and openings whose segment is corrected, both judge alike in any order (rule 3)."""
    moved: Counter[str] = Counter()
    for seed in seeds(60):
        events, dice = history_of(seed, entangled=entangled)
        segments = segment_policies(dice)
        events, policy = in_segments(events, dice), policy_of(segments)
        facts = admitted(events)
        for now_ms in some_clocks(events, dice, 2):
            expected = said_by_oracle(events, now_ms, {"segments": segments})
            found = differences(said_by_engine(booked(facts, now_ms, policy), now_ms), expected)
            assert not found, (seed, now_ms, segments, found)
            mixed = dice.sample(facts, len(facts))
            found = differences(said_by_engine(booked(mixed, now_ms, policy), now_ms), expected)
            assert not found, (seed, now_ms, segments, "in another order", found)
            usual = said_by_engine(booked(facts, now_ms), now_ms)
            moved.update(key[0] for key, said in expected.items() if said != usual.get(key))
    assert len(moved.keys() & TIER_A.keys()) >= often(len(TIER_A)), "no segment made a difference"


@tried(60, suppress_health_check=list(HealthCheck))
@given(st.randoms(use_true_random=False), st.integers(1, 12), st.booleans())
def test_no_history_divides_them(dice: random.Random, size: int, entangled: bool) -> None:  # noqa: FBT001
    """No history is found that divides them; were there one, the smallest would be told (rules 3, 5, 9, 11 and 12)."""
    events = random_history(dice, size, entangled=entangled)
    assert_agreement(events, some_clocks(events, dice, 2), events)


@pytest.mark.parametrize("entangled", [False, True], ids=["plain", "entangled"])
def test_order_and_duplicates_change_nothing(*, entangled: bool) -> None:
    """In any order of processing, with copies of the same or a later delivery, verdicts stay (rules 1 and 2)."""
    for seed in seeds(40):
        events, dice = history_of(seed, entangled=entangled)
        (now_ms,) = some_clocks(events, dice, 1)
        expected = said_by_oracle(events, now_ms)
        facts = admitted(events)
        copies = dice.sample(facts, len(facts) // 2)
        later = [redelivered(one, dice.choice((1, DAY_MS))) for one in dice.sample(facts, len(facts) // 2)]
        for _ in range(3):
            mixed = [*facts, *copies, *later]
            dice.shuffle(mixed)
            found = differences(said_by_engine(booked(mixed, now_ms), now_ms), expected)
            assert not found, (seed, now_ms, found)


@pytest.mark.parametrize("entangled", [False, True], ids=["plain", "entangled"])
def test_what_is_sealed_stays(*, entangled: bool) -> None:
    """Fed as delivered and judged on the way, what is sealed stays, and the end is the oracle's (rules 3 and 4)."""
    for seed in seeds(60):
        events, dice = history_of(seed, entangled=entangled)
        facts = admitted(events)
        casebook = Casebook(TIER_A, POLICY)
        sealed: dict[Key, Said] = {}
        now_ms = 0
        for now_ms in sorted(some_clocks(events, dice, 25)):
            while facts and facts[0].fact.delivered_ms <= now_ms:
                casebook.take(*facts.pop(0))
            said = said_by_engine(casebook, now_ms)
            changed = {key: (before, said.get(key)) for key, before in sealed.items() if said.get(key) != before}
            assert not changed, (seed, now_ms, changed)
            sealed = {key: one for key, one in said.items() if one.sealed}
        found = differences(said_by_engine(casebook, now_ms), said_by_oracle(events, now_ms))
        assert not found, (seed, now_ms, found)


@pytest.mark.parametrize("entangled", [False, True], ids=["plain", "entangled"])
def test_the_clock_alone_changes_nothing_before_the_deadline(*, entangled: bool) -> None:
    """Between a judgement and the deadline of the record no verdict changes by the clock alone (rules 4 and 6)."""
    for seed in seeds(80):
        events, dice = history_of(seed, entangled=entangled)
        (now_ms,) = some_clocks(events, dice, 1)
        casebook = booked(admitted(events), now_ms)
        casebook.assess(Clock.at(now_ms))
        for case in casebook.cases.values():
            last_ms = wakes_ms(case) - 1
            assert last_ms >= now_ms, (seed, now_ms, case.case_id)
            between = [clock_ms for clock_ms in interesting_clocks(events) if now_ms < clock_ms < last_ms]
            for clock_ms in [*dice.sample(between, min(len(between), 20)), last_ms]:
                changes = assess(case, TIER_A, POLICY, Clock.at(clock_ms)).changes
                assert not changes, (seed, now_ms, clock_ms, changes)


FAULTS: dict[str, tuple[list[dict[str, Any]], str, str, str, str | None]] = {
    "a completion that stands for an arrival comes after an arrival of the same instant (rules 5 and 11)": (
        [opened(), completed("2h", "fixed", "V1"), arrived("2h", "V2"), completed("2h", "continued", "V2")],
        *("3h", "first_time_fix", "miss", "2h"),
    ),
    "a visit of no duration belongs to the crew that arrives with it (rule 11)": (
        [
            *(opened(), arrived("2h", "V1"), completed("2h", "partial", "V1")),
            *(arrived("2h", "V2"), completed("3h", "fixed", "V2")),
        ],
        *("4h", "first_time_fix", "provisional_hit", "3h"),
    ),
    "at exactly 12 h a visit is still on site (rule 11)": (
        [opened(), arrived("1h", "V1"), arrived("13h", "V2"), completed("14h", "fixed", "V2")],
        *("15h", "first_time_fix", "provisional_hit", "14h"),
    ),
    "1 ms after 12 h it is not (rule 11)": (
        [opened(), arrived("1h", "V1"), arrived("13h1ms", "V2"), completed("14h", "fixed", "V2")],
        *("15h", "first_time_fix", "miss", "13h"),
    ),
    "of completions at one instant the last is by event id, whoever arrived last (rules 5 and 12)": (
        [
            *(opened(), arrived("1h", "V1"), arrived("90m", "V2"), resolved("3h")),
            *(completed("2h", None, "V2", named="z"), completed("2h", "continued", "V1", named="a")),
        ],
        *("4h", "first_time_fix", "provisional_hit", "2h"),
    ),
    "a miss after the fix is counted at the end of the attempt, not at the fix (rule 12)": (
        [
            *(opened(), arrived("1h", "V1"), arrived("2h", "V2"), completed("3h", "fixed", "V1")),
            *(completed("4h", "partial", "V2"), reopened("1d")),
        ],
        *("2d", "first_time_fix", "miss", "4h"),
    ),
    "a replacement is watched for repeats though the case has no opening (rules 9 and 13)": (
        [
            *(arrived("1h"), completed("2h", "fixed", replaced_by="A2")),
            *of_case("C2", opened("1d", asset_id="A2")),
        ],
        *("2d", "first_time_fix", "miss", "2h"),
    ),
    "so is one that only a correction names (rules 5, 9 and 13)": (
        [
            *(arrived("1h"), completed("2h", "fixed", named="c"), corrected("3h", "c", {"replaced_by": "A2"})),
            *of_case("C2", opened("1d", asset_id="A2")),
        ],
        *("2d", "first_time_fix", "miss", "2h"),
    ),
    "a replacement named by a visit of an absorbed case is the survivor's (rules 9 and 13)": (
        [
            *(planned(), *of_case("C2", arrived("1h", "V2"), completed("2h", "fixed", "V2", replaced_by="A2"))),
            *(*of_case("C2", merged("3h", "C1")), *of_case("C3", opened("1d", asset_id="A2"))),
        ],
        *("2d", "first_time_fix", "miss", "2h"),
    ),
    "a correction of an opening that comes to mean another fact is so for its neighbours too (rules 5 and 9)": (
        [
            *(opened(), resolved("1h"), *of_case("C2", opened("1d", named="o"), arrived("2d", "V2", named="v"))),
            *of_case("C2", corrected("3d", "o", {"at": "0h"}, named="k", seen="4d")),
            *of_case("C2", corrected("3d", "k", {"target": "v"}, seen="3d")),
        ],
        *("5d", "stayed_fixed", "miss", "1h"),
    ),
    "a merge that its correction arrives before takes all over that was known till then (rules 5 and 9)": (
        [
            *(opened(), *of_case("C2", opened("1h", asset_id="A9"), arrived("2h", "V2"))),
            *of_case("C2", completed("3h", "fixed", "V2"), corrected("4h", "m", {"into": "C1"})),
            *of_case("C2", merged("4h", "C7", named="m", seen="5h")),
        ],
        *("6h", "first_time_fix", "provisional_hit", "3h"),
    ),
    "a window that a correction leaves without its start is none, also for the seal (rules 4 and 15)": (
        [opened(), scheduled("0h", "1h", "2h", named="w"), corrected("1h", "w", {"window_start": None})],
        *("4d", "on_time_arrival", "pending", None),
    ),
    "a cancelled visit without a window is sealed by that, though planned again (rule 4)": (
        [opened(), planned("0h"), visit_cancelled("1h"), planned("2h")],
        *("74h", "on_time_arrival", "excluded", None),
    ),
    "an absorbed case's ticket corrections do not put off abandonment (rules 4 and 9)": (
        [
            *(opened(), *of_case("C2", opened("1h", asset_id="A9"), merged("2h", "C1"))),
            *of_case("C2", corrected("2d", "never-seen", {"at": "1h"})),
        ],
        *("90d1ms", "stayed_fixed", "excluded", None),
    ),
    "a merge voided after the survivor's seal still counts there (rules 3 and 9)": (
        [
            *(opened(), resolved("1h")),
            *of_case("C2", opened("1d", asset_id="A9"), resolved("2d"), merged("3d", "C1", named="m")),
            *of_case("C2", voided("34d", "m")),
        ],
        *("35d", "stayed_fixed", "miss", "1h"),
    ),
}
"""By the sentence of the page that was broken: the events, a clock, the sign, and its verdict on C1 with the anchor."""


@pytest.mark.parametrize("sentence", FAULTS)
def test_faults_found_by_the_oracle(sentence: str) -> None:
    """What the two were once divided on is judged by the page's words on both sides (rules 4, 5, 9, 11, 12 and 13)."""
    events, clock, sign, verdict, anchor = FAULTS[sentence]
    assert_agreement(events, [ms(clock)], sentence)
    told = said_by_oracle(events, ms(clock)).items()
    (said,) = (one for (name, case_id, _), one in told if (name, case_id) == (sign, "C1"))
    assert (said.verdict, said.anchor_ms) == (verdict, ms(anchor) if anchor else None)
