"""Commands around a running worker: worker, config, policies, demo."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import orjson

from cxstream.cli.options import CONFIG, settings_of
from cxstream.config import describe, policy_stated
from cxstream.domain.instant import format_instant
from cxstream.engine.policies import fingerprint_of


@click.command()
@CONFIG
def worker(config_path: Path | None) -> None:
    """Run a worker of the consumer group until it is stopped (SIGTERM drains and commits)."""
    from cxstream import worker as composition  # noqa: PLC0415 - Faust takes a second to import; other commands need not wait
    from cxstream.kafka.connection import ConnectError  # noqa: PLC0415
    from cxstream.kafka.topics import TopicsError  # noqa: PLC0415

    try:
        composition.main(settings_of(config_path))
    except (TopicsError, ConnectError) as error:
        raise click.ClickException(str(error)) from error


@click.command()
@CONFIG
def config(config_path: Path | None) -> None:
    """Print the configuration in force, secrets masked, with where each value came from."""
    click.echo(describe(settings_of(config_path)))


@click.command()
@CONFIG
def policies(config_path: Path | None) -> None:
    """List the policies the group has judged by, by when each was first used, with what it changed.

    Prints one JSON object a line; the first policy is held against the defaults.
    """
    from aiokafka.errors import KafkaError  # noqa: PLC0415 - as above

    from cxstream import worker as composition  # noqa: PLC0415

    settings = settings_of(config_path)
    try:
        found = composition.recorded_policies(settings)
    except KafkaError as error:
        message = f"the brokers of {settings.kafka.bootstrap} could not be asked for the policies: {error}"
        raise click.ClickException(message) from error
    configured = fingerprint_of(policy_stated(settings))
    for record, changed in found:
        told = {
            "fingerprint": record.fingerprint,
            "first_used": format_instant(record.since_ms),
            "version": record.version,
            "configured": record.fingerprint == configured,
            "changed": {name: {"before": before, "after": after} for name, (before, after) in changed.items()},
        }
        click.echo(orjson.dumps(told))


@click.command()
@click.option("--seconds", type=click.IntRange(min=10), help="Stop by itself after this long, with a summary.")
@click.option("--seed", type=int, default=1, show_default=True, help="Another seed, another company.")
@click.option(
    "--port", type=click.IntRange(1, 65535), default=9109, show_default=True, help="Port of the worker's pages."
)
@click.option("--days", type=click.IntRange(1, 400), default=40, show_default=True, help="Days of history.")
@click.option("--to", "brokers", metavar="BROKERS", help="Only write the events, to these brokers: host:port,...")
def demo(seconds: int | None, seed: int, port: int, days: int, brokers: str | None) -> None:
    """Show the main job: a broker, a worker, a realistic upstream with an incident, and a live view."""
    from cxstream.demo.tour import DemoError, run, write_to  # noqa: PLC0415 - needs the demo extra

    try:
        if brokers is not None:
            sys.exit(write_to(brokers, seconds=seconds, seed=seed, days=days))
        sys.exit(run(seconds=seconds, seed=seed, port=port, days=days))
    except DemoError as error:
        raise click.ClickException(str(error)) from error
