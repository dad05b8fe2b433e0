"""Windows promised for a visit, and the changes that break such a promise (rule 15)."""

from __future__ import annotations

import msgspec

from cxstream.domain.facts import Fact
from cxstream.domain.instant import NEVER_MS
from cxstream.domain.policy import Policy
from cxstream.domain.visits import Visit


class Promise(msgspec.Struct, frozen=True):
    """A window of time promised, in milliseconds, and the event that promised it."""

    start_ms: int
    end_ms: int
    made: Fact


def promised(change: Fact) -> Promise | None:
    """Return the window a change of a visit makes, None if it makes none."""
    start_ms, end_ms = change.instant_ms("window_start"), change.instant_ms("window_end")
    if change.type == "cancelled" or start_ms is None or end_ms is None:
        return None
    return Promise(start_ms, end_ms, change)


def changes_that_exist(visit: Visit) -> list[Fact]:
    """Leave out windows made after arrival, cancellations at or after it, and what came before the first window."""
    until_ms = visit.arrivals[0].at_ms if visit.arrivals else NEVER_MS
    changes = [
        change
        for change in visit.changes
        if (change.at_ms < until_ms if change.type == "cancelled" else promised(change) and change.at_ms <= until_ms)
    ]
    while changes and changes[0].type == "cancelled":
        del changes[0]
    return changes


def is_imposed(change: Fact) -> bool:
    """Whether a change is the provider's, and not agreed with the customer."""
    return change.text("by") != "customer" and not change.flag("agreed")


def is_short_notice(change: Fact, replaced: Promise, policy: Policy) -> bool:
    """Whether a change is the provider's, with less notice than it owes, neither agreed nor inside the old window."""
    new = promised(change)
    inside = new is not None and replaced.start_ms <= new.start_ms and new.end_ms <= replaced.end_ms
    return is_imposed(change) and not inside and replaced.start_ms - change.at_ms < policy.provider_notice_ms


def broken_by_change(changes: list[Fact], policy: Policy) -> tuple[str, Fact] | None:
    """Return why and by which change the promise was broken for good, None if it was not."""
    current: Promise | None = None
    for change in changes:
        if current is not None:
            if change.at_ms > current.end_ms + policy.late_grace_ms:
                return "changed_after_window", change
            if is_short_notice(change, current, policy):
                return "short_notice_change", change
        current = promised(change)
    return None
