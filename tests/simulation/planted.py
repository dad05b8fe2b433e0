"""Bugs planted one at a time: each is a small change of the product that a run must find."""

from __future__ import annotations

import asyncio
from bisect import insort
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from typing import Any
from unittest.mock import patch

from faust.types import TP
from msgspec.structs import replace

import cxstream.domain.cases
import cxstream.engine.assess
import cxstream.engine.boards
import cxstream.kafka.case_agent
import simulation.run
from cxstream.domain.cases import Case, Closing, Reception
from cxstream.domain.effective import delivery_order
from cxstream.domain.facts import Fact
from cxstream.domain.policy import Policy
from cxstream.domain.windows import WindowedCounts
from cxstream.engine.assess import Catalogue, Clock
from cxstream.engine.boards import Postings
from cxstream.engine.clock import PartitionClock
from cxstream.engine.deadlines import Deadlines
from cxstream.engine.ledger import Ledger
from cxstream.exposition.snapshot import WorkerSnapshot
from cxstream.kafka.case_agent import CaseAgent
from cxstream.kafka.changelog_table import BatchProducer, Changed, ChangelogTable, Outgoing, PartitionLostError
from cxstream.kafka.partition import Holdings, Partition
from cxstream.kafka.partition_batches import PartitionBatches
from cxstream.worker import Worker
from simulation.engine import SimEngine, WriteFailedError

Bug = Callable[[], AbstractContextManager[object]]
BUGS: dict[str, Bug] = {}


def bug(plant: Callable[[], AbstractContextManager[object]]) -> Bug:
    """Note a bug under the name of its function, in words."""
    BUGS[plant.__name__.replace("_", " ")] = plant
    return plant


# --- the scrape


@bug
def the_fence_is_dropped() -> AbstractContextManager[object]:
    """Whoever is ready is believed, whatever its generation."""

    def all_of_them(scrapes: Mapping[str, WorkerSnapshot]) -> dict[int, list[Any]]:
        believed: dict[int, list[Any]] = {}
        for instance, scrape in sorted(scrapes.items()):
            for partition in scrape.partitions:
                if partition.ready and not scrape.withhold_business:
                    believed.setdefault(partition.partition, []).append((instance, partition))
        for instances in believed.values():
            instances.sort(key=lambda one: -one[1].generation)
        return believed

    return patch.object(simulation.run, "fenced", all_of_them)


@bug
def a_zombie_speaks() -> AbstractContextManager[object]:
    """A worker the group has not heard for a session goes on showing figures."""
    return patch.object(Worker, "fenced", property(lambda _self: False))


@bug
def a_lost_partition_lingers_for_ever() -> AbstractContextManager[object]:
    """The last figures of a partition that was given up are never dropped."""

    async def run_clock(self: Worker) -> None:
        self.settings = self.settings.model_copy(update={"linger_seconds": 1e9})
        await real(self)

    real = Worker.run_clock
    return patch.object(Worker, "run_clock", run_clock)


@bug
def ready_while_not_caught_up() -> AbstractContextManager[object]:
    """A partition is ready as soon as it is recovered."""

    def observe(self: Partition, *_: object) -> bool:
        return True

    return patch.object(Partition, "observe", observe)


@bug
def what_is_put_off_is_forgotten() -> AbstractContextManager[object]:
    """A partition that has caught up judges at once from then on, but not what it has put off before."""

    def judge_at_once(self: Partition) -> None:
        self.puts_off = False

    return patch.object(Partition, "judge_at_once", judge_at_once)


@bug
def judging_is_put_off_for_good() -> AbstractContextManager[object]:
    """A partition that has caught up goes on putting off."""
    return patch.object(Partition, "judge_at_once", lambda _self: None)


# --- the ledger


@bug
def revisions_are_added_without_taking_back() -> AbstractContextManager[object]:
    """The old contribution of a record stays in the ledger."""

    def replace(self: Ledger, _old: Case | None, new: Case | None) -> None:
        real(self, None, new)

    real = Ledger.replace
    return patch.object(Ledger, "replace", replace)


@bug
def windows_never_end() -> AbstractContextManager[object]:
    """What has left a window stays counted in it."""

    def advance(self: WindowedCounts[Any], now_ms: int) -> bool:
        windows, self._windows, self._longest = self._windows, [(10**6, sums) for _, sums in self._windows], 10**6
        moved = real(self, now_ms)
        self._windows = windows
        return moved

    real = WindowedCounts.advance
    return patch.object(WindowedCounts, "advance", advance)


@bug
def the_ledger_stands_still() -> AbstractContextManager[object]:
    """Only every hour does the clock move the windows."""

    def advance(self: Ledger, now_ms: int) -> None:
        real(self, now_ms - now_ms % 3_600_000)

    real = Ledger.advance
    return patch.object(Ledger, "advance", advance)


@bug
def a_revision_is_taken_back_from_the_new_bucket() -> AbstractContextManager[object]:
    """A revised verdict is taken back at its new anchor, not at the old one."""

    def revise(self: Ledger, old: Case | None, new: Case | None) -> None:
        anchors = {(one.sign, one.unit): one.anchor_ms for one in new.verdicts} if new is not None else {}
        if old is not None:
            moved = [replace(one, anchor_ms=anchors.get((one.sign, one.unit), one.anchor_ms)) for one in old.verdicts]
            old = replace(old, verdicts=moved)
        real(self, old, new)

    real = Ledger.replace
    return patch.object(Ledger, "replace", revise)


@bug
def the_ledger_is_not_rebuilt() -> AbstractContextManager[object]:
    """A partition that arrives begins with an empty ledger."""

    def read(self: Holdings, changes: Iterable[Changed]) -> None:
        with patch.object(Ledger, "replace", lambda *_: None):
            real(self, changes)

    real = Holdings.read
    return patch.object(Holdings, "read", read)


@bug
def a_standby_adds_without_taking_back() -> AbstractContextManager[object]:
    """Of a record that is read over another one, only what the new one contributes is counted."""

    def read(self: Holdings, changes: Iterable[Changed]) -> None:
        real(self, [one._replace(before=None) for one in changes])

    real = Holdings.read
    return patch.object(Holdings, "read", read)


# --- the clock


@bug
def deadlines_are_not_heard() -> AbstractContextManager[object]:
    """The clock alone never changes a verdict."""
    return patch.object(Deadlines, "due", lambda *_: [])


@bug
def history_is_judged_by_the_clock_of_today() -> AbstractContextManager[object]:
    """A lagging partition is judged as if it were caught up."""

    def clock(self: Worker, partition: Partition) -> Clock:
        return Clock(self._wall_ms(), real(self, partition).settled_ms)

    real = Worker._clock
    return patch.object(Worker, "_clock", clock)


@bug
def a_lagging_topic_is_taken_for_known() -> AbstractContextManager[object]:
    """A source topic counts as known up to now, though something there waits to be read."""

    def acked(self: Worker, number: int) -> dict[str, int]:
        return dict.fromkeys(real_acked(self, number), 10**9)

    real_acked = Worker._acked
    return patch.object(Worker, "_acked", acked)


@bug
def open_transactions_are_overlooked() -> AbstractContextManager[object]:
    """What stands in an open transaction, or behind it, is taken for not sent."""

    async def ends(self: SimEngine, tps: Collection[TP]) -> Mapping[TP, int]:
        await real(self, tps)
        return {tp: self._brokers.logs[tp].stable_end for tp in tps}

    real = SimEngine.ends
    return patch.object(SimEngine, "ends", ends)


@bug
def final_waits_for_one_partition_alone() -> AbstractContextManager[object]:
    """What is past its seal by the clock of its own partition is final, however far behind the others are."""

    def clock(self: Worker, partition: Partition) -> Clock:
        read = real(self, partition)
        return read._replace(settled_ms=read.now_ms - int(self.settings.kafka.clock_margin_seconds * 1000))

    real = Worker._clock
    return patch.object(Worker, "_clock", clock)


@bug
def one_known_topic_moves_the_clock() -> AbstractContextManager[object]:
    """The clock of a partition follows the topic that is furthest, not the one that lags."""
    latest = property(lambda self: max(self._floor_ms, *self._known_ms.values()))
    return patch.object(PartitionClock, "now_ms", latest)


# --- erased and overflowing cases


@bug
def the_tombstone_of_an_erased_case_is_lost() -> AbstractContextManager[object]:
    """Its residue is written, and its record stays."""

    def buried(self: CaseAgent, *args: Any) -> Iterator[Any]:  # noqa: ANN401 - the real one's
        return islice(real(self, *args), 1)

    real = CaseAgent._buried
    return patch.object(CaseAgent, "_buried", buried)


@bug
def an_erased_case_keeps_its_facts() -> AbstractContextManager[object]:
    """It is closed, and what was known of it stays in the residue."""

    def closed(case: Case, closing: Closing, *args: Any) -> Case:  # noqa: ANN401 - the real one's
        return replace(real(case, closing, *args), facts=case.facts if closing == "erased" else [])

    real = cxstream.engine.assess.close
    return patch.object(cxstream.engine.assess, "close", closed)


@bug
def what_was_final_goes_with_an_erasure() -> AbstractContextManager[object]:
    """All verdicts of an erased case are excluded, those that were sealed as well."""

    def closed(case: Case, closing: Closing, *args: Any) -> Case:  # noqa: ANN401 - the real one's
        return real(replace(case, verdicts=[replace(one, sealed=False) for one in case.verdicts]), closing, *args)

    real = cxstream.engine.assess.close
    return patch.object(cxstream.engine.assess, "close", closed)


@bug
def an_erased_case_comes_back() -> AbstractContextManager[object]:
    """The residue is not looked for: what comes later begins the case anew."""

    def case_in_hand(self: CaseAgent, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - the real one's
        known, self.residue_key = self.residue_key, lambda key: b"nobody:" + key
        try:
            return real(self, *args, **options)
        finally:
            self.residue_key = known

    real = CaseAgent._case
    return patch.object(CaseAgent, "_case", case_in_hand)


@bug
def a_case_with_too_many_facts_is_not_closed() -> AbstractContextManager[object]:
    """The limit is not looked at."""

    def received(case: Case, fact: Fact, catalogue: Catalogue, policy: Policy, *args: Any) -> tuple[Case, Reception]:  # noqa: ANN401 - the real one's
        return real(case, fact, catalogue, replace(policy, facts_per_case=10**9), *args)

    real = cxstream.engine.assess.receive
    return patch.object(cxstream.kafka.case_agent, "receive", received)


@bug
def facts_beyond_the_limit_are_left_out() -> AbstractContextManager[object]:
    """A case keeps the facts that came first, and is judged by them."""

    def received(case: Case, fact: Fact, *args: Any) -> tuple[Case, Reception]:  # noqa: ANN401 - the real one's
        new, reception = real(case, fact, *args)
        return (case if new.closed == "overflow" else new), reception

    real = cxstream.engine.assess.receive
    return patch.object(cxstream.kafka.case_agent, "receive", received)


# --- facts


@bug
def copies_are_not_recognised() -> AbstractContextManager[object]:
    """A fact that is delivered again is taken in again."""

    def with_fact(known: list[Fact], fact: Fact) -> tuple[list[Fact], Reception]:
        kept = list(known)
        insort(kept, fact, key=delivery_order)
        return kept, "applied"

    return patch.object(cxstream.domain.cases, "with_fact", with_fact)


@bug
def the_first_copy_taken_in_is_kept() -> AbstractContextManager[object]:
    """Of copies the one processed first counts, not the one delivered first."""

    def with_fact(known: list[Fact], fact: Fact) -> tuple[list[Fact], Reception]:
        if any(other.event_id == fact.event_id for other in known):
            return known, "duplicate"
        return real(known, fact)

    real = cxstream.domain.cases.with_fact
    return patch.object(cxstream.domain.cases, "with_fact", with_fact)


@bug
def boards_are_not_told() -> AbstractContextManager[object]:
    """Cases of one asset do not hear of each other."""
    return patch.object(
        cxstream.kafka.case_agent, "told_by", lambda *args: ({}, cxstream.engine.boards.told_by(*args)[1])
    )


@bug
def survivors_are_not_told() -> AbstractContextManager[object]:
    """A merged case keeps what it knows to itself."""
    return patch.object(
        cxstream.kafka.case_agent, "told_by", lambda *args: (cxstream.engine.boards.told_by(*args)[0], {})
    )


@bug
def a_conclusion_is_relayed() -> AbstractContextManager[object]:
    """Boards are told of an opening only: what mends or cancels it later stays at home."""

    def identity(facts: Iterable[Fact]) -> Iterator[Fact]:
        return (fact for fact in real(facts) if fact.type == "opened")

    real = cxstream.engine.boards._identity
    return patch.object(cxstream.engine.boards, "_identity", identity)


@bug
def a_newcomer_is_not_told_what_the_board_knows() -> AbstractContextManager[object]:
    """A case that is new on a board hears only of what comes after it."""

    def for_members(old: Any, new: Any) -> Postings:  # noqa: ANN401 - boards
        newcomers = new.facts.keys() - old.facts.keys()
        return {key: fact for key, fact in real(old, new).items() if key[0] not in newcomers}

    real = cxstream.engine.boards.for_members
    return patch.object(cxstream.kafka.case_agent, "for_members", for_members)


# --- the barrier and the writer


@bug
def offsets_are_committed_before_the_barrier() -> AbstractContextManager[object]:
    """What was read is committed, processed or not."""

    def committable(self: PartitionBatches, tp: TP) -> int | None:
        lane = self._lanes.get(tp)
        return None if lane is None else lane.read

    return patch.object(PartitionBatches, "committable", committable)


@bug
def batches_are_acknowledged_before_the_relays_are() -> AbstractContextManager[object]:
    """Relays are sent, but not waited for."""

    async def produce_many(self: SimEngine, topic: str, partition: int | None, records: Sequence[Outgoing]) -> None:
        if topic.endswith(("-assets", "-relays")):
            for record in records:
                number = self._brokers.partition_of(topic, record.key)
                self.writes.send(topic, number, [record]).add_done_callback(lambda task: task.exception())
        else:
            await real(self, topic, partition, records)

    real = SimEngine.produce_many
    return patch.object(SimEngine, "produce_many", produce_many)


@bug
def records_are_not_waited_for() -> AbstractContextManager[object]:
    """The changelog is written, but its acknowledgement is not waited for."""

    def put_many(self: ChangelogTable, partition: int, items: Any) -> Any:  # noqa: ANN401 - the real one's
        real(self, partition, items).add_done_callback(lambda task: task.cancelled() or task.exception())  # type: ignore[attr-defined]

        async def nothing() -> list[Any]:
            return []

        return nothing()

    real = ChangelogTable.put_many
    return patch.object(ChangelogTable, "put_many", put_many)


@bug
def a_failed_write_is_ignored() -> AbstractContextManager[object]:
    """A write that is not acknowledged is taken for done."""

    async def deliver(self: Any, *args: Any) -> Any:  # noqa: ANN401 - the real one's
        try:
            return await real(self, *args)
        except WriteFailedError:
            return []

    real = BatchProducer._deliver
    return patch.object(BatchProducer, "_deliver", deliver)


@bug
def reading_goes_on_at_the_end() -> AbstractContextManager[object]:
    """A partition that was taken over is read from its end, not from the committed offset."""

    def open_at_end(self: PartitionBatches, generation: int, starts: Mapping[TP, tuple[int, int]]) -> None:
        real(self, generation, {tp: (end, end) for tp, (_start, end) in starts.items()})

    real = PartitionBatches.open
    return patch.object(PartitionBatches, "open", open_at_end)


@bug
def ghosts_are_kept() -> AbstractContextManager[object]:
    """Keys of a partition that is not owned any more stay in memory, and so does where reading had come to."""

    async def on_rebalance(self: ChangelogTable, *_: object) -> None:
        self._complete = dict.fromkeys(self._complete, 10**9) | {}

    return patch.object(ChangelogTable, "on_rebalance", on_rebalance)


@bug
def a_standby_is_taken_for_complete() -> AbstractContextManager[object]:
    """Who stands by reads no further than it has come at first, and takes over with that."""

    def complete_offset(self: ChangelogTable, partition: int) -> int:
        offset = real(self, partition)
        return 10**9 if offset >= 0 and partition not in self._owned() else offset

    real = ChangelogTable.complete_offset
    return patch.object(ChangelogTable, "complete_offset", complete_offset)


@bug
def what_is_being_given_up_is_spoken_for() -> AbstractContextManager[object]:
    """Until the engine has given up, what runs beside the batches goes on as if nothing were taken away."""

    def owned(self: Worker, number: int) -> Partition:
        if number not in self._partitions:
            raise PartitionLostError
        return self._partitions[number]

    return patch.object(Worker, "_owned", owned)


# --- the stream of verdicts


@bug
def verdicts_are_announced_before_their_records_are_written() -> AbstractContextManager[object]:
    """What a record will change is announced, and then it is written."""

    async def write(self: CaseAgent, partition: Partition, written: Sequence[Any], beside: Sequence[Any] = ()) -> None:
        offset = self.cases.complete_offset(partition.number) + 1
        await self._announce(partition, [(offset, one) for record in written for one in record.announced])
        await real(self, partition, [record._replace(announced=()) for record in written], beside)

    real = CaseAgent._write
    return patch.object(CaseAgent, "_write", write)


@bug
def what_a_crash_cut_short_is_not_announced_again() -> AbstractContextManager[object]:
    """A new owner takes everything for announced."""

    async def nothing(self: CaseAgent, partition: Partition) -> None:
        partition.is_announced = True

    return patch.object(CaseAgent, "_announce_again", nothing)


@bug
def announcements_are_not_waited_for() -> AbstractContextManager[object]:
    """They are sent, and the batch is acknowledged."""

    async def announce(self: CaseAgent, *args: Any) -> None:  # noqa: ANN401 - the real one's
        asyncio.ensure_future(real(self, *args)).add_done_callback(lambda task: task.cancelled() or task.exception())

    real = CaseAgent._announce
    return patch.object(CaseAgent, "_announce", announce)


@bug
def a_closed_case_skips_a_number() -> AbstractContextManager[object]:
    """Its verdicts are numbered after those of a judgement that was never published."""

    def to_write(old: Case | None, new: Case, *args: Any) -> Case:  # noqa: ANN401 - the real one's
        case = real(old, new, *args)
        if case.closed is None or old is None or old.closed is not None:
            return case
        return replace(case, verdicts=[replace(one, sequence=one.sequence + 1) for one in case.verdicts])

    real = cxstream.kafka.case_agent.to_write
    return patch.object(cxstream.kafka.case_agent, "to_write", to_write)
