"""The sweep over learning rates: what it sees, what it chooses, and that it leaves no trace."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from headstart.training import lr_find
from headstart.training.lr_find import HIGHEST, LOWEST, STEPS, Point, Smooth, chosen, factor_of, sweep
from headstart.training.recipes import RECIPES, Recipe, resolve_recipe
from headstart.training.rehearsal import as_before


class Network(nn.Module):
    """All that training may change: weights, BatchNorm's statistics, random numbers of dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3))
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(x))
        return logits


class Data:
    """Forty pictures of two classes that differ; batches of sixteen, sixteen and eight."""

    steps = 3

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.labels = torch.arange(40) % 2
        self.inputs = torch.randn(40, 4, generator=generator) + 2.0 * self.labels[:, None]
        self.epochs: list[int] = []

    def epoch(self, number: int, done: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        self.epochs.append(number)
        yield from zip(self.inputs.split(16), self.labels.split(16), strict=True)

    def pictures(self, batch: int) -> int:
        return (16, 16, 8)[batch]

    def positions(self, number: int, batch: int) -> NDArray[np.int64]:
        return np.arange(16 * batch, 16 * batch + self.pictures(batch))


def swept(network: Network, data: Data, recipe: Recipe, **named: Any) -> list[Point]:
    groups: list[dict[str, object]] = [
        {"name": "backbone", "params": list(network.body.parameters()), "lr": recipe.lr, "weight_decay": 0.0},
        {
            "name": "head",
            "params": list(network.head.parameters()),
            "lr": recipe.lr * recipe.head_lr_factor,
            "weight_decay": 0.0,
        },
    ]
    return sweep(network, data, recipe, groups, forward=named.pop("forward", network), **named)


def network() -> Network:
    torch.manual_seed(1)
    return Network()


def bytes_of(module: nn.Module) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in module.state_dict().items()}


SCRATCH = {**vars(RECIPES["default"]), "batch_norm": "train", "lr": 1e-3}
KINDS = [
    Recipe(**SCRATCH),
    RECIPES["default"],
    RECIPES["d2l"],
    Recipe(**{**SCRATCH, "optimizer": "sgd", "momentum": 0.9, "head_lr_factor": 10.0}),
]


@pytest.mark.parametrize("recipe", KINDS)
@pytest.mark.parametrize("training", [True, False])
def test_the_network_and_all_random_numbers_are_as_before_to_the_byte(recipe: Recipe, training: bool) -> None:
    net, data = network().train(training), Data()
    moved: list[bool] = []

    def forward(x: Tensor) -> Tensor:
        moved.append(bytes_of(net) != before)
        return net(x)

    before = bytes_of(net)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tobytes()
    points = swept(net, data, recipe, forward=forward)
    assert any(moved)
    assert len(points) > 5
    assert bytes_of(net) == before
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.random.get_state()[1].tobytes() == states[2]
    assert net.training == training
    assert all(parameter.grad is None for parameter in net.parameters())


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, MemoryError])
def test_also_where_it_ends_with_an_error(error: type[BaseException]) -> None:
    net = network()
    before, state = bytes_of(net), torch.get_rng_state()
    with pytest.raises(error), as_before(net):
        net.train()
        net(torch.ones(4, 4)).sum().backward()
        with torch.no_grad():
            net.head.weight.fill_(float("nan"))
        raise error
    assert bytes_of(net) == before
    assert torch.equal(torch.get_rng_state(), state)


def test_rates_rise_geometrically_around_the_recipes() -> None:
    data = Data()
    recipe = Recipe(**{**SCRATCH, "head_lr_factor": 10.0})
    points = swept(network(), data, recipe)
    rates = [point.lr for point in points]
    assert rates[0] == pytest.approx(recipe.lr * LOWEST)
    assert recipe.lr * factor_of(STEPS - 1) == pytest.approx(recipe.lr * HIGHEST)
    factors = [b / a for a, b in itertools.pairwise(rates)]
    assert max(factors) == pytest.approx(min(factors))
    assert [point.lr_head for point in points] == pytest.approx([10 * rate for rate in rates])
    assert [point.step for point in points] == list(range(1, len(points) + 1))
    assert data.epochs == list(range(1, math.ceil(len(points) / 3) + 1))  # one pass after the other


def test_the_rates_of_a_step_are_those_of_its_row() -> None:
    net = network()
    recipe = Recipe(**{**SCRATCH, "optimizer": "sgd", "batch_norm": "frozen", "head_lr_factor": 10.0})
    before, first = net.head.bias.detach().clone(), []

    def forward(x: Tensor) -> Tensor:
        first.append(net.head.bias.detach().clone())
        return net(x)

    points = swept(net, Data(), recipe, forward=forward)
    net.eval()
    data = Data()
    nn.functional.cross_entropy(net(data.inputs[:16]), data.labels[:16]).backward()
    assert net.head.bias.grad is not None
    torch.testing.assert_close(first[1], before - points[0].lr_head * net.head.bias.grad)


def test_a_summed_loss_is_shown_per_picture() -> None:
    net, data = network(), Data()
    points = swept(net, data, Recipe(**{**vars(RECIPES["d2l"]), "batch_norm": "frozen"}))
    net.eval()
    with torch.no_grad():
        expected = nn.functional.cross_entropy(net(data.inputs[:16]), data.labels[:16])
    assert points[0].loss == pytest.approx(float(expected), rel=1e-5)


def test_it_ends_when_the_loss_has_left_its_valley() -> None:
    recipe = Recipe(**{**SCRATCH, "optimizer": "sgd", "lr": 10.0, "batch_norm": "frozen"})
    points = swept(network(), Data(), recipe)
    assert len(points) < STEPS
    assert not points[-1].smoothed <= 4 * points[5].smoothed
    assert all(point.smoothed <= 4 * points[min(i, 5)].smoothed for i, point in enumerate(points[:-1]))
    lowest = min(points, key=lambda point: lr_find.rank(point.smoothed))
    found = chosen(points, recipe, 3)
    assert found.lr is not None
    assert found.lr < lowest.lr


def test_a_network_that_learns_gets_a_rate_at_which_it_learns() -> None:
    net, data = network(), Data()
    recipe = Recipe(**{**SCRATCH, "batch_norm": "frozen"})
    found = chosen(swept(net, data, recipe), recipe, data.steps)
    assert found.lr is not None
    assert found.warnings == ()
    net.eval()
    optimizer = torch.optim.AdamW(net.parameters(), lr=found.lr)
    losses = []
    for _ in range(30):
        loss = nn.functional.cross_entropy(net(data.inputs), data.labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_a_hard_batch_at_the_start_does_not_end_it() -> None:
    points = curve([0.01, 0.02, 0.4, 0.02, 0.03])  # from the probe, which fits the training pictures
    assert not any(lr_find.diverged(points[: i + 1]) for i in range(len(points)))
    assert lr_find.diverged(curve([0.02] * 6 + [13.0]))
    assert lr_find.diverged(curve([0.5, math.nan]))


# --- the choice ----------------------------------------------------------------------------------------


def curve(losses: list[float]) -> list[Point]:
    smooth = Smooth()
    return [Point(i + 1, 1e-5 * 2.0**i, 1e-4 * 2.0**i, loss, smooth(loss)) for i, loss in enumerate(losses)]


RECIPE = RECIPES["default"]


def test_a_third_of_the_rate_with_the_lowest_loss() -> None:
    points = [
        Point(i + 1, 1e-5 * 2.0**i, 0.0, loss, loss)
        for i, loss in enumerate([1, 1, 1, 1, 1, 1, 0.9, 0.7, 0.5, 0.8, 3.0])
    ]
    found = chosen(points, RECIPE, 10)
    assert found.lr == float(f"{1e-5 * 2**8 / 3:.3g}") == 0.000853
    assert found.warnings == ()


@pytest.mark.parametrize(
    "losses",
    [
        [1.0] * 60,
        [1.0 + 0.01 * i for i in range(60)],
        [1.0, float("nan")],
        [float("nan")],
        [1.0] * 20 + [float("inf")],
    ],
)
def test_where_the_loss_never_falls_the_recipes_rate_stays(losses: list[float]) -> None:
    found = chosen(curve(losses), RECIPE, 10)
    assert found.lr is None
    (warning,) = found.warnings
    assert warning.startswith("the loss of the sweep never falls below ")
    assert warning.endswith(": it tells no rate, and the recipe's 0.0003 stays")


def test_few_pictures_are_said() -> None:
    found = chosen(curve([1.0 - 0.01 * i for i in range(60)]), RECIPE, 2)
    assert found.lr is not None
    assert found.warnings == (
        "few pictures: the sweep went 30 times over the same ones, so that its loss says more of learning "
        "by heart than of the rate",
    )


@given(st.lists(st.floats(1e-6, 1e6) | st.just(math.nan) | st.just(math.inf), min_size=1, max_size=STEPS))
def test_any_curve_has_an_answer(losses: list[float]) -> None:
    points = curve(losses)
    found = chosen(points, RECIPE, 5)
    if found.lr is None:
        assert found.warnings
    else:
        assert points[0].lr / 3.01 <= found.lr <= points[-1].lr / 2.99
        assert found.lr == float(f"{found.lr:.3g}")  # as it is printed
    assert found.points == tuple(points)


def test_the_mean_is_not_drawn_to_zero_at_the_start() -> None:
    smooth = Smooth()
    assert [smooth(2.0) for _ in range(5)] == pytest.approx([2.0] * 5)
    assert smooth(0.0) == pytest.approx(2.0 * (1 - 0.1 / (1 - 0.9**6)))


# --- settings ------------------------------------------------------------------------------------------


def test_until_it_is_found_the_rate_is_the_recipes() -> None:
    from headstart.config import TrainConfig

    assert resolve_recipe(TrainConfig(lr="find")).lr == RECIPE.lr
    assert resolve_recipe(TrainConfig(lr="find", freeze="head")).lr == 1e-3
