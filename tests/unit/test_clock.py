"""The clock of a partition, and what the passing of time alone proves (rule 6)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from unittest.mock import AsyncMock, MagicMock

import pytest
from aiokafka.errors import OutOfOrderSequenceNumber
from faust.types import TP

from cases import arrived, booked, completed, delivered, event, ms, opened, resolved, scheduled, wakes_ms
from cxstream.config import load
from cxstream.domain.cases import Case
from cxstream.engine.assess import Clock
from cxstream.engine.clock import PartitionClock
from cxstream.engine.watermark import NOTHING, Said
from cxstream.kafka.changelog_table import Changed
from cxstream.kafka.partition import Holdings, Partition
from cxstream.kafka.records import write
from cxstream.vital_signs import CATALOGUE
from cxstream.worker import TopicShrunkError, Worker, WriteFailedError

PROMISE = [opened(), scheduled("0h", "48h", "50h")]


SOURCES = ("ticket", "dispatch", "parts")


@pytest.mark.parametrize(
    ("taken", "empty_ms", "reading_ms"),
    [
        ({}, {}, 0),
        ({}, {"ticket": 50, "dispatch": 50}, 0),
        ({}, {"ticket": 50, "dispatch": 50, "parts": 40}, 40),
        ({"ticket": 10}, {"dispatch": 50, "parts": 50}, 10),
        ({"ticket": 10, "dispatch": 20}, {"parts": 50}, 10),
        ({"ticket": 10, "dispatch": 20}, {"ticket": 50, "dispatch": 50, "parts": 50}, 50),
        ({"ticket": 70}, {"ticket": 50, "dispatch": 50, "parts": 50}, 50),
    ],
    ids=[
        "nothing known",
        "parts not asked yet",
        "caught up, and asked at different times",
        "ticket lags",
        "the one further behind",
        "caught up",
        "a delivery after the others were asked",
    ],
)
def test_the_clock_is_the_least_that_is_known_of_a_topic(
    taken: dict[str, int], empty_ms: dict[str, int], reading_ms: int
) -> None:
    """A topic is known up to the last delivery taken, or to when the brokers said that there is no more (rule 6)."""
    clock = PartitionClock(SOURCES)
    for topic, delivered_ms in taken.items():
        clock.took(topic, delivered_ms)
    for topic, until_ms in empty_ms.items():
        clock.knows(topic, until_ms)
    assert clock.now_ms == reading_ms


def test_the_clock_never_goes_back() -> None:
    """A lag, an older delivery or an older answer do not take back what time it was (rule 6)."""
    clock = PartitionClock(("ticket",))
    clock.floor(50)
    assert clock.now_ms == 50
    clock.took("ticket", 80)
    assert clock.now_ms == 80
    clock.took("ticket", 60)
    clock.knows("ticket", 70)
    assert clock.now_ms == 80
    assert clock.delivered_ms == {"ticket": 80}


def on_time(case: Case) -> str:
    """Return the verdict on the visit, with its reason."""
    verdict = next(one for one in case.verdicts if one.sign == "on_time_arrival")
    return f"{verdict.verdict} {verdict.reason}"


def test_the_clock_alone_makes_a_miss() -> None:
    """A no-show appears without any event at the first instant after the limit, known ahead (rule 6)."""
    casebook = booked(PROMISE, catalogue={"on_time_arrival": CATALOGUE["on_time_arrival"]})
    casebook.assess(Clock.at(ms("1h")))
    assert wakes_ms(casebook.cases["C1"]) == ms("50h15m1ms")
    casebook.assess(Clock.at(ms("50h15m")))
    assert on_time(casebook.cases["C1"]) == "pending awaited"
    casebook.assess(Clock.at(ms("50h15m1ms")))
    assert on_time(casebook.cases["C1"]) == "miss no_show"
    assert wakes_ms(casebook.cases["C1"]) == ms("122h15m1ms")


@pytest.mark.parametrize("silent", [{"dispatch": 0}, {"dispatch": ms("50h"), "ticket": 0}])
def test_the_silence_of_a_dead_topic_proves_nothing(silent: dict[str, int]) -> None:
    """While the topic that would have told is dead, a miss by silence is pending, until it seals (rule 6)."""
    casebook = booked(PROMISE)
    casebook.assess(Clock(ms("60h"), ms("60h"), silent))
    assert on_time(casebook.cases["C1"]) == "pending source_silent"
    casebook.assess(Clock(ms("61h"), ms("61h"), {"ticket": 0, "parts": 0}))
    assert on_time(casebook.cases["C1"]) == "miss no_show"
    casebook.assess(Clock(ms("200h"), ms("200h"), silent))
    assert on_time(casebook.cases["C1"]) == "miss no_show"


def test_what_was_silent_before_the_topic_died_was_a_silence() -> None:
    """A no-show from when the topic still spoke stays one, however long the topic has been dead since (rule 6)."""
    casebook = booked(PROMISE)
    for last_ms, expected in ((ms("50h15m") - 1, "pending source_silent"), (ms("50h15m"), "miss no_show")):
        casebook.assess(Clock(ms("60h"), ms("60h"), {"dispatch": last_ms}))
        assert on_time(casebook.cases["C1"]) == expected


def test_a_miss_that_an_event_proves_stands_in_any_silence() -> None:
    """What an event says is no silence: a late arrival is a miss though the topic is dead now (rule 6)."""
    casebook = booked([*PROMISE, arrived("51h")])
    casebook.assess(Clock(ms("60h"), ms("60h"), {"dispatch": 0}))
    assert on_time(casebook.cases["C1"]) == "miss late"


def test_judging_again_changes_nothing() -> None:
    """At the same reading, or any before the next deadline, the record stays the very same (rules 2 and 6)."""
    casebook = booked([*PROMISE, arrived("49h"), completed("51h", "fixed"), resolved("52h")])
    casebook.assess(Clock.at(ms("53h")))
    record = casebook.cases["C1"]
    for reading_ms in (ms("53h"), ms("60h"), wakes_ms(record) - 1):
        assert casebook.assess(Clock.at(reading_ms))["C1"].changes == []
        assert casebook.cases["C1"] is record
    assert casebook.assess(Clock.at(wakes_ms(record)))["C1"].changes != []


def test_a_revised_verdict_is_numbered_and_remembered_as_retracted() -> None:
    """Every published change of a verdict has the next number; a decided one taken back is marked for good (rule 2)."""
    casebook = booked(PROMISE)
    story = []
    for at, events in (("1h", []), ("60h", []), ("61h", [arrived("49h", seen="61h")]), ("62h", []), ("123h", [])):
        for case_id, fact in delivered(*events):
            casebook.take(case_id, fact)
        casebook.assess(Clock.at(ms(at)))
        verdict = next(one for one in casebook.cases["C1"].verdicts if one.sign == "on_time_arrival")
        story.append((verdict.verdict, verdict.sequence, verdict.retracted))
    assert story == [
        ("pending", 0, False),
        ("miss", 1, False),
        ("provisional_hit", 2, True),
        ("provisional_hit", 2, True),
        ("final_hit", 3, True),
    ]


def test_a_seal_that_lies_before_its_own_delivery_is_not_final_at_once() -> None:
    """What was delivered before an opening that is heard late still counts, and is waited for (rules 3 and 4)."""
    answer = event("ticket.acknowledged", "2h", seen="10d")
    first = booked([opened(seen="11d")], catalogue={"first_response": CATALOGUE["first_response"]})
    first.assess(Clock(ms("11d"), ms("9d")))
    assert [one.verdict for one in first.cases["C1"].verdicts if not one.sealed] == ["miss"]
    first.take(*delivered(answer)[0])
    first.assess(Clock(ms("11d"), ms("11d")))
    assert [(one.verdict, one.sealed) for one in first.cases["C1"].verdicts] == [("final_hit", True)]


def test_a_topic_that_is_being_read_is_not_dead() -> None:
    """In a backlog a clock runs hours ahead of what was last said in the group: what was taken here counts too."""
    worker = Worker(load(None, {}), MagicMock())
    reading, behind = (Partition(number, 1, Holdings(worker.windows, 0), SOURCES) for number in (0, 1))
    worker._partitions = {0: reading, 1: behind}
    for topic in SOURCES:
        reading.clock.took(topic, ms("50h"))
        behind.clock.took(topic, ms("40h"))
    assert worker._clock(behind).silent_since_ms == {}
    assert worker._clock(reading).silent_since_ms == {}
    for partition in (reading, behind):
        for topic in ("ticket", "parts"):
            partition.clock.took(topic, ms("60h"))
        partition.clock.knows("dispatch", ms("60h"))
    assert worker._clock(reading).silent_since_ms == {"dispatch": ms("50h")}


def test_a_source_is_not_taken_for_dead_before_the_group_was_heard() -> None:
    """Who has just started knows of no delivery yet: that a source is silent is believed once own words are back."""
    worker = Worker(load(None, {}), MagicMock())
    holdings = Holdings(worker.windows, 0)
    casebook = booked(PROMISE)
    casebook.assess(Clock(ms("60h"), 0))
    holdings.read([Changed(b"C1", None, write(casebook.cases["C1"]))])
    partition = Partition(0, 1, holdings, SOURCES)
    worker._partitions = {0: partition}
    partition.announced(Said((ms("60h"), *NOTHING[1:]), {}))
    assert worker._clock(partition).silent_since_ms == dict.fromkeys(SOURCES, 0)
    assert not partition.is_to_recheck
    worker._group.heard(0, Said((ms("60h"), *NOTHING[1:]), dict.fromkeys(SOURCES, ms("59h"))))
    assert worker._clock(partition).silent_since_ms == {}
    assert not partition.is_to_recheck
    partition.clock.took("ticket", ms("99h"))
    partition.clock.took("parts", ms("99h"))
    partition.clock.knows("dispatch", ms("99h"))
    assert worker._clock(partition).silent_since_ms == {"dispatch": ms("59h")}
    assert not partition.is_to_recheck, "the no-show was before"


def test_an_owner_says_what_those_before_have_taken() -> None:
    """Else nobody would know of it once the word of the owner before is compacted away."""
    engine = MagicMock(owned={0})
    worker = Worker(load(None, {"CXSTREAM_KAFKA_VERDICTS_TOPIC": "none"}), engine, lambda: 5)
    worker._policy_recorded = True
    topics = [*worker._roles.sources, worker._roles.assets, worker._roles.relays]
    engine.progress.return_value = {topic: MagicMock(acked=0) for topic in topics}
    engine.changelog_table.return_value.unread_ranges.return_value = []
    engine.changelog_table.return_value.complete_offset.return_value = 0
    engine.changelog_table.return_value.changelog_topic_name = "changelog"
    partition = Partition(0, 1, Holdings(worker.windows, 0), SOURCES)
    worker._partitions = {0: partition}
    worker._group.heard(0, Said(NOTHING, {"ticket": 7, "parts": 3}))
    partition.clock.took("parts", 4)
    said = asyncio.run(worker._attend(partition, dict.fromkeys([*topics, "changelog"], 0), 5, NOTHING))
    assert said is not None
    assert said.delivered_ms == {"ticket": 7, "parts": 4}
    shown = worker._partition_snapshot(partition)
    assert shown.source_watermark_ms == {"ticket": 7, "parts": 4}, "else a restart would seem to end a silence"


def test_how_far_behind_a_topic_is_goes_by_what_was_taken_here() -> None:
    """What owners before have taken says nothing of the records that wait now."""
    engine = MagicMock(owned={0})
    worker = Worker(load(None, {}), engine, lambda: 9_000)
    topic = next(topic for topic, source in worker._roles.sources.items() if source == "ticket")
    engine.progress.return_value = {topic: MagicMock(lag=2)}
    partition = Partition(0, 1, Holdings(worker.windows, 0), SOURCES)
    worker._group.heard(0, Said(NOTHING, {"ticket": 1_000}))
    assert worker._partition_snapshot(partition).lag_seconds == {"ticket": 0}
    partition.clock.took("ticket", 4_000)
    assert worker._partition_snapshot(partition).lag_seconds == {"ticket": 5}


def speaking(said: AsyncMock, wall_ms: Callable[[], int] = lambda: 5) -> Worker:
    """Return a worker with one partition, whose words to the group go to `said`."""
    engine = MagicMock(should_stop=False, owned={0}, produce_many=said, crash=AsyncMock())
    engine.ends = AsyncMock(return_value={TP("ticket", 0): 7})
    engine.progress.return_value = {"ticket": MagicMock(acked=7)}
    worker = Worker(load(None, {}), engine, wall_ms)
    worker._partitions = {0: Partition(0, 1, Holdings(worker.windows, 0), SOURCES)}
    worker._attend = AsyncMock(return_value=Said(NOTHING, {}))  # type: ignore[method-assign]
    return worker


def test_a_word_that_is_refused_ends_the_worker() -> None:
    """The brokers take no word of this producer behind a lost one: nothing would be final any more in the group."""
    worker = speaking(AsyncMock(side_effect=OutOfOrderSequenceNumber), lambda: 5_000)
    with pytest.raises(WriteFailedError):
        asyncio.run(asyncio.wait_for(worker.run_clock(), 2.0))
    worker._engine.crash.assert_awaited_once()  # type: ignore[attr-defined]


def test_a_topic_created_anew_ends_the_worker() -> None:
    """What it brings would be dropped, and nothing shown of that; the clock stands still from the first look on."""
    worker = speaking(AsyncMock())
    end = worker._engine.ends.return_value  # type: ignore[attr-defined]
    looks = [(7, 1), (6, 1), (7, 2), (8, 3), (6, 3), (6, 3)]
    for stated, attended in looks[:-1]:
        end[TP("ticket", 0)] = stated
        asyncio.run(worker._tick())
        assert worker._attend.await_count == attended  # type: ignore[attr-defined]
    with pytest.raises(TopicShrunkError, match=r"ticket\[0\] ends at 6, but was read up to 7"):
        asyncio.run(worker._tick())


def test_a_wall_clock_set_back_keeps_no_worker_silent() -> None:
    """Words go out once a second, and at once when the clock was set back: not after as long as it went back."""
    wall = iter([10_000, 10_500, 11_000, 5_000, 5_500, 6_000])
    said = AsyncMock()
    worker = speaking(said, lambda: next(wall))
    words = []
    for _look in range(6):
        asyncio.run(worker._tick())
        words.append(said.await_count)
    assert words == [1, 1, 2, 3, 3, 4]
