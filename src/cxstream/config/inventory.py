"""The settings by their dotted names, read off the types: how their variables are written, and what is expected."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from cxstream.config.settings import Entry, Group, Settings
from cxstream.config.types import Says, Secret, shown

PREFIX = "CXSTREAM_"
_WORDS = dict.fromkeys(("true", "1", "yes", "on"), True) | dict.fromkeys(("false", "0", "no", "off"), False)
_NUMBER = re.compile(r"\s*-?[0-9]{1,15}(\.[0-9]{1,15})?\s*")


class Setting(NamedTuple):
    """One setting: its dotted name as in the file, its type as annotated, and what it is about."""

    name: str
    kind: Any
    about: str

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return PREFIX + self.name.replace(".", "_").upper()

    @property
    def secret(self) -> bool:
        """True if its value is never shown and may be read from a file of its own."""
        return bool(self.kind == Secret | None)

    @property
    def expected(self) -> str:
        """What it must be: the rest of a sentence that begins with "expected"."""
        return _expected(self.kind)

    def parse(self, text: str) -> object:
        """Turn the text of its variable into what a file would hold. Raises ValueError."""
        return _parse(self.kind, text)


def table_of(tree: dict[str, Any], path: Sequence[str]) -> tuple[dict[str, Any], str]:
    """Return the table of a setting in nested tables, made if missing, and its key there."""
    for group in path[:-1]:
        inner: object = tree.setdefault(group, {})
        tree = inner if isinstance(inner, dict) else {}
    return tree, path[-1]


def _bare(kind: Any) -> tuple[Any, tuple[Any, ...]]:  # noqa: ANN401  # a type is a value of any type
    """Return a type without None and annotations, and these."""
    if get_origin(kind) in (Union, UnionType):
        return _bare(get_args(kind)[0])
    if get_origin(kind) is Annotated:
        inner, notes = _bare(kind.__origin__)
        return inner, (*notes, *kind.__metadata__)
    return kind, ()


def _parse(kind: Any, text: str, separator: str | None = ",") -> object:  # noqa: ANN401
    optional, (kind, _) = get_origin(kind) in (Union, UnionType), _bare(kind)
    text, base = text.strip(), get_origin(kind) or kind
    if optional and not text:
        return None
    if base is bool:
        return _WORDS.get(text.lower(), text)
    if base in (int, float) and _NUMBER.fullmatch(text):
        return float(text) if "." in text else int(text)
    if base not in (tuple, frozenset, dict):
        return text
    if base is tuple and _is_entry(get_args(kind)[0]):
        return _json(text) if text else []
    parts = [part.strip() for part in text.split(separator)] if text else []
    if base is not dict:
        return [_parse(get_args(kind)[0], part) for part in parts]
    entries: dict[str, object] = {}
    for part in parts:
        key, equals, item = part.partition("=")
        if not equals:
            raise ValueError(f"found {shown(part)} where key=value should be")
        if key.strip() in entries:
            raise ValueError(f"found {shown(key.strip())} 2 times")
        entries[key.strip()] = _parse(get_args(kind)[1], item, None)  # a list in a table is separated by spaces
    return entries


def _is_entry(kind: Any) -> bool:  # noqa: ANN401
    return isinstance(kind, type) and issubclass(kind, Entry)


def _json(text: str) -> object:
    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        for name, count in Counter(name for name, _ in pairs).items():
            if count > 1:
                raise ValueError(f"found {shown(name)} {count} times")
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        raise ValueError(f"found {shown(text)}, which is no JSON ({error})") from None
    except RecursionError:
        raise ValueError("found tables in tables in tables") from None


def expected_of_field(group: type[Group], path: Sequence[object]) -> str:
    """Return what a field of a group, or an entry of its table, must be; a path that ends in `[key]` is of a key."""
    name, *within = path
    field = group.model_fields[str(name)]
    kind: Any = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
    if within and get_origin(_bare(kind)[0]) is dict:
        key, item = get_args(_bare(kind)[0])
        kind = key if within[-1] == "[key]" else item
    return _expected(kind)


def _expected(kind: Any) -> str:  # noqa: ANN401
    kind, notes = _bare(kind)
    for note in notes:
        if isinstance(note, Says):
            return note
    limits = ("ge", "le", "min_length", "max_length")
    limit = {name: getattr(note, name) for note in notes for name in limits if getattr(note, name, None) is not None}
    inner = [_expected(arg) for arg in get_args(kind) if arg is not ...] if get_origin(kind) is not Literal else []
    match (get_origin(kind) or kind).__name__:
        case "bool":
            return "true or false"
        case "int":
            return f"a whole number from {limit['ge']} to {limit['le']}"
        case "float":
            return f"seconds from {limit['ge']:g} to {limit['le']:g}"
        case "dict":
            return f"a table of at most {limit['max_length']} entries, each {inner[0]} = {inner[1]}"
        case "tuple" | "frozenset":
            most, least = limit["max_length"], limit.get("min_length")
            return f"a list of {f'{least} to' if least else 'at most'} {most} different items, each {inner[0]}"
        case _:
            *words, last = get_args(kind)
            return f"{', '.join(words)} or {last}"


def _settings_of(group: type[Group], prefix: str = "") -> Iterator[Setting]:
    """Yield the settings of a group, its own before those of groups within it."""
    groups = {inner for _, inner in _groups_in(group)}
    for key, field in group.model_fields.items():
        if field.annotation not in groups:
            kind = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
            yield Setting(prefix + key, kind, (field.description or "").replace("\n", " "))
    for key, inner in _groups_in(group):
        yield from _settings_of(inner, f"{prefix}{key}.")


def _groups_of(group: type[Group], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, inner in _groups_in(group):
        yield prefix + key, inner.__doc__ or ""
        yield from _groups_of(inner, f"{prefix}{key}.")


def _groups_in(group: type[Group]) -> Iterator[tuple[str, type[Group]]]:
    for name, field in group.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Group):
            yield field.alias or name, field.annotation


SETTINGS = tuple(_settings_of(Settings))
"""Every setting there is, group by group."""
ENTRIES: dict[str, type[Entry]] = {
    setting.name: get_args(bare[0])[0]
    for setting in SETTINGS
    if get_origin((bare := _bare(setting.kind))[0]) is tuple and _is_entry(get_args(bare[0])[0])
}
"""What the items are of every setting that is a list of tables."""
GROUPS = dict(_groups_of(Settings))
"""What every group is about, by its dotted name."""
