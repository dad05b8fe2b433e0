"""Lists the units that will be misses soon unless something happens: what `cxstream at-risk` prints (rule 26)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cxstream.domain.instant import SECOND_MS, format_limit
from cxstream.engine.assess import Catalogue
from cxstream.offline.judge import Judged


def at_risk(judged: Iterable[Judged], as_of_ms: int, horizon_ms: int) -> list[Judged]:
    """Return the pending units that are due within the horizon after a clock reading, the first to be due first."""
    soon = (one for one in judged if as_of_ms <= one.verdict.due_ms <= as_of_ms + horizon_ms)
    return sorted(soon, key=lambda one: (one.verdict.due_ms, one.verdict.sign, one.case_id, one.verdict.unit))


def documents(found: Iterable[Judged], as_of_ms: int, catalogue: Catalogue) -> Iterator[dict[str, object]]:
    """Yield each as it is printed: until when something has to happen, the time left, and what is missing."""
    for case_id, verdict, evidence in found:
        yield {
            "sign": verdict.sign,
            "unit": verdict.unit,
            "case": case_id,
            "due": format_limit(verdict.due_ms),
            "seconds_left": (verdict.due_ms - as_of_ms) // SECOND_MS,
            "missing": catalogue[verdict.sign].missing,
            "evidence": list(evidence),
        }
