"""What a worker counts and says of itself, also while partitions come and go."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from unittest.mock import MagicMock

from cxstream.config import load
from cxstream.worker import Worker

BOTH, NONE = frozenset({0, 1}), frozenset[int]()


def a_worker() -> Worker:
    """Return a worker that owns nothing yet, on an engine that keeps what is assigned again."""
    engine = MagicMock(kept=BOTH, generation=1, should_stop=False, lease_expired=False)
    engine.progress.return_value = {}
    engine.changelog_table.return_value.stale.return_value = []
    engine.recovery_remaining.return_value = {}
    return Worker(load(None, {}), engine, lambda: 5)


def after(*hooks: Awaitable[None]) -> None:
    """Let hooks of the engine happen one after the other."""

    async def happen() -> None:
        for hook in hooks:
            await hook

    asyncio.run(happen())


def test_what_was_capped_never_becomes_less() -> None:
    """A counter that falls while partitions are handed over is taken for a reset, and its total for an increase."""
    worker = a_worker()
    after(worker._on_assigned(BOTH), worker._on_recovered(BOTH))
    for partition in worker._partitions.values():
        partition.ledger.capped = 3
    assert worker.snapshot().label_values_capped == 6
    after(worker._on_revoked(BOTH))
    assert worker.snapshot().label_values_capped == 6
    after(worker._on_assigned(frozenset({0})), worker._on_recovered(frozenset({0})))
    worker._partitions[0].ledger.capped += 1
    assert worker.snapshot().label_values_capped == 7


def test_every_rebalance_counts_that_of_a_recovery_too() -> None:
    """Who is asked to join again before it owns anything takes part in a storm; only its first joining is none."""
    worker = a_worker()
    after(worker._on_assigned(BOTH))
    assert (worker.snapshot().rebalances, worker.started()) == (0, False)
    after(worker._on_assigned(BOTH), worker._on_assigned(NONE))
    assert (worker.snapshot().rebalances, worker.started()) == (2, False)
    after(worker._on_recovered(NONE))
    assert (worker.snapshot().rebalances, worker.started()) == (2, True)
    after(worker._on_assigned(BOTH), worker._on_recovered(BOTH))
    assert worker.snapshot().rebalances == 3
    after(worker._on_revoked(BOTH))
    assert worker.snapshot().rebalances == 4
    after(worker._on_assigned(BOTH), worker._on_recovered(BOTH))
    assert (worker.snapshot().rebalances, worker.started()) == (4, True)


def test_a_worker_says_what_cpu_its_process_has_used() -> None:
    """All threads of it, since it started; never less than before."""
    worker = a_worker()
    before = worker.snapshot().cpu_seconds
    assert 0 < before <= worker.snapshot().cpu_seconds <= time.process_time()
