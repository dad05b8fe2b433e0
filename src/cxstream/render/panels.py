"""What dashboards show, as data: from the catalogue, the levels and the recorded series, whoever draws it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, NamedTuple

from cxstream.domain.vital_sign import Measure, VitalSign
from cxstream.engine.journey import CASES, MOMENTS
from cxstream.engine.ledger import Level
from cxstream.render.alerts import BURNS, DAY, MIN_AT_RISK, PIPELINE_OBJECTIVES
from cxstream.render.rules import (
    BURN_WINDOWS,
    COVERED,
    FRESH_EVENT_SECONDS,
    FRESH_SECONDS,
    JOB,
    SILENCE,
    SOURCES_ALIVE,
    WATERMARK_AGE,
    counted_within_hour,
)

Kind = Literal["stat", "lines", "stacked", "table", "bars"]
"""One number; series over time, drawn as lines or stacked; rows of what is now; one bar for each series now."""

OVERVIEW, SIGN, HEALTH = "cxstream-operations", "cxstream-sign", "cxstream-sre"
"""The dashboards by uid; alerts of operations lead to the first, those of the pipeline to the last."""

WORST = 20
"""Rows of the table of the worst segments."""


class Query(NamedTuple):
    """One query of a panel, in PromQL with the dashboard's variables."""

    expr: str
    name: str
    """What its series are called: labels stand between double braces. In a table, the head of its column."""
    unit: str = ""
    """Its own unit, in a table; else the panel's."""


class Link(NamedTuple):
    """Where a click on a figure leads. In `url`, LABEL(x) stands for the label x of the series clicked on."""

    title: str
    url: str
    column: str = ""
    """The column of a table that can be clicked on; empty: every figure."""


class Panel(NamedTuple):
    """One panel: what it is called, what it says in a sentence or two, and what it asks."""

    title: str
    about: str
    kind: Kind
    queries: tuple[Query, ...]
    unit: str = "short"
    width: int = 12
    """Of 24."""
    height: int = 8
    labels: tuple[str, ...] = ()
    """The labels that tell the rows of a table apart, in order of columns."""
    links: tuple[Link, ...] = ()
    steps: tuple[tuple[float, str], ...] = ()
    """From which values on it has which colour; what is below the first is green. In a table: the first figure."""
    words: Mapping[str, Mapping[str, str]] = {}
    """What stands in a column instead of a label's value, by column."""


class Row(NamedTuple):
    """Panels under one heading."""

    title: str
    panels: tuple[Panel, ...]


class Variable(NamedTuple):
    """What a reader chooses: a label's values as Prometheus knows them, one of a list, or a text."""

    name: str
    label: str
    about: str
    asked: str = ""
    """The query for its values, in Grafana's words."""
    values: tuple[str, ...] = ()
    """The values, the default first."""
    text: str = ""
    every: bool = False
    """Whether all values may be chosen at once."""


class Dashboard(NamedTuple):
    """One dashboard."""

    uid: str
    title: str
    about: str
    variables: tuple[Variable, ...]
    rows: tuple[Row, ...]

    @property
    def panels(self) -> Iterator[Panel]:
        """All its panels."""
        return (panel for row in self.rows for panel in row.panels)


_GROUP = 'group="$group"'
_SIGN = f'{_GROUP}, vital_sign=~"$vital_sign"'
_WINDOW = 'window="$window"'
_OF_SEGMENT = "group, vital_sign, level, segment"
_UNIT_ROW = ("vital_sign", "level", "segment")
_RATE = "[$__rate_interval]"
_WHOLE = f"({COVERED}{{{_GROUP}}} == 1) * 0"
"""0 while every partition is spoken for: only then is nothing to count no unit, and not no answer."""

_CASES = "${cases_url}/cases?sign=LABEL(vital_sign)"
_CASES_OF_SEGMENT = f"{_CASES}&level=LABEL(level)&segment=LABEL(segment)"
_AT_RISK_CASES = Link("the cases at risk", f"{_CASES}&standing=at_risk")
_TO_SIGN = Link("this vital sign", f"/d/{SIGN}?var-group=${{group}}&var-vital_sign=LABEL(vital_sign)", "vital_sign")

_GROUP_CHOICE = Variable(
    "group", "job", "The consumer group: which job of cxstream.", "label_values(cxstream_partitions_expected, group)"
)


def dashboards(levels: Iterable[Level], catalogue: Mapping[str, VitalSign], cases_url: str) -> list[Dashboard]:
    """Return all dashboards; `cases_url` is where a worker serves its page of cases."""
    levels = list(levels)
    cases = Variable("cases_url", "pages of a worker", "Where links to cases lead.", text=cases_url)
    return [_overview(levels, catalogue, cases), _sign(levels, catalogue, cases), _health()]


def variables_in(expr: str) -> set[str]:
    """Return the names of the variables an expression or a link uses, Grafana's own (`__rate_interval`) included."""
    return {braced or bare for braced, bare in re.findall(r"\$(?:\{(\w+)\}|([a-z_]+))", expr)}


def fill(expr: str, values: Mapping[str, str]) -> str:
    """Return an expression with the variables' values in their places. Raises KeyError for one without a value."""
    return re.sub(r"\$(?:\{(\w+)\}|([a-z_]+))", lambda found: values[found[1] or found[2]], expr)


def labels_in(name: str) -> set[str]:
    """Return the labels that a series' name is made with."""
    return set(re.findall(r"\{\{ *(\w+) *\}\}", name))


def windows_of_all(levels: Iterable[Level]) -> tuple[str, ...]:
    """Return the windows that all levels have, in the order of the first; those of the first if they share none."""
    first, *others = levels
    shared = tuple(window for window in first.windows if all(window in other.windows for other in others))
    return shared or first.windows


# --- Overview ---


def _overview(levels: list[Level], catalogue: Mapping[str, VitalSign], cases: Variable) -> Dashboard:
    windows = windows_of_all(levels)
    segments = [level.name for level in levels if level.name != JOB]
    measured = {name: sign.measure for name, sign in catalogue.items() if sign.measure is not None}
    judged = f"cxstream_vital_sign_objective_ratio{{{_GROUP}}}"
    return Dashboard(
        OVERVIEW,
        "cxstream: Overview",
        "How customers with something broken are treated: whom to call now, then every vital sign.",
        (
            _GROUP_CHOICE,
            Variable("vital_sign", "vital sign", "One, or all.", f"label_values({judged}, vital_sign)", every=True),
            Variable(
                "level",
                "level",
                "Whole job, or by which segment.",
                values=(JOB, *segments),
            ),
            Variable(
                "segment",
                "segment",
                "One of the level, or all.",
                f"label_values(${{level}}:cxstream_vital_sign_decided_units:sum{{{_GROUP}}}, segment)",
                every=True,
            ),
            Variable(
                "window",
                "window",
                "Over how long, counted at the instant that decides a unit, until now.",
                values=_first(DAY, windows),
            ),
            cases,
        ),
        (
            Row("At risk now: units that will be bad for a customer soon unless something happens", _at_risk(segments)),
            Row("Vital signs", _vital_signs()),
            Row("Worst segments", (_worst(segments),)),
            Row("The journey: of all cases, how many reached each key moment", _journey(segments)),
            Row("Open and silent cases", _open(segments)),
            Row("Measured", tuple(_measured(catalogue[name].title, name, one) for name, one in measured.items())),
            Row("What makes figures look better than customers were treated", _gaming()),
        ),
    )


def _first(wanted: str, values: tuple[str, ...]) -> tuple[str, ...]:
    """Return the values, the wanted one first if it is among them."""
    return tuple(sorted(values, key=lambda value: value != wanted))


def _any_of(levels: Iterable[str], series: str) -> str:
    """Return the series of several levels together; LEVEL stands for the level."""
    return " or ".join(series.replace("LEVEL", level) for level in levels)


def _at_risk(segments: list[str]) -> tuple[Panel, ...]:
    now = "a red figure is more than one person can call in an hour; click to see the cases"
    return (
        _stat(
            "Units at risk",
            "Units of all vital signs chosen that will be misses within the risk horizon; a case may have several.",
            f"sum by (group) (job:cxstream_at_risk_units:sum{{{_SIGN}}}) or on (group) {_WHOLE}",
            steps=((1, "orange"), (MIN_AT_RISK, "red")),
            links=(Link("the cases at risk", "${cases_url}/cases?standing=at_risk"),),
        ),
        _stat(
            "Open cases",
            "Cases that wait for a fix now, reopened ones included.",
            f"job:cxstream_open_cases:sum{{{_GROUP}}} or on (group) {_WHOLE}",
        ),
        _stat(
            "Oldest open case",
            "How long the case has been open that has been open for longest.",
            f"job:cxstream_oldest_open_case_seconds:max{{{_GROUP}}}",
            unit="s",
        ),
        _stat(
            "Longest silence now",
            "How long a customer who waits has not heard from us, at most.",
            f"job:cxstream_longest_current_silence_seconds:max{{{_GROUP}}}",
            unit="s",
        ),
        *_trust(),
        Panel(
            "At risk by vital sign",
            f"For each sign the units at risk: {now}.",
            "bars",
            (Query(f"sort_desc(job:cxstream_at_risk_units:sum{{{_SIGN}}})", "{{vital_sign}}"),),
            width=8,
            links=(_AT_RISK_CASES,),
            steps=((MIN_AT_RISK, "red"),),
        ),
        Panel(
            "At risk by segment",
            "Where the units at risk are, most first.",
            "table",
            (
                Query(
                    f"sort_desc(sum by (vital_sign, level, segment) "
                    f"({_any_of(segments or [JOB], f'LEVEL:cxstream_at_risk_units:sum{{{_SIGN}}}')}))",
                    "at risk",
                ),
            ),
            width=8,
            labels=_UNIT_ROW if segments else ("vital_sign", "level"),
            links=(
                _TO_SIGN,
                Link("the cases at risk", f"{_CASES_OF_SEGMENT}&standing=at_risk", "at risk"),
            ),
        ),
        Panel(
            "At risk over time",
            "Units at risk at each instant; what fell out was saved or became a miss.",
            "lines",
            (Query(f"job:cxstream_at_risk_units:sum{{{_SIGN}}}", "{{vital_sign}}"),),
            width=8,
            links=(_AT_RISK_CASES,),
        ),
    )


def _stat(
    title: str,
    about: str,
    expr: str,
    unit: str = "short",
    steps: tuple[tuple[float, str], ...] = (),
    links: tuple[Link, ...] = (),
    name: str = "",
) -> Panel:
    return Panel(title, about, "stat", (Query(expr, name or title),), unit, width=4, height=4, steps=steps, links=links)


def _trust() -> tuple[Panel, ...]:
    return (
        _stat(
            "Partitions covered",
            "Share of the partitions some ready worker speaks for; below 100 % every sum lacks something.",
            f"{COVERED}{{{_GROUP}}}",
            "percentunit",
            ((0, "red"), (1, "green")),
        ),
        _stat(
            "Behind now",
            f"How far behind now the slowest partition is; from {FRESH_SECONDS} s on nothing is to be trusted.",
            f"{WATERMARK_AGE}{{{_GROUP}}}",
            "s",
            ((FRESH_SECONDS / 10, "orange"), (FRESH_SECONDS, "red")),
        ),
    )


def _vital_signs() -> tuple[Panel, ...]:
    sign, of = "${level}:cxstream_vital_sign", f'{{{_SIGN}, segment=~"$segment"}}'
    windowed = f'{{{_SIGN}, segment=~"$segment", {_WINDOW}}}'
    cases = f"{_CASES_OF_SEGMENT}&window=${{window}}"
    by = f"by ({', '.join(_UNIT_ROW)})"
    bad = f'{windowed[:-1]}, outcome="bad"}}'
    over_job = f"{{{_SIGN}, {_WINDOW}}}"
    job = "job:cxstream_vital_sign"
    return (
        Panel(
            "Vital signs over $window",
            "The share of decided units that was good for the customer, its objective, and the most it could be by"
            " chance (99 %): only an objective above that is missed by more than chance.",
            "table",
            (
                Query(_with_segment(f"max {by} ({sign}_good_per_units:ratio{windowed})"), "good", "percentunit"),
                Query(_with_segment(f"max {by} ({sign}_objective:ratio{of})"), "objective", "percentunit"),
                Query(
                    _with_segment(f"max {by} ({sign}_good_per_units:wilson_upper99{windowed})"),
                    "at most",
                    "percentunit",
                ),
                Query(_with_segment(f"max {by} ({sign}_decided_units:sum{windowed})"), "units"),
                Query(_with_segment(f"sum {by} ({sign}_window_units:sum{bad})"), "bad"),
            ),
            height=11,
            labels=_UNIT_ROW,
            links=(
                _TO_SIGN,
                Link("the cases it was bad for", f"{cases}&standing=bad", "bad"),
                Link("the cases", cases, "units"),
            ),
        ),
        Panel(
            "What can still change over $window",
            "Of the whole job: the share of decided units that is final; the units that cannot be decided yet, were"
            " left out, and were once taken back.",
            "table",
            (
                Query(
                    f'(sum by (vital_sign) ({job}_window_units:sum{over_job[:-1]}, finality="final"}})'
                    f" or sum by (vital_sign) ({job}_decided_units:sum{over_job}) * 0)"
                    f" / sum by (vital_sign) ({job}_decided_units:sum{over_job})",
                    "final",
                    "percentunit",
                ),
                Query(
                    f"max by (vital_sign) ({job}_good_per_sealed_units:ratio{over_job})", "good of final", "percentunit"
                ),
                Query(f"sum by (vital_sign) ({job}_pending_units:sum{over_job})", "pending"),
                Query(f"sum by (vital_sign) ({job}_excluded_units:sum{over_job})", "excluded"),
                Query(f"sum by (vital_sign) ({job}_retracted_units:sum{over_job})", "retracted"),
            ),
            height=11,
            labels=("vital_sign",),
            links=(
                _TO_SIGN,
                *(
                    Link("the cases", f"{_CASES}&window=${{window}}&standing={state}", state)
                    for state in ("pending", "excluded", "retracted")
                ),
            ),
        ),
        Panel(
            "Good for the customer over $window",
            "The share of decided units that was good, only while it is to be trusted: a gap is a time when partitions"
            " were not covered or the job was behind.",
            "lines",
            (Query(_with_segment(f"{sign}_good_per_units:trusted{windowed}"), "{{vital_sign}} {{segment}}"),),
            "percentunit",
            links=(Link("the cases", f"{cases}"),),
        ),
        Panel(
            "Decided units over $window",
            "What the shares rest on. A denominator that shrinks is a change too.",
            "lines",
            (Query(_with_segment(f"{sign}_decided_units:sum{windowed}"), "{{vital_sign}} {{segment}}"),),
            links=(Link("the cases", f"{cases}"),),
        ),
    )


def _with_segment(expr: str) -> str:
    """Return series that all say their segment; the whole job has none, and says `all`."""
    return f'label_replace({expr}, "segment", "all", "segment", "")'


def _worst(segments: list[str]) -> Panel:
    levels = segments or [JOB]
    series, windowed, of = "LEVEL:cxstream_vital_sign", f"{{{_SIGN}, {_WINDOW}}}", f"{{{_SIGN}}}"
    margin = _any_of(
        levels,
        f"({series}_good_per_units:wilson_upper99{windowed} - on ({_OF_SEGMENT}) {series}_objective:ratio{of})",
    )
    worst = f"bottomk({WORST}, {margin})"

    def of_the_worst(one: str) -> str:
        found = _any_of(levels, one)
        return f"max by ({', '.join(_UNIT_ROW)}) (({found}) and on ({_OF_SEGMENT}) {worst})"

    bad = f'{windowed[:-1]}, outcome="bad"}}'
    return Panel(
        "Segments furthest below their objective over $window",
        f"The {WORST} segments whose share of good units is least above the objective, even by chance. Below 0 % it"
        " misses the objective by more than chance.",
        "table",
        (
            Query(f"sort(max by ({', '.join(_UNIT_ROW)}) ({worst}))", "at most above", "percentunit"),
            Query(of_the_worst(f"{series}_good_per_units:ratio{windowed}"), "good", "percentunit"),
            Query(of_the_worst(f"{series}_objective:ratio{of}"), "objective", "percentunit"),
            Query(of_the_worst(f"{series}_decided_units:sum{windowed}"), "units"),
            Query(of_the_worst(f"{series}_window_units:sum{bad}"), "bad"),
        ),
        width=24,
        height=10,
        labels=_UNIT_ROW,
        steps=((-1, "red"), (0, "green")),
        links=(
            _TO_SIGN,
            Link("the cases it was bad for", f"{_CASES_OF_SEGMENT}&window=${{window}}&standing=bad", "bad"),
        ),
    )


def _journey(segments: list[str]) -> tuple[Panel, ...]:
    reached = {moment: about for moment, about in MOMENTS.items() if moment != CASES}
    about = "; ".join(f"{_words(moment)}: {text}" for moment, text in reached.items())

    def by_segment(moment: str, operation: str) -> str:
        series = f'LEVEL:cxstream_journey_cases:{operation}{{{_GROUP}, moment="{moment}"}}'
        return f"max by (level, segment, window) ({_any_of(segments or [JOB], series)})"

    return (
        Panel(
            "The journey",
            f"A case is counted where its first response is. {about}.",
            "bars",
            tuple(
                Query(
                    f'job:cxstream_journey_cases:ratio{{{_GROUP}, moment="{moment}"}}',
                    f"{_words(moment)}, {{{{window}}}}",
                )
                for moment in reached
            ),
            "percentunit",
        ),
        Panel(
            "The journey by segment",
            "Where it breaks off.",
            "table",
            (
                Query(by_segment(CASES, "sum"), "cases"),
                *(Query(by_segment(moment, "ratio"), _words(moment), "percentunit") for moment in reached),
            ),
            labels=("level", "segment", "window") if segments else ("level", "window"),
        ),
    )


def _words(name: str) -> str:
    return name.replace("_", " ")


def _open(segments: list[str]) -> tuple[Panel, ...]:
    levels, name = (segments, "{{segment}}") if segments else ([JOB], "all")
    return tuple(
        Panel(
            title,
            about,
            "lines",
            (Query(_any_of(levels, f"LEVEL:cxstream_{series}{{{_GROUP}}}"), name),),
            unit,
            width=8,
        )
        for title, about, series, unit in (
            ("Open cases by segment", "Cases that wait for a fix.", "open_cases:sum", "short"),
            (
                "Oldest open case by segment",
                "How long it has been open, since its opening or a reopening.",
                "oldest_open_case_seconds:max",
                "s",
            ),
            (
                "Longest silence by segment",
                "How long a waiting customer has not heard from us, at most; waiting for the customer does not count.",
                "longest_current_silence_seconds:max",
                "s",
            ),
        )
    )


def _measured(title: str, name: str, measure: Measure) -> Panel:
    series = f"job:cxstream_{name}_{measure.unit}"
    of = [(f"p{round(100 * quantile)}", f"{quantile:.0%} took no longer") for quantile in measure.quantiles]
    return Panel(
        title,
        f"{name}: the mean{' and the quantiles' if of else ''}, by window. {measure.better.capitalize()} is better."
        " There is nothing where the tier of the sign is not judged.",
        "lines",
        tuple(
            Query(f"{series}:{figure}{{{_GROUP}}}", f"{said}, {{{{window}}}}")
            for figure, said in (("mean", "mean"), *of)
        ),
        "s" if measure.unit == "seconds" else "short",
        width=8,
        height=7,
        links=(Link("the cases", f"${{cases_url}}/cases?sign={name}&window=LABEL(window)&standing=measured"),),
    )


def _gaming() -> tuple[Panel, ...]:
    job, over = "job:cxstream_vital_sign", f"{{{_SIGN}, {_WINDOW}}}"
    return (
        Panel(
            "Watched loopholes over $window",
            "Uses of what makes figures look better than customers were treated; a count that rises is gaming.",
            "lines",
            (Query(f"job:cxstream_watched_loophole_sightings:sum{{{_GROUP}, {_WINDOW}}}", "{{loophole}}"),),
        ),
        Panel(
            "Left out over $window, by reason",
            "Units in no ratio, most first: a denominator that shrinks is seen here.",
            "table",
            (Query(f"sort_desc(sum by (vital_sign, reason) ({job}_excluded_units:sum{over}))", "excluded"),),
            labels=("vital_sign", "reason"),
            links=(
                _TO_SIGN,
                Link("the cases", f"{_CASES}&window=${{window}}&standing=excluded&detail=LABEL(reason)", "excluded"),
            ),
        ),
    )


# --- One vital sign ---


def _sign(levels: list[Level], catalogue: Mapping[str, VitalSign], cases: Variable) -> Dashboard:
    rated = {name: sign for name, sign in catalogue.items() if sign.measure is None}
    segments = [level for level in levels if level.name != JOB]
    judged = f"cxstream_vital_sign_objective_ratio{{{_GROUP}}}"
    return Dashboard(
        SIGN,
        "cxstream: one vital sign",
        "What a vital sign asks, how it stands in every window and segment, what can still change, and what games it.",
        (
            _GROUP_CHOICE,
            Variable("vital_sign", "vital sign", "Which.", f"label_values({judged}, vital_sign)"),
            Variable("window", "window", "Over how long, until now.", values=_first(DAY, windows_of_all(levels))),
            cases,
        ),
        (
            Row("What it is", (_definition(rated),)),
            Row("How it stands", _standing()),
            Row("By segment", tuple(panel for level in segments for panel in _by_segment(level.name))),
            Row("What can still change, and what was left out", _changing()),
        ),
    )


def _definition(catalogue: Mapping[str, VitalSign]) -> Panel:
    columns: dict[str, dict[str, str]] = {
        "the customer asks": {name: sign.question for name, sign in catalogue.items()},
        "good": {name: sign.numerator for name, sign in catalogue.items()},
        "out of": {name: sign.denominator for name, sign in catalogue.items()},
        "known": {name: sign.known for name, sign in catalogue.items()},
        "what games it": {name: sign.gaming.how for name, sign in catalogue.items()},
    }
    expr = "max by (vital_sign) (job:cxstream_vital_sign_objective:ratio{" + _SIGN.replace("=~", "=") + "})"
    labels = ["vital_sign"]
    for column in columns:
        labels.append(column.replace(" ", "_"))
        expr = f'label_replace({expr}, "{labels[-1]}", "$1", "vital_sign", "(.*)")'
    return Panel(
        "$vital_sign",
        "In the words of the catalogue: the page of the vital signs says more.",
        "table",
        (Query(expr, "objective", "percentunit"),),
        width=24,
        height=5,
        labels=tuple(labels),
        words={column.replace(" ", "_"): words for column, words in columns.items()},
    )


def _standing() -> tuple[Panel, ...]:
    of = f'{{{_GROUP}, vital_sign="$vital_sign"}}'
    windowed, job = f"{of[:-1]}, {_WINDOW}}}", "job:cxstream_vital_sign"
    cases = "${cases_url}/cases?sign=${vital_sign}"
    bad = f'sum by (vital_sign) ({job}_window_units:sum{windowed[:-1]}, outcome="bad"}})'
    return (
        _stat(
            "Good over $window",
            "The share of decided units that was good for the customer.",
            f"{job}_good_per_units:ratio{windowed}",
            "percentunit",
            links=(Link("the cases", f"{cases}&window=${{window}}"),),
        ),
        _stat("Objective", "As the policy in force says.", f"{job}_objective:ratio{of}", "percentunit"),
        _stat(
            "At most, by chance",
            "The upper end of the 99 % Wilson interval: an objective above it is missed by more than chance.",
            f"{job}_good_per_units:wilson_upper99{windowed}",
            "percentunit",
        ),
        _stat("Decided units", "What the share rests on.", f"{job}_decided_units:sum{windowed}"),
        _stat(
            "Bad for a customer",
            "Decided units that were not good; click to see the cases.",
            bad,
            links=(Link("the cases it was bad for", f"{cases}&window=${{window}}&standing=bad"),),
        ),
        _stat(
            "Sources alive",
            "1 while none of the source topics its evidence comes from is dead; at 0 it cannot alert.",
            f"{SOURCES_ALIVE}{of} or on (group) max by (group) (cxstream_partitions_expected{{{_GROUP}}}) * 0",
            steps=((0, "red"), (1, "green")),
        ),
        Panel(
            "Good for the customer, by window",
            "All decided units; only sealed ones, which nothing can change any more; and the objective.",
            "lines",
            (
                Query(f"{job}_good_per_units:ratio{of}", "{{window}}"),
                Query(f"{job}_good_per_sealed_units:ratio{of}", "{{window}}, sealed"),
                Query(f"{job}_objective:ratio{of}", "objective"),
            ),
            "percentunit",
            height=9,
            links=(Link("the cases", f"{cases}&window=LABEL(window)"),),
        ),
        Panel(
            "Decided units over $window",
            "Good and bad, final and provisional.",
            "stacked",
            (
                Query(
                    f"sum by (outcome, finality) ({job}_window_units:sum{windowed})",
                    "{{outcome}}, {{finality}}",
                ),
            ),
            height=9,
            links=(Link("the cases", f"{cases}&window=${{window}}&standing=LABEL(outcome)"),),
        ),
    )


def _by_segment(level: str) -> tuple[Panel, ...]:
    sign, of = f"{level}:cxstream_vital_sign", f'{{{_GROUP}, vital_sign="$vital_sign"}}'
    windowed, by = f"{of[:-1]}, {_WINDOW}}}", "by (segment)"
    bad = f'{windowed[:-1]}, outcome="bad"}}'
    where = _words(level).replace(" ", " and ")
    cases = f"${{cases_url}}/cases?sign=${{vital_sign}}&level={level}&segment=LABEL(segment)&window=${{window}}"
    return (
        Panel(
            f"By {where} over $window",
            "The share of good units beside the objective in force there, and the most it could be by chance (99 %).",
            "table",
            (
                Query(f"max {by} ({sign}_good_per_units:ratio{windowed})", "good", "percentunit"),
                Query(f"max {by} ({sign}_objective:ratio{of})", "objective", "percentunit"),
                Query(f"max {by} ({sign}_good_per_units:wilson_upper99{windowed})", "at most", "percentunit"),
                Query(f"max {by} ({sign}_decided_units:sum{windowed})", "units"),
                Query(f"sum {by} ({sign}_window_units:sum{bad})", "bad"),
            ),
            labels=("segment",),
            links=(
                Link("the cases it was bad for", f"{cases}&standing=bad", "bad"),
                Link("the cases", cases, "units"),
            ),
        ),
        Panel(
            f"Good for the customer by {where} over $window",
            "The share of good units.",
            "lines",
            (Query(f"{sign}_good_per_units:ratio{windowed}", "{{segment}}"),),
            "percentunit",
            links=(Link("the cases", cases),),
        ),
    )


def _changing() -> tuple[Panel, ...]:
    of = f'{{{_GROUP}, vital_sign="$vital_sign"}}'
    windowed, job = f"{of[:-1]}, {_WINDOW}}}", "job:cxstream_vital_sign"
    return (
        Panel(
            "Pending and taken back",
            "Units that cannot be decided yet, and units of which a decided verdict was once taken back, by window.",
            "lines",
            (
                Query(f"{job}_pending_units:sum{of}", "pending, {{window}}"),
                Query(f"{job}_retracted_units:sum{of}", "taken back, {{window}}"),
            ),
            width=8,
        ),
        Panel(
            "Left out over $window, by reason",
            "Units in no ratio.",
            "stacked",
            (Query(f"{job}_excluded_units:sum{windowed}", "{{reason}}"),),
            width=8,
            links=(
                Link(
                    "the cases",
                    "${cases_url}/cases?sign=${vital_sign}&window=${window}&standing=excluded&detail=LABEL(reason)",
                ),
            ),
        ),
        Panel(
            "Verdicts published per second",
            "By the verdict each replaces (none: the first). Activity of the workers that run, not a sum of truth.",
            "lines",
            (
                Query(
                    f"sum by (from, to) (rate(cxstream_vital_sign_verdict_changes_total{of}{_RATE})) > 0",
                    "{{from}} to {{to}}",
                ),
            ),
            width=8,
        ),
    )


# --- Service health ---


def _health() -> Dashboard:
    return Dashboard(
        HEALTH,
        "cxstream: Service health",
        "Whether the figures can be trusted, how late they are, what is refused, and what it costs.",
        (_GROUP_CHOICE,),
        (
            Row("Trust", _believed()),
            Row("Lag and freshness", _freshness()),
            Row("Hand-over and recovery", _handover()),
            Row("What becomes of records", _records()),
            Row("Cost", _cost()),
        ),
    )


def _lines(title: str, about: str, *queries: Query, unit: str = "short", kind: Kind = "lines", width: int = 8) -> Panel:
    return Panel(title, about, kind, queries, unit, width)


def _believed() -> tuple[Panel, ...]:
    return (
        *_trust(),
        _stat(
            "Workers running",
            "Workers that say they are running; others are starting, rebalancing, recovering or draining.",
            f'sum by (group) (cxstream_worker_state{{{_GROUP}, state="running"}})',
        ),
        _stat(
            "Partitions",
            "Partitions the job has: also the most workers it can use.",
            f"max by (group) (cxstream_partitions_expected{{{_GROUP}}})",
        ),
        _stat(
            "Versions",
            "How many versions run: more than one during an upgrade only.",
            f"count by (group) (count by (group, version) (cxstream_build_info{{{_GROUP}}}))",
            steps=((2, "orange"),),
        ),
        _stat(
            "Policies",
            "How many policies are in force: all workers of a job must have the same.",
            f"count by (group) (count by (group, fingerprint) (cxstream_policy_info{{{_GROUP}}}))",
            steps=((2, "red"),),
        ),
        _lines(
            "Partitions covered and behind",
            "The two gates of every ratio: the share of partitions spoken for, over time.",
            Query(f"{COVERED}{{{_GROUP}}}", "covered"),
            unit="percentunit",
        ),
        _lines(
            "Behind now",
            f"How far behind now the slowest partition is; nothing is trusted from {FRESH_SECONDS} s on.",
            Query(f"{WATERMARK_AGE}{{{_GROUP}}}", "slowest partition"),
            unit="s",
        ),
        _lines(
            "Silence of the source topics",
            "How long a source topic has brought nothing: a dead feed stops the alerts that rest on it.",
            Query(f"{SILENCE}{{{_GROUP}}}", "{{topic}}"),
            unit="s",
        ),
    )


def _freshness() -> tuple[Panel, ...]:
    gauges, of = "cxstream_event_to_gauges_seconds", f"{{{_GROUP}}}"
    return (
        _lines(
            "Lag in seconds",
            "Age of the last record processed while there is lag, else 0; the worst partition of each topic.",
            Query(f"max by (topic) (cxstream_consumer_lag_seconds{of})", "{{topic}}"),
            unit="s",
        ),
        _lines(
            "Lag in records",
            "Records not yet processed, by topic.",
            Query(f"sum by (topic) (cxstream_consumer_lag_records{of})", "{{topic}}"),
        ),
        _lines(
            "From delivery to the figures",
            "Time from the delivery of an event to the figures that include it: half of the events, and 99 of 100;"
            " without the backlog of a partition that was taken over and has not caught up: that one is uncovered.",
            *(
                Query(
                    f"histogram_quantile({quantile}, sum by (le) (rate({gauges}_bucket{of}{_RATE})))",
                    f"{quantile:.0%} within",
                )
                for quantile in (0.5, 0.99)
            ),
            unit="s",
        ),
        *(
            _lines(
                title,
                f"{about} How many times as fast as the error budget allows, by window:"
                f" alerts fire at {', '.join(f'{burn.factor:g} over {burn.long}' for burn in BURNS)}.",
                *(
                    Query(f"job:cxstream_{sli}:ratio_rate{window}{of} / {1 - PIPELINE_OBJECTIVES[sli]:.6g}", window)
                    for window in BURN_WINDOWS
                ),
                width=12,
            )
            for title, about, sli in (
                (
                    "Error budget burn: late figures",
                    f"Events that reach the figures later than {FRESH_EVENT_SECONDS:g} s.",
                    "event_to_gauges_late",
                ),
                (
                    "Error budget burn: dead letters",
                    "Records read that become dead letters.",
                    "dead_letters_per_consumed",
                ),
            )
        ),
    )


def _handover() -> tuple[Panel, ...]:
    of = f"{{{_GROUP}}}"
    return (
        _lines(
            "Partitions by worker",
            "How many partitions each worker is ready for: the fence believes one for each.",
            Query(f"sum by (instance) (cxstream_partition_ready{of})", "{{instance}}"),
            kind="stacked",
        ),
        _lines(
            "Rebalances",
            "In the last 30 minutes, of the worker that took part in most; more than 5 is a storm.",
            Query(f"max by (group) (increase(cxstream_rebalances_total{of}[30m]))", "within 30 min"),
        ),
        _lines(
            "Time a rebalance takes",
            "From the revocation of partitions until the new ones are recovered: the mean since the workers started.",
            Query(  # no rate: the rebalance of a start is over before it is first seen
                f"sum by (group) (cxstream_rebalance_seconds_sum{of})"
                f" / (sum by (group) (cxstream_rebalance_seconds_count{of}) > 0)",
                "mean",
            ),
            unit="s",
        ),
        _lines(
            "State of workers",
            "How many are in each state.",
            Query(f"sum by (state) (cxstream_worker_state{of})", "{{state}}"),
            kind="stacked",
        ),
        _lines(
            "Left to recover",
            "Changelog records still to be read before partitions can be ready.",
            Query(f"sum by (table) (cxstream_table_recovery_remaining_records{of})", "{{table}}"),
        ),
        _lines(
            "Late writes of others",
            "Records another worker wrote into a changelog after it had lost the partition; read and united.",
            Query(f"sum by (table) (increase(cxstream_foreign_writes_total{of}[1h]))", "{{table}}, last hour"),
        ),
    )


def _records() -> tuple[Panel, ...]:
    of = f"{{{_GROUP}}}"
    letters, capped = (
        counted_within_hour(f"cxstream_{family}_total{of}").replace("\n", " ")
        for family in ("dead_letters", "label_values_capped")
    )

    def rate(family: str, labels: str) -> str:
        return f"sum by ({labels}) (rate(cxstream_{family}_total{of}{_RATE}))"

    return (
        _lines("Records read per second", "By source topic.", Query(rate("events_consumed", "topic"), "{{topic}}")),
        _lines(
            "What became of them per second",
            "Every record read is counted in exactly one of these.",
            Query(rate("events_applied", "group"), "applied"),
            Query(rate("duplicate_events", "group"), "duplicate"),
            Query(rate("conflicting_events", "group"), "conflicting"),
            Query(rate("late_events", "disposition"), "late: {{disposition}}"),
            Query(rate("unknown_type_events", "group"), "unknown type"),
            Query(rate("dead_letters", "group"), "dead letter"),
            kind="stacked",
        ),
        Panel(
            "Dead letters of the last hour",
            "Records that are no fact, by topic and reason: for the vital signs they did not happen.",
            "table",
            (
                Query(
                    f"sort_desc(sum by (topic, reason) ({letters}) > 0)",
                    "dead letters",
                ),
            ),
            width=8,
            labels=("topic", "reason"),
        ),
        _lines(
            "Rejected per second",
            "Records that are no fact, by reason; each becomes a dead letter, but for what is unreadable in the topics"
            " assets and relays, which cases write themselves.",
            Query(f"{rate('events_rejected', 'topic, reason')} > 0", "{{topic}}: {{reason}}"),
            width=12,
        ),
        _lines(
            "Segments counted as __other__",
            "How often within the hour a segment value was outside the closed list or beyond the limit.",
            Query(f"sum by (group) ({capped})", "last hour"),
            width=12,
        ),
    )


def _cost() -> tuple[Panel, ...]:
    of = f"{{{_GROUP}}}"
    took = f"sum by (instance) (rate(cxstream_event_processing_seconds_sum{of}{_RATE}))"
    read = f"sum by (instance) (rate(cxstream_event_processing_seconds_count{of}{_RATE}))"
    return (
        _lines(
            "CPU, by worker",
            "Cores each worker uses. Its one event loop uses one at most, what compresses and fetches a little more:"
            " where it is near 100 % add workers.",
            Query(f"sum by (instance) (rate(cxstream_worker_cpu_seconds_total{of}{_RATE}))", "{{instance}}"),
            unit="percentunit",
            width=12,
        ),
        _lines(
            "Time an event takes, by worker",
            "Mean of its share of the batch it came in, waiting for the brokers included: no measure of CPU.",
            Query(f"{took} / ({read} > 0)", "{{instance}}"),
            unit="s",
            width=12,
        ),
        _lines(
            "Keys held, by table",
            "Cases and boards of assets in memory: the state of the job grows with these.",
            Query(f"sum by (table) (cxstream_table_keys{of})", "{{table}}"),
            width=12,
        ),
        _lines(
            "Memory of keys and values, by worker and table",
            "What the records in memory take; a worker needs some 200 MiB besides.",
            Query(f"sum by (instance, table) (cxstream_state_bytes{of})", "{{instance}}: {{table}}"),
            unit="bytes",
            width=12,
        ),
    )
