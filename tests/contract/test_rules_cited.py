"""Every rule of the vital-signs page is held by a test that cites it."""

from __future__ import annotations

import ast
import os
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
SHARED = Path(os.environ.get("CXSTREAM_TEST_SHARED", TESTS.parents[1] / "shared"))
PAGE = SHARED / "spec" / "vital-signs.md"
LAST_RULE = 26
RULES = TESTS.parent / "docs" / "rules.md"

FOLDERS = ("unit", "property", "contract", "golden", "simulation", "integration", "e2e")
"""Tests of the product; the oracle's own tests hold nothing of it."""

_CITATION = re.compile(r"\brules? (\d+(?:(?:, and |, | and )\d+)*)")


def cited_in(docstring: str) -> set[int]:
    """Return the rule numbers a docstring cites: "rule 3", "rules 3 and 9", "rules 1, 2 and 9"; a range cites none."""
    found = _CITATION.findall(" ".join(docstring.split()))
    return {int(number) for citation in found for number in re.findall(r"\d+", citation)}


@cache
def citations() -> dict[int, list[str]]:
    """Return the tests that cite a rule, by its number."""
    found: dict[int, list[str]] = {}
    for file in sorted(file for folder in FOLDERS for file in (TESTS / folder).glob("test_*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                for rule in cited_in(ast.get_docstring(node) or ""):
                    found.setdefault(rule, []).append(f"{file.name}::{node.name}")
    return found


@pytest.mark.parametrize(
    ("docstring", "rules"),
    [
        ("It holds (rule 3).", {3}),
        ("It holds (rules 3 and 9).", {3, 9}),
        ("It holds (rules 1, 2 and 9).", {1, 2, 9}),
        ("It holds (rules 3, 23).", {3, 23}),
        ("It holds (rules 3,\n    and 23).", {3, 23}),
        ("The rules of 3 games, overrule 5.", set()),
    ],
)
def test_how_a_rule_is_cited(docstring: str, rules: set[int]) -> None:
    """A citation is the word rule and its number in the docstring of a test."""
    assert cited_in(docstring) == rules


def cited(rule: int) -> list[str]:
    """Return the tests that hold a rule: those of the demo and of this file hold nothing."""
    return [
        test for test in citations().get(rule, []) if not test.startswith((Path(__file__).name, "test_upstream.py"))
    ]


@pytest.mark.parametrize("rule", range(1, LAST_RULE + 1))
def test_every_rule_is_cited(rule: int) -> None:
    """A rule is cited by at least one test that holds it."""
    assert cited(rule)


def test_no_test_cites_a_rule_that_is_not_there() -> None:
    """Citations are numbers of the page: 1 to the last."""
    assert set(citations()) <= set(range(1, LAST_RULE + 1))


def test_the_rules_of_the_repository_are_these() -> None:
    """docs/rules.md states rules up to the last number that tests must cite."""
    numbers = re.findall(r"^\*\*Rule (\d+)\.", RULES.read_text("utf-8"), re.MULTILINE)
    assert int(numbers[-1]) == LAST_RULE, f"the last rule of docs/rules.md is {numbers[-1]}: mend LAST_RULE here"


def test_the_page_has_these_rules() -> None:
    """The page numbers its rules 1 to the last without a gap."""
    if not PAGE.exists():
        pytest.skip(f"THE PAGE WAS NOT READ: {PAGE} is not there; set CXSTREAM_TEST_SHARED to the shared folder")
    numbers = [int(number) for number in re.findall(r"^(\d+)\. ", PAGE.read_text("utf-8"), re.MULTILINE)]
    assert numbers == list(range(1, LAST_RULE + 1))
