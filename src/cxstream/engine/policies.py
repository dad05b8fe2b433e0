"""The policies a group has judged by: what is recorded of each, and in what one differs from another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec

Stated = Mapping[str, Any]
"""What a policy says: settings by dotted name, each as a configuration file would hold it."""


class PolicyRecord(msgspec.Struct, frozen=True):
    """One policy, and since when it is judged by."""

    fingerprint: str
    """As `cxstream_policy_info` shows it."""
    since_ms: int
    """When a worker first judged by it."""
    version: str
    """Of that worker."""
    settings: dict[str, Any]


def fingerprint_of(stated: Stated) -> str:
    """Return the twelve hexadecimal digits a policy is known by."""
    return sha256(msgspec.json.encode(stated, order="sorted")).hexdigest()[:12]


def differences(before: Stated, after: Stated) -> dict[str, tuple[Any, Any]]:
    """Return what two policies say differently, by setting; None where one of them does not have it."""
    names = sorted(before.keys() | after.keys())
    return {name: (before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)}


class Succession(NamedTuple):
    """A policy, and in what it differs from the one before it."""

    record: PolicyRecord
    changed: dict[str, tuple[Any, Any]]


def succession(records: Iterable[PolicyRecord], defaults: Stated) -> Iterator[Succession]:
    """Yield the policies by when they were first used; the first of them is held against the defaults."""
    before = defaults
    for record in sorted(records, key=lambda record: (record.since_ms, record.fingerprint)):
        yield Succession(record, differences(before, record.settings))
        before = record.settings
