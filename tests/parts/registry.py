"""A real schema registry for tests: Apicurio Registry as a subprocess, in memory, over TLS, by the Confluent API."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from .apache_kafka import JVM, KafkaUnavailableError, find_java
from .processes import ServerFailedError, ServerProcess, free_port

ROOT = Path(__file__).resolve().parents[2]
APP = ROOT / ".cache" / "registry" / "app"
FETCH = ROOT / "scripts" / "fetch-registry"
START_SECONDS = 90.0
API = "/apis/ccompat/v7"


def require_registry() -> None:
    """Skip the test, saying why, where the registry cannot be run; where it should run, failing is up to the start."""
    try:
        find_java()
    except KafkaUnavailableError as lack:
        pytest.skip(f"needs a schema registry: {lack}")
    if not (APP / ".complete").is_file() and shutil.which("mvn") is None:
        pytest.skip("needs a schema registry: Apicurio is not in .cache/registry and there is no mvn to fetch it with")


@contextmanager
def running_registry() -> Iterator[tuple[str, Path]]:
    """Run a registry, empty, and yield its URL (https) and the authority (PEM) its certificate is of.

    Raises ServerFailedError with the end of its log when it does not answer within START_SECONDS.
    """
    done = subprocess.run([FETCH], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ServerFailedError(done.stderr.strip())
    (jar,) = [*APP.glob("*-runner.jar"), *APP.glob("quarkus-run.jar")]
    folder = Path(tempfile.mkdtemp(prefix="cxstream-registry-"))
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    ca_file, cert_file, key_file = folder / "ca.pem", folder / "cert.pem", folder / "key.pem"
    authority.cert_pem.write_to_path(ca_file)
    certificate.cert_chain_pems[0].write_to_path(cert_file)
    certificate.private_key_pem.write_to_path(key_file)
    port = free_port()
    settings = {
        "quarkus.http.host": "127.0.0.1",
        "quarkus.http.insecure-requests": "disabled",
        "quarkus.http.ssl-port": str(port),
        "quarkus.http.ssl.certificate.files": str(cert_file),
        "quarkus.http.ssl.certificate.key-files": str(key_file),
        "quarkus.http.access-log.enabled": "false",
    }
    options = [f"-D{name}={value}" for name, value in settings.items()]
    command = [find_java().path, *JVM, *options, "-jar", jar]
    process = ServerProcess(command, folder / "registry.log")
    try:
        _wait(process, f"https://127.0.0.1:{port}{API}/subjects", ca_file)
        yield f"https://127.0.0.1:{port}{API}", ca_file
    finally:
        process.end(grace_seconds=0)
        shutil.rmtree(folder, ignore_errors=True)


def _wait(process: ServerProcess, url: str, ca_file: Path) -> None:
    context = ssl.create_default_context(cafile=str(ca_file))
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            urllib.request.urlopen(url, timeout=5, context=context).close()
        except (OSError, urllib.error.URLError):
            if not process.running or time.monotonic() > deadline:
                raise ServerFailedError(f"the registry did not answer:\n{process.log_tail()}") from None
            time.sleep(0.2)
        else:
            return
