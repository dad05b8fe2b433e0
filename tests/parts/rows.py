"""Rows of a ticket, an order and a dispatch system that know each other by their own ids, and a map of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from cxstream.domain.instant import MINUTE_MS, parse_instant
from cxstream.domain.policy import Policy
from cxstream.intake.intake import Intake
from cxstream.intake.mapper import Mapper, Raw
from cxstream.intake.mapping import IntakeMap, read
from cxstream.kafka.codec import Codec
from cxstream.kafka.schemas import Schemas

T0_MS = parse_instant("2026-03-02T08:00:00Z")
SKEW_MS = Policy().clock_skew_ms
CODEC = Codec(Schemas.packaged(), skew_ms=SKEW_MS)
TICKETS, ORDERS, VISITS = "tickets", "orders", "visits"
STATE = "state"
SOURCES = {"ticket": "cx.ticket", "dispatch": "cx.dispatch", "parts": "cx.parts"}
"""Topics of events by kind."""

MAP = """
name = "rows"

[time]
format = "%Y-%m-%d %H:%M:%S"
zone = "UTC"

[[topics]]
name = "tickets"
source = "desk"

[[topics.learn]]
lookup = "ticket"
key = "id"
value = "number"

[[topics.events]]
event = "ticket.opened"
case = "number"
at = "opened"
id = "id"
fields.priority = { path = "priority", values = { 1 = "P1", 2 = "P2" }, otherwise = "P3" }

[[topics]]
name = "orders"

[[topics.learn]]
lookup = "order"
key = "id"
value = { path = "ticket", lookup = "ticket" }

[[topics]]
name = "visits"
source = "field"

[[topics.events]]
event = "dispatch.scheduled"
case = { path = "order", lookup = "order" }
at = "made"
id = ["id", "start"]
fields = { visit_id = "id", window_start = "start", window_end = "end" }

[[topics.events]]
event = "dispatch.arrived"
case = { path = "order", lookup = "order" }
at = "arrived"
id = ["id", "arrived"]
when = { arrived = true }
fields.visit_id = "id"
"""


def intake_map(text: str = MAP, **replaced: str) -> IntakeMap:
    """Return the map, some of its topics (tickets, orders, visits) by other names."""
    for name, other in replaced.items():
        text = text.replace(f'name = "{name}"', f'name = "{other}"')
    return read(text)


def intake(made: IntakeMap | None = None, *, trusted: Iterable[str] = SOURCES.values()) -> Intake:
    """Return an intake that knows nothing yet."""
    return Intake(
        made or intake_map(),
        encode=CODEC.encode,
        topics=SOURCES,
        trusted=frozenset(trusted),
        state_topic=STATE,
        skew_ms=SKEW_MS,
        version="0",
    )


def ticket(number: int) -> dict[str, Any]:
    """Return the row of a ticket."""
    return {"id": f"t{number}", "number": f"C{number}", "opened": "2026-03-02 08:00:00", "priority": "2"}


def order(number: int) -> dict[str, Any]:
    """Return the row of the order of a ticket of the same number."""
    return {"id": f"o{number}", "ticket": f"t{number}"}


def visit(number: int, of: int) -> dict[str, Any]:
    """Return the row of a visit of an order, which was arrived at."""
    day = {"start": "2026-03-02 09:00:00", "end": "2026-03-02 11:00:00", "arrived": "2026-03-02 10:00:00"}
    return {"id": f"v{number}", "order": f"o{of}", "made": "2026-03-02 08:30:00", **day}


def raws(rows: Iterable[tuple[str, dict[str, Any]]]) -> list[Raw]:
    """Return rows as records of one partition each, a minute apart."""
    offsets = dict.fromkeys((TICKETS, ORDERS, VISITS), 0)
    found = []
    for topic, row in rows:
        at_ms = T0_MS + 180 * MINUTE_MS + len(found) * MINUTE_MS
        found.append(Raw(topic, 0, offsets[topic], at_ms, b"k", orjson.dumps(row)))
        offsets[topic] += 1
    return found


def story(cases: int) -> list[tuple[str, dict[str, Any]]]:
    """Return the rows of some cases, in the order they happen: a ticket, its order, two visits each."""
    return [
        row
        for number in range(cases)
        for row in (
            (TICKETS, ticket(number)),
            (ORDERS, order(number)),
            (VISITS, visit(2 * number, number)),
            (VISITS, visit(2 * number + 1, number)),
        )
    ]


def told(made: IntakeMap, records: Sequence[Raw]) -> list[list[tuple[str, bytes, bytes]]]:
    """Return what each record tells to who knows all: topic, key and value of its events, in order."""
    known: dict[tuple[str, str], str] = {}
    mapper = Mapper(made, skew_ms=SKEW_MS)
    for _again in range(3):
        for raw in records:
            for one in mapper.map(raw, lambda lookup, key: known.get((lookup, key))).learned:
                known.setdefault((one.lookup, one.key), one.value)
    found = []
    for raw in records:
        mapped = mapper.map(raw, lambda lookup, key: known.get((lookup, key)))
        assert mapped.refused is None
        assert mapped.waits is None
        found.append([(SOURCES[one.topic], one.case_id.encode(), CODEC.encode(one.event)) for one in mapped.events])
    return found
