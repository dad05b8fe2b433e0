"""recovery: did we turn a broken promise into something positive? (definition C3).

Unit and seal: as compensated (C2), and so are broken promises. Out of: cases with one. Good: from the last one broken
to `policy.compensation_window` (30 d) later, both ends inclusive, a commitment was kept (rule 22) and a `compensated`
or `value_added` came, and the case is not open; counted at the later of the two. Bad: not both by then, once the
clock is past it; counted there. Until then, and with both while the case is open, pending. No promise broken:
excluded.
"""

from __future__ import annotations

from collections.abc import Iterator

from cxstream.domain.effective import world_order
from cxstream.domain.evidence import Evidence
from cxstream.domain.facts import Fact
from cxstream.domain.gaming import Gaming, excluded, other_sign
from cxstream.domain.policy import Policy
from cxstream.domain.reasons import Reason
from cxstream.domain.verdict import Judgement
from cxstream.domain.vital_sign import VitalSign
from cxstream.vital_signs.compensated import PROMISES, promises_of


def judge(evidence: Evidence, _case_id: str, clock_ms: int, policy: Policy) -> Judgement:
    """Judge whether a case with a broken promise ended with one kept and amends made (definition C3)."""
    broken, wakes_ms = promises_of(evidence, clock_ms, policy)
    if not broken:
        return Judgement("excluded", "no_broken_promise", wakes_ms=wakes_ms)
    last = broken[-1]
    until_ms = last.since_ms + policy.compensation_window_ms
    amends = [*evidence.of("ticket", "compensated"), *evidence.values_added]
    proofs = []
    for facts in (_keeping(evidence), amends):
        in_time = [fact for fact in facts if last.since_ms <= fact.at_ms <= until_ms]
        proofs += sorted(in_time, key=world_order)[:1]
    needed = 2
    if len(proofs) == needed:
        if evidence.is_open:
            return Judgement("pending", "open", None, last.proof, wakes_ms)
        recovered_ms = max(fact.at_ms for fact in proofs)
        return Judgement("hit", "recovered", recovered_ms, (*last.proof, *(fact.event_id for fact in proofs)), wakes_ms)
    if clock_ms > until_ms:
        unheard = tuple(dict.fromkeys(("ticket", "dispatch", *last.silent_topics)))
        return Judgement("miss", "not_recovered", until_ms, last.proof, wakes_ms, silent_topics=unheard)
    return Judgement("pending", "awaited", None, last.proof, min(wakes_ms, until_ms + 1))


def _keeping(evidence: Evidence) -> Iterator[Fact]:
    """Yield the evidence that kept each commitment which was kept."""
    for commitment_id in {str(made.fields["commitment_id"]) for made in evidence.of("ticket", "commitment_made")}:
        promise = evidence.commitment(commitment_id)
        if promise is not None and promise.state == "kept" and promise.decided_by is not None:
            yield promise.decided_by


VITAL_SIGN = VitalSign(
    name="recovery",
    title="Turned round",
    question="You let me down: what now?",
    numerator="cases in which, after the last broken promise, one was kept and amends were made within 30 days",
    denominator="cases with a broken promise: a window, a commitment or a fix",
    unit=PROMISES,
    judge=judge,
    topics=("ticket", "dispatch", "parts"),
    objective=0.5,
    known="at the amends or 30 days after the last promise was broken; final 72 h later, or with the case",
    gaming=Gaming(
        "Promise nothing, so that nothing is broken; or make amends worth next to nothing, and a promise that is "
        "easy to keep.",
        (excluded("no_broken_promise"), other_sign("smart_commitment_share")),
    ),
    tier="C",
    reasons={
        "no_broken_promise": Reason(
            "No promise of the case was broken so far.", (), "a broken window, commitment or fix"
        ),
        "open": Reason("A promise was kept and amends were made, but the case is open.", (20,), "a fix"),
        "recovered": Reason(
            "After the last broken promise one was kept and amends were made.",
            (),
            "a further broken promise; or a void of either",
        ),
        "not_recovered": Reason(
            "After the last broken promise none was kept, or no amends were made, within {compensation_window}.",
            (),
            "a kept promise and amends in time, told late",
        ),
        "awaited": Reason(
            "A promise was broken, and there is time left to keep one and to make amends.",
            (),
            "a kept promise and amends",
        ),
    },
)
