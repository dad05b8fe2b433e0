"""The event vocabulary as data: which types there are and which fields each carries (vital-signs page, section 1)."""

from __future__ import annotations

from typing import Literal, NamedTuple

TOPICS = ("ticket", "dispatch", "parts")

FieldKind = Literal["text", "time", "flag", "count", "choice", "zone", "changes"]


class Field(NamedTuple):
    """One field of an event type.

    `time` is an instant, `flag` a boolean, `count` a whole number >= 0, `zone` an IANA name, `choice` one of `choices`,
    `changes` the field-to-value map of a correction. An absent field means `default` wherever it is read.
    """

    kind: FieldKind
    required: bool = False
    choices: tuple[str, ...] = ()
    default: str | int | bool | None = None


def _choice(*choices: str, default: str | None = None) -> Field:
    return Field("choice", choices=choices, default=default)


_TEXT = Field("text")
_ID = Field("text", required=True)
_TIME = Field("time")
_FLAG = Field("flag", default=False)
_ACTOR = _choice("customer", "provider", default="provider")

PRIORITIES = ("P1", "P2", "P3")
OUTCOMES = (
    "fixed",
    "not_fixed",
    "partial",
    "no_parts",
    "diagnosed_only",
    "temporary",
    "wrong_skill",
    "no_access",
    "continued",
)
PURPOSES = ("repair", "survey", "preventive")
CASE_KINDS = ("break_fix", "preventive", "alert")
COMMITMENT_KINDS = ("arrive", "restore", "callback", "part", "other")
CONTACT_REASONS = ("status_chase", "repeat_info", "new_info", "reschedule", "thanks")
NEVER_EXISTED = ("duplicate", "test", "created_in_error")
CANCEL_REASONS = ("customer_withdrew", *NEVER_EXISTED)
ADMINISTRATIVE_REOPENS = ("billing", "other")
REOPEN_REASONS = ("same_fault", *ADMINISTRATIVE_REOPENS)
PLACES = ("site", "van", "depot")
RETURN_REASONS = ("unused", "doa", "wrong")
MACHINE_CHANNEL = "iot"
"""The channel of openings that equipment reports by itself; channels are free text otherwise."""

_WINDOW = {
    "visit_id": _ID,
    "window_start": _TIME,
    "window_end": _TIME,
    "by": _ACTOR,
    "agreed": _FLAG,
    "purpose": _choice(*PURPOSES, default="repair"),
    "continues": _TEXT,
    "silent": _FLAG,
}
_VISIT = {"visit_id": _ID, "technician_id": _TEXT, "silent": _FLAG}
_COMMITMENT = {
    "commitment_id": _ID,
    "kind": _choice(*COMMITMENT_KINDS, default="other"),
    "due": _TIME,
}
_LINE = {
    "line_id": _ID,
    "part_no": _TEXT,
    "qty": Field("count", default=1),
    "visit_id": _TEXT,
    "to": _choice(*PLACES, default="site"),
    "reason": _choice(*RETURN_REASONS),
}
_LINE_TYPES = (
    "required",
    "allocated",
    "ordered",
    "shipped",
    "delivered",
    "picked_up",
    "returned",
    "consumed",
    "cancelled",
)

EVENT_TYPES: dict[tuple[str, str], dict[str, Field]] = {
    ("ticket", "opened"): {
        "asset_id": _TEXT,
        "channel": _TEXT,
        "priority": _choice(*PRIORITIES, default="P3"),
        "kind": _choice(*CASE_KINDS, default="break_fix"),
        "tz": Field("zone", default="UTC"),
        "symptom": _TEXT,
        "region": _TEXT,
        "product": _TEXT,
        "tier": _TEXT,
        "provider": _TEXT,
        "account_ref": _TEXT,
        "first_contact_at": _TIME,
        "transfers": Field("count"),
    },
    ("ticket", "acknowledged"): {"auto": _FLAG},
    ("ticket", "diagnosed"): {},
    ("ticket", "customer_updated"): {"channel": _TEXT},
    ("ticket", "customer_contacted"): {
        "channel": _TEXT,
        "reason": _choice(*CONTACT_REASONS, default="status_chase"),
    },
    ("ticket", "commitment_made"): _COMMITMENT,
    ("ticket", "commitment_changed"): {"commitment_id": _ID, "due": _TIME, "by": _ACTOR, "agreed": _FLAG},
    ("ticket", "commitment_kept"): {"commitment_id": _ID},
    ("ticket", "waiting_on_customer"): {},
    ("ticket", "resumed"): {},
    ("ticket", "resolved"): {"remote": _FLAG},
    ("ticket", "reopened"): {"reason": _choice(*REOPEN_REASONS, default="same_fault")},
    ("ticket", "cancelled"): {"by": _TEXT, "reason": _choice(*CANCEL_REASONS, default="customer_withdrew")},
    ("ticket", "merged"): {"into": _ID},
    ("ticket", "transferred"): {"to": _TEXT},
    ("ticket", "compensated"): {"amount": _TEXT},
    ("ticket", "value_added"): {"what": _TEXT},
    ("ticket", "erased"): {},
    ("ticket", "closed"): {},
    ("dispatch", "scheduled"): _WINDOW,
    ("dispatch", "rescheduled"): _WINDOW,
    ("dispatch", "assigned"): _VISIT,
    ("dispatch", "en_route"): _VISIT,
    ("dispatch", "arrived"): _VISIT,
    ("dispatch", "completed"): {
        "visit_id": _ID,
        "technician_id": _TEXT,
        "outcome": _choice(*OUTCOMES),
        "replaced_by": _TEXT,
        "silent": _FLAG,
    },
    ("dispatch", "cancelled"): {"visit_id": _ID, "by": _ACTOR, "agreed": _FLAG, "silent": _FLAG},
    ("dispatch", "value_added"): {"visit_id": _TEXT, "what": _TEXT},
    **{("parts", name): _LINE for name in _LINE_TYPES},
}
"""(topic, type) -> the fields it may carry beyond the envelope."""

ANY_TOPIC: dict[str, dict[str, Field]] = {
    "corrected": {"target": _ID, "set": Field("changes", required=True)},
    "voided": {"target": _ID},
}
"""Types that every topic carries."""

LONGEST_TEXT = 1024
"""Characters a text field may have: a case keeps its facts whole, so none may be huge."""

ENVELOPE = ("event_id", "topic", "type", "case_id", "at")

TIE_ORDER = (
    "opened",
    "acknowledged",
    "diagnosed",
    "customer_updated",
    "customer_contacted",
    "waiting_on_customer",
    "resumed",
    "required",
    "ordered",
    "allocated",
    "shipped",
    "delivered",
    "picked_up",
    "scheduled",
    "rescheduled",
    "assigned",
    "en_route",
    "arrived",
    "returned",
    "consumed",
    "completed",
    "cancelled",
    "commitment_made",
    "commitment_changed",
    "commitment_kept",
    "resolved",
    "reopened",
    "merged",
    "closed",
    "compensated",
    "value_added",
    "erased",
)
"""Order of types at equal event time (rule 5); every other type comes last."""


TIME_FIELDS = frozenset(
    {"at"} | {name for fields in EVENT_TYPES.values() for name, field in fields.items() if field.kind == "time"}
)
"""Fields that are instants wherever they occur, so also among the changes of a correction."""


CORRECTABLE = frozenset({"at"} | {name for fields in EVENT_TYPES.values() for name in fields} | {"target"})
"""Every field a correction may name."""


TEXTS_TOLD = frozenset(
    {
        *("asset_id", "replaced_by", "into", "target"),
        *("visit_id", "continues", "commitment_id", "line_id"),
        *("region", "product", "tier", "provider"),
    }
)
"""Texts that other cases are told (rule 9): ids by which facts refer to each other, and the segment.

No other case is judged by what people write, by accounts, technicians, channels or time zones: these stay at home.
"""


def is_told(name: str, field: Field) -> bool:
    """Whether a field goes to other cases with the fact that states it (rule 9)."""
    return field.kind not in ("text", "zone") or name in TEXTS_TOLD


TOLD_CHOICES: dict[str, frozenset[str]] = {
    name: frozenset(choice for fields in EVENT_TYPES.values() if name in fields for choice in fields[name].choices)
    for name in CORRECTABLE - TEXTS_TOLD
    if any(is_told(name, fields[name]) for fields in EVENT_TYPES.values() if name in fields)
}
"""Other fields that are told when a correction sets them, and the texts that are told of each."""


def fields_of(topic: str, event_type: str) -> dict[str, Field] | None:
    """Return the fields of an event type, None if the vocabulary does not know it."""
    fields = EVENT_TYPES.get((topic, event_type))
    return ANY_TOPIC.get(event_type) if fields is None else fields
