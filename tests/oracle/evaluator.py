"""A plain batch evaluator of the vital signs contract, written from the page alone.

Every function names the rule it spells out, so that a reviewer can hold it next to the page. It is
slow on purpose: everything is computed again from the facts each time, nothing is remembered.
Where the page leaves a choice, READINGS.md says which one is made here and "Reading" marks the line.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Literal
from zoneinfo import ZoneInfo

SECOND = 1000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

#: Section 3, policy constants. Times are integer milliseconds.
POLICY: dict[str, Any] = {
    "repeat_window_ms": 30 * DAY,
    "late_horizon_ms": 72 * HOUR,
    "late_grace_ms": 15 * MINUTE,
    "early_tolerance_ms": 30 * MINUTE,
    "provider_notice_ms": 24 * HOUR,
    "on_site_limit_ms": 12 * HOUR,
    "clock_skew_ms": 5 * MINUTE,
    "first_response_ms": {"P1": 1 * HOUR, "P2": 4 * HOUR, "P3": 8 * HOUR},
    "explanation_ms": 24 * HOUR,
    "silence_limit_ms": {"P1": 4 * HOUR, "P2": 24 * HOUR, "P3": 24 * HOUR},
    "longest_pause_ms": 7 * DAY,
    "abandonment_ms": 90 * DAY,
    "merge_hops": 8,
    "placeholder_assets": ("", "?", "N/A"),
}

#: What an opening states of the segment of its case.
DIMENSIONS = ("priority", "region", "product", "tier", "provider")

#: Rule 5: the order of types among facts of equal `at`; all others come last.
TYPE_ORDER = (
    "opened",
    "acknowledged",
    "diagnosed",
    "customer_updated",
    "customer_contacted",
    "waiting_on_customer",
    "resumed",
    "required",
    "ordered",
    "allocated",
    "shipped",
    "delivered",
    "picked_up",
    "scheduled",
    "rescheduled",
    "assigned",
    "en_route",
    "arrived",
    "returned",
    "consumed",
    "completed",
    "cancelled",
    "commitment_made",
    "commitment_changed",
    "commitment_kept",
    "resolved",
    "reopened",
    "merged",
    "closed",
    "compensated",
    "value_added",
    "erased",
)

CASE_SIGNS = (
    "first_time_fix",
    "stayed_fixed",
    "same_day",
    "no_silence",
    "time_to_restore",
    "one_contact",
)
RESPONSE_SIGNS = ("first_response", "explained")
VISIT_SIGNS = ("on_time_arrival", "parts_ready", "visit_productive")
SIGNS = (*CASE_SIGNS, *RESPONSE_SIGNS, *VISIT_SIGNS, "commitment_kept")

NEVER_EXISTED = ("duplicate", "test", "created_in_error")
ADMINISTRATIVE = ("billing", "other")
CHASING = ("status_chase", "repeat_info")
FAILED_OUTCOMES = (
    "not_fixed",
    "partial",
    "no_parts",
    "diagnosed_only",
    "temporary",
    "wrong_skill",
)
WASTED_OUTCOMES = ("no_access", "no_parts", "not_fixed", "wrong_skill")
TIMES = ("at", "window_start", "window_end", "due", "first_contact_at")

#: Section 1: what each field can hold; a tuple lists the choices. A name with "!" is required in that type.
KINDS: dict[str, Any] = {
    **dict.fromkeys(TIMES, "time"),
    **dict.fromkeys(("auto", "agreed", "remote", "silent"), "flag"),
    **dict.fromkeys(("qty", "transfers"), "count"),
    "tz": "zone",
    "priority": ("P1", "P2", "P3"),
    "purpose": ("repair", "survey", "preventive"),
    "outcome": (*FAILED_OUTCOMES, "fixed", "no_access", "continued"),
    "ticket opened kind": ("break_fix", "preventive", "alert"),
    "ticket commitment_made kind": ("arrive", "restore", "callback", "part", "other"),
    "ticket customer_contacted reason": (*CHASING, "new_info", "reschedule", "thanks"),
    "ticket reopened reason": ("same_fault", *ADMINISTRATIVE),
    "ticket cancelled reason": ("customer_withdrew", *NEVER_EXISTED),
    "parts reason": ("unused", "doa", "wrong"),
    "parts to": ("site", "van", "depot"),
    "dispatch by": ("customer", "provider"),
    "ticket commitment_changed by": ("customer", "provider"),
}
WINDOW_FIELDS = "visit_id! window_start window_end by agreed purpose continues silent"
LINE_FIELDS = "line_id! part_no qty visit_id to reason"
FIELDS: dict[str, str] = {
    "ticket opened": "asset_id channel priority kind tz symptom region product tier provider account_ref"
    " first_contact_at transfers",
    "ticket acknowledged": "auto",
    "ticket customer_updated": "channel",
    "ticket customer_contacted": "channel reason",
    "ticket commitment_made": "commitment_id! kind due",
    "ticket commitment_changed": "commitment_id! due by agreed",
    "ticket commitment_kept": "commitment_id!",
    "ticket resolved": "remote",
    "ticket reopened": "reason",
    "ticket cancelled": "by reason",
    "ticket merged": "into!",
    "ticket transferred": "to",
    "ticket compensated": "amount",
    "ticket value_added": "what",
    "dispatch scheduled": WINDOW_FIELDS,
    "dispatch rescheduled": WINDOW_FIELDS,
    "dispatch assigned": "visit_id! technician_id silent",
    "dispatch en_route": "visit_id! technician_id silent",
    "dispatch arrived": "visit_id! technician_id silent",
    "dispatch completed": "visit_id! technician_id outcome replaced_by silent",
    "dispatch cancelled": "visit_id! by agreed silent",
    "dispatch value_added": "visit_id what",
    **{
        f"parts {type_}": LINE_FIELDS
        for type_ in (
            *("required", "allocated", "ordered", "shipped", "delivered"),
            *("picked_up", "returned", "consumed", "cancelled"),
        )
    },
    "corrected": "target!",  # and `set`, which holds values, not another `set`
    "voided": "target!",
}
CORRECTABLE = {"at", *(name.rstrip("!") for names in FIELDS.values() for name in names.split())}
LARGEST_COUNT = 2**53


# ---------------------------------------------------------------------------- results


@dataclass(frozen=True)
class Verdict:
    """What is known of one sign of one unit; times in ms since the epoch."""

    verdict: Literal["pending", "provisional_hit", "final_hit", "miss", "excluded"]
    reason: str
    anchor: int | None
    seals_at: int
    sealed: bool


@dataclass
class Result:
    """All verdicts at one clock reading.

    `verdicts` is keyed by (sign, unit id), `by_case` by (sign, case id, unit id): they differ only
    where two cases use one visit id or commitment id; then `verdicts` holds the first case's and
    `collisions` names the key.
    """

    verdicts: dict[tuple[str, str], Verdict] = field(default_factory=dict)
    by_case: dict[tuple[str, str, str], Verdict] = field(default_factory=dict)
    collisions: set[tuple[str, str]] = field(default_factory=set)
    time_to_restore: dict[str, list[float]] = field(default_factory=dict)
    rejected: Counter[str] = field(default_factory=Counter)

    def rejected_in_scenario_words(self) -> dict[str, int]:
        """As the scenario files count: a conflicting duplicate is a duplicate."""
        words = {"naive_time", "future", "duplicate", "conflict"}
        counts = Counter({k: n for k, n in self.rejected.items() if k in words})
        counts["duplicate"] += counts.pop("conflict", 0)
        return {k: n for k, n in counts.items() if n}


@dataclass(frozen=True)
class Judgement:
    """A verdict before the seal is looked at."""

    verdict: Literal["pending", "hit", "miss", "excluded"]
    reason: str
    anchor: int | None = None


@dataclass(frozen=True)
class Fact:
    """One admitted event; `role` says how it came to the case that is judged (rule 9)."""

    case_id: str
    event_id: str
    topic: str
    type: str
    at: int
    delivered: int
    body: dict[str, Any]
    role: Literal["own", "learned", "absorbed"] = "own"
    merge_delivered: int = 0  # of an absorbed fact: when the merge reached us that made it count here

    @property
    def delivered_here(self) -> int:
        """Rule 9: with which delivery it is folded in the case that is judged."""
        return max(self.delivered, self.merge_delivered)

    def get(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - JSON values
        """A field; null is absent."""
        value = self.body.get(name)
        return default if value is None else value

    def time(self, name: str) -> int | None:
        """A field that holds a time, in ms."""
        value = self.get(name)
        return None if value is None else parse_time(value)

    def is_(self, topic: str, *types: str) -> bool:
        """Of this topic and one of these types."""
        return self.topic == topic and self.type in types


@dataclass(frozen=True)
class MergeEdge:
    """A merge in force: `source` went into `into`."""

    source: str
    into: str
    event_id: str
    delivered: int


@dataclass(frozen=True)
class Window:
    """A promise made to the customer."""

    made_at: int
    start: int
    end: int


@dataclass(frozen=True)
class View:
    """What one unit is judged on: effective facts only, in tie order.

    own: the case's own facts that count for the unit. pooled: its dispatch and parts facts together
    with those of absorbed cases. siblings: identity facts of every other case. counted: all counted
    facts as delivered, corrections and voids included. merges: the merges in force as known then.
    """

    case_id: str
    policy: dict[str, Any]
    own: tuple[Fact, ...]
    pooled: tuple[Fact, ...]
    siblings: dict[str, tuple[Fact, ...]]
    absorbed: frozenset[str]
    counted: tuple[Fact, ...]
    merges: tuple[MergeEdge, ...]


# ---------------------------------------------------------------------------- times


class NaiveTimeError(ValueError):
    """A timestamp without an offset."""


def parse_time(text: str) -> int:
    """RFC 3339 with offset to ms; NaiveTimeError without one, ValueError if it is no time at all."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise NaiveTimeError(text)
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def local_midnight(at: int, zone: str) -> int:
    """Rule 18: the instant at which the local calendar day of `at` ends.

    fold=0 makes a midnight skipped by a DST change the instant of the change itself.
    """
    tz = ZoneInfo(zone)
    local = datetime.fromtimestamp(at // 1000, UTC).astimezone(tz)
    next_day = local.date() + timedelta(days=1)
    midnight = datetime(next_day.year, next_day.month, next_day.day, tzinfo=tz)
    return int(midnight.astimezone(UTC).timestamp()) * 1000


# ---------------------------------------------------------------------------- rule 1, rule 10


def canonical_payload(event: dict[str, Any]) -> str:
    """Rule 1: what copies are compared by: what they say, not how they spell it nor when they were delivered.

    Reading: topic, type, at and the fields of section 1 that are stated, times as instants, as JSON with sorted keys.
    """

    def instants(holder: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
        stated = {name: holder[name] for name in names if name in holder}
        return {n: parse_time(v) if n in TIMES and v is not None else v for n, v in stated.items()}

    stated = {n: v for n, v in instants(event, fields_of(event["topic"], event["type"])).items() if v is not None}
    if event["type"] == "corrected":
        stated["set"] = instants(event["set"], CORRECTABLE)
    content = [event["topic"], event["type"], parse_time(event["at"]), stated]
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def fields_of(topic: str, type_: str) -> dict[str, bool]:
    """Section 1: the fields of a type, and whether it needs them; of an unknown type none."""
    names = FIELDS.get(f"{topic} {type_}", FIELDS.get(type_, "")).split()
    return {name.rstrip("!"): name.endswith("!") for name in names}


def can_hold(topic: str, type_: str, name: str, value: Any) -> bool:  # noqa: ANN401 - JSON values
    """Section 1: whether a field of a type can hold a value."""
    kind = KINDS.get(f"{topic} {type_} {name}") or KINDS.get(f"{topic} {name}") or KINDS.get(name, "text")
    if isinstance(kind, tuple):
        return value in kind
    if kind == "flag":
        return isinstance(value, bool)
    if kind == "count":
        return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < LARGEST_COUNT
    if kind == "zone":
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError, TypeError):
            return False
        return True
    is_id = fields_of(topic, type_).get(name, False)
    return isinstance(value, str) and (bool(value) or not is_id)


def has_naive_time(event: dict[str, Any]) -> bool:
    """Rule 1: any timestamp without an offset (Reading: one inside a correction's `set` too)."""
    for holder in (event, event.get("set")):
        if isinstance(holder, dict):
            for name in TIMES:
                try:
                    parse_time(holder.get(name) or "1970-01-01T00:00:00Z")
                except NaiveTimeError:
                    return True
    return False


def admit(events: list[dict[str, Any]], as_of: int, policy: dict[str, Any]) -> tuple[list[Fact], Counter[str]]:
    """Rule 1. Only what was delivered by `as_of` is looked at, rejected or not."""
    rejected: Counter[str] = Counter()
    copies: dict[tuple[str, str], list[tuple[int, str, dict[str, Any]]]] = {}
    for event in events:
        try:
            delivered = parse_time(event.get("seen") or event["at"])
        except NaiveTimeError:
            rejected["naive_time"] += 1
            continue
        if delivered > as_of:
            continue
        if has_naive_time(event):
            rejected["naive_time"] += 1
        elif event["type"] == "corrected" and not CORRECTABLE & set(event["set"]):
            rejected["invalid"] += 1  # Reading: it corrects nothing
        elif parse_time(event["at"]) > delivered + policy["clock_skew_ms"]:
            rejected["future"] += 1
        else:
            key = (event["case_id"], event["event_id"])
            copies.setdefault(key, []).append((delivered, canonical_payload(event), event))

    facts = []
    for group in copies.values():
        kept = min(group, key=lambda copy: copy[:2])
        facts.append(fact_of(kept[2], delivered=kept[0]))
        others = Counter(payload for _, payload, _ in group)
        rejected["duplicate"] += others.pop(kept[1]) - 1
        rejected["conflict"] += others.total()
    return refuse_after_erasure(facts, rejected), +rejected


def fact_of(event: dict[str, Any], delivered: int) -> Fact:
    """An admitted event as a fact."""
    return Fact(
        case_id=event["case_id"],
        event_id=event["event_id"],
        topic=event["topic"],
        type=event["type"],
        at=parse_time(event["at"]),
        delivered=delivered,
        body={k: v for k, v in event.items() if k != "seen"},
    )


def refuse_after_erasure(facts: list[Fact], rejected: Counter[str]) -> list[Fact]:
    """Rule 10: facts of a case later than its (unvoided) erasure are refused."""
    kept = []
    for case_id in sorted({f.case_id for f in facts}):
        own = by_delivery(f for f in facts if f.case_id == case_id)
        for n, fact in enumerate(own):
            if fact.is_("ticket", "erased") and any(f.event_id == fact.event_id for f in effective(own[: n + 1])):
                rejected["erased"] += len(own) - n - 1
                own = own[: n + 1]
                break
        kept += own
    return kept


# ---------------------------------------------------------------------------- rule 5


def by_delivery(facts: Iterable[Fact]) -> list[Fact]:
    """Rules 3 and 5: (delivered, event_id); the case id only to make it total across cases."""
    return sorted(facts, key=lambda f: (f.delivered, f.event_id, f.case_id))


def tie_key(fact: Fact) -> tuple[int, int, str, str]:
    """Rule 5: at, then type, then event_id; the case id only to make it total across cases."""
    order = TYPE_ORDER.index(fact.type) if fact.type in TYPE_ORDER else len(TYPE_ORDER)
    return (fact.at, order, fact.event_id, fact.case_id)


def effective(facts: Iterable[Fact]) -> tuple[Fact, ...]:
    """Rule 5, each case by itself: corrections in order of delivery, then voids; in tie order."""
    facts = list(facts)
    result: list[Fact] = []
    for case_id in sorted({f.case_id for f in facts}):
        result += effective_of_one_case([f for f in facts if f.case_id == case_id])
    return tuple(sorted(result, key=tie_key))


def effective_of_one_case(facts: list[Fact]) -> list[Fact]:
    """Rule 5. A voided correction has been applied already; a void of a void restores nothing."""
    current = {f.event_id: f for f in facts}
    for fact in by_delivery(facts):
        if fact.type != "corrected":
            continue
        correction = current[fact.event_id]  # as corrected by those before it
        target = correction.get("target")
        if target in current:
            current[target] = corrected(current[target], correction.get("set", {}))
    removed = {current[f.event_id].get("target") for f in facts if f.type == "voided"}
    return [f for f in current.values() if f.type not in ("corrected", "voided") and f.event_id not in removed]


def corrected(fact: Fact, changes: dict[str, Any]) -> Fact:
    """Section 1: {field: value}; never event_id, topic, type or case_id (nor the delivery).

    Reading: what the type has no such field for, or what its field cannot hold, changes nothing; null takes a field
    away, unless the type needs it.
    """
    body = dict(fact.body)
    at = fact.at
    fields = fields_of(fact.topic, fact.type)
    for name, value in changes.items():
        if name == "at":
            at = at if value is None else parse_time(value)
        elif name not in fields:
            continue
        elif value is None:
            if not fields[name]:
                body.pop(name, None)
        elif can_hold(fact.topic, fact.type, name, value):
            body[name] = value
    return dataclasses.replace(fact, at=at, body=body)


# ---------------------------------------------------------------------------- rules 3 and 9: folding


def fold_own(
    facts: list[Fact], case_id: str, until: int, policy: dict[str, Any], seal_of: Callable[[View], int | None]
) -> View:
    """Rule 3 on the case's own facts alone: for visits, commitments, responses, and merges."""
    counted: list[Fact] = []
    for fact in by_delivery(f for f in facts if f.case_id == case_id and f.delivered <= until):
        if counted:
            seal = seal_of(own_view(case_id, counted, policy))
            assert seal is not None
            if fact.delivered > seal:
                break
        counted.append(fact)
    return own_view(case_id, counted, policy)


def own_view(case_id: str, counted: list[Fact], policy: dict[str, Any]) -> View:
    """A case judged by itself: nothing learned, nothing absorbed."""
    own = effective(counted)
    return View(
        case_id=case_id,
        policy=policy_of(own, policy),
        own=own,
        pooled=tuple(f for f in own if f.topic in ("dispatch", "parts")),
        siblings={},
        absorbed=frozenset(),
        counted=tuple(counted),
        merges=tuple(
            MergeEdge(case_id, f.get("into", ""), f.event_id, f.delivered) for f in own if f.is_("ticket", "merged")
        ),
    )


def merges_in_force(facts: list[Fact], until: int, policy: dict[str, Any]) -> tuple[MergeEdge, ...]:
    """Rule 9: a merge is in force, for everyone, if it counts for the merged case on its own facts."""
    edges: list[MergeEdge] = []
    for case_id in sorted({f.case_id for f in facts if f.is_("ticket", "merged")}):
        edges += fold_own(facts, case_id, until, policy, case_seal).merges
    return tuple(edges)


def absorbed_by(survivor: str, edges: tuple[MergeEdge, ...], policy: dict[str, Any]) -> dict[str, int]:
    """Rule 9: every case merged into the survivor, directly or through others, at most 8 hops.

    The value is the delivery of the merge: the last on the way; of several ways the earliest.
    """
    found: dict[str, int] = {}

    def follow(start: str, here: str, passed: tuple[str, ...], delivered: int) -> None:
        for edge in edges:
            if edge.source != here or edge.into in passed:  # a cycle stops
                continue
            latest = max(delivered, edge.delivered)
            if edge.into == survivor:
                found[start] = min(latest, found.get(start, latest))
            elif len(passed) < policy["merge_hops"]:
                follow(start, edge.into, (*passed, edge.into), latest)

    for start in sorted({e.source for e in edges} - {survivor}):
        follow(start, start, (start,), -(2**62))
    return found


def candidates(facts: list[Fact], case_id: str, until: int, absorbed: dict[str, int]) -> list[Fact]:
    """Rule 9: what the case may know by `until`, in the order it is folded in.

    Identity facts of every other case are taken in: which of them are of its asset is asked where it
    matters, and they do not move the seal. Corrections and voids go with what they mend: with identity
    facts at their own delivery, and once more with an absorbed case's dispatch and parts facts.
    """
    known = []
    for fact in facts:
        is_amendment = fact.type in ("corrected", "voided")
        if fact.case_id == case_id:
            known.append(fact)
            continue
        if fact.is_("ticket", "opened", "cancelled", "merged") or is_amendment:
            known.append(dataclasses.replace(fact, role="learned"))
        if fact.case_id in absorbed and (fact.topic in ("dispatch", "parts") or is_amendment):
            known.append(dataclasses.replace(fact, role="absorbed", merge_delivered=absorbed[fact.case_id]))

    def order(fact: Fact) -> tuple[int, str, bool, str, bool]:
        """Rule 3; Reading: of equal ones the case's own comes first, then by case."""
        is_foreign = fact.case_id != case_id
        return (fact.delivered_here, fact.event_id, is_foreign, fact.case_id, fact.role == "absorbed")

    return sorted((f for f in known if f.delivered_here <= until), key=order)


def fold_case(
    facts: list[Fact],
    case_id: str,
    until: int,
    policy: dict[str, Any],
    seal_of: Callable[[View], int | None] | None = None,
) -> View:
    """Rule 3 for the case signs, with what rule 9 lets the case learn.

    Goes through the instants at which anything was delivered to anyone; merges are those in force
    on what was delivered by that instant, so nothing delivered after the seal can undo one here.
    """
    seal_of = seal_of or case_seal
    view = View(case_id, policy, (), (), {}, frozenset(), (), ())
    for instant in sorted({f.delivered for f in facts if f.delivered <= until}):
        seal = seal_of(view) if view.counted else None
        if seal is not None and instant > seal:
            break
        merges = merges_in_force(facts, instant, policy)
        absorbed = absorbed_by(case_id, merges, policy)
        known = candidates(facts, case_id, instant, absorbed)
        counted = [f for f in known if f.delivered_here < instant]
        stopped = False
        for fact in known:
            if fact.delivered_here < instant:
                continue
            if seal is not None and fact.delivered_here > seal:
                stopped = True
                break
            counted.append(fact)
            seal = seal_of(case_view(case_id, counted, merges, absorbed, policy))
        view = case_view(case_id, counted, merges, absorbed, policy)
        if stopped:
            break
    return view


def case_view(
    case_id: str,
    counted: list[Fact],
    merges: tuple[MergeEdge, ...],
    absorbed: dict[str, int],
    policy: dict[str, Any],
) -> View:
    """The counted facts sorted into what the case signs read."""
    own = effective(f for f in counted if f.role == "own")
    learned = effective(f for f in counted if f.role == "learned")
    siblings = {
        other: tuple(f for f in learned if f.case_id == other and f.is_("ticket", "opened", "cancelled", "merged"))
        for other in sorted({f.case_id for f in learned})
    }
    taken_over = effective(f for f in counted if f.role == "absorbed")
    pooled = tuple(sorted((f for f in (*own, *taken_over) if f.topic in ("dispatch", "parts")), key=tie_key))
    rules = policy_of(own, policy)
    return View(case_id, rules, own, pooled, siblings, frozenset(absorbed), tuple(counted), merges)


def policy_of(own: tuple[Fact, ...], policy: dict[str, Any]) -> dict[str, Any]:
    """Section 3: the policy of the segment the opening states, as known so far; of several entries the last counts.

    `policy["segments"]` are pairs of a segment and its constants; those by priority replace single priorities.
    """
    opened = opened_of(own)
    segment = {name: (opened and opened.get(name)) or "unknown" for name in DIMENSIONS}
    if opened is not None:
        segment["priority"] = priority_of(opened)
    rules = dict(policy)
    for where, constants in policy.get("segments", ()):
        if all(segment[name] == value for name, value in where.items()):
            for name, value in constants.items():
                rules[name] = {**rules[name], **value} if isinstance(value, dict) else value
    return rules


# ---------------------------------------------------------------------------- rules 7 and 8: a case


def opened_of(facts: tuple[Fact, ...]) -> Fact | None:
    """Reading: of several `opened` the first in the tie order."""
    for fact in facts:
        if fact.is_("ticket", "opened"):
            return fact
    return None


def priority_of(opened: Fact) -> str:
    """Section 1: a missing priority is P3 (Reading: so is an unknown one)."""
    priority = opened.get("priority", "P3")
    return priority if priority in ("P1", "P2", "P3") else "P3"


def asset_of(opened: Fact | None, policy: dict[str, Any]) -> str | None:
    """Rule 8: opened.asset_id, placeholders are null."""
    asset = opened.get("asset_id") if opened else None
    return None if asset in policy["placeholder_assets"] else asset


def fix_claims(view: View) -> list[Fact]:
    """Rule 7: completions of repair visits with outcome fixed, and own `resolved`."""
    claims = [
        f
        for f in view.pooled
        if f.is_("dispatch", "completed")
        and f.get("outcome") == "fixed"
        and purpose_of(view, f.get("visit_id")) == "repair"
    ]
    claims += [f for f in view.own if f.is_("ticket", "resolved")]
    return sorted(claims, key=tie_key)


def fault_reopens(view: View) -> list[Fact]:
    """Rule 7: `reopened` with a reason that is not administrative."""
    return [f for f in view.own if f.is_("ticket", "reopened") and f.get("reason", "same_fault") not in ADMINISTRATIVE]


def cancellations(view: View) -> list[Fact]:
    """Rule 7: the case's cancellations; only a void undoes one."""
    return [f for f in view.own if f.is_("ticket", "cancelled")]


def is_never_existed(view: View) -> bool:
    """Rule 23: cancelled as duplicate, test or created_in_error."""
    return any(f.get("reason") in NEVER_EXISTED for f in cancellations(view))


def own_merges(view: View) -> list[Fact]:
    """Rules 9 and 23: `merged` facts of this case that count here and are in force for everyone."""
    in_force = {e.event_id for e in view.merges if e.source == view.case_id}
    return [f for f in view.own if f.is_("ticket", "merged") and f.event_id in in_force]


def erasure_of(view: View) -> Fact | None:
    """Rule 10: the erasure, if it came by the seal."""
    return next((f for f in view.own if f.is_("ticket", "erased")), None)


# ---------------------------------------------------------------------------- rule 11: visits, attempts


def visit_ids(facts: tuple[Fact, ...]) -> list[str]:
    """Rule 3: the visits that dispatch facts make; a correction or void makes none."""
    makers = [f for f in facts if f.topic == "dispatch" and f.type not in ("corrected", "voided")]
    return sorted({f.get("visit_id") for f in makers if f.get("visit_id")})


def visit_facts(view: View, visit_id: str, *types: str) -> list[Fact]:
    """The dispatch facts of one visit, of one type or of all, in tie order."""
    return [
        f
        for f in view.pooled
        if f.topic == "dispatch" and f.get("visit_id") == visit_id and (not types or f.type in types)
    ]


def last_stated(view: View, visit_id: str, name: str) -> str | None:
    """Reading: purpose and continues are what the last window that states them says."""
    stated = [f.get(name) for f in visit_facts(view, visit_id, "scheduled", "rescheduled") if f.get(name) is not None]
    return stated[-1] if stated else None


def purpose_of(view: View, visit_id: str) -> str:
    """Section 1: repair unless stated."""
    return last_stated(view, visit_id, "purpose") or "repair"


def last_completion(view: View, visit_id: str) -> Fact | None:
    """Rule 11: the completion a visit's outcome is taken from."""
    completed = visit_facts(view, visit_id, "completed")
    return completed[-1] if completed else None


def outcome_of(view: View, visit_id: str) -> str | None:
    """Rule 11: the last completion's."""
    completion = last_completion(view, visit_id)
    return completion.get("outcome") if completion else None


def arrival_of(view: View, visit_id: str) -> Fact | None:
    """Rule 11: the first arrival; without one the completion (Reading: the last) stands for it."""
    arrived = visit_facts(view, visit_id, "arrived")
    return arrived[0] if arrived else last_completion(view, visit_id)


def is_attended(view: View, visit_id: str) -> bool:
    """Rule 11: arrived, or completed (Reading: outcome or none); no_access is no attempt."""
    return arrival_of(view, visit_id) is not None and outcome_of(view, visit_id) != "no_access"


def is_on_site(view: View, visit_id: str, at: int) -> bool:
    """Rule 11: from arrival up to, not including, completion, at most 12 h (Reading: inclusive)."""
    arrival = arrival_of(view, visit_id)
    completion = last_completion(view, visit_id)
    if arrival is None or at < arrival.at:
        return False
    if completion is not None and at >= completion.at:
        return False
    return at - arrival.at <= view.policy["on_site_limit_ms"]


def belongs_to_attempt_of(view: View, visit: str, other: str) -> bool:
    """Rule 11: `visit` arrives while `other` is on site, or continues it."""
    arrival = arrival_of(view, visit)
    assert arrival is not None
    if is_on_site(view, other, arrival.at):
        return True
    return last_stated(view, visit, "continues") == other and outcome_of(view, other) in (
        None,
        "continued",
    )


def attempts_of(view: View) -> list[list[str]]:
    """Rule 11: attended repair visits grouped into attempts, in order of arrival."""
    visits = [v for v in visit_ids(view.pooled) if purpose_of(view, v) == "repair" and is_attended(view, v)]
    groups: list[list[str]] = []
    for visit in visits:
        joined = [visit]
        apart = []
        for group in groups:
            if any(belongs_to_attempt_of(view, visit, v) or belongs_to_attempt_of(view, v, visit) for v in group):
                joined += group
            else:
                apart.append(group)
        groups = [*apart, joined]
    return sorted(groups, key=lambda group: attempt_arrival_key(view, group))


def attempt_arrival_key(view: View, attempt: list[str]) -> tuple[int, int, str, str]:
    """Where the attempt's first arrival stands among the facts."""
    arrivals = [arrival_of(view, v) for v in attempt]
    return min(tie_key(a) for a in arrivals if a is not None)


def attempt_arrival(view: View, attempt: list[str]) -> int:
    """When the attempt arrived: its first arrival."""
    return attempt_arrival_key(view, attempt)[0]


def attempt_end(view: View, attempt: list[str]) -> int:
    """Reading, for the anchor only: the last completion; a visit without one ends at the 12 h limit."""
    ends = []
    for visit in attempt:
        completion = last_completion(view, visit)
        arrival = arrival_of(view, visit)
        assert arrival is not None
        ends.append(completion.at if completion else arrival.at + view.policy["on_site_limit_ms"])
    return max(ends)


def first_attempt_state(view: View, clock: int | None) -> tuple[str, int | None]:
    """Rule 12, its middle part: ("fixed", F), ("failed", None), ("open", None) or ("none", None).

    clock=None is the end of time, for seals (rule 4).
    """
    attempts = attempts_of(view)
    if not attempts:
        return ("none", None)
    first = attempts[0]
    second_arrival = attempt_arrival(view, attempts[1]) if len(attempts) > 1 else None

    fixed_at = [last_completion(view, v).at for v in first if outcome_of(view, v) == "fixed"]  # type: ignore[union-attr]
    if fixed_at:
        return ("fixed", max(fixed_at))
    is_somebody_there = clock is not None and any(is_on_site(view, v, clock) for v in first)
    if is_somebody_there and second_arrival is None:
        return ("open", None)
    if any(outcome_of(view, v) in FAILED_OUTCOMES for v in first):
        return ("failed", None)
    completions = [c for v in first for c in visit_facts(view, v, "completed")]
    if completions:
        last = max(completions, key=tie_key)
        if last.get("outcome") is None:
            for resolved in (f for f in view.own if f.is_("ticket", "resolved")):
                if resolved.at >= last.at and (second_arrival is None or resolved.at < second_arrival):
                    return ("fixed", last.at)
    return ("open", None)


# ---------------------------------------------------------------------------- rule 13: repeats


def repeat_case_opens(view: View, fix: int) -> bool:
    """Rule 13: a repeat case opened in (fix, fix + R]."""
    return any(is_repeat_case(view, other, fix) for other in view.siblings)


def is_repeat_case(view: View, other: str, fix: int) -> bool:
    """Rule 13 for one other case."""
    opened = opened_of(view.siblings[other])
    if opened is None or opened.get("kind", "break_fix") != "break_fix":
        return False
    if not fix < opened.at <= fix + view.policy["repeat_window_ms"]:
        return False
    if other in view.absorbed:
        return True
    asset = asset_of(opened, view.policy)
    if asset is None or asset not in assets_of(view):
        return False
    is_cancelled = any(f.is_("ticket", "cancelled") for f in view.siblings[other])
    in_force = {e.event_id for e in view.merges if e.source == other}
    is_merged = any(f.is_("ticket", "merged") and f.event_id in in_force for f in view.siblings[other])
    return not is_cancelled and not is_merged


def assets_of(view: View) -> set[str]:
    """Rules 8 and 9: the case's asset and those that replaced it, directly."""
    assets = {asset_of(opened_of(view.own), view.policy)}
    for fact in view.pooled:
        if fact.is_("dispatch", "completed"):
            assets.add(fact.get("replaced_by"))
    return {a for a in assets if a is not None and a not in view.policy["placeholder_assets"]}


# ---------------------------------------------------------------------------- rule 4: seals


def case_seal(view: View) -> int | None:
    """Rule 4, first row. None before the first own fact."""
    return seal_as_the_case(view, merges_apart=False)


def seal_as_the_case(view: View, *, merges_apart: bool) -> int | None:
    """Rule 4: after the fix, else after the cancellation (or merge), else abandoned."""
    if not any(f.role == "own" for f in view.counted):
        return None
    policy = view.policy
    claims = fix_claims(view)
    if claims:
        moments = [claims[0].at]
        state, fixed_at = first_attempt_state(view, None)
        if state == "fixed":
            assert fixed_at is not None
            moments.append(fixed_at)
        return max(moments) + policy["repeat_window_ms"] + policy["late_horizon_ms"]
    ends = [f.at for f in cancellations(view)]
    if not merges_apart:
        ends += [f.at for f in own_merges(view)]
    if ends:
        return min(ends) + policy["late_horizon_ms"]
    # Reading: an absorbed case's amendment on the ticket topic mends a visit, but is no dispatch or parts fact.
    last_delivery = max(
        f.delivered_here
        for f in view.counted
        if f.role == "own" or (f.role == "absorbed" and f.topic in ("dispatch", "parts"))
    )
    return last_delivery + policy["abandonment_ms"]


def response_due(view: View, sign: str) -> int | None:
    """Rule 19: opened + target."""
    opened = opened_of(view.own)
    if opened is None:
        return None
    if sign == "explained":
        return opened.at + view.policy["explanation_ms"]
    return opened.at + view.policy["first_response_ms"][priority_of(opened)]


def response_seal(view: View, sign: str) -> int:
    """Rule 4, second row."""
    due = response_due(view, sign)
    if due is not None:
        return due + view.policy["late_horizon_ms"]
    seal = seal_as_the_case(view, merges_apart=True)
    assert seal is not None
    return seal


def commitment_seal(view: View, commitment_id: str) -> int:
    """Rule 4, third row."""
    made, due, _ = follow_commitment(view, commitment_id)
    if made is not None and due is not None:
        return due + view.policy["late_horizon_ms"]
    seal = seal_as_the_case(view, merges_apart=True)
    assert seal is not None
    return seal


def visit_seal(view: View, visit_id: str) -> int:
    """Rule 4, fourth row."""
    policy = view.policy
    moments = []
    windows = [w for w in map(window_of, visit_facts(view, visit_id)) if w]
    if windows:
        moments.append(windows[-1].end + policy["late_grace_ms"])
    moments += [f.at for f in visit_facts(view, visit_id, "arrived", "completed")]
    if moments:
        return max(moments) + policy["late_horizon_ms"]
    cancelled = visit_facts(view, visit_id, "cancelled")
    if cancelled:
        return cancelled[-1].at + policy["late_horizon_ms"]
    seal = seal_as_the_case(view, merges_apart=True)
    assert seal is not None
    return seal


# ---------------------------------------------------------------------------- rule 23: scope


def scope_of_any(view: View) -> Judgement | None:
    """Rules 10 and 23: what takes a unit of any kind out."""
    if erasure_of(view):
        return Judgement("excluded", "erased")
    if is_never_existed(view):
        return Judgement("excluded", "never_existed")
    return None


def scope_of_case(view: View, sign: str) -> Judgement | None:
    """Rule 23 for signs whose unit is the case."""
    out = scope_of_any(view)
    if out:
        return out
    if own_merges(view):
        return Judgement("excluded", "merged")
    opened = opened_of(view.own)
    if opened is None:
        if sign in ("first_time_fix", "stayed_fixed"):
            return None
        return Judgement("pending", "not_opened")
    if opened.get("kind", "break_fix") != "break_fix":
        return Judgement("excluded", "not_break_fix")
    return None


# ---------------------------------------------------------------------------- rules 12 and 14


def judge_first_time_fix(view: View, clock: int) -> Judgement:
    """Rule 12."""
    state, fixed_at = first_attempt_state(view, clock)
    attempts = attempts_of(view)
    if state == "none":
        if fix_claims(view):
            return Judgement("excluded", "fixed_without_attempt")
        if cancellations(view):
            return Judgement("excluded", "cancelled")
        return Judgement("pending", "no_attempt_yet")
    end = attempt_end(view, attempts[0])
    if state == "failed":
        return Judgement("miss", "first_attempt_failed", end)
    if state == "open":
        if len(attempts) > 1:
            return Judgement("miss", "second_attempt", end)
        if cancellations(view):
            return Judgement("excluded", "cancelled")
        return Judgement("pending", "attempt_open")
    assert fixed_at is not None
    broken = what_undid_first_fix(view, attempts, fixed_at)
    if broken:
        return Judgement("miss", broken, end)
    return Judgement("hit", "fixed_first_time", fixed_at)


def what_undid_first_fix(view: View, attempts: list[list[str]], fixed_at: int) -> str | None:
    """Rule 12: a second attempt, a fault reopen or a repeat case in (F, F + R]."""
    until = fixed_at + view.policy["repeat_window_ms"]
    if any(fixed_at < attempt_arrival(view, a) <= until for a in attempts[1:]):
        return "second_attempt"
    if any(fixed_at < f.at <= until for f in fault_reopens(view)):
        return "reopened"
    if repeat_case_opens(view, fixed_at):
        return "repeat_case"
    return None


def judge_stayed_fixed(view: View, clock: int) -> Judgement:
    """Rule 14."""
    claims = fix_claims(view)
    if not claims:
        if cancellations(view):
            return Judgement("excluded", "cancelled")
        return Judgement("pending", "not_fixed_yet")
    fix = claims[0].at
    if asset_of(opened_of(view.own), view.policy) is None:
        return Judgement("excluded", "asset_unknown")
    until = fix + view.policy["repeat_window_ms"]
    if any(fix < f.at <= until for f in fault_reopens(view)):
        return Judgement("miss", "reopened", fix)
    if repeat_case_opens(view, fix):
        return Judgement("miss", "repeat_case", fix)
    return Judgement("hit", "stayed_fixed", fix)


# ---------------------------------------------------------------------------- rule 15


def window_of(fact: Fact) -> Window | None:
    """A fact that makes a window, or None."""
    if fact.type not in ("scheduled", "rescheduled"):
        return None
    start, end = fact.time("window_start"), fact.time("window_end")
    return None if start is None or end is None else Window(fact.at, start, end)


def is_breaking_change(fact: Fact, replaced: Window, policy: dict[str, Any]) -> bool:
    """Rule 15: the change itself is the miss."""
    if fact.at > replaced.end + policy["late_grace_ms"]:
        return True
    if fact.get("by", "provider") != "provider" or fact.get("agreed") is True:
        return False
    if replaced.start - fact.at >= policy["provider_notice_ms"]:
        return False
    new = window_of(fact)
    inside = new is not None and replaced.start <= new.start and new.end <= replaced.end
    return not inside


def standing_changes(view: View, visit_id: str, arrival: Fact | None) -> list[Fact]:
    """Rule 15: windows and cancellations that exist, in order, the first window first."""
    changes = []
    for fact in visit_facts(view, visit_id, "scheduled", "rescheduled", "cancelled"):
        if fact.type == "cancelled":  # those at or after arrival do not exist
            if arrival is None or fact.at < arrival.at:
                changes.append(fact)
        elif window_of(fact) and (arrival is None or fact.at <= arrival.at):
            changes.append(fact)
    while changes and changes[0].type == "cancelled":  # before the first window
        changes.pop(0)
    return changes


def go_through(changes: list[Fact], policy: dict[str, Any]) -> tuple[Window, bool]:
    """Rule 15: (the last window made, whether a change broke the promise it replaced)."""
    promise = window_of(changes[0])
    assert promise is not None
    replaced: Window | None = promise
    is_broken = False
    for fact in changes[1:]:
        if replaced is not None and is_breaking_change(fact, replaced, policy):
            is_broken = True
        replaced = window_of(fact)  # None for a cancellation: what follows it replaces nothing
        promise = replaced or promise
    return promise, is_broken


def judge_on_time_arrival(view: View, visit_id: str, clock: int) -> Judgement:
    """Rule 15, sentence by sentence."""
    policy = view.policy
    arrived = visit_facts(view, visit_id, "arrived")
    arrival = arrived[0] if arrived else None
    changes = standing_changes(view, visit_id, arrival)
    if not changes:
        if arrival or last_completion(view, visit_id):
            return Judgement("excluded", "no_window")
        return Judgement("pending", "no_window_yet")
    promise, is_broken = go_through(changes, policy)
    limit = promise.end + policy["late_grace_ms"]
    if is_broken:
        return Judgement("miss", "short_notice_change", arrival.at if arrival else limit)
    if changes[-1].type == "cancelled":
        return Judgement("excluded", "visit_cancelled")
    if arrival is None:
        return judge_without_arrival(view, visit_id, promise, clock)
    if arrival.at < promise.start - policy["early_tolerance_ms"]:
        return Judgement("miss", "early", arrival.at)
    if arrival.at > limit:
        return Judgement("miss", "late", arrival.at)
    return Judgement("hit", "on_time", arrival.at)


def judge_without_arrival(view: View, visit_id: str, promise: Window, clock: int) -> Judgement:
    """Rule 15, from "case cancelled by" on."""
    completion = last_completion(view, visit_id)
    limit = promise.end + view.policy["late_grace_ms"]
    if any(f.at <= limit for f in cancellations(view)):
        return Judgement("excluded", "case_cancelled")
    if completion is None and is_not_needed(view, promise):
        return Judgement("excluded", "not_needed")
    if completion is not None:
        if promise.start - view.policy["early_tolerance_ms"] <= completion.at <= limit:
            return Judgement("hit", "completed_in_window", limit)
        return Judgement("pending", "no_arrival_known")
    if clock > limit:
        return Judgement("miss", "no_show", limit)
    return Judgement("pending", "awaited")


def is_not_needed(view: View, promise: Window) -> bool:
    """Rule 15: fixed after the promise and before the window, with no fault reopen in between."""
    for claim in fix_claims(view):
        # Reading: strictly between the claim and the start of the window.
        is_reopened = any(claim.at < f.at < promise.start for f in fault_reopens(view))
        if promise.made_at < claim.at < promise.start and not is_reopened:
            return True
    return False


# ---------------------------------------------------------------------------- rule 16


def is_visit_cancelled(view: View, visit_id: str) -> bool:
    """Rule 16: its last change (scheduled, rescheduled, cancelled) is a cancellation."""
    changes = visit_facts(view, visit_id, "scheduled", "rescheduled", "cancelled")
    return bool(changes) and changes[-1].type == "cancelled"


def earlier_arrivals(view: View, visit_id: str, arrival: int | None) -> list[int]:
    """Rule 16: arrivals of the case's other visits, earlier than this one's (all, if not arrived)."""
    others = [arrival_of(view, v) for v in visit_ids(view.pooled) if v != visit_id]
    return [a.at for a in others if a is not None and (arrival is None or a.at < arrival)]


def parts_facts(view: View, line_id: str, *types: str) -> list[Fact]:
    """The parts facts of one line, of these types, in tie order."""
    return [f for f in view.pooled if f.topic == "parts" and f.get("line_id") == line_id and f.type in types]


def lines_of_visit(view: View, visit_id: str, arrival: int | None) -> dict[str, int]:
    """Rule 16: the visit's live lines and the quantity each requires.

    arrival=None: not attended yet, nothing is bounded by it.
    """
    lines = {}
    for line_id in sorted({f.get("line_id") for f in view.pooled if f.topic == "parts" and f.get("line_id")}):
        for required in parts_facts(view, line_id, "required"):
            if arrival is not None and required.at > arrival:
                continue
            named = required.get("visit_id")
            if named is None:
                used = earlier_arrivals(view, visit_id, arrival)
                if any(required.at <= earlier for earlier in used):
                    continue
            elif named != visit_id:
                continue
            lines[line_id] = required.get("qty", 1)  # Reading: the last such statement
        if any(arrival is None or f.at <= arrival for f in parts_facts(view, line_id, "cancelled")):
            lines.pop(line_id, None)
    return lines


def on_hand(view: View, line_id: str, arrival: int, completion: int | None) -> int:
    """Rule 16: allocated + the larger of picked_up and delivered; less returned as doa or wrong."""

    def quantity(facts: list[Fact]) -> int:
        return sum(f.get("qty", 1) for f in facts)

    allocated = [f for f in parts_facts(view, line_id, "allocated") if f.at <= arrival]
    picked_up = [f for f in parts_facts(view, line_id, "picked_up") if f.at <= arrival]
    delivered = [
        f for f in parts_facts(view, line_id, "delivered") if f.at <= arrival and f.get("to", "site") in ("site", "van")
    ]
    returned = [
        f
        for f in parts_facts(view, line_id, "returned")
        if (completion is None or f.at <= completion) and f.get("reason") in ("doa", "wrong")
    ]
    return quantity(allocated) + max(quantity(picked_up), quantity(delivered)) - quantity(returned)


def judge_parts_ready(view: View, visit_id: str, clock: int) -> Judgement:
    """Rule 16."""
    arrival = arrival_of(view, visit_id)
    completion = last_completion(view, visit_id)
    outcome = outcome_of(view, visit_id)
    if outcome == "no_access":
        return Judgement("excluded", "no_access")
    if arrival is None:
        if is_visit_cancelled(view, visit_id):
            return Judgement("excluded", "visit_cancelled")
        if lines_of_visit(view, visit_id, None):
            return Judgement("pending", "not_attended_yet")
        return Judgement("excluded", "no_line")
    if outcome == "no_parts":
        return Judgement("miss", "no_parts", arrival.at)
    lines = lines_of_visit(view, visit_id, arrival.at)
    if not lines:
        return Judgement("excluded", "no_line")
    completed_at = completion.at if completion else None
    if all(on_hand(view, line, arrival.at, completed_at) >= qty for line, qty in lines.items()):
        return Judgement("hit", "parts_on_hand", arrival.at)
    return Judgement("miss", "part_missing", arrival.at)


# ---------------------------------------------------------------------------- rule 17


def judge_visit_productive(view: View, visit_id: str, clock: int) -> Judgement:
    """Rule 17."""
    completion = last_completion(view, visit_id)
    if completion:
        outcome = completion.get("outcome")
        if outcome in WASTED_OUTCOMES:
            return Judgement("miss", outcome, completion.at)
        return Judgement("hit", "productive", completion.at)
    underway = visit_facts(view, visit_id, "en_route", "arrived")
    for cancelled in visit_facts(view, visit_id, "cancelled"):
        if any(tie_key(f) < tie_key(cancelled) for f in underway):
            return Judgement("miss", "cancelled_under_way", cancelled.at)
    if is_visit_cancelled(view, visit_id):
        return Judgement("excluded", "visit_cancelled")
    return Judgement("pending", "not_completed_yet")


# ---------------------------------------------------------------------------- rule 18


def judge_same_day(view: View, clock: int) -> Judgement:
    """Rule 18."""
    opened = opened_of(view.own)
    assert opened is not None
    midnight = local_midnight(opened.at, opened.get("tz", "UTC"))
    claims = fix_claims(view)
    fix = None
    if claims:
        until = claims[0].at + view.policy["repeat_window_ms"]
        reopens = [f.at for f in fault_reopens(view) if f.at <= until]
        after = max(reopens) if reopens else None
        for claim in claims:
            if after is None or claim.at > after:
                fix = claim.at
                break
    if fix is not None:
        if fix < midnight:
            return Judgement("hit", "fixed_same_day", fix)
        if clock >= midnight:  # Reading: the miss begins at midnight even if the fix is stated for later
            return Judgement("miss", "fixed_later", midnight)
        return Judgement("pending", "day_not_over")
    if any(f.at < midnight for f in cancellations(view)):
        return Judgement("excluded", "cancelled")
    if clock >= midnight:
        return Judgement("miss", "not_fixed_by_midnight", midnight)
    return Judgement("pending", "day_not_over")


# ---------------------------------------------------------------------------- rule 19


def judge_response(view: View, sign: str, clock: int) -> Judgement:
    """Rule 19: first_response and explained."""
    due = response_due(view, sign)
    assert due is not None
    if sign == "explained":
        answers = [f for f in view.own if f.is_("ticket", "diagnosed")]
    else:
        answers = [f for f in view.own if f.is_("ticket", "acknowledged") and f.get("auto") is not True]
    anchor = answers[0].at if answers else due
    if answers and answers[0].at <= due:
        return Judgement("hit", "answered", anchor)
    if any(f.at <= due for f in cancellations(view)):
        return Judgement("excluded", "cancelled")
    if clock > due:
        return Judgement("miss", "answered_late" if answers else "unanswered", anchor)
    return Judgement("pending", "not_due_yet")


# ---------------------------------------------------------------------------- rules 20, 21 and 25


def open_spans(view: View) -> list[tuple[int, int | None]]:
    """Rule 20: (start, end) of each open span, end None while open."""
    opened = opened_of(view.own)
    spans = []
    claims = [f.at for f in fix_claims(view)]
    cancelled = [f.at for f in cancellations(view)]
    if opened is not None:
        ends = [at for at in claims + cancelled if at >= opened.at]
        spans.append((opened.at, min(ends) if ends else None))
    for reopened in fault_reopens(view):
        if any(at <= reopened.at for at in cancelled):  # at one instant the cancellation is first
            continue
        ends = [at for at in claims + cancelled if at > reopened.at]
        spans.append((reopened.at, min(ends) if ends else None))
    return spans


def contacts_of(view: View) -> list[int]:
    """Rule 20: the instants at which the customer heard from us."""
    contacts = [
        f.at
        for f in view.own
        if f.is_(
            "ticket",
            "opened",
            "diagnosed",
            "customer_updated",
            "reopened",
            "commitment_made",
            "commitment_changed",
        )
        or (f.is_("ticket", "acknowledged") and f.get("auto") is not True)
    ]
    contacts += [
        f.at
        for f in view.pooled
        if f.is_("dispatch", "scheduled", "rescheduled", "en_route", "arrived", "completed", "cancelled")
        and f.get("silent") is not True
    ]
    return sorted(contacts)


def pauses_of(view: View, clock: int) -> list[tuple[int, int]]:
    """Rule 20: waiting_on_customer to resumed or now, at most 7 d each."""
    pauses = []
    for waiting in (f for f in view.own if f.is_("ticket", "waiting_on_customer")):
        resumed = [f.at for f in view.own if f.is_("ticket", "resumed") and tie_key(f) > tie_key(waiting)]
        end = min(min(resumed) if resumed else clock, waiting.at + view.policy["longest_pause_ms"])
        if end > waiting.at:
            pauses.append((waiting.at, end))
    return pauses


def silence_breach(start: int, end: int, pauses: list[tuple[int, int]], limit: int) -> int | None:
    """When a gap, less paused time, reaches the limit it goes on to exceed; None if it does not."""
    marks = sorted({start, end, *(m for p in pauses for m in p if start < m < end)})
    silent = 0
    for a, b in pairwise(marks):
        if any(p_start <= a and b <= p_end for p_start, p_end in pauses):
            continue
        if silent + (b - a) > limit:
            return a + (limit - silent)
        silent += b - a
    return None


def judge_no_silence(view: View, clock: int) -> Judgement:
    """Rule 20."""
    opened = opened_of(view.own)
    assert opened is not None
    limit = view.policy["silence_limit_ms"][priority_of(opened)]
    spans = open_spans(view)
    pauses = pauses_of(view, clock)
    breaches = []
    for start, end in spans:
        # Reading: what lies in the future of the clock (corrected or skewed) ends a gap, but no gap counts beyond now.
        last = clock if end is None else min(end, clock)
        inside = [at for at in contacts_of(view) if start < at < last]
        marks = [start, *inside]
        if marks[-1] < last:
            marks.append(last)
        for a, b in pairwise(marks):
            breach = silence_breach(a, b, pauses, limit)
            if breach is not None:
                breaches.append(breach)
    if breaches:
        return Judgement("miss", "silent_too_long", min(breaches))
    if any(end is None for _, end in spans):
        return Judgement("pending", "open")
    claims = fix_claims(view)
    if cancellations(view) and not claims:
        return Judgement("excluded", "cancelled")
    return Judgement("hit", "kept_informed", claims[0].at)


def judge_one_contact(view: View, clock: int) -> Judgement:
    """Rule 21."""
    opened = opened_of(view.own)
    assert opened is not None
    spans = open_spans(view)
    claims = fix_claims(view)
    breaches = []
    for contact in (f for f in view.own if f.is_("ticket", "customer_contacted")):
        if contact.get("reason", "status_chase") not in CHASING:
            continue
        if any(start < contact.at and (end is None or contact.at <= end) for start, end in spans):
            breaches.append((contact.at, "chased"))
    for other in view.absorbed & set(view.siblings):
        other_opened = opened_of(view.siblings[other])
        if other_opened is None or other_opened.at <= opened.at:
            continue
        if not claims or other_opened.at <= claims[0].at:
            breaches.append((other_opened.at, "reported_again"))
    if breaches:
        at, reason = min(breaches)
        return Judgement("miss", reason, at)
    if any(end is None for _, end in spans):
        return Judgement("pending", "open")
    if claims:
        return Judgement("hit", "one_contact", claims[0].at)
    return Judgement("excluded", "cancelled")


def judge_time_to_restore(view: View, _clock: int) -> Judgement:
    """Rule 25: measured once there is a fix, at the first one."""
    claims = fix_claims(view)
    if claims:
        return Judgement("hit", "restored", claims[0].at)
    if cancellations(view):
        return Judgement("excluded", "cancelled")
    return Judgement("pending", "not_fixed_yet")


def outage_seconds(view: View) -> list[float] | None:
    """Rule 25: first fix - opened, plus each later span from a fault reopen to its fix."""
    opened = opened_of(view.own)
    claims = fix_claims(view)
    if scope_of_case(view, "time_to_restore") or opened is None or not claims:
        return None
    fix = claims[0].at
    outages = [max(0, fix - opened.at) / SECOND]  # Reading: a fix that claims to be earlier than the fault took no time
    restored_at = fix
    for reopened in fault_reopens(view):
        # Reading: a reopen while the outage of an earlier one lasts adds nothing.
        if reopened.at < restored_at:
            continue
        if any(f.at <= reopened.at for f in cancellations(view)):
            continue
        later = [c.at for c in claims if c.at > reopened.at]
        ends = [f.at for f in cancellations(view)]
        if not later or any(at < min(later) for at in ends):
            continue
        outages.append((min(later) - reopened.at) / SECOND)
        restored_at = min(later)
    return outages


# ---------------------------------------------------------------------------- rule 22


def is_commitment_evidence(view: View, fact: Fact, made: Fact) -> bool:
    """Rule 22: evidence by kind; not before it was made."""
    if fact.at < made.at:
        return False
    if fact.is_("ticket", "commitment_kept"):
        return fact.get("commitment_id") == made.get("commitment_id")
    kind = made.get("kind", "other")
    if kind == "arrive":
        return fact.is_("dispatch", "arrived")
    if kind == "restore":
        return fact in fix_claims(view)
    if kind == "callback":
        return fact.is_("ticket", "customer_updated")
    if kind == "part":
        return fact.is_("parts", "delivered", "picked_up")
    return False


def follow_commitment(view: View, commitment_id: str) -> tuple[Fact | None, int | None, tuple[str, str] | None]:
    """Rule 22, in time order: (made, due time in force, verdict and reason if decided by an event)."""
    all_made = [f for f in view.own if f.is_("ticket", "commitment_made") and f.get("commitment_id") == commitment_id]
    if not all_made:
        return (None, None, None)
    made = all_made[0]  # Reading: of several the first
    due = made.time("due")
    if due is None:
        return (made, None, ("excluded", "not_time_bound"))
    for fact in view.own:
        if is_commitment_evidence(view, fact, made):
            if fact.at <= due:
                return (made, due, ("hit", "kept"))
        elif (
            fact.is_("ticket", "commitment_changed")
            and fact.get("commitment_id") == commitment_id
            and tie_key(fact) > tie_key(made)
        ):
            if fact.at > due:
                return (made, due, ("miss", "changed_after_due"))
            if fact.get("by", "provider") == "provider" and fact.get("agreed") is not True:
                return (made, due, ("miss", "changed_without_agreement"))
            moved = fact.time("due")
            due = due if moved is None else moved  # Reading: a change without due moves nothing
    return (made, due, None)


def judge_commitment_kept(view: View, commitment_id: str, clock: int) -> Judgement:
    """Rule 22."""
    made, due, decided = follow_commitment(view, commitment_id)
    if made is None:
        return Judgement("pending", "not_made")
    if decided and decided[0] == "excluded":
        return Judgement("excluded", decided[1])
    assert due is not None
    evidence = [f.at for f in view.own if is_commitment_evidence(view, f, made)]
    anchor = evidence[0] if evidence else due
    if decided:
        return Judgement(decided[0], decided[1], anchor)  # type: ignore[arg-type]
    if any(f.at <= due for f in cancellations(view)):
        return Judgement("excluded", "cancelled")
    if clock > due:
        return Judgement("miss", "overdue", anchor)
    return Judgement("pending", "not_due_yet")


# ---------------------------------------------------------------------------- all together


def settle(judgement: Judgement, view: View, seal: int, now: int) -> Verdict:
    """Section 2: a unit is sealed when now is strictly later; then what is pending is not knowable."""
    erasure = erasure_of(view)
    sealed = now > seal or erasure is not None
    seal = erasure.delivered if erasure else seal  # Reading: nothing is accepted any more
    verdict: Any = judgement.verdict
    reason = judgement.reason
    if verdict == "hit":
        verdict = "final_hit" if sealed else "provisional_hit"
    elif verdict == "pending" and sealed:
        verdict, reason = "excluded", "unknown_at_seal"
    anchor = judgement.anchor if judgement.verdict in ("hit", "miss") else None
    return Verdict(verdict, reason, anchor, seal, sealed)


CASE_JUDGES: dict[str, Any] = {
    "first_time_fix": judge_first_time_fix,
    "stayed_fixed": judge_stayed_fixed,
    "same_day": judge_same_day,
    "no_silence": judge_no_silence,
    "one_contact": judge_one_contact,
    "time_to_restore": judge_time_to_restore,
}
VISIT_JUDGES: dict[str, Any] = {
    "on_time_arrival": judge_on_time_arrival,
    "parts_ready": judge_parts_ready,
    "visit_productive": judge_visit_productive,
}


def evaluate(events: list[dict[str, Any]], as_of: int | str, policy: dict[str, Any] | None = None) -> Result:
    """Every verdict of every unit at the clock reading `as_of` (ms or RFC 3339).

    `policy` overrides entries of POLICY. Times are RFC 3339 strings in the events, ms in the result.
    """
    now = parse_time(as_of) if isinstance(as_of, str) else as_of
    rules = {**POLICY, **(policy or {})}
    facts, rejected = admit(events, now, rules)
    result = Result(rejected=rejected)
    for case_id in sorted({f.case_id for f in facts}):
        judge_case_signs(result, facts, case_id, now, rules)
        judge_response_signs(result, facts, case_id, now, rules)
        judge_visits(result, facts, case_id, now, rules)
        judge_commitments(result, facts, case_id, now, rules)
    return result


def record(result: Result, sign: str, case_id: str, unit: str, verdict: Verdict) -> None:
    """Put a verdict under both keys."""
    result.by_case[sign, case_id, unit] = verdict
    if (sign, unit) in result.verdicts:
        result.collisions.add((sign, unit))
    else:
        result.verdicts[sign, unit] = verdict


def judge_case_signs(result: Result, facts: list[Fact], case_id: str, now: int, policy: dict[str, Any]) -> None:
    """Rules 12, 14, 18, 20, 21 and 25: one fold, one seal."""
    view = fold_case(facts, case_id, now, policy)
    seal = case_seal(view)
    assert seal is not None
    clock = min(now, seal)
    for sign, judge in CASE_JUDGES.items():
        judgement = scope_of_case(view, sign) or judge(view, clock)
        record(result, sign, case_id, case_id, settle(judgement, view, seal, now))
    outages = outage_seconds(view)
    if outages is not None:
        result.time_to_restore[case_id] = outages


def judge_response_signs(result: Result, facts: list[Fact], case_id: str, now: int, policy: dict[str, Any]) -> None:
    """Rule 19: on the case's own facts, with a seal of their own; a merge must be in force."""
    for sign in RESPONSE_SIGNS:
        view = fold_own(facts, case_id, now, policy, lambda v, s=sign: response_seal(v, s))
        horizon = max(f.delivered for f in view.counted)
        in_force = merges_in_force(facts, horizon, policy)
        view = dataclasses.replace(view, merges=in_force)
        seal = response_seal(view, sign)
        clock = min(now, seal)
        judgement = scope_of_case(view, sign) or judge_response(view, sign, clock)
        record(result, sign, case_id, case_id, settle(judgement, view, seal, now))


def judge_visits(result: Result, facts: list[Fact], case_id: str, now: int, policy: dict[str, Any]) -> None:
    """Rules 15, 16 and 17: on the case's own facts, per visit a seal."""
    own = [f for f in facts if f.case_id == case_id]
    for visit_id in visit_ids((*own, *effective(own))):
        view = fold_own(facts, case_id, now, policy, lambda v, u=visit_id: visit_seal(v, u))
        if visit_id not in visit_ids((*view.counted, *view.own)):
            continue  # rule 3: no counted fact makes it
        seal = visit_seal(view, visit_id)
        clock = min(now, seal)
        for sign, judge in VISIT_JUDGES.items():
            judgement = scope_of_any(view) or judge(view, visit_id, clock)
            record(result, sign, case_id, visit_id, settle(judgement, view, seal, now))


def judge_commitments(result: Result, facts: list[Fact], case_id: str, now: int, policy: dict[str, Any]) -> None:
    """Rule 22: on the case's own facts, per commitment a seal."""

    def made_in(some: Iterable[Fact]) -> set[str]:
        return {f.get("commitment_id") for f in some if f.is_("ticket", "commitment_made") and f.get("commitment_id")}

    own = [f for f in facts if f.case_id == case_id]
    for commitment_id in sorted(made_in(own) | made_in(effective(own))):
        view = fold_own(facts, case_id, now, policy, lambda v, u=commitment_id: commitment_seal(v, u))
        if commitment_id not in made_in(view.counted) | made_in(view.own):
            continue
        seal = commitment_seal(view, commitment_id)
        clock = min(now, seal)
        judgement = scope_of_any(view) or judge_commitment_kept(view, commitment_id, clock)
        record(result, "commitment_kept", case_id, commitment_id, settle(judgement, view, seal, now))
