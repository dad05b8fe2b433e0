"""deploy/docker/Dockerfile: hadolint finds no fault, what it copies is let through, what it promises is in it."""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from cxstream.config import Settings, variables
from parts.images import DOCKERFILE, PINNED, FinalStage, instructions, project_version
from parts.programs import run

ROOT = Path(__file__).resolve().parents[2]
IGNORE = ROOT / ".dockerignore"
TEXT = DOCKERFILE.read_text("utf-8")

Check = Callable[[str], list[str]]


def let_through(path: str, ignore: str) -> bool:
    """Tell whether a .dockerignore lets a path into the build: its last line that fits decides, as in Docker."""
    passes = True
    for line in ignore.split("\n"):
        pattern = line.strip().removeprefix("!").removeprefix("**/")
        if pattern and not pattern.startswith("#"):
            parts = path.split("/")
            above = ["/".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
            names = [*above, *(parts if line.strip().startswith("**/") else [])]
            if any(fnmatch(name, pattern) for name in names):
                passes = line.startswith("!")
    return passes


def copied() -> list[str]:
    """Return the sources of every COPY from the repository."""
    rests = [one.rest.split() for one in instructions(TEXT) if one.keyword == "COPY" and "--from" not in one.rest]
    return [source for *sources, _ in rests for source in sources]


# --- Each check returns what is wrong -------------------------------------------------------------------------------


def loose_bases(text: str) -> list[str]:
    """Tell base images without a tag that is a whole version."""
    every = instructions(text)
    given = dict(one.rest.split("=", 1) for one in every if one.keyword == "ARG" and "=" in one.rest)
    stages = {one.rest.split(" AS ")[1] for one in every if one.keyword == "FROM" and " AS " in one.rest}
    bases = [one.rest.split(" AS ")[0] for one in every if one.keyword == "FROM"]
    resolved = [re.sub(r"\$\{(\w+)\}", lambda found: given.get(found[1], ""), base) for base in bases]
    return [base for base in resolved if base not in stages and not PINNED.fullmatch(base)]


def unlocked(text: str) -> list[str]:
    """Tell installations that are not of a lock with hashes, or of the wheel built here without an index."""
    runs = " && ".join(one.rest for one in instructions(text) if one.keyword == "RUN")
    steps = [step for step in re.split(r"&&|;|\|\|", runs) if re.search(r"\bpip\b.* (install|wheel|download) ", step)]
    told = [
        step for step in steps if " install " in step and "--no-index" not in step and "--require-hashes" not in step
    ]
    told += [step for step in steps if " wheel " in step and "--no-build-isolation" not in step]
    return told if len(steps) == 4 else [*told, f"{len(steps)} installations"]


def broken_promises(text: str) -> list[str]:
    """Tell what the image does not do: run as 10001, say how it is and what it is, start the worker, hold no state."""
    last = FinalStage(text)
    wrong = []
    if last.of("USER") != ["10001:10001"]:
        wrong.append("user")
    if last.command != ["cxstream", "worker"]:
        wrong.append("command")
    path = urlsplit(
        "".join(re.findall(r"/livez|/readyz|/startupz", last.health_check[-1] if last.of("HEALTHCHECK") else ""))
    )
    if path.path != "/livez":
        wrong.append("health")
    port = str(Settings().http.port)
    if last.of("EXPOSE") != [port] or port not in last.of("HEALTHCHECK")[0]:
        wrong.append("port")
    labels = set(re.findall(r"org\.opencontainers\.image\.(\w+)=", " ".join(last.of("LABEL"))))
    if not labels >= {"title", "description", "licenses", "version", "revision"}:
        wrong.append("labels")
    if f"VERSION={project_version()}" not in last.of("ARG"):
        wrong.append("version")
    ours = {name for name in last.environment if name.startswith("CXSTREAM_")}
    if not ours <= variables() or last.of("WORKDIR") != [last.environment.get("CXSTREAM_DATA_FOLDER")]:
        wrong.append("settings")
    if last.of("VOLUME") or any("pip" in rest for rest in last.of("RUN")):
        wrong.append("state, or tools, in the image")
    return wrong


# --- And is shown to find it ----------------------------------------------------------------------------------------


def test_hadolint_finds_no_fault() -> None:
    """hadolint, with all its rules, says nothing; and it says something of a package that is not pinned."""
    done = run("hadolint", "--no-color", DOCKERFILE)
    assert (done.returncode, done.stdout) == (0, "")
    loose = TEXT.replace("WORKDIR /src\n", "WORKDIR /src\nRUN apt-get install gcc\n")
    assert "DL3008" in run("hadolint", "--no-color", "-", text=loose).stdout


MUTATIONS: list[tuple[Check, str, str]] = [
    (loose_bases, "python:3.11.13-slim-bookworm", "python:3.11-slim"),
    (loose_bases, "python:3.11.13-slim-bookworm", "python"),
    (loose_bases, "FROM ${PYTHON}\n", "FROM debian:latest\n"),
    (unlocked, " --require-hashes -r requirements/runtime.lock", " -r requirements/runtime.lock"),
    (unlocked, " --no-index dist", " dist"),
    (unlocked, " --no-build-isolation", ""),
    (unlocked, "WORKDIR /src\n", "WORKDIR /src\nRUN pip install --require-hashes -r more.lock\n"),
    (broken_promises, "USER 10001:10001\n", ""),
    (broken_promises, "USER 10001:10001\n", "USER root\n"),
    (broken_promises, '["worker"]', '["demo"]'),
    (broken_promises, "/livez", "/metrics"),
    (broken_promises, "EXPOSE 9109", "EXPOSE 8080"),
    (broken_promises, "image.revision", "image.other"),
    (broken_promises, "CXSTREAM_DATA_FOLDER=", "CXSTREAM_FOLDER="),
    (broken_promises, "ARG VERSION=", "ARG VERSION=9."),
    (broken_promises, "EXPOSE", "VOLUME /data\nEXPOSE"),
]


@pytest.mark.parametrize("check", [loose_bases, unlocked, broken_promises], ids=lambda check: check.__name__)
def test_nothing_is_wrong(check: Check) -> None:
    """Base images are pinned, everything installed is locked, and the image is what it says."""
    assert check(TEXT) == []


@pytest.mark.parametrize(("check", "from_text", "to_text"), MUTATIONS)
def test_what_is_wrong_is_found(check: Check, from_text: str, to_text: str) -> None:
    """Each check above finds each of these mistakes."""
    assert from_text in TEXT
    assert check(TEXT.replace(from_text, to_text)) != []


def test_the_build_gets_what_it_copies_and_nothing_else() -> None:
    """Every source of a COPY is there and let through; the history, the tests and secrets stay outside."""
    ignore = IGNORE.read_text("utf-8")
    for source in copied():
        assert (ROOT / source).exists(), source
        assert let_through(source, ignore), source
    assert let_through("src/cxstream/worker.py", ignore)
    outside = (".git/config", ".venv/bin/python", "tests/cases.py", "deploy/compose/secrets/erasure_key", "pip.conf")
    for path in (*outside, "src/cxstream/__pycache__/worker.cpython-311.pyc"):
        assert not let_through(path, ignore), path
    assert not let_through("src/cxstream/worker.py", ignore.replace("!src\n", "")), "and so it can fail"


def test_the_build_lock_pins_what_the_development_lock_does() -> None:
    """The wheel in the image is built by what builds it everywhere else, version by version and hash by hash."""
    pinned = {file: _pins(ROOT / "requirements" / f"{file}.lock") for file in ("build", "dev")}
    assert {"hatchling", "editables"} <= set(pinned["build"])
    assert pinned["build"] == {name: pin for name, pin in pinned["dev"].items() if name in pinned["build"]}


def _pins(lock: Path) -> dict[str, tuple[str, ...]]:
    found = re.findall(r"^([\w.-]+)==(\S+).*\\\n((?:    --hash=\S+.*\n)+)", lock.read_text("utf-8"), re.MULTILINE)
    return {name: (version, *re.findall(r"sha256:\w+", hashes)) for name, version, hashes in found}
