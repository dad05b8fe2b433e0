"""no_silence: did the customer always hear from us in time while waiting? (rule 20)."""

from __future__ import annotations

from itertools import pairwise

from cxstream.domain.evidence import Evidence
from cxstream.domain.gaming import Gaming, excluded, loophole, other_sign
from cxstream.domain.instant import NEVER_MS
from cxstream.domain.policy import Policy
from cxstream.domain.reasons import Reason
from cxstream.domain.units import CASE
from cxstream.domain.verdict import Judgement
from cxstream.domain.vital_sign import VitalSign

_CONTACTS = frozenset(
    {
        *(("ticket", name) for name in ("opened", "acknowledged", "diagnosed", "customer_updated", "reopened")),
        *(("ticket", name) for name in ("commitment_made", "commitment_changed")),
        *(("dispatch", name) for name in ("scheduled", "rescheduled", "en_route", "arrived", "completed", "cancelled")),
    }
)
_UNHEARD_IF = {"ticket": "auto", "dispatch": "silent"}
"""The flag of a contact that the customer does not notice: a robot acknowledges, or a visit is changed silently."""


def judge(evidence: Evidence, _case_id: str, clock_ms: int, policy: Policy) -> Judgement:
    """Judge every gap between contacts inside an open span, less the time the customer was waited for (rule 20)."""
    opened = evidence.opened
    if opened is None:
        return Judgement("pending", "not_opened")
    limit_ms = policy.silence_limit_by_priority_ms.get(str(opened.text("priority")), policy.silence_limit_ms)
    contacts = [
        fact
        for fact in evidence.facts
        if (fact.topic, fact.type) in _CONTACTS and not fact.flag(_UNHEARD_IF[fact.topic])
    ]
    pauses = _pauses(evidence, policy)
    breach_ms, broke_since_ms, silent_since_ms = NEVER_MS, NEVER_MS, None
    for start_ms, end_ms in evidence.open_spans:
        ends_ms = NEVER_MS if end_ms is None else end_ms
        heard_ms = [start_ms, *[fact.at_ms for fact in contacts if start_ms < fact.at_ms < ends_ms]]
        for since_ms, until_ms in pairwise([*heard_ms, ends_ms]):
            if until_ms - since_ms > limit_ms:
                breach = _breach_ms(since_ms, until_ms, limit_ms, pauses), since_ms
                breach_ms, broke_since_ms = min((breach_ms, broke_since_ms), breach)
        if end_ms is None:  # a pause, also what is left of one, is no silence
            silent_since_ms = _breach_ms(heard_ms[-1], NEVER_MS, limit_ms, pauses) - limit_ms
    if breach_ms < clock_ms:
        ends = [*evidence.fix_claims, *contacts]
        unheard = () if any(fact.at_ms > breach_ms for fact in ends) else ("ticket", "dispatch")
        last_heard = [fact.event_id for fact in contacts if fact.at_ms == broke_since_ms and fact is not opened]
        proof = (opened.event_id, *last_heard[-1:])
        return Judgement("miss", "silence", breach_ms, proof, since_ms=silent_since_ms, silent_topics=unheard)
    if silent_since_ms is not None:
        wakes_ms = min(breach_ms, NEVER_MS - 1) + 1
        return Judgement("pending", "open", None, (opened.event_id,), wakes_ms, breach_ms, silent_since_ms)
    if evidence.fix_claims:
        fix = evidence.fix_claims[0]
        return Judgement("hit", "heard_throughout", fix.at_ms, (opened.event_id, fix.event_id), breach_ms + 1)
    cancellation = evidence.cancellations[0]
    return Judgement("excluded", "cancelled", cancellation.at_ms, (cancellation.event_id,), breach_ms + 1)


def _pauses(evidence: Evidence, policy: Policy) -> list[tuple[int, int]]:
    """Return when the silence clock stood still, in order: from waiting to resuming, at most so long each."""
    resumed_ms = [fact.at_ms for fact in evidence.of("ticket", "resumed")]
    pauses = []
    for waiting in evidence.of("ticket", "waiting_on_customer"):
        until_ms = waiting.at_ms + policy.longest_pause_ms
        pauses.append((waiting.at_ms, min([until_ms, *(ms for ms in resumed_ms if ms >= waiting.at_ms)])))
    return pauses


def _breach_ms(since_ms: int, until_ms: int, limit_ms: int, pauses: list[tuple[int, int]]) -> int:
    """Return the instant a gap has lasted as long as the limit, pauses apart; never, if it ends by then."""
    at_ms, left_ms = since_ms, limit_ms
    for start_ms, end_ms in pauses:
        if end_ms <= at_ms:
            continue
        if start_ms - at_ms > left_ms:
            break
        left_ms -= max(0, start_ms - at_ms)
        at_ms = end_ms
    breach_ms = at_ms + left_ms
    return breach_ms if breach_ms < until_ms else NEVER_MS


VITAL_SIGN = VitalSign(
    name="no_silence",
    title="Never left in silence",
    question="What is going on?",
    numerator="ended cases in which no gap between contacts was longer than the limit",
    denominator="cases that ended, or were once silent for too long",
    unit=CASE,
    judge=judge,
    topics=("ticket", "dispatch"),
    objective=0.85,
    known="miss by the clock; hit at the fix, final at the seal",
    gaming=Gaming(
        "Wait for the customer and never resume, or send updates that say nothing. The latter shows only in "
        "customers who ask again.",
        (loophole("pause_not_resumed"), excluded("cancelled"), other_sign("one_contact")),
    ),
    missing="a word to the customer",
    reasons={
        "silence": Reason(
            "While the case was open the customer heard nothing for longer than {silence_limit}"
            " ({silence_limit_by_priority}), times of waiting for the customer apart.",
            (6, 20),
            "a contact within that silence, told late, or a correction of one beside it",
            counted_at="when the silence had lasted that long",
        ),
        "open": Reason(
            "The case is open, and so far no silence was too long.",
            (20,),
            "a silence longer than {silence_limit} ({silence_limit_by_priority}) (bad), or the end of the case",
        ),
        "heard_throughout": Reason(
            "As long as the case was open, no silence towards the customer was longer than {silence_limit}"
            " ({silence_limit_by_priority}).",
            (20,),
            "a reopening for the fault that silence follows, or a correction or void of a contact or of the fix",
        ),
        "cancelled": Reason(
            "The case was cancelled without a fix, and until then no silence was too long.",
            (20,),
            "a void of the cancellation, or a correction or void of a contact",
        ),
    },
)
