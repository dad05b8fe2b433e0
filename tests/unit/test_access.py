"""The bearer token."""

from __future__ import annotations

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from cxstream.web.access import bearer_of, is_token, require

TOKEN = "of-the-operations-team"  # noqa: S105 - it opens nothing


def asking(authorization: str | None = None) -> web.Request:
    """Return a request with that Authorization header."""
    headers = {} if authorization is None else {"Authorization": authorization}
    return make_mocked_request("GET", "/", headers=headers)


def test_without_a_token_configured_anybody_may_ask() -> None:
    """Where no token is set none is asked for."""
    require(asking(), None)


@pytest.mark.parametrize("authorization", ["Bearer of-the-operations-team", "bearer  of-the-operations-team "])
def test_who_carries_the_token_may_ask(authorization: str) -> None:
    """The scheme is written in any case (RFC 9110)."""
    require(asking(authorization), TOKEN)


@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer ", "Bearer wrong", "Basic of-the-operations-team", "Bearer \xe9"]
)
def test_others_are_told_what_is_missing(authorization: str | None) -> None:
    """A missing or wrong token is answered 401, with the challenge and without the token."""
    with pytest.raises(web.HTTPUnauthorized) as refused:
        require(asking(authorization), TOKEN)
    assert refused.value.headers["WWW-Authenticate"] == "Bearer"
    assert TOKEN not in str(refused.value.text)


def test_a_header_of_another_scheme_carries_no_token() -> None:
    """Basic credentials are no bearer token."""
    assert bearer_of(asking("Basic dXNlcjpwYXNz")) is None


def test_bytes_that_are_no_text_are_no_token() -> None:
    """A header of bytes that are no UTF-8 comes as surrogates: it is compared like any other, and is not the token."""
    assert not is_token("\udce9", TOKEN)
    assert is_token(TOKEN, TOKEN)
