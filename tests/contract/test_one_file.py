"""Adding a vital sign is adding one file: a copy of the package with one file more judges, shows and documents it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cases import arrived, opened, rfc3339, scheduled

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "cxstream"

SIGN = '''
"""seen_at_all: did anybody ever come?"""

from cxstream.domain.units import VISIT
from cxstream.domain.verdict import Judgement
from cxstream.domain.vital_sign import VitalSign


def judge(evidence, visit_id, _clock_ms, _policy):
    """Judge whether a visit was ever arrived at (rule 11)."""
    came = evidence.visits[visit_id].arrivals
    if not came:
        return Judgement("pending", "nobody_yet")
    return Judgement("hit", "somebody", came[0].at_ms, (came[0].event_id,))


VITAL_SIGN = VitalSign(
    name="seen_at_all",
    title="Somebody came",
    question="Will anybody ever come?",
    numerator="visits somebody arrived at",
    denominator="visits",
    unit=VISIT,
    judge=judge,
    topics=("dispatch",),
    objective=0.97,
    known="at arrival",
    lower_is_better="never_seen",
    tier="TIER",
)
'''

SCRIPT = """
import json, sys
from pathlib import Path
from click.testing import CliRunner
from cxstream.cli import main
from cxstream.config import load
from cxstream.domain.instant import parse_instant
from cxstream.engine.assess import Clock
from cxstream.engine.casebook import Casebook
from cxstream.engine.ledger import Ledger
from cxstream.exposition.activity import Activity
from cxstream.exposition.collector import Collector, page
from cxstream.exposition.snapshot import Objective, PartitionSnapshot, WorkerSnapshot
from cxstream.offline.events_file import read_events

events, as_of, root = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
judged = CliRunner().invoke(main, ["judge", str(events), "--as-of", as_of])
rendered = CliRunner().invoke(main, ["render", "--root", root])
assert (judged.exit_code, rendered.exit_code) == (0, 0), (judged.output, rendered.output)

settings, now_ms = load(None, {}), parse_instant(as_of)
casebook, ledger = Casebook(settings.catalogue(), settings.policy()), Ledger(settings.windows())
for case_id, fact in read_events([events], 0)[0]:
    casebook.take(case_id, fact)
casebook.assess(Clock.at(now_ms))
for case in casebook.cases.values():
    ledger.replace(None, case)
ledger.advance(now_ms)
partition = PartitionSnapshot(0, 1, True, list(ledger.rows()), now_ms)
objectives = [Objective(sign, "job", "", ratio) for sign, ratio in settings.objective_ratios().items()]
snapshot = WorkerSnapshot("g", "running", 1, [partition], now_ms, "0", "p", objectives)
activity = Activity("g", reasons=(), signs=tuple(settings.catalogue()))
shown, _type = page(Collector(lambda: snapshot, settings.windows().levels), activity.registry, "")
print(json.dumps({"judged": judged.stdout, "shown": shown.decode()}))
"""


@pytest.mark.parametrize("tier", ["A", "C"])
def test_a_sign_is_one_file(tmp_path: Path, tier: str) -> None:
    """One file more, and `judge`, the exposition, the rules and the pages have it; workers by the tier it names."""
    package = tmp_path / "src" / "cxstream"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "vital_signs" / "seen_at_all.py").write_text(SIGN.replace("TIER", tier))
    events = tmp_path / "events.ndjson"
    story = [opened(), scheduled("1h", "9h", "10h"), arrived("9h")]
    events.write_text("".join(json.dumps(one) + "\n" for one in story))
    environ = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(events), rfc3339("10h"), str(tmp_path)],
        env={**environ, "PYTHONPATH": str(tmp_path / "src"), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    verdicts = [json.loads(line) for line in said["judged"].splitlines()]
    found = [(one["unit"], one["verdict"]) for one in verdicts if one["sign"] == "seen_at_all"]
    assert found == [("V1", "provisional_hit")]
    for family in ("window_units", "objective_ratio"):
        lines = [line for line in said["shown"].splitlines() if line.startswith(f"cxstream_vital_sign_{family}{{")]
        assert lines
        assert any('vital_sign="seen_at_all"' in line for line in lines) is (tier == "A")
    rules = (tmp_path / "deploy" / "prometheus" / "cxstream.rules.yml").read_text()
    assert "record: job:cxstream_never_seen:ratio" in rules
    reference = (tmp_path / "docs" / "vital-signs.md").read_text()
    assert "## seen_at_all" in reference
    assert f"| [Somebody came](#seen_at_all) | Will anybody ever come? | visit | 97% | {tier} |" in reference
    assert "job:cxstream_never_seen:ratio" in (tmp_path / "docs" / "metrics.md").read_text()
