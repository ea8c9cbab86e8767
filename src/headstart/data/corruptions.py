"""Common corruptions: noise, blur, JPEG, brightness, contrast, pixelation, each at three strengths.

Definitions and constants: Hendrycks & Dietterich, "Benchmarking Neural Network Robustness to Common
Corruptions and Perturbations", ICLR 2019 (ImageNet-C); strengths 1, 2 and 3 are its severities 1, 3 and 5. As
there, they act on the picture at the size of evaluation, so that a strength means the same for every picture,
whatever its size (decision 24). Each is a function of the picture, its identity and the strength alone.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from headstart.data.preprocess import Pixels

STRENGTHS = (1, 2, 3)
SEVERITIES = (1, 3, 5)
"""Of ImageNet-C, for each strength."""
PUBLISHED_SIZE = 224  # pixels; the side of the pictures that its constants are for

NOISE = (0.08, 0.18, 0.38)  # standard deviation, of white
BLUR = (1.0, 3.0, 6.0)  # sigma, pixels; grows with the input, of which it is the same part
JPEG = (25, 15, 7)  # quality
BRIGHTNESS = (0.1, 0.3, 0.5)  # added to the value of HSV, of white
CONTRAST = (0.4, 0.2, 0.05)  # of the distance to the mean
PIXELATE = (0.6, 0.4, 0.25)  # of the sides


class View(NamedTuple):
    """What a corruption may depend on, beside its strength.

    Attributes:
        pixels: The picture at the size of evaluation.
        identity: Of its file, such as the hash of its bytes.
        img_size: Side of the network's input, pixels.
    """

    pixels: Pixels
    identity: str
    img_size: int


def noise(view: View, strength: int) -> Pixels:
    """Gaussian noise, the same pattern at each strength; one channel for a picture without colours."""
    pixels = view.pixels
    seed = hashlib.sha256(f"noise:{view.identity}".encode()).digest()
    random = np.random.default_rng(int.from_bytes(seed[:16], "big"))
    grey = bool((pixels == pixels[..., :1]).all())  # a grey camera has grey noise
    pattern = random.standard_normal((*pixels.shape[:2], 1 if grey else 3), dtype=np.float32)
    return rounded(pixels + pattern * np.float32(255 * NOISE[strength - 1]))


def blur(view: View, strength: int) -> Pixels:
    """Gaussian blur (one of ImageNet-C's further corruptions), as Pillow computes it."""
    sigma = BLUR[strength - 1] * view.img_size / PUBLISHED_SIZE
    return np.asarray(Image.fromarray(view.pixels).filter(ImageFilter.GaussianBlur(sigma)))


def jpeg(view: View, strength: int) -> Pixels:
    """Written as JPEG of a low quality, and read."""
    file = io.BytesIO()
    Image.fromarray(view.pixels).save(file, "JPEG", quality=JPEG[strength - 1])
    return np.asarray(Image.open(file).convert("RGB"))


def brightness(view: View, strength: int) -> Pixels:
    """Brighter: the value of HSV raised, hue and saturation kept."""
    pixels = view.pixels.astype(np.float32)
    value = pixels.max(axis=2, keepdims=True)
    raised = np.minimum(value + np.float32(255 * BRIGHTNESS[strength - 1]), 255)
    black = value == 0  # has no hue: becomes grey
    return rounded(np.where(black, raised, pixels * (raised / np.where(black, 1, value))))


def contrast(view: View, strength: int) -> Pixels:
    """Drawn towards the mean of each channel."""
    pixels = view.pixels.astype(np.float32)
    mean = pixels.mean(axis=(0, 1), keepdims=True, dtype=np.float64).astype(np.float32)
    return rounded((pixels - mean) * np.float32(CONTRAST[strength - 1]) + mean)


def pixelate(view: View, strength: int) -> Pixels:
    """Made smaller, and large again, without interpolation."""
    image = Image.fromarray(view.pixels)
    small = (max(1, int(side * PIXELATE[strength - 1])) for side in image.size)
    box = Image.Resampling.BOX
    return np.asarray(image.resize((next(small), next(small)), box).resize(image.size, box))


CORRUPTIONS: dict[str, Callable[[View, int], Pixels]] = {
    "noise": noise,
    "blur": blur,
    "jpeg": jpeg,
    "brightness": brightness,
    "contrast": contrast,
    "pixelate": pixelate,
}
ALL = tuple((name, strength) for name in CORRUPTIONS for strength in STRENGTHS)


def corrupted(view: View) -> list[Pixels]:
    """The picture with each corruption at each strength, in the order of `ALL`: each uint8 [h, w, 3]."""
    return [CORRUPTIONS[name](view, strength) for name, strength in ALL]


def rounded(pixels: NDArray[np.float32]) -> Pixels:
    """To whole numbers 0-255."""
    return np.rint(np.clip(pixels, 0, 255)).astype(np.uint8)
