"""parts_lead_time: how long did the part take? (definition B10).

Unit: part line, made by a `required` that counts. Measured: the time from its first `required` until it was there in
full, 0 if it was before: allocated + the larger of picked_up and delivered to site or van, as many as were last
required and were returned as dead or wrong. Counted when it was there, and sealed H later; until it is there sealed as
the case, merges apart. In full by allocation alone, or cancelled before it was there: excluded.
"""

from __future__ import annotations

from typing import NamedTuple

from cxstream.domain.effective import world_order
from cxstream.domain.evidence import Evidence
from cxstream.domain.facts import Fact
from cxstream.domain.gaming import LATE, Gaming, other_sign
from cxstream.domain.instant import DAY_MS, NEVER_MS, SECOND_MS
from cxstream.domain.policy import Policy
from cxstream.domain.reasons import Reason
from cxstream.domain.units import Unit, case_seal_merges_apart
from cxstream.domain.verdict import Judgement
from cxstream.domain.vital_sign import Measure, VitalSign


class Supply(NamedTuple):
    """A line that was there in full: since when, and the facts it was first required and filled by."""

    there_ms: int
    required: Fact
    filled_by: Fact
    from_stock: bool
    """Nothing had been picked up or delivered by then."""


def supply_of(evidence: Evidence, line_id: str) -> Supply | None:
    """Return when a line was there in full, what proved dead or wrong made up for; None if it never was."""

    def of(*types: str) -> list[Fact]:
        return [fact for one in types for fact in evidence.of("parts", one) if fact.fields["line_id"] == line_id]

    required = of("required")
    if not required:
        return None
    bad = sum(fact.count("qty") for fact in of("returned") if fact.text("reason") in ("doa", "wrong"))
    needed, came = required[-1].count("qty") + bad, dict.fromkeys(("allocated", "delivered", "picked_up"), 0)
    for fact in sorted(of(*came), key=world_order):
        if fact.type != "delivered" or fact.text("to") in ("site", "van"):
            came[fact.type] += fact.count("qty")
        if came["allocated"] + max(came["delivered"], came["picked_up"]) >= needed:
            there_ms = max(fact.at_ms, required[0].at_ms)
            return Supply(there_ms, required[0], fact, came["delivered"] == came["picked_up"] == 0)
    return None


def supply_seal(evidence: Evidence, line_id: str, policy: Policy) -> int:
    """Seal of how long a line took: H after it was there (definition B10)."""
    supply = supply_of(evidence, line_id)
    if supply is None:
        return case_seal_merges_apart(evidence, line_id, policy)
    return supply.there_ms + policy.late_horizon_ms


def judge(evidence: Evidence, line_id: str, _clock_ms: int, _policy: Policy) -> Judgement:
    """Measure the time from the requirement of a line until it was there in full (definition B10, by rule 16)."""
    supply = supply_of(evidence, line_id)
    there_ms = supply.there_ms if supply else NEVER_MS
    for cancelled in evidence.of("parts", "cancelled"):
        if cancelled.fields["line_id"] == line_id and cancelled.at_ms <= there_ms:
            return Judgement("excluded", "cancelled", cancelled.at_ms, (cancelled.event_id,))
    if supply is None:
        return Judgement("pending", "not_there_yet")
    proof = (supply.required.event_id, supply.filled_by.event_id)
    if supply.from_stock:
        return Judgement("excluded", "from_stock", there_ms, proof)
    return Judgement("hit", "supplied", there_ms, proof, measured=there_ms - supply.required.at_ms)


VITAL_SIGN = VitalSign(
    name="parts_lead_time",
    title="Time until the part is there",
    question="How long does the part take?",
    numerator="time from the first requirement of the line until it was delivered or picked up in full",
    denominator="part lines that were delivered or picked up in full",
    unit=Unit("line", relayed=False, seal=supply_seal),
    judge=judge,
    topics=("parts",),
    objective=None,
    measure=Measure(
        "seconds",
        tuple(days * DAY_MS for days in (1, 2, 4, 7, 14)),
        per_unit=SECOND_MS,
        quantiles=(0.5, 0.9),
    ),
    known="when the line is there in full; final 72 h later",
    gaming=Gaming(
        "Require late what was known to be needed, or cancel the line and require it anew under another id. Neither "
        "shows here; visits without their parts do.",
        (other_sign("parts_ready"), other_sign("parts_fill_rate"), LATE),
    ),
    tier="B",
    reasons={
        "cancelled": Reason("The line was cancelled before it was there.", (16,), "a void of that cancellation"),
        "not_there_yet": Reason(
            "The line is not there in full yet.",
            (16,),
            "a delivery or pick-up, or a cancellation of the line (left out)",
        ),
        "from_stock": Reason(
            "The line was there in full from stock: nothing had to be delivered.", (16,), "a larger quantity required"
        ),
        "supplied": Reason(
            "The line was there in full; measured is how long that took.",
            (16,),
            "a piece returned as dead or wrong, a larger quantity required, or a correction or void of what came",
        ),
    },
)
