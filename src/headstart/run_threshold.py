"""`headstart threshold`: a class that must not be missed, by held-out pictures of a run."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from headstart import console, metrics
from headstart.calibration import least_pictures, threshold_for
from headstart.console import counted
from headstart.data.lock import read_lock
from headstart.deployment.decision import LeastRecall
from headstart.errors import ConfigError, RunError, nearest
from headstart.evaluation.calibrate import PART
from headstart.evaluation.evaluate import printable, with_interval
from headstart.evaluation.predictions import NO_TRUTH, Predictions
from headstart.model.card import EXPORT, MODEL_FOLDER, Card, amend_card, read_card
from headstart.run_evaluation import reported_split
from headstart.run_folder import Run, opened

TABLE = "predictions.csv"


def threshold(run: Run | str | PathLike[str], min_recall: str | None = None) -> dict[str, Any]:
    """Lets a run's model find a class more often, at the price of more false alarms.

    The class is answered wherever its probability reaches a threshold, which its calibration pictures
    decide: it is the highest one that finds so many of its new pictures (as the sets of
    `headstart.calibration.threshold_for`). `predict` applies it from then on.

    Args:
        run: A run or its folder.
        min_recall: Class and recall, such as ``"cracked=0.98"``; None: the most probable class is answered
            again.

    Returns:
        ``class``, ``recall``, ``threshold``, ``n``, ``interval_95``; ``before`` and ``after`` on the reported
        part. {} where the threshold was removed.

    Raises:
        ConfigError: HS-CONFIG-040, no class and recall; HS-CONFIG-041, no such class.
        RunError: HS-EVAL-010, the run has no calibration pictures; HS-EVAL-011, too few of the class;
            HS-EVAL-012, its predictions are of other pictures or another model; HS-EVAL-013, its model was
            trained on them.
    """
    folder = opened(run)
    card = read_card(folder / MODEL_FOLDER)
    if card.get(EXPORT):
        console.warn(f"the exported model still has what was there before: headstart export {folder}")
    if min_recall is None:
        amend_card(folder / MODEL_FOLDER, {"min_recall": None})
        console.say(f"{folder}: the most probable class is answered")
        return {}
    name, recall = class_and_recall(min_recall, card["classes"])
    table = own_predictions(folder, card)
    rows = table.of_split(PART)
    c = table.classes.index(name)
    found = threshold_for(rows.probabilities[rows.truth == c, c], recall)
    if found is None:
        n, needed = int((rows.truth == c).sum()), least_pictures(recall)
        raise RunError(
            "HS-EVAL-011",
            f"{counted(n, 'calibration picture', 'calibration pictures')} of '{printable(name)}' are too few "
            f"for a recall of {recall:g}, which needs {needed}.",
            where=folder,
            fix=(f"Ask for {np.floor(n / (n + 1) * 1000) / 1000:g} or less, or t" if n else "T")
            + f"rain with more pictures of '{printable(name)}'.",
        )
    rule = LeastRecall(name, recall, found)
    amend_card(folder / MODEL_FOLDER, {"min_recall": rule.to_dict()})
    reported = table.of_split(reported_split(folder))
    reported = reported.rows(reported.truth != NO_TRUTH)
    before = figures(reported, reported.prediction, c)
    after = figures(reported, rule.answers(table.classes, reported.probabilities), c)
    for line in (rule.line(), *lines(before, after)):
        console.say(line)
    return {**rule.to_dict(), "before": before, "after": after}


def class_and_recall(text: str, classes: list[str]) -> tuple[str, float]:
    """The two of ``cracked=0.98``.

    Raises:
        ConfigError: HS-CONFIG-040, HS-CONFIG-041.
    """
    name, _, number = text.rpartition("=")
    try:
        recall = float(number)
    except ValueError:
        recall = -1.0
    if not name or not 0 < recall < 1:
        raise ConfigError(
            "HS-CONFIG-040",
            f"This is no class with a recall between 0 and 1: {text!r}.",
            fix="Give both, such as --min-recall cracked=0.98",
        )
    if name not in classes:
        raise ConfigError(
            "HS-CONFIG-041",
            f"The model has no class {name!r}.{nearest(name, classes)}",
            fix=f"It knows: {', '.join(map(printable, classes))}.",
        )
    return name, recall


def own_predictions(folder: Path, card: Card) -> Predictions:
    """The predictions of a run, if they are its model's, with calibration pictures among them.

    Raises:
        RunError: HS-EVAL-001, -002, -010, -012, -013.
    """
    if card.get("refit") == "all":
        raise RunError(
            "HS-EVAL-013",
            "Every picture trained this model (--refit all): none is left to find a threshold with.",
            where=folder,
            fix="Train without --refit all.",
        )
    table = Predictions.read_csv(folder / TABLE)
    own = {(row.path, row.class_name) for row in read_lock(folder) if row.split == PART}
    rows = table.of_split(PART)
    told = {(path, table.classes[truth]) for path, truth in zip(rows.paths, rows.truth.tolist(), strict=True)}
    if table.classes != tuple(card["classes"]) or told != own:
        raise RunError(
            "HS-EVAL-012",
            "The predictions in this folder are of other pictures, or of another model.",
            where=folder / TABLE,
            fix="Put the run's own files back, or train again.",
        )
    if not own:
        raise RunError(
            "HS-EVAL-010",
            "This run has no calibration pictures, which a threshold is found with.",
            where=folder,
            fix="Train without --no-calibrate, with 200 pictures or more to choose with: add pictures, or "
            "set more of them aside (--selection 0.4). A probe needs val/ of 100 beside test/.",
        )
    return table


def figures(table: Predictions, answers: np.ndarray, c: int) -> dict[str, Any]:
    """Recall and precision of a class, and the accuracy, each with n and interval."""
    of, said = table.truth == c, answers == c

    def figure(right: int, n: int) -> dict[str, Any]:
        interval = list(metrics.wilson_interval(right, n)) if n else None
        return {"value": right / n if n else None, "n": n, "interval_95": interval}

    both = int((of & said).sum())
    return {
        "recall": figure(both, int(of.sum())),
        "precision": figure(both, int(said.sum())),
        "accuracy": figure(int((answers == table.truth).sum()), len(table)),
    }


def lines(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What it changes on the reported part."""
    rows = [(name, with_interval(before[name]), with_interval(after[name])) for name in before]
    header = ("on the reported pictures", "most probable class", "with the threshold")
    return ["", *console.table(header, rows).split("\n")]
