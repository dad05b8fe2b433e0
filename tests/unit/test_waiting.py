"""first_response and explained: was there an answer in time, and a person's? At the limit and beyond (rule 19)."""

from __future__ import annotations

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
    judged,
    merged,
    ms,
    of_case,
    opened,
    reopened,
    resolved,
    told,
    voided,
    wakes_ms,
)
from cxstream.domain.policy import Policy
from cxstream.engine.assess import Clock
from cxstream.vital_signs import CATALOGUE

IN_TIME, LATE = "provisional_hit in_time", "miss late"
NO_ANSWER, AWAITED, CALLED_OFF = "miss no_answer", "pending awaited", "excluded cancelled"
ANSWERS = {"first_response": "ticket.acknowledged", "explained": "ticket.diagnosed"}
LIMITS = [
    ("first_response", "P1", "1h"),
    ("first_response", "P2", "4h"),
    ("first_response", "P3", "8h"),
    ("first_response", None, "8h"),
    ("explained", "P1", "24h"),
    ("explained", "P2", "24h"),
    ("explained", "P3", "24h"),
]
"""Sign, priority, and when an answer to an opening at 0h is due."""

each_limit = pytest.mark.parametrize(("sign", "priority", "due"), LIMITS)
each_sign = pytest.mark.parametrize(("sign", "due"), [("first_response", "8h"), ("explained", "24h")])


def answered(sign: str, at: str, **more: object) -> Event:
    """Return what answers a sign: a person's acknowledgement, or the diagnosis told to the customer."""
    return event(ANSWERS[sign], at, **more)  # type: ignore[arg-type]


def plus(offset: str, more_ms: int) -> str:
    """Return an offset some milliseconds later (or earlier)."""
    return f"{ms(offset) - ms('0h') + more_ms}ms"


@each_limit
@pytest.mark.parametrize(
    ("more_ms", "expected"), [(-1000, IN_TIME), (-1, IN_TIME), (0, IN_TIME), (1, LATE), (1000, LATE)]
)
def test_answered_by_the_due_time(sign: str, priority: str | None, due: str, more_ms: int, expected: str) -> None:
    """An answer at or before opening and target is in time, one 1 ms later is not, by priority (rule 19)."""
    assert told([opened(priority=priority), answered(sign, plus(due, more_ms))], "30h", sign) == expected


@each_limit
@pytest.mark.parametrize(("more_ms", "expected"), [(-1, AWAITED), (0, AWAITED), (1, NO_ANSWER), (1000, NO_ANSWER)])
def test_a_miss_needs_no_event(sign: str, priority: str | None, due: str, more_ms: int, expected: str) -> None:
    """Nothing at all is a miss at the first instant after the due time (rules 6 and 19)."""
    assert told([opened(priority=priority)], plus(due, more_ms), sign) == expected


@each_limit
def test_the_case_is_judged_again_when_the_answer_was_due(sign: str, priority: str | None, due: str) -> None:
    """While an answer is awaited the case wakes 1 ms after it is due, where the verdict changes (rules 6 and 19)."""
    casebook = booked([opened(priority=priority)], catalogue={sign: CATALOGUE[sign]})
    casebook.assess(Clock.at(ms("1m")))
    assert wakes_ms(casebook.cases["C1"]) == ms(due) + 1
    for clock_ms, expected in ((ms(due), AWAITED), (ms(due) + 1, NO_ANSWER)):
        casebook.assess(Clock.at(clock_ms))
        assert [f"{one.verdict} {one.reason}" for one in casebook.cases["C1"].verdicts] == [expected]


def test_a_robot_is_not_a_person() -> None:
    """An automatic acknowledgement answers nobody; a person's beside it does (rule 19)."""
    robot = event("ticket.acknowledged", "1m", auto=True)
    assert told([opened(), robot], "8h", "first_response") == AWAITED
    assert told([opened(), robot], "9h", "first_response") == NO_ANSWER
    assert told([opened(), robot, answered("first_response", "8h")], "9h", "first_response") == IN_TIME
    assert told([opened(), robot, answered("first_response", "8h1ms")], "9h", "first_response") == LATE
    assert told([opened(), answered("first_response", "1m", auto=False)], "9h", "first_response") == IN_TIME
    unmasked = corrected("2h", "acknowledged-1m", {"auto": False})
    assert told([opened(), robot, unmasked], "9h", "first_response") == IN_TIME


@each_sign
@pytest.mark.parametrize(
    "other",
    [
        [resolved("1h")],
        [completed("1h", "fixed")],
        [arrived("1h")],
        [event("ticket.customer_updated", "1h")],
        [event("ticket.customer_contacted", "1h")],
        [event("dispatch.scheduled", "1h", visit_id="V1")],
        [event("ticket.commitment_made", "1h", commitment_id="K1", due="20h")],
        [event("ticket.transferred", "1h"), event("ticket.closed", "2h")],
    ],
)
def test_what_answers_neither(sign: str, due: str, other: list[Event]) -> None:
    """A fix, a visit, an update or a promise answers neither question (rule 19)."""
    assert told([opened(), *other], due, sign) == AWAITED
    assert told([opened(), *other], plus(due, 1), sign) == NO_ANSWER


def test_each_answer_answers_its_own_question() -> None:
    """An acknowledgement explains nothing, a diagnosis is no acknowledgement (rule 19)."""
    assert told([opened(), answered("first_response", "1h")], "25h", "explained") == NO_ANSWER
    assert told([opened(), answered("explained", "1h")], "25h", "first_response") == NO_ANSWER


@each_sign
def test_the_first_answer_counts(sign: str, due: str) -> None:
    """Of several answers the earliest counts, in whatever order they reach us (rules 2 and 19)."""
    first, later = answered(sign, "1h", seen="26h"), answered(sign, plus(due, 1))
    assert told([opened(), first, later], "30h", sign) == told([opened(), later, first], "30h", sign) == IN_TIME
    assert told([opened(), later], "30h", sign) == LATE


@each_sign
def test_an_answer_before_the_opening_is_in_time(sign: str, due: str) -> None:
    """Whoever was answered before the case was opened was answered in time (rule 19)."""
    assert told([opened(), answered(sign, "-1h")], plus(due, 1), sign) == IN_TIME


@each_sign
def test_an_answer_the_clock_has_not_reached(sign: str, due: str) -> None:
    """An answer known ahead to be late is a miss once the due time has passed, not before (rules 6 and 19)."""
    skewed = answered(sign, plus(due, 60_000), seen=plus(due, -60_000))
    assert told([opened(), skewed], due, sign) == AWAITED
    assert told([opened(), skewed], plus(due, 1), sign) == LATE


@each_sign
@pytest.mark.parametrize(
    ("cancelled_ms", "answered_ms", "expected"),
    [
        (-1, None, CALLED_OFF),
        (0, None, CALLED_OFF),
        (1, None, NO_ANSWER),
        (1000, None, NO_ANSWER),
        (-1000, 0, IN_TIME),
        (0, 0, IN_TIME),
        (0, 1, CALLED_OFF),
        (1, 2, LATE),
        (1, 0, IN_TIME),
    ],
)
def test_a_cancelled_case(sign: str, due: str, cancelled_ms: int, answered_ms: int | None, expected: str) -> None:
    """Cancelled at or before due and not answered by then is excluded; an answer in time is a hit (rule 19)."""
    answers = [] if answered_ms is None else [answered(sign, plus(due, answered_ms))]
    assert told([opened(), cancelled(plus(due, cancelled_ms)), *answers], "30h", sign) == expected


@each_sign
def test_a_cancelled_case_is_excluded_at_once(sign: str, due: str) -> None:
    """A case that ended unanswered does not wait for the due time, and voiding the cancellation undoes it (rule 7)."""
    assert told([opened(), cancelled("30m")], "45m", sign) == CALLED_OFF
    assert told([opened(), cancelled("30m", named="x"), voided("40m", "x")], plus(due, 1), sign) == NO_ANSWER


@each_sign
def test_a_reopen_asks_no_new_answer(sign: str, due: str) -> None:
    """The clock runs from the opening once; a reopening starts no other (rule 19)."""
    again = [resolved("2h"), reopened("3h")]
    assert told([opened(), answered(sign, "1h"), *again], "60h", sign) == IN_TIME
    assert told([opened(), *again], plus(due, 1), sign) == NO_ANSWER


def test_the_target_is_the_openings() -> None:
    """Priority and time of the opening, as corrected, give the due time (rules 5 and 19)."""
    late = answered("first_response", "2h")
    assert told([opened(), late], "9h", "first_response") == IN_TIME
    assert told([opened(), late, corrected("3h", "opened-0h", {"priority": "P1"})], "9h", "first_response") == LATE
    assert told([opened(), late, corrected("3h", "opened-0h", {"at": "-6h1ms"})], "9h", "first_response") == LATE
    assert told([opened(), late, corrected("3h", "opened-0h", {"at": "-6h"})], "9h", "first_response") == IN_TIME


def test_targets_are_configured() -> None:
    """Other targets of the policy are followed; explained has the same for every priority (rule 19)."""
    policy = Policy(first_response_ms={**POLICY.first_response_ms, "P1": 60_000}, explanation_ms=120_000)
    for sign, due in (("first_response", "1m"), ("explained", "2m")):
        for more_ms, expected in ((0, IN_TIME), (1, LATE)):
            events = [opened(priority="P1"), answered(sign, plus(due, more_ms))]
            assert told(events, "1h", sign, policy=policy) == expected


@each_limit
def test_the_seal_is_due_and_h(sign: str, priority: str | None, due: str) -> None:
    """Hit or miss alike, answered or fixed at whatever time, the unit is final 1 ms after due and H (rule 4)."""
    seal = plus(due, ms("72h") - ms("0h"))
    for events, expected in (
        ([answered(sign, "1m")], "hit in_time"),
        ([answered(sign, "1m"), resolved("2h")], "hit in_time"),
        ([], "miss no_answer"),
        ([answered(sign, plus(due, 1))], "miss late"),
        ([cancelled("1m")], "excluded cancelled"),
    ):
        known = [opened(priority=priority), *events]
        for more_ms, prefix in ((0, "provisional_"), (1, "final_")):
            found = judged(known, plus(seal, more_ms), sign)
            assert found is not None
            assert (found.seal_ms, found.sealed) == (ms(seal), more_ms == 1)
            assert f"{found.verdict} {found.reason}" == expected.replace("hit", f"{prefix}hit")


@each_sign
@pytest.mark.parametrize(
    ("more_ms", "final"), [(0, "provisional_hit in_time"), (1, "miss no_answer"), (1000, "miss no_answer")]
)
def test_an_answer_that_reaches_us_late(sign: str, due: str, more_ms: int, final: str) -> None:
    """A miss by the clock is taken back by an answer in time that is delivered by the seal, not later (rules 3, 4)."""
    seen = plus(due, ms("72h") - ms("0h") + more_ms)
    assert told([opened()], plus(due, 1), sign) == NO_ANSWER
    assert told([opened(), answered(sign, "1m", seen=seen)], seen, sign) == final


def test_a_fact_that_brings_the_seal_forward_counts() -> None:
    """A correction to P1 that itself seals the unit counts; what is delivered after it does not (rules 3 and 4)."""
    raised = corrected("79h", "opened-0h", {"priority": "P1"})
    assert told([opened(), raised], "79h", "first_response") == NO_ANSWER
    late_sync = answered("first_response", "30m", seen="79h1ms")
    assert told([opened(), late_sync], "80h", "first_response") == IN_TIME
    assert told([opened(), raised, late_sync], "80h", "first_response") == NO_ANSWER


@each_sign
def test_without_an_opening(sign: str, due: str) -> None:
    """Not opened yet: pending, with the seal of the case, and unknown at that seal (rules 4 and 23)."""
    stub = [answered(sign, "1h"), resolved("2h")]
    assert told(stub, "33d2h", sign) == "pending not_opened"
    assert told(stub, "33d2h1ms", sign) == "excluded unknown_at_seal:not_opened"
    assert told([*stub, opened(seen="10h")], "30h", sign) == IN_TIME
    unanswered = [cancelled("2h")]
    assert told(unanswered, "74h", sign) == "pending not_opened"
    assert told(unanswered, "74h1ms", sign) == "excluded unknown_at_seal:not_opened"


@each_sign
def test_without_an_opening_a_merge_does_not_seal(sign: str, due: str) -> None:
    """Merges apart: a stub that is merged waits until it is abandoned, 90 days after its last delivery (rule 4)."""
    stub = [answered(sign, "1h"), merged("2h", "C9")]
    found = judged(stub, "10h", sign)
    assert found is not None
    assert (found.reason, found.seal_ms) == ("merged", ms("90d2h"))


@each_sign
def test_answers_of_an_absorbed_case_do_not_count(sign: str, due: str) -> None:
    """First response and explanation stay scored in the case whose facts they are (rule 9)."""
    absorbed = of_case("C2", opened("1h", asset_id="A2"), answered(sign, "2h"), merged("2h30m", "C1"))
    assert told([opened(), *absorbed], plus(due, 1), sign) == NO_ANSWER
    assert told([opened(), *absorbed], plus(due, 1), sign, "C2", case="C2") == "excluded merged"


@each_sign
@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([opened(kind="preventive")], "excluded preventive"),
        ([opened(kind="alert")], "excluded alert"),
        ([opened(), merged("1h", "C9")], "excluded merged"),
        ([opened(), cancelled("29h", reason="duplicate")], "excluded duplicate"),
        ([opened(), cancelled("29h", reason="test")], "excluded test"),
        ([opened(), cancelled("29h", reason="created_in_error")], "excluded created_in_error"),
        ([opened(), cancelled("29h")], NO_ANSWER),
        ([opened(asset_id=None)], NO_ANSWER),
    ],
)
def test_which_cases_are_judged(sign: str, due: str, events: list[Event], expected: str) -> None:
    """Other kinds, merged cases and cases that never existed are out; a withdrawal keeps the miss (rule 23)."""
    assert told(events, "30h", sign) == expected


@pytest.mark.parametrize(("seen", "expected"), [("80h", "excluded duplicate"), ("80h1ms", NO_ANSWER)])
def test_a_mistake_counts_by_the_units_own_seal(seen: str, expected: str) -> None:
    """Never existed counts for a first response if delivered by its own seal, due and 72 h (rules 4 and 23)."""
    events = [opened(), cancelled("1h", reason="duplicate", seen=seen)]
    assert told(events, "90h", "first_response") == expected
    assert told(events, "90h", "explained") == "excluded duplicate"


@each_sign
@pytest.mark.parametrize(("more_ms", "anchor"), [(-60_000, -60_000), (0, 0), (60_000, 60_000), (None, 0)])
def test_a_case_is_counted_at_its_answer_or_when_it_was_due(
    sign: str, due: str, more_ms: int | None, anchor: int
) -> None:
    """Hit or miss, the case is counted at the first answer, without any at the due time (rule 19)."""
    answers = [] if more_ms is None else [answered(sign, plus(due, more_ms))]
    found = judged([opened(), *answers, answered(sign, "29h")] if answers else [opened()], "30h", sign)
    assert found is not None
    assert found.decided
    assert found.anchor_ms == ms(due) + anchor


@each_sign
def test_silence_of_a_dead_source_is_no_evidence(sign: str, due: str) -> None:
    """While tickets are not reported no answer proves nothing; an answer that came too late does (rule 6)."""
    for events, expected in (([], "pending source_silent"), ([answered(sign, plus(due, 1))], LATE)):
        casebook = booked([opened(), *events], catalogue={sign: CATALOGUE[sign]})
        casebook.assess(Clock(ms("30h"), ms("30h"), {"ticket": 0}))
        assert [f"{one.verdict} {one.reason}" for one in casebook.cases["C1"].verdicts] == [expected]
