"""What is told of the sources: how much each sent, what became of it, and what it sends wrong, without a word of it."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import jsonschema
import pytest
from prometheus_client import generate_latest

from cxstream.config import ConfigError, load
from cxstream.domain.instant import DAY_MS, HOUR_MS, MINUTE_MS, parse_instant
from cxstream.engine.ledger import OTHER
from cxstream.engine.source_quality import (
    DISPOSITIONS,
    SKEW_BOUNDS_MS,
    SOURCE_HEADER,
    UNNAMED,
    Rejection,
    SourceQuality,
)
from cxstream.exposition.activity import Activity
from cxstream.exposition.families import SOURCE_SKEW
from cxstream.kafka.dead_letters import REASONS
from cxstream.web import openapi
from cxstream.web.server import Server
from cxstream.web.sources import ADVICE, API, DOCS, MEANINGS, PAGE, document, source_pages
from parts.agent import Broker, Life, Record
from parts.poison import an_opening, poison_of

T0_MS = parse_instant("2026-03-02T08:00:00Z")
ROOT = Path(__file__).resolve().parents[2]


class Probes:
    """A worker that is well."""

    def tick_age_seconds(self) -> float:
        return 0.0

    def ready(self) -> tuple[bool, str]:
        return True, ""

    def started(self) -> bool:
        return True


def answers(quality: SourceQuality, *paths: str) -> list[str]:
    """Return what a server with the page says."""

    async def run() -> list[str]:
        pages = (source_pages(quality, "0.1"),)
        async with (
            Server(lambda _accept: (b"", ""), Probes(), more=pages) as server,
            aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as session,
        ):
            found = []
            for path in paths:
                async with session.get(path) as response:
                    assert response.status == 200
                    assert response.headers["Cache-Control"] == "no-store"
                    found.append(await response.text())
            return found

    return asyncio.run(run())


def lived(records: Sequence[Record], *sources: str) -> Life:
    """Return a process that has taken ticket records."""
    life = Life(Broker(), wall_ms=lambda: T0_MS + DAY_MS, sources=sources, max_message_bytes=1024)
    asyncio.run(life.process("ticket", [one._replace(offset=offset) for offset, one in enumerate(records)]))
    return life


def opening(life_codec: Life, case_id: str, sender: bytes | None, delivered_ms: int) -> Record:
    """Return the opening of a case at T0, as a sender would write it."""
    headers = [(SOURCE_HEADER, sender)] if sender else []
    return Record(case_id.encode(), life_codec.codec.encode(an_opening(case_id, T0_MS)), delivered_ms, headers)


EMPTY = Life(Broker(), wall_ms=lambda: T0_MS)


def test_records_are_counted_by_who_sent_them() -> None:
    """The header names the source; what is not listed is one source together, and what names none another."""
    first = opening(EMPTY, "C1", b"desk", T0_MS)
    records = [first, first, opening(EMPTY, "C2", b"hub", T0_MS), opening(EMPTY, "C3", None, T0_MS)]
    records += [opening(EMPTY, "C4", b"who is this?", T0_MS), opening(EMPTY, "C5", b"\xff", T0_MS)]
    life = lived(records, "desk", "hub")
    scrape = life.scrape()
    assert +scrape.by("cxstream_source_events_total", "source", "disposition", topic="ticket") == {
        ("desk", "applied"): 1,
        ("desk", "duplicate"): 1,
        ("hub", "applied"): 1,
        (UNNAMED, "applied"): 1,
        (OTHER, "applied"): 2,
    }


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ((), UNNAMED),
        (None, UNNAMED),
        ([("else", b"desk")], UNNAMED),
        ([(SOURCE_HEADER, b"desk")], "desk"),
        ([(SOURCE_HEADER, b"hub"), (SOURCE_HEADER, b"desk")], "desk"),
        ({SOURCE_HEADER: b"desk"}, "desk"),
        ([(SOURCE_HEADER, b"Desk")], OTHER),
        ([(SOURCE_HEADER, None)], UNNAMED),
        ([(SOURCE_HEADER, b"")], UNNAMED),
    ],
)
def test_the_last_header_names_the_source(headers: list[tuple[str, bytes | None]] | None, name: str) -> None:
    """As in Kafka's own clients the last one counts; a name is taken as it is written."""
    assert SourceQuality(("ticket",), ("desk",)).name_of(headers) == name


def test_the_series_of_a_source_are_bounded_and_there_from_the_start() -> None:
    """Every listed source has its series at 0; a thousand names nobody listed add one source, not a thousand."""
    quality = SourceQuality(("ticket", "dispatch", "parts"), ("desk",))
    activity = Activity("g", reasons=REASONS, sources=quality)

    def series() -> list[str]:
        text = generate_latest(activity.registry).decode()
        return re.findall(r"^cxstream_source_.*$", text, re.MULTILINE)

    at_start = series()
    assert {line.rsplit(" ", 1)[1] for line in at_start} == {"0.0"}
    assert len(at_start) == 2 * 3 * 41, "docs and the setting say about 120 a source"
    for number in range(1000):
        name = quality.name_of([(SOURCE_HEADER, f"name-{number}".encode())])
        quality.count("ticket", {(name, "applied"): 1})
    assert len(series()) == len(at_start) + 41
    with pytest.raises(ConfigError, match="at most 10 different items"):
        load(None, {"CXSTREAM_SOURCES_NAMES": ",".join(map(str, range(11)))})


def test_skew_is_measured_in_both_directions() -> None:
    """How long after it happened an event was delivered, or before, as a clock that is ahead has it."""
    delays_ms = (0, 30_000, 2 * HOUR_MS, -2 * MINUTE_MS)
    life = lived([opening(EMPTY, f"C{number}", None, T0_MS + delay) for number, delay in enumerate(delays_ms)])
    scrape = life.scrape()
    counts = scrape.by("cxstream_source_skew_seconds_bucket", "direction", "le", topic="ticket", source=UNNAMED)
    assert [counts["behind", le] for le in ("1.0", "10.0", "60.0", "3600.0", "21600.0", "+Inf")] == [1, 1, 2, 2, 3, 3]
    assert [counts["ahead", le] for le in ("60.0", "300.0", "+Inf")] == [0, 1, 1]
    assert scrape.sum("cxstream_source_skew_seconds_sum", direction="behind") == 30 + 7200
    assert scrape.sum("cxstream_source_skew_seconds_sum", direction="ahead") == 120
    assert SOURCE_SKEW.buckets == tuple(bound / 1000 for bound in SKEW_BOUNDS_MS)


def test_every_reason_is_listed_with_its_place_and_what_to_do_and_no_word_of_the_record() -> None:
    """Rejections show when, why, which field, what is expected, partition and offset; no value, key, case or header.

    The answer for programs is as docs/openapi.json describes it.
    """
    poison = poison_of(EMPTY.codec, T0_MS)
    records = [
        Record(key, value, T0_MS, [*headers, (SOURCE_HEADER, b"desk")]) for key, value, headers in poison.values()
    ]
    page, data = answers(lived(records, "desk").quality, PAGE, API)
    described = openapi.document()
    answer = described["paths"][API.removeprefix("/api/v1")]["get"]["responses"]["200"]["content"]["application/json"]
    schema = {**answer["schema"], "components": described["components"]}
    jsonschema.validate(json.loads(data), schema, cls=jsonschema.Draft202012Validator)
    reasons = {one["reason"]: one for one in json.loads(data)["sources"][0]["rejected"]}
    known = set(poison) - {"bad_delivery_header"}  # tickets are not trusted here: their header is not read
    assert known <= set(reasons)
    assert all(reasons[reason]["advice"] == ADVICE[reason] for reason in known)
    assert all(f"<code>{reason}</code>" in page for reason in known)
    shown = json.loads(data)["sources"][0]["rejections"]
    assert [one["offset"] for one in shown] == sorted((one["offset"] for one in shown), reverse=True)
    assert len(shown) == 3, "the last ones, as many as are kept"
    assert set(shown[0]) == {"rejected_at", "reason", "field", "expected", "partition", "offset"}
    assert "kind" in {one["field"] for one in shown}
    for text in (page, data):
        assert not re.search(
            r"breakfast|good|ahead-1|trace-id|asset-of|yesterday|2024-03", text.replace("ahead, before", "")
        )


def test_a_page_of_nothing_says_so_and_hostile_text_is_text() -> None:
    """Before anything was read there is nothing to list; what a label or an expectation holds is never markup."""
    empty, _ = answers(SourceQuality(("ticket",)), PAGE, API)
    assert "Nothing was read yet." in empty
    quality = SourceQuality(("ticket",), ("<script>alert(1)</script>",))
    name = "<script>alert(1)</script>"
    quality.count("ticket", {(name, "dead_letter"): 1})
    quality.reject("ticket", name, Rejection(T0_MS, "invalid", "kind", "<b>", 3, 7))
    (page,) = answers(quality, PAGE)
    assert "<script>" not in page
    assert "&lt;b&gt;" in page


def test_the_source_that_sends_the_most_wrong_comes_first() -> None:
    """Sources are listed by how many of their records were rejected."""
    quality = SourceQuality(("ticket",), ("desk", "hub"))
    quality.count("ticket", {("desk", "applied"): 100, ("desk", "dead_letter"): 1, ("hub", "dead_letter"): 2})
    assert [one["source"] for one in document(quality)["sources"]] == ["hub", "desk", UNNAMED]


def test_every_reason_and_disposition_has_its_words_and_its_place_in_the_docs() -> None:
    """For each reason there is what to do, on the page and in the docs; for each end what it means."""
    assert set(ADVICE) == set(REASONS)
    assert set(MEANINGS) == set(DISPOSITIONS)
    headings = set(re.findall(r"^### `(\w+)`$", (ROOT / DOCS).read_text("utf-8"), re.MULTILINE))
    assert headings == set(REASONS)
