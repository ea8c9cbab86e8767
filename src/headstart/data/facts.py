"""What is kept of a picture beside its pixels: kind, size, colour, and a perceptual hash."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SAMPLED = 128  # pixels of a side that take part
SIDE = 64  # of the small grey picture that is hashed
COSINES = 16  # in each direction
LOOK_BYTES = COSINES**2 // 8
LUMA = np.array((0.299, 0.587, 0.114), np.float32)

FACTS_VERSION = 1
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


def facts_of(image: Image.Image, name: str, mode: str, scale: int = 1) -> PictureFacts:
    """The facts of a decoded picture.

    Colour, contrast and hash are those of `SAMPLED` x `SAMPLED` evenly spread pixels: as telling as all of
    them, in a third of the time.

    Args:
        image: Mode RGB, upright.
        name: Its format.
        mode: Of its file.
        scale: The sides of the file's picture are so many times longer.
    """
    small = image.resize((SAMPLED, SAMPLED), Image.Resampling.NEAREST).reduce(SAMPLED // SIDE)
    values = np.frombuffer(small.tobytes(), np.uint8).reshape(SIDE * SIDE, 3).astype(np.float32)
    means = _MEAN @ values
    red, green, blue = (round(mean, 1) for mean in means.tolist())
    grey = values @ LUMA
    centred = grey - means @ LUMA
    contrast = round(math.sqrt(float(centred @ centred) * _MEAN[0]), 1)
    look = look_of(grey.reshape(SIDE, SIDE))
    width, height = image.width * scale, image.height * scale
    return PictureFacts(name, mode, width, height, (red, green, blue), contrast, look)


def look_of(grey: NDArray[np.float32]) -> str:
    """pHash as `imagehash.phash(picture, hash_size=16)` has it: which frequencies lie above their median.

    Args:
        grey: Picture [`SIDE`, `SIDE`].
    """
    low = (_COSINES @ grey @ _COSINES.T).ravel()
    half = len(low) // 2
    below, above = np.partition(low, (half - 1, half))[half - 1 : half + 1]
    return np.packbits(low > (below + above) / 2).tobytes().hex()


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
        self._tenths.extend(round(10 * value) for value in (*item.colour, item.contrast))
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

    def looks(self) -> NDArray[np.uint8]:
        """The hashes as rows: uint8 [n, `LOOK_BYTES`]."""
        return np.frombuffer(bytes(self._looks), np.uint8).reshape(len(self), LOOK_BYTES)
