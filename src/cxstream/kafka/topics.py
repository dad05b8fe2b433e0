"""The one table of the topics the service reads and writes, and the check at start that the brokers have them so."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    IncompatibleBrokerVersion,
    KafkaError,
    TopicAlreadyExistsError,
    UnsupportedVersionError,
    for_code,
)

from cxstream.domain.instant import DAY_MS

from .connection import ConnectError
from .dead_letters import SUFFIX
from .reaching import UNREACHABLE, reach

CASES_TABLE = "cases"
BOARDS_TABLE = "boards"
"""Names of the tables; Faust calls a changelog {group}-{table}-changelog."""

SOURCE_RETENTION_MS = 90 * DAY_MS
"""As long as a case that nobody ends lives: state lost for good can be built again from the sources."""
DEAD_LETTER_RETENTION_MS = 30 * DAY_MS
VERDICT_RETENTION_MS = 30 * DAY_MS
"""A consumer that is further behind than this misses changes; so long stays what was said of a case erased since."""
TOMBSTONE_RETENTION_MS = 7 * DAY_MS
"""A reader that is further behind than this would miss that a case was forgotten."""
COMPACTION_LAG_MS = DAY_MS
"""An erased case is gone from the log this long after its tombstone, also where little is written."""
LEAST_COMPACTION_LAG_MS = DAY_MS // 24
"""So long a record stays beside a later one, which may be the late write of an owner of old."""
STATED_TIME_RETENTION_BYTES = 4 * 1024**3
"""Per partition, where time cannot limit: records that state their own time may be born older than any retention."""
CHANGELOG_SEGMENT_BYTES = 128 * 1024**2
WATERMARK_SEGMENT_BYTES = 16 * 1024**2
"""A worker reads the topic from its start: it is to be compacted often."""
LARGE_MESSAGE_BYTES = 8 * 1024**2
"""Of changelogs, where a case of many facts is one record, and of dead letters, which carry more than their source."""

PAUSE_SECONDS = 0.5
REQUEST_SECONDS = 5.0
"""One request; a broker that is silent for so long is asked again while the time of the check lasts."""

Role = Literal["source", "assets", "relays", "changelog", "verdicts", "watermarks", "state", "dead-letters"]
Severity = Literal["error", "warning", "created"]
About = Literal["presence", "partitions", "configuration", "copies", "state"]


class Topic(NamedTuple):
    """One topic: what it is for, how it is keyed, and how it is created where it is missing."""

    name: str
    role: Role
    purpose: str
    key: str
    partitions: int
    replication_factor: int
    configuration: Mapping[str, str]
    co_partitioned: bool = True
    """True if a case or asset must be in the partition of the same number as in the other topics."""
    trusted: bool = False
    """True if its records may state their own delivery time."""


@dataclass(frozen=True, kw_only=True)
class TopicTable:
    """All topics of one consumer group."""

    group: str
    partitions: int
    sources: Mapping[str, Topic]
    """By kind: ticket, dispatch, parts."""
    assets: Topic
    relays: Topic
    changelogs: Mapping[str, Topic]
    """By the name of the table."""
    verdicts: Topic | None
    """Where changes of published verdicts are announced, None if they are not."""
    watermarks: Topic
    dead_letters: Mapping[str, Topic]
    """By the name of the topic a rejected record was read from."""

    @property
    def topics(self) -> tuple[Topic, ...]:
        """Every topic, sources first."""
        verdicts = () if self.verdicts is None else (self.verdicts,)
        own = (self.assets, self.relays, *self.changelogs.values(), *verdicts, self.watermarks)
        return (*self.sources.values(), *own, *self.dead_letters.values())

    @property
    def consumed(self) -> tuple[str, ...]:
        """The names of the topics the workers read as batches: the sources, and what they send each other."""
        return (*(topic.name for topic in self.sources.values()), self.assets.name, self.relays.name)


class Wanted(Protocol):
    """Topics that are checked together."""

    @property
    def group(self) -> str:
        """The consumer group they are for."""

    @property
    def topics(self) -> Sequence[Topic]:
        """All of them."""

    @property
    def sources(self) -> Mapping[str, Topic]:
        """Those of them that events are on, by kind."""


def _in_sync(replication_factor: int) -> dict[str, str]:
    # With three copies one broker may be away and every acknowledged record is still on two.
    return {"min.insync.replicas": str(max(1, min(2, replication_factor - 1)))}


def dead_letter_topic(name: str, of: str, replication_factor: int) -> Topic:
    """Return where rejected records of a topic go that workers do not read themselves."""
    configuration = {
        "cleanup.policy": "delete",
        **_in_sync(replication_factor),
        "message.timestamp.type": "LogAppendTime",
        "retention.ms": str(DEAD_LETTER_RETENTION_MS),
        "max.message.bytes": str(LARGE_MESSAGE_BYTES),
    }
    purpose, key = f"rejected records of {of}", "as in the source"
    return Topic(name, "dead-letters", purpose, key, 1, replication_factor, configuration, co_partitioned=False)


def state_topic(name: str, replication_factor: int) -> Topic:
    """Return the one compacted partition in which an intake remembers."""
    configuration = {
        "cleanup.policy": "compact",
        **_in_sync(replication_factor),
        "segment.bytes": str(WATERMARK_SEGMENT_BYTES),
        "max.message.bytes": str(LARGE_MESSAGE_BYTES),
    }
    return Topic(name, "state", "what an intake remembers", "what it is about", 1, replication_factor, configuration)


def watermarks_topic(group: str) -> str:
    """Return the name of the topic in which a group says how far its partitions are."""
    return f"{group}-watermarks"


def topic_table(
    *,
    group: str,
    sources: Mapping[str, str],
    trusted: Collection[str] = (),
    partitions: int,
    replication_factor: int,
    verdicts: str | None = None,
) -> TopicTable:
    """Return the topics of a group; `sources` are topic names by kind, `trusted` some of these, `verdicts` is one name.

    Raises ValueError if two topics have the same name.
    """
    insync = _in_sync(replication_factor)
    stated_time = {
        "message.timestamp.type": "CreateTime",
        "retention.ms": "-1",
        "retention.bytes": str(STATED_TIME_RETENTION_BYTES),
    }
    stamped_on_arrival = {"message.timestamp.type": "LogAppendTime", "retention.ms": str(SOURCE_RETENTION_MS)}
    large = {"max.message.bytes": str(LARGE_MESSAGE_BYTES)}

    def topic(
        name: str, role: Role, purpose: str, key: str, *configurations: Mapping[str, str], partitions: int = partitions
    ) -> Topic:
        merged = {"cleanup.policy": "delete", **insync}
        for configuration in configurations:
            merged |= configuration
        return Topic(
            name=name,
            role=role,
            purpose=purpose,
            key=key,
            partitions=partitions,
            replication_factor=replication_factor,
            configuration=merged,
            co_partitioned=role not in ("dead-letters", "watermarks"),
            trusted=role == "source" and name in trusted,
        )

    compacted = {
        "cleanup.policy": "compact",
        "delete.retention.ms": str(TOMBSTONE_RETENTION_MS),
        "max.compaction.lag.ms": str(COMPACTION_LAG_MS),
        "min.compaction.lag.ms": str(LEAST_COMPACTION_LAG_MS),
        "segment.bytes": str(CHANGELOG_SEGMENT_BYTES),
        **large,
    }
    small = {"cleanup.policy": "compact", "segment.bytes": str(WATERMARK_SEGMENT_BYTES)}
    announced = {"message.timestamp.type": "LogAppendTime", "retention.ms": str(VERDICT_RETENTION_MS)}
    dead = {
        "message.timestamp.type": "LogAppendTime",
        "retention.ms": str(DEAD_LETTER_RETENTION_MS),
        **large,
    }
    posted = (stamped_on_arrival, large)  # not for ever: nobody can delete what is in them about an erased case
    assets = topic(f"{group}-assets", "assets", "identity facts to asset boards", "asset_id", *posted)
    relays = topic(f"{group}-relays", "relays", "facts to other cases", "case_id", *posted)
    table = TopicTable(
        group=group,
        partitions=partitions,
        sources={
            kind: topic(
                name, "source", f"{kind} events", "case_id", stated_time if name in trusted else stamped_on_arrival
            )
            for kind, name in sources.items()
        },
        assets=assets,
        relays=relays,
        changelogs={
            CASES_TABLE: topic(
                f"{group}-{CASES_TABLE}-changelog", "changelog", "the records of cases", "case_id", compacted
            ),
            BOARDS_TABLE: topic(
                f"{group}-{BOARDS_TABLE}-changelog", "changelog", "the boards of assets", "asset_id", compacted
            ),
        },
        verdicts=None
        if verdicts is None
        else topic(verdicts, "verdicts", "changes of published verdicts", "unit", announced),
        watermarks=topic(
            watermarks_topic(group), "watermarks", "how far every partition is", "partition", small, partitions=1
        ),
        dead_letters={
            name: topic(name + SUFFIX, "dead-letters", f"rejected records of {name}", "as in the source", dead)
            for name in (*sources.values(), assets.name, relays.name)
        },
    )
    twice = [name for name, count in Counter(topic.name for topic in table.topics).items() if count > 1]
    if twice:
        raise ValueError(f"two topics of group {group} would be named {', '.join(twice)}")
    return table


# --- The check at start ---------------------------------------------------------------------------------------------


class Finding(NamedTuple):
    """What is to be said about one topic; an error keeps the worker from starting."""

    severity: Severity
    topic: str
    has: str
    needs: str
    mend: str
    about: About = "presence"

    def __str__(self) -> str:
        if self.severity == "created":
            return f"{self.topic}: created with {self.needs}"
        return f"{self.topic}: {self.has}, needs {self.needs}. {self.mend}"


class TopicsError(Exception):
    """The topics cannot be used as they are; `findings` say why and how to mend it."""

    def __init__(self, message: str, findings: Sequence[Finding] = ()) -> None:
        """Take a message, and what was found."""
        super().__init__("\n  ".join([message, *map(str, findings)]))
        self.findings = tuple(findings)


class BrokersUnreachableError(TopicsError):
    """No broker answered in time, or none could do what was asked."""


async def check(
    bootstrap: str,
    table: Wanted,
    *,
    declare: bool,
    timeout_seconds: float = 30.0,
    client: Mapping[str, Any] | None = None,
) -> list[Finding]:
    """Check that the brokers have the topics of the table, and return what is worth a warning or was created.

    With `declare` topics that are missing are created; existing ones are never altered, and nothing is created while
    one of them has another number of partitions. `client` are further arguments of an aiokafka client (security).
    Raises TopicsError for what keeps the worker from starting, BrokersUnreachableError after `timeout_seconds`; at once
    ConnectError, if the brokers refuse this client as it is configured.
    """
    last: Exception | None = None
    created: list[Finding] = []
    try:
        async with asyncio.timeout(timeout_seconds):
            while True:
                try:
                    await reach(bootstrap, client or {})
                    async with _admin(bootstrap, client or {}) as admin:
                        inspection = _Inspection(admin, table, _Tools(bootstrap, client or {}))
                        return await inspection.run(created, declare=declare)
                except ConnectError:
                    raise
                except (KafkaError, OSError, TimeoutError) as error:
                    last = error
                    await asyncio.sleep(PAUSE_SECONDS)
    except TimeoutError:
        said = f"{type(last).__name__}: {last}" if last is not None else "no answer"
        raise BrokersUnreachableError(
            f"no broker of {bootstrap} could be asked about the topics within {timeout_seconds:g} s ({said});"
            f" {UNREACHABLE}"
        ) from last


async def inspect(
    admin: AIOKafkaAdminClient, bootstrap: str, table: TopicTable, client: Mapping[str, Any]
) -> list[Finding]:
    """Return all that is wrong with the topics of the table, errors and warnings; nothing is created.

    `admin` is connected; `bootstrap` and `client` are for the wording of commands. Raises KafkaError.
    """
    inspection = _Inspection(admin, table, _Tools(bootstrap, client))
    return await inspection.wrong(await inspection.existing())


async def create_missing(
    admin: AIOKafkaAdminClient, bootstrap: str, table: TopicTable, client: Mapping[str, Any]
) -> list[Finding]:
    """Create the topics of the table that are missing, and return them; existing ones are not altered.

    Raises TopicsError, with nothing created, if a topic has another number of partitions or the state of the group is
    lost; and if a topic could not be created. Raises KafkaError.
    """
    created: list[Finding] = []
    inspection = _Inspection(admin, table, _Tools(bootstrap, client))
    await inspection.create(await inspection.existing(), created)
    return created


@contextlib.asynccontextmanager
async def _admin(bootstrap: str, client: Mapping[str, Any]) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(
        bootstrap_servers=bootstrap, **{"request_timeout_ms": int(REQUEST_SECONDS * 1000), **client}
    )
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


class _Tools:
    """Words the commands of Kafka's own tools."""

    def __init__(self, bootstrap: str, client: Mapping[str, Any]) -> None:
        secured = client.get("security_protocol", "PLAINTEXT") != "PLAINTEXT"
        self._server = f"--bootstrap-server {bootstrap}{' --command-config client.properties' if secured else ''}"

    def create(self, topic: Topic, name: str = "") -> str:
        settings = " ".join(f"--config {key}={value}" for key, value in topic.configuration.items())
        return (
            f"kafka-topics.sh {self._server} --create --topic {name or topic.name} --partitions {topic.partitions}"
            f" --replication-factor {topic.replication_factor} {settings}"
        )

    def configure(self, name: str, key: str, value: str) -> str:
        entity = f"--alter --entity-type topics --entity-name {name}"
        return f"kafka-configs.sh {self._server} {entity} --add-config {key}={value}"


Existing = Mapping[str, Mapping[str, Any]]
"""Topics the brokers list, by name, as aiokafka describes them."""


class _Inspection:
    """One attempt at the check, over one connection."""

    def __init__(self, admin: AIOKafkaAdminClient, table: Wanted, tools: _Tools) -> None:
        self._admin = admin
        self._table = table
        self._tools = tools

    async def run(self, created: list[Finding], *, declare: bool) -> list[Finding]:
        """Return the findings; `created` is kept from attempt to attempt. Raises TopicsError."""
        existing = await self.existing()
        if declare and await self.create(existing, created):
            await asyncio.sleep(PAUSE_SECONDS)  # until every broker knows them
            return await self.run(created, declare=declare)
        findings = [*created, *await self.wrong(existing)]
        self._refuse(finding for finding in findings if finding.severity == "error")
        return findings

    async def wrong(self, existing: Existing) -> list[Finding]:
        """Return all that is wrong, worst first: what is miscounted, what is missing, what is configured otherwise."""
        lost = {finding.topic: finding for finding in await self._lost(existing)}
        gone = [topic for topic in self._table.topics if topic.name not in existing]
        missing = [lost.get(topic.name) or self._missing(topic) for topic in gone]
        return [*self._all_miscounted(existing), *missing, *await self._configured(existing)]

    async def create(self, existing: Existing, created: list[Finding]) -> bool:
        """Create what is missing, add it to `created`, and return whether there was any. Raises TopicsError."""
        missing = [topic for topic in self._table.topics if topic.name not in existing]
        if missing:
            self._refuse(self._all_miscounted(existing))
            self._refuse(await self._lost(existing))
            await self._create(missing, created)
        return bool(missing)

    def _refuse(self, wrong: Iterable[Finding]) -> None:
        found = list(wrong)
        if found:
            raise TopicsError(f"group {self._table.group} cannot work with {len(found)} topics as they are:", found)

    async def _lost(self, existing: Existing) -> list[Finding]:
        """Return the changelogs that are gone while the group goes on from offsets it has committed."""
        missing = [topic for topic in self._table.topics if topic.name not in existing]
        gone = [topic for topic in missing if topic.role == "changelog"]
        sources = {topic.name for topic in self._table.sources.values()}
        if not gone or sources <= {topic.name for topic in missing}:
            return []
        try:
            offsets = await self._admin.list_consumer_group_offsets(self._table.group)
        except GroupAuthorizationFailedError:
            return []  # a worker of this user cannot join either, and says so
        read = sum(max(0, one.offset) for tp, one in offsets.items() if tp.topic in sources)
        has = f"missing, and group {self._table.group} has committed {read} records of its sources"
        mend = (
            "The state made from these records is lost, and made anew the topic would be empty: every case so far would"
            " be forgotten. Choose a new kafka.group, so that a new state is made from the start of the sources"
            " (docs/operations.md, changelog loss)."
        )
        return [Finding("error", topic.name, has, "the state", mend, "state") for topic in gone] if read else []

    async def existing(self) -> Existing:
        """Return the topics the brokers list to this user."""
        # All of them: to ask for one by name would create it where the brokers create topics by themselves.
        described = await self._admin.describe_topics()
        return {topic["topic"]: topic for topic in described if topic["partitions"]}

    async def _create(self, missing: Sequence[Topic], created: list[Finding]) -> None:
        requests = [
            NewTopic(topic.name, topic.partitions, topic.replication_factor, topic_configs=dict(topic.configuration))
            for topic in missing
        ]
        response = await self._admin.create_topics(requests, timeout_ms=int(REQUEST_SECONDS * 1000))
        refused = []
        by_name = {topic.name: topic for topic in missing}
        for name, code, *words in response.topic_errors:
            error, topic = for_code(code), by_name[name]
            if code == 0:
                needs = f"{topic.partitions} partitions, {topic.replication_factor} copies"
                created.append(Finding("created", name, "missing", needs, ""))
            elif getattr(error, "retriable", False):
                raise error(f"{name} could not be created")
            elif error is not TopicAlreadyExistsError:
                said = next(iter(words), None) or error.__name__
                has = f"missing, and could not be created ({said})"
                mend = f"Give this user the right to create it, or create it: {self._tools.create(topic)}"
                refused.append(Finding("error", name, has, _needed(topic), mend))
        if refused:
            raise TopicsError(f"{len(refused)} topics could not be created:", refused)

    def _missing(self, topic: Topic) -> Finding:
        mend = (
            f"Create it: {self._tools.create(topic)} (or start with kafka.declare_topics = true; if it is there, this"
            " user may not see it: it needs the right to describe it)."
        )
        return Finding("error", topic.name, "missing", _needed(topic), mend)

    def _all_miscounted(self, existing: Existing) -> list[Finding]:
        return [
            self._miscounted(topic, existing) for topic in self._table.topics if self._is_miscounted(topic, existing)
        ]

    def _is_miscounted(self, topic: Topic, existing: Existing) -> bool:
        found = existing.get(topic.name)
        return topic.co_partitioned and found is not None and len(found["partitions"]) != topic.partitions

    def _miscounted(self, topic: Topic, existing: Existing) -> Finding:
        count = len(existing[topic.name]["partitions"])
        why = (
            "Partitions cannot be taken away, and added ones re-hash the keys: a case or asset would be spread over two"
            " partitions and its facts would not meet."
        )
        if topic.role == "source":
            counts = [
                len(existing.get(one.name, {"partitions": ()})["partitions"]) for one in self._table.sources.values()
            ]
            alike = f" All source topics have {count}; if that is meant, set kafka.partitions = {count}."
            mend = (
                f"{why}{alike if set(counts) == {count} else ''} To re-partition, create a topic of another name"
                f" ({self._tools.create(topic, f'{topic.name}-{topic.partitions}')}), copy the records into it by key,"
                " have upstream write there, name it in kafka.topics, and choose a new kafka.group, so that a new state"
                " is made from the start of the sources."
            )
        elif topic.role == "state":
            mend = (
                "Its entries would be spread, and read in part. Delete it while no intake runs (what waits is lost),"
                " or give the map another name."
            )
        else:
            mend = (
                f"{why} The state of group {self._table.group} was made with"
                f" {count} partitions: set kafka.partitions back to {count}, or choose a new kafka.group, so that a new"
                " state is made from the start of the sources."
            )
        return Finding("error", topic.name, f"has {count} partitions", _needed(topic), mend, "partitions")

    # --- configuration of topics that exist -------------------------------------------------------------------------

    async def _configured(self, existing: Existing) -> list[Finding]:
        topics = [topic for topic in self._table.topics if topic.name in existing]
        configurations = await self._configurations(topics)
        findings = []
        for topic in topics:
            found = configurations.get(topic.name)
            if found is None:
                has, needs = "its configuration cannot be read", "the right to describe its configuration"
                mend = f"Not checked: {', '.join(_CHECKED)}."
                findings.append(Finding("warning", topic.name, has, needs, mend, "configuration"))
            else:
                findings += self._judged(topic, found)
            copies = min(len(partition["replicas"]) for partition in existing[topic.name]["partitions"])
            if copies < topic.replication_factor:
                mend = "Add replicas with kafka-reassign-partitions.sh, or set kafka.replication_factor as it is meant."
                has, needs = f"has {copies} copies", str(topic.replication_factor)
                findings.append(Finding("warning", topic.name, has, needs, mend, "copies"))
        return findings

    async def _configurations(self, topics: Sequence[Topic]) -> dict[str, dict[str, str]]:
        """Return what could be read of the checked configuration, by topic."""
        resources = [
            ConfigResource(ConfigResourceType.TOPIC, topic.name, dict.fromkeys(_CHECKED, "")) for topic in topics
        ]
        try:
            responses = await self._admin.describe_configs(resources) if resources else []
        except (IncompatibleBrokerVersion, UnsupportedVersionError):
            return {}
        found = {}
        for response in responses:
            for code, _, _, name, entries in response.resources:
                if getattr(for_code(code), "retriable", False):
                    raise for_code(code)(f"the configuration of {name} could not be read")
                if code == 0:
                    found[name] = {key: value for key, value, *_ in entries}
        return found

    def _judged(self, topic: Topic, found: Mapping[str, str]) -> Iterator[Finding]:
        def finding(severity: Severity, key: str, why: str) -> Finding:
            needed = topic.configuration[key]
            mend = f"{why} {self._tools.configure(topic.name, key, needed)}"
            return Finding(severity, topic.name, f"has {key}={found[key]}", f"{key}={needed}", mend, "configuration")

        policies = set(found.get("cleanup.policy", topic.configuration["cleanup.policy"]).split(","))
        compacted = topic.role in ("changelog", "watermarks", "state")
        if compacted and policies != {"compact"}:
            yield finding("error", "cleanup.policy", "It is the only durable state, and would be deleted by age.")
        if not compacted and "compact" in policies:
            yield finding(
                "error", "cleanup.policy", "Every event counts, and only the last one of a key would be kept."
            )
        own_time = found.get("message.timestamp.type") == "CreateTime"
        if topic.role == "source" and own_time and not topic.trusted:
            why = "Upstream clocks decide when an event was delivered; use the broker's, or trust the topic on purpose."
            yield finding("warning", "message.timestamp.type", why)
        posted_ms = topic.configuration.get("retention.ms")
        if topic.role in ("assets", "relays") and found.get("retention.ms", posted_ms) != posted_ms:
            why = "Shorter, what was not read in time is lost; longer, what was told of a case erased since stays."
            yield finding("warning", "retention.ms", why)
        for key, why in _AT_LEAST.items():
            least = topic.configuration.get(key) if topic.role != "source" else None
            if least is not None and int(found.get(key, least)) < int(least):
                yield finding("warning", key, why)


_AT_LEAST = {
    "min.insync.replicas": "A write that was acknowledged could be lost with one broker.",
    "max.message.bytes": "A long record would be refused, and the worker would stop.",
}
_CHECKED = ("cleanup.policy", "message.timestamp.type", "retention.ms", "min.insync.replicas", "max.message.bytes")


def _needed(topic: Topic) -> str:
    if topic.partitions == 1:
        return "1 partition"
    return f"{topic.partitions} partitions" + (", like every topic that takes part" if topic.co_partitioned else "")
