"""Forbids a user of a test broker something: aiokafka has no request for it, so it is spelled out here."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Int8, Int16, Int32, Schema, String

AUTHORIZER = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": True,
}
"""Broker properties with which rules count, and everybody may do what none is about."""

OPERATIONS = {"read": 3, "write": 4, "describe": 8, "describe-configs": 10}
_KINDS = {"topic": 2, "group": 3}
_LITERAL, _DENY, _ALLOW = 3, 2, 3


class _Response(Response):
    API_KEY = 30
    API_VERSION = 1
    SCHEMA = Schema(
        ("throttle_time_ms", Int32), ("results", Array(("error_code", Int16), ("error_message", String("utf-8"))))
    )


class _Struct(RequestStruct):
    API_KEY = 30
    API_VERSION = 1
    RESPONSE_TYPE = _Response
    SCHEMA = Schema(
        (
            "creations",
            Array(
                ("resource_type", Int8),
                ("resource_name", String("utf-8")),
                ("pattern_type", Int8),
                ("principal", String("utf-8")),
                ("host", String("utf-8")),
                ("operation", Int8),
                ("permission", Int8),
            ),
        ),
    )


class _Create(Request[_Struct]):
    API_KEY = 30

    def __init__(self, rules: Sequence[tuple[Any, ...]]) -> None:
        self._rules = list(rules)

    def build(self, request_struct_class: type[_Struct]) -> _Struct:
        return request_struct_class(self._rules)


def allow_only(bootstrap: str, kind: str, name: str, operations: Sequence[str]) -> None:
    """Let nobody do anything with a topic or group but these operations; with none, not even know of it."""

    def rule(operation: str, permission: int) -> tuple[Any, ...]:
        return (_KINDS[kind], name, _LITERAL, "User:ANONYMOUS", "*", OPERATIONS[operation], permission)

    rules = [rule(one, _ALLOW) for one in operations] or [rule("read", _DENY), rule("describe", _DENY)]

    async def run() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await admin.start()
        try:
            answer = await admin._send_request(_Create(rules))
        finally:
            await admin.close()
        assert all(code == 0 for code, _words in answer.results), answer

    asyncio.run(run())
