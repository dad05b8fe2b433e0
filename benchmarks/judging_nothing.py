"""`cxstream worker` with a judge that does nothing: every case has the verdicts of one that was judged before."""

from __future__ import annotations

from collections import Counter

import msgspec

from cxstream.cli import main
from cxstream.domain.cases import Case
from cxstream.domain.instant import NEVER_MS
from cxstream.domain.verdict import Verdict
from cxstream.engine.assess import Assessment
from cxstream.kafka import case_agent
from cxstream.kafka.records import read_case
from cxstream.vital_signs import TIER_A
from parts.figures import OUTCOMES

from .judging import records_of_a_case
from .measuring import Counts


def ready_made(at_ms: int) -> list[Verdict]:
    """Return the verdicts of a reference case, as if all were about what was at one instant."""
    return [msgspec.structs.replace(one, anchor_ms=at_ms) for one in read_case(records_of_a_case()[-1]).verdicts]


def counts_of_nothing(cases: int) -> Counts:
    """Return what so many cases with these verdicts are counted as."""
    signs = (one for one in ready_made(0) if TIER_A[one.sign].objective is not None)
    return dict(sorted(Counter({f"{one.sign} {OUTCOMES[one.verdict]}": cases for one in signs}).items()))


def assess_nothing(case: Case, *_: object) -> Assessment:
    """Return a case with the verdicts all have; nothing will change them."""
    if not case.verdicts and case.facts:
        verdicts = ready_made(case.facts[0].delivered_ms)
        case = msgspec.structs.replace(case, verdicts=verdicts, deadline_ms=NEVER_MS, settles_ms=NEVER_MS)
    return Assessment(case, [], frozenset())


if __name__ == "__main__":
    case_agent.assess = assess_nothing
    main(["worker"])
