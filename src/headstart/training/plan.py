"""The plan of a run: what was left open is decided here, before the first step, shown and saved."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from headstart import console
from headstart.config import Refit, TrainConfig
from headstart.data.dataset import Dataset
from headstart.data.decoding import available_cpus
from headstart.data.preprocess import Preprocess
from headstart.launch import place
from headstart.model.classifier import HEAD, Classifier
from headstart.model.precision import Format, choose_device, choose_precision
from headstart.training.batches import Slices
from headstart.training.budget import (
    PLANNED,
    Budget,
    Forecast,
    Pace,
    Pictures,
    Work,
    forecast,
    lasting,
    shorter,
)
from headstart.training.recipes import Recipe, Trains, resolve_recipe
from headstart.training.speed import Memory, Stopwatch, Way, fastest, key_of

CACHE_LIMIT = 6 * 2**30  # bytes of cached activations; fixed, so that a plan does not depend on free memory
WAYS = ("precision", "memory_format", "threads", "micro_batch")  # settings that only the speed depends on
WORTH_TRYING = 20.0  # seconds of training from which other ways to compute are tried


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
        refit: ``train`` or ``all``: what trains once more when the choice is made; else ``none``.
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
    refit: Refit = "none"
    budget: str | None = field(default=None, compare=False)
    forecast: Forecast | None = field(default=None, compare=False)
    pace: Pace | None = field(default=None, compare=False)

    def measured(self) -> dict[str, Any]:
        """What clocks said, for ``config.yaml``: it chose the plan and decides nothing any more."""
        if self.forecast is None or self.pace is None:
            return {}
        return {
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
            if self.refit != "none":
                which = {
                    "train": "with the selection part, if the last epoch itself is kept",
                    "all": "on all pictures, after the result is measured",
                }
                lines.append(f"then once more {which[self.refit]}")
        elif self.config.strategy != "probe":
            why = (
                "there are too few pictures to choose an epoch on"
                if not self.selection_pictures
                else f"{self.budget} do not suffice to fine-tune"
            )
            lines.append(f"kept: the probe, as {why}")
        processes = place().size
        if processes > 1 and self.epochs and recipe.batch_norm == "train" and self.fmt.device == "cpu":
            lines.append("BatchNorm sees each process' part of a batch: it is synchronised on GPUs only")
        several = f"{processes} processes, each with " if processes > 1 else ""
        lines.append(several + ", ".join(self.way()))
        if self.forecast is not None:
            stages = {name: seconds for name, seconds in vars(self.forecast).items() if seconds}
            each = ", ".join(f"{name} {lasting(seconds)}" for name, seconds in stages.items())
            given = f" of {self.budget}" if self.budget else ""
            lines.append(f"about {lasting(self.forecast.total)} from here on{given}: {each}")
        return lines


def make_plan(
    config: TrainConfig,
    model: Classifier,
    dataset: Dataset,
    preprocess: Preprocess,
    *,
    budget: Budget | None = None,
) -> Plan:
    """Decides what is open, from the settings, the network, the number of pictures and this machine.

    Args:
        config: The settings.
        model: The target model; stays as it is.
        dataset: The pictures.
        preprocess: Makes their pixels.
        budget: The time that is left; None: as long as the recipe takes.

    Raises:
        ConfigError: HS-CONFIG-005 to -008; HS-CONFIG-011, the budget does not suffice for a probe.
        ModelError: HS-MODEL-008, ``config.freeze`` names no stage of this network.
    """
    recipe = resolve_recipe(config)
    device = choose_device(config.device)
    n_selection = len(dataset.indices("selection")) if recipe.selection > 0 else 0
    if n_selection == 0 and recipe.selection > 0:
        recipe = without_selection(recipe)
    pictures = Pictures(
        len(dataset.indices("train")), n_selection, len(dataset.indices(dataset.reported_split))
    )
    # The lesson's recipe is kept in the lesson's number format.
    asked = config.precision or ("fp32" if recipe.name == "d2l" else None)
    fmt = Format(device, choose_precision(asked, device), config.memory_format or "channels_last")

    processors = max(1, available_cpus() // place().local_size)

    def draft(recipe: Recipe, freeze: str | None) -> Plan:
        """The plan of a recipe before anything was timed."""
        cut = first_trainable(recipe, model, freeze)
        if recipe.trains == "top" and cut is None:
            recipe = dataclasses.replace(recipe, trains="all")
        return Plan(
            config=config,
            recipe=recipe,
            fmt=fmt,
            threads=config.threads or processors,
            micro_batch=min(config.micro_batch or recipe.batch_size, recipe.batch_size),
            workers=config.workers or processors,
            cut=cut,
            views=affordable_views(recipe, model, cut, pictures.train, preprocess, fmt),
            train_pictures=pictures.train,
            selection_pictures=n_selection,
            steps_per_epoch=len(Slices(pictures.train, recipe.batch_size).bounds()),
            refit=allowed_refit(config.refit or "none", n_selection),
        )

    plan = draft(recipe, config.freeze)
    if place().size == 1:  # several processes would measure each other, and not the same
        plan = timed(plan, model, pictures)
    if budget is not None:
        plan = within(budget, plan, model, pictures, preprocess)
    return resolved(plan, preprocess)


def allowed_refit(asked: Refit, selection_pictures: int) -> Refit:
    """A refit on the selection part needs one."""
    return "none" if asked == "train" and not selection_pictures else asked


def timed(plan: Plan, model: Classifier, pictures: Pictures) -> Plan:
    """The plan in the fastest way on this machine, with a forecast of its seconds."""
    config, recipe = plan.config, plan.recipe
    fixed = {name for name in WAYS if getattr(config, name)}
    if recipe.name == "d2l":
        fixed.add("precision")
    if recipe.batch_norm == "train" or recipe.trains == "nothing":
        fixed.add("micro_batch")  # BatchNorm would learn from other batches
    usual = Way(plan.fmt, plan.threads, plan.micro_batch)
    memory = Memory.of_this_machine() if config.cache else Memory(None)
    key = key_of(model, plan.cut, recipe, usual, frozenset(fixed))
    found = memory.get(key)
    if found is None:
        n = pictures.train
        work = Work(frozen=n * (plan.views + 1), step=n * plan.epochs, above=0, exact=0)
        watch = Stopwatch(model, plan.cut, recipe)
        found = fastest(watch, usual, frozenset(fixed), work, worth=WORTH_TRYING)
        memory.put(key, *found)
    way, pace = found
    plan = dataclasses.replace(plan, fmt=way.fmt, threads=way.threads, micro_batch=way.micro_batch, pace=pace)
    return forecasted(plan, model, pictures)


def forecasted(plan: Plan, model: Classifier, pictures: Pictures) -> Plan:
    """The plan with the seconds of its stages."""
    assert plan.pace is not None
    seconds = forecast(
        plan.recipe,
        plan.pace,
        pictures,
        cached_views=plan.views,
        features=model.num_features,
        classes=len(model.classes),
        refit=plan.refit,
    )
    return dataclasses.replace(plan, forecast=seconds)


def within(budget: Budget, plan: Plan, model: Classifier, pictures: Pictures, preprocess: Preprocess) -> Plan:
    """The plan that makes the most of a budget.

    Raises:
        ConfigError: HS-CONFIG-011, it does not suffice even for the least.
    """
    room, spent = PLANNED * budget.left, budget.seconds - budget.left
    for candidate in candidates(dataclasses.replace(plan, budget=budget.text), model, preprocess):
        least = forecasted(candidate, model, pictures)
        seconds = least.forecast.total if least.forecast is not None else 0.0
        if seconds <= room:
            return least
    what = "even for a probe" if least.epochs == 0 else "even for the shortest training"
    raise budget.too_small((spent + seconds) / PLANNED, what)


def candidates(plan: Plan, model: Classifier, preprocess: Preprocess) -> Iterator[Plan]:
    """What may be done, from what is worth most to the least: a stage deeper and once more on all training
    pictures, then without either, then fewer views and epochs, at last the probe alone (decision 11)."""
    way = Way(plan.fmt, plan.threads, plan.micro_batch)

    def at(cut: str | None) -> Plan:
        # as fast as the machine is now, whatever else it does
        pace = Stopwatch(model, cut, plan.recipe).pace(way)
        return dataclasses.replace(plan, cut=cut, pace=pace)

    here = at(plan.cut)
    open_refit = plan.config.refit is None and plan.selection_pictures > 0
    if plan.epochs:
        if open_refit and plan.views and (deeper := stage_below(plan, model)) is not None:
            views = affordable_views(plan.recipe, model, deeper, plan.train_pictures, preprocess, plan.fmt)
            if views == plan.views:
                yield dataclasses.replace(at(deeper), refit="train")
        if open_refit:
            yield dataclasses.replace(here, refit="train")
        for views, recipe in shorter(plan.recipe):
            yield dataclasses.replace(here, recipe=recipe, views=min(views, plan.views))
    if plan.recipe.head_init == "probe":
        recipe = dataclasses.replace(plan.recipe, trains="nothing", epochs=0)
        refit: Refit = "none" if plan.refit == "train" else plan.refit
        yield dataclasses.replace(here, recipe=recipe, views=0, refit=refit)


def stage_below(plan: Plan, model: Classifier) -> str | None:
    """The stage before the first that trains, where that was left to the plan."""
    if plan.config.freeze is not None or plan.recipe.trains != "top" or model.stages is None:
        return None
    names = [stage.name for stage in model.stages]
    position = names.index(plan.cut or "")
    return names[position - 1] if position > 1 else None


def resolved(plan: Plan, preprocess: Preprocess) -> Plan:
    """The plan with settings that leave nothing open."""
    recipe = plan.recipe
    trains = recipe.trains != "nothing"
    here, on_gpu = place().local_size, plan.fmt.device.startswith("cuda")
    config = dataclasses.replace(
        plan.config,
        weights=plan.config.weights and plan.config.weights.absolute(),
        budget=None,
        refit=plan.refit,
        freeze=plan.cut,
        head_init=recipe.head_init if trains else None,
        epochs=recipe.epochs if trains or recipe.epochs == 0 else None,
        lr=recipe.lr if trains else None,
        batch_size=recipe.batch_size if trains else None,
        augment=recipe.augmentation if trains else None,
        views=plan.views if trains else None,
        img_size=preprocess.img_size,
        fit=recipe.fit,
        precision=plan.fmt.precision,
        memory_format=plan.fmt.memory_format,
        micro_batch=plan.micro_batch,
        threads=plan.threads,
        device="cuda" if on_gpu and here > 1 else plan.fmt.device,
        gpus=here if on_gpu else 1,
        workers=plan.workers,
    )
    return dataclasses.replace(plan, config=config)


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
