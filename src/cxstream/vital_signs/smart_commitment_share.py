"""smart_commitment_share: was the customer promised anything by a time? (definition B1).

Unit: case, sealed as the case. Out of: all cases opened, open ones too. Good: a window made for a visit, or a
commitment made with a due time, at whatever time. Bad: neither, from the opening on until there is one; a
cancellation changes nothing. Counted at the opening.
"""

from __future__ import annotations

from cxstream.domain.effective import world_order
from cxstream.domain.evidence import Evidence
from cxstream.domain.gaming import RETRACTED, Gaming, other_sign
from cxstream.domain.policy import Policy
from cxstream.domain.promises import promised
from cxstream.domain.reasons import Reason
from cxstream.domain.units import CASE
from cxstream.domain.verdict import Judgement
from cxstream.domain.vital_sign import VitalSign


def judge(evidence: Evidence, _case_id: str, _clock_ms: int, _policy: Policy) -> Judgement:
    """Judge whether a case has a commitment that is bound to a time (definition B1)."""
    opened = evidence.opened
    if opened is None:
        return Judgement("pending", "not_opened")
    made = [fact for fact in evidence.of("ticket", "commitment_made") if fact.instant_ms("due") is not None]
    for event_type in ("scheduled", "rescheduled"):
        made += [fact for fact in evidence.of("dispatch", event_type) if promised(fact)]
    if made:
        first = min(made, key=world_order)
        return Judgement("hit", "promised", opened.at_ms, (opened.event_id, first.event_id))
    unheard = ("ticket", "dispatch")
    return Judgement("miss", "nothing_promised", opened.at_ms, (opened.event_id,), silent_topics=unheard)


VITAL_SIGN = VitalSign(
    name="smart_commitment_share",
    title="Told by when",
    question="When will something happen?",
    numerator="cases with a visit window or a commitment that has a due time",
    denominator="cases opened, open ones included",
    unit=CASE,
    judge=judge,
    topics=("ticket", "dispatch"),
    objective=0.9,
    known="miss at the opening, hit at the first promise; final at the seal",
    gaming=Gaming(
        "Promise late, or for a far day: when the promise was made, and for when, does not matter here.",
        (RETRACTED, other_sign("no_silence"), other_sign("one_contact")),
    ),
    tier="B",
    reasons={
        "promised": Reason(
            "The customer was promised a window or a commitment with a due time.", (), "a void of every such promise"
        ),
        "nothing_promised": Reason(
            "The customer was promised no window and no commitment with a due time.",
            (),
            "a window or a commitment with a due time",
        ),
    },
)
