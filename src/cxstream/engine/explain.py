"""Explain a case: what is known of it, what each verdict rests on, until when it can change and by what."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from cxstream.domain.cases import Case, Closing
from cxstream.domain.effective import META, Amended, Amendment, amended, world_order
from cxstream.domain.evidence import Evidence
from cxstream.domain.facts import Fact, Value
from cxstream.domain.folding import Folded, is_identity
from cxstream.domain.instant import NEVER_MS
from cxstream.domain.merging import absorptions, merge_ids, merging
from cxstream.domain.policy import Policy
from cxstream.domain.reasons import Reason
from cxstream.domain.scope import REASONS as OUT_OF_SCOPE
from cxstream.domain.units import CASE, Unit
from cxstream.domain.verdict import Judgement, Verdict, VerdictName
from cxstream.domain.vital_sign import VitalSign
from cxstream.domain.vocabulary import fields_of
from cxstream.engine.assess import REASONS as ANY_SIGN
from cxstream.engine.assess import UNKNOWN_AT_SEAL, Catalogue, Clock, Units, judge_unit

Key = tuple[str, str]
"""A fact of any case: the case it belongs to, and its event id."""


class Dropped(msgspec.Struct, frozen=True):
    """Copies of a fact that are not kept (rule 1)."""

    duplicates: int = 0
    conflicts: int = 0
    """Copies with another content."""


class CorrectedField(msgspec.Struct, frozen=True):
    """A field of a fact that a correction changed; None: it was, or is now, not stated."""

    field: str
    before: Value
    after: Value
    by: str
    """Event id of the correction."""


class LateFor(msgspec.Struct, frozen=True):
    """A unit that a fact came too late for, with the signs that might have heeded it and the seal (rule 3)."""

    kind: str
    unit: str
    signs: list[str]
    sealed_ms: int


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One fact of the timeline, as it stands with all corrections known."""

    case_id: str
    """The case it belongs to."""
    event_id: str
    topic: str
    type: str
    at_ms: int
    delivered_ms: int
    fields: dict[str, Value]
    """What it states, instants in milliseconds."""
    defaults: dict[str, Value]
    """Choices it does not state, with what then holds."""
    corrected: list[CorrectedField]
    voided_by: list[str]
    """Event ids of the voids that took it back."""
    late_for: list[LateFor]
    remarks: list[str]
    """What else a reader should know, in plain words."""
    counts: bool = True
    """Whether it counts for any unit of the case explained."""
    is_absorbed: bool = False
    """Whether the case it belongs to is merged into the one explained."""
    dropped: Dropped = Dropped()


class Witness(msgspec.Struct, frozen=True):
    """A fact that a verdict rests on, as it counts for that unit."""

    case_id: str
    event_id: str
    topic: str
    type: str
    at_ms: int


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict of one sign on one unit, and what there is to say about it."""

    sign: str
    title: str
    question: str
    kind: str
    """What the unit is: case, visit or commitment."""
    unit: str
    verdict: VerdictName
    final: bool
    reason: str
    why: str
    """The reason in plain words."""
    rules: tuple[int, ...]
    measured: str
    """What a sign that measures found, with its unit; empty where there is nothing of the kind."""
    evidence: list[Witness]
    silence_of: tuple[str, ...]
    """The topics whose silence up to the anchor is evidence too (rule 6)."""
    anchor_ms: int
    """The instant it is counted at; of a pending unit its beginning."""
    anchor_is: str
    """What that instant is, where none of the facts it rests on stands for it."""
    seals_at_ms: int
    """Facts delivered up to here count, as far as is known now."""
    due_ms: int | None
    """When a pending unit will be a miss unless what is missing happens."""
    missing: str
    decided_by_clock_ms: int | None
    """When the clock alone may decide a pending unit."""
    open_to: str
    """What could change it, if it is told by the seal; empty if it is final."""
    repeat_until_ms: int | None
    """What happens later is no repeat of the fault (rules 12 to 14); None where that plays no part."""


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """All there is to say about one case at a clock reading."""

    case_id: str
    as_of_ms: int
    zone: str
    """Time zone of the site."""
    closed: Closing | None
    """Why its facts are gone and no more are taken."""
    crowded_since_ms: int | None
    """Delivery time since which its asset has too many cases to tell a repeat."""
    timeline: list[Entry]
    """In event-time order."""
    verdicts: list[Explained]
    """By sign and unit."""


def explain(
    case: Case,
    catalogue: Catalogue,
    policy: Policy,
    clock: Clock,
    dropped: Mapping[Key, Dropped] = MappingProxyType({}),
) -> Explanation:
    """Explain a case at a clock reading; `dropped` counts the copies of its facts that were not kept, where known.

    A verdict that was published as final is shown as it was published.
    """
    units = Units(_owning_ids(case), policy)
    judged = list(_judged(case, units, catalogue, clock)) if case.facts else []
    opened = units.own_evidence().opened if case.facts else None
    return Explanation(
        case_id=case.case_id,
        as_of_ms=clock.now_ms,
        zone=str(opened.text("tz")) if opened else "UTC",
        closed=case.closed,
        crowded_since_ms=case.crowded_since_ms,
        timeline=_timeline(case, units, judged, policy, dropped),
        verdicts=_verdicts(case, judged, catalogue, policy),
    )


class _EventId(str):
    """An event id that knows whose it is: ids are unique within a case only, and judges name no case."""

    __slots__ = ("case_id",)
    case_id: str


def _owned(case_id: str, facts: Iterable[Fact]) -> list[Fact]:
    owned = []
    for fact in facts:
        event_id = _EventId(fact.event_id)
        event_id.case_id = case_id
        owned.append(msgspec.structs.replace(fact, event_id=event_id))
    return owned


def _owning_ids(case: Case) -> Case:
    relayed = {origin: _owned(origin, facts) for origin, facts in case.relayed.items()}
    return msgspec.structs.replace(case, facts=_owned(case.case_id, case.facts), relayed=relayed)


def _key(event_id: str) -> Key:
    return (event_id.case_id if isinstance(event_id, _EventId) else "", str(event_id))


class _Judged(NamedTuple):
    """One unit judged anew from its facts by one sign."""

    sign: VitalSign
    verdict: Verdict
    judgement: Judgement
    folded: Folded


def _judged(case: Case, units: Units, catalogue: Catalogue, clock: Clock) -> Iterator[_Judged]:
    for sign in catalogue.values():
        for unit_id, folded in units.of(sign.unit):
            for judgement, _old, verdict in judge_unit([sign], unit_id, folded, case, clock):
                yield _Judged(sign, verdict, judgement, folded)


def _verdicts(case: Case, judged: Sequence[_Judged], catalogue: Catalogue, policy: Policy) -> list[Explained]:
    """Explain what was published as final as it was published, and everything else as it is judged now."""
    by_unit = {(one.sign.name, one.verdict.unit): one for one in judged}
    for final in case.verdicts:
        if final.sealed and final.sign in catalogue:
            anew = by_unit.get((final.sign, final.unit))
            if anew is None or anew.verdict.reason != final.reason:
                anew = _Judged(catalogue[final.sign], final, Judgement("pending", final.reason), _NOTHING)
            by_unit[final.sign, final.unit] = anew._replace(verdict=final)
    return [_explained(by_unit[key], policy) for key in sorted(by_unit)]


def _explained(one: _Judged, policy: Policy) -> Explained:
    sign, verdict, judgement, folded = one
    policy = policy.of(folded.evidence.opened)
    reason = reason_of(sign, verdict.reason).told(policy)
    known = [*folded.evidence.facts, *(other.opened for other in folded.evidence.others if other.opened)]
    by_key = {_key(fact.event_id): fact for fact in known}
    until_ms = verdict.anchor_ms + policy.repeat_window_ms if reason.in_repeat_window and not verdict.sealed else None
    return Explained(
        sign=sign.name,
        title=sign.title,
        question=sign.question,
        kind=sign.unit.kind,
        unit=verdict.unit,
        verdict=verdict.verdict,
        final=verdict.sealed,
        reason=verdict.reason,
        why=reason.sentence,
        rules=reason.rules,
        measured=sign.measure.told(verdict.measured) if sign.measure and verdict.measured is not None else "",
        evidence=[_witness(by_key[key]) for key in dict.fromkeys(map(_key, judgement.evidence)) if key in by_key],
        silence_of=judgement.silent_topics if verdict.verdict == "miss" else (),
        anchor_ms=verdict.anchor_ms,
        anchor_is=reason.counted_at,
        seals_at_ms=verdict.seal_ms,
        due_ms=_if_ever(verdict.due_ms),
        missing=sign.missing if verdict.due_ms < NEVER_MS else "",
        decided_by_clock_ms=_if_ever(judgement.wakes_ms) if verdict.verdict == "pending" else None,
        open_to="" if verdict.sealed else reason.open_to,
        repeat_until_ms=until_ms,
    )


def reason_of(sign: VitalSign, code: str) -> Reason:
    """Return a reason in plain words; one that nobody has put into words stands for itself."""
    if code.startswith(UNKNOWN_AT_SEAL):
        pending = reason_of(sign, code.removeprefix(UNKNOWN_AT_SEAL))
        sentence = f"It was still undecided when it was sealed, so it is left out: {pending.sentence}"
        return Reason(sentence, tuple(sorted({4, *pending.rules})))
    unworded = Reason(code.replace("_", " ") + ".", ())
    return sign.reasons.get(code) or OUT_OF_SCOPE.get(code) or ANY_SIGN.get(code) or unworded


def _witness(fact: Fact) -> Witness:
    case_id, event_id = _key(fact.event_id)
    return Witness(case_id, event_id, fact.topic, fact.type, fact.at_ms)


def _if_ever(instant_ms: int) -> int | None:
    return instant_ms if instant_ms < NEVER_MS else None


class _Fold(NamedTuple):
    """What counts for one unit, and what came too late for it."""

    unit: Unit
    unit_id: str
    signs: list[VitalSign]
    seal_ms: int
    late: AbstractSet[Key]

    def missed(self, key: Key, about: Fact) -> LateFor | None:
        """Return the unit with the signs that a fact came too late for, None if it could not have mattered.

        `about` is the fact itself, or the one it amends. It matters to the case as a whole, to the visit or commitment
        it names, and if it names none to those that were not sealed yet when it happened.
        """
        signs = [sign.name for sign in self.signs if about.topic in sign.topics]
        if key not in self.late or not signs:
            return None
        if self.unit is not CASE:
            named = about.fields.get(f"{self.unit.kind}_id")
            if named != self.unit_id and (named is not None or about.at_ms > self.seal_ms):
                return None
        return LateFor(self.unit.kind, self.unit_id, signs, self.seal_ms)


def _folds(units: Units, judged: Sequence[_Judged]) -> list[_Fold]:
    folds: dict[tuple[Unit, str], _Fold] = {}
    for sign, verdict, _judgement, folded in judged:
        unit = sign.unit
        if (unit, verdict.unit) not in folds:
            keys = [_key(event_id) for event_id in units.stack(unit).event_ids()]
            late = frozenset(keys) - frozenset(keys[: folded.counted])
            folds[unit, verdict.unit] = _Fold(unit, verdict.unit, [], folded.seal_ms, late)
        folds[unit, verdict.unit].signs.append(sign)
    return list(folds.values())


def _timeline(
    case: Case, units: Units, judged: Sequence[_Judged], policy: Policy, dropped: Mapping[Key, Dropped]
) -> list[Entry]:
    """Return the own facts and those of other cases that may count here, in event-time order."""
    folds = _folds(units, judged)
    late_for_all = units.late_event_ids()
    heard = {_key(event_id) for event_id in units.stack(CASE).event_ids()}
    merges = {origin: merging(origin, facts, policy) for origin, facts in case.relayed.items()}
    history = absorptions(case.case_id, merges, policy)
    absorbed = history[-1].since_ms if history else {}
    told: list[tuple[Fact, Entry]] = []
    for origin, facts in {case.case_id: case.facts, **case.relayed}.items():
        merges_in_force = merge_ids(merging(origin, facts, policy))
        known = amended(facts)
        for fact in facts:
            key, now = (origin, fact.event_id), known.current[fact.event_id]
            about = known.current.get(now.target, now) if now.type in META else now
            is_known = fields_of(fact.topic, fact.type) is not None
            late_for = [missed for fold in folds if is_known and (missed := fold.missed(key, about))]
            remarks = list(_remarks(now, known, merges_in_force))
            if origin == case.case_id:
                counts = fact.event_id not in late_for_all
            elif key not in heard:
                continue
            else:
                counts = not late_for and (is_identity(fact) or origin in absorbed)
                if not counts and not late_for:
                    remarks.append("its case is not merged into this one any more, so it does not count here")
            entry = _entry(origin, fact, known, late_for, remarks)
            entry = msgspec.structs.replace(
                entry, counts=counts, is_absorbed=origin in absorbed, dropped=dropped.get(key, Dropped())
            )
            told.append((now, entry))
    return [entry for _now, entry in sorted(told, key=lambda one: (world_order(one[0]), one[1].case_id))]


def _entry(origin: str, fact: Fact, known: Amended, late_for: list[LateFor], remarks: list[str]) -> Entry:
    now = known.current[fact.event_id]
    voids = [] if fact.type in META else [void.event_id for void in known.voids if void.target == fact.event_id]
    return Entry(
        case_id=origin,
        event_id=fact.event_id,
        topic=fact.topic,
        type=fact.type,
        at_ms=now.at_ms,
        delivered_ms=fact.delivered_ms,
        fields=now.fields,
        defaults=_defaults(now),
        corrected=[change for amendment in known.amendments for change in _changes(fact, amendment)],
        voided_by=voids,
        late_for=late_for,
        remarks=remarks,
    )


def _defaults(fact: Fact) -> dict[str, Value]:
    """Return the choices a fact does not state, with what then holds."""
    declared = fields_of(fact.topic, fact.type) or {}
    return {
        name: field.default
        for name, field in declared.items()
        if field.kind in ("choice", "zone") and field.default is not None and name not in fact.fields
    }


def _changes(fact: Fact, amendment: Amendment) -> Iterator[CorrectedField]:
    """Yield what an amendment changed, if it is one of this fact."""
    correction, before, after = amendment
    if after.event_id != fact.event_id:
        return
    if before.at_ms != after.at_ms:
        yield CorrectedField("at", before.at_ms, after.at_ms, correction.event_id)
    for name in sorted(before.fields.keys() | after.fields.keys()):
        if before.fields.get(name) != after.fields.get(name):
            yield CorrectedField(name, before.fields.get(name), after.fields.get(name), correction.event_id)


def _remarks(fact: Fact, known: Amended, merges_in_force: AbstractSet[str]) -> Iterator[str]:
    if fields_of(fact.topic, fact.type) is None:
        yield "its type is not known here, so it decides nothing"
    if fact.type == "merged" and fact.event_id not in merges_in_force:
        yield "it reached us after its own case was sealed, so the merge is not in force"
    if fact.type in META:
        target = known.current.get(fact.target)
        if target is None:
            yield "the event it names is not known"
        elif fact.type == "voided" and target.type in META:
            yield "corrections and voids cannot be voided, so it takes nothing back"
        elif fact.type == "corrected" and not any(
            change
            for amendment in known.amendments
            if amendment.correction.event_id == fact.event_id
            for change in _changes(amendment.after, amendment)
        ):
            yield "it changes nothing"


_NOTHING = Folded(Evidence(()), 0, 0, 0, Policy(), 0)
"""What is left to show of a unit whose facts are gone."""
