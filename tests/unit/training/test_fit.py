"""The loop: which epoch is kept, how rates move, and what happens when it ends early."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from headstart.errors import RunError
from headstart.training.fit import Epoch, Fitted, Scores, TrainingLoop, is_better
from headstart.training.recipes import RECIPES, Recipe
from headstart.training.step import make_optimizer, rate_factor

NAN = float("nan")


def row(accuracy: float, loss: float, epoch: int = 1) -> Epoch:
    return Epoch(epoch, "finetune", 1.0, 0.5, loss, accuracy, 1e-4, 1e-3, 10.0, 1.0)


def test_the_columns_of_results_csv() -> None:
    assert tuple(field.name for field in dataclasses.fields(Epoch)) == (
        "epoch",
        "stage",
        "train_loss",
        "train_accuracy",
        "val_loss",
        "val_accuracy",
        "lr_backbone",
        "lr_head",
        "images_per_second",
        "seconds",
        "val_balanced_loss",  # these two only where classes are balanced
        "val_balanced_accuracy",
    )


# --- the rule ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("new", "best", "better"),
    [
        (row(0.9, 9.0), None, True),
        (row(0.9, 9.0), row(0.8, 0.1), True),  # accuracy first
        (row(0.8, 0.1), row(0.9, 9.0), False),
        (row(0.9, 0.1), row(0.9, 0.2), True),  # then the loss
        (row(0.9, 0.2), row(0.9, 0.1), False),
        (row(0.9, 0.1), row(0.9, 0.1), False),  # then the earlier one
        (row(0.9, NAN), row(0.9, 0.1), False),
    ],
)
def test_which_epoch_is_better(new: Epoch, best: Epoch | None, better: bool) -> None:
    assert is_better(new, best) is better


def test_where_classes_are_balanced_so_is_the_rule() -> None:
    one = dataclasses.replace(row(0.9, 0.1), val_balanced_accuracy=0.5, val_balanced_loss=0.7)
    other = dataclasses.replace(row(0.8, 0.2), val_balanced_accuracy=0.6, val_balanced_loss=0.9)
    assert is_better(other, one)
    assert not is_better(one, other)
    assert is_better(dataclasses.replace(other, val_balanced_loss=0.8), other)
    fitted, _, rows, _ = run([(0.9, 0.1, 0.7, 0.5), (0.8, 0.2, 0.9, 0.6), (0.9, 0.1, 1.0, 0.6)])
    assert fitted.kept == 2
    assert (rows[1].val_balanced_loss, rows[1].val_balanced_accuracy) == (0.9, 0.6)


def test_a_mix_is_chosen_by_balanced_figures() -> None:
    before = dataclasses.replace(row(0.8, 0.5, epoch=0), val_balanced_accuracy=0.5, val_balanced_loss=1.0)
    fitted, _, _, _ = run(
        [(0.9, 0.1, 1.0, 0.5), (0.9, 0.1, 1.0, 0.5), (0.7, 0.9, 1.0, 0.6)],
        before=before,
        epochs=1,
        interpolation=(0.25, 0.75),
    )
    assert (fitted.kept, fitted.share) == (1, 0.75)
    assert fitted.best.val_balanced_accuracy == 0.6


# --- rates ---------------------------------------------------------------------------------------------


def recipe(**fields: Any) -> Recipe:
    plain = {
        "name": "test",
        "optimizer": "sgd",
        "schedule": "constant",
        "lr": 0.1,
        "weight_decay": 0.0,
        "epochs": 3,
        "selection": 0.2,
        "interpolation": (),
        "batch_norm": "train",
    }
    return Recipe(**{**plain, **fields})


def test_a_constant_rate() -> None:
    assert [rate_factor(recipe(), step, 10) for step in (0, 5, 9)] == [1.0, 1.0, 1.0]


def test_warm_up_then_cosine() -> None:
    cosine = recipe(schedule="cosine")
    factors = [rate_factor(cosine, step, 20) for step in range(20)]
    assert factors[:3] == [0.5, 1.0, 1.0]  # two steps of warm-up, then the top of the cosine
    assert factors[11] == pytest.approx(0.5)  # half of the eighteen steps that follow
    assert factors[5] == pytest.approx(0.5 * (1 + math.cos(math.pi / 6)))
    assert factors[19] == pytest.approx(0.007596123493895969)
    assert all(one >= other for one, other in itertools.pairwise(factors[2:]))
    assert [rate_factor(cosine, 0, 1), rate_factor(cosine, 0, 2), rate_factor(cosine, 1, 2)] == [1, 1, 1]


# --- a network whose every step can be followed ------------------------------------------------------------


class Network(nn.Module):
    """One weight for each of two classes; counts the epochs in a buffer, as BatchNorm does."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(1, 2, bias=False)
        nn.init.zeros_(self.head.weight)
        self.register_buffer("forwards", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.forwards += 1
        return self.head(x)


class Data:
    """Six pictures in batches of four and two."""

    steps = 2

    def positions(self, number: int, batch: int) -> NDArray[np.int64]:
        return np.arange(4) if batch == 0 else np.array([4, 5])

    def pictures(self, batch: int) -> int:
        return (4, 2)[batch]

    def __init__(self, epochs: dict[int, Tensor] | None = None) -> None:
        self.inputs = epochs or {}
        self.asked: list[int] = []

    def epoch(self, number: int, done: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        self.asked.append(number)
        x = self.inputs.get(number, torch.ones(6, 1))
        yield x[:4], torch.tensor([0, 1, 0, 0])
        yield x[4:], torch.tensor([1, 0])


def run(
    curve: Sequence[tuple[float, ...]],
    *,
    before: Epoch | None = None,
    data: Data | None = None,
    hook: Callable[[Epoch], object] = lambda row: None,
    network: Network | None = None,
    forward: Callable[[Tensor], Tensor] | None = None,
    out_of_time: Callable[[], bool] = lambda: False,
    head_rate: float = 0.1,
    **fields: Any,
) -> tuple[Fitted, Network, list[Epoch], list[dict[str, Tensor]]]:
    """Trains with the given (accuracy, loss) after each epoch; the states of the network as they were."""
    network = network or Network()
    scores = iter(curve)
    rows: list[Epoch] = []
    states = [{k: v.clone() for k, v in network.state_dict().items()}]

    def evaluate() -> Scores:
        states.append({k: v.clone() for k, v in network.state_dict().items()})
        accuracy, loss, *balanced = next(scores)
        return Scores(loss, accuracy, *balanced)

    def on_epoch(row: Epoch) -> None:
        rows.append(row)
        hook(row)

    groups: list[dict[str, object]] = [
        {"name": "head", "params": [network.head.weight], "lr": head_rate, "weight_decay": 0.0}
    ]
    asked = recipe(**{"epochs": len(curve), **fields})
    fitted = TrainingLoop(
        network=network,
        batches=data or Data(),
        recipe=asked,
        groups=groups,
        forward=forward or network,
        evaluate=evaluate,
        on_epoch=on_epoch,
        before=before,
        stage="finetune",
        picture_names=lambda epoch, batch: [f"{i}.png" for i in (data or Data()).positions(epoch, batch)],
        out_of_time=out_of_time,
    ).run()
    return fitted, network, rows, states


def assert_state(network: Network, state: dict[str, Tensor]) -> None:
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, state[name]), name


@pytest.mark.parametrize(
    ("curve", "kept"),
    [
        ([(0.5, 1.0), (0.9, 2.0), (0.8, 0.1)], 2),
        ([(0.9, 1.0), (0.9, 0.5), (0.9, 0.7)], 2),
        ([(0.9, 0.5), (0.9, 0.5), (0.9, 0.5)], 1),
        ([(0.1, 0.5), (0.2, 0.5), (0.3, 0.5)], 3),
    ],
)
def test_the_best_epochs_weights_and_buffers_come_back(curve: list[tuple[float, float]], kept: int) -> None:
    fitted, network, rows, states = run(curve)
    assert fitted.kept == kept
    assert_state(network, states[kept])
    assert not torch.equal(states[1]["head.weight"], states[3]["head.weight"])
    assert not network.training
    assert [r.epoch for r in rows] == [1, 2, 3]
    assert fitted.epochs == tuple(rows)


def test_the_probe_is_the_floor() -> None:
    before = row(0.9, 0.5, epoch=0)
    fitted, network, _, states = run([(0.9, 0.5), (0.8, 0.1)], before=before)
    assert fitted.kept == 0
    assert_state(network, states[0])
    fitted, network, _, states = run([(0.9, 0.4), (0.8, 0.1)], before=before)
    assert fitted.kept == 1
    assert_state(network, states[1])


@pytest.mark.parametrize(
    ("mixed", "share"),
    [
        ([(0.8, 0.4), (0.8, 0.45), (0.8, 0.7)], 0.25),
        ([(0.8, 0.4), (0.9, 9.0), (0.8, 0.1)], 0.75),
        ([(0.8, 0.6), (0.8, 0.6), (0.9, 0.7)], 1.0),
    ],
)
def test_a_mix_of_the_probe_and_the_last_epoch_is_kept_if_it_is_the_best(
    mixed: list[tuple[float, float]], share: float
) -> None:
    shares = (0.25, 0.75, 1.0)
    before = row(0.8, 0.5, epoch=0)
    fitted, network, rows, states = run(
        [(1.0, 0.0), (0.8, 0.7), *mixed], before=before, epochs=2, interpolation=shares
    )
    assert (fitted.kept, fitted.share) == (2, share)  # not the first epoch, though it scored higher
    assert (fitted.best.val_accuracy, fitted.best.val_loss) == mixed[shares.index(share)]
    assert [one.epoch for one in rows] == [1, 2]
    expected = torch.lerp(states[0]["head.weight"], states[2]["head.weight"], share)
    assert torch.equal(network.state_dict()["head.weight"], expected)
    assert torch.equal(network.state_dict()["forwards"], states[2]["forwards"])


def test_the_probe_is_the_floor_of_the_mixes() -> None:
    fitted, network, _, states = run(
        [(1.0, 0.0), (0.8, 0.7), (0.8, 0.5), (0.7, 0.1)],
        before=row(0.8, 0.5, epoch=0),
        epochs=2,
        interpolation=(0.5, 1.0),
    )
    assert (fitted.kept, fitted.share) == (0, 1.0)
    assert_state(network, states[0])


def test_nothing_is_interpolated_without_a_probe_or_without_selection() -> None:
    fitted, _, _, _ = run([(0.5, 1.0)] * 2, epochs=2, interpolation=(0.5,))
    assert fitted.share == 1.0
    fitted, _, _, _ = run(
        [(0.5, 1.0)] * 2, epochs=2, interpolation=(0.5,), selection=0.0, before=row(0.1, 9.0, epoch=0)
    )
    assert (fitted.kept, fitted.share) == (2, 1.0)


def test_without_selection_the_last_epoch_is_kept_even_after_a_better_probe() -> None:
    fitted, network, _, states = run([(0.9, 0.1), (0.2, 5.0)], selection=0.0, before=row(1.0, 0.0, epoch=0))
    assert fitted.kept == 2
    assert_state(network, states[2])


def test_each_row() -> None:
    fitted, _, _, _ = run([(0.75, 0.5)], lr=0.1)
    (only,) = fitted.epochs
    # first batch at weights 0: four losses of ln 2; gradient of the mean: (p - share) = (0.5 - 3/4, ...)
    step = 0.1 * 0.25
    second = torch.nn.functional.cross_entropy(
        torch.tensor([[step, -step]] * 2), torch.tensor([1, 0]), reduction="sum"
    )
    assert only.train_loss == pytest.approx((4 * math.log(2) + float(second)) / 6, rel=1e-6)
    assert only.train_accuracy == pytest.approx((3 + 1) / 6)  # of equals, the first class
    assert (only.val_loss, only.val_accuracy) == (0.5, 0.75)
    assert (only.lr_backbone, only.lr_head) == (0.0, 0.1)
    assert only.images_per_second > 0
    assert only.seconds >= 6 / only.images_per_second


def test_sum_and_mean_of_the_loss() -> None:
    weights = {}
    for reduction in ("mean", "sum"):
        _, network, _, _ = run([(0.5, 1.0)], loss=reduction)
        weights[reduction] = network.head.weight.detach().clone()
    first = 0.1 * 0.25  # as above
    p = 1 / (1 + math.exp(-2 * first))
    expected = first + 0.1 * (0.5 - p)
    assert weights["mean"][0].item() == pytest.approx(expected, rel=1e-5)
    first = 0.1 * 0.25 * 4
    p = 1 / (1 + math.exp(-2 * first))
    assert weights["sum"][0].item() == pytest.approx(first + 0.1 * 2 * (0.5 - p), rel=1e-5)


class SoftData(Data):
    """The same pictures, with probabilities instead of labels."""

    def epoch(self, number: int, done: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        for x, labels in super().epoch(number, done):
            yield x, nn.functional.one_hot(labels, 2) * 0.8 + 0.1


def test_probabilities_are_learnt() -> None:
    fitted, network, _, _ = run([(0.5, 1.0)], data=SoftData())
    # a target of 0.9 and 0.1 pulls with 0.8 of a label's strength where both classes are equally likely
    first = 0.1 * 0.25 * 0.8
    p = 1 / (1 + math.exp(-2 * first))
    assert network.head.weight[0].item() == pytest.approx(first + 0.1 * (0.5 - p), rel=1e-5)
    losses = [-0.5 * (math.log(p) + math.log(1 - p))] * 2  # one picture of each class
    assert fitted.epochs[0].train_loss == pytest.approx((4 * math.log(2) + sum(losses)) / 6, rel=1e-6)
    assert fitted.epochs[0].train_accuracy == pytest.approx((3 + 1) / 6)  # of the likeliest class


def test_the_schedule_counts_steps_over_all_epochs() -> None:
    fitted, _, _, _ = run([(0.5, 1.0)] * 10, schedule="cosine")
    rates = [row.lr_head for row in fitted.epochs]  # of the last step of each epoch
    cosine = recipe(schedule="cosine")
    assert rates == pytest.approx([0.1 * rate_factor(cosine, 2 * e + 1, 20) for e in range(10)])


def test_epochs_are_asked_for_in_order_from_one() -> None:
    data = Data()
    run([(0.5, 1.0)] * 3, data=data)
    assert data.asked == [1, 2, 3]


def test_frozen_batch_norm_means_evaluation_mode() -> None:
    _, network, _, _ = run([(0.5, 1.0)], batch_norm="frozen")
    assert network.forwards == 0
    _, network, _, _ = run([(0.5, 1.0)], batch_norm="train")
    assert network.forwards == 2


def test_optimisers() -> None:
    weight = nn.Parameter(torch.zeros(1))
    groups: list[dict[str, object]] = [{"name": "head", "params": [weight], "lr": 0.3, "weight_decay": 0.7}]
    sgd = make_optimizer(recipe(momentum=0.9), groups)
    assert isinstance(sgd, torch.optim.SGD)
    assert (sgd.defaults["momentum"], sgd.param_groups[0]["lr"]) == (0.9, 0.3)
    adamw = make_optimizer(dataclasses.replace(RECIPES["default"], optimizer="adamw"), groups)
    assert isinstance(adamw, torch.optim.AdamW)
    assert adamw.defaults["betas"] == (0.9, 0.999)
    assert adamw.param_groups[0]["weight_decay"] == 0.7


# --- when it ends early -----------------------------------------------------------------------------------


def interrupt_at(epoch: int) -> Callable[[Epoch], None]:
    def hook(row: Epoch) -> None:
        if row.epoch == epoch:
            raise KeyboardInterrupt

    return hook


def test_an_interrupt_keeps_the_best_so_far() -> None:
    fitted, network, _, states = run([(0.5, 1.0), (0.9, 1.0), (0.7, 1.0), (1.0, 0.0)], hook=interrupt_at(3))
    assert fitted.interrupted
    assert fitted.kept == 2
    assert [row.epoch for row in fitted.epochs] == [1, 2, 3]
    assert_state(network, states[2])


def test_an_interrupt_in_the_middle_of_an_epoch() -> None:
    class Stopped(Data):
        def epoch(self, number: int, done: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
            for i, batch in enumerate(super().epoch(number)):
                if (number, i) == (2, 1):
                    raise KeyboardInterrupt
                yield batch

    fitted, network, _, states = run([(0.5, 1.0), (0.9, 1.0)], data=Stopped())
    assert fitted.interrupted
    assert fitted.kept == 1
    assert len(fitted.epochs) == 1
    assert_state(network, states[1])


@pytest.mark.parametrize("selection", [0.2, 0.0])
def test_an_interrupt_before_the_first_epoch_ends(selection: float) -> None:
    class Stopped(Data):
        def epoch(self, number: int, done: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
            yield next(super().epoch(number))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run([(0.5, 1.0)], data=Stopped(), selection=selection)
    fitted, network, _, states = run(
        [(0.5, 1.0)], data=Stopped(), selection=selection, before=row(0.1, 9.0, epoch=0)
    )
    assert fitted.interrupted
    assert fitted.kept == 0
    assert fitted.epochs == ()
    assert_state(network, states[0])


POISON = {2: torch.tensor([[1.0], [float("inf")], [1.0], [1.0], [1.0], [1.0]])}


def test_a_loss_that_is_not_finite_starts_the_epoch_again_with_half_the_rate(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Once(Data):
        """The poisoned batch is given a single time."""

        def epoch(self, number: int, done: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
            if (poisoned := self.inputs.pop(number, None)) is None:
                yield from super().epoch(number, done)
            else:
                yield poisoned[:4], torch.tensor([0, 1, 0, 0])

    data = Once(dict(POISON))
    fitted, network, _, states = run([(0.5, 1.0), (0.6, 1.0), (0.7, 1.0)], data=data)
    assert capsys.readouterr().err == (
        "warning: the loss is not finite at step 3 (pictures 0.png, 1.png, 2.png, 3.png): "
        "goes on from the end of epoch 1 with half the learning rate\n"
    )
    assert data.asked == [1, 2, 3]
    assert [row.epoch for row in fitted.epochs] == [1, 2, 3]
    assert [row.lr_head for row in fitted.epochs] == pytest.approx([0.1, 0.05, 0.05])
    assert_state(network, states[3])
    assert all(bool(tensor.isfinite().all()) for tensor in states[2].values())
    # the second epoch is that of a run whose rate was half from its start on
    halved = Network()
    halved.load_state_dict(states[1])
    _, _, _, expected = run([(0.6, 1.0)], network=halved, head_rate=0.05)
    assert torch.equal(states[2]["head.weight"], expected[1]["head.weight"])


def test_divergence_twice_keeps_the_best_so_far(capsys: pytest.CaptureFixture[str]) -> None:
    fitted, network, _, states = run([(0.5, 1.0), (0.9, 1.0), (0.9, 1.0)], data=Data(POISON))
    assert not fitted.interrupted
    assert fitted.kept == 1
    assert_state(network, states[1])
    assert capsys.readouterr().err.splitlines()[1] == (
        "warning: the loss is not finite at step 3 (pictures 0.png, 1.png, 2.png, 3.png) again: "
        "stopped, the best model before is kept"
    )


def test_divergence_with_nothing_to_keep() -> None:
    with pytest.raises(RunError) as caught:
        run([(0.5, 1.0)], data=Data({1: POISON[2]}))
    assert str(caught.value) == (
        "HS-RUN-010: The loss is not finite at step 1 (pictures 0.png, 1.png, 2.png, 3.png): "
        "the learning rate is too high.\n"
        "  where: learning rates 0.05\n"
        "  to do: Train again with a smaller --lr."
    )


@pytest.mark.parametrize("selection", [0.2, 0.0])
def test_a_network_that_diverged_in_the_last_step_is_not_kept(selection: float) -> None:
    """Its training loss was finite; what it answers to other pictures is not."""
    with pytest.raises(RunError, match="HS-RUN-010"):
        run([(0.9, NAN)] * 2, selection=selection, epochs=1)
    fitted, network, rows, states = run(
        [(0.5, 1.0), (0.9, math.inf), (0.9, math.inf)], selection=selection, epochs=2
    )
    assert fitted.kept == 1
    assert len(rows) == 1
    assert_state(network, states[1])


def test_no_pictures_to_watch_is_no_divergence() -> None:
    fitted, _, _, _ = run([(NAN, NAN), (NAN, NAN)], selection=0.0)
    assert fitted.kept == 2


def test_errors_of_the_data_pass_through() -> None:
    class Broken(Data):
        def epoch(self, number: int, done: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
            raise RunError("HS-RUN-099", "It is broken.")
            yield

    with pytest.raises(RunError, match="HS-RUN-099"):
        run([(0.5, 1.0)], data=Broken())


# --- when memory or time end --------------------------------------------------------------------------------


def cramped(network: Network, room: int) -> Callable[[Tensor], Tensor]:
    """The network, on a device with room for so many pictures."""

    def forward(inputs: Tensor) -> Tensor:
        if len(inputs) > room:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        logits: Tensor = network(inputs)
        return logits

    return forward


@pytest.mark.parametrize("loss", ["mean", "sum"])
@pytest.mark.parametrize("room", [1, 2, 3])
def test_out_of_memory_trains_in_parts_on_the_same_gradient(
    loss: str, room: int, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = {epoch: torch.arange(6.0)[:, None] for epoch in (1, 2)}
    _, whole, _, _ = run([(0.5, 1.0), (0.6, 1.0)], data=Data(inputs), loss=loss, batch_norm="frozen")
    parts = Network()
    fitted, _, _, _ = run(
        [(0.5, 1.0), (0.6, 1.0)],
        data=Data(inputs),
        loss=loss,
        network=parts,
        forward=cramped(parts, room),
        batch_norm="frozen",
    )
    assert [row.epoch for row in fitted.epochs] == [1, 2]
    assert torch.allclose(parts.head.weight, whole.head.weight, atol=1e-7)
    warnings = capsys.readouterr().err.splitlines()
    assert warnings[0] == (
        "warning: out of memory: 2 instead of 4 pictures at a time from now on, still 4 per step"
    )
    assert len(warnings) == {1: 2, 2: 1, 3: 1}[room]


def test_no_memory_for_one_picture() -> None:
    network = Network()
    with pytest.raises(RunError, match="HS-RUN-011: The memory does not suffice"):
        run([(0.5, 1.0)], network=network, forward=cramped(network, 0))


def test_other_runtime_errors_are_not_taken_for_a_lack_of_memory() -> None:
    def forward(inputs: Tensor) -> Tensor:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        run([(0.5, 1.0)], forward=forward)


def test_the_end_of_the_time_keeps_the_best_so_far(capsys: pytest.CaptureFixture[str]) -> None:
    steps = iter([False] * 5 + [True])
    fitted, network, _, states = run([(0.9, 1.0), (0.5, 1.0), (0.5, 1.0)], out_of_time=lambda: next(steps))
    assert (fitted.kept, fitted.interrupted, len(fitted.epochs)) == (1, False, 2)
    assert_state(network, states[1])
    assert capsys.readouterr().err.startswith("warning: stopped after 5 of 6 steps: the time is used up")


def test_the_end_of_the_time_before_the_first_model() -> None:
    with pytest.raises(RunError, match="HS-RUN-012: The time is used up after 0 of 2 steps"):
        run([(0.9, 1.0)], out_of_time=lambda: True)
