"""Accuracy against the number of training pictures, and what twice as many would bring.

The error is taken to follow a power law, a + b n^-c (J. Hestness et al., "Deep Learning Scaling is
Predictable, Empirically", 2017; C. Perlich et al., JMLR 4 (2003) 211-255, for logistic regression).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart import metrics
from headstart.console import table
from headstart.errors import DataError
from headstart.metrics import Floats

Ints = NDArray[np.int64]

LEAST_TRAIN = 40  # training pictures
LEAST_REPORTED = 30  # pictures to measure on
LEAST_SIZES = 4  # points of a curve with three unknowns
LEAST_IN_CLASS = 2  # pictures of each class in the smallest subset
STEP = math.sqrt(2)  # from one size to the next
SIZES = 8
EXPONENTS = np.geomspace(0.05, 2.0, 40)
RESAMPLES = 1000
SEED = 20240229


@dataclass(frozen=True, eq=False)
class LearningCurve:
    """What was measured, and the law that follows from it.

    Attributes:
        sizes: Training pictures, rising; K of them. The last one is all.
        right: Share of the draws that named each reported picture right, float64 [draws, K, n], 0 or 1.
    """

    sizes: tuple[int, ...]
    right: Floats
    resamples: int = field(default=RESAMPLES)

    @property
    def n(self) -> int:
        """Reported pictures."""
        return int(self.right.shape[2])

    @property
    def accuracies(self) -> Floats:
        """[draws, K]."""
        return np.asarray(self.right.mean(2))

    @property
    def means(self) -> Floats:
        """[K]."""
        return np.asarray(self.accuracies.mean(0))

    @cached_property
    def law(self) -> tuple[float, float, float]:
        """a, b, c of the error a + b n^-c, fitted to the means."""
        a, b, c = power_laws(self.sizes, 1 - self.means[None])
        return float(a[0]), float(b[0]), float(c[0])

    @cached_property
    def laws(self) -> tuple[Floats, Floats, Floats]:
        """The same of each resample: other reported pictures, other draws, other training pictures."""
        return power_laws(self.sizes, 1 - resampled(self.sizes, self.right, self.resamples))

    def gain(self, times: float = 2.0) -> tuple[float, tuple[float, float]]:
        """Accuracy that so many times the pictures would add, with its 95 % interval; fractions."""
        most = self.sizes[-1]

        def added(a: Any, b: Any, c: Any) -> Any:
            return b * most**-c - b * (times * most) ** -c

        low, high = np.quantile(added(*self.laws), (0.025, 0.975))
        return float(added(*self.law)), (float(low), float(high))

    def band(self) -> tuple[Floats, Floats, Floats, Floats]:
        """Numbers of pictures up to twice as many, and lower end, fit and upper end of the accuracy there."""
        grid = np.geomspace(self.sizes[0], 2 * self.sizes[-1], 60)
        a, b, c = (np.asarray(one)[:, None] for one in self.laws)
        low, high = np.quantile(1 - (a + b * grid**-c), (0.025, 0.975), axis=0)
        a1, b1, c1 = self.law
        return grid, low.clip(0, 1), 1 - (a1 + b1 * grid**-c1), high.clip(0, 1)

    def sentence(self) -> str:
        """The answer."""
        value, (low, high) = (100 * self.gain()[0], [100 * one for one in self.gain()[1]])
        return (
            f"twice the pictures ({2 * self.sizes[-1]:,} instead of {self.sizes[-1]:,}) would bring the "
            f"probe {value:+.1f} points ({low:+.1f} to {high:+.1f})"
        )

    def rows(self) -> list[dict[str, Any]]:
        """Of ``learning-curve.csv``."""
        found = []
        for k, size in enumerate(self.sizes):
            each = self.accuracies[:, k]
            low, high = metrics.wilson_interval(round(float(self.means[k]) * self.n), self.n)
            row = {"train_pictures": size, "draws": len(each), "n": self.n, "accuracy": float(self.means[k])}
            spread = {"lowest": float(each.min()), "highest": float(each.max())}
            found.append({**row, "low_95": low, "high_95": high, **spread})
        return found

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        value, interval = self.gain()
        spread = [np.quantile(one, (0.025, 0.975)).tolist() for one in self.laws]
        return {
            "sizes": self.rows(),
            "law": {
                "error": "a + b * n^-c",
                **{
                    name: {"value": one, "interval_95": two}
                    for name, one, two in zip("abc", self.law, spread, strict=True)
                },
            },
            "twice": {
                "train_pictures": 2 * self.sizes[-1],
                "gain": value,
                "interval_95": list(interval),
                "n": self.n,
                "sentence": self.sentence(),
            },
        }

    def lines(self) -> list[str]:
        """For the terminal."""
        rows = [
            (
                row["train_pictures"],
                f"{row['accuracy']:.3f}",
                f"{row['low_95']:.3f} to {row['high_95']:.3f}",
                f"{row['lowest']:.3f} to {row['highest']:.3f}",
            )
            for row in self.rows()
        ]
        draws = f"{len(self.right)} draws"
        header = ("training pictures", "accuracy", "95 % interval", draws)
        a, b, c = self.law
        return [
            *table(header, rows).split("\n"),
            f"measured on {self.n} reported pictures, which chose nothing; "
            f"error = {a:.3f} + {b:.2f} n^-{c:.2f}",
            "The interval assumes that this law goes on, and that further pictures are like these.",
            self.sentence(),
        ]


def power_laws(sizes: Sequence[int], errors: Floats) -> tuple[Floats, Floats, Floats]:
    """a, b, c of the curves a + b n^-c with a, b >= 0 nearest to errors [B, K] by least squares; each [B].

    For each of `EXPONENTS` the others follow in closed form; where an end of a or b binds, from it alone.
    """
    n = np.asarray(sizes, np.float64)
    best = np.full(len(errors), math.inf)
    found = [np.zeros(len(errors)) for _ in range(3)]
    mean = errors.mean(1)
    for c in EXPONENTS:
        x = n**-c
        centred = x - x.mean()
        b = np.maximum(0.0, errors @ centred / (centred @ centred))
        a = mean - b * x.mean()
        alone = errors @ x / (x @ x)
        b, a = np.where(a < 0, alone, b), np.maximum(0.0, a)
        loss = ((errors - a[:, None] - b[:, None] * x) ** 2).sum(1)
        better = loss < best - 1e-15
        best = np.where(better, loss, best)
        found = [
            np.where(better, new, old) for new, old in zip((a, b, np.full_like(b, c)), found, strict=True)
        ]
    return found[0], found[1], found[2]


def resampled(sizes: Sequence[int], right: Floats, resamples: int) -> Floats:
    """Mean accuracies [resamples, K] with reported pictures and draws drawn again.

    Draws overlap the more, the larger they are; all pictures are a single draw. What other training pictures
    would have made of the curve is therefore taken from the small subsets, which hardly overlap: a variance
    that falls like 1 / n, and that averaging over draws of one set of n pictures leaves at that of all n.
    """
    random = np.random.default_rng(SEED)
    draws, points, n = right.shape
    spread = right.mean(2).var(0, ddof=1) if draws > 1 else np.zeros(points)
    small = [k for k, size in enumerate(sizes) if 4 * size <= sizes[-1]] or [0]
    left = float(np.mean([spread[k] * sizes[k] for k in small])) / sizes[-1]
    flat, parts = right.reshape(draws * points, n), []
    for start in range(0, resamples, 100):  # many pictures' shares would not fit into memory
        some = min(100, resamples - start)
        of_draws = random.multinomial(draws, np.full(draws, 1 / draws), some) / draws
        of_pictures = random.multinomial(n, np.full(n, 1 / n), some) / n
        each = (flat @ of_pictures.T).reshape(draws, points, some)
        parts.append(np.einsum("rd,dkr->rk", of_draws, each))
    values = np.concatenate(parts)
    values += random.normal(0, math.sqrt(left), values.shape)
    return values.clip(0, 1)


def sizes_of(labels: Ints, reported: int) -> tuple[int, ...]:
    """Numbers of training pictures to measure at, rising by `STEP` up to all of them.

    Args:
        labels: Of the training pictures, [n].
        reported: Pictures to measure on.

    Raises:
        DataError: HS-EVAL-021, too few for a curve.
    """
    n, rarest = len(labels), int(np.bincount(labels)[np.unique(labels)].min())
    least = max(math.ceil(LEAST_IN_CLASS * n / rarest), 10)
    sizes: list[int] = []
    while len(sizes) < SIZES and (size := round(n / STEP ** len(sizes))) >= least:
        sizes.append(size)
    faults = []
    if n < LEAST_TRAIN or len(sizes) < LEAST_SIZES:
        faults.append(f"{n} training pictures, {rarest} of the rarest class")
    if reported < LEAST_REPORTED:
        faults.append(f"{reported} reported pictures: {LEAST_REPORTED} are needed")
    if faults:
        in_class = math.ceil(LEAST_IN_CLASS * STEP ** (LEAST_SIZES - 1))
        needed = max(LEAST_TRAIN, math.ceil(least * STEP ** (LEAST_SIZES - 1)))
        raise DataError(
            "HS-EVAL-021",
            "There are too few pictures for a learning curve: whatever it said would be chance.",
            details=faults,
            fix=f"Come back with {needed} training pictures or more, {in_class} in each class, and "
            f"{LEAST_REPORTED} to report on.",
        )
    return tuple(reversed(sizes))


def nested_subsets(labels: Ints, groups: NDArray[np.str_], sizes: Sequence[int], seed: int) -> Iterator[Ints]:
    """For each size about so many training pictures: each subset holds those before it, has the classes in
    the shares of all, and takes groups whole.

    Args:
        labels: [n].
        groups: [n]; pictures of one group stay together.
        sizes: Rising; the last one may be n.
        seed: Of the order.
    """
    random = np.random.default_rng([SEED, seed])
    names, where = np.unique(groups, return_inverse=True)
    order = random.permutation(len(names))
    place = np.empty(len(names), np.int64)
    place[order] = np.arange(len(names))
    of_class = np.zeros((len(names), int(labels.max()) + 1), np.int64)
    np.add.at(of_class, (where, labels), 1)
    main = of_class.argmax(1)
    weight = np.bincount(where, minlength=len(names))
    # How far into its class a group lies, 0..1: taken in that order, all classes fill in proportion.
    depth = np.empty(len(names))
    for c in np.unique(main):
        own = np.flatnonzero(main == c)
        own = own[np.argsort(place[own])]
        before = np.cumsum(weight[own]) - weight[own] / 2
        depth[own] = before / weight[own].sum()
    taken = np.argsort(depth, kind="stable")
    total = np.cumsum(weight[taken])
    for size in sizes:
        count = int(np.argmin(np.abs(total - size))) + 1
        yield np.flatnonzero(np.isin(where, taken[:count]))
