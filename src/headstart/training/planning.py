"""Making the plan: what was left open is decided from settings, network, pictures, machine and time."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import torch

from headstart.config import Refit, TrainConfig, with_absolute_paths
from headstart.data.augment import AUGMENTATIONS
from headstart.data.cache import Cache
from headstart.data.dataset import Dataset
from headstart.data.decoding import available_cpus
from headstart.data.preprocess import Preprocess
from headstart.launch import place
from headstart.model.classifier import HEAD, Classifier
from headstart.model.precision import Format, choose_device, choose_precision
from headstart.training import lr_find
from headstart.training.balance import ClassSizes
from headstart.training.batches import Slices
from headstart.training.budget import PLANNED, Budget, Pace, Pictures, Work, forecast, shorter
from headstart.training.frozen_views import Reuse
from headstart.training.plan import Plan
from headstart.training.recipes import Recipe, Trains, chooses_fit, resolve_recipe
from headstart.training.speed import Memory, Stopwatch, Way, fastest, key_of

CACHE_LIMIT = 6 * 2**30  # bytes of cached activations; fixed, so that a plan does not depend on free memory
WAYS = ("precision", "memory_format", "threads", "micro_batch")  # settings that only the speed depends on
WORTH_TRYING = 20.0  # seconds of training from which other ways to compute are tried


def make_plan(
    config: TrainConfig,
    model: Classifier,
    dataset: Dataset,
    preprocess: Preprocess,
    *,
    budget: Budget | None = None,
    cache: Cache | None = None,
) -> Plan:
    """Decides what is open, from the settings, the network, the number of pictures and this machine.

    Args:
        config: The settings.
        model: The target model; stays as it is.
        dataset: The pictures.
        preprocess: Makes their pixels, as the pictures themselves decided where nobody else did.
        budget: The time that is left; None: as long as the recipe takes.
        cache: Where activations of earlier runs are, which cost no time; None: nothing is kept.

    Raises:
        ConfigError: HS-CONFIG-005 to -008; HS-CONFIG-011, the budget does not suffice for a probe.
        ModelError: HS-MODEL-008, ``config.freeze`` names no stage of this network.
    """
    recipe = resolve_recipe(config)
    config = dataclasses.replace(config, selection=recipe.selection)
    sizes = ClassSizes.of(dataset.labels[dataset.indices("train")], dataset.classes)
    recipe = dataclasses.replace(recipe, balance=sizes.decided(recipe.balance))
    if chooses_fit(config, recipe):
        recipe = dataclasses.replace(recipe, fit=preprocess.fit)
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
            device_views=fmt.accelerated and not cut_from_originals(recipe),
            refit=allowed_refit(config.refit or "none", n_selection),
            sizes=sizes,
        )

    plan = draft(recipe, config.freeze)
    if place().size == 1:  # several processes would measure each other, and not the same
        reuse = Reuse(model, dataset, preprocess, cache)
        plan = forecasted(timed(plan, model, pictures), model, pictures, reuse)
        if budget is not None:
            plan = within(budget, plan, model, pictures, preprocess, reuse)
    return resolved(plan, preprocess)


def cut_from_originals(recipe: Recipe) -> bool:
    """Whether random views need pictures at their own size, which are too large to travel to a device."""
    return recipe.from_originals and AUGMENTATIONS[recipe.augmentation].scale is not None


def allowed_refit(asked: Refit, selection_pictures: int) -> Refit:
    """A refit on the selection part needs one."""
    return "none" if asked == "train" and not selection_pictures else asked


def timed(plan: Plan, model: Classifier, pictures: Pictures) -> Plan:
    """The plan in the fastest way on this machine."""
    config, recipe = plan.config, plan.recipe
    fixed = {name for name in WAYS if getattr(config, name)}
    if recipe.name == "d2l":
        fixed.add("precision")
    if recipe.batch_norm == "train" or recipe.trains == "nothing":
        fixed.add("micro_batch")  # BatchNorm would learn from other batches
    usual = Way(plan.fmt, plan.threads, plan.micro_batch)
    work = Work(frozen=pictures.train * (plan.views + 1), step=pictures.train * plan.epochs, above=0, exact=0)
    way, pace = measured(usual, frozenset(fixed), work, plan, model)
    return dataclasses.replace(plan, fmt=way.fmt, threads=way.threads, micro_batch=way.micro_batch, pace=pace)


def measured(
    usual: Way, fixed: frozenset[str], work: Work, plan: Plan, model: Classifier
) -> tuple[Way, Pace]:
    """What is fastest for this work, and how fast: as found by an earlier run, or timed now."""
    memory = Memory.of_this_machine() if plan.config.cache else Memory(None)
    known, best = (key_of(model, plan.cut, plan.recipe, usual, fixed, tried=tried) for tried in (False, True))
    if (found := memory.get(best)) is not None:
        return found
    watch = Stopwatch(model, plan.cut, plan.recipe)
    found = memory.get(known) or (usual, watch.pace(usual))
    if work.seconds(found[1]) < WORTH_TRYING:
        memory.put(known, *found)
        return found
    found = fastest(watch, *found, fixed, work)
    memory.put(best, *found)
    return found


def forecasted(plan: Plan, model: Classifier, pictures: Pictures, reuse: Reuse) -> Plan:
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
        sweep=lr_find.STEPS * min(plan.recipe.batch_size, pictures.train) if plan.finds_rate else 0,
        kept=reuse.of(plan),
    )
    return dataclasses.replace(plan, forecast=seconds)


def within(
    budget: Budget, plan: Plan, model: Classifier, pictures: Pictures, preprocess: Preprocess, reuse: Reuse
) -> Plan:
    """The plan that makes the most of a budget.

    Raises:
        ConfigError: HS-CONFIG-011, it does not suffice even for the least.
    """
    room, spent = PLANNED * budget.left, budget.seconds - budget.left
    for candidate in candidates(dataclasses.replace(plan, budget=budget.text), model, preprocess):
        least = forecasted(candidate, model, pictures, reuse)
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
    trains = plan.recipe.trains != "nothing"
    if trains:  # as a run of these settings will have it
        plan = dataclasses.replace(plan, recipe=dataclasses.replace(plan.recipe, views=plan.views))
    recipe = plan.recipe
    here, on_gpu = place().local_size, plan.fmt.device.startswith("cuda")
    config = dataclasses.replace(
        with_absolute_paths(plan.config),
        budget=None,
        refit=plan.refit,
        freeze=plan.cut,
        head_init=None if plan.config.strategy == "probe" else recipe.head_init,
        balance=recipe.balance,
        epochs=recipe.epochs if trains or recipe.epochs == 0 else None,
        lr=("find" if plan.finds_rate else recipe.lr) if trains else None,
        batch_size=recipe.batch_size if trains else None,
        augment=recipe.augmentation if trains and not plan.judges_views else None,
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
    if cut is None or recipe.views == 0 or recipe.trains == "nothing":
        return 0
    size = preprocess.img_size
    with torch.inference_mode():
        values = math.prod(model.below(cut)(torch.zeros(1, 3, size, size)).shape)
    per_view = values * (4 if cut == HEAD else fmt.storage.itemsize) * pictures
    views = min(recipe.views, CACHE_LIMIT // max(1, per_view))
    return views if views >= 2 else 0
