"""A real worker in a process of its own: started by its command, asked over HTTP, killed, paused, stopped."""

from __future__ import annotations

import json
import os
import signal
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

from prometheus_client.parser import text_string_to_metric_families

from .processes import ServerFailedError, ServerProcess, free_port

SOURCES = Path(__file__).resolve().parents[2] / "src"
PREFIX = "CXSTREAM_"
COMMAND = ("-m", "cxstream", "worker")
START_SECONDS = 60.0
STOP_SECONDS = 30.0
_ANSWER_SECONDS = 10.0
_PAUSE_SECONDS = 0.05

Probe = Literal["/livez", "/readyz", "/startupz"]


class Answer(NamedTuple):
    """What a probe said: the HTTP status (0 if nobody listened), and the reason for anything but 200."""

    status: int
    reason: str


class Samples(NamedTuple):
    """One scrape of /metrics: its text, and what it says as (name, labels, value)."""

    text: str
    samples: list[tuple[str, dict[str, str], float]]

    def by(self, name: str, *labels: str, **where: str) -> Counter[tuple[str, ...]]:
        """Add up the samples of a name by some of its labels; of those only that have the labels `where`."""
        sums: Counter[tuple[str, ...]] = Counter()
        for found, its, value in self.samples:
            if found == name and all(its.get(label) == wanted for label, wanted in where.items()):
                sums[tuple(its[label] for label in labels)] += value  # type: ignore[assignment]
        return sums

    def sum(self, name: str, **where: str) -> float:
        """Add up the samples of a name that have these labels."""
        return self.by(name, **where)[()]


class WorkerProcess:
    """`cxstream worker` with the given CXSTREAM_ variables and no others, on a free port of 127.0.0.1.

    A context manager that starts it and waits until it is ready, and at the end kills it if it still runs.
    """

    command: Sequence[str] = COMMAND
    path = str(SOURCES)

    def __init__(
        self, settings: Mapping[str, str], log: Path, *, python: Path | None = None, authority: Path | None = None
    ) -> None:
        """Prepare; what the worker prints is appended to `log`. `python` runs what it has installed, not this tree.

        A worker that serves https is asked as localhost, by a certificate of `authority`.
        """
        self._tls = None if authority is None else ssl.create_default_context(cafile=authority)
        self.settings = dict(settings)
        self._python = python
        self.log = log
        self.port = free_port()
        self._process: ServerProcess | None = None

    @property
    def address(self) -> str:
        """Where Prometheus scrapes it, host:port."""
        return f"127.0.0.1:{self.port}"

    @property
    def process(self) -> ServerProcess:
        """The process; raises RuntimeError before it is launched."""
        if self._process is None:
            raise RuntimeError("the worker was not launched")
        return self._process

    def launch(self) -> Self:
        """Start the process and return at once."""
        variables = {**self.settings, f"{PREFIX}HTTP_PORT": str(self.port)}
        inherited = [name for name in os.environ if name.startswith(PREFIX) and name not in variables]
        without = [argument for name in inherited for argument in ("-u", name)]
        command = ["env", *without, self._python or sys.executable, *self.command]
        path = self.path if self._python is None else ""
        self._process = ServerProcess(command, self.log, {**variables, "PYTHONPATH": path})
        return self

    def start(self, probe: Probe = "/readyz") -> Self:
        """Start the process and wait until `probe` answers 200; raise ServerFailedError with its log otherwise."""
        self.launch()
        try:
            self.wait_for(lambda: self.ask(probe).status == 200, f"200 at {probe}", seconds=START_SECONDS)
        except BaseException:
            self.kill()
            raise
        return self

    def ask(self, probe: Probe) -> Answer:
        """Ask a probe once."""
        status, body = self._get(probe)
        return Answer(status, json.loads(body).get("reason", "") if body else "")

    def metrics(self) -> Samples:
        """Scrape /metrics and parse it; raises ServerFailedError if nobody answers."""
        status, body = self._get("/metrics")
        if status != 200:
            raise ServerFailedError(f"/metrics answered {status}:\n{body}\n{self.log_tail()}")
        families = text_string_to_metric_families(body)
        return Samples(body, [(one.name, one.labels, one.value) for family in families for one in family.samples])

    def caught_up(self) -> bool:
        """Tell whether the worker speaks for all of the job's partitions."""
        samples = self.metrics()
        return samples.sum("cxstream_partition_ready") == samples.sum("cxstream_partitions_expected")

    def wait_for(self, condition: Callable[[], Any], what: str, *, seconds: float = 30.0) -> None:
        """Wait until a condition holds; raise ServerFailedError with the log if it does not, or the worker ends."""
        deadline = time.monotonic() + seconds
        while not condition():
            if not self.process.running:
                raise ServerFailedError(f"the worker ended with {self.process.status}:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise ServerFailedError(f"not within {seconds:g} s: {what}\n{self.log_tail()}")
            time.sleep(_PAUSE_SECONDS)

    def kill(self) -> None:
        """End it at once (SIGKILL): nothing is committed, nobody is told."""
        self.process.end(grace_seconds=0)

    def stop(self) -> None:
        """Ask it to stop (SIGTERM), wait, and check that it ended of itself with status 0; AssertionError otherwise."""
        self.process.signal(signal.SIGTERM)
        self.process.signal(signal.SIGCONT)
        status = self.process.wait(STOP_SECONDS)
        self.process.end(grace_seconds=0)
        assert status == 0, f"stopped with {status} (None: not within {STOP_SECONDS:g} s):\n{self.log_tail()}"

    def wait(self, seconds: float) -> int | None:
        """Wait until it has ended by itself and return its status; None if it still runs then."""
        return self.process.wait(seconds)

    def pause(self) -> None:
        """Freeze it (SIGSTOP): its connections stay open, and it says nothing."""
        self.process.pause()

    def resume(self) -> None:
        """Let a paused worker go on (SIGCONT)."""
        self.process.resume()

    def log_tail(self) -> str:
        """Return the last lines it printed."""
        return self.process.log_tail()

    def __enter__(self) -> Self:
        """Start it, unless it was launched before, and wait until it is ready."""
        return self.start() if self._process is None else self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Kill it if it still runs."""
        if self._process is not None:
            self._process.end(grace_seconds=0)

    def _get(self, path: str) -> tuple[int, str]:
        """Return status and body, 0 and nothing while nobody listens."""
        try:
            url = f"http://{self.address}" if self._tls is None else f"https://localhost:{self.port}"
            with urllib.request.urlopen(url + path, timeout=_ANSWER_SECONDS, context=self._tls) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refusal:
            return refusal.code, refusal.read().decode()
        except (OSError, HTTPException):
            return 0, ""
