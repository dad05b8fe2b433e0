"""The casebook: all cases and boards in memory, with relays delivered at once; the production core without a broker."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import msgspec

from cxstream.domain.cases import Case, Reception
from cxstream.domain.facts import Fact
from cxstream.domain.instant import NEVER_MS
from cxstream.domain.policy import Policy
from cxstream.engine.assess import Assessment, Catalogue, Clock, assess, receive
from cxstream.engine.boards import Board, Postings, for_members, told_by, told_crowded


class _ToBoard(NamedTuple):
    """An identity fact on its way to the board of an asset."""

    asset_id: str
    origin: str
    fact: Fact


class _ToCase(NamedTuple):
    """A fact of another case on its way to a case."""

    case_id: str
    origin: str
    fact: Fact


class _Crowded(NamedTuple):
    """The notice on its way to a case that its asset is crowded, since a delivery time."""

    case_id: str
    since_ms: int


_Pending = deque[_ToBoard | _ToCase | _Crowded]


class Casebook:
    """Takes facts of any cases in any order and judges them at any clock reading; it forgets nothing."""

    def __init__(self, catalogue: Catalogue, policy: Policy) -> None:
        self.cases: dict[str, Case] = {}
        self.boards: dict[str, Board] = {}
        self._catalogue = catalogue
        self._policy = msgspec.structs.replace(policy, longest_window_ms=NEVER_MS)

    def take(self, case_id: str, fact: Fact) -> Reception:
        """Take in one fact and everything that other cases learn by it; return how its case took it."""
        pending: _Pending = deque()
        reception = self._at_case(case_id, fact, None, pending)
        while pending:
            match pending.popleft():
                case _ToBoard(asset_id, origin, posted):
                    self._at_board(asset_id, origin, posted, pending)
                case _ToCase(to, origin, relayed):
                    self._at_case(to, relayed, origin, pending)
                case _Crowded(to, since_ms):
                    self.cases[to] = self.cases[to].crowd(since_ms)
        return reception

    def assess(self, clock: Clock) -> dict[str, Assessment]:
        """Judge every case at a clock reading and keep what is published; returned by case id, in order of id."""
        assessments = {}
        for case_id in sorted(self.cases):
            assessment = assess(self.cases[case_id], self._catalogue, self._policy, clock)
            self.cases[case_id] = assessment.case
            assessments[case_id] = assessment
        return assessments

    def _at_case(self, case_id: str, fact: Fact, origin: str | None, pending: _Pending) -> Reception:
        old = self.cases.get(case_id) or Case(case_id)
        new, reception = receive(old, fact, self._catalogue, self._policy, origin)
        self.cases[case_id] = new
        if new is not old:
            boards, survivors = told_by(old, new, self._policy)
            pending += [_ToBoard(*delivery) for delivery in _deliveries(boards)]
            pending += [_ToCase(*delivery) for delivery in _deliveries(survivors)]
        return reception

    def _at_board(self, asset_id: str, origin: str, fact: Fact, pending: _Pending) -> None:
        old = self.boards.get(asset_id) or Board(asset_id)
        new = old.advance(origin, fact, self._policy)
        self.boards[asset_id] = new
        pending += [_ToCase(*delivery) for delivery in _deliveries(for_members(old, new))]
        if new.crowded_since_ms is not None:
            pending += [_Crowded(member, new.crowded_since_ms) for member in told_crowded(old, new, [origin])]


def _deliveries(postings: Postings) -> list[tuple[str, str, Fact]]:
    return [(to, origin, fact) for (to, origin, _event_id), fact in postings.items()]
