"""Pictures of concurrent requests, computed together: decoded by threads, put through the network in batches.

One thread runs the network. While it computes, what arrives is decoded and makes up the next batch; an idle
network takes a lone picture at once, and waits (a few ms) only for pictures that are being decoded already.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from headstart.deployment.server.refusals import busy, draining

WAIT_SECONDS = 0.005

Item = TypeVar("Item")
Ready = TypeVar("Ready")
Answer = TypeVar("Answer")
Result = TypeVar("Result")


class Batcher(Generic[Item, Ready, Answer]):
    """Answers items in order, in batches that cross requests.

    Used on one event loop; `close` ends its threads.

    Args:
        prepare: Of one item, in a thread of its own; what it raises is the outcome of this item alone.
        compute: Of a batch, in the one thread of the network. If it fails, each item is computed alone, and
            the error is the outcome of those that fail then.
        batch_size: Items per batch, at most.
        queue: Items that may be under way before others are refused; a request is taken or refused whole.
        workers: Threads that prepare.
        wait: Seconds that an idle network waits for items being prepared.
        on_batch: Called with the size of every batch.
    """

    def __init__(
        self,
        prepare: Callable[[Item], Ready],
        compute: Callable[[Sequence[Ready]], Sequence[Answer]],
        *,
        batch_size: int,
        queue: int,
        workers: int,
        wait: float = WAIT_SECONDS,
        on_batch: Callable[[int], object] = lambda size: None,
    ) -> None:
        self._prepare = prepare
        self._compute = compute
        self._batch_size = batch_size
        self._queue = queue
        self._wait = wait
        self._on_batch = on_batch
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="decode")
        self._network = ThreadPoolExecutor(1, thread_name_prefix="network")
        self._ready: deque[tuple[Ready, asyncio.Future[Answer]]] = deque()
        self._preparing = 0
        self._changed = asyncio.Event()
        self._closed = False
        self._loop: asyncio.Task[None] | None = None
        self.pending = 0
        """Items taken and not answered yet."""

    def check(self) -> None:
        """Whether items would be taken now.

        Raises:
            Refusal: HS-SERVE-030, too many are waiting; HS-SERVE-031, the batcher is closed.
        """
        if self._closed:
            raise draining()
        if self.pending >= self._queue:
            raise busy("Too many pictures are waiting.")

    async def answers(self, items: Sequence[Item]) -> list[Answer | Exception]:
        """The outcome of each item, in order: an answer, or what its preparation or computation raised.

        Cancelling drops what has not been computed yet.

        Raises:
            Refusal: as `check`.
        """
        with self._taken(len(items)):
            tasks = [asyncio.ensure_future(self._one(item)) for item in items]
            try:
                outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            except asyncio.CancelledError:
                for task in tasks:
                    task.cancel()
                raise
        for outcome in outcomes:
            if isinstance(outcome, BaseException) and not isinstance(outcome, Exception):
                raise outcome
        return outcomes  # type: ignore[return-value]

    async def alone(self, function: Callable[[], Result]) -> Result:
        """Something else that needs the network, in its thread, between two batches.

        Raises:
            Refusal: as `check`; and what the function raises.
        """
        with self._taken(1):
            return await asyncio.get_running_loop().run_in_executor(self._network, function)

    async def close(self) -> None:
        """Takes nothing more; returns when all that was taken is answered."""
        self._closed = True
        while self.pending:
            self._changed.set()
            await asyncio.sleep(0.01)
        if self._loop is not None:
            self._loop.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._loop
        self._threads.shutdown(cancel_futures=True)
        self._network.shutdown(cancel_futures=True)

    @contextlib.contextmanager
    def _taken(self, n: int) -> Iterator[None]:
        self.check()
        self.pending += n
        if self._loop is None:
            self._loop = asyncio.ensure_future(self._batches())
        try:
            yield
        finally:
            self.pending -= n

    async def _one(self, item: Item) -> Answer:
        loop = asyncio.get_running_loop()
        self._preparing += 1
        try:
            ready = await loop.run_in_executor(self._threads, self._prepare, item)
        finally:
            self._preparing -= 1
            self._changed.set()
        answer: asyncio.Future[Answer] = loop.create_future()
        self._ready.append((ready, answer))
        return await answer

    async def _batches(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._collected()
            batch: list[tuple[Ready, asyncio.Future[Answer]]] = []
            while self._ready and len(batch) < self._batch_size:
                entry = self._ready.popleft()
                if not entry[1].done():  # its request has been given up
                    batch.append(entry)
            if not batch:
                continue
            self._on_batch(len(batch))
            outcomes = await loop.run_in_executor(self._network, self._computed, [r for r, _ in batch])
            for (_, answer), outcome in zip(batch, outcomes, strict=True):
                if answer.done():
                    continue
                if isinstance(outcome, Exception):
                    answer.set_exception(outcome)
                else:
                    answer.set_result(outcome)

    async def _collected(self) -> None:
        """Returns when a batch should be computed."""
        while not self._ready:
            await self._change()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._wait):
                while self._preparing and len(self._ready) < self._batch_size:
                    await self._change()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _computed(self, batch: list[Ready]) -> Sequence[Answer | Exception]:
        try:
            answers = self._compute(batch)
            if len(answers) != len(batch):
                raise RuntimeError(f"{len(answers)} answers to a batch of {len(batch)}")
            return answers
        except Exception as error:
            if len(batch) == 1:
                return [error]
        return [outcome for one in batch for outcome in self._computed([one])]
