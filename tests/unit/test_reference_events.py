"""The events of the benchmarks are what the benchmarks say they are, and come to what `cxstream judge` says."""

from __future__ import annotations

from collections import Counter
from functools import cache
from statistics import median

import pytest

from benchmarks.core import judge_all
from benchmarks.events import LONGEST_HISTORY_MS, Load, reference_events
from benchmarks.sources import counts_of, judged
from cxstream.demo.upstream import Delivery
from cxstream.kafka.codec import Codec
from cxstream.kafka.schemas import Schemas
from parts.producer import SKEW_MS, facts_of

ENDS_MS = 1_772_452_800_000
LOAD = Load(cases=16, live=8, duplicates=0.1)


@cache
def history(load: Load = LOAD) -> tuple[Delivery, ...]:
    """Return a history that ends at noon."""
    return tuple(reference_events(load, ENDS_MS))


def test_every_case_has_its_facts_and_ids_of_16_bytes() -> None:
    """A case has as many facts as asked for, some delivered twice; every id in them has 16 bytes."""
    for facts in (4, 12, 30):
        events = [one.event for one in history(LOAD._replace(facts=facts))]
        distinct = {str(event["event_id"]): event for event in events}
        assert Counter(event["case_id"] for event in distinct.values()).most_common()[-1][1] == facts
        assert len(distinct) == facts * LOAD.cases < len(events)
        assert {len(str(event[name])) for event in events for name in event if name.endswith("_id")} == {16}


def test_cases_are_interleaved() -> None:
    """So many cases are open at the same time as asked for, those that last longest counted."""
    times_ms: dict[object, list[int]] = {}
    for one in history():
        times_ms.setdefault(one.event["case_id"], []).append(one.delivered_ms)
    middle_ms = median(one.delivered_ms for one in history())
    assert LOAD.live / 2 < sum(min(times) <= middle_ms <= max(times) for times in times_ms.values()) <= LOAD.live + 1


def test_deliveries_are_in_order_and_in_the_past() -> None:
    """A history is told in order of delivery, and is over before its end."""
    delivered_ms = [one.delivered_ms for one in history()]
    assert delivered_ms == sorted(delivered_ms)
    assert ENDS_MS - LONGEST_HISTORY_MS < delivered_ms[0] < delivered_ms[-1] < ENDS_MS


def test_avro_keeps_what_they_say() -> None:
    """Every event, encoded and decoded, is the fact it states."""
    codec = Codec(Schemas.packaged(), skew_ms=SKEW_MS)
    for delivery, stated in zip(history(), facts_of(history()), strict=True):
        key = stated.case_id.encode()
        value = codec.encode(delivery.event)
        assert codec.decode(delivery.topic, key, value, delivery.delivered_ms) == (stated.case_id, stated.fact)


def test_verdicts_do_not_depend_on_when_they_are_asked_for() -> None:
    """All is decided by the last delivery: an hour later the counts are the same, and some units are bad."""
    counts = counts_of(judged(history(), history()[-1].delivered_ms))
    assert counts == counts_of(judged(history(), ENDS_MS + 3_600_000))
    assert counts["stayed_fixed good"] == LOAD.cases
    assert counts["on_time_arrival bad"] == counts["commitment_kept bad"] == 3
    assert not [name for name in counts if name.endswith(("pending", "excluded"))]


@pytest.mark.parametrize("puts_off", [False, True])
@pytest.mark.parametrize("batch", [1, 10, 1000])
def test_the_core_alone_counts_what_judge_counts(batch: int, puts_off: bool) -> None:  # noqa: FBT001
    """What competitors drive comes to the same counts, whatever comes together in a batch and if judging waits."""
    run = judge_all(LOAD, ENDS_MS, batch, partitions=4, puts_off=puts_off)
    assert run.counts == counts_of(judged(history(), ENDS_MS))
    assert run.events == len(history())


def test_a_history_that_would_be_sealed_is_refused() -> None:
    """Too few cases at a time would make it so long that verdicts depend on the clock."""
    with pytest.raises(ValueError, match="more at a time"):
        list(reference_events(Load(cases=1000, live=10), ENDS_MS))
