"""The stream of verdicts: every change of a published one becomes a message, for systems that act on it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from io import BytesIO
from typing import Any, NamedTuple
from urllib.parse import quote

import fastavro
from fastavro.schema import fingerprint, to_parsing_canonical_form
from faust.types import TP

from cxstream.domain.instant import NEVER_MS
from cxstream.engine.transitions import Announcement

from .changelog_table import Outgoing
from .partition_batches import Record
from .ports import Engine, Table
from .schemas import packaged

SCHEMA = "verdict/v1"
OFFSET_HEADER = "cxstream-changelog-offset"
"""Of the record a message was made from, in the changelog of cases: everything before it has been announced."""


class _Written(NamedTuple):
    """A schema to write by, and what precedes each message: the marker and fingerprint of single-object encoding."""

    schema: Any
    prefix: bytes


@cache
def _schema() -> _Written:
    canonical = to_parsing_canonical_form(json.loads(packaged("verdict")[SCHEMA]))  # without logical types: quicker
    crc = bytes.fromhex(fingerprint(canonical, "CRC-64-AVRO"))
    return _Written(fastavro.parse_schema(json.loads(canonical)), b"\xc3\x01" + crc)


def key_of(announcement: Announcement) -> str:
    """Return the key of the unit: the case, and for what is no case also its kind and id; each percent-encoded."""
    case_id = quote(announcement.case_id, safe="")
    if announcement.kind == "case":
        return case_id
    return f"{case_id}/{announcement.kind}/{quote(announcement.unit, safe='')}"


def id_of(announcement: Announcement) -> str:
    """Return the id of a change: the key of its unit, the sign and the sequence number."""
    return f"{key_of(announcement)}:{announcement.sign}:{announcement.sequence}"


def encode(announcement: Announcement, policy: str) -> bytes:
    """Write an announcement, single-object encoded; `policy` is the fingerprint of the one in force."""
    verdict, old = announcement.verdict, announcement.old
    schema, prefix = _schema()
    message = {
        "id": id_of(announcement),
        "case_id": announcement.case_id,
        "unit_kind": announcement.kind,
        "unit": announcement.unit,
        "sign": announcement.sign,
        "sequence": announcement.sequence,
        "old": None if old is None else {"verdict": old[0], "reason": old[1]},
        "verdict": announcement.announced,
        "reason": announcement.reason,
        "final": verdict.sealed,
        "retracted": verdict.retracted,
        "anchor": verdict.anchor_ms,
        "seals_at": verdict.seal_ms if verdict.seal_ms < NEVER_MS else None,
        "measured": verdict.measured,
        "evidence": announcement.evidence,
        "account_ref": announcement.account_ref,
        **{name: getattr(announcement.segment, name) for name in announcement.segment.__struct_fields__},
        "judged_at": announcement.judged_ms or None,
        "policy": policy,
    }
    written = BytesIO()
    written.write(prefix)
    fastavro.schemaless_writer(written, schema, message)
    return written.getvalue()


class VerdictStream:
    """The topic of verdicts as the owner of a partition writes it, and finds out where an earlier one stopped."""

    def __init__(self, topic: str, engine: Engine, cases: Table, policy: str) -> None:
        """Write to `topic`, which has the partitions of the table of cases; `policy` is a fingerprint."""
        self._topic = topic
        self._engine = engine
        self._cases = cases
        self._policy = policy

    async def announce(self, number: int, announced: Iterable[tuple[int, Announcement]]) -> None:
        """Produce announcements, each with the changelog offset of its record; returns when all are acknowledged."""
        messages = [
            Outgoing(key_of(one).encode(), encode(one, self._policy), [(OFFSET_HEADER, b"%d" % offset)])
            for offset, one in announced
        ]
        if messages:
            await self._engine.produce_many(self._topic, number, messages)

    async def unannounced(self, number: int) -> Mapping[bytes, int]:
        """Return the keys of records that may not have been announced, with the offset to name, in order of that.

        These are the records from the one on that was announced last; where nothing is left of the topic, all of them.
        Raises KafkaError.
        """
        last = await self._engine.last(TP(self._topic, number))
        if last is None:
            return dict.fromkeys((key for key, _data in self._cases.items_of(number)), 0)
        offsets = await self._engine.keys(TP(self._cases.changelog_topic_name, number), _offset_of(last))
        return dict(sorted(offsets.items(), key=lambda one: one[1]))


def _offset_of(record: Record) -> int:
    return next((int(value) for name, value in record.headers or () if name == OFFSET_HEADER and value), 0)
