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
COLUMNS = ("path", "split", "truth", "prediction", "confidence", "unknown", "unknown_score")
BEFORE_SCORES = COLUMNS[:-1]  # tables of earlier versions
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
        unknown_score: float64 [n], distance to the nearest class, the threshold being 1; None as above.

    Raises:
        ValueError: lengths, class names or indices do not fit together.
    """

    classes: tuple[str, ...]
    paths: Sequence[str]
    splits: Sequence[str]
    truth: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    unknown: NDArray[np.bool_] | None = None
    unknown_score: NDArray[np.float64] | None = None

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
        if self.unknown_score is not None:
            object.__setattr__(self, "unknown_score", np.asarray(self.unknown_score, dtype=np.float64))
            if self.unknown_score.shape != (n,) or not np.isfinite(self.unknown_score).all():
                raise ValueError(f"unknown_score must be {n} finite numbers")

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
            None if self.unknown_score is None else self.unknown_score[index],
        )

    def of_split(self, split: str) -> Predictions:
        """The rows of one split."""
        return self.rows(np.array([name == split for name in self.splits], dtype=bool))

    def write_csv(self, path: Path) -> None:
        """Writes ``path,split,truth,prediction,confidence,unknown,unknown_score,prob:CLASS...``.

        Names are kept letter by letter, floats round-trip. ``truth`` and what is said of unknown pictures are
        empty where not known.

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
                        number_cell(None if self.unknown_score is None else float(self.unknown_score[i])),
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


def number_cell(value: float | None) -> str:
    """A number that reads back equal, or nothing."""
    return "" if value is None else repr(value)


def _parse(reader: Iterable[list[str]]) -> Predictions:
    rows = iter(reader)
    header = next(rows, [])
    columns = COLUMNS if tuple(header[: len(COLUMNS)]) == COLUMNS else BEFORE_SCORES
    fixed = len(columns)
    if tuple(header[:fixed]) != columns or not all(name.startswith(PROBABILITY) for name in header[fixed:]):
        raise ValueError(f"its columns are not {','.join(COLUMNS)},{PROBABILITY}CLASS")
    classes = tuple(name[len(PROBABILITY) :] for name in header[fixed:])
    index = {name: i for i, name in enumerate(classes)}
    paths, splits, truth, told, unknown, scores, probabilities = [], [], [], [], [], [], []
    for number, row in enumerate(rows, start=1):
        if len(row) != len(header):
            raise ValueError(f"row {number} has {len(row)} cells, the header {len(header)}")
        path, split, true_name, name, _, unknown_cell = row[: len(BEFORE_SCORES)]
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
        scores.append(row[len(BEFORE_SCORES)] if columns == COLUMNS else "")
        probabilities.append([float(cell) for cell in row[fixed:]])
    result = Predictions(
        classes,
        tuple(paths),
        tuple(splits),
        np.array(truth, dtype=np.int64),
        np.array(probabilities, dtype=np.float64).reshape(len(paths), len(classes)),
        None if "" in unknown or not unknown else np.array([cell == "true" for cell in unknown]),
        None if "" in scores or not scores else np.array([float(cell) for cell in scores]),
    )
    wrong = [] if not paths else np.flatnonzero(result.prediction != np.array(told)).tolist()
    if wrong:
        raise ValueError(f"row {wrong[0] + 1}: the prediction is not the most probable class")
    return result
