"""Confident learning: the definition by loops, planted errors, the ends of the range."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.evaluation.label_errors import label_errors


def shares(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


@given(st.integers(1, 60), st.integers(2, 6), st.integers(0, 10_000))
def test_it_is_the_paper_s_definition(n: int, classes: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, n)
    probabilities = shares(random.normal(0, 2, (n, classes)))
    found = label_errors(labels, probabilities)
    joint = np.zeros((classes, classes), int)
    suspected = []
    for i in range(n):
        above = [
            j
            for j in range(classes)
            if (labels == j).any() and probabilities[i, j] >= probabilities[labels == j, j].mean() - 1e-15
        ]
        if above:
            told = max(above, key=lambda j: probabilities[i, j])
            joint[labels[i], told] += 1
            if told != labels[i]:
                suspected.append(i)
    assert (found.joint == joint).all()
    assert np.flatnonzero(found.suspected).tolist() == suspected
    assert sorted(found.order.tolist()) == list(range(n))
    assert set(found.order[: len(suspected)].tolist()) == set(suspected)
    assert (found.suggested != labels).all()
    assert ((found.score >= 0) & (found.score <= 1)).all()


def test_planted_errors_come_first() -> None:
    random = np.random.default_rng(0)
    truth = np.arange(400) % 4
    probabilities = shares(4 * np.eye(4)[truth] + random.normal(0, 1, (400, 4)))
    labels = truth.copy()
    flipped = random.choice(400, 20, replace=False)
    labels[flipped] = (truth[flipped] + 1 + random.integers(0, 3, 20)) % 4
    found = label_errors(labels, probabilities)
    assert len(set(flipped) & set(found.order[:40].tolist())) >= 18
    hit = np.isin(np.arange(400), flipped) & found.suspected
    assert (found.suggested[hit] == truth[hit]).mean() > 0.9


def test_certain_labels_are_not_suspected() -> None:
    labels = np.array([0, 1, 2, 0])
    found = label_errors(labels, np.eye(3)[labels])
    assert not found.suspected.any() and (found.score == 0).all()
    assert (found.joint == np.diag([2, 1, 1])).all()


def test_a_class_without_pictures_is_never_suggested_confidently() -> None:
    labels = np.array([0, 0, 1])
    probabilities = np.array([[0.1, 0.1, 0.8], [0.9, 0.05, 0.05], [0.2, 0.7, 0.1]])
    assert not (label_errors(labels, probabilities).joint[:, 2]).any()


def test_no_picture_and_wrong_shapes() -> None:
    assert label_errors(np.empty(0, np.int64), np.empty((0, 3))).order.size == 0
    with pytest.raises(ValueError, match="do not fit"):
        label_errors(np.array([0, 1]), np.ones((3, 2)) / 2)
    with pytest.raises(ValueError, match="do not fit"):
        label_errors(np.array([0, 2]), np.ones((2, 2)) / 2)
