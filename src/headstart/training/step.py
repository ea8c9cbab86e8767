"""One optimiser step: forward, loss, gradient, update; in as many parts as the memory asks for."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from headstart import console
from headstart.errors import RunError
from headstart.model import ranks
from headstart.model.memory import is_out_of_memory
from headstart.training.recipes import Recipe
from headstart.training.regression import likeliest

WARM_UP = 0.1  # part of all steps, with the cosine schedule

Groups = Sequence[dict[str, object]]


class Stepper:
    """An optimiser over a network, with the recipe's loss and schedule.

    Args:
        recipe: Optimiser, schedule, loss.
        groups: Parameter groups with ``name``, ``params``, ``lr`` and ``weight_decay``.
        forward: Inputs -> logits [B, C].
        total_steps: Of the whole training; the schedule's length.
        micro_batch: Pictures per forward and backward pass; None: all of a step at once.
        rate_scale: Further factor of all learning rates.
        rates: Of a step (counted from 0) / those of the groups; None: by the recipe's schedule.
        alone: A context in which gradients are not yet exchanged between processes.
        class_weights: Factor of a picture's loss by its class, float32 [C] on its device, 1 on average over
            the pictures; None: 1. The sum over a step is divided by its pictures, not by their weights:
            so an epoch's steps together have the gradient of the weighted mean.

    Attributes:
        micro_batch: As given, halved whenever the memory did not suffice.
    """

    def __init__(
        self,
        recipe: Recipe,
        groups: Groups,
        forward: Callable[[Tensor], Tensor],
        total_steps: int,
        *,
        micro_batch: int | None = None,
        rate_scale: float = 1.0,
        rates: Callable[[int], float] | None = None,
        alone: Callable[[], contextlib.AbstractContextManager[object]] = contextlib.nullcontext,
        class_weights: Tensor | None = None,
    ) -> None:
        self.recipe = recipe
        self.forward = forward
        self.micro_batch = micro_batch
        self.rates = rates or (lambda number: rate_factor(recipe, number, total_steps))
        self.alone = alone
        self.class_weights = class_weights
        self.optimizer = make_optimizer(recipe, groups)
        self._initial_rates = [float(group["lr"]) * rate_scale for group in self.optimizer.param_groups]

    def step(
        self, number: int, inputs: Tensor, targets: Tensor, pictures: int | None = None
    ) -> tuple[float, int]:
        """Step ``number``, counted from 0; returns the (weighted) sum of the losses and how many were right.

        Args:
            number: Of the step.
            inputs: Of this process.
            targets: The same: labels int64 [B], or probabilities [B, C].
            pictures: Of the step in all processes; None: those of this one are all.

        Raises:
            RunError: HS-RUN-011, the memory does not suffice for a single picture; HS-RUN-031, nor, with
                several processes, for this one's part of a step.
        """
        pictures = len(targets) if pictures is None else pictures
        self.set_rates(number)
        while True:
            try:
                loss_sum, correct = self._gradient(inputs, targets, pictures)
                break
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if ranks.size() > 1:  # the others wait for this one's gradient of just these pictures
                    raise RunError(
                        "HS-RUN-031",
                        f"The memory does not suffice for {len(targets)} pictures in process {ranks.rank()}.",
                        fix="Choose a smaller --img-size, --batch-size or --model, or start more processes.",
                    ) from error
            # Outside of the block above: the exception holds the memory of the failed pass.
            self._halve(len(targets))
        self.optimizer.step()
        loss_sum, right = ranks.summed(loss_sum, correct)
        return loss_sum, int(right)

    def _gradient(self, inputs: Tensor, targets: Tensor, pictures: int) -> tuple[float, int]:
        """The gradient of the loss over all pictures, one part after the other.

        Every process goes through the same number of parts, the first ones without pictures where it has
        fewer; gradients are exchanged at the last one.
        """
        self.optimizer.zero_grad(set_to_none=True)
        largest = math.ceil(pictures / ranks.size())
        size = self.micro_batch or largest
        parts = list(zip(torch.split(inputs, size), torch.split(targets, size), strict=True))
        missing = math.ceil(largest / size) - len(parts)
        parts = [(inputs[:0], targets[:0])] * missing + parts
        # The exchange takes the mean over the processes; the loss is divided by the pictures of all.
        divisor = (1 if self.recipe.loss == "sum" else pictures) / ranks.size()
        loss_sum, correct = 0.0, 0
        for number, (part, truth) in enumerate(parts, 1):
            with contextlib.nullcontext() if number == len(parts) else self.alone():
                logits = self.forward(part)
                losses = nn.functional.cross_entropy(logits.float(), truth, reduction="none")
                if self.class_weights is not None:
                    losses = losses * self.class_weights[likeliest(truth)]
                loss = losses.sum() / divisor
                loss.backward()  # type: ignore[no-untyped-call]
            loss_sum += float(losses.detach().sum())
            correct += int((logits.detach().argmax(1) == likeliest(truth)).sum())
        return loss_sum, correct

    def _halve(self, batch: int) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        if torch.accelerator.is_available():
            torch.accelerator.empty_cache()
        before = min(self.micro_batch or batch, batch)
        if before == 1:
            raise RunError(
                "HS-RUN-011",
                "The memory does not suffice to train on a single picture.",
                fix="Choose a smaller --img-size or --model, or freeze more: --freeze head.",
            )
        self.micro_batch = before // 2
        console.warn(
            f"out of memory: {self.micro_batch} instead of {before} pictures at a time from now on, "
            f"still {batch} per step"
            + ("; BatchNorm sees the smaller number" if self.recipe.batch_norm == "train" else "")
        )

    def set_rates(self, number: int) -> None:
        """The learning rates of step ``number``, counted from 0."""
        factor = self.rates(number)
        for group, rate in zip(self.optimizer.param_groups, self._initial_rates, strict=True):
            group["lr"] = rate * factor

    def rate_of(self, part: str) -> float:
        """Current rate of the backbone's or the head's groups; 0 if that part does not train."""
        groups = self.optimizer.param_groups
        return max((group["lr"] for group in groups if str(group["name"]).startswith(part)), default=0.0)


def make_optimizer(recipe: Recipe, groups: Groups) -> torch.optim.Optimizer:
    """The recipe's optimiser over parameter groups that carry their own rates and decays."""
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=recipe.momentum, lr=recipe.lr)
    return torch.optim.AdamW(groups, lr=recipe.lr)


def rate_factor(recipe: Recipe, step: int, total_steps: int) -> float:
    """Learning rate of a step (counted from 0) / initial rate: constant, or linear warm-up then cosine to 0
    (Loshchilov and Hutter, "SGDR", ICLR 2017)."""
    if recipe.schedule == "constant":
        return 1.0
    warm_up = max(1, round(WARM_UP * total_steps))
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, total_steps - warm_up)))
