"""What `headstart compare` trains: a variant for each of strategies, recipes, models and rates."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, get_args

from headstart.config import Rate, Strategy, TrainConfig, from_mapping, to_mapping
from headstart.errors import ConfigError, nearest
from headstart.model import zoo
from headstart.training.recipes import RECIPES, resolve_recipe

STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
IN_WORDS = {"finetune": "fine-tuning", "probe": "the probe", "scratch": "training from scratch"}
NOT_FOR = {
    "probe": (
        "epochs", "lr", "freeze", "head_from", "head_init", "batch_size", "augment", "selection", "compile",
    ),
    "scratch": ("freeze", "head_from", "weights"),
}  # fmt: skip
"""Common settings that mean nothing to a strategy: it is trained without them."""

Words = Sequence[str] | str | None


@dataclass(frozen=True)
class Lists:
    """What is compared.

    Attributes:
        strategies: Of finetune, probe, scratch.
        recipes: Names.
        models: Names of source models.
        rates: Learning rates, None for the recipe's; a probe has none.
    """

    strategies: tuple[str, ...]
    recipes: tuple[str, ...]
    models: tuple[str, ...]
    rates: tuple[Rate | None, ...]


@dataclass(frozen=True)
class Variant:
    """One way to train.

    Attributes:
        name: Tells it from the others, in tables: ``finetune``, ``lr 0.001``.
        words: The same in a sentence: ``fine-tuning``.
        config: Its settings, for any seed.
        dropped: Common settings that it does not have.
    """

    name: str
    words: str
    config: TrainConfig
    dropped: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """Its name as a folder's."""
        return re.sub(r"[^\w.=+-]+", "-", self.name)


def lists_of(strategies: Words, recipes: Words, models: Words, lr: Any, config: TrainConfig) -> Lists:
    """The lists as given, by words with commas or one by one; what is not given is the common setting.

    Without any list of two or more the three strategies are compared.

    Raises:
        ConfigError: HS-CONFIG-045, with everything that is wrong in any of the lists.
    """
    faults: list[str] = []
    found = {
        "strategies": _words(strategies),
        "recipes": _words(recipes),
        "models": _words(models),
        "lr": _words(lr),
    }
    for name, known in (("strategies", STRATEGIES), ("recipes", tuple(RECIPES))):
        faults += [
            f"--{name}: there is no {word!r}.{nearest(word, known)} Choose from {', '.join(known)}"
            for word in found[name]
            if word not in known
        ]
    faults += [
        f"--models: there is no {word!r}: see `headstart models {word}`"
        for word in found["models"]
        if not zoo.is_model(word)
    ]
    rates = [_rate(word) for word in found["lr"]]
    faults += [
        f"--lr: {word!r} is no rate above 0, nor find"
        for word, rate in zip(found["lr"], rates, strict=True)
        if rate is None
    ]
    for name, words in found.items():
        twice = sorted({word for word in words if words.count(word) > 1})
        faults += [f"--{name}: {word!r} stands there twice" for word in twice]
    several = any(len(words) > 1 for words in found.values())
    chosen: tuple[str, ...] = tuple(found["strategies"])
    if not chosen:
        chosen = (config.strategy,) if several else STRATEGIES
    if set(chosen) == {"probe"} and found["lr"]:
        faults.append("--lr: a probe has no learning rate")
    if len(found["models"]) > 1 and config.weights is not None:
        faults.append("--weights is the file of one model, and --models names several")
    lists = Lists(
        chosen,
        tuple(found["recipes"]) or (config.recipe,),
        tuple(found["models"]) or (config.model,),
        tuple(rates) or (config.lr,),
    )
    if not faults and len(_cells(lists)) < 2:
        faults.append("there is one variant only: name two or more strategies, recipes, models or rates")
    if faults:
        raise ConfigError(
            "HS-CONFIG-045",
            "These lists cannot be compared.",
            details=faults,
            fix="See `headstart compare --help`.",
        )
    return lists


def _words(given: Any) -> list[str]:
    if given is None:
        return []
    if isinstance(given, str | int | float):
        given = str(given).split(",")
    return [word for word in (str(item).strip() for item in given) if word]


def _rate(word: str) -> Rate | None:
    if word == "find":
        return "find"
    try:
        rate = float(word)
    except ValueError:
        return None
    return rate if 0 < rate < float("inf") else None


def _cells(lists: Lists) -> list[tuple[str, str, str, Rate | None]]:
    """Strategy, recipe, model and rate of each variant; a probe stands there once for all rates."""
    every = product(lists.models, lists.recipes, lists.strategies, lists.rates)
    cells = [
        (strategy, recipe, model, None if strategy == "probe" else rate)
        for model, recipe, strategy, rate in every
    ]
    return list(dict.fromkeys(cells))


def variants_of(lists: Lists, config: TrainConfig) -> tuple[Variant, ...]:
    """The variants, in the order of the lists, with what they have in common.

    Without a budget all that train do so for the same number of epochs: the least that one of their recipes
    has, unless it is given. So they see the same number of pictures.

    Raises:
        ConfigError: HS-CONFIG-046, settings that some of them cannot have.
    """
    faults: list[str] = []
    found = [_variant(cell, lists, config, faults) for cell in _cells(lists)]
    own = [resolve_recipe(one.config).epochs for one in found if not faults and trains(one)]
    if own and config.epochs is None and config.budget is None:
        found = [
            dataclasses.replace(one, config=dataclasses.replace(one.config, epochs=min(own)))
            if trains(one)
            else one
            for one in found
        ]
    if faults:
        raise ConfigError(
            "HS-CONFIG-046",
            "These settings do not go with everything that is compared.",
            details=faults,
            fix="Leave out what is named, or the variants that it is named for.",
        )
    return tuple(found)


def trains(variant: Variant) -> bool:
    """Whether it has epochs."""
    return variant.config.strategy != "probe"


def _variant(
    cell: tuple[str, str, str, Rate | None], lists: Lists, config: TrainConfig, faults: list[str]
) -> Variant:
    strategy, recipe, model, rate = cell
    parts = [
        (strategy, IN_WORDS[strategy], len(lists.strategies) > 1),
        (recipe, f"recipe {recipe}", len(lists.recipes) > 1),
        (model, model, len(lists.models) > 1),
        (f"lr {rate}", f"learning rate {rate}", len(lists.rates) > 1 and strategy != "probe"),
    ]
    name = ", ".join(word for word, _, told in parts if told) or strategy
    words = ", ".join(word for _, word, told in parts if told) or IN_WORDS[strategy]
    common = to_mapping(config)
    defaults = to_mapping(TrainConfig())
    dropped = tuple(
        field for field in NOT_FOR.get(strategy, ()) if field != "lr" and common[field] != defaults[field]
    )
    if strategy == "scratch" and common["head_init"] == "probe":  # as the config.yaml of a run may say
        dropped = (*dropped, "head_init")
    values = {**common, **{field: defaults[field] for field in dropped}}
    values |= {"strategy": strategy, "recipe": recipe, "model": model, "lr": rate}
    whole = from_mapping(values)
    try:
        resolve_recipe(whole)
    except ConfigError as error:
        faults += [f"{name}: {detail}" for detail in error.details or (error.what,)]
    return Variant(name, words, whole, dropped)
