"""Watched loopholes: what makes a figure look better than the customer was treated (rule 24)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from cxstream.domain.evidence import Evidence
from cxstream.domain.instant import NEVER_MS
from cxstream.domain.policy import Policy
from cxstream.domain.promises import is_imposed
from cxstream.domain.visits import FAILED_OUTCOMES, Visit

LOOPHOLES = {
    "created_in_error": "cases cancelled as created in error: they are in no figure, their misses included",
    "window_after_arrival": "windows made after the arrival they promise",
    "resolved_after_not_fixed": "tickets resolved from the desk after a technician reported not_fixed",
    "pause_not_resumed": "times of waiting on the customer that were never resumed",
    "continued_failed_visit": "visits that continue one that failed, so that it looks like one attempt",
    "change_just_beyond_notice": "windows the provider changed hardly earlier than the notice it owes",
}
"""What is watched, by name, and what each counts."""


class Sighting(NamedTuple):
    """One use of a loophole, by the instant it happened at in milliseconds."""

    loophole: str
    at_ms: int


def sightings(evidence: Evidence, clock_ms: int, policy: Policy) -> list[Sighting]:
    """Return what the facts of a case show of the loopholes at a clock reading (rule 24), in order."""
    found = [*_of_ticket(evidence, clock_ms, policy)]
    for visit in evidence.visits.values():
        found += _of_visit(visit, evidence, policy)
    return sorted(found)


def pause_ends_ms(evidence: Evidence, clock_ms: int, policy: Policy) -> int:
    """Return when the clock alone makes a pause one that was never resumed; never, if none goes on."""
    ends_ms = NEVER_MS
    for waiting_ms in _not_resumed(evidence):
        paused_until_ms = waiting_ms + policy.longest_pause_ms + 1
        if clock_ms < paused_until_ms < ends_ms:
            ends_ms = paused_until_ms
    return ends_ms


def _of_ticket(evidence: Evidence, clock_ms: int, policy: Policy) -> Iterator[Sighting]:
    mistake = evidence.never_existed
    if mistake is not None and mistake.text("reason") == "created_in_error":
        yield Sighting("created_in_error", mistake.at_ms)
    for resolution in evidence.resolutions:
        completions = evidence.of("dispatch", "completed")
        before = [fact for fact in completions if fact.at_ms <= resolution.at_ms]
        if before and before[-1].text("outcome") == "not_fixed":
            yield Sighting("resolved_after_not_fixed", resolution.at_ms)
    for waiting_ms in _not_resumed(evidence):
        ends = (*evidence.fix_claims, *evidence.cancellations)
        if clock_ms > waiting_ms + policy.longest_pause_ms or any(fact.at_ms >= waiting_ms for fact in ends):
            yield Sighting("pause_not_resumed", waiting_ms)


def _not_resumed(evidence: Evidence) -> list[int]:
    waiting = evidence.of("ticket", "waiting_on_customer")
    if not waiting:
        return []
    resumed_ms = max([fact.at_ms for fact in evidence.of("ticket", "resumed")], default=-1)
    return [fact.at_ms for fact in waiting if fact.at_ms > resumed_ms]


def _of_visit(visit: Visit, evidence: Evidence, policy: Policy) -> Iterator[Sighting]:
    if visit.arrivals:
        for window in visit.windows:
            if window.at_ms > visit.arrivals[0].at_ms:
                yield Sighting("window_after_arrival", window.at_ms)
    continued = evidence.visits.get(visit.continues or "")
    if continued is not None and continued.outcome in FAILED_OUTCOMES:
        yield Sighting("continued_failed_visit", visit.changes[0].at_ms)
    starts_ms: int | None = None
    for change in visit.changes:
        if starts_ms is not None and is_imposed(change):
            beyond_ms = starts_ms - change.at_ms - policy.provider_notice_ms
            if 0 <= beyond_ms < policy.watched_notice_ms:
                yield Sighting("change_just_beyond_notice", change.at_ms)
        starts_ms = None if change.type == "cancelled" else change.instant_ms("window_start")
