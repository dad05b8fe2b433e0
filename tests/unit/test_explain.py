"""Explaining a case: what is known of it, why each verdict is what it is, and what could still change it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from cases import (
    POLICY,
    Event,
    arrived,
    booked,
    completed,
    corrected,
    delivered,
    erased,
    event,
    merged,
    ms,
    of_case,
    opened,
    planned,
    reopened,
    resolved,
    rfc3339,
    scheduled,
    voided,
)
from cxstream.cli import main
from cxstream.domain.cases import Reception
from cxstream.domain.facts import Fact
from cxstream.domain.instant import LATEST_MS, format_duration, format_limit
from cxstream.domain.policy import Policy
from cxstream.engine.assess import Clock
from cxstream.engine.casebook import Casebook
from cxstream.engine.explain import CorrectedField, Dropped, Entry, Explained, LateFor, explain
from cxstream.offline.explain import Told, UnknownCaseError, explain_case
from cxstream.vital_signs import TIER_A

STORY = [
    opened(named="report", tz="Europe/Berlin"),
    scheduled("0h", "1h", "2h", named="promise"),
    arrived("90m", named="came"),
    completed("3h", "fixed", named="done"),
]
CASE_SIGNS = ["first_time_fix", "no_silence", "one_contact", "same_day", "stayed_fixed", "time_to_restore"]


def told(events: Iterable[Event], as_of: str, case: str = "C1", policy: Policy = POLICY) -> Told:
    """Explain a case of some events."""
    return explain_case(delivered(*events), (), case, ms(as_of), TIER_A, policy)


def entry(events: Iterable[Event], as_of: str, named: str, *, of: str = "C1") -> Entry:
    """Return what is told of one fact in the explanation of C1."""
    entries = told(events, as_of).explanation.timeline
    return next(one for one in entries if (one.case_id, one.event_id) == (of, named))


def why(events: Iterable[Event], as_of: str, sign: str, unit: str = "C1", policy: Policy = POLICY) -> Explained:
    """Return what is told of one verdict."""
    verdicts = told(events, as_of, policy=policy).explanation.verdicts
    return next(one for one in verdicts if (one.sign, one.unit) == (sign, unit))


def run(path: Path, events: Iterable[object], *arguments: str, as_of: str = "4h", case: str = "C1") -> Result:
    """Run `cxstream explain` on one file."""
    file = path / "events.ndjson"
    file.write_text("".join(f"{one if isinstance(one, str) else json.dumps(one)}\n" for one in events))
    return CliRunner().invoke(main, ["explain", str(file), case, "--as-of", rfc3339(as_of), *arguments])


def test_the_timeline_is_in_order_of_event_time() -> None:
    """Facts stand in the order in which they happened, as corrected, whenever they were delivered (rule 5)."""
    events = [
        STORY[3],
        STORY[0],
        arrived("5h", seen="6h", named="came"),
        corrected("7h", "came", {"at": "2h"}),
        STORY[1],
    ]
    found = [(one.type, one.at_ms) for one in told(events, "8h").explanation.timeline]
    assert found == [
        ("opened", ms("0h")),
        ("scheduled", ms("0h")),
        ("arrived", ms("2h")),
        ("completed", ms("3h")),
        ("corrected", ms("7h")),
    ]


def test_a_correction_says_which_field_from_what_to_what_by_which_event() -> None:
    """Each field a correction changed is told with both values and the correction's id, the last one standing."""
    events = [
        *STORY,
        corrected("4h", "came", {"at": "1h", "technician_id": "T1"}, named="first"),
        corrected("5h", "came", {"technician_id": "T2", "visit_id": "V1"}, named="second"),
    ]
    found = entry(events, "6h", "came")
    assert found.corrected == [
        CorrectedField("at", ms("90m"), ms("1h"), "first"),
        CorrectedField("technician_id", None, "T1", "first"),
        CorrectedField("technician_id", "T1", "T2", "second"),
    ]
    assert (found.at_ms, found.fields["technician_id"]) == (ms("1h"), "T2")
    assert not entry(events, "6h", "second").remarks


def test_a_correction_that_does_nothing_says_so() -> None:
    """A correction of what is not known, or to what it was already, is told to have no effect (rule 5)."""
    events = [
        *STORY,
        corrected("4h", "lost", {"at": "1h"}, named="a"),
        corrected("4h", "came", {"at": "90m"}, named="b"),
    ]
    assert entry(events, "6h", "a").remarks == ["the event it names is not known"]
    assert entry(events, "6h", "b").remarks == ["it changes nothing"]


def test_a_void_marks_its_target_but_no_correction() -> None:
    """A voided fact names its void; corrections and voids are not voided, and the void says so (rule 5)."""
    events = [
        *STORY,
        corrected("4h", "came", {"at": "1h"}, named="mended"),
        voided("5h", "done", named="undone"),
        voided("5h", "mended", named="vain"),
    ]
    assert entry(events, "6h", "done").voided_by == ["undone"]
    assert entry(events, "6h", "mended").voided_by == []
    assert entry(events, "6h", "came").at_ms == ms("1h")
    assert entry(events, "6h", "undone").remarks == []
    assert entry(events, "6h", "vain").remarks == ["corrections and voids cannot be voided, so it takes nothing back"]
    assert why(events, "6h", "visit_productive", "V1").reason == "not_completed_yet"


def test_a_fact_told_after_the_seal_names_the_units_it_was_too_late_for() -> None:
    """An arrival told after its visit was sealed is late for that visit alone; the case still counts it (rule 3)."""
    events = [*STORY[:2], arrived("90m", seen="80h", named="came"), planned("81h", "V2", named="other")]
    found = entry(events, "90h", "came")
    sealed_ms = ms("2h") + POLICY.late_grace_ms + POLICY.late_horizon_ms
    signs = ["on_time_arrival", "parts_ready", "visit_productive"]
    assert found.late_for == [LateFor("visit", "V1", signs, sealed_ms)]
    assert found.counts
    assert why(events, "90h", "on_time_arrival", "V1").reason == "no_show"
    assert entry(events, "90h", "other").late_for == []
    assert entry(events, "90h", "promise").late_for == []


def test_a_correction_is_late_for_the_units_of_its_target() -> None:
    """A correction told after the seal of a visit is late for that visit, whenever it was made (rule 3)."""
    events = [*STORY, corrected("80h", "came", {"at": "3h"}, named="mended")]
    (late,) = entry(events, "90h", "mended").late_for
    assert (late.unit, late.signs) == ("V1", ["on_time_arrival", "parts_ready", "visit_productive"])


def test_a_fact_told_after_everything_was_sealed_counts_for_nothing() -> None:
    """What is told after the last seal is marked to count for nothing, with the case it was too late for (rule 3)."""
    events = [*STORY, reopened("40d", named="again")]
    found = entry(events, "50d", "again")
    assert not found.counts
    assert [(late.kind, late.signs) for late in found.late_for] == [("case", CASE_SIGNS)]
    assert why(events, "50d", "stayed_fixed").verdict == "final_hit"
    assert entry(events, "50d", "done").counts


def test_copies_that_are_not_kept_are_counted() -> None:
    """Equal copies of the fact that is kept are duplicates, others conflicts, in whatever order they came (rule 1)."""
    copy = completed("3h", "not_fixed", seen="4h", named="done")
    for events in ([*STORY, copy, STORY[3], copy, copy], [copy, copy, STORY[3], copy, *STORY]):
        found = entry(events, "5h", "done")
        assert (found.dropped, found.fields["outcome"]) == (Dropped(duplicates=1, conflicts=3), "fixed")
    assert entry(STORY, "5h", "done").dropped == Dropped()


def test_other_cases_on_the_asset_are_told_by_their_identity_facts() -> None:
    """A neighbour's opening and cancellation are told, its visits are not (rule 9)."""
    other = of_case("C2", opened("4h", named="report"), scheduled("5h", "6h", "7h", "V9"))
    entries = told([*STORY, *other], "8h").explanation.timeline
    assert [(one.type, one.is_absorbed) for one in entries if one.case_id == "C2"] == [("opened", False)]


def test_an_absorbed_case_is_told_with_its_visits() -> None:
    """Of a case merged into this one the visits are told too, and its other ticket facts are not (rule 9)."""
    other = of_case(
        "C2", opened("4h", asset_id=None), resolved("5h"), scheduled("5h", "6h", "7h", "V9"), merged("6h", "C1")
    )
    entries = told([*STORY, *other], "8h").explanation.timeline
    absorbed = [one for one in entries if one.case_id == "C2"]
    assert [one.type for one in absorbed] == ["opened", "scheduled", "merged"]
    assert all(one.is_absorbed and one.counts and not one.remarks for one in absorbed)


def test_only_what_concerns_the_case_is_taken_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only cases tied to it by assets and merges, over any number of steps, are looked at (rule 9)."""
    taken: set[str] = set()
    take = Casebook.take

    def noted(self: Casebook, case_id: str, fact: Fact) -> Reception:
        taken.add(case_id)
        return take(self, case_id, fact)

    monkeypatch.setattr(Casebook, "take", noted)
    tied = [
        *of_case("C2", opened(asset_id="A9"), corrected("1h", "opened-0h", {"asset_id": "A1"})),
        *of_case("C3", opened(asset_id="?"), merged("1h", "C2")),
        *of_case("C4", opened(asset_id=None), completed("1h", "fixed", replaced_by="A9")),
    ]
    apart = [*of_case("C5", opened(asset_id="A5")), *of_case("C6", opened(asset_id="?"))]
    told([*STORY, *tied, *apart], "2h")
    assert taken == {"C1", "C2", "C3", "C4"}


def test_a_merge_taken_back_is_told() -> None:
    """Visits of a case whose merge was voided are told not to count here any more; its opening still does (rule 9)."""
    other = of_case(
        "C2", opened("4h"), scheduled("5h", "6h", "7h", "V9"), merged("6h", "C1", named="join"), voided("7h", "join")
    )
    entries = {one.type: one for one in told([*STORY, *other], "8h").explanation.timeline if one.case_id == "C2"}
    assert entries["merged"].voided_by == ["voided-7h"]
    assert entries["scheduled"].remarks == ["its case is not merged into this one any more, so it does not count here"]
    assert not entries["scheduled"].counts
    assert entries["opened"].counts


def test_a_merge_told_too_late_is_not_in_force() -> None:
    """A merge that reached us after its own case was sealed says that it is not in force (rule 9)."""
    found = entry([*STORY, merged("40d", "C2", named="join")], "50d", "join")
    assert found.remarks == ["it reached us after its own case was sealed, so the merge is not in force"]
    assert entry([*STORY, merged("4h", "C2", named="join")], "50d", "join").remarks == []


def test_an_unknown_type_decides_nothing() -> None:
    """A fact of a type that is not in the vocabulary is told with that remark."""
    found = entry([*STORY, event("ticket.escalated", "4h", named="up")], "5h", "up")
    assert found.remarks == ["its type is not known here, so it decides nothing"]


def test_choices_that_are_not_stated_are_told_with_what_then_holds() -> None:
    """A window by nobody is one by the provider, and a reader is told so."""
    assert entry(STORY, "5h", "promise").defaults == {"by": "provider", "purpose": "repair"}
    assert entry([scheduled("0h", "1h", "2h", by="customer", named="p")], "5h", "p").defaults == {"purpose": "repair"}


def test_evidence_of_another_case_is_told_apart() -> None:
    """Ids are unique within a case only: a repeat case whose opening has our opening's id is named as its own."""
    events = [*STORY, *of_case("C2", opened("4d", named="report"))]
    found = why(events, "5d", "stayed_fixed")
    assert [(one.case_id, one.event_id, one.at_ms) for one in found.evidence] == [
        ("C1", "done", ms("3h")),
        ("C2", "report", ms("4d")),
    ]
    assert (found.verdict, found.rules) == ("miss", (13, 14))


def test_evidence_is_told_as_it_counts_for_the_unit() -> None:
    """A correction told after the seal of a visit leaves the visit's evidence as it was (rule 3)."""
    events = [*STORY, corrected("80h", "came", {"at": "3h"})]
    assert why(events, "90h", "on_time_arrival", "V1").evidence[1].at_ms == ms("90m")
    assert entry(events, "90h", "came").at_ms == ms("3h")


def test_a_miss_by_the_clock_names_the_silence_it_rests_on() -> None:
    """A no-show rests on the promise and on the silence of dispatch up to the end of grace (rule 6)."""
    found = why(STORY[:2], "4h", "on_time_arrival", "V1")
    assert (found.verdict, found.silence_of, found.anchor_ms) == ("miss", ("dispatch",), ms("2h15m"))
    assert found.anchor_is == "15 min after the window"
    assert 6 in found.rules
    assert why(STORY, "4h", "on_time_arrival", "V1").silence_of == ()


def test_a_silence_names_the_last_word_before_it() -> None:
    """A silence rests on the opening and on the contact after which nothing more was heard (rule 20)."""
    found = why([opened(named="report"), event("ticket.customer_updated", "5h", named="word")], "3d", "no_silence")
    assert (found.reason, [one.event_id for one in found.evidence]) == ("silence", ["report", "word"])
    assert [one.event_id for one in why([opened(named="report")], "3d", "no_silence").evidence] == ["report"]


def test_what_is_pending_says_what_is_missing_and_by_when() -> None:
    """A pending unit names what must happen, when it is due, and what would decide it."""
    found = why(STORY[:2], "30m", "on_time_arrival", "V1")
    assert (found.verdict, found.due_ms, found.missing) == ("pending", ms("2h15m"), "a technician on the way")
    assert found.open_to.startswith("an arrival (good within the window)")
    day = why([opened()], "1h", "same_day")
    assert (day.due_ms, day.missing, day.decided_by_clock_ms) == (None, "", ms("16h"))
    decided = why(STORY, "4h", "on_time_arrival", "V1")
    assert (decided.due_ms, decided.missing, decided.decided_by_clock_ms) == (None, "", None)


def test_a_provisional_hit_says_what_could_disprove_it_and_until_when() -> None:
    """A fix that has held so far can be disproved by what happens in R after it and is told by the seal (rule 14)."""
    found = why(STORY, "4h", "stayed_fixed")
    assert (found.verdict, found.final) == ("provisional_hit", False)
    assert "a reopening for the fault or a new case of the same equipment" in found.open_to
    assert (found.repeat_until_ms, found.seals_at_ms) == (ms("30d3h"), ms("33d3h"))
    assert why(STORY, "4h", "first_time_fix").repeat_until_ms == ms("30d3h")
    assert why(STORY, "4h", "one_contact").repeat_until_ms is None


def test_a_final_verdict_is_open_to_nothing() -> None:
    """Strictly after the seal nothing can change a verdict, and it says so (rule 4)."""
    before, after = why(STORY, "33d3h", "stayed_fixed"), why(STORY, "33d3h1ms", "stayed_fixed")
    assert (before.final, bool(before.open_to)) == (False, True)
    assert (after.final, after.open_to, after.repeat_until_ms) == (True, "", None)


def test_what_was_undecided_at_its_seal_says_what_it_waited_for() -> None:
    """A unit sealed while pending is excluded, in the words of the reason it was pending for (rule 4)."""
    found = why([opened()], "100d", "stayed_fixed")
    assert (found.verdict, found.reason, found.final) == ("excluded", "unknown_at_seal:not_fixed_yet", True)
    assert found.why == "It was still undecided when it was sealed, so it is left out: The fault is not fixed yet."
    assert found.rules == (4, 14)


def test_reasons_are_told_with_the_limits_in_force() -> None:
    """A sentence names the limits of the policy, not those it was written under."""
    stricter = msgspec.structs.replace(POLICY, late_grace_ms=5 * 60_000)
    assert "15 min more passed" in why(STORY[:2], "4h", "on_time_arrival", "V1").why
    assert " 5 min more passed" in why(STORY[:2], "4h", "on_time_arrival", "V1", policy=stricter).why
    assert "(P1 1 h, P2 4 h, P3 8 h)" in why([opened()], "1d", "first_response").why


def test_an_erased_case_is_explained_by_what_is_left_of_it() -> None:
    """Its facts are not told any more; verdicts that were open are excluded as erased (rule 10)."""
    one = told([*STORY, erased("80h"), reopened("81h")], "90h")
    assert (one.explanation.closed, one.explanation.timeline) == ("erased", [])
    verdicts = {verdict.sign: verdict for verdict in one.explanation.verdicts}
    assert (verdicts["on_time_arrival"].verdict, verdicts["on_time_arrival"].reason) == ("final_hit", "on_time")
    assert (verdicts["stayed_fixed"].reason, verdicts["stayed_fixed"].rules) == ("erased", (10,))
    assert "erased on request" in one.text()
    assert "[came]" not in one.text()
    assert "facts that are not kept any more" in one.text()


def test_a_case_with_too_many_facts_is_explained() -> None:
    """A case over its limit says that its facts are gone, and all its units are left out for it."""
    small = msgspec.structs.replace(POLICY, facts_per_case=3)
    one = told(STORY, "4h", policy=small)
    assert (one.explanation.closed, one.explanation.timeline) == ("overflow", [])
    assert {(verdict.verdict, verdict.reason) for verdict in one.explanation.verdicts} == {("excluded", "overflow")}
    assert "more facts than a case may have" in one.text()


def test_a_crowded_asset_is_told() -> None:
    """Where repeats cannot be told because too many cases name the asset, the explanation says since when."""
    small = msgspec.structs.replace(POLICY, crowded_asset_cases=2)
    others = [one for number in (2, 3, 4) for one in of_case(f"C{number}", opened(f"{number}h"))]
    one = told([*STORY, *others], "5h", policy=small)
    assert one.explanation.crowded_since_ms == ms("3h")
    found = {verdict.sign: verdict for verdict in one.explanation.verdicts}["stayed_fixed"]
    assert found.why.startswith("More than 2 cases name the same equipment")
    assert "a repeat cannot be told" in " ".join(one.text().split())


def test_a_case_known_only_from_others_has_no_verdicts() -> None:
    """A case that others are merged into, and that nothing of its own is known of, is told without verdicts."""
    one = told(of_case("C2", opened(), merged("1h", "C1")), "2h")
    assert [entry.case_id for entry in one.explanation.timeline] == ["C2", "C2"]
    assert one.explanation.verdicts == []
    assert "None: no fact of its own" in one.text()


def test_what_was_published_as_final_is_shown_as_published() -> None:
    """A verdict published as final stands in the explanation, even where its facts would now say otherwise (rule 4)."""
    casebook = booked(STORY, catalogue=TIER_A)
    casebook.assess(Clock.at(ms("100d")))
    case = casebook.cases["C1"]
    published = [
        msgspec.structs.replace(one, verdict="miss", reason="reopened") if one.sign == "stayed_fixed" else one
        for one in case.verdicts
    ]
    shown = explain(msgspec.structs.replace(case, verdicts=published), TIER_A, POLICY, Clock.at(ms("100d")))
    found = {one.sign: one for one in shown.verdicts}
    assert (found["stayed_fixed"].verdict, found["stayed_fixed"].evidence) == ("miss", [])
    assert [one.event_id for one in found["first_time_fix"].evidence] == ["done"]
    behind = explain(case, TIER_A, POLICY, Clock(ms("100d"), ms("1h")))
    assert all(one.final for one in behind.verdicts)
    forgotten = explain(msgspec.structs.replace(case, facts=[]), TIER_A, POLICY, Clock.at(ms("100d")))
    assert [(one.sign, one.verdict) for one in forgotten.verdicts] == [(one.sign, one.verdict) for one in case.verdicts]


def test_past_its_seal_a_verdict_is_final_only_once_all_is_known() -> None:
    """Where others may still hold what was told by the seal, the verdict is not called final (rule 4)."""
    case = booked(STORY, catalogue=TIER_A).cases["C1"]
    waiting = explain(case, TIER_A, POLICY, Clock(ms("40d"), ms("33d")))
    found = {one.sign: one for one in waiting.verdicts}["stayed_fixed"]
    assert (found.verdict, found.final) == ("provisional_hit", False)
    assert "as soon as that is known to be all here it is final" in " ".join(Told(waiting, 0, []).text().split())


def test_the_text_gives_the_time_of_the_site_and_utc(tmp_path: Path) -> None:
    """An event's time is told in the zone of the site and in UTC, with the day where that is another one."""
    events = [opened("15h30m", tz="Asia/Kolkata", named="report"), event("ticket.acknowledged", "17h", named="hello")]
    lines = run(tmp_path, events, as_of="20h").stdout.splitlines()
    assert lines[0] == "Case C1 as of Tue 2026-03-03 09:30 (04:00Z)"
    assert "Asia/Kolkata" in lines[1]
    assert "  Tue 2026-03-03" in lines
    assert any(line.startswith("    05:00  2026-03-02 23:30Z  opened        [report]") for line in lines)
    assert any(line.startswith("    06:30  01:00Z             acknowledged  [hello]") for line in lines)
    plain = run(tmp_path, [opened(named="report")], as_of="20h").stdout.splitlines()
    assert any(line.startswith("    08:00Z  opened  [report]") for line in plain)


def test_the_text_says_when_a_fact_was_told_only_where_that_matters(tmp_path: Path) -> None:
    """A delivery more than five minutes after the event is told, with how much later; others are not."""
    near = run(tmp_path, [opened(), arrived("1h", seen="1h5m")]).stdout
    far = run(tmp_path, [opened(), arrived("1h", seen="3h30m")]).stdout
    assert "told" not in near.split("VERDICTS")[0]
    assert "! told 2 h 30 min later: Mon 2026-03-02 11:30Z" in far


def test_what_could_steer_a_terminal_is_spelled_out(tmp_path: Path) -> None:
    """Control characters of a text field do not reach the terminal."""
    result = run(tmp_path, [opened(symptom="leaks\x1b[2J\nVERDICTS: all good")])
    assert "\x1b" not in result.stdout
    assert "leaks\\x1b[2J\\nVERDICTS: all good" in " ".join(result.stdout.split())


def test_the_json_says_the_same_with_instants_in_utc(tmp_path: Path) -> None:
    """`--json` prints one object; its verdicts carry what `cxstream judge` prints of them, instants as RFC 3339."""
    events = [*STORY, corrected("3h30m", "came", {"at": "1h"}, named="mended"), reopened("9h")]
    result = run(tmp_path, events, "--json", "--tiers", "A,B,C")
    assert (result.exit_code, result.stderr) == (0, "")
    document: dict[str, Any] = json.loads(result.stdout)
    assert (document["case_id"], document["as_of"], document["zone"]) == ("C1", rfc3339("4h"), "Europe/Berlin")
    assert document["delivered_later"] == 1
    came = next(one for one in document["timeline"] if one["event_id"] == "came")
    assert came["at"] == rfc3339("1h")
    assert came["corrected"] == [
        {"field": "at", "before": rfc3339("90m"), "after": rfc3339("1h"), "by": "mended"},
    ]
    promise = next(one for one in document["timeline"] if one["event_id"] == "promise")
    assert promise["fields"]["window_end"] == rfc3339("2h")
    mended = next(one for one in document["timeline"] if one["event_id"] == "mended")
    assert mended["fields"] == {"target": "came", "set": {"at": rfc3339("1h")}}
    printed = CliRunner().invoke(main, ["judge", str(tmp_path / "events.ndjson"), "--as-of", rfc3339("4h")]).stdout
    explained = {(one["sign"], one["unit"]): one for one in document["verdicts"]}
    judged = [json.loads(line) for line in printed.splitlines()]
    assert len(judged) == len(explained)
    for one in judged:
        same = explained[one["sign"], one["unit"]]
        assert [same[name] for name in ("verdict", "reason", "anchor", "seals_at")] == [
            one[name] for name in ("verdict", "reason", "anchor", "seals_at")
        ]
        assert [fact["event_id"] for fact in same["evidence"]] == one["evidence"]
        assert f": {one['sign']}: " in run(tmp_path, events, "--tiers", "a,b,c").stdout


def test_rejected_lines_of_the_case_are_told(tmp_path: Path) -> None:
    """Every wrong line is named as `judge` names it, with status 2; those of the case stand in its explanation."""
    naive = {**STORY[2], "event_id": "98", "at": "2026-03-02T10:00:00"}
    early = event("ticket.acknowledged", "9h", seen="1h", named="99")
    others = {**naive, "case_id": "C2", "event_id": "97"}
    result = run(tmp_path, [*STORY, naive, early, others, "{not json"])
    judged = CliRunner().invoke(main, ["judge", str(tmp_path / "events.ndjson"), "--as-of", rfc3339("4h")])
    assert (result.exit_code, judged.exit_code) == (2, 2)
    wrong = [line for line in judged.stderr.splitlines() if not line.startswith("rejected ")]
    assert result.stderr.splitlines() == wrong
    assert len(wrong) == 4
    told_of = " ".join(result.stdout.split("REJECTED")[1].split("VERDICTS")[0].split())
    assert "[98]" in told_of
    assert "naive_time: at: expected RFC 3339" in told_of
    assert "[99]" in told_of
    assert "future: at: expected at most 300 s" in told_of
    assert "[97]" not in told_of


def test_an_unknown_case_is_an_error_that_names_those_near(tmp_path: Path) -> None:
    """A case that nothing is known of is an error with ids like it, status 2, and nothing is explained."""
    events = [*of_case("C-1007", opened()), *of_case("C-1008", opened()), *of_case("X", opened("9h"))]
    result = run(tmp_path, events, case="c-1070")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(
        "Error: nothing of a case 'c-1070' was delivered by 2026-03-02T12:00:00Z; ids near it: "
    )
    assert "C-1007" in result.stderr
    assert "X" not in result.stderr
    assert "ids near it: none of 2" in run(tmp_path, events, case="zzz").stderr
    with pytest.raises(UnknownCaseError):
        told([], "1h")


def test_facts_of_later_are_not_seen_but_counted(tmp_path: Path) -> None:
    """What was delivered after the clock reading is no part of the explanation, which says how much that is."""
    result = run(tmp_path, [*STORY, arrived("1h", "V2", seen="9h", named="secret")])
    assert "secret" not in result.stdout
    assert "are not seen: 1." in " ".join(result.stdout.split())


@pytest.mark.parametrize(
    ("length_ms", "words"),
    [
        (0, "0 s"),
        (1, "1 ms"),
        (90 * 60_000, "1 h 30 min"),
        (72 * 3_600_000, "72 h"),
        (72 * 3_600_000 + 1, "3 d 1 ms"),
        (30 * 86_400_000, "30 d"),
        (90_061_001, "25 h 1 min"),
    ],
)
def test_lengths_are_told_by_their_two_largest_units(length_ms: int, words: str) -> None:
    """Up to three days a length is told in hours, beyond in days, as the rules do."""
    assert format_duration(length_ms) == words


def test_what_has_no_date_is_written_as_the_last_instant_that_has_one(tmp_path: Path) -> None:
    """A window that ends with the year 9999 seals after the last date: judged and explained all the same."""
    endless = {**scheduled("1h", "2h", "3h"), "window_end": "9999-12-31T23:59:59.999Z"}
    assert format_limit(LATEST_MS + 1) == "9999-12-31T23:59:59.999Z"
    result = run(tmp_path, [opened(tz="Pacific/Kiritimati"), endless])
    assert result.exit_code == 0
    assert "9999-12-31" in result.stdout
    assert run(tmp_path, [opened(), endless], "--json").exit_code == 0
    judged = CliRunner().invoke(main, ["judge", str(tmp_path / "events.ndjson"), "--as-of", rfc3339("4h")])
    assert (judged.exit_code, judged.stderr) == (0, "")
