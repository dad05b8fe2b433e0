"""The command that takes events over HTTP: ingress."""

from __future__ import annotations

from pathlib import Path

import click

from cxstream.cli.options import CONFIG, settings_of


@click.command()
@CONFIG
def ingress(config_path: Path | None) -> None:
    """Take events over HTTP and put them on Kafka, until it is stopped (SIGTERM finishes what is under way)."""
    from cxstream.ingress import running  # noqa: PLC0415 - aiokafka takes a while to import; other commands need not wait
    from cxstream.kafka.connection import ConnectError  # noqa: PLC0415

    settings = settings_of(config_path)
    try:
        running.main(settings)
    except ConnectError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        host, port = settings.ingress.host, settings.ingress.port
        raise click.ClickException(f"cannot serve on {host}:{port} ({error.strerror or error})") from error
