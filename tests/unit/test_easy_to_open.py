"""easy_to_open: was it easy to reach us and report the fault? (definition C1)."""

from __future__ import annotations

import msgspec
import pytest

from cases import POLICY, Event, corrected, event, judged, ms, opened, resolved, told, voided

HIT = "provisional_hit easy"


def contact(at: str) -> Event:
    """Return an inbound contact."""
    return event("ticket.customer_contacted", at)


@pytest.mark.parametrize(
    ("stated", "events", "expected"),
    [
        ({}, [], "excluded first_contact_unknown"),
        ({"transfers": 5}, [], "excluded first_contact_unknown"),
        ({"first_contact_at": "1h1ms"}, [], "excluded opened_before_contact"),
        ({"first_contact_at": "1h"}, [], HIT),
        ({"first_contact_at": "50m"}, [], HIT),
        ({"first_contact_at": "49m59s999ms"}, [], "miss slow"),
        ({"first_contact_at": "55m", "transfers": 1}, [], HIT),
        ({"first_contact_at": "55m", "transfers": 2}, [], "miss passed_around"),
        ({"first_contact_at": "55m"}, [contact("55m")], HIT),
        ({"first_contact_at": "55m"}, [contact("57m")], "miss several_attempts"),
        ({"first_contact_at": "55m"}, [contact("50m")], "miss several_attempts"),
        ({"first_contact_at": "55m"}, [contact("1h")], HIT),
        ({"first_contact_at": "55m"}, [contact("57m"), voided("2h", "customer_contacted-57m")], HIT),
        ({"first_contact_at": "40m"}, [corrected("2h", "opened-1h", {"first_contact_at": "55m"})], HIT),
        ({"first_contact_at": "55m"}, [event("ticket.transferred", "56m"), event("ticket.transferred", "57m")], HIT),
    ],
)
def test_what_is_easy(stated: dict[str, object], events: list[Event], expected: str) -> None:
    """Within 10 min of the first contact, after one hand-over at most, at the first attempt (C1)."""
    assert told([opened("1h", **stated), *events], "3h", "easy_to_open") == expected


def test_its_limits_are_the_policys() -> None:
    """How long and how many hand-overs are constants of the policy (C1)."""
    lenient = msgspec.structs.replace(POLICY, easy_opening_ms=3_600_000, easy_opening_transfers=2)
    slow = [opened("1h", first_contact_at="0h", transfers=2)]
    assert told(slow, "3h", "easy_to_open", policy=lenient) == HIT


def test_it_is_counted_at_the_opening_and_final_72_h_later() -> None:
    """The opening is its anchor, and its seal comes H after it, fixed or not (C1)."""
    easy = [opened("1h", first_contact_at="55m"), resolved("2h")]
    found = judged(easy, "73h1ms", "easy_to_open")
    assert found is not None
    assert (found.verdict, found.anchor_ms, found.seal_ms) == ("final_hit", ms("1h"), ms("73h"))
    late = corrected("73h", "opened-1h", {"transfers": 9}, seen="73h1ms")
    assert told([*easy, late], "80h", "easy_to_open") == "final_hit easy"
    assert told([resolved("2h")], "3h", "easy_to_open") == "pending not_opened"
