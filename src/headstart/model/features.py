"""Activations of the frozen part, computed once: what lies above is trained on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headstart.data.preprocess import Pixels, Preprocess
from headstart.model.classifier import HEAD, Classifier
from headstart.model.forward import evaluation_mode, prefetched
from headstart.model.precision import Format

BATCH_SIZE = 8  # on a CPU, activations that fit into its cache; measured in decision 7
ACCELERATOR_BATCH_SIZE = 128


def activations(
    model: Classifier,
    cut: str | int,
    view: Callable[[int], Pixels],
    items: Sequence[int] | NDArray[np.int64],
    *,
    preprocess: Preprocess,
    fmt: Format,
    workers: int,
    advance: Callable[[int], object] | None = None,
) -> Tensor:
    """What leaves the part below ``cut``, in evaluation mode.

    Args:
        model: Lies on the device of ``fmt``.
        cut: A stage's name, or ``head``.
        view: uint8 [S, S, 3] of an item; called from threads.
        items: n items, such as indices of pictures.
        preprocess: Normalises the views.
        fmt: Number format.
        workers: Threads that make views.
        advance: Called with the number of items just done.

    Returns:
        [n, ...] on the CPU, in the format's storage type (float32 at the head), n >= 1.
    """
    below = model.below(cut)
    storage = torch.float32 if model.cut_name(cut) == HEAD else fmt.storage
    size = BATCH_SIZE if fmt.device == "cpu" else ACCELERATOR_BATCH_SIZE
    batches = [list(items[i : i + size]) for i in range(0, len(items), size)]

    def batch_of(indices: list[int]) -> NDArray[np.float32]:
        return preprocess.normalize(np.stack([view(int(i)) for i in indices]))

    kept = torch.empty(0)
    done = 0
    with evaluation_mode(model), torch.no_grad(), fmt.autocast():
        for batch in prefetched(batch_of, batches, workers=workers, ahead=4 * workers):
            computed = below(fmt.inputs(batch))
            if done == 0:  # one allocation: a list of parts would need twice the memory to join
                kept = torch.empty((len(items), *computed.shape[1:]), dtype=storage)
            kept[done : done + len(batch)] = computed.to("cpu", storage)
            done += len(batch)
            if advance is not None:
                advance(len(batch))
    return kept


def features_above(model: Classifier, cut: str | int, inputs: Tensor, *, fmt: Format) -> Tensor:
    """Features float32 [n, D] of activations at ``cut`` [n, ...], in evaluation mode, on the CPU."""
    above = model.above(cut)
    with evaluation_mode(model), torch.no_grad(), fmt.autocast():
        parts = [
            above.features(fmt.inputs(inputs[start : start + BATCH_SIZE])).float().cpu()
            for start in range(0, len(inputs), BATCH_SIZE)
        ]
    return torch.cat(parts) if parts else torch.empty(0, model.num_features)
