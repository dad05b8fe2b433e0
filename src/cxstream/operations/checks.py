"""The doctor's questions, each a function of what was observed: no I/O here, and the clock is part of that."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence

from aiokafka import TopicPartition

from cxstream.config import policy_stated
from cxstream.domain.instant import SECOND_MS, format_duration, format_instant
from cxstream.domain.policy import Policy
from cxstream.engine.policies import differences, fingerprint_of
from cxstream.kafka.cluster import Bounds, TopicSeen
from cxstream.kafka.topics import CASES_TABLE, LARGE_MESSAGE_BYTES, Role, Topic
from cxstream.operations.findings import Finding, Severity
from cxstream.operations.observation import Observation, Sample, by_topic
from cxstream.operations.partitioners import OTHERS, elsewhere, explained_by

Findings = Iterator[Finding]

NEEDED_RIGHTS: Mapping[Role, tuple[str, ...]] = {
    "source": ("describe", "read"),
    "assets": ("describe", "read", "write"),
    "relays": ("describe", "read", "write"),
    "changelog": ("describe", "read", "write"),
    "verdicts": ("describe", "read", "write"),
    "watermarks": ("describe", "read", "write"),
    "dead-letters": ("describe", "write"),
}
"""What the user of a worker must be allowed to do with topics."""

NOT_AUTHORISED = "AuthorizationFailed"
USUAL_PARTITIONS = (12, 24, 48)
"""Divisible by most numbers of workers."""
UNBOUNDED = -1
COPIED_MORE_BYTES = 8 * 1024
"""A dead letter is at most so much larger than its source."""


def brokers(seen: Observation) -> Findings:
    """Ask whether every broker answers at the address it advertises, and there are enough for the copies wanted."""
    copies, count = seen.settings.kafka.replication_factor, len(seen.cluster.brokers)
    lost = [broker for broker in seen.cluster.brokers if broker.unreachable is not None]
    for broker in lost:
        yield Finding(
            "error",
            "brokers",
            f"broker {broker.number}",
            f"advertises {broker.address}, where it cannot be spoken to from here ({broker.unreachable})",
            "Start it; if it runs, correct its advertised.listeners, or the name service, route or firewall from here.",
        )
    if not lost:
        yield Finding("ok", "brokers", f"cluster {seen.cluster.cluster_id}", f"{count} brokers, all of them answer")
    if count < copies:
        missing = any(not seen.cluster.topics[topic.name].exists for topic in seen.table.topics)
        yield Finding(
            "error" if missing else "warning",
            "brokers",
            "kafka.replication_factor",
            f"{copies} copies are wanted of every topic, and there are {count} brokers",
            f"Add brokers, or set kafka.replication_factor = {count}: a topic with more copies cannot be created.",
        )
    yield from _sessions(seen)


def _sessions(seen: Observation) -> Findings:
    wanted_ms = seen.settings.kafka.session_timeout_seconds * SECOND_MS
    limits = seen.broker_configuration
    least, most = (int(limits.get(f"group.{end}.session.timeout.ms", wanted_ms)) for end in ("min", "max"))
    if not least <= wanted_ms <= most:
        yield Finding(
            "error",
            "brokers",
            "kafka.session_timeout_seconds",
            f"is {wanted_ms / SECOND_MS:g}, and the brokers allow {least / SECOND_MS:g} to {most / SECOND_MS:g}",
            "Set it within these: no worker could join its group.",
        )


def permissions(seen: Observation) -> Findings:
    """Ask whether this user may do with topics and group what a worker does."""
    findings = [*_topics_not_allowed(seen), *_group_not_allowed(seen)]
    for name, error in seen.unreadable.items():
        if NOT_AUTHORISED not in error:
            said = f"its records cannot be read ({error})"
            findings.append(Finding("error", "permissions", name, said, "Look at the log of its leader."))
    yield from findings
    if not findings:
        yield Finding("ok", "permissions", "this user", "may do with the topics and the group all that a worker does")


def _topics_not_allowed(seen: Observation) -> Findings:
    for topic in seen.table.topics:
        found, needed = seen.cluster.topics[topic.name], NEEDED_RIGHTS[topic.role]
        if not found.exists:
            lacking = needed if NOT_AUTHORISED in str(found.error) else ()
        else:
            lacking = tuple(right for right in needed if found.rights is not None and right not in found.rights)
        if not lacking and NOT_AUTHORISED in seen.unreadable.get(topic.name, ""):
            lacking = ("read",)
        if lacking:
            yield _not_allowed(topic.name, lacking, "topic")


def _group_not_allowed(seen: Observation) -> Findings:
    kafka, may = seen.settings.kafka, seen.group.rights
    if NOT_AUTHORISED in (seen.group.error or "") or (may is not None and "read" not in may):
        yield _not_allowed(kafka.group, ("describe", "read"), "group")
    missing = any(not topic.exists for topic in seen.cluster.topics.values())
    if kafka.declare_topics and missing and seen.cluster.rights is not None and "create" not in seen.cluster.rights:
        yield _not_allowed("the cluster", ("create",), "cluster")


def _not_allowed(name: str, lacking: Sequence[str], kind: str) -> Finding:
    operations = " ".join(f"--operation {''.join(part.capitalize() for part in one.split('-'))}" for one in lacking)
    where = {"topic": f"--topic {name}", "group": f"--group {name}", "cluster": "--cluster"}[kind]
    return Finding(
        "error",
        "permissions",
        name,
        f"not authorised: this user may not {' and '.join(lacking)} it",
        f"kafka-acls.sh --add --allow-principal User:<user> {operations} {where}",
    )


def topics(seen: Observation) -> Findings:
    """Ask whether every topic is there, with the partitions, copies and configuration the service needs."""
    hidden = {
        name for name, one in seen.cluster.topics.items() if one.error is not None and NOT_AUTHORISED in one.error
    }
    told: set[str] = set()
    for found in seen.topic_findings:
        if found.topic in hidden or found.about == "state":
            continue
        told.add(found.topic)
        declared = found.about == "presence" and seen.settings.kafka.declare_topics
        severity: Severity = "error" if found.severity == "error" and not declared else "warning"
        mend = "kafka.declare_topics is true: the first worker creates it." if declared else found.mend
        yield Finding(severity, "topics", found.topic, f"{found.has}, needs {found.needs}", mend)
    for topic in seen.table.topics:
        one = seen.cluster.topics[topic.name]
        if not one.exists:
            continue
        findings = [*_leaders(one), *_writable(topic, one), *_times(topic, one, seen.settings.policy())]
        yield from findings
        if not findings and topic.name not in told:
            copies = min(len(partition.replicas) for partition in one.partitions.values())
            yield Finding("ok", "topics", topic.name, f"{len(one.partitions)} partitions, {copies} copies")


def _leaders(topic: TopicSeen) -> Findings:
    leaderless = [number for number, one in topic.partitions.items() if one.leader is None]
    if leaderless:
        yield Finding(
            "error",
            "topics",
            topic.name,
            f"partitions {_numbers(leaderless)} have no leader: they can be neither read nor written",
            "Start the brokers that have their replicas.",
        )
    behind = [
        number
        for number, one in topic.partitions.items()
        if len(one.in_sync) < len(one.replicas) and number not in leaderless
    ]
    if behind:
        yield Finding(
            "warning",
            "topics",
            topic.name,
            f"partitions {_numbers(behind)} have copies that are not in sync",
            "Start the brokers that have them, or wait until they have caught up; take no other broker away meanwhile.",
        )


def _writable(topic: Topic, found: TopicSeen) -> Findings:
    configuration = found.configuration or {}
    insync = int(configuration.get("min.insync.replicas", 1))
    copies = min((len(one.replicas) for one in found.partitions.values()), default=0)
    if insync > copies:
        yield Finding(
            "error",
            "topics",
            topic.name,
            f"has min.insync.replicas={insync} and {copies} copies: every write that waits for all is refused",
            f"Set min.insync.replicas={topic.configuration['min.insync.replicas']}, or add copies.",
        )
    elif insync == copies > 1:
        yield Finding(
            "warning",
            "topics",
            topic.name,
            f"has min.insync.replicas={insync} and as many copies: with one broker away nothing can be written",
            f"Set min.insync.replicas={topic.configuration['min.insync.replicas']}.",
        )
    if topic.role == "changelog" and configuration.get("unclean.leader.election.enable") == "true":
        yield Finding(
            "warning",
            "topics",
            topic.name,
            "has unclean.leader.election.enable=true: acknowledged records may be lost",
            "Set it to false: the changelog is the only durable state.",
        )


def _times(topic: Topic, found: TopicSeen, policy: Policy) -> Findings:
    """Tell where records that state their own time would be refused or deleted for it."""
    configuration = found.configuration or {}
    if topic.configuration.get("message.timestamp.type") != "CreateTime":
        return
    before_ms = int(configuration.get("message.timestamp.before.max.ms", policy.remembered_ms))
    if before_ms < policy.memory_ms:
        yield Finding(
            "error",
            "topics",
            topic.name,
            f"has message.timestamp.before.max.ms={before_ms} ({format_duration(before_ms)})",
            "Facts of old cases state when they were delivered: their records would be refused. Remove that limit.",
        )
    retention_ms = int(configuration.get("retention.ms", UNBOUNDED))
    if topic.role == "source" and retention_ms != UNBOUNDED:
        yield Finding(
            "warning",
            "retention",
            topic.name,
            f"is trusted, so its records state their own time, and has retention.ms={retention_ms}"
            f" ({format_duration(retention_ms)})",
            "Replayed history is born older than that and may be deleted unread: set retention.ms=-1, and limit its"
            " size.",
        )


def retention(seen: Observation) -> Findings:
    """Ask whether events are kept while verdicts may still need them, so that lost state can be built again."""
    need_ms = longest_need_ms(seen.settings.policy())
    for topic in seen.table.sources.values():
        configuration = seen.cluster.topics[topic.name].configuration
        if configuration is None or topic.trusted:
            continue
        kept_ms, kept_bytes = (int(configuration.get(f"retention.{unit}", UNBOUNDED)) for unit in ("ms", "bytes"))
        if kept_ms != UNBOUNDED and kept_ms < need_ms:
            yield Finding(
                "warning",
                "retention",
                topic.name,
                f"keeps events for {format_duration(kept_ms)}; verdicts may need them for {format_duration(need_ms)}",
                "Running workers have them in their changelog; state that is lost, or made anew, would lack them. Set"
                f" retention.ms={need_ms}.",
            )
        elif kept_bytes != UNBOUNDED:
            yield Finding(
                "warning",
                "retention",
                topic.name,
                f"keeps {kept_bytes} bytes a partition, however young they are",
                "Set retention.bytes=-1, and size the disks for the time: state made anew would lack what is deleted.",
            )
        else:
            kept = "for ever" if kept_ms == UNBOUNDED else f"for {format_duration(kept_ms)}"
            yield Finding("ok", "retention", topic.name, f"keeps events {kept}; {format_duration(need_ms)} are needed")
    yield from _nearly_lost(seen)


def _nearly_lost(seen: Observation) -> Findings:
    for topic in seen.table.sources.values():
        kept_ms = int((seen.cluster.topics[topic.name].configuration or {}).get("retention.ms", UNBOUNDED))
        oldest = [at_ms for tp, at_ms in seen.unread_since_ms.items() if tp.topic == topic.name]
        waiting_ms = seen.now_ms - min(oldest, default=seen.now_ms)
        if seen.committed and kept_ms != UNBOUNDED and waiting_ms > kept_ms / 2:
            yield Finding(
                "warning",
                "retention",
                topic.name,
                f"has a record that has waited {format_duration(waiting_ms)} to be processed; after"
                f" {format_duration(kept_ms)} it is deleted",
                "Start workers, or raise retention.ms at once.",
            )


def longest_need_ms(policy: Policy) -> int:
    """Return for how long after its delivery an event may still decide what is shown.

    A case nobody ends listens until it is abandoned; what is decided is shown for the longest window, and one that was
    fixed is open to a repeat for R and to lateness for H.
    """
    return max(policy.abandonment_ms, policy.memory_ms)


def sizes(seen: Observation) -> Findings:
    """Ask whether every message that a source topic takes fits through the service."""
    limit, wrong = seen.settings.limits.max_message_bytes, 0
    for topic in seen.table.sources.values():
        largest = int((seen.cluster.topics[topic.name].configuration or {}).get("max.message.bytes", 0))
        letters = seen.table.dead_letters[topic.name]
        there = seen.cluster.topics[letters.name].configuration or {}
        room = int(there.get("max.message.bytes", letters.configuration["max.message.bytes"]))
        if largest > limit + COPIED_MORE_BYTES:
            wrong += 1
            yield Finding(
                "warning",
                "sizes",
                topic.name,
                f"takes batches of {largest} bytes; a message of more than {limit} becomes a dead letter unread",
                "Raise limits.max_message_bytes, or lower max.message.bytes so that producers are told.",
            )
        if min(largest, LARGE_MESSAGE_BYTES) + COPIED_MORE_BYTES > room:
            wrong += 1
            yield Finding(
                "error",
                "sizes",
                letters.name,
                f"takes batches of {room} bytes, and {topic.name} of {largest}",
                "A dead letter carries more than its source: the worker would end. Set"
                f" max.message.bytes={LARGE_MESSAGE_BYTES}.",
            )
        if largest + COPIED_MORE_BYTES > LARGE_MESSAGE_BYTES:
            wrong += 1
            yield Finding(
                "error",
                "sizes",
                topic.name,
                f"takes batches of {largest} bytes; a worker writes none of more than {LARGE_MESSAGE_BYTES}",
                f"Lower its max.message.bytes to {LARGE_MESSAGE_BYTES // 2}: what is too large could not be kept as a"
                " dead letter, and the worker would end.",
            )
    if not wrong:
        yield Finding("ok", "sizes", "limits.max_message_bytes", f"{limit} bytes fit what the source topics take")


def keys(seen: Observation) -> Findings:
    """Ask whether every sampled record is where murmur2 of its key puts it, as Java's producer has it."""
    for topic in seen.table.sources.values():
        samples, partitions = seen.samples.get(topic.name, ()), len(seen.cluster.topics[topic.name].partitions)
        keyed = [(one.key, one.partition) for one in samples if one.key is not None]
        without = len(samples) - len(keyed)
        if not samples:
            if seen.cluster.topics[topic.name].exists and topic.name not in seen.unreadable:
                yield Finding("ok", "keys", topic.name, "has no records yet: nothing can be said of its keys")
            continue
        if without:
            yield Finding(
                "error",
                "keys",
                topic.name,
                f"{without} of {len(samples)} sampled records have no key",
                "The key must be the case_id in UTF-8; without it a record becomes a dead letter.",
            )
        misplaced = elsewhere(keyed, partitions)
        if misplaced:
            by = explained_by(keyed, partitions) or explained_by(misplaced, partitions)
            hashed = f"; all are where {by} puts them" if by else ""
            advice = f"That is {OTHERS[by][1]}." if by else "In librdkafka, set partitioner=murmur2_random."
            yield Finding(
                "error",
                "keys",
                topic.name,
                f"{len(misplaced)} of {len(keyed)} sampled records are not on the partition murmur2 of their key"
                f" gives{hashed}",
                f"{advice} Have upstream partition by murmur2 as Java clients do; records on a wrong partition become"
                " dead letters.",
            )
        elif not without:
            distinct = len({key for key, _at in keyed})
            said = f"{len(keyed)} sampled records of {distinct} keys are where murmur2 puts them"
            yield Finding("ok", "keys", topic.name, said if partitions > 1 else f"{said}; there is one partition")


def schemas(seen: Observation) -> Findings:
    """Ask whether the sampled records can be decoded."""
    if seen.registry_failure is not None:
        yield Finding(
            "error",
            "schemas",
            str(seen.settings.schema.registry_url),
            seen.registry_failure,
            "Check schema.registry_url and its login; workers wait for the registry, and end when it stays away.",
        )
    for topic in seen.table.sources.values():
        samples = seen.samples.get(topic.name, ())
        refused: dict[str, list[Sample]] = defaultdict(list)
        for one in samples:
            if one.reason is not None:
                refused[one.reason].append(one)
        for reason, ones in sorted(refused.items()):
            details = Counter(one.detail.removeprefix(f"{reason}: ") for one in ones)
            severity: Severity = "error" if len(ones) == len(samples) else "warning"
            yield Finding(
                severity,
                "schemas",
                topic.name,
                f"{len(ones)} of {len(samples)} sampled records would become dead letters: {reason}"
                f" (expected: {details.most_common(1)[0][0]})",
                _REMEDIES.get(reason, "docs/rules.md, section 1, says what an event must be."),
            )
        if samples and not refused:
            yield Finding("ok", "schemas", topic.name, f"all {len(samples)} sampled records can be decoded")


_REMEDIES = {
    "unknown_schema": "Name the id in schema.ids, or the registry that knows it in schema.registry_url.",
    "wrong_key": "The key must be the case_id in UTF-8.",
    "undecodable": "Write Avro by schemas/, in Confluent framing or single-object encoding.",
    "registry_unavailable": "See what is said of the registry.",
    "too_large": "Raise limits.max_message_bytes, or send less.",
}


def clocks(seen: Observation) -> Findings:
    """Ask whether brokers, this machine and the systems upstream agree on the time."""
    margin_ms = int(seen.settings.kafka.clock_margin_seconds * SECOND_MS)
    stamped = [one.stamped_ms for ones in seen.samples.values() for one in ones if one.stamped_ms is not None]
    arrived = seen.arrivals
    ahead_ms = max(
        [at - seen.now_ms for at in stamped] + [at - arrived.until_ms for at in arrived.stamped_ms], default=0
    )
    behind_ms = max((arrived.asked_ms - at for at in arrived.stamped_ms), default=0)
    advice = "Synchronise the clocks (NTP, chrony) of brokers and workers, or raise kafka.clock_margin_seconds."
    if max(ahead_ms, behind_ms) > margin_ms:
        way, by_ms = ("ahead of", ahead_ms) if ahead_ms > behind_ms else ("behind", behind_ms)
        yield Finding(
            "error",
            "clocks",
            "brokers",
            f"stamp records {format_duration(by_ms)} {way} the clock of this machine; {format_duration(margin_ms)} are"
            " allowed for",
            f"A verdict could become final before what was told in time is read. {advice}",
        )
    elif arrived.stamped_ms:
        yield Finding(
            "ok", "clocks", "brokers", f"agree with the clock of this machine to {format_duration(margin_ms)}"
        )
    else:
        said = "none of their stamps is ahead of this machine; whether they are behind is not known: nothing arrived"
        yield Finding("ok", "clocks", "brokers", said)
    for topic in seen.table.sources.values():
        yield from _leads(topic.name, seen.samples.get(topic.name, ()), seen.settings.policy().clock_skew_ms)


def _leads(name: str, samples: Sequence[Sample], skew_ms: int) -> Findings:
    leads_ms = [one.lead_ms for one in samples if one.lead_ms is not None]
    beyond = [lead for lead in leads_ms if lead > skew_ms]
    within = [lead for lead in leads_ms if SECOND_MS < lead <= skew_ms]
    if beyond:
        yield Finding(
            "error",
            "clocks",
            name,
            f"{len(beyond)} of {len(leads_ms)} sampled events are dated up to {format_duration(max(beyond))} after"
            f" their delivery; beyond {format_duration(skew_ms)} they become dead letters",
            "Synchronise the clock of their source, and see that it does not send local time as UTC.",
        )
    elif within:
        yield Finding(
            "warning",
            "clocks",
            name,
            f"{len(within)} of {len(leads_ms)} sampled events are dated up to {format_duration(max(within))} after"
            f" their delivery; beyond {format_duration(skew_ms)} they would be refused",
            "Synchronise the clock of their source before it drifts further.",
        )
    elif leads_ms:
        yield Finding("ok", "clocks", name, "no sampled event is dated after its delivery")


def state(seen: Observation) -> Findings:
    """Ask whether what the group has committed fits what is in the topics, and its state is there."""
    wrong, bounds = 0, by_topic(seen.bounds)
    for topic in (*seen.table.sources.values(), seen.table.assets, seen.table.relays):
        there = bounds.get(topic.name, {})
        committed = {number: seen.committed.get(TopicPartition(topic.name, number)) for number in there}
        found = [*_beyond(topic, there, committed), *_deleted(topic, there, committed)]
        wrong += len(found)
        yield from found
    sources = [topic.name for topic in seen.table.sources.values()]
    read = sum(offset for tp, offset in seen.committed.items() if tp.topic in sources)
    found = [*_lost(seen, bounds, read), *_forgotten(seen, bounds, read), *_announced_by_others(seen, bounds, read)]
    wrong += len(found)
    yield from found
    if not wrong:
        said = f"{read} records of the sources are committed" if read else "nothing is committed yet"
        yield Finding("ok", "state", f"group {seen.settings.kafka.group}", said)


def _lost(seen: Observation, bounds: Mapping[str, Mapping[int, Bounds]], read: int) -> Findings:
    for topic in seen.table.changelogs.values():
        ends = [end for _first, end in bounds.get(topic.name, {}).values()]
        is_lost = seen.cluster.topics[topic.name].error == "UnknownTopicOrPartitionError"
        is_empty = topic.name == seen.table.changelogs[CASES_TABLE].name and bool(ends) and not any(ends)
        if read and (is_lost or is_empty):
            yield Finding(
                "error",
                "state",
                topic.name,
                f"is {'missing' if is_lost else 'empty'}, and the group has committed {read} records of its sources",
                "The state made from them is lost: workers would go on as if no case had ever been. Stop them, and"
                " build it anew under a new kafka.group (docs/operations.md, changelog loss).",
            )


def _forgotten(seen: Observation, bounds: Mapping[str, Mapping[int, Bounds]], read: int) -> Findings:
    cases = seen.table.changelogs[CASES_TABLE].name
    if not read and any(end for _first, end in bounds.get(cases, {}).values()):
        yield Finding(
            "warning",
            "state",
            f"group {seen.settings.kafka.group}",
            "has state, and nothing is committed: brokers have forgotten how far it was",
            "No figure will be wrong, but its workers read the sources again from their start: give them time.",
        )


def _announced_by_others(seen: Observation, bounds: Mapping[str, Mapping[int, Bounds]], read: int) -> Findings:
    topic = seen.table.verdicts
    there_are = 0 if topic is None else sum(end for _first, end in bounds.get(topic.name, {}).values())
    if topic is not None and there_are and not read and not seen.policies:
        yield Finding(
            "error",
            "state",
            topic.name,
            f"has {there_are} messages, and group {seen.settings.kafka.group} has judged nothing yet: they are another"
            " group's",
            "To its consumers the numbers of changes would begin again: name a kafka.verdicts_topic of its own.",
        )


def _beyond(topic: Topic, bounds: Mapping[int, Bounds], committed: Mapping[int, int | None]) -> Findings:
    beyond = [number for number, offset in committed.items() if offset is not None and offset > bounds[number].end]
    if beyond:
        number = beyond[0]
        yield Finding(
            "error",
            "state",
            topic.name,
            f"partition {number} ends at {bounds[number].end}, and the group has committed {committed[number]}: the"
            " topic was created anew, or has lost its end",
            "Workers refuse it. Choose a new kafka.group, so that a new state is made from the start of the sources.",
        )


def _deleted(topic: Topic, bounds: Mapping[int, Bounds], committed: Mapping[int, int | None]) -> Findings:
    lost = {
        number: bounds[number].first - offset
        for number, offset in committed.items()
        if offset is not None and offset < bounds[number].first
    }
    if lost:
        yield Finding(
            "error",
            "state",
            topic.name,
            f"{sum(lost.values())} records of partitions {_numbers(list(lost))} were deleted before they were"
            " processed",
            "What they said is unknown for good, unless upstream sends it again. Start workers before retention is"
            " over, and raise retention.ms.",
        )


def policy(seen: Observation) -> Findings:
    """Ask whether what is configured here is what the group judges by."""
    stated = policy_stated(seen.settings)
    here = fingerprint_of(stated)
    recorded = sorted(seen.policies, key=lambda record: record.since_ms)
    if not recorded:
        yield Finding("ok", "policy", here, "the group has not judged yet")
    elif recorded[-1].fingerprint == here:
        since = format_instant(recorded[-1].since_ms)
        yield Finding("ok", "policy", here, f"is what the group has judged by since {since}")
    else:
        last = recorded[-1]
        changed = differences(last.settings, stated)
        told = "; ".join(f"{name}: {before} there, {after} here" for name, (before, after) in list(changed.items())[:5])
        known = next((record for record in recorded if record.fingerprint == here), None)
        before = f", and by this one since {format_instant(known.since_ms)} before" if known else ""
        yield Finding(
            "warning",
            "policy",
            here,
            f"the group judged by {last.fingerprint} since {format_instant(last.since_ms)}{before} ({told})",
            "A worker started with this configuration judges all that is not final anew. If that is not meant, give it"
            " the configuration of the others; `cxstream what-if` shows what would change.",
        )


def group(seen: Observation) -> Findings:
    """Ask whether the group is ours alone, and made up as its workers are."""
    name, wrong = seen.settings.kafka.group, 0
    consumed = set(seen.table.consumed)
    ours = consumed | {topic.name for topic in seen.table.changelogs.values()}
    if seen.group.protocol_type not in ("", "consumer"):
        wrong += 1
        yield Finding(
            "error",
            "group",
            name,
            f"is used by something else, by the protocol {seen.group.protocol_type}",
            "Choose another kafka.group.",
        )
    for member in seen.group.members:
        if member.topics and not consumed <= member.topics <= ours:
            wrong += 1
            others = sorted(member.topics - ours) or sorted(consumed - member.topics)
            lacks = "reads also" if member.topics - ours else "does not read"
            yield Finding(
                "error",
                "group",
                name,
                f"member {member.client_id} at {member.host} {lacks} {', '.join(others[:3])}",
                "It is of another job, or has another configuration, and while it is in the group nobody is assigned"
                " partitions: stop it, or give it a kafka.group of its own.",
            )
    elsewhere_read = sorted({tp.topic for tp in seen.committed} - ours)
    if elsewhere_read:
        wrong += 1
        yield Finding(
            "warning",
            "group",
            name,
            f"has committed {', '.join(elsewhere_read[:3])}, which this configuration does not read",
            "Another job had this name, or topics were renamed. State and generations of the two mix: choose another"
            " kafka.group, unless you know why.",
        )
    if not wrong:
        said = "nobody has joined it yet" if seen.group.state == "Dead" else seen.group.state
        yield Finding("ok", "group", name, f"{said}, {len(seen.group.members)} members")


def sizing(seen: Observation) -> Findings:
    """Ask whether partitions, workers and standbys fit each other."""
    kafka, members = seen.settings.kafka, len(seen.group.members)
    wrong = 0
    if members > kafka.partitions:
        wrong += 1
        yield Finding(
            "warning",
            "sizing",
            "kafka.partitions",
            f"{members} workers share {kafka.partitions} partitions: {members - kafka.partitions} have nothing to do",
            "Stop those, or re-partition (docs/operations.md).",
        )
    if members and kafka.standby_replicas >= members:
        wrong += 1
        yield Finding(
            "warning",
            "sizing",
            "kafka.standby_replicas",
            f"{kafka.standby_replicas} copies beside the owner are wanted of {members} workers",
            f"Start {kafka.standby_replicas + 1 - members} more workers, or want fewer: nobody can hold them.",
        )
    most = int(seen.broker_configuration.get("group.max.size", kafka.partitions))
    if most < kafka.partitions:
        wrong += 1
        yield Finding(
            "warning",
            "sizing",
            "group.max.size",
            f"the brokers allow {most} members of a group; there may be {kafka.partitions} workers",
            "Raise it at the brokers, or start no more than that.",
        )
    if not wrong:
        usual = (
            "" if kafka.partitions in USUAL_PARTITIONS else f" ({', '.join(map(str, USUAL_PARTITIONS))} divide well)"
        )
        yield Finding("ok", "sizing", "kafka.partitions", f"up to {kafka.partitions} workers, {members} now{usual}")


CHECKS: tuple[Callable[[Observation], Findings], ...] = (
    brokers,
    permissions,
    topics,
    retention,
    sizes,
    keys,
    schemas,
    clocks,
    state,
    policy,
    group,
    sizing,
)
"""In the order they are told; the name of each is the `check` of its findings."""


def _numbers(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, sorted(numbers)[:8]))
    return shown if len(numbers) <= 8 else f"{shown} and {len(numbers) - 8} more"  # noqa: PLR2004 - a line's worth
