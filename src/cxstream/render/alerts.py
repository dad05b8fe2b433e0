"""Alerts: of vital signs, only what is more than chance and rests on figures to be trusted; and of the pipeline."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, NamedTuple

from cxstream.domain.vital_sign import VitalSign
from cxstream.engine.ledger import Level
from cxstream.render.rules import (
    COVERED,
    FRESH_EVENT_SECONDS,
    FRESH_SECONDS,
    JOB,
    REPEATS_WINDOW,
    SILENCE,
    SILENT_AFTER_SECONDS,
    SOURCES_ALIVE,
    WATERMARK_AGE,
    counted_within_hour,
    watches_repeats,
)

Severity = Literal["critical", "warning", "none"]
Team = Literal["operations", "sre"]

DAY, HOUR = "24h", "1h"
MIN_UNITS = 10
"""A ratio of fewer decided units fires nothing, whatever its bound says."""
DROP = 0.1
"""By how much the ratio of an hour must be below that of the day to be a sharp drop."""
MIN_AT_RISK = 5

PIPELINE_OBJECTIVES: Mapping[str, float] = {"event_to_gauges_late": 0.99, "dead_letters_per_consumed": 0.999}
"""Share of events in the figures in time, and of records that are facts."""


class Burn(NamedTuple):
    """An error budget spent this many times too fast over both windows: the short one ends the alert soon."""

    factor: float
    long: str
    short: str
    wait: str
    severity: Severity


BURNS = (
    Burn(14.4, "1h", "5m", "2m", "critical"),
    Burn(6, "6h", "30m", "15m", "critical"),
    Burn(3, "1d", "2h", "1h", "warning"),
    Burn(1, "3d", "6h", "3h", "warning"),
)


class Site(NamedTuple):
    """Where the links of alerts and dashboards lead."""

    runbooks: str = "https://cxstream.example/docs/runbooks"
    """URL at which the folder docs/runbooks is served."""
    dashboards: str = "http://127.0.0.1:3000"
    """URL of Grafana."""
    cases: str = "http://127.0.0.1:9109"
    """URL of a worker, which serves the page of cases."""


DEFAULT_SITE = Site()


class Alert(NamedTuple):
    """One alerting rule. Several may have one name; then their labels differ."""

    name: str
    team: Team
    severity: Severity
    expr: str
    about: str
    """When it fires, one sentence."""
    summary: str
    description: str
    by: tuple[str, ...] = ("group",)
    """Labels that tell one alert of this name from another."""
    wait: str = "0s"
    keep: str = "0s"
    labels: tuple[tuple[str, str], ...] = ()


_OF = "group, vital_sign, level, segment"
_UNIT = ("group", "vital_sign", "level", "segment")
_GATES = f"""\
and on (group) ({COVERED} == 1)
and on (group) ({WATERMARK_AGE} < {FRESH_SECONDS})
and on (group, vital_sign) {SOURCES_ALIVE}"""


def alerts(
    levels: Iterable[Level],
    catalogue: Mapping[str, VitalSign],
    silent_after_seconds: Mapping[str, int] = SILENT_AFTER_SECONDS,
) -> list[Alert]:
    """Return all alerts; `silent_after_seconds` is by source topic, as the recording rules have it."""
    return [
        *(alert for level in levels for alert in _of_level(level, catalogue)),
        *_trust(),
        *_burns(),
        *_upstream(silent_after_seconds),
        *_workers(),
    ]


def alerts_file(every: Iterable[Alert], site: Site) -> str:
    """Return the alerts as a Prometheus rule file, a group for each team."""
    groups: dict[Team, list[str]] = {"operations": [], "sre": []}
    for alert in every:
        groups[alert.team] += _alert(alert, site)
    lines = ["groups:"]
    for team, alerting in groups.items():
        lines += [f"  - name: cxstream-{team}", "    rules:", *alerting]
    return "\n".join(lines) + "\n"


def runbook(alert: Alert) -> str:
    """Return where its runbook is, below the folder of the runbooks: page and anchor."""
    return f"{alert.team}.md#{alert.name.lower()}"


def _alert(alert: Alert, site: Site) -> Iterator[str]:
    yield f"      - alert: {alert.name}"
    yield "        expr: |-"
    yield textwrap.indent(alert.expr, " " * 10)
    for key, value in (("for", alert.wait), ("keep_firing_for", alert.keep)):
        if value != "0s":
            yield f"        {key}: {value}"
    yield "        labels:"
    for label, value in (("severity", alert.severity), ("team", alert.team), *alert.labels):
        yield f"          {label}: {json.dumps(value)}"
    yield "        annotations:"
    description = f"{alert.description} {_since(alert)}" if alert.by else alert.description
    for name, text in (("summary", alert.summary), ("description", description)):
        yield f"          {name}: >-"
        yield textwrap.fill(
            text,
            120,
            initial_indent=" " * 12,
            subsequent_indent=" " * 12,
            break_long_words=False,
            break_on_hyphens=False,
        )
    yield f"          runbook_url: {json.dumps(f'{site.runbooks}/{runbook(alert)}')}"
    yield f"          dashboard_url: {json.dumps(f'{site.dashboards}/{_dashboard(alert)}')}"


def _dashboard(alert: Alert) -> str:
    shown = ("group", "vital_sign", "level", "segment") if alert.team == "operations" else ("group",)
    variables = "&".join(f"var-{label}={{{{ urlquery $labels.{label} }}}}" for label in shown)
    return f"d/cxstream-{alert.team}?{variables}"


def _asked(name: str, by: Iterable[str], how: str, more: str = "", otherwise: str = "none") -> str:
    """Return a template that shows the value of a series with the alert's labels, or `otherwise`."""
    matchers = ",".join([*(f"{label}=%q" for label in by), *filter(None, [more])])
    values = " ".join(f"$labels.{label}" for label in by)
    query = f"printf `{name}{{{matchers}}}` {values}"
    return f"{{{{ with {query} | query }}}}{{{{ . | first | value | {how} }}}}{{{{ else }}}}{otherwise}{{{{ end }}}}"


def _since(alert: Alert) -> str:
    """Return a template that says since when; the labels of the rule itself are not among $labels."""
    of_rule = {"alertname": alert.name, **dict(alert.labels)}
    more = ",".join(f'{label}="{value}"' for label, value in of_rule.items())
    by = [label for label in alert.by if label not in of_rule]
    return f"Since {_asked('ALERTS_FOR_STATE', by, 'humanizeTimestamp', more, 'now')}."


def _whose(level: str) -> str:
    where = "all of {{ $labels.group }}" if level == JOB else f"{level.replace('_', ' and ')} {{{{ $labels.segment }}}}"
    return f"{{{{ $labels.vital_sign }}}} of {where}"


def _percentage(name: str, more: str = "") -> str:
    return _asked(name, _UNIT, "humanizePercentage", more)


def _of_level(level: Level, catalogue: Mapping[str, VitalSign]) -> Iterator[Alert]:
    severity: Severity = "critical" if level.name == JOB else "warning"
    if DAY in level.windows:
        yield _below_objective(level.name, severity)
    if {DAY, HOUR} <= set(level.windows):
        yield _dropped(level.name, severity)
    if watches_repeats(level, catalogue):
        yield _repeats(level.name)
    if "region" in level.dimensions and DAY in level.windows:
        yield _at_risk(level.name)


def _below_objective(level: str, severity: Severity) -> Alert:
    sign, objective = f"{level}:cxstream_vital_sign", f"{level}:cxstream_vital_sign_objective:ratio"
    decided, day = f"{sign}_decided_units:sum", f'window="{DAY}"'
    return Alert(
        "CxStreamVitalSignBelowObjective",
        "operations",
        severity,
        f"""\
{sign}_good_per_units:ratio{{{day}}}
and on ({_OF}) (
  {sign}_good_per_units:wilson_upper99{{{day}}}
  < on ({_OF})
  {objective}
)
and on ({_OF}) ({decided}{{{day}}} >= {MIN_UNITS})
{_GATES}""",
        f"The last {DAY} miss the objective of a vital sign by more than chance.",
        f"{_whose(level)} is below its objective",
        f"{{{{ $value | humanizePercentage }}}} of {_asked(decided, _UNIT, 'humanize', day)} units decided in the last"
        f" {DAY} were good for the customer; the objective is {_percentage(objective)}. By chance the share could be"
        f" {_percentage(f'{sign}_good_per_units:wilson_upper99', day)} at most.",
        _UNIT,
        "15m",
        "30m",
        (("level", level),),
    )


def _dropped(level: str, severity: Severity) -> Alert:
    sign, hour, day = f"{level}:cxstream_vital_sign", f'window="{HOUR}"', f'window="{DAY}"'
    decided, ratio = f"{sign}_decided_units:sum", f"{sign}_good_per_units:ratio"
    return Alert(
        "CxStreamVitalSignDroppedSharply",
        "operations",
        severity,
        f"""\
{ratio}{{{hour}}}
and on ({_OF}) (
  {sign}_good_per_units:wilson_upper99{{{hour}}}
  < on ({_OF})
  ({ratio}{{{day}}} - {DROP})
)
and on ({_OF}) ({decided}{{{hour}}} >= {MIN_UNITS})
{_GATES}""",
        f"The last hour of a vital sign is more than {DROP * 100:g} points below the last {DAY}, by more than chance.",
        f"{_whose(level)} dropped sharply within the hour",
        f"{{{{ $value | humanizePercentage }}}} of {_asked(decided, _UNIT, 'humanize', hour)} units decided in the last"
        f" hour were good for the customer; in the last {DAY} it was {_percentage(ratio, day)}, and the objective is"
        f" {_percentage(f'{sign}_objective:ratio')}.",
        _UNIT,
        "10m",
        "30m",
        (("level", level),),
    )


def _repeats(level: str) -> Alert:
    failures, limit = f"{level}:cxstream_repeat_failures:sum", f"{level}:cxstream_repeat_failures:poisson_limit"
    units = _asked(f"{level}:cxstream_vital_sign_decided_units:sum", _UNIT, "humanize", f'window="{REPEATS_WINDOW}"')
    ratio = _percentage(f"{level}:cxstream_vital_sign_good_per_units:ratio", f'window="{REPEATS_WINDOW}"')
    return Alert(
        "CxStreamRepeatFailuresCluster",
        "operations",
        "warning",
        f"{failures} > on ({_OF}) {limit}\n{_GATES}",
        f"Fixes of one product in the last {REPEATS_WINDOW} fail again more often than those of the whole job, by more"
        " than chance.",
        f"{level.replace('_', ' and ').capitalize()} {{{{ $labels.segment }}}} fails again after the fix, too often",
        f"{{{{ $value | humanize }}}} of {units} fixes of the last {REPEATS_WINDOW} failed again; chance explains"
        f" {_asked(limit, _UNIT, 'humanize')} at most. {ratio} stayed fixed, and the objective is"
        f" {_percentage(f'{level}:cxstream_vital_sign_objective:ratio')}.",
        _UNIT,
        "15m",
        "30m",
        (("level", level),),
    )


def _at_risk(level: str) -> Alert:
    risk, objective = f"{level}:cxstream_at_risk_units:sum", f"{level}:cxstream_vital_sign_objective:ratio"
    decided, good = f"{level}:cxstream_vital_sign_decided_units:sum", f"{level}:cxstream_vital_sign_window_units:sum"
    day = f'window="{DAY}"'
    return Alert(
        "CxStreamUnitsAtRisk",
        "operations",
        "warning",
        f"""\
({risk} >= {MIN_AT_RISK})
and on ({_OF}) (
  (
    sum by ({_OF}) ({good}{{{day}, outcome="good"}})
    or
    {risk} * 0
  )
  /
  (
    {risk}
    + on ({_OF})
    (sum by ({_OF}) ({decided}{{{day}}}) or {risk} * 0)
  )
  < on ({_OF})
  {objective}
)
{_GATES}""",
        f"{MIN_AT_RISK} or more units of a sign and region will be misses within the risk horizon; with them the last"
        f" {DAY} miss the objective.",
        f"Customers are about to be let down: {_whose(level)}",
        f"{{{{ $value | humanize }}}} units will be misses within the risk horizon unless something happens; `cxstream"
        f" at-risk` lists them. In the last {DAY} {_asked(decided, _UNIT, 'humanize', day, 'no')} units were decided,"
        f" {_percentage(f'{level}:cxstream_vital_sign_good_per_units:ratio', day)} of them good; the objective is"
        f" {_percentage(objective)}.",
        _UNIT,
        "5m",
        "15m",
        (("level", level),),
    )


def _trust() -> Iterator[Alert]:
    yield Alert(
        "CxStreamDataStale",
        "sre",
        "critical",
        f"{WATERMARK_AGE} >= {FRESH_SECONDS}",
        f"The slowest partition is {FRESH_SECONDS} s or more behind: no ratio is trusted.",
        "The figures of {{ $labels.group }} are stale",
        "The slowest partition is {{ $value | humanizeDuration }} behind now; from"
        f" {FRESH_SECONDS} s on no ratio is trusted and no vital sign can alert.",
        wait="5m",
        keep="5m",
    )
    yield Alert(
        "CxStreamPartitionsUncovered",
        "sre",
        "critical",
        f"{COVERED} < 1",
        "Some partitions have no ready worker: no ratio is trusted.",
        "Partitions of {{ $labels.group }} have no ready worker",
        "{{ $value | humanizePercentage }} of"
        " {{ with printf `max by (group) (cxstream_partitions_expected{group=%q})` $labels.group | query }}"
        "{{ . | first | value }}{{ end }}"
        " partitions are spoken for; every sum lacks the others, no ratio is trusted and no vital sign can alert.",
        wait="10m",
        keep="5m",
    )
    yield Alert(
        "CxStreamAbsent",
        "sre",
        "critical",
        """\
(
  group by (group) (max_over_time(cxstream_partitions_expected[1d]))
  unless on (group)
  cxstream_partitions_expected
)
or on ()
absent(cxstream_partitions_expected)""",
        "No worker of a group that was there within the last day is scraped, or none of any group.",
        "No worker{{ with $labels.group }} of {{ . }}{{ end }} is scraped",
        "Prometheus reads no worker{{ with $labels.group }} of {{ . }}{{ end }}: there are no figures at all.",
        wait="5m",
    )
    yield Alert(
        "Watchdog",
        "sre",
        "none",
        "vector(1)",
        "Always: when it does not arrive, no alert would.",
        "Alerts arrive",
        "This fires always. Whoever stops receiving it must look at Prometheus and Alertmanager.",
        (),
    )


def _burns() -> Iterator[Alert]:
    late = (
        f"of events reached the figures later than {FRESH_EVENT_SECONDS:g} s",
        "Figures of {{ $labels.group }} are late",
        "Events reach the figures late",
    )
    letters = (
        "of records read became dead letters",
        "Records of {{ $labels.group }} are refused",
        "Records become dead letters",
    )
    for name, sli, (what, summary, about) in (
        ("CxStreamFreshnessBudgetBurn", "event_to_gauges_late", late),
        ("CxStreamProcessingErrorBudgetBurn", "dead_letters_per_consumed", letters),
    ):
        budget = 1 - PIPELINE_OBJECTIVES[sli]
        for burn in BURNS:
            series = f"job:cxstream_{sli}:ratio_rate"
            limit = f"{burn.factor * budget:.6g}"
            yield Alert(
                name,
                "sre",
                burn.severity,
                f"{series}{burn.long} > {limit}\nand on (group) {series}{burn.short} > {limit}",
                f"{about} {burn.factor:g} times as fast as the error budget allows, over {burn.long} and {burn.short}.",
                f"{summary}: the error budget burns {burn.factor:g} times too fast",
                f"{{{{ $value | humanizePercentage }}}} {what} in the last {burn.long}; the objective allows"
                f" {budget * 100:g}%.",
                ("group", "window"),
                burn.wait,
                labels=(("window", burn.long),),
            )


def _upstream(silent_after_seconds: Mapping[str, int]) -> Iterator[Alert]:
    dead_letters = "cxstream_dead_letters_total"
    skewed = 'reason="future"'
    others = 'reason!~"future|too_old_for_unknown_case"'
    for topic, limit in silent_after_seconds.items():
        if limit:
            yield Alert(
                "CxStreamUpstreamSilent",
                "sre",
                "warning",
                f'{SILENCE}{{topic="{topic}"}} >= {limit}\n'
                f"and on (group) ({COVERED} == 1)\nand on (group) ({WATERMARK_AGE} < {FRESH_SECONDS})",
                f"Nothing came from {topic} for {limit} s, though we are caught up.",
                f"Upstream is silent: {topic}",
                f"{{{{ $labels.group }}}} has read no {topic} event for {{{{ $value | humanizeDuration }}}}; from"
                f" {limit} s on the feed is dead, and vital signs that rest on it cannot alert.",
                ("group", "topic", "heard"),
                "5m",
                labels=(("topic", topic), ("heard", "once")),
            )
            yield Alert(
                "CxStreamUpstreamSilent",
                "sre",
                "warning",
                f'({COVERED} == 1)\nunless on (group) {SILENCE}{{topic="{topic}"}}',
                f"Nothing is known to have ever come from {topic}.",
                f"Upstream has never been heard: {topic}",
                f"{{{{ $labels.group }}}} knows of no {topic} event; vital signs that rest on it cannot alert.",
                ("group", "topic", "heard"),
                f"{limit}s",
                labels=(("topic", topic), ("heard", "never")),
            )
    yield Alert(
        "CxStreamDeadLetters",
        "sre",
        "warning",
        _counted("group, topic, reason", f"{dead_letters}{{{others}}}"),
        "Records became dead letters within the hour, for a reason that has no alert of its own.",
        "Records of {{ $labels.topic }} are refused: {{ $labels.reason }}",
        "About {{ $value | printf `%.0f` }} records of {{ $labels.topic }} became dead letters in the last hour, reason"
        " {{ $labels.reason }}: for the vital signs of {{ $labels.group }} they did not happen.",
        ("group", "topic", "reason"),
        keep="15m",
    )
    yield Alert(
        "CxStreamClockSkew",
        "sre",
        "warning",
        _counted("group, topic", f"{dead_letters}{{{skewed}}}"),
        "Events were refused within the hour because they were dated after their delivery.",
        "Events of {{ $labels.topic }} come from the future",
        "About {{ $value | printf `%.0f` }} events of {{ $labels.topic }} in the last hour were dated after their"
        " delivery and became dead letters of {{ $labels.group }}: a clock upstream, or at the brokers, is wrong.",
        ("group", "topic"),
        keep="15m",
    )
    yield Alert(
        "CxStreamLateEventsDropped",
        "sre",
        "warning",
        f"""\
(
  sum by (group, topic) (increase(cxstream_late_events_total[1h]))
  +
  sum by (group, topic) (increase({dead_letters}{{reason="too_old_for_unknown_case"}}[1h]))
  >= {MIN_UNITS}
)
> on (group, topic)
0.01 * sum by (group, topic) (increase(cxstream_events_consumed_total[1h]))""",
        f"More than 1 % of an hour's events, and {MIN_UNITS} or more, came too late to count.",
        "Events of {{ $labels.topic }} come too late to count",
        "About {{ $value | printf `%.0f` }} events of {{ $labels.topic }} in the last hour came after the units they"
        " speak of were sealed or forgotten: no verdict of {{ $labels.group }} can change by them.",
        ("group", "topic"),
        "5m",
        "15m",
    )
    yield Alert(
        "CxStreamLabelCapHit",
        "sre",
        "warning",
        _counted("group", "cxstream_label_values_capped_total"),
        "Segment values were counted as __other__ within the hour.",
        "Segments of {{ $labels.group }} are hidden in __other__",
        "About {{ $value | printf `%.0f` }} times in the last hour a segment value was counted as __other__: it is not"
        " in the closed list, or beyond the limit.",
        keep="15m",
    )


def _counted(by: str, counter: str) -> str:
    return f"sum by ({by}) (\n{textwrap.indent(counted_within_hour(counter), '  ')}\n) > 0"


def _workers() -> Iterator[Alert]:
    left = "cxstream_table_recovery_remaining_records"
    yield Alert(
        "CxStreamRecoveryStuck",
        "sre",
        "critical",
        f"max by (group, instance, table, partition) (\n  ({left} > 0)\n  and\n"
        f"  min_over_time({left}[10m]) >= (({left} offset 10m) > 0)\n)",
        "A worker has read nothing of a changelog it must recover for 10 minutes.",
        "Recovery of partition {{ $labels.partition }} of {{ $labels.group }} is stuck",
        "{{ $labels.instance }} still has {{ $value | humanize }} records of the table {{ $labels.table }} to read for"
        " partition {{ $labels.partition }}, no fewer than 10 minutes ago; until then nobody speaks for it.",
        ("group", "instance", "table", "partition"),
        "5m",
    )
    yield Alert(
        "CxStreamRebalanceStorm",
        "sre",
        "warning",
        "max by (group) (increase(cxstream_rebalances_total[30m])) > 5",
        "Partitions were handed over more than 5 times within 30 minutes.",
        "Workers of {{ $labels.group }} keep handing over partitions",
        "About {{ $value | printf `%.0f` }} rebalances in the last 30 minutes; in each the figures stand still.",
        wait="5m",
        keep="15m",
    )
