"""The intake between two acknowledgements: records in, out what to send, in which order, and what to forget after it.

It does no I/O and takes the clock as an argument. What `take` returns is sent and acknowledged before the offsets of
its records are committed; so a process that dies at any instant has lost nothing, and what it did twice has the same
ids.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from cxstream.domain.facts import RejectedError
from cxstream.engine.source_quality import SOURCE_HEADER
from cxstream.intake.mapper import Mapped, Mapper, Raw, Told
from cxstream.intake.mapping import IntakeMap
from cxstream.intake.state import Entry, Lookups, Parked, Parking, restore
from cxstream.intake.values import NotMappedError
from cxstream.kafka.codec import DELIVERED_AT
from cxstream.kafka.dead_letters import SourceRecord, dead_letter

REFUSAL_CLASS = f"{NotMappedError.__module__}.{NotMappedError.__name__}"

Header = tuple[str, bytes | None]


class Outgoing(NamedTuple):
    """A record to produce; the producer finds the partition by the key."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[Header] = ()


class End(NamedTuple):
    """What became of one record; `waited` if it had been parked before."""

    raw: Raw
    mapped: Mapped
    told: tuple[Told, ...]
    """The events that are sent: those of the record but for those told before."""
    waited: bool


class Work(NamedTuple):
    """What records came to."""

    sent: list[Outgoing]
    """To be produced in this order, and acknowledged before anything else."""
    after: list[Outgoing]
    """To be produced and acknowledged after that: what need not be remembered any more."""
    ends: list[End]
    """In order."""
    tally: Counter[tuple[str, ...]]
    """What to count once all of it is acknowledged: one of COUNTS, and its labels."""


COUNTS = ("records", "events", "repeats", "refused", "parked_ends", "lookup", "times")


class Intake:
    """Takes records of the topics of a map; one at a time, for the whole of its group."""

    def __init__(
        self,
        intake_map: IntakeMap,
        *,
        encode: Callable[[Mapping[str, object]], bytes],
        topics: Mapping[str, str],
        trusted: frozenset[str],
        state_topic: str,
        skew_ms: int,
        version: str,
    ) -> None:
        """`encode` writes an event, `topics` are the topics of events by kind, `trusted` some of their names."""
        self._map = intake_map
        self._mapper = Mapper(intake_map, skew_ms=skew_ms)
        self._encode = encode
        self._topics = topics
        self._trusted = trusted
        self._state_topic = state_topic
        self._version = version
        self._snapshots = {topic.name for topic in intake_map.topics if topic.snapshots}
        self._told: dict[tuple[str, str], int] = {}
        self._ready: deque[Parked] = deque()
        self.lookups = Lookups(intake_map.limits)
        self.parking = Parking(intake_map.limits)

    def restore(self, entries: Iterable[Entry]) -> None:
        """Begin with what the state's topic holds, and nothing else. Raises UnreadableStateError.

        What waited there is looked at again with the next records.
        """
        self.lookups = Lookups(self._map.limits)
        self.parking = Parking(self._map.limits)
        self._told.clear()
        self._ready = deque(restore(entries, self.lookups, self.parking))

    def take(self, raws: Iterable[Raw], now_ms: int) -> Work:
        """Take records in this order, let go what has waited long enough, and forget what is too much.

        What waits for what a record teaches follows it at once, in the order it was parked.
        """
        work = Work([], [], [], Counter())
        self._take_ready(work, now_ms)
        for raw in raws:
            self._take(raw, work, now_ms)
            self._take_ready(work, now_ms)
            self._let_go(work, now_ms)
        self._let_go(work, now_ms)
        for entry in self.lookups.forget(now_ms):
            work.after.append(self._remembered(entry))
            work.tally["lookup", "forgotten"] += 1
        return work

    def _take_ready(self, work: Work, now_ms: int) -> None:
        while self._ready:
            parked = self._ready.popleft()
            if self.parking.holds(parked.raw):
                self._take(parked.raw, work, now_ms, waited=True)

    def _take(self, raw: Raw, work: Work, now_ms: int, *, waited: bool = False) -> None:
        mapped = self._mapper.map(raw, self.lookups.knows)
        self._learn(mapped, work, now_ms)
        told: tuple[Told, ...] = ()
        if mapped.waits is not None:
            entry = self.parking.park(raw, (mapped.waits.lookup, mapped.waits.key), now_ms)
            if entry is not None:
                work.sent.append(self._remembered(entry))
            outcome = "parked"
        else:
            if mapped.refused is None:
                mapped, told = self._tell(raw, mapped, work)
            if mapped.refused is not None:
                self._refuse(raw, mapped.refused, work)
            outcome = _outcome(mapped, told)
            if self.parking.holds(raw):
                work.after.append(self._remembered(self.parking.end((raw.topic, raw.partition, raw.offset))))
        if not waited:
            work.tally["records", raw.topic, outcome] += 1
        elif outcome != "parked":
            work.tally["parked_ends", "refused" if mapped.refused else "released"] += 1
        work.ends.append(End(raw, mapped, told, waited))

    def _learn(self, mapped: Mapped, work: Work, now_ms: int) -> None:
        for one in mapped.learned:
            became, entry = self.lookups.learn(one, now_ms)
            work.tally["lookup", became] += 1
            if entry is not None:
                work.sent.append(self._remembered(entry))
            if became == "learned":
                self._ready.extend(self.parking.waiting_for(one.lookup, one.key))

    def _tell(self, raw: Raw, mapped: Mapped, work: Work) -> tuple[Mapped, tuple[Told, ...]]:
        """Send the events of a record, all or, if one cannot be written, none."""
        told = tuple(one for one in mapped.events if not self._is_repeat(raw, one))
        outgoing = []
        try:
            for one in told:
                name = self._topics[one.topic]
                headers: list[Header] = [] if one.source is None else [(SOURCE_HEADER, one.source.encode())]
                if one.delivered_ms is not None and name in self._trusted:
                    headers.append((DELIVERED_AT, str(one.delivered_ms).encode()))
                outgoing.append(Outgoing(name, one.case_id.encode(), self._encode(one.event), headers))
        except RejectedError as error:
            refused = NotMappedError(error.reason, str(error.field), error.expected, "mend it where it is written")
            return mapped._replace(events=(), refused=refused), ()
        work.sent.extend(outgoing)
        for one in told:
            work.tally["events", one.topic] += 1
        work.tally["repeats", raw.topic] += len(mapped.events) - len(told)
        for note in mapped.notes:
            work.tally["times", note] += 1
        return mapped, told

    def _is_repeat(self, raw: Raw, told: Told) -> bool:
        """Tell whether a row tells again what was told of an earlier delivery, which would be the one that counts."""
        most = self._map.limits.remembered_events
        if raw.topic not in self._snapshots or not most:
            return False
        its_id, delivered_ms = (told.case_id, str(told.event["event_id"])), told.delivered_ms or 0
        before = self._told.pop(its_id, None)
        repeat = before is not None and before < delivered_ms
        self._told[its_id] = before if repeat and before is not None else delivered_ms
        if len(self._told) > most:
            del self._told[next(iter(self._told))]
        return repeat

    def _let_go(self, work: Work, now_ms: int) -> None:
        while (beyond := self.parking.beyond(now_ms)) is not None:
            reason, parked = beyond
            refused = NotMappedError(reason, "lookup", "what it waits for", _MENDS[reason])
            self._refuse(parked.raw, refused, work)
            work.after.append(self._remembered(self.parking.end(parked.place)))
            work.tally["parked_ends", reason] += 1
            work.ends.append(End(parked.raw, Mapped(refused=refused), (), waited=True))

    def _refuse(self, raw: Raw, refused: NotMappedError, work: Work) -> None:
        record = SourceRecord(*raw[:3], raw.timestamp_ms or 0, raw.key, raw.value, raw.headers)
        letter = dead_letter(
            record, refused.reason, str(refused), worker_version=self._version, exception=REFUSAL_CLASS
        )
        work.sent.append(Outgoing(letter.topic, letter.key, letter.value, letter.headers))
        work.tally["refused", raw.topic, refused.reason] += 1

    def _remembered(self, entry: Entry) -> Outgoing:
        return Outgoing(self._state_topic, *entry)


_MENDS = {
    "case_unknown": "see why the topic that teaches the lookup does not, or raise limits.parked_for",
    "parking_full": "see what so many records wait for, or raise limits.parked_records or limits.parked_bytes",
}


def _outcome(mapped: Mapped, told: Sequence[Told]) -> str:
    """Say what became of a record that does not wait."""
    if mapped.refused is not None:
        return "refused"
    if mapped.events:
        return "told" if told else "repeated"
    return "taught" if mapped.learned else "ignored"


OUTCOMES = ("told", "repeated", "taught", "ignored", "parked", "refused")
"""What becomes of a record that is read. One that is parked ends once more, in one of PARKED_ENDS."""
PARKED_ENDS = ("released", "refused", "case_unknown", "parking_full")
LEARNING = ("learned", "known", "contradicted", "forgotten")
"""What becomes of what a record teaches: new, known, against what is known (which counts), and in the end."""
