"""`cxstream emit` says what is wrong with how it was called before it asks a broker, and prints what it would send."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from cxstream.cli import main


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--case", ""), "'--case': expected non-empty text in UTF-8 of at most 1024 characters"),
        (("--case", os.fsdecode(b"\xff")), "'--case': expected non-empty text in UTF-8"),
        (("--case", "C" * 1025), "'--case': expected non-empty text in UTF-8"),
        (("--partition", "12"), "--partition: 12 is not a partition: expected 0 to 11 (kafka.partitions)"),
    ],
)
def test_a_wrong_option_is_named(options: tuple[str, ...], said: str) -> None:
    """A case no event can have and a partition no topic has are usage errors: status 2, and what is expected."""
    result = CliRunner().invoke(main, ["emit", "--sample", "ticket.opened", "--dry-run", *options])
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())


def test_a_dry_run_prints_what_would_be_sent(tmp_path: Path) -> None:
    """What a dry run prints is the events of the file as they are, the stated delivery too."""
    event = {"event_id": "1", "topic": "ticket", "type": "opened", "case_id": "C", "at": "2026-03-02T08:00:00Z"}
    events = [event, {**event, "event_id": "2", "seen": "2026-03-02T08:05:00Z"}]
    file = tmp_path / "events.ndjson"
    file.write_text("\n".join(map(json.dumps, events)))
    environment = {"CXSTREAM_KAFKA_TRUSTED_TOPICS": "cxstream.tickets"}
    result = CliRunner(env=environment).invoke(main, ["emit", str(file), "--dry-run"])
    assert [json.loads(line) for line in result.stdout.splitlines()] == events
