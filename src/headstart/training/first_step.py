"""The first step on an accelerator, held against the processor's before anything is trained on it.

Drivers and kernels of some devices compute wrong values silently (PyTorch's issues on MPS tell of several).
So a few pictures go through everything that training does: they are resized and standardised, go forward and
backward, and the optimiser moves the weights. Where the device does not agree, training goes on in fp32, and
if that does not agree either, on the processor.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from headstart import console
from headstart.config import TrainConfig
from headstart.data.augment import Cut
from headstart.data.cache import Cache
from headstart.data.dataset import Dataset
from headstart.data.pictures import Pictures
from headstart.data.preprocess import Pixels, Preprocess
from headstart.model import ranks
from headstart.model.classifier import Classifier
from headstart.model.inputs import Loader
from headstart.model.memory import is_out_of_memory
from headstart.model.precision import Format
from headstart.model.transfer import freeze, parameter_groups
from headstart.training.budget import Budget
from headstart.training.plan import Plan
from headstart.training.planning import make_plan
from headstart.training.step import make_optimizer
from headstart.training.train import random_view, views_of

WRONG = "HS-RUN-045"
PICTURES = 4
RATE = 0.1  # so large that the weights' own rounding does not show in how they move
ALLOWED = {"fp32": 0.1, "bf16": 0.5}
"""Relative difference of a tensor. A wrong kernel makes about 1; rounding to bf16 made up to 0.28, and TF32,
in which GPUs may compute fp32, rounds to an eighth of that (guide to accelerators)."""
NEGLIGIBLE = 0.02  # part of the largest tensor's norm, below which a tensor's own digits are noise


@dataclass(frozen=True)
class Step:
    """What a training step computed, float32 on the processor.

    Attributes:
        values: By name: the network's inputs, its logits.
        gradients: By parameter.
        moves: By parameter: what an optimiser step added to it.
    """

    values: dict[str, Tensor]
    gradients: dict[str, Tensor]
    moves: dict[str, Tensor]


def checked_plan(
    config: TrainConfig,
    model: Classifier,
    dataset: Dataset,
    pictures: Pictures,
    *,
    budget: Budget | None = None,
    cache: Cache | None = None,
) -> Plan:
    """The plan of `make_plan`, on a device and in a number format whose first step agrees with the CPU's.

    Raises:
        ConfigError, ModelError: as `make_plan`.
    """

    def plan_of(settings: TrainConfig) -> Plan:
        return make_plan(settings, model, dataset, pictures.preprocess, budget=budget, cache=cache)

    def difference_of(plan: Plan) -> str | None:
        views, ids = views_of(plan, dataset, pictures), dataset.indices("train")[:PICTURES]
        shown = [random_view(plan, views, int(i), 0) for i in ids]
        labels = torch.from_numpy(dataset.targets(ids))

        def on(fmt: Format, gradients: dict[str, Tensor] | None = None) -> Step:
            return step_on(fmt, model, plan, shown, labels, pictures.preprocess, gradients)

        reference = on(Format("cpu", "fp32"))
        return difference(
            lambda: reference, lambda: on(plan.fmt, reference.gradients), ALLOWED[plan.fmt.precision]
        )

    return trusted(config, plan_of, difference_of)


def trusted(
    config: TrainConfig, plan_of: Callable[[TrainConfig], Plan], difference_of: Callable[[Plan], str | None]
) -> Plan:
    """The first plan that differs in nothing, of: as it is, in fp32, on the processor."""
    notes: list[str] = []
    plan = plan_of(config)
    while plan.fmt.accelerated:
        device, precision = plan.fmt.device, plan.fmt.precision
        found = difference_of(plan)
        if not ranks.any_says(found is not None):  # processes that train together go the same way
            notes.append(f"the first step on {device} in {precision} agrees with the CPU's")
            break
        wrong = (
            f"the first step on {device} in {precision} is not that of the CPU: "
            f"{found or 'on the device of another process'}"
        )
        change: dict[str, Any] = {"device": "cpu"} if precision == "fp32" else {"precision": "fp32"}
        console.warn(f"{WRONG}: {wrong}. Goes on with {next(iter(change.values()))}.")
        notes.append(wrong)
        plan = plan_of(dataclasses.replace(config, **change))
    return dataclasses.replace(plan, first_step=tuple(notes))


def difference(reference: Callable[[], Step], device: Callable[[], Step], allowed: float) -> str | None:
    """What a device computes otherwise, the worst of it; None where all agrees.

    Args:
        reference: Computes the step as it should be.
        device: Computes it on the device. If it cannot, that is what it does otherwise.
        allowed: Largest relative difference of a tensor.
    """
    expected = reference()
    try:
        found = device()
    except RuntimeError as error:  # NotImplementedError is one: an operation that the device lacks
        if is_out_of_memory(error):
            return None  # says nothing of its values, and training has an answer to it
        return f"it fails ({(str(error).strip() or type(error).__name__).splitlines()[0]})"
    worst, where = 0.0, ""
    for part in ("values", "gradients", "moves"):
        theirs, ours = getattr(expected, part), getattr(found, part)
        least = NEGLIGIBLE * max((float(t.norm()) for t in theirs.values()), default=0.0)
        if part == "values":  # inputs and logits have nothing to do with each other
            least = 0.0
        for name, tensor in theirs.items():
            apart = relative(ours[name], tensor, least)
            if not apart <= worst:  # nan is the worst
                worst, where = apart, name if part == "values" else f"{part[:-1]} of {name}"
            if math.isnan(worst):
                return f"{where} is not a number"
    return None if worst <= allowed else f"{where} differs by {worst:.0%}, at most {allowed:.0%} is rounding"


def relative(found: Tensor, expected: Tensor, least: float) -> float:
    """Norm of the difference, relative to what was expected or to ``least``, whichever is larger."""
    scale = max(float(expected.norm()), least)
    apart = float((found - expected).norm())
    return apart / scale if scale > 0 else apart


def step_on(
    fmt: Format,
    model: Classifier,
    plan: Plan,
    shown: Sequence[Pixels | Cut],
    labels: Tensor,
    preprocess: Preprocess,
    gradients: dict[str, Tensor] | None,
) -> Step:
    """One step of the plan's training, on a copy of the model and without chance.

    Args:
        fmt: Where and how.
        model: Stays as it is.
        plan: What trains, and how.
        shown: Views of n pictures.
        labels: int64 [n].
        preprocess: Makes them the network's inputs.
        gradients: What the optimiser gets, so that its work is compared and not theirs; None: their own.
    """
    network = copy.deepcopy(model)
    # The plan's may be zero, and then no gradient passes through it.
    nn.init.xavier_uniform_(network.head.weight, generator=torch.Generator().manual_seed(0))
    fmt.network(network).eval()
    groups: list[NDArray[np.int64]] = [np.arange(len(shown))]
    (inputs,) = Loader(preprocess, fmt, 1, on_device=True).batches(lambda i: shown[i], groups)
    values = {"the network's input": host(inputs)}
    if not plan.epochs:
        with torch.no_grad(), fmt.autocast():
            return Step({**values, "the output": host(network(inputs))}, {}, {})
    trained: nn.Module = network
    if plan.cut is not None:
        freeze(network, plan.cut)
        with torch.no_grad(), fmt.autocast():
            inputs = fmt.inputs(network.below(plan.cut)(inputs))
        trained = network.above(plan.cut)
    # All in evaluation mode: dropout draws numbers of its own on each device, and by the statistics of a few
    # pictures BatchNorm makes gradients of rounding.
    with fmt.autocast():
        logits = trained(inputs)
    nn.functional.cross_entropy(logits.float(), labels.to(fmt.device)).backward()  # type: ignore[no-untyped-call]
    named = {name: p for name, p in trained.named_parameters() if p.grad is not None}
    own = {name: host(p.grad) for name, p in named.items() if p.grad is not None}
    recipe = plan.recipe
    optimizer = make_optimizer(
        recipe,
        parameter_groups(
            trained,
            lr_backbone=RATE,
            lr_head=RATE,
            weight_decay=recipe.weight_decay,
            decay_1d=recipe.decay_1d,
        ),
    )
    before = {name: host(p) for name, p in named.items()}
    for name, gradient in (gradients or {}).items():
        if name in named and named[name].grad is not None:
            named[name].grad.copy_(gradient)  # type: ignore[union-attr]
    optimizer.step()
    moves = {name: host(p) - before[name] for name, p in named.items()}
    return Step({**values, "the output": host(logits)}, own, moves)


def host(tensor: Tensor) -> Tensor:
    """A copy, float32 on the processor."""
    return tensor.detach().to("cpu", torch.float32, copy=True)
