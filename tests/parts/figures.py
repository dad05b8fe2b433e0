"""What the figures of a job have to be, by the events alone; and what they are, by Prometheus or by a worker's page."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from cxstream.demo.upstream import Delivery
from cxstream.domain.policy import Policy
from cxstream.domain.verdict import Verdict
from cxstream.domain.windows import BUCKET_MS
from cxstream.engine.ledger import Windows
from cxstream.offline.events_file import Delivered
from cxstream.offline.judge import judge_facts
from cxstream.vital_signs import CATALOGUE

from .producer import Job
from .prometheus import Prometheus
from .worker import Samples

Segments = dict[str, dict[str, str]]
"""Case -> dimension -> value."""


class Figures(NamedTuple):
    """What Prometheus records of a job; nothing that is zero, but for ratios."""

    units: Counter[tuple[str, ...]]
    """By level, sign, segment, window, outcome and finality."""
    ratios: dict[tuple[str, ...], float]
    """By level, sign, segment and window."""
    pending: Counter[tuple[str, ...]]
    """By sign and window."""
    excluded: Counter[tuple[str, ...]]
    """By sign, window and reason."""

    @property
    def kinds(self) -> tuple[Mapping[tuple[str, ...], float], ...]:
        """The figures, kind by kind."""
        return self.units, self.ratios, self.pending, self.excluded

    def differences(self, other: Figures) -> list[str]:
        """Say where another set of figures differs, one line each."""
        return [
            f"{name} {key}: {mine.get(key, 'absent')}, not {theirs.get(key, 'absent')}"
            for name, mine, theirs in zip(self._fields, self.kinds, other.kinds, strict=True)
            for key in sorted(mine.keys() | theirs.keys())
            if mine.get(key) != theirs.get(key)
        ]


UNITS = "cxstream_vital_sign_window_units"
OUTCOMES = {"provisional_hit": "good", "final_hit": "good", "miss": "bad"}


def figures_at(now_ms: int, facts: Sequence[Delivered], segments: Segments, windows: Windows) -> Figures:
    """Count what `cxstream judge` says at a clock reading of the signs counted, window by window."""
    signs = {name: sign for name, sign in CATALOGUE.items() if windows.signs is None or name in windows.signs}
    judged = judge_facts(facts, now_ms, signs, Policy())[0]
    return counted(now_ms, ((one.case_id, one.verdict) for one in judged), segments, windows)


def counted(now_ms: int, verdicts: Iterable[tuple[str, Verdict]], segments: Segments, windows: Windows) -> Figures:
    """Count verdicts (each with its case) at a clock reading, window by window, with no code of the ledger's.

    What is measured, and neither good nor bad, is left out.
    """
    units: Counter[tuple[str, ...]] = Counter()
    pending: Counter[tuple[str, ...]] = Counter()
    excluded: Counter[tuple[str, ...]] = Counter()
    levels = {level.name: level for level in windows.levels}
    of_segments = {label for name, level in levels.items() if name != "job" for label in level.windows}
    for case_id, verdict in verdicts:
        if CATALOGUE[verdict.sign].measure is not None:
            continue
        for label in of_job(windows):
            age = now_ms // BUCKET_MS - verdict.anchor_ms // BUCKET_MS
            if not 0 <= age < windows.lengths_ms[label] // BUCKET_MS:
                continue
            for level in levels.values():
                if label in level.windows and verdict.verdict in OUTCOMES:
                    segment = "/".join(segments.get(case_id, {}).get(name, "unknown") for name in level.dimensions)
                    finality = ("final" if verdict.sealed else "provisional") if level.name == "job" else ""
                    units[level.name, verdict.sign, segment, label, OUTCOMES[verdict.verdict], finality] += 1
            if verdict.verdict == "pending" and label in of_segments:
                pending[verdict.sign, label] += 1
            if verdict.verdict == "excluded" and label in of_segments:
                excluded[verdict.sign, label, verdict.reason.partition(":")[0]] += 1
    return Figures(units, ratios_of(units), pending, excluded)


def of_job(windows: Windows) -> tuple[str, ...]:
    """Return the windows of the level job, which has all there are."""
    return next(level.windows for level in windows.levels if level.name == "job")


def ratios_of(units: Counter[tuple[str, ...]]) -> dict[tuple[str, ...], float]:
    """Divide the good units of each level, sign, segment and window by the decided ones."""
    good: Counter[tuple[str, ...]] = Counter()
    decided: Counter[tuple[str, ...]] = Counter()
    for (*of, outcome, _finality), count in units.items():
        decided[tuple(of)] += count
        good[tuple(of)] += count if outcome == "good" else 0
    return {of: good[of] / count for of, count in decided.items()}


def segments_of(deliveries: Sequence[Delivery]) -> Segments:
    """Return the segment every case was opened in."""
    return {
        str(event["case_id"]): {name: str(event[name]) for name in ("region", "product")}
        for _, _, event in deliveries
        if event["type"] == "opened"
    }


def recorded(prometheus: Prometheus, job: Job) -> Figures:
    """Return what the recording rules made of a job, all at one instant."""
    units: Counter[tuple[str, ...]] = Counter()
    ratios: dict[tuple[str, ...], float] = {}
    standing: dict[str, Counter[tuple[str, ...]]] = {"pending": Counter(), "excluded": Counter()}
    for series in prometheus.query(f'{{__name__=~"[a-z_]+:cxstream_vital_sign_.+", group="{job.group}"}}'):
        labels, value = series["metric"], float(series["value"][1])
        level, metric, operation = labels["__name__"].split(":")
        of = tuple(labels.get(name, "") for name in ("vital_sign", "segment", "window"))
        if (metric, operation) == ("cxstream_vital_sign_window_units", "sum"):
            units[level, *of, labels["outcome"], labels.get("finality", "")] += int(value)
        elif (metric, operation) == ("cxstream_vital_sign_good_per_units", "ratio"):
            ratios[level, *of] = value
        elif metric == "cxstream_vital_sign_pending_units":
            standing["pending"][labels["vital_sign"], labels["window"]] += int(value)
        elif metric == "cxstream_vital_sign_excluded_units":
            standing["excluded"][labels["vital_sign"], labels["window"], labels["reason"]] += int(value)
    return Figures(+units, ratios, standing["pending"], standing["excluded"])


def exposed(samples: Samples) -> Figures:
    """Add up the partitions of a single worker, as the recording rules do."""
    of = ("level", "vital_sign", "segment", "window", "outcome", "finality")
    units = samples.by(UNITS, *of)
    pending = samples.by("cxstream_vital_sign_pending_units", "vital_sign", "window")
    excluded = samples.by("cxstream_vital_sign_excluded_units", "vital_sign", "window", "reason")
    return Figures(+units, ratios_of(units), pending, excluded)


def wall_ms() -> int:
    """Return the wall clock in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000
