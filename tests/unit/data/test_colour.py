"""Colour profiles become sRGB; sRGB stays as it is, and a damaged profile hurts nobody."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageCms

from headstart.data.colour import DamagedProfileError, conversion
from headstart.data.images import decode, read_rgb
from icc import WIDE, profile

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
# sRGB's own primaries, adapted to D50 (ICC's specification of sRGB).
NARROW = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))


def colours() -> Image.Image:
    steps = np.array([20, 90, 160, 230], np.uint8)
    return Image.fromarray(np.stack(np.meshgrid(steps, steps, steps), -1).reshape(8, 8, 3))


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(read_rgb(data)).astype(int)


def expected(values: np.ndarray, gamma: float = 2.2) -> np.ndarray:
    """sRGB of values in `WIDE` primaries, by the definitions; what lies outside of sRGB is clipped."""
    linear = (values / 255.0) ** gamma
    inside = np.linalg.solve(np.array(NARROW).T, np.array(WIDE).T @ linear.reshape(-1, 3).T).T.clip(0, 1)
    curve = np.where(inside <= 0.0031308, 12.92 * inside, 1.055 * inside ** (1 / 2.4) - 0.055)
    return np.rint(255 * curve).reshape(values.shape).astype(int)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_wide_colours_become_srgb(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(colours(), kind, icc_profile=profile(), **options)
    assert decode(data).profile
    want = expected(np.asarray(colours()))
    assert np.abs(pixels(data) - want).max() <= 3
    assert np.abs(np.asarray(colours()).astype(int) - want).max() > 20  # else this tests nothing


@pytest.mark.parametrize("own", [SRGB, profile(NARROW, gamma=2.2)])
def test_srgb_keeps_its_very_pixels(own: bytes) -> None:
    picture = decode(encoded(colours(), icc_profile=own))
    if own == SRGB:
        assert not picture.profile and not picture.damaged_profile
        assert np.array_equal(pixels(encoded(colours(), icc_profile=own)), np.asarray(colours()))
    else:  # a gamma of 2.2 is not sRGB's curve
        assert picture.profile


def test_grey_with_a_profile_of_its_own() -> None:
    grey = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    dark = pixels(encoded(grey, icc_profile=profile(gamma=1.0, space=b"GRAY")))
    assert dark[0, 0].tolist() == [0, 0, 0] and dark[15, 15].tolist() == [255, 255, 255]
    assert abs(dark[8, 0, 0] - 188) <= 1  # linear 0.502 in sRGB's curve


def test_grey_picture_with_a_colour_profile() -> None:
    grey = Image.new("L", (4, 4), 128)
    data = encoded(grey, "JPEG", quality=100, icc_profile=profile(gamma=1.8))
    assert decode(data).profile
    assert len(set(pixels(data)[0, 0].tolist())) == 1
    assert abs(pixels(data)[0, 0, 0] - expected(np.full((1, 1, 3), 128), 1.8)[0, 0, 0]) <= 2


def test_transparency_is_laid_on_white_after_the_conversion() -> None:
    picture = colours().convert("RGBA")
    alpha = np.full((8, 8), 255, np.uint8)
    alpha[:, 4:] = 0
    picture.putalpha(Image.fromarray(alpha))
    seen = pixels(encoded(picture, icc_profile=profile()))
    assert np.abs(seen[:, :4] - expected(np.asarray(colours()))[:, :4]).max() <= 3
    assert seen[:, 4:].min() == 255


def test_palettes_are_converted_too() -> None:
    picture = colours().convert("P", palette=Image.Palette.ADAPTIVE)
    plain = np.asarray(picture.convert("RGB"))
    assert np.abs(pixels(encoded(picture, icc_profile=profile())) - expected(plain)).max() <= 3


@pytest.mark.parametrize(
    "damaged", [b"junk" * 40, profile()[:200], profile()[:130], b"\0", profile(space=b"GRAY")]
)
def test_a_damaged_profile_is_counted_and_not_applied(damaged: bytes) -> None:
    data = encoded(colours(), icc_profile=damaged)
    picture = decode(data)
    assert picture.damaged_profile and not picture.profile
    assert np.array_equal(pixels(data), np.asarray(colours()))


def test_a_profile_for_ink_does_not_fit_light() -> None:
    with pytest.raises(DamagedProfileError, match="the picture is CMYK"):
        conversion(profile(), "CMYK")


def test_pictures_of_more_than_8_bits_keep_their_values() -> None:
    deep = Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000)
    picture = decode(encoded(deep, icc_profile=profile(space=b"GRAY")))
    assert not picture.profile and not picture.damaged_profile


def test_the_first_decoder_applied_no_profile() -> None:
    picture = decode(encoded(colours(), icc_profile=profile()), version=1)
    assert not picture.profile and not picture.damaged_profile


def test_threads_give_the_same_colours() -> None:
    files = [encoded(colours(), icc_profile=profile(gamma=gamma)) for gamma in (1.0, 1.8, 2.2, 2.6)] * 10
    alone = [pixels(data) for data in files]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(pixels, files))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))
