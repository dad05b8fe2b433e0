"""The worker's HTTP server: metrics and probes in the worker's own event loop, so that they fail when it does."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from html import escape
from typing import Self

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from cxstream.domain.vital_sign import VitalSign
from cxstream.vital_signs import CATALOGUE
from cxstream.web.pages import Pages
from cxstream.web.probes import LIVE_SECONDS, Probes, answer, answer_of_life

LOCALHOST = "127.0.0.1"

MAX_BODY_BYTES = 1024
MAX_LINE_BYTES = 4096
MAX_HEADER_BYTES = 4096
MAX_HEADERS = 64
MAX_REQUESTS_AT_ONCE = 32
MAX_CONNECTIONS = 128
REQUEST_SECONDS = 10.0
UNREAD_SECONDS = 20.0
"""A connection whose answer the other side has not read to its end by then is cut."""
IDLE_SECONDS = 75.0
"""A connection that has sent no complete request for so long is closed; a scrape interval of a minute keeps its own."""

Metrics = Callable[[str], tuple[bytes, str]]
"""Accept header -> body of /metrics and its content type. It runs in the event loop."""

_HEADERS = {
    "Server": "cxstream",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Of every answer, unless its page states another value."""
_OVER_TLS = {"Strict-Transport-Security": "max-age=31536000"}

Refused = Callable[[str], None]
"""Counts what was refused, by reason: connections, requests, timeout, too_large, unread."""

_ENDPOINTS = {
    "/metrics": "counts for Prometheus, as OpenMetrics or text",
    "/livez": f"200 while the event loop has ticked within {LIVE_SECONDS:.0f} s",
    "/readyz": "200 while partitions are assigned and every table owned is recovered",
    "/startupz": "200 once the worker has started",
}


class Server:
    """Serves one worker; an async context manager. Port 0 takes a free one, `port` then says which."""

    def __init__(  # noqa: PLR0913 - what it serves, where, and within which limits
        self,
        metrics: Metrics,
        probes: Probes,
        *,
        host: str = LOCALHOST,
        port: int = 0,
        catalogue: Mapping[str, VitalSign] = CATALOGUE,
        pages: Pages | None = None,
        more: Iterable[Callable[[web.UrlDispatcher], None]] = (),
        tls: ssl.SSLContext | None = None,
        max_connections: int = MAX_CONNECTIONS,
        refused: Refused = lambda _reason: None,
    ) -> None:
        """Prepare; with `tls` https is served. More than `max_connections` at a time are refused."""
        self.host = host
        self.port = port
        self._tls = tls
        self._max_connections = max_connections
        self._refused = refused
        self._metrics = metrics
        self._probes = probes
        self._page = _page(catalogue)
        self._pages = pages
        self._more = tuple(more)
        self._runner: web.AppRunner | None = None
        self._listening: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen; raises OSError if the address cannot be had."""
        app = web.Application(middlewares=[_bounded(self._refused)], client_max_size=MAX_BODY_BYTES)
        app.router.add_get("/" if self._pages is None else "/worker", self._index)
        if self._pages is not None:
            self._pages.add_to(app)
        app.router.add_get("/metrics", self._serve_metrics)
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/startupz", self._startupz)
        for add_routes in self._more:
            add_routes(app.router)
        app.on_response_prepare.append(_headers_of({**_HEADERS, **(_OVER_TLS if self._tls else {})}))
        self._runner = web.AppRunner(
            app,
            access_log=None,
            keepalive_timeout=IDLE_SECONDS,
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            max_headers=MAX_HEADERS,
            lingering_time=1.0,
            shutdown_timeout=1.0,
        )
        await self._runner.setup()
        try:
            self._listening = await asyncio.get_running_loop().create_server(
                self._connection,
                self.host,
                self.port,
                ssl=self._tls,
                ssl_handshake_timeout=REQUEST_SECONDS if self._tls else None,
                backlog=self._max_connections,
            )
        except BaseException:
            await self.stop()
            raise
        self.port = self._listening.sockets[0].getsockname()[1]

    def _connection(self) -> asyncio.Protocol:
        """Return who speaks to a new connection; beyond the limit that is a refusal."""
        server = self._runner.server if self._runner is not None else None
        if server is None or len(server.connections) >= self._max_connections:
            self._refused("connections")
            return _Refusal()
        return server()

    async def stop(self) -> None:
        """Close the port and what is open on it."""
        if self._listening is not None:
            self._listening.close()
            self._listening = None
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

    async def _serve_metrics(self, request: web.Request) -> web.Response:
        body, content_type = self._metrics(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def _livez(self, _request: web.Request) -> web.Response:
        return answer_of_life(self._probes.tick_age_seconds())

    async def _readyz(self, _request: web.Request) -> web.Response:
        ready, reason = self._probes.ready()
        return answer("" if ready else reason or "not ready")

    async def _startupz(self, _request: web.Request) -> web.Response:
        return answer("" if self._probes.started() else "starting")

    async def _index(self, _request: web.Request) -> web.Response:
        return web.Response(text=self._page, content_type="text/html")


class _Refusal(asyncio.Protocol):
    """Speaks to one connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say so, and hang up."""
        if isinstance(transport, asyncio.WriteTransport):
            transport.write(b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            transport.close()


def _bounded(refused: Refused) -> Middleware:
    """Return a middleware that answers within a limit of time, only so many requests at once, and only who listens."""
    running = 0
    watched: set[asyncio.WriteTransport] = set()

    def cut_unread(transport: asyncio.WriteTransport) -> None:
        watched.discard(transport)
        if not transport.is_closing() and transport.get_write_buffer_size():
            refused("unread")
            transport.abort()

    @web.middleware
    async def bounded(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal running
        announced_bytes = request.content_length or 0
        if announced_bytes > MAX_BODY_BYTES:
            refused("too_large")
            raise web.HTTPRequestEntityTooLarge(max_size=MAX_BODY_BYTES, actual_size=announced_bytes)
        if running >= MAX_REQUESTS_AT_ONCE:
            refused("requests")
            raise web.HTTPServiceUnavailable(text="too many requests at once\n")
        if isinstance(transport := request.transport, asyncio.WriteTransport) and transport not in watched:
            watched.add(transport)
            asyncio.get_running_loop().call_later(UNREAD_SECONDS, cut_unread, transport)
        running += 1
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                return await handler(request)
        except TimeoutError as error:
            refused("timeout")
            raise web.HTTPServiceUnavailable(text="timed out\n") from error
        finally:
            running -= 1

    return bounded


def _headers_of(headers: Mapping[str, str]) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    async def add(_request: web.Request, response: web.StreamResponse) -> None:
        for name, value in headers.items():
            response.headers.setdefault(name, value)
        response.headers["Server"] = headers["Server"]

    return add


def _page(catalogue: Mapping[str, VitalSign]) -> str:
    endpoints = "".join(f'<li><a href="{path}">{path}</a>: {escape(what)}</li>\n' for path, what in _ENDPOINTS.items())
    signs = "".join(
        f"<tr><th scope=row>{escape(sign.title)}<br><code>{escape(name)}</code></th><td>{escape(sign.question)}</td>"
        f"<td>{escape(sign.numerator)}</td><td>{escape(sign.denominator)}</td></tr>\n"
        for name, sign in catalogue.items()
    )
    return f"""<!doctype html>
<html lang=en>
<meta charset=utf-8>
<meta name=viewport content="width=device-width, initial-scale=1">
<title>cxstream worker</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem }}
table {{ border-collapse: collapse }}
th, td {{ border-bottom: 1px solid #ccc; padding: .5rem; text-align: left; vertical-align: top }}
</style>
<h1>cxstream worker</h1>
<p>One worker holds some of the job's partitions: the vital signs are made of all of them, in Prometheus.</p>
<ul>
{endpoints}</ul>
<h2>Vital signs</h2>
<table>
<thead><tr><th scope=col>Vital sign<th scope=col>The customer asks<th scope=col>Good<th scope=col>Out of</tr></thead>
<tbody>
{signs}</tbody>
</table>
</html>
"""
