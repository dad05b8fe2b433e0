"""The live page: what is at risk now, the vital signs, the cases behind every number, and why each is what it is."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Awaitable, Callable, Collection
from hashlib import sha256
from importlib.resources import files
from secrets import token_urlsafe
from urllib.parse import urlencode

from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from cxstream.web import access, asking, drawing
from cxstream.web.access import Door
from cxstream.web.api import Api
from cxstream.web.asking import AskedWrongError
from cxstream.web.figures import JOB
from cxstream.web.gathering import Gathering, NoAnswerError, NotKnownError
from cxstream.web.live import Limits, Live
from cxstream.web.peers import Peers

logger = logging.getLogger(__name__)

REFRESH_SECONDS = 10
"""How often a page with figures asks for itself again."""
_STYLE = files("cxstream.web").joinpath("static/page.css").read_bytes()
_STYLE_PATH = f"/static/{sha256(_STYLE).hexdigest()[:12]}.css"
_A_YEAR = "public, max-age=31536000, immutable"

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def url(path: str, **query: object) -> str:
    """Return the address of a page; what is empty is left out."""
    asked = urlencode({name: value for name, value in query.items() if value not in ("", None)})
    return f"{path}?{asked}" if asked else path


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("cxstream.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"url": url, "spark": drawing.spark, "width": drawing.WIDTH, "height": drawing.HEIGHT}
    environment.filters |= {
        one.__name__: one for one in (drawing.percent, drawing.count, drawing.duration, drawing.moment)
    }
    return environment


class Pages:
    """The pages and the JSON API of one worker, for the whole job."""

    def __init__(
        self, live: Live, *, token: str | None, limits: Limits, count: Callable[[str], None] = lambda _limit: None
    ) -> None:
        """Ask for `token` before case data is shown, if it is set; `count` is told the limits that are hit."""
        self._live = live
        self._door = Door(token)
        self._peers = Peers(limits, token, count)
        self._gathering = Gathering(live, self._peers, limits)
        self._api = Api(self._gathering, self._door)
        self._environment = _environment()

    def add_to(self, app: web.Application) -> None:
        """Add the routes, and close what is open to other workers when the server ends."""
        self._api.add_to(app)
        for path, handler, is_case_data, parameters in (
            ("/", self._overview, False, asking.FIGURE),
            ("/sign/{sign}", self._sign, False, ("window",)),
            ("/cases", self._cases, True, asking.UNITS),
            ("/case", self._case, True, ("id",)),
            ("/search", self._search, True, ("q",)),
        ):
            answer = self._answering(handler, is_case_data=is_case_data, parameters=(*parameters, "refresh"))
            app.router.add_get(path, answer)
        app.router.add_get("/sign-in", self._answering(self._sign_in_form))
        app.router.add_post("/sign-in", self._answering(self._sign_in))
        app.router.add_post("/sign-out", self._answering(self._sign_out))
        app.router.add_get(_STYLE_PATH, self._style)
        app.on_cleanup.append(self._close)

    async def _close(self, _app: web.Application) -> None:
        await self._peers.close()

    def _answering(
        self, handler: _Handler, *, is_case_data: bool = False, parameters: Collection[str] | None = None
    ) -> _Handler:
        async def answer(request: web.Request) -> web.StreamResponse:
            if is_case_data and not self._door.lets_in(request):
                raise web.HTTPSeeOther(url("/sign-in", next=request.path_qs))
            try:
                if parameters is not None:
                    asking.refuse_others(request.query, *parameters)
                return await handler(request)
            except AskedWrongError as error:
                return self._problem(request, 400, "That cannot be shown", f"Expected {error}.")
            except NotKnownError:
                return self._problem(request, 404, "Nothing is known of it", "No case with this id has reached us.")
            except NoAnswerError as error:
                return self._problem(request, 503, "Not to be told at the moment", f"{error}. Try again in a moment.")
            except web.HTTPException:
                raise
            except Exception as error:  # noqa: BLE001 - a page that fails costs itself; what it was about is not logged
                where = "".join(traceback.format_tb(error.__traceback__))
                logger.error("a page could not be made: %s at\n%s", type(error).__name__, where)  # noqa: TRY400
                return self._problem(request, 500, "This page could not be made", "The log of this worker says where.")

        return answer

    # --- figures

    async def _overview(self, request: web.Request) -> web.Response:
        level, segment = asking.level_of(request.query, self._live)
        window = asking.window_of(request.query, self._live, level)
        found = await self._gathering.overview(level=level, segment=segment, window=window)
        return self._page(request, "overview.html", refresh=True, page=found)

    async def _sign(self, request: web.Request) -> web.Response:
        sign = asking.sign_of(request.match_info["sign"], self._live)
        found = await self._gathering.sign(sign, window=asking.window_of(request.query, self._live, JOB))
        return self._page(request, "sign.html", refresh=True, page=found)

    # --- cases

    async def _cases(self, request: web.Request) -> web.Response:
        selection = asking.selection_of(request.query, self._live)
        after = request.query.get("after", "")
        found = await self._gathering.units(selection, after)
        refresh = not after and (selection.standing == "at_risk" or found.looked_at < found.of)
        levels = [one.name for one in self._live.windows.levels]
        return self._page(
            request,
            "cases.html",
            refresh=refresh,
            page=found,
            title=self._live.catalogue[selection.sign].title if selection.sign else "",
            after=after,
            signs=self._live.catalogue,
            standings=asking.STANDINGS,
            windows=list(self._live.windows.lengths_ms),
            levels=levels,
        )

    async def _case(self, request: web.Request) -> web.Response:
        found = await self._gathering.case(asking.text_of(request.query, "id"))
        return self._page(request, "case.html", refresh=True, page=found)

    async def _search(self, request: web.Request) -> web.Response:
        if not request.query.get("q", "").strip():
            return self._page(request, "search.html", page=None, query="")
        found = await self._gathering.search(asking.text_of(request.query, "q"))
        if found.case is not None and not found.cases:
            raise web.HTTPSeeOther(url("/case", id=found.case))
        return self._page(request, "search.html", page=found, query=found.query, refresh=found.looked_at < found.of)

    # --- signing in

    async def _sign_in_form(self, request: web.Request) -> web.Response:
        return self._page(request, "sign_in.html", next=_within(request.query.get("next", "")), wrong=False)

    async def _sign_in(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        target = _within(str(form.get("next", "")))
        response = web.HTTPSeeOther(target)
        secure = request.secure or self._live.url.startswith("https:")
        if self._door.open(str(form.get("token", "")), response, secure=secure):
            raise response
        return self._page(request, "sign_in.html", status=403, next=target, wrong=True)

    async def _sign_out(self, _request: web.Request) -> web.StreamResponse:
        response = web.HTTPSeeOther("/")
        access.close(response)
        raise response

    # --- what all pages have

    def _page(
        self, request: web.Request, template: str, *, status: int = 200, refresh: bool = False, **shown: object
    ) -> web.Response:
        nonce = token_urlsafe(16)
        is_refreshing = refresh and request.query.get("refresh") != "off"
        text = self._environment.get_template(template).render(
            **shown,
            here=request.path_qs,
            group=self._live.group,
            nonce=Markup(nonce),  # noqa: S704  # nosec B704 - made here, of letters and digits
            style=_STYLE_PATH,
            can_refresh=refresh,
            refresh_seconds=REFRESH_SECONDS if is_refreshing else 0,
            is_signed_in=self._door.is_locked and self._door.lets_in(request),
            is_locked=self._door.is_locked,
            switch=url(request.path, **{**request.query, "refresh": "off" if is_refreshing else ""}),
        )
        policy = (
            f"default-src 'none'; style-src 'self'; script-src 'nonce-{nonce}'; connect-src 'self';"
            " img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        )
        headers = {"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer"}
        return web.Response(text=text, status=status, content_type="text/html", headers=headers)

    def _problem(self, request: web.Request, status: int, title: str, detail: str) -> web.Response:
        return self._page(request, "problem.html", status=status, title=title, detail=detail)

    async def _style(self, _request: web.Request) -> web.Response:
        return web.Response(body=_STYLE, content_type="text/css", headers={"Cache-Control": _A_YEAR})


def _within(target: str) -> str:
    """Return a path of these pages to go on to, the first one if it is none of them."""
    is_path = target.startswith("/") and not target.startswith(("//", "/\\"))
    return target if is_path and target.isprintable() and "\\" not in target else "/"
