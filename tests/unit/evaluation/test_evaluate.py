"""The summary of a split, and how it reads."""

from __future__ import annotations

import json

import numpy as np
import pytest

from headstart import metrics
from headstart.console import text_width
from headstart.evaluation.evaluate import report_lines, shortened, summary
from headstart.evaluation.predictions import Predictions


def table_of(truth, prediction, classes=("ants", "bees"), split="val") -> Predictions:
    n = len(truth)
    probabilities = np.full((n, len(classes)), 0.1 / max(1, len(classes) - 1))
    probabilities[np.arange(n), prediction] = 0.9
    return Predictions(
        tuple(classes), tuple(f"{i}.jpg" for i in range(n)), (split,) * n, np.array(truth), probabilities
    )


def ants_and_bees() -> Predictions:
    """153 pictures, 146 right."""
    truth = np.array([0] * 70 + [1] * 83)
    prediction = truth.copy()
    prediction[[0, 1, 2, 100, 101, 102, 103]] ^= 1
    return table_of(truth, prediction)


def test_headline_carries_interval_n_and_where_it_was_measured() -> None:
    lines = report_lines(summary(ants_and_bees(), "val"))
    assert lines[0] == (
        "accuracy 0.954 (95 % interval 0.909 to 0.978, n = 153 pictures of val/, which nothing selected on)"
    )
    assert lines[1] == "always saying 'bees': 0.542 (n = 153)"


def test_a_split_that_was_selected_on_says_so() -> None:
    result = summary(ants_and_bees(), "val", selected_on=True)
    line = report_lines(result, place="your selection part")[0]
    assert "n = 153 pictures of your selection part, on which choices were made" in line


def test_every_figure_comes_with_n_and_interval_and_is_json() -> None:
    result = summary(ants_and_bees(), "val")
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "nll", "brier", "auc"):
        figure = result[name]
        low, high = figure["interval_95"]
        assert figure["n"] == 153
        assert low < figure["value"] < high
    assert result["accuracy"]["interval_95"] == list(metrics.wilson_interval(146, 153))
    assert result["confusion_matrix"] == [[67, 3], [4, 79]]
    assert result["per_class"]["ants"]["recall"] == 67 / 70
    assert result["per_class"]["ants"]["recall_interval_95"] == list(metrics.wilson_interval(67, 70))
    assert result["per_class"]["bees"]["support"] == 83
    assert result["majority_baseline"] == {
        "class": "bees",
        "value": 83 / 153,
        "n": 153,
        "interval_95": list(metrics.wilson_interval(83, 153)),
    }


def test_order_of_the_pictures_changes_nothing() -> None:
    table = ants_and_bees()
    shuffled = table.rows(np.random.default_rng(0).permutation(len(table)))
    first, second = summary(table, "val"), summary(shuffled, "val")
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "auc", "per_class", "confusion_matrix"):
        assert first[name] == second[name]


def test_a_class_without_pictures_is_not_zero() -> None:
    with_all = table_of([0, 0, 1, 1], [0, 1, 1, 1], ("a", "b", "c"))
    result = summary(with_all, "val")
    absent = result["per_class"]["c"]
    assert absent["support"] == 0
    assert absent["recall"] is absent["f1"] is absent["precision"] is absent["recall_interval_95"] is None
    assert result["balanced_accuracy"]["value"] == 0.75  # of the two classes that are there
    line = next(line for line in report_lines(result) if line.startswith("  c "))
    assert line.split() == ["c", "n/a", "n/a", "n/a", "0"]


def test_a_missing_class_leaves_the_recall_of_the_others_alone() -> None:
    truth, prediction = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 1, 1, 1, 2, 0])
    whole = summary(table_of(truth, prediction, ("a", "b", "c")), "val")
    kept = truth != 2
    part = summary(table_of(truth[kept], prediction[kept], ("a", "b", "c")), "val")
    for name in ("a", "b"):
        assert part["per_class"][name]["recall"] == whole["per_class"][name]["recall"]


def test_few_pictures_are_warned_of_first() -> None:
    lines = report_lines(summary(table_of([0, 1] * 10, [0, 1] * 8 + [1, 0] * 2), "val"))
    assert lines[0].startswith("warning: 20 pictures say little")
    assert "0.584 to 0.919" in lines[0]
    assert not any("say little" in line for line in report_lines(summary(ants_and_bees(), "val")))


def test_a_constant_answer_is_flagged() -> None:
    result = summary(table_of([0, 1] * 60, [1] * 120), "val")
    assert result["constant_prediction"] == "bees"
    assert any("answers 'bees' to every picture" in line for line in report_lines(result))
    assert summary(ants_and_bees(), "val")["constant_prediction"] is None
    assert summary(table_of([1] * 5, [1] * 5), "val")["constant_prediction"] is None  # one class is there


def test_rows_without_truth_and_of_other_splits_do_not_count() -> None:
    table = ants_and_bees()
    truth = table.truth.copy()
    truth[:3] = -1
    table = Predictions(table.classes, table.paths, table.splits, truth, table.probabilities)
    result = summary(table, "val")
    assert (result["n"], result["without_truth"]) == (150, 3)
    assert any(line.startswith("3 pictures without a known class") for line in report_lines(result))
    empty = summary(table, "test")
    assert empty["accuracy"] == {"value": None, "n": 0, "interval_95": None}
    assert report_lines(empty) == ["No picture of test/ has a known class: nothing to measure."]


def test_confusion_matrix_has_names_and_wide_letters_align() -> None:
    classes = ("健康", "锈病", "not hotdog")
    lines = report_lines(summary(table_of([0, 1, 2] * 40, [0, 1, 2] * 39 + [1, 1, 0], classes), "val"))
    start = next(i for i, line in enumerate(lines) if line.startswith("confusion matrix"))
    header, *rows = lines[start + 1 : start + 5]
    assert header.split() == ["健康", "锈病", "not", "hotdog"]
    assert rows[0].split() == ["健康", "39", "1", "0"]
    assert len({text_width(row) for row in rows}) == 1


def test_many_classes_show_the_weakest_and_no_matrix() -> None:
    n_classes = 40
    truth = np.repeat(np.arange(n_classes), 3)
    prediction = truth.copy()
    prediction[truth == 37] = 0
    classes = tuple(f"c{i:02d}" for i in range(n_classes))
    result = summary(table_of(truth, prediction, classes), "val")
    lines = report_lines(result)
    assert not any("confusion matrix" in line for line in lines)
    header = next(i for i, line in enumerate(lines) if line.startswith("  class "))
    assert lines[header + 1].split()[0] == "c37"
    assert "30 weakest of 40 classes" in lines[-1]
    assert result["top_5_accuracy"]["value"] >= result["accuracy"]["value"]


def test_names_cannot_disturb_the_terminal() -> None:
    classes = ("a\x1b[2J", "b\nc")
    text = "\n".join(report_lines(summary(table_of([0, 1], [0, 1], classes), "val")))
    assert "\x1b" not in text and "a\\x1b[2J" in text and "b\\nc" in text


@pytest.mark.parametrize("width", [3, 7, 8, 14])
def test_shortened_names_fit(width: int) -> None:
    for name in ("a rather long name", "不是热狗的东西在这里", "short"):
        cut = shortened(name, width)
        assert text_width(cut) <= width
        assert cut == name or (cut[0] == name[0] and "…" in cut)
