"""failures_per_asset: how often did it fail of late? (definition B12).

Unit: case, as a failure of its asset; sealed at the opening + H. Out of: cases opened on a known asset. Measured: how
many cases were opened on the asset in the 90 d that end with this opening, itself included, of those neither cancelled
nor merged; counted at the opening. Asset unknown or crowded, or cancelled: excluded.
"""

from __future__ import annotations

from cxstream.domain.evidence import Evidence
from cxstream.domain.failures import FAILURE, GAMING, earlier_failures, unknowable
from cxstream.domain.instant import DAY_MS
from cxstream.domain.policy import Policy
from cxstream.domain.reasons import Reason
from cxstream.domain.verdict import Judgement
from cxstream.domain.vital_sign import Measure, VitalSign

OF_LATE_MS = 90 * DAY_MS


def judge(evidence: Evidence, _case_id: str, _clock_ms: int, policy: Policy) -> Judgement:
    """Measure how many failures an asset had in 90 d, this one included (definition B12, by rule 13)."""
    nothing = unknowable(evidence, policy)
    opened = evidence.opened
    if nothing is not None or opened is None:
        return nothing or Judgement("pending", "not_opened")
    earlier = earlier_failures(evidence, OF_LATE_MS - 1, policy)
    proof = (*(fact.event_id for fact in reversed(earlier)), opened.event_id)
    return Judgement("hit", "failed", opened.at_ms, proof, measured=1 + len(earlier))


VITAL_SIGN = VitalSign(
    name="failures_per_asset",
    title="Failures of the asset in 90 days",
    question="Why does it always hit me?",
    numerator="cases opened on the same asset in the 90 days up to this opening, itself included",
    denominator="cases on a known asset, so an asset that fails often weighs more",
    unit=FAILURE,
    judge=judge,
    topics=("ticket",),
    objective=None,
    measure=Measure("failures", (1, 2, 3, 5, 10)),
    known="at the opening; final 72 h later",
    gaming=GAMING,
    tier="B",
    reasons={
        "cancelled": Reason("The case was cancelled, so it is no failure.", (13,), "a void of the cancellation"),
        "asset_unknown": Reason(
            "It is not known which asset failed, so neither is how often.",
            (8,),
            "a correction of the opening that names the asset",
        ),
        "crowded_asset": Reason(
            "The asset has so many cases that it is no single piece of equipment.", (), "a correction of the asset"
        ),
        "failed": Reason(
            "The asset failed; measured is how often it did in 90 days.",
            (9, 13),
            "an earlier opening on the asset, told late; or the cancellation or merge of an earlier case",
        ),
    },
)
