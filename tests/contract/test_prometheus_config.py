"""deploy/prometheus/prometheus.yml: Prometheus takes it, and scrapes often enough for what the rules remember."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from cxstream.config import Settings
from cxstream.render.artefacts import ALERTS, RULES
from parts.prometheus import promtool, require_prometheus
from parts.stack import located

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "prometheus"
CONFIG = FOLDER / "prometheus.yml"


def read() -> dict[str, Any]:
    """Return the configuration."""
    found: dict[str, Any] = yaml.safe_load(CONFIG.read_text("utf-8"))
    return found


def test_promtool_takes_it_with_its_rules() -> None:
    """`promtool check config` is clean, of the file and of both rule files beside it."""
    require_prometheus()
    said = promtool("check config", CONFIG)
    assert [said.count(what) for what in ("SUCCESS", "FAILED", "2 rule files found")] == [4, 0, 1]
    for path in (RULES, ALERTS):
        assert path in said.replace(str(ROOT) + "/", "")


@pytest.mark.parametrize(
    ("from_text", "to_text"),
    [
        ("rule_files:", "rules_files:"),
        ("cxstream.alerts.yml", "cxstream.alarms.yml"),
        ("15s", "15 s"),
        ("type: A", "type: AA"),
        ("job_name: prometheus", "job_name: cxstream"),
    ],
)
def test_promtool_refuses_what_is_misspelt(tmp_path: Path, from_text: str, to_text: str) -> None:
    """A key, a file, a duration, a kind of record or a second job of one name is refused: the test above can fail."""
    require_prometheus()
    for path in (RULES, ALERTS):
        (tmp_path / Path(path).name).write_bytes((ROOT / path).read_bytes())
    file = tmp_path / "prometheus.yml"
    text = CONFIG.read_text("utf-8")
    assert from_text in text
    file.write_text(text.replace(from_text, to_text))
    with pytest.raises(AssertionError, match="found fault"):
        promtool("check config", file)


def test_a_partition_that_moves_is_seen_by_both_owners() -> None:
    """Scrapes and rules come several times while the last figures of an owner are shown, and scrapes have an end."""
    found = read()["global"]
    for interval in ("scrape_interval", "evaluation_interval"):
        assert 3 * float(found[interval].removesuffix("s")) <= Settings().linger_seconds
    (job,) = (job for job in read()["scrape_configs"] if job["job_name"] == "cxstream")
    assert job["sample_limit"] > 48 * 1_100, "the series budget of 48 partitions"


def test_located_changes_addresses_alone() -> None:
    """What `make stack` runs has the jobs, limits, rules and alerts of the file, at other addresses."""
    before = read()
    after = located(before, {"cxstream": ["127.0.0.1:1"], "alertmanager": ["127.0.0.1:2"]}, "2s")
    assert after["rule_files"] == [str(FOLDER / name) for name in before["rule_files"]]
    assert after["alerting"] == {"alertmanagers": [{"static_configs": [{"targets": ["127.0.0.1:2"]}]}]}
    assert after["global"] == {"scrape_interval": "2s", "evaluation_interval": "2s"}
    jobs = {job["job_name"]: job for job in after["scrape_configs"]}
    assert set(jobs) == {"cxstream", "alertmanager"}
    assert jobs["cxstream"] == {
        "job_name": "cxstream",
        "sample_limit": before["scrape_configs"][0]["sample_limit"],
        "static_configs": [{"targets": ["127.0.0.1:1"]}],
    }
