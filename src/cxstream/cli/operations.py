"""Commands of those who run the service: doctor, topics, status."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from cxstream.cli.options import CONFIG, settings_of

if TYPE_CHECKING:
    from cxstream.operations.findings import Progress as Tell

UNREACHABLE = 2
"""Exit status where the brokers could not be asked."""

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
TIMEOUT = click.option(
    "--timeout",
    "timeout_seconds",
    type=click.FloatRange(0.5, 600),
    default=10.0,
    show_default=True,
    help="Seconds to wait for the records of one topic.",
)
_Answer = TypeVar("_Answer")
_COLOURS = {"ok": "green", "warning": "yellow", "error": "red"}


@click.command()
@CONFIG
@click.option(
    "--samples",
    type=click.IntRange(0, 100_000),
    default=100,
    show_default=True,
    help="Newest records of each source partition to look at.",
)
@click.option(
    "--listen",
    "listen_seconds",
    type=click.FloatRange(0, 600),
    default=1.0,
    show_default=True,
    help="Seconds to wait for a record that arrives now, to compare clocks by.",
)
@TIMEOUT
@AS_JSON
def doctor(
    config_path: Path | None, samples: int, listen_seconds: float, timeout_seconds: float, *, as_json: bool
) -> None:
    """Look at brokers, topics, records and group of a configuration, and say what is wrong and what to do.

    Changes nothing. Exit status 0 if all is well, 1 if there are warnings, 2 if there are errors.
    """
    settings = settings_of(config_path)
    from cxstream.operations.doctor import examine  # noqa: PLC0415 - Faust takes a second to import

    with _bar() as progress:
        report = asyncio.run(
            examine(
                settings,
                samples=samples,
                listen_seconds=listen_seconds,
                timeout_seconds=timeout_seconds,
                progress=progress,
            )
        )
    if as_json:
        click.echo(orjson.dumps(report.document()))
    else:
        for finding in report.findings:
            severity, rest = finding.text[:8], finding.text[8:]
            click.echo(click.style(severity, fg=_COLOURS[finding.severity]) + rest)
        click.echo(report.summary)
    sys.exit(report.status)


@click.group()
def topics() -> None:
    """See what is to be done so that the topics are as the service needs them, and do it."""


@topics.command("plan")
@CONFIG
@AS_JSON
def topics_plan(config_path: Path | None, *, as_json: bool) -> None:
    """Print what would be created and altered, and what cannot be; change nothing.

    Exit status 0 if nothing is to be done, 1 if `cxstream topics apply` would do it, 2 if something cannot be done.
    """
    settings = settings_of(config_path)
    from cxstream.operations.topic_plan import plan  # noqa: PLC0415

    with _bar() as progress:
        found = _asked(plan(settings, progress))
    if as_json:
        click.echo(orjson.dumps({"actions": [one.document() for one in found.all]}))
    else:
        for one in found.all:
            click.echo(str(one))
        click.echo("nothing is to be done" if not found.status else found.summary)
    sys.exit(found.status)


@topics.command("apply")
@CONFIG
@click.option("--alter", is_flag=True, help="Alter configurations of the service's own topics as well.")
@AS_JSON
def topics_apply(config_path: Path | None, *, alter: bool, as_json: bool) -> None:
    """Create the topics that are missing; with --alter, mend configurations. Nothing is deleted or re-partitioned.

    Prints what was done, then what is left. Exit status 0 if nothing is left to be done, 1 if --alter would do it, 2 if
    something cannot be done; nothing is done while a topic has another number of partitions.
    """
    settings = settings_of(config_path)
    from cxstream.kafka.cluster import RefusedError  # noqa: PLC0415
    from cxstream.kafka.topics import TopicsError  # noqa: PLC0415
    from cxstream.operations.topic_plan import apply  # noqa: PLC0415

    done: list[str] = []

    def tell(line: str) -> None:
        done.append(line)
        if not as_json:
            click.echo(line)

    try:
        with _bar() as progress:
            left = _asked(apply(settings, alter=alter, tell=tell, progress=progress))
    except (TopicsError, RefusedError) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(UNREACHABLE)
    if as_json:
        click.echo(orjson.dumps({"done": done, "left": [one.document() for one in left.all]}))
    else:
        for one in left.all:
            click.echo(str(one))
    sys.exit(left.status)


@topics.command("copy")
@CONFIG
@click.argument("old", metavar="FROM")
@click.argument("new", metavar="TO")
def topics_copy(config_path: Path | None, old: str, new: str) -> None:
    """Copy a source topic into one with another number of partitions, by key and in the order of delivery.

    Copies what is there now, from where an earlier run has ended. Exit status 2 if the topics are not fit for it.
    """
    settings = settings_of(config_path)
    from cxstream.operations.copying import CopyError, copy  # noqa: PLC0415

    try:
        with _bar() as progress:
            copied = _asked(copy(settings, old, new, progress=progress))
    except CopyError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(UNREACHABLE)
    click.echo(f"{copied} records copied from {old} to {new}")


@click.command()
@CONFIG
@click.option(
    "--worker",
    "workers",
    multiple=True,
    metavar="HOST:PORT",
    help="Where a worker serves its metrics; may be given again. Default: http.port at the host of every member.",
)
@TIMEOUT
@AS_JSON
def status(config_path: Path | None, workers: tuple[str, ...], timeout_seconds: float, *, as_json: bool) -> None:
    """Show members, owners, lag, coverage, freshness and recovery of the group; no worker needs to run.

    Exit status 0 if every partition is covered and fresh, 1 if not, 2 if the brokers could not be asked.
    """
    settings = settings_of(config_path)
    from cxstream.operations import status as operations  # noqa: PLC0415

    with _bar() as progress:
        asked = operations.status(settings, workers=workers, timeout_seconds=timeout_seconds, progress=progress)
        found = _asked(asked)
    click.echo(orjson.dumps(found.document()) if as_json else found.text())
    sys.exit(found.status)


def _asked(asking: Coroutine[Any, Any, _Answer]) -> _Answer:
    """Run to the end, or say that the brokers could not be asked, and exit."""
    from aiokafka.errors import KafkaError  # noqa: PLC0415

    from cxstream.kafka.cluster import UnreachableError  # noqa: PLC0415

    try:
        return asyncio.run(asking)
    except (UnreachableError, KafkaError, TimeoutError) as error:
        click.echo(f"Error: the brokers could not be asked: {error}", err=True)
        sys.exit(UNREACHABLE)


@contextmanager
def _bar() -> Iterator[Tell]:
    """Show how far long work is, on a terminal only, and take it away at the end."""
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        tasks: dict[str, Any] = {}

        def tell(what: str, done: int, there_are: int) -> None:
            if what not in tasks:
                for task in tasks.values():
                    bar.update(task, visible=False)
                tasks[what] = bar.add_task(what)
            bar.update(tasks[what], completed=done, total=there_are)

        yield tell
