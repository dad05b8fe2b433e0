"""channel_switch: could the customer stay on the channel they chose? (definition B2).

Unit: case, sealed as the case. An inbound contact is the opening, unless a machine opened it (channel iot), and every
customer_contacted, for whatever reason. Out of: cases with two inbound contacts or more whose channel is stated.
Good: all on one channel, counted at the second. Bad: another channel, counted at the first contact on it. With fewer:
pending while the case is open, else excluded.
"""

from __future__ import annotations

from cxstream.domain.effective import world_order
from cxstream.domain.evidence import Evidence
from cxstream.domain.gaming import Gaming, excluded
from cxstream.domain.policy import Policy
from cxstream.domain.reasons import Reason
from cxstream.domain.units import CASE
from cxstream.domain.verdict import Judgement
from cxstream.domain.vital_sign import VitalSign
from cxstream.domain.vocabulary import MACHINE_CHANNEL


def judge(evidence: Evidence, _case_id: str, _clock_ms: int, _policy: Policy) -> Judgement:
    """Judge whether all inbound contacts whose channel is known came by the same one (definition B2)."""
    opened = evidence.opened
    if opened is None:
        return Judgement("pending", "not_opened")
    inbound = [] if opened.text("channel") == MACHINE_CHANNEL else [opened]
    inbound += evidence.of("ticket", "customer_contacted")
    known = sorted((fact for fact in inbound if fact.text("channel")), key=world_order)
    if len(known) > 1:
        first, second = known[:2]
        for fact in known:
            if fact.text("channel") != first.text("channel"):
                return Judgement("miss", "switched", fact.at_ms, (first.event_id, fact.event_id))
        return Judgement("hit", "one_channel", second.at_ms, (first.event_id, second.event_id))
    reason = "channel_not_stated" if len(inbound) > 1 else "single_contact"
    if evidence.is_open:
        return Judgement("pending", reason, None, (opened.event_id,))
    return Judgement("excluded", reason, opened.at_ms, (opened.event_id,))


VITAL_SIGN = VitalSign(
    name="channel_switch",
    title="Stayed on one channel",
    question="Must I tell it all again elsewhere?",
    numerator="cases whose inbound contacts all came by one channel",
    denominator="cases with more than one inbound contact whose channel is stated",
    unit=CASE,
    judge=judge,
    topics=("ticket",),
    objective=0.8,
    known="at the second contact; final at the seal",
    gaming=Gaming(
        "Record contacts without their channel (fewer than two stated ones are left out), or all of them under "
        "the same one. A channel that is recorded wrongly shows nowhere.",
        (excluded("channel_not_stated"), excluded("single_contact")),
    ),
    tier="B",
    reasons={
        "switched": Reason(
            "The customer contacted us by another channel than at first.",
            (),
            "a correction of the channel or void of a contact",
        ),
        "one_channel": Reason(
            "Every contact of the customer came by the same channel.", (), "a contact by another channel (bad)"
        ),
        "channel_not_stated": Reason(
            "The customer contacted us more than once, but fewer than two of the contacts say by which channel.",
            (),
            "a correction that names a channel, or a further contact",
        ),
        "single_contact": Reason(
            "The customer contacted us once at most, so there was no channel to switch.", (), "a further contact"
        ),
    },
)
