"""transfers: did the case stay in the same hands? (definition B3)."""

from __future__ import annotations

import msgspec
import pytest

from cases import POLICY, Event, cancelled, event, judged, ms, opened, reopened, resolved, told, voided

HIT, MISS, OPEN = "provisional_hit few_transfers", "miss passed_around", "pending open"


def moved(*at: str) -> list[Event]:
    """Return reassignments."""
    return [event("ticket.transferred", one, to="second_line") for one in at]


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], OPEN),
        (moved("1h", "2h"), OPEN),
        (moved("1h", "2h", "3h"), MISS),
        ([resolved("1h")], HIT),
        ([*moved("1h", "2h"), resolved("3h")], HIT),
        ([*moved("1h", "2h", "3h"), resolved("4h")], MISS),
        ([*moved("1h", "2h"), resolved("3h"), *moved("4h")], MISS),
        ([*moved("1h", "2h", "3h"), voided("4h", "transferred-2h"), resolved("5h")], HIT),
        ([*moved("1h", "2h"), resolved("3h"), reopened("4h")], OPEN),
        ([*moved("1h", "2h"), cancelled("3h")], "excluded cancelled"),
        ([*moved("1h", "2h", "3h"), cancelled("4h")], "miss passed_around"),
    ],
)
def test_how_many_reassignments_are_too_many(events: list[Event], expected: str) -> None:
    """A third reassignment is a miss whenever it comes; two at most are a hit once fixed (B3)."""
    assert told([opened(), *events], "9h", "transfers") == expected
    assert told([opened(transfers=7), *events], "9h", "transfers") == expected


def test_the_limit_is_the_policys() -> None:
    """How many are too many is a constant of the policy (B3)."""
    strict = msgspec.structs.replace(POLICY, most_transfers=0)
    assert told([opened(), *moved("1h")], "9h", "transfers", policy=strict) == MISS


def test_where_it_is_counted() -> None:
    """A hit at the fix, a miss at the third reassignment, whichever were delivered first (B3, rule 2)."""
    for events, at in (
        ([*moved("1h"), resolved("5h")], "5h"),
        ([*moved("4h", "3h", "2h", "1h"), resolved("5h")], "3h"),
    ):
        for order in (events, events[::-1]):
            found = judged([opened(), *order], "9h", "transfers")
            assert found is not None
            assert found.anchor_ms == ms(at)


def test_it_is_pending_without_an_opening() -> None:
    """A case that was not opened is not judged, whatever was reassigned (B3, rule 23)."""
    assert told(moved("1h", "2h", "3h"), "9h", "transfers") == "pending not_opened"
