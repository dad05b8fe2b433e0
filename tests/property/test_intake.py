"""The intake loses nothing wherever it is killed, in whatever order its topics are read; what waits survives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from cxstream.domain.instant import DAY_MS
from cxstream.intake.intake import Outgoing, Work
from cxstream.intake.mapper import Raw
from cxstream.intake.mapping import IntakeMap
from parts.rows import MAP, SOURCES, STATE, T0_MS, intake, intake_map, raws, story, told
from parts.trials import tried

NOW_MS = T0_MS + DAY_MS
Sent = tuple[str, bytes, bytes]


class KilledError(Exception):
    """The process ends here."""


class Broker:
    """What outlives an intake: what it produced, and what it has committed."""

    def __init__(self, records: Sequence[Raw]) -> None:
        self.records = records
        self.committed = 0
        self.state: list[tuple[bytes, bytes | None]] = []
        self.sent: list[Outgoing] = []
        self.writes = 0
        self.kill_after: int | None = None
        """So many more writes are taken, commits included; None: any number."""

    def write(self, one: Outgoing) -> None:
        """Take a record."""
        self._taken()
        if one.topic == STATE:
            self.state.append((one.key or b"", one.value))
        else:
            self.sent.append(one)

    def commit(self, offset: int) -> None:
        """Take a commit."""
        self._taken()
        self.committed = offset

    def _taken(self) -> None:
        if self.kill_after is not None:
            if not self.kill_after:
                raise KilledError
            self.kill_after -= 1
        self.writes += 1

    def events(self) -> list[Sent]:
        """Return the events, in the order they were produced."""
        return [(one.topic, one.key or b"", one.value or b"") for one in self.sent if one.topic in SOURCES.values()]


def live(broker: Broker, made: IntakeMap, batch: int) -> None:
    """Run one process until it is killed, or has read all."""
    process = intake(made)
    process.restore(broker.state)
    _do(broker, process.take([], NOW_MS))
    while broker.committed < len(broker.records):
        some = broker.records[broker.committed : broker.committed + batch]
        _do(broker, process.take(some, NOW_MS))
        broker.commit(broker.committed + len(some))


def _do(broker: Broker, work: Work) -> None:
    for one in (*work.sent, *work.after):
        broker.write(one)


def lives(records: Sequence[Raw], made: IntakeMap, batch: int, kills: Sequence[int]) -> Broker:
    """Run processes one after the other, each but the last killed after so many writes."""
    broker = Broker(records)
    for kill_after in (*kills, None):
        broker.kill_after = kill_after
        try:
            live(broker, made, batch)
        except KilledError:
            continue
    return broker


def in_order(events: Sequence[Sent], of_record: Sequence[Sent]) -> bool:
    """Tell whether the first copies of a record's events came in the order it tells them."""
    return sorted(map(events.index, of_record)) == [events.index(one) for one in of_record]


def test_a_kill_after_any_write_loses_nothing() -> None:
    """Killed after every single write or commit in turn, the next process completes what the first would have sent.

    The topics are read in the worst order: visits first, then orders, then tickets.
    """
    rows = sorted(story(2), key=lambda row: row[0], reverse=True)
    records, made = raws(rows), intake_map()
    expected = told(made, records)
    whole = lives(records, made, 3, [])
    assert Counter(whole.events()) == Counter(one for of_record in expected for one in of_record)
    for kill_after in range(whole.writes):
        broker = lives(records, made, 3, [kill_after])
        assert set(broker.events()) == set(whole.events()), f"killed after {kill_after} writes"
        assert all(in_order(broker.events(), of_record) for of_record in expected)
        assert not {key for key, value in dict(broker.state).items() if value and b"parked" in key}


@tried(80)
@given(st.randoms(use_true_random=False), st.integers(1, 7), st.lists(st.integers(0, 25), max_size=4))
def test_any_order_and_any_kills_give_the_same_events(random: object, batch: int, kills: list[int]) -> None:
    """Whatever order records of different topics come in and wherever processes are killed, the events are the same.

    They carry the delivery time of their record, also where it waited, and the name of its system.
    """
    rows = story(3)
    random.shuffle(rows)  # type: ignore[attr-defined]
    records, made = raws(rows), intake_map()
    expected = told(made, records)
    broker = lives(records, made, batch, kills)
    assert set(broker.events()) == {one for of_record in expected for one in of_record}
    assert all(in_order(broker.events(), of_record) for of_record in expected)
    delivered = {
        event: str(raw.timestamp_ms).encode() for raw, events in zip(records, expected, strict=True) for event in events
    }
    for one in broker.sent:
        headers = dict(one.headers)
        assert headers["cxstream-delivered-at"] == delivered[one.topic, one.key or b"", one.value or b""]
        assert headers["cxstream-source"] == (b"desk" if one.topic == SOURCES["ticket"] else b"field")


def test_rows_that_tell_again_are_sent_once_and_the_first_counts() -> None:
    """Of topics with snapshots an event is sent again only by a process that does not remember it.

    The earliest delivered copy, which is the one that counts (rule 1), is always sent.
    """
    made = intake_map(MAP.replace('name = "visits"', 'name = "visits"\nsnapshots = true'))
    rows = story(1)
    rows += [(topic, {**row, "priority": "1"}) for topic, row in rows]
    records = raws(rows)
    once = lives(records, made, 2, [])
    assert len(once.events()) == 2 + 4, "tickets are no snapshots; of two visits two events each"
    for kill_after in range(once.writes):
        again = lives(records, made, 2, [kill_after])
        assert set(again.events()) == set(once.events())
