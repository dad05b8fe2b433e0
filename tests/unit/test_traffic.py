"""The demo's traffic for a stack that runs already says what is wrong where nobody takes it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

from cxstream.cli import main
from parts.processes import free_port

SOURCES = Path(__file__).resolve().parents[2] / "src"


def test_without_brokers_it_says_so() -> None:
    """`cxstream demo --to` where nobody listens ends with 1, the address, the topics there should be, and no trace."""
    address = f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "cxstream", "demo", "--to", address]
    environment = {**os.environ, "PYTHONPATH": str(SOURCES)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"Error: the brokers at {address} do not take the events" in done.stderr
    assert "cxstream.tickets, cxstream.dispatch, cxstream.parts" in done.stderr
    assert "Unclosed" not in done.stderr


def test_a_port_that_is_none_is_refused() -> None:
    """`cxstream demo --port 99999` is a usage error with the range."""
    done = CliRunner().invoke(main, ["demo", "--port", "99999"])
    assert done.exit_code == 2
    assert "1<=x<=65535" in done.output
