"""The input size, chosen by what the linear probe makes of the training pictures at several sizes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

SIZE_STEP = 32  # pixels; networks halve their input five times
LARGER = (8 / 7, 9 / 7, 10 / 7)  # 256, 288 and 320 pixels for 224


@dataclass(frozen=True)
class Sized:
    """The probe at one size.

    Attributes:
        img_size: Side of the square input, pixels.
        loss: Its mean log loss on pictures that it did not see (out of fold), nats.
        accuracy: Of the same answers, 0-1.
        seconds: What the size cost to measure.
    """

    img_size: int
    loss: float
    accuracy: float
    seconds: float


def sizes_to_try(own: int) -> tuple[int, ...]:
    """The source model's own input size, and larger ones that it can take, pixels.

    Networks answer best at sizes somewhat above that of their training (Touvron et al., "Fixing the
    train-test resolution discrepancy", NeurIPS 2019).
    """
    larger = {round(own * factor / SIZE_STEP) * SIZE_STEP for factor in LARGER}
    return tuple(sorted({own} | {size for size in larger if size > own}))


def best_size(sizes: Sequence[int], measure: Callable[[int], Sized | None]) -> tuple[int | None, list[Sized]]:
    """The size with the lowest loss, of equal ones the smallest; None where no loss is a number.

    Args:
        sizes: In rising order.
        measure: The probe at one of them; None where the network cannot take it.
    """
    found: list[Sized] = []
    for size in sizes:
        if (sized := measure(size)) is None:
            continue
        found.append(sized)
        if not math.isfinite(sized.loss):
            return None, found
    return min(found, key=lambda sized: (sized.loss, sized.img_size)).img_size, found
