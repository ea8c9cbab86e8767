"""`headstart evaluate`: figures of runs, on their own held-out pictures or on others, compared."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from headstart import console
from headstart.config import LabelFrom, from_mapping
from headstart.data.leaked import read_leaks
from headstart.data.lock import read_lock
from headstart.data.sources import Data, SourceOptions, options_of
from headstart.errors import RunError
from headstart.evaluation.by_value import by_lines, figures_by
from headstart.evaluation.compare import compare
from headstart.evaluation.costs import Costs, cost_figures, cost_lines
from headstart.evaluation.evaluate import report_lines, summary, without_leaked
from headstart.evaluation.measure import measure, write_evaluation
from headstart.evaluation.predictions import Predictions
from headstart.evaluation.robustness import (
    ROBUSTNESS,
    Robustness,
    robustness_lines,
    robustness_record,
    write_robustness,
)
from headstart.model.card import MODEL_FOLDER, card_entries, read_card
from headstart.run_columns import column_values, own_column
from headstart.run_folder import Run, claim, data_name, opened
from headstart.run_processes import is_first, joined, own_device
from headstart.run_robustness import robustness_of_run

EVALUATIONS = "evaluations"  # in the folder of a run: its figures on other pictures


def identified(table: Predictions, folder: Path) -> Predictions:
    """The table with each picture's content in its path, so that only the same pictures are compared."""
    content = {row.path: row.file_hash for row in read_lock(folder)}
    return dataclasses.replace(table, paths=tuple(f"{path} {content[path]}" for path in table.paths))


def evaluate(
    *runs: Run | str | PathLike[str],
    data: Data | None = None,
    exclude: Sequence[str] = (),
    exclude_list: str | PathLike[str] | None = None,
    images: str | PathLike[str] | None = None,
    columns: Sequence[str] = (),
    label_from: LabelFrom | None = None,
    group_by: str | None = None,
    workers: int | None = None,
    device: str | None = None,
    corruptions: bool = False,
    by: str | None = None,
    table: str | PathLike[str] | None = None,
) -> dict[str, Any]:
    """Figures of one or several runs; several are compared on the same pictures.

    Args:
        runs: Runs or their folders.
        data: Pictures to measure on; None: the pictures that each run reported on.
        exclude: Patterns to leave out of ``data``.
        exclude_list, images, columns, label_from, group_by: Of ``data``, as the settings of
            `headstart.train` of the same names. ``images`` without ``data``: where the runs' pictures are
            now.
        workers: Threads that read pictures.
        device: Where to compute.
        corruptions: Measure on the same pictures with noise, blur and so on, too
            (`headstart.data.corruptions`).
        by: A column of the table that the pictures come from, or of ``table``: the accuracy of each of its
            values, as ``by``, see `headstart.evaluation.by_value.figures_by`.
        table: The table with this column, where the pictures come from none.

    Returns:
        ``runs``: the summary of each by its folder, with ``corruptions`` its ``robustness``; ``comparison``
        if there are several. With ``data``, tables and figures also stand in ``RUN/evaluations/NAME/``.

    Raises:
        RunError: HS-RUN-020, no such run; as `headstart.run_robustness.robustness_of_run`.
        ConfigError, DataError: HS-EVAL-074 to -076, as `headstart.run_columns.column_values`.
        DataError: as `headstart.evaluation.measure.measure` and the same.
    """
    with joined():
        said = {"images": images, "columns": columns, "label_from": label_from, "group_by": group_by}
        checked = from_mapping({**said, "exclude_list": exclude_list})
        return _evaluate(runs, data, exclude, options_of(checked), workers, device, corruptions, by, table)


def figures_of(folder: Path) -> dict[str, Any]:
    """The figures of a run as they were written.

    Raises:
        RunError: HS-EVAL-001, its figures are not there; HS-EVAL-002, they cannot be read.
    """
    path = folder / "metrics.json"
    try:
        figures: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        figures["split"] = str(figures["split"])
        return figures
    except FileNotFoundError:
        code, what = "HS-EVAL-001", "The figures of the run are not there."
    except (OSError, ValueError, KeyError, TypeError):
        code, what = "HS-EVAL-002", "The figures of the run cannot be used."
    raise RunError(
        code, what, where=path, fix="Measure the run on pictures: headstart evaluate RUN DATA"
    ) from None


def reported_split(folder: Path) -> str:
    """The part of its data that a run reported on.

    Raises:
        RunError: as `figures_of`.
    """
    return str(figures_of(folder)["split"])


def costs_of(folder: Path, table: Predictions) -> dict[str, Any]:
    """What answers cost by the table that a run's model decides by, as ``costs``; {} if it has none."""
    card = read_card(folder / MODEL_FOLDER)
    with card_entries(folder / MODEL_FOLDER):
        costs = Costs.from_card(card)
    return {} if costs is None else {"costs": cost_figures(costs, table)}


def _evaluate(
    runs: Sequence[Run | str | PathLike[str]],
    data: Data | None,
    exclude: Sequence[str],
    options: SourceOptions,
    workers: int | None,
    device: str | None,
    corruptions: bool,
    by: str | None,
    by_table: str | PathLike[str] | None,
) -> dict[str, Any]:
    folders = [opened(run) for run in runs]
    tables: dict[str, Predictions] = {}
    results: dict[str, Any] = {}
    if corruptions or data is not None:
        device = own_device(device)
    for folder in folders:
        robustness: tuple[Robustness, ...] = ()
        place_for_it = folder
        if data is None:
            table = Predictions.read_csv(folder / "predictions.csv")
            split = reported_split(folder)
            result, place = summary(table, split), f"the {split} part of its data"
            if (calibration := figures_of(folder).get("calibration")) is not None:
                result["calibration"] = calibration
            if leaks := read_leaks(folder):
                result["without_leaked"] = without_leaked(table, split, leaks)
            table = table.of_split(split)
            result |= costs_of(folder, table)
            if by is not None:
                root = figures_of(folder).get("root")
                values = own_column(folder, by, table.paths, table=by_table, images=options.images, root=root)
                result["by"] = {"column": by, **figures_by(table, values)}
            if corruptions:
                robustness = robustness_of_run(
                    folder,
                    table,
                    figures_of(folder),
                    images=options.images,
                    workers=workers or 2,
                    device=device,
                )
            table = identified(table, folder)
        else:
            table, result, place, leaks, robustness = measure(
                folder,
                data,
                exclude=exclude,
                options=options,
                workers=workers,
                device=device,
                corruptions=corruptions,
            )
            result |= costs_of(folder, table)
            if by is not None:
                values = column_values(by, table.paths, data=data, options=options, table=by_table)
                result["by"] = {"column": by, **figures_by(table, values)}
            if is_first():
                place_for_it = claim(folder / EVALUATIONS, data_name(data))
                write_evaluation(place_for_it, table, result, leaks)
                result["folder"] = str(place_for_it)
        tables[str(folder)], results[str(folder)] = table, result
        for line in (f"\n{folder}", *report_lines(result, place=place)):
            console.say(line)
        for line in cost_lines(result["costs"], place) if "costs" in result else ():
            console.say(line)
        for line in by_lines(result["by"], str(by)) if "by" in result else ():
            console.say(line)
        if robustness:
            result["robustness"] = robustness_record(robustness)
            if is_first():
                write_robustness(place_for_it, robustness)
            for line in ("", *robustness_lines(robustness)):
                console.say(line)
            console.say(f"{place_for_it / ROBUSTNESS}; into its report: headstart report {place_for_it}")
    found: dict[str, Any] = {"runs": results}
    if len(folders) > 1:
        comparison = compare(tables)
        for line in ("", *comparison.lines()):
            console.say(line)
        found["comparison"] = comparison.to_dict()
    return found
