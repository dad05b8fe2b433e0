"""A short set of faults to real workers; `make soak` does all kinds of them, at random, for as long as you like."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from cxstream.render.rules import COVERED, recording_rules, rules_file
from cxstream.vital_signs import CATALOGUE
from faults import kinds
from faults.broker import ProxiedKafka
from faults.kinds import Injure
from faults.trial import Trial
from parts.broker import require_apache_kafka
from parts.figures import recorded, wall_ms
from parts.prometheus import Prometheus, require_prometheus

pytestmark = [pytest.mark.slow, pytest.mark.kafka]

FIGURES_SECONDS = 15.0
MEAN_COVERAGE = 0.95
"""Between the end of a worker and the word of the next owner a moment may pass, in which a scrape may fall."""


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    """Run a job of two workers with live traffic, on a broker of its own; what one fault leaves, the next one finds."""
    require_apache_kafka()
    with ProxiedKafka() as kafka, Trial(kafka, tmp_path_factory.mktemp("trial"), seed=1, cases_per_second=3) as trial:
        trial.begin(2)
        yield trial


def assert_survived(trial: Trial, inject: Injure, *, workers: int = 0) -> None:
    """Do a fault; every business series must be judge's after it, and again with so many new workers."""
    outcome = trial.suffer(inject, Random(trial.seed), workers)
    assert not outcome.differences, "\n".join(outcome.differences)


def test_a_worker_joins_and_another_is_killed(trial: Trial) -> None:
    """A worker joins in mid-stream and an old one is killed with -9: no unit is lost or counted twice."""
    assert_survived(trial, kinds.join_then_kill)


def test_a_zombie_neither_writes_nor_speaks(trial: Trial) -> None:
    """A worker frozen beyond its session goes on when others have taken over: the figures stay those of the others."""
    assert_survived(trial, kinds.zombie, workers=3)


def test_a_rolling_restart_keeps_the_job_covered(trial: Trial, tmp_path: Path) -> None:
    """Three workers are restarted in turn: Prometheus records full coverage but for moments, and judge's figures."""
    require_prometheus()
    rules = tmp_path / "cxstream.rules.yml"
    rules.write_text(rules_file(recording_rules(trial.truth.windows.levels, CATALOGUE)))
    targets = {"files": [str(trial.fleet.targets)]}
    scraped = {"scrape_configs": [{"job_name": "cxstream", "scrape_timeout": "1s", "file_sd_configs": [targets]}]}
    with Prometheus(rule_files=[rules], config=scraped) as prometheus:
        covered = f'{COVERED}{{group="{trial.job.group}"}}'
        prometheus.wait_for(f"{covered} == 1")
        began = time.time()
        trial.feed.resume()
        kinds.rolling_restart(trial, Random(trial.seed))
        compared = trial.compare()
        assert not compared.differences, "\n".join(compared.differences)
        lasted = f"[{int(time.time() - began)}s:1s]"
        worst, mean = (prometheus.value(f"{over}_over_time({covered}{lasted})") for over in ("min", "avg"))
        assert worst is not None
        assert mean is not None
        print(f"coverage: {worst:.2f} at worst, {mean:.3f} on average")
        assert mean >= MEAN_COVERAGE
        deadline = time.monotonic() + FIGURES_SECONDS
        while differences := recorded(prometheus, trial.job).differences(trial.truth.at(wall_ms())):
            assert time.monotonic() < deadline, "\n".join(["recorded, not judged:", *differences])
            time.sleep(0.5)


def poison_and_transactions(trial: Trial, dice: Random) -> None:
    """Poison comes in number while a transaction is left open, and a worker is killed."""
    trial.feed.open_transaction()
    trial.feed.poison_ratio = 1.0
    try:
        time.sleep(1)
        trial.fleet.kill(dice.choice(trial.fleet.workers))
        time.sleep(1)
    finally:
        trial.feed.poison_ratio = None
        trial.feed.close_transaction()


def test_poison_and_aborted_transactions_are_in_no_figure(trial: Trial) -> None:
    """What is no fact becomes a dead letter, what was not committed nothing at all; what is behind them counts."""
    assert_survived(trial, poison_and_transactions, workers=1)
    letters = trial.job.read(f"{trial.job.topics['ticket']}.dead-letters")
    came_from = {
        (headers["cxstream.error.partition"], headers["cxstream.error.offset"])
        for headers in (dict(letter.headers) for letter in letters)
    }
    assert len(came_from) == trial.feed.poisons
    assert trial.feed.ghosts


def test_the_truth_is_judged_alike_independently(trial: Trial) -> None:
    """The evaluator written from the page alone says of every unit of this stream what `cxstream judge` says."""
    assert not (divided := trial.truth.oracle_differences(wall_ms())), "\n".join(divided)


def test_one_broker_of_three_is_killed(tmp_path: Path) -> None:
    """One of three brokers is killed in mid-stream: everything acknowledged is counted by the two others, once."""
    require_apache_kafka()
    with ProxiedKafka(brokers=3) as kafka, Trial(kafka, tmp_path, seed=3) as trial:
        trial.begin(1)
        assert_survived(trial, lambda _, dice: kafka.kill(dice.randint(1, 3)))
