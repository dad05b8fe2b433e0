"""The OpenAPI document of the JSON API, made of the structs it answers with."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import Any, NamedTuple

import msgspec

from cxstream.web.asking import FIGURE, LONGEST, STANDINGS, UNITS
from cxstream.web.models import API_MODELS, CaseList, CaseView, Overview, SearchResult, SignPage, SourceList


class _Asked(NamedTuple):
    """One thing that can be asked for."""

    path: str
    name: str
    summary: str
    answers: type
    parameters: tuple[str, ...]
    is_case_data: bool = True


_PARAMETERS: dict[str, dict[str, Any]] = {
    "sign": {"description": "A vital sign by name; where it is not in the path, none means all.", "type": "string"},
    "window": {
        "description": "One of ledger.windows that the level is counted over; a day where that is one.",
        "type": "string",
    },
    "level": {"description": "job, or a level of segments of ledger.levels.", "type": "string", "default": "job"},
    "segment": {"description": "A segment of the level; none, or all, at level job.", "type": "string"},
    "standing": {
        "description": "How the units stand.",
        "type": "string",
        "enum": list(STANDINGS),
        "default": "decided",
    },
    "detail": {
        "description": "provisional or final of decided units, the reason of excluded ones.",
        "type": "string",
    },
    "after": {"description": "`after` of the page before.", "type": "string"},
    "q": {"description": "A case id or an account_ref, as a whole.", "type": "string", "maxLength": LONGEST},
    "id": {"description": "A case id.", "type": "string", "maxLength": LONGEST},
}
_REQUIRED = {"q", "id"}

_PATHS = (
    _Asked(
        "/overview",
        "overview",
        "The job, or one segment of it",
        Overview,
        FIGURE,
        is_case_data=False,
    ),
    _Asked(
        "/signs/{sign}", "sign", "One vital sign with its segments", SignPage, ("sign", "window"), is_case_data=False
    ),
    _Asked(
        "/units",
        "units",
        "The units behind a number, misses and the newest first; of what is at risk the first to be due",
        CaseList,
        UNITS,
    ),
    _Asked("/search", "search", "The case with an id, and the cases of an account", SearchResult, ("q",)),
    _Asked(
        "/case",
        "case",
        "One case: what is known of it, every verdict, why, and what can still change it",
        CaseView,
        ("id",),
    ),
    _Asked(
        "/sources",
        "sources",
        "What the worker that is asked has read of every source since it started, and what was wrong with it",
        SourceList,
        (),
        is_case_data=False,
    ),
)
_PROBLEMS = {
    "400": "What is asked for cannot be had; `detail` says what can.",
    "401": "Case data needs the bearer token.",
    "404": "Nothing is known of it.",
    "503": "Who owns the case cannot answer now.",
}


def document() -> dict[str, Any]:
    """Return the OpenAPI 3.1 document."""
    references, schemas = msgspec.json.schema_components(API_MODELS, ref_template="#/components/schemas/{name}")
    by_model = dict(zip(API_MODELS, references, strict=True))
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "cxstream",
            "version": version("cxstream"),
            "summary": "Vital signs of how customers are treated when something breaks, of all workers of a job",
            "description": "Every worker answers for the whole job: it asks the others, and says in `trust` who did not"
            " answer; of sources it tells what it has read itself. Figures carry no case data; units, cases and the"
            " search do, and need the bearer token where http.case_data_token is set.",
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/api/v1"}],
        "paths": {asked.path: {"get": _operation(asked, by_model)} for asked in _PATHS},
        "components": {
            "schemas": {name: schemas[name] for name in sorted(schemas)},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def text() -> str:
    """Return it as the file that is committed."""
    told = {"x-generated": "by `cxstream render` from src/cxstream/web: change that, not this file", **document()}
    return json.dumps(told, indent=2, ensure_ascii=False) + "\n"


def _operation(asked: _Asked, by_model: dict[Any, Any]) -> dict[str, Any]:
    told = {
        status: {
            "description": what,
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status, what in _PROBLEMS.items()
        if (asked.parameters if status == "400" else asked.is_case_data)
    }
    answer = {"description": "As asked for.", "content": {"application/json": {"schema": by_model[asked.answers]}}}
    return {
        "operationId": asked.name,
        "summary": asked.summary,
        "parameters": [_parameter(name, asked.path) for name in asked.parameters],
        "responses": {"200": answer, **told},
        "security": [{"token": []}] if asked.is_case_data else [],
    }


def _parameter(name: str, path: str) -> dict[str, Any]:
    schema = dict(_PARAMETERS[name])
    in_path = f"{{{name}}}" in path
    return {
        "name": name,
        "in": "path" if in_path else "query",
        "required": in_path or name in _REQUIRED,
        "description": schema.pop("description"),
        "schema": schema,
    }
