"""The stream of verdicts: every change of a published one becomes a message, for systems that act on it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from urllib.parse import quote

from fastavro.schema import fingerprint, to_parsing_canonical_form
from faust.types import TP

from cxstream.domain.cases import Segment
from cxstream.domain.instant import NEVER_MS
from cxstream.engine.transitions import Announcement

from .changelog_table import Headers, Outgoing
from .partition_batches import Record
from .ports import Engine, Table
from .schemas import packaged

SCHEMA = "verdict/v1"
OFFSET_HEADER = "cxstream-changelog-offset"
"""Of the record a message was made from, in the changelog of cases: everything before it has been announced."""


WORDS_KEPT = 4096
"""Words of which it is kept how they are written: those of the vocabulary, and of segments."""
NUMBERS_KEPT = 256
IDS_KEPT = 256
"""What the messages of a few cases share: their instants, their ids, and what is alike in all of a record."""


@cache
def _prefix() -> bytes:
    """Return what precedes each message: the marker of single-object encoding and the fingerprint of the schema."""
    canonical = to_parsing_canonical_form(json.loads(packaged("verdict")[SCHEMA]))
    return b"\xc3\x01" + bytes.fromhex(fingerprint(canonical, "CRC-64-AVRO"))


def key_of(announcement: Announcement) -> str:
    """Return the key of the unit: the case, and for what is no case also its kind and id; each percent-encoded."""
    return _key(announcement.case_id, announcement.kind, announcement.unit)


@lru_cache(IDS_KEPT)
def _key(case_id: str, kind: str, unit: str) -> str:
    quoted = quote(case_id, safe="")
    return quoted if kind == "case" else f"{quoted}/{kind}/{quote(unit, safe='')}"


def id_of(announcement: Announcement) -> str:
    """Return the id of a change: the key of its unit, the sign and the sequence number."""
    return f"{key_of(announcement)}:{announcement.sign}:{announcement.sequence}"


def encode(announcement: Announcement, policy: str) -> bytes:
    """Write an announcement by the schema, single-object encoded; `policy` is the fingerprint of the one in force."""
    verdict, old, evidence = announcement.verdict, announcement.old, announcement.evidence
    return b"".join(
        (
            _prefix(),
            _text(id_of(announcement)),
            _text(announcement.case_id),
            _word(announcement.kind),
            _text(announcement.unit),
            _word(announcement.sign),
            _long(announcement.sequence),
            _NULL if old is None else _VALUE + _word(old[0]) + _word(old[1]),
            _word(announcement.announced),
            _word(announcement.reason),
            _TRUE if verdict.sealed else _FALSE,
            _TRUE if verdict.retracted else _FALSE,
            _long(verdict.anchor_ms),
            _VALUE + _long(verdict.seal_ms) if verdict.seal_ms < NEVER_MS else _NULL,
            _NULL if verdict.measured is None else _VALUE + _long(verdict.measured),
            _long(len(evidence)) if evidence else b"",
            *map(_text, evidence),
            _END,
            _NULL if announcement.account_ref is None else _VALUE + _text(announcement.account_ref),
            _judged(announcement.segment, announcement.judged_ms, policy),
        )
    )


@lru_cache(IDS_KEPT)
def _judged(segment: Segment, judged_ms: int, policy: str) -> bytes:
    """Write the fields from priority on, in which all announcements of a record are alike."""
    return b"".join(
        (
            _word(segment.priority),
            _word(segment.region),
            _word(segment.product),
            _word(segment.tier),
            _word(segment.provider),
            _VALUE + _long(judged_ms) if judged_ms else _NULL,
            _word(policy),
        )
    )


_NULL, _VALUE = b"\x00", b"\x02"
"""Which branch follows, of a union of null and something."""
_FALSE, _TRUE = b"\x00", b"\x01"
_END = b"\x00"
"""After the one block of an array, or instead of it."""


def _text(text: str) -> bytes:
    data = text.encode()
    return _long(len(data)) + data


_word = lru_cache(WORDS_KEPT)(_text)


@lru_cache(NUMBERS_KEPT)
def _long(number: int) -> bytes:
    """Return a whole number as Avro writes it: zigzag, then seven bits a byte, the lowest first."""
    rest = number << 1 if number >= 0 else ~(number << 1)
    written = bytearray()
    while rest >> 7:
        written.append(rest & 0x7F | 0x80)
        rest >>= 7
    written.append(rest)
    return bytes(written)


class VerdictStream:
    """The topic of verdicts as the owner of a partition writes it, and finds out where an earlier one stopped."""

    def __init__(self, topic: str, engine: Engine, cases: Table, policy: str) -> None:
        """Write to `topic`, which has the partitions of the table of cases; `policy` is a fingerprint."""
        self._topic = topic
        self._engine = engine
        self._cases = cases
        self._policy = policy

    def message(self, offset: int, announcement: Announcement) -> Outgoing:
        """Return an announcement as it is produced, with the changelog offset of its record."""
        headers: Headers = [(OFFSET_HEADER, b"%d" % offset)]
        return Outgoing(key_of(announcement).encode(), encode(announcement, self._policy), headers)

    async def announce(self, number: int, messages: Sequence[Outgoing]) -> None:
        """Produce messages of a partition; returns when all are acknowledged."""
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
