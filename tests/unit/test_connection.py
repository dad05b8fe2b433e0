"""The description of a connection, as Faust and aiokafka are given it."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth

from cxstream.kafka.connection import connection


def test_plaintext_has_neither_login_nor_certificates() -> None:
    """Without security nothing is said but the protocol."""
    assert connection("PLAINTEXT") == (None, {"security_protocol": "PLAINTEXT", "ssl_context": None})


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL"])
def test_faust_and_aiokafka_log_in_alike(protocol: str, mechanism: str) -> None:
    """What Faust makes of its credentials is what the other clients are given."""
    made = connection(protocol, mechanism=mechanism, username="cx", password="pw")  # type: ignore[arg-type]  # noqa: S106
    assert dict(credentials_to_aiokafka_auth(made.credentials)) == made.client
    assert (made.client["ssl_context"] is not None) == (protocol == "SASL_SSL")


def test_brokers_are_verified() -> None:
    """With TLS a broker must prove its name by a certificate of a known authority."""
    made = connection("SSL")
    assert made.client["ssl_context"].verify_mode is ssl.CERT_REQUIRED
    assert made.client["ssl_context"].check_hostname
    assert dict(credentials_to_aiokafka_auth(made.credentials)) == made.client


def test_an_authority_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """A missing file of authorities is not silently left out."""
    with pytest.raises(OSError, match="No such file"):
        connection("SSL", ca_file=tmp_path / "absent.pem")
