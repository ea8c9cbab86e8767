"""What a run shows and writes after each epoch: a line, ``results.csv``, ``curves.png``, the user's hook."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart import console
from headstart.storage import write_atomic

if TYPE_CHECKING:
    from headstart.training.fit import Epoch, EpochHook


class EpochLog:
    """Called with each epoch's row.

    Args:
        folder: Of the run.
        watched: What to call the pictures of the row's ``val_*``.
        hook: What else hears of the row.
    """

    def __init__(self, folder: Path, watched: str, hook: EpochHook | None) -> None:
        self.folder = folder
        self.watched = watched
        self.hook = hook
        self.draws = True
        self.rows: list[Epoch] = []

    def __call__(self, row: Epoch) -> None:
        self.rows.append(row)
        console.say(self.line(row))
        self.write()
        self.call_hook(row)

    def line(self, row: Epoch) -> str:
        """The row for a person; without the watched pictures where there are none."""
        name = row.stage if row.epoch == 0 else f"{row.stage} epoch {row.epoch}"
        parts = [f"{name}: loss {row.train_loss:.3f}", f"train accuracy {row.train_accuracy:.3f}"]
        if not math.isnan(row.val_accuracy):
            out_of_fold = row.epoch == 0 and (row.stage == "refit" or "not selected" in self.watched)
            watched = "out of fold" if out_of_fold else self.watched
            balanced = f", balanced accuracy {row.val_balanced_accuracy:.3f}" if row.is_balanced else ""
            parts.append(f"{watched}: loss {row.val_loss:.3f}, accuracy {row.val_accuracy:.3f}{balanced}")
        parts.append(f"{row.images_per_second:.0f} pictures/s, {row.seconds:.1f} s")
        return ", ".join(parts)

    def write(self) -> None:
        """``results.csv``, and ``curves.png`` once there is more than the probe to draw."""
        balanced = any(one.is_balanced for one in self.rows)
        rows = [columns_of(one, balanced) for one in self.rows]
        write_atomic(self.folder / "results.csv", as_csv(rows))
        if self.rows[-1].epoch > 0 and self.draws:
            self.draw(rows)

    def draw(self, rows: list[dict[str, Any]]) -> None:
        """A picture that cannot be drawn costs a warning, not the run."""
        from headstart.evaluation.plots import draw_curves, show_live

        try:
            draw_curves(rows, self.folder / "curves.png", reported=self.watched)
            show_live(self.folder / "curves.png")
        except Exception as error:
            console.warn(f"curves.png cannot be drawn: {error}. Training goes on without it.")
            self.draws = False

    def call_hook(self, row: Epoch) -> None:
        if self.hook is not None:
            self.hook(row)


def columns_of(row: Epoch, balanced: bool) -> dict[str, Any]:
    """Of ``results.csv``; the balanced figures only where classes are balanced."""
    return {k: v for k, v in dataclasses.asdict(row).items() if balanced or "balanced" not in k}


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
