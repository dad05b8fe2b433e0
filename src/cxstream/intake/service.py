"""Runs an intake on Kafka: consume, map, produce with acks=all, commit. One process of a group works, others stand by.

Lookups may be taught on any partition of any topic, so one process reads them all; when it ends, another reads the
state's topic from its start and goes on from the last commit.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import logging.config
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError, RebalanceInProgressError

from cxstream.config import Settings
from cxstream.domain.instant import SECOND_MS
from cxstream.exposition.intake import IntakeActivity, Standing
from cxstream.intake.intake import LEARNING, OUTCOMES, PARKED_ENDS, Intake, Outgoing
from cxstream.intake.mapper import Raw
from cxstream.intake.mapping import IntakeMap
from cxstream.intake.state import Entry
from cxstream.intake.values import NOTES, REASONS
from cxstream.kafka.codec import Codec
from cxstream.kafka.dead_letters import SUFFIX
from cxstream.kafka.schemas import Schemas
from cxstream.kafka.topics import LARGE_MESSAGE_BYTES, Topic, TopicTable, Wanted, check, dead_letter_topic, state_topic
from cxstream.web.probes import LoopTick
from cxstream.web.server import Server

logger = logging.getLogger(__name__)

POLL_MS = 500
READ_MS = 200
FETCH_BYTES = 4 * 1024 * 1024


class OneMember(AbstractPartitionAssignor):  # type: ignore[misc]  # aiokafka has no types
    """Gives every partition to one member, the first by its id; the others stand by."""

    name = "cxstream-one-member"
    version = 0

    @classmethod
    def assign(cls, cluster: Any, members: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ANN401  # aiokafka's types
        """Return the assignment of each member."""
        first = min(members)
        topics = sorted({topic for member in members.values() for topic in member.subscription})
        whole = [(topic, sorted(cluster.partitions_for_topic(topic) or ())) for topic in topics]
        return {
            member: ConsumerProtocolMemberAssignment(cls.version, whole if member == first else [], b"")
            for member in members
        }

    @classmethod
    def metadata(cls, topics: Iterable[str]) -> Any:  # noqa: ANN401
        """Return what a member says of itself."""
        return ConsumerProtocolMemberMetadata(cls.version, list(topics), b"")

    @classmethod
    def on_assignment(cls, assignment: Any) -> None:  # noqa: ANN401
        """Take note of nothing."""


def group_of(settings: Settings, intake_map: IntakeMap) -> str:
    """Return the consumer group of an intake: named after the workers' group and its map."""
    return f"{settings.kafka.group}-intake-{intake_map.name}"


def state_of(settings: Settings, intake_map: IntakeMap) -> str:
    """Return the name of the topic an intake keeps its state in."""
    return f"{group_of(settings, intake_map)}-state"


class IntakeTopics:
    """The topics of an intake as they must be: its state, dead letters, and those it sends events to."""

    def __init__(self, settings: Settings, intake_map: IntakeMap, events: TopicTable) -> None:
        self.group = group_of(settings, intake_map)
        self.sources: Mapping[str, Topic] = events.sources
        copies = settings.kafka.replication_factor
        letters = [dead_letter_topic(topic.name + SUFFIX, topic.name, copies) for topic in intake_map.topics]
        self.topics: Sequence[Topic] = (
            *events.sources.values(),
            state_topic(state_of(settings, intake_map), copies),
            *letters,
        )


class Service(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """One process of an intake."""

    def __init__(self, settings: Settings, intake_map: IntakeMap, client: Mapping[str, Any]) -> None:
        """`client` are further arguments of aiokafka clients (security). Nothing connects before `run`."""
        kafka = settings.kafka
        skew_ms = settings.policy().clock_skew_ms
        self.group = group_of(settings, intake_map)
        self.activity = IntakeActivity(
            kafka.group,
            (topic.name for topic in intake_map.topics),
            outcomes=OUTCOMES,
            reasons=REASONS,
            parked_ends=PARKED_ENDS,
            learning=LEARNING,
            notes=NOTES,
        )
        self._map = intake_map
        self._client = {"bootstrap_servers": kafka.bootstrap, **client}
        self._state = TopicPartition(state_of(settings, intake_map), 0)
        self._intake = Intake(
            intake_map,
            encode=Codec(Schemas.packaged(), skew_ms=skew_ms).encode,
            topics=kafka.topics.by_kind(),
            trusted=frozenset(kafka.trusted_topics),
            state_topic=self._state.topic,
            skew_ms=skew_ms,
            version=version("cxstream"),
        )
        self._consumer = AIOKafkaConsumer(
            group_id=self.group,
            group_instance_id=kafka.instance_id,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            partition_assignment_strategy=(OneMember,),
            session_timeout_ms=int(kafka.session_timeout_seconds * SECOND_MS),
            heartbeat_interval_ms=int(kafka.heartbeat_seconds * SECOND_MS),
            max_partition_fetch_bytes=FETCH_BYTES,
            **self._client,
        )
        self._producer = AIOKafkaProducer(
            acks="all",
            enable_idempotence=True,
            linger_ms=5,
            compression_type="zstd",
            max_request_size=LARGE_MESSAGE_BYTES,
            **self._client,
        )
        self._working = asyncio.Lock()
        self._is_restored = False
        self._has_joined = False
        self._stopping = asyncio.Event()
        self._tick = LoopTick()

    # --- the group

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Finish the records in hand, offsets committed, before another process may go on from there."""
        async with self._working:
            if revoked:
                self._is_restored = False

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Begin anew: another process may have gone on meanwhile."""
        self._is_restored = False
        self._has_joined = True
        logger.info("%s", "reads all topics" if assigned else "stands by")

    # --- the loop

    async def run(self) -> None:
        """Work until stopped. Raises KafkaError where the brokers refuse, UnreadableStateError."""
        ticking = asyncio.ensure_future(self._tick.run())
        await self._producer.start()
        try:
            await self._consumer.start()
            self._consumer.subscribe([topic.name for topic in self._map.topics], listener=self)
            while not self._stopping.is_set():
                await self._work()
        finally:
            ticking.cancel()
            with contextlib.suppress(KafkaError):
                await self._consumer.stop()
            await self._producer.stop()

    def stop(self) -> None:
        """Let the records in hand be finished, then end."""
        self._stopping.set()

    async def _work(self) -> None:
        most = self._map.limits.batch_records
        fetched = await self._consumer.getmany(timeout_ms=POLL_MS, max_records=most)
        async with self._working:
            if not self._consumer.assignment():
                self._stand(active=False)
                return
            if not self._is_restored:
                # What was fetched may be from before: it is fetched again, from the last commit on.
                await self._restore()
                return
            raws = [_raw(tp, record) for tp, records in fetched.items() for record in records]
            await self._take(raws, {tp: records[-1].offset + 1 for tp, records in fetched.items() if records})

    async def _restore(self) -> None:
        """Read the state, then go on from what is committed: no other process of the group commits any more."""
        self._intake.restore(await self._read_state())
        for tp in self._consumer.assignment():
            offset = await self._consumer.committed(tp)
            if offset is None:
                await self._consumer.seek_to_beginning(tp)
            else:
                self._consumer.seek(tp, offset)
        self._is_restored = True
        self._stand(active=True)

    async def _take(self, raws: Sequence[Raw], offsets: Mapping[TopicPartition, int]) -> None:
        work = self._intake.take(raws, _now_ms())
        await self._send(work.sent)
        await self._send(work.after)
        if offsets:
            try:
                await self._consumer.commit(dict(offsets))
            except (CommitFailedError, IllegalStateError, RebalanceInProgressError) as error:
                # Whoever reads them next does them again, and finds what they teach.
                logger.warning("offsets were not committed: %s", type(error).__name__)
                self._is_restored = False
        self.activity.count(work.tally)
        self._stand(active=True)

    async def _send(self, outgoing: Iterable[Outgoing]) -> None:
        """Produce in this order; returns when all is acknowledged."""
        sent = [await self._producer.send(one.topic, one.value, one.key, headers=list(one.headers)) for one in outgoing]
        await asyncio.gather(*sent)

    async def _read_state(self) -> list[Entry]:
        """Return the records of the state's topic, from its start to its end now."""
        reader = AIOKafkaConsumer(
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=FETCH_BYTES,
            **self._client,
        )
        entries: list[Entry] = []
        try:
            await reader.start()
            reader.assign([self._state])
            end = (await reader.end_offsets([self._state]))[self._state]
            while await reader.position(self._state) < end:
                for records in (await reader.getmany(timeout_ms=READ_MS)).values():
                    entries += [(record.key, record.value) for record in records]
        finally:
            await reader.stop()
        return entries

    # --- what is shown

    def _stand(self, *, active: bool) -> None:
        parking = self._intake.parking
        since_ms = parking.oldest_ms
        self.activity.standing = Standing(
            active=active,
            parked=len(parking),
            parked_bytes=parking.size_bytes,
            oldest_parked_seconds=0.0 if since_ms is None else max(0, _now_ms() - since_ms) / SECOND_MS,
            lookup_keys=len(self._intake.lookups),
        )

    def tick_age_seconds(self) -> float:
        """Return how many seconds ago the event loop last ticked."""
        return self._tick.age_seconds()

    def ready(self) -> tuple[bool, str]:
        """Return whether it works or stands by; if not, what is missing."""
        if not self._has_joined:
            return False, "joining the group"
        standing_by = not self._consumer.assignment()
        return self._is_restored or standing_by, "reading its state"

    def started(self) -> bool:
        """Return whether it has joined its group."""
        return self._has_joined


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _raw(tp: TopicPartition, record: Any) -> Raw:  # noqa: ANN401  # aiokafka's record
    return Raw(tp.topic, tp.partition, record.offset, record.timestamp, record.key, record.value, tuple(record.headers))


class IntakeError(Exception):
    """The intake cannot start as things are; the text says what to mend."""


def clashes(settings: Settings, intake_map: IntakeMap, events: TopicTable) -> list[str]:
    """Return what a map and the settings say against each other, each with its mend."""
    ours = {topic.name for topic in events.topics} | {state_of(settings, intake_map)}
    wrong = [
        f"topics {number} ({topic.name}): it is a topic of cxstream itself; expected a topic other systems write to"
        for number, topic in enumerate(intake_map.topics, 1)
        if topic.name in ours
    ]
    trusted = settings.kafka.trusted_topics
    by_kind = settings.kafka.topics.by_kind()
    for number, topic in enumerate(intake_map.topics, 1):
        untrusted = sorted({by_kind[event.topic] for event in topic.events} - set(trusted))
        if topic.delivered_at is not None and untrusted:
            wrong.append(
                f"topics {number} ({topic.name}), delivered_at: workers do not believe it on {', '.join(untrusted)};"
                " expected these in kafka.trusted_topics, or no delivered_at"
            )
    return wrong


async def _missing(intake_map: IntakeMap, client: Mapping[str, Any], bootstrap: str) -> list[str]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, **client)
    try:
        await consumer.start()
        there = await consumer.topics()
    finally:
        await consumer.stop()
    return [topic.name for topic in intake_map.topics if topic.name not in there]


async def _run(settings: Settings, intake_map: IntakeMap, wanted: Wanted, client: Mapping[str, Any]) -> None:
    kafka = settings.kafka
    for finding in await check(kafka.bootstrap, wanted, declare=kafka.declare_topics, client=client):
        logger.warning("%s", finding)
    missing = await _missing(intake_map, client, kafka.bootstrap)
    if missing:
        raise IntakeError(f"there is no topic {', '.join(missing)}: mend its name in the map, or have it created")
    service = Service(settings, intake_map, client)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, service.stop)
    http = settings.http
    async with Server(service.activity.page, service, host=http.host, port=http.port, catalogue={}):
        await service.run()


def run(
    settings: Settings,
    intake_map: IntakeMap,
    events: TopicTable,
    client: Mapping[str, Any],
    logging_config: Mapping[str, Any],
) -> None:
    """Check map and topics, then work until SIGTERM or SIGINT.

    Raises IntakeError or TopicsError with what to mend; KafkaError if the brokers refuse: what was not committed is
    done again by the next process.
    """
    logging.config.dictConfig(dict(logging_config))
    wrong = clashes(settings, intake_map, events)
    if wrong:
        raise IntakeError("\n  ".join(["the map does not fit the settings:", *wrong]))
    asyncio.run(_run(settings, intake_map, IntakeTopics(settings, intake_map, events), client))
