"""A real Apache Kafka for tests: KRaft brokers as subprocesses, which can be killed, paused and restarted."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
import uuid
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from .processes import ServerFailedError, ServerProcess, accepts, free_port

ROOT = Path(__file__).resolve().parents[2]
LIBS = ROOT / ".cache" / "kafka" / "libs"
FETCH = ROOT / "scripts" / "fetch-kafka"
LOG4J = ROOT / "scripts" / "kafka" / "log4j2.properties"

OLDEST_JAVA = 17
START_SECONDS = 60.0
STOP_SECONDS = 20.0
# C1 only: tests never run long enough for C2. -Xlog:disable: an archive that does not fit is no news, only slower.
JVM = (
    *("-Xms128m", "-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"),
    *("-Xshare:auto", "-Xlog:disable", "-Djava.awt.headless=true"),
)

Property = str | int | float | bool | Path


class KafkaUnavailableError(RuntimeError):
    """Apache Kafka cannot be run here; the message says what is missing."""


@dataclass(frozen=True)
class Java:
    """A Java that can run Kafka, and the version it says it is."""

    path: Path
    version: str


def find_java() -> Java:
    """Return a `java` of version 17 or later, from JAVA_HOME or the PATH; raise KafkaUnavailableError without one."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which(Path(home, "bin", "java")) if home else None
    found = found or shutil.which("java")
    if found is None:
        raise KafkaUnavailableError(f"no java on the PATH (Apache Kafka needs {OLDEST_JAVA} or later)")
    said = subprocess.run([found, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(?:1\.)?(\d+)', said)
    if version is None or int(version[1]) < OLDEST_JAVA:
        raise KafkaUnavailableError(f"{found} is too old (Apache Kafka needs Java {OLDEST_JAVA} or later)")
    return Java(Path(found), said)


def libraries_present() -> bool:
    """Tell whether the broker's jars are in .cache/kafka/libs already."""
    return (LIBS / ".complete").is_file()


def fetch_libraries() -> Path:
    """Return the folder with the broker's jars, fetched with Maven where needed; raise KafkaUnavailableError."""
    done = subprocess.run([FETCH], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise KafkaUnavailableError(done.stderr.strip() or f"{FETCH} failed")
    return LIBS


class ClassArchive:
    """Kafka's loaded classes in a file, which a checkout's first broker writes: the next ones start twice as fast.

    The JVM checks that the file fits its version and the jars, and does without it otherwise.
    """

    def __init__(self, java: Java, libs: Path, folder: Path) -> None:
        """Choose the file's name by the Java and the jars it is good for."""
        good_for = java.version + (libs / ".complete").read_text()
        self._file = libs.parent / f"classes-{zlib.crc32(good_for.encode()):08x}.jsa"
        self._fresh = folder / "classes.jsa"
        self.writing = False

    def read_options(self) -> Sequence[str]:
        """JVM options to read the archive; none while there is none."""
        return (f"-XX:SharedArchiveFile={self._file}",) if self._file.is_file() else ()

    def write_options(self) -> Sequence[str]:
        """JVM options to write the archive at exit."""
        if self.writing:  # one broker's first run is enough
            return ()
        self.writing = True
        return (f"-XX:ArchiveClassesAtExit={self._fresh}",)

    def keep(self) -> None:
        """Put the archive where the next brokers find it, if one was written."""
        self.writing = False
        if self._fresh.is_file():
            beside = self._file.with_suffix(f".{os.getpid()}")
            shutil.move(self._fresh, beside)
            beside.replace(self._file)


class KafkaNode:
    """One broker that is also a controller: its ports, its storage and the process that runs on them."""

    def __init__(self, number: int, folder: Path) -> None:
        """Reserve two ports and a folder; nothing runs yet."""
        self.number = number
        self.folder = folder
        self.port = free_port()
        self.controller_port = free_port()
        self.listeners: dict[str, int] = {}
        """Ports of further listeners, by name."""
        self.process: ServerProcess | None = None
        folder.mkdir(parents=True)

    @property
    def address(self) -> str:
        """Where clients reach this broker, host:port."""
        return f"127.0.0.1:{self.port}"

    @property
    def settings(self) -> Path:
        """The broker's server.properties."""
        return self.folder / "server.properties"

    @property
    def running(self) -> bool:
        """True while the process of this broker lives, paused or not."""
        return self.process is not None and self.process.running


class ApacheKafka:
    """An Apache Kafka cluster of one or three KRaft brokers on 127.0.0.1; a context manager.

    `with ApacheKafka() as kafka: ... kafka.bootstrap ...`. Topics are not created by themselves. Methods that take a
    `broker` act on that one (counted from 1), and on every broker without it. They block: from a coroutine call them
    with `asyncio.to_thread`.
    """

    def __init__(
        self,
        brokers: int = 1,
        properties: Mapping[str, Property] | None = None,
        *,
        folder: Path | None = None,
        listeners: Mapping[str, str] | None = None,
        scram: Sequence[str] = (),
    ) -> None:
        """Prepare `brokers` (1 or 3) with extra broker `properties`; storage is in `folder`, or in a temporary one.

        `listeners` are further ones, on localhost, by name in capitals with their protocol; `scram` are users to
        create, as kafka-storage.sh takes them.
        Raises ValueError for another number, KafkaUnavailableError where Java or the jars cannot be had.
        """
        if brokers not in {1, 3}:
            raise ValueError(f"a cluster has 1 or 3 brokers, not {brokers}")
        self._java = find_java()
        self._libs = fetch_libraries()
        self._temporary = folder is None
        self.folder = Path(tempfile.mkdtemp(prefix="cxstream-kafka-")) if folder is None else folder
        self.cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        self.nodes = [KafkaNode(number, self.folder / f"broker-{number}") for number in range(1, brokers + 1)]
        self._listeners = dict(listeners or {})
        self._scram = tuple(scram)
        for node in self.nodes:
            node.listeners = {name: free_port() for name in self._listeners}
        self._properties = dict(properties or {})
        self._formatted = False
        self._archive = ClassArchive(self._java, self._libs, self.folder)

    @property
    def bootstrap(self) -> str:
        """The addresses of all brokers, as `bootstrap_servers` takes them."""
        return ",".join(node.address for node in self.nodes)

    def bootstrap_of(self, listener: str) -> str:
        """Return the addresses of a further listener."""
        return ",".join(f"localhost:{node.listeners[listener]}" for node in self.nodes)

    def start(self) -> Self:
        """Format the storage where it is new, start every broker that is down and wait until the cluster answers.

        Raises ServerFailedError with the broker's last log lines when it does not answer within START_SECONDS.
        """
        if not self._formatted:
            self._format()
        for node in self.nodes:
            if not node.running:
                self._launch(node)
        self._wait()
        return self

    def stop(self, broker: int | None = None) -> None:
        """Shut down in order (SIGTERM), keep the storage; killed after STOP_SECONDS."""
        # Together: the last of three would otherwise wait in vain for a controller quorum.
        threads = [
            threading.Thread(target=node.process.end, kwargs={"grace_seconds": STOP_SECONDS})
            for node in self._chosen(broker)
            if node.process is not None
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._archive.keep()

    def kill(self, broker: int | None = None) -> None:
        """Kill at once (SIGKILL), as a power cut would; keep the storage."""
        for node in self._chosen(broker):
            if node.process is not None:
                node.process.end(grace_seconds=0)

    def restart(self, broker: int | None = None) -> Self:
        """Stop in order if still running, start again on the same storage and ports, wait until the cluster answers."""
        self.stop(broker)
        for node in self._chosen(broker):
            self._launch(node)
        self._wait()
        return self

    def pause(self, broker: int | None = None) -> None:
        """Freeze (SIGSTOP): connections stay open and nothing answers."""
        for node in self._chosen(broker):
            if node.process is not None:
                node.process.pause()

    def resume(self, broker: int | None = None) -> None:
        """Let a paused broker go on (SIGCONT)."""
        for node in self._chosen(broker):
            if node.process is not None:
                node.process.resume()

    def close(self) -> None:
        """End what still runs and remove temporary storage; the object is of no use after."""
        if self._archive.writing:
            self.stop()  # a killed JVM writes no archive
        self.kill()
        if self._temporary:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        """Start the cluster."""
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the cluster, in general by killing it: nobody reads its storage again."""
        self.close()

    def _chosen(self, broker: int | None) -> list[KafkaNode]:
        return self.nodes if broker is None else [self.nodes[broker - 1]]

    def _settings(self, node: KafkaNode) -> dict[str, Property]:
        copies = len(self.nodes)
        return {
            "process.roles": "broker,controller",
            "node.id": node.number,
            "controller.quorum.voters": ",".join(f"{n.number}@127.0.0.1:{n.controller_port}" for n in self.nodes),
            "listeners": ",".join(
                [
                    f"CLIENT://{node.address}",
                    f"CONTROLLER://127.0.0.1:{node.controller_port}",
                    *(f"{name}://127.0.0.1:{port}" for name, port in node.listeners.items()),
                ]
            ),
            "advertised.listeners": ",".join(
                [f"CLIENT://{node.address}", *(f"{name}://localhost:{port}" for name, port in node.listeners.items())]
            ),
            "listener.security.protocol.map": ",".join(
                f"{name}:{protocol}"
                for name, protocol in {"CLIENT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT", **self._listeners}.items()
            ),
            "inter.broker.listener.name": "CLIENT",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": node.folder / "data",
            "auto.create.topics.enable": "false",
            "default.replication.factor": copies,
            "min.insync.replicas": min(copies, 2),
            "offsets.topic.num.partitions": 4,
            "offsets.topic.replication.factor": copies,
            "transaction.state.log.num.partitions": 4,
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": min(copies, 2),
            "share.coordinator.state.topic.num.partitions": 1,
            "share.coordinator.state.topic.replication.factor": copies,
            "share.coordinator.state.topic.min.isr": min(copies, 2),
            "group.initial.rebalance.delay.ms": 0,
            "group.min.session.timeout.ms": 500,
            "group.coordinator.threads": 1,
            "num.network.threads": 2,
            "num.io.threads": 2,
            "log.cleaner.dedupe.buffer.size": 8 << 20,
            "metadata.log.dir": node.folder / "data",
            # Tests wait for fail-over: notice a dead broker or controller in about two seconds, not ten.
            "broker.heartbeat.interval.ms": 200,
            "broker.session.timeout.ms": 2_000,
            "controller.quorum.election.timeout.ms": 500,
            "controller.quorum.election.backoff.max.ms": 200,
            "controller.quorum.fetch.timeout.ms": 1_500,
            **self._properties,
        }

    def _java_command(self, main: str, *arguments: str | Path, options: Sequence[str] = ()) -> list[str | Path]:
        return [
            self._java.path,
            *JVM,
            *options,
            f"-Dlog4j2.configurationFile={LOG4J}",
            "-cp",
            f"{self._libs}/*",
            main,
            *arguments,
        ]

    def _format(self) -> None:
        for node in self.nodes:
            lines = (f"{name}={_spelled(value)}\n" for name, value in self._settings(node).items())
            node.settings.write_text("".join(lines))
        runs = [
            subprocess.Popen(
                self._java_command(
                    "kafka.tools.StorageTool",
                    "format",
                    f"--cluster-id={self.cluster_id}",  # with `=`, because an id may begin with a dash
                    "-c",
                    node.settings,
                    *(argument for user in self._scram for argument in ("--add-scram", user)),
                    options=self._archive.read_options(),
                ),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for node in self.nodes
        ]
        said = [run.communicate(timeout=START_SECONDS)[0] for run in runs]
        for run, words in zip(runs, said, strict=True):
            if run.returncode != 0:
                raise ServerFailedError(f"Kafka's storage could not be formatted:\n{words}")
        self._formatted = True

    def _launch(self, node: KafkaNode) -> None:
        options = self._archive.read_options() or (self._archive.write_options() if len(self.nodes) == 1 else ())
        command = self._java_command("kafka.Kafka", node.settings, options=options)
        node.process = ServerProcess(command, node.folder / "broker.log")

    def _wait(self) -> None:
        """Wait until every broker that runs lists them all and, if none is down, every replica is in sync."""
        up = [node for node in self.nodes if node.running]
        deadline = time.monotonic() + START_SECONDS
        while True:
            for node in up:
                if node.process is not None and not node.running:
                    raise ServerFailedError(
                        f"Kafka broker {node.number} ended while starting:\n{node.process.log_tail()}"
                    )
            if all(accepts(node.port) for node in up) and _settled(up, in_sync=len(up) == len(self.nodes)):
                return
            if time.monotonic() > deadline:
                tails = "\n".join(node.process.log_tail() for node in up if node.process)
                raise ServerFailedError(f"Kafka did not answer within {START_SECONDS:.0f} s:\n{tails}")
            time.sleep(0.05)


def _spelled(value: Property) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _settled(nodes: list[KafkaNode], *, in_sync: bool) -> bool:
    """Ask each of these brokers whether it knows them all and, with `in_sync`, a leader and all replicas everywhere."""

    async def ask(node: KafkaNode) -> bool:
        client = AIOKafkaAdminClient(bootstrap_servers=node.address, request_timeout_ms=3_000)
        try:
            await client.start()
            if len((await client.describe_cluster())["brokers"]) < len(nodes):
                return False
            partitions = [p for topic in await client.describe_topics() for p in topic["partitions"]]
            return not in_sync or all(p["leader"] >= 0 and len(p["isr"]) == len(p["replicas"]) for p in partitions)
        except (KafkaError, OSError, TimeoutError):
            return False
        finally:
            await client.close()

    async def ask_all() -> bool:
        return all(await asyncio.gather(*(ask(node) for node in nodes)))

    answers: list[bool] = []
    # In a thread of its own: the caller may be inside a running event loop.
    thread = threading.Thread(target=lambda: answers.append(asyncio.run(ask_all())))
    thread.start()
    thread.join()
    return answers == [True]
