"""The stream of verdicts as a consumer sees it, whatever was delivered in which order, and wherever workers ended."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from cxstream.domain.cases import Case, Segment
from cxstream.domain.facts import Fact, RejectedError
from cxstream.domain.folding import is_identity
from cxstream.domain.instant import DAY_MS, NEVER_MS
from cxstream.domain.policy import Policy
from cxstream.domain.verdict import Verdict
from cxstream.engine.assess import Catalogue, Clock, assess, receive
from cxstream.engine.transitions import Announcement, announcements, to_write
from cxstream.kafka.records import read_case, write
from cxstream.kafka.verdict_stream import encode, id_of, key_of
from cxstream.offline.events_file import read_event
from cxstream.vital_signs import CATALOGUE, TIER_A
from oracle.histories import random_history
from parts.trials import tried
from parts.verdicts import Consumer, encode_plain

POLICY = Policy(facts_per_case=12)
CATALOGUES: tuple[Catalogue, ...] = (CATALOGUE, CATALOGUE, TIER_A)


class Group:
    """The records of some cases, judged batch by batch by workers that may end before they have announced anything."""

    def __init__(self) -> None:
        self.records: dict[str, bytes] = {}
        self.consumer = Consumer()
        self.wrong: list[str] = []

    def judge(
        self, case_id: str, taken: Iterable[tuple[str, Fact]], catalogue: Catalogue, clock: Clock, *, ends: bool
    ) -> None:
        """Take facts to a case, judge it and write its record; announce it, or end and let the next owner do that."""
        old = read_case(self.records[case_id]) if case_id in self.records else None
        case = old or Case(case_id)
        for origin, fact in taken:
            case, _reception = receive(case, fact, catalogue, POLICY, None if origin == case_id else origin)
        assessment = assess(case, catalogue, POLICY, clock)
        new = to_write(old, assessment.case, catalogue)
        if assessment.is_over:
            del self.records[case_id]
            return
        self.records[case_id] = write(new)
        again = list(announcements(read_case(write(new)), catalogue, POLICY))
        if new is not old:
            evidence = {(one.new.sign, one.new.unit): one.evidence for one in assessment.changes}
            first = list(announcements(new, catalogue, POLICY, evidence))
            assert first == again
        if not ends:
            self.announce(again)
        if ends or clock.now_ms % 3 == 0:
            self.announce(again)

    def announce(self, announced: Iterable[Announcement]) -> None:
        """Let the consumer read announcements."""
        self.wrong += self.consumer.broken((key_of(one).encode(), encode(one, "policy")) for one in announced)


_TEXTS = st.text(max_size=9) | st.text(min_size=60, max_size=70)
_LONGS = st.integers(-(2**40), 2**40) | st.integers(-(2**63), 2**63 - 1)
_FLAGS = st.booleans()
_OPTIONAL = st.none() | _LONGS
_VERDICTS = st.builds(
    Verdict, _TEXTS, _TEXTS, _TEXTS, _TEXTS, _LONGS, _LONGS | st.just(NEVER_MS), _FLAGS, retracted=_FLAGS,
    measured=_OPTIONAL,
)  # fmt: skip
_ANNOUNCEMENTS = st.builds(
    Announcement,
    case_id=_TEXTS,
    kind=st.just("case") | _TEXTS,
    unit=_TEXTS,
    sign=_TEXTS,
    sequence=_LONGS,
    old=st.none() | st.tuples(_TEXTS, _TEXTS),
    announced=_TEXTS,
    reason=_TEXTS,
    verdict=_VERDICTS,
    evidence=st.lists(_TEXTS, max_size=3).map(tuple) | st.integers(60, 100).map(lambda count: ("E-1",) * count),
    account_ref=st.none() | _TEXTS,
    segment=st.builds(Segment, _TEXTS, _TEXTS, _TEXTS, _TEXTS, _TEXTS),
    judged_ms=_LONGS,
)


@tried(50)
@given(_ANNOUNCEMENTS, _TEXTS)
def test_a_message_is_what_fastavro_writes_by_the_schema(one: Announcement, policy: str) -> None:
    """Whatever is announced, its bytes are those of a library that goes by the names of the fields."""
    verdict, segment = one.verdict, one.segment
    message = {
        "id": id_of(one),
        "case_id": one.case_id,
        "unit_kind": one.kind,
        "unit": one.unit,
        "sign": one.sign,
        "sequence": one.sequence,
        "old": None if one.old is None else {"verdict": one.old[0], "reason": one.old[1]},
        "verdict": one.announced,
        "reason": one.reason,
        "final": verdict.sealed,
        "retracted": verdict.retracted,
        "anchor": verdict.anchor_ms,
        "seals_at": verdict.seal_ms if verdict.seal_ms < NEVER_MS else None,
        "measured": verdict.measured,
        "evidence": one.evidence,
        "account_ref": one.account_ref,
        **{name: getattr(segment, name) for name in ("priority", "region", "product", "tier", "provider")},
        "judged_at": one.judged_ms or None,
        "policy": policy,
    }
    assert encode(one, policy) == encode_plain(message)


@tried(60)
@given(st.integers(0, 2**32))
def test_the_stream_has_no_gap_and_ends_where_the_records_do(seed: int) -> None:
    """Any order, copies, any batches and clock readings, ends at any point: no gap, one content an id, true at last."""
    dice, group = Random(seed), Group()
    told: list[tuple[str, Fact]] = []
    for event in random_history(dice, dice.choice((8, 25, 60)), erasures=dice.random() < 0.5):
        with suppress(RejectedError):
            told.append(read_event(event, POLICY.clock_skew_ms))
    if dice.random() < 0.7:
        dice.shuffle(told)
    told += dice.choices(told, k=dice.randrange(4)) if told else []
    now_ms = settled_ms = min((fact.delivered_ms for _case, fact in told), default=0)
    cases = sorted({case_id for case_id, _fact in told})
    while told or dice.random() < 0.9:
        size = dice.choice((0, 1, 1, 3, 20))
        batch, told = told[:size], told[size:]
        now_ms += dice.choice((0, 1, 60_000, DAY_MS, 40 * DAY_MS if not told else 0))
        settled_ms = max(settled_ms, now_ms - dice.choice((0, 5_000, DAY_MS)))
        catalogue = dice.choice(CATALOGUES)
        for case_id in cases:
            own = [one for one in batch if one[0] == case_id or is_identity(one[1])]
            if own or dice.random() < 0.3:
                group.judge(case_id, own, catalogue, Clock(now_ms, settled_ms), ends=dice.random() < 0.3)
        assert not group.wrong
    records = {case_id: read_case(data) for case_id, data in group.records.items()}
    assert not list(group.consumer.differences(records.values(), TIER_A))
