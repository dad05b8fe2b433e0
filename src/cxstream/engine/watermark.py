"""The low watermark of the group: up to which delivery time every fact has reached every case it concerns."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import msgspec

ROUNDS = 10
"""How often relays may beget relays: from case to board and from board to case, and eight hops of merges (rule 9)."""

Marks = tuple[int, ...]
"""How far one partition is, in milliseconds. The first: every fact delivered up to then is taken, and what it relays is
written. Each further one: so is every relay that stems, over one step more, from such facts anywhere in the group."""

NOTHING: Marks = (0,) * (ROUNDS + 1)


class Said(msgspec.Struct, frozen=True):
    """What the owner of a partition says of it. All of it stays true for ever, whoever owns the partition then."""

    marks: Marks
    delivered_ms: dict[str, int]
    """Latest delivery taken from each source topic, whoever owned the partition then."""


def latest(*delivered_ms: Mapping[str, int]) -> dict[str, int]:
    """Return the latest delivery of each source topic, of several such maps."""
    found: dict[str, int] = {}
    for each in delivered_ms:
        for topic, at_ms in each.items():
            found[topic] = max(at_ms, found.get(topic, 0))
    return found


class GroupWatermark:
    """What was said of all partitions of the group; one of which nothing was said holds everything at 0."""

    def __init__(self, partitions: int) -> None:
        """Await word of this many partitions."""
        self._marks: dict[int, Marks] = dict.fromkeys(range(partitions), NOTHING)
        self._delivered_ms: dict[int, dict[str, int]] = {}
        self.delivered_ms: dict[str, int] = {}
        """Latest delivery from each source topic, over all partitions."""

    def heard(self, partition: int, said: Said) -> None:
        """Take what is said of a partition; nothing goes back."""
        if partition in self._marks and len(said.marks) == len(NOTHING):
            self._marks[partition] = tuple(map(max, self._marks[partition], said.marks))
            self._delivered_ms[partition] = latest(self.delivered_of(partition), said.delivered_ms)
            self.delivered_ms = latest(self.delivered_ms, said.delivered_ms)

    @property
    def partitions(self) -> Collection[int]:
        """The partitions of the group."""
        return self._marks.keys()

    def of(self, partition: int) -> Marks:
        """Return the marks of a partition."""
        return self._marks[partition]

    def delivered_of(self, partition: int) -> Mapping[str, int]:
        """Return the latest delivery taken from each source topic of a partition."""
        return self._delivered_ms.get(partition, {})

    @property
    def lows(self) -> Marks:
        """Up to when all partitions have come, step by step."""
        return tuple(map(min, zip(*self._marks.values(), strict=True)))

    @property
    def settled_ms(self) -> int:
        """Every fact delivered up to this instant has reached every case it concerns, wherever that lives."""
        return self.lows[ROUNDS]


class _Step(NamedTuple):
    """A step under way: the instant it will prove, and where the relay topics ended once the group had come so far."""

    proves_ms: int
    ends: Mapping[str, int]


class PartitionMarks:
    """The marks of one owned partition.

    Once the whole group has come to an instant, every relay of the next step that stems from it stands in a relay
    topic. Where those end is asked of the brokers after that; when this partition has processed up to there, its next
    mark is that instant.
    """

    def __init__(self, marks: Marks = NOTHING) -> None:
        """Start from what was said of the partition before."""
        self._marks = list(marks)
        self._steps: list[_Step | None] = [None] * ROUNDS

    @property
    def clock_ms(self) -> int:
        """The latest clock of the partition that was said."""
        return self._marks[0]

    def advance(self, clock_ms: int, lows: Sequence[int], ends: Mapping[str, int], acked: Mapping[str, int]) -> Marks:
        """Move the marks as far as is proven and return them.

        `clock_ms` is the partition's clock. `lows` are the group's, read before the brokers were asked for `ends`, the
        end offsets of the partition's relay topics; `acked` is how far those are processed.
        """
        self._marks[0] = max(self._marks[0], clock_ms)
        for number in range(ROUNDS):
            step = self._steps[number]
            if step is None and lows[number] > self._marks[number + 1]:
                step = _Step(lows[number], ends)
            if step is not None and all(acked.get(topic, 0) >= end for topic, end in step.ends.items()):
                self._marks[number + 1] = max(self._marks[number + 1], step.proves_ms)
                step = None
            self._steps[number] = step
        return tuple(self._marks)
