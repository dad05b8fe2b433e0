"""Assess a case: judge every unit it has on what counts for it, and say what changed since it was last published."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple
from zlib import crc32

import msgspec

from cxstream.domain.cases import Case, Closing, Reception, Segment
from cxstream.domain.evidence import Evidence
from cxstream.domain.facts import Fact
from cxstream.domain.folding import AllFacts, FactStack, Folded, OwnFacts, fold
from cxstream.domain.instant import NEVER_MS
from cxstream.domain.loopholes import pause_ends_ms, sightings
from cxstream.domain.merging import absorptions, merge_ids, merging
from cxstream.domain.policy import Policy
from cxstream.domain.reasons import Reason
from cxstream.domain.scope import before_start, out_of_scope
from cxstream.domain.units import Unit
from cxstream.domain.verdict import Judgement, Verdict, VerdictName
from cxstream.domain.vital_sign import VitalSign
from cxstream.domain.windows import BUCKET_MS

SOURCE_SILENT = "source_silent"
"""Why a unit is pending whose miss would rest on the silence of a dead topic."""

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


class Change(NamedTuple):
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
    verdicts, changes, deadline_ms, settles_ms = [], [], NEVER_MS, NEVER_MS
    for old, new, judgement, settled_by_ms in _standings(case, units, catalogue, policy, clock):
        verdicts.append(new)
        if judgement is None:
            continue
        if old is None or new.sequence != old.sequence:
            changes.append(Change(old, new, judgement.evidence))
        if not new.sealed:
            settles_ms = min(settles_ms, settled_by_ms)
            deadline_ms = min(deadline_ms, judgement.wakes_ms if judgement.wakes_ms <= new.seal_ms else NEVER_MS)
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


class _Standing(NamedTuple):
    """How one unit stands: as published before, and now; without a judgement what was final stays."""

    old: Verdict | None
    new: Verdict
    judgement: Judgement | None
    settled_by_ms: int = NEVER_MS


def _standings(case: Case, units: Units, catalogue: Catalogue, policy: Policy, clock: Clock) -> Iterator[_Standing]:
    """Yield how every unit of a case stands, in order of sign and unit."""
    standings: dict[str, list[_Standing]] = {name: [] for name in catalogue}
    published: dict[tuple[str, str], Verdict] = {}
    has_final = False
    for verdict in case.verdicts:
        published[verdict.sign, verdict.unit] = verdict
        if verdict.sealed and verdict.sign in standings:
            has_final = True
            standings[verdict.sign].append(_Standing(verdict, verdict, None))
    for unit, signs in _signs_by_unit(catalogue).items():
        for unit_id in units.ids(unit):
            before = [published.get((sign.name, unit_id)) for sign in signs] if published else [None] * len(signs)
            if has_final and all(old is not None and old.sealed for old in before):
                continue
            folded = units.counted(unit, unit_id)
            if folded is None:
                continue
            at_hand = _UnitAtHand(unit, unit_id, folded, case, policy, clock)
            settles_ms = folded.settles_ms
            for sign, old in zip(signs, before, strict=True):
                if old is None or not old.sealed:
                    judgement, verdict = at_hand.judge(sign)
                    standings[sign.name].append(_Standing(old, _published(old, verdict), judgement, settles_ms))
    for its in standings.values():
        yield from sorted(its, key=_unit_of) if has_final and len(its) > 1 else its


def _signs_by_unit(catalogue: Catalogue) -> dict[Unit, list[VitalSign]]:
    """Return the kinds of units that are judged, each with its signs."""
    by_unit: dict[Unit, list[VitalSign]] = {}
    for sign in catalogue.values():
        by_unit.setdefault(sign.unit, []).append(sign)
    return by_unit


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
    if origin is None and (fact.topic, fact.type) == ("ticket", "erased") and case.closed != "erased":
        judged = assess(case, catalogue, policy, Clock.at(fact.delivered_ms)).case
        return close(judged, "erased", case, fact.delivered_ms + policy.memory_ms), "applied"
    new, reception = case.advance(fact, origin)
    if len(new.facts) > policy.facts_per_case:
        judged = assess(new, catalogue, policy, Clock(case.judged_ms, 0)).case  # so that all its units are counted
        return close(judged, "overflow", case), reception
    return new, reception


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


def _unit_of(standing: _Standing) -> str:
    return standing.new.unit


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
        self._folded: dict[tuple[Unit, str], Folded] = {}

    def ids(self, unit: Unit) -> list[str]:
        """Return the ids of the units of one kind that any fact makes, in order."""
        if unit.kind == "case":
            return [] if self._case.is_forgotten else [self._case.case_id]
        return sorted(self.own_evidence().units(unit.kind))

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
        latest_ms = max((folded.last_counted_ms for folded in self._folded.values()), default=-1)
        return frozenset(fact.event_id for fact in self._case.facts if fact.delivered_ms > latest_ms)

    def stack(self, unit: Unit) -> FactStack:
        """Return the facts that may count for a unit of this kind."""
        return self._all if unit.relayed else self._own

    def fold(self, unit: Unit, unit_id: str) -> Folded:
        """Return what counts for one unit."""
        key = unit, unit_id
        if key not in self._folded:
            self._folded[key] = fold(self.stack(unit), unit.seal, unit_id, self._policy)
        return self._folded[key]


def judge_unit(
    sign: VitalSign, unit_id: str, folded: Folded, case: Case, policy: Policy, clock: Clock
) -> tuple[Judgement, Verdict]:
    """Judge one unit by its sign, no later than its seal (rule 4), and name the verdict."""
    return _UnitAtHand(sign.unit, unit_id, folded, case, policy, clock).judge(sign)


class _UnitAtHand:
    """One unit while its signs judge it: what is the same for all of them is found out once."""

    __slots__ = (
        "_at_ms",
        "_begins_late",
        "_case",
        "_clock",
        "_evidence",
        "_policy",
        "_scopes",
        "_seal_ms",
        "_sealed",
        "_unit",
        "_unit_id",
    )

    def __init__(self, unit: Unit, unit_id: str, folded: Folded, case: Case, policy: Policy, clock: Clock) -> None:
        self._unit = unit
        self._unit_id = unit_id
        self._case = case
        self._clock = clock
        self._evidence = folded.evidence
        self._policy = policy.of(folded.evidence.opened)
        self._seal_ms = folded.seal_ms
        # A fact may give a seal that lies before its own delivery, and another delivered in between may be on its way.
        self._sealed = folded.settles_ms <= clock.settled_ms
        self._at_ms = min(clock.now_ms, folded.seal_ms)
        self._begins_late = before_start(self._evidence, self._policy)
        self._scopes: dict[tuple[bool, tuple[str, ...]], Judgement | None] = {}

    def judge(self, sign: VitalSign) -> tuple[Judgement, Verdict]:
        """Judge the unit by one sign, and name the verdict."""
        sealed = self._sealed
        judgement = self._begins_late or self._out_of_scope(sign)
        if judgement is None:
            try:
                judgement = sign.judge(self._evidence, self._unit_id, self._at_ms, self._policy)
            except Exception:  # noqa: BLE001 - a judge that fails costs its own verdict, never the partition
                judgement = Judgement("excluded", "error")
        if judgement.silent_topics and not sealed and _is_unheard(judgement, self._clock):
            judgement = Judgement("pending", SOURCE_SILENT, None, judgement.evidence, since_ms=judgement.since_ms)
        outcome, reason = judgement.outcome, judgement.reason
        if outcome == "pending" and sealed:
            outcome, reason = "excluded", f"{UNKNOWN_AT_SEAL}{reason}"
        name: VerdictName = outcome if outcome != "hit" else "final_hit" if sealed else "provisional_hit"
        anchor_ms = judgement.anchor_ms
        return judgement, Verdict(
            sign.name,
            self._unit_id,
            name,
            reason,
            _beginning_ms(self._case, self._evidence) if anchor_ms is None else anchor_ms,
            self._seal_ms,
            sealed,
            due_ms=judgement.due_ms if outcome == "pending" else NEVER_MS,
            since_ms=None if sealed else judgement.since_ms,
            measured=judgement.measured,
        )

    def _out_of_scope(self, sign: VitalSign) -> Judgement | None:
        asked = sign.needs_opening, sign.kinds
        if asked not in self._scopes:
            self._scopes[asked] = out_of_scope(
                self._evidence, self._unit, needs_opening=sign.needs_opening, kinds=sign.kinds
            )
        return self._scopes[asked]


def _is_unheard(judgement: Judgement, clock: Clock) -> bool:
    """Whether a miss is proven by the silence of a topic that was dead by then (rule 6)."""
    by_ms = judgement.anchor_ms or 0
    return any(by_ms > clock.silent_since_ms.get(topic, NEVER_MS) for topic in judgement.silent_topics)


def _beginning_ms(case: Case, evidence: Evidence) -> int:
    """Return when a unit without a decisive instant began: the opening of its case, else the first fact."""
    first = evidence.opened or (evidence.facts[0] if evidence.facts else case.facts[0])
    return first.at_ms


def _published(old: Verdict | None, new: Verdict) -> Verdict:
    """Return the verdict to keep: with the next sequence number only if something a reader acts on has changed.

    The very same one comes back if nothing has.
    """
    if old is None:
        return new
    following = new
    if old.sequence or old.retracted:
        following = msgspec.structs.replace(new, sequence=old.sequence, retracted=old.retracted)
    if following == old:
        return old
    if published_of(new) == published_of(old):
        return following
    taken_back = old.decided and not (new.decided and (new.verdict == "miss") == (old.verdict == "miss"))
    return msgspec.structs.replace(following, sequence=old.sequence + 1, retracted=old.retracted or taken_back)


def published_of(verdict: Verdict) -> tuple[object, ...]:
    """Return what a reader acts on: a verdict that differs in it is published under the next number."""
    return verdict.verdict, verdict.reason, verdict.anchor_ms, verdict.sealed, verdict.measured


def _segment(evidence: Evidence) -> Segment:
    opened = evidence.opened
    if opened is None:
        return Segment()
    stated = {name: opened.text(name) or "unknown" for name in Segment.__struct_fields__}
    return Segment(**stated)
