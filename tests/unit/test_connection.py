"""The description of a connection, as Faust and aiokafka are given it."""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiokafka.errors import KafkaConnectionError
from cryptography.hazmat.primitives import serialization
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth

from cxstream.config import load
from cxstream.kafka.connection import ConnectError, Protocol, client_tls, connection
from cxstream.kafka.engine import Fetcher
from cxstream.kafka.oauth import TokenEndpoint, TokenFile
from cxstream.worker import connection_of, engine_settings, registry_of


def test_plaintext_has_neither_login_nor_certificates() -> None:
    """Without security nothing is said but the protocol."""
    assert connection("PLAINTEXT") == (None, {"security_protocol": "PLAINTEXT", "ssl_context": None})


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"])
@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL"])
def test_faust_and_aiokafka_log_in_alike(protocol: Protocol, mechanism: str, tmp_path: Path) -> None:
    """What Faust makes of its credentials is what the other clients are given."""
    login: dict[str, Any] = {"mechanism": mechanism, "username": "cx", "password": "pw"}
    if mechanism == "OAUTHBEARER":
        login = {"tokens": TokenFile(tmp_path / "token")}
    made = connection(protocol, **login, tls=client_tls())
    assert dict(credentials_to_aiokafka_auth(made.credentials)) == made.client
    assert (made.client["ssl_context"] is not None) == (protocol == "SASL_SSL")


def test_brokers_are_verified() -> None:
    """With TLS a broker must prove its name by a certificate of a known authority."""
    made = connection("SSL", tls=client_tls())
    assert made.client["ssl_context"].verify_mode is ssl.CERT_REQUIRED
    assert made.client["ssl_context"].check_hostname
    assert made.client["ssl_context"].minimum_version >= ssl.TLSVersion.TLSv1_2
    assert dict(credentials_to_aiokafka_auth(made.credentials)) == made.client


def test_nothing_is_encrypted_by_chance() -> None:
    """A protocol that encrypts is refused without TLS to do it by."""
    with pytest.raises(ValueError, match="SASL_SSL without TLS"):
        connection("SASL_SSL", username="cx", password="pw")  # noqa: S106


def test_files_that_cannot_be_used_are_told_by_their_setting(tmp_path: Path) -> None:
    """Authorities, a certificate or a key that cannot be read name the setting, and show nothing of what is in them."""
    authority = trustme.CA()
    own = authority.issue_cert("worker")
    other = authority.issue_cert("another")
    cert, key, wrong_key, locked = (tmp_path / name for name in ("cert.pem", "key.pem", "other.pem", "locked.pem"))
    own.cert_chain_pems[0].write_to_path(cert)
    own.private_key_pem.write_to_path(key)
    other.private_key_pem.write_to_path(wrong_key)
    locked.write_bytes(encrypted(own.private_key_pem.bytes(), b"key-pass"))
    client_tls(None, cert, key)
    client_tls(None, cert, locked, "key-pass")
    for files, named in (
        ((tmp_path / "absent.pem", None, None), "kafka.ca_file: no certificates can be read from it (No such file"),
        ((key, None, None), "kafka.ca_file: no certificates can be read from it ("),
        ((None, cert, wrong_key), "kafka.key_file: certificate and key cannot be used together (key values mismatch)"),
        ((None, cert, locked), "kafka.key_file: certificate and key cannot be used together ("),
        ((None, cert, locked, "wrong-pass"), "kafka.key_file: certificate and key cannot be used together ("),
        ((None, key, key), "kafka.key_file: certificate and key cannot be used together ("),
    ):
        with pytest.raises(ConnectError) as refused:
            client_tls(*files)
        assert named in str(refused.value)
        assert "pass)" not in str(refused.value)
        assert refused.value.__cause__ is None


def encrypted(key: bytes, password: bytes) -> bytes:
    """Return a private key encrypted, as PEM."""
    encryption = serialization.BestAvailableEncryption(password)
    private_key = serialization.load_pem_private_key(key, None)
    return private_key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def test_a_fetch_that_failed_can_be_cancelled() -> None:
    """A worker that stops while a broker is away closes its consumer: a fetch that waits after a failure just ends."""

    class Away:
        _retry_backoff = 60.0

        def __init__(self) -> None:
            self._client = self
            self.asked = asyncio.Event()

        async def send(self, *_: object) -> None:
            self.asked.set()
            raise KafkaConnectionError("away")

        def _invalidate_preferred_read_replica_for_node(self, *_: object) -> None:
            pass

    async def use() -> bool:
        away = Away()
        fetch = asyncio.ensure_future(Fetcher._proc_fetch_request(away, None, 1, None))
        await away.asked.wait()
        fetch.cancel()
        return bool(await fetch)

    assert asyncio.run(use()) is False


def test_nothing_that_holds_a_secret_shows_it() -> None:
    """Neither as text nor in words for developers: settings, connections, registry, tokens, what the engine gets."""
    secrets = {
        "CXSTREAM_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "CXSTREAM_KAFKA_USERNAME": "cx",
        "CXSTREAM_KAFKA_PASSWORD": "s3cret-1",
        "CXSTREAM_SCHEMA_REGISTRY_URL": "https://registry:8081",
        "CXSTREAM_SCHEMA_REGISTRY_USERNAME": "reader",
        "CXSTREAM_SCHEMA_REGISTRY_PASSWORD": "s3cret-2",
        "CXSTREAM_HTTP_CASE_DATA_TOKEN": "s3cret-3",
        "CXSTREAM_ERASURE_KEY": "s3cret-4",
    }
    settings = load(None, secrets)
    tokens = TokenEndpoint("https://login/token", "cx", "s3cret-5", tls=client_tls())
    held = (settings, connection_of(settings), registry_of(settings), engine_settings(settings), tokens)
    encoded = b64encode(b"reader:s3cret-2").decode()
    for one in held:
        for text in (str(one), repr(one)):
            assert text
            assert "s3cret" not in text
            assert encoded not in text
