"""What is answered: 202 if the brokers have every event of a request, 207 if they have some, else a problem."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from aiohttp import web

from cxstream.ingress import problems
from cxstream.ingress.intake import JSON, Item
from cxstream.ingress.problems import Problem
from cxstream.web.access import CHALLENGE

RETRY_SECONDS = 2
"""After which a client should come again when too much is under way, or the brokers are away."""
ACCEPTED = 202
MIXED = 207
_AWAY = problems.NOT_SENT.status


class RefusedError(Exception):
    """A request that is not taken, with what is answered; `limit` is what it met, if that was one."""

    def __init__(self, problem: Problem, limit: str = "", retry_seconds: int = 0) -> None:
        super().__init__(problem.detail)
        self.problem = problem
        self.limit = limit
        self.retry_seconds = retry_seconds


def refusal(error: RefusedError) -> web.Response:
    """Return the answer to a request that is not taken, after which the connection is closed."""
    headers = {}
    if error.retry_seconds:
        headers["Retry-After"] = str(error.retry_seconds)
    if error.problem.kind is problems.UNAUTHORISED:
        headers["WWW-Authenticate"] = CHALLENGE
    response = answer(error.problem.document(), error.problem.kind.status, problems.CONTENT_TYPE, headers)
    response.force_close()  # its body may not have been read
    return response


def outcome(items: Sequence[Item], *, is_single: bool) -> web.Response:
    """Return the answer to a request whose events are decided, one by one; `is_single`: the body was one event."""
    failed = [item.problem for item in items if item.problem is not None]
    told = {
        "accepted": len(items) - len(failed),
        "not_accepted": len(failed),
        "items": [_told(index, item) for index, item in enumerate(items)],
    }
    away = [problem for problem in failed if problem.kind.status == _AWAY]
    headers = {"Retry-After": str(RETRY_SECONDS)} if away else {}
    if len(failed) < len(items):
        return answer(told, MIXED if failed else ACCEPTED, JSON, headers)
    if is_single:
        document = {**failed[0].document(), "event_id": items[0].event_id}
        return answer(document, failed[0].kind.status, problems.CONTENT_TYPE, headers)
    kind = away[0].kind if away else problems.NONE_ACCEPTED
    counts = Counter(problem.kind.name for problem in failed)
    said = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
    document = {**Problem(kind, f"found {said}").document(), **told}
    return answer(document, kind.status, problems.CONTENT_TYPE, headers)


def answer(
    document: Mapping[str, Any], status: int, content_type: str = JSON, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Return an answer with a JSON document."""
    body = orjson.dumps(document) + b"\n"
    return web.Response(body=body, status=status, content_type=content_type, headers=headers)


def _told(index: int, item: Item) -> dict[str, object]:
    """Return what is answered of one event of a request."""
    if item.problem is None:
        return {"index": index, "event_id": item.event_id, "status": ACCEPTED}
    status = item.problem.kind.status
    return {"index": index, "event_id": item.event_id, "status": status, "problem": item.problem.document()}
