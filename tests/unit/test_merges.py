"""Merges and replacements: what one case's facts mean for another (rule 9)."""

from __future__ import annotations

from itertools import permutations

import pytest

from cases import (
    POLICY,
    Event,
    arrived,
    booked,
    cancelled,
    completed,
    corrected,
    delivered,
    judged,
    merged,
    ms,
    of_case,
    opened,
    planned,
    reopened,
    resolved,
    rfc3339,
    scheduled,
    told,
    voided,
)
from cxstream.engine.assess import Clock

FIXED = [opened(), arrived("2h"), completed("3h", "fixed"), resolved("4h")]
HIT = "provisional_hit stayed_fixed"


def duplicate(*events: Event, case: str = "C2", into: str = "C1", at: str = "1h", **more: object) -> list[Event]:
    """Return another report, on no asset of its own, that was merged."""
    return of_case(case, opened("30m", asset_id=None), *events, merged(at, into, **more))


def first_time_fix(*events: Event, as_of: str = "20d") -> str:
    """Return what first_time_fix says of C1."""
    return told([*events], as_of, "first_time_fix")


def test_visits_of_an_absorbed_case_are_attempts_of_the_survivor() -> None:
    """An absorbed case's dispatch facts count for the survivor's attempts and fixes (rule 9)."""
    failed = [arrived("40m", "V9"), completed("50m", "not_fixed", "V9")]
    assert first_time_fix(*FIXED, *duplicate(*failed)) == "miss first_attempt_failed"
    assert first_time_fix(*FIXED, *of_case("C2", opened("30m", asset_id=None), *failed)).startswith("provisional_hit")
    fixed_there = duplicate(arrived("40m", "V9"), completed("50m", "fixed", "V9"))
    assert told([opened(), *fixed_there], "2d", "stayed_fixed") == HIT


def test_ticket_facts_of_an_absorbed_case_stay_its_own() -> None:
    """Resolutions, reopenings and cancellations of an absorbed case say nothing of the survivor (rule 9)."""
    assert told([*FIXED, *duplicate(reopened("5h"))], "20d", "stayed_fixed") == HIT
    assert told([opened(), *duplicate(resolved("40m"))], "2d", "stayed_fixed") == "pending not_fixed_yet"
    assert told([opened(), *duplicate(cancelled("40m"))], "2d", "stayed_fixed") == "pending not_fixed_yet"


def test_visits_stay_scored_in_the_case_they_name() -> None:
    """A visit of an absorbed case is a unit of that case alone, judged on that case's facts (rule 9)."""
    visit = [scheduled("30m", "24h", "26h", "V9")]
    events = [*FIXED, *duplicate(*visit)]
    assert told(events, "30h", "on_time_arrival", "V9", case="C2") == "miss no_show"
    assert told(events, "30h", "on_time_arrival", "V9", case="C1") == "no such unit"
    events += of_case("C2", cancelled("2h"))
    assert told(events, "30h", "on_time_arrival", "V9", case="C2") == "excluded case_cancelled"


def test_absorbed_facts_carry_the_later_delivery() -> None:
    """What an absorbed case knew before the merge is known to the survivor from the merge's delivery on (rule 9)."""
    late_merge = duplicate(arrived("40m", "V9"), completed("50m", "not_fixed", "V9"), seen="33d3h1ms")
    in_time = duplicate(arrived("40m", "V9"), completed("50m", "not_fixed", "V9"), seen="33d3h")
    fixed = [one for one in FIXED if one["type"] != "resolved"]
    assert first_time_fix(*fixed, *in_time, as_of="34d") == "miss first_attempt_failed"
    assert first_time_fix(*fixed, *late_merge, as_of="34d") == "final_hit fixed_first_time"
    late_fact = duplicate(arrived("40m", "V9"), completed("50m", "not_fixed", "V9", seen="33d3h1ms"))
    assert first_time_fix(*fixed, *late_fact, as_of="34d") == "final_hit fixed_first_time"


def test_corrections_follow_absorbed_facts() -> None:
    """A correction or a void of an absorbed visit counts for the survivor, too (rules 5 and 9)."""
    failed = [arrived("40m", "V9"), completed("50m", "not_fixed", "V9", named="x")]
    assert first_time_fix(opened(), *duplicate(*failed, corrected("1h", "x", {"outcome": "fixed"}))) == (
        "provisional_hit fixed_first_time"
    )
    assert first_time_fix(opened(), *duplicate(*failed, voided("1h", "x"))) == "pending attempt_open"


def chain(hops: int) -> list[Event]:
    """Return C1, fixed at 3h, and as many cases, each merged into the one before; the last one opened on day 9."""
    events = [*FIXED]
    for hop in range(1, hops + 1):
        began = opened("9d" if hop == hops else "-1h", asset_id=f"A{hop}0")
        events += of_case(f"C{hop + 1}", began, merged(f"{10 * 24 - hop}h", f"C{hop}", named=f"m{hop}"))
    return events


@pytest.mark.parametrize(
    ("hops", "expected"),
    [(1, "miss repeat_case"), (2, "miss repeat_case"), (8, "miss repeat_case"), (9, HIT), (12, HIT)],
)
def test_merges_are_followed_8_hops(hops: int, expected: str) -> None:
    """A case merged through others is absorbed as well, at most 8 merges away, in any order of processing (rule 9)."""
    events = chain(hops)
    assert told(events, "20d", "stayed_fixed") == expected
    assert told(events[::-1], "20d", "stayed_fixed") == expected


def test_a_broken_chain_ends_where_it_is_broken() -> None:
    """Without the merge in the middle nothing beyond it is absorbed (rule 9)."""
    events = chain(3)
    assert told(events, "20d", "stayed_fixed") == "miss repeat_case"
    assert told([one for one in events if one["event_id"] != "m2"], "20d", "stayed_fixed") == HIT
    assert told([*events, *of_case("C3", voided("11d", "m2"))], "20d", "stayed_fixed") == HIT


def test_a_case_behind_a_chain_is_absorbed_from_the_last_merge_on() -> None:
    """Of the merges on a way the last delivered counts, of several ways the earliest complete one (rules 3 and 9)."""
    events = [*FIXED, *of_case("C2", opened("-1h", asset_id="A2"), merged("1h", "C1", seen="34d1h"))]
    behind = of_case("C3", opened("9d", asset_id="A3"), merged("10d", "C2"))
    assert told([*events, *behind], "35d", "stayed_fixed") == "final_hit stayed_fixed"
    direct = of_case("C3", merged("10d", "C1", named="direct"))
    assert told([*events, *behind, *direct], "35d", "stayed_fixed") == "miss repeat_case"


def test_a_second_way_adds_nothing() -> None:
    """A case absorbed by one merge is not absorbed again, later, by way of others: the seal stays (rules 4 and 9)."""
    direct = of_case("C3", opened(asset_id="A3"), planned("1h", "V9"), merged("10d", "C1"), merged("12d", "C2"))
    behind = of_case("C2", opened(asset_id="A2"), merged("20d", "C1"))
    found = judged([opened(), *direct, *behind], "30d", "stayed_fixed")
    assert found is not None
    assert found.seal_ms == ms("100d")


def test_a_cycle_stops() -> None:
    """Cases merged into each other are all merged, none absorbs itself, and judging ends (rule 9)."""
    ring = [
        *of_case("C1", *FIXED, merged("5h", "C2")),
        *of_case("C2", opened(asset_id="A2"), merged("6h", "C3")),
        *of_case("C3", opened(asset_id="A3"), merged("7h", "C1")),
    ]
    for order in permutations([ring[:5], ring[5:7], ring[7:]]):
        events = [one for part in order for one in part]
        assert {told(events, "20d", "stayed_fixed", case, case=case) for case in ("C1", "C2", "C3")} == {
            "excluded merged"
        }
    assert told([*FIXED, merged("5h", "C1")], "20d", "stayed_fixed") == "excluded merged"


def test_a_survivor_need_not_exist() -> None:
    """A merge into a case nobody has heard of is in force all the same (rule 9)."""
    assert told([*FIXED, merged("5h", "C99")], "20d", "stayed_fixed") == "excluded merged"


@pytest.mark.parametrize(
    ("seen", "survivor", "merged_case"),
    [
        ("73h", "miss first_attempt_failed", "excluded merged"),
        ("73h1ms", "provisional_hit fixed_first_time", "excluded cancelled"),
    ],
)
def test_a_merge_after_the_merged_cases_seal_is_in_force_for_nobody(seen: str, survivor: str, merged_case: str) -> None:
    """A merge counts for everyone or no one: by the seal of the merged case folded on its own facts (rules 3 and 9)."""
    reported = of_case(
        "C2",
        opened("30m", asset_id=None),
        planned("35m", "V9"),
        arrived("40m", "V9"),
        completed("50m", "not_fixed", "V9"),
        cancelled("1h"),
        merged("1h", "C1", seen=seen),
    )
    for events in ([*FIXED, *reported], [*reported, *FIXED]):
        assert first_time_fix(*events) == survivor
        assert told(events, "20d", "stayed_fixed", "C2", case="C2") == merged_case


def test_a_repeat_case_merged_too_late_is_still_a_repeat() -> None:
    """A merge that is not in force does not take a case out of the repeats of its asset (rules 9 and 13)."""
    ended = [opened("9d"), resolved("9d1h")]
    assert told([*FIXED, *of_case("C2", *ended, merged("10d", "C3"))], "20d", "stayed_fixed") == HIT
    too_late = of_case("C2", *ended, merged("10d", "C3", seen="42d1h1ms"))
    assert told([*FIXED, *too_late], "43d", "stayed_fixed") == "miss repeat_case"


@pytest.mark.parametrize(
    ("seen", "as_of", "expected"),
    [("33d3h", "33d3h", HIT), ("33d3h1ms", "36d", "miss repeat_case"), ("35d", "36d", "miss repeat_case")],
)
def test_a_void_of_a_merge_after_the_survivors_seal_changes_nothing_there(seen: str, as_of: str, expected: str) -> None:
    """What was delivered after the survivor's seal cannot undo a merge in its sealed verdict (rules 3 and 9)."""
    reported = [
        opened("9d", asset_id="A2"),
        resolved("10d"),
        merged("10d", "C1", named="m"),
        voided("11d", "m", seen=seen),
    ]
    assert told([*FIXED, *of_case("C2", *reported)], as_of, "stayed_fixed") == expected


def test_identity_facts_of_others_do_not_move_the_seal() -> None:
    """A case hears of its neighbours without being kept open by them (rule 9)."""
    alone = judged([opened()], "10d", "stayed_fixed")
    beside = judged([opened(), *of_case("C2", opened("9d"), cancelled("10d"))], "10d", "stayed_fixed")
    assert alone is not None
    assert beside is not None
    assert (alone.seal_ms, beside.seal_ms) == (ms("90d"), ms("90d"))


@pytest.mark.parametrize("placeholder", sorted(POLICY.placeholder_assets))
def test_placeholders_bring_no_cases_together(placeholder: str) -> None:
    """Cases without a known asset, or replaced by none, know nothing of each other (rules 8 and 9)."""
    swapped = [opened(), completed("3h", "fixed", replaced_by=placeholder)]
    casebook = booked([*swapped, *of_case("C2", opened("9d", asset_id=placeholder))])
    assert set(casebook.boards) == {"A1"}
    assert not casebook.cases["C1"].relayed


@pytest.mark.parametrize("late", ["replacement", "repeat", "neither"])
def test_a_replacement_brings_both_cases_together(late: str) -> None:
    """Whichever is delivered first, the replacement or the case on the new asset, both learn of each other (rule 9)."""
    swapped = [opened(), completed("3h", "fixed", replaced_by="A2")]
    other = of_case("C2", opened("9d", asset_id="A2"))
    if late == "replacement":
        swapped[1]["seen"] = rfc3339("10d")
    if late == "repeat":
        other[0]["seen"] = rfc3339("12d")
    for events in ([*swapped, *other], [*other, *swapped]):
        assert told(events, "20d", "stayed_fixed") == "miss repeat_case"
        casebook = booked(events)
        assert set(casebook.cases["C1"].relayed) == {"C2"}
        assert set(casebook.cases["C2"].relayed) == {"C1"}


def test_a_conflicting_copy_of_an_opening_leaves_no_trace_elsewhere() -> None:
    """The copy of an opening that is kept decides whose repeat it is, in any order (rules 1, 2 and 9)."""
    smallest = of_case("C2", opened("9d", asset_id="A2", named="o"))
    larger = of_case("C2", opened("9d", asset_id="A1", named="o", seen="10d"))
    for copies in ([*smallest, *larger], [*larger, *smallest]):
        for events in ([*FIXED, *copies], [*copies, *FIXED]):
            assert told(events, "20d", "stayed_fixed") == HIT


def test_a_conflicting_copy_of_a_merge_leaves_no_trace_elsewhere() -> None:
    """Which copy of a merge is kept decides who absorbs the case, in any order of processing (rules 1, 2 and 9)."""
    reported = of_case("C2", opened("9d", asset_id="A2"))
    smallest = of_case("C2", merged("10d", "C9", named="m"))
    larger = of_case("C2", merged("10d", "C1", named="m", seen="11d"))
    for copies in ([*smallest, *larger], [*larger, *smallest]):
        assert told([*FIXED, *reported, *copies], "20d", "stayed_fixed") == HIT


def test_judging_in_between_changes_nothing() -> None:
    """What cases learn of each other does not depend on when they were judged (rules 2 and 9)."""
    events = delivered(*FIXED, *of_case("C2", opened("9d")))
    at_once, in_between = booked([]), booked([])
    for case_id, fact in events:
        at_once.take(case_id, fact)
        in_between.take(case_id, fact)
        in_between.assess(Clock.at(fact.delivered_ms))
    for casebook in (at_once, in_between):
        casebook.assess(Clock.at(ms("20d")))
    expected = [(one.sign, one.verdict, one.reason) for one in at_once.cases["C1"].verdicts]
    assert [(one.sign, one.verdict, one.reason) for one in in_between.cases["C1"].verdicts] == expected
    retracted = {one.sign for one in in_between.cases["C1"].verdicts if one.retracted}
    assert retracted == {"first_time_fix", "stayed_fixed", "next_step_known"}  # a case that ended needs no next step
    assert not any(one.retracted for one in at_once.cases["C1"].verdicts)
