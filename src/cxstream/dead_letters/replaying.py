"""Sends letters again, or parks them: chunk by chunk, so that an interrupted run goes on where it was."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Literal, NamedTuple

from aiokafka import TopicPartition

from cxstream.dead_letters.judging import Judge
from cxstream.dead_letters.letters import PARKED_SUFFIX, Filters, Letter, Place
from cxstream.dead_letters.reading import Brokers, Range, Reader, reading
from cxstream.dead_letters.sending import Posting, Sender, make_parking, sending
from cxstream.domain.facts import RejectedError
from cxstream.kafka.partitioner import partition_of

CHUNK_LETTERS = 500
"""Letters that are sent, acknowledged and committed together: so many may be sent twice if a run is killed."""

Fate = Literal["replayed", "parked", "kept", "passed"]
"""Sent again; moved; left where it is, as it would be rejected again; not meant by the filters, or parked before."""


class Options(NamedTuple):
    """How a run goes."""

    is_dry: bool
    """True to count what would be done, and do nothing."""
    maximum: int | None = None
    """Letters to replay or park, at most."""
    per_second: int = 1000
    max_replays: int = 3
    """A letter that was sent again so often is parked instead."""
    parks_rejected: bool = False
    """Whether a letter that would be rejected again is parked."""
    again: bool = False
    """Whether to begin at the start, not where an earlier run has come to."""


class Site(NamedTuple):
    """The topics of a group, as far as letters are concerned."""

    group: str
    partitions: int
    replication_factor: int
    declares: bool
    """Whether topics for parked letters may be created."""


@dataclass
class Outcome:
    """What became, or would become, of letters."""

    is_dry: bool
    seen: int = 0
    fates: Counter[Fate] = field(default_factory=Counter)
    replayed_by_reason: Counter[str] = field(default_factory=Counter)
    replayed_by_source: Counter[str] = field(default_factory=Counter)
    kept_by_reason: Counter[str] = field(default_factory=Counter)
    """Why they would be rejected now."""
    parked_by_reason: Counter[str] = field(default_factory=Counter)
    remaining: int = 0
    """Letters that were still to be looked at when the run began."""
    behind: int = 0
    """Letters that earlier runs with the same filters had come past."""
    untrusted: set[str] = field(default_factory=set)
    """Source topics to which letters were sent whose first delivery is not believed there."""
    seconds: float = 0.0
    is_interrupted: bool = False

    def note(self, decision: Decision) -> None:
        """Count what becomes of a letter."""
        letter = decision.letter
        self.fates[decision.fate] += 1
        if decision.fate == "replayed":
            self.replayed_by_reason[letter.reason] += 1
            self.replayed_by_source[letter.source] += 1
        elif decision.fate == "kept":
            self.kept_by_reason[decision.why] += 1
        elif decision.fate == "parked":
            self.parked_by_reason[decision.why] += 1

    def document(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "dry_run": self.is_dry,
            "seen": self.seen,
            "replayed": self.fates["replayed"],
            "replayed_by_reason": dict(self.replayed_by_reason.most_common()),
            "replayed_by_source": dict(self.replayed_by_source.most_common()),
            "kept": self.fates["kept"],
            "kept_by_reason": dict(self.kept_by_reason.most_common()),
            "parked": self.fates["parked"],
            "parked_by_reason": dict(self.parked_by_reason.most_common()),
            "passed": self.fates["passed"],
            "behind": self.behind,
            "untrusted": sorted(self.untrusted),
            "interrupted": self.is_interrupted,
            "seconds": round(self.seconds, 3),
        }

    def lines(self, done: Fate) -> list[str]:
        """Return it for people; `done` is what the run was for: replayed or parked."""
        would = "would be " if self.is_dry else ""
        lines = [f"{self.fates[done]} letters {would}{done}, of {self.seen} looked at, in {self.seconds:.1f} s"]
        parts = (
            ("  by reason", self.replayed_by_reason if done == "replayed" else self.parked_by_reason),
            ("  by source", self.replayed_by_source if done == "replayed" else Counter()),
        )
        lines += [f"{name:<14}{_counts(counts)}" for name, counts in parts if counts]
        if done == "replayed" and self.fates["parked"]:
            lines.append(f"{self.fates['parked']} {would}parked: {_counts(self.parked_by_reason)}")
        if self.fates["kept"]:
            lines.append(
                f"{self.fates['kept']} {would}kept, as they would be rejected again: {_counts(self.kept_by_reason)}"
            )
        if self.behind:
            lines.append(f"{self.behind} were looked at by earlier runs with these filters; --again looks at all")
        if self.is_dry:
            lines.append("nothing was done: --yes does it")
        return lines


class Decision(NamedTuple):
    """What becomes of a letter, and why it is not sent again if it is not."""

    letter: Letter
    fate: Fate
    why: str = ""


Decide = Callable[[Letter], Awaitable[Decision]]
Progress = Callable[[int, int], None]
"""Told how many letters were looked at, of how many."""


class Replay:
    """A run over letters: decides about each, and carries it out unless it is a dry one."""

    def __init__(
        self,
        brokers: Brokers,
        site: Site,
        judge: Judge,
        options: Options,
        *,
        now_ms: Callable[[], int],
        stop: asyncio.Event,
        progress: Progress,
    ) -> None:
        """`stop` ends it after the chunk in hand."""
        self._brokers = brokers
        self._site = site
        self._judge = judge
        self._options = options
        self._now_ms = now_ms
        self._stop = stop
        self._progress = progress
        self._parking: set[str] = set()

    async def replay(self, filters: Filters, sources: Iterable[str]) -> Outcome:
        """Send again what is meant and would be accepted. Progress is kept in a group named after the filters.

        Raises KafkaError, RegistryUnavailableError, StalledError, NoParkingError; what was committed before stays so.
        """
        return await self._run(filters, sources, self._decide, f"{self._site.group}-replay-{filters.fingerprint}")

    async def park(self, filters: Filters, sources: Iterable[str]) -> Outcome:
        """Move what is meant to the topics for parked letters, which themselves tell what was moved before.

        Raises as `replay` does.
        """
        return await self._run(filters, sources, self._decide_to_park, None)

    async def _run(self, filters: Filters, sources: Iterable[str], decide: Decide, group: str | None) -> Outcome:
        outcome = Outcome(self._options.is_dry)
        started_seconds = monotonic()
        async with AsyncExitStack() as stack:
            reader = await stack.enter_async_context(reading(self._brokers, group))
            ranges = await self._ranges(reader, filters, group, outcome)
            is_parked_ones = all(topic.endswith(PARKED_SUFFIX) for topic in filters.topics)
            parked = frozenset() if is_parked_ones else await reader.parked(sources)
            sender = None if self._options.is_dry else await stack.enter_async_context(sending(self._brokers))
            async for letters in self._chunks(reader, ranges):
                decisions = [
                    await decide(letter)
                    if filters.take(letter) and letter.place not in parked
                    else Decision(letter, "passed")
                    for letter in letters
                ]
                taken = self._within_maximum(decisions, outcome)
                if sender is not None:
                    await self._carry_out(taken, sender)
                    if group is not None and taken:
                        await reader.commit(_positions(taken))
                self._note(taken, outcome)
                self._progress(outcome.seen, outcome.remaining)
                if self._stop.is_set() or len(taken) < len(decisions):
                    outcome.is_interrupted = self._stop.is_set()
                    break
                await self._pace(outcome, started_seconds)
        outcome.seconds = monotonic() - started_seconds
        return outcome

    async def _ranges(
        self, reader: Reader, filters: Filters, group: str | None, outcome: Outcome
    ) -> dict[TopicPartition, Range]:
        """Return what there is to look at: all, or what is left of an earlier run."""
        every = await reader.ranges(filters)
        ranges = every if group is None or self._options.again else await reader.begun(every)
        if group is not None and self._options.again and not self._options.is_dry:
            await reader.commit({Place(tp.topic, tp.partition, 0): first for tp, (first, _end) in every.items()})
        outcome.remaining = _size(ranges)
        outcome.behind = _size(every) - outcome.remaining
        return ranges

    async def _chunks(self, reader: Reader, ranges: dict[TopicPartition, Range]) -> AsyncIterator[list[Letter]]:
        size = max(1, min(CHUNK_LETTERS, self._options.per_second))
        async for letters in reader.letters(ranges, size):
            if letters or self._stop.is_set():
                yield letters

    async def _decide(self, letter: Letter) -> Decision:
        is_parked = letter.place.topic.endswith(PARKED_SUFFIX)
        try:
            await self._judge.read(letter, self._now_ms())
        except RejectedError as error:
            is_to_park = self._options.parks_rejected and not is_parked
            return Decision(letter, "parked" if is_to_park else "kept", error.reason)
        if letter.replays >= self._options.max_replays:
            return Decision(letter, "kept" if is_parked else "parked", "replayed_too_often")
        return Decision(letter, "replayed")

    async def _decide_to_park(self, letter: Letter) -> Decision:
        return Decision(letter, "parked", letter.reason)

    def _within_maximum(self, decisions: Sequence[Decision], outcome: Outcome) -> Sequence[Decision]:
        """Return the decisions up to the most that may be carried out."""
        if self._options.maximum is None:
            return decisions
        left = self._options.maximum - outcome.fates["replayed"] - outcome.fates["parked"]
        for index, decision in enumerate(decisions):
            if decision.fate in ("replayed", "parked"):
                if left == 0:
                    return decisions[:index]
                left -= 1
        return decisions

    async def _carry_out(self, decisions: Sequence[Decision], sender: Sender) -> None:
        """Send and park, and return when all is acknowledged: sent is what was, before progress says so."""
        postings = []
        for letter, fate, why in decisions:
            if fate == "replayed":
                partition = partition_of(letter.key, self._site.partitions)
                postings.append(Posting(letter.source, partition, letter.key, letter.value, letter.headers_again()))
            elif fate == "parked":
                await self._make_parking(letter.source)
                headers = letter.headers_parked(self._now_ms(), why)
                partition = letter.place.partition % self._site.partitions
                postings.append(Posting(letter.source + PARKED_SUFFIX, partition, letter.key, letter.value, headers))
        await sender.send(postings)

    async def _make_parking(self, source: str) -> None:
        if source not in self._parking:
            await make_parking(
                self._brokers,
                [source],
                partitions=self._site.partitions,
                replication_factor=self._site.replication_factor,
                declare=self._site.declares,
            )
            self._parking.add(source)

    def _note(self, decisions: Sequence[Decision], outcome: Outcome) -> None:
        outcome.seen += len(decisions)
        for decision in decisions:
            outcome.note(decision)
            if decision.fate == "replayed" and not self._judge.is_trusted(decision.letter.source):
                outcome.untrusted.add(decision.letter.source)

    async def _pace(self, outcome: Outcome, started_seconds: float) -> None:
        """Wait until so many letters may have been sent."""
        if not self._options.is_dry:
            due_seconds = (outcome.fates["replayed"] + outcome.fates["parked"]) / self._options.per_second
            wait_seconds = started_seconds + due_seconds - monotonic()
            if wait_seconds > 0:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), wait_seconds)


def _size(ranges: dict[TopicPartition, Range]) -> int:
    return sum(end - first for first, end in ranges.values())


def _positions(decisions: Sequence[Decision]) -> dict[Place, int]:
    """Return by partition the offset behind the last letter that was decided."""
    last: dict[tuple[str, int], Place] = {}
    for decision in decisions:
        last[decision.letter.place[:2]] = decision.letter.place
    return {place: place.offset + 1 for place in last.values()}


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())
