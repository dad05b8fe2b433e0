"""Who may see case data, and who may send events: the bearer token of a request, or the cookie of who signed in."""

from __future__ import annotations

import time
from collections.abc import Callable
from hashlib import sha256
from hmac import compare_digest
from hmac import new as keyed

from aiohttp import web

CHALLENGE = "Bearer"
COOKIE = "cxstream_signed_in"
SIGNED_IN_SECONDS = 8 * 60 * 60
"""Who has signed in does so again after a working day."""
_MADE_FOR = b"cxstream signed in until "


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


class Door:
    """Lets in who carries the token, or the cookie that was given for it; anybody where no token is set.

    The cookie says until when it holds, signed with the token: it does not contain the token, every worker that has the
    token knows it, and another token makes it worthless.
    """

    def __init__(self, token: str | None, clock: Callable[[], float] = time.time) -> None:
        self._token = token
        self._clock = clock

    @property
    def is_locked(self) -> bool:
        """Whether a token is asked for."""
        return self._token is not None

    def lets_in(self, request: web.Request) -> bool:
        """Whether a request may see case data."""
        if self._token is None:
            return True
        offered = bearer_of(request)
        if offered is not None:
            return compare_digest(offered.encode(), self._token.encode())
        until, _, signature = request.cookies.get(COOKIE, "").partition(".")
        if not (until.isascii() and until.isdigit() and len(until) <= 12):  # noqa: PLR2004 - digits of an instant
            return False
        return compare_digest(signature.encode(), self._signature(until).encode()) and int(until) > self._clock()

    def open(self, offered: str, response: web.StreamResponse, *, secure: bool) -> bool:
        """Set the cookie on a response if the token is the right one; return whether it was."""
        if self._token is None or not compare_digest(offered.strip().encode(), self._token.encode()):
            return False
        until = str(int(self._clock()) + SIGNED_IN_SECONDS)
        response.set_cookie(
            COOKIE,
            f"{until}.{self._signature(until)}",
            max_age=SIGNED_IN_SECONDS,
            httponly=True,
            samesite="Strict",
            secure=secure,
            path="/",
        )
        return True

    def _signature(self, until: str) -> str:
        return keyed((self._token or "").encode(), _MADE_FOR + until.encode(), sha256).hexdigest()


def close(response: web.StreamResponse) -> None:
    """Take the cookie away."""
    response.del_cookie(COOKIE, path="/", httponly=True, samesite="Strict")
