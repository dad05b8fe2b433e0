"""parts_lead_time: how long did the part take? (definition B10)."""

from __future__ import annotations

import pytest

from cases import Event, arrived, cancelled, completed, corrected, event, judged, ms, opened, told, voided


def part(kind: str, at: str, line: str = "L1", **more: object) -> Event:
    """Return a parts fact of a line."""
    return event(f"parts.{kind}", at, line_id=line, **{"named": f"{kind}-{line}-{at}", **more})  # type: ignore[arg-type]


NEEDED = part("required", "1h", qty=2)


@pytest.mark.parametrize(
    ("events", "hours", "at"),
    [
        ([part("delivered", "9h", qty=2)], 8, "9h"),
        ([part("delivered", "9h", qty=2, to="van")], 8, "9h"),
        ([part("delivered", "9h", qty=2, to="depot"), part("picked_up", "10h", qty=2)], 9, "10h"),
        ([part("delivered", "9h"), part("delivered", "11h")], 10, "11h"),
        ([part("delivered", "9h"), part("picked_up", "10h"), part("delivered", "11h")], 10, "11h"),
        ([part("allocated", "2h"), part("delivered", "9h")], 8, "9h"),
        ([part("delivered", "9h", qty=2), part("delivered", "20h", qty=2)], 8, "9h"),
        ([part("delivered", "0h", qty=2)], 0, "1h"),
        ([part("required", "5h", qty=2), part("delivered", "9h", qty=2)], 8, "9h"),
        ([part("required", "5h", qty=3), part("delivered", "9h", qty=2), part("delivered", "10h")], 9, "10h"),
        ([part("delivered", "9h", qty=2), part("returned", "10h", reason="doa"), part("delivered", "20h")], 19, "20h"),
        ([part("delivered", "9h", qty=2), part("returned", "10h", reason="unused")], 8, "9h"),
        ([part("delivered", "9h", qty=2), part("cancelled", "9h1ms")], 8, "9h"),
        ([part("delivered", "9h", qty=2), corrected("10h", "delivered-L1-9h", {"at": "8h"})], 7, "8h"),
        ([arrived("2h"), completed("3h", "no_parts"), part("delivered", "9h", qty=2)], 8, "9h"),
    ],
)
def test_the_time_from_the_requirement_until_the_line_was_there(events: list[Event], hours: int, at: str) -> None:
    """From the first `required` to the last piece that was missing, what proved dead or wrong made up for (B10)."""
    for order in (events, events[::-1]):
        found = judged([opened(), NEEDED, *order], "21h", "parts_lead_time", "L1")
        assert found is not None
        assert (found.verdict, found.measured, found.anchor_ms) == ("provisional_hit", hours * 3_600_000, ms(at))
        assert found.seal_ms == ms(at) + 72 * 3_600_000


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], "pending not_there_yet"),
        ([part("ordered", "2h", qty=2), part("shipped", "3h", qty=2)], "pending not_there_yet"),
        ([part("delivered", "9h")], "pending not_there_yet"),
        ([part("delivered", "9h", qty=2, to="depot")], "pending not_there_yet"),
        ([part("delivered", "9h", "L2", qty=2)], "pending not_there_yet"),
        ([part("delivered", "9h", qty=2), part("returned", "10h", reason="wrong")], "pending not_there_yet"),
        ([part("delivered", "9h", qty=2), voided("10h", "required-L1-1h")], "pending not_there_yet"),
        ([part("allocated", "2h", qty=2)], "excluded from_stock"),
        ([part("allocated", "2h", qty=2), part("delivered", "9h", qty=2)], "excluded from_stock"),
        ([part("cancelled", "5h")], "excluded cancelled"),
        ([part("cancelled", "9h"), part("delivered", "9h", qty=2)], "excluded cancelled"),
        ([cancelled("2h", reason="test"), part("delivered", "9h", qty=2)], "excluded test"),
    ],
)
def test_what_is_not_measured(events: list[Event], expected: str) -> None:
    """Not there in full: pending; from stock alone, or cancelled by then: left out (B10, rule 23)."""
    assert told([opened(), NEEDED, *events], "21h", "parts_lead_time", "L1") == expected


def test_a_late_part_is_measured_however_long_after_the_visit_it_comes() -> None:
    """Sealed H after it was there, not with the visit it missed; abandoned with the case (B10, rules 3 and 4)."""
    visit = [arrived("2h"), completed("3h", "no_parts")]
    found = judged([opened(), NEEDED, *visit, part("delivered", "20d", qty=2)], "23d1ms", "parts_lead_time", "L1")
    assert found is not None
    assert (found.verdict, found.measured) == ("final_hit", ms("20d") - ms("1h"))
    late = part("delivered", "19d", qty=2, seen="23d1ms")
    found = judged([opened(), NEEDED, part("delivered", "20d", qty=2), late], "24d", "parts_lead_time", "L1")
    assert found is not None
    assert found.measured == ms("20d") - ms("1h")
    assert told([opened(), NEEDED], "91d1h1ms", "parts_lead_time", "L1") == "excluded unknown_at_seal:not_there_yet"
