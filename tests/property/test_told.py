"""What cases tell each other (rule 9): all that the others are judged by, and nothing that people wrote."""

from __future__ import annotations

import random
from contextlib import suppress
from itertools import product

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cxstream.domain import vocabulary
from cxstream.domain.cases import Case
from cxstream.domain.facts import Fact, RejectedError
from cxstream.domain.instant import DAY_MS
from cxstream.domain.policy import Policy
from cxstream.engine.assess import Clock
from cxstream.engine.boards import Board, for_boards, for_survivors, told_by
from cxstream.engine.casebook import Casebook
from cxstream.offline.events_file import Delivered, read_event
from cxstream.vital_signs import CATALOGUE
from oracle.histories import random_history
from parts.trials import often, seeds, tried

POLICY = Policy()
SEEDS = seeds(25)
WRITTEN = "Alex Example, phone 555 0100"


def written(seed: int) -> list[Delivered]:
    """Return a random history in which people wrote into every field that takes their words.

    Some facts come again with the same delivery and other words, some of these with another field that is told, too:
    which copy is kept then depends on both.
    """
    dice = random.Random(seed)
    facts = []
    for event in random_history(dice, 25):
        with suppress(RejectedError):
            facts.append(read_event(event, POLICY.clock_skew_ms))
    copies = []
    for case_id, fact in facts:
        copies.append(Delivered(case_id, with_words(fact, dice)))
        if dice.random() < 0.3:
            other = dice.choice([one.fact.fields for one in facts if one.fact.type == fact.type])
            copy = with_words(msgspec.structs.replace(fact, fields=dice.choice((fact.fields, other))), dice)
            copies.append(Delivered(case_id, copy))
    return copies


def with_words(fact: Fact, dice: random.Random) -> Fact:
    """Return a fact in which whatever text no other case needs says something about a person."""
    declared = vocabulary.fields_of(fact.topic, fact.type) or {}
    fields = dict(fact.fields)
    for name, field in declared.items():
        if not vocabulary.is_told(name, field) and field.kind == "text":
            fields[name] = f"{WRITTEN} {dice.randrange(3)}"
    changes = fields.get("set")
    if isinstance(changes, dict):
        names = sorted(vocabulary.CORRECTABLE - vocabulary.TEXTS_TOLD - vocabulary.TIME_FIELDS)
        fields["set"] = {**changes, **dict.fromkeys(dice.sample(names, 3), f"{WRITTEN} {dice.randrange(3)}")}
    return msgspec.structs.replace(fact, fields=fields)


def learnt(facts: list[Delivered]) -> Casebook:
    """Return all cases and boards after facts were taken in this order."""
    casebook = Casebook(CATALOGUE, POLICY)
    for case_id, fact in facts:
        casebook.take(case_id, fact)
    return casebook


def told_of(casebook: Casebook) -> list[tuple[str, list[Fact]]]:
    """Return what is known of cases elsewhere, wherever that is."""
    elsewhere: list[Case | Board] = [*casebook.cases.values(), *casebook.boards.values()]
    return [
        (origin, facts)
        for one in elsewhere
        for origin, facts in (one.relayed if isinstance(one, Case) else one.facts).items()
    ]


@pytest.mark.parametrize("seed", SEEDS)
def test_what_people_wrote_stays_in_their_case(seed: int) -> None:
    """No board and no other case holds anything of it, however facts were corrected, merged and copied."""
    casebook = learnt(written(seed))
    assert WRITTEN.encode() in msgspec.json.encode(list(casebook.cases.values()))
    assert WRITTEN.encode() not in msgspec.json.encode(told_of(casebook))


OPENINGS = [
    {"account_ref": account, "asset_id": asset, "kind": kind, "symptom": symptom}
    for account, asset, kind, symptom in product(("ann", "bob"), ("A1", "A2"), ("alert", "break_fix"), ("ann", "bob"))
]


@pytest.mark.parametrize("first", OPENINGS)
def test_others_keep_the_copy_that_is_kept_where_it_came_from(first: dict[str, str]) -> None:
    """Of copies that differ in what is told and in what is not, everybody holds the same one, in any order (rule 1)."""
    others = [
        Delivered(name, Fact("e1", "ticket", "opened", 1_000, 1_000, {"asset_id": asset}))
        for name, asset in (("N1", "A1"), ("N2", "A2"))
    ]
    for second in OPENINGS:
        copies = [Delivered("C1", Fact("e1", "ticket", "opened", 2_000, 2_000, dict(one))) for one in (first, second)]
        books = [learnt([*others, *copies]), learnt([*copies[::-1], *others])]
        kept, same = (book.cases["C1"].facts[0] for book in books)
        assert kept == same
        for origin, known in (one for book in books for one in told_of(book)):
            assert origin != "C1" or known == [kept.told()]


@pytest.mark.parametrize("seed", SEEDS)
def test_order_decides_nothing_where_copies_differ_in_words(seed: int) -> None:
    """Every verdict of every case and tier is the same in any order of processing (rule 2)."""
    dice = random.Random(seed)
    facts = written(seed)
    clock = Clock.at(max(fact.delivered_ms for _, fact in facts) + 40 * DAY_MS)
    judged = []
    for _ in range(3):
        casebook = learnt(dice.sample(facts, len(facts)))
        found = {name: one.case.verdicts for name, one in casebook.assess(clock).items()}
        judged.append({name: verdicts for name, verdicts in found.items() if verdicts})  # others only heard something
    assert judged[1:] == judged[:-1]


def test_the_histories_have_something_to_tell() -> None:
    """Cases know of each other in most of them, and copies differ in words alone as well as in more."""
    assert sum(bool(told_of(learnt(written(seed)))) for seed in SEEDS) >= often(len(SEEDS) // 2 + 1)


@pytest.mark.parametrize("seed", SEEDS)
def test_nobody_is_judged_by_what_is_not_told(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every verdict of every case and tier is the same as if cases told each other all they know (rule 9)."""
    facts = written(seed)
    clock = Clock.at(max(fact.delivered_ms for _, fact in facts) + 40 * DAY_MS)
    verdicts = {name: one.case.verdicts for name, one in learnt(facts).assess(clock).items()}
    casebook = learnt(facts)
    monkeypatch.setattr(Fact, "told", lambda fact: fact)
    kept = {name: case.facts for name, case in casebook.cases.items()}
    whole = learnt([Delivered(name, fact) for name, its in kept.items() for fact in its])
    assert {name: one.case.verdicts for name, one in whole.assess(clock).items()} == verdicts


def test_which_fields_are_told_is_decided_for_each() -> None:
    """A new text in the vocabulary is not told until somebody decides that others are judged by it."""
    texts = {
        name
        for fields in (*vocabulary.EVENT_TYPES.values(), *vocabulary.ANY_TOPIC.values())
        for name, field in fields.items()
        if field.kind == "text" and not vocabulary.is_told(name, field)
    }
    assert texts == {"account_ref", "amount", "by", "channel", "part_no", "symptom", "technician_id", "to", "what"}


_IDS = st.sampled_from("abcd")
_FIELDS = st.fixed_dictionaries(
    {"asset_id": st.sampled_from(["A1", "A2"]), "into": st.sampled_from(["C1", "C2"]), "target": _IDS},
    optional={
        "replaced_by": st.just("A3"),
        "set": st.dictionaries(st.sampled_from(["asset_id", "replaced_by", "into"]), st.sampled_from(["A4", "C3"])),
    },
)
_TYPES = ("opened", "cancelled", "corrected", "voided", "completed", "arrived", "assigned")
_FACTS = st.builds(
    Fact, _IDS, st.just("ticket"), st.sampled_from(_TYPES), st.integers(0, 3), st.integers(0, 3), _FIELDS
)


def _admitted(fact: Fact) -> Fact:
    """Return a fact with a `set` only where it is a correction: no other has one that is taken in."""
    known = {name: value for name, value in fact.fields.items() if name != "set" or fact.type == "corrected"}
    return msgspec.structs.replace(fact, fields=known)


_COMING = st.lists(st.tuples(st.sampled_from([None, None, None, "C2"]), _FACTS.map(_admitted)), max_size=2)
_MERGE = Fact("m", "ticket", "merged", 0, 0, {"into": "C1"})
_VISIT = Fact("v", "dispatch", "completed", 0, 0, {"replaced_by": "A9"})
_BEGINNINGS = (
    Case("C1"),
    Case("C1", [Fact("b", "ticket", "opened", 1, 3, {"asset_id": "A1"})]),
    Case("C1", [Fact("m", "ticket", "merged", 0, 0, {"into": "C2"})]),
    Case("C1", relayed={"C2": [_MERGE, _VISIT]}),
)


@tried(200)
@example(_BEGINNINGS[1], [[(None, Fact("b", "ticket", "arrived", 0, 0))]])
@given(st.sampled_from(_BEGINNINGS), st.lists(_COMING, max_size=4))
def test_nothing_that_is_new_goes_untold(case: Case, batches: list[list[tuple[str | None, Fact]]]) -> None:
    """Whatever comes to a case and whichever copy is kept, boards and survivors are told all that differs (rule 9)."""
    for batch in batches:
        old = case
        for origin, fact in batch:
            case, _reception = case.advance(fact, origin)
        kept = {(case.case_id, fact.event_id): fact.told() for fact in case.facts}
        kept |= {(origin, fact.event_id): fact for origin, facts in case.relayed.items() for fact in facts}
        before, after = ((for_boards(one, POLICY), for_survivors(one)) for one in (old, case))
        for was, now, told in zip(before, after, told_by(old, case, POLICY), strict=True):
            heard = {key: kept[key[1:]] for key in was} | now
            assert told == {key: fact for key, fact in heard.items() if was.get(key) != fact}
