"""``--img-size auto``: the probe at several input sizes, before the run proper begins."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from headstart import console
from headstart.config import TrainConfig
from headstart.data.cache import Cache
from headstart.data.dataset import Dataset
from headstart.data.pictures import Pictures
from headstart.data.preprocess import Preprocess
from headstart.errors import ModelError
from headstart.model import zoo
from headstart.run_features import head_features
from headstart.run_setup import recipe_and_preprocess, source_model

if TYPE_CHECKING:
    from headstart.training.resolution import Sized

Load = Callable[[Preprocess, float], tuple[Dataset, Pictures]]
"""Pictures for a preprocessing, with a part for selection."""


def with_best_size(config: TrainConfig, load: Load, cache: Cache | None) -> TrainConfig:
    """The settings with the input size at which the linear probe answers best.

    Only training pictures take part, each answered by a probe that did not see it.

    Args:
        config: With ``img_size="auto"``.
        load: Reads the pictures.
        cache: Keeps what the run can use again.
    """
    from headstart.training.resolution import best_size, sizes_to_try

    own = zoo.preprocess(config.model).img_size
    impossible: list[int] = []

    def measure(size: int) -> Sized | None:
        try:
            return probed(config, size, load, cache)
        except ModelError as error:
            if error.code != "HS-MODEL-010" or size == own:
                raise
            impossible.append(size)
            return None

    best, found = best_size(sizes_to_try(own), measure)
    if impossible:
        console.say(f"not tried, as the network cannot take them: {', '.join(map(str, impossible))} pixels")
    if best is None:
        console.warn(f"too few pictures of a class to compare input sizes: {own} pixels, the model's own")
        return dataclasses.replace(config, img_size=own)
    losses = ", ".join(f"{sized.loss:.3f} at {sized.img_size}" for sized in found)
    seconds = sum(sized.seconds for sized in found)
    console.say(f"input size: {best} pixels; log loss of the probe out of fold: {losses} ({seconds:.0f} s)")
    return dataclasses.replace(config, img_size=best)


def probed(config: TrainConfig, size: int, load: Load, cache: Cache | None) -> Sized:
    """The probe at one size."""
    from headstart.model import ranks
    from headstart.training.balance import ClassSizes, class_weights
    from headstart.training.probe import fit_probe
    from headstart.training.resolution import Sized

    started = time.perf_counter()
    config = dataclasses.replace(config, img_size=size)
    recipe, preprocess = recipe_and_preprocess(config)
    source = source_model(config, pretrained=True)
    dataset, pictures = load(preprocess, recipe.selection)
    ids = dataset.indices("train")
    features = head_features(config, source, dataset, pictures, ids, cache, f"features at {size} pixels")
    labels = dataset.labels[ids]
    acts = ClassSizes.of(labels, dataset.classes).decided(recipe.balance) != "none"
    weights = class_weights(labels, len(dataset.classes))[labels] if acts else None
    soft = None if dataset.soft is None else dataset.targets(ids)
    probe = fit_probe(features, labels, len(dataset.classes), dataset.groups[ids], weights=weights, soft=soft)
    _, loss, accuracy = min(probe.table, key=lambda row: row[1], default=(0.0, float("nan"), float("nan")))
    loss, accuracy = ranks.agreed((loss, accuracy))
    return Sized(size, loss, accuracy, time.perf_counter() - started)
