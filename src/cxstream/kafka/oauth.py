"""Tokens for OAUTHBEARER: from a file that others renew, or from a token endpoint by the client credentials grant."""

from __future__ import annotations

import asyncio
import binascii
import json
import logging
import ssl
import threading
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import quote, urlencode, urlsplit

from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaConnectionError

from .connection import ConnectError

logger = logging.getLogger(__name__)

MAX_TOKEN_BYTES = 64 * 1024
REQUEST_SECONDS = 10.0
ASSUMED_SECONDS = 300.0
"""How long a token is taken to last whose endpoint does not say."""
FRESH_SHARE = 0.8
"""Of its life a token is handed out for this share: a broker must find it valid for a while."""

_OK, _BAD_REQUEST, _SERVER_ERROR, _TOO_MANY = 200, 400, 500, 429
_NONE: Mapping[str, str] = MappingProxyType({})


class TokenUnavailableError(KafkaConnectionError):  # type: ignore[misc]  # aiokafka has no types
    """The token endpoint gave no answer; it may give one later."""

    def __str__(self) -> str:
        return str(self.args[0])


class _Tokens(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka has no types
    """Hands out tokens to clients in any thread and event loop: Faust's consumer has one of its own."""

    def __init__(self, extensions: Mapping[str, str]) -> None:
        self._extensions = dict(extensions)

    async def token(self) -> str:
        """Return a token. Raises ConnectError, or TokenUnavailableError where asking later may help."""
        return await asyncio.to_thread(self.fetch)

    def fetch(self) -> str:
        """Return a token; blocks."""
        raise NotImplementedError

    def extensions(self) -> dict[str, str]:
        """Return the SASL extensions that go with the token."""
        return self._extensions


class TokenFile(_Tokens):
    """A token that stands in a file, which is read anew for every login: whoever wrote it may renew it."""

    def __init__(
        self, path: Path, extensions: Mapping[str, str] = _NONE, *, wall_seconds: Callable[[], float] = time.time
    ) -> None:
        super().__init__(extensions)
        self._path = path
        self._wall_seconds = wall_seconds

    def fetch(self) -> str:
        """Read the token. Raises ConnectError if there is none, or it says itself that it has expired."""
        setting, mend = "kafka.oauth_token_file", "expected a token that is valid, and renewed in time"
        try:
            with self._path.open("rb") as file:
                content = file.read(MAX_TOKEN_BYTES + 1)
        except OSError as error:
            raise ConnectError(setting, f"the file cannot be read ({error.strerror})", mend) from None
        token = _token_of(content.strip())
        if token is None or len(content) > MAX_TOKEN_BYTES:
            raise ConnectError(setting, "the file holds no token", mend)
        expires_seconds = expiry_seconds(token)
        if expires_seconds is not None and expires_seconds <= self._wall_seconds():
            raise ConnectError(setting, "the token in the file has expired", mend)
        return token


class _Held(NamedTuple):
    """A token, until when it is fresh, and until when it is valid; in seconds of the monotonic clock."""

    token: str
    fresh_until: float
    valid_until: float


class TokenEndpoint(_Tokens):
    """Tokens of a token endpoint: one is kept, and asked for anew before it expires."""

    def __init__(
        self,
        url: str,
        client_id: str,
        client_secret: str,
        *,
        tls: ssl.SSLContext,
        scope: str | None = None,
        extensions: Mapping[str, str] = _NONE,
        clock_seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(extensions)
        self._address = urlsplit(url)
        # RFC 6749, section 2.3.1: both are form-encoded before they are joined.
        login = f"{quote(client_id, safe='')}:{quote(client_secret, safe='')}"
        self._login = binascii.b2a_base64(login.encode(), newline=False).decode()
        grant = {"grant_type": "client_credentials", **({} if scope is None else {"scope": scope})}
        self._body = urlencode(grant)
        self._tls = tls
        self._clock_seconds = clock_seconds
        self._lock = threading.Lock()
        self._held = _Held("", 0.0, 0.0)

    def fetch(self) -> str:
        """Return the token that is kept while it is fresh, else a new one; blocks for REQUEST_SECONDS at most.

        While the endpoint does not answer a token that is still valid is handed out. Raises as `token` does.
        """
        with self._lock:
            now = self._clock_seconds()
            if now >= self._held.fresh_until:
                try:
                    token, lasts_seconds = self._ask()
                except TokenUnavailableError as error:
                    if now >= self._held.valid_until:
                        raise
                    logger.warning("%s; the token in use is valid for another while", error)
                else:
                    self._held = _Held(token, now + FRESH_SHARE * lasts_seconds, now + lasts_seconds)
            return self._held.token

    def _ask(self) -> tuple[str, float]:
        """Ask the endpoint; return a token and for how many seconds it lasts."""
        status, body = self._post()
        where = f"the token endpoint {self._address.hostname}"
        if status >= _SERVER_ERROR or status == _TOO_MANY:
            raise TokenUnavailableError(f"kafka.oauth_token_url: {where} answered {status}")
        if status != _OK:
            setting = "kafka.oauth_client_secret" if status in (_BAD_REQUEST, 401, 403) else "kafka.oauth_token_url"
            found = f"{where} refused with status {status}{_error_code(body)}"
            raise ConnectError(setting, found, "expected a client id, secret and scope that it knows")
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            answer = None
        token = _token_of(str(answer.get("access_token") or "").encode()) if isinstance(answer, dict) else None
        if token is None:
            raise ConnectError("kafka.oauth_token_url", f"{where} gave no token", "expected access_token in JSON")
        lasts = answer.get("expires_in")
        return token, float(lasts) if isinstance(lasts, int | float) and lasts > 0 else ASSUMED_SECONDS

    def _post(self) -> tuple[int, bytes]:
        host, port = self._address.hostname or "", self._address.port
        path = (self._address.path or "/") + (f"?{self._address.query}" if self._address.query else "")
        headers = {
            "Authorization": f"Basic {self._login}",
            "Content-Type": "application/x-www-form-urlencoded",
            "Accept": "application/json",
        }
        connection = HTTPSConnection(host, port, timeout=REQUEST_SECONDS, context=self._tls)
        try:
            connection.request("POST", path, self._body, headers)
            response = connection.getresponse()
            return response.status, response.read(MAX_TOKEN_BYTES)
        except ssl.SSLCertVerificationError as error:
            said = error.verify_message.rstrip(".")
            found = f"the certificate of the token endpoint {host} is not trusted, or for another name ({said})"
            raise ConnectError("kafka.oauth_ca_file", found, "expected the authority it is of") from None
        except (OSError, HTTPException) as error:
            said = f"the token endpoint {host} cannot be reached ({type(error).__name__})"
            raise TokenUnavailableError(f"kafka.oauth_token_url: {said}") from None
        finally:
            connection.close()


def expiry_seconds(token: str) -> float | None:
    """Return when a token says it expires, in seconds since the epoch; None if it is no JWT or does not say.

    Nothing of it is verified: that is the brokers' part.
    """
    try:
        _head, claims, _signature = token.split(".")
        said = json.loads(urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    except (ValueError, RecursionError):
        return None
    expires = said.get("exp") if isinstance(said, dict) else None
    return float(expires) if isinstance(expires, int | float) and not isinstance(expires, bool) else None


def _token_of(content: bytes) -> str | None:
    """Return a bearer token (RFC 6750, section 2.1), None if that is none: it could end the message it is sent in."""
    text = content.decode(errors="replace")
    allowed = text.isascii() and all(one.isalnum() or one in "-._~+/=" for one in text)
    return text if text and allowed else None


def _error_code(body: bytes) -> str:
    """Return the error code of a refusal (RFC 6749, section 5.2), nothing if it gives none of these."""
    try:
        code = json.loads(body).get("error")
    except (ValueError, RecursionError, AttributeError):
        return ""
    return f" ({code})" if code in _CODES else ""


_CODES = ("invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "invalid_scope")
