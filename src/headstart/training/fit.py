"""The training loop: batch, loss, gradient, step; after each epoch a row, and the best one is kept.

Read this page first. What moves, from where it starts and on which pictures was decided before
(`headstart.training.plan`); here it only happens.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from headstart import console
from headstart.errors import RunError
from headstart.training.batches import Batches
from headstart.training.checkpoint import Checkpoint, Saved, State
from headstart.training.progress import Epoch, EpochHook, Progress
from headstart.training.recipes import Recipe

__all__ = ["Epoch", "EpochHook", "Fitted", "fit"]

WARM_UP = 0.1  # part of all steps, with the cosine schedule


Scores = tuple[float, float]  # loss, accuracy


@dataclass(frozen=True)
class Fitted:
    """How training went.

    Attributes:
        epochs: One row each, in order.
        best: The row of the epoch whose weights the network now has, measured with these weights.
        share: Of these weights in the network's; below 1, the rest is as it came in (see `interpolations`).
        interrupted: Whether Ctrl-C ended it early.
    """

    epochs: tuple[Epoch, ...]
    best: Epoch
    share: float = 1.0
    interrupted: bool = False

    @property
    def kept(self) -> int:
        """Number of the epoch."""
        return self.best.epoch


def fit(
    network: nn.Module,
    batches: Batches,
    recipe: Recipe,
    groups: Sequence[dict[str, object]],
    *,
    forward: Callable[[Tensor], Tensor],
    evaluate: Callable[[], Scores],
    on_epoch: EpochHook,
    on_best: EpochHook | None = None,
    before: Epoch | None = None,
    stage: str = "finetune",
    checkpoint: Checkpoint | None = None,
    saved: Saved | None = None,
) -> Fitted:
    """Trains ``network`` and leaves it with the weights that were best.

    Args:
        network: The part that trains; modules in it that are frozen stay as they are.
        batches: Inputs and labels of each epoch.
        recipe: Optimiser, schedule, number of epochs, interpolation, what to keep.
        groups: Parameter groups with ``name``, ``params``, ``lr`` and ``weight_decay``.
        forward: The network under the number format of this run, inputs -> logits [B, C].
        evaluate: Loss and accuracy as the network is now, on the pictures that choose the epoch; both nan
            where there are none.
        on_epoch: Called with each row.
        on_best: Called before that, if the epoch is the best so far: while the network still has its weights.
        before: The row of the model as it comes in, if that is worth keeping: it is kept where nothing is
            better, or, where nothing is selected, where no epoch comes to its end.
        stage: Name of this stage in the rows.
        checkpoint: Where to save from time to time.
        saved: The checkpoint to go on from.

    Raises:
        RunError: HS-RUN-010, the loss is not finite and there is no earlier model to keep.
    """
    optimizer = make_optimizer(recipe, groups)
    initial_rates = [float(group["lr"]) for group in optimizer.param_groups]
    total_steps = recipe.epochs * batches.steps
    selects = recipe.selection > 0
    progress, best_state = Progress(before=before, best=before), copy_of(network)
    start = best_state if before is not None else None
    if saved is not None:
        saved.restore(network, optimizer)
        progress, start, best_state = saved.progress, saved.state("start"), saved.state("best") or best_state
    share, interrupted = 1.0, False

    try:
        while progress.epoch <= recipe.epochs:
            number = progress.epoch
            network.train(recipe.batch_norm == "train")
            started = time.perf_counter() - progress.seconds
            with console.progress(
                batches.steps, f"{stage} epoch {number}/{recipe.epochs}", "batches"
            ) as advance:
                advance(progress.batches)
                for inputs, labels in batches.epoch(number, progress.batches):
                    step = (number - 1) * batches.steps + progress.batches
                    set_rates(optimizer, initial_rates, rate_factor(recipe, step, total_steps))
                    logits = forward(inputs)
                    losses = nn.functional.cross_entropy(logits.float(), labels, reduction="none")
                    loss = losses.sum() if recipe.loss == "sum" else losses.mean()
                    optimizer.zero_grad(set_to_none=True)
                    loss.backward()  # type: ignore[no-untyped-call]
                    optimizer.step()

                    progress.batches += 1
                    progress.seen += len(labels)
                    progress.loss_sum += float(losses.detach().sum())
                    progress.correct += int((logits.detach().argmax(1) == labels).sum())
                    if not math.isfinite(progress.loss_sum):
                        raise DivergedError(step + 1, optimizer.param_groups)
                    advance(1)
                    if checkpoint is not None and checkpoint.due():
                        progress.seconds = time.perf_counter() - started
                        checkpoint.save(network, optimizer, progress, {"start": start, "best": best_state})

            trained = time.perf_counter() - started
            step = number * batches.steps  # behind the epoch, also where it was done before a checkpoint
            set_rates(optimizer, initial_rates, rate_factor(recipe, step - 1, total_steps))
            val_loss, val_accuracy = evaluate()
            if math.isfinite(val_accuracy) and not math.isfinite(val_loss):
                raise DivergedError(step, optimizer.param_groups)
            row = Epoch(
                epoch=number,
                stage=stage,
                train_loss=progress.loss_sum / progress.seen,
                train_accuracy=progress.correct / progress.seen,
                val_loss=val_loss,
                val_accuracy=val_accuracy,
                lr_backbone=rate_of(optimizer, "backbone"),
                lr_head=rate_of(optimizer, "head"),
                images_per_second=progress.seen / trained,
                seconds=time.perf_counter() - started,
            )
            progress.finish(row)
            if not selects or is_better(row, progress.best):
                progress.best, best_state = row, copy_of(network)
                if on_best is not None:
                    on_best(row)
            on_epoch(row)
        if selects and start is not None and recipe.interpolation:
            last, progress.best, best_state = progress.rows[-1], before, start
            for row, state, part in interpolations(network, start, last, recipe.interpolation, evaluate):
                if is_better(row, progress.best):
                    progress.best, best_state, share = row, state, part
    except KeyboardInterrupt:
        interrupted = True
        if progress.best is None:
            raise
    except DivergedError as error:
        if progress.best is None:
            raise RunError(
                "HS-RUN-010",
                f"The loss is not finite at step {error.step}: the learning rate is too high.",
                where=f"learning rates {', '.join(f'{rate:g}' for rate in error.rates)}",
                fix="Train again with a smaller --lr.",
            ) from None
        console.warn(f"the loss is not finite at step {error.step}: stopped, the best model before is kept")

    assert progress.best is not None
    network.load_state_dict(best_state)
    network.eval()
    return Fitted(tuple(progress.rows), progress.best, share, interrupted)


def interpolations(
    network: nn.Module, start: State, row: Epoch, shares: Sequence[float], evaluate: Callable[[], Scores]
) -> Iterator[tuple[Epoch, State, float]]:
    """Weights between those at the start and those now, and these themselves, with their scores.

    WiSE-FT: Wortsman et al., "Robust Fine-Tuning of Zero-Shot Models", CVPR 2022. A handful of candidates, of
    which the last epochs' small steps made the last: to choose among all epochs by few pictures chooses
    noise (decision 9).

    Args:
        network: Has the weights of the last epoch.
        start: Those before the first one.
        row: Of the last epoch.
        shares: Of the last epoch's weights, above 0 and up to 1.
        evaluate: Loss and accuracy of the network as it is.
    """
    end = copy_of(network)
    for share in shares:
        state = {
            name: torch.lerp(start[name], tensor, share) if tensor.is_floating_point() else tensor
            for name, tensor in end.items()
        }
        network.load_state_dict(state)
        loss, accuracy = evaluate()
        yield dataclasses.replace(row, val_loss=loss, val_accuracy=accuracy), state, share


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


def copy_of(network: nn.Module) -> State:
    """The network's tensors, detached from it."""
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
