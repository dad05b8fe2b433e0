"""Programs that the development lock installs beside Python: the tests run these, not what else is on the PATH."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def program(name: str) -> Path:
    """Return a program of this virtual environment; AssertionError if the development lock is not installed in it."""
    found = Path(sys.prefix) / "bin" / name
    assert found.is_file(), f"{name} is not in {found.parent}: requirements/dev.lock is not installed"
    return found


def run(name: str, *arguments: str | Path, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program of this virtual environment, and return what it printed and its status."""
    command = [program(name), *arguments]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=120)
