"""Writes the contract with upstreams and consumers as an AsyncAPI 3 document, from the table of topics."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, cast

AVRO = "application/vnd.apache.avro+json;version=1.9.0"
CONTENT_TYPE = "application/vnd.apache.avro"
BINDING = "0.5.0"
_FRAMING = (
    "Avro, in single-object encoding (C3 01 and the schema's CRC-64-AVRO fingerprint) or in Confluent framing (00 and"
    " the id of the schema at the registry)."
)
_REJECTED = (
    "A record that could not become a fact: its key and bytes as they were, its headers, and beside them why"
    " (cxstream.error.*, __streams.errors.*)."
)
_CONFIGURATION = {"cleanup.policy", "retention.ms", "retention.bytes", "delete.retention.ms", "max.message.bytes"}
"""Of a topic's configuration what the Kafka bindings of AsyncAPI have a place for."""


class Channel(NamedTuple):
    """A topic others write to or read from, with the schemas of its messages."""

    kind: str | None
    """ticket, dispatch, parts or verdict; None for dead letters, which have no schema of their own."""
    address: str
    purpose: str
    key: str
    partitions: int
    replicas: int
    configuration: Mapping[str, str]
    received: bool
    """True if the service reads it, False if it writes it."""
    schemas: Mapping[str, tuple[str, str]]
    """By name (`ticket/v1`): where the schema lies, relative to the document, and what it says of itself."""


def asyncapi(channels: Iterable[Channel], *, version: str, server: str, group: str) -> str:
    """Return the document as YAML: what the service receives and sends, and how it is keyed and written."""
    channels = list(channels)
    document = {
        "asyncapi": "3.0.0",
        "info": {
            "title": "cxstream",
            "version": version,
            "description": (
                "Ticket, dispatch and parts events of customers' cases in, changes of verdicts out. The names,"
                " partitions and copies are the defaults: `cxstream config` says what is in force where you are."
            ),
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": CONTENT_TYPE,
        "servers": {
            "kafka": {
                "host": server,
                "protocol": "kafka",
                "description": "TLS and SASL (PLAIN, SCRAM) where the brokers ask for them.",
            }
        },
        "channels": {_id(one): _channel(one) for one in channels},
        "operations": {
            ("receive_" if one.received else "send_") + _id(one): _operation(one, group) for one in channels
        },
        "components": {
            "messages": {_message_id(name): _message(one, name) for one in channels for name in one.schemas}
            | {"rejected": _rejected()}
        },
    }
    return "\n".join(_yaml(document)) + "\n"


def _id(channel: Channel) -> str:
    return re.sub(r"\W", "_", channel.address if channel.kind is None else channel.kind)


def _message_id(name: str) -> str:
    return name.replace("/", "_")


def _messages(channel: Channel) -> list[str]:
    return [_message_id(name) for name in channel.schemas] or ["rejected"]


def _channel(channel: Channel) -> dict[str, object]:
    configuration: dict[str, object] = {}
    for name, value in channel.configuration.items():
        if name == "cleanup.policy":
            configuration[name] = value.split(",")
        elif name in _CONFIGURATION and int(value) >= 0:
            configuration[name] = int(value)
    return {
        "address": channel.address,
        "description": f"{channel.purpose[0].upper()}{channel.purpose[1:]}. Key: {channel.key}, in UTF-8.",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in _messages(channel)},
        "bindings": {
            "kafka": {
                "partitions": channel.partitions,
                "replicas": channel.replicas,
                "topicConfiguration": configuration,
                "bindingVersion": BINDING,
            }
        },
    }


def _operation(channel: Channel, group: str) -> dict[str, object]:
    operation: dict[str, object] = {
        "action": "receive" if channel.received else "send",
        "channel": {"$ref": f"#/channels/{_id(channel)}"},
        "summary": f"{'Reads' if channel.received else 'Writes'} {channel.purpose}.",
    }
    if channel.received:
        reader = {"groupId": {"type": "string", "const": group}, "bindingVersion": BINDING}
        operation["bindings"] = {"kafka": reader}
    return operation


def _message(channel: Channel, name: str) -> dict[str, object]:
    where, doc = channel.schemas[name]
    return {
        "name": name,
        "title": f"{channel.purpose}, schema {name}",
        "summary": doc,
        "description": _FRAMING,
        "contentType": CONTENT_TYPE,
        "payload": {"schemaFormat": AVRO, "schema": {"$ref": where}},
        "bindings": _key(f"The {channel.key}, in UTF-8."),
    }


def _rejected() -> dict[str, object]:
    return {
        "name": "rejected",
        "title": "a record no worker could take",
        "summary": _REJECTED,
        "contentType": "application/octet-stream",
        "headers": {
            "type": "object",
            "properties": {
                "cxstream.error.reason": {"type": "string", "description": "Why, as one word."},
                "cxstream.error.detail": {"type": "string", "description": "Which field, and what was expected there."},
                "cxstream.error.topic": {"type": "string", "description": "The topic it was read from."},
                "cxstream.error.partition": {"type": "string", "description": "The partition it was read from."},
                "cxstream.error.offset": {"type": "string", "description": "The offset it was read at."},
            },
        },
        "payload": {"description": "The bytes of the record, unchanged; they may be anything."},
        "bindings": _key("The key of the record, unchanged."),
    }


def _key(description: str) -> dict[str, object]:
    return {"kafka": {"key": {"type": "string", "description": description}, "bindingVersion": BINDING}}


def _yaml(node: object, indent: str = "") -> Iterator[str]:
    """Yield a document line by line; texts are quoted as in JSON, which YAML reads the same."""
    entries = node.items() if isinstance(node, dict) else ((None, item) for item in cast("list[object]", node))
    for key, value in entries:
        head = f"{indent}-" if key is None else f"{indent}{_spelled(key)}:"
        if isinstance(value, dict | list) and value:
            yield head
            yield from _yaml(value, indent + "  ")
        else:
            yield f"{head} {json.dumps(value, ensure_ascii=False)}"


def _spelled(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z_][\w.]*", key) else json.dumps(key)
