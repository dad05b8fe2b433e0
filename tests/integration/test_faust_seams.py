"""The layer under the worker, on a real Apache Kafka: deliveries, commits, tables, rebalances, crashes, speed.

The file is two programs: the tests, and (run as a script) a tiny worker that counts the distinct ids of each key.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
import time
import uuid
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.producer.message_accumulator import BatchBuilder
from faust.types import TP

from cxstream.kafka.changelog_table import BatchProducer, ChangelogTable, OffsetRange, Outgoing, RecordTooLargeError
from cxstream.kafka.engine import EngineApp, EngineSettings, run
from cxstream.kafka.partition_batches import PartitionBatch, PartitionBatches, ReadRange, Record

PARTITIONS = 4


# --- the worker -----------------------------------------------------------------------------------------------------


def hang_at_end(app: EngineApp) -> None:
    """Let a crashed app wait for ever for its partitions to be given up."""
    give_up = app.give_up

    async def hang() -> None:
        await (asyncio.Event().wait() if app.crashed else give_up())

    app.give_up = hang  # type: ignore[method-assign]


def run_worker(options: dict[str, Any]) -> None:  # noqa: PLR0915 - the whole tiny worker
    """Count: a key's value is a bit set of the ids seen, so applying a record twice changes nothing."""
    folder = Path(options["folder"])
    app = EngineApp(
        EngineSettings(
            **{
                "group": options["group"],
                "bootstrap": options["bootstrap"],
                "source_topics": options["topics"],
                "partitions": PARTITIONS,
                "data_folder": folder / "data",
                "replication_factor": 1,
                "session_timeout_seconds": options.get("session", 6.0),
                "heartbeat_seconds": 0.5,
                "commit_interval_seconds": 0.2,
                "drain_seconds": 3.0,
                "max_batch_records": options.get("batch", 1000),
                "max_queued_records": 100_000,
                **options.get("settings", {}),
            }
        )
    )
    table = app.changelog_table("cases")
    if options.get("hold"):
        (folder / "hold").touch()
    if options.get("stall"):
        stall(app, options["stall"])
    if options.get("hang_at_end"):
        hang_at_end(app)
    delivered = (folder / "delivered").open("a", buffering=1)
    hooks: list[Any] = []
    first: list[float] = []
    count = [0]
    poison = options.get("poison", "no record").encode()

    async def count_ids(batch: PartitionBatch) -> None:
        number = batch.number
        records = [record for topic in batch.records for record in batch.records[topic]]
        if any(record.value == poison for record in records):
            raise ArithmeticError("poisoned record")
        if options.get("noop"):
            items = [(key, bytes(33)) for key in {record.key for record in records}]
        else:
            items = fold_ids(number, records, table.get)
        await asyncio.sleep(options.get("slow", 0))
        await held(batch, folder)
        writes: list[Any] = [table.put_many(number, items)]
        if options.get("relay"):
            relayed = [Outgoing(r.key, r.value, [("from", b"%d" % r.offset)], r.timestamp) for r in records]
            writes.append(app.produce_many(options["relay"], None, relayed))
        await asyncio.gather(*writes)
        if options.get("log_offsets"):
            for topic, taken in batch.records.items():
                delivered.write(f"{topic} {number} {batch.generation} {[r.offset for r in taken]}\n")
        batch.ack()
        count[0] += len(records)
        if count[0] == options.get("measure"):
            wall, cpu = time.perf_counter() - first[0], time.process_time() - first[1]
            (folder / "speed").write_text(f"{count[0] / wall:,.0f} events/s, {cpu / count[0] * 1e6:.1f} us CPU/event")

    async def tell(name: str, partitions: frozenset[int]) -> None:
        if name == "recovered":
            first[:] = [time.perf_counter(), time.process_time()]
        if options.get("hold_recovery") and not hooks:
            hold_completion(app, folder)
        hooks.append([name, app.generation, sorted(partitions), sorted(app.kept), round(time.time(), 3)])
        if name == "recovered" and options.get("fail_on_recovered"):
            raise ArithmeticError("ledger cannot be rebuilt")

    app.hooks.on_partitions_revoked = lambda partitions: tell("revoked", partitions)
    app.hooks.on_partitions_assigned = lambda partitions: tell("assigned", partitions)
    app.hooks.on_recovered = lambda partitions: tell("recovered", partitions)
    app.process(count_ids)

    async def stray_cancellation() -> None:
        raise asyncio.CancelledError

    async def read_nothing() -> None:
        await app.read(TP(table.changelog_topic_name, 0), OffsetRange(0, -1))
        (folder / "read").touch()

    runs = {"stray_cancellation": stray_cancellation, "read_nothing": read_nothing}
    if options.get("run"):
        app.task(runs[options["run"]])

    @app.task
    async def report() -> None:
        while not app.should_stop:
            told = {"count": count[0], "hooks": hooks, **({} if options.get("quiet") else describe(app, table))}
            (folder / "status.new").write_text(json.dumps(told))
            (folder / "status.new").replace(folder / "status")
            await asyncio.sleep(0.1)

    run(app)


def stall(app: EngineApp, seconds: float) -> None:
    """Let every write of this worker wait so long before it is sent."""
    permission = app.writes._permission

    async def stalled() -> None:
        await asyncio.sleep(seconds)
        await permission()

    app.writes._permission = stalled


async def held(batch: PartitionBatch, folder: Path) -> None:
    """Hold every batch while there is a file `hold`; leave a trace when one goes on that was given up."""
    while (folder / "hold").exists():  # noqa: ASYNC110 - told by another process
        await asyncio.sleep(0.02)
    if not batch.current:
        (folder / "stale").touch()


def hold_completion(app: EngineApp, folder: Path) -> None:
    """Hold the end of this worker's recovery while there is a file `hold`."""
    recovery: Any = app.recovery
    complete = recovery.on_recovery_completed

    async def held_completion(generation: int = 0) -> None:
        print("recovery is held", flush=True)
        while (folder / "hold").exists():  # noqa: ASYNC110 - told by another process
            await asyncio.sleep(0.02)
        await complete(generation)

    recovery.on_recovery_completed = held_completion


def fold_ids(
    number: int, records: list[Record], value_of: Callable[[int, bytes], bytes | None]
) -> list[tuple[bytes, bytes]]:
    """Return the new value of every key in the records: the ids it had and the ids that came."""
    seen: dict[bytes, int] = {}
    for record in records:
        before = seen.get(record.key)
        if before is None:
            before = int.from_bytes(value_of(number, record.key) or b"", "big")
        seen[record.key] = before | 1 << int(record.value)
    return [(key, ids.to_bytes(ids.bit_length() // 8 + 1, "big")) for key, ids in seen.items()]


def describe(app: EngineApp, table: ChangelogTable) -> dict[str, Any]:
    """Return what a worker can say about itself."""
    return {
        "owned": sorted(app.owned),
        "open": app.batches.is_open,
        "generation": app.generation,
        "keys": {p: table.count(p) for p in range(PARTITIONS)},
        "ids": {p: sum(int.from_bytes(v, "big").bit_count() for _, v in table.items_of(p)) for p in sorted(app.owned)},
        "lag": [lane.lag for p in sorted(app.owned) for lane in app.batches.progress(p).values()],
        "refused": app.batches.refused_records,
        "foreign": {p: table.unread_ranges(p) for p in range(PARTITIONS)},
    }


# --- the tests ------------------------------------------------------------------------------------------------------


class Worker:
    """One worker process."""

    def __init__(self, folder: Path, bootstrap: str, group: str, topics: list[str], **options: object) -> None:
        from parts.processes import ServerProcess

        self.folder = folder / uuid.uuid4().hex[:6]
        self.folder.mkdir()
        told = {"folder": str(self.folder), "bootstrap": bootstrap, "group": group, "topics": topics, **options}
        self.process = ServerProcess(
            [sys.executable, __file__, json.dumps(told)], self.folder / "log", {"PYTHONPATH": os.pathsep.join(sys.path)}
        )

    def status(self) -> dict[str, Any]:
        path = self.folder / "status"
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def wait(self, condition: Callable[[dict[str, Any]], Any], seconds: float = 40.0) -> dict[str, Any]:
        """Wait until a status satisfies the condition; fail with the end of the log."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            status = self.status()
            if status and condition(status):
                return status
            if not self.process.running:
                break
            time.sleep(0.05)
        pytest.fail(
            f"{'not' if self.process.running else 'ended'} in {seconds} s: {self.status()}\n{self.process.log_tail()}"
        )

    def logged(self, text: str, times: int = 1, seconds: float = 30.0) -> None:
        """Wait until the log says `text` so often."""
        deadline = time.monotonic() + seconds
        while self.folder.joinpath("log").read_text().count(text) < times:
            if time.monotonic() > deadline:
                pytest.fail(f"not said {times} times: {text}\n{self.process.log_tail()}")
            time.sleep(0.02)

    def offsets(self) -> list[tuple[str, int, int]]:
        """Return what was processed, in order: topic, partition, offset."""
        lines = [line.split(" ", 3) for line in (self.folder / "delivered").read_text().splitlines()]
        return [(topic, int(number), offset) for topic, number, _, listed in lines for offset in json.loads(listed)]

    def kill(self) -> None:
        self.process.end(grace_seconds=0)

    def stop(self) -> int:
        """Ask politely and return the exit code."""
        self.process.signal(signal.SIGTERM)
        return self.ended()

    def ended(self, seconds: float = 30.0) -> int:
        deadline = time.monotonic() + seconds
        while self.process.running:
            if time.monotonic() > deadline:
                pytest.fail(f"still running\n{self.process.log_tail()}")
            time.sleep(0.05)
        return int(self.process._child.returncode)


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """An Apache Kafka for this file (the embedded broker neither evicts dead members nor long-polls)."""
    from parts.apache_kafka import ApacheKafka
    from parts.broker import require_apache_kafka

    require_apache_kafka()
    with ApacheKafka() as kafka:
        yield kafka.bootstrap


class Case:
    """One test's topics, group and workers."""

    def __init__(self, bootstrap: str, folder: Path) -> None:
        self.bootstrap = bootstrap
        self.folder = folder
        self.name = f"seams-{uuid.uuid4().hex[:8]}"
        self.topics = [f"{self.name}-a", f"{self.name}-b"]
        self.relay = f"{self.name}-relay"
        self.changelog = f"{self.name}-cases-changelog"
        self.workers: list[Worker] = []
        self.sent: dict[int, set[tuple[bytes, int]]] = {p: set() for p in range(PARTITIONS)}
        asyncio.run(self._create())

    async def _create(self) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        await admin.create_topics([NewTopic(topic, PARTITIONS, 1) for topic in (*self.topics, self.relay)])
        await admin.close()

    def worker(self, **options: object) -> Worker:
        worker = Worker(self.folder, self.bootstrap, self.name, self.topics, **options)
        self.workers.append(worker)
        return worker

    def send(self, ids: range, keys: int = 200, topics: list[str] | None = None, *, transactions: bool = False) -> None:
        """Send every id of every key, each to one topic; with transactions every second one of them is aborted."""
        asyncio.run(self._send(ids, keys, topics or self.topics, transactions=transactions))

    async def _send(self, ids: range, keys: int, topics: list[str], *, transactions: bool) -> None:
        names = [b"key-%d" % i for i in range(keys)]
        transactional = {"transactional_id": self.name} if transactions else {}
        producer = AIOKafkaProducer(
            bootstrap_servers=self.bootstrap, linger_ms=5, max_batch_size=1 << 17, acks="all", **transactional
        )
        await producer.start()
        for number in ids:
            topic = topics[number % len(topics)]
            if transactions:
                await producer.begin_transaction()
                for key in names[: keys // 2]:
                    await producer.send(topic, b"9", key, partition=zlib.crc32(key) % PARTITIONS)
                await producer.abort_transaction()
                await producer.begin_transaction()
            for key in names:
                partition = zlib.crc32(key) % PARTITIONS
                await producer.send(topic, b"%d" % number, key, partition=partition)
                self.sent[partition].add((key, number))
            if transactions:
                await producer.commit_transaction()
        await producer.stop()

    @property
    def total(self) -> int:
        return sum(map(len, self.sent.values()))

    def read(self, topic: str) -> dict[int, list[Any]]:
        """Return all committed records of a topic by partition."""

        async def read() -> dict[int, list[Any]]:
            consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap, isolation_level="read_committed")
            await consumer.start()
            tps = [TopicPartition(topic, p) for p in range(PARTITIONS)]
            consumer.assign(tps)
            await consumer.seek_to_beginning()
            ends = await consumer.end_offsets(tps)
            found: dict[int, list[Any]] = {p: [] for p in range(PARTITIONS)}
            while any([await consumer.position(tp) < end for tp, end in ends.items()]):
                for tp, records in (await consumer.getmany(timeout_ms=200)).items():
                    found[tp.partition] += records
            await consumer.stop()
            return found

        return asyncio.run(read())

    def committed(self) -> dict[TopicPartition, tuple[int, int]]:
        """Return (committed offset, end of the log) of every source partition; -1 when nothing is committed."""

        async def ask() -> dict[TopicPartition, tuple[int, int]]:
            consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap)
            admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
            await consumer.start()
            await admin.start()
            tps = [TopicPartition(topic, p) for topic in self.topics for p in range(PARTITIONS)]
            ends = await consumer.end_offsets(tps)
            offsets = await admin.list_consumer_group_offsets(self.name, partitions=tps)
            await admin.close()
            await consumer.stop()
            return {tp: (offsets[tp].offset if tp in offsets else -1, ends[tp]) for tp in tps}

        return asyncio.run(ask())

    def fold(self) -> dict[int, set[tuple[bytes, int]]]:
        """Fold the changelog as a fresh worker would: the ids of every key, by partition."""
        folded: dict[int, set[tuple[bytes, int]]] = {}
        for partition, records in self.read(self.changelog).items():
            last = {record.key: record.value for record in records}
            folded[partition] = {
                (key, i)
                for key, value in last.items()
                for bits in [int.from_bytes(value or b"", "big")]
                for i in range(bits.bit_length())
                if bits >> i & 1
            }
        return folded


@pytest.fixture
def case(cluster: str, tmp_path: Path) -> Iterator[Case]:
    """Topics and a group of the test's own; its workers do not outlive it."""
    made = Case(cluster, tmp_path)
    yield made
    for worker in made.workers:
        worker.kill()


def all_counted(total: int) -> Callable[[dict[str, Any]], bool]:
    """Say of a status whether so many ids are counted and nothing is left to read."""
    return lambda status: sum(status["ids"].values()) == total and status["lag"] == [0] * len(status["lag"])


@contextmanager
def traffic(case: Case) -> Iterator[None]:
    """Send one id after the other, to 400 keys, until the block ends."""
    stop = threading.Event()

    def send() -> None:
        number = 0
        while not stop.is_set():
            case.send(range(number, number + 1), keys=400)
            number += 1

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield
    finally:
        stop.set()
        sender.join()


def settled(statuses: list[dict[str, Any]]) -> bool:
    """Say whether all of these workers are at work, with nothing left to read."""
    return all(status["open"] and set(status["lag"]) <= {0} for status in statuses)


def assert_exact(case: Case, *workers: Worker) -> None:
    """Wait until these workers have counted all, then compare: no id lost, none counted twice, no ghost keys.

    A lag of 0 is not waited for: what was sent last may not have been heard of when a worker says it.
    """
    deadline = time.monotonic() + 40.0
    statuses: list[dict[str, Any]] = []
    while not settled(statuses) or sum(sum(status["ids"].values()) for status in statuses) != case.total:
        if time.monotonic() > deadline:
            pytest.fail(f"not all of {case.total} is counted, once: {statuses}")
        time.sleep(0.1)
        statuses = [worker.status() for worker in workers]
    for status in statuses:
        assert {p for p, keys in status["keys"].items() if keys} == {str(p) for p in status["owned"]}
        assert not any(status["foreign"].values())
        assert status["refused"] == 0
    assert case.fold() == case.sent


def test_a_quiet_run_delivers_each_record_once_in_order_and_commits_to_the_end(case: Case) -> None:
    """Every record is delivered once, in offset order, and the committed offset reaches the end of the log.

    Also over control records and aborted transactions, which are never delivered. What is relayed arrives once, with
    its headers and times, where Java would put its key.
    """
    case.send(range(10))
    worker = case.worker(log_offsets=True, relay=case.relay)
    worker.wait(all_counted(case.total))
    case.send(range(10, 20), transactions=True)  # aborted ids are all 9: harmless to the sum, seen by the log
    worker.wait(all_counted(case.total))
    time.sleep(1.2)
    while_running = case.committed()
    assert worker.stop() == 0
    offsets: dict[tuple[str, int], list[int]] = {}
    for topic, partition, offset in worker.offsets():
        offsets.setdefault((topic, partition), []).append(offset)
    for topic in case.topics:
        for partition, records in case.read(topic).items():
            assert offsets[topic, partition] == [record.offset for record in records]
    assert all(committed == end for committed, end in while_running.values()), while_running
    assert case.fold() == case.sent
    source = [r for topic in case.topics for records in case.read(topic).values() for r in records]
    relayed = [r for records in case.read(case.relay).values() for r in records]
    wanted = sorted((r.key, r.value, r.timestamp, b"%d" % r.offset) for r in source)
    assert sorted((r.key, r.value, r.timestamp, dict(r.headers)["from"]) for r in relayed) == wanted
    everywhere = list(range(PARTITIONS))
    assert all(r.partition == DefaultPartitioner()(r.key, everywhere, everywhere) for r in relayed)


def test_records_that_trickle_in_are_taken_together(case: Case) -> None:
    """A fetch waits for more than one record: half as many batches as where it is answered at once, as stock is."""

    def batches(ids: range, **settings: int) -> int:
        worker = case.worker(log_offsets=True, settings=settings)
        worker.wait(all_counted(case.total))
        for number in ids:
            case.send(range(number, number + 1), keys=PARTITIONS)
        worker.wait(all_counted(case.total))
        assert worker.stop() == 0
        return len((worker.folder / "delivered").read_text().splitlines())

    case.send(range(1))
    at_once = batches(range(1, 81), fetch_least_bytes=1)
    assert 2 * batches(range(81, 161)) < at_once
    assert case.fold() == case.sent


@pytest.mark.slow
def test_a_killed_worker_loses_and_repeats_nothing(case: Case) -> None:
    """After kill -9 in mid-stream no committed offset is ahead of the changelog, and a successor's state is exact."""
    case.send(range(100))
    for target, pace in ((3000, {"slow": 0.04}), (3000, {"stall": 0.25, "settings": {"concurrent_batches": 4}})):
        worker = case.worker(batch=100, session=2.0, **pace)
        worker.wait(lambda status, target=target: status["count"] >= target)
        worker.kill()
        durable = case.fold()
        committed = case.committed()
        for topic in case.topics:
            for partition, records in case.read(topic).items():
                upto = committed[TopicPartition(topic, partition)][0]
                below = {(r.key, int(r.value)) for r in records if r.offset < upto}
                assert below <= durable[partition]
        assert sum(upto for upto, _ in committed.values() if upto > 0) > 0  # else nothing was compared
    worker = case.worker(session=2.0)
    status = worker.wait(all_counted(case.total))
    assert status["refused"] == 0
    assert case.fold() == case.sent


@pytest.mark.slow
def test_workers_join_leave_and_die_in_mid_stream(case: Case) -> None:
    """Through a join, a graceful leave and a kill -9 in mid-stream all workers progress and the state stays exact.

    No worker keeps a key of a partition it does not own, and a kept partition is not read again.
    """
    with traffic(case):
        first = case.worker(batch=50, slow=0.005, session=2.0, log_offsets=True)
        first.wait(lambda status: status["count"] > 1000)
        second = case.worker(batch=50, slow=0.005, session=2.0, log_offsets=True)
        second.wait(lambda status: status["open"] and status["count"] > 500)
        count = first.wait(lambda status: status["open"] and len(status["owned"]) == 2)["count"]
        held = first.wait(lambda status: status["count"] > count + 500)
        assert [p for p, keys in held["keys"].items() if keys] == [str(p) for p in held["owned"]]
        assert set(held["owned"]).isdisjoint(second.status()["owned"])
        recovered = [hook for hook in held["hooks"] if hook[0] == "recovered"]
        assert recovered[-1][3] == held["owned"]  # kept ...
        assert "Restoring state" not in (first.folder / "log").read_text()  # ... and not read again
        assert second.stop() == 0
        first.wait(lambda status: status["open"] and len(status["owned"]) == PARTITIONS)
        offsets = [offset for worker in (first, second) for offset in worker.offsets()]
        assert len(offsets) == len(set(offsets))  # what was finished before a graceful hand-over is not done again
        third = case.worker(batch=50, slow=0.005, session=2.0)
        third.wait(lambda status: status["open"] and status["count"] > 500)
        first.kill()
        third.wait(lambda status: status["open"] and len(status["owned"]) == PARTITIONS)
    fourth = case.worker(session=2.0)
    fourth.wait(lambda status: status["open"] and status["owned"])
    assert_exact(case, third, fourth)


@pytest.mark.slow
def test_a_paused_worker_comes_back_and_spoils_nothing(case: Case) -> None:
    """A worker paused for longer than its session loses its partitions; when it goes on it does not write to them."""
    with traffic(case):
        first = case.worker(batch=50, slow=0.005, session=2.0)
        second = case.worker(batch=50, slow=0.005, session=2.0)
        first.wait(lambda status: status["open"] and len(status["owned"]) == 2)
        second.wait(lambda status: status["open"] and status["count"] > 500)
        count = first.status()["count"]
        first.wait(lambda status: status["count"] > count + 300)
        first.process.pause()
        count = second.wait(lambda status: status["open"] and len(status["owned"]) == PARTITIONS)["count"]
        second.wait(lambda status: status["count"] > count + 500)
        first.process.resume()
        for worker in (first, second):
            worker.wait(lambda status: status["open"] and len(status["owned"]) == 2 and status["generation"] >= 4)
    assert_exact(case, first, second)


@pytest.mark.slow
def test_a_handler_too_slow_for_a_rebalance_is_abandoned(case: Case) -> None:
    """A batch not finished within the drain time is given up: cancelled, done again, and the state stays exact."""
    case.send(range(10))
    first = case.worker(batch=100, hold=True, settings={"drain_seconds": 0.5})
    first.wait(lambda status: status["open"])
    second = case.worker()
    second.wait(lambda status: status["open"] and status["owned"])
    first.wait(lambda status: status["open"] and len(status["owned"]) == 2)
    assert "work in flight" in (first.folder / "log").read_text()
    (first.folder / "hold").unlink()
    assert_exact(case, first, second)
    assert not (first.folder / "stale").exists()


@pytest.mark.slow
def test_a_recovery_overtaken_by_a_rebalance_takes_nothing_over(case: Case) -> None:
    """A recovery that ends after its partitions were revoked, while the group still joins, opens nothing."""
    case.send(range(3))
    slow = case.worker(settings={"drain_seconds": 8.0})
    slow.wait(all_counted(case.total))
    overtaken = case.worker(hold=True, hold_recovery=True)
    overtaken.logged("recovery is held")
    slow.wait(lambda status: status["open"] and status["generation"] == 2)
    (slow.folder / "hold").touch()  # its drain holds up the next rebalance
    case.send(range(3, 6))
    time.sleep(0.5)
    third = case.worker()
    overtaken.logged("(Re-)joining", 2)
    (overtaken.folder / "hold").unlink()
    time.sleep(0.5)
    assert "generation 2: recovered" not in (overtaken.folder / "log").read_text()
    (slow.folder / "hold").unlink()
    for worker in (slow, overtaken, third):
        worker.wait(lambda status: status["open"] and status["owned"] and status["generation"] == 3)
    assert_exact(case, slow, overtaken, third)


def test_a_foreign_write_to_the_changelog_is_noticed(case: Case) -> None:
    """A record somebody else wrote between two of our own is reported by its offset."""
    case.send(range(1))
    worker = case.worker()
    worker.wait(all_counted(case.total))

    async def intrude() -> int:
        producer = AIOKafkaProducer(bootstrap_servers=case.bootstrap)
        await producer.start()
        written = await producer.send_and_wait(case.changelog, b"\1", b"key-foreign", partition=0)
        await producer.stop()
        return int(written.offset)

    offset = asyncio.run(intrude())
    case.send(range(1, 2))
    status = worker.wait(all_counted(case.total))
    assert status["foreign"] == {"0": [[offset, offset]], "1": [], "2": [], "3": []}


def test_a_crashed_process_ends_whatever_hangs_in_it(case: Case) -> None:
    """A worker whose stopping never comes to an end is ended, with an error code and the stacks of its threads."""
    case.send(range(1), keys=8, topics=case.topics[:1])
    worker = case.worker(poison="0", hang_at_end=True, settings={"crash_seconds": 1.0})
    assert worker.ended() == 1
    assert "Timeout (0:00:01)!" in (worker.folder / "log").read_text()


def test_a_task_that_is_cancelled_by_nobody_ends_the_process(case: Case) -> None:
    """What goes on as long as the worker lives does not end silently: a stray cancellation ends the worker with it."""
    worker = case.worker(run="stray_cancellation")
    assert worker.ended() == 1
    assert "cancelled, and not by a stop" in (worker.folder / "log").read_text()


def test_reading_an_empty_range_cancels_nobody(case: Case) -> None:
    """A consumer that is closed as soon as it was started does not let its own cancellations out."""
    worker = case.worker(run="read_nothing")
    worker.wait(lambda _status: (worker.folder / "read").exists())


def test_a_failing_handler_ends_the_process_unacknowledged(case: Case) -> None:
    """What a handler raises ends the process with an error code, and its batch is not committed."""
    case.send(range(3), keys=8, topics=case.topics[:1])
    worker = case.worker(poison="7")
    worker.wait(all_counted(case.total))
    case.send(range(7, 8), keys=8, topics=case.topics[:1])
    assert worker.ended() != 0
    assert "ArithmeticError: poisoned record" in (worker.folder / "log").read_text()
    for topic in case.topics:
        for partition, records in case.read(topic).items():
            poison = min((r.offset for r in records if r.value == b"7"), default=None)
            committed, end = case.committed()[TopicPartition(topic, partition)]
            assert committed == (end if poison is None else poison) or (committed, end) == (-1, 0)


def test_a_failing_recovery_hook_ends_the_process(case: Case) -> None:
    """A ledger that cannot be rebuilt ends the process with an error code; Faust alone would go on."""
    worker = case.worker(fail_on_recovered=True)
    assert worker.ended() != 0
    assert "ledger cannot be rebuilt" in (worker.folder / "log").read_text()


def test_100_000_keys_are_recovered_in_seconds(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    """Recovery applies tens of thousands of changelog records per second and more, deletions included."""
    keys = 100_000

    async def fill() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=case.bootstrap)
        await admin.start()
        await admin.create_topics(
            [NewTopic(case.changelog, PARTITIONS, 1, topic_configs={"cleanup.policy": "compact"})]
        )
        await admin.close()
        producer = AIOKafkaProducer(bootstrap_servers=case.bootstrap, max_batch_size=1 << 19)
        await producer.start()
        for partition in range(PARTITIONS):
            records = [(b"case-%07d" % i, os.urandom(300)) for i in range(keys // PARTITIONS)]
            await write_batches(producer, case.changelog, partition, [*records, (records[0][0], None)])
        await producer.stop()

    asyncio.run(fill())
    worker = case.worker()
    left = keys // PARTITIONS - 1
    status = worker.wait(lambda status: status["open"] and set(status["keys"].values()) == {left})
    times = {hook[0]: hook[4] for hook in status["hooks"]}
    seconds = times["recovered"] - times["assigned"]
    with capsys.disabled():
        print(f"\n    recovery: {keys:,} keys of 300 bytes in {seconds:.2f} s, {keys / seconds:,.0f} records/s")
    assert keys / seconds > 30_000  # 160-215k/s on a quiet machine; Faust's own path of single events reads 10k/s


def test_throughput_of_one_write_per_key_and_batch(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    """The path alone, without judging, costs a small part of what a single Faust table write does (100-300 us)."""
    events = 200_000

    async def fill() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=case.bootstrap, max_batch_size=1 << 19)
        await producer.start()
        for partition in range(PARTITIONS):
            records = [(b"case-%07d" % (i % 5_000), os.urandom(150)) for i in range(events // PARTITIONS)]
            await write_batches(producer, case.topics[0], partition, records)
        await producer.stop()

    asyncio.run(fill())
    worker = case.worker(noop=True, measure=events, quiet=True)
    worker.wait(lambda _: (worker.folder / "speed").exists())
    told = (worker.folder / "speed").read_text()
    with capsys.disabled():
        print(f"\n    path alone, 1,000 distinct keys written per 1,000 events: {told}")
    assert float(told.split(" events/s, ")[1].split(" us")[0]) < 30  # CPU, so that a busy machine fails nothing


def test_one_batch_of_a_partition_number_is_in_flight_and_gaps_are_committed() -> None:
    """Batches of one number come one by one, each over all topics; what is given up can no longer be acknowledged."""

    async def walk() -> None:
        a, b, other = TP("a", 1), TP("b", 1), TP("a", 2)
        batches = PartitionBatches(max_batch_records=2)
        batches.open(7, {a: (10, 99), b: (0, 99), other: (0, 99)})
        batches.offer(a, ReadRange(stamped(10, 11, 15), 20))
        batches.offer(a, ReadRange(stamped(11, 15), 20))  # read again: refused
        batches.offer(b, ReadRange(stamped(3), 4))
        batches.offer(other, ReadRange([], 5))  # nothing but control records
        assert (batches.refused_records, batches.committable(other), batches.committable(a)) == (2, 5, None)
        one = await anext(batches)
        assert (one.number, offsets_of(one), one.generation) == (1, {"a": [10, 11], "b": [3]}, 7)
        batches.offer(b, ReadRange([], 9))  # a gap behind what is in flight
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(batches), 0.05)
        assert batches.committable(a) is None
        assert batches.committable(b) == 3, "nothing but a gap is before it"
        assert one.ack()
        assert not one.ack()
        assert (batches.committable(a), batches.committable(b)) == (15, 9)
        two = await anext(batches)
        assert offsets_of(two) == {"a": [15]}
        batches.offer(a, ReadRange(stamped(20), 21))
        batches.close()
        assert two.ack(), "given up, and awaited"
        assert batches.committable(a) == 20, "what was dropped is not acknowledged with it"
        assert await batches.drain(0.01) == frozenset()
        batches.forget()
        batches.open(8, {a: (20, 99)})
        batches.offer(a, ReadRange(stamped(20), 21))
        three = await anext(batches)
        batches.close()
        assert await batches.drain(0.01) == {1}
        assert not three.current
        assert not three.ack()
        assert batches.committable(a) is None

    asyncio.run(walk())


def test_what_fits_into_no_batch_is_taken_by_its_time() -> None:
    """All topics go up to the same delivery time; one that lags keeps none waiting, and one that is ahead none back."""

    async def walk() -> None:
        batches = PartitionBatches(max_batch_records=8)
        batches.open(7, {TP(topic, 0): (0, 99) for topic in ("often", "seldom", "ahead", "short")})
        batches.offer(TP("often", 0), ReadRange(stamped(*range(20)), 20))
        batches.offer(TP("seldom", 0), ReadRange(stamped(*range(0, 20, 2)), 20))
        batches.offer(TP("ahead", 0), ReadRange(stamped(*range(50, 60)), 60))
        batches.offer(TP("short", 0), ReadRange(stamped(90), 91))
        taken = []
        while len(taken) < 3:
            batch = await anext(batches)
            taken.append(offsets_of(batch))
            assert batch.ack()
        assert taken == [
            {"ahead": [50, 51], "often": [*range(8)], "seldom": [0, 2, 4, 6], "short": [90]},
            {"ahead": [52, 53], "often": [*range(8, 16)], "seldom": [8, 10, 12, 14]},
            {"ahead": [*range(54, 60)], "often": [16, 17, 18, 19], "seldom": [16, 18]},
        ]

    asyncio.run(walk())


@pytest.mark.parametrize(("partitions", "enough"), [(1, 8), (2, 8), (5, 4), (40, 1)])
def test_of_many_partitions_less_is_read_ahead(partitions: int, enough: int) -> None:
    """Two batches of each topic are read ahead, or the share of a partition in what may be queued of all."""
    batches = PartitionBatches(max_batch_records=4, max_queued_records=20)
    batches.open(7, {TP("a", number): (0, 99) for number in range(partitions)})
    full = TP("a", 0)
    for queued in range(enough):
        assert full in batches.wanted()[0], queued
        batches.offer(full, ReadRange(stamped(queued), queued + 1))
    assert full not in batches.wanted()[0]


def stamped(*offsets: int) -> list[Any]:
    """Return records that were each delivered at the time of their offset."""
    return [SimpleNamespace(offset=offset, timestamp=offset) for offset in offsets]


def offsets_of(batch: PartitionBatch) -> dict[str, list[int]]:
    """Return what a batch holds of each topic."""
    return {topic: [record.offset for record in records] for topic, records in batch.records.items()}


def test_a_record_larger_than_a_produce_batch_is_refused() -> None:
    """A record that fits no produce batch is refused by a clear error before anything of its call is sent."""

    async def send() -> None:
        def no_producer() -> SimpleNamespace:
            return SimpleNamespace(create_batch=lambda: BatchBuilder(4096, 0))

        async def never() -> None:
            pytest.fail("something was sent")

        writes = BatchProducer(no_producer, never, 4096, 60.0)
        with pytest.raises(RecordTooLargeError, match=r"5000 bytes for cases\[3\]"):
            writes.send("cases", 3, [Outgoing(b"", b"fits"), Outgoing(b"", bytes(5000))])
        await asyncio.sleep(0)

    asyncio.run(send())


async def write_batches(
    producer: AIOKafkaProducer, topic: str, partition: int, records: list[tuple[bytes, bytes | None]]
) -> None:
    """Write records to one partition, quickly."""
    futures, batch = [], None
    for key, value in records:
        if batch is None or batch.append(key=key, value=value, timestamp=None) is None:
            if batch is not None:
                futures.append(await producer.send_batch(batch, topic, partition=partition))
            batch = producer.create_batch()
            batch.append(key=key, value=value, timestamp=None)
    futures.append(await producer.send_batch(batch, topic, partition=partition))
    await asyncio.gather(*futures)


if __name__ == "__main__":
    run_worker(json.loads(sys.argv[1]))
