"""A case agent driven by hand: the real one, with tables and topics in memory that outlive it, as a broker's would."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, cast

from aiokafka.errors import KafkaError
from aiokafka.partitioner import murmur2
from faust.types import TP

from cxstream.config import load
from cxstream.domain.policy import Policy
from cxstream.domain.vocabulary import TOPICS
from cxstream.engine.assess import Catalogue, Clock
from cxstream.engine.source_quality import SourceQuality
from cxstream.exposition.activity import Activity
from cxstream.kafka.case_agent import CaseAgent, TopicRoles
from cxstream.kafka.changelog_table import Changed, OffsetRange, Outgoing
from cxstream.kafka.codec import MAX_MESSAGE_BYTES, Codec
from cxstream.kafka.dead_letters import REASONS
from cxstream.kafka.partition import Holdings, Partition
from cxstream.kafka.partition_batches import PartitionBatch
from cxstream.kafka.ports import Engine
from cxstream.kafka.schemas import SchemaIds, Schemas
from cxstream.kafka.verdict_stream import VerdictStream
from cxstream.vital_signs import TIER_A
from parts.worker import Samples

POLICY = Policy()
SCHEMAS = Schemas.packaged()
IDS = "1=ticket/v1,2=dispatch/v1,3=parts/v1"
NUMBER = 0
"""The one partition there is."""
ASSETS, RELAYS, LETTERS, VERDICTS = "assets", "relays", ".dead-letters", "verdicts"
TRUSTED = frozenset({"dispatch"})
"""The topic whose delivery header is believed; topics are called what they hold."""
_ROUNDS = 40
_WINDOWS = load(None, {}).windows()


class CrashError(Exception):
    """The process ends here."""


class Record(NamedTuple):
    """A record as aiokafka hands it over."""

    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: Sequence[tuple[str, bytes | None]] = ()
    offset: int = 0


class Letter(NamedTuple):
    """A dead letter: why, and the record it is about."""

    reason: str
    source: str
    offset: int


def residue_key(key: bytes) -> bytes:
    """Return the key under which an erased case is remembered."""
    return b"erased:" + hashlib.blake2b(key, digest_size=16).hexdigest().encode()


class Broker:
    """What outlives a process: the records of the tables, and what was produced."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[bytes, bytes]] = {"cases": {}, "boards": {}}
        self.produced: dict[str, list[Outgoing]] = {}
        self.changelogs: dict[str, list[bytes]] = {"cases": [], "boards": []}
        """The keys of all records that were taken of each table, in order."""
        self.crash_after: int | None = None
        """So many more records are taken; None: any number."""
        self.watch: Callable[[], None] = lambda: None
        """Called before each record is taken, as a scrape may come at any time."""

    async def produce(self, topic: str, _partition: int | None, records: Sequence[Outgoing]) -> None:
        """Take records, one by one."""
        for record in records:
            await self._taken()
            self.produced.setdefault(topic, []).append(record)

    async def write(self, table: str, key: bytes, value: bytes | None) -> None:
        """Take a record of a table."""
        await self._taken()
        self.changelogs[table].append(key)
        if value is None:
            self.tables[table].pop(key, None)
        else:
            self.tables[table][key] = value

    def verdicts(self) -> list[Record]:
        """Return the messages of the topic of verdicts so far."""
        sent = self.produced.get(VERDICTS, [])
        return [Record(one.key, one.value, 0, one.headers, offset) for offset, one in enumerate(sent)]

    def letters(self) -> list[Letter]:
        """Return the dead letters so far."""
        found = []
        for topic, records in self.produced.items():
            for record in records if topic.endswith(LETTERS) else ():
                headers = {name: value or b"" for name, value in record.headers}
                offset = int(headers["cxstream.error.offset"])
                found.append(Letter(headers["cxstream.error.reason"].decode(), topic.removesuffix(LETTERS), offset))
        return found

    async def _taken(self) -> None:
        self.watch()
        await asyncio.sleep(0)
        if self.crash_after is not None:
            if not self.crash_after:
                raise CrashError
            self.crash_after -= 1


class MemoryTable:
    """A table of one partition: what it holds is read from the broker when its process starts."""

    def __init__(self, name: str, broker: Broker) -> None:
        self._name = name
        self._broker = broker
        self._values = dict(broker.tables[name])

    @property
    def name(self) -> str:
        """Return the table's name."""
        return self._name

    @property
    def changelog_topic_name(self) -> str:
        """Return the topic its writes go to."""
        return f"{self._name}-changelog"

    def get(self, partition: int, key: bytes) -> bytes | None:
        """Return a value, None when there is none."""
        return self._values.get(key) if partition == NUMBER else None

    def items_of(self, _partition: int) -> Iterator[tuple[bytes, bytes]]:
        """Iterate over all there is."""
        return iter(self._values.items())

    def count(self, _partition: int) -> int:
        """Return the number of keys."""
        return len(self._values)

    def state_bytes(self, _partition: int) -> int:
        """Return how many bytes there are."""
        return sum(len(key) + len(value) for key, value in self._values.items())

    def put_many(self, _partition: int, items: Sequence[tuple[bytes, bytes | None]]) -> Awaitable[list[OffsetRange]]:
        """Set keys here at once, and at the broker one by one; None deletes."""
        for key, value in items:
            if value is None:
                self._values.pop(key, None)
            else:
                self._values[key] = value
        return asyncio.ensure_future(self._deliver(items))

    async def _deliver(self, items: Sequence[tuple[bytes, bytes | None]]) -> list[OffsetRange]:
        first = len(self._broker.changelogs[self._name])
        for key, value in items:
            await self._broker.write(self._name, key, value)
        return [OffsetRange(first, first + len(items) - 1)]

    def complete_offset(self, _partition: int) -> int:
        """Return the offset of the last record: nobody else writes."""
        return len(self._broker.changelogs[self._name]) - 1

    def unread_ranges(self, _partition: int) -> list[OffsetRange]:
        """Return that nobody else writes."""
        return []

    def stale(self, _partition: int) -> Sequence[Record]:
        """Return that nobody wrote late."""
        return ()

    def was_united(self, _partition: int) -> None:
        """Take note of nothing."""

    def was_read(self, _partition: int, _read: OffsetRange) -> None:
        """Take note of nothing."""


class Reading:
    """What the stream of verdicts asks of the machinery under it."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self.unanswered = 0
        """So many of the next questions are not answered."""

    async def produce_many(self, topic: str, partition: int | None, records: Sequence[Outgoing]) -> None:
        """Produce records."""
        await self._broker.produce(topic, partition, records)

    async def last(self, _tp: TP) -> Record | None:
        """Return the last message."""
        if self.unanswered:
            self.unanswered -= 1
            raise KafkaError("no answer")
        sent = self._broker.verdicts()
        return sent[-1] if sent else None

    async def keys(self, _tp: TP, first: int) -> dict[bytes, int]:
        """Return the keys in the changelog of cases from an offset on."""
        return {key: offset for offset, key in enumerate(self._broker.changelogs["cases"]) if offset >= first}


class Life:
    """One process of the agent: starts from what the broker holds, counts from nothing."""

    def __init__(
        self,
        broker: Broker,
        *,
        wall_ms: Callable[[], int],
        settled_ms: Callable[[], int] | None = None,
        partitions: int = 1,
        schema_ids: SchemaIds | None = None,
        catalogue: Catalogue = TIER_A,
        policy: Policy = POLICY,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        sources: Sequence[str] = (),
    ) -> None:
        """Start; a job of more partitions than one puts most keys elsewhere. `sources` are names told apart.

        Up to `settled_ms` every fact has come, and what it relays; up to `wall_ms` if nothing is said.
        """
        self.broker = broker
        self.quality = SourceQuality(TOPICS, sources, kept=3)
        self.activity = Activity("by-hand", reasons=REASONS, signs=(), sources=self.quality)
        self.cases = MemoryTable("cases", broker)
        self.reading = Reading(broker)
        self.acknowledged = 0
        """Records of source topics whose batch was acknowledged."""
        ids = SchemaIds.from_text(SCHEMAS, IDS) if schema_ids is None else schema_ids
        self.codec = Codec(SCHEMAS, ids, skew_ms=policy.clock_skew_ms, max_message_bytes=max_message_bytes)
        self.agent = CaseAgent(
            catalogue=catalogue,
            policy=policy,
            codec=self.codec,
            schema_ids=ids,
            topics=TopicRoles({name: name for name in TOPICS}, TRUSTED, ASSETS, RELAYS),
            cases=self.cases,
            boards=MemoryTable("boards", broker),
            produce=broker.produce,
            partition=lambda _number: self.partition,
            clock=lambda _partition: Clock(wall_ms(), wall_ms() if settled_ms is None else settled_ms()),
            wall_ms=wall_ms,
            activity=self.activity,
            partition_of=lambda key: (murmur2(key) & 0x7FFFFFFF) % partitions,
            version="0",
            due_limit=1_000,
            max_record_bytes=1024 * 1024,
            residue_key=residue_key,
            quality=self.quality,
            verdicts=VerdictStream(VERDICTS, cast("Engine", self.reading), self.cases, "fingerprint"),
        )
        self.partition = Partition(NUMBER, 1, Holdings(_WINDOWS, self.agent.judged_under), TOPICS)

    async def recover(self) -> None:
        """Add up what the tables hold."""
        holdings = Holdings(_WINDOWS, self.agent.judged_under)
        holdings.read(Changed(key, None, data) for key, data in self.cases.items_of(NUMBER))
        holdings.complete()
        self.partition = Partition(NUMBER, 1, holdings, TOPICS)

    async def process(self, topic: str, records: Sequence[Record]) -> None:
        """Process a batch that holds one topic; what the agent raises is raised, and then nothing is acknowledged."""
        await self.process_all({topic: records})

    async def process_all(self, records: Mapping[str, Sequence[Record]]) -> None:
        """Process a batch of several topics."""
        queued = {topic: list(some) for topic, some in records.items() if some}
        if queued:
            acked: list[PartitionBatch] = []

            def acknowledge(batch: PartitionBatch) -> bool:
                acked.append(batch)
                return True

            batch = PartitionBatch(NUMBER, queued, 1, acknowledge, lambda _batch: not acked)
            await self.agent.process(batch)
            assert acked == [batch], "processed, and not acknowledged once"
            self.acknowledged += sum(len(queued.get(topic, ())) for topic in TOPICS)

    async def settle(self) -> None:
        """Let what was relayed reach boards and cases, until nothing more is."""
        for _ in range(_ROUNDS):
            waiting = {topic: list(self.broker.produced.get(topic, ())) for topic in (ASSETS, RELAYS)}
            if not any(waiting.values()):
                return
            await self.process_all(
                {topic: [Record(one.key, one.value, 0) for one in sent] for topic, sent in waiting.items()}
            )
            for topic, sent in waiting.items():
                del self.broker.produced.get(topic, [])[: len(sent)]
        raise AssertionError("relays beget relays without end")

    def scrape(self) -> Samples:
        """Return what the process says of its work."""
        found = (sample for metric in self.activity.collect() for sample in metric.samples)
        return Samples("", [(one.name, one.labels, one.value) for one in found])
