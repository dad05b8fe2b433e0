"""A console page that Prometheus itself serves: the overview for who has no Grafana, or whose Grafana is down."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from cxstream.domain.vital_sign import VitalSign
from cxstream.engine.journey import CASES, MOMENTS
from cxstream.engine.ledger import Level
from cxstream.render.alerts import DAY
from cxstream.render.panels import windows_of_all
from cxstream.render.rules import COVERED, FRESH_SECONDS, JOB, SILENCE, WATERMARK_AGE

_OF = "group, vital_sign, level, segment"
_AT_RISK, _WORST = 6, 12
"""Rows of the tables that begin with the worst."""


class _Cell(NamedTuple):
    """A figure of a row: its head, the series asked for, and how it is written."""

    head: str
    expr: str
    """With a %q for each label of the row."""
    shown: str = "printf `%.0f`"


def console(levels: Iterable[Level], catalogue: Mapping[str, VitalSign], cases_url: str) -> str:
    """Return deploy/prometheus/consoles/cxstream.html, a template that Prometheus fills; it loads nothing else.

    `?group=` chooses the job, else it is the first there is. `cases_url` is where a worker serves its page of cases.
    """
    levels = list(levels)
    segments = [level.name for level in levels if level.name != JOB]
    windows = next((level.windows for level in levels if level.name == JOB), ())
    window = next((one for one in (DAY, *windows_of_all(levels)) if one in windows_of_all(levels)), DAY)
    return "\n".join(
        [
            _HEAD,
            *_trust(),
            *_at_risk(segments),
            *_vital_signs(windows, window, catalogue, cases_url),
            *(_worst(segments, window, cases_url) if segments else ()),
            *_journey(),
            *_open(),
            _TAIL,
        ]
    )


def _asked(expr: str, *values: str) -> str:
    """Return a template's call that asks Prometheus; each %q in the expression is filled with a value."""
    return f"printf {json.dumps(expr)} {' '.join(values)} | query"


def _figure(expr: str, shown: str, *values: str) -> str:
    """Return a template that writes the one value of an expression, or a dash."""
    asked = _asked(expr, *values)
    return f"{{{{ with {asked} }}}}{{{{ . | first | value | {shown} }}}}{{{{ else }}}}-{{{{ end }}}}"


def _trust() -> Iterator[str]:
    of = "{group=%q}"
    whole = f"{COVERED}{of} == 1 and on (group) {WATERMARK_AGE}{of} < {FRESH_SECONDS}"
    yield f"{{{{ with {_asked(whole, '$group', '$group')} }}}}"
    yield '<p class="good">These figures are whole and fresh.</p>'
    yield "{{ else }}"
    yield '<p class="bad">Not to be trusted now: partitions are not covered, or the job is behind.</p>'
    yield "{{ end }}"
    yield "<table><tr><th>partitions covered</th><th>behind now</th><th>silence of the source topics</th></tr><tr>"
    yield f"<td>{_figure(f'{COVERED}{of}', 'humanizePercentage', '$group')}</td>"
    yield f"<td>{_figure(f'{WATERMARK_AGE}{of}', 'humanizeDuration', '$group')}</td><td>"
    yield f"{{{{ range {_asked(f'{SILENCE}{of}', '$group')} | sortByLabel `topic` }}}}"
    yield "{{ .Labels.topic }} {{ .Value | humanizeDuration }}&ensp;"
    yield "{{ end }}</td></tr></table>"


def _none(columns: int) -> str:
    """Return the row of an empty list: nothing to list is an answer only while every partition is spoken for."""
    covered = _asked(f"{COVERED}{{group=%q}} == 1", "$group")
    said = f"{{{{ if {covered} }}}}none{{{{ else }}}}not known: partitions are not covered{{{{ end }}}}"
    return f'<tr><td colspan="{columns}">{said}</td></tr>'


def _at_risk(segments: list[str]) -> Iterator[str]:
    yield "<h2>At risk now</h2>"
    yield "<p>Units that will be bad for a customer soon unless something happens;"
    yield "<code>cxstream at-risk</code> lists them.</p>"
    yield "<table><tr><th>vital sign</th><th>units</th></tr>"
    yield f"{{{{ range {_asked('sort_desc(job:cxstream_at_risk_units:sum{group=%q})', '$group')} }}}}"
    yield "<tr><td>{{ .Labels.vital_sign }}</td><td>{{ .Value | printf `%.0f` }}</td></tr>"
    yield f"{{{{ else }}}}{_none(2)}{{{{ end }}}}</table>"
    if not segments:
        return
    some = " or ".join(f"{level}:cxstream_at_risk_units:sum{{group=%q}}" for level in segments)
    yield "<table><tr><th>vital sign</th><th>level</th><th>segment</th><th>units</th></tr>"
    asked = _asked(f"sort_desc(topk({_AT_RISK}, {some}))", *["$group"] * len(segments))
    yield f"{{{{ range {asked} }}}}"
    yield "<tr><td>{{ .Labels.vital_sign }}</td><td>{{ .Labels.level }}</td><td>{{ .Labels.segment }}</td>"
    yield "<td>{{ .Value | printf `%.0f` }}</td></tr>"
    yield f"{{{{ else }}}}{_none(4)}{{{{ end }}}}</table>"


def _vital_signs(
    windows: Iterable[str], window: str, catalogue: Mapping[str, VitalSign], cases_url: str
) -> Iterator[str]:
    job, of = "job:cxstream_vital_sign", "group=%q, vital_sign=%q"
    final = f'{job}_window_units:sum{{{of}, window="{window}", finality="final"}}'
    cells = [
        *(
            _Cell(f"good, {one}", f'{job}_good_per_units:ratio{{{of}, window="{one}"}}', "humanizePercentage")
            for one in windows
        ),
        _Cell("objective", f"{job}_objective:ratio{{{of}}}", "humanizePercentage"),
        _Cell(f"units, {window}", f'{job}_decided_units:sum{{{of}, window="{window}"}}'),
        _Cell("final", f"sum({final})"),
        *(
            _Cell(state, f'sum({job}_{state}_units:sum{{{of}, window="{window}"}})')
            for state in ("pending", "excluded", "retracted")
        ),
    ]
    yield "<h2>Vital signs</h2>"
    yield (
        "<p>The share of decided units that was good for the customer."
        f" Red: the last {window} miss the objective by more than chance.</p>"
    )
    heads = "".join(f"<th>{cell.head}</th>" for cell in cells)
    yield f"<table><tr><th>vital sign</th><th>the customer asks</th>{heads}</tr>"
    missed = (
        f'{job}_good_per_units:wilson_upper99{{{of}, window="{window}"}} < on ({_OF}) {job}_objective:ratio{{{of}}}'
    )
    for name, sign in catalogue.items():
        if sign.measure is not None:
            continue
        judged, quoted = f"{job}_objective:ratio{{{of}}}", json.dumps(name)
        yield f"{{{{ if {_asked(judged, '$group', quoted)} }}}}"
        yield f'<tr{{{{ if {_asked(missed, *["$group", quoted] * 2)} }}}} class="bad"{{{{ end }}}}>'
        cases = html.escape(f"{cases_url}/cases?sign={name}&window={window}&standing=bad")
        yield f'<td><a href="{cases}">{name}</a></td><td>{html.escape(sign.question)}</td>'
        yield from (f"<td>{_figure(cell.expr, cell.shown, '$group', quoted)}</td>" for cell in cells)
        yield "</tr>{{ end }}"
    yield "</table>"
    yield "<table><tr><th>measured</th><th>the customer asks</th><th>window</th><th>mean</th></tr>"
    for name, sign in catalogue.items():
        if sign.measure is not None:
            shown = "humanizeDuration" if sign.measure.unit == "seconds" else "printf `%.2f`"
            mean = f"job:cxstream_{name}_{sign.measure.unit}:mean{{group=%q}}"
            yield f"{{{{ range {_asked(mean, '$group')} | sortByLabel `window` }}}}"
            yield f"<tr><td>{name}</td><td>{html.escape(sign.question)}</td><td>{{{{ .Labels.window }}}}</td>"
            yield f"<td>{{{{ .Value | {shown} }}}}</td></tr>"
            yield "{{ end }}"
    yield "</table>"


def _worst(segments: list[str], window: str, cases_url: str) -> Iterator[str]:
    margins = " or ".join(
        f'({level}:cxstream_vital_sign_good_per_units:wilson_upper99{{group=%q, window="{window}"}}'
        f" - on ({_OF}) {level}:cxstream_vital_sign_objective:ratio{{group=%q}})"
        for level in segments
    )
    of = "group=%q, vital_sign=%q, segment=%q"
    cells = [
        _Cell("good", f'%s:cxstream_vital_sign_good_per_units:ratio{{{of}, window="{window}"}}', "humanizePercentage"),
        _Cell("objective", f"%s:cxstream_vital_sign_objective:ratio{{{of}}}", "humanizePercentage"),
        _Cell("units", f'%s:cxstream_vital_sign_decided_units:sum{{{of}, window="{window}"}}'),
    ]
    yield "<h2>Worst segments</h2>"
    yield (
        f"<p>Furthest below their objective in the last {window}, even by chance. Below 0 it is missed by more than"
        " chance.</p>"
    )
    heads = "".join(f"<th>{cell.head}</th>" for cell in cells)
    yield f"<table><tr><th>vital sign</th><th>level</th><th>segment</th>{heads}<th>at most above</th></tr>"
    yield f"{{{{ range {_asked(f'sort(bottomk({_WORST}, {margins}))', *['$group'] * 2 * len(segments))} }}}}"
    yield '<tr{{ if lt .Value 0.0 }} class="bad"{{ end }}>'
    cases = html.escape(f"{cases_url}/cases?sign=VITAL_SIGN&level=LEVEL&segment=SEGMENT&window={window}&standing=bad")
    for word, label in (("VITAL_SIGN", "vital_sign"), ("LEVEL", "level"), ("SEGMENT", "segment")):
        cases = cases.replace(word, f"{{{{ .Labels.{label} }}}}")
    yield f'<td><a href="{cases}">{{{{ .Labels.vital_sign }}}}</a></td>'
    yield "<td>{{ .Labels.level }}</td><td>{{ .Labels.segment }}</td>"
    row = (".Labels.level", "$group", ".Labels.vital_sign", ".Labels.segment")
    yield from (f"<td>{_figure(cell.expr, cell.shown, *row)}</td>" for cell in cells)
    yield "<td>{{ .Value | humanizePercentage }}</td></tr>"
    yield "{{ end }}</table>"


def _journey() -> Iterator[str]:
    reached = [moment for moment in MOMENTS if moment != CASES]
    yield "<h2>The journey</h2>"
    yield "<p>Of all cases whose first response is decided, how many reached each key moment and all before it.</p>"
    heads = "".join(f"<th>{moment.replace('_', ' ')}</th>" for moment in reached)
    yield f"<table><tr><th>window</th><th>cases</th>{heads}</tr>"
    cases = f'job:cxstream_journey_cases:sum{{group=%q, moment="{CASES}"}}'
    yield f"{{{{ range {_asked(cases, '$group')} | sortByLabel `window` }}}}"
    yield "<tr><td>{{ .Labels.window }}</td><td>{{ .Value | printf `%.0f` }}</td>"
    for moment in reached:
        share = f'job:cxstream_journey_cases:ratio{{group=%q, moment="{moment}", window=%q}}'
        yield f"<td>{_figure(share, 'humanizePercentage', '$group', '.Labels.window')}</td>"
    yield "</tr>{{ end }}</table>"


def _open() -> Iterator[str]:
    cells = [
        _Cell("open cases", "job:cxstream_open_cases:sum{group=%q}"),
        _Cell("oldest", "job:cxstream_oldest_open_case_seconds:max{group=%q}", "humanizeDuration"),
        _Cell("longest silence", "job:cxstream_longest_current_silence_seconds:max{group=%q}", "humanizeDuration"),
    ]
    yield "<h2>Open and silent cases</h2>"
    yield f"<table><tr>{''.join(f'<th>{cell.head}</th>' for cell in cells)}</tr><tr>"
    yield from (f"<td>{_figure(cell.expr, cell.shown, '$group')}</td>" for cell in cells)
    yield "</tr></table>"


_HEAD = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="refresh" content="30">
<title>cxstream</title>
<style>
body { font: 13px/1.35 system-ui, sans-serif; margin: 1rem 1.5rem; color: #1c2430; background: #fff; }
h1 { font-size: 1.4rem; margin: 0; } h2 { font-size: 1.1rem; margin: 1rem 0 .1rem; } p { margin: .2rem 0 .5rem; }
table { border-collapse: collapse; display: inline-table; vertical-align: top; margin: 0 1.5rem .5rem 0; }
th, td { border: 1px solid #cdd5df; padding: .15rem .5rem; text-align: left; font-variant-numeric: tabular-nums; }
th { background: #eef2f6; font-weight: 600; }
.bad, .bad a { color: #b42318; } .good { color: #1a7f37; } p.bad, p.good { font-weight: 600; }
</style>
</head>
<body>
{{ $group := or .Params.group "" }}
{{ if not $group }}{{ with query "group by (group) (cxstream_partitions_expected)" }}\
{{ $group = . | sortByLabel "group" | first | label "group" }}{{ end }}{{ end }}
<h1>How customers with something broken are treated: {{ $group }}</h1>
<p>Jobs: {{ range query "group by (group) (cxstream_partitions_expected)" | sortByLabel "group" }}\
<a href="?group={{ .Labels.group }}">{{ .Labels.group }}</a>&ensp;{{ else }}none is scraped{{ end }}
&ensp;<a href="{{ pathPrefix }}/alerts">alerts</a></p>"""

_TAIL = """\
</body>
</html>
"""
