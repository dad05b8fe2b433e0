"""What a judge returns and what is published of it (vital-signs page, section 2)."""

from __future__ import annotations

from typing import Literal

import msgspec

from cxstream.domain.instant import NEVER_MS

Outcome = Literal["pending", "hit", "miss", "excluded"]
VerdictName = Literal["pending", "provisional_hit", "final_hit", "miss", "excluded"]
Announced = Literal["pending", "provisional_hit", "final_hit", "miss", "excluded", "withdrawn"]
"""What is announced of a unit: its verdict, or that it turned out to be none."""


class Judgement(msgspec.Struct, frozen=True, gc=False):
    """What one sign says of one unit at one clock reading, before its seal is considered."""

    outcome: Outcome
    reason: str
    anchor_ms: int | None = None
    """The instant a decided unit is counted at; None: the unit's own beginning."""
    evidence: tuple[str, ...] = ()
    """Event ids the outcome rests on, in event-time order."""
    wakes_ms: int = NEVER_MS
    """The first instant at which the clock alone may change the outcome."""
    due_ms: int = NEVER_MS
    """When a pending unit will be a miss unless something happens (rule 26); never, if help is on its way."""
    since_ms: int | None = None
    """Since when what the unit waits for has lasted: an outage, a silence; None if nothing of the kind goes on."""
    measured: int | None = None
    """What a sign that measures found, of a hit (rule 25): times in milliseconds, all else as counted."""
    silent_topics: tuple[str, ...] = ()
    """The topics whose silence up to the anchor is the evidence of a miss (rule 6); none where an event proves it."""


class Verdict(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The verdict of one sign on one unit, as kept in the case record and published."""

    sign: str
    unit: str
    verdict: VerdictName
    reason: str
    anchor_ms: int
    seal_ms: int
    sealed: bool = False
    """Nothing can change it any more."""
    sequence: int = 0
    """How many published verdicts of this unit and sign came before, as far as the record remembers."""
    retracted: bool = False
    """A decided verdict of this unit and sign was once taken back."""
    due_ms: int = NEVER_MS
    """When a pending unit will be a miss unless something happens (rule 26)."""
    since_ms: int | None = None
    """Since when what the unit waits for has lasted."""
    measured: int | None = None
    """What a sign that measures found (rule 25): times in milliseconds, all else as counted."""

    @property
    def decided(self) -> bool:
        """Whether the unit is in the denominator."""
        return self.verdict in ("provisional_hit", "final_hit", "miss")
