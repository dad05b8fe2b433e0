"""An event loop whose time is virtual: nobody ever waits, and simulated processes can be frozen, resumed and killed."""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from typing import Any

TICK_SECONDS = 86_400.125
"""A sleep of exactly this length is the tick of a worker; the loop decides how long it is, and may cut it short."""

PROCESS: ContextVar[str] = ContextVar("PROCESS", default="")
"""The simulated process a callback belongs to; empty for the brokers and the world outside."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs callbacks in order of their time and jumps to the next timer when nothing is left to do now.

    What belongs to a frozen process waits until it is resumed, as under SIGSTOP; what belongs to a killed one never
    runs again.
    """

    def __init__(self) -> None:
        super().__init__()
        self._now_seconds = 0.0
        self._frozen: dict[str, list[asyncio.Handle]] = {}
        self._buried: dict[str, list[asyncio.Handle]] = {}
        self._ticks: list[asyncio.TimerHandle] = []
        self.pace: Callable[[], float] = lambda: 1.0
        """How long the next tick of a worker is to be, in seconds."""

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._now_seconds

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: object, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Call something after a while; ticks are remembered, so that they can be called earlier."""
        if delay != TICK_SECONDS:
            return super().call_later(delay, callback, *args, context=context)
        handle = super().call_later(self.pace(), callback, *args, context=context)
        self._ticks.append(handle)
        return handle

    def wake(self) -> None:
        """Let all workers tick now: something is happening."""
        ticks: list[Any] = self._ticks
        self._ticks = []
        for handle in ticks:
            if not handle._cancelled and handle._scheduled:
                self.call_soon(handle._callback, *handle._args, context=handle._context)
                handle.cancel()

    def freeze(self, process: str) -> None:
        """Let nothing of a process run until it is resumed."""
        self._frozen.setdefault(process, [])

    def resume(self, process: str) -> None:
        """Go on with what a frozen process would have done meanwhile."""
        self._ready.extend(self._frozen.pop(process, ()))

    def kill(self, process: str) -> None:
        """Never run anything of a process again; it is kept until the loop is closed, so that nothing of it unwinds."""
        self._buried[process] = self._frozen.pop(process, [])

    def _run_once(self) -> None:
        """Run what is ready, or advance the time to the next timer (in place of asyncio's, which waits for sockets)."""
        ready, scheduled = self._ready, self._scheduled
        if not ready and not self._stopping:
            while scheduled and scheduled[0]._cancelled:
                heapq.heappop(scheduled)._scheduled = False
            if not scheduled:
                raise DeadlockError("nothing will ever happen again")
            self._now_seconds = max(self._now_seconds, scheduled[0]._when)
        while scheduled and scheduled[0]._when <= self._now_seconds:
            handle = heapq.heappop(scheduled)
            handle._scheduled = False
            if not handle._cancelled:
                ready.append(handle)
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle._cancelled:
                continue
            process = handle._context.get(PROCESS, "")
            if process in self._frozen:
                self._frozen[process].append(handle)
            elif process in self._buried:
                self._buried[process].append(handle)
            else:
                handle._run()

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Do nothing: cancelled timers are dropped when their time comes."""

    def _process_events(self, event_list: Any) -> None:  # noqa: ANN401 - asyncio's signature
        """Do nothing: there are no sockets."""

    def _check_closed(self) -> None:
        """Do not complain: what was killed unwinds after the end, and asks for callbacks that never run."""

    def _write_to_self(self) -> None:
        """Do nothing: there are no other threads."""

    _stopping: bool
    _ready: deque[Any]
    _scheduled: list[Any]


class DeadlockError(RuntimeError):
    """Everything waits for something, and no timer is set."""


def context_of(process: str) -> Context:
    """Return a context in which everything belongs to a simulated process."""
    context = copy_context()
    context.run(PROCESS.set, process)
    return context


OUTSIDE = context_of("")
"""The context of the brokers and of everything that is no worker."""
