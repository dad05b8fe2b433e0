"""A change of policy: what is final stays, all else is judged as if there had never been another policy (rule 4)."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
import pytest

from cxstream.domain.cases import Case
from cxstream.domain.facts import RejectedError
from cxstream.domain.instant import DAY_MS, HOUR_MS, NEVER_MS
from cxstream.domain.policy import Override, Policy
from cxstream.domain.verdict import Verdict
from cxstream.engine.assess import Clock, assess
from cxstream.kafka.records import read_case
from cxstream.offline.events_file import read_event
from cxstream.vital_signs import TIER_A
from oracle.histories import in_segments, interesting_clocks, random_history, segment_policies
from parts.agent import Broker, Life, Record

FIRST = Policy(longest_window_ms=NEVER_MS)
"""Nothing is forgotten by it: all verdicts are there to compare."""
SEEDS = range(24)

Unit = tuple[str, str, str]
"""(case id, sign, unit id)"""


class Sent(NamedTuple):
    """A record of a source topic."""

    topic: str
    record: Record


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


def sent(seed: int, dice: random.Random) -> list[Sent]:
    """Return a random history as records, in order of delivery; what cannot be sent is left out."""
    codec = Life(Broker(), wall_ms=lambda: 0).codec
    records = []
    for event in in_segments(random_history(random.Random(seed), 25), dice):
        try:
            fact = read_event(event, FIRST.clock_skew_ms).fact
            key, value = event["case_id"].encode(), codec.encode(event)
        except RejectedError:
            continue
        records.append(Sent(event["topic"], Record(key, value, fact.delivered_ms)))
    return sorted(records, key=lambda one: one.record.timestamp)


def lived(broker: Broker, records: list[Sent], now_ms: int, policy: Policy) -> Life:
    """Return a process that has started from what the broker holds, taken the records as delivered, and judged then."""
    clock_ms = 0
    life = Life(broker, wall_ms=lambda: clock_ms, policy=policy)

    async def live() -> None:
        nonlocal clock_ms
        await life.recover()
        for offset, one in enumerate(records):
            clock_ms = one.record.timestamp
            await life.process(one.topic, [one.record._replace(offset=offset)])
            await life.settle()
        clock_ms = now_ms
        await life.agent.judge_due(life.partition)

    asyncio.run(live())
    return life


def cases_of(broker: Broker) -> dict[bytes, Case]:
    """Return the records of cases a broker holds."""
    return {key: read_case(data) for key, data in broker.tables["cases"].items()}


def verdicts_of(broker: Broker) -> dict[Unit, Verdict]:
    """Return all verdicts that are published."""
    return {(case.case_id, one.sign, one.unit): one for case in cases_of(broker).values() for one in case.verdicts}


def meaning(verdicts: Mapping[Unit, Verdict]) -> dict[Unit, tuple[Any, ...]]:
    """Return what they say, without how often they were revised."""
    return {
        unit: (one.verdict, one.reason, one.anchor_ms, one.seal_ms, one.sealed, one.due_ms)
        for unit, one in verdicts.items()
    }


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
    assert min(met[kind] for kind in ("final, and otherwise by the new policy", "judged anew")) > 50, met


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
