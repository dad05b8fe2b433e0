"""A commitment: what was promised to a customer by when, how that moved, and what kept or broke it (rule 22)."""

from __future__ import annotations

from typing import Literal, NamedTuple

from cxstream.domain.effective import world_order
from cxstream.domain.evidence import Evidence
from cxstream.domain.facts import Fact

_KEPT_BY: dict[str, tuple[tuple[str, str], ...]] = {
    "arrive": (("dispatch", "arrived"),),
    "callback": (("ticket", "customer_updated"),),
    "part": (("parts", "delivered"), ("parts", "picked_up")),
}
"""Facts that keep a commitment of a kind; `restore` is kept by a fix claim, any kind by an explicit commitment_kept."""


class Commitment(NamedTuple):
    """How a commitment stands by its facts, the clock apart."""

    made: Fact
    due_ms: int | None
    """The due time in force; None: it was never time-bound."""
    state: Literal["kept", "broken", "open"]
    decided_by: Fact | None
    """The evidence that kept it, or the change that broke it."""
    late: Fact | None
    """The first evidence, if it did not keep it."""


def commitment(evidence: Evidence, commitment_id: str) -> Commitment | None:
    """Return a commitment, None if it was never made (or that was voided); rule 22."""
    made = next((fact for fact in evidence.of("ticket", "commitment_made") if _is(fact, commitment_id)), None)
    if made is None:
        return None
    due_ms = made.instant_ms("due")
    if due_ms is None:
        return Commitment(made, None, "open", None, None)
    proofs = sorted(_proofs(evidence, made, commitment_id), key=world_order)
    proofs = [fact for fact in proofs if fact.at_ms >= made.at_ms]
    late = proofs[0] if proofs else None
    for fact in sorted(proofs + _changes(evidence, made, commitment_id), key=world_order):
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
    own = ("dispatch",) if kind == "restore" else tuple(topic for topic, _type in _KEPT_BY.get(kind, ()))
    return tuple(dict.fromkeys(("ticket", *own)))


def _is(fact: Fact, commitment_id: str) -> bool:
    return fact.fields.get("commitment_id") == commitment_id


def _changes(evidence: Evidence, made: Fact, commitment_id: str) -> list[Fact]:
    changes = evidence.of("ticket", "commitment_changed")
    return [fact for fact in changes if _is(fact, commitment_id) and fact.at_ms >= made.at_ms]


def _proofs(evidence: Evidence, made: Fact, commitment_id: str) -> list[Fact]:
    kind = str(made.text("kind"))
    proofs = [fact for fact in evidence.of("ticket", "commitment_kept") if _is(fact, commitment_id)]
    if kind == "restore":
        proofs += evidence.fix_claims
    for topic, event_type in _KEPT_BY.get(kind, ()):
        proofs += evidence.of(topic, event_type)
    return proofs
