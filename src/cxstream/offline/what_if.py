"""Judges the same events under two policies: what `cxstream what-if` prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from cxstream.domain.policy import Policy
from cxstream.domain.verdict import Verdict
from cxstream.engine.assess import Catalogue
from cxstream.offline.events_file import Delivered
from cxstream.offline.judge import judge_facts


class Tally(NamedTuple):
    """How the units of a sign stand under one policy."""

    good: int
    bad: int
    pending: int
    excluded: int

    @property
    def ratio(self) -> float | None:
        """The share of decided units that are good; None without any."""
        return self.good / (self.good + self.bad) if self.good + self.bad else None


class Changed(NamedTuple):
    """A unit that two policies judge differently; a verdict is None where one of them knows no such unit."""

    sign: str
    case_id: str
    unit: str
    before: Verdict | None
    after: Verdict | None


class Comparison(NamedTuple):
    """The same events under two policies."""

    policy: dict[str, tuple[object, object]]
    """Constants that differ, by name: before and after; durations in milliseconds."""
    signs: dict[str, tuple[Tally, Tally]]
    changed: list[Changed]

    def documents(self) -> Iterator[dict[str, object]]:
        """Yield the constants that differ, one line per sign, and one per unit that is judged differently."""
        for name, (before, after) in self.policy.items():
            yield {"constant": name, "before": _plain(before), "after": _plain(after)}
        for sign, (was, now) in self.signs.items():
            yield {"sign": sign, "before": _shown(was), "after": _shown(now)}
        for sign, case_id, unit, old, new in self.changed:
            yield {"sign": sign, "case": case_id, "unit": unit, "before": _said(old), "after": _said(new)}


def compare(
    facts: Iterable[Delivered], as_of_ms: int, catalogue: Catalogue, before: Policy, after: Policy
) -> Comparison:
    """Judge what was delivered by `as_of_ms` at that clock reading under both policies.

    Nothing published is touched: stored events are judged anew, those that are final today included.
    """
    known = list(facts)
    was, now = (_judged(known, as_of_ms, catalogue, policy) for policy in (before, after))
    return Comparison(
        policy={
            name: (getattr(before, name), getattr(after, name))
            for name in before.__struct_fields__
            if getattr(before, name) != getattr(after, name)
        },
        signs={sign: (_tally(was, sign), _tally(now, sign)) for sign in catalogue},
        changed=[
            Changed(*key, was.get(key), now.get(key))
            for key in sorted(was.keys() | now.keys())
            if _said(was.get(key)) != _said(now.get(key))
        ],
    )


_Unit = tuple[str, str, str]


def _judged(facts: Iterable[Delivered], as_of_ms: int, catalogue: Catalogue, policy: Policy) -> dict[_Unit, Verdict]:
    judged, _not_taken = judge_facts(facts, as_of_ms, catalogue, policy)
    return {(one.verdict.sign, one.case_id, one.verdict.unit): one.verdict for one in judged}


def _tally(verdicts: Mapping[_Unit, Verdict], sign: str) -> Tally:
    counts = Counter(one.verdict for (name, _, _), one in verdicts.items() if name == sign)
    good = counts["provisional_hit"] + counts["final_hit"]
    return Tally(good, counts["miss"], counts["pending"], counts["excluded"])


def _said(verdict: Verdict | None) -> dict[str, object] | None:
    return None if verdict is None else {"verdict": verdict.verdict, "reason": verdict.reason}


def _plain(constant: object) -> object:
    return sorted(constant) if isinstance(constant, frozenset) else msgspec.to_builtins(constant)


def _shown(tally: Tally) -> dict[str, object]:
    return {"ratio": tally.ratio, **tally._asdict()}
