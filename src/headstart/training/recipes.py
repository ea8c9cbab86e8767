"""Recipes: how to train, as values. A strategy and the user's settings turn one recipe into another.

`default` follows what the literature supports for small data: a linear probe first, then fine-tuning from its
head (LP-FT, Kumar et al., ICLR 2022), small steps for pretrained layers (AdamW with cosine decay, as ConvNeXt
and MAE are fine-tuned), a mild crop, no mixing of pictures, BatchNorm as pretrained, and weights between the
probe's and the last epoch's as candidates (WiSE-FT, Wortsman et al., CVPR 2022). See decision 9.

`d2l` is the chapter "Fine-Tuning" of Dive into Deep Learning (d2l.ai), to the letter: the loss is summed over
the batch, so that a step is lr x sum; plain SGD; all of train, the last epoch kept.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from headstart.config import Balance, Fit, HeadInit, Strategy, TrainConfig
from headstart.data.augment import AUGMENTATIONS
from headstart.errors import ConfigError, nearest

Trains = Literal["nothing", "head", "top", "all"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything about training that is a choice. Learning rates are per step on the reduced loss."""

    name: str
    """Its name, as in `--recipe`."""
    pretrained: bool = True
    """Start from the source model's weights; otherwise from random ones."""
    head_init: HeadInit = "probe"
    """The new output layer starts from a linear probe, from Xavier-uniform weights, or from zeros."""
    trains: Trains = "top"
    """What moves after the head is set: nothing, the head, the top quarter of the stages, or all."""
    views: int = 8
    """Random views per picture that run through the frozen part once; 0: new ones every epoch."""
    augmentation: str = "default"
    """The random views: a key of `headstart.data.augment.AUGMENTATIONS`."""
    from_originals: bool = False
    """Cut random views from the original pictures, not from the evaluation resize."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """AdamW (betas .9, .999), or SGD with `momentum`."""
    momentum: float = 0.0
    """Momentum of SGD."""
    lr: float = 3e-4
    """Learning rate of the backbone."""
    head_lr_factor: float = 1.0
    """Learning rate of the head / that of the backbone."""
    weight_decay: float = 1e-2
    """Weight decay."""
    decay_1d: bool = False
    """Whether biases and normalisation parameters decay too."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """Cosine: warm-up over the first tenth of all steps, then down to 0."""
    loss: Literal["mean", "sum"] = "mean"
    """Reduction of the cross-entropy over a batch."""
    balance: Balance = "auto"
    """What is done where classes differ in size: nothing, the same weight in the loss (of the probe too), or
    the same number of pictures in an epoch; auto: the loss above 3 to 1."""
    batch_norm: Literal["frozen", "train"] = "frozen"
    """Whether BatchNorm layers that train use batch statistics and update their running ones."""
    batch_size: int = 32
    """Pictures per step; the last batch of an epoch may be smaller."""
    epochs: int = 12
    """Passes over the training pictures."""
    interpolation: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0)
    """After a probe: shares of the last epoch's weights, with the rest from the probe, one of which is kept,
    or the probe; empty: the best epoch is kept."""
    selection: float = 0.2
    """Fraction of the training pictures that is set aside to choose with; 0: the last epoch is kept."""
    fit: Fit = "crop"
    """How a picture becomes square at evaluation; crop: unless the pictures are longer than 2 : 1."""
    resize: int | None = None
    """Evaluation resize in pixels before a crop of 224, for other input sizes in proportion; None: as the
    source model was evaluated."""

    def resize_for(self, img_size: int) -> int:
        """`resize` for this input size."""
        return round((self.resize or 0) * img_size / 224)


RECIPES = {
    "default": Recipe(name="default"),
    "d2l": Recipe(
        name="d2l",
        head_init="xavier",
        trains="all",
        views=0,
        augmentation="d2l",
        from_originals=True,
        optimizer="sgd",
        lr=5e-5,
        head_lr_factor=10.0,
        weight_decay=1e-3,
        decay_1d=True,
        schedule="constant",
        loss="sum",
        balance="none",
        batch_norm="train",
        batch_size=128,
        epochs=5,
        interpolation=(),
        selection=0.0,
        fit="squash",
        resize=256,
    ),
}

# From random weights there is no probe and nothing worth freezing; BatchNorm must learn its statistics.
SCRATCH: dict[str, dict[str, Any]] = {
    "default": {"lr": 1e-3, "weight_decay": 5e-2, "epochs": 30, "interpolation": ()},
    "d2l": {"lr": 5e-4},  # one rate for all, the chapter's
}


def named_recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        ConfigError: HS-CONFIG-005, with the nearest name.
    """
    if name not in RECIPES:
        raise ConfigError(
            "HS-CONFIG-005",
            f"There is no recipe {name!r}.{nearest(name, RECIPES)}",
            fix="Recipes: " + ", ".join(RECIPES) + ".",
        )
    return RECIPES[name]


def resolve_recipe(config: TrainConfig) -> Recipe:
    """The recipe that a configuration asks for: the named one, turned by strategy, freezing and overrides.

    Raises:
        ConfigError: HS-CONFIG-005 unknown recipe, HS-CONFIG-006 unknown augmentation,
            HS-CONFIG-007 settings that contradict each other (all at once).
    """
    recipe = for_strategy(named_recipe(config.recipe), config.strategy)
    check_consistency(config)
    if config.freeze == "head":
        recipe = dataclasses.replace(recipe, trains="head", **head_only_sgd(recipe))
    if config.epochs == 0 and config.head_init is None:
        recipe = dataclasses.replace(recipe, head_init="probe")
    elif config.head_from and config.head_init is None:
        recipe = dataclasses.replace(recipe, head_init="xavier")
    if config.augment is not None and config.augment not in AUGMENTATIONS:
        raise ConfigError(
            "HS-CONFIG-006",
            f"There is no augmentation {config.augment!r}.{nearest(config.augment, AUGMENTATIONS)}",
            fix="Augmentations: " + ", ".join(AUGMENTATIONS) + ".",
        )
    overrides: dict[str, Any] = {
        "head_init": config.head_init,
        "lr": None if config.lr == "find" else config.lr,
        "epochs": config.epochs,
        "batch_size": config.batch_size,
        "augmentation": config.augment,
        "balance": config.balance,
        "fit": config.fit,
        "views": config.views,
        "selection": config.selection,
    }
    if config.fit is not None and config.fit != recipe.fit:
        recipe = dataclasses.replace(recipe, resize=None)
    recipe = dataclasses.replace(recipe, **{k: v for k, v in overrides.items() if v is not None})
    if recipe.selection == 0:  # nothing to choose a mix with
        if config.refit == "train" and config.strategy != "probe":
            raise contradiction(
                f"--recipe {recipe.name} sets nothing aside to train on: leave out --refit train"
            )
        recipe = dataclasses.replace(recipe, interpolation=())
    return dataclasses.replace(recipe, trains="nothing") if recipe.epochs == 0 else recipe


def chooses_fit(config: TrainConfig, recipe: Recipe) -> bool:
    """Whether the pictures decide if they are cropped or padded: nobody else does.

    Args:
        config: The settings.
        recipe: What `resolve_recipe` makes of them.
    """
    return config.fit is None and recipe.fit == "crop"


def for_strategy(recipe: Recipe, strategy: Strategy) -> Recipe:
    """``recipe`` for fine-tuning (unchanged), for a probe alone, or for training from scratch."""
    if strategy == "probe":
        return dataclasses.replace(recipe, head_init="probe", trains="nothing", selection=0.0)
    if strategy == "scratch":
        return dataclasses.replace(
            recipe,
            pretrained=False,
            head_init="xavier",
            trains="all",
            views=0,
            head_lr_factor=1.0,
            batch_norm="train",
            **SCRATCH[recipe.name],
        )
    return recipe


def head_only_sgd(recipe: Recipe) -> dict[str, Any]:
    """The lesson's exercise: a new head on a frozen network, trained by SGD."""
    if recipe.optimizer == "sgd":
        return {}
    return {
        "head_init": "xavier",
        "optimizer": "sgd",
        "momentum": 0.9,
        "lr": 1e-3,  # times the factor: 0.01, as Transfer-Learning-Library's baseline
        "head_lr_factor": 10.0,
        "weight_decay": 5e-4,
    }


def check_consistency(config: TrainConfig) -> None:
    faults = []
    if config.strategy == "scratch" and config.freeze:
        faults.append("--strategy scratch has nothing to freeze: leave out --freeze")
    if config.strategy == "scratch" and config.head_from:
        faults.append("--strategy scratch knows no source classes: leave out --head-from")
    if config.strategy == "scratch" and config.weights:
        faults.append("--strategy scratch starts from random weights: leave out --weights")
    if config.strategy == "scratch" and config.head_init == "probe":
        faults.append("--strategy scratch has no features to probe: leave out --head-init probe")
    if config.strategy == "scratch" and config.img_size == "auto":
        faults.append("--strategy scratch has no probe to choose a size by: give --img-size in pixels")
    if config.head_from and config.head_init == "probe":
        faults.append("--head-from and --head-init probe both set the head: leave one out")
    if config.refit == "train" and config.strategy == "probe":
        faults.append("--strategy probe trains on all training pictures: leave out --refit train")
    if config.refit == "train" and config.selection == 0:
        faults.append("--selection 0 leaves nothing to train on once more: leave out --refit train")
    if config.epochs == 0 and config.head_from:
        faults.append("--epochs 0 leaves the probe, which sets the head: leave out --head-from")
    if config.budget and config.epochs is not None:
        faults.append("--budget chooses the epochs: leave out --budget or --epochs")
    if config.budget and config.compile:
        faults.append("--compile takes a time that --budget cannot foresee: leave out one of them")
    if config.epochs == 0 and config.compile:
        faults.append("--epochs 0 trains nothing, so there is nothing to compile: leave out --compile")
    if config.epochs == 0 and (config.strategy == "scratch" or config.head_init not in (None, "probe")):
        faults.append("--epochs 0 leaves the probe, but there is none: leave out --epochs")
    if config.epochs == 0 and config.lr == "find":
        faults.append("--epochs 0 trains nothing, so there is no rate to find: leave out --lr find")
    if config.overrides and (config.folds is not None or config.fold is not None):
        faults.append("--overrides changes no reported label, and folds report every picture: leave one out")
    if config.strategy == "probe":
        faults += [
            f"--strategy probe has no {what}: leave out {flag}"
            for flag, what, value in (
                ("--epochs", "epochs", config.epochs),
                ("--lr", "learning rate", config.lr),
                ("--freeze", "part left to freeze", config.freeze),
                ("--head-from", "other start of the head", config.head_from or None),
                ("--head-init", "other start of the head", config.head_init),
                ("--batch-size", "batches", config.batch_size),
                ("--augment", "random views", config.augment),
                ("--selection", "choice to make", config.selection or None),
                ("--compile", "part that trains to compile", config.compile or None),
            )
            if value is not None
        ]
    if faults:
        raise contradiction(*faults)


def contradiction(*faults: str) -> ConfigError:
    what, fix = "These settings contradict each other.", "Leave out what is named."
    return ConfigError("HS-CONFIG-007", what, details=faults, fix=fix)
