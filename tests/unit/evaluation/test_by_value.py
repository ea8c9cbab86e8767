"""Accuracy by the values of a column, and whether the worst is so by chance."""

from __future__ import annotations

import numpy as np
import pytest

from headstart.evaluation.by_value import SMALL, by_lines, figures_by
from headstart.evaluation.predictions import Predictions
from headstart.metrics import fisher_exact


def answered(groups: dict[str, tuple[int, int]]) -> tuple[Predictions, dict[str, str]]:
    """Right and wrong answers of each group."""
    told, values = [], {}
    for name, (right, wrong) in groups.items():
        for good in [True] * right + [False] * wrong:
            values[f"{len(told)}.png"] = name
            told.append(0 if good else 1)
    n = len(told)
    table = Predictions(
        ("a", "b"), [f"{i}.png" for i in range(n)], ["test"] * n, np.zeros(n), np.eye(2)[told]
    )
    return table, {path: name for path, name in values.items() if name}


def test_the_worst_is_named_with_its_interval_and_what_chance_makes() -> None:
    table, values = answered(
        {"north": (95, 5), "south": (60, 40), "east": (92, 8), "tiny": (0, 3), "": (4, 1)}
    )
    found = figures_by(table, values)
    assert [one["value"] for one in found["values"]] == ["tiny", "south", "east", "north"]
    assert found["n"] == 303 and found["without_value"] == 5
    worst = found["worst"]
    assert worst["value"] == "south" and worst["differs"] and worst["p"] < 1e-6
    assert worst["accuracy"]["n"] == 100 and worst["rest"] == {
        "value": 187 / 203, "n": 203, "interval_95": pytest.approx([0.876, 0.951], abs=1e-3)
    }  # fmt: skip
    assert found["values"][0]["p"] is None and not found["values"][0]["differs"]
    text = "\n".join(by_lines(found, "site"))
    assert "worst: 'south' with 0.600 (0.502 to 0.691, n = 100)" in text
    assert "worse than the rest beyond chance" in text and "too few" in text
    assert "5 pictures have no value in 'site': not in this table" in text


def test_chance_among_many_groups_is_no_finding() -> None:
    random = np.random.default_rng(1)
    found = 0
    for _ in range(200):
        hits = random.binomial(40, 0.9, 12)
        table, values = answered({f"lot {i}": (int(k), 40 - int(k)) for i, k in enumerate(hits)})
        one = figures_by(table, values)
        found += any(value["differs"] for value in one["values"])
        assert one["worst"]["accuracy"]["value"] == hits.min() / 40
    assert found <= 16  # 5 of 100 at most, and chance


def test_small_groups_are_not_compared() -> None:
    table, values = answered({"a": (SMALL - 1, 0), "b": (0, SMALL - 1)})
    found = figures_by(table, values)
    assert found["worst"] is None and {one["p"] for one in found["values"]} == {None}
    assert by_lines(found, "lot")[-1] == (
        "no value has 20 pictures beside 20 others: these are too few to compare"
    )
    nothing = figures_by(table, {})
    assert nothing["n"] == 0 and nothing["values"] == [] and nothing["worst"] is None


def test_scipy_finds_the_same_p() -> None:
    stats = pytest.importorskip("scipy.stats")
    random = np.random.default_rng(0)
    for _ in range(100):
        n, m = (int(k) for k in random.integers(1, 300, 2))
        right, other = int(random.integers(0, n + 1)), int(random.integers(0, m + 1))
        expected = stats.fisher_exact([[right, n - right], [other, m - other]]).pvalue
        assert fisher_exact(right, n, other, m) == pytest.approx(expected, rel=1e-6)
