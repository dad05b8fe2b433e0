"""A plain reading of definitions B8 to B13 (docs/rules.md, section 9), beside the evaluator and in its terms.

As there, everything is computed again from the facts each time. Definitions B1 to B7 and C1 to C5 are not read here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from oracle.evaluator import (
    DAY,
    POLICY,
    Fact,
    Judgement,
    Verdict,
    View,
    admit,
    asset_of,
    attempt_arrival,
    attempts_of,
    cancellations,
    case_seal,
    effective,
    fix_claims,
    fold_case,
    fold_own,
    is_commitment_evidence,
    last_completion,
    open_spans,
    opened_of,
    parts_facts,
    scope_of_any,
    scope_of_case,
    seal_as_the_case,
    settle,
    tie_key,
    visit_facts,
    visit_ids,
    window_of,
)

REMEMBERED = 365 * DAY
OF_LATE = 90 * DAY

Found = tuple[Judgement, int | None]
"""A judgement, and what was measured of a hit."""


class Read(NamedTuple):
    """A verdict, and what was measured of a hit."""

    verdict: Verdict
    measured: int | None


def read(events: list[dict[str, Any]], now: int) -> dict[tuple[str, str, str], Read]:
    """Return what is said of every unit of the signs of this module, by (sign, case id, unit id)."""
    facts, _rejected = admit(events, now, POLICY)
    said: dict[tuple[str, str, str], Read] = {}
    for case_id in sorted({fact.case_id for fact in facts}):
        for sign, (seal_of, judge) in OF_CASE.items():
            view = fold_case(facts, case_id, now, POLICY, seal_of)
            said[sign, case_id, case_id] = _settled(sign, view, seal_of, judge, now)
        own = [fact for fact in facts if fact.case_id == case_id]
        for line_id in sorted(lines_in(own) | lines_in(effective(own))):

            def seal_of_line(view: View, line_id: str = line_id) -> int | None:
                return line_seal(view, line_id)

            def judge_line(view: View, _clock: int, line_id: str = line_id) -> Found:
                return lead_time(view, line_id)

            view = fold_own(facts, case_id, now, POLICY, seal_of_line)
            if line_id in lines_in(view.counted) | lines_in(view.own):
                key = "parts_lead_time", case_id, line_id
                said[key] = _settled("parts_lead_time", view, seal_of_line, judge_line, now)
    return said


def _settled(
    sign: str,
    view: View,
    seal_of: Callable[[View], int | None],
    judge: Callable[[View, int], Found],
    now: int,
) -> Read:
    seal = seal_of(view)
    assert seal is not None
    out = scope_of_any(view) if sign == "parts_lead_time" else scope_of_case(view, sign)
    judgement, measured = (out, None) if out else judge(view, min(now, seal))
    return Read(settle(judgement, view, seal, now), measured)


def lines_in(facts: Any) -> set[str]:  # noqa: ANN401 - any collection of facts
    """B7: the lines that a `required` names."""
    return {fact.get("line_id") for fact in facts if fact.is_("parts", "required")}


def unless_fixed(view: View) -> Found | None:
    """B8 and B9: no fix: excluded if cancelled, else pending."""
    if fix_claims(view):
        return None
    return Judgement("excluded" if cancellations(view) else "pending", "not_fixed"), None


def transfers(view: View, _clock: int) -> Found:
    """B8: the number of `transferred` of a fixed case, whenever they happen."""
    moved = [fact for fact in view.own if fact.is_("ticket", "transferred")]
    return unless_fixed(view) or (Judgement("hit", "", fix_claims(view)[0].at), len(moved))


def visits(view: View, _clock: int) -> Found:
    """B9: the attempts that arrived by the last fix claim."""
    claims = [claim.at for claim in fix_claims(view)]
    began = [attempt_arrival(view, attempt) for attempt in attempts_of(view)]
    return unless_fixed(view) or (Judgement("hit", "", claims[0]), sum(at <= max(claims) for at in began))


def lead_time(view: View, line_id: str) -> Found:
    """B10: from the first `required` until the line was there in full, 0 if it was before."""
    there = there_in_full(view, line_id)
    for fact in parts_facts(view, line_id, "cancelled"):
        if there is None or fact.at <= there:
            return Judgement("excluded", "cancelled"), None
    if there is None:
        return Judgement("pending", "not_there_yet"), None
    filled = first_full(view, line_id)
    came = [f for f in parts_facts(view, line_id, "delivered", "picked_up") if is_here(f)]
    if not any(tie_key(fact) <= tie_key(filled) for fact in came if filled):
        return Judgement("excluded", "from_stock"), None
    return Judgement("hit", "", there), there - parts_facts(view, line_id, "required")[0].at


def is_here(fact: Fact) -> bool:
    """Rule 16: picked up, or delivered to site or van."""
    return fact.type == "picked_up" or fact.get("to", "site") in ("site", "van")


def first_full(view: View, line_id: str) -> Fact | None:
    """B10: the fact with which there was as much as last required and as returned as dead or wrong, whenever."""

    def pieces(facts: list[Fact]) -> int:
        return sum(fact.get("qty", 1) for fact in facts)

    required = parts_facts(view, line_id, "required")
    if not required:
        return None
    bad = [f for f in parts_facts(view, line_id, "returned") if f.get("reason") in ("doa", "wrong")]
    supplies = parts_facts(view, line_id, "allocated", "delivered", "picked_up")
    for fact in supplies:
        so_far = [f for f in supplies if tie_key(f) <= tie_key(fact) and (f.type == "allocated" or is_here(f))]
        of = {kind: pieces([f for f in so_far if f.type == kind]) for kind in ("allocated", "delivered", "picked_up")}
        if of["allocated"] + max(of["delivered"], of["picked_up"]) >= required[-1].get("qty", 1) + pieces(bad):
            return fact
    return None


def there_in_full(view: View, line_id: str) -> int | None:
    """B10: when it was there, not before it was required."""
    filled = first_full(view, line_id)
    return None if filled is None else max(filled.at, parts_facts(view, line_id, "required")[0].at)


def line_seal(view: View, line_id: str) -> int | None:
    """B10: when it was there + H; else as the case, merges apart."""
    there = there_in_full(view, line_id)
    if there is None:
        return seal_as_the_case(view, merges_apart=True)
    return there + int(view.policy["late_horizon_ms"])


def opening_seal(view: View) -> int | None:
    """B11 and B12: opened + H."""
    opened = opened_of(view.own)
    if opened is None:
        return seal_as_the_case(view, merges_apart=True)
    return opened.at + int(view.policy["late_horizon_ms"])


def failures_before(view: View) -> list[int] | None:
    """B11: openings before this one of other break_fix cases of the asset, neither cancelled nor merged."""
    opened = opened_of(view.own)
    asset = asset_of(opened, view.policy)
    if opened is None or asset is None or cancellations(view):
        return None
    found = []
    for other, facts in view.siblings.items():
        its = opened_of(facts)
        merges = {edge.event_id for edge in view.merges if edge.source == other}
        gone = any(f.is_("ticket", "cancelled") or f.event_id in merges for f in facts)
        if its is None or gone or its.get("kind", "break_fix") != "break_fix" or its.at >= opened.at:
            continue
        if asset_of(its, view.policy) == asset:
            found.append(its.at)
    return found


def gap(view: View, _clock: int) -> Found:
    """B11: opened - the last opening before it, within a year less H."""
    opened, before = opened_of(view.own), failures_before(view)
    assert opened is not None
    reach = REMEMBERED - int(view.policy["late_horizon_ms"])
    near = [at for at in before or () if opened.at - at <= reach]
    if not near:
        return Judgement("excluded", "none"), None
    return Judgement("hit", "", opened.at), opened.at - max(near)


def failures(view: View, _clock: int) -> Found:
    """B12: such openings in (opened - 90 d, opened], this one included."""
    opened, before = opened_of(view.own), failures_before(view)
    assert opened is not None
    if before is None:
        return Judgement("excluded", "none"), None
    return Judgement("hit", "", opened.at), 1 + sum(at > opened.at - OF_LATE for at in before)


def next_step(view: View, clock: int) -> Found:
    """B13: while a span is open, a window or a due time that has not passed."""
    if all(end is not None for _start, end in open_spans(view)):
        return Judgement("excluded", "not_open"), None
    opened = opened_of(view.own)
    assert opened is not None
    ahead = any(until >= clock for until in [*window_ends(view), *due_times(view)])
    return Judgement("hit" if ahead else "miss", "", opened.at), None


def window_ends(view: View) -> list[int]:
    """B13: of visits not completed whose last change is a window."""
    ends = []
    for visit_id in visit_ids(view.pooled):
        changes = visit_facts(view, visit_id, "scheduled", "rescheduled", "cancelled")
        window = window_of(changes[-1]) if changes else None
        if window is not None and last_completion(view, visit_id) is None:
            ends.append(window.end)
    return ends


def due_times(view: View) -> list[int]:
    """B13: as last stated, of commitments made with a due time for which there is no evidence."""
    taken_over = [f for f in view.pooled if f.case_id != view.case_id]
    dues = []
    for commitment_id in sorted({f.get("commitment_id") for f in view.own if f.is_("ticket", "commitment_made")}):
        named = [f for f in view.own if f.get("commitment_id") == commitment_id]
        made = next(f for f in named if f.is_("ticket", "commitment_made"))
        if made.time("due") is None or any(is_commitment_evidence(view, f, made) for f in (*view.own, *taken_over)):
            continue
        stated = [f for f in named if f.is_("ticket", "commitment_changed") and f.at >= made.at and f.time("due")]
        due = (stated[-1] if stated else made).time("due")
        assert due is not None
        dues.append(due)
    return dues


OF_CASE: dict[str, tuple[Callable[[View], int | None], Callable[[View, int], Found]]] = {
    "transfers_per_case": (case_seal, transfers),
    "visits_per_case": (case_seal, visits),
    "mean_time_between_failures": (opening_seal, gap),
    "failures_per_asset": (opening_seal, failures),
    "next_step_known": (case_seal, next_step),
}
SIGNS = (*OF_CASE, "parts_lead_time")
