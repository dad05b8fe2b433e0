"""A rich case, and its explanation as it is kept: `python tests/golden/explained_case.py` writes it anew."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from cases import (
    Event,
    arrived,
    completed,
    corrected,
    event,
    merged,
    of_case,
    opened,
    reopened,
    rescheduled,
    scheduled,
    voided,
)
from cxstream.domain.instant import parse_instant
from cxstream.domain.policy import Policy
from cxstream.offline.events_file import read_events
from cxstream.offline.explain import WIDTH, explain_case
from cxstream.vital_signs import TIER_A

KEPT = Path(__file__).with_suffix(".txt")
AS_OF = ("2026-03-11T12:00:00Z", "2026-04-20T12:00:00Z")
"""Once fixed and not yet final; and when all of that is final and other visits are pending, on summer time."""

EVENTS: list[Event] = [
    opened(asset_id="PUMP-17", priority="P2", tz="Europe/Berlin", region="north", product="pump", named="1"),
    event("ticket.acknowledged", "5m", auto=True, named="2"),
    event("ticket.acknowledged", "50m", named="3"),
    event("ticket.diagnosed", "20h", seen="20h30m", named="4"),
    event("ticket.commitment_made", "1h", commitment_id="K1", kind="callback", due="2d", named="5"),
    scheduled("1h", "1d", "1d4h", named="6"),
    event("parts.required", "2h", line_id="L1", part_no="SEAL-8", qty=2, visit_id="V1", named="7"),
    event("parts.allocated", "3h", line_id="L1", qty=2, named="8"),
    event("ticket.customer_contacted", "4h", channel="phone", named="9"),
    voided("5h", "9", named="10"),
    event("dispatch.en_route", "1d3h", visit_id="V1", technician_id="T-4", seen="8d", named="11"),
    arrived("1d4h20m", seen="1d6h", technician_id="T-4", named="12"),
    corrected("1d7h", "12", {"at": "1d4h10m"}, named="13"),
    completed("1d5h", "fixed", named="14"),
    completed("1d5h", "fixed", named="14"),
    completed("1d5h", "not_fixed", seen="1d8h", named="14"),
    reopened("20d", named="15"),
    scheduled("20d1h", "47d", "47d4h", "V2", named="16"),
    rescheduled("46d12h", "48d", "60d", "V2", by="customer", named="17"),
    event("parts.required", "47d", line_id="L2", part_no="ROTOR-2", visit_id="V2", named="18"),
    event("ticket.commitment_made", "47d", commitment_id="K2", kind="restore", due="50d", named="19"),
    event("ticket.escalated", "47d1h", named="20"),
    corrected("47d2h", "missing", {"at": "1d"}, named="21"),
    *of_case(
        "C-1011",
        opened("10d", asset_id="PUMP-17", named="1"),
        scheduled("10d2h", "11d", "11d4h", "V9", named="2"),
        merged("10d3h", "C-1007", named="3"),
    ),
    *of_case("C-1012", opened("25d", asset_id="PUMP-17", kind="preventive", named="1")),
    event("ticket.closed", "70d", named="30"),
]
CASE = "C-1007"


def lines() -> list[str]:
    """Return the lines of a file with the case, one of them without an offset."""
    named = [{**one, "case_id": CASE} if one["case_id"] == "C1" else one for one in EVENTS]
    naive = {**named[10], "event_id": "99", "at": "2026-03-03T11:00:00"}
    return [json.dumps(one) for one in (*named, naive)]


def explanation(folder: Path) -> str:
    """Return the explanation of the case as text; where the file lies is left out."""
    path = folder / "events.ndjson"
    path.write_text("\n".join(lines()))
    policy = Policy()
    facts, wrong = read_events([path], policy.clock_skew_ms)
    wrong = [line._replace(path=path.name) for line in wrong]
    told = (explain_case(facts, wrong, CASE, parse_instant(as_of), TIER_A, policy) for as_of in AS_OF)
    return f"\n{'=' * WIDTH}\n\n".join(one.text() for one in told)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        KEPT.write_text(explanation(Path(folder)), "utf-8")
