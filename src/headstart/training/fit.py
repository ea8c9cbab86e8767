"""The training loop: batch, loss, gradient, step; after each epoch a row, and the best one is kept.

Read this page first. What moves, from where it starts and on which pictures was decided before
(`headstart.training.plan`); here it only happens.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from headstart import console
from headstart.errors import RunError
from headstart.training.batches import Batches
from headstart.training.recipes import Recipe

WARM_UP = 0.1  # part of all steps, with the cosine schedule


@dataclass(frozen=True)
class Epoch:
    """One row of ``results.csv``. Accuracies are fractions 0-1, losses mean cross-entropies in nats."""

    epoch: int
    """0: the model before the first step, such as the probe."""
    stage: str
    train_loss: float
    train_accuracy: float
    val_loss: float
    """On the selection part; on the reported part where nothing is selected (recipe d2l)."""
    val_accuracy: float
    lr_backbone: float
    lr_head: float
    images_per_second: float
    """Training pictures per second of the epoch, loading included, evaluation not."""
    seconds: float
    """Of the epoch, evaluation included."""


EpochHook = Callable[[Epoch], object]
Scores = tuple[float, float]  # loss, accuracy


@dataclass(frozen=True)
class Fitted:
    """How training went.

    Attributes:
        epochs: One row each, in order.
        kept: Number of the epoch whose weights the network now has.
        interrupted: Whether Ctrl-C ended it early.
        diverged: Whether a loss that is not finite ended it early.
    """

    epochs: tuple[Epoch, ...]
    kept: int
    interrupted: bool = False
    diverged: bool = False


def fit(
    network: nn.Module,
    batches: Batches,
    recipe: Recipe,
    groups: Sequence[dict[str, object]],
    *,
    forward: Callable[[Tensor], Tensor],
    evaluate: Callable[[], Scores],
    on_epoch: EpochHook,
    before: Epoch | None = None,
    stage: str = "finetune",
) -> Fitted:
    """Trains ``network`` and leaves it with the weights that were best.

    Args:
        network: The part that trains; modules in it that are frozen stay as they are.
        batches: Inputs and labels of each epoch.
        recipe: Optimiser, schedule, number of epochs, what to keep.
        groups: Parameter groups with ``name``, ``params``, ``lr`` and ``weight_decay``.
        forward: The network under the number format of this run, inputs -> logits [B, C].
        evaluate: Loss and accuracy as the network is now, on the pictures that choose the epoch; both nan
            where there are none.
        on_epoch: Called with each row.
        before: The row of the model as it comes in, if that is worth keeping: it is kept where no epoch is
            better, or, where nothing is selected, where none comes to its end.
        stage: Name of this stage in the rows.

    Raises:
        RunError: HS-RUN-010, the loss is not finite and there is no earlier model to keep.
    """
    optimizer = make_optimizer(recipe, groups)
    initial_rates = [float(group["lr"]) for group in optimizer.param_groups]
    total_steps = recipe.epochs * batches.steps
    selects = recipe.selection > 0
    rows: list[Epoch] = []
    best, best_state = before, copy_of(network) if before is not None else None
    interrupted = diverged = False
    step = 0

    try:
        for number in range(1, recipe.epochs + 1):
            network.train(recipe.batch_norm == "train")
            started = time.perf_counter()
            loss_sum, correct, seen = 0.0, 0, 0
            with console.progress(
                batches.steps, f"{stage} epoch {number}/{recipe.epochs}", "batches"
            ) as advance:
                for inputs, labels in batches.epoch(number):
                    set_rates(optimizer, initial_rates, rate_factor(recipe, step, total_steps))
                    logits = forward(inputs)
                    losses = nn.functional.cross_entropy(logits.float(), labels, reduction="none")
                    loss = losses.sum() if recipe.loss == "sum" else losses.mean()
                    optimizer.zero_grad(set_to_none=True)
                    loss.backward()  # type: ignore[no-untyped-call]
                    optimizer.step()

                    step += 1
                    seen += len(labels)
                    loss_sum += float(losses.detach().sum())
                    correct += int((logits.detach().argmax(1) == labels).sum())
                    if not math.isfinite(loss_sum):
                        raise DivergedError(step, optimizer.param_groups)
                    advance(1)

            trained = time.perf_counter() - started
            val_loss, val_accuracy = evaluate()
            if math.isfinite(val_accuracy) and not math.isfinite(val_loss):
                raise DivergedError(step, optimizer.param_groups)
            row = Epoch(
                epoch=number,
                stage=stage,
                train_loss=loss_sum / seen,
                train_accuracy=correct / seen,
                val_loss=val_loss,
                val_accuracy=val_accuracy,
                lr_backbone=rate_of(optimizer, "backbone"),
                lr_head=rate_of(optimizer, "head"),
                images_per_second=seen / trained,
                seconds=time.perf_counter() - started,
            )
            rows.append(row)
            if not selects or is_better(row, best):
                best, best_state = row, copy_of(network)
            on_epoch(row)
    except KeyboardInterrupt:
        interrupted = True
        if best_state is None:
            raise
    except DivergedError as error:
        diverged = True
        if best_state is None:
            raise RunError(
                "HS-RUN-010",
                f"The loss is not finite at step {error.step}: the learning rate is too high.",
                where=f"learning rates {', '.join(f'{rate:g}' for rate in error.rates)}",
                fix="Train again with a smaller --lr.",
            ) from None
        console.warn(f"the loss is not finite at step {error.step}: stopped, the best model before is kept")

    assert best is not None and best_state is not None
    network.load_state_dict(best_state)
    network.eval()
    return Fitted(tuple(rows), best.epoch, interrupted, diverged)


def is_better(row: Epoch, best: Epoch | None) -> bool:
    """The rule that chooses an epoch: higher accuracy on the selection part; equal: lower loss; equal: the
    earlier one."""
    if best is None:
        return True
    return (row.val_accuracy, -row.val_loss) > (best.val_accuracy, -best.val_loss)


class DivergedError(Exception):
    """The loss is no finite number."""

    def __init__(self, step: int, groups: Sequence[dict[str, object]]) -> None:
        super().__init__(step)
        self.step = step
        self.rates = sorted({float(str(group["lr"])) for group in groups})


def make_optimizer(recipe: Recipe, groups: Sequence[dict[str, object]]) -> torch.optim.Optimizer:
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


def set_rates(optimizer: torch.optim.Optimizer, initial: Sequence[float], factor: float) -> None:
    for group, rate in zip(optimizer.param_groups, initial, strict=True):
        group["lr"] = rate * factor


def rate_of(optimizer: torch.optim.Optimizer, part: str) -> float:
    """Current rate of the backbone's or the head's groups; 0 if that part does not train."""
    rates = [group["lr"] for group in optimizer.param_groups if str(group["name"]).startswith(part)]
    return max(rates, default=0.0)


def copy_of(network: nn.Module) -> dict[str, Tensor]:
    """The network's tensors, detached from it."""
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
