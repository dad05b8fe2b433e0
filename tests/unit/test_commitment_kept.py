"""commitment_kept: did we do what we said by when we said it? Evidence, changes and the clock, in order (rule 22)."""

from __future__ import annotations

import pytest

from cases import (
    Event,
    arrived,
    booked,
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
    reopened,
    resolved,
    told,
    voided,
    wakes_ms,
)
from cxstream.engine.assess import Clock
from cxstream.vital_signs import CATALOGUE

KEPT, LATE, NOT_KEPT = "provisional_hit kept", "miss late", "miss not_kept"
CHANGED, AWAITED, CALLED_OFF = "miss changed", "pending awaited", "excluded cancelled"
NO_DUE, NOT_MADE = "excluded not_time_bound", "pending not_made"

updated = event("ticket.customer_updated", "9h")
delivered = event("parts.delivered", "9h", line_id="L1")
picked_up = event("parts.picked_up", "9h", line_id="L1")


def made(
    at: str = "1h", due: str | None = "10h", kind: str = "restore", commitment: str = "K1", **more: object
) -> Event:
    """Return a commitment made to the customer."""
    fields = {"commitment_id": commitment, "kind": kind, "due": due, "named": f"made-{commitment}-{at}", **more}
    return event("ticket.commitment_made", at, **fields)  # type: ignore[arg-type]


def changed(at: str, due: str | None = "20h", commitment: str = "K1", **more: object) -> Event:
    """Return a change of it, by default by the provider and not agreed."""
    return event("ticket.commitment_changed", at, commitment_id=commitment, due=due, **more)  # type: ignore[arg-type]


def kept(at: str, commitment: str = "K1", **more: object) -> Event:
    """Return the statement that a commitment was kept."""
    fields = {"commitment_id": commitment, "named": f"kept-{commitment}-{at}", **more}
    return event("ticket.commitment_kept", at, **fields)  # type: ignore[arg-type]


def verdict(*events: Event, as_of: str = "60h", **how: object) -> str:
    """Return what commitment_kept says of K1, made at 1h to restore by 10h unless `how` says otherwise."""
    return told([opened(), made(**how), *events], as_of, "commitment_kept", "K1")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("59m59s", NOT_KEPT),
        ("59m59s999ms", NOT_KEPT),
        ("1h", KEPT),
        ("1h1ms", KEPT),
        ("9h59m59s", KEPT),
        ("10h", KEPT),
        ("10h1ms", LATE),
        ("10h1s", LATE),
    ],
)
@pytest.mark.parametrize("proof", [resolved, kept])
def test_kept_by_the_due_time(proof: object, at: str, expected: str) -> None:
    """Evidence not before it was made and by the due time keeps it, inclusive and without grace (rule 22)."""
    assert verdict(proof(at)) == expected  # type: ignore[operator]


@pytest.mark.parametrize(
    ("as_of", "expected"), [("9h59m59s", AWAITED), ("10h", AWAITED), ("10h1ms", NOT_KEPT), ("10h1s", NOT_KEPT)]
)
def test_a_miss_needs_no_event(as_of: str, expected: str) -> None:
    """Nothing at all is a miss at the first instant after the due time (rules 6 and 22)."""
    assert verdict(as_of=as_of) == expected


@pytest.mark.parametrize(
    ("events", "wakes"),
    [([], "10h1ms"), ([changed("1h30m", by="customer")], "20h1ms"), ([changed("1h30m", "5h", agreed=True)], "5h1ms")],
)
def test_the_case_is_judged_again_when_it_was_due(events: list[Event], wakes: str) -> None:
    """While it is awaited the case wakes 1 ms after the due time in force, where the verdict changes (rules 6, 22)."""
    casebook = booked([opened(), made(), *events], catalogue={"commitment_kept": CATALOGUE["commitment_kept"]})
    casebook.assess(Clock.at(ms("2h")))
    assert wakes_ms(casebook.cases["C1"]) == ms(wakes)
    for clock_ms, expected in ((ms(wakes) - 1, AWAITED), (ms(wakes), NOT_KEPT)):
        casebook.assess(Clock.at(clock_ms))
        assert [f"{one.verdict} {one.reason}" for one in casebook.cases["C1"].verdicts] == [expected]


PROOFS: dict[str, tuple[list[Event], set[str]]] = {
    "arrival": ([arrived("9h")], {"arrive"}),
    "completion without arrival": ([completed("9h", "not_fixed")], set()),
    "arrival of a survey": ([planned("2h", purpose="survey"), arrived("9h")], {"arrive"}),
    "setting out": ([event("dispatch.en_route", "9h", visit_id="V1")], set()),
    "resolution": ([resolved("9h")], {"restore"}),
    "fixing visit": ([completed("9h", "fixed")], {"restore"}),
    "fixing survey": ([planned("2h", purpose="survey"), completed("9h", "fixed")], set()),
    "update": ([updated], {"callback"}),
    "contact by the customer": ([event("ticket.customer_contacted", "9h")], set()),
    "acknowledgement": ([event("ticket.acknowledged", "9h")], set()),
    "delivery": ([delivered], {"part"}),
    "delivery to a depot": ([{**delivered, "to": "depot"}], {"part"}),
    "pick-up": ([picked_up], {"part"}),
    "shipment": ([event("parts.shipped", "9h", line_id="L1")], set()),
    "allocation": ([event("parts.allocated", "9h", line_id="L1")], set()),
    "explicit": ([kept("9h")], {"arrive", "restore", "callback", "part", "other"}),
    "explicit of another": ([kept("9h", "K2")], set()),
}
"""What happens at 9h, and the kinds of commitment it keeps."""


@pytest.mark.parametrize("kind", ["arrive", "restore", "callback", "part", "other"])
@pytest.mark.parametrize("proof", PROOFS)
def test_evidence_by_kind(proof: str, kind: str) -> None:
    """An arrival, a fix claim, an update, a part, each for its kind; an explicit statement for any (rules 7, 22)."""
    events, kinds = PROOFS[proof]
    assert verdict(*events, kind=kind) == (KEPT if kind in kinds else NOT_KEPT)


def test_a_kind_left_out_is_other() -> None:
    """A commitment of no kind is kept by an explicit statement only (rule 22)."""
    events = [arrived("9h"), completed("9h30m", "fixed"), updated, delivered]
    assert verdict(*events, kind=None) == NOT_KEPT
    assert verdict(*events, kept("10h"), kind=None) == KEPT


@pytest.mark.parametrize(
    "later",
    [
        [reopened("9h30m")],
        [changed("9h30m")],
        [changed("9h")],
        [changed("30h", by="customer")],
        [cancelled("9h30m")],
        [resolved("30h", named="again")],
    ],
)
def test_kept_is_kept_whatever_comes_later(later: list[Event]) -> None:
    """Evidence by the due time is a hit, no change, reopen or cancellation after it undoes it (rule 22)."""
    assert verdict(completed("8h", "fixed"), *later) == KEPT


@pytest.mark.parametrize(
    ("change", "proof", "expected"),
    [
        (changed("5h"), "9h", CHANGED),
        (changed("5h", by="provider"), "9h", CHANGED),
        (changed("5h", by="provider", agreed=False), "9h", CHANGED),
        (changed("5h", "5h30m"), "5h20m", CHANGED),
        (changed("5h", None), "9h", CHANGED),
        (changed("1h"), "9h", CHANGED),
        (changed("59m59s"), "9h", KEPT),
        (changed("5h", agreed=True), "20h", KEPT),
        (changed("5h", by="provider", agreed=True), "20h", KEPT),
        (changed("5h", by="customer"), "20h", KEPT),
        (changed("5h", by="customer", agreed=False), "20h", KEPT),
        (changed("5h", by="customer"), "20h1ms", LATE),
        (changed("5h", by="customer"), "20h1s", LATE),
        (changed("5h", "8h", by="customer"), "8h1ms", LATE),
        (changed("5h", "8h", by="customer"), "8h", KEPT),
        (changed("5h", "4h", by="customer"), "5h30m", LATE),
        (changed("5h", None, by="customer"), "10h", KEPT),
        (changed("5h", None, by="customer"), "10h1ms", LATE),
        (changed("10h", by="customer"), "20h", KEPT),
        (changed("10h", agreed=True), "20h", KEPT),
        (changed("10h1ms", by="customer"), "20h", CHANGED),
        (changed("10h1s", agreed=True), "20h", CHANGED),
        (changed("10h", by="customer"), "10h", KEPT),
        (changed("5h", commitment="K2"), "9h", KEPT),
    ],
)
def test_a_change(change: Event, proof: str, expected: str) -> None:
    """By the customer or agreed, and by the due time, it moves that; otherwise it breaks the commitment (rule 22)."""
    assert verdict(change, resolved(proof)) == expected


def test_changes_in_turn() -> None:
    """Each change is held against the due time then in force, and the last one counts (rule 22)."""
    moved = changed("5h", "20h", by="customer")
    assert verdict(moved, changed("20h", "30h", agreed=True), resolved("30h")) == KEPT
    assert verdict(moved, changed("20h1ms", "30h", agreed=True), resolved("30h")) == CHANGED
    assert verdict(moved, changed("15h", "30h"), resolved("16h")) == CHANGED
    assert verdict(moved, changed("6h", "8h", by="customer"), resolved("9h")) == LATE
    assert verdict(moved, as_of="20h") == AWAITED
    assert verdict(moved, as_of="20h1ms") == NOT_KEPT


def test_a_broken_commitment_stays_broken() -> None:
    """After a breaking change no evidence, later change or cancellation helps (rule 22)."""
    broken = changed("5h", "20h")
    for later in (
        [],
        [resolved("6h")],
        [kept("6h")],
        [changed("6h", "30h", "K1", by="customer"), resolved("7h")],
        [cancelled("6h")],
        [cancelled("4h")],
    ):
        assert verdict(broken, *later) == CHANGED
    assert verdict(broken, as_of="5h") == CHANGED


def test_time_order_is_not_the_order_of_delivery() -> None:
    """Evidence before a breaking change keeps it, though it reaches us after it (rules 2, 3 and 22)."""
    assert verdict(changed("5h"), resolved("4h", seen="7h"), as_of="6h") == KEPT
    assert verdict(changed("5h"), as_of="6h") == CHANGED
    late = resolved("9h", seen="30h")
    assert verdict(as_of="29h") == NOT_KEPT
    assert verdict(late, as_of="30h") == KEPT


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([cancelled("30m")], CALLED_OFF),
        ([cancelled("9h59m59s")], CALLED_OFF),
        ([cancelled("10h")], CALLED_OFF),
        ([cancelled("10h1ms")], NOT_KEPT),
        ([cancelled("10h1s")], NOT_KEPT),
        ([cancelled("5h"), resolved("10h")], KEPT),
        ([cancelled("5h"), resolved("10h1ms")], CALLED_OFF),
        ([changed("5h", by="customer"), cancelled("20h")], CALLED_OFF),
        ([changed("5h", by="customer"), cancelled("20h1ms")], NOT_KEPT),
        ([cancelled("5h"), changed("6h")], CHANGED),
        ([cancelled("5h", named="x"), voided("6h", "x")], NOT_KEPT),
    ],
)
def test_a_cancelled_case(events: list[Event], expected: str) -> None:
    """Cancelled at or before the due time in force without evidence is excluded, later it is a miss (rule 22)."""
    assert verdict(*events) == expected


@pytest.mark.parametrize(
    "later", [[], [resolved("9h")], [kept("9h")], [changed("5h", by="customer")], [changed("5h")], [cancelled("5h")]]
)
def test_without_a_due_time(later: list[Event]) -> None:
    """Made without a due time it is not time-bound, whatever is changed later (rule 22)."""
    assert verdict(*later, due=None) == NO_DUE


def test_a_corrected_due_time() -> None:
    """The due time is the corrected one: put in, taken away or moved (rules 5 and 22)."""
    fixed = resolved("15h")
    assert verdict(fixed, corrected("2h", "made-K1-1h", {"due": "15h"})) == KEPT
    assert verdict(fixed, corrected("2h", "made-K1-1h", {"due": None})) == NO_DUE
    assert verdict(fixed, corrected("2h", "made-K1-1h", {"due": "15h"}), due=None) == KEPT
    assert verdict(fixed, corrected("2h", "made-K1-1h", {"due": "14h59m59s"})) == LATE


def test_of_several_statements_the_first_counts() -> None:
    """Made twice under one id, the first in event time is the promise, its due time included (rule 22)."""
    assert verdict(made("2h", "20h"), resolved("15h")) == LATE
    assert verdict(made("30m", "20h"), resolved("15h")) == KEPT


def test_which_commitments_are_there() -> None:
    """commitment_made makes a unit; a change or a kept of an unknown one makes none (rule 3)."""
    stub = [opened(), changed("2h"), kept("3h")]
    assert told(stub, "20h", "commitment_kept", "K1") == "no such unit"
    assert told([*stub, made()], "20h", "commitment_kept", "K1") == CHANGED
    assert told([made(), kept("3h")], "20h", "commitment_kept", "K1") == KEPT
    two = [opened(), made(), made(commitment="K2"), kept("9h", "K2")]
    assert told(two, "20h", "commitment_kept", "K1") == NOT_KEPT
    assert told(two, "20h", "commitment_kept", "K2") == KEPT


def test_a_voided_commitment_is_pending() -> None:
    """A commitment taken back by a void exists and waits with its case, then is unknown (rules 3, 4, 5 and 22)."""
    gone = voided("2h", "made-K1-1h")
    assert verdict(gone, resolved("20h")) == NOT_MADE
    assert verdict(gone, resolved("20h"), as_of="33d20h") == NOT_MADE
    assert verdict(gone, resolved("20h"), as_of="33d20h1ms") == "excluded unknown_at_seal:not_made"


@pytest.mark.parametrize(
    ("events", "due"),
    [
        ([], "10h"),
        ([resolved("5h")], "10h"),
        ([resolved("30h")], "10h"),
        ([cancelled("5h")], "10h"),
        ([changed("5h", by="customer")], "20h"),
        ([changed("5h", "6h", by="customer")], "6h"),
        ([changed("5h")], "10h"),
        ([changed("11h", by="customer")], "10h"),
        ([resolved("4h"), changed("5h", by="customer")], "10h"),
        ([changed("3h", by="customer"), changed("4h", "40h")], "20h"),
    ],
)
def test_the_seal_is_the_due_time_in_force_and_h(events: list[Event], due: str) -> None:
    """The due time in force when it was decided, and 72 h: final 1 ms later, hit or miss alike (rules 4 and 22)."""
    seal_ms = ms(due) + ms("72h") - ms("0h")
    for as_of, sealed in ((seal_ms, False), (seal_ms + 1, True)):
        found = judged([opened(), made(), *events], f"{as_of - ms('0h')}ms", "commitment_kept", "K1")
        assert found is not None
        assert (found.seal_ms, found.sealed) == (seal_ms, sealed)


@pytest.mark.parametrize(
    ("events", "seal"),
    [
        ([], "90d1h"),
        ([resolved("5h")], "33d5h"),
        ([cancelled("5h")], "77h"),
        ([merged("5h", "C9")], "90d5h"),
        ([changed("5h", by="customer")], "90d5h"),
    ],
)
def test_the_seal_without_a_due_time_is_the_cases(events: list[Event], seal: str) -> None:
    """Without a due time it is sealed as its case, merges apart (rule 4)."""
    found = judged([opened(), made(due=None), *events], "20h", "commitment_kept", "K1")
    assert found is not None
    assert (found.reason, found.seal_ms) == ("not_time_bound", ms(seal))


@pytest.mark.parametrize(("seen", "expected"), [("82h", KEPT), ("82h1ms", NOT_KEPT), ("82h1s", NOT_KEPT)])
def test_evidence_that_reaches_us_late(seen: str, expected: str) -> None:
    """Evidence in time that is delivered by the seal takes a miss back, later it does not (rules 3, 4 and 22)."""
    assert verdict(as_of="82h") == NOT_KEPT
    assert verdict(resolved("9h", seen=seen), as_of=seen) == expected


@pytest.mark.parametrize(("seen", "expected"), [("82h", "final_hit kept"), ("82h1ms", NOT_KEPT)])
def test_a_change_that_reaches_us_late(seen: str, expected: str) -> None:
    """An agreed change delivered by the seal before it moves the due time and the seal, later none (rules 3, 4, 22)."""
    known = [changed("5h", by="customer", seen=seen), resolved("15h", seen="83h")]
    assert verdict(*known, as_of="93h") == expected


def test_a_late_commitment_is_a_unit() -> None:
    """Made known after due and 72 h it counts, as nothing before it sealed it; what follows is late (rule 3)."""
    late = [made(seen="100h"), resolved("9h", seen="101h")]
    assert told(late, "102h", "commitment_kept", "K1") == NOT_KEPT
    assert told([made(seen="100h"), resolved("9h", seen="99h")], "102h", "commitment_kept", "K1") == "final_hit kept"


def test_commitments_stay_with_their_case() -> None:
    """A merged case's evidence keeps no commitment of the survivor, nor the other way round (rule 9)."""
    there = of_case("C2", opened("0h", asset_id="A2"), resolved("9h"), arrived("9h"), merged("30m", "C1"))
    assert verdict(*there) == NOT_KEPT
    here = [opened(), resolved("9h"), *of_case("C2", opened(asset_id="A2"), made(), merged("2h", "C1"))]
    assert told(here, "60h", "commitment_kept", "K1", case="C2") == NOT_KEPT


@pytest.mark.parametrize("kind", ["break_fix", "preventive", "alert"])
def test_commitments_of_any_case_are_judged(kind: str) -> None:
    """Other kinds, merges and withdrawals leave a commitment as it is; a case that never existed not (rule 23)."""
    known = [opened(kind=kind), made()]
    for end in ([], [merged("2h", "C9")], [cancelled("11h")]):
        assert told([*known, *end], "20h", "commitment_kept", "K1") == NOT_KEPT
    for reason in ("duplicate", "test", "created_in_error"):
        mistaken = [*known, cancelled("11h", reason=reason)]
        assert told(mistaken, "20h", "commitment_kept", "K1") == f"excluded {reason}"


@pytest.mark.parametrize(("seen", "expected"), [("82h", "excluded test"), ("82h1ms", NOT_KEPT)])
def test_a_mistake_counts_by_the_commitments_seal(seen: str, expected: str) -> None:
    """Never existed counts for a commitment if it was delivered by its seal (rules 4 and 23)."""
    assert verdict(cancelled("2h", reason="test", seen=seen), as_of="90h") == expected


@pytest.mark.parametrize(
    ("events", "anchor"),
    [
        ([resolved("9h")], "9h"),
        ([resolved("9h"), completed("8h", "fixed")], "8h"),
        ([resolved("11h")], "11h"),
        ([resolved("12h"), completed("11h", "fixed")], "11h"),
        ([], "10h"),
        ([changed("5h", by="customer")], "20h"),
        ([changed("5h")], "10h"),
        ([changed("5h"), resolved("6h")], "6h"),
        ([changed("5h", by="customer"), changed("21h", by="customer")], "20h"),
        ([resolved("30m")], "10h"),
    ],
)
def test_a_commitment_is_counted_at_its_evidence_or_when_it_was_due(events: list[Event], anchor: str) -> None:
    """Hit or miss, it is counted at its first evidence, without any at the due time in force (rule 22)."""
    found = judged([opened(), made(), *events], "60h", "commitment_kept", "K1")
    assert found is not None
    assert found.decided
    assert found.anchor_ms == ms(anchor)


def test_silence_of_a_dead_source_is_no_evidence() -> None:
    """While tickets are not reported no evidence proves nothing; a change that breaks it does (rule 6)."""
    for events, expected in (([], "pending source_silent"), ([changed("5h")], CHANGED)):
        known = [opened(), made(), *events]
        casebook = booked(known, catalogue={"commitment_kept": CATALOGUE["commitment_kept"]})
        casebook.assess(Clock(ms("60h"), ms("60h"), {"ticket": 0}))
        assert [f"{one.verdict} {one.reason}" for one in casebook.cases["C1"].verdicts] == [expected]
