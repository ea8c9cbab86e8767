"""The folder of a run: claimed under a name of its own, described by ``config.yaml``, opened as `Run`."""

from __future__ import annotations

import contextlib
import csv
import json
import platform
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from glob import escape
from importlib import metadata
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from headstart import console
from headstart.config import TrainConfig, to_mapping
from headstart.errors import ConfigError, RunError, nearest
from headstart.evaluation.predictions import Predictions
from headstart.storage import storage_errors, write_atomic

if TYPE_CHECKING:
    from headstart.training.plan import Plan

Data = str | PathLike[str] | Sequence[Sequence[Any]]

MODEL_FOLDER = "model"
PACKAGES = ("headstart", "torch", "torchvision", "timm", "numpy", "pillow")


@dataclass(frozen=True)
class Run:
    """A finished run's folder.

    Attributes:
        path: The folder. In it: ``config.yaml``, ``dataset.csv``, ``results.csv``, ``metrics.json``,
            ``predictions.csv``, ``curves.png``, ``confusion.png``, ``model/``, ``log.txt``.
        interrupted: Whether Ctrl-C ended its training early.
    """

    path: Path
    interrupted: bool = False

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """``metrics.json``: fractions 0-1, each with n and its 95 % interval."""
        loaded: dict[str, Any] = json.loads((self.path / "metrics.json").read_text(encoding="utf-8"))
        return loaded

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
    values = {
        "data": str(Path(data).absolute()) if isinstance(data, str | PathLike) else "a list",
        **to_mapping(plan.config),
        "plan": plan.to_dict(),
        "versions": versions(),
    }
    write_atomic(path, yaml.safe_dump(values, allow_unicode=True, sort_keys=False))


def versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "machine": platform.machine(), "system": platform.system()}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


@contextlib.contextmanager
def run_folder(config: TrainConfig, data: Data) -> Iterator[Path]:
    """A new folder ``output/name``, or ``output/name-2``...; removed again if the run fails before its model.

    Raises:
        RunError: HS-RUN-001 to -003, before any work is done.
    """
    output_is_new = not config.output.exists()
    folder = claim(config.output, config.name or data_name(data))
    try:
        yield folder
    except BaseException:
        if (folder / MODEL_FOLDER / "model.json").exists():
            console.warn(f"{folder}: the model is saved, but it was not measured to the end")
        else:
            shutil.rmtree(folder, ignore_errors=True)
            if output_is_new:
                with contextlib.suppress(OSError):
                    config.output.rmdir()
        raise


def output_in_data(output: Path, data: Data) -> tuple[str, ...]:
    """The pattern that leaves the output folder out of the pictures, where it lies inside the data folder.

    Raises:
        ConfigError: HS-CONFIG-009, it is the data folder itself.
    """
    if not isinstance(data, str | PathLike):
        return ()
    root, place = Path(data).expanduser().resolve(), output.resolve()
    if place == root:
        raise ConfigError(
            "HS-CONFIG-009",
            "The output folder is the data folder: the runs would be taken for classes.",
            where=output,
            fix="Choose another folder with --output.",
        )
    return (escape(place.relative_to(root).as_posix()),) if root in place.parents else ()


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
    """A name for these pictures: their folder's, or ``pictures`` for a list."""
    return (Path(data).absolute().name if isinstance(data, str | PathLike) else "pictures") or "pictures"


def opened(run: Run | str | PathLike[str]) -> Path:
    """The folder of a finished run.

    Raises:
        RunError: HS-RUN-020, with the nearest name beside it.
    """
    folder = run.path if isinstance(run, Run) else Path(run)
    if not (folder / MODEL_FOLDER / "model.json").is_file():
        beside = folder.parent.iterdir() if folder.parent.is_dir() else ()
        known = [path.name for path in beside if (path / MODEL_FOLDER / "model.json").is_file()]
        raise RunError(
            "HS-RUN-020",
            f"There is no finished run in this folder.{nearest(folder.name, known)}",
            where=folder,
            fix="Give the folder that `headstart train` printed at its end.",
        )
    return folder
