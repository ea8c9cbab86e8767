"""Variants of training, each repeated with several seeds: the table, the differences, and the sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np

from headstart import metrics
from headstart.console import counted, table
from headstart.evaluation.compare import LEVEL
from headstart.evaluation.evaluate import printable
from headstart.evaluation.seeds import Correct, SeedDifference, difference_over_seeds, mean_over_seeds


@dataclass(frozen=True)
class Score:
    """A variant on the reported pictures, fractions 0..1.

    Attributes:
        variant: Its name.
        accuracies: Of each seed.
        n: Pictures.
        accuracy: Mean over the seeds.
        interval_95: Of that, over pictures and seeds; of one seed Wilson's.
        told: What else stands in its row: epochs, pictures seen, seconds.
    """

    variant: str
    accuracies: tuple[float, ...]
    n: int
    accuracy: float
    interval_95: tuple[float, float]
    told: Mapping[str, float]


@dataclass(frozen=True)
class Pair:
    """Two variants; ``p_adjusted`` is Holm's, for all pairs of the comparison."""

    a: str
    b: str
    n: int
    seeds: int
    difference: SeedDifference
    p_adjusted: float

    @property
    def distinguishable(self) -> bool:
        """Whether these pictures tell the two apart (adjusted p below 0.05)."""
        return self.p_adjusted < LEVEL

    def sentence(self, words: Mapping[str, str]) -> str:
        """The finding, the better variant first.

        Args:
            words: How to call each variant.
        """
        a, b = (printable(words.get(name, name)) for name in (self.a, self.b))
        value, (low, high) = self.difference.value, self.difference.interval_95
        if value < 0:
            a, b, value, low, high = b, a, -value, -high, -low
        if self.distinguishable:
            return f"{a} beats {b} by {100 * value:.1f} points ({100 * low:.1f} to {100 * high:.1f})"
        return (
            f"these {counted(self.n, 'picture', 'pictures')} cannot tell {a} and {b} apart; {self.missing()}"
        )

    def missing(self) -> str:
        """What would tell them apart."""
        if self.difference.needed is not None and self.difference.needed > self.n:
            return f"about {rounded(self.difference.needed - self.n):,} more would"
        if self.difference.seeds_matter or self.difference.needed is not None:
            return "more seeds would say more"
        return "they may well be equal"


@dataclass(frozen=True)
class Repeated:
    """Several variants; best first. ``notes`` says what was left aside."""

    n: int
    seeds: int
    scores: tuple[Score, ...]
    pairs: tuple[Pair, ...]
    notes: tuple[str, ...]
    words: Mapping[str, str]

    def sentences(self) -> list[str]:
        """Of each pair."""
        return [pair.sentence(self.words) for pair in self.pairs]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "n": self.n,
            "seeds": self.seeds,
            "variants": [
                {**{k: v for k, v in asdict(score).items() if k != "told"}, **score.told}
                for score in self.scores
            ],
            "differences": [
                {
                    "a": pair.a,
                    "b": pair.b,
                    "n": pair.n,
                    **asdict(pair.difference),
                    "p_adjusted": pair.p_adjusted,
                    "distinguishable": pair.distinguishable,
                    "sentence": pair.sentence(self.words),
                }
                for pair in self.pairs
            ],
            "notes": list(self.notes),
        }

    def lines(self) -> list[str]:
        """For the terminal."""
        several = self.seeds > 1
        rows = [
            (
                printable(score.variant),
                f"{score.accuracy:.3f}",
                f"{score.interval_95[0]:.3f} to {score.interval_95[1]:.3f}",
                *([f"{min(score.accuracies):.3f} to {max(score.accuracies):.3f}"] if several else []),
                score.n,
                *(f"{value:.0f}" for value in score.told.values()),
            )
            for score in self.scores
        ]
        header = ("variant", "accuracy", "95 % interval", *(["seeds"] if several else []), "pictures")
        told = tuple(name.replace("_", " ") for name in self.scores[0].told)
        lines = [f"note: {note}" for note in self.notes]
        lines += table((*header, *told), rows).split("\n")
        pairs = [
            (
                f"{printable(pair.a)} - {printable(pair.b)}",
                f"{100 * pair.difference.value:+.1f}",
                f"{100 * pair.difference.interval_95[0]:+.1f} to {100 * pair.difference.interval_95[1]:+.1f}",
                f"{pair.difference.p_value:.3g}",
            )
            for pair in self.pairs
        ]
        test = "p" if several else "p (McNemar)"
        lines += ["", *table(("same pictures", "points", "95 % interval", test), pairs).split("\n"), ""]
        if several:
            lines.append(
                f"Accuracies are means of {self.seeds} seeds; intervals are over pictures and seeds."
            )
        else:
            lines.append("One seed each: how much another seed would change is not known. Add --seeds 3.")
        if len(self.pairs) > 1:
            lines.append(f"{len(self.pairs)} pairs: 'beats' means p < {LEVEL} after Holm's correction.")
        if any("more would" in sentence for sentence in self.sentences()):
            lines.append(
                "'About N more': pictures with which a difference as large as this one would be seen four "
                "times in five, from how often only one of both is right."
            )
        return [*lines, "", *self.sentences()]


def rounded(number: float) -> int:
    """Up, to two digits: it is an estimate."""
    step = int(10 ** max(0, math.floor(math.log10(max(1.0, number))) - 1))
    return math.ceil(number / step) * step


def repeated(
    correct: Mapping[str, Correct],
    *,
    words: Mapping[str, str],
    told: Mapping[str, Mapping[str, float]],
    notes: Sequence[str] = (),
) -> Repeated:
    """Compares variants, each with each.

    Args:
        correct: Variant -> bool [S, n]: seeds, and the same pictures in the same order.
        words: How each is called in a sentence.
        told: What else stands in its row.
        notes: Said first.
    """
    scores = []
    for name, right in correct.items():
        accuracy, interval = mean_over_seeds(right)
        each = tuple(float(value) for value in right.mean(1))
        scores.append(Score(name, each, right.shape[1], accuracy, interval, told.get(name, {})))
    scores.sort(key=lambda score: -score.accuracy)
    names = list(combinations([score.variant for score in scores], 2))
    found = [difference_over_seeds(correct[a], correct[b]) for a, b in names]
    adjusted = metrics.holm(np.array([one.p_value for one in found]))
    seeds, n = next(iter(correct.values())).shape
    pairs = tuple(
        Pair(a, b, n, seeds, one, float(p)) for (a, b), one, p in zip(names, found, adjusted, strict=True)
    )
    return Repeated(n, seeds, tuple(scores), pairs, tuple(notes), dict(words))
