"""A change of policy that rolls through a group under faults: what is final stays, and every policy is recorded."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import msgspec
from faust.types import TP

from cxstream.domain.instant import HOUR_MS
from cxstream.domain.policy import Override, Policy
from cxstream.domain.verdict import Verdict
from cxstream.engine.assess import NOT_JUDGED
from cxstream.kafka.records import read_case
from cxstream.kafka.watermarks import POLICY_KEY
from simulation.faults import FAULTS
from simulation.run import STEPS, Simulation, quiet
from simulation.world import SimSettings, shrunk

SEEDS = 7, 11
"""Runs in which workers of both policies judge."""
WRITES_OF_TWO = {fault for fault in FAULTS if fault.__name__.startswith("pause")}
"""Faults by which one owner's write lands behind another's, who need not judge by the same policy."""


class OtherSettings(SimSettings):
    """The same settings with another policy: answers are due sooner, and in the north all is sealed sooner."""

    def policy(self) -> Policy:
        """Return the policy verdicts are judged by."""
        in_the_north = Override({"region": "north"}, {"late_horizon_ms": shrunk(9 * HOUR_MS)})
        return msgspec.structs.replace(super().policy(), explanation_ms=shrunk(HOUR_MS), overrides=(in_the_north,))


class Written:
    """What was written to the changelog of cases in a run: finals, and by which policies was judged."""

    def __init__(self, run: Simulation) -> None:
        self.finals: dict[tuple[str, str, str], set[Verdict]] = defaultdict(set)
        self.marks: set[int] = set()
        self._logs = run.brokers.logs
        self._read: dict[TP, int] = {}
        run.brokers.listeners["written"] = [self._hear]

    def _hear(self, tp: TP) -> None:
        if not tp.topic.endswith("-cases-changelog"):
            return
        log, first = self._logs[tp], self._read.get(tp, 0)
        self._read[tp] = log.end
        for stored in log.read(first, log.end)[0]:
            case = read_case(stored.value) if stored.value is not None else None
            if case is None or case.closed is not None or case.is_forgotten or not case.verdicts:
                continue
            self.marks.add(case.judged_under)
            for verdict in case.verdicts:
                if verdict.sealed:
                    self.finals[case.case_id, verdict.sign, verdict.unit].add(verdict)


def rolling(seed: int) -> tuple[Simulation, Written]:
    """Return a run in whose second half every worker that starts has another policy, and what it wrote."""
    with quiet():
        run = Simulation(seed, STEPS, WRITES_OF_TWO)
    written = Written(run)
    run.book.find = lambda _what: None  # type: ignore[method-assign]  # it knows one policy
    stated: dict[str, Any] = run.settings.model_dump(mode="json", by_alias=True)
    other = OtherSettings.model_validate({**stated, "policy": {**stated["policy"], "explanation": "1h"}})

    def change() -> None:
        run.settings = other

    run.at((run.plans[len(run.plans) // 2].sent_ms - run.begin_ms) / 1000, "policy", change)
    with quiet():
        run.run()
    return run, written


def test_a_rolling_change_rewrites_nothing_final() -> None:
    """Workers of two policies take over from each other, no record rewrites a final verdict, both are recorded once."""
    for seed in SEEDS:
        run, written = rolling(seed)
        assert len(written.marks - {NOT_JUDGED}) == 2, (seed, "both policies are to be met")
        rewritten = {unit: said for unit, said in written.finals.items() if len(said) > 1}
        assert not rewritten, (seed, rewritten)
        assert len(written.finals) > 50, seed
        said = run.brokers.logs[TP(f"{run.group}-watermarks", 0)]
        keys = Counter(one.key for one in said.read(0, said.end)[0] if (one.key or b"").startswith(POLICY_KEY))
        assert list(keys.values()) == [1, 1], (seed, keys)
