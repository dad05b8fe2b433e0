"""The collector turns one snapshot of the worker into samples at every scrape, so that no stale series can exist."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.openmetrics import exposition as openmetrics

from cxstream.domain.instant import SECOND_MS
from cxstream.engine.ledger import BEYOND, LOOPHOLE, MEASURED, MOMENT, TOTAL, Lasting, Level, Row
from cxstream.exposition import families
from cxstream.exposition.families import FAMILIES, MEASURES, Family
from cxstream.exposition.snapshot import WORKER_STATES, PartitionSnapshot, WorkerSnapshot

JOB_LEVEL = "job"
_OUTCOMES = ("good", "bad")
AT_RISK = "at_risk"
_STANDING = {
    "pending": families.PENDING_UNITS,
    "excluded": families.EXCLUDED_UNITS,
    "retracted": families.RETRACTED_UNITS,
    LOOPHOLE: families.LOOPHOLE_SIGHTINGS,
    MOMENT: families.JOURNEY_CASES,
    AT_RISK: families.AT_RISK,
}
_PATTERNS_KEPT = 50_000
_OPENMETRICS = "application/openmetrics-text"
_BOUNDS = {
    name: (*((str(bound), str(bound / one.measure.per_unit)) for bound in one.measure.bounds), (BEYOND, BEYOND))
    for name, one in MEASURES.items()
}
"""Buckets of what a sign measures, as the ledger names them and as Prometheus does."""
_OPEN = "time_to_restore"
_LONGEST = {_OPEN: families.OLDEST_OPEN_CASE, "no_silence": families.LONGEST_SILENCE}


def standing_windows(levels: Iterable[Level]) -> frozenset[str]:
    """Return the windows pending, excluded and retracted units are published over.

    Those of the segments, else those of job: all of job's for every reason would take half the series budget.
    """
    windows = {level.name: frozenset(level.windows) for level in levels}
    of_job = windows.pop(JOB_LEVEL, frozenset())
    return of_job & frozenset().union(*windows.values()) or of_job


class Figure(NamedTuple):
    """One sample: the labels are in the order of its family's, `group` left out."""

    family: Family
    labels: tuple[str, ...]
    value: float


class _Tally(NamedTuple):
    """The business figures of a partition."""

    decided: dict[tuple[str, ...], list[int]]
    """Units [good, bad] by sign, level, segment, window and finality: both outcomes where either is not zero."""
    standing: dict[str, dict[tuple[str, ...], int]]
    """Units by sign, window and, for excluded, reason; by state."""
    measured: dict[tuple[str, ...], dict[str, int]]
    """Units by bucket, and TOTAL, by sign, level, segment and window."""

    def distributions(self) -> Iterator[tuple[Family, tuple[str, ...], float]]:
        """Yield the samples of the distributions of what is measured, labels without the partition."""
        for (sign, *labels), counts in self.measured.items():
            families_of, units = MEASURES[sign], 0
            for bound, le in _BOUNDS[sign]:
                units += counts.get(bound, 0)
                yield families_of.buckets, (*labels, le), units
            yield families_of.total, tuple(labels), counts.get(TOTAL, 0) / families_of.measure.per_unit
            yield families_of.units, tuple(labels), units


class _Rendered(NamedTuple):
    """The text of a partition's business figures by family name, and what it was made of."""

    made_of: tuple[str, int, int | None]
    text: dict[str, str]


class Collector:
    """Renders what `snapshot` returns: as a prometheus_client collector, or straight as text, which is far cheaper.

    Both say the same. Business figures of a partition are there only while it is ready and the worker does not fence
    itself; who owns a partition and whether it is ready is always said.
    """

    def __init__(self, snapshot: Callable[[], WorkerSnapshot], levels: Iterable[Level]) -> None:
        self._snapshot = snapshot
        self._standing_windows = standing_windows(levels)
        self._patterns: dict[tuple[str, str, tuple[str, ...]], str] = {}
        self._rendered: dict[int, _Rendered] = {}

    def collect(self) -> Iterator[Metric]:
        """Yield the families that have samples, in the order of the inventory."""
        snapshot = self._snapshot()
        metrics: dict[str, Metric] = {}
        for family in FAMILIES:
            if family.type != "histogram":
                kind = CounterMetricFamily if family.type == "counter" else GaugeMetricFamily
                metrics[family.name] = kind(family.name, family.help, labels=family.labels)
        for figure in self._figures(snapshot):
            metric = metrics[figure.family.name]
            labels = dict(zip(figure.family.labels, (snapshot.group, *figure.labels), strict=True))
            metric.add_sample(figure.family.name, labels, figure.value)
        return iter([metric for metric in metrics.values() if metric.samples])

    def text(self, *, openmetrics_format: bool = False) -> str:
        """Return the same as text; the business figures of a partition whose version stands are not rendered again."""
        snapshot = self._snapshot()
        chunks: dict[str, list[str]] = {family.name: [] for family in FAMILIES}
        if len(self._patterns) > _PATTERNS_KEPT:
            self._patterns.clear()
        rendered: dict[int, _Rendered] = {}
        for partition in snapshot.partitions:
            if not _speaks(snapshot, partition):
                continue
            made_of = snapshot.group, partition.generation, partition.version
            last = self._rendered.get(partition.partition)
            if last is None or last.made_of != made_of or partition.version is None:
                last = _Rendered(made_of, self._business_text(snapshot.group, partition))
            rendered[partition.partition] = last
            for name, text in last.text.items():
                chunks[name].append(text)
        self._rendered = rendered
        for family, labels, value in _worker_figures(snapshot):
            pairs = ",".join(
                f'{label}="{_escaped(text)}"'
                for label, text in zip(family.labels, (snapshot.group, *labels), strict=True)
            )
            chunks[family.name].append(f"{family.name}{{{pairs}}} {value}\n")
        return "".join(
            _heading(family, openmetrics_format=openmetrics_format) + "".join(chunks[family.name])
            for family in FAMILIES
            if chunks[family.name]
        )

    def _figures(self, snapshot: WorkerSnapshot) -> Iterator[Figure]:
        for partition in snapshot.partitions:
            if _speaks(snapshot, partition):
                number = str(partition.partition)
                tally = _tally(partition.rows, self._standing_windows)
                for (sign, level, segment, window, finality), outcomes in tally.decided.items():
                    for outcome, units in zip(_OUTCOMES, outcomes, strict=True):
                        yield Figure(
                            families.WINDOW_UNITS, (sign, level, segment, window, outcome, finality, number), units
                        )
                for state, counts in tally.standing.items():
                    for labels, units in counts.items():
                        yield Figure(_STANDING[state], (*labels, number), units)
                for family, labels, value in tally.distributions():
                    yield Figure(family, (*labels, number), value)
        yield from _worker_figures(snapshot)

    def _business_text(self, group: str, partition: PartitionSnapshot) -> dict[str, str]:
        """Return the lines of a partition by family name; what stands around its numbers is made once per label set."""
        number = partition.partition
        tally = _tally(partition.rows, self._standing_windows)
        lines = []
        for key, (good, bad) in tally.decided.items():
            pattern = self._patterns.get((group, "decided", key))
            if pattern is None:
                sign, level, segment, window, finality = key
                pattern = self._patterns[group, "decided", key] = "".join(
                    _pattern(families.WINDOW_UNITS, (group, sign, level, segment, window, outcome, finality))
                    for outcome in _OUTCOMES
                )
            lines.append(pattern % (number, good, number, bad))
        text = {families.WINDOW_UNITS.name: "".join(lines)}
        for state, counts in tally.standing.items():
            lines = []
            for labels, units in counts.items():
                pattern = self._patterns.get((group, state, labels))
                if pattern is None:
                    pattern = self._patterns[group, state, labels] = _pattern(_STANDING[state], (group, *labels))
                lines.append(pattern % (number, units))
            text[_STANDING[state].name] = "".join(lines)
        measured: dict[str, list[str]] = {}
        for family, labels, value in tally.distributions():
            pattern = self._patterns.get((group, family.name, labels))
            if pattern is None:
                pattern = self._patterns[group, family.name, labels] = _pattern(family, (group, *labels))
            measured.setdefault(family.name, []).append(pattern % (number, value))
        text |= {name: "".join(lines) for name, lines in measured.items()}
        return {name: of_family for name, of_family in text.items() if of_family}


def page(collector: Collector, activity: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    """Return /metrics and its content type: OpenMetrics 1.0 where the Accept header lists it, else text 0.0.4.

    prometheus_client's own negotiation raises on odd versions and answers with whatever version was asked for.
    """
    wanted = {one.split(";")[0].strip().lower() for one in accept.split(",")}
    if _OPENMETRICS in wanted:
        body = collector.text(openmetrics_format=True).encode() + openmetrics.generate_latest(activity)  # type: ignore[no-untyped-call]
        return body, openmetrics.CONTENT_TYPE_LATEST
    return collector.text().encode() + generate_latest(activity), CONTENT_TYPE_PLAIN_0_0_4


def _speaks(snapshot: WorkerSnapshot, partition: PartitionSnapshot) -> bool:
    """Whether this worker's business figures of the partition may be believed."""
    return partition.ready and partition.watermark_ms is not None and not snapshot.withhold_business


def _tally(rows: Iterable[Row], windows: Collection[str]) -> _Tally:
    """Add up the rows of a partition; what is zero is left out, and details of a reason behind a colon are added up."""
    decided: dict[tuple[str, ...], list[int]] = {}
    standing: dict[str, dict[tuple[str, ...], int]] = {state: {} for state in _STANDING}
    measured: dict[tuple[str, ...], dict[str, int]] = {}
    for sign, level, segment, window, state, detail, units in rows:
        if not units:
            continue
        if state in _OUTCOMES:
            key = sign, level, segment, window, detail
            outcomes = decided.get(key)
            if outcomes is None:
                outcomes = decided[key] = [0, 0]
            outcomes[state == "bad"] += units
        elif state == AT_RISK:
            standing[state][sign, level, segment] = units
        elif state == MOMENT:
            standing[state][sign, level, segment, window] = units
        elif state == MEASURED:
            measured.setdefault((sign, level, segment, window), {})[detail] = units
        elif level == JOB_LEVEL and window in windows and sign not in MEASURES:
            labels = (sign, window, detail.partition(":")[0]) if state == "excluded" else (sign, window)
            counts = standing[state]
            counts[labels] = counts.get(labels, 0) + units
    return _Tally(decided, standing, measured)


def _worker_figures(snapshot: WorkerSnapshot) -> Iterator[Figure]:
    """Yield everything but the business figures."""
    for objective in snapshot.objectives:
        labels = objective.sign, objective.level, objective.segment
        yield Figure(families.OBJECTIVE_RATIO, labels, objective.ratio)
    yield Figure(families.PARTITIONS_EXPECTED, (), snapshot.partitions_expected)
    for state in WORKER_STATES:
        yield Figure(families.WORKER_STATE, (state,), int(state == snapshot.state))
    yield Figure(families.WORKER_CPU, (), snapshot.cpu_seconds)
    yield Figure(families.REBALANCES, (), snapshot.rebalances)
    yield Figure(families.LABEL_VALUES_CAPPED, (), snapshot.label_values_capped)
    yield Figure(families.BUILD_INFO, (snapshot.version,), 1)
    yield Figure(families.POLICY_INFO, (snapshot.policy,), 1)
    if snapshot.history_since_ms:
        yield Figure(families.HISTORY_START, (), snapshot.history_since_ms / SECOND_MS)
    for partition in snapshot.partitions:
        yield from _partition_figures(snapshot, partition)
        if partition.watermark_ms is not None and _speaks(snapshot, partition):
            yield from _live_figures(str(partition.partition), partition.lasting, partition.watermark_ms)


def _partition_figures(snapshot: WorkerSnapshot, partition: PartitionSnapshot) -> Iterator[Figure]:
    number = str(partition.partition)
    yield Figure(families.OWNER_GENERATION, (number,), partition.generation)
    yield Figure(families.PARTITION_READY, (number,), int(_speaks(snapshot, partition)))
    if partition.watermark_ms is not None:
        yield Figure(families.WATERMARK, (number,), partition.watermark_ms / SECOND_MS)
    for topic, watermark_ms in partition.source_watermark_ms.items():
        yield Figure(families.SOURCE_WATERMARK, (topic, number), watermark_ms / SECOND_MS)
    for topic, records in partition.lag_records.items():
        yield Figure(families.LAG_RECORDS, (topic, number), records)
    for topic, seconds in partition.lag_seconds.items():
        yield Figure(families.LAG_SECONDS, (topic, number), seconds)
    for table, records in partition.recovery_remaining.items():
        yield Figure(families.RECOVERY_REMAINING, (table, number), records)
    for table, keys in (("cases", partition.cases), ("boards", partition.boards)):
        yield Figure(families.TABLE_KEYS, (table, number), keys)
    for table, size in partition.state_bytes.items():
        yield Figure(families.STATE_BYTES, (table, number), size)


def _live_figures(number: str, lasting: Iterable[Lasting], now_ms: int) -> Iterator[Figure]:
    for sign, level, segment, units, since_ms in lasting:
        yield Figure(_LONGEST[sign], (level, segment, number), max(0, now_ms - since_ms) / SECOND_MS)
        if sign == _OPEN:
            yield Figure(families.OPEN_CASES, (level, segment, number), units)


def _heading(family: Family, *, openmetrics_format: bool) -> str:
    counter_in_openmetrics = openmetrics_format and family.type == "counter"
    name = family.name.removesuffix("_total") if counter_in_openmetrics else family.name
    if name.endswith("_bucket") and not openmetrics_format:  # what the text format has for it
        return f"# HELP {name[:-7]} {family.help}\n# TYPE {name[:-7]} histogram\n"
    return f"# HELP {name} {family.help}\n# TYPE {name} {family.type}\n"


def _pattern(family: Family, labels: tuple[str, ...]) -> str:
    """Return a line of a family whose last label is the partition, to be filled with that and the value."""
    pairs = "".join(f'{label}="{_escaped(text)}",' for label, text in zip(family.labels, labels, strict=False))
    return f'{family.name}{{{pairs}partition="'.replace("%", "%%") + '%d"} %s\n'


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
