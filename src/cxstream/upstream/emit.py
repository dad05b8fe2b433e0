"""Sends the events of files, or samples, with the settings a worker runs with, and says where each one is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from aiokafka.errors import KafkaError

from cxstream.client.producer import AsyncProducer, Sent, wall_ms
from cxstream.client.records import SEEN, Record, Records
from cxstream.client.topics import check_topics
from cxstream.config import Settings
from cxstream.domain.facts import RejectedError
from cxstream.kafka.connection import ConnectError
from cxstream.kafka.reaching import UNREACHABLE, reach
from cxstream.kafka.schemas import RegistryUnavailableError, Schemas
from cxstream.offline.events_file import WrongLine
from cxstream.upstream.event_files import read_lines
from cxstream.upstream.subjects import subjects_of
from cxstream.worker import connection_of, registry_of


class UntrustedTopicError(ValueError):
    """Events state when they were delivered (`seen`), on a topic where that is not believed."""


class BrokersUnreachableError(Exception):
    """No broker could be spoken to; the text says why, and what to look at."""


def read_all(paths: Iterable[Path], records: Records) -> tuple[list[Record], list[WrongLine]]:
    """Return the records of all events of files, and the lines that no worker would take as they are.

    These are events a worker would reject, and events with a type or fields it would ignore. Raises OSError.
    """
    right: list[Record] = []
    wrong: list[WrongLine] = []
    for path in paths:
        for line in read_lines(path):
            try:
                if line.error is not None:
                    raise line.error
                right.append(records.of(line.event))
            except RejectedError as error:
                wrong.append(WrongLine(line.path, line.number, error.reason, error.field, error.expected))
    return right, wrong


def line_of(record: Record) -> dict[str, object]:
    """Return a record as a line of an event file: the event, and when it was delivered where that is stated."""
    seen = [value.decode() for _delivered_at, value in record.headers]
    return {**record.event, SEEN: seen[0]} if seen else dict(record.event)


def refuse_untrusted(records: Sequence[Record], settings: Settings) -> None:
    """Raise UntrustedTopicError if a delivery time is stated where workers would not believe it."""
    for record in records:
        if record.headers and record.topic not in settings.kafka.trusted_topics:
            raise UntrustedTopicError(
                f"events of {record.topic} state {SEEN}, and workers do not believe that there: add the topic to"
                f" kafka.trusted_topics, or leave {SEEN} out"
            )


async def registered_ids(settings: Settings) -> dict[int, str]:
    """Return the ids the registry has for the schemas that are written, for Confluent framing.

    Those in `schema.ids` go first. Raises RegistryUnavailableError if one is in neither.
    """
    schemas = Schemas.packaged()
    configured = {name: schema_id for schema_id, name in settings.schema.ids.items()}
    registry = registry_of(settings)
    ids: dict[int, str] = {}
    for subject in subjects_of(settings):
        if subject.kind not in settings.kafka.topics.by_kind():
            continue
        name = schemas.latest(subject.kind).name
        schema_id = configured.get(name)
        if schema_id is None and registry is not None:
            schema_id = await subject.id_of(registry, subject.texts[name])
        if schema_id is None:
            mend = "name it in schema.ids, or set schema.registry_url and run `cxstream schemas register`"
            raise RegistryUnavailableError(f"{name} has no id: {mend}")
        ids[schema_id] = name
    return ids


def records_of(settings: Settings, schema_ids: Mapping[int, str]) -> Records:
    """Return what makes records of events as a configuration has it."""
    return Records(wall_ms, settings.kafka.topics.by_kind(), schema_ids, skew_ms=settings.policy().clock_skew_ms)


async def send(settings: Settings, records: Sequence[Record], partition: int | None) -> list[Sent]:
    """Send records to the configured brokers, and return where each is, in their order.

    Raises BrokersUnreachableError; WrongTopicsError if a topic of theirs is missing or has other partitions than
    configured; KafkaError. Nothing is sent then, but where a broker refuses or fails in the middle.
    """
    bootstrap, client = settings.kafka.bootstrap, connection_of(settings).client
    try:
        await reach(bootstrap, client)
    except ConnectError:
        raise
    except (KafkaError, OSError, TimeoutError) as error:
        raise BrokersUnreachableError(
            f"no broker of {bootstrap} could be reached ({str(error) or type(error).__name__}); {UNREACHABLE}"
        ) from error
    topics = dict.fromkeys(record.topic for record in records)
    await check_topics(bootstrap, client, topics, settings.kafka.partitions)
    async with AsyncProducer(bootstrap, client=client) as producer:
        return await producer.send_records(records, partition=partition)
