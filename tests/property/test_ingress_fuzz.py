"""Whatever is sent to the ingress, it is answered as its document says: the document itself makes the requests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import schemathesis
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from schemathesis import checks

from cxstream.ingress import openapi
from cxstream.ingress.intake import CONTENT_TYPES, JSON, NDJSON
from parts.ingress import LIMITS, Ingress, an_event, serving
from parts.messages import events
from parts.trials import tried

TOKEN = "of-the-fuzzer"  # noqa: S105 - it opens nothing
CHECKS = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
    checks.unsupported_method,
]
DOCUMENT = openapi.document("0")
RESPONSES = DOCUMENT["paths"]["/v1/events"]["post"]["responses"]
FUZZED = ("ticket.opened", "ticket.commitment_changed")
"""Event types requests are made of; all of them take minutes, and `test_no_body_is_too_odd` draws from all."""


def _smaller() -> dict[str, Any]:
    """Return the document with fewer event types, and without other names of NDJSON."""
    document = openapi.document("0")
    schemas = document["components"]["schemas"]
    schemas["Event"]["anyOf"] = [{"$ref": f"#/components/schemas/{name}"} for name in FUZZED]
    for name in [name for name in schemas if "." in name and name not in FUZZED] + ["UnknownEvent"]:
        del schemas[name]
    content = document["paths"]["/v1/events"]["post"]["requestBody"]["content"]
    for name in content.keys() - {JSON, NDJSON}:
        del content[name]
    return document


schema = schemathesis.openapi.from_dict(_smaller())
schema.config.generation.update(modes=list(schemathesis.GenerationMode))


@schemathesis.serializer("application/x-ndjson", "application/ndjson", "application/jsonl")
def _lines(_context: object, value: object) -> bytes:
    return value.encode(errors="replace") if isinstance(value, str) else json.dumps(value).encode()


@pytest.fixture(scope="module")
def ingress() -> Iterator[Ingress]:
    """An ingress that serves all through the fuzzing."""
    with serving(LIMITS._replace(request_seconds=1.0), tokens={"fuzzer": TOKEN}) as served:
        yield served


@schema.parametrize()
@tried(4, suppress_health_check=list(hypothesis.HealthCheck), database=None)
def test_no_request_is_answered_otherwise_than_documented(case: schemathesis.Case, ingress: Ingress) -> None:
    """Requests made of the document, right and wrong: never a 5xx, and every answer is a documented one."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    case.call_and_validate(base_url=f"http://127.0.0.1:{ingress.port}", headers=headers, checks=CHECKS)


_json = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**70), 2**70),
        st.floats(),
        st.text(max_size=20),
        st.just("x" * 2000),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=20,
)
_odd = st.one_of(
    events(),
    events().flatmap(
        lambda event: st.dictionaries(st.sampled_from(sorted(event)), _json, max_size=3).map(event.__or__)
    ),
    _json,
)
_bodies = st.one_of(
    _odd.map(json.dumps).map(str.encode),
    st.lists(_odd, max_size=4).map(json.dumps).map(str.encode),
    st.lists(_odd, max_size=4).map(lambda some: "\n".join(map(json.dumps, some)).encode()),
    st.binary(max_size=300),
    st.binary(max_size=40).map(lambda noise: json.dumps(an_event()).encode()[:-20] + noise),
    st.integers(1, 3000).map(lambda depth: b"[" * depth + b"]" * depth),
)


@given(body=_bodies, content_type=st.sampled_from([*CONTENT_TYPES, "text/plain"]))
@tried(150)
def test_no_body_is_too_odd(ingress: Ingress, body: bytes, content_type: str) -> None:
    """Odd events, odd JSON and plain noise are answered as documented, never by a 5xx; what is accepted was taken."""
    before = len(ingress.brokers.records)
    answer = ingress.send(body, Content_Type=content_type, Authorization=f"Bearer {TOKEN}")
    assert answer.status < 500
    documented = RESPONSES[str(answer.status)]["content"][answer.headers["Content-Type"]]["schema"]
    Draft202012Validator({**documented, "components": DOCUMENT["components"]}).validate(answer.document)
    taken = len(ingress.brokers.records) - before
    accepted = answer.document.get("accepted", 0)
    assert taken <= accepted, "an event was produced and not said to be accepted"
    assert bool(taken) == bool(accepted)
    assert ingress.in_flight.held_bytes == 0
