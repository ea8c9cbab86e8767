"""What is tried out before the first step and leaves no trace in the network; compiling is one such thing."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from headstart import console
from headstart.model import ranks
from headstart.training.batches import Batches

REASON_WIDTH = 160  # letters of why compiling failed


@contextlib.contextmanager
def as_before(network: nn.Module) -> Iterator[None]:
    """Puts weights, buffers, mode, gradients and random numbers back after the block, to the byte."""
    state = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
    training = network.training
    try:
        with torch.random.fork_rng():
            yield
    finally:
        network.load_state_dict(state)
        network.train(training)
        network.zero_grad(set_to_none=True)


def compiled(
    network: nn.Module,
    batches: Batches,
    *,
    forward_of: Callable[[nn.Module], Callable[[Tensor], Tensor]],
    micro_batch: int,
    training: bool,
) -> nn.Module:
    """``network`` compiled by `torch.compile`, on the same parameters; itself, with a warning, if that fails.

    It is compiled here, for every size of a forward and backward pass, so that what fails does so before the
    first step, and in all processes.

    Args:
        network: The part that trains.
        batches: Its inputs; the first batch is looked at.
        forward_of: The forward pass of a network in this run's number format.
        micro_batch: Pictures per pass, at most.
        training: Whether BatchNorm trains.
    """
    started, why = time.perf_counter(), ""
    console.say("compiling what trains (torch.compile), which may take minutes")
    fast: nn.Module = network
    try:
        fast = torch.compile(network)  # type: ignore[assignment]
        forward = forward_of(fast)
        inputs, _ = next(iter(batches.epoch(1)))
        with as_before(network):
            network.train(training)
            for size in pass_sizes(batches, micro_batch):
                if size <= len(inputs):
                    forward(inputs[:size]).float().sum().backward()  # type: ignore[no-untyped-call]
    except Exception as error:  # a missing compiler, an operation that it does not know, a full disk
        why = f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), '')}"[:REASON_WIDTH]
    if ranks.any_says(bool(why)):
        console.warn(f"torch.compile failed: training goes on without it ({why or 'in another process'})")
        return network
    console.say(f"compiled in {time.perf_counter() - started:.0f} s: equal weights are promised without only")
    return fast


def pass_sizes(batches: Batches, micro_batch: int) -> list[int]:
    """Pictures of every forward and backward pass of an epoch in this process, the largest first."""
    sizes: set[int] = set()
    for number in range(batches.steps):
        start, stop = ranks.own_part(0, batches.pictures(number))
        whole, rest = divmod(stop - start, micro_batch)
        sizes |= {micro_batch} if whole else set()
        sizes |= {rest} if rest else set()
    return sorted(sizes, reverse=True)
