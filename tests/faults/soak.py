"""Does random faults to real workers for so many minutes, compares after each, and prints what came of it.

`make soak MINUTES=15 [SEED=n] [BROKERS=1|3] [UPGRADE_FROM=<git ref>]`. Ends with status 1 if anything differed.
"""

from __future__ import annotations

import argparse
import logging
import random
import shutil
import sys
import tempfile
import threading
import time
import traceback
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean

from parts.figures import wall_ms

from .broker import ProxiedKafka
from .earlier import upgrade, venv_of, wheel_of
from .kinds import KINDS, OF_BROKERS, Kind
from .trial import Outcome, Trial

FAULTS_PER_TRIAL = 10
"""Then a new job with new traffic begins: what its truth takes to compute grows with it."""
LANES = 4
"""Jobs under trial at the same time, on the same brokers: mostly they wait for timeouts."""
WIDTH = 24


class Brokers:
    """Who may touch the brokers: one fault at a time does something to them, and then no other job is at a fault."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._changed = threading.Condition()
        self._sharing = 0
        self._waiting = 0
        self._is_alone = False

    @contextmanager
    def held(self, *, alone: bool) -> Iterator[None]:
        """Hold them together with others, or alone."""
        with self._changed:
            self._waiting += alone  # who wants them alone goes before those who would share
            self._changed.wait_for(lambda: not (self._is_alone or (self._sharing if alone else self._waiting)))
            self._waiting -= alone
            self._is_alone = alone
            self._sharing += not alone
        try:
            yield
        finally:
            with self._changed:
                self._is_alone = False
                self._sharing -= not alone
                self._changed.notify_all()


@dataclass
class Report:
    """What came of all faults so far."""

    outcomes: dict[str, list[Outcome]] = field(default_factory=lambda: defaultdict(list))
    began: float = field(default_factory=time.monotonic)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, lane: str, name: str, outcome: Outcome) -> None:
        """Take an outcome and tell it."""
        with self.lock:
            self.outcomes[name].append(outcome)
            told = f"DIFFERS ({len(outcome.differences)})" if outcome.differences else "exact"
            at = time.monotonic() - self.began
            recovery = f"recovery {outcome.recovery_seconds:4.1f} s" if outcome.recovery_seconds else ""
            print(f"{at:6.1f}  {lane}  {name:{WIDTH}}{told:12}{outcome.seconds:5.1f} s  {recovery}", flush=True)
            for difference in outcome.differences:
                print(f"          {difference}", flush=True)

    @property
    def differences(self) -> int:
        """How many lines of difference there were in all."""
        return sum(len(outcome.differences) for outcomes in self.outcomes.values() for outcome in outcomes)

    def table(self) -> str:
        """Return faults by kind: how many, how many survived, differences, recovery in seconds."""
        faults = [one for name, some in self.outcomes.items() if not name.startswith("(") for one in some]
        head = f"{'fault':{WIDTH}}{'done':>6}{'survived':>10}{'differences':>13}{'recovery s: mean':>18}{'worst':>7}"
        lines = [head, "-" * len(head)]
        for name, outcomes in [*sorted(self.outcomes.items()), ("all faults", faults)]:
            survived = sum(not outcome.differences for outcome in outcomes)
            differences = sum(len(outcome.differences) for outcome in outcomes)
            recoveries = [outcome.recovery_seconds for outcome in outcomes] or [0.0]
            lines.append(
                f"{name:{WIDTH}}{len(outcomes):6}{survived:10}{differences:13}"
                f"{mean(recoveries):18.1f}{max(recoveries):7.1f}"
            )
        return "\n".join(lines)


@dataclass
class Soak:
    """One run: its brokers, its seed, and until when."""

    kafka: ProxiedKafka
    folder: Path
    seed: int
    until: float
    earlier: Path | None
    """The Python that has an earlier version installed, to be replaced in every trial."""
    report: Report = field(default_factory=Report)
    brokers: Brokers = field(default_factory=Brokers)

    def run_lane(self, lane: int) -> None:
        """Run one trial after another until the time is up."""
        dice = random.Random(f"{self.seed}/{lane}")
        deck: list[Kind] = []
        number = 0
        while time.monotonic() < self.until:
            number += 1
            seed = self.seed * 1_000_000 + lane * 1_000 + number
            try:
                self.run_trial(f"{lane}.{number}", seed, deck, dice)
            except Exception:  # noqa: BLE001 - a trial that cannot be set up is told as a difference, and the run goes on
                self.report.add(f"{lane}.{number}", "(trial)", Outcome([traceback.format_exc()], 0.0, 0.0))

    def run_trial(self, lane: str, seed: int, deck: list[Kind], dice: random.Random) -> None:
        """Begin a job, do some faults to it, and have everything judged again by the independent evaluator."""
        folder = self.folder / lane
        with Trial(self.kafka, folder, seed=seed, name=f"soak-{lane.replace('.', '-')}", python=self.earlier) as trial:
            with self.brokers.held(alone=False):
                trial.begin(3 if self.earlier else self.next_kind(deck, dice).workers)
            if self.earlier is not None:
                with self.brokers.held(alone=False):
                    self.report.add(lane, "upgrade", trial.suffer(upgrade, dice, self.next_kind(deck, dice).workers))
            for _ in range(FAULTS_PER_TRIAL):
                if time.monotonic() >= self.until:
                    break
                kind = self.next_kind(deck, dice)
                deck.pop()
                with self.brokers.held(alone=kind.inject in OF_BROKERS):
                    outcome = trial.suffer(kind.inject, dice, self.next_kind(deck, dice).workers)
                self.report.add(lane, kind.name, outcome)
                if outcome.differences:
                    return  # what follows would only differ again
            trial.feed.pause()
            divided = trial.truth.oracle_differences(wall_ms())
            self.report.add(lane, "(judged independently)", Outcome(divided, 0.0, 0.0))
        shutil.rmtree(folder, ignore_errors=True)

    def next_kind(self, deck: list[Kind], dice: random.Random) -> Kind:
        """Look at the kind of fault that comes next; every kind comes before one comes again."""
        if not deck:
            deck += [kind for kind in KINDS if kind.brokers <= len(self.kafka.nodes)]
            dice.shuffle(deck)
        return deck[-1]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and return the exit status."""
    parser = argparse.ArgumentParser(prog="faults.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--seed", type=int, default=None, help="default: one of its own, which is printed")
    parser.add_argument("--brokers", type=int, choices=(1, 3), default=1)
    parser.add_argument("--lanes", type=int, default=LANES, help="jobs under trial at the same time")
    parser.add_argument("--upgrade-from", metavar="WHEEL|REF", help="begin every trial with workers of this version")
    options = parser.parse_args(arguments)
    logging.disable(logging.CRITICAL)  # clients of brokers that are down say so ten times a second
    seed = random.SystemRandom().randrange(1, 1_000_000) if options.seed is None else options.seed
    folder = Path(tempfile.mkdtemp(prefix="cxstream-soak-"))
    print(f"soak: {options.minutes:g} minutes, seed {seed}, {options.brokers} broker(s); logs in {folder}", flush=True)
    earlier = None
    if options.upgrade_from:
        earlier = venv_of(wheel_of(options.upgrade_from, folder / "wheel"), folder / "earlier")
        print(f"workers of {options.upgrade_from} are replaced by those of this tree", flush=True)
    with ProxiedKafka(options.brokers, folder=folder / "kafka") as kafka:
        soak = Soak(kafka, folder, seed, time.monotonic() + options.minutes * 60, earlier)
        lanes = [threading.Thread(target=soak.run_lane, args=(lane,)) for lane in range(options.lanes)]
        for lane in lanes:
            lane.start()
        for lane in lanes:
            lane.join()
    print(f"\n{soak.report.table()}")
    if soak.report.differences:
        print(f"\nFAILED: seed {seed}, logs in {folder}")
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
