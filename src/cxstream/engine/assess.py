"""Assess a case: judge every unit it has on what counts for it, and say what changed since it was last published."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from types import MappingProxyType
from typing import NamedTuple
from zlib import crc32

import msgspec

from cxstream.domain.cases import Case, Closing, Reception, Segment
from cxstream.domain.effective import effective
from cxstream.domain.evidence import Evidence
from cxstream.domain.facts import Fact
from cxstream.domain.folding import AllFacts, FactStack, Folded, OwnFacts, count_for_case, fold
from cxstream.domain.instant import DAY_MS, NEVER_MS
from cxstream.domain.loopholes import pause_ends_ms, sightings
from cxstream.domain.merging import absorptions, merge_ids, merging
from cxstream.domain.policy import Policy
from cxstream.domain.reasons import Reason
from cxstream.domain.scope import before_start, out_of_scope
from cxstream.domain.units import Unit
from cxstream.domain.verdict import Judgement, Verdict, VerdictName
from cxstream.domain.vital_sign import Signs, VitalSign
from cxstream.domain.windows import BUCKET_MS

SOURCE_SILENT = "source_silent"
"""Why a unit is pending whose miss would rest on the silence of a dead topic."""

NOT_JUDGED = 0
"""Instead of the fingerprint it was judged under: the record holds facts that are not judged yet."""
PUT_OFF_MS = DAY_MS
"""For so long of its clock a case may wait to be judged."""

UNKNOWN_AT_SEAL = "unknown_at_seal:"
"""Stands before the reason of a unit that was still pending when it was sealed."""

REASONS = {
    SOURCE_SILENT: Reason(
        "Nothing was reported, but the system that would have reported it is silent as a whole: that proves nothing.",
        (6,),
        "that system being heard again",
    ),
    "error": Reason("This sign could not be judged because of a fault in the program.", (), "a mended program"),
    "erased": Reason("The case was erased on request before the verdict was final.", (10,)),
    "overflow": Reason("The case has more facts than a case may have ({facts_per_case}), so it is not judged.", ()),
}
"""Reasons that no judge gives, in plain words."""

Catalogue = Mapping[str, VitalSign]

Published = Mapping[tuple[str, str], Verdict]
"""Published verdicts by sign and unit."""

_sign_and_unit = attrgetter("sign", "unit")


class Clock(NamedTuple):
    """What time it is for the cases of a partition, all in milliseconds since the epoch."""

    now_ms: int
    """Verdicts are judged at this reading."""
    settled_ms: int
    """Every fact delivered up to here has reached every case it concerns: a seal before it is final. Not after"
    " now."""
    silent_since_ms: Mapping[str, int] = MappingProxyType({})
    """Source topics that are dead as a whole, with the last delivery of each: silence since then proves nothing."""

    @classmethod
    def at(cls, now_ms: int) -> Clock:
        """Return the clock of a reader who has every fact delivered until now."""
        return cls(now_ms, now_ms)


class Change(msgspec.Struct, frozen=True, gc=False):
    """One published verdict replaced by another; `old` is None for the first one of its unit and sign."""

    old: Verdict | None
    new: Verdict
    evidence: tuple[str, ...]
    """Event ids the new verdict rests on."""


class Assessment(NamedTuple):
    """A case judged at a clock reading."""

    case: Case
    """The record to keep: the very same Case if nothing published changed."""
    changes: list[Change]
    late_event_ids: frozenset[str]
    """The case's own facts that count for none of its units: late after seal (rule 3)."""
    is_over: bool = False
    """Nothing of the record is needed any more."""


def fingerprint(catalogue: Catalogue, policy: Policy) -> int:
    """Return by which signs and policy cases are judged, as a number of 32 bits that is not 0."""
    return crc32(msgspec.json.encode((sorted(catalogue), policy), order="sorted")) or 1


def assess(case: Case, catalogue: Catalogue, policy: Policy, clock: Clock, judged_under: int = 0) -> Assessment:
    """Judge all units of a case at a clock reading, and forget it when it is in no figure any more.

    A pure function of its arguments: in whatever order the facts were taken in, the verdicts are the same. What was
    published as sealed stays as it is, whatever comes (rule 4), another policy too. A case that is closed to facts is
    judged no more. `judged_under` is the fingerprint of catalogue and policy, to be kept with the case.
    """
    if case.closed is not None or not case.facts:
        return _forget(case, [], frozenset(), policy, clock)
    units = Units(case, policy)
    verdicts, changes, deadline_ms, settles_ms = _judge_all(case, units, catalogue, clock)
    own = units.own_evidence()
    segment = case.segment if case.is_forgotten else _segment(own)
    its_policy = policy.of(own.opened)
    seen: list[tuple[str, int]] = [*sightings(own, clock.now_ms, its_policy)]
    deadline_ms = min(deadline_ms, pause_ends_ms(own, clock.now_ms, its_policy))
    if settles_ms == NEVER_MS and (verdicts or case.is_forgotten):
        settles_ms = _in_no_window_ms(verdicts, policy)
    known = (case.verdicts, case.segment, case.deadline_ms, case.settles_ms, case.sightings, case.judged_under)
    if (verdicts, segment, deadline_ms, settles_ms, seen, judged_under) != known:
        case = msgspec.structs.replace(
            case,
            verdicts=verdicts,
            segment=segment,
            deadline_ms=deadline_ms,
            settles_ms=settles_ms,
            judged_ms=max(case.judged_ms, clock.now_ms),
            sightings=seen,
            judged_under=judged_under,
        )
    if settles_ms != NEVER_MS and not changes and all(verdict.sealed for verdict in verdicts):
        return _forget(case, changes, units.late_event_ids(), policy, clock)
    return Assessment(case, changes, units.late_event_ids())


class _Judged(NamedTuple):
    """All units of a case as judged at a clock reading."""

    verdicts: list[Verdict]
    """Those published as sealed as they were, in order of sign and unit."""
    changes: list[Change]
    deadline_ms: int
    settles_ms: int


def _judge_all(case: Case, units: Units, catalogue: Catalogue, clock: Clock) -> _Judged:
    """Judge every unit of a case that was not published as sealed."""
    published = {(verdict.sign, verdict.unit): verdict for verdict in case.verdicts}
    verdicts = [verdict for verdict in case.verdicts if verdict.sealed and verdict.sign in catalogue]
    final = {(verdict.sign, verdict.unit) for verdict in verdicts}
    changes: list[Change] = []
    deadline_ms = settles_ms = NEVER_MS
    for signs in _signs(catalogue).by_scope:
        unit = signs[0].unit
        for unit_id in units.ids(unit):
            judged = [sign for sign in signs if (sign.name, unit_id) not in final] if final else signs
            folded = units.counted(unit, unit_id) if judged else None
            if folded is None:
                continue
            is_sealed = folded.settles_ms <= clock.settled_ms
            if not is_sealed and folded.settles_ms < settles_ms:
                settles_ms = folded.settles_ms
            for judgement, old, new in judge_unit(judged, unit_id, folded, case, clock, published):
                verdicts.append(new)
                if old is None or new.sequence != old.sequence:
                    changes.append(Change(old, new, judgement.evidence))
                if not is_sealed and judgement.wakes_ms < deadline_ms and judgement.wakes_ms <= folded.seal_ms:
                    deadline_ms = judgement.wakes_ms
    verdicts.sort(key=_sign_and_unit)
    return _Judged(verdicts, changes, deadline_ms, settles_ms)


def put_off(case: Case, catalogue: Catalogue, policy: Policy, clock: Clock) -> Case | None:
    """Return the record of a case whose facts are taken in and which is judged later; None: it must be judged now.

    It is due as one judged by another policy is, and a day of the clock from now at the latest. Nothing is put off
    where a fact may be late after seal (rule 3), which is said when it is taken in: each must count for case signs of
    which none is final.
    """
    is_due = case.deadline_ms <= clock.now_ms or case.settles_ms <= clock.settled_ms
    if is_due or not case.facts or case.is_forgotten:
        return None
    of_cases = _signs(catalogue).of_cases
    is_final = any(verdict.sealed and verdict.sign in of_cases for verdict in case.verdicts)
    if is_final or not of_cases or _hears_of_merges(case) or not count_for_case(case.facts, policy):
        return None
    deadline_ms = min(case.deadline_ms, clock.now_ms + PUT_OFF_MS)
    return msgspec.structs.replace(case, deadline_ms=deadline_ms, judged_under=NOT_JUDGED)


def _hears_of_merges(case: Case) -> bool:
    return any(merge_ids(facts) for facts in case.relayed.values())


def _signs(catalogue: Catalogue) -> Signs:
    return catalogue if isinstance(catalogue, Signs) else Signs(catalogue)


def _forget(
    case: Case, changes: list[Change], late_event_ids: frozenset[str], policy: Policy, clock: Clock
) -> Assessment:
    """Drop the facts and verdicts of a case all of whose units are final and in no window, later the rest of it.

    What is left says for a long time that its case signs are final, or that it was closed, so that late facts are not
    judged as if they were all there is. Nothing is dropped by the judgement that closed the case or changed a verdict:
    what that published is announced from the record, again if need be.
    """
    if case.settles_ms == NEVER_MS:
        heard_ms = max((fact.delivered_ms for facts in case.relayed.values() for fact in facts), default=0)
        heard_ms = max(heard_ms, case.crowded_since_ms or 0, case.judged_ms)
        gone_ms = _in_no_window_ms(case.verdicts, policy) if case.verdicts else heard_ms + policy.memory_ms
        return Assessment(msgspec.structs.replace(case, settles_ms=gone_ms), changes, late_event_ids)
    if case.settles_ms > clock.settled_ms:
        return Assessment(case, changes, late_event_ids)
    if not case.facts and not case.verdicts:
        return Assessment(case, changes, late_event_ids, is_over=True)
    residue = Case(
        case.case_id,
        closed=case.closed,
        segment=case.segment,
        judged_ms=max(case.judged_ms, clock.now_ms),
        settles_ms=clock.settled_ms + policy.remembered_ms,
        is_forgotten=True,
    )
    return Assessment(residue, changes, late_event_ids)


def _in_no_window_ms(verdicts: Sequence[Verdict], policy: Policy) -> int:
    """Return when the last of these units has left the longest window, and is final."""
    return max(
        (max(verdict.anchor_ms + policy.longest_window_ms + BUCKET_MS, verdict.seal_ms + 1) for verdict in verdicts),
        default=0,
    )


def receive(
    case: Case, fact: Fact, catalogue: Catalogue, policy: Policy, origin: str | None = None
) -> tuple[Case, Reception]:
    """Return the case with a fact taken in, and how it was taken (rule 2).

    An erasure leaves the residue of the case (rule 10), and so does a fact beyond the number a case may have.
    """
    new, reception = case.advance(fact, origin)
    erasure = _erasure_by(fact, case, new) if origin is None else None
    if erasure is not None:
        rest = msgspec.structs.replace(new, facts=[one for one in new.facts if one is not erasure])
        judged = assess(rest, catalogue, policy, Clock.at(erasure.delivered_ms)).case
        closed = close(judged, "erased", case, erasure.delivered_ms + policy.memory_ms)
        return closed, "applied" if erasure is fact else reception
    if len(new.facts) > policy.facts_per_case:
        judged = assess(new, catalogue, policy, Clock(case.judged_ms, 0)).case  # so that all its units are counted
        return close(judged, "overflow", case), reception
    return new, reception


def _erasure_by(fact: Fact, case: Case, new: Case) -> Fact | None:
    """Return the erasure that a fact of a case brings into force, if any (rule 10).

    In force is one that is no copy of another event (rule 1) and was not voided before its delivery (rule 5). Another
    fact brings it there that takes the place of the void, or leads that elsewhere.
    """
    if case.closed is not None:
        return fact if _is_erasure(fact) and case.closed != "erased" else None
    is_one_more = len(new.facts) > len(case.facts)
    if new is case or (is_one_more and fact.type != "corrected" and not _is_erasure(fact)):
        return None
    for erasure in filter(_is_erasure, new.facts):
        by_then = effective([one for one in new.facts if one.delivered_ms <= erasure.delivered_ms])
        if any(one.event_id == erasure.event_id for one in by_then):
            return erasure
    return None


def _is_erasure(fact: Fact) -> bool:
    return fact.type == "erased" and fact.topic == "ticket"


def close(case: Case, closing: Closing, published: Case, expires_ms: int = NEVER_MS) -> Case:
    """Return the residue of a case closed to facts: sealed verdicts stay counted, the others become excluded.

    `published` is the case as the partition's clock judged it last: only what it says was decided is taken back, and
    its clock reading stays, since the fact that closes a case may have been delivered after what is not taken yet.
    `expires_ms` is when a residue that counts nothing may go.
    """
    before = {(verdict.sign, verdict.unit): verdict for verdict in published.verdicts}
    verdicts = [
        verdict if verdict.sealed else _closed(verdict, closing, before.get((verdict.sign, verdict.unit)))
        for verdict in case.verdicts
    ]
    return Case(
        case.case_id,
        closed=closing,
        verdicts=verdicts,
        segment=case.segment,
        judged_ms=published.judged_ms,
        settles_ms=NEVER_MS if verdicts else expires_ms,
        sightings=case.sightings,
    )


def _closed(verdict: Verdict, closing: Closing, published: Verdict | None) -> Verdict:
    return msgspec.structs.replace(
        verdict,
        verdict="excluded",
        reason=closing,
        sealed=True,
        sequence=0 if published is None else published.sequence + 1,
        retracted=verdict.retracted or (published is not None and published.decided),
        due_ms=NEVER_MS,
        since_ms=None,
        measured=None,
    )


def anonymous(case: Case, name: str) -> Case:
    """Return the residue of an erased case under another name: what it contributes, and no id of its own (rule 10)."""
    verdicts = [msgspec.structs.replace(verdict, unit=str(number)) for number, verdict in enumerate(case.verdicts)]
    return msgspec.structs.replace(case, case_id=name, verdicts=verdicts, transitions=[], withdrawn=[])


class Units:
    """The units of one case, each folded on the facts that may count for it."""

    def __init__(self, case: Case, policy: Policy) -> None:
        self._case = case
        self._policy = policy
        in_force = merge_ids(merging(case.case_id, case.facts, policy))
        self._own = OwnFacts(case.facts, in_force)
        self._all: FactStack = self._own
        if case.relayed or case.crowded_since_ms is not None:
            elsewhere = {origin: merging(origin, facts, policy) for origin, facts in case.relayed.items()}
            self._all = AllFacts(
                case.facts,
                case.relayed,
                own_merges=in_force,
                merges_elsewhere={origin: merge_ids(facts) for origin, facts in elsewhere.items()},
                absorptions=absorptions(case.case_id, elsewhere, policy),
                crowded_since_ms=case.crowded_since_ms,
            )
        self._ids: dict[str, list[str]] = {"case": [] if case.is_forgotten else [case.case_id]}
        self._folded: dict[tuple[Unit, str], Folded] = {}

    def ids(self, unit: Unit) -> list[str]:
        """Return the ids of the units of one kind that any fact makes, in order."""
        ids = self._ids.get(unit.kind)
        if ids is None:
            ids = self._ids[unit.kind] = sorted(self.own_evidence().units(unit.kind))
        return ids

    def of(self, unit: Unit) -> Iterator[tuple[str, Folded]]:
        """Yield the units of one kind with what counts for each, in order of id; those that exist by a counted fact."""
        for unit_id in self.ids(unit):
            folded = self.counted(unit, unit_id)
            if folded is not None:
                yield unit_id, folded

    def counted(self, unit: Unit, unit_id: str) -> Folded | None:
        """Return what counts for one unit, None if no fact that does makes it."""
        folded = self.fold(unit, unit_id)
        return folded if unit.kind == "case" or unit_id in folded.evidence.units(unit.kind) else None

    def own_evidence(self) -> Evidence:
        """Return the evidence of all of the case's own facts, late ones included."""
        return self._own.evidence(len(self._case.facts))

    def late_event_ids(self) -> frozenset[str]:
        """Return the own facts that count for none of the units folded so far: nothing counts for final ones."""
        latest_ms = max([folded.last_counted_ms for folded in self._folded.values()], default=-1)
        late = self._case.facts[bisect_right(self._own.delivered_ms, latest_ms) :]
        return frozenset([fact.event_id for fact in late]) if late else frozenset()

    def stack(self, unit: Unit) -> FactStack:
        """Return the facts that may count for a unit of this kind."""
        return self._all if unit.relayed else self._own

    def fold(self, unit: Unit, unit_id: str) -> Folded:
        """Return what counts for one unit."""
        key = unit, unit_id
        folded = self._folded.get(key)
        if folded is None:
            folded = self._folded[key] = fold(self.stack(unit), unit, unit_id, self._policy)
        return folded


def judge_unit(
    signs: Sequence[VitalSign],
    unit_id: str,
    folded: Folded,
    case: Case,
    clock: Clock,
    published: Published = MappingProxyType({}),
) -> list[tuple[Judgement, Verdict | None, Verdict]]:
    """Judge one unit by signs of its kind and of one scope, no later than its seal (rule 4), and name the verdicts.

    Returned are, for each sign, its judgement, the verdict published last, and the one to keep after it.
    """
    evidence, seal_ms, policy = folded.evidence, folded.seal_ms, folded.policy
    # A fact may give a seal that lies before its own delivery, and another delivered in between may be on its way.
    sealed = folded.settles_ms <= clock.settled_ms
    hit: VerdictName = "final_hit" if sealed else "provisional_hit"
    at_ms = min(clock.now_ms, seal_ms)
    unjudged = before_start(evidence, policy) or out_of_scope(
        evidence, signs[0].unit, needs_opening=signs[0].needs_opening, kinds=signs[0].kinds
    )
    judged: list[tuple[Judgement, Verdict | None, Verdict]] = []
    for sign in signs:
        judgement = unjudged
        if judgement is None:
            try:
                judgement = sign.judge(evidence, unit_id, at_ms, policy)
            except Exception:  # noqa: BLE001 - a judge that fails costs its own verdict, never the partition
                judgement = Judgement("excluded", "error")
        if judgement.silent_topics and not sealed and _is_unheard(judgement, clock):
            judgement = Judgement("pending", SOURCE_SILENT, None, judgement.evidence, since_ms=judgement.since_ms)
        name, reason, anchor_ms, due_ms = sign.name, judgement.reason, judgement.anchor_ms, NEVER_MS
        verdict: VerdictName
        outcome = judgement.outcome
        if outcome == "hit":
            verdict = hit
        elif outcome != "pending":
            verdict = outcome
        elif sealed:
            verdict, reason = "excluded", f"{UNKNOWN_AT_SEAL}{reason}"
        else:
            verdict, due_ms = outcome, judgement.due_ms if judgement.due_ms < seal_ms else NEVER_MS
        old = published.get((name, unit_id))
        new = Verdict(
            name,
            unit_id,
            verdict,
            reason,
            _beginning_ms(case, evidence) if anchor_ms is None else anchor_ms,
            seal_ms,
            sealed,
            0 if old is None else old.sequence,
            False if old is None else old.retracted,
            due_ms,
            None if sealed else judgement.since_ms,
            judgement.measured,
        )
        judged.append((judgement, old, new if old is None else _following(old, new)))
    return judged


def _is_unheard(judgement: Judgement, clock: Clock) -> bool:
    """Whether a miss is proven by the silence of a topic that was dead by then (rule 6)."""
    by_ms = judgement.anchor_ms or 0
    return any(by_ms > clock.silent_since_ms.get(topic, NEVER_MS) for topic in judgement.silent_topics)


def _beginning_ms(case: Case, evidence: Evidence) -> int:
    """Return when a unit without a decisive instant began: the opening of its case, else the first fact."""
    first = evidence.opened or (evidence.facts[0] if evidence.facts else case.facts[0])
    return first.at_ms


def _following(old: Verdict, new: Verdict) -> Verdict:
    """Return the verdict to keep after a published one, the very same if nothing has changed; `new` has its number.

    It gets the next sequence number only if something has changed that a reader acts on.
    """
    if new == old:
        return old
    if published_of(new) == published_of(old):
        return new
    taken_back = old.decided and not (new.decided and (new.verdict == "miss") == (old.verdict == "miss"))
    return msgspec.structs.replace(new, sequence=old.sequence + 1, retracted=old.retracted or taken_back)


def published_of(verdict: Verdict) -> tuple[object, ...]:
    """Return what a reader acts on: a verdict that differs in it is published under the next number."""
    return verdict.verdict, verdict.reason, verdict.anchor_ms, verdict.sealed, verdict.measured


def _segment(evidence: Evidence) -> Segment:
    opened = evidence.opened
    if opened is None:
        return Segment()
    return Segment(*[opened.text(name) or "unknown" for name in Segment.__struct_fields__])
