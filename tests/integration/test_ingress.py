"""The ingress before a real Apache Kafka: what was acknowledged is on the topic, whatever happens to the process."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from aiokafka.partitioner import murmur2

from cxstream.ingress.producing import SOURCE_HEADER
from parts.apache_kafka import ApacheKafka
from parts.ingress import IngressProcess, an_event, ask
from parts.messages import CODEC
from parts.producer import Job

TOKEN = "of-the-crm"  # noqa: S105 - it opens nothing
EVENTS_A_REQUEST = 20
SENDERS = 3
HEADERS = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"}


def settings_of(job: Job, folder: Path, **others: str) -> dict[str, str]:
    """Return the settings of an ingress of a job."""
    names = ("BOOTSTRAP", "GROUP", "TOPICS_TICKET", "TOPICS_DISPATCH", "TOPICS_PARTS", "PARTITIONS", "TRUSTED_TOPICS")
    of_job = {name: text for name, text in job.settings(folder).items() if name.endswith(names)}
    ingress = {"TOKENS": f"crm={TOKEN}", "REQUESTS_PER_SECOND": "10000", "REQUEST_BURST": "10000", **others}
    return {**of_job, **{f"CXSTREAM_INGRESS_{name}": text for name, text in ingress.items()}}


def now_ms() -> int:
    """Return the time."""
    return time.time_ns() // 1_000_000


def on_topics(job: Job) -> list[Any]:
    """Return every record of the source topics."""
    return [record for topic in job.topics.values() for record in job.read(topic)]


def read(job: Job, record: Any) -> str:  # noqa: ANN401 - aiokafka's
    """Return the event id of a record, which is read as a worker reads it, and is where it belongs."""
    kind = next(kind for kind, name in job.topics.items() if name == record.topic)
    assert (murmur2(record.key) & 0x7FFFFFFF) % job.partitions == record.partition
    _case_id, fact = CODEC.decode(kind, record.key, record.value, record.timestamp)
    return fact.event_id


class Sender(threading.Thread):
    """Sends requests one after the other until the ingress is gone, and remembers what it was answered."""

    def __init__(self, port: int, name: str) -> None:
        super().__init__()
        self.port = port
        self.sent: list[dict[str, Any]] = []
        self.accepted: set[str] = set()
        self.statuses: Counter[int] = Counter()
        self._name = name

    def run(self) -> None:
        """Send."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        number = 0
        try:
            while True:
                events = []
                for _ in range(EVENTS_A_REQUEST):
                    number += 1
                    case_id = f"C-{self._name}-{number % 50}"
                    events.append(an_event(case_id=case_id, at_ms=now_ms()) | {"event_id": f"{self._name}-{number}"})
                self.sent += events
                connection.request("POST", "/v1/events", json.dumps(events), HEADERS)
                answer = connection.getresponse()
                document = json.loads(answer.read())
                self.statuses[answer.status] += 1
                self.accepted |= {one["event_id"] for one in document["items"] if one["status"] == 202}
        except (OSError, HTTPException):
            connection.close()


def test_what_was_acknowledged_is_there_after_kill_9(kafka: str, tmp_path: Path) -> None:
    """Killed under load, the ingress loses nothing it answered 202 for; sent again, all is there.

    Before the topics are there it says so and takes nothing, and afterwards it is ready by itself.
    """
    job = Job(kafka, "ingress", trusted=False)
    settings = settings_of(job, tmp_path)
    with IngressProcess(settings, tmp_path / "1.log").start("/livez") as ingress:
        ingress.wait_for(lambda: "missing" in ingress.ask("/readyz").reason, "the topics are told to be missing")
        away = ask(ingress.port, "POST", "/v1/events", json.dumps(an_event(at_ms=now_ms())).encode(), HEADERS)
        assert (away.status, away.document["type"]) == (503, "/problems/unavailable")
        job.declare()
        ingress.wait_for(lambda: ingress.ask("/readyz").status == 200, "ready")
        senders = [Sender(ingress.port, f"s{number}") for number in range(SENDERS)]
        for sender in senders:
            sender.start()
        ingress.wait_for(lambda: all(len(one.accepted) >= 200 for one in senders), "some load")
        ingress.kill()
        for sender in senders:
            sender.join()
    accepted = set().union(*(sender.accepted for sender in senders))
    records = on_topics(job)
    found = Counter(read(job, record) for record in records)
    assert accepted <= found.keys(), f"{len(accepted - found.keys())} were acknowledged and are not there"
    assert sum((sender.statuses for sender in senders), Counter()).keys() == {202}
    assert {header for record in records for header in record.headers} == {(SOURCE_HEADER, b"crm")}
    unanswered = [event for sender in senders for event in sender.sent if event["event_id"] not in accepted]
    with IngressProcess(settings, tmp_path / "2.log") as ingress:
        if unanswered:
            again = ask(ingress.port, "POST", "/v1/events", json.dumps(unanswered).encode(), HEADERS)
            assert again.status == 202
        ingress.stop()
    sent = {event["event_id"] for sender in senders for event in sender.sent}
    assert {read(job, record) for record in on_topics(job)} == sent


def test_brokers_that_do_not_answer_are_an_unknown_outcome(apache_kafka: ApacheKafka, tmp_path: Path) -> None:
    """Frozen brokers: 503 in time, the bytes stay in flight; when they go on, what was sent is there, once."""
    job = Job(apache_kafka.bootstrap, "frozen", trusted=False)
    job.declare()
    body = json.dumps(an_event(at_ms=now_ms())).encode()
    with IngressProcess(settings_of(job, tmp_path, DELIVERY_SECONDS="1"), tmp_path / "log") as ingress:
        assert ask(ingress.port, "POST", "/v1/events", body, HEADERS).status == 202
        apache_kafka.pause()
        unknown = ask(ingress.port, "POST", "/v1/events", body, HEADERS)
        held = ingress.metrics().sum("cxstream_ingress_in_flight_bytes")
        apache_kafka.resume()
        ingress.wait_for(lambda: not ingress.metrics().sum("cxstream_ingress_in_flight_bytes"), "nothing in flight")
        assert ask(ingress.port, "POST", "/v1/events", body, HEADERS).status == 202
        assert ingress.metrics().sum("cxstream_ingress_limits_hit_total", limit="delivery_time") == 1
        ingress.stop()
    assert (unknown.status, unknown.document["type"]) == (503, "/problems/unknown_outcome")
    assert unknown.headers["Retry-After"]
    assert held > 0
    assert Counter(read(job, record) for record in on_topics(job)) == {"e-1": 3}
