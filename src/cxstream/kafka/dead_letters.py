"""A record that cannot become a fact is kept whole, its reason beside it, so that it can be mended and replayed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from cxstream.domain import instant
from cxstream.kafka import codec

SUFFIX = ".dead-letters"
ERROR_PREFIX = "cxstream.error."
STREAMS_PREFIX = "__streams.errors."
"""The headers of Kafka Streams' dead letter queue (KIP-1034), so that tools made for it read ours; values are text.

Its stack trace is left out: a rejection has none, and a trace could show what the message says.
"""

REASONS = (*codec.REASONS, "wrong_partition", "too_old_for_unknown_case")
"""Why a record can be rejected: for what it is, where it lies, and what is known of its case."""

REJECTION_CLASS = "cxstream.domain.facts.RejectedError"

MAX_DETAIL_BYTES = 512
MAX_ORIGINAL_HEADERS_BYTES = 32 * 1024
MAX_ORIGINAL_HEADERS = 128

Header = tuple[str, bytes | None]


class SourceRecord(NamedTuple):
    """A record as it was read. `timestamp_ms` is its delivery time, in milliseconds since the epoch."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Mapping[str, bytes | None] | Iterable[Header] | None = ()


class DeadLetter(NamedTuple):
    """A record to produce. `headers_dropped` counts the original headers that were beyond the limits."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: list[Header]
    headers_dropped: int


def dead_letter(
    record: SourceRecord,
    reason: str,
    detail: str,
    *,
    worker_version: str,
    exception: str = REJECTION_CLASS,
) -> DeadLetter:
    """Return the dead letter of a rejected record: same key and value, the original headers, then what was wrong.

    `detail` must not contain anything the message says; it is cut to `MAX_DETAIL_BYTES`. `exception` is a class name.
    Of the original headers the first `MAX_ORIGINAL_HEADERS` that fit into `MAX_ORIGINAL_HEADERS_BYTES` are kept, and
    `cxstream.error.headers-dropped` says how many are not; those of an earlier failure give way to the new ones.
    """
    kept, dropped = _original(record.headers)
    where = {"topic": record.topic, "partition": str(record.partition), "offset": str(record.offset)}
    ours = {
        "reason": reason,
        "detail": detail,
        **where,
        "timestamp": _time_text(record.timestamp_ms),
        "worker-version": worker_version,
    }
    if dropped:
        ours["headers-dropped"] = str(dropped)
    streams = {"exception": exception, "message": f"{reason}: {detail}", **where}
    headers = [
        *kept,
        *((ERROR_PREFIX + name, _cut(text)) for name, text in ours.items()),
        *((STREAMS_PREFIX + name, _cut(text)) for name, text in streams.items()),
    ]
    return DeadLetter(record.topic + SUFFIX, record.key, record.value, headers, dropped)


def without_error_headers(headers: Mapping[str, bytes | None] | Iterable[Header] | None) -> list[Header]:
    """Return the headers a record had before it became a dead letter, for its replay."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers or ()
    return [(name, value) for name, value in pairs if not name.startswith((ERROR_PREFIX, STREAMS_PREFIX))]


def _original(headers: Mapping[str, bytes | None] | Iterable[Header] | None) -> tuple[list[Header], int]:
    original = without_error_headers(headers)
    kept: list[Header] = []
    left_bytes = MAX_ORIGINAL_HEADERS_BYTES
    for name, value in original:
        size = len(name.encode(errors="replace")) + len(value or b"")
        if size <= left_bytes and len(kept) < MAX_ORIGINAL_HEADERS:
            kept.append((name, value))
            left_bytes -= size
    return kept, len(original) - len(kept)


def _cut(text: str) -> bytes:
    """Return text as UTF-8 of at most MAX_DETAIL_BYTES, cut between characters."""
    return text.encode(errors="replace")[:MAX_DETAIL_BYTES].decode(errors="ignore").encode()


def _time_text(instant_ms: int) -> str:
    try:
        return instant.format_instant(instant_ms)
    except OverflowError:  # a record without a timestamp, or with one that is none
        return str(instant_ms)
