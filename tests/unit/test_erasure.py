"""Erasure: what remains of a case when a customer asks to be forgotten (rule 10)."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest

from cases import (
    POLICY,
    Event,
    arrived,
    booked,
    cancelled,
    completed,
    corrected,
    erased,
    facts,
    ms,
    opened,
    reopened,
    resolved,
    rfc3339,
    scheduled,
    voided,
)
from cxstream.domain.cases import Case
from cxstream.domain.instant import NEVER_MS
from cxstream.domain.verdict import Verdict
from cxstream.engine.assess import Clock, assess, receive
from cxstream.vital_signs import CATALOGUE

FIXED = [opened(symptom="s3cret"), scheduled("0h", "1h", "2h"), arrived("90m"), completed("3h", "fixed")]
VISIT_SEAL, CASE_SEAL = "75h", "33d3h"


def residue(*events: Event, as_of: str = "200d") -> tuple[Case, dict[str, Verdict]]:
    """Return what is left of C1, and its verdicts by sign."""
    casebook = booked(events)
    casebook.assess(Clock.at(ms(as_of)))
    case = casebook.cases["C1"]
    return case, {verdict.sign: verdict for verdict in case.verdicts}


def words(verdicts: dict[str, Verdict]) -> dict[str, str]:
    """Return verdicts in words."""
    return {sign: f"{verdict.verdict} {verdict.reason}" for sign, verdict in verdicts.items()}


@pytest.mark.parametrize(
    ("at", "visit", "case"),
    [
        (VISIT_SEAL, "excluded erased", "excluded erased"),
        (f"{VISIT_SEAL}1ms", "final_hit on_time", "excluded erased"),
        (CASE_SEAL, "final_hit on_time", "excluded erased"),
        (f"{CASE_SEAL}1ms", "final_hit on_time", "final_hit fixed_first_time"),
    ],
)
def test_what_was_sealed_stays_counted(at: str, visit: str, case: str) -> None:
    """Verdicts sealed at the erasure's delivery stay as they are, all others become excluded (rule 10)."""
    _, verdicts = residue(*FIXED, erased(at))
    assert words(verdicts)["on_time_arrival"] == visit
    assert words(verdicts)["first_time_fix"] == case
    _, verdicts = residue(*FIXED, erased("4h", seen=at))
    assert words(verdicts)["on_time_arrival"] == visit


def test_sealed_misses_stay_misses() -> None:
    """Misses stay counted if they were sealed, and only then (rule 10)."""
    missed = [opened(), scheduled("0h", "1h", "2h"), arrived("5h"), completed("6h", "not_fixed"), cancelled("7h")]
    _, verdicts = residue(*missed, erased("40d"))
    assert words(verdicts)["on_time_arrival"] == "miss late"
    assert words(verdicts)["first_time_fix"] == "miss first_attempt_failed"
    _, verdicts = residue(*missed, erased("8h"))
    assert set(words(verdicts).values()) == {"excluded erased"}


def test_personal_state_is_dropped() -> None:
    """Nothing of the facts is left in the record, only verdicts and the segment they are counted under (rule 10)."""
    case, _ = residue(*FIXED, erased("4h"))
    assert (case.facts, case.relayed, case.closed) == ([], {}, "erased")
    assert b"s3cret" not in msgspec.json.encode(case)


def test_later_facts_are_refused() -> None:
    """An erased case takes no fact any more, whenever it happened, not even another erasure (rule 10)."""
    casebook = booked([*FIXED, erased("80h")])
    casebook.assess(Clock.at(ms("81h")))
    before = casebook.cases["C1"]
    for fact in facts(reopened("10h"), resolved("90h"), opened("0h"), erased("91h")):
        assert casebook.take("C1", fact) == "refused"
    assert before.advance(facts(opened("200d"))[0], origin="C2") == (before, "refused")
    casebook.assess(Clock.at(ms("200d")))
    assert casebook.cases["C1"] is before


def test_all_that_is_left_is_sealed() -> None:
    """After an erasure no verdict of the case can change, and the clock wakes it no more (rule 10)."""
    case, verdicts = residue(*FIXED, erased("4h"))
    assert all(verdict.sealed for verdict in verdicts.values())
    assert case.deadline_ms > ms("9000d")


def test_an_erased_hit_is_retracted() -> None:
    """A verdict that was published and is excluded by an erasure counts as taken back, once (rule 10)."""
    casebook = booked(FIXED)
    casebook.assess(Clock.at(ms("4h")))
    published = {verdict.sign: verdict for verdict in casebook.cases["C1"].verdicts}
    assert published["first_time_fix"].decided
    casebook.take("C1", facts(erased("5h"))[0])
    for verdict in casebook.cases["C1"].verdicts:
        assert verdict.sequence == published[verdict.sign].sequence + 1
        assert verdict.retracted == published[verdict.sign].decided


def test_closing_a_case_skips_no_number() -> None:
    """What a case was judged to by the delivery that closed it was not published: its verdicts follow what was."""
    casebook = booked([opened(), scheduled("0h", "1h", "2h")])
    casebook.assess(Clock.at(ms("30m")))
    published = {(verdict.sign, verdict.unit): verdict.sequence for verdict in casebook.cases["C1"].verdicts}
    casebook.take("C1", facts(erased("30h"))[0])
    assert casebook.cases["C1"].verdicts
    for verdict in casebook.cases["C1"].verdicts:
        assert verdict.sequence == published[verdict.sign, verdict.unit] + 1


@pytest.mark.parametrize(
    ("before", "erasure", "is_erased"),
    [
        ([voided("3h", "E")], erased("4h", named="E"), False),
        ([voided("3h", "other")], erased("4h", named="E"), True),
        ([], {**erased("4h"), "event_id": opened()["event_id"]}, False),
        ([corrected("3h", "E", {"at": rfc3339("210m")})], erased("4h", named="E"), True),
    ],
    ids=["voided before", "another voided", "copy of another event", "corrected before"],
)
def test_an_erasure_is_a_fact_like_any_other(before: list[Event], erasure: Event, is_erased: bool) -> None:  # noqa: FBT001 - parametrized
    """One that was voided before its delivery, or copies the id of another event, erases nothing (rules 1, 5, 10)."""
    case, verdicts = residue(opened(), *before, erasure, resolved("5h"), as_of="6h")
    assert (case.closed == "erased") is is_erased
    assert words(verdicts)["same_day"] == ("excluded erased" if is_erased else "provisional_hit fixed_same_day")


def test_an_erasure_may_come_first() -> None:
    """The erasure of a case nobody has heard of closes it to all that follows (rule 10)."""
    case, verdicts = residue(erased("4h"), *FIXED)
    assert (case.closed, case.facts, verdicts) == ("erased", [], {})


def test_a_case_beyond_the_number_of_facts_is_excluded_as_a_whole() -> None:
    """A case with more facts than allowed keeps none of them, so that no order decides which (rules 2 and 10)."""
    policy = msgspec.structs.replace(POLICY, facts_per_case=4)
    four = booked(FIXED, policy).cases["C1"]
    assert (len(four.facts), four.closed) == (4, None)
    fifth = facts(reopened("5h"))[0]
    case, reception = receive(four, fifth, CATALOGUE, policy)
    assert (case.facts, case.closed, reception) == ([], "overflow", "applied")
    assert receive(case, fifth, CATALOGUE, policy) == (case, "refused")
    copy, reception = receive(four, four.facts[0], CATALOGUE, policy)
    assert (copy, reception) == (four, "duplicate")


def overflown(*events: Event, judged: str | None = None) -> Case:
    """Return what is left of C1 that may have one fact less than it is given, judged before the last one came."""
    policy = msgspec.structs.replace(POLICY, facts_per_case=len(events) - 1)
    *known, last = facts(*events)
    case = Case("C1")
    for fact in known:
        case, _ = receive(case, fact, CATALOGUE, policy)
    if judged is not None:
        case = assess(case, CATALOGUE, policy, Clock.at(ms(judged))).case
    return receive(case, last, CATALOGUE, policy)[0]


@pytest.mark.parametrize("judged", [None, "5h"])
def test_all_units_of_a_case_with_too_many_facts_are_counted(judged: str | None) -> None:
    """Judged before, in another batch, or not: it is excluded with all its units (rules 2 and 10)."""
    case = overflown(*FIXED, reopened("5h"), judged=judged)
    signs = Counter(verdict.sign for verdict in case.verdicts)
    assert signs == dict.fromkeys((name for name, sign in CATALOGUE.items() if sign.unit.kind in ("case", "visit")), 1)
    assert {f"{verdict.verdict} {verdict.reason}" for verdict in case.verdicts} == {"excluded overflow"}
    assert {verdict.retracted for verdict in case.verdicts} == ({False} if judged is None else {False, True})


def test_a_case_with_too_many_facts_can_be_erased() -> None:
    """What is left of it names its visits, so it has something to forget: it is erased like any other (rule 10)."""
    case, reception = receive(overflown(*FIXED, reopened("5h")), facts(erased("6h"))[0], CATALOGUE, POLICY)
    assert (case.closed, reception) == ("erased", "applied")
    assert {verdict.reason for verdict in case.verdicts} == {"overflow"}


def test_a_closed_case_is_at_risk_of_nothing() -> None:
    """What it was waiting for is awaited no more (rules 10 and 26)."""
    waiting = [opened(), scheduled("0h", "1h", "2h")]
    casebook = booked(waiting)
    casebook.assess(Clock.at(ms("1h")))
    assert [verdict for verdict in casebook.cases["C1"].verdicts if verdict.due_ms < NEVER_MS]
    casebook.take("C1", facts(erased("1h"))[0])
    for case in (casebook.cases["C1"], overflown(*waiting, reopened("1h"), judged="1h")):
        assert case.verdicts
        assert {verdict.due_ms for verdict in case.verdicts} == {NEVER_MS}


def test_an_erasure_moves_no_clock() -> None:
    """It may be delivered after what is not taken yet: a restart must not judge that by its time (rule 10)."""
    casebook = booked(FIXED)
    casebook.assess(Clock.at(ms("4h")))
    before_ms = casebook.cases["C1"].judged_ms
    casebook.take("C1", facts(erased("90d"))[0])
    assert casebook.cases["C1"].judged_ms == before_ms
    first = booked([erased("90d")])
    first.assess(Clock.at(ms("90d")))
    assert (first.cases["C1"].judged_ms, first.cases["C1"].closed) == (0, "erased")


VOID = voided("3h", "E", named="V")


@pytest.mark.parametrize(
    "takes_it_back",
    [
        resolved("2h", named="V"),
        {**VOID, "at": rfc3339("2h"), "target": "other"},
        corrected("3h30m", "V", {"target": "other"}),
        {**erased("4h", named="E"), "at": rfc3339("150m")},
    ],
    ids=["another event has its id", "another copy of it", "it is led elsewhere", "the erasure came before it"],
)
def test_an_erasure_is_in_force_in_whatever_order_its_void_goes(takes_it_back: Event) -> None:
    """Once its void is none, what was not erased is, as if it had been so from the first (rules 2, 5 and 10)."""
    given = [opened(), VOID, erased("4h", named="E")]
    assert residue(*given, as_of="6h")[0].closed is None
    case, verdicts = residue(*given, takes_it_back, as_of="6h")
    assert (case.closed, case.facts) == ("erased", [])
    at_once, its_verdicts = residue(opened(), VOID, takes_it_back, erased("4h", named="E"), as_of="6h")
    assert (at_once.closed, words(its_verdicts)) == ("erased", words(verdicts))
