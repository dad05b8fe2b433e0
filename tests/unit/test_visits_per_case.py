"""visits_per_case: how often did somebody have to come? (definition B9)."""

from __future__ import annotations

import pytest

from cases import (
    Event,
    arrived,
    cancelled,
    completed,
    judged,
    merged,
    ms,
    of_case,
    opened,
    planned,
    reopened,
    resolved,
    told,
    voided,
)

FIRST = [arrived("1h"), completed("2h", "not_fixed")]
SECOND = [arrived("5h", "V2"), completed("6h", "fixed", "V2")]


@pytest.mark.parametrize(
    ("events", "visits", "at"),
    [
        ([resolved("3h")], 0, "3h"),
        ([*FIRST, resolved("3h")], 1, "3h"),
        (SECOND, 1, "6h"),
        ([*FIRST, *SECOND], 2, "6h"),
        ([*FIRST, *SECOND, resolved("7h")], 2, "6h"),
        ([*FIRST, *SECOND, arrived("7h", "V3")], 2, "6h"),
        ([*SECOND, arrived("7h", "V3"), completed("8h", "fixed", "V3")], 2, "6h"),
        ([*FIRST, *SECOND, reopened("7h"), arrived("8h", "V3"), resolved("9h")], 3, "6h"),
        ([*FIRST, *SECOND, reopened("7h"), arrived("8h", "V3")], 2, "6h"),
        ([*FIRST, *SECOND, voided("7h", "arrived-V1-1h"), voided("7h", "completed-V1-2h", named="v2")], 1, "6h"),
        ([arrived("1h"), completed("2h", "no_access"), *SECOND], 1, "6h"),
        ([planned(purpose="survey"), *FIRST, *SECOND], 1, "6h"),
        ([arrived("1h"), completed("2h", "continued"), planned("3h", "V2", continues="V1"), *SECOND], 1, "6h"),
        ([arrived("5h10m"), completed("6h", "fixed"), *SECOND], 1, "6h"),
        ([completed("6h", "fixed")], 1, "6h"),
        ([*FIRST, *SECOND, cancelled("7h")], 2, "6h"),
    ],
)
def test_attempts_by_the_last_fix_count(events: list[Event], visits: int, at: str) -> None:
    """Attempts of rule 11 that began by the last fix claim count, none is 0; counted at the first fix (B9)."""
    for order in (events, events[::-1]):
        found = judged([opened(), *order], "10h", "visits_per_case")
        assert found is not None
        assert (found.verdict, found.measured, found.anchor_ms) == ("provisional_hit", visits, ms(at))


def test_visits_of_an_absorbed_case_are_the_survivors() -> None:
    """Attempts of a case merged into this one count for it, and that one is left out (B9, rules 9 and 23)."""
    other = of_case("C2", opened("30m", asset_id="A2"), arrived("1h", "V9"), completed("2h", "not_fixed", "V9"))
    events = [opened(), *other, *of_case("C2", merged("3h", "C1")), *SECOND]
    found = judged(events, "9h", "visits_per_case")
    assert found is not None
    assert found.measured == 2
    assert told(events, "9h", "visits_per_case", "C2", case="C2") == "excluded merged"


def test_a_case_that_is_not_fixed_is_not_measured() -> None:
    """Until a fix it is pending, and left out if the case was cancelled without one (B9)."""
    assert told([opened(), *FIRST], "9h", "visits_per_case") == "pending not_fixed_yet"
    assert told([opened(), *FIRST, cancelled("3h")], "9h", "visits_per_case") == "excluded cancelled"
    assert told([*FIRST, *SECOND], "9h", "visits_per_case") == "pending not_opened"
