"""Commands that read event files or scenarios: judge, explain, at-risk, what-if, conformance."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import orjson

from cxstream.cli.options import AS_OF, FILE, FILES, WRONG_INPUT, Instant, Tiers, end
from cxstream.config import ConfigError, load
from cxstream.domain.instant import DAY_MS, MINUTE_MS
from cxstream.domain.policy import Policy
from cxstream.offline import at_risk as risks
from cxstream.offline import conformance as scenarios
from cxstream.offline.events_file import read_events
from cxstream.offline.explain import UnknownCaseError, explain_case
from cxstream.offline.judge import judge_facts
from cxstream.offline.what_if import compare
from cxstream.vital_signs import CATALOGUE, TIERS, of_tiers

MOST_MINUTES = 366 * DAY_MS // MINUTE_MS


@click.command()
@FILES
@AS_OF
@click.option(
    "--tiers", type=Tiers(), default=",".join(TIERS), show_default=True, help="Tiers of vital signs to judge."
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


@click.command()
@FILES
@click.argument("case_id", metavar="CASE")
@AS_OF
@click.option("--tiers", type=Tiers(), default="A", show_default=True, help="Tiers of vital signs to explain.")
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


@click.command("at-risk")
@FILES
@click.option("--as-of", "as_of_ms", type=Instant(), required=True, help="Clock reading: the present.")
@click.option(
    "--within",
    "minutes",
    type=click.IntRange(1, MOST_MINUTES),
    default=60,
    show_default=True,
    help="Minutes ahead, up to a year.",
)
def at_risk(files: tuple[Path, ...], as_of_ms: int, minutes: int) -> None:
    """List what will be a miss soon unless something happens: one JSON object per unit, the most urgent first.

    Exit status 2 if any line was wrong.
    """
    policy = Policy()
    facts, wrong = read_events(files, policy.clock_skew_ms)
    judged, _not_taken = judge_facts(facts, as_of_ms, CATALOGUE, policy)
    for document in risks.documents(risks.at_risk(judged, as_of_ms, minutes * MINUTE_MS), as_of_ms, CATALOGUE):
        click.echo(orjson.dumps(document))
    end(wrong)


@click.command("what-if")
@FILES
@AS_OF
@click.option("--policy", "new", type=FILE, required=True, help="Configuration file whose policy is tried.")
@click.option("--against", "old", type=FILE, help="Configuration file it is held against; else the defaults.")
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
    end(wrong)


@click.command()
@FILES
def conformance(files: tuple[Path, ...]) -> None:
    """Check scenario files against the production core: one line per failed expectation, then a count.

    Exit status 1 if an expectation failed or its sign is not built.
    """
    try:
        outcome = scenarios.run(
            [scenario for path in files for scenario in scenarios.read_scenarios(path)], CATALOGUE, Policy()
        )
    except ValueError as error:
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
