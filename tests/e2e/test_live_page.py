"""The live page in a real browser, over case records in memory: by mouse, by keyboard and on a phone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from playwright.sync_api import Browser, Page, expect

from cases import MONDAY_MS, opened
from cxstream.demo.upstream import Upstream
from cxstream.domain.cases import Case
from cxstream.domain.facts import admit
from cxstream.domain.instant import DAY_MS, HOUR_MS
from cxstream.engine.assess import Clock
from cxstream.engine.casebook import Casebook
from cxstream.web.gathering import KEPT_SECONDS
from parts.browser import chromium
from parts.pages import Serving, StandIn, judged, settings_of

pytestmark = pytest.mark.slow

TOKEN = "of-the-operations-team"  # noqa: S105 - it opens nothing
NOW_MS = MONDAY_MS + 40 * DAY_MS
MISSES = 10_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Run one browser for all tests here."""
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def company() -> list[Case]:
    """Return the cases of a company's last thirty days."""
    settings = settings_of(4)
    casebook = Casebook(settings.catalogue(), settings.policy())
    for delivered_ms, _topic, event in Upstream(7, NOW_MS - 30 * DAY_MS, cases_per_day=7).events(NOW_MS):
        casebook.take(*admit(event, delivered_ms, skew_ms=settings.policy().clock_skew_ms))
    return [one.case for one in casebook.assess(Clock.at(NOW_MS)).values()]


def workers(cases: list[Case], *owned: tuple[int, ...], **settings: str) -> list[StandIn]:
    """Return workers of one job, each with its partitions."""
    known = settings_of(4, **settings)
    found = [StandIn(known, numbers, NOW_MS) for numbers in owned]
    for one in found:
        one.put(cases)
    return found


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """Open a tab; whatever the page complains of fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    tab = context.new_page()
    complaints: list[str] = []
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("console", lambda message: complaints.append(message.text) if "Content Security" in message.text else None)
    yield tab
    context.close()
    assert complaints == []


def test_from_a_number_to_a_case_and_why(page: Page, company: list[Case]) -> None:
    """A reader gets by links alone from the ratios to the misses behind one, to a case, to why it is a miss."""
    with Serving(*workers(company, (0, 1), (2, 3))) as serving:
        page.goto(serving.workers[0].url)
        expect(page.get_by_role("heading", level=1)).to_have_text("How customers are treated")
        page.get_by_role("link", name="30d", exact=True).click()
        tile = page.locator("article.tile", has_text="Fixed first time")
        expect(tile.locator(".ratio")).to_contain_text("%")
        expect(tile.get_by_role("img")).to_be_visible()
        told = tile.locator(".misses").inner_text()
        tile.locator(".misses").click()
        expect(page.locator(".figure b").first).to_have_text(told.split()[0])
        first = page.locator(".unit .what a").first
        name = first.inner_text()
        first.click()
        expect(page.get_by_role("heading", level=1)).to_have_text(f"Case {name}")
        verdict = page.locator("article.verdicts.miss", has_text="Fixed first time")
        expect(verdict.get_by_text("(rule")).to_be_visible()
        expect(verdict.locator("dt").filter(has_text="can change")).to_be_visible()
        assert page.locator(".timeline li").count() > 3


def test_filters_and_segments(page: Page, company: list[Case]) -> None:
    """A segment has its own tiles and its own list; the form of a list changes sign, standing and window."""
    with Serving(*workers(company, (0, 1, 2, 3))) as serving:
        page.goto(f"{serving.workers[0].url}/?window=30d")
        page.get_by_role("navigation", name="Segment").get_by_role("link", name="region east").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("region east")
        page.get_by_role("navigation", name="Window").get_by_role("link", name="30d").click()
        tile = page.locator("article.tile", has_text="Fixed the same day")
        told = tile.locator(".misses").inner_text().split()[0]
        tile.locator(".misses").click()
        expect(page.locator(".figure")).to_contain_text("in region east over 30d")
        expect(page.locator(".figure b").first).to_have_text(told)
        assert all(" east " in f" {where} " for where in page.locator(".unit .where").all_inner_texts())
        page.get_by_label("Standing").select_option("good")
        page.get_by_label("Vital sign").select_option("explained")
        page.get_by_role("button", name="Show").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Good: Explained in time")
        expect(page.locator(".figure")).to_contain_text("in region east over 30d")
        page.get_by_role("link", name="all segments").click()
        expect(page.locator(".figure")).not_to_contain_text("region")


def test_the_keyboard_is_enough(page: Page, company: list[Case]) -> None:
    """The first stop skips to the content; search and links follow; what has the focus is outlined."""
    with Serving(*workers(company, (0, 1, 2, 3))) as serving:
        page.goto(f"{serving.workers[0].url}/?window=30d")
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("main")).to_be_focused()
        page.keyboard.press("Tab")
        focused = page.evaluate(
            "[document.activeElement.tagName, !!document.activeElement.closest('main'),"
            " getComputedStyle(document.activeElement).outlineStyle]"
        )
        assert focused == ["A", True, "solid"]
        page.get_by_role("searchbox").focus()
        page.keyboard.type(company[5].case_id)
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text(f"Case {company[5].case_id}")


def test_every_part_has_a_name_and_enough_contrast(browser: Browser, company: list[Case]) -> None:
    """Landmarks, headings in order, captions of tables, labels of fields; texts at least 4.5 to 1, light and dark."""
    with Serving(*workers(company, (0, 1, 2, 3))) as serving:
        url = serving.workers[0].url
        for scheme in ("light", "dark"):
            context = browser.new_context(color_scheme=scheme)  # type: ignore[arg-type]
            tab = context.new_page()
            for path in ("/?window=30d", "/sign/no_silence?window=30d", "/cases?standing=decided&window=30d",
                         f"/case?id={company[3].case_id}", "/search?q=account-0001"):  # fmt: skip
                tab.goto(url + path)
                assert tab.evaluate(AUDIT) == [], (scheme, path)
            context.close()


AUDIT = """() => {
  const faults = [];
  for (const landmark of ["header", "nav", "main", "footer"])
    if (!document.querySelector(landmark)) faults.push("no " + landmark);
  if (document.querySelectorAll("h1").length !== 1) faults.push("not one h1");
  let last = 0;
  for (const heading of document.querySelectorAll("h1,h2,h3,h4")) {
    const level = +heading.tagName[1];
    if (level > last + 1) faults.push("after h" + last + ": " + heading.textContent);
    last = level;
  }
  for (const table of document.querySelectorAll("table"))
    if (!table.caption || !table.querySelector("th[scope]")) faults.push("a table without caption or scope");
  for (const field of document.querySelectorAll("input:not([type=hidden]),select"))
    if (!field.labels.length) faults.push("a field without label");
  for (const svg of document.querySelectorAll("svg"))
    if (!svg.getAttribute("aria-label") && svg.getAttribute("aria-hidden") !== "true") faults.push("a nameless svg");
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const linear = (v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = (c) => { const [r, g, b] = c.slice(0, 3).map(linear);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const behind = (one) => { for (; one; one = one.parentElement) { const c = rgb(getComputedStyle(one).backgroundColor);
    if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
  for (const one of document.querySelectorAll("body *")) {
    const own = [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !one.getClientRects().length || one.closest("select,noscript,script,.away,.skip")) continue;
    const [a, b] = [light(rgb(getComputedStyle(one).color)), light(behind(one))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) faults.push("contrast: " + one.className + " " + one.textContent.slice(0, 30));
  }
  return [...new Set(faults)];
}"""


def test_it_fits_a_phone(browser: Browser, company: list[Case]) -> None:
    """At 360 pixels nothing is wider than the screen, and what is tapped is not small."""
    context = browser.new_context(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    tab = context.new_page()
    with Serving(*workers(company, (0, 1, 2, 3))) as serving:
        for path in ("/?window=30d", "/sign/no_silence?window=30d", "/cases?standing=bad&window=30d",
                     f"/case?id={company[3].case_id}", "/search?q=account-0001", "/sign-in"):  # fmt: skip
            tab.goto(serving.workers[0].url + path)
            assert tab.evaluate("document.documentElement.scrollWidth") <= 360, path
        assert all(box["height"] >= 40 for box in (one.bounding_box() for one in tab.locator("button").all()) if box)
    context.close()


def test_an_empty_job_says_so(page: Page) -> None:
    """Without a single case there is no ratio, no miss, no table of segments, and nothing looks broken."""
    with Serving(*workers([], (0, 1, 2, 3))) as serving:
        page.goto(serving.workers[0].url)
        expect(page.get_by_text("No promise is about to break.")).to_be_visible()
        assert set(page.locator(".ratio").all_inner_texts()) == {"\u2013"}
        assert page.locator(".misses").count() == 0
        page.goto(f"{serving.workers[0].url}/cases?standing=bad")
        expect(page.get_by_text("There is none.")).to_be_visible()


def test_a_page_whose_worker_went_away_says_since_when(page: Page, company: list[Case]) -> None:
    """The last figures stay, greyed, under a sentence that says of when they are; a partial job is marked too."""
    with Serving(*workers(company, (0, 1), (2, 3))) as serving:
        page.clock.install()
        page.goto(f"{serving.workers[0].url}/?window=30d")
        expect(page.locator(".trust.good")).to_be_visible()
        serving.stop(1)
        time.sleep(KEPT_SECONDS)  # what was gathered before may be shown until then
        page.clock.fast_forward(11_000)
        expect(page.locator(".trust.bad b")).to_have_text("▲ Not to be believed now")
        expect(page.get_by_text("could not be reached").first).to_be_visible()
        assert set(page.locator(".ratio").all_inner_texts()) == {"\u2013"}
        serving.stop(0)
        page.clock.fast_forward(11_000)
        expect(page.get_by_role("status")).to_contain_text("This worker does not answer: what you see is of")
        assert page.locator(".tile").count() == 11


def test_renewing_keeps_the_place_and_can_be_stopped(page: Page, company: list[Case]) -> None:
    """What has the focus keeps it; new figures come without a reload; stopped, nothing moves."""
    (one,) = workers(company, (0, 1, 2, 3))
    with Serving(one) as serving:
        page.clock.install()
        page.goto(f"{one.url}/?window=30d")
        link = page.locator("article.tile").nth(3).get_by_role("link").first
        href = link.get_attribute("href")
        link.focus()
        one.cases.by_partition = {number: {} for number in one.partitions}
        for number in one.partitions:
            fresh = StandIn(one.settings, [number], NOW_MS)
            one.partitions[number] = fresh.partitions[number]
        page.wait_for_timeout(10)
        serving.run(_a_moment())
        page.clock.fast_forward(11_000)
        expect(page.locator(".of").first).to_contain_text("nothing decided")
        assert page.evaluate("document.activeElement.getAttribute('href')") == href
        page.get_by_role("link", name="Stop refreshing").click()
        expect(page.get_by_role("link", name="Refresh by itself")).to_be_visible()
        assert page.locator("script").count() == 0


async def _a_moment() -> None:
    """Wait until what readers of one second share is made anew."""
    import asyncio

    await asyncio.sleep(1.1)


def test_without_scripts_everything_is_there(browser: Browser, company: list[Case]) -> None:
    """With JavaScript off the page shows the same, leads to the same, and asks for itself again by its head."""
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    with Serving(*workers(company, (0, 1), (2, 3))) as serving:
        tab.goto(f"{serving.workers[0].url}/?window=30d")
        assert tab.locator("article.tile").count() == 11
        assert tab.locator('meta[http-equiv="refresh"]').get_attribute("content") == "10"
        tab.locator(".misses").first.click()
        assert tab.locator(".unit").count() > 0
    context.close()


def test_signing_in(page: Page, company: list[Case]) -> None:
    """Figures are open; a list leads to the form and, signed in, to itself; the cookie is out of reach of scripts."""
    with Serving(*workers(company, (0, 1), (2, 3), HTTP_CASE_DATA_TOKEN=TOKEN)) as serving:
        page.goto(f"{serving.workers[0].url}/?window=30d")
        page.locator(".misses").first.click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Sign in to see cases")
        page.get_by_label("Token").fill("wrong")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_have_text("▲ That is not the token.")
        page.get_by_label("Token").fill(TOKEN)
        page.keyboard.press("Enter")
        page.wait_for_url("**/cases?*")
        assert page.locator(".unit").count() > 0
        expect(page.locator(".trust.good")).to_be_visible()
        assert page.evaluate("document.cookie") == ""
        page.get_by_role("button", name="Sign out").click()
        page.goto(f"{serving.workers[0].url}/cases?standing=bad")
        expect(page.get_by_role("heading", level=1)).to_have_text("Sign in to see cases")


def many(count: int) -> list[Case]:
    """Return cases that nobody answered in time: one judged, the others its copies, a second apart."""
    settings = settings_of(4)
    (one,) = judged([opened("39d", asset_id=None, priority="P1")], NOW_MS, settings)
    cases = []
    for number in range(count):
        name = f"M{number:05}"
        verdicts: list[Any] = [
            msgspec.structs.replace(verdict, unit=name, anchor_ms=NOW_MS - HOUR_MS - number * 1000)
            for verdict in one.verdicts
        ]
        cases.append(msgspec.structs.replace(one, case_id=name, verdicts=verdicts))
    return cases


def test_ten_thousand_misses_are_paged(page: Page) -> None:
    """The number is that of all; pages follow each other without a gap or a repeat, and lead back to the first."""
    with Serving(*workers(many(MISSES), (0, 1), (2, 3), PAGES_ROWS="200")) as serving:
        page.goto(f"{serving.workers[0].url}/cases?sign=first_response&standing=bad&window=24h&refresh=off")
        while page.get_by_text("Still looking").count():
            page.wait_for_timeout(200)
            page.reload()
        expect(page.locator(".figure b").first).to_have_text("10\u202f000")
        seen: list[str] = []
        for _ in range(6):
            seen += page.locator(".unit .what a").all_inner_texts()
            page.get_by_role("link", name="Next 200").click()
        assert seen == [f"M{number:05}" for number in range(1200)]
        page.get_by_role("link", name="First", exact=True).click()
        expect(page.locator(".unit .what a").first).to_have_text("M00000")
