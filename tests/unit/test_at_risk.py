"""At risk now: what will be a miss within the horizon unless something happens (rule 26)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from cases import (
    Event,
    arrived,
    booked,
    cancelled,
    delivered,
    event,
    ms,
    opened,
    planned,
    reopened,
    rescheduled,
    resolved,
    rfc3339,
    scheduled,
)
from cxstream.cli import main
from cxstream.config import load
from cxstream.domain.instant import MINUTE_MS, NEVER_MS
from cxstream.domain.policy import Policy
from cxstream.engine.assess import Clock
from cxstream.engine.ledger import Ledger
from cxstream.offline.at_risk import at_risk, documents
from cxstream.offline.judge import judge_facts
from cxstream.vital_signs import CATALOGUE

WINDOWS = load(None, {}).windows()
VISIT = [opened(), scheduled("1h", "20h", "22h")]
SET_OUT = event("dispatch.en_route", "19h", visit_id="V1")
COMMITMENT = event("ticket.commitment_made", "1h", commitment_id="K1", due="9h")
NEVER_MENDED = [
    *(opened(), resolved("3h"), reopened("5h")),
    *(event("ticket.customer_updated", f"{24 * day}h") for day in range(1, 33)),
]
"""Sealed at 795h."""
LINE = event("parts.required", "2h", line_id="L1", visit_id="V1", qty=2)


def due(events: Sequence[Event], sign: str, now: str) -> str | None:
    """Return when the one unit of a sign is due, None if it is not pending for something."""
    casebook = booked(events)
    casebook.assess(Clock.at(ms(now)))
    found = [verdict for verdict in casebook.cases["C1"].verdicts if verdict.sign == sign]
    assert len(found) == 1
    assert found[0].due_ms == NEVER_MS or found[0].verdict == "pending"
    return None if found[0].due_ms == NEVER_MS else str(found[0].due_ms)


def allocated(at: str, qty: int = 1) -> Event:
    """Return that pieces of the line were set aside."""
    return event("parts.allocated", at, line_id="L1", qty=qty)


@pytest.mark.parametrize(
    ("events", "sign", "now", "expected"),
    [
        (VISIT, "on_time_arrival", "19h", "22h15m"),
        ([*VISIT, SET_OUT], "on_time_arrival", "19h", None),
        ([*VISIT, arrived("21h")], "on_time_arrival", "21h", None),
        (
            [*VISIT, SET_OUT, rescheduled("19h30m", "40h", "42h", by="customer")],
            "on_time_arrival",
            "41h",
            "42h15m",
        ),
        (VISIT, "on_time_arrival", "23h", None),
        ([opened(), planned("1h")], "on_time_arrival", "19h", None),
        ([*VISIT, LINE], "parts_ready", "3h", "20h"),
        ([*VISIT, LINE, allocated("3h")], "parts_ready", "3h", "20h"),
        ([*VISIT, LINE, allocated("3h", 2)], "parts_ready", "3h", None),
        ([opened(), planned("1h"), LINE], "parts_ready", "3h", None),
        ([opened(priority="P2")], "first_response", "1h", "4h"),
        ([opened(priority="P2"), event("ticket.acknowledged", "30m")], "first_response", "1h", None),
        ([opened()], "explained", "1h", "24h"),
        (
            [opened(), event("ticket.commitment_made", "1h", commitment_id="K1", due="9h")],
            "commitment_kept",
            "2h",
            "9h",
        ),
        ([opened()], "no_silence", "1h", "24h"),
        ([opened(), event("ticket.customer_updated", "5h")], "no_silence", "6h", "29h"),
        ([opened(), resolved("5h")], "no_silence", "6h", None),
        ([*NEVER_MENDED, event("ticket.customer_updated", "770h")], "no_silence", "775h", "794h"),
        ([*NEVER_MENDED, event("ticket.customer_updated", "772h")], "no_silence", "775h", None),
        ([opened(), cancelled("1h")], "first_response", "2h", None),
    ],
)
def test_when_a_unit_is_due(events: list[Event], sign: str, now: str, expected: str | None) -> None:
    """A pending unit is due at the instant after which nothing can save it, if that is before its seal (rule 26).

    Help on its way counts, which set out for the window promised now.
    """
    assert due(events, sign, now) == (None if expected is None else str(ms(expected)))


@pytest.mark.parametrize(("now", "units"), [("21h14m", 0), ("21h15m", 1), ("22h14m", 1), ("22h15m", 0), ("30h", 0)])
def test_what_is_due_within_the_horizon_is_counted_now(now: str, units: int) -> None:
    """The count rises an hour before the unit is due and falls when it is, with nothing judged in between (rule 26)."""
    casebook = booked([opened(region="north"), scheduled("1h", "20h", "22h")])
    casebook.assess(Clock.at(ms("2h")))
    ledger = Ledger(WINDOWS)
    ledger.replace(None, casebook.cases["C1"])
    ledger.advance(ms(now))
    found = [row for row in ledger.rows() if (row.sign, row.state) == ("on_time_arrival", "at_risk")]
    assert [(row.level, row.segment, row.window, row.units) for row in found] == (
        [("job", "", "", 1), ("region", "north", "", 1)] if units else []
    )


def test_what_was_at_risk_is_taken_back() -> None:
    """A revision takes the unit off the count, whatever the clock says by then (rule 26)."""
    casebook = booked([opened(), scheduled("1h", "20h", "22h")])
    casebook.assess(Clock.at(ms("21h20m")))
    ledger = Ledger(WINDOWS)
    at_first = casebook.cases["C1"]
    ledger.replace(None, at_first)
    ledger.advance(ms("21h20m"))
    on_its_way = booked([opened(), scheduled("1h", "20h", "22h"), event("dispatch.en_route", "21h20m", visit_id="V1")])
    on_its_way.assess(Clock.at(ms("21h20m")))
    ledger.replace(at_first, on_its_way.cases["C1"])
    assert not [row for row in ledger.rows() if (row.sign, row.state) == ("on_time_arrival", "at_risk")]


def test_the_list_says_who_is_to_be_called(tmp_path: Path) -> None:
    """The command lists the units due within the time asked for, the first first, with what is missing (rule 26)."""
    file = tmp_path / "events.ndjson"
    file.write_text("".join(json.dumps(one) + "\n" for one in [*VISIT, LINE]))
    asked = ["at-risk", str(file), "--as-of", rfc3339("19h30m"), "--within", "180"]
    result = CliRunner().invoke(main, asked)
    assert result.exit_code == 0
    found = [json.loads(line) for line in result.output.splitlines()]
    assert [(one["sign"], one["unit"], one["due"], one["seconds_left"], one["missing"]) for one in found] == [
        ("parts_ready", "V1", rfc3339("20h"), 1800, "required parts on hand"),
        ("on_time_arrival", "V1", rfc3339("22h15m"), 9900, "a technician on the way"),
    ]
    beyond = CliRunner().invoke(main, [*asked[:-1], str(10**15)])
    assert beyond.exit_code == 2, "no calendar goes that far"
    assert "1<=x<=527040" in beyond.output


def test_every_sign_that_can_be_at_risk_says_what_is_missing() -> None:
    """What the list says of a sign is not empty where a unit of it can be due (rule 26)."""
    warned = {"first_response", "explained", "commitment_kept", "no_silence", "on_time_arrival", "parts_ready"}
    assert {name for name, sign in CATALOGUE.items() if sign.missing} == warned
    facts = delivered(*VISIT, LINE, COMMITMENT)
    judged, _ = judge_facts(facts, ms("2h"), CATALOGUE, Policy())
    found = list(documents(at_risk(judged, ms("2h"), 48 * 60 * MINUTE_MS), ms("2h"), CATALOGUE))
    assert {str(one["sign"]) for one in found} == warned
    assert all(one["missing"] for one in found)
