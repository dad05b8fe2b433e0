"""The low watermark of the group: final waits until every fact has reached every case it concerns (rule 9)."""

from __future__ import annotations

import random
from collections import defaultdict

import pytest

from cxstream.engine.watermark import NOTHING, ROUNDS, GroupWatermark, Marks, PartitionMarks, Said, latest

RELAYS = "relays"
STEPS = ["deliver", "take", "take", *["relay"] * 8, *["mark"] * 12, *["hear"] * 16]


def said(*marks: int) -> Said:
    """Return what is said of a partition with these first marks and nothing after them."""
    return Said((*marks, *NOTHING[len(marks) :]), {})


def test_the_group_is_as_far_as_its_last_partition() -> None:
    """One partition that lags, or of which nothing was heard, holds the watermark (rule 4)."""
    group = GroupWatermark(2)
    group.heard(0, Said((50,) * (ROUNDS + 1), {"ticket": 40}))
    assert (group.settled_ms, group.lows[0]) == (0, 0)
    group.heard(1, said(30, 20))
    assert (group.settled_ms, group.lows[:2]) == (0, (30, 20))
    group.heard(1, Said((60,) * (ROUNDS + 1), {"ticket": 30, "parts": 7}))
    assert (group.settled_ms, group.delivered_ms) == (50, {"ticket": 40, "parts": 7})


def test_nothing_that_was_said_is_taken_back() -> None:
    """Words that arrive late, of no partition of ours or of another version change nothing (rule 4)."""
    group = GroupWatermark(1)
    group.heard(0, said(50, 40))
    group.heard(0, said(45, 30))
    group.heard(7, said(1))
    group.heard(0, Said((90, 90), {}))
    assert group.of(0)[:2] == (50, 40)


def test_the_latest_delivery_of_a_partition_outlives_its_owner() -> None:
    """Who takes over goes on saying what was taken before, or a source would seem dead for good after a restart."""
    group = GroupWatermark(2)
    group.heard(0, Said(said(5).marks, {"ticket": 7, "parts": 3}))
    group.heard(0, Said(said(6).marks, {"ticket": 4}))
    group.heard(1, Said(said(6).marks, {"dispatch": 9}))
    assert group.delivered_of(0) == {"ticket": 7, "parts": 3}
    assert group.delivered_of(1) == {"dispatch": 9}
    assert group.delivered_ms == {"ticket": 7, "parts": 3, "dispatch": 9}
    assert latest(group.delivered_of(0), {"ticket": 8, "dispatch": 1}) == {"ticket": 8, "parts": 3, "dispatch": 1}


def test_a_step_waits_for_what_was_written_before_it() -> None:
    """A mark moves when the relays that stood there after the group had come so far are processed, not before."""
    marks = PartitionMarks()
    lows = (20, *NOTHING[1:])
    assert marks.advance(30, lows, {RELAYS: 5}, {RELAYS: 4})[:2] == (30, 0)
    assert marks.advance(40, lows, {RELAYS: 9}, {RELAYS: 5})[:2] == (40, 20)
    assert marks.advance(40, (40, *NOTHING[1:]), {RELAYS: 9}, {})[:2] == (40, 20)
    assert marks.advance(40, (60, *NOTHING[1:]), {RELAYS: 12}, {RELAYS: 9})[:2] == (40, 40)


def test_a_new_owner_goes_on_from_what_was_said() -> None:
    """Marks stay true whoever owns the partition."""
    assert PartitionMarks((9, 8, *NOTHING[2:])).advance(3, NOTHING, {}, {})[:3] == (9, 8, 0)


class _World:
    """Partitions that take facts and relay them over several hops, in any order, and say how far they are."""

    def __init__(self, seed: int, partitions: int = 3) -> None:
        self.random = random.Random(seed)
        self.partitions = partitions
        self.now_ms = 1
        self.sources: list[list[int]] = [[] for _ in range(partitions)]
        self.logs: list[list[tuple[int, int]]] = [[] for _ in range(partitions)]
        """Relays to each partition: (delivery of the fact it stems from, hops still to go)."""
        self.taken = [0] * partitions
        self.acked = [0] * partitions
        self.group = GroupWatermark(partitions)
        self.marks = [PartitionMarks() for _ in range(partitions)]
        self.unsaid: list[tuple[int, Marks]] = []
        self.arrived: defaultdict[int, int] = defaultdict(int)

    def outstanding_ms(self) -> int:
        """Return the earliest delivery of a fact that has not been taken, or whose relays have not all arrived."""
        unread = [at_ms for number, log in enumerate(self.sources) for at_ms in log[self.taken[number] :]]
        underway = [at_ms for number, log in enumerate(self.logs) for at_ms, _ in log[self.acked[number] :]]
        return min([*unread, *underway], default=self.now_ms + 1)

    def relay(self, at_ms: int, hops: int) -> None:
        if hops:
            self.logs[self.random.randrange(self.partitions)].append((at_ms, hops - 1))

    def mark(self, number: int) -> Marks:
        """Move the marks of a partition as far as it may say."""
        lows, ends = self.group.lows, {RELAYS: len(self.logs[number])}
        caught_up = self.taken[number] == len(self.sources[number])
        last_ms = self.sources[number][self.taken[number] - 1] - 1 if self.taken[number] else 0
        clock_ms = self.now_ms - 1 if caught_up else last_ms
        return self.marks[number].advance(clock_ms, lows, ends, {RELAYS: self.acked[number]})

    def say_all_there_is(self) -> None:
        """Mark, say and hear until nothing moves any more."""
        for _ in range(2 * ROUNDS):
            for number in range(self.partitions):
                self.group.heard(number, Said(self.mark(number), {}))

    def step(self) -> None:
        """Let one thing happen."""
        number = self.random.randrange(self.partitions)
        match self.random.choice(STEPS):
            case "deliver":
                self.now_ms += self.random.randrange(5)
                self.sources[number].append(self.now_ms)
            case "take" if self.taken[number] < len(self.sources[number]):
                self.relay(self.sources[number][self.taken[number]], self.random.choice((0, 1, ROUNDS)))
                self.taken[number] += 1
            case "relay" if self.acked[number] < len(self.logs[number]):
                self.relay(*self.logs[number][self.acked[number]])
                self.acked[number] += 1
            case "mark":
                self.unsaid.append((number, self.mark(number)))
            case "hear" if self.unsaid:
                told, marks = self.unsaid.pop(self.random.randrange(len(self.unsaid)))
                self.group.heard(told, Said(marks, {}))
            case _:
                pass


@pytest.mark.parametrize("seed", range(12))
def test_what_is_settled_is_out_of_the_way(seed: int) -> None:
    """In any order of taking, relaying and saying, nothing delivered up to the watermark is under way (rule 9)."""
    world, moved = _World(seed), 0
    for _ in range(3000):
        world.step()
        assert world.group.settled_ms < world.outstanding_ms()
        moved = max(moved, world.group.settled_ms)
    assert moved > 0, "the watermark never moved, so nothing is proven"


def test_the_longest_chain_of_relays_is_waited_for() -> None:
    """From case to board, from board to case and over eight hops of merges: to the last relay nothing is settled."""
    world = _World(seed=1)
    world.sources[0].append(1)
    world.taken[0] = 1
    world.now_ms = 9
    world.relay(1, ROUNDS)
    for _hop in range(ROUNDS):
        world.say_all_there_is()
        assert world.group.settled_ms < 1
        number = next(n for n, log in enumerate(world.logs) if world.acked[n] < len(log))
        world.relay(*world.logs[number][world.acked[number]])
        world.acked[number] += 1
    world.say_all_there_is()
    assert world.group.settled_ms == world.now_ms - 1
