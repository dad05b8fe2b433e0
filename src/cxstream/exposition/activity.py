"""What this process has done since it started: counters and histograms, which a restart sets back to nothing."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate
from math import inf

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.utils import floatToGoString

from cxstream.domain.instant import SECOND_MS
from cxstream.domain.vocabulary import TOPICS
from cxstream.engine.ledger import OTHER
from cxstream.engine.source_quality import DISPOSITIONS as SOURCE_DISPOSITIONS
from cxstream.engine.source_quality import SourceQuality
from cxstream.exposition import families
from cxstream.exposition.families import Family
from cxstream.vital_signs import TIER_A

VERDICTS = ("pending", "provisional_hit", "final_hit", "miss", "excluded")
NO_VERDICT = "none"
"""What the first verdict of a unit replaces."""

TABLES = ("cases", "boards")
"""The tables of a group."""

REFUSED_HTTP = ("connections", "requests", "timeout", "too_large", "unread")
"""Limits of the HTTP server."""
PAGE_LIMITS = ("answer_failed", "answer_timeout", "answer_too_large", "most_listed", "search_time")
"""Limits of the pages that can be hit."""

DISPOSITIONS = ("after_seal", "closed_case")
"""What becomes of a late fact: kept but not counted, or refused by a case that is closed."""


RELAYED = ("assets", "relays")
"""The topics in which cases tell each other, which are read beside the source topics."""
UNREADABLE = "unreadable"
"""Why a record of those is rejected: nobody can have written it. It becomes no dead letter."""


class _Counter:
    """One counter family over a closed set of label values, each series present from the start at 0."""

    def __init__(
        self, family: Family, group: str, *values: Iterable[str], also: Iterable[tuple[str, ...]] = ()
    ) -> None:
        """Begin at 0 for every combination of the values, and for those that are given beside them."""
        self._family = family
        self._group = group
        self._closed = [frozenset(known) for known in values]
        self._counts: dict[tuple[str, ...], float] = {(): 0}
        for known in values:
            self._counts = {(*labels, value): 0 for labels in self._counts for value in known}
        self._counts |= dict.fromkeys(also, 0)

    def add(self, *labels: str, count: float = 1) -> None:
        """Count; a label value outside the closed set is counted as OTHER."""
        if labels not in self._counts:
            labels = tuple(
                value if value in known else OTHER for value, known in zip(labels, self._closed, strict=True)
            )
        self._counts[labels] = self._counts.get(labels, 0) + count

    def metric(self) -> Metric:
        metric = CounterMetricFamily(self._family.name, self._family.help, labels=self._family.labels)
        for labels, count in self._counts.items():
            metric.add_metric((self._group, *labels), count)
        return metric


class _Histogram:
    """One histogram family, each series present from the start; observations are taken many at a time."""

    def __init__(self, family: Family, group: str, known: Iterable[str] | None = None) -> None:
        self._family = family
        self._group = group
        self._labels: list[tuple[str, ...]] = [()] if known is None else [(value,) for value in known]
        self._counts = {labels: [0] * (len(family.buckets) + 1) for labels in self._labels}
        self._sums = dict.fromkeys(self._labels, 0.0)

    def observe(self, *labels: str, seconds: float, count: int = 1) -> None:
        """Take `count` observations of the same value; below zero (clocks differ) it is zero."""
        labels = self._known(labels)
        seconds = max(seconds, 0.0)
        self._counts[labels][bisect_left(self._family.buckets, seconds)] += count
        self._sums[labels] += seconds * count

    def observe_each(self, *labels: str, seconds: Iterable[float]) -> None:
        """Take an observation of each value; those below zero (clocks differ) are zero."""
        labels = self._known(labels)
        ordered = sorted(max(one, 0.0) for one in seconds)
        counts, below = self._counts[labels], 0
        for bucket, bound in enumerate((*self._family.buckets, inf)):
            counts[bucket] -= below
            below = bisect_right(ordered, bound)
            counts[bucket] += below
        self._sums[labels] += sum(ordered)

    def _known(self, labels: tuple[str, ...]) -> tuple[str, ...]:
        if labels not in self._counts:
            labels = (OTHER,)
            self._counts.setdefault(labels, [0] * (len(self._family.buckets) + 1))
            self._sums.setdefault(labels, 0.0)
        return labels

    def metric(self) -> Metric:
        metric = HistogramMetricFamily(self._family.name, self._family.help, labels=self._family.labels)
        bounds = [*map(floatToGoString, self._family.buckets), "+Inf"]
        for labels, counts in self._counts.items():
            buckets = list(zip(bounds, map(float, accumulate(counts)), strict=True))
            metric.add_metric((self._group, *labels), buckets, self._sums[labels])
        return metric


class Activity:
    """Counts what happens in this process; a prometheus_client collector in a registry of its own.

    Call it from one thread. `reasons` are those a record can be rejected for. The label sets are closed: what is
    outside them is counted as OTHER, and nothing here grows with traffic.

    Every record read is counted once more by what became of it. It is the first of these that fits: a dead letter, late
    for a closed case, a duplicate or a conflict, of an unknown type, late after seal, applied.
    """

    def __init__(
        self,
        group: str,
        *,
        reasons: Iterable[str],
        topics: Iterable[str] = TOPICS,
        signs: Iterable[str] = tuple(TIER_A),
        sources: SourceQuality | None = None,
    ) -> None:
        topics, reasons = tuple(topics), tuple(reasons)
        self._group = group
        self._reasons = reasons
        self.sources = SourceQuality(topics) if sources is None else sources
        self._verdict_changes = _Counter(
            families.VERDICT_CHANGES, group, tuple(signs), (NO_VERDICT, *VERDICTS), VERDICTS
        )
        self._consumed = _Counter(families.EVENTS_CONSUMED, group, topics)
        unreadable = [(topic, UNREADABLE) for topic in RELAYED]
        self._rejected = _Counter(families.EVENTS_REJECTED, group, topics, reasons, also=unreadable)
        self._applied = _Counter(families.EVENTS_APPLIED, group, topics)
        self._duplicates = _Counter(families.DUPLICATE_EVENTS, group, topics)
        self._conflicts = _Counter(families.CONFLICTING_EVENTS, group, topics)
        self._late = _Counter(families.LATE_EVENTS, group, topics, DISPOSITIONS)
        self._unknown_types = _Counter(families.UNKNOWN_TYPE_EVENTS, group, topics)
        self._dead_letters = _Counter(families.DEAD_LETTERS, group, topics, reasons)
        self._foreign_writes = _Counter(families.FOREIGN_WRITES, group, TABLES)
        self._http_refused = _Counter(families.HTTP_REFUSED, group, REFUSED_HTTP)
        self._page_limits = _Counter(families.PAGE_LIMITS, group, PAGE_LIMITS)
        self._processing = _Histogram(families.EVENT_PROCESSING, group, topics)
        self._to_gauge = _Histogram(families.EVENT_TO_GAUGE, group, topics)
        self._rebalance = _Histogram(families.REBALANCE, group)
        self.registry = CollectorRegistry()
        self.registry.register(self)

    def verdict_changed(self, sign: str, old: str | None, new: str) -> None:
        """Count a published verdict; `old` is the name of the one it replaces, None for the first."""
        self._verdict_changes.add(sign, old or NO_VERDICT, new)

    def consumed(self, topic: str, count: int = 1) -> None:
        """Count records that were read."""
        self._consumed.add(topic, count=count)

    def rejected(self, topic: str, reason: str) -> None:
        """Count a record that was no fact; in a topic of relays, one that was none."""
        self._rejected.add(topic, reason)

    def applied(self, topic: str, count: int = 1) -> None:
        """Count facts that were taken in, known by their type and in time."""
        self._applied.add(topic, count=count)

    def duplicate(self, topic: str, count: int = 1) -> None:
        """Count facts that were known already."""
        self._duplicates.add(topic, count=count)

    def conflict(self, topic: str, count: int = 1) -> None:
        """Count facts whose event id was known with another content."""
        self._conflicts.add(topic, count=count)

    def late(self, topic: str, disposition: str, count: int = 1) -> None:
        """Count facts that came too late to count; `disposition` is one of DISPOSITIONS."""
        self._late.add(topic, disposition, count=count)

    def unknown_type(self, topic: str, count: int = 1) -> None:
        """Count facts of a type the vocabulary does not know."""
        self._unknown_types.add(topic, count=count)

    def dead_letter(self, topic: str, reason: str) -> None:
        """Count a dead letter that was written, by the source topic of its record."""
        self._dead_letters.add(topic, reason)

    def http_refused(self, reason: str) -> None:
        """Count a connection or request that was beyond a limit of the HTTP server."""
        self._http_refused.add(reason)

    def foreign_write(self, table: str, count: int = 1) -> None:
        """Count changelog records that another worker wrote, late, and that were read and united."""
        self._foreign_writes.add(table, count=count)

    def page_limit(self, limit: str) -> None:
        """Count that a limit of the pages was hit; one of PAGE_LIMITS."""
        self._page_limits.add(limit)

    def processed(self, topic: str, count: int, seconds: float) -> None:
        """Observe `count` events of a batch that were processed in `seconds` altogether."""
        if count:
            self._processing.observe(topic, seconds=seconds / count, count=count)

    def counted(self, topic: str, seconds: Iterable[float]) -> None:
        """Observe how long after its delivery each of some events reached the figures."""
        self._to_gauge.observe_each(topic, seconds=seconds)

    def rebalanced(self, seconds: float) -> None:
        """Observe a rebalance that is over, what it brought recovered."""
        self._rebalance.observe(seconds=seconds)

    def collect(self) -> Iterator[Metric]:
        """Yield every family with what was counted so far."""
        for counter in (
            self._verdict_changes,
            self._consumed,
            self._applied,
            self._rejected,
            self._duplicates,
            self._conflicts,
            self._late,
            self._unknown_types,
            self._dead_letters,
            self._foreign_writes,
            self._http_refused,
            self._page_limits,
        ):
            yield counter.metric()
        for histogram in (self._processing, self._to_gauge, self._rebalance):
            yield histogram.metric()
        yield from self._source_metrics()

    def _source_metrics(self) -> Iterator[Metric]:
        """Yield what each source sent; a source and its series are there from the start, but for __other__."""
        events, rejected, skews = families.SOURCE_EVENTS, families.SOURCE_REJECTED, families.SOURCE_SKEW
        ends = CounterMetricFamily(events.name, events.help, labels=events.labels)
        reasons = CounterMetricFamily(rejected.name, rejected.help, labels=rejected.labels)
        delays = HistogramMetricFamily(skews.name, skews.help, labels=skews.labels)
        bounds = [*map(floatToGoString, skews.buckets), "+Inf"]
        for (topic, name), account in self.sources.accounts.items():
            labels = self._group, topic, name
            for disposition in SOURCE_DISPOSITIONS:
                ends.add_metric((*labels, disposition), account.dispositions[disposition])
            known = {reason: account.reasons[reason] for reason in self._reasons}
            others = account.reasons.total() - sum(known.values())
            for reason, count in (known | ({OTHER: others} if others else {})).items():
                reasons.add_metric((*labels, reason), count)
            for direction, of in account.skews.items():
                buckets = list(zip(bounds, map(float, accumulate(of.counts)), strict=True))
                delays.add_metric((*labels, direction), buckets, of.sum_ms / SECOND_MS)
        yield from (ends, reasons, delays)
