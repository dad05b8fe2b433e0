"""What is generated for upstream teams is current, whole, and what the programs of others make of it."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import yaml

from cxstream.client import Event, dispatch, parts, ticket
from cxstream.config import Settings
from cxstream.domain import vocabulary
from cxstream.kafka.topics import topic_table
from cxstream.render.artefacts import stale
from cxstream.render.typed_events import class_name
from cxstream.upstream.generated import ASYNCAPI, contract_artefacts

ROOT = Path(__file__).resolve().parents[2]
CHECK = ROOT / "scripts" / "asyncapi" / "check.mjs"
FETCH = ROOT / "scripts" / "fetch-asyncapi"
CACHE = ROOT / ".cache" / "asyncapi"
GENERATED = contract_artefacts(Settings())
MODULES = {"ticket": ticket, "dispatch": dispatch, "parts": parts}
PYTHON = {"text": str, "zone": str, "flag": bool, "count": int, "time": datetime}


def parser(*files: Path) -> subprocess.CompletedProcess[str]:
    """Read documents with the AsyncAPI project's parser; skip the test, saying why, where there is no Node."""
    if shutil.which("node") is None or (shutil.which("npm") is None and not (CACHE / ".complete").is_file()):
        pytest.skip("needs the AsyncAPI parser: no node and npm; run scripts/install-system-packages")
    subprocess.run([FETCH], check=True, capture_output=True, text=True)
    return subprocess.run(["node", CHECK, *files], cwd=CACHE, capture_output=True, text=True, check=False)


def test_the_committed_files_are_current() -> None:
    """What is committed is what the vocabulary, schemas and topics say now; if this fails, run `cxstream render`."""
    assert stale(ROOT, GENERATED) == []


@pytest.mark.slow
def test_the_asyncapi_parser_reads_every_channel(tmp_path: Path) -> None:
    """The AsyncAPI project's own parser takes the document, schemas included, and finds our topics in it.

    That it can refuse is seen too: a wrong word, a schema that is not there, a version that is none.
    """
    kafka = Settings().kafka
    folder = tmp_path / "docs" / "upstream"
    folder.mkdir(parents=True)
    shutil.copytree(ROOT / "schemas", tmp_path / "schemas")
    mutants = []
    for old, new in (('action: "receive"', 'action: "hear"'), ("ticket/v1.avsc", "ticket/v9.avsc"), ("3.0.0", "3.9.9")):
        mutants.append(folder / f"{len(mutants)}.yml")
        mutants[-1].write_text(GENERATED[ASYNCAPI].replace(old, new), encoding="utf-8")
    done = parser(ROOT / ASYNCAPI, *mutants)
    sources = kafka.topics.by_kind()
    assert done.stdout.splitlines() == [
        *(f"receive {topic} {kind}_v1" for kind, topic in sources.items()),
        f"send {kafka.verdicts} verdict_v1",
        *(f"send {topic}.dead-letters rejected" for topic in sources.values()),
        *(f"refused {mutant}" for mutant in mutants),
    ], done.stderr
    assert done.returncode == 1


def test_the_document_says_of_topics_what_the_table_says() -> None:
    """Partitions, copies and retention in the document are those the topics are created with."""
    kafka = Settings().kafka
    table = topic_table(
        group=kafka.group,
        sources=kafka.topics.by_kind(),
        partitions=kafka.partitions,
        replication_factor=kafka.replication_factor,
        verdicts=kafka.verdicts,
    )
    channels = {one["address"]: one for one in yaml.safe_load(GENERATED[ASYNCAPI])["channels"].values()}
    public = [topic for topic in table.topics if topic.name in channels]
    assert len(public) == len(channels) == 7
    for topic in public:
        bindings = channels[topic.name]["bindings"]["kafka"]
        assert (bindings["partitions"], bindings["replicas"]) == (topic.partitions, topic.replication_factor)
        assert str(bindings["topicConfiguration"]["retention.ms"]) == topic.configuration["retention.ms"]


@pytest.mark.parametrize("topic", vocabulary.TOPICS)
def test_there_is_a_class_for_every_event_type(topic: str) -> None:
    """A topic's module has a class per event type, with its fields, their types and choices, and no others."""
    module = MODULES[topic]
    types = {name: fields for (of, name), fields in vocabulary.EVENT_TYPES.items() if of == topic}
    types |= vocabulary.ANY_TOPIC
    classes = {name for name, one in vars(module).items() if isinstance(one, type) and issubclass(one, Event)}
    assert classes - {"Event"} == {class_name(name) for name in types}
    for name, fields in types.items():
        event = getattr(module, class_name(name))
        hints = get_type_hints(event)
        assert (event.topic, event.type) == (topic, name)
        declared = {field.name: field for field in dataclasses.fields(event)}
        assert declared.keys() - {"case_id", "at", "event_id"} == fields.keys()
        for field_name, field in fields.items():
            assert (declared[field_name].default is dataclasses.MISSING) == field.required
            kinds = set(get_args(hints[field_name])) - {type(None)} or {hints[field_name]}
            if field.kind == "choice":
                (literal,) = kinds
                assert get_args(literal) == field.choices
            elif field.kind in PYTHON:
                assert kinds == {PYTHON[field.kind]}


@pytest.mark.slow
def test_the_types_are_checked_by_mypy(tmp_path: Path) -> None:
    """A wrong choice, a text for a time, a missing id and an unknown field are errors for who checks types."""
    script = tmp_path / "upstream.py"
    script.write_text(
        "from datetime import UTC, datetime\n"
        "from cxstream.client import dispatch, ticket\n"
        "now = datetime.now(UTC)\n"
        'ticket.Opened(case_id="C", at=now, priority="P2", asset_id="A")\n'
        'ticket.Opened(case_id="C", at=now, priority="P9")\n'
        'ticket.Diagnosed(case_id="C", at="2026-03-02T10:00:00Z")\n'
        'dispatch.Arrived(case_id="C", at=now)\n'
        'dispatch.Arrived(case_id="C", at=now, visit_id="V", vist="V")\n'
    )
    command = [sys.executable, "-m", "mypy", "--no-error-summary", script]  # in the cache of `make types`
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    lines = [line for line in said.splitlines() if "error" in line]
    assert [line.split(":")[1] for line in lines] == ["5", "6", "7", "8"], said


def test_the_kit_needs_no_faust() -> None:
    """Importing cxstream.client does not import Faust, which takes a second and sets up signal handlers."""
    code = "import sys, cxstream.client; print(sorted(name for name in sys.modules if name in {'faust', 'mode'}))"
    environment = {"PYTHONPATH": str(ROOT / "src"), "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.replace("'", '"')) == []


def test_a_typed_event_is_the_event_of_the_vocabulary() -> None:
    """A typed event states what it was given and nothing else, in the JSON vocabulary."""
    at = datetime(2026, 3, 2, 8, 5, tzinfo=UTC)
    event = ticket.Opened(case_id="C-1", at=at, event_id="1", asset_id="PUMP-17", priority="P2")
    assert event.document() == {
        "event_id": "1",
        "topic": "ticket",
        "type": "opened",
        "case_id": "C-1",
        "at": "2026-03-02T08:05:00+00:00",
        "asset_id": "PUMP-17",
        "priority": "P2",
    }
