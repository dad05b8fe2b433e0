"""one_contact: could the customer leave it to us after one report? Calls and second reports, by the clock (rule 21)."""

from __future__ import annotations

import pytest

from cases import (
    Event,
    booked,
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
    reopened,
    resolved,
    told,
    voided,
    wakes_ms,
)
from cxstream.engine.assess import Clock
from cxstream.vital_signs import CATALOGUE

HIT, CHASED, AGAIN = "provisional_hit left_to_us", "miss chased", "miss reported_again"
OPEN, CALLED_OFF = "pending open", "excluded cancelled"
FIXED = [resolved("10h")]
REOPENED = [resolved("10h"), reopened("20h"), resolved("30h", named="again")]


def contacted(at: str, reason: str | None = None, **more: object) -> Event:
    """Return a contact by the customer; without reason it states none."""
    stated = {} if reason is None else {"reason": reason}
    return event("ticket.customer_contacted", at, **{**stated, **more})  # type: ignore[arg-type]


def absorbed(at: str, case: str = "C2", into: str = "C1", **more: object) -> list[Event]:
    """Return another case of another asset that was opened and merged, into C1 by default."""
    opening = opened(at, **{"asset_id": f"A-{case}", **more})  # type: ignore[arg-type]
    return of_case(case, opening, merged("11h", into, named=f"{case}-merged"))


def verdict(*events: Event, as_of: str = "32d") -> str:
    """Return what one_contact says of a case opened at 0h."""
    return told([opened(), *events], as_of, "one_contact")


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (None, CHASED),
        ("status_chase", CHASED),
        ("repeat_info", CHASED),
        ("new_info", HIT),
        ("reschedule", HIT),
        ("thanks", HIT),
    ],
)
def test_which_contacts_chase(reason: str | None, expected: str) -> None:
    """Asking where we are, repeating oneself and no reason chase; news, another date and thanks do not (rule 21)."""
    assert verdict(*FIXED, contacted("5h", reason)) == expected


@pytest.mark.parametrize(
    "other",
    [
        event("ticket.customer_updated", "5h"),
        event("ticket.acknowledged", "5h"),
        event("ticket.waiting_on_customer", "5h"),
        event("ticket.transferred", "5h"),
        event("dispatch.no_such_type", "5h", visit_id="V1"),
    ],
    ids=lambda other: other["event_id"],
)
def test_what_is_no_contact_by_the_customer(other: Event) -> None:
    """Whatever we do is no chasing (rule 21)."""
    assert verdict(*FIXED, other) == HIT


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("-1s", HIT),
        ("0h", HIT),
        ("1ms", CHASED),
        ("1s", CHASED),
        ("9h59m59s", CHASED),
        ("10h", CHASED),
        ("10h1ms", HIT),
        ("10h1s", HIT),
        ("20h", HIT),
        ("20h1ms", CHASED),
        ("30h", CHASED),
        ("30h1ms", HIT),
    ],
)
def test_a_contact_inside_an_open_span(at: str, expected: str) -> None:
    """A contact strictly after the start of a span and not after its end is a chase, outside it is none (rule 21)."""
    assert verdict(*REOPENED, contacted(at)) == expected


@pytest.mark.parametrize(
    ("at", "expected"), [("9h59m59s", CHASED), ("10h", CHASED), ("10h1ms", CALLED_OFF), ("10h1s", CALLED_OFF)]
)
def test_a_cancellation_ends_a_span(at: str, expected: str) -> None:
    """Until the cancellation a chase counts, it included; later ones do not (rule 21)."""
    assert verdict(cancelled("10h"), contacted(at)) == expected


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([resolved("10h"), reopened("20h", reason="billing"), contacted("25h")], HIT),
        ([resolved("10h"), cancelled("15h"), reopened("20h"), contacted("25h")], HIT),
        ([resolved("10h"), cancelled("20h"), reopened("20h"), contacted("25h")], HIT),
        ([resolved("10h"), reopened("20h"), cancelled("24h"), contacted("25h")], HIT),
        ([resolved("10h"), reopened("20h"), cancelled("25h"), contacted("25h")], CHASED),
        ([resolved("10h"), reopened("20h"), contacted("25h")], CHASED),
        ([*REOPENED, completed("40h", "fixed"), contacted("35h")], HIT),
        ([resolved("0h"), contacted("1ms")], HIT),
        ([resolved("-1h"), contacted("5h")], CHASED),
        ([completed("10h", "not_fixed"), contacted("15h")], CHASED),
        ([planned("1h", purpose="survey"), completed("10h", "fixed"), contacted("15h")], CHASED),
        ([completed("10h", "fixed"), contacted("15h")], HIT),
    ],
)
def test_what_opens_and_ends_a_span(events: list[Event], expected: str) -> None:
    """A fault reopen before any cancellation opens a span, a fix claim or a cancellation ends it (rules 7, 21)."""
    assert verdict(*events) == expected


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], OPEN),
        ([contacted("5h", "thanks")], OPEN),
        ([contacted("5h")], CHASED),
        ([resolved("10h")], HIT),
        ([resolved("10h"), reopened("20h")], OPEN),
        (REOPENED, HIT),
        ([cancelled("10h")], CALLED_OFF),
        ([cancelled("10h"), resolved("12h")], HIT),
        ([resolved("10h"), reopened("20h"), cancelled("25h")], HIT),
        ([cancelled("10h", named="x"), voided("11h", "x")], OPEN),
        ([contacted("5h"), cancelled("10h")], CHASED),
    ],
)
def test_how_a_case_stands(events: list[Event], expected: str) -> None:
    """A chase is a miss at once; else open is pending, fixed a hit, cancelled without a fix excluded (rule 21)."""
    assert verdict(*events) == expected


@pytest.mark.parametrize(
    ("at", "expected"),
    [("-1h", HIT), ("0h", HIT), ("1ms", AGAIN), ("1s", AGAIN), ("9h59m59s", AGAIN), ("10h", AGAIN), ("10h1ms", HIT)],
)
def test_a_case_merged_into_this_one(at: str, expected: str) -> None:
    """A merged case opened after this one and not after its fix is a second report (rules 9 and 21)."""
    assert verdict(*FIXED, *absorbed(at)) == expected
    assert verdict(*absorbed(at), *FIXED) == expected


@pytest.mark.parametrize("at", ["20h30m", "15h", "30h"])
def test_a_second_report_is_of_the_first_outage(at: str) -> None:
    """After the first fix another case is no second report, even while this one is open again (rule 21)."""
    into = of_case("C2", opened(at, asset_id="A2"), merged("31h", "C1"))
    assert verdict(*REOPENED, *into) == HIT


def test_without_a_fix_every_later_case_is_a_second_report() -> None:
    """Nothing is after a fix that never came, even if the case was cancelled (rule 21)."""
    assert verdict(*absorbed("9h")) == AGAIN
    assert verdict(cancelled("5h"), *absorbed("9h")) == AGAIN
    assert verdict(cancelled("5h"), *absorbed("-1h")) == CALLED_OFF


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        (absorbed("5h", asset_id=None), AGAIN),
        (absorbed("5h", asset_id="A1"), AGAIN),
        (absorbed("5h", kind="preventive"), AGAIN),
        ([*absorbed("5h"), *of_case("C2", cancelled("6h"))], AGAIN),
        (of_case("C2", opened("5h")), HIT),
        (absorbed("5h", into="C9"), HIT),
        (absorbed("5h", into="C2"), HIT),
        ([*absorbed("5h"), *of_case("C2", voided("12h", "C2-merged"))], HIT),
        ([*absorbed("5h"), *of_case("C2", corrected("12h", "C2-merged", {"into": "C9"}))], HIT),
        ([*absorbed("5h", into="C9"), *of_case("C2", corrected("12h", "C2-merged", {"into": "C1"}))], AGAIN),
        ([*absorbed("5h"), *of_case("C2", corrected("12h", "opened-5h", {"at": "-1h"}))], HIT),
        (of_case("C2", merged("11h", "C1")), HIT),
        ([*absorbed("5h", into="C3"), *absorbed("-1h", "C3")], AGAIN),
        ([*absorbed("-1h", into="C3"), *absorbed("-1h", "C3")], HIT),
    ],
)
def test_which_cases_are_second_reports(events: list[Event], expected: str) -> None:
    """Any case merged into this one, directly or through others, while the merge stands (rules 9 and 21)."""
    assert verdict(*FIXED, *events) == expected


def test_a_contact_on_an_absorbed_case_is_its_own() -> None:
    """Only this case's contacts chase it; a merged case's ticket facts do not count here (rules 9 and 21)."""
    into = [*absorbed("-1h"), *of_case("C2", contacted("5h"))]
    assert verdict(*FIXED, *into) == HIT


def test_a_fix_of_an_absorbed_case_ends_the_span() -> None:
    """A visit of a merged case fixes this one too: what comes after it is no chase (rules 9 and 21)."""
    into = [*absorbed("-1h"), *of_case("C2", completed("10h", "fixed", "V2"))]
    assert verdict(*into, contacted("10h")) == CHASED
    assert verdict(*into, contacted("10h1ms")) == HIT


def test_the_clock_alone_makes_no_miss() -> None:
    """However long it takes, an open case that nobody chases is pending until it seals (rules 4, 6 and 21)."""
    assert verdict(as_of="90d") == OPEN
    assert verdict(as_of="90d1ms") == "excluded unknown_at_seal:open"
    casebook = booked([opened()], catalogue={"one_contact": CATALOGUE["one_contact"]})
    casebook.assess(Clock.at(ms("1h")))
    assert wakes_ms(casebook.cases["C1"]) == ms("90d1ms")


def test_a_seal_makes_a_hit_final() -> None:
    """At the seal, fix and R and H, a hit is provisional, 1 ms later final (rules 4 and 21)."""
    assert verdict(*FIXED, as_of="33d10h") == HIT
    assert verdict(*FIXED, as_of="33d10h1ms") == "final_hit left_to_us"


@pytest.mark.parametrize(
    ("seen", "missed"), [("33d9h", True), ("33d10h", True), ("33d10h1ms", False), ("33d10h1s", False)]
)
def test_what_reaches_us_late(seen: str, missed: bool) -> None:  # noqa: FBT001 - a table
    """A call or a merge that reaches us by the seal is a miss, later it changes nothing (rules 3, 4, 9 and 21)."""
    hit = "final_hit left_to_us"
    assert verdict(*FIXED, contacted("5h", seen=seen), as_of="40d") == (CHASED if missed else hit)
    into = of_case("C2", opened("5h", asset_id="A2"), merged("11h", "C1", seen=seen))
    assert verdict(*FIXED, *into, as_of="40d") == (AGAIN if missed else hit)


def test_a_fix_that_reaches_us_late_takes_a_miss_back() -> None:
    """A contact that turns out to be after the fix is no chase (rules 2, 3 and 21)."""
    assert verdict(contacted("5h"), as_of="6h") == CHASED
    assert verdict(contacted("5h"), resolved("4h", seen="7h"), as_of="7h") == HIT


def test_corrected_and_voided_contacts() -> None:
    """A corrected reason and a voided contact count as if stated so from the start (rules 5 and 21)."""
    chase = contacted("5h", "status_chase", named="c")
    assert verdict(*FIXED, chase, corrected("6h", "c", {"reason": "thanks"})) == HIT
    assert verdict(*FIXED, chase, corrected("6h", "c", {"at": "10h1ms"})) == HIT
    assert verdict(*FIXED, chase, voided("6h", "c")) == HIT
    assert verdict(*FIXED, contacted("5h", "thanks", named="c"), corrected("6h", "c", {"reason": None})) == CHASED


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([opened(kind="preventive")], "excluded preventive"),
        ([opened(kind="alert")], "excluded alert"),
        ([opened(), merged("7h", "C9")], "excluded merged"),
        ([opened(), cancelled("7h", reason="duplicate")], "excluded duplicate"),
        ([opened(), cancelled("7h")], CHASED),
        ([], "pending not_opened"),
        ([opened(asset_id=None)], CHASED),
    ],
)
def test_which_cases_are_judged(events: list[Event], expected: str) -> None:
    """Only break_fix cases that exist, are not merged and were opened; a withdrawal keeps the miss (rule 23)."""
    assert told([*events, contacted("5h")], "20h", "one_contact") == expected


@pytest.mark.parametrize(
    ("events", "anchor", "reason"),
    [
        (FIXED, "10h", "left_to_us"),
        (REOPENED, "10h", "left_to_us"),
        ([completed("9h", "fixed"), *FIXED], "9h", "left_to_us"),
        ([contacted("7h"), contacted("5h"), contacted("3h", "thanks"), *FIXED], "5h", "chased"),
        ([contacted("7h"), *absorbed("5h"), *FIXED], "5h", "reported_again"),
        ([contacted("4h"), *absorbed("5h"), *FIXED], "4h", "chased"),
        ([*absorbed("6h"), *absorbed("5h", "C3")], "5h", "reported_again"),
        ([*REOPENED, contacted("25h")], "25h", "chased"),
    ],
)
def test_a_case_is_counted_at_the_first_breach_or_the_fix(events: list[Event], anchor: str, reason: str) -> None:
    """A miss is counted at the first chase or second report, a hit at the first fix (rule 21)."""
    found = judged([opened(), *events], "32d", "one_contact")
    assert found is not None
    assert (found.anchor_ms, found.reason) == (ms(anchor), reason)
