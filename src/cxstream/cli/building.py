"""Commands of who builds cxstream: render, simulate-faults."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import click

from cxstream.cli.options import CONFIG, settings_of
from cxstream.config import Settings, reference
from cxstream.domain.instant import SECOND_MS
from cxstream.exposition.families import FAMILIES
from cxstream.render.alerts import DEFAULT_SITE, Site
from cxstream.render.artefacts import REFERENCES, artefacts, stale, write
from cxstream.web.openapi import text as openapi_text

_SDK = "grafana_foundation_sdk"


@click.command()
@CONFIG
@click.option("--check", is_flag=True, help="Write nothing; exit status 1 if a file is not what would be written.")
@click.option("--root", type=click.Path(exists=True, file_okay=False, path_type=Path), default=Path())
@click.option("--runbooks", default=DEFAULT_SITE.runbooks, show_default=True, help="URL of docs/runbooks, for alerts.")
@click.option("--dashboards", default=DEFAULT_SITE.dashboards, show_default=True, help="URL of Grafana.")
@click.option("--cases", default=DEFAULT_SITE.cases, show_default=True, help="URL of a worker's pages, for dashboards.")
def render(config_path: Path | None, root: Path, runbooks: str, dashboards: str, cases: str, *, check: bool) -> None:
    """Generate rules, alerts, dashboards, inventories and reference pages from the catalogue and the settings.

    With --config only what depends on a configuration: rules, alerts, dashboards and console. Without, the settings are
    the defaults, whatever the environment says, so that the same code makes the same files.
    """
    from cxstream.ingress import openapi  # noqa: PLC0415 - these imports take a while; other commands need not wait
    from cxstream.upstream.generated import contract_artefacts  # noqa: PLC0415 - as above

    settings = Settings() if config_path is None else settings_of(config_path)
    silent_after = {topic: after_ms // SECOND_MS for topic, after_ms in settings.kafka.source_silent_after.items()}
    try:
        texts = artefacts(
            FAMILIES,
            settings.windows().levels,
            silent_after_seconds=silent_after,
            site=Site(runbooks.rstrip("/"), dashboards.rstrip("/"), cases.rstrip("/")),
        )
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] != _SDK:
            raise
        message = "dashboards are made with grafana-foundation-sdk, which is not installed: pip install cxstream[dev]"
        raise click.ClickException(message) from missing
    if config_path is None:
        texts |= {
            "docs/configuration.md": reference(),
            "docs/openapi.json": openapi_text(),
            **contract_artefacts(settings),
            openapi.PATH: json.dumps(openapi.document(version("cxstream")), indent=2) + "\n",
        }
    else:
        texts = {path: text for path, text in texts.items() if path not in REFERENCES}
    lines = stale(root, texts) if check else write(root, texts)
    for line in lines:
        click.echo(line)
    sys.exit(1 if check and lines else 0)


@click.command("simulate-faults")
@click.option("--seed", type=int, default=1, show_default=True, help="Another seed, other faults; the same, the same.")
@click.option("--steps", type=click.IntRange(1), default=50, show_default=True, help="Steps of traffic and faults.")
def simulate_faults(seed: int, steps: int) -> None:
    """Run workers on a simulated Kafka under faults, and hold what they say to an oracle (needs a checkout).

    Exit status 1 if a figure was wrong.
    """
    tests = Path("tests")
    if not (tests / "simulation").is_dir():
        raise click.ClickException(
            "there is no tests/simulation here: run it in a checkout of cxstream, after `make test`"
        )
    sys.path.insert(0, str(tests.resolve()))
    sys.exit(import_module("simulation.run").main(seed, steps))
