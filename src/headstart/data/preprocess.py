"""From an RGB picture to the network's input: resize, crop, standardise. NumPy and Pillow only.

Equals torchvision's ``Resize -> CenterCrop -> ToTensor -> Normalize`` on Pillow pictures bit for bit, and is
stored with the model, so that training, prediction, export and serving see the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from headstart.data.images import (
    DECODER_VERSION,
    IntensityRange,
    Picture,
    UnreadableImage,
    decode,
    to_rgb,
)

Pixels = NDArray[np.uint8]
"""RGB, values 0-255, shape [height, width, 3]."""

RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}

MAX_RESIZED_PIXELS = 50_000_000
"""A hair-thin picture grows when its short side is resized: 1 x 60,000 would become 4 GB."""


@dataclass(frozen=True)
class Preprocess:
    """How a picture becomes the input of a network.

    Attributes:
        img_size: Side of the square input, pixels.
        resize: Pixels. ``fit="crop"``: length of the short side before the centre crop. ``"squash"``:
            length of both sides before the centre crop. ``"pad"``: not used.
        interpolation: ``bilinear`` or ``bicubic``, antialiased, as Pillow computes them.
        mean: Subtracted from each channel, after scaling to 0-1 (red, green, blue).
        std: Divides each channel after that.
        fit: ``crop`` loses the ends of the long side, ``squash`` the aspect ratio, ``pad`` nothing (the long
            side becomes ``img_size``, the rest is filled with the mean colour).
        intensity: Black and white of high-bit-depth pictures; None where there are none.
        crop: Left, top, width and height of the part of each upright picture that is used, for cameras that
            do not move; pixels, or fractions of the picture if none is above 1. None: all of it.
        decoder: The `DECODER_VERSION` that the model was made with.
    """

    img_size: int
    resize: int
    interpolation: Literal["bilinear", "bicubic"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    fit: Literal["crop", "squash", "pad"] = "crop"
    intensity: IntensityRange | None = None
    crop: tuple[float, float, float, float] | None = None
    decoder: int = DECODER_VERSION

    def __post_init__(self) -> None:
        if self.img_size < 1 or self.resize < 1:
            raise ValueError(f"img_size {self.img_size} and resize {self.resize} must be at least 1 pixel")
        if max(self.img_size, self.resize) ** 2 > MAX_RESIZED_PIXELS:
            raise ValueError(f"img_size {self.img_size} and resize {self.resize} do not fit into memory")
        if self.interpolation not in RESAMPLING:
            raise ValueError(f"interpolation {self.interpolation!r} is not bilinear or bicubic")
        if self.fit not in ("crop", "squash", "pad"):
            raise ValueError(f"fit {self.fit!r} is not crop, squash or pad")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ValueError("mean and std need three values each, std above 0")
        if self.crop is not None and (len(self.crop) != 4 or min(self.crop) < 0 or min(self.crop[2:]) <= 0):
            raise ValueError(f"crop {self.crop} is not left, top, width and height")
        if not 1 <= self.decoder <= DECODER_VERSION:
            raise ValueError(f"made with decoder {self.decoder}, this headstart has {DECODER_VERSION}")

    def __call__(self, image: Image.Image) -> NDArray[np.float32]:
        """RGB picture of any size, as `rgb` gives it -> float32 [3, img_size, img_size].

        Raises:
            UnreadableImage: as `resized`.
        """
        return self.normalize(self.evaluation_crop(self.resized(image)))

    def rgb(self, data: bytes) -> Image.Image:
        """The bytes of a file -> the part of the picture that is used, at its own size, mode RGB.

        Raises:
            UnreadableImage: as `decoded`, or colours that cannot be converted.
        """
        return to_rgb(self.decoded(data), self.intensity)

    def decoded(self, data: bytes) -> Picture:
        """The bytes of a file -> the upright picture before its conversion to RGB, cropped.

        Raises:
            UnreadableImage: as `headstart.data.images.decode` and `cropped`.
        """
        return self.cropped(decode(data, self.shrinkable, version=self.decoder))

    def cropped(self, picture: Picture) -> Picture:
        """The part of an upright picture that is used.

        Raises:
            UnreadableImage: ``too-small``: the crop reaches beyond the picture.
        """
        if self.crop is None:
            return picture
        width, height = picture.image.size
        part = self.crop_box(width * picture.scale, height * picture.scale)
        left, top, right, bottom = (round(side / picture.scale) for side in part)
        box = (left, top, max(min(right, width), left + 1), max(min(bottom, height), top + 1))
        return replace(picture, image=picture.image.crop(box))

    def crop_box(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of the crop in a picture of this size, pixels.

        Raises:
            UnreadableImage: as `cropped`.
        """
        if self.crop is None:
            return 0, 0, width, height
        x, y, w, h = self.crop
        if is_fraction(self.crop):
            left, top = min(round(x * width), width - 1), min(round(y * height), height - 1)
            return left, top, max(round((x + w) * width), left + 1), max(round((y + h) * height), top + 1)
        left, top, right, bottom = round(x), round(y), round(x + w), round(y + h)
        if right > width or bottom > height:
            reason = f"{width} x {height} pixels, and the crop reaches to {right} x {bottom}"
            raise UnreadableImage("too-small", reason)
        return left, top, right, bottom

    def shrinkable(self, width: int, height: int) -> float:
        """How many times larger the used part of a picture is than its resized form; for giant JPEGs."""
        left, top, right, bottom = self.crop_box(width, height)
        new_width, new_height = self.resized_size(right - left, bottom - top)
        return min((right - left) / new_width, (bottom - top) / new_height)

    def resized(self, image: Image.Image) -> Pixels:
        """The picture at evaluation resolution, before any crop: uint8 [h, w, 3], read-only.

        Args:
            image: Mode RGB.

        Raises:
            UnreadableImage: ``too-large``: so thin that its resized form would not fit into memory.
        """
        width, height = self.resized_size(image.width, image.height)
        if (width, height) != image.size:
            image = image.resize((width, height), RESAMPLING[self.interpolation])
        return np.asarray(image)

    def resized_size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height after `resized`, pixels.

        Raises:
            UnreadableImage: as `resized`.
        """
        if self.fit == "squash":
            return self.resize, self.resize
        short, long = min(width, height), max(width, height)
        if self.fit == "pad":
            new_short, new_long = max(1, round(self.img_size * short / long)), self.img_size
        else:
            new_short, new_long = self.resize, int(self.resize * long / short)
        if new_short * new_long > MAX_RESIZED_PIXELS:
            reason = f"{width} x {height} pixels, too thin to be cropped (--fit pad reads it)"
            raise UnreadableImage("too-large", reason)
        return (new_short, new_long) if width <= height else (new_long, new_short)

    def evaluation_crop(self, pixels: Pixels) -> Pixels:
        """The centre of a resized picture: uint8 [h, w, 3] -> [img_size, img_size, 3].

        What lies outside of a smaller picture is black (``fit="pad"``: the mean colour).
        """
        if self.fit == "pad":
            fill = np.rint(np.clip(np.array(self.mean) * 255.0, 0, 255)).astype(np.uint8)
            return centre_crop(pixels, self.img_size, fill)
        return centre_crop(pixels, self.img_size)

    def normalize(self, pixels: Pixels) -> NDArray[np.float32]:
        """uint8 [..., H, W, 3] -> float32 [..., 3, H, W], C-contiguous: ``(x / 255 - mean) / std``."""
        *batch, height, width, _ = pixels.shape
        out = np.empty((*batch, 3, height, width), np.float32)
        mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        # One channel of one picture at a time stays in the processor's cache.
        sources = pixels.reshape(-1, height, width, 3)
        for source, target in zip(sources, out.reshape(-1, 3, height, width), strict=True):
            for channel in range(3):
                plane = target[channel]
                plane[...] = source[..., channel]
                plane /= np.float32(255)
                plane -= mean[channel]
                plane /= std[channel]
        return out

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `from_dict` reads them back."""
        lists = {name: list(value) for name, value in asdict(self).items() if isinstance(value, tuple)}
        return {**asdict(self), **lists}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocess:
        """Reads `to_dict`.

        Raises:
            ValueError: A field is missing, unknown or out of range, or a later decoder made it.
        """
        given = dict(values)
        unknown = set(given) - {field.name for field in fields(cls)}
        missing = {"img_size", "resize", "interpolation", "mean", "std"} - set(given)
        if unknown or missing:
            raise ValueError(f"preprocessing: unknown {sorted(unknown)}, missing {sorted(missing)}")
        for name in ("mean", "std", "crop"):
            if given.get(name) is not None:
                given[name] = tuple(float(value) for value in given[name])
        if given.get("intensity") is not None:
            given["intensity"] = IntensityRange(**given["intensity"])
        return cls(**given)


def is_fraction(crop: tuple[float, float, float, float]) -> bool:
    """Whether a crop is given in fractions of the picture, not in pixels."""
    return max(crop) <= 1


def centre_crop(pixels: Pixels, size: int, fill: object = 0) -> Pixels:
    """The square middle of a picture, torchvision's rounding: uint8 [h, w, 3] -> [size, size, 3].

    Args:
        fill: Colour of what lies outside of a smaller picture.
    """
    height, width = pixels.shape[:2]
    if height < size or width < size:
        padded = np.empty((max(height, size), max(width, size), 3), np.uint8)
        padded[:] = fill
        top, left = max(size - height, 0) // 2, max(size - width, 0) // 2
        padded[top : top + height, left : left + width] = pixels
        pixels = padded
        height, width = pixels.shape[:2]
    top, left = round((height - size) / 2.0), round((width - size) / 2.0)
    return pixels[top : top + size, left : left + size]
