"""`make stack` as somebody runs it: everything is up and looks at each other, and nothing of it is left."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from parts.alertmanager import alerts_of, require_alertmanager
from parts.broker import require_apache_kafka
from parts.processes import accepts
from parts.prometheus import require_prometheus
from parts.stack import Stack

pytestmark = [pytest.mark.slow, pytest.mark.kafka]

ROOT = Path(__file__).resolve().parents[2]
FIGURES_SECONDS = 180.0


def port_of(url: str) -> int:
    """Return the port of a URL or an address."""
    return int(re.findall(r":(\d+)", url)[-1])


def test_the_stack_shows_the_main_job_and_ends_whole(tmp_path: Path) -> None:
    """Two workers cover all partitions, figures are trusted, alerts reach Alertmanager; then all ports are shut."""
    require_apache_kafka()
    require_prometheus()
    require_alertmanager()
    with Stack(tmp_path, days=3, interval="2s") as stack:
        assert stack.broker == "Apache Kafka"
        prometheus = stack.prometheus
        trusted = 'job:cxstream_vital_sign_good_per_units:trusted{vital_sign="first_time_fix",window="24h"}'
        prometheus.wait_for(trusted, seconds=FIGURES_SECONDS)
        # Not at every instant: of a worker that answered one scrape too late nothing is known until the next.
        prometheus.wait_for("count(cxstream_partitions_expected) == 2", seconds=FIGURES_SECONDS)
        prometheus.wait_for("job:cxstream_partitions_covered:ratio == 1", seconds=FIGURES_SECONDS)
        deadline = time.monotonic() + FIGURES_SECONDS
        while "Watchdog" not in (told := {alert["labels"]["alertname"] for alert in alerts_of(stack.alertmanager)}):
            assert time.monotonic() < deadline, told
            time.sleep(0.2)
        stack.check()
        ports = {port_of(url) for url in (stack.bootstrap, *stack.urls().values())}
        assert all(accepts(port) for port in ports)
    assert not any(accepts(port) for port in ports)


def test_a_stack_that_is_hung_up_on_leaves_nothing() -> None:
    """Without Apache Kafka it says so and runs one worker on the embedded broker; a closed terminal ends all of it."""
    require_prometheus()
    require_alertmanager()
    command = [sys.executable, "-m", "parts.stack", "--embedded"]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'tests'}:{ROOT / 'src'}"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, start_new_session=True
    ) as stack:
        assert stack.stdout is not None
        said = []
        for line in stack.stdout:
            said.append(line)
            if "Ctrl-C" in line:
                break
        stack.send_signal(signal.SIGHUP)
        said += stack.stdout.readlines()
    text = "".join(said)
    assert stack.returncode == 0, text
    assert "the embedded broker" in text
    assert text.count("worker ") == 1
    assert text.endswith("everything it started has ended\n")
    ports = {int(port) for port in re.findall(r"127\.0\.0\.1:(\d+)", text)}
    assert len(ports) == 4
    assert not any(accepts(port) for port in ports)
