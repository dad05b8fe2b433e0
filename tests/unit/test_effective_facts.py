"""Effective facts: what a case says once corrections and voids are applied, and in which order it happened (rule 5)."""

from __future__ import annotations

import random
from itertools import permutations

import pytest

from cases import (
    Event,
    arrived,
    cancelled,
    completed,
    corrected,
    event,
    facts,
    ms,
    of_case,
    opened,
    resolved,
    scheduled,
    told,
    voided,
)
from cxstream.domain.effective import delivery_order, effective, world_order
from cxstream.domain.facts import Fact

PROMISE = [opened(), scheduled("0h", "48h", "50h")]
LATE = arrived("51h", named="late")

TIE_ORDER = """
opened, acknowledged, diagnosed, customer_updated, customer_contacted, waiting_on_customer, resumed, required, ordered,
allocated, shipped, delivered, picked_up, scheduled, rescheduled, assigned, en_route, arrived, returned, consumed,
completed, cancelled, commitment_made, commitment_changed, commitment_kept, resolved, reopened, merged, closed,
compensated, value_added, erased
"""
"""As the page lists it."""


def effect(*events: Event) -> dict[str, Fact]:
    """Return the effective facts by id, whatever the order the events are given in."""
    return {fact.event_id: fact for fact in effective(sorted(facts(*events), key=delivery_order))}


def punctuality(*events: Event) -> str:
    """Return what on_time_arrival says of V1 long after its window."""
    return told([*PROMISE, *events], "60h", "on_time_arrival", "V1")


def test_a_correction_replaces_fields_of_its_target() -> None:
    """A verdict follows the corrected value, not the delivered one (rule 5)."""
    assert punctuality(LATE) == "miss late"
    assert punctuality(LATE, corrected("52h", "late", {"at": "49h"})) == "provisional_hit on_time"


@pytest.mark.parametrize("amendment", [corrected("52h", "late", {"at": "49h"}), voided("52h", "late")])
def test_amendments_may_be_delivered_before_their_target(amendment: Event) -> None:
    """Corrections and voids work as well when they reach us first (rule 5)."""
    late = {**LATE, "seen": "2026-03-05T10:00:00Z"}
    assert told([*PROMISE, amendment, late], "80h", "on_time_arrival", "V1") == punctuality(LATE, amendment)
    assert punctuality(LATE, amendment) != punctuality(LATE)


def test_corrections_apply_in_order_of_delivery() -> None:
    """The correction delivered last wins, whatever their event times and the order of processing (rule 5)."""
    first = corrected("59h", "late", {"at": "49h"}, named="k1", seen="59h")
    last = corrected("52h", "late", {"at": "51h30m"}, named="k2", seen="59h1m")
    for order in permutations([LATE, first, last]):
        assert effect(*order)["late"].at_ms == ms("51h30m")
        assert punctuality(*order) == "miss late"
    tied = {**last, "event_id": "k0", "seen": first["seen"]}
    assert effect(LATE, first, tied)["late"].at_ms == ms("49h")  # equal delivery: by event id


def test_corrections_add_up() -> None:
    """Two corrections of different fields both hold (rule 5)."""
    both = effect(
        scheduled("0h", "48h", "50h", named="w"),
        corrected("1h", "w", {"window_end": "60h"}),
        corrected("2h", "w", {"by": "customer"}),
    )
    assert (both["w"].instant_ms("window_end"), both["w"].text("by")) == (ms("60h"), "customer")
    assert both["w"].instant_ms("window_start") == ms("48h")


def test_voids_come_after_all_corrections() -> None:
    """A voided fact is gone even if a correction of it is delivered later (rule 5)."""
    assert effect(LATE, voided("52h", "late"), corrected("53h", "late", {"at": "49h"})) == {}
    assert punctuality(LATE, voided("52h", "late")) == "miss no_show"


def test_voiding_an_amendment_takes_nothing_back() -> None:
    """A voided correction stays applied and a voided void a void: another correction mends them (rule 5)."""
    amended = [LATE, corrected("52h", "late", {"at": "49h"}, named="k")]
    assert effect(*amended, voided("53h", "k"))["late"].at_ms == ms("49h")
    assert effect(LATE, voided("52h", "late", named="v"), voided("53h", "v")) == {}
    redirected = effect(LATE, voided("52h", "late", named="v"), corrected("53h", "v", {"target": "other"}))
    assert set(redirected) == {"late"}


def test_a_void_undoes_a_cancellation() -> None:
    """A cancellation is undone by voiding it (rules 5 and 7)."""
    withdrawn = [opened(), cancelled("1h", named="x")]
    assert told(withdrawn, "2h", "stayed_fixed") == "excluded cancelled"
    withdrawn += [resolved("1h30m"), voided("2h", "x")]
    assert told(withdrawn, "2h", "stayed_fixed") == "provisional_hit stayed_fixed"


@pytest.mark.parametrize(
    ("changes", "field", "expected"),
    [
        ({"outcome": "levitated"}, "outcome", "fixed"),
        ({"outcome": 7}, "outcome", "fixed"),
        ({"outcome": None}, "outcome", None),
        ({"visit_id": None}, "visit_id", "V1"),
        ({"visit_id": ""}, "visit_id", "V1"),
        ({"silent": "yes"}, "silent", None),
        ({"symptom": "smoke"}, "symptom", None),
    ],
)
def test_a_value_the_field_cannot_hold_leaves_it_as_it_was(
    changes: dict[str, object], field: str, expected: object
) -> None:
    """Null removes an optional field; what a type cannot hold or does not have changes nothing (rule 5)."""
    fact = effect(completed("1h", "fixed", named="e"), corrected("2h", "e", changes))["e"]
    assert fact.fields.get(field) == expected


def test_at_is_corrected_to_an_instant_only() -> None:
    """A correction of `at` to null changes nothing: every fact has an event time (rule 5)."""
    assert effect(LATE, corrected("52h", "late", {"at": None}))["late"].at_ms == ms("51h")


def test_amendments_stay_within_their_case() -> None:
    """A correction or void of another case's event id does nothing here (rule 5)."""
    elsewhere = of_case("C2", opened(asset_id="A2"), voided("52h", "late"), corrected("52h", "late", {"at": "49h"}))
    assert punctuality(LATE, *elsewhere) == "miss late"


def test_unknown_targets_do_no_harm() -> None:
    """A correction or a void of an event that never comes is no error (rule 5)."""
    assert set(effect(LATE, corrected("1h", "never", {"at": "2h"}), voided("1h", "nowhere"))) == {"late"}


def test_ties_are_ordered_as_listed() -> None:
    """At equal event time facts are ordered by type as the page lists them, unknown types last, then by id (rule 5)."""
    topics = {"required": "parts", "delivered": "parts", "arrived": "dispatch", "completed": "dispatch"}
    kinds = [*TIE_ORDER.replace(",", " ").split(), "other"]
    made = [Fact(name, topics.get(kind, "ticket"), kind, 0, 0) for kind in kinds for name in ("a", "b")]
    shuffled = list(made)
    random.Random(5).shuffle(shuffled)
    assert sorted(shuffled, key=world_order) == made
    assert world_order(Fact("z", "ticket", "erased", 0, 0)) < world_order(Fact("a", "ticket", "opened", 1, 0))


def test_a_tie_decides_a_verdict() -> None:
    """A window made at the instant of arrival was made before it: scheduled stands before arrived (rules 5 and 15)."""
    tied = [opened(), event("dispatch.arrived", "49h", visit_id="V1"), scheduled("49h", "48h", "50h")]
    assert told(tied, "60h", "on_time_arrival", "V1") == "provisional_hit on_time"
