"""The training and the evaluation of a run, with all that they leave in its folder."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart import console
from headstart.config import Refit
from headstart.data.cache import Cache
from headstart.data.dataset import Dataset
from headstart.data.pictures import Pictures
from headstart.data.sources import Data
from headstart.data.splits import CALIBRATION_MINIMUM, SPLITS
from headstart.epoch_log import EpochLog, as_csv
from headstart.evaluation.calibrate import at_temperature, card_entry, figures, fitted, told
from headstart.evaluation.evaluate import summary, without_leaked
from headstart.evaluation.measure import answers, table_of, write_evaluation, write_metrics
from headstart.model.card import MODEL_FOLDER, amend_card
from headstart.run_folder import CHECKPOINTS, CONFIG, write_config
from headstart.run_processes import is_first, load_together
from headstart.run_suspects import write_out_of_fold
from headstart.run_unknown import facts_of, fit_detector
from headstart.storage import write_atomic
from headstart.tracking import Hooks

if TYPE_CHECKING:
    from headstart.model.classifier import Classifier
    from headstart.training.budget import Budget
    from headstart.training.checkpoint import State
    from headstart.training.fit import Epoch, EpochHook
    from headstart.training.lr_find import Sweep
    from headstart.training.plan import Plan
    from headstart.training.train import Trained


def carry_out(
    plan: Plan,
    model: Classifier,
    dataset: Dataset,
    pictures: Pictures,
    cache: Cache | None,
    folder: Path,
    hooks: Hooks,
    budget: Budget | None,
    data: Data,
    *,
    resumed: bool,
) -> tuple[Plan, Trained]:
    """Trains as planned; after each epoch the row, the curves and the hooks.

    Returns:
        The plan, with the views and the rate that were settled after the probe, and what was trained.
    """
    import torch

    from headstart.model import ranks
    from headstart.training.checkpoint import Checkpoint
    from headstart.training.train import Trainer

    def save(best: Epoch) -> None:
        if is_first():
            save_model(folder, model, dataset, pictures, plan, best.epoch)

    def on_sweep(found: Sweep, plan: Plan) -> None:
        if is_first():
            show_sweep(found, plan, folder)

    def on_plan(plan: Plan) -> None:
        if is_first():
            write_config(folder / CONFIG, plan, data)

    def on_out_of_fold(probabilities: np.ndarray) -> None:
        if is_first():
            write_out_of_fold(folder, dataset, probabilities)

    watched = "selection" if plan.selection_pictures else f"{dataset.reported_split}, not selected on"
    log = EpochLog(folder, watched, hooks)
    checkpoint = Checkpoint(folder / CHECKPOINTS / "last.safetensors")
    if (saved := load_together(checkpoint)) is not None:
        log.rows = list(saved.progress.all_rows)
        hooks.known_rows(log.rows)
        console.say(f"goes on in epoch {saved.progress.epoch} after {saved.progress.batches} batches")
    elif resumed:
        console.say("no checkpoint was written yet: training starts from the beginning")
    with torch.random.fork_rng():  # dropout and stochastic depth draw from the global generator
        torch.manual_seed(plan.config.seed + ranks.rank())
        trainer = Trainer(
            model,
            dataset,
            pictures,
            plan,
            on_epoch=heard_by_all(log),
            on_best=save,
            cache=cache,
            checkpoint=checkpoint,
            saved=saved,
            budget=budget,
            on_plan=on_plan,
            on_sweep=on_sweep,
            on_out_of_fold=on_out_of_fold,
        )
        trained = trainer.train()
    plan = trainer.plan
    if is_first():
        save_model(folder, model, dataset, pictures, plan, trained.kept, trained.share)
    if trained.interrupted and is_first():
        log.rows = list(trained.epochs)  # the interrupt may have come while one was written
        log.write()
        console.warn("interrupted: the best model so far is saved and evaluated (Ctrl-C again stops at once)")
    if trained.best is not None and len(trained.epochs) > 1 and plan.selection_pictures:
        console.say(kept_line(trained.best, trained.share, plan.selection_pictures))
    return plan, trained


def show_sweep(found: Sweep, plan: Plan, folder: Path) -> None:
    """Says what a sweep over learning rates found, and writes ``lr-find.csv`` and ``lr-find.png``."""
    from headstart.evaluation.plots import draw_sweep

    rows = [dataclasses.asdict(point) for point in found.points]
    write_atomic(folder / "lr-find.csv", as_csv(rows))
    try:
        draw_sweep(rows, folder / "lr-find.png", chosen=plan.recipe.lr)
    except Exception as error:  # a picture that cannot be drawn costs a warning, not the run
        console.warn(f"lr-find.png cannot be drawn: {error}. Training goes on without it.")
    for line in found.warnings:
        console.warn(line)
    if found.lr is not None:
        first, last = rows[0]["lr"], rows[-1]["lr"]
        console.say(
            f"learning rate {plan.recipe.lr:g}, head {plan.recipe.lr * plan.recipe.head_lr_factor:g}: "
            f"found by a sweep of {len(rows)} steps at {first:.1e} to {last:.1e} (lr-find.png)"
        )


def once_more(
    splits: Sequence[str],
    source: State,
    chosen: Trained,
    plan: Plan,
    model: Classifier,
    dataset: Dataset,
    pictures: Pictures,
    cache: Cache | None,
    folder: Path,
    hooks: Hooks,
    budget: Budget | None,
) -> Trained:
    """Trains on further pictures what was chosen; the model before stays until the new one is whole."""
    import torch

    from headstart.model import ranks
    from headstart.training.checkpoint import Checkpoint
    from headstart.training.fit import copy_of
    from headstart.training.refit import refit

    before = copy_of(model)
    log = EpochLog(folder, "selection", hooks)
    log.rows = list(chosen.epochs)
    checkpoint = Checkpoint(folder / CHECKPOINTS / "refit.safetensors")
    if (saved := load_together(checkpoint)) is not None:
        log.rows += saved.progress.all_rows
        hooks.known_rows(saved.progress.all_rows)
    n, present = len(dataset.indices(*splits)), [name for name in splits if name in dataset.splits]
    measured = "; the figures are those of the model before" if plan.refit == "all" else ""
    console.say(f"once more on all {n} pictures of {', '.join(present)}, with nothing to choose{measured}")
    try:
        with torch.random.fork_rng():
            torch.manual_seed(plan.config.seed + ranks.rank())
            again = refit(
                model,
                source,
                chosen,
                dataset,
                pictures,
                plan,
                splits,
                on_epoch=heard_by_all(log),
                cache=cache,
                checkpoint=checkpoint,
                saved=saved,
                budget=budget,
            )
        interrupted, stopped = again.interrupted, again.stopped
    except KeyboardInterrupt:
        interrupted, stopped = True, False
    if interrupted or stopped:
        model.load_state_dict(before)
        console.warn(f"{'interrupted' if interrupted else 'out of time'}: the model from before is kept")
        return dataclasses.replace(chosen, interrupted=interrupted)
    if is_first():
        save_model(folder, model, dataset, pictures, plan, chosen.kept, chosen.share, plan.refit)
    return dataclasses.replace(chosen, epochs=tuple(log.rows), refit=plan.refit)


def heard_by_all(log: EpochLog) -> EpochHook:
    """Calls it in the first process; a Ctrl-C meanwhile ends training in all of them."""
    from headstart.model import ranks

    def on_epoch(row: Epoch) -> None:
        if not is_first():
            return
        try:
            log(row)
        except KeyboardInterrupt:
            if ranks.size() == 1:
                raise
            ranks.ask_to_stop()

    return on_epoch


def kept_line(best: Epoch, share: float, pictures: int) -> str:
    """Which weights the model has, for a person."""
    name = "the probe, which nothing surpassed" if best.epoch == 0 else f"epoch {best.epoch}"
    if share < 1:
        name = f"a mix, {share:.0%} of epoch {best.epoch} and {1 - share:.0%} of the probe"
    (accuracy, less), of = best.rank, "balanced " * best.is_balanced
    return (
        f"kept: {name} ({of}accuracy {accuracy:.3f}, {of}loss {-less:.3f} on {pictures} selection pictures)"
    )


def save_model(
    folder: Path,
    model: Classifier,
    dataset: Dataset,
    pictures: Pictures,
    plan: Plan,
    kept: int,
    share: float = 1.0,
    refit: Refit = "none",
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
            "refit": refit,
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
    *,
    more: bool,
) -> dict[str, Any]:
    """The fp32 forward of the saved weights on all pictures that did not train; writes the figures.

    If ``more`` is to be trained, they say that the run has not ended, until `settle`.
    """
    saved = load_saved(folder, model)
    held_out = [dataset.reported_split, "calibration"] + ["selection"] * (trained.refit != "train")
    ids = np.concatenate([dataset.indices(split) for split in held_out])
    found = answers(saved.to(plan.fmt.device), pictures, pictures.preprocess, ids, workers=plan.workers)
    set_aside = np.isin(dataset.splits[ids], ("selection", "calibration"))
    used = dataset.indices(*(["train", "selection"] if trained.refit == "train" else ["train"]))
    held = ids[set_aside], found.features[set_aside]
    detector = fit_detector(folder, saved, dataset, pictures, plan, used, held)
    plain = table_of(saved, dataset, ids, found, detector=detector)
    temperature = fitted(plain, why_not_calibrated(plan))
    table = at_temperature(plain, temperature.value)
    if is_first():
        entry = {"calibration": card_entry(table, temperature)}
        amend_card(folder / MODEL_FOLDER, {"temperature": temperature.value, **entry})
    result = summary(table, dataset.reported_split)
    result["calibration"] = told(temperature) | figures(table, plain, dataset.reported_split)
    result["unknown"] = facts_of(folder, detector, dataset, plan, table)
    if dataset.leaks:
        result["without_leaked"] = without_leaked(table, dataset.reported_split, dataset.leaks)
    result |= {
        "seconds": time.perf_counter() - started,
        "epoch": trained.kept,
        "share": trained.share,
        "refit": trained.refit,
        "strategy": plan.config.strategy,
        "recipe": plan.recipe.name,
        "balance": plan.recipe.balance,
        "model": plan.config.model,
        "fingerprint": dataset.fingerprint,
        "root": str(dataset.root),
    }
    if trained.interrupted or more:
        result["interrupted"] = True
    if is_first():
        write_evaluation(folder, table, result, dataset.leaks)
    return result


def why_not_calibrated(plan: Plan) -> str:
    """Why no pictures were set aside for it."""
    n, needed = plan.selection_pictures, 2 * CALIBRATION_MINIMUM
    if not plan.config.calibrate:
        return "--no-calibrate"
    if n == 0:
        return "no pictures choose here, so that none were set aside for it"
    if n < needed:
        return f"too few pictures to set some aside for it ({n} to choose with, {needed} are needed)"
    return "the selection pictures of a class, or the groups, do not divide"


def settle(
    folder: Path,
    result: dict[str, Any],
    trained: Trained,
    model: Classifier,
    dataset: Dataset,
    pictures: Pictures,
    plan: Plan,
) -> None:
    """Notes in the figures how the training after them went; its model is not the one that they are of.

    Its temperature is, as it cannot have one of its own. A coverage, which nothing could show, it has not.
    """
    if trained.refit == "all":  # other weights have other features
        saved, none = load_saved(folder, model).to(plan.fmt.device), np.zeros(0, np.int64)
        held = none, np.zeros((0, saved.num_features), np.float32)
        fit_detector(folder, saved, dataset, pictures, plan, dataset.indices(*SPLITS), held)
    result["refit"] = trained.refit
    if not trained.interrupted:
        del result["interrupted"]
    if is_first():
        if trained.refit == "all":
            amend_card(folder / MODEL_FOLDER, {"temperature": result["calibration"]["temperature"]})
        write_metrics(folder, result)


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
