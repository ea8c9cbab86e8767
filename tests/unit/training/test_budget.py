"""Training in a given time: what it takes, what is left out first, and when it ends."""

from __future__ import annotations

import time

import pytest

from headstart.config import Refit, TrainConfig
from headstart.errors import ConfigError
from headstart.notation import seconds_of
from headstart.training.budget import (
    OVERHEAD,
    Budget,
    Forecast,
    Kept,
    Pace,
    Pictures,
    forecast,
    lasting,
    shorter,
)
from headstart.training.recipes import RECIPES, resolve_recipe

PACE = Pace(frozen=0.001, step=0.003, above=0.0005, exact=0.01)
PICTURES = Pictures(train=1000, selection=200, reported=300)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("2m", 120),
        ("1h", 3600),
        ("1.5h", 5400),
        ("1h30m", 5400),
        ("1m 30s", 90),
        ("2M", 120),
        ("30", None),
        ("", None),
        ("0s", None),
        ("-3s", None),
        ("1.2.3s", None),
        ("2 weeks", None),
    ],
)
def test_times(text: str, seconds: float | None) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("seconds", [1, 45, 99, 150, 3600, 10_000, 400_000])
def test_a_time_is_written_as_it_is_read(seconds: float) -> None:
    assert seconds_of(lasting(seconds)) == pytest.approx(seconds, rel=0.2)


def test_a_wrong_time_is_a_fault_of_the_settings() -> None:
    with pytest.raises(ConfigError, match="budget must be a time such as 30s, 2m or 1h, but is '30'"):
        TrainConfig(budget="30")


def test_the_forecast_adds_up_what_there_is_to_compute() -> None:
    recipe = RECIPES["default"]
    found = forecast(recipe, PACE, PICTURES, cached_views=8, features=1280, classes=2)
    assert found.finetune == pytest.approx(
        8 * 1000 * 0.001 + 12 * 1000 * 0.003 + (12 + 4) * 200 * 0.0005  # views, steps, epochs and mixes
    )
    assert found.evaluation == pytest.approx((500 + 500) * 0.01)  # and what is familiar, of 500 pictures
    assert found.probe > 1200 * (0.001 + 0.0005)
    assert found.total == pytest.approx(found.probe + found.finetune + found.evaluation + OVERHEAD)
    live = forecast(recipe, PACE, PICTURES, cached_views=0, features=1280, classes=2)
    assert live.finetune - found.finetune == pytest.approx((12 - 8) * 1000 * 0.001)


def test_what_is_kept_already_takes_no_time() -> None:
    recipe = RECIPES["default"]

    def found(refit: Refit = "none", kept: Kept | None = None) -> Forecast:
        return forecast(
            recipe, PACE, PICTURES, cached_views=8, features=1280, classes=2, refit=refit, kept=kept
        )

    plain, part = found(), found(kept=Kept(plain=1200, random=5000))
    assert plain.probe - part.probe == pytest.approx(1200 * 0.001)
    assert plain.finetune - part.finetune == pytest.approx(5000 * 0.001)
    again, known = found("all"), found("all", Kept(plain=1200, random=8000, added=500 * 9))
    assert again.refit - known.refit == pytest.approx(500 * 9 * 0.001)


def test_without_a_probe_or_without_training() -> None:
    scratch = resolve_recipe(TrainConfig(strategy="scratch"))
    assert forecast(scratch, PACE, PICTURES, cached_views=0, features=1280, classes=2).probe == 0
    probe = resolve_recipe(TrainConfig(strategy="probe"))
    assert forecast(probe, PACE, PICTURES, cached_views=0, features=1280, classes=2).finetune == 0


def test_shorter_plans_begin_with_the_recipe_itself_and_only_get_cheaper() -> None:
    plans = list(shorter(RECIPES["default"]))
    assert plans[0] == (8, RECIPES["default"])
    costs = [
        forecast(recipe, PACE, PICTURES, cached_views=views, features=1280, classes=2).finetune
        for views, recipe in plans
    ]
    assert costs == sorted(costs, reverse=True)
    assert len(set(costs)) == len(costs)
    few = resolve_recipe(TrainConfig(epochs=5))
    assert [recipe.epochs for _, recipe in shorter(few)] == [5, 4, 3]


def test_what_is_left() -> None:
    budget = Budget("10s", 10, time.perf_counter() - 4)
    assert budget.left == pytest.approx(6, abs=0.2)
    assert not budget.used_up()
    budget.reserve(6)
    assert not budget.used_up()  # five percent over are still allowed
    budget.reserve(7)
    assert budget.used_up()


def test_reading_that_takes_too_long_is_refused_early() -> None:
    budget = Budget("10s", 10, time.perf_counter() - 3)
    budget.check_reading(1, 1000)  # what came before was no reading
    budget._reading -= 3
    budget.check_reading(601, 1000)  # 2 seconds more
    with pytest.raises(ConfigError) as caught:
        budget.check_reading(101, 1000)  # 27 seconds more, 3 are gone
    assert str(caught.value) == (
        "HS-CONFIG-011: The budget of 10s does not suffice to read the pictures: that takes about 32s.\n"
        "  to do: Give more time: --budget 38s"
    )
    budget.check_reading(1, 1000)  # another reading
    budget.check_reading(2, 1000)  # too early to tell
