"""one_contact: could the customer leave it to us after one report? Its complement is the recontact ratio (rule 21)."""

from __future__ import annotations

from cxstream.domain.effective import world_order
from cxstream.domain.evidence import Evidence
from cxstream.domain.facts import Fact
from cxstream.domain.gaming import Gaming, excluded
from cxstream.domain.instant import NEVER_MS
from cxstream.domain.policy import Policy
from cxstream.domain.reasons import Reason
from cxstream.domain.units import CASE
from cxstream.domain.verdict import Judgement
from cxstream.domain.vital_sign import VitalSign

_CHASING = ("status_chase", "repeat_info")


def judge(evidence: Evidence, _case_id: str, _clock_ms: int, _policy: Policy) -> Judgement:
    """Judge whether the customer had to chase us, or report the fault again, while it was open (rule 21)."""
    opened = evidence.opened
    if opened is None:
        return Judgement("pending", "not_opened")
    chases = [
        contact
        for contact in evidence.of("ticket", "customer_contacted")
        if contact.text("reason") in _CHASING
        and any(start < contact.at_ms <= (NEVER_MS if end is None else end) for start, end in evidence.open_spans)
    ]
    breaches = sorted(chases + _reports(evidence, opened), key=world_order)
    if breaches:
        first = breaches[0]
        reason = "reported_again" if first.type == "opened" else "chased"
        return Judgement("miss", reason, first.at_ms, (opened.event_id, first.event_id))
    if evidence.is_open:
        return Judgement("pending", "open", None, (opened.event_id,))
    if evidence.fix_claims:
        fix = evidence.fix_claims[0]
        return Judgement("hit", "left_to_us", fix.at_ms, (opened.event_id, fix.event_id))
    cancellation = evidence.cancellations[0]
    return Judgement("excluded", "cancelled", cancellation.at_ms, (cancellation.event_id,))


def _reports(evidence: Evidence, opened: Fact) -> list[Fact]:
    """Return the openings of absorbed cases after this one's and not after its fix."""
    until_ms = evidence.fix_claims[0].at_ms if evidence.fix_claims else NEVER_MS
    absorbed = [other.opened for other in evidence.others if other.absorbed and other.opened is not None]
    return [fact for fact in absorbed if opened.at_ms < fact.at_ms <= until_ms]


VITAL_SIGN = VitalSign(
    name="one_contact",
    title="One contact was enough",
    question="Why do I have to call again?",
    numerator="ended cases without a chasing contact or a second report",
    denominator="cases that ended, or were chased",
    unit=CASE,
    judge=judge,
    topics=("ticket", "dispatch"),
    objective=0.8,
    known="miss at the contact; hit at the fix, final at the seal",
    gaming=Gaming(
        "Record a contact that chases us under another reason, or not at all; cancel a second report as a "
        "duplicate instead of merging it. Only the last shows.",
        (excluded("duplicate"), excluded("cancelled")),
    ),
    lower_is_better="recontact",
    reasons={
        "reported_again": Reason(
            "The customer reported the fault again: a case opened later was merged into this one.",
            (9, 21),
            "a void of the merge, or a correction of either opening",
        ),
        "chased": Reason(
            "While the case was open the customer had to ask where it stands, or to tell again what had been told.",
            (21,),
            "a correction or void of that contact, or a fix before it, told late",
        ),
        "open": Reason(
            "The case is open, and so far the customer has not had to ask or to report the fault again.",
            (21,),
            "the customer asking or reporting the fault again (bad), or the end of the case",
        ),
        "left_to_us": Reason(
            "As long as the case was open, the customer did not have to ask or to report the fault again.",
            (21,),
            "such a contact or a second report, told late or after a reopening; or a correction or void of the fix",
        ),
        "cancelled": Reason(
            "The case was cancelled without a fix, and until then the customer had not had to ask.",
            (21,),
            "a void of the cancellation, or a contact before it, told late",
        ),
    },
)
