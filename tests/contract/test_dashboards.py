"""Dashboards and the console page: every query is one Prometheus takes, of series that exist, and leads somewhere."""

from __future__ import annotations

import json
import re
import sys
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlparse

import pytest
import yaml
from click.testing import CliRunner

from cxstream.cli import main
from cxstream.config import Settings
from cxstream.engine.ledger import Level
from cxstream.exposition.families import FAMILIES
from cxstream.render.alerts import DEFAULT_SITE, Site
from cxstream.render.artefacts import ALERTS, CONSOLE, DASHBOARDS, artefacts
from cxstream.render.console import console
from cxstream.render.panels import (
    HEALTH,
    OVERVIEW,
    SIGN,
    Dashboard,
    Panel,
    Query,
    dashboards,
    fill,
    labels_in,
    variables_in,
    windows_of_all,
)
from cxstream.render.rules import recording_rules
from cxstream.vital_signs import CATALOGUE
from cxstream.web.asking import UNITS, refuse_others, selection_of
from parts.pages import StandIn, live_of, settings_of
from parts.prometheus import Prometheus, promtool, require_prometheus

ROOT = Path(__file__).resolve().parents[2]
GRAFANA = ROOT / "deploy" / "grafana"
LEVELS = Settings().windows().levels
CROSSED = [*LEVELS, Level(name="region_product", dimensions=("region", "product"), windows=("24h",))]
JOB_ALONE = [level for level in LEVELS if level.name == "job"]
GENERATED = artefacts(FAMILIES, LEVELS)
SHOWN = dashboards(LEVELS, CATALOGUE, DEFAULT_SITE.cases)
JSON: dict[str, Any] = {one.uid: json.loads(GENERATED[f"{DASHBOARDS}/{one.uid}.json"]) for one in SHOWN}
CHOSEN = {
    "group": "g",
    "vital_sign": "on_time_arrival",
    "level": "region",
    "segment": "north",
    "window": "24h",
    "cases_url": "http://worker",
    "__rate_interval": "5m",
}
_NAME = re.compile(r"\b(?:[a-z_]+:)?cxstream_[a-z_:0-9]+")
_BUILT_IN = {"__rate_interval"}

every_dashboard = pytest.mark.parametrize("dashboard", SHOWN, ids=lambda one: one.uid)


def queries(shown: list[Dashboard]) -> list[tuple[Panel, Query]]:
    """Return every query with its panel."""
    return [(panel, query) for one in shown for panel in one.panels for query in panel.queries]


def known_series(levels: list[Level] | tuple[Level, ...]) -> set[str]:
    """Return the names of what workers expose and Prometheus records."""
    names = {family.name for family in FAMILIES} | {rule.record for rule in recording_rules(levels, CATALOGUE)}
    return names | {
        f"{family.name}_{part}" for family in FAMILIES if family.buckets for part in ("bucket", "sum", "count")
    }


# --- What is asked ---


@pytest.mark.parametrize("levels", [LEVELS, CROSSED, JOB_ALONE], ids=["default", "crossed", "job alone"])
def test_panels_and_console_use_only_series_that_exist(levels: list[Level]) -> None:
    """Every name in a query is a family of the inventory or recorded by a rule, whichever level is chosen."""
    known = known_series(levels)
    shown = dashboards(levels, CATALOGUE, DEFAULT_SITE.cases)
    for level in levels:
        for panel, query in queries(shown):
            names = _NAME.findall(fill(query.expr, {**CHOSEN, "level": level.name}))
            assert names, panel.title
            assert set(names) <= known, panel.title
        for one in shown:
            for variable in one.variables:
                assert set(_NAME.findall(fill(variable.asked, {**CHOSEN, "level": level.name}))) <= known
    names = re.findall(r"(?:%s|[a-z_]+)?:?cxstream_[a-z_:0-9]+", console(levels, CATALOGUE, DEFAULT_SITE.cases))
    assert {name.replace("%s", level.name) for name in names for level in levels if "cxstream_" in name} <= known


def test_panels_keep_jobs_apart() -> None:
    """Every selector names the job the reader has chosen; on the console page too."""
    for panel, query in queries(SHOWN):
        for name, braces in re.findall(
            rf"({_NAME.pattern}|\$\{{level\}}:cxstream_[a-z_:0-9]+)(\{{[^}}]*\}}|)", query.expr
        ):
            assert 'group="$group"' in braces, (panel.title, name)
    for name, braces in re.findall(r"(\bcxstream_[a-z_:0-9]+)(\{[^}]*\}|)", GENERATED[CONSOLE]):
        assert "group=%q" in braces or name == "cxstream_partitions_expected", name


def test_prometheus_takes_every_query(tmp_path: Path) -> None:
    """With the variables filled in, each query is PromQL to promtool, for every level."""
    require_prometheus()
    rules = [
        {"record": f"asked:{number}", "expr": fill(query.expr, {**CHOSEN, "level": level.name})}
        for level in CROSSED
        for number, (_, query) in enumerate(queries(dashboards(CROSSED, CATALOGUE, DEFAULT_SITE.cases)))
    ]
    rules = [{**rule, "record": f"asked:query{number}"} for number, rule in enumerate(rules)]
    file = tmp_path / "asked.yml"
    file.write_text(json.dumps({"groups": [{"name": "asked", "rules": rules}]}))
    promtool("check rules", file)


@every_dashboard
def test_variables_are_there_and_used(dashboard: Dashboard) -> None:
    """Every variable in a query or a link is one of the dashboard's, and each of these is used somewhere."""
    there = {variable.name for variable in dashboard.variables}
    used: set[str] = set()
    for panel in dashboard.panels:
        for text in (panel.title, *(query.expr for query in panel.queries), *(link.url for link in panel.links)):
            used |= variables_in(text)
    used |= {name for variable in dashboard.variables for name in variables_in(variable.asked)}
    assert used - _BUILT_IN == there


@every_dashboard
def test_windows_offered_are_windows_of_every_level(dashboard: Dashboard) -> None:
    """Whatever window a reader chooses, every level is counted over it; the day comes first."""
    for variable in dashboard.variables:
        if variable.name == "window":
            assert variable.values[0] == "24h"
            assert set(variable.values) == {"24h", "30d"} == set(windows_of_all(LEVELS))
    assert windows_of_all(CROSSED) == ("24h",)
    job, none_shared = LEVELS[0], Level(name="region", dimensions=("region",), windows=("9d",))
    assert windows_of_all([job, none_shared]) == job.windows


# --- What Grafana reads ---


def drawn_panels(uid: str) -> list[dict[str, Any]]:
    """Return the panels of a dashboard's JSON, rows apart."""
    return [panel for panel in JSON[uid]["panels"] if panel["type"] != "row"]


def test_the_dashboards_are_those_alerts_lead_to() -> None:
    """`dashboard_url` of every alert names a dashboard there is, and variables it has."""
    links = re.findall(r'dashboard_url: "([^"]+)"', GENERATED[ALERTS])
    assert links
    for link in links:
        url = urlparse(re.sub(r"\{\{.*?\}\}", "x", link))
        uid = url.path.removeprefix("/d/")
        there = {variable["name"] for variable in JSON[uid]["templating"]["list"]}
        assert {pair.partition("=")[0].removeprefix("var-") for pair in url.query.split("&")} <= there, link
    assert set(JSON) == {OVERVIEW, SIGN, HEALTH}


@every_dashboard
def test_what_is_drawn_is_what_is_asked(dashboard: Dashboard) -> None:
    """The JSON has every panel with its title, text and queries, asked of the Prometheus chosen, in its order."""
    drawn = drawn_panels(dashboard.uid)
    for panel, its in zip(dashboard.panels, drawn, strict=True):
        assert (its["title"], its["description"]) == (panel.title, panel.about)
        assert its["options"] is not None
        assert [target["expr"] for target in its["targets"]] == [query.expr for query in panel.queries]
        assert {target["datasource"]["uid"] for target in [its, *its["targets"]]} == {"${datasource}"}
        assert len({target["refId"] for target in its["targets"]}) == len(panel.queries)
        now = panel.kind in {"stat", "bars", "table"}
        assert {bool(target.get("instant")) for target in its["targets"]} == {now}
        if panel.kind == "table":
            assert all(target["format"] == "table" for target in its["targets"])
        else:
            assert [target["legendFormat"] for target in its["targets"]] == [query.name for query in panel.queries]


def test_how_much_a_worker_can_still_take_is_told_by_its_cpu() -> None:
    """The time of batches is also waiting for the brokers; and what is above a core, in threads, is not cut off."""
    (cpu,) = (panel for panel in JSON["cxstream-sre"]["panels"] if panel["title"] == "CPU, by worker")
    assert "cxstream_worker_cpu_seconds_total" in cpu["targets"][0]["expr"]
    assert "max" not in cpu["fieldConfig"]["defaults"]
    assert cpu["fieldConfig"]["defaults"]["custom"]["axisSoftMax"] == 1


@every_dashboard
def test_panels_lie_beside_each_other(dashboard: Dashboard) -> None:
    """No two panels lie over each other, none reaches beyond the page, and each has a number of its own."""
    taken: set[tuple[int, int]] = set()
    panels = JSON[dashboard.uid]["panels"]
    for panel in panels:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in panels}) == len(panels)


@every_dashboard
def test_columns_of_tables_are_arranged_and_linked(dashboard: Dashboard) -> None:
    """A table's labels come first in their order, its figures have their names, and linked columns are columns."""
    for panel, its in zip(dashboard.panels, drawn_panels(dashboard.uid), strict=True):
        if panel.kind != "table":
            continue
        arranged = its["transformations"][-1]["options"]
        shown = sorted(arranged["indexByName"], key=arranged["indexByName"].__getitem__)
        assert shown[: len(panel.labels)] == list(panel.labels)
        values = shown[len(panel.labels) :]
        assert [arranged["renameByName"][value] for value in values] == [query.name for query in panel.queries]
        assert values == (["Value"] if len(panel.queries) == 1 else [f"Value #{c}" for c in "ABCDEFG"[: len(values)]])
        names = {query.name for query in panel.queries} | {
            arranged["renameByName"].get(one, one) for one in panel.labels
        }
        assert {override["matcher"]["options"] for override in its["fieldConfig"]["overrides"]} <= names
        assert {link.column for link in panel.links} <= {*panel.labels, *(query.name for query in panel.queries)}


@every_dashboard
def test_clicks_lead_to_the_cases_behind_a_figure(dashboard: Dashboard) -> None:
    """Each link is drawn; it takes only labels the clicked series has, and parameters that the page of cases reads."""
    for panel, its in zip(dashboard.panels, drawn_panels(dashboard.uid), strict=True):
        drawn = {
            link["url"]
            for override in its["fieldConfig"]["overrides"]
            for one in override["properties"]
            if one["id"] == "links"
            for link in one["value"]
        }
        assert len(drawn) == len({link.url for link in panel.links}), panel.title
        assert not any("LABEL" in url for url in drawn)
        for link in panel.links:
            taken = set(re.findall(r"LABEL\((\w+)\)", link.url))
            has = {*panel.labels} if panel.kind == "table" else set.intersection(*map(labels_of, panel.queries))
            assert taken <= has, (panel.title, link.url)
            if link.url.startswith("${cases_url}/cases"):
                asked_of_a_worker(link.url, panel.title)
            else:
                assert link.url.startswith(f"/d/{SIGN}?")
                assert set(re.findall(r"[?&](\w[\w-]*)=", link.url)) == {"var-group", "var-vital_sign"}
    if dashboard.uid != HEALTH:
        assert any(link.url.startswith("${cases_url}") for panel in dashboard.panels for link in panel.links)


def asked_of_a_worker(link: str, where: str) -> None:
    """Let the page of cases of a worker read a link at every level; it must show what the link names, no more."""
    live = live_of(StandIn(settings_of(SIGN_TIERS="A,B,C"), (), 0))
    for level in LEVELS:
        clicked = {**CHOSEN, "level": level.name, "outcome": "good", "reason": "cancelled"}
        clicked["segment"] = "all" if level.name == "job" else "north"  # as the tables say it
        url = fill(re.sub(r"LABEL\((\w+)\)", lambda label: clicked[label[1]], link), clicked)  # noqa: B023 - called at once
        query = dict(parse_qsl(urlparse(url).query, strict_parsing=True))
        refuse_others(query, *UNITS)
        selection = selection_of(query, live)
        said = {"standing", "sign", "level", "detail"} & query.keys()
        assert {name: getattr(selection, name) for name in said} == {name: query[name] for name in said}, where
        assert selection.segment == ("" if selection.level == "job" else query["segment"]), where
        assert selection.window == ("" if selection.standing == "at_risk" else query.get("window", "24h")), where


def labels_of(query: Query) -> set[str]:
    """Return the labels that a query of lines or bars keeps: those it is added up by, else a recorded series' own."""
    by = re.findall(r"^\w+ by \(([^)]*)\)", query.expr)
    own = {"vital_sign", "level", "segment", "window", "outcome"} | labels_in(query.name)
    return set(by[0].split(", ")) if by else own


def test_the_sign_dashboard_speaks_the_catalogues_words() -> None:
    """For every sign that has an objective the question, both counts, when it is known and what games it are shown."""
    definition = drawn_panels(SIGN)[0]
    words = {
        override["matcher"]["options"]: one["value"][0]["options"]
        for override in definition["fieldConfig"]["overrides"]
        for one in override["properties"]
        if one["id"] == "mappings"
    }
    rated = {name: sign for name, sign in CATALOGUE.items() if sign.measure is None}
    for name, sign in rated.items():
        said = {column: options[name]["text"] for column, options in words.items()}
        assert said == {
            "the customer asks": sign.question,
            "good": sign.numerator,
            "out of": sign.denominator,
            "known": sign.known,
            "what games it": sign.gaming.how,
        }
    assert {name for options in words.values() for name in options} == set(rated)


def test_links_lead_to_the_worker_that_render_was_told(tmp_path: Path) -> None:
    """`cxstream render --cases` says where cases are, for the dashboards and the console page."""
    texts = artefacts(FAMILIES, LEVELS, site=Site(cases="https://cases.test"))
    options = [f"--root={tmp_path}", "--cases=https://cases.test/"]
    assert CliRunner().invoke(main, ["render", *options]).exit_code == 0
    for path in (CONSOLE, *(f"{DASHBOARDS}/{uid}.json" for uid in (OVERVIEW, SIGN))):
        assert "https://cases.test" in texts[path]
        assert DEFAULT_SITE.cases not in texts[path]
        assert (tmp_path / path).read_text("utf-8") == texts[path]


def test_render_without_the_sdk_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the Grafana Foundation SDK is missing, render writes nothing and names it; workers do not need it."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "grafana_foundation_sdk"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "cxstream.render.dashboards", raising=False)
    monkeypatch.setitem(sys.modules, "grafana_foundation_sdk", None)
    done = CliRunner().invoke(main, ["render", f"--root={tmp_path}"])
    assert done.exit_code == 1
    assert "grafana-foundation-sdk" in done.output
    assert "pip install" in done.output
    assert list(tmp_path.iterdir()) == []


# --- Provisioning ---


def test_grafana_is_given_the_dashboards_and_a_prometheus() -> None:
    """The provisioning files name one data source, a Prometheus and the default, and a folder of dashboards."""
    (source,) = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "cxstream.yml").read_text())["datasources"]
    assert (source["type"], source["isDefault"]) == ("prometheus", True)
    assert urlparse(source["url"]).port == 9090
    (provider,) = yaml.safe_load((GRAFANA / "provisioning" / "dashboards" / "cxstream.yml").read_text())["providers"]
    assert (provider["type"], provider["options"]["path"]) == ("file", "/etc/grafana/dashboards")
    assert {file.name for file in (GRAFANA / "dashboards").iterdir()} == {f"{one.uid}.json" for one in SHOWN}


# --- The console page ---


def test_the_console_page_without_a_worker_says_so(tmp_path: Path) -> None:
    """Prometheus fills the page where nothing is scraped: no figure is made up, and nothing is to be trusted."""
    require_prometheus()
    (tmp_path / "cxstream.html").write_text(GENERATED[CONSOLE], encoding="utf-8")
    with Prometheus(consoles=tmp_path) as prometheus:
        page = prometheus.text("/consoles/cxstream.html")
    assert page.startswith("<!doctype html>")
    assert "none is scraped" in page
    assert "Not to be trusted now" in page
    assert page.count("not known: partitions are not covered") == 2
    assert ">none<" not in page
    assert not re.search(r"\d+(\.\d+)?%", page.split("</style>")[1])
    assert "{{" not in page


def test_the_console_page_leads_to_the_cases_behind_a_figure() -> None:
    """Each link asks for parameters that the page of cases reads."""
    links = re.findall(rf'<a href="({re.escape(DEFAULT_SITE.cases)}/cases[^"]*)"', GENERATED[CONSOLE])
    assert len(links) > len([sign for sign in CATALOGUE.values() if sign.measure is None])
    for link in links:
        asked_of_a_worker(re.sub(r"\{\{ \.Labels\.(\w+) \}\}", r"LABEL(\1)", unescape(link)), "console")


def test_the_console_page_loads_nothing_from_elsewhere() -> None:
    """It has no script, no style sheet, no picture and no frame of another address."""
    assert not re.search(r"<(script|link|img|iframe)|@import|url\(", GENERATED[CONSOLE])
