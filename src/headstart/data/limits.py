"""How large a picture may be, told from its header before memory is taken; giant JPEGs at a reduced scale."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PIL import ExifTags, Image

from headstart.data.formats import UnreadableImage

MAX_PIXELS = 200_000_000
"""Largest picture that is decoded, width x height, checked in the header before memory is taken."""

GIANT_PIXELS = 100_000_000
"""Larger baseline JPEGs are decoded at 1/2, 1/4 or 1/8 of their sides."""

MAX_JPEG_PIXELS = 1_000_000_000
"""Largest baseline JPEG."""

SCALES = (8, 4, 2)  # at which libjpeg decodes

Shrinkable = Callable[[int, int], float]
"""Upright width and height of a picture -> how many times smaller it may be decoded with nothing missed."""


def scale_of(name: str, image: Any, data: bytes, shrinkable: Shrinkable | None) -> int:
    """1, or at which scale a giant JPEG is to be decoded.

    Raises:
        UnreadableImage: ``too-large``: more than `MAX_JPEG_PIXELS`.
    """
    pixels = image.width * image.height
    if name != "JPEG" or pixels <= GIANT_PIXELS or not is_one_scan(image, data):
        return 1
    if pixels > MAX_JPEG_PIXELS:
        raise too_large(image, MAX_JPEG_PIXELS)
    width, height = image.size
    if orientation(image) >= 5:
        width, height = height, width
    return reduction(width, height, shrinkable)


def reduction(width: int, height: int, shrinkable: Shrinkable | None = None) -> int:
    """By how many times the sides of a giant JPEG are decoded shorter: 2, 4 or 8.

    Decided by sizes alone, so that it is the same wherever the file is read: at most half of what the target
    size would allow, but at least what `GIANT_PIXELS` asks for.
    """
    allowed = 1.0 if shrinkable is None else shrinkable(width, height) / 2
    wanted = next((scale for scale in SCALES if scale <= allowed), 1)
    needed = next(s for s in reversed(SCALES) if width * height <= GIANT_PIXELS * s * s)
    return max(wanted, needed)


def is_one_scan(image: Any, data: bytes) -> bool:
    """Whether a JPEG is baseline, all colours in one pass: others are held in memory at full scale."""
    if image.info.get("progressive"):
        return False
    at = 2
    while 0 <= at < len(data) - 4:
        at = data.find(b"\xff", at)
        marker = data[at + 1] if 0 <= at < len(data) - 4 else 0xDA
        if marker == 0xDA:
            return at >= 0 and data[at + 4 : at + 5] == bytes([image.layers])
        if marker in (0xFF, 0x00, 0x01) or 0xD0 <= marker <= 0xD8:  # fill bytes and marks without content
            at += 1
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return False


def check_webp_size(name: str, data: bytes) -> None:
    """Pillow makes room for a WebP's whole canvas when it opens the file: that one is looked at before.

    Raises:
        UnreadableImage: ``too-large``.
    """
    if name == "WebP" and data[12:16] == b"VP8X" and len(data) >= 30:
        width, height = (int.from_bytes(data[i : i + 3], "little") + 1 for i in (24, 27))
        if width * height > MAX_PIXELS:
            raise UnreadableImage("too-large", limit_words(width, height, MAX_PIXELS))


def orientation(image: Image.Image) -> int:
    """As EXIF counts them, 1 to 8; 1 if nothing is said, or it cannot be read."""
    try:
        said = image.getexif().get(ExifTags.Base.Orientation, 1)
        return int(said) if said in range(1, 9) else 1
    except Exception:  # damaged metadata
        return 1


def too_large(image: Image.Image | None, limit: int = MAX_PIXELS) -> UnreadableImage:
    if image is None:
        return UnreadableImage("too-large", "more pixels than memory holds")
    if image.width * image.height > limit:
        return UnreadableImage("too-large", limit_words(image.width, image.height, limit))
    return UnreadableImage("too-large", f"{image.width} x {image.height} pixels do not fit into memory")


def limit_words(width: int, height: int, limit: int) -> str:
    return f"{width} x {height} pixels, more than {limit // 1_000_000} million"
