"""`headstart suspects`: labels of a run's training pictures that the other pictures contradict."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headstart.data.dataset import Dataset
from headstart.data.overrides import COLUMNS, KEEP, Decision, read_decisions, write_decisions
from headstart.data.tables import open_table
from headstart.errors import RunError
from headstart.evaluation.label_errors import label_errors
from headstart.evaluation.predictions import Predictions
from headstart.run_folder import Run

OUT_OF_FOLD = "out_of_fold.csv"
SUSPECTS = "suspects.csv"
CELLS = 2_000_000  # pictures x classes, of which the probabilities are kept: some 40 MB


@dataclass(frozen=True)
class Ranking:
    """Pictures that trained or chose, from the most to the least doubtful label.

    Attributes:
        rows: All of them; each keeps its label as yet.
        suspects: How many of the first are suspected.
    """

    rows: tuple[Decision, ...]
    suspects: int


def write_out_of_fold(folder: Path, dataset: Dataset, probabilities: NDArray[np.float64]) -> None:
    """``out_of_fold.csv``: what probes that did not see them say of the training pictures.

    Args:
        folder: Of the run.
        dataset: Its pictures.
        probabilities: float64 [n, C], of those that train, in their order. Too many are not kept.

    Raises:
        RunError: HS-RUN-001 to -003.
    """
    if not probabilities.size or probabilities.size > CELLS:
        return
    ids = dataset.indices("train")
    table = Predictions(
        classes=dataset.classes,
        paths=[str(dataset.paths[i]) for i in ids],
        splits=[str(dataset.splits[i]) for i in ids],
        truth=dataset.labels[ids],
        probabilities=probabilities,
    )
    table.write_csv(folder / OUT_OF_FOLD)


def ranking_of(folder: Path) -> Ranking:
    """The training pictures by out-of-fold probabilities, and the selection pictures by the run's own model.

    Raises:
        RunError: HS-EVAL-042, the run has kept no such probabilities; HS-EVAL-002, they cannot be read.
    """
    if not (folder / OUT_OF_FOLD).is_file():
        raise RunError(
            "HS-EVAL-042",
            "This run has no probabilities of its training pictures by probes that did not see them.",
            where=folder / OUT_OF_FOLD,
            fix="Train one that has: headstart train DATA --strategy probe. Each class needs two pictures "
            f"that are no copies of each other, and pictures times classes must not exceed {CELLS:,}.",
        )
    tables = [Predictions.read_csv(folder / OUT_OF_FOLD)]
    if (folder / "predictions.csv").is_file():
        chosen = Predictions.read_csv(folder / "predictions.csv").of_split("selection")
        if chosen.classes == tables[0].classes:
            tables.append(chosen)
    classes = tables[0].classes
    paths = [path for table in tables for path in table.paths]
    labels = np.concatenate([table.truth for table in tables])
    found = label_errors(labels, np.concatenate([table.probabilities for table in tables]))
    rows = (
        Decision(paths[i], classes[labels[i]], classes[found.suggested[i]], f"{found.score[i]:.4f}")
        for i in found.order.tolist()
    )
    return Ranking(tuple(rows), int(found.suspected.sum()))


def suspects(
    run: Run | str | PathLike[str], *, output: str | PathLike[str] | None = None
) -> tuple[Path, Ranking]:
    """Writes the table of suspected labels, for decisions: keep, relabel or drop.

    Decisions of a table that is already there are kept.

    Args:
        run: A run or its folder.
        output: The table. Default: ``suspects.csv`` in the run's folder.

    Returns:
        The table's path, and the ranking of all pictures.

    Raises:
        RunError: as `ranking_of`; HS-EVAL-043, the table there has other columns, which would be lost;
            HS-RUN-001 to -003, the table cannot be written.
        DataError: HS-DATA-080, -081, there is a file of that name whose decisions cannot be read.
    """
    folder = run.path if isinstance(run, Run) else Path(run)
    place = folder / SUSPECTS if output is None else Path(output)
    ranking = ranking_of(folder)
    earlier = {row.path: row for row in earlier_decisions(place)}
    made = {path: row for path, row in earlier.items() if row.decision != KEEP}
    rows = [made.pop(row.path, row) for row in ranking.rows[: ranking.suspects]]
    write_decisions(place, [*rows, *made.values()])
    return place, ranking


def earlier_decisions(place: Path) -> list[Decision]:
    """The decisions of a table that is about to be written anew; none if there is none.

    Raises:
        RunError: HS-EVAL-043, it has other columns, which would be lost.
        DataError: HS-DATA-080, -081.
    """
    if not place.exists():
        return []
    rows = read_decisions(place)
    own = [name for name in open_table(place, errors="surrogateescape").names if name not in COLUMNS]
    if own:
        raise RunError(
            "HS-EVAL-043",
            f"The table has columns that would be lost: {', '.join(own)}.",
            where=place,
            fix="Write another table with --output.",
        )
    return rows
