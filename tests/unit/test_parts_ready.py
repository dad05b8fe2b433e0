"""parts_ready: were the parts there when the technician was? Each clause at its limit and beyond (rule 16)."""

from __future__ import annotations

import pytest

from cases import (
    Event,
    arrived,
    cancelled,
    completed,
    corrected,
    event,
    judged,
    merged,
    ms,
    of_case,
    opened,
    planned,
    rescheduled,
    scheduled,
    told,
    visit_cancelled,
    voided,
)

HIT, MISSING = "provisional_hit on_hand", "miss not_on_hand"
NONE_NEEDED, NO_ACCESS = "excluded no_parts_needed", "excluded no_access"
AWAITED, CALLED_OFF = "pending not_attended_yet", "excluded cancelled"


def part(kind: str, at: str, line: str = "L1", **more: object) -> Event:
    """Return a parts fact of a line."""
    return event(f"parts.{kind}", at, line_id=line, **{"named": f"{kind}-{line}-{at}", **more})  # type: ignore[arg-type]


NEEDED = [opened("-1h"), part("required", "0h", qty=2)]
"""Two pieces of line L1, needed by whichever visit comes first; the visit below arrives at 10h."""


def verdict(*events: Event, as_of: str = "20h") -> str:
    """Return what parts_ready says of V1 in a case that needs two pieces."""
    return told([*NEEDED, *events], as_of, "parts_ready", "V1")


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], MISSING),
        ([part("allocated", "1h")], MISSING),
        ([part("allocated", "1h", qty=2)], HIT),
        ([part("allocated", "1h", qty=3)], HIT),
        ([part("allocated", "1h"), part("allocated", "2h")], HIT),
        ([part("picked_up", "1h", qty=2)], HIT),
        ([part("delivered", "1h", qty=2)], HIT),
        ([part("delivered", "1h", qty=2, to="site")], HIT),
        ([part("delivered", "1h", qty=2, to="van")], HIT),
        ([part("delivered", "1h", qty=2, to="depot")], MISSING),
        ([part("delivered", "1h", to="site"), part("delivered", "2h", to="van")], HIT),
        ([part("delivered", "1h", qty=2, to="depot"), part("picked_up", "2h", qty=2)], HIT),
        ([part("ordered", "1h", qty=2), part("shipped", "2h", qty=2), part("consumed", "3h", qty=2)], MISSING),
        ([part("allocated", "1h", "L2", qty=2)], MISSING),
    ],
)
def test_what_is_on_hand(events: list[Event], expected: str) -> None:
    """Allocated, picked up, delivered to site or van is on hand; a depot, an order, another line is not (rule 16)."""
    assert verdict(*events, arrived("10h")) == expected


@pytest.mark.parametrize(
    ("allocated", "picked_up", "delivered", "expected"),
    [
        (0, 1, 1, MISSING),
        (1, 1, 1, HIT),
        (0, 2, 1, HIT),
        (0, 1, 2, HIT),
        (1, 0, 1, HIT),
        (1, 1, 0, HIT),
        (1, 0, 0, MISSING),
    ],
)
def test_a_piece_delivered_and_picked_up_is_one_piece(
    allocated: int, picked_up: int, delivered: int, expected: str
) -> None:
    """Of picked up and delivered the larger counts, what was allocated is added to it (rule 16)."""
    pieces = {"allocated": allocated, "picked_up": picked_up, "delivered": delivered}
    facts = [part(kind, "1h", qty=qty) for kind, qty in pieces.items()]
    assert verdict(*facts, arrived("10h")) == expected


@pytest.mark.parametrize("kind", ["allocated", "picked_up", "delivered"])
@pytest.mark.parametrize(("at", "expected"), [("9h59m59s", HIT), ("10h", HIT), ("10h1ms", MISSING), ("10h1s", MISSING)])
def test_on_hand_is_at_arrival(kind: str, at: str, expected: str) -> None:
    """What comes at the instant of arrival is there, what comes after it is not (rule 16)."""
    assert verdict(part(kind, at, qty=2), arrived("10h")) == expected


@pytest.mark.parametrize(
    ("at", "more", "expected"),
    [
        ("12h", {"reason": "doa"}, MISSING),
        ("12h", {"reason": "wrong"}, MISSING),
        ("12h", {"reason": "unused"}, HIT),
        ("12h", {}, HIT),
        ("12h1ms", {"reason": "doa"}, HIT),
        ("12h1s", {"reason": "wrong"}, HIT),
        ("9h", {"reason": "doa"}, MISSING),
        ("12h", {"reason": "doa", "line": "L2"}, HIT),
    ],
)
def test_a_dead_or_wrong_part_was_not_on_hand(at: str, more: dict[str, object], expected: str) -> None:
    """What is returned as doa or wrong up to completion is taken off, unused and later returns are not (rule 16)."""
    here = [part("allocated", "1h", qty=2), arrived("10h"), completed("12h", "fixed")]
    assert verdict(*here, part("returned", at, **more)) == expected  # type: ignore[arg-type]


def test_a_dead_part_that_was_one_too_many_harms_nothing() -> None:
    """What is on hand after the returns decides: three less one are two (rule 16)."""
    here = [part("allocated", "1h", qty=3), arrived("10h"), part("returned", "11h", reason="doa")]
    assert verdict(*here, completed("12h", "fixed")) == HIT
    assert verdict(*here, part("returned", "11h30m", reason="doa"), completed("12h", "fixed")) == MISSING


def test_without_a_completion_every_return_counts() -> None:
    """While the visit is not completed nothing ends the returns; the last completion does (rule 16)."""
    here = [part("allocated", "1h", qty=2), arrived("10h"), part("returned", "13h", reason="doa")]
    assert verdict(*here) == MISSING
    assert verdict(*here, completed("12h", "continued")) == HIT
    assert verdict(*here, completed("12h", "continued"), completed("14h", "fixed", named="last")) == MISSING


@pytest.mark.parametrize(
    ("at", "expected"), [("9h59m59s", MISSING), ("10h", MISSING), ("10h1ms", NONE_NEEDED), ("10h1s", NONE_NEEDED)]
)
def test_a_line_is_required_by_arrival(at: str, expected: str) -> None:
    """A line required at or before arrival is needed there, one required later is not (rule 16)."""
    assert told([opened(), part("required", at), arrived("10h")], "20h", "parts_ready", "V1") == expected


@pytest.mark.parametrize(
    ("visit", "expected"), [("V1", MISSING), (None, MISSING), ("V2", NONE_NEEDED), ("V9", NONE_NEEDED)]
)
def test_a_line_that_names_a_visit_is_that_visits(visit: str | None, expected: str) -> None:
    """A line counts for the visit it names; naming none it counts for the next that comes (rule 16)."""
    line = part("required", "0h", visit_id=visit)
    assert told([opened(), line, arrived("10h")], "20h", "parts_ready", "V1") == expected


@pytest.mark.parametrize(
    ("at", "second"),
    [("4h59m59s", NONE_NEEDED), ("5h", NONE_NEEDED), ("5h1ms", MISSING), ("5h1s", MISSING)],
)
def test_a_line_that_names_no_visit_is_the_first_arrivals(at: str, second: str) -> None:
    """Naming no visit a line goes with the first arrival at or after its requirement, not with later ones (rule 16)."""
    events = [opened(), part("required", at), arrived("5h", "V0"), arrived("10h")]
    assert told(events, "20h", "parts_ready", "V1") == second
    assert told(events, "20h", "parts_ready", "V0") == (MISSING if second == NONE_NEEDED else NONE_NEEDED)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ([completed("5h", "not_fixed", "V0")], NONE_NEEDED),
        ([completed("5h", "no_access", "V0")], NONE_NEEDED),
        ([planned("1h", "V0", purpose="survey"), arrived("5h", "V0")], NONE_NEEDED),
        ([arrived("10h", "V0")], MISSING),
        ([arrived("9h59m59s999ms", "V0")], NONE_NEEDED),
        ([arrived("15h", "V0")], MISSING),
        ([planned("1h", "V0")], MISSING),
        ([visit_cancelled("1h", "V0")], MISSING),
        (of_case("C2", opened(asset_id="A2"), arrived("5h", "V0")), MISSING),
    ],
)
def test_what_an_earlier_arrival_is(other: list[Event], expected: str) -> None:
    """Any other visit of the case that came earlier took the line; one that came at once or never did not (rule 16)."""
    assert verdict(*other, arrived("10h")) == expected


def test_a_named_line_is_not_taken_by_an_earlier_arrival() -> None:
    """A line that names its visit waits for it, whoever comes before (rule 16)."""
    events = [opened(), part("required", "0h", visit_id="V1"), arrived("5h", "V0"), arrived("10h")]
    assert told(events, "20h", "parts_ready", "V1") == MISSING
    assert told(events, "20h", "parts_ready", "V0") == NONE_NEEDED


@pytest.mark.parametrize(
    ("at", "expected"),
    [("9h59m59s", NONE_NEEDED), ("10h", NONE_NEEDED), ("10h1ms", MISSING), ("10h1s", MISSING)],
)
def test_a_cancelled_line(at: str, expected: str) -> None:
    """A line cancelled by arrival is not needed, one cancelled later was (rule 16)."""
    assert verdict(part("cancelled", at), arrived("10h")) == expected


def test_one_line_short_is_a_miss() -> None:
    """Every line in full is a hit, one of them short is a miss, a cancelled one is not asked for (rule 16)."""
    both = [part("allocated", "1h", qty=2), part("required", "1h", "L2")]
    assert verdict(*both, arrived("10h")) == MISSING
    assert verdict(*both, part("picked_up", "2h", "L2"), arrived("10h")) == HIT
    assert verdict(*both, part("cancelled", "2h", "L2"), arrived("10h")) == HIT


def test_a_quantity_left_out_is_one() -> None:
    """A requirement, like what answers it, is of one piece unless it states another quantity (rule 16)."""
    one = [opened(), part("required", "0h"), arrived("10h")]
    assert told([*one, part("allocated", "1h")], "20h", "parts_ready", "V1") == HIT
    assert told([*one, part("allocated", "1h", qty=0)], "20h", "parts_ready", "V1") == MISSING


def test_the_last_requirement_gives_the_quantity() -> None:
    """A line required again by arrival is required in its new quantity, later changes do not count (rule 16)."""
    here = [part("allocated", "1h"), arrived("10h")]
    assert verdict(part("required", "2h", qty=1), *here) == HIT
    assert verdict(part("required", "10h1ms", qty=1), *here) == MISSING


def test_a_completion_stands_for_the_arrival() -> None:
    """Without an arrival the last completion stands for it; with one the first arrival counts (rules 11 and 16)."""
    late = part("allocated", "11h", qty=2)
    assert verdict(late, completed("12h", "fixed")) == HIT
    assert verdict(late, completed("10h", "fixed")) == MISSING
    assert verdict(late, completed("10h", "continued"), completed("12h", "fixed")) == HIT
    assert verdict(late, arrived("10h"), arrived("12h"), completed("13h", "fixed")) == MISSING


@pytest.mark.parametrize("purpose", ["repair", "survey", "preventive"])
def test_no_parts_is_a_miss_even_unplanned(purpose: str) -> None:
    """Outcome no_parts is a miss without any line and with every line in full, for any purpose (rule 16)."""
    visit = [planned("0h", purpose=purpose), arrived("10h"), completed("11h", "no_parts")]
    assert told([opened(), *visit], "20h", "parts_ready", "V1") == "miss no_parts"
    assert verdict(part("allocated", "1h", qty=2), *visit) == "miss no_parts"
    assert verdict(*visit, completed("12h", "fixed", named="last")) == MISSING


@pytest.mark.parametrize("events", [[], [arrived("10h")], [part("allocated", "1h", qty=2)], [visit_cancelled("8h")]])
def test_no_access_is_excluded(events: list[Event]) -> None:
    """Nobody let in shows nothing about parts, whatever was on hand (rule 16)."""
    assert verdict(*events, completed("11h", "no_access")) == NO_ACCESS


@pytest.mark.parametrize("outcome", ["fixed", "not_fixed", "partial", "wrong_skill", "continued", None])
def test_other_outcomes_say_nothing_of_parts(outcome: str | None) -> None:
    """Any outcome but no_parts and no_access leaves it to the lines (rule 16)."""
    end = [arrived("10h"), completed("11h", outcome)]
    assert verdict(*end) == MISSING
    assert verdict(part("allocated", "1h", qty=2), *end) == HIT
    assert told([opened(), *end], "20h", "parts_ready", "V1") == NONE_NEEDED


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([planned("1h")], AWAITED),
        ([event("dispatch.en_route", "1h", visit_id="V1")], AWAITED),
        ([planned("1h"), part("allocated", "2h", qty=2)], AWAITED),
        ([planned("1h"), visit_cancelled("2h")], CALLED_OFF),
        ([planned("1h"), visit_cancelled("2h"), planned("3h")], AWAITED),
        ([planned("1h"), visit_cancelled("2h"), rescheduled("3h", "48h", "50h")], AWAITED),
        ([planned("1h"), part("cancelled", "2h")], NONE_NEEDED),
        ([planned("1h"), arrived("5h", "V0")], NONE_NEEDED),
        ([planned("1h"), cancelled("2h")], AWAITED),
        ([visit_cancelled("2h"), arrived("10h")], MISSING),
    ],
)
def test_a_visit_to_come(events: list[Event], expected: str) -> None:
    """Not attended yet it is pending if it has a line and its last change is no cancellation (rule 16)."""
    assert verdict(*events) == expected


def test_a_visit_to_come_without_a_line() -> None:
    """A visit that needs no part, or was cancelled, is excluded before anybody came (rule 16)."""
    assert told([opened(), planned()], "20h", "parts_ready", "V1") == NONE_NEEDED
    assert told([opened(), planned(), visit_cancelled("1h")], "20h", "parts_ready", "V1") == CALLED_OFF
    named = part("required", "0h", visit_id="V2")
    assert told([opened(), planned(), named], "20h", "parts_ready", "V1") == NONE_NEEDED


def test_a_voided_visit_is_one_that_nobody_attended() -> None:
    """A visit whose facts are all voided exists and is still awaited (rules 3, 5 and 16)."""
    assert verdict(planned("1h", named="p"), voided("2h", "p")) == AWAITED


def test_the_clock_alone_makes_no_miss() -> None:
    """Nobody has come: pending until the visit seals, then unknown (rules 4, 6 and 16)."""
    window = scheduled("0h", "48h", "50h")
    assert verdict(window, as_of="122h15m") == AWAITED
    assert verdict(window, as_of="122h15m1ms") == "excluded unknown_at_seal:not_attended_yet"


@pytest.mark.parametrize(
    ("seen", "expected"),
    [("83h", "provisional_hit on_hand"), ("84h", "provisional_hit on_hand"), ("84h1ms", MISSING)],
)
def test_a_part_reported_late(seen: str, expected: str) -> None:
    """What was on hand counts if it reaches us by the seal of the visit, completion and 72 h (rules 3, 4 and 16)."""
    visit = [arrived("10h"), completed("12h", "fixed")]
    assert verdict(*visit, as_of="83h") == MISSING
    assert verdict(*visit, part("allocated", "1h", qty=2, seen=seen), as_of=seen) == expected


def test_a_seal_makes_a_hit_final() -> None:
    """At the seal a hit is provisional, 1 ms later final (rules 4 and 16)."""
    visit = [part("allocated", "1h", qty=2), arrived("10h"), completed("12h", "fixed")]
    assert verdict(*visit, as_of="84h") == HIT
    assert verdict(*visit, as_of="84h1ms") == "final_hit on_hand"


def test_corrected_and_voided_parts() -> None:
    """A corrected quantity and a voided fact count as if stated so from the start (rules 5 and 16)."""
    here = [part("allocated", "1h", named="a"), arrived("10h")]
    assert verdict(*here) == MISSING
    assert verdict(*here, corrected("11h", "a", {"qty": 2})) == HIT
    assert verdict(*here, corrected("11h", "required-L1-0h", {"qty": 1})) == HIT
    assert verdict(*here, voided("11h", "required-L1-0h")) == NONE_NEEDED
    assert verdict(part("allocated", "1h", qty=2, named="x"), arrived("10h"), voided("11h", "x")) == MISSING


def test_parts_of_other_cases_do_not_count() -> None:
    """A visit is judged on its own case's facts, not on those of another case or of one merged into it (rule 9)."""
    there = of_case("C2", opened("1h", asset_id="A2"), part("allocated", "1h", qty=2), merged("2h", "C1"))
    assert verdict(*there, arrived("10h")) == MISSING


@pytest.mark.parametrize("kind", ["break_fix", "preventive", "alert"])
def test_visits_of_any_case_are_judged(kind: str) -> None:
    """Kind of case, withdrawal and merge leave a visit sign as it is; a case that never existed does not (rule 23)."""
    visit = [opened("-1h", kind=kind), part("required", "0h"), arrived("10h")]
    for end in ([], [cancelled("11h")], [merged("11h", "C9")]):
        assert told([*visit, *end], "20h", "parts_ready", "V1") == MISSING
    assert told([*visit, cancelled("11h", reason="test")], "20h", "parts_ready", "V1") == "excluded test"


@pytest.mark.parametrize(
    ("events", "anchor"),
    [
        ([arrived("10h")], "10h"),
        ([arrived("10h"), arrived("11h"), completed("12h", "fixed")], "10h"),
        ([arrived("10h"), completed("12h", "no_parts")], "10h"),
        ([completed("12h", "fixed")], "12h"),
        ([part("allocated", "1h", qty=2), arrived("10h"), completed("12h", "fixed")], "10h"),
    ],
)
def test_a_visit_is_counted_at_its_arrival(events: list[Event], anchor: str) -> None:
    """Hit or miss, the visit is counted at its arrival (rule 16)."""
    found = judged([*NEEDED, *events], "20h", "parts_ready", "V1")
    assert found is not None
    assert found.anchor_ms == ms(anchor)
