"""Deadlines: a case is judged again when the clock may change it, and only then (rule 6)."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cases import POLICY, wakes_ms
from cxstream.domain.facts import RejectedError
from cxstream.domain.instant import MINUTE_MS, NEVER_MS
from cxstream.domain.verdict import Verdict
from cxstream.engine.assess import Clock, assess
from cxstream.engine.casebook import Casebook
from cxstream.engine.deadlines import Deadlines
from cxstream.offline.events_file import Delivered, read_event
from cxstream.vital_signs import CATALOGUE
from oracle.histories import interesting_clocks, random_history

KEYS = [b"a", b"b", b"c"]


def deadlines(**at_ms: int) -> Deadlines:
    """Return deadlines by key."""
    made = Deadlines()
    for key, deadline_ms in at_ms.items():
        made.set(key.encode(), deadline_ms)
    return made


@pytest.mark.parametrize(
    ("now_ms", "limit", "expected"),
    [(4, 9, []), (5, 9, [b"a"]), (7, 9, [b"a", b"c"]), (9, 9, [b"a", b"c", b"b"]), (9, 2, [b"a", b"c"]), (9, 0, [])],
)
def test_what_is_due(now_ms: int, limit: int, expected: list[bytes]) -> None:
    """Cases are due at their deadline, the earliest first, no more than asked for (rule 6)."""
    assert deadlines(a=5, b=9, c=7).due(now_ms, limit) == expected


def test_what_is_due_stays_due_until_it_is_judged() -> None:
    """Asking takes nothing away: a case whose judgement failed is asked for again (rule 6)."""
    made = deadlines(a=5, b=6)
    assert made.due(10, 9) == made.due(10, 9) == [b"a", b"b"]
    made.set(b"a", 50)
    assert made.due(10, 9) == [b"b"]
    assert made.due(50, 9) == [b"b", b"a"]


def test_a_deadline_replaces_the_one_before() -> None:
    """Only the last deadline of a case counts, earlier or later; never takes it away (rule 6)."""
    made = deadlines(a=5)
    made.set(b"a", 9)
    assert made.due(8, 9) == []
    made.set(b"a", 3)
    assert made.due(3, 9) == [b"a"]
    made.set(b"a", NEVER_MS)
    assert (made.due(NEVER_MS - 1, 9), len(made)) == ([], 0)
    made.set(b"a", 5)
    assert (made.due(5, 9), len(made)) == ([b"a"], 1)


INSTANTS = st.integers(0, 20).map(lambda number: number * MINUTE_MS // 4)
CHANGES = st.tuples(st.sampled_from(KEYS), st.one_of(INSTANTS, st.just(NEVER_MS)))


@given(st.lists(st.tuples(st.lists(CHANGES), INSTANTS)))
def test_deadlines_are_a_sorted_map(rounds: list[tuple[list[tuple[bytes, int]], int]]) -> None:
    """After any changes what is due is what a plain map of the last deadlines says, each case once (rule 6)."""
    made, plain = Deadlines(), dict[bytes, int]()
    for changes, now_ms in rounds:
        for key, deadline_ms in changes:
            made.set(key, deadline_ms)
            plain[key] = deadline_ms
            assert len(made) == sum(at_ms < NEVER_MS for at_ms in plain.values())
        due = made.due(now_ms, 99)
        assert sorted(due) == sorted(key for key, at_ms in plain.items() if at_ms <= now_ms)
        assert [plain[key] for key in due] == sorted(plain[key] for key in due)


def test_replaced_deadlines_do_not_pile_up() -> None:
    """A case whose deadline moves all the time costs no more memory than one that stands still (rule 6)."""
    made = Deadlines()
    for at_ms in range(20_000):
        made.set(KEYS[at_ms % 3], at_ms)
    assert len(made._near) + sum(map(len, made._far.values())) < 3_000
    assert made.due(20_000, 9) == [KEYS[at_ms % 3] for at_ms in (19_997, 19_998, 19_999)]


def admitted(seed: int) -> list[Delivered]:
    """Return the facts of a random history, in order of delivery."""
    facts = []
    for event in random_history(random.Random(seed), 20):
        try:
            facts.append(read_event(event, POLICY.clock_skew_ms))
        except RejectedError:
            continue
    return facts


def meaning(verdicts: list[Verdict]) -> list[tuple[object, ...]]:
    """Return what a reader acts on."""
    return [(one.sign, one.unit, one.verdict, one.reason, one.anchor_ms, one.sealed) for one in verdicts]


@pytest.mark.parametrize("seed", range(40))
def test_nothing_changes_before_the_deadline(seed: int) -> None:
    """Judged at its deadlines only, a case has at any time the verdicts of one judged at that instant (rule 6)."""
    casebook = Casebook(CATALOGUE, POLICY)
    for case_id, fact in admitted(seed):
        casebook.take(case_id, fact)
    judged = dict(casebook.cases)
    clocks = interesting_clocks(random_history(random.Random(seed), 20))
    for now_ms in sorted(random.Random(seed).sample(clocks, min(len(clocks), 25))):
        for case_id, case in casebook.cases.items():
            now = assess(case, CATALOGUE, POLICY, Clock.at(now_ms)).case
            if wakes_ms(judged[case_id]) <= now_ms or not judged[case_id].verdicts:
                judged[case_id] = now
            assert meaning(judged[case_id].verdicts) == meaning(now.verdicts)
