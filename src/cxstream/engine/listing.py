"""Listing: which units are behind a figure of the ledger, and in which order a reader wants to see them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import msgspec

from cxstream.domain.cases import Segment
from cxstream.domain.instant import NEVER_MS
from cxstream.domain.verdict import Verdict
from cxstream.engine.ledger import Ledger, Scope, Windows, standing_of

Standing = Literal["decided", "bad", "good", "pending", "excluded", "retracted", "at_risk", "measured"]
"""How the units stand that a list is of; decided: bad and good."""

_RANKS = {"bad": 0, "good": 1}


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """The figure a list is of."""

    sign: str = ""
    """Empty: all signs."""
    level: str = "job"
    segment: str = ""
    """Empty at level job."""
    window: str = ""
    """Of units at risk it plays no part."""
    standing: Standing = "decided"
    detail: str = ""
    """provisional or final of decided units, the reason of excluded ones (what is behind a colon apart); empty: any."""


class Place(NamedTuple):
    """Where a unit stands in a list: misses first, the newest first; of what is at risk the first to be due."""

    rank: int
    when_ms: int


class Lens:
    """Picks the units that make one figure of a ledger, as of its last `advance`."""

    def __init__(self, selection: Selection, scope: Scope) -> None:
        self._selection = selection
        self._scope = scope

    @classmethod
    def on(cls, ledger: Ledger, selection: Selection) -> Lens | None:
        """Return the lens on a ledger; None if it has no such figure."""
        scope = ledger.scope(selection.level, selection.window, at_risk=selection.standing == "at_risk")
        return None if scope is None else cls(selection, scope)

    def pick(self, verdicts: Sequence[Verdict], segment: Segment) -> Iterator[tuple[Place, Verdict]]:
        """Yield the units of a case that are counted in the figure."""
        wanted, scope = self._selection, self._scope
        if scope.dimensions and scope.segment(segment) != wanted.segment:
            return
        windows: Windows = scope.windows
        for verdict in verdicts:
            if (wanted.sign and verdict.sign != wanted.sign) or not (
                windows.signs is None or verdict.sign in windows.signs
            ):
                continue
            state, detail = standing_of(verdict)
            if wanted.standing == "at_risk":
                if verdict.due_ms < NEVER_MS and scope.holds(verdict.due_ms - windows.risk_horizon_ms):
                    yield Place(0, verdict.due_ms), verdict
            elif self._stands(state, detail, retracted=verdict.retracted) and scope.holds(verdict.anchor_ms):
                yield Place(_RANKS.get(state, 2), -verdict.anchor_ms), verdict

    def _stands(self, state: str, detail: str, *, retracted: bool) -> bool:
        wanted = self._selection
        if wanted.standing == "retracted":
            return retracted
        stands = state in _RANKS if wanted.standing == "decided" else state == wanted.standing
        return stands and wanted.detail in ("", detail, detail.partition(":")[0])
