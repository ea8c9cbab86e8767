"""Metrics against scikit-learn, textbook values and exact properties."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart import metrics

labels = st.integers(2, 6).flatmap(
    lambda c: st.tuples(
        st.just(c),
        st.lists(st.tuples(st.integers(0, c - 1), st.integers(0, c - 1)), min_size=1, max_size=60),
    )
)


@given(labels)
@settings(max_examples=60, deadline=None)
def test_scores_equal_scikit_learn_to_1e_12(drawn) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    n_classes, pairs = drawn
    truth, prediction = np.array(pairs).T
    scores = metrics.per_class(truth, prediction, n_classes)
    precision, recall, f1, support = sklearn.precision_recall_fscore_support(
        truth, prediction, labels=range(n_classes), zero_division=np.nan
    )
    present = support > 0
    np.testing.assert_array_equal(scores.support, support)
    np.testing.assert_allclose(scores.precision, precision, atol=1e-12)
    np.testing.assert_allclose(scores.recall, recall, atol=1e-12)
    np.testing.assert_allclose(scores.f1[present], f1[present], atol=1e-12)
    assert np.isnan(scores.f1[~present]).all()
    np.testing.assert_array_equal(
        metrics.confusion_matrix(truth, prediction, n_classes),
        sklearn.confusion_matrix(truth, prediction, labels=range(n_classes)),
    )
    assert metrics.accuracy(truth, prediction) == sklearn.accuracy_score(truth, prediction)
    assert metrics.balanced_accuracy(truth, prediction, n_classes) == pytest.approx(
        np.mean(recall[present]), abs=1e-12
    )
    assert metrics.macro_f1(truth, prediction, n_classes) == pytest.approx(
        sklearn.f1_score(truth, prediction, labels=np.flatnonzero(present), average="macro"), abs=1e-12
    )


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 9)), min_size=2, max_size=60).filter(
        lambda rows: len({row[0] for row in rows}) == 2
    )
)
@settings(max_examples=60, deadline=None)
def test_auc_equals_scikit_learn_with_ties(rows) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    positive = np.array([row[0] for row in rows])
    score = np.array([row[1] / 9 for row in rows])
    value, (low, high) = metrics.auc_with_interval(positive, score)
    assert value == pytest.approx(sklearn.roc_auc_score(positive, score), abs=1e-12)
    assert value == metrics.auc(positive, score)
    assert math.isnan(low) or low <= value <= high


def test_auc_interval_is_delongs() -> None:
    # against DeLong's variance by its definition: all pairs compared one by one
    generator = np.random.default_rng(3)
    positive = generator.random(40) < 0.4
    score = np.round(generator.normal(positive, 1.0), 1)
    wins = (score[positive][:, None] > score[~positive]) + 0.5 * (
        score[positive][:, None] == score[~positive]
    )
    variance = wins.mean(1).var(ddof=1) / positive.sum() + wins.mean(0).var(ddof=1) / (~positive).sum()
    value = wins.mean()
    half = 1.959963984540054 * math.sqrt(variance) / (value * (1 - value))
    logit = math.log(value / (1 - value))
    expected = [1 / (1 + math.exp(-(logit - half))), 1 / (1 + math.exp(-(logit + half)))]
    np.testing.assert_allclose(metrics.auc_with_interval(positive, score)[1], expected, atol=1e-12)


def test_losses_equal_scikit_learn() -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(1)
    probabilities = generator.dirichlet(np.ones(4), 50)
    truth = generator.integers(0, 4, 50)
    assert metrics.nll(truth, probabilities) == pytest.approx(
        sklearn.log_loss(truth, probabilities, labels=range(4)), abs=1e-12
    )
    assert metrics.brier(truth, probabilities) == pytest.approx(
        np.mean([((p - np.eye(4)[t]) ** 2).sum() for t, p in zip(truth, probabilities, strict=True)]),
        abs=1e-12,
    )
    assert metrics.in_top_k(truth, probabilities, 2).mean() == pytest.approx(
        sklearn.top_k_accuracy_score(truth, probabilities, k=2, labels=range(4))
    )


def test_losses_of_impossible_and_certain_answers() -> None:
    assert metrics.nll([0], [[0.0, 1.0]]) == pytest.approx(708.4, abs=0.1)  # finite, and awful
    assert metrics.brier([0], [[0.0, 1.0]]) == 2.0
    assert metrics.brier([0], [[1.0, 0.0]]) == 0.0


def test_brier_leaves_its_argument_alone() -> None:
    probabilities = np.array([[0.2, 0.8]])
    metrics.brier([1], probabilities)
    np.testing.assert_array_equal(probabilities, [[0.2, 0.8]])


def test_top_k_takes_at_most_all_classes_and_top_1_is_the_accuracy() -> None:
    probabilities = np.array([[0.5, 0.5], [0.5, 0.5], [0.1, 0.9]])
    truth = np.array([0, 1, 1])
    assert metrics.in_top_k(truth, probabilities, 5).mean() == 1.0
    assert metrics.in_top_k(truth, probabilities, 1).mean() == metrics.accuracy(
        truth, probabilities.argmax(axis=1)
    )


@pytest.mark.parametrize(("correct", "n"), [(0, 10), (10, 10), (146, 153), (751, 800), (1, 2)])
def test_wilson_equals_scipy(correct: int, n: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    expected = stats.binomtest(correct, n).proportion_ci(0.95, method="wilson")
    np.testing.assert_allclose(metrics.wilson_interval(correct, n), tuple(expected), atol=1e-12)


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_solves_the_score_equation(drawn) -> None:
    correct, n = drawn
    p, z = correct / n, metrics.z_value()
    low, high = metrics.wilson_interval(correct, n)
    assert 0 <= low <= p <= high <= 1
    for limit in (low, high):
        if 0 < limit < 1:
            assert (p - limit) ** 2 == pytest.approx(z * z * limit * (1 - limit) / n, rel=1e-6, abs=1e-12)


def test_undefined_is_nan_and_bad_arguments_are_refused() -> None:
    assert all(map(math.isnan, metrics.wilson_interval(0, 0)))
    assert math.isnan(metrics.accuracy([], []))
    assert math.isnan(metrics.auc([True, True], [0.1, 0.2]))
    assert math.isnan(metrics.balanced_accuracy([], [], 3))
    scores = metrics.per_class([0, 0], [0, 1], 3)
    np.testing.assert_array_equal(scores.precision, [1.0, 0.0, math.nan])
    np.testing.assert_array_equal(scores.recall, [0.5, math.nan, math.nan])
    with pytest.raises(ValueError, match="3 correct of 2"):
        metrics.wilson_interval(3, 2)
    with pytest.raises(ValueError, match="confidence"):
        metrics.z_value(95)
    with pytest.raises(ValueError, match="labels"):
        metrics.confusion_matrix([0, 3], [0, 1], 3)
    with pytest.raises(ValueError, match="paired"):
        metrics.mcnemar([True], [True, False])


def paired(both: int, only_a: int, only_b: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    a = [True] * (both + only_a) + [False] * (only_b + neither)
    b = [True] * both + [False] * only_a + [True] * only_b + [False] * neither
    return np.array(a), np.array(b)


@pytest.mark.parametrize(
    ("only_a", "only_b"), [(0, 0), (1, 0), (5, 5), (12, 2), (0, 6), (60, 95), (900, 1100)]
)
def test_mcnemar_is_the_exact_binomial_test(only_a: int, only_b: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    expected = stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    assert metrics.mcnemar(*paired(30, only_a, only_b, 4)) == pytest.approx(expected, rel=1e-9)


def test_paired_interval_agrees_with_an_independent_fit() -> None:
    # the restricted likelihood maximised numerically, and the score equation solved on it
    optimize = pytest.importorskip("scipy.optimize")
    both, only_a, only_b, neither = 36, 12, 2, 0
    n = both + only_a + only_b + neither

    def score(delta: float) -> float:
        def loss(q: float) -> float:  # q = P(only b right); P(only a right) = q + delta
            rest = 1 - 2 * q - delta
            return -(only_a * math.log(q + delta) + only_b * math.log(q) + (both + neither) * math.log(rest))

        lowest, highest = max(1e-9, 1e-9 - delta), (1 - delta) / 2 - 1e-9
        q = optimize.minimize_scalar(loss, bounds=(lowest, highest), options={"xatol": 1e-11}).x
        return (only_a - only_b - n * delta) / math.sqrt(n * (2 * q + delta - delta * delta))

    difference, (low, high) = metrics.paired_difference(*paired(both, only_a, only_b, neither))
    assert difference == pytest.approx(0.2)
    assert score(low) == pytest.approx(metrics.z_value(), abs=1e-3)
    assert score(high) == pytest.approx(-metrics.z_value(), abs=1e-3)


@given(st.integers(0, 40), st.integers(0, 15), st.integers(0, 15), st.integers(0, 20))
@settings(deadline=None)
def test_paired_interval_contains_the_difference_and_agrees_with_mcnemar(
    both, only_a, only_b, neither
) -> None:
    a, b = paired(both, only_a, only_b, neither)
    if not a.size:
        assert math.isnan(metrics.paired_difference(a, b)[0])
        return
    difference, (low, high) = metrics.paired_difference(a, b)
    assert -1 <= low <= difference <= high <= 1
    if only_a + only_b:
        rejected = abs(only_a - only_b) / math.sqrt(only_a + only_b) > metrics.z_value()
        assert (low > 0 or high < 0) == rejected
    if metrics.mcnemar(a, b) < 0.05:
        assert low > 0 or high < 0
    mirrored, (mirrored_low, mirrored_high) = metrics.paired_difference(b, a)
    assert (mirrored, mirrored_low, mirrored_high) == pytest.approx((-difference, -high, -low), abs=1e-9)


def test_paired_interval_covers_its_95_percent() -> None:
    # all outcomes of 25 pictures, weighted by their probability under three true tables
    n = 25
    for p_a, p_b in ((0.15, 0.10), (0.05, 0.20), (0.3, 0.3)):
        covered = 0.0
        for only_a, only_b in itertools.product(range(n + 1), repeat=2):
            rest = n - only_a - only_b
            if rest < 0:
                continue
            log_weight = math.lgamma(n + 1) - sum(math.lgamma(x + 1) for x in (only_a, only_b, rest))
            log_weight += only_a * math.log(p_a) + only_b * math.log(p_b) + rest * math.log(1 - p_a - p_b)
            if log_weight > -12:
                _, (low, high) = metrics.paired_difference(*paired(rest, only_a, only_b, 0))
                covered += math.exp(log_weight) * (low <= p_a - p_b <= high)
        assert 0.92 < covered < 0.985


def test_holm_adjusts_as_in_the_textbook() -> None:
    np.testing.assert_allclose(metrics.holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06])
    assert metrics.holm([]).size == 0


@given(labels)
@settings(max_examples=25, deadline=None)
def test_intervals_of_means_contain_their_value(drawn) -> None:
    n_classes, pairs = drawn
    matrix = metrics.confusion_matrix(*np.array(pairs).T, n_classes)
    low, high = metrics.balanced_accuracy_interval(matrix)
    assert 0 <= low <= metrics.mean_defined(metrics.per_class_of(matrix).recall) <= high <= 1
    low, high = metrics.macro_f1_interval(matrix, resamples=50)
    assert math.isnan(low) or 0 <= low <= high <= 1


def test_balanced_accuracy_interval_does_not_shrink_to_a_point() -> None:
    low, high = metrics.balanced_accuracy_interval(np.diag([10, 10]))
    assert low == pytest.approx(1 - math.sqrt(2) * 0.2775328 / 2, abs=1e-6)
    assert high == 1.0


def test_macro_f1_interval_is_repeatable_and_covers_the_resampling_spread() -> None:
    matrix = np.array([[40, 10], [5, 45]])
    interval = metrics.macro_f1_interval(matrix)
    assert interval == metrics.macro_f1_interval(matrix)
    # near the normal interval of the accuracy, which macro F1 of two equal classes follows
    np.testing.assert_allclose(interval, (0.85 - 0.07, 0.85 + 0.07), atol=0.015)
    assert all(map(math.isnan, metrics.macro_f1_interval(np.diag([5, 5]))))


@given(st.integers(0, 40), st.integers(0, 40), st.floats(0.1, 100))
def test_the_interval_of_two_levels_is_that_of_a_share(right: int, wrong: int, cost: float) -> None:
    values = np.array([0.0] * right + [cost] * wrong)
    found = metrics.levels_interval(values, 0, cost)
    if right + wrong:
        low, high = metrics.wilson_interval(wrong, right + wrong)
        assert found == pytest.approx((cost * low, cost * high))
    else:
        assert math.isnan(found[0])


@pytest.mark.parametrize("n", [30, 200])
@pytest.mark.parametrize(
    ("levels", "p"),
    [((0, 1, 5), (0.8, 0.15, 0.05)), ((0, 1, 2, 20), (0.9, 0.05, 0.03, 0.02)), ((-5, 0, 1), (0.1, 0.6, 0.3))],
)
def test_the_interval_of_levels_holds_their_mean(
    n: int, levels: tuple[float, ...], p: tuple[float, ...]
) -> None:
    random = np.random.default_rng(n)
    mean = float(np.dot(levels, p))
    held = []
    for _ in range(2000):
        low, high = metrics.levels_interval(random.choice(levels, n, p=p), min(levels), max(levels))
        assert min(levels) <= low <= high <= max(levels)
        held.append(low <= mean <= high)
    assert 0.94 <= np.mean(held) <= 0.995
