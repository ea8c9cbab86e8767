"""What `headstart tune` may change, and how far.

Fields of the configuration alone, so that what is found is plain settings. Each space lies around what the
recipe would do by itself, which is always a point of it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Any

from headstart.config import TrainConfig
from headstart.data.augment import AUGMENTATIONS
from headstart.errors import ConfigError, nearest
from headstart.model.classifier import Classifier
from headstart.training.plan import Plan
from headstart.training.recipes import Recipe, contradiction

DEFAULT_FIELDS = ("lr", "epochs", "freeze", "augment", "batch_size")
FIELDS = (*DEFAULT_FIELDS, "img_size")
"""Larger pictures cost time in proportion to their area: their size is searched on request only."""

RATE_FACTOR = 10.0
BATCH_FACTOR = 4
SIZE_FACTORS = (0.7, 1.0, 1.3)  # 160, 224 and 288 pixels
SIZE_STEP = 32  # pixels; networks halve their input five times


@dataclass(frozen=True)
class Rate:
    """Any number from ``low`` to ``high``, all magnitudes equally likely."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Whole:
    """Any whole number from ``low`` to ``high``."""

    low: int
    high: int

    def __str__(self) -> str:
        return f"{self.low} to {self.high}"


@dataclass(frozen=True)
class OneOf:
    """One of some values."""

    values: tuple[str | int, ...]

    def __str__(self) -> str:
        return ", ".join(map(str, self.values))


Space = dict[str, Rate | Whole | OneOf]


def searched_fields(fields: Sequence[str] | str | None, config: TrainConfig) -> tuple[str, ...]:
    """The fields to search: those that were asked for, or all usual ones that are not given.

    Args:
        fields: Names, or one text with commas; None: `DEFAULT_FIELDS` without those that ``config`` gives.
        config: The settings that hold for all trials.

    Raises:
        ConfigError: HS-CONFIG-012, no such field (all of them, with the nearest names); HS-CONFIG-007,
            a field is to be searched that is given, or that the strategy does not have.
    """
    given = [name for name in FIELDS if getattr(config, name) is not None]
    inapplicable = ["freeze"] if config.strategy == "scratch" else []
    if fields is None:
        found = tuple(name for name in DEFAULT_FIELDS if name not in (*given, *inapplicable))
        if not found:
            raise ConfigError(
                "HS-CONFIG-007",
                "These settings contradict each other.",
                details=[f"{', '.join(map(flag, given))} are given: nothing is left to search"],
                fix="Leave out those that are to be searched.",
            )
        return found
    names = fields.replace(" ", "").split(",") if isinstance(fields, str) else fields
    wanted = tuple(dict.fromkeys(name.replace("-", "_") for name in names if name))
    unknown = [f"no such field: {name!r}.{nearest(name, FIELDS)}" for name in wanted if name not in FIELDS]
    if unknown or not wanted:
        raise ConfigError(
            "HS-CONFIG-012",
            "There is no such field to search.",
            details=unknown,
            fix=f"Fields: {', '.join(FIELDS)}.",
        )
    faults = [
        f"{flag(name)} {getattr(config, name)} is given, and --fields asks to search {name}: leave one out"
        for name in wanted
        if name in given
    ]
    faults += [
        f"--strategy {config.strategy} has nothing to freeze: leave {name} out of --fields"
        for name in wanted
        if name in inapplicable
    ]
    if faults:
        raise contradiction(*faults)
    return wanted


def flag(name: str) -> str:
    """A field as it is written on the command line."""
    return f"--{name.replace('_', '-')}"


def check_selects(recipe: Recipe, config: TrainConfig) -> None:
    """The search needs pictures to choose on that are not the reported ones.

    Raises:
        ConfigError: HS-CONFIG-013.
    """
    if recipe.selection == 0:
        why = f"--recipe {config.recipe} trains on all training pictures and sets none aside"
        fix = "Take --recipe default."
        if config.strategy == "probe":
            why = "--strategy probe trains on all training pictures, and chooses its one strength itself"
            fix = "Leave out --strategy probe."
        elif config.selection == 0:
            why, fix = "--selection 0 sets no training pictures aside", "Leave out --selection 0."
        raise nothing_to_choose_on(why, fix)


def nothing_to_choose_on(why: str, fix: str) -> ConfigError:
    """Trials cannot be told apart: the reported pictures must not choose."""
    return ConfigError(
        "HS-CONFIG-013",
        "There are no pictures to choose settings on: the reported ones must not.",
        details=[why],
        fix=fix,
    )


def search_space(
    fields: Sequence[str], plan: Plan, model: Classifier, harmful: Set[int] = frozenset()
) -> Space:
    """The space of each field, around the plan of the settings that were given.

    ``freeze`` is left out where the network has nothing to choose from, and random views that show one of the
    ``harmful`` symmetries.
    """
    recipe = plan.recipe
    spaces: Space = {}
    for name in fields:
        match name:
            case "lr":
                spaces[name] = Rate(recipe.lr / RATE_FACTOR, recipe.lr * RATE_FACTOR)
            case "epochs":
                spaces[name] = Whole(max(1, recipe.epochs // 3), 2 * recipe.epochs)
            case "freeze":
                stages = later_stages(model)
                if plan.cut in stages and len(stages) > 1:
                    spaces[name] = OneOf(stages)
            case "augment":
                harmless = (name for name, views in AUGMENTATIONS.items() if not views.turns & harmful)
                spaces[name] = OneOf(tuple(harmless))
            case "batch_size":
                spaces[name] = OneOf(batch_sizes(recipe.batch_size, plan.train_pictures))
            case "img_size":
                spaces[name] = OneOf(img_sizes(model.img_size))
    return spaces


def later_stages(model: Classifier) -> tuple[str, ...]:
    """Where the upper half of the network can be cut, at four places at most; the default's is one."""
    stages = model.stages or ()
    counts = sorted({max(1, len(stages) * eighths // 8) for eighths in (1, 2, 3, 4)})
    return tuple(stages[-count].name for count in counts if count < len(stages))


def batch_sizes(default: int, pictures: int) -> tuple[int, ...]:
    """Powers of two around the default, of which the training part holds at least one batch."""
    powers = [2**k for k in range(12) if default / BATCH_FACTOR <= 2**k <= default * BATCH_FACTOR]
    return tuple(sorted({default, *(power for power in powers if power <= pictures)}))


def img_sizes(default: int) -> tuple[int, ...]:
    """The default, and sizes of about half and one and a half times its area."""
    around = {max(SIZE_STEP, round(default * factor / SIZE_STEP) * SIZE_STEP) for factor in SIZE_FACTORS}
    return tuple(sorted({default, *(size for size in around if abs(size - default) >= SIZE_STEP / 2)}))


def defaults(space: Space, plan: Plan) -> dict[str, Any]:
    """The point of the space at which nothing is changed."""
    values = {
        "lr": plan.recipe.lr,
        "epochs": plan.recipe.epochs,
        "freeze": plan.cut,
        "augment": plan.recipe.augmentation,
        "batch_size": plan.recipe.batch_size,
        "img_size": plan.config.img_size,
    }
    return {name: values[name] for name in space}


def combinations(space: Space) -> list[dict[str, Any]] | None:
    """All points of the space; None where it has infinitely many."""
    axes: list[Sequence[Any]] = []
    for one in space.values():
        if isinstance(one, Rate):
            return None
        axes.append(range(one.low, one.high + 1) if isinstance(one, Whole) else one.values)
    return [dict(zip(space, point, strict=True)) for point in itertools.product(*axes)]


def rounded(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings as a person would write them: learning rates with three digits."""
    return {
        name: float(f"{value:.3g}") if isinstance(value, float) and math.isfinite(value) else value
        for name, value in settings.items()
    }
