"""The demo's traffic for a stack that runs already says what is wrong where nobody takes it."""

from __future__ import annotations

import gc

import pytest
from click.testing import CliRunner

from cxstream.cli import main
from parts.processes import free_port


def test_without_brokers_it_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """`cxstream demo --to` where nobody listens ends with 1, the address, the topics there should be, and no more."""
    address = f"127.0.0.1:{free_port()}"
    done = CliRunner().invoke(main, ["demo", "--to", address])
    assert done.exit_code == 1
    assert done.output.startswith(f"Error: the brokers at {address} do not take the events")
    assert "cxstream.tickets, cxstream.dispatch, cxstream.parts" in done.output
    del done  # and with its traceback all that was left open
    gc.collect()
    assert "Unclosed" not in caplog.text


def test_a_port_that_is_none_is_refused() -> None:
    """`cxstream demo --port 99999` is a usage error with the range."""
    done = CliRunner().invoke(main, ["demo", "--port", "99999"])
    assert done.exit_code == 2
    assert "1<=x<=65535" in done.output
