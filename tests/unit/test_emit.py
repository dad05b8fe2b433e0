"""`cxstream emit` says what is wrong with how it was called before it asks a broker."""

from __future__ import annotations

import os

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
