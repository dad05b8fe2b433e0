"""How far a group is: members, owners, lag, clocks and recovery, from the brokers and from workers that answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import aiohttp
import msgspec
from aiokafka import TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from cxstream.config import Settings
from cxstream.domain.instant import SECOND_MS, format_duration, format_instant
from cxstream.engine.watermark import Said
from cxstream.exposition.families import (
    OWNER_GENERATION,
    PARTITION_READY,
    POLICY_INFO,
    RECOVERY_REMAINING,
    WATERMARK,
    WORKER_STATE,
)
from cxstream.kafka.cluster import FIRST_BATCH_ONLY, Bounds, Cluster, GroupSeen, Member, Reader
from cxstream.kafka.topics import TopicTable
from cxstream.live import scheme_of
from cxstream.operations.findings import Progress, no_progress
from cxstream.operations.observation import wall_ms
from cxstream.worker import connection_of, topics_of

WORKER_SECONDS = 3.0
"""Patience with one worker."""
MAX_METRICS_BYTES = 64 * 1024 * 1024
FRESH_SECONDS = 900.0
"""Beyond this no figure is trusted (the recording rules' limit)."""
WORDS_A_PARTITION = 20
"""So many of the last records of the watermark topic are read per partition, before all of it is."""

Address = str
"""Of a worker's pages, host:port."""


class Lag(NamedTuple):
    """What of one topic is not processed yet."""

    records: int
    seconds: float
    """How long the oldest of them has been waiting; 0 if there is none."""

    def plus(self, other: Lag) -> Lag:
        """Return both together."""
        return Lag(self.records + other.records, max(self.seconds, other.seconds))


class WorkerSeen(NamedTuple):
    """What one worker says of itself on /metrics; `error` instead where it does not answer."""

    address: Address
    error: str | None = None
    state: str = ""
    policy: str = ""
    ready: frozenset[int] = frozenset()
    generations: Mapping[int, int] = {}
    watermark_ms: Mapping[int, int] = {}
    recovering: Mapping[int, int] = {}
    """Changelog records still to be read, by partition."""


class PartitionStatus(NamedTuple):
    """One partition number over all topics."""

    number: int
    owner: str | None
    """The member it is assigned to, as instance id or client id with its host."""
    ready: bool | None
    """Whether a worker speaks for it; None where no worker could be asked."""
    lag: Lag
    """Of source topics, relays and assets together."""
    clock_ms: int | None
    """How far it is, as its owner said last; None: nothing was ever said of it."""
    recovery_remaining: int | None
    """Changelog records still to be read; None where no worker could be asked."""
    changelog_records: int
    """Offsets its changelogs span: what recovery reads at most."""


class Status(NamedTuple):
    """The group as it is now."""

    group: str
    state: str
    members: Sequence[Mapping[str, Any]]
    partitions: Sequence[PartitionStatus]
    topics: Mapping[str, Lag]
    workers: Sequence[WorkerSeen]
    now_ms: int
    missing: Sequence[str]
    """Topics that are not there, or cannot be seen."""

    @property
    def owned(self) -> float:
        """The share of partitions that have an owner, as the brokers see it."""
        return sum(one.owner is not None for one in self.partitions) / len(self.partitions)

    @property
    def coverage(self) -> float | None:
        """The share of partitions some worker speaks for; None where no worker could be asked."""
        if all(worker.error is not None for worker in self.workers):
            return None
        return sum(bool(one.ready) for one in self.partitions) / len(self.partitions)

    @property
    def freshness_seconds(self) -> float | None:
        """How far the slowest partition's clock is behind now; None while nothing was said of one."""
        clocks = [one.clock_ms for one in self.partitions]
        known = [clock for clock in clocks if clock is not None]
        return max(0.0, (self.now_ms - min(known)) / SECOND_MS) if len(known) == len(clocks) else None

    @property
    def lag(self) -> Lag:
        """What is not processed yet, over all partitions."""
        total = Lag(0, 0.0)
        for one in self.partitions:
            total = total.plus(one.lag)
        return total

    @property
    def status(self) -> int:
        """The exit status: 0 every partition is covered and fresh, 1 one is not, or nobody could say so."""
        covered, fresh = self.coverage, self.freshness_seconds
        whole = covered is not None and covered >= 1
        return 0 if whole and fresh is not None and fresh <= FRESH_SECONDS and not self.missing else 1

    @property
    def recovery_remaining(self) -> int:
        """Changelog records still to be read by all workers that could be asked."""
        return sum(one.recovery_remaining or 0 for one in self.partitions)

    @property
    def changelog_records(self) -> int:
        """Offsets that all changelogs span."""
        return sum(one.changelog_records for one in self.partitions)

    def document(self) -> dict[str, Any]:
        """Return it as one JSON object."""
        return {
            "group": self.group,
            "state": self.state,
            "at": format_instant(self.now_ms),
            "owned": self.owned,
            "coverage": self.coverage,
            "freshness_seconds": self.freshness_seconds,
            "lag": self.lag._asdict(),
            "recovery_remaining_records": self.recovery_remaining,
            "members": list(self.members),
            "workers": [_told(worker) for worker in self.workers],
            "topics": {name: lag._asdict() for name, lag in self.topics.items()},
            "missing_topics": list(self.missing),
            "partitions": [
                {
                    "partition": one.number,
                    "owner": one.owner,
                    "ready": one.ready,
                    "lag": one.lag._asdict(),
                    "clock": None if one.clock_ms is None else format_instant(one.clock_ms),
                    "recovery_remaining_records": one.recovery_remaining,
                    "changelog_records": one.changelog_records,
                }
                for one in self.partitions
            ],
        }

    def text(self) -> str:
        """Return it for people."""
        lag, coverage, fresh = self.lag, self.coverage, self.freshness_seconds
        covered = "unknown (no worker answered: name them with --worker)" if coverage is None else f"{coverage:.0%}"
        lines = [
            f"group {self.group}: {_STATES.get(self.state, self.state)}, {len(self.members)} members",
            f"coverage   {covered}; {self.owned:.0%} of {len(self.partitions)} partitions have an owner",
            f"freshness  {'nothing was said of some partitions yet' if fresh is None else _seconds(fresh) + ' behind'}",
            f"lag        {lag.records} records, the oldest has waited {_seconds(lag.seconds)}",
            f"recovery   {self.recovery_remaining} of {self.changelog_records} records still to be read",
        ]
        lines += [f"missing    {name}" for name in self.missing]
        lines += [
            f"worker     {one.address}: {one.error or f'{one.state}, speaks for {len(one.ready)} partitions'}"
            for one in self.workers
        ]
        lines += [
            f"topic      {name}: {one.records} records behind, {_seconds(one.seconds)}"
            for name, one in self.topics.items()
            if one.records
        ]
        lines.append(f"{'partition':<10} {'ready':<6} {'lag':>9} {'waits':>10} {'clock behind':>13}  owner")
        for one in self.partitions:
            ready = "?" if one.ready is None else "yes" if one.ready else "no"
            behind = "-" if one.clock_ms is None else _seconds(max(0.0, (self.now_ms - one.clock_ms) / SECOND_MS))
            waits = _seconds(one.lag.seconds) if one.lag.records else "-"
            owner = one.owner or "nobody"
            lines.append(f"{one.number:<10} {ready:<6} {one.lag.records:>9} {waits:>10} {behind:>13}  {owner}")
        return "\n".join(lines)


_STATES = {"Dead": "nobody has joined it yet", "Empty": "no worker runs"}
"""What the brokers call a group, in words."""


def _seconds(seconds: float) -> str:
    return format_duration(int(seconds) * SECOND_MS)


def _told(worker: WorkerSeen) -> dict[str, Any]:
    return {
        "address": worker.address,
        "error": worker.error,
        "state": worker.state,
        "policy": worker.policy,
        "ready": sorted(worker.ready),
        "generations": sorted(set(worker.generations.values())),
    }


async def status(
    settings: Settings,
    *,
    workers: Sequence[Address] = (),
    timeout_seconds: float = 10.0,
    wall_ms: Callable[[], int] = wall_ms,
    progress: Progress = no_progress,
) -> Status:
    """Return how far the group of a configuration is; no worker needs to run.

    `workers` are asked for their metrics, by https where `http.cert_file` is set; with none given, one at the host of
    every member, at the port configured here.
    Raises UnreachableError where no broker can be spoken to, KafkaError where one does not answer later on.
    """
    kafka, table = settings.kafka, topics_of(settings)
    async with Cluster(kafka.bootstrap, connection_of(settings).client) as cluster:
        progress("brokers and topics", 0, 1)
        seen = await cluster.look([topic.name for topic in table.topics])
        progress("the group", 0, 1)
        group, committed = await cluster.group(kafka.group), await cluster.committed(kafka.group)
        read = [*table.consumed, *(topic.name for topic in table.changelogs.values()), table.watermarks.name]
        led = [
            TopicPartition(name, number)
            for name in read
            for number, one in seen.topics[name].partitions.items()
            if one.leader is not None
        ]
        async with cluster.reader(max_partition_fetch_bytes=FIRST_BATCH_ONLY) as reader:
            progress("how far topics go", 0, 1)
            bounds = await reader.bounds(led)
            lags = await _lags(reader, table, committed, bounds, wall_ms, timeout_seconds)
        async with cluster.reader() as reader:
            progress("how far partitions are", 0, 1)
            words = TopicPartition(table.watermarks.name, 0)
            said = await _said(reader, words, bounds.get(words, Bounds(0, 0)), kafka.partitions, timeout_seconds)
    addresses = list(workers) or _addresses(group, settings.http.port)
    progress("the workers", 0, 1)
    scheme = scheme_of(settings)
    told = list(await asyncio.gather(*(_ask(address, scheme) for address in addresses)))
    return Status(
        group=kafka.group,
        state=group.state,
        members=[_member(member) for member in group.members],
        partitions=[_partition(number, table, group, lags, bounds, said, told) for number in range(kafka.partitions)],
        topics={name: _over(lags, name) for name in table.consumed},
        workers=told,
        now_ms=wall_ms(),
        missing=[topic.name for topic in table.topics if not seen.topics[topic.name].exists],
    )


async def _lags(
    reader: Reader,
    table: TopicTable,
    committed: Mapping[TopicPartition, int],
    bounds: Mapping[TopicPartition, Bounds],
    wall_ms: Callable[[], int],
    timeout_seconds: float,
) -> dict[TopicPartition, Lag]:
    """Return what is behind in the topics that are read, by the offsets that are committed."""
    nexts = {
        tp: max(committed.get(tp, first), first) for tp, (first, _end) in bounds.items() if tp.topic in table.consumed
    }
    behind = {tp: offset for tp, offset in nexts.items() if offset < bounds[tp].end}
    oldest = await reader.first(behind, within_seconds=timeout_seconds)
    now_ms = wall_ms()
    return {
        tp: Lag(
            max(0, bounds[tp].end - offset),
            max(0, now_ms - oldest[tp].timestamp) / SECOND_MS if tp in oldest else 0.0,
        )
        for tp, offset in nexts.items()
    }


def _over(lags: Mapping[TopicPartition, Lag], topic: str) -> Lag:
    total = Lag(0, 0.0)
    for tp, lag in lags.items():
        total = total.plus(lag) if tp.topic == topic else total
    return total


async def _said(
    reader: Reader, tp: TopicPartition, bounds: Bounds, partitions: int, timeout_seconds: float
) -> dict[int, int]:
    """Return the clock of every partition, as its owner said last; of the newest words first, then of all."""
    clocks: dict[int, int] = {}
    tail = max(bounds.first, bounds.end - WORDS_A_PARTITION * partitions)
    for first, end in ((tail, bounds.end), (bounds.first, tail)):
        if len(clocks) < partitions and end > first:
            records = await reader.between({tp: Bounds(first, end)}, within_seconds=timeout_seconds)
            for number, clock_ms in _clocks(records):
                clocks[number] = max(clock_ms, clocks.get(number, 0))
    return clocks


def _clocks(records: Iterable[Any]) -> Iterable[tuple[int, int]]:
    for record in records:
        if record.key is not None and record.key.isdigit() and record.value is not None:
            yield int(record.key), msgspec.json.decode(record.value, type=Said).marks[0]


def _member(member: Member) -> dict[str, Any]:
    numbers = {number for numbers in member.assigned.values() for number in numbers}
    return {
        "member_id": member.member_id,
        "instance_id": member.instance_id,
        "client_id": member.client_id,
        "host": member.host,
        "partitions": sorted(numbers),
    }


def _partition(
    number: int,
    table: TopicTable,
    group: GroupSeen,
    lags: Mapping[TopicPartition, Lag],
    bounds: Mapping[TopicPartition, Bounds],
    clocks: Mapping[int, int],
    workers: Sequence[WorkerSeen],
) -> PartitionStatus:
    source = next(iter(table.sources.values())).name
    owner = next((one for one in group.members if number in one.assigned.get(source, ())), None)
    lag = Lag(0, 0.0)
    for tp, one in lags.items():
        lag = lag.plus(one) if tp.partition == number else lag
    heard = [worker for worker in workers if worker.error is None]
    changelogs = [bounds.get(TopicPartition(topic.name, number), Bounds(0, 0)) for topic in table.changelogs.values()]
    clocks_ms = [worker.watermark_ms[number] for worker in heard if number in worker.ready]
    return PartitionStatus(
        number=number,
        owner=None if owner is None else owner.instance_id or f"{owner.client_id} at {owner.host}",
        ready=any(number in worker.ready for worker in heard) if heard else None,
        lag=lag,
        clock_ms=max([*clocks_ms, *([clocks[number]] if number in clocks else [])], default=None),
        recovery_remaining=sum(worker.recovering.get(number, 0) for worker in heard) if heard else None,
        changelog_records=sum(end - first for first, end in changelogs),
    )


# --- Workers ----------------------------------------------------------------------------------------------------------


def _addresses(group: GroupSeen, port: int) -> list[Address]:
    hosts = dict.fromkeys(member.host for member in group.members)
    return [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host in hosts if port]


async def _ask(address: Address, scheme: str = "http") -> WorkerSeen:
    """Ask one worker for its metrics; a certificate must be one the system trusts, for this address."""
    timeout = aiohttp.ClientTimeout(total=WORKER_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(f"{scheme}://{address}/metrics", allow_redirects=False) as answer,
        ):
            if answer.status != _OK:
                return WorkerSeen(address, f"answered with HTTP status {answer.status}")
            body = bytearray()
            async for chunk in answer.content.iter_chunked(65_536):
                body += chunk
                if len(body) > MAX_METRICS_BYTES:
                    return WorkerSeen(address, f"answered with more than {MAX_METRICS_BYTES} bytes")
            return worker_of(address, body.decode())
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        return WorkerSeen(address, f"does not answer ({type(error).__name__})")


_OK = 200


def worker_of(address: Address, metrics: str) -> WorkerSeen:
    """Return what the metrics of a worker say. Raises ValueError if they are no metrics."""
    by_name: dict[str, list[Any]] = {}
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            by_name.setdefault(sample.name, []).append(sample)

    def numbered(name: str) -> dict[int, float]:
        values: dict[int, float] = {}
        for sample in by_name.get(name, ()):
            number = int(sample.labels["partition"])
            values[number] = values.get(number, 0.0) + sample.value
        return values

    states = [sample.labels["state"] for sample in by_name.get(WORKER_STATE.name, ()) if sample.value]
    policies = [sample.labels["fingerprint"] for sample in by_name.get(POLICY_INFO.name, ())]
    return WorkerSeen(
        address=address,
        state=next(iter(states), "unknown"),
        policy=next(iter(policies), ""),
        ready=frozenset(number for number, value in numbered(PARTITION_READY.name).items() if value),
        generations={number: int(value) for number, value in numbered(OWNER_GENERATION.name).items()},
        watermark_ms={number: int(value * SECOND_MS) for number, value in numbered(WATERMARK.name).items()},
        recovering={number: int(value) for number, value in numbered(RECOVERY_REMAINING.name).items()},
    )
