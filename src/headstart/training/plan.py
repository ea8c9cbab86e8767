"""The plan of a run: what was left open is decided here, before the first step, shown and saved."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import torch

from headstart import console
from headstart.config import TrainConfig
from headstart.data.dataset import Dataset
from headstart.data.decoding import available_cpus
from headstart.data.preprocess import Preprocess
from headstart.launch import place
from headstart.model.classifier import HEAD, Classifier
from headstart.model.precision import Format, choose_device, choose_precision
from headstart.training.batches import Slices
from headstart.training.recipes import Recipe, Trains, resolve_recipe

CACHE_LIMIT = 6 * 2**30  # bytes of cached activations; fixed, so that a plan does not depend on free memory


@dataclass(frozen=True)
class Plan:
    """What a run does.

    Attributes:
        config: The settings, with nothing left open.
        recipe: The recipe after strategy and settings.
        fmt: Device and number format of training.
        threads: Processor threads of the network.
        workers: Threads that read pictures.
        cut: Name of the first stage that trains, ``head``, or None where the whole network trains or nothing.
        views: Cached views per picture; 0: new views every epoch.
        train_pictures: Pictures that train.
        selection_pictures: Pictures that choose the epoch.
        steps_per_epoch: Optimiser steps per epoch.
    """

    config: TrainConfig
    recipe: Recipe
    fmt: Format
    threads: int
    workers: int
    cut: str | None
    views: int
    train_pictures: int
    selection_pictures: int
    steps_per_epoch: int

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
            "recipe": dataclasses.asdict(self.recipe) | {"interpolation": list(self.recipe.interpolation)},
        }
        return values

    @property
    def epochs(self) -> int:
        """Epochs after the head is set."""
        return 0 if self.recipe.trains == "nothing" else self.recipe.epochs

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
        return (
            f"kept: {candidates} the highest accuracy on {self.selection_pictures} selection pictures "
            f"(equal: the lower loss, then {order})"
        )

    def lines(self) -> list[str]:
        """The plan for a person."""
        recipe = self.recipe
        lines = []
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
            lines.append(
                f"{self.config.strategy}: {part}, {recipe.epochs} epochs x {self.steps_per_epoch} steps of "
                f"{min(recipe.batch_size, self.train_pictures)} pictures, {views} ({recipe.augmentation})"
            )
            decay = f", weight decay {recipe.weight_decay:g}"
            lines.append(
                f"{recipe.optimizer.upper() if recipe.optimizer == 'sgd' else 'AdamW'}, learning rate "
                f"{recipe.lr:g}, head {recipe.lr * recipe.head_lr_factor:g}, {recipe.schedule}{decay}, "
                f"loss {'summed over' if recipe.loss == 'sum' else 'averaged over'} the batch"
            )
            lines.append(self.kept())
        elif self.config.strategy != "probe":
            lines.append("kept: the probe, as there are too few pictures to choose an epoch on")
        processes = place().size
        if processes > 1 and self.epochs and recipe.batch_norm == "train" and self.fmt.device == "cpu":
            lines.append("BatchNorm sees each process' part of a batch: it is synchronised on GPUs only")
        several = f"{processes} processes, each with " if processes > 1 else ""
        lines.append(
            f"{several}{self.fmt.device}, {self.fmt.precision}, "
            f"{console.counted(self.threads, 'thread', 'threads')}, "
            f"{console.counted(self.workers, 'reader', 'readers')}, seed {self.config.seed}"
        )
        return lines


def make_plan(config: TrainConfig, model: Classifier, dataset: Dataset, preprocess: Preprocess) -> Plan:
    """Decides what is open, from the settings, the network, the number of pictures and this machine.

    Raises:
        ConfigError: HS-CONFIG-005 to -008.
        ModelError: HS-MODEL-008, ``config.freeze`` names no stage of this network.
    """
    recipe = resolve_recipe(config)
    device = choose_device(config.device)
    # The lesson's recipe is kept in the lesson's number format.
    asked = config.precision or ("fp32" if recipe.name == "d2l" else None)
    fmt = Format(device, choose_precision(asked, device))
    n_train = len(dataset.indices("train"))
    n_selection = len(dataset.indices("selection")) if recipe.selection > 0 else 0
    if n_selection == 0 and recipe.selection > 0:
        recipe = without_selection(recipe)

    cut = first_trainable(recipe, model, config.freeze)
    if recipe.trains == "top" and cut is None:
        recipe = dataclasses.replace(recipe, trains="all")
    views = affordable_views(recipe, model, cut, n_train, preprocess, fmt)
    trains = recipe.trains != "nothing"
    here = place().local_size
    processors = max(1, available_cpus() // here)
    on_gpu = device.startswith("cuda")
    resolved = dataclasses.replace(
        config,
        weights=config.weights and config.weights.absolute(),
        freeze=cut,
        head_init=recipe.head_init if trains else None,
        epochs=recipe.epochs if trains else None,
        lr=recipe.lr if trains else None,
        batch_size=recipe.batch_size if trains else None,
        augment=recipe.augmentation if trains else None,
        img_size=preprocess.img_size,
        fit=recipe.fit,
        precision=fmt.precision,
        threads=config.threads or processors,
        device="cuda" if on_gpu and here > 1 else device,
        gpus=here if on_gpu else 1,
        workers=config.workers or processors,
    )
    return Plan(
        config=resolved,
        recipe=recipe,
        fmt=fmt,
        threads=config.threads or processors,
        workers=config.workers or processors,
        cut=cut,
        views=views,
        train_pictures=n_train,
        selection_pictures=n_selection,
        steps_per_epoch=len(Slices(n_train, recipe.batch_size).bounds()),
    )


def without_selection(recipe: Recipe) -> Recipe:
    """The recipe where too few pictures are there to choose on: what starts from a probe stays the probe."""
    trains: Trains = "nothing" if recipe.head_init == "probe" else recipe.trains
    return dataclasses.replace(recipe, selection=0.0, trains=trains)


def first_trainable(recipe: Recipe, model: Classifier, freeze: str | None) -> str | None:
    """Name of the first stage that trains: the user's, ``head``, or the top quarter; None: all or nothing."""
    if freeze is not None:
        return model.cut_name(freeze)
    if recipe.trains == "head":
        return HEAD
    if recipe.trains == "top" and model.stages is not None:
        return model.stages[-max(1, len(model.stages) // 4)].name
    return None


def affordable_views(
    recipe: Recipe, model: Classifier, cut: str | None, pictures: int, preprocess: Preprocess, fmt: Format
) -> int:
    """Cached views per picture within `CACHE_LIMIT`; 0 if nothing is frozen or fewer than two would fit."""
    if cut is None or recipe.views == 0:
        return 0
    size = preprocess.img_size
    with torch.inference_mode():
        values = math.prod(model.below(cut)(torch.zeros(1, 3, size, size)).shape)
    per_view = values * (4 if cut == HEAD else fmt.storage.itemsize) * pictures
    views = min(recipe.views, CACHE_LIMIT // max(1, per_view))
    return views if views >= 2 else 0
