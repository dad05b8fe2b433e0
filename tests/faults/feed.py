"""A live upstream in a thread: what a company's systems write while things go wrong, with all that makes feeds hard.

Facts come late, twice, in transactions that commit and in transactions that abort (their cases must never exist), with
records between them that cannot become facts. Every event is handed to the truth before it is handed to Kafka.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from random import Random

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from cxstream.demo.upstream import DAY, MINUTE, SECOND, Delivery, Upstream
from parts.figures import wall_ms
from parts.poison import an_opening, poison_of
from parts.producer import Job, Message

from .truth import Truth

TICK_SECONDS = 0.25
PATIENCE_SECONDS = 60.0
"""To wait for what is on its way to the brokers."""
TRANSACTION_SECONDS = 15
"""After which the coordinator aborts a transaction by itself."""
LATE_RATIO, LATE_MS = 0.03, (2 * SECOND, 20 * SECOND)
TWICE_RATIO = 0.03
TRANSACTION_RATIO, POISON_RATIO = 0.25, 0.05
"""Of the ticks (transactions by twos: one that is aborted, one that is committed)."""
HISTORY_DAYS = 40
WARM_MS = 10 * MINUTE


class Feed:
    """Writes a history of forty days, then live events until it is stopped; pause it to let workers come to rest."""

    def __init__(self, job: Job, truth: Truth, seed: int, *, cases_per_second: float, history_per_day: float) -> None:
        """Prepare; nothing is written yet."""
        self._job = job
        self._truth = truth
        self._dice = Random(f"{seed}/feed")
        now_ms = wall_ms()

        def rate(at_ms: int) -> float:
            if at_ms >= now_ms:
                return cases_per_second * 86_400
            return cases_per_second / 4 * 86_400 if at_ms >= now_ms - WARM_MS else history_per_day

        self._upstream = Upstream(
            seed, now_ms - HISTORY_DAYS * DAY, cases_per_day=rate, busy_from_ms=now_ms - WARM_MS, prefix=f"S{seed}-"
        )
        self._history = list(self._upstream.events(now_ms))
        self._held: list[tuple[int, Delivery]] = []
        self.silent: frozenset[str] = frozenset()
        """Topics whose systems write nothing at the moment; what they have to say comes later."""
        self.poison_ratio: float | None = None
        """Share of the ticks with a poisonous record, if not the usual one."""
        self.poisons = 0
        """Records written that cannot become facts."""
        self.ghosts = 0
        """Events written in transactions that were aborted."""
        self._open_transaction = threading.Event()
        self._wanted = threading.Event()
        self._resting = threading.Event()
        self._ending = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def write_history(self) -> None:
        """Write everything that was delivered before now, as a trusted adapter would, and wait for the brokers."""
        for delivery in self._history:
            self._truth.take(delivery)
        self._job.deliver(self._history)
        self._thread.start()

    def resume(self) -> None:
        """Write live events from now on."""
        self._wanted.set()

    def pause(self) -> None:
        """Stop writing and return when the brokers have acknowledged everything; raises what went wrong."""
        self._wanted.clear()
        self._resting.clear()
        rested = self._resting.wait(PATIENCE_SECONDS)
        if self._failure is not None:
            raise self._failure
        if not rested:
            raise TimeoutError(f"the brokers did not acknowledge within {PATIENCE_SECONDS:g} s")

    def stop(self) -> None:
        """End the thread."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join(PATIENCE_SECONDS)

    def open_transaction(self) -> None:
        """Leave every next transaction open: nobody who reads committed gets past it until it is closed."""
        self._open_transaction.set()

    def close_transaction(self) -> None:
        """Commit transactions at once again, the one that is open too."""
        self._open_transaction.clear()

    # --- in the thread

    def _run(self) -> None:
        try:
            asyncio.run(self._write_live())
        except BaseException as failure:  # noqa: BLE001 - raised again by pause
            self._failure = failure
            self._resting.set()

    async def _write_live(self) -> None:
        sender = _Sender(self._job)
        try:
            while not self._ending.is_set():
                if self._wanted.is_set():
                    await self._tick(sender)
                else:
                    await sender.commit()
                    self._resting.set()
                await asyncio.sleep(TICK_SECONDS)
        finally:
            await sender.close()

    async def _tick(self, sender: _Sender) -> None:
        deliveries = self._due(wall_ms())
        if self._dice.random() < (POISON_RATIO if self.poison_ratio is None else self.poison_ratio):
            await sender.send([self._poison()])
        for delivery in deliveries:
            self._truth.take(delivery)
        messages = [self._job.message(delivery) for delivery in deliveries]
        if self._open_transaction.is_set() or self._dice.random() < TRANSACTION_RATIO:
            await sender.abort(self._ghosts())
            await sender.commit_with(messages)
            if not self._open_transaction.is_set():
                await sender.commit()
        else:
            await sender.commit()
            await sender.send(messages)

    def _due(self, now_ms: int) -> list[Delivery]:
        """Return what is delivered at this instant: new events, some of them twice, and those that were held back."""
        due = [delivery for at_ms, delivery in self._held if at_ms <= now_ms and delivery.topic not in self.silent]
        self._held = [held for held in self._held if held[0] > now_ms or held[1].topic in self.silent]
        for delivery in self._upstream.events(now_ms):
            is_late = self._dice.random() < LATE_RATIO
            if is_late or delivery.topic in self.silent:
                self._held.append((now_ms + (self._dice.randint(*LATE_MS) if is_late else 0), delivery))
            else:
                due.append(delivery)
            if self._dice.random() < TWICE_RATIO:
                self._held.append((now_ms + self._dice.randint(*LATE_MS), delivery))
        self._dice.shuffle(due)
        return [delivery._replace(delivered_ms=now_ms) for delivery in due]

    def _poison(self) -> Message:
        """Return a record that cannot become a fact; nothing in it may ever be counted."""
        self.poisons += 1
        kinds = poison_of(self._job.codec, wall_ms())
        del kinds["too_large"]  # a fact, where the limit is not as low
        key, value, headers = kinds[self._dice.choice(sorted(kinds))]
        return Message(self._job.topics["ticket"], key, value, headers, self._dice.randrange(self._job.partitions))

    def _ghosts(self) -> list[Message]:
        """Return events of cases that were never committed."""
        count = self._dice.randint(1, 5)
        self.ghosts += count
        now_ms = wall_ms()
        names = (f"ghost-{self._dice.getrandbits(48):x}" for _ in range(count))
        return [self._job.message(Delivery(now_ms, "ticket", an_opening(name, now_ms))) for name in names]


class _Sender:
    """Two producers, one of them transactional; whatever the brokers do, what is to be committed gets there."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._plain: AIOKafkaProducer | None = None
        self._transactional: AIOKafkaProducer | None = None
        self._uncommitted: list[Message] = []
        self._abandoned = 0

    async def send(self, messages: Iterable[Message]) -> None:
        """Produce, again and again until acknowledged: facts that arrive twice are counted once."""
        messages = list(messages)
        while messages:
            try:
                if self._plain is None:
                    self._plain = await self._started()
                await _send(self._plain, messages)
            except (KafkaError, OSError, TimeoutError):
                await self._drop(self._plain)
                self._plain = None
            else:
                return

    async def abort(self, messages: Iterable[Message]) -> None:
        """Produce in a transaction and abort it, unless one is open."""
        if self._uncommitted:
            return
        try:
            producer = await self._begun()
            await _send(producer, messages)
            await producer.abort_transaction()
        except (KafkaError, OSError, TimeoutError):
            # Another transactional id: what this one left, and may still write, must not be committed with what comes
            # next. The coordinator aborts it when its time is over.
            await self._drop(self._transactional)
            self._transactional = None
            self._abandoned += 1

    async def commit_with(self, messages: Sequence[Message]) -> None:
        """Produce in a transaction, which stays open."""
        try:
            producer = await self._begun() if not self._uncommitted else self._transactional
            self._uncommitted += messages
            await _send(producer, messages)
        except (KafkaError, OSError, TimeoutError):
            await self._send_anyway(messages)

    async def commit(self) -> None:
        """Commit the open transaction, if there is one."""
        if self._transactional is not None and self._transactional._txn_manager.is_in_transaction():
            try:
                await self._transactional.commit_transaction()
            except (KafkaError, OSError, TimeoutError):
                await self._send_anyway([])
        self._uncommitted.clear()

    async def close(self) -> None:
        """Stop both producers."""
        await self._drop(self._plain)
        await self._drop(self._transactional)

    async def _send_anyway(self, messages: Sequence[Message]) -> None:
        """Write without a transaction what a failed one held: it may have been committed or not."""
        await self._drop(self._transactional)
        self._transactional = None
        again = [*self._uncommitted, *(one for one in messages if one not in self._uncommitted)]
        self._uncommitted.clear()
        await self.send(again)

    async def _begun(self) -> AIOKafkaProducer:
        if self._transactional is None:
            name = f"{self._job.group}-feed-{self._abandoned}"
            self._transactional = await self._started(
                transactional_id=name, transaction_timeout_ms=TRANSACTION_SECONDS * 1000
            )
        await self._transactional.begin_transaction()
        return self._transactional

    async def _started(self, **options: str | int) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._job.bootstrap, acks="all", linger_ms=2, enable_idempotence=True, **options
        )
        try:
            await asyncio.wait_for(producer.start(), PATIENCE_SECONDS / 2)
        except BaseException:
            await self._drop(producer)
            raise
        return producer

    async def _drop(self, producer: AIOKafkaProducer | None) -> None:
        if producer is not None:
            with suppress(Exception):
                await asyncio.wait_for(producer.stop(), 5)


async def _send(producer: AIOKafkaProducer, messages: Iterable[Message]) -> None:
    sent = [
        await producer.send(topic, value, key, partition=partition, headers=list(headers))
        for topic, key, value, headers, partition in messages
    ]
    await asyncio.wait_for(asyncio.gather(*sent), PATIENCE_SECONDS / 2)
