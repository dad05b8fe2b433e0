"""Who may see case data, and who may send events: the bearer token of a request, compared in constant time."""

from __future__ import annotations

from hmac import compare_digest

from aiohttp import web

CHALLENGE = "Bearer"


def require(request: web.Request, token: str | None) -> None:
    """Let a request pass that carries the token, and any if none is set.

    Raises HTTPUnauthorized, which says what is missing.
    """
    if token is None or is_token(bearer_of(request), token):
        return
    raise web.HTTPUnauthorized(
        headers={"WWW-Authenticate": CHALLENGE}, text="this needs the header Authorization: Bearer <token>\n"
    )


def is_token(given: str | None, token: str) -> bool:
    """Whether a token is the one expected, in constant time; bytes that are no UTF-8 are given as surrogates."""
    return compare_digest((given or "").encode(errors="surrogateescape"), token.encode())


def bearer_of(request: web.Request) -> str | None:
    """Return the bearer token a request carries (RFC 6750), None if it carries none."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.casefold() == CHALLENGE.casefold() and token.strip() else None
