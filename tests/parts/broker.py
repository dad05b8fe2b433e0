"""Decides, once for a test run, which Kafka broker its tests talk to, and says so in one line."""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from .apache_kafka import ApacheKafka, KafkaUnavailableError, find_java, libraries_present

BOOTSTRAP_VARIABLE = "CXSTREAM_TEST_BOOTSTRAP"


@dataclass(frozen=True)
class BrokerChoice:
    """The broker of this run: one that is running elsewhere, Apache Kafka, or the embedded one."""

    kind: Literal["given", "apache", "embedded"]
    line: str
    bootstrap: str | None = None
    """Address of a given broker, else None: it is not running yet."""
    apache_missing: str | None = None
    """Why Apache Kafka cannot be run here; None where it can."""


def _apache_missing() -> str | None:
    try:
        find_java()
    except KafkaUnavailableError as lack:
        return str(lack)
    if libraries_present() or shutil.which("mvn"):
        return None
    return "Apache Kafka is not in .cache/kafka and there is no mvn to fetch it with"


@functools.cache
def test_broker() -> BrokerChoice:
    """Choose CXSTREAM_TEST_BOOTSTRAP, else Apache Kafka where Java 17 and its jars or Maven are, else the embedded."""
    missing = _apache_missing()
    given = os.environ.get(BOOTSTRAP_VARIABLE)
    if given:
        return BrokerChoice("given", f"broker tests use {given} ({BOOTSTRAP_VARIABLE})", given, missing)
    if missing is None:
        return BrokerChoice("apache", "broker tests use Apache Kafka, started for this run")
    return BrokerChoice("embedded", f"broker tests use the embedded broker: {missing}", None, missing)


test_broker.__test__ = False  # type: ignore[attr-defined] # a question, not a test: pytest must not collect it


@contextmanager
def started(choice: BrokerChoice) -> Iterator[str]:
    """Run the chosen broker, fresh and empty unless given, and yield its bootstrap address.

    Raises what the broker raises when it does not start: a test run without its broker has failed.
    """
    if choice.kind == "given":
        assert choice.bootstrap is not None
        yield choice.bootstrap
    elif choice.kind == "apache":
        with ApacheKafka() as kafka:
            yield kafka.bootstrap
    else:
        from cxstream.demo.embedded import DemoExtraMissingError, EmbeddedBroker

        with tempfile.TemporaryDirectory(prefix="cxstream-embedded-") as folder:
            try:
                broker = EmbeddedBroker(Path(folder))
            except DemoExtraMissingError as lack:
                pytest.skip(f"no broker to test against: {choice.apache_missing}; and {lack}")
            with broker:
                yield broker.bootstrap


def require_apache_kafka() -> None:
    """Skip the test, saying why, where Apache Kafka cannot be run; where it should run, failing is up to the start."""
    missing = test_broker().apache_missing
    if missing is not None:
        pytest.skip(f"needs Apache Kafka: {missing}")
