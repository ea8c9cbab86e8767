"""The bundled network without timm: the same as timm's, which is the oracle here."""

from __future__ import annotations

import contextlib
import subprocess
import sys

import pytest
import torch

from headstart.config import DEFAULT_MODEL
from headstart.model import bundled
from headstart.model.adapters import detach_head
from headstart.model.classifier import Classifier
from headstart.model.efficientnet_lite import EfficientNetLite
from headstart.model.networks import build, to_load

SLOW = ("timm", "torchvision", "torch._dynamo", "sympy", "matplotlib")


def classifier(network, source) -> Classifier:
    backbone, head, _ = detach_head(network, source)
    return Classifier(backbone, head, source=source, img_size=source.input_size)


@pytest.fixture(params=bundled.PACKAGES)
def pair(request) -> tuple[Classifier, Classifier]:
    """timm's network with random weights and statistics, and ours with the same."""
    source = bundled.spec(request.param)
    torch.manual_seed(0)
    theirs, ours = build(source), to_load(source)
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    assert isinstance(ours, EfficientNetLite)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    return classifier(theirs, source), classifier(ours, source)


@pytest.mark.parametrize("size", [64, 75])
@pytest.mark.parametrize("autocast", [False, True])
def test_forward_is_equal_to_the_bit(pair, size, autocast):
    pictures = torch.randn(2, 3, size, size + 13)
    bf16 = torch.autocast("cpu", torch.bfloat16) if autocast else contextlib.nullcontext()
    with torch.no_grad(), bf16:
        answers = [model.eval()(pictures) for model in pair]
    assert torch.equal(*answers)


def test_gradients_and_statistics_are_equal_to_the_bit(pair):
    pictures = torch.randn(2, 3, 64, 64)
    for model in pair:
        model.train()
        model(pictures).square().sum().backward()
    theirs, ours = pair
    named = dict(ours.named_parameters())
    assert list(named) == [name for name, _ in theirs.named_parameters()]
    for name, parameter in theirs.named_parameters():
        assert torch.equal(parameter.grad, named[name].grad), name
    for one, other in zip(theirs.buffers(), ours.buffers(), strict=True):
        assert torch.equal(one, other)


def test_stages_are_the_same(pair):
    theirs, ours = (model.eval() for model in pair)
    assert [stage.name for stage in theirs.stages] == [stage.name for stage in ours.stages]
    pictures = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        for name in ("stage0", "stage4", "stage6", "head"):
            assert torch.equal(theirs.below(name)(pictures), ours.below(name)(pictures)), name


def test_the_first_model_needs_neither_timm_nor_the_compiler():
    code = f"""
import sys
import numpy as np
import torch
from headstart.model import zoo
from headstart.training.probe import fit_probe
model = zoo.create({DEFAULT_MODEL!r})
features = model.features(torch.zeros(6, 3, 32, 32)) + torch.randn(6, model.num_features)
fit_probe(features.detach(), np.array([0, 1] * 3), 2, np.arange(6))
print([name for name in {SLOW!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
