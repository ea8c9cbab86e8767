"""Pictures that tests draw: stripes, dots and rings in changing colours, with noise.

A network that was trained on anything tells them apart; no two pictures are equal.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

KINDS = ("dots", "rings", "stripes")
SIZE = 72  # pixels


def draw(kind: str, number: int, size: int = SIZE) -> Image.Image:
    """A picture of a kind; the same arguments give the same pixels."""
    random = np.random.default_rng([zlib.crc32(kind.encode()), number])
    y, x = np.mgrid[0:size, 0:size]
    if kind == "stripes":
        angle = random.uniform(0, np.pi)
        ink = (x * np.cos(angle) + y * np.sin(angle)) // random.integers(5, 9) % 2 == 0
    elif kind == "dots":
        step = int(random.integers(14, 20))
        ink = (x % step - step / 2) ** 2 + (y % step - step / 2) ** 2 < (step / 3.5) ** 2
    elif kind == "rings":
        left, top = random.uniform(0.35, 0.65, 2) * size
        ink = np.hypot(x - left, y - top) // random.integers(6, 9) % 2 == 0
    else:
        raise ValueError(kind)
    colour, ground = random.integers(150, 256, 3), random.integers(40, 120, 3)
    pixels = np.where(ink[..., None], colour, ground) + random.normal(0, 10, (size, size, 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def draw_folder(
    root: Path,
    counts: Mapping[str, int] | int = 8,
    *,
    names: Mapping[str, str] | None = None,
    kinds: Iterable[str] = KINDS,
    size: int = SIZE,
) -> Path:
    """Class folders below ``root``, or below split folders.

    Args:
        counts: Pictures of each class: a number, or one for each split: ``{"train": 8, "test": 4}``.
        names: Kind -> name of its class folder.
        kinds: Which classes.
    """
    first = 0
    for split, count in ({"": counts} if isinstance(counts, int) else counts).items():
        for kind in kinds:
            folder = root / split / (names or {}).get(kind, kind)
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                draw(kind, first + number, size).save(folder / f"{number:03}.png")
        first += count
    return root
