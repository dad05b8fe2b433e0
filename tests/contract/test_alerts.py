"""What Prometheus alerts of: it fires when it should, keeps quiet when it must, and each part of it is needed."""

from __future__ import annotations

import json
import re
import subprocess
from math import exp, sqrt
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner

from cxstream.cli import main
from cxstream.config import Settings
from cxstream.domain.instant import SECOND_MS
from cxstream.exposition.families import EVENT_TO_GAUGE, FAMILIES
from cxstream.render.alerts import BURNS, DEFAULT_SITE, PIPELINE_OBJECTIVES, Site, alerts, alerts_file, runbook
from cxstream.render.artefacts import ALERTS, METRICS, artefacts
from cxstream.render.rules import (
    BURN_WINDOWS,
    COVERED,
    FRESH_EVENT_SECONDS,
    SILENCE,
    SILENT_AFTER_SECONDS,
    SOURCES_ALIVE,
    WATERMARK_AGE,
    recording_rules,
    rules_file,
)
from cxstream.vital_signs import CATALOGUE
from parts.prometheus import promtool, require_prometheus
from parts.rules import rules_under

ROOT = Path(__file__).resolve().parents[2]
RUNBOOKS = ROOT / "docs" / "runbooks"
LEVELS = Settings().windows().levels
RECORDED = recording_rules(LEVELS, CATALOGUE)
EVERY = alerts(LEVELS, CATALOGUE)
GENERATED = artefacts(FAMILIES, LEVELS)
_SHOWN = "alertname, vital_sign, segment, topic, heard, reason, instance"
UNDER_ALERTS = rules_file(rules_under(RECORDED, " ".join(alert.expr + alert.description for alert in EVERY)))
"""The recording rules that alerts rest on: the others only take time here."""


# --- The files ---


def test_alerts_use_only_series_that_exist() -> None:
    """Every name in an expression or a text is a family, or a series that is recorded."""
    known = {family.name for family in FAMILIES} | {rule.record for rule in RECORDED}
    for alert in EVERY:
        text = f"{alert.expr} {alert.summary} {alert.description}"
        assert set(re.findall(r"\b(?:[a-z_]+:)?cxstream_[a-z_:0-9]+", text)) <= known, alert.name


def test_alerts_keep_groups_apart() -> None:
    """Whatever is joined or added up is so per consumer group; only the absence of all workers has no group."""
    for alert in EVERY:
        for labels in re.findall(r"\b(?:by|on|ignoring|without) \(([^)]*)\)", alert.expr):
            assert "group" in labels.split(", ") or (alert.name, labels) == ("CxStreamAbsent", ""), alert.name


def test_every_alert_has_what_its_reader_needs() -> None:
    """Severity, team, summary, a description with since when, and two links; two of one name differ in a label."""
    told_apart = set()
    for alert in EVERY:
        assert alert.summary
        assert alert.description.endswith(".")
        assert alert.about.endswith(".")
        assert alert.name.startswith("CxStream") or alert.name == "Watchdog"
        told_apart.add((alert.name, alert.severity, alert.labels))
    assert len(told_apart) == len(EVERY)
    text = GENERATED[ALERTS]
    assert text.count("runbook_url: ") == text.count("dashboard_url: ") == text.count("- alert: ") == len(EVERY)
    assert len(re.findall(r"Since\s+\{\{", text)) == len(EVERY) - 1, "Watchdog alone does not say since when"


def test_every_alert_has_its_runbook_and_every_runbook_its_alert() -> None:
    """Each leads to a heading of its name, and each heading says what it means, where to look, why, how to silence."""
    said = {}
    for page in RUNBOOKS.glob("*.md"):
        for section in page.read_text("utf-8").split("\n## ")[1:]:
            name, _, text = section.partition("\n")
            said[f"{page.name}#{name.lower()}"] = text
    assert set(said) == {runbook(alert) for alert in EVERY}
    for where, text in said.items():
        asked = re.findall(r"^\*\*(.*?)\.\*\* \S", text, re.MULTILINE)
        assert asked == ["For the customer", "First look", "Likely causes", "Silence"], where


def test_the_inventory_lists_every_alert() -> None:
    """docs/metrics.md has a row for each alert with its runbook."""
    for alert in EVERY:
        assert f"| [{alert.name}](runbooks/{runbook(alert)}) |" in GENERATED[METRICS]
        assert f"| {alert.about} |" in GENERATED[METRICS]


def test_links_lead_where_the_site_says(tmp_path: Path) -> None:
    """Runbooks and dashboards are at the URLs `cxstream render` is given, by default at those of DEFAULT_SITE."""
    assert f'"{DEFAULT_SITE.runbooks}/sre.md#watchdog"' in GENERATED[ALERTS]
    text = alerts_file(EVERY, Site("https://wiki.test/r", "https://grafana.test"))
    assert text.count('"https://wiki.test/r/') == text.count('"https://grafana.test/d/') == len(EVERY)
    options = [f"--root={tmp_path}", "--runbooks=https://wiki.test/r/", "--dashboards=https://grafana.test"]
    assert CliRunner().invoke(main, ["render", *options]).exit_code == 0
    assert (tmp_path / ALERTS).read_text("utf-8").endswith(text)


def test_a_dead_feed_is_what_the_settings_say() -> None:
    """The limits the rules are made with are those of the workers."""
    limits_ms = Settings().kafka.source_silent_after
    assert {topic: limit_ms // SECOND_MS for topic, limit_ms in limits_ms.items()} == SILENT_AFTER_SECONDS


def test_a_feed_that_is_never_taken_for_dead_gates_nothing() -> None:
    """With 0 s for a topic, no rule and no alert asks for it."""
    limits = {"ticket": 60, "dispatch": 60, "parts": 0}
    rules = {rule.record: rule.expr for rule in recording_rules(LEVELS, CATALOGUE, limits)}
    assert 'topic="ticket"' in rules[SOURCES_ALIVE]
    assert 'topic="parts"' not in rules[SOURCES_ALIVE]
    silent = [alert.labels for alert in alerts(LEVELS, CATALOGUE, limits) if alert.name == "CxStreamUpstreamSilent"]
    assert {dict(labels)["topic"] for labels in silent} == {"ticket", "dispatch"}


def test_every_burn_can_be_reached() -> None:
    """An error ratio is at most 1: a factor above 1 / (1 - objective) would never fire, as 6 at 80 % never does."""
    assert 6 > 1 / (1 - 0.8)
    for objective in PIPELINE_OBJECTIVES.values():
        assert all(burn.factor * (1 - objective) < 1 for burn in BURNS)
    assert {window for burn in BURNS for window in (burn.long, burn.short)} == set(BURN_WINDOWS)
    assert FRESH_EVENT_SECONDS in EVENT_TO_GAUGE.buckets


def test_the_limit_of_repeats_is_that_of_a_poisson_count() -> None:
    """Of a Poisson count the limit is exceeded in less than 1 of 1,000, by its definition, and not by far less."""
    rule = next(rule for rule in RECORDED if rule.record.endswith("poisson_limit"))
    half_z = float(re.findall(r"\+ ([\d.]+)", rule.expr)[-1])
    for mean in (0.01, 0.1, 0.5, 1, 2, 5, 10, 30, 100, 300):
        limit = (sqrt(mean) + half_z) ** 2
        term, within = exp(-mean), 0.0
        for count in range(int(limit) + 1):
            within += term
            term *= mean / (count + 1)
        assert 1 - within < 0.001, mean
        assert limit < mean + 5 * sqrt(mean) + 3


# --- What fires ---


class Scenario(NamedTuple):
    """Samples given a minute apart, and what must be firing at which minute: the labels that tell an alert apart."""

    series: dict[str, str]
    firing: dict[int, list[str]]
    also: tuple[tuple[int, str, float], ...] = ()
    """Minute, expression without labels in its result, value."""
    step_minutes: int = 5
    evaluated_minutes: int = 5
    """How often rules are; the samples are a step apart."""


def worker(
    instance: str = "a",
    *,
    group: str = "g",
    generation: str = "1x1500",
    ready: str = "1x1500",
    watermark: str = "0+60x1500",
    heard: dict[str, str] | None = None,
    expected: str = "1x1500",
) -> dict[str, str]:
    """Return the series of a worker that owns partition 0; `heard` replaces the deliveries of a topic."""
    of = f'group="{group}", instance="{instance}"'
    deliveries = dict.fromkeys(("ticket", "dispatch", "parts"), "0+60x1500") | (heard or {})
    objectives = dict.fromkeys(("first_time_fix", "on_time_arrival", "stayed_fixed", "first_response"), "0.8x1500")
    return {
        f"cxstream_partitions_expected{{{of}}}": expected,
        f'cxstream_partition_owner_generation{{{of}, partition="0"}}': generation,
        f'cxstream_partition_ready{{{of}, partition="0"}}': ready,
        f'cxstream_partition_watermark_timestamp_seconds{{{of}, partition="0"}}': watermark,
        **{
            f'cxstream_partition_source_watermark_timestamp_seconds{{{of}, topic="{topic}", partition="0"}}': values
            for topic, values in deliveries.items()
            if values
        },
        **{
            f'cxstream_vital_sign_objective_ratio{{{of}, vital_sign="{sign}", level="job", segment=""}}': ratio
            for sign, ratio in objectives.items()
        },
    }


def units(
    sign: str,
    good: int | str,
    bad: int | str,
    *,
    level: str = "job",
    segment: str = "",
    window: str = "24h",
    instance: str = "a",
) -> dict[str, str]:
    """Return the decided units of a sign at partition 0."""
    return {
        f'cxstream_vital_sign_window_units{{group="g", instance="{instance}", partition="0", vital_sign="{sign}",'
        f' level="{level}", segment="{segment}", window="{window}", outcome="{outcome}", finality=""}}': (
            f"{count}x1500" if isinstance(count, int) else count
        )
        for outcome, count in (("good", good), ("bad", bad))
    }


def at_risk(sign: str, count: int, region: str) -> dict[str, str]:
    """Return the units of a sign and region that are at risk."""
    of = f'group="g", instance="a", partition="0", vital_sign="{sign}", level="region", segment="{region}"'
    return {f"cxstream_at_risk_units{{{of}}}": f"{count}x1500"}


def rising(family: str, labels: str, values: str) -> dict[str, str]:
    """Return a counter of worker a."""
    return {f'cxstream_{family}{{group="g", instance="a"{", " if labels else ""}{labels}}}': values}


def fired(name: str, sign: str = "", segment: str = "", **labels: str) -> str:
    """Return the labels by which a firing alert is told apart."""
    told = {"alertname": f"CxStream{name}", "vital_sign": sign, "segment": segment, **labels}
    return "{" + ", ".join(f'{label}="{value}"' for label, value in told.items() if value) + "}"


SUFFERING = (
    units("first_time_fix", 50, 50)
    | units("first_time_fix", 0, 40, window="1h")
    | units("stayed_fixed", 380, 20, window="30d")
    | units("stayed_fixed", 20, 20, level="product", segment="pump", window="30d")
    | units("stayed_fixed", 360, 0, level="product", segment="drill", window="30d")
    | at_risk("on_time_arrival", 10, "north")
    | units("on_time_arrival", 85, 15, level="region", segment="north")
)
"""One reason for each alert of vital signs."""
ALL_BUSINESS = [
    fired("VitalSignBelowObjective", "first_time_fix"),
    fired("VitalSignDroppedSharply", "first_time_fix"),
    fired("RepeatFailuresCluster", "stayed_fixed", "pump"),
    fired("UnitsAtRisk", "on_time_arrival", "north"),
]
SILENT_DISPATCH = fired("UpstreamSilent", topic="dispatch", heard="once")


def burning(late: str, letters: str) -> dict[str, str]:
    """Return counters of 1,000 events a minute, of which as many in time, as many dead letters."""
    return (
        worker()
        | rising("event_to_gauges_seconds_bucket", 'topic="ticket", le="60.0"', late)
        | rising("event_to_gauges_seconds_count", 'topic="ticket"', "0+1000x1500")
        | rising("events_consumed_total", 'topic="ticket"', "0+1000x1500")
        | rising("dead_letters_total", 'topic="ticket", reason="future"', letters)
    )


SCENARIOS = {
    "all is well": Scenario(
        worker() | units("first_time_fix", 90, 10) | units("first_time_fix", 18, 2, window="1h"), {60: []}
    ),
    "customers suffer": Scenario(
        worker() | SUFFERING, {0: [], 5: ALL_BUSINESS[3:], 10: [ALL_BUSINESS[1], ALL_BUSINESS[3]], 15: ALL_BUSINESS}
    ),
    "chance explains it": Scenario(
        worker()
        | units("first_time_fix", 73, 27)
        | units("first_response", 90, 10)
        | units("first_response", 27, 13, window="1h")
        | units("stayed_fixed", 375, 25, window="30d")
        | units("stayed_fixed", 31, 9, level="product", segment="pump", window="30d"),
        {20: []},
    ),
    "a drop that does not matter": Scenario(
        worker() | units("first_response", 960, 40) | units("first_response", 885, 115, window="1h"), {20: []}
    ),
    "few units": Scenario(
        worker()
        | units("first_time_fix", 0, 9)
        | units("first_time_fix", 0, 9, level="region", segment="north")
        | units("first_response", 960, 40)
        | units("first_response", 0, 9, window="1h")
        | units("on_time_arrival", 0, 10)
        | units("stayed_fixed", 398, 2, window="30d")
        | units("stayed_fixed", 8, 2, level="product", segment="pump", window="30d")
        | at_risk("on_time_arrival", 4, "north"),
        {20: [fired("VitalSignBelowObjective", "on_time_arrival")]},
    ),
    "at risk, and the day bears it": Scenario(
        worker()
        | at_risk("on_time_arrival", 10, "north")
        | units("on_time_arrival", 95, 5, level="region", segment="north")
        | at_risk("on_time_arrival", 30, "south")
        | units("on_time_arrival", 95, 5, level="region", segment="south")
        | at_risk("on_time_arrival", 5, "west"),
        {20: [fired("UnitsAtRisk", "on_time_arrival", region) for region in ("south", "west")]},
    ),
    "stale": Scenario(
        worker(watermark="-1000x1500") | SUFFERING, {0: [], 5: [fired("DataStale")], 20: [fired("DataStale")]}
    ),
    "uncovered": Scenario(
        worker(expected="2x1500") | SUFFERING,
        {5: [], 10: [fired("PartitionsUncovered")], 20: [fired("PartitionsUncovered")]},
    ),
    "a dead feed": Scenario(
        worker(heard={"dispatch": "-3600x1500"}) | SUFFERING | units("first_response", 5, 35),
        {20: [fired("VitalSignBelowObjective", "first_response"), SILENT_DISPATCH]},
    ),
    "a feed that is dead because we lag": Scenario(
        worker(heard={"dispatch": "-3600x1500"}, watermark="-3600x1500"), {20: [fired("DataStale")]}
    ),
    "a feed of which nobody can tell": Scenario(
        worker(heard={"dispatch": "-3600x1500"}, expected="2x1500"), {20: [fired("PartitionsUncovered")]}
    ),
    "a restart forgets what was heard": Scenario(
        worker(heard={"ticket": "0x30 _x1500", "dispatch": "0x30 _x1500", "parts": "0x30 _x1500"}),
        {},
        (
            (50, f'{SILENCE}{{topic="parts"}}', 3000),
            (50, f'count({SOURCES_ALIVE}{{vital_sign="first_time_fix"}})', 1),
            (70, f"count({SOURCES_ALIVE}) or vector(0)", 0),
        ),
    ),
    "a feed never heard": Scenario(
        worker(heard={"parts": ""}),
        {1380: [], 1440: [fired("UpstreamSilent", topic="parts", heard="never")]},
        step_minutes=60,
        evaluated_minutes=60,
    ),
    "a hand-over with old figures": Scenario(
        worker("a", expected="1x1500")
        | worker("b", generation="2x1500", expected="1x1500")
        | units("first_time_fix", 10, 90)
        | units("first_time_fix", 95, 5, instance="b"),
        {20: []},
    ),
    "a hand-over while it fires": Scenario(
        worker("a", generation="1x22 stale", ready="1x22 stale")
        | worker("b", generation="_x20 2x1500", ready="_x20 0x10 1x1500")
        | units("first_time_fix", "10x22 stale", "90x22 stale")
        | units("first_time_fix", "_x31 12x1500", "_x31 90x1500", instance="b"),
        {minute: [fired("VitalSignBelowObjective", "first_time_fix")] for minute in (15, 25, 30, 35, 60)},
    ),
    "it ends": Scenario(
        worker() | units("first_time_fix", "10x30 95x1500", "90x30 5x1500"),
        {minute: [fired("VitalSignBelowObjective", "first_time_fix")] for minute in (15, 35, 60)} | {80: []},
    ),
    "segments have objectives of their own": Scenario(
        worker()
        | {
            'cxstream_vital_sign_objective_ratio{group="g", instance="a", vital_sign="first_time_fix", level="region",'
            f' segment="{region}"}}': f"{ratio}x1500"
            for region, ratio in (("north", 0.5), ("west", 0.98))
        }
        | units("first_time_fix", 60, 40, level="region", segment="north")
        | units("first_time_fix", 60, 40, level="region", segment="south")
        | units("first_time_fix", 85, 15, level="region", segment="west")
        | units("first_time_fix", 85, 15, level="region", segment="east"),
        {20: [fired("VitalSignBelowObjective", "first_time_fix", segment) for segment in ("south", "west")]},
    ),
    "another group suffers": Scenario(
        worker()
        | worker("b", group="h", watermark="-1000x1500", heard={"dispatch": "-9000x1500"}, expected="2x1500")
        | SUFFERING
        | {name.replace('"g", instance="a"', '"h", instance="b"'): values for name, values in SUFFERING.items()},
        {20: [*ALL_BUSINESS, fired("DataStale"), fired("PartitionsUncovered")]},
    ),
    "one group is gone": Scenario(
        dict.fromkeys(worker(), "1x10 stale") | worker("b", group="h"), {15: [], 20: [fired("Absent")]}
    ),
    "nothing was ever there": Scenario({"up": "1x1500"}, {0: [], 20: [fired("Absent")]}),
    "all events are late, all refused": Scenario(
        burning("0x1500", "0+1000x1500"),
        {
            195: [
                fired("ClockSkew", topic="ticket"),
                fired("FreshnessBudgetBurn"),
                fired("ProcessingErrorBudgetBurn"),
            ]
        },
        tuple((195, f'count(ALERTS{{alertname=~".*Burn", alertstate="firing", window="{b.long}"}})', 2) for b in BURNS),
        evaluated_minutes=15,
    ),
    "what the budget allows": Scenario(
        burning("0+995x1500", "0+0.5x1500"), {195: [fired("ClockSkew", topic="ticket")]}, evaluated_minutes=15
    ),
    "the burn is over": Scenario(
        burning("0x60 0+1000x1500", "0x1500"),
        {50: [fired("FreshnessBudgetBurn")]},
        (
            (55, 'count(ALERTS{alertname=~".*Burn", alertstate="firing", window="1h"})', 1),
            (75, 'count(ALERTS{alertname=~".*Burn", alertstate="firing", window="1h"}) or vector(0)', 0),
            (75, "count(job:cxstream_event_to_gauges_late:ratio_rate1h > 0.144)", 1),
        ),
    ),
    "the pipeline complains": Scenario(
        worker()
        | rising("events_consumed_total", 'topic="ticket"', "0+10x1500")
        | rising("events_consumed_total", 'topic="dispatch"', "0+10x1500")
        | rising("events_consumed_total", 'topic="parts"', "0+100x1500")
        | rising("dead_letters_total", 'topic="ticket", reason="invalid"', "0x20 1x1500")
        | rising("dead_letters_total", 'topic="ticket", reason="future"', "0x20 1x1500")
        | rising("dead_letters_total", 'topic="ticket", reason="too_old_for_unknown_case"', "0+1x1500")
        | rising("dead_letters_total", 'topic="dispatch", reason="too_old_for_unknown_case"', "0x1500")
        | rising("dead_letters_total", 'topic="parts", reason="too_old_for_unknown_case"', "0x1500")
        | rising("late_events_total", 'topic="ticket", disposition="after_seal"', "0x1500")
        | rising("late_events_total", 'topic="dispatch", disposition="closed_case"', "0+1x1500")
        | rising("late_events_total", 'topic="parts", disposition="after_seal"', "0+0.5x1500")
        | rising("label_values_capped_total", "", "0x20 3x1500")
        | rising("rebalances_total", "", "0+1x1500")
        | rising("table_recovery_remaining_records", 'table="cases", partition="1"', "500x1500")
        | rising("table_recovery_remaining_records", 'table="cases", partition="2"', "500-1x1500")
        | rising("table_recovery_remaining_records", 'table="cases", partition="3"', "0x1500"),
        {
            40: [
                fired("ClockSkew", topic="ticket"),
                fired("DeadLetters", topic="ticket", reason="invalid"),
                fired("LabelCapHit"),
                fired("LateEventsDropped", topic="dispatch"),
                fired("LateEventsDropped", topic="ticket"),
                fired("ProcessingErrorBudgetBurn"),
                fired("RebalanceStorm"),
                fired("RecoveryStuck", instance="a"),
            ],
        },
    ),
    "a worker counts before it is first scraped": Scenario(
        worker()
        | rising("dead_letters_total", 'topic="ticket", reason="invalid"', "_x30 7x1500")
        | rising("dead_letters_total", 'topic="ticket", reason="future"', "_x30 0x1500")
        | rising("dead_letters_total", 'topic="parts", reason="future"', "_x30 1x1500")
        | rising("label_values_capped_total", "", "_x30 4x1500"),
        {
            20: [],
            35: [
                fired("ClockSkew", topic="parts"),
                fired("DeadLetters", topic="ticket", reason="invalid"),
                fired("LabelCapHit"),
            ],
            120: [],
        },
    ),
    "a worker that was not scraped for an hour": Scenario(
        worker()
        | rising("dead_letters_total", 'topic="ticket", reason="invalid"', "7x60 _x120 7x1500")
        | rising("label_values_capped_total", "", "4x60 _x120 4x1500"),
        {190: []},
    ),
    "one recovery after another": Scenario(
        worker() | rising("table_recovery_remaining_records", 'table="cases", partition="1"', "40x80 0x3 500-5x1500"),
        {90: []},
        step_minutes=1,
        evaluated_minutes=1,
    ),
    "the pipeline is quiet": Scenario(
        worker()
        | rising("events_consumed_total", 'topic="ticket"', "0+1x1500")
        | rising("dead_letters_total", 'topic="ticket", reason="invalid"', "7x1500")
        | rising("dead_letters_total", 'topic="ticket", reason="future"', "7x1500")
        | rising("dead_letters_total", 'topic="ticket", reason="too_old_for_unknown_case"', "0+0.05x1500")
        | rising("late_events_total", 'topic="ticket", disposition="after_seal"', "0+0.1x1500")
        | rising("label_values_capped_total", "", "7x1500")
        | rising("rebalances_total", "", "0+0.1x1500")
        | rising("table_recovery_remaining_records", 'table="cases", partition="1"', "500x9 500-5x1500")
        | rising("table_recovery_remaining_records", 'table="cases", partition="2"', "0x82 500-5x1500"),
        {90: [fired("ProcessingErrorBudgetBurn")]},
    ),
}


WORDED = (
    "customers suffer",
    "the burn is over",
    "the pipeline complains",
    "a dead feed",
    "stale",
    "uncovered",
    "one group is gone",
)


def unit_test(scenario: Scenario, *rule_files: Path) -> str:
    """Return a scenario as promtool takes it; JSON is YAML."""
    step = scenario.step_minutes
    last = max(*scenario.firing, *(minute for minute, _, _ in scenario.also), 0)
    firing = f'group by ({_SHOWN}) (ALERTS{{alertstate="firing", alertname!="Watchdog"}})'
    checks: list[dict[str, Any]] = [
        {
            "expr": firing,
            "eval_time": f"{minute}m",
            "exp_samples": [{"labels": labels, "value": 1} for labels in expected],
        }
        for minute, expected in scenario.firing.items()
    ]
    checks += [
        {"expr": f"sum({expr})", "eval_time": f"{minute}m", "exp_samples": [{"labels": "{}", "value": value}]}
        for minute, expr, value in scenario.also
    ]
    series = [{"series": name, "values": _every(values, step, last)} for name, values in scenario.series.items()]
    return json.dumps(
        {
            "rule_files": [str(file) for file in rule_files],
            "group_eval_order": ["cxstream", "cxstream-operations", "cxstream-sre"],
            "evaluation_interval": f"{scenario.evaluated_minutes}m",
            "tests": [{"interval": f"{step}m", "input_series": series, "promql_expr_test": checks}],
        }
    )


def _every(values: str, step: int, last: int) -> str:
    """Return the samples of every so many minutes of those of every minute, up to the last."""
    minutes: list[str] = []
    for part in values.split():
        start, by, times = re.fullmatch(r"(_|stale|-?[\d.]+)([+-][\d.]+)?(?:x(\d+))?", part).groups()  # type: ignore[union-attr]
        minutes += [
            f"{float(start) + float(by or 0) * number:.9g}" if start[-1].isdigit() else start
            for number in range(int(times or 0) + (start[-1].isdigit() or not times))
        ]
    samples = minutes[: last + 1 : step]
    if "stale" in minutes and "stale" not in samples:
        samples.append("stale")
    return " ".join(samples)


@pytest.mark.parametrize("name", SCENARIOS)
def test_what_fires(name: str, tmp_path: Path) -> None:
    """In each scenario exactly the alerts named are firing at the minutes named."""
    require_prometheus()
    rules, file = tmp_path / "rules.yml", tmp_path / "test.yml"
    rules.write_text(UNDER_ALERTS)
    file.write_text(unit_test(SCENARIOS[name], rules, ROOT / ALERTS))
    promtool("test rules", file)


def test_every_alert_fires_in_some_scenario() -> None:
    """None is there that no scenario shows firing, and none whose words are not read."""
    shown = {
        name
        for scenario in WORDED
        for expected in SCENARIOS[scenario].firing.values()
        for labels in expected
        for name in re.findall(r'alertname="(\w+)"', labels)
    }
    assert shown | {"Watchdog"} == {alert.name for alert in EVERY}


def test_prometheus_takes_the_alerts_for_every_level_configured(tmp_path: Path) -> None:
    """`promtool check rules` is clean, duplicates included, for the default levels and for a cross product."""
    require_prometheus()
    region_product = LEVELS[1].__class__(
        name="region_product", dimensions=("region", "product"), windows=("24h", "30d")
    )
    file = tmp_path / "alerts.yml"
    file.write_text(alerts_file(alerts([*LEVELS, region_product], CATALOGUE), DEFAULT_SITE))
    for checked in (ROOT / ALERTS, file):
        assert "duplicate" not in promtool("check rules", checked)


@pytest.mark.parametrize("name", WORDED)
def test_texts_are_filled_in(name: str, tmp_path: Path) -> None:
    """What a reader gets has figures, no template error, no hole, and says since when."""
    scenario = SCENARIOS[name]
    firing, said = {}, []
    for minute, expected in scenario.firing.items():
        for labels in expected:
            firing[re.findall(r'alertname="(\w+)"', labels)[0]] = minute
    rules = tmp_path / "rules.yml"
    rules.write_text(UNDER_ALERTS)
    test = json.loads(unit_test(scenario, rules, ROOT / ALERTS))
    test["tests"][0] |= {
        "promql_expr_test": [],
        "alert_rule_test": [
            {"alertname": alert, "eval_time": f"{minute}m", "exp_alerts": []} for alert, minute in firing.items()
        ],
    }
    file = tmp_path / "test.yml"
    file.write_text(json.dumps(test))
    require_prometheus()
    done = subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, text=True, check=False)
    said = re.findall(r'(?:description|summary)="(.*?)"(?=, [a-z_]+="|\})', done.stdout + done.stderr)
    assert len(said) >= 2 * len(firing)
    for text in said:
        assert not re.search(r"<|\{\{|\}\}|error [^b]|  | \.|%!|NaN|none|Since now", text), text
    assert sum("Since 1970-01-01 00:" in text for text in said) == len(said) / 2


# --- Each part is needed ---


GATES = {
    "coverage": (f"\n          and on (group) ({COVERED} == 1)", "uncovered"),
    "freshness": (f"\n          and on (group) ({WATERMARK_AGE} < 900)", "stale"),
    "live sources": (f"\n          and on (group, vital_sign) {SOURCES_ALIVE}", "a dead feed"),
}


def noticed(scenario: str, rules: str, alerting: str, folder: Path) -> str:
    """Assert that a scenario fails, by what fires, with these rules and alerts; return what promtool said."""
    require_prometheus()
    files = folder / "rules.yml", folder / "alerts.yml"
    for file, text in zip(files, (rules, alerting), strict=True):
        file.write_text(text)
    assert (rules, alerting) != (UNDER_ALERTS, GENERATED[ALERTS]), "the mutation does not apply any more"
    test = folder / "test.yml"
    test.write_text(unit_test(SCENARIOS[scenario], *files))
    done = subprocess.run(["promtool", "test", "rules", str(test)], capture_output=True, text=True, check=False)
    assert done.returncode != 0, "no scenario noticed"
    assert "exp:" in done.stderr + done.stdout, "it must fail by what fires, not by being no rule file"
    return done.stdout + done.stderr


@pytest.mark.parametrize("gate", GATES)
def test_every_gate_is_needed(gate: str, tmp_path: Path) -> None:
    """Without one of its gates each alert of vital signs fires on figures that cannot be trusted."""
    part, scenario = GATES[gate]
    said = noticed(scenario, UNDER_ALERTS, GENERATED[ALERTS].replace(part, ""), tmp_path)
    for alert in ALL_BUSINESS:
        assert re.search(r'alertname="(\w+)"', alert)[0] in said  # type: ignore[index]


ALERT_MUTATIONS: dict[str, tuple[str, str | re.Pattern[str], str]] = {
    "no least number of units": (
        "few units",
        re.compile(r"\n +and on \([a-z_, ]+\) \(\w+:\w+:sum\{window=\"24h\"\} >= 10\)"),
        "",
    ),
    "no least number in the hour": (
        "few units",
        re.compile(r"\n +and on \([a-z_, ]+\) \(\w+:\w+:sum\{window=\"1h\"\} >= 10\)"),
        "",
    ),
    "one unit more": ("few units", '{window="24h"} >= 10', '{window="24h"} > 10'),
    "the ratio for its bound": ("chance explains it", "wilson_upper99{", "ratio{"),
    "no margin": ("a drop that does not matter", " - 0.1)", ")"),
    "any number at risk": ("few units", ":cxstream_at_risk_units:sum >= 5", ":cxstream_at_risk_units:sum >= 1"),
    "at risk, whatever the day": (
        "at risk, and the day bears it",
        re.compile(r"(\* 0\)\n +\)\n +< on \([a-z_, ]+\)\n)( +region:cxstream_vital_sign_objective:ratio)"),
        r"\1\2 * 9",
    ),
    "at risk forgets an empty day": (
        "at risk, and the day bears it",
        "\n              or\n              region:cxstream_at_risk_units:sum * 0",
        "",
    ),
    "at once": ("customers suffer", "for: 15m", "for: 1m"),
    "not kept": ("a hand-over while it fires", "keep_firing_for: 30m", "keep_firing_for: 1m"),
    "kept for ever": ("it ends", "keep_firing_for: 30m", "keep_firing_for: 300m"),
    "gates of any group": (
        "another group suffers",
        re.compile(r"and on \(group(?:, )?(vital_sign)?\) (?=\(job|vital_sign:)"),
        r"and on (\1) ",
    ),
    "stale is quiet": ("stale", "seconds:max >= 900", "seconds:max >= 90000"),
    "uncovered is quiet": ("uncovered", "covered:ratio < 1", "covered:ratio < 0.5"),
    "absent within a group only": (
        "nothing was ever there",
        re.compile(r"\n +or on \(\)\n +absent\(cxstream_partitions_expected\)"),
        "",
    ),
    "absent only if all are": (
        "one group is gone",
        re.compile(r"expr: \|-\n +\(\n +group by.*?or on \(\)\n +absent", re.DOTALL),
        "expr: |-\n          absent",
    ),
    "a silence of our own": (
        "a feed that is dead because we lag",
        re.compile(r"(>= 3600\n +and on \(group\) \([^)]*\))\n +and on \(group\) \([^)]*\)"),
        r"\1",
    ),
    "a silence of the uncovered": (
        "a feed of which nobody can tell",
        re.compile(r"(>= 3600)\n +and on \(group\) \([^)]*\)"),
        r"\1",
    ),
    "never heard is no silence": (
        "a feed never heard",
        re.compile(r"\n +unless on \(group\) topic[^\n]*parts[^\n]*"),
        " < 0",
    ),
    "no short window": (
        "the burn is over",
        re.compile(r"\n +and on \(group\) job:cxstream_event_to_gauges_late:ratio_rate5m > [\d.]+"),
        "",
    ),
    "a factor out of reach": ("all events are late, all refused", "> 0.144", "> 1.44"),
    "a factor of 1 out of reach": ("all events are late, all refused", "> 0.01\n", "> 1.01\n"),
    "a budget of nothing": ("what the budget allows", "> 0.01\n", "> 0.001\n"),
    "late: only late_events": (
        "the pipeline complains",
        re.compile(r"\n +\+\n +sum by \(group, topic\) \(increase\(cxstream_dead[^\n]*"),
        "",
    ),
    "late: only dead letters": (
        "the pipeline complains",
        re.compile(r"sum by \(group, topic\) \(increase\(cxstream_late[^\n]*\n +\+\n +"),
        "",
    ),
    "late: however few": ("the pipeline is quiet", "            >= 10\n", "            >= 1\n"),
    "late: however small a share": ("the pipeline complains", "0.01 * sum", "0.0001 * sum"),
    "skew told twice": (
        "the pipeline complains",
        'reason!~"future|too_old_for_unknown_case"',
        'reason!="too_old_for_unknown_case"',
    ),
    "any dead letter ever": (
        "the pipeline is quiet",
        'increase(cxstream_dead_letters_total{reason="future"}[1h])',
        'cxstream_dead_letters_total{reason="future"}',
    ),
    "what was counted before the first scrape": (
        "a worker counts before it is first scraped",
        re.compile(r"cxstream_dead_letters_total\{reason=\"future\"\}\n +unless[^\n]*\n +or "),
        "",
    ),
    "a gap is a new worker": (
        "a worker that was not scraped for an hour",
        re.compile(r"count_over_time\((cxstream_\w+(?:\{[^}]*\})?)\[1d\] offset 1h\)"),
        r"\1 offset 1h",
    ),
    "any rebalance": ("the pipeline is quiet", "[30m])) > 5", "[30m])) > 1"),
    "any recovery": ("the pipeline is quiet", "_records[10m]) >= (", "_records[10m]) <= ("),
    "a recovery that has just begun": (
        "the pipeline is quiet",
        "remaining_records offset 10m) > 0)",
        "remaining_records offset 10m))",
    ),
    "another recovery": (
        "one recovery after another",
        re.compile(r"min_over_time\((cxstream_table_recovery_remaining_records)\[10m\]\)"),
        r"\1",
    ),
    "labels capped ever": (
        "the pipeline is quiet",
        "increase(cxstream_label_values_capped_total[1h])",
        "cxstream_label_values_capped_total",
    ),
}
RULE_MUTATIONS: dict[str, tuple[str, str | re.Pattern[str], str]] = {
    "no fence": (
        "a hand-over with old figures",
        re.compile(r"\n *== on \(group, partition\) group_left \(\)\n *max by[^)]*\) \(.*?\n {10}\)", re.DOTALL),
        "",
    ),
    "one live source is enough": ("a dead feed", re.compile(r"\) == [23]\)"), ") >= 1)"),
    "sources of other groups": ("another group suffers", "max by (group, topic) (", "min by (topic) ("),
    "a restart forgets": (
        "a restart forgets what was heard",
        re.compile(r"max_over_time\((topic:[a-z_:]+)\[86400s\]\)"),
        r"\1",
    ),
    "only the job's objective": (
        "segments have objectives of their own",
        re.compile(r'max by \([a-z_, ]+\) \(cxstream_vital_sign_objective_ratio\{level="region"\}\)\n +or\n +'),
        "",
    ),
    "only a segment's own objective": (
        "segments have objectives of their own",
        re.compile(r"(level=\"region\"\}\))\n +or\n +\(.*?\n {10}\)", re.DOTALL),
        r"\1",
    ),
    "a limit that is the mean": ("chance explains it", "+ 1.545116153", "+ 0"),
    "the day's coverage": (
        "uncovered",
        "(max by (group) (cxstream_partitions_expected) > 0)",
        "(max by (group) (cxstream_partitions_expected) > 0) * 2",
    ),
}


@pytest.mark.parametrize("mutation", ALERT_MUTATIONS)
def test_every_part_of_an_alert_is_needed(mutation: str, tmp_path: Path) -> None:
    """An alert with a part taken out or bent is still one to Prometheus, and fires or is quiet where it must not."""
    scenario, old, new = ALERT_MUTATIONS[mutation]
    text = GENERATED[ALERTS]
    mutated = old.sub(new, text) if isinstance(old, re.Pattern) else text.replace(old, new)
    noticed(scenario, UNDER_ALERTS, mutated, tmp_path)


@pytest.mark.parametrize("mutation", RULE_MUTATIONS)
def test_every_rule_under_an_alert_is_needed(mutation: str, tmp_path: Path) -> None:
    """The same of the recording rules that alerts rest on."""
    scenario, old, new = RULE_MUTATIONS[mutation]
    text = UNDER_ALERTS
    mutated = old.sub(new, text) if isinstance(old, re.Pattern) else text.replace(old, new)
    noticed(scenario, mutated, GENERATED[ALERTS], tmp_path)
