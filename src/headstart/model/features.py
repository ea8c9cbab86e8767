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

BATCH_SIZE = 32


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
        [n, ...] on the CPU, in the format's storage type (float32 at the head), channels last if 4-d.
    """
    below = model.below(cut)
    storage = torch.float32 if model.cut_name(cut) == HEAD else fmt.storage
    batches = [list(items[i : i + BATCH_SIZE]) for i in range(0, len(items), BATCH_SIZE)]

    def batch_of(indices: list[int]) -> NDArray[np.float32]:
        return preprocess.normalize(np.stack([view(int(i)) for i in indices]))

    parts: list[Tensor] = []
    with evaluation_mode(model), torch.inference_mode(), fmt.autocast():
        for batch in prefetched(batch_of, batches, workers=workers, ahead=2 * workers):
            parts.append(below(fmt.inputs(batch)).to("cpu", storage))
            if advance is not None:
                advance(len(batch))
    # A copy outside of inference mode: these tensors take part in training.
    return torch.cat(parts).clone() if parts else torch.empty(0)


def features_above(model: Classifier, cut: str | int, inputs: Tensor, *, fmt: Format) -> Tensor:
    """Features float32 [n, D] of activations at ``cut`` [n, ...], in evaluation mode, on the CPU."""
    above = model.above(cut)
    with evaluation_mode(model), torch.inference_mode(), fmt.autocast():
        parts = [
            above.features(fmt.inputs(inputs[start : start + BATCH_SIZE])).float().cpu()
            for start in range(0, len(inputs), BATCH_SIZE)
        ]
    return torch.cat(parts).clone() if parts else torch.empty(0, model.num_features)
