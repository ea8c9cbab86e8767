"""Depthwise convolutions whose gradients are fast in bf16 on CPUs.

PyTorch's bf16 gradients of depthwise convolutions fall back to slow kernels on CPUs where the stride is above
1 (input) or the kernel above 3 x 3 (weight): up to 100 times the time of fp32, and three quarters of the time
of training EfficientNet-Lite0's top (measured in decision 8). Here, the input's gradient is computed in fp32
in the first case, and the weight's from 3 x 3 windows of the kernel in the second; all else stays as it is.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

FAST_KERNEL = 3
Pair = tuple[int, int]


class FastDepthwise(TorchFunctionMode):
    """Inside this context, depthwise convolutions under CPU autocast to bf16 have fast gradients.

    Works on the networks of any library, whose modules stay as they are.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = dict(kwargs or {})
        if func is torch.conv2d and not named and is_slow_depthwise(*args):
            return DepthwiseConvolution.apply(*args)  # type: ignore[no-untyped-call]
        return func(*args, **named)


def is_slow_depthwise(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: str | int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> bool:
    """Whether these arguments of ``conv2d`` make a convolution whose gradient torch computes slowly."""
    return (
        groups > 1
        and groups == weight.shape[0] == x.shape[1]
        and x.ndim == 4
        and x.device.type == "cpu"
        and torch.is_grad_enabled()
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == torch.bfloat16
        and not isinstance(padding, str)
        and (max(pair(stride)) > 1 or max(weight.shape[2:]) > FAST_KERNEL)
    )


def pair(value: int | Sequence[int]) -> Pair:
    """Height and width of a stride, padding or dilation."""
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[-1]))


class DepthwiseConvolution(torch.autograd.Function):
    """``conv2d`` in bf16, one filter per channel; slow gradients in fp32."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
    ) -> Tensor:
        half, half_weight = x.to(torch.bfloat16), weight.to(torch.bfloat16)
        ctx.save_for_backward(half, half_weight)
        ctx.settings = (pair(stride), pair(padding), pair(dilation), groups)
        ctx.types = (x.dtype, weight.dtype, None if bias is None else bias.dtype)
        half_bias = None if bias is None else bias.to(torch.bfloat16)
        return torch.conv2d(half, half_weight, half_bias, *ctx.settings)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.settings
        input_type, weight_type, bias_type = ctx.types
        for_input = for_weight = for_bias = None
        if ctx.needs_input_grad[0]:
            kind = torch.float32 if max(stride) > 1 else torch.bfloat16
            tensors = (gradient.to(kind), x.to(kind), weight.to(kind))
            for_input = _gradients(*tensors, stride, padding, dilation, groups, (True, False, False))[0]
            for_input = for_input.to(input_type)
        if ctx.needs_input_grad[1]:
            for_weight = weight_gradient(gradient, x, weight.shape, stride, padding, dilation).to(weight_type)
        if bias_type is not None and ctx.needs_input_grad[2]:
            for_bias = gradient.sum((0, 2, 3), dtype=torch.float32).to(bias_type)
        return for_input, for_weight, for_bias, None, None, None, None


def weight_gradient(
    gradient: Tensor, x: Tensor, shape: Sequence[int], stride: Pair, padding: Pair, dilation: Pair
) -> Tensor:
    """Gradient [C, 1, kh, kw] of a depthwise convolution's weight, float32, window by window.

    A window of 3 x 3 taps of a larger kernel is a 3 x 3 convolution of a shifted input; windows overlap.

    Args:
        gradient: Of the output, [B, C, H', W'].
        x: The input, [B, C, H, W].
        shape: Of the weight.
    """
    channels, _, *kernel = shape
    padded = nn.functional.pad(x, (padding[1], padding[1], padding[0], padding[0]))
    result = torch.empty(channels, 1, *kernel, dtype=torch.float32)
    taps = [min(k, FAST_KERNEL) for k in kernel]
    window = gradient.new_empty(channels, 1, *taps)
    reach = [
        (taps[axis] - 1) * dilation[axis] + (gradient.shape[2 + axis] - 1) * stride[axis] + 1
        for axis in (0, 1)
    ]
    starts = [sorted({min(i, k - t) for i in range(0, k, t)}) for k, t in zip(kernel, taps, strict=True)]
    for top, left in itertools.product(*starts):
        y, z = top * dilation[0], left * dilation[1]
        shifted = padded[:, :, y : y + reach[0], z : z + reach[1]]
        shifted = shifted.contiguous(memory_format=torch.channels_last)
        wanted = (False, True, False)
        part = _gradients(gradient, shifted, window, stride, (0, 0), dilation, channels, wanted)[1]
        result[:, :, top : top + taps[0], left : left + taps[1]] = part
    return result


def _gradients(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
    wanted: tuple[bool, bool, bool],
) -> tuple[Tensor, Tensor, Tensor]:
    """Of a convolution's input, weight and bias, as far as ``wanted``."""
    result: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(
        gradient, x, weight, None, stride, padding, dilation, False, (0, 0), groups, wanted
    )
    return result
