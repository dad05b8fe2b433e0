"""Messages are decoded only with schemas known beforehand: the packaged ones, or a registry's that pass a lint.

A writer schema is code that runs on our side: six bytes written with an array of empty records can become 200 million
objects, and a recursive record can exhaust the stack. So a schema from outside is bounded here before anything uses it.
Logical types are stripped (times stay integer milliseconds); what they said about times is kept as `naive`.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import time
from collections.abc import Callable, Mapping
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import NamedTuple, cast

import fastavro
from fastavro.schema import fingerprint, to_parsing_canonical_form

from cxstream.domain import vocabulary

MAX_SCHEMA_BYTES = 256 * 1024
MAX_DEPTH = 16
MAX_VALUES_PER_BYTE = 4
"""Values (strings, records, nulls ...) one byte may make inside an array or a map; honest records make at most two."""
MAX_FREE_VALUES = 10_000
"""Values a message may make beyond that, whatever its bytes: so a message of n bytes makes at most 10,000 + 4 n."""
MAX_FIXED_BYTES = 1024 * 1024
MAX_REGISTRY_IDS = 4_096
ABSENT_TTL_SECONDS = 60.0

WITHDRAWN = frozenset({"dispatch/v2"})
"""Versions that are read for ever and written no more: they added a record to the union of payloads, which Avro cannot
resolve for a reader of an earlier version. A type the first version does not have travels in its record Other."""

_PRIMITIVES = {
    "null": 0,
    "boolean": 1,
    "int": 1,
    "long": 1,
    "float": 4,
    "double": 8,
    "bytes": 1,
    "string": 1,
}
"""Primitive types and the fewest bytes a value of them takes."""

_MAX_ID = 2**32 - 1


class SchemaRefusedError(ValueError):
    """A writer schema that must not be used to decode; the text says what was expected of it."""


class UnknownSchemaIdError(LookupError):
    """A schema id not looked up yet: await `SchemaIds.fetch(error.schema_id)` and decode again."""

    def __init__(self, schema_id: int) -> None:
        super().__init__(f"schema id {schema_id} has not been looked up")
        self.schema_id = schema_id


class RegistryUnavailableError(Exception):
    """The registry gave no usable answer; the record must wait, it is not at fault."""


class WriterSchema(NamedTuple):
    """A schema that messages may have been written with, ready to decode with.

    `name` is `ticket/v1` for a packaged schema and `id 17` for a registry's, `topic` the topic it belongs to if that is
    known. `fingerprint` is the CRC-64-AVRO of its canonical form, little-endian, as in the single-object header.
    `naive` names the fields, per payload record and under "" for the envelope, whose times carry no zone.
    """

    name: str
    topic: str | None
    fingerprint: bytes
    parsed: dict[str, object]
    branches: tuple[str, ...]
    naive: dict[str, tuple[str, ...]]

    def branch_of(self, event_type: str) -> str | None:
        """Return the full name of the payload record of an event type, None if the schema has none."""
        return next((branch for branch in self.branches if event_type_of(branch) == event_type), None)


@cache
def event_type_of(record_name: str) -> str:
    """Return the event type of a payload record: `io.cxstream.ticket.CustomerUpdated` -> `customer_updated`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", record_name.rpartition(".")[2]).lower()


def read_schema(text: str, name: str, topic: str | None = None) -> WriterSchema:
    """Read the JSON text of a writer schema; raises SchemaRefusedError if it fails the lint.

    The lint: a record with event_id, case_id, at and a payload of records; times are `timestamp-millis` longs (a
    `local-timestamp-*` is noted as naive, micros and bare longs are refused: the unit is a promise of the schema, and
    scaling by guess would move events by factors of a thousand); no recursion; bounded size, depth and values per byte.
    """
    if len(text.encode(errors="replace")) > MAX_SCHEMA_BYTES:
        raise SchemaRefusedError(f"{name}: larger than {MAX_SCHEMA_BYTES} bytes")
    try:
        raw: object = json.loads(text)
        lint = _Lint()
        top = lint.visit(raw, "", 0)
        naive, branches = _check_shape(top)
        parsed = cast("dict[str, object]", fastavro.parse_schema(cast("dict[str, object]", top.schema)))
    except SchemaRefusedError as error:
        raise SchemaRefusedError(f"{name}: {error}") from None
    except Exception as error:  # whatever json and fastavro raise about a text from outside
        raise SchemaRefusedError(f"{name}: not an Avro schema ({type(error).__name__})") from error
    canonical = fingerprint(to_parsing_canonical_form(cast("dict[str, object]", top.schema)), "CRC-64-AVRO")
    return WriterSchema(name, topic, bytes.fromhex(canonical), parsed, branches, naive)


class _Type(NamedTuple):
    """What the lint learns of a type: its clean schema, and its `free` values.

    `free` is the most values one instance can make beyond `MAX_VALUES_PER_BYTE` for each of its bytes.
    """

    kind: str
    schema: object
    free: int
    logical: str | None = None
    members: tuple[_Type, ...] = ()
    fields: dict[str, _Type] | None = None


class _Lint:
    """Walks a schema once and rebuilds it with nothing but what decoding needs (no logical types, no private keys)."""

    def __init__(self) -> None:
        self.named: dict[str, _Type | None] = {}

    def visit(self, schema: object, namespace: str, depth: int) -> _Type:
        if depth > MAX_DEPTH:
            raise SchemaRefusedError(f"nested deeper than {MAX_DEPTH}")
        if isinstance(schema, str):
            return self._by_name(schema, namespace)
        if isinstance(schema, list):
            return self._union(schema, namespace, depth)
        if not isinstance(schema, dict):
            raise SchemaRefusedError("not a type")
        match schema.get("type"):
            case "record":
                return self._record(schema, namespace, depth)
            case "array" | "map":
                return self._repeated(schema, namespace, depth)
            case "enum" | "fixed":
                return self._leaf(schema, namespace)
            case inner:
                found = self.visit(inner, namespace, depth + 1)
                logical = schema.get("logicalType")
                return found._replace(logical=logical) if isinstance(logical, str) else found

    def _by_name(self, name: str, namespace: str) -> _Type:
        if name in _PRIMITIVES:
            return _Type(name, name, _free(_PRIMITIVES[name]))
        full_name = _full_name(name, namespace)
        if full_name not in self.named:
            raise SchemaRefusedError("a type is used before it is defined (references are not followed)")
        found = self.named[full_name]
        if found is None:
            raise SchemaRefusedError("a record contains itself")
        return found._replace(schema=full_name)

    def _union(self, schema: list[object], namespace: str, depth: int) -> _Type:
        members = tuple(self.visit(member, namespace, depth + 1) for member in schema)
        if not members:
            raise SchemaRefusedError("an empty union")
        free = max(member.free for member in members) - MAX_VALUES_PER_BYTE
        return _Type("union", [member.schema for member in members], free, members=members)

    def _record(self, schema: dict[str, object], namespace: str, depth: int) -> _Type:
        full_name, inner_namespace = self._declare(schema, namespace)
        fields: dict[str, _Type] = {}
        declared = schema.get("fields")
        if not isinstance(declared, list):
            raise SchemaRefusedError("a record without fields")
        for field in declared:
            if not isinstance(field, dict) or not isinstance(field.get("name"), str) or field["name"] in fields:
                raise SchemaRefusedError("a field without a name of its own")
            fields[field["name"]] = self.visit(field.get("type"), inner_namespace, depth + 1)
        free = 1 + sum(field.free for field in fields.values())
        if free > MAX_FREE_VALUES:
            raise SchemaRefusedError(f"a record that makes more than {MAX_FREE_VALUES} values of no bytes")
        clean = {
            "type": "record",
            "name": full_name,
            "fields": [{"name": name, "type": field.schema} for name, field in fields.items()],
        }
        found = _Type("record", clean, free, fields=fields)
        self.named[full_name] = found
        return found

    def _repeated(self, schema: dict[str, object], namespace: str, depth: int) -> _Type:
        kind, key = ("array", "items") if schema["type"] == "array" else ("map", "values")
        item = self.visit(schema.get(key), namespace, depth + 1)
        if item.free + (_free(1) if kind == "map" else 0) > 0:
            raise SchemaRefusedError(f"{kind} items that take next to no bytes")
        return _Type(kind, {"type": kind, key: item.schema}, _free(1), members=(item,))

    def _leaf(self, schema: dict[str, object], namespace: str) -> _Type:
        full_name, _ = self._declare(schema, namespace)
        clean: dict[str, object] = {"type": schema["type"], "name": full_name}
        if schema["type"] == "enum":
            clean["symbols"] = schema.get("symbols")
            found = _Type("enum", clean, _free(1))
        else:
            size = schema.get("size")
            if not isinstance(size, int) or not 1 <= size <= MAX_FIXED_BYTES:
                raise SchemaRefusedError(f"a fixed that is not of 1 to {MAX_FIXED_BYTES} bytes")
            clean["size"] = size
            found = _Type("fixed", clean, _free(size))
        self.named[full_name] = found
        return found

    def _declare(self, schema: dict[str, object], namespace: str) -> tuple[str, str]:
        name, own_namespace = schema.get("name"), schema.get("namespace", namespace)
        if not isinstance(name, str) or not isinstance(own_namespace, str):
            raise SchemaRefusedError("a named type without a name")
        full_name = _full_name(name, own_namespace)
        if full_name in self.named or full_name in _PRIMITIVES:
            raise SchemaRefusedError("a type is defined twice")
        self.named[full_name] = None
        return full_name, full_name.rpartition(".")[0]


def _free(least_bytes: int) -> int:
    return 1 - MAX_VALUES_PER_BYTE * least_bytes


def _full_name(name: str, namespace: str) -> str:
    return name if "." in name or not namespace else f"{namespace}.{name}"


def _check_shape(top: _Type) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    """Return the naive times and the payload records of a schema; raises SchemaRefusedError if it is no event."""
    envelope = top.fields or {}
    for name in ("event_id", "case_id"):
        if name not in envelope or _one(envelope[name]).kind != "string":
            raise SchemaRefusedError(f"{name}: expected a string in the outermost record")
    if "at" not in envelope:
        raise SchemaRefusedError("at: expected a timestamp-millis long in the outermost record")
    if "asset_id" in envelope and _one(envelope["asset_id"]).kind != "string":
        raise SchemaRefusedError("asset_id: expected a string or null")
    payload = envelope.get("payload")
    records = () if payload is None else payload.members if payload.kind == "union" else (payload,)
    if not records or any(record.kind != "record" for record in records):
        raise SchemaRefusedError("payload: expected a union of records, one per event type")
    naive = {"": _naive({"at": envelope["at"]})}
    names: list[str] = []
    for record in records:
        schema = record.schema
        name = str(schema["name"]) if isinstance(schema, dict) else str(schema)
        names.append(name)
        naive[name] = _naive(record.fields or {})
    if len({event_type_of(name) for name in names}) < len(names):
        raise SchemaRefusedError("payload: two records of the same event type")
    return {name: fields for name, fields in naive.items() if fields}, tuple(names)


def _one(found: _Type) -> _Type:
    """Return the type itself, or the other one of a union with null."""
    others = [member for member in found.members if member.kind != "null"] if found.kind == "union" else []
    return others[0] if len(others) == 1 else found


def _naive(fields: Mapping[str, _Type]) -> tuple[str, ...]:
    """Return which of the fields are times without a zone; raises SchemaRefusedError for one that is no time at all."""
    naive = []
    for name, field in fields.items():
        if name not in vocabulary.TIME_FIELDS:
            continue
        found = _one(field)
        if found.kind == "long" and (found.logical or "").startswith("local-timestamp-"):
            naive.append(name)
        elif found.kind != "long" or found.logical != "timestamp-millis":
            raise SchemaRefusedError(f"{name}: expected a long of logicalType timestamp-millis (not micros, not bare)")
    return tuple(naive)


def packaged(topic: str) -> dict[str, str]:
    """Return the texts of a topic's packaged schemas by name (`ticket/v1`), as they were written."""
    folder: Traversable = resources.files("cxstream") / "_schemas"
    if not folder.is_dir():
        folder = Path(__file__).resolve().parents[3] / "schemas"
    return {
        f"{topic}/{file.name.removesuffix('.avsc')}": file.read_text("utf-8")
        for file in (folder / topic).iterdir()
        if re.fullmatch(r"v\d+\.avsc", file.name)
    }


class Schemas:
    """The packaged schemas of events, one per topic and version."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        """Read schemas from their JSON texts by name (`ticket/v1`); raises SchemaRefusedError."""
        self._texts = dict(texts)
        self._named = {name: read_schema(text, name, name.partition("/")[0]) for name, text in texts.items()}
        self._by_fingerprint = {schema.fingerprint: schema for schema in self._named.values()}

    @classmethod
    def packaged(cls) -> Schemas:
        """Read what is installed: `cxstream/_schemas` of a wheel, else `schemas/` of the source checkout."""
        return cls({name: text for topic in vocabulary.TOPICS for name, text in packaged(topic).items()})

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of all schemas, topic by topic, oldest version first."""
        return tuple(sorted(self._named, key=lambda name: (name.partition("/")[0], _version(name))))

    def text(self, name: str) -> str:
        """Return a schema as it was written, docs and all; raises KeyError for an unknown name."""
        return self._texts[name]

    def named(self, name: str) -> WriterSchema:
        """Return the schema of a name such as `ticket/v1`; raises KeyError for an unknown name."""
        return self._named[name]

    def by_fingerprint(self, crc: bytes) -> WriterSchema | None:
        """Return the schema of a single-object header's eight bytes, None if there is none."""
        return self._by_fingerprint.get(crc)

    def latest(self, topic: str) -> WriterSchema:
        """Return the schema messages of a topic are written with, the newest; raises KeyError if it has none."""
        versions = [name for name in self._named if name.partition("/")[0] == topic and name not in WITHDRAWN]
        if not versions:
            raise KeyError(topic)
        return self._named[max(versions, key=_version)]


def _version(name: str) -> int:
    return int(name.rpartition("/v")[2])


class Registry(NamedTuple):
    """A registry that speaks the Confluent API (Confluent, Apicurio's ccompat, Karapace, Redpanda).

    `headers` carries credentials if it wants any. `ca_file` names the authorities (PEM) of its certificate, None the
    system's. An answer takes at most `timeout_seconds` and has at most `max_bytes`; redirects are not followed.
    """

    url: str
    headers: Mapping[str, str] = {}
    timeout_seconds: float = 5.0
    max_bytes: int = 2 * MAX_SCHEMA_BYTES
    ca_file: Path | None = None

    def __repr__(self) -> str:
        """Show no credentials."""
        return f"Registry({self.url!r})"

    async def lookup(self, schema_id: int) -> str | None:
        """Return the text of a schema, None if the registry has no such id.

        Raises RegistryUnavailableError if it does not answer like a registry, SchemaRefusedError if the schema is not a
        self-contained Avro schema.
        """
        status, answer = await self.ask("GET", f"/schemas/ids/{schema_id}")
        if status == _NOT_FOUND and isinstance(answer, dict) and "error_code" in answer:
            return None
        if status != _OK or not isinstance(answer, dict) or not isinstance(answer.get("schema"), str):
            raise RegistryUnavailableError(f"the registry answered schema id {schema_id} with HTTP status {status}")
        if answer.get("schemaType", "AVRO") != "AVRO" or answer.get("references"):
            raise SchemaRefusedError(f"id {schema_id}: expected a self-contained Avro schema")
        return str(answer["schema"])

    async def ask(self, method: str, path: str, body: object = None) -> tuple[int, object]:
        """Send one request, with a JSON body if there is one; return the HTTP status and the JSON of the answer.

        An answer that is not JSON is None. Raises RegistryUnavailableError if there is no answer, or none in time.
        """
        import aiohttp  # noqa: PLC0415  # a quarter of a second to import, and only those with a registry need it

        timeout = aiohttp.ClientTimeout(total=self.timeout_seconds)
        kind = "application/vnd.schemaregistry.v1+json"
        headers = {"Accept": f"{kind}, application/json", "Accept-Encoding": "identity", **self.headers}
        data = None if body is None else json.dumps(body).encode()
        try:
            context = ssl.create_default_context(cafile=None if self.ca_file is None else str(self.ca_file))
            async with (
                aiohttp.ClientSession(timeout=timeout, headers=headers) as session,
                session.request(
                    method,
                    self.url.rstrip("/") + path,
                    data=data,
                    headers={} if data is None else {"Content-Type": kind},
                    allow_redirects=False,
                    ssl=context,
                ) as response,
            ):
                content = bytearray()
                async for chunk in response.content.iter_chunked(65_536):
                    content += chunk
                    if len(content) > self.max_bytes:
                        raise RegistryUnavailableError(f"the registry's answer is larger than {self.max_bytes} bytes")
                return response.status, _json(bytes(content))
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise RegistryUnavailableError(f"the registry cannot be reached ({type(error).__name__})") from error


def _json(content: bytes) -> object:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


_OK = 200
_NOT_FOUND = 404


class _Absent(NamedTuple):
    until_seconds: float


class SchemaIds:
    """Which schema a Confluent id stands for: configured, or asked of a registry once and remembered.

    Refusals are remembered for ever (an id never changes its meaning), absences for `ABSENT_TTL_SECONDS`, failures of
    the registry not at all. At most `MAX_REGISTRY_IDS` answers are kept, so that garbage cannot fill memory with ids.
    """

    def __init__(
        self,
        schemas: Schemas,
        static: Mapping[int, str] | None = None,
        registry: Registry | None = None,
        clock_seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start with the configured ids; raises KeyError if `static` names a schema that is not packaged."""
        self._schemas = schemas
        self._static = {schema_id: schemas.named(name) for schema_id, name in (static or {}).items()}
        self._registry = registry
        self._clock_seconds = clock_seconds
        self._known: dict[int, WriterSchema | SchemaRefusedError | _Absent] = {}
        self._asking: dict[int, asyncio.Task[WriterSchema | SchemaRefusedError | _Absent]] = {}

    @classmethod
    def from_text(cls, schemas: Schemas, text: str, registry: Registry | None = None) -> SchemaIds:
        """Read a mapping like `1=ticket/v1,2=dispatch/v1`; raises ValueError naming the entry that is wrong."""
        static: dict[int, str] = {}
        for entry in filter(None, (part.strip() for part in text.split(","))):
            schema_id, separator, name = (part.strip() for part in entry.partition("="))
            if not separator or not re.fullmatch(r"\d{1,10}", schema_id) or int(schema_id) > _MAX_ID:
                raise ValueError(f"schema ids: expected ID=TOPIC/VERSION like 1=ticket/v1, found {entry!r}")
            if name not in schemas.names:
                raise ValueError(f"schema ids: {entry!r} names none of {', '.join(schemas.names)}")
            if int(schema_id) in static:
                raise ValueError(f"schema ids: {entry!r} gives an id that is there already")
            static[int(schema_id)] = name
        return cls(schemas, static, registry)

    def get(self, schema_id: int) -> WriterSchema:
        """Return the schema of an id.

        Raises UnknownSchemaIdError if the registry has not been asked yet, SchemaRefusedError if there is no such
        schema or it must not be used.
        """
        static = self._static.get(schema_id)
        if static is not None:
            return static
        found = self._known.get(schema_id)
        if isinstance(found, WriterSchema):
            return found
        if isinstance(found, SchemaRefusedError):
            raise SchemaRefusedError(str(found))  # a new one: an exception raised again and again grows its traceback
        if isinstance(found, _Absent) and self._clock_seconds() < found.until_seconds:
            raise SchemaRefusedError(f"id {schema_id}: the registry has no such schema")
        if self._registry is None:
            raise SchemaRefusedError(f"id {schema_id}: not configured, and there is no registry to ask")
        raise UnknownSchemaIdError(schema_id)

    async def fetch(self, schema_id: int) -> None:
        """Ask the registry for an id unless that is known; afterwards `get` has an answer. Concurrent calls ask once.

        Raises RegistryUnavailableError if there was no answer: wait and try again.
        """
        try:
            self.get(schema_id)
        except SchemaRefusedError:
            return
        except UnknownSchemaIdError:
            task = self._asking.get(schema_id)
            if task is None:
                task = asyncio.create_task(self._ask(schema_id))
                self._asking[schema_id] = task
                task.add_done_callback(lambda _: self._asking.pop(schema_id, None))
            answer = await asyncio.shield(task)
            self._known.pop(schema_id, None)
            while len(self._known) >= MAX_REGISTRY_IDS:
                del self._known[next(iter(self._known))]
            self._known[schema_id] = answer

    async def _ask(self, schema_id: int) -> WriterSchema | SchemaRefusedError | _Absent:
        if self._registry is None:
            return SchemaRefusedError(f"id {schema_id}: there is no registry to ask")
        try:
            text = await self._registry.lookup(schema_id)
            if text is None:
                return _Absent(self._clock_seconds() + ABSENT_TTL_SECONDS)
            schema = read_schema(text, f"id {schema_id}")
        except SchemaRefusedError as error:
            return error
        same = self._schemas.by_fingerprint(schema.fingerprint)
        return schema if same is None or schema.naive else same
