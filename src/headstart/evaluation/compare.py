"""Several models on the same pictures: who is better, and can these pictures tell?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart import metrics
from headstart.console import table
from headstart.errors import RunError
from headstart.evaluation.evaluate import printable
from headstart.evaluation.predictions import NO_TRUTH, Predictions

LEVEL = 0.05


@dataclass(frozen=True)
class RunScore:
    """Accuracy of one run on the common pictures, fractions 0..1."""

    run: str
    correct: int
    n: int
    accuracy: float
    interval_95: tuple[float, float]


@dataclass(frozen=True)
class Difference:
    """Accuracy of ``a`` minus accuracy of ``b`` on the same pictures.

    ``p_value`` is McNemar's exact one; ``p_adjusted`` is Holm's, for all pairs of the comparison.
    """

    a: str
    b: str
    n: int
    only_a_correct: int
    only_b_correct: int
    difference: float
    interval_95: tuple[float, float]
    p_value: float
    p_adjusted: float

    @property
    def distinguishable(self) -> bool:
        """Whether these pictures tell the two apart (adjusted p below 0.05)."""
        return self.p_adjusted < LEVEL

    def sentence(self) -> str:
        """The finding in words, with the better run named first."""
        a, b = printable(self.a), printable(self.b)
        if not self.distinguishable:
            return f"these {self.n} pictures cannot tell {a} and {b} apart"
        low, high = (100 * limit for limit in self.interval_95)
        value = 100 * self.difference
        if value < 0:
            a, b, value, low, high = b, a, -value, -high, -low
        return f"{a} beats {b} by {value:.1f} points ({low:.1f} to {high:.1f})"


@dataclass(frozen=True)
class Comparison:
    """Runs on their common pictures; best first. ``notes`` says what was left aside."""

    n: int
    scores: tuple[RunScore, ...]
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "n": self.n,
            "runs": [asdict(score) for score in self.scores],
            "differences": [
                {**asdict(pair), "distinguishable": pair.distinguishable, "sentence": pair.sentence()}
                for pair in self.differences
            ],
            "notes": list(self.notes),
        }

    def lines(self) -> list[str]:
        """For the terminal."""
        rows = [
            (
                printable(score.run),
                f"{score.accuracy:.3f}",
                f"{score.interval_95[0]:.3f} to {score.interval_95[1]:.3f}",
                score.n,
            )
            for score in self.scores
        ]
        result = [f"note: {note}" for note in self.notes]
        result += table(("run", "accuracy", "95 % interval", "pictures"), rows).split("\n")
        if self.differences:
            pairs = [
                (
                    f"{printable(pair.a)} - {printable(pair.b)}",
                    f"{100 * pair.difference:+.1f}",
                    f"{100 * pair.interval_95[0]:+.1f} to {100 * pair.interval_95[1]:+.1f}",
                    f"{pair.only_a_correct} : {pair.only_b_correct}",
                    f"{pair.p_value:.3g}",
                )
                for pair in self.differences
            ]
            header = ("same pictures", "points", "95 % interval", "right alone", "p (McNemar)")
            result += ["", *table(header, pairs).split("\n"), ""]
            if len(self.differences) > 1:
                result.append(
                    f"{len(self.differences)} pairs: 'beats' means p < {LEVEL} after Holm's correction."
                )
            result += [pair.sentence() for pair in self.differences]
        return result


def compare(tables: Mapping[str, Predictions], *, split: str | None = None) -> Comparison:
    """Compares runs on the pictures that all of them answered, matched by path.

    Args:
        tables: Run name -> its table of predictions on the same data.
        split: Only the rows of this split; all rows by default.

    Raises:
        RunError: as `on_common_pictures`.
    """
    return _compare(*on_common_pictures(tables, split=split))


def on_common_pictures(
    tables: Mapping[str, Predictions], *, split: str | None = None
) -> tuple[dict[str, NDArray[np.bool_]], list[str]]:
    """Which of the pictures that all runs answered each of them named right, and what was left aside.

    Returns:
        Run name -> bool [n], in the same order of pictures; notes for a person.

    Raises:
        RunError: HS-EVAL-003, no picture with a known class is common to all.
    """
    answers: dict[str, dict[str, tuple[str, bool]]] = {}  # run -> path -> (truth, right)
    notes: list[str] = []
    for run, predictions in tables.items():
        rows = predictions if split is None else predictions.of_split(split)
        seen = Counter(rows.paths)
        repeated = sum(1 for count in seen.values() if count > 1)
        if repeated:
            notes.append(f"{printable(run)}: {repeated} paths occur more than once and are left out.")
        right = rows.correct
        answers[run] = {
            path: (rows.classes[int(rows.truth[i])], bool(right[i]))
            for i, path in enumerate(rows.paths)
            if rows.truth[i] != NO_TRUTH and seen[path] == 1
        }
    shared = set.intersection(*(set(answer) for answer in answers.values())) if answers else set()
    common = sorted(p for p in shared if len({answer[p][0] for answer in answers.values()}) == 1)
    disputed = len(shared) - len(common)
    if disputed:
        notes.append(f"{disputed} pictures have another class in another run's table and are left out.")
    for run, answer in answers.items():
        extra = len(answer) - len(shared)
        if extra:
            notes.append(f"{printable(run)}: {extra} of its {len(answer)} pictures are not in every table.")
    if not common:
        raise RunError(
            "HS-EVAL-003",
            "These runs have no picture with a known class in common.",
            where=", ".join(tables),
            fix="Evaluate all of them on the same folder: headstart evaluate RUN DATA",
            details=notes,
        )
    right_of = {run: np.array([answer[path][1] for path in common]) for run, answer in answers.items()}
    return right_of, notes


def _compare(correct: dict[str, NDArray[np.bool_]], notes: list[str]) -> Comparison:
    scores = []
    for run, right in correct.items():
        hits, n = int(right.sum()), len(right)
        scores.append(RunScore(run, hits, n, hits / n, metrics.wilson_interval(hits, n)))
    scores.sort(key=lambda score: -score.correct)
    pairs = list(combinations([score.run for score in scores], 2))
    p_values = [metrics.mcnemar(correct[a], correct[b]) for a, b in pairs]
    adjusted = metrics.holm(p_values)
    differences = []
    for (a, b), p, p_adjusted in zip(pairs, p_values, adjusted, strict=True):
        value, interval = metrics.paired_difference(correct[a], correct[b])
        only_a = int((correct[a] & ~correct[b]).sum())
        only_b = int((correct[b] & ~correct[a]).sum())
        n = len(correct[a])
        differences.append(Difference(a, b, n, only_a, only_b, value, interval, p, float(p_adjusted)))
    return Comparison(scores[0].n, tuple(scores), tuple(differences), tuple(notes))
