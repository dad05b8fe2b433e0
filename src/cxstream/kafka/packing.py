"""How values are kept in memory: lz4, with what most records say as the dictionary."""

from __future__ import annotations

import lz4.block

from cxstream.domain.cases import Case, Segment
from cxstream.domain.facts import Fact, Value
from cxstream.domain.instant import HOUR_MS
from cxstream.domain.policy import Policy
from cxstream.engine.assess import Clock, assess
from cxstream.kafka.records import write
from cxstream.vital_signs import TIER_A

_BEGAN_MS = 1_767_225_600_000
_VISIT: dict[str, Value] = {"visit_id": "V"}
_OPENING: dict[str, Value] = {
    **dict.fromkeys(Segment.__struct_fields__, "unknown"),
    "asset_id": "A",
    "channel": "phone",
    "priority": "P2",
    "kind": "break_fix",
    "tz": "Europe/Berlin",
    "symptom": "",
}
_STORY: tuple[tuple[str, str, dict[str, Value]], ...] = (
    ("ticket", "opened", _OPENING),
    ("ticket", "acknowledged", {"auto": False}),
    ("ticket", "diagnosed", {}),
    ("dispatch", "scheduled", {**_VISIT, "window_start": _BEGAN_MS, "window_end": _BEGAN_MS + 10 * HOUR_MS}),
    ("parts", "required", {"line_id": "L", "part_no": "P", "qty": 1, **_VISIT}),
    ("parts", "allocated", {"line_id": "L", "part_no": "P", "qty": 1, "to": "van"}),
    ("ticket", "commitment_made", {"commitment_id": "C", "kind": "arrive", "due": _BEGAN_MS + 12 * HOUR_MS}),
    ("ticket", "customer_updated", {"channel": "phone"}),
    ("dispatch", "assigned", {**_VISIT, "technician_id": "T"}),
    ("dispatch", "en_route", {**_VISIT, "technician_id": "T"}),
    ("dispatch", "arrived", {**_VISIT, "technician_id": "T"}),
    ("ticket", "commitment_kept", {"commitment_id": "C"}),
    ("dispatch", "completed", {**_VISIT, "outcome": "fixed", "technician_id": "T"}),
    ("ticket", "resolved", {"remote": False}),
)
"""What happens to most cases, an event each quarter of an hour."""


def _typical_record() -> bytes:
    facts = [
        Fact(str(number), topic, kind, at_ms, at_ms, fields)
        for number, (topic, kind, fields) in enumerate(_STORY)
        for at_ms in (_BEGAN_MS + number * HOUR_MS // 4,)
    ]
    return write(assess(Case("", facts=facts), TIER_A, Policy(), Clock(facts[-1].at_ms, 0)).case)


_TYPICAL = _typical_record()
"""The dictionary. Of what is packed nothing outlives the process, so it may change with every release."""


def pack(value: bytes) -> bytes:
    """Return a value as it is kept."""
    return lz4.block.compress(value, dict=_TYPICAL)  # type: ignore[no-any-return]


def unpack(packed: bytes) -> bytes:
    """Return the value that was packed."""
    return lz4.block.decompress(packed, dict=_TYPICAL)  # type: ignore[no-any-return]
