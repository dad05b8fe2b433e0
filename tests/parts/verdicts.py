"""The topic of verdicts as a consumer reads it: by its schema and the contract of docs/verdict-stream.md."""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
from fastavro.schema import fingerprint, to_parsing_canonical_form

from cxstream.domain.cases import Case
from cxstream.domain.verdict import Verdict
from cxstream.vital_signs import CATALOGUE

SCHEMA = json.loads((Path(__file__).resolve().parents[2] / "schemas" / "verdict" / "v1.avsc").read_text("utf-8"))
_PARSED = fastavro.parse_schema(SCHEMA)
_PREFIX = b"\xc3\x01" + bytes.fromhex(fingerprint(to_parsing_canonical_form(SCHEMA), "CRC-64-AVRO"))
_PLAIN = fastavro.parse_schema(json.loads(to_parsing_canonical_form(SCHEMA)))

Message = dict[str, Any]
Series = tuple[str, str, str, str]
"""(case, kind of unit, unit, sign)"""


def decode(value: bytes) -> Message:
    """Return a message of the topic as Avro libraries do, times as datetimes; what follows it is an error."""
    return _read(value, _PARSED)


def decode_plain(value: bytes) -> Message:
    """Return a message of the topic, times in milliseconds since the epoch."""
    return _read(value, _PLAIN)


def encode_plain(message: Message) -> bytes:
    """Return a message, times in milliseconds since the epoch, as fastavro writes it."""
    written = BytesIO()
    written.write(_PREFIX)
    fastavro.schemaless_writer(written, _PLAIN, message)
    return written.getvalue()


def _read(value: bytes, schema: Any) -> Message:  # noqa: ANN401 - fastavro's
    assert value[:10] == _PREFIX
    body = BytesIO(value[10:])
    message = fastavro.schemaless_reader(body, schema, None)
    assert isinstance(message, dict)
    assert not body.read()
    return message


class Consumer:
    """Takes messages in the order of their partition, drops repeated ones, and says what breaks the contract."""

    def __init__(self) -> None:
        self.last: dict[Series, Message] = {}
        """The last message of every unit and sign."""
        self._numbered: dict[tuple[Series, int], Message] = {}
        self.repeated = 0
        self._said: dict[str, bytes] = {}
        self._keys: dict[bytes, tuple[str, str, str]] = {}

    def take(self, key: bytes | None, value: bytes) -> Iterator[str]:
        """Take a message; yield what is wrong with it."""
        message = decode_plain(value)
        unit = message["case_id"], message["unit_kind"], message["unit"]
        series = *unit, message["sign"]
        if self._keys.setdefault(key or b"", unit) != unit:
            yield f"one key for two units: {key!r}"
        if message["id"] in self._said:
            self.repeated += 1
            if self._said[message["id"]] != value:
                yield f"two contents of one id: {decode_plain(self._said[message['id']])}, {message}"
            return
        self._said[message["id"]] = value
        self._numbered[series, message["sequence"]] = message
        before = self.last.get(series)
        if message["old"] is None:
            if message["sequence"] <= (-1 if before is None else before["sequence"]):
                yield f"begins anew, and not behind {before}: {message}"
            if before is not None and not before["final"]:
                yield f"begins anew, though not final before, {before}: {message}"
        elif before is None:
            yield f"follows nothing: {message}"
        else:
            if message["sequence"] != before["sequence"] + 1:
                yield f"a gap after {before}: {message}"
            if message["old"] != {name: before[name] for name in ("verdict", "reason")}:
                yield f"replaces something else than {before}: {message}"
        self.last[series] = message

    def forget(self, case_id: str) -> None:
        """Forget a case, as after a year: the service remembers nothing of it any more."""
        for series in [series for series in self.last if series[0] == case_id]:
            del self.last[series]
        for named in [named for named, value in self._said.items() if decode_plain(value)["case_id"] == case_id]:
            del self._said[named]

    def broken(self, messages: Iterable[tuple[bytes | None, bytes | None]]) -> list[str]:
        """Take messages, and return what breaks the contract."""
        return [wrong for key, value in messages for wrong in self.take(key, value or b"")]

    def unheard(self, cases: Iterable[Case]) -> Iterator[str]:
        """Say which verdicts of records were not told as they stand; more may have been told since."""
        kinds = {(case_id, unit, sign): kind for case_id, kind, unit, sign in self.last}
        for case in cases:
            for one in case.verdicts:
                kind = kinds.get((case.case_id, one.unit, one.sign), "")
                told = self._numbered.get(((case.case_id, kind, one.unit, one.sign), one.sequence))
                if _said_of(told) != _standing(one):
                    yield f"{case.case_id} has {one}, but announced was {told}"

    def differences(self, cases: Iterable[Case], signs: Container[str] = CATALOGUE) -> Iterator[str]:
        """Say where what was told last of a unit is not what the records say; these must be all there are.

        `signs` are those that were always judged: of a case that is forgotten, nothing is said of any other.
        """
        told = {(case_id, unit, sign): last for (case_id, _kind, unit, sign), last in self.last.items()}
        for case in cases:
            for one in case.verdicts:
                last = told.pop((case.case_id, one.unit, one.sign), None)
                if _said_of(last) != _standing(one):
                    yield f"{case.case_id} has {one}, but announced was {last}"
            for gone in case.withdrawn:
                last = told.pop((case.case_id, gone.verdict.unit, gone.verdict.sign), None)
                is_told = last is not None and (last["verdict"] == "withdrawn") == gone.is_no_unit
                if not is_told or (last and last["sequence"] != gone.verdict.sequence):
                    yield f"{case.case_id} has {gone}, but announced was {last}"
        for (case_id, _unit, sign), last in told.items():  # of cases that were forgotten or erased since
            if sign in signs and not (last["final"] or last["verdict"] == "withdrawn"):
                yield f"{case_id} has no such verdict any more, but announced was {last}"


def _said_of(message: Message | None) -> tuple[object, ...] | None:
    return message and tuple(message[name] for name in ("verdict", "reason", "sequence", "final", "anchor"))


def _standing(verdict: Verdict) -> tuple[object, ...]:
    return verdict.verdict, verdict.reason, verdict.sequence, verdict.sealed, verdict.anchor_ms
