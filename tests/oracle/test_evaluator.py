"""The oracle itself is held to the sample scenarios and to cases worked out by hand from the rules."""

import json
import os
import random
import re
from pathlib import Path
from typing import Any

import pytest

from oracle.evaluator import Verdict, evaluate, local_midnight, parse_time
from oracle.histories import in_segments, interesting_clocks, random_history, rfc3339, segment_policies

SHARED = Path(os.environ.get("CXSTREAM_TEST_SHARED", Path(__file__).parents[2].parent / "shared"))
SAMPLE = SHARED / "scenarios" / "sample.json"
UNITS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000}

Event = dict[str, Any]


# ---------------------------------------------------------------------------- the sample


def sample() -> list[dict[str, Any]]:
    """The scenarios, or one stand-in that skips loudly."""
    if not SAMPLE.exists():
        return [{"id": "absent"}]
    scenarios: list[dict[str, Any]] = json.loads(SAMPLE.read_text())
    return scenarios


@pytest.mark.parametrize("scenario", sample(), ids=lambda s: s["id"])
def test_sample_scenario(scenario: dict[str, Any]) -> None:
    """Every expectation of a sample scenario holds at every checkpoint."""
    if scenario["id"] == "absent":
        pytest.skip(f"SAMPLE SCENARIOS NOT RUN: {SAMPLE} is not there; set CXSTREAM_TEST_SHARED to the shared folder")
    for checkpoint in (scenario, *scenario.get("earlier", [])):
        verdicts = evaluate(scenario["events"], checkpoint["as_of"]).verdicts
        for key, expected in checkpoint["expect"].items():
            sign, unit = key.split("@")
            assert verdicts[sign, unit].verdict == expected, (key, checkpoint["as_of"])
    result = evaluate(scenario["events"], scenario["as_of"])
    assert result.rejected_in_scenario_words() == scenario.get("rejected", {})


# ---------------------------------------------------------------------------- words for the cases below


def ms(offset: str) -> int:
    """A time as an offset from Monday 2 March 2026, 08:00 UTC, such as "1d2h", "-30m" or "15m1s"."""
    sign = -1 if offset.startswith("-") else 1
    length = sum(int(n) * UNITS[unit] for n, unit in re.findall(r"(\d+)([dhms])", offset))
    return parse_time("2026-03-02T08:00:00Z") + sign * length


def fact(name: str, offset: str, *, case: str = "C1", seen: str | None = None, **fields: Any) -> Event:  # noqa: ANN401
    """One event; `name` is topic.type with an optional event id, such as "ticket.opened#e1"."""
    kind, _, event_id = name.partition("#")
    topic, type_ = kind.split(".")
    event = {
        "event_id": event_id or f"{case}-{type_}-{offset}-{fields.get('visit_id', '')}",
        "topic": topic,
        "type": type_,
        "case_id": case,
        "at": rfc3339(ms(offset)),
        **fields,
    }
    if seen is not None:
        event["seen"] = rfc3339(ms(seen))
    return event


def opened(offset: str = "0h", *, case: str = "C1", **fields: Any) -> Event:  # noqa: ANN401
    """An opening on asset A1."""
    return fact("ticket.opened", offset, case=case, **{"asset_id": "A1", **fields})


def scheduled(offset: str, start: str, end: str, **fields: Any) -> Event:  # noqa: ANN401
    """A window promised for V1."""
    return windowed("dispatch.scheduled", offset, start, end, **fields)


def rescheduled(offset: str, start: str, end: str, **fields: Any) -> Event:  # noqa: ANN401
    """Another window for V1."""
    return windowed("dispatch.rescheduled", offset, start, end, **fields)


def windowed(name: str, offset: str, start: str, end: str, **fields: Any) -> Event:  # noqa: ANN401
    """A fact with a window."""
    bounds = {"window_start": rfc3339(ms(start)), "window_end": rfc3339(ms(end))}
    return fact(name, offset, **{"visit_id": "V1", **bounds, **fields})


def arrived(offset: str, visit_id: str = "V1", **fields: Any) -> Event:  # noqa: ANN401
    """An arrival."""
    return fact("dispatch.arrived", offset, visit_id=visit_id, **fields)


def completed(offset: str, outcome: str | None, visit_id: str = "V1", **fields: Any) -> Event:  # noqa: ANN401
    """A completion; outcome None leaves it out."""
    stated = {} if outcome is None else {"outcome": outcome}
    return fact("dispatch.completed", offset, visit_id=visit_id, **stated, **fields)


def judged(events: list[Event], as_of: str, sign: str, unit: str = "C1") -> Verdict:
    """The verdict of one sign of one unit."""
    return evaluate(events, ms(as_of)).verdicts[sign, unit]


def told(events: list[Event], as_of: str, sign: str, unit: str = "C1") -> str:
    """The verdict in a word, with the reason."""
    verdict = judged(events, as_of, sign, unit)
    return f"{verdict.verdict} {verdict.reason}"


# ---------------------------------------------------------------------------- rule 1


def test_smallest_copy_is_kept() -> None:
    """Rule 1: of copies, the one with the smallest (delivered, payload) stays; the rest are counted."""
    late = fact("dispatch.arrived#a", "4h", visit_id="V1", seen="5h")
    early = fact("dispatch.arrived#a", "3h", visit_id="V1", seen="4h")
    events = [opened(), scheduled("30m", "2h", "3h"), late, early, dict(early), {**late, "seen": rfc3339(ms("6h"))}]
    assert told(events, "7h", "on_time_arrival", "V1") == "provisional_hit on_time"
    assert evaluate(events, ms("7h")).rejected == {"conflict": 2, "duplicate": 1}


def test_of_copies_delivered_together_the_smaller_payload_is_kept() -> None:
    """Rule 1: (delivered, payload), the payload as canonical JSON without the delivery."""
    copies = [fact("ticket.acknowledged#a", at, seen="10h") for at in ("9h", "2h")]
    assert told([opened(), *copies], "11h", "first_response") == "provisional_hit answered"
    assert evaluate([opened(), *copies], ms("11h")).rejected == {"conflict": 1}


@pytest.mark.parametrize(("ahead", "rejected"), [("5m", {}), ("5m1s", {"future": 1})])
def test_skew(ahead: str, rejected: dict[str, int]) -> None:
    """Rule 1: five minutes ahead of the own delivery are allowed, more are not; the id is not used up."""
    events = [opened(ahead, seen="0h"), fact(f"ticket.acknowledged#C1-opened-{ahead}-", "20m")]
    assert evaluate(events, ms("1h")).rejected.get("future", 0) == rejected.get("future", 0)
    assert ("first_response", "C1") in evaluate(events, ms("1h")).verdicts


# ---------------------------------------------------------------------------- rules 3 and 4


def test_fact_that_brings_the_seal_forward_counts() -> None:
    """Rule 3: a fix claim delivered after the seal it brings about still counts; what follows does not."""
    events = [
        opened(),
        fact("ticket.resolved", "2h", seen="40d"),  # seals at 2h + 33 d, which has passed at 40 d
        fact("ticket.reopened", "3h", seen="40d1s"),
    ]
    verdict = judged(events, "41d", "stayed_fixed")
    assert verdict == Verdict("final_hit", "stayed_fixed", ms("2h"), ms("33d2h"), sealed=True)


def test_equal_delivery_is_folded_by_event_id() -> None:
    """Rule 3: of facts delivered together the smaller event_id is taken first."""
    fix, reopen = fact("ticket.resolved#b", "2h", seen="40d"), fact("ticket.reopened#a", "3h", seen="40d")
    assert judged([opened(), fix, reopen], "41d", "stayed_fixed").verdict == "miss"
    assert judged([opened(), fix, {**reopen, "event_id": "c"}], "41d", "stayed_fixed").verdict == "final_hit"


@pytest.mark.parametrize(("seen", "expected"), [("33d2h", "miss"), ("33d2h1s", "final_hit")])
def test_delivery_at_the_seal_counts(seen: str, expected: str) -> None:
    """Rules 3 and 4: delivered no later than fix + R + H counts, one second more does not."""
    events = [opened(), fact("ticket.resolved", "2h"), fact("ticket.reopened", "3h", seen=seen)]
    assert judged(events, "34d", "stayed_fixed").verdict == expected


@pytest.mark.parametrize(("seen", "expected"), [("3d8h", "answered"), ("3d8h1s", "unanswered")])
def test_delivery_at_the_seal_of_a_response(seen: str, expected: str) -> None:
    """Rules 3 and 4: opened + target + H."""
    events = [opened(), fact("ticket.acknowledged", "7h", seen=seen)]
    assert judged(events, "4d", "first_response").reason == expected


def test_delivered_now_is_known_now() -> None:
    """Rule 2: facts delivered at or before the clock reading are the case."""
    events = [opened(), fact("ticket.resolved", "2h")]
    assert judged(events, "2h", "stayed_fixed").verdict == "provisional_hit"
    assert evaluate(events, ms("2h") - 1).verdicts["stayed_fixed", "C1"].verdict == "pending"


def test_sealed_is_strictly_later() -> None:
    """Rule 4: a hit is final when now is strictly later than the seal."""
    events = [opened(), fact("ticket.resolved", "2h")]
    assert judged(events, "33d2h", "stayed_fixed").verdict == "provisional_hit"
    assert evaluate(events, ms("33d2h") + 1).verdicts["stayed_fixed", "C1"].verdict == "final_hit"


def test_first_attempts_fix_can_seal_later_than_the_first_claim() -> None:
    """Rule 4: the later of the first fix claim and the first attempt's fix."""
    events = [opened(), fact("ticket.resolved", "1h"), arrived("1d"), completed("1d2h", "fixed")]
    assert judged(events, "2d", "stayed_fixed").seals_at == ms("34d2h")


def test_seals_of_cases_without_a_fix() -> None:
    """Rule 4: the earlier of cancellation and merge + 72 h, else 90 d after the last delivery."""
    cancelled = fact("ticket.cancelled", "5h", reason="customer_withdrew")
    merged = fact("ticket.merged", "4h", into="C2")
    assert judged([opened(seen="1h")], "2h", "same_day").seals_at == ms("90d1h")
    assert judged([opened(), cancelled], "6h", "same_day").seals_at == ms("3d5h")
    assert judged([opened(), cancelled, merged], "6h", "same_day").seals_at == ms("3d4h")
    assert judged([opened(), merged], "6h", "first_response").seals_at == ms("3d8h")


def test_pending_is_excluded_at_the_seal() -> None:
    """Rule 4, section 2: abandoned cases leave the open count."""
    assert told([opened()], "90d", "one_contact") == "pending open"
    assert told([opened()], "90d1s", "one_contact") == "excluded unknown_at_seal"


def test_seal_of_a_visit_runs_from_the_last_window_made_even_after_arrival() -> None:
    """Rule 4: a window made after arrival moves the seal, not the promise."""
    events = [opened(), scheduled("30m", "2h", "3h"), arrived("2h"), rescheduled("2h30m", "1d", "1d1h")]
    verdict = judged(events, "3h", "on_time_arrival", "V1")
    assert (verdict.verdict, verdict.seals_at) == ("provisional_hit", ms("4d1h15m"))


def test_seal_of_a_cancelled_visit_without_window() -> None:
    """Rule 4: none of window, arrival and completion: last cancellation + H."""
    events = [opened(), fact("dispatch.cancelled", "2h", visit_id="V1")]
    assert judged(events, "3h", "visit_productive", "V1").seals_at == ms("3d2h")


# ---------------------------------------------------------------------------- rule 5


def test_correction_delivered_before_its_target() -> None:
    """Rule 5: a correction waits for its target."""
    correction = fact("dispatch.corrected", "4h", target="a", set={"at": rfc3339(ms("3h"))})
    late = fact("dispatch.arrived#a", "5h", visit_id="V1", seen="6h")
    events = [opened(), scheduled("30m", "2h", "3h"), correction, late]
    assert told(events, "7h", "on_time_arrival", "V1") == "provisional_hit on_time"


def test_void_of_a_void_restores_nothing_and_a_voided_correction_stays_applied() -> None:
    """Rule 5, read literally: first all corrections, then all voids."""
    base = [opened(), scheduled("30m", "2h", "3h"), fact("dispatch.arrived#a", "5h", visit_id="V1")]
    voided = [*base, fact("dispatch.voided#v", "6h", target="a"), fact("dispatch.voided#w", "7h", target="v")]
    assert told(voided, "8h", "on_time_arrival", "V1") == "miss no_show"
    corrected = [
        *base,
        fact("dispatch.corrected#c", "6h", target="a", set={"at": rfc3339(ms("2h"))}),
        fact("dispatch.voided#w", "7h", target="c"),
    ]
    assert told(corrected, "8h", "on_time_arrival", "V1") == "provisional_hit on_time"


def test_later_delivered_correction_wins() -> None:
    """Rule 5: corrections apply in order of delivery, not of their own time."""
    events = [
        opened(),
        fact("ticket.acknowledged#a", "9h"),
        fact("ticket.corrected#x", "11h", target="a", set={"at": rfc3339(ms("7h"))}, seen="12h"),
        fact("ticket.corrected#y", "10h", target="a", set={"at": rfc3339(ms("8h1s"))}, seen="13h"),
    ]
    assert told(events, "12h", "first_response") == "provisional_hit answered"
    assert told(events, "13h", "first_response") == "miss answered_late"


# ---------------------------------------------------------------------------- rule 9


def repeat_on_day_10(**fields: Any) -> list[Event]:  # noqa: ANN401
    """C1 fixed on A1 on day 0, C2 opened on day 10."""
    return [opened(), fact("ticket.resolved", "2h"), opened("10d", case="C2", **fields)]


def test_repeat_needs_the_asset_the_kind_and_neither_cancellation_nor_merge() -> None:
    """Rules 8, 9 and 13: what another case must be to count as a repeat."""
    assert told(repeat_on_day_10(), "11d", "stayed_fixed") == "miss repeat_case"
    for fields in ({"asset_id": "A2"}, {"kind": "preventive"}, {"asset_id": "?"}):
        assert judged(repeat_on_day_10(**fields), "11d", "stayed_fixed").verdict == "provisional_hit"
    cancelled = fact("ticket.cancelled", "10d1h", case="C2", reason="customer_withdrew")
    assert judged([*repeat_on_day_10(), cancelled], "11d", "stayed_fixed").verdict == "provisional_hit"
    merged = fact("ticket.merged", "10d1h", case="C2", into="C7")
    assert judged([*repeat_on_day_10(), merged], "11d", "stayed_fixed").verdict == "provisional_hit"


@pytest.mark.parametrize(("at", "expected"), [("2h", False), ("2h1s", True), ("30d2h", True), ("30d2h1s", False)])
def test_repeat_window(at: str, expected: bool) -> None:  # noqa: FBT001 - a table
    """Rule 13: opened in (F, F + R]."""
    events = [opened(), fact("ticket.resolved", "2h"), opened(at, case="C2")]
    assert (judged(events, "31d", "stayed_fixed").verdict == "miss") is expected


def test_repeat_on_a_direct_replacement_only() -> None:
    """Rule 9: replaced_by is followed once."""
    swap = [opened(), arrived("1h"), completed("2h", "fixed", replaced_by="A2")]
    second = [
        opened("5d", case="C2", asset_id="A2"),
        completed("5d1h", "fixed", visit_id="V2", case="C2", replaced_by="A3"),
    ]
    assert judged([*swap, *second], "6d", "first_time_fix").verdict == "miss"
    third = opened("5d", case="C2", asset_id="A3")
    assert judged([*swap, third], "6d", "first_time_fix").verdict == "provisional_hit"


def test_siblings_facts_fold_by_their_own_delivery() -> None:
    """Rule 9: a repeat that reaches us after the seal does not count, nor does it move the seal."""
    late = [opened(), fact("ticket.resolved", "2h"), opened("10d", case="C2", seen="33d2h1s")]
    verdict = judged(late, "40d", "stayed_fixed")
    assert (verdict.verdict, verdict.seals_at) == ("final_hit", ms("33d2h"))
    open_only = [opened(), opened("10d", case="C2")]
    assert judged(open_only, "11d", "stayed_fixed").seals_at == ms("90d")


def absorbed(merged_seen: str = "5h") -> list[Event]:
    """C2 with an attempt that failed, merged into C1, which is fixed by a second visit."""
    return [
        opened(),
        opened("30m", case="C2"),
        arrived("1h", "V2", case="C2"),
        completed("2h", "not_fixed", "V2", case="C2"),
        fact("ticket.merged", "5h", case="C2", into="C1", seen=merged_seen),
        arrived("6h"),
        completed("7h", "fixed"),
    ]


def test_absorbed_visits_are_attempts_of_the_survivor() -> None:
    """Rule 9: an absorbed case's visits count for the survivor's case signs and stay scored at home."""
    result = evaluate(absorbed(), ms("8h")).verdicts
    assert result["first_time_fix", "C1"].reason == "first_attempt_failed"
    assert result["one_contact", "C1"].reason == "reported_again"
    assert result["visit_productive", "V2"].verdict == "miss"
    assert result["first_time_fix", "C2"].reason == "merged"
    assert result["first_response", "C2"].reason == "merged"


def test_merge_after_the_merged_cases_seal_is_in_force_for_nobody() -> None:
    """Rule 9: a merge must count for the merged case on its own facts."""
    fixed = completed("3h", "fixed", "V2", case="C2")
    events = [e for e in absorbed("33d3h1s") if e["event_id"] != "C2-completed-2h-V2"]
    result = evaluate([*events, fixed], ms("34d")).verdicts
    assert result["first_time_fix", "C1"].reason == "fixed_first_time"
    assert result["first_time_fix", "C2"].reason == "fixed_first_time"


def test_void_of_a_merge_after_the_survivors_seal_changes_nothing_there() -> None:
    """Rules 3 and 9: sealed is final, though the merged case is not sealed yet."""
    merged = fact("ticket.merged#m", "30d", case="C2", into="C1")
    void = fact("ticket.voided", "34d", case="C2", target="m")
    events = [opened(), fact("ticket.resolved", "2h"), opened("10d", case="C2", asset_id=None), merged, void]
    assert told(events, "33d3h", "stayed_fixed") == told(events, "35d", "stayed_fixed") == "miss repeat_case"


def test_cycles_stop_and_hops_end_at_eight() -> None:
    """Rule 9: cycles do not hang; the ninth hop is not followed."""
    chain = [opened("0h", case="C0")]
    for n in range(1, 10):
        chain.append(opened(f"{n}m", case=f"C{n}", asset_id=None))
        chain.append(fact("ticket.merged", "1h", case=f"C{n}", into=f"C{n - 1}"))
    chain.append(fact("ticket.merged", "1h", case="C0", into="C1"))
    nine = [e for e in chain if e["case_id"] in ("C0", "C9") or e["type"] == "merged"]
    eight = [e for e in chain if e["case_id"] in ("C0", "C8") or e["type"] == "merged"]
    without_cycle = {"C0-merged-1h-"}
    assert told(chain, "2h", "one_contact", "C0") == "excluded merged"
    for events, expected in ((nine, "pending"), (eight, "miss")):
        kept = [e for e in events if e["event_id"] not in without_cycle]
        assert judged(kept, "2h", "one_contact", "C0").verdict == expected


def test_absorbed_facts_carry_the_later_delivery() -> None:
    """Rule 9: the later of their own delivery and the merge's, the last of a chain, the first of several ways."""
    cases = [
        opened(),
        *(fact("ticket.acknowledged", "1h", case=case) for case in ("C2", "C3")),
        fact("dispatch.assigned", "2h", visit_id="V3", case="C3"),
    ]
    to_c1 = fact("ticket.merged", "5d", case="C2", into="C1")
    direct = fact("ticket.merged#d", "3d", case="C3", into="C1")
    chained = fact("ticket.merged#c", "4d", case="C3", into="C2")
    for merges, seals_at in (
        ([to_c1], "90d"),
        ([direct], "93d"),
        ([to_c1, chained], "95d"),
        ([to_c1, chained, direct], "93d"),
    ):
        assert judged([*cases, *merges], "6d", "same_day").seals_at == ms(seals_at)
    afterwards = fact("dispatch.assigned", "6d", visit_id="V4", case="C3")
    assert judged([*cases, direct, afterwards], "7d", "same_day").seals_at == ms("96d")


def test_absorbed_facts_fold_one_by_one() -> None:
    """Rules 3 and 9: absorbed together, the fix that seals the survivor in the past leaves out what follows."""
    merged = fact("ticket.merged#m", "40d", case="C2", into="C1")
    fix = fact("dispatch.completed#b", "2h", visit_id="V2", case="C2", outcome="fixed")
    extra = fact("dispatch.completed#c", "20d", visit_id="V2", case="C2", outcome="fixed")
    verdict = judged([opened(), opened(case="C2"), merged, fix, extra], "41d", "same_day")
    assert (verdict.verdict, verdict.seals_at) == ("final_hit", ms("33d2h"))
    other_order = [opened(), opened(case="C2"), merged, {**fix, "event_id": "c"}, {**extra, "event_id": "b"}]
    assert judged(other_order, "41d", "same_day").seals_at == ms("53d")


# ---------------------------------------------------------------------------- rule 10


def test_erasure_keeps_what_was_sealed() -> None:
    """Rule 10: sealed verdicts stay, others become excluded, later facts are refused."""
    events = [
        opened(),
        fact("ticket.acknowledged", "1h"),
        fact("ticket.erased", "4d"),
        fact("ticket.resolved", "3h", seen="4d1h"),
    ]
    result = evaluate(events, ms("5d"))
    assert result.verdicts["first_response", "C1"].verdict == "final_hit"
    assert result.verdicts["stayed_fixed", "C1"].reason == "erased"
    assert result.rejected["erased"] == 1


# ---------------------------------------------------------------------------- rules 11 and 12


def attempts(*visits: Event) -> str:
    """first_time_fix ten days after an opening with these visit facts."""
    return told([opened(), *visits], "10d", "first_time_fix")


def test_crew_is_one_attempt_up_to_not_including_completion() -> None:
    """Rule 11: arriving while another is on site joins the attempt; at its completion it does not."""
    first = [arrived("1h"), completed("2h", "not_fixed")]
    for at, expected in (("1h59m59s", "provisional_hit fixed_first_time"), ("2h", "miss first_attempt_failed")):
        assert attempts(*first, arrived(at, "V2"), completed("3h", "fixed", "V2")) == expected


def test_on_site_at_most_twelve_hours() -> None:
    """Rule 11: without a completion a visit is on site for 12 h (read: inclusive)."""
    for at, expected in (("13h", "provisional_hit fixed_first_time"), ("13h1s", "miss second_attempt")):
        assert attempts(arrived("1h"), arrived(at, "V2"), completed("14h", "fixed", "V2")) == expected


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        ("continued", "provisional_hit fixed_first_time"),
        (None, "provisional_hit fixed_first_time"),
        ("partial", "miss first_attempt_failed"),
    ],
)
def test_continues(outcome: str | None, expected: str) -> None:
    """Rule 11: continuing a visit joins its attempt if that one is continued or not yet reported."""
    second = [
        scheduled("3h", "1d", "1d2h", visit_id="V2", continues="V1"),
        arrived("1d", "V2"),
        completed("1d1h", "fixed", "V2"),
    ]
    assert attempts(arrived("1h"), completed("2h", outcome), *second) == expected


def test_no_access_surveys_and_preventive_visits_are_no_attempts() -> None:
    """Rule 11."""
    nobody_home = [arrived("1h"), completed("2h", "no_access")]
    survey = [scheduled("30m", "1h", "2h", purpose="survey"), arrived("1h"), completed("2h", "diagnosed_only")]
    fixed = [arrived("1d", "V2"), completed("1d1h", "fixed", "V2")]
    assert attempts(*nobody_home, *fixed) == "provisional_hit fixed_first_time"
    assert attempts(*survey, *fixed) == "provisional_hit fixed_first_time"
    assert attempts(*survey) == "pending no_attempt_yet"


def test_open_while_a_colleague_is_on_site() -> None:
    """Rule 12: a failed report is no miss while another of the attempt is still there."""
    crew = [opened(), arrived("1h"), arrived("1h30m", "V2"), completed("2h", "not_fixed")]
    assert told(crew, "3h", "first_time_fix") == "pending attempt_open"
    assert told(crew, "13h30m", "first_time_fix") == "pending attempt_open"
    assert told(crew, "13h30m1s", "first_time_fix") == "miss first_attempt_failed"
    assert told([*crew, arrived("13h31m", "V3")], "13h31m", "first_time_fix") == "miss first_attempt_failed"


def test_desk_resolution_stands_for_a_missing_outcome() -> None:
    """Rule 12: no outcome, but the ticket resolved at or after it and before a second attempt."""
    visit = [arrived("1h"), completed("2h", None)]
    assert attempts(*visit) == "pending attempt_open"
    assert attempts(*visit, fact("ticket.resolved", "2h")) == "provisional_hit fixed_first_time"
    assert attempts(*visit, fact("ticket.resolved", "1h59m")) == "pending attempt_open"
    second = arrived("1d", "V2")
    assert attempts(*visit, second, fact("ticket.resolved", "1d")) == "miss second_attempt"
    assert attempts(*visit, second, fact("ticket.resolved", "23h")) == "miss second_attempt"  # in (F, F + R]
    assert attempts(*visit, fact("ticket.cancelled", "1d")) == "excluded cancelled"


@pytest.mark.parametrize(("at", "expected"), [("2h", "provisional_hit"), ("30d2h", "miss"), ("30d2h1s", "final_hit")])
def test_first_fix_undone_by_a_reopen(at: str, expected: str) -> None:
    """Rule 12: a fault reopen in (F, F + R] undoes it, at F or later than F + R it does not."""
    events = [opened(), arrived("1h"), completed("2h", "fixed"), fact("ticket.reopened", at)]
    as_of = "34d" if expected == "final_hit" else "31d"
    assert judged(events, as_of, "first_time_fix").verdict == expected
    billing = [*events[:3], fact("ticket.reopened", "3h", reason="billing")]
    assert judged(billing, "4h", "first_time_fix").verdict == "provisional_hit"


def test_desk_resolution_at_the_second_arrival_is_too_late() -> None:
    """Rule 12: before a second attempt, which here arrives after F + R and undoes nothing."""
    visit = [opened(), arrived("1h"), completed("2h", None), arrived("30d2h1s", "V2")]
    for at, expected in (("30d2h", "provisional_hit"), ("30d2h1s", "miss")):
        assert judged([*visit, fact("ticket.resolved", at)], "31d", "first_time_fix").verdict == expected


@pytest.mark.parametrize(("at", "expected"), [("2h", False), ("2h1s", True), ("30d2h", True), ("30d2h1s", False)])
def test_second_attempt_window(at: str, expected: bool) -> None:  # noqa: FBT001 - a table
    """Rule 12: a second attempt arrives in (F, F + R]."""
    events = [opened(), arrived("1h"), completed("2h", "fixed"), arrived(at, "V2")]
    assert (judged(events, "31d", "first_time_fix").verdict == "miss") is expected


def test_anchors_of_first_time_fix() -> None:
    """The instant a unit is counted at: the latest fix of the attempt; the end of a failed one."""
    crew = [arrived("1h"), arrived("1h30m", "V2"), completed("2h", "fixed"), completed("3h", "fixed", "V2")]
    assert judged([opened(), *crew], "1d", "first_time_fix").anchor == ms("3h")
    failed = [*crew[:2], completed("2h", "partial"), completed("3h", "partial", "V2")]
    assert judged([opened(), *failed], "1d", "first_time_fix").anchor == ms("3h")


def test_last_completion_of_the_attempt_decides_without_outcome() -> None:
    """Rule 12: its last completion has no outcome."""
    crew = [arrived("1h"), arrived("1h30m", "V2")]
    resolved = fact("ticket.resolved", "4h")
    assert attempts(*crew, completed("2h", "continued"), completed("3h", None, "V2"), resolved) == (
        "provisional_hit fixed_first_time"
    )
    assert attempts(*crew, completed("2h", None), completed("3h", "continued", "V2"), resolved) == (
        "pending attempt_open"
    )


def test_the_first_attempt_is_the_first_to_arrive() -> None:
    """Rule 11: by arrival, not by the order of visit ids."""
    together = [arrived("1h"), arrived("1h", "V2"), completed("2h", "partial"), completed("3h", "fixed", "V2")]
    assert attempts(*together) == "provisional_hit fixed_first_time"
    continued = [
        arrived("1h"),
        completed("2h", "continued"),
        scheduled("3h", "2d", "2d2h", visit_id="V2", continues="V1"),
        arrived("2d", "V2"),
        completed("2d1h", "fixed", "V2"),
    ]
    between = [arrived("1d", "V3"), completed("1d1h", "partial", "V3")]
    assert attempts(*continued, *between) == "provisional_hit fixed_first_time"
    late = [arrived("1d", "V1"), completed("1d1h", "fixed", "V1")]
    early = [arrived("1h", "V2"), arrived("1h30m", "V0"), completed("2h", "partial", "V2"), completed("2h", None, "V0")]
    assert attempts(*late, *early) == "miss first_attempt_failed"


def test_no_attempt() -> None:
    """Rule 12: excluded once fixed remotely or cancelled, else pending."""
    assert attempts() == "pending no_attempt_yet"
    assert attempts(fact("ticket.resolved", "1h")) == "excluded fixed_without_attempt"
    assert attempts(fact("ticket.cancelled", "1h")) == "excluded cancelled"


# ---------------------------------------------------------------------------- rule 14


def test_stayed_fixed_without_asset() -> None:
    """Rule 14: no fix comes first, then the unknown asset."""
    unknown = opened(asset_id="N/A")
    assert told([unknown], "1h", "stayed_fixed") == "pending not_fixed_yet"
    assert told([unknown, fact("ticket.cancelled", "1h")], "2h", "stayed_fixed") == "excluded cancelled"
    fixed = [unknown, fact("ticket.resolved", "1h"), fact("ticket.reopened", "2h")]
    assert told(fixed, "3h", "stayed_fixed") == "excluded asset_unknown"


@pytest.mark.parametrize(("at", "expected"), [("2h", False), ("2h1s", True), ("30d2h", True), ("30d2h1s", False)])
def test_reopen_window_of_stayed_fixed(at: str, expected: bool) -> None:  # noqa: FBT001 - a table
    """Rule 14: a fault reopen in (fix, fix + R]."""
    events = [opened(), fact("ticket.resolved", "2h"), fact("ticket.reopened", at)]
    assert (judged(events, "31d", "stayed_fixed").verdict == "miss") is expected


# ---------------------------------------------------------------------------- rule 15


def promise(*facts: Event, as_of: str = "10d") -> str:
    """on_time_arrival of V1, promised at 30m for 3d to 3d2h."""
    return told([opened(), scheduled("30m", "3d", "3d2h"), *facts], as_of, "on_time_arrival", "V1")


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("2d23h30m", "final_hit on_time"),
        ("2d23h29m59s", "miss early"),
        ("3d2h15m", "final_hit on_time"),
        ("3d2h15m1s", "miss late"),
    ],
)
def test_arrival_bounds(at: str, expected: str) -> None:
    """Rule 15: within [start - 30 min, end + 15 min]."""
    assert promise(arrived(at)) == expected


def test_changes_with_and_without_notice() -> None:
    """Rule 15: provider changes need 24 h, unless agreed or inside; a customer may change any time."""
    arrives = arrived("4d")
    for at, fields, expected in (
        ("2d", {}, "final_hit on_time"),
        ("2d1s", {}, "miss short_notice_change"),
        ("2d1s", {"agreed": True}, "final_hit on_time"),
        ("2d1s", {"by": "customer"}, "final_hit on_time"),
        ("3d2h15m", {"by": "customer"}, "final_hit on_time"),
        ("3d2h15m1s", {"by": "customer", "agreed": True}, "miss short_notice_change"),
    ):
        assert promise(rescheduled(at, "4d", "4d2h", **fields), arrives) == expected
    inside = rescheduled("2d12h", "3d30m", "3d2h")
    assert promise(inside, arrived("3d1h")) == "final_hit on_time"
    assert promise(rescheduled("2d12h", "3d", "3d2h"), arrived("3d1h")) == "final_hit on_time"
    assert promise(rescheduled("2d12h", "3d30m", "3d2h1s"), arrived("3d1h")) == "miss short_notice_change"


def test_broken_promise_sticks() -> None:
    """Rule 15: a later change, cancellation or punctual arrival does not mend it."""
    broken = rescheduled("2d12h", "4d", "4d2h")
    assert promise(broken, arrived("4d")) == "miss short_notice_change"
    assert promise(broken, fact("dispatch.cancelled", "2d13h", visit_id="V1", by="customer")) == (
        "miss short_notice_change"
    )


def test_cancellation_and_what_follows_it() -> None:
    """Rule 15: a cancellation is a change; a window made after it replaces nothing."""
    in_time = fact("dispatch.cancelled", "2d", visit_id="V1", by="provider")
    short = fact("dispatch.cancelled", "2d1s", visit_id="V1", by="provider")
    assert promise(in_time) == "excluded visit_cancelled"
    assert promise(short) == "miss short_notice_change"
    anew = rescheduled("2d23h", "4d", "4d2h")
    assert promise(in_time, anew, arrived("4d")) == "final_hit on_time"
    assert promise(in_time, arrived("3d")) == "excluded visit_cancelled"


def test_what_does_not_exist() -> None:
    """Rule 15: changes before the first window, windows after and cancellations at arrival or later."""
    assert promise(fact("dispatch.cancelled", "10m", visit_id="V1", by="provider"), arrived("3d")) == (
        "final_hit on_time"
    )
    assert promise(arrived("3d"), fact("dispatch.cancelled", "3d", visit_id="V1")) == "final_hit on_time"
    assert promise(arrived("3d"), rescheduled("3d1s", "5d", "5d2h")) == "final_hit on_time"
    assert promise(arrived("3d"), rescheduled("3d", "5d", "5d2h")) == "miss short_notice_change"


def test_nobody_came() -> None:
    """Rules 6 and 15: pending up to window end + grace, a miss at the first instant after."""
    assert promise(as_of="3d2h15m") == "pending awaited"
    assert promise(as_of="3d2h15m1s") == "miss no_show"
    assert promise(fact("ticket.cancelled", "3d2h15m")) == "excluded case_cancelled"
    assert promise(fact("ticket.cancelled", "3d2h15m1s")) == "miss no_show"


def test_not_needed() -> None:
    """Rule 15: fixed after the promise was made and before the window, and not reopened in between."""
    assert promise(fact("ticket.resolved", "1d")) == "excluded not_needed"
    assert promise(fact("ticket.resolved", "30m")) == "miss no_show"
    assert promise(fact("ticket.resolved", "3d")) == "miss no_show"
    for reopened, expected in (
        ("1d", "excluded not_needed"),
        ("1d1s", "miss no_show"),
        ("2d23h59m", "miss no_show"),
        ("3d", "excluded not_needed"),
    ):
        assert promise(fact("ticket.resolved", "1d"), fact("ticket.reopened", reopened)) == expected


def test_completed_without_arrival() -> None:
    """Rule 15: proof only if the completion lies in the bounds; no_access included."""
    assert promise(completed("3d1h", "no_access")) == "final_hit completed_in_window"
    for at in ("2d23h30m", "3d2h15m"):
        assert promise(completed(at, "fixed")) == "final_hit completed_in_window"
    for at in ("2d23h29m59s", "3d2h15m1s"):
        assert promise(completed(at, "fixed"), as_of="4d") == "pending no_arrival_known"
    assert promise(completed("3d5h", "fixed"), as_of="4d") == "pending no_arrival_known"
    assert promise(completed("3d5h", "fixed")) == "excluded unknown_at_seal"


def test_no_window_before_arrival() -> None:
    """Rule 15: nothing promised, nothing kept or broken."""
    made_after = [opened(), arrived("1h"), scheduled("2h", "3h", "4h")]
    assert told(made_after, "1d", "on_time_arrival", "V1") == "excluded no_window"
    assigned = [opened(), fact("dispatch.assigned", "1h", visit_id="V1")]
    assert told(assigned, "1d", "on_time_arrival", "V1") == "pending no_window_yet"


# ---------------------------------------------------------------------------- rules 16 and 17


def part(type_: str, offset: str, **fields: Any) -> Event:  # noqa: ANN401
    """A parts fact of line L1."""
    return fact(f"parts.{type_}", offset, **{"line_id": "L1", **fields})


def ready(*facts: Event, unit: str = "V1") -> str:
    """parts_ready after an arrival at 3h and a completion at 4h."""
    return told([opened(), arrived("3h"), completed("4h", "fixed"), *facts], "1d", "parts_ready", unit)


def test_parts_on_hand() -> None:
    """Rule 16: allocated + the larger of picked up and delivered, at arrival; less doa or wrong."""
    two = part("required", "1h", qty=2)
    assert ready(two, part("allocated", "2h"), part("delivered", "3h")) == "provisional_hit parts_on_hand"
    assert ready(two, part("picked_up", "2h"), part("delivered", "2h")) == "miss part_missing"
    assert ready(two, part("delivered", "2h", qty=2), part("returned", "4h", reason="doa")) == "miss part_missing"
    assert ready(two, part("delivered", "2h", qty=2), part("returned", "4h1s", reason="doa")) == (
        "provisional_hit parts_on_hand"
    )
    assert ready(two, part("delivered", "2h", qty=2, to="depot")) == "miss part_missing"
    assert ready(two, part("delivered", "3h1s", qty=2)) == "miss part_missing"
    for at, expected in (("3h", "provisional_hit parts_on_hand"), ("3h1s", "miss part_missing")):
        assert ready(two, part("allocated", at, qty=2)) == expected
        assert ready(two, part("picked_up", at, qty=2)) == expected


def test_lines_of_a_visit() -> None:
    """Rule 16: which lines a visit answers for."""
    second = [arrived("6h", "V2"), completed("7h", "fixed", "V2")]
    unnamed = part("required", "2h")
    assert ready(unnamed, *second) == "miss part_missing"
    assert ready(unnamed, *second, unit="V2") == "excluded no_line"
    assert ready(part("required", "3h")) == "miss part_missing"
    assert ready(part("required", "3h"), *second, unit="V2") == "excluded no_line"
    assert ready(part("required", "3h1s"), *second, unit="V2") == "miss part_missing"
    assert ready(unnamed, arrived("3h", "V2"), unit="V2") == "miss part_missing"  # neither is earlier
    assert ready(part("required", "1h", visit_id="V2"), *second) == "excluded no_line"
    assert ready(unnamed, part("cancelled", "3h")) == "excluded no_line"
    assert ready(unnamed, part("cancelled", "3h1s")) == "miss part_missing"


def test_parts_of_a_visit_to_come() -> None:
    """Rule 16: pending with a line, unless the visit is cancelled."""
    base = [opened(), scheduled("1h", "1d", "1d2h"), part("required", "2h")]
    assert told(base, "3h", "parts_ready", "V1") == "pending not_attended_yet"
    cancelled = fact("dispatch.cancelled", "3h", visit_id="V1", by="customer")
    assert told([*base, cancelled], "4h", "parts_ready", "V1") == "excluded visit_cancelled"
    assert told(base[:2], "3h", "parts_ready", "V1") == "excluded no_line"


def test_cancelled_under_way() -> None:
    """Rule 17: ever cancelled after somebody set out, without a completion, is a miss."""
    base = [opened(), scheduled("1h", "1d", "1d2h")]
    cancelled = fact("dispatch.cancelled", "1d", visit_id="V1", by="customer")
    assert told([*base, cancelled], "2d", "visit_productive", "V1") == "excluded visit_cancelled"
    underway = [*base, fact("dispatch.en_route", "1d", visit_id="V1"), cancelled]
    assert told(underway, "2d", "visit_productive", "V1") == "miss cancelled_under_way"
    again = [*underway, rescheduled("1d1h", "2d", "2d2h")]
    assert told(again, "2d", "visit_productive", "V1") == "miss cancelled_under_way"
    assert told([*again, completed("2d1h", "fixed")], "3d", "visit_productive", "V1") == "provisional_hit productive"


# ---------------------------------------------------------------------------- rule 18


def test_same_day_is_lost_at_midnight() -> None:
    """Rule 18: before local midnight is a hit; the miss begins at midnight, which is 16 h after 08:00 UTC."""
    assert told([opened()], "15h59m59s", "same_day") == "pending day_not_over"
    assert told([opened()], "16h", "same_day") == "miss not_fixed_by_midnight"
    assert told([opened(), fact("ticket.resolved", "15h59m59s")], "1d", "same_day") == "provisional_hit fixed_same_day"
    assert told([opened(), fact("ticket.resolved", "16h")], "1d", "same_day") == "miss fixed_later"


def test_the_fix_that_counts_follows_the_last_reopen() -> None:
    """Rule 18: the first claim after the last fault reopen not later than fix + R."""
    events = [opened(), fact("ticket.resolved", "1h"), fact("ticket.reopened", "2h")]
    assert told(events, "3h", "same_day") == "pending day_not_over"
    assert told([*events, fact("ticket.resolved", "3h")], "4h", "same_day") == "provisional_hit fixed_same_day"
    assert told([*events, fact("ticket.cancelled", "3h")], "1d", "same_day") == "excluded cancelled"
    assert told([*events, fact("ticket.resolved", "2h")], "1d", "same_day") == "miss not_fixed_by_midnight"
    assert told([*events, fact("ticket.cancelled", "16h")], "1d", "same_day") == "miss not_fixed_by_midnight"
    twice = [*events, fact("ticket.resolved", "3h"), fact("ticket.reopened", "4h")]
    assert told(twice, "1d", "same_day") == "miss not_fixed_by_midnight"
    at_r = [*events[:2], fact("ticket.reopened", "30d1h")]
    assert told(at_r, "31d", "same_day") == "miss not_fixed_by_midnight"
    after_r = [*events[:2], fact("ticket.reopened", "30d1h1s")]
    assert judged(after_r, "31d", "same_day").verdict == "provisional_hit"


@pytest.mark.parametrize(
    ("at", "zone", "midnight"),
    [
        ("2026-03-29T10:00:00Z", "Europe/Berlin", "2026-03-29T22:00:00Z"),
        ("2026-03-28T10:00:00Z", "Europe/Berlin", "2026-03-28T23:00:00Z"),
        ("2026-10-25T10:00:00Z", "Europe/Berlin", "2026-10-25T23:00:00Z"),
        ("2026-09-05T12:00:00Z", "America/Santiago", "2026-09-06T04:00:00Z"),  # 00:00 does not exist
        ("2026-11-01T05:30:00Z", "America/Chicago", "2026-11-02T06:00:00Z"),  # the first 00:30, of 25 h
    ],
)
def test_local_midnight(at: str, zone: str, midnight: str) -> None:
    """Rule 18: the end of the local calendar day, DST included."""
    assert rfc3339(local_midnight(parse_time(at), zone)) == midnight


# ---------------------------------------------------------------------------- rule 19


def test_response_is_human_and_inclusive() -> None:
    """Rule 19: a robot does not count; at the due time is in time; a late cancellation does not help."""
    robot = fact("ticket.acknowledged", "1h", auto=True)
    assert told([opened(), robot], "8h", "first_response") == "pending not_due_yet"
    assert told([opened(), robot], "8h1s", "first_response") == "miss unanswered"
    assert told([opened(), fact("ticket.acknowledged", "8h")], "9h", "first_response") == "provisional_hit answered"
    for at, expected in (("8h", "excluded cancelled"), ("8h1s", "miss unanswered")):
        assert told([opened(), fact("ticket.cancelled", at)], "9h", "first_response") == expected
    assert told([opened(priority="P1"), fact("ticket.diagnosed", "24h")], "2d", "explained") == (
        "provisional_hit answered"
    )


# ---------------------------------------------------------------------------- rule 20


def test_silence_is_exceeded_not_reached() -> None:
    """Rule 20: longer than the limit; the first breach is the anchor."""
    assert told([opened()], "1d", "no_silence") == "pending open"
    verdict = judged([opened()], "1d1s", "no_silence")
    assert (verdict.verdict, verdict.anchor) == ("miss", ms("1d"))
    assert judged([opened(priority="P1")], "4h1s", "no_silence").verdict == "miss"
    assert told([opened(), fact("ticket.resolved", "1d")], "2d", "no_silence") == "provisional_hit kept_informed"
    assert judged([opened(), fact("ticket.resolved", "1d1s")], "2d", "no_silence").verdict == "miss"


def test_what_breaks_a_silence() -> None:
    """Rule 20: robots, inbound contacts and silent dispatch facts do not."""
    for contact, expected in (
        (fact("ticket.customer_updated", "20h"), "pending"),
        (fact("ticket.acknowledged", "20h", auto=True), "miss"),
        (fact("ticket.customer_contacted", "20h", reason="thanks"), "miss"),
        (scheduled("20h", "3d", "3d2h"), "pending"),
        (scheduled("20h", "3d", "3d2h", silent=True), "miss"),
        (fact("ticket.commitment_kept", "20h", commitment_id="K1"), "miss"),
    ):
        assert judged([opened(), contact], "30h", "no_silence").verdict == expected, contact["type"]


def test_pauses_are_taken_off_each_up_to_seven_days() -> None:
    """Rule 20: waiting_on_customer to resumed or now, at most 7 d."""
    waiting = fact("ticket.waiting_on_customer", "20h")
    events = [opened(), waiting]
    assert told(events, "7d20h", "no_silence") == "pending open"
    assert told(events, "8d", "no_silence") == "pending open"  # 20 h before and 4 h after
    verdict = judged(events, "8d1s", "no_silence")
    assert (verdict.verdict, verdict.anchor) == ("miss", ms("8d"))
    resumed = [*events, fact("ticket.resumed", "2d")]
    assert judged(resumed, "2d4h", "no_silence").verdict == "pending"
    assert judged(resumed, "2d4h1s", "no_silence").anchor == ms("2d4h")


def test_spans() -> None:
    """Rule 20: no gap outside spans; a reopen starts one unless the case was cancelled before."""
    fixed = [opened(), fact("ticket.resolved", "1h")]
    assert told(fixed, "20d", "no_silence") == "provisional_hit kept_informed"
    reopened = [*fixed, fact("ticket.reopened", "10d")]
    assert told(reopened, "10d20h", "no_silence") == "pending open"
    assert judged(reopened, "12d", "no_silence").verdict == "miss"
    cancelled_first = [*reopened, fact("ticket.cancelled", "9d")]
    assert told(cancelled_first, "12d", "no_silence") == "provisional_hit kept_informed"
    cancelled_after = [*reopened, fact("ticket.cancelled", "10d1h")]
    assert told(cancelled_after, "12d", "no_silence") == "provisional_hit kept_informed"
    assert told([opened(), fact("ticket.cancelled", "1h")], "2d", "no_silence") == "excluded cancelled"
    at_once = [opened(), fact("ticket.resolved", "0h")]
    assert told(at_once, "2d", "no_silence") == "provisional_hit kept_informed"


def test_spans_at_one_instant() -> None:
    """Rules 5 and 20: at one instant a claim and a cancellation come before a reopen."""
    fixed = [opened(), fact("ticket.resolved", "1h"), fact("ticket.reopened", "10d")]
    cancelled = fact("ticket.cancelled", "10d")
    assert told([*fixed, cancelled], "12d", "no_silence") == "provisional_hit kept_informed"
    again = fact("ticket.resolved#again", "10d")
    assert told([*fixed, again], "10d1h", "no_silence") == "pending open"
    ends = [fact("ticket.resolved#x", "10d2h"), fact("ticket.resolved#y", "13d")]
    assert told([*fixed, *ends], "14d", "no_silence") == "provisional_hit kept_informed"
    no_pause = [opened(), fact("ticket.waiting_on_customer", "1h"), fact("ticket.resumed", "1h")]
    assert judged(no_pause, "1d1s", "no_silence").anchor == ms("1d")
    two_resumes = [*no_pause[:2], fact("ticket.resumed", "2h"), fact("ticket.resumed#r", "9h")]
    assert judged(two_resumes, "3d", "no_silence").anchor == ms("1d1h")
    two_gaps = [opened(), fact("ticket.customer_updated", "3d")]
    assert judged(two_gaps, "9d", "no_silence").anchor == ms("1d")


def test_silence_counts_up_to_the_seal() -> None:
    """Rules 4 and 20: the running gap ends at the seal."""
    keep = [fact("ticket.waiting_on_customer", f"{day}d", seen=f"{day}d") for day in range(0, 99, 7)]
    events = [opened(), *keep[:1]]
    assert told(events, "8d1s", "no_silence") == "miss silent_too_long"
    assert told([opened(), *keep], "200d", "no_silence") == "miss silent_too_long"  # 98 d + 7 d + 1 d < 188 d
    assert told([opened(), *keep], "105d", "no_silence") == "pending open"


def test_a_gap_counts_up_to_the_clock() -> None:
    """Rules 6 and 20: a contact or an end in the clock's future ends a gap, but the gap counts only up to now."""
    ahead = fact("ticket.corrected", "2h", target="x", set={"at": rfc3339(ms("30h"))})
    for contact in (fact("ticket.customer_updated#x", "1h"), fact("ticket.resolved#x", "1h")):
        assert judged([opened(), contact, ahead], "1d", "no_silence").verdict in ("pending", "provisional_hit")
        verdict = judged([opened(), contact, ahead], "1d1s", "no_silence")
        assert (verdict.verdict, verdict.anchor) == ("miss", ms("1d"))


# ---------------------------------------------------------------------------- rule 21


def test_chasing() -> None:
    """Rule 21: strictly after the start of an open span and not after its end."""
    for at, fields, expected in (
        ("0h", {}, "provisional_hit one_contact"),
        ("1s", {}, "miss chased"),
        ("2h", {"reason": "repeat_info"}, "miss chased"),
        ("2h1s", {}, "provisional_hit one_contact"),
        ("1h", {"reason": "new_info"}, "provisional_hit one_contact"),
    ):
        events = [opened(), fact("ticket.resolved", "2h"), fact("ticket.customer_contacted", at, **fields)]
        assert told(events, "3h", "one_contact") == expected
    assert told([opened(), fact("ticket.cancelled", "1h")], "2h", "one_contact") == "excluded cancelled"
    chased = [fact("ticket.customer_contacted", at) for at in ("5h", "2h", "3h")]
    assert judged([opened(), *chased], "6h", "one_contact").anchor == ms("2h")


@pytest.mark.parametrize(("at", "expected"), [("0h", False), ("1s", True), ("2h", True), ("2h1s", False)])
def test_reported_again(at: str, expected: bool) -> None:  # noqa: FBT001 - a table
    """Rule 21: a merged case opened after this one and not after its fix."""
    merged = fact("ticket.merged", "3h", case="C2", into="C1")
    events = [opened(), fact("ticket.resolved", "2h"), opened(at, case="C2", asset_id=None), merged]
    assert (judged(events, "4h", "one_contact").verdict == "miss") is expected


# ---------------------------------------------------------------------------- rule 22


def commitment(*facts: Event, as_of: str = "2d", **fields: Any) -> str:  # noqa: ANN401
    """commitment_kept of K1, made at 1h to restore by 10h."""
    made = {"commitment_id": "K1", "kind": "restore", "due": rfc3339(ms("10h")), **fields}
    return told([opened(), fact("ticket.commitment_made", "1h", **made), *facts], as_of, "commitment_kept", "K1")


def changed(offset: str, due: str, **fields: Any) -> Event:  # noqa: ANN401
    """A change of K1."""
    return fact("ticket.commitment_changed", offset, commitment_id="K1", due=rfc3339(ms(due)), **fields)


def test_commitment_in_time_order() -> None:
    """Rule 22: evidence by the due time in force, changes that move it and changes that break it."""
    kept = "provisional_hit kept"
    assert commitment(as_of="10h") == "pending not_due_yet"
    assert commitment(as_of="10h1s") == "miss overdue"
    assert commitment(fact("ticket.resolved", "10h")) == kept
    assert commitment(fact("ticket.resolved", "10h1s")) == "miss overdue"
    assert commitment(changed("2h", "1d", by="customer"), fact("ticket.resolved", "1d")) == kept
    assert commitment(changed("2h", "1d", by="provider"), fact("ticket.resolved", "3h")) == (
        "miss changed_without_agreement"
    )
    assert commitment(changed("10h", "1d", agreed=True), fact("ticket.resolved", "1d")) == kept
    assert commitment(changed("10h1s", "1d", agreed=True), fact("ticket.resolved", "1d")) == "miss changed_after_due"
    assert commitment(fact("ticket.resolved", "2h"), changed("3h", "1d", by="provider")) == kept
    assert commitment(fact("ticket.resolved", "30m")) == "miss overdue"  # before it was made
    assert commitment(fact("ticket.resolved", "1h")) == kept
    assert commitment(fact("ticket.cancelled", "10h")) == "excluded cancelled"
    assert commitment(fact("ticket.cancelled", "10h1s")) == "miss overdue"
    assert commitment(changed("2h", "1d", by="customer"), due=None) == "excluded not_time_bound"


def test_commitment_evidence_by_kind() -> None:
    """Rule 22: what proves which kind."""
    for kind, proof in (
        ("arrive", arrived("9h")),
        ("callback", fact("ticket.customer_updated", "9h")),
        ("part", part("picked_up", "9h")),
        ("other", fact("ticket.commitment_kept", "9h", commitment_id="K1")),
    ):
        assert commitment(proof, kind=kind) == "provisional_hit kept"
        assert commitment(proof, kind="arrive" if kind != "arrive" else "part") == (
            "provisional_hit kept" if kind == "other" else "miss overdue"
        )


# ---------------------------------------------------------------------------- rule 23


def test_scope() -> None:
    """Rule 23: never existed takes everything out, other cancellations keep misses suffered."""
    base = [opened(priority="P1"), scheduled("5m", "10m", "20m"), fact("ticket.cancelled", "2h", reason="test")]
    verdicts = evaluate(base, ms("3h")).verdicts
    assert {v.reason for v in verdicts.values()} == {"never_existed"}
    withdrew = [*base[:2], fact("ticket.cancelled", "2h", reason="customer_withdrew")]
    verdicts = evaluate(withdrew, ms("3h")).verdicts
    assert verdicts["first_response", "C1"].verdict == "miss"
    assert verdicts["on_time_arrival", "V1"].verdict == "miss"
    preventive = evaluate([opened(kind="preventive"), *base[1:2]], ms("3h")).verdicts
    assert preventive["same_day", "C1"].reason == preventive["first_response", "C1"].reason == "not_break_fix"
    assert preventive["on_time_arrival", "V1"].verdict == "miss"


def test_never_existed_after_a_units_seal_does_not_count_for_it() -> None:
    """Rule 23: it must be delivered by that unit's seal."""
    events = [opened(), fact("ticket.cancelled", "1h", reason="duplicate", seen="3d8h1s")]
    verdicts = evaluate(events, ms("4d")).verdicts
    assert verdicts["first_response", "C1"].reason == "unanswered"
    assert verdicts["explained", "C1"].reason == "never_existed"


# ---------------------------------------------------------------------------- rule 25


def test_time_to_restore() -> None:
    """Rule 25: the first outage and each later one."""
    events = [opened(), fact("ticket.resolved", "1h"), fact("ticket.reopened", "5h"), fact("ticket.resolved", "7h")]
    assert evaluate(events, ms("1d")).time_to_restore == {"C1": [3600.0, 7200.0]}
    assert evaluate(events[:3], ms("1d")).time_to_restore == {"C1": [3600.0]}
    at_once = [*events[:2], fact("ticket.reopened", "1h"), fact("ticket.resolved", "3h")]
    assert evaluate(at_once, ms("1d")).time_to_restore == {"C1": [3600.0, 7200.0]}
    nested = [*events, fact("ticket.reopened", "6h"), fact("ticket.resolved#z", "9h")]
    assert evaluate(nested, ms("1d")).time_to_restore == {"C1": [3600.0, 7200.0]}
    for at in ("5h", "6h"):
        ended = [*events, fact("ticket.cancelled", at), fact("ticket.cancelled#later", "8h")]
        assert evaluate(ended, ms("1d")).time_to_restore == {"C1": [3600.0]}
    same_instant = [*events[:3], fact("ticket.resolved#q", "5h"), fact("ticket.resolved", "7h")]
    assert evaluate(same_instant, ms("1d")).time_to_restore == {"C1": [3600.0, 7200.0]}
    assert evaluate(events[:1], ms("1d")).time_to_restore == {}


# ---------------------------------------------------------------------------- the generator


@pytest.mark.parametrize("seed", range(60))
def test_sealed_is_final_whatever_the_order(seed: int) -> None:
    """Rules 2 and 4: shuffled, and with the clock moved on, what was sealed stays as it was; per segment, too."""
    rng = random.Random(seed)
    events = random_history(rng, 20)
    policy = None
    if seed % 3 == 0:
        events, policy = in_segments(events, rng), {"segments": segment_policies(rng)}
    clocks = interesting_clocks(events)
    sealed: dict[tuple[str, str, str], Verdict] = {}
    for clock in [*sorted(rng.sample(clocks, 3)), clocks[-1]]:
        rng.shuffle(events)
        verdicts = evaluate(events, clock, policy).by_case
        assert {k: verdicts[k] for k in sealed} == sealed
        sealed = {k: v for k, v in verdicts.items() if v.sealed}
    assert len(sealed) == len(verdicts)


# ---------------------------------------------------------------------------- section 3: constants per segment


NORTH = {"region": "north"}


def test_the_last_entry_that_fits_the_segment_counts() -> None:
    """Section 3: of entries for segments of a case the last one that names a constant holds for it."""
    segments = [(NORTH, {"explanation_ms": 1}), ({**NORTH, "tier": "gold"}, {"explanation_ms": 2})]

    def seal(**fields: str) -> int:
        return evaluate([opened(**fields)], ms("1m"), {"segments": segments}).verdicts["explained", "C1"].seals_at

    horizon = 72 * UNITS["h"]
    assert seal(region="north") == ms("0h") + 1 + horizon
    assert seal(region="north", tier="gold") == ms("0h") + 2 + horizon
    assert seal(tier="gold") == seal() == ms("24h") + horizon


def test_a_correction_moves_a_case_to_another_segment_if_it_comes_by_the_seal() -> None:
    """Rule 3: which facts count is asked with the limits of the segment that is known by then."""
    policy = {"segments": [(NORTH, {"late_horizon_ms": UNITS["h"], "explanation_ms": UNITS["h"]})]}

    def seal(seen: str) -> int:
        moved = fact("ticket.corrected", "30m", seen=seen, target="o", set={"region": "south"})
        known = [fact("ticket.opened#o", "0h", region="north"), moved]
        return evaluate(known, ms("1d"), policy).verdicts["explained", "C1"].seals_at

    assert seal("2h") == ms("24h") + 72 * UNITS["h"]
    assert seal("2h1s") == ms("2h")


def test_generator_is_a_function_of_the_seed() -> None:
    """The same seed gives the same history."""
    assert random_history(random.Random(5), 30) == random_history(random.Random(5), 30)
