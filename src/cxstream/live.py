"""What pages read of a worker: figures from its ledgers, units and cases from its records, in short stretches."""

from __future__ import annotations

import asyncio
import socket
from bisect import bisect_right, insort
from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from time import perf_counter, thread_time
from typing import Any, NamedTuple, Protocol

import msgspec

from cxstream.config import Settings
from cxstream.domain.cases import Case, Segment
from cxstream.domain.instant import LATEST_MS, NEVER_MS, SECOND_MS, format_instant, format_limit
from cxstream.domain.verdict import Verdict
from cxstream.domain.windows import BUCKET_MS
from cxstream.engine.assess import Clock, Units
from cxstream.engine.explain import Entry, Explained, Explanation, explain, reason_of
from cxstream.engine.ledger import MEASURED, Ledger, Windows, standing_of
from cxstream.engine.listing import Lens, Selection
from cxstream.engine.transitions import account_ref_of
from cxstream.engine.wording import Wording, type_of
from cxstream.exposition.snapshot import WorkerSnapshot
from cxstream.kafka.partition import Partition
from cxstream.kafka.ports import Table
from cxstream.kafka.records import UnreadableRecordError, read_case, read_published
from cxstream.kafka.watermarks import Owner
from cxstream.web.live import NotHereError
from cxstream.web.models import (
    CaseBrief,
    CaseVerdict,
    CaseView,
    Fact,
    ListedUnit,
    PartitionFigures,
    Trend,
    WorkerCases,
    WorkerFigures,
    WorkerUnits,
)

STRETCH_SECONDS = 0.008
"""So long the pages hold the event loop at a time; then batches have their turn for as long."""
KEPT_FOR = 20
"""What took long to make is used again for so many times as long: pages take at most a twentieth of a worker."""
KEPT_SECONDS = 2.0
"""What took no time is used again for so long."""
SEARCHES_KEPT = 16
"""Passes over the case records that are kept, or go on, at a time."""
MOST_SLICES = 30
"""Points of a trend, at most."""

_VERDICTS = {"provisional_hit": "hit", "final_hit": "hit"}


class Readable(Protocol):
    """What is read of a worker."""

    @property
    def partitions(self) -> Mapping[int, Partition]:
        """The partitions owned now, recovered, by number."""

    @property
    def cases(self) -> Table:
        """The case records."""

    @property
    def fenced(self) -> bool:
        """Whether somebody else may own what this worker thinks it does."""

    @property
    def url(self) -> str:
        """Where this worker answers."""

    @property
    def owners(self) -> Mapping[int, Owner]:
        """What the owners of the group said last of where they answer, by partition."""

    def snapshot(self) -> WorkerSnapshot:
        """Return what the worker knows now."""

    def reading(self, partition: Partition) -> Clock:
        """Read the clock of a partition."""


class Stretches:
    """Keeps what takes long from holding the event loop: work a stretch, rest as long.

    A stretch is measured by the work done: what a busy machine takes away meanwhile is none of ours.
    """

    def __init__(
        self, clock: Callable[[], float] = thread_time, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    ) -> None:
        """Begin the first stretch."""
        self._clock = clock
        self._sleep = sleep
        self._began = clock()

    @property
    def is_over(self) -> bool:
        """Whether it is time to rest."""
        return self._clock() - self._began >= STRETCH_SECONDS

    async def rest(self) -> None:
        """Let others have the loop, and begin the next stretch."""
        await self._sleep(STRETCH_SECONDS)
        self._began = self._clock()


class _Hit(NamedTuple):
    """What was found in one case record, and where it stands in the list."""

    order: tuple[int, int, int]
    number: int
    key: bytes
    verdict: Verdict | None = None
    segment: Segment | None = None


_Look = Callable[[bytes, bytes], Iterable[_Hit]]
"""Key and record of a case -> what of it is listed."""


@dataclass(slots=True)
class _Search:
    """One pass over the case records: what it has found so far, the first by order."""

    most: int
    as_of_ms: int
    hits: list[_Hit] = field(default_factory=list)
    partitions: dict[int, int] = field(default_factory=dict)
    """Generation by partition, of those that are looked through: owned, and caught up, when it began."""
    totals: dict[int, int] = field(default_factory=dict)
    looked_at: int = 0
    of: int = 0
    ends_at: float = 0.0
    """When it is too old to be used again; 0 while it goes on."""
    task: asyncio.Task[None] | None = None

    def take(self, hit: _Hit) -> None:
        self.totals[hit.number] = self.totals.get(hit.number, 0) + 1
        if len(self.hits) < self.most or hit.order < self.hits[-1].order:
            insort(self.hits, hit, key=_order)
            del self.hits[self.most :]

    def following(self, after: Sequence[int], limit: int) -> list[_Hit]:
        first = bisect_right(self.hits, tuple(after), key=_order) if after else 0
        return self.hits[first : first + limit]


def _order(hit: _Hit) -> tuple[int, int, int]:
    return hit.order


class _Trends(NamedTuple):
    """The trends of a partition over a window, when they are made anew, and by what generation they were made."""

    generation: int
    until: float
    trend: Trend


class WorkerLive:
    """Answers the pages from one worker."""

    def __init__(
        self,
        worker: Readable,
        settings: Settings,
        *,
        partition_of: Callable[[str], int],
        residue_key: Callable[[bytes], bytes],
        wall_ms: Callable[[], int],
        count: Callable[[str], None],
        stretches: Callable[[], Stretches] = Stretches,
    ) -> None:
        """Read of `worker`; `count` is told the limits that are hit."""
        self._worker = worker
        self._settings = settings
        self._policy = settings.policy()
        self.partition_of = partition_of
        self._residue_key = residue_key
        self.now_ms = wall_ms
        self._count = count
        self._stretches = stretches
        self.group = settings.kafka.group
        self.catalogue = settings.catalogue()
        self.windows = settings.windows()
        self.objectives = {
            **{(sign, "job", ""): ratio for sign, ratio in settings.objective_ratios().items()},
            **{(of.sign, of.level, of.segment): of.ratio for of in settings.objectives_of_segments()},
        }
        self.source_silent_after_ms = settings.kafka.source_silent_after
        self._searches: dict[Hashable, _Search] = {}
        self._searching = asyncio.Lock()
        self._trends: dict[tuple[int, str], _Trends] = {}

    @property
    def url(self) -> str:
        """Where this worker answers."""
        return self._worker.url

    def owners(self) -> Mapping[int, str]:
        """Return where the owner of each partition answers, as far as they said so lately."""
        since_ms = self.now_ms() - int(self._settings.pages.owner_expires_seconds * SECOND_MS)
        owners = {number: owner.url for number, owner in self._worker.owners.items() if owner.said_ms >= since_ms}
        return owners | dict.fromkeys(self._worker.partitions, self.url)

    # --- figures

    async def figures(self, window: str) -> WorkerFigures:
        """Return what this worker knows, over one window."""
        stretches = self._stretches()
        snapshot = self._worker.snapshot()
        told = []
        for one in snapshot.partitions:
            speaks = one.ready and one.watermark_ms is not None and not snapshot.withhold_business
            told.append(
                PartitionFigures(
                    partition=one.partition,
                    generation=one.generation,
                    ready=speaks,
                    watermark_ms=one.watermark_ms,
                    sources_ms=dict(one.source_watermark_ms),
                    rows=[
                        row
                        for row in one.rows
                        if row.window in ("", window) or (row.level == "job" and row.state in ("good", "bad"))
                    ]
                    if speaks
                    else [],
                    lasting=list(one.lasting) if speaks else [],
                    trend=await self._trend(one.partition, one.generation, window, stretches) if speaks else {},
                )
            )
            if stretches.is_over:
                await stretches.rest()
        return WorkerFigures(
            group=snapshot.group,
            version=snapshot.version,
            policy=snapshot.policy,
            state=snapshot.state,
            now_ms=snapshot.now_ms,
            partitions_expected=snapshot.partitions_expected,
            partitions=told,
        )

    async def _trend(self, number: int, generation: int, window: str, stretches: Stretches) -> Trend:
        """Return the trends of a partition; of one that was lost a moment ago the last ones that were made."""
        kept = self._trends.get((number, window))
        partition = self._worker.partitions.get(number)
        if partition is None:
            return kept.trend if kept is not None and kept.generation == generation else {}
        if kept is not None and kept.generation == generation and perf_counter() < kept.until:
            return kept.trend
        began = perf_counter()
        trend = await trends_of(partition.ledger, self.windows, window, stretches)
        seconds = perf_counter() - began
        self._trends[number, window] = _Trends(generation, perf_counter() + KEPT_FOR * seconds, trend)
        return trend

    # --- lists

    async def units(self, selection: Selection, after: Sequence[int], limit: int) -> WorkerUnits:
        """Return up to `limit` units behind a figure that stand after a place in the list."""

        def look_through(partition: Partition) -> _Look | None:
            lens = Lens.on(partition.ledger, selection)
            needed = b"\xa4miss" if selection.standing == "bad" else b""
            return None if lens is None else lambda key, data: _units_of(partition.number, key, data, lens, needed)

        search = await self._search(selection, look_through)
        rest, found, hits = self._stretches(), self._found(search), search.following(after, limit)
        units = []
        for hit in hits:
            unit = self._listed(hit)
            units += [] if unit is None else [unit]
            if rest.is_over:
                await rest.rest()
        return WorkerUnits(units=units, **found)

    async def cases_of(self, account_ref: str, limit: int) -> WorkerCases:
        """Return up to `limit` cases whose opening names an account, the newest first."""
        needed = msgspec.msgpack.encode(account_ref)

        def look_through(partition: Partition) -> _Look:
            return lambda key, data: _of_account(partition.number, key, data, needed, account_ref)

        search = await self._search(account_ref, look_through)
        briefs = (self._brief(hit) for hit in search.following((), limit))
        return WorkerCases(cases=[brief for brief in briefs if brief is not None], **self._found(search))

    def _found(self, search: _Search) -> dict[str, Any]:
        if search.looked_at < search.of:
            self._count("search_time")
        if sum(search.totals.values()) > search.most:
            self._count("most_listed")
        return {
            "partitions": {
                number: generation
                for number, generation in search.partitions.items()
                if (partition := self._worker.partitions.get(number)) is not None and partition.generation == generation
            },
            "totals": search.totals,
            "looked_at": search.looked_at,
            "of": search.of,
            "most": search.most,
            "as_of_ms": search.as_of_ms,
        }

    async def _search(self, name: Hashable, look_through: Callable[[Partition], _Look | None]) -> _Search:
        """Return a pass over the case records: one that is under way or not old yet, or a new one.

        Waits for its end for a while; what it has found by then may be shown, and it goes on.
        """
        search = self._searches.get(name)
        if search is None or (search.ends_at and perf_counter() >= search.ends_at):
            search = self._searches[name] = _Search(self._settings.pages.most_listed, self.now_ms())
            search.partitions = {number: self._worker.partitions[number].generation for number in self._readable()}
            search.of = sum(self._worker.cases.count(number) for number in search.partitions)
            search.task = asyncio.create_task(self._look_through_all(search, look_through))
            while len(self._searches) > SEARCHES_KEPT:
                oldest = self._searches.pop(next(iter(self._searches)))
                if oldest.task is not None:
                    oldest.task.cancel()
        if search.task is not None:
            done, _ = await asyncio.wait([search.task], timeout=self._settings.pages.search_seconds)
            for task in done:
                if not task.cancelled():
                    task.result()
        return search

    def _readable(self) -> list[int]:
        """Return the owned partitions whose records may be shown."""
        if self._worker.fenced:
            return []
        return [number for number, partition in sorted(self._worker.partitions.items()) if partition.caught_up]

    async def _look_through_all(self, search: _Search, look_through: Callable[[Partition], _Look | None]) -> None:
        async with self._searching:
            began = perf_counter()
            stretches = self._stretches()
            self._worker.snapshot()  # lets the windows end now
            for number, generation in search.partitions.items():
                partition = self._worker.partitions.get(number)
                if partition is None or partition.generation != generation:
                    continue  # given up since
                keys = [key for key, _data in self._worker.cases.items_of(number)]
                look = look_through(partition)
                await self._look_through(search, number, keys, look or _nothing, stretches)
            search.of = search.looked_at
            search.ends_at = perf_counter() + max(KEPT_SECONDS, KEPT_FOR * (perf_counter() - began))

    async def _look_through(
        self, search: _Search, number: int, keys: Sequence[bytes], look: _Look, stretches: Stretches
    ) -> None:
        for key in keys:
            data = self._worker.cases.get(number, key)
            search.looked_at += 1
            if data is not None:
                for hit in look(key, data):
                    search.take(hit)
            if stretches.is_over:
                await stretches.rest()

    def _listed(self, hit: _Hit) -> ListedUnit | None:
        """Return a unit as it is shown, of an erased case only that it was erased; None if it is gone since."""
        verdict, order = hit.verdict, list(hit.order)
        case = self._case_of(hit)
        if case is None:
            return None
        if verdict is None or case.closed == "erased":
            return ListedUnit(order=order, partition=hit.number, erased=True)
        sign = self.catalogue[verdict.sign]
        state, _detail = standing_of(verdict)
        opened = Units(case, self._policy).own_evidence().opened if case.facts and self._policy.overrides else None
        reason = reason_of(sign, verdict.reason).told(self._policy.of(opened))
        is_measured = state == MEASURED and sign.measure is not None and verdict.measured is not None
        return ListedUnit(
            order=order,
            partition=hit.number,
            case=case.case_id,
            kind=sign.unit.kind,
            unit=verdict.unit,
            sign=sign.name,
            title=sign.title,
            standing=state,
            final=verdict.sealed,
            reason=verdict.reason,
            why=reason.sentence,
            counted_at=format_limit(verdict.anchor_ms),
            due=format_limit(verdict.due_ms) if verdict.due_ms < NEVER_MS else None,
            missing=sign.missing if verdict.due_ms < NEVER_MS else "",
            measured=sign.measure.told(verdict.measured or 0) if is_measured and sign.measure else "",
            account_ref=account_ref_of(case),
            segment=msgspec.structs.asdict(case.segment),
        )

    def _brief(self, hit: _Hit) -> CaseBrief | None:
        case = self._case_of(hit)
        if case is None or case.closed == "erased":
            return None
        opened_ms = LATEST_MS - hit.order[1]
        return CaseBrief(
            case=case.case_id,
            partition=hit.number,
            opened=format_limit(opened_ms),
            segment=msgspec.structs.asdict(case.segment),
            missed=sorted({one.sign for one in case.verdicts if one.verdict == "miss"}),
            pending=sorted({one.sign for one in case.verdicts if one.verdict == "pending"}),
        )

    def _case_of(self, hit: _Hit) -> Case | None:
        """Return the case of a hit as it is now; None if it is there no more: erased, forgotten, or given up."""
        data = self._worker.cases.get(hit.number, hit.key)
        return None if data is None else _readable_case(data)

    # --- one case

    async def case(self, case_id: str) -> CaseView | None:
        """Return what there is to say about a case; None if nothing is known of it. Raises NotHereError."""
        number, key = self.partition_of(case_id), case_id.encode()
        partition = self._worker.partitions.get(number)
        if partition is None or self._worker.fenced:
            raise NotHereError(f"partition {number}")
        data = self._worker.cases.get(number, key) or self._worker.cases.get(number, self._residue_key(key))
        if data is None:
            return None
        case, clock = read_case(data), self._worker.reading(partition)
        if not (case.facts or case.closed or case.is_forgotten):
            return None  # a stub that only knows of other cases
        # In a thread: a case may have thousands of facts, and what is read of it never changes.
        return await asyncio.to_thread(self._view, case_id, case, clock, number, caught_up=partition.caught_up)

    def _view(self, case_id: str, case: Case, clock: Clock, number: int, *, caught_up: bool) -> CaseView:
        if case.closed == "erased":
            return erased(case_id, number, clock.now_ms)
        return view(
            explain(case, self.catalogue, self._policy, clock),
            number=number,
            caught_up=caught_up,
            is_forgotten=case.is_forgotten and not case.facts,
            account_ref=account_ref_of(case),
            segment=case.segment,
        )


def _nothing(_key: bytes, _data: bytes) -> Iterable[_Hit]:
    return ()


def _units_of(number: int, key: bytes, data: bytes, lens: Lens, needed: bytes) -> Iterator[_Hit]:
    """Yield the units of a record that a lens picks; `needed` is in every record that has any."""
    if needed not in data:
        return
    try:
        case = read_published(data)
    except UnreadableRecordError:
        return
    for place, verdict in lens.pick(case.verdicts, case.segment):
        tie = _tie(key, verdict.sign, verdict.unit)
        if case.closed == "erased":
            yield _Hit((place.rank, LATEST_MS, tie), number, key)
        else:
            yield _Hit((*place, tie), number, key, verdict, case.segment)


def _of_account(number: int, key: bytes, data: bytes, needed: bytes, account_ref: str) -> Iterator[_Hit]:
    if needed not in data:
        return
    case = _readable_case(data)
    if case is not None and case.closed is None and case.facts and account_ref_of(case) == account_ref:
        opened_ms = min((fact.at_ms for fact in case.facts if fact.type == "opened"), default=case.facts[0].at_ms)
        yield _Hit((0, LATEST_MS - opened_ms, _tie(key)), number, key)


def _readable_case(data: bytes) -> Case | None:
    try:
        return read_case(data)
    except UnreadableRecordError:
        return None


def _tie(key: bytes, *names: str) -> int:
    """Return a number that tells units of one instant apart, the same on every worker, and says nothing of them."""
    return int.from_bytes(blake2b("\0".join(names).encode(), digest_size=6, key=blake2b(key).digest()).digest())


def slices_of(length_ms: int) -> int:
    """Return into how many equal slices a window is cut for its trend."""
    buckets = length_ms // BUCKET_MS
    even = (count for count in range(MOST_SLICES, 7, -1) if buckets % count == 0)
    return next(even, min(buckets, MOST_SLICES))


async def trends_of(ledger: Ledger, windows: Windows, window: str, stretches: Stretches) -> Trend:
    """Return the trends of all signs and segments of a ledger over a window."""
    trend: Trend = {}
    count = slices_of(windows.lengths_ms[window])
    for level in windows.levels:
        for found in ledger.slices(level.name, window, count):
            for one in found:
                name = f"{one.sign} {level.name} {one.segment}"
                points = trend.get(name)
                if points is None:
                    points = trend[name] = [[0] * count, [0] * count]
                points[one.state == "bad"][one.number] += one.units
            if stretches.is_over:
                await stretches.rest()
    return trend


def erased(case_id: str, number: int, now_ms: int) -> CaseView:
    """Return what is shown of an erased case: that it was erased."""
    return CaseView(
        case=case_id,
        state="erased",
        as_of=format_instant(now_ms),
        told=format_instant(now_ms),
        zone="UTC",
        partition=number,
        caught_up=True,
        account_ref=None,
        segment={},
        remarks=["This case was erased on request."],
        timeline=[],
        verdicts=[],
    )


def view(
    explanation: Explanation,
    *,
    number: int,
    caught_up: bool,
    is_forgotten: bool,
    account_ref: str | None,
    segment: Segment,
) -> CaseView:
    """Return an explanation as pages show it."""
    words = Wording(explanation)
    remarks = list(words.remarks())
    if is_forgotten:
        remarks.append("All of it is final and in no window any more, so its facts and verdicts were dropped.")
    if not caught_up:
        remarks.append("Its partition is being caught up with: facts may be missing here.")
    ordered = sorted(explanation.verdicts, key=lambda one: (_RANK.get(one.verdict, 2), one.kind, one.unit, one.sign))
    return CaseView(
        case=explanation.case_id,
        state="forgotten" if is_forgotten else "overflow" if explanation.closed == "overflow" else "known",
        as_of=format_instant(explanation.as_of_ms),
        told=words.moment(explanation.as_of_ms // SECOND_MS * SECOND_MS),
        zone=explanation.zone,
        partition=number,
        caught_up=caught_up,
        account_ref=account_ref,
        segment=msgspec.structs.asdict(segment),
        remarks=remarks,
        timeline=[_fact(entry, words, explanation.case_id) for entry in explanation.timeline],
        verdicts=[_verdict(one, words) for one in ordered],
    )


_RANK = {"miss": 0, "pending": 1}


def _fact(entry: Entry, words: Wording, case_id: str) -> Fact:
    return Fact(
        event_id=entry.event_id,
        topic=entry.topic,
        type=entry.type,
        what=type_of(entry),
        case="" if entry.case_id == case_id else entry.case_id,
        whose=words.whose(entry),
        at=format_limit(entry.at_ms),
        delivered=format_limit(entry.delivered_ms),
        day=words.day(entry.at_ms),
        clock=words.clock(entry.at_ms),
        stated=words.stated(entry),
        marks=list(words.marks(entry)),
        counts=entry.counts,
    )


def _verdict(one: Explained, words: Wording) -> CaseVerdict:
    clock_ms = one.decided_by_clock_ms
    return CaseVerdict(
        sign=one.sign,
        title=one.title,
        question=one.question,
        kind=one.kind,
        unit=one.unit,
        verdict=_VERDICTS.get(one.verdict, one.verdict),  # type: ignore[arg-type]  # the two hits are one word here
        final=one.final,
        reason=one.reason,
        why=words.why(one),
        rests_on=words.rests_on(one),
        event_ids=[fact.event_id for fact in one.evidence],
        counted_at=words.counted_at(one),
        measured=one.measured,
        due=None if one.due_ms is None else format_limit(one.due_ms),
        due_told="" if one.due_ms is None else words.moment(one.due_ms),
        missing=one.missing,
        decided_by_clock=None if clock_ms is None else format_limit(clock_ms),
        seals_at=format_limit(one.seals_at_ms),
        can_change=words.open_to(one),
    )


def advertised_url(settings: Settings, port: int) -> str:
    """Return where other workers reach this one: as set, else by host and port (the one it listens on)."""
    if settings.http.advertised_url is not None:
        return settings.http.advertised_url.rstrip("/")
    host = settings.http.host
    if host in ("0.0.0.0", "::"):  # noqa: S104  # nosec B104 - asked for, not bound to
        try:
            host = socket.gethostbyname(socket.gethostname())
        except OSError:
            host = "localhost"
    return f"{scheme_of(settings)}://{f'[{host}]' if ':' in host else host}:{port}"


def scheme_of(settings: Settings) -> str:
    """Return what workers of a configuration speak: https where they have a certificate."""
    return "http" if settings.http.cert_file is None else "https"
