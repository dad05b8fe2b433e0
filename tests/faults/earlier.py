"""Workers of an earlier version: from a wheel, in a virtual environment of their own."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from random import Random

from .trial import Trial

REPOSITORY = Path(__file__).resolve().parents[2]
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")


def wheel_of(version: str, folder: Path) -> Path:
    """Return a wheel: the file named, or one built from a git ref of this repository (with what is installed here)."""
    if version.endswith(".whl"):
        return Path(version)
    sources = folder / "sources"
    sources.mkdir(parents=True)
    archive = subprocess.run(["git", "archive", version], cwd=REPOSITORY, capture_output=True, check=True).stdout
    subprocess.run(["tar", "-x"], cwd=sources, input=archive, check=True)
    subprocess.run([*PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, sources], check=True)
    return next(folder.glob("*.whl"))


def venv_of(wheel: Path, folder: Path) -> Path:
    """Install a wheel in a new virtual environment, over what this one has installed; return its Python."""
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    where = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    subprocess.run([*PIP, "install", "--no-deps", "--target", where, wheel.resolve()], check=True)
    # After the wheel: everything it depends on.
    (Path(where) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def upgrade(trial: Trial, dice: Random) -> None:
    """Workers of an earlier version are replaced by those of this one, one after the other."""
    earlier = tuple(trial.fleet.workers)
    trial.fleet.python = None
    for worker in earlier:
        trial.fleet.dismiss(worker)
        trial.fleet.ready(*trial.fleet.launch())
