"""Random views of a picture, each a pure function of (seed, epoch, sample id).

The same view comes out whatever the number of threads, processes or machines, and on resuming.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image

from headstart.data.preprocess import RESAMPLING, Pixels, centre_crop

ATTEMPTS = 10  # tries to fit a random crop into the picture, as torchvision


MIRROR = 4
"""The symmetry that exchanges left and right."""


class Symmetry(NamedTuple):
    """One of the eight symmetries of the square."""

    mirrored: bool
    """Whether left and right are exchanged, first."""
    turns: int
    """Then, rotations by 90 degrees against the clock, 0-3."""

    @classmethod
    def of(cls, number: int) -> Symmetry:
        """Number 0-7: 0-3 rotations, 4-7 the same after a mirror; 6 exchanges top and bottom."""
        return cls(number >= MIRROR, number % MIRROR)

    @property
    def inverse(self) -> int:
        """Number of the symmetry that undoes it."""
        return MIRROR + self.turns if self.mirrored else -self.turns % MIRROR

    def __call__(self, view: Pixels) -> Pixels:
        """A square view, mirrored and turned, C-contiguous."""
        return turned(view, self.mirrored, self.turns)


def turned(view: Pixels, mirrored: bool, turns: int) -> Pixels:
    """A square picture, mirrored first, then turned against the clock."""
    return np.ascontiguousarray(np.rot90(view[:, ::-1] if mirrored else view, turns))


@dataclass(frozen=True)
class Augmentation:
    """What a training view may change.

    Attributes:
        name: Key in `AUGMENTATIONS`.
        scale: Smallest and largest part of the picture's area that a crop keeps, 0-1; None: the centre crop
            of evaluation.
        ratio: Smallest and largest width / height of the crop.
        flip: Mirror left and right in half of the views.
        symmetries: One of these symmetries of the square instead, for pictures without an up (microscopy,
            aerial, solar cells): numbers as `Symmetry` takes them.
    """

    name: str
    scale: tuple[float, float] | None = None
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: bool = False
    symmetries: tuple[int, ...] = ()

    @property
    def turns(self) -> frozenset[int]:
        """The symmetries other than the picture as it is that it may show."""
        return frozenset(self.symmetries or ((0, MIRROR) if self.flip else ())) - {0}


AUGMENTATIONS: dict[str, Augmentation] = {
    a.name: a
    for a in (
        Augmentation("none"),
        Augmentation("flip", flip=True),
        Augmentation("crop", scale=(0.35, 1.0)),
        Augmentation("default", scale=(0.35, 1.0), flip=True),
        Augmentation("d2l", scale=(0.08, 1.0), flip=True),
        Augmentation("dihedral", scale=(0.8, 1.0), ratio=(0.9, 1 / 0.9), symmetries=tuple(range(8))),
        Augmentation("rotations", scale=(0.8, 1.0), ratio=(0.9, 1 / 0.9), symmetries=(0, 1, 2, 3)),
        Augmentation("mirrors", scale=(0.8, 1.0), ratio=(0.9, 1 / 0.9), symmetries=(0, 2, 4, 6)),
    )
}


def augment(
    pixels: Pixels,
    size: int,
    augmentation: Augmentation,
    *,
    seed: int,
    epoch: int,
    sample_id: int | str,
    interpolation: str,
) -> Pixels:
    """A random view of a picture: uint8 [h, w, 3] -> [size, size, 3].

    Args:
        pixels: The whole picture, original or at evaluation resolution. (With ``fit="pad"``: after
            `Preprocess.evaluation_crop`.)
        size: Side of the view, pixels.
        seed: Not negative; other seeds give other views.
        epoch: Not negative; the number of the view where several are made beforehand.
        sample_id: Identity of the picture in its data set: index, path or hash.
        interpolation: ``bilinear`` or ``bicubic``.
    """
    part = cut(pixels, size, augmentation, seed=seed, epoch=epoch, sample_id=sample_id)
    view = resized(part.pixels, size, interpolation)
    return turned(view, part.mirrored, part.turns)


@dataclass(frozen=True, eq=False)
class Cut:
    """A random view before it is resized to a square and turned, which may happen elsewhere.

    Attributes:
        pixels: The part of the picture that it shows, uint8 [h, w, 3], C-contiguous.
        mirrored: Whether left and right are exchanged, first.
        turns: Then, rotations by 90 degrees against the clock, 0-3.
    """

    pixels: Pixels
    mirrored: bool = False
    turns: int = 0


def cut(
    pixels: Pixels, size: int, augmentation: Augmentation, *, seed: int, epoch: int, sample_id: int | str
) -> Cut:
    """What chance decides of a view: its part of the picture, and how that is turned.

    The arguments are those of `augment`.
    """
    random = view_generator(seed, epoch, sample_id)
    if augmentation.scale is None:
        part = centre_crop(pixels, size)
    else:
        top, left, height, width = random_crop_box(
            random, pixels.shape[0], pixels.shape[1], augmentation.scale, augmentation.ratio
        )
        part = pixels[top : top + height, left : left + width]
    mirrored, turns = False, 0
    if augmentation.symmetries:
        mirrored, turns = Symmetry.of(
            augmentation.symmetries[int(random.integers(len(augmentation.symmetries)))]
        )
    elif augmentation.flip:
        mirrored = bool(random.random() < 0.5)
    return Cut(np.ascontiguousarray(part), mirrored, turns)


def view_generator(seed: int, epoch: int, sample_id: int | str) -> np.random.Generator:
    """Independent random numbers for one view of one picture."""
    if isinstance(sample_id, str):
        digest = hashlib.sha256(sample_id.encode("utf-8", "surrogatepass")).digest()
        sample_id = int.from_bytes(digest[:8], "little")
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, epoch, int(sample_id)])))


def random_crop_box(
    random: np.random.Generator,
    height: int,
    width: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> tuple[int, int, int, int]:
    """Top, left, height and width of a crop, pixels; the algorithm of torchvision's RandomResizedCrop."""
    area = height * width
    for _ in range(ATTEMPTS):
        target_area = area * random.uniform(*scale)
        aspect_ratio = math.exp(random.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w = round(math.sqrt(target_area * aspect_ratio))
        h = round(math.sqrt(target_area / aspect_ratio))
        if 0 < w <= width and 0 < h <= height:
            return int(random.integers(height - h + 1)), int(random.integers(width - w + 1)), h, w
    # None fitted: the largest centre crop of an allowed ratio.
    w, h = width, height
    if width / height < min(ratio):
        h = round(width / min(ratio))
    elif width / height > max(ratio):
        w = round(height * max(ratio))
    return (height - h) // 2, (width - w) // 2, h, w


def resized(crop: Pixels, size: int, interpolation: str) -> Pixels:
    """A part of a picture as a square, C-contiguous: uint8 [h, w, 3] -> [size, size, 3], as torchvision's."""
    if crop.shape[:2] == (size, size):
        return crop
    return np.asarray(Image.fromarray(crop).resize((size, size), RESAMPLING[interpolation]))
