"""When judging may be put off: for a day, and never where something is due or a fact may be late."""

from __future__ import annotations

import random

import pytest
from msgspec.structs import replace

from cases import POLICY, Event, cancelled, facts, merged, ms, opened, resolved, scheduled
from cxstream.domain.cases import Case
from cxstream.domain.facts import RejectedError
from cxstream.domain.instant import DAY_MS, NEVER_MS
from cxstream.engine.assess import NOT_JUDGED, Catalogue, Clock, assess, put_off, receive
from cxstream.offline.events_file import read_event
from cxstream.vital_signs import TIER_A
from oracle.histories import random_history


def told(case: Case, *events: Event) -> Case:
    """Return a case that has taken in these events, and was not judged since."""
    for fact in facts(*events):
        case, _reception = receive(case, fact, TIER_A, POLICY)
    return case


def at(offset: str) -> Clock:
    """Return the clock of a partition that knows all that was delivered until then."""
    return Clock.at(ms(offset))


NEW = Case("C1")
OPEN = told(NEW, opened(), scheduled("30m", "4h", "6h"))
JUDGED = assess(OPEN, TIER_A, POLICY, at("1h"), judged_under=7).case


def test_a_case_waits_for_a_day_of_the_clock() -> None:
    """What it waits for is in its record: a day from the first fact that was not judged, and that it is not judged."""
    waiting = put_off(OPEN, TIER_A, POLICY, at("1h"))
    assert waiting == replace(OPEN, deadline_ms=ms("1h") + DAY_MS, judged_under=NOT_JUDGED)
    assert waiting is not None
    assert put_off(waiting, TIER_A, POLICY, at("5h")) == waiting
    assert put_off(waiting, TIER_A, POLICY, at("25h")) is None


def test_a_case_that_was_judged_keeps_what_was_published() -> None:
    """Its verdicts stand until it is judged, at the first instant at which the clock alone may change one (rule 6)."""
    assert ms("1h") < JUDGED.deadline_ms < ms("1h") + DAY_MS
    assert put_off(JUDGED, TIER_A, POLICY, at("1h")) == replace(JUDGED, judged_under=NOT_JUDGED)
    assert put_off(JUDGED, TIER_A, POLICY, Clock(JUDGED.deadline_ms, 0)) is None


def test_what_may_be_final_is_not_put_off() -> None:
    """A case whose seal the group has come to is judged, by whatever clock."""
    settling = replace(JUDGED, deadline_ms=NEVER_MS, settles_ms=ms("2h"))
    assert put_off(settling, TIER_A, POLICY, Clock(ms("3h"), ms("1h"))) is not None
    assert put_off(settling, TIER_A, POLICY, Clock(ms("3h"), ms("2h"))) is None


def test_a_case_that_goes_on_for_weeks_waits() -> None:
    """What is final of visits, or of the first response, keeps no case from waiting: its signs are open (rule 4)."""
    judged = assess(OPEN, TIER_A, POLICY, at("10d")).case
    assert {verdict.sign for verdict in judged.verdicts if verdict.sealed} > {"first_response", "on_time_arrival"}
    case = told(judged, resolved("10d"))
    assert put_off(case, TIER_A, POLICY, Clock(ms("10d"), 0)) is not None


ENDED = told(NEW, opened(), cancelled("1h", reason="customer_withdrew"))
FINAL = assess(ENDED, TIER_A, POLICY, at("90h")).case
MERGE = facts(merged("2h", "C1", case="C2"))[0]
"""Of another case into this one, which may have been fixed long before."""
OF_VISITS = {"on_time_arrival": TIER_A["on_time_arrival"]}


@pytest.mark.parametrize(
    ("case", "catalogue"),
    [
        pytest.param(told(NEW, opened(seen="40d"), resolved("1h", seen="40d1h")), TIER_A, id="came after the fix"),
        pytest.param(told(ENDED, resolved("74h")), TIER_A, id="came after the cancellation"),
        pytest.param(told(FINAL, scheduled("2h", "4h", "6h", seen="3h")), TIER_A, id="known to be final"),
        pytest.param(told(replace(NEW, is_forgotten=True), resolved("1h")), TIER_A, id="forgotten"),
        pytest.param(replace(FINAL, facts=[], closed="erased"), TIER_A, id="closed"),
        pytest.param(OPEN.advance(MERGE, "C2")[0], TIER_A, id="hears of a merge"),
        pytest.param(OPEN, OF_VISITS, id="no sign of the case is judged"),
        pytest.param(NEW, TIER_A, id="told nothing of its own"),
    ],
)
def test_what_may_be_late_is_judged_when_it_is_taken_in(case: Case, catalogue: Catalogue) -> None:
    """Whether a fact came after seal is said at once (rule 3)."""
    assert put_off(replace(case, deadline_ms=NEVER_MS, settles_ms=NEVER_MS), catalogue, POLICY, at("40d1h")) is None


def test_nothing_that_is_put_off_is_late() -> None:
    """Of any history, in any order and judged at any instants: where a case is put off, each fact counts (rule 3)."""
    waited = late = 0
    for seed in range(150):
        dice = random.Random(seed)
        case, now_ms = NEW, 0
        catalogue = dice.choice((TIER_A, OF_VISITS, {"stayed_fixed": TIER_A["stayed_fixed"]}))
        for event in random_history(dice, 16):
            try:
                case_id, fact = read_event(event, POLICY.clock_skew_ms)
            except RejectedError:
                continue
            if fact.type == "erased":
                continue
            now_ms = max(now_ms, fact.delivered_ms - dice.choice((0, 0, DAY_MS)))
            case, _reception = receive(case, fact, catalogue, POLICY, None if case_id == "C1" else case_id)
            clock = Clock(now_ms, now_ms - dice.choice((0, DAY_MS)))
            waiting = put_off(case, catalogue, POLICY, clock)
            assessment = assess(case, catalogue, POLICY, clock)
            if waiting is not None:
                waited += 1
                assert not assessment.late_event_ids, seed
            late += bool(assessment.late_event_ids)
            case = waiting if waiting is not None and dice.random() < 0.5 else assessment.case
    assert min(waited, late) > 20, (waited, late)
