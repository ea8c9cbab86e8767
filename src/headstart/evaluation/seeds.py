"""Accuracies of trainings that were repeated with other seeds, on the same pictures: means and differences.

Two things are left to chance: which pictures there are, and which seeds. The pictures are drawn again
(bootstrap). Seeds are too few for that, as three of them have three values to draw from: to each draw, the
spread of the seeds is added as Student's t, of as many degrees of freedom as B. L. Welch, Biometrika 34
(1947) 28-35, gives the variants together. Both are drawn at once as in S. Weerahandi, "Generalized
Confidence Intervals", JASA 88 (1993) 899-905.

Arrays: ``correct`` is bool [S, n], whether the run of a seed named a picture right; the pictures of all
arrays are the same, in the same order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart import metrics
from headstart.metrics import Floats, Interval

DRAWS = 20_000
DRAWS_SEED = 20240229
POWER = 0.8  # of the number of pictures that would do: it does so four times in five
HOPELESS = 100.0  # times the pictures that there are

Correct = NDArray[np.bool_]


@dataclass(frozen=True)
class SeedDifference:
    """Accuracy of A minus accuracy of B, both a mean over seeds.

    Attributes:
        value: In -1..1.
        interval_95: Of it, over pictures and seeds.
        p_value: Two-sided; of single seeds McNemar's exact one.
        needed: Pictures with which such a difference would be seen four times in five; None: more pictures
            alone would not do, or more than `HOPELESS` times those that there are.
        seeds_matter: Whether that is for the spread of the seeds.
    """

    value: float
    interval_95: Interval
    p_value: float
    needed: int | None
    seeds_matter: bool


def mean_over_seeds(correct: Correct) -> tuple[float, Interval]:
    """Mean accuracy with its 95 % interval over pictures and seeds; of one seed Wilson's.

    Two right and two wrong pictures are added for the interval, as by A. Agresti & B. Coull, The American
    Statistician 52 (1998) 119-126: it does not shrink to a point where all are right.
    """
    n = correct.shape[1]
    if len(correct) == 1:
        return float(correct.mean()), metrics.wilson_interval(int(correct.sum()), n)
    added = np.array([1.0, 1.0, 0.0, 0.0])
    draws = _over_pictures(np.concatenate([correct.mean(0), added]))
    draws += _over_seeds(correct)
    low, high = np.quantile(draws, (0.025, 0.975)).clip(0, 1)
    return float(correct.mean()), (float(low), float(high))


def difference_over_seeds(a: Correct, b: Correct) -> SeedDifference:
    """Compares two variants; of one seed each by McNemar's test and Tango's interval.

    For the interval over seeds, a picture is added that speaks for A as much as those that speak for one of
    both do on average, and one for B; of one seed that is the interval of D. Bonett & R. Price, Journal of
    Educational and Behavioral Statistics 37 (2012) 479-488. It does not shrink to a point.
    """
    value = float(a.mean() - b.mean())
    if len(a) == len(b) == 1:
        value, interval = metrics.paired_difference(a[0], b[0])
        needed, seeds_matter = _needed(a, b)
        return SeedDifference(value, interval, metrics.mcnemar(a[0], b[0]), needed, seeds_matter)
    each = a.mean(0) - b.mean(0)
    apart = each[each != 0]
    size = math.sqrt((1 + float(np.square(apart).sum())) / (1 + apart.size))  # of none 1, as of one seed
    draws = _over_pictures(np.concatenate([each, [size, -size]]))
    draws += _over_seeds(a, b)
    low, high = np.quantile(draws, (0.025, 0.975)).clip(-1, 1)
    beyond = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    needed, seeds_matter = _needed(a, b)
    p_value = min(1.0, 2 * (beyond + 1) / (DRAWS + 1))
    return SeedDifference(value, (float(low), float(high)), p_value, needed, seeds_matter)


def _over_pictures(values: Floats) -> Floats:
    """Means of values drawn again with replacement, [DRAWS]; few of the values differ, so that they are drawn
    by their numbers."""
    different, counts = np.unique(values, return_counts=True)
    n = int(counts.sum())
    drawn = np.random.default_rng(DRAWS_SEED).multinomial(n, counts / n, DRAWS)
    return np.asarray(drawn @ different / n)


def _over_seeds(*variants: Correct) -> Floats:
    """What other seeds would have added to a mean, or to a difference of means, [DRAWS].

    Nothing is known of it from one seed.
    """
    spread = _seed_variance(*variants)
    squares = [float(one.mean(1).var(ddof=1)) / len(one) if len(one) > 1 else 0.0 for one in variants]
    if spread == 0:
        return np.zeros(DRAWS)
    parts = [square**2 / (len(one) - 1) for square, one in zip(squares, variants, strict=True) if square]
    degrees = sum(squares) ** 2 / sum(parts)
    return math.sqrt(spread) * np.random.default_rng([DRAWS_SEED, 1]).standard_t(degrees, DRAWS)


def _seed_variance(*variants: Correct) -> float:
    """Of the mean over seeds, or of a difference of means: beyond what pictures that go either way make of
    it, which the pictures' own draws have already."""
    total = 0.0
    for one in variants:
        if len(one) > 1:
            chance = float(one.var(0, ddof=1).mean()) / one.shape[1]
            total += (float(one.mean(1).var(ddof=1)) - chance) / len(one)
    return max(0.0, total)


def _needed(a: Correct, b: Correct) -> tuple[int | None, bool]:
    """Pictures with which the difference that was seen is found significant, with a power of `POWER`.

    From the discordance, the mean square of the pictures' differences: n = (z + z')^2 variance /
    difference^2,
    the formula for McNemar's test (R. Connor, Biometrics 43 (1987) 207-211) with the variance of the
    difference itself, less what the seeds' spread takes of the difference.

    Returns:
        The number, or None; whether it is None because seeds differ too much.
    """
    each = a.mean(0) - b.mean(0)
    difference = float(each.mean())
    factor = (metrics.z_value() + metrics.z_value(2 * POWER - 1)) ** 2
    room = difference**2 - factor * _seed_variance(a, b)
    if difference == 0:
        return None, False
    if room <= 0:
        return None, True
    needed = factor * float(each.var()) / room
    return (None, False) if needed > HOPELESS * each.size else (math.ceil(needed), False)
