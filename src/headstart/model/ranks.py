"""The processes that compute together: how work is dealt out among them, and how results come together.

With a single process all of this does nothing and costs nothing. Work is dealt out in whole batches, so each
row is computed in the same batch, with the same bits, on any number of processes.
"""

from __future__ import annotations

import contextlib
import gc
import inspect
import itertools
import json
import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn

from headstart.launch import place

PATIENCE = timedelta(days=1)  # for the others; one that dies is noticed at once, as its connection ends
START_UP = 600.0  # seconds for the first process to get ready
ATTEMPT = timedelta(seconds=2)
MESSAGE = 64 * 2**20  # bytes that each process sends at a time

T = TypeVar("T")

_stop_asked = False
_meetings = itertools.count()  # of one process: in all of them in the same order


def active() -> bool:
    """Whether there are several processes."""
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if active() else 0


def size() -> int:
    """How many there are."""
    return dist.get_world_size() if active() else 1


def is_first() -> bool:
    """Whether this process is the one that writes and prints."""
    return rank() == 0


@contextlib.contextmanager
def process_group() -> Iterator[None]:
    """Connects the processes that torch's launcher started: NCCL between GPUs, gloo between processors."""
    with_gpus = torch.cuda.is_available() and dist.is_nccl_available()
    if with_gpus:
        torch.cuda.set_device(place().local_rank % torch.cuda.device_count())
    here = place()
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if with_gpus else "gloo",
        store=meeting_place(),
        rank=here.rank,
        world_size=here.size,
        timeout=PATIENCE,
    )
    try:
        yield
        wait()  # nobody leaves before the last result has arrived
    finally:
        dist.destroy_process_group()
        gc.collect()  # its threads end with it; at the end of the interpreter they would abort the process


def meeting_place() -> Any:
    """Where the processes find each other: a store that the first one opens anew at each restart.

    The launcher's own one still has the addresses of the processes before (PyTorch's issue 135712).
    """
    from torch.distributed import TCPStore, rendezvous  # type: ignore[attr-defined]

    launchers, number, _ = next(rendezvous("env://"))
    host, key = os.environ["MASTER_ADDR"], f"headstart: port of meeting {next(_meetings)}"
    if number == 0:
        store = TCPStore(host, 0, is_master=True, wait_for_workers=False, timeout=PATIENCE)
        launchers.set(key, str(store.port))
        return store
    give_up = time.monotonic() + START_UP
    while True:
        port = int(launchers.get(key))
        try:
            store = TCPStore(host, port, is_master=False, wait_for_workers=False, timeout=ATTEMPT)
        except (dist.DistError, RuntimeError):  # that of a process which has ended
            if time.monotonic() > give_up:
                raise
            time.sleep(0.2)
            continue
        store.set_timeout(PATIENCE)
        return store


def wait() -> None:
    """Returns when every process has come here."""
    if active():
        dist.all_reduce(torch.zeros(1))


@contextlib.contextmanager
def first_of_node() -> Iterator[None]:
    """The first process of each machine goes through the block before its others do."""
    if active() and place().local_rank > 0:
        wait()
    yield
    if active() and place().local_rank == 0:
        wait()


# --- values --------------------------------------------------------------------------------------------


def agreed(value: T) -> T:
    """The first process' value, everywhere: what JSON can hold, lists for tuples."""
    if not active():
        return value
    received: T = json.loads(agreed_bytes(json.dumps(value).encode()))
    return received


def agreed_bytes(content: bytes) -> bytes:
    """The first process' bytes, everywhere."""
    if not active():
        return content
    length = torch.tensor([len(content)])
    dist.broadcast(length, 0)
    buffer = torch.empty(int(length), dtype=torch.uint8)
    if is_first():
        buffer.numpy()[:] = np.frombuffer(content, np.uint8)
    dist.broadcast(buffer, 0)
    return buffer.numpy().tobytes()


def summed(*values: float) -> tuple[float, ...]:
    """Sums over all processes."""
    if not active():
        return values
    total = torch.tensor(values, dtype=torch.float64)
    dist.all_reduce(total)
    return tuple(total.tolist())


def all_have(flags: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which of the flags are set in every process."""
    if not active():
        return flags
    least = torch.from_numpy(flags.astype(np.uint8))
    dist.all_reduce(least, dist.ReduceOp.MIN)
    return least.numpy().astype(bool)


def agree_tensors(module: nn.Module, *, buffers_only: bool = False) -> None:
    """Gives every process the first one's parameters and buffers."""
    if active():
        with torch.no_grad():
            for tensor in module.buffers() if buffers_only else module.state_dict().values():
                own = tensor.detach().cpu().contiguous()
                dist.broadcast(own, 0)
                tensor.copy_(own)


# --- rows ----------------------------------------------------------------------------------------------


def dealt(n: int, batch_size: int, of_rank: int | None = None) -> NDArray[np.int64]:
    """Which of n rows a process computes: whole batches in turn, the first one to the first process."""
    number = rank() if of_rank is None else of_rank
    batches = np.arange(n) // batch_size
    return np.flatnonzero(batches % size() == number).astype(np.int64)


def gathered(rows: NDArray[Any], n: int, batch_size: int) -> NDArray[Any]:
    """All n rows in their order, in every process.

    Args:
        rows: Those that were `dealt` to this process; without any, their shape and dtype do not matter.
    """
    if not active() or n == 0:
        return rows
    shape = agreed(list(rows.shape[1:]))
    kind = np.dtype(agreed(rows.dtype.str))
    row_bytes = math.prod(shape) * kind.itemsize
    places = [dealt(n, batch_size, number) for number in range(size())]
    own = np.ascontiguousarray(rows).view(np.uint8).reshape(-1, row_bytes) if len(rows) else None
    result = np.empty((n, row_bytes), np.uint8)
    step = max(1, MESSAGE // row_bytes)
    for start in range(0, len(places[0]), step):  # the first process has as many as any
        length = min(step, len(places[0]) - start)
        sent = torch.zeros(length, row_bytes, dtype=torch.uint8)
        part = None if own is None else own[start : start + length]
        if part is not None:
            sent.numpy()[: len(part)] = part
        received = [torch.empty_like(sent) for _ in range(size())]
        dist.all_gather(received, sent)
        for here, tensor in zip(places, received, strict=True):
            there = here[start : start + length]
            result[there] = tensor.numpy()[: len(there)]
    whole: NDArray[Any] = result.view(kind).reshape(n, *shape)
    return whole


def own_part(start: int, stop: int) -> tuple[int, int]:
    """This process' part of a training batch start..stop; the first ones have one picture more."""
    each, more = divmod(stop - start, size())
    begin = start + rank() * each + min(rank(), more)
    return begin, begin + each + (rank() < more)


# --- training ------------------------------------------------------------------------------------------


class Share(nn.Module):
    """A network that also takes part in steps in which this process has no picture."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.whole_batch = any(isinstance(m, nn.SyncBatchNorm) for m in network.modules())

    def forward(self, inputs: Tensor) -> Tensor:
        if len(inputs) or self.whole_batch:  # the statistics of a batch need every process
            logits: Tensor = self.network(inputs)
            return logits
        trained = (p.sum() for p in self.network.parameters() if p.requires_grad)
        return (sum(trained, torch.zeros((), device=inputs.device)) * 0).expand(0, 1)


class Together:
    """Forward passes of a network whose gradients are the mean over all processes (torch's DDP).

    Args:
        network: Gets the first process' weights.
    """

    def __init__(self, network: nn.Module) -> None:
        device = next(network.parameters()).device
        parallel: Any = nn.parallel.DistributedDataParallel
        names = inspect.signature(parallel).parameters  # torch 2.15 has another name for it
        buffers = "forward_sync_buffers" if "forward_sync_buffers" in names else "broadcast_buffers"
        self._parallel = parallel(
            Share(network),
            device_ids=[device] if device.type == "cuda" else None,
            **{buffers: False},  # `agree_tensors` does it before they are used
        )

    def __call__(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self._parallel(inputs)
        return logits

    def alone(self) -> contextlib.AbstractContextManager[Any]:
        """Gradients computed inside the block stay in this process until the next pass outside of it."""
        return self._parallel.no_sync()  # type: ignore[no-any-return]


# --- stopping ------------------------------------------------------------------------------------------


@contextlib.contextmanager
def stops_together() -> Iterator[None]:
    """Inside the block, Ctrl-C and SIGTERM to any process end all of them at the same step."""
    global _stop_asked
    _stop_asked = False
    if not active() or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, frame: object) -> None:
        ask_to_stop()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ask_to_stop() -> None:
    """Ends training in all processes before the next step."""
    global _stop_asked
    _stop_asked = True


def any_says(flag: bool) -> bool:
    """Whether one of the processes says yes.

    Raises:
        KeyboardInterrupt: One of them was interrupted: in all at once.
    """
    if not active():
        return flag
    yes, stop = summed(flag, _stop_asked)
    if stop:
        raise KeyboardInterrupt
    return yes > 0


def is_lost_connection(error: BaseException) -> bool:
    """Whether another process has ended while this one waited for it."""
    if isinstance(error, dist.DistError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(word in text for word in ("gloo", "nccl", "connection"))
