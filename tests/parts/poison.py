"""Records that cannot become a fact, one for every reason the codec knows."""

from __future__ import annotations

from io import BytesIO

import fastavro

from cxstream.demo.upstream import HOUR
from cxstream.kafka.codec import DELIVERED_AT, Codec
from cxstream.kafka.schemas import Schemas

from .producer import Header

Poison = tuple[bytes | None, bytes | None, list[Header]]
"""Key, value and headers."""


def an_opening(case_id: str, at_ms: int, **fields: object) -> dict[str, object]:
    """Return a ticket.opened event."""
    event = {"event_id": f"{case_id}-1", "topic": "ticket", "type": "opened", "case_id": case_id, "at": at_ms}
    return {**event, "asset_id": f"asset-of-{case_id}", "kind": "break_fix", **fields}


def poison_of(codec: Codec, now_ms: int) -> dict[str, Poison]:
    """Return a ticket record for every reason of rejection (`too_large` where 1,024 bytes are the limit)."""
    good = codec.encode(an_opening("good", now_ms))
    future = codec.encode(an_opening("ahead", now_ms + HOUR))
    long_text = codec.encode(an_opening("long", now_ms, symptom="x" * 1_000))
    delivered = (DELIVERED_AT, str(now_ms).encode())
    trace = ("trace-id", b"\x00\xff\xfe")
    return {
        "empty": (b"good", None, [delivered, trace]),
        "too_large": (b"long", long_text, [delivered]),
        "undecodable": (b"\xff\x00 no text", b"{ no Avro \xff", [trace, trace]),
        "trailing_bytes": (b"good", good + b"\x00", [delivered]),
        "unknown_schema": (b"good", b"\xc3\x01" + b"\x07" * 8 + good[10:], [delivered]),
        "wrong_key": (None, good, [delivered, trace]),
        "bad_delivery_header": (b"good", good, [(DELIVERED_AT, b"yesterday")]),
        "naive_time": (b"good", _a_naive_correction("good", now_ms), [delivered, trace]),
        "future": (b"ahead", future, [delivered]),
        "invalid": (b"good", good.replace(b"break_fix", b"breakfast"), [delivered]),
    }


def _a_naive_correction(case_id: str, at_ms: int) -> bytes:
    """Return an Avro message whose correction sets a time without an offset, which our encoder would refuse."""
    schema = Schemas.packaged().latest("ticket")
    payload = (schema.branch_of("corrected"), {"target": f"{case_id}-1", "set": {"at": "2024-03-02T10:00:00"}})
    out = BytesIO()
    envelope = {"event_id": f"{case_id}-2", "case_id": case_id, "at": at_ms, "asset_id": None}
    fastavro.schemaless_writer(out, schema.parsed, {**envelope, "payload": payload})
    return b"\xc3\x01" + schema.fingerprint + out.getvalue()
