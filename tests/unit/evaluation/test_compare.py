"""Runs on the same pictures."""

from __future__ import annotations

import json

import numpy as np
import pytest

from headstart.errors import RunError
from headstart.evaluation.compare import compare
from headstart.evaluation.predictions import Predictions


def run(right, classes=("a", "b"), paths=None, truth=None, split="val") -> Predictions:
    """A table in which picture i is answered rightly where ``right[i]``."""
    n = len(right)
    truth = np.arange(n) % 2 if truth is None else np.asarray(truth)
    answer = np.where(right, truth, 1 - truth)
    probabilities = np.where(np.arange(2) == answer[:, None], 0.8, 0.2)
    names = tuple(f"{i}.jpg" for i in range(n)) if paths is None else tuple(paths)
    return Predictions(classes, names, (split,) * n, truth, probabilities)


def first(n: int, total: int = 153) -> np.ndarray:
    return np.arange(total) < n


def test_equal_models_cannot_be_told_apart() -> None:
    result = compare({"A": run(first(146)), "B": run(first(143))})
    pair = result.differences[0]
    assert pair.sentence() == "these 153 pictures cannot tell A and B apart"
    assert (pair.only_a_correct, pair.only_b_correct) == (3, 0)
    assert pair.p_value == pytest.approx(0.25)
    assert pair.interval_95[0] < 0 < pair.difference == pytest.approx(3 / 153)


def test_a_clear_winner_is_named_first_with_points_and_interval() -> None:
    result = compare({"loser": run(first(120)), "winner": run(first(146))})
    pair = result.differences[0]
    low, high = (100 * limit for limit in pair.interval_95)
    assert pair.sentence() == f"winner beats loser by 17.0 points ({low:.1f} to {high:.1f})"
    assert 0 < low < 17 < high
    assert [score.run for score in result.scores] == ["winner", "loser"]
    assert result.scores[0].accuracy == 146 / 153
    lines = result.lines()
    assert any(line.split()[:2] == ["winner", "0.954"] for line in lines)
    assert lines[-1] == pair.sentence()


def test_pictures_are_matched_by_path_whatever_their_order() -> None:
    right = np.random.default_rng(0).random(60) < 0.7
    other = np.random.default_rng(1).random(60) < 0.6
    paths = [f"{i}.jpg" for i in range(60)]
    order = np.random.default_rng(2).permutation(60)
    straight = compare({"A": run(right), "B": run(other)})
    shuffled = compare({"A": run(right), "B": run(other, paths=paths).rows(order)})
    assert straight == shuffled


def test_only_common_pictures_count_and_the_rest_is_said() -> None:
    result = compare({"A": run(first(50, 60)), "B": run(first(40, 50))})
    assert result.n == 50
    assert [score.correct for score in result.scores] == [50, 40]
    assert result.notes == ("A: 10 of its 60 pictures are not in every table.",)
    assert result.lines()[0].startswith("note: A: 10 of its 60")


def test_classes_are_compared_by_name_and_disputed_truths_are_left_out() -> None:
    a = run(first(10, 12))
    swapped = Predictions(("b", "a"), a.paths, a.splits, 1 - a.truth, a.probabilities[:, ::-1])
    assert compare({"A": a, "B": swapped}).differences[0].difference == 0
    truth = a.truth.copy()
    truth[0] = 1 - truth[0]
    result = compare({"A": a, "B": run(first(10, 12), truth=truth)})
    assert result.n == 11
    assert any(note.startswith("1 pictures have another class") for note in result.notes)


def test_repeated_paths_and_unknown_truths_are_left_out() -> None:
    twice = run(first(3, 4), paths=["0.jpg", "0.jpg", "2.jpg", "3.jpg"])
    truth = np.array([0, 1, 0, -1])
    unlabelled = run(first(4, 4), truth=truth)
    result = compare({"A": twice, "B": unlabelled})
    assert result.n == 1
    assert result.notes[0] == "A: 1 paths occur more than once and are left out."


def test_several_pairs_are_corrected_for() -> None:
    # 6 to 0 is p = 0.031 alone; among three pairs it is not enough
    tables = {"A": run(first(146)), "B": run(first(140)), "C": run(first(140))}
    result = compare(tables)
    pair = next(p for p in result.differences if {p.a, p.b} == {"A", "B"})
    assert pair.p_value == pytest.approx(0.03125)
    assert pair.p_adjusted == pytest.approx(0.09375)
    assert not pair.distinguishable
    assert compare({"A": tables["A"], "B": tables["B"]}).differences[0].distinguishable
    assert any("Holm" in line for line in result.lines())


def test_one_run_alone_and_json() -> None:
    result = compare({"A": run(first(9, 10))})
    assert result.differences == () and result.n == 10
    two = compare({"A": run(first(9, 10)), "B": run(first(5, 10))})
    assert json.loads(json.dumps(two.to_dict()))["differences"][0]["sentence"].startswith("these 10")


def test_split_restricts_and_nothing_in_common_is_an_error() -> None:
    with pytest.raises(RunError, match="HS-EVAL-003") as caught:
        compare({"A": run(first(2, 3)), "B": run(first(2, 3), paths=["x", "y", "z"])})
    assert "A: 3 of its 3 pictures are not in every table" in str(caught.value)
    with pytest.raises(RunError, match="HS-EVAL-003"):
        compare({"A": run(first(2, 3))}, split="test")
