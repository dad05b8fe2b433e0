"""Asset boards: what cases tell each other, how much of it, and what happens where an asset is crowded (rule 9)."""

from __future__ import annotations

from itertools import permutations

import msgspec
import pytest

from cases import (
    POLICY,
    Event,
    arrived,
    booked,
    cancelled,
    completed,
    corrected,
    event,
    merged,
    ms,
    of_case,
    opened,
    reopened,
    resolved,
    scheduled,
    told,
    voided,
)
from cxstream.domain.cases import Case
from cxstream.engine.assess import Clock
from cxstream.engine.boards import LARGEST_BOARD_BYTES, Board, for_boards
from cxstream.kafka.records import write

EVERYTHING = [
    opened(),
    event("ticket.acknowledged", "1h"),
    scheduled("1h", "2h", "3h"),
    arrived("2h"),
    completed("3h", "fixed"),
    event("dispatch.cancelled", "4h", visit_id="V1"),
    event("parts.cancelled", "4h", line_id="L1", named="line-gone"),
    reopened("5h"),
    cancelled("6h"),
    corrected("7h", "opened-0h", {"region": "north"}, named="fix-opened"),
    corrected("7h", "arrived-V1-2h", {"at": "1h"}, named="fix-arrived"),
    voided("8h", "cancelled-6h", named="void-cancelled"),
    voided("8h", "reopened-5h", named="void-reopened"),
]
IDENTITY = {"opened-0h", "cancelled-6h", "fix-opened", "void-cancelled"}
NEIGHBOUR = of_case("C2", opened("9h"))


def heard(events: list[Event], listener: str = "C2", origin: str = "C1") -> set[str]:
    """Return the event ids a case knows of another."""
    return {fact.event_id for fact in booked(events).cases[listener].relayed.get(origin, [])}


def test_cases_of_an_asset_learn_identity_facts_only() -> None:
    """Openings, cancellations, merges and what mends them are told, nothing else, whatever the order (rule 9)."""
    for events in ([*EVERYTHING, *NEIGHBOUR], [*NEIGHBOUR, *EVERYTHING], [*EVERYTHING[::-1], *NEIGHBOUR]):
        assert heard(events) == IDENTITY
    board = booked([*EVERYTHING, *NEIGHBOUR]).boards["A1"]
    assert {origin: {fact.event_id for fact in facts} for origin, facts in board.facts.items()} == {
        "C1": IDENTITY,
        "C2": {"opened-9h"},
    }


def test_cases_of_other_assets_learn_nothing() -> None:
    """What happens on one asset is not told to the cases of another (rule 9)."""
    assert heard([*EVERYTHING, *of_case("C2", opened("9h", asset_id="A2"))]) == set()
    assert heard([*EVERYTHING, *of_case("C2", opened("9h", asset_id=None))]) == set()


def test_relayed_facts_keep_their_delivery() -> None:
    """A case learns of another's facts with their own delivery times (rule 9)."""
    events = [opened(seen="5d"), *of_case("C2", opened("9h", seen="7d"))]
    casebook = booked(events)
    assert [fact.delivered_ms for fact in casebook.cases["C2"].relayed["C1"]] == [ms("5d")]
    assert [fact.delivered_ms for fact in casebook.cases["C1"].relayed["C2"]] == [ms("7d")]


def test_a_merged_case_tells_all_it_knows() -> None:
    """Whether a merge is in force depends on all facts of the merged case, so all of them are told (rule 9)."""
    everything = {str(one["event_id"]) for one in EVERYTHING} | {"merged-10h"}
    for events in ([*EVERYTHING, merged("10h", "C9"), *NEIGHBOUR], [merged("10h", "C9"), *NEIGHBOUR, *EVERYTHING]):
        assert heard(events) == everything
        assert heard(events, listener="C9") == everything


def test_a_merged_case_tells_what_was_merged_into_it() -> None:
    """Facts of a chain arrive whole at its end, each under the case it belongs to, in any order (rule 9)."""
    links = [
        of_case("C2", opened("1h", asset_id="A2"), merged("5h", "C1")),
        of_case("C3", opened("1h", asset_id="A3"), merged("6h", "C2"), arrived("2h", "V9")),
        of_case("C4", opened("1h", asset_id="A4"), merged("7h", "C3")),
    ]
    for order in permutations(links):
        casebook = booked([opened(), *(one for link in order for one in link)])
        assert {origin: len(facts) for origin, facts in casebook.cases["C1"].relayed.items()} == {
            "C2": 2,
            "C3": 3,
            "C4": 2,
        }


@pytest.mark.parametrize("last", [0, 1, 2])
def test_a_corrected_asset_tells_both_boards(last: int) -> None:
    """Cases of the asset first named and of the corrected one both learn of the correction, in any order (rule 9)."""
    moved = [opened(), corrected("1h", "opened-0h", {"asset_id": "A2"}, named="k"), cancelled("2h")]
    others = [*of_case("C2", opened("9h")), *of_case("C3", opened("9h", asset_id="A2"))]
    told_by_c1 = {"opened-0h", "k", "cancelled-2h"}
    for events in ([*moved[last:], *others, *moved[:last]], [*others, *moved[last:], *moved[:last]]):
        assert heard(events, "C2") == heard(events, "C3") == told_by_c1


def test_a_case_tells_nothing_without_an_asset() -> None:
    """Placeholders and missing assets have no board (rules 8 and 9)."""
    for asset_id in ("?", "N/A", "", None):
        assert booked([opened(asset_id=asset_id), cancelled("1h")]).boards == {}
    assert for_boards(Case("C1"), POLICY) == {}


def test_a_copy_that_is_kept_replaces_the_one_that_was_told() -> None:
    """When a smaller copy of an identity fact arrives, board and neighbours hold that one and no other (rules 1, 9)."""
    larger, smaller = opened(named="o", seen="2h"), opened("1m", named="o", seen="1h")
    for events in ([larger, *NEIGHBOUR, smaller], [smaller, *NEIGHBOUR, larger], [larger, smaller, *NEIGHBOUR]):
        casebook = booked(events)
        assert [fact.at_ms for fact in casebook.boards["A1"].facts["C1"]] == [ms("1m")]
        assert [fact.at_ms for fact in casebook.cases["C2"].relayed["C1"]] == [ms("1m")]


SMALL = msgspec.structs.replace(POLICY, crowded_asset_cases=3)


def openings(*at: str, asset_id: str = "A1") -> list[Event]:
    """Return openings of C2, C3 ..."""
    return [one for n, when in enumerate(at, start=2) for one in of_case(f"C{n}", opened(when, asset_id=asset_id))]


FIXED = [opened(), arrived("1h"), completed("2h", "fixed")]


@pytest.mark.parametrize(
    ("at", "crowded"),
    [
        (("10d", "20d"), False),
        (("-1h", "-30m", "-20m"), True),
        (("10d", "20d", "33d"), True),
        (("10d", "20d", "33d1ms"), False),
        (("10d", "33d1ms", "33d2ms"), False),
        (("34d", "35d", "36d"), False),
        (("34d", "35d", "36d", "37d"), True),
    ],
)
def test_when_an_asset_is_crowded(at: tuple[str, ...], crowded: bool) -> None:  # noqa: FBT001 - a table
    """More openings than the limit within R + H, ends inclusive, make an asset crowded, in any order (rule 9)."""
    events = [*FIXED, *openings(*at)]
    for order in (events, events[::-1]):
        board = booked(order, SMALL).boards["A1"]
        assert (board.crowded_since_ms is not None) == crowded


def test_on_a_crowded_asset_repeats_are_not_knowable() -> None:
    """Cases of a crowded asset have no verdict on repeats; what their own facts prove stands (rules 9 and 14)."""
    events = [*FIXED, *openings("-1h", "-30m", "20d")]
    assert told(events, "19d", "stayed_fixed", policy=SMALL) == "excluded crowded_asset"
    assert told(events[:-1], "21d", "stayed_fixed", policy=SMALL) == "provisional_hit stayed_fixed"
    assert told(events, "21d", "first_time_fix", policy=SMALL) == "excluded crowded_asset"
    assert told([*events, reopened("3d")], "21d", "stayed_fixed", policy=SMALL) == "miss reopened"
    assert told([*events, reopened("3d")], "21d", "first_time_fix", policy=SMALL) == "miss reopened"
    assert told([*events, arrived("3d", "V2")], "21d", "first_time_fix", policy=SMALL) == "miss second_attempt"


def test_crowding_counts_from_the_delivery_that_made_it() -> None:
    """A seal before the asset became crowded leaves the verdict as it was (rules 3 and 9)."""
    for seen, expected in (("33d2h", "excluded crowded_asset"), ("33d2h1ms", "final_hit stayed_fixed")):
        late = of_case("C9", opened("1h", seen=seen))
        events = [*FIXED, *openings("-1h", "-30m"), *late]
        for order in (events, events[::-1]):
            assert told(order, "40d", "stayed_fixed", policy=SMALL) == expected


def test_a_repeat_before_the_crowd_is_known_though_the_crowd_was_processed_first() -> None:
    """A unit sealed before its asset was crowded is judged on the repeats of its time, in any order (rules 2 and 9)."""
    repeat = of_case("C7", opened("20d"))
    crowd = openings("40d", "41d", "42d", "43d")
    for events in ([*FIXED, *repeat, *crowd], [*crowd, *repeat, *FIXED], [*crowd, *FIXED, *repeat]):
        assert told(events, "50d", "stayed_fixed", policy=SMALL) == "miss repeat_case"
        assert told(events, "50d", "stayed_fixed", "C2", case="C2", policy=SMALL) == "pending not_fixed_yet"


def test_every_case_is_told_that_its_asset_is_crowded() -> None:
    """Members before and after hear of it, with the earliest delivery that did it, in any order (rules 2 and 9)."""
    events = [*FIXED, *openings("1h", "2h", "3h", "4h"), resolved("5h")]
    since_ms = {ms("3h")}
    for seed_order in ([0, 1, 2, 3, 4, 5, 6, 7], [7, 6, 5, 4, 3, 2, 1, 0], [6, 0, 3, 5, 1, 7, 2, 4]):
        casebook = booked([events[index] for index in seed_order], SMALL)
        assert {case.crowded_since_ms for case in casebook.cases.values()} == since_ms


def test_a_crowded_board_relays_nothing_more() -> None:
    """The work a crowded asset costs is bounded: its cases get one notice instead of each other's facts (rule 9)."""
    casebook = booked([*FIXED, *openings(*(f"{hour}h" for hour in range(1, 12)))], SMALL)
    assert all(len(case.relayed) <= 3 for case in casebook.cases.values())
    casebook.assess(Clock.at(ms("2d")))


def test_a_crowd_of_one_case_is_none() -> None:
    """Copies and corrections of one opening are not several cases (rules 1 and 9)."""
    noisy = [opened(seen=f"{hour}h") for hour in range(5)]
    noisy += [corrected(f"{hour}h", "opened-0h", {"region": "north"}) for hour in range(1, 6)]
    assert booked(noisy, SMALL).boards["A1"].crowded_since_ms is None


def wordy(case: str, count: int) -> list[Event]:
    """Return an opening of A1 and corrections of it with long ids, one a minute."""
    said = [corrected(f"{n}m", "o", {"region": "north"}, named=f"{n:01000}") for n in range(1, count + 1)]
    return of_case(case, opened("3h", named="o", asset_id="A1"), *said)


def test_what_cases_of_an_asset_tell_each_other_is_bounded() -> None:
    """With more text than a board has room for an asset is crowded, and every record stays small (rule 9)."""
    events = [one for number in range(3, 6) for one in wordy(f"C{number}", 400)]
    casebook = booked([*FIXED, *events])
    board = casebook.boards["A1"]
    assert board.crowded_since_ms is not None
    assert len(write(board)) < 2 * LARGEST_BOARD_BYTES
    assert all(len(write(case)) < 4 * LARGEST_BOARD_BYTES for case in casebook.cases.values())
    assert told([*FIXED, *events], "2d", "stayed_fixed") == "excluded crowded_asset"
    assert told([*FIXED, *wordy("C3", 400)], "2d", "stayed_fixed") == "miss repeat_case"


def test_a_board_united_with_a_crowded_one_is_crowded() -> None:
    """Though nothing of what crowded it be left to count (rule 9)."""
    usual = booked([opened()]).boards["A1"]
    crowded = Board("A1", {}, ms("-1h"))
    assert usual.unite(crowded, POLICY) == crowded
    assert crowded.unite(usual, POLICY) == crowded
    later = usual.unite(Board("A1", {}, ms("1h")), POLICY)
    assert (later.facts, later.crowded_since_ms) == (usual.facts, ms("1h"))
    assert later.unite(Board("A1", {}, ms("2h")), POLICY) == later
