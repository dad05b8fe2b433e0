"""Writes the typed events of the producer kit from the vocabulary: a class per event type, documented by its schema."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from cxstream.domain import vocabulary

_WIDTH = 120
_INDENT = "    "
_TYPES = {
    "text": "str",
    "zone": "str",
    "flag": "bool",
    "count": "int",
    "time": "datetime",
    "changes": "Mapping[str, Change]",
}


_MILLISECONDS = "Milliseconds since the epoch in UTC."
_DATETIME = "A datetime with its zone."


class Docs(NamedTuple):
    """What the schemas say of an event type, and of its fields by name."""

    record: str
    fields: Mapping[str, str]


def docs_of(schemas: Iterable[str]) -> dict[str, Docs]:
    """Return what schemas of one topic (JSON texts, the last one counts) say, by the name of the payload record.

    The doc of the envelope's asset_id is the one of every record that has no such field.
    """
    found: dict[str, Docs] = {}
    for text in schemas:
        envelope = {field["name"]: field for field in json.loads(text)["fields"]}
        asset = {"asset_id": envelope["asset_id"]["doc"]}
        for record in envelope["payload"]["type"]:
            found[record["name"]] = Docs(
                record["doc"], asset | {field["name"]: field["doc"] for field in record["fields"]}
            )
    return found


def class_name(event_type: str) -> str:
    """Return the name of the class of an event type: `customer_updated` -> `CustomerUpdated`."""
    return "".join(word.capitalize() for word in event_type.split("_"))


def typed_events(topic: str, docs: Mapping[str, Docs]) -> str:
    """Return the source of the module with the events of a topic, as the formatter would leave it."""
    types = {name: fields for (of, name), fields in vocabulary.EVENT_TYPES.items() if of == topic}
    types |= vocabulary.ANY_TOPIC
    classes = [_class(topic, name, fields, docs[class_name(name)]) for name, fields in types.items()]
    body = "\n\n\n".join("\n".join(lines) for lines in classes)
    typing = "ClassVar, Literal" if "Literal[" in body else "ClassVar"
    collections = ["from collections.abc import Mapping"] if "Mapping[" in body else []
    head = [
        f'"""The events of the topic `{topic}`, each a class with its fields."""',
        "",
        "from __future__ import annotations",
        "",
        *collections,
        "from dataclasses import dataclass",
        *(["from datetime import datetime"] if " datetime" in body else []),
        f"from typing import {typing}",
        "",
        "from cxstream.client.event import Change, Event",
    ]
    return "\n".join(head) + "\n\n\n" + body + "\n"


def _class(topic: str, name: str, fields: Mapping[str, vocabulary.Field], docs: Docs) -> Iterator[str]:
    yield "@dataclass(frozen=True, kw_only=True)"
    yield f"class {class_name(name)}(Event):"
    yield f'{_INDENT}"""Event `{name}` of the topic `{topic}`.'
    yield ""
    yield from _wrapped(docs.record)
    yield f'{_INDENT}"""'
    yield ""
    yield f'{_INDENT}topic: ClassVar[str] = "{topic}"'
    yield f'{_INDENT}type: ClassVar[str] = "{name}"'
    for field_name, field in fields.items():
        yield from _field(field_name, field, docs.fields[field_name])


def _field(name: str, field: vocabulary.Field, doc: str) -> Iterator[str]:
    kind = _TYPES.get(field.kind, "")
    if field.kind == "choice":
        kind = f"Literal[{', '.join(map(json.dumps, field.choices))}]"
    suffix = "" if field.required else " | None = None"
    line = f"{_INDENT}{name}: {kind}{suffix}"
    if len(line) <= _WIDTH:
        yield line
    else:
        yield f"{_INDENT}{name}: ("
        yield f"{_INDENT * 2}Literal["
        yield from (f"{_INDENT * 3}{json.dumps(choice)}," for choice in field.choices)
        yield f"{_INDENT * 2}]"
        yield f"{_INDENT * 2}| None"
        yield f"{_INDENT}) = None"
    lines = list(_wrapped(doc.replace(_MILLISECONDS, _DATETIME), room=6))
    lines[0] = f'{_INDENT}"""{lines[0].strip()}'
    lines[-1] += '"""'
    yield from lines


def _wrapped(text: str, room: int = 0) -> Iterator[str]:
    yield from textwrap.wrap(
        text, _WIDTH - room, initial_indent=_INDENT, subsequent_indent=_INDENT, break_long_words=False
    )
