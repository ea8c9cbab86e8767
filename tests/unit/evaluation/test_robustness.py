"""Figures on corrupted pictures: from answers to numbers, words and files."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from headstart import metrics
from headstart.data.corruptions import ALL
from headstart.errors import RunError
from headstart.evaluation.predictions import NO_TRUTH, Predictions
from headstart.evaluation.robustness import (
    COLUMNS,
    PLOT,
    ROBUSTNESS,
    Robustness,
    read_robustness,
    robustness_lines,
    robustness_of,
    sentence,
    worst_of,
    write_robustness,
)

N = 40


@pytest.fixture
def clean() -> Predictions:
    """36 of 40 right, and one more whose class is not known."""
    truth = np.arange(N) % 2
    told = np.where(np.arange(N) < 4, 1 - truth, truth)
    shares = np.full((N, 2), 0.2)
    shares[np.arange(N), told] = 0.8
    return Predictions(
        ("a", "b"),
        [*map(str, range(N)), "no class"],
        ["test"] * (N + 1),
        np.array([*truth, NO_TRUTH]),
        np.vstack([shares, [[0.5, 0.5]]]),
    )


def answers(clean: Predictions, wrong: dict[tuple[str, int], int]) -> np.ndarray:
    """The answers of ``clean``, but so many more wrong under a corruption."""
    told = np.repeat(clean.prediction[:, None], len(ALL), axis=1)
    for key, number in wrong.items():
        rows = slice(4, 4 + number)
        told[rows, ALL.index(key)] = 1 - told[rows, ALL.index(key)]
    return told


def test_accuracy_and_paired_drop(clean: Predictions) -> None:
    rows = robustness_of(clean, answers(clean, {("blur", 3): 12, ("noise", 1): 1}))
    assert [(row.corruption, row.strength) for row in rows] == list(ALL)
    assert [row.severity for row in rows[:3]] == [1, 3, 5]
    blur = next(row for row in rows if (row.corruption, row.strength) == ("blur", 3))
    assert (blur.correct, blur.n, blur.accuracy) == (24, 40, 0.6)
    assert blur.interval == metrics.wilson_interval(24, 40)
    before, after = clean.correct[:N], clean.correct[:N].copy()
    after[4:16] = False
    assert (blur.drop, (blur.drop_low_95, blur.drop_high_95)) == metrics.paired_difference(before, after)
    assert blur.drop == pytest.approx(0.3)
    same = next(row for row in rows if row.corruption == "jpeg")
    assert (same.accuracy, same.drop) == (0.9, 0)


def test_the_sentence_names_the_worst(clean: Predictions) -> None:
    rows = robustness_of(clean, answers(clean, {("blur", 3): 12, ("noise", 1): 1}))
    assert worst_of(rows).corruption == "blur"
    assert sentence(rows) == (
        "worst: blur at strength 3, 0.600 (0.446 to 0.737, n = 40), 30.0 points (18.1 to 45.4) below the "
        "clean pictures"
    )
    assert robustness_lines(rows)[-1] == sentence(rows)
    assert len(robustness_lines(rows)) == 1 + 1 + 18 + 1


@pytest.mark.parametrize("wrong", [0, 1])
def test_what_chance_may_have_done_is_not_called_a_loss(clean: Predictions, wrong: int) -> None:
    rows = robustness_of(clean, answers(clean, {("noise", 1): wrong}))
    assert sentence(rows).endswith("n = 40): these 40 pictures cannot tell that from the clean ones")
    assert sentence(rows).startswith("worst: noise at strength 1, 0.")


def test_corruptions_may_also_help(clean: Predictions) -> None:
    told = np.repeat(clean.truth[:, None], len(ALL), axis=1)
    rows = robustness_of(clean, told)
    assert all(row.accuracy == 1 and row.drop == pytest.approx(-0.1) for row in rows)
    assert not worst_of(rows).told_apart


def test_files_come_back_equal(clean: Predictions, tmp_path: Path) -> None:
    assert read_robustness(tmp_path) == ()
    rows = robustness_of(clean, answers(clean, {("pixelate", 2): 7}))
    write_robustness(tmp_path, rows)
    assert read_robustness(tmp_path) == rows
    assert (tmp_path / ROBUSTNESS).read_text().splitlines()[0] == ",".join(COLUMNS)
    assert (tmp_path / PLOT).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", ",".join(COLUMNS) + "\nblur,x\n"])
def test_a_table_that_was_changed_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / ROBUSTNESS).write_text(text)
    with pytest.raises(RunError) as caught:
        read_robustness(tmp_path)
    assert caught.value.code == "HS-EVAL-061"
    assert str(caught.value).startswith("HS-EVAL-061: The table of corruptions cannot be used: ")
    assert str(caught.value).endswith("Make it again: headstart evaluate RUN --corruptions")


def test_columns_are_those_of_the_figures() -> None:
    assert tuple(field.name for field in dataclasses.fields(Robustness)) == COLUMNS
