"""commitment_kept: did we do what we said by when we said it? (rule 22)."""

from __future__ import annotations

from cxstream.domain.commitments import topics_of
from cxstream.domain.evidence import Evidence
from cxstream.domain.gaming import Gaming, excluded, other_sign
from cxstream.domain.policy import Policy
from cxstream.domain.reasons import Reason
from cxstream.domain.units import COMMITMENT
from cxstream.domain.verdict import Judgement
from cxstream.domain.vital_sign import VitalSign


def judge(evidence: Evidence, commitment_id: str, clock_ms: int, _policy: Policy) -> Judgement:
    """Judge one commitment against the due time in force (rule 22)."""
    promised = evidence.commitment(commitment_id)
    if promised is None:
        return Judgement("pending", "not_made")
    made, due_ms = promised.made, promised.due_ms
    if due_ms is None:
        return Judgement("excluded", "not_time_bound", made.at_ms, (made.event_id,))
    if promised.decided_by is not None:
        proof = (made.event_id, promised.decided_by.event_id)
        if promised.state == "kept":
            return Judgement("hit", "kept", promised.decided_by.at_ms, proof)
        return Judgement("miss", "changed", promised.late.at_ms if promised.late else due_ms, proof)
    for cancellation in evidence.cancellations[:1]:
        if cancellation.at_ms <= due_ms:
            return Judgement("excluded", "cancelled", cancellation.at_ms, (cancellation.event_id,))
    if clock_ms <= due_ms:
        return Judgement("pending", "awaited", None, (made.event_id,), due_ms + 1, due_ms)
    if promised.late is not None:
        return Judgement("miss", "late", promised.late.at_ms, (made.event_id, promised.late.event_id))
    return Judgement("miss", "not_kept", due_ms, (made.event_id,), silent_topics=topics_of(made))


VITAL_SIGN = VitalSign(
    name="commitment_kept",
    title="Kept our word",
    question="You said you would",
    numerator="time-bound commitments met by the due time in force",
    denominator="time-bound commitments",
    unit=COMMITMENT,
    judge=judge,
    topics=("ticket", "dispatch", "parts"),
    objective=0.9,
    known="at the evidence or when it was due; final 72 h later",
    gaming=Gaming(
        "Promise without a due time, or not at all; say that the customer agreed to a later one; report a promise "
        "as kept. A generous due time, an agreement nobody gave and a false report show nowhere.",
        (excluded("not_time_bound"), excluded("cancelled"), other_sign("smart_commitment_share")),
    ),
    missing="what was promised",
    reasons={
        "not_made": Reason(
            "The promise itself was taken back as never made; there is nothing to keep.",
            (5, 22),
            "the promise being told again",
        ),
        "not_time_bound": Reason(
            "The promise named no time by which it would be kept.",
            (22,),
            "a correction that gives the promise a due time",
        ),
        "kept": Reason(
            "What was promised was done by the time it was promised for.",
            (22,),
            "a correction or void of what kept it, or of the promise",
        ),
        "changed": Reason(
            "The promise was changed after it was due, or by the provider without the customer's agreement: it was"
            " broken.",
            (22,),
            "a correction or void of that change, or proof, told late, that it was kept before the change",
            counted_at="when it was due, or done after all",
        ),
        "cancelled": Reason(
            "The case was cancelled before the promise was due.",
            (22,),
            "a void of the cancellation, or proof, told late, that the promise was kept in time",
        ),
        "awaited": Reason(
            "The promise is not kept yet, and not due yet.",
            (22,),
            "what was promised being done by the due time (good), the due time passing without it (bad), or a"
            " change of the promise",
        ),
        "late": Reason(
            "What was promised was done, but after the time it was promised for.",
            (22,),
            "proof, told late, that it was kept in time, or a change of the due time agreed before it was due",
        ),
        "not_kept": Reason(
            "The time it was promised for passed, and nothing shows that the promise was kept.",
            (6, 22),
            "proof, told late, that it was kept in time, or a change of the due time agreed before it was due",
            counted_at="when it was due",
        ),
    },
)
