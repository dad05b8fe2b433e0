"""A service desk keeps an audit log, a row for every change of a ticket; this turns its rows into cxstream events.

    python incidents.py part_a.csv part_b.csv > incidents.ndjson
    cxstream judge incidents.ndjson --as-of 2017-05-15T00:00:00Z

It is written the way an upstream team would write one, with the standard library alone, for the incident log of a
ServiceNow instance that UCI publishes. A row is the ticket as it stood after a change. What becomes of it, compared
with the row before it of the same incident:

    the incident's first row             opened, at opened_at
    reopen_count has risen               reopened
    state left Awaiting User Info        resumed
    state is now Active, first time      acknowledged
    state is now Awaiting User Info      waiting_on_customer
    state is now Resolved, Closed        resolved, closed
    nothing of these                     updated

All but the opening happened when the row was written (`sys_updated_at`), and every event is delivered (`seen`) then.
`updated` is a type cxstream does not know, so it decides nothing; but it shows that the ticket was not forgotten, which
an incident is that nobody touches for 90 days (rule 4).

The export fills `resolved_at` and `closed_at` into every earlier row, so at the time of a row they are news from the
future: they are not read at all, the change of state says it. `made_sla` is the source's own verdict and not read
either. A row written before its own `opened_at` has that from the future too: it is wrong, is told on standard error
and left out (the exit status is then 2); the next row of the incident opens it.

The configuration item is the asset; "?" is none. Priorities 3 and 4 are both P3, the lowest there is. Times are naive,
day first, to the minute, parted by "-" or "/", and the publisher does not say of which zone: `--zone` does, UTC if
nobody knows better. The zone is sent with the case, so that its local days are those of the log whichever it is. A
time that clocks of the zone never showed makes the row wrong; one they showed twice is taken for the first.
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

FORMATS = ("%d-%m-%Y %H:%M", "%d/%m/%Y %H:%M")
WAITING = "Awaiting User Info"
STATES = ("New", "Active", WAITING, "Awaiting Problem", "Awaiting Vendor", "Awaiting Evidence", "Resolved", "Closed")
TOLD = {"Active": "acknowledged", WAITING: "waiting_on_customer", "Resolved": "resolved", "Closed": "closed"}
"""What is said when an incident comes into a state."""
PRIORITIES = {"1": "P1", "2": "P2", "3": "P3", "4": "P3"}
"""By the leading digit, as in "3 - Moderate"."""
UNKNOWN = "?"


class WrongRowError(Exception):
    """A row that cannot be sent; says which field is wrong and what was expected there."""


class Row(NamedTuple):
    """An incident as it stood after a change; times in UTC."""

    updated: datetime
    change: int
    """The number of the change; nearly always in the order of time."""
    incident: str
    state: str
    reopens: int
    opened: datetime
    asset: str | None
    channel: str | None
    priority: str
    symptom: str | None


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
        incidents: dict[str, list[Row]] = defaultdict(list)
        for read in read_rows(path, zone):
            rows += 1
            if isinstance(read, Row):
                incidents[read.incident].append(read)
            else:
                wrong.append(read)
        for of_incident in incidents.values():
            events += incident_events(of_incident, zone)
    events.sort(key=lambda event: str(event["seen"]))
    return Converted(events, rows, wrong)


def read_rows(path: Path, zone: ZoneInfo) -> Iterator[Row | str]:
    """Yield every row, or what is wrong with it."""
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        rows = csv.DictReader(file)
        for row in rows:
            try:
                yield row_of(row, zone)
            except WrongRowError as error:
                yield f"{path}:{rows.line_num}: {error}"


def row_of(row: dict[str, str], zone: ZoneInfo) -> Row:
    """Return what is read of a row; raises WrongRowError."""
    if not row.get("number"):
        raise WrongRowError("number: expected a value")
    if row.get("incident_state") not in STATES:
        raise WrongRowError(f"incident_state: expected one of {', '.join(STATES)}")
    priority = PRIORITIES.get((row.get("priority") or "")[:1])
    if priority is None:
        raise WrongRowError(f"priority: expected one that begins with {', '.join(PRIORITIES)}")
    opened, updated = (instant_of(row, field, zone) for field in ("opened_at", "sys_updated_at"))
    if opened > updated:
        raise WrongRowError("opened_at: expected a time not after sys_updated_at, when the row was written")
    return Row(
        updated=updated,
        change=whole_number_of(row, "sys_mod_count"),
        incident=row["number"],
        state=row["incident_state"],
        reopens=whole_number_of(row, "reopen_count"),
        opened=opened,
        asset=known(row.get("cmdb_ci")),
        channel=known((row.get("contact_type") or "").lower()),
        priority=priority,
        symptom=known(row.get("u_symptom")),
    )


def known(value: str | None) -> str | None:
    """Return a value, None for what the log writes where it has none."""
    return None if value in ("", UNKNOWN) else value


def whole_number_of(row: dict[str, str], field: str) -> int:
    """Return a count; raises WrongRowError."""
    text = row.get(field) or ""
    if not (text.isascii() and text.isdigit()):
        raise WrongRowError(f"{field}: expected a whole number")
    return int(text)


def instant_of(row: dict[str, str], field: str, zone: ZoneInfo) -> datetime:
    """Return when a clock in the zone first showed the naive time of a field; raises WrongRowError."""
    for form in FORMATS:
        try:
            shown = datetime.strptime(row.get(field) or "", form)  # noqa: DTZ007 - naive is what the column is
        except ValueError:
            continue
        instant = shown.replace(tzinfo=zone).astimezone(UTC)
        if instant.astimezone(zone).replace(tzinfo=None) != shown:
            raise WrongRowError(f"{field}: expected a time that clocks in {zone.key} have shown")
        return instant
    raise WrongRowError(f"{field}: expected a time like 29-02-2016 01:16 or 29/2/2016 01:16")


def incident_events(rows: Iterable[Row], zone: ZoneInfo) -> Iterator[Event]:
    """Yield what the rows of one incident tell, in the order they were written."""
    before: Row | None = None
    acknowledged = False
    for row in sorted(rows, key=lambda row: (row.updated, row.change)):
        types = changes(before, row)
        if acknowledged:
            types = [event_type for event_type in types if event_type != "acknowledged"]
        if before is None:
            yield opening(row, zone)
        for event_type in types or (["updated"] if before else []):
            yield event(row, event_type)
        acknowledged = acknowledged or "acknowledged" in types
        before = row


def changes(before: Row | None, row: Row) -> list[str]:
    """Return the types of event that tell how an incident changed from one row to the next."""
    if before is None:
        return [TOLD[row.state]] if row.state in TOLD else []
    types = ["reopened"] if row.reopens > before.reopens else []
    if row.state != before.state:
        types += ["resumed"] if before.state == WAITING else []
        types += [TOLD[row.state]] if row.state in TOLD else []
    return types


def opening(row: Row, zone: ZoneInfo) -> Event:
    """Return the opening as the first row of an incident tells it."""
    fields = {"asset_id": row.asset, "channel": row.channel, "priority": row.priority, "symptom": row.symptom}
    return event(row, "opened", at=row.opened.isoformat(), kind="break_fix", tz=zone.key, **fields)


def event(row: Row, event_type: str, **fields: object) -> Event:
    """Return an event; its id names the change and what it said, so that a second run sends the same ids."""
    written = row.updated.isoformat()
    event_id = f"{row.incident}-{row.change}-{event_type}"
    envelope = {"event_id": event_id, "topic": "ticket", "type": event_type, "case_id": row.incident, "at": written}
    return {**envelope, **fields, "seen": written}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the events, one JSON object a line; return 2 if a row was left out, else 0."""
    parser = argparse.ArgumentParser(description="An incident audit log as cxstream events.")
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="CSV: one row per change of an incident")
    parser.add_argument("--zone", type=ZoneInfo, default=ZoneInfo("UTC"), help="IANA zone of the files' times (UTC)")
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
