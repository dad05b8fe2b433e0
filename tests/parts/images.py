"""What the Dockerfile says, read for tests that hold other files against it, or do what it does without an engine."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "deploy" / "docker" / "Dockerfile"
PINNED = re.compile(r"[a-z0-9][a-z0-9./-]*:v?\d+\.\d+\.\d+[\w.-]*(@sha256:[0-9a-f]{64})?")
"""An image by name and a tag that is a whole version; a digest may follow."""


class Instruction(NamedTuple):
    """One instruction of a Dockerfile: its keyword, and the rest of it in one line."""

    keyword: str
    rest: str


def project_version() -> str:
    """Return the version of the project, which is that of its image."""
    version: str = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    return version


def instructions(text: str) -> list[Instruction]:
    """Return the instructions of a Dockerfile in their order, lines that go on joined, comments left out."""
    lines = "\n".join(line for line in text.split("\n") if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", "", lines)
    return [Instruction(*line.split(None, 1)) for line in joined.split("\n") if line.strip()]


class FinalStage:
    """The image itself: what its last stage sets."""

    def __init__(self, text: str) -> None:
        """Read the text of a Dockerfile."""
        every = instructions(text)
        last = max(number for number, one in enumerate(every) if one.keyword == "FROM")
        self.instructions = every[last + 1 :]

    def of(self, keyword: str) -> list[str]:
        """Return the rest of every instruction of a kind."""
        return [one.rest for one in self.instructions if one.keyword == keyword]

    @property
    def environment(self) -> dict[str, str]:
        """The variables it sets."""
        return dict(pair for rest in self.of("ENV") for pair in re.findall(r"(\w+)=(\S+)", rest))

    @property
    def command(self) -> list[str]:
        """What a container of it runs."""
        return [word for keyword in ("ENTRYPOINT", "CMD") for rest in self.of(keyword) for word in json.loads(rest)]

    @property
    def user(self) -> str:
        """Whom it runs as: uid:gid."""
        return self.of("USER")[-1]

    @property
    def health_check(self) -> list[str]:
        """The command that says whether it is well."""
        words: list[str] = json.loads(self.of("HEALTHCHECK")[0].split("CMD", 1)[1])
        return words


def image() -> FinalStage:
    """Return the image of the repository."""
    return FinalStage(DOCKERFILE.read_text("utf-8"))
