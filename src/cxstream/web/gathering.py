"""Gathers what pages show from all workers: this one and the others, each asked once, and says who did not answer."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from time import monotonic
from typing import NamedTuple, TypeVar

import msgspec

from cxstream.domain.instant import format_instant
from cxstream.domain.vital_sign import VitalSign
from cxstream.engine.listing import Selection
from cxstream.web import figures
from cxstream.web.asking import AskedWrongError
from cxstream.web.figures import Believed, Sums, Word
from cxstream.web.live import Limits, Live, NotHereError
from cxstream.web.models import (
    CaseBrief,
    CaseList,
    CaseView,
    Found,
    Overview,
    SearchResult,
    SignPage,
    Trust,
    WorkerCases,
    WorkerFigures,
    WorkerUnits,
)
from cxstream.web.peers import Peers

LOCAL = "/api/v1/local"
KEPT_SECONDS = 1.0
"""Readers of the same second share what was gathered for one of them."""
MOST_OF_ACCOUNT = 200
"""Cases of an account that are shown."""

_NUMBER = re.compile(r"-?[0-9]{1,16}")

_F = TypeVar("_F", bound=Found)


class NotKnownError(Exception):
    """Nothing is known of the case."""


class NoAnswerError(Exception):
    """Who owns the partition of the case cannot say; the message says why, for the reader."""


class _Gathered(NamedTuple):
    """What was gathered for one window, and until when it is shared."""

    until: float
    task: asyncio.Task[tuple[Believed, Sums]]


class Gathering:
    """Answers for the whole job."""

    def __init__(self, live: Live, peers: Peers, limits: Limits) -> None:
        self.live = live
        self.limits = limits
        self._peers = peers
        self._gathered: dict[str, _Gathered] = {}

    # --- figures

    async def overview(self, *, level: str, segment: str, window: str) -> Overview:
        """Return the job, or one segment of it, over one window."""
        believed, sums = await self._figures(window)
        return figures.overview(believed, sums, self.live, level=level, segment=segment, window=window)

    async def sign(self, sign: VitalSign, *, window: str) -> SignPage:
        """Return one vital sign with its segments."""
        believed, sums = await self._figures(window)
        return figures.sign_page(believed, sums, self.live, sign, window=window)

    async def trust(self) -> Believed:
        """Return whether the figures may be believed, by who answers now."""
        believed, _sums = await self._figures(next(iter(self.live.windows.lengths_ms)))
        return believed

    async def _figures(self, window: str) -> tuple[Believed, Sums]:
        gathered = self._gathered.get(window)
        if gathered is None or monotonic() >= gathered.until:
            gathered = _Gathered(monotonic() + KEPT_SECONDS, asyncio.create_task(self._gather(window)))
            self._gathered[window] = gathered
        return await asyncio.shield(gathered.task)

    async def _gather(self, window: str) -> tuple[Believed, Sums]:
        own, answers = await asyncio.gather(
            self.live.figures(window), self._peers.ask_all(self._others(), f"{LOCAL}/figures", {"window": window})
        )
        words = [Word(self.live.url or "this worker", own)]
        for url, answer in answers.items():
            figures_of, problem = _read(answer.status, answer.body, answer.problem, WorkerFigures)
            if figures_of is not None and figures_of.group != self.live.group:
                figures_of, problem = None, "answers for another group"
            words.append(Word(url, figures_of, problem))
        believed = figures.believe(words, self.live)
        sums = Sums(())
        for partition in believed.partitions:
            sums.add(partition)
            await asyncio.sleep(0)
        return believed, sums

    def _others(self) -> set[str]:
        return set(self.live.owners().values()) - {self.live.url}

    # --- lists

    async def units(self, selection: Selection, after: str) -> CaseList:
        """Return a page of the units behind a figure. Raises AskedWrongError if `after` is none of its tokens."""
        place, limit = place_of(after), self.limits.rows
        query = {name: value for name, value in msgspec.to_builtins(selection).items() if value}
        own, found = await self._gather_found(
            lambda: self.live.units(selection, place, limit + 1),
            f"{LOCAL}/units",
            {**query, "after": after, "limit": str(limit + 1)},
            WorkerUnits,
        )
        trust, owners = await self._trust_of(own, found)
        units = [unit for url, one in own.items() for unit in one.units if owners.get(unit.partition) == url]
        units.sort(key=lambda unit: unit.order)
        listed, more = units[:limit], len(units) > limit
        token = ".".join(map(str, listed[-1].order)) if more and listed else ""
        for unit in listed:
            unit.order = []
        return CaseList(
            selection=selection,
            as_of=format_instant(min((one.as_of_ms for one in own.values()), default=self.live.now_ms())),
            total=_total(own, owners),
            units=listed,
            after=token,
            most_listed=min((one.most for one in own.values()), default=0),
            looked_at=sum(one.looked_at for one in own.values()),
            of=sum(one.of for one in own.values()),
            complete=not trust.uncovered and all(one.looked_at >= one.of for one in own.values()),
            trust=trust,
        )

    async def search(self, query: str) -> SearchResult:
        """Return the case with an id, or else the cases of an account."""
        case_id = None
        with suppress(NotKnownError, NoAnswerError):
            case_id = (await self.case(query)).case
        own, found = await self._gather_found(
            lambda: self.live.cases_of(query, MOST_OF_ACCOUNT),
            f"{LOCAL}/accounts",
            {"account_ref": query, "limit": str(MOST_OF_ACCOUNT)},
            WorkerCases,
        )
        trust, owners = await self._trust_of(own, found)
        cases: list[CaseBrief] = [
            brief for url, one in own.items() for brief in one.cases if owners.get(brief.partition) == url
        ]
        cases.sort(key=lambda brief: brief.opened or "", reverse=True)
        return SearchResult(
            query=query,
            case=case_id,
            cases=cases[:MOST_OF_ACCOUNT],
            total=_total(own, owners),
            looked_at=sum(one.looked_at for one in own.values()),
            of=sum(one.of for one in own.values()),
            complete=not trust.uncovered and all(one.looked_at >= one.of for one in own.values()),
            trust=trust,
        )

    async def _gather_found(
        self, ask_here: Callable[[], Awaitable[_F]], path: str, query: Mapping[str, str], kind: type[_F]
    ) -> tuple[dict[str, _F], list[Word]]:
        """Return what every worker found, by URL, and what came of asking the others."""
        here, answers = await asyncio.gather(
            ask_here(),
            self._peers.ask_all(self._others(), path, query),
        )
        found: dict[str, _F] = {self.live.url: here}
        words = []
        for url, answer in answers.items():
            said, problem = _read(answer.status, answer.body, answer.problem, kind)
            if said is None:
                words.append(Word(url, None, problem))
            else:
                found[url] = said
        return found, words

    async def _trust_of(self, found: Mapping[str, Found], silent: list[Word]) -> tuple[Trust, dict[int, str]]:
        """Return how much of the job a list is of, and by partition the worker that is believed of its cases."""
        generations: dict[int, int] = {}
        owners: dict[int, str] = {}
        for url, one in found.items():
            for partition, generation in one.partitions.items():
                if generation > generations.get(partition, -1):
                    generations[partition], owners[partition] = generation, url
        trust = (await self.trust()).trust
        uncovered = [number for number in range(trust.partitions_expected) if number not in owners]
        problems = [f"the worker at {word.url} {word.problem}" for word in silent]
        if uncovered:
            problems.append(f"the cases of {len(uncovered)} of {trust.partitions_expected} partitions are not listed")
        problems += [problem for problem in trust.problems if problem not in problems]
        silent_urls = {word.url: word.problem for word in silent}
        return msgspec.structs.replace(
            trust,
            trusted=trust.trusted and not uncovered,
            problems=problems,
            uncovered=uncovered,
            partitions_covered=trust.partitions_expected - len(uncovered),
            workers=[
                msgspec.structs.replace(word, answered=False, problem=silent_urls[word.url])
                if word.url in silent_urls
                else word
                for word in trust.workers
            ],
        ), owners

    # --- one case

    async def case(self, case_id: str) -> CaseView:
        """Return what there is to say about a case, from whoever owns its partition.

        Raises NotKnownError, or NoAnswerError.
        """
        try:
            found = await self.live.case(case_id)
        except NotHereError:
            return await self._case_elsewhere(case_id)
        if found is None:
            raise NotKnownError
        return found

    async def _case_elsewhere(self, case_id: str) -> CaseView:
        number = self.live.partition_of(case_id)
        url = self.live.owners().get(number)
        if url is None or url == self.live.url:
            raise NoAnswerError(f"no worker says that it owns partition {number}, to which this case belongs")
        answer = await self._peers.ask(url, f"{LOCAL}/case", {"id": case_id})
        if answer.status == HTTPStatus.NOT_FOUND:
            raise NotKnownError
        if answer.status == HTTPStatus.MISDIRECTED_REQUEST:
            raise NoAnswerError(f"partition {number}, to which this case belongs, is being handed over")
        found, problem = _read(answer.status, answer.body, answer.problem, CaseView)
        if found is None:
            raise NoAnswerError(f"the worker at {url}, which owns partition {number}, {problem}")
        return found


_T = TypeVar("_T")


def _read(status: int, body: bytes, problem: str, kind: type[_T]) -> tuple[_T | None, str]:
    """Return what a worker said, or why it cannot be read."""
    if status != HTTPStatus.OK:
        return None, problem or f"answered {status}"
    try:
        return msgspec.json.decode(body, type=kind), ""
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None, "answered what this version cannot read"


def _total(found: Mapping[str, Found], owners: Mapping[int, str]) -> int:
    return sum(
        units for url, one in found.items() for partition, units in one.totals.items() if owners.get(partition) == url
    )


def place_of(after: str) -> tuple[int, ...]:
    """Return the place in a list that a token stands for; empty: before its first unit. Raises AskedWrongError."""
    if not after:
        return ()
    parts = after.split(".")
    if len(parts) != 3 or not all(_NUMBER.fullmatch(part) for part in parts):  # noqa: PLR2004 - as `order` has
        raise AskedWrongError("after: `after` of the page before")
    return tuple(map(int, parts))
