"""The doctor: looks at brokers, topics, records and group, and says of each question what is well and what is not."""

from __future__ import annotations

from collections.abc import Callable

from aiokafka.errors import KafkaError

from cxstream.config import Settings
from cxstream.kafka.cluster import UnreachableError
from cxstream.operations.checks import CHECKS
from cxstream.operations.findings import Finding, Progress, Report, no_progress
from cxstream.operations.observation import observe, wall_ms

DEFAULT_SAMPLES = 100
DEFAULT_LISTEN_SECONDS = 1.0
DEFAULT_TIMEOUT_SECONDS = 10.0


async def examine(
    settings: Settings,
    *,
    samples: int = DEFAULT_SAMPLES,
    listen_seconds: float = DEFAULT_LISTEN_SECONDS,
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    wall_ms: Callable[[], int] = wall_ms,
    progress: Progress = no_progress,
) -> Report:
    """Answer every question about the job of a configuration; brokers that do not answer are a finding.

    `samples` records of each source partition are read, `timeout_seconds` are given to each topic, and for
    `listen_seconds` it is watched what arrives. Nothing is written anywhere.
    """
    bootstrap = settings.kafka.bootstrap
    try:
        seen = await observe(
            settings,
            samples=samples,
            listen_seconds=listen_seconds,
            timeout_seconds=timeout_seconds,
            wall_ms=wall_ms,
            progress=progress,
        )
    except UnreachableError as error:
        return Report([_unreachable(address, why) for address, why in error.why.items()])
    except (KafkaError, OSError, TimeoutError) as error:
        said = f"stopped answering while it was asked ({type(error).__name__}: {error})"
        return Report([Finding("error", "brokers", bootstrap, said, "Is the cluster well? Ask again.")])
    return Report([finding for check in CHECKS for finding in check(seen)])


def _unreachable(address: str, why: str) -> Finding:
    said = why.casefold()
    if "authentication" in said or "sasl" in said:
        advice = "The login was refused: check kafka.username, kafka.password and kafka.sasl_mechanism."
    elif "ssl" in said or "certificate" in said:
        advice = "TLS failed: check kafka.security_protocol, kafka.ca_file, and the names in the broker's certificate."
    elif "name or service" in said or "getaddrinfo" in said or "nodename" in said:
        advice = "The name is not known here: check kafka.bootstrap and the name service."
    else:
        advice = (
            "Check kafka.bootstrap, whether the broker is up, the route and firewall, and whether"
            " kafka.security_protocol fits its listener."
        )
    return Finding("error", "brokers", address, f"cannot be spoken to ({why})", advice)
