"""The table of predictions: every value survives the file."""

from __future__ import annotations

import csv
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headstart import metrics
from headstart.errors import RunError
from headstart.evaluation.evaluate import summary
from headstart.evaluation.predictions import Predictions

NASTY = ("a,b", 'say "x"', "two\nlines", "猫", "=1+1", "tab\t", " padded ", "\r", "é\r\nf", "prob:x", "truth")


def make(classes=NASTY, n=40, seed=0, unknown=None) -> Predictions:
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet(np.full(len(classes), 0.2), n)
    truth = generator.integers(-1, len(classes), n)
    paths = tuple(f"val/{classes[i % len(classes)]}/{i}.jpg" for i in range(n))
    splits = tuple("val" if i % 4 else "test" for i in range(n))
    scores = None if unknown is None else np.where(unknown, 1.1, 1 / 3)
    return Predictions(tuple(classes), paths, splits, truth, probabilities, unknown, scores)


def assert_same(a: Predictions, b: Predictions) -> None:
    assert (a.classes, a.paths, a.splits) == (b.classes, b.paths, b.splits)
    np.testing.assert_array_equal(a.truth, b.truth)
    np.testing.assert_array_equal(a.probabilities, b.probabilities)
    assert (a.unknown is None) == (b.unknown is None)
    if a.unknown is not None:
        np.testing.assert_array_equal(a.unknown, b.unknown)
        np.testing.assert_array_equal(a.unknown_score, b.unknown_score)


@pytest.mark.parametrize("unknown", [None, np.arange(40) % 3 == 0])
def test_every_value_comes_back_equal(tmp_path, unknown) -> None:
    table = make(unknown=unknown)
    table.write_csv(tmp_path / "predictions.csv")
    assert_same(Predictions.read_csv(tmp_path / "predictions.csv"), table)


@given(
    st.lists(st.text(min_size=1, max_size=8), min_size=2, max_size=4, unique=True),
    st.lists(st.lists(st.floats(0, 1), min_size=4, max_size=4), min_size=1, max_size=5),
)
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_names_and_floats_come_back_equal(tmp_path, names, rows) -> None:
    n = len(rows)
    values = np.array(rows)[:, : len(names)]
    paths = tuple(f"{names[0]}/{i}" for i in range(n))
    table = Predictions(tuple(names), paths, ("val",) * n, np.zeros(n), values)
    table.write_csv(tmp_path / "p.csv")
    assert_same(Predictions.read_csv(tmp_path / "p.csv"), table)


def test_a_file_name_that_is_not_utf8_comes_back(tmp_path) -> None:
    name = os.fsdecode(b"val/caf\xe9.jpg")
    table = Predictions(("a", "b"), (name,), ("val",), np.array([0]), np.array([[0.5, 0.5]]))
    table.write_csv(tmp_path / "p.csv")
    assert b"caf\xe9.jpg" in (tmp_path / "p.csv").read_bytes()
    assert Predictions.read_csv(tmp_path / "p.csv").paths == (name,)


def test_accuracy_recomputed_by_others_equals_the_reported_number(tmp_path) -> None:
    table = make(n=157, seed=4)
    table.write_csv(tmp_path / "p.csv")
    reported = summary(table, "val")["accuracy"]
    with open(tmp_path / "p.csv", encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "val" and row["truth"]]
    assert len(rows) == reported["n"]
    assert sum(row["truth"] == row["prediction"] for row in rows) / len(rows) == reported["value"]
    again = Predictions.read_csv(tmp_path / "p.csv")
    assert summary(again, "val") == summary(table, "val")


def test_columns_are_those_promised(tmp_path) -> None:
    make(("a", "b"), n=2).write_csv(tmp_path / "p.csv")
    lines = (tmp_path / "p.csv").read_bytes().decode().split("\n")
    assert lines[0] == "path,split,truth,prediction,confidence,unknown,unknown_score,prob:a,prob:b"
    assert len(lines) == 4 and lines[3] == ""
    assert lines[1].split(",")[5:7] == ["", ""]  # no threshold was fitted: neither true nor false


def test_a_table_of_before_scores_were_written_is_read(tmp_path) -> None:
    (tmp_path / "p.csv").write_text(
        "path,split,truth,prediction,confidence,unknown,prob:a,prob:b\nx,val,a,b,0.75,true,0.25,0.75\n",
        "utf-8",
    )
    table = Predictions.read_csv(tmp_path / "p.csv")
    assert table.unknown.tolist() == [True] and table.unknown_score is None
    assert table.probabilities.tolist() == [[0.25, 0.75]]


def test_names_are_not_altered_for_spreadsheets(tmp_path) -> None:
    make(("=SUM(A1)", "+b"), n=1).write_csv(tmp_path / "p.csv")
    assert "prob:=SUM(A1),prob:+b" in (tmp_path / "p.csv").read_text(encoding="utf-8")


def test_prediction_and_confidence_follow_from_the_probabilities() -> None:
    table = Predictions(("a", "b"), ("1", "2"), ("val", "val"), [1, -1], [[0.5, 0.5], [0.2, 0.8]])
    np.testing.assert_array_equal(table.prediction, [0, 1])
    np.testing.assert_array_equal(table.confidence, [0.5, 0.8])
    np.testing.assert_array_equal(table.correct, [False, False])
    assert metrics.accuracy(table.truth[:1], table.prediction[:1]) == 0


def test_rows_and_splits_select(tmp_path) -> None:
    table = make(unknown=np.arange(40) % 2 == 0)
    part = table.of_split("test")
    assert len(part) == 10 and set(part.splits) == {"test"}
    assert_same(table.rows([3, 1]), table.rows(np.array([3, 1])))
    assert table.rows([3, 1]).paths == (table.paths[3], table.paths[1])
    empty = table.of_split("train")
    empty.write_csv(tmp_path / "p.csv")
    assert len(Predictions.read_csv(tmp_path / "p.csv")) == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"classes": ("a", "a")}, "same name"),
        ({"truth": [2]}, "truth must lie"),
        ({"splits": ()}, "0 splits"),
        ({"probabilities": [[0.5, float("nan")]]}, "finite"),
        ({"unknown": [True, False]}, "unknown"),
        ({"unknown_score": [float("inf")]}, "unknown_score"),
    ],
)
def test_what_does_not_fit_together_is_refused(change, words) -> None:
    good = {
        "classes": ("a", "b"),
        "paths": ("x",),
        "splits": ("val",),
        "truth": [0],
        "probabilities": [[0.5, 0.5]],
    }
    Predictions(**good)
    with pytest.raises(ValueError, match=words):
        Predictions(**{**good, **change})


def test_a_missing_or_changed_table_is_named(tmp_path) -> None:
    path = tmp_path / "p.csv"
    with pytest.raises(RunError, match="HS-EVAL-001"):
        Predictions.read_csv(path)
    header = "path,split,truth,prediction,confidence,unknown,prob:a,prob:b\n"
    for content, words in (
        ("", "columns"),
        ("path,truth\n", "columns"),
        (header + "x,val,a,b,0.5,,0.5,0.5\n", "most probable"),
        (header + "x,val,c,a,0.5,,0.5,0.5\n", "'c'"),
        (header + "x,val,a,a,0.5,,0.5\n", "7 cells"),
        (header + "x,val,a,a,0.5,maybe,0.5,0.5\n", "'maybe'"),
        (header + "x,val,a,a,0.5,,half,0.5\n", "half"),
    ):
        path.write_text(content, encoding="utf-8")
        with pytest.raises(RunError, match="HS-EVAL-002") as caught:
            Predictions.read_csv(path)
        assert words in str(caught.value) and "p.csv" in str(caught.value)
