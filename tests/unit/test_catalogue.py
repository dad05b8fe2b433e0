"""The catalogue: adding a vital sign is adding one file."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cases import POLICY, booked, ms, opened
from cxstream import vital_signs
from cxstream.domain import failures, promises, scope, vocabulary, waiting
from cxstream.domain.loopholes import LOOPHOLES
from cxstream.engine.assess import REASONS, Clock
from cxstream.exposition.activity import DISPOSITIONS
from cxstream.exposition.families import FAMILIES
from cxstream.vital_signs import CATALOGUE, TIER_A, catalogue

SHARED = (failures, promises, waiting)
"""Modules whose judgements several signs give."""

SIGN = '''
"""acknowledged_at_all: did anybody ever answer?"""

from cxstream.domain.gaming import Gaming
from cxstream.domain.units import CASE
from cxstream.domain.verdict import Judgement
from cxstream.domain.vital_sign import VitalSign


def judge(evidence, _case_id, _clock_ms, _policy):
    return Judgement("hit", "yes") if evidence.of("ticket", "acknowledged") else Judgement("pending", "not_yet")


VITAL_SIGN = VitalSign(
    name="acknowledged_at_all",
    title="Answered at all",
    question="Is anybody there?",
    numerator="cases somebody acknowledged",
    denominator="cases",
    unit=CASE,
    judge=judge,
    topics=("ticket",),
    objective=0.99,
    known="at the acknowledgement",
    gaming=Gaming("Acknowledge and do nothing."),
)
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield a folder whose modules are found beside the vital signs of the package."""
    monkeypatch.setattr(vital_signs, "__path__", [*vital_signs.__path__, str(tmp_path)])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith(vital_signs.__name__):
            del sys.modules[name]


def test_adding_a_sign_is_adding_a_file(folder: Path) -> None:
    """A module with a VITAL_SIGN in the folder is in the catalogue, and its verdicts are judged like all others."""
    (folder / "acknowledged_at_all.py").write_text(SIGN)
    extended = catalogue()
    assert extended == {**CATALOGUE, "acknowledged_at_all": extended["acknowledged_at_all"]}
    assert list(extended) == sorted(extended)
    casebook = booked([opened()], POLICY, extended)
    casebook.assess(Clock.at(ms("1h")))
    verdicts = {one.sign: one.verdict for one in casebook.cases["C1"].verdicts}
    assert verdicts["acknowledged_at_all"] == "pending"


def test_a_file_is_named_after_its_sign(folder: Path) -> None:
    """A sign in a file of another name is refused by name: who looks for the sign finds the file."""
    (folder / "answered.py").write_text(SIGN)
    with pytest.raises(ValueError, match=r"'acknowledged_at_all' lives in answered\.py"):
        catalogue()


def test_a_file_without_a_sign_is_refused(folder: Path) -> None:
    """The folder holds signs only: shared code belongs to the domain."""
    (folder / "shared_code.py").write_text("X = 1\n")
    with pytest.raises(AttributeError, match="VITAL_SIGN"):
        catalogue()


def test_every_file_is_a_sign() -> None:
    """What is in the folder is in the catalogue, and the other way round, in order of name."""
    files = Path(str(vital_signs.__file__)).parent.glob("[!_]*.py")
    assert list(CATALOGUE) == sorted(file.stem for file in files)


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_sign_says_what_it_is(name: str) -> None:
    """Everything published about a sign is stated: title, question, both sides of the ratio, sources and objective."""
    sign = CATALOGUE[name]
    assert sign.name == name
    assert all((sign.title, sign.question, sign.numerator, sign.denominator, sign.known, sign.judge.__doc__))
    assert re.search(r"final|until", sign.known), "say until when it can change, too"
    assert set(sign.topics) <= set(vocabulary.TOPICS)
    assert sign.topics
    assert sign.objective is None or 0 < sign.objective < 1
    assert (sign.objective is None) is (sign.measure is not None)
    assert sign.lower_is_better not in CATALOGUE


@pytest.mark.parametrize("name", [name for name, sign in CATALOGUE.items() if sign.measure])
def test_a_sign_that_measures_says_how_it_is_published(name: str) -> None:
    """Its bounds ascend, its quantiles are shares, its unit is a word that can end the name of a family (rule 25)."""
    measure = CATALOGUE[name].measure
    assert measure is not None
    assert list(measure.bounds) == sorted(set(measure.bounds))
    assert re.fullmatch(r"[a-z]+s", measure.unit)
    assert measure.per_unit == (1000 if measure.unit == "seconds" else 1)
    assert all(0 < quantile < 1 for quantile in measure.quantiles)
    whole = set(measure.bounds) >= set(range(1, 4))
    assert whole is not bool(measure.quantiles), "a quantile guesses within a bucket: counts have one each"


@pytest.mark.parametrize("name", CATALOGUE)
def test_what_shows_a_sign_being_gamed_is_there(name: str) -> None:
    """Each counter named is a family that is exposed, with that label, and a value that occurs for this sign."""
    families = {family.name: family for family in FAMILIES}
    sign = CATALOGUE[name]
    values = {
        "reason": {*sign.reasons, *scope.REASONS, *REASONS},
        "loophole": set(LOOPHOLES),
        "disposition": set(DISPOSITIONS),
        "vital_sign": {other for other, one in CATALOGUE.items() if one.measure is None} - {name},
    }
    assert sign.gaming.how.endswith(".")
    assert len(set(sign.gaming.traces)) == len(sign.gaming.traces)
    for family, label, value in sign.gaming.traces:
        assert family in families
        assert not label or (label in families[family].labels and value in values[label]), (family, label, value)
        about_itself = family.startswith("cxstream_vital_sign_") and label != "vital_sign"
        assert not (about_itself and sign.measure), "of a sign that measures, what is not decided is not published"
        if label == "reason":
            given = rf'"excluded", (?:"{value}"|reason\b|[^)]* "{value}")'
            assert value in scope.REASONS or re.search(given, judge_of(name)), value


def judge_of(name: str) -> str:
    """Return the source of a sign and of the modules whose judgements it may give."""
    files = [Path(str(vital_signs.__file__)).with_name(f"{name}.py"), *(Path(str(one.__file__)) for one in SHARED)]
    return "".join(file.read_text("utf-8") for file in files)


def reasons_in(module: Path) -> set[str]:
    """Return every text that a module gives a Judgement as its reason."""
    calls = (node for node in ast.walk(ast.parse(module.read_text("utf-8"))) if isinstance(node, ast.Call))
    given = (call.args[1] for call in calls if isinstance(call.func, ast.Name) and call.func.id == "Judgement")
    texts = (node.value for reason in given for node in ast.walk(reason) if isinstance(node, ast.Constant))
    return {text for text in texts if isinstance(text, str)}


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_reason_of_a_sign_is_in_plain_words(name: str) -> None:
    """A reason that stands in a judge has a sentence beside it: who adds one says what it means."""
    module = Path(str(vital_signs.__file__)).with_name(f"{name}.py")
    missing = reasons_in(module) - CATALOGUE[name].reasons.keys() - scope.REASONS.keys()
    assert not missing, f"put into words in VITAL_SIGN.reasons of {module.name}: {sorted(missing)}"


@pytest.mark.parametrize("name", CATALOGUE)
def test_no_words_are_left_of_a_reason_that_is_gone(name: str) -> None:
    """Every reason put into words is one its sign can give, by the source of its judge."""
    sources = [Path(str(vital_signs.__file__)).with_name(f"{name}.py"), *(Path(str(one.__file__)) for one in SHARED)]
    judges = "".join(re.split("VITAL_SIGN = |def reasons", source.read_text("utf-8"))[0] for source in sources)
    given = {text for text in CATALOGUE[name].reasons if f'"{text}"' in judges}
    assert given | set(vocabulary.OUTCOMES) >= CATALOGUE[name].reasons.keys()


def test_every_reason_is_a_sentence_and_cites_its_rules() -> None:
    """Reasons are whole sentences with the limits of the policy filled in, of rules that the page has."""
    signs = [reason for sign in CATALOGUE.values() for reason in sign.reasons.values()]
    of_rules = [reason for sign in CATALOGUE.values() if sign.tier == "A" for reason in sign.reasons.values()]
    assert all(reason.rules for reason in (*of_rules, *scope.REASONS.values()))
    for reason in (one.told(POLICY) for one in (*signs, *scope.REASONS.values())):
        assert set(reason.rules) <= set(range(1, 27))
        assert reason.open_to
    for reason in (one.told(POLICY) for one in (*signs, *scope.REASONS.values(), *REASONS.values())):
        assert reason.sentence[0].isupper()
        assert reason.sentence.endswith(".")
        assert not reason.open_to.endswith(".")
        assert "{" not in reason.sentence + reason.open_to + reason.counted_at


def test_a_judge_that_fails_costs_its_own_verdict_only() -> None:
    """An error in one judge excludes that verdict with reason error; the other signs are judged."""

    def broken(*_arguments: object) -> None:
        raise ZeroDivisionError

    signs = {**CATALOGUE, "stayed_fixed": CATALOGUE["stayed_fixed"]._replace(judge=broken)}
    casebook = booked([opened()], POLICY, signs)
    casebook.assess(Clock.at(ms("1h")))
    found = {one.sign: f"{one.verdict} {one.reason}" for one in casebook.cases["C1"].verdicts}
    assert found["stayed_fixed"] == "excluded error"
    assert found["first_time_fix"] == "pending no_attempt_yet"


def test_signs_are_judged_together_that_share_unit_and_scope() -> None:
    """Every sign is in exactly one group, each group is of one kind of unit and one scope, and it is made once."""
    for signs in (CATALOGUE, TIER_A):
        groups = [{(sign.unit, sign.needs_opening, sign.kinds) for sign in group} for group in signs.by_scope]
        assert sorted(sign.name for group in signs.by_scope for sign in group) == sorted(signs)
        assert [len(scopes) for scopes in groups] == [1] * len(set[object]().union(*groups))
        assert signs.by_scope is signs.by_scope
