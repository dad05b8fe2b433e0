"""The capacity planner of docs/performance.md: its example is what its own formula makes of its own constants."""

from __future__ import annotations

import re
from math import ceil
from pathlib import Path

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "performance.md").read_text("utf-8")


def section() -> str:
    """Return the planner's section."""
    return PAGE.split("## Capacity planner")[1].split("\n## ")[0]


def constants(text: str) -> dict[str, float]:
    """Return what was measured: the first table."""
    return {
        name: float(value)
        for name, value in re.findall(r"^\| `(\w+)` \| ([\d.]+) \|.*\| `\w+` \|$", text, re.MULTILINE)
    }


def asked(text: str) -> dict[str, float]:
    """Return what the example asks for."""
    return {name: float(value) for name, value in re.findall(r"`(\w+)` = (\d+(?:\.\d+)?)", text)}


def planned(text: str, given: dict[str, float]) -> dict[str, float]:
    """Return what the formula makes of it: the block is Python, and is run as it stands."""
    formula = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]
    names: dict[str, float] = dict(given)
    exec(formula, {"ceil": ceil, "max": max}, names)  # noqa: S102 - the page's own formula
    return {name: value for name, value in names.items() if name not in given}


def shown(text: str) -> dict[str, str]:
    """Return what the example says it comes to: the second table."""
    return dict(re.findall(r"^\| `(\w+)` \| ([\d.,]+) \| [^|]*\|$", text, re.MULTILINE))


def test_the_example_is_what_the_formula_gives() -> None:
    """Every line of the formula has its result in the example, to the digits shown, and nothing else is shown."""
    text = section()
    results = planned(text, {**constants(text), **asked(text)})
    example = shown(text)
    assert results.keys() == example.keys()
    for name, value in results.items():
        digits = len(example[name].partition(".")[2])
        assert example[name] == f"{value:,.{digits}f}", name


def test_every_constant_is_used_and_every_name_known() -> None:
    """A constant no line uses is no constant of the planner; what the example asks is what the page says is asked."""
    text = section()
    formula = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]
    used = set(re.findall(r"[a-z]\w+", formula))
    assert {*constants(text), *asked(text)} <= used
    assert len(constants(text)) == len(re.findall(r"^\| `\w+` \| .*\| `\w+` \|$", text, re.MULTILINE))
    assert planned(text, {**constants(text), **asked(text)})["workers"] <= asked(text)["partitions"]
