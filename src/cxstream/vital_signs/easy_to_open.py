"""easy_to_open: was it easy to reach us and report the fault? (definition C1).

Unit: case, sealed at the opening + H. Out of: cases that state when the customer first contacted us. Good: opened
within `policy.easy_opening` (10 min, inclusive) of that, after at most `policy.easy_opening_transfers` (1) hand-over,
stated on the opening, and at the first attempt: no customer_contacted before the opening but the first contact
itself. Bad: not. Both counted at the opening. Excluded: no first contact stated, or one after the opening.
"""

from __future__ import annotations

from cxstream.domain.evidence import Evidence
from cxstream.domain.gaming import Gaming, excluded
from cxstream.domain.policy import Policy
from cxstream.domain.reasons import Reason
from cxstream.domain.units import OPENING
from cxstream.domain.verdict import Judgement
from cxstream.domain.vital_sign import VitalSign


def judge(evidence: Evidence, _case_id: str, _clock_ms: int, policy: Policy) -> Judgement:
    """Judge how long, by how many hands and at which attempt a case was opened (definition C1)."""
    opened = evidence.opened
    if opened is None:
        return Judgement("pending", "not_opened")
    first_ms = opened.instant_ms("first_contact_at")
    if first_ms is None or first_ms > opened.at_ms:
        reason = "first_contact_unknown" if first_ms is None else "opened_before_contact"
        return Judgement("excluded", reason, opened.at_ms, (opened.event_id,))
    attempts = [
        fact
        for fact in evidence.of("ticket", "customer_contacted")
        if fact.at_ms < opened.at_ms and fact.at_ms != first_ms
    ]
    if opened.at_ms - first_ms > policy.easy_opening_ms:
        return Judgement("miss", "slow", opened.at_ms, (opened.event_id,))
    if opened.count("transfers") > policy.easy_opening_transfers:
        return Judgement("miss", "passed_around", opened.at_ms, (opened.event_id,))
    if attempts:
        return Judgement("miss", "several_attempts", opened.at_ms, (attempts[0].event_id, opened.event_id))
    return Judgement("hit", "easy", opened.at_ms, (opened.event_id,))


VITAL_SIGN = VitalSign(
    name="easy_to_open",
    title="Easy to report",
    question="How do I reach you?",
    numerator="cases opened within 10 min of the first contact, after one hand-over at most, at the first attempt",
    denominator="cases whose first contact is stated",
    unit=OPENING,
    judge=judge,
    topics=("ticket",),
    objective=0.9,
    known="at the opening; final 72 h later",
    gaming=Gaming(
        "Leave the first contact out, or state the moment of the opening as it. The latter shows nowhere.",
        (excluded("first_contact_unknown"), excluded("opened_before_contact")),
    ),
    tier="C",
    reasons={
        "first_contact_unknown": Reason(
            "The opening does not say when the customer first contacted us.",
            (),
            "a correction of the opening that says it",
        ),
        "opened_before_contact": Reason(
            "The case was opened before the customer contacted us.",
            (),
            "a correction of the opening or of the first contact",
        ),
        "slow": Reason(
            "The case was opened more than {easy_opening} after the first contact.",
            (),
            "a correction of the opening or of the first contact",
        ),
        "passed_around": Reason(
            "The customer was handed over more than {easy_opening_transfers} times before the case was opened.",
            (),
            "a correction of the opening",
        ),
        "several_attempts": Reason(
            "The customer had contacted us before and was not helped then.", (), "a correction or void of that contact"
        ),
        "easy": Reason(
            "The case was opened soon, with few hands, at the first attempt.",
            (),
            "an earlier contact, told late (bad); or a correction of the opening",
        ),
    },
)
