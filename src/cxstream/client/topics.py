"""Looks at the topics before anything is written to them: brokers that create topics by themselves do it ill."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient

REQUEST_MS = 10_000
"""One request to a broker."""


class WrongTopicsError(Exception):
    """Topics are not there, or not with the partitions configured; the text says which, and what mends it."""


async def check_topics(bootstrap: str, client: Mapping[str, Any], topics: Collection[str], partitions: int) -> None:
    """Raise WrongTopicsError unless these topics are there with so many partitions each; KafkaError as aiokafka does.

    `client` are further arguments of an aiokafka client (security). All topics are listed: to ask for one by name would
    create it where the brokers create topics by themselves.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=REQUEST_MS, **client)
    try:
        await admin.start()
        described = {topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics()}
    finally:
        await admin.close()
    wrong = [
        f"{name} {f'has {described[name]} partitions' if described.get(name) else 'is missing'}"
        for name in topics
        if described.get(name) != partitions
    ]
    if wrong:
        raise WrongTopicsError(
            f"events cannot be written: {', '.join(wrong)}; expected {partitions} partitions (kafka.partitions)."
            " `cxstream topics apply` creates what is missing, and says how to mend the rest"
        )
