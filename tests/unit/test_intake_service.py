"""The intake's process on Kafka: in which order it acknowledges, remembers and commits, and who of a group works."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError

from cxstream.config import load
from cxstream.intake import service as of_intake
from cxstream.intake.service import OneMember, Service, clashes
from cxstream.worker import topics_of
from parts.rows import ORDERS, TICKETS, VISITS, intake_map, order, raws, ticket, visit


class Producer:
    """Takes records, and acknowledges each a little later; says what happened in which order."""

    def __init__(self, log: list[str]) -> None:
        self._log = log

    async def send(self, topic: str, value: bytes | None, _key: bytes | None, *, headers: object) -> Any:  # noqa: ANN401
        """Take a record."""
        what = f"{topic.rpartition('-')[2]}{'' if value is not None else ' forgotten'}"
        self._log.append(f"sent {what}")

        async def acknowledge() -> None:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            self._log.append(f"acknowledged {what}")

        return asyncio.ensure_future(acknowledge())


class Consumer:
    """Takes commits."""

    def __init__(self, log: list[str], *, refuses: bool = False) -> None:
        self._log = log
        self._refuses = refuses

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Take a commit."""
        if self._refuses:
            raise CommitFailedError("somebody else works")
        self._log.append(f"committed {sorted(offsets.values())}")


def served(log: list[str], *, refuses: bool = False) -> Service:
    """Return a process whose clients are stand-ins. Call it in a running loop."""
    service = Service(load(None, {}), intake_map(), {})
    service._producer = Producer(log)
    service._consumer = Consumer(log, refuses=refuses)
    return service


def test_nothing_is_forgotten_or_committed_before_all_is_acknowledged() -> None:
    """Events and entries, then what need not be remembered, then the offsets: each acknowledged before the next."""
    log: list[str] = []

    async def run() -> None:
        service = served(log)
        waiting, known = raws([(VISITS, visit(1, 0))]), raws([(TICKETS, ticket(0)), (ORDERS, order(0))])
        await service._take(waiting, {TopicPartition(VISITS, 0): 1})
        assert log == ["sent state", "acknowledged state", "committed [1]"]
        log.clear()
        await service._take(known, {TopicPartition(TICKETS, 0): 1, TopicPartition(ORDERS, 0): 1})

    asyncio.run(run())
    assert log[-1] == "committed [1, 1]"
    forgotten = log.index("sent state forgotten")
    assert all(one.startswith(("acknowledged state f", "committed")) for one in log[forgotten + 1 :])
    assert [one for one in log[:forgotten] if one.startswith("sent")] == [
        "sent state",
        "sent cxstream.tickets",
        "sent state",
        "sent cxstream.dispatch",
        "sent cxstream.dispatch",
    ]
    assert log[:forgotten].count("acknowledged cxstream.dispatch") == 2


def test_a_refused_commit_makes_the_process_begin_anew() -> None:
    """Somebody else works meanwhile: what this one knows is of no use any more, and it reads the state again."""

    async def run() -> bool:
        service = served([], refuses=True)
        service._is_restored = True
        await service._take(raws([(TICKETS, ticket(0))]), {TopicPartition(TICKETS, 0): 1})
        return service._is_restored

    assert asyncio.run(run()) is False


class Member:
    """A member of the group, and what it reads."""

    subscription = (TICKETS, VISITS)


class Cluster:
    """Topics of two partitions."""

    def partitions_for_topic(self, _topic: str) -> set[int]:
        """Return the partitions."""
        return {1, 0}


def test_one_member_works_and_the_others_stand_by() -> None:
    """The first member by its id has every partition of every topic, whoever assigns."""
    assigned = OneMember.assign(Cluster(), {"b": Member(), "a": Member(), "c": Member()})
    assert {member: [list(one) for one in of.assignment] for member, of in assigned.items()} == {
        "a": [[TICKETS, [0, 1]], [VISITS, [0, 1]]],
        "b": [],
        "c": [],
    }


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"tickets": "cxstream.tickets"}, "it is a topic of cxstream itself"),
        ({"visits": "cxstream-relays"}, "it is a topic of cxstream itself"),
        ({"orders": "cxstream-intake-rows-state"}, "it is a topic of cxstream itself"),
        ({}, ""),
    ],
)
def test_an_intake_reads_no_topic_of_cxstream(own: dict[str, str], said: str) -> None:
    """It would feed itself: topics of the workers, and its own state, are refused."""
    settings = load(None, {})
    wrong = clashes(settings, intake_map(**own), topics_of(settings))
    assert said in "".join(wrong)
    assert bool(wrong) == bool(said)


def test_the_topics_of_an_intake_are_named_after_group_and_map() -> None:
    """Two intakes of one job, or of two, share nothing."""
    settings = load(None, {"CXSTREAM_KAFKA_GROUP": "emea"})
    topics = of_intake.IntakeTopics(settings, intake_map(), topics_of(settings))
    assert topics.group == "emea-intake-rows"
    own = {topic.name: topic for topic in topics.topics if topic.role != "source"}
    assert set(own) == {"emea-intake-rows-state", *(f"{name}.dead-letters" for name in (TICKETS, ORDERS, VISITS))}
    state = own["emea-intake-rows-state"]
    assert (state.partitions, state.configuration["cleanup.policy"]) == (1, "compact")
