"""The OpenAPI document of the ingress: current, right by its own standard, and what the ingress really does."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from cxstream.domain import vocabulary
from cxstream.ingress import openapi, problems
from cxstream.ingress.intake import Intake
from cxstream.ingress.metrics import FAMILIES, LIMITS, OUTCOMES
from cxstream.ingress.problems import KINDS
from parts.ingress import NOW_MS, an_event
from parts.messages import CODEC, EXAMPLES, SKEW_MS, events
from parts.trials import tried

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = openapi.document(version("cxstream"))
EVENT = Draft202012Validator({"$ref": "#/components/schemas/Event", "components": DOCUMENT["components"]})
INTAKE = Intake(CODEC, {}, skew_ms=SKEW_MS)
PAGE = ROOT / "docs" / "upstream" / "http.md"


def refused(event: object) -> problems.Problem | None:
    """Return why the ingress refuses an event, None if it takes it."""
    return INTAKE.items([event], NOW_MS)[0].problem


def test_the_committed_document_is_what_the_code_says() -> None:
    """If this fails, run `cxstream render`, which `--check` tells as well."""
    assert json.loads((ROOT / openapi.PATH).read_text("utf-8")) == DOCUMENT
    done = subprocess.run(
        [sys.executable, "-m", "cxstream", "render", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert openapi.PATH not in done.stdout
    assert "Traceback" not in done.stderr


def test_the_document_is_openapi() -> None:
    """OpenAPI 3.1 by the standard's own schema, and every event type of the vocabulary is in it."""
    validate(DOCUMENT)
    named = {name for name in DOCUMENT["components"]["schemas"] if "." in name}
    types = {*vocabulary.EVENT_TYPES, *((t, name) for t in vocabulary.TOPICS for name in vocabulary.ANY_TOPIC)}
    assert named == {f"{topic}.{name}" for topic, name in types}
    EVENT.validate(DOCUMENT["paths"]["/v1/events"]["post"]["requestBody"]["content"]["application/json"]["example"])


def test_every_example_of_the_schemas_is_an_event_of_the_document() -> None:
    """What upstream teams are shown for Avro is right over HTTP too."""
    for event in EXAMPLES:
        EVENT.validate(event)
        assert refused(event) is None


@given(event=events())
@tried(120)
def test_the_document_and_the_ingress_agree(event: dict[str, Any]) -> None:
    """What the document allows is taken, what it forbids is refused: but for instants, zones and windows.

    No schema can say what time it is, which zones there are, and that a window ends after it begins.
    """
    event = {name: value for name, value in event.items() if value is not None}
    problem = refused(event)
    if problem is None:
        assert EVENT.is_valid(event)
    elif problem.field not in ("at", "tz", "window_start", "window_end"):
        assert not EVENT.is_valid(event), problem


@pytest.mark.parametrize(
    "change",
    [{"at": "2026-03-02T10:00:00"}, {"at": "yesterday"}, {"at": -1}, {"at": None}, {"event_id": 7}, {"set": {}}],
)
def test_the_document_forbids_what_is_refused(change: dict[str, Any]) -> None:
    """Wrong times, ids and empty corrections are wrong by the document, too."""
    event = an_event(type="corrected", target="e-0", set={"region": "x"}) | change
    assert refused(event) is not None
    assert not EVENT.is_valid(event)
    assert EVENT.is_valid(an_event(type="corrected", target="e-0", set={"region": "x"}))


# --- the page


def test_the_page_lists_problems_metrics_and_limits() -> None:
    """docs/upstream/http.md has a row for every problem, every metric family with its labels, and every setting."""
    page = PAGE.read_text("utf-8")
    for kind in KINDS.values():
        assert f"| `{kind.name}` | {kind.status} |" in page, kind.name
    for family in FAMILIES:
        labels = ", ".join(f"`{label}`" for label in family.labels)
        assert f"| `{family.name}` | {family.type} | {labels} | {family.help} |" in page, family.name
    for word in (*LIMITS, *OUTCOMES):
        assert f"`{word}`" in page, word
