"""failures_per_asset: how often did it fail of late? (definition B12)."""

from __future__ import annotations

import pytest

from cases import Event, cancelled, judged, merged, of_case, opened, told

OTHERS = [*of_case("C0", opened("-10d")), *of_case("C2", opened("-1d"))]


def failures(*events: Event, as_of: str = "1h") -> str | int:
    """Return what is measured of case C1, else its verdict in words."""
    found = judged([opened(), *events], as_of, "failures_per_asset")
    assert found is not None
    return f"{found.verdict} {found.reason}" if found.measured is None else found.measured


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], 1),
        (OTHERS, 3),
        ([*OTHERS, *of_case("C3", opened("-90d"))], 3),
        ([*OTHERS, *of_case("C3", opened("-89d23h59m59s999ms"))], 4),
        ([*OTHERS, *of_case("C3", opened("30m"))], 3),
        ([*OTHERS, *of_case("C3", opened("-2d", asset_id="A2"))], 3),
        ([*OTHERS, *of_case("C3", opened("-2d", kind="preventive"))], 3),
        ([*OTHERS, *of_case("C3", opened("-2d"), cancelled("-1d"))], 3),
        ([*OTHERS, *of_case("C3", opened("-2d"), merged("-1d", "C0"))], 3),
        ([*OTHERS, cancelled("30m")], "excluded cancelled"),
    ],
)
def test_how_often_the_asset_failed_in_90_days(events: list[Event], expected: str | int) -> None:
    """Its break/fix openings in (opening - 90 d, opening], neither cancelled nor merged, this one included (B12)."""
    assert failures(*events) == expected
    assert failures(*reversed(events)) == expected


def test_what_cannot_be_told() -> None:
    """An unknown asset and a crowded one have no number of failures (B12, rule 8)."""
    assert told([opened(asset_id="N/A")], "1h", "failures_per_asset") == "excluded asset_unknown"
    crowd = [one for number in range(51) for one in of_case(f"X{number}", opened(f"-{number + 1}h"))]
    assert failures(*crowd) == "excluded crowded_asset"


def test_it_is_final_72_hours_after_the_opening() -> None:
    """What is told of the asset by the opening + H counts, and what comes later does not (B12, rules 3, 4 and 9)."""
    for seen, expected in (("3d", 4), ("3d1ms", 3)):
        assert failures(*OTHERS, *of_case("C3", opened("-2d", seen=seen)), as_of="5d") == expected
