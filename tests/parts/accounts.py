"""The accounting identity over a scrape: every record that was read has exactly one disposition."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from cxstream.domain.vocabulary import TOPICS
from parts.worker import Samples

CONSUMED = "cxstream_events_consumed_total"
BY_SOURCE = "cxstream_source_events_total"
DISPOSITIONS = {
    "dead_letter": "cxstream_dead_letters_total",
    "late": "cxstream_late_events_total",
    "duplicate": "cxstream_duplicate_events_total",
    "conflict": "cxstream_conflicting_events_total",
    "unknown_type": "cxstream_unknown_type_events_total",
    "applied": "cxstream_events_applied_total",
}
"""What can become of a record that was read, and the family that counts it."""


def dispositions(samples: Samples) -> dict[str, Counter[str]]:
    """Return per source topic how many records came to what; late ones as after_seal and closed_case."""
    found: dict[str, Counter[str]] = {topic: Counter() for topic in TOPICS}
    for topic, of_topic in found.items():
        for disposition, family in DISPOSITIONS.items():
            if disposition == "late":
                of_topic.update({kind: int(n) for (kind,), n in samples.by(family, "disposition", topic=topic).items()})
            else:
                of_topic[disposition] = int(samples.sum(family, topic=topic))
    return {topic: +of_topic for topic, of_topic in found.items()}


def by_source(samples: Samples) -> dict[str, Counter[str]]:
    """Return the same as `dispositions`, added up over the sources of each topic."""
    found = {topic: samples.by(BY_SOURCE, "disposition", topic=topic) for topic in TOPICS}
    return {topic: +Counter({kind: int(n) for (kind,), n in ends.items()}) for topic, ends in found.items()}


def unaccounted(samples: Samples) -> Mapping[str, float]:
    """Return per source topic how many records were read and have no disposition, or one too many; nothing if none.

    And so of the counts by source, where the worker has them: these say how many they are off for any disposition.
    """
    read = {topic: samples.sum(CONSUMED, topic=topic) for topic in TOPICS}
    ends = dispositions(samples)
    left = {topic: read[topic] - count.total() for topic, count in ends.items()}
    if any(name == BY_SOURCE for name, _labels, _value in samples.samples):
        for topic, split in by_source(samples).items():
            left[f"{topic} by source"] = sum(abs(split[end] - ends[topic][end]) for end in {*split, *ends[topic]})
    return {topic: count for topic, count in left.items() if count}
