"""A run: from a data folder to a folder with a trained, evaluated model. Composes all stages.

Each line of `train` is one stage: settings, run folder, pictures, network, plan, training, model, evaluation.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import time
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart import console
from headstart.config import TrainConfig, to_mapping
from headstart.data.cache import GIGABYTE, Cache
from headstart.data.dataset import Dataset, load_dataset
from headstart.data.pictures import Pictures
from headstart.data.preprocess import Preprocess
from headstart.data.sources import Data, command_line, options_of
from headstart.data.splits import SPLITS
from headstart.errors import ConfigError, UsageError
from headstart.evaluation.evaluate import report_lines
from headstart.notation import fold_of
from headstart.run_folder import (
    CHECKPOINTS,
    CONFIG,
    FINDINGS,
    Run,
    begun,
    begun_folder,
    check_same_plan,
    check_unchanged,
    data_name,
    output_in_data,
    run_folder,
    settings_in_full,
    write_config,
)
from headstart.run_folds import holds_folds, train_folds
from headstart.run_lock import discard_lock
from headstart.run_processes import (
    begun_by_this_launch,
    check_same_pictures,
    is_first,
    joined,
    mark_folder,
    own_device,
    own_memory,
    read_in_turn,
    same_settings,
    shared_folder,
    unmark_folder,
)
from headstart.run_report import write_report_of
from headstart.run_resolution import with_best_size
from headstart.run_setup import (
    asks_the_network,
    budget_of,
    load_in_background,
    recipe_and_preprocess,
    require_training_packages,
    settings,
    target_model,
)
from headstart.run_training import carry_out, evaluate_trained, once_more, settle
from headstart.run_unknown import other_in_data
from headstart.tracking import Hooks, hooks_of
from headstart.training.recipes import chooses_fit

DEFAULTS = to_mapping(TrainConfig())

if TYPE_CHECKING:
    from headstart.training.fit import EpochHook


def train(
    data: Data | None = None,
    config: TrainConfig | None = None,
    *,
    resume: Run | str | PathLike[str] | None = None,
    hook: EpochHook | None = None,
    **fields: Any,
) -> Run:
    """Fine-tunes a pretrained network on pictures and evaluates it.

    Args:
        data: A folder of pictures (class folders, with or without split folders); a table of paths and
            classes (CSV, TSV, JSON Lines, Parquet); a zip or tar archive of either, or its address; or a list
            of (path, label) or (path, label, split) with split ``train``, ``val`` or ``test``.
        config: All settings at once.
        resume: A run that was interrupted; it goes on with its own settings and pictures, and on the same
            machine ends in the weights that it would have had. ``data`` says where the pictures are now, if
            they have moved or were a list.
        hook: Called with each `headstart.training.fit.Epoch` as it ends; of more it hears by the other
            methods of `headstart.tracking.Tracker`, if it has them. If it raises, it is switched off with a
            warning and the run goes on.
        fields: Single settings, by the names of `TrainConfig`: ``train(data, model="torchvision/resnet18")``.

    Returns:
        The run; its folder is never one that existed, but for ``resume``. With ``folds``, its figures are
        those of all folds together, and its models are in the runs of `Run.path` / ``folds``.

    Raises:
        ConfigError, DataError, ModelError, RunError: with a stable code and what to do.
    """
    config = settings(config, fields)
    begun = None
    if resume is not None and holds_folds(resume):
        begun, data, config = continued(resume, data, config)
        config = dataclasses.replace(config, output=begun.parent)  # wherever it is now
    if config.folds is None:
        return alone(data, config, resume, hook)
    run = train_folds(required(data), config, begun, hook, alone)
    write_report_of(run.path)
    return run


def alone(
    data: Data | None,
    config: TrainConfig,
    resume: Run | str | PathLike[str] | None,
    hook: EpochHook | None,
) -> Run:
    """One training, in all processes of this launch."""
    with joined():
        return _train(data, config, resume, hook)


def _train(
    data: Data | None,
    config: TrainConfig,
    resume: Run | str | PathLike[str] | None,
    hook: EpochHook | None,
) -> Run:
    asked = config
    if resume is None and (resume := begun_by_this_launch(config, data)) is not None:
        config = TrainConfig()  # the run's own settings follow
    if resume is not None:
        folder, own_data, config = same_settings(continued(resume, data, config) if is_first() else None)
        data = own_data if own_data is not None else data  # a list, which only its process has
        assert data is not None
        place: contextlib.AbstractContextManager[Path] = begun_folder(folder)
        output = folder.parent
    else:
        data = required(data)
        place, output = run_folder(config, data), config.output
    config = dataclasses.replace(config, device=own_device(config.device))
    own_output = (*output_in_data(output, data), *other_in_data(config, data))
    require_training_packages(config)
    started = time.perf_counter()
    budget = budget_of(config, started)
    recipe, preprocess = recipe_and_preprocess(config)  # imports timm for most models, so it comes first
    source = load_in_background(config, recipe.pretrained)
    if asks_the_network(config):
        source()
    cache = Cache(int(config.cache * GIGABYTE)) if config.cache else None

    def load(preprocess: Preprocess, selection: float) -> tuple[Dataset, Pictures]:
        with read_in_turn():
            return load_dataset(
                data,
                preprocess=preprocess,
                options=options_of(config),
                exclude=(*config.exclude, *own_output),
                selection=selection,
                workers=config.workers,
                memory_limit=own_memory(),
                cache=cache,
                fold=None if config.fold is None else fold_of(config.fold),
                calibrate=config.calibrate,
                watch=None if budget is None else budget.check_reading,
                choose_fit=chooses_fit(config, recipe),
                overrides=config.overrides,
            )

    with shared_folder(place) as folder, log_of(folder):
        mark_folder(folder, asked, data)
        if config.img_size == "auto":
            source()  # imports what the probe needs
            config = with_best_size(config, load, cache)
            recipe, preprocess = recipe_and_preprocess(config)
            source = load_in_background(config, recipe.pretrained)
        dataset, pictures = load(preprocess, recipe.selection)
        check_same_pictures(dataset)
        console.say(dataset.tree())
        dataset.announce(command_line("check", data, options_of(config), config.exclude))
        console.say(f"run: {folder}")
        if resume is None and is_first():
            dataset.write_csv(folder / "dataset.csv")
            dataset.write_findings(folder / FINDINGS)
        elif is_first():
            check_unchanged(folder, dataset)
        loaded = source()

        from headstart.model.memory import keep_freed_memory
        from headstart.training.first_step import checked_plan
        from headstart.training.fit import copy_of
        from headstart.training.speed import processor_threads
        from headstart.training.turned import warn_of_harm

        model = target_model(config, recipe, loaded, dataset.classes)
        keep_freed_memory()  # before the plan is timed
        plan = checked_plan(config, model, dataset, pictures, budget=budget, cache=cache)
        untrained = copy_of(model) if plan.refit != "none" else {}
        if resume is None and config.augment is not None:
            warn_of_harm(plan, model, dataset, pictures, cache)
        if resume is None and is_first():
            write_config(folder / CONFIG, plan, data)
        elif is_first():
            check_same_plan(folder, plan)
        console.say(f"{config.model}: {sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters")
        for line in plan.lines():
            console.say(line)

        hooks = hooks_of(config, hook) if is_first() else Hooks({})
        with processor_threads(plan.threads), hooks.of_run(folder, settings_in_full(plan, data)):
            plan, trained = carry_out(
                plan, model, dataset, pictures, cache, folder, hooks, budget, data, resumed=resume is not None
            )
            parts = (plan, model, dataset, pictures, cache, folder, hooks, budget)
            whole = not (trained.interrupted or trained.stopped)
            if plan.refit == "train" and whole and trained.won:
                trained = once_more(("train", "selection"), untrained, trained, *parts)
            elif plan.refit == "train" and whole:
                console.say("not trained once more: fine-tuning alone was not the best")
            more = plan.refit == "all" and whole
            result = evaluate_trained(folder, model, dataset, pictures, plan, trained, started, more=more)
            if more:
                trained = once_more(SPLITS, untrained, trained, *parts)
                settle(folder, result, trained, model, dataset, pictures, plan)
        hooks.end_run(result)
        if not trained.interrupted and is_first():
            unmark_folder(folder)
            discard_lock(folder)
            shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
        reported = place_of(dataset, dataset.reported_split) if config.fold is None else f"fold {config.fold}"
        for line in ("", *report_lines(result, place=reported)):
            console.say(line)
        if is_first():
            write_report_of(folder)
        console.say(f"\n{folder}: trained and evaluated in {time.perf_counter() - started:.0f} s")
        if trained.interrupted:
            console.say(f"to go on: headstart train --resume {folder}")
    return Run(folder, interrupted=trained.interrupted)


def required(data: Data | None, command: str = "train") -> Data:
    """The pictures, which a new run of a command needs.

    Raises:
        UsageError: HS-USAGE-005.
    """
    if data is None:
        raise UsageError(
            "HS-USAGE-005",
            "No pictures were given.",
            fix=f"headstart {command} DATA. See `headstart {command} --help`.",
        )
    return data


def log_of(folder: Path) -> contextlib.AbstractContextManager[None]:
    """``log.txt``, which the first process writes."""
    return console.logged_to(folder / "log.txt") if is_first() else contextlib.nullcontext()


def continued(
    resume: Run | str | PathLike[str], data: Data | None, config: TrainConfig
) -> tuple[Path, Data, TrainConfig]:
    """The folder, data and settings of an interrupted run.

    Raises:
        RunError: as `headstart.run_folder.begun`.
        ConfigError: HS-CONFIG-010, further settings were given.
        UsageError: HS-USAGE-005, the run's data were a list, which must be given again.
    """
    refuse_settings(given(config))
    folder, own_data, config = begun(resume)
    return folder, same_pictures(folder, own_data, data), config


def given(config: TrainConfig) -> list[str]:
    """The settings that are not as they are by default."""
    return sorted(name for name, value in to_mapping(config).items() if value != DEFAULTS[name])


def refuse_settings(names: Sequence[str]) -> None:
    """What goes on keeps its settings.

    Raises:
        ConfigError: HS-CONFIG-010, with all that were given.
    """
    if names:
        raise ConfigError(
            "HS-CONFIG-010",
            "A run that goes on keeps its settings.",
            details=[f"--{name.replace('_', '-')} is given" for name in names],
            fix="Leave these out, or start a new run without --resume.",
        )


def same_pictures(folder: Path, own: Data | None, data: Data | None) -> Data:
    """The pictures of a run that goes on: its own, or where they are now.

    Raises:
        UsageError: HS-USAGE-005, the run's data were a list, which must be given again.
    """
    chosen = own if data is None else data  # the same pictures may have moved
    if chosen is None:
        raise UsageError(
            "HS-USAGE-005",
            "No pictures were given: this run was begun with a list, which its folder cannot name.",
            where=folder,
            fix="Give the same list again: headstart.train(list, resume=run)",
        )
    return chosen


def show(
    data: Data,
    folder: str | PathLike[str] = "show",
    config: TrainConfig | None = None,
    *,
    per_class: int = 4,
    **fields: Any,
) -> list[Path]:
    """Draws the pictures, and what the network would see of them in `train` with the same settings.

    Args:
        data: As for `train`.
        folder: For the pages ``lesson.png`` (the first 8 pictures of the first class, the last 8 of the last)
            and ``classes.png`` (some of each class, with a random training view and the evaluation view).
        config: All settings at once, as for `train`; ``name`` is the title.
        per_class: Pictures of each class on the second page.
        fields: Single settings.

    Returns:
        The two files.

    Raises:
        ConfigError, DataError, ModelError, RunError: with a stable code and what to do.
    """
    from headstart.data.show import show as draw

    config = settings(config, fields)
    recipe, preprocess = recipe_and_preprocess(config)
    return draw(
        data,
        Path(folder),
        preprocess=preprocess,
        augment=recipe.augmentation,
        from_originals=recipe.from_originals,
        per_class=per_class,
        seed=config.seed,
        selection=recipe.selection,
        exclude=config.exclude,
        options=options_of(config),
        choose_fit=chooses_fit(config, recipe),
        name=config.name or (data_name(data) if isinstance(data, str | PathLike) else ""),
    )


def place_of(dataset: Dataset, split: str) -> str:
    """How to call a split's pictures: by their folder, or as a part of the data."""
    return f"{split}/" if dataset.layout == "split-folders" else f"the {split} part"
