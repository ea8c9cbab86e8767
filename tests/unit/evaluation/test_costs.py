"""A table of costs: what is decided by it, what it brings, and which tables are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.errors import ConfigError
from headstart.evaluation.costs import ASK, Costs, cost_figures, cost_lines, read_costs, saved_line
from headstart.evaluation.predictions import Predictions

CLASSES = ("cracked", "dirty", "good")


def shares(seed: int, n: int, classes: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    values = random.exponential(size=(n, classes)) ** random.choice([0.1, 1, 5])
    return values / values.sum(1, keepdims=True)


def table(truth: list[int], probabilities: list[list[float]]) -> Predictions:
    paths = [f"{i}.png" for i in range(len(truth))]
    return Predictions(CLASSES[: len(probabilities[0])], paths, ["test"] * len(truth), truth, probabilities)


@given(st.integers(0, 10_000), st.integers(2, 6), st.floats(1e-6, 1e9))
@settings(max_examples=60, deadline=None)
def test_equal_costs_of_all_mistakes_give_the_most_probable_class(
    seed: int, classes: int, cost: float
) -> None:
    costs = Costs(tuple(map(str, range(classes))), cost * (1 - np.eye(classes)))
    p = shares(seed, 200, classes)
    p[::7] = 1 / classes  # ties
    np.testing.assert_array_equal(costs.answers(p), p.argmax(1))


@given(st.integers(0, 10_000), st.integers(2, 5), st.booleans())
@settings(max_examples=60, deadline=None)
def test_no_other_answer_has_a_lower_expected_cost(seed: int, classes: int, asks: bool) -> None:
    random = np.random.default_rng(seed)
    values = random.exponential(size=(classes, classes + asks))
    costs, p = Costs(tuple(map(str, range(classes))), values), shares(seed, 50, classes)
    told = costs.answers(p)
    for row, answer in zip(p, told, strict=True):
        expected = [sum(row[i] * values[i, j] for i in range(classes)) for j in range(classes + asks)]
        assert expected[answer] <= min(expected) + 1e-9


def test_a_class_is_answered_from_the_threshold_of_two_classes_on() -> None:
    """Elkan's equation 2: here from a probability of 1 / (1 + 9) = 0.1 on."""
    costs = Costs(("bad", "good"), np.array([[0, 9], [1, 0]]))
    p = np.array([0.05, 0.0999, 0.1001, 0.3])
    assert costs.answers(np.stack([p, 1 - p], 1)).tolist() == [1, 1, 0, 0]


def test_a_person_is_asked_between_and_never_where_a_class_costs_the_same() -> None:
    costs = Costs(("a", "b"), np.array([[0, 1, 0.25], [1, 0, 0.25]]))
    assert costs.asks and costs.answer_names == ("a", "b", ASK)
    p = np.array([0.9, 0.75, 0.7, 0.25, 0.1])
    assert costs.answers(np.stack([p, 1 - p], 1)).tolist() == [0, 0, 2, 1, 1]


def test_figures_are_those_of_the_pictures() -> None:
    costs = Costs(("cracked", "dirty"), np.array([[0, 10, 2], [1, 0, 2]]))
    rows = table([0, 0, 1, 1], [[0.9, 0.1], [0.3, 0.7], [0.15, 0.85], [0.05, 0.95]])
    found = cost_figures(costs, rows)
    # answers: cracked, cracked (3 and 0.7: 0.7), cracked or asked (1.5, 0.85), dirty
    assert costs.answers(rows.probabilities).tolist() == [0, 0, 0, 1]
    assert found["before"]["cost"]["value"] == 10 / 4 and found["after"]["cost"]["value"] == 1 / 4
    assert found["saved"]["value"] == 9 / 4 and found["n"] == found["saved"]["n"] == 4
    assert found["before"]["recall"]["cracked"]["value"] == 0.5
    assert found["after"]["recall"]["cracked"] == {
        "value": 1.0, "n": 2, "interval_95": pytest.approx([0.342, 1.0], abs=1e-3)
    }  # fmt: skip
    assert found["after"]["accuracy"]["value"] == 0.75 and found["after"]["asked"]["value"] == 0
    low, high = found["saved"]["interval_95"]
    assert low < 0 < high
    text = "\n".join(cost_lines(found, "the test pictures"))
    assert "on the test pictures" in text and "recall of dirty" in text and "left to a person" not in text
    assert (
        "saved per picture: 2.250 (" in text and "n = 4): these pictures cannot tell whether it pays" in text
    )


def test_a_table_that_costs_more_is_said_to() -> None:
    line = saved_line({"value": -0.064, "interval_95": [-0.535, 0.405], "n": 70})
    assert line == (
        "costs 0.064 more per picture (-0.405 to 0.535, n = 70): these pictures cannot tell whether it pays"
    )
    assert saved_line({"value": -1.0, "interval_95": [-2.0, -0.5], "n": 9}) == (
        "costs 1.000 more per picture (0.500 to 2.000, n = 9)"
    )


def test_what_is_left_to_a_person_is_not_found() -> None:
    costs = Costs(("cracked", "dirty"), np.array([[0, 10, 1], [10, 0, 1]]))
    found = cost_figures(costs, table([0, 1], [[0.7, 0.3], [0.01, 0.99]]))["after"]
    assert found["asked"]["value"] == 0.5 and found["recall"]["cracked"]["value"] == 0
    assert found["cost"]["value"] == 0.5


def test_without_pictures_nothing_is_made_up() -> None:
    costs = Costs(("cracked", "dirty"), 1 - np.eye(2))
    found = cost_figures(costs, table([-1], [[0.7, 0.3]]))
    assert found["n"] == 0 and found["after"]["cost"] == {"value": None, "n": 0, "interval_95": None}
    assert "cannot be said" in cost_lines(found, "x")[-1]


def test_a_table_is_read_in_any_order_and_comes_back_from_the_card(tmp_path: Path) -> None:
    path = tmp_path / "costs.csv"
    path.write_text("truth,good,ask,dirty,cracked\ngood,0,1,2,3\ncracked,50,1,4.5,0\ndirty,5,1,0,6\n\n")
    costs = read_costs(path, CLASSES)
    assert costs.answer_names == (*CLASSES, ASK)
    assert costs.values.tolist() == [[0, 4.5, 50, 1], [6, 0, 5, 1], [3, 2, 0, 1]]
    again = Costs.from_card({"classes": list(CLASSES), "costs": costs.to_dict()})
    assert again is not None and again.values.tolist() == costs.values.tolist()
    assert Costs.from_card({"classes": list(CLASSES)}) is None
    for wrong in ([[0, 1]], [[0, -1, 1]] * 3, [[0, float("nan"), 1]] * 3):
        with pytest.raises(ValueError, match="its costs are not"):
            Costs.from_card({"classes": list(CLASSES), "costs": {"answers": list(CLASSES), "table": wrong}})


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("truth;cracked;good\r\ncracked;0;1,5\r\ngood;0,5;0\r\n", "utf-8-sig"),
        ("truth\tcracked\tgood\t\ncracked\t0\t1.5\t\ngood\t0.5\t0\t\n", "utf-16"),
        (" ,cracked , good\ngood,.5,0\ncracked, 0 ,1.5\n", "utf-8"),
    ],
)
def test_tables_of_spreadsheets_are_read(tmp_path: Path, text: str, encoding: str) -> None:
    path = tmp_path / "costs.csv"
    path.write_bytes(text.encode(encoding))
    assert read_costs(path, ("cracked", "good")).values.tolist() == [[0, 1.5], [0.5, 0]]


def test_a_class_may_be_named_ask_or_like_a_number(tmp_path: Path) -> None:
    path = tmp_path / "costs.csv"
    path.write_text("truth,ask,1\nask,0,1\n1,2,0\n")
    costs = read_costs(path, ("1", "ask"))
    assert costs.values.tolist() == [[0, 2], [1, 0]] and not costs.asks


def test_all_faults_are_listed_at_once(tmp_path: Path) -> None:
    path = tmp_path / "costs.csv"
    path.write_text("truth,cracked,god,god\ncracked,0,-1,nan\ngood,5,x,\ngood,1,2\nbad,1,inf,1e13\n")
    with pytest.raises(ConfigError) as caught:
        read_costs(path, ("cracked", "dirty", "good"))
    error = caught.value
    assert error.code == "HS-EVAL-070" and error.what == (
        "This is no table of costs for the classes of this model."
    )
    assert error.details == (
        "it has 4 rows and 3 columns of classes: it must be square",
        "2 rows are named 'good'",
        "row 4: 'bad' is no class",
        "'dirty' has no row",
        "column 2: 'god' is no class. Did you mean 'good'?",
        "2 columns are named 'god'",
        "'dirty' has no column",
        "'good' has no column",
        "line 2, column 'god': '-1' is no cost from 0 to 1e12",
        "line 2, column 'god': 'nan' is no cost from 0 to 1e12",
        "line 3, column 'god': 'x' is no cost from 0 to 1e12",
        "line 3, column 'god': nothing is written, which is no cost from 0 to 1e12",
        "line 4 has 2 costs, not 3",
        "line 5, column 'god': 'inf' is no cost from 0 to 1e12",
        "line 5, column 'god': '1e13' is no cost from 0 to 1e12",
    )
    assert error.fix.startswith("First line: truth,cracked,dirty,good. Then a line for each class")


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ("0,0\nb,0,0", "all costs are 0: every answer would be as good as any other"),
        ("1,1\nb,2,2", "every answer costs the same: nothing is left to decide"),
    ],
)
def test_a_table_that_decides_nothing_is_refused(tmp_path: Path, cells: str, words: str) -> None:
    path = tmp_path / "costs.csv"
    path.write_text(f"truth,a,b\na,{cells}\n")
    with pytest.raises(ConfigError) as caught:
        read_costs(path, ("a", "b"))
    assert caught.value.details == (words,)


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "costs.csv").write_bytes(b"\xff\x00\x81")
    (tmp_path / "empty.csv").write_bytes(b"\n\n")
    for name, words in (
        ("costs.csv", "it is no text in UTF-8."),
        ("empty.csv", "it is empty."),
        ("cost.csv", "there is no such file. Did you mean 'costs.csv'?"),
        (".", "Is a directory."),
    ):
        with pytest.raises(ConfigError) as caught:
            read_costs(tmp_path / name, ("a", "b"))
        assert caught.value.code == "HS-EVAL-071"
        assert caught.value.what == f"The table of costs cannot be read: {words}"


def test_a_class_that_is_never_answered_is_named() -> None:
    assert Costs(("a", "b"), np.array([[0, 1], [0, 0]])).never_answered() == [("b", "a")]
    assert Costs(("a", "b"), np.array([[0, 1, 0], [1, 0, 0]])).never_answered() == [("a", ASK), ("b", ASK)]
    assert Costs(CLASSES, 1 - np.eye(3)).never_answered() == []
