"""Part lines: what was required for which visit, and whether it was on hand in full (rule 16)."""

from __future__ import annotations

from collections.abc import Sequence

from cxstream.domain.effective import world_order
from cxstream.domain.evidence import Evidence
from cxstream.domain.facts import Fact
from cxstream.domain.instant import NEVER_MS
from cxstream.domain.policy import Policy
from cxstream.domain.visits import Visit


def required_of(evidence: Evidence, line_id: str) -> Fact | None:
    """Return what a line requires, as last stated; None if that was voided."""
    stated = [fact for fact in evidence.of("parts", "required") if fact.fields["line_id"] == line_id]
    return stated[-1] if stated else None


def visit_of(evidence: Evidence, required: Fact, policy: Policy) -> Visit | None:
    """Return the visit a line is for: the one it names, else the first attended one not over when it was required (B7).

    A visit it names that found nobody in, was called off, or was over by then, is not it.
    """
    named = required.fields.get("visit_id")
    if isinstance(named, str):
        visit = evidence.visits.get(named) or Visit(named)
        gone = visit.cancelled or visit.outcome == "no_access"
        if _not_over(visit, required, policy) and (visit.attended or not gone):
            return visit
    came = [visit for visit in evidence.visits.values() if visit.attended and _not_over(visit, required, policy)]
    return min(came, key=lambda visit: world_order(visit.arrival) if visit.arrival else (NEVER_MS, 0, ""), default=None)


def _not_over(visit: Visit, required: Fact, policy: Policy) -> bool:
    """Whether somebody was still there, or yet to come, when a line was required."""
    return required.at_ms <= visit.leaves_ms(policy)


def on_hand(
    evidence: Evidence, line_id: str, required: Fact, visit: Visit, *, allocated_by_ms: int | None = None
) -> bool:
    """Whether a line was there in full at arrival, or is so far; what proved dead or wrong by completion was not.

    Pieces allocated count until `allocated_by_ms`, until arrival if that is None.
    """

    def pieces(facts: Sequence[Fact], until_ms: int | None) -> int:
        return sum(
            fact.count("qty")
            for fact in facts
            if fact.fields["line_id"] == line_id and (until_ms is None or fact.at_ms <= until_ms)
        )

    arrived = [fact for fact in evidence.of("parts", "delivered") if fact.text("to") in ("site", "van")]
    bad = [fact for fact in evidence.of("parts", "returned") if fact.text("reason") in ("doa", "wrong")]
    here_ms = visit.arrived_ms
    came = max(pieces(evidence.of("parts", "picked_up"), here_ms), pieces(arrived, here_ms))
    allocated = pieces(evidence.of("parts", "allocated"), here_ms if allocated_by_ms is None else allocated_by_ms)
    there = allocated + came - pieces(bad, visit.completion.at_ms if visit.completion else None)
    return there >= required.count("qty")
