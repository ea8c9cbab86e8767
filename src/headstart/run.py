"""A run: from a data folder to a folder with a trained, evaluated model. Composes all stages.

Each line of `train` is one stage: settings, run folder, pictures, network, plan, training, model, evaluation.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import shutil
import time
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart import console
from headstart.config import TrainConfig, to_mapping
from headstart.data.cache import GIGABYTE, Cache
from headstart.data.dataset import Dataset, load_dataset
from headstart.data.pictures import Pictures
from headstart.epoch_log import EpochLog
from headstart.errors import ConfigError, UsageError
from headstart.evaluation.evaluate import report_lines, summary
from headstart.evaluation.measure import predict, write_evaluation
from headstart.model.card import MODEL_FOLDER
from headstart.run_folder import (
    CHECKPOINTS,
    CONFIG,
    Data,
    Run,
    begun,
    check_same_plan,
    check_unchanged,
    output_in_data,
    run_folder,
    write_config,
)
from headstart.run_processes import (
    begun_by_this_launch,
    check_same_pictures,
    is_first,
    joined,
    load_together,
    mark_folder,
    own_device,
    own_memory,
    read_in_turn,
    same_settings,
    shared_folder,
    unmark_folder,
)
from headstart.run_setup import (
    asks_the_network,
    preload,
    recipe_and_preprocess,
    require_training_packages,
    settings,
    source_model,
    target_model,
)

DEFAULTS = to_mapping(TrainConfig())

if TYPE_CHECKING:
    from headstart.model.classifier import Classifier
    from headstart.training.fit import Epoch, EpochHook
    from headstart.training.plan import Plan
    from headstart.training.train import Trained


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
        data: A folder of pictures (class folders, with or without split folders), or a list of (path, label)
            or (path, label, split) with split ``train``, ``val`` or ``test``.
        config: All settings at once.
        resume: A run that was interrupted; it goes on with its own settings and pictures, and on the same
            machine ends in the weights that it would have had. ``data`` says where the pictures are now, if
            they have moved or were a list.
        hook: Called with each `headstart.training.fit.Epoch` as it ends. If it raises, it is switched off
            with a warning and the run goes on.
        fields: Single settings, by the names of `TrainConfig`: ``train(data, model="torchvision/resnet18")``.

    Returns:
        The run; its folder is never one that existed, but for ``resume``.

    Raises:
        ConfigError, DataError, ModelError, RunError: with a stable code and what to do.
    """
    config = settings(config, fields)
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
        place: contextlib.AbstractContextManager[Path] = contextlib.nullcontext(folder)
        output = folder.parent
    elif data is None:
        raise UsageError(
            "HS-USAGE-005",
            "No pictures were given.",
            fix="headstart train DATA. See `headstart train --help`.",
        )
    else:
        place, output = run_folder(config, data), config.output
    config = dataclasses.replace(config, device=own_device(config.device))
    require_training_packages()
    started = time.perf_counter()
    recipe, preprocess = recipe_and_preprocess(config)  # imports timm for most models: not beside `preload`
    preloading = preload("torch", "timm")
    source = None
    if asks_the_network(config):
        preloading.join()
        source = source_model(config, recipe.pretrained)
    own_output = output_in_data(output, data)
    cache = Cache(int(config.cache * GIGABYTE)) if config.cache else None
    with shared_folder(place) as folder, log_of(folder):
        mark_folder(folder, asked, data)
        with read_in_turn():
            dataset, pictures = load_dataset(
                data,
                preprocess=preprocess,
                exclude=(*config.exclude, *own_output),
                selection=recipe.selection,
                workers=config.workers,
                memory_limit=own_memory(),
                cache=cache,
            )
        check_same_pictures(dataset)
        for line in (dataset.tree(), *dataset.notes):
            console.say(line)
        console.say(f"run: {folder}")
        if resume is None and is_first():
            dataset.write_csv(folder / "dataset.csv")
        elif is_first():
            check_unchanged(folder, dataset)
        preloading.join()

        from headstart.training.plan import make_plan

        source = source or source_model(config, recipe.pretrained)
        model = target_model(config, recipe, source, dataset.classes)
        plan = make_plan(config, model, dataset, pictures.preprocess)
        if resume is None and is_first():
            write_config(folder / CONFIG, plan, data)
        elif is_first():
            check_same_plan(folder, plan)
        console.say(f"{config.model}: {sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters")
        for line in plan.lines():
            console.say(line)

        with processor_threads(plan.threads):
            trained = carry_out(
                plan, model, dataset, pictures, cache, folder, hook, resumed=resume is not None
            )
            result = evaluate_trained(folder, model, dataset, pictures, plan, trained, started)
        if not trained.interrupted and is_first():
            unmark_folder(folder)
            shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
        for line in ("", *report_lines(result, place=place_of(dataset, dataset.reported_split))):
            console.say(line)
        console.say(f"\n{folder}: trained and evaluated in {time.perf_counter() - started:.0f} s")
        if trained.interrupted:
            console.say(f"to go on: headstart train --resume {folder}")
    return Run(folder, interrupted=trained.interrupted)


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
    changed = sorted(name for name, value in to_mapping(config).items() if value != DEFAULTS[name])
    if changed:
        raise ConfigError(
            "HS-CONFIG-010",
            "A run that goes on keeps its settings.",
            details=[f"--{name.replace('_', '-')} is given" for name in changed],
            fix="Leave these out, or start a new run without --resume.",
        )
    folder, own_data, config = begun(resume)
    chosen = own_data if data is None else data  # the same pictures may have moved
    if chosen is None:
        raise UsageError(
            "HS-USAGE-005",
            "No pictures were given: this run was begun with a list, which its folder cannot name.",
            where=folder,
            fix="Give the same list again: headstart.train(list, resume=run)",
        )
    return folder, chosen, config


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
        name=config.name or "",
    )


@contextlib.contextmanager
def processor_threads(number: int) -> Iterator[None]:
    """Training and evaluation on the plan's threads; the process' own number afterwards."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def carry_out(
    plan: Plan,
    model: Classifier,
    dataset: Dataset,
    pictures: Pictures,
    cache: Cache | None,
    folder: Path,
    hook: EpochHook | None,
    *,
    resumed: bool,
) -> Trained:
    """Trains as planned; after each epoch the row, the curves and the hook."""
    import torch

    from headstart.model import ranks
    from headstart.model.memory import keep_freed_memory
    from headstart.training.checkpoint import Checkpoint
    from headstart.training.train import Trainer

    keep_freed_memory()

    def save(best: Epoch) -> None:
        if is_first():
            save_model(folder, model, dataset, pictures, plan, best.epoch)

    def on_epoch(row: Epoch) -> None:
        if not is_first():
            return
        try:
            log(row)
        except KeyboardInterrupt:  # all processes must hear of it
            if ranks.size() == 1:
                raise
            ranks.ask_to_stop()

    watched = "selection" if plan.selection_pictures else f"{dataset.reported_split}, not selected on"
    log = EpochLog(folder, watched, hook)
    checkpoint = Checkpoint(folder / CHECKPOINTS / "last.safetensors")
    if (saved := load_together(checkpoint)) is not None:
        log.rows = list(saved.progress.all_rows)
        console.say(f"goes on in epoch {saved.progress.epoch} after {saved.progress.batches} batches")
    elif resumed:
        console.say("no checkpoint was written yet: training starts again from the beginning")
    with torch.random.fork_rng():  # dropout and stochastic depth draw from the global generator
        torch.manual_seed(plan.config.seed + ranks.rank())
        trainer = Trainer(
            model,
            dataset,
            pictures,
            plan,
            on_epoch=on_epoch,
            on_best=save,
            cache=cache,
            checkpoint=checkpoint,
            saved=saved,
        )
        trained = trainer.train()
    if is_first():
        save_model(folder, model, dataset, pictures, plan, trained.kept, trained.share)
    if trained.interrupted and is_first():
        log.rows = list(trained.epochs)  # the interrupt may have come while one was written
        log.write()
        console.warn("interrupted: the best model so far is saved and evaluated (Ctrl-C again stops at once)")
    if trained.best is not None and len(trained.epochs) > 1 and plan.selection_pictures:
        console.say(kept_line(trained.best, trained.share, plan.selection_pictures))
    return trained


def kept_line(best: Epoch, share: float, pictures: int) -> str:
    """Which weights the model has, for a person."""
    name = "the probe, which nothing surpassed" if best.epoch == 0 else f"epoch {best.epoch}"
    if share < 1:
        name = f"a mix, {share:.0%} of epoch {best.epoch} and {1 - share:.0%} of the probe"
    return (
        f"kept: {name} (accuracy {best.val_accuracy:.3f}, loss {best.val_loss:.3f} "
        f"on {pictures} selection pictures)"
    )


def save_model(
    folder: Path,
    model: Classifier,
    dataset: Dataset,
    pictures: Pictures,
    plan: Plan,
    kept: int,
    share: float = 1.0,
) -> None:
    """Writes the bundle; ``kept`` is the epoch whose weights the model has now, to this share."""
    from headstart.model.bundle import save_bundle

    save_bundle(
        folder / MODEL_FOLDER,
        model,
        {
            "preprocess": pictures.preprocess.to_dict(),
            "temperature": 1.0,
            "fingerprint": dataset.fingerprint,
            "strategy": plan.config.strategy,
            "recipe": plan.recipe.name,
            "epoch": kept,
            "share": share,
        },
    )


def evaluate_trained(
    folder: Path,
    model: Classifier,
    dataset: Dataset,
    pictures: Pictures,
    plan: Plan,
    trained: Trained,
    started: float,
) -> dict[str, Any]:
    """The fp32 forward of the saved weights on all pictures that did not train; writes the figures."""
    saved = load_saved(folder, model)
    ids = np.concatenate([dataset.indices(split) for split in (dataset.reported_split, "selection")])
    table = predict(saved.to(plan.fmt.device), dataset, pictures, ids, workers=plan.workers)
    result = summary(table, dataset.reported_split)
    result |= {
        "seconds": time.perf_counter() - started,
        "epoch": trained.kept,
        "share": trained.share,
        "strategy": plan.config.strategy,
        "recipe": plan.recipe.name,
        "model": plan.config.model,
        "fingerprint": dataset.fingerprint,
    }
    if trained.interrupted:
        result["interrupted"] = True
    if is_first():
        write_evaluation(folder, table, result)
    return result


def load_saved(folder: Path, model: Classifier) -> Classifier:
    """The model as it was saved, in every process; ``folder`` need be seen by the first one only."""
    import torch

    from headstart.model import ranks
    from headstart.model.bundle import load_bundle

    if is_first():
        saved, _ = load_bundle(folder / MODEL_FOLDER)
    else:
        saved = copy.deepcopy(model).float().cpu().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    ranks.agree_tensors(saved)
    return saved


def place_of(dataset: Dataset, split: str) -> str:
    """How to call a split's pictures: by their folder, or as a part of the data."""
    return f"{split}/" if dataset.layout == "split-folders" else f"the {split} part"
