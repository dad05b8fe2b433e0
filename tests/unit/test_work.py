"""How much work events make: counted, not timed, so that the same change fails on any machine."""

from __future__ import annotations

import asyncio
import gc
import re
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
from faust.types import TP
from prometheus_client import generate_latest

import cxstream.domain.evidence as evidence_module
import cxstream.kafka.case_agent as agent_module
import cxstream.kafka.verdict_stream as stream_module
import cxstream.worker as worker_module
from benchmarks.events import Load, reference_events
from benchmarks.judging import records_of_a_case
from cxstream.domain.evidence import Evidence
from cxstream.domain.facts import Fact
from cxstream.domain.instant import parse_instant
from cxstream.engine.ledger import Ledger
from cxstream.kafka.codec import Codec
from cxstream.kafka.partition_batches import PartitionBatch, PartitionBatches, ReadRange
from cxstream.kafka.records import read_case, read_published
from cxstream.kafka.schemas import RegistryUnavailableError, SchemaIds
from cxstream.vital_signs import TIER_A
from parts.agent import NUMBER, POLICY, SCHEMAS, Broker, Life, MemoryTable, Record

ENDS_MS = parse_instant("2026-03-02T08:00:00Z")
BATCH = 300
CODEC = Codec(SCHEMAS, skew_ms=POLICY.clock_skew_ms)


class Work:
    """What was done while events were processed."""

    def __init__(self) -> None:
        self.counted: Counter[str] = Counter()
        self.stretches: list[int] = []
        """Facts of the cases judged between two turns of the event loop."""
        self.told: list[int] = []
        """Announcements written between two turns."""

    def _assess(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def assess(case: Any, *args: object) -> Any:  # noqa: ANN401 - as the one it stands for
            self.counted["assessed"] += 1
            self.counted["facts"] += len(case.facts)
            return real(case, *args)

        return assess

    def _judge(self, sign: Any) -> Any:  # noqa: ANN401 - a vital sign
        def judge(*args: Any) -> Any:  # noqa: ANN401
            self.counted["judged"] += 1
            return sign.judge(*args)

        return sign._replace(judge=judge)

    def _arrange(self, real: Callable[..., None]) -> Callable[..., None]:
        def arrange(evidence: Evidence, facts: Iterable[Fact], **of: Any) -> None:  # noqa: ANN401
            self.counted["arranged"] += 1
            real(evidence, facts, **of)

        return arrange

    def _attempt(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def first_attempt(*args: object) -> Any:  # noqa: ANN401
            self.counted["attempts"] += 1
            return real(*args)

        return first_attempt

    def _put(self, real: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        def put_many(table: MemoryTable, number: int, items: Sequence[Any]) -> Awaitable[Any]:
            self.counted[f"{table.name} batches"] += 1
            self.counted[f"{table.name} records"] += len(items)
            return real(table, number, items)

        return put_many

    def _encode(self, real: Callable[..., bytes]) -> Callable[..., bytes]:
        def encode(*args: object) -> bytes:
            self.counted["told"] += 1
            return real(*args)

        return encode

    def _produce(self, real: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def produce(broker: Broker, topic: str, number: int | None, records: Sequence[Any]) -> Any:  # noqa: ANN401
            self.counted[f"{topic} batches"] += 1
            return await real(broker, topic, number, records)

        return produce

    def _task(self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **of: Any) -> Any:  # noqa: ANN401
        self.counted["tasks"] += 1
        return asyncio.Task(coroutine, loop=loop, **of)

    async def turn(self) -> None:
        """Turn with the event loop, as heartbeats do, and note what was judged since the last time."""
        asyncio.get_running_loop().set_task_factory(self._task)
        while True:
            await asyncio.sleep(0)
            self.stretches.append(self.counted.pop("facts", 0))
            self.told.append(self.counted.pop("told", 0))

    @contextmanager
    def watched(self) -> Iterator[dict[str, Any]]:
        """Watch the agent; yields the catalogue that is watched as well."""
        with (
            patch.object(agent_module, "assess", self._assess(agent_module.assess)),
            patch.object(Evidence, "__init__", self._arrange(Evidence.__init__)),
            patch.object(evidence_module, "first_attempt", self._attempt(evidence_module.first_attempt)),
            patch.object(stream_module, "encode", self._encode(stream_module.encode)),
            patch.object(MemoryTable, "put_many", self._put(MemoryTable.put_many)),
            patch.object(Broker, "produce", self._produce(Broker.produce)),
        ):
            yield {name: self._judge(sign) for name, sign in TIER_A.items()}


def backlog(load: Load) -> PartitionBatches:
    """Return the batches of a worker that has a history still to read, all of it fetched."""
    logs: defaultdict[str, list[Record]] = defaultdict(list)
    for delivery in reference_events(load, ENDS_MS):
        key = str(delivery.event["case_id"]).encode()
        log = logs[delivery.topic]
        log.append(Record(key, CODEC.encode(dict(delivery.event)), delivery.delivered_ms, (), len(log)))
    batches = PartitionBatches(max_batch_records=BATCH)
    batches.open(1, {TP(topic, NUMBER): (0, len(log)) for topic, log in logs.items()})
    for topic, log in logs.items():
        batches.offer(TP(topic, NUMBER), ReadRange(log, len(log)))
    return batches


async def taken(batches: PartitionBatches) -> AsyncIterator[PartitionBatch]:
    """Yield batch after batch, until there is nothing more."""
    while any(lane.lag for lane in batches.progress(NUMBER).values()):
        yield await anext(batches)


@pytest.fixture(scope="module")
def done() -> Work:
    """What some 2,400 events of 200 cases make the agent do, relays left aside."""
    work = Work()

    async def run() -> None:
        with work.watched() as catalogue:
            life = Life(Broker(), wall_ms=lambda: ENDS_MS, catalogue=catalogue)
            turning = asyncio.ensure_future(work.turn())
            await asyncio.sleep(0)
            work.counted.clear()
            async for batch in taken(backlog(Load(cases=200, live=40))):
                records = [record for of_topic in batch.records.values() for record in of_topic]
                work.counted["batches"] += 1
                work.counted["events"] += len(records)
                work.counted["cases in hand"] += len({record.key for record in records})
                await life.agent.process(batch)
            turning.cancel()

    asyncio.run(run())
    assert work.counted["events"] > 2_000
    return work


def test_a_case_is_judged_once_a_batch(done: Work) -> None:
    """However many facts a batch holds of a case, in however many topics, it is assessed once for all of them.

    And each sign judges a unit once.
    """
    assert done.counted["assessed"] == done.counted["cases in hand"]
    assert done.counted["judged"] <= 12 * done.counted["assessed"]


def test_a_backlog_is_judged_as_it_was_delivered(done: Work) -> None:
    """The topics of a batch are read up to the same time: a case meets few batches, not some of each topic."""
    assert done.counted["batches"] > 3
    assert done.counted["assessed"] / done.counted["events"] < 0.15


def test_the_facts_of_a_case_are_arranged_once_for_all_its_signs(done: Work) -> None:
    """While all facts count, its units and signs share one evidence, and its visits are grouped into attempts once."""
    assert done.counted["arranged"] == done.counted["assessed"]
    assert 0 < done.counted["attempts"] <= done.counted["assessed"]


def test_a_batch_is_one_write_of_the_table(done: Work) -> None:
    """The records of a batch go out in one produce batch, and so do its relays and announcements."""
    assert done.counted["cases batches"] == done.counted["batches"]
    assert done.counted["cases records"] <= done.counted["assessed"]
    for topic in ("assets", "verdicts"):
        assert 0 < done.counted[f"{topic} batches"] <= done.counted["batches"]


def test_a_batch_makes_no_task_for_an_event(done: Work) -> None:
    """The tasks that are created are few to a batch, whatever it holds."""
    assert done.counted["tasks"] <= 6 * done.counted["batches"]


def test_the_event_loop_turns_while_a_batch_is_judged(done: Work) -> None:
    """Between two turns of the event loop no more is judged than a bounded number of facts."""
    assert sum(done.stretches) > 2_000
    assert max(done.stretches) <= agent_module.BREATHE_EVERY_FACTS


def test_the_event_loop_turns_while_changes_are_told(done: Work) -> None:
    """Between two turns of the event loop no more announcements are written than a bounded number."""
    assert sum(done.told) > 2 * agent_module.BREATHE_EVERY_RECORDS
    assert max(done.told) <= agent_module.BREATHE_EVERY_RECORDS


def test_the_search_for_garbage_passes_by_what_cases_say() -> None:
    """Facts, verdicts and relays, of which a backlog holds very many, are nothing that the garbage collector visits."""
    record = records_of_a_case()[-1]
    case, published = read_case(record), read_published(record)
    assert case.facts
    assert case.verdicts
    held = [case, case.segment, *case.facts, *case.verdicts, *case.transitions, published, *published.verdicts]
    held += [fact.fields for fact in case.facts]
    assert [one for one in held if gc.is_tracked(one)] == []


def test_the_search_for_garbage_waits_for_a_backlog() -> None:
    """With much read ahead it is put off, a bounded number of times; else it is done at each turn."""
    queued = iter([0, 0, *[worker_module.SEARCHED_RECORDS + 1] * 2 * (worker_module.SEARCH_PUT_OFF + 1), 0])
    app = SimpleNamespace(should_stop=False, batches=SimpleNamespace(queued_records=0))
    searched: list[int] = []

    async def turn(_seconds: float) -> None:
        app.batches.queued_records = next(queued, -1)
        app.should_stop = app.batches.queued_records < 0

    with patch.object(gc, "collect", lambda: searched.append(app.batches.queued_records)):  # noqa: SIM117
        with patch.object(asyncio, "sleep", turn):
            asyncio.run(worker_module.search_for_garbage(app))  # type: ignore[arg-type]
    assert searched == [0, 0, *[worker_module.SEARCHED_RECORDS + 1] * 2, 0, -1]


def test_figures_are_made_only_when_the_ledger_has_changed() -> None:
    """Scrapes of a partition in which nothing happened render nothing anew."""

    async def run() -> int:
        life = Life(Broker(), wall_ms=lambda: ENDS_MS)
        async for batch in taken(backlog(Load(cases=20, live=20))):
            await life.agent.process(batch)
        made = 0

        def rows(ledger: Ledger) -> Any:  # noqa: ANN401 - as the one it stands for
            nonlocal made
            made += 1
            return real(ledger)

        real = Ledger.rows
        with patch.object(Ledger, "rows", rows):
            life.partition.caught_up = True
            for _scrape in range(5):
                life.partition.counted_ms += 1_000
                assert life.partition.rows()
        return made

    assert asyncio.run(run()) == 1


def test_a_registry_that_is_away_is_waited_for_once_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not once a record or id: these would keep a partition standing for hours. All are dead letters."""
    monkeypatch.setattr(agent_module, "REGISTRY_PAUSE_SECONDS", 0.0)
    asked: Counter[int] = Counter()

    class Away:
        async def lookup(self, schema_id: int) -> None:
            asked[schema_id] += 1
            raise RegistryUnavailableError("away")

    ids = SchemaIds(SCHEMAS, None, Away())  # type: ignore[arg-type]
    life = Life(Broker(), wall_ms=lambda: ENDS_MS, schema_ids=ids)
    records = [Record(b"C%d" % n, b"\x00\x00\x00\x00%c" % (n % 2 + 7), ENDS_MS, (), n) for n in range(50)]
    for batches in (1, 2):
        asyncio.run(life.process_all({"ticket": records, "dispatch": records[:1]}))
        assert asked == {7: batches * agent_module.REGISTRY_ATTEMPTS, 8: batches}
    assert Counter(letter.reason for letter in life.broker.letters()) == {"unknown_schema": 102}


@pytest.mark.parametrize("caught_up", [False, True])
def test_the_backlog_of_a_partition_that_has_not_caught_up_is_not_in_the_freshness(caught_up: bool) -> None:  # noqa: FBT001
    """Until it has the partition is uncovered, which has an alert of its own; its events are late anyway."""

    async def run() -> Life:
        life = Life(Broker(), wall_ms=lambda: ENDS_MS)
        life.partition.caught_up = caught_up
        async for batch in taken(backlog(Load(cases=20, live=20))):
            await life.agent.process(batch)
        return life

    told = generate_latest(asyncio.run(run()).activity.registry).decode()
    read, in_figures = (
        sum(float(found) for found in re.findall(rf"^{family}{{[^}}]*}} (\S+)$", told, re.MULTILINE))
        for family in ("cxstream_events_consumed_total", "cxstream_event_to_gauges_seconds_count")
    )
    assert read > 0
    assert in_figures == (read if caught_up else 0)
