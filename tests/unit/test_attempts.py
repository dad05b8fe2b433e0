"""Attempts: which visits try to fix a fault, which belong together, and how the first one ends (rules 11 and 12)."""

from __future__ import annotations

from itertools import permutations

import pytest

from cases import POLICY, Event, arrived, completed, facts, ms, planned, resolved
from cxstream.domain.effective import effective
from cxstream.domain.evidence import Evidence
from cxstream.domain.instant import NEVER_MS
from cxstream.domain.visits import AttemptState, attempt_state, first_attempt
from cxstream.domain.vocabulary import OUTCOMES

FAILED = ("not_fixed", "partial", "no_parts", "diagnosed_only", "temporary", "wrong_skill")


def attempts(*events: Event) -> str:
    """Return the visits of the first attempt, and when each later attempt arrived: "V1+V2, 5h"."""
    evidence = Evidence(effective(facts(*events)))
    attempt = first_attempt(evidence.visits.values(), POLICY)
    if attempt is None:
        return "none"
    later = [f"{(fact.at_ms - ms('0h')) / 3_600_000:.9g}h" for fact in attempt.later_arrivals]
    return ", ".join(["+".join(visit.visit_id for visit in attempt.visits), *later])


def state(*events: Event, at: str | None = None) -> AttemptState:
    """Return how the first attempt stands at a clock reading, by default at the end of time."""
    evidence = Evidence(effective(facts(*events)))
    attempt = first_attempt(evidence.visits.values(), POLICY)
    assert attempt is not None
    return attempt_state(attempt, evidence.resolutions, NEVER_MS if at is None else ms(at), POLICY)


@pytest.mark.parametrize("outcome", [*OUTCOMES, None])
def test_an_attended_visit_is_an_attempt(outcome: str | None) -> None:
    """A visit that arrived, or completed with any outcome but no_access, is an attempt (rule 11)."""
    expected = "none" if outcome == "no_access" else "V1"
    assert attempts(completed("2h", outcome)) == expected
    assert attempts(arrived("1h"), completed("2h", outcome)) == expected
    assert attempts(arrived("1h")) == "V1"
    assert attempts(planned("0h")) == "none"


def test_the_outcome_is_the_last_completions() -> None:
    """Nobody home first and repaired later the same visit is an attempt; the other way round it is none (rule 11)."""
    assert attempts(completed("2h", "no_access"), completed("4h", "fixed")) == "V1"
    assert attempts(completed("2h", "fixed"), completed("4h", "no_access")) == "none"
    assert state(completed("2h", "not_fixed"), completed("4h", "fixed")).state == "fixed"
    assert state(completed("2h", "fixed"), completed("4h", "not_fixed")).state == "failed"


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([planned("0h", purpose="survey")], "none"),
        ([planned("0h", purpose="preventive")], "none"),
        ([planned("0h", purpose="repair")], "V1"),
        ([planned("0h", purpose="survey"), planned("30m", purpose="repair")], "V1"),
        ([planned("0h", purpose="repair"), planned("30m", purpose="survey")], "none"),
        ([planned("0h", purpose="survey"), planned("30m")], "none"),
    ],
    ids=["survey", "preventive", "repair", "last stated repair", "last stated survey", "not stated again"],
)
def test_only_repair_visits_are_attempts(events: list[Event], expected: str) -> None:
    """Surveys and preventive visits are no attempts; the purpose is the last one stated (rule 11)."""
    assert attempts(*events, arrived("1h"), completed("2h", "fixed")) == expected


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        ("1h", "V1+V2"),
        ("2h59m59s", "V1+V2"),
        ("2h59m59s999ms", "V1+V2"),
        ("3h", "V1, 3h"),
        ("5h", "V1, 5h"),
    ],
)
def test_a_crew_is_one_attempt(second: str, expected: str) -> None:
    """Who arrives while another is on site, up to and not including its completion, is of its attempt (rule 11)."""
    assert attempts(arrived("1h"), completed("3h", "not_fixed"), arrived(second, "V2")) == expected


@pytest.mark.parametrize(("second", "expected"), [("13h", "V1+V2"), ("13h1ms", "V1, 13.0000003h")])
def test_on_site_is_at_most_12_hours(second: str, expected: str) -> None:
    """A visit that is never completed, or late, is on site for 12 h from its arrival, inclusive (rule 11)."""
    assert attempts(arrived("1h"), arrived(second, "V2")) == expected
    assert attempts(arrived("1h"), completed("20h", "fixed"), arrived(second, "V2")) == expected


def test_the_arrival_is_the_first_and_the_completion_stands_for_it() -> None:
    """A second arrival of the same visit changes nothing; without an arrival the completion stands for it (rule 11)."""
    assert attempts(arrived("1h"), arrived("30h"), arrived("12h", "V2")) == "V1+V2"
    second = [arrived("2h", "V2"), completed("4h", "fixed", "V2")]
    assert attempts(completed("1h59m59s", "not_fixed"), *second) == "V1, 2h"
    assert attempts(completed("2h", "not_fixed"), *second) == "V2+V1"
    assert attempts(completed("4h", "not_fixed"), *second) == "V2, 4h"


def test_a_crew_joins_by_way_of_a_third() -> None:
    """Visits that do not meet belong to one attempt if a third was there with both, whatever the order (rule 11)."""
    crew = [
        *(arrived("1h"), completed("3h", "not_fixed")),
        *(arrived("2h", "V2"), completed("6h", "not_fixed", "V2")),
        *(arrived("5h", "V3"), completed("7h", "fixed", "V3")),
    ]
    for order in permutations(range(3)):
        assert attempts(*(one for part in order for one in crew[2 * part : 2 * part + 2])) == "V1+V2+V3"
    assert attempts(*crew[:2], *crew[4:]) == "V1, 5h"


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [("continued", "V1+V2"), (None, "V1+V2"), *((outcome, "V1, 30h") for outcome in ("fixed", *FAILED))],
)
def test_a_planned_continuation_is_the_same_attempt(outcome: str | None, expected: str) -> None:
    """A visit that continues one whose outcome is continued or not yet reported is of its attempt (rule 11)."""
    second = [planned("4h", "V2", continues="V1"), arrived("30h", "V2")]
    assert attempts(arrived("1h"), completed("3h", outcome), *second) == expected
    assert attempts(arrived("1h"), *second) == "V1+V2"


def test_continues_is_the_last_one_stated() -> None:
    """A visit continues the one its last change names, and goes on doing so where a change names none (rule 11)."""
    begun = [arrived("1h"), completed("3h", "continued")]
    named = [planned("4h", "V2", continues="V9"), planned("5h", "V2", continues="V1"), planned("6h", "V2")]
    assert attempts(*begun, *named, arrived("30h", "V2")) == "V1+V2"
    assert attempts(*begun, *named, planned("7h", "V2", continues="V9"), arrived("30h", "V2")) == "V1, 30h"


def test_no_access_is_no_attempt_between_two() -> None:
    """A visit nobody let in neither makes nor joins an attempt (rule 11)."""
    visits = [arrived("1h"), completed("2h", "no_access"), arrived("1h30m", "V2"), completed("4h", "fixed", "V2")]
    assert attempts(*visits) == "V2"


@pytest.mark.parametrize(
    ("events", "expected", "at"),
    [
        ([completed("3h", "fixed")], "fixed", "3h"),
        ([completed("3h", "fixed"), arrived("2h", "V2"), completed("5h", "fixed", "V2")], "fixed", "5h"),
        ([completed("3h", "fixed"), arrived("2h", "V2"), completed("5h", "not_fixed", "V2")], "fixed", "3h"),
        ([completed("3h", "not_fixed"), arrived("2h", "V2"), completed("5h", "fixed", "V2")], "fixed", "5h"),
        *(([completed("3h", outcome)], "failed", "3h") for outcome in FAILED),
        ([completed("3h", "partial"), arrived("2h", "V2"), completed("5h", None, "V2")], "failed", "5h"),
        ([completed("3h", "continued")], "open", "3h"),
        ([completed("3h", None)], "open", "3h"),
        ([completed("3h", None), resolved("2h59m59s")], "open", "3h"),
        ([completed("3h", None), resolved("3h")], "fixed", "3h"),
        ([completed("3h", None), resolved("9d")], "fixed", "3h"),
        ([completed("3h", None), arrived("5h", "V2"), resolved("4h59m59s")], "fixed", "3h"),
        ([completed("3h", None), arrived("5h", "V2"), resolved("5h")], "open", "3h"),
        ([completed("3h", "continued"), resolved("4h")], "open", "3h"),
        (
            [completed("3h", None), arrived("2h", "V2"), completed("5h", "continued", "V2"), resolved("6h")],
            "open",
            "5h",
        ),
        (
            [completed("3h", "continued"), arrived("2h", "V2"), completed("5h", None, "V2"), resolved("6h")],
            "fixed",
            "5h",
        ),
        ([], "open", "13h"),
        ([resolved("4h")], "open", "13h"),
    ],
)
def test_how_the_first_attempt_ends(events: list[Event], expected: str, at: str) -> None:
    """Fixed at its latest such completion, else failed, else fixed by the desk where no outcome is told (rule 12)."""
    end = state(arrived("1h"), *events)
    assert (end.state, end.fixed_ms if expected == "fixed" else end.end_ms) == (expected, ms(at))


def test_the_last_completion_of_an_instant_is_the_last_by_event_id() -> None:
    """Two completions at one instant stand in the order of their ids, not of their visits (rules 5 and 12)."""
    crew = [arrived("1h"), arrived("1h", "V2"), resolved("4h")]
    silent_last = [completed("3h", None, "V1", named="b"), completed("3h", "continued", "V2", named="a")]
    continued_last = [completed("3h", None, "V1", named="a"), completed("3h", "continued", "V2", named="b")]
    assert state(*crew, *silent_last).state == "fixed"
    assert state(*crew, *continued_last).state == "open"


def test_of_two_attempts_at_one_instant_the_first_is_by_event_id() -> None:
    """Two attempts that arrive at one instant stand in the order of their facts (rules 5 and 11)."""
    assert attempts(completed("3h", "fixed", "V1", named="a"), completed("3h", "fixed", "V2", named="b")) == "V1, 3h"
    assert attempts(completed("3h", "fixed", "V1", named="b"), completed("3h", "fixed", "V2", named="a")) == "V2, 3h"


@pytest.mark.parametrize(
    ("at", "expected"),
    [("1h", "open"), ("2h", "open"), ("13h", "open"), ("13h1ms", "failed"), ("20h", "failed")],
)
def test_open_while_somebody_is_on_site(at: str, expected: str) -> None:
    """What one reported decides nothing while a colleague is on site, and does once 12 h have passed (rule 12)."""
    crew = [arrived("30m"), completed("2h", "not_fixed"), arrived("1h", "V2")]
    now = state(*crew, at=at)
    assert now.state == expected
    if at == "2h":
        assert now.wakes_ms == ms("13h1ms")


def test_a_second_attempt_ends_the_first() -> None:
    """With a second attempt known to have arrived, nobody is waited for (rule 12)."""
    events = [arrived("1h"), arrived("30m", "V3"), completed("2h", "not_fixed", "V3")]
    assert state(*events, at="12h59m").state == "open"
    ahead = arrived("13h1ms", "V2")  # may be delivered up to 5 min before it happens
    assert state(*events, ahead, at="12h59m").state == "failed"


def test_attempts_that_a_later_visit_joins_are_one_in_order_of_arrival() -> None:
    """A visit that belongs to two attempts makes them one, whose visits come in order of arrival (rule 11)."""
    first = [completed("1h", "continued", visit="V1")]
    second = [completed("2h", "continued", visit="V2")]
    first_goes_on = [planned("0h", visit="V3", continues="V1"), arrived("3h", visit="V3")]
    assert attempts(*first, *second, *first_goes_on) == "V1+V3, 2h"
    joins_both = [planned("0h", visit="V4", continues="V2"), arrived("5h", visit="V4")]
    assert attempts(*first, *second, *first_goes_on, *joins_both) == "V1+V2+V3+V4"
