"""The JSON API: what the pages show, for programs, and what workers ask each other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from http import HTTPStatus
from typing import Any

from aiohttp import web

from cxstream.web import asking, models
from cxstream.web.access import CHALLENGE, Door
from cxstream.web.asking import AskedWrongError
from cxstream.web.gathering import LOCAL, MOST_OF_ACCOUNT, Gathering, NoAnswerError, NotKnownError, place_of
from cxstream.web.live import NotHereError
from cxstream.web.openapi import document

API = "/api/v1"
MOST_ASKED_FOR = 501
"""Units another worker may ask for at once."""

_Handler = Callable[[web.Request], Awaitable[Any]]


class Api:
    """Answers under /api/v1; case data only to who is let in."""

    def __init__(self, gathering: Gathering, door: Door) -> None:
        self._gathering = gathering
        self._live = gathering.live
        self._door = door
        self._document = models.encode(document())

    def add_to(self, app: web.Application) -> None:
        """Add the routes."""
        routes: list[tuple[str, _Handler, bool, Collection[str] | None]] = [
            (f"{API}/overview", self._overview, False, asking.FIGURE),
            (f"{API}/signs/{{sign}}", self._sign, False, ("window",)),
            (f"{API}/units", self._units, True, asking.UNITS),
            (f"{API}/search", self._search, True, ("q",)),
            (f"{API}/case", self._case, True, ("id",)),
            # Another worker may be of a later release, and ask for more than is read here.
            (f"{LOCAL}/figures", self._local_figures, False, None),
            (f"{LOCAL}/units", self._local_units, True, None),
            (f"{LOCAL}/accounts", self._local_accounts, True, None),
            (f"{LOCAL}/case", self._local_case, True, None),
        ]
        for path, handler, is_case_data, parameters in routes:
            answer = self._answering(handler, is_case_data=is_case_data, parameters=parameters)
            app.router.add_get(path, answer)
        app.router.add_get(f"{API}/openapi.json", self._openapi)

    def _answering(
        self, handler: _Handler, *, is_case_data: bool, parameters: Collection[str] | None
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(request: web.Request) -> web.Response:
            if is_case_data and not self._door.lets_in(request):
                return _problem(401, "case data needs the header Authorization: Bearer <token>")
            try:
                if parameters is not None:
                    asking.refuse_others(request.query, *parameters)
                found = await handler(request)
            except AskedWrongError as error:
                return _problem(400, str(error))
            except NotKnownError:
                return _problem(404, "nothing is known of a case with this id")
            except NotHereError:
                return _problem(421, "the partition of the case is not owned here")
            except NoAnswerError as error:
                return _problem(503, str(error))
            return web.Response(body=models.encode(found), content_type="application/json")

        return answer

    async def _overview(self, request: web.Request) -> models.Overview:
        level, segment = asking.level_of(request.query, self._live)
        window = asking.window_of(request.query, self._live, level)
        return await self._gathering.overview(level=level, segment=segment, window=window)

    async def _sign(self, request: web.Request) -> models.SignPage:
        sign = asking.sign_of(request.match_info["sign"], self._live)
        return await self._gathering.sign(sign, window=asking.window_of(request.query, self._live, "job"))

    async def _units(self, request: web.Request) -> models.CaseList:
        selection = asking.selection_of(request.query, self._live)
        return await self._gathering.units(selection, request.query.get("after", ""))

    async def _search(self, request: web.Request) -> models.SearchResult:
        return await self._gathering.search(asking.text_of(request.query, "q"))

    async def _case(self, request: web.Request) -> models.CaseView:
        return await self._gathering.case(asking.text_of(request.query, "id"))

    async def _local_figures(self, request: web.Request) -> models.WorkerFigures:
        window = request.query.get("window", "")
        if window not in self._live.windows.lengths_ms:
            raise AskedWrongError("window: one that is counted")
        return await self._live.figures(window)

    async def _local_units(self, request: web.Request) -> models.WorkerUnits:
        selection = asking.selection_of(request.query, self._live)
        place = place_of(request.query.get("after", ""))
        return await self._live.units(selection, place, asking.limit_of(request.query, MOST_ASKED_FOR))

    async def _local_accounts(self, request: web.Request) -> models.WorkerCases:
        limit = asking.limit_of(request.query, MOST_OF_ACCOUNT)
        return await self._live.cases_of(asking.text_of(request.query, "account_ref"), limit)

    async def _local_case(self, request: web.Request) -> models.CaseView:
        found = await self._live.case(asking.text_of(request.query, "id"))
        if found is None:
            raise NotKnownError
        return found

    async def _openapi(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._document, content_type="application/json")


def _problem(status: int, detail: str) -> web.Response:
    told = models.Problem(title=HTTPStatus(status).phrase, status=status, detail=detail)
    headers = {"WWW-Authenticate": CHALLENGE} if status == HTTPStatus.UNAUTHORIZED else None
    return web.Response(
        body=models.encode(told), status=status, content_type="application/problem+json", headers=headers
    )
