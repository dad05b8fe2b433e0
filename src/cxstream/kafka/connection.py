"""How to speak to the brokers: one description of protocol and login, in the words of Faust and of aiokafka."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any, Literal, NamedTuple

import faust

Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]


class Connection(NamedTuple):
    """What the clients of one worker are given."""

    credentials: Any
    """For Faust: faust.SASLCredentials, faust.SSLCredentials, or None."""
    client: dict[str, Any]
    """For an aiokafka client."""


def connection(
    protocol: Protocol,
    *,
    mechanism: str = "PLAIN",
    username: str | None = None,
    password: str | None = None,
    ca_file: Path | None = None,
    cert_file: Path | None = None,
    key_file: Path | None = None,
) -> Connection:
    """Describe a connection; brokers are verified against `ca_file`, or the system's authorities where it is None.

    Raises OSError or ssl.SSLError if a certificate or key cannot be read.
    """
    context: ssl.SSLContext | None = None
    if protocol in ("SSL", "SASL_SSL"):
        context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
        if cert_file is not None:
            context.load_cert_chain(cert_file, key_file)
    client: dict[str, Any] = {"security_protocol": protocol, "ssl_context": context}
    if protocol.startswith("SASL"):
        client |= {"sasl_mechanism": mechanism, "sasl_plain_username": username, "sasl_plain_password": password}
        login = faust.SASLCredentials(username=username, password=password, ssl_context=context, mechanism=mechanism)
        return Connection(login, client)
    return Connection(faust.SSLCredentials(context=context) if context is not None else None, client)
