"""Receives the events of one request: who sends, how much, what of it is right, and whether the brokers have it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import NamedTuple, Protocol

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from cxstream.domain.vocabulary import TOPICS
from cxstream.ingress import problems
from cxstream.ingress.answers import RETRY_SECONDS, RefusedError, outcome, refusal
from cxstream.ingress.intake import CONTENT_TYPES, Intake, Item, MalformedError, Record, TooManyError, read_body
from cxstream.ingress.limits import InFlight, Rates
from cxstream.ingress.metrics import UNKNOWN, Metrics
from cxstream.ingress.problems import Problem
from cxstream.ingress.producing import Outcome
from cxstream.web.access import bearer_of, is_token

ANONYMOUS = "anonymous"
"""The source of events where no token is asked for."""


class Limits(NamedTuple):
    """What one request may be, and all together."""

    request_bytes: int
    request_events: int
    requests_at_once: int
    requests_per_second: float
    request_burst: int
    request_seconds: float


class Delivery(Protocol):
    """What brings records to the brokers."""

    @property
    def missing(self) -> str:
        """What is missing before events can be taken; empty if nothing is."""

    async def deliver(self, records: Sequence[Record], source: str) -> list[Outcome]:
        """Produce records, and return what is known of each."""


@dataclass(kw_only=True)
class Reception:
    """Takes the requests that send events."""

    intake: Intake
    delivery: Delivery
    in_flight: InFlight
    metrics: Metrics
    limits: Limits
    tokens: Mapping[str, str]
    """Bearer tokens by source; none: nobody is asked for one."""
    wall_ms: Callable[[], int]
    """Milliseconds since the epoch."""
    stopping: bool = False
    """True once no more requests are taken."""
    _rates: Rates = field(init=False)
    _running: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        """Make the buckets of clients."""
        self._rates = Rates(self.limits.requests_per_second, self.limits.request_burst)

    async def take(self, request: web.Request) -> web.Response:
        """Answer a request that sends events, and count it."""
        started_seconds = monotonic()
        source = self._source(request)
        try:
            response = await self._take(request, source)
        except RefusedError as error:
            if error.limit:
                self.metrics.limit_hit(source or UNKNOWN, error.limit)
            response = refusal(error)
        self.metrics.answered(source or UNKNOWN, response.status, monotonic() - started_seconds)
        return response

    def _source(self, request: web.Request) -> str | None:
        """Return whose token a request carries; None if it is nobody's. Takes as long whoever it is."""
        if not self.tokens:
            return ANONYMOUS
        given, found = bearer_of(request), None
        for source, token in self.tokens.items():
            if is_token(given, token):
                found = source
        return found

    async def _take(self, request: web.Request, source: str | None) -> web.Response:
        client = f"source {source}" if self.tokens and source else f"address {request.remote}"
        wait_seconds = self._rates.take(client, monotonic())
        if wait_seconds:
            detail = f"expected at most {self.limits.requests_per_second:g} requests a second in the long run"
            raise RefusedError(Problem(problems.RATE, detail), "rate", wait_seconds)
        if source is None:
            raise RefusedError(Problem(problems.UNAUTHORISED, "expected the bearer token of a source"))
        form = _form(request)
        if (request.content_length or 0) > self.limits.request_bytes:
            raise self._too_long()
        with self._under_way():
            body = bytearray()
            try:
                await self._read(request, body)
                self.metrics.read(source, len(body))
                return await self._answer(bytes(body), form, source)
            finally:
                self.in_flight.release(len(body))

    @contextmanager
    def _under_way(self) -> Iterator[None]:
        """Count a request among those that are under way. Raises RefusedError if there are too many."""
        if self.stopping or self._running >= self.limits.requests_at_once:
            detail = f"expected at most {self.limits.requests_at_once} requests at once"
            raise RefusedError(Problem(problems.BUSY, detail), "requests_at_once", RETRY_SECONDS)
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1

    async def _read(self, request: web.Request, body: bytearray) -> None:
        """Read a body, each byte of which is in flight from now on. Raises RefusedError."""
        if request.headers.get("Expect", "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0  # it is no part of the answer
        try:
            async with asyncio.timeout(self.limits.request_seconds):
                async for chunk in request.content.iter_any():
                    if len(body) + len(chunk) > self.limits.request_bytes:
                        raise self._too_long()
                    if not self.in_flight.hold(len(chunk)):
                        detail = "expected fewer bytes under way, of all clients together"
                        raise RefusedError(Problem(problems.BUSY, detail), "in_flight_bytes", RETRY_SECONDS)
                    body += chunk
        except TimeoutError:
            detail = f"expected the whole body within {self.limits.request_seconds:g} s"
            raise RefusedError(Problem(problems.SLOW_BODY, detail), "body_time") from None
        except (web.RequestPayloadError, HttpProcessingError, ConnectionError):
            raise RefusedError(Problem(problems.MALFORMED, "expected a body as its head announces it")) from None

    async def _answer(self, body: bytes, form: str, source: str) -> web.Response:
        """Judge the events of a body, bring them to the brokers, and say what became of each."""
        try:
            batch = read_body(body, form, self.limits.request_events)
        except MalformedError as error:
            raise RefusedError(Problem(problems.MALFORMED, str(error))) from None
        except TooManyError:
            detail = f"expected at most {self.limits.request_events} events"
            raise RefusedError(Problem(problems.TOO_LARGE, detail), "request_events") from None
        if self.delivery.missing:
            raise RefusedError(Problem(problems.NOT_SENT, self.delivery.missing), "", RETRY_SECONDS)
        items = self.intake.items(batch.events, self.wall_ms())
        await self._deliver(items, source)
        self._count(items, batch.events, source)
        return outcome(items, is_single=batch.is_single)

    async def _deliver(self, items: Sequence[Item], source: str) -> None:
        """Bring what is right to the brokers, and note with the items what they have not acknowledged."""
        records = {index: item.record for index, item in enumerate(items) if item.record is not None}
        outcomes = await self.delivery.deliver(list(records.values()), source) if records else []
        if "unknown" in outcomes:
            self.metrics.limit_hit(source, "delivery_time")
        for index, known in zip(records, outcomes, strict=True):
            items[index].problem = _PROBLEMS[known]
        for item in items:
            if item.same_as is not None:
                item.problem = items[item.same_as].problem

    def _too_long(self) -> RefusedError:
        detail = f"expected at most {self.limits.request_bytes} bytes"
        return RefusedError(Problem(problems.TOO_LARGE, detail), "request_bytes")

    def _count(self, items: Sequence[Item], events: Sequence[object], source: str) -> None:
        for item, event in zip(items, events, strict=True):
            named = event.get("topic") if isinstance(event, dict) else None
            topic = named if isinstance(named, str) and named in TOPICS else UNKNOWN
            kind = None if item.problem is None else item.problem.kind
            if kind is None:
                self.metrics.event(source, topic, "accepted")
            elif kind in (problems.NOT_SENT, problems.UNKNOWN_OUTCOME):
                self.metrics.event(source, topic, kind.name)
            else:
                self.metrics.event(source, topic, "rejected")
                self.metrics.rejected(source, _REASONS[kind])


_PROBLEMS: dict[Outcome, Problem | None] = {
    "acknowledged": None,
    "not_sent": Problem(problems.NOT_SENT, "expected brokers that take events"),
    "unknown": Problem(problems.UNKNOWN_OUTCOME, "expected an acknowledgement within the time for a delivery"),
}
_REASONS = {kind: reason for reason, kind in problems.OF_EVENTS.items()}


def _form(request: web.Request) -> str:
    """Return in which form the body is, JSON or NDJSON. Raises RefusedError."""
    form = CONTENT_TYPES.get(request.content_type)
    coded = request.headers.get("Content-Encoding", "identity").strip().lower() != "identity"
    charset = request.headers.get("Content-Type", "").lower().partition("charset=")[2].strip(" \"';")
    if form is None or coded or charset not in ("", "utf-8", "utf8"):
        expected = f"expected {' or '.join(CONTENT_TYPES)}, in UTF-8 and not compressed"
        raise RefusedError(Problem(problems.MEDIA_TYPE, expected))
    return form
