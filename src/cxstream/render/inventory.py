"""The inventory of metrics as a page: the only names that rules, alerts and panels may use."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from cxstream.render.alerts import Alert, runbook
from cxstream.render.rules import Rule


class MetricFamily(Protocol):
    """What the page needs to know of a metric family: edges do not import edges, the command hands them in."""

    @property
    def name(self) -> str:
        """Name as exposed."""

    @property
    def type(self) -> str:
        """Metric type: gauge, counter or histogram."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Label names, `group` first."""

    @property
    def help(self) -> str:
        """One line on what it says."""


def inventory(families: Iterable[MetricFamily], rules: Iterable[Rule], alerts: Iterable[Alert]) -> str:
    """Return docs/metrics.md: what workers expose, what Prometheus records from it, and what it alerts of."""
    exposed = [
        f"| `{family.name}` | {family.type} | {', '.join(f'`{label}`' for label in family.labels)} | {family.help} |"
        for family in families
    ]
    recorded = [f"| `{rule.record}` | {rule.about} |" for rule in rules]
    alerting = [
        f"| [{alert.name}](runbooks/{runbook(alert)}) | {_told_apart(alert)} | {alert.severity} | {alert.wait}"
        f" | {alert.keep} | {alert.about} |"
        for alert in alerts
    ]
    return "\n".join([_EXPOSED, *exposed, "", _RECORDED, *recorded, "", _ALERTING, *alerting, ""])


def _told_apart(alert: Alert) -> str:
    return ", ".join(f"{label} {value}" for label, value in alert.labels)


_EXPOSED = """\
# Metrics

## What a worker exposes

Workers publish counts per partition, never ratios. After a rebalance two workers may show the same partition for a \
while, so do not add or divide these series by hand: use the recorded ones below. `group` is the consumer group, which \
says which job a figure belongs to. Counters and histograms tell what one process did since it started.

| family | type | labels | what it says |
|---|---|---|---|"""

_RECORDED = """\
## What Prometheus records

From `deploy/prometheus/cxstream.rules.yml`, per `group`. A ratio whose denominator is 0 is absent. A ratio ending in \
`:trusted` is there only while it can be believed.

| series | what it says |
|---|---|"""

_ALERTING = """\
## What Prometheus alerts of

From `deploy/prometheus/cxstream.alerts.yml`. Each links to its runbook, which says what it means for the customer and \
where to look first. Alerts of vital signs need a whole and fresh job, and source topics that are alive.

| alert | of | severity | for | keeps firing for | fires when |
|---|---|---|---|---|---|"""
