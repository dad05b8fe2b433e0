"""What commands share: arguments and options, how they end, and the settings they run with."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

import click

from cxstream.config import ConfigError, Settings, load
from cxstream.domain.facts import is_text
from cxstream.domain.instant import parse_instant
from cxstream.domain.vocabulary import LONGEST_TEXT
from cxstream.offline.events_file import WrongLine
from cxstream.vital_signs import TIERS

WRONG_INPUT = 2
"""Exit status where some of the input was wrong; the rest has been processed."""

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FILES = click.argument("files", nargs=-1, required=True, type=FILE, metavar="FILE...")


class Instant(click.ParamType):
    """A point in time, in milliseconds since the epoch; written in RFC 3339."""

    name = "TIME"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it; a usage error says what was expected."""
        try:
            return parse_instant(str(value))
        except ValueError:
            expected = "an RFC 3339 time with an offset, like 2026-03-02T10:00:00Z, between 1970 and 9999 in UTC"
            self.fail(f"expected {expected}", param, ctx)


class CaseId(click.ParamType):
    """The id of a case, as events have it."""

    name = "ID"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Read it; a usage error says what was expected."""
        case_id = str(value)
        if not case_id or not is_text(case_id):
            self.fail(f"expected non-empty text in UTF-8 of at most {LONGEST_TEXT} characters", param, ctx)
        return case_id


class Tiers(click.ParamType):
    """Tiers of vital signs, written with commas between."""

    name = "TIERS"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Read them; a usage error says what was expected."""
        tiers = tuple(dict.fromkeys(str(value).upper().split(",")))
        if not set(tiers) <= set(TIERS):
            self.fail(f"expected one or more of {', '.join(TIERS)}, separated by commas", param, ctx)
        return tiers


AS_OF = click.option(
    "--as-of", "as_of_ms", type=Instant(), required=True, help="Clock reading; later deliveries are not seen."
)

CONFIG = click.option(
    "--config",
    "config_path",
    type=FILE,
    help="TOML file; CXSTREAM_* variables win over it.",
)


def settings_of(config_path: Path | None) -> Settings:
    """Return the settings of a file and the environment. Raises ClickException if they are wrong."""
    try:
        return load(config_path, os.environ)
    except ConfigError as error:
        raise click.ClickException(str(error)) from error


def end(wrong: Iterable[WrongLine]) -> NoReturn:
    """Tell the lines that were wrong, and exit with the status that says whether there were any."""
    status = 0
    for line in wrong:
        click.echo(str(line), err=True)
        status = WRONG_INPUT
    sys.exit(status)
