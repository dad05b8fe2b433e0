"""Runs a real server for a test so that it never outlives the test run, however that ends."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

_LOG_TAIL_BYTES = 8_192
_PORTS = range(20_000, 32_000)  # below the kernel's ephemeral range: no outgoing connection takes one between restarts
_taken: set[int] = set()


class ServerFailedError(RuntimeError):
    """A server did not start, or did not answer in time; the message ends with the last lines of its log."""


def free_port() -> int:
    """Return a port of 127.0.0.1 nobody listens on and this process was not given before."""
    draw = random.SystemRandom()
    for _ in range(1_000):
        port = draw.choice(_PORTS)
        if port in _taken:
            continue
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            _taken.add(port)
            return port
    raise ServerFailedError("no free port on 127.0.0.1")


def accepts(port: int) -> bool:
    """Tell whether something accepts connections on 127.0.0.1:port."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=0.25):
        return True
    return False


class ServerProcess:
    """One child process with its output in a file, and a watcher that kills it when this process is gone."""

    def __init__(self, command: Sequence[str | Path], log: Path, env: Mapping[str, str] | None = None) -> None:
        """Start `command`, appending what it prints to `log`; `env` is added to this process's environment.

        Raises OSError when the command cannot be run.
        """
        self.command = [str(part) for part in command]
        self.log = log
        with log.open("ab") as output:
            self._child = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C belongs to pytest, which then stops its servers in order
                env={**os.environ, **(env or {})},
            )
        # The write end of its stdin closes with this process, even on SIGKILL; then it ends the child.
        self._watcher = subprocess.Popen(
            ["/bin/sh", "-c", 'read -r _; kill -KILL "$1" 2>/dev/null', "watcher", str(self.pid)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        self._lock = threading.Lock()

    @property
    def pid(self) -> int:
        """Process id of the server."""
        return self._child.pid

    @property
    def running(self) -> bool:
        """True until the server has ended; a paused server is running."""
        return self._child.poll() is None

    @property
    def status(self) -> int | None:
        """Exit status of a server that has ended (negative: the signal that killed it), else None."""
        return self._child.poll()

    def wait(self, seconds: float) -> int | None:
        """Wait until the server has ended by itself and return its exit status; None if it runs longer."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._child.wait(seconds)
        return None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server; nothing happens when it has ended."""
        if self.running:
            self._child.send_signal(number)

    def pause(self) -> None:
        """Freeze the server (SIGSTOP), and return once every thread of it stands; nothing happens when it has ended."""
        if self.running:
            self._child.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, self._child.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """Let a paused server go on (SIGCONT)."""
        self.signal(signal.SIGCONT)

    def end(self, *, grace_seconds: float) -> None:
        """Ask the server to stop, wait, and kill it after `grace_seconds` (at once when 0)."""
        with self._lock:
            self._dismiss_watcher()
            if grace_seconds > 0:
                self.signal(signal.SIGTERM)
                self.signal(signal.SIGCONT)  # a paused process sees SIGTERM only when it goes on
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._child.wait(grace_seconds)
            self.signal(signal.SIGKILL)
            self._child.wait()

    def _dismiss_watcher(self) -> None:
        self._watcher.kill()
        self._watcher.wait()
        if self._watcher.stdin is not None:
            self._watcher.stdin.close()

    def log_tail(self) -> str:
        """Return the end of what the server printed."""
        with self.log.open("rb") as lines:
            lines.seek(max(0, self.log.stat().st_size - _LOG_TAIL_BYTES))
            return lines.read().decode(errors="replace").strip()
