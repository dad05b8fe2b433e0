"""Adding a vital sign is adding one file: a copy of the package with one file more judges, shows and documents it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cases import arrived, opened, rfc3339, scheduled

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "cxstream"

SIGN = '''
"""seen_at_all: did anybody ever come?"""

from cxstream.domain.gaming import Gaming, other_sign
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
    known="at arrival, until the seal",
    gaming=Gaming("Look in through the window.", (other_sign("visit_productive"),)),
    lower_is_better="never_seen",
    tier="TIER",
)
'''

MEASURED = '''
"""knocks_per_visit: how often did they knock?"""

from cxstream.domain.gaming import Gaming
from cxstream.domain.units import VISIT
from cxstream.domain.verdict import Judgement
from cxstream.domain.vital_sign import Measure, VitalSign


def judge(evidence, visit_id, _clock_ms, _policy):
    """Measure how often a visit was arrived at (rule 11)."""
    came = evidence.visits[visit_id].arrivals
    if not came:
        return Judgement("pending", "nobody_yet")
    return Judgement("hit", "knocked", came[0].at_ms, (came[0].event_id,), measured=len(came))


VITAL_SIGN = VitalSign(
    name="knocks_per_visit",
    title="Knocks at the door",
    question="How often must I open?",
    numerator="arrivals of a visit",
    denominator="visits somebody arrived at",
    unit=VISIT,
    judge=judge,
    topics=("dispatch",),
    objective=None,
    measure=Measure("knocks", (1, 2, 4), quantiles=(0.9,)),
    known="at arrival, until the seal",
    gaming=Gaming("Ring the bell."),
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
explained = CliRunner().invoke(main, ["explain", str(events), "C1", "--as-of", as_of, "--tiers", "A,B,C"])
codes = judged.exit_code, rendered.exit_code, explained.exit_code
assert codes == (0, 0, 0), (judged.output, rendered.output, explained.output)

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
print(json.dumps({"judged": judged.stdout, "shown": shown.decode(), "explained": explained.stdout}))
"""


@pytest.mark.parametrize("tier", ["A", "C"])
def test_a_sign_is_one_file(tmp_path: Path, tier: str) -> None:
    """One file more, and `judge`, the exposition, the rules and the pages have it; workers by the tier it names.

    That goes for a sign that judges and for one that measures, in a unit no other one has (rule 25).
    """
    package = tmp_path / "src" / "cxstream"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(PACKAGE.parents[1] / "schemas", tmp_path / "schemas")  # the contract is rendered from them
    (package / "vital_signs" / "seen_at_all.py").write_text(SIGN.replace("TIER", tier))
    (package / "vital_signs" / "knocks_per_visit.py").write_text(MEASURED.replace("TIER", tier))
    events = tmp_path / "events.ndjson"
    story = [opened(), scheduled("1h", "9h", "10h"), arrived("9h"), arrived("9h10m"), arrived("9h20m")]
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
    shown_by = tmp_path / "deploy" / "grafana" / "dashboards"
    assert "Will anybody ever come?" in (shown_by / "cxstream-sign.json").read_text()
    assert "job:cxstream_knocks_per_visit_knocks:p90" in (shown_by / "cxstream-operations.json").read_text()
    console = (tmp_path / "deploy" / "prometheus" / "consoles" / "cxstream.html").read_text()
    assert all(name in console for name in ("seen_at_all", "knocks_per_visit"))
    reference = (tmp_path / "docs" / "vital-signs.md").read_text()
    assert "## seen_at_all" in reference
    assert f"| [Somebody came](#seen_at_all) | Will anybody ever come? | visit | 97% | {tier} |" in reference
    metrics = (tmp_path / "docs" / "metrics.md").read_text()
    assert "job:cxstream_never_seen:ratio" in metrics
    distribution = "cxstream_knocks_per_visit_window_knocks"
    of_job = rf'^{distribution}_(\w+){{.*level="job",segment="",window="7d",(?:le="([^"]+)",)?partition="0"}} (\S+)$'
    shown = {(part, le): float(value) for part, le, value in re.findall(of_job, said["shown"], re.MULTILINE)}
    buckets = {("bucket", le): units for le, units in (("1.0", 0), ("2.0", 0), ("4.0", 1), ("+Inf", 1))}
    assert shown == ({**buckets, ("gsum", ""): 3, ("gcount", ""): 1} if tier == "A" else {})
    for name in ("mean", "p90"):
        assert f"record: region:cxstream_knocks_per_visit_knocks:{name}" in rules
        assert f"job:cxstream_knocks_per_visit_knocks:{name}" in metrics
    assert "cxstream_knocks_per_visit_knocks:p50" not in rules
    assert f"`{distribution}_bucket`" in metrics
    assert (
        f"| [Knocks at the door](#knocks_per_visit) | How often must I open? | visit | measured | {tier} |" in reference
    )
    assert "| What games it | Ring the bell. |" in reference
    assert re.search(r"knocks_per_visit: HIT.*?measured +3 knocks", said["explained"], re.DOTALL)
