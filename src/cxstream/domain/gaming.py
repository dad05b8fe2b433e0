"""Gaming: how a figure can look better than customers were treated, and which counters show that it does."""

from __future__ import annotations

from typing import NamedTuple


class Trace(NamedTuple):
    """A counter that shows a figure being gamed: a metric family, and where one series of it does, which."""

    family: str
    label: str = ""
    value: str = ""


class Gaming(NamedTuple):
    """What games a sign, in a sentence or two, and what shows it; without a trace no counter does."""

    how: str
    traces: tuple[Trace, ...] = ()


LATE = Trace("cxstream_late_events_total", "disposition", "after_seal")
"""Facts told only when nothing could change any more."""
RETRACTED = Trace("cxstream_vital_sign_retracted_units")
"""Decided verdicts of the sign that were taken back: by corrections, voids and facts told late."""
PENDING = Trace("cxstream_vital_sign_pending_units")
"""Units of the sign that nobody decides."""
OPEN_CASES = Trace("cxstream_open_cases")
"""Cases that are not ended, so that they are in no figure of ended ones."""
OLDEST_OPEN_CASE = Trace("cxstream_oldest_open_case_seconds")


def loophole(name: str) -> Trace:
    """Return the counter of a watched loophole (rule 24)."""
    return Trace("cxstream_watched_loophole_sightings", "loophole", name)


def excluded(reason: str) -> Trace:
    """Return the counter of the units of the sign that are left out for a reason."""
    return Trace("cxstream_vital_sign_excluded_units", "reason", reason)


def other_sign(name: str) -> Trace:
    """Return the figures of another sign that judges, which gets worse where this one is gamed."""
    return Trace("cxstream_vital_sign_window_units", "vital_sign", name)
