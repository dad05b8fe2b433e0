"""Reads the settings from variables and a TOML file; pydantic judges them, and everything wrong is told at once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import InitSettingsSource, TomlConfigSettingsSource

from cxstream.config.inventory import ENTRIES, GROUPS, PREFIX, SETTINGS, Setting, expected_of_field, table_of
from cxstream.config.settings import NOT_OF_A_CASE, Entry, PolicyFor, Settings, Where, clashes
from cxstream.config.types import nearest, shown

CONFIG_VARIABLE = "CXSTREAM_CONFIG"
TEST_PREFIX = "CXSTREAM_TEST_"
"""Variables of the test suite, which a worker started by it inherits; they are no settings."""
MAX_FILE_BYTES = 1024 * 1024
MAX_SECRET_BYTES = 64 * 1024

_SERVICE_LINK = re.compile(
    rf"{PREFIX}([A-Z0-9_]+_)?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
"""Kubernetes gives every pod such variables, and a ..._PORT that is a URL, for a Service named cxstream-something."""
_NAMED = {setting.name: setting for setting in SETTINGS}


class Problem(NamedTuple):
    """One thing that is wrong: with which setting, given by whom, what was found and what is expected."""

    setting: str
    """Dotted name of the setting, or of what was taken for one."""
    variable: str
    """Its environment variable; empty where it has none."""
    wrong: str
    expected: str

    def __str__(self) -> str:
        named = f"{self.setting} ({self.variable})" if self.variable else self.setting
        return f"{named}: {self.wrong}; expected {self.expected}"


class ConfigError(Exception):
    """The configuration cannot be used; `problems` are all there are. No message shows a secret."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        head = "1 setting is wrong" if count == 1 else f"{count} settings are wrong"
        super().__init__("\n  ".join([f"{head}:", *map(str, self.problems)]))


def variables() -> frozenset[str]:
    """Return every environment variable the service reads."""
    secrets = {f"{setting.variable}_FILE" for setting in SETTINGS if setting.secret}
    return frozenset({setting.variable for setting in SETTINGS} | secrets | {CONFIG_VARIABLE})


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Read the settings: variables before the file before defaults; `path` None is the file of CXSTREAM_CONFIG, if any.

    Raises ConfigError listing everything that is wrong.
    """
    if path is None and environ.get(CONFIG_VARIABLE):
        path = Path(environ[CONFIG_VARIABLE])
    ours = {name: text for name, text in environ.items() if _is_ours(name, text)}
    problems: list[Problem] = []
    in_file = _read_file(path, problems) if path else {}
    for name in sorted(ours.keys() - variables()):
        expected = nearest(name, variables()) or "a variable of the reference"
        problems.append(Problem(name, "", "there is no such variable", expected))
    origins: dict[str, str] = {}
    known: dict[str, Any] = {}
    wrong: set[str] = set()
    for setting in SETTINGS:
        try:
            given = _given(setting, ours, in_file)
        except ValueError as reason:
            problems.append(Problem(setting.name, setting.variable, str(reason), setting.expected))
            wrong.add(setting.name)
            continue
        if given is not None:
            table, key = table_of(known, setting.name.split("."))
            origins[setting.name], table[key] = given
    settings, errors = _judge(known, in_file)
    for error in errors:
        problems.append(_problem(error, origins))
        wrong.add(problems[-1].setting)
    for names, found, expected in clashes(settings):
        if wrong.isdisjoint(names):
            problems.append(Problem(names[0], _NAMED[names[0]].variable, found, expected))
    if problems:
        raise ConfigError(problems)
    settings.origins.update(origins)
    return settings


def _is_ours(name: str, text: str) -> bool:
    if not name.startswith(PREFIX) or name.startswith(TEST_PREFIX) or _SERVICE_LINK.fullmatch(name):
        return False
    return not (name.endswith("_PORT") and re.match(r"(tcp|udp|sctp)://", text))


def _read_file(path: Path, problems: list[Problem]) -> dict[str, Any]:
    try:
        with path.open("rb") as file:  # the source takes a file that is missing for an empty one
            if len(file.read(MAX_FILE_BYTES + 1)) <= MAX_FILE_BYTES:
                return TomlConfigSettingsSource(Settings, path)()
        reason = "it is larger"
    except OSError as error:
        reason = f"it cannot be read ({error.strerror})"
    except UnicodeDecodeError:
        reason = "it is not UTF-8"
    except (ValueError, RecursionError) as error:  # a TOMLDecodeError tells line and column, and quotes nothing
        reason = f"it is not TOML ({error})"
    problems.append(Problem(str(path), CONFIG_VARIABLE, reason, f"a TOML file of at most {MAX_FILE_BYTES} bytes"))
    return {}


def _given(setting: Setting, environ: Mapping[str, str], in_file: dict[str, Any]) -> tuple[str, object] | None:
    """Return where a setting comes from, and what is given there. Raises ValueError if that cannot be read."""
    variable, (table, key) = setting.variable, table_of(in_file, setting.name.split("."))
    if not setting.secret:
        if variable in environ:
            return f"env {variable}", setting.parse(environ[variable])
        return ("file", table[key]) if key in table else None
    of_file = {name: table.pop(name, None) for name in (key, f"{key}_file")}
    choices: tuple[tuple[str, Mapping[str, object], str, str], ...] = (
        ("env {}", environ, variable, f"{variable}_FILE"),
        ("file", of_file, key, f"{key}_file"),
    )
    for origin, source, one, other in choices:
        if source.get(one) and source.get(other):
            raise ValueError(f"{one} and {other} are both set")
        if source.get(other):
            return origin.format(other), SecretStr(_secret_of(source[other], other))
        if source.get(one):
            return origin.format(one), SecretStr(text) if isinstance(text := source[one], str) else text
    return None


def _secret_of(path: object, named_by: str) -> str:
    """Return the secret a file holds, without the newline at its end. A path is not shown: it may be the secret."""
    what = f"the file that {named_by} names"
    try:
        with Path(str(path)).open("rb") as file:
            content = file.read(MAX_SECRET_BYTES + 1)
        text = content.decode().removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise ValueError(f"{what} cannot be read ({error.strerror})") from None
    except ValueError:
        raise ValueError(f"{what} is not UTF-8") from None
    if not text or len(content) > MAX_SECRET_BYTES:
        raise ValueError(f"{what} is empty" if not text else f"{what} is larger than {MAX_SECRET_BYTES} bytes")
    return text


def _judge(*trees: dict[str, Any]) -> tuple[Settings, list[ErrorDetails]]:
    """Return the settings, what counts more first, and what is wrong and has been left out of them."""
    try:
        return _settings(trees), []
    except ValidationError as refused:
        errors = refused.errors(include_url=False)
    for error in errors:
        for tree in trees:
            table, key = table_of(tree, _path(error))
            table.pop(key, None)
    return _settings(trees), errors


def _settings(trees: Iterable[dict[str, Any]]) -> Settings:
    return Settings(_build_sources=(tuple(InitSettingsSource(Settings, tree) for tree in trees), {}))


def _path(error: ErrorDetails) -> tuple[str, ...]:
    """Return the keys of the setting, or of what was taken for one, that an error is about."""
    keys = tuple(map(str, error["loc"]))
    return next((keys[:depth] for depth in range(1, len(keys)) if ".".join(keys[:depth]) in _NAMED), keys)


def _problem(error: ErrorDetails, origins: Mapping[str, str]) -> Problem:
    name = ".".join(_path(error))
    if error["type"] == "extra_forbidden" and name not in ENTRIES:
        known = [*_NAMED, *GROUPS, *(f"{setting.name}_file" for setting in SETTINGS if setting.secret)]
        expected = nearest(name, known) or "a name of the reference"
        return Problem(name, "", "there is no such setting in the file", expected)
    if name not in _NAMED:
        return Problem(name, "", f"found {shown(error['input'])}", f"a table [{name}]")
    where = " in the file" if origins.get(name) == "file" else ""
    if name in ENTRIES and len(error["loc"]) > 1:
        found, expected = _of_entry(error, ENTRIES[name], _NAMED[name].expected, where)
        return Problem(name, _NAMED[name].variable, found, expected)
    found = "found something that is no text" if _NAMED[name].secret else _found(error)
    return Problem(name, _NAMED[name].variable, f"{found}{where}", _NAMED[name].expected)


def _of_entry(error: ErrorDetails, entry: type[Entry], expected: str, where: str) -> tuple[str, str]:
    """Return what is wrong with one table of a list, by its number and field, and what is expected there."""
    number, *fields = error["loc"][1:]
    named = ".".join(shown(one)[1:-1] for one in map(str, fields) if one not in ("objectives", "[key]"))
    place = f"entry {int(number) + 1}{named and f', {named}'}{where}"
    group: type[Entry | Where] = entry
    if fields[:1] == ["where"] and len(fields) > 1:
        group, fields = Where, fields[1:]
    if error["type"] == "extra_forbidden":
        return f"{place}: there is no such name", nearest(str(fields[0]), group.model_fields) or expected
    if not fields:
        return f"{place}: {_found(error)}", expected
    if group is PolicyFor and fields[0] in NOT_OF_A_CASE:
        return f"{place}: {_found(error)}", f"{fields[0]} in [policy] alone"
    found = "not there" if error["type"] == "missing" else _found(error)
    return f"{place}: {found}", expected_of_field(group, fields)


def _found(error: ErrorDetails) -> str:
    match error["type"]:
        case "value_error":
            found = str(error["ctx"]["error"])
        case "too_short" | "too_long":
            found = f"found {len(error['input'])} items"
        case "string_unicode":
            found = "found bytes that are not UTF-8"
        case _:
            found = f"found {shown(error['input'])}"
    within = error["loc"][len(_path(error)) :]
    return f"{shown(within[0])}: {found}" if within and isinstance(within[0], str) else found
