"""Commands about dead letters: list, show, replay, park."""

from __future__ import annotations

import logging.config
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cxstream.cli.options import CONFIG, Instant, settings_of
from cxstream.config import Settings

if TYPE_CHECKING:
    from cxstream.dead_letters.replaying import Fate, Options, Outcome
    from cxstream.dead_letters.running import DeadLetters, Selection

F = TypeVar("F", bound=Callable[..., Any])

_SELECTION = (
    CONFIG,
    click.option("--since", "since_ms", type=Instant(), help="Only letters rejected then or later."),
    click.option("--until", "until_ms", type=Instant(), help="Only letters rejected before."),
    click.option("--reason", "reasons", multiple=True, help="Only letters rejected for this reason; may be repeated."),
    click.option("--topic", help="Only letters of this source: ticket, dispatch, parts, or the name of a topic."),
)
_RUN = (
    click.option("--yes", "is_meant", is_flag=True, help="Do it; without, only say what would be done."),
    click.option("--max", "maximum", type=click.IntRange(1), help="Stop after so many."),
    click.option("--rate", "per_second", type=click.IntRange(1), help="Letters a second. Default: the setting."),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object."),
)


def _with(*options: Callable[[F], F]) -> Callable[[F], F]:
    def decorate(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


@click.group("dead-letters")
def dead_letters() -> None:
    """List, show, replay and park records that could not become facts."""


@dead_letters.command("list")
@_with(*_SELECTION)
@click.option("--parked", is_flag=True, help="List the letters that were parked.")
@click.option("--limit", type=click.IntRange(0), default=20, show_default=True, help="The last ones to tell in full.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def list_(config_path: Path | None, limit: int, *, as_json: bool, **selected: Any) -> None:  # noqa: ANN401  # _SELECTION
    """Count dead letters by reason, source, partition and age, and tell the last ones."""
    selection = _selection(**selected)
    with _asking(settings_of(config_path)) as letters:
        survey = letters.survey(selection, limit)
    click.echo(orjson.dumps(survey.document()) if as_json else survey.text(), nl=as_json)


@dead_letters.command()
@CONFIG
@click.argument("topic", metavar="TOPIC")
@click.argument("partition", metavar="PARTITION", type=click.IntRange(0))
@click.argument("offset", metavar="OFFSET", type=click.IntRange(0))
@click.option("--payload", is_flag=True, help="Show what it says, too: case data.")
def show(config_path: Path | None, topic: str, partition: int, offset: int, *, payload: bool) -> None:
    """Show one dead letter: why it was rejected, what it is, and whether it would be accepted now."""
    with _asking(settings_of(config_path)) as letters:
        found = letters.show(topic, partition, offset, payload=payload)
    if found is None:
        raise click.ClickException(f"there is no record at {topic} {partition} {offset}")
    click.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2))


@dead_letters.command()
@_with(*_SELECTION, *_RUN)
@click.option("--max-replays", type=click.IntRange(1), help="Park what was sent again so often. Default: the setting.")
@click.option("--park-rejected", is_flag=True, help="Park what would be rejected again; without, it is left there.")
@click.option("--again", is_flag=True, help="Begin at the start, not where an earlier run with these filters ended.")
@click.option("--parked", is_flag=True, help="Send parked letters again.")
def replay(
    config_path: Path | None,
    max_replays: int | None,
    *,
    park_rejected: bool,
    again: bool,
    **given: Any,  # noqa: ANN401  # of _SELECTION and _RUN
) -> None:
    """Send dead letters to their topics again, those that would be accepted now. A dry run unless --yes is given."""
    settings = settings_of(config_path)
    run, as_json, selected = _run_of(settings, **given)
    guard = max_replays or settings.dead_letters.max_replays
    options = run._replace(max_replays=guard, parks_rejected=park_rejected, again=again)
    with _asking(settings) as letters, _progress("replay") as progress:
        outcome = letters.replay(selected, options, progress)
    for topic in sorted(outcome.untrusted):
        click.echo(
            f"warning: {topic} is not one of kafka.trusted_topics: what is sent again there counts as delivered now,"
            " not when it first came, so units that have been sealed since do not count it",
            err=True,
        )
    _tell(outcome, "replayed", as_json=as_json)


@dead_letters.command()
@_with(*_SELECTION, *_RUN)
def park(config_path: Path | None, **given: Any) -> None:  # noqa: ANN401  # of _SELECTION and _RUN
    """Move dead letters to <topic>.parked, as they are. A dry run unless --yes is given."""
    settings = settings_of(config_path)
    options, as_json, selected = _run_of(settings, **given)
    with _asking(settings) as letters, _progress("park") as progress:
        outcome = letters.park(selected, options, progress)
    _tell(outcome, "parked", as_json=as_json)


def _selection(
    since_ms: int | None, until_ms: int | None, reasons: tuple[str, ...], topic: str | None, *, parked: bool = False
) -> Selection:
    from cxstream.dead_letters.running import Selection, UnknownReasonError, reasons_of  # noqa: PLC0415 - as in _asking

    try:
        return Selection(topic, since_ms, until_ms, reasons_of(reasons), parked)
    except UnknownReasonError as error:
        raise click.BadParameter(str(error), param_hint="--reason") from error


def _run_of(
    settings: Settings,
    *,
    is_meant: bool,
    maximum: int | None,
    per_second: int | None,
    as_json: bool,
    **selected: Any,  # noqa: ANN401  # of _SELECTION
) -> tuple[Options, bool, Selection]:
    from cxstream.dead_letters.replaying import Options  # noqa: PLC0415 - as in _asking

    options = Options(not is_meant, maximum, per_second or settings.dead_letters.replays_per_second)
    return options, as_json, _selection(**selected)


@contextmanager
def _asking(settings: Settings) -> Iterator[DeadLetters]:
    """Hand out the letters of a group; what goes wrong is told in a line."""
    from aiokafka.errors import KafkaError  # noqa: PLC0415 - a second to import; other commands need not wait

    from cxstream.dead_letters.letters import UnknownTopicError  # noqa: PLC0415
    from cxstream.dead_letters.reading import StalledError  # noqa: PLC0415
    from cxstream.dead_letters.running import DeadLetters  # noqa: PLC0415
    from cxstream.dead_letters.sending import NoParkingError  # noqa: PLC0415
    from cxstream.kafka.schemas import RegistryUnavailableError  # noqa: PLC0415
    from cxstream.worker import logging_config  # noqa: PLC0415

    logging.config.dictConfig(logging_config(settings))
    try:
        yield DeadLetters(settings)
    except UnknownTopicError as error:
        raise click.ClickException(str(error)) from error
    except (StalledError, NoParkingError, RegistryUnavailableError) as error:
        raise click.ClickException(f"{error}; what was done before stays done, and the same command goes on") from error
    except (KafkaError, OSError) as error:
        message = f"the brokers of {settings.kafka.bootstrap} could not be asked: {error or type(error).__name__}"
        raise click.ClickException(message) from error


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on a terminal; elsewhere nothing."""
    console = Console(stderr=True)
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _tell(outcome: Outcome, done: Fate, *, as_json: bool) -> None:
    if as_json:
        click.echo(orjson.dumps(outcome.document()))
    else:
        for line in outcome.lines(done):
            click.echo(line)
    if outcome.is_interrupted:
        click.echo("interrupted: the same command goes on from here", err=True)
        sys.exit(130)
