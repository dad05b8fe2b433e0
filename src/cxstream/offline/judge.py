"""Judges the cases of a set of facts at a clock reading: what `cxstream judge` prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from cxstream.domain.instant import format_limit
from cxstream.domain.policy import Policy
from cxstream.domain.verdict import Verdict
from cxstream.engine.assess import Catalogue, Clock
from cxstream.engine.casebook import Casebook
from cxstream.offline.events_file import Delivered


class Judged(NamedTuple):
    """A verdict, the case its unit belongs to, and the event ids it rests on."""

    case_id: str
    verdict: Verdict
    evidence: tuple[str, ...]

    def document(self) -> dict[str, object]:
        """Return the verdict as it is printed: instants as RFC 3339."""
        verdict = self.verdict
        return {
            "sign": verdict.sign,
            "unit": verdict.unit,
            "case": self.case_id,
            "verdict": verdict.verdict,
            "reason": verdict.reason,
            "anchor": format_limit(verdict.anchor_ms),
            "seals_at": format_limit(verdict.seal_ms),
            "evidence": list(self.evidence),
        }


def judge_facts(
    facts: Iterable[Delivered], as_of_ms: int, catalogue: Catalogue, policy: Policy
) -> tuple[list[Judged], Counter[str]]:
    """Judge what was delivered by `as_of_ms` at that clock reading.

    Returns the verdicts by sign and unit, and how often a fact was not taken: `duplicate`, `conflict` or `refused`.
    """
    casebook = Casebook(catalogue, policy)
    not_taken: Counter[str] = Counter()
    for case_id, fact in facts:
        if fact.delivered_ms <= as_of_ms:
            reception = casebook.take(case_id, fact)
            if reception != "applied":
                not_taken[reception] += 1
    judged = sorted(_verdicts(casebook, as_of_ms), key=lambda one: (one.verdict.sign, one.verdict.unit))
    return judged, not_taken


def _verdicts(casebook: Casebook, as_of_ms: int) -> Iterator[Judged]:
    for assessment in casebook.assess(Clock.at(as_of_ms)).values():
        evidence = {(change.new.sign, change.new.unit): change.evidence for change in assessment.changes}
        for verdict in assessment.case.verdicts:
            yield Judged(assessment.case.case_id, verdict, evidence.get((verdict.sign, verdict.unit), ()))
