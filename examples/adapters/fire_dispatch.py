"""A dispatch centre stamps what each unit does and knows nothing of cases; this turns its rows into cxstream events.

    python fire_dispatch.py calls_a.csv calls_b.csv > fire.ndjson
    cxstream judge fire.ndjson --as-of 2019-04-15T00:00:00-07:00

It is written the way an upstream team would write one, with the standard library alone, for the calls for service that
the San Francisco Fire Department publishes: one row per unit sent to a call. What becomes of a row:

    Received                     the call is a case: opened, once, delivered when it was entered (Entry)
    Dispatch, Response           the unit is a visit: assigned, en_route
    On Scene                     arrived
    Available                    completed; the log has no outcome, so none is stated
    Available, never On Scene    cancelled: the unit was turned back, which is no failure to appear
    last Available of the call   resolved, if the disposition says that the fire department resolved it

The asset is the address, which the publisher has moved to the middle of the block: a proxy. Disposition is a column of
every row, but it is the call's, and not known before its last unit is free; nothing is said of it earlier. The other
dispositions (Other, No Merit, a transport, ...) do not tell whether a fault was ended, so those calls are left open.
The log has no windows, no parts and no words with the caller; none are made up.

Each event is delivered (`seen`) when it was stamped. Times are naive, of the zone's clocks. A time that these showed
twice (set back) is the first that does not come before the stamp it follows. A row is wrong if they never showed one of
its times (set forward), or if a stamp comes before the one it follows, since the visit would then be put into the wrong
attempt. Wrong rows are told on standard error and left out whole; the exit status is then 2.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

Event = dict[str, object]

TIME = "%m/%d/%Y %I:%M:%S %p"
STEPS = ("Received DtTm", "Entry DtTm", "Dispatch DtTm", "Response DtTm", "On Scene DtTm", "Available DtTm")
"""The stamps of a row, in the order of the work."""
ALWAYS_STAMPED = STEPS[:3]
PRIORITIES = {"3": "P1", "2": "P3"}
"""The department's code 3 is an emergency, its code 2 is none."""
RESOLVED = "Fire"
"""The disposition of a call that was resolved by the fire department."""


class WrongRowError(Exception):
    """A row that cannot be sent; says which field is wrong and what was expected there."""


class Unit(NamedTuple):
    """One unit sent to a call; its stamps by column, those it has, in UTC."""

    call: str
    visit: str
    unit: str
    priority: str
    address: str
    call_type: str
    disposition: str
    stamps: dict[str, datetime]


class Converted(NamedTuple):
    """What became of the rows of all files."""

    events: list[Event]
    """In order of delivery."""
    rows: int
    wrong: list[str]
    """A line for every row left out: where it stands, the field, and what was expected."""


def convert(paths: Iterable[Path], zone: ZoneInfo) -> Converted:
    """Return the events of all files; a row that is in two files is told twice, with the same ids."""
    events: list[Event] = []
    rows = 0
    wrong: list[str] = []
    for path in paths:
        calls: dict[str, list[Unit]] = defaultdict(list)
        for read in read_rows(path, zone):
            rows += 1
            if isinstance(read, Unit):
                calls[read.call].append(read)
            else:
                wrong.append(read)
        for units in calls.values():
            events += call_events(units, zone)
    events.sort(key=lambda event: str(event["seen"]))
    return Converted(events, rows, wrong)


def read_rows(path: Path, zone: ZoneInfo) -> Iterator[Unit | str]:
    """Yield the unit of every row, or what is wrong with the row."""
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        rows = csv.DictReader(file)
        for row in rows:
            try:
                yield unit_of(row, zone)
            except WrongRowError as error:
                yield f"{path}:{rows.line_num}: {error}"


def unit_of(row: dict[str, str], zone: ZoneInfo) -> Unit:
    """Return the unit of a row; raises WrongRowError."""
    for field in ("Call Number", "Unit ID", "Final Priority"):
        if not row.get(field):
            raise WrongRowError(f"{field}: expected a value")
    if row["Final Priority"] not in PRIORITIES:
        raise WrongRowError(f"Final Priority: expected one of {', '.join(PRIORITIES)}")
    return Unit(
        call=row["Call Number"],
        visit=row.get("RowID") or f"{row['Call Number']}-{row['Unit ID']}",
        unit=row["Unit ID"],
        priority=PRIORITIES[row["Final Priority"]],
        address=row.get("Address") or "",
        call_type=row.get("Call Type") or "",
        disposition=row.get("Call Final Disposition") or "",
        stamps=stamps_of(row, zone),
    )


def stamps_of(row: dict[str, str], zone: ZoneInfo) -> dict[str, datetime]:
    """Return the stamps a row has, none before the one it follows; raises WrongRowError."""
    stamps: dict[str, datetime] = {}
    previous = None
    for field in STEPS:
        text = row.get(field)
        if not text and field not in ALWAYS_STAMPED:
            continue
        try:
            shown = datetime.strptime(text or "", TIME)  # noqa: DTZ007 - naive is what the column is
        except ValueError:
            raise WrongRowError(f"{field}: expected a time like 05/23/2015 04:44:04 AM") from None
        instants = instants_of(shown, zone)
        if not instants:
            raise WrongRowError(f"{field}: expected a time that clocks in {zone.key} have shown")
        if previous is not None:
            instants = [instant for instant in instants if instant >= stamps[previous]]
        if not instants:
            raise WrongRowError(f"{field}: expected a time not before {previous}")
        stamps[field], previous = instants[0], field
    return stamps


def instants_of(shown: datetime, zone: ZoneInfo) -> list[datetime]:
    """Return when clocks in the zone showed a naive time: once; twice if they were set back, never if forward."""
    instants = sorted({shown.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)})
    return [instant for instant in instants if instant.astimezone(zone).replace(tzinfo=None) == shown]


def call_events(units: Sequence[Unit], zone: ZoneInfo) -> Iterator[Event]:
    """Yield the events of one call, told by the units that were sent to it."""
    call = units[0]
    received, entered = call.stamps["Received DtTm"], call.stamps["Entry DtTm"]
    yield event(
        call,
        "ticket",
        "opened",
        received,
        entered,
        asset_id=call.address,
        channel="phone",
        priority=call.priority,
        kind="break_fix",
        tz=zone.key,
        symptom=call.call_type,
    )
    for unit in units:
        yield from visit_events(unit)
    freed = [unit.stamps["Available DtTm"] for unit in units if "Available DtTm" in unit.stamps]
    if freed and any(unit.disposition == RESOLVED for unit in units):
        yield event(call, "ticket", "resolved", max(freed), max(freed))


def visit_events(unit: Unit) -> Iterator[Event]:
    """Yield what one unit did."""
    done = {"Dispatch DtTm": "assigned", "Response DtTm": "en_route", "On Scene DtTm": "arrived"}
    arrived = "On Scene DtTm" in unit.stamps
    done["Available DtTm"] = "completed" if arrived else "cancelled"
    for field, event_type in done.items():
        if field in unit.stamps:
            at = unit.stamps[field]
            who = {"by": "provider"} if event_type == "cancelled" else {"technician_id": unit.unit}
            yield event(unit, "dispatch", event_type, at, at, visit_id=unit.visit, **who)


def event(unit: Unit, topic: str, event_type: str, at: datetime, seen: datetime, **fields: object) -> Event:
    """Return an event; its id says what it is about, so that a second run of the adapter sends the same ids."""
    event_id = f"{unit.visit}-{event_type}" if topic == "dispatch" else event_type
    envelope = {"event_id": event_id, "topic": topic, "type": event_type, "case_id": unit.call, "at": at.isoformat()}
    return {**envelope, **fields, "seen": seen.isoformat()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the events, one JSON object a line; return 2 if a row was left out, else 0."""
    parser = argparse.ArgumentParser(description="Fire calls for service as cxstream events.")
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="CSV: one row per unit sent to a call")
    parser.add_argument(
        "--zone",
        type=ZoneInfo,
        default=ZoneInfo("America/Los_Angeles"),
        help="IANA zone of the files' times (America/Los_Angeles)",
    )
    options = parser.parse_args(arguments)
    converted = convert(options.files, options.zone)
    for one in converted.events:
        sys.stdout.write(json.dumps(one) + "\n")
    for line in converted.wrong:
        print(line, file=sys.stderr)
    print(f"{converted.rows} rows, {len(converted.wrong)} left out: {len(converted.events)} events", file=sys.stderr)
    return 2 if converted.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
