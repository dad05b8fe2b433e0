"""How records of cases and boards, and relays between them, are written to Kafka: a version byte, then MessagePack."""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec

from cxstream.domain.cases import Case, Closing, Segment
from cxstream.domain.facts import Fact
from cxstream.domain.instant import NEVER_MS
from cxstream.domain.verdict import Verdict
from cxstream.engine.boards import Board

VERSION = b"\x01"
LAST_VERSION = b"\x1f"
"""Raised when old readers could no longer read what is written; fields are only ever appended within a version."""


RESIDUE_PREFIX = b"erased:"
"""Of the key an erased case is remembered under; a hash in 32 hexadecimal digits follows."""
_RESIDUE_KEY = re.compile(re.escape(RESIDUE_PREFIX) + rb"[0-9a-f]{32}")


def is_residue(key: bytes) -> bool:
    """Whether a key of the table of cases is that of an erased case, from which its own cannot be told."""
    return _RESIDUE_KEY.fullmatch(key) is not None


class Relay(msgspec.Struct, array_like=True, gc=False):
    """What one case is told of another, or an asset board of a case; keyed by the asset or case it goes to."""

    origin: str
    """The case the facts belong to."""
    facts: list[Fact] = []
    crowded_since_ms: int | None = None
    """Instead of facts: the asset has too many cases to be told apart, since this delivery time."""


_NO_FACTS = b"\x90"
"""An empty array."""


class PublishedCase(msgspec.Struct, array_like=True, gc=False):
    """A case record as a new owner reads it first: what was published of it; the facts stay as they were written."""

    case_id: str
    facts: msgspec.Raw = msgspec.Raw(_NO_FACTS)
    relayed: msgspec.Raw = msgspec.Raw(b"\x80")
    crowded_since_ms: int | None = None
    closed: Closing | None = None
    verdicts: list[Verdict] = []
    segment: Segment = Segment()
    judged_ms: int = 0
    deadline_ms: int = NEVER_MS
    settles_ms: int = NEVER_MS
    is_forgotten: bool = False
    sightings: list[tuple[str, int]] = []
    transitions: msgspec.Raw = msgspec.Raw(b"\x90")
    withdrawn: msgspec.Raw = msgspec.Raw(b"\x90")
    judged_under: int = 0

    @property
    def has_facts(self) -> bool:
        """Whether it holds facts of its own."""
        return memoryview(self.facts)[0] != _NO_FACTS[0]


class UnreadableRecordError(ValueError):
    """A record of our own topics that this version cannot read."""


class NewerRecordError(UnreadableRecordError):
    """A record that a later release wrote: this one must not pass it over, nor write over it."""


_encoder = msgspec.msgpack.Encoder()
_cases = msgspec.msgpack.Decoder(Case)
_published = msgspec.msgpack.Decoder(PublishedCase)
_boards = msgspec.msgpack.Decoder(Board)
_relays = msgspec.msgpack.Decoder(Relay)


def write(record: Case | Board | Relay) -> bytes:
    """Return the bytes of a record."""
    return VERSION + _encoder.encode(record)


def read_case(data: bytes) -> Case:
    """Read a case record; raises UnreadableRecordError."""
    return _read(_cases, data)


def read_published(data: bytes) -> PublishedCase:
    """Read what was published of a case, in half the time; raises UnreadableRecordError."""
    return _read(_published, data)


def read_board(data: bytes) -> Board:
    """Read a board record; raises UnreadableRecordError."""
    return _read(_boards, data)


def read_relay(data: bytes | None) -> Relay:
    """Read a relay; raises UnreadableRecordError."""
    return _read(_relays, data or b"")


_Record = TypeVar("_Record", Case, PublishedCase, Board, Relay)


def _read(decoder: msgspec.msgpack.Decoder[_Record], data: bytes) -> _Record:
    if data[:1] != VERSION:
        message = f"record version {data[:1].hex() or 'none'}, this version reads {VERSION.hex()}"
        raise NewerRecordError(message) if VERSION < data[:1] <= LAST_VERSION else UnreadableRecordError(message)
    try:
        return decoder.decode(memoryview(data)[1:])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        said = re.sub(r"'[^']*'", "'...'", str(error))  # what is there may be about a person
        raise UnreadableRecordError(said) from None
