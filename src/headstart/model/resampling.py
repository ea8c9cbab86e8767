"""Crops of several sizes, resized to one on any device, nearly as Pillow does it on the processor.

Pillow resizes in two passes and rounds to whole grey levels after each. For a batch these are two products
with matrices of weights: few operations whatever the number of pictures, and such that every device has.
(torch's own antialiased resizing takes crops of one size, so one picture at a time.) Here the pass across
comes first; Pillow 13 begins with the cheaper one, so some pixels differ by a grey level or two.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headstart.model.forward import full_precision

REACH = {"bilinear": 1.0, "bicubic": 2.0}
"""Half the width of each filter, in pixels of the smaller of both sizes."""
VERSION = 1  # of what these functions compute
AT_A_TIME = 32  # pictures: bounds the memory, of which a picture takes about 2 MB at 256 pixels


def resized(crops: Tensor, sides: NDArray[np.int64], size: int, interpolation: str) -> Tensor:
    """Squares of whole grey levels, float32 [B, 3, S, S] on the device of ``crops``.

    Args:
        crops: uint8 [B, H, W, 3], each in the upper left corner; what is beside it does not matter.
        sides: Height and width of each crop, pixels, [B, 2].
        size: S, pixels.
        interpolation: ``bilinear`` or ``bicubic``, antialiased.
    """
    parts = [
        _resized(crops[i : i + AT_A_TIME], sides[i : i + AT_A_TIME], size, interpolation)
        for i in range(0, len(crops), AT_A_TIME)
    ]
    return torch.cat(parts)


def _resized(crops: Tensor, sides: NDArray[np.int64], size: int, interpolation: str) -> Tensor:
    n, height, width, _ = crops.shape
    across = weights(sides[:, 1], width, size, interpolation, crops.device)
    down = weights(sides[:, 0], height, size, interpolation, crops.device)
    with torch.autocast(crops.device.type, enabled=False), full_precision():
        rows = crops.permute(0, 1, 3, 2).to(torch.float32).reshape(n, height * 3, width)
        rows = grey_levels(torch.bmm(rows, across.transpose(1, 2))).view(n, height, 3 * size)
        return grey_levels(torch.bmm(down, rows)).view(n, size, 3, size).permute(0, 2, 1, 3)


def grey_levels(values: Tensor) -> Tensor:
    """Rounded as Pillow rounds, in place."""
    return values.add_(0.5).floor_().clamp_(0, 255)


def weights(
    sides: NDArray[np.int64], length: int, size: int, interpolation: str, device: torch.device
) -> Tensor:
    """What each pixel gives to each pixel of the result, float32 [B, S, length]; zero beyond a crop's side.

    The formula of Pillow's ``precompute_coeffs`` (Resample.c). Places are computed here in double precision,
    relative to the first pixel that counts, so that single precision suffices on the device.
    """
    scale = sides[:, None] / size
    stretch = np.maximum(scale, 1.0)
    reach = REACH[interpolation] * stretch
    centre = (np.arange(size) + 0.5) * scale
    first = np.maximum(np.floor(centre - reach + 0.5), 0)
    count = np.minimum(np.floor(centre + reach + 0.5), sides[:, None]) - first

    def there(values: NDArray[np.float64]) -> Tensor:
        return torch.from_numpy(values.astype(np.float32)).to(device)[:, :, None]

    pixel = torch.arange(length, device=device, dtype=torch.float32) - there(first)
    distance = (pixel - there(centre - first - 0.5)) / there(stretch)
    given = triangle(distance) if interpolation == "bilinear" else cubic(distance)
    given = torch.where((pixel >= 0) & (pixel < there(count)), given, 0.0)
    return given / given.sum(-1, keepdim=True)


def triangle(x: Tensor) -> Tensor:
    """Pillow's bilinear filter."""
    return (1 - x.abs()).clamp_(min=0)


def cubic(x: Tensor) -> Tensor:
    """Pillow's bicubic filter: Keys (1981) with a = -0.5."""
    x = x.abs()
    inside = (1.5 * x - 2.5) * x * x + 1
    outside = (((x - 5) * x + 8) * x - 4) * -0.5
    return torch.where(x < 1, inside, torch.where(x < 2, outside, 0.0))
