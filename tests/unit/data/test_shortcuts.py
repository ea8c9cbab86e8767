"""A fact that gives the class away is found; chance is not taken for one."""

from __future__ import annotations

import numpy as np
import pytest

from headstart.data.facts import LOOK_BYTES, FactsColumns, PictureFacts
from headstart.data.shortcuts import fitted, shortcuts


def facts(n: int, rng: np.random.Generator, **fixed: object) -> list[PictureFacts]:
    made = []
    for _ in range(n):
        width, height = (int(v) for v in rng.integers(200, 800, 2))
        colour = tuple(float(v) for v in rng.integers(60, 200, 3))
        values = {"format": "JPEG", "mode": "RGB", "width": width, "height": height, "colour": colour}
        look = rng.bytes(LOOK_BYTES).hex()
        made.append(PictureFacts(**{**values, **fixed}, contrast=50.0, look=look))  # type: ignore[arg-type]
    return made


def found(one: list[PictureFacts], other: list[PictureFacts]) -> dict[str, float]:
    labels = np.array([0] * len(one) + [1] * len(other))
    return {s.by: s.correct / s.n for s in shortcuts(FactsColumns([*one, *other]), labels)}


@pytest.mark.parametrize("seed", range(10))
def test_chance_is_no_shortcut(seed: int) -> None:
    rng = np.random.default_rng(seed)
    assert found(facts(60, rng), facts(60, rng)) == {}


def test_the_format_gives_the_class_away() -> None:
    rng = np.random.default_rng(0)
    assert found(facts(40, rng), facts(40, rng, format="PNG")) == {"file format": 1.0}


def test_the_size_gives_the_class_away() -> None:
    rng = np.random.default_rng(0)
    told = found(facts(40, rng), facts(40, rng, width=640, height=480))
    assert set(told) == {"size", "aspect ratio"} and told["size"] > 0.75


def test_a_class_in_the_middle_is_found() -> None:
    rng = np.random.default_rng(0)
    outside = facts(30, rng, width=300, height=300) + facts(30, rng, width=900, height=900)
    assert found(outside, facts(60, rng, width=500, height=500))["size"] > 0.9


def test_the_majority_is_no_shortcut() -> None:
    rng = np.random.default_rng(0)
    assert found(facts(200, rng), facts(20, rng)) == {}


def test_copies_count_once_and_few_pictures_say_nothing() -> None:
    rng = np.random.default_rng(0)
    one, other = facts(5, rng) * 8, facts(5, rng, format="PNG") * 8
    labels = np.array([0] * 40 + [1] * 40)
    assert shortcuts(FactsColumns(one + other), labels) == []
    assert shortcuts(FactsColumns(facts(40, rng)), np.zeros(40, np.int64)) == []


def test_the_regression_reaches_the_minimum() -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(1)
    numbers = np.concatenate([rng.standard_normal((150, 3)), np.ones((150, 1))], axis=1)
    targets = np.argmax(numbers[:, :3] * [2, 1, 1] + rng.standard_normal((150, 3)), axis=1)
    weights = fitted(numbers, targets, 3)
    oracle = LogisticRegression(C=1.0, fit_intercept=False, tol=1e-8, max_iter=1000).fit(numbers, targets)
    ours, theirs = (numbers @ w for w in (weights, oracle.coef_.T))
    assert np.abs((ours - ours.mean(axis=1, keepdims=True)) - theirs).max() < 0.02
