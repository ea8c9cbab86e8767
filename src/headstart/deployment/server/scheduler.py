"""What all ways to answer pictures of concurrent requests share: how many are taken, and the end."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

from headstart.deployment.server.refusals import busy, draining

Item = TypeVar("Item")
Answer = TypeVar("Answer")
Result = TypeVar("Result")


class Scheduler(ABC, Generic[Item, Answer]):
    """Answers items, first come, first served.

    Args:
        queue: Items that may be under way before others are refused; a request is taken or refused whole.
    """

    def __init__(self, queue: int) -> None:
        self._queue = queue
        self._closed = False
        self.pending = 0
        """Items taken and not answered yet."""

    def check(self) -> None:
        """Whether items would be taken now.

        Raises:
            Refusal: HS-SERVE-030, too many are waiting; HS-SERVE-031, it is closed.
        """
        if self._closed:
            raise draining()
        if self.pending >= self._queue:
            raise busy("Too many pictures are waiting.")

    async def answers(self, items: Sequence[Item]) -> list[Answer | Exception]:
        """The outcome of each item, in order: an answer, or what was raised on the way to it.

        Cancelling drops what has not been begun yet.

        Raises:
            Refusal: as `check`.
        """
        with self._taken(len(items)):
            outcomes = await asyncio.gather(*self._begun(items), return_exceptions=True)
        return [one for one in outcomes if not isinstance(one, BaseException) or isinstance(one, Exception)]

    async def alone(self, function: Callable[[], Result]) -> Result:
        """Something else that needs the network; one at a time.

        Raises:
            Refusal: as `check`; and what the function raises.
        """
        with self._taken(1):
            return await self._errand(function)

    async def close(self) -> None:
        """Takes nothing more; returns when all that was taken is answered, and its threads have ended."""
        self._closed = True
        while self.pending:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(self._end)

    @abstractmethod
    def _begun(self, items: Sequence[Item]) -> Sequence[asyncio.Future[Answer]]:
        """An outcome to come for each item."""

    @abstractmethod
    def _errand(self, function: Callable[[], Result]) -> asyncio.Future[Result]:
        """The result to come of a function that runs alone."""

    @abstractmethod
    def _end(self) -> None:
        """Ends all threads. Nothing waits any more."""

    @contextlib.contextmanager
    def _taken(self, n: int) -> Iterator[None]:
        self.check()
        self.pending += n
        try:
            yield
        finally:
            self.pending -= n
