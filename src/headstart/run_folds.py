"""Cross-validation: a run for each fold, and the figures of all pictures together.

Each picture is reported once, by a model that never saw it. The folds are runs of their own in ``folds/``.
What they share (decoded pictures, activations of the frozen part) the cache has, so that each costs little
more than its training.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from numpy.typing import NDArray

from headstart import console
from headstart.config import TrainConfig, read_yaml, to_mapping, with_absolute_paths
from headstart.data.leaked import Leak, read_leaks
from headstart.data.lock import OK, read_lock
from headstart.data.sources import Data
from headstart.errors import ConfigError, DataError
from headstart.evaluation.calibrate import at_temperature
from headstart.evaluation.calibrate import figures as calibration_figures
from headstart.evaluation.evaluate import report_lines, summary, with_interval, without_leaked
from headstart.evaluation.measure import write_evaluation
from headstart.evaluation.predictions import Predictions
from headstart.launch import place
from headstart.run_folder import (
    CHECKPOINTS,
    CONFIG,
    FINDINGS,
    FOLDS,
    Run,
    begun_folder,
    data_name,
    data_text,
    new_folder,
    output_in_data,
)
from headstart.run_lock import discard_lock
from headstart.storage import write_atomic
from headstart.versions import versions

if TYPE_CHECKING:
    from headstart.training.fit import EpochHook

    TrainOne = Callable[[Data | None, TrainConfig, Path | None, EpochHook | None], Run]

REPORTED = "val"  # what the reported part of a fold is called


def holds_folds(run: Run | str | PathLike[str]) -> bool:
    """Whether a folder is that of a cross-validation, ended or not."""
    file = (run.path if isinstance(run, Run) else Path(run)) / CONFIG
    return file.is_file() and read_yaml(file).get("folds") is not None


def train_folds(
    data: Data, config: TrainConfig, begun: Path | None, hook: EpochHook | None, train: TrainOne
) -> Run:
    """Trains and measures each fold that has not ended yet, then puts the figures together.

    Args:
        data: As for `headstart.train`.
        config: With ``folds``.
        begun: The folder of a cross-validation that goes on.
        hook: Called after each epoch of each fold.
        train: Trains one run.

    Returns:
        The run; ``predictions`` and ``metrics`` are those of all pictures, and it has no model.

    Raises:
        ConfigError: HS-CONFIG-007, settings that mean nothing here; HS-CONFIG-021, several processes.
        DataError: HS-DATA-018, the pictures changed between two folds; and as `headstart.train`.
    """
    assert config.folds is not None
    refuse(config)
    started = time.perf_counter()
    with folds_folder(config, data, begun) as folder, console.logged_to(folder / "log.txt"):
        if begun is None:
            settings = to_mapping(with_absolute_paths(config))
            values = {"data": data_text(data), **settings, "versions": versions()}
            write_atomic(folder / CONFIG, yaml.safe_dump(values, allow_unicode=True, sort_keys=False))
        ended: list[Path] = []
        for number in range(1, config.folds + 1):
            run = one_fold(data, config, folder, number, hook, train)
            if run.interrupted:
                break
            ended.append(run.path)
            check_same(ended[0], run.path)
            console.say(f"fold {number} of {config.folds}: accuracy {with_interval(run.metrics['accuracy'])}")
        if not ended:
            raise KeyboardInterrupt
        interrupted = len(ended) < config.folds
        result, table, leaks = pooled(ended)
        result |= {"seconds": time.perf_counter() - started}
        if interrupted:
            result["interrupted"] = True
        write_evaluation(folder, table, result, leaks)
        write_findings(folder, ended)
        for line in result_lines(result, folder):
            console.say(line)
        if interrupted:
            console.say(f"to go on: headstart train --resume {folder}")
        else:
            discard_lock(folder)
    return Run(folder, interrupted=interrupted)


def refuse(config: TrainConfig) -> None:
    """Says all that does not go with folds.

    Raises:
        ConfigError: HS-CONFIG-007, HS-CONFIG-021.
    """
    faults = []
    if config.fold is not None:
        faults.append("--folds trains all folds, --fold one of them: leave one of both out")
    if config.budget is not None:
        faults.append("--budget is the time of one training, and --folds are several: give --epochs")
    if config.refit == "all":
        faults.append(
            "--refit all leaves a model of all pictures, and --folds none: train it without --folds"
        )
    if faults:
        raise ConfigError("HS-CONFIG-007", "These settings contradict each other.", details=faults)
    if place().size > 1:
        raise ConfigError(
            "HS-CONFIG-021",
            "Folds are trained one after the other, in one process.",
            fix=f"Start one process; or give each machine folds of its own: --fold 1/{config.folds}",
        )


@contextlib.contextmanager
def folds_folder(config: TrainConfig, data: Data, begun: Path | None) -> Iterator[Path]:
    """The folder of the cross-validation; a new one is removed again if it fails before a fold has begun."""
    if begun is not None:
        with begun_folder(begun):
            yield begun
        return

    def kept(folder: Path) -> str:
        begun = any((folder / FOLDS).iterdir() if (folder / FOLDS).is_dir() else ())
        return f"not all folds have ended; to go on: headstart train --resume {folder}" if begun else ""

    with new_folder(config.output, config.name or data_name(data), kept) as folder:
        yield folder


def one_fold(
    data: Data, config: TrainConfig, folder: Path, number: int, hook: EpochHook | None, train: TrainOne
) -> Run:
    """The run of a fold: as it ended, gone on with, or new. Only the first one prints more than its log."""
    own = folder / FOLDS / str(number)
    if has_ended(own):
        return Run(own)
    fold = f"{number}/{config.folds}"
    console.say(f"fold {number} of {config.folds}: {own}")
    exclude = (*config.exclude, *output_in_data(config.output, data))
    single = dataclasses.replace(config, folds=None, fold=fold, exclude=exclude)
    with console.quiet() if number > 1 else contextlib.nullcontext():
        return run_in(own, data, single, hook, train)


def run_in(own: Path, data: Data, config: TrainConfig, hook: EpochHook | None, train: TrainOne) -> Run:
    """The run of this folder, which has not ended: gone on with, or new."""
    if (own / CHECKPOINTS).is_dir():
        return train(data, TrainConfig(), own, hook)
    shutil.rmtree(own, ignore_errors=True)  # nothing in it could be gone on with
    return train(data, dataclasses.replace(config, output=own.parent, name=own.name), None, hook)


def has_ended(run: Path) -> bool:
    """Whether a run has all its figures."""
    metrics = run / "metrics.json"
    return metrics.is_file() and not json.loads(metrics.read_text(encoding="utf-8")).get("interrupted")


def check_same(first: Path, run: Path, called: str = "fold") -> None:
    """All runs must be of the same pictures, with the same classes and groups, by which folds were dealt.

    Args:
        first: One of them.
        run: Another one.
        called: What a run is to the user.

    Raises:
        DataError: HS-DATA-018.
    """
    one, other = (
        {
            (row.path, row.class_name, row.file_hash, row.group, row.soft, row.split == "test")
            for row in read_lock(folder)
            if row.status == OK
        }
        for folder in (first, run)
    )
    if one != other:
        raise DataError(
            "HS-DATA-018",
            f"The pictures are not those that the first {called} was trained on.",
            where=run,
            details=[f"{len(other - one)} are new or other, {len(one - other)} are gone"],
            fix=f"Put them back and delete this {called}'s folder, or start a new run.",
        )


def pooled(runs: Sequence[Path]) -> tuple[dict[str, Any], Predictions, tuple[Leak, ...]]:
    """The figures of all pictures that folds reported, their predictions, and the leaks among them."""
    tables = [Run(run).predictions.of_split(REPORTED) for run in runs]
    figures = [Run(run).metrics for run in runs]
    paths = np.concatenate([np.array(table.paths, object) for table in tables])
    order = np.argsort(paths, kind="stable")
    table = Predictions(
        classes=tables[0].classes,
        paths=[str(path) for path in paths[order]],
        splits=[REPORTED] * len(paths),
        truth=np.concatenate([table.truth for table in tables])[order],
        probabilities=np.concatenate([table.probabilities for table in tables])[order],
        unknown=column_of([table.unknown for table in tables], order),
        unknown_score=column_of([table.unknown_score for table in tables], order),
    )
    leaks = tuple(sorted(leak for run in runs for leak in read_leaks(run)))
    result = summary(table, REPORTED)
    if leaks:
        result["without_leaked"] = without_leaked(table, REPORTED, leaks)
    result["calibration"] = pooled_calibration(tables, figures)
    accuracies = np.array([one["accuracy"]["value"] for one in figures])
    names = ("strategy", "recipe", "model", "root")
    shared: dict[str, Any] = {name: figures[0][name] for name in names if name in figures[0]}
    result |= {
        "folds": [
            {
                "fold": int(run.name),
                "accuracy": one["accuracy"],
                "balanced_accuracy": one["balanced_accuracy"],
            }
            for run, one in zip(runs, figures, strict=True)
        ],
        "spread": {
            "mean": float(accuracies.mean()),
            "standard_deviation": float(accuracies.std(ddof=1)) if len(runs) > 1 else None,
            "lowest": float(accuracies.min()),
            "highest": float(accuracies.max()),
        },
        **shared,
    }
    if len(acted := {one["balance"] for one in figures}) == 1:  # it follows the pictures that train
        result["balance"] = acted.pop()
    if table.unknown is not None:
        asked = figures[0]["unknown"]
        result["unknown"] = {name: asked[name] for name in ("score", "false_rejects", "fitted_on")}
    return result, table, leaks


def write_findings(folder: Path, runs: Sequence[Path]) -> None:
    """``findings.json``: what was found in the pictures of any fold, each finding once."""
    found: list[dict[str, Any]] = []
    for run in runs:
        found += [finding for finding in Run(run).findings if finding not in found]
    text = json.dumps(found, ensure_ascii=False, indent=2)
    write_atomic(folder / FINDINGS, text + "\n")


def pooled_calibration(tables: Sequence[Predictions], metrics: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The calibration of all pictures, each by the temperature of its fold's model."""
    found = [one["calibration"] for one in metrics]
    plain = [at_temperature(table, 1 / one["temperature"]) for table, one in zip(tables, found, strict=True)]
    after, before = (
        dataclasses.replace(
            tables[0],
            paths=[path for table in of for path in table.paths],
            splits=[split for table in of for split in table.splits],
            truth=np.concatenate([table.truth for table in of]),
            probabilities=np.concatenate([table.probabilities for table in of]),
            unknown=None,
            unknown_score=None,
        )
        for of in (tables, plain)
    )
    return {
        "temperature": [one["temperature"] for one in found],
        "temperature_interval_95": None,
        "n": sum(one["n"] for one in found),
        "reason": found[0]["reason"] if all(one["reason"] for one in found) else "",
        **calibration_figures(after, before, REPORTED),
    }


def column_of(columns: Sequence[NDArray[Any] | None], order: NDArray[np.int64]) -> NDArray[Any] | None:
    """A column of all tables in this order; None where one of them lacks it."""
    whole = [column for column in columns if column is not None]
    return np.concatenate(whole)[order] if len(whole) == len(columns) else None


def result_lines(result: dict[str, Any], folder: Path) -> list[str]:
    """The result for a person."""
    folds, spread = result["folds"], result["spread"]
    rows = [
        (str(one["fold"]), with_interval(one["accuracy"]), with_interval(one["balanced_accuracy"]))
        for one in folds
    ]
    lines = ["", *report_lines(result, place=f"{len(folds)} folds, each by a model that never saw it"), ""]
    lines += console.table(("fold", "accuracy", "balanced accuracy"), rows).split("\n")
    if spread["standard_deviation"] is not None:
        lines.append(
            f"accuracy of single folds: mean {spread['mean']:.3f}, standard deviation "
            f"{spread['standard_deviation']:.3f}, from {spread['lowest']:.3f} to {spread['highest']:.3f}"
        )
    return [
        *lines,
        "",
        f"{folder}: {len(folds)} folds in {result['seconds']:.0f} s; their models are in {folder / FOLDS}",
        "no model of all pictures was made: train one without --folds (add --refit all to use every picture)",
    ]
