"""Dead letters for tests, as a worker writes them, and the command that handles them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

from click.testing import CliRunner

from cxstream.cli import main
from cxstream.kafka.dead_letters import DeadLetter, Header, SourceRecord, dead_letter
from parts.ingress import an_event
from parts.messages import CODEC
from parts.producer import Job, Message
from parts.worker import SOURCES


class Spoilt(NamedTuple):
    """A record that was rejected, once."""

    event_id: str
    reason: str
    value: bytes
    key: bytes
    at_ms: int
    headers: tuple[Header, ...] = ()


def good(number: int, at_ms: int, reason: str = "unknown_schema", case_id: str | None = None) -> Spoilt:
    """Return a record that would be taken now: what was wrong with it has been mended."""
    case_id = case_id or f"C-{number % 97}"
    event = an_event(number, case_id=case_id, at_ms=at_ms)
    return Spoilt(event["event_id"], reason, CODEC.encode(event), case_id.encode(), at_ms)


def bad(number: int, at_ms: int) -> Spoilt:
    """Return a record that would be rejected again."""
    one = good(number, at_ms, "undecodable")
    return one._replace(value=b"{ not Avro " + str(number).encode())


def letter_of(job: Job, spoilt: Spoilt, offset: int = 0) -> DeadLetter:
    """Return the dead letter a worker writes of a record of the topic of tickets."""
    record = SourceRecord(
        job.topics["ticket"], 1, offset, spoilt.at_ms + 1000, spoilt.key, spoilt.value, list(spoilt.headers)
    )
    return dead_letter(record, spoilt.reason, f"{spoilt.reason}: expected better", worker_version="0.0.0")


def spoil(job: Job, spoilt: Iterable[Spoilt]) -> None:
    """Put dead letters on their topic, as if a worker had rejected them."""
    letters = [letter_of(job, one, offset) for offset, one in enumerate(spoilt)]
    job.produce(
        Message(one.topic, one.key, one.value, [(name, value or b"") for name, value in one.headers]) for one in letters
    )


class Ran(NamedTuple):
    """How a command ended, and what it printed."""

    status: int
    out: str
    err: str


def run(settings: Mapping[str, str], *arguments: str) -> Ran:
    """Run `cxstream dead-letters` in this process, whose logging stays as it is."""
    with patch("logging.config.dictConfig"):
        result = CliRunner().invoke(main, ["dead-letters", *arguments], env=dict(settings))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ran(result.exit_code, result.stdout, result.stderr)


def command(settings: Mapping[str, str], *arguments: str, status: int = 0) -> str:
    """Run `cxstream dead-letters`, check how it ends, and return what it prints; its standard error if it fails."""
    ran = run(settings, *arguments)
    assert ran.status == status, ran
    return ran.out if status == 0 else ran.err


def command_line(*arguments: str) -> list[str | Path]:
    """Return the command."""
    return [sys.executable, "-m", "cxstream", "dead-letters", *arguments]


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the variables it runs with."""
    return {"PATH": "/usr/bin:/bin", **settings, "PYTHONPATH": str(SOURCES)}


def told(settings: Mapping[str, str], *arguments: str) -> Any:  # noqa: ANN401 - JSON
    """Run `cxstream dead-letters ... --json` and return what it says."""
    return json.loads(command(settings, *arguments, "--json"))
