"""parts_fill_rate: was the part in the van, or there before the visit? (definition B7)."""

from __future__ import annotations

import pytest

from cases import (
    Event,
    arrived,
    booked,
    cancelled,
    completed,
    corrected,
    event,
    judged,
    ms,
    opened,
    planned,
    told,
    visit_cancelled,
    voided,
    wakes_ms,
)
from cxstream.engine.assess import Clock
from cxstream.vital_signs import CATALOGUE

HIT, MISS = "provisional_hit on_hand", "miss not_on_hand"
AWAITED, ON_SITE = "pending not_attended_yet", "pending on_site"
VISIT = [arrived("10h"), completed("12h", "fixed")]


def part(kind: str, at: str, line: str = "L1", **more: object) -> Event:
    """Return a parts fact of a line."""
    return event(f"parts.{kind}", at, line_id=line, **{"named": f"{kind}-{line}-{at}", **more})  # type: ignore[arg-type]


NEEDED = [opened(), part("required", "1h", qty=2)]


def verdict(*events: Event, as_of: str = "20h", line: str = "L1") -> str:
    """Return what the sign says of a line."""
    return told([*events], as_of, "parts_fill_rate", line)


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], MISS),
        ([part("allocated", "2h")], MISS),
        ([part("allocated", "2h", qty=2)], HIT),
        ([part("allocated", "10h"), part("delivered", "9h")], HIT),
        ([part("delivered", "10h", qty=2)], HIT),
        ([part("delivered", "10h1ms", qty=2)], MISS),
        ([part("delivered", "9h", qty=2, to="depot")], MISS),
        ([part("picked_up", "9h", qty=2)], HIT),
        ([part("allocated", "11h", qty=2)], HIT),
        ([part("allocated", "12h", qty=2)], HIT),
        ([part("allocated", "12h1ms", qty=2)], MISS),
        ([part("allocated", "2h", qty=2), part("returned", "11h", reason="doa")], MISS),
        ([part("allocated", "2h", qty=2), part("returned", "11h", reason="unused")], HIT),
        ([part("allocated", "2h", qty=2), part("cancelled", "9h")], "excluded cancelled"),
        ([part("allocated", "2h", qty=2), part("cancelled", "10h1ms")], HIT),
        ([corrected("2h", "required-L1-1h", {"qty": 0})], HIT),
        ([voided("2h", "required-L1-1h")], "pending not_required"),
        ([part("allocated", "2h", "L2", qty=2)], MISS),
    ],
)
def test_what_fills_a_line(events: list[Event], expected: str) -> None:
    """In full at arrival, or with what was allocated by the end of the visit (B7, by rule 16)."""
    assert verdict(*NEEDED, *events, *VISIT) == expected


SECOND = [arrived("30h", "V2"), completed("31h", "fixed", "V2")]


@pytest.mark.parametrize(
    ("required", "events", "expected"),
    [
        ({"visit_id": "V1"}, VISIT, MISS),
        ({"visit_id": "V2"}, VISIT, AWAITED),
        ({"visit_id": "V2"}, [*VISIT, part("allocated", "20h", qty=2), *SECOND], HIT),
        ({}, [*VISIT, part("allocated", "20h", qty=2), *SECOND], MISS),
        ({}, [completed("12h", "no_access"), part("allocated", "20h", qty=2), *SECOND], HIT),
        ({"visit_id": "V1"}, [completed("12h", "no_access"), part("allocated", "20h", qty=2), *SECOND], HIT),
        ({"visit_id": "V1"}, [completed("12h", "no_access")], AWAITED),
        ({"visit_id": "V1"}, [planned("2h"), visit_cancelled("3h"), *SECOND], MISS),
        ({"visit_id": "V1"}, [planned("2h"), *SECOND], AWAITED),
        ({}, [planned("2h")], AWAITED),
        ({}, [cancelled("3h")], AWAITED),
    ],
)
def test_which_visit_a_line_is_for(required: dict[str, object], events: list[Event], expected: str) -> None:
    """The visit it names, unless nobody was in or it was called off; else the first that was attended (B7)."""
    assert verdict(opened(), part("required", "1h", qty=2, **required), *events, as_of="40h") == expected


@pytest.mark.parametrize(
    ("at", "events", "expected"),
    [
        ("11h", [part("allocated", "11h30m")], HIT),
        ("11h", [], MISS),
        ("12h", [part("allocated", "12h")], HIT),
        ("12h1ms", [part("allocated", "20h")], AWAITED),
        ("12h1ms", [part("allocated", "20h"), *SECOND], HIT),
        ("12h1ms", SECOND, MISS),
    ],
)
def test_a_line_required_during_or_after_a_visit(at: str, events: list[Event], expected: str) -> None:
    """What is found to be needed on site may come from the van; after the visit it is for the next (B7)."""
    required = part("required", at, visit_id="V1", named="need")
    assert verdict(opened(), *VISIT, required, *events, as_of="40h") == expected


def test_while_somebody_is_on_site_it_is_not_decided() -> None:
    """A short line is pending until the visit is completed, at most for the on-site limit, by the clock (B7)."""
    there = [*NEEDED, arrived("10h")]
    assert verdict(*there, as_of="22h") == ON_SITE
    assert verdict(*there, as_of="22h1ms") == MISS
    casebook = booked(there, catalogue={"parts_fill_rate": CATALOGUE["parts_fill_rate"]})
    casebook.assess(Clock.at(ms("11h")))
    assert wakes_ms(casebook.cases["C1"]) == ms("22h") + 1


def test_every_line_is_a_unit_of_its_own() -> None:
    """A required makes a line, whether or not anything else names it; other parts facts make none (B7, rule 3)."""
    events = [opened(), part("required", "1h"), part("required", "1h", "L2"), part("allocated", "2h", "L2"), *VISIT]
    events.append(part("ordered", "1h", "L3"))
    found = {line: verdict(*events, line=line) for line in ("L1", "L2", "L3")}
    assert found == {"L1": MISS, "L2": HIT, "L3": "no such unit"}


def test_what_was_stated_last_is_required() -> None:
    """A line required twice needs what was stated last, by event time (B7)."""
    twice = [opened(), part("required", "3h", qty=1), part("required", "2h", qty=5), part("allocated", "4h"), *VISIT]
    assert verdict(*twice) == HIT


@pytest.mark.parametrize(
    ("events", "anchor", "seal"),
    [
        (VISIT, "10h", "84h"),
        ([part("allocated", "2h", qty=2), *VISIT], "10h", "84h"),
        ([part("required", "11h", qty=3), *VISIT], "11h", "84h"),
    ],
)
def test_where_it_is_counted_and_when_it_is_final(events: list[Event], anchor: str, seal: str) -> None:
    """At arrival, or when it was required if later; final 72 h after the visit (B7)."""
    found = judged([*NEEDED, *events], "85h", "parts_fill_rate", "L1")
    assert found is not None
    assert (found.anchor_ms, found.seal_ms, found.sealed) == (ms(anchor), ms(seal), True)


def test_without_a_visit_it_is_sealed_as_the_case() -> None:
    """A line no visit came for is not knowable, at the latest when the case is abandoned (B7, rule 4)."""
    found = judged(NEEDED, "91d", "parts_fill_rate", "L1")
    assert found is not None
    assert (found.verdict, found.reason) == ("excluded", "unknown_at_seal:not_attended_yet")
