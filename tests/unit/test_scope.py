"""Scope: which units count at all (rule 23)."""

from __future__ import annotations

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
    facts,
    merged,
    ms,
    opened,
    reopened,
    resolved,
    rfc3339,
    scheduled,
    told,
    voided,
)
from cxstream.domain.evidence import Evidence
from cxstream.domain.scope import out_of_scope
from cxstream.domain.units import CASE, VISIT
from cxstream.domain.vocabulary import NEVER_EXISTED
from cxstream.engine.assess import Clock

CASE_SIGNS = ("first_time_fix", "stayed_fixed")
MISSED = [opened(), scheduled("0h", "1h", "2h"), arrived("5h"), completed("6h", "fixed"), reopened("8h")]
"""A case that missed everything: late, reopened, so neither fixed first time nor for good."""


def verdicts(events: list[Event], as_of: str = "20h") -> dict[str, str]:
    """Return what the signs say of the case and its visit V1."""
    signs = [(sign, "C1") for sign in CASE_SIGNS] + [("on_time_arrival", "V1")]
    return {sign: told(events, as_of, sign, unit) for sign, unit in signs}


@pytest.mark.parametrize("kind", ["preventive", "alert"])
def test_only_break_fix_cases_have_case_signs(kind: str) -> None:
    """Cases of another kind are excluded from case signs, not from visit signs (rule 23)."""
    expected = {
        "first_time_fix": f"excluded {kind}",
        "stayed_fixed": f"excluded {kind}",
        "on_time_arrival": "miss late",
    }
    assert verdicts([{**MISSED[0], "kind": kind}, *MISSED[1:]]) == expected
    assert verdicts([*MISSED, corrected("9h", "opened-0h", {"kind": kind})]) == expected


@pytest.mark.parametrize(
    ("events", "excluded"),
    [
        (MISSED, False),
        ([{**MISSED[0], "at": rfc3339("-1s"), "seen": rfc3339("0h")}, *MISSED[1:]], True),
        (MISSED[1:], True),
        ([*MISSED[1:], opened("0h", seen="9h")], False),
        ([*MISSED, corrected("9h", "opened-0h", {"at": "-1h"})], True),
    ],
)
def test_what_began_before_events_reached_us_is_no_miss(events: list[Event], *, excluded: bool) -> None:
    """A case opened before history began, or of unknown opening soon after it, is left out of all signs (rule 23)."""
    policy = msgspec.structs.replace(POLICY, history_since_ms=ms("0h"))
    casebook = booked(events, policy=policy)
    casebook.assess(Clock.at(ms("20h")))
    reasons = {one.reason == "before_start" for one in casebook.cases["C1"].verdicts}
    assert reasons == {excluded}


def test_an_opening_that_is_missing_later_is_waited_for() -> None:
    """Once a case nobody ends cannot have begun before history did, its opening is waited for as ever (rule 23)."""
    policy = msgspec.structs.replace(POLICY, history_since_ms=ms("0h"))
    for at, expected in (("89d", "excluded before_start"), ("90d", "pending not_opened")):
        assert told([event("ticket.acknowledged", at)], "91d", "same_day", policy=policy) == expected


@pytest.mark.parametrize("reason", NEVER_EXISTED)
def test_a_case_that_never_existed_is_excluded_everywhere(reason: str) -> None:
    """Cancelled as duplicate, test or created_in_error: excluded from all signs, misses included (rule 23)."""
    assert set(verdicts([*MISSED, cancelled("9h", reason=reason)]).values()) == {f"excluded {reason}"}
    later = [*MISSED, cancelled("9h"), cancelled("10h", reason=reason)]
    assert set(verdicts(later).values()) == {f"excluded {reason}"}


@pytest.mark.parametrize("more", [{}, {"reason": "customer_withdrew"}])
def test_other_cancellations_keep_misses(more: dict[str, object]) -> None:
    """A customer who withdraws takes back no miss suffered already (rule 23)."""
    assert verdicts([*MISSED, cancelled("9h", **more)]) == {
        "first_time_fix": "miss reopened",
        "stayed_fixed": "miss reopened",
        "on_time_arrival": "miss late",
    }


@pytest.mark.parametrize(
    ("seen", "visit"),
    [("77h", "excluded created_in_error"), ("78h", "excluded created_in_error"), ("78h1ms", "miss late")],
)
def test_a_mistake_counts_for_a_unit_by_its_seal(seen: str, visit: str) -> None:
    """created_in_error delivered after a visit's seal leaves the visit, and excludes its case (rules 3 and 23)."""
    assert verdicts([*MISSED, cancelled("9h", reason="created_in_error", seen=seen)], "100h") == {
        "first_time_fix": "excluded created_in_error",
        "stayed_fixed": "excluded created_in_error",
        "on_time_arrival": visit,
    }


def test_a_void_brings_a_case_back() -> None:
    """A mistaken created_in_error that is voided takes its exclusions with it (rules 5 and 23)."""
    mistaken = [*MISSED, cancelled("9h", reason="test", named="x"), voided("10h", "x")]
    assert verdicts(mistaken) == verdicts(MISSED)


def test_a_merged_case_has_no_case_signs() -> None:
    """Merged: case signs are excluded, visits stay scored (rules 9 and 23)."""
    assert verdicts([*MISSED, merged("9h", "C9")]) == {
        "first_time_fix": "excluded merged",
        "stayed_fixed": "excluded merged",
        "on_time_arrival": "miss late",
    }


def test_a_mistake_is_named_before_a_merge_and_a_merge_before_the_kind() -> None:
    """Of several reasons to be out of scope one is given, the most telling first (rule 23)."""
    both = [opened(kind="alert"), merged("1h", "C9"), cancelled("2h", reason="duplicate")]
    assert told(both, "3h", "stayed_fixed") == "excluded duplicate"
    assert told(both[:2], "3h", "stayed_fixed") == "excluded merged"
    assert told(both[:1], "3h", "stayed_fixed") == "excluded alert"


def test_without_opened_only_signs_that_need_it_wait() -> None:
    """Without opened a case sign is pending, but first_time_fix and stayed_fixed are judged (rule 23)."""
    unopened = [arrived("2h"), completed("3h", "not_fixed"), resolved("4h")]
    assert verdicts(unopened, "5h")["first_time_fix"] == "miss first_attempt_failed"
    assert verdicts(unopened, "5h")["stayed_fixed"] == "excluded asset_unknown"
    waiting = out_of_scope(Evidence(facts(*unopened)), CASE, needs_opening=True)
    assert waiting is not None
    assert (waiting.outcome, waiting.reason) == ("pending", "not_opened")
    assert out_of_scope(Evidence(facts(*unopened)), CASE, needs_opening=False) is None
    assert out_of_scope(Evidence(facts(*unopened)), VISIT, needs_opening=True) is None


def test_the_segment_is_the_openings() -> None:
    """A case is counted under what its opening states, as corrected; what it does not state is unknown (rule 23)."""
    stated = [opened(priority="P1", region="north", tier="gold"), corrected("1h", "opened-0h", {"region": "south"})]
    casebook = booked(stated, POLICY)
    casebook.assess(Clock.at(ms("5h")))
    segment = casebook.cases["C1"].segment
    assert (segment.priority, segment.region, segment.tier) == ("P1", "south", "gold")
    assert (segment.product, segment.provider) == ("unknown", "unknown")
