"""Seeded random case histories in the scenarios' vocabulary, made to meet the limits of the rules.

Times are taken from a lattice: a moment that matters (an opening, a window's end, a fix ...) plus a
limit that matters (15 min, 24 h, 30 d ...) plus, at times, one second or one millisecond. So exact
equality, one too early and one too late all occur often.

    random_history(random.Random(7), 25)                  # from a seed
    @given(st.integers(0, 2**32)) ... random.Random(seed)  # inside hypothesis, or st.randoms()
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

SECOND = 1000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

Event = dict[str, Any]
T = TypeVar("T")

#: First days: plain ones and days before a DST change somewhere in ZONES.
FIRST_DAYS = (
    "2026-03-02",
    "2026-03-07",  # Chicago springs forward on the 8th
    "2026-03-28",  # Berlin on the 29th
    "2026-04-04",  # Santiago, Auckland and Lord Howe fall back
    "2026-09-05",  # Santiago: midnight of the 6th does not exist
    "2026-10-24",  # Berlin falls back on the 25th
    "2026-10-31",  # Chicago on the 1st
    "2026-06-15",
)
ZONES = (
    None,
    "UTC",
    "America/Chicago",
    "Europe/Berlin",
    "Asia/Kolkata",
    "America/Santiago",
    "Pacific/Auckland",
    "Australia/Lord_Howe",
    "Pacific/Kiritimati",
)
REGIONS = ("north", "south")
RESPONSE_TARGETS = {"P1": HOUR, "P2": 4 * HOUR, "P3": 8 * HOUR}
OUTCOMES = (
    ["fixed"] * 9
    + ["not_fixed", "partial", "no_parts", "diagnosed_only", "temporary", "wrong_skill"]
    + ["no_access"] * 3
    + ["continued"] * 3
    + [None]
)


def rfc3339(ms: int, offset_minutes: int = 0) -> str:
    """A time in ms as RFC 3339 text, at the offset asked for."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
    if offset_minutes:
        return moment.astimezone(timezone(timedelta(minutes=offset_minutes))).isoformat()
    return moment.isoformat().replace("+00:00", "Z")


def to_ms(text: str) -> int:
    """RFC 3339 to ms; a naive time counts as UTC (it is rejected anyway)."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


class History:
    """The events so far, the moments that matter, and dice."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.events: list[Event] = []
        self.number = 0
        self.visits: list[tuple[str, str]] = []  # (case_id, visit_id)
        self.cases: list[str] = []
        self.moments: dict[str, list[int]] = {}
        self.fixes: list[int] = []
        self.syncs: list[int] = []
        self.assets = [f"A{n}" for n in range(1, rng.choice((1, 1, 2, 3)) + 1)]
        first_day = to_ms(rng.choice(FIRST_DAYS) + "T00:00:00Z")
        self.start = first_day + rng.choice((0, 5, 8, 8, 8, 12, 16, 22, 23)) * HOUR

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def pick(self, *options: T) -> T:
        return self.rng.choice(options)

    def jitter(self, probability: float = 0.35) -> int:
        if not self.chance(probability):
            return 0
        return self.pick(SECOND, -SECOND, SECOND, -SECOND, 1, -1)

    def near(self, moment: int, *offsets: int) -> int:
        """One of the offsets from a moment, at times one second or millisecond beside it."""
        return moment + self.pick(*(offsets or (0,))) + self.jitter()

    def moment_of(self, case_id: str) -> int:
        return self.rng.choice(self.moments[case_id])

    def last_of(self, case_id: str) -> int:
        return max(self.moments[case_id])

    def add(self, case_id: str, topic: str, type_: str, at: int, **fields: Any) -> Event:  # noqa: ANN401 - JSON values
        """Append one event; its delivery time is added at the end."""
        self.number += 1
        # Ids neither in order of time nor of delivery; a few are used by several cases.
        event_id = f"{case_id}-{self.rng.randrange(100):02d}-{self.number}"
        if self.chance(0.01):
            event_id = "shared-id"
            if any(e["case_id"] == case_id and e["event_id"] == event_id for e in self.events):
                event_id = f"{case_id}-{self.number}"
        event: Event = {
            "event_id": event_id,
            "topic": topic,
            "type": type_,
            "case_id": case_id,
            "at": at,
        }
        event.update({k: v for k, v in fields.items() if v is not ABSENT})
        self.events.append(event)
        self.moments.setdefault(case_id, []).append(at)
        return event


class Absent:
    """Marks a field that is left out of the event."""


ABSENT = Absent()


# ---------------------------------------------------------------------------- tickets


def open_case(history: History, case_id: str) -> None:
    """`opened` (not always there, at times twice), relative to an earlier fix or opening."""
    h = history
    if h.fixes and h.chance(0.65):
        at = h.near(h.pick(*h.fixes), -HOUR, 0, 0, HOUR, DAY, 12 * DAY, 30 * DAY, 30 * DAY)
    elif h.cases and h.chance(0.8):
        at = h.near(h.moment_of(h.pick(*h.cases)), 0, HOUR, 4 * HOUR, DAY, 10 * DAY)
    else:
        at = h.start + h.jitter(0.1)
    h.cases.append(case_id)
    if h.chance(0.07):
        h.moments.setdefault(case_id, []).append(at)  # the opening is missing
        return
    asset = h.rng.choice([*h.assets] * 6 + [None, "?", "N/A", ABSENT])
    kind = h.rng.choice([ABSENT] * 16 + ["break_fix"] * 6 + ["preventive", "alert"])
    fields: dict[str, Any] = {
        "asset_id": asset,
        "channel": h.pick("phone", "email", "portal"),
        "priority": h.rng.choice(["P3", "P3", "P2", "P1", ABSENT]),
        "kind": kind,
        "symptom": h.pick("S-GEN", "S-OTHER"),
    }
    zone = h.pick(*ZONES)
    if zone:
        fields["tz"] = zone
    h.add(case_id, "ticket", "opened", at, **fields)
    if h.chance(0.02):
        h.add(case_id, "ticket", "opened", h.near(at, 0, HOUR), **fields)


def opening_of(history: History, case_id: str) -> Event | None:
    """The case's `opened`, if it has one."""
    for event in history.events:
        if event["case_id"] == case_id and event["type"] == "opened":
            return event
    return None


def opened_at(history: History, case_id: str) -> int:
    """When the case was opened, or the moment it would have been."""
    opening = opening_of(history, case_id)
    return opening["at"] if opening else min(history.moments[case_id])


def priority(history: History, case_id: str) -> str:
    """As opened."""
    opening = opening_of(history, case_id)
    return opening.get("priority", "P3") if opening else "P3"


def acknowledge(history: History, case_id: str) -> None:
    """By a human or a robot, around the response target."""
    h = history
    target = RESPONSE_TARGETS[priority(h, case_id)]
    at = h.near(opened_at(h, case_id), 0, 10 * MINUTE, 10 * MINUTE, 30 * MINUTE, target, target + HOUR)
    h.add(case_id, "ticket", "acknowledged", at, auto=h.rng.choice([ABSENT, ABSENT, False, True]))


def diagnose(history: History, case_id: str) -> None:
    """Around the 24 h an explanation may take."""
    h = history
    at = h.near(opened_at(h, case_id), HOUR, 3 * HOUR, 24 * HOUR, 24 * HOUR, 30 * HOUR)
    h.add(case_id, "ticket", "diagnosed", at)


def update_customer(history: History, case_id: str) -> None:
    """One update, or a chain of them that just keeps (or breaks) the silence limit."""
    h = history
    limit = 4 * HOUR if priority(h, case_id) == "P1" else 24 * HOUR
    at = h.pick(opened_at(h, case_id), h.moment_of(case_id))
    for _ in range(h.pick(1, 1, 1, 2, 3)):
        at = at + h.pick(HOUR, limit, limit) + h.jitter(0.2)
        h.add(case_id, "ticket", "customer_updated", at)


def contact(history: History, case_id: str) -> None:
    """The customer comes back to us, for any reason."""
    h = history
    reason = h.rng.choice([ABSENT, "status_chase", "repeat_info", "new_info", "reschedule", "thanks"])
    base = h.pick(opened_at(h, case_id), opened_at(h, case_id), h.moment_of(case_id))
    at = h.near(base, 0, 30 * MINUTE, HOUR, HOUR, DAY)
    h.add(case_id, "ticket", "customer_contacted", at, channel=h.pick("phone", "email"), reason=reason)


def pause(history: History, case_id: str) -> None:
    """Waiting on the customer, resumed around the longest pause or never."""
    h = history
    at = h.near(h.moment_of(case_id), 0, HOUR, 2 * HOUR)
    h.add(case_id, "ticket", "waiting_on_customer", at)
    if h.chance(0.7):
        resumed = h.near(at, 0, HOUR, DAY, 3 * DAY, 7 * DAY, 8 * DAY)
        h.add(case_id, "ticket", "resumed", resumed)


def resolve(history: History, case_id: str) -> None:
    """A fix at the desk."""
    h = history
    at = h.near(
        h.pick(opened_at(h, case_id), h.last_of(case_id), h.last_of(case_id)),
        *(0, HOUR, 2 * HOUR, 4 * HOUR, 24 * HOUR),
    )
    h.add(case_id, "ticket", "resolved", at, remote=h.rng.choice([ABSENT, True, False]))
    h.fixes.append(at)


def resolve_at_midnight(history: History, case_id: str) -> None:
    """A fix around the local midnight that same_day asks for."""
    h = history
    opening = opening_of(h, case_id)
    zone = ZoneInfo(opening.get("tz", "UTC") if opening else "UTC")
    local = datetime.fromtimestamp(opened_at(h, case_id) // 1000, UTC).astimezone(zone)
    day = local.date() + timedelta(days=1)
    midnight = int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()) * 1000
    at = h.near(midnight, 0, 0, -HOUR, -HOUR, HOUR)
    h.add(case_id, "ticket", "resolved", at, remote=True)
    h.fixes.append(at)


def reopen(history: History, case_id: str) -> None:
    """Around the repeat window of a fix, for a fault or for a bill; at times fixed again."""
    h = history
    own = [e["at"] for e in h.events if e["case_id"] == case_id and is_claim(e)]
    base = h.pick(*own) if own and h.chance(0.85) else h.moment_of(case_id)
    at = h.near(base, 0, 0, HOUR, HOUR, DAY, 30 * DAY, 30 * DAY, 31 * DAY)
    reason = h.rng.choice([ABSENT, ABSENT, "same_fault", "billing", "other"])
    h.add(case_id, "ticket", "reopened", at, reason=reason)
    if h.chance(0.4):
        fixed = h.near(at, 0, HOUR, DAY)
        h.add(case_id, "ticket", "resolved", fixed)


def is_claim(event: Event) -> bool:
    """Whether the event claims a fix."""
    return event["type"] == "resolved" or event.get("outcome") == "fixed"


def cancel_case(history: History, case_id: str) -> None:
    """Around the limits that a cancellation takes a unit out by."""
    h = history
    target = RESPONSE_TARGETS[priority(h, case_id)]
    opened = opened_at(h, case_id)
    at = h.pick(
        h.near(opened, 0, HOUR, target, 24 * HOUR),
        h.near(h.moment_of(case_id), 0, 0, HOUR, 15 * MINUTE),
        h.near(h.last_of(case_id), HOUR, DAY),
    )
    reason = h.rng.choice(["customer_withdrew"] * 8 + [ABSENT, "duplicate", "test", "created_in_error"])
    h.add(case_id, "ticket", "cancelled", at, by=h.pick("customer", "provider"), reason=reason)


def merge(history: History, case_id: str) -> None:
    """Into any other case (chains, cycles), at times into one that never turns up."""
    h = history
    others = [c for c in h.cases if c != case_id]
    into = h.pick(*others) if others and h.chance(0.95) else h.pick("C99", case_id)
    at = h.near(h.moment_of(case_id), 0, HOUR, HOUR, DAY)
    h.add(case_id, "ticket", "merged", at, into=into)


def say_anything(history: History, case_id: str) -> None:
    """Types that no tier A verdict reads, and unknown ones."""
    h = history
    topic, type_ = h.pick(
        ("ticket", "closed"),
        ("ticket", "transferred"),
        ("ticket", "value_added"),
        ("ticket", "invented"),
        ("parts", "backordered"),
        ("dispatch", "on_break"),
    )
    h.add(case_id, topic, type_, h.near(h.moment_of(case_id), 0, HOUR))


# ---------------------------------------------------------------------------- visits


def new_visit_id(history: History, case_id: str) -> str:
    """Unique, except that a case at times names another case's visit."""
    h = history
    foreign = [v for c, v in h.visits if c != case_id]
    visit_id = h.pick(*foreign) if foreign and h.chance(0.015) else f"V{len(h.visits) + 1}"
    h.visits.append((case_id, visit_id))
    return visit_id


def visit(history: History, case_id: str) -> None:
    """One visit: promise, changes, arrival, completion, each of them at times missing."""
    h = history
    visit_id = new_visit_id(h, case_id)
    own = [v for c, v in h.visits if c == case_id and v != visit_id]
    base = h.pick(opened_at(h, case_id), opened_at(h, case_id), h.moment_of(case_id), h.last_of(case_id))
    made = base + h.pick(0, 30 * MINUTE, 30 * MINUTE, HOUR)
    start = made + h.pick(HOUR, 2 * HOUR, 2 * HOUR, 24 * HOUR, 25 * HOUR, 48 * HOUR)
    end = start + h.pick(HOUR, 2 * HOUR, 4 * HOUR)
    fields: dict[str, Any] = {
        "purpose": h.rng.choice([ABSENT] * 10 + ["repair", "survey", "preventive"]),
        "continues": h.pick(*own) if own and h.chance(0.35) else ABSENT,
        "silent": h.rng.choice([ABSENT] * 8 + [True, False]),
    }
    if h.chance(0.93):
        promised = window(start, end) if h.chance(0.97) else {}
        h.add(case_id, "dispatch", "scheduled", made, visit_id=visit_id, **promised, **fields)
        start, end = change_visit(h, case_id, visit_id, start, end)
    if h.chance(0.2):
        h.add(case_id, "dispatch", "assigned", made + HOUR, visit_id=visit_id, technician_id="T1")

    carry_out(h, case_id, visit_id, start, end)


def carry_out(history: History, case_id: str, visit_id: str, start: int, end: int) -> None:
    """En route, arrival and completion, each of them at times missing."""
    h = history
    arrival = arrival_around(h, case_id, start, end)
    if h.chance(0.2):
        h.add(case_id, "dispatch", "en_route", arrival - 20 * MINUTE, visit_id=visit_id)
        if h.chance(0.25):
            cancelled = h.near(arrival, -20 * MINUTE, -MINUTE, 0)
            h.add(case_id, "dispatch", "cancelled", cancelled, visit_id=visit_id, by="provider")
            return
    if h.chance(0.3):
        parts_line(h, case_id, visit_id, arrival)
    if h.chance(0.1):
        return  # nobody comes, or it is still to happen
    if h.chance(0.88):
        h.add(case_id, "dispatch", "arrived", arrival, visit_id=visit_id, technician_id="T1")
        if h.chance(0.04):
            h.add(case_id, "dispatch", "arrived", h.near(arrival, HOUR, 3 * HOUR), visit_id=visit_id)
        if h.chance(0.06):
            later = window(start + DAY, end + DAY)
            h.add(case_id, "dispatch", "rescheduled", h.near(arrival, 0, HOUR), visit_id=visit_id, **later)
    if h.chance(0.12):
        return  # never reported as completed
    completed = h.near(arrival, 0, 30 * MINUTE, HOUR, HOUR, HOUR, 12 * HOUR, 14 * HOUR)
    complete(h, case_id, visit_id, completed)
    if h.chance(0.04):
        complete(h, case_id, visit_id, h.near(completed, 0, HOUR))


def complete(history: History, case_id: str, visit_id: str, at: int) -> None:
    """With any outcome or none; none is at times followed by a resolved ticket."""
    h = history
    outcome = h.rng.choice(OUTCOMES)
    replaced_by = h.pick(*h.assets, "A9", "?") if h.chance(0.06) else ABSENT
    h.add(
        case_id,
        "dispatch",
        "completed",
        at,
        visit_id=visit_id,
        outcome=ABSENT if outcome is None else outcome,
        replaced_by=replaced_by,
    )
    if outcome == "fixed":
        h.fixes.append(at)
    if outcome is None and h.chance(0.6):
        h.add(case_id, "ticket", "resolved", h.near(at, 0, HOUR))
        h.fixes.append(at)


def window(start: int, end: int) -> dict[str, int]:
    """The two fields of a promise."""
    return {"window_start": start, "window_end": end}


def change_visit(history: History, case_id: str, visit_id: str, start: int, end: int) -> tuple[int, int]:
    """Reschedules and cancellations around the notice and around the end of the window."""
    h = history
    for _ in range(h.rng.choice((0, 0, 0, 1, 1, 2))):
        at = h.near(
            h.pick(start - 24 * HOUR, start - 24 * HOUR, end + 15 * MINUTE, start - 2 * HOUR),
            *(0, 0, -HOUR),
        )
        who: dict[str, Any] = {
            "by": h.rng.choice(["provider", "provider", "customer", "customer", ABSENT]),
            "agreed": h.rng.choice([ABSENT, ABSENT, ABSENT, True, False]),
        }
        if h.chance(0.3):
            h.add(case_id, "dispatch", "cancelled", at, visit_id=visit_id, by=who["by"])
            if h.chance(0.6):
                continue
        shift = h.pick(0, 0, 30 * MINUTE, HOUR, DAY, DAY)
        shrink = h.pick(0, 30 * MINUTE, HOUR)
        start, end = (
            start + shift,
            max(start + shift, end + (0 if shift < HOUR else shift) - shrink),
        )
        type_ = h.pick("rescheduled", "rescheduled", "rescheduled", "scheduled")
        h.add(case_id, "dispatch", type_, at, visit_id=visit_id, **window(start, end), **who)
    return start, end


def arrival_around(history: History, case_id: str, start: int, end: int) -> int:
    """At the bounds of the promise, or while (or just when) another visit is on site."""
    h = history
    others = [e["at"] for e in h.events if e["case_id"] == case_id and e["type"] in ("arrived", "completed")]
    if others and h.chance(0.35):
        return h.near(h.pick(*others), 0, 0, 30 * MINUTE, 12 * HOUR)
    return h.pick(
        start + h.pick(0, 15 * MINUTE, 30 * MINUTE),
        start + 5 * MINUTE,
        h.near(start, -30 * MINUTE),
        h.near(end, 15 * MINUTE),
        h.near(end, 15 * MINUTE, HOUR, 3 * HOUR),
    )


# ---------------------------------------------------------------------------- parts


def parts_line(history: History, case_id: str, visit_id: str | None = None, arrival: int | None = None) -> None:
    """One line: required, then what makes it ready or not, around an arrival."""
    h = history
    line_id = f"L{h.number}"
    visits = [v for c, v in h.visits if c == case_id]
    arrivals = [e["at"] for e in h.events if e["case_id"] == case_id and e["type"] in ("arrived", "completed")]
    base = arrival or (h.pick(*arrivals) if arrivals else h.moment_of(case_id) + HOUR)
    named = (visit_id or h.pick(*visits)) if visits and h.chance(0.6) else ABSENT
    qty = h.rng.choice([ABSENT, ABSENT, 1, 2, 3])
    required = h.near(base, -2 * HOUR, -2 * HOUR, -HOUR, -HOUR, 0, HOUR)
    fields: dict[str, Any] = {"line_id": line_id, "part_no": "PN-1"}
    h.add(case_id, "parts", "required", required, visit_id=named, qty=qty, **fields)
    wanted = 1 if isinstance(qty, Absent) else qty
    if h.chance(0.4):
        at = h.near(base, -HOUR, -HOUR, 0)
        part = h.rng.choice([ABSENT, wanted, wanted, max(1, wanted - 1)])
        h.add(case_id, "parts", "allocated", at, qty=part, **fields)
    if h.chance(0.25):
        h.add(case_id, "parts", "ordered", required + MINUTE, **fields)
        h.add(case_id, "parts", "shipped", required + 30 * MINUTE, **fields)
    if h.chance(0.55):
        at = h.near(base, -HOUR, -HOUR, 0, 0, 20 * MINUTE)
        to = h.rng.choice([ABSENT, "site", "site", "van", "depot"])
        h.add(case_id, "parts", "delivered", at, to=to, qty=h.pick(wanted, wanted, 1), **fields)
    if h.chance(0.2):
        at = h.near(base, -HOUR, 0)
        h.add(case_id, "parts", "picked_up", at, qty=h.pick(wanted, 1), **fields)
    if h.chance(0.2):
        at = h.near(base, -30 * MINUTE, 0, 30 * MINUTE, HOUR)
        reason = h.pick("unused", "doa", "wrong")
        h.add(case_id, "parts", "returned", at, reason=reason, qty=1, **fields)
    if h.chance(0.12):
        h.add(case_id, "parts", "cancelled", h.near(base, -HOUR, 0, HOUR), **fields)


# ---------------------------------------------------------------------------- commitments


def commitment(history: History, case_id: str) -> None:
    """Made, at times changed, due at (or beside) something that may be its evidence."""
    h = history
    commitment_id = f"K{h.number}"
    kind = h.pick("arrive", "arrive", "restore", "restore", "callback", "part", "other")
    likely = {
        "arrive": ("arrived",),
        "restore": ("completed", "resolved"),
        "callback": ("customer_updated",),
        "part": ("delivered", "picked_up"),
        "other": (),
    }[kind]
    times = [e["at"] for e in h.events if e["case_id"] == case_id and e["type"] in likely]
    made = h.near(opened_at(h, case_id), 10 * MINUTE, HOUR) if h.chance(0.7) else h.moment_of(case_id)
    due: Any = h.near(h.pick(*times), 0, 0, 0, HOUR, -HOUR) if times else made + h.pick(HOUR, DAY)
    due = max(due, made)
    fields: dict[str, Any] = {"commitment_id": commitment_id}
    if h.chance(0.1):
        h.add(case_id, "ticket", "commitment_made", made, kind=kind, **fields)
    else:
        h.add(case_id, "ticket", "commitment_made", made, kind=kind, due=due, **fields)
    for _ in range(h.rng.choice((0, 0, 0, 1, 1, 2))):
        at = h.near(h.pick(made, due, due, due), 0, 0, -HOUR, -HOUR, HOUR)
        due = h.near(due, HOUR, DAY, -HOUR, 0)
        h.add(
            case_id,
            "ticket",
            "commitment_changed",
            at,
            due=due,
            by=h.rng.choice(["customer", "customer", "customer", "provider", ABSENT]),
            agreed=h.rng.choice([ABSENT, ABSENT, True, False]),
            **fields,
        )
    if h.chance(0.3):
        h.add(case_id, "ticket", "commitment_kept", h.near(due, 0, 0, -HOUR, HOUR), **fields)
    if kind == "callback" and h.chance(0.5):
        h.add(case_id, "ticket", "customer_updated", h.near(due, 0, 0, -HOUR, HOUR))


# ---------------------------------------------------------------------------- amendments


def amend_something(history: History) -> None:
    """A correction or a void of some event, at times of another amendment or of nothing known."""
    h = history
    if not h.events:
        return
    target = h.pick(*h.events)
    if target["type"] in ("corrected", "voided") and h.chance(0.6):
        target = h.pick(*h.events)
    amend(h, target)


def amend(history: History, target: Event) -> None:
    """A correction or a void of this event, at times of nothing known."""
    h = history
    target_id = target["event_id"] if h.chance(0.98) else "never-seen"
    at = target["at"] + h.pick(0, MINUTE, HOUR, HOUR, DAY, 10 * DAY)
    if h.chance(0.35):
        h.add(target["case_id"], target["topic"], "voided", at, target=target_id)
        return
    changes = change_of(h, target)
    if h.chance(0.1):
        changes |= misfit_of(h, target)
    topic = target["topic"] if h.chance(0.95) else h.pick("ticket", "dispatch", "parts")
    h.add(target["case_id"], topic, "corrected", at, target=target_id, set=changes)


def misfit_of(history: History, target: Event) -> dict[str, Any]:
    """A change that a field of the target may not take: null, a value of another kind, or no field of its."""
    h = history
    times = ("window_start", "window_end", "due")
    fields = [name for name in target if name not in ("event_id", "topic", "type", "case_id", "at", "target", "set")]
    name = h.pick(*fields, "outcome", "qty", "tz")
    return {name: None if name in times else h.pick(None, "nonsense", "", 7, -1, True)}


def change_of(history: History, target: Event) -> dict[str, Any]:
    """Fields of the target's type with other values, times beside the old ones or beside limits."""
    h = history
    options = [{"at": h.near(target["at"], 0, HOUR, -HOUR, 30 * MINUTE, DAY)}]
    options += options_of(h, target)
    changes = dict(h.pick(*options))
    if h.chance(0.03):
        changes["event_id"] = "not-allowed"
    return changes


def options_of(history: History, target: Event) -> list[dict[str, Any]]:
    """What else a correction of the target may set, by its type."""
    h = history
    shift = h.pick(-HOUR, -30 * MINUTE, 30 * MINUTE, HOUR, DAY)
    start, end = target.get("window_start", target["at"]), target.get("window_end", target["at"])
    others = [c for c in h.cases if c != target["case_id"]] or ["C99"]
    windows = [
        window(start + shift, end + shift),
        {"window_end": end + max(shift, 0)},
        {"by": h.pick("customer", "provider"), "agreed": h.pick(True, False)},
        {"purpose": h.pick("repair", "survey")},
    ]
    by_type: dict[tuple[str, str], list[dict[str, Any]]] = {
        ("ticket", "opened"): [
            {"asset_id": h.pick(*h.assets, None, "?")},
            {"asset_id": h.pick(*h.assets)},
            {"priority": h.pick("P1", "P2", "P3")},
            {"kind": h.pick("break_fix", "preventive")},
            {"tz": h.pick("UTC", "America/Chicago", "Pacific/Auckland")},
        ],
        ("ticket", "acknowledged"): [{"auto": h.pick(True, False)}],
        ("ticket", "customer_contacted"): [{"reason": h.pick("thanks", "status_chase")}],
        ("ticket", "commitment_made"): [{"due": h.near(target.get("due", target["at"]), HOUR, 0, -HOUR)}],
        ("ticket", "commitment_changed"): [{"due": h.near(target.get("due", target["at"]), HOUR, 0)}],
        ("ticket", "reopened"): [{"reason": h.pick("same_fault", "billing")}],
        ("ticket", "cancelled"): [{"reason": h.pick("customer_withdrew", "duplicate", "created_in_error")}],
        ("ticket", "merged"): [{"into": h.pick(*others)}],
        ("dispatch", "scheduled"): windows,
        ("dispatch", "rescheduled"): windows,
        ("dispatch", "completed"): [{"outcome": h.rng.choice(OUTCOMES)}] * 3,
        ("parts", "required"): [{"qty": h.pick(1, 2)}],
        ("parts", "allocated"): [{"qty": h.pick(1, 2)}],
        ("parts", "delivered"): [{"qty": h.pick(1, 2)}, {"to": h.pick("van", "depot")}],
    }
    if target["type"] == "corrected":
        return [{"set": {"at": h.near(target["at"], -HOUR, 0)}}]
    return by_type.get((target["topic"], target["type"]), [])


def duplicate_something(history: History, delivered: dict[int, int]) -> None:
    """A copy with the same or another payload, delivered before, with or after the first."""
    h = history
    original = h.pick(*h.events)
    copy = json.loads(json.dumps(original))
    if h.chance(0.4):
        change = change_of(h, original)
        change.pop("event_id", None)
        copy.update(change)
    first = delivered[id(original)]
    h.events.append(copy)
    delivered[id(copy)] = max(first + h.pick(0, 0, SECOND, MINUTE, HOUR, 40 * DAY, -MINUTE), copy["at"] - 5 * MINUTE)


# ---------------------------------------------------------------------------- delivery


def deliver(history: History, event: Event, lateness: float) -> int:
    """When the event reaches us: at once, with a sync batch, hours, days or weeks late."""
    h = history
    at: int = event["at"]
    if h.chance(0.02):
        return at - h.pick(SECOND, 5 * MINUTE, 5 * MINUTE)
    if h.chance(0.004):
        return at - 5 * MINUTE - h.pick(1, SECOND, HOUR)  # rejected: future
    if not h.chance(lateness):
        return at + h.pick(0, 0, 0, SECOND, MINUTE)
    if h.chance(0.3):
        later = [s for s in h.syncs if s >= at]
        if later:
            return h.pick(*later)
    delay = h.pick(
        *(HOUR, 6 * HOUR, 24 * HOUR, 72 * HOUR, 72 * HOUR, 73 * HOUR, 4 * DAY),
        *(11 * DAY, 30 * DAY, 33 * DAY, 33 * DAY, 40 * DAY, 60 * DAY),
    )
    reached = h.near(at, delay)
    h.syncs.append(reached)
    return reached


def write_out(history: History, event: Event, reached: int) -> Event:
    """Times as text: mostly Z, at times another offset, rarely none (then it is rejected)."""
    h = history
    offset = h.rng.choice((0, 0, 0, 0, 0, 0, 0, 120, -360, 330))
    times = ("at", "window_start", "window_end", "due")

    def as_text(holder: dict[str, Any]) -> dict[str, Any]:
        return {k: rfc3339(v, offset) if k in times and isinstance(v, int) else v for k, v in holder.items()}

    written = as_text(event)
    if isinstance(written.get("set"), dict):
        changes = as_text(written["set"])
        if isinstance(changes.get("set"), dict):
            changes["set"] = as_text(changes["set"])
        written["set"] = changes
    if reached != event["at"]:
        written["seen"] = rfc3339(reached)
    if h.chance(0.003):
        written["seen"] = rfc3339(reached)
        written["at"] = written["at"][:19]
    return written


# ---------------------------------------------------------------------------- a whole history

STEPS: tuple[tuple[int, Any], ...] = (
    (8, acknowledge),
    (12, diagnose),
    (8, update_customer),
    (12, contact),
    (5, pause),
    (30, visit),
    (8, parts_line),
    (12, commitment),
    (10, resolve),
    (7, resolve_at_midnight),
    (13, reopen),
    (6, cancel_case),
    (2, say_anything),
)


def random_history(
    rng: random.Random, size: int = 25, *, erasures: bool = False, entangled: bool = False
) -> list[Event]:
    """About `size` events (at most some 15 more) of 1 to 6 cases, in delivery order.

    The same `rng` state gives the same history. `erasures` adds `erased` facts, where the order of
    processing may matter (rule 10). `entangled` merges most cases and mends or voids what ties them,
    also from another topic.
    """
    h = History(rng)
    case_count = max(1, min(rng.choice((1, 1, 1, 2, 2, 2, 3, 3, 4, 6)), size // 3))
    is_tame = h.chance(0.35)  # no amendments, no cancellations: so that good ends are common
    for n in range(case_count):
        tell_case(h, f"C{n + 1}", max(1, (size - len(h.events)) // (case_count - n)), is_tame=is_tame)
    if h.chance(0.4):
        for case_id in h.cases:
            if case_count > 1 and h.chance(0.35):
                merge(h, case_id)
    if not is_tame:
        for _ in range(rng.choice((0, 0, 1, 1, 2, 3, 5))):
            amend_something(h)
    if entangled:
        entangle(h)
    if erasures:
        for case_id in h.cases:
            if h.chance(0.4):
                h.add(case_id, "ticket", "erased", h.near(h.moment_of(case_id), HOUR, 4 * DAY, 34 * DAY))
    return deliver_all(h)


def entangle(history: History) -> None:
    """Merges between most cases, then amendments of merges, openings and visits of merged cases."""
    h = history
    for case_id in h.cases * h.pick(1, 1, 2):
        if len(h.cases) > 1 and h.chance(0.6):
            merge(h, case_id)
    merged = {e["case_id"] for e in h.events if e["type"] == "merged"}
    for _ in range(h.pick(0, 1, 2, 4)):
        telling = [
            e
            for e in h.events
            if e["case_id"] in merged and e["type"] in ("merged", "opened", "arrived", "completed", "scheduled")
        ]
        if telling:
            amend(h, h.pick(*telling))
            h.events[-1]["topic"] = h.pick(h.events[-1]["topic"], "ticket", "dispatch", "parts")


def tell_case(history: History, case_id: str, size: int, *, is_tame: bool) -> None:
    """One case: its opening, usually an answer and a visit with its parts, then anything."""
    h = history
    budget = len(h.events) + size
    open_case(h, case_id)
    for probability, step in ((0.75, acknowledge), (0.65, visit), (0.25, commitment), (0.15, reopen)):
        if len(h.events) < budget and h.chance(probability):
            step(h, case_id)
    while len(h.events) < budget:
        step = h.rng.choices([s for _, s in STEPS], [w for w, _ in STEPS])[0]
        if not (is_tame and step in (cancel_case, pause)):
            step(h, case_id)


def deliver_all(history: History) -> list[Event]:
    """Give every event its delivery time, add copies, and write them down in delivery order."""
    h = history
    lateness = h.pick(0.0, 0.05, 0.2, 0.5)
    if h.chance(0.4):
        h.syncs.append(h.start + h.pick(DAY, 3 * DAY, 20 * DAY))
    delivered = {id(e): deliver(h, e, lateness) for e in h.events}
    for _ in range(h.pick(0, 0, 0, 1, 2)):
        duplicate_something(h, delivered)
    h.events.sort(key=lambda e: delivered[id(e)])
    return [write_out(h, e, delivered[id(e)]) for e in h.events]


# ---------------------------------------------------------------------------- clocks


def in_segments(events: Iterable[Event], dice: random.Random) -> list[Event]:
    """The same history with regions: stated by most openings, and corrected at times, as priorities are."""
    regions: dict[tuple[str, str], str | None] = {}
    told: list[Event] = []
    for number, event in enumerate(events):
        if event["type"] != "opened":
            told.append(event)
            continue
        key = event["case_id"], event["event_id"]
        region = regions.setdefault(key, dice.choice((*REGIONS, *REGIONS, None)))
        told.append(event if region is None else {**event, "region": region})
        if dice.random() < 0.5:
            at = to_ms(event["at"]) + dice.choice((HOUR, 5 * HOUR, DAY, 3 * DAY, 3 * DAY + 4 * HOUR, 20 * DAY))
            change = dice.choice(({"region": dice.choice(REGIONS)}, {"priority": dice.choice(("P1", "P2", "P3"))}))
            correction = {"topic": "ticket", "type": "corrected", "case_id": key[0], "at": rfc3339(at)}
            told.append({**correction, "event_id": f"moved-{number}", "target": key[1], "set": change})
    return told


def segment_policies(dice: random.Random) -> list[tuple[dict[str, str], dict[str, Any]]]:
    """Some segments, each with a few constants of its own."""
    return [(_segment(dice), _constants(dice)) for _ in range(dice.choice((1, 2, 4)))]


def _segment(dice: random.Random) -> dict[str, str]:
    region, priority = dice.choice((*REGIONS, "unknown")), dice.choice(("P1", "P2", "P3"))
    return dice.choice(
        ({"region": region}, {"region": region}, {"priority": priority}, {"region": region, "priority": priority})
    )


def _constants(dice: random.Random) -> dict[str, Any]:
    options: dict[str, Any] = {
        "repeat_window_ms": dice.choice((HOUR, DAY, 12 * DAY, 40 * DAY)),
        "late_horizon_ms": dice.choice((0, HOUR, DAY, 5 * DAY)),
        "late_grace_ms": dice.choice((0, 30 * MINUTE, 4 * HOUR)),
        "early_tolerance_ms": dice.choice((0, 15 * MINUTE, 4 * HOUR)),
        "provider_notice_ms": dice.choice((0, HOUR, 3 * DAY)),
        "on_site_limit_ms": dice.choice((HOUR, DAY)),
        "first_response_ms": {dice.choice(("P1", "P2", "P3")): dice.choice((10 * MINUTE, DAY))},
        "explanation_ms": dice.choice((HOUR, 3 * DAY)),
        "silence_limit_ms": {dice.choice(("P1", "P2", "P3")): dice.choice((HOUR, 2 * DAY))},
        "longest_pause_ms": dice.choice((0, DAY, 20 * DAY)),
        "abandonment_ms": dice.choice((HOUR, 2 * DAY, 200 * DAY)),
    }
    return {name: options[name] for name in dice.sample(sorted(options), dice.choice((1, 2, 4)))}


def interesting_clocks(events: Iterable[Event]) -> list[int]:
    """Clock readings (ms) at, just before and just after every limit a verdict may flip at."""
    limits: set[int] = set()
    horizon, window_ms, abandoned = 72 * HOUR, 30 * DAY, 90 * DAY
    for event in events:
        reached = to_ms(event.get("seen", event["at"]))
        limits |= {reached, reached + abandoned}
        holders = [event]
        if isinstance(event.get("set"), dict):
            holders.append(event["set"])
        for holder in holders:
            if isinstance(holder.get("window_end"), str):
                end = to_ms(holder["window_end"]) + 15 * MINUTE
                limits |= {end, end + horizon}
            if isinstance(holder.get("due"), str):
                due = to_ms(holder["due"])
                limits |= {due, due + horizon}
            if isinstance(holder.get("at"), str):
                limits |= limits_after(event, to_ms(holder["at"]))
    last = max(limits, default=0)
    around = {t + d for t in limits for d in (-1, 0, 1)}
    return sorted(around | {last + horizon, last + window_ms + 10 * abandoned})


def limits_after(event: Event, at: int) -> set[int]:
    """The limits that start at an event, by its type; a correction may stand for any type."""
    type_ = event["type"]
    is_correction = type_ == "corrected"
    horizon, window_ms = 72 * HOUR, 30 * DAY
    limits = {at, at + 4 * HOUR, at + 24 * HOUR}
    if type_ == "opened" or is_correction:
        for target in (HOUR, 4 * HOUR, 8 * HOUR, 24 * HOUR):
            limits |= {at + target, at + target + horizon}
        zone = ZoneInfo(event.get("tz", "UTC"))
        local = datetime.fromtimestamp(at // 1000, UTC).astimezone(zone)
        day = local.date() + timedelta(days=1)
        limits.add(int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()) * 1000)
    if type_ in ("resolved", "completed") or is_correction:
        limits |= {at + horizon, at + window_ms, at + window_ms + horizon}
    if type_ in ("arrived", "cancelled", "merged") or is_correction:
        limits |= {at + 12 * HOUR, at + horizon}
    if type_ == "waiting_on_customer" or is_correction:
        limits |= {at + 7 * DAY, at + 7 * DAY + 4 * HOUR, at + 8 * DAY}
    return limits
