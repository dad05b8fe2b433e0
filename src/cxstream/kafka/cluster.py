"""What the brokers know of a job: its topics, rights, group, offsets and records. Nothing changes them but `alter`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.conn import create_conn
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata
from aiokafka.errors import GroupAuthorizationFailedError, KafkaError, for_code

from .requests import AlterTopic, DescribeGroup, Metadata

Address = tuple[str, int]

POLL_MS = 200
FETCH_WAIT_MS = 20
"""A broker answers so soon where a partition has nothing new, and does not hold up the others it is asked for."""
FIRST_BATCH_ONLY = 1
"""Bytes to ask of a partition where one record is enough: brokers answer with the first batch, whatever its size."""

_RIGHTS = {3: "read", 4: "write", 5: "create", 6: "delete", 7: "alter", 8: "describe", 10: "describe-configs"}
_RIGHTS_UNKNOWN = -(2**31)


class BrokerSeen(NamedTuple):
    """One broker, at the address it advertises; `unreachable` says why it cannot be spoken to from here."""

    number: int
    address: str
    unreachable: str | None


class PartitionSeen(NamedTuple):
    """Where a partition is: its leader (None: none at present), its replicas, and those in sync."""

    leader: int | None
    replicas: Sequence[int]
    in_sync: Sequence[int]


class TopicSeen(NamedTuple):
    """One topic as the brokers describe it to this user."""

    name: str
    error: str | None
    """Name of the error it was described with, as TopicAuthorizationFailedError; None: none."""
    partitions: Mapping[int, PartitionSeen]
    rights: frozenset[str] | None
    """What this user may do: read, write ...; None where the brokers do not say."""
    configuration: Mapping[str, str] | None
    """Every configuration by name, defaults included; None where it cannot be read."""

    @property
    def exists(self) -> bool:
        """Whether it is there, and this user may know."""
        return self.error is None


class Member(NamedTuple):
    """One member of the group."""

    member_id: str
    instance_id: str | None
    client_id: str
    host: str
    topics: frozenset[str]
    """What it subscribed to."""
    assigned: Mapping[str, frozenset[int]]
    """What it was given, by topic."""


class GroupSeen(NamedTuple):
    """The consumer group as its coordinator describes it; `state` is Dead where there is none."""

    state: str
    protocol_type: str
    members: Sequence[Member]
    error: str | None
    rights: frozenset[str] | None


class Bounds(NamedTuple):
    """The offsets a partition has: of the oldest record it keeps, and of the next one that will be written."""

    first: int
    end: int


class ClusterSeen(NamedTuple):
    """The brokers, the topics asked for, and what this user may do with the cluster."""

    cluster_id: str
    brokers: Sequence[BrokerSeen]
    topics: Mapping[str, TopicSeen]
    rights: frozenset[str] | None


Record = Any
"""aiokafka's ConsumerRecord."""


class UnreachableError(Exception):
    """No broker could be spoken to; `why` says of each address what went wrong."""

    def __init__(self, why: Mapping[str, str]) -> None:
        """Take what went wrong, by address."""
        super().__init__("; ".join(f"{address}: {said}" for address, said in why.items()))
        self.why = dict(why)


class RefusedError(Exception):
    """The brokers refused to do what was asked."""


class Cluster:
    """A connection to the brokers of a job, outside its group; an async context manager.

    Raises UnreachableError when it is entered and no broker can be spoken to. Its methods raise KafkaError.
    """

    def __init__(self, bootstrap: str, client: Mapping[str, Any], *, request_seconds: float = 5.0) -> None:
        """Take the addresses, further arguments of an aiokafka client (security), and the patience with one request."""
        self._bootstrap = bootstrap
        self._client = dict(client)
        self._request_ms = int(request_seconds * 1000)
        self.admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=self._request_ms, **client)

    async def __aenter__(self) -> Self:
        """Connect."""
        try:
            with _quiet("aiokafka"):
                await self.admin.start()
        except (KafkaError, OSError, TimeoutError) as error:
            await self.admin.close()
            addresses = [_address(text) for text in self._bootstrap.split(",")]
            found = {f"{host}:{port}": await self._why((host, port)) for host, port in addresses}
            raise UnreachableError(
                {at: why or f"{type(error).__name__}: {error}" for at, why in found.items()}
            ) from error
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        await self.admin.close()

    async def _why(self, address: Address) -> str | None:
        """Say why a broker cannot be spoken to; None if it can."""
        try:
            with _quiet("aiokafka"):
                connection = await create_conn(*address, request_timeout_ms=self._request_ms, **self._client)
        except (KafkaError, OSError, TimeoutError) as error:
            return _in_words(error)
        connection.close()
        return None

    # --- what there is ----------------------------------------------------------------------------------------------

    async def look(self, topics: Sequence[str]) -> ClusterSeen:
        """Describe the brokers and these topics; a topic is never created by asking for it."""
        answer = await self.admin._send_request(Metadata(topics))
        addresses = {number: (host, port) for number, host, port, _rack in answer.brokers}
        why = await asyncio.gather(*(self._why(address) for address in addresses.values()))
        brokers = [
            BrokerSeen(number, f"{host}:{port}", said)
            for (number, (host, port)), said in zip(addresses.items(), why, strict=True)
        ]
        there = [name for code, name, *_ in answer.topics if code == 0]
        configurations = await self._configurations(there)
        seen = {}
        for code, name, _internal, partitions, rights in answer.topics:
            found = {
                number: PartitionSeen(leader if leader >= 0 else None, tuple(replicas), tuple(in_sync))
                for _code, number, leader, _epoch, replicas, in_sync, _offline in partitions
            }
            error = for_code(code).__name__ if code else None
            seen[name] = TopicSeen(name, error, dict(sorted(found.items())), _rights(rights), configurations.get(name))
        return ClusterSeen(answer.cluster_id or "", brokers, seen, _rights(answer.authorized_operations))

    async def _configurations(self, topics: Sequence[str]) -> dict[str, Mapping[str, str]]:
        resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in topics]
        found: dict[str, Mapping[str, str]] = {}
        for response in await self.admin.describe_configs(resources) if resources else ():
            for code, _words, _kind, name, entries in response.resources:
                if code == 0:
                    found[name] = {key: value for key, value, *_ in entries if value is not None}
        return found

    async def broker_configuration(self, number: int, names: Collection[str]) -> Mapping[str, str]:
        """Return configurations of a broker; nothing where this user may not know them."""
        resource = ConfigResource(ConfigResourceType.BROKER, str(number), dict.fromkeys(names, ""))
        (response,) = await self.admin.describe_configs([resource])
        ((code, _words, _kind, _name, entries),) = response.resources
        return {key: value for key, value, *_ in entries if value is not None} if code == 0 else {}

    async def group(self, group: str) -> GroupSeen:
        """Describe the consumer group."""
        try:
            coordinator = await self.again(lambda: self.admin.find_coordinator(group))
        except GroupAuthorizationFailedError as error:
            return GroupSeen("unknown", "", (), type(error).__name__, None)
        answer = await self.admin._send_request(DescribeGroup(group), coordinator)
        ((code, _group, state, protocol_type, _protocol, members, rights),) = answer.groups
        return GroupSeen(
            state or "Dead",
            protocol_type or "",
            [_member(*member) for member in members],
            for_code(code).__name__ if code else None,
            _rights(rights),
        )

    async def committed(self, group: str) -> dict[TopicPartition, int]:
        """Return what the group has committed; nothing where this user may not know it."""
        try:
            offsets = await self.again(lambda: self.admin.list_consumer_group_offsets(group))
        except GroupAuthorizationFailedError:
            return {}
        return {TopicPartition(*tp): one.offset for tp, one in offsets.items() if one.offset >= 0}

    async def again(self, ask: Callable[[], Awaitable[Any]]) -> Any:
        """Ask again while brokers are not ready: the coordinator of a cluster's first group is made when asked for."""
        deadline = time.monotonic() + self._request_ms / 1000
        while True:
            try:
                return await ask()
            except KafkaError as error:
                if not error.retriable or time.monotonic() > deadline:
                    raise
            await asyncio.sleep(POLL_MS / 1000)

    async def alter(self, topic: str, settings: Mapping[str, str]) -> None:
        """Set configurations of a topic and leave its others as they are. Raises RefusedError."""
        answer = await self.admin._send_request(AlterTopic(topic, settings))
        for code, words, _kind, name in answer.resources:
            if code:
                raise RefusedError(f"{name}: {for_code(code).__name__}{f' ({words})' if words else ''}")

    # --- records ----------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def reader(self, **options: Any) -> AsyncIterator[Reader]:
        """Read records outside any group, as the workers do: committed ones only."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            request_timeout_ms=self._request_ms,
            fetch_max_wait_ms=FETCH_WAIT_MS,
            **{**options, **self._client},
        )
        try:
            await consumer.start()
            await asyncio.sleep(0)  # its tasks begin: one that never did lets its cancellation by stop() out on us
            yield Reader(consumer)
        finally:
            await consumer.stop()


class Reader:
    """Reads some records of some partitions; its methods raise KafkaError."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer

    async def bounds(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, Bounds]:
        """Return where partitions begin and end; they must have a leader."""
        if not tps:
            return {}
        firsts = await self._consumer.beginning_offsets(tps)
        ends = await self._consumer.end_offsets(tps)
        return {tp: Bounds(firsts[tp], ends[tp]) for tp in tps}

    async def tail(
        self,
        bounds: Mapping[TopicPartition, Bounds],
        count: int,
        *,
        within_seconds: float,
        progress: Callable[[int, int], None] = lambda _done, _all: None,
    ) -> list[Record]:
        """Return up to `count` of the newest records of each partition; fewer if time runs out."""
        starts = {tp: max(first, end - count) for tp, (first, end) in bounds.items() if end > first}
        return await self.between(
            {tp: Bounds(start, bounds[tp].end) for tp, start in starts.items()},
            within_seconds=within_seconds,
            progress=progress,
        )

    async def between(
        self,
        ranges: Mapping[TopicPartition, Bounds],
        *,
        within_seconds: float,
        progress: Callable[[int, int], None] = lambda _done, _all: None,
    ) -> list[Record]:
        """Return the records at these offsets; fewer if time runs out."""
        left = {tp: one for tp, one in ranges.items() if one.end > one.first}
        if not left:
            return []
        self._consumer.assign(list(left))
        for tp, one in left.items():
            self._consumer.seek(tp, one.first)
        asked, records = sum(one.end - one.first for one in left.values()), []
        deadline = time.monotonic() + within_seconds
        while left and time.monotonic() < deadline:
            for tp, fetched in (await self._consumer.getmany(timeout_ms=POLL_MS)).items():
                records += [record for record in fetched if tp in left and record.offset < left[tp].end]
            left = {tp: one for tp, one in left.items() if await self._consumer.position(tp) < one.end}
            progress(min(asked, len(records)), asked)
        progress(asked, asked)
        return records

    async def first(self, at: Mapping[TopicPartition, int], *, within_seconds: float) -> dict[TopicPartition, Record]:
        """Return the first record of each partition from an offset on, of those that come in time."""
        if not at:
            return {}
        self._consumer.assign(list(at))
        for tp, offset in at.items():
            self._consumer.seek(tp, offset)
        found: dict[TopicPartition, Record] = {}
        deadline = time.monotonic() + within_seconds
        while len(found) < len(at) and time.monotonic() < deadline:
            fetched = await self._consumer.getmany(*(at.keys() - found.keys()), timeout_ms=POLL_MS)
            for tp, records in fetched.items():
                found.setdefault(TopicPartition(*tp), records[0])
        return found

    async def arriving(self, ends: Mapping[TopicPartition, int], *, seconds: float) -> list[Record]:
        """Return what is written to partitions from these ends on, while it is waited for."""
        if not ends or seconds <= 0:
            return []
        self._consumer.assign(list(ends))
        for tp, end in ends.items():
            self._consumer.seek(tp, end)
        records: list[Record] = []
        deadline = time.monotonic() + seconds
        while not records and time.monotonic() < deadline:
            for fetched in (await self._consumer.getmany(timeout_ms=POLL_MS)).values():
                records += fetched
        return records


def _member(
    member_id: str, instance_id: str | None, client_id: str, host: str, metadata: bytes, assignment: bytes
) -> Member:
    subscribed: frozenset[str] = frozenset()
    assigned: dict[str, frozenset[int]] = {}
    with contextlib.suppress(Exception):  # a member of another protocol says it in another way
        subscribed = frozenset(ConsumerProtocolMemberMetadata.decode(metadata).subscription)
    with contextlib.suppress(Exception):
        given = ConsumerProtocolMemberAssignment.decode(assignment).assignment
        assigned = {topic: frozenset(numbers) for topic, numbers in given}
    return Member(member_id, instance_id, client_id, host.lstrip("/"), subscribed, assigned)


def _rights(bits: int) -> frozenset[str] | None:
    if bits == _RIGHTS_UNKNOWN:
        return None
    return frozenset(name for bit, name in _RIGHTS.items() if bits & (1 << bit))


def _address(text: str) -> Address:
    host, _, port = text.strip().rpartition(":")
    return host.strip("[]"), int(port)


def _in_words(error: BaseException) -> str:
    cause = error.__cause__ or error.__context__ or error
    words = str(error) or str(cause)
    return f"{type(error).__name__}{f': {words}' if words else ''}"


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Keep a library from logging what is told in words of our own."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
