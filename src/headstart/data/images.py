"""From a file to an RGB picture: the one decoder of training, validation, prediction, export and serving.

A file is recognised by its content, never by its name. Orientation from EXIF is applied, transparency is
laid on white, palettes, grey, CMYK and high bit depths become 8-bit RGB, colour profiles become sRGB, of an
animation the first frame counts. A file that cannot be decoded to its last line raises `UnreadableImage`:
half pictures are refused. A giant JPEG is decoded at a reduced scale (see `reduction`), other giants are
refused from their header.

Colour pictures with 16 bits per channel keep the upper 8 (Pillow reads no more). Grey ones keep their
range: see `IntensityRange`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageChops,
    ImageFile,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
    features,
)

from headstart.data.colour import DamagedProfileError, conversion
from headstart.data.formats import HEAD_BYTES, PICTURE_SUFFIXES, UnreadableImage, read_file, recognise
from headstart.data.limits import (
    GIANT_PIXELS,
    MAX_JPEG_PIXELS,
    MAX_PIXELS,
    Shrinkable,
    check_webp_size,
    orientation,
    reduction,
    scale_of,
    too_large,
)

__all__ = [
    "DECODER_VERSION",
    "GIANT_PIXELS",
    "HEAD_BYTES",
    "MAX_JPEG_PIXELS",
    "MAX_PIXELS",
    "PICTURE_SUFFIXES",
    "RANGE_GUESSED",
    "Extremes",
    "IntensityRange",
    "Picture",
    "UnreadableImage",
    "decode",
    "fault_of",
    "intensity_of",
    "intensity_range",
    "read_file",
    "read_rgb",
    "recognise",
    "reduction",
    "to_rgb",
    "turned_upright",
]

DECODER_VERSION = 2
"""Rises with every change that can alter a decoded pixel; a saved model keeps the one that it was made with.

1: no colour profiles, no reduced scale, CMYK JPEGs are read as Adobe writes them. 2: as described above.
"""

HIGH_DEPTH_MODES = frozenset({"I", "F", "I;16", "I;16B", "I;16L", "I;16N"})
BITS = (8, 10, 12, 14, 16, 32)
RANGE_GUESSED = "more than 8 bits, but the model was trained on 8-bit pictures: the range was guessed"


class Extremes(NamedTuple):
    """Smallest and largest value of a picture with a high bit depth."""

    low: float
    high: float
    is_float: bool


@dataclass(frozen=True)
class IntensityRange:
    """What is shown as black and as white in grey pictures of more than 8 bits (or of float values).

    Decided once per data set, so that intensities of different pictures stay comparable; values outside
    are clipped.
    """

    black: float
    white: float


@dataclass(frozen=True)
class Picture:
    """A decoded file before its conversion to RGB.

    Attributes:
        image: Upright picture in the mode of the file, wholly loaded.
        white_is_zero: A TIFF whose largest value is black.
        animated: There are more frames than the one read.
        deep_colour: Colour with 16 bits per channel, of which the upper 8 were kept.
        turned: EXIF asked for a rotation or a mirror image, which was done.
        profile: ICC profile to be applied in the conversion to RGB; empty: there is none, or it says sRGB.
        damaged_profile: The file has a profile that cannot be used.
        scale: The sides of the file's picture are so many times longer: 1, or 2, 4 or 8 of a giant JPEG.
    """

    image: Image.Image
    white_is_zero: bool = False
    animated: bool = False
    deep_colour: bool = False
    turned: bool = False
    profile: bytes = field(default=b"", repr=False)
    damaged_profile: bool = False
    scale: int = 1

    @property
    def high_depth(self) -> bool:
        """Whether an `IntensityRange` is needed to show it."""
        return self.image.mode in HIGH_DEPTH_MODES

    def extremes(self) -> Extremes | None:
        """Range of the finite values of a high-bit-depth picture; None for 8 bits."""
        if not self.high_depth:
            return None
        values = np.asarray(self.image)
        is_float = values.dtype.kind == "f"
        if is_float:
            values = values[np.isfinite(values)]
            if not values.size:
                return Extremes(0.0, 0.0, True)
        return Extremes(float(values.min()), float(values.max()), is_float)


def read_rgb(source: Path | bytes, intensity: IntensityRange | None = None) -> Image.Image:
    """Decodes a picture.

    Args:
        source: A file, or the bytes of one.
        intensity: Black and white of high-bit-depth pictures. Without it a picture's own bit depth is
            guessed from its values (see `intensity_range`).

    Returns:
        Mode ``RGB``, 8 bits per channel, upright.

    Raises:
        UnreadableImage: The file is missing, empty, no picture, cut short, too large or not supported.
    """
    return to_rgb(decode(source if isinstance(source, bytes) else read_file(source)), intensity)


def intensity_of(source: Path | bytes) -> Extremes | None:
    """Smallest and largest value of a picture whose mode holds more than 8 bits, else None.

    Raises:
        UnreadableImage: as `read_rgb`.
    """
    return decode(source if isinstance(source, bytes) else read_file(source)).extremes()


def intensity_range(extremes: Iterable[tuple[float, float, bool]]) -> IntensityRange:
    """The range that a set of high-bit-depth pictures was recorded in.

    Whole numbers: the smallest of 8, 10, 12, 14, 16 or 32 bits that holds them all, from 0. Fractions: 0
    to 1 if all lie inside. Everything else (negative or larger values): the smallest to the largest value.

    Args:
        extremes: (smallest, largest, is_float) of each picture; at least one.
    """
    found = list(extremes)
    low = min(item[0] for item in found)
    high = max(item[1] for item in found)
    if any(item[2] for item in found):
        if low >= 0.0 and high <= 1.0:
            return IntensityRange(0.0, 1.0)
    elif low >= 0:
        for bits in BITS:
            if high < 2**bits:
                return IntensityRange(0.0, float(2**bits - 1))
    return IntensityRange(low, high if high > low else low + 1.0)


def decode(data: bytes, shrinkable: Shrinkable | None = None, *, version: int = DECODER_VERSION) -> Picture:
    """Decodes a whole file to its upright picture, in the mode that the file has.

    Args:
        data: The bytes of the file.
        shrinkable: For giant JPEGs, see `reduction`; None: they shrink as little as possible.
        version: Of the decoder that a saved model was made with, see `DECODER_VERSION`.

    Raises:
        UnreadableImage: as `read_rgb`.
    """
    name = recognise(data[:HEAD_BYTES])
    check_webp_size(name, data)
    with pillow_set_up():
        try:
            image = decoder_of(name)(io.BytesIO(data), "")
        except UnreadableImage:
            raise
        except MemoryError:
            raise too_large(None) from None
        except Exception as error:  # each format's decoder has exceptions of its own
            raise fault_of(name, error) from None
        scale = scale_of(name, image, data, shrinkable) if version > 1 else 1
        if scale == 1 and image.width * image.height > MAX_PIXELS:
            raise too_large(image)
        try:
            animated = is_animated(name, image)
            deep_colour = is_deep_colour(name, image)
            white_is_zero = (
                isinstance(image, TiffImagePlugin.TiffImageFile)
                and image.mode in HIGH_DEPTH_MODES
                and image.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0
            )
            turned = is_turned(image)
            if scale > 1:
                image.draft(image.mode, (image.width // scale, image.height // scale))
            plain_cmyk = name == "JPEG" and image.mode == "CMYK" and "adobe" not in image.info
            image = turned_upright(image)
            if plain_cmyk and version > 1:  # Pillow takes all of them for Adobe's, whose values are inverted
                image = ImageChops.invert(image)
        except MemoryError:
            raise too_large(image) from None
        except Exception as error:
            raise fault_of(name, error) from None
    picture = Picture(image, white_is_zero, animated, deep_colour, turned, scale=scale)
    return with_profile(picture) if version > 1 else picture


def announced_pixels(data: bytes) -> int:
    """Width x height as the header of a file says; 0 where it cannot be read."""
    try:
        name = recognise(data[:HEAD_BYTES])
        check_webp_size(name, data)
        with pillow_set_up():
            image = decoder_of(name)(io.BytesIO(data), "")
    except Exception:  # `decode` says why
        return 0
    return int(image.width * image.height)


def with_profile(picture: Picture) -> Picture:
    """The picture with the colour profile of its file, if that changes colours."""
    image = picture.image
    profile = image.info.get("icc_profile")
    if not isinstance(profile, bytes) or not profile or picture.high_depth:
        return picture
    try:
        made = conversion(profile, image.mode)
    except DamagedProfileError:
        return dataclasses.replace(picture, damaged_profile=True)
    if made.transform is None:
        return picture
    return dataclasses.replace(picture, profile=profile)


def to_rgb(picture: Picture, intensity: IntensityRange | None = None) -> Image.Image:
    """RGB, 8 bits per channel: colour profile applied, transparency on white, high bit depths scaled by
    ``intensity``.

    Raises:
        UnreadableImage: A colour space that Pillow cannot convert.
    """
    image = picture.image
    if image.mode == "RGB" and "transparency" not in image.info and not picture.profile:
        return image
    if picture.high_depth:
        decided = intensity or intensity_range([e for e in (picture.extremes(),) if e is not None])
        return scaled(image, decided, picture.white_is_zero)
    with pillow_set_up():
        try:
            alpha = None
            if image.has_transparency_data:
                image = image.convert("RGBA")
                alpha = image.getchannel("A")
            if picture.profile:
                made = conversion(picture.profile, picture.image.mode)
                image = made(image.convert(made.mode))
            if alpha is not None:
                image = image.convert("RGB")
                image.putalpha(alpha)
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            return image.convert("RGB")
        except MemoryError:
            raise too_large(image) from None
        except Exception as error:
            raise UnreadableImage("unsupported", f"colours cannot be converted: {error}") from None


def scaled(image: Image.Image, intensity: IntensityRange, white_is_zero: bool) -> Image.Image:
    """Grey RGB of a high-bit-depth picture; clipped to the range, not-a-number is black."""
    with np.errstate(invalid="ignore"):  # not-a-number, of either kind
        values = np.asarray(image).astype(np.float64)
        values -= intensity.black
        values *= 255.0 / (intensity.white - intensity.black)
    grey = np.rint(np.clip(np.nan_to_num(values, nan=0.0), 0.0, 255.0)).astype(np.uint8)
    if white_is_zero:
        grey = 255 - grey
    return Image.fromarray(grey).convert("RGB")


def turned_upright(image: Image.Image) -> Image.Image:
    """The picture as a person holds it, turned in place; metadata that cannot be read turn nothing."""
    image.load()
    with contextlib.suppress(Exception):  # damaged metadata beside sound pixels
        ImageOps.exif_transpose(image, in_place=True)
    return image


def is_turned(image: Image.Image) -> bool:
    """Whether EXIF asks for a rotation or a mirror image."""
    return orientation(image) in range(2, 9)


def is_animated(name: str, image: Any) -> bool:
    return name in ("GIF", "WebP", "PNG", "AVIF", "TIFF") and bool(getattr(image, "is_animated", False))


def is_deep_colour(name: str, image: Any) -> bool:
    """Whether the file has 16 bits per colour channel; Pillow's raw mode then ends in ;16B or the like."""
    if name not in ("PNG", "TIFF") or image.mode in HIGH_DEPTH_MODES:
        return False
    raw_modes = (tile[3] if isinstance(tile[3], str) else str(tile[3][0]) for tile in image.tile)
    return any(";16" in mode for mode in raw_modes)


def decoder_of(name: str) -> Callable[[io.BytesIO, str], Any]:
    """Pillow's reader of a format, called directly: the size limit is ours, per call, and not Pillow's
    process-wide one.

    Raises:
        UnreadableImage: The reader is not installed.
    """
    if name in DECODERS:
        return DECODERS[name]
    if name == "AVIF" and features.check("avif"):
        from PIL import AvifImagePlugin

        return AvifImagePlugin.AvifImageFile
    if name == "HEIC":
        try:
            from pillow_heif import HeifImageFile
        except ImportError:
            hint = 'HEIC needs: pip install "headstart[heic]"'
            raise UnreadableImage("unsupported", hint) from None
        return HeifImageFile  # type: ignore[no-any-return]
    raise UnreadableImage("unsupported", f"this Pillow reads no {name}")


# JpegImageFile also reads the first picture of a multi-picture file (MPO, from phones).
DECODERS: dict[str, Callable[[io.BytesIO, str], Any]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
}


def fault_of(name: str, error: Exception) -> UnreadableImage:
    """What Pillow's many exceptions mean."""
    said = str(error).strip().removesuffix(".") or type(error).__name__
    lowered = said.lower()
    if isinstance(error, Image.DecompressionBombError):
        return UnreadableImage("too-large", f"{name} with more pixels than the limit")
    if isinstance(error, NotImplementedError) or any(
        word in lowered for word in ("unknown pixel mode", "unsupported", "not available", "unrecognized")
    ):
        return UnreadableImage("unsupported", f"a kind of {name} that is not read ({said})")
    if "truncated" in lowered or "unexpected end" in lowered:
        return UnreadableImage("truncated", f"{name}, cut short")
    return UnreadableImage("truncated", f"{name}, damaged ({said})")


_set_up_lock = threading.Lock()
_set_up_depth = 0
_truncated_before = False
_PILLOW_FILTER = ("ignore", None, Warning, re.compile(r"PIL\."), 0)


@contextlib.contextmanager
def pillow_set_up() -> Iterator[None]:
    """Decoding without Pillow's remarks on metadata, and without grey halves of truncated files.

    Both settings are process-wide in Pillow and Python. Threads share one set-up here: the first one in
    makes it, the last one out takes it back. (``warnings.catch_warnings`` in each thread would leave
    behind the filters of another one.)
    """
    global _set_up_depth, _truncated_before
    with _set_up_lock:
        _set_up_depth += 1
        if _set_up_depth == 1:
            _truncated_before = ImageFile.LOAD_TRUNCATED_IMAGES
        ImageFile.LOAD_TRUNCATED_IMAGES = False
        filters: list[object] = warnings.filters  # type: ignore[assignment]
        if _PILLOW_FILTER not in filters:
            filters.insert(0, _PILLOW_FILTER)
    try:
        yield
    finally:
        with _set_up_lock:
            _set_up_depth -= 1
            if _set_up_depth == 0:
                ImageFile.LOAD_TRUNCATED_IMAGES = _truncated_before
                filters = warnings.filters  # type: ignore[assignment]
                while _PILLOW_FILTER in filters:
                    filters.remove(_PILLOW_FILTER)
