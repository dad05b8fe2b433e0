"""reopened: was a fixed case reopened for the fault? (definition B4)."""

from __future__ import annotations

import pytest

from cases import (
    Event,
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

HIT, MISS = "provisional_hit not_reopened", "miss reopened"
FIXED = [opened(asset_id=None), resolved("1h")]


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([opened()], "pending not_fixed_yet"),
        ([opened(), reopened("1h")], "pending not_fixed_yet"),
        ([opened(), cancelled("1h")], "excluded cancelled"),
        ([opened(), planned("1h", purpose="survey"), completed("2h", "fixed")], "pending not_fixed_yet"),
        ([opened(), completed("2h", "fixed")], HIT),
        (FIXED, HIT),
        ([*FIXED, cancelled("2h")], HIT),
        ([*FIXED, reopened("2h"), resolved("3h")], MISS),
        ([*FIXED, reopened("2h", reason="billing")], HIT),
        ([*FIXED, reopened("2h", reason="other")], HIT),
        ([*FIXED, reopened("2h"), voided("3h", "reopened-2h")], HIT),
        ([*FIXED, *of_case("C2", opened("2h"))], HIT),
        ([opened(), resolved("1h"), *of_case("C2", opened("2h"))], HIT),
        ([resolved("1h")], "pending not_opened"),
        ([*FIXED, merged("2h", "C2")], "excluded merged"),
    ],
)
def test_what_is_a_reopening(events: list[Event], expected: str) -> None:
    """Only a fault reopen of a fixed case counts, with or without an asset; repeat cases do not (B4, rule 7)."""
    assert told(events, "31d2h", "reopened") == expected


@pytest.mark.parametrize(("at", "expected"), [("1h", HIT), ("1h1ms", MISS), ("30d1h", MISS), ("30d1h1ms", HIT)])
def test_the_repeat_window(at: str, expected: str) -> None:
    """A fault reopen in (fix, fix + R] is a miss, one at the fix or later than R is none (B4)."""
    assert told([*FIXED, reopened(at)], "31d2h", "reopened") == expected


def test_it_is_counted_at_the_fix_and_final_at_the_seal() -> None:
    """Hit or miss, the case is counted at its earliest fix; nothing changes it after R + H (B4, rule 4)."""
    for events, expected in (([], "final_hit"), ([reopened("2h")], "miss")):
        found = judged([*FIXED, resolved("9h"), *events], "33d1h1m", "reopened")
        assert found is not None
        assert (found.verdict, found.anchor_ms, found.sealed) == (expected, ms("1h"), True)
    assert told([*FIXED, reopened("2h", seen="33d1h1ms")], "34d", "reopened") == "final_hit not_reopened"
