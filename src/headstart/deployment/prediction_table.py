"""Predictions of files and folders as a table, written row by row."""

from __future__ import annotations

import contextlib
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from headstart.console import counted, progress, say, warn
from headstart.data.images import RANGE_GUESSED
from headstart.deployment.decision import Sets
from headstart.deployment.predict import BATCH_SIZE, OK, Model, Prediction, remarks
from headstart.deployment.sources import CLIPPED, Inputs, Shard, Source, Walk
from headstart.deployment.table_formats import (
    Cell,
    Cells,
    Column,
    Csv,
    Format,
    Parquet,
    ShownCsv,
    format_of,
)
from headstart.deployment.table_resume import Kept, begun, other_table, partial_of, same, table_file
from headstart.errors import ConfigError, UsageError
from headstart.evaluation.costs import ASK
from headstart.evaluation.predictions import probability_columns
from headstart.storage import storage_errors

COLUMNS = ("path", "status", "prediction", "confidence", "unknown", "unknown_score")
COUNTED_AHEAD = 10_000
"""So many pictures are listed before the first prediction: fewer are counted, and faults of folders found."""
FLUSH_SECONDS = 1.0


@dataclass(frozen=True)
class Counts:
    """What `predict_to_table` did: ``rows = ok + failed``; the rest counts among them.

    ``kept`` rows stood there before; their notes (``clipped``, ``depth_guessed``) are not known any more.
    """

    rows: int
    ok: int
    failed: Mapping[str, int]
    by_class: Mapping[str, int]
    unknown: int
    clipped: int
    depth_guessed: int
    passed_over: int
    kept: int = 0
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
            "kept": self.kept,
            **({} if self.sets is None else {"sets": dict(self.sets)}),
        }


@dataclass(frozen=True)
class Layout:
    """Which columns a table has.

    Attributes:
        classes: Of the model.
        sets: Whether there is a column of sets.
        top: How many of the most probable classes have columns; None: each class has one.
    """

    classes: tuple[str, ...]
    sets: bool = False
    top: int | None = None

    def columns(self) -> tuple[Column, ...]:
        """In order."""
        found = [
            *(Column(name, "text") for name in COLUMNS[:3]),
            Column("confidence", "number"),
            Column("unknown", "flag"),
            Column("unknown_score", "number"),
            *([Column("set", "names")] * self.sets),
        ]
        if self.top is None:
            return (*found, *(Column(name, "number") for name in probability_columns(self.classes)))
        for place in range(1, min(self.top, len(self.classes)) + 1):
            found += [Column(f"class_{place}", "text"), Column(f"probability_{place}", "number")]
        return tuple(found)

    def cells(self, row: Prediction) -> Cells:
        """The row of a picture; without an answer its status says why, and the rest is empty."""
        own = ((row.set or None),) * self.sets
        if row.confidence is None:
            status = f"{row.status}: {row.reason.removeprefix(row.status.replace('-', ' ') + ': ')}"
            return (row.path, status, *(None for _ in self.columns()[2:]))
        known = row.path, OK, row.prediction, row.confidence, row.unknown, row.unknown_score, *own
        if self.top is None:
            return (*known, *(row.probabilities[name] for name in self.classes))
        best: list[Cell] = [cell for pair in row.top(self.top) for cell in pair]
        return (*known, *best)


def predict_to_table(
    model: Model,
    inputs: Inputs,
    output: Path | str | None = None,
    *,
    batch_size: int = BATCH_SIZE,
    workers: int | None = None,
    coverage: float | None = None,
    top: int | None = None,
    shard: Shard | None = None,
    resume: bool = False,
) -> Counts:
    """Predicts all inputs into a table, row by row; the file appears when it is complete.

    Until then, and after a stop, the rows stand in ``OUTPUT.partial``. Columns: see `Layout`. An unreadable
    picture has ``kind: reason`` as its status and empty cells. Floats round-trip.

    Args:
        model: From `load`.
        inputs: As for `Model.predict`; folders are read while they are predicted.
        output: The file: ``.csv``, ``.jsonl`` or ``.parquet``; None or "-" for CSV on standard output.
        batch_size, workers: As for `Model.predict`.
        coverage: As for `Model.predict`: a column ``set`` before the probabilities, ``|`` between classes.
        top: Columns ``class_1,probability_1`` and so on instead of one for each class.
        shard: Only this part of the pictures.
        resume: Keep the rows that are there, complete or not, and add those of the other pictures.

    Raises:
        ConfigError, DataError, ModelError, RunError: as `Model.predict`.
        ConfigError: HS-PREDICT-049, ``top`` below 1.
        UsageError: HS-PREDICT-045, ``resume`` without a file, or with Parquet; HS-PREDICT-047, a file of
            another kind.
        MissingExtraError: HS-INSTALL-001, Parquet without pyarrow.
        RunError: HS-RUN-001 to -003, the file cannot be written; HS-PREDICT-046, it was begun otherwise;
            HS-PREDICT-048, another process writes it.
    """
    if top is not None and top < 1:
        raise ConfigError("HS-PREDICT-049", f"There is no top {top}.", fix="Give a number such as --top 5")
    target = None if output is None or str(output) == "-" else Path(output)
    sets = None if coverage is None else model.sets(coverage)
    layout = Layout(model.classes, sets is not None, top)
    walk = Walk(inputs, shard)
    before = None
    if target is not None and format_of(target) and target.is_dir():
        raise UsageError(
            "HS-PREDICT-047",
            "The table is to be a file, and this is a folder.",
            where=target,
            fix=f"Name a file, such as {target / 'names.csv'}",
        )
    if resume:
        if target is None:
            raise UsageError(
                "HS-PREDICT-045",
                "Only a file can be gone on with.",
                fix="Add --output names.csv, as it was when it was stopped.",
            )
        before = begun(target, layout.columns())
        if before is not None:
            _check(model, walk, before, layout, sets)
    kept = Kept() if before is None else before[1]
    pictures: Iterable[Source] = walk if before is None else (s for s in walk if not kept.take(s.path))
    iterator = iter(pictures)
    ahead = list(islice(iterator, COUNTED_AHEAD))
    total = len(ahead) if len(ahead) < COUNTED_AHEAD else None
    stream = model.stream(
        chain(ahead, iterator),
        batch_size=batch_size,
        workers=workers,
        sets=sets,
        always_full=shard is not None or kept.rows > 0,
    )
    first = list(islice(stream, 1))  # what is wrong with the model comes up before a file is begun
    if first:
        say(f"computing with {model.backend.described()}")
    tally = _Tally(kept)
    with _opened(target, layout.columns(), before) as table, progress(total, "predicting") as advance:
        flushed = time.monotonic()
        for row in chain(first, stream):
            table.add(layout.cells(row))
            tally.add(row)
            advance(1)
            if time.monotonic() - flushed > FLUSH_SECONDS:
                table.flush()
                flushed = time.monotonic()
    _say(model, tally, walk, kept, sets)
    return tally.counts(model.classes, walk.passed_over, sets)


class _Tally:
    """What the rows were, those of before included."""

    def __init__(self, kept: Kept) -> None:
        self.kept = kept.rows
        self.failed = Counter(kept.failed)
        self.by_class = Counter(kept.by_class)
        self.by_size = Counter(kept.by_size)
        self.unknown = kept.unknown
        self.notes: Counter[str] = Counter()

    def add(self, row: Prediction) -> None:
        self.notes[row.note] += 1
        if row.prediction is None:
            self.failed[row.status] += 1
            return
        self.by_class[row.prediction] += 1
        self.unknown += bool(row.unknown)
        if row.set is not None:
            self.by_size[len(row.set)] += 1

    @property
    def rows(self) -> int:
        return self.failed.total() + self.by_class.total()

    def counts(self, classes: Sequence[str], passed_over: int, sets: Sets | None) -> Counts:
        answers = dict.fromkeys((*classes, ASK))
        by_size = {str(size): n for size, n in sorted(self.by_size.items())}
        return Counts(
            rows=self.rows,
            ok=self.by_class.total(),
            failed=dict(self.failed),
            by_class={name: self.by_class[name] for name in answers if self.by_class[name]},
            unknown=self.unknown,
            clipped=self.notes[CLIPPED],
            depth_guessed=self.notes[RANGE_GUESSED],
            passed_over=passed_over,
            kept=self.kept,
            sets=None if sets is None else {**sets.to_dict(), "by_size": by_size},
        )


def _check(model: Model, walk: Walk, before: tuple[Path, Kept], layout: Layout, sets: Sets | None) -> None:
    """Computes some rows of before again.

    Raises:
        RunError: HS-PREDICT-046, they are of other pictures, or of another model.
    """
    path, kept = before
    files = [str(cells[0]) for cells in kept.first]
    if strange := [name for name in files if not walk.covers(name)]:
        raise other_table(path, f"it has a row of {strange[0]}, which is not among these pictures")
    now = model.stream((Source(name, Path(name)) for name in files), sets=sets)
    for cells, row in zip(kept.first, now, strict=True):
        if row.ok and not same(cells, layout.cells(row)):
            raise other_table(path, f"the model now answers differently on {row.path}")


def _say(model: Model, tally: _Tally, walk: Walk, kept: Kept, sets: Sets | None) -> None:
    """What else is to be known of a table."""
    if kept.rows:
        say(f"{counted(kept.rows, 'row was', 'rows were')} there already and kept")
    if kept.left:
        gone = counted(kept.left, "of them is of a picture that is", "of them are of pictures that are")
        warn(f"{gone} not among those given now.")
    if rule := model.decision.line():
        say(rule)
    if sets is not None:
        say(sets.line())
        sizes = [f"{n} with {counted(k, 'class', 'classes')}" for k, n in sorted(tally.by_size.items())]
        say(f"sets: {', '.join(sizes) or 'none'}")
    for line in remarks(tally.notes):
        warn(line)
    if tally.failed:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(tally.failed.items()))
        warn(f"{tally.failed.total()} of {tally.rows} inputs could not be read: {kinds}.")
    if walk.passed_over:
        said = counted(
            walk.passed_over, "file in the folders is no picture", "files in the folders are no pictures"
        )
        say(f"{said}: passed over")


@contextlib.contextmanager
def _opened(
    target: Path | None, columns: Sequence[Column], before: tuple[Path, Kept] | None
) -> Iterator[Format]:
    """The table, to be written to; see `table_file`."""
    if target is None:
        sys.stdout.flush()
        form = ShownCsv if sys.stdout.isatty() else Csv
        table = form(getattr(sys.stdout, "buffer", sys.stdout), columns)  # or a stand-in that takes text only
        table.header()
        try:
            yield table
        finally:
            table.close()
        return
    partial, asked = partial_of(target), format_of(target)
    if before is None and partial.is_file():
        say(f"{partial}, which an interrupted command left, is replaced: --resume would go on with it")
    begun_here = False
    try:
        with storage_errors(target), table_file(target, before) as file:
            begun_here = True
            rows: Format = asked(file, columns)
            if before is None or not before[1].end:
                rows.header()
            try:
                yield rows
                rows.close()
            except BaseException:
                if asked is not Parquet:
                    with contextlib.suppress(OSError):
                        rows.flush()
                raise
    except BaseException:
        if begun_here and asked is not Parquet:
            say(f"what was predicted so far is in {partial}: --resume goes on with it")
        raise
