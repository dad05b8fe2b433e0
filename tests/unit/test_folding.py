"""Folding and sealing: which facts count for a unit, and from when nothing can change it (rules 3 and 4)."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from cases import (
    POLICY,
    Event,
    arrived,
    booked,
    cancelled,
    completed,
    event,
    judged,
    merged,
    ms,
    of_case,
    opened,
    planned,
    rescheduled,
    resolved,
    rfc3339,
    scheduled,
    told,
    visit_cancelled,
)
from cxstream.domain.facts import Fact, RejectedError
from cxstream.domain.folding import FactStack, Folded, OwnFacts, fold
from cxstream.domain.units import CASE, VISIT, Unit
from cxstream.domain.vocabulary import TIME_FIELDS
from cxstream.engine.assess import Clock
from cxstream.offline.events_file import read_event
from oracle.histories import random_history

PROMISE = [opened(), scheduled("0h", "48h", "50h")]
VISIT_SEAL = "122h15m"
"""End of the window, 15 min of grace, 72 h."""


def late_event_ids(events: list[Event], as_of: str, case: str = "C1") -> set[str]:
    """Return what is published as late after seal."""
    return set(booked(events).assess(Clock.at(ms(as_of)))[case].late_event_ids)


@pytest.mark.parametrize(
    ("seen", "expected"),
    [(VISIT_SEAL, "final_hit on_time"), (f"{VISIT_SEAL}1ms", "miss no_show"), ("200h", "miss no_show")],
)
def test_a_fact_counts_until_the_seal(seen: str, expected: str) -> None:
    """A fact delivered exactly at the seal counts, a millisecond later it does not (rule 3)."""
    events = [*PROMISE, arrived("49h", seen=seen)]
    assert told(events, "201h", "on_time_arrival", "V1") == expected


def test_the_first_fact_always_counts() -> None:
    """A fact that reaches us years after its own limits still makes its unit, if it is the first (rule 3)."""
    events = [scheduled("0h", "48h", "50h", seen="900d")]
    assert told(events, "901d", "on_time_arrival", "V1") == "miss no_show"
    withdrawn = [cancelled("1h", seen="900d"), resolved("30m", seen="901d")]
    assert told(withdrawn, "902d", "stayed_fixed") == "excluded cancelled"


def test_a_fact_that_brings_the_seal_forward_counts() -> None:
    """A cancellation delivered long after the seal it gives counts; nothing delivered after it does (rule 3)."""
    withdrawn = [opened(), cancelled("1h", seen="60d")]
    assert told(withdrawn, "61d", "stayed_fixed") == "excluded cancelled"
    seal = judged(withdrawn, "61d", "stayed_fixed")
    assert seal is not None
    assert (seal.seal_ms, seal.sealed) == (ms("73h"), True)
    assert told([*withdrawn, resolved("30m", seen="60d1ms")], "61d", "stayed_fixed") == "excluded cancelled"


def test_what_counts_is_a_prefix() -> None:
    """Once a fact came too late so did all after it, though it would have moved the seal far enough (rule 3)."""
    late_window = rescheduled("47h", "490h", "500h", by="customer", seen="150h", named="late-window")
    events = [*PROMISE, late_window, arrived("495h", named="late-arrival")]
    assert told(events, "600h", "on_time_arrival", "V1") == "miss no_show"
    events[2]["seen"] = rfc3339(VISIT_SEAL)
    assert told(events, "600h", "on_time_arrival", "V1") == "final_hit on_time"


def test_equal_deliveries_are_folded_by_event_id() -> None:
    """Of two facts delivered together that came too late for each other, the smaller event id is first (rule 3)."""
    withdrawn = cancelled("1h", seen="60d", named="b")
    fixed = resolved("30m", seen="60d")
    assert told([opened(), withdrawn, {**fixed, "event_id": "c"}], "61d", "stayed_fixed") == "excluded cancelled"
    assert told([opened(), withdrawn, {**fixed, "event_id": "a"}], "61d", "stayed_fixed") == "final_hit stayed_fixed"


def test_what_counts_for_no_unit_is_late_after_seal() -> None:
    """A fact after the seals of all units of its case is published as late, others are not (rule 3)."""
    sealed_visit = [*PROMISE, arrived("49h", seen="200h", named="late")]
    assert late_event_ids(sealed_visit, "201h") == set()  # the case itself is open: the arrival is an attempt
    withdrawn = [*PROMISE, cancelled("1h"), arrived("49h", seen="200h", named="late")]
    assert late_event_ids(withdrawn, "201h") == {"late"}
    assert late_event_ids(withdrawn[:-1], "201h") == set()


def test_a_unit_exists_once_a_counted_fact_makes_it() -> None:
    """A visit exists by a dispatch fact, if it counts, and by no other fact (rules 3 and 4)."""
    assert told([opened(), planned()], "1h", "on_time_arrival", "V1") == "pending no_window_yet"
    parts = event("parts.required", "0h", line_id="L1", visit_id="V1")
    assert told([opened(), parts], "1h", "on_time_arrival", "V1") == "no such unit"
    withdrawn = [opened(), cancelled("1h")]
    assert told([*withdrawn, planned("2h", seen="73h")], "80h", "on_time_arrival", "V1") != "no such unit"
    assert told([*withdrawn, planned("2h", seen="73h1ms")], "80h", "on_time_arrival", "V1") == "no such unit"


def test_sealed_is_strictly_later_than_the_seal() -> None:
    """At the seal a hit is provisional, a millisecond later it is final (rule 4)."""
    fixed = [opened(), resolved("1h")]
    assert told(fixed, "33d1h", "stayed_fixed") == "provisional_hit stayed_fixed"
    assert told(fixed, "33d1h1ms", "stayed_fixed") == "final_hit stayed_fixed"


def test_nothing_is_sealed_before_all_is_settled() -> None:
    """While facts delivered before the seal may be on their way to the case, no verdict is final (rule 4)."""
    casebook = booked([opened(), resolved("1h")])
    for settled, verdict in (("33d1h", "provisional_hit"), ("33d1h1ms", "final_hit")):
        casebook.assess(Clock(ms("40d"), ms(settled)))
        assert {one.sign: one.verdict for one in casebook.cases["C1"].verdicts}["stayed_fixed"] == verdict


def test_the_clock_stops_at_the_seal() -> None:
    """A unit is judged no later than its seal: who was on site then is not awaited after it (rules 4 and 12)."""
    crew = [arrived("1h"), completed("3h", "not_fixed"), arrived("2h", "V2")]
    for as_of in ("7h", "15h", "30d"):
        assert told([opened(), cancelled("-65h"), *crew], as_of, "first_time_fix") == "excluded cancelled"
    assert told([opened(), *crew], "15h", "first_time_fix") == "miss first_attempt_failed"


def test_pending_at_the_seal_is_excluded() -> None:
    """A unit still pending when it seals becomes excluded, unknown at seal (rule 4)."""
    assert told([opened()], "90d", "stayed_fixed") == "pending not_fixed_yet"
    assert told([opened()], "90d1ms", "stayed_fixed") == "excluded unknown_at_seal:not_fixed_yet"


CREW = [arrived("2h"), arrived("2h30m", "V2"), completed("3h", "fixed"), completed("5h", "fixed", "V2")]


@pytest.mark.parametrize(
    ("events", "seal"),
    [
        ([resolved("1h")], "33d1h"),
        ([resolved("1h"), resolved("9h", named="again")], "33d1h"),
        (CREW, "33d5h"),
        ([arrived("2h"), completed("3h"), resolved("10h")], "33d10h"),
        ([arrived("2h"), completed("3h", "not_fixed"), resolved("10h")], "33d10h"),
        ([cancelled("4h")], "3d4h"),
        ([cancelled("4h"), cancelled("2h", named="earlier")], "3d2h"),
        ([merged("5h", "C9")], "3d5h"),
        ([cancelled("6h"), merged("5h", "C9")], "3d5h"),
        ([cancelled("4h"), merged("5h", "C9")], "3d4h"),
        ([cancelled("4h"), resolved("1h")], "33d1h"),
        ([], "90d"),
        ([event("ticket.acknowledged", "1h", seen="10d")], "100d"),
        (of_case("C2", opened("20d")), "90d"),
        ([*of_case("C2", opened(), planned("19d"), merged("20d", "C1"))], "110d"),
    ],
    ids=[
        "first claim",
        "two claims",
        "fix of the first attempt",
        "claim after the attempt's fix",
        "failed attempt",
        "cancellation",
        "first cancellation",
        "merge",
        "merge before cancellation",
        "cancellation before merge",
        "fix before cancellation",
        "abandoned",
        "last delivery",
        "another case moves no seal",
        "an absorbed case does",
    ],
)
def test_seal_of_a_case(events: list[Event], seal: str) -> None:
    """A case seals R + H after its fix, else H after its end, else 90 d after the last delivery (rule 4)."""
    verdict = judged([opened(), *events], "400d", "stayed_fixed")
    assert verdict is not None
    assert verdict.seal_ms == ms(seal)


@pytest.mark.parametrize(
    ("events", "seal"),
    [
        ([scheduled("0h", "48h", "50h")], "122h15m"),
        ([scheduled("0h", "48h", "50h"), rescheduled("1h", "38h", "40h")], "112h15m"),
        ([scheduled("0h", "48h", "50h"), arrived("49h"), rescheduled("50h", "98h", "100h")], "172h15m"),
        ([scheduled("0h", "48h", "50h"), arrived("49h"), arrived("70h")], "142h"),
        ([scheduled("0h", "48h", "50h"), completed("61h"), completed("62h")], "134h"),
        ([scheduled("0h", "48h", "50h"), visit_cancelled("5h")], "122h15m"),
        ([planned(), arrived("49h")], "121h"),
        ([planned(), visit_cancelled("5h"), visit_cancelled("7h")], "79h"),
        ([planned(), visit_cancelled("5h"), planned("6h")], "77h"),
        ([planned()], "90d"),
        ([planned(), cancelled("9h")], "81h"),
        ([planned(), merged("9h", "C9")], "90d9h"),
        ([planned(), resolved("9h")], "33d9h"),
    ],
    ids=[
        "window",
        "last window made",
        "window made after arrival",
        "last arrival",
        "last completion",
        "window before cancellation",
        "arrival alone",
        "last cancellation",
        "planned again without a window",
        "as the case: abandoned",
        "as the case: cancelled",
        "as the case: merges apart",
        "as the case: fixed",
    ],
)
def test_seal_of_a_visit(events: list[Event], seal: str) -> None:
    """A visit seals H after its last window's grace, arrival or completion, else after its cancellation (rule 4)."""
    verdict = judged([opened(), *events], "400d", "on_time_arrival", "V1")
    assert verdict is not None
    assert verdict.seal_ms == ms(seal)


def fold_one_by_one(stack: FactStack, unit: Unit, unit_id: str) -> tuple[int, int]:
    """Return how many facts count and the seal they give, asking for the seal after every single fact."""
    count = 1
    while count < len(stack.delivered_ms):
        if stack.delivered_ms[count] > unit.seal(stack.evidence(count), unit_id, POLICY):
            break
        count += 1
    return count, unit.seal(stack.evidence(count), unit_id, POLICY)


def random_cases(seed: int) -> Iterator[tuple[str, list[Fact]]]:
    """Yield the cases of a random history, the facts of each in order of delivery."""
    cases: dict[str, dict[str, Fact]] = {}
    for one in random_history(random.Random(seed), 25):
        try:
            case_id, fact = read_event(one, POLICY.clock_skew_ms)
        except RejectedError:
            continue
        cases.setdefault(case_id, {}).setdefault(fact.event_id, fact)
    for case_id, by_id in cases.items():
        yield case_id, sorted(by_id.values(), key=lambda fact: (fact.delivered_ms, fact.event_id))


@pytest.mark.parametrize("seed", range(60))
def test_folding_in_steps_is_folding_one_by_one(seed: int) -> None:
    """However few seals are asked for, what counts is what the rule's own words give on random cases (rule 3)."""
    for case_id, in_order in random_cases(seed):
        stack = OwnFacts(in_order, frozenset(fact.event_id for fact in in_order))
        visits = stack.evidence(len(in_order)).visit_ids
        for unit, unit_id in [(CASE, case_id), *((VISIT, visit_id) for visit_id in visits)]:
            folded: Folded = fold(stack, unit, unit_id, POLICY)
            count, seal_ms = fold_one_by_one(stack, unit, unit_id)
            assert (folded.seal_ms, folded.last_counted_ms) == (seal_ms, in_order[count - 1].delivered_ms)
            assert folded.settles_ms == max(seal_ms + 1, in_order[count - 1].delivered_ms)
            assert [fact.event_id for fact in folded.evidence.facts] == [
                fact.event_id for fact in stack.evidence(count).facts
            ]


@pytest.mark.parametrize("seed", range(30))
def test_the_earliest_instant_is_the_least_of_all_that_are_named(seed: int) -> None:
    """Event times, deliveries, and the instants among fields and corrections all bring the first possible seal near."""
    for _case_id, in_order in random_cases(seed):
        named = [ms for fact in in_order for ms in (fact.at_ms, fact.delivered_ms)]
        for fact in in_order:
            changes = fact.fields.get("set")
            stated = {**fact.fields, **(changes if isinstance(changes, dict) else {})}
            named += [ms for name, ms in stated.items() if name in TIME_FIELDS and isinstance(ms, int)]
        assert OwnFacts(in_order, frozenset()).earliest_ms == min(named)


@pytest.mark.parametrize("seed", range(30))
def test_a_unit_exists_by_any_fact_that_names_it(seed: int) -> None:
    """A visit, commitment or line is one by its facts as delivered or as corrected, voided ones too (rule 3)."""
    naming = {"visit": ("dispatch", None), "commitment": ("ticket", "commitment_made"), "line": ("parts", "required")}
    for _case_id, in_order in random_cases(seed):
        for count in range(1, len(in_order) + 1):
            evidence = OwnFacts(in_order, frozenset()).evidence(count)
            for kind, (topic, event_type) in naming.items():
                facts = [*in_order[:count], *evidence.facts]
                named = [fact for fact in facts if fact.topic == topic and event_type in (None, fact.type)]
                ids = {fact.fields[f"{kind}_id"] for fact in named if f"{kind}_id" in fact.fields}
                assert evidence.units(kind) == ids


def test_a_record_waits_for_the_next_seal_that_is_not_past() -> None:
    """Of units sealed already nothing is awaited: the group is watched for the seals of the others (rule 4)."""
    casebook = booked([opened(), event("ticket.acknowledged", "1h")])
    casebook.assess(Clock.at(ms("100h")))
    case = casebook.cases["C1"]
    assert {verdict.sealed for verdict in case.verdicts} == {True, False}
    assert case.settles_ms > ms("100h")


class _OneCannotMoveIt(OwnFacts):
    """Three facts, delivered at 0, 5 and 20; the second is of another case."""

    def __init__(self) -> None:
        super().__init__([Fact(str(at_ms), "ticket", "closed", at_ms, at_ms) for at_ms in (0, 5, 20)], frozenset())
        self.moves_seal = [True, False, True]
        self.earliest_ms = -POLICY.soonest_seal_ms


def test_a_fact_that_cannot_move_the_seal_lets_no_later_one_count() -> None:
    """What is merely known of another case is in the evidence, but what comes after the seal without it is late."""
    unit = CASE._replace(seal=lambda evidence, *_: 30 if len(evidence.facts) > 1 else 10)
    folded = fold(_OneCannotMoveIt(), unit, "C1", POLICY)
    assert (folded.counted, folded.seal_ms) == (2, 30)
