"""The colours of a picture into sRGB, by the ICC profile that its file carries.

Networks are trained on sRGB. A profile that changes no colour by more than `SAME` levels is left alone, so
that pictures which are sRGB already keep their very bytes.
"""

from __future__ import annotations

import io
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageCms

SAME = 2  # of 255: versions of sRGB itself differ by 1
KEPT_TRANSFORMS = 16  # in each thread; a camera writes one profile into all its files

SPACES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}
"""ICC's name of a colour space -> the mode of pictures that it describes."""

_own = threading.local()


class DamagedProfileError(Exception):
    """The profile cannot be read, or describes another kind of picture."""


@dataclass(frozen=True)
class Conversion:
    """From the colours of a profile to sRGB.

    Attributes:
        mode: Of the pictures that it takes: ``RGB``, ``L`` or ``CMYK``.
        transform: littleCMS's; None: the profile says sRGB.
    """

    mode: str
    transform: Any

    def __call__(self, image: Image.Image) -> Image.Image:
        """A picture of ``mode`` -> RGB of the same size."""
        if self.transform is None:
            return image.convert("RGB")
        converted: Image.Image = self.transform.apply(image)
        return converted


def conversion(profile: bytes, mode: str) -> Conversion:
    """How pictures with a profile become sRGB.

    Args:
        profile: The bytes of an ICC profile.
        mode: Pillow's mode of the picture, 8 bits a channel; alpha and palettes aside.

    Raises:
        DamagedProfileError: It cannot be read, or is of another colour space than the picture.
    """
    known: dict[tuple[bytes, bool], Conversion | None] | None = getattr(_own, "known", None)
    if known is None or len(known) >= KEPT_TRANSFORMS:
        known = _own.known = {}
    key = (profile, mode == "CMYK")
    if key not in known:
        known[key] = _made(profile)
    made = known[key]
    if made is None:
        raise DamagedProfileError("it cannot be read")
    if (made.mode == "CMYK") != (mode == "CMYK") or (made.mode == "L" and mode not in ("L", "LA", "1")):
        raise DamagedProfileError(f"it is for {made.mode}, the picture is {mode}")
    return made


def _made(profile: bytes) -> Conversion | None:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = SPACES[source.profile.xcolor_space]
        transform = ImageCms.ImageCmsTransform(
            source,
            ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        sample = _every_colour(mode)
        if mode == "CMYK":
            transform.apply(sample)
            return Conversion(mode, transform)
        before = np.asarray(sample.convert("RGB")).astype(int)
        after = np.asarray(transform.apply(sample)).astype(int)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return Conversion(mode, None if np.abs(before - after).max() <= SAME else transform)


def _every_colour(mode: str) -> Image.Image:
    """All greys, or colours that lie evenly in the cube."""
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    if mode == "CMYK":
        return Image.new("CMYK", (4, 4))
    steps = np.linspace(0, 255, 9).astype(np.uint8)
    return Image.fromarray(np.stack(np.meshgrid(steps, steps, steps), -1).reshape(27, 27, 3))
