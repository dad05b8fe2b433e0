"""The command line: thin entry points to the worker, the offline drivers, the demo and the generated artefacts."""

from __future__ import annotations

import click

from cxstream.cli import building, dead_letters, files, ingress, intake, operations, running, upstream


@click.group()
@click.version_option(package_name="cxstream")
def main() -> None:
    """Live vital signs of how customers are treated when something breaks."""


for _command in (
    running.worker,
    running.config,
    running.policies,
    intake.intake,
    running.demo,
    operations.doctor,
    operations.topics,
    operations.status,
    ingress.ingress,
    dead_letters.dead_letters,
    files.judge,
    files.explain,
    files.at_risk,
    files.what_if,
    files.conformance,
    upstream.validate,
    upstream.emit,
    upstream.schemas,
    building.render,
    building.simulate_faults,
):
    main.add_command(_command)
