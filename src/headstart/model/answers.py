"""What a network makes of pictures, whatever computes it: logits, features, probabilities. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headstart.errors import ModelError

Floats = NDArray[np.float64]


class Answers(NamedTuple):
    """What a network makes of n pictures in one pass: logits float32 [n, C] and features float32 [n, D]."""

    logits: NDArray[np.float32]
    features: NDArray[np.float32]


def batched(
    answer: Callable[[NDArray[np.float32]], Answers],
    arrays: Iterable[NDArray[np.float32]],
    *,
    batch_size: int,
    always_full: bool = False,
) -> Iterator[Answers]:
    """What ``answer`` makes of normalised pictures float32 [3, S, S], batch by batch, in order.

    A short last batch after a full one is filled up with zeros, which are computed and dropped: all
    pictures pass through a batch of one size, so their order does not change any bit of the result.

    Args:
        answer: Of a batch float32 [b, 3, S, S].
        arrays: The pictures.
        batch_size: b, at least 1.
        always_full: Fill up a short first batch, too: there are full ones elsewhere.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    source = iter(arrays)
    full_before = always_full
    while batch := list(islice(source, batch_size)):
        yield together(answer, batch, batch_size if full_before else 0)
        full_before = True


def together(
    answer: Callable[[NDArray[np.float32]], Answers], arrays: Sequence[NDArray[np.float32]], size: int = 0
) -> Answers:
    """What ``answer`` makes of pictures float32 [3, S, S], n >= 1, in one batch.

    Args:
        answer: Of a batch float32 [b, 3, S, S].
        arrays: The pictures.
        size: A smaller batch is filled up with zeros to so many pictures.
    """
    stacked = np.stack(arrays)
    if len(arrays) < size:
        padding = np.zeros((size - len(arrays), *stacked.shape[1:]), dtype=stacked.dtype)
        stacked = np.concatenate((stacked, padding))
    logits, features = answer(stacked)
    return Answers(logits[: len(arrays)], features[: len(arrays)])


def finite(answers: Answers) -> Answers:
    """The same, if all logits are finite.

    Raises:
        ModelError: HS-MODEL-050.
    """
    if not np.isfinite(answers.logits).all():
        raise ModelError(
            "HS-MODEL-050",
            "The network answers with values that are not finite.",
            fix="Its training diverged: train again with a smaller --lr.",
        )
    return answers


def softmax(logits: NDArray[np.float32], temperature: float = 1.0) -> Floats:
    """Probabilities float64 [n, C] of logits [n, C]; rows sum to 1."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    exponentials = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))
