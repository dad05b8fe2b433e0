"""mean_time_between_failures: how long was it well since it last failed? (definition B11).

Unit: case, as a failure of its asset; sealed at the opening + H. Out of: cases opened on an asset with an earlier one.
Measured: the time since the opening before, of the cases of the same asset that were neither cancelled nor merged, and
counted at the opening. What lies further back than `policy.remembered` (a year) less H is not known of any asset. No
earlier one known, asset unknown or crowded, or cancelled: excluded.
"""

from __future__ import annotations

from cxstream.domain.evidence import Evidence
from cxstream.domain.failures import FAILURE, GAMING, earlier_failures, unknowable
from cxstream.domain.instant import DAY_MS, SECOND_MS
from cxstream.domain.policy import Policy
from cxstream.domain.reasons import Reason
from cxstream.domain.verdict import Judgement
from cxstream.domain.vital_sign import Measure, VitalSign


def judge(evidence: Evidence, _case_id: str, _clock_ms: int, policy: Policy) -> Judgement:
    """Measure the time from the opening before, on the same asset, to this one (definition B11, by rule 13)."""
    nothing = unknowable(evidence, policy)
    opened = evidence.opened
    if nothing is not None or opened is None:
        return nothing or Judgement("pending", "not_opened")
    earlier = earlier_failures(evidence, policy.remembered_ms - policy.late_horizon_ms, policy)
    if not earlier:
        return Judgement("excluded", "no_earlier_failure", opened.at_ms, (opened.event_id,))
    proof = (earlier[0].event_id, opened.event_id)
    return Judgement("hit", "failed_before", opened.at_ms, proof, measured=opened.at_ms - earlier[0].at_ms)


VITAL_SIGN = VitalSign(
    name="mean_time_between_failures",
    title="Time between failures",
    question="How long will it last this time?",
    numerator="time from the opening before, on the same asset, to this one",
    denominator="cases on an asset of which an earlier case within a year is known",
    unit=FAILURE,
    judge=judge,
    topics=("ticket",),
    objective=None,
    measure=Measure(
        "seconds",
        tuple(days * DAY_MS for days in (1, 7, 30, 90, 180)),
        per_unit=SECOND_MS,
        quantiles=(0.5,),
        better="more",
    ),
    known="at the opening; final 72 h later",
    gaming=GAMING,
    tier="B",
    reasons={
        "cancelled": Reason("The case was cancelled, so it is no failure.", (13,), "a void of the cancellation"),
        "asset_unknown": Reason(
            "It is not known which asset failed, so neither is when it failed before.",
            (8,),
            "a correction of the opening that names the asset",
        ),
        "crowded_asset": Reason(
            "The asset has so many cases that it is no single piece of equipment.", (), "a correction of the asset"
        ),
        "no_earlier_failure": Reason(
            "No earlier case of the asset is known.", (9,), "an earlier opening on the asset, told late"
        ),
        "failed_before": Reason(
            "The asset had failed before; measured is the time since then.",
            (9, 13),
            "an opening in between, told late; or the cancellation or merge of the earlier case",
        ),
    },
)
