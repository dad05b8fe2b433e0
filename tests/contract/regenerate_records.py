"""Keeps the bytes of records as one version of the service writes them: `records/<version byte>.json`.

Run it once after the version byte of records was raised, with the code that raised it
(`PYTHONPATH=src:tests python tests/contract/regenerate_records.py`). Bytes once kept are never written again: they
stand for what is in the changelogs and topics of those who upgrade. With `--rejudge` only what the cases are judged to
is renewed, for a rule that was changed on purpose.
Each entry has the bytes, what they mean field by field, and for cases their verdicts at two clock readings.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from cases import (
    POLICY,
    Event,
    arrived,
    booked,
    cancelled,
    completed,
    corrected,
    delivered,
    erased,
    event,
    merged,
    ms,
    of_case,
    opened,
    planned,
    reopened,
    rescheduled,
    resolved,
    scheduled,
    visit_cancelled,
    voided,
)
from cxstream.domain import vocabulary
from cxstream.domain.cases import Case
from cxstream.domain.instant import DAY_MS
from cxstream.domain.policy import Policy
from cxstream.engine.assess import Catalogue, Clock, assess
from cxstream.engine.boards import Board, for_boards, for_survivors
from cxstream.engine.casebook import Casebook
from cxstream.kafka.records import VERSION, Relay, read_case, write
from cxstream.vital_signs import CATALOGUE

FOLDER = Path(__file__).resolve().parent / "records"
LATER_MS = ms("730d")
"""When every unit of a kept case has long been sealed."""
UNFORGETTING = Policy(longest_window_ms=3650 * DAY_MS)
"""The policy kept cases are judged by: with windows so long that none is forgotten."""


class Kept(NamedTuple):
    """A record to keep, and the clock reading it was judged at; None for what is not judged."""

    name: str
    record: Case | Board | Relay
    clock_ms: int | None = None


def meaning(value: object) -> object:
    """Return what a record says as JSON, its fields by name."""
    if isinstance(value, msgspec.Struct):
        return {name: meaning(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, Mapping):
        return {key: meaning(inner) for key, inner in value.items()}
    return [meaning(inner) for inner in value] if isinstance(value, list) else value


def catalogue_of(verdicts: list[dict[str, Any]]) -> Catalogue:
    """Return the signs these verdicts are of: later ones are no concern of theirs."""
    return {name: CATALOGUE[name] for name in sorted({verdict["sign"] for verdict in verdicts})}


def judged(case: Case, clock_ms: int, catalogue: Catalogue = CATALOGUE) -> dict[str, object]:
    """Return what a case is judged to at a clock reading."""
    verdicts = assess(case, catalogue, UNFORGETTING, Clock.at(clock_ms)).case.verdicts
    return {"clock_ms": clock_ms, "verdicts": meaning(verdicts)}


# --- What is kept

_WHOLE = [
    opened(region="north", product="pump", priority="P1", tier="gold", provider="acme", tz="Europe/Berlin"),
    event("ticket.acknowledged", "30m"),
    event("ticket.diagnosed", "1h"),
    event("ticket.commitment_made", "1h", commitment_id="K1", kind="arrive", due="4h"),
    event("parts.required", "1h", line_id="L1", visit_id="V1", part_no="P-1", qty=2, to="van"),
    scheduled("1h", "26h", "28h"),
    event("parts.picked_up", "20h", line_id="L1", qty=2, to="van"),
    event("dispatch.en_route", "25h", visit_id="V1", technician_id="T7"),
    arrived("26h", technician_id="T7"),
    completed("27h", "fixed", technician_id="T7"),
    resolved("28h"),
]
_BROKEN = [
    opened(priority="P1"),
    scheduled("1h", "26h", "28h"),
    rescheduled("10h", "50h", "52h"),
    event("ticket.commitment_made", "1h", commitment_id="K1", kind="callback", due="4h"),
    event("ticket.customer_contacted", "20h", channel="phone"),
    event("parts.required", "2h", line_id="L1", visit_id="V1", qty=3),
    event("parts.allocated", "3h", line_id="L1", visit_id="V1", qty=1),
    arrived("60h"),
    completed("61h", "no_parts"),
    planned("62h", "V2"),
    arrived("80h", "V2"),
    completed("81h", "fixed", "V2"),
    reopened("90h"),
    resolved("100h"),
]


def _one_of_each(case: str) -> list[Event]:
    """Return a fact of every event type with every field it may have."""
    values: dict[str, object] = {"flag": True, "count": 3, "time": "30h", "zone": "America/Chicago"}
    events = []
    types = [*vocabulary.EVENT_TYPES, *((topic, name) for topic in vocabulary.TOPICS for name in vocabulary.ANY_TOPIC)]
    for number, (topic, event_type) in enumerate(types):
        if event_type in {"erased", "merged"}:
            continue
        stated: dict[str, Any] = {}
        target = f"{topic}-cancelled" if event_type == "voided" else "opened-0h"
        named_so = {"visit_id": "V1", "target": target}
        for name, field in (vocabulary.fields_of(topic, event_type) or {}).items():
            text = named_so.get(name) or f"{name} \u00fc \u2603 \U0001f527"
            stated[name] = field.choices[-1] if field.choices else values.get(field.kind, text)
            if field.kind == "changes":
                stated[name] = {"at": "1h", "region": "s\u00fcd", "auto": False, "qty": 7, "tier": None}
        named = "opened-0h" if event_type == "opened" else f"{topic}-{event_type}"
        events.append(event(f"{topic}.{event_type}", f"{number}m", case=case, named=named, **stated))
    return events


def _case(name: str, events: list[Event], *clocks: str, policy: Policy = UNFORGETTING) -> Kept:
    """Return a case that was judged at each of the clock readings, every time on what was delivered by then."""
    facts = [(name if case_id == "C1" else case_id, fact) for case_id, fact in delivered(*events)]
    casebook = Casebook(CATALOGUE, policy)
    for clock in clocks:
        for case_id, fact in facts:
            if fact.delivered_ms <= ms(clock):
                casebook.take(case_id, fact)
        casebook.assess(Clock.at(ms(clock)))
    return Kept(name, casebook.cases[name], ms(clocks[-1]))


def _cases() -> Iterator[Kept]:
    yield _case("opened", [opened()], "30m")
    yield _case("every-type", _one_of_each("C1"), "2h", "40h")
    yield _case("held-so-far", _WHOLE, "29h")
    yield _case("held-for-good", _WHOLE, "29h", "100d")
    yield _case("broken-open", _BROKEN, "55h")
    yield _case("broken", _BROKEN, "20h", "55h", "101h")
    yield _case("broken-for-good", _BROKEN, "20h", "55h", "101h", "200d")
    mended = corrected("70h", "arrived-V1-60h", {"at": "51h"}, seen="70h")
    yield _case("retracted", [*_BROKEN, mended, voided("120h", "reopened-90h")], "69h", "101h", "125h")
    yield _case("cancelled", [opened(), cancelled("2h")], "3h")
    yield _case("never-existed", [opened(), scheduled("1h", "5h", "6h"), cancelled("2h", reason="test")], "1h", "30h")
    yield _case("abandoned", [opened(), event("ticket.acknowledged", "1h")], "1h", "120d")
    yield _case("no-opening", [arrived("1h"), completed("2h", "partial")], "3h")
    yield _case("unknown-type", [opened(), event("ticket.escalated", "1h", level="2")], "2h")
    yield _case("preventive", [opened(kind="preventive"), *_WHOLE[5:6], arrived("26h")], "27h")
    yield _case(
        "late-after-seal", [*_WHOLE, event("ticket.diagnosed", "2h", seen="150d", named="late")], "140d", "151d"
    )
    yield _case("repeated", [*_WHOLE, *of_case("C2", opened("10d"))], "29h", "11d")
    yield _case("repeat", [*of_case("C2", *_WHOLE), opened("10d")], "11d")
    survivor = [*_WHOLE[:2], *of_case("C2", opened("1h"), merged("2h", "survivor"), *_WHOLE[5:])]
    yield _case("survivor", survivor, "3h", "30h")
    yield _case("merged", [*_WHOLE[:6], merged("3h", "C2"), *of_case("C2", opened("-1h"))], "2h", "4h")
    told = [*of_case("C2", opened(asset_id=None), merged("1h", "only-told"), *_WHOLE[5:])]
    yield _case("only-told", told, "30h")
    few = msgspec.structs.replace(UNFORGETTING, crowded_asset_cases=2)
    shared = [one for number in range(2, 6) for one in of_case(f"C{number}", opened(f"{number}h"))]
    yield _case("crowded", [*_WHOLE, *shared], "29h", policy=few)
    yield _case("erased", [*_BROKEN, erased("110h")], "101h", "111h")
    yield _case("erased-late", [*_WHOLE, erased("100d")], "99d", "101d")
    yield _case("overflow", _WHOLE, "2h", "29h", policy=msgspec.structs.replace(UNFORGETTING, facts_per_case=7))
    texts = {"symptom": "x" * vocabulary.LONGEST_TEXT, "region": "\u6771\u4eac", "product": "", "account_ref": "\u0000"}
    yield _case("long-texts", [opened(**texts), visit_cancelled("1h"), planned("2h", "V\u00df")], "3h")


def _boards() -> Iterator[Kept]:
    two = booked([*_WHOLE, *of_case("C2", opened("10d"), merged("11d", "C1"), resolved("12d"))])
    yield Kept("board-of-two", two.boards["A1"])
    many = booked([one for number in range(60) for one in of_case(f"C{number}", opened(f"{number}h"))])
    yield Kept("board-crowded", many.boards["A1"])
    yield Kept("board-empty", Board("A2"))


def _relays() -> Iterator[Kept]:
    case = booked([*_WHOLE, merged("30h", "C2"), corrected("31h", "opened-0h", {"asset_id": "A2"})]).cases["C1"]
    yield Kept(
        "relay-to-board", Relay("C1", [fact for (to, *_), fact in for_boards(case, POLICY).items() if to == "A2"])
    )
    yield Kept("relay-to-survivor", Relay("C1", list(for_survivors(case).values())))
    yield Kept("relay-crowded", Relay("", [], ms("9d")))
    yield Kept("relay-empty", Relay("C\u00df"))


def entries() -> list[dict[str, object]]:
    """Return everything that is kept, as this code writes it."""
    found = []
    for name, record, clock_ms in (*_cases(), *_boards(), *_relays()):
        data = write(record)
        kind = type(record).__name__.lower()
        entry: dict[str, object] = {"name": name, "kind": kind, "bytes": data.hex(), "means": meaning(record)}
        if isinstance(record, Case) and clock_ms is not None:
            entry["judged"] = [judged(record, clock_ms), judged(record, LATER_MS)]
        found.append(entry)
    return found


def rejudge(kept: list[dict[str, Any]]) -> None:
    """Renew what the cases are judged to, by the signs they were judged by."""
    for entry in kept:
        case = read_case(bytes.fromhex(entry["bytes"])) if entry["kind"] == "case" else None
        for number, told in enumerate(entry.get("judged", []) if case else []):
            entry["judged"][number] = judged(case, told["clock_ms"], catalogue_of(told["verdicts"]))  # type: ignore[arg-type]


def save(file: Path, kept: list[dict[str, Any]]) -> None:
    """Write a file of kept records, one to a line."""
    lines = [json.dumps(entry, ensure_ascii=True, separators=(",", ":")) for entry in kept]
    file.write_text("[\n" + ",\n".join(lines) + "\n]\n")


def main() -> None:
    """Keep the records of the current version, unless they are kept already."""
    file = FOLDER / f"{VERSION.hex()}.json"
    if "--rejudge" in sys.argv[1:]:
        for known in FOLDER.glob("*.json"):
            kept = json.loads(known.read_text())
            rejudge(kept)
            save(known, kept)
    elif file.exists():
        sys.exit(f"{file.name} is kept already: raise VERSION in src/cxstream/kafka/records.py first")
    else:
        save(file, entries())


if __name__ == "__main__":
    main()
