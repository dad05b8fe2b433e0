"""A visit as its dispatch facts tell it, and the attempts visits form (rules 11 and 15)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from cxstream.domain.effective import world_order
from cxstream.domain.facts import Fact
from cxstream.domain.instant import NEVER_MS
from cxstream.domain.policy import Policy

_WINDOW = {"window_start", "window_end"}
FAILED_OUTCOMES = frozenset({"not_fixed", "partial", "no_parts", "diagnosed_only", "temporary", "wrong_skill"})


class Visit:
    """The effective dispatch facts of one visit; every list is in event-time order."""

    __slots__ = (
        "arrivals",
        "cancelled",
        "changes",
        "completion",
        "completions",
        "continues",
        "departures",
        "purpose",
        "visit_id",
    )

    def __init__(self, visit_id: str) -> None:
        self.visit_id = visit_id
        self.purpose = "repair"
        """What the visit is for: the last purpose stated, repair if none was."""
        self.continues: str | None = None
        """The visit this one continues, as last stated."""
        self.cancelled = False
        """Whether the last change is a cancellation (rule 16)."""
        self.completion: Fact | None = None
        """The last completion."""
        self.changes: list[Fact] = []
        """Windows made (scheduled, rescheduled) and cancellations."""
        self.departures: list[Fact] = []
        self.arrivals: list[Fact] = []
        self.completions: list[Fact] = []

    def add(self, fact: Fact) -> None:
        """Take in the next fact of this visit, in event-time order."""
        match fact.type:
            case "scheduled" | "rescheduled" | "cancelled":
                self.changes.append(fact)
                self.cancelled = fact.type == "cancelled"
                if "purpose" in fact.fields:
                    self.purpose = str(fact.fields["purpose"])
                if "continues" in fact.fields:
                    self.continues = fact.text("continues")
            case "en_route":
                self.departures.append(fact)
            case "arrived":
                self.arrivals.append(fact)
            case "completed":
                self.completions.append(fact)
                self.completion = fact

    @property
    def windows(self) -> list[Fact]:
        """The facts that made a window."""
        return [fact for fact in self.changes if fact.type != "cancelled" and fact.fields.keys() >= _WINDOW]

    @property
    def outcome(self) -> str | None:
        """The outcome of the last completion, None if there is none or it states none."""
        return self.completion.text("outcome") if self.completion else None

    @property
    def attended(self) -> bool:
        """Whether somebody was there and let in (rule 11)."""
        return bool(self.arrivals or self.completion) and self.outcome != "no_access"

    @property
    def arrival(self) -> Fact | None:
        """The first arrival; without one the completion stands for it (rule 11)."""
        return self.arrivals[0] if self.arrivals else self.completion

    @property
    def arrived_ms(self) -> int:
        """Event time of the arrival; never, if nobody came."""
        arrival = self.arrival
        return arrival.at_ms if arrival else NEVER_MS

    def ends_ms(self, policy: Policy) -> int:
        """Return when the visit was completed, or was on site for as long as it can be."""
        return self.completion.at_ms if self.completion else self.arrived_ms + policy.on_site_limit_ms

    def leaves_ms(self, policy: Policy) -> int:
        """Return the first instant the visit is no longer on site: completed, or the limit passed (rule 11)."""
        passed_ms = self.arrived_ms + policy.on_site_limit_ms + 1
        return min(self.completion.at_ms, passed_ms) if self.completion else passed_ms

    def on_site(self, instant_ms: int, policy: Policy) -> bool:
        """Whether somebody is on site: from arrival up to, not including, completion, at most the limit (rule 11)."""
        return self.arrived_ms <= instant_ms < self.leaves_ms(policy)


class FirstAttempt(msgspec.Struct, frozen=True):
    """The first attempt to fix a case: its visits by arrival, and the arrivals of all later attempts (rule 11)."""

    visits: tuple[Visit, ...]
    later_arrivals: tuple[Fact, ...]


def first_attempt(visits: Iterable[Visit], policy: Policy) -> FirstAttempt | None:
    """Group attended repair visits into attempts by crew overlap and `continues`; None if there is none (rule 11)."""
    attended = [visit for visit in visits if visit.attended and visit.purpose == "repair"]
    if not attended:
        return None
    attended.sort(key=_arrival_order)
    attempts: list[list[Visit]] = []
    for visit in attended:
        joined = [attempt for attempt in attempts if any(_same_attempt(visit, other, policy) for other in attempt)]
        attempts = [attempt for attempt in attempts if attempt not in joined]
        attempts.append([*(other for attempt in joined for other in attempt), visit])
        if len(joined) > 1:
            attempts[-1].sort(key=_arrival_order)
    attempts.sort(key=lambda attempt: _arrival_order(attempt[0]))
    later = tuple(attempt[0].arrival for attempt in attempts[1:] if attempt[0].arrival is not None)
    return FirstAttempt(tuple(attempts[0]), later)


def _arrival_order(visit: Visit) -> tuple[int, int, str]:
    """Sort key of attended visits: their arrivals as facts, so that ties are ordered like all others (rule 5)."""
    arrival = visit.arrival
    return world_order(arrival) if arrival else (NEVER_MS, 0, visit.visit_id)


def _same_attempt(visit: Visit, other: Visit, policy: Policy) -> bool:
    """Whether two visits belong together: one arrived while the other was on site, or continues it."""
    if other.on_site(visit.arrived_ms, policy) or visit.on_site(other.arrived_ms, policy):
        return True
    return _continues(visit, other) or _continues(other, visit)


def _continues(visit: Visit, other: Visit) -> bool:
    return visit.continues == other.visit_id and other.outcome in (None, "continued")


class AttemptState(msgspec.Struct, frozen=True):
    """How the first attempt stands at a clock reading (rule 12)."""

    state: Literal["fixed", "failed", "open"]
    end_ms: int
    """When the last of its visits was completed, or was on site for as long as it can be: a miss is counted there."""
    evidence: tuple[Fact, ...]
    wakes_ms: int = NEVER_MS
    fixed_ms: int = NEVER_MS
    """When it fixed the fault."""


def attempt_state(attempt: FirstAttempt, resolutions: Sequence[Fact], clock_ms: int, policy: Policy) -> AttemptState:
    """Say whether the first attempt fixed the fault (rule 12); `resolutions` are the ticket's, in event-time order."""
    completions = [visit.completion for visit in attempt.visits if visit.completion is not None]
    end_ms = max([visit.ends_ms(policy) for visit in attempt.visits])
    fixed = [fact for fact in completions if fact.text("outcome") == "fixed"]
    if fixed:
        latest = max(fixed, key=world_order)
        return AttemptState("fixed", end_ms, (latest,), fixed_ms=latest.at_ms)
    arrivals = tuple([visit.arrival for visit in attempt.visits if visit.arrival is not None])
    second = min(attempt.later_arrivals, key=world_order, default=None)
    limits_ms = [limit_ms for visit in attempt.visits for limit_ms in (visit.arrived_ms, visit.leaves_ms(policy))]
    wakes_ms = min((limit_ms for limit_ms in limits_ms if limit_ms > clock_ms), default=NEVER_MS)
    on_site = any(visit.on_site(clock_ms, policy) for visit in attempt.visits)
    if on_site and second is None:
        return AttemptState("open", end_ms, arrivals, wakes_ms)
    failed = [fact for fact in completions if fact.text("outcome") in FAILED_OUTCOMES]
    if failed:
        return AttemptState("failed", end_ms, tuple(failed), wakes_ms)
    last = max(completions, key=world_order, default=None)
    if last is not None and last.text("outcome") is None:
        limit_ms = second.at_ms if second else NEVER_MS
        for resolution in resolutions:
            if last.at_ms <= resolution.at_ms < limit_ms:
                return AttemptState("fixed", end_ms, (last, resolution), wakes_ms, fixed_ms=last.at_ms)
    return AttemptState("open", end_ms, arrivals, wakes_ms)
