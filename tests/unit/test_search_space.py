"""What a search may change."""

from __future__ import annotations

import types
from typing import Any

import pytest

from headstart.config import TrainConfig
from headstart.errors import ConfigError
from headstart.training.recipes import resolve_recipe
from headstart.training.search_space import (
    DEFAULT_FIELDS,
    FIELDS,
    OneOf,
    Rate,
    Whole,
    batch_sizes,
    check_selects,
    combinations,
    img_sizes,
    later_stages,
    rounded,
    searched_fields,
)


def test_every_field_is_a_setting_that_is_open_by_default() -> None:
    """So the result is a plain configuration, and a value that is not None was given."""
    assert all(getattr(TrainConfig(), name) is None for name in FIELDS)


def test_fields_that_are_not_named() -> None:
    assert searched_fields(None, TrainConfig()) == DEFAULT_FIELDS
    assert searched_fields(None, TrainConfig(lr=1e-3, epochs=3)) == ("freeze", "augment", "batch_size")
    assert "freeze" not in searched_fields(None, TrainConfig(strategy="scratch"))


def test_fields_that_are_named() -> None:
    assert searched_fields("lr, batch-size,lr", TrainConfig()) == ("lr", "batch_size")
    assert searched_fields(["img_size"], TrainConfig(lr=1e-3)) == ("img_size",)


@pytest.mark.parametrize(
    ("fields", "settings", "code", "texts"),
    [
        ("lr,epoch", {}, "HS-CONFIG-012", ["no such field: 'epoch'. Did you mean 'epochs'?"]),
        (["blr", "agument"], {}, "HS-CONFIG-012", ["'blr'", "Did you mean 'augment'?"]),
        ("", {}, "HS-CONFIG-012", ["Fields: lr, epochs"]),
        ([], {}, "HS-CONFIG-012", ["Fields: lr, epochs"]),
        (
            "lr,epochs",
            {"lr": 0.001, "epochs": 2},
            "HS-CONFIG-007",
            ["--lr 0.001 is given, and --fields asks to search lr", "--epochs 2 is given"],
        ),
        ("freeze", {"strategy": "scratch"}, "HS-CONFIG-007", ["--strategy scratch has nothing to freeze"]),
        (
            None,
            {"lr": 0.001, "epochs": 2, "freeze": "stage5", "augment": "flip", "batch_size": 8},
            "HS-CONFIG-007",
            ["--lr, --epochs, --freeze, --augment, --batch-size are given: nothing is left to search"],
        ),
    ],
)
def test_fields_that_cannot_be_searched(
    fields: Any, settings: dict[str, Any], code: str, texts: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        searched_fields(fields, TrainConfig(**settings))
    assert caught.value.code == code
    for text in texts:
        assert text in str(caught.value)


@pytest.mark.parametrize("settings", [{"recipe": "d2l"}, {"strategy": "probe"}, {"selection": 0}])
def test_without_a_selection_part_there_is_nothing_to_choose_on(settings: dict[str, Any]) -> None:
    config = TrainConfig(**settings)
    with pytest.raises(ConfigError, match="no pictures to choose settings on") as caught:
        check_selects(resolve_recipe(config), config)
    assert caught.value.code == "HS-CONFIG-013"
    name, value = next(iter(settings.items()))
    assert f"--{name} {value}" in str(caught.value)


@pytest.mark.parametrize("number", range(2, 30))
def test_depths_lie_in_the_upper_half_and_hold_the_recipes(number: int) -> None:
    names = ["stem", *(f"stage{i}" for i in range(number - 1))]
    model: Any = types.SimpleNamespace(stages=[types.SimpleNamespace(name=name) for name in names])
    found = later_stages(model)
    assert names[-max(1, number // 4)] in found
    assert 1 <= len(found) <= 4
    assert all(names.index(name) >= number // 2 for name in found)
    assert "stem" not in found


def test_batch_sizes_are_powers_of_two_around_the_default() -> None:
    assert batch_sizes(32, 1000) == (8, 16, 32, 64, 128)
    assert batch_sizes(32, 20) == (8, 16, 32)  # more than all pictures at once is the same as all
    assert batch_sizes(128, 300) == (32, 64, 128, 256)


def test_input_sizes() -> None:
    assert img_sizes(224) == (160, 224, 288)
    assert img_sizes(32) == (32,)
    assert img_sizes(300) == (224, 300, 384)


def test_points_of_a_space() -> None:
    assert combinations({"epochs": Whole(1, 2), "augment": OneOf(("none", "flip"))}) == [
        {"epochs": 1, "augment": "none"},
        {"epochs": 1, "augment": "flip"},
        {"epochs": 2, "augment": "none"},
        {"epochs": 2, "augment": "flip"},
    ]
    assert combinations({"lr": Rate(1e-5, 1e-3), "epochs": Whole(1, 2)}) is None


def test_rates_are_written_with_three_digits() -> None:
    settings = rounded({"lr": 0.00021345678, "epochs": 3, "freeze": "stage5"})
    assert settings == {"lr": 0.000213, "epochs": 3, "freeze": "stage5"}
