"""Transitions: what a record to be written changes of what was published, and how that is announced from it.

What is announced is read from the record, at first and again: what could not be announced before a crash is announced
afterwards from the same record, under the same number and with the same content.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import msgspec

from cxstream.domain.cases import Case, Segment, Transition, Withdrawn
from cxstream.domain.effective import effective, world_order
from cxstream.domain.policy import Policy
from cxstream.domain.verdict import Announced, Verdict
from cxstream.engine.assess import Catalogue, Clock, Units, judge_unit, published_of

NO_UNIT = "no_unit"
"""Why a verdict is withdrawn: by what was delivered in time, the unit is none."""
MOST_EVIDENCE = 100
"""More event ids are left out of an announcement, the last ones."""

Key = tuple[str, str]
"""(sign, unit)"""


class Announcement(NamedTuple):
    """One change of a published verdict, for systems that act on it. (case, unit, sign, sequence) names it for ever."""

    case_id: str
    kind: str
    """Of the unit: case, visit, commitment or line."""
    unit: str
    sign: str
    sequence: int
    old: tuple[Announced, str] | None
    """The verdict before and its reason; None for the first of its unit and sign."""
    announced: Announced
    reason: str
    verdict: Verdict
    """The verdict published, or of a unit that is none the one that is withdrawn."""
    evidence: tuple[str, ...]
    """Event ids the verdict rests on, in event-time order."""
    account_ref: str | None
    """The customer's account, as the opening of the case states it."""
    segment: Segment
    judged_ms: int
    """Clock reading of the judgement; of a case that was closed, of the last one before. 0: there was none."""


def to_write(old: Case | None, new: Case, catalogue: Catalogue) -> Case:
    """Return a record as it is to be written over another: its verdicts numbered without a gap, its transitions noted.

    A batch may judge a case more than once before it is written, so only what was written counts as published. A unit
    whose verdicts were forgotten begins anew at a number that none of them had.
    """
    if new is old:
        return new
    before: dict[Key, Verdict | Withdrawn] = {}
    if old is not None:
        before = {(was.verdict.sign, was.verdict.unit): was for was in old.withdrawn}
        before |= {(was.sign, was.unit): was for was in old.verdicts}
    first = new.judged_ms if new.is_forgotten else 0
    verdicts: list[Verdict] = []
    transitions: list[Transition] = []
    for index, verdict in enumerate(new.verdicts):
        was = before.pop((verdict.sign, verdict.unit), None)
        sequence, is_new = _numbered(verdict, was, first)
        if is_new:
            transitions.append(Transition(index, *_said(was)))
        retracted = verdict.retracted or (isinstance(was, Withdrawn) and was.verdict.retracted)
        is_as_judged = (sequence, retracted) == (verdict.sequence, verdict.retracted)
        verdicts.append(
            verdict if is_as_judged else msgspec.structs.replace(verdict, sequence=sequence, retracted=retracted)
        )
    withdrawn: list[Withdrawn] = []
    for was in before.values() if new.facts or new.verdicts else ():
        if isinstance(was, Withdrawn):
            withdrawn.append(was)
        elif was.sign in catalogue:
            transitions.append(Transition(len(verdicts) + len(withdrawn), *_said(was)))
            retracted = was.retracted or was.decided
            told = msgspec.structs.replace(was, sequence=was.sequence + 1, sealed=False, retracted=retracted)
            withdrawn.append(Withdrawn(told, is_no_unit=True))
        else:
            withdrawn.append(Withdrawn(was, is_no_unit=False))
    return msgspec.structs.replace(new, verdicts=verdicts, transitions=transitions, withdrawn=withdrawn)


def _numbered(verdict: Verdict, was: Verdict | Withdrawn | None, first: int) -> tuple[int, bool]:
    """Return the sequence number of a verdict after what was published before it, and whether it is a new one."""
    if was is None:
        return first, True
    if isinstance(was, Verdict):
        is_new = verdict.sequence != was.sequence
        return was.sequence + is_new, is_new
    is_new = was.is_no_unit or published_of(verdict) != published_of(was.verdict)
    return was.verdict.sequence + is_new, is_new


def _said(was: Verdict | Withdrawn | None) -> tuple[Announced, str] | tuple[()]:
    if was is None:
        return ()
    if isinstance(was, Verdict):
        return was.verdict, was.reason
    return ("withdrawn", NO_UNIT) if was.is_no_unit else (was.verdict.verdict, was.verdict.reason)


def announcements(
    case: Case, catalogue: Catalogue, policy: Policy, evidence: Mapping[Key, tuple[str, ...]] | None = None
) -> Iterator[Announcement]:
    """Yield what a record changes of what was published: the same at first and again.

    `evidence` is that of the verdicts which have just been judged; without it, they are judged once more, as they were.
    """
    if not case.transitions:
        return
    units = Units(case, policy) if evidence is None and case.facts else None
    account_ref = account_ref_of(case)
    for transition in case.transitions:
        index = transition.index - len(case.verdicts)
        verdict = case.verdicts[transition.index] if index < 0 else case.withdrawn[index].verdict
        sign = catalogue.get(verdict.sign)
        if sign is None:
            continue  # nobody can say what kind of unit it is about
        rests_on: tuple[str, ...] = ()
        if index < 0 and case.facts and evidence is not None:
            rests_on = evidence.get((verdict.sign, verdict.unit), ())
        elif index < 0 and units is not None:
            folded = units.fold(sign.unit, verdict.unit)
            clock = Clock.at(case.judged_ms)
            rests_on = judge_unit([sign], verdict.unit, folded, case, clock)[0][0].evidence
        yield Announcement(
            case.case_id,
            sign.unit.kind,
            verdict.unit,
            verdict.sign,
            verdict.sequence,
            None if transition.old is None else (transition.old, transition.old_reason),
            verdict.verdict if index < 0 else "withdrawn",
            verdict.reason if index < 0 else NO_UNIT,
            verdict,
            rests_on[:MOST_EVIDENCE],
            account_ref,
            case.segment,
            case.judged_ms,
        )


def account_ref_of(case: Case) -> str | None:
    """Return the account that the opening in force states; a case that holds no facts any more has none."""
    openings = [fact for fact in effective(case.facts) if fact.type == "opened" and fact.topic == "ticket"]
    return min(openings, key=world_order).text("account_ref") if openings else None
