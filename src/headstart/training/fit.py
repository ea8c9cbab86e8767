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
from headstart.training.progress import Epoch, EpochHook, Progress, Scores
from headstart.training.recipes import Recipe
from headstart.training.step import Groups, Stepper

__all__ = ["Epoch", "EpochHook", "Fitted", "Scores", "TrainingLoop"]


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


@dataclass(kw_only=True)
class TrainingLoop:
    """One training; `run` trains ``network`` and leaves it with the weights that were best.

    Attributes:
        network: The part that trains; modules in it that are frozen stay as they are.
        batches: Inputs and labels of each epoch.
        recipe: Optimiser, schedule, number of epochs, interpolation, what to keep.
        groups: Parameter groups with ``name``, ``params``, ``lr`` and ``weight_decay``.
        forward: The network under the number format of this run, inputs -> logits [B, C].
        evaluate: Scores of the network as it is now, on the pictures that choose the epoch; nan where there
            are none.
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
        class_weights: As for `Stepper`.
    """

    network: nn.Module
    batches: Batches
    recipe: Recipe
    groups: Groups
    forward: Callable[[Tensor], Tensor]
    evaluate: Callable[[], Scores]
    on_epoch: EpochHook
    on_best: EpochHook | None = None
    before: Epoch | None = None
    stage: str = "finetune"
    checkpoint: Checkpoint | None = None
    saved: Saved | None = None
    micro_batch: int | None = None
    picture_names: Callable[[int, int], Sequence[str]] = lambda epoch, batch: ()
    out_of_time: Callable[[], bool] = lambda: False
    alone: Callable[[], contextlib.AbstractContextManager[object]] = contextlib.nullcontext
    class_weights: Tensor | None = None

    def __post_init__(self) -> None:
        self.progress = Progress(before=self.before, best=self.before, micro_batch=self.micro_batch)
        if self.saved is not None:
            self.progress = self.saved.progress
        self.stepper = self.make_stepper()
        self.good = self.best_state = copy_of(self.network)
        self.start = self.best_state if self.before is not None else None
        self.share = 1.0
        if self.saved is not None:
            self.saved.restore(self.network, self.stepper.optimizer)
            self.start = self.saved.state("start")
            self.best_state = self.saved.state("best") or self.best_state
            self.good = self.saved.state("good") or self.good

    @property
    def selects(self) -> bool:
        """Whether there are pictures to choose with."""
        return self.recipe.selection > 0

    @property
    def total_steps(self) -> int:
        return self.recipe.epochs * self.batches.steps

    def make_stepper(self) -> Stepper:
        return Stepper(
            self.recipe,
            self.groups,
            self.forward,
            self.total_steps,
            micro_batch=self.progress.micro_batch,
            rate_scale=self.progress.rate_scale,
            alone=self.alone,
            class_weights=self.class_weights,
        )

    def run(self) -> Fitted:
        """Trains.

        Raises:
            RunError: HS-RUN-010, the loss was not finite twice and there is no earlier model to keep;
                HS-RUN-011, the memory does not suffice for one picture; HS-RUN-012, the time neither.
        """
        interrupted = stopped = False
        try:
            self.train()
        except KeyboardInterrupt:
            interrupted = True
            if self.progress.best is None:
                raise
        except OutOfTimeError:
            stopped = True
            self.end_of_time()
        except DivergedError as error:
            self.end_of_numbers(error)
        assert self.progress.best is not None
        self.network.load_state_dict(self.best_state)
        self.network.eval()
        return Fitted(tuple(self.progress.rows), self.progress.best, self.share, interrupted, stopped)

    def train(self) -> None:
        """All epochs that are left, then the mixes."""
        progress = self.progress
        while progress.epoch <= self.recipe.epochs:
            try:
                row = self.train_epoch()
            except DivergedError as error:
                if progress.rate_scale < 1:
                    raise
                console.warn(f"{error}: goes on from {progress.place()} with half the learning rate")
                self.network.load_state_dict(self.good)
                progress.begin_epoch()
                progress.rate_scale = 0.5
                self.stepper = self.make_stepper()
                continue
            progress.finish(row)
            self.good = copy_of(self.network)
            if not self.selects or is_better(row, progress.best):
                progress.best, self.best_state = row, self.good
                if self.on_best is not None:
                    self.on_best(row)
            self.on_epoch(row)
        if self.selects and self.start is not None and self.recipe.interpolation:
            self.choose_mix(self.start)

    def train_epoch(self) -> Epoch:
        """The steps of the epoch under way that are left, and its row."""
        progress, batches, stepper = self.progress, self.batches, self.stepper
        number = progress.epoch
        self.network.train(self.recipe.batch_norm == "train")
        started = time.perf_counter() - progress.seconds
        label = f"{self.stage} epoch {number}/{self.recipe.epochs}"
        with console.progress(batches.steps, label, "batches") as advance:
            advance(progress.batches)
            for inputs, labels in batches.epoch(number, progress.batches):
                if ranks.any_says(self.out_of_time()):
                    raise OutOfTimeError
                step = (number - 1) * batches.steps + progress.batches
                pictures = batches.pictures(progress.batches)
                loss_sum, correct = stepper.step(step, inputs, labels, pictures)
                if not math.isfinite(loss_sum):
                    raise self.diverged(step, progress.batches)
                progress.add(pictures, loss_sum, correct, stepper.micro_batch)
                advance(1)
                if self.checkpoint is not None and ranks.is_first() and self.checkpoint.due():
                    progress.seconds = time.perf_counter() - started
                    self.save_checkpoint(self.checkpoint)

        trained = time.perf_counter() - started
        last = number * batches.steps - 1  # also where it was done before a checkpoint
        stepper.set_rates(last)
        scores = self.evaluate()
        if math.isfinite(scores.accuracy) and not math.isfinite(scores.loss):
            raise self.diverged(last, batches.steps - 1)
        return Epoch(
            epoch=number,
            stage=self.stage,
            train_loss=progress.loss_sum / progress.seen,
            train_accuracy=progress.correct / progress.seen,
            val_loss=scores.loss,
            val_accuracy=scores.accuracy,
            lr_backbone=stepper.rate_of("backbone"),
            lr_head=stepper.rate_of("head"),
            images_per_second=progress.seen / trained,
            seconds=time.perf_counter() - started,
            val_balanced_loss=scores.balanced_loss,
            val_balanced_accuracy=scores.balanced_accuracy,
        )

    def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        kept = {"start": self.start, "best": self.best_state, "good": self.good}
        checkpoint.save(self.network, self.stepper.optimizer, self.progress, kept)

    def choose_mix(self, start: State) -> None:
        """Keeps what came in, the last epoch, or a mix of both, whichever is best."""
        progress = self.progress
        last, progress.best, self.best_state = progress.rows[-1], self.before, start
        mixes = interpolations(self.network, start, last, self.recipe.interpolation, self.evaluate)
        for row, state, part in mixes:
            if is_better(row, progress.best):
                progress.best, self.best_state, self.share = row, state, part

    def diverged(self, step: int, batch: int) -> DivergedError:
        """The loss is not finite at this step (from 0), which is this batch of the epoch under way."""
        names = self.picture_names(self.progress.epoch, batch)
        return DivergedError(step + 1, self.stepper.optimizer, names)

    def end_of_time(self) -> None:
        """Says that there is no time left.

        Raises:
            RunError: HS-RUN-012, nor a model.
        """
        done = (self.progress.epoch - 1) * self.batches.steps + self.progress.batches
        if self.progress.best is None:
            raise RunError(
                "HS-RUN-012",
                f"The time is used up after {done} of {self.total_steps} steps, before the first model.",
                fix="Give more time with --budget.",
            ) from None
        console.warn(
            f"stopped after {done} of {self.total_steps} steps: the time is used up, as the machine was "
            "slower than when it was measured; the best model so far is kept"
        )

    def end_of_numbers(self, error: DivergedError) -> None:
        """Says that the loss was not finite twice.

        Raises:
            RunError: HS-RUN-010, and there is no model to keep.
        """
        if self.progress.best is None:
            raise RunError(
                "HS-RUN-010",
                f"{str(error)[0].upper()}{str(error)[1:]}: the learning rate is too high.",
                where=f"learning rates {', '.join(f'{rate:g}' for rate in error.rates)}",
                fix="Train again with a smaller --lr.",
            ) from None
        console.warn(f"{error} again: stopped, the best model before is kept")


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
        evaluate: Scores of the network as it is.
    """
    end = copy_of(network)
    for share in shares:
        state = mixed(start, end, share)
        network.load_state_dict(state)
        yield with_scores(row, evaluate()), state, share


def with_scores(row: Epoch, scores: Scores) -> Epoch:
    """The row with other figures on the pictures that choose."""
    return dataclasses.replace(row, **{f"val_{name}": value for name, value in scores._asdict().items()})


def mixed(start: State, end: State, share: float) -> State:
    """This share of the weights at the end, and those at the start for the rest."""
    return {
        name: torch.lerp(start[name], tensor, share) if tensor.is_floating_point() else tensor
        for name, tensor in end.items()
    }


def is_better(row: Epoch, best: Epoch | None) -> bool:
    """The rule that chooses an epoch: higher accuracy on the selection part; equal: lower loss; equal: the
    earlier one. Where classes are balanced, both are."""
    return best is None or row.rank > best.rank


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
