"""Classes of unequal size: whether anything is done about them, and the weights and draws that do it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.config import Balance

RATIO = 3.0
"""Pictures of the largest class per one of the smallest, above which ``auto`` acts, as HS-CHECK-042 does."""

Labels = NDArray[np.int64]


@dataclass(frozen=True)
class ClassSizes:
    """The largest and the smallest class of the pictures that train: name and number."""

    largest: tuple[str, int]
    smallest: tuple[str, int]

    @classmethod
    def of(cls, labels: Labels, classes: Sequence[str]) -> ClassSizes:
        """Of the classes that have pictures; of equal ones the first.

        Args:
            labels: int64 [n], n >= 1.
            classes: Their names.
        """
        counts = np.bincount(labels, minlength=len(classes))
        present = np.flatnonzero(counts)
        most, least = present[counts[present].argmax()], present[counts[present].argmin()]
        return cls((classes[most], int(counts[most])), (classes[least], int(counts[least])))

    @property
    def ratio(self) -> float:
        """How many times the smallest goes into the largest."""
        return self.largest[1] / self.smallest[1]

    def decided(self, asked: Balance) -> Balance:
        """``loss`` or ``none`` for ``auto``; else what was asked for."""
        if asked != "auto":
            return asked
        return "loss" if self.ratio > RATIO else "none"

    def line(self, balance: Balance) -> str:
        """What is done, for a person."""
        does = {
            "loss": "each class has the same weight in the loss",
            "sample": "each class comes equally often in an epoch, with the same weight in the probe",
        }[balance]
        return (
            f"balance: '{self.largest[0]}' has {self.ratio:.1f} times as many training pictures as "
            f"'{self.smallest[0]}' ({self.largest[1]:,} and {self.smallest[1]:,}): {does} ({balance})"
        )


def class_weights(labels: Labels, n_classes: int) -> NDArray[np.float64]:
    """Weight of a picture by its class, [C]; 1 on average, all exactly 1 where the classes are equally large.

    n / (classes that have pictures x pictures of the class), as scikit-learn's ``class_weight="balanced"``
    (King and Zeng, "Logistic Regression in Rare Events Data", 2001). 0 for a class without pictures.
    """
    counts = np.bincount(labels, minlength=n_classes).astype(np.float64)
    weights = np.zeros(n_classes)
    present = counts > 0
    weights[present] = len(labels) / (present.sum() * counts[present])
    return weights


@dataclass(frozen=True, eq=False)
class Draws:
    """The pictures of an epoch, in order.

    Attributes:
        positions: Which of the n pictures, int64 [n].
        repeats: How often each was drawn before in this epoch, int64 [n].
    """

    positions: Labels
    repeats: Labels


def balanced_draws(labels: Labels, *, seed: int, epoch: int) -> Draws:
    """n pictures of which each class has the same number, or one more: which classes changes by epoch.

    The pictures of a class are dealt in turn, so that none comes again before all have come; a class that is
    larger than its share shows another part of its pictures in each epoch. A function of its arguments alone.

    Args:
        labels: int64 [n].
        seed: Not negative.
        epoch: From 1.
    """
    n = len(labels)
    present = np.unique(labels)
    random = np.random.default_rng((seed, epoch, 0xBA1A))
    share, more = divmod(n, len(present))
    one_more = set(random.permutation(present)[:more].tolist())
    positions, repeats = [], []
    for label in present.tolist():
        own = np.flatnonzero(labels == label)
        wanted = share + (label in one_more)
        rounds = -(-wanted // len(own))
        dealt = np.concatenate([random.permutation(own) for _ in range(rounds)])[:wanted]
        positions.append(dealt)
        repeats.append(np.arange(wanted) // len(own))
    mixed = random.permutation(n)
    return Draws(np.concatenate(positions)[mixed].astype(np.int64), np.concatenate(repeats)[mixed])
