"""transfers_per_case: how often was the case handed on? (definition B8)."""

from __future__ import annotations

import pytest

from cases import Event, cancelled, event, judged, ms, opened, reopened, resolved, told, voided

FIX = resolved("5h")


def moved(*at: str) -> list[Event]:
    """Return reassignments."""
    return [event("ticket.transferred", one, to="second_line") for one in at]


@pytest.mark.parametrize(
    ("events", "transfers"),
    [
        ([FIX], 0),
        ([*moved("1h", "2h"), FIX], 2),
        ([*moved("1h", "6h"), FIX], 2),
        ([*moved("1h", "2h"), voided("3h", "transferred-2h"), FIX], 1),
        ([*moved("1h"), FIX, reopened("6h"), *moved("7h", "8h")], 3),
        ([*moved("1h"), cancelled("2h"), FIX], 1),
    ],
)
def test_every_transfer_of_a_fixed_case_counts(events: list[Event], transfers: int) -> None:
    """All of them count, before and after the fix, and those before the opening do not; counted at the fix (B8)."""
    for more in ({}, {"transfers": 7}):
        for order in (events, events[::-1]):
            found = judged([opened(**more), *order], "9h", "transfers_per_case")
            assert found is not None
            assert (found.verdict, found.measured, found.anchor_ms) == ("provisional_hit", transfers, ms("5h"))


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([opened(), *moved("1h")], "pending not_fixed_yet"),
        ([opened(), *moved("1h"), cancelled("2h")], "excluded cancelled"),
        ([*moved("1h"), FIX], "pending not_opened"),
    ],
)
def test_a_case_that_is_not_fixed_is_not_measured(events: list[Event], expected: str) -> None:
    """Until the fix nothing is measured, and a case that was cancelled without one is left out (B8, rule 23)."""
    assert told(events, "9h", "transfers_per_case") == expected
    found = judged(events, "9h", "transfers_per_case")
    assert found is not None
    assert found.measured is None


def test_a_transfer_after_the_seal_does_not_count() -> None:
    """Sealed as the case: fix + R + H (B8, rules 3 and 4)."""
    for seen, transfers in (("33d5h", 1), ("33d5h1ms", 0)):
        late = event("ticket.transferred", "1h", seen=seen, to="second_line")
        found = judged([opened(), FIX, late], "40d", "transfers_per_case")
        assert found is not None
        assert (found.verdict, found.measured) == ("final_hit", transfers)
