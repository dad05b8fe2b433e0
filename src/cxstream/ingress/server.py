"""The HTTP server of the ingress: where it listens, and the pages it serves beside taking events."""

from __future__ import annotations

import json
import logging
import ssl
from collections.abc import Callable, Mapping
from typing import NamedTuple, Self

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler

from cxstream.ingress import problems
from cxstream.ingress.answers import RefusedError, answer, refusal
from cxstream.ingress.problems import KINDS, Problem
from cxstream.ingress.reception import Reception
from cxstream.web import probes

EVENTS_PATH = "/v1/events"
OPENAPI_PATH = "/v1/openapi.json"

MAX_LINE_BYTES = 4096
MAX_HEADER_BYTES = 8192
MAX_HEADERS = 64
IDLE_SECONDS = 30.0
"""A connection that has sent no complete head of a request for so long is closed."""

_HEADERS = {"Server": "cxstream", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}


_logger = logging.getLogger("cxstream.ingress.http")


def _without_content(record: logging.LogRecord) -> bool:
    """Keep what is no HTTP out of the log: aiohttp would quote it, and it may be events."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, HttpProcessingError):
        record.exc_info, record.exc_text = None, None
        record.msg, record.args = "a request was refused that is no HTTP (%s)", (type(error).__name__,)
        record.levelno, record.levelname = logging.WARNING, "WARNING"
    return True


_logger.addFilter(_without_content)


class Address(NamedTuple):
    """Where to listen; port 0 is one that is free."""

    host: str = "127.0.0.1"
    port: int = 0
    tls: ssl.SSLContext | None = None
    """How to serve HTTPS; None for HTTP."""


class Server:
    """Serves the ingress; an async context manager. `port` says which one it listens on."""

    def __init__(
        self,
        reception: Reception,
        openapi: Mapping[str, object],
        address: Address,
        *,
        drain_seconds: float = 0.0,
        tick_age_seconds: Callable[[], float] = float,
    ) -> None:
        """`drain_seconds` is how long a stop waits for the requests under way, at most."""
        self.port = address.port
        self._address = address
        self._reception = reception
        self._openapi = json.dumps(openapi).encode()
        self._drain_seconds = drain_seconds
        self._tick_age_seconds = tick_age_seconds
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen; raises OSError if the address cannot be had."""
        app = web.Application(middlewares=[_as_problems])
        app.router.add_post(EVENTS_PATH, self._reception.take, expect_handler=_expects)
        app.router.add_get(OPENAPI_PATH, self._serve_openapi)
        app.router.add_get("/problems/{name}", self._problem)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        app.on_response_prepare.append(_add_headers)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            logger=_logger,
            auto_decompress=False,
            keepalive_timeout=IDLE_SECONDS,
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            max_headers=MAX_HEADERS,
            lingering_time=1.0,
            shutdown_timeout=self._drain_seconds,
        )
        await self._runner.setup()
        host, port, tls = self._address
        try:
            await web.TCPSite(self._runner, host, port, ssl_context=tls).start()
        except BaseException:
            await self.stop()
            raise
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Take no more requests, and wait for those under way for `drain_seconds`."""
        self._reception.stopping = True
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop."""
        await self.stop()

    async def _serve_openapi(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._openapi, content_type="application/json")

    async def _problem(self, request: web.Request) -> web.Response:
        kind = KINDS.get(request.match_info["name"])
        if kind is None:
            raise web.HTTPNotFound
        return answer({"type": kind.uri, "title": kind.title, "status": kind.status, "mend": kind.mend}, 200)

    async def _metrics(self, request: web.Request) -> web.Response:
        metrics = self._reception.metrics
        metrics.connected(there=not self._reception.delivery.missing)
        body, content_type = metrics.page(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def _livez(self, _request: web.Request) -> web.Response:
        return probes.answer_of_life(self._tick_age_seconds())

    async def _readyz(self, _request: web.Request) -> web.Response:
        return probes.answer("stopping" if self._reception.stopping else self._reception.delivery.missing)


@web.middleware
async def _as_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer what is not found, and other methods, with a problem document too."""
    try:
        return await handler(request)
    except web.HTTPNotFound:
        return refusal(RefusedError(Problem(problems.NOT_FOUND, f"expected {EVENTS_PATH}")))
    except web.HTTPMethodNotAllowed as error:
        response = refusal(RefusedError(Problem(problems.METHOD_NOT_ALLOWED, f"expected {error.headers['Allow']}")))
        response.headers["Allow"] = error.headers["Allow"]
        return response


async def _expects(_request: web.Request) -> None:
    """Leave it to the handler to ask for the body: only what may come is asked for."""


async def _add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)
