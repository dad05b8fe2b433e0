"""The composition of the ingress: settings become a server, its limits and its producer, until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import logging.config
import signal
from collections.abc import Mapping
from importlib.metadata import version

import prometheus_client

from cxstream.config import Settings
from cxstream.ingress.intake import Intake
from cxstream.ingress.limits import InFlight
from cxstream.ingress.metrics import Metrics
from cxstream.ingress.openapi import document
from cxstream.ingress.producing import MAX_EVENT_BYTES, Connection, Producing
from cxstream.ingress.reception import ANONYMOUS, Limits, Reception
from cxstream.ingress.server import Address, Server
from cxstream.kafka.codec import Codec
from cxstream.kafka.connection import server_tls
from cxstream.kafka.schemas import SchemaIds, Schemas
from cxstream.web.probes import LoopTick
from cxstream.worker import connection_of, logging_config, wall_ms

logger = logging.getLogger(__name__)


def main(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is begun. Raises ConnectError; OSError if it cannot listen."""
    logging.config.dictConfig(logging_config(settings))
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
    asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    ingress, kafka = settings.ingress, settings.kafka
    in_flight = InFlight(ingress.max_in_flight_bytes)
    producing = Producing(
        Connection(kafka.bootstrap, connection_of(settings).client),
        kafka.topics.by_kind(),
        in_flight,
        partitions=kafka.partitions,
        delivery_seconds=ingress.delivery_seconds,
    )
    loop_tick = LoopTick()
    metrics = Metrics(kafka.group, ingress.sources or (ANONYMOUS,), in_flight, version("cxstream"))
    reception = Reception(
        intake=intake_of(settings),
        delivery=producing,
        in_flight=in_flight,
        metrics=metrics,
        limits=limits_of(settings),
        tokens=ingress.sources,
        wall_ms=wall_ms,
    )
    server = Server(
        reception,
        document(version("cxstream")),
        Address(ingress.host, ingress.port, server_tls(ingress.cert_file, ingress.key_file, group="ingress.")),
        drain_seconds=ingress.delivery_seconds,
        tick_age_seconds=loop_tick.age_seconds,
    )
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    ticking = asyncio.create_task(loop_tick.run())
    producing.start()
    async with server:
        logger.info("listening on %s:%d", ingress.host, server.port)
        await stopped.wait()
    await producing.stop()
    ticking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await ticking


def intake_of(settings: Settings) -> Intake:
    """Return what judges events by a configuration, as its workers will."""
    schemas = Schemas.packaged()
    codec = Codec(
        schemas,
        SchemaIds(schemas, settings.schema.ids),
        skew_ms=settings.policy().clock_skew_ms,
        max_message_bytes=min(settings.limits.max_message_bytes, MAX_EVENT_BYTES),
    )
    ids = schema_ids(settings.schema.ids) if settings.ingress.framing == "registry" else {}
    return Intake(codec, ids, skew_ms=settings.policy().clock_skew_ms)


def schema_ids(configured: Mapping[int, str]) -> dict[str, int]:
    """Return by topic the id of the newest schema that has one; `configured` are names like `ticket/v1` by id."""
    newest: dict[str, tuple[int, int]] = {}
    for schema_id, name in configured.items():
        topic, _, number = name.partition("/v")
        newest[topic] = max(newest.get(topic, (0, 0)), (int(number), schema_id))
    return {topic: schema_id for topic, (_number, schema_id) in newest.items()}


def limits_of(settings: Settings) -> Limits:
    """Return the limits of requests."""
    ingress = settings.ingress
    return Limits(
        request_bytes=ingress.max_request_bytes,
        request_events=ingress.max_request_events,
        requests_at_once=ingress.max_requests_at_once,
        requests_per_second=ingress.requests_per_second,
        request_burst=ingress.request_burst,
        request_seconds=ingress.request_seconds,
    )
