"""What is answered beyond the most probable class: sets with a coverage, and a class that must not be missed.

Both rest on pictures that neither trained nor chose the model. What they gave stands in the model's card.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.calibration import Threshold, decided, least_pictures, threshold_for
from headstart.console import counted
from headstart.errors import ConfigError, RunError
from headstart.evaluation.costs import ASK, Costs

SEPARATOR = "|"  # between the classes of a set in a table; no file name on Windows has it


@dataclass(frozen=True)
class Sets:
    """Prediction sets: all classes at or above a threshold, and the most probable one in any case.

    Attributes:
        coverage: Share of new pictures whose true class lies in their set, at least.
        threshold: Of the probabilities.
    """

    coverage: float
    threshold: Threshold

    def of(self, classes: Sequence[str], row: NDArray[np.float64]) -> tuple[str, ...]:
        """The set of a picture, most probable first; never empty.

        Args:
            classes: C names.
            row: Probabilities float64 [C].
        """
        order = np.argsort(-row, kind="stable")
        return tuple(classes[i] for k, i in enumerate(order) if k == 0 or row[i] >= self.threshold.value)

    def line(self) -> str:
        """For a person."""
        low, high = self.threshold.interval_95
        return (
            f"sets hold the true class of {self.coverage:.1%} of new pictures at least, if these are like "
            f"the {self.threshold.n} calibration pictures (which give {low:.1%} to {high:.1%}): all classes "
            f"from a probability of {self.threshold.value:.3g} on"
        )

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "coverage": self.coverage,
            "interval_95": list(self.threshold.interval_95),
            "n": self.threshold.n,
            "threshold": self.threshold.value,
        }


def sets_for(card: Mapping[str, Any], coverage: float, where: object) -> Sets:
    """The sets that a model can give.

    Args:
        card: Of the model.
        coverage: Above 0, below 1.
        where: The model, for errors.

    Raises:
        ConfigError: HS-PREDICT-022, no such coverage.
        RunError: HS-PREDICT-020, the model has no calibration pictures; HS-PREDICT-021, too few.
    """
    if not 0 < coverage < 1:
        raise ConfigError(
            "HS-PREDICT-022",
            f"The coverage must lie between 0 and 1, but is {coverage:g}.",
            fix="Give a fraction such as --coverage 0.95",
        )
    kept = card.get("calibration", {}).get("truth_probabilities", [])
    if not kept:
        why = (
            "every picture trained it (--refit all)" if card.get("refit") == "all" else "none were set aside"
        )
        raise RunError(
            "HS-PREDICT-020",
            f"This model has no calibration pictures, which a coverage rests on: {why}.",
            where=where,
            fix="Train without --refit all and --no-calibrate, with 200 pictures or more to choose with: add "
            "pictures, or set more of them aside (--selection 0.4). A probe needs val/ of 100 beside test/.",
        )
    threshold = threshold_for(kept, coverage)
    if threshold is None:
        highest = len(kept) / (len(kept) + 1)
        raise RunError(
            "HS-PREDICT-021",
            f"{counted(len(kept), 'calibration picture is', 'calibration pictures are')} too few for a "
            f"coverage of {coverage:g}, which needs {least_pictures(coverage)}.",
            where=where,
            fix=f"Ask for {np.floor(highest * 1000) / 1000:g} or less, or train with more pictures.",
        )
    return Sets(coverage, threshold)


@dataclass(frozen=True)
class LeastRecall:
    """A class that must not be missed: the answer wherever its probability reaches the threshold.

    Attributes:
        class_name: Its name.
        recall: Share of its new pictures that are found, at least.
        threshold: Of its probability.
    """

    class_name: str
    recall: float
    threshold: Threshold

    def answers(self, classes: Sequence[str], probabilities: NDArray[np.float64]) -> NDArray[np.int64]:
        """Index of the answer to each picture, int64 [n], of probabilities float64 [n, C]."""
        return decided(probabilities, classes.index(self.class_name), self.threshold.value)

    def line(self) -> str:
        """For a person."""
        low, high = self.threshold.interval_95
        return (
            f"'{self.class_name}' is answered from a probability of {self.threshold.value:.3g} on: "
            f"{self.recall:.1%} of its new pictures are found at least, if these are like its "
            f"{self.threshold.n} calibration pictures (which give {low:.1%} to {high:.1%})"
        )

    def to_dict(self) -> dict[str, Any]:
        """For JSON, and the card."""
        return {
            "class": self.class_name,
            "recall": self.recall,
            "interval_95": list(self.threshold.interval_95),
            "n": self.threshold.n,
            "threshold": self.threshold.value,
        }

    @classmethod
    def from_card(cls, card: Mapping[str, Any]) -> LeastRecall | None:
        """What `headstart threshold` put there; None if nothing.

        Raises:
            ValueError, KeyError, TypeError: It makes no sense.
        """
        entry = card.get("min_recall")
        if entry is None:
            return None
        if entry["class"] not in card["classes"]:
            raise ValueError(f"min_recall names {entry['class']!r}, which is no class")
        low, high = (float(limit) for limit in entry["interval_95"])
        threshold = Threshold(float(entry["threshold"]), int(entry["n"]), (low, high))
        return cls(str(entry["class"]), float(entry["recall"]), threshold)


@dataclass(frozen=True)
class Decision:
    """How a model's probabilities become its answers, wherever it answers.

    By least expected cost; or with a class that must not be missed; or the most probable class.

    Attributes:
        classes: C names.
        costs: What answers cost; None without a table.
        least_recall: The class that must not be missed; None without one. Costs come first.
    """

    classes: tuple[str, ...]
    costs: Costs | None = None
    least_recall: LeastRecall | None = None

    @classmethod
    def from_card(cls, card: Mapping[str, Any]) -> Decision:
        """As `headstart threshold` left it.

        Raises:
            ValueError, KeyError, TypeError: The card makes no sense.
        """
        return cls(tuple(card["classes"]), Costs.from_card(card), LeastRecall.from_card(card))

    def answers(self, probabilities: NDArray[np.float64]) -> list[str]:
        """A class for each picture, or ``ask``: a person is to look.

        Args:
            probabilities: float64 [n, C].
        """
        if self.costs is not None:
            found = self.costs.answers(probabilities)
        elif self.least_recall is not None:
            found = self.least_recall.answers(self.classes, probabilities)
        else:
            found = probabilities.argmax(axis=1)
        names = (*self.classes, ASK)
        return [names[i] for i in found.tolist()]

    def line(self) -> str:
        """For a person; "" where the most probable class is answered."""
        if self.costs is not None:
            return (
                "each answer is the one of least expected cost, by the table of `headstart threshold --costs`"
            )
        return "" if self.least_recall is None else self.least_recall.line()
