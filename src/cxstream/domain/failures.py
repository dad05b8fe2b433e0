"""Failures of an asset: the break/fix openings that a case knows of, its own the last one (definitions B11 and B12)."""

from __future__ import annotations

from cxstream.domain.effective import world_order
from cxstream.domain.evidence import Evidence
from cxstream.domain.facts import Fact
from cxstream.domain.gaming import LATE, Gaming, loophole, other_sign
from cxstream.domain.policy import Policy
from cxstream.domain.units import Unit, opening_seal
from cxstream.domain.verdict import Judgement

FAILURE = Unit("case", relayed=True, seal=opening_seal)
"""The opening of a case as a failure of its asset: what is known of the asset counts up to the opening + H."""

GAMING = Gaming(
    "Reopen the old case instead of opening a new one, leave the asset out, or cancel it as created in error. "
    "An asset that is left out shows where it is judged whether fixes hold.",
    (other_sign("reopened"), other_sign("stayed_fixed"), loophole("created_in_error"), LATE),
)
"""What games either figure of failures."""


def unknowable(evidence: Evidence, policy: Policy) -> Judgement | None:
    """Return why a case says nothing of how often its asset fails, None if it does."""
    opened = evidence.opened
    if opened is None:
        return Judgement("pending", "not_opened")
    if evidence.cancellations:
        cancellation = evidence.cancellations[0]
        return Judgement("excluded", "cancelled", cancellation.at_ms, (cancellation.event_id,))
    if evidence.asset(policy) is None:
        return Judgement("excluded", "asset_unknown", opened.at_ms, (opened.event_id,))
    if evidence.crowded:
        return Judgement("excluded", "crowded_asset", opened.at_ms, (opened.event_id,))
    return None


def earlier_failures(evidence: Evidence, within_ms: int, policy: Policy) -> list[Fact]:
    """Return the openings of other break_fix cases of the asset before this one, latest first.

    Cases that were cancelled or merged do not count, as in rule 13, and what lies further back than `within_ms` is not
    looked at.
    """
    opened, asset = evidence.opened, evidence.asset(policy)
    openings = [
        other.opened
        for other in evidence.others
        if other.opened is not None
        and other.opened.text("kind") == "break_fix"
        and policy.asset(other.opened.text("asset_id")) == asset
        and not (other.cancelled or other.merged or other.absorbed)
    ]
    at_ms = opened.at_ms if opened else 0
    return sorted((one for one in openings if at_ms - within_ms <= one.at_ms < at_ms), key=world_order, reverse=True)
