"""Who may see case data, and who may send events: the bearer token of a request, compared in constant time."""

from __future__ import annotations

from hmac import compare_digest

from aiohttp import web

CHALLENGE = "Bearer"


def require(request: web.Request, token: str | None) -> None:
    """Let a request pass that carries the token, and any if none is set.

    Raises HTTPUnauthorized, which says what is missing.
    """
    if token is None or compare_digest((bearer_of(request) or "").encode(), token.encode()):
        return
    raise web.HTTPUnauthorized(
        headers={"WWW-Authenticate": CHALLENGE}, text="this needs the header Authorization: Bearer <token>\n"
    )


def bearer_of(request: web.Request) -> str | None:
    """Return the bearer token a request carries (RFC 6750), None if it carries none."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.casefold() == CHALLENGE.casefold() and token.strip() else None
