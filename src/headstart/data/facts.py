"""What is kept of a picture beside its pixels: kind, size, colour, and a perceptual hash."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SAMPLED = 128  # pixels of a side that take part
SIDE = 64  # of the small grey picture that is hashed
COSINES = 16  # in each direction
LOOK_BYTES = COSINES**2 // 8
TOGETHER = (
    4  # pictures whose facts are computed at once: the numbers of more do not stay in the processor's cache
)
LUMA = np.array((0.299, 0.587, 0.114), np.float32)

FACTS_VERSION = 2
"""Rises with every change that can alter a fact."""

_MEAN = np.full(SIDE * SIDE, 1 / SIDE**2, np.float32)
_COSINES = np.cos(np.pi / SIDE * np.arange(COSINES)[:, None] * (np.arange(SIDE)[None] + 0.5)).astype(
    np.float32
)


class PictureFacts(NamedTuple):
    """What one picture is.

    Attributes:
        format: By content: ``JPEG``, ``PNG``, ...
        mode: Pillow's name of its pixels: ``RGB``, ``L``, ``P``, ``RGBA``, ``CMYK``, ``I;16``, ...
        width, height: Pixels, upright, of the part that is used; of a giant JPEG rounded up to its scale.
        colour: Mean red, green and blue, 0-255.
        contrast: Standard deviation of its grey values, 0-128; 0 is one even surface.
        look: Perceptual hash of `LOOK_BYTES`, hexadecimal.
    """

    format: str
    mode: str
    width: int
    height: int
    colour: tuple[float, float, float]
    contrast: float
    look: str

    @classmethod
    def from_list(cls, values: Sequence[Any]) -> PictureFacts:
        """Reads what JSON made of it."""
        name, mode, width, height, (red, green, blue), contrast, look = values
        return cls(name, mode, width, height, (red, green, blue), contrast, look)


class Sample(NamedTuple):
    """What the facts of a decoded picture are computed from.

    Attributes:
        format, mode, width, height: As in `PictureFacts`.
        pixels: RGB of the small picture, `SIDE` x `SIDE` x 3 bytes.
    """

    format: str
    mode: str
    width: int
    height: int
    pixels: bytes


def sample_of(image: Image.Image, name: str, mode: str, scale: int = 1) -> Sample:
    """Takes `SAMPLED` x `SAMPLED` evenly spread pixels: as telling as all of them, in a third of the time.

    Args:
        image: Mode RGB, upright.
        name: Its format.
        mode: Of its file.
        scale: The sides of the file's picture are so many times longer.
    """
    small = image.resize((SAMPLED, SAMPLED), Image.Resampling.NEAREST).reduce(SAMPLED // SIDE)
    return Sample(name, mode, image.width * scale, image.height * scale, small.tobytes())


def facts_of(samples: Sequence[Sample]) -> list[PictureFacts]:
    """The facts of pictures, each the same whatever the others are; a few at once take half the time.

    Colour, contrast and hash are those of the pixels of a `Sample`.
    """
    groups = (samples[i : i + TOGETHER] for i in range(0, len(samples), TOGETHER))
    return list(chain.from_iterable(map(_facts_of_few, groups)))


def _facts_of_few(samples: Sequence[Sample]) -> list[PictureFacts]:
    pixels = np.frombuffer(b"".join([sample.pixels for sample in samples]), np.uint8)
    values = pixels.reshape(len(samples), SIDE * SIDE, 3).astype(np.float32)
    means = _MEAN @ values  # [n, 3]
    grey = values @ LUMA
    centred = grey - (means * LUMA).sum(axis=1, keepdims=True)
    contrasts = np.sqrt(np.einsum("ij,ij->i", centred, centred) * _MEAN[0])
    looks = looks_of(grey.reshape(-1, SIDE, SIDE))
    return [
        PictureFacts(
            sample.format,
            sample.mode,
            sample.width,
            sample.height,
            (round(red, 1), round(green, 1), round(blue, 1)),
            round(contrast, 1),
            look.hex(),
        )
        for sample, (red, green, blue), contrast, look in zip(
            samples, means.tolist(), contrasts.tolist(), map(bytes, looks), strict=True
        )
    ]


def looks_of(grey: NDArray[np.float32]) -> NDArray[np.uint8]:
    """pHash as `imagehash.phash(picture, hash_size=16)` has it: which frequencies lie above their median.

    Args:
        grey: Pictures [n, `SIDE`, `SIDE`].

    Returns:
        [n, `LOOK_BYTES`].
    """
    low = (_COSINES @ grey @ _COSINES.T).reshape(len(grey), COSINES**2)
    half = COSINES**2 // 2
    middle = np.partition(low, (half - 1, half), axis=1)[:, half - 1 : half + 1]
    return np.packbits(low > middle.sum(axis=1, keepdims=True) / 2, axis=1)


class FactsColumns(Sequence[PictureFacts]):
    """The facts of pictures column by column: a million of them take 60 MB, as objects 450."""

    def __init__(self, facts: Iterable[PictureFacts] = ()) -> None:
        self._kinds: dict[tuple[str, str], int] = {}
        self._names: list[tuple[str, str]] = []
        self._kind = array("H")
        self._size = array("i")  # width and height of each
        self._tenths = array("H")  # red, green, blue and contrast of each
        self._looks = bytearray()
        for item in facts:
            self.append(item)

    def append(self, item: PictureFacts) -> None:
        """Adds those of one more picture."""
        kind = (item.format, item.mode)
        if kind not in self._kinds:
            self._kinds[kind] = len(self._names)
            self._names.append(kind)
        self._kind.append(self._kinds[kind])
        self._size.extend((item.width, item.height))
        red, green, blue = item.colour
        self._tenths.extend((round(10 * red), round(10 * green), round(10 * blue), round(10 * item.contrast)))
        self._looks += bytes.fromhex(item.look).ljust(LOOK_BYTES, b"\0")

    def __len__(self) -> int:
        return len(self._kind)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        name, mode = self._names[self._kind[index]]
        width, height = self._size[2 * index : 2 * index + 2]
        red, green, blue, contrast = (value / 10 for value in self._tenths[4 * index : 4 * index + 4])
        look = self._looks[index * LOOK_BYTES : (index + 1) * LOOK_BYTES].hex()
        return PictureFacts(name, mode, width, height, (red, green, blue), contrast, look)

    def sizes(self) -> NDArray[np.int32]:
        """Width and height of each, pixels [n, 2]."""
        return np.array(self._size, np.int32).reshape(-1, 2)

    def contrasts(self) -> NDArray[np.float64]:
        """The contrast of each, [n]."""
        return np.array(self._tenths[3::4], np.float64) / 10

    def kinds(self) -> tuple[list[tuple[str, str]], NDArray[np.int64]]:
        """Format and mode of each: the different ones in the order of their first pictures, and which of them
        each picture has, [n]."""
        return list(self._names), np.array(self._kind, np.int64)

    def looks(self) -> NDArray[np.uint8]:
        """The hashes as rows: uint8 [n, `LOOK_BYTES`]."""
        return np.frombuffer(bytes(self._looks), np.uint8).reshape(len(self), LOOK_BYTES)
