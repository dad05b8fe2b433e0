"""Public logs that are not in the repository: missed aloud, or surveyed once a run."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from functools import cache
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("CXSTREAM_TEST_SHARED", REPOSITORY.parent / "shared")) / "data"

Event = dict[str, Any]


def require_files(request: pytest.FixtureRequest, *paths: Path) -> None:
    """Skip, audibly, where a file is not on this machine."""
    missing = [str(path) for path in paths if not path.exists()]
    if not missing:
        return
    message = f"NOT PROVEN: {request.node.name}: no {', '.join(missing)}; set CXSTREAM_TEST_SHARED to the shared folder"
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled() if capture else nullcontext():
        sys.stderr.write(f"\n{message}\n")
    pytest.skip(message)


@cache
def load(path: str) -> ModuleType:
    """Load an adapter or a script, by its path in the repository; they are in no package."""
    file = REPOSITORY / path
    name = file.stem.replace("-", "_")
    spec = spec_from_loader(name, SourceFileLoader(name, str(file)))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def surveyed(name: str) -> Any:  # noqa: ANN401 - a Survey of the script, which no test can import
    """Return what scripts/real-data makes of a log; computed once a run, it takes seconds."""
    script = load("scripts/real-data")
    return script.survey(script.LOGS[name], DATA)
