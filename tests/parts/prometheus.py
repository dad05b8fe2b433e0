"""A real Prometheus for tests: it scrapes what the test names, evaluates the real rules and answers queries."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import pytest

from .processes import ServerFailedError, ServerProcess, free_port

START_SECONDS = 30.0
STOP_SECONDS = 10.0
_ANSWER_SECONDS = 10.0


class QueryError(RuntimeError):
    """Prometheus refused a query; the message is its own."""


def require_prometheus() -> None:
    """Skip the test, saying why, where Debian's prometheus and promtool are not installed."""
    missing = [name for name in ("prometheus", "promtool") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"needs {' and '.join(missing)}: run scripts/install-system-packages")


class Prometheus:
    """A Prometheus server on a free port of 127.0.0.1 with a configuration of the test's; a context manager."""

    def __init__(
        self,
        targets: Mapping[str, Sequence[str]] | None = None,
        *,
        rule_files: Sequence[Path] = (),
        scrape_interval: str = "1s",
        evaluation_interval: str | None = None,
        config: Mapping[str, Any] | None = None,
        consoles: Path | None = None,
    ) -> None:
        """Prepare a server that scrapes `targets` (job name -> "host:port", ...) and evaluates `rule_files`.

        `evaluation_interval` is the scrape interval where not given. `config` entries (top-level sections of
        prometheus.yml) replace the ones made here. `consoles` is a folder of console templates to serve.
        """
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="cxstream-prometheus-"))
        self.config_file = self.folder / "prometheus.yml"
        self._scrape_interval = scrape_interval
        self._evaluation_interval = evaluation_interval or scrape_interval
        self._config = dict(config or {})
        self._consoles = consoles
        self._rule_files = list(rule_files)
        self._targets = {job: list(addresses) for job, addresses in (targets or {}).items()}
        self._process: ServerProcess | None = None

    @property
    def url(self) -> str:
        """Base URL of the server."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Self:
        """Start the server and wait until it is ready; raise ServerFailedError with its log when it is not."""
        self._write_config()
        self._process = ServerProcess(
            [
                "prometheus",
                f"--config.file={self.config_file}",
                f"--storage.tsdb.path={self.folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
                "--web.enable-lifecycle",
                "--web.enable-admin-api",
                "--rules.alert.resend-delay=1s",  # what fired before Alertmanager was discovered is dropped till then
                *([f"--web.console.templates={self._consoles}"] if self._consoles else []),
                "--log.level=warn",
            ],
            self.folder / "prometheus.log",
        )
        deadline = time.monotonic() + START_SECONDS
        while not self._ready():
            if not self._process.running or time.monotonic() > deadline:
                self._process.end(grace_seconds=0)
                raise ServerFailedError(f"Prometheus did not start:\n{self._process.log_tail()}")
            time.sleep(0.05)
        return self

    def reload(
        self, targets: Mapping[str, Sequence[str]] | None = None, rule_files: Sequence[Path] | None = None
    ) -> None:
        """Write the configuration again, with new targets or rules where given, and have the server read it.

        Raises ServerFailedError with the server's words when it refuses the configuration.
        """
        if targets is not None:
            self._targets = {job: list(addresses) for job, addresses in targets.items()}
        if rule_files is not None:
            self._rule_files = list(rule_files)
        self._write_config()
        request = urllib.request.Request(f"{self.url}/-/reload", method="POST")
        try:
            urllib.request.urlopen(request, timeout=_ANSWER_SECONDS).close()
        except urllib.error.HTTPError as refusal:
            raise ServerFailedError(f"Prometheus refused: {refusal.read().decode(errors='replace')}") from refusal

    def stop(self) -> None:
        """Stop the server and remove its data."""
        if self._process is not None:
            self._process.end(grace_seconds=STOP_SECONDS)
        shutil.rmtree(self.folder, ignore_errors=True)

    def query(self, expr: str, *, at_seconds: float | None = None) -> list[dict[str, Any]]:
        """Evaluate a PromQL expression now, or at a Unix time, and return the result's series.

        Each is {"metric": {label: value}, "value": [unix seconds, "number"]}; a scalar is one series without labels.
        Raises QueryError.
        """
        arguments = {"query": expr} | ({} if at_seconds is None else {"time": f"{at_seconds:.3f}"})
        data = self.get("/api/v1/query", **arguments)
        if data["resultType"] == "scalar":
            return [{"metric": {}, "value": data["result"]}]
        series: list[dict[str, Any]] = data["result"]
        return series

    def value(self, expr: str) -> float | None:
        """Evaluate an expression that has at most one series; None when it has none. Raises QueryError for several."""
        series = self.query(expr)
        if len(series) > 1:
            raise QueryError(f"{len(series)} series where one was expected: {expr}")
        return float(series[0]["value"][1]) if series else None

    def wait_for(self, expr: str, *, seconds: float = 20.0) -> list[dict[str, Any]]:
        """Query until there is at least one series, and return it; raise TimeoutError after `seconds`."""
        deadline = time.monotonic() + seconds
        while not (series := self.query(expr)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"no series in {seconds:g} s: {expr}; targets: {self.target_errors()}")
            time.sleep(0.1)
        return series

    def alerts(self) -> list[dict[str, Any]]:
        """Return the pending and firing alerts."""
        found: list[dict[str, Any]] = self.get("/api/v1/alerts")["alerts"]
        return found

    def target_errors(self) -> dict[str, str]:
        """Return, per scrape URL that is not up, its last error."""
        targets = self.get("/api/v1/targets")["activeTargets"]
        return {t["scrapeUrl"]: t["lastError"] or t["health"] for t in targets if t["health"] != "up"}

    def text(self, path: str) -> str:
        """Return a page; raise QueryError with what the server says where it cannot be made."""
        try:
            with urllib.request.urlopen(f"{self.url}{path}", timeout=_ANSWER_SECONDS) as answer:
                page: str = answer.read().decode()
                return page
        except urllib.error.HTTPError as refusal:
            raise QueryError(refusal.read().decode(errors="replace")) from refusal

    def get(self, path: str, **arguments: str) -> Any:  # noqa: ANN401 - the shape is the API's, one per path
        """Return the `data` of an API answer; raise QueryError with the server's message."""
        url = f"{self.url}{path}?{urllib.parse.urlencode(arguments)}"
        try:
            with urllib.request.urlopen(url, timeout=_ANSWER_SECONDS) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as refusal:
            raise QueryError(refusal.read().decode(errors="replace")) from refusal

    def __enter__(self) -> Self:
        """Start the server."""
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the server."""
        self.stop()

    def _write_config(self) -> None:
        config = {
            "global": {"scrape_interval": self._scrape_interval, "evaluation_interval": self._evaluation_interval},
            "rule_files": [str(path.resolve()) for path in self._rule_files],
            "scrape_configs": [
                {
                    "job_name": job,
                    "scrape_timeout": self._scrape_interval,
                    "static_configs": [{"targets": addresses}],
                }
                for job, addresses in self._targets.items()
            ],
            **self._config,
        }
        self.config_file.write_text(json.dumps(config, indent=2))  # JSON is YAML

    def _ready(self) -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/-/ready", timeout=1.0):
            return True
        return False


def promtool(
    what: Literal["check metrics", "check rules", "check config", "test rules"], *files: Path, text: str | None = None
) -> str:
    """Run a promtool check over `files`, or over `text` for "check metrics", and return what it printed.

    Raises AssertionError with that when promtool finds fault; "check metrics" finds fault with any lint, too.
    """
    done = subprocess.run(
        ["promtool", *what.split(), *(str(file) for file in files)],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    said = f"{done.stdout}{done.stderr}".strip()
    assert done.returncode == 0, f"promtool {what} {' '.join(map(str, files))} found fault:\n{said}"
    return said
