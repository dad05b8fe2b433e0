"""An Apache Kafka that workers reach through a proxy, which can hold their writes back as a full disk would."""

from __future__ import annotations

import asyncio
import contextlib
import struct
import threading
from collections.abc import Mapping
from pathlib import Path

from parts.apache_kafka import ApacheKafka, KafkaNode, Property
from parts.processes import free_port

PRODUCE = 0
"""The number of the request in Kafka's protocol."""
_CHUNK_BYTES = 64 * 1024

CLEANER: Mapping[str, Property] = {"log.cleaner.backoff.ms": 500}
"""Compaction within a second where a topic asks for it."""


class Proxy:
    """Passes bytes between clients and one broker; while `stall` is set no produce request gets through."""

    def __init__(self, port: int, to_port: int) -> None:
        """Listen on a port of 127.0.0.1 and connect to another, in a thread of its own."""
        self.port = port
        self._to_port = to_port
        self._loop = asyncio.new_event_loop()
        self._flows = asyncio.Event()
        self._flows.set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),), daemon=True)
        self._thread.start()
        self._ready.wait()

    def stall(self) -> None:
        """Hold every produce request back from now on; everything else passes."""
        self._loop.call_soon_threadsafe(self._flows.clear)

    def flow(self) -> None:
        """Let what was held back through."""
        self._loop.call_soon_threadsafe(self._flows.set)

    def close(self) -> None:
        """Stop listening and drop all connections."""
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._end = asyncio.Event()
        server = await asyncio.start_server(self._connect, "127.0.0.1", self.port, limit=_CHUNK_BYTES)
        self._ready.set()
        await self._end.wait()
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _connect(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        to_broker: asyncio.StreamWriter | None = None
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            broker, to_broker = await asyncio.open_connection("127.0.0.1", self._to_port, limit=_CHUNK_BYTES)
            ways = [
                asyncio.ensure_future(self._requests(client, to_broker)),
                asyncio.ensure_future(self._answers(broker, to_client)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        for writer in (to_client, to_broker):
            if writer is not None:
                writer.close()

    async def _requests(self, client: asyncio.StreamReader, to_broker: asyncio.StreamWriter) -> None:
        while True:
            size = await client.readexactly(4)
            request = await client.readexactly(struct.unpack(">i", size)[0])
            if struct.unpack_from(">h", request)[0] == PRODUCE:
                await self._flows.wait()
            to_broker.write(size + request)
            await to_broker.drain()

    async def _answers(self, broker: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        while chunk := await broker.read(_CHUNK_BYTES):
            to_client.write(chunk)
            await to_client.drain()


class ProxiedKafka(ApacheKafka):
    """Apache Kafka with a second listener per broker, which it advertises as the proxy in front of it."""

    def __init__(
        self, brokers: int = 1, properties: Mapping[str, Property] | None = None, *, folder: Path | None = None
    ) -> None:
        """Prepare as ApacheKafka does; the proxies listen at once."""
        super().__init__(brokers, {**CLEANER, **(properties or {})}, folder=folder)
        self._behind = {node.number: free_port() for node in self.nodes}
        self.proxies = [Proxy(free_port(), self._behind[node.number]) for node in self.nodes]

    @property
    def proxied(self) -> str:
        """The addresses of the proxies, as `bootstrap_servers` takes them."""
        return ",".join(f"127.0.0.1:{proxy.port}" for proxy in self.proxies)

    def close(self) -> None:
        """End the brokers, then the proxies."""
        super().close()
        for proxy in self.proxies:
            proxy.close()

    def _settings(self, node: KafkaNode) -> dict[str, Property]:
        settings = super()._settings(node)
        proxy = self.proxies[node.number - 1]
        return settings | {
            "listeners": f"{settings['listeners']},PROXIED://127.0.0.1:{self._behind[node.number]}",
            "advertised.listeners": f"{settings['advertised.listeners']},PROXIED://127.0.0.1:{proxy.port}",
            "listener.security.protocol.map": f"{settings['listener.security.protocol.map']},PROXIED:PLAINTEXT",
        }
