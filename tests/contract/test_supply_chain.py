"""What the service is made of: every dependency is locked by hashes, and the bill of materials names them all."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "requirements" / "runtime.lock"


def locked(path: Path) -> dict[str, int]:
    """Return the packages of a lock, as name==version, with how many hashes each has."""
    found: dict[str, int] = {}
    name = ""
    for line in path.read_text().splitlines():
        if package := re.match(r"([A-Za-z0-9._-]+==[^ ;\\]+)", line):
            name = package[1]
            found[name] = 0
        found |= {name: found[name] + line.count("--hash=sha256:")} if name else {}
    return found


@pytest.mark.parametrize("name", ["runtime", "demo", "dev"])
def test_every_dependency_is_locked_by_hash(name: str) -> None:
    """An installation takes the files that were locked, or none."""
    packages = locked(ROOT / "requirements" / f"{name}.lock")
    assert packages
    assert [package for package, hashes in packages.items() if not hashes] == []


def test_the_bill_of_materials_names_all_that_is_locked(tmp_path: Path) -> None:
    """`make sbom` writes CycloneDX that it has validated, with every locked package, its version and its hashes."""
    file = tmp_path / "cxstream.cdx.json"
    subprocess.run([sys.executable, ROOT / "scripts" / "sbom", file], check=True)
    bill = json.loads(file.read_text())
    assert (bill["bomFormat"], bill["specVersion"], bill["metadata"]["component"]["name"]) == (
        "CycloneDX",
        "1.6",
        "cxstream",
    )
    listed = {f"{one['name']}=={one['version']}": one for one in bill["components"]}
    assert listed.keys() == locked(LOCK).keys()
    assert all(one["externalReferences"][0]["hashes"] for one in listed.values())


def audit_script() -> ModuleType:
    """Load scripts/audit."""
    loader = importlib.machinery.SourceFileLoader("audit", str(ROOT / "scripts" / "audit"))
    spec = importlib.util.spec_from_loader("audit", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        ({"dependencies": [{"name": "a", "version": "1", "vulns": []}]}, 0, "nothing is known of any package"),
        (
            {"dependencies": [{"name": "a", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]}]},
            1,
            "VULNERABLE some.lock: a 1: CVE-1, mended in 2",
        ),
        ({"dependencies": [{"name": "a", "skip_reason": "not found"}]}, 2, "AUDIT NOT DONE: 1 lookups failed"),
        ({"dependencies": []}, 2, "AUDIT NOT DONE"),
        (None, 2, "AUDIT NOT DONE"),
    ],
)
def test_an_audit_that_could_not_be_done_is_no_good_news(
    answer: object, status: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What could not be looked up is said and fails, as pip-audit itself does not."""
    script = audit_script()
    done = subprocess.CompletedProcess([], 0, json.dumps(answer) if answer else "", "no such host")
    monkeypatch.setattr(script.subprocess, "run", lambda *_args, **_options: done)
    monkeypatch.setattr(sys, "argv", ["audit", "some.lock"])
    assert script.main() == status
    assert said in capsys.readouterr().out
