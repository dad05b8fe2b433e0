"""What can happen to a job: every kind of fault, done while live traffic flows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from cxstream.kafka.changelog_table import STAMP_HEADER, Stamp
from parts.producer import Job, Message

from .fleet import Fleet, wait_until
from .trial import SESSION_SECONDS, Trial

LONG_CHANGELOG_RECORDS = 20_000

Injure = Callable[[Trial, Random], None]


class Kind(NamedTuple):
    """One kind of fault: how many workers it needs at first, how many brokers, and what it does."""

    name: str
    inject: Injure
    workers: int = 2
    brokers: int = 1


def flow(dice: Random, least: float = 0.5, most: float = 1.5) -> None:
    """Let traffic flow for a moment."""
    time.sleep(dice.uniform(least, most))


def join(trial: Trial, dice: Random) -> None:
    """A worker joins in mid-stream and takes its share."""
    (new,) = trial.fleet.launch()
    trial.fleet.ready(new)
    wait_until(lambda: trial.fleet.owned(new), "a share for the new worker")


def leave(trial: Trial, dice: Random) -> None:
    """A worker is asked to stop (SIGTERM)."""
    trial.fleet.stop(dice.choice(trial.fleet.workers))


def kill(trial: Trial, dice: Random) -> None:
    """A worker is killed; the others take over after the session timeout."""
    trial.fleet.kill(dice.choice(trial.fleet.workers))
    flow(dice, SESSION_SECONDS / 2, SESSION_SECONDS)


def kill_all(trial: Trial, dice: Random) -> None:
    """All workers are killed, and new ones started."""
    for worker in tuple(trial.fleet.workers):
        trial.fleet.kill(worker)
    trial.fleet.ready(*trial.fleet.launch(dice.choice((1, 2))))


def join_then_kill(trial: Trial, dice: Random) -> None:
    """A worker joins, and as soon as it has a share an old one is killed."""
    old = dice.choice(trial.fleet.workers)
    join(trial, dice)
    trial.fleet.kill(old)


def kill_while_joining(trial: Trial, dice: Random) -> None:
    """A worker is killed while another one is joining: mostly in the middle of a rebalance or a recovery."""
    old = dice.choice(trial.fleet.workers)
    (new,) = trial.fleet.launch()
    flow(dice, 1.0, 5.0)
    trial.fleet.kill(old)
    trial.fleet.ready(new)


def zombie(trial: Trial, dice: Random) -> None:
    """A worker is frozen beyond its session, the others take over, and then it goes on where it was."""
    frozen = dice.choice(trial.fleet.workers)
    trial.fleet.pause(frozen)
    wait_until(lambda: len(trial.fleet.spoken().covered) == trial.job.partitions, "the others take over")
    flow(dice)
    trial.fleet.resume(frozen)
    flow(dice, 1.0, 3.0)


def hiccup(trial: Trial, dice: Random) -> None:
    """A worker is frozen for less than its session."""
    frozen = dice.choice(trial.fleet.workers)
    trial.fleet.pause(frozen)
    time.sleep(dice.uniform(0.3, 0.8) * SESSION_SECONDS)
    trial.fleet.resume(frozen)


def rolling_restart(trial: Trial, dice: Random) -> None:
    """Three workers are stopped and started again, one after the other."""
    for worker in tuple(trial.fleet.workers):
        trial.fleet.stop(worker)
        trial.fleet.ready(*trial.fleet.launch())


def static_restart(trial: Trial, dice: Random) -> None:
    """Workers with a stable name (static membership) are killed and restarted within the session."""
    dynamic = tuple(trial.fleet.workers)
    (first,) = trial.fleet.launch(instance_id="worker-0")
    (second,) = trial.fleet.launch(instance_id="worker-1")
    trial.fleet.ready(first, second)
    trial.fleet.stop(*dynamic)
    wait_until(lambda: trial.fleet.owned(first), "a share for the static member")
    flow(dice)
    trial.fleet.kill(first)
    trial.fleet.ready(*trial.fleet.launch(instance_id="worker-0"))


def broker_killed(trial: Trial, dice: Random) -> None:
    """A broker is killed and comes back; of three, the other two carry on meanwhile."""
    broker = dice.randint(1, len(trial.kafka.nodes))
    trial.kafka.kill(broker)
    flow(dice, 1.0, 4.0)
    trial.kafka.restart(broker)


def broker_frozen(trial: Trial, dice: Random) -> None:
    """A broker is frozen for less or more than a session."""
    broker = dice.randint(1, len(trial.kafka.nodes))
    trial.kafka.pause(broker)
    time.sleep(dice.uniform(0.5, 1.5) * SESSION_SECONDS)
    trial.kafka.resume(broker)


def writes_stalled(trial: Trial, dice: Random) -> None:
    """What workers write does not reach the brokers for a while, and one of them is killed in it."""
    for proxy in trial.kafka.proxies:
        proxy.stall()
    try:
        flow(dice, 1.0, 4.0)
        trial.fleet.kill(dice.choice(trial.fleet.workers))
        flow(dice, 0.5, 2.0)
    finally:
        for proxy in trial.kafka.proxies:
            proxy.flow()


def poison(trial: Trial, dice: Random) -> None:
    """Records of every kind that cannot become facts come in number, and a worker is killed among them."""
    trial.feed.poison_ratio = 1.0
    try:
        flow(dice, 1.0, 3.0)
        trial.fleet.kill(dice.choice(trial.fleet.workers))
        flow(dice, 1.0, 2.0)
    finally:
        trial.feed.poison_ratio = None


def transactions(trial: Trial, dice: Random) -> None:
    """A producer's transaction stays open while a worker joins and another is killed, then commits."""
    trial.feed.open_transaction()
    try:
        flow(dice, 1.0, 2.0)
        join_then_kill(trial, dice)
    finally:
        trial.feed.close_transaction()


def topic_silent(trial: Trial, dice: Random) -> None:
    """The systems behind one source topic write nothing for a while; a worker joins meanwhile."""
    trial.feed.silent = frozenset({dice.choice(sorted(trial.job.topics))})
    try:
        join(trial, dice)
        flow(dice, 1.0, 4.0)
    finally:
        trial.feed.silent = frozenset()


def pile_up(trial: Trial, dice: Random) -> None:
    """All workers are stopped in order, events pile up, and new workers work them off."""
    trial.fleet.stop(*trial.fleet.workers)
    flow(dice, 2.0, 4.0)
    trial.fleet.ready(*trial.fleet.launch(dice.choice((1, 2))))


def compacted(trial: Trial, dice: Random) -> None:
    """The changelog is compacted and no worker has anything else; what is left of it must be enough."""
    changelog = trial.job.table.changelogs["cases"]
    before = _missing(trial.job.read(changelog.name))
    tight = {
        "segment.bytes": str(1024 * 1024),
        "segment.ms": "100",
        "min.cleanable.dirty.ratio": "0.001",
        "min.compaction.lag.ms": "0",
        "max.compaction.lag.ms": "500",
    }
    asyncio.run(_configure(trial.job, changelog.name, {**changelog.configuration, **tight}))
    flow(dice, 3.0, 4.0)
    for worker in tuple(trial.fleet.workers):
        trial.fleet.kill(worker)
    wait_until(lambda: _missing(trial.job.read(changelog.name)) > before, "the changelog is compacted")
    trial.fleet.ready(*trial.fleet.launch(dice.choice((1, 2))))


def _missing(records: list[Any]) -> int:
    """Return how many offsets of a topic hold nothing any more: what compaction took, whenever it did."""
    ends = {record.partition: record.offset + 1 for record in records}
    return sum(ends.values()) - len(records)


def recovery_overtaken(trial: Trial, dice: Random) -> None:
    """Workers start shortly after one another on a long changelog: a rebalance overtakes a recovery that has begun."""
    changelog = trial.job.table.changelogs["cases"].name
    wait_until(lambda: bool(trial.job.read(changelog)), "there is a changelog")
    trial.fleet.stop(*trial.fleet.workers)
    written = trial.job.read(changelog)
    latest = {record.key: record for record in written}
    owners: dict[int, Stamp] = {}
    for one in written:  # copies of an owner of old, once compaction has left them alone, would be what a zombie wrote
        owners[one.partition] = max(Stamp.of(one), owners.get(one.partition, Stamp.of(one)))
    again = [
        Message(changelog, one.key, one.value, [(STAMP_HEADER, b"%d.%d" % owners[one.partition])], one.partition)
        for one in latest.values()
    ]
    # As if it had not been compacted for long: recovery takes seconds, and ends in the same state.
    trial.job.produce(again * (LONG_CHANGELOG_RECORDS // len(again) + 1))
    for _ in range(3):
        trial.fleet.launch()
        flow(dice)
    trial.fleet.ready()


async def _configure(job: Job, topic: str, configuration: dict[str, str]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=job.bootstrap)
    try:
        await admin.start()
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configuration)])
    finally:
        await admin.close()


def second_group(trial: Trial, dice: Random) -> None:
    """Another group reads the same topics from their beginning, loses a worker, and comes to the same figures."""
    other = Job(trial.job.bootstrap, "beside", partitions=trial.job.partitions, copies=trial.job.copies)
    other.topics, other.trusted = trial.job.topics, trial.job.trusted
    other.declare()
    beside = Fleet(other, trial.folder / other.group, trial.settings, python=trial.fleet.python)
    try:
        beside.launch(2)
        beside.ready()
        flow(dice)
        beside.kill(dice.choice(beside.workers))
        compared = trial.compare(beside)
        assert not compared.differences, "\n".join(["the group beside:", *compared.differences])
    finally:
        beside.end()
    trial.feed.resume()


KINDS: tuple[Kind, ...] = (
    Kind("join", join, workers=1),
    Kind("leave", leave),
    Kind("kill -9", kill),
    Kind("kill -9 of all", kill_all),
    Kind("join, then kill -9", join_then_kill),
    Kind("kill -9 while joining", kill_while_joining),
    Kind("zombie", zombie),
    Kind("hiccup", hiccup),
    Kind("rolling restart", rolling_restart, workers=3),
    Kind("static restart", static_restart, workers=1),
    Kind("broker killed", broker_killed),
    Kind("broker frozen", broker_frozen),
    Kind("writes stalled", writes_stalled),
    Kind("poison", poison),
    Kind("open transaction", transactions),
    Kind("topic silent", topic_silent, workers=1),
    Kind("pile-up", pile_up),
    Kind("compacted while down", compacted),
    Kind("recovery overtaken", recovery_overtaken),
    Kind("second group", second_group, workers=1),
)

OF_BROKERS = frozenset({broker_killed, broker_frozen, writes_stalled})
"""Faults of what all jobs on the brokers share."""
