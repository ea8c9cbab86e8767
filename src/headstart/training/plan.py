"""The plan of a run: what was left open is decided here, before the first step, shown and saved."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from headstart import console
from headstart.config import Refit, TrainConfig
from headstart.data.augment import AUGMENTATIONS
from headstart.launch import place
from headstart.model.precision import Format
from headstart.training.balance import ClassSizes
from headstart.training.budget import (
    Forecast,
    Pace,
    lasting,
)
from headstart.training.recipes import Recipe


@dataclass(frozen=True)
class Plan:
    """What a run does.

    Attributes:
        config: The settings, with nothing left open.
        recipe: The recipe after strategy and settings.
        fmt: Device and number format of training.
        threads: Processor threads of the network.
        micro_batch: Pictures per forward and backward pass.
        workers: Threads that read pictures.
        cut: Name of the first stage that trains, ``head``, or None where the whole network trains or nothing.
        views: Cached views per picture; 0: new views every epoch.
        train_pictures: Pictures that train.
        selection_pictures: Pictures that choose the epoch.
        steps_per_epoch: Optimiser steps per epoch.
        device_views: Whether the accelerator resizes and turns the random views, instead of Pillow.
        refit: ``train`` or ``all``: what trains once more when the choice is made; else ``none``.
        sizes: The largest and the smallest class that train.
        first_step: What was found of an accelerator's first step (`headstart.training.first_step`).
        turned: Why pictures are not mirrored, if that was found (`headstart.training.turned`).
        budget: The time that was given, as it was written.
        forecast: Seconds that the stages take, as measured before.
        pace: What was measured.
    """

    config: TrainConfig
    recipe: Recipe
    fmt: Format
    threads: int
    micro_batch: int
    workers: int
    cut: str | None
    views: int
    train_pictures: int
    selection_pictures: int
    steps_per_epoch: int
    device_views: bool = False
    refit: Refit = "none"
    sizes: ClassSizes | None = None
    first_step: tuple[str, ...] = field(default=(), compare=False)
    turned: str = field(default="", compare=False)
    budget: str | None = field(default=None, compare=False)
    forecast: Forecast | None = field(default=None, compare=False)
    pace: Pace | None = field(default=None, compare=False)

    def measured(self) -> dict[str, Any]:
        """What clocks and the first step said, for ``config.yaml``: it chose the plan and decides nothing any
        more."""
        first_step: dict[str, Any] = {"first_step": list(self.first_step)} if self.first_step else {}
        if self.turned:
            first_step["turned"] = self.turned
        if self.forecast is None or self.pace is None:
            return dict(first_step)
        return first_step | {
            "budget": self.budget,
            "seconds": {name: round(value, 1) for name, value in vars(self.forecast).items()},
            "milliseconds_per_picture": {
                name: round(1000 * value, 3) for name, value in vars(self.pace).items()
            },
        }

    def to_dict(self) -> dict[str, Any]:
        """For ``config.yaml``."""
        values: dict[str, Any] = {
            "stages": self.stage_names(),
            "trains_from": self.cut or ("nothing" if self.recipe.trains == "nothing" else "stem"),
            "cached_views": self.views,
            "train_pictures": self.train_pictures,
            "selection_pictures": self.selection_pictures,
            "steps_per_epoch": self.steps_per_epoch,
            "total_steps": self.steps_per_epoch * self.epochs,
            "refit": self.refit,
            "random_views_by": torch.device(self.fmt.device).type if self.device_views else "pillow",
            "recipe": dataclasses.asdict(self.recipe) | {"interpolation": list(self.recipe.interpolation)},
        }
        return values

    @property
    def epochs(self) -> int:
        """Epochs after the head is set."""
        return 0 if self.recipe.trains == "nothing" else self.recipe.epochs

    @property
    def finds_rate(self) -> bool:
        """Whether a sweep is still to choose the learning rate."""
        return self.config.lr == "find" and self.epochs > 0

    @property
    def judges_views(self) -> bool:
        """Whether the pictures are still to say if they may be mirrored (`headstart.training.turned`).

        Recipe ``d2l`` is the lesson's; random weights see nothing.
        """
        recipe = self.recipe
        judges = self.config.augment is None and recipe.name != "d2l" and recipe.pretrained
        return judges and self.epochs > 0 and bool(AUGMENTATIONS[recipe.augmentation].turns)

    def with_views(self, augmentation: str, why: str) -> Plan:
        """The plan with other random views, as a run of its settings will have it."""
        return dataclasses.replace(
            self,
            config=dataclasses.replace(self.config, augment=augmentation),
            recipe=dataclasses.replace(self.recipe, augmentation=augmentation),
            turned=why,
        )

    def with_rate(self, lr: float) -> Plan:
        """The plan at this learning rate, as a run of its settings will have it."""
        return dataclasses.replace(
            self,
            config=dataclasses.replace(self.config, lr=lr),
            recipe=dataclasses.replace(self.recipe, lr=lr),
        )

    def stage_names(self) -> list[str]:
        """The stages of the run, in order, as they stand in ``results.csv``."""
        names = ["probe"] if self.recipe.head_init == "probe" else []
        return names if self.epochs == 0 else [*names, self.config.strategy]

    def kept(self) -> str:
        """Which weights the run ends with, for a person."""
        if not self.selection_pictures:
            return "kept: the last epoch (nothing is selected)"
        candidates, order = "the epoch with", "the earlier one"
        if self.recipe.head_init == "probe" and self.recipe.interpolation:
            candidates = "the probe, the last epoch or a mix of both, whichever has"
            order = "the nearer to the probe"
        accuracy = "accuracy" if self.recipe.balance == "none" else "balanced accuracy"
        return (
            f"kept: {candidates} the highest {accuracy} on {self.selection_pictures} selection pictures "
            f"(equal: the lower loss, then {order})"
        )

    def way(self) -> Iterator[str]:
        """How it is computed, for a person."""
        yield from (self.fmt.device, self.fmt.precision)
        if self.fmt.memory_format != "channels_last":
            yield self.fmt.memory_format
        if self.micro_batch < self.recipe.batch_size and self.epochs:
            yield f"{self.micro_batch} pictures at a time"
        yield console.counted(self.threads, "thread", "threads")
        yield console.counted(self.workers, "reader", "readers")
        yield f"seed {self.config.seed}"

    def lines(self) -> list[str]:
        """The plan for a person."""
        recipe = self.recipe
        lines = []
        if recipe.balance != "none" and self.sizes is not None:
            lines.append(self.sizes.line(recipe.balance))
        if recipe.head_init == "probe":
            lines.append(
                f"probe: logistic regression on the frozen features of {self.train_pictures} pictures, "
                "strength by 5-fold cross-validation"
            )
        if self.epochs:
            whole = "the whole network" + ("" if recipe.pretrained else " from random weights")
            part = {None: whole, "stem": whole, "head": "the head of the frozen network"}.get(
                self.cut, f"the top of the network (from {self.cut}) and the head"
            )
            views = f"{self.views} cached views per picture" if self.views else "new views every epoch"
            if self.device_views:
                views += f", made on {self.fmt.device}"
            lines.append(
                f"{self.config.strategy}: {part}, {recipe.epochs} epochs x {self.steps_per_epoch} steps of "
                f"{min(recipe.batch_size, self.train_pictures)} pictures, {views} ({recipe.augmentation})"
            )
            if self.judges_views:
                lines.append("after the probe: do mirrored or turned pictures look like another class?")
            decay = f", weight decay {recipe.weight_decay:g}"
            rates = f"{recipe.lr:g}, head {recipe.lr * recipe.head_lr_factor:g}"
            if self.finds_rate:
                rates = f"from a sweep before the first step, head {recipe.head_lr_factor:g} times that"
            lines.append(
                f"{recipe.optimizer.upper() if recipe.optimizer == 'sgd' else 'AdamW'}, learning rate "
                f"{rates}, {recipe.schedule}{decay}, "
                f"loss {'summed over' if recipe.loss == 'sum' else 'averaged over'} the batch"
            )
            lines.append(self.kept())
            if self.refit != "none":
                which = {
                    "train": "with the selection part, if the last epoch itself is kept",
                    "all": "on all pictures, after the result is measured",
                }
                lines.append(f"then once more {which[self.refit]}")
        elif self.config.strategy != "probe":
            why = "there are too few pictures to choose an epoch on"
            if self.budget is not None:
                why = f"{self.budget} do not suffice to fine-tune"
            elif self.config.epochs == 0:
                why = "no epochs are asked for"
            lines.append(f"kept: the probe, as {why}")
        processes = place().size
        if processes > 1 and self.epochs and recipe.batch_norm == "train" and self.fmt.device == "cpu":
            lines.append("BatchNorm sees each process' part of a batch: it is synchronised on GPUs only")
        several = f"{processes} processes, each with " if processes > 1 else ""
        lines.append(several + ", ".join(self.way()))
        lines += self.first_step
        if self.forecast is not None:
            stages = {name: seconds for name, seconds in vars(self.forecast).items() if seconds}
            each = ", ".join(f"{name} {lasting(seconds)}" for name, seconds in stages.items())
            given = f" of {self.budget}" if self.budget else ""
            lines.append(f"about {lasting(self.forecast.total)} from here on{given}: {each}")
        return lines
