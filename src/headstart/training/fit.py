"""The training loop: batch, loss, gradient, step; after each epoch a row, and the best one is kept.

Read this page first. What moves, from where it starts and on which pictures was decided before
(`headstart.training.plan`); here it only happens.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from headstart import console
from headstart.data.listing import listed
from headstart.errors import RunError
from headstart.model import ranks
from headstart.training.batches import Batches
from headstart.training.checkpoint import Checkpoint, Saved, State
from headstart.training.progress import Epoch, EpochHook, Progress
from headstart.training.recipes import Recipe
from headstart.training.step import Groups, Stepper

__all__ = ["Epoch", "EpochHook", "Fitted", "fit"]

Scores = tuple[float, float]  # loss, accuracy


@dataclass(frozen=True)
class Fitted:
    """How training went.

    Attributes:
        epochs: One row each, in order.
        best: The row of the epoch whose weights the network now has, measured with these weights.
        share: Of these weights in the network's; below 1, the rest is as it came in (see `interpolations`).
        interrupted: Whether Ctrl-C ended it early.
        stopped: Whether the end of the time did.
    """

    epochs: tuple[Epoch, ...]
    best: Epoch
    share: float = 1.0
    interrupted: bool = False
    stopped: bool = False

    @property
    def kept(self) -> int:
        """Number of the epoch."""
        return self.best.epoch


def fit(
    network: nn.Module,
    batches: Batches,
    recipe: Recipe,
    groups: Groups,
    *,
    forward: Callable[[Tensor], Tensor],
    evaluate: Callable[[], Scores],
    on_epoch: EpochHook,
    on_best: EpochHook | None = None,
    before: Epoch | None = None,
    stage: str = "finetune",
    checkpoint: Checkpoint | None = None,
    saved: Saved | None = None,
    micro_batch: int | None = None,
    picture_names: Callable[[int, int], Sequence[str]] = lambda epoch, batch: (),
    out_of_time: Callable[[], bool] = lambda: False,
    alone: Callable[[], contextlib.AbstractContextManager[object]] = contextlib.nullcontext,
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
        micro_batch: Pictures per forward and backward pass; None: all of a step. Halved when memory ends.
        picture_names: Of a batch, by epoch (from 1) and place in it (from 0).
        out_of_time: Asked before each step; if it says yes, training ends as by Ctrl-C.
        alone: A context in which gradients are not yet exchanged between processes.

    Raises:
        RunError: HS-RUN-010, the loss was not finite twice and there is no earlier model to keep;
            HS-RUN-011, the memory does not suffice for one picture.
    """
    total_steps = recipe.epochs * batches.steps
    selects = recipe.selection > 0
    progress = Progress(before=before, best=before, micro_batch=micro_batch)
    if saved is not None:
        progress = saved.progress

    def make_stepper() -> Stepper:
        return Stepper(
            recipe,
            groups,
            forward,
            total_steps,
            micro_batch=progress.micro_batch,
            rate_scale=progress.rate_scale,
            alone=alone,
        )

    stepper = make_stepper()
    good = best_state = copy_of(network)
    start = best_state if before is not None else None
    if saved is not None:
        saved.restore(network, stepper.optimizer)
        start = saved.state("start")
        best_state, good = saved.state("best") or best_state, saved.state("good") or good
    share, interrupted, stopped = 1.0, False, False

    def train_epoch() -> Epoch:
        """The steps of the epoch under way that are left, and its row."""
        number = progress.epoch
        network.train(recipe.batch_norm == "train")
        started = time.perf_counter() - progress.seconds
        with console.progress(batches.steps, f"{stage} epoch {number}/{recipe.epochs}", "batches") as advance:
            advance(progress.batches)
            for inputs, labels in batches.epoch(number, progress.batches):
                if ranks.any_says(out_of_time()):
                    raise OutOfTimeError
                step = (number - 1) * batches.steps + progress.batches
                pictures = batches.pictures(progress.batches)
                loss_sum, correct = stepper.step(step, inputs, labels, pictures)
                if not math.isfinite(loss_sum):
                    raise DivergedError(step + 1, stepper.optimizer, picture_names(number, progress.batches))
                progress.add(pictures, loss_sum, correct, stepper.micro_batch)
                advance(1)
                if checkpoint is not None and ranks.is_first() and checkpoint.due():
                    progress.seconds = time.perf_counter() - started
                    kept = {"start": start, "best": best_state, "good": good}
                    checkpoint.save(network, stepper.optimizer, progress, kept)

        trained = time.perf_counter() - started
        last = number * batches.steps - 1  # also where it was done before a checkpoint
        stepper.set_rates(last)
        val_loss, val_accuracy = evaluate()
        if math.isfinite(val_accuracy) and not math.isfinite(val_loss):
            raise DivergedError(last + 1, stepper.optimizer, picture_names(number, batches.steps - 1))
        return Epoch(
            epoch=number,
            stage=stage,
            train_loss=progress.loss_sum / progress.seen,
            train_accuracy=progress.correct / progress.seen,
            val_loss=val_loss,
            val_accuracy=val_accuracy,
            lr_backbone=stepper.rate_of("backbone"),
            lr_head=stepper.rate_of("head"),
            images_per_second=progress.seen / trained,
            seconds=time.perf_counter() - started,
        )

    try:
        while progress.epoch <= recipe.epochs:
            try:
                row = train_epoch()
            except DivergedError as error:
                if progress.rate_scale < 1:
                    raise
                console.warn(f"{error}: goes on from {progress.place()} with half the learning rate")
                network.load_state_dict(good)
                progress.begin_epoch()
                progress.rate_scale = 0.5
                stepper = make_stepper()
                continue
            progress.finish(row)
            good = copy_of(network)
            if not selects or is_better(row, progress.best):
                progress.best, best_state = row, good
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
    except OutOfTimeError:
        stopped = True
        done = (progress.epoch - 1) * batches.steps + progress.batches
        if progress.best is None:
            raise RunError(
                "HS-RUN-012",
                f"The time is used up after {done} of {total_steps} steps, before the first model.",
                fix="Give more time with --budget.",
            ) from None
        console.warn(
            f"stopped after {done} of {total_steps} steps: the time is used up, as the machine was slower "
            "than when it was measured; the best model so far is kept"
        )
    except DivergedError as error:
        if progress.best is None:
            raise RunError(
                "HS-RUN-010",
                f"{str(error)[0].upper()}{str(error)[1:]}: the learning rate is too high.",
                where=f"learning rates {', '.join(f'{rate:g}' for rate in error.rates)}",
                fix="Train again with a smaller --lr.",
            ) from None
        console.warn(f"{error} again: stopped, the best model before is kept")

    assert progress.best is not None
    network.load_state_dict(best_state)
    network.eval()
    return Fitted(tuple(progress.rows), progress.best, share, interrupted, stopped)


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
        state = mixed(start, end, share)
        network.load_state_dict(state)
        loss, accuracy = evaluate()
        yield dataclasses.replace(row, val_loss=loss, val_accuracy=accuracy), state, share


def mixed(start: State, end: State, share: float) -> State:
    """This share of the weights at the end, and those at the start for the rest."""
    return {
        name: torch.lerp(start[name], tensor, share) if tensor.is_floating_point() else tensor
        for name, tensor in end.items()
    }


def is_better(row: Epoch, best: Epoch | None) -> bool:
    """The rule that chooses an epoch: higher accuracy on the selection part; equal: lower loss; equal: the
    earlier one."""
    if best is None:
        return True
    return (row.val_accuracy, -row.val_loss) > (best.val_accuracy, -best.val_loss)


class DivergedError(Exception):
    """The loss is no finite number."""

    def __init__(self, step: int, optimizer: torch.optim.Optimizer, pictures: Sequence[str]) -> None:
        of = f" (pictures {listed(pictures)})" if pictures else ""
        super().__init__(f"the loss is not finite at step {step}{of}")
        self.rates = sorted({float(group["lr"]) for group in optimizer.param_groups})


class OutOfTimeError(Exception):
    """Nothing is left of the time that training was given."""


def copy_of(network: nn.Module) -> State:
    """The network's tensors, detached from it."""
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
