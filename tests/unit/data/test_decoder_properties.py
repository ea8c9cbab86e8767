"""Whatever the bytes, the size, the mode or the crop: what the decoder promises holds."""

from __future__ import annotations

import io
import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fuzz.decoder import changed, check, seeds
from headstart.data.formats import UnreadableImage
from headstart.data.images import decode, read_rgb
from headstart.data.preprocess import Preprocess

SEEDS = seeds()
sides = st.integers(1, 60)


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(
        np.random.default_rng(width * 100 + height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    )


def test_the_fuzz_target_reads_its_own_seeds() -> None:
    assert all(check(data) for data in SEEDS)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(range(len(SEEDS))), st.integers(0, 2**32))
def test_damaged_pictures_give_a_picture_or_a_reason(which: int, seed: int) -> None:
    check(changed(SEEDS[which], random.Random(seed)))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(range(len(SEEDS))), st.integers(0, 40), st.binary(max_size=300))
def test_any_bytes_after_a_sound_beginning(which: int, kept: int, rest: bytes) -> None:
    check(SEEDS[which][:kept] + rest)


@settings(max_examples=60, deadline=None)
@given(sides, sides, st.sampled_from(["PNG", "BMP", "TIFF", "WEBP"]))
def test_lossless_files_come_back_pixel_by_pixel(width: int, height: int, kind: str) -> None:
    buffer = io.BytesIO()
    noise(width, height).save(buffer, kind, **({"lossless": True} if kind == "WEBP" else {}))
    assert np.array_equal(np.asarray(read_rgb(buffer.getvalue())), np.asarray(noise(width, height)))


@settings(max_examples=100, deadline=None)
@given(
    sides, sides, st.tuples(st.integers(0, 70), st.integers(0, 70), st.integers(1, 70), st.integers(1, 70))
)
def test_a_crop_in_pixels_is_that_part_or_a_fault(
    width: int, height: int, crop: tuple[int, int, int, int]
) -> None:
    if max(crop) <= 1:
        return
    left, top, wide, high = crop
    spec = Preprocess(8, 8, "bilinear", (0.5,) * 3, (0.5,) * 3, crop=crop)
    try:
        seen = np.asarray(spec.rgb(png(noise(width, height))))
    except UnreadableImage as fault:
        assert fault.kind == "too-small"
        assert left + wide > width or top + high > height
        return
    whole = np.asarray(noise(width, height))
    assert np.array_equal(seen, whole[top : top + high, left : left + wide])
    assert seen.shape == (high, wide, 3)


@settings(max_examples=100, deadline=None)
@given(sides, sides, st.tuples(*[st.floats(0, 1, allow_subnormal=False)] * 4))
def test_a_crop_in_fractions_fits_every_picture(
    width: int, height: int, numbers: tuple[float, float, float, float]
) -> None:
    left, top = min(numbers[0], numbers[1]), min(numbers[2], numbers[3])
    wide, high = abs(numbers[0] - numbers[1]), abs(numbers[2] - numbers[3])
    if min(wide, high) < 1e-6:
        return
    spec = Preprocess(8, 8, "bilinear", (0.5,) * 3, (0.5,) * 3, crop=(left, top, wide, high))
    seen = spec.rgb(png(noise(width, height)))
    assert 1 <= seen.width <= width and 1 <= seen.height <= height
    assert abs(seen.width - wide * width) <= 1 and abs(seen.height - high * height) <= 1


@settings(max_examples=60, deadline=None)
@given(sides, sides, st.integers(1, 8))
def test_a_crop_is_of_the_upright_picture(width: int, height: int, turn: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    buffer = io.BytesIO()
    noise(width, height).save(buffer, "PNG", exif=exif)
    upright = decode(buffer.getvalue()).image
    spec = Preprocess(8, 8, "bilinear", (0.5,) * 3, (0.5,) * 3, crop=(0.5, 0.0, 0.5, 1.0))
    seen = np.asarray(spec.rgb(buffer.getvalue()))
    assert np.array_equal(seen, np.asarray(upright)[:, -seen.shape[1] :])
