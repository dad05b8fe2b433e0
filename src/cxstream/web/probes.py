"""What an orchestrator may ask of a worker: does it live, may it be counted on, has it started."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from time import monotonic
from typing import Protocol

from aiohttp import web

LIVE_SECONDS = 60.0
"""An event loop that has not ticked for longer than this is taken for dead."""


def answer(reason: str) -> web.Response:
    """Return 200, or 503 with the reason."""
    body = {"status": "unavailable", "reason": reason} if reason else {"status": "ok"}
    return web.json_response(body, status=503 if reason else 200, dumps=lambda value: json.dumps(value) + "\n")


def answer_of_life(tick_age_seconds: float) -> web.Response:
    """Return 200, or 503 where the event loop has not ticked for too long."""
    stands = tick_age_seconds > LIVE_SECONDS
    return answer(f"the event loop has not ticked for {tick_age_seconds:.0f} s" if stands else "")


class Probes(Protocol):
    """Answers of the worker; each returns at once and does not raise."""

    def tick_age_seconds(self) -> float:
        """Return how long ago the event loop last ticked."""

    def ready(self) -> tuple[bool, str]:
        """Return whether partitions are assigned and every table owned is recovered, and what is missing if not."""

    def started(self) -> bool:
        """Return whether start-up is over: from then on readiness is asked."""


class LoopTick:
    """Ticks in the event loop, so that an answer can say how long the loop stood still before it."""

    def __init__(self, interval_seconds: float = 1.0, clock: Callable[[], float] = monotonic) -> None:
        self._interval_seconds = interval_seconds
        self._clock = clock
        self._ticked_at = clock()

    async def run(self) -> None:
        """Tick until cancelled."""
        while True:
            self._ticked_at = self._clock()
            await asyncio.sleep(self._interval_seconds)

    def age_seconds(self) -> float:
        """Return how long ago it last ticked."""
        return self._clock() - self._ticked_at
