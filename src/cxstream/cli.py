"""The command line: thin entry points to the worker, the offline drivers, the demo and the generated artefacts."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import click
import orjson

from cxstream.config import ConfigError, Settings, describe, load, policy_stated, reference
from cxstream.domain.instant import MINUTE_MS, SECOND_MS, format_instant, parse_instant
from cxstream.domain.policy import Policy
from cxstream.engine.policies import fingerprint_of
from cxstream.exposition.families import FAMILIES
from cxstream.offline import at_risk as risks
from cxstream.offline import conformance as scenarios
from cxstream.offline.events_file import WrongLine, read_events
from cxstream.offline.explain import UnknownCaseError, explain_case
from cxstream.offline.judge import judge_facts
from cxstream.offline.what_if import compare
from cxstream.render.alerts import DEFAULT_SITE, Site
from cxstream.render.artefacts import artefacts, stale, write
from cxstream.vital_signs import CATALOGUE, TIERS, of_tiers

WRONG_INPUT = 2
"""Exit status where some of the input was wrong; the rest has been processed."""

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FILES = click.argument("files", nargs=-1, required=True, type=_FILE, metavar="FILE...")


class _Instant(click.ParamType):
    name = "TIME"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return parse_instant(str(value))
        except ValueError:
            self.fail("expected an RFC 3339 time with an offset, like 2026-03-02T10:00:00Z", param, ctx)


class _Tiers(click.ParamType):
    name = "TIERS"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        tiers = tuple(dict.fromkeys(str(value).upper().split(",")))
        if not set(tiers) <= set(TIERS):
            self.fail(f"expected one or more of {', '.join(TIERS)}, separated by commas", param, ctx)
        return tiers


_AS_OF = click.option(
    "--as-of", "as_of_ms", type=_Instant(), required=True, help="Clock reading; later deliveries are not seen."
)


def _end(wrong: Iterable[WrongLine]) -> NoReturn:
    """Tell the lines that were wrong, and exit with the status that says whether there were any."""
    status = 0
    for line in wrong:
        click.echo(str(line), err=True)
        status = WRONG_INPUT
    sys.exit(status)


@click.group()
@click.version_option(package_name="cxstream")
def main() -> None:
    """Live vital signs of how customers are treated when something breaks."""


_CONFIG = click.option(
    "--config",
    "config_path",
    type=_FILE,
    help="TOML file; CXSTREAM_* variables win over it.",
)


def _settings(config_path: Path | None) -> Settings:
    try:
        return load(config_path, os.environ)
    except ConfigError as error:
        raise click.ClickException(str(error)) from error


@main.command()
@_CONFIG
def worker(config_path: Path | None) -> None:
    """Run a worker of the consumer group until it is stopped (SIGTERM drains and commits)."""
    from cxstream import worker as composition  # noqa: PLC0415 - Faust takes a second to import; other commands need not wait
    from cxstream.kafka.topics import TopicsError  # noqa: PLC0415

    try:
        composition.main(_settings(config_path))
    except TopicsError as error:
        raise click.ClickException(str(error)) from error


@main.command()
@_CONFIG
def config(config_path: Path | None) -> None:
    """Print the configuration in force, secrets masked, with where each value came from."""
    click.echo(describe(_settings(config_path)))


@main.command()
@_CONFIG
def policies(config_path: Path | None) -> None:
    """List the policies the group has judged by, by when each was first used, with what it changed.

    Prints one JSON object a line; the first policy is held against the defaults.
    """
    from aiokafka.errors import KafkaError  # noqa: PLC0415 - as above

    from cxstream import worker as composition  # noqa: PLC0415

    settings = _settings(config_path)
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


@main.command()
@click.option("--check", is_flag=True, help="Write nothing; exit status 1 if a file is not what would be written.")
@click.option("--root", type=click.Path(exists=True, file_okay=False, path_type=Path), default=Path())
@click.option("--runbooks", default=DEFAULT_SITE.runbooks, show_default=True, help="URL of docs/runbooks, for alerts.")
@click.option("--dashboards", default=DEFAULT_SITE.dashboards, show_default=True, help="URL of Grafana.")
def render(root: Path, runbooks: str, dashboards: str, *, check: bool) -> None:
    """Generate rules, alerts, inventories and reference pages from the catalogue and the settings."""
    settings = Settings()
    silent_after = {topic: after_ms // SECOND_MS for topic, after_ms in settings.kafka.source_silent_after.items()}
    texts = artefacts(
        FAMILIES,
        settings.windows().levels,
        silent_after_seconds=silent_after,
        site=Site(runbooks.rstrip("/"), dashboards.rstrip("/")),
    ) | {"docs/configuration.md": reference()}
    lines = stale(root, texts) if check else write(root, texts)
    for line in lines:
        click.echo(line)
    sys.exit(1 if check and lines else 0)


@main.command()
@click.option("--seconds", type=click.IntRange(min=10), help="Stop by itself after this long, with a summary.")
@click.option("--seed", type=int, default=1, show_default=True, help="Another seed, another company.")
@click.option("--port", type=int, default=9109, show_default=True, help="Port of the worker's pages.")
def demo(seconds: int | None, seed: int, port: int) -> None:
    """Show the main job: a broker, a worker, a realistic upstream with an incident, and a live view."""
    from cxstream.demo.tour import DemoError, run  # noqa: PLC0415 - needs the demo extra

    try:
        sys.exit(run(seconds=seconds, seed=seed, port=port))
    except DemoError as error:
        raise click.ClickException(str(error)) from error


@main.command()
@_FILES
@_AS_OF
@click.option(
    "--tiers", type=_Tiers(), default=",".join(TIERS), show_default=True, help="Tiers of vital signs to judge."
)
def judge(files: tuple[Path, ...], as_of_ms: int, tiers: tuple[str, ...]) -> None:
    """Judge the cases of NDJSON event files; print one JSON object per verdict.

    Rejected events are counted by reason on standard error. Exit status 2 if any line was wrong.
    """
    policy = Policy()
    facts, wrong = read_events(files, policy.clock_skew_ms)
    judged, not_taken = judge_facts(facts, as_of_ms, of_tiers(tiers), policy)
    for one in judged:
        click.echo(orjson.dumps(one.document()))
    for line in wrong:
        click.echo(str(line), err=True)
        not_taken[line.reason] += 1
    for reason, count in sorted(not_taken.items()):
        click.echo(f"rejected {reason} {count}", err=True)
    sys.exit(WRONG_INPUT if wrong else 0)


@main.command()
@_FILES
@click.argument("case_id", metavar="CASE")
@_AS_OF
@click.option("--tiers", type=_Tiers(), default="A", show_default=True, help="Tiers of vital signs to explain.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def explain(files: tuple[Path, ...], case_id: str, as_of_ms: int, tiers: tuple[str, ...], *, as_json: bool) -> None:
    """Explain one case of NDJSON event files: what is known, what every verdict rests on, what could change it.

    Exit status 2 if nothing of the case is known, or if any line was wrong.
    """
    policy = Policy()
    facts, wrong = read_events(files, policy.clock_skew_ms)
    for line in wrong:
        click.echo(str(line), err=True)
    try:
        told = explain_case(facts, wrong, case_id, as_of_ms, of_tiers(tiers), policy)
    except UnknownCaseError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(WRONG_INPUT)
    click.echo(orjson.dumps(told.document()) if as_json else told.text(), nl=as_json)
    sys.exit(WRONG_INPUT if wrong else 0)


@main.command("simulate-faults")
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


@main.command("at-risk")
@_FILES
@click.option("--as-of", "as_of_ms", type=_Instant(), required=True, help="Clock reading: the present.")
@click.option("--within", "minutes", type=click.IntRange(1), default=60, show_default=True, help="Minutes ahead.")
def at_risk(files: tuple[Path, ...], as_of_ms: int, minutes: int) -> None:
    """List what will be a miss soon unless something happens: one JSON object per unit, the most urgent first.

    Exit status 2 if any line was wrong.
    """
    policy = Policy()
    facts, wrong = read_events(files, policy.clock_skew_ms)
    judged, _not_taken = judge_facts(facts, as_of_ms, CATALOGUE, policy)
    for document in risks.documents(risks.at_risk(judged, as_of_ms, minutes * MINUTE_MS), as_of_ms, CATALOGUE):
        click.echo(orjson.dumps(document))
    _end(wrong)


@main.command("what-if")
@_FILES
@_AS_OF
@click.option("--policy", "new", type=_FILE, required=True, help="Configuration file whose policy is tried.")
@click.option("--against", "old", type=_FILE, help="Configuration file it is held against; else the defaults.")
def what_if(files: tuple[Path, ...], as_of_ms: int, new: Path, old: Path | None) -> None:
    """Judge NDJSON event files under another policy, side by side: constants, signs, and the units that change.

    Prints one JSON object a line. Nothing published is touched. Exit status 2 if any line was wrong.
    """
    try:
        before, after = (load(path, {}).policy() if path else Policy() for path in (old, new))
    except ConfigError as error:
        raise click.ClickException(str(error)) from error
    facts, wrong = read_events(files, max(before.clock_skew_ms, after.clock_skew_ms))
    for document in compare(facts, as_of_ms, CATALOGUE, before, after).documents():
        click.echo(orjson.dumps(document))
    _end(wrong)


@main.command()
@_FILES
def conformance(files: tuple[Path, ...]) -> None:
    """Check scenario files against the production core: one line per failed expectation, then a count.

    Exit status 1 if an expectation failed or its sign is not built.
    """
    try:
        outcome = scenarios.run(
            [scenario for path in files for scenario in scenarios.read_scenarios(path)], CATALOGUE, Policy()
        )
    except (ValueError, KeyError) as error:
        raise click.ClickException(f"not a scenario file: {error}") from error
    for line in outcome.failed:
        click.echo(line)
    for sign, count in sorted(outcome.missing.items()):
        click.echo(f"missing: {sign} is not built ({count} expectations)")
    click.echo(
        f"{outcome.scenarios} scenarios, {outcome.expectations} expectations"
        f" and {outcome.earlier} at earlier checkpoints:"
        f" {len(outcome.failed)} failed, {sum(outcome.missing.values())} missing"
    )
    sys.exit(1 if outcome.failed or outcome.missing else 0)
