"""Probabilities that can be taken at their word: temperature, calibration error, thresholds with a coverage.

Arrays in, numbers out, as in `headstart.metrics`: ``truth`` is int64 [n], ``probabilities`` float64 [n, C].
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headstart.metrics import UNDEFINED, Floats, Interval, z_value

LOWEST, HIGHEST = 1 / 20, 20.0  # temperatures; beyond, the pictures say nothing of it
MINIMUM = 100
"""Calibration pictures for a temperature. One fitted parameter costs 1 / (2 n) nats of log loss on new
pictures: 0.005 here. What is to be won where a network is too sure is several times that (decision 18)."""
MISTAKES = 10
"""Wrong answers among them: without any, the best temperature is 0; with 5, it is known to a factor of 2."""
BINS = 15
RESAMPLES = 400
SEED = 20170806
ROUNDING = 1e-9  # 0.95 * 20 is 19, not a little more


@dataclass(frozen=True)
class Temperature:
    """What divides the logits.

    Attributes:
        value: 1 where none could be fitted.
        interval_95: Of the value; (nan, nan) where none was fitted.
        n: Pictures that it was fitted on.
        wrong: Wrong answers among them.
        reason: Why none was fitted, or an empty string.
    """

    value: float
    interval_95: Interval
    n: int
    wrong: int
    reason: str = ""


def fit_temperature(truth: ArrayLike, probabilities: ArrayLike) -> Temperature:
    """The temperature of lowest log loss, on pictures that neither trained nor chose the model.

    Log loss is convex in 1 / temperature, so that its zero slope is found by bisection. The interval is the
    normal one of log temperature with the sandwich variance: it holds also where no temperature fits well.
    Source: C. Guo et al., On Calibration of Modern Neural Networks, ICML 2017.

    Args:
        truth: int64 [n].
        probabilities: float64 [n, C], of temperature 1.
    """
    t, logs = np.asarray(truth, dtype=np.int64), logarithms(probabilities)
    n, rows = len(t), np.arange(len(t))
    wrong = int((logs.argmax(axis=1) != t).sum()) if n else 0

    def unfitted(reason: str) -> Temperature:
        return Temperature(1.0, UNDEFINED, n, wrong, reason)

    if n < MINIMUM:
        return unfitted(f"{n} calibration pictures are fewer than {MINIMUM}")
    if wrong < MISTAKES:
        return unfitted(f"{wrong} wrong answers to {n} calibration pictures are too few to judge by")

    def slopes(inverse: float) -> tuple[Floats, Floats]:
        """First and second derivative of each picture's log loss by 1 / temperature, [n]."""
        p = tempered(logs, 1 / inverse)
        mean = (p * logs).sum(axis=1)
        return mean - logs[rows, t], (p * logs**2).sum(axis=1) - mean**2

    low, high = math.log(1 / HIGHEST), math.log(1 / LOWEST)
    if slopes(math.exp(low))[0].mean() >= 0 or slopes(math.exp(high))[0].mean() <= 0:
        return unfitted(f"what the model says of {n} calibration pictures tells nothing of the truth")
    for _ in range(60):
        middle = (low + high) / 2
        if slopes(math.exp(middle))[0].mean() < 0:
            low = middle
        else:
            high = middle
    inverse = math.exp((low + high) / 2)
    first, second = slopes(inverse)
    deviation = math.sqrt(float((first**2).sum())) / (float(second.sum()) * inverse)  # of log temperature
    factor = math.exp(z_value() * deviation)
    return Temperature(1 / inverse, (1 / inverse / factor, factor / inverse), n, wrong)


def logarithms(probabilities: ArrayLike) -> Floats:
    """Natural logarithms, float64; of 0, those of the smallest number above it."""
    return np.asarray(np.log(np.maximum(np.asarray(probabilities, np.float64), np.finfo(np.float64).tiny)))


def tempered(logs: Floats, temperature: float) -> Floats:
    """Probabilities [n, C] at a temperature, from logarithms (or logits) [n, C]; their order stays."""
    scaled = logs / temperature
    exponentials = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class CalibrationError:
    """How far confidence and accuracy lie apart.

    Attributes:
        value: 0..1; nan without pictures.
        if_calibrated_95: What a perfectly calibrated model of the same confidences stays below, 95 times of
            100. Pictures are few and chance is in every bin, so this is never 0.
        confidence: Mean of each bin, [B].
        accuracy: Of each bin, [B].
        pictures: Of each bin, int64 [B].
    """

    value: float
    if_calibrated_95: float
    confidence: Floats
    accuracy: Floats
    pictures: NDArray[np.int64]


def calibration_error(truth: ArrayLike, probabilities: ArrayLike) -> CalibrationError:
    """Expected calibration error (ECE) of the predicted class.

    Bins of equally many pictures, 15 or as many as there are pictures: of equal width, most would be empty
    and the fullest decide (J. Nixon et al., Measuring Calibration in Deep Learning, 2019). It is biased
    upwards; instead of an interval that would hide this, what chance alone gives stands beside it (J.
    Broecker & L. Smith, Weather and Forecasting 22 (2007) 651-661: consistency resampling; of fixed seed).
    """
    t, p = np.asarray(truth, dtype=np.int64), np.asarray(probabilities, dtype=np.float64)
    n = len(t)
    if not n:
        nothing = np.zeros(0)
        return CalibrationError(math.nan, math.nan, nothing, nothing, np.zeros(0, np.int64))
    confidence, correct = p.max(axis=1), p.argmax(axis=1) == t
    order = np.lexsort((correct, confidence))  # the order of the pictures decides nothing
    confidence, correct = confidence[order], correct[order]
    bounds = np.linspace(0, n, min(BINS, n) + 1).astype(np.int64)
    starts, sizes = bounds[:-1], np.diff(bounds)
    sure = np.add.reduceat(confidence, starts)
    hits = np.add.reduceat(correct.astype(np.float64), starts)

    def error(of: Floats) -> float:
        return float(np.abs(of - sure).sum() / n)

    generator = np.random.default_rng(SEED)
    chance = [
        error(np.add.reduceat((generator.random(n) < confidence).astype(np.float64), starts))
        for _ in range(RESAMPLES)
    ]
    return CalibrationError(
        error(hits), float(np.quantile(chance, 0.95)), sure / sizes, hits / sizes, sizes.astype(np.int64)
    )


def least_pictures(coverage: float) -> int:
    """So many held-out pictures a coverage needs at least: 19 for 0.95, 99 for 0.99."""
    return max(1, math.ceil(coverage / (1 - coverage) - ROUNDING))


@dataclass(frozen=True)
class Threshold:
    """A probability that the true class reaches with a stated coverage.

    Attributes:
        value: 0..1; what is at or above it counts.
        n: Held-out pictures that it was taken from.
        interval_95: Where the coverage of this very threshold lies: with other pictures it would have become
            another one. From the beta distribution, exact for probabilities without ties.
    """

    value: float
    n: int
    interval_95: Interval


def threshold_for(probabilities: ArrayLike, coverage: float) -> Threshold | None:
    """The highest threshold that a new picture's true class reaches with this probability at least.

    Split conformal prediction: where held-out and new pictures are exchangeable, that holds whatever the
    model is. Sets of all classes at or above the threshold are LAC (M. Sadinle, J. Lei & L. Wasserman, Least
    Ambiguous Set-Valued Classifiers with Bounded Error Levels, JASA 114 (2019) 223-234), the smallest ones on
    average. Of one class' pictures alone, its recall.

    Args:
        probabilities: Of the true class of held-out pictures, [n].
        coverage: Above 0, below 1.

    Returns:
        None where n is below `least_pictures`.
    """
    values = np.sort(np.asarray(probabilities, dtype=np.float64))
    n = len(values)
    rank = math.ceil((n + 1) * coverage - ROUNDING)
    if rank > n:
        return None
    tail = (1 - 0.95) / 2
    interval = (beta_quantile(tail, rank, n + 1 - rank), beta_quantile(1 - tail, rank, n + 1 - rank))
    return Threshold(float(values[n - rank]), n, interval)


def beta_quantile(share: float, a: int, b: int) -> float:
    """Quantile of the beta distribution of whole a, b >= 1: the a-th of a + b - 1 uniform numbers."""
    n = a + b - 1
    i = np.arange(a, n + 1)
    ways = np.array([math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in i.tolist()])
    low, high = 0.0, 1.0
    for _ in range(60):
        x = (low + high) / 2
        if float(np.exp(ways + i * math.log(x) + (n - i) * math.log1p(-x)).sum()) < share:
            low = x
        else:
            high = x
    return (low + high) / 2


def decided(probabilities: ArrayLike, favoured: int, threshold: float) -> NDArray[np.int64]:
    """The answers int64 [n]: one class from a threshold on, else the most probable other one."""
    p = np.array(probabilities, dtype=np.float64)
    chosen = p[:, favoured] >= threshold
    p[:, favoured] = -1
    return np.where(chosen, favoured, p.argmax(axis=1)).astype(np.int64)
