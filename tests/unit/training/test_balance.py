"""Classes of unequal size: weights, draws, and the figures that choose."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, log_loss
from sklearn.utils.class_weight import compute_class_weight
from torch import nn

from headstart.config import Balance
from headstart.data.preprocess import Preprocess
from headstart.model.features import Activations
from headstart.model.inputs import Loader
from headstart.model.precision import Format
from headstart.training.balance import ClassSizes, balanced_draws, class_weights
from headstart.training.batches import REPEAT, CachedViews, LiveViews
from headstart.training.recipes import RECIPES
from headstart.training.step import Stepper
from headstart.training.train import scores_of

FP32 = Format("cpu", "fp32")
LABELS = np.repeat([0, 1, 2], [9, 2, 4])


def test_weights_are_those_of_scikit_learn() -> None:
    expected = compute_class_weight("balanced", classes=np.arange(3), y=LABELS)
    np.testing.assert_allclose(class_weights(LABELS, 3), expected)
    assert class_weights(LABELS, 3)[LABELS].mean() == pytest.approx(1)
    assert class_weights(np.array([0, 0, 2]), 3).tolist() == [0.75, 0, 1.5]


@given(st.integers(1, 50), st.integers(2, 9))
def test_equal_classes_weigh_exactly_one(size: int, classes: int) -> None:
    assert class_weights(np.tile(np.arange(classes), size), classes).tolist() == [1.0] * classes


@pytest.mark.parametrize(
    ("counts", "asked", "does"),
    [
        ((30, 10), "auto", "none"),
        ((31, 10), "auto", "loss"),
        ((10, 10, 31), "auto", "loss"),
        ((31, 10), "none", "none"),
        ((31, 10), "sample", "sample"),
        ((10, 10), "loss", "loss"),
    ],
)
def test_auto_acts_above_three_to_one(counts: Sequence[int], asked: Balance, does: Balance) -> None:
    sizes = ClassSizes.of(np.repeat(np.arange(len(counts)), counts), "abc"[: len(counts)])
    assert sizes.decided(asked) == does


def test_what_is_said() -> None:
    sizes = ClassSizes.of(LABELS, ("ants", "bees", "wasps"))
    assert sizes.line("loss") == (
        "balance: 'ants' has 4.5 times as many training pictures as 'bees' (9 and 2): "
        "each class has the same weight in the loss (loss)"
    )
    assert sizes.line("sample").endswith(
        "each class comes equally often in an epoch, with the same weight in the probe (sample)"
    )


# --- draws ---------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(0, 9), st.integers(1, 20))
def test_each_class_comes_equally_often(found: list[int], seed: int, epoch: int) -> None:
    labels = np.array(found)
    draws = balanced_draws(labels, seed=seed, epoch=epoch)
    assert len(draws.positions) == len(labels)
    by_class = Counter(labels[draws.positions].tolist())
    assert set(by_class) == set(found)
    assert max(by_class.values()) - min(by_class.values()) <= 1
    drawn = Counter(draws.positions.tolist())
    for label in by_class:
        times = [drawn[i] for i in np.flatnonzero(labels == label)]
        assert max(times) - min(times) <= 1  # none again before all have come
    for position in drawn:
        repeats = sorted(draws.repeats[draws.positions == position].tolist())
        assert repeats == list(range(drawn[position]))
    again = balanced_draws(labels, seed=seed, epoch=epoch)
    assert again.positions.tolist() == draws.positions.tolist()


def test_draws_change_with_seed_and_epoch_and_show_all_pictures_in_the_end() -> None:
    found = {(s, e): balanced_draws(LABELS, seed=s, epoch=e).positions for s in range(3) for e in range(1, 9)}
    assert len({tuple(one) for one in found.values()}) == len(found)
    for seed in range(3):
        assert set(np.concatenate([found[seed, e] for e in range(1, 9)])) == set(range(len(LABELS)))
    # fixed for ever: another draw would change the results of saved configurations
    assert balanced_draws(np.array([0, 0, 0, 0, 1]), seed=0, epoch=1).positions.tolist() == GOLDEN


GOLDEN = [2, 0, 4, 3, 4]


def test_a_cached_picture_that_comes_again_shows_another_view() -> None:
    n, views = len(LABELS), 4
    rows = [np.array([100.0 * view + picture], np.float32) for view in range(views) for picture in range(n)]
    batches = CachedViews(Activations(rows), LABELS, 4, 0, FP32, balanced=True)
    seen = [int(x) for inputs, _ in batches.epoch(2) for x in inputs[:, 0]]
    truth = [int(y) for _, labels in batches.epoch(2) for y in labels]
    assert [LABELS[x % 100] for x in seen] == truth
    assert Counter(truth) == {0: 5, 1: 5, 2: 5}
    assert len(set(seen)) == n  # 5 pictures of a class of 2: three views of one, two of the other
    positions = np.concatenate([batches.positions(2, i) for i in range(batches.steps)])
    assert positions.tolist() == [x % 100 for x in seen]
    assert [x.tolist() for x, _ in batches.epoch(2, done=2)] == [x.tolist() for x, _ in batches.epoch(2)][2:]


@pytest.mark.parametrize("workers", [1, 3])
def test_a_live_picture_that_comes_again_gets_another_view(workers: int) -> None:
    asked: list[tuple[int, int]] = []

    def view(position: int, epoch: int) -> np.ndarray:
        asked.append((position, epoch))
        return np.full((8, 8, 3), 20 + position, np.uint8)

    loader = Loader(Preprocess(8, 8, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)), FP32, workers)
    batches = LiveViews(view, LABELS, loader, 4, 7, balanced=True)
    seen = []
    for inputs, labels in batches.epoch(3):
        pictures = ((inputs[:, 0, 0, 0] * 0.5 + 0.5) * 255).round().long() - 20
        assert LABELS[pictures].tolist() == labels.tolist()
        seen += pictures.tolist()
    assert seen == balanced_draws(LABELS, seed=7, epoch=3).positions.tolist()
    assert len(set(asked)) == len(LABELS)
    assert {epoch for _, epoch in asked} == {3, 3 + REPEAT, 3 + 2 * REPEAT}


# --- the loss ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("micro_batch", [None, 1, 4])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_weighted_loss_step_by_step(reduction: str, micro_batch: int | None) -> None:
    """Against torch's own weighted loss, in a loop that is written out here."""
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(15, 5, generator=generator), torch.from_numpy(LABELS)
    weights = torch.tensor([5 / 9, 5 / 2, 5 / 4])
    network, book = nn.Linear(5, 3), nn.Linear(5, 3)
    for one in (network, book):
        nn.init.zeros_(one.weight)
        nn.init.zeros_(one.bias)
    recipe = RECIPES["d2l"].__class__(
        name="test", optimizer="sgd", schedule="constant", lr=0.1, weight_decay=0.0, loss=reduction
    )
    groups = [{"name": "head", "params": list(network.parameters()), "lr": 0.1, "weight_decay": 0.0}]
    given = torch.from_numpy(class_weights(LABELS, 3)).float()
    stepper = Stepper(recipe, groups, network, 3, micro_batch=micro_batch, class_weights=given)
    trainer = torch.optim.SGD(book.parameters(), lr=0.1)
    found = []
    for number, part in enumerate((slice(0, 6), slice(6, 12), slice(12, 15))):
        loss_sum, _ = stepper.step(number, x[part], y[part])
        trainer.zero_grad()
        summed = nn.CrossEntropyLoss(weight=weights, reduction="sum")(book(x[part]), y[part])
        (summed if reduction == "sum" else summed / len(y[part])).backward()
        trainer.step()
        assert loss_sum == pytest.approx(float(summed.detach()), rel=1e-5)
        found.append(loss_sum)
    torch.testing.assert_close(network.weight, book.weight)
    assert found[0] == pytest.approx(6 * 5 / 9 * np.log(3), rel=1e-6)


# --- figures -------------------------------------------------------------------------------------------


def test_balanced_figures_are_those_of_scikit_learn() -> None:
    generator = torch.Generator().manual_seed(2)
    logits, labels = torch.randn(15, 3, generator=generator), torch.from_numpy(LABELS)
    scores = scores_of(logits, labels, balanced=True)
    weights = class_weights(LABELS, 3)[LABELS]
    probabilities = logits.double().softmax(1).numpy()
    theirs = log_loss(LABELS, probabilities, sample_weight=weights)
    assert scores.balanced_loss == pytest.approx(theirs, rel=1e-6)
    assert scores.balanced_accuracy == pytest.approx(balanced_accuracy_score(LABELS, logits.argmax(1)))
    plain = scores_of(logits, labels)
    assert plain[:2] == scores[:2]
    assert np.isnan(plain[2:]).all()
    assert np.isnan(scores_of(logits[:0], labels[:0], balanced=True)).all()
