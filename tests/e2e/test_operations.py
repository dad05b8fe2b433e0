"""What operations teams look at and are woken by, on real parts: dashboards, the console page, alerts and their words.

Two workers on Apache Kafka, Prometheus with the committed rules and console page, Alertmanager with the committed
routes and inhibitions. Of the committed files only this is changed, by a rule: every waiting time of alerts and of
their notifications is divided by `SHORTER` (`shortened`, `shortened_routes`), the figures are evaluated every second,
and every receiver is a webhook of this test.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from math import sqrt
from pathlib import Path
from statistics import NormalDist
from typing import Any, NamedTuple

import pytest
import yaml

from cxstream.config import Settings
from cxstream.demo.upstream import DAY, HOUR, MINUTE, Delivery, Event, Upstream
from cxstream.domain.instant import format_instant
from cxstream.render.alerts import DEFAULT_SITE
from cxstream.render.artefacts import ALERTS, CONSOLE, DASHBOARDS, RULES
from cxstream.render.panels import Dashboard, dashboards, fill, labels_in
from cxstream.render.rules import COVERED, SOURCES_ALIVE
from cxstream.vital_signs import CATALOGUE
from parts.alertmanager import Told, Webhook, alertmanager, alerts_of, require_alertmanager
from parts.broker import require_apache_kafka, test_broker
from parts.figures import wall_ms
from parts.poison import poison_of
from parts.producer import Job, Message
from parts.prometheus import Prometheus, require_prometheus
from parts.worker import WorkerProcess

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
ALERTMANAGER = ROOT / "deploy" / "alertmanager" / "alertmanager.yml"
LEVELS = Settings().windows().levels

SHORTER = 120
"""Waiting times are divided by this: 15 minutes become 7.5 s, 30 minutes 15 s."""
_UNITS_MS = {"s": 1_000, "m": MINUTE, "h": HOUR, "d": DAY}

PARTITIONS = 4
ON_TIME, LATE = 20, 30
"""Visits of the last day: those that were on time before the incident, and those that it made late."""
MENDED = "mended"
"""The case of one of them that was told late, and then corrected: a verdict that was taken back."""
WAITING = 3
"""Customers who wait for an answer, which is due within the hour."""


def shorter(duration: str) -> str:
    """Return a duration as Prometheus and Alertmanager write it, divided by SHORTER."""
    number, unit = re.fullmatch(r"(\d+)([smhd])", duration).groups()  # type: ignore[union-attr]
    return f"{int(number) * _UNITS_MS[unit] // SHORTER}ms"


def shortened(alerts: str) -> str:
    """Return the text of the generated alerts with every `for` and `keep_firing_for` divided by SHORTER."""
    waits = re.compile(r"^( *(?:keep_firing_)?for: )(\w+)$", re.MULTILINE)
    return waits.sub(lambda found: found[1] + shorter(found[2]), alerts)


def shortened_routes(config: str, webhook: str) -> dict[str, Any]:
    """Return Alertmanager's configuration with every wait of its routes divided by SHORTER, told at the webhook."""
    made: dict[str, Any] = yaml.safe_load(config)
    routes = [made["route"]]
    while routes:
        route = routes.pop()
        routes += route.get("routes", [])
        waits = {key for key in route if key in {"group_wait", "group_interval", "repeat_interval"}}
        route |= {key: shorter(route[key]) for key in waits}
    made["receivers"] = [
        {"name": receiver["name"], "webhook_configs": [{"url": f"{webhook}/{receiver['name']}", "send_resolved": True}]}
        for receiver in made["receivers"]
    ]
    return made


def test_only_waiting_times_are_changed() -> None:
    """The alerts under test are the generated ones but for `for` and `keep_firing_for`; the routes are as deployed."""
    before, after = ((ROOT / ALERTS).read_text("utf-8"), shortened((ROOT / ALERTS).read_text("utf-8")))
    changed = [(old, new) for old, new in zip(before.split("\n"), after.split("\n"), strict=True) if old != new]
    assert len(changed) == len(re.findall(r"^ *(?:keep_firing_)?for:", before, re.MULTILINE)) > 0
    assert all(re.match(r" *(keep_firing_)?for: ", old) for old, _ in changed)
    deployed, tested = yaml.safe_load(ALERTMANAGER.read_text("utf-8")), shortened_routes(ALERTMANAGER.read_text(), "u")
    assert deployed["inhibit_rules"] == tested["inhibit_rules"]
    assert re.sub(r"\d+\w+", "", str(deployed["route"])) == re.sub(r"\d+\w+", "", str(tested["route"]))


class Operated(NamedTuple):
    """A job with two workers, watched as operations teams watch it."""

    job: Job
    workers: tuple[WorkerProcess, WorkerProcess]
    prometheus: Prometheus
    alertmanager: str
    webhook: Webhook


@pytest.fixture(scope="module")
def operated(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    """Play a history that ended days ago, then the last day: visits on time, poison, and customers who wait now."""
    if test_broker().kind == "embedded":
        require_apache_kafka()
    require_prometheus()
    require_alertmanager()
    folder = tmp_path_factory.mktemp("operated")
    job = Job(kafka, "operated", partitions=PARTITIONS)
    job.declare()
    now_ms = wall_ms()
    job.deliver(Upstream(11, now_ms - 40 * DAY, cases_per_day=6).events(now_ms - 5 * DAY))
    settings = {
        **job.settings(folder),
        "CXSTREAM_SIGN_TIERS": "A,B,C",
        "CXSTREAM_KAFKA_SESSION_TIMEOUT_SECONDS": "30",  # so long nobody speaks for the partitions of a dead worker
    }
    alerting = folder / "cxstream.alerts.yml"
    alerting.write_text(shortened((ROOT / ALERTS).read_text("utf-8")))
    workers = tuple(
        WorkerProcess({**settings, "CXSTREAM_DATA_FOLDER": str(folder / name)}, folder / f"{name}.log")
        for name in ("one", "two")
    )
    first, second = workers
    with Webhook() as webhook:
        routes = folder / "alertmanager.yml"
        routes.write_text(yaml.safe_dump(shortened_routes(ALERTMANAGER.read_text("utf-8"), webhook.url)))
        with (
            alertmanager(routes) as address,
            Prometheus(
                {"cxstream": [worker.address for worker in workers]},
                rule_files=[ROOT / RULES, alerting],
                config={"alerting": {"alertmanagers": [{"static_configs": [{"targets": [address]}]}]}},
                consoles=(ROOT / CONSOLE).parent,
            ) as prometheus,
            first.start(),  # alone at first, so that the second makes it go through a rebalance
            second.launch(),
        ):
            share = f'count(count by (instance) (cxstream_partition_ready{{group="{job.group}"}} == 1)) == 2'
            prometheus.wait_for(f'{share} and on () {COVERED}{{group="{job.group}"}} == 1', seconds=90)
            job.deliver(visit(MENDED, late=True))
            sign = f'group="{job.group}", vital_sign="on_time_arrival", window="24h"'
            prometheus.wait_for(f'job:cxstream_vital_sign_window_units:sum{{{sign}, outcome="bad"}} == 1')
            job.deliver(mended())
            job.deliver(delivery for number in range(1, ON_TIME) for delivery in visit(f"good-{number}", late=False))
            job.deliver((*waiting_now(), *a_mistake(), *without_a_window()))
            tickets = job.topics["ticket"]
            job.produce(Message(tickets, *record) for record in poison_of(job.codec, wall_ms()).values())
            yield Operated(job, (first, second), prometheus, address, webhook)


def told_at(at_ms: int, kind: str, case_id: str, **fields: object) -> Delivery:
    """Return an event that was told when it happened; instants among the fields are in milliseconds."""
    topic, event_type = kind.split(".")
    event: Event = {"event_id": f"{case_id}-{kind}", "topic": topic, "type": event_type, "case_id": case_id}
    times = {name: format_instant(int(str(fields[name]))) for name in ("window_start", "window_end") if name in fields}
    return Delivery(at_ms, topic, {**event, "at": format_instant(at_ms), **fields, **times})  # type: ignore[arg-type]


def visit(case_id: str, *, late: bool) -> Iterator[Delivery]:
    """Yield a case of the region east that is fixed by one visit: in the window promised, or hours after it."""
    now_ms = wall_ms()
    window_ms = (now_ms - 4 * HOUR, now_ms - 3 * HOUR) if late else (now_ms - 2 * HOUR, now_ms - HOUR)
    arrived_ms = now_ms - 70 * MINUTE  # not within the hour: there it would be a sharp drop besides
    segment = {"region": "east", "product": "pump"}
    visited = {"visit_id": f"V-{case_id}"}
    promised = {**visited, "window_start": window_ms[0], "window_end": window_ms[1]}
    yield told_at(now_ms - 8 * HOUR, "ticket.opened", case_id, asset_id=f"of-{case_id}", **segment)
    yield told_at(now_ms - 7 * HOUR, "ticket.acknowledged", case_id, auto=False)
    yield told_at(now_ms - 6 * HOUR, "dispatch.scheduled", case_id, **promised)
    yield told_at(arrived_ms, "dispatch.arrived", case_id, **visited)
    yield told_at(now_ms - 10 * MINUTE, "dispatch.completed", case_id, **visited, outcome="fixed")


def mended() -> Iterator[Delivery]:
    """Yield the correction that makes the visit of the case MENDED one in its window."""
    now_ms = wall_ms()
    on_time = {"at": format_instant(now_ms - 3 * HOUR - MINUTE)}
    yield told_at(now_ms, "dispatch.corrected", MENDED, target=f"{MENDED}-dispatch.arrived", set=on_time)


def waiting_now() -> Iterator[Delivery]:
    """Yield urgent cases that nobody has acknowledged, so that they are at risk; each with a visit still to come."""
    for number in range(WAITING):
        opened_ms = wall_ms() - 5 * MINUTE
        case_id = f"waiting-{number}"
        to_come = {"window_start": opened_ms + 4 * HOUR, "window_end": opened_ms + 6 * HOUR}
        yield told_at(opened_ms + MINUTE, "dispatch.scheduled", case_id, visit_id=f"V-{case_id}", **to_come)
        yield told_at(
            opened_ms, "ticket.opened", case_id, asset_id=case_id, region="north", product="hvac", priority="P1"
        )


def a_mistake() -> Iterator[Delivery]:
    """Yield a case that is cancelled as created in error: a watched loophole."""
    now_ms = wall_ms()
    yield told_at(now_ms - 2 * HOUR, "ticket.opened", "mistaken", asset_id="mistaken", region="west", product="hvac")
    yield told_at(now_ms - HOUR, "ticket.cancelled", "mistaken", by="desk", reason="created_in_error")


def without_a_window() -> Iterator[Delivery]:
    """Yield a case that is fixed by a visit for which nothing was promised: left out of on_time_arrival."""
    return (one for one in visit("unpromised", late=False) if one.event["type"] != "scheduled")


# --- Dashboards and the console page ----------------------------------------------------------------------------------


CHOICES = [
    (dashboard, level)
    for dashboard in dashboards(LEVELS, CATALOGUE, DEFAULT_SITE.cases)
    for level in next((one.values for one in dashboard.variables if one.name == "level"), ("job",))
]
"""Every dashboard, with every level a reader can choose."""


def unanswered(operated: Operated, dashboard: Dashboard, level: str) -> list[str]:
    """Return, for every query of a dashboard that has no series, or not the labels its names need, what is wrong."""
    chosen = {
        "group": operated.job.group,
        "vital_sign": "on_time_arrival",
        "level": level,
        "segment": ".*",
        "window": "30d",
        "cases_url": DEFAULT_SITE.cases,
        "__rate_interval": "5m",
    }
    if dashboard.uid == "cxstream-operations":
        chosen["vital_sign"] = ".*"
    found = []
    for panel in dashboard.panels:
        for query in panel.queries:
            expr = fill(query.expr, chosen)
            series = operated.prometheus.query(expr)
            if not series:
                found.append(f"{panel.title}, {query.name}: no series: {expr}")
            needed = {*panel.labels} if panel.kind == "table" else labels_in(query.name)
            lacking = {label for one in series for label in needed - one["metric"].keys()}
            if lacking:
                found.append(f"{panel.title}, {query.name}: no label {', '.join(sorted(lacking))}: {expr}")
            if panel.kind == "stat" and len(series) > 1:
                found.append(f"{panel.title}: {len(series)} series where one number is shown")
    return found


@pytest.mark.parametrize(("dashboard", "level"), CHOICES, ids=lambda one: getattr(one, "uid", one))
def test_every_panel_has_its_series(operated: Operated, dashboard: Dashboard, level: str) -> None:
    """Every query of every panel gives series, with all labels that its legend or its table is made with."""
    deadline = time.monotonic() + 30
    while wrong := unanswered(operated, dashboard, level):
        assert time.monotonic() < deadline, "\n".join(wrong)
        time.sleep(1)


def test_the_console_page_shows_the_figures(operated: Operated) -> None:
    """Prometheus fills the page without an error: every sign, the worst segments, who is at risk; all trusted."""
    figure = f'{{group="{operated.job.group}",vital_sign="on_time_arrival",window="24h"}}'
    operated.prometheus.wait_for(f"job:cxstream_vital_sign_decided_units:sum{figure} == {ON_TIME}")
    risk = f'region:cxstream_at_risk_units:sum{{group="{operated.job.group}",vital_sign="first_response"}}'
    operated.prometheus.wait_for(f"{risk} == {WAITING}")
    page = operated.prometheus.text(f"/consoles/cxstream.html?group={operated.job.group}")
    assert "{{" not in page
    assert "These figures are whole and fresh." in page
    rows = [re.sub(r"<[^>]+>", "|", row) for row in re.findall(r"<tr.*?</tr>", page, re.DOTALL)]
    for name, sign in CATALOGUE.items():
        assert any(name in row and sign.question.split("'")[0] in row for row in rows), name
    signs = next(row for row in rows if "on_time_arrival" in row and "100%" in row and f"|{ON_TIME}|" in row)
    assert "|90%|" in signs
    assert any("first_response" in row and "north" in row and f"|{WAITING}|" in row for row in rows)
    assert any("|region|" in row and "%" in row for row in rows)
    assert operated.job.group in operated.prometheus.text("/consoles/cxstream.html")


# --- Alerts -----------------------------------------------------------------------------------------------------------


def about(operated: Operated, name: str, **labels: str) -> Any:  # noqa: ANN401 - a predicate
    """Return what tells whether a notification is of this alert of the job, firing."""
    wanted = {"alertname": name, "group": operated.job.group, **labels}
    return lambda told: told.status == "firing" and wanted.items() <= told.labels.items()


def upper_bound(good: int, decided: int) -> float:
    """Return the upper end of the 99 % Wilson interval of a share."""
    z, share = NormalDist().inv_cdf(0.995), good / decided
    spread = z * sqrt(share * (1 - share) / decided + z * z / (4 * decided * decided))
    return (share + z * z / (2 * decided) + spread) / (1 + z * z / decided)


@pytest.fixture(scope="module")
def incident(operated: Operated) -> Told:
    """Make every visit late from now on, as far as the last day goes, and return what somebody is woken with.

    Before it there is nothing to tell; an alert that was pending by the first visits is gone a second after them.
    """
    sign = f'group="{operated.job.group}", vital_sign="on_time_arrival"'
    day = f'job:cxstream_vital_sign_decided_units:sum{{{sign}, window="24h"}}'
    operated.prometheus.wait_for(f"{day} == {ON_TIME} unless on () ALERTS{{{sign}}}")
    assert operated.prometheus.query(f"{SOURCES_ALIVE}{{{sign}}}"), "nor is it the feed that keeps it quiet"
    operated.job.deliver(delivery for number in range(LATE) for delivery in visit(f"late-{number}", late=True))
    name = "CxStreamVitalSignBelowObjective"
    return operated.webhook.wait_for(
        "the incident", about(operated, name, vital_sign="on_time_arrival", level="job"), seconds=60
    )


def test_an_incident_wakes_somebody_with_the_right_words(operated: Operated, incident: Told) -> None:
    """Late visits fire the alert of their sign, on call, with rate, count, objective, since when, and where to look."""
    assert incident.receiver == "operations-page"
    assert incident.labels["severity"] == "critical"
    group = operated.job.group
    good, decided = ON_TIME, ON_TIME + LATE
    assert incident.annotations["summary"] == f"on_time_arrival of all of {group} is below its objective"
    words, _, since = incident.annotations["description"].partition(" Since ")
    assert words == (
        f"{100 * good / decided:.4g}% of {decided} units decided in the last 24h were good for the customer;"
        f" the objective is 90%. By chance the share could be {100 * upper_bound(good, decided):.4g}% at most."
    )
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", since)
    assert incident.annotations["runbook_url"] == (
        f"{DEFAULT_SITE.runbooks}/operations.md#cxstreamvitalsignbelowobjective"
    )
    link = incident.annotations["dashboard_url"]
    assert link == (
        f"{DEFAULT_SITE.dashboards}/d/cxstream-operations?var-group={group}"
        "&var-vital_sign=on_time_arrival&var-level=job&var-segment="
    )
    assert (ROOT / DASHBOARDS / "cxstream-operations.json").exists()
    region = about(operated, "CxStreamVitalSignBelowObjective", vital_sign="on_time_arrival", level="region")
    assert operated.webhook.wait_for("the region", region).receiver == "operations-regions"
    assert (
        operated.webhook.wait_for("Watchdog", lambda told: told.labels["alertname"] == "Watchdog").receiver
        == "dead-man"
    )


def test_a_killed_worker_holds_the_incident_back_and_wakes_the_sre(operated: Operated, incident: Told) -> None:
    """With half of the partitions silent no vital sign is told; that they are is, with how many and where to look."""
    first, _ = operated.workers
    owned = first.metrics().sum("cxstream_partition_ready")
    assert 0 < owned < PARTITIONS
    operated.webhook.told.clear()  # nobody was ready before the workers were
    first.kill()
    told = operated.webhook.wait_for("coverage", about(operated, "CxStreamPartitionsUncovered"))
    assert told.receiver == "sre-page"
    assert told.annotations["summary"] == f"Partitions of {operated.job.group} have no ready worker"
    assert told.annotations["description"].startswith(
        f"{100 * (PARTITIONS - owned) / PARTITIONS:.4g}% of {PARTITIONS} partitions are spoken for"
    )
    assert told.annotations["runbook_url"] == f"{DEFAULT_SITE.runbooks}/sre.md#cxstreampartitionsuncovered"
    assert (
        told.annotations["dashboard_url"] == f"{DEFAULT_SITE.dashboards}/d/cxstream-sre?var-group={operated.job.group}"
    )

    def by_name(name: str) -> list[dict[str, Any]]:
        known = alerts_of(operated.alertmanager)
        return [
            one for one in known if {"alertname": name, "group": operated.job.group}.items() <= one["labels"].items()
        ]

    (uncovered,) = by_name("CxStreamPartitionsUncovered")
    assert uncovered["status"]["state"] == "active"
    held_back = [one for one in by_name(incident.labels["alertname"]) if one["labels"]["level"] == "job"]
    assert held_back, "the alert of the incident goes on firing for a while"
    for one in held_back:
        assert one["status"]["state"] == "suppressed"
        assert uncovered["fingerprint"] in one["status"]["inhibitedBy"]
