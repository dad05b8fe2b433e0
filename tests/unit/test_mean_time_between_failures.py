"""mean_time_between_failures: how long was it well since it last failed? (definition B11)."""

from __future__ import annotations

import pytest

from cases import Event, cancelled, judged, merged, ms, of_case, opened, resolved, told, voided

EARLIER = of_case("C0", opened("-10d"))


def gap(*events: Event, as_of: str = "1h") -> str | int:
    """Return the days measured of case C1, else its verdict in words."""
    found = judged([opened(), *events], as_of, "mean_time_between_failures")
    assert found is not None
    assert found.anchor_ms == ms("0h") or found.measured is None
    return f"{found.verdict} {found.reason}" if found.measured is None else found.measured


def days(count: int) -> int:
    """Return so many days in milliseconds."""
    return count * 86_400_000


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        (EARLIER, days(10)),
        ([*EARLIER, *of_case("C2", opened("-3d"))], days(3)),
        ([*EARLIER, *of_case("C2", opened("-3d", asset_id="A2"))], days(10)),
        ([*EARLIER, *of_case("C2", opened("-3d", kind="alert"))], days(10)),
        ([*EARLIER, *of_case("C2", opened("-3d"), cancelled("-2d"))], days(10)),
        ([*EARLIER, *of_case("C2", opened("-3d"), cancelled("-2d", named="c"), voided("-1d", "c"))], days(3)),
        ([*EARLIER, *of_case("C2", opened("-3d"), merged("-2d", "C0"))], days(10)),
        ([*EARLIER, *of_case("C2", opened("-3d"), merged("30m", "C1"))], days(10)),
        ([*EARLIER, *of_case("C2", opened("0h"))], days(10)),
        ([*EARLIER, *of_case("C2", opened("30m"))], days(10)),
        (of_case("C0", opened("-10d"), resolved("-9d")), days(10)),
        (of_case("C0", opened("-362d")), days(362)),
        (of_case("C0", opened("-362d1ms")), "excluded no_earlier_failure"),
        ([], "excluded no_earlier_failure"),
        ([*EARLIER, cancelled("30m")], "excluded cancelled"),
        ([*EARLIER, merged("30m", "C0")], "excluded merged"),
    ],
)
def test_the_gap_to_the_opening_before_on_the_same_asset(events: list[Event], expected: str | int) -> None:
    """Break/fix cases of the asset that were neither cancelled nor merged, within a year less H (B11, rule 13)."""
    assert gap(*events) == expected
    assert gap(*reversed(events)) == expected


def test_an_asset_that_is_not_known_has_no_failures() -> None:
    """Without an asset nothing is measured, nor on one that is a placeholder (B11, rule 8)."""
    for asset_id in (None, "?"):
        events = [opened(asset_id=asset_id), *of_case("C0", opened("-1d", asset_id=asset_id))]
        assert told(events, "1h", "mean_time_between_failures") == "excluded asset_unknown"


def test_a_crowded_asset_is_no_single_piece_of_equipment() -> None:
    """On an asset with too many openings nothing is measured (B11)."""
    others = [one for number in range(51) for one in of_case(f"X{number}", opened(f"-{number + 1}h"))]
    assert gap(*others) == "excluded crowded_asset"


def test_it_is_final_72_hours_after_the_opening() -> None:
    """What is told of the asset by the opening + H counts, and what comes later does not (B11, rules 3, 4 and 9)."""
    for seen, expected in (("3d", days(3)), ("3d1ms", days(10))):
        late = of_case("C2", opened("-3d", seen=seen))
        assert gap(*EARLIER, *late, as_of="5d") == expected
    assert told([opened(), *EARLIER], "3d1ms", "mean_time_between_failures") == "final_hit failed_before"
