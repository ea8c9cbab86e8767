"""Predictions of a folder as a table, written row by row."""

from __future__ import annotations

import contextlib
import io
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from headstart.console import counted, progress, say, warn
from headstart.data.images import RANGE_GUESSED
from headstart.deployment.decision import SEPARATOR
from headstart.deployment.predict import BATCH_SIZE, OK, Model, Prediction, remarks
from headstart.deployment.sources import CLIPPED, Inputs, listed
from headstart.evaluation.costs import ASK
from headstart.evaluation.predictions import (
    ENCODING_ERRORS,
    boolean_cell,
    number_cell,
    probability_columns,
)
from headstart.storage import atomic_path, csv_writer

COLUMNS = ("path", "status", "prediction", "confidence", "unknown", "unknown_score")


@dataclass(frozen=True)
class Counts:
    """What `predict_to_csv` did: ``rows = ok + failed``; the rest counts among them."""

    rows: int
    ok: int
    failed: Mapping[str, int]
    by_class: Mapping[str, int]
    unknown: int
    clipped: int
    depth_guessed: int
    passed_over: int
    sets: Mapping[str, Any] | None = None  # as asked for, and ``by_size``: pictures by classes in their set

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "rows": self.rows,
            "ok": self.ok,
            "failed": dict(self.failed),
            "by_class": dict(self.by_class),
            "unknown": self.unknown,
            "clipped": self.clipped,
            "depth_guessed": self.depth_guessed,
            "passed_over": self.passed_over,
            **({} if self.sets is None else {"sets": dict(self.sets)}),
        }


def predict_to_csv(
    model: Model,
    inputs: Inputs,
    output: Path | str | None = None,
    *,
    batch_size: int = BATCH_SIZE,
    workers: int | None = None,
    coverage: float | None = None,
) -> Counts:
    """Predicts all inputs into a table, row by row; the file appears when it is complete.

    Columns: ``path,status,prediction,confidence,unknown,unknown_score`` then ``prob:CLASS`` for each class.
    An unreadable picture has ``kind: reason`` as its status and empty cells. Floats round-trip.

    Args:
        model: From `load`.
        inputs: As for `Model.predict`.
        output: The file; None or "-" for standard output.
        batch_size, workers: As for `Model.predict`.
        coverage: As for `Model.predict`: a column ``set`` before the probabilities, ``|`` between classes.

    Raises:
        ConfigError, DataError, ModelError, RunError: as `Model.predict`.
        RunError: HS-RUN-001 to -003, the file cannot be written.
    """
    listing = listed(inputs)
    failed: Counter[str] = Counter()
    by_class: Counter[str] = Counter()
    unknown = 0
    notes: Counter[str] = Counter()
    sets = None if coverage is None else model.sets(coverage)
    by_size: Counter[int] = Counter()
    rows = model.stream(listing, batch_size=batch_size, workers=workers, sets=sets)
    with _opened(output) as file, progress(len(listing.sources), "predicting") as advance:
        writer = csv_writer(file)
        more = () if sets is None else ("set",)
        writer.writerow((*COLUMNS, *more, *probability_columns(model.classes)))
        for row in rows:
            cells = _cells(row, model.classes)
            own = () if sets is None else (SEPARATOR.join(row.set or ()),)
            writer.writerow((*cells[: len(COLUMNS)], *own, *cells[len(COLUMNS) :]))
            by_size[len(row.set or ())] += 1
            notes[row.note] += 1
            if row.prediction is None:
                failed[row.status] += 1
            else:
                by_class[row.prediction] += 1
                unknown += bool(row.unknown)
            advance(1)
    if model.costs is not None:
        say("each answer is the one of least expected cost, by the table of `headstart threshold --costs`")
    elif model.least_recall is not None:
        say(model.least_recall.line())
    if sets is not None:
        say(sets.line())
        sizes = [
            f"{n} with {counted(size, 'class', 'classes')}" for size, n in sorted(by_size.items()) if size
        ]
        say(f"sets: {', '.join(sizes) or 'none'}")
    for line in remarks(notes):
        warn(line)
    if failed:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(failed.items()))
        warn(f"{failed.total()} of {len(listing.sources)} inputs could not be read: {kinds}.")
    if listing.passed_over:
        said = counted(
            listing.passed_over, "file in the folders is no picture", "files in the folders are no pictures"
        )
        say(f"{said}: passed over")
    return Counts(
        rows=len(listing.sources),
        ok=by_class.total(),
        failed=dict(failed),
        by_class={name: by_class[name] for name in dict.fromkeys((*model.classes, ASK)) if by_class[name]},
        unknown=unknown,
        clipped=notes[CLIPPED],
        depth_guessed=notes[RANGE_GUESSED],
        passed_over=listing.passed_over,
        sets=None
        if sets is None
        else {**sets.to_dict(), "by_size": {str(size): n for size, n in sorted(by_size.items()) if size}},
    )


def _cells(row: Prediction, classes: tuple[str, ...]) -> tuple[str, ...]:
    if row.confidence is None:
        status = f"{row.status}: {row.reason.removeprefix(row.status.replace('-', ' ') + ': ')}"
        return row.path, status, "", "", "", "", *("" for _ in classes)
    numbers = (repr(row.probabilities[name]) for name in classes)
    told = boolean_cell(row.unknown), number_cell(row.unknown_score)
    return row.path, OK, str(row.prediction), repr(row.confidence), *told, *numbers


@contextlib.contextmanager
def _opened(output: Path | str | None) -> Iterator[IO[str]]:
    if output is None or str(output) == "-":
        buffer = getattr(sys.stdout, "buffer", None)
        if buffer is None:  # a stand-in that takes text only
            yield sys.stdout
            return
        sys.stdout.flush()
        file = io.TextIOWrapper(buffer, encoding="utf-8", errors=ENCODING_ERRORS, newline="")
        try:
            yield file
        finally:
            file.flush()
            file.detach()
    else:
        with (
            atomic_path(Path(output)) as temporary,
            open(temporary, "w", encoding="utf-8", errors=ENCODING_ERRORS, newline="") as file,
        ):
            yield file
