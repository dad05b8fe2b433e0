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
from cxstream.engine.ledger import BEYOND, MEASURED, TIME_BOUNDS_MS, TOTAL, Level, Windows
from cxstream.exposition.snapshot import PartitionSnapshot, WorkerSnapshot
from cxstream.kafka.records import read_board, read_case, read_relay
from cxstream.offline.events_file import read_event
from oracle import evaluator
from oracle.histories import Event, rfc3339
from simulation.log import Brokers
from simulation.world import LISTED_PRODUCTS, LONGEST_WINDOW_MS

ALWAYS = 2**62
BUCKET_MS = 5 * 60 * 1000
Key = tuple[str, str]
"""(sign, unit)"""
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
    measured_ms: int | None
    region: str
    product: str


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

    def __init__(self, brokers: Brokers, group: str, policy: dict[str, Any]) -> None:
        self._brokers = brokers
        self.group = group
        self._policy = policy
        self.sent: dict[TP, dict[int, Sent]] = {}
        self.by_fact: dict[tuple[str, str, int, bytes], Event] = {}
        self.finals: dict[tuple[str, str, str], tuple[str, int, int]] = {}
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
        admitted = bool(evaluator.admit([seen], ALWAYS, self._policy)[0])
        if admitted != (fact is not None):
            self.find(f"admitted by one only: {seen}")
        self.sent.setdefault(tp, {})[offset] = Sent(event["case_id"], seen, fact, admitted)

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
        if tp.topic not in (f"{self.group}-{name}" for name in ("cases-changelog", "assets", "relays")):
            return
        log = self._brokers.logs[tp]
        for stored in log.read(self._read.get(tp, 0), 1_000_000)[0]:
            key = (stored.key or b"").decode()
            if tp.topic.endswith("-cases-changelog"):
                self.written[tp].add(key)
                self._record_written(key, stored.value)
            else:
                relay = read_relay(stored.value)
                self.posted |= {(key, relay.origin, fact.event_id) for fact in relay.facts}
        self._read[tp] = log.end

    def _record_written(self, case_id: str, value: bytes | None) -> None:
        if value is None:
            self.gone.add(case_id)
            return
        case = read_case(value)
        if case.closed is not None:
            self.closed.add(case_id)
        if case.closed is not None or case.is_forgotten:
            self.gone.add(case_id)
        known = self.known.setdefault(case_id, {})
        for fact in case.facts:
            known[fact.event_id] = min(fact.delivered_ms, known.get(fact.event_id, fact.delivered_ms))
        for verdict in case.verdicts:
            key = verdict.sign, case_id, verdict.unit
            final = self.finals.get(key)
            said = verdict.verdict, verdict.anchor_ms, verdict.seal_ms
            if final is not None and case_id not in self.gone and (not verdict.sealed or final != said):
                self.find(f"final verdict changed: {key} was {final}, is {said}, sealed {verdict.sealed}")
            if verdict.sealed:
                self.finals[key] = said

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
            if waiting is not None and tp.topic not in self.trusted:
                sent = self.sent[tp][waiting]
                delivered_ms = evaluator.parse_time(sent.event["seen"])
                is_known = sent.event["event_id"] in self.known.get(sent.case_id, ())  # by a batch not acknowledged
                if said_ms > delivered_ms and not is_known:
                    self.find(f"{who} says {said_ms}, but {tp} {waiting} of {delivered_ms} is not taken")

    def may_be_refused(self, sent: Sent) -> bool:
        """Whether a fact may be without effect: its case is closed or forgotten, or would have been."""
        fact = sent.fact
        memory_ms = self._policy["repeat_window_ms"] + self._policy["late_horizon_ms"] + LONGEST_WINDOW_MS
        return sent.case_id in self.gone or fact is None or fact.delivered_ms - fact.at_ms > memory_ms

    def _has_effect(self, tp: TP, offset: int, case_id: str, fact: Fact) -> None:
        delivered_ms = self.known.get(case_id, {}).get(fact.event_id)
        if delivered_ms is None or delivered_ms > fact.delivered_ms:
            self.find(f"committed ahead of the changelog: {tp} {offset} {case_id} {fact.event_id}")
        asset = fact.fields.get("asset_id")
        is_told = fact.type == "opened" and asset not in (None, "", "?", "N/A") and delivered_ms == fact.delivered_ms
        if is_told and (asset, case_id, fact.event_id) not in self.posted:
            self.find(f"committed ahead of its relays: {tp} {offset} {case_id} {fact.event_id}")


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


def fenced(scrapes: Mapping[str, WorkerSnapshot]) -> dict[int, list[tuple[str, PartitionSnapshot]]]:
    """Return by partition the instances to believe: ready, and of the highest generation (operations page, 1)."""
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
            if one.measured_ms is not None and level.name in windows.live_levels:
                figures += _measured(one, level, segment, last, windows)
            if level.dimensions and (one.state not in ("good", "bad") or one.measured_ms is not None):
                continue
            for window in level.windows:
                if last - windows.lengths_ms[window] // BUCKET_MS < bucket <= last:
                    if one.measured_ms is None:
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


def _measured(one: Counted, level: Level, segment: str, last: int, windows: Windows) -> Figures:
    figures: Figures = Counter()
    assert one.measured_ms is not None
    le = next((str(bound) for bound in TIME_BOUNDS_MS if one.measured_ms <= bound), BEYOND)
    for window in set(level.windows) & set(windows.time_windows):
        if last - windows.lengths_ms[window] // BUCKET_MS < one.anchor_ms // BUCKET_MS <= last:
            figures[one.sign, level.name, segment, window, MEASURED, le] += 1
            figures[one.sign, level.name, segment, window, MEASURED, TOTAL] += one.measured_ms
    return figures


def counted_of(
    verdict: Verdict, name: str, anchor_ms: int | None, segment: tuple[str, str], measured_ms: int | None
) -> Counted:
    """Return how a unit is counted: the verdict, the anchor of a decided one and what was measured are the oracle's."""
    states = {"provisional_hit": "good", "final_hit": "good", "miss": "bad"}
    state = states.get(name, name)
    detail = "final" if verdict.sealed else "provisional"
    if state not in ("good", "bad"):
        detail = verdict.reason if state == "excluded" else ""
    at_ms = verdict.anchor_ms if anchor_ms is None else anchor_ms
    due_ms = verdict.due_ms if name == "pending" else NEVER_MS
    return Counted(verdict.sign, state, detail, at_ms, verdict.retracted, due_ms, measured_ms, *segment)


def records_of(table_items: Iterable[tuple[bytes, bytes]]) -> dict[str, Case]:
    """Return the case records of a partition by case id."""
    return {key.decode(): read_case(value) for key, value in table_items}


def boards_of(table_items: Iterable[tuple[bytes, bytes]]) -> dict[str, Board]:
    """Return the boards of a partition by asset."""
    return {key.decode(): read_board(value) for key, value in table_items}


class Auditor:
    """Compares scrapes with the oracle."""

    def __init__(self, book: Book, policy: dict[str, Any], windows: Windows) -> None:
        self.book = book
        self.oracle = Oracle(policy)
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
            counted = [
                one
                for case_id, case in sorted(owner.cases.items())
                for one in self._judge(case_id, case, now_ms, owner, complete=complete)
            ]
            if complete:
                self._is_forgotten_in_time(owner, now_ms)
            its = count(counted, now_ms, self._windows) + watched(owner.cases.values(), now_ms, self._windows)
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
        tied = {event["case_id"] for event in self.whole.get(case_id, [])} if complete else {case_id}
        if tied & self.book.gone or case.crowded_since_ms is not None:  # what is gone told nobody what came later
            segment = case.segment.region, self._listed(case.segment.product)
            yield from (counted_of(one, one.verdict, None, segment, one.measured_ms) for one in case.verdicts)
            return
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
            if verdict.sealed and unit.seal_ms >= now_ms:
                self.book.find(f"{case_id} {key} is sealed at {now_ms}, before its seal {unit.seal_ms}")
            if not verdict.sealed and max(unit.seal_ms + 1, heard_ms) <= owner.settled_ms:
                self.book.find(
                    f"{case_id} {key} is not sealed though the group is settled at {owner.settled_ms}: {verdict}"
                )
            outages = evaluator.outage_seconds(unit.view) if key[0] == "time_to_restore" else None
            measured_ms = round(1000 * sum(outages)) if outages is not None and name.endswith("hit") else None
            if measured_ms != verdict.measured_ms:
                self.book.find(f"{case_id} {key}: published {verdict}, the oracle measures {measured_ms}")
            yield counted_of(verdict, name, anchor_ms, segment, measured_ms)

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

    def _listed(self, product: str) -> str:
        return product if product in LISTED_PRODUCTS or product == "unknown" else "__other__"

    def _holds_what_was_acknowledged(self, owner: Owner) -> None:
        """Every fact acknowledged is in its record, in the copy that was delivered first."""
        for tp, offset in owner.acked.items():
            for number, sent in self.book.sent.get(tp, {}).items():
                if number >= offset or sent.fact is None or self.book.may_be_refused(sent):
                    continue
                case = owner.cases.get(sent.case_id)
                facts = case.facts if case is not None else []
                kept = next((fact for fact in facts if fact.event_id == sent.fact.event_id), None)
                if kept is None or kept.delivered_ms > sent.fact.delivered_ms:
                    self.book.find(f"{tp} {number} is acknowledged, but {sent.case_id} does not hold {sent.fact}")

    @property
    def whole(self) -> dict[str, list[Event]]:
        """Every admitted event that may concern a case, by case: by asset, replacement or merge."""
        if self._whole is None:
            self._whole = self.book.whole()
        return self._whole
