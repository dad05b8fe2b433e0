"""`cxstream dead-letters` refuses what it would find nothing by."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from cxstream.cli import main
from cxstream.dead_letters.running import KNOWN_REASONS, reasons_of

PAGE = Path(__file__).resolve().parents[2] / "docs" / "upstream" / "dead-letters.md"


@pytest.mark.parametrize("command", ["list", "replay", "park"])
def test_a_misspelt_reason_is_refused(command: str) -> None:
    """A reason no letter has is a usage error that lists those there are, the nearest last; no broker is asked."""
    result = CliRunner().invoke(main, ["dead-letters", command, "--reason", "future,unknown_shema"])
    assert result.exit_code == 2
    said = " ".join(result.stderr.split())
    assert "--reason: no letter is rejected for unknown_shema: expected empty, too_large," in said
    assert said.endswith("did you mean unknown_schema?")


def test_every_reason_of_the_page_is_taken() -> None:
    """The reasons docs/upstream/dead-letters.md explains, and that of letters that state none, are those taken."""
    rows = re.findall(r"^\| (`.*?) \|", PAGE.read_text("utf-8"), re.MULTILINE)
    explained = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert explained | {"unknown"} == set(KNOWN_REASONS)
    assert reasons_of(["future, invalid", "empty"]) == ("future", "invalid", "empty")
