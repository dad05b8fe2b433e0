"""Reaches a broker once, before clients that retry for ever do: what will never work is said at once, and why."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import struct
from collections.abc import Mapping
from typing import Any, NoReturn

from aiokafka.conn import AIOKafkaConnection, OAuthAuthenticator, collect_hosts
from aiokafka.errors import (
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from .connection import ConnectError

UNREACHABLE = (
    "is the address right (kafka.bootstrap), is the broker up and reachable, do protocol and login fit its listener?"
)
"""What to look at where no broker answers."""
REACH_SECONDS = 5.0
"""One broker; one that is silent for so long is asked again while the time of the caller lasts."""

_HELLO = struct.pack(">ihhih", 10, 18, 0, 1, -1)
"""ApiVersions, version 0: what every broker answers before a login."""
_TLS_RECORD = b"\x15\x03"
_NAME_MISMATCHES = (62, 64)
"""X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH."""
_OF_OWN_CERTIFICATE = ("CERTIFICATE", "UNKNOWN_CA", "HANDSHAKE_FAILURE")


async def reach(bootstrap: str, client: Mapping[str, Any]) -> None:
    """Connect to a broker of `bootstrap` and log in, as an aiokafka client of these arguments would.

    Raises ConnectError for what asking again does not mend. OSError, TimeoutError or another KafkaError: nobody
    answered, or not to the end.
    """
    last: Exception = OSError("no address")
    for host, port, _family in collect_hosts(bootstrap, randomize=False):
        try:
            async with asyncio.timeout(REACH_SECONDS):
                await _greet(host, port, client)
                await _log_in(host, port, client)
        except ConnectError:
            raise
        except (OSError, KafkaError, TimeoutError) as error:
            last = error
        else:
            return
    raise last


async def _greet(host: str, port: int, client: Mapping[str, Any]) -> None:
    """Say hello below the login: both sides must speak TLS, or neither, and trust each other's certificates."""
    tls, address = client.get("ssl_context"), f"{host}:{port}"
    writer: asyncio.StreamWriter | None = None
    try:
        reader, writer = await asyncio.open_connection(host, port, ssl=tls)
        writer.write(_HELLO)
        answer = await reader.readexactly(4)
    except ssl.SSLError as error:
        _explain(error, address)
    except (asyncio.IncompleteReadError, ConnectionResetError):
        hint = f"{address} closed the connection without an answer: does kafka.security_protocol fit its listener?"
        raise ConnectionResetError(hint) from None
    finally:
        if writer is not None:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
    if answer.startswith(_TLS_RECORD):
        raise ConnectError(
            "kafka.security_protocol", f"the listener {address} speaks TLS", "expected SSL or SASL_SSL to speak to it"
        )


def _explain(error: ssl.SSLError, address: str) -> NoReturn:
    if isinstance(error, ssl.SSLCertVerificationError):
        said = error.verify_message.rstrip(".")
        if error.verify_code in _NAME_MISMATCHES:
            found = f"the certificate of {address} is for another name ({said})"
            raise ConnectError(
                "kafka.bootstrap", found, "expected a name that is in the broker's certificate"
            ) from None
        found = f"the certificate of {address} is not trusted ({said})"
        raise ConnectError("kafka.ca_file", found, "expected the authority the brokers' certificates are of") from None
    reason = error.reason or ""
    if any(word in reason for word in _OF_OWN_CERTIFICATE):
        found = f"the listener {address} refuses this client's certificate ({reason.lower().replace('_', ' ')})"
        raise ConnectError("kafka.cert_file", found, "expected one of an authority the brokers trust") from None
    found = f"the listener {address} does not speak TLS ({reason.lower().replace('_', ' ') or 'no TLS'})"
    raise ConnectError(
        "kafka.security_protocol", found, "expected PLAINTEXT or SASL_PLAINTEXT to speak to it"
    ) from None


class _Connection(AIOKafkaConnection):  # type: ignore[misc]  # aiokafka has no types
    def authenticator_oauth(self) -> Any:
        return _OAuth(sasl_oauth_token_provider=self._sasl_oauth_token_provider)


class _OAuth(OAuthAuthenticator):  # type: ignore[misc]  # aiokafka has no types
    async def step(self, payload: bytes | None) -> Any:
        # Adds to stock, which takes the broker's refusal (RFC 7628, section 3.2.2) for the end of a good login.
        if payload:
            try:
                status = json.loads(payload).get("status")
            except (ValueError, AttributeError):
                status = None
            raise SaslAuthenticationFailed(status if status in _STATUSES else "refused")
        return await super().step(payload)


_STATUSES = ("invalid_token", "insufficient_scope", "invalid_request")


async def _log_in(host: str, port: int, client: Mapping[str, Any]) -> None:
    """Log in, and ask something that only who may be there is answered."""
    address, mechanism = f"{host}:{port}", client.get("sasl_mechanism")
    connection = _Connection(host, port, request_timeout_ms=int(REACH_SECONDS * 1000), **client)
    try:
        await connection.connect()
        await connection.send(MetadataRequest([]))
    except SaslAuthenticationFailed as error:
        found = f"{address} refused the login"
        if mechanism == "OAUTHBEARER":
            names = "kafka.oauth_token_file or kafka.oauth_token_url"
            raise ConnectError(
                names, f"{found} by token ({error.args[0]})", "expected a valid token for them"
            ) from None
        found += f" of the user {client.get('sasl_plain_username')!r} by {mechanism}"
        raise ConnectError(
            "kafka.password", found, "expected kafka.username and kafka.password that it knows"
        ) from None
    except UnsupportedSaslMechanismError:
        found = f"the listener {address} does not offer {mechanism}"
        raise ConnectError("kafka.sasl_mechanism", found, "expected one that it offers") from None
    except IllegalSaslStateError:
        found = f"the listener {address} takes no login"
        raise ConnectError("kafka.security_protocol", found, "expected PLAINTEXT or SSL to speak to it") from None
    except ConnectError:
        raise
    except KafkaConnectionError:
        if mechanism is not None:
            raise
        hint = f"{address} closed the connection: does its listener want a login (kafka.security_protocol SASL_...)?"
        raise ConnectionResetError(hint) from None
    finally:
        closing = connection.close()
        if closing is not None:
            await closing
