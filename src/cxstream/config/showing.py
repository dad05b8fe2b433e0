"""Shows the settings: the effective configuration as TOML, and the reference page."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from cxstream.config.inventory import GROUPS, SETTINGS, table_of
from cxstream.config.settings import Settings

_INTRODUCTION = Path(__file__).with_name("introduction.md")
_OF_POLICY = frozenset(
    {
        *(setting.name for setting in SETTINGS if setting.name.startswith("policy.")),
        *("policy_for", "objectives", "objectives_for", "sign_tiers", "limits.max_facts_per_case", "ledger.windows"),
    }
)
"""Settings a verdict, or whether it is good enough, depends on."""
_HEAD = ("| setting | variable | default | what it is |", "|---|---|---|---|")


def as_written(settings: Settings) -> dict[str, Any]:
    """Return every setting by its dotted name as a file would hold it, None where it is not set; secrets are masked."""
    tree = settings.model_dump(mode="json", by_alias=True)
    places = {setting.name: table_of(tree, setting.name.split(".")) for setting in SETTINGS}
    return {name: table[key] for name, (table, key) in places.items()}


def policy_stated(settings: Settings) -> dict[str, Any]:
    """Return all that verdicts are judged by, and held against: these settings by name as a file would hold them.

    Objectives are those in force, the catalogue's included.
    """
    stated = {name: value for name, value in as_written(settings).items() if name in _OF_POLICY}
    return {**stated, "sign_tiers": sorted(settings.sign_tiers), "objectives": settings.objective_ratios()}


def describe(settings: Settings) -> str:
    """Write the effective configuration as TOML, each value with where it came from; secrets are masked.

    What is not set, and secrets, are comments: read back, the text gives the same settings but for the secrets.
    """
    lines = ["# The effective configuration of cxstream; behind each value, where it came from."]
    values = as_written(settings)
    group = ""
    for setting in SETTINGS:
        in_group, _, key = setting.name.rpartition(".")
        if in_group != group:
            group = in_group
            lines += ["", f"[{group}]"]
        value = values[setting.name]
        line = f"{key} is not set" if value is None else f"{key} = {to_toml(value)}"
        comment = "# " if value is None or setting.secret else ""
        lines.append(f"{comment}{line}  # {settings.origins.get(setting.name, 'default')}")
    return "\n".join(lines) + "\n"


def to_toml(value: object) -> str:
    """Write a value on one line."""
    if isinstance(value, dict):
        keys = {key: key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else to_toml(key) for key in value}
        return f"{{ {', '.join(f'{keys[key]} = {to_toml(item)}' for key, item in value.items())} }}" if value else "{}"
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return f"[{', '.join(map(to_toml, value))}]"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def reference() -> str:
    """Write docs/configuration.md: every setting, its variable, its default and what it must be."""
    lines = _INTRODUCTION.read_text("utf-8").splitlines()
    defaults = as_written(Settings())
    group: str | None = None
    for setting in SETTINGS:
        in_group, _, _ = setting.name.rpartition(".")
        if in_group != group:
            group = in_group
            title, about = (f"`[{group}]`", GROUPS[group]) if group else ("Top level", Settings.__doc__ or "")
            lines += [
                "",
                f"## {title}",
                "",
                about,
                "",
                "| setting | variable | default | what it is |",
                "|---|---|---|---|",
            ]
        variable = f"`{setting.variable}`" + (f" or `{setting.variable}_FILE`" if setting.secret else "")
        default = defaults[setting.name]
        shown = "" if default is None else f"`{to_toml(default)}`"
        cells = (f"`{setting.name}`", variable, shown, f"{setting.about} Expected: {setting.expected}.")
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines) + "\n"
