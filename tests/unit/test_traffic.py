"""The demo's traffic for a stack that runs already says what is wrong where nobody takes it."""

from __future__ import annotations

from click.testing import CliRunner

from cxstream.cli import main
from parts.processes import free_port


def test_without_brokers_it_says_so() -> None:
    """`cxstream demo --to` where nobody listens ends with 1, the address, and the topics there should be."""
    address = f"127.0.0.1:{free_port()}"
    done = CliRunner().invoke(main, ["demo", "--to", address])
    assert done.exit_code == 1
    assert done.output.startswith(f"Error: the brokers at {address} do not take the events")
    assert "cxstream.tickets, cxstream.dispatch, cxstream.parts" in done.output
