"""What goes wrong: each fault is a function of the run, named as reports name it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from faust.types import TP

from simulation.loop import OUTSIDE, context_of

if TYPE_CHECKING:
    from simulation.run import Process, Simulation

Fault = Callable[["Simulation"], None]


def kill(run: Simulation) -> None:
    """A process ends at once; what it had sent may still land. Another one is started after a while."""
    victim = run.victim()
    if victim is not None:
        run.bury(victim)
        run.later(run.dice.uniform(0.2, 20.0), lambda: run.start(victim.slot))


def kill_amid_writes(run: Simulation) -> None:
    """Writes linger in the process, and it ends at once: some have left it, others never will."""
    victim = run.victim()
    if victim is not None:
        victim.conditions.client_seconds = 3.0

        def end() -> None:
            run.bury(victim)
            run.later(run.dice.uniform(0.2, 20.0), lambda: run.start(victim.slot))

        run.later(run.dice.uniform(0.5, 5.0), end)


def pause(run: Simulation) -> None:
    """A process stands still, at times beyond its session, and goes on: it may write what it had begun."""
    victim = run.victim()
    if victim is not None:
        run.freeze(victim, run.dice.choice((1.0, 6.0, 12.0, 15.0, 25.0, 40.0)))


def pause_amid_writes(run: Simulation) -> None:
    """Writes linger in the process, and then it stands still beyond its session: they leave when it goes on."""
    victim = run.victim()
    if victim is not None:
        victim.conditions.client_seconds = run.dice.choice((0.3, 2.0))

        def freeze() -> None:
            victim.conditions.client_seconds = 0.002
            run.freeze(victim, run.dice.uniform(11.0, 40.0))

        run.later(run.dice.uniform(0.1, 3.0), freeze)


def slow_network(run: Simulation) -> None:
    """Messages of a process are slow for a while."""
    victim = run.victim()
    if victim is not None:
        victim.conditions.network_seconds = run.dice.choice((0.3, 1.0, 4.0))
        run.later(run.dice.uniform(2.0, 20.0), lambda: setattr(victim.conditions, "network_seconds", 0.02))


def failed_write(run: Simulation) -> None:
    """A write is not acknowledged, though it may have landed: the worker crashes."""
    victim = run.victim()
    if victim is not None:
        victim.conditions.failing_writes += run.dice.choice((1, 1, 2))


def cut_off(run: Simulation) -> None:
    """A process works on, but the coordinator does not hear it, at times for longer than a session."""
    victim = run.victim()
    if victim is not None and victim.engine is not None and victim.conditions.heard.is_set():
        run.cut_off(victim, run.dice.choice((3.0, 9.0, 15.0, 30.0)))


def silent_brokers(run: Simulation) -> None:
    """Questions about the ends of topics are not answered for a while."""
    for process in run.processes.values():
        process.conditions.silent_brokers = True
        run.later(run.dice.uniform(1.0, 20.0), partial(_answer, process))


def _answer(process: Process) -> None:
    process.conditions.silent_brokers = False


def leave(run: Simulation) -> None:
    """A worker is told to end, and another one starts after a while."""
    victim = run.victim()
    if victim is not None and victim.engine is not None and not victim.engine.should_stop:
        engine = victim.engine
        context_of(victim.name).run(lambda: engine.add_future(engine.stop()))
        run.later(run.dice.uniform(5.0, 30.0), lambda: run.start(victim.slot))


def rebalance(run: Simulation) -> None:
    """One more worker joins, or the group is called to join again."""
    free = [slot for slot in range(run.slots + 1) if slot not in run.processes]
    if free:
        run.start(free[0])
    else:
        run.coordinator.call()


def duplicate(run: Simulation) -> None:
    """An event that was sent before is sent again."""
    sent = [plan for plan in run.plans if plan.sent_ms <= run.now_ms()]
    if sent:
        run.send(run.dice.choice(sent).event)


def stalled_partition(run: Simulation) -> None:
    """One partition of one topic cannot be read by anybody for a while: the others go on."""
    own = (f"{run.group}-assets", f"{run.group}-relays")
    topic = run.dice.choice(own if run.dice.random() < 0.5 else tuple(run.sources.values()))
    run.stall(TP(topic, run.dice.randrange(run.partitions)), run.dice.choice((5.0, 30.0, 100.0, 400.0)))


def upstream_outage(run: Simulation) -> None:
    """Nothing of one source topic is sent for a while; then all of it."""
    run.hold_back(run.dice.choice(tuple(run.sources)), run.dice.choice((5.0, 60.0, 300.0)))


def transaction(run: Simulation) -> None:
    """An upstream transaction opens before what is sent next, hides it for a while, and writes what is aborted."""
    run.transact(run.dice.choice((0.1, 3.0, 12.0, 30.0)))


def gap(run: Simulation) -> None:
    """Offsets without records appear in a source topic."""
    tp = TP(run.dice.choice(tuple(run.sources.values())), run.dice.randrange(run.partitions))
    run.brokers.logs[tp].skip(run.dice.choice((1, 2, 50)))
    run.brokers.changed(tp)


def compaction(run: Simulation) -> None:
    """The brokers compact the changelogs, and forget tombstones that are old."""
    for tp, log in run.brokers.logs.items():
        if tp.topic.endswith(("-changelog", "-watermarks")):
            log.compact(run.dice.randint(0, log.end), drop_tombstones=run.dice.random() < 0.5)


def poison(run: Simulation) -> None:
    """A record that is no event."""
    tp = TP(run.dice.choice(tuple(run.sources.values())), run.dice.randrange(run.partitions))
    run.brokers.append(tp, [(b"junk", run.dice.choice((b"", b"junk", b"\xc3\x01junk-junk", None)), ())])
    run.poisoned += 1


FAULTS: dict[Fault, int] = {
    kill: 4,
    kill_amid_writes: 4,
    pause: 3,
    pause_amid_writes: 3,
    slow_network: 2,
    failed_write: 4,
    cut_off: 2,
    silent_brokers: 1,
    leave: 3,
    rebalance: 3,
    duplicate: 3,
    stalled_partition: 3,
    upstream_outage: 1,
    transaction: 3,
    gap: 1,
    compaction: 2,
    poison: 1,
}
"""Every fault, and how often it is drawn compared with the others."""
BESIDE_ERASURES: tuple[Fault, ...] = (kill, kill_amid_writes, pause_amid_writes, pause_amid_writes, failed_write, leave)
"""What goes wrong where a case is erased in the middle of everything."""
__all__ = ["BESIDE_ERASURES", "FAULTS", "OUTSIDE", "Fault"]
