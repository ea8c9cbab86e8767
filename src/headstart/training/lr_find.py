"""The learning rate from a short sweep over rates, before the first step: ``--lr find``.

The learning rate range test of L. Smith ("Cyclical Learning Rates for Training Neural Networks", WACV 2017):
the rate rises from step to step until the loss does. Chosen is a third of the rate at which the smoothed loss
is lowest (decision 13 weighs the rules).
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from headstart import console
from headstart.model import ranks
from headstart.training.batches import Batches
from headstart.training.recipes import Recipe
from headstart.training.rehearsal import as_before
from headstart.training.step import Groups, Stepper

STEPS = 60
LOWEST, HIGHEST = 1 / 100, 100.0  # times the recipe's rate: 3e-6 to 3e-2 for 3e-4
SMOOTHING = 0.9  # of the mean of the losses before, per step
SETTLED = 6  # steps whose mean is the loss at the start
FALLS = 0.9  # of that: a smaller fall is noise
PART = 1 / 3  # of the rate with the lowest loss
FEW_STEPS = 3  # per epoch: below, each picture is seen twenty times and more
DIVERGED = 4.0  # times the loss at the start: the sweep ends (fastai: times the lowest)
NEXT_TO_NOTHING = 0.1  # nats: a loss below says how hard the pictures of a batch were, no more


@dataclass(frozen=True)
class Point:
    """A step of the sweep: a row of ``lr-find.csv``.

    Attributes:
        step: Counted from 1.
        lr: Rate of the backbone, or what it would be where only the head trains.
        lr_head: Rate of the head.
        loss: Mean cross-entropy (nats) of the step's pictures, before it was taken.
        smoothed: Mean of the losses so far; those further back count less.
    """

    step: int
    lr: float
    lr_head: float
    loss: float
    smoothed: float


@dataclass(frozen=True)
class Sweep:
    """What a sweep found.

    Attributes:
        points: Its steps.
        lr: The rate, with three digits; None where the curve tells none.
        warnings: What speaks against it, for a person.
    """

    points: tuple[Point, ...]
    lr: float | None
    warnings: tuple[str, ...] = ()


def sweep(
    network: nn.Module,
    batches: Batches,
    recipe: Recipe,
    groups: Groups,
    *,
    forward: Callable[[Tensor], Tensor],
    micro_batch: int | None = None,
    alone: Callable[[], contextlib.AbstractContextManager[object]] = contextlib.nullcontext,
    class_weights: Tensor | None = None,
) -> list[Point]:
    """Steps at rising rates on training pictures; network and random numbers are afterwards as before.

    Args:
        network: The part that trains.
        batches: Inputs and labels, as many epochs as the steps take, the last one in part.
        recipe: Optimiser and loss; its rates are the middle of the sweep.
        groups: As for `TrainingLoop`, with the recipe's rates.
        forward: As for `TrainingLoop`.
        micro_batch: As for `TrainingLoop`.
        alone: As for `TrainingLoop`.
        class_weights: As for `Stepper`.

    Raises:
        RunError: HS-RUN-011 and -031, as `Stepper.step`.
        KeyboardInterrupt: Ctrl-C, here or in another process.
    """
    found: list[Point] = []
    stepper = Stepper(
        recipe,
        groups,
        forward,
        STEPS,
        micro_batch=micro_batch,
        rates=factor_of,
        alone=alone,
        class_weights=class_weights,
    )
    with as_before(network), console.progress(STEPS, "learning rates", "steps") as advance:
        network.train(recipe.batch_norm == "train")
        smooth = Smooth()
        for number, (inputs, labels, pictures) in enumerate(itertools.islice(endless(batches), STEPS)):
            ranks.any_says(False)
            loss_sum, _ = stepper.step(number, inputs, labels, pictures)
            lr = recipe.lr * factor_of(number)
            loss = loss_sum / pictures
            smoothed = smooth(loss)
            found.append(Point(number + 1, lr, lr * recipe.head_lr_factor, loss, smoothed))
            advance(1)
            if diverged(found):
                break
    return found


def factor_of(number: int) -> float:
    """Rate of a step, counted from 0 / the recipe's rate."""
    return float(LOWEST * (HIGHEST / LOWEST) ** (number / (STEPS - 1)))


def diverged(points: Sequence[Point]) -> bool:
    """Whether the loss has left its valley for good."""
    last, start = points[-1].smoothed, start_of(points)
    return not math.isfinite(last) or last > DIVERGED * max(start, NEXT_TO_NOTHING)


def start_of(points: Sequence[Point]) -> float:
    """The loss before the rates have changed much: that of the first pictures alone would be chance."""
    return points[min(SETTLED, len(points)) - 1].smoothed


def endless(batches: Batches) -> Iterator[tuple[Tensor, Tensor, int]]:
    """Batches of one epoch after the other, each with its pictures in all processes."""
    for epoch in itertools.count(1):
        for number, (inputs, labels) in enumerate(batches.epoch(epoch)):
            yield inputs, labels, batches.pictures(number)


class Smooth:
    """Exponential moving average that is not drawn to its start (as Adam corrects it)."""

    def __init__(self) -> None:
        self._sum = self._weight = 0.0

    def __call__(self, value: float) -> float:
        self._sum = SMOOTHING * self._sum + (1 - SMOOTHING) * value
        self._weight = SMOOTHING * self._weight + (1 - SMOOTHING)
        return self._sum / self._weight


def chosen(points: Sequence[Point], recipe: Recipe, steps_per_epoch: int) -> Sweep:
    """The rate that the curve of a sweep tells, rounded to three digits.

    Args:
        points: The sweep.
        recipe: Whose rate stays where it tells none.
        steps_per_epoch: So many steps see each picture once.
    """
    warnings = []
    if steps_per_epoch < FEW_STEPS:
        warnings.append(
            f"few pictures: the sweep went {len(points) / steps_per_epoch:.0f} times over the same ones, so "
            "that its loss says more of learning by heart than of the rate"
        )
    lowest = min(points[SETTLED - 1 :], key=lambda point: rank(point.smoothed), default=points[-1])
    start = start_of(points)
    if not lowest.smoothed < FALLS * start:
        warnings.append(
            f"the loss of the sweep never falls below {FALLS * start:.3g}: it tells no rate, and the "
            f"recipe's {recipe.lr:g} stays"
        )
        return Sweep(tuple(points), None, tuple(warnings))
    return Sweep(tuple(points), float(f"{PART * lowest.lr:.3g}"), tuple(warnings))


def rank(loss: float) -> float:
    """What is no number is worse than any."""
    return loss if math.isfinite(loss) else math.inf
