"""How to speak to the brokers: one description of protocol and login, in the words of Faust and of aiokafka."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any, Literal, NamedTuple

import faust
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaError

Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]


class ConnectError(KafkaError):  # type: ignore[misc]  # aiokafka has no types
    """The brokers refuse this client, or it them, as it is configured: asking again does not help.

    The message names the setting to mend, and shows no secret.
    """

    def __init__(self, setting: str, found: str, mend: str) -> None:
        super().__init__(f"{setting}: {found}; {mend}")
        self.setting = setting

    def __str__(self) -> str:
        return str(self.args[0])


class Connection(NamedTuple):
    """What the clients of one worker are given."""

    credentials: Any
    """For Faust: faust.SASLCredentials, faust.OAuthCredentials, faust.SSLCredentials, or None."""
    client: dict[str, Any]
    """For an aiokafka client."""

    def __repr__(self) -> str:
        """Show no password."""
        return f"Connection({self.client['security_protocol']})"


def connection(
    protocol: Protocol,
    *,
    mechanism: str = "PLAIN",
    username: str | None = None,
    password: str | None = None,
    tokens: AbstractTokenProvider | None = None,
    tls: ssl.SSLContext | None = None,
) -> Connection:
    """Describe a connection; `tokens` log in by OAUTHBEARER. Raises ValueError without the `tls` a protocol needs."""
    context = tls if protocol in ("SSL", "SASL_SSL") else None
    if protocol in ("SSL", "SASL_SSL") and context is None:
        raise ValueError(f"{protocol} without TLS")
    client: dict[str, Any] = {"security_protocol": protocol, "ssl_context": context}
    if protocol.startswith("SASL") and tokens is not None:
        client |= {"sasl_mechanism": "OAUTHBEARER", "sasl_oauth_token_provider": tokens}
        return Connection(faust.OAuthCredentials(oauth_cb=tokens, ssl_context=context), client)
    if protocol.startswith("SASL"):
        client |= {"sasl_mechanism": mechanism, "sasl_plain_username": username, "sasl_plain_password": password}
        login = faust.SASLCredentials(username=username, password=password, ssl_context=context, mechanism=mechanism)
        return Connection(login, client)
    return Connection(faust.SSLCredentials(context=context) if context is not None else None, client)


def client_tls(
    ca_file: Path | None = None,
    cert_file: Path | None = None,
    key_file: Path | None = None,
    key_password: str | None = None,
    *,
    group: str = "kafka.",
) -> ssl.SSLContext:
    """Return TLS that verifies the other side against `ca_file`, or the system's authorities where it is None.

    Raises ConnectError, which names the settings by `group`, if a file holds no certificates or no key that fits.
    """
    try:
        context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except (OSError, ValueError) as error:
        found = f"no certificates can be read from it ({_said(error)})"
        raise ConnectError(f"{group}ca_file", found, "expected certificates of authorities as PEM") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if cert_file is not None:
        load_own(context, cert_file, key_file, key_password, group=group)
    return context


def server_tls(
    cert_file: Path | None, key_file: Path | None, key_password: str | None = None, *, group: str
) -> ssl.SSLContext | None:
    """Return the TLS that pages are served with, None where that is http. Raises ConnectError as `load_own` does."""
    if cert_file is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    load_own(context, cert_file, key_file, key_password, group=group)
    return context


def load_own(
    context: ssl.SSLContext, cert_file: Path, key_file: Path | None, key_password: str | None, *, group: str
) -> None:
    """Load the own certificate and its key. Raises ConnectError naming the settings by `group`."""
    try:
        # A password that is given is never asked for: OpenSSL would wait at a terminal.
        context.load_cert_chain(cert_file, key_file, key_password or "")
    except (OSError, ValueError) as error:
        found = f"certificate and key cannot be used together ({_said(error)})"
        mend = f"expected a certificate in {group}cert_file and its key, both PEM, and {group}key_password if encrypted"
        raise ConnectError(f"{group}key_file", found, mend) from None


def _said(error: Exception) -> str:
    """Return what was wrong in the words of OpenSSL or the system, which quote nothing that is in the file."""
    if isinstance(error, ssl.SSLError):
        return (error.reason or "no PEM").lower().replace("_", " ")
    return error.strerror or type(error).__name__ if isinstance(error, OSError) else type(error).__name__
