"""The one-command demo, as a newcomer runs it."""

from __future__ import annotations

import importlib.util
import re
import signal
import subprocess
import sys
import time

import pytest

from parts.processes import accepts, free_port

pytestmark = pytest.mark.slow

needs_broker = pytest.mark.skipif(
    importlib.util.find_spec("noida_db") is None, reason="the demo extra (noida-db) is not installed"
)


def _demo(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "cxstream", "demo", *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


@needs_broker
def test_the_demo_shows_the_main_job_and_ends_by_itself() -> None:
    """`cxstream demo --seconds N` covers its partitions, counts all three signs and the poison, and exits 0."""
    with _demo("--seconds", "45", "--port", str(free_port())) as demo:
        output, _ = demo.communicate(timeout=180)
    assert demo.returncode == 0, output
    for sign in ("first_time_fix", "on_time_arrival", "stayed_fixed"):
        shown = re.search(rf"{sign}: [\d.]+% of ([\d,]+) in 24h", output)
        assert shown is not None, output
        assert int(shown[1].replace(",", "")) > 50
    assert "coverage 4/4" in output
    assert "the live page: http://127.0.0.1:" in output
    assert re.search(r"dead letters [1-9]", output), output


@needs_broker
def test_a_closed_terminal_leaves_nothing_running() -> None:
    """A demo that is hung up on stops its worker and its broker before it goes."""
    port = free_port()
    with _demo("--port", str(port)) as demo:
        deadline = time.monotonic() + 90
        while not accepts(port):
            assert demo.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.5)
        demo.send_signal(signal.SIGHUP)
        output, _ = demo.communicate(timeout=60)
    assert demo.returncode == 0, output
    assert not accepts(port)
