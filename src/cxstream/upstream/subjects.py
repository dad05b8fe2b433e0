"""The schemas at a registry with the Confluent API: what is there, whether it fits, and how it gets there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple
from urllib.parse import quote

from cxstream.config import Settings
from cxstream.kafka.schemas import WITHDRAWN, Registry, RegistryUnavailableError, Schemas, packaged

FULL_TRANSITIVE = "FULL_TRANSITIVE"
"""Every version can read what was written with every other, so producers and readers move in any order."""

VERDICT = "verdict"
_OK = 200
_NOT_FOUND = 404
_CONFLICT = 409
_REFUSED = {_CONFLICT, 422}

State = Literal["registered", "missing", "incompatible", "would_register"]


class Outcome(NamedTuple):
    """How one schema, or the compatibility of one subject (`schema` is None), stands at the registry."""

    subject: str
    schema: str | None
    state: str
    right: bool
    """False if something is to be done about it."""
    detail: str
    id: int | None = None

    def __str__(self) -> str:
        what = self.schema or "compatibility"
        return f"{self.subject}: {what}: {self.state}{f' as id {self.id}' if self.id is not None else ''}" + (
            f": {self.detail}" if self.detail else ""
        )


class Subject(NamedTuple):
    """What a registry knows the schemas of one topic by (TopicNameStrategy), and those schemas, oldest first."""

    name: str
    kind: str
    texts: Mapping[str, str]
    """By name: `ticket/v1`."""

    async def id_of(self, registry: Registry, text: str) -> int | None:
        """Return the id of a schema under this subject, None if it is not there. Raises RegistryUnavailableError."""
        status, answer = await registry.ask("POST", self._path(), _body(text))
        if status == _NOT_FOUND:
            return None
        return _int(answer, "id", status, f"whether it has {self.name}")

    async def compatibility(self, registry: Registry) -> str:
        """Return the compatibility in force for the subject, that of the registry where it has none of its own."""
        for path in (f"/config/{quote(self.name, safe='')}", "/config"):
            status, answer = await registry.ask("GET", path)
            if status == _OK and isinstance(answer, dict) and "compatibilityLevel" in answer:
                return str(answer["compatibilityLevel"])
            if status != _NOT_FOUND:
                break
        raise _unusable(status, f"the compatibility of {self.name}")

    async def require_full(self, registry: Registry) -> None:
        """Set the compatibility of the subject. Raises RegistryUnavailableError."""
        path, body = f"/config/{quote(self.name, safe='')}", {"compatibility": FULL_TRANSITIVE}
        status, _answer = await registry.ask("PUT", path, body)
        if status != _OK:
            raise _unusable(status, f"to set the compatibility of {self.name}")

    async def fits(self, registry: Registry, text: str) -> str | None:
        """Return what keeps a schema from being registered, None if nothing does. Raises RegistryUnavailableError."""
        path = f"/compatibility/subjects/{quote(self.name, safe='')}/versions?verbose=true"
        status, answer = await registry.ask("POST", path, _body(text))
        if status == _NOT_FOUND:  # nothing is registered under the subject: everything fits
            return None
        if status != _OK or not isinstance(answer, dict) or not isinstance(answer.get("is_compatible"), bool):
            raise _unusable(status, f"whether a schema fits {self.name}")
        messages = answer.get("messages")
        said = "; ".join(map(str, messages)) if isinstance(messages, list) else ""
        return None if answer["is_compatible"] else said or "the registry does not say why"

    async def register(self, registry: Registry, text: str) -> int | str:
        """Register a schema and return its id, or in words why the registry refuses it."""
        status, answer = await registry.ask("POST", f"{self._path()}/versions", _body(text))
        if status in _REFUSED:
            return str(answer.get("message", "")) if isinstance(answer, dict) else "incompatible"
        return _int(answer, "id", status, f"to register under {self.name}")

    def _path(self) -> str:
        return f"/subjects/{quote(self.name, safe='')}"


def subjects_of(settings: Settings) -> list[Subject]:
    """Return the subjects of the topics a configuration names, with the schemas that are written there."""
    topics = dict(settings.kafka.topics.by_kind())
    if settings.kafka.verdicts is not None:
        topics[VERDICT] = settings.kafka.verdicts
    return [Subject(f"{topic}-value", kind, _written(kind)) for kind, topic in topics.items()]


def _written(kind: str) -> dict[str, str]:
    texts = packaged(kind)
    order = [name for name in Schemas.packaged().names if name in texts] or sorted(texts)
    return {name: texts[name] for name in order if name not in WITHDRAWN}


async def check(registry: Registry, subjects: list[Subject]) -> list[Outcome]:
    """Ask how every schema stands; nothing is changed. Raises RegistryUnavailableError."""
    outcomes: list[Outcome] = []
    for subject in subjects:
        here = [await _standing(registry, subject, name) for name in subject.texts]
        if any(one.state == "registered" for one in here):
            outcomes += await _compatibility(registry, subject)
        outcomes += here
    return outcomes


async def _compatibility(registry: Registry, subject: Subject) -> list[Outcome]:
    level = await subject.compatibility(registry)
    right = level == FULL_TRANSITIVE
    detail = "" if right else f"expected {FULL_TRANSITIVE}; `cxstream schemas register` sets it"
    return [Outcome(subject.name, None, level, right, detail)]


async def _standing(registry: Registry, subject: Subject, name: str) -> Outcome:
    text = subject.texts[name]
    schema_id = await subject.id_of(registry, text)
    if schema_id is not None:
        return Outcome(subject.name, name, "registered", right=True, detail="", id=schema_id)
    why_not = await subject.fits(registry, text)
    if why_not is not None:
        return Outcome(subject.name, name, "incompatible", right=False, detail=why_not)
    return Outcome(subject.name, name, "missing", right=False, detail="`cxstream schemas register` registers it")


async def register(registry: Registry, subjects: list[Subject], *, dry_run: bool) -> list[Outcome]:
    """Register what is missing, oldest first, and set every subject to FULL_TRANSITIVE; a dry run only says so.

    Raises RegistryUnavailableError.
    """
    outcomes: list[Outcome] = []
    for subject in subjects:
        if dry_run:
            outcomes += map(_intended, await check(registry, [subject]))
            continue
        for name, text in subject.texts.items():
            schema_id = await subject.id_of(registry, text)
            answer = schema_id if schema_id is not None else await subject.register(registry, text)
            if isinstance(answer, str):
                outcomes.append(Outcome(subject.name, name, "incompatible", right=False, detail=answer))
            else:
                detail = "" if schema_id is None else "it was there"
                outcomes.append(Outcome(subject.name, name, "registered", right=True, detail=detail, id=answer))
                await subject.require_full(registry)
        outcomes += await _compatibility(registry, subject)
    return outcomes


def _intended(outcome: Outcome) -> Outcome:
    if outcome.state == "missing":
        return outcome._replace(state="would be registered", right=True, detail="")
    if outcome.schema is None and not outcome.right:
        return outcome._replace(right=True, detail=f"would be set to {FULL_TRANSITIVE}")
    return outcome


def configured(outcomes: list[Outcome]) -> Iterator[str]:
    """Yield the entries of `schema.ids` by which a worker knows these schemas without the registry."""
    for outcome in outcomes:
        if outcome.id is not None and not str(outcome.schema).startswith(VERDICT):
            yield f"{outcome.id}={outcome.schema}"


def _body(text: str) -> dict[str, str]:
    return {"schema": text, "schemaType": "AVRO"}


def _int(answer: object, name: str, status: int, what: str) -> int:
    if status == _OK and isinstance(answer, dict) and isinstance(answer.get(name), int):
        return int(answer[name])
    raise _unusable(status, what)


def _unusable(status: int, what: str) -> RegistryUnavailableError:
    login = " (is schema.registry_username right?)" if status in {401, 403} else ""
    return RegistryUnavailableError(f"the registry was asked {what} and answered with HTTP status {status}{login}")
