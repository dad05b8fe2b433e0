"""The one-command tour: an embedded broker, a worker, a realistic upstream with an incident, and a live view."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
import time
import urllib.request
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path

from rich.console import Console
from rich.live import Live

from cxstream.demo.embedded import EmbeddedBroker, EmbeddedBrokerError
from cxstream.demo.live_view import Board, Session, read, render, summary
from cxstream.demo.traffic import DAYS, SOURCES, TrafficError, play, traffic
from cxstream.demo.upstream import PRODUCTS, REGIONS
from cxstream.kafka.topics import check, topic_table

GROUP = "cxstream-demo"
PARTITIONS = 4
START_SECONDS = 60.0
STOP_SECONDS = 30.0
LOOK_SECONDS = 1.0


class DemoError(RuntimeError):
    """The demo cannot go on; the message is for the person who ran it."""


def run(*, seconds: int | None, seed: int, port: int, days: int = DAYS) -> int:
    """Run the tour until it is stopped, or for `seconds`; return the exit status: 0 if all partitions were covered."""
    try:
        with (
            tempfile.TemporaryDirectory(prefix="cxstream-demo-") as folder,
            EmbeddedBroker(Path(folder) / "broker") as broker,
        ):
            return asyncio.run(_until_stopped(_tour(broker.bootstrap, Path(folder), seconds, seed, port, days)))
    except EmbeddedBrokerError as error:
        raise DemoError(str(error)) from error


def write_to(bootstrap: str, *, seconds: int | None, seed: int, days: int = DAYS) -> int:
    """Only write the events, to the brokers of a stack that runs already; return the exit status.

    Raises DemoError if they do not take them.
    """
    try:
        return asyncio.run(_until_stopped(_written(bootstrap, seconds, seed, days)))
    except TrafficError as error:
        raise DemoError(str(error)) from error


async def _written(bootstrap: str, seconds: int | None, seed: int, days: int) -> int:
    await play(bootstrap, seed=seed, days=days, seconds=seconds)
    return 0


async def _until_stopped(tour: Coroutine[None, None, int]) -> int:
    """Run the tour; Ctrl-C, a closed terminal or a kill end it in order, so that nothing is left running."""
    task = asyncio.ensure_future(tour)
    for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(sign, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        return 0


async def _tour(bootstrap: str, folder: Path, seconds: int | None, seed: int, port: int, days: int) -> int:
    console = Console()
    table = topic_table(
        group=GROUP, sources=SOURCES, trusted=SOURCES.values(), partitions=PARTITIONS, replication_factor=1
    )
    await check(bootstrap, table, declare=True)
    async with traffic(bootstrap, seed=seed, days=days) as company:
        console.print(f"{days} days of a field-service company's history go to Kafka ...")
        sent = await company.write_history()
        console.print(f"{sent:,} events sent; starting the worker (log: {folder / 'worker.log'})")
        async with _worker(bootstrap, folder, port) as worker:
            live = asyncio.create_task(company.go_on())
            try:
                return await _watch(console, worker, folder, port, seconds)
            finally:
                live.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await live


@contextlib.asynccontextmanager
async def _worker(bootstrap: str, folder: Path, port: int) -> AsyncIterator[Process]:
    """Run a real worker in a process of its own; it is stopped as an operator would stop it."""
    settings = {
        "CXSTREAM_KAFKA_BOOTSTRAP": bootstrap,
        "CXSTREAM_KAFKA_GROUP": GROUP,
        "CXSTREAM_KAFKA_PARTITIONS": str(PARTITIONS),
        "CXSTREAM_KAFKA_REPLICATION_FACTOR": "1",
        "CXSTREAM_KAFKA_VERDICTS_TOPIC": "none",
        "CXSTREAM_KAFKA_TRUSTED_TOPICS": ",".join(SOURCES.values()),
        "CXSTREAM_LEDGER_LABEL_VALUES_REGION": ",".join(region.name for region in REGIONS),
        "CXSTREAM_LEDGER_LABEL_VALUES_PRODUCT": ",".join(product.name for product in PRODUCTS),
        "CXSTREAM_LEDGER_LEVELS": "job=all,region=1h 24h 30d,product=24h 30d",
        "CXSTREAM_HTTP_PORT": str(port),
        "CXSTREAM_DATA_FOLDER": str(folder / "worker"),
        "CXSTREAM_DRAIN_SECONDS": "5",
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CXSTREAM_")} | settings
    with (folder / "worker.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "cxstream", "worker", env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), STOP_SECONDS)
            except TimeoutError:
                process.kill()
                await process.wait()


async def _watch(console: Console, worker: Process, folder: Path, port: int, seconds: int | None) -> int:
    """Show what the worker says until the time is over; return 0 if it covered all its partitions at the end."""
    session, board = Session(), None
    page = f"http://127.0.0.1:{port}/"
    links = [("live page", page), ("metrics", f"{page}metrics")]
    console.print(f"the live page: {page}")
    ends_at = time.monotonic() + seconds if seconds is not None else None
    starts_by = time.monotonic() + START_SECONDS
    with contextlib.ExitStack() as stack:
        view = (
            stack.enter_context(Live(console=console, screen=True, auto_refresh=False)) if console.is_terminal else None
        )
        while ends_at is None or time.monotonic() < ends_at:
            board = await _look(port) or board
            if worker.returncode is not None:
                raise DemoError(f"the worker ended with status {worker.returncode}:\n{_last_words(folder)}")
            if board is None and time.monotonic() > starts_by:
                raise DemoError(f"the worker did not start within {START_SECONDS:.0f} s:\n{_last_words(folder)}")
            if board is not None:
                now_ms = time.time_ns() // 1_000_000
                session.observe(board, now_ms)
                if view is not None:
                    view.update(render(board, session, now_ms=now_ms, size=console.size, links=links), refresh=True)
            await asyncio.sleep(LOOK_SECONDS)
    if board is None:
        raise DemoError(f"the worker said nothing:\n{_last_words(folder)}")
    console.print(summary(board, now_ms=time.time_ns() // 1_000_000))
    console.print(f"the live page was {page}: without --seconds it stays")
    return 0 if board.pipeline.covered else 1


async def _look(port: int) -> Board | None:
    """Return what the worker shows now, None while it does not answer."""

    def get() -> str:
        url = f"http://127.0.0.1:{port}/metrics"
        with urllib.request.urlopen(url, timeout=5) as answer:  # nosec B310 # always http, to this machine
            return str(answer.read().decode())

    try:
        return read([await asyncio.to_thread(get)])
    except OSError:
        return None


def _last_words(folder: Path) -> str:
    return (folder / "worker.log").read_text(errors="replace")[-2_000:]
