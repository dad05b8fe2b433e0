"""first_time_fix: did the first visit that tried fix the fault for good? (rules 12 and 13)."""

from __future__ import annotations

import pytest

from cases import (
    Event,
    arrived,
    booked,
    cancelled,
    completed,
    judged,
    ms,
    of_case,
    opened,
    planned,
    reopened,
    resolved,
    told,
    wakes_ms,
)
from cxstream.domain.vocabulary import ADMINISTRATIVE_REOPENS
from cxstream.engine.assess import Clock

FIX = "3h"
WITHIN_R = ("3h1ms", "30d3h")
"""The first and the last instant of (F, F + R]."""
OUTSIDE_R = ("3h", "30d3h1ms")
ATTEMPT = [opened(), arrived("2h"), completed(FIX, "fixed")]
HIT, MISS = "provisional_hit fixed_first_time", "miss"


def verdict(*events: Event, as_of: str = "31d") -> str:
    """Return what first_time_fix says of C1."""
    return told([*events], as_of, "first_time_fix")


@pytest.mark.parametrize("outcome", ["not_fixed", "partial", "no_parts", "diagnosed_only", "temporary", "wrong_skill"])
def test_a_first_attempt_that_failed_is_a_miss(outcome: str) -> None:
    """A first attempt that reports failure is a miss from its end on, whatever a later one achieves (rule 12)."""
    failed = [opened(), arrived("2h"), completed(FIX, outcome)]
    assert verdict(*failed, as_of="4h") == "miss first_attempt_failed"
    assert verdict(*failed, arrived("20h", "V2"), completed("21h", "fixed", "V2")) == "miss first_attempt_failed"


def test_a_first_attempt_that_fixed_is_a_hit() -> None:
    """Fixed is a provisional hit at once and final once nothing can disprove it (rules 4 and 12)."""
    assert verdict(*ATTEMPT, as_of=FIX) == HIT
    assert verdict(*ATTEMPT, as_of="33d3h") == HIT
    assert verdict(*ATTEMPT, as_of="33d3h1ms") == "final_hit fixed_first_time"


@pytest.mark.parametrize(("at", "broken"), [*((at, True) for at in WITHIN_R), *((at, False) for at in OUTSIDE_R)])
def test_what_undoes_a_first_fix(at: str, broken: bool) -> None:  # noqa: FBT001 - a table
    """A second attempt, fault reopen or repeat case in (F, F + R] is a miss, outside of it is none (rules 12, 13)."""
    for reason, events in (
        ("second_attempt", [arrived(at, "V2")]),
        ("reopened", [reopened(at)]),
        ("repeat_case", of_case("C2", opened(at))),
    ):
        assert verdict(*ATTEMPT, *events, as_of="32d") == (f"miss {reason}" if broken else HIT)


@pytest.mark.parametrize("reason", ADMINISTRATIVE_REOPENS)
def test_an_administrative_reopen_undoes_nothing(reason: str) -> None:
    """A reopening for billing or another administrative reason is no fault reopen (rules 7 and 12)."""
    assert verdict(*ATTEMPT, reopened("5h", reason=reason)) == HIT
    assert verdict(*ATTEMPT, reopened("5h", reason="same_fault")) == "miss reopened"


def test_a_visit_that_is_no_attempt_undoes_nothing() -> None:
    """Surveys and visits without access after the fix are no second attempt (rules 11 and 12)."""
    assert verdict(*ATTEMPT, planned("4h", "V2", purpose="survey"), arrived("5h", "V2")) == HIT
    assert verdict(*ATTEMPT, arrived("5h", "V2"), completed("6h", "no_access", "V2")) == HIT


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], "pending no_attempt_yet"),
        ([planned("1h")], "pending no_attempt_yet"),
        ([completed("2h", "no_access")], "pending no_attempt_yet"),
        ([resolved("2h")], "excluded fixed_without_visit"),
        ([resolved("2h", remote=True)], "excluded fixed_without_visit"),
        ([resolved("2h"), cancelled("3h")], "excluded fixed_without_visit"),
        ([cancelled("2h")], "excluded cancelled"),
        ([completed("2h", "no_access"), cancelled("3h")], "excluded cancelled"),
        ([planned("1h", purpose="survey"), arrived("2h"), completed("3h", "fixed")], "pending no_attempt_yet"),
        ([planned("1h", purpose="preventive"), arrived("2h"), completed("3h", "not_fixed")], "pending no_attempt_yet"),
    ],
)
def test_without_an_attempt(events: list[Event], expected: str) -> None:
    """A case without an attempt is excluded once fixed or cancelled, else pending (rule 12)."""
    assert verdict(opened(), *events, as_of="4h") == expected


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], "pending attempt_open"),
        ([completed("3h")], "pending attempt_open"),
        ([completed("3h", "continued")], "pending attempt_open"),
        ([completed("3h", "continued"), arrived("20h", "V2")], "miss second_attempt"),
        ([completed("3h", "continued"), cancelled("20h")], "excluded cancelled"),
        ([completed("3h", "continued"), arrived("20h", "V2"), cancelled("21h")], "miss second_attempt"),
        ([completed("3h", "continued"), resolved("4h")], "pending attempt_open"),
        ([completed("3h"), resolved("3h")], HIT),
        ([completed("3h"), resolved("2h59m59s999ms")], "pending attempt_open"),
        ([completed("3h"), resolved("19h59m59s999ms"), arrived("20h", "V2")], "miss second_attempt"),
        ([completed("3h"), resolved("20h"), arrived("20h", "V2")], "miss second_attempt"),
        ([completed("3h", "not_fixed"), cancelled("20h")], "miss first_attempt_failed"),
    ],
)
def test_an_open_first_attempt(events: list[Event], expected: str) -> None:
    """Open is a miss once a second attempt arrives, excluded if cancelled, else pending (rule 12)."""
    assert verdict(opened(), arrived("2h"), *events, as_of="22h") == expected


def test_a_cancelled_case_is_judged_again_when_nobody_is_on_site_any_more() -> None:
    """Excluded while a colleague is on site, a miss once 12 h have passed: the record knows when (rules 6 and 12)."""
    crew = [opened(), arrived("1h"), completed("3h", "not_fixed"), arrived("2h", "V2"), cancelled("5h")]
    assert verdict(*crew, as_of="14h") == "excluded cancelled"
    assert verdict(*crew, as_of="14h1ms") == "miss first_attempt_failed"
    casebook = booked(crew)
    casebook.assess(Clock.at(ms("6h")))
    assert wakes_ms(casebook.cases["C1"]) == ms("14h1ms")


def test_the_desks_word_after_a_second_attempt_is_no_fix_of_the_first() -> None:
    """A resolution before the second attempt is the fix of the first, at its arrival it is not (rule 12)."""
    silent = [opened(), arrived("2h"), completed("3h"), arrived("20h", "V2")]
    before = judged([*silent, resolved("19h")], "22h", "first_time_fix")
    after = judged([*silent, resolved("20h")], "22h", "first_time_fix")
    assert before is not None
    assert after is not None
    assert (before.reason, after.reason) == ("second_attempt", "second_attempt")
    assert before.seal_ms == ms("33d19h")
    assert after.seal_ms == ms("33d20h")


def test_fixed_counts_at_the_latest_fix_of_the_attempt() -> None:
    """With a crew the fix is its latest fixed completion: what happens before it undoes nothing (rule 12)."""
    crew = [opened(), arrived("1h"), completed("2h", "fixed"), arrived("90m", "V2"), completed("5h", "fixed", "V2")]
    assert verdict(*crew, reopened("4h")) == HIT
    assert verdict(*crew, reopened("5h1ms")) == "miss reopened"
    found = judged(crew, "31d", "first_time_fix")
    assert found is not None
    assert found.anchor_ms == ms("5h")


@pytest.mark.parametrize(
    ("events", "anchor"),
    [
        ([arrived("2h"), completed("3h", "fixed")], "3h"),
        ([arrived("2h"), completed("3h", "not_fixed")], "3h"),
        ([arrived("2h"), completed("3h", "not_fixed"), arrived("150m", "V2"), completed("6h", "no_parts", "V2")], "6h"),
        ([arrived("2h"), completed("3h", "fixed"), reopened("9d")], "3h"),
        ([arrived("2h"), arrived("20h", "V2")], "14h"),
        ([cancelled("4h")], "4h"),
        ([resolved("4h")], "4h"),
    ],
)
def test_a_unit_is_counted_at_its_fix_or_at_the_end_of_the_attempt(events: list[Event], anchor: str) -> None:
    """A hit is counted at the fix, a miss at the end of the first attempt: neither depends on delivery (rule 12)."""
    for late in ({}, {"seen": "2026-03-15T08:00:00Z"}):
        found = judged([opened(), *({**one, **late} for one in events)], "31d", "first_time_fix")
        assert found is not None
        assert found.anchor_ms == ms(anchor)


def test_it_needs_no_opening() -> None:
    """Visits known before the ticket are judged: first_time_fix does not wait for the opening (rules 12 and 23)."""
    assert verdict(arrived("2h"), completed("3h", "not_fixed"), as_of="4h") == "miss first_attempt_failed"
    assert verdict(arrived("2h"), completed("3h", "fixed"), as_of="4h") == HIT
