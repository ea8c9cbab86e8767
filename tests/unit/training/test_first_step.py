"""The first step on an accelerator is held against the CPU's; one that is wrong is never trained on.

The step is really computed, on the CPU device in both number formats; the device that is wrong is pretended.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from headstart.config import TrainConfig
from headstart.data.dataset import Dataset, load_dataset
from headstart.data.pictures import Pictures
from headstart.model import zoo
from headstart.model.classifier import Classifier
from headstart.model.precision import Format
from headstart.model.transfer import transfer
from headstart.training import first_step
from headstart.training.first_step import ALLOWED, PICTURES, Step, checked_plan, difference, step_on, trusted
from headstart.training.plan import Plan
from headstart.training.planning import make_plan
from headstart.training.train import random_view, views_of

PREPROCESS = zoo.preprocess("test_efficientnet", 64)
FP32 = Format("cpu", "fp32")


@pytest.fixture(scope="module")
def data(shapes_folder: Path) -> tuple[Dataset, Pictures]:
    return load_dataset(shapes_folder, preprocess=PREPROCESS, selection=0.2, workers=1)


@pytest.fixture(scope="module")
def model(data: tuple[Dataset, Pictures]) -> Classifier:
    torch.manual_seed(0)
    return transfer(zoo.create("test_efficientnet", pretrained=False, img_size=64), data[0].classes)


Steps = Callable[..., Step]


def steps(model: Classifier, data: tuple[Dataset, Pictures], **fields: Any) -> Steps:
    """``steps(fmt, gradients)``: the first step of a plan."""
    dataset, pictures = data
    config = TrainConfig(model="test_efficientnet", img_size=64, precision="fp32", threads=1, **fields)
    plan = make_plan(config, model, dataset, PREPROCESS)
    plan = dataclasses.replace(plan, device_views=not plan.recipe.from_originals)
    ids = dataset.indices("train")[:PICTURES]
    views = views_of(plan, dataset, pictures)
    shown = [random_view(plan, views, int(i), 0) for i in ids]
    labels = torch.from_numpy(dataset.labels[ids])
    return lambda fmt, gradients=None: step_on(fmt, model, plan, shown, labels, PREPROCESS, gradients)


KINDS: list[dict[str, Any]] = [
    {},
    {"recipe": "d2l"},  # SGD, views from the originals
    {"freeze": "head"},
    {"freeze": "stem"},
    {"head_init": "zeros"},
    {"strategy": "probe"},
]


@pytest.mark.parametrize("fields", KINDS, ids=str)
def test_the_cpu_agrees_with_itself_in_every_format(
    model: Classifier, data: tuple[Dataset, Pictures], fields: dict[str, Any]
) -> None:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    step = steps(model, data, **fields)
    reference = step(FP32)
    for fmt in (FP32, Format("cpu", "fp32", "contiguous"), Format("cpu", "bf16")):
        other = step(fmt, reference.gradients)
        assert difference(lambda: reference, lambda: other, ALLOWED[fmt.precision]) is None  # noqa: B023
    # bf16 is seen as what it is
    assert difference(lambda: reference, lambda: other, 1e-4) is not None
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.frozen_below is None
    trains = fields.get("strategy") != "probe"
    assert bool(reference.gradients) == bool(reference.moves) == trains
    assert all(tensor.norm() > 0 for tensor in reference.moves.values())
    if trains and fields.get("freeze") != "head":
        assert any("backbone" in name and t.norm() > 0 for name, t in reference.gradients.items())


@pytest.mark.parametrize("part", ["values", "gradients", "moves"])
@pytest.mark.parametrize("fault", ["zero", "sign", "nan", "rows"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_single_wrong_tensor_is_found(
    model: Classifier, data: tuple[Dataset, Pictures], part: str, fault: str, precision: Any
) -> None:
    step = steps(model, data)
    reference = step(FP32)
    found = step(Format("cpu", precision), reference.gradients)
    tensors = dict(getattr(found, part))
    name = max(tensors, key=lambda name: (tensors[name].ndim > 1, float(tensors[name].norm())))
    right = tensors[name]
    tensors[name] = {
        "zero": torch.zeros_like(right),  # such as an optimiser that does not reach the weights
        "sign": -right,
        "nan": torch.full_like(right, float("nan")),
        "rows": right.flip(0),
    }[fault]
    wrong = dataclasses.replace(found, **{part: tensors})
    told = difference(lambda: reference, lambda: wrong, ALLOWED[precision])
    assert told is not None
    assert name in told
    assert ("is not a number" if fault == "nan" else "differs by") in told


def test_a_device_that_cannot_do_it_differs_and_one_without_memory_does_not() -> None:
    nothing = Step({}, {}, {})

    def lacks() -> Step:
        raise NotImplementedError("The operator 'aten::x' is not implemented for MPS.\nMore.")

    def full() -> Step:
        raise torch.OutOfMemoryError("out of memory")

    assert difference(lambda: nothing, lacks, 0.1) == (
        "it fails (The operator 'aten::x' is not implemented for MPS.)"
    )
    assert difference(lambda: nothing, full, 0.1) is None
    assert difference(lambda: nothing, lambda: nothing, 0.1) is None


# --- what follows --------------------------------------------------------------------------------------


def pretended(plan: Plan, asked: TrainConfig) -> Plan:
    """The plan as a Mac would have made it, in bf16 unless asked otherwise."""
    if asked.device == "cpu":
        return plan
    fmt = dataclasses.replace(plan.fmt, device="mps", precision=asked.precision or "bf16")
    return dataclasses.replace(plan, fmt=fmt)


@pytest.mark.parametrize(
    ("wrong", "ends_on"),
    [
        (set(), ("mps", "bf16")),
        ({"bf16"}, ("mps", "fp32")),
        ({"bf16", "fp32"}, ("cpu", "fp32")),
    ],
    ids=["right", "bf16 is wrong", "all is wrong"],
)
def test_a_wrong_first_step_is_said_and_never_trained_on(
    model: Classifier,
    data: tuple[Dataset, Pictures],
    capsys: pytest.CaptureFixture[str],
    wrong: set[str],
    ends_on: tuple[str, str],
) -> None:
    step = steps(model, data)
    reference = step(FP32)

    def difference_of(plan: Plan) -> str | None:
        assert plan.fmt.device == "mps"
        found = step(FP32, reference.gradients)
        if plan.fmt.precision in wrong:
            found = dataclasses.replace(found, moves={n: 0 * t for n, t in found.moves.items()})
        return difference(lambda: reference, lambda: found, ALLOWED[plan.fmt.precision])

    def plan_of(asked: TrainConfig) -> Plan:
        own = dataclasses.replace(asked, precision=asked.precision or "fp32")
        return pretended(make_plan(own, model, data[0], PREPROCESS), asked)

    config = TrainConfig(model="test_efficientnet", img_size=64, threads=1)
    plan = trusted(config, plan_of, difference_of)
    assert (plan.fmt.device, plan.fmt.precision) == ends_on
    said = capsys.readouterr().err
    for precision in ("bf16", "fp32"):
        text = f"the first step on mps in {precision} is not that of the CPU: move of "
        assert (f"warning: HS-RUN-045: {text}" in said) == (precision in wrong)
        assert any(line.startswith(text) for line in plan.first_step) == (precision in wrong)
    if ends_on[0] == "mps":
        assert plan.first_step[-1] == f"the first step on mps in {ends_on[1]} agrees with the CPU's"
    assert set(plan.first_step) <= set(plan.lines())
    assert plan.measured()["first_step"] == list(plan.first_step)


def test_on_the_cpu_nothing_is_checked(
    model: Classifier, data: tuple[Dataset, Pictures], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*args: Any) -> Step:
        raise AssertionError

    monkeypatch.setattr(first_step, "step_on", never)
    plan = checked_plan(TrainConfig(model="test_efficientnet", img_size=64, device="cpu"), model, *data)
    assert (plan.fmt.device, plan.first_step, plan.device_views) == ("cpu", (), False)
    assert plan.to_dict()["random_views_by"] == "pillow"


def test_a_whole_check_from_the_settings(
    model: Classifier, data: tuple[Dataset, Pictures], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a processor that passes for an accelerator: the check itself, and what the plan says then."""
    monkeypatch.setattr(Format, "accelerated", property(lambda fmt: fmt.memory_format == "channels_last"))
    monkeypatch.setattr(torch.accelerator, "synchronize", lambda device: None)
    config = TrainConfig(
        model="test_efficientnet",
        img_size=64,
        device="cpu",
        precision="bf16",
        memory_format="channels_last",
        threads=1,
    )
    plan = checked_plan(config, model, *data)
    assert plan.first_step == ("the first step on cpu in bf16 agrees with the CPU's",)
    assert plan.device_views
    assert any("cached views per picture, made on cpu" in line for line in plan.lines())
    lesson = checked_plan(dataclasses.replace(config, recipe="d2l"), model, *data)
    assert not lesson.device_views  # whole originals do not travel
