"""What the image runs, without an engine: wheel and locked dependencies, as its user, where nothing is written."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cxstream.demo.upstream import Delivery
from parts.confined import Contained, Installed, require_confinement
from parts.figures import wall_ms
from parts.images import image, project_version
from parts.poison import an_opening
from parts.producer import Job

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed() -> Iterator[Installed]:
    """Install what the Dockerfile installs, where uid 10001 may read it."""
    require_confinement()
    folder = Path(tempfile.mkdtemp(prefix="cxstream-image-"))
    folder.chmod(0o755)
    try:
        yield Installed(folder)
    finally:
        shutil.rmtree(folder)


def contained(installed: Installed, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a container of the image would."""
    command = installed.command(words, settings)
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_a_container_may_write_to_its_folder_alone(installed: Installed) -> None:
    """The confinement is one: uid 10001 without rights, in a file system that is only read but for its folder."""
    script = "id -u; touch here; touch /tmp/there || touch /var/tmp/there || touch /dev/shm/there || echo read-only"
    done = contained(installed, "sh", "-c", script)
    assert done.stdout.split() == ["10001", "read-only"], done.stderr
    assert not list(installed.data.iterdir()), "what it wrote was on its own tmpfs"


def test_the_image_has_what_the_commands_need(installed: Installed) -> None:
    """The program says the version of this tree, and reads its settings with nothing but the locked dependencies."""
    assert project_version() in contained(installed, "cxstream", "--version").stdout
    done = contained(installed, "cxstream", "config", CXSTREAM_KAFKA_BOOTSTRAP="kafka:9092")
    assert 'bootstrap = "kafka:9092"' in done.stdout, done.stderr


def test_the_image_runs_a_worker(installed: Installed, kafka: str, tmp_path: Path) -> None:
    """The image's own command becomes a worker that is well, reads events, and ends with 0 when it is stopped."""
    job = Job(kafka, "image")
    job.declare()
    with Contained(installed, job.settings(tmp_path), tmp_path / "log") as worker:
        now_ms = wall_ms()
        job.deliver([Delivery(now_ms, "ticket", an_opening(f"C{number}", now_ms)) for number in range(20)])
        worker.wait_for(lambda: worker.metrics().sum("cxstream_events_applied_total") == 20, "20 events are facts")
        status = Path(f"/proc/{worker.process.pid}/status").read_text()
        facts = dict(line.split(":\t", 1) for line in status.split("\n") if ":\t" in line)
        assert facts["Uid"].split() == ["10001"] * 4
        assert (facts["NoNewPrivs"], int(facts["CapBnd"], 16), int(facts["CapEff"], 16)) == ("1", 0, 0)
        asked = contained(installed, *image().health_check, CXSTREAM_HTTP_PORT=str(worker.port))
        assert asked.returncode == 0, asked.stderr
        worker.stop()
    asked = contained(installed, *image().health_check, CXSTREAM_HTTP_PORT=str(worker.port))
    assert asked.returncode != 0, "nobody is well who does not run"
