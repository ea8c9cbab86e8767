"""Depthwise gradients: those of torch, whatever the kernel; only the slow ones are taken over."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from headstart.model import zoo
from headstart.model.depthwise import DepthwiseConvolution, FastDepthwise

CHANNELS = 6
HALF = torch.finfo(torch.bfloat16).eps


def pictures(height: int, width: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(3, CHANNELS, height, width, generator=generator)
    return x.contiguous(memory_format=torch.channels_last).requires_grad_()


def convolved(
    x: Tensor, weight: Tensor, bias: Tensor | None, *settings: Any, fast: bool, groups: int = CHANNELS
) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        if not fast:
            return nn.functional.conv2d(x, weight, bias, *settings, groups)
        with FastDepthwise():
            return nn.functional.conv2d(x, weight, bias, *settings, groups)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    kernel=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    size=st.tuples(st.integers(13, 18), st.integers(13, 18)),
    with_bias=st.booleans(),
)
def test_gradients_are_those_of_double_precision(
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    size: tuple[int, int],
    with_bias: bool,
) -> None:
    x = pictures(*size)
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(CHANNELS, 1, *kernel, generator=generator, requires_grad=True)
    bias = torch.randn(CHANNELS, generator=generator, requires_grad=True) if with_bias else None
    given = [tensor for tensor in (x, weight, bias) if tensor is not None]
    exact = nn.functional.conv2d(
        x.double(),
        weight.double(),
        None if bias is None else bias.double(),
        stride,
        padding,
        dilation,
        CHANNELS,
    )
    gradient = torch.randn(exact.shape, generator=generator, dtype=torch.float64)
    expected = torch.autograd.grad(exact, given, gradient)

    output = convolved(x, weight, bias, stride, padding, dilation, fast=True)
    assert torch.equal(output, convolved(x, weight, bias, stride, padding, dilation, fast=False))
    for found, wanted, tensor in zip(
        torch.autograd.grad(output, given, gradient.bfloat16()), expected, given, strict=True
    ):
        assert found.dtype == tensor.dtype
        assert found.shape == tensor.shape
        assert (found - wanted).abs().max() <= 4 * HALF * wanted.abs().max()


@pytest.mark.parametrize(
    ("kernel", "stride", "groups", "taken"),
    [
        (5, 1, CHANNELS, True),
        (3, 2, CHANNELS, True),
        (3, 1, CHANNELS, False),
        (5, 2, 2, False),
        (5, 2, 1, False),
    ],
)
def test_only_slow_gradients_are_taken_over(kernel: int, stride: int, groups: int, taken: bool) -> None:
    weight = torch.randn(CHANNELS, CHANNELS // groups, kernel, kernel, requires_grad=True)
    output = convolved(pictures(14, 14), weight, None, stride, 0, 1, fast=True, groups=groups)
    assert (type(output.grad_fn).__name__ == f"{DepthwiseConvolution.__name__}Backward") == taken


def test_full_precision_and_inference_are_left_alone() -> None:
    weight = torch.randn(CHANNELS, 1, 5, 5, requires_grad=True)
    with FastDepthwise():
        output = nn.functional.conv2d(pictures(14, 14), weight, groups=CHANNELS)
    assert output.dtype == torch.float32
    assert type(output.grad_fn).__name__ == "ConvolutionBackward0"
    with torch.no_grad():
        assert convolved(pictures(14, 14), weight, None, 1, 0, 1, fast=True).grad_fn is None


@pytest.mark.parametrize("name", ["test_efficientnet", "test_convnext", "efficientnet-lite0"])
def test_a_network_trains_with_the_same_gradients(name: str) -> None:
    """The loss is the same bit for bit; gradients differ as little as rounding makes them."""
    model = zoo.create(name, pretrained=name == "efficientnet-lite0").to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    outcomes = []
    for fast in (False, True):
        model.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16):
            if fast:
                with FastDepthwise():
                    logits = model(x)
            else:
                logits = model(x)
        loss = nn.functional.cross_entropy(logits.float(), torch.tensor([0, 1]))
        loss.backward()
        gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        outcomes.append((loss.item(), torch.cat(gradients)))
    (plain_loss, plain), (fast_loss, fast_gradients) = outcomes
    assert plain_loss == fast_loss
    assert nn.functional.cosine_similarity(plain, fast_gradients, dim=0) > 0.999
