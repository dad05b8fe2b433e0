"""Nobody is named by a label, and so by no alert: what labels there are is a closed list, and none is an id."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from cxstream.exposition import families
from cxstream.exposition.families import Family

ROOT = Path(__file__).resolve().parents[2]
OF_THE_SERVICE = {
    *("group", "partition", "topic", "table", "state", "version", "fingerprint", "reason", "disposition"),
    *("vital_sign", "window", "outcome", "finality", "level", "segment", "from", "to", "loophole", "moment"),
    *("source", "direction", "limit"),
}
"""Labels whose values are from the configuration, the catalogue, or closed lists (segments: `ledger.label_values`;
sources: `sources.names`)."""
OF_PROMETHEUS = {"instance", "job", "alertname", "severity"}


def test_every_label_is_of_the_service() -> None:
    """A new label has to be put on the list: by somebody who has asked whether it can name a person."""
    labels = {label for one in vars(families).values() if isinstance(one, Family) for label in one.labels}
    assert labels == OF_THE_SERVICE


def test_alerts_say_nothing_but_labels_and_figures() -> None:
    """Templates of alerts and of those who are told read labels of the service and of Prometheus, and values."""
    alerts = (ROOT / "deploy" / "prometheus" / "cxstream.alerts.yml").read_text()
    receivers = (ROOT / "deploy" / "alertmanager" / "alertmanager.yml").read_text()
    read = set(re.findall(r"\$labels\.(\w+)", alerts)) | set(re.findall(r"Labels\.(?!Values)(\w+)", alerts + receivers))
    assert read
    assert read <= OF_THE_SERVICE | OF_PROMETHEUS
    rules = [rule for group in yaml.safe_load(alerts)["groups"] for rule in group["rules"]]
    templates = [text for rule in rules for text in (rule.get("annotations") or {}).values()]
    functions = {name for text in templates for name in re.findall(r"\{\{[^}]*?\b(query|tableLink|graphLink)\b", text)}
    assert functions <= {"query"}
