"""What this process has taken and refused since it started, by source: counters for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.openmetrics import exposition as openmetrics

from cxstream.domain.vocabulary import TOPICS
from cxstream.exposition.families import PREFIX, Family
from cxstream.ingress.limits import InFlight
from cxstream.ingress.problems import KINDS, OF_EVENTS

UNKNOWN = "unknown"
"""The source of a request whose token is missing or wrong, and the topic of an event that names none."""
LIMITS = (
    "request_bytes",
    "request_events",
    "requests_at_once",
    "in_flight_bytes",
    "rate",
    "body_time",
    "delivery_time",
)
"""The limits of a request."""
OUTCOMES = ("accepted", "rejected", "unavailable", "unknown_outcome")
"""What becomes of an event: acknowledged by the brokers; refused; not sent; sent, but not acknowledged in time."""
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


def _family(name: str, kind: str, labels: str, text: str, buckets: tuple[float, ...] = ()) -> Family:
    return Family(f"{PREFIX}ingress_{name}", kind, ("group", *labels.split()), text, buckets)  # type: ignore[arg-type]  # one of the three


REQUESTS = _family("requests_total", "counter", "source status", "Requests that sent events, by HTTP status.")
EVENTS = _family(
    "events_total",
    "counter",
    "source topic outcome",
    "Events of requests that could be read: accepted (acknowledged by the brokers), rejected, unavailable (not sent),"
    " unknown_outcome (sent, not acknowledged in time).",
)
REJECTED = _family("rejected_events_total", "counter", "source reason", "Events that were refused, by reason.")
LIMITS_HIT = _family("limits_hit_total", "counter", "source limit", "Requests that met a limit, by the limit.")
BODY_BYTES = _family("body_bytes_total", "counter", "source", "Bytes of bodies that were read.")
IN_FLIGHT = _family("in_flight_bytes", "gauge", "", "Bytes of bodies that are read or wait for the brokers now.")
SECONDS = _family("request_seconds", "histogram", "", "Time from the head of a request to its answer.", _BUCKETS)
CONNECTED = _family("connected", "gauge", "", "1 while events can be taken: the brokers are there, the topics right.")
BUILD = _family("build_info", "gauge", "version", "Always 1; says which version runs.")

FAMILIES = tuple(value for value in list(globals().values()) if isinstance(value, Family))
"""All of them, in the order above."""


class Metrics:
    """Counts what the ingress does. All label sets are closed, and every series is there from the start."""

    def __init__(self, group: str, sources: Iterable[str], in_flight: InFlight, version: str) -> None:
        self.registry = CollectorRegistry()
        self._group = group
        known = (*sources, UNKNOWN)
        topics = (*TOPICS, UNKNOWN)
        self._requests = self._counter(REQUESTS)
        self._events = self._counter(EVENTS)
        self._rejected = self._counter(REJECTED)
        self._limits_hit = self._counter(LIMITS_HIT)
        self._body_bytes = self._counter(BODY_BYTES)
        for source in known:
            for status in (202, 207, *sorted({kind.status for kind in KINDS.values()})):
                self._requests.labels(group, source, str(status))
            for topic in topics:
                for outcome in OUTCOMES:
                    self._events.labels(group, source, topic, outcome)
            for reason in OF_EVENTS:
                self._rejected.labels(group, source, reason)
            for limit in LIMITS:
                self._limits_hit.labels(group, source, limit)
            self._body_bytes.labels(group, source)
        self._seconds = Histogram(
            SECONDS.name, SECONDS.help, SECONDS.labels, buckets=SECONDS.buckets, registry=self.registry
        ).labels(group)
        self._gauge(IN_FLIGHT).labels(group).set_function(lambda: in_flight.held_bytes)
        self._connected = self._gauge(CONNECTED).labels(group)
        self._gauge(BUILD).labels(group, version).set(1)

    def answered(self, source: str, status: int, seconds: float) -> None:
        """Count a request to send events, and the time it took."""
        self._requests.labels(self._group, source, str(status)).inc()
        self._seconds.observe(seconds)

    def read(self, source: str, size_bytes: int) -> None:
        """Count the bytes of a body."""
        self._body_bytes.labels(self._group, source).inc(size_bytes)

    def event(self, source: str, topic: str, outcome: str) -> None:
        """Count an event by what became of it."""
        self._events.labels(self._group, source, topic, outcome).inc()

    def rejected(self, source: str, reason: str) -> None:
        """Count why an event was refused."""
        self._rejected.labels(self._group, source, reason).inc()

    def limit_hit(self, source: str, limit: str) -> None:
        """Count a request that met one of LIMITS."""
        self._limits_hit.labels(self._group, source, limit).inc()

    def connected(self, *, there: bool) -> None:
        """Note whether events can be taken."""
        self._connected.set(int(there))

    def page(self, accept: str) -> tuple[bytes, str]:
        """Return /metrics and its content type: OpenMetrics where the Accept header lists it, else text."""
        if "application/openmetrics-text" in {one.split(";")[0].strip().lower() for one in accept.split(",")}:
            return openmetrics.generate_latest(self.registry), openmetrics.CONTENT_TYPE_LATEST  # type: ignore[no-untyped-call]
        return generate_latest(self.registry), CONTENT_TYPE_PLAIN_0_0_4

    def _counter(self, family: Family) -> Counter:
        return Counter(family.name.removesuffix("_total"), family.help, family.labels, registry=self.registry)

    def _gauge(self, family: Family) -> Gauge:
        return Gauge(family.name, family.help, family.labels, registry=self.registry)
