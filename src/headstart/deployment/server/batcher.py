"""Pictures of concurrent requests, computed together: decoded by threads, put through the network in batches.

One thread runs the network. While it computes, what arrives is decoded and makes up the next batch, which it
takes itself, without waiting for the event loop. An idle network takes a lone picture at once, and waits (a
few ms) only for pictures that are being decoded already.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from headstart.deployment.server.scheduler import Answer, Item, Result, Scheduler

WAIT_SECONDS = 0.005

Ready = TypeVar("Ready")


@dataclass(frozen=True, eq=False)
class Promise:
    """An outcome to come, for a request on an event loop."""

    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop

    @property
    def dropped(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.future.done()


class Batcher(Scheduler[Item, Answer], Generic[Item, Ready, Answer]):
    """Answers items in order, in batches that cross requests.

    Args:
        prepare: Of one item, in a thread of its own; what it raises is the outcome of this item alone.
        compute: Of a batch, in the one thread of the network. If it fails, each item is computed alone, and
            the error is the outcome of those that fail then.
        batch_size: Items per batch, at most.
        queue: As for `Scheduler`.
        workers: Threads that prepare.
        wait: Seconds that an idle network waits for items being prepared.
        on_batch: Called with the size of every batch, in the thread of the network.
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
        super().__init__(queue)
        self._prepare = prepare
        self._compute = compute
        self._batch_size = batch_size
        self._wait = wait
        self._on_batch = on_batch
        self._changed = threading.Condition()  # guards the next four
        self._ready: deque[tuple[Ready, Promise]] = deque()
        self._errands: deque[tuple[Callable[[], Any], Promise]] = deque()
        self._preparing = 0
        self._ended = False
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="decode")
        self._network = threading.Thread(target=self._run, name="network", daemon=True)
        self._network.start()

    def _begun(self, items: Sequence[Item]) -> Sequence[asyncio.Future[Answer]]:
        promises = [self._promise() for _ in items]
        with self._changed:
            self._preparing += len(items)
        for item, promise in zip(items, promises, strict=True):
            self._threads.submit(self._prepared, item, promise)
        return [one.future for one in promises]

    def _errand(self, function: Callable[[], Result]) -> asyncio.Future[Result]:
        promise = self._promise()
        with self._changed:
            self._errands.append((function, promise))
            self._changed.notify()
        return promise.future

    def _end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._network.join()
        self._threads.shutdown(cancel_futures=True)

    def _promise(self) -> Promise:
        loop = asyncio.get_running_loop()
        return Promise(loop.create_future(), loop)

    # --- in the threads that prepare ---

    def _prepared(self, item: Item, promise: Promise) -> None:
        entry, fault = None, None
        if not promise.dropped:
            try:
                entry = (self._prepare(item), promise)
            except Exception as error:
                fault = error
        with self._changed:
            self._preparing -= 1
            if entry is not None:
                self._ready.append(entry)
            self._changed.notify()
        if fault is not None:
            settle([(promise, fault)])

    # --- in the thread of the network ---

    def _run(self) -> None:
        while True:
            errands, batch = self._next()
            if not errands and not batch:
                return
            for function, promise in errands:
                outcome: Any
                try:
                    outcome = function()
                except Exception as error:
                    outcome = error
                settle([(promise, outcome)])
            waited_for = [(ready, promise) for ready, promise in batch if not promise.dropped]
            if waited_for:
                self._on_batch(len(waited_for))
                outcomes = self._computed([ready for ready, _ in waited_for])
                settle([(promise, one) for (_, promise), one in zip(waited_for, outcomes, strict=True)])

    def _next(self) -> tuple[list[tuple[Callable[[], Any], Promise]], list[tuple[Ready, Promise]]]:
        """What is to be computed now; nothing at the end."""
        with self._changed:
            while not (self._ready or self._errands or self._ended):
                self._changed.wait()
            last = time.monotonic() + self._wait
            while (
                self._preparing
                and not self._errands
                and len(self._ready) < self._batch_size
                and (left := last - time.monotonic()) > 0
            ):
                self._changed.wait(left)
            errands = list(self._errands)
            self._errands.clear()
            size = min(self._batch_size, len(self._ready))
            return errands, [self._ready.popleft() for _ in range(size)]

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


def settle(outcomes: Sequence[tuple[Promise, Any]]) -> None:
    """Tells those who wait, from any thread."""

    def tell() -> None:
        for promise, outcome in outcomes:
            if promise.dropped:
                continue
            if isinstance(outcome, Exception):
                promise.future.set_exception(outcome)
            else:
                promise.future.set_result(outcome)

    if outcomes:
        with contextlib.suppress(RuntimeError):  # the loop has ended, and all who waited
            outcomes[0][0].loop.call_soon_threadsafe(tell)
