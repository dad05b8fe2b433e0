"""`cxstream schemas` against a real registry that speaks the Confluent API: Apicurio Registry, over TLS."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cxstream.cli import main
from cxstream.kafka.codec import Codec
from cxstream.kafka.schemas import Registry, SchemaIds, Schemas, UnknownSchemaIdError, packaged
from cxstream.upstream.subjects import Subject
from parts.registry import require_registry, running_registry

pytestmark = pytest.mark.slow

AT_MS = 1_772_445_600_000
EVENT = {"event_id": "1", "topic": "ticket", "type": "diagnosed", "case_id": "C-1", "at": AT_MS}


@pytest.fixture(scope="module")
def registry() -> Iterator[tuple[str, Path]]:
    """Return the URL of a registry of these tests' own, and the authority of its certificate."""
    require_registry()
    with running_registry() as running:
        yield running


def run(registry: tuple[str, Path], *arguments: str, prefix: str = "cxstream") -> Result:
    """Run a command with the registry and topics of the test's own."""
    url, ca_file = registry
    topics = {f"CXSTREAM_KAFKA_TOPICS_{kind.upper()}": f"{prefix}.{kind}" for kind in ("ticket", "dispatch", "parts")}
    variables = {
        "CXSTREAM_SCHEMA_REGISTRY_URL": url,
        "CXSTREAM_SCHEMA_REGISTRY_CA_FILE": str(ca_file),
        "CXSTREAM_KAFKA_VERDICTS_TOPIC": f"{prefix}.verdicts",
        **topics,
    }
    return CliRunner(env=variables).invoke(main, ["schemas", *arguments])


def told(result: Result) -> list[tuple[str, str | None, str]]:
    """Return subject, schema and state of every line of a command's JSON."""
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    return [(line["subject"], line["schema"], line["state"]) for line in lines]


def test_schemas_are_registered_once_and_for_full_compatibility(registry: tuple[str, Path]) -> None:
    """A dry run changes nothing, register registers what is missing, check is content then, and register again too."""
    written = {kind: f"{kind}/v1" for kind in ("ticket", "dispatch", "parts")} | {"verdicts": "verdict/v1"}
    subjects = {f"cxstream.{kind}-value": name for kind, name in written.items()}
    before = run(registry, "check", "--json")
    assert before.exit_code == 1
    assert told(before) == [(subject, name, "missing") for subject, name in subjects.items()]
    dry = run(registry, "register", "--dry-run", "--json")
    assert (dry.exit_code, {state for _, _, state in told(dry)}) == (0, {"would be registered"})
    assert told(run(registry, "check", "--json")) == told(before)
    registered = run(registry, "register", "--json")
    assert registered.exit_code == 0
    full = {(subject, None, "FULL_TRANSITIVE") for subject in subjects}
    assert set(told(registered)) == full | {(subject, name, "registered") for subject, name in subjects.items()}
    after = run(registry, "check", "--json")
    assert (after.exit_code, set(told(after))) == (0, set(told(registered)))
    again = run(registry, "register")
    assert again.exit_code == 0
    assert again.stdout.count("it was there") == len(subjects)


def test_workers_read_by_the_ids_of_the_registry(registry: tuple[str, Path]) -> None:
    """A message in Confluent framing with the id that was registered is decoded, with the setting or by asking."""
    said = run(registry, "register", prefix="ids").stdout
    entries = said.split("CXSTREAM_SCHEMA_IDS=")[1].strip()
    schemas = Schemas.packaged()
    static = SchemaIds.from_text(schemas, entries)
    schema_id = next(int(entry.partition("=")[0]) for entry in entries.split(",") if entry.endswith("ticket/v1"))
    message = Codec(schemas, static, skew_ms=0).encode(EVENT, schema_id=schema_id)
    assert message[:5] == b"\x00" + schema_id.to_bytes(4, "big")
    asked = SchemaIds(schemas, registry=Registry(registry[0], ca_file=registry[1], timeout_seconds=30))
    codec = Codec(schemas, asked, skew_ms=0)
    with pytest.raises(UnknownSchemaIdError):
        codec.decode("ticket", b"C-1", message, AT_MS)
    asyncio.run(asked.fetch(schema_id))
    assert codec.decode("ticket", b"C-1", message, AT_MS)[0] == "C-1"
    assert asked.get(schema_id).name == "ticket/v1"


def test_the_registry_itself_refuses_what_is_not_fully_compatible(registry: tuple[str, Path]) -> None:
    """The withdrawn dispatch/v2, a record more in the union, is refused by the registry: why it was withdrawn."""
    assert run(registry, "register", prefix="union").exit_code == 0
    subject = Subject("union.dispatch-value", "dispatch", packaged("dispatch"))
    asked = Registry(registry[0], ca_file=registry[1], timeout_seconds=30)
    withdrawn = packaged("dispatch")["dispatch/v2"]
    assert asyncio.run(subject.fits(asked, withdrawn)) is not None
    answer = asyncio.run(subject.register(asked, withdrawn))
    assert isinstance(answer, str)
    assert "union" in answer
    optional = json.loads(packaged("dispatch")["dispatch/v1"])
    optional["fields"].insert(4, {"name": "note", "type": ["null", "string"], "default": None, "doc": "A new field."})
    assert asyncio.run(subject.fits(asked, json.dumps(optional))) is None


def test_a_subject_with_another_compatibility_is_told_and_mended(registry: tuple[str, Path]) -> None:
    """Check fails on a subject that is only BACKWARD, and register puts it right."""
    assert run(registry, "register", prefix="level").exit_code == 0
    asked = Registry(registry[0], ca_file=registry[1], timeout_seconds=30)
    asyncio.run(asked.ask("PUT", "/config/level.parts-value", {"compatibility": "BACKWARD"}))
    found = run(registry, "check", prefix="level")
    assert found.exit_code == 1
    assert "level.parts-value: compatibility: BACKWARD: expected FULL_TRANSITIVE" in found.stdout
    assert run(registry, "register", prefix="level").exit_code == 0
    assert run(registry, "check", prefix="level").exit_code == 0


def test_a_registry_nobody_vouches_for_is_not_spoken_to(registry: tuple[str, Path]) -> None:
    """Without the authority of its certificate the registry cannot be reached, and the command says its address."""
    variables = {"CXSTREAM_SCHEMA_REGISTRY_URL": registry[0]}
    result = CliRunner(env=variables).invoke(main, ["schemas", "check"])
    assert result.exit_code == 1
    assert f"{registry[0]}: the registry cannot be reached" in result.stderr
