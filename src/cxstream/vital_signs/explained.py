"""explained: was the customer told what is wrong in time? (rule 19)."""

from __future__ import annotations

from cxstream.domain.evidence import Evidence
from cxstream.domain.gaming import Gaming, excluded, loophole, other_sign
from cxstream.domain.policy import Policy
from cxstream.domain.units import EXPLANATION
from cxstream.domain.verdict import Judgement
from cxstream.domain.vital_sign import VitalSign
from cxstream.domain.waiting import answered_in_time, reasons


def judge(evidence: Evidence, _case_id: str, clock_ms: int, policy: Policy) -> Judgement:
    """Judge the first diagnosis told to the customer against its target (rule 19); a fix is no explanation."""
    return answered_in_time(evidence, evidence.of("ticket", "diagnosed"), policy.explanation_ms, clock_ms)


VITAL_SIGN = VitalSign(
    name="explained",
    title="Explained in time",
    question="I don't know what's wrong",
    numerator="cases diagnosed and explained to the customer within 24 h",
    denominator="cases opened",
    unit=EXPLANATION,
    judge=judge,
    topics=("ticket",),
    objective=0.8,
    known="at the explanation or when it was due; final 72 h later",
    gaming=Gaming(
        "Report a diagnosis before there is one, or cancel the case before the explanation is due. A diagnosis "
        "that explains nothing shows only in customers who ask again.",
        (excluded("cancelled"), loophole("created_in_error"), other_sign("one_contact")),
    ),
    missing="a diagnosis, told to the customer",
    reasons=reasons("an explanation of what is wrong", "{explanation}"),
)
