"""Admission: which events become facts, and which of several copies is kept (rule 1)."""

from __future__ import annotations

from itertools import permutations

import pytest

from cases import POLICY, Event, arrived, booked, corrected, delivered, event, facts, ms, opened, scheduled, told
from cxstream.domain.cases import Case
from cxstream.domain.facts import Fact, RejectedError, admit
from cxstream.domain.instant import DAY_MS, LATEST_MS, MINUTE_MS

NAIVE = "2026-03-02T10:00:00"
SECRET = "s3cret-of-the-customer"  # noqa: S105 - what no message may show
AT_MS = ms("0h")


def rejection(changed: Event, delivered_ms: int | None = None) -> RejectedError:
    """Return why an event is rejected."""
    with pytest.raises(RejectedError) as raised:
        admit(changed, delivered_ms, skew_ms=POLICY.clock_skew_ms)
    return raised.value


@pytest.mark.parametrize(
    ("naive", "field"),
    [
        ({**opened(), "at": NAIVE}, "at"),
        ({**opened(), "first_contact_at": NAIVE}, "first_contact_at"),
        ({**scheduled("0h", "1h", "2h"), "window_start": NAIVE}, "window_start"),
        ({**scheduled("0h", "1h", "2h"), "window_end": NAIVE}, "window_end"),
        ({**event("ticket.commitment_made", "0h", commitment_id="K1"), "due": NAIVE}, "due"),
        ({**corrected("0h", "e1", {}), "set": {"at": NAIVE}}, "set.at"),
        ({**corrected("0h", "e1", {}), "set": {"due": NAIVE}}, "set.due"),
        ({**event("ticket.invented", "0h"), "at": NAIVE}, "at"),
        ({**event("ticket.invented", "0h"), "window_end": NAIVE}, "window_end"),
        ({**event("ticket.resolved", "0h"), "due": NAIVE}, "due"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_time_without_offset_is_refused(naive: Event, field: str) -> None:
    """An event any of whose timestamps has no offset is rejected as naive_time, and the field is named (rule 1)."""
    error = rejection(naive)
    assert (error.reason, error.field) == ("naive_time", field)
    assert "offset" in error.expected


def test_a_delivery_time_without_offset_is_refused() -> None:
    """In a file, `seen` is held to the same as any other time (rule 1)."""
    with pytest.raises(RejectedError, match=r"^naive_time: seen: "):
        delivered({**opened(), "seen": NAIVE})
    with pytest.raises(RejectedError, match=r"^invalid: seen: "):
        delivered({**opened(), "seen": SECRET})


@pytest.mark.parametrize("offset", ["Z", "z", "+00:00", "+05:45", "-09:30"])
def test_any_offset_will_do(offset: str) -> None:
    """With an offset, whichever, a time is an instant; milliseconds since the epoch are one as well (rule 1)."""
    fact = facts({**opened(), "at": f"2026-03-02T10:00:00.250{offset}"})[0]
    assert fact.at_ms % 1000 == 250
    assert admit({**opened(), "at": AT_MS}, skew_ms=0)[1].at_ms == AT_MS


@pytest.mark.parametrize(("ahead_ms", "reason"), [(5 * MINUTE_MS, None), (5 * MINUTE_MS + 1, "future")])
def test_an_event_may_be_5_minutes_ahead(ahead_ms: int, reason: str | None) -> None:
    """Exactly 5 min ahead of its own delivery an event is admitted, a millisecond more and it is future (rule 1)."""
    if reason is None:
        _, fact = admit(opened(), AT_MS - ahead_ms, skew_ms=POLICY.clock_skew_ms)
        assert (fact.at_ms, fact.delivered_ms) == (AT_MS, AT_MS - ahead_ms)
    else:
        error = rejection(opened(), AT_MS - ahead_ms)
        assert (error.reason, error.field) == (reason, "at")


def test_only_the_event_time_can_be_future() -> None:
    """Windows and due times lie ahead by nature: only `at` is compared with the delivery (rule 1)."""
    assert facts(scheduled("0h", "300d", "301d"), event("ticket.commitment_made", "0h", commitment_id="K", due="9d"))


def test_a_window_may_be_an_instant() -> None:
    """A window that ends when it starts is a window (rule 1)."""
    instant = [scheduled("0h", "48h", "48h"), arrived("48h15m")]
    assert told(instant, "60h", "on_time_arrival", "V1") == "provisional_hit on_time"


def test_lateness_is_never_a_reason_to_refuse() -> None:
    """A fact delivered ten years after it happened is admitted (rule 1)."""
    _, fact = admit(opened(), AT_MS + 3650 * DAY_MS, skew_ms=0)
    assert fact.delivered_ms - fact.at_ms == 3650 * DAY_MS


def test_a_rejected_event_uses_up_no_id() -> None:
    """An id that came with a rejected event is still free for the event that is right (rule 1)."""
    wrong = {**arrived("49h", named="e2"), "at": NAIVE}
    with pytest.raises(RejectedError):
        booked([scheduled("0h", "48h", "50h"), wrong])
    right = arrived("49h", named="e2")
    assert told([scheduled("0h", "48h", "50h"), right], "60h", "on_time_arrival", "V1") == "provisional_hit on_time"


def copy(offset: str, delivery: str, **fields: object) -> Fact:
    """Return one copy of event e1."""
    return facts(event("ticket.opened", offset, named="e1", seen=delivery, **fields))[0]


@pytest.mark.parametrize(
    ("kept", "other", "reception"),
    [
        (copy("0h", "1h"), copy("0h", "1h"), "duplicate"),
        (copy("0h", "1h"), copy("0h", "2h"), "duplicate"),
        (copy("0h", "1h", symptom="z"), copy("0h", "2h", symptom="a"), "conflict"),
        (copy("0h", "1h", symptom="a"), copy("0h", "1h", symptom="z"), "conflict"),
        (copy("0h", "1h"), copy("1s", "2h"), "conflict"),
    ],
    ids=["same", "later copy", "later conflict", "larger payload", "other time"],
)
def test_the_smallest_copy_is_kept(kept: Fact, other: Fact, reception: str) -> None:
    """Of copies of one id the smallest (delivered, payload) is kept, in either order; the rest are counted (rule 1)."""
    for first, second in ((kept, other), (other, kept)):
        case, received = Case("C1").advance(first)
        assert received == "applied"
        case, received = case.advance(second)
        assert received == reception
        assert case.facts == [kept]


def test_three_copies_in_any_order() -> None:
    """The smallest of many copies stays, whatever the order, and has its place by delivery (rules 1 and 2)."""
    copies = [copy("0h", "3h", symptom="a"), copy("0h", "2h", symptom="b"), copy("0h", "2h", symptom="c")]
    between = facts(event("ticket.acknowledged", "0h", named="e0", seen="150m"))
    for order in permutations(copies + between):
        case = Case("C1")
        for fact in order:
            case, _ = case.advance(fact)
        assert case.facts == [copies[1], *between]


def test_ids_are_unique_within_a_case_only() -> None:
    """The same event id in two cases is two facts (rule 1)."""
    casebook = booked([opened(named="e1", case="C1"), opened(named="e1", case="C2", asset_id="A2")])
    assert [len(case.facts) for case in casebook.cases.values()] == [1, 1]


def test_a_known_copy_changes_nothing_at_all() -> None:
    """Taking in what is known returns the very same case, so nothing is written or judged for it (rules 1 and 2)."""
    case, _ = Case("C1").advance(copy("0h", "1h"))
    for known in (copy("0h", "1h"), copy("0h", "2h"), copy("0h", "2h", symptom="s")):
        assert case.advance(known)[0] is case


@pytest.mark.parametrize(
    ("wrong", "field", "expected"),
    [
        ({**opened(), "event_id": ""}, "event_id", "non-empty text"),
        ({**opened(), "event_id": None}, "event_id", "non-empty text"),
        ({**opened(), "case_id": 7}, "case_id", "non-empty text"),
        ({**opened(), "case_id": "\ud800"}, "case_id", "non-empty text"),
        ({**opened(), "type": ["opened"]}, "type", "non-empty text"),
        ({**opened(), "topic": SECRET}, "topic", "one of ticket, dispatch, parts"),
        ({**opened(), "at": SECRET}, "at", "an RFC 3339 time"),
        ({**opened(), "at": None}, "at", "an RFC 3339 time"),
        ({**opened(), "at": True}, "at", "an RFC 3339 time"),
        ({**opened(), "at": 1.5}, "at", "an RFC 3339 time"),
        ({**opened(), "at": -1}, "at", "between 1970 and 9999"),
        ({**opened(), "at": LATEST_MS + 1}, "at", "between 1970 and 9999"),
        ({**opened(), "at": "1969-12-31T23:59:59Z"}, "at", "between 1970 and 9999"),
        ({**opened(), "priority": SECRET}, "priority", "one of P1, P2, P3"),
        ({**opened(), "priority": ["P1"]}, "priority", "one of P1, P2, P3"),
        ({**opened(), "kind": SECRET}, "kind", "one of break_fix, preventive, alert"),
        ({**opened(), "tz": f"Europe/{SECRET}"}, "tz", "an IANA time zone"),
        ({**opened(), "tz": 1}, "tz", "an IANA time zone"),
        ({**opened(), "asset_id": 42_424_242}, "asset_id", "text"),
        ({**opened(), "transfers": -1}, "transfers", "a whole number, 0 or more"),
        ({**opened(), "transfers": True}, "transfers", "a whole number, 0 or more"),
        ({**opened(), "transfers": 1 << 53}, "transfers", "a whole number, 0 or more"),
        ({**event("ticket.acknowledged", "0h"), "auto": SECRET}, "auto", "true or false"),
        ({**arrived("0h"), "visit_id": None}, "visit_id", "a value, which dispatch.arrived needs"),
        ({**arrived("0h"), "visit_id": ""}, "visit_id", "non-empty text"),
        ({**event("ticket.merged", "0h")}, "into", "a value, which ticket.merged needs"),
        ({**event("ticket.voided", "0h")}, "target", "a value, which ticket.voided needs"),
        ({**event("parts.corrected", "0h", target="e1")}, "set", "a value, which parts.corrected needs"),
        ({**scheduled("0h", "2h", "1h")}, "window_end", "not before window_start"),
        ({**scheduled("0h", "2h", "3h"), "window_end": None}, "window_end", "both ends of the window"),
        ({**scheduled("0h", "2h", "3h"), "window_start": None}, "window_start", "both ends of the window"),
        ({**corrected("0h", "e1", {}), "set": SECRET}, "set", "an object of field: value"),
        ({**corrected("0h", "e1", {}), "set": {}}, "set", "at least one field"),
        ({**corrected("0h", "e1", {"case_id": SECRET, "type": SECRET})}, "set", "at least one field"),
        ({**corrected("0h", "e1", {"qty": 1.5})}, "set.qty", "text, a whole number, true, false or null"),
        ({**corrected("0h", "e1", {"symptom": [SECRET]})}, "set.symptom", "text, a whole number"),
        ({**corrected("0h", "e1", {}), "set": {"at": SECRET}}, "set.at", "an RFC 3339 time"),
    ],
)
def test_a_wrong_field_is_named_with_what_was_expected(wrong: Event, field: str, expected: str) -> None:
    """An invalid event says which field is wrong and what it should be, and never shows a value (rule 1)."""
    error = rejection(wrong)
    assert (error.reason, error.field) == ("invalid", field)
    assert expected in error.expected
    assert SECRET not in str(error)
    assert "42424242" not in str(error)
    assert str(error) == f"invalid: {field}: {error.expected}"


def test_unknown_types_are_admitted_and_change_no_verdict() -> None:
    """A type the vocabulary does not know is a fact without fields that no verdict listens to (rule 1)."""
    unknown = event("dispatch.levitated", "49h", visit_id="V1", outcome="fixed")
    assert facts(unknown)[0].fields == {}
    promise = [scheduled("0h", "48h", "50h"), unknown]
    assert told(promise, "60h", "on_time_arrival", "V1") == "miss no_show"


def test_unknown_fields_are_dropped_and_missing_ones_have_defaults() -> None:
    """A fact keeps what the vocabulary declares; an absent or null field reads as its default (rule 1)."""
    fact = facts({**opened(asset_id=None), "mood": SECRET})[0]
    assert fact.fields == {}
    assert (fact.text("priority"), fact.text("kind"), fact.text("tz")) == ("P3", "break_fix", "UTC")
    assert fact.text("asset_id") is None
    line = facts(event("parts.required", "0h", line_id="L1"))[0]
    assert (line.count("qty"), line.text("to"), line.flag("auto")) == (1, "site", False)
    reasons = {"customer_contacted": "status_chase", "reopened": "same_fault", "cancelled": "customer_withdrew"}
    for event_type, reason in reasons.items():
        assert facts(event(f"ticket.{event_type}", "0h"))[0].text("reason") == reason
    assert facts(event("dispatch.rescheduled", "0h", visit_id="V1"))[0].text("by") == "provider"


def test_a_correction_never_names_the_envelope() -> None:
    """Of a correction's fields event_id, topic, type and case_id are left out, `at` is not (rules 1 and 5)."""
    changes = {"event_id": "x", "topic": "parts", "type": "voided", "case_id": "C2", "at": "1h", "symptom": "s"}
    assert facts(corrected("2h", "e1", changes))[0].fields["set"] == {"at": ms("1h"), "symptom": "s"}
