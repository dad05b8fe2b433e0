"""The reference events of all benchmarks: cases of a known make, interleaved, as one history of deliveries."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from random import Random
from typing import NamedTuple

from cxstream.demo.upstream import HOUR, MINUTE, SECOND, Delivery, Event, Topic

REFERENCE_FACTS = 12
LASTS_MS = 5 * HOUR + 30 * MINUTE
"""From the opening of a case to its last fact, at most."""
LONGEST_HISTORY_MS = 66 * HOUR
"""Younger than this nothing is sealed: whatever the clock says after the last delivery, the verdicts are the same."""
LATE_EVERY = 7
"""Every so many cases the technician comes after the window."""
REGIONS = ("north", "east", "south", "west")
PRODUCTS = ("pump", "chiller", "lift")
ON_THE_WAY_MS = 2 * SECOND
"""From happening to delivery."""


class Load(NamedTuple):
    """How many events of what make."""

    cases: int
    live: int
    """Cases that are open at the same time: so many others have facts between two of one case."""
    facts: int = REFERENCE_FACTS
    """Of each case; beyond the twelve of the reference case its customer is updated more often."""
    duplicates: float = 0.02
    """Share of the events that are delivered twice."""
    seed: int = 1

    @property
    def spacing_ms(self) -> int:
        """How long after one case the next is opened."""
        return LASTS_MS // self.live

    @property
    def history_ms(self) -> int:
        """How long it all lasts; raises ValueError where verdicts would depend on when they are asked for."""
        lasts_ms = self.spacing_ms * (self.cases - 1) + LASTS_MS + HOUR
        if lasts_ms > LONGEST_HISTORY_MS:
            hours = LONGEST_HISTORY_MS // HOUR
            raise ValueError(f"{self.cases} cases, {self.live} at a time, last longer than {hours} h: more at a time")
        return lasts_ms


def reference_events(load: Load, ends_ms: int) -> Iterator[Delivery]:
    """Yield a history in order of delivery, all of it delivered before `ends_ms` (milliseconds since the epoch)."""
    dice = Random(load.seed)
    begins_ms = ends_ms - load.history_ms
    ahead: list[tuple[int, int, Delivery]] = []
    made = 0
    for number in range(load.cases):
        opened_ms = begins_ms + number * load.spacing_ms
        while ahead and ahead[0][0] < opened_ms:
            yield heapq.heappop(ahead)[2]
        for at_ms, event in reference_case(number, opened_ms, load.facts):
            times = [at_ms + ON_THE_WAY_MS]
            if dice.random() < load.duplicates:
                times.append(times[0] + dice.randint(1, 30) * MINUTE)
            for delivered_ms in times:
                made += 1
                heapq.heappush(ahead, (delivered_ms, made, Delivery(delivered_ms, _topic(event), event)))
    while ahead:
        yield heapq.heappop(ahead)[2]


def reference_case(number: int, opened_ms: int, facts: int = REFERENCE_FACTS) -> list[tuple[int, Event]]:
    """Return the first `facts` events of a case with the instants they happened at; all its ids have 16 bytes."""
    case = _Writer(number, opened_ms)
    visit, line, promise = (f"{letter}{number:015d}" for letter in "VLK")
    arrives = 4 * HOUR + 30 * MINUTE if number % LATE_EVERY == 0 else 2 * HOUR + 30 * MINUTE
    case.write("ticket", "opened", 0, channel="phone", priority="P2", tz="Europe/Oslo", **_segment(number))
    case.write("ticket", "acknowledged", 5 * MINUTE)
    case.write("ticket", "diagnosed", 30 * MINUTE)
    window = {"window_start": opened_ms + 2 * HOUR, "window_end": opened_ms + 4 * HOUR}
    case.write("dispatch", "scheduled", 35 * MINUTE, visit_id=visit, **window)
    case.write("parts", "required", 36 * MINUTE, line_id=line, part_no="RELAY-220", qty=1, visit_id=visit)
    case.write("parts", "allocated", 40 * MINUTE, line_id=line, qty=1, to="van")
    due_ms = opened_ms + 4 * HOUR
    case.write("ticket", "commitment_made", 45 * MINUTE, commitment_id=promise, kind="arrive", due=due_ms)
    case.write("ticket", "customer_updated", 90 * MINUTE, channel="phone")
    case.write("dispatch", "en_route", arrives - 30 * MINUTE, visit_id=visit)
    case.write("dispatch", "arrived", arrives, visit_id=visit)
    case.write("ticket", "commitment_kept", arrives + MINUTE, commitment_id=promise)
    case.write("dispatch", "completed", arrives + HOUR, visit_id=visit, outcome="fixed")
    more = facts - REFERENCE_FACTS
    for update in range(more):
        case.write("ticket", "customer_updated", 95 * MINUTE + update * 20 * MINUTE // more, channel="portal")
    return sorted(case.written, key=lambda one: one[0])[:facts]


class _Writer:
    """Writes the events of one case."""

    def __init__(self, number: int, opened_ms: int) -> None:
        self.written: list[tuple[int, Event]] = []
        self._number = number
        self._opened_ms = opened_ms

    def write(self, topic: Topic, event_type: str, after_ms: int, /, **fields: object) -> None:
        at_ms = self._opened_ms + after_ms
        event_id = f"E{self._number:010d}-{len(self.written):04d}"
        event = {
            "event_id": event_id,
            "topic": topic,
            "type": event_type,
            "case_id": f"C{self._number:015d}",
            "at": at_ms,
        }
        self.written.append((at_ms, {**event, **fields}))


def _segment(number: int) -> dict[str, object]:
    region, product = REGIONS[number % len(REGIONS)], PRODUCTS[number % len(PRODUCTS)]
    return {"asset_id": f"A{number:015d}", "region": region, "product": product}


def _topic(event: Event) -> Topic:
    return event["topic"]  # type: ignore[return-value]  # _Writer.write took a Topic
