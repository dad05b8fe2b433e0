"""Reads event files record by record: NDJSON, or Avro object container files of a packaged (or compatible) schema."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import fastavro
import orjson

from cxstream.domain import vocabulary
from cxstream.domain.facts import RejectedError
from cxstream.kafka.codec import event_of
from cxstream.kafka.schemas import SchemaRefusedError, WriterSchema, read_schema

_MAGIC = b"Obj\x01"
_SCHEMA = "avro.schema"


class Line(NamedTuple):
    """A record of a file: where it stands (counted from 1), and the event it states, or what is wrong with it."""

    path: str
    """With a mark where its name is no UTF-8."""
    number: int
    event: Mapping[str, object]
    """Empty if the record is none."""
    error: RejectedError | None = None


def read_lines(path: Path) -> Iterator[Line]:
    """Yield the records of a file; in an Avro file nothing after one that cannot be read.

    Raises OSError if the file cannot be read.
    """
    named = os.fsencode(path).decode(errors="replace")
    with path.open("rb") as file:
        head = file.read(len(_MAGIC))
        if head == _MAGIC:
            yield from _avro(named, cast("BinaryIO", _Whole(head, file)))
        else:
            yield from _ndjson(named, chain(io.BytesIO(head + file.readline()), file))


class _Whole:
    """A file with the bytes that were already read of it: pipes cannot be set back."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head = head
        self._rest = rest
        self._read_bytes = 0

    def read(self, count: int) -> bytes:
        head, self._head = self._head[:count], self._head[count:]
        found = head + self._rest.read(count - len(head))
        self._read_bytes += len(found)
        return found

    def tell(self) -> int:
        return self._read_bytes


def _ndjson(path: str, lines: Iterable[bytes]) -> Iterator[Line]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                event = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                yield Line(path, number, {}, RejectedError("invalid", None, f"a JSON object ({error})"))
            else:
                wrong = (
                    None if isinstance(event, dict) else RejectedError("invalid", None, "a JSON object on every line")
                )
                yield Line(path, number, {} if wrong else event, wrong)


def _avro(path: str, file: BinaryIO) -> Iterator[Line]:
    number = 1
    try:
        blocks = fastavro.block_reader(file)
        schema = read_schema(_text(blocks.metadata), path)
        topic = _topic(schema)
        for block in blocks:
            for _ in range(block.num_records):
                content = cast("BinaryIO", block.bytes_)  # type: ignore[attr-defined]  # a stub forgot it
                message = fastavro.schemaless_reader(content, schema.parsed, None, return_record_name=True)
                try:
                    yield Line(path, number, event_of(topic, schema, cast("dict[str, object]", message)))
                except RejectedError as error:
                    yield Line(path, number, {}, error)
                number += 1
    except RejectedError as error:
        yield Line(path, number, {}, error)
    except SchemaRefusedError as error:
        yield Line(path, number, {}, RejectedError("unknown_schema", None, f"a schema cxstream can read; {error}"))
    except Exception as error:  # noqa: BLE001  # a broken file makes fastavro raise a dozen types
        yield Line(path, number, {}, RejectedError("undecodable", None, f"an Avro file ({type(error).__name__})"))


def _text(metadata: Mapping[str, object]) -> str:
    found = metadata.get(_SCHEMA)
    return found.decode() if isinstance(found, bytes) else str(found)


def _topic(schema: WriterSchema) -> str:
    """Return the topic a schema belongs to, by its namespace: `io.cxstream.ticket.Opened` is of ticket."""
    namespaces = {branch.split(".")[-2] for branch in schema.branches if "." in branch}
    topics = namespaces & set(vocabulary.TOPICS)
    if len(topics) != 1:
        raise RejectedError(
            "unknown_schema", None, "payload records of the namespace io.cxstream.<ticket|dispatch|parts>"
        )
    return topics.pop()
