"""How `cxstream schemas` asks a registry, and what it says when the answer is not what it should be."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from click.testing import CliRunner

from cxstream.cli import main
from cxstream.config import load
from cxstream.kafka.schemas import RegistryUnavailableError
from cxstream.upstream.subjects import Outcome, check, configured, register, subjects_of
from cxstream.worker import registry_of


class Scripted:
    """Stands in for a registry: answers by the first key that begins method and path; writes down what it hears."""

    def __init__(self, answers: Mapping[str, tuple[int, object]]) -> None:
        self.answers = answers
        self.heard: list[str] = []

    async def ask(self, method: str, path: str, body: object = None) -> tuple[int, object]:
        """Answer like the registry would."""
        self.heard.append(f"{method} {path}")
        return next(answer for key, answer in self.answers.items() if f"{method} {path}".startswith(key))


def subjects(**variables: str) -> Any:  # noqa: ANN401
    """Return the subjects of a configuration."""
    return subjects_of(load(None, {f"CXSTREAM_{name.upper()}": text for name, text in variables.items()}))


def test_subjects_are_named_by_topic() -> None:
    """Each configured topic has the subject <topic>-value with the schemas that are written there, oldest first."""
    named = {one.name: tuple(one.texts) for one in subjects(kafka_topics_ticket="desk")}
    assert named == {
        "desk-value": ("ticket/v1",),
        "cxstream.dispatch-value": ("dispatch/v1",),
        "cxstream.parts-value": ("parts/v1",),
        "cxstream.verdicts-value": ("verdict/v1",),
    }
    assert len(subjects(kafka_verdicts_topic="none")) == 3


@pytest.mark.parametrize(("status", "said"), [(401, "is schema.registry_username right"), (500, "HTTP status 500")])
def test_an_answer_that_is_none_is_told(status: int, said: str) -> None:
    """A refused login and a broken registry are errors that say so; nothing is taken for missing or compatible."""
    registry: Any = Scripted({"": (status, None)})
    for ask in (check(registry, subjects()), register(registry, subjects(), dry_run=False)):
        with pytest.raises(RegistryUnavailableError, match=said):
            asyncio.run(ask)


def test_a_dry_run_only_asks() -> None:
    """A dry run neither registers nor sets anything, and says of a schema that would be refused that it would."""
    registry: Any = Scripted({
        "POST /subjects/cxstream.tickets-value": (200, {"id": 7}),
        "GET /config/": (404, {}),
        "GET /config": (200, {"compatibilityLevel": "BACKWARD"}),
        "POST /compatibility/subjects/cxstream.parts-value": (200, {"is_compatible": False, "messages": ["why"]}),
        "": (404, {}),
    })  # fmt: skip
    outcomes = asyncio.run(register(registry, subjects(kafka_verdicts_topic="none"), dry_run=True))
    assert [(one.subject, one.schema, one.state, one.right, one.detail) for one in outcomes] == [
        ("cxstream.tickets-value", None, "BACKWARD", True, "would be set to FULL_TRANSITIVE"),
        ("cxstream.tickets-value", "ticket/v1", "registered", True, ""),
        ("cxstream.dispatch-value", "dispatch/v1", "would be registered", True, ""),
        ("cxstream.parts-value", "parts/v1", "incompatible", False, "why"),
    ]
    assert not [heard for heard in registry.heard if heard.startswith("PUT") or heard.endswith("/versions")]
    assert list(configured(outcomes)) == ["7=ticket/v1"]


def test_what_was_refused_is_not_called_registered() -> None:
    """A schema the registry refuses is told with its words, and the subject is not set to anything for it."""
    registry: Any = Scripted({
        "POST /subjects/cxstream.tickets-value/versions": (409, {"message": "union lacking writer type"}),
        "GET /config": (200, {"compatibilityLevel": "FULL_TRANSITIVE"}),
        "": (404, {}),
    })  # fmt: skip
    outcomes = asyncio.run(register(registry, subjects()[:1], dry_run=False))
    assert outcomes[0] == Outcome(
        "cxstream.tickets-value", "ticket/v1", "incompatible", right=False, detail="union lacking writer type"
    )
    assert not [heard for heard in registry.heard if heard.startswith("PUT")]


def test_login_and_authority_come_from_the_settings() -> None:
    """The registry is asked with the configured login and authority; without one the command says what to set."""
    variables = {
        "CXSTREAM_SCHEMA_REGISTRY_URL": "https://registry:8081/apis",
        "CXSTREAM_SCHEMA_REGISTRY_USERNAME": "x",
        "CXSTREAM_SCHEMA_REGISTRY_PASSWORD": "y",
        "CXSTREAM_SCHEMA_REGISTRY_CA_FILE": __file__,
    }
    registry = registry_of(load(None, variables))
    assert registry is not None
    assert (dict(registry.headers), str(registry.ca_file)) == ({"Authorization": "Basic eDp5"}, __file__)
    result = CliRunner().invoke(main, ["schemas", "check"])
    assert result.exit_code == 1
    assert "set schema.registry_url" in result.stderr
