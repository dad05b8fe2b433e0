"""What an intake tells Prometheus: what became of the records it read, and what waits; counts since it started."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.openmetrics import exposition as openmetrics

from cxstream.domain.vocabulary import TOPICS
from cxstream.exposition.activity import _Counter
from cxstream.exposition.families import PREFIX, Family, FamilyType

_OPENMETRICS = "application/openmetrics-text"


def _family(name: str, kind: FamilyType, labels: str, text: str) -> Family:
    return Family(f"{PREFIX}intake_{name}", kind, ("group", *labels.split()), text)


RECORDS = _family(
    "records_total",
    "counter",
    "topic outcome",
    "Records read, each by what became of it: told (events), repeated (told before), taught (a lookup, no event),"
    " ignored (no rule of the map holds), parked, refused (a dead letter).",
)
EVENTS = _family("events_total", "counter", "topic", "Events sent and acknowledged, by ticket, dispatch and parts.")
REPEATS = _family(
    "repeated_events_total", "counter", "topic", "Events not sent, for an earlier row of the same topic told them."
)
REFUSED = _family("refused_total", "counter", "topic reason", "Dead letters written, by topic and reason.")
PARKED_ENDS = _family(
    "parked_ends_total",
    "counter",
    "outcome",
    "Parked records that wait no longer: released, refused by the map, case_unknown (too long), parking_full.",
)
LOOKUP = _family(
    "lookup_total",
    "counter",
    "outcome",
    "What records taught lookups: learned, known, contradicted (the first value counts), forgotten.",
)
TIMES = _family(
    "local_times_total",
    "counter",
    "resolution",
    "Local times that clocks showed never or twice, by what the map makes of them.",
)
PARKED = _family("parked_records", "gauge", "", "Records that wait for a lookup.")
PARKED_BYTES = _family("parked_bytes", "gauge", "", "Bytes of the records that wait.")
OLDEST_PARKED = _family("oldest_parked_seconds", "gauge", "", "How long the record has waited that has for longest.")
LOOKUP_KEYS = _family("lookup_keys", "gauge", "", "Keys the lookups know.")
ACTIVE = _family("active", "gauge", "", "1 if this process reads the topics; 0 if it stands by for another.")

INTAKE_FAMILIES = tuple(value for value in list(globals().values()) if isinstance(value, Family))
"""All of them; docs/upstream/intake.md lists them."""


class Standing(NamedTuple):
    """What an intake holds now."""

    active: bool
    parked: int
    parked_bytes: int
    oldest_parked_seconds: float
    lookup_keys: int


class IntakeActivity:
    """Counts what an intake has done; a collector in a registry of its own. Label values are closed lists."""

    def __init__(  # the closed lists, by name
        self,
        group: str,
        topics: Iterable[str],
        *,
        outcomes: Iterable[str],
        reasons: Iterable[str],
        parked_ends: Iterable[str],
        learning: Iterable[str],
        notes: Iterable[str],
    ) -> None:
        self._group = group
        topics = tuple(topics)
        self._counters = {
            "records": _Counter(RECORDS, group, topics, outcomes),
            "events": _Counter(EVENTS, group, TOPICS),
            "repeats": _Counter(REPEATS, group, topics),
            "refused": _Counter(REFUSED, group, topics, reasons),
            "parked_ends": _Counter(PARKED_ENDS, group, parked_ends),
            "lookup": _Counter(LOOKUP, group, learning),
            "times": _Counter(TIMES, group, notes),
        }
        self.standing = Standing(active=False, parked=0, parked_bytes=0, oldest_parked_seconds=0.0, lookup_keys=0)
        self.registry = CollectorRegistry()
        self.registry.register(self)

    def count(self, tally: Mapping[tuple[str, ...], int]) -> None:
        """Count what is acknowledged: the name of a counter and its labels -> how many."""
        for (name, *labels), number in tally.items():
            self._counters[name].add(*labels, count=number)

    def collect(self) -> Iterator[Metric]:
        """Yield every family."""
        for counter in self._counters.values():
            yield counter.metric()
        now = self.standing
        for family, value in (
            (ACTIVE, int(now.active)),
            (PARKED, now.parked),
            (PARKED_BYTES, now.parked_bytes),
            (OLDEST_PARKED, now.oldest_parked_seconds),
            (LOOKUP_KEYS, now.lookup_keys),
        ):
            metric = GaugeMetricFamily(family.name, family.help, labels=family.labels)
            metric.add_metric((self._group,), value)
            yield metric

    def page(self, accept: str) -> tuple[bytes, str]:
        """Return /metrics and its content type, by the Accept header."""
        wanted = {one.split(";")[0].strip().lower() for one in accept.split(",")}
        if _OPENMETRICS in wanted:
            return openmetrics.generate_latest(self.registry), openmetrics.CONTENT_TYPE_LATEST  # type: ignore[no-untyped-call]
        return generate_latest(self.registry), CONTENT_TYPE_PLAIN_0_0_4
