"""Who is told of an alert, and what is held back while its figures cannot be trusted: asked of Alertmanager itself."""

from __future__ import annotations

import json
import re
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cxstream.config import Settings
from cxstream.render.alerts import alerts
from cxstream.vital_signs import CATALOGUE
from parts.alertmanager import Webhook, alerts_of, require_alertmanager
from parts.alertmanager import alertmanager as running

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "deploy" / "alertmanager" / "alertmanager.yml"
EVERY = alerts(Settings().windows().levels, CATALOGUE)


def amtool(*arguments: str) -> str:
    """Run amtool and return what it printed; raise AssertionError when it finds fault."""
    require_alertmanager()
    done = subprocess.run(["amtool", *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def test_alertmanager_takes_the_configuration() -> None:
    """`amtool check-config` is clean."""
    assert "SUCCESS" in amtool("check-config", str(CONFIG))


def test_no_secret_stands_in_the_configuration() -> None:
    """Keys and tokens are read from files below /run/secrets."""
    text = CONFIG.read_text("utf-8")
    secrets = re.findall(r"^ *-? *(\w*(?:key|api_url|credentials|password|token)\w*): (.*)$", text, re.MULTILINE)
    assert len(secrets) == 6
    for name, value in secrets:
        assert name.endswith("_file")
        assert value.startswith("/run/secrets/")


def receiver_of(alert: Any) -> str:  # noqa: ANN401 - an Alert, or one made up
    """Return who is told of an alert, by its team, severity and level."""
    if alert.name == "Watchdog":
        return "dead-man"
    if alert.severity == "critical":
        return f"{alert.team}-page"
    return "operations-regions" if dict(alert.labels).get("level") == "region" else str(alert.team)


@pytest.mark.parametrize("receiver", sorted({receiver_of(alert) for alert in EVERY}))
def test_who_is_told(receiver: str) -> None:
    """Vital signs go to operations, by severity and region; the pipeline to the SREs; Watchdog to the dead man."""
    told = {
        (("alertname", alert.name), ("team", alert.team), ("severity", alert.severity), *alert.labels)
        for alert in EVERY
        if receiver_of(alert) == receiver
    }
    by_route = {tuple(label for label in labels if label[0] in {"alertname", "level"}): labels for labels in told}
    for labels in sorted(by_route.values()):
        pairs = [f"{label}={value}" for label, value in labels]
        amtool("config", "routes", "test", f"--config.file={CONFIG}", f"--verify.receivers={receiver}", *pairs)


def test_a_cross_product_of_regions_goes_to_the_regions_and_what_nobody_knows_to_the_sre() -> None:
    """The level may be a cross product; an alert without a team is not lost."""
    for receiver, labels in {
        "operations-regions": ["team=operations", "severity=warning", "level=region_product"],
        "sre": ["alertname=SomethingElse"],
    }.items():
        amtool("config", "routes", "test", f"--config.file={CONFIG}", f"--verify.receivers={receiver}", *labels)


@pytest.fixture
def alertmanager() -> Iterator[str]:
    """Start an Alertmanager with the configuration as it is; yield its address."""
    with running(CONFIG) as address:
        yield address


def send(address: str, alerts: list[dict[str, Any]]) -> None:
    """Send alerts to Alertmanager, as Prometheus does."""
    body = json.dumps(alerts).encode()
    request = urllib.request.Request(f"http://{address}/api/v2/alerts", body, {"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=10).close()


def assert_held_back(address: str, sent: list[dict[str, str]], expected: list[int]) -> None:
    """Send alerts; assert that those at these indexes and no others are inhibited once Alertmanager has all."""
    send(address, [{"labels": {**labels, "index": str(index)}} for index, labels in enumerate(sent)])
    deadline = time.monotonic() + 10
    while True:
        known = alerts_of(address)
        held = sorted(int(alert["labels"]["index"]) for alert in known if alert["status"]["inhibitedBy"])
        if len(known) == len(sent) and held == expected:
            return
        assert time.monotonic() < deadline, (held, expected)
        time.sleep(0.05)


def business(group: str) -> list[dict[str, str]]:
    """Return an alert of each kind about vital signs of a group."""
    names = sorted({alert.name for alert in EVERY if alert.team == "operations"})
    assert len(names) == 4
    return [{"alertname": name, "team": "operations", "severity": "warning", "group": group} for name in names]


def of_pipeline(name: str, group: str = "", **more: str) -> dict[str, str]:
    """Return an alert about the pipeline of a group."""
    severity = next(alert.severity for alert in EVERY if alert.name == name)
    labels = {"alertname": name, "team": "sre", "severity": severity, "group": group, **more}
    return {label: value for label, value in labels.items() if value}


UNTRUSTED = ("CxStreamDataStale", "CxStreamPartitionsUncovered", "CxStreamAbsent")


@pytest.mark.parametrize("why", UNTRUSTED)
def test_vital_signs_are_held_back_while_their_group_cannot_be_trusted(alertmanager: str, why: str) -> None:
    """Stale, uncovered or absent: alerts of vital signs of that group are inhibited, those of another are not."""
    assert_held_back(alertmanager, [of_pipeline(why, "g"), *business("g"), *business("h")], [1, 2, 3, 4])


def test_other_trouble_holds_nothing_back(alertmanager: str) -> None:
    """Dead letters or a silent feed do not hide that customers suffer."""
    others = [of_pipeline(name, "g") for name in {alert.name for alert in EVERY if alert.team == "sre"} - {*UNTRUSTED}]
    shown = [*others, *business("g"), of_pipeline("CxStreamDataStale", "h")]
    assert_held_back(alertmanager, [*shown, *business("h")], list(range(len(shown), len(shown) + 4)))


def test_of_one_cause_one_alert_is_told(alertmanager: str) -> None:
    """An absent job is neither stale nor uncovered, and of one budget the urgent burn is told."""
    sent = [
        of_pipeline("CxStreamAbsent", "c"),
        of_pipeline("CxStreamDataStale", "c"),
        of_pipeline("CxStreamPartitionsUncovered", "c"),
        of_pipeline("CxStreamFreshnessBudgetBurn", "c", window="1h"),
        of_pipeline("CxStreamFreshnessBudgetBurn", "c", window="3d") | {"severity": "warning"},
        of_pipeline("CxStreamProcessingErrorBudgetBurn", "c", window="3d") | {"severity": "warning"},
    ]
    assert_held_back(alertmanager, sent, [1, 2, 4])


def test_without_any_worker_all_vital_signs_are_held_back(alertmanager: str) -> None:
    """The absence of every group has no group, and stands for all."""
    assert_held_back(alertmanager, [of_pipeline("CxStreamAbsent"), *business("g")], [1, 2, 3, 4])


@pytest.mark.parametrize("receiver", ["sre-page", "operations-page"])
def test_a_page_says_something_whatever_the_summaries_of_its_alerts(receiver: str, tmp_path: Path) -> None:
    """Alerts of one group with different summaries are one page, told by the first of them and how many there are."""
    key = tmp_path / "key"
    key.write_text("stands in")
    with Webhook() as webhook:
        config = yaml.safe_load(CONFIG.read_text("utf-8"))
        for one in config["receivers"]:
            for page in one.get("pagerduty_configs", ()):
                page |= {"url": webhook.url, "routing_key_file": str(key)}
        routes = [config["route"]]
        for route in routes:
            routes += route.get("routes", [])
            if "group_wait" in route:
                route["group_wait"] = "1s"
        changed = tmp_path / "alertmanager.yml"
        changed.write_text(yaml.safe_dump(config))
        one = next(alert for alert in EVERY if receiver_of(alert) == receiver)
        labels = {"alertname": one.name, "team": one.team, "severity": one.severity, "group": "g"}
        stuck = [
            {
                "labels": labels | {"partition": partition},
                "annotations": {"summary": f"Partition {partition} is stuck", "runbook_url": "https://r.example/x"},
            }
            for partition in "34"
        ]
        with running(changed) as address:
            send(address, stuck)
            deadline = time.monotonic() + 20
            while not webhook.pages:
                assert time.monotonic() < deadline
                time.sleep(0.05)
    (page,) = webhook.pages
    summary = page["payload"]["summary"]
    assert re.fullmatch(rf"{one.name} g: Partition [34] is stuck \(and others, 2 in all\)", summary), summary
