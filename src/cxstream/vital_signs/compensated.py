"""compensated: when a promise was broken, was it made good? (definition C2).

Unit: case, for its broken promises together, as a compensation names none. A promise is broken if on_time_arrival of
one of its visits, commitment_kept of one of its commitments, or stayed_fixed is a miss on the facts that count here:
at the change that broke it, else at the end of the last window + grace (an early arrival: at arrival) or at the due
time; for stayed_fixed at the first fault reopen or repeat case. Sealed at the later of the case's seal and
`policy.compensation_window` (30 d) + H after the last promise broken, or that will be if nothing more happens.

Out of: cases with a broken promise. Good: every one followed by a `compensated` within the window, both ends
inclusive; counted at the last of the first such. Bad: one is not, and the clock is past its window; counted at the
end of the first such window. Until then pending. No promise broken: excluded.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from cxstream.domain.evidence import Evidence
from cxstream.domain.gaming import Gaming, excluded, other_sign
from cxstream.domain.instant import NEVER_MS
from cxstream.domain.policy import Policy
from cxstream.domain.promises import broken_by_change, changes_that_exist, promised
from cxstream.domain.reasons import Reason
from cxstream.domain.units import Unit, case_seal
from cxstream.domain.verdict import Judgement
from cxstream.domain.vital_sign import VitalSign
from cxstream.vital_signs.commitment_kept import judge as judge_commitment
from cxstream.vital_signs.on_time_arrival import judge as judge_arrival
from cxstream.vital_signs.stayed_fixed import judge as judge_fix


class BrokenPromise(NamedTuple):
    """A promise of a case that was broken, in milliseconds, with what proves it."""

    since_ms: int
    proof: tuple[str, ...]
    silent_topics: tuple[str, ...]


class Promises(NamedTuple):
    """The promises of a case that are broken at a clock reading, the first to break first."""

    broken: tuple[BrokenPromise, ...]
    wakes_ms: int
    """The first instant at which the clock alone may break another."""


def promises_of(evidence: Evidence, clock_ms: int, policy: Policy) -> Promises:
    """Judge every window, commitment and fix of a case (definition C2, by rules 14, 15 and 22)."""
    judged = [*_windows(evidence, clock_ms, policy), *_commitments(evidence, clock_ms, policy)]
    judged.append((judge_fix(evidence, "", clock_ms, policy), _came_back_ms(evidence, policy)))
    broken = [
        BrokenPromise(since_ms, judgement.evidence, judgement.silent_topics)
        for judgement, since_ms in judged
        if judgement.outcome == "miss"
    ]
    return Promises(tuple(sorted(broken)), min(judgement.wakes_ms for judgement, _since_ms in judged))


def _windows(evidence: Evidence, clock_ms: int, policy: Policy) -> Iterator[tuple[Judgement, int]]:
    for visit_id, visit in evidence.visits.items():
        judgement = judge_arrival(evidence, visit_id, clock_ms, policy)
        changes = changes_that_exist(visit)
        change = broken_by_change(changes, policy)
        last = promised(changes[-1]) if changes else None
        if change is not None:
            yield judgement, change[1].at_ms
        elif last is not None and judgement.anchor_ms is not None:
            yield judgement, min(judgement.anchor_ms, last.end_ms + policy.late_grace_ms)
        else:
            yield judgement, NEVER_MS


def _commitments(evidence: Evidence, clock_ms: int, policy: Policy) -> Iterator[tuple[Judgement, int]]:
    for commitment_id in {str(made.fields["commitment_id"]) for made in evidence.of("ticket", "commitment_made")}:
        promise = evidence.commitment(commitment_id)
        ends_ms = [promise.due_ms] if promise is not None and promise.due_ms is not None else []
        if promise is not None and promise.decided_by is not None:
            ends_ms.append(promise.decided_by.at_ms)
        yield judge_commitment(evidence, commitment_id, clock_ms, policy), min(ends_ms, default=NEVER_MS)


def _came_back_ms(evidence: Evidence, policy: Policy) -> int:
    """Return when the fault first came back after the fix, never if it did not."""
    if not evidence.fix_claims:
        return NEVER_MS
    fixed_ms = evidence.fix_claims[0].at_ms
    until_ms = fixed_ms + policy.repeat_window_ms
    repeats = () if evidence.crowded else evidence.repeat_cases(fixed_ms, until_ms, policy)
    back_ms = (fact.at_ms for fact in (*evidence.fault_reopens, *repeats))
    return min((at_ms for at_ms in back_ms if fixed_ms < at_ms <= until_ms), default=NEVER_MS)


def promises_seal(evidence: Evidence, unit_id: str, policy: Policy) -> int:
    """Seal of what is done about broken promises (definition C2)."""
    seal_ms = case_seal(evidence, unit_id, policy)
    broken = promises_of(evidence, NEVER_MS, policy).broken
    if not broken:
        return seal_ms
    return max(seal_ms, broken[-1].since_ms + policy.compensation_window_ms + policy.late_horizon_ms)


PROMISES = Unit("case", relayed=True, seal=promises_seal, learned_moves_seal=True)


def judge(evidence: Evidence, _case_id: str, clock_ms: int, policy: Policy) -> Judgement:
    """Judge whether every broken promise of a case was compensated in time (definition C2)."""
    broken, wakes_ms = promises_of(evidence, clock_ms, policy)
    if not broken:
        return Judgement("excluded", "no_broken_promise", wakes_ms=wakes_ms)
    answers = []
    for promise in broken:
        until_ms = promise.since_ms + policy.compensation_window_ms
        paid = evidence.of("ticket", "compensated")
        answer = next((fact for fact in paid if promise.since_ms <= fact.at_ms <= until_ms), None)
        if answer is not None:
            answers.append(answer)
        elif clock_ms > until_ms:
            unheard = ("ticket", *promise.silent_topics)
            return Judgement("miss", "not_compensated", until_ms, promise.proof, wakes_ms, silent_topics=unheard)
        else:
            return Judgement("pending", "awaited", None, promise.proof, min(wakes_ms, until_ms + 1))
    last = max(answers, key=lambda fact: fact.at_ms)
    return Judgement("hit", "compensated", last.at_ms, (*broken[0].proof, last.event_id), wakes_ms)


VITAL_SIGN = VitalSign(
    name="compensated",
    title="Made good",
    question="What do I get for my loss?",
    numerator="cases whose broken promises were all compensated within 30 days",
    denominator="cases with a broken promise: a window, a commitment or a fix",
    unit=PROMISES,
    judge=judge,
    topics=("ticket", "dispatch", "parts"),
    objective=0.5,
    known="at the compensation or 30 days after the promise was broken; final 72 h later, or with the case",
    gaming=Gaming(
        "Promise nothing, so that nothing is broken, or give next to nothing: what was given is not judged.",
        (excluded("no_broken_promise"), other_sign("smart_commitment_share")),
    ),
    tier="C",
    reasons={
        "no_broken_promise": Reason(
            "No promise of the case was broken so far.", (), "a broken window, commitment or fix"
        ),
        "not_compensated": Reason(
            "A broken promise was not compensated within {compensation_window}.",
            (),
            "a compensation in time, told late; or evidence that the promise was kept",
        ),
        "awaited": Reason("A promise was broken, and can still be compensated in time.", (), "a compensation"),
        "compensated": Reason(
            "Every broken promise was compensated in time.", (), "a further broken promise; or a void of a compensation"
        ),
    },
)
