"""Fewer recording rules for tests that have promtool evaluate them again and again: only those that are asked for."""

from __future__ import annotations

from collections.abc import Iterable

from cxstream.render.rules import Rule


def rules_under(rules: Iterable[Rule], asked: str) -> list[Rule]:
    """Return the rules whose series a text names, and those that these rest on, in their order."""
    found: list[Rule] = []
    for rule in reversed(list(rules)):
        if rule.record in asked:
            found.append(rule)
            asked += rule.expr
    return found[::-1]
