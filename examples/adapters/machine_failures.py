"""Machines keep a log and know nothing of cases; this turns failure, maintenance and error rows into cxstream events.

    python machine_failures.py PdM_failures.csv PdM_maint.csv PdM_errors.csv --zone UTC > machines.ndjson
    cxstream judge machines.ndjson --as-of 2021-02-15T00:00:00Z

It is written the way an upstream team would write one, with the standard library alone. What becomes of a row:

    failures of one machine at one time          break_fix case: opened (symptom = the components)
    maintenance, same time, machine, component   its repair: parts.consumed each, then dispatch.completed (fixed)
    no such maintenance row                      see --unrepaired
    any other maintenance row                    preventive case: opened, parts.consumed, dispatch.completed (fixed)
    error row                                    alert case: opened; the log does not say what became of it

A row says when a thing happened and nothing about when anybody heard of it, so each event is delivered (`seen`) when
it happened. The log has no windows and no arrivals; none are made up, and the signs that need them stay excluded.
The zone matters: many machines fail again exactly 30 local days later, which is an hour more or less than 30 times
24 hours where the clocks change in between.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

Row = tuple[datetime, str, str]
"""When (with its zone), which machine, and what: a component or an error."""

Event = dict[str, object]


def read_rows(path: Path, zone: ZoneInfo) -> Iterator[Row]:
    """Read the three columns of a log: a naive local time (taken to be of `zone`), the machine, and what it was."""
    with path.open(newline="", encoding="utf-8") as file:
        lines = csv.reader(file)
        next(lines)
        for local_time, machine, what in lines:
            yield datetime.fromisoformat(local_time).replace(tzinfo=zone), f"machine-{machine}", what


def failure_cases(failures: Sequence[Row], maintenance: Sequence[Row], unrepaired: str) -> Iterator[list[Event]]:
    """One case per machine and failure time, however many components failed at once.

    A failure without a maintenance row (17 of 719, all in the first snapshot of the log, 2 January 03:00) is one whose
    end was not recorded. That it ended is certain, the machine ran on; when and how is not. `resolved` closes it as the
    log closes every other failure, at the instant of the failure, but as a desk would (`ticket.resolved`): a visit
    nobody recorded must not be counted as a first-time fix. `open` claims nothing and keeps it out of every ratio.
    """
    replaced = set(maintenance)
    components: dict[tuple[datetime, str], list[str]] = defaultdict(list)
    for at, machine, component in failures:
        components[at, machine].append(component)
    for (at, machine), failed in components.items():
        case = _Case(f"failure-{machine}-{at:%Y%m%dT%H%M}", at)
        symptom = "+".join(sorted(failed))
        case.say("ticket", "opened", asset_id=machine, channel="iot", kind="break_fix", symptom=symptom)
        repaired = [component for component in failed if (at, machine, component) in replaced]
        if repaired:
            case.repair(repaired)
        elif unrepaired == "resolved":
            case.say("ticket", "resolved", remote=False)
        yield case.events


def preventive_cases(failures: Sequence[Row], maintenance: Sequence[Row]) -> Iterator[list[Event]]:
    """One case per component replaced although it had not failed."""
    failed = set(failures)
    for at, machine, component in maintenance:
        if (at, machine, component) not in failed:
            case = _Case(f"preventive-{machine}-{component}-{at:%Y%m%dT%H%M}", at)
            case.say("ticket", "opened", asset_id=machine, channel="plan", kind="preventive", symptom=component)
            case.repair([component])
            yield case.events


def alert_cases(errors: Sequence[Row]) -> Iterator[list[Event]]:
    """One case per error row: the machine complained, it did not stop."""
    for at, machine, error in errors:
        case = _Case(f"alert-{machine}-{error}-{at:%Y%m%dT%H%M}", at)
        case.say("ticket", "opened", asset_id=machine, channel="iot", kind="alert", symptom=error)
        yield case.events


class _Case:
    """The events of one case; everything the log knows about it happened at one instant."""

    def __init__(self, case_id: str, at: datetime) -> None:
        self.case_id = case_id
        self.at = at.isoformat()
        self.events: list[Event] = []

    def say(self, topic: str, event_type: str, **fields: object) -> None:
        """Add a fact; its id is its number within the case, so that a second run of the adapter sends the same ids."""
        number = str(len(self.events) + 1)
        envelope = {"event_id": number, "topic": topic, "type": event_type, "case_id": self.case_id, "at": self.at}
        self.events.append({**envelope, **fields, "seen": self.at})

    def repair(self, components: Sequence[str]) -> None:
        """Add the visit a maintenance row stands for: the components used and the work done."""
        visit = f"{self.case_id}-visit"
        for component in components:
            self.say("parts", "consumed", visit_id=visit, line_id=f"{visit}-{component}", part_no=component)
        self.say("dispatch", "completed", visit_id=visit, outcome="fixed")


def convert(
    failures: Sequence[Row],
    maintenance: Sequence[Row],
    errors: Sequence[Row],
    *,
    only: str = "all",
    unrepaired: str = "resolved",
) -> list[Event]:
    """Return the events of all three logs in order of delivery, those of one case in the order of the work."""
    cases = list(failure_cases(failures, maintenance, unrepaired))
    if only == "all":
        cases += preventive_cases(failures, maintenance)
        cases += alert_cases(errors)
    cases.sort(key=lambda events: datetime.fromisoformat(str(events[0]["seen"])))
    return [event for events in cases for event in events]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the events, one JSON object a line."""
    parser = argparse.ArgumentParser(description="Machine logs as cxstream events.")
    parser.add_argument("failures", type=Path, help="CSV: datetime, machineID, failure")
    parser.add_argument("maintenance", type=Path, help="CSV: datetime, machineID, comp")
    parser.add_argument("errors", type=Path, help="CSV: datetime, machineID, errorID")
    parser.add_argument("--zone", type=ZoneInfo, default=ZoneInfo("UTC"), help="IANA zone of the files' times (UTC)")
    parser.add_argument(
        "--only", choices=("all", "failures"), default="all", help="leave out preventive and alert cases"
    )
    parser.add_argument(
        "--unrepaired",
        choices=("resolved", "open"),
        default="resolved",
        help="how to close a failure without a maintenance row: resolved at its own instant, or not at all",
    )
    options = parser.parse_args(arguments)
    logs = [list(read_rows(path, options.zone)) for path in (options.failures, options.maintenance, options.errors)]
    for event in convert(logs[0], logs[1], logs[2], only=options.only, unrepaired=options.unrepaired):
        sys.stdout.write(json.dumps(event) + "\n")


if __name__ == "__main__":
    main()
