"""Every metric family as data: what the code exposes, what rules and panels may use and what docs/metrics.md lists."""

from __future__ import annotations

from typing import Literal, NamedTuple

from cxstream.domain.vital_sign import Measure
from cxstream.vital_signs import CATALOGUE

PREFIX = "cxstream_"

FamilyType = Literal["gauge", "counter", "histogram"]


class Family(NamedTuple):
    """One metric family. Its first label is always `group`, the consumer group."""

    name: str
    """As exposed, with the prefix, and with `_total` on counters."""
    type: FamilyType
    labels: tuple[str, ...]
    help: str
    buckets: tuple[float, ...] = ()
    """Upper bounds of a histogram, +Inf apart."""


def _family(name: str, kind: FamilyType, labels: str, text: str, buckets: tuple[float, ...] = ()) -> Family:
    return Family(PREFIX + name, kind, ("group", *labels.split()), text, buckets)


WINDOW_UNITS = _family(
    "vital_sign_window_units",
    "gauge",
    "vital_sign level segment window outcome finality partition",
    "Decided units of a vital sign in an event-time window that ends now: outcome good or bad for the customer;"
    " finality provisional or final at level job, empty elsewhere.",
)
PENDING_UNITS = _family(
    "vital_sign_pending_units",
    "gauge",
    "vital_sign window partition",
    "Units that cannot be decided yet, counted where they began; in no ratio.",
)
EXCLUDED_UNITS = _family(
    "vital_sign_excluded_units",
    "gauge",
    "vital_sign window reason partition",
    "Units left out of the ratio, by reason: a denominator that shrinks is seen here.",
)
RETRACTED_UNITS = _family(
    "vital_sign_retracted_units",
    "gauge",
    "vital_sign window partition",
    "Units of which a decided verdict was once taken back: a past that changes is seen here.",
)
LOOPHOLE_SIGHTINGS = _family(
    "watched_loophole_sightings",
    "gauge",
    "loophole window partition",
    "Uses of a loophole that makes figures look better than customers were treated: a count that rises is gaming.",
)
JOURNEY_CASES = _family(
    "journey_cases",
    "gauge",
    "moment level segment window partition",
    "Cases that reached a key moment of the journey and all before it; moment cases: all the funnel is of.",
)
AT_RISK = _family(
    "at_risk_units",
    "gauge",
    "vital_sign level segment partition",
    "Pending units that will be misses within the risk horizon unless something happens: whom to call now.",
)
OPEN_CASES = _family(
    "open_cases",
    "gauge",
    "level segment partition",
    "Cases that wait for a fix now, reopened ones included.",
)
OLDEST_OPEN_CASE = _family(
    "oldest_open_case_seconds",
    "gauge",
    "level segment partition",
    "How long the case has been open that has been open for longest, since its opening or a reopening.",
)
LONGEST_SILENCE = _family(
    "longest_current_silence_seconds",
    "gauge",
    "level segment partition",
    "How long a customer who waits has not heard from us, at most; time we wait for the customer does not count.",
)
OBJECTIVE_RATIO = _family(
    "vital_sign_objective_ratio",
    "gauge",
    "vital_sign level segment",
    "Share of decided units that should be good, as the policy in force says.",
)
OWNER_GENERATION = _family(
    "partition_owner_generation",
    "gauge",
    "partition",
    "Consumer-group generation in which this worker owned the partition; among ready workers the highest is believed.",
)
PARTITION_READY = _family(
    "partition_ready",
    "gauge",
    "partition",
    "1 if this worker speaks for the partition: recovered, caught up, in touch with the group; else 0.",
)
WATERMARK = _family(
    "partition_watermark_timestamp_seconds",
    "gauge",
    "partition",
    "The partition's clock in Unix time: now while it is caught up, else how far its sources are processed.",
)
SOURCE_WATERMARK = _family(
    "partition_source_watermark_timestamp_seconds",
    "gauge",
    "topic partition",
    "Newest delivery processed from a source topic in Unix time, whoever owned the partition then: tells a dead feed"
    " from a quiet one.",
)
PARTITIONS_EXPECTED = _family("partitions_expected", "gauge", "", "Partitions the job has.")
LAG_RECORDS = _family("consumer_lag_records", "gauge", "topic partition", "Records of a topic not yet processed.")
LAG_SECONDS = _family(
    "consumer_lag_seconds",
    "gauge",
    "topic partition",
    "Age of the last processed record while there is lag, else 0.",
)
RECOVERY_REMAINING = _family(
    "table_recovery_remaining_records",
    "gauge",
    "table partition",
    "Changelog records still to be read before the partition can be ready.",
)
TABLE_KEYS = _family("table_keys", "gauge", "table partition", "Keys a table holds: cases, and boards of assets.")
STATE_BYTES = _family("state_bytes", "gauge", "table partition", "Memory the keys and values of a table take.")
WORKER_STATE = _family("worker_state", "gauge", "state", "1 for the state the worker is in, 0 for the others.")
WORKER_CPU = _family(
    "worker_cpu_seconds_total",
    "counter",
    "",
    "CPU time the worker's process has used, in all threads; its event loop uses one core at most.",
)
REBALANCES = _family("rebalances_total", "counter", "", "Rebalances this worker has taken part in after its first.")
LABEL_VALUES_CAPPED = _family(
    "label_values_capped_total",
    "counter",
    "",
    "How often a segment value outside the closed list was counted as __other__.",
)
HISTORY_START = _family(
    "history_start_timestamp_seconds",
    "gauge",
    "",
    "Since when events are known; a window or a limit that reaches further back lacks something.",
)
BUILD_INFO = _family("build_info", "gauge", "version", "Always 1; says which version runs.")
POLICY_INFO = _family(
    "policy_info",
    "gauge",
    "fingerprint",
    "Always 1; which policy is in force, constants and objectives of segments included: all workers of a job must say"
    " the same. `cxstream policies` says what it is.",
)

VERDICT_CHANGES = _family(
    "vital_sign_verdict_changes_total",
    "counter",
    "vital_sign from to",
    "Verdicts this process published, by the verdict they replace (none: the first): activity, not a sum of truth.",
)
EVENTS_CONSUMED = _family(
    "events_consumed_total",
    "counter",
    "topic",
    "Records read from a source topic. Each is also counted by exactly one of these, the first that fits:"
    " dead_letters, late_events (closed_case), duplicate_events or conflicting_events, unknown_type_events,"
    " late_events (after_seal), events_applied. So the six add up to this, per topic and process, at every scrape.",
)
EVENTS_APPLIED = _family(
    "events_applied_total",
    "counter",
    "topic",
    "Facts that were new, of a known type and in time: what counts for verdicts.",
)
EVENTS_REJECTED = _family(
    "events_rejected_total",
    "counter",
    "topic reason",
    "Records that are no fact, by reason; of the topics assets and relays, those nobody can have written.",
)
DUPLICATE_EVENTS = _family("duplicate_events_total", "counter", "topic", "Facts that were known already.")
CONFLICTING_EVENTS = _family(
    "conflicting_events_total",
    "counter",
    "topic",
    "Facts whose event id was known with another content.",
)
LATE_EVENTS = _family(
    "late_events_total",
    "counter",
    "topic disposition",
    "Facts that came too late to count: after_seal (new and kept, counts for no unit),"
    " closed_case (refused, known before or not).",
)
UNKNOWN_TYPE_EVENTS = _family(
    "unknown_type_events_total",
    "counter",
    "topic",
    "New facts of a type the vocabulary does not know, late or not: accepted, ignored for verdicts.",
)
DEAD_LETTERS = _family("dead_letters_total", "counter", "topic reason", "Dead letters written, by source topic.")
SOURCE_EVENTS = _family(
    "source_events_total",
    "counter",
    "topic source disposition",
    "Records read, by the source their header cxstream-source names (none; outside sources.names __other__) and by what"
    " became of each: the same seven ends as in events_consumed, so over sources they add up to that.",
)
SOURCE_REJECTED = _family(
    "source_rejected_total",
    "counter",
    "topic source reason",
    "Records of a source that are no fact, by reason; /sources lists the last ones.",
)
SOURCE_SKEW = _family(
    "source_skew_seconds",
    "histogram",
    "topic source direction",
    "Time between an event and its delivery: behind, delivered after it happened; ahead, before, as its clock says.",
    (1.0, 10.0, 60.0, 300.0, 3_600.0, 21_600.0, 86_400.0, 604_800.0),
)
HTTP_REFUSED = _family(
    "http_refused_total",
    "counter",
    "reason",
    "Connections and requests to this worker's HTTP server that were beyond its limits.",
)
FOREIGN_WRITES = _family(
    "foreign_writes_total", "counter", "table", "Records another worker wrote into a changelog, late; read and united."
)
PAGE_LIMITS = _family(
    "page_limits_total",
    "counter",
    "limit",
    "How often a limit of the pages was hit: another worker did not answer, in time or in size (answer_failed,"
    " answer_timeout, answer_too_large), a list had more units than can be paged through (most_listed), case records"
    " could not all be looked through in time (search_time).",
)
EVENT_PROCESSING = _family(
    "event_processing_seconds",
    "histogram",
    "topic",
    "Time to process one event, its share of the batch it came in, waiting for the brokers included.",
    (0.000_02, 0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002_5, 0.01, 0.1, 1.0),
)
EVENT_TO_GAUGE = _family(
    "event_to_gauges_seconds",  # not event_to_gauge_seconds: promtool refuses a type's name as a word
    "histogram",
    "topic",
    "Time from the delivery of an event to the figures that include it; without the backlog of a partition that was"
    " taken over and has not caught up: that one is uncovered.",
    (0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0),
)
REBALANCE = _family(
    "rebalance_seconds",
    "histogram",
    "",
    "Time from the revocation of partitions until the new ones are recovered.",
    (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0),
)


class MeasureFamilies(NamedTuple):
    """The distribution of what a sign measures: a histogram whose counts may fall, so its parts are gauges."""

    measure: Measure
    buckets: Family
    total: Family
    units: Family


def _measure(name: str, title: str, measure: Measure) -> MeasureFamilies:
    parts, labels = f"{name}_window_{measure.unit}", "level segment window"
    up_to, all_of = ("a time", "times") if measure.unit == "seconds" else ("a number", measure.unit)
    return MeasureFamilies(
        measure,
        _family(f"{parts}_bucket", "gauge", f"{labels} le partition", f"{title}: units up to {up_to}."),
        _family(f"{parts}_gsum", "gauge", f"{labels} partition", f"{title}: all {all_of} added up."),
        _family(f"{parts}_gcount", "gauge", f"{labels} partition", f"{title}: units measured."),
    )


MEASURES = {
    name: _measure(name, sign.title, sign.measure) for name, sign in CATALOGUE.items() if sign.measure is not None
}
"""The families of every sign that measures."""

FAMILIES: tuple[Family, ...] = (
    *(value for value in list(globals().values()) if isinstance(value, Family)),
    *(family for one in MEASURES.values() for family in (one.buckets, one.total, one.units)),
)
"""All of them, in the order above."""
