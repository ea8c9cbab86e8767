"""What a run is made of beside its pictures: settings, recipe, preprocessing, source and target model."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from headstart.config import DEFAULT_MODEL, TrainConfig, from_mapping, to_mapping
from headstart.data.preprocess import Preprocess
from headstart.errors import ConfigError, MissingExtraError
from headstart.launch import place
from headstart.model import zoo
from headstart.notation import crop_of, seconds_of
from headstart.tracking import PACKAGES

if TYPE_CHECKING:
    from headstart.model.classifier import Classifier
    from headstart.training.budget import Budget
    from headstart.training.recipes import Recipe


def settings(config: TrainConfig | None, fields: Mapping[str, Any]) -> TrainConfig:
    """A configuration, with single settings laid over it."""
    if config is None:
        return from_mapping(fields)
    return from_mapping({**to_mapping(config), **fields}) if fields else config


def budget_of(config: TrainConfig, started: float) -> Budget | None:
    """The time that the run may take, from ``started`` on (`time.perf_counter`)."""
    if config.budget is None:
        return None
    if place().size > 1:
        raise ConfigError(
            "HS-CONFIG-007",
            "These settings contradict each other.",
            details=["--budget is measured in one process, and there are several: give --epochs"],
            fix="Leave out --budget.",
        )
    from headstart.training.budget import Budget

    seconds = seconds_of(config.budget)
    assert seconds is not None  # checked by the settings
    return Budget(config.budget, seconds, started)


def recipe_and_preprocess(config: TrainConfig) -> tuple[Recipe, Preprocess]:
    """How a configuration trains, and how it turns pictures into the network's input."""
    from headstart.training.recipes import resolve_recipe

    recipe = resolve_recipe(config)
    preprocess = zoo.preprocess(config.model, config.pixels, fit=recipe.fit)
    if recipe.resize is not None:
        preprocess = dataclasses.replace(preprocess, resize=recipe.resize_for(preprocess.img_size))
    if config.crop is not None:
        preprocess = dataclasses.replace(preprocess, crop=crop_of(config.crop))
    return recipe, preprocess


def require_training_packages(config: TrainConfig) -> None:
    """Says the pip line where the extra ``train`` is not installed, or what ``track`` needs.

    Raises:
        MissingExtraError: HS-INSTALL-001.
    """
    from importlib.util import find_spec

    if any(find_spec(name) is None for name in ("torch", "torchvision", "timm", "matplotlib")):
        raise MissingExtraError("train", "Training")
    if config.track is not None and find_spec(PACKAGES[config.track]) is None:
        raise MissingExtraError("track", f"--track {config.track}")


def load_in_background(config: TrainConfig, pretrained: bool) -> Callable[[], Classifier]:
    """Begins with the source model, and all that training imports, while pictures are being decoded.

    Returns:
        Waits, and gives what `source_model` gives; raises what it raises.
    """
    found: list[Classifier] = []
    raised: list[BaseException] = []

    def work() -> None:
        try:
            found.append(source_model(config, pretrained))
            for name in ("training.planning", "training.turned", "training.train", "model.bundle"):
                import_module(f"headstart.{name}")
        except BaseException as error:
            raised.append(error)

    def result() -> Classifier:
        thread.join()
        if raised:
            raise raised[0]
        return found[0]

    # A daemon: an error in the pictures need not wait for it.
    thread = threading.Thread(target=work, daemon=True, name="source model")
    thread.start()
    return result


def asks_the_network(config: TrainConfig) -> bool:
    """Whether there are settings that only the network or torch can find wrong.

    That is done before the first picture is read. Otherwise torch is imported while pictures are decoded.
    """
    return config.model != DEFAULT_MODEL or any((config.weights, config.freeze, config.device))


def source_model(config: TrainConfig, pretrained: bool) -> Classifier:
    """The pretrained network with the head of its own classes.

    Raises:
        ModelError: as `headstart.model.zoo.create`; HS-MODEL-008, no such stage to freeze.
        ConfigError: HS-CONFIG-008, no such device.
    """
    from headstart.model.precision import choose_device

    choose_device(config.device)
    source = zoo.create(config.model, weights=config.weights, pretrained=pretrained, img_size=config.pixels)
    if config.freeze is not None:
        source.cut_name(config.freeze)
    return source


def target_model(
    config: TrainConfig, recipe: Recipe, source: Classifier, classes: tuple[str, ...]
) -> Classifier:
    """The source model with a new head for these classes."""
    from headstart.model.transfer import reinitialise, transfer

    model = transfer(
        source,
        classes,
        head_init="zeros" if recipe.head_init == "zeros" else "xavier",
        head_from=config.head_from,
        seed=config.seed,
    )
    if not recipe.pretrained:
        reinitialise(model, config.seed)
    return model
