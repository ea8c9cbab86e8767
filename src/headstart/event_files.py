"""A run as TensorBoard reads it: an event file in the run's folder, as PyTorch's `SummaryWriter` makes them.

`SummaryWriter` itself writes in a thread: a full disk would be told late, and by a traceback of that thread.
So the records are made by the same libraries, and appended here.
"""

from __future__ import annotations

import dataclasses
import io
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from headstart.evaluation.evaluate import with_interval

if TYPE_CHECKING:
    from headstart.training.fit import Epoch

NAME = "events.out.tfevents.{:010d}.headstart"  # read in the order of the names
TAGS = {
    "train_loss": "loss/train",
    "val_loss": "loss/val",
    "val_balanced_loss": "loss/val_balanced",
    "train_accuracy": "accuracy/train",
    "val_accuracy": "accuracy/val",
    "val_balanced_accuracy": "accuracy/val_balanced",
    "lr_backbone": "learning_rate/backbone",
    "lr_head": "learning_rate/head",
    "images_per_second": "speed/images_per_second",
    "seconds": "speed/seconds_per_epoch",
}
"""Where a column of ``results.csv`` is drawn."""
REFIT = "refit_"  # before the tags of a second training, which counts its epochs anew
FIGURES = ("accuracy", "balanced_accuracy", "macro_f1", "auc", "top_5_accuracy", "nll", "brier")
FINAL = "final/"
ABOUT_THIS_PLACE = {"output", "name", "track", "workers", "cache", "data"}  # no setting to compare runs by


class EventFiles:
    """A `headstart.tracking.Tracker` that writes event files.

    A run that goes on begins a new file with the rows that it keeps, and removes the earlier one: each curve
    is the one that it would have been. (Points can also be marked as void; not every reader heeds that.)
    """

    def __init__(self) -> None:
        self._file: Path | None = None
        self._last = 0
        self._stage = ""

    def begin_run(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """The settings: as text, and as hyperparameters that runs are compared by."""
        summary = summaries()
        earlier = sorted(folder.glob(NAME.replace("{:010d}", "*")))
        number = int(time.time())
        if earlier:
            number = max(number, int(earlier[-1].name.split(".")[-2]) + 1)
        self._file = folder / NAME.format(number)
        experiment, start, _ = summary.hparams(hyperparameters(settings), {f"{FINAL}accuracy": 0})
        text = yaml.safe_dump(dict(settings), allow_unicode=True, sort_keys=False)
        found = (experiment, start, summary.text("settings", as_code(text)))
        self._append([{"file_version": "brain.Event:2"}, *({"summary": one} for one in found)])
        for file in earlier:
            file.unlink()

    def known_rows(self, rows: Sequence[Epoch]) -> None:
        """The curve up to where the run goes on."""
        for row in rows:
            self(row)

    def __call__(self, row: Epoch) -> None:
        """A point of each curve; none where there is no figure."""
        summary = summaries()
        values = dataclasses.asdict(row)
        group = REFIT if row.stage == "refit" else ""
        self._last = max(self._last, row.epoch)
        found = [
            summary.scalar(group + tag, values[name])
            for name, tag in TAGS.items()
            if not math.isnan(values[name])
        ]
        if row.stage != self._stage:
            found.append(summary.text(f"{group}stage", row.stage))
            self._stage = row.stage
        self._append([{"summary": one, "step": row.epoch} for one in found])

    def end_run(self, metrics: Mapping[str, Any] | None) -> None:
        """The figures, and as text with their intervals."""
        summary = summaries()
        if metrics is None:
            return
        figures = {name: metrics[name] for name in FIGURES if name in metrics}
        found = [
            summary.scalar(FINAL + name, figure["value"])
            for name, figure in figures.items()
            if figure["value"] is not None
        ]
        interrupted = bool(metrics.get("interrupted"))
        name = "figures of the best model so far" if interrupted else "figures"
        found.append(summary.text(name, figures_text(str(metrics["split"]), figures)))
        if not interrupted:
            found.append(summary.hparams({}, {})[2])
        self._append([{"summary": one, "step": self._last} for one in found])

    def _append(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Whole records, at once: nothing is left open between two epochs."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        assert self._file is not None
        records = io.BytesIO()
        writer = RecordWriter(records)
        for event in events:
            writer.write(Event(wall_time=time.time(), **event).SerializeToString())
        with open(self._file, "ab") as file:
            file.write(records.getvalue())


def summaries() -> Any:
    """PyTorch's functions that make records for TensorBoard; they carry no types."""
    from torch.utils.tensorboard import summary

    return summary


def hyperparameters(settings: Mapping[str, Any]) -> dict[str, bool | float | str]:
    """The settings that runs differ by: those of one value, that is set."""
    return {
        name: value
        for name, value in settings.items()
        if isinstance(value, bool | int | float | str) and name not in ABOUT_THIS_PLACE
    }


def as_code(text: str) -> str:
    """Text that Markdown shows as it is."""
    return "".join(f"    {line}\n" for line in text.splitlines())


def figures_text(split: str, figures: Mapping[str, Any]) -> str:
    """A table in Markdown: each figure with its interval and n."""
    lines = [f"On the pictures of {split}, with 95 % intervals:", "", "| figure | |", "| --- | --- |"]
    lines += [f"| {name.replace('_', ' ')} | {with_interval(figure)} |" for name, figure in figures.items()]
    return "\n".join(lines)
