"""smart_commitment_share: was anything promised by a time? (definition B1)."""

from __future__ import annotations

import pytest

from cases import (
    Event,
    booked,
    cancelled,
    corrected,
    event,
    judged,
    merged,
    ms,
    of_case,
    opened,
    planned,
    rescheduled,
    resolved,
    scheduled,
    told,
    voided,
)
from cxstream.engine.assess import Clock

HIT, MISS = "provisional_hit promised", "miss nothing_promised"


def verdict(*events: Event, as_of: str = "20h") -> str:
    """Return what the sign says of C1."""
    return told([opened(), *events], as_of, "smart_commitment_share")


def made(at: str = "1h", **more: object) -> Event:
    """Return a commitment."""
    return event("ticket.commitment_made", at, **{"commitment_id": "K1", **more})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], MISS),
        ([made()], MISS),
        ([made(due="9h")], HIT),
        ([made(), event("ticket.commitment_changed", "2h", commitment_id="K1", due="9h")], MISS),
        ([planned("1h")], MISS),
        ([scheduled("1h", "5h", "7h")], HIT),
        ([planned("1h"), rescheduled("2h", "5h", "7h")], HIT),
        ([resolved("1h")], MISS),
        ([resolved("1h"), made("2h", due="9h")], HIT),
        ([cancelled("1h")], MISS),
        ([made(due="9h"), cancelled("2h")], HIT),
        ([made(due="9h"), voided("2h", "commitment_made-1h")], MISS),
        ([made(), corrected("2h", "commitment_made-1h", {"due": "9h"})], HIT),
    ],
)
def test_what_is_a_promise_bound_to_a_time(events: list[Event], expected: str) -> None:
    """A visit window or a commitment made with a due time is one; an open case without any is a miss (B1)."""
    assert verdict(*events) == expected


def test_it_is_counted_at_the_opening_and_sealed_as_the_case() -> None:
    """Hit and miss have the same anchor, so a window holds the same cases for both; final at the seal (B1, rule 4)."""
    for events, expected in (([made(due="9h")], "final_hit"), ([], "miss")):
        found = judged([opened(), resolved("1h"), *events], "34d", "smart_commitment_share")
        assert found is not None
        assert (found.verdict, found.anchor_ms, found.seal_ms) == (expected, ms("0h"), ms("33d1h"))
        assert found.sealed


def test_the_first_promise_takes_the_miss_back() -> None:
    """What was published as a miss while nothing was promised is retracted by the first promise (B1)."""
    casebook = booked([opened()])
    casebook.assess(Clock.at(ms("30m")))
    casebook.cases["C1"], _ = casebook.cases["C1"].advance(booked([made(due="9h")]).cases["C1"].facts[0])
    casebook.assess(Clock.at(ms("2h")))
    found = next(one for one in casebook.cases["C1"].verdicts if one.sign == "smart_commitment_share")
    assert (found.verdict, found.retracted) == ("provisional_hit", True)


def test_scope() -> None:
    """Without opening it is pending; merged, preventive and mistaken cases are excluded (B1, rule 23)."""
    assert told([resolved("1h")], "2h", "smart_commitment_share") == "pending not_opened"
    assert told([opened(kind="preventive")], "2h", "smart_commitment_share") == "excluded preventive"
    assert verdict(cancelled("1h", reason="test")) == "excluded test"
    assert verdict(merged("1h", "C2"), *of_case("C2", opened())) == "excluded merged"


def test_a_dead_dispatch_feed_proves_nothing() -> None:
    """That no window was heard of is no miss while the feed it would come by was dead at the opening (B1, rule 6)."""
    casebook = booked([opened()])
    for silent_since, expected in (("-1h", "pending"), ("1h", "miss")):
        assessment = casebook.assess(Clock(ms("2h"), ms("2h"), {"dispatch": ms(silent_since)}))["C1"]
        found = {one.sign: one.verdict for one in assessment.case.verdicts}
        assert found["smart_commitment_share"] == expected
