"""EfficientNet-Lite as timm builds it, tensor for tensor and bit for bit, without importing timm.

timm imports all of its architectures and torchvision with torch's compiler: more than a second of processor
time, which the bundled models would pay before their first model and before each prediction (decision 14).
Random weights, and every other architecture, stay timm's.

Tan & Le, "EfficientNet" (2019); the Lite variants: github.com/tensorflow/tpu, official/efficientnet/lite.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

EPSILON = 1e-3  # of BatchNorm, as in TensorFlow
STEM, FEATURES, SOURCE_CLASSES = 32, 1280, 1000
EXPANSION = 6
KERNELS = (3, 3, 5, 3, 5, 5, 3)
STRIDES = (1, 2, 2, 2, 1, 2, 1)


class EfficientNetLite(nn.Module):
    """Pictures [B, 3, S, S] -> logits [B, 1000]. The convolutions are not set: weights are to be loaded.

    Args:
        depths: Blocks of each of the seven stages.
        widths: Their channels.
    """

    def __init__(self, depths: Sequence[int], widths: Sequence[int]) -> None:
        super().__init__()
        self.num_features = FEATURES
        self.conv_stem = Convolution(3, STEM, 3, 2)
        self.bn1 = normalisation(STEM)
        self.act1 = nn.ReLU6(inplace=True)
        stages: list[nn.Module] = []
        before = STEM
        for depth, width, kernel, stride in zip(depths, widths, KERNELS, STRIDES, strict=True):
            blocks: list[nn.Module] = []
            for number in range(depth):
                kind = InvertedResidual if stages else DepthwiseSeparable
                blocks.append(kind(before, width, kernel, 1 if number else stride))
                before = width
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*stages)
        self.conv_head = Convolution(before, FEATURES, 1)
        self.bn2 = normalisation(FEATURES)
        self.act2 = nn.ReLU6(inplace=True)
        self.global_pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(1))
        self.classifier: nn.Module = nn.Linear(FEATURES, SOURCE_CLASSES)

    def get_classifier(self) -> nn.Module:
        """The output layer."""
        return self.classifier

    def forward_head(self, x: Tensor) -> Tensor:
        """What follows the last block: activations [B, C, h, w] -> logits, or features without the head."""
        x = self.act2(self.bn2(self.conv_head(x)))
        logits: Tensor = self.classifier(self.global_pool(x))
        return logits

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.blocks(self.act1(self.bn1(self.conv_stem(x)))))


class DepthwiseSeparable(nn.Module):
    """The first block: without expansion."""

    def __init__(self, channels: int, width: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.has_skip = stride == 1 and channels == width
        self.conv_dw = Convolution(channels, channels, kernel, stride, groups=channels)
        self.bn1 = normalisation(channels)
        self.act1 = nn.ReLU6(inplace=True)
        self.conv_pw = Convolution(channels, width, 1)
        self.bn2 = normalisation(width)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act1(self.bn1(self.conv_dw(x)))
        y = self.bn2(self.conv_pw(y))
        return y + x if self.has_skip else y


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, projection."""

    def __init__(self, channels: int, width: int, kernel: int, stride: int) -> None:
        super().__init__()
        inside = EXPANSION * channels
        self.has_skip = stride == 1 and channels == width
        self.conv_pw = Convolution(channels, inside, 1)
        self.bn1 = normalisation(inside)
        self.act1 = nn.ReLU6(inplace=True)
        self.conv_dw = Convolution(inside, inside, kernel, stride, groups=inside)
        self.bn2 = normalisation(inside)
        self.act2 = nn.ReLU6(inplace=True)
        self.conv_pwl = Convolution(inside, width, 1)
        self.bn3 = normalisation(width)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act1(self.bn1(self.conv_pw(x)))
        y = self.act2(self.bn2(self.conv_dw(y)))
        y = self.bn3(self.conv_pwl(y))
        return y + x if self.has_skip else y


class Convolution(nn.Conv2d):
    """Without bias, padded as TensorFlow does: what is odd is added below and to the right."""

    def __init__(self, channels: int, width: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(channels, width, kernel, stride, padding, groups=groups, bias=False)

    def reset_parameters(self) -> None:
        """Nothing: random numbers would be drawn to be overwritten."""

    def forward(self, x: Tensor) -> Tensor:
        if self.stride[0] > 1:
            above, below = self._missing(x.shape[-2])
            left, right = self._missing(x.shape[-1])
            x = nn.functional.pad(x, (left, right, above, below))
        return super().forward(x)

    def _missing(self, size: int) -> tuple[int, int]:
        """Rows or columns to add before and behind."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        missing = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        return missing // 2, missing - missing // 2


def normalisation(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=EPSILON)
