"""The live page without a browser: figures of all workers, the lists behind them, cases, access and limits."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from functools import cache
from html import unescape
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlencode

import aiohttp
import jsonschema
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from openapi_spec_validator import OpenAPIV31SpecValidator

from cases import MONDAY_MS, arrived, completed, ms, opened, scheduled
from cxstream.demo.upstream import Upstream
from cxstream.domain.cases import Case
from cxstream.domain.facts import admit
from cxstream.domain.instant import DAY_MS, HOUR_MS, MINUTE_MS, format_instant
from cxstream.domain.windows import BUCKET_MS
from cxstream.engine.assess import Clock
from cxstream.engine.casebook import Casebook
from cxstream.engine.listing import Selection
from cxstream.kafka.records import read_case, read_published, write
from cxstream.kafka.watermarks import Owner
from cxstream.live import advertised_url, slices_of
from cxstream.offline.events_file import read_event
from cxstream.render import rules
from cxstream.web import access, figures, gathering
from cxstream.web.drawing import spark
from cxstream.web.live import NotHereError
from cxstream.web.models import PartitionFigures, Slice, WorkerFigures
from cxstream.web.openapi import document
from cxstream.web.server import Server
from parts.pages import StandIn, acquaint, judged, live_of, partition_of, resting, server_of, settings_of

T = TypeVar("T")

TOKEN = "of-the-operations-team"  # noqa: S105 - it opens nothing
NOW_MS = MONDAY_MS + 40 * DAY_MS + 7 * MINUTE_MS
SETTINGS = settings_of(4)
LOCKED = settings_of(4, HTTP_CASE_DATA_TOKEN=TOKEN)


@cache
def company() -> tuple[Case, ...]:
    """Return the cases of a company's last 26 days, judged."""
    casebook, before_ms = Casebook(SETTINGS.catalogue(), SETTINGS.policy()), 0
    for delivered_ms, _topic, event in Upstream(7, NOW_MS - 26 * DAY_MS, cases_per_day=4).events(NOW_MS):
        if delivered_ms // (8 * DAY_MS) > before_ms // (8 * DAY_MS):
            casebook.assess(Clock.at(delivered_ms))  # so that something is taken back
            before_ms = delivered_ms
        casebook.take(*admit(event, delivered_ms, skew_ms=SETTINGS.policy().clock_skew_ms))
    waiting = opened("40d", case="waiting", priority="P1", region="north", product="pump", account_ref="acme")
    casebook.take(*read_event(waiting, SETTINGS.policy().clock_skew_ms))
    return tuple(one.case for one in casebook.assess(Clock.at(NOW_MS)).values())


def worker(*owned: int, cases: Iterable[Case] | None = None, settings: Any = SETTINGS, generation: int = 1) -> StandIn:  # noqa: ANN401
    """Return a worker that owns these partitions of the company's job."""
    one = StandIn(settings, owned, NOW_MS, generation=generation)
    one.put(company() if cases is None else cases)
    return one


class Answer(NamedTuple):
    """A response, read to its end."""

    status: int
    headers: Any
    text: str

    def json(self) -> Any:  # noqa: ANN401 - of any shape
        """Return the JSON it is."""
        return json.loads(self.text)


async def ask(server: Server, path: str, method: str = "GET", **other: Any) -> Answer:  # noqa: ANN401 - of aiohttp
    """Send one request; redirects are not followed."""
    url = f"http://127.0.0.1:{server.port}{path}"
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, url, allow_redirects=False, **other) as response,
    ):
        return Answer(response.status, response.headers, await response.text())


def serving(
    use: Callable[..., Awaitable[T]], *workers: StandIn, count: Callable[[str], None] = lambda _limit: None
) -> T:
    """Run `use` against the servers of workers who know each other."""

    async def run() -> T:
        servers = []
        try:
            for one in workers:
                server = server_of(one, count=count)
                await server.start()
                servers.append(server)
                one.url = f"http://127.0.0.1:{server.port}"
            acquaint(*workers)
            return await use(*servers)
        finally:
            for server in servers:
                await server.stop()

    return asyncio.run(run())


def answer_to(path: str, *workers: StandIn, **other: Any) -> Answer:  # noqa: ANN401 - of aiohttp
    """Return what the first of some workers answers."""

    async def use(server: Server, *_others: Server) -> Answer:
        return await ask(server, path, **other)

    return serving(use, *workers)


# --- Figures and the lists behind them


def test_as_many_units_are_listed_as_the_ledger_counts() -> None:
    """Of every figure of the ledger, the list behind it has that many units, each once."""
    one = worker(0, 1, 2, 3)
    counted: Counter[Selection] = Counter()
    shown = ("good", "bad", "pending", "excluded", "retracted", "at_risk")
    for (sign, level, segment, window, state, detail), units in one.rows().items():
        if state in shown and window in ("", "24h", "30d" if level == "job" else "24h"):
            reason = detail.partition(":")[0]
            counted[
                Selection(sign=sign, level=level, segment=segment, window=window, standing=state, detail=reason)  # type: ignore[arg-type]
            ] += units
            if state in ("good", "bad"):
                counted[Selection(sign=sign, level=level, segment=segment, window=window, standing="decided")] += units
    assert {one.standing for one in counted} == {
        "good", "bad", "decided", "pending", "excluded", "retracted", "at_risk"
    }  # fmt: skip
    assert {one.level for one in counted} == {"job", "region", "product"}

    async def listed() -> dict[Selection, list[tuple[str, str, str]]]:
        live = live_of(one)
        return {
            selection: [(unit.case, unit.sign, unit.unit) for unit in (await live.units(selection, (), 20_000)).units]
            for selection in counted
        }

    found = asyncio.run(listed())
    assert {selection: len(set(units)) for selection, units in found.items()} == dict(counted)
    assert {selection: len(units) for selection, units in found.items()} == dict(counted)


def test_the_slices_of_a_trend_add_up_to_the_figure() -> None:
    """Good and bad of all slices are good and bad of the window, of every sign, level and segment."""
    one = worker(0, 1, 2, 3)
    rows: Counter[tuple[str, str, str, str]] = Counter()
    for (sign, level, segment, window, state, _detail), units in one.rows().items():
        if window == "30d" and state in ("good", "bad"):
            rows[sign, level, segment, state] += units

    async def told() -> WorkerFigures:
        return await live_of(one).figures("30d")

    sums: Counter[tuple[str, str, str, str]] = Counter()
    for partition in asyncio.run(told()).partitions:
        for name, (good, bad) in partition.trend.items():
            sign, level, segment = name.split(" ", 2)
            assert len(good) == len(bad) == 30
            sums[sign, level, segment, "good"] += sum(good)
            sums[sign, level, segment, "bad"] += sum(bad)
    assert +sums == rows
    assert [slices_of(SETTINGS.windows().lengths_ms[window]) for window in ("1h", "24h", "7d", "30d")] == [
        12, 24, 28, 30
    ]  # fmt: skip


def at(anchors_ms: Iterable[int]) -> list[Case]:
    """Return cases that nobody answered in time, each with its verdicts counted at one instant."""
    cases = []
    for case, anchor_ms in zip(many(len(list(anchors_ms))), anchors_ms, strict=True):
        verdicts = [msgspec.structs.replace(one, anchor_ms=anchor_ms) for one in case.verdicts]
        cases.append(msgspec.structs.replace(case, verdicts=verdicts))
    return cases


def test_the_edges_of_a_window_are_those_of_the_ledger() -> None:
    """The oldest bucket and the running one are in a list and in the first and the last slice; beyond them nothing."""
    ends_ms = (NOW_MS // BUCKET_MS + 1) * BUCKET_MS
    begins_ms = ends_ms - DAY_MS
    inside = [begins_ms, begins_ms + BUCKET_MS - 1, ends_ms - BUCKET_MS, ends_ms - 1]
    one = worker(0, 1, 2, 3, cases=at([begins_ms - 1, *inside, ends_ms]))
    rows = one.rows()
    counted = sum(units for key, units in rows.items() if key[:5] == ("first_response", "job", "", "24h", "bad"))
    told = answer_to("/api/v1/units?sign=first_response&standing=bad&window=24h", one).json()
    assert told["total"] == counted == len(inside)
    assert sorted(unit["case"] for unit in told["units"]) == [f"M{number:05}" for number in (1, 2, 3, 4)]
    trend = answer_to("/api/v1/signs/first_response?window=24h", one).json()["figure"]["trend"]
    assert [slice_["bad"] for slice_ in trend] == [2, *[0] * 22, 2]
    assert trend[0]["begins"] == format_instant(begins_ms)


def test_two_workers_show_what_one_would() -> None:
    """Whoever of two workers is asked: figures, lists and totals are those of one worker with all partitions."""
    alone = answer_to("/api/v1/overview?window=30d", worker(0, 1, 2, 3)).json()
    listed = answer_to("/api/v1/units?standing=bad&window=30d", worker(0, 1, 2, 3)).json()
    assert sum(figure["bad"] for figure in alone["figures"]) == listed["total"] > 50

    async def use(first: Server, second: Server) -> None:
        for server in (first, second):
            told = (await ask(server, "/api/v1/overview?window=30d")).json()
            assert told["figures"] == alone["figures"]
            assert told["furthest_below"] == alone["furthest_below"]
            assert told["present"] == alone["present"]
            assert (told["trust"]["partitions_covered"], told["trust"]["problems"]) == (4, [])
            page = (await ask(server, "/api/v1/units?standing=bad&window=30d")).json()
            assert page["total"] == listed["total"]
            assert [(unit["case"], unit["sign"]) for unit in page["units"]] == [
                (unit["case"], unit["sign"]) for unit in listed["units"]
            ]

    serving(use, worker(0, 2), worker(1, 3))


def test_a_worker_that_does_not_answer_is_named_and_ratios_are_withheld() -> None:
    """Coverage below 1: counts of those who answer are shown, no ratio is, and who is missing is said."""
    limits: list[str] = []
    settings = settings_of(4, PAGES_ANSWER_SECONDS="0.2", PAGES_SEARCH_SECONDS="0.1")

    async def use(server: Server) -> tuple[Answer, Answer, Answer, Answer]:
        silent = await asyncio.start_server(lambda _reader, _writer: asyncio.sleep(60), "127.0.0.1", 0)
        url = f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}"
        first.owners |= dict.fromkeys((1, 3), Owner(url, NOW_MS))
        try:
            told = await ask(server, "/api/v1/overview?window=30d")
            assert f"the worker at {url} did not answer within 0.2 s" in told.json()["trust"]["problems"]
            elsewhere = next(one.case_id for one in company() if partition_of(one.case_id, 4) == 1)
            return (
                told,
                await ask(server, "/?window=30d"),
                await ask(server, "/cases?standing=bad&window=30d"),
                await ask(server, f"/case?{urlencode({'id': elsewhere})}"),
            )
        finally:
            silent.close()

    first = worker(0, 2, settings=settings)
    told, page, listed, case = serving(use, first, count=limits.append)
    found = told.json()
    assert (found["trust"]["trusted"], found["trust"]["uncovered"]) == (False, [1, 3])
    assert all(figure["ratio"] is None and figure["standing"] == "none" for figure in found["figures"])
    assert sum(figure["good"] for figure in found["figures"]) > 0
    assert "Not to be believed now" in page.text
    assert "did not answer within 0.2 s" in page.text
    assert "2 of 4 partitions have nobody who speaks for them" in page.text
    assert not re.search(r'class="ratio">[\d.]', page.text)
    assert "the cases of 2 of 4 partitions are not listed" in listed.text
    assert (case.status, "which owns partition 1, did not answer" in case.text) == (503, True)
    assert set(limits) == {"answer_timeout"}


def test_stale_figures_are_not_shown_as_ratios() -> None:
    """A partition whose clock is more than 900 s behind makes the whole stale, as in the recording rules."""
    assert figures.STALE_SECONDS == rules.FRESH_SECONDS
    one = worker(0, 1, 2, 3)
    one.partitions[2].counted_ms = NOW_MS - 901_000
    found = answer_to("/api/v1/overview?window=30d", one).json()
    assert found["trust"]["problems"] == ["what is shown is 15 min 1 s old"]
    assert {figure["ratio"] for figure in found["figures"]} == {None}
    one.partitions[2].counted_ms = NOW_MS - 900_000
    assert answer_to("/api/v1/overview?window=30d", one).json()["trust"]["trusted"]


def test_of_two_who_speak_for_a_partition_the_later_generation_is_believed() -> None:
    """The fence of the recording rules: the highest generation among those that are ready, each partition once."""
    live = live_of(worker(0))

    def word(url: str, generation: int, units: int, *, ready: bool) -> figures.Word:
        partition = PartitionFigures(
            partition=0,
            generation=generation,
            ready=ready,
            watermark_ms=NOW_MS,
            rows=[("no_silence", "job", "", "24h", "good", "final", units)],
        )
        told = WorkerFigures(
            group="by-hand",
            version="0",
            policy="p",
            state="running",
            now_ms=NOW_MS,
            partitions_expected=1,
            partitions=[partition],
        )
        return figures.Word(url, told)

    words = [word("old", 3, 5, ready=True), word("new", 4, 7, ready=True), word("newest", 5, 9, ready=False)]
    for order in (words, words[::-1]):
        believed = figures.believe(order, live)
        assert figures.Sums(believed.partitions).decided("no_silence", "job", "", "24h") == (7, 0)
        assert [one.url for one in believed.trust.workers if one.partitions] == ["new"]


def test_units_of_a_partition_two_workers_claim_are_listed_once() -> None:
    """A worker that lost a partition and does not know it yet adds nothing to a list."""
    listed = answer_to("/api/v1/units?standing=bad&window=30d", worker(0, 1, 2, 3)).json()["total"]

    async def use(first: Server, _second: Server) -> int:
        told = (await ask(first, "/api/v1/units?standing=bad&window=30d")).json()
        units = [(unit["case"], unit["sign"], unit["unit"]) for unit in told["units"]]
        assert len(units) == len(set(units))
        total: int = told["total"]
        return total

    assert serving(use, worker(0, 1, 2), worker(1, 3, generation=2)) == listed


def test_a_worker_that_fences_itself_shows_nothing() -> None:
    """Not heard by the group for a session: no figure, no list and no case is told."""
    one = worker(0, 1, 2, 3)
    one.fenced = True
    case = company()[0].case_id
    assert answer_to("/api/v1/overview", one).json()["trust"]["partitions_covered"] == 0
    assert answer_to("/api/v1/units?standing=bad&window=30d", one).json()["units"] == []
    assert answer_to(f"/api/v1/case?id={case}", one).status == 503


# --- Lists of many


def many(count: int) -> list[Case]:
    """Return cases that nobody answered in time: one judged, the others its copies, a second apart."""
    (one,) = [case for case in judged([opened("0h", asset_id=None)], ms("1d"), SETTINGS) if case.facts]
    cases = []
    for number in range(count):
        name, later_ms = f"M{number:05}", number * 1000
        verdicts = [
            msgspec.structs.replace(verdict, unit=name, anchor_ms=NOW_MS - HOUR_MS - later_ms)
            for verdict in one.verdicts
        ]
        cases.append(msgspec.structs.replace(one, case_id=name, verdicts=verdicts))
    return cases


def test_thousands_of_misses_are_paged_through_each_once_the_newest_first() -> None:
    """Following `after` from page to page leads through all of them, over two workers, in order."""
    cases = many(2_000)
    path = "/api/v1/units?sign=first_response&standing=bad&window=24h"
    settings = settings_of(4, PAGES_ROWS="500")

    async def use(server: Server, _other: Server) -> list[str]:
        names: list[str] = []
        after = ""
        while True:
            page = (await ask(server, f"{path}&after={after}")).json()
            assert (page["total"], page["complete"]) == (2_000, True)
            names += [unit["case"] for unit in page["units"]]
            after = page["after"]
            if not after:
                return names

    owners = [worker(0, 1, cases=cases, settings=settings), worker(2, 3, cases=cases, settings=settings)]
    assert serving(use, *owners) == [case.case_id for case in cases]


def test_how_many_can_be_paged_through_is_said_and_counted() -> None:
    """Beyond pages.most_listed the newest are listed; the total stays that of all, and reaching it is counted."""
    limits: list[str] = []
    settings = settings_of(1, PAGES_MOST_LISTED="30", PAGES_ROWS="20")
    one = worker(0, cases=many(100), settings=settings)

    async def use(server: Server) -> tuple[Any, Any, Answer]:
        path = "/api/v1/units?sign=first_response&standing=bad&window=24h"
        first = (await ask(server, path)).json()
        second = (await ask(server, f"{path}&after={first['after']}")).json()
        return first, second, await ask(server, "/cases?sign=first_response&standing=bad")

    first, second, page = serving(use, one, count=limits.append)
    assert (first["total"], len(first["units"]), first["most_listed"]) == (100, 20, 30)
    assert [unit["case"] for unit in second["units"]] == [f"M{number:05}" for number in range(20, 30)]
    assert second["after"] == ""
    assert "of the 100 here the first by order" in unescape(page.text)
    assert set(limits) == {"most_listed"}


def test_looking_through_many_cases_lets_the_loop_breathe() -> None:
    """No stretch of work is longer than 20 ms, by a clock that moves a millisecond whenever it is read."""
    stretches: list[float] = []
    one = worker(0, 1, 2, 3, cases=many(1_000))

    async def look(live: Any) -> None:  # noqa: ANN401 - a WorkerLive
        await live.units(Selection(standing="bad", window="24h"), (), 50)
        await live.figures("24h")

    with resting(stretches) as clocked:
        asyncio.run(look(live_of(one, stretches=clocked)))
    assert len(stretches) > 50
    assert max(stretches) <= 0.02


def test_what_takes_too_long_is_shown_so_far_and_goes_on() -> None:
    """After pages.search_seconds an answer says how far it is; the search is not begun again for the next reader."""
    limits: list[str] = []
    settings = settings_of(1, PAGES_SEARCH_SECONDS="0")
    one = worker(0, cases=many(3_000), settings=settings)

    async def use(server: Server) -> tuple[Any, Answer, Any]:
        path = "units?sign=first_response&standing=bad&window=24h"
        first = (await ask(server, f"/api/v1/{path}")).json()
        page = await ask(server, "/cases?sign=explained&standing=bad")
        later = first
        while not later["complete"]:
            await asyncio.sleep(0.05)
            later = (await ask(server, f"/api/v1/{path}")).json()
        return first, page, later

    first, page, later = serving(use, one, count=limits.append)
    assert (first["complete"], first["looked_at"] < first["of"]) == (False, True)
    assert "Still looking" in page.text
    assert later["total"] == 3_000
    assert "search_time" in limits


# --- Cases


def test_a_case_of_another_worker_is_shown_by_whoever_is_asked() -> None:
    """The partition of the id says who owns the case; what the owner says is shown as it is."""

    async def use(first: Server, second: Server) -> None:
        for case in company()[:20]:
            path = f"case?{urlencode({'id': case.case_id})}"
            told = [(await ask(server, f"/api/v1/{path}")).json() for server in (first, second)]
            assert told[0] == told[1]
            assert (told[0]["case"], told[0]["state"]) == (case.case_id, "known")
            assert len(told[0]["timeline"]) >= len(case.facts)
            assert {(one["sign"], one["unit"]) for one in told[0]["verdicts"]} == {
                (one.sign, one.unit) for one in case.verdicts
            }
        assert (await ask(first, "/api/v1/case?id=nobody")).status == 404

    serving(use, worker(0, 2), worker(1, 3))


def test_the_page_of_a_case_says_why_from_what_and_what_can_change() -> None:
    """Verdict, reason in words, the facts it rests on, until when it can change; misses come first."""
    events = [
        opened(priority="P2", region="north"),
        scheduled("1h", "1d", "1d4h"),
        arrived("1d4h20m"),
        completed("1d6h", "fixed"),
    ]
    one = worker(0, 1, 2, 3, cases=judged(events, ms("2d"), SETTINGS))
    one.now_ms = ms("2d")
    page = answer_to("/case?id=C1", one)
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", unescape(page.text)))
    assert "The technician came more than 15 min after the promised window had ended. (rule 15)" in text
    assert "scheduled [scheduled-V1-1h]; Tue 2026-03-03 12:20Z arrived [arrived-V1-1d4h20m]" in text
    assert "by what is told until" in text
    assert "window Tue 2026-03-03 08:00Z to 12:00Z" in text
    assert text.index("✕ miss") < text.index("✓ good")


def test_texts_of_customers_are_escaped() -> None:
    """Whatever stands in ids and fields is shown as text, in pages, links and titles."""
    evil = '"><script>alert(1)</script>'
    one = worker(0, 1, 2, 3, cases=judged([opened("39d", case=evil, account_ref=evil, region=evil)], NOW_MS, SETTINGS))
    named = (f"/{page}?{urlencode({name: evil})}" for page, name in (("case", "id"), ("search", "q")))
    paths = ["/", "/cases?standing=bad&window=30d", *named]
    for path in paths:
        page = answer_to(path, one)
        assert "<script>alert" not in page.text
        assert "&lt;script&gt;" in page.text or path == "/"


def test_of_an_erased_case_nothing_is_said_but_that() -> None:
    """It is counted in the number and listed as erased, last; its own id leads to that one sentence (rule 10)."""
    events = [opened(case="gone", account_ref="acme", region="north"), opened(case="stays", account_ref="acme")]
    cases = judged(events, ms("2d"), SETTINGS)
    one = worker(0, 1, 2, 3, cases=cases)
    one.now_ms = ms("2d")
    for partition in one.partitions.values():
        partition.counted_ms = ms("2d")
    before = answer_to("/api/v1/units?sign=explained&standing=decided&window=7d", one).json()["total"]
    sealed = [
        msgspec.structs.replace(case, verdicts=[msgspec.structs.replace(v, sealed=True) for v in case.verdicts])
        for case in cases
    ]
    one.put(sealed)
    one.erase(next(case for case in sealed if case.case_id == "gone"))
    listed = answer_to("/api/v1/units?sign=explained&standing=decided&window=7d", one).json()
    assert listed["total"] == before == 2
    assert [unit.get("case") for unit in listed["units"]] == ["stays", None]
    assert set(listed["units"][1]) == {"partition", "erased"}
    found = answer_to("/api/v1/case?id=gone", one).json()
    assert (found["state"], found["timeline"], found["verdicts"], found["segment"]) == ("erased", [], [], {})
    page = answer_to("/case?id=gone", one).text
    assert "This case was erased on request." in page
    assert "acme" not in page
    assert [case["case"] for case in answer_to("/api/v1/search?q=acme", one).json()["cases"]] == ["stays"]


def test_a_search_finds_a_case_by_its_id_and_the_cases_of_an_account() -> None:
    """An account is matched as a whole, as corrected, over all workers; an id leads straight to its case."""
    events = [
        *(opened(f"{number}h", case=f"K{number}", account_ref="acme", asset_id=None) for number in range(12)),
        opened(case="other", account_ref="acme-2"),
    ]
    cases = judged(events, NOW_MS, SETTINGS)

    async def use(first: Server, _second: Server) -> None:
        found = (await ask(first, "/api/v1/search?q=acme")).json()
        assert [case["case"] for case in found["cases"]] == [f"K{number}" for number in reversed(range(12))]
        assert (found["case"], found["total"], found["complete"]) == (None, 12, True)
        to_case = await ask(first, "/search?q=K3")
        assert (to_case.status, to_case.headers["Location"]) == (303, "/case?id=K3")
        assert "No case with this id" in (await ask(first, "/search?q=acm")).text

    serving(use, worker(0, 2, cases=cases), worker(1, 3, cases=cases))


# --- Between workers


def test_requests_between_workers_are_answered_locally_only() -> None:
    """A page of two workers asks the other once; what is asked of it makes it ask nobody."""
    asked: list[str] = []

    servers: list[Server] = []

    async def run() -> None:
        workers = [worker(0, 2), worker(1, 3)]
        for one in workers:
            server = server_of(one)
            pages = server._pages
            assert pages is not None
            add = pages.add_to

            def add_to(app: web.Application, add: Any = add, one: StandIn = one) -> None:  # noqa: ANN401
                @web.middleware
                async def note(request: web.Request, handler: Any) -> web.StreamResponse:  # noqa: ANN401
                    asked.append(f"{one.url} {request.path}")
                    response: web.StreamResponse = await handler(request)
                    return response

                app.middlewares.append(note)
                add(app)

            pages.add_to = add_to  # type: ignore[method-assign]
            await server.start()
            servers.append(server)
            one.url = f"http://127.0.0.1:{server.port}"
        acquaint(*workers)
        try:
            for path in ("/", "/cases?standing=bad", "/search?q=x", "/sign/explained?window=7d"):
                asked.clear()
                await ask(servers[0], path)
                assert [one for one in asked if one.startswith(workers[0].url)] == [
                    f"{workers[0].url} {path.partition('?')[0]}"
                ]
                of_second = [one.split()[1] for one in asked if one.startswith(workers[1].url)]
                assert of_second
                assert all(one.startswith("/api/v1/local/") for one in of_second)
                assert len(of_second) == len(set(of_second))
        finally:
            for server in servers:
                await server.stop()

    asyncio.run(run())


def test_an_answer_that_is_too_long_or_of_another_kind_is_not_read() -> None:
    """Length is bounded while reading; what does not parse, or is no address, is said as such."""
    limits: list[str] = []
    settings = settings_of(4, PAGES_ANSWER_MAX_BYTES="65536")
    first = worker(0, settings=settings)

    async def use(server: Server) -> list[str]:
        async def flood(_request: web.Request) -> web.Response:
            return web.Response(text="x" * 70_000)

        async def nonsense(_request: web.Request) -> web.Response:
            return web.Response(text="<html>")

        runners = []
        for number, handler in ((1, flood), (2, nonsense)):
            app = web.Application()
            app.router.add_get("/{path:.*}", handler)
            runner = web.AppRunner(app)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            runners.append(runner)
            first.owners[number] = Owner(f"http://127.0.0.1:{runner.addresses[0][1]}", NOW_MS)
        first.owners[3] = Owner("http://a:b@127.0.0.1/\r\nX: y", NOW_MS)
        try:
            problems: list[str] = (await ask(server, "/api/v1/overview")).json()["trust"]["problems"]
            return problems
        finally:
            for runner in runners:
                await runner.cleanup()

    problems = " ".join(serving(use, first, count=limits.append))
    assert "its answer is longer than 65,536 bytes" in problems
    assert "answered what this version cannot read" in problems
    assert "what it says of where it answers is no address" in problems
    assert sorted(limits) == ["answer_failed", "answer_too_large"]


def test_an_owner_that_has_not_been_heard_lately_is_not_asked() -> None:
    """What was said of where to ask expires; the partition then has nobody, which is said."""
    first = worker(0, 1, 2)
    first.owners[3] = Owner("http://127.0.0.1:9", NOW_MS - 15_001)
    assert live_of(first).owners().keys() == {0, 1, 2}
    case = next(one.case_id for one in company() if partition_of(one.case_id, 4) == 3)
    assert "no worker says that it owns partition 3" in answer_to(f"/case?id={case}", first).text
    first.owners[3] = Owner("http://127.0.0.1:9", NOW_MS - 15_000)
    assert live_of(first).owners()[3] == "http://127.0.0.1:9"


def test_who_is_asked_for_what_it_does_not_own_says_so() -> None:
    """An owner that has just lost the partition answers 421, and the reader is told of the hand-over."""
    case = next(one.case_id for one in company() if partition_of(one.case_id, 4) == 3)

    async def use(first: Server, _second: Server) -> Answer:
        return await ask(first, f"/case?id={case}")

    first, second = worker(0, 1), worker(2)

    async def with_old_news(a: Server, b: Server) -> Answer:
        first.owners[3] = Owner(second.url, NOW_MS)
        return await use(a, b)

    assert "is being handed over" in serving(with_old_news, first, second).text
    with pytest.raises(NotHereError):
        asyncio.run(live_of(second).case(case))


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({}, "http://127.0.0.1:9109"),
        ({"HTTP_HOST": "::1"}, "http://[::1]:9109"),
        ({"HTTP_ADVERTISED_URL": "https://w1.example/cx/"}, "https://w1.example/cx"),
        ({"HTTP_CERT_FILE": __file__, "HTTP_KEY_FILE": __file__}, "https://127.0.0.1:9109"),
    ],
)
def test_where_a_worker_answers_is_as_set_or_by_host_and_port(given: dict[str, str], url: str) -> None:
    """http.advertised_url, else the address it listens on, by https where it has a certificate."""
    assert advertised_url(settings_of(4, **given), 9109) == url
    assert not re.search(r"0\.0\.0\.0", advertised_url(settings_of(4, HTTP_HOST="0.0.0.0"), 9109))  # noqa: S104


# --- Access


CASE_DATA = ("/cases", "/case?id=x", "/search?q=x")
CASE_DATA_API = (
    "units",
    "case?id=x",
    "search?q=x",
    "local/units?limit=1",
    "local/case?id=x",
    "local/accounts?account_ref=x",
)


def test_case_data_needs_the_token_and_figures_do_not() -> None:
    """With a token set: pages lead to the sign-in, the API says 401; what carries no case data is open."""
    one = worker(0, 1, 2, 3, settings=LOCKED)

    async def use(server: Server) -> None:
        for path in CASE_DATA:
            answer = await ask(server, path)
            assert (answer.status, answer.headers["Location"].startswith("/sign-in?next=/")) == (303, True), path
        for path in CASE_DATA_API:
            refused = await ask(server, f"/api/v1/{path}")
            assert (refused.status, refused.headers["WWW-Authenticate"]) == (401, "Bearer"), path
            wrong = await ask(server, f"/api/v1/{path}", headers={"Authorization": "Bearer wrong"})
            right = await ask(server, f"/api/v1/{path}", headers={"Authorization": f"Bearer {TOKEN}"})
            assert wrong.status == 401, path
            assert right.status in (200, 404), path
        for path in ("/", "/sign/explained", "/api/v1/overview", "/api/v1/signs/explained", "/api/v1/openapi.json"):
            answer = await ask(server, path)
            assert answer.status == 200, path
            assert not any(case.case_id in answer.text for case in company())

    serving(use, one)


def test_the_token_is_passed_on_to_the_other_workers() -> None:
    """Who is let in sees the cases of all workers; one with another token refuses, and that is said."""
    other = settings_of(4, HTTP_CASE_DATA_TOKEN="another")  # noqa: S106
    header = {"Authorization": f"Bearer {TOKEN}"}
    path = "/api/v1/units?standing=bad&window=30d"
    whole = answer_to(path, worker(0, 1, 2, 3)).json()["total"]
    both = answer_to(path, worker(0, 1, settings=LOCKED), worker(2, 3, settings=LOCKED), headers=header).json()
    assert (both["total"], both["trust"]["problems"]) == (whole, [])
    half = answer_to(path, worker(0, 1, settings=LOCKED), worker(2, 3, settings=other), headers=header).json()
    assert half["total"] < whole
    assert any(problem.endswith("refused: its token is another one") for problem in half["trust"]["problems"])


def test_signing_in_sets_a_cookie_that_is_not_the_token_and_ends() -> None:
    """HttpOnly, SameSite=Strict, valid for a working day; a wrong token, a forged or an old cookie open nothing."""
    one = worker(0, 1, 2, 3, settings=LOCKED)

    async def use(server: Server) -> None:
        wrong = await ask(server, "/sign-in", "POST", data={"token": "wrong", "next": "/cases"})
        assert (wrong.status, "Set-Cookie" in wrong.headers, "That is not the token" in wrong.text) == (
            403,
            False,
            True,
        )
        right = await ask(server, "/sign-in", "POST", data={"token": TOKEN, "next": "/cases?standing=bad"})
        assert (right.status, right.headers["Location"]) == (303, "/cases?standing=bad")
        cookie = right.headers["Set-Cookie"]
        assert TOKEN not in cookie
        assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
        value = cookie.split(";")[0].partition("=")[2]
        until, signature = value.split(".")
        for shown, status in (
            (value, 200),
            (f"{until}.{signature[:-1]}0" if signature[-1] != "0" else f"{until}.{signature[:-1]}1", 303),
            (f"{int(until) + 1}.{signature}", 303),
            ("", 303),
            ("é.é", 303),
        ):
            answer = await ask(server, "/cases?standing=bad", headers={"Cookie": f"{access.COOKIE}={shown}"})
            assert answer.status == status, shown
        out = await ask(server, "/sign-out", "POST")
        assert "Max-Age=0" in out.headers["Set-Cookie"]

    serving(use, one)
    clock = [1_000_000.0]
    door = access.Door(TOKEN, clock=lambda: clock[0])
    response = web.Response()
    assert door.open(TOKEN, response, secure=True)
    morsel = response.cookies[access.COOKIE]
    assert morsel["secure"]
    request = make_mocked_request("GET", "/", headers={"Cookie": f"{access.COOKIE}={morsel.value}"})
    assert door.lets_in(request)
    clock[0] += access.SIGNED_IN_SECONDS
    assert not door.lets_in(request)
    assert not access.Door("another").lets_in(request)


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example", "/\\evil.example", "evil", "/a\nb", ""])
def test_signing_in_leads_nowhere_else(target: str) -> None:
    """What is not a path of these pages is not gone to."""
    answer = answer_to("/sign-in", worker(0, settings=LOCKED), method="POST", data={"token": TOKEN, "next": target})
    assert (answer.status, answer.headers["Location"]) == (303, "/")


def test_pages_are_closed_to_what_they_do_not_need() -> None:
    """Nothing is loaded from elsewhere, no inline script runs but the page's own, nothing is kept or told on."""
    answers = [answer_to(path, worker(0, 1, 2, 3)) for path in ("/", "/")]
    nonces = []
    for answer in answers:
        policy = answer.headers["Content-Security-Policy"]
        nonce = re.search(r"script-src 'nonce-([\w-]+)'", policy)
        assert nonce is not None
        nonces.append(nonce[1])
        assert policy.startswith("default-src 'none'; style-src 'self';")
        assert re.findall(r"<script[^>]*>", answer.text) == [f'<script nonce="{nonce[1]}">']
        assert " style=" not in answer.text
        assert (answer.headers["Cache-Control"], answer.headers["Referrer-Policy"]) == ("no-store", "no-referrer")
    assert nonces[0] != nonces[1]
    assert '<noscript><meta http-equiv="refresh" content="10"></noscript>' in answers[0].text
    still = answer_to("/?refresh=off", worker(0))
    assert ("<script" in still.text, 'http-equiv="refresh"' in still.text) == (False, False)


def test_a_page_that_fails_logs_where_and_not_what(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says which line failed; no id that was asked for, nor what the error says of it."""

    async def broken(_self: object, case_id: str) -> None:
        raise ValueError(f"something about {case_id}")

    monkeypatch.setattr(gathering.Gathering, "case", broken)
    answer = answer_to("/case?id=SECRET-7", worker(0))
    assert answer.status == 500
    assert "SECRET-7" not in answer.text
    assert "a page could not be made: ValueError" in caplog.text
    assert "SECRET-7" not in caplog.text


# --- The API


def test_the_document_is_sound() -> None:
    """docs/openapi.json is a valid OpenAPI 3.1 document; that it is up to date `cxstream render --check` says."""
    OpenAPIV31SpecValidator(document()).validate()


@pytest.mark.parametrize("path", ["/", "/sign/first_response", "/cases", "/case", "/search", "/api/v1/units"])
def test_what_is_not_read_is_refused(path: str) -> None:
    """A parameter that is misspelt is not left out, as if all had been asked for; the answer says which are read."""
    answer = answer_to(f"{path}?outcome=bad", worker(0, 1, 2, 3))
    assert answer.status == 400
    assert "no parameter 'outcome', one of " in unescape(answer.text)


def test_the_whole_job_is_called_all_by_dashboards() -> None:
    """The segment `all` is none at level job, and a segment like any other elsewhere."""
    one = worker(0, 1, 2, 3)
    whole, told = (
        answer_to(f"/api/v1/units?window=30d{asked}", one).json() for asked in ("", "&level=job&segment=all")
    )
    assert told["total"] == whole["total"] > 0
    assert answer_to("/api/v1/units?level=region&segment=all&window=24h", one).json()["total"] == 0


def test_answers_are_as_the_document_says() -> None:
    """Every answer of the API, problems too, is valid by the schema the document has for it."""
    described = document()
    case = company()[3].case_id
    account = "account-0001"
    paths = {
        "/overview": ["", "?window=30d", "?level=region&segment=north&window=24h", "?window=2h"],
        "/signs/{sign}": ["/signs/first_time_fix?window=30d", "/signs/nothing"],
        "/units": ["?standing=decided&window=30d", "?standing=at_risk", "?standing=nothing", "?after=x", "?after=1.2"],
        "/search": [f"?q={account}", f"?q={case}", "?q="],
        "/case": [f"?id={case}", "?id=nobody", "?id=", f"?id={'x' * 1025}"],
    }
    assert set(paths) == set(described["paths"]) - {"/sources"}  # that is asked in test_sources.py

    async def use(server: Server) -> set[tuple[str, int]]:
        seen = set()
        for path, asked in paths.items():
            for one in asked:
                answer = await ask(server, f"/api/v1{one if one.startswith('/') else path + one}")
                told = described["paths"][path]["get"]["responses"][str(answer.status)]["content"]
                kind = answer.headers["Content-Type"].partition(";")[0]
                schema = {**told[kind]["schema"], "components": described["components"]}
                jsonschema.validate(answer.json(), schema, cls=jsonschema.Draft202012Validator)
                seen.add((path, answer.status))
        return seen

    seen = serving(use, worker(0, 1, 2, 3))
    assert {path for path, status in seen if status == 200} == set(paths)
    assert {status for _, status in seen} == {200, 400, 404}


# --- Records


def test_what_was_published_is_read_of_a_record_without_its_facts() -> None:
    """The quick reader finds the very verdicts and segment that the whole record holds."""
    for case in company():
        data = write(case)
        found, whole = read_published(data), read_case(data)
        assert (found.case_id, found.closed, found.verdicts, found.segment) == (
            whole.case_id, whole.closed, whole.verdicts, whole.segment
        )  # fmt: skip


def test_a_trend_is_drawn_with_gaps_where_nothing_was_decided() -> None:
    """Slices without units are no points of the line; a lone one is a dot, and the words say how many there are."""

    def slices(*units: tuple[int, int]) -> list[Slice]:
        return [Slice(begins="2026-03-02T08:00:00Z", good=good, bad=bad) for good, bad in units]

    drawn = spark(slices((1, 1), (0, 0), (3, 1), (4, 0)), 0.7)
    assert drawn is not None
    assert drawn.path.count("M") == 2
    assert drawn.path.count("L") == 1
    assert len(drawn.dots) == 2
    assert drawn.words.startswith("3 of 4 slices have units: from 50.0")
    assert spark(slices((0, 0)), 0.7) is None
