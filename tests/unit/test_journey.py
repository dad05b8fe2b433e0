"""The journey: a funnel of the four key moments over the verdicts of a case."""

from __future__ import annotations

import pytest

from cxstream.config import load
from cxstream.domain.cases import Case, Segment
from cxstream.domain.verdict import Verdict, VerdictName
from cxstream.engine.journey import MOMENTS, journey, until
from cxstream.engine.ledger import Ledger

NOW_MS = 1_772_445_600_000
ALL: dict[str, VerdictName] = {
    "first_response": "final_hit",
    "on_time_arrival": "provisional_hit",
    "parts_ready": "excluded",
    "first_time_fix": "miss",
    "same_day": "provisional_hit",
    "stayed_fixed": "provisional_hit",
    "extended_value": "provisional_hit",
}


def case(**verdicts: VerdictName) -> Case:
    """Return a case with these verdicts, each on its one unit."""
    said = [Verdict(sign, "U", verdict, "", NOW_MS, NOW_MS) for sign, verdict in verdicts.items()]
    return Case("C1", verdicts=said, segment=Segment(region="north"))


def reached(**changed: VerdictName) -> int:
    """Return how many moments the case reached, the base of the funnel among them."""
    step = journey(case(**{**ALL, **changed}).verdicts)
    moments = [] if step is None else until(step.moment)
    assert moments == list(MOMENTS)[: len(moments)]
    return len(moments)


@pytest.mark.parametrize(
    ("changed", "moments"),
    [
        ({}, 5),
        ({"extended_value": "miss"}, 4),
        ({"stayed_fixed": "miss"}, 3),
        ({"stayed_fixed": "pending"}, 3),
        ({"same_day": "miss"}, 2),
        ({"same_day": "miss", "first_time_fix": "provisional_hit"}, 5),
        ({"on_time_arrival": "miss"}, 2),
        ({"parts_ready": "miss"}, 2),
        ({"first_response": "miss"}, 1),
        ({"first_response": "pending"}, 0),
        ({"first_response": "excluded"}, 0),
        ({"easy_to_open": "miss"}, 1),
        ({"easy_to_open": "provisional_hit"}, 5),
    ],
)
def test_a_moment_is_reached_only_after_those_before(changed: dict[str, VerdictName], moments: int) -> None:
    """First impression, first value, intended value, extended value: each needs its verdicts and all moments before."""
    assert reached(**changed) == moments


def test_the_funnel_is_counted_by_segment_and_taken_back() -> None:
    """A revised verdict moves the case to the moment it reaches now, in every window and level shown."""
    ledger = Ledger(load(None, {}).windows())
    before, after = case(**ALL), case(**{**ALL, "stayed_fixed": "miss"})
    ledger.replace(None, before)
    ledger.replace(before, after)
    ledger.advance(NOW_MS)
    found = {
        (row.sign, row.level, row.segment, row.window): row.units for row in ledger.rows() if row.state == "moment"
    }
    shown = [("job", "", "7d"), ("job", "", "30d"), ("region", "north", "30d")]
    assert found == {(moment, *where): 1 for moment in list(MOMENTS)[:3] for where in shown}
    ledger.replace(after, None)
    assert not [row for row in ledger.rows() if row.state == "moment"]
