"""The whole product without a container engine: what docker-compose.yml runs, as processes on free ports of 127.0.0.1.

`make stack [ARGS="--seconds N"]`, or `with Stack(folder) as stack: ...` for tests that look at it as a person would. It
stands here, not in the product, because it runs on what the tests install: Apache Kafka, Prometheus and Alertmanager.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

import yaml

from cxstream.demo.embedded import EmbeddedBroker
from cxstream.demo.traffic import DAYS

from .alertmanager import alertmanager
from .apache_kafka import ApacheKafka, KafkaUnavailableError
from .processes import ServerFailedError, ServerProcess, accepts
from .prometheus import Prometheus
from .worker import PREFIX, WorkerProcess

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "docker-compose.yml"
PROMETHEUS = ROOT / "deploy" / "prometheus" / "prometheus.yml"
ALERTMANAGER = ROOT / "deploy" / "alertmanager" / "alertmanager.yml"
CONSOLES = ROOT / "deploy" / "prometheus" / "consoles"
NEEDED = ("prometheus", "prometheus-alertmanager")
STOP_SECONDS = 30.0
PAUSE_SECONDS = 0.5
DRAIN_SECONDS = 5
"""Nobody waits for a hand-over when all of it ends."""


class Stack:
    """Brokers, workers, an upstream, Prometheus and Alertmanager; a context manager that ends all it started.

    Settings of the workers are those of docker-compose.yml, and Prometheus has the file, rules and alerts of deploy/,
    but for addresses and intervals. Where Apache Kafka cannot be had there is the embedded broker, and one worker.
    """

    def __init__(
        self,
        folder: Path,
        *,
        workers: int = 2,
        seed: int = 1,
        days: int = DAYS,
        interval: str = "5s",
        embedded: bool = False,
    ) -> None:
        """Prepare; all files are in `folder`. `interval` is that of scrapes and rules; `embedded`: without Kafka."""
        self.folder = folder
        self.seed = seed
        self.days = days
        self.interval = interval
        self.broker = "the embedded broker, as asked for"
        self.bootstrap = ""
        self.workers: list[WorkerProcess] = []
        self.prometheus: Prometheus
        self.alertmanager: str
        """Where Alertmanager is, host:port."""
        self._wanted_workers = workers
        self._embedded = embedded
        self._running: dict[str, ServerProcess] = {}
        self._parts = contextlib.ExitStack()

    def start(self) -> Self:
        """Start everything and wait until the workers are ready; raises ServerFailedError with a log."""
        self.bootstrap = self._start_broker()
        self._start_workers()
        self._start_upstream()
        self.alertmanager = self._parts.enter_context(alertmanager(self._write_routes()))
        targets = {"cxstream": [worker.address for worker in self.workers], "alertmanager": [self.alertmanager]}
        config = located(yaml.safe_load(PROMETHEUS.read_text("utf-8")), targets, self.interval)
        self.prometheus = self._parts.enter_context(Prometheus(config=config, consoles=CONSOLES))
        return self

    def stop(self) -> None:
        """End all of it, what was started last first."""
        self._parts.close()

    def check(self) -> None:
        """Raise ServerFailedError with its log if a process has ended that nobody ended."""
        for name, process in self._running.items():
            if not process.running:
                raise ServerFailedError(f"{name} ended with {process.status}:\n{process.log_tail()}")
        for name, port in {"Prometheus": self.prometheus.port, "Alertmanager": _port_of(self.alertmanager)}.items():
            if not accepts(port):
                raise ServerFailedError(f"{name} answers no more")

    def urls(self) -> dict[str, str]:
        """Return where to look, by what is there."""
        workers = {
            f"worker {number}": f"http://{worker.address}/" for number, worker in enumerate(self.workers, start=1)
        }
        consoles = {
            f"console {page.stem}": f"{self.prometheus.url}/consoles/{page.name}"
            for page in sorted(CONSOLES.glob("*.html"))
        }
        return {
            **workers,
            "Prometheus": f"{self.prometheus.url}/graph",
            "alerts": f"{self.prometheus.url}/alerts",
            **consoles,
            "Alertmanager": f"http://{self.alertmanager}/",
        }

    @property
    def token(self) -> Path:
        """The file with the bearer token that pages with case data ask for."""
        return self.folder / "secrets" / "case_data_token"

    def __enter__(self) -> Self:
        """Start it."""
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        self.stop()

    def _start_broker(self) -> str:
        if not self._embedded:
            try:
                kafka = self._parts.enter_context(ApacheKafka(folder=self.folder / "kafka"))
            except KafkaUnavailableError as lack:
                self.broker = f"the embedded broker, so only one worker: {lack}"
            else:
                self.broker = "Apache Kafka"
                self._running |= {f"broker {node.number}": node.process for node in kafka.nodes if node.process}
                return kafka.bootstrap
        self._wanted_workers = 1
        return self._parts.enter_context(EmbeddedBroker(self.folder / "broker")).bootstrap

    def _start_workers(self) -> None:
        subprocess.run([ROOT / "scripts" / "make-secrets", self.folder / "secrets"], check=True, capture_output=True)
        for number in range(1, self._wanted_workers + 1):
            settings = compose_settings(self.bootstrap, self.folder, self.folder / f"worker-{number}")
            worker = WorkerProcess(settings, self.folder / f"worker-{number}.log").launch()
            self._parts.callback(worker.process.end, grace_seconds=0)
            self._running[f"worker {number}"] = worker.process
            self.workers.append(worker)
        self._parts.callback(self._stop_workers)
        for worker in self.workers:
            worker.wait_for(lambda worker=worker: worker.ask("/readyz").status == 200, "ready", seconds=60)

    def _stop_workers(self) -> None:
        for worker in self.workers:
            worker.process.signal(signal.SIGTERM)
        for worker in self.workers:
            worker.wait(STOP_SECONDS)

    def _write_routes(self) -> Path:
        """Write the routes and inhibitions of deploy/, to receivers that tell nobody anything."""
        config = yaml.safe_load(ALERTMANAGER.read_text("utf-8"))
        config["receivers"] = [{"name": receiver["name"]} for receiver in config["receivers"]]
        file = self.folder / "alertmanager.yml"
        file.write_text(yaml.safe_dump(config))
        return file

    def _start_upstream(self) -> None:
        command = [sys.executable, "-m", "cxstream", "demo", "--to", self.bootstrap, "--seed", str(self.seed)]
        command += ["--days", str(self.days)]
        ours = [name for name in os.environ if name.startswith(PREFIX)]
        without = [argument for name in ours for argument in ("-u", name)]
        path = {"PYTHONPATH": str(ROOT / "src")}
        process = ServerProcess(["env", *without, *command], self.folder / "upstream.log", path)
        self._parts.callback(process.end, grace_seconds=STOP_SECONDS)
        self._running["upstream"] = process


def compose_settings(bootstrap: str, folder: Path, data: Path) -> dict[str, str]:
    """Return the variables docker-compose.yml gives a worker, with other brokers and folders, without a registry."""
    service = yaml.safe_load(COMPOSE.read_text("utf-8"))["services"]["cxstream"]
    settings: dict[str, str] = dict(service["environment"])
    del settings["CXSTREAM_SCHEMA_REGISTRY_URL"]
    secrets = {
        name: str(folder / "secrets" / Path(value).name) for name, value in settings.items() if name.endswith("_FILE")
    }
    return settings | secrets | {
        "CXSTREAM_KAFKA_BOOTSTRAP": bootstrap,
        "CXSTREAM_DATA_FOLDER": str(data),
        "CXSTREAM_DRAIN_SECONDS": str(DRAIN_SECONDS),
    }  # fmt: skip


def located(config: dict[str, Any], targets: Mapping[str, Sequence[str]], interval: str) -> dict[str, Any]:
    """Return a configuration of deploy/prometheus with its rule files by path, and its jobs and Alertmanager elsewhere.

    A job without `targets` is left out.
    """
    scraped = []
    for job in config["scrape_configs"]:
        if job["job_name"] in targets:
            kept = {key: value for key, value in job.items() if not key.endswith("_configs")}
            scraped.append(kept | {"static_configs": [{"targets": list(targets[job["job_name"]])}]})
    return config | {
        "global": config["global"] | {"scrape_interval": interval, "evaluation_interval": interval},
        "rule_files": [str(PROMETHEUS.parent / name) for name in config["rule_files"]],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": list(targets["alertmanager"])}]}]},
        "scrape_configs": scraped,
    }


def _port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


def _stop_on_signals() -> None:
    """Let Ctrl-C, a closed terminal or a kill raise KeyboardInterrupt, once: what follows must not stop the ending."""
    signs = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def stop(*_: object) -> NoReturn:
        for sign in signs:
            signal.signal(sign, signal.SIG_IGN)
        raise KeyboardInterrupt

    for sign in signs:
        signal.signal(sign, stop)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the stack until it is stopped; return the exit status."""
    parser = argparse.ArgumentParser(prog="make stack", description=__doc__)
    parser.add_argument("--seconds", type=float, help="stop by itself so long after it is up")
    parser.add_argument("--seed", type=int, default=1, help="another seed, another company")
    parser.add_argument("--days", type=int, default=DAYS, help="days of history")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--embedded", action="store_true", help="use the embedded broker, with one worker")
    options = parser.parse_args(arguments)
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        print(f"stack: needs {' and '.join(missing)}: run scripts/install-system-packages", file=sys.stderr)
        return 1
    _stop_on_signals()
    with tempfile.TemporaryDirectory(prefix="cxstream-stack-") as folder:
        stack = Stack(
            Path(folder), workers=options.workers, seed=options.seed, days=options.days, embedded=options.embedded
        )
        print(f"stack: starting; logs in {folder}", flush=True)
        try:
            with stack, contextlib.suppress(KeyboardInterrupt):
                _tell(stack)
                ends_at = time.monotonic() + (math.inf if options.seconds is None else options.seconds)
                while time.monotonic() < ends_at:
                    stack.check()
                    time.sleep(PAUSE_SECONDS)
        except ServerFailedError as failure:
            print(f"stack: {failure}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("stack: stopped while starting", file=sys.stderr)
            return 1
    print("stack: everything it started has ended")
    return 0


def _tell(stack: Stack) -> None:
    print(f"stack: brokers at {stack.bootstrap} ({stack.broker})")
    for what, url in stack.urls().items():
        print(f"  {what:18}{url}")
    print(f"  pages with case data ask for the bearer token in {stack.token}")
    print(f"stack: {stack.days} days of history are on their way; Ctrl-C ends all of it", flush=True)


if __name__ == "__main__":
    sys.exit(main())
