"""The ingress for tests: in this process before stand-in brokers, or in a process of its own before real ones."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple, Self

from cxstream.domain.instant import parse_instant
from cxstream.ingress.intake import Intake, Record
from cxstream.ingress.limits import InFlight
from cxstream.ingress.metrics import Metrics
from cxstream.ingress.openapi import document
from cxstream.ingress.producing import Outcome
from cxstream.ingress.reception import ANONYMOUS, Limits, Reception
from cxstream.ingress.server import Address, Server
from parts.messages import CODEC, EXAMPLES, SKEW_MS
from parts.processes import ServerProcess
from parts.worker import PREFIX, SOURCES, WorkerProcess

LIMITS = Limits(
    request_bytes=64 * 1024,
    request_events=50,
    requests_at_once=8,
    requests_per_second=1e5,
    request_burst=10**6,
    request_seconds=5.0,
)
"""Generous ones: a test sets the one it is about."""
NOW_MS = max(parse_instant(event["at"]) for event in EXAMPLES)
"""What time it is for an ingress in this process."""


class Answer(NamedTuple):
    """A response, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> Any:  # noqa: ANN401 - JSON
        """The body as JSON."""
        return json.loads(self.body)


class StandInBrokers:
    """Takes records as brokers would, and says of them what the test wants said."""

    def __init__(self) -> None:
        self.missing = ""
        self.outcomes: list[Outcome] = []
        """Of the next records, in order; of others: acknowledged."""
        self.records: list[tuple[str, Record]] = []
        """What was taken, with its source."""
        self.gate = threading.Event()
        """While it is not set, nothing is answered."""
        self.gate.set()

    async def deliver(self, records: Sequence[Record], source: str) -> list[Outcome]:
        """Take records."""
        while not self.gate.is_set():  # noqa: ASYNC110  # it is set from another thread
            await asyncio.sleep(0.01)
        self.records += [(source, record) for record in records]
        said: list[Outcome] = [self.outcomes.pop(0) if self.outcomes else "acknowledged" for _ in records]
        return said


class Ingress(NamedTuple):
    """An ingress that serves, and what is behind it."""

    port: int
    brokers: StandInBrokers
    in_flight: InFlight
    metrics: Metrics

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """Send one request; underscores in names of headers are hyphens."""
        return ask(self.port, method, path, body, {name.replace("_", "-"): text for name, text in headers.items()})

    def send(self, body: Any, **headers: str) -> Answer:  # noqa: ANN401 - JSON, or bytes as they are
        """Send events."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.ask("POST", "/v1/events", raw, **{"Content_Type": "application/json", **headers})

    def count(self, name: str, **labels: str) -> float:
        """Return a counter of the ingress."""
        found = self.metrics.registry.get_sample_value(f"cxstream_ingress_{name}", {"group": "cx", **labels})
        assert found is not None, f"{name} {labels} is not there"
        return found


def ask(port: int, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
    """Send one request to a port of 127.0.0.1."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, dict(headers))
        response = connection.getresponse()
        return Answer(response.status, dict(response.headers), response.read())
    finally:
        connection.close()


@contextmanager
def serving(
    limits: Limits = LIMITS,
    *,
    tokens: Mapping[str, str] | None = None,
    in_flight_bytes: int = 1024 * 1024,
    schema_ids: Mapping[str, int] | None = None,
    tls: Any = None,  # noqa: ANN401 - an SSLContext
) -> Iterator[Ingress]:
    """Serve from a thread of its own, before brokers that take everything."""
    brokers, in_flight = StandInBrokers(), InFlight(in_flight_bytes)
    metrics = Metrics("cx", tokens or (ANONYMOUS,), in_flight, "0.0.0")
    reception = Reception(
        intake=Intake(CODEC, schema_ids or {}, skew_ms=SKEW_MS),
        delivery=brokers,
        in_flight=in_flight,
        metrics=metrics,
        limits=limits,
        tokens=tokens or {},
        wall_ms=lambda: NOW_MS,
    )
    server = Server(reception, document("0.0.0"), Address(tls=tls))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(server.start(), loop).result(10)
        yield Ingress(server.port, brokers, in_flight, metrics)
    finally:
        brokers.gate.set()
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


class IngressProcess(WorkerProcess):
    """`cxstream ingress` with the given CXSTREAM_ variables, on a free port of 127.0.0.1."""

    def launch(self) -> Self:
        """Start the process and return at once."""
        variables = {**self.settings, f"{PREFIX}INGRESS_PORT": str(self.port), "PYTHONPATH": str(SOURCES)}
        self._process = ServerProcess([sys.executable, "-m", "cxstream", "ingress"], self.log, variables)
        return self


def an_event(number: int = 1, case_id: str = "C-1", at_ms: int = NOW_MS, **fields: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return a right event: a case is opened."""
    event = {"event_id": f"e-{number}", "topic": "ticket", "type": "opened", "case_id": case_id, "at": at_ms}
    return {**event, "region": "north", **fields}


def lines(*events: object) -> bytes:
    """Return events as NDJSON."""
    return b"\n".join(one if isinstance(one, bytes) else json.dumps(one).encode() for one in events)


FOLDER = Path(__file__).resolve().parents[2]
