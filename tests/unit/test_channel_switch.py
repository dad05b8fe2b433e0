"""channel_switch: could the customer stay on one channel? (definition B2)."""

from __future__ import annotations

import pytest

from cases import Event, cancelled, corrected, event, judged, ms, opened, reopened, resolved, told, voided

HIT, MISS = "provisional_hit one_channel", "miss switched"
SINGLE, UNKNOWN = "single_contact", "channel_not_stated"


def verdict(*events: Event, as_of: str = "20h") -> str:
    """Return what the sign says of C1."""
    return told([*events], as_of, "channel_switch")


def contact(at: str, channel: str | None = "phone", **more: object) -> Event:
    """Return an inbound contact."""
    return event("ticket.customer_contacted", at, **{"channel": channel, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("channel", "events", "expected"),
    [
        ("phone", [], f"pending {SINGLE}"),
        ("phone", [contact("1h")], HIT),
        ("phone", [contact("1h", "mail")], MISS),
        ("phone", [contact("1h"), contact("2h", "mail")], MISS),
        ("phone", [contact("1h", "Phone")], MISS),
        ("phone", [contact("1h", "mail", reason="thanks")], MISS),
        ("phone", [contact("1h", None)], f"pending {UNKNOWN}"),
        ("phone", [contact("1h", None), contact("2h")], HIT),
        (None, [contact("1h")], f"pending {UNKNOWN}"),
        (None, [contact("1h"), contact("2h")], HIT),
        (None, [contact("1h"), contact("2h", "chat")], MISS),
        ("iot", [contact("1h")], f"pending {SINGLE}"),
        ("iot", [contact("1h"), contact("2h")], HIT),
        ("phone", [contact("1h", "mail"), voided("2h", "customer_contacted-1h")], f"pending {SINGLE}"),
        ("phone", [contact("1h", "mail"), corrected("2h", "customer_contacted-1h", {"channel": "phone"})], HIT),
        ("phone", [resolved("1h")], f"excluded {SINGLE}"),
        ("phone", [resolved("1h"), reopened("2h")], f"pending {SINGLE}"),
        ("phone", [resolved("1h"), contact("2h", "mail")], MISS),
        ("phone", [contact("1h", None), resolved("2h")], f"excluded {UNKNOWN}"),
        ("phone", [cancelled("1h")], f"excluded {SINGLE}"),
        ("phone", [contact("1h", "mail"), cancelled("2h")], MISS),
    ],
)
def test_which_contacts_count(channel: str | None, events: list[Event], expected: str) -> None:
    """The opening, unless a machine's, and every contact whose channel is stated; two are needed (B2)."""
    assert verdict(opened(channel=channel), *events) == expected


def test_where_it_is_counted() -> None:
    """A hit at the second contact, a miss at the first on another channel (B2)."""
    for events, at in (
        ([contact("1h"), contact("2h")], "1h"),
        ([contact("1h"), contact("2h", "mail"), contact("3h", "chat")], "2h"),
        ([contact("-1h", "mail"), contact("2h", "mail")], "0h"),
    ):
        found = judged([opened(channel="phone"), *events], "9h", "channel_switch")
        assert found is not None
        assert found.anchor_ms == ms(at)


def test_it_is_pending_without_an_opening_and_final_at_the_seal() -> None:
    """Two contacts of a case that was not opened decide nothing; a hit is final at the case's seal (B2, rule 4)."""
    assert verdict(contact("1h"), contact("2h")) == "pending not_opened"
    story = [opened(channel="phone"), contact("1h"), resolved("2h")]
    assert verdict(*story, as_of="33d2h") == HIT
    assert verdict(*story, contact("33d2h", "mail", seen="33d2h1ms"), as_of="33d3h") == "final_hit one_channel"
