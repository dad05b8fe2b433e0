"""The audit of a run: what the scrapes say against the independent oracle, and what must hold at every instant.

What a scrape may say is defined so: for every partition the ready owner of the highest generation is believed, and of
it exactly what its case records have taken in. Which facts those are is read from the records, and held from both
sides: whatever was acknowledged must be in them, and nothing may be in them that was not sent to this case or to one
that concerns it. What follows from those facts is the oracle's word, at the partition's clock; what is sealed is sealed
only if the group has come so far. When everything is delivered and nothing goes wrong any more, the facts are all.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from faust.types import TP

from cxstream.domain.cases import Case
from cxstream.domain.facts import Fact, RejectedError
from cxstream.domain.instant import NEVER_MS
from cxstream.domain.verdict import Verdict
from cxstream.engine.boards import Board
from cxstream.engine.journey import journey
from cxstream.engine.ledger import BEYOND, MEASURED, TOTAL, Level, Windows
from cxstream.exposition.snapshot import PartitionSnapshot, WorkerSnapshot
from cxstream.kafka.changelog_table import Stamp
from cxstream.kafka.records import read_board, read_case, read_relay
from cxstream.offline.events_file import read_event
from cxstream.vital_signs import CATALOGUE
from oracle import evaluator
from oracle.histories import Event, rfc3339
from parts.verdicts import Consumer, Message, decode_plain
from simulation.log import Brokers
from simulation.world import LISTED_PRODUCTS, LONGEST_WINDOW_MS, STATED_EARLY_MS

ALWAYS = 2**62
CASE_SIGNS = {*evaluator.CASE_JUDGES, *evaluator.RESPONSE_SIGNS}
CLOCK_SIGNS = {*evaluator.RESPONSE_SIGNS, "no_silence", "commitment_kept"}
"""Where they are pending, nothing but an event that saves them keeps the clock from making a miss of them."""
BUCKET_MS = 5 * 60 * 1000
Key = tuple[str, str]
"""(sign, unit)"""
Left = Counter[tuple[str, str, bool, int | None]]
"""What is left of a closed case: sign, verdict, whether the closing excluded it, and the anchor if it is decided."""
Figures = Counter[tuple[str, str, str, str, str, str]]
"""Units by sign, level, segment, window, state and detail."""


class Sent(NamedTuple):
    """One event as it stands in a source topic."""

    case_id: str
    event: Event
    """With the delivery time as `seen`."""
    fact: Fact | None
    """What the product makes of it; None if it is rejected."""
    admitted: bool
    """Whether the oracle admits it."""


class Counted(NamedTuple):
    """One published verdict with all that decides where it is counted."""

    sign: str
    state: str
    detail: str
    anchor_ms: int
    retracted: bool
    due_ms: int
    """When a pending unit will be a miss (rule 26)."""
    measured: int | None
    region: str
    product: str


class Closing(NamedTuple):
    """A case as it was when a fact was processed that closed it."""

    case: Case
    fact: Fact


class Unit(NamedTuple):
    """One unit of a case as the oracle sees it: everything but the clock."""

    view: evaluator.View
    seal_ms: int
    judge: Callable[[evaluator.View, int], evaluator.Judgement]
    scope: evaluator.Judgement | None


class Oracle:
    """The plain evaluator, asked for one case at a time; what does not depend on the clock is remembered."""

    def __init__(self, policy: dict[str, Any]) -> None:
        self._policy = policy
        self._units: dict[tuple[str, frozenset[int]], dict[Key, Unit]] = {}
        self._facts: dict[int, evaluator.Fact] = {}

    def units(self, case_id: str, events: Sequence[Event]) -> dict[Key, Unit]:
        """Return every unit of a case, given the events known there; each is delivered as `seen` says."""
        key = case_id, frozenset(map(id, events))
        if key not in self._units:
            facts = [self._fact(event) for event in events]
            self._units[key] = dict(self._units_of(case_id, facts))
        return self._units[key]

    def segment(self, case_id: str, events: Sequence[Event]) -> tuple[str, str]:
        """Return region and product of a case."""
        own = [self._fact(event) for event in events if event["case_id"] == case_id]
        opened = evaluator.opened_of(evaluator.effective(own))
        if opened is None:
            return "unknown", "unknown"
        product = str(opened.get("product", "unknown"))
        listed = product in LISTED_PRODUCTS or product == "unknown"
        return str(opened.get("region", "unknown")), product if listed else "__other__"

    def _fact(self, event: Event) -> evaluator.Fact:
        if id(event) not in self._facts:
            self._facts[id(event)] = evaluator.fact_of(event, evaluator.parse_time(event["seen"]))
        return self._facts[id(event)]

    def _units_of(self, case_id: str, facts: list[evaluator.Fact]) -> Iterator[tuple[Key, Unit]]:
        """Fold what `evaluate` folds, but on all these facts, whatever the clock says."""
        policy = self._policy
        own = [fact for fact in facts if fact.case_id == case_id]
        if not own:
            return
        view = evaluator.fold_case(facts, case_id, ALWAYS, policy)
        seal = evaluator.case_seal(view)
        assert seal is not None
        for sign, judge in evaluator.CASE_JUDGES.items():
            yield (sign, case_id), Unit(view, seal, judge, evaluator.scope_of_case(view, sign))
        for sign in evaluator.RESPONSE_SIGNS:
            yield (sign, case_id), self._response(facts, case_id, sign)
        for visit_id in evaluator.visit_ids((*own, *evaluator.effective(own))):
            seal_of = partial(_visit_seal, visit_id)
            view = evaluator.fold_own(facts, case_id, ALWAYS, policy, seal_of)
            if visit_id in evaluator.visit_ids((*view.counted, *view.own)):
                for sign, judge in evaluator.VISIT_JUDGES.items():
                    judged = partial(_judge_visit, judge, visit_id)
                    yield (sign, visit_id), Unit(view, seal_of(view), judged, evaluator.scope_of_any(view))
        for commitment_id in sorted(_made_in(own) | _made_in(evaluator.effective(own))):
            seal_of = partial(_commitment_seal, commitment_id)
            view = evaluator.fold_own(facts, case_id, ALWAYS, policy, seal_of)
            if commitment_id in _made_in(view.counted) | _made_in(view.own):
                judged = partial(_judge_commitment, commitment_id)
                yield (
                    ("commitment_kept", commitment_id),
                    Unit(view, seal_of(view), judged, evaluator.scope_of_any(view)),
                )

    def _response(self, facts: list[evaluator.Fact], case_id: str, sign: str) -> Unit:
        view = evaluator.fold_own(
            facts, case_id, ALWAYS, self._policy, lambda known: evaluator.response_seal(known, sign)
        )
        horizon = max(fact.delivered for fact in view.counted)
        view = replace(view, merges=evaluator.merges_in_force(facts, horizon, self._policy))
        return Unit(
            view,
            evaluator.response_seal(view, sign),
            lambda known, clock: evaluator.judge_response(known, sign, clock),
            evaluator.scope_of_case(view, sign),
        )


def _visit_seal(visit_id: str, view: evaluator.View) -> int:
    seal_ms: int = evaluator.visit_seal(view, visit_id)
    return seal_ms


def _judge_visit(judge: Any, visit_id: str, view: evaluator.View, clock_ms: int) -> evaluator.Judgement:  # noqa: ANN401
    judgement: evaluator.Judgement = judge(view, visit_id, clock_ms)
    return judgement


def _commitment_seal(commitment_id: str, view: evaluator.View) -> int:
    seal_ms: int = evaluator.commitment_seal(view, commitment_id)
    return seal_ms


def _judge_commitment(commitment_id: str, view: evaluator.View, clock_ms: int) -> evaluator.Judgement:
    return evaluator.judge_commitment_kept(view, commitment_id, clock_ms)


def _made_in(facts: Iterable[evaluator.Fact]) -> set[str]:
    return {str(f.get("commitment_id")) for f in facts if f.is_("ticket", "commitment_made") and f.get("commitment_id")}


def expected(unit: Unit, now_ms: int, *, sealed: bool) -> tuple[str, int | None]:
    """Return the verdict the oracle gives at a clock reading, and the anchor if it is decided."""
    judgement = unit.scope or unit.judge(unit.view, min(now_ms, unit.seal_ms))
    verdict: str = judgement.verdict
    anchor_ms = judgement.anchor if verdict in ("hit", "miss") else None
    if verdict == "hit":
        verdict = "final_hit" if sealed else "provisional_hit"
    elif verdict == "pending" and sealed:
        verdict = "excluded"
    return verdict, anchor_ms


def _identity(case_id: str, fact: Fact) -> tuple[str, str, int, bytes]:
    return case_id, fact.event_id, fact.delivered_ms, fact.payload()


class Book:
    """What was sent to the source topics, and who knows it since when."""

    def __init__(
        self,
        brokers: Brokers,
        group: str,
        policy: dict[str, Any],
        *,
        facts_per_case: int,
        residue_key: Callable[[bytes], bytes],
        verdicts: str,
    ) -> None:
        self._brokers = brokers
        self.group = group
        self.verdicts = verdicts
        self._policy = policy
        self._facts_per_case = facts_per_case
        self._residue_key = residue_key
        self.oracle = Oracle(policy)
        self.closings: defaultdict[str, list[Closing]] = defaultdict(list)
        """By case: what it knew whenever a worker processed a fact that closed it."""
        self.residues: dict[str, str] = {}
        """By the key of its residue, each case that was sent."""
        self.left: dict[str, Case | None] = {}
        """By the key of a residue of an erased case: its record, None once it has expired."""
        self.sent: dict[TP, dict[int, Sent]] = {}
        self.by_fact: dict[tuple[str, str, int, bytes], Event] = {}
        self.finals: dict[tuple[str, str, str], tuple[str, int, int]] = {}
        self._newest: dict[int, Stamp] = {}
        """The highest stamp in the changelog of each partition."""
        self.known: dict[str, dict[str, int]] = {}
        """By case: event ids some record of it has held, with the earliest delivery."""
        self.posted: set[tuple[str, str, str]] = set()
        """(asset or case told, case told of, event id) of everything in the relay topics."""
        self.written: defaultdict[TP, set[str]] = defaultdict(set)
        """Cases that ever had a record, by changelog partition."""
        self.trusted: frozenset[str] = frozenset()
        """Topics whose records state when they were delivered: a little before they stand in the log."""
        self.closed: set[str] = set()
        """Cases that were erased or had too many facts."""
        self.gone: set[str] = set()
        """Cases that were closed or forgotten: they hold no facts any more."""
        self.published: dict[tuple[int, str, str, str], int] = {}
        """By partition, case, sign and unit: the highest sequence number in the changelog."""
        self.announced: defaultdict[int, Consumer] = defaultdict(Consumer)
        """By partition: what a consumer of the topic of verdicts has read."""
        self.findings: list[str] = []
        self._read: dict[TP, int] = {}
        self._checked: dict[TP, int] = {}

    def find(self, text: str) -> None:
        """Note something that must not be."""
        if len(self.findings) < 20:
            self.findings.append(text)

    def record(self, tp: TP, offset: int, event: Event, delivered_ms: int) -> None:
        """Note an event that was written to a source topic."""
        seen = {**event, "seen": rfc3339(delivered_ms)}
        fact: Fact | None = None
        try:
            fact = read_event(seen, self._policy["clock_skew_ms"]).fact
        except RejectedError:
            pass
        else:
            self.by_fact.setdefault(_identity(event["case_id"], fact), seen)
            self.by_fact.setdefault(_identity(event["case_id"], fact.told()), seen)  # as other cases know it
        self.residues[self.residue_of(event["case_id"])] = event["case_id"]
        admitted = bool(evaluator.admit([seen], ALWAYS, self._policy)[0])
        if admitted != (fact is not None):
            self.find(f"admitted by one only: {seen}")
        self.sent.setdefault(tp, {})[offset] = Sent(event["case_id"], seen, fact, admitted)

    def residue_of(self, case_id: str) -> str:
        """Return the key under which an erased case is remembered."""
        return self._residue_key(case_id.encode()).decode()

    def aborted(self, tp: TP, offsets: Iterable[int]) -> None:
        """Forget what an aborted transaction had written."""
        for offset in offsets:
            self.sent[tp].pop(offset, None)

    def events_of(self, case_id: str, facts: Iterable[Fact]) -> list[Event]:
        """Return the events that facts of a record were made of; each must have been sent."""
        events = []
        for fact in facts:
            event = self.by_fact.get(_identity(case_id, fact))
            if event is None:
                self.find(f"{case_id} holds a fact that was never sent: {fact}")
            else:
                events.append(event)
        return events

    def whole(self) -> dict[str, list[Event]]:
        """Return for each case all admitted events of the cases that are tied to it, each in the copy that counts."""
        kept: dict[tuple[str, str], tuple[int, str, Event]] = {}
        for sent in (sent for offsets in self.sent.values() for sent in offsets.values() if sent.admitted):
            copy = evaluator.parse_time(sent.event["seen"]), evaluator.canonical_payload(sent.event), sent.event
            name = sent.case_id, sent.event["event_id"]
            kept[name] = min(copy, kept.get(name, copy), key=lambda one: one[:2])
        groups: dict[str, set[str]] = {}
        for (case_id, _), (_, _, event) in kept.items():
            tied = {f"case {case_id}"}
            for holder in (event, event.get("set")):
                if isinstance(holder, dict):
                    tied |= {f"asset {holder[name]}" for name in ("asset_id", "replaced_by") if holder.get(name)}
                    tied |= {f"case {holder['into']}"} if holder.get("into") else set()
            for other in [groups[name] for name in tied if name in groups]:
                tied |= other
            groups.update(dict.fromkeys(tied, tied))
        return {
            case_id: [event for (of, _), (_, _, event) in kept.items() if f"case {of}" in groups[f"case {case_id}"]]
            for case_id in {of for of, _ in kept}
        }

    # --- what is written

    def heard(self, tp: TP) -> None:
        """Look at what was just written to a topic of the service's own."""
        if tp.topic == self.verdicts:
            self._announcements_written(tp)
        if tp.topic not in (f"{self.group}-{name}" for name in ("cases-changelog", "assets", "relays")):
            return
        log = self._brokers.logs[tp]
        for stored in log.read(self._read.get(tp, 0), 1_000_000)[0]:
            key = (stored.key or b"").decode()
            if tp.topic.endswith("-cases-changelog"):
                self.written[tp].add(key)
                stamp = Stamp.of(stored)
                newest = self._newest[tp.partition] = max(stamp, self._newest.get(tp.partition, stamp))
                self._record_written(tp.partition, key, stored.value, is_set_aside=stamp < newest)
            else:
                relay = read_relay(stored.value)
                self.posted |= {(key, relay.origin, fact.event_id) for fact in relay.facts}
        self._read[tp] = log.end

    def _announcements_written(self, tp: TP) -> None:
        """Hold messages against the contract, and against the changelog: what is announced was written before."""
        log = self._brokers.logs[tp]
        for stored in log.read(self._read.get(tp, 0), 1_000_000)[0]:
            for wrong in self.announced[tp.partition].broken([(stored.key, stored.value)]):
                self.find(f"{tp} {stored.offset}: {wrong}")
            message = decode_plain(stored.value or b"")
            if not self._is_written(tp.partition, message):
                self.find(f"{tp} {stored.offset} announces what was never written: {message}")
        self._read[tp] = log.end

    def _is_written(self, number: int, message: Message) -> bool:
        """Whether some record in the changelog has published what a message says."""
        key = message["case_id"], message["sign"], message["unit"]
        return message["sequence"] <= self.published.get((number, *key), -1)

    def tells(self, number: int, cases: Iterable[Case]) -> None:
        """Hold what a consumer was told last of every unit against the records of a partition, nothing under way."""
        named = (case for case in cases if case.case_id not in self.residues)
        for difference in self.announced[number].differences(named):
            self.find(f"partition {number}: {difference}")

    def _record_written(self, number: int, case_id: str, value: bytes | None, *, is_set_aside: bool) -> None:
        """Hold a record against those before it; one that an owner of old wrote late is set aside, and ends nothing."""
        if case_id in self.residues:
            self._residue_written(case_id, value)
        if value is None:
            self.gone.add(case_id)
            if self.left.get(self.residue_of(case_id)) is None:  # what comes now begins it anew
                self.announced[number].forget(self.residues.get(case_id, case_id))
            return
        case = read_case(value)
        for one in (*case.verdicts, *(one.verdict for one in case.withdrawn)):
            unit = number, case_id, one.sign, one.unit
            self.published[unit] = max(one.sequence, self.published.get(unit, 0))
        if len(case.facts) > self._facts_per_case:
            self.find(f"{case_id} is kept with {len(case.facts)} facts, more than {self._facts_per_case}")
        if case.closed is not None:
            self.closed.add(case_id)
        if case.closed == "overflow":
            self._overflow_written(case)
        if case.closed is not None or case.is_forgotten:
            self.gone.add(case_id)
        known = self.known.setdefault(case_id, {})
        for fact in case.facts:
            known[fact.event_id] = min(fact.delivered_ms, known.get(fact.event_id, fact.delivered_ms))
        if is_set_aside:
            return
        for verdict in case.verdicts:
            key = verdict.sign, case_id, verdict.unit
            final = self.finals.get(key)
            said = verdict.verdict, verdict.anchor_ms, verdict.seal_ms
            if final is not None and case_id not in self.gone and (not verdict.sealed or final != said):
                self.find(f"final verdict changed: {key} was {final}, is {said}, sealed {verdict.sealed}")
            if verdict.sealed:
                if final is None and case.closed is None:
                    self._is_settled(key, verdict.seal_ms)
                self.finals[key] = said

    def _is_settled(self, key: tuple[str, str, str], seal_ms: int) -> None:
        """Hold what is final against what was delivered by its seal, and is taken nowhere in the group yet (rule 4)."""
        for tp, offsets in self.sent.items():
            for number, sent in offsets.items():
                if sent.fact is None or sent.fact.delivered_ms > seal_ms or self.may_be_refused(sent):
                    continue
                if sent.fact.event_id not in self.known.get(sent.case_id, ()):
                    self.find(f"{key} is final, sealed at {seal_ms}, but {tp} {number} is not taken: {sent.fact}")

    def _residue_written(self, key: str, value: bytes | None) -> None:
        """Hold what is left of an erased case against what it knew when it was erased (rule 10)."""
        case_id = self.residues[key]
        self.closed.add(case_id)
        self.gone.add(case_id)
        before = self.left.get(key)
        case = None if value is None else read_case(value)
        for verdict in before.verdicts if before is not None and (case is None or not case.verdicts) else ():
            if verdict.anchor_ms > self._brokers.now_ms() - LONGEST_WINDOW_MS:
                self.find(f"{key} of {case_id} has expired, though {verdict} counts")
        self.left[key] = case
        if case is None or value is None:
            return
        names_units = any(not verdict.unit.isdigit() for verdict in case.verdicts)
        if case.facts or case.relayed or names_units or case_id.encode() in value:
            self.find(f"{key} of {case_id} holds personal state: {case}")
        if case.is_forgotten:
            return
        said = Counter(_left(verdict, "erased") for verdict in case.verdicts)
        may = [left for closing in self.closings[case_id] for left in self._left_of(closing, "erased", said)]
        if said not in may:
            self.find(f"{key} of {case_id} is left with {said - may[-1]}, without {may[-1] - said}" if may else key)

    def _overflow_written(self, case: Case) -> None:
        """Hold what is left of a case with too many facts against the oracle; it must have had too many."""
        case_id = case.case_id
        sent = self._event_ids_sent(case_id)
        if len(sent) <= self._facts_per_case:
            self.find(f"{case_id} is closed with {len(sent)} facts at most")
        if case.facts or case.relayed:
            self.find(f"{case_id} is closed, but holds facts: {case}")
        if case.is_forgotten:
            return
        said = Counter(_left(verdict, "overflow") for verdict in case.verdicts)
        may = [left for closing in self.closings[case_id] for left in self._left_of(closing, "overflow", said)]
        if said not in may:
            self.find(f"{case_id} is left with {said - may[-1]}, without {may[-1] - said}" if may else case_id)

    def _event_ids_sent(self, case_id: str) -> set[str]:
        return {
            sent.fact.event_id
            for offsets in self.sent.values()
            for sent in offsets.values()
            if sent.case_id == case_id and sent.fact is not None
        }

    def _left_of(self, closing: Closing, why: str, said: Left) -> list[Left]:
        """Return what the oracle may leave of a closed case; what is said where it cannot tell: the asset was crowded.

        What was final stays. An erasure leaves also what is final by its delivery, on what was delivered by then; what
        else the case knew makes units that are excluded. Nothing is left when all was in no window any more.
        """
        case, fact = closing
        if case.crowded_since_ms is not None:
            return [said]
        final = {(one.sign, one.unit): _left(one, why) for one in case.verdicts if one.sealed}
        own = case.facts if why == "erased" else [*case.facts, fact]
        events = self.events_of(case.case_id, own)
        for origin, facts in sorted(case.relayed.items()):
            events += self.events_of(origin, facts)
        units = self.oracle.units(case.case_id, events)
        by_then = [event for event in events if evaluator.parse_time(event["seen"]) <= fact.delivered_ms]
        units_then = self.oracle.units(case.case_id, by_then) if why == "erased" else {}
        for key in units.keys() - final.keys():
            sign, unit_id = key
            if case.is_forgotten and unit_id == case.case_id and sign in CASE_SIGNS:
                continue
            then = units_then.get(key)
            if then is None or then.seal_ms >= fact.delivered_ms:
                final[key] = sign, "excluded", True, None
            else:
                name, anchor_ms = expected(then, fact.delivered_ms, sealed=True)
                final[key] = sign, name, False, anchor_ms
        left_windows_ms = fact.delivered_ms - LONGEST_WINDOW_MS
        is_over = all(not is_excluded and (at_ms or 0) <= left_windows_ms for *_, is_excluded, at_ms in final.values())
        return [Counter(final.values()), *([Counter()] if is_over else [])]

    def committed(self, offsets: Mapping[TP, int]) -> None:
        """Hold what is committed against what is written: whatever it caused must stand in the logs."""
        for tp, offset in offsets.items():
            for number in range(self._checked.get(tp, 0), offset):
                sent = self.sent.get(tp, {}).get(number)
                if sent is not None and sent.fact is not None and not self.may_be_refused(sent):
                    self._has_effect(tp, number, sent.case_id, sent.fact)
            self._checked[tp] = max(offset, self._checked.get(tp, 0))

    def is_known(self, who: str, said_ms: int, acked: Mapping[TP, int]) -> None:
        """Hold a clock against what was delivered before it, and not taken."""
        for tp, offset in acked.items():
            waiting = min((number for number in self.sent.get(tp, {}) if number >= offset), default=None)
            if waiting is not None:
                sent = self.sent[tp][waiting]
                delivered_ms = evaluator.parse_time(sent.event["seen"])
                delivered_ms += STATED_EARLY_MS if tp.topic in self.trusted else 0
                # By a batch that was not committed; of one that its case refused, nothing is left to be known.
                is_taken = sent.event["event_id"] in self.known.get(sent.case_id, ()) or self.may_be_refused(sent)
                if said_ms > delivered_ms and not is_taken:
                    self.find(f"{who} says {said_ms}, but {tp} {waiting} of {delivered_ms} is not taken")

    def may_be_refused(self, sent: Sent) -> bool:
        """Whether a fact may be without effect: its case is closed or forgotten, or would have been."""
        return sent.case_id in self.gone or self.is_too_old(sent)

    def is_too_old(self, sent: Sent) -> bool:
        """Whether a fact may be refused where nothing is known of its case (no fact at all is not taken either)."""
        memory_ms = self._policy["repeat_window_ms"] + self._policy["late_horizon_ms"] + LONGEST_WINDOW_MS
        return sent.fact is None or sent.fact.delivered_ms - sent.fact.at_ms > memory_ms

    def _has_effect(self, tp: TP, offset: int, case_id: str, fact: Fact) -> None:
        delivered_ms = self.known.get(case_id, {}).get(fact.event_id)
        if delivered_ms is None or delivered_ms > fact.delivered_ms:
            self.find(f"committed ahead of the changelog: {tp} {offset} {case_id} {fact.event_id}")
        asset = fact.fields.get("asset_id")
        is_told = fact.type == "opened" and asset not in (None, "", "?", "N/A") and delivered_ms == fact.delivered_ms
        if is_told and (asset, case_id, fact.event_id) not in self.posted and not self._is_beaten(case_id, fact):
            self.find(f"committed ahead of its relays: {tp} {offset} {case_id} {fact.event_id}")

    def _is_beaten(self, case_id: str, fact: Fact) -> bool:
        """Whether another copy of a fact was sent that is kept instead (rule 1): both may have come in one batch."""
        copies = [sent.fact for log in self.sent.values() for sent in log.values() if sent.case_id == case_id]
        return any(
            copy is not None and copy.event_id == fact.event_id and copy.precedence() < fact.precedence()
            for copy in copies
        )


def _left(verdict: Verdict, why: str) -> tuple[str, str, bool, int | None]:
    """Return what is looked at of a verdict that is left of a closed case: whether the closing excluded it, or when."""
    is_closed = verdict.verdict == "excluded" and verdict.reason == why
    return verdict.sign, verdict.verdict, is_closed, verdict.anchor_ms if verdict.decided else None


class Owner(NamedTuple):
    """The worker that is believed for a partition, and what it has in memory."""

    instance: str
    snapshot: PartitionSnapshot
    cases: dict[str, Case]
    boards: dict[str, Board]
    acked: Mapping[TP, int]
    settled_ms: int
    hears_silence: bool
    """Whether it takes some source topic for dead."""
    is_announced: bool
    """Whether it has announced all that its records published."""


def fenced(scrapes: Mapping[str, WorkerSnapshot]) -> dict[int, list[tuple[str, PartitionSnapshot]]]:
    """Return by partition the instances to believe: ready, and of the highest generation, as the recording rules do."""
    believed: dict[int, list[tuple[str, PartitionSnapshot]]] = {}
    for instance, scrape in sorted(scrapes.items()):
        for partition in scrape.partitions:
            if not partition.ready or scrape.withhold_business or partition.watermark_ms is None:
                continue
            others = believed.setdefault(partition.partition, [])
            if others and others[0][1].generation < partition.generation:
                others.clear()
            if not others or others[0][1].generation == partition.generation:
                others.append((instance, partition))
    return believed


def summed(believed: Mapping[int, list[tuple[str, PartitionSnapshot]]]) -> Figures:
    """Return the figures as the recording rules make them: per partition the largest, then the sum."""
    figures: Figures = Counter()
    for snapshots in believed.values():
        largest: Figures = Counter()
        for _instance, snapshot in snapshots:
            for *series, units in snapshot.rows:
                key = tuple(series)
                largest[key] = max(largest[key], units)  # type: ignore[index]  # a row without its number
        figures += largest
    return figures


def count(counted: Iterable[Counted], now_ms: int, windows: Windows) -> Figures:
    """Add units up the plain way, one window after the other."""
    figures: Figures = Counter()
    last = now_ms // BUCKET_MS
    for one in counted:
        bucket = one.anchor_ms // BUCKET_MS
        enters = (one.due_ms - windows.risk_horizon_ms) // BUCKET_MS
        for level in windows.levels:
            segment = "/".join(str(getattr(one, dimension)) for dimension in level.dimensions)
            if level.name in windows.live_levels and enters <= last < enters + windows.risk_horizon_ms // BUCKET_MS:
                figures[one.sign, level.name, segment, "", "at_risk", ""] += 1
            if one.measured is not None and level.name in windows.live_levels:
                figures += _measured(one, level, segment, last, windows)
            if level.dimensions and (one.state not in ("good", "bad") or one.measured is not None):
                continue
            for window in level.windows:
                if last - windows.lengths_ms[window] // BUCKET_MS < bucket <= last:
                    if one.measured is None:
                        detail = "" if level.dimensions else one.detail
                        figures[one.sign, level.name, segment, window, one.state, detail] += 1
                    if one.retracted and not level.dimensions:
                        figures[one.sign, level.name, segment, window, "retracted", ""] += 1
    return figures


def watched(cases: Iterable[Case], now_ms: int, windows: Windows) -> Figures:
    """Add up what the records say of loopholes."""
    figures: Figures = Counter()
    for level in windows.levels:
        for window in level.windows if not level.dimensions else ():
            for name, at_ms in (sighting for case in cases for sighting in case.sightings):
                if 0 <= now_ms // BUCKET_MS - at_ms // BUCKET_MS < windows.lengths_ms[window] // BUCKET_MS:
                    figures[name, level.name, "", window, "loophole", ""] += 1
    return figures


def journeys(cases: Iterable[Case], now_ms: int, windows: Windows) -> Figures:
    """Add up which key moments the records say their cases reached."""
    figures: Figures = Counter()
    for level in (level for level in windows.levels if level.name in windows.live_levels):
        for window in set(level.windows) & set(windows.time_windows):
            for case in cases:
                of_segment = {"region": case.segment.region, "product": listed(case.segment.product)}
                segment = "/".join(of_segment[dimension] for dimension in level.dimensions)
                for moment, at_ms in journey(case.verdicts):
                    if 0 <= now_ms // BUCKET_MS - at_ms // BUCKET_MS < windows.lengths_ms[window] // BUCKET_MS:
                        figures[moment, level.name, segment, window, "moment", ""] += 1
    return figures


def listed(product: str) -> str:
    """Return the label a product is counted under."""
    return product if product in LISTED_PRODUCTS or product == "unknown" else "__other__"


def _measured(one: Counted, level: Level, segment: str, last: int, windows: Windows) -> Figures:
    figures: Figures = Counter()
    measure = CATALOGUE[one.sign].measure
    assert one.measured is not None
    assert measure is not None
    le = next((str(bound) for bound in measure.bounds if one.measured <= bound), BEYOND)
    for window in set(level.windows) & set(windows.time_windows):
        if last - windows.lengths_ms[window] // BUCKET_MS < one.anchor_ms // BUCKET_MS <= last:
            figures[one.sign, level.name, segment, window, MEASURED, le] += 1
            figures[one.sign, level.name, segment, window, MEASURED, TOTAL] += one.measured
    return figures


def counted_of(
    verdict: Verdict, name: str, anchor_ms: int | None, segment: tuple[str, str], measured: int | None
) -> Counted:
    """Return how a unit is counted: the verdict, the anchor of a decided one and what was measured are the oracle's."""
    states = {"provisional_hit": "good", "final_hit": "good", "miss": "bad"}
    state = states.get(name, name)
    detail = "final" if verdict.sealed else "provisional"
    if state not in ("good", "bad"):
        detail = verdict.reason if state == "excluded" else ""
    at_ms = verdict.anchor_ms if anchor_ms is None else anchor_ms
    due_ms = verdict.due_ms if state == "pending" else NEVER_MS
    return Counted(verdict.sign, state, detail, at_ms, verdict.retracted, due_ms, measured, *segment)


def records_of(table_items: Iterable[tuple[bytes, bytes]]) -> dict[str, Case]:
    """Return the case records of a partition by case id."""
    return {key.decode(): read_case(value) for key, value in table_items}


def boards_of(table_items: Iterable[tuple[bytes, bytes]]) -> dict[str, Board]:
    """Return the boards of a partition by asset."""
    return {key.decode(): read_board(value) for key, value in table_items}


class Auditor:
    """Compares scrapes with the oracle."""

    def __init__(self, book: Book, windows: Windows) -> None:
        self.book = book
        self.oracle = book.oracle
        self.compared = 0
        self._windows = windows
        self._whole: dict[str, list[Event]] | None = None

    def compare(self, owners: Sequence[Owner], figures: Figures, *, complete: bool) -> None:
        """Hold the fenced sums against the oracle; `complete` if every fact has reached everybody it concerns."""
        self.compared += 1
        self._whole = None
        all_expected: Figures = Counter()
        for owner in owners:
            assert owner.snapshot.watermark_ms is not None
            now_ms = owner.snapshot.watermark_ms
            self._holds_what_was_acknowledged(owner)
            if owner.is_announced:
                self.book.tells(owner.snapshot.partition, owner.cases.values())
            elif complete:
                self.book.find(f"partition {owner.snapshot.partition} is not announced")
            counted = [
                one
                for case_id, case in sorted(owner.cases.items())
                for one in self._judge(case_id, case, now_ms, owner, complete=complete)
            ]
            if complete:
                self._is_forgotten_in_time(owner, now_ms)
            its = count(counted, now_ms, self._windows) + watched(owner.cases.values(), now_ms, self._windows)
            its += journeys(owner.cases.values(), now_ms, self._windows)
            rows = Counter({tuple(row[:-1]): row[-1] for row in owner.snapshot.rows if row[-1]})
            if its != rows:
                self._differ(f"partition {owner.snapshot.partition} of {owner.instance} at {now_ms}", rows, its)
            all_expected += its
        if all_expected != +figures and len(self.book.findings) == 0:
            self._differ("the fenced sums", +figures, all_expected)

    def _differ(self, what: str, said: Mapping[Any, int], right: Mapping[Any, int]) -> None:
        for key in sorted(said.keys() | right.keys()):
            if said.get(key, 0) != right.get(key, 0):
                self.book.find(f"{what}: {key} is {said.get(key, 0)}, the oracle has {right.get(key, 0)}")

    def _judge(self, case_id: str, case: Case, now_ms: int, owner: Owner, *, complete: bool) -> Iterator[Counted]:
        """Yield how the oracle counts the units of one record, and note what it says otherwise."""
        if case_id in self.book.gone or case.crowded_since_ms is not None:
            segment = case.segment.region, listed(case.segment.product)
            yield from (counted_of(one, one.verdict, None, segment, one.measured) for one in case.verdicts)
            return
        if complete and {event["case_id"] for event in self.whole.get(case_id, [])} & self.book.gone:
            complete = False  # what is gone told nobody what came later
        if len({fact.event_id for fact in case.facts}) < len(case.facts):
            self.book.find(f"{case_id} holds copies: {case.facts}")
        if complete:
            events = self.whole.get(case_id, [])
        else:
            events = self.book.events_of(case_id, case.facts)
            for origin, facts in sorted(case.relayed.items()):
                events += self.book.events_of(origin, facts)
        units = self.oracle.units(case_id, events)
        segment = self.oracle.segment(case_id, events)
        published = {(one.sign, one.unit): one for one in case.verdicts}
        # A seal may lie before the delivery of a fact that gives it: then what was delivered by that is waited for.
        heard_ms = max(fact.delivered_ms for facts in (case.facts, *case.relayed.values()) for fact in facts)
        for key in sorted(units.keys() ^ published.keys()):
            self.book.find(f"{case_id} {key}: published {published.get(key)}, the oracle: {key in units}")
        for key in sorted(units.keys() & published.keys()):
            unit, verdict = units[key], published[key]
            name, anchor_ms = expected(unit, now_ms, sealed=verdict.sealed)
            if verdict.reason == "source_silent" and name == "miss" and owner.hears_silence:
                name, anchor_ms = "pending", None  # withheld: that nothing was heard proves nothing (rule 6)
            decided_ms = verdict.anchor_ms if verdict.decided else None
            if (name, anchor_ms, unit.seal_ms) != (verdict.verdict, decided_ms, verdict.seal_ms):
                self.book.find(
                    f"{case_id} {key} at {now_ms}: published {verdict}, the oracle says"
                    f" {name} at {anchor_ms}, seal {unit.seal_ms}{' (complete)' if complete else ''}"
                )
            self._holds_due(case_id, unit, verdict)
            if verdict.sealed and unit.seal_ms >= now_ms:
                self.book.find(f"{case_id} {key} is sealed at {now_ms}, before its seal {unit.seal_ms}")
            if not verdict.sealed and max(unit.seal_ms + 1, heard_ms) <= owner.settled_ms:
                self.book.find(
                    f"{case_id} {key} is not sealed though the group is settled at {owner.settled_ms}: {verdict}"
                )
            outages = evaluator.outage_seconds(unit.view) if key[0] == "time_to_restore" else None
            measured = round(1000 * sum(outages)) if outages is not None and name.endswith("hit") else None
            if measured != verdict.measured:
                self.book.find(f"{case_id} {key}: published {verdict}, the oracle measures {measured}")
            yield counted_of(verdict, name, anchor_ms, segment, measured)

    def _holds_due(self, case_id: str, unit: Unit, verdict: Verdict) -> None:
        """Hold the instant a pending unit is due at against the clock the oracle judges by (rule 26)."""
        if verdict.verdict != "pending" or verdict.reason == "source_silent" or verdict.sign == "parts_ready":
            return
        due_ms = verdict.due_ms if verdict.due_ms < NEVER_MS else None
        if unit.scope is None and (due_ms is not None or verdict.sign in CLOCK_SIGNS):
            past_ms = unit.seal_ms if due_ms is None else due_ms + 1
            before, after = (unit.judge(unit.view, clock_ms).verdict for clock_ms in (due_ms or 0, past_ms))
            right = (before, after) == ("pending", "miss") if due_ms is not None else after != "miss"
        else:
            right = due_ms is None
        if not right:
            self.book.find(f"{case_id} {verdict} is due at {due_ms}, which the oracle denies")

    def _is_forgotten_in_time(self, owner: Owner, now_ms: int) -> None:
        """Nothing is forgotten that a window still counts: the units of a case without a record have left them all."""
        for case_id, events in self.whole.items():
            tp = TP(f"{self.book.group}-cases-changelog", owner.snapshot.partition)
            if case_id in owner.cases or case_id not in self.book.written[tp] or case_id in self.book.closed:
                continue
            for key, unit in self.oracle.units(case_id, events).items():
                name, anchor_ms = expected(unit, now_ms, sealed=True)
                if anchor_ms is not None and anchor_ms // BUCKET_MS > (now_ms - LONGEST_WINDOW_MS) // BUCKET_MS:
                    self.book.find(
                        f"{case_id} {key} is forgotten at {now_ms}, though {name} counts from {anchor_ms} on"
                    )

    def _holds_what_was_acknowledged(self, owner: Owner) -> None:
        """Every fact acknowledged is in its record, in the copy that was delivered first."""
        for tp, offset in owner.acked.items():
            for number, sent in self.book.sent.get(tp, {}).items():
                if number >= offset or sent.fact is None:
                    continue
                if (sent.fact.topic, sent.fact.type) == ("ticket", "erased"):
                    self._is_erased(tp, number, sent, owner)
                if self.book.may_be_refused(sent):
                    continue
                case = owner.cases.get(sent.case_id)
                facts = case.facts if case is not None else []
                kept = next((fact for fact in facts if fact.event_id == sent.fact.event_id), None)
                if kept is None or kept.delivered_ms > sent.fact.delivered_ms:
                    self.book.find(f"{tp} {number} is acknowledged, but {sent.case_id} does not hold {sent.fact}")

    def _is_erased(self, tp: TP, number: int, sent: Sent, owner: Owner) -> None:
        """An erasure that is acknowledged leaves no record of its case, and a residue until that expires (rule 10)."""
        key = self.book.residue_of(sent.case_id)
        if key not in self.book.left:
            if not self.book.is_too_old(sent):
                self.book.find(f"{tp} {number} is acknowledged, but {sent.case_id} is not erased")
        elif self.book.left[key] is not None and (sent.case_id in owner.cases or key not in owner.cases):
            self.book.find(f"{tp} {number} is acknowledged, but {sent.case_id} has a record, or no residue")

    @property
    def whole(self) -> dict[str, list[Event]]:
        """Every admitted event that may concern a case, by case: by asset, replacement or merge."""
        if self._whole is None:
            self._whole = self.book.whole()
        return self._whole
