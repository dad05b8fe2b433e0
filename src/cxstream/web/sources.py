"""The page that tells an upstream team what it sends wrong: /sources for people, /api/v1/sources for programs.

It shows reasons, fields, places and counts; no value of a message, and no id of a case.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined

from cxstream.domain.instant import SECOND_MS, format_instant
from cxstream.engine.source_quality import DIRECTIONS, DISPOSITIONS, SKEW_BOUNDS_MS, Account, SourceQuality
from cxstream.web.models import SourceList, encode

API = "/api/v1/sources"
PAGE = "/sources"
DOCS = "docs/upstream/sources.md"

ADVICE = {
    "empty": "A record without a value deletes nothing here. To take an event back, send a voided event.",
    "too_large": "Send less: an event is a few hundred bytes. The limit is limits.max_message_bytes.",
    "undecodable": "Send Avro by the schemas of the repository, in Confluent framing or single-object encoding.",
    "trailing_bytes": "Write one event a record, and by the schema its first bytes name.",
    "unknown_schema": "Register the schema where schema.registry_url looks, or name its id in schema.ids.",
    "wrong_key": "The key of the record is the case id of the event, as UTF-8.",
    "bad_delivery_header": "Write cxstream-delivered-at as RFC 3339 with an offset or as milliseconds, or not at all.",
    "naive_time": "Send times with their offset, like 2026-03-02T10:00:00+01:00, or as timestamp-millis.",
    "future": "The event is ahead of its own delivery: set the clock or the time zone of the system that writes it.",
    "invalid": "Send the field as the schema's examples have it.",
    "wrong_partition": "Partition by murmur2 of the key, as Java clients do (librdkafka: partitioner=murmur2_random).",
    "too_old_for_unknown_case": "Send the opening first; what is older than memory cannot begin a case.",
}
"""What to do about a rejection, by its reason; docs/upstream/sources.md says more of each."""
MEANINGS = {
    "applied": "taken in",
    "unknown_type": "of a type nobody knows: taken in, ignored for verdicts",
    "duplicate": "known already",
    "conflict": "known already with another content; the first delivered counts",
    "after_seal": "too late to count for any unit",
    "closed_case": "of a case that is closed",
    "dead_letter": "rejected",
}
_OTHERWISE = "See what its dead letter says."

_pages = Environment(
    loader=PackageLoader("cxstream.web"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def source_pages(quality: SourceQuality, version: str) -> Callable[[web.UrlDispatcher], None]:
    """Return what adds the routes of the page and its data to a server."""

    async def page(_request: web.Request) -> web.Response:
        html = _pages.get_template("sources.html").render(
            sources=document(quality)["sources"], meanings=MEANINGS, docs=DOCS, version=version
        )
        return web.Response(text=html, content_type="text/html")

    async def data(_request: web.Request) -> web.Response:
        answer = msgspec.convert(document(quality), SourceList)
        return web.Response(body=encode(answer) + b"\n", content_type="application/json")

    def add_routes(router: web.UrlDispatcher) -> None:
        router.add_get(PAGE, page)
        router.add_get(API, data)

    return add_routes


def document(quality: SourceQuality) -> dict[str, list[dict[str, object]]]:
    """Return what is known of all sources: those that sent the most rejected records first."""
    accounts = sorted(quality.accounts.items(), key=lambda one: (-one[1].dispositions["dead_letter"], one[0]))
    return {"sources": [{"topic": topic, "source": name, **_account(account)} for (topic, name), account in accounts]}


def _account(account: Account) -> dict[str, object]:
    return {
        "records": account.records,
        "dispositions": {name: account.dispositions[name] for name in DISPOSITIONS},
        "rejected": [
            {"reason": reason, "count": count, "advice": ADVICE.get(reason, _OTHERWISE)}
            for reason, count in account.reasons.most_common()
        ],
        "skew": {
            direction: {
                "count": sum(account.skews[direction].counts),
                "buckets": [
                    {"up_to_seconds": None if bound is None else bound // SECOND_MS, "count": count}
                    for bound, count in zip((*SKEW_BOUNDS_MS, None), account.skews[direction].counts, strict=True)
                ],
            }
            for direction in DIRECTIONS
        },
        "rejections": [
            {
                "rejected_at": format_instant(one.rejected_ms),
                "reason": one.reason,
                "field": one.field,
                "expected": one.expected,
                "partition": one.partition,
                "offset": one.offset,
            }
            for one in reversed(account.rejections)
        ],
    }
