"""Strategy, recipe and single settings make one recipe; contradictions are told all at once."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest

from headstart.config import TrainConfig
from headstart.errors import ConfigError
from headstart.training.recipes import RECIPES, Recipe, named_recipe, resolve_recipe


def resolved(**fields: Any) -> Recipe:
    return resolve_recipe(TrainConfig(**fields))


def differences(one: Recipe, other: Recipe) -> dict[str, Any]:
    """What ``other`` changes."""
    before = dataclasses.asdict(one)
    return {k: v for k, v in dataclasses.asdict(other).items() if v != before[k]}


def test_nothing_asked_is_the_default_recipe() -> None:
    assert resolved() == RECIPES["default"]
    assert RECIPES["default"].head_init == "probe"
    assert RECIPES["default"].selection > 0
    assert all(name == recipe.name for name, recipe in RECIPES.items())


def test_d2l_is_the_chapter_to_the_letter() -> None:
    """Dive into Deep Learning, "Fine-Tuning": batch 128, 5 epochs, 5e-5 on a summed loss, the head x 10."""
    assert dataclasses.asdict(resolved(recipe="d2l")) == {
        "name": "d2l",
        "pretrained": True,
        "head_init": "xavier",
        "trains": "all",
        "views": 0,
        "augmentation": "d2l",
        "from_originals": True,
        "optimizer": "sgd",
        "momentum": 0.0,
        "lr": 5e-5,
        "head_lr_factor": 10.0,
        "weight_decay": 1e-3,
        "decay_1d": True,
        "schedule": "constant",
        "loss": "sum",
        "balance": "none",
        "batch_norm": "train",
        "batch_size": 128,
        "epochs": 5,
        "interpolation": (),
        "selection": 0.0,
        "fit": "squash",
        "resize": 256,
    }


def test_d2l_from_scratch_has_one_rate_of_5e_4() -> None:
    recipe = resolved(recipe="d2l", strategy="scratch")
    assert differences(resolved(recipe="d2l"), recipe) == {
        "pretrained": False,
        "head_lr_factor": 1.0,
        "lr": 5e-4,
    }


def test_scratch_by_default_has_nothing_pretrained() -> None:
    recipe = resolved(strategy="scratch")
    assert not recipe.pretrained
    assert (recipe.head_init, recipe.trains, recipe.views) == ("xavier", "all", 0)
    assert recipe.batch_norm == "train"
    assert recipe.head_lr_factor == 1.0


@pytest.mark.parametrize("name", RECIPES)
def test_a_probe_moves_nothing_and_selects_nothing(name: str) -> None:
    recipe = resolved(recipe=name, strategy="probe")
    assert recipe.pretrained
    assert (recipe.head_init, recipe.trains, recipe.selection) == ("probe", "nothing", 0.0)


def test_frozen_backbone_is_the_lessons_exercise() -> None:
    recipe = resolved(freeze="head")
    assert (recipe.trains, recipe.head_init, recipe.optimizer) == ("head", "xavier", "sgd")
    assert recipe.momentum > 0
    # the lesson's recipe is SGD already, and keeps its numbers
    assert differences(resolved(recipe="d2l"), resolved(recipe="d2l", freeze="head")) == {"trains": "head"}


def test_without_a_selection_part_there_is_no_mix_to_choose() -> None:
    recipe = resolved(selection=0)
    assert differences(RECIPES["default"], recipe) == {"selection": 0, "interpolation": ()}
    assert resolved(selection=0.1) == dataclasses.replace(RECIPES["default"], selection=0.1)
    assert resolved(recipe="d2l", selection=0.2).selection == 0.2


def test_a_selection_part_that_nothing_needs_or_that_is_missing() -> None:
    with pytest.raises(ConfigError) as caught:
        resolved(selection=0, refit="train")
    assert list(caught.value.details) == [
        "--selection 0 leaves nothing to train on once more: leave out --refit train"
    ]
    with pytest.raises(ConfigError) as caught:
        resolved(selection=0.2, strategy="probe")
    assert list(caught.value.details) == ["--strategy probe has no choice to make: leave out --selection"]
    assert resolved(selection=0, strategy="probe").trains == "nothing"  # as a saved run has it


@pytest.mark.parametrize("fields", [{"recipe": "d2l"}, {"freeze": "head"}, {}])
def test_no_epochs_leave_the_probe(fields: dict[str, Any]) -> None:
    recipe = resolved(epochs=0, **fields)
    assert (recipe.head_init, recipe.trains) == ("probe", "nothing")
    with pytest.raises(ConfigError) as caught:
        resolved(epochs=0, head_from=("a=1",))
    assert list(caught.value.details) == [
        "--epochs 0 leaves the probe, which sets the head: leave out --head-from"
    ]


def test_a_recipe_that_sets_nothing_aside_has_nothing_to_refit_on() -> None:
    with pytest.raises(ConfigError) as caught:
        resolved(recipe="d2l", refit="train")
    assert list(caught.value.details) == [
        "--recipe d2l sets nothing aside to train on: leave out --refit train"
    ]


def test_a_stage_to_freeze_leaves_the_recipe() -> None:
    assert resolved(freeze="stage3") == RECIPES["default"]


OVERRIDES: list[tuple[dict[str, Any], str, Any]] = [
    ({"epochs": 3}, "epochs", 3),
    ({"lr": 0.5}, "lr", 0.5),
    ({"batch_size": 7}, "batch_size", 7),
    ({"augment": "dihedral"}, "augmentation", "dihedral"),
    ({"head_init": "zeros"}, "head_init", "zeros"),
    ({"head_from": ("a=1",)}, "head_init", "xavier"),
]


@pytest.mark.parametrize(("fields", "name", "value"), OVERRIDES)
@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("strategy", ["finetune", "scratch"])
def test_single_settings_win_over_recipe_and_strategy(
    recipe: str, strategy: str, fields: dict[str, Any], name: str, value: Any
) -> None:
    if strategy == "scratch" and "head_from" in fields:
        pytest.skip("from scratch there is no source class")
    plain = resolved(recipe=recipe, strategy=strategy)
    turned = resolved(recipe=recipe, strategy=strategy, **fields)
    assert getattr(turned, name) == value
    assert set(differences(plain, turned)) <= {name}


def test_the_resize_follows_the_input_size_and_the_way_to_fit() -> None:
    lesson = resolved(recipe="d2l")
    assert [lesson.resize_for(size) for size in (64, 112, 224, 448)] == [73, 128, 256, 512]
    assert resolved(recipe="d2l", fit="squash").resize == 256
    assert resolved(recipe="d2l", fit="crop").resize is None
    assert resolved(recipe="d2l", fit="pad").fit == "pad"


def test_what_was_resolved_resolves_to_itself() -> None:
    """A saved configuration that holds every resolved value gives the same recipe again."""
    choices = itertools.product(RECIPES, ("finetune", "scratch", "probe"), (None, "head", "stage2"))
    for name, strategy, freeze in choices:
        if strategy != "finetune" and freeze:
            continue
        config = TrainConfig(recipe=name, strategy=strategy, freeze=freeze)  # type: ignore[arg-type]
        recipe = resolve_recipe(config)
        probe = strategy == "probe"
        saved = dataclasses.replace(
            config,
            head_init=None if probe else recipe.head_init,
            lr=None if probe else recipe.lr,
            epochs=None if probe else recipe.epochs,
            batch_size=None if probe else recipe.batch_size,
            augment=None if probe else recipe.augmentation,
            fit=recipe.fit,
            img_size=96,
        )
        assert resolve_recipe(saved) == recipe, (name, strategy, freeze)


def test_an_unknown_recipe_gets_the_nearest() -> None:
    with pytest.raises(ConfigError) as caught:
        named_recipe("d2")
    assert str(caught.value) == (
        "HS-CONFIG-005: There is no recipe 'd2'. Did you mean 'd2l'?\n"
        f"  to do: Recipes: {', '.join(RECIPES)}."
    )


def test_an_unknown_augmentation_gets_the_nearest() -> None:
    with pytest.raises(ConfigError) as caught:
        resolved(augment="dihedrl")
    assert caught.value.code == "HS-CONFIG-006"
    assert caught.value.what == "There is no augmentation 'dihedrl'. Did you mean 'dihedral'?"
    assert caught.value.fix == "Augmentations: none, flip, crop, default, d2l, dihedral, rotations, mirrors."


@pytest.mark.parametrize(
    ("fields", "faults"),
    [
        (
            {"strategy": "scratch", "freeze": "head", "head_from": ("a=1",), "weights": "w"},
            (
                "--strategy scratch has nothing to freeze: leave out --freeze",
                "--strategy scratch knows no source classes: leave out --head-from",
                "--strategy scratch starts from random weights: leave out --weights",
            ),
        ),
        (
            {
                "strategy": "probe",
                "epochs": 3,
                "lr": 1.0,
                "freeze": "2",
                "head_from": ("a=1",),
                "head_init": "zeros",
                "batch_size": 8,
                "augment": "flip",
            },
            (
                "--strategy probe has no epochs: leave out --epochs",
                "--strategy probe has no learning rate: leave out --lr",
                "--strategy probe has no part left to freeze: leave out --freeze",
                "--strategy probe has no other start of the head: leave out --head-from",
                "--strategy probe has no other start of the head: leave out --head-init",
                "--strategy probe has no batches: leave out --batch-size",
                "--strategy probe has no random views: leave out --augment",
            ),
        ),
        (
            {"head_from": ("a=1",), "head_init": "probe"},
            ("--head-from and --head-init probe both set the head: leave one out",),
        ),
    ],
)
def test_contradictions_all_at_once(fields: dict[str, Any], faults: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        resolved(**fields)
    assert caught.value.code == "HS-CONFIG-007"
    assert caught.value.what == "These settings contradict each other."
    assert caught.value.details == faults
