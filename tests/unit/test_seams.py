"""Where the engine waits for brokers in Faust's place: how long, and what becomes of it when they do not answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.producer.message_accumulator import BatchBuilder
from faust.tables.recovery import Recovery, ServiceStopped
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from cxstream.kafka import engine as engine_module
from cxstream.kafka.engine import EngineApp, EngineSettings
from cxstream.kafka.partition_batches import ReadRange


def engine(folder: Path) -> EngineApp:
    """Return an engine with one table that connects nowhere."""
    settings = EngineSettings(
        group="g",
        bootstrap="localhost:1",
        source_topics=["s"],
        partitions=2,
        data_folder=folder,
        max_batch_records=10,
        max_queued_records=100,
        drain_seconds=0.1,
    )
    app = EngineApp(settings)
    app.changelog_table("cases")
    return app


@pytest.mark.parametrize(("stops", "expected"), [(False, TimeoutError), (True, ServiceStopped)])
def test_a_question_of_recovery_that_takes_too_long_ends_the_worker(
    stops: bool,  # noqa: FBT001
    expected: type[Exception],
    tmp_path: Path,
) -> None:
    """Stock takes it for a stop and ends its loop in silence: a live worker that recovers nothing any more."""

    async def run() -> None:
        recovery = engine(tmp_path).recovery
        if stops:
            recovery._stopped.set()
        with pytest.raises(ServiceStopped):
            await Recovery._wait(recovery, asyncio.sleep(5), 0.01)
        with pytest.raises(expected):
            await recovery._wait(asyncio.sleep(5), 0.01)
        if not stops:
            await recovery._wait(asyncio.sleep(0), 5.0)

    asyncio.run(run())


@pytest.mark.parametrize("coordinator_answers", [True, False])
def test_giving_up_has_an_end_whatever_does_not_answer(
    coordinator_answers: bool,  # noqa: FBT001
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No batch that cannot be written, as it is for stock, and no commit that is not answered holds up a rebalance."""
    monkeypatch.setattr(engine_module, "COMMIT_SECONDS", 0.1)

    async def run() -> None:
        app, never, tp = engine(tmp_path), asyncio.Event(), TP("s", 1)
        committed: list[Mapping[TP, int]] = []

        async def commit(offsets: Mapping[TP, int]) -> bool:
            if not coordinator_answers:
                await never.wait()
            committed.append(offsets)
            return True

        app.producer._producer = SimpleNamespace(flush=never.wait)  # type: ignore[attr-defined]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(driver.Producer.flush(app.producer), 0.1)
        monkeypatch.setattr(app.consumer, "assignment", lambda: {tp})
        monkeypatch.setattr(app.consumer, "_thread", SimpleNamespace(heard_at=monotonic()))
        monkeypatch.setattr(app.consumer, "_commit", commit)
        app.owned = frozenset({1})
        app.batches.open(1, {tp: (0, 5)})
        app.batches.offer(tp, ReadRange([], 5))
        each_second = asyncio.ensure_future(app.consumer.commit())
        await asyncio.sleep(0)
        await asyncio.wait_for(app.give_up(), 2.0)
        assert committed == ([{tp: 5}] if coordinator_answers else [])
        assert not app.owned
        assert app.batches.committable(tp) is None
        each_second.cancel()

    asyncio.run(run())


@pytest.mark.parametrize(("writes", "is_acknowledged"), [(True, False), (True, True), (False, True)])
def test_what_a_hook_wrote_when_it_was_cut_short_is_read_again(
    writes: bool,  # noqa: FBT001
    is_acknowledged: bool,  # noqa: FBT001
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The table has what the hook was writing, and figures do not follow: no partition is kept with that."""

    async def run() -> None:
        app, never = engine(tmp_path), asyncio.Event()
        table: Any = app.tables["cases"]

        async def send_batch(*_batch: object, **_where: object) -> asyncio.Future[Any]:
            done = asyncio.get_running_loop().create_future()
            if is_acknowledged:
                done.set_result(SimpleNamespace(offset=0))
            return done

        async def hook(_partitions: frozenset[int]) -> None:
            if writes:
                await table.put_many(1, [(b"k", b"v")])
            await never.wait()

        producer = SimpleNamespace(create_batch=lambda: BatchBuilder(1024, 0), send_batch=send_batch)
        monkeypatch.setattr(app, "_aiokafka_producer", lambda: producer)
        monkeypatch.setattr(app.writes, "_producer", lambda: producer)
        monkeypatch.setattr(app, "co_partitions", lambda: frozenset({1}))
        monkeypatch.setattr(app.consumer, "_thread", SimpleNamespace(heard_at=monotonic()))
        app.hooks.on_recovered = hook
        table.apply(1, [], 1)
        app.recovery._hook = asyncio.ensure_future(app.take_over(7))
        await asyncio.sleep(0.05)
        assert table.get(1, b"k") == (b"v" if writes else None)
        await app.give_up()
        assert table.get(1, b"k") is None
        assert app.untouched == (frozenset() if writes else {1})

    asyncio.run(run())
