"""The pages people read say what is there: links lead somewhere, commands, files and functions they name exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import click
import pytest

from cxstream.cli import main
from cxstream.config import load
from cxstream.config.reading import variables
from cxstream.vital_signs import CATALOGUE

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
ARCHITECTURE = ROOT / "docs" / "ARCHITECTURE.md"
RULES = ROOT / "docs" / "rules.md"

_FENCED = re.compile(r"^ *```.*?^ *```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`\n]+)`")
_PATH = re.compile(r"(?<![\w./-])(?:src|tests|docs|deploy|examples|schemas|scripts|requirements)/[\w./-]*[\w/]")
_RULE = re.compile(r"^\*\*Rule (\d+)\.(.*?)(?=\n\n|\Z)", re.DOTALL | re.MULTILINE)

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def code_of(page: Path) -> str:
    """Return what a page shows as code: fenced blocks, and spans between backticks; one a line."""
    text = page.read_text("utf-8")
    return "\n".join([*_FENCED.findall(text), *_CODE.findall(_FENCED.sub("", text))])


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", _FENCED.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


@cache
def defined() -> frozenset[str]:
    """Return every function, class and method of the product by name: `fold`, `Case`, `Case.advance`."""
    names: set[str] = set()
    for file in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef):
                for inner in node.body:
                    if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
                        names.add(f"{node.name}.{inner.name}")
                    elif isinstance(inner, ast.AnnAssign) and isinstance(inner.target, ast.Name):
                        names.add(f"{node.name}.{inner.target.id}")
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names.add(node.name)
    return frozenset(names)


@pages
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link names a file that is there, and a heading of it where it has an anchor."""
    for link in _LINK.findall(_FENCED.sub("", page.read_text("utf-8"))):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        if anchor:
            assert anchor in anchors(target), link


@pages
def test_commands_exist(page: Path) -> None:
    """Every `make X` and `cxstream X` in code is a target of the Makefile, a command of the program."""
    code = code_of(page)
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for line in re.findall(r"^ *make ([a-z][a-z -]*)", code, re.MULTILINE):
        assert set(line.split()) <= targets, line
    for name in re.findall(r"(?:^|/) *cxstream ([a-z][a-z-]*)\b(?!:)", code, re.MULTILINE):
        assert name in main.commands, name


@pages
def test_paths_exist(page: Path) -> None:
    """Every path of the repository that is named in code is there; `<name>` stands for any."""
    for path in _PATH.findall(re.sub(r"\S*<\w+>\S*", "", code_of(page))):
        assert (ROOT / path).exists(), path


def test_variables_for_development_are_no_settings() -> None:
    """What the Makefile, scripts and CONTRIBUTING name CXSTREAM_... is a setting, or a variable no command minds."""
    files = [ROOT / "Makefile", ROOT / "CONTRIBUTING.md", *(file for file in ROOT.glob("scripts/*") if file.is_file())]
    named = {name for file in files for name in re.findall(r"\bCXSTREAM_[A-Z_]*[A-Z]\b", file.read_text("utf-8"))}
    assert {"CXSTREAM_TEST_SHARED", "CXSTREAM_TEST_HISTORIES"} <= named
    load(None, dict.fromkeys(named - variables(), "x"))


def test_the_listing_of_folders_is_whole() -> None:
    """The architecture page lists every module and folder of the package, and no others."""
    listed = set(re.findall(r"^src/cxstream/([\w.]+)/? ", ARCHITECTURE.read_text("utf-8"), re.MULTILINE))
    there = {
        entry.name
        for entry in (ROOT / "src" / "cxstream").iterdir()
        if not entry.name.startswith((".", "__pycache__")) and entry.name != "__init__.py"
    }
    assert listed == there


@pytest.mark.parametrize("page", [ARCHITECTURE, *sorted(ROOT.glob("docs/adr/0*.md"))], ids=lambda page: page.stem)
def test_functions_exist(page: Path) -> None:
    """Every method the architecture and the decisions name is defined in the product."""
    ours = {name.partition(".")[0] for name in defined()}
    for owner, name in re.findall(r"\b(_?[A-Z]\w+)\.(_?[a-z]\w*)\b", code_of(page)):
        if owner in ours:
            assert f"{owner}.{name}" in defined()


def test_every_command_has_its_heading_and_every_option_its_row() -> None:
    """docs/cli.md has a heading for every command, under it a row for each option and argument, and no others."""
    sections = (ROOT / "docs" / "cli.md").read_text("utf-8").split("\n## ")[1:]
    described = {section.split("\n")[0].removeprefix("cxstream "): section for section in sections}
    assert set(described) == set(main.commands)
    for name, command in main.commands.items():
        rows = set(re.findall(r"^\| `([\w.-]+)", described[name], re.MULTILINE))
        within = command.commands.values() if isinstance(command, click.Group) else ()
        expected = {
            param.opts[0] if isinstance(param, click.Option) else (param.metavar or str(param.name))
            for one in (command, *within)
            for param in one.params
        }
        assert rows == expected, name


def test_decisions_are_listed() -> None:
    """Every decision is a page with its number, in the list of decisions, without a gap."""
    files = sorted(path.name for path in (ROOT / "docs" / "adr").glob("0*.md"))
    assert [int(name[:4]) for name in files] == list(range(1, len(files) + 1))
    listed = re.findall(r"\((0[\w-]+\.md)\)", (ROOT / "docs" / "adr" / "README.md").read_text("utf-8"))
    assert listed == files
    for number, name in enumerate(files, start=1):
        assert (ROOT / "docs" / "adr" / name).read_text("utf-8").startswith(f"# {number}. ")


def test_the_rules_are_numbered_and_say_what_is_not_built() -> None:
    """docs/rules.md has each rule once, in order; one that names signs is marked as not built while they are not."""
    rules = _RULE.findall(RULES.read_text("utf-8"))
    assert [int(number) for number, _ in rules] == list(range(1, len(rules) + 1))
    for number, text in rules:
        signs = re.findall(r"^ ([a-z]+(?:_[a-z]+)+)\*\*", text)
        for sign in signs:
            assert ("not built yet" not in text) == (sign in CATALOGUE), f"rule {number}: {sign}"
