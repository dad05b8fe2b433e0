"""The quickstart for upstream teams is true: its commands are run in order, for real, and print what it shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import uuid
from pathlib import Path
from typing import NamedTuple

import pytest

from parts.broker import require_apache_kafka
from parts.processes import free_port

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "upstream" / "quickstart.md"
SECONDS = 400
DEAD_LETTERS = "cxstream dead-letters"

pytestmark = pytest.mark.slow


class Block(NamedTuple):
    """Commands of the page, and what it says they print (None: nothing is said)."""

    commands: str
    shown: str | None

    @property
    def replays(self) -> bool:
        """True if it needs the commands about dead letters."""
        return DEAD_LETTERS in self.commands


def blocks() -> list[Block]:
    """Return the commands of the page in order."""
    fences = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    found: list[Block] = []
    for kind, text in fences:
        if kind == "sh":
            found.append(Block(text, None))
        else:
            assert (kind, found[-1].shown) == ("text", None), "a shell block, then at most one with what it prints"
            found[-1] = found[-1]._replace(shown=text)
    return found


class Printed(NamedTuple):
    """What each block printed, by its number; those that were not run are absent."""

    by_block: dict[int, str]
    everything: str


@pytest.fixture(scope="module")
def printed(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Printed:
    """Run all blocks in one shell, with addresses and names of the test's own in place of the page's.

    Blocks about dead letters are left out where this version has no such command.
    """
    require_apache_kafka()
    folder = tmp_path_factory.mktemp("quickstart")
    (folder / "examples").symlink_to(ROOT / "examples")
    programs = folder / "bin"
    programs.mkdir()
    for command, arguments in (("cxstream", "-m cxstream"), ("python3", "")):
        (programs / command).write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n')
        (programs / command).chmod(0o755)
    name = f"quickstart-{uuid.uuid4().hex[:8]}"
    port, lines = str(free_port()), []
    for number, block in enumerate(blocks()):
        commands = block.commands.replace("localhost:9092", kafka).replace("9109", port)
        lines += [f"echo '@@@ {number}'", commands]
    environment = {
        **{variable: text for variable, text in os.environ.items() if not variable.startswith("CXSTREAM_")},
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "src"),
        "CXSTREAM_KAFKA_GROUP": name,
        "CXSTREAM_KAFKA_VERDICTS_TOPIC": f"{name}.verdicts",
        "CXSTREAM_KAFKA_TOPICS_TICKET": f"{name}.tickets",
        "CXSTREAM_KAFKA_TOPICS_DISPATCH": f"{name}.dispatch",
        "CXSTREAM_KAFKA_TOPICS_PARTS": f"{name}.parts",
    }
    script = folder / "quickstart.sh"
    script.write_text("trap 'kill $(jobs -p) 2>/dev/null' EXIT\n" + "\n".join(lines) + "\n")
    with (folder / "printed").open("wb") as out:
        subprocess.run(
            ["timeout", str(SECONDS), "bash", script],
            cwd=folder,
            env=environment,
            stdout=out,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    everything = (folder / "printed").read_text("utf-8").replace(f"{name}.", "cxstream.")
    parts = re.split(r"^@@@ (\d+)\n", everything, flags=re.MULTILINE)
    log = (folder / "worker.log").read_text("utf-8") if (folder / "worker.log").exists() else ""
    by_block = {int(number): text for number, text in zip(parts[1::2], parts[2::2], strict=True)}
    return Printed(by_block, everything + log[-4000:])


def says(shown: str, text: str) -> bool:
    """Tell whether text is what the page shows, where `...` stands for anything."""
    pattern = ".*".join(re.escape(piece) for piece in shown.split("..."))
    return re.fullmatch(pattern, text, re.DOTALL) is not None


def test_the_commands_print_what_the_page_shows(printed: Printed) -> None:
    """Every block of the quickstart runs, up to the last, and prints what stands below it."""
    found = blocks()
    for number, block in enumerate(found):
        if block.replays:
            continue
        assert number in printed.by_block, f"the page was not run to its end:\n{printed.everything}"
        if block.shown is not None:
            assert says(block.shown, printed.by_block[number]), (
                f"{block.commands}\nprinted\n{printed.by_block[number]}\nand not\n{block.shown}"
            )
    assert len([block for block in found if block.shown is not None]) >= 7


def test_the_dead_letter_is_found_and_replayed(printed: Printed) -> None:
    """What was rejected is listed, replayed, and then applied by the worker."""
    (found, replayed) = [number for number, block in enumerate(blocks()) if block.replays]
    assert "wrong_partition" in printed.by_block[found]
    last = printed.by_block[replayed].strip().splitlines()[-1]
    assert re.search(r'^cxstream_events_applied_total\{.*topic="dispatch"\} 5.0$', last), printed.everything


@pytest.mark.parametrize(
    ("shown", "text", "same"),
    [
        ("a ... c\n", "a b c\n", True),
        ("a ... c\n", "a b d\n", False),
        ("a\n", "a\nb\n", False),
        ("...x\n", "1\nx\n", True),
    ],
)
def test_what_is_shown_is_compared(shown: str, text: str, *, same: bool) -> None:
    """The comparison can fail: only `...` stands for something else."""
    assert says(shown, text) == same
