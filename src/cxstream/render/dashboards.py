"""Dashboards as Grafana reads them, made with the Grafana Foundation SDK, which only who renders needs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from string import ascii_uppercase

from grafana_foundation_sdk.builders import bargauge, common, prometheus, stat, table, timeseries
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as as_common
from grafana_foundation_sdk.models import dashboard as as_dashboard
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from cxstream.render.panels import Dashboard, Link, Panel, Query, Variable

DATASOURCE = "datasource"
"""The variable that says which Prometheus is asked."""
REFRESH = "30s"
SINCE = "now-24h"

_Drawn = stat.Panel | table.Panel | bargauge.Panel | timeseries.Panel
_SOURCE = as_dashboard.DataSourceRef(type_val="prometheus", uid=f"${{{DATASOURCE}}}")
_VALUE_COLUMN = 100
_GOOD = "green"


def dashboard_file(dashboard: Dashboard, every: Iterable[Dashboard], generated: str) -> str:
    """Return a dashboard as JSON, which has no comments: `generated`, who made it, ends the description.

    `every` are the dashboards it leads to.
    """
    built = json.loads(json.dumps(_dashboard(dashboard, every), cls=JSONEncoder))
    description = json.dumps(f"{dashboard.about} {generated}", ensure_ascii=False)
    rest = json.dumps(built, indent=2, ensure_ascii=False).removeprefix("{\n")
    return f'{{ "description": {description},\n{rest}\n'


def _dashboard(dashboard: Dashboard, every: Iterable[Dashboard]) -> as_dashboard.Dashboard:
    drawn = (
        build.Dashboard(dashboard.title)
        .uid(dashboard.uid)
        .tags(["cxstream"])
        .timezone("browser")
        .refresh(REFRESH)
        .time(SINCE, "now")
        .tooltip(as_dashboard.DashboardCursorSync.CROSSHAIR)
        .readonly()
        .with_variable(build.DatasourceVariable(DATASOURCE).label("Prometheus").type("prometheus"))
    )
    for variable in dashboard.variables:
        drawn = drawn.with_variable(_variable(variable))
    for other in every:
        if other.uid != dashboard.uid:
            drawn = drawn.link(_to_dashboard(other))
    for row in dashboard.rows:
        drawn = drawn.with_row(build.Row(row.title))
        for panel in row.panels:
            drawn = drawn.with_panel(_panel(panel))
    made = drawn.build()
    for number, panel_made in enumerate(made.panels or (), start=1):
        panel_made.id_val = number
    return made


def _to_dashboard(other: Dashboard) -> build.DashboardLink:
    kind = as_dashboard.DashboardLinkType.LINK
    return build.DashboardLink(other.title).type(kind).url(f"/d/{other.uid}?${{group:queryparam}}").keep_time(True)  # noqa: FBT003 - the SDK's


def _variable(variable: Variable) -> Builder[as_dashboard.VariableModel]:
    if variable.text:
        shown = as_dashboard.VariableOption(text=variable.text, value=variable.text)
        text = build.TextBoxVariable(variable.name).label(variable.label).description(variable.about)
        return text.default_value(variable.text).current(shown).options([shown])
    if variable.values:
        options = [
            as_dashboard.VariableOption(text=value, value=value, selected=not number)
            for number, value in enumerate(variable.values)
        ]
        custom = build.CustomVariable(variable.name).label(variable.label).description(variable.about)
        return custom.values(",".join(variable.values)).options(options).current(options[0])
    query = build.QueryVariable(variable.name).label(variable.label).description(variable.about)
    query = (
        query.query(variable.asked)
        .datasource(_SOURCE)
        .refresh(as_dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(as_dashboard.VariableSort.ALPHABETICAL_ASC)
    )
    if not variable.every:
        return query
    all_of_them = as_dashboard.VariableOption(text="All", value="$__all", selected=True)
    return query.include_all(True).multi(True).all_value(".*").current(all_of_them)  # noqa: FBT003 - the SDK's


def _panel(panel: Panel) -> _Drawn:
    drawn = _drawn(panel)
    drawn = drawn.title(panel.title).description(panel.about).datasource(_SOURCE)
    drawn = drawn.unit(panel.unit).span(panel.width).height(panel.height).no_value("-")
    drawn = drawn.thresholds(_thresholds(panel))
    for reference, query in zip(ascii_uppercase, panel.queries, strict=False):
        drawn = drawn.with_target(_target(panel, query, reference))
    for link in panel.links:
        if not link.column:
            drawn = drawn.override_by_regexp("/.*/", [_links(panel, link)])
    return drawn


def _drawn(panel: Panel) -> _Drawn:
    now = common.ReduceDataOptions().calcs(["lastNotNull"])
    if panel.kind == "stat":
        color = as_common.BigValueColorMode.VALUE if panel.steps else as_common.BigValueColorMode.NONE
        return stat.Panel().reduce_options(now).color_mode(color).graph_mode(as_common.BigValueGraphMode.NONE)
    if panel.kind == "bars":
        bars = bargauge.Panel().reduce_options(now).orientation(as_common.VizOrientation.HORIZONTAL).min(0)
        return bars.max(1) if panel.unit == "percentunit" else bars
    if panel.kind == "table":
        return _table(panel)
    legend = common.VizLegendOptions().show_legend(True).placement(as_common.LegendPlacement.BOTTOM)  # noqa: FBT003 - the SDK's
    lines = timeseries.Panel().legend(legend.display_mode(as_common.LegendDisplayMode.LIST)).min(0)
    if panel.kind == "stacked":
        stacking = common.StackingConfig().mode(as_common.StackingMode.NORMAL)
        return lines.stacking(stacking).fill_opacity(40)
    return lines.axis_soft_max(1) if panel.unit == "percentunit" else lines


def _table(panel: Panel) -> table.Panel:
    columns = dict(zip(_value_columns(panel), panel.queries, strict=True))
    order = {label: number for number, label in enumerate(panel.labels)}
    order |= {column: _VALUE_COLUMN + number for number, column in enumerate(columns)}
    named = {column: query.name for column, query in columns.items()}
    named |= {label: label.replace("_", " ") for label in panel.labels if "_" in label}
    arranged = {"excludeByName": {"Time": True}, "indexByName": order, "renameByName": named}
    drawn = table.Panel().show_header(True)  # noqa: FBT003 - the SDK's
    for name, options in (("merge", {}), ("organize", arranged)):
        drawn = drawn.with_transformation(as_dashboard.DataTransformerConfig(id_val=name, options=options))
    for query in panel.queries:
        drawn = drawn.override_by_name(query.name, [*_column(panel, query)])
    for label in panel.labels:
        words = panel.words.get(label, {})
        shown = {word: {"text": text, "index": number} for number, (word, text) in enumerate(words.items())}
        mapped = _property("mappings", [{"type": "value", "options": shown}] if shown else [])
        links = [_links(panel, link) for link in panel.links if link.column == label]
        wrapped = [_property("custom.cellOptions", {"type": "auto", "wrapText": True})] if words else []
        if words or links:
            drawn = drawn.override_by_name(label.replace("_", " "), [*([mapped] if words else []), *wrapped, *links])
    return drawn


def _value_columns(panel: Panel) -> list[str]:
    """Return what Grafana calls the column of each query."""
    if len(panel.queries) == 1:
        return ["Value"]
    return [f"Value #{reference}" for reference, _ in zip(ascii_uppercase, panel.queries, strict=False)]


def _column(panel: Panel, query: Query) -> Iterator[as_dashboard.DynamicConfigValue]:
    yield _property("unit", query.unit or panel.unit)
    if panel.steps and query is panel.queries[0]:
        yield _property("custom.cellOptions", {"type": "color-text"})
    for link in panel.links:
        if link.column == query.name:
            yield _links(panel, link)


def _links(panel: Panel, link: Link) -> as_dashboard.DynamicConfigValue:
    of_clicked = "__data.fields" if panel.kind == "table" else "__field.labels"
    url = re.sub(r"LABEL\((\w+)\)", rf"${{{of_clicked}.\1:percentencode}}", link.url)
    return _property("links", [{"title": link.title, "url": url, "targetBlank": "://" in url or "cases_url" in url}])


def _property(name: str, value: object) -> as_dashboard.DynamicConfigValue:
    return as_dashboard.DynamicConfigValue(id_val=name, value=value)


def _target(panel: Panel, query: Query, reference: str) -> prometheus.Dataquery:
    asked = prometheus.Dataquery().expr(query.expr).ref_id(reference).datasource(_SOURCE)
    if panel.kind == "table":
        return asked.instant().format(PromQueryFormat.TABLE)
    asked = asked.legend_format(query.name)
    return asked.instant() if panel.kind in {"stat", "bars"} else asked.range()


def _thresholds(panel: Panel) -> build.ThresholdsConfig:
    steps = [as_dashboard.Threshold(value=None, color=_GOOD)]
    steps += [as_dashboard.Threshold(value=value, color=color) for value, color in panel.steps]
    return build.ThresholdsConfig().mode(as_dashboard.ThresholdsMode.ABSOLUTE).steps(steps)
