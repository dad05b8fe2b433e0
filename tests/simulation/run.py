"""One run of the simulator: a seed makes a world, a cluster, workers and faults; the audit says what was wrong."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from typing import Any, NamedTuple
from unittest.mock import patch

from faust.types import TP

import cxstream.kafka.case_agent
import cxstream.worker
from cxstream.domain.cases import Case, Reception
from cxstream.domain.facts import Fact, RejectedError
from cxstream.exposition.snapshot import WorkerSnapshot
from cxstream.kafka.codec import DELIVERED_AT, Codec
from cxstream.kafka.schemas import Schemas
from cxstream.web.probes import LoopTick
from cxstream.worker import Worker, residue_key
from oracle.histories import Event, rfc3339, to_ms
from simulation import loop
from simulation.audit import Auditor, Book, Closing, Owner, boards_of, fenced, records_of, summed
from simulation.engine import Conditions, SimEngine, SimTable, WriteFailedError
from simulation.faults import BESIDE_ERASURES, FAULTS, Fault
from simulation.group import Coordinator
from simulation.log import Brokers, Headers
from simulation.loop import OUTSIDE, VirtualLoop, context_of
from simulation.world import STATED_EARLY_MS, history, oracle_policy, settings_of

TICK_SECONDS = 1.0
LONGEST_TICK_SECONDS = 60.0
CALM_SECONDS = 60.0
"""When nothing happens for so long, it may be looked whether all has come to rest."""
STEPS = 50
"""How many events a world has, about."""
SCHEMAS = Schemas.packaged()


class Action(NamedTuple):
    """Something the world does at a virtual instant, in seconds."""

    at: float
    order: int
    kind: str
    do: Callable[[], None]


@dataclass
class Report:
    """What a run came to."""

    seed: int
    faults: Counter[str] = field(default_factory=Counter)
    scrapes: int = 0
    compared: int = 0
    findings: list[str] = field(default_factory=list)
    digest: str = ""
    virtual_seconds: float = 0.0


class Process:
    """One incarnation of a worker."""

    def __init__(self, slot: int, incarnation: int, conditions: Conditions) -> None:
        self.slot = slot
        self.name = f"worker-{slot}.{incarnation}"
        self.conditions = conditions
        self.engine: SimEngine | None = None
        self.worker: Worker | None = None
        self.state = "running"
        """running, frozen or ended."""


class Simulation:
    """Everything of one run, which ends with the first thing that is wrong."""

    def __init__(self, seed: int, steps: int, without: Collection[Fault] = ()) -> None:
        self.without = without
        self.dice = dice = random.Random(seed)
        self.report = Report(seed)
        self.loop = VirtualLoop()
        self.partitions = dice.choice((1, 2, 3, 3, 4))
        self.slots = dice.choice((1, 2, 2, 3, 3))
        self.crowded = dice.choice((50, 50, 50, 2))
        silent_after = dice.choice(("0s", "0s", "5m", "1m"))
        trusted: tuple[str, ...] = ("cxstream.parts", "cxstream.tickets") if dice.random() < 0.3 else ()
        self.clock_ahead_ms = dice.choice(((0,), (0, -1000, 1000)))
        self.more = more = random.Random(f"{seed}: erasures, long cases, history")
        """Dice apart from the others: a run without any of these is what it was before there were any."""
        self.erasures = more.random() < 0.3
        self.facts_per_case = more.choice((5, 8, 12)) if more.random() < 0.15 else 2000
        self.backfill = more.random() < 0.15
        self.produce_batch_records = more.choice((1, 2, 12)) if self.erasures else 12
        if self.backfill:
            trusted = ("cxstream.dispatch", "cxstream.parts", "cxstream.tickets")
        self.settings = settings_of(
            dice,
            partitions=self.partitions,
            trusted=trusted,
            crowded=self.crowded,
            facts_per_case=self.facts_per_case,
            silent_after=silent_after,
            clock_margin_seconds=3.0 if trusted or len(self.clock_ahead_ms) > 1 else 0.2,
        )
        self.policy = oracle_policy(self.crowded)
        self.plans = history(dice, steps, erasures=self.erasures)
        self.begin_ms = self._present() if self.backfill else self.plans[0].sent_ms - 30_000
        self.brokers = Brokers(self.now_ms)
        self.group = self.settings.kafka.group
        self.sources = self.settings.kafka.topics.by_kind()
        standby_dice = random.Random(f"{seed}: standbys")
        self.standbys = standby_dice.random() < 0.25
        self.coordinator = Coordinator(
            self.brokers,
            dice,
            self.partitions,
            rebalance_seconds=20.0,
            standby_dice=standby_dice if self.standbys else None,
        )
        self.book = Book(
            self.brokers,
            self.group,
            self.policy,
            facts_per_case=self.facts_per_case,
            residue_key=residue_key(self.settings),
            verdicts=self.settings.kafka.verdicts_topic,
        )
        self.book.trusted = frozenset(trusted)
        self.auditor = Auditor(self.book, self.settings.windows())
        self.stalled: frozenset[TP] = frozenset()
        self.processes: dict[int, Process] = {}
        self.graveyard: list[Process] = []
        self.incarnations: Counter[int] = Counter()
        self.codec = Codec(SCHEMAS, skew_ms=self.policy["clock_skew_ms"])
        self.trace: Callable[[str], None] = lambda _text: None
        self._digest = sha256()
        self._happened_at = 0.0
        self._start_at = 0.0
        self._held_back: dict[str, float] = {}
        self.poisoned = 0
        self._looks: list[asyncio.Task[bool]] = []
        self._order = 0
        self._actions: list[Action] = []
        self._commit = self.coordinator.commit

    def _present(self) -> int:
        """Return when the group starts: some of what happens is history by then, at times all of it."""
        last = self.plans[self.more.randrange(len(self.plans) // 2, len(self.plans))]
        return last.sent_ms + self.more.choice((1, 60, 600, 2400)) * 1000

    # --- time

    def now_ms(self) -> int:
        """Return the wall clock of the brokers."""
        return self.begin_ms + int(self.loop.time() * 1000 + 0.5)

    def at(self, seconds: float, kind: str, do: Callable[[], None]) -> None:
        """Let something happen at an instant."""
        self._order += 1
        self._actions.append(Action(max(0.0, seconds), self._order, kind, do))

    # --- the cluster

    def build(self) -> None:
        """Create the topics, and listen to what is written and committed."""
        for name in (*self.sources.values(), f"{self.group}-assets", f"{self.group}-relays"):
            self.brokers.create(name, self.partitions)
            self.brokers.create(f"{name}.dead-letters", self.partitions)
        for table in ("cases", "boards"):
            self.brokers.create(f"{self.group}-{table}-changelog", self.partitions)
        self.brokers.create(f"{self.group}-watermarks", 1)
        self.brokers.create(self.settings.kafka.verdicts_topic, self.partitions)
        self.brokers.listeners["audit"] = [self.book.heard]
        commit = self.coordinator.commit

        def audited(member: object, offsets: dict[TP, int]) -> None:
            commit(member, offsets)  # type: ignore[arg-type]
            self.book.committed(offsets)

        self.coordinator.commit = audited  # type: ignore[method-assign,assignment]
        for plan in self.plans:
            if plan.sent_ms <= self.begin_ms:
                self.send(plan.event, plan.sent_ms)

    def send(self, event: Event, stated_ms: int | None = None) -> None:
        """Send an event to its source topic; history states when it was delivered."""
        held_until = self._held_back.get(event["topic"], 0.0)
        if held_until > self.loop.time():
            self.later(held_until - self.loop.time(), lambda: self.send(event))
            return
        topic = self.sources[event["topic"]]
        try:
            value = self.codec.encode(event)
        except RejectedError:
            return  # what Avro cannot state is not sent
        key = event["case_id"].encode()
        tp = TP(topic, self.brokers.partition_of(topic, key))
        log = self.brokers.logs[tp]
        headers: Headers = ()
        delivered_ms = self.now_ms() if stated_ms is None else stated_ms
        if topic in self.book.trusted:
            early_ms = self.dice.randrange(STATED_EARLY_MS)  # it took a while, and others overtook it
            delivered_ms = max(delivered_ms - early_ms, min(delivered_ms, to_ms(event["at"])))
            headers = ((DELIVERED_AT, str(delivered_ms).encode()),)
        self.book.record(tp, log.end, event, delivered_ms)
        self.brokers.append(tp, [(key, value, headers)])
        if headers and self.dice.random() < 0.15:
            self.send(event, stated_ms)  # a copy that may have been delivered before

    # --- workers

    def start(self, slot: int) -> None:
        """Start a worker in a slot that has none."""
        if slot in self.processes:
            return
        self.incarnations[slot] += 1
        kafka = self.settings.kafka
        conditions = Conditions(
            session_seconds=kafka.session_timeout_seconds,
            heartbeat_seconds=kafka.heartbeat_seconds,
            commit_seconds=kafka.commit_interval_seconds,
            drain_seconds=self.settings.drain_seconds,
            stalled=self.stalled,
            produce_batch_records=self.produce_batch_records,
            clock_ahead_ms=self.dice.choice(self.clock_ahead_ms),
        )
        process = Process(slot, self.incarnations[slot], conditions)
        self.processes[slot] = process
        self.trace(f"start {process.name}")
        context_of(process.name).run(self._launch, process)

    def _launch(self, process: Process) -> None:
        engine = SimEngine(
            process.name,
            brokers=self.brokers,
            coordinator=self.coordinator,
            dice=self.dice,
            conditions=process.conditions,
            group=self.group,
            source_topics=(*self.sources.values(), f"{self.group}-assets", f"{self.group}-relays"),
            max_batch_records=self.settings.limits.max_batch_records,
            concurrent_batches=self.settings.limits.concurrent_batches,
            on_end=lambda _engine, reason: self._ended(process, reason),
        )
        process.engine = engine
        process.worker = worker = Worker(
            self.settings, engine, lambda: self.now_ms() + process.conditions.clock_ahead_ms
        )
        worker._loop_tick = LoopTick(1e9, self.loop.time)
        engine.hooks.on_start = worker.start
        engine.add_future(engine.run())

    def _ended(self, process: Process, reason: BaseException | None) -> None:
        """A worker has ended by itself: told to, or crashed; somebody starts another one."""
        self.trace(f"end {process.name} {reason!r}")
        cause = reason
        while cause is not None and not isinstance(cause, WriteFailedError):
            cause = cause.__cause__
        if reason is not None and cause is None:
            self.book.find(f"{process.name} crashed: {''.join(traceback.format_exception(reason))[-1500:]}")
        self.loop.call_soon(self.bury, process, context=OUTSIDE)
        if reason is not None:
            self.later(self.dice.uniform(0.5, 15.0), lambda: self.start(process.slot))

    def bury(self, process: Process) -> None:
        """End a process: nothing of it runs any more, and the coordinator does not hear of it for a session."""
        if process.state == "ended":
            return
        process.state = "ended"
        self.loop.kill(process.name)
        self.brokers.listeners.pop(process.name, None)
        self.graveyard.append(process)
        if self.processes.get(process.slot) is process:
            del self.processes[process.slot]
        self._expire_later(process)

    def freeze(self, process: Process, seconds: float) -> None:
        """Stop a process as by SIGSTOP, for a while."""
        if process.state != "running" or process.engine is None:
            return
        process.state = "frozen"
        if process.engine.unheard_since is None:  # it may be cut off already
            process.engine.unheard_since = self.loop.time()
        self.loop.freeze(process.name)
        self._expire_later(process)
        self.later(seconds, lambda: self._resume(process))

    def _resume(self, process: Process) -> None:
        if process.state == "frozen" and process.engine is not None:
            self.trace(f"resume {process.name}")
            process.state = "running"
            self.loop.resume(process.name)
            self.loop.call_later(0.01, self.glance, context=OUTSIDE)
            self.loop.call_later(
                self.dice.random() * process.conditions.heartbeat_seconds, self._heard, process, context=OUTSIDE
            )

    def _heard(self, process: Process) -> None:
        """A heartbeat gets through: the lease goes on, unless the group has gone on without this member."""
        engine = process.engine
        if engine is not None and process.state == "running" and process.conditions.heard.is_set():
            engine.unheard_since = engine.unheard_since if engine.member.evicted else None

    def _expire_later(self, process: Process) -> None:
        engine = process.engine
        if engine is not None:
            member, since = engine.member, engine.unheard_since

            def expire() -> None:
                if process.state == "ended" or (engine.unheard_since is not None and engine.unheard_since == since):
                    self.coordinator.leave(member)

            self.loop.call_later(process.conditions.session_seconds + 0.2, expire, context=OUTSIDE)

    def victim(self) -> Process | None:
        """Return some running worker."""
        running = [process for _slot, process in sorted(self.processes.items()) if process.state == "running"]
        return self.dice.choice(running) if running else None

    def later(self, seconds: float, do: Callable[[], None]) -> None:
        """Let something happen after a while."""

        def happen() -> None:
            self.happens()
            do()

        self.loop.call_later(seconds, happen, context=OUTSIDE)

    def cut_off(self, process: Process, seconds: float) -> None:
        """Let the coordinator and a process not hear of each other for a while."""
        if process.engine is not None and process.engine.unheard_since is None:
            process.engine.unheard_since = self.loop.time()
            process.conditions.heard.clear()
            self._expire_later(process)

            def heal() -> None:
                process.conditions.heard.set()
                self._heard(process)

            self.later(seconds, heal)

    def stall(self, tp: TP, seconds: float) -> None:
        """Let nobody read a partition for a while."""
        self.stalled |= {tp}
        self._apply_stalls()

        def go_on() -> None:
            self.stalled -= {tp}
            self._apply_stalls()

        self.later(seconds, go_on)

    def _apply_stalls(self) -> None:
        for process in self.processes.values():
            process.conditions.stalled = self.stalled
            if process.engine is not None:
                process.engine.look()

    def erase(self) -> None:
        """Send the erasure of the case that was heard of last."""
        heard = [plan.event["case_id"] for plan in self.plans if plan.sent_ms <= self.now_ms()]
        event = {"event_id": f"erased-{self._order}", "topic": "ticket", "type": "erased", "at": rfc3339(self.now_ms())}
        self._order += 1
        self.send({**event, "case_id": heard[-1] if heard else self.plans[0].event["case_id"]})

    def hold_back(self, topic: str, seconds: float) -> None:
        """Send nothing of a kind of topic for a while."""
        self._held_back[topic] = max(self.loop.time() + seconds, self._held_back.get(topic, 0.0))

    def transact(self, seconds: float) -> None:
        """Open an upstream transaction where the next event goes, write into it, and end it after a while."""
        coming = next((plan.event for plan in self.plans if plan.sent_ms >= self.now_ms()), self.plans[-1].event)
        topic, key = self.sources[coming["topic"]], coming["case_id"].encode()
        tp = TP(topic, self.brokers.partition_of(topic, key))
        log = self.brokers.logs[tp]
        if log.open_since is not None:
            return
        log.begin()
        aborted = []
        with contextlib.suppress(RejectedError):
            value = self.codec.encode({**coming, "event_id": "never-committed"})
            aborted.append(self.brokers.append(tp, [(key, value, ())]))

        def finish() -> None:
            log.finish(aborted)
            self.brokers.changed(tp)

        self.later(seconds, finish)

    # --- scrapes

    async def scrape(self, *, complete: bool = False, patience: float = 6.0) -> bool:
        """Scrape all workers, wait a little for an instant at which nothing is in flight, and compare."""
        until = self.loop.time() + patience
        while True:
            self.report.scrapes += 1
            if self._compare(complete=complete):
                return True
            if self.loop.time() >= until:
                self._compare(complete=False, partial=True)
                return False
            await asyncio.sleep(0.25)

    def _compare(self, *, complete: bool, partial: bool = False) -> bool:
        """Compare, if nothing is in flight; `partial`: those who speak, though for some partition nobody does."""
        speaking = {
            process.name: process
            for process in self.processes.values()
            if process.state == "running" and process.worker
        }
        scrapes = {name: process.worker.snapshot() for name, process in speaking.items() if process.worker}
        for name, scrape in scrapes.items():
            self._may_speak(speaking[name], scrape)
        believed = fenced(scrapes)
        figures = summed(believed)
        self._digest.update(repr((self.now_ms(), sorted(figures.items()))).encode())
        if len(believed) < self.partitions and not (partial and believed):
            return False
        owners = []
        for number, instances in sorted(believed.items()):
            process = speaking[instances[0][0]]
            worker, engine = process.worker, process.engine
            assert worker is not None
            assert engine is not None
            partition = worker._partitions.get(number)
            if len(instances) > 1 and len({snapshot.generation for _name, snapshot in instances}) == 1:
                self.book.find(f"two owners of partition {number} in one generation: {instances}")
            if partition is None or partition.lock.locked() or number not in engine.owned:
                return False  # the last figures of who gave it up, or a batch in flight
            clock = worker._clock(partition)
            due = partition.deadlines.due(clock.now_ms, 1) or partition.settling.due(clock.settled_ms, 1)
            if due or partition.is_to_recheck:
                return False  # the clock has not been heard since
            cases = engine.tables["cases"]
            owners.append(
                Owner(
                    process.name,
                    instances[0][1],
                    records_of(cases.items_of(number)),
                    boards_of(engine.tables["boards"].items_of(number)),
                    {TP(topic, number): state.acked for topic, state in engine.progress(number).items()},
                    clock.settled_ms,
                    bool(clock.silent_since_ms),
                    partition.is_announced,
                )
            )
        self.auditor.compare(owners, figures, complete=complete or (not partial and self.at_rest()))
        return True

    def glance(self) -> None:
        """Look at every worker's scrape by itself."""
        for _slot, process in sorted(self.processes.items()):
            if process.state == "running" and process.worker is not None:
                self._may_speak(process, process.worker.snapshot())
                self._judges_by_its_clock(process, process.worker)

    def _judges_by_its_clock(self, process: Process, worker: Worker) -> None:
        """Nothing is judged by a clock that is ahead of what was not taken yet, ready or not: history least of all."""
        engine = process.engine
        for number, partition in worker._partitions.items():
            acked = {TP(topic, number): one.acked for topic, one in engine.progress(number).items()} if engine else {}
            if acked and not partition.lock.locked():
                said_ms = partition.counted_ms - max(self.clock_ahead_ms)  # an earlier owner's may have been ahead
                self.book.is_known(process.name, said_ms, acked)

    def _may_speak(self, process: Process, scrape: WorkerSnapshot) -> None:
        """Nobody speaks whom the group has not heard for a session, and nobody for long of what is not its own.

        Ready is who has processed all there was when it took over.
        """
        engine, now = process.engine, self.loop.time()
        if engine is None or scrape.withhold_business:
            return
        ready = [partition.partition for partition in scrape.partitions if partition.ready]
        if engine.lease_expired and engine.owned and ready and not scrape.withhold_business:
            self.book.find(f"{process.name} speaks without a lease")
        longest = self.settings.linger_seconds + LONGEST_TICK_SECONDS + 10.0
        for number in ready:
            if number not in engine.owned and now - engine.given_up_at.get(number, now) > longest:
                self.book.find(f"{process.name} still speaks of partition {number}, given up long ago")
        for partition in scrape.partitions:
            owned = process.worker._partitions.get(partition.partition) if process.worker is not None else None
            if partition.ready and owned is not None and not owned.lock.locked():
                number = partition.partition
                acked = {TP(topic, number): one.acked for topic, one in engine.progress(number).items()}
                ends = {} if partition.partition in engine.kept else engine.opened_ends
                for tp, offset in acked.items():
                    if offset < ends.get(tp, 0):
                        self.book.find(f"{process.name} is ready, but {tp} is at {offset}, not yet at {ends[tp]}")

    def restless(self) -> list[str]:
        """Say what is not at rest: frozen processes, and partitions that are not processed to their ends."""
        topics = (*self.sources.values(), f"{self.group}-assets", f"{self.group}-relays")
        tps = [TP(topic, number) for topic in topics for number in range(self.partitions)]
        behind = [tp for tp in tps if self.coordinator.committed.get(tp, 0) < self.brokers.logs[tp].end]
        held_back = [topic for topic, until in self._held_back.items() if until > self.loop.time()]
        frozen = [process.name for process in self.processes.values() if process.state != "running"]
        return [*map(str, behind), *held_back, *frozen]

    def at_rest(self) -> bool:
        """Whether everything sent is processed, relays included, and committed, and every fault is over."""
        return not self.restless()

    def replay(self) -> None:
        """Hold what a fresh reading of the changelogs gives against the memory of the owners."""
        for process in self.processes.values():
            engine = process.engine
            if engine is None:
                continue
            for table in engine.tables.values():
                for number in engine.owned:
                    if self.coordinator.owners.get(number) == process.name:  # who has just come back knows it soon
                        self._replay(table, number)

    def _replay(self, table: SimTable, number: int) -> None:
        fresh: dict[bytes | None, bytes | None] = {}
        for stored in self.brokers.logs[TP(table.changelog_topic_name, number)].read(0, 10_000_000)[0]:
            fresh[stored.key] = stored.value
        there = {key: value for key, value in fresh.items() if value is not None}
        if there != dict(table.items_of(number)):
            self.book.find(f"the changelog of {table.name}[{number}] is not what its owner has in memory")

    def _received(self, receive: Callable[..., tuple[Case, Reception]]) -> Callable[..., tuple[Case, Reception]]:
        """Return `receive` with an ear for closings: what a case knew by then is a matter of order (rule 10)."""

        def heard(case: Case, fact: Fact, *args: Any) -> tuple[Case, Reception]:  # noqa: ANN401 - the real one's
            new, reception = receive(case, fact, *args)
            if new.closed is not None and new.closed != case.closed:
                self.report.faults[new.closed] += 1
                self.book.closings[case.case_id].append(Closing(case, fact))
            return new, reception

        return heard

    # --- the run

    def run(self) -> Report:
        """Run to quiescence and return what was found."""
        asyncio.set_event_loop(self.loop)
        self.loop.set_exception_handler(self._failed)
        self.build()
        try:
            with patch.object(
                cxstream.kafka.case_agent, "receive", self._received(vars(cxstream.kafka.case_agent)["receive"])
            ):
                self.loop.run_until_complete(self._main())
        finally:
            self.report.findings = self.book.findings
            self.report.compared = self.auditor.compared
            self.report.virtual_seconds = self.loop.time()
            self._digest.update(self.brokers.digest().encode())
            self.report.digest = self._digest.hexdigest()[:16]
            asyncio.set_event_loop(None)
            self.loop.close()
        return self.report

    def _failed(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Note what a callback raised: nothing of the simulation may fail unseen."""
        error = context.get("exception")
        if error is not None and not isinstance(error, WriteFailedError):
            self.book.find(f"{context.get('message')}: {''.join(traceback.format_exception(error))[-1500:]}")

    def plan(self) -> None:
        """Draw when what is sent, and what goes wrong beside it."""
        dice = self.dice
        kinds = [fault for fault in FAULTS if fault not in self.without]
        weights = [FAULTS[fault] for fault in kinds]
        for plan in self.plans:
            if plan.sent_ms > self.begin_ms:
                self.at((plan.sent_ms - self.begin_ms) / 1000, "sent", partial(self.send, plan.event))
        instants = [action.at for action in self._actions]
        if self.backfill:
            instants += self._lag()
        for _ in range(dice.randint(2, max(3, len(self.plans) // 4))):
            fault = dice.choices(kinds, weights)[0]
            beside = dice.choice((-3.0, -0.5, -0.05, 0.0, 0.03, 0.08, 0.5, 3.0)) * dice.random()
            self.at(dice.choice(instants) + beside, fault.__name__, partial(fault, self))
        self._start_at = 0.0 if dice.random() < 0.75 else dice.choice(instants)
        for _ in range(self.more.randint(1, 3) if self.erasures else 0):
            instant, fault = self.more.choice(instants), self.more.choice(BESIDE_ERASURES)
            beside = self.more.choice((-1.0, -0.05, 0.03, 0.5))
            if fault not in self.without:
                self.at(instant + beside, fault.__name__, partial(fault, self))
            self.at(instant + self.more.choice((0.0, 0.06, 1.0, 6.0, 14.0, 20.0)), "erasure", self.erase)

    def _lag(self) -> list[float]:
        """Let one partition lag far behind in history, its topics not alike; return when something becomes of it."""
        number = self.more.randrange(self.partitions)
        self.report.faults["history"] = sum(plan.sent_ms <= self.begin_ms for plan in self.plans)
        instants = [2.0, 8.0]
        for seconds in (0.3, 0.7, 1.5, 3.0, 6.0, 12.0, 25.0, 50.0, 100.0, 200.0, 400.0, 800.0):
            self.loop.call_later(seconds, self.glance, context=OUTSIDE)
        for topic in self.sources.values():
            seconds = self.more.choice((0.0, 30.0, 100.0, 400.0, 900.0))
            if seconds:
                self.stall(TP(topic, number), seconds)
                instants += [seconds / 2, seconds]
        return instants

    async def _main(self) -> None:
        self.plan()
        self.loop.pace = self._pace
        for slot in range(self.slots):
            self.later(self._start_at + self.dice.random() * 3, partial(self.start, slot))
        for action in sorted(self._actions):
            if action.at - self.loop.time() > CALM_SECONDS and self.dice.random() < 0.4:
                await asyncio.sleep(CALM_SECONDS - 10.0)
                await self.scrape()
            if self.loop.time() < action.at:
                await asyncio.sleep(action.at - self.loop.time())
            self.trace(f"{self.loop.time():.3f} {action.kind}")
            self.happens()
            action.do()
            if self.book.findings:
                return
            self.report.faults[action.kind] += 1
            if action.kind != "sent":
                for seconds in (0.2, 1.0, 4.0, 11.0):
                    self.loop.call_later(seconds * self.dice.uniform(0.7, 1.3), self.glance, context=OUTSIDE)
                self.loop.call_later(self.dice.uniform(5.0, 25.0), self._look, context=OUTSIDE)
            if self.dice.random() < 0.1:
                await self.scrape(patience=self.dice.choice((0.5, 6.0)))
        await self.quiesce()

    def _look(self) -> None:
        """Scrape and compare beside everything else: the last figures of earlier owners may still be shown."""
        self._looks.append(self.loop.create_task(self.scrape(patience=15.0)))

    def happens(self) -> None:
        """Something happens: the workers tick fast for a while."""
        if self.loop.time() > self._happened_at + 4.0:
            self.loop.wake()
        self._happened_at = self.loop.time()

    def _pace(self) -> float:
        return min(LONGEST_TICK_SECONDS, TICK_SECONDS + (self.loop.time() - self._happened_at) / 4)

    async def quiesce(self) -> None:
        """Let everything come to rest, and hold all of it against the oracle; then once more when all is sealed."""
        for _ in range(100):
            for slot in range(self.slots):
                self.start(slot)
            self.happens()
            await asyncio.sleep(10.0)
            if self.book.findings:
                return
            if self.at_rest() and await self.scrape(complete=True):
                break
        else:
            self.book.find(f"never at rest: {self.restless()}")
        self.replay()
        for seconds in (700, 1400, 2400, 1600):  # most is sealed; all is; most is forgotten; of that most is gone
            await asyncio.sleep(seconds)
            if not self.book.findings:
                await self._rest("later")
        self.replay()

    async def _rest(self, when: str) -> None:
        for _ in range(60):
            self.happens()
            await asyncio.sleep(5.0)
            if await self.scrape(complete=True):
                return
        self.book.find(f"never at rest {when}")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the workers' log lines away, let the loop pace their ticks, and read the schemas once for all of them."""
    logging.disable(logging.CRITICAL)
    with (
        patch.object(cxstream.worker, "TICK_SECONDS", loop.TICK_SECONDS),
        patch.object(Schemas, "packaged", lambda: SCHEMAS),
    ):
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


def simulate(seed: int, steps: int = STEPS, without: Collection[Fault] = ()) -> Report:
    """Run one simulation, without some of the faults."""
    with quiet():
        return Simulation(seed, steps, without).run()


def main(seed: int, steps: int) -> int:
    """Run one simulation, print what it came to, and return 0 if nothing was wrong, else 1."""
    report = simulate(seed, steps)
    print(f"seed {report.seed}, {report.virtual_seconds:.0f} virtual seconds")
    for kind, times in sorted(report.faults.items()):
        print(f"  {kind:<24}{times:>6}")
    print(f"  {'scrapes':<24}{report.scrapes:>6}")
    print(f"  {'compared':<24}{report.compared:>6}")
    print(f"  {'differences':<24}{len(report.findings):>6}")
    print(f"  {'digest':<24}{report.digest}")
    for finding in report.findings:
        print(f"    {finding}")
    return 1 if report.findings else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))


__all__ = ["Report", "Simulation", "main", "simulate"]
