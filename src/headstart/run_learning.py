"""`headstart compare --learning-curve`: the linear probe on more and more of the training pictures.

Every picture runs through the network once; then each subset costs a logistic regression.
"""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from headstart import console
from headstart.config import WHAT, TrainConfig
from headstart.data.cache import GIGABYTE, Cache
from headstart.data.dataset import Dataset, load_dataset
from headstart.data.sources import Data, command_line, options_of
from headstart.epoch_log import as_csv
from headstart.errors import ConfigError
from headstart.evaluation.learning_curve import LearningCurve, nested_subsets, sizes_of
from headstart.run_features import head_features
from headstart.run_folder import claim, data_name, output_in_data
from headstart.run_setup import recipe_and_preprocess, source_model
from headstart.storage import write_atomic
from headstart.training.recipes import chooses_fit

if TYPE_CHECKING:
    from torch import Tensor

DEFAULT_DRAWS = 10


def learn(data: Data, config: TrainConfig, draws: int | None = None) -> Path:
    """Measures a learning curve and writes ``learning-curve.json``, ``.csv`` and ``.png``.

    Args:
        data: As for `headstart.train`.
        config: Model, input size and where the features are computed; ``seed`` is that of the draws.
        draws: How many times the subsets are drawn. Default: 10.

    Returns:
        The folder.

    Raises:
        ConfigError: HS-CONFIG-002.
        DataError: HS-EVAL-021, too few pictures; and as `headstart.data.dataset.load_dataset`.
    """
    draws = DEFAULT_DRAWS if draws is None else draws
    if draws < 2:
        raise ConfigError(
            "HS-CONFIG-002", WHAT["HS-CONFIG-002"], details=[f"draws must be 2 or more, but is {draws!r}"]
        )
    started = time.perf_counter()
    config = dataclasses.replace(config, strategy="probe")
    recipe, preprocess = recipe_and_preprocess(config)
    source = source_model(config, recipe.pretrained)
    cache = Cache(int(config.cache * GIGABYTE)) if config.cache else None
    dataset, pictures = load_dataset(
        data,
        preprocess=preprocess,
        options=options_of(config),
        exclude=(*config.exclude, *output_in_data(config.output, data)),
        selection=recipe.selection,
        workers=config.workers,
        cache=cache,
        choose_fit=chooses_fit(config, recipe),
    )
    console.say(dataset.tree())
    dataset.announce(command_line("check", data, options_of(config), config.exclude))
    train, reported = dataset.indices("train"), dataset.indices(dataset.reported_split)
    sizes = sizes_of(dataset.labels[train], len(reported))
    features = head_features(
        config, source, dataset, pictures, np.concatenate([train, reported]), cache, "features"
    )
    curve = measured(config, recipe.balance, dataset, features, sizes, draws)
    folder = claim(config.output, f"compare-{config.name or data_name(data)}")
    values = {
        "model": config.model,
        "split": dataset.reported_split,
        "fingerprint": dataset.fingerprint,
        "draws": draws,
        "seed": config.seed,
        "seconds": round(time.perf_counter() - started, 2),
        **curve.to_dict(),
    }
    text = json.dumps(values, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
    write_atomic(folder / "learning-curve.json", text)
    write_atomic(folder / "learning-curve.csv", as_csv(curve.rows()))
    try:
        from headstart.evaluation.comparison_plots import draw_learning_curve

        draw_learning_curve(curve, folder / "learning-curve.png")
    except Exception as error:  # a picture that cannot be drawn costs a warning, not the figures
        console.warn(f"learning-curve.png cannot be drawn: {error}.")
    for line in ("", *curve.lines(), "", f"{folder}: learning-curve.json, .csv, .png"):
        console.say(line)
    return folder


def measured(
    config: TrainConfig, balance: str, dataset: Dataset, features: Tensor, sizes: tuple[int, ...], draws: int
) -> LearningCurve:
    """Fits the probe on every subset, and asks it about the reported pictures.

    Args:
        config: With the seed.
        balance: What is done where classes differ in size, as in the recipe.
        dataset: The pictures.
        features: float32 [train + reported, D], in that order.
        sizes: Training pictures.
        draws: How many times they are drawn.
    """
    import torch

    from headstart.training.balance import ClassSizes, class_weights
    from headstart.training.probe import fit_probe

    train, reported = dataset.indices("train"), dataset.indices(dataset.reported_split)
    labels, groups = dataset.labels[train], dataset.groups[train]
    truth = dataset.labels[reported]
    seen, asked = features[: len(train)], features[len(train) :]
    soft = None if dataset.soft is None else dataset.targets(train)
    acts = ClassSizes.of(labels, dataset.classes).decided(balance) != "none"  # type: ignore[arg-type]
    right = np.zeros((draws, len(sizes), len(reported)))
    whole: np.ndarray | None = None  # all pictures are the same subset in every draw
    with console.progress(draws * (len(sizes) - 1) + 1, "probes", "probes") as advance:
        for draw in range(draws):
            subsets = nested_subsets(labels, groups, sizes, config.seed + draw)
            for k, ids in enumerate(subsets):
                if k == len(sizes) - 1 and whole is not None:
                    right[draw, k] = whole
                    continue
                present, own = np.unique(labels[ids], return_inverse=True)
                weights = class_weights(own, len(present))[own] if acts else None
                shares = None if soft is None or len(present) < len(dataset.classes) else soft[ids]
                probe = fit_probe(
                    seen[torch.from_numpy(ids)], own, len(present), groups[ids], weights=weights, soft=shares
                )
                answers = present[(asked @ probe.weight.T + probe.bias).argmax(1).numpy()]
                right[draw, k] = answers == truth
                if k == len(sizes) - 1:
                    whole = right[draw, k]
                advance(1)
    return LearningCurve(sizes, right)
