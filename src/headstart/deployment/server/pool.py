"""Pictures of concurrent requests, each answered by one thread from its bytes to the end, side by side.

For networks that keep one core busy with one picture: nobody waits for a batch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from headstart.deployment.server.scheduler import Answer, Item, Result, Scheduler


class Pool(Scheduler[Item, Answer]):
    """Answers items in the order in which they came, so many at a time as there are threads.

    Args:
        answer: Of one item; what it raises is the outcome of this item alone.
        queue: As for `Scheduler`.
        workers: Threads.
    """

    def __init__(self, answer: Callable[[Item], Answer], *, queue: int, workers: int) -> None:
        super().__init__(queue)
        self._answer = answer
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="answer")
        self._errands = ThreadPoolExecutor(1, thread_name_prefix="errand")

    def _begun(self, items: Sequence[Item]) -> Sequence[asyncio.Future[Answer]]:
        loop = asyncio.get_running_loop()
        return [loop.run_in_executor(self._threads, self._answer, item) for item in items]

    def _errand(self, function: Callable[[], Result]) -> asyncio.Future[Result]:
        return asyncio.get_running_loop().run_in_executor(self._errands, function)

    def _end(self) -> None:
        self._threads.shutdown()
        self._errands.shutdown()
