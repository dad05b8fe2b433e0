"""proactive_contact: did we know before the customer told us? (definition C5).

Unit: case of kind break_fix or alert, sealed at the opening + H. Out of: all of them. Good: a machine opened it (kind
alert, or channel iot), and the customer had not contacted us by then: no customer_contacted before the opening, and
no first contact stated at or before it. Bad: not. Both counted at the opening.
"""

from __future__ import annotations

from cxstream.domain.evidence import Evidence
from cxstream.domain.gaming import Gaming
from cxstream.domain.policy import Policy
from cxstream.domain.reasons import Reason
from cxstream.domain.units import OPENING
from cxstream.domain.verdict import Judgement
from cxstream.domain.vital_sign import VitalSign
from cxstream.domain.vocabulary import MACHINE_CHANNEL


def judge(evidence: Evidence, _case_id: str, _clock_ms: int, _policy: Policy) -> Judgement:
    """Judge whether a case was opened by a machine before the customer contacted us (definition C5)."""
    opened = evidence.opened
    if opened is None:
        return Judgement("pending", "not_opened")
    if opened.text("kind") != "alert" and opened.text("channel") != MACHINE_CHANNEL:
        return Judgement("miss", "opened_by_customer", opened.at_ms, (opened.event_id,))
    first_ms = opened.instant_ms("first_contact_at")
    if first_ms is not None and first_ms <= opened.at_ms:
        return Judgement("miss", "customer_was_first", opened.at_ms, (opened.event_id,))
    for contact in evidence.of("ticket", "customer_contacted")[:1]:
        if contact.at_ms < opened.at_ms:
            return Judgement("miss", "customer_was_first", opened.at_ms, (contact.event_id, opened.event_id))
    return Judgement("hit", "opened_by_machine", opened.at_ms, (opened.event_id,))


VITAL_SIGN = VitalSign(
    name="proactive_contact",
    title="We knew first",
    question="Did you notice before I did?",
    numerator="cases that a machine opened before the customer contacted us",
    denominator="cases opened, of kind break_fix or alert",
    unit=OPENING,
    judge=judge,
    topics=("ticket",),
    objective=0.3,
    known="at the opening; final 72 h later",
    gaming=Gaming(
        "Open what a customer reported under the channel of machines, or leave the first contact out.",
    ),
    tier="C",
    kinds=("break_fix", "alert"),
    reasons={
        "opened_by_customer": Reason(
            "The case was opened by a person, not by a machine.", (), "a correction of its kind or channel"
        ),
        "customer_was_first": Reason(
            "A machine opened the case, but the customer had contacted us before.",
            (),
            "a correction of the first contact, or a void of that contact",
        ),
        "opened_by_machine": Reason(
            "A machine opened the case before the customer contacted us.", (), "an earlier contact, told late (bad)"
        ),
    },
)
