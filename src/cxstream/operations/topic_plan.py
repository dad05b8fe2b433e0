"""What is to be done so that the topics are as the service needs them, and the doing of it: create, and alter if told.

Nothing is ever deleted, and no number of partitions is changed: what that would take is said instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from cxstream.config import Settings
from cxstream.kafka import topics
from cxstream.kafka.cluster import Cluster, ClusterSeen, TopicSeen
from cxstream.kafka.topics import Topic, TopicTable
from cxstream.operations.findings import Progress, no_progress
from cxstream.worker import connection_of, topics_of

UNBOUNDED = -1
SETTLING_LOOKS = 20


class Creation(NamedTuple):
    """A topic that is missing."""

    topic: Topic

    def document(self) -> dict[str, Any]:
        """Return it as one JSON object."""
        return {
            "action": "create",
            "topic": self.topic.name,
            "purpose": self.topic.purpose,
            "partitions": self.topic.partitions,
            "replication_factor": self.topic.replication_factor,
            "configuration": dict(self.topic.configuration),
        }

    def __str__(self) -> str:
        settings = " ".join(f"{key}={value}" for key, value in self.topic.configuration.items())
        made_with = f"{self.topic.partitions} partitions, {self.topic.replication_factor} copies, {settings}"
        return f"create  {self.topic.name}: {made_with}"


class Alteration(NamedTuple):
    """A configuration of a topic of the service's own that is not as it must be."""

    topic: str
    key: str
    has: str | None
    needs: str

    def document(self) -> dict[str, Any]:
        """Return it as one JSON object."""
        return {"action": "alter", **self._asdict()}

    def __str__(self) -> str:
        return f"alter   {self.topic}: {self.key} from {self.has} to {self.needs}"


class Obstacle(NamedTuple):
    """What is not as it must be, and cannot or must not be changed here; `mend` says what it takes."""

    topic: str
    has: str
    needs: str
    mend: str

    def document(self) -> dict[str, Any]:
        """Return it as one JSON object."""
        return {"action": "none", **self._asdict()}

    def __str__(self) -> str:
        return f"cannot  {self.topic}: {self.has}, needs {self.needs}\n{'':8}{self.mend}"


class Plan(NamedTuple):
    """All there is to do."""

    creations: Sequence[Creation]
    alterations: Sequence[Alteration]
    obstacles: Sequence[Obstacle]

    @property
    def status(self) -> int:
        """The exit status: 0 nothing is to be done, 1 `apply` would do it, 2 something cannot be done."""
        return 2 if self.obstacles else 1 if self.creations or self.alterations else 0

    @property
    def all(self) -> Sequence[Creation | Alteration | Obstacle]:
        """Everything, what can be done first."""
        return (*self.creations, *self.alterations, *self.obstacles)

    @property
    def summary(self) -> str:
        """The counts in words."""
        return (
            f"{len(self.creations)} topics to create, {len(self.alterations)} configurations to alter,"
            f" {len(self.obstacles)} things that cannot be done here"
        )


def _same(has: str, needs: str) -> bool:
    return set(has.split(",")) == set(needs.split(","))


def _at_least(has: str, needs: str) -> bool:
    return int(has) == UNBOUNDED or int(has) >= int(needs) != UNBOUNDED


def _at_most(has: str, needs: str) -> bool:
    return int(has) <= int(needs)


_FITS: Mapping[str, Callable[[str, str], bool]] = {
    "cleanup.policy": _same,
    "message.timestamp.type": _same,
    "min.insync.replicas": _at_least,
    "retention.ms": _at_least,
    "retention.bytes": _at_least,
    "delete.retention.ms": _at_least,
    "max.message.bytes": _at_least,
    "min.compaction.lag.ms": _at_least,
    "max.compaction.lag.ms": _at_most,
    "segment.bytes": _at_most,
}
"""Whether what a topic has is good enough: one that keeps or takes more is left as it is."""


def plan_of(table: TopicTable, seen: ClusterSeen, found: Sequence[topics.Finding]) -> Plan:
    """Return what is to be done, by the topics as they are and what the check of a worker says of them."""
    hidden = [topic for topic in table.topics if seen.topics[topic.name].error not in _KNOWN]
    lost = {one.topic for one in found if one.about == "state"}
    creations = [
        Creation(topic)
        for topic in table.topics
        if seen.topics[topic.name].error == "UnknownTopicOrPartitionError" and topic.name not in lost
    ]
    alterations = [
        one for topic in table.topics if topic.role != "source" for one in _alterations(topic, seen.topics[topic.name])
    ]
    sources = {topic.name for topic in table.sources.values()}
    obstacles = [Obstacle(topic.name, str(seen.topics[topic.name].error), "to be seen", _HIDDEN) for topic in hidden]
    for one in found:
        if one.about in ("partitions", "copies", "state"):
            obstacles.append(Obstacle(one.topic, one.has, one.needs, one.mend))
        elif one.about == "configuration" and one.topic in sources:
            obstacles.append(Obstacle(one.topic, one.has, one.needs, f"It is upstream's to change. {one.mend}"))
        elif one.about == "configuration" and seen.topics[one.topic].configuration is None:
            obstacles.append(Obstacle(one.topic, one.has, one.needs, one.mend))
    return Plan(creations, alterations, obstacles)


_KNOWN = (None, "UnknownTopicOrPartitionError")
_HIDDEN = "Give this user the right to describe it."


def _alterations(topic: Topic, seen: TopicSeen) -> Iterator[Alteration]:
    if not seen.exists or seen.configuration is None:
        return
    for key, needs in topic.configuration.items():
        has = seen.configuration.get(key)
        if has is None or not _FITS[key](has, needs):
            yield Alteration(topic.name, key, has, needs)


async def look(cluster: Cluster, settings: Settings) -> Plan:
    """Return what is to be done. Raises KafkaError."""
    table, client = topics_of(settings), connection_of(settings).client
    seen = await cluster.look([topic.name for topic in table.topics])
    found = await cluster.again(lambda: topics.inspect(cluster.admin, settings.kafka.bootstrap, table, client))
    return plan_of(table, seen, found)


async def plan(settings: Settings, progress: Progress = no_progress) -> Plan:
    """Connect and return what is to be done; nothing is changed. Raises UnreachableError, KafkaError."""
    progress("topics", 0, 1)
    async with Cluster(settings.kafka.bootstrap, connection_of(settings).client) as cluster:
        return await look(cluster, settings)


async def apply(
    settings: Settings, *, alter: bool, tell: Callable[[str], None], progress: Progress = no_progress
) -> Plan:
    """Create what is missing and, with `alter`, alter what is configured otherwise; return what is left to be done.

    Each thing is told when it is done. While a topic has another number of partitions, or the state of the group is
    lost, nothing is done. Raises TopicsError, RefusedError (the brokers say no), UnreachableError, KafkaError.
    """
    client = connection_of(settings).client
    async with Cluster(settings.kafka.bootstrap, client) as cluster:
        before = await look(cluster, settings)
        table = topics_of(settings)
        if before.creations:
            progress("create topics", 0, len(before.creations))
            for one in await topics.create_missing(cluster.admin, settings.kafka.bootstrap, table, client):
                tell(f"created {one.topic}: {one.needs}")
        by_topic: dict[str, dict[str, str]] = {}
        for alteration in before.alterations if alter else ():
            by_topic.setdefault(alteration.topic, {})[alteration.key] = alteration.needs
        for done, (name, changes) in enumerate(by_topic.items()):
            progress("alter configurations", done, len(by_topic))
            await cluster.alter(name, changes)
            tell(f"altered {name}: {', '.join(f'{key}={value}' for key, value in changes.items())}")
        return await _settled(cluster, settings, alter=alter)


async def _settled(cluster: Cluster, settings: Settings, *, alter: bool) -> Plan:
    """Look again until brokers that were told know of what was done: they hear of it one after the other."""
    for _attempt in range(SETTLING_LOOKS):
        after = await look(cluster, settings)
        if not after.creations and not (alter and after.alterations):
            break
        await asyncio.sleep(topics.PAUSE_SECONDS)
    return after
