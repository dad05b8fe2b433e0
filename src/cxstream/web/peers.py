"""Asks the other workers of the group: a few at a time, not for long, and reads no more of an answer than fits."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import NamedTuple

import aiohttp

from cxstream.web.access import CHALLENGE
from cxstream.web.live import Limits

_URL = re.compile(r"https?://[A-Za-z0-9._:\[\]-]+(/[^\s?#@]*)?")
"""What may be asked: an address, with no credentials, no query and nothing that ends a line."""
_CHUNK_BYTES = 1 << 16
_ANSWERS = (HTTPStatus.OK, HTTPStatus.NOT_FOUND, HTTPStatus.MISDIRECTED_REQUEST)
"""The last two: it has no such case, or not the partition."""


class Answer(NamedTuple):
    """What a worker said, or why it said nothing."""

    status: int
    body: bytes
    problem: str = ""
    """In words; empty for status 200."""


class Peers:
    """The other workers, over HTTP. What is asked begins with /api/v1/local: who is asked so asks nobody else."""

    def __init__(self, limits: Limits, token: str | None, count: Callable[[str], None]) -> None:
        """Carry the token of the group, if one is set; `count` is told the limits that are hit."""
        self._limits = limits
        self._headers = {} if token is None else {"Authorization": f"{CHALLENGE} {token}"}
        self._count = count
        self._at_once = asyncio.Semaphore(limits.workers_at_once)
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close what is open to them."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def ask_all(self, urls: Iterable[str], path: str, query: Mapping[str, str]) -> dict[str, Answer]:
        """Ask several workers the same; the answers by URL."""
        urls = sorted(set(urls))
        answers = await asyncio.gather(*(self.ask(url, path, query) for url in urls))
        return dict(zip(urls, answers, strict=True))

    async def ask(self, url: str, path: str, query: Mapping[str, str]) -> Answer:
        """Ask one worker. Raises nothing: what went wrong is in the answer."""
        if _URL.fullmatch(url) is None:
            self._count("answer_failed")
            return Answer(0, b"", "what it says of where it answers is no address")
        try:
            async with self._at_once, asyncio.timeout(self._limits.answer_seconds):
                return await self._ask(url + path, query)
        except TimeoutError:
            self._count("answer_timeout")
            return Answer(0, b"", f"did not answer within {self._limits.answer_seconds:g} s")
        except (aiohttp.ClientError, OSError):
            self._count("answer_failed")
            return Answer(0, b"", "could not be reached")

    async def _ask(self, url: str, query: Mapping[str, str]) -> Answer:
        if self._session is None:
            self._session = aiohttp.ClientSession(auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar())
        async with self._session.get(url, params=query, headers=self._headers, allow_redirects=False) as response:
            body = bytearray()
            async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
                body += chunk
                if len(body) > self._limits.answer_max_bytes:
                    self._count("answer_too_large")
                    return Answer(0, b"", f"its answer is longer than {self._limits.answer_max_bytes:,} bytes")
            if response.status in _ANSWERS:
                return Answer(response.status, bytes(body))
            self._count("answer_failed")
            told = (
                "refused: its token is another one"
                if response.status == HTTPStatus.UNAUTHORIZED
                else f"answered {response.status}"
            )
            return Answer(response.status, b"", told)
