"""Numbers from arrays: accuracy, intervals, per-class scores, calibration losses, paired tests.

Nothing here knows of files, classes' names or networks. Conventions:

- ``truth`` and ``prediction`` are int64 [n] with values 0..C-1, ``probabilities`` float64 [n, C].
- All scores are fractions 0..1. An undefined value (0 / 0, no pictures) is ``nan``, never 0.
- Intervals are two-sided, 95 % unless ``confidence`` says otherwise, as a tuple (low, high).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Interval = tuple[float, float]

UNDEFINED: Interval = (math.nan, math.nan)
RESAMPLES = 2000
BOOTSTRAP_SEED = 20240229


def z_value(confidence: float = 0.95) -> float:
    """The normal quantile of a two-sided interval: 1.959964 for 0.95.

    Raises:
        ValueError: ``confidence`` is not between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, not {confidence}")
    return NormalDist().inv_cdf((1 + confidence) / 2)


def wilson_interval(correct: int, n: int, confidence: float = 0.95) -> Interval:
    """Score interval of a proportion; sensible down to 0 or n of n.

    Source: E. B. Wilson, JASA 22 (1927) 209-212. ``n = 0`` gives (nan, nan).

    Raises:
        ValueError: ``correct`` is not in 0..n.
    """
    if not 0 <= correct <= n:
        raise ValueError(f"{correct} correct of {n}")
    if n == 0:
        return UNDEFINED
    z = z_value(confidence)
    p = correct / n
    centre = p + z * z / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # exact at the ends, where rounding would leave 1e-17
    low = 0.0 if correct == 0 else (centre - half) / scale
    high = 1.0 if correct == n else (centre + half) / scale
    return low, high


def accuracy(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Fraction of equal entries; nan for empty arrays."""
    equal = np.asarray(truth) == np.asarray(prediction)
    return int(equal.sum()) / equal.size if equal.size else math.nan


def confusion_matrix(truth: ArrayLike, prediction: ArrayLike, n_classes: int) -> Ints:
    """Counts int64 [C, C]; row = truth, column = prediction.

    Raises:
        ValueError: a label is outside 0..C-1.
    """
    t, p = np.asarray(truth, dtype=np.int64), np.asarray(prediction, dtype=np.int64)
    for labels in (t, p):
        if labels.size and (labels.min() < 0 or labels.max() >= n_classes):
            raise ValueError(f"labels must lie in 0..{n_classes - 1}")
    counts = np.bincount(t * n_classes + p, minlength=n_classes * n_classes)
    return counts.reshape(n_classes, n_classes).astype(np.int64)


@dataclass(frozen=True)
class PerClass:
    """Scores of each class, arrays [C]. ``support`` is int64: pictures of that class.

    ``precision`` is nan where the class was never predicted, ``recall`` and ``f1`` are nan where
    it has no pictures. Elsewhere they equal scikit-learn's ``precision_recall_fscore_support``.
    """

    precision: Floats
    recall: Floats
    f1: Floats
    support: Ints


def divide(numerator: NDArray[np.generic], denominator: NDArray[np.generic]) -> Floats:
    """Quotient, nan where the denominator is 0."""
    result = np.full(np.shape(numerator), math.nan)
    np.divide(numerator, denominator, out=result, where=np.asarray(denominator) != 0)
    return result


def per_class_of(matrix: Ints) -> PerClass:
    """Scores from a confusion matrix [truth, prediction]."""
    right = np.diag(matrix)
    support, predicted = matrix.sum(axis=1), matrix.sum(axis=0)
    f1 = divide(2 * right, support + predicted)
    f1[support == 0] = math.nan  # without recall there is no F1
    return PerClass(divide(right, predicted), divide(right, support), f1, support)


def per_class(truth: ArrayLike, prediction: ArrayLike, n_classes: int) -> PerClass:
    """Precision, recall, F1 and support of each class."""
    return per_class_of(confusion_matrix(truth, prediction, n_classes))


def mean_defined(values: Floats) -> float:
    """Mean of the entries that are not nan; nan if there are none."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else math.nan


def balanced_accuracy(truth: ArrayLike, prediction: ArrayLike, n_classes: int) -> float:
    """Mean recall of the classes that have pictures."""
    return mean_defined(per_class(truth, prediction, n_classes).recall)


def balanced_accuracy_interval(matrix: Ints, confidence: float = 0.95) -> Interval:
    """Interval of the mean recall: the classes' Wilson intervals, added in squares.

    Source: G. Y. Zou & A. Donner, Statistics in Medicine 27 (2008) 1693-1702 (MOVER). Unlike a
    bootstrap it does not shrink to a point when every picture is right.
    """
    below = above = 0.0
    support = matrix.sum(axis=1)
    present = np.flatnonzero(support)
    if not present.size:
        return UNDEFINED
    recalls = []
    for i in present:
        recall = matrix[i, i] / support[i]
        low, high = wilson_interval(int(matrix[i, i]), int(support[i]), confidence)
        below += (recall - low) ** 2
        above += (high - recall) ** 2
        recalls.append(recall)
    mean = float(np.mean(recalls))
    return max(0.0, mean - math.sqrt(below) / present.size), min(1.0, mean + math.sqrt(above) / present.size)


def macro_f1(truth: ArrayLike, prediction: ArrayLike, n_classes: int) -> float:
    """Mean F1 of the classes that have pictures."""
    return mean_defined(per_class(truth, prediction, n_classes).f1)


def macro_f1_interval(
    matrix: Ints, confidence: float = 0.95, *, resamples: int = RESAMPLES, seed: int = BOOTSTRAP_SEED
) -> Interval:
    """Percentile bootstrap over pictures, of fixed seed.

    A resample of pictures is a multinomial draw of the matrix' cells, so the order of the pictures
    does not matter. Where all pictures are right, or all wrong, a bootstrap knows nothing: (nan, nan).
    Source: B. Efron & R. Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
    """
    n, right = int(matrix.sum()), int(np.trace(matrix))
    if n == 0 or right in (0, n):
        return UNDEFINED
    classes = len(matrix)
    rows, columns = np.nonzero(matrix)
    diagonal = rows == columns
    generator = np.random.default_rng(seed)
    shares = matrix[rows, columns] / n
    scores = np.empty(resamples)
    for i in range(resamples):
        counts = generator.multinomial(n, shares)
        support = np.bincount(rows, counts, classes)
        predicted = np.bincount(columns, counts, classes)
        hits = np.bincount(rows[diagonal], counts[diagonal], classes)
        present = support > 0
        scores[i] = np.mean(2 * hits[present] / (support[present] + predicted[present]))
    tail = (1 - confidence) / 2
    low, high = np.quantile(scores, (tail, 1 - tail))
    return float(low), float(high)


def mean_interval(values: Floats, confidence: float = 0.95) -> Interval:
    """Normal-approximation interval of the mean of values >= 0; undefined for fewer than two values."""
    if values.size < 2:
        return UNDEFINED
    half = z_value(confidence) * float(values.std(ddof=1)) / math.sqrt(values.size)
    mean = float(values.mean())
    return max(0.0, mean - half), mean + half


def levels_interval(values: Floats, least: float, most: float, confidence: float = 0.95) -> Interval:
    """Interval of the mean of values of few levels, such as costs; (nan, nan) without values.

    The mean is the commonest level plus, for each other one, its distance times its share: the Wilson
    intervals of the shares, added in squares (G. Y. Zou, W. Huang & X. Zhang, Computational Statistics & Data
    Analysis 53 (2009) 1080-1085). What did not happen yet counts too, as a level at ``least`` and ``most``:
    the interval of values that are all equal is no point. Of values 0 and 1 it is `wilson_interval`.

    Args:
        values: float64 [n].
        least, most: What a value can be.
    """
    n = values.size
    if not n:
        return UNDEFINED
    levels, counts = np.unique(values, return_counts=True)
    base = float(levels[counts.argmax()])
    seen = dict(zip(levels.tolist(), counts.tolist(), strict=True))
    below = above = 0.0
    for level, count in {least: 0, most: 0, **seen}.items():
        low, high = wilson_interval(count, n, confidence)
        changes = (level - base) * (low - count / n), (level - base) * (high - count / n)
        below += min(changes) ** 2
        above += max(changes) ** 2
    mean = float(values.mean())
    return max(least, mean - math.sqrt(below)), min(most, mean + math.sqrt(above))


def log_losses(truth: ArrayLike, probabilities: ArrayLike) -> Floats:
    """``-log p(truth)`` of each picture, float64 [n], in nats; p is taken as at least 2.2e-308."""
    t, p = np.asarray(truth, dtype=np.int64), np.asarray(probabilities, dtype=np.float64)
    chosen = p[np.arange(t.size), t]
    return -np.log(np.maximum(chosen, np.finfo(np.float64).tiny))


def nll(truth: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean negative log-likelihood in nats (the cross-entropy); nan without pictures."""
    losses = log_losses(truth, probabilities)
    return float(losses.mean()) if losses.size else math.nan


def brier_scores(truth: ArrayLike, probabilities: ArrayLike) -> Floats:
    """Squared distance of the probabilities to the one-hot truth, float64 [n], 0..2.

    Source: G. W. Brier, Monthly Weather Review 78 (1950) 1-3 (the original, multi-class form).
    """
    t, p = np.asarray(truth, dtype=np.int64), np.array(probabilities, dtype=np.float64)
    p[np.arange(t.size), t] -= 1
    return np.asarray((p * p).sum(axis=1))


def brier(truth: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean Brier score, 0 (sure and right) to 2 (sure and wrong); nan without pictures."""
    scores = brier_scores(truth, probabilities)
    return float(scores.mean()) if scores.size else math.nan


def in_top_k(truth: ArrayLike, probabilities: ArrayLike, k: int) -> NDArray[np.bool_]:
    """Whether the truth is among the ``min(k, C)`` most probable classes, bool [n].

    Equal probabilities rank by class index, as ``argmax`` does: top-1 is the accuracy exactly.
    """
    t, p = np.asarray(truth, dtype=np.int64), np.asarray(probabilities, dtype=np.float64)
    own = p[np.arange(t.size), t][:, None]
    earlier = np.arange(p.shape[1])[None, :] < t[:, None]
    rank = ((p > own) | ((p == own) & earlier)).sum(axis=1)
    return np.asarray(rank < min(k, p.shape[1]))


def mcnemar(a_correct: ArrayLike, b_correct: ArrayLike) -> float:
    """Exact two-sided McNemar p-value for two models on the same pictures.

    Only pictures that one of the two gets right count: under "equally good" each falls to either
    side like a coin. No such picture gives 1. Source: Q. McNemar, Psychometrika 12 (1947) 153-157.

    Args:
        a_correct, b_correct: bool [n], in the same order of pictures.
    """
    a, b = _paired(a_correct, b_correct)
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    trials, fewer = only_a + only_b, min(only_a, only_b)
    tail = sum(_binomial_half(trials, i) for i in range(fewer + 1))
    return min(1.0, 2 * tail)


def _binomial_half(n: int, k: int) -> float:
    """P(k heads of n fair throws)."""
    return math.exp(math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2))


def paired_difference(
    a_correct: ArrayLike, b_correct: ArrayLike, confidence: float = 0.95
) -> tuple[float, Interval]:
    """Accuracy of A minus accuracy of B on the same pictures, with its score interval.

    The interval excludes 0 exactly where McNemar's (uncorrected) test rejects, so it never speaks
    against `mcnemar`, which is the stricter of the two.
    Source: T. Tango, Statistics in Medicine 17 (1998) 891-908.

    Args:
        a_correct, b_correct: bool [n], in the same order of pictures.
    Returns:
        The difference in -1..1 and (low, high); nan without pictures.
    """
    a, b = _paired(a_correct, b_correct)
    n = a.size
    if n == 0:
        return math.nan, UNDEFINED
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    difference = (only_a - only_b) / n
    z = z_value(confidence)

    def score(delta: float) -> float:
        # q: the restricted maximum-likelihood estimate of P(only B right) given the difference
        linear = (2 * n - only_a + only_b) * delta - only_a - only_b
        root = math.sqrt(max(0.0, linear * linear + 8 * n * only_b * delta * (1 - delta)))
        q = (root - linear) / (4 * n)
        variance = n * (2 * q + delta * (1 - delta))
        distance = only_a - only_b - n * delta
        return distance / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, distance)

    low = -1.0 if difference == -1 else _bisect(lambda d: score(d) - z, -1.0, difference)
    high = 1.0 if difference == 1 else _bisect(lambda d: score(d) + z, difference, 1.0)
    return difference, (low, high)


def _bisect(falling: Callable[[float], float], low: float, high: float) -> float:
    """The zero of a falling function between ``low`` and ``high``, to double precision."""
    for _ in range(80):
        middle = (low + high) / 2
        if falling(middle) > 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _paired(a_correct: ArrayLike, b_correct: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    a, b = np.asarray(a_correct, dtype=bool), np.asarray(b_correct, dtype=bool)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"paired arrays must be [n] and equally long, not {a.shape} and {b.shape}")
    return a, b


def fisher_exact(right: int, n: int, other_right: int, other_n: int) -> float:
    """Fisher's exact two-sided p-value: whether two shares differ. 1 where one has no pictures.

    As probable as what was seen, or less, under "equally good", given how many of all are right.
    Source: R. A. Fisher, Statistical Methods for Research Workers (1934), section 21.02.
    """
    total, k = n + other_n, right + other_right
    logs = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, total + 1)))))  # of factorials
    x = np.arange(max(0, k - other_n), min(n, k) + 1)
    ways = -(logs[x] + logs[n - x] + logs[k - x] + logs[other_n - k + x])
    chances = np.exp(ways - ways.max())
    seen = chances[right - x[0]]
    return min(1.0, float(chances[chances <= seen * (1 + 1e-7)].sum() / chances.sum()))


def holm(p_values: ArrayLike) -> Floats:
    """p-values adjusted for several comparisons, float64 [m].

    Source: S. Holm, Scandinavian Journal of Statistics 6 (1979) 65-70.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1)))
    return adjusted


def auc(positive: ArrayLike, score: ArrayLike) -> float:
    """Area under the ROC curve of two classes: P(score of a positive > score of a negative), ties half.

    Source: J. A. Hanley & B. J. McNeil, Radiology 143 (1982) 29-36 (the rank statistic).

    Args:
        positive: bool [n].
        score: float [n], larger means more positive.
    Returns:
        0..1; nan where one of the two classes has no pictures.
    """
    return auc_with_interval(positive, score)[0]


def auc_with_interval(
    positive: ArrayLike, score: ArrayLike, confidence: float = 0.95
) -> tuple[float, Interval]:
    """`auc` with DeLong's interval on the logit scale; undefined where every pair is ordered alike.

    Source: E. R. DeLong et al., Biometrics 44 (1988) 837-845; ranks as in X. Sun & W. Xu, IEEE
    Signal Processing Letters 21 (2014) 1389-1393.
    """
    is_positive, s = np.asarray(positive, dtype=bool), np.asarray(score, dtype=np.float64)
    n_positive, n_negative = int(is_positive.sum()), int((~is_positive).sum())
    if not n_positive or not n_negative:
        return math.nan, UNDEFINED
    ranks = _midranks(s)
    # for each picture the share of the other class that it beats
    of_positive = (ranks[is_positive] - _midranks(s[is_positive])) / n_negative
    of_negative = 1 - (ranks[~is_positive] - _midranks(s[~is_positive])) / n_positive
    value = float(of_positive.mean())
    if n_positive < 2 or n_negative < 2 or not 0 < value < 1:
        return value, UNDEFINED
    variance = float(of_positive.var(ddof=1)) / n_positive + float(of_negative.var(ddof=1)) / n_negative
    logit = math.log(value / (1 - value))
    half = z_value(confidence) * math.sqrt(variance) / (value * (1 - value))
    return value, (_logistic(logit - half), _logistic(logit + half))


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(min(700.0, -x)))


def _midranks(values: Floats) -> Floats:
    """Ranks from 1; equal values share the mean of their ranks."""
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[where])
