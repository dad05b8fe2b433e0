"""A commitment: what was promised to a customer by when, how that moved, and what kept or broke it (rule 22)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from cxstream.domain.effective import world_order
from cxstream.domain.facts import Fact

KEPT_BY: dict[str, tuple[tuple[str, str], ...]] = {
    "arrive": (("dispatch", "arrived"),),
    "callback": (("ticket", "customer_updated"),),
    "part": (("parts", "delivered"), ("parts", "picked_up")),
}
"""Facts that keep a commitment of a kind; `restore` is kept by a fix claim, any kind by an explicit commitment_kept."""


class Commitment(msgspec.Struct, frozen=True):
    """How a commitment stands by its facts, the clock apart."""

    made: Fact
    due_ms: int | None
    """The due time in force; None: it was never time-bound."""
    state: Literal["kept", "broken", "open"]
    decided_by: Fact | None
    """The evidence that kept it, or the change that broke it."""
    late: Fact | None
    """The first evidence, if it did not keep it."""


def standing_of(made: Fact, changes: Iterable[Fact], proofs: Iterable[Fact]) -> Commitment:
    """Return how a commitment stands by its changes and by what may keep it (rule 22).

    Neither counts if it came before the commitment was made.
    """
    due_ms = made.instant_ms("due")
    if due_ms is None:
        return Commitment(made, None, "open", None, None)
    kept = sorted([fact for fact in proofs if fact.at_ms >= made.at_ms], key=world_order)
    late = kept[0] if kept else None
    changed = [fact for fact in changes if fact.at_ms >= made.at_ms]
    for fact in sorted(kept + changed, key=world_order) if changed else kept:
        if fact.type != "commitment_changed":
            if fact.at_ms <= due_ms:
                return Commitment(made, due_ms, "kept", fact, None)
        elif fact.at_ms > due_ms or (fact.text("by") != "customer" and not fact.flag("agreed")):
            return Commitment(made, due_ms, "broken", fact, late)
        else:
            new_due_ms = fact.instant_ms("due")
            due_ms = due_ms if new_due_ms is None else new_due_ms
    return Commitment(made, due_ms, "open", None, late)


def topics_of(made: Fact) -> tuple[str, ...]:
    """Return the topics that evidence for a commitment may come from, by its kind."""
    kind = str(made.text("kind"))
    own = ("dispatch",) if kind == "restore" else tuple(topic for topic, _type in KEPT_BY.get(kind, ()))
    return tuple(dict.fromkeys(("ticket", *own)))
