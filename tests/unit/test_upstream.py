"""The demo's upstream is what it says: seeded, in order of delivery, admissible, and as untidy as real feeds are."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from itertools import pairwise
from typing import Any

import pytest

from cxstream.demo.upstream import (
    DAY,
    HOUR,
    MINUTE,
    PRODUCTS,
    REGIONS,
    Delivery,
    Incident,
    Upstream,
    demo_rate,
    demo_upstream,
)
from cxstream.domain.facts import admit

NOW = 1_772_452_800_000
"""2 March 2026, 12:00 UTC; the history of the demo before it holds no change of clocks, the weeks after it do."""
INCIDENT = Incident("east", NOW - 10 * MINUTE)
SKEW_MS = 5 * MINUTE


def at_ms(event: dict[str, Any], field: str = "at") -> int:
    """Return a time of an event in milliseconds."""
    return round(datetime.fromisoformat(event[field]).timestamp() * 1000)


@cache
def feed(seed: int = 1, incident: Incident | None = None, minutes: int = 15) -> tuple[Delivery, ...]:
    """Return the demo's history and its first minutes."""
    return tuple(demo_upstream(NOW, seed=seed, incident=incident).events(NOW + minutes * MINUTE))


def lines(deliveries: Sequence[Delivery]) -> list[str]:
    """Return deliveries as text, to be compared byte by byte."""
    return [json.dumps(delivery) for delivery in deliveries]


def region_of(deliveries: Sequence[Delivery]) -> dict[str, str]:
    """Return the region of each case."""
    return {d.event["case_id"]: d.event["region"] for d in deliveries if d.event["type"] == "opened"}  # type: ignore[misc]


def test_same_seed_same_bytes() -> None:
    """The same seed gives the same deliveries byte by byte, another seed others."""
    again = list(demo_upstream(NOW, seed=1).events(NOW + 15 * MINUTE))
    assert lines(feed()) == lines(again)
    assert lines(feed())[:1000] != lines(feed(seed=2))[:1000]


@pytest.mark.parametrize("step_ms", [977, 10_000, 61_001, 7 * HOUR])
def test_goes_on_where_it_stopped(step_ms: int) -> None:
    """How often and when it is asked changes nothing; nothing is delivered at or after the time asked for."""

    def company() -> Upstream:
        busy_ms = NOW - HOUR
        return Upstream(4, NOW - 2 * DAY, cases_per_day=demo_rate(NOW), busy_from_ms=busy_ms)

    until_ms = NOW - 50 * MINUTE
    whole = list(company().events(until_ms))
    stepwise: list[Delivery] = []
    asked = company()
    from_ms = NOW - 70 * MINUTE if step_ms < MINUTE else NOW - 2 * DAY
    stepwise += asked.events(from_ms)
    while from_ms < until_ms:
        from_ms = min(until_ms, from_ms + step_ms)
        part = list(asked.events(from_ms))
        assert all(delivery.delivered_ms < from_ms for delivery in part)
        stepwise += part
    assert len(whole) > 1000
    assert lines(stepwise) == lines(whole)


def test_a_reader_that_gives_up_loses_nothing() -> None:
    """Leaving the iterator in the middle and asking again goes on with the next delivery."""
    company = Upstream(5, NOW - 3 * DAY)
    first = company.events(NOW)
    begun = [next(first) for _ in range(1001)]
    assert lines([*begun, *company.events(NOW)]) == lines(list(Upstream(5, NOW - 3 * DAY).events(NOW)))


def test_delivered_in_order() -> None:
    """Deliveries are in order of time, event times are not: topics overtake, phones were offline for hours."""
    assert all(a.delivered_ms <= b.delivered_ms for a, b in pairwise(feed()))
    latest: dict[object, int] = {}
    overtaken: Counter[str] = Counter()
    for delivery in feed():
        happened_ms, case = at_ms(delivery.event), delivery.event["case_id"]
        overtaken[delivery.topic] += happened_ms < latest.get(case, 0)
        latest[case] = max(happened_ms, latest.get(case, 0))
    assert all(overtaken[topic] > 50 for topic in ("dispatch", "parts"))
    assert sum(d.delivered_ms - at_ms(d.event) > HOUR for d in feed()) > 200


def test_every_event_is_admitted() -> None:
    """Every event passes admission (rule 1): offsets, known fields, never ahead of delivery beyond the skew."""
    for delivery in feed(incident=INCIDENT):
        assert delivery.topic == delivery.event["topic"]
        admit(delivery.event, delivery.delivered_ms, skew_ms=SKEW_MS)


def test_a_few_clocks_are_fast() -> None:
    """Delivery is before event time only for a few phones whose clock is fast, and never by more than five minutes."""
    ahead = [d for d in feed() if at_ms(d.event) > d.delivered_ms]
    assert 0 < len(ahead) < len(feed()) / 200
    assert all(d.topic == "dispatch" and at_ms(d.event) - d.delivered_ms <= SKEW_MS for d in ahead)


def test_duplicates_are_exact_and_present() -> None:
    """About one delivery in a hundred repeats an event within a minute; no id ever has two contents."""
    seen: dict[tuple[object, object], tuple[int, str]] = {}
    twice = 0
    for delivered_ms, _, event in feed():
        key, text = (event["case_id"], event["event_id"]), json.dumps(event)
        if key in seen:
            twice += 1
            assert text == seen[key][1]
            assert delivered_ms - seen[key][0] <= MINUTE
        else:
            seen[key] = (delivered_ms, text)
    assert len(feed()) / 150 < twice < len(feed()) / 60


def test_everything_happens() -> None:
    """The feed holds each kind of trouble the contract speaks of: corrections, voids, merges, no-shows, crews."""
    types = Counter(f"{d.topic}.{d.event['type']}" for d in feed())
    expected_types = {
        "dispatch": ("corrected", "voided", "rescheduled", "cancelled", "value_added"),
        "parts": ("required", "allocated", "ordered", "shipped", "delivered", "picked_up", "consumed"),
        "ticket": (
            *("voided", "merged", "reopened", "cancelled", "commitment_made", "commitment_changed", "closed"),
            *("customer_contacted", "waiting_on_customer", "resumed", "transferred", "compensated", "value_added"),
        ),
    }
    for expected in (f"{topic}.{event_type}" for topic, of_topic in expected_types.items() for event_type in of_topic):
        assert types[expected] > 0, expected
    outcomes = Counter(d.event["outcome"] for d in feed() if d.event["type"] == "completed")
    assert set(outcomes) == {
        *("fixed", "not_fixed", "partial", "no_parts", "diagnosed_only"),
        *("temporary", "wrong_skill", "no_access", "continued"),
    }
    assert {d.event["kind"] for d in feed() if d.event["type"] == "opened"} == {"break_fix", "preventive", "alert"}
    assert any("continues" in d.event for d in feed())
    assert any("replaced_by" in d.event for d in feed())
    assert any(d.event.get("asset_id", "") is None for d in feed())


def test_targets_exist() -> None:
    """A correction or void names an event of its own case, a merge a case that exists; windows have both ends."""
    ids = {(d.event["case_id"], d.event["event_id"]) for d in feed()}
    cases = set(region_of(feed()))
    for _, _, event in feed():
        if "target" in event:
            assert (event["case_id"], event["target"]) in ids
        if "into" in event:
            assert event["into"] in cases
        if "window_start" in event:
            assert at_ms(event, "window_start") < at_ms(event, "window_end")


def test_assets_fail_again_but_not_by_accident() -> None:
    """About one case in twenty is followed by another of the same asset within 30 days, as planned, not more."""
    opened: dict[object, list[int]] = defaultdict(list)
    for _, _, event in feed():
        if event["type"] == "opened" and event["asset_id"] not in {None, "N/A"} and "D" not in str(event["case_id"]):
            opened[event["asset_id"]].append(at_ms(event))
    cases = sum(map(len, opened.values()))
    repeats = sum(b - a <= 30 * DAY for times in opened.values() for a, b in pairwise(sorted(times)))
    assert len(opened) > 3000
    assert 0.03 < repeats / cases < 0.09


def test_storm_days() -> None:
    """Every twenty days have one day with about twice the cases, and its visits are late far more often."""
    history = list(Upstream(6, NOW - 60 * DAY, cases_per_day=120).events(NOW))
    per_day = Counter(at_ms(d.event) // DAY for d in history if d.event["type"] == "opened")
    usual = sorted(per_day.values())[len(per_day) // 2]
    storms = [day for day, cases in per_day.items() if cases > 1.6 * usual]
    assert 2 <= len(storms) <= 4
    window_end: dict[object, int] = {}
    late: dict[bool, Counter[bool]] = {True: Counter(), False: Counter()}
    for _, _, event in sorted(history, key=lambda d: at_ms(d.event)):
        if "window_end" in event:
            window_end[event["visit_id"]] = at_ms(event, "window_end")
        if event["type"] == "arrived" and event["visit_id"] in window_end:
            end_ms = window_end[event["visit_id"]]
            late[end_ms // DAY in storms][at_ms(event) > end_ms + 15 * MINUTE] += 1
    ratio = {storm: counts[True] / counts.total() for storm, counts in late.items()}
    assert ratio[False] < 0.12
    assert ratio[True] > 0.25


def first_visits(deliveries: Sequence[Delivery], from_ms: int, to_ms: int) -> dict[str, float]:
    """Return by region how many of the first visits that ended in that time fixed the case (rule 12, roughly)."""
    first: dict[object, tuple[int, object]] = {}
    for _, _, event in deliveries:
        if event["type"] == "completed" and event["outcome"] != "no_access":
            done = (at_ms(event), event["outcome"])
            first[event["case_id"]] = min(first.get(event["case_id"], done), done, key=lambda pair: pair[0])
    regions = region_of(deliveries)
    counts: dict[str, Counter[bool]] = defaultdict(Counter)
    for case, (ended_ms, outcome) in first.items():
        if from_ms <= ended_ms < to_ms:
            counts[regions[str(case)]][outcome == "fixed"] += 1
    assert all(count.total() > 40 for count in counts.values())
    return {region: count[True] / count.total() for region, count in counts.items()}


def parts_on_hand(deliveries: Sequence[Delivery], from_ms: int, to_ms: int) -> dict[str, float]:
    """Return by region the share of lines on hand when their visit arrived in that time (rule 16, roughly)."""
    on_hand: dict[object, int] = {}
    arrived: dict[object, int] = {}
    required: dict[object, object] = {}
    case_of: dict[object, str] = {}
    for _, topic, event in deliveries:
        if topic == "parts":
            case_of[event["line_id"]] = str(event["case_id"])
            required[event["line_id"]] = event["visit_id"]
            if event["type"] in {"allocated", "picked_up"} or event.get("to") in {"site", "van"}:
                on_hand[event["line_id"]] = at_ms(event)
        elif event["type"] == "arrived":
            arrived[event["visit_id"]] = at_ms(event)
    regions = region_of(deliveries)
    counts: dict[str, Counter[bool]] = defaultdict(Counter)
    for line, visit in required.items():
        if from_ms <= arrived.get(visit, 0) < to_ms:
            counts[regions[case_of[line]]][on_hand.get(line, to_ms) <= arrived[visit]] += 1
    return {region: count[True] / count.total() for region, count in counts.items()}


def test_the_incident_hits_its_region() -> None:
    """From the incident on no part is delivered in the region; first-time fixes and parts readiness fall there."""
    hit = feed(incident=INCIDENT)
    regions = region_of(hit)
    delivered = Counter(
        regions[str(d.event["case_id"])]
        for d in hit
        if d.topic == "parts" and d.event["type"] == "delivered" and at_ms(d.event) >= INCIDENT.starts_ms
    )
    assert delivered["east"] == 0
    assert all(delivered[region] > 20 for region in ("north", "south", "west"))
    live = (NOW, NOW + 15 * MINUTE)
    fixed, usual = first_visits(hit, *live), first_visits(feed(), *live)
    assert fixed["east"] < usual["east"] - 0.3
    ready = parts_on_hand(hit, *live)
    assert ready["east"] < 0.5
    assert all(ready[region] > 0.85 for region in ("north", "south", "west"))


def test_the_incident_hits_its_region_only() -> None:
    """Every other region has the same deliveries, byte by byte, with the incident as without it."""
    usual, hit = feed(), feed(incident=INCIDENT)
    home = region_of(usual) | region_of(hit)

    def elsewhere(deliveries: Sequence[Delivery]) -> list[str]:
        return lines([d for d in deliveries if home[str(d.event["case_id"])] != "east"])

    assert elsewhere(usual) == elsewhere(hit)
    before = [lines([d for d in deliveries if d.delivered_ms < NOW - 3 * DAY]) for deliveries in (usual, hit)]
    assert before[0] == before[1]


def test_an_incident_that_ends() -> None:
    """When the incident ends the parts that were held up are delivered and the region recovers."""
    ends_ms = NOW + 5 * MINUTE
    over = feed(incident=Incident("east", NOW - 20 * MINUTE, ends_ms=ends_ms), minutes=60)
    assert first_visits(over, NOW - 5 * MINUTE, ends_ms)["east"] < 0.65
    assert first_visits(over, ends_ms + 15 * MINUTE, ends_ms + 50 * MINUTE)["east"] > 0.75


def test_an_incident_needs_a_region() -> None:
    """An incident in a region that is not there is refused."""
    with pytest.raises(ValueError, match="atlantis"):
        Upstream(1, NOW, incidents=[Incident("atlantis", NOW)])


def test_size_of_the_demo() -> None:
    """The demo's history is 30 to 50 thousand events over 40 days; live, something happens every second."""
    history = [d for d in feed() if d.delivered_ms < NOW]
    assert 30_000 < len(history) < 55_000
    assert history[0].delivered_ms < NOW - 39 * DAY
    first_minute = [d for d in feed() if NOW <= d.delivered_ms < NOW + MINUTE]
    assert len({d.delivered_ms // 1000 for d in first_minute}) == 60
    assert {"arrived", "completed", "resolved", "opened"} <= {d.event["type"] for d in first_minute}


def test_rate_is_obeyed() -> None:
    """The number of cases follows the rate: 200 a day of history are 200 a day, 2 a second live are 2 a second."""
    history = [d for d in Upstream(8, NOW - 28 * DAY, cases_per_day=200).events(NOW) if d.event["type"] == "opened"]
    assert 200 * 28 * 0.9 < len({d.event["case_id"] for d in history}) < 200 * 28 * 1.25
    live = Upstream(8, NOW, cases_per_day=2 * 86_400, busy_from_ms=NOW).events(NOW + 10 * MINUTE)
    opened = {d.event["case_id"] for d in live if d.event["type"] == "opened"}
    assert 1200 * 0.9 < len(opened) < 1200 * 1.2


def test_own_regions_and_products() -> None:
    """Regions and products are arguments; times carry the offset of the region's zone, changes of clocks included."""
    regions = [REGIONS[0]._replace(name="inland", zone="America/Chicago"), REGIONS[1]._replace(zone="Asia/Kathmandu")]
    company = Upstream(9, NOW, regions=regions, products=PRODUCTS[:1], cases_per_day=200)
    offsets = defaultdict(set)
    for _, topic, event in company.events(NOW + 12 * DAY):
        admit(event, None, skew_ms=0)
        if event["type"] == "opened":
            assert event["product"] == "hvac"
            offsets[event["region"]].add(str(event["at"])[-6:])
        assert topic != "parts" or str(event["at"])[-6:] == "+00:00"
    assert offsets == {"inland": {"-06:00", "-05:00"}, "south": {"+05:45"}}
