"""Pictures of concurrent requests, each answered by one thread."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from headstart.deployment.server.pool import Pool
from headstart.deployment.server.refusals import Refusal


class Work:
    """Doubles numbers, in threads that can be held up."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.threads: set[int] = set()
        self.gate = threading.Event()
        self.gate.set()

    def answer(self, item: int) -> int:
        self.begun.append(item)
        self.threads.add(threading.get_ident())
        assert self.gate.wait(10)
        time.sleep(0.002 * (item % 3))  # so that they end in another order than they began
        if item < 0:
            raise ValueError(f"item {item}")
        return 2 * item

    def alive(self) -> list[str]:
        return [t.name for t in threading.enumerate() if t.ident in self.threads]


@pytest.fixture
def work() -> Work:
    return Work()


def pool(work: Work, *, queue: int = 100, workers: int = 3) -> Pool[int, int]:
    return Pool(work.answer, queue=queue, workers=workers)


async def until(condition) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


def test_answers_come_in_the_order_of_the_items(work) -> None:
    async def scenario() -> None:
        served = pool(work)
        first, second = await asyncio.gather(served.answers(range(20)), served.answers(range(100, 107)))
        assert first == [2 * i for i in range(20)]
        assert second == [2 * i for i in range(100, 107)]
        await served.close()

    asyncio.run(scenario())
    assert len(work.threads) == 3


def test_who_comes_first_is_answered_first(work) -> None:
    async def scenario() -> None:
        served = pool(work, workers=1)
        work.gate.clear()
        asked = [asyncio.ensure_future(served.answers([i, 10 + i])) for i in range(4)]
        await until(lambda: served.pending == 8)
        work.gate.set()
        await asyncio.gather(*asked)
        await served.close()

    asyncio.run(scenario())
    assert work.begun == [0, 10, 1, 11, 2, 12, 3, 13]


def test_pictures_are_answered_side_by_side(work) -> None:
    async def scenario() -> None:
        served = pool(work)
        work.gate.clear()
        asked = asyncio.ensure_future(served.answers(range(5)))
        await until(lambda: len(work.begun) == 3)
        assert work.begun == [0, 1, 2]
        work.gate.set()
        assert await asked == [0, 2, 4, 6, 8]
        await served.close()

    asyncio.run(scenario())


def test_a_fault_is_the_outcome_of_its_item_alone(work) -> None:
    async def scenario() -> list[int | Exception]:
        served = pool(work)
        outcomes = await served.answers([1, -7, 2])
        assert served.pending == 0
        await served.close()
        return outcomes

    first, fault, last = asyncio.run(scenario())
    assert (first, last) == (2, 4)
    assert isinstance(fault, ValueError) and str(fault) == "item -7"


def test_too_many_are_refused_as_a_whole_and_taken_again_later(work) -> None:
    async def scenario() -> None:
        served = pool(work, queue=3)
        work.gate.clear()
        taken = asyncio.ensure_future(served.answers(range(5)))  # an empty queue takes a request of any size
        await until(lambda: work.begun)
        with pytest.raises(Refusal) as refused:
            await served.answers([9])
        assert (refused.value.status, refused.value.code) == (429, "HS-SERVE-030")
        work.gate.set()
        assert await taken == [2 * i for i in range(5)]
        assert await served.answers([9]) == [18]
        await served.close()

    asyncio.run(scenario())
    assert work.begun.count(9) == 1


def test_a_request_that_is_given_up_is_not_begun(work) -> None:
    async def scenario() -> None:
        served = pool(work, workers=1)
        work.gate.clear()
        first = asyncio.ensure_future(served.answers([0]))
        await until(lambda: work.begun)
        second = asyncio.ensure_future(served.answers([10, 11, 12]))
        await until(lambda: served.pending == 4)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert served.pending == 1
        third = asyncio.ensure_future(served.answers([20]))
        work.gate.set()
        assert await first == [0] and await third == [40]
        await served.close()

    asyncio.run(scenario())
    assert work.begun == [0, 20]


def test_closing_finishes_what_was_taken_and_refuses_the_rest(work) -> None:
    async def scenario() -> list[int | Exception]:
        served = pool(work)
        work.gate.clear()
        taken = asyncio.ensure_future(served.answers(range(9)))
        await until(lambda: work.begun)
        closing = asyncio.ensure_future(served.close())
        await asyncio.sleep(0)
        with pytest.raises(Refusal) as refused:
            await served.answers([1])
        assert (refused.value.status, refused.value.code) == (503, "HS-SERVE-031")
        assert not closing.done()
        work.gate.set()
        await closing
        return await taken

    assert asyncio.run(scenario()) == [2 * i for i in range(9)]
    assert not work.alive()


def test_other_work_runs_one_at_a_time_and_keeps_no_picture_waiting(work) -> None:
    running: list[int] = []
    most: list[int] = []
    gate = threading.Event()

    def errand() -> int:
        running.append(1)
        most.append(len(running))
        assert gate.wait(10)
        running.pop()
        return 5

    async def scenario() -> None:
        served = pool(work, workers=1, queue=4)
        errands = [asyncio.ensure_future(served.alone(errand)) for _ in range(3)]
        await until(lambda: running)
        assert await served.answers([4]) == [8]
        assert served.pending == 3
        gate.set()
        assert await asyncio.gather(*errands) == [5, 5, 5]
        await served.close()

    asyncio.run(scenario())
    assert most == [1, 1, 1]
