"""Whether what a picture is, beside what it shows, gives its class away: size, shape, colour, file format.

A network learns such shortcuts readily, and fails on pictures that lack them. The model is multinomial
logistic regression on a few numbers per picture, judged out of fold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.data.duplicates import distinct
from headstart.data.facts import FactsColumns, PictureFacts
from headstart.metrics import wilson_interval

FOLDS = 5
MOST_PICTURES = 4000  # more say nothing further; they are drawn evenly
MOST_LOGITS = 100_000  # pictures times classes, for the same reason
FEWEST_PER_CLASS = 10
MOST_CLASSES = 100
PENALTY = 1.0  # on weights of standardised numbers, summed loss
STEPS = 30
MARGIN = 0.1  # above the most frequent class, of what is missing to 1
STRONG = 0.5  # the same, where little is left for the content to tell

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Shortcut:
    """How well the class follows from facts beside the content.

    Attributes:
        by: What it follows from: ``size``, ``aspect ratio``, ``mean colour``, ``file format``.
        correct: Pictures whose class was named right out of fold.
        n: Of so many.
        interval: 95 % Wilson interval of ``correct / n``.
        majority: Share of the most frequent class, 0-1.
    """

    by: str
    correct: int
    n: int
    interval: tuple[float, float]
    majority: float

    @property
    def found(self) -> bool:
        """Whether it is well above naming the most frequent class every time."""
        return self._beyond(MARGIN)

    @property
    def strong(self) -> bool:
        """Whether little is left for the content to tell."""
        return self._beyond(STRONG)

    def _beyond(self, margin: float) -> bool:
        return self.interval[0] > self.majority + margin * (1 - self.majority)


def shortcuts(facts: FactsColumns, labels: NDArray[np.int64]) -> list[Shortcut]:
    """What each kind of fact gives away by itself; those that tell much, the most telling first.

    Args:
        facts: n pictures; those that look the same are counted once.
        labels: Class indices, int64 [n].
    """
    rows = np.sort(distinct(facts.looks())[0])
    most = min(MOST_PICTURES, MOST_LOGITS // max(1, len(np.unique(labels))))
    if len(rows) > most:
        rows = rows[np.linspace(0, len(rows) - 1, most).astype(int)]
    counts = np.bincount(labels[rows])
    kept = np.flatnonzero(counts >= FEWEST_PER_CLASS)
    if not 2 <= len(kept) <= MOST_CLASSES:
        return []
    rows = rows[np.isin(labels[rows], kept)]
    targets = np.searchsorted(kept, labels[rows])
    fold = _folds(targets)
    chosen = [facts[i] for i in rows]
    majority = float(np.bincount(targets).max() / len(targets))
    found = []
    for name, numbers in _numbers(chosen).items():
        if not numbers.shape[1]:
            continue
        correct = int(out_of_fold_correct(numbers, targets, fold))
        interval = wilson_interval(correct, len(targets))
        found.append(Shortcut(name, correct, len(targets), interval, majority))
    return sorted((s for s in found if s.found), key=lambda s: -s.correct)


def _folds(targets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Stratified and the same each time: the pictures of each class in turn."""
    fold = np.empty(len(targets), np.int64)
    for c in np.unique(targets):
        members = np.flatnonzero(targets == c)
        fold[members] = np.arange(len(members)) % FOLDS
    return fold


def _numbers(facts: Sequence[PictureFacts]) -> dict[str, Numbers]:
    """Numbers to predict from, [n, d] each; squares let a class lie in the middle. d = 0: all are equal."""
    width = np.log([fact.width for fact in facts])
    height = np.log([fact.height for fact in facts])
    colour = np.array([fact.colour for fact in facts]) / 255
    kinds = sorted({(fact.format, fact.mode) for fact in facts})
    kind = np.array([[(fact.format, fact.mode) == k for k in kinds] for fact in facts], np.float64)
    size = np.stack([width + height, np.minimum(width, height)], axis=1)
    return {
        "size": _standardised(_with_squares(size)),
        "aspect ratio": _standardised(_with_squares((width - height)[:, None])),
        "mean colour": _standardised(_with_squares(colour)),
        "file format": _standardised(kind),
    }


def _with_squares(numbers: Numbers) -> Numbers:
    centred = numbers - numbers.mean(axis=0)
    return np.concatenate([centred, centred**2], axis=1)


def _standardised(numbers: Numbers) -> Numbers:
    spread = numbers.std(axis=0)
    varying = spread > 1e-9
    return np.asarray((numbers[:, varying] - numbers[:, varying].mean(axis=0)) / spread[varying])


def out_of_fold_correct(numbers: Numbers, targets: NDArray[np.int64], fold: NDArray[np.int64]) -> int:
    """How many are named right by the model of the other folds.

    Args:
        numbers: [n, d].
        targets: Class indices from 0 without gaps, [n].
        fold: Of each row, [n].
    """
    with_one = np.concatenate([numbers, np.ones((len(numbers), 1))], axis=1)
    classes = int(targets.max()) + 1
    correct = 0
    for held_out in np.unique(fold):
        trained = fold != held_out
        weights = fitted(with_one[trained], targets[trained], classes)
        correct += int(np.sum((with_one[~trained] @ weights).argmax(axis=1) == targets[~trained]))
    return correct


def fitted(numbers: Numbers, targets: NDArray[np.int64], classes: int) -> Numbers:
    """Weights [d, classes] of penalised multinomial logistic regression.

    Newton's steps with Böhning's bound of the second derivative (Ann. Inst. Stat. Math. 44, 1992), which is
    the same at each step and for each class, and never overshoots; Nesterov's momentum.
    """
    wanted = np.eye(classes)[targets]
    bound = numbers.T @ numbers / 2 + PENALTY * np.eye(numbers.shape[1])
    inverse = np.linalg.inv(bound)
    weights = ahead = np.zeros((numbers.shape[1], classes))
    pace = 1.0
    for _ in range(STEPS):
        logits = numbers @ ahead
        logits -= logits.max(axis=1, keepdims=True)
        shares = np.exp(logits)
        shares /= shares.sum(axis=1, keepdims=True)
        gradient = numbers.T @ (shares - wanted) + PENALTY * ahead
        stepped = ahead - inverse @ gradient
        next_pace = (1 + math.sqrt(1 + 4 * pace**2)) / 2
        ahead = stepped + (pace - 1) / next_pace * (stepped - weights)
        weights, pace = stepped, next_pace
    return weights
