"""The one table from which every metric, matrix, picture and report is derived."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headstart.errors import RunError
from headstart.storage import atomic_path, csv_writer

NO_TRUTH = -1
COLUMNS = ("path", "split", "truth", "prediction", "confidence", "unknown")
PROBABILITY = "prob:"
# File names are bytes on Linux: those that are not UTF-8 come back as they were.
ENCODING_ERRORS = "surrogateescape"


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a model answered, one row per picture.

    Args:
        classes: Names in the order of the model's outputs, C of them, all different.
        paths: Names of the pictures, n of them.
        splits: Split of each picture (``train``, ``selection``, ``val``, ``test``), n of them.
        truth: int64 [n], index into ``classes``; -1 where the true class is not known.
        probabilities: float64 [n, C]; rows sum to 1.
        unknown: bool [n], "none of the classes"; None where no threshold was fitted.

    Raises:
        ValueError: lengths, class names or indices do not fit together.
    """

    classes: tuple[str, ...]
    paths: Sequence[str]
    splits: Sequence[str]
    truth: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    unknown: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        for name in ("classes", "paths", "splits"):
            object.__setattr__(self, name, tuple(str(value) for value in getattr(self, name)))
        object.__setattr__(self, "truth", np.asarray(self.truth, dtype=np.int64))
        table = np.asarray(self.probabilities, dtype=np.float64)
        object.__setattr__(self, "probabilities", table)
        n, c = len(self.paths), len(self.classes)
        if len(set(self.classes)) != c:
            raise ValueError("two classes have the same name")
        if len(self.splits) != n or self.truth.shape != (n,) or table.shape != (n, c):
            raise ValueError(
                f"{n} paths, {len(self.splits)} splits, truth {self.truth.shape}, "
                f"probabilities {table.shape}, {c} classes"
            )
        if n and (self.truth.min() < NO_TRUTH or self.truth.max() >= c):
            raise ValueError(f"truth must lie in -1..{c - 1}")
        if not np.isfinite(table).all():
            raise ValueError("probabilities must be finite")
        if self.unknown is not None:
            object.__setattr__(self, "unknown", np.asarray(self.unknown, dtype=bool))
            if self.unknown.shape != (n,):
                raise ValueError(f"unknown is {self.unknown.shape}, not ({n},)")

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def prediction(self) -> NDArray[np.int64]:
        """Index of the most probable class, int64 [n]; of equals, the first."""
        return np.asarray(self.probabilities.argmax(axis=1), dtype=np.int64)

    @property
    def confidence(self) -> NDArray[np.float64]:
        """Probability of the predicted class, float64 [n]."""
        return np.asarray(self.probabilities.max(axis=1))

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether prediction equals truth, bool [n]; False where there is no truth."""
        return np.asarray(self.prediction == self.truth)

    def rows(self, where: NDArray[np.bool_] | NDArray[np.int64] | Sequence[int]) -> Predictions:
        """The table of some rows: a bool mask [n] or indices."""
        index = np.arange(len(self))[np.asarray(where)]
        return Predictions(
            self.classes,
            tuple(self.paths[i] for i in index),
            tuple(self.splits[i] for i in index),
            self.truth[index],
            self.probabilities[index],
            None if self.unknown is None else self.unknown[index],
        )

    def of_split(self, split: str) -> Predictions:
        """The rows of one split."""
        return self.rows(np.array([name == split for name in self.splits], dtype=bool))

    def write_csv(self, path: Path) -> None:
        """Writes ``path,split,truth,prediction,confidence,unknown,prob:CLASS...``; floats round-trip.

        Names are kept letter by letter. ``truth`` and ``unknown`` are empty where not known.

        Raises:
            RunError: HS-RUN-001 to -003, the file cannot be written.
        """
        with (
            atomic_path(Path(path)) as temporary,
            open(temporary, "w", encoding="utf-8", errors=ENCODING_ERRORS, newline="") as file,
        ):
            writer = csv_writer(file)
            writer.writerow((*COLUMNS, *probability_columns(self.classes)))
            prediction, confidence = self.prediction, self.confidence
            for i, name in enumerate(self.paths):
                truth = int(self.truth[i])
                writer.writerow(
                    (
                        name,
                        self.splits[i],
                        "" if truth == NO_TRUTH else self.classes[truth],
                        self.classes[int(prediction[i])],
                        repr(float(confidence[i])),
                        boolean_cell(None if self.unknown is None else bool(self.unknown[i])),
                        *map(repr, self.probabilities[i].tolist()),
                    )
                )

    @classmethod
    def read_csv(cls, path: Path) -> Predictions:
        """Reads what `write_csv` wrote; every value comes back equal.

        Raises:
            RunError: HS-EVAL-001, no such file; HS-EVAL-002, not such a table.
        """
        try:
            with open(path, encoding="utf-8", errors=ENCODING_ERRORS, newline="") as file:
                return _parse(csv.reader(file))
        except FileNotFoundError as error:
            raise RunError(
                "HS-EVAL-001",
                "There is no table of predictions.",
                where=path,
                fix="Measure the run on pictures: headstart evaluate RUN DATA",
            ) from error
        except (ValueError, csv.Error) as error:
            raise RunError(
                "HS-EVAL-002",
                f"The table of predictions cannot be used: {error}.",
                where=path,
                fix="It was changed by hand or by another program. Measure the run on pictures: "
                "headstart evaluate RUN DATA",
            ) from error


def probability_columns(classes: Iterable[str]) -> list[str]:
    """Column names of the probabilities, in the order of the classes."""
    return [f"{PROBABILITY}{name}" for name in classes]


def boolean_cell(value: bool | None) -> str:
    """``true``, ``false``, or nothing where it was not decided."""
    return "" if value is None else "true" if value else "false"


def _parse(reader: Iterable[list[str]]) -> Predictions:
    rows = iter(reader)
    header = next(rows, [])
    fixed = len(COLUMNS)
    if tuple(header[:fixed]) != COLUMNS or not all(name.startswith(PROBABILITY) for name in header[fixed:]):
        raise ValueError(f"its columns are not {','.join(COLUMNS)},{PROBABILITY}CLASS")
    classes = tuple(name[len(PROBABILITY) :] for name in header[fixed:])
    index = {name: i for i, name in enumerate(classes)}
    paths, splits, truth, told, unknown, probabilities = [], [], [], [], [], []
    for number, row in enumerate(rows, start=1):
        if len(row) != len(header):
            raise ValueError(f"row {number} has {len(row)} cells, the header {len(header)}")
        path, split, true_name, name, _, unknown_cell = row[:fixed]
        for given in (true_name, name):
            if given and given not in index:
                raise ValueError(f"row {number} names the class {given!r}, which has no column")
        if unknown_cell not in ("", "true", "false"):
            raise ValueError(f"row {number} has {unknown_cell!r} as 'unknown'")
        paths.append(path)
        splits.append(split)
        truth.append(index[true_name] if true_name else NO_TRUTH)
        told.append(index.get(name, NO_TRUTH))
        unknown.append(unknown_cell)
        probabilities.append([float(cell) for cell in row[fixed:]])
    result = Predictions(
        classes,
        tuple(paths),
        tuple(splits),
        np.array(truth, dtype=np.int64),
        np.array(probabilities, dtype=np.float64).reshape(len(paths), len(classes)),
        None if "" in unknown or not unknown else np.array([cell == "true" for cell in unknown]),
    )
    wrong = [] if not paths else np.flatnonzero(result.prediction != np.array(told)).tolist()
    if wrong:
        raise ValueError(f"row {wrong[0] + 1}: the prediction is not the most probable class")
    return result
