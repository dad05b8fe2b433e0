"""The group coordinator: members, generations, eager rebalances, sessions that expire, committed offsets."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection, Mapping
from typing import NamedTuple

from faust.types import TP

from simulation.log import Brokers
from simulation.loop import OUTSIDE


class Assignment(NamedTuple):
    """What a member is told at the end of a rebalance."""

    generation: int
    partitions: frozenset[int]
    standbys: frozenset[int]
    """Partitions of others whose changelogs the member reads along, to be quick if it has to take over."""


class FencedError(Exception):
    """The coordinator does not know this member, or not in this generation."""


class Member:
    """One incarnation of a worker as the coordinator knows it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.generation = -1
        self.evicted = False
        self.joining: asyncio.Future[Assignment] | None = None
        self.called = asyncio.Event()
        """Set when the member has to give up its partitions and join again."""


class Coordinator:
    """Rebalances eagerly: all members give up everything, join again, and are assigned anew in the next generation."""

    def __init__(
        self,
        brokers: Brokers,
        dice: random.Random,
        partitions: int,
        *,
        rebalance_seconds: float,
        standby_dice: random.Random | None = None,
    ) -> None:
        """Let somebody stand by for every partition if there are dice to say who."""
        self._brokers = brokers
        self._dice = dice
        self._standby_dice = standby_dice
        self._partitions = partitions
        self._rebalance_seconds = rebalance_seconds
        self.members: dict[str, Member] = {}
        self.generation = 0
        self.owners: dict[int, str] = {}
        self.committed: dict[TP, int] = {}
        self.rebalances = 0
        self._preparing = False
        self._round = 0

    def join(self, member: Member) -> asyncio.Future[Assignment]:
        """Take a member in; the future is done when the rebalance is over, and fails if the member is evicted."""
        self.members[member.name] = member
        member.called.clear()
        member.joining = joining = asyncio.get_running_loop().create_future()
        self._prepare()
        self._complete()
        return joining

    def sync(self, member: Member, generation: int) -> None:
        """Give a member what it was assigned. Raises FencedError if the group has gone on without it."""
        if self.members.get(member.name) is not member or self.generation != generation:
            raise FencedError(member.name)

    def leave(self, member: Member) -> None:
        """Let a member go, on its own wish or because it was not heard for a session."""
        if self.members.pop(member.name, None) is not None:
            member.evicted = True
            member.called.set()
            if member.joining is not None and not member.joining.done():
                member.joining.set_exception(FencedError(member.name))
                member.joining.exception()  # it may be nobody's any more
            self._prepare()
            self._complete()

    def commit(self, member: Member, offsets: Mapping[TP, int]) -> None:
        """Take offsets of a member of the current generation. Raises FencedError for any other."""
        if self.members.get(member.name) is not member or member.generation != self.generation:
            raise FencedError(member.name)
        self.committed.update(offsets)

    def call(self) -> None:
        """Begin a rebalance, as a change of the topics' metadata would."""
        if self.members:
            self._prepare()

    def _prepare(self) -> None:
        if self._preparing or not self.members:
            return
        self._preparing = True
        self._round += 1
        asyncio.get_running_loop().call_later(self._rebalance_seconds, self._expire, self._round, context=OUTSIDE)
        for member in self.members.values():
            if member.joining is None:
                member.called.set()

    def _expire(self, of_round: int) -> None:
        """Go on without those who did not join in time."""
        if self._preparing and self._round == of_round:
            for member in [member for member in self.members.values() if member.joining is None]:
                self.leave(member)
            self._complete()

    def _complete(self) -> None:
        if not self._preparing or not all(member.joining for member in self.members.values()):
            return
        self._preparing = False
        if not self.members:
            return
        self.generation += 1
        self.rebalances += 1
        assigned = self._assign(sorted(self.members))
        self.owners = {number: name for name, numbers in assigned.items() for number in numbers}
        standbys = self._stand_by(sorted(self.members))
        for name, member in sorted(self.members.items()):
            member.generation = self.generation
            if member.joining is not None and not member.joining.done():
                mine = Assignment(self.generation, frozenset(assigned[name]), frozenset(standbys[name]))
                member.joining.set_result(mine)
            member.joining = None

    def _stand_by(self, names: Collection[str]) -> dict[str, list[int]]:
        standbys: dict[str, list[int]] = {name: [] for name in names}
        for number, owner in sorted(self.owners.items()):
            others = [name for name in names if name != owner]
            if others and self._standby_dice is not None:
                standbys[self._standby_dice.choice(others)].append(number)
        return standbys

    def _assign(self, names: Collection[str]) -> dict[str, list[int]]:
        """Keep partitions where they were as far as nobody gets more than a fair share (at times none is kept)."""
        share = -(-self._partitions // len(names))
        assigned: dict[str, list[int]] = {name: [] for name in names}
        homeless = []
        sticky = self._dice.random() < 0.7
        for number in range(self._partitions):
            owner = self.owners.get(number)
            if sticky and owner in assigned and len(assigned[owner]) < share:
                assigned[owner].append(number)
            else:
                homeless.append(number)
        self._dice.shuffle(homeless)
        for number in homeless:
            fewest = min(assigned, key=lambda name: (len(assigned[name]), name))
            assigned[fewest].append(number)
        return assigned
