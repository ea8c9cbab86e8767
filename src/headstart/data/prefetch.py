"""Work that threads do ahead of the one who asks for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def prefetched(
    function: Callable[[Item], Result], items: Iterable[Item], *, workers: int, ahead: int
) -> Iterator[Result]:
    """``map(function, items)`` by threads, in order, with at most ``ahead`` results waiting.

    An exception of ``function`` is raised at its place in the order; nothing further is started then.
    """
    if workers < 1:
        yield from map(function, items)
        return
    source = iter(items)
    with ThreadPoolExecutor(workers, thread_name_prefix="pictures") as pool:
        waiting = deque(pool.submit(function, item) for item in islice(source, max(1, ahead)))
        try:
            while waiting:
                result = waiting.popleft().result()
                waiting.extend(pool.submit(function, item) for item in islice(source, 1))
                yield result
        finally:
            for future in waiting:
                future.cancel()
