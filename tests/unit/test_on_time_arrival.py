"""on_time_arrival: did the technician come in the window we promised? Each clause at its limit and beyond (rule 15)."""

from __future__ import annotations

import pytest

from cases import (
    Event,
    arrived,
    cancelled,
    completed,
    judged,
    ms,
    of_case,
    opened,
    planned,
    reopened,
    rescheduled,
    resolved,
    scheduled,
    told,
    visit_cancelled,
)

PROMISE = [opened("-1h"), scheduled("0h", "48h", "50h")]
HIT, LATE, EARLY = "provisional_hit on_time", "miss late", "miss too_early"
SHORT, AFTER = "miss short_notice_change", "miss changed_after_window"
NO_SHOW = "miss no_show"


def verdict(*events: Event, as_of: str = "60h") -> str:
    """Return what on_time_arrival says of V1 beside a promise made at 0h for 48h to 50h."""
    return told([*PROMISE, *events], as_of, "on_time_arrival", "V1")


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("47h29m59s", EARLY),
        ("47h29m59s999ms", EARLY),
        ("47h30m", HIT),
        ("48h", HIT),
        ("50h", HIT),
        ("50h15m", HIT),
        ("50h15m1ms", LATE),
        ("50h15m1s", LATE),
    ],
)
def test_arrival_in_the_window(at: str, expected: str) -> None:
    """An arrival within [start - 30 min, end + 15 min] is on time, both ends inclusive (rule 15)."""
    assert verdict(arrived(at)) == expected


@pytest.mark.parametrize(("as_of", "expected"), [("50h15m", "pending awaited"), ("50h15m1ms", NO_SHOW)])
def test_a_no_show_needs_no_event(as_of: str, expected: str) -> None:
    """Nothing at all is a miss at the first instant after the grace (rules 6 and 15)."""
    assert verdict(as_of=as_of) == expected


def test_a_no_show_is_taken_back_when_the_arrival_arrives() -> None:
    """A miss by the clock becomes a hit when an arrival in time reaches us before the seal (rules 3 and 15)."""
    late_sync = arrived("49h", seen="70h")
    assert verdict(as_of="60h") == NO_SHOW
    assert verdict(late_sync, as_of="70h") == HIT


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (rescheduled("24h", "72h", "74h"), HIT),
        (rescheduled("24h1ms", "72h", "74h"), SHORT),
        (rescheduled("24h1s", "72h", "74h"), SHORT),
        (rescheduled("24h1s", "72h", "74h", by="provider"), SHORT),
        (rescheduled("24h1s", "72h", "74h", by="customer"), HIT),
        (rescheduled("24h1s", "72h", "74h", agreed=True), HIT),
        (rescheduled("24h1s", "72h", "74h", agreed=False), SHORT),
        (scheduled("24h", "72h", "74h"), HIT),
        (scheduled("24h1s", "72h", "74h"), SHORT),
    ],
)
def test_notice_of_a_change(change: Event, expected: str) -> None:
    """A provider owes 24 h of notice, exactly 24 h is enough; a customer or an agreement needs none (rule 15)."""
    assert verdict(change, arrived("73h"), as_of="80h") == expected


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ("48h", "50h", HIT),
        ("48h30m", "49h30m", HIT),
        ("47h59m59s", "50h", SHORT),
        ("48h", "50h1s", SHORT),
        ("48h30m", "50h1ms", SHORT),
    ],
)
def test_a_window_inside_the_one_it_replaces_needs_no_notice(start: str, end: str, expected: str) -> None:
    """Narrowing a window is no broken promise, moving either end out of it at short notice is (rule 15)."""
    assert verdict(rescheduled("47h", start, end), arrived("49h")) == expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (rescheduled("50h15m", "72h", "74h", by="customer"), HIT),
        (rescheduled("50h15m1ms", "72h", "74h", by="customer"), AFTER),
        (rescheduled("50h15m1s", "72h", "74h", agreed=True), AFTER),
        (rescheduled("50h15m1s", "48h", "50h"), AFTER),
        (rescheduled("50h15m", "72h", "74h"), SHORT),
    ],
)
def test_a_change_after_the_window_comes_too_late(change: Event, expected: str) -> None:
    """Once window and grace have passed, any change is a miss, whoever makes it (rule 15)."""
    assert verdict(change, arrived("73h"), as_of="80h") == expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (visit_cancelled("24h"), "excluded visit_cancelled"),
        (visit_cancelled("24h1ms"), SHORT),
        (visit_cancelled("24h1s", agreed=True), "excluded visit_cancelled"),
        (visit_cancelled("50h15m", by="customer"), "excluded visit_cancelled"),
        (visit_cancelled("50h15m1s", by="customer"), AFTER),
    ],
)
def test_a_cancelled_visit(change: Event, expected: str) -> None:
    """Cancelled with notice, or in time by the customer, is excluded; otherwise the promise was broken (rule 15)."""
    assert verdict(change) == expected


def test_a_broken_promise_stays_broken() -> None:
    """No later window, arrival, cancellation or case cancellation mends a change at short notice (rule 15)."""
    broken = rescheduled("40h", "100h", "102h")
    for later in (
        [],
        [arrived("101h")],
        [rescheduled("41h", "120h", "122h", by="customer"), arrived("121h")],
        [visit_cancelled("45h", by="customer")],
        [visit_cancelled("45h", by="customer"), scheduled("46h", "200h", "202h"), arrived("201h")],
        [cancelled("46h")],
        [resolved("46h")],
        [completed("101h", "no_access")],
    ):
        assert verdict(broken, *later, as_of="210h") == SHORT


def test_notice_is_owed_for_every_window_in_turn() -> None:
    """Each change is held against the window it replaces, not against the first one (rule 15)."""
    moved = rescheduled("10h", "100h", "102h")
    assert verdict(moved, rescheduled("76h", "140h", "142h"), arrived("141h"), as_of="150h") == HIT
    assert verdict(moved, rescheduled("76h1s", "140h", "142h"), arrived("141h"), as_of="150h") == SHORT


def test_what_follows_a_cancellation_replaces_nothing() -> None:
    """A window made after a cancellation owes no notice and cannot come too late (rule 15)."""
    gone = visit_cancelled("10h", by="customer")
    assert verdict(gone, scheduled("47h59m", "48h", "50h"), arrived("49h")) == HIT
    assert verdict(gone, scheduled("55h", "72h", "74h"), arrived("73h"), as_of="80h") == HIT
    assert verdict(gone, scheduled("55h", "72h", "74h"), as_of="80h") == NO_SHOW
    assert verdict(gone, visit_cancelled("60h"), as_of="80h") == "excluded visit_cancelled"


def test_changes_before_the_first_window_do_not_exist() -> None:
    """Nothing was promised yet: cancellations and plans without a window change nothing (rule 15)."""
    assert verdict(visit_cancelled("-30m"), planned("-20m"), arrived("49h")) == HIT
    assert verdict(visit_cancelled("-30m")) == NO_SHOW


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (rescheduled("49h", "100h", "102h", agreed=True), EARLY),
        (rescheduled("49h1ms", "100h", "102h", agreed=True), HIT),
        (rescheduled("49h1s", "100h", "102h"), HIT),
        (scheduled("60h", "60h", "62h"), HIT),
        (visit_cancelled("48h59m59s", by="customer"), "excluded visit_cancelled"),
        (visit_cancelled("48h59m59s"), SHORT),
        (visit_cancelled("49h"), HIT),
        (visit_cancelled("60h"), HIT),
    ],
)
def test_what_happens_at_and_after_arrival(change: Event, expected: str) -> None:
    """Windows made after arrival and cancellations at or after it do not exist (rule 15)."""
    assert verdict(arrived("49h"), change, as_of="70h") == expected


def test_the_promise_is_the_last_window_made() -> None:
    """Last is by event time, in whatever order windows reach us (rules 2 and 15)."""
    moved = rescheduled("10h", "100h", "102h")
    assert verdict(moved, arrived("101h"), as_of="110h") == HIT
    assert verdict(moved, arrived("49h"), as_of="110h") == EARLY
    late = {**PROMISE[1], "seen": moved["at"]}
    assert told([opened(), moved, late, arrived("101h")], "110h", "on_time_arrival", "V1") == HIT


def test_the_first_arrival_counts() -> None:
    """A technician who comes back is not late (rule 15)."""
    assert verdict(arrived("49h"), arrived("53h"), as_of="55h") == HIT
    assert verdict(arrived("47h"), arrived("49h")) == EARLY


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([cancelled("50h15m")], "excluded case_cancelled"),
        ([cancelled("50h15m1ms")], NO_SHOW),
        ([cancelled("50h15m1s")], NO_SHOW),
        ([cancelled("10h"), arrived("49h")], HIT),
        ([cancelled("10h"), arrived("51h")], LATE),
        ([cancelled("10h"), completed("49h", "no_access")], "excluded case_cancelled"),
    ],
)
def test_a_cancelled_case(events: list[Event], expected: str) -> None:
    """A case cancelled by window end and grace awaits nobody; an arrival is judged all the same (rule 15)."""
    assert verdict(*events) == expected


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([resolved("1ms")], "excluded not_needed"),
        ([resolved("0h")], NO_SHOW),
        ([resolved("-30m")], NO_SHOW),
        ([resolved("47h59m59s999ms")], "excluded not_needed"),
        ([resolved("48h")], NO_SHOW),
        ([resolved("-30m"), resolved("20h", named="again")], "excluded not_needed"),
        ([completed("20h", "fixed", "V2")], "excluded not_needed"),
        ([planned("0h", "V2", purpose="survey"), completed("20h", "fixed", "V2")], NO_SHOW),
        ([resolved("10h"), reopened("20h")], NO_SHOW),
        ([resolved("10h"), reopened("47h59m59s999ms")], NO_SHOW),
        ([resolved("10h"), reopened("48h")], "excluded not_needed"),
        ([resolved("10h"), reopened("20h", reason="billing")], "excluded not_needed"),
        ([resolved("10h"), reopened("20h"), resolved("30h", named="again")], "excluded not_needed"),
        ([resolved("10h"), arrived("51h")], LATE),
        ([resolved("10h"), completed("49h", "fixed")], "provisional_hit completed_in_window"),
        ([resolved("10h"), completed("51h", "fixed")], "pending arrival_not_reported"),
        ([resolved("10h"), rescheduled("20h", "48h30m", "49h")], NO_SHOW),
    ],
)
def test_a_visit_that_is_not_needed_any_more(events: list[Event], expected: str) -> None:
    """Fixed between promise and window, not reopened, nobody came: excluded; then nobody broke anything (rule 15)."""
    assert verdict(*events) == expected


@pytest.mark.parametrize("outcome", ["fixed", "no_access", None])
@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("47h29m59s", "pending arrival_not_reported"),
        ("47h30m", "provisional_hit completed_in_window"),
        ("50h15m", "provisional_hit completed_in_window"),
        ("50h15m1ms", "pending arrival_not_reported"),
    ],
)
def test_completed_without_arrival(at: str, expected: str, outcome: str | None) -> None:
    """A completion in the bounds shows that somebody came, no_access included; else we do not know (rule 15)."""
    assert verdict(completed(at, outcome)) == expected


def test_an_unreported_arrival_is_unknown_at_the_seal() -> None:
    """What stays unknown is excluded when the visit seals (rules 4 and 15)."""
    assert verdict(completed("55h", "fixed"), as_of="127h") == "pending arrival_not_reported"
    assert verdict(completed("55h", "fixed"), as_of="127h1ms") == "excluded unknown_at_seal:arrival_not_reported"


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([planned()], "pending no_window_yet"),
        ([planned(), visit_cancelled("1h")], "pending no_window_yet"),
        ([planned(), arrived("49h")], "excluded no_promise"),
        ([planned(), completed("49h", "no_access")], "excluded no_promise"),
        ([arrived("49h"), scheduled("49h1s", "50h", "52h")], "excluded no_promise"),
        ([arrived("49h"), scheduled("49h", "48h", "50h")], HIT),
    ],
)
def test_without_a_window(events: list[Event], expected: str) -> None:
    """Without a window before arrival there is no promise: excluded once somebody came, else pending (rule 15)."""
    assert told([opened(), *events], "60h", "on_time_arrival", "V1") == expected


@pytest.mark.parametrize("purpose", ["repair", "survey", "preventive"])
def test_a_promise_is_a_promise_for_any_purpose(purpose: str) -> None:
    """Visits of any purpose, and of cases of any kind, are judged (rules 15 and 23)."""
    visit = scheduled("0h", "48h", "50h", purpose=purpose)
    for kind in ("break_fix", "preventive", "alert"):
        assert told([opened("-1h", kind=kind), visit], "60h", "on_time_arrival", "V1") == NO_SHOW


def test_visits_are_judged_apart() -> None:
    """One visit's arrival, change or end says nothing of another's, of the same case or not (rule 15)."""
    other = [scheduled("0h", "48h", "50h", "V2"), arrived("49h", "V2"), visit_cancelled("1h", "V3")]
    assert verdict(*other) == NO_SHOW
    assert told([*PROMISE, *other], "60h", "on_time_arrival", "V2") == HIT
    elsewhere = of_case("C2", opened(asset_id="A2"), arrived("49h"))
    assert verdict(*elsewhere) == NO_SHOW


@pytest.mark.parametrize(
    ("events", "anchor"),
    [
        ([arrived("49h")], "49h"),
        ([arrived("52h")], "52h"),
        ([], "50h15m"),
        ([completed("49h", "fixed")], "50h15m"),
        ([rescheduled("40h", "72h", "74h")], "74h15m"),
        ([rescheduled("40h", "72h", "74h"), arrived("73h")], "73h"),
    ],
)
def test_a_visit_is_counted_at_its_arrival_or_the_end_of_the_wait(events: list[Event], anchor: str) -> None:
    """A visit is counted at its arrival, else at window end and grace (rule 15)."""
    found = judged([*PROMISE, *events], "80h", "on_time_arrival", "V1")
    assert found is not None
    assert found.anchor_ms == ms(anchor)
