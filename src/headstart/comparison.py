"""What a comparison was asked for, and what it found: ``compare.yaml``, the table, JSON and the curves."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from headstart import console
from headstart.config import TrainConfig, to_mapping
from headstart.data.sources import Data
from headstart.epoch_log import as_csv
from headstart.errors import RunError
from headstart.evaluation.compare import on_common_pictures
from headstart.evaluation.repeated import Repeated, repeated
from headstart.metrics import wilson_interval
from headstart.run_evaluation import identified, reported_split
from headstart.run_folder import CONFIG, Run, data_text
from headstart.run_folds import has_ended
from headstart.storage import write_atomic
from headstart.variants import Lists, Variant, trains
from headstart.versions import versions

COMPARE = "compare.yaml"
RESULT, CELLS, CURVES = "comparison.json", "comparison.csv", "comparison.png"


@dataclass(frozen=True)
class Compared:
    """A comparison's folder.

    Attributes:
        path: In it: ``comparison.json``, ``.csv`` and ``.png``, ``compare.yaml``, ``log.txt``, and a run for
            each variant and seed; of a learning curve ``learning-curve.json``, ``.csv`` and ``.png``.
        interrupted: Whether Ctrl-C ended it before all runs had.
        file: Which of these has the figures.
    """

    path: Path
    interrupted: bool = False
    file: str = RESULT

    @cached_property
    def result(self) -> dict[str, Any]:
        """The figures: fractions 0-1, each with n and its 95 % interval."""
        loaded: dict[str, Any] = json.loads((self.path / self.file).read_text(encoding="utf-8"))
        return loaded


@dataclass(frozen=True)
class Asked:
    """What is compared.

    Attributes:
        data: As for `headstart.train`.
        config: What all variants have in common.
        lists: What they differ in.
        seeds: How many each has, from ``config.seed`` on.
        folder: Of the comparison that goes on; None for a new one.
    """

    data: Data
    config: TrainConfig
    lists: Lists
    seeds: int
    folder: Path | None = None
    variants: tuple[Variant, ...] = field(default=())

    def equal(self) -> str:
        """What the variants have the same amount of, for a person."""
        if self.config.budget is not None:
            return (
                f"the same time: {self.config.budget} for each run, the reading of pictures aside; further "
                "seeds repeat the plan of the first one"
            )
        epochs = next((one.config.epochs for one in self.variants if trains(one)), None)
        if epochs is None:
            return "the same pictures, each seen once"
        many = console.counted(epochs, "epoch", "epochs")
        return f"the same number of pictures: {many}; a probe sees each training picture once"


def write_asked(asked: Asked, folder: Path) -> None:
    """``compare.yaml``, from which a comparison goes on."""
    config = dataclasses.replace(
        asked.config, weights=asked.config.weights and asked.config.weights.absolute()
    )
    values = {
        "data": data_text(asked.data),
        "seeds": asked.seeds,
        "strategies": list(asked.lists.strategies),
        "recipes": list(asked.lists.recipes),
        "models": list(asked.lists.models),
        "lr": list(asked.lists.rates),
        "settings": to_mapping(config),
        "versions": versions(),
    }
    write_atomic(folder / COMPARE, yaml.safe_dump(values, allow_unicode=True, sort_keys=False))


def first_lines(asked: Asked, folder: Path) -> list[str]:
    """What will be done, for a person."""
    names = ", ".join(one.name for one in asked.variants)
    seeds = console.counted(asked.seeds, "seed", "seeds")
    lines = [f"compare: {names}; {seeds} each, in {folder}", f"all have {asked.equal()}"]
    lines += [
        f"{one.name}: without {', '.join('--' + name.replace('_', '-') for name in one.dropped)}"
        for one in asked.variants
        if one.dropped
    ]
    return lines


def cell(folder: Path, variant: Variant, seed: int) -> Path:
    """The folder of a run."""
    return folder / f"{variant.folder}-seed{seed}"


def seeds_of(asked: Asked) -> range:
    return range(asked.config.seed, asked.config.seed + asked.seeds)


def compared(asked: Asked, folder: Path, failed: Mapping[str, str]) -> Repeated:
    """The variants of which every seed has ended, on the pictures that all of them reported on.

    Raises:
        RunError: HS-EVAL-020, fewer than two of them have.
    """
    whole = [
        one for one in asked.variants if all(has_ended(cell(folder, one, seed)) for seed in seeds_of(asked))
    ]
    notes = [f"{name} could not be trained ({why}): its variant is left out" for name, why in failed.items()]
    if len(whole) < 2:
        raise RunError(
            "HS-EVAL-020",
            "Fewer than two variants could be trained: there is nothing to compare.",
            where=folder,
            details=[f"{name}: {why}" for name, why in failed.items()],
            fix="Mend what is named; `headstart train` with the same settings says more.",
        )
    tables = {}
    for variant in whole:
        for seed in seeds_of(asked):
            own = cell(folder, variant, seed)
            tables[own.name] = identified(Run(own).predictions.of_split(reported_split(own)), own)
    right, left_aside = on_common_pictures(tables)
    correct = {
        one.name: np.stack([right[cell(folder, one, seed).name] for seed in seeds_of(asked)]) for one in whole
    }
    told = {one.name: amounts(asked, folder, one) for one in whole}
    words = {one.name: one.words for one in whole}
    return repeated(correct, words=words, told=told, notes=[*notes, *left_aside])


def amounts(asked: Asked, folder: Path, variant: Variant) -> dict[str, float]:
    """What a variant was given: epochs and pictures seen by its first seed, mean seconds of all."""
    runs = [Run(cell(folder, variant, seed)) for seed in seeds_of(asked)]
    epochs, seen = seen_by(runs[0])
    seconds = float(np.mean([run.metrics["seconds"] for run in runs]))
    return {"epochs": epochs, "pictures_seen": seen, "seconds": seconds}


def seen_by(run: Run) -> tuple[int, int]:
    """Epochs of a run, and training pictures that it saw in them, counting each time; a probe sees each
    once."""
    plan = yaml.safe_load((run.path / CONFIG).read_text(encoding="utf-8"))["plan"]
    epochs = sum(int(row["epoch"]) > 0 for row in run.results)
    return epochs, int(plan["train_pictures"]) * max(1, epochs)


def write_result(asked: Asked, folder: Path, found: Repeated, failed: Mapping[str, str]) -> None:
    """``comparison.csv`` with a row per run, ``comparison.json``, and the curves side by side."""
    rows = [
        row_of(variant, seed, cell(folder, variant, seed), failed)
        for variant in asked.variants
        for seed in seeds_of(asked)
    ]
    write_atomic(folder / CELLS, as_csv(rows))
    values = {"equal": "time" if asked.config.budget else "pictures", **found.to_dict(), "runs": rows}
    write_atomic(folder / RESULT, json.dumps(values, ensure_ascii=False, indent=2, allow_nan=False) + "\n")
    curves = {
        variant.name: [
            Run(own).results for seed in seeds_of(asked) if has_ended(own := cell(folder, variant, seed))
        ]
        for variant in asked.variants
    }
    try:
        from headstart.evaluation.comparison_plots import draw_side_by_side

        draw_side_by_side({name: runs for name, runs in curves.items() if runs}, folder / CURVES)
    except Exception as error:  # a picture that cannot be drawn costs a warning, not the comparison
        console.warn(f"{CURVES} cannot be drawn: {error}.")


def row_of(variant: Variant, seed: int, own: Path, failed: Mapping[str, str]) -> dict[str, Any]:
    """A run in ``comparison.csv``."""
    config = variant.config
    row: dict[str, Any] = {
        "variant": variant.name,
        "strategy": config.strategy,
        "recipe": config.recipe,
        "model": config.model,
        "lr": None if config.lr is None else config.lr,
        "seed": seed,
        "run": own.name,
        "state": "failed",
    }
    figures = ("correct", "n", "accuracy", "low_95", "high_95", "epochs", "pictures_seen", "seconds")
    if not has_ended(own):
        return {**row, **dict.fromkeys(figures), "error": failed.get(own.name, "")}
    run = Run(own)
    n, accuracy = int(run.metrics["accuracy"]["n"]), run.accuracy
    correct = round(n * accuracy)
    low, high = wilson_interval(correct, n)
    seconds = round(float(run.metrics["seconds"]), 2)
    values = (correct, n, accuracy, low, high, *seen_by(run), seconds)
    return {**row, "state": "complete", **dict(zip(figures, values, strict=True)), "error": ""}
