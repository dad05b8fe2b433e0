"""proactive_contact: did we know before the customer told us? (definition C5)."""

from __future__ import annotations

import pytest

from cases import Event, cancelled, corrected, event, judged, merged, ms, of_case, opened, resolved, told

HIT, THEIRS, FIRST = "provisional_hit opened_by_machine", "miss opened_by_customer", "miss customer_was_first"


def contact(at: str) -> Event:
    """Return an inbound contact."""
    return event("ticket.customer_contacted", at)


@pytest.mark.parametrize(
    ("stated", "events", "expected"),
    [
        ({}, [], THEIRS),
        ({"channel": "phone"}, [], THEIRS),
        ({"channel": "iot"}, [], HIT),
        ({"kind": "alert"}, [], HIT),
        ({"kind": "alert", "channel": "phone"}, [], HIT),
        ({"kind": "preventive", "channel": "iot"}, [], "excluded preventive"),
        ({"kind": "alert"}, [contact("1h")], HIT),
        ({"kind": "alert"}, [contact("59m")], FIRST),
        ({"kind": "alert", "first_contact_at": "1h"}, [], FIRST),
        ({"kind": "alert", "first_contact_at": "1h1ms"}, [], HIT),
        ({"channel": "iot"}, [corrected("2h", "opened-1h", {"channel": "mail"})], THEIRS),
        ({"kind": "alert"}, [cancelled("2h")], HIT),
        ({"kind": "alert"}, [cancelled("2h", reason="created_in_error")], "excluded created_in_error"),
        ({"kind": "alert"}, [merged("2h", "C2"), *of_case("C2", opened())], "excluded merged"),
    ],
)
def test_who_was_first(stated: dict[str, object], events: list[Event], expected: str) -> None:
    """A machine opened it, and the customer had not contacted us by then; alerts are in scope (C5, rule 23)."""
    assert told([opened("1h", **stated), *events], "3h", "proactive_contact") == expected


def test_alerts_stay_out_of_the_other_case_signs() -> None:
    """That this sign takes alerts changes nothing for the others (rule 23)."""
    alert = [opened("1h", kind="alert"), resolved("2h")]
    for sign in ("first_response", "stayed_fixed", "reopened", "easy_to_open"):
        assert told(alert, "3h", sign) == "excluded alert"


def test_it_is_counted_at_the_opening_and_final_72_h_later() -> None:
    """The opening is its anchor, and its seal comes H after it (C5)."""
    found = judged([opened("1h", kind="alert")], "73h1ms", "proactive_contact")
    assert found is not None
    assert (found.verdict, found.anchor_ms, found.seal_ms) == ("final_hit", ms("1h"), ms("73h"))
    assert told([resolved("1h")], "3h", "proactive_contact") == "pending not_opened"
