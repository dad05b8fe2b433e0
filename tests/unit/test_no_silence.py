"""no_silence: did the customer always hear from us in time? Gaps, pauses and spans at their limits (rule 20)."""

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
    rescheduled,
    resolved,
    scheduled,
    told,
    visit_cancelled,
    voided,
    wakes_ms,
)
from cxstream.domain.instant import DAY_MS, HOUR_MS
from cxstream.domain.policy import Policy
from cxstream.engine.assess import Clock
from cxstream.vital_signs import CATALOGUE

HIT, MISS = "provisional_hit heard_throughout", "miss silence"
OPEN, CALLED_OFF = "pending open", "excluded cancelled"


def updated(at: str, **more: object) -> Event:
    """Return an update to the customer."""
    return event("ticket.customer_updated", at, **more)  # type: ignore[arg-type]


def waiting(at: str, **more: object) -> Event:
    """Return the start of a wait for the customer."""
    return event("ticket.waiting_on_customer", at, **more)  # type: ignore[arg-type]


def resumed(at: str, **more: object) -> Event:
    """Return the end of a wait for the customer."""
    return event("ticket.resumed", at, **more)  # type: ignore[arg-type]


def verdict(*events: Event, as_of: str = "32d", priority: str | None = None, policy: Policy | None = None) -> str:
    """Return what no_silence says of a case opened at 0h."""
    return told([opened(priority=priority), *events], as_of, "no_silence", policy=policy or Policy())


def breach(*events: Event, as_of: str = "32d") -> int | None:
    """Return the instant a missed no_silence is counted at, None if it is not missed."""
    found = judged([opened(), *events], as_of, "no_silence")
    return found.anchor_ms if found is not None and found.verdict == "miss" else None


@pytest.mark.parametrize(("priority", "limit"), [("P1", "4h"), ("P2", "24h"), ("P3", "24h"), (None, "24h")])
def test_the_limit_is_exceeded_not_reached(priority: str | None, limit: str) -> None:
    """A gap as long as the limit is none, 1 ms longer is a silence: 4 h for P1, 24 h for others (rules 6 and 20)."""
    for more, now, end in (("", OPEN, HIT), ("1ms", MISS, MISS), ("1s", MISS, MISS)):
        assert verdict(as_of=limit + more, priority=priority) == now
        assert verdict(resolved(limit + more), priority=priority) == end
        assert verdict(updated(limit + more), as_of=limit + more, priority=priority) == now


def test_the_silence_before_an_update_is_not_undone_by_it() -> None:
    """Whoever heard nothing for too long did, whatever he heard and got later (rule 20)."""
    assert verdict(updated("24h1ms"), updated("30h"), resolved("31h")) == MISS


def test_every_gap_counts() -> None:
    """Each gap between contacts, from the opening to the fix, is held against the limit (rule 20)."""
    heard = [updated("24h"), updated("48h"), updated("72h")]
    assert verdict(*heard, resolved("96h")) == HIT
    assert verdict(*heard, resolved("96h1ms")) == MISS
    assert verdict(*heard, as_of="96h") == OPEN
    assert verdict(*heard, as_of="96h1ms") == MISS
    assert verdict(heard[0], heard[2], resolved("73h")) == MISS
    assert verdict(*heard[::-1], resolved("96h")) == HIT


@pytest.mark.parametrize(
    "contact",
    [
        event("ticket.acknowledged", "20h"),
        event("ticket.acknowledged", "20h", auto=False),
        event("ticket.diagnosed", "20h"),
        updated("20h"),
        reopened("20h"),
        reopened("20h", reason="billing"),
        event("ticket.commitment_made", "20h", commitment_id="K1"),
        event("ticket.commitment_changed", "20h", commitment_id="K1"),
        planned("20h"),
        scheduled("20h", "48h", "50h"),
        rescheduled("20h", "48h", "50h"),
        event("dispatch.en_route", "20h", visit_id="V1"),
        arrived("20h"),
        completed("20h", "not_fixed"),
        completed("20h", "no_access"),
        visit_cancelled("20h"),
        planned("20h", silent=False),
        planned("20h", purpose="survey"),
    ],
    ids=lambda contact: contact["event_id"],
)
def test_what_a_customer_hears(contact: Event) -> None:
    """A person's answer, an update, a promise and what is seen of visits break a silence (rule 20)."""
    assert verdict(contact, as_of="44h") == OPEN
    assert verdict(contact, as_of="44h1ms") == MISS
    assert breach(contact) == ms("44h")


@pytest.mark.parametrize(
    "unheard",
    [
        event("ticket.acknowledged", "20h", auto=True),
        event("ticket.customer_contacted", "20h", reason="thanks"),
        event("ticket.customer_contacted", "20h"),
        event("ticket.commitment_kept", "20h", commitment_id="K1"),
        event("ticket.transferred", "20h"),
        event("ticket.closed", "20h"),
        event("ticket.compensated", "20h"),
        event("ticket.value_added", "20h"),
        event("dispatch.assigned", "20h", visit_id="V1"),
        event("parts.required", "20h", line_id="L1"),
        event("parts.delivered", "20h", line_id="L1"),
        event("parts.cancelled", "20h", line_id="L1"),
        planned("20h", silent=True),
        rescheduled("20h", "48h", "50h", silent=True),
        event("dispatch.en_route", "20h", visit_id="V1", silent=True),
        arrived("20h", silent=True),
        completed("20h", "not_fixed", silent=True),
        visit_cancelled("20h", silent=True),
        event("dispatch.something_new", "20h", visit_id="V1"),
    ],
    ids=lambda unheard: unheard["event_id"],
)
def test_what_a_customer_does_not_hear(unheard: Event) -> None:
    """Robots, his own calls, parts, work inside and silent dispatch facts break no silence (rule 20)."""
    assert verdict(unheard, as_of="24h") == OPEN
    assert breach(unheard) == ms("24h")


def test_a_silent_fix_ends_the_span() -> None:
    """Silent or not, a fix ends the wait (rules 7 and 20)."""
    assert verdict(completed("24h", "fixed", silent=True)) == HIT
    assert verdict(completed("24h1ms", "fixed", silent=True)) == MISS


@pytest.mark.parametrize(
    ("pauses", "breach_at"),
    [
        ([waiting("20h"), resumed("48h")], "52h"),
        ([waiting("0h"), resumed("48h")], "72h"),
        ([waiting("20h"), resumed("20h")], "24h"),
        ([waiting("20h"), resumed("19h")], "8d"),
        ([waiting("20h"), resumed("22h"), resumed("23h")], "26h"),
        ([waiting("10h"), resumed("12h"), waiting("14h"), resumed("20h")], "32h"),
        ([waiting("10h"), resumed("20h"), waiting("15h", named="w")], "34h"),
        ([waiting("10h"), waiting("12h"), resumed("20h")], "34h"),
        ([waiting("24h"), resumed("30h")], "30h"),
        ([waiting("24h1ms"), resumed("30h")], "24h"),
        ([waiting("23h59m59s999ms"), resumed("30h")], "30h1ms"),
        ([waiting("30h"), resumed("40h")], "24h"),
        ([waiting("20h")], "8d"),
        ([waiting("20h"), resumed("7d20h")], "8d"),
        ([waiting("20h"), resumed("7d19h59m59s")], "7d23h59m59s"),
        ([waiting("20h"), resumed("7d20h1s")], "8d"),
        ([waiting("20h"), resumed("20d")], "8d"),
        ([waiting("20h"), waiting("5d")], "12d4h"),
        ([waiting("20h"), waiting("7d20h")], "15d"),
        ([waiting("-1d"), resumed("10h")], "34h"),
        ([waiting("-7d"), resumed("10h")], "24h"),
        ([waiting("-6d")], "48h"),
    ],
)
def test_pauses_are_taken_off(pauses: list[Event], breach_at: str) -> None:
    """From waiting on the customer to resuming, at most 7 d each and overlaps once, no silence counts (rule 20)."""
    assert verdict(*pauses, as_of=breach_at) == OPEN
    assert verdict(*pauses, as_of=f"{breach_at}1ms") == MISS
    assert breach(*pauses) == ms(breach_at)
    assert verdict(*pauses, resolved(breach_at, named="end")) == HIT
    assert breach(*pauses, resolved(f"{breach_at}1ms", named="end")) == ms(breach_at)


def test_a_running_pause_counts_up_to_now() -> None:
    """While the customer is waited for no silence grows, for up to 7 d (rules 6 and 20)."""
    assert verdict(waiting("20h"), as_of="24h1ms") == OPEN
    assert verdict(waiting("20h"), as_of="7d20h") == OPEN
    assert verdict(waiting("20h"), as_of="8d") == OPEN
    assert verdict(waiting("20h"), as_of="8d1ms") == MISS


def test_an_update_in_a_pause() -> None:
    """A contact within a pause starts a new gap, which the rest of the pause does not lengthen (rule 20)."""
    assert breach(waiting("20h"), updated("40h"), resumed("48h")) == ms("72h")


def test_a_pause_is_taken_off_the_gap_it_lies_in() -> None:
    """A pause that was over before a gap began shortens no other and lengthens none (rule 20)."""
    assert breach(waiting("1h"), resumed("2h"), updated("20h")) == ms("44h")
    assert breach(waiting("1h"), resumed("2h"), updated("20h"), waiting("30h"), resumed("31h", named="r")) == ms("45h")


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([resolved("1h")], HIT),
        ([resolved("0h")], HIT),
        ([completed("0h", "fixed")], HIT),
        ([resolved("-1h")], MISS),
        ([resolved("1h"), reopened("10d")], MISS),
        ([resolved("1h"), reopened("10d"), resolved("11d", named="again")], HIT),
        ([resolved("1h"), reopened("10d"), resolved("11d1ms", named="again")], MISS),
        ([resolved("1h"), reopened("10d", reason="billing")], HIT),
        ([resolved("1h"), reopened("10d", reason="other")], HIT),
        ([resolved("1h"), reopened("10d"), resolved("10d", named="again")], MISS),
        ([resolved("1h"), reopened("10d"), cancelled("10d1h")], HIT),
        ([resolved("1h"), reopened("10d"), cancelled("11d1ms")], MISS),
        ([resolved("1h"), cancelled("9d"), reopened("10d")], HIT),
        ([resolved("1h"), cancelled("10d"), reopened("10d")], HIT),
        ([resolved("1h"), cancelled("10d1ms"), reopened("10d")], HIT),
        ([resolved("1h"), reopened("10d"), updated("10d20h"), resolved("11d10h", named="again")], HIT),
        ([resolved("1h"), updated("5d"), reopened("10d"), resolved("10d20h", named="again")], HIT),
        ([resolved("1h"), resolved("20d", named="again")], HIT),
        ([resolved("1h"), reopened("10d"), resolved("11d", named="again"), completed("20d", "fixed")], HIT),
        ([cancelled("1h")], CALLED_OFF),
        ([cancelled("0h")], CALLED_OFF),
        ([cancelled("24h")], CALLED_OFF),
        ([cancelled("24h1ms")], MISS),
        ([cancelled("1h"), reopened("2h")], CALLED_OFF),
        ([cancelled("1h"), resolved("2d")], HIT),
        ([cancelled("1h", named="x"), voided("2h", "x")], MISS),
        ([completed("1h", "not_fixed")], MISS),
        ([planned("1h", purpose="survey"), completed("2h", "fixed")], MISS),
    ],
)
def test_open_spans(events: list[Event], expected: str) -> None:
    """From opening and from each fault reopen before a cancellation, to a fix or cancellation (rules 7 and 20)."""
    assert verdict(*events) == expected


def test_a_reopened_case_is_open_again() -> None:
    """A reopen at its instant makes a hit pending again, until the next fix (rule 20)."""
    again = [resolved("1h"), reopened("10d")]
    assert verdict(*again[:1], as_of="9d") == HIT
    assert verdict(*again, as_of="10d") == OPEN
    assert verdict(*again, as_of="11d") == OPEN
    assert verdict(*again, as_of="11d1ms") == MISS


@pytest.mark.parametrize("kind", ["contact", "fix", "cancellation"])
def test_a_gap_counts_up_to_the_clock(kind: str) -> None:
    """What lies in the clock's future ends a gap, yet the silence before it appears at its own instant (rule 20)."""
    facts = {"contact": updated, "fix": resolved, "cancellation": cancelled}
    ahead = [facts[kind]("10h", named="x"), corrected("11h", "x", {"at": "30h"})]
    before = {"contact": OPEN, "fix": HIT, "cancellation": CALLED_OFF}[kind]
    assert verdict(*ahead, as_of="12h") == before
    assert verdict(*ahead, as_of="24h") == before
    assert verdict(*ahead, as_of="24h1ms") == MISS
    assert breach(*ahead) == ms("24h")


def test_a_reopened_gap_counts_up_to_the_clock() -> None:
    """So it is in a case that a reopen yet to come leaves open (rule 20)."""
    ahead = [resolved("10h", named="x"), corrected("11h", "x", {"at": "30h"}), reopened("11h30m", named="y")]
    known = [*ahead, corrected("11h40m", "y", {"at": "31h"})]
    assert verdict(*known, as_of="24h") == OPEN
    assert verdict(*known, as_of="24h1ms") == MISS


@pytest.mark.parametrize(
    ("events", "wakes"),
    [
        ([], "24h1ms"),
        ([updated("1h")], "25h1ms"),
        ([waiting("20m"), event("ticket.resumed", "30d")], "8d1ms"),
        ([resolved("30m"), reopened("40m")], "24h40m1ms"),
        ([resolved("1h", named="x"), corrected("1h", "x", {"at": "30h"})], "24h1ms"),
        ([cancelled("1h", named="x"), corrected("1h", "x", {"at": "30h"})], "24h1ms"),
    ],
)
def test_the_case_is_judged_again_after_the_limit(events: list[Event], wakes: str) -> None:
    """The case wakes 1 ms after the limit is reached, where the verdict changes, and not before (rules 6 and 20)."""
    casebook = booked([opened(), *events], catalogue={"no_silence": CATALOGUE["no_silence"]})
    casebook.assess(Clock.at(ms("1h")))
    assert wakes_ms(casebook.cases["C1"]) == ms(wakes)
    for clock_ms, missed in ((ms(wakes) - 1, False), (ms(wakes), True)):
        casebook.assess(Clock.at(clock_ms))
        assert [one.verdict == "miss" for one in casebook.cases["C1"].verdicts] == [missed]


def test_an_ended_case_wakes_at_its_seal_only() -> None:
    """Once fixed without a silence the clock changes nothing but the seal (rules 4 and 20)."""
    casebook = booked([opened(), resolved("1h")], catalogue={"no_silence": CATALOGUE["no_silence"]})
    casebook.assess(Clock.at(ms("2h")))
    assert wakes_ms(casebook.cases["C1"]) == ms("33d1h1ms")


@pytest.mark.parametrize(
    ("limit_ms", "expected"),
    [(90 * DAY_MS, "excluded unknown_at_seal:open"), (90 * DAY_MS - 1, MISS)],
)
def test_the_running_gap_counts_at_most_to_the_seal(limit_ms: int, expected: str) -> None:
    """Abandoned, a case is silent up to its seal, 90 d after the last delivery, and not beyond (rules 4 and 20)."""
    policy = Policy(silence_limit_ms=limit_ms)
    assert verdict(as_of="200d", policy=policy) == expected
    assert verdict(as_of="90d", policy=policy) == (OPEN if limit_ms == 90 * DAY_MS else MISS)


def test_a_running_pause_counts_at_most_to_the_seal() -> None:
    """A pause that is running when the case seals is no silence (rules 4 and 20)."""
    policy = Policy(longest_pause_ms=200 * DAY_MS)
    assert verdict(waiting("20h"), as_of="90d20h", policy=policy) == OPEN
    assert verdict(waiting("20h"), as_of="300d", policy=policy) == "excluded unknown_at_seal:open"


def test_limits_are_configured() -> None:
    """A general limit and limits of single priorities are followed (rule 20)."""
    policy = Policy(silence_limit_ms=2 * HOUR_MS, silence_limit_by_priority_ms={"P2": HOUR_MS})
    for priority, limit in (("P1", "2h"), ("P2", "1h"), ("P3", "2h")):
        assert verdict(as_of=limit, priority=priority, policy=policy) == OPEN
        assert verdict(as_of=f"{limit}1ms", priority=priority, policy=policy) == MISS


def test_a_corrected_priority_moves_the_limit() -> None:
    """The limit is that of the opening's priority as corrected (rules 5 and 20)."""
    assert verdict(corrected("5h", "opened-0h", {"priority": "P1"}), as_of="6h") == MISS


def test_a_silence_is_taken_back_by_an_update_that_reaches_us_late() -> None:
    """A miss becomes pending or a hit when a contact in time is delivered by the seal (rules 2, 3 and 20)."""
    late_sync = updated("20h", seen="30h")
    assert verdict(as_of="29h") == MISS
    assert verdict(late_sync, as_of="30h") == OPEN
    assert verdict(late_sync, resolved("40h"), as_of="41h") == HIT


@pytest.mark.parametrize(("seen", "expected"), [("34d6h", HIT), ("34d6h1ms", MISS), ("34d6h1s", MISS)])
def test_an_update_that_reaches_us_by_the_seal(seen: str, expected: str) -> None:
    """At the seal, fix and R and H, an update still counts, 1 ms later it does not (rules 3, 4 and 20)."""
    assert verdict(resolved("30h"), updated("20h", seen=seen), as_of=seen) == expected


def test_a_seal_makes_a_hit_final() -> None:
    """At the seal a hit is provisional, 1 ms later final (rules 4 and 20)."""
    assert verdict(resolved("1h"), as_of="33d1h") == HIT
    assert verdict(resolved("1h"), as_of="33d1h1ms") == "final_hit heard_throughout"


def test_what_is_heard_of_an_absorbed_case() -> None:
    """Visits of a case merged into this one are heard, its ticket's updates and pauses are its own (rules 9, 20)."""
    base = of_case("C2", opened("1h", asset_id="A2"), merged("2h", "C1"))
    for contact, expected in ((planned("20h", "V2"), OPEN), (updated("20h"), MISS), (waiting("20h"), MISS)):
        assert verdict(*base, *of_case("C2", contact), as_of="30h") == expected
    assert verdict(*base, *of_case("C2", completed("20h", "fixed", "V2"))) == HIT


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([opened(kind="preventive")], "excluded preventive"),
        ([opened(kind="alert")], "excluded alert"),
        ([opened(), merged("1h", "C9")], "excluded merged"),
        ([opened(), cancelled("50h", reason="duplicate")], "excluded duplicate"),
        ([opened(), cancelled("50h")], MISS),
        ([updated("1h"), resolved("20d")], "pending not_opened"),
        ([opened(asset_id=None)], MISS),
    ],
)
def test_which_cases_are_judged(events: list[Event], expected: str) -> None:
    """Only break_fix cases that exist, are not merged and were opened; a withdrawal keeps the miss (rule 23)."""
    assert told(events, "30d", "no_silence") == expected


@pytest.mark.parametrize(
    ("events", "anchor"),
    [
        ([resolved("1h")], "1h"),
        ([completed("1h", "fixed"), resolved("2h")], "1h"),
        ([resolved("1h"), reopened("10d"), resolved("10d1h", named="again")], "1h"),
        ([], "24h"),
        ([updated("3d"), updated("9d")], "24h"),
        ([updated("3d", seen="3d"), updated("24h"), updated("2d")], "4d"),
        ([resolved("1h"), reopened("10d"), resolved("20d", named="again")], "11d"),
    ],
)
def test_a_case_is_counted_at_the_first_breach_or_the_fix(events: list[Event], anchor: str) -> None:
    """A miss is counted where the first silence reached the limit, a hit at the first fix (rule 20)."""
    found = judged([opened(), *events], "32d", "no_silence")
    assert found is not None
    assert found.decided
    assert found.anchor_ms == ms(anchor)


def test_silence_of_a_dead_source_is_no_evidence() -> None:
    """While tickets are not reported that nobody was heard of proves nothing (rule 6)."""
    casebook = booked([opened()], catalogue={"no_silence": CATALOGUE["no_silence"]})
    for silent, expected in (({"ticket": 0}, "pending source_silent"), ({"ticket": ms("25h")}, MISS)):
        casebook.assess(Clock(ms("30h"), ms("30h"), silent))
        assert [f"{one.verdict} {one.reason}" for one in casebook.cases["C1"].verdicts] == [expected]
