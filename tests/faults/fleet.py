"""The workers of a job and a watch that scrapes them all the time, as Prometheus would."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import NamedTuple

from parts.producer import Job
from parts.worker import STOP_SECONDS, WorkerProcess

from .fence import Spoken, fence, scrape

READY_SECONDS = 60.0
PAUSE_SECONDS = 0.25
WATCH_SECONDS = 1.5


class Seen(NamedTuple):
    """What the watch saw at one moment."""

    at: float
    """Monotonic seconds."""
    covered: int
    """Partitions that somebody spoke for."""
    excess: list[str]
    """Signs of which more was shown than there was."""
    generation: int
    """The newest of the group that anybody knew of."""


class Fleet:
    """Workers of one job, each with an empty folder of its own."""

    def __init__(self, job: Job, folder: Path, settings: Mapping[str, str], *, python: Path | None = None) -> None:
        """Prepare; `python` runs workers of another version."""
        self.job = job
        self.python = python
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._settings = dict(settings)
        self._numbers = count(1)
        self.targets = folder / "targets.json"
        """Where Prometheus finds out whom to scrape (file_sd_configs)."""
        self.workers: list[WorkerProcess] = []
        self.paused: set[int] = set()
        """Ports of workers that are frozen and cannot answer."""

    def launch(self, how_many: int = 1, *, instance_id: str | None = None) -> list[WorkerProcess]:
        """Start workers with empty folders and return at once; with an `instance_id` a static member."""
        static = {} if instance_id is None else {"CXSTREAM_KAFKA_INSTANCE_ID": instance_id}
        launched = []
        for _ in range(how_many):
            number = next(self._numbers)
            folder = self._folder / f"data-{number}"
            settings = {**self.job.settings(folder), **self._settings, **static}
            if self.python is not None:
                del settings["CXSTREAM_KAFKA_VERDICTS_TOPIC"]  # versions before the stream of verdicts refuse it
            worker = WorkerProcess(settings, self._folder / f"worker-{number}.log", python=self.python).launch()
            self.workers.append(worker)
            launched.append(worker)
        self._tell()
        return launched

    def ready(self, *workers: WorkerProcess) -> None:
        """Wait until these have recovered what they own; raises ServerFailedError with a log."""
        for worker in workers or tuple(self.workers):
            worker.wait_for(partial(_is_ready, worker), "ready", seconds=READY_SECONDS)

    def kill(self, worker: WorkerProcess) -> None:
        """Kill one at once."""
        worker.kill()
        self.workers.remove(worker)
        self._tell()

    def stop(self, *workers: WorkerProcess) -> None:
        """Stop some in order, at the same time; each has to end with status 0."""
        with ThreadPoolExecutor(max(1, len(workers))) as pool:
            list(pool.map(WorkerProcess.stop, workers))
        for worker in workers:
            self.workers.remove(worker)
        self._tell()

    def dismiss(self, worker: WorkerProcess) -> None:
        """Stop one in order, however it ends: an earlier version may not know better."""
        worker.process.end(grace_seconds=STOP_SECONDS)
        self.workers.remove(worker)
        self._tell()

    def pause(self, worker: WorkerProcess) -> None:
        """Freeze one."""
        self.paused.add(worker.port)
        worker.pause()

    def resume(self, worker: WorkerProcess) -> None:
        """Let it go on."""
        worker.resume()
        self.paused.discard(worker.port)

    def spoken(self) -> Spoken:
        """Scrape all that can answer, together, and fence what they say."""
        answering = [worker for worker in self.workers if worker.port not in self.paused]
        with ThreadPoolExecutor(max(1, len(answering))) as pool:
            pages = pool.map(lambda worker: scrape(worker.address), answering)
            return fence([page for page in pages if page is not None])

    def owned(self, worker: WorkerProcess) -> int:
        """Return how many partitions a worker has taken over, 0 if it does not answer."""
        page = scrape(worker.address)
        if page is None:
            return 0
        return len({labels["partition"] for name, labels, _ in page.samples if name == "cxstream_table_keys"})

    def check_alive(self) -> None:
        """Raise AssertionError with its log if a worker has ended that nobody ended."""
        for worker in self.workers:
            assert worker.process.running, f"a worker ended with {worker.process.status}:\n{worker.log_tail()}"

    def end(self) -> None:
        """Kill what still runs."""
        for worker in list(self.workers):
            self.kill(worker)

    def _tell(self) -> None:
        beside = self.targets.with_suffix(".new")
        beside.write_text(json.dumps([{"targets": [worker.address for worker in self.workers]}]))
        beside.replace(self.targets)

    @contextmanager
    def watched(
        self, excess: Callable[[Spoken], list[str]], *, every_seconds: float = WATCH_SECONDS
    ) -> Iterator[list[Seen]]:
        """Scrape all the time, and collect what is seen; `excess` says what is shown that cannot be."""
        seen: list[Seen] = []
        ending = threading.Event()

        def watch() -> None:
            while not ending.is_set():
                at = time.monotonic()
                spoken = self.spoken()
                seen.append(Seen(at, len(spoken.covered), excess(spoken), spoken.generation))
                ending.wait(every_seconds)

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield seen
        finally:
            ending.set()
            thread.join()


def _is_ready(worker: WorkerProcess) -> bool:
    return worker.ask("/readyz").status == 200


def wait_until(condition: Callable[[], object], what: str, *, seconds: float = 120.0) -> None:
    """Wait until a condition holds; raises TimeoutError saying what was waited for."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        time.sleep(PAUSE_SECONDS)
