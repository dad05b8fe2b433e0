"""The policy of a segment: which constants hold for a case, and that its segment may be corrected (section 3)."""

from __future__ import annotations

import msgspec
import pytest

from cases import (
    POLICY,
    Event,
    arrived,
    booked,
    cancelled,
    corrected,
    delivered,
    event,
    facts,
    judged,
    merged,
    ms,
    of_case,
    opened,
    resolved,
    scheduled,
    told,
)
from cxstream.domain.facts import Fact
from cxstream.domain.instant import DAY_MS, HOUR_MS, MINUTE_MS
from cxstream.domain.policy import SEGMENTS_KEPT, Override, Policy
from cxstream.engine.assess import Clock, fingerprint
from cxstream.offline.explain import explain_case
from cxstream.vital_signs import CATALOGUE, TIER_A


def policy_with(*overrides: tuple[dict[str, str], dict[str, int | dict[str, int]]]) -> Policy:
    """Return the usual policy with these overrides, segment and constants."""
    return msgspec.structs.replace(POLICY, overrides=tuple(Override(*one) for one in overrides))


def opening(**fields: object) -> Fact:
    """Return the opening of a case."""
    (fact,) = facts(opened(**fields))  # type: ignore[arg-type]
    return fact


NORTH, GOLD = {"region": "north"}, {"tier": "gold"}
LATE = policy_with((NORTH, {"late_grace_ms": HOUR_MS}))
VISIT: list[Event] = [scheduled("1h", "20h", "22h"), arrived("22h30m")]


def test_without_segments_the_policy_is_the_same_for_all() -> None:
    """No other object is made, whatever the case."""
    assert POLICY.of(opening(region="north")) is POLICY
    assert POLICY.of(None) is POLICY


def test_of_several_entries_the_last_that_fits_counts() -> None:
    """Entries fit a case that has all they name; constants that only an earlier one names stay as that says."""
    policy = policy_with(
        (NORTH, {"late_grace_ms": 1, "explanation_ms": 1}),
        ({**NORTH, **GOLD}, {"late_grace_ms": 2}),
        ({"priority": "P3"}, {"silence_limit_ms": 3}),
    )
    both = policy.of(opening(region="north", tier="gold"))
    assert (both.late_grace_ms, both.explanation_ms, both.silence_limit_ms) == (2, 1, 3)
    assert policy.of(opening(region="north")).late_grace_ms == 1
    assert policy.of(opening(tier="gold", priority="P1")) == POLICY
    assert both.overrides == ()


def test_of_a_table_by_priority_single_ones_are_replaced() -> None:
    """Priorities that no entry names keep what the policy of all says."""
    policy = policy_with((NORTH, {"first_response_ms": {"P1": 5}}), (GOLD, {"first_response_ms": {"P2": 6}}))
    found = policy.of(opening(region="north", tier="gold")).first_response_ms
    assert found == {"P1": 5, "P2": 6, "P3": 8 * HOUR_MS}
    assert POLICY.first_response_ms["P1"] == HOUR_MS


def test_what_is_not_stated_is_unknown() -> None:
    """A case whose opening states no region, or has not reached us, is in the region `unknown`; no priority is P3."""
    policy = policy_with(({"region": "unknown"}, {"late_grace_ms": 7}), ({"priority": "P3"}, {"explanation_ms": 8}))
    assert (policy.of(opening()).late_grace_ms, policy.of(opening()).explanation_ms) == (7, 8)
    assert (policy.of(None).late_grace_ms, policy.of(None).explanation_ms) == (7, POLICY.explanation_ms)


def test_resolved_policies_are_kept_in_bounds() -> None:
    """However many values segments have, no more than so many policies are kept, and each is right."""
    policy = policy_with(({"region": "5"}, {"late_grace_ms": 7}))
    for number in range(2 * SEGMENTS_KEPT):
        assert policy.of(opening(region=str(number))).late_grace_ms == (7 if number == 5 else POLICY.late_grace_ms)
        assert len(policy._by_segment) <= SEGMENTS_KEPT
    assert policy.of(opening(region="5")) is policy.of(opening(region="5"))


def test_what_concerns_several_cases_holds_for_the_widest_segment() -> None:
    """How long is remembered, and over which span an asset is crowded, is by the longest R and H of any segment."""
    policy = policy_with((NORTH, {"repeat_window_ms": 40 * DAY_MS}), (GOLD, {"late_horizon_ms": 5 * DAY_MS}))
    assert policy.repeat_span_ms == 45 * DAY_MS
    assert policy.memory_ms == 45 * DAY_MS + policy.longest_window_ms
    assert policy_with((NORTH, {"repeat_window_ms": DAY_MS})).memory_ms == POLICY.memory_ms


@pytest.mark.parametrize(("region", "expected"), [("north", "provisional_hit on_time"), ("south", "miss late")])
def test_a_visit_is_judged_by_the_grace_of_its_region(region: str, expected: str) -> None:
    """Half an hour late is within the hour's grace of the north, and too late elsewhere (rule 15)."""
    assert told([opened(region=region), *VISIT], "23h", "on_time_arrival", "V1", policy=LATE) == expected


def test_a_corrected_region_brings_its_own_grace() -> None:
    """A verdict follows the segment as corrected, as long as the correction counts for the unit (rules 3 and 5)."""
    events = [opened(region="south", named="o"), *VISIT]
    moved = [*events, corrected("1d", "o", {"region": "north"})]
    assert told(events, "2d", "on_time_arrival", "V1", policy=LATE) == "miss late"
    assert told(moved, "2d", "on_time_arrival", "V1", policy=LATE) == "provisional_hit on_time"
    too_late = [*events, corrected("1d", "o", {"region": "north"}, seen="5d")]
    assert told(too_late, "6d", "on_time_arrival", "V1", policy=LATE) == "miss late"


def test_the_seal_is_that_of_the_segment_known_so_far() -> None:
    """Where H is an hour a unit is sealed then, and a correction of the region told later does not count (rule 3)."""
    quick = policy_with((NORTH, {"late_horizon_ms": HOUR_MS}))
    events = [opened(region="north", named="o"), *VISIT]
    sealed = judged(events, "1d", "on_time_arrival", "V1", policy=quick)
    assert sealed is not None
    assert (sealed.sealed, sealed.seal_ms) == (True, ms("23h30m"))
    moved = judged([*events, corrected("24h", "o", {"region": "south"})], "2d", "on_time_arrival", "V1", policy=quick)
    assert moved is not None
    assert moved.seal_ms == ms("23h30m")
    in_time = [*events, corrected("23h30m", "o", {"region": "south"})]
    stays = judged(in_time, "2d", "on_time_arrival", "V1", policy=quick)
    assert stays is not None
    assert stays.seal_ms == ms("22h30m") + POLICY.late_horizon_ms


def test_what_abandonment_seals_before_the_horizon_counts_no_more() -> None:
    """Where cases are abandoned sooner than H passes, a fact told after that does not count (rules 3 and 4)."""
    hasty = msgspec.structs.replace(POLICY, abandonment_ms=HOUR_MS)
    events = [opened(), resolved("2h")]
    assert told(events, "1d", "stayed_fixed", policy=hasty) == "excluded unknown_at_seal:not_fixed_yet"
    for region, expected in (("unknown", "excluded unknown_at_seal"), ("north", "provisional_hit")):
        policy = policy_with(({"region": region}, {"abandonment_ms": HOUR_MS}))
        assert told(events, "1d", "stayed_fixed", policy=policy).startswith(expected)


def test_a_merge_is_in_force_by_the_policy_of_the_merged_case() -> None:
    """Whether a merge counts is decided by the seal of the case that was merged, for the survivor too (rule 9)."""
    quick = policy_with((NORTH, {"late_horizon_ms": HOUR_MS}))

    def survivor(region: str) -> str:
        absorbed = of_case("C2", opened("1h", asset_id="A9", region=region), cancelled("2h"), merged("5h", "C1"))
        events = [opened(region="south"), resolved("30m"), *absorbed]
        return told(events, "6h", "stayed_fixed", policy=quick)

    assert survivor("south").startswith("miss")
    assert survivor("north").startswith("provisional_hit")


def test_loopholes_are_watched_by_the_policy_of_the_case() -> None:
    """A pause that lasts longer than it may in its segment is one that was never resumed (rule 24)."""
    policy = policy_with((NORTH, {"longest_pause_ms": HOUR_MS}))
    for region, seen in (("north", ["pause_not_resumed"]), ("south", [])):
        casebook = booked([opened(region=region), event("ticket.waiting_on_customer", "1h")], policy, {})
        casebook.assess(Clock.at(ms("1h30m")))
        assert casebook.cases["C1"].deadline_ms == ms("2h1ms" if seen else "7d1h1ms")
        casebook.assess(Clock.at(ms("3h")))
        assert [name for name, _ in casebook.cases["C1"].sightings] == seen


def test_an_explanation_names_the_limits_of_the_segment() -> None:
    """What is said in words is the grace that the visit was judged by."""
    known = delivered(opened(region="north"), scheduled("1h", "20h", "22h"), arrived("24h"))
    for policy, grace in ((LATE, "60 min"), (POLICY, "15 min")):
        explained = explain_case(known, [], "C1", ms("1d1h"), TIER_A, policy).explanation.verdicts
        (why,) = (one.why for one in explained if one.sign == "on_time_arrival")
        assert grace.replace("60 min", "1 h") in why


def test_the_fingerprint_is_that_of_policy_and_signs() -> None:
    """Whatever verdicts depend on changes it, the order in which it is given does not, and it is never 0."""
    known = fingerprint(TIER_A, POLICY)
    assert 0 < known < 1 << 32
    assert fingerprint(dict(reversed(TIER_A.items())), Policy()) == known
    others = [
        fingerprint(CATALOGUE, POLICY),
        fingerprint(TIER_A, LATE),
        fingerprint(TIER_A, msgspec.structs.replace(POLICY, late_grace_ms=16 * MINUTE_MS)),
        fingerprint(TIER_A, msgspec.structs.replace(POLICY, placeholder_assets=frozenset({"?"}))),
    ]
    assert len({known, *others}) == 5
