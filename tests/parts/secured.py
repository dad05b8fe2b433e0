"""An Apache Kafka that wants certificates, passwords or tokens, and who gives tokens: security is tried on these."""

from __future__ import annotations

import base64
import json
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs

import trustme
from cryptography.hazmat.primitives import serialization

from .apache_kafka import ApacheKafka

USER = "cxstream-worker"
PASSWORD = "pw-Wm5xQ7dK"  # noqa: S105 - of a broker that lives as long as the test
CLIENT_ID, CLIENT_SECRET = "cx client", "cs+/Zt8:vL2p="
REAUTHENTICATE_MS = 6_000
"""After so long a listener with tokens closes connections that have not logged in again."""

_OAUTH = "org.apache.kafka.common.security.oauthbearer"
_UNSECURED = f"{_OAUTH}.internals.unsecured.OAuthBearerUnsecuredValidatorCallbackHandler"


class Certificates:
    """An authority, what it has issued to broker and worker, and another one nobody trusts; as files in PEM."""

    def __init__(self, folder: Path) -> None:
        """Issue them into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.authority = trustme.CA()
        stranger = trustme.CA()
        self.ca_file = folder / "ca.pem"
        self.other_ca_file = folder / "other-ca.pem"
        self.authority.cert_pem.write_to_path(self.ca_file)
        stranger.cert_pem.write_to_path(self.other_ca_file)
        self.cert_file, self.key_file = self._issued(self.authority, "worker")
        self.other_cert_file, self.other_key_file = self._issued(stranger, "stranger")
        self.server = self.authority.issue_cert("localhost")
        self.broker_keystore = folder / "broker.pem"
        chain = b"".join(pem.bytes() for pem in self.server.cert_chain_pems)
        self.broker_keystore.write_bytes(_pkcs8(self.server.private_key_pem.bytes()) + chain)

    def _issued(self, authority: trustme.CA, name: str) -> tuple[Path, Path]:
        issued = authority.issue_cert(name)
        cert, key = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        issued.cert_chain_pems[0].write_to_path(cert)
        issued.private_key_pem.write_to_path(key)
        return cert, key


def _pkcs8(key: bytes) -> bytes:
    """Return a private key in the only form Java reads."""
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return serialization.load_pem_private_key(key, None).private_bytes(*form)


def secured_kafka(certificates: Certificates) -> ApacheKafka:
    """Return a broker with three further listeners.

    MTLS wants a certificate, LOGIN a password (PLAIN or SCRAM) over TLS, TOKEN a token (OAUTHBEARER, unsigned).
    """
    module = "org.apache.kafka.common.security"
    return ApacheKafka(
        listeners={"MTLS": "SSL", "LOGIN": "SASL_SSL", "TOKEN": "SASL_PLAINTEXT"},
        scram=[f"SCRAM-SHA-{bits}=[name={USER},password={PASSWORD}]" for bits in (256, 512)],
        properties={
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": certificates.broker_keystore,
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": certificates.ca_file,
            "listener.name.mtls.ssl.client.auth": "required",
            "listener.name.login.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
            "listener.name.login.plain.sasl.jaas.config": (
                f'{module}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
            ),
            "listener.name.login.scram-sha-256.sasl.jaas.config": f"{module}.scram.ScramLoginModule required;",
            "listener.name.login.scram-sha-512.sasl.jaas.config": f"{module}.scram.ScramLoginModule required;",
            "listener.name.token.sasl.enabled.mechanisms": "OAUTHBEARER",
            "listener.name.token.oauthbearer.sasl.jaas.config": (
                f'{_OAUTH}.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";'
            ),
            "listener.name.token.oauthbearer.sasl.server.callback.handler.class": _UNSECURED,
            "listener.name.token.oauthbearer.connections.max.reauth.ms": REAUTHENTICATE_MS,
        },
    )


def a_token(lasts_seconds: float = 3600.0) -> str:
    """Return an unsigned JWT of the worker."""
    now = time.time()
    claims = {"sub": USER, "iat": int(now) - 60, "exp": int(now + lasts_seconds)}
    parts = [json.dumps(part).encode() for part in ({"alg": "none"}, claims)]
    return ".".join([*(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts), ""])


class TokenServer:
    """A token endpoint over https, for the one client it knows; a context manager."""

    def __init__(self, certificates: Certificates, lasts_seconds: float = 3600.0) -> None:
        """Prepare; tokens last for `lasts_seconds`."""
        self.lasts_seconds = lasts_seconds
        self.status = 200
        """What to answer; other than 200 there is no token."""
        self.given: list[str] = []
        self.asked: list[dict[str, list[str]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                status, answer = outer._answer(self.headers.get("Authorization", ""), body)
                content = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base class has it
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificates.server.configure_cert(context)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://localhost:{self._server.server_address[1]}/oauth2/token"

    def _answer(self, authorization: str, body: str) -> tuple[int, dict[str, object]]:
        self.asked.append(parse_qs(body))
        if self.status != 200:
            return self.status, {"error": "temporarily_unavailable"}
        login = base64.b64decode(authorization.removeprefix("Basic ")).decode()
        if login != "cx%20client:cs%2B%2FZt8%3AvL2p%3D":
            return 401, {"error": "invalid_client", "error_description": f"no such secret: {login}"}
        self.given.append(a_token(self.lasts_seconds))
        return 200, {"access_token": self.given[-1], "token_type": "Bearer", "expires_in": self.lasts_seconds}

    def __enter__(self) -> Self:
        """Serve."""
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()
