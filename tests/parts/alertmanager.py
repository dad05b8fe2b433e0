"""A real Alertmanager for tests, and a webhook that keeps what it was told."""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple, Self

import pytest

from .processes import ServerFailedError, ServerProcess, free_port

START_SECONDS = 30.0


def require_alertmanager() -> None:
    """Skip the test, saying why, where Debian's Alertmanager is not installed."""
    missing = [name for name in ("prometheus-alertmanager", "amtool") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"needs {' and '.join(missing)}: run scripts/install-system-packages")


@contextmanager
def alertmanager(config: Path) -> Iterator[str]:
    """Run an Alertmanager with this configuration and yield its address, host:port; ServerFailedError if it fails."""
    require_alertmanager()
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="cxstream-alertmanager-") as folder:
        process = ServerProcess(
            [
                "prometheus-alertmanager",
                f"--config.file={config}",
                f"--storage.path={folder}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--cluster.listen-address=",
            ],
            Path(folder) / "log",
        )
        address = f"127.0.0.1:{port}"
        deadline = time.monotonic() + START_SECONDS
        try:
            while True:
                try:
                    urllib.request.urlopen(f"http://{address}/-/ready", timeout=1).close()
                    break
                except OSError as refusal:
                    if not process.running or time.monotonic() > deadline:
                        raise ServerFailedError(f"Alertmanager did not start:\n{process.log_tail()}") from refusal
                    time.sleep(0.05)
            yield address
        finally:
            process.end(grace_seconds=5)


def alerts_of(address: str) -> list[dict[str, Any]]:
    """Return what an Alertmanager knows of: each with labels, annotations, fingerprint and status."""
    with urllib.request.urlopen(f"http://{address}/api/v2/alerts", timeout=10) as answer:
        known: list[dict[str, Any]] = json.load(answer)
    return known


class Told(NamedTuple):
    """One alert of one notification: which receiver was told, whether it fires, its labels and annotations."""

    receiver: str
    status: str
    labels: dict[str, str]
    annotations: dict[str, str]


class Webhook:
    """Keeps the notifications that Alertmanager posts to `url`/<receiver>, and pages; a context manager."""

    def __init__(self) -> None:
        self.told: list[Told] = []
        self.pages: list[dict[str, Any]] = []
        """What was sent as to PagerDuty."""
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if "routing_key" in body:
                    webhook.pages.append(body)
                for alert in body.get("alerts", ()):
                    receiver = self.path.removeprefix("/")
                    webhook.told.append(Told(receiver, alert["status"], alert["labels"], alert["annotations"]))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def wait_for(self, what: str, is_it: Callable[[Told], bool], *, seconds: float = 30.0) -> Told:
        """Return the first notification that is the one looked for; TimeoutError with what was told instead."""
        deadline = time.monotonic() + seconds
        while True:
            for one in list(self.told):
                if is_it(one):
                    return one
            if time.monotonic() > deadline:
                heard = sorted({(one.receiver, one.status, one.labels["alertname"]) for one in self.told})
                raise TimeoutError(f"not told within {seconds:g} s: {what}; told: {heard}")
            time.sleep(0.1)

    def __enter__(self) -> Self:
        """Listen."""
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()
