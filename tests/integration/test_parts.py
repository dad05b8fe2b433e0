"""The real parts other tests stand on, tried alone, so that a broken part is not taken for a broken product."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from parts.apache_kafka import ApacheKafka
from parts.prometheus import Prometheus, QueryError, promtool, require_prometheus

RULES = """
groups:
  - name: proof
    rules:
      - record: proof:sum
        expr: sum(proof_cases)
"""
METRICS = """# HELP proof_cases Cases of the proof.
# TYPE proof_cases gauge
proof_cases{partition="0"} 2
proof_cases{partition="1"} 3
"""


async def make_topic(bootstrap: str, copies: int = 1) -> str:
    """Create a topic of two partitions with a name of its own."""
    topic = f"proof-{uuid.uuid4().hex[:8]}"
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, num_partitions=2, replication_factor=copies)])
    finally:
        await admin.close()
    return topic


async def write(bootstrap: str, topic: str, value: bytes) -> None:
    """Write one record to partition 1 and wait for every replica."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all") as producer:
        await producer.send_and_wait(topic, value, partition=1)


async def read(bootstrap: str, topic: str, count: int) -> list[bytes]:
    """Read `count` records from the start of partition 1."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap)
    await consumer.start()
    try:
        partition = TopicPartition(topic, 1)
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)
        return [(await asyncio.wait_for(consumer.getone(), 20)).value for _ in range(count)]
    finally:
        await consumer.stop()


def test_the_shared_broker_takes_and_returns_a_record(kafka: str) -> None:
    """A record written to the run's broker comes back."""

    async def round_trip() -> list[bytes]:
        topic = await make_topic(kafka)
        await write(kafka, topic, b"fact")
        return await read(kafka, topic, 1)

    assert asyncio.run(round_trip()) == [b"fact"]


def test_apache_kafka_keeps_records_over_restart_and_kill(apache_kafka: ApacheKafka) -> None:
    """Acknowledged records survive an orderly restart and a SIGKILL on the same storage and address."""
    bootstrap = apache_kafka.bootstrap
    topic = asyncio.run(make_topic(bootstrap))
    asyncio.run(write(bootstrap, topic, b"one"))
    apache_kafka.restart()
    asyncio.run(write(bootstrap, topic, b"two"))
    apache_kafka.kill()
    apache_kafka.start()
    assert apache_kafka.bootstrap == bootstrap
    assert asyncio.run(read(bootstrap, topic, 2)) == [b"one", b"two"]


def test_a_paused_broker_is_silent_until_resumed(apache_kafka: ApacheKafka) -> None:
    """A write to a paused broker waits, and is done once the broker goes on."""
    topic = asyncio.run(make_topic(apache_kafka.bootstrap))

    async def write_across_a_pause() -> None:
        async with AIOKafkaProducer(bootstrap_servers=apache_kafka.bootstrap) as producer:
            await producer.send_and_wait(topic, b"one", partition=1)
            apache_kafka.pause()
            waiting = asyncio.create_task(producer.send_and_wait(topic, b"two", partition=1))
            done, _ = await asyncio.wait({waiting}, timeout=1.0)
            apache_kafka.resume()
            assert not done
            await asyncio.wait_for(waiting, 20)

    asyncio.run(write_across_a_pause())


@pytest.mark.slow
@pytest.mark.parametrize("apache_kafka", [3], indirect=True)
def test_three_brokers_go_on_without_one(apache_kafka: ApacheKafka) -> None:
    """With one broker of three killed, a record is still written to every replica left, and read."""

    async def round_trip() -> list[bytes]:
        topic = await make_topic(apache_kafka.bootstrap, copies=3)
        await write(apache_kafka.bootstrap, topic, b"one")
        await asyncio.to_thread(apache_kafka.kill, 2)
        await write(apache_kafka.bootstrap, topic, b"two")
        return await read(apache_kafka.bootstrap, topic, 2)

    assert asyncio.run(round_trip()) == [b"one", b"two"]


def test_a_cluster_has_one_or_three_brokers() -> None:
    """Two brokers cannot hold a majority and are refused."""
    with pytest.raises(ValueError, match="1 or 3"):
        ApacheKafka(brokers=2)


@pytest.fixture
def exporter() -> Iterator[str]:
    """Address of an HTTP server whose every page is METRICS."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(METRICS.encode())

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_prometheus_scrapes_evaluates_and_answers(exporter: str, tmp_path: Path) -> None:
    """A real Prometheus scrapes a target, sums it in a recording rule, and picks up a rule added by reload."""
    require_prometheus()
    rules = tmp_path / "rules.yml"
    rules.write_text(RULES)
    promtool("check rules", rules)
    promtool("check metrics", text=METRICS)
    with Prometheus({"proof": [exporter]}) as prometheus:
        prometheus.wait_for("proof_cases")
        assert prometheus.value("sum(proof_cases)") == 5
        assert prometheus.query("proof:sum") == []
        prometheus.reload(rule_files=[rules])
        assert prometheus.wait_for("proof:sum")[0]["value"][1] == "5"
        with pytest.raises(QueryError, match="parse error"):
            prometheus.query("sum(")


def test_promtool_tells_what_is_wrong(tmp_path: Path) -> None:
    """A faulty rule file fails the check with promtool's own words."""
    require_prometheus()
    rules = tmp_path / "rules.yml"
    rules.write_text("groups: [{name: g, rules: [{record: r, expr: 'sum('}]}]")
    with pytest.raises(AssertionError, match="could not parse expression"):
        promtool("check rules", rules)
