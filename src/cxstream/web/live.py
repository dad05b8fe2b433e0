"""What pages ask of the worker they are served by; the composition answers it from ledgers and case records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from cxstream.domain.vital_sign import VitalSign
from cxstream.engine.ledger import Windows
from cxstream.engine.listing import Selection
from cxstream.web.models import CaseView, WorkerCases, WorkerFigures, WorkerUnits


class Limits(NamedTuple):
    """What pages may cost; settings `pages.*`."""

    rows: int = 50
    workers_at_once: int = 8
    answer_seconds: float = 3.0
    answer_max_bytes: int = 8 * 1024 * 1024


class NotHereError(Exception):
    """The partition is not owned by this worker, or not recovered yet."""


class Live(Protocol):
    """One worker, and what it knows of the others. No method holds the event loop for longer than a stretch."""

    @property
    def group(self) -> str:
        """The consumer group: which job it is."""

    @property
    def url(self) -> str:
        """Where this worker answers."""

    @property
    def catalogue(self) -> Mapping[str, VitalSign]:
        """The signs that are judged."""

    @property
    def windows(self) -> Windows:
        """Levels and windows that are counted."""

    @property
    def objectives(self) -> Mapping[tuple[str, str, str], float]:
        """Objectives by sign, level and segment."""

    @property
    def source_silent_after_ms(self) -> Mapping[str, int]:
        """When a source topic is dead, by topic; 0: never."""

    def now_ms(self) -> int:
        """Return the wall clock."""

    def owners(self) -> Mapping[int, str]:
        """Return where the owner of each partition answers, as far as they said so lately."""

    def partition_of(self, case_id: str) -> int:
        """Return the partition a case belongs to."""

    async def figures(self, window: str) -> WorkerFigures:
        """Return what this worker knows, over one window."""

    async def units(self, selection: Selection, after: Sequence[int], limit: int) -> WorkerUnits:
        """Return up to `limit` units behind a figure that stand after a place in the list; empty: from its start."""

    async def cases_of(self, account_ref: str, limit: int) -> WorkerCases:
        """Return up to `limit` cases whose opening names an account."""

    async def case(self, case_id: str) -> CaseView | None:
        """Return what there is to say about a case; None if nothing is known of it. Raises NotHereError."""
