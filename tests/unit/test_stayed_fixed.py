"""stayed_fixed: did the fault come back, by a reopening or by another case of the asset? (rules 13 and 14)."""

from __future__ import annotations

import pytest

from cases import (
    POLICY,
    Event,
    arrived,
    cancelled,
    completed,
    corrected,
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

FIXED = [opened(), resolved("1h")]
WITHIN_R = ("1h1ms", "15d", "30d1h")
OUTSIDE_R = ("30m", "1h", "30d1h1ms")
HIT = "provisional_hit stayed_fixed"


def verdict(*events: Event, as_of: str = "32d") -> str:
    """Return what stayed_fixed says of C1."""
    return told([*events], as_of, "stayed_fixed")


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], "pending not_fixed_yet"),
        ([cancelled("2h")], "excluded cancelled"),
        ([completed("2h", "not_fixed")], "pending not_fixed_yet"),
        ([planned("1h", purpose="survey"), completed("2h", "fixed")], "pending not_fixed_yet"),
        ([resolved("2h")], HIT),
        ([resolved("2h", remote=True)], HIT),
        ([resolved("2h"), cancelled("3h")], HIT),
        ([completed("2h", "fixed")], HIT),
        ([arrived("2h"), completed("3h", "fixed"), completed("4h", "not_fixed")], HIT),
    ],
)
def test_what_counts_as_fixed(events: list[Event], expected: str) -> None:
    """A claim of a repair visit or of the desk is a fix, remote ones too; without any it is open (rules 7, 14)."""
    assert verdict(opened(), *events) == expected


@pytest.mark.parametrize("asset_id", [None, "", *sorted(POLICY.placeholder_assets)])
def test_without_an_asset_a_repeat_could_not_be_seen(asset_id: str | None) -> None:
    """A fixed case whose asset is null or a placeholder is excluded, even if it was reopened (rules 8 and 14)."""
    unknown = [opened(asset_id=asset_id), resolved("1h")]
    assert verdict(*unknown) == "excluded asset_unknown"
    assert verdict(*unknown, reopened("2h")) == "excluded asset_unknown"
    assert verdict(resolved("1h")) == "excluded asset_unknown"


def test_the_asset_is_the_corrected_one() -> None:
    """A placeholder corrected to an asset is judged, and the other way round; repeats follow it (rule 8)."""
    correction = corrected("2h", "opened-0h", {"asset_id": "A7"})
    assert verdict(opened(asset_id="?"), resolved("1h"), correction) == HIT
    assert verdict(*FIXED, corrected("2h", "opened-0h", {"asset_id": "N/A"})) == "excluded asset_unknown"
    assert verdict(*FIXED, correction, *of_case("C2", opened("9d", asset_id="A7"))) == "miss repeat_case"
    assert verdict(*FIXED, correction, *of_case("C2", opened("9d", asset_id="A1"))) == HIT


@pytest.mark.parametrize(("at", "broken"), [*((at, True) for at in WITHIN_R), *((at, False) for at in OUTSIDE_R)])
def test_the_repeat_window(at: str, broken: bool) -> None:  # noqa: FBT001 - a table
    """A fault reopen or repeat case in (fix, fix + R] is a miss, one at or before the fix is none (rules 13, 14)."""
    assert verdict(*FIXED, reopened(at)) == ("miss reopened" if broken else HIT)
    assert verdict(*FIXED, *of_case("C2", opened(at))) == ("miss repeat_case" if broken else HIT)


def test_the_window_runs_from_the_earliest_claim() -> None:
    """With several claims the fix is the earliest (rules 7 and 14)."""
    twice = [opened(), completed("1h", "fixed"), resolved("10d")]
    assert verdict(*twice, reopened("30d1h1ms"), as_of="32d") == HIT
    assert verdict(*twice, reopened("9d")) == "miss reopened"
    found = judged(twice, "32d", "stayed_fixed")
    assert found is not None
    assert found.anchor_ms == ms("1h")


@pytest.mark.parametrize(("reason", "broken"), [("same_fault", True), ("billing", False), ("other", False)])
def test_only_a_fault_reopen_counts(reason: str, broken: bool) -> None:  # noqa: FBT001 - a table
    """Administrative reopens leave a fix as it is (rules 7 and 14)."""
    assert verdict(*FIXED, reopened("2d", reason=reason)) == ("miss reopened" if broken else HIT)


@pytest.mark.parametrize(
    ("events", "repeat"),
    [
        ([opened("9d")], True),
        ([opened("9d", kind="preventive")], False),
        ([opened("9d", kind="alert")], False),
        ([opened("9d", asset_id="A2")], False),
        ([opened("9d", asset_id=None)], False),
        ([opened("9d"), cancelled("10d")], False),
        ([opened("9d"), cancelled("10d", reason="duplicate")], False),
        ([opened("9d"), cancelled("10d", named="x"), voided("11d", "x")], True),
        ([opened("9d"), merged("10d", "C3")], False),
        ([opened("9d"), merged("10d", "C3", named="x"), voided("11d", "x")], True),
        ([opened("9d"), merged("10d", "C1")], True),
        ([opened("9d", asset_id="A2"), merged("10d", "C1")], True),
        ([opened("9d", asset_id="A2", kind="alert"), merged("10d", "C1")], False),
        ([opened("-1h"), merged("10d", "C1")], False),
        ([opened("9d", asset_id="A2"), corrected("10d", "opened-9d", {"asset_id": "A1"})], True),
        ([opened("9d"), corrected("10d", "opened-9d", {"asset_id": "A2"})], False),
        ([opened("9d"), corrected("10d", "opened-9d", {"at": "-1h"})], False),
        ([opened("9d"), voided("10d", "opened-9d")], False),
    ],
)
def test_which_case_is_a_repeat(events: list[Event], repeat: bool) -> None:  # noqa: FBT001 - a table
    """A repeat is a break_fix case of the asset, not cancelled nor merged, or one merged into this (rule 13)."""
    for order in (events, events[::-1]):
        assert verdict(*FIXED, *of_case("C2", *order)) == ("miss repeat_case" if repeat else HIT)
        assert verdict(*of_case("C2", *order), *FIXED) == ("miss repeat_case" if repeat else HIT)


def test_a_repeat_of_a_direct_replacement_counts() -> None:
    """A case of the asset that replaced this one is a repeat; one of its own replacement is none (rule 13)."""
    swapped = [opened(), completed("1h", "fixed", replaced_by="A2")]
    assert verdict(*swapped, *of_case("C2", opened("9d", asset_id="A2"))) == "miss repeat_case"
    again = of_case("C2", opened("-2d", asset_id="A2"), completed("2d", "fixed", replaced_by="A3"))
    assert verdict(*swapped, *again, *of_case("C3", opened("9d", asset_id="A3"))) == HIT


def test_a_replacement_works_one_way() -> None:
    """A case of the new asset is no repeat of itself by what happens on the old one (rule 13)."""
    old = of_case("C1", opened("9d"), completed("10d", "fixed", replaced_by="A2"))
    new = of_case("C2", opened(asset_id="A2"), resolved("1h"))
    assert told([*old, *new], "32d", "stayed_fixed", "C2", case="C2") == HIT


def test_a_repeat_is_folded_by_its_own_delivery() -> None:
    """A repeat case that reaches us by the seal counts, one that reaches us after it does not (rules 3 and 9)."""
    for seen, expected in (("33d1h", "miss repeat_case"), ("33d1h1ms", "final_hit stayed_fixed")):
        assert verdict(*FIXED, *of_case("C2", opened("9d", seen=seen)), as_of="34d") == expected


def test_a_repeat_is_itself_judged() -> None:
    """In a chain of three every case but the last is repeated (rules 13 and 14)."""
    chain = [*FIXED]
    for number, day in ((2, 10), (3, 20)):
        chain += of_case(f"C{number}", opened(f"{day}d"), resolved(f"{day}d1h"))
    expected = {"C1": "miss repeat_case", "C2": "miss repeat_case", "C3": HIT}
    assert {case: told(chain, "32d", "stayed_fixed", case, case=case) for case in expected} == expected


@pytest.mark.parametrize("events", [[], [reopened("9d")], of_case("C2", opened("9d"))])
def test_a_unit_is_counted_at_its_fix(events: list[Event]) -> None:
    """Hit or miss, the case is counted at its fix (rule 14)."""
    found = judged([*FIXED, *events], "32d", "stayed_fixed")
    assert found is not None
    assert found.anchor_ms == ms("1h")
