"""The image without an engine: its wheel and locked dependencies, its user, a root file system that is only read."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import pytest

from .images import ROOT, image, instructions
from .processes import ServerProcess
from .programs import program
from .worker import PREFIX, WorkerProcess

INSTALLED_AT, WRITES_TO = "/opt/cxstream", "/var/lib/cxstream"
"""Where the image has them; here they are in a folder."""
# Mounts: a tmpfs to write to, everything else only to be read; and where the interpreter lives in a home that only its
# owner may enter, a home with nothing but the interpreter. Then the rights go, and the process is the container's.
_CONFINE = """\
folder=$1; python=$2; home=$3; user=$4; group=$5; shift 5
if [ -n "$home" ]; then
  mount --bind "$python" "$folder"
  mount -t tmpfs -o mode=0755 tmpfs "$home"
  mkdir -p "$python"
  mount --move "$folder" "$python"
fi
mount -t tmpfs -o "uid=$user,gid=$group,mode=0700" tmpfs "$folder"
for place in / /tmp /var/tmp /dev/shm /run; do
  ! mountpoint -q "$place" || mount -o remount,bind,ro "$place"
done
cd "$folder"
exec setpriv --reuid="$user" --regid="$group" --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all "$@"
"""


def require_confinement() -> None:
    """Skip the test, saying why, where nobody can be confined: it takes root, mount namespaces and util-linux."""
    if os.geteuid() != 0 or not shutil.which("setpriv") or not shutil.which("unshare"):
        pytest.skip("needs root, unshare and setpriv, to be uid 10001 in a read-only file system")
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("needs mount namespaces, to be uid 10001 in a read-only file system")


class Installed:
    """What the Dockerfile installs, in a folder that every user may read."""

    def __init__(self, folder: Path) -> None:
        """Build the wheel of what the Dockerfile copies, and install it with the runtime lock in a new environment.

        Raises CalledProcessError, with what was printed, when a dependency is not in the lock or has no wheel.
        """
        self.environment = folder / "opt"
        self.data = folder / "data"
        self.data.mkdir()
        sources = folder / "src"
        for one in instructions((ROOT / "deploy" / "docker" / "Dockerfile").read_text("utf-8")):
            if one.keyword == "COPY" and "--from" not in one.rest:
                *copied, target = one.rest.split()
                for source in copied:
                    _copy(ROOT / source, sources / target if len(copied) == 1 else sources / target / Path(source).name)
        python = [sys.executable, "-m"]
        _run(*python, "venv", "--without-pip", self.environment)
        install = (
            program("uv"),
            "pip",
            "install",
            "--quiet",
            "--python",
            self.environment / "bin" / "python",
            "--no-deps",
        )
        lock = sources / "requirements" / "runtime.lock"
        _run(*install, "--only-binary", ":all:", "--require-hashes", "-r", lock)
        wheel = (*python, "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-deps", "--no-build-isolation")
        _run(*wheel, "--wheel-dir", folder / "dist", sources)
        _run(*install, "--no-index", *(folder / "dist").glob("*.whl"))

    def command(self, words: Sequence[str], settings: Mapping[str, str]) -> list[str | Path]:
        """Return a command that runs `words` as a container of the image would, with these variables and its own."""
        variables = {
            name: value.replace(INSTALLED_AT, str(self.environment)).replace(WRITES_TO, str(self.data))
            for name, value in image().environment.items()
        }
        variables["PATH"] = variables["PATH"].replace("${PATH}", os.defpath)
        stated = [f"{name}={value}" for name, value in (variables | dict(settings)).items()]
        user, group = image().user.split(":")
        confine = ["unshare", "--mount", "--propagation", "private", "sh", "-euc", _CONFINE, "sh"]
        python = Path(sys.base_prefix)
        closed = [str(above) for above in reversed(python.parents) if not above.stat().st_mode & 0o001]
        return [*confine, self.data, python, next(iter(closed), ""), user, group, "env", "-i", *stated, *words]


class Contained(WorkerProcess):
    """A worker as a container of the image runs it."""

    def __init__(self, installed: Installed, settings: Mapping[str, str], log: Path) -> None:
        """Prepare; settings that the image sets stay the image's."""
        ours = {name: value for name, value in settings.items() if name not in image().environment}
        super().__init__(ours, log)
        self.installed = installed

    def launch(self) -> Self:
        """Start the image's own command and return at once."""
        variables = {**self.settings, f"{PREFIX}HTTP_PORT": str(self.port)}
        self._process = ServerProcess(self.installed.command(image().command, variables), self.log)
        return self


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    else:
        shutil.copy(source, target)


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, f"{' '.join(map(str, command))}:\n{done.stdout}{done.stderr}"
