"""What a judge is shown: the effective facts that count for a unit, arranged in the field's own terms."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from propcache import cached_property

from cxstream.domain.commitments import KEPT_BY, Commitment, standing_of
from cxstream.domain.effective import world_order
from cxstream.domain.facts import Fact
from cxstream.domain.policy import Policy
from cxstream.domain.spans import Span, open_spans
from cxstream.domain.visits import FirstAttempt, Visit, first_attempt
from cxstream.domain.vocabulary import ADMINISTRATIVE_REOPENS, NEVER_EXISTED


class OtherCase(NamedTuple):
    """Another case as this one knows it: by the identity facts relayed to it (rule 9)."""

    case_id: str
    opened: Fact | None
    cancelled: bool
    merged: bool
    absorbed: bool
    """Merged into this case, directly or through others."""


class Evidence:
    """Effective facts in event-time order, with the views the rules speak of.

    `tickets` are the case's own ticket facts; `dispatches` and `lines` may include those of absorbed cases.
    """

    def __init__(
        self,
        facts: Iterable[Fact],
        *,
        merges_in_force: frozenset[str] = frozenset(),
        others: Sequence[OtherCase] = (),
        crowded: bool = False,
        last_delivery_ms: int | None = None,
        as_delivered: Sequence[Fact] = (),
    ) -> None:
        self.facts = sorted(facts, key=world_order)
        self.others = others
        self.crowded = crowded
        """The asset has so many cases that a repeat cannot be told from a neighbour."""
        self.last_delivery_ms = last_delivery_ms
        """Delivery time of the last counted fact; None before the case's own first one."""
        self._as_delivered = as_delivered
        """The counted facts before corrections and voids, where there are any."""
        self._commitments: dict[str, Commitment | None] = {}
        self._first_attempts: dict[int, FirstAttempt | None] = {}
        self._by_type: defaultdict[tuple[str, str], list[Fact]] = defaultdict(list)
        for fact in self.facts:
            self._by_type[fact.topic, fact.type].append(fact)
        self.opened = next(iter(self.of("ticket", "opened")), None)
        """The opening of the case."""
        self.kind = self.opened.text("kind") if self.opened else None
        """The kind of the case, as its opening states it."""
        self.cancellations = self.of("ticket", "cancelled")
        """Cancellations of the case, as opposed to those of visits and lines."""
        self.resolutions = self.of("ticket", "resolved")
        """Every `resolved` of the ticket."""
        self.merges = [fact for fact in self.of("ticket", "merged") if fact.event_id in merges_in_force]
        """Merges of this case into another that are in force (rule 9)."""
        mistakes = [fact for fact in self.cancellations if fact.text("reason") in NEVER_EXISTED]
        self.never_existed = mistakes[0] if mistakes else None
        """A cancellation that says the case should not count at all (rule 23)."""

    @cached_property
    def visit_ids(self) -> frozenset[str]:
        """Visits that a counted fact named, effective or not (rule 3)."""
        delivered = [fact.fields for fact in self._as_delivered if fact.topic == "dispatch"]
        return frozenset(self.visits).union([str(fields["visit_id"]) for fields in delivered if "visit_id" in fields])

    @cached_property
    def commitment_ids(self) -> frozenset[str]:
        """Commitments that a counted commitment_made named, effective or not (rule 3)."""
        return self._named("commitment_id", "ticket", "commitment_made")

    @cached_property
    def line_ids(self) -> frozenset[str]:
        """Part lines that a counted `required` named, effective or not (rule 3)."""
        return self._named("line_id", "parts", "required")

    def _named(self, name: str, *kind: str) -> frozenset[str]:
        delivered = [fact for fact in self._as_delivered if (fact.topic, fact.type) == kind]
        return frozenset([str(fact.fields[name]) for fact in (*delivered, *self.of(*kind))])

    def units(self, kind: str) -> frozenset[str]:
        """Return the units of one kind that a counted fact makes (rule 3): visits, commitments or lines."""
        if kind == "visit":
            return self.visit_ids
        return self.commitment_ids if kind == "commitment" else self.line_ids

    def of(self, topic: str, event_type: str) -> list[Fact]:
        """Return the effective facts of one type in event-time order."""
        return self._by_type.get((topic, event_type), [])

    @cached_property
    def fault_reopens(self) -> list[Fact]:
        """Reopens whose reason is not administrative (rule 7)."""
        reopens = self.of("ticket", "reopened")
        return [fact for fact in reopens if fact.text("reason") not in ADMINISTRATIVE_REOPENS]

    @cached_property
    def visits(self) -> Mapping[str, Visit]:
        """Visits by id, of any purpose."""
        visits: dict[str, Visit] = {}
        for fact in self.facts:
            if fact.topic == "dispatch":
                visit_id = fact.fields.get("visit_id")
                if isinstance(visit_id, str):
                    if visit_id not in visits:
                        visits[visit_id] = Visit(visit_id)
                    visits[visit_id].add(fact)
        return visits

    def first_attempt(self, policy: Policy) -> FirstAttempt | None:
        """Return the first attempt to fix the case, None if there is none (rule 11)."""
        limit_ms = policy.on_site_limit_ms
        if limit_ms not in self._first_attempts:
            self._first_attempts[limit_ms] = first_attempt(self.visits.values(), policy)
        return self._first_attempts[limit_ms]

    def commitment(self, commitment_id: str) -> Commitment | None:
        """Return how a commitment stands, None if it was never made, or that was voided (rule 22)."""
        if commitment_id not in self._commitments:
            made = self._of_commitment("commitment_made", commitment_id)
            self._commitments[commitment_id] = self._standing_of(made[0], commitment_id) if made else None
        return self._commitments[commitment_id]

    def _standing_of(self, made: Fact, commitment_id: str) -> Commitment:
        kind = str(made.text("kind"))
        proofs = self._of_commitment("commitment_kept", commitment_id)
        if kind == "restore":
            proofs += self.fix_claims
        for topic, event_type in KEPT_BY.get(kind, ()):
            proofs += self.of(topic, event_type)
        return standing_of(made, self._of_commitment("commitment_changed", commitment_id), proofs)

    def _of_commitment(self, event_type: str, commitment_id: str) -> list[Fact]:
        return [fact for fact in self.of("ticket", event_type) if fact.fields.get("commitment_id") == commitment_id]

    @cached_property
    def open_spans(self) -> Sequence[Span]:
        """The times the case was open (rules 20, 21 and 25)."""
        if self.opened is None:
            return ()
        return open_spans(self.opened, self.fault_reopens, self.fix_claims, self.cancellations)

    @cached_property
    def is_open(self) -> bool:
        """Whether the customer is still waiting for a fix: one of the open spans has no end."""
        return None in [span.end_ms for span in self.open_spans]

    @cached_property
    def fix_claims(self) -> list[Fact]:
        """Everything that claims the fault is fixed, in event-time order (rule 7)."""
        repaired = [
            fact
            for fact in self.of("dispatch", "completed")
            if fact.text("outcome") == "fixed" and self._is_repair(fact)
        ]
        return sorted(self.resolutions + repaired, key=world_order)

    def _is_repair(self, fact: Fact) -> bool:
        visit = self.visits.get(str(fact.fields.get("visit_id")))
        return visit is not None and visit.purpose == "repair"

    @cached_property
    def values_added(self) -> list[Fact]:
        """What the customer got beyond the promise, told by the desk or on a visit, in event-time order."""
        return sorted(self.of("ticket", "value_added") + self.of("dispatch", "value_added"), key=world_order)

    def asset(self, policy: Policy) -> str | None:
        """Return the asset of the case, None if it is not known (rule 8)."""
        return policy.asset(self.opened.text("asset_id")) if self.opened else None

    def replacements(self, policy: Policy) -> frozenset[str]:
        """Return the assets that replaced the case's own on one of its visits (rule 9)."""
        named = [policy.asset(fact.text("replaced_by")) for fact in self.of("dispatch", "completed")]
        return frozenset([asset for asset in named if asset])

    def repeat_cases(self, after_ms: int, until_ms: int, policy: Policy) -> list[Fact]:
        """Return the openings of repeat cases in (after, until], earliest first (rule 13)."""
        if not self.others:
            return []
        own_asset = self.asset(policy)
        assets = self.replacements(policy) | ({own_asset} if own_asset else set())
        openings = []
        for other in self.others:
            opened = other.opened
            if opened is None or opened.text("kind") != "break_fix" or not after_ms < opened.at_ms <= until_ms:
                continue
            same_asset = policy.asset(opened.text("asset_id")) in assets
            if other.absorbed or (same_asset and not (other.cancelled or other.merged)):
                openings.append(opened)
        return sorted(openings, key=world_order)
