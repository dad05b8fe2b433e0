"""The command that takes events from the topics of other systems: intake."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from cxstream.cli.options import CONFIG, FILE, WRONG_INPUT, settings_of
from cxstream.intake.mapping import IntakeMap, MappingError, load


@click.command()
@click.option("--map", "map_path", type=FILE, required=True, help="TOML file: which topics, and what they tell.")
@CONFIG
@click.option("--dry-run", is_flag=True, help="Ask no broker: check the map, and try it on samples.")
@click.option("--sample", "samples", type=FILE, multiple=True, help="With --dry-run: records, one a line (as kcat -J).")
@click.option("--topic", help="With --sample: the lines are the bare records of this topic.")
def intake(
    map_path: Path, config_path: Path | None, samples: tuple[Path, ...], topic: str | None, *, dry_run: bool
) -> None:
    """Take events from topics that are keyed and written in other ways, until stopped; one process works at a time.

    A dry run prints the events that samples tell, one JSON object a line, and on standard error what became of each
    line; exit status 2 if any was wrong or waits in vain.
    """
    try:
        intake_map = load(map_path)
    except MappingError as error:
        raise click.ClickException(str(error)) from error
    if not dry_run:
        if samples or topic:
            raise click.UsageError("--sample and --topic need --dry-run: nothing is sent from samples")
        _run(intake_map, config_path)
        return
    if not samples:
        click.echo(f"{map_path}: the map of {len(intake_map.topics)} topics is right", err=True)
        return
    sys.exit(_try_out(intake_map, samples, topic))


def _try_out(intake_map: IntakeMap, samples: tuple[Path, ...], topic: str | None) -> int:
    from cxstream.intake.sample import SampleError, try_out, written  # noqa: PLC0415 - other commands need not wait

    if topic is not None and topic not in {one.name for one in intake_map.topics}:
        known = ", ".join(one.name for one in intake_map.topics)
        raise click.UsageError(f"--topic: expected one of the map: {known}")
    events = wrong = 0
    try:
        for line in try_out(intake_map, list(samples), topic):
            for event in line.events:
                click.echo(written(event))
            click.echo(str(line), err=True)
            events, wrong = events + len(line.events), wrong + line.wrong
    except SampleError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{events} events; {wrong} records wrong or waiting in vain", err=True)
    return WRONG_INPUT if wrong else 0


def _run(intake_map: IntakeMap, config_path: Path | None) -> None:
    from aiokafka.errors import KafkaError  # noqa: PLC0415 - as above

    from cxstream import worker as composition  # noqa: PLC0415
    from cxstream.intake.service import IntakeError, run  # noqa: PLC0415
    from cxstream.intake.state import UnreadableStateError  # noqa: PLC0415
    from cxstream.kafka.topics import TopicsError  # noqa: PLC0415

    settings = settings_of(config_path)
    try:
        run(
            settings,
            intake_map,
            composition.topics_of(settings),
            composition.connection_of(settings).client,
            composition.logging_config(settings),
        )
    except (IntakeError, TopicsError, UnreadableStateError) as error:
        raise click.ClickException(str(error)) from error
    except KafkaError as error:
        raise click.ClickException(f"the brokers refused, nothing was committed since: {error!r}") from error
