"""A change of policy: what is final stays, all else is judged as if there had never been another policy (rule 4)."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import msgspec
import pytest

from cxstream.domain.instant import DAY_MS, HOUR_MS, NEVER_MS
from cxstream.domain.policy import Override, Policy
from cxstream.engine.assess import Clock, assess
from cxstream.vital_signs import TIER_A
from oracle.histories import interesting_clocks, random_history, segment_policies
from parts.agent import Broker, Life
from parts.lives import KEEPS_ALL, cases_of, lived, meaning, sent, verdicts_of
from parts.trials import often, seeds

FIRST = KEEPS_ALL
SEEDS = seeds(24)


def another(dice: random.Random) -> Policy:
    """Return a policy that differs from the first one for all cases, and again in some segments."""
    names = {"silence_limit_ms": "silence_limit_by_priority_ms"}
    overrides = [
        Override(where, {names.get(name, name): value for name, value in constants.items()})
        for where, constants in segment_policies(dice)
    ]
    return msgspec.structs.replace(
        FIRST,
        late_horizon_ms=dice.choice((HOUR_MS, DAY_MS, 3 * DAY_MS, 9 * DAY_MS)),
        repeat_window_ms=dice.choice((DAY_MS, 30 * DAY_MS)),
        explanation_ms=dice.choice((HOUR_MS, 24 * HOUR_MS)),
        overrides=tuple(overrides),
    )


@pytest.mark.parametrize("first", [FIRST, another(random.Random(7))], ids=["usual", "with segments"])
def test_final_stays_and_all_else_is_judged_anew(first: Policy) -> None:
    """After a restart with another policy, at once and to the end, what was final stays, all else is as by it alone."""
    met: Counter[str] = Counter()
    for seed in SEEDS:
        dice = random.Random(seed)
        records, policy = sent(seed, dice), another(dice)
        clocks = [at for at in interesting_clocks(random_history(random.Random(seed), 25)) if at > 0]
        change_ms, end_ms = sorted(dice.sample(clocks, 2))
        before = [one for one in records if one.record.timestamp <= change_ms]
        after = [one for one in records if change_ms < one.record.timestamp <= end_ms]

        broker = Broker()
        lived(broker, before, change_ms, first)
        final = {unit: one for unit, one in verdicts_of(broker).items() if one.sealed}
        open_before = meaning({unit: one for unit, one in verdicts_of(broker).items() if not one.sealed})
        for more, now_ms in (([], change_ms), (after, end_ms)):
            lived(broker, more, now_ms, policy)
            alone = Broker()
            lived(alone, [*before, *more], now_ms, policy)
            found, expected = verdicts_of(broker), meaning(verdicts_of(alone))
            assert {unit: found.get(unit) for unit in final} == final, (seed, now_ms)
            rest = meaning({unit: one for unit, one in found.items() if unit not in final})
            assert rest == {unit: one for unit, one in expected.items() if unit not in final}, (seed, now_ms)
            met["final, and otherwise by the new policy"] += sum(
                expected.get(unit) != said for unit, said in meaning(final).items()
            )
            if not more:
                met["judged anew"] += sum(rest.get(unit) != said for unit, said in open_before.items())
            for case in [case for case in cases_of(broker).values() if case.facts]:
                blank = msgspec.structs.replace(case, deadline_ms=NEVER_MS, settles_ms=NEVER_MS)
                anew = assess(blank, TIER_A, policy, Clock.at(now_ms)).case
                assert (case.deadline_ms, case.settles_ms) == (anew.deadline_ms, anew.settles_ms), (seed, now_ms)
    assert min(met[kind] for kind in ("final, and otherwise by the new policy", "judged anew")) >= often(51), met


def test_a_case_is_judged_again_once() -> None:
    """Only a start under another policy rechecks, and only once, whether or not a verdict changes."""
    seed = 3
    dice = random.Random(seed)
    records = sent(seed, dice)
    now_ms = records[len(records) // 2].record.timestamp + 5 * DAY_MS
    policy = msgspec.structs.replace(FIRST, easy_opening_transfers=9)  # no sign of tier A asks
    broker = Broker()
    lived(broker, [one for one in records if one.record.timestamp <= now_ms], now_ms, FIRST)
    known = cases_of(broker)
    judged = {key for key, case in known.items() if case.facts}
    assert judged

    def rechecked(by: Policy) -> set[bytes]:
        life = Life(broker, wall_ms=lambda: now_ms, policy=by)
        asyncio.run(life.recover())
        return set(life.partition.rechecked(1000))

    assert rechecked(FIRST) == set()
    assert rechecked(policy) == judged
    lived(broker, [], now_ms, policy)
    assert rechecked(policy) == set()
    for key, case in cases_of(broker).items():
        mark = case.judged_under
        assert (mark != known[key].judged_under) == (key in judged)
        told = [] if key in judged else known[key].transitions  # judged again, it changed nothing
        assert case == msgspec.structs.replace(known[key], judged_under=mark, transitions=told)
