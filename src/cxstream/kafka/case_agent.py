"""The agent of cases and boards: takes a batch of one partition from bytes to published verdicts, then acks it."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from aiokafka.errors import KafkaError
from msgspec.structs import replace

from cxstream.domain.cases import Case, Reception
from cxstream.domain.facts import Fact, RejectedError
from cxstream.domain.instant import DAY_MS, SECOND_MS
from cxstream.domain.policy import Policy
from cxstream.domain.vocabulary import TOPICS, fields_of
from cxstream.engine.assess import (
    NOT_JUDGED,
    Assessment,
    Catalogue,
    Clock,
    anonymous,
    assess,
    close,
    fingerprint,
    put_off,
    receive,
)
from cxstream.engine.boards import Board, Postings, for_members, told_by, told_crowded
from cxstream.engine.source_quality import Rejection, SourceQuality
from cxstream.engine.transitions import Announcement, announcements, to_write
from cxstream.kafka.changelog_table import OffsetRange, Outgoing, PartitionLostError
from cxstream.kafka.codec import Codec
from cxstream.kafka.dead_letters import SourceRecord, dead_letter
from cxstream.kafka.partition import Partition
from cxstream.kafka.partition_batches import PartitionBatch, Record
from cxstream.kafka.ports import Table
from cxstream.kafka.records import (
    NewerRecordError,
    Relay,
    UnreadableRecordError,
    is_residue,
    read_board,
    read_case,
    read_relay,
    write,
)
from cxstream.kafka.schemas import RegistryUnavailableError, SchemaIds, UnknownSchemaIdError
from cxstream.kafka.verdict_stream import VerdictStream

logger = logging.getLogger(__name__)

REGISTRY_ATTEMPTS = 20
REGISTRY_PAUSE_SECONDS = 1.0
ANNOUNCE_PAUSE_SECONDS = 1.0
"""Between attempts to find out what is not announced yet."""
ANNOUNCE_RECORDS = 500
"""Records announced again at a time."""
BREATHE_EVERY_RECORDS = 250
"""Taking a batch lets the event loop breathe after so many records."""
BREATHE_EVERY_FACTS = 1_000
"""And judging it after cases of so many facts; a case counts as some more, for its signs."""
FACTS_OF_A_CASE = 10
LARGEST_RESIDUE_BYTES = 4 * 1024 * 1024
"""A larger residue of a case keeps only the units that were published before it was closed."""
DUE_ROUNDS = 10
"""So often cases that are due are judged, `due_limit` at a time, before another partition has its turn."""
SWEEP_BOARDS = 5
"""Boards looked at in one go: ten a second are nearly a million in a day."""


class Activity(Protocol):
    """What the agent reports of its work, for counters; `topic` is ticket, dispatch or parts."""

    def consumed(self, topic: str, count: int = 1) -> None:
        """Count records that were read."""

    def rejected(self, topic: str, reason: str) -> None:
        """Count a record that was no fact."""

    def dead_letter(self, topic: str, reason: str) -> None:
        """Count a dead letter that was written."""

    def applied(self, topic: str, count: int = 1) -> None:
        """Count facts that were taken in, known by their type and in time."""

    def duplicate(self, topic: str, count: int = 1) -> None:
        """Count facts that were known already."""

    def conflict(self, topic: str, count: int = 1) -> None:
        """Count facts whose event id was known with another content."""

    def late(self, topic: str, disposition: str, count: int = 1) -> None:
        """Count facts that came too late: `after_seal`, or refused by a `closed_case`."""

    def unknown_type(self, topic: str, count: int = 1) -> None:
        """Count facts of a type the vocabulary does not know."""

    def verdict_changed(self, sign: str, old: str | None, new: str) -> None:
        """Count a published verdict; `old` is None for the first of its unit."""

    def processed(self, topic: str, count: int, seconds: float) -> None:
        """Take the time a batch of events took, `seconds` altogether."""

    def counted(self, topic: str, seconds: Sequence[float]) -> None:
        """Take how long after its delivery each of some events reached the figures."""


class TopicRoles(NamedTuple):
    """The names of the topics by the part they play."""

    sources: Mapping[str, str]
    """Kafka topic -> ticket, dispatch or parts."""
    trusted: frozenset[str]
    """Source topics whose delivery header is believed."""
    assets: str
    """Identity facts on their way to the boards of assets."""
    relays: str
    """Facts of other cases on their way to the cases that must know them."""

    @property
    def all(self) -> tuple[str, ...]:
        """Every topic the agent consumes."""
        return (*self.sources, self.assets, self.relays)


Produce = Callable[[str, "int | None", Sequence[Outgoing]], Awaitable[None]]
WallClock = Callable[[], int]
"""Milliseconds since the epoch."""


class _CaseInHand:
    """One case of a batch: as it was read, as it is now, and what the batch did to it."""

    __slots__ = ("case", "evidence", "fresh", "is_over", "key", "old")

    def __init__(self, key: bytes, old: Case | None) -> None:
        self.key = key
        self.old = old
        self.case = old if old is not None else Case(key.decode())
        self.fresh: dict[str, tuple[_Intake, str]] = {}
        """Its own facts that were new in this batch, by event id: where each is counted, and who sent it."""
        self.is_over = False
        """Nothing of the record is needed any more."""
        self.evidence: dict[tuple[str, str], tuple[str, ...]] = {}
        """What the verdicts that were just judged rest on, by sign and unit."""

    @property
    def is_to_bury(self) -> bool:
        """Whether the case is erased, and still stands under its own name."""
        return self.case.closed == "erased" and not self.is_over and not is_residue(self.key)

    @property
    def is_unknown(self) -> bool:
        """Whether nothing is known of the case, and nothing is to be written."""
        case = self.case
        return self.old is None and not (case.facts or case.relayed or case.closed or case.crowded_since_ms is not None)


class _Written(NamedTuple):
    """One record of the table of cases: its bytes (None deletes it), and the case before and after."""

    key: bytes
    data: bytes | None
    old: Case | None
    new: Case | None
    announced: Sequence[Announcement] = ()
    """What it changes of what was published."""


class _BoardInHand:
    """One board of a batch: as it was read, as it is now, and the cases it heard of."""

    __slots__ = ("heard", "new", "old")

    def __init__(self, old: Board) -> None:
        self.old = old
        self.new = old
        self.heard: set[str] = set()


class _Intake:
    """What the records of one source topic came to on their way to the cases."""

    __slots__ = ("came_to", "delays_ms", "delivered_ms", "read", "rejected", "source", "topic")

    def __init__(self, topic: str, source: str, read: int) -> None:
        self.topic = topic
        self.source = source
        self.read = read
        """How many records there are."""
        self.delivered_ms: list[int] = []
        self.delays_ms: defaultdict[str, list[int]] = defaultdict(list)
        """How long after they happened facts were delivered, by who sent them."""
        self.came_to: Counter[tuple[str, str]] = Counter()
        """How many records came to what, by who sent them: each record to exactly one of `DISPOSITIONS`."""
        self.rejected: list[tuple[Record, RejectedError, str]] = []

    def take(self, taken: _CaseInHand, fact: Fact, reception: Reception, sender: str) -> None:
        """Count a fact that its case has received."""
        self.delivered_ms.append(fact.delivered_ms)
        self.delays_ms[sender].append(fact.delivered_ms - fact.at_ms)
        if reception != "applied":
            self.came_to[sender, "closed_case" if reception == "refused" else reception] += 1
        elif fields_of(self.source, fact.type) is None:
            self.came_to[sender, "unknown_type"] += 1
        else:
            self.came_to[sender, "applied"] += 1
            taken.fresh[fact.event_id] = self, sender

    def reject(self, record: Record, error: RejectedError, sender: str) -> None:
        """Count a record as a dead letter."""
        self.came_to[sender, "dead_letter"] += 1
        self.rejected.append((record, error, sender))

    def take_for_late(self, sender: str) -> None:
        """Count a fact that was applied as late after seal (rule 3)."""
        self.came_to[sender, "applied"] -= 1
        self.came_to[sender, "after_seal"] += 1


@dataclass(kw_only=True)
class CaseAgent:
    """Processes batches of source topics, relays and boards; one at a time per partition."""

    catalogue: Catalogue
    policy: Policy
    codec: Codec
    schema_ids: SchemaIds
    topics: TopicRoles
    cases: Table
    boards: Table
    produce: Produce
    partition: Callable[[int], Partition]
    """Returns an owned partition; raises PartitionLostError for another."""
    clock: Callable[[Partition], Clock]
    """Reads the clock of a partition."""
    wall_ms: WallClock
    activity: Activity
    partition_of: Callable[[bytes], int]
    """Returns the partition producers must put a key on."""
    version: str
    """Of the worker, for dead letters."""
    due_limit: int
    """Cases judged again by the clock in one go, at most."""
    max_record_bytes: int
    """A larger case record leaves its residue (overflow)."""
    residue_key: Callable[[bytes], bytes]
    """Returns the key an erased case is remembered under, from which its own cannot be told."""
    verdicts: VerdictStream | None = None
    """Where changes of published verdicts are announced."""
    quality: SourceQuality = field(default_factory=lambda: SourceQuality(TOPICS))
    """What each source sends, and what became of it."""
    judged_under: int = field(init=False)
    """Fingerprint of catalogue and policy, kept with every case that is judged."""

    def __post_init__(self) -> None:
        """Count the fingerprint."""
        self.judged_under = fingerprint(self.catalogue, self.policy)

    async def process(self, batch: PartitionBatch) -> None:
        """Process one batch and acknowledge it, after everything it caused is acknowledged by the broker."""
        partition = self.partition(batch.number)
        async with partition.lock:
            self._check_owned(partition)
            await self._announce_again(partition)
            await self._process(partition, batch)
            batch.ack()

    async def judge_due(self, partition: Partition) -> bool:
        """Judge again the cases the clock may have changed, so many at a time that batches get their turn.

        Return whether that was all of them: there is an end to it, so that other partitions' clocks go on.
        """
        for _ in range(DUE_ROUNDS):
            async with partition.lock:
                self._check_owned(partition)
                await self._announce_again(partition)
                clock = self.clock(partition)
                in_hand = self._due(partition, clock, {})
                with _taken_back(partition, in_hand):
                    await self._publish(partition, in_hand, clock)
            if len(in_hand) < self.due_limit and not partition.is_to_recheck:
                return True
        return False

    async def unite(self, partition: Partition, table: Table, records: Iterable[Record]) -> None:
        """Unite what another worker wrote into the changelog, late, with what is known here, and write it once more.

        The caller holds the partition's lock. Facts are a set and boards are unions, so nothing that either knew is
        lost, and what is written last is ours; a key the other deleted, and we have, is written again.
        """
        self._check_owned(partition)
        if table is self.boards:
            boards: dict[bytes, _BoardInHand] = {}
            for record in records:
                board = self._board(partition.number, record.key, boards)
                if record.value is not None:
                    board.new = board.new.unite(read_board(record.value), self.policy)
            known = {key: board for key, board in boards.items() if board.new.facts or board.new.crowded_since_ms}
            await self._send({self.topics.relays: list(_told(known.values()))})
            if known:
                await self._write_boards(partition, known)
            return
        await self._announce_again(partition)
        in_hand: dict[bytes, _CaseInHand] = {}
        buried: list[tuple[bytes, bytes | None]] = []
        for record in records:
            taken = self._case(partition.number, record.key, in_hand)
            if record.value is not None:
                taken.case = taken.case.unite(read_case(record.value))
                if taken.key != record.key:
                    buried.append((record.key, None))  # erased here: what was known of it must not be the last word
        await self._publish(partition, in_hand, self.clock(partition))
        if buried:
            self._check_owned(partition)
            await self.cases.put_many(partition.number, buried)

    def _check_owned(self, partition: Partition) -> None:
        """Raise PartitionLostError unless a partition is owned in the tenure it was asked for in.

        To be called after whatever was awaited, before anything is read of the tables or written: the partition may
        have been lost meanwhile, and been taken over again by this very worker.
        """
        if self.partition(partition.number) is not partition:
            raise PartitionLostError(f"partition {partition.number} is owned anew")

    async def sweep(self, partition: Partition, settled_ms: int) -> None:
        """Look at some boards for cases that are long over, and take them off: all boards have their turn."""
        before_ms = settled_ms - max(2 * self.policy.memory_ms, self.policy.remembered_ms)
        async with partition.lock:
            self._check_owned(partition)
            keys = list(islice(partition.sweeping, SWEEP_BOARDS))
            if not keys:
                partition.sweeping = iter([key for key, _data in self.boards.items_of(partition.number)])
            trimmed: list[tuple[bytes, bytes | None]] = []
            for key in keys:
                data = self.boards.get(partition.number, key)
                board = None if data is None else read_board(data)
                kept = None if board is None else board.since(before_ms)
                if kept is not board:
                    trimmed.append((key, None if kept is None else write(kept)))
            if trimmed:
                await self.boards.put_many(partition.number, trimmed)

    # --- from records to cases and boards

    async def _process(self, partition: Partition, batch: PartitionBatch) -> None:
        """Take all records of a batch to their cases and boards, and publish what these come to."""
        started_ms = self.wall_ms()
        boards: dict[bytes, _BoardInHand] = {}
        in_hand: dict[bytes, _CaseInHand] = {}
        unanswered: set[int] = set()
        await self._take_to_boards(partition, batch.records.get(self.topics.assets, ()), boards)
        await self._take_relays(partition, batch.records.get(self.topics.relays, ()), in_hand)
        intakes = [
            await self._take_facts(partition, topic, source, batch.records[topic], in_hand, unanswered)
            for topic, source in self.topics.sources.items()
            if topic in batch.records
        ]
        for intake in intakes:
            if intake.delivered_ms:
                partition.clock.took(intake.source, min(max(intake.delivered_ms), self.wall_ms()))
        clock = self.clock(partition)
        in_hand |= self._due(partition, clock, in_hand)
        letters = {
            f"{intake.topic}.dead-letters": [
                self._dead_letter(intake.topic, partition.number, record, error)
                for record, error, _sender in intake.rejected
            ]
            for intake in intakes
        }
        with _taken_back(partition, in_hand):
            await self._publish(partition, in_hand, clock, boards, letters)
        seconds = (self.wall_ms() - started_ms) / SECOND_MS / sum(map(len, batch.records.values()))
        for intake in intakes:
            self._report(intake, partition, seconds)

    async def _take_facts(
        self,
        partition: Partition,
        topic: str,
        source: str,
        records: Sequence[Record],
        in_hand: dict[bytes, _CaseInHand],
        unanswered: set[int],
    ) -> _Intake:
        """Take the records of a source topic to their cases, or put them with the rejected ones.

        `unanswered` are the schema ids the registry was asked for in this batch, in vain.
        """
        number, intake, trusted = partition.number, _Intake(topic, source, len(records)), topic in self.topics.trusted
        for some in _in_turns(records):
            await self._breathe(partition)
            for record in some:
                sender = self.quality.name_of(record.headers)
                try:
                    try:
                        _case_id, fact = self._decode(source, record, trusted)
                    except UnknownSchemaIdError as unknown:
                        if unknown.schema_id not in unanswered:
                            await self._look_up(unknown.schema_id, unanswered)
                            self._check_owned(partition)
                        _case_id, fact = self._decode_at_last(source, record, trusted)
                    taken = self._case(number, record.key, in_hand, check_key=True)
                    self._check_age(taken.case, fact)
                except RejectedError as error:
                    intake.reject(record, error, sender)
                else:
                    taken.case, reception = receive(taken.case, fact, self.catalogue, self.policy)
                    intake.take(taken, fact, reception, sender)
        return intake

    def _report(self, intake: _Intake, partition: Partition, seconds: float) -> None:
        """Count what the records of a topic came to, now that it is in the ledger: each in exactly one disposition.

        All at once, so that no scrape sees a record that was read and has none; what a crash cut short is in no count.
        `seconds` is what a record of the batch took.
        """
        activity, quality, now_ms, source = self.activity, self.quality, self.wall_ms(), intake.source
        quality.count(source, intake.came_to)
        for record, error, sender in intake.rejected:
            activity.rejected(source, error.reason)
            activity.dead_letter(source, error.reason)
            rejection = Rejection(now_ms, error.reason, error.field, error.expected, partition.number, record.offset)
            quality.reject(source, sender, rejection)
        for sender, delays_ms in intake.delays_ms.items():
            quality.delivered(source, sender, delays_ms)
        came_to: Counter[str] = Counter()
        for (_sender, disposition), count in intake.came_to.items():
            came_to[disposition] += count
        activity.consumed(source, intake.read)
        activity.duplicate(source, came_to["duplicate"])
        activity.conflict(source, came_to["conflict"])
        activity.late(source, "closed_case", came_to["closed_case"])
        activity.unknown_type(source, came_to["unknown_type"])
        activity.late(source, "after_seal", came_to["after_seal"])
        activity.applied(source, came_to["applied"])
        activity.processed(source, intake.read, seconds * intake.read)
        if partition.caught_up:
            activity.counted(source, [(now_ms - delivered_ms) / SECOND_MS for delivered_ms in intake.delivered_ms])

    def _decode(self, source: str, record: Record, trusted: bool) -> tuple[str, Fact]:  # noqa: FBT001
        return self.codec.decode(source, record.key, record.value, record.timestamp, record.headers, trusted=trusted)

    async def _look_up(self, schema_id: int, unanswered: set[int]) -> None:
        """Ask for the schema of an id. Where the registry is away, that is for a while of the first one in a batch."""
        for _attempt in range(1 if unanswered else REGISTRY_ATTEMPTS):
            try:
                await self.schema_ids.fetch(schema_id)
            except RegistryUnavailableError:
                await asyncio.sleep(REGISTRY_PAUSE_SECONDS)
            else:
                return
        unanswered.add(schema_id)

    def _decode_at_last(self, source: str, record: Record, trusted: bool) -> tuple[str, Fact]:  # noqa: FBT001
        """Decode a record whose schema id was asked for, in vain or not."""
        try:
            return self._decode(source, record, trusted)
        except UnknownSchemaIdError:
            raise RejectedError(
                "unknown_schema", None, "a schema id that the registry or the configuration knows"
            ) from None

    async def _take_relays(
        self, partition: Partition, records: Sequence[Record], in_hand: dict[bytes, _CaseInHand]
    ) -> None:
        """Take what other cases told to the cases that must know it."""
        async for key, relay in self._readable(partition, records, "relays"):
            taken = self._case(partition.number, key, in_hand)
            for fact in relay.facts:
                taken.case, _reception = receive(taken.case, fact, self.catalogue, self.policy, relay.origin)
            if relay.crowded_since_ms is not None:
                taken.case = taken.case.crowd(relay.crowded_since_ms)

    async def _take_to_boards(
        self, partition: Partition, records: Sequence[Record], boards: dict[bytes, _BoardInHand]
    ) -> None:
        """Take identity facts to the boards of their assets."""
        async for key, relay in self._readable(partition, records, "assets"):
            board = self._board(partition.number, key, boards)
            board.heard.add(relay.origin)
            for fact in relay.facts:
                board.new = board.new.advance(relay.origin, fact, self.policy)

    async def _readable(
        self, partition: Partition, records: Sequence[Record], topic: str
    ) -> AsyncIterator[tuple[bytes, Relay]]:
        """Yield the relays of a topic, each with its key; count those nobody can have written."""
        for some in _in_turns(records):
            await self._breathe(partition)
            for record in some:
                relay = _readable_relay(record)
                if relay is None:
                    self.activity.rejected(topic, "unreadable")
                else:
                    yield record.key, relay

    def _board(self, number: int, key: bytes, boards: dict[bytes, _BoardInHand]) -> _BoardInHand:
        """Return a board of the partition in hand, read at most once per batch."""
        if key not in boards:
            data = self.boards.get(number, key)
            boards[key] = _BoardInHand(Board(key.decode()) if data is None else read_board(data))
        return boards[key]

    def _case(
        self, number: int, key: bytes, in_hand: dict[bytes, _CaseInHand], *, check_key: bool = False
    ) -> _CaseInHand:
        """Return a case of the partition in hand, read at most once per batch.

        Raises RejectedError `wrong_partition` for a case that is new here and belongs on another partition.
        """
        taken = in_hand.get(key)
        if taken is None:
            data = self.cases.get(number, key)
            kept_under = key
            if data is None:
                kept_under = self.residue_key(key)
                data = self.cases.get(number, kept_under)
            if data is None:
                kept_under = key
                if check_key and self.partition_of(key) != number:
                    raise RejectedError(
                        "wrong_partition", "key", "partitioned by murmur2 of the case id, as Java producers do"
                    )
            taken = in_hand.get(kept_under)
            if taken is None:
                taken = in_hand[kept_under] = _CaseInHand(kept_under, None if data is None else read_case(data))
        return taken

    def _check_age(self, case: Case, fact: Fact) -> None:
        """Refuse a fact that would be all that is known of a case whose others may have been forgotten."""
        if not case.facts and case.closed is None and fact.delivered_ms - fact.at_ms > self.policy.memory_ms:
            days = self.policy.memory_ms // DAY_MS
            raise RejectedError(
                "too_old_for_unknown_case", "at", f"at most {days} days before delivery, of a case not known here"
            )

    def _due(
        self, partition: Partition, clock: Clock, in_hand: Mapping[bytes, _CaseInHand]
    ) -> dict[bytes, _CaseInHand]:
        due: dict[bytes, _CaseInHand] = {}
        taken = {taken.key for taken in in_hand.values()}
        for key in (
            *partition.deadlines.due(clock.now_ms, self.due_limit),
            *partition.settling.due(clock.settled_ms, self.due_limit),
            *partition.rechecked(self.due_limit),
        ):
            data = self.cases.get(partition.number, key) if key not in taken and key not in due else None
            if data is not None:
                due[key] = _CaseInHand(key, read_case(data))
        return due

    # --- from cases and boards to records

    async def _publish(
        self,
        partition: Partition,
        in_hand: Mapping[bytes, _CaseInHand],
        clock: Clock,
        boards: Mapping[bytes, _BoardInHand] = MappingProxyType({}),
        letters: Mapping[str, Sequence[Outgoing]] = MappingProxyType({}),
    ) -> None:
        """Judge the cases in hand, relay what others must learn, write the records, announce what they change.

        Relays and dead letters (`letters`, by topic) are acknowledged before the records are written: a record that
        holds a fact proves that its relays are out, so a replay need not repeat them.
        """
        assets: list[Outgoing] = []
        relays = list(_told(boards.values()))
        facts = 0
        for taken in in_hand.values():
            facts += FACTS_OF_A_CASE + len(taken.case.facts)
            if facts > BREATHE_EVERY_FACTS:
                facts = 0
                await self._breathe(partition)
            if taken.case is not taken.old:
                to_boards, to_survivors = told_by(taken.old or Case(taken.case.case_id), taken.case, self.policy)
                assets += _outgoing(to_boards)
                relays += _outgoing(to_survivors)
                waiting = put_off(taken.case, self.catalogue, self.policy, clock) if partition.puts_off else None
                if waiting is not None:
                    taken.case = to_write(taken.old, waiting, self.catalogue)
                    continue
            assessment = assess(taken.case, self.catalogue, self.policy, clock, self.judged_under)
            taken.case = to_write(taken.old, assessment.case, self.catalogue)
            taken.is_over = assessment.is_over
            taken.evidence = {(change.new.sign, change.new.unit): change.evidence for change in assessment.changes}
            self._count_late(taken, assessment)
        await self._send({**letters, self.topics.assets: assets, self.topics.relays: relays})
        known = [taken for taken in in_hand.values() if not taken.is_unknown]
        written: list[_Written] = []
        for count, taken in enumerate(known, start=1):
            written += self._written(taken, clock)
            if count % BREATHE_EVERY_RECORDS == 0:
                await self._breathe(partition)
        await self._write(partition, written, [self._write_boards(partition, boards)] if boards else ())
        await self._write(partition, [record for taken in known for record in self._buried(partition.number, taken)])
        partition.counted_ms = max(partition.counted_ms, clock.now_ms)

    async def _send(self, records: Mapping[str, Sequence[Outgoing]]) -> None:
        """Produce records by topic, and wait until all of them are acknowledged."""
        await asyncio.gather(*(self.produce(topic, None, some) for topic, some in records.items() if some))

    async def _breathe(self, partition: Partition) -> None:
        """Let the event loop turn to heartbeats, scrapes and the next fetch. Raises PartitionLostError."""
        await asyncio.sleep(0)
        self._check_owned(partition)

    async def _write(
        self, partition: Partition, written: Sequence[_Written], beside: Sequence[Awaitable[object]] = ()
    ) -> None:
        """Write records, let ledger and deadlines follow, and announce what they change once they are acknowledged.

        What is written `beside` them is acknowledged then as well.
        The ledger comes first: a worker that loses the partition while it announces, and keeps its tables, has one that
        fits them, and the next `_publish` announces again.
        """
        if not (written or beside):
            return
        self._check_owned(partition)
        partition.is_announced = False
        sent = self.cases.put_many(partition.number, [(record.key, record.data) for record in written])
        acknowledged: list[Any] = await asyncio.gather(sent, *beside)
        ranges: list[OffsetRange] = acknowledged[0]
        for record in written:
            partition.update(record.key, record.old, record.new)
        # Up to the first record that is not ours: what another worker wrote late may be all that is known elsewhere.
        known = self.cases.complete_offset(partition.number) + 1
        offsets = (min(known, offset) for first, last in ranges for offset in range(first, last + 1))
        await self._announce(
            partition,
            [(offset, one) for offset, record in zip(offsets, written, strict=True) for one in record.announced],
        )
        partition.is_announced = True
        for one in (one for record in written for one in record.announced if one.announced != "withdrawn"):
            old = one.old[0] if one.old is not None and one.old[0] != "withdrawn" else None
            self.activity.verdict_changed(one.sign, old, one.announced)

    async def _announce(self, partition: Partition, announced: Iterable[tuple[int, Announcement]]) -> None:
        if self.verdicts is not None:
            messages: list[Outgoing] = []
            waiting = iter(announced)
            while some := list(islice(waiting, BREATHE_EVERY_RECORDS)):
                messages += [self.verdicts.message(offset, one) for offset, one in some]
                await self._breathe(partition)
            self._check_owned(partition)
            await self.verdicts.announce(partition.number, messages)

    async def _announce_again(self, partition: Partition) -> None:
        """Announce what an owner before, or this one, has written and may not have announced: once in a tenure.

        To be called before cases are read: nothing may be written over what is to be announced from it. All there was
        before a write was announced before it, so it is no more than what the last one changed.
        """
        if partition.is_announced:
            return
        waiting = iter((await self._unannounced(partition)).items())
        while some := list(islice(waiting, ANNOUNCE_RECORDS)):
            await self._announce(partition, self._said_by(partition.number, some))
        partition.is_announced = True

    async def _unannounced(self, partition: Partition) -> Mapping[bytes, int]:
        """Return the keys to announce again, patiently while they cannot be read; raises PartitionLostError."""
        while self.verdicts is not None:
            try:
                return await self.verdicts.unannounced(partition.number)
            except KafkaError as error:
                logger.warning("what is not announced of partition %d cannot be read yet: %s", partition.number, error)
                await asyncio.sleep(ANNOUNCE_PAUSE_SECONDS)
            finally:
                self._check_owned(partition)
        return {}

    def _said_by(self, number: int, keys: Iterable[tuple[bytes, int]]) -> Iterator[tuple[int, Announcement]]:
        """Yield what the records of some keys changed when they were written, each with the offset it came with."""
        for key, offset in keys:
            data = self.cases.get(number, key)
            if data is not None:
                for one in announcements(read_case(data), self.catalogue, self.policy):
                    yield offset, one

    def _written(self, taken: _CaseInHand, clock: Clock) -> Iterator[_Written]:
        """Yield the record to write of a case, none of one that is erased and has nothing to announce.

        One too large for the changelog leaves its residue (overflow).
        """
        key, old, new = taken.key, taken.old, taken.case
        if taken.is_over:
            yield _Written(key, None, old, None)
            return
        data = write(new)
        if len(data) > self.max_record_bytes:
            new = to_write(old, self._residue(old, new, clock), self.catalogue)
            data = write(new)
        announced = () if new is old else (*announcements(new, self.catalogue, self.policy, taken.evidence),)
        if announced or not taken.is_to_bury:
            taken.old = taken.case = new
            yield _Written(key, data, old, new, announced)

    def _residue(self, old: Case | None, new: Case, clock: Clock) -> Case:
        """Return what is left of a case that is too large for the changelog (overflow).

        All its units stay counted, judged or put off; where even that would be too large, those published before.
        """
        published = replace(old or Case(new.case_id), judged_ms=new.judged_ms)
        if new.judged_under == NOT_JUDGED:
            new = assess(new, self.catalogue, self.policy, clock).case
        residue = close(new, new.closed or "overflow", published)
        if len(write(residue)) > LARGEST_RESIDUE_BYTES:
            known = {(one.sign, one.unit) for one in published.verdicts}
            residue = replace(residue, verdicts=[one for one in residue.verdicts if (one.sign, one.unit) in known])
        return assess(residue, self.catalogue, self.policy, clock).case  # which says when it is forgotten

    def _buried(self, number: int, taken: _CaseInHand) -> Iterator[_Written]:
        """Yield the two records that an erased case leaves, once what its erasure changed is announced (rule 10).

        Until then its record holds no facts, but says what to announce: it could not be said of what is left.
        """
        if taken.is_to_bury:
            residue_key = self.residue_key(taken.key)
            residue = anonymous(taken.case, residue_key.decode())
            left = self.cases.get(number, residue_key)  # of an earlier attempt, whose second record was lost
            yield _Written(residue_key, write(residue), None if left is None else read_case(left), residue)
            yield _Written(taken.key, None, taken.old, None)  # last: alone, it would lose what was final

    @staticmethod
    def _count_late(taken: _CaseInHand, assessment: Assessment) -> None:
        """Count those of the new facts as late that came after seal (rule 3)."""
        for event_id in assessment.late_event_ids & taken.fresh.keys():
            intake, sender = taken.fresh[event_id]
            intake.take_for_late(sender)

    def _dead_letter(self, topic: str, number: int, record: Record, error: RejectedError) -> Outgoing:
        source = SourceRecord(topic, number, record.offset, record.timestamp, record.key, record.value, record.headers)
        letter = dead_letter(source, error.reason, str(error), worker_version=self.version)
        return Outgoing(letter.key, letter.value, letter.headers)

    def _write_boards(self, partition: Partition, boards: Mapping[bytes, _BoardInHand]) -> Awaitable[object]:
        """Write boards; to be awaited before what they heard is acknowledged."""
        self._check_owned(partition)
        return self.boards.put_many(partition.number, [(key, write(board.new)) for key, board in boards.items()])


@contextmanager
def _taken_back(partition: Partition, in_hand: Iterable[bytes]) -> Iterator[None]:
    """Have cases judged again if judging them is broken off: this worker may keep the partition through a rebalance."""
    try:
        yield
    except BaseException:
        partition.recheck(in_hand)
        raise


def _readable_relay(record: Record) -> Relay | None:
    """Return the relay of a record, None where nobody can have written it; raises NewerRecordError."""
    try:
        (record.key or b"\xff").decode()
        return read_relay(record.value)
    except NewerRecordError:
        raise
    except (UnreadableRecordError, UnicodeDecodeError):
        return None


def _outgoing(postings: Postings) -> Iterable[Outgoing]:
    """Yield one relay per destination and origin."""
    grouped: dict[tuple[str, str], list[Fact]] = {}
    for (to, origin, _event_id), fact in postings.items():
        grouped.setdefault((to, origin), []).append(fact)
    for (to, origin), facts in grouped.items():
        yield Outgoing(to.encode(), write(Relay(origin, facts)))


def _told(boards: Iterable[_BoardInHand]) -> Iterator[Outgoing]:
    """Yield what is new to the cases of some boards."""
    for board in boards:
        yield from _outgoing(for_members(board.old, board.new))
        for case_id in told_crowded(board.old, board.new, board.heard):
            yield Outgoing(case_id.encode(), write(Relay("", [], board.new.crowded_since_ms)))


def _in_turns(records: Sequence[Record]) -> Iterator[Sequence[Record]]:
    """Yield records so many at a time that the event loop may turn in between."""
    for first in range(0, len(records), BREATHE_EVERY_RECORDS):
        yield records[first : first + BREATHE_EVERY_RECORDS]
