"""The folder of a run: claimed under a name of its own, described by ``config.yaml``, opened as `Run`."""

from __future__ import annotations

import contextlib
import csv
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from glob import escape
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from headstart import console
from headstart.config import TrainConfig, from_mapping, read_yaml, to_mapping
from headstart.data.dataset import Dataset
from headstart.data.listing import listed
from headstart.data.lock import OK, read_lock
from headstart.data.sources import Data, is_address, source_name
from headstart.errors import ConfigError, DataError, RunError, nearest
from headstart.evaluation.predictions import Predictions
from headstart.model.card import MODEL_FOLDER, has_model
from headstart.run_lock import held
from headstart.storage import storage_errors, write_atomic
from headstart.versions import versions

if TYPE_CHECKING:
    from headstart.training.plan import Plan

CONFIG = "config.yaml"
CHECKPOINTS = "checkpoints"
FINDINGS = "findings.json"
FOLDS = "folds"  # in the folder of a cross-validation: the run of each
A_LIST = "a list"  # of pictures, which the run's settings cannot name


@dataclass(frozen=True)
class Run:
    """A finished run's folder.

    Attributes:
        path: The folder. In it: ``config.yaml``, ``dataset.csv``, ``findings.json``, ``results.csv``,
            ``metrics.json``, ``predictions.csv``, ``curves.png``, ``confusion.png``, ``report.html``,
            ``model/``, ``log.txt``.
        interrupted: Whether Ctrl-C ended its training early.
    """

    path: Path
    interrupted: bool = False

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """``metrics.json``: fractions 0-1, each with n and its 95 % interval."""
        loaded: dict[str, Any] = json.loads((self.path / "metrics.json").read_text(encoding="utf-8"))
        return loaded

    @cached_property
    def findings(self) -> list[dict[str, Any]]:
        """``findings.json``: what was found in the pictures; empty in runs of before it was written."""
        file = self.path / FINDINGS
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []

    @property
    def accuracy(self) -> float:
        """On the reported split, 0-1."""
        return float(self.metrics["accuracy"]["value"])

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of `accuracy`."""
        low, high = self.metrics["accuracy"]["interval_95"]
        return low, high

    @cached_property
    def predictions(self) -> Predictions:
        """``predictions.csv``, from which all figures derive."""
        return Predictions.read_csv(self.path / "predictions.csv")

    @cached_property
    def results(self) -> list[dict[str, str]]:
        """The rows of ``results.csv``, one per epoch."""
        with open(self.path / "results.csv", encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    @property
    def model(self) -> Path:
        """The bundle: ``headstart.load(run.path)`` opens it."""
        return self.path / MODEL_FOLDER

    def __repr__(self) -> str:
        low, high = self.interval
        return f"Run({str(self.path)!r}, accuracy={self.accuracy:.3f} ({low:.3f} to {high:.3f}))"


def write_config(path: Path, plan: Plan, data: Data) -> None:
    """``config.yaml``: the resolved settings; ``headstart train DATA --config`` runs it again."""
    write_atomic(path, yaml.safe_dump(settings_in_full(plan, data), allow_unicode=True, sort_keys=False))


def settings_in_full(plan: Plan, data: Data) -> dict[str, Any]:
    """What ``config.yaml`` holds."""
    values = {
        "data": data_text(data),
        **to_mapping(plan.config),
        "plan": plan.to_dict(),
        "measured": plan.measured(),
        "versions": versions(),
    }
    plain: dict[str, Any] = yaml.safe_load(yaml.safe_dump(values, sort_keys=False))
    return plain


def begun(run: Run | str | PathLike[str]) -> tuple[Path, Data | None, TrainConfig]:
    """A run that was interrupted: its folder, its data (None for a list) and its settings, nothing left open.

    Raises:
        RunError: as `unfinished`.
        ConfigError: HS-CONFIG-004, its settings cannot be read.
    """
    folder, values = unfinished(run, CONFIG)
    config = from_mapping(read_yaml(folder / CONFIG), where=folder / CONFIG)
    return folder, data_of(values), config


def unfinished(run: Run | str | PathLike[str], file: str) -> tuple[Path, dict[str, Any]]:
    """The folder of a run that has not ended, and what its ``file`` says of how it was begun.

    Raises:
        RunError: HS-RUN-021, no run was begun here; HS-RUN-022, it has ended.
        ConfigError: HS-CONFIG-004, the file cannot be read.
    """
    folder = run.path if isinstance(run, Run) else Path(run)
    if not (folder / file).is_file():
        beside = folder.parent.iterdir() if folder.parent.is_dir() else ()
        known = [path.name for path in beside if (path / file).is_file()]
        raise RunError(
            "HS-RUN-021",
            f"There is no run to go on with in this folder.{nearest(folder.name, known)}",
            where=folder,
            fix="Give the folder of a run that was interrupted after its plan was printed.",
        )
    check_not_ended(folder)
    read_yaml(folder / file)
    values: dict[str, Any] = yaml.safe_load((folder / file).read_text(encoding="utf-8")) or {}
    found = versions()
    changed = [
        f"{name} {version} (now {found.get(name, 'none')})"
        for name, version in values.get("versions", {}).items()
        if found.get(name) != version
    ]
    if changed:
        console.warn(
            f"the run was begun with {', '.join(changed)}: it goes on, but does not end in the same weights"
        )
    return folder, values


def check_not_ended(folder: Path) -> None:
    """What is left to do is asked of the figures.

    Raises:
        RunError: HS-RUN-022.
    """
    metrics = folder / "metrics.json"
    if metrics.is_file() and not json.loads(metrics.read_text(encoding="utf-8")).get("interrupted"):
        raise RunError(
            "HS-RUN-022",
            "This run has ended: nothing is left to do.",
            where=folder,
            fix=f"Start a new run with its settings: headstart train DATA --config {folder / CONFIG}",
        )


@contextlib.contextmanager
def begun_folder(folder: Path) -> Iterator[Path]:
    """The folder of a run that goes on, in this process alone.

    Raises:
        RunError: HS-RUN-027, as `held`; HS-RUN-022, another process has just ended it.
    """
    with held(folder):
        check_not_ended(folder)
        yield folder


def data_of(values: Mapping[str, Any]) -> str | None:
    """The data folder that a run's settings name; None if it was begun with a list."""
    data = values.get("data")
    return None if data == A_LIST else data


def data_text(data: Data) -> str:
    """How a run's settings name its data."""
    if not isinstance(data, str | PathLike):
        return A_LIST
    return str(data) if is_address(data) else str(Path(data).expanduser().absolute())


def check_unchanged(folder: Path, dataset: Dataset) -> None:
    """The pictures must be those that the run began with.

    Raises:
        DataError: HS-DATA-018, with how many are new, gone, or have other content, another class or other
            probabilities, another part or group.
    """
    before = {row.path: row for row in read_lock(folder) if row.status == OK}
    now = {row.path: row for row in dataset.rows()}
    new, gone = [path for path in now if path not in before], [path for path in before if path not in now]
    other = [path for path, row in now.items() if path in before and row != before[path]]
    if new or gone or other:
        kinds = (("new", new), ("gone", gone), ("with other content, class, part or group", other))
        raise DataError(
            "HS-DATA-018",
            "The pictures are not those that the run began with.",
            where=dataset.root,
            details=[f"{len(paths)} {kind}: {listed(paths)}" for kind, paths in kinds if paths],
            fix="Put them back, or start a new run.",
        )


def check_same_plan(folder: Path, plan: Plan) -> None:
    """What a run goes on with must be what it began with.

    Raises:
        RunError: HS-RUN-024.
    """
    saved = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8")).get("plan") or {}
    now = yaml.safe_load(yaml.safe_dump(plan.to_dict()))
    if saved != now:
        names = sorted(name for name in {*now, *saved} if saved.get(name) != now.get(name))
        raise RunError(
            "HS-RUN-024",
            "The plan would be another one: the settings were edited, or headstart is another version.",
            where=folder / CONFIG,
            details=[f"differs: {name}" for name in names],
            fix=f"Start a new run with its settings: headstart train DATA --config {folder / CONFIG}",
        )


@contextlib.contextmanager
def run_folder(config: TrainConfig, data: Data) -> Iterator[Path]:
    """A new folder ``output/name``, or ``output/name-2``...; removed again if the run fails before its model
    or its first checkpoint.

    Raises:
        RunError: HS-RUN-001 to -003, before any work is done.
    """

    def kept(folder: Path) -> str:
        if (folder / CHECKPOINTS).is_dir():
            return f"not trained to the end; to go on: headstart train --resume {folder}"
        return "the model is saved, but it was not measured to the end" if has_model(folder) else ""

    with new_folder(config.output, config.name or data_name(data), kept) as folder:
        yield folder


@contextlib.contextmanager
def new_folder(output: Path, name: str, kept: Callable[[Path], str]) -> Iterator[Path]:
    """A new folder ``output/name``, or ``output/name-2``..., in this process alone.

    Args:
        output: Made if it is not there, and then removed with the folder.
        name: Of the folder.
        kept: If the work fails: what is to be said of a folder that is worth keeping; "" removes it.

    Raises:
        RunError: HS-RUN-001 to -003, before any work is done.
    """
    output_is_new = not output.exists()
    folder = claim(output, name)
    try:
        with held(folder):
            yield folder
    except BaseException:
        if said := kept(folder):
            console.warn(f"{folder}: {said}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
            if output_is_new:
                with contextlib.suppress(OSError):
                    output.rmdir()
        raise


def output_in_data(output: Path, data: Data) -> tuple[str, ...]:
    """The pattern that leaves the output folder out of the pictures, where it lies inside the data folder.

    Raises:
        ConfigError: HS-CONFIG-009, it is the data folder itself.
    """
    pattern = inside(output, data)
    if pattern == "":
        raise ConfigError(
            "HS-CONFIG-009",
            "The output folder is the data folder: the runs would be taken for classes.",
            where=output,
            fix="Choose another folder with --output.",
        )
    return () if pattern is None else (pattern,)


def inside(folder: Path, data: Data) -> str | None:
    """The pattern of a folder inside the data folder; "" if it is the same, None if it lies elsewhere."""
    if not isinstance(data, str | PathLike) or is_address(data):
        return None
    root, place = Path(data).expanduser().resolve(), folder.expanduser().resolve()
    if place == root:
        return ""
    return escape(place.relative_to(root).as_posix()) if root in place.parents else None


def claim(output: Path, name: str) -> Path:
    """Makes a folder that did not exist; safe against other processes doing the same."""
    with storage_errors(output):
        output.mkdir(parents=True, exist_ok=True)
        number = 1
        while True:
            folder = output / (name if number == 1 else f"{name}-{number}")
            try:
                folder.mkdir()
            except FileExistsError:
                number += 1
                continue
            return folder


def data_name(data: Data) -> str:
    """A name for these pictures: their folder's or file's, or ``pictures`` for a list."""
    return (source_name(data) if isinstance(data, str | PathLike) else "pictures") or "pictures"


def opened(run: Run | str | PathLike[str]) -> Path:
    """The folder of a finished run.

    Raises:
        RunError: HS-RUN-020, with the nearest name beside it.
    """
    folder = run.path if isinstance(run, Run) else Path(run)
    if not has_model(folder):
        beside = folder.parent.iterdir() if folder.parent.is_dir() else ()
        known = [path.name for path in beside if has_model(path)]
        raise RunError(
            "HS-RUN-020",
            f"There is no finished run in this folder.{nearest(folder.name, known)}",
            where=folder,
            fix=one_of_folds(folder) or "Give the folder that `headstart train` printed at its end.",
        )
    return folder


def one_of_folds(folder: Path) -> str:
    """What to do where a run is asked for and this is a cross-validation; empty where it is none."""
    if not (folder / FOLDS).is_dir():
        return ""
    return f"It holds a run of each fold: give one of them, such as {folder / FOLDS / '1'}"
