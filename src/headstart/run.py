"""A run: from a data folder to a folder with a trained, evaluated model. Composes all stages.

Each line of `train` is one stage: settings, run folder, pictures, network, plan, training, model, evaluation.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart import console
from headstart.config import TrainConfig, from_mapping, to_mapping
from headstart.data.dataset import Dataset, load_dataset
from headstart.data.pictures import Pictures
from headstart.data.preprocess import Preprocess
from headstart.errors import MissingExtraError
from headstart.evaluation.compare import compare
from headstart.evaluation.evaluate import report_lines, summary
from headstart.evaluation.measure import measure, predict, write_evaluation
from headstart.evaluation.predictions import Predictions
from headstart.model import zoo
from headstart.run_folder import (
    MODEL_FOLDER,
    Data,
    Run,
    claim,
    data_name,
    opened,
    output_in_data,
    run_folder,
    write_config,
)
from headstart.storage import write_atomic

if TYPE_CHECKING:
    from headstart.model.classifier import Classifier
    from headstart.training.fit import Epoch, EpochHook
    from headstart.training.plan import Plan
    from headstart.training.recipes import Recipe
    from headstart.training.train import Trained


def train(
    data: Data, config: TrainConfig | None = None, *, hook: EpochHook | None = None, **fields: Any
) -> Run:
    """Fine-tunes a pretrained network on pictures and evaluates it.

    Args:
        data: A folder of pictures (class folders, with or without split folders), or a list of (path, label)
            or (path, label, split) with split ``train``, ``val`` or ``test``.
        config: All settings at once.
        hook: Called with each `headstart.training.fit.Epoch` as it ends. If it raises, it is switched off
            with a warning and the run goes on.
        fields: Single settings, by the names of `TrainConfig`: ``train(data, model="torchvision/resnet18")``.

    Returns:
        The run; its folder is never one that existed.

    Raises:
        ConfigError, DataError, ModelError, RunError: with a stable code and what to do.
    """
    config = settings(config, fields)
    require_training_packages()
    started = time.perf_counter()
    preloading = preload("torch", "timm")

    recipe, preprocess = recipe_and_preprocess(config)
    own_output = output_in_data(config.output, data)
    with run_folder(config, data) as folder, console.logged_to(folder / "log.txt"):
        dataset, pictures = load_dataset(
            data,
            preprocess=preprocess,
            exclude=(*config.exclude, *own_output),
            selection=recipe.selection,
            workers=config.workers,
        )
        for line in (dataset.tree(), *dataset.notes):
            console.say(line)
        console.say(f"run: {folder}")
        dataset.write_csv(folder / "dataset.csv")
        preloading.join()

        from headstart.training.plan import make_plan

        model = build_model(config, recipe.pretrained, recipe.head_init, dataset.classes)
        plan = make_plan(config, model, dataset, pictures.preprocess)
        write_config(folder / "config.yaml", plan, data)
        console.say(f"{config.model}: {sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters")
        for line in plan.lines():
            console.say(line)

        with processor_threads(plan.threads):
            trained = carry_out(plan, model, dataset, pictures, folder, hook)
            result = evaluate_trained(folder, model, dataset, pictures, plan, trained, started)
        for line in ("", *report_lines(result, place=place_of(dataset, dataset.reported_split))):
            console.say(line)
        console.say(f"\n{folder}: trained and evaluated in {time.perf_counter() - started:.0f} s")
    return Run(folder, interrupted=trained.interrupted)


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
        per_class=per_class,
        seed=config.seed,
        selection=recipe.selection,
        exclude=config.exclude,
        name=config.name or "",
    )


def settings(config: TrainConfig | None, fields: Mapping[str, Any]) -> TrainConfig:
    """A configuration, with single settings laid over it."""
    if config is None:
        return from_mapping(fields)
    return from_mapping({**to_mapping(config), **fields}) if fields else config


def recipe_and_preprocess(config: TrainConfig) -> tuple[Recipe, Preprocess]:
    """How a configuration trains, and how it turns pictures into the network's input."""
    from headstart.training.recipes import resolve_recipe

    recipe = resolve_recipe(config)
    preprocess = zoo.preprocess(config.model, config.img_size, fit=recipe.fit)
    if recipe.resize is not None:
        preprocess = dataclasses.replace(preprocess, resize=recipe.resize_for(preprocess.img_size))
    return recipe, preprocess


def require_training_packages() -> None:
    """Says the pip line where the extra ``train`` is not installed.

    Raises:
        MissingExtraError: HS-INSTALL-001.
    """
    from importlib.util import find_spec

    if any(find_spec(name) is None for name in ("torch", "torchvision", "timm", "matplotlib")):
        raise MissingExtraError("train", "Training")


def preload(*modules: str) -> threading.Thread:
    """Imports slow modules while pictures are being decoded."""

    def work() -> None:
        for name in modules:
            import_module(name)

    thread = threading.Thread(target=work, daemon=True, name="preload")
    thread.start()
    return thread


def build_model(
    config: TrainConfig, pretrained: bool, head_init: str, classes: tuple[str, ...]
) -> Classifier:
    """The source model with a new head for these classes."""
    from headstart.model.transfer import reinitialise, transfer

    source = zoo.create(config.model, weights=config.weights, pretrained=pretrained, img_size=config.img_size)
    model = transfer(
        source,
        classes,
        head_init="zeros" if head_init == "zeros" else "xavier",
        head_from=config.head_from,
        seed=config.seed,
    )
    if not pretrained:
        reinitialise(model, config.seed)
    return model


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
    plan: Plan, model: Classifier, dataset: Dataset, pictures: Pictures, folder: Path, hook: EpochHook | None
) -> Trained:
    """Trains as planned; after each epoch the row, the curves and the hook."""
    import torch

    from headstart.model.memory import keep_freed_memory
    from headstart.training.train import Trainer

    keep_freed_memory()

    def save(kept: int) -> None:
        save_model(folder, model, dataset, pictures, plan, kept)

    watched = "selection" if plan.selection_pictures else f"{dataset.reported_split}, not selected on"
    log = EpochLog(folder, watched, save, hook)
    with torch.random.fork_rng():  # dropout and stochastic depth draw from the global generator
        torch.manual_seed(plan.config.seed)
        trained = Trainer(model, dataset, pictures, plan, log).train()
    save(trained.kept)
    if trained.interrupted:
        log.rows = list(trained.epochs)  # the interrupt may have come while one was written
        log.write()
        console.warn("interrupted: the best model so far is saved and evaluated (Ctrl-C again stops at once)")
    if len(trained.epochs) > 1 and plan.selection_pictures:
        kept = trained.epochs[[row.epoch for row in trained.epochs].index(trained.kept)]
        name = "the probe, which no epoch surpassed" if kept.epoch == 0 else f"epoch {kept.epoch}"
        console.say(
            f"kept: {name} (accuracy {kept.val_accuracy:.3f}, loss {kept.val_loss:.3f} "
            f"on {plan.selection_pictures} selection pictures)"
        )
    return trained


class EpochLog:
    """What happens after each epoch: a line, ``results.csv``, ``curves.png`` and the user's hook.

    The probe is saved at once: from then on the run holds a complete model, whatever happens.
    """

    def __init__(
        self, folder: Path, watched: str, save: Callable[[int], None], hook: EpochHook | None
    ) -> None:
        self.folder = folder
        self.watched = watched
        self.save = save
        self.hook = hook
        self.rows: list[Epoch] = []

    def __call__(self, row: Epoch) -> None:
        self.rows.append(row)
        watched = "out of fold" if row.epoch == 0 and "not selected" in self.watched else self.watched
        name = row.stage if row.epoch == 0 else f"{row.stage} epoch {row.epoch}"
        console.say(
            f"{name}: loss {row.train_loss:.3f}, train accuracy {row.train_accuracy:.3f}, "
            f"{watched}: loss {row.val_loss:.3f}, accuracy {row.val_accuracy:.3f}, "
            f"{row.images_per_second:.0f} pictures/s, {row.seconds:.1f} s"
        )
        self.write()
        if row.epoch == 0:
            self.save(0)
        self.call_hook(row)

    def write(self) -> None:
        """``results.csv``, and ``curves.png`` once there is more than the probe to draw."""
        from headstart.evaluation.plots import draw_curves, show_live

        rows = [dataclasses.asdict(one) for one in self.rows]
        write_atomic(self.folder / "results.csv", as_csv(rows))
        if self.rows[-1].epoch > 0:
            draw_curves(rows, self.folder / "curves.png", reported=self.watched)
            show_live(self.folder / "curves.png")

    def call_hook(self, row: Epoch) -> None:
        if self.hook is None:
            return
        try:
            self.hook(row)
        except Exception as error:
            console.warn(f"the epoch hook raised {type(error).__name__}: {error}. It is switched off.")
            self.hook = None


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def save_model(
    folder: Path, model: Classifier, dataset: Dataset, pictures: Pictures, plan: Plan, kept: int
) -> None:
    """Writes the bundle; ``kept`` is the epoch whose weights the model has."""
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
    from headstart.model.bundle import load_bundle

    saved, _ = load_bundle(folder / MODEL_FOLDER)
    ids = np.concatenate([dataset.indices(split) for split in (dataset.reported_split, "selection")])
    table = predict(saved.to(plan.fmt.device), dataset, pictures, ids, workers=plan.workers)
    result = summary(table, dataset.reported_split)
    result |= {
        "seconds": time.perf_counter() - started,
        "epoch": trained.kept,
        "strategy": plan.config.strategy,
        "recipe": plan.recipe.name,
        "model": plan.config.model,
        "fingerprint": dataset.fingerprint,
    }
    write_evaluation(folder, table, result)
    return result


def place_of(dataset: Dataset, split: str) -> str:
    """How to call a split's pictures: by their folder, or as a part of the data."""
    return f"{split}/" if dataset.layout == "split-folders" else f"the {split} part"


def identified(table: Predictions, folder: Path) -> Predictions:
    """The table with each picture's content in its path, so that only the same pictures are compared."""
    with open(folder / "dataset.csv", encoding="utf-8", errors="surrogateescape", newline="") as file:
        content = {row["path"]: row["file_hash"] for row in csv.DictReader(file)}
    return dataclasses.replace(table, paths=tuple(f"{path} {content[path]}" for path in table.paths))


def evaluate(
    *runs: Run | str | PathLike[str],
    data: Data | None = None,
    exclude: Sequence[str] = (),
    workers: int | None = None,
    device: str | None = None,
) -> dict[str, Any]:
    """Figures of one or several runs; several are compared on the same pictures.

    Args:
        runs: Runs or their folders.
        data: Pictures to measure on; None: the pictures that each run reported on.
        exclude: Patterns to leave out of ``data``.
        workers: Threads that read pictures.
        device: Where to compute.

    Returns:
        ``runs``: the summary of each by its folder; ``comparison`` if there are several. With ``data``,
        tables and figures also stand in ``RUN/evaluations/NAME/``.

    Raises:
        RunError: HS-RUN-020, no such run.
        DataError: as `headstart.evaluation.measure.measure`.
    """
    folders = [opened(run) for run in runs]
    tables: dict[str, Predictions] = {}
    results: dict[str, Any] = {}
    for folder in folders:
        if data is None:
            table = Predictions.read_csv(folder / "predictions.csv")
            split = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["split"]
            result, place = summary(table, split), f"the {split} part of its data"
            table = identified(table.of_split(split), folder)
        else:
            table, result, place = measure(folder, data, exclude=exclude, workers=workers, device=device)
            place_for_it = claim(folder / "evaluations", data_name(data))
            write_evaluation(place_for_it, table, result)
            result["folder"] = str(place_for_it)
        tables[str(folder)], results[str(folder)] = table, result
        for line in (f"\n{folder}", *report_lines(result, place=place)):
            console.say(line)
    found: dict[str, Any] = {"runs": results}
    if len(folders) > 1:
        comparison = compare(tables)
        for line in ("", *comparison.lines()):
            console.say(line)
        found["comparison"] = comparison.to_dict()
    return found
