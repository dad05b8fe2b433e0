"""remote_resolution: was it taken care of without a visit? (definition B5)."""

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
    resolved,
    told,
    voided,
)

HIT, MISS = "provisional_hit fixed_remotely", "miss visited"


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], "pending not_fixed_yet"),
        ([cancelled("1h")], "excluded cancelled"),
        ([arrived("1h")], "pending not_fixed_yet"),
        ([resolved("3h")], HIT),
        ([resolved("3h", remote=True)], HIT),
        ([resolved("3h", remote=False)], HIT),
        ([resolved("3h"), cancelled("4h")], HIT),
        ([arrived("1h"), resolved("3h")], MISS),
        ([arrived("1h"), resolved("3h", remote=True)], MISS),
        ([resolved("3h"), arrived("5h")], MISS),
        ([completed("2h", "fixed")], MISS),
        ([completed("2h", "not_fixed"), resolved("3h")], MISS),
        ([planned("1h"), resolved("3h")], HIT),
        ([completed("2h", "no_access"), resolved("3h")], HIT),
        ([planned("1h", purpose="survey"), arrived("2h"), resolved("3h")], HIT),
        ([planned("1h", purpose="preventive"), arrived("2h"), resolved("3h")], HIT),
        ([arrived("1h"), voided("2h", "arrived-V1-1h"), resolved("3h")], HIT),
    ],
)
def test_what_is_remote(events: list[Event], expected: str) -> None:
    """A fixed case without an attempt is; surveys, no_access and the word of the desk do not matter (B5, rule 11)."""
    assert told([opened(), *events], "9h", "remote_resolution") == expected


def test_a_visit_of_an_absorbed_case_is_an_attempt() -> None:
    """Visits of a case merged into this one are attempts of this one (B5, rule 9)."""
    other = of_case("C2", opened("1h"), arrived("2h"), merged("3h", "C1"))
    assert told([opened(), resolved("5h"), *other], "9h", "remote_resolution") == MISS


def test_it_is_counted_at_the_fix() -> None:
    """Hit or miss, the case is counted at the earliest fix (B5)."""
    for events in ([], [arrived("4h")]):
        found = judged([opened(), resolved("3h"), resolved("5h"), *events], "9h", "remote_resolution")
        assert found is not None
        assert found.anchor_ms == ms("3h")
