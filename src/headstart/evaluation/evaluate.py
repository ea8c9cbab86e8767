"""From the table of predictions to the numbers of ``metrics.json`` and the lines on the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from headstart import metrics
from headstart.console import counted, table, text_width
from headstart.data.leaked import KINDS, Leak, in_words
from headstart.evaluation.calibrate import calibration_line
from headstart.evaluation.predictions import NO_TRUTH, Predictions

WIDE = 0.20  # an interval wider than +-10 points is said first
SHOWN_CLASSES = 30  # of more, only the weakest are listed on the terminal
SHOWN_MATRIX = 8
MATRIX_COLUMN = 14  # places for a class name above its column
TOP_K = 5

Summary = dict[str, Any]


def summary(predictions: Predictions, split: str, *, selected_on: bool = False) -> Summary:
    """All figures of one split, ready for JSON: fractions 0..1, None where undefined.

    Args:
        predictions: The table; rows of other splits and rows without a truth are left aside.
        split: ``val``, ``test``, ...
        selected_on: Whether a choice (epoch, recipe) was made on this split.

    Returns:
        ``accuracy``, ``balanced_accuracy``, ``macro_f1``, ``nll``, ``brier`` (and ``auc`` for two
        classes, ``top_5_accuracy`` for more than five, ``false_rejects`` where pictures are told to be
        unknown: the share of them, all of which have a class) as ``{"value", "n", "interval_95"}``;
        ``per_class`` by name; ``confusion_matrix`` [truth][prediction]; ``majority_baseline``;
        ``constant_prediction``, the class' name if every answer was the same.
    """
    rows = predictions.of_split(split)
    without_truth = int((rows.truth == NO_TRUTH).sum())
    if without_truth:
        rows = rows.rows(rows.truth != NO_TRUTH)
    n, classes = len(rows), rows.classes
    truth, predicted, probabilities = rows.truth, rows.prediction, rows.probabilities
    matrix = metrics.confusion_matrix(truth, predicted, len(classes))
    scores = metrics.per_class_of(matrix)
    right = int(np.trace(matrix))

    def figure(value: float, interval: metrics.Interval) -> dict[str, Any]:
        return {"value": _defined(value), "n": n, "interval_95": _pair(interval)}

    losses, squares = metrics.log_losses(truth, probabilities), metrics.brier_scores(truth, probabilities)
    result: Summary = {
        "split": split,
        "n": n,
        "selected_on": selected_on,
        "without_truth": without_truth,
        "classes": list(classes),
        "accuracy": figure(right / n if n else math.nan, metrics.wilson_interval(right, n)),
        "balanced_accuracy": figure(
            metrics.mean_defined(scores.recall), metrics.balanced_accuracy_interval(matrix)
        ),
        "macro_f1": figure(metrics.mean_defined(scores.f1), metrics.macro_f1_interval(matrix)),
        "nll": figure(float(losses.mean()) if n else math.nan, metrics.mean_interval(losses)),
        "brier": figure(float(squares.mean()) if n else math.nan, metrics.mean_interval(squares)),
    }
    if len(classes) == 2:
        result["auc"] = figure(*metrics.auc_with_interval(truth == 1, probabilities[:, 1]))
    if len(classes) > TOP_K:
        hits = int(metrics.in_top_k(truth, probabilities, TOP_K).sum())
        result[f"top_{TOP_K}_accuracy"] = figure(
            hits / n if n else math.nan, metrics.wilson_interval(hits, n)
        )
    if rows.unknown is not None:
        flagged = int(rows.unknown.sum())
        result["false_rejects"] = figure(flagged / n if n else math.nan, metrics.wilson_interval(flagged, n))
    result["per_class"] = {
        name: {
            "precision": _defined(scores.precision[i]),
            "recall": _defined(scores.recall[i]),
            "f1": _defined(scores.f1[i]),
            "support": int(scores.support[i]),
            "recall_interval_95": _pair(metrics.wilson_interval(int(matrix[i, i]), int(scores.support[i]))),
        }
        for i, name in enumerate(classes)
    }
    result["confusion_matrix"] = matrix.tolist()
    commonest = int(scores.support.argmax())
    result["majority_baseline"] = {
        "class": classes[commonest] if n else None,
        "value": _defined(int(scores.support[commonest]) / n if n else math.nan),
        "n": n,
        "interval_95": _pair(metrics.wilson_interval(int(scores.support[commonest]), n)),
    }
    answers = np.unique(predicted)
    one_answer = len(answers) == 1 and int((scores.support > 0).sum()) > 1
    result["constant_prediction"] = classes[int(answers[0])] if one_answer else None
    return result


def without_leaked(predictions: Predictions, split: str, leaks: Sequence[Leak]) -> Summary:
    """Figures of one split without the pictures that training or choices have seen in some form.

    Args:
        predictions: The table.
        split: The reported one.
        leaks: Which of its pictures, and why.

    Returns:
        ``leaked`` (how many of each kind), ``accuracy`` and ``balanced_accuracy`` as in `summary`.
    """
    rows = predictions.of_split(split)
    leaked = {leak.path for leak in leaks}
    rest = rows.rows(np.array([path not in leaked for path in rows.paths], dtype=bool))
    figures = summary(rest, split)
    kinds = {kind: sum(leak.kind == kind for leak in leaks) for kind in KINDS}
    return {
        "leaked": kinds,
        "accuracy": figures["accuracy"],
        "balanced_accuracy": figures["balanced_accuracy"],
    }


def _defined(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _pair(interval: metrics.Interval) -> list[float] | None:
    return None if any(math.isnan(limit) for limit in interval) else [float(x) for x in interval]


def report_lines(result: Summary, *, place: str = "") -> list[str]:
    """The summary as text: warnings, headline, table per class, confusion matrix, baseline.

    Args:
        result: What `summary` returned.
        place: How to call the pictures, ``"val/"`` by default.
    """
    place = place or f"{result['split']}/"
    n = result["n"]
    if not n:
        return [f"No picture of {place} has a known class: nothing to measure."]
    lines = []
    low, high = result["accuracy"]["interval_95"]
    if high - low > WIDE:
        lines.append(
            f"warning: {n} pictures say little: the accuracy may lie anywhere from {low:.3f} to {high:.3f}. "
            "More pictures to test on would narrow this."
        )
    if result["constant_prediction"] is not None:
        lines.append(
            f"warning: the model answers '{printable(result['constant_prediction'])}' to every picture. "
            "It has learnt nothing that tells the classes apart."
        )
    note = "on which choices were made" if result["selected_on"] else "which nothing selected on"
    lines.append(
        f"accuracy {result['accuracy']['value']:.3f} "
        f"(95 % interval {low:.3f} to {high:.3f}, n = {n} pictures of {place}, {note})"
    )
    if "without_leaked" in result:
        lines.append(_leak_line(result["without_leaked"]))
    acts = result.get("balance", "none") != "none"
    if acts:
        lines.append(
            f"balanced accuracy {with_interval(result['balanced_accuracy'])}, "
            "the mean of the classes' recalls: each class counts alike, as it did in training"
        )
    baseline = result["majority_baseline"]
    lines.append(f"always saying '{printable(baseline['class'])}': {baseline['value']:.3f} (n = {n})")
    for key, label in (
        ("balanced_accuracy", "balanced accuracy"),
        ("macro_f1", "macro F1"),
        ("auc", "area under ROC"),
        (f"top_{TOP_K}_accuracy", f"top-{TOP_K} accuracy"),
        ("nll", "log loss"),
    ):
        if key in result and not (acts and key == "balanced_accuracy"):
            lines.append(f"{label} {with_interval(result[key])}")
    if "calibration" in result:
        lines.append(calibration_line(result["calibration"]))
    if "false_rejects" in result:
        lines += _unknown_lines(result)
    if result["without_truth"]:
        lines.append(f"{result['without_truth']} pictures without a known class are not counted.")
    lines += ["", *_class_lines(result)]
    if len(result["classes"]) <= SHOWN_MATRIX:
        lines += ["", *_matrix_lines(result)]
    return lines


def _leak_line(without: Summary) -> str:
    """The accuracy that is left, and of what."""
    total = sum(without["leaked"].values())
    pictures = counted(total, "picture", "pictures")
    said = f"{pictures} that training or choices know ({in_words(without['leaked'])})"
    if not without["accuracy"]["n"]:
        return f"warning: these are {said}: no picture is left to say how good the model is on new ones"
    return f"accuracy {with_interval(without['accuracy'])} without {said}"


def _unknown_lines(result: Summary) -> list[str]:
    """How many pictures of the classes count as unknown, and how many of others do."""
    facts = result.get("unknown", {})
    asked, other = facts.get("false_rejects"), facts.get("other")
    meant = "" if asked is None else f", meant to be at most {asked:g}"
    lines = [f"flagged as unknown, though of a known class: {with_interval(result['false_rejects'])}{meant}"]
    if other:
        n, flagged = other["n"], other["flagged"]
        figure = {"value": flagged / n, "n": n, "interval_95": metrics.wilson_interval(flagged, n)}
        lines.append(f"flagged as unknown of --other: {with_interval(figure)}")
    return lines


def with_interval(figure: dict[str, Any]) -> str:
    """``0.954 (0.909 to 0.978, n = 153)``; ``n/a`` where undefined."""
    if figure["value"] is None:
        return f"n/a (n = {figure['n']})"
    if figure["interval_95"] is None:
        return f"{figure['value']:.3f} (interval n/a, n = {figure['n']})"
    low, high = figure["interval_95"]
    return f"{figure['value']:.3f} ({low:.3f} to {high:.3f}, n = {figure['n']})"


def printable(name: str) -> str:
    """A name on one line: control characters as escapes, everything else as it is."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def shortened(name: str, width: int) -> str:
    """A name of at most ``width`` places; the middle of a longer one becomes an ellipsis."""
    if text_width(name) <= width:
        return name
    head = tail = ""
    while True:
        longer_tail = text_width(tail) * 2 < text_width(head)
        step = name[-len(tail) - 1] if longer_tail else name[len(head)]
        if text_width(head + step + tail) >= width:
            return f"{head}…{tail}"
        head, tail = (head, step + tail) if longer_tail else (head + step, tail)


def _class_lines(result: Summary) -> list[str]:
    items = list(result["per_class"].items())
    left_out = max(0, len(items) - SHOWN_CLASSES)
    if left_out:  # weakest first; classes without pictures last
        items.sort(key=lambda item: math.inf if item[1]["f1"] is None else item[1]["f1"])
        items = items[:SHOWN_CLASSES]
    rows = []
    for name, one in items:
        interval = one["recall_interval_95"]
        recall = (
            "n/a" if interval is None else f"{one['recall']:.3f} ({interval[0]:.3f} to {interval[1]:.3f})"
        )
        rows.append((printable(name), _short(one["precision"]), recall, _short(one["f1"]), one["support"]))
    header = ("class", "precision", "recall (95 % interval)", "F1", "pictures")
    lines = table(header, rows).split("\n")
    if left_out:
        lines.append(
            f"  the {SHOWN_CLASSES} weakest of {len(result['classes'])} classes; all are in metrics.json"
        )
    return lines


def _short(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"


def _matrix_lines(result: Summary) -> list[str]:
    names = [printable(name) for name in result["classes"]]
    rows = [(name, *counts) for name, counts in zip(names, result["confusion_matrix"], strict=True)]
    columns = [shortened(name, MATRIX_COLUMN) for name in names]
    return ["confusion matrix (row: truth, column: prediction)", *table(("", *columns), rows).split("\n")]
