"""Commands of who sends events: validate, emit, schemas."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING

import click
import orjson

from cxstream.cli.options import CONFIG, FILE, FILES, WRONG_INPUT, CaseId, Instant, end, settings_of

if TYPE_CHECKING:
    from cxstream.kafka.schemas import Registry
    from cxstream.upstream.subjects import Outcome, Subject

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


@click.command()
@FILES
@CONFIG
@click.option("--as-of", "as_of_ms", type=Instant(), help="When events without `seen` are delivered. Default: now.")
@click.option("--strict", is_flag=True, help="Exit status 2 for warnings too.")
@_JSON
def validate(
    files: tuple[Path, ...], config_path: Path | None, as_of_ms: int | None, *, strict: bool, as_json: bool
) -> None:
    """Say what a worker would say of the events of NDJSON or Avro files, and what they do to the vital signs.

    Exit status 2 if a worker would reject one.
    """
    from cxstream.client.producer import wall_ms  # noqa: PLC0415 - other commands need no Kafka client
    from cxstream.upstream.validate import validate as check  # noqa: PLC0415

    settings = settings_of(config_path)
    if as_of_ms is None:
        as_of_ms = wall_ms()
    report = check(files, as_of_ms, settings.catalogue(), settings.policy())
    if as_json:
        click.echo(orjson.dumps(report.document(as_of_ms)))
    else:
        for finding in report.findings:
            click.echo(str(finding))
        click.echo(f"{report.records} events, {report.errors} errors, {report.warnings} warnings")
        for effect in report.effects:
            click.echo(f"  {effect}")
    sys.exit(WRONG_INPUT if report.errors or (strict and report.warnings) else 0)


@click.command()
@click.argument("files", nargs=-1, type=FILE, metavar="FILE...")
@CONFIG
@click.option(
    "--sample", "samples", multiple=True, metavar="TYPE", help="Send a sample, like ticket.opened. Repeatable."
)
@click.option(
    "--case", "case_id", type=CaseId(), default="SAMPLE-1", show_default=True, help="The case of the samples."
)
@click.option("--dry-run", is_flag=True, help="Send nothing; print the events as NDJSON.")
@click.option(
    "--confluent", is_flag=True, help="Confluent framing with the registry's ids; else single-object encoding."
)
@click.option("--partition", type=click.IntRange(0), help="Send there, whatever the key says: to see what comes of it.")
@_JSON
def emit(
    files: tuple[Path, ...],
    config_path: Path | None,
    samples: tuple[str, ...],
    case_id: str,
    partition: int | None,
    *,
    dry_run: bool,
    confluent: bool,
    as_json: bool,
) -> None:
    """Send the events of NDJSON or Avro files, or samples, to the configured brokers, right in key and partition.

    Says of every event where it is. Nothing is sent if a line is wrong: exit status 2.
    """
    from aiokafka.errors import KafkaError  # noqa: PLC0415 - other commands need no Kafka client

    from cxstream.client.producer import wall_ms  # noqa: PLC0415
    from cxstream.client.topics import WrongTopicsError  # noqa: PLC0415
    from cxstream.kafka.connection import ConnectError  # noqa: PLC0415
    from cxstream.kafka.schemas import RegistryUnavailableError  # noqa: PLC0415
    from cxstream.upstream import emit as emitting  # noqa: PLC0415
    from cxstream.upstream.samples import UnknownTypeError, sample  # noqa: PLC0415

    if not files and not samples:
        raise click.UsageError("nothing to send: name files, or --sample TYPE")
    settings = settings_of(config_path)
    if partition is not None and partition >= settings.kafka.partitions:
        said = f"{partition} is not a partition: expected 0 to {settings.kafka.partitions - 1} (kafka.partitions)"
        raise click.BadParameter(said, param_hint="--partition")
    try:
        ids = asyncio.run(emitting.registered_ids(settings)) if confluent else {}
        records = emitting.records_of(settings, ids)
        events, wrong = emitting.read_all(files, records)
        events += [records.of(sample(name, case_id, wall_ms())) for name in samples]
        if wrong:
            end(wrong)
        emitting.refuse_untrusted(events, settings)
        if dry_run:
            for event in events:
                click.echo(orjson.dumps(emitting.line_of(event)))
            return
        sent = asyncio.run(emitting.send(settings, events, partition))
    except (UnknownTypeError, RegistryUnavailableError, emitting.UntrustedTopicError) as error:
        raise click.ClickException(str(error)) from error
    except (ConnectError, emitting.BrokersUnreachableError, WrongTopicsError) as error:
        raise click.ClickException(str(error)) from error
    except KafkaError as error:
        told = f"the brokers of {settings.kafka.bootstrap} did not take the events: {error}"
        raise click.ClickException(told) from error
    for one in sent:
        text = f"{one.topic} partition {one.partition} offset {one.offset}: case {one.case_id}, event {one.event_id}"
        click.echo(orjson.dumps(one._asdict()) if as_json else text)


@click.group()
def schemas() -> None:
    """Keep the schemas of the topics at a registry with the Confluent API (settings `schema.*`)."""


@schemas.command()
@CONFIG
@click.option("--dry-run", is_flag=True, help="Change nothing; say what would be.")
@_JSON
def register(config_path: Path | None, *, dry_run: bool, as_json: bool) -> None:
    """Register the schemas that are missing, and set their subjects to FULL_TRANSITIVE.

    Exit status 1 if the registry refuses one.
    """
    from cxstream.upstream import subjects  # noqa: PLC0415 - other commands need no Kafka client

    _tell(config_path, lambda registry, wanted: subjects.register(registry, wanted, dry_run=dry_run), as_json=as_json)


@schemas.command("check")
@CONFIG
@_JSON
def check_schemas(config_path: Path | None, *, as_json: bool) -> None:
    """Ask the registry whether every schema is there and its subject FULL_TRANSITIVE; change nothing.

    Exit status 1 if something is missing or would not fit.
    """
    from cxstream.upstream import subjects  # noqa: PLC0415 - other commands need no Kafka client

    _tell(config_path, subjects.check, as_json=as_json)


def _tell(
    config_path: Path | None,
    ask: Callable[[Registry, list[Subject]], Coroutine[None, None, list[Outcome]]],
    *,
    as_json: bool,
) -> None:
    """Ask the configured registry, print what it says, and exit with the status that says whether all is right."""
    from cxstream.kafka.schemas import RegistryUnavailableError  # noqa: PLC0415
    from cxstream.upstream import subjects  # noqa: PLC0415
    from cxstream.worker import registry_of  # noqa: PLC0415

    settings = settings_of(config_path)
    registry = registry_of(settings)
    if registry is None:
        raise click.ClickException("no registry is configured: set schema.registry_url (CXSTREAM_SCHEMA_REGISTRY_URL)")
    try:
        outcomes = asyncio.run(ask(registry, subjects.subjects_of(settings)))
    except RegistryUnavailableError as error:
        raise click.ClickException(f"{settings.schema.registry_url}: {error}") from error
    for outcome in outcomes:
        click.echo(orjson.dumps(outcome._asdict()) if as_json else str(outcome))
    ids = ",".join(subjects.configured(outcomes))
    if ids and not as_json:
        click.echo(f"workers know these without the registry by CXSTREAM_SCHEMA_IDS={ids}")
    sys.exit(0 if all(outcome.right for outcome in outcomes) else 1)
