"""visit_productive: did the visit move the case? Each outcome, and what was called off under way (rule 17)."""

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
    resolved,
    scheduled,
    told,
    visit_cancelled,
    voided,
)
from cxstream.domain.vocabulary import OUTCOMES

WASTED = ("no_access", "no_parts", "not_fixed", "wrong_skill")
UNDER_WAY, CALLED_OFF, AWAITED = "miss cancelled_under_way", "excluded cancelled", "pending not_completed_yet"


def en_route(at: str, visit: str = "V1", **more: object) -> Event:
    """Return a technician setting out."""
    return event("dispatch.en_route", at, visit_id=visit, **more)  # type: ignore[arg-type]


def verdict(*events: Event, as_of: str = "20h") -> str:
    """Return what visit_productive says of V1."""
    return told([opened("-1h"), *events], as_of, "visit_productive", "V1")


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("purpose", ["repair", "survey", "preventive"])
def test_each_outcome(outcome: str, purpose: str) -> None:
    """no_access, no_parts, not_fixed and wrong_skill waste a visit of any purpose, all others move it (rule 17)."""
    expected = f"miss {outcome}" if outcome in WASTED else f"provisional_hit {outcome}"
    assert verdict(planned(purpose=purpose), arrived("10h"), completed("11h", outcome)) == expected


def test_a_completion_without_outcome_is_a_hit() -> None:
    """A missing outcome accuses nobody, nor does one that a correction takes away (rules 5 and 17)."""
    assert verdict(completed("11h")) == "provisional_hit completed"
    mended = corrected("12h", "c", {"outcome": None})
    assert verdict(completed("11h", "not_fixed", named="c"), mended) == "provisional_hit completed"


def test_the_last_completion_counts() -> None:
    """Completed twice, the later outcome by event time counts, in whatever order they reach us (rules 2 and 17)."""
    first, last = completed("11h", "not_fixed", seen="15h"), completed("12h", "fixed")
    assert verdict(first, last) == verdict(last, first) == "provisional_hit fixed"
    assert verdict(completed("11h", "fixed"), completed("12h", "no_parts")) == "miss no_parts"


@pytest.mark.parametrize(
    ("moved", "expected"),
    [
        (en_route("9h"), UNDER_WAY),
        (arrived("9h"), UNDER_WAY),
        (en_route("9h59m59s999ms"), UNDER_WAY),
        (en_route("10h"), UNDER_WAY),
        (arrived("10h"), UNDER_WAY),
        (en_route("10h1ms"), CALLED_OFF),
        (arrived("10h1s"), CALLED_OFF),
        (event("dispatch.assigned", "9h", visit_id="V1"), CALLED_OFF),
        (en_route("9h", "V2"), CALLED_OFF),
    ],
)
@pytest.mark.parametrize("by", ["customer", "provider"])
def test_cancelled_under_way(moved: Event, expected: str, by: str) -> None:
    """Cancelled after somebody set out or arrived is a miss, whoever cancels; before that it is excluded (rule 17)."""
    assert verdict(planned(), moved, visit_cancelled("10h", by=by)) == expected


@pytest.mark.parametrize(
    ("later", "expected"),
    [
        ([planned("11h")], UNDER_WAY),
        ([rescheduled("11h", "48h", "50h")], UNDER_WAY),
        ([planned("11h"), visit_cancelled("12h")], UNDER_WAY),
        ([planned("11h"), arrived("12h")], UNDER_WAY),
        ([planned("11h"), arrived("12h"), completed("13h", "fixed")], "provisional_hit fixed"),
        ([planned("11h"), arrived("12h"), completed("13h", "no_parts")], "miss no_parts"),
        ([completed("9h30m", "fixed")], "provisional_hit fixed"),
    ],
)
def test_once_cancelled_under_way(later: list[Event], expected: str) -> None:
    """Ever cancelled under way stays a miss until the visit is completed after all (rule 17)."""
    assert verdict(en_route("9h"), visit_cancelled("10h"), *later) == expected


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([planned()], AWAITED),
        ([planned(), en_route("9h")], AWAITED),
        ([planned(), arrived("9h")], AWAITED),
        ([visit_cancelled("1h")], CALLED_OFF),
        ([planned(), visit_cancelled("1h")], CALLED_OFF),
        ([planned(), visit_cancelled("1h"), planned("2h")], AWAITED),
        ([planned(), visit_cancelled("1h"), planned("2h"), en_route("9h")], AWAITED),
        ([planned(), visit_cancelled("1h"), planned("2h"), visit_cancelled("3h")], CALLED_OFF),
        ([planned(), resolved("5h")], AWAITED),
        ([planned(), cancelled("5h")], AWAITED),
    ],
)
def test_without_a_completion(events: list[Event], expected: str) -> None:
    """Last cancelled is excluded, planned again or not cancelled is pending, whatever the case does (rule 17)."""
    assert verdict(*events) == expected


def test_a_voided_visit_is_one_that_nobody_attended() -> None:
    """A visit whose facts are all voided exists and is still awaited (rules 3, 5 and 17)."""
    assert verdict(planned("1h", named="p"), voided("2h", "p")) == AWAITED


def test_the_clock_alone_makes_no_miss() -> None:
    """A visit nobody completes is pending until it seals, then unknown (rules 4, 6 and 17)."""
    window = scheduled("0h", "48h", "50h")
    assert verdict(window, as_of="122h15m") == AWAITED
    assert verdict(window, as_of="122h15m1ms") == "excluded unknown_at_seal:not_completed_yet"


def test_a_seal_makes_a_hit_final() -> None:
    """At the seal, completion and 72 h, a hit is provisional, 1 ms later final (rules 4 and 17)."""
    assert verdict(completed("11h", "fixed"), as_of="83h") == "provisional_hit fixed"
    assert verdict(completed("11h", "fixed"), as_of="83h1ms") == "final_hit fixed"


@pytest.mark.parametrize(("seen", "expected"), [("83h", "provisional_hit fixed"), ("83h1ms", "miss not_fixed")])
def test_a_correction_by_the_seal(seen: str, expected: str) -> None:
    """A wrong outcome is put right by the seal of the visit, not after it (rules 3, 4, 5 and 17)."""
    wrong = completed("11h", "not_fixed", named="c")
    assert verdict(wrong, as_of="80h") == "miss not_fixed"
    assert verdict(wrong, corrected("12h", "c", {"outcome": "fixed"}, seen=seen), as_of=seen) == expected


def test_a_cancelled_visit_without_a_window_is_sealed_by_the_cancellation() -> None:
    """Without window, arrival and completion the last cancellation and 72 h seal the visit (rules 4 and 17)."""
    found = judged([opened("-1h"), planned(), visit_cancelled("1h")], "20h", "visit_productive", "V1")
    assert found is not None
    assert found.seal_ms == ms("73h")


def test_a_void_takes_a_miss_back() -> None:
    """A voided setting out, cancellation or completion never was (rules 5 and 17)."""
    under_way = [planned(), en_route("9h", named="e"), visit_cancelled("10h", named="x")]
    assert verdict(*under_way, voided("11h", "e")) == CALLED_OFF
    assert verdict(*under_way, voided("11h", "x")) == AWAITED
    assert verdict(completed("11h", "not_fixed", named="c"), voided("12h", "c")) == AWAITED


def test_visits_are_judged_apart() -> None:
    """One visit says nothing of another, of the same case or of one merged into it (rules 9 and 17)."""
    other = [completed("11h", "not_fixed", "V2")]
    elsewhere = of_case("C2", opened(asset_id="A2"), completed("11h", "not_fixed"), merged("12h", "C1"))
    assert verdict(planned(), *other, *elsewhere) == AWAITED
    assert told([opened(), planned(), *other], "20h", "visit_productive", "V2") == "miss not_fixed"
    assert told([opened(), *elsewhere], "20h", "visit_productive", "V1", case="C2") == "miss not_fixed"


@pytest.mark.parametrize("kind", ["break_fix", "preventive", "alert"])
def test_visits_of_any_case_are_judged(kind: str) -> None:
    """Kind of case, withdrawal and merge leave a visit sign as it is; a case that never existed does not (rule 23)."""
    visit = [opened("-1h", kind=kind), completed("11h", "not_fixed")]
    for end in ([], [cancelled("12h")], [merged("12h", "C9")]):
        assert told([*visit, *end], "20h", "visit_productive", "V1") == "miss not_fixed"
    mistaken = [*visit, cancelled("12h", reason="created_in_error")]
    assert told(mistaken, "20h", "visit_productive", "V1") == "excluded created_in_error"


@pytest.mark.parametrize(
    ("events", "anchor"),
    [
        ([arrived("10h"), completed("11h", "fixed")], "11h"),
        ([completed("11h", "no_access")], "11h"),
        ([completed("11h", "fixed"), completed("12h", "not_fixed")], "12h"),
        ([en_route("9h"), visit_cancelled("10h")], "10h"),
        ([visit_cancelled("8h"), en_route("9h"), visit_cancelled("10h"), visit_cancelled("11h")], "10h"),
    ],
)
def test_a_visit_is_counted_at_its_completion_or_cancellation(events: list[Event], anchor: str) -> None:
    """A visit is counted at its last completion, else at the first cancellation under way (rule 17)."""
    found = judged([opened("-1h"), *events], "20h", "visit_productive", "V1")
    assert found is not None
    assert found.anchor_ms == ms(anchor)
