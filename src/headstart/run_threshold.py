"""`headstart threshold`: what a model answers beside the most probable class, by held-out pictures of a run.

That is a class that must not be missed, or the answer of least expected cost.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from headstart import console, metrics
from headstart.calibration import MINIMUM, least_pictures, threshold_for
from headstart.console import counted
from headstart.data.lock import read_lock
from headstart.deployment.decision import LeastRecall
from headstart.errors import ConfigError, RunError, nearest
from headstart.evaluation.calibrate import PART
from headstart.evaluation.costs import cost_figures, cost_lines, read_costs
from headstart.evaluation.evaluate import printable, with_interval
from headstart.evaluation.predictions import NO_TRUTH, Predictions
from headstart.model.card import EXPORT, MODEL_FOLDER, Card, amend_card, read_card
from headstart.run_evaluation import reported_split
from headstart.run_folder import Run, opened

TABLE = "predictions.csv"


def threshold(
    run: Run | str | PathLike[str],
    min_recall: str | None = None,
    *,
    costs: str | PathLike[str] | None = None,
) -> dict[str, Any]:
    """Lets a run's model answer a class more often, or by what answers cost.

    `predict` answers so from then on; probabilities and temperature stay. What was asked for last counts.

    Args:
        run: A run or its folder.
        min_recall: Class and recall, such as ``"cracked=0.98"``: the class is answered wherever its
            probability reaches a threshold, the highest one that finds so many of its new pictures by the
            calibration pictures (as the sets of `headstart.calibration.threshold_for`).
        costs: A table of what each answer (column) costs for each class (row), see
            `headstart.evaluation.costs.read_costs`: the answer of least expected cost is given.

    Returns:
        With ``min_recall``: ``class``, ``recall``, ``threshold``, ``n``, ``interval_95``; ``before`` and
        ``after`` on the reported part. With ``costs``: ``answers``, ``table``; ``calibration`` (None without
        such pictures) and ``reported`` as `headstart.evaluation.costs.cost_figures`. {} where neither was
        given: the most probable class is answered again.

    Raises:
        ConfigError: HS-CONFIG-040, no class and recall; HS-CONFIG-041, no such class; HS-EVAL-070, -071, no
            such table; HS-EVAL-072, both were given.
        RunError: HS-EVAL-010, the run has no calibration pictures for ``min_recall``; HS-EVAL-011, too few of
            the class; HS-EVAL-012, its predictions are of other pictures or another model; HS-EVAL-013, its
            model was trained on them.
    """
    if min_recall is not None and costs is not None:
        raise ConfigError(
            "HS-EVAL-072",
            "A model answers by one of the two: a least recall, or a table of costs.",
            details=["--min-recall and --costs are both given"],
            fix="Leave out one of them. In a table of costs, a class that must not be missed has high costs "
            "in its row.",
        )
    folder = opened(run)
    card = read_card(folder / MODEL_FOLDER)
    if card.get(EXPORT):
        console.warn(f"the exported model still has what was there before: headstart export {folder}")
    if costs is not None:
        return by_costs(folder, card, Path(costs))
    if min_recall is not None:
        return by_recall(folder, card, min_recall)
    amend_card(folder / MODEL_FOLDER, {"min_recall": None, "costs": None})
    console.say(f"{folder}: the most probable class is answered")
    return {}


def by_recall(folder: Path, card: Card, min_recall: str) -> dict[str, Any]:
    """A class is answered from a probability on; see `threshold`."""
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
    amend_card(folder / MODEL_FOLDER, {"min_recall": rule.to_dict(), "costs": None})
    reported = table.of_split(reported_split(folder))
    reported = reported.rows(reported.truth != NO_TRUTH)
    before = figures(reported, reported.prediction, c)
    after = figures(reported, rule.answers(table.classes, reported.probabilities), c)
    for line in (rule.line(), *lines(before, after)):
        console.say(line)
    if card.get("costs"):
        console.say("the table of costs, which decided before, is removed")
    console.say(said_of_clearing(folder))
    return {**rule.to_dict(), "before": before, "after": after}


def by_costs(folder: Path, card: Card, path: Path) -> dict[str, Any]:
    """The answer of least expected cost is given; see `threshold`."""
    costs = read_costs(path, card["classes"])
    table = own_predictions(folder, card, least=0)
    rows, split = table.of_split(PART), reported_split(folder)
    found: dict[str, Any] = {
        "calibration": cost_figures(costs, rows) if len(rows) else None,
        "reported": cost_figures(costs, table.of_split(split)),
    }
    amend_card(
        folder / MODEL_FOLDER,
        {"min_recall": None, "costs": {**costs.to_dict(), "calibration": found["calibration"]}},
    )
    for name, other in costs.never_answered():
        console.warn(
            f"'{printable(name)}' is never answered: '{printable(other)}' never costs more. Rows are the "
            "truth, columns the answers."
        )
    if not len(rows):
        console.warn(
            "the run has no calibration pictures: its probabilities are the network's own, and expected "
            "costs are as good as these"
        )
    elif len(rows) < MINIMUM:
        pictures = counted(len(rows), "calibration picture says", "calibration pictures say")
        console.warn(f"{pictures} little: a cost may lie anywhere in its interval")
    for key, place in (("calibration", "the calibration pictures"), ("reported", f"the {split} pictures")):
        for line in cost_lines(found[key], place) if found[key] else ():
            console.say(line)
    if card.get("min_recall"):
        console.say(f"the least recall of '{printable(card['min_recall']['class'])}' is removed")
    console.say(said_of_clearing(folder))
    return {**costs.to_dict(), **found}


def said_of_clearing(folder: Path) -> str:
    """That the rule holds from now on, even where the figures speak against it, and how to be rid of it."""
    return f"predict answers so from now on; to take it back: headstart threshold {folder} --clear"


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


def own_predictions(folder: Path, card: Card, *, least: int = 1) -> Predictions:
    """The predictions of a run, if they are its model's, with so many calibration pictures among them.

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
    if len(own) < least:
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
