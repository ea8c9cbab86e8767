"""What is compared: lists in, variants out."""

from __future__ import annotations

from itertools import combinations

import pytest

from headstart.config import TrainConfig
from headstart.errors import ConfigError
from headstart.training.recipes import resolve_recipe
from headstart.variants import NOT_FOR, lists_of, variants_of


def variants(strategies=None, recipes=None, models=None, lr=None, **common):
    config = TrainConfig(**common)
    return variants_of(lists_of(strategies, recipes, models, lr, config), config)


def names(*lists, **common) -> list[str]:
    return [one.name for one in variants(*lists, **common)]


def test_the_three_strategies_are_the_default() -> None:
    found = variants()
    assert [one.name for one in found] == ["finetune", "probe", "scratch"]
    assert [one.words for one in found] == ["fine-tuning", "the probe", "training from scratch"]
    assert [one.config.strategy for one in found] == ["finetune", "probe", "scratch"]


def test_beside_another_list_fine_tuning_is_compared() -> None:
    """Exercise 1 of the lesson: keep raising the learning rate."""
    found = variants(None, None, None, "5e-5,5e-4,find", recipe="d2l")
    assert [one.name for one in found] == ["lr 5e-05", "lr 0.0005", "lr find"]
    assert [one.config.lr for one in found] == [5e-5, 5e-4, "find"]
    assert {one.config.strategy for one in found} == {"finetune"}
    assert [one.folder for one in found] == ["lr-5e-05", "lr-0.0005", "lr-find"]


def test_exercise_2_tunes_both_models() -> None:
    found = names("finetune,scratch", "d2l", None, [1e-4, 1e-3])
    assert found == ["finetune, lr 0.0001", "finetune, lr 0.001", "scratch, lr 0.0001", "scratch, lr 0.001"]


def test_a_probe_has_no_rate_and_stands_there_once() -> None:
    found = variants(("finetune", "probe"), None, None, (1e-4, 1e-3))
    assert [(one.name, one.config.lr) for one in found] == [
        ("finetune, lr 0.0001", 1e-4),
        ("finetune, lr 0.001", 1e-3),
        ("probe", None),
    ]


def test_models_and_recipes_multiply_and_folders_differ() -> None:
    found = variants("finetune,probe", "default,d2l", "efficientnet-lite0,torchvision/resnet18")
    assert len({one.folder for one in found}) == len(found) == 8
    assert "/" not in "".join(one.folder for one in found)


def test_all_that_train_see_the_pictures_as_often() -> None:
    assert [one.config.epochs for one in variants()] == [12, None, 12]
    assert resolve_recipe(variants()[2].config).epochs == 12  # 30 by its own recipe
    assert [one.config.epochs for one in variants(epochs=3)] == [3, None, 3]
    assert {one.config.epochs for one in variants(None, "default,d2l")} == {5}


def test_with_a_budget_the_time_is_the_same() -> None:
    assert {(one.config.epochs, one.config.budget) for one in variants(budget="1m")} == {(None, "1m")}


def test_settings_that_a_strategy_does_not_have_are_left_out_and_named() -> None:
    finetune, probe, scratch = variants(freeze="stage5", batch_size=8)
    assert (finetune.config.freeze, finetune.dropped) == ("stage5", ())
    assert (probe.config.freeze, probe.config.batch_size) == (None, None)
    assert probe.dropped == ("freeze", "batch_size")
    assert scratch.dropped == ("freeze",)


def test_a_probe_as_the_start_of_the_head_is_not_for_scratch() -> None:
    finetune, _, scratch = variants(head_init="probe")
    assert (finetune.config.head_init, scratch.config.head_init) == ("probe", None)
    assert scratch.dropped == ("head_init",)
    assert variants(head_init="xavier")[2].config.head_init == "xavier"


def test_every_setting_that_is_left_out_would_be_refused() -> None:
    values = {
        "epochs": 2, "lr": 1e-3, "freeze": "stage5", "head_from": ("a=1",), "head_init": "xavier",
        "batch_size": 8, "augment": "flip", "selection": 0.1, "compile": True, "weights": "w.safetensors",
    }  # fmt: skip
    for strategy, fields in NOT_FOR.items():
        for field in fields:
            with pytest.raises(ConfigError) as raised:
                resolve_recipe(TrainConfig(strategy=strategy, **{field: values[field]}))
            assert raised.value.code == "HS-CONFIG-007"


@pytest.mark.parametrize("two", list(combinations(("freeze", "batch_size", "augment", "selection"), 2)))
def test_common_settings_never_stop_the_default(two: tuple[str, str]) -> None:
    values = {"freeze": "stage5", "batch_size": 8, "augment": "flip", "selection": 0.1}
    assert len(variants(**{name: values[name] for name in two})) == 3


def test_all_that_is_wrong_in_the_lists_is_named_at_once() -> None:
    with pytest.raises(ConfigError) as raised:
        lists_of("finetune,prob", "defualt", "efficientnet-lite00", "0.1,-1,x,0.1", TrainConfig())
    error = raised.value
    assert (error.code, error.what) == ("HS-CONFIG-045", "These lists cannot be compared.")
    assert error.fix == "See `headstart compare --help`."
    assert error.details == (
        "--strategies: there is no 'prob'. Did you mean 'probe'? Choose from finetune, probe, scratch",
        "--recipes: there is no 'defualt'. Did you mean 'default'? Choose from default, d2l",
        "--models: there is no 'efficientnet-lite00': see `headstart models efficientnet-lite00`",
        "--lr: '-1' is no rate above 0, nor find",
        "--lr: 'x' is no rate above 0, nor find",
        "--lr: '0.1' stands there twice",
    )


@pytest.mark.parametrize(
    ("lists", "common", "detail"),
    [
        (("probe", None, None, None), {}, "there is one variant only"),
        (("probe", None, None, "1e-3,1e-2"), {}, "--lr: a probe has no learning rate"),
        ((None, None, "efficientnet-lite0,resnet18", None), {"weights": "w"}, "--weights is the file of one"),
    ],
)
def test_lists_that_compare_nothing_are_refused(lists, common, detail: str) -> None:
    with pytest.raises(ConfigError) as raised:
        lists_of(*lists, TrainConfig(**common))
    assert any(one.startswith(detail) for one in raised.value.details)


def test_settings_that_do_not_go_with_a_variant_are_named_with_it() -> None:
    with pytest.raises(ConfigError) as raised:
        variants(img_size="auto", budget="1m", epochs=2)
    error = raised.value
    assert (error.code, error.what) == (
        "HS-CONFIG-046",
        "These settings do not go with everything that is compared.",
    )
    assert error.details == (
        "finetune: --budget chooses the epochs: leave out --budget or --epochs",
        "scratch: --strategy scratch has no probe to choose a size by: give --img-size in pixels",
        "scratch: --budget chooses the epochs: leave out --budget or --epochs",
    )
