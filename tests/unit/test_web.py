"""The worker's HTTP server: what it answers, how probes tell life from readiness, and what it does not put up with."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

import aiohttp
import pytest
import trustme

from cxstream.vital_signs import CATALOGUE
from cxstream.web import server as web_server
from cxstream.web.probes import LIVE_SECONDS, LoopTick
from cxstream.web.server import Server

T = TypeVar("T")


class Worker:
    """The probes of a worker whose state the test sets."""

    def __init__(self) -> None:
        self.age_seconds = 0.0
        self.missing = ""
        self.has_started = True

    def tick_age_seconds(self) -> float:
        return self.age_seconds

    def ready(self) -> tuple[bool, str]:
        return not self.missing, self.missing

    def started(self) -> bool:
        return self.has_started


def metrics(accept: str) -> tuple[bytes, str]:
    """Return a page that says what was accepted."""
    return f"accept {accept}\n".encode(), "text/plain; version=0.0.4; charset=utf-8"


class Answer(NamedTuple):
    """A response, read to its end."""

    status: int
    headers: dict[str, str]
    text: str


def serving(use: Callable[[Server, Worker], Awaitable[T]], **other: Any) -> T:  # noqa: ANN401 - settings of Server
    """Run `use` against a server of its own."""

    async def run() -> T:
        worker = Worker()
        async with Server(other.pop("metrics", metrics), worker, **other) as server:
            return await use(server, worker)

    return asyncio.run(run())


async def ask(server: Server, path: str, method: str = "GET", **other: Any) -> Answer:  # noqa: ANN401 - of aiohttp
    """Send one request."""
    url = f"http://127.0.0.1:{server.port}{path}"
    async with aiohttp.ClientSession() as session, session.request(method, url, **other) as response:
        return Answer(response.status, dict(response.headers), await response.text())


async def say(server: Server, request: bytes) -> bytes:
    """Send bytes as they are and return the answer up to the closing of the connection, 5 s at most."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(request)
    try:
        return await asyncio.wait_for(reader.read(), 5)
    finally:
        writer.close()


def test_metrics_are_what_the_callable_says_for_the_accept_header() -> None:
    """/metrics hands over the Accept header and returns body and content type untouched."""

    async def use(server: Server, _worker: Worker) -> Answer:
        return await ask(server, "/metrics", headers={"Accept": "application/openmetrics-text"})

    answer = serving(use)
    assert (answer.status, answer.text) == (200, "accept application/openmetrics-text\n")
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"


def test_a_recovering_worker_is_live_but_not_ready() -> None:
    """Readiness is 503 with a reason as JSON while liveness stays 200: nobody restarts a worker for recovering."""

    async def use(server: Server, worker: Worker) -> list[Answer]:
        worker.missing = "recovering: 3 of 4 tables"
        return [await ask(server, path) for path in ("/livez", "/readyz", "/startupz")]

    live, ready, started = serving(use)
    assert (live.status, ready.status, started.status) == (200, 503, 200)
    assert ready.text == '{"status": "unavailable", "reason": "recovering: 3 of 4 tables"}\n'
    assert ready.headers["Content-Type"].startswith("application/json")


@pytest.mark.parametrize(("age_seconds", "status"), [(LIVE_SECONDS, 200), (LIVE_SECONDS + 0.1, 503)])
def test_a_loop_that_stood_still_for_more_than_60_s_is_not_live(age_seconds: float, status: int) -> None:
    """Liveness is the age of the last tick, 60 s inclusive."""

    async def use(server: Server, worker: Worker) -> Answer:
        worker.age_seconds = age_seconds
        return await ask(server, "/livez")

    assert serving(use).status == status


def test_a_starting_worker_says_so() -> None:
    """/startupz is 503 until start-up is over."""

    async def use(server: Server, worker: Worker) -> list[int]:
        worker.has_started = False
        before = await ask(server, "/startupz")
        worker.has_started = True
        return [before.status, (await ask(server, "/startupz")).status]

    assert serving(use) == [503, 200]


def test_a_tick_tells_how_long_the_loop_stood_still() -> None:
    """The age rises while something blocks the loop and falls back when the loop runs again."""

    async def use() -> tuple[float, float]:
        tick = LoopTick(interval_seconds=0.01)
        task = asyncio.create_task(tick.run())
        await asyncio.sleep(0.03)
        time.sleep(0.2)  # noqa: ASYNC251 - what blocks the loop
        blocked = tick.age_seconds()
        await asyncio.sleep(0.05)
        running = tick.age_seconds()
        task.cancel()
        return blocked, running

    blocked, running = asyncio.run(use())
    assert blocked >= 0.2
    assert running < 0.2


def test_the_index_lists_endpoints_and_every_sign_with_its_denominator() -> None:
    """The page names each endpoint, and each sign with what it is counted out of; texts are escaped."""
    sign = next(iter(CATALOGUE.values()))._replace(denominator='<script>"x"</script>')

    async def use(server: Server, _worker: Worker) -> Answer:
        return await ask(server, "/")

    answer = serving(use, catalogue={**CATALOGUE, "hostile": sign})
    assert answer.headers["Content-Type"].startswith("text/html")
    assert all(f'href="{path}"' in answer.text for path in ("/metrics", "/livez", "/readyz", "/startupz"))
    assert all(one.denominator in answer.text and one.title in answer.text for one in CATALOGUE.values())
    assert "<script>" not in answer.text


def test_it_listens_on_the_local_address_and_a_free_port_unless_told_otherwise() -> None:
    """127.0.0.1 is the default; port 0 is replaced by the one taken, and a port in use is an error at start."""

    async def use(server: Server, worker: Worker) -> tuple[str, int]:
        with pytest.raises(OSError, match="address already in use"):
            await Server(metrics, worker, port=server.port).start()
        return server.host, server.port

    host, port = serving(use)
    assert host == "127.0.0.1"
    assert port > 0


def test_other_methods_and_paths_are_refused() -> None:
    """There is nothing to write to and nothing else to read; no answer tells what it was made with."""

    async def use(server: Server, _worker: Worker) -> list[Answer]:
        return [await ask(server, "/metrics", "POST"), await ask(server, "/else"), await ask(server, "/livez", "HEAD")]

    post, other, head = serving(use)
    assert (post.status, other.status, head.status) == (405, 404, 200)
    for answer in (post, other, head):
        assert answer.headers["Server"] == "cxstream"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "request_head",
    [
        b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 10000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X%d: y\r\n" % i for i in range(200)) + b"\r\n",
        b"\x16\x03\x01 not http\r\n\r\n",
    ],
    ids=["long line", "long header", "many headers", "not HTTP"],
)
def test_an_oversized_or_odd_request_is_refused(request_head: bytes) -> None:
    """Lines and headers are bounded in length and number; what is no request is answered 400 and closed."""

    async def use(server: Server, _worker: Worker) -> bytes:
        return await say(server, request_head)

    assert serving(use).split(b" ")[1] == b"400"


def test_a_body_is_not_read() -> None:
    """Nothing here takes a body: a large one is refused by its announced length."""

    async def use(server: Server, _worker: Worker) -> bytes:
        return await say(server, b"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n")

    assert serving(use).split(b" ")[1] == b"413"


def test_a_connection_that_says_nothing_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a request does not hold a connection for ever."""
    monkeypatch.setattr(web_server, "IDLE_SECONDS", 0.2)

    async def use(server: Server, _worker: Worker) -> list[bytes]:
        return [await say(server, half) for half in (b"", b"GET /metrics HTTP/1.1\r\nHost:")]

    assert serving(use) == [b"", b""]


def test_a_page_that_cannot_be_made_is_a_500_without_details() -> None:
    """A failing collector costs its scrape: the client learns nothing of the inside, and the server goes on."""

    def broken(_accept: str) -> tuple[bytes, str]:
        raise ValueError("secret")

    async def use(server: Server, _worker: Worker) -> list[Answer]:
        return [await ask(server, "/metrics"), await ask(server, "/livez")]

    broken_answer, live = serving(use, metrics=broken)
    assert (broken_answer.status, live.status) == (500, 200)
    assert "secret" not in broken_answer.text


@pytest.fixture
def refused() -> list[str]:
    """What the server has counted as refused."""
    return []


def test_headers_that_drip_in_hold_a_connection_no_longer_than_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes now and then do not keep half a request alive (slowloris)."""
    monkeypatch.setattr(web_server, "IDLE_SECONDS", 1.0)

    async def use(server: Server, _worker: Worker) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n")
        dripped = 0
        closed = asyncio.ensure_future(reader.read())
        while not closed.done() and dripped < 400:
            writer.write(b"X: y\r\n"[dripped % 6 : dripped % 6 + 1])
            dripped += 1
            await asyncio.wait([closed], timeout=0.02)
        writer.close()
        return dripped

    assert 10 < serving(use) < 400


def test_one_connection_too_many_is_refused_and_counted(refused: list[str]) -> None:
    """Beyond the limit a connection is answered 503 and closed; when one of the others ends, there is room again."""

    async def use(server: Server, _worker: Worker) -> list[bytes]:
        held = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(4)]
        await asyncio.sleep(0.05)
        answers = [await say(server, b"")]
        held[0][1].close()
        await held[0][1].wait_closed()
        await asyncio.sleep(0.05)
        answers.append(await say(server, b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
        for _reader, writer in held:
            writer.close()
        return answers

    too_many, after = serving(use, max_connections=4, refused=refused.append)
    assert too_many.startswith(b"HTTP/1.1 503 ")
    assert after.startswith(b"HTTP/1.1 200 ")
    assert refused == ["connections"]


def test_pipelined_requests_are_answered_in_turn_while_others_are_served() -> None:
    """A thousand requests sent in one go are answered one after the other, and hold up nobody else."""

    async def use(server: Server, _worker: Worker) -> tuple[int, int]:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" * 1_000)
        first = await reader.readuntil(b'{"status": "ok"}\n')
        beside = await ask(server, "/livez")
        answered = first.count(b"HTTP/1.1 200")
        while answered < 1_000:
            answered += (await reader.readuntil(b'{"status": "ok"}\n')).count(b"HTTP/1.1 200")
        writer.close()
        return answered, beside.status

    assert serving(use) == (1_000, 200)


def test_an_answer_nobody_reads_is_cut_and_counted(monkeypatch: pytest.MonkeyPatch, refused: list[str]) -> None:
    """Who asks for a page and does not read it holds a connection for a bounded time."""
    monkeypatch.setattr(web_server, "UNREAD_SECONDS", 0.3)

    page = b"x" * (64 << 20)

    async def use(server: Server, _worker: Worker) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.sleep(1)
        arrived = 0
        with suppress(ConnectionError):
            while part := await reader.read(1 << 20):
                arrived += len(part)
        writer.close()
        return arrived

    arrived = serving(use, metrics=lambda _accept: (page, "text/plain"), refused=refused.append)
    assert arrived < len(page)
    assert refused == ["unread"]


def test_what_is_beyond_a_limit_is_counted(monkeypatch: pytest.MonkeyPatch, refused: list[str]) -> None:
    """A request announced too large, one too many at once: each by its reason."""
    monkeypatch.setattr(web_server, "MAX_REQUESTS_AT_ONCE", 0)

    async def use(server: Server, _worker: Worker) -> list[int]:
        large = await say(server, b"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n")
        return [int(large.split(b" ")[1]), (await ask(server, "/livez")).status]

    assert serving(use, refused=refused.append) == [413, 503]
    assert refused == ["too_large", "requests"]


def test_pages_are_served_over_tls_where_a_certificate_is_given(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With a certificate https is spoken, and http is not; browsers are told to stay with it."""
    monkeypatch.setattr(web_server, "UNREAD_SECONDS", 0.1)
    authority = trustme.CA()
    own = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(own)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    async def use(server: Server, _worker: Worker) -> tuple[int, dict[str, str], bytes]:
        url = f"https://127.0.0.1:{server.port}/metrics"
        async with aiohttp.ClientSession() as session, session.get(url, ssl=trusting) as response:
            await response.read()
            plain = await say(server, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.sleep(0.2)  # until it is looked at who has read what
        return response.status, dict(response.headers), plain

    status, headers, plain = serving(use, tls=own)
    assert status == 200
    assert "max-age=" in headers["Strict-Transport-Security"]
    assert b"accept" not in plain
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize("path", ["/", "/metrics", "/livez", "/else"])
def test_every_answer_says_what_browsers_may_do_with_it(path: str) -> None:
    """Nothing is sniffed, framed, cached, sent to others or loaded from elsewhere, errors included."""

    async def use(server: Server, _worker: Worker) -> Answer:
        return await ask(server, path)

    headers = serving(use).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"
    assert {"default-src 'none'", "frame-ancestors 'none'"} <= set(headers["Content-Security-Policy"].split("; "))
    assert "Strict-Transport-Security" not in headers
