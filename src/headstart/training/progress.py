"""How far training is: the rows of finished epochs, and the sums of the one under way."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple


class Scores(NamedTuple):
    """What a network makes of some pictures; nan where there are none.

    Attributes:
        loss: Mean cross-entropy, nats.
        accuracy: 0-1.
        balanced_loss: The mean of the classes' mean losses; nan where classes are not balanced.
        balanced_accuracy: The mean of their recalls; the same.
    """

    loss: float
    accuracy: float
    balanced_loss: float = math.nan
    balanced_accuracy: float = math.nan


@dataclass(frozen=True)
class Epoch:
    """One row of ``results.csv``. Accuracies are fractions 0-1, losses mean cross-entropies in nats.

    The balanced figures are nan, and no columns, where classes are not balanced.
    """

    epoch: int
    """0: the model before the first step, such as the probe."""
    stage: str
    train_loss: float
    train_accuracy: float
    val_loss: float
    """On the selection part; on the reported part where nothing is selected (recipe d2l)."""
    val_accuracy: float
    lr_backbone: float
    lr_head: float
    images_per_second: float
    """Training pictures per second of the epoch, loading included, evaluation not."""
    seconds: float
    """Of the epoch, evaluation included."""
    val_balanced_loss: float = math.nan
    """On the same pictures: the mean of the classes' mean losses."""
    val_balanced_accuracy: float = math.nan
    """The mean of the classes' recalls."""

    @property
    def is_balanced(self) -> bool:
        """Whether each class counts alike in what chooses."""
        return not math.isnan(self.val_balanced_accuracy)

    @property
    def rank(self) -> tuple[float, float]:
        """Higher is better: accuracy, then less loss; both balanced where classes are."""
        if self.is_balanced:
            return self.val_balanced_accuracy, -self.val_balanced_loss
        return self.val_accuracy, -self.val_loss


EpochHook = Callable[[Epoch], object]


@dataclass
class Progress:
    """The place in training between two steps.

    Attributes:
        before: The row of the model before the first step, if it is worth keeping.
        rows: Of the finished epochs.
        best: The best row so far.
        batches: Steps done of the epoch under way, which is the one after the last row.
        loss_sum: Sum of the losses of that epoch's pictures.
        correct: How many of them were right.
        seen: How many there were.
        seconds: Time that the epoch has taken.
        rate_scale: Factor of the recipe's learning rates; below 1 after the loss was not finite.
        micro_batch: Pictures per forward and backward pass; None: all of a step.
    """

    before: Epoch | None = None
    rows: list[Epoch] = field(default_factory=list)
    best: Epoch | None = None
    batches: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    seen: int = 0
    seconds: float = 0.0
    rate_scale: float = 1.0
    micro_batch: int | None = None

    @property
    def epoch(self) -> int:
        """Number of the epoch under way, counted from 1."""
        return len(self.rows) + 1

    @property
    def all_rows(self) -> tuple[Epoch, ...]:
        """Those of ``results.csv``."""
        return ((self.before,) if self.before is not None else ()) + tuple(self.rows)

    def place(self) -> str:
        """Where the epoch under way began, for a person."""
        return f"the end of epoch {self.epoch - 1}" if self.rows else "the start"

    def add(self, pictures: int, loss_sum: float, correct: int, micro_batch: int | None) -> None:
        """Counts a step."""
        self.batches += 1
        self.seen += pictures
        self.loss_sum += loss_sum
        self.correct += correct
        self.micro_batch = micro_batch

    def finish(self, row: Epoch) -> None:
        """Ends the epoch under way."""
        self.rows.append(row)
        self.begin_epoch()

    def begin_epoch(self) -> None:
        """To the start of the epoch under way."""
        self.batches, self.loss_sum, self.correct, self.seen, self.seconds = 0, 0.0, 0, 0, 0.0
