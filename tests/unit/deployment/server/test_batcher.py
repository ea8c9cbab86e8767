"""Pictures of concurrent requests in common batches."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence

import pytest

from headstart.deployment.server.batcher import Batcher
from headstart.deployment.server.refusals import Refusal


class Steps:
    """Preparation that adds 1 and a computation that doubles, with faults on demand."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.prepared: list[int] = []
        self.threads: set[str] = set()
        self.idents: set[int | None] = set()
        self.gate = threading.Event()
        self.gate.set()
        self.poisoned: set[int] = set()

    def prepare(self, item: int) -> int:
        self.prepared.append(item)
        self.idents.add(threading.get_ident())
        time.sleep(0.002 * (item % 3))  # so that they end in another order than they began
        if item < 0:
            raise ValueError(f"item {item}")
        return item + 1

    def alive(self) -> list[str]:
        return [t.name for t in threading.enumerate() if t.ident in self.idents]

    def compute(self, batch: Sequence[int]) -> list[int]:
        self.threads.add(threading.current_thread().name)
        self.idents.add(threading.get_ident())
        self.batches.append(list(batch))
        self.gate.wait(10)
        if self.poisoned & set(batch):
            raise RuntimeError("poisoned")
        return [2 * one for one in batch]


@pytest.fixture
def steps() -> Steps:
    return Steps()


def batcher(steps: Steps, *, batch_size: int = 4, queue: int = 100, wait: float = 0.05) -> Batcher:
    return Batcher(steps.prepare, steps.compute, batch_size=batch_size, queue=queue, workers=3, wait=wait)


async def until(condition) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


def test_answers_come_in_the_order_of_the_items(steps) -> None:
    async def scenario() -> None:
        served = batcher(steps)
        first, second = await asyncio.gather(served.answers(range(20)), served.answers(range(100, 107)))
        assert first == [2 * (i + 1) for i in range(20)]
        assert second == [2 * (i + 1) for i in range(100, 107)]
        await served.close()

    asyncio.run(scenario())
    assert max(map(len, steps.batches)) <= 4
    assert len(steps.threads) == 1


def test_concurrent_requests_share_a_batch(steps) -> None:
    async def scenario() -> None:
        served = batcher(steps, batch_size=8)
        assert await asyncio.gather(*(served.answers([i]) for i in range(8))) == [
            [2 * (i + 1)] for i in range(8)
        ]
        await served.close()

    asyncio.run(scenario())
    assert len(steps.batches) < 8


def test_a_lone_item_does_not_wait_for_others(steps) -> None:
    async def scenario() -> float:
        served = batcher(steps, wait=30)
        started = time.perf_counter()
        assert await served.answers([0]) == [2]
        seconds = time.perf_counter() - started
        await served.close()
        return seconds

    assert asyncio.run(scenario()) < 15


def test_what_cannot_be_prepared_spoils_no_other_item(steps) -> None:
    async def scenario() -> list:
        served = batcher(steps)
        outcomes = await served.answers([1, -7, 2])
        await served.close()
        return outcomes

    first, fault, last = asyncio.run(scenario())
    assert (first, last) == (4, 6)
    assert isinstance(fault, ValueError) and str(fault) == "item -7"


def test_a_batch_that_fails_is_computed_one_by_one(steps) -> None:
    steps.poisoned = {3}

    async def scenario() -> list:
        served = batcher(steps, batch_size=4)
        outcomes = await served.answers([0, 1, 2, 3])
        assert served.pending == 0
        again = await served.answers([5])
        await served.close()
        return [*outcomes, *again]

    outcomes = asyncio.run(scenario())
    assert outcomes[:2] == [2, 4] and outcomes[3:] == [8, 12]
    assert isinstance(outcomes[2], RuntimeError)


def test_too_many_are_refused_as_a_whole_and_taken_again_later(steps) -> None:
    async def scenario() -> None:
        served = batcher(steps, queue=3)
        steps.gate.clear()
        taken = asyncio.ensure_future(served.answers(range(5)))  # an empty queue takes a request of any size
        await until(lambda: steps.batches)
        with pytest.raises(Refusal) as refused:
            await served.answers([9])
        assert (refused.value.status, refused.value.code) == (429, "HS-SERVE-030")
        assert int(refused.value.headers["Retry-After"]) >= 1
        steps.gate.set()
        assert await taken == [2 * (i + 1) for i in range(5)]
        assert await served.answers([9]) == [20]
        await served.close()

    asyncio.run(scenario())
    assert 9 in steps.prepared and steps.prepared.count(9) == 1


def test_a_request_that_is_given_up_is_not_computed(steps) -> None:
    async def scenario() -> None:
        served = batcher(steps, batch_size=1)
        steps.gate.clear()
        first = asyncio.ensure_future(served.answers([0]))
        await until(lambda: steps.batches)
        second = asyncio.ensure_future(served.answers([10, 11, 12]))
        await until(lambda: {10, 11, 12} <= set(steps.prepared))
        await asyncio.sleep(0.05)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert served.pending == 1
        third = asyncio.ensure_future(served.answers([20]))
        steps.gate.set()
        assert await first == [2] and await third == [42]
        assert served.pending == 0
        await served.close()

    asyncio.run(scenario())
    assert steps.batches == [[1], [21]]


def test_closing_finishes_what_was_taken_and_refuses_the_rest(steps) -> None:
    async def scenario() -> list:
        served = batcher(steps)
        steps.gate.clear()
        taken = asyncio.ensure_future(served.answers(range(9)))
        await until(lambda: steps.batches)
        closing = asyncio.ensure_future(served.close())
        await asyncio.sleep(0)
        with pytest.raises(Refusal) as refused:
            await served.answers([1])
        assert (refused.value.status, refused.value.code) == (503, "HS-SERVE-031")
        steps.gate.set()
        await closing
        return await taken

    assert asyncio.run(scenario()) == [2 * (i + 1) for i in range(9)]
    assert not steps.alive()


def test_other_work_runs_in_the_thread_of_the_network(steps) -> None:
    async def scenario() -> str:
        served = batcher(steps)
        await served.answers([1])
        name = await served.alone(lambda: threading.current_thread().name)
        await served.close()
        return name

    assert {asyncio.run(scenario())} == steps.threads
