"""Common corruptions: what each does to a picture, and that it is the same everywhere."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.colors import hsv_to_rgb, rgb_to_hsv
from PIL import Image
from scipy.ndimage import gaussian_filter

from headstart.data.corruptions import (
    ALL,
    BLUR,
    BRIGHTNESS,
    CONTRAST,
    CORRUPTIONS,
    NOISE,
    STRENGTHS,
    View,
    corrupted,
)
from shapes import KINDS, draw

DRAWN = np.asarray(draw("rings", 3, size=224))
NAMES = sorted(CORRUPTIONS)


def view(pixels: np.ndarray = DRAWN, identity: str = "a", img_size: int = 224) -> View:
    return View(pixels, identity, img_size)


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Mean difference of two pictures, of 255."""
    return float(np.abs(one.astype(float) - other).mean())


def test_there_are_six_at_three_strengths() -> None:
    assert NAMES == ["blur", "brightness", "contrast", "jpeg", "noise", "pixelate"]
    assert len(ALL) == len(set(ALL)) == 18
    for (name, strength), pixels in zip(ALL, corrupted(view()), strict=True):
        assert (pixels == CORRUPTIONS[name](view(), strength)).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_a_higher_strength_changes_more(name: str, kind: str) -> None:
    pixels = np.asarray(draw(kind, 5, size=224))
    changes = [distance(CORRUPTIONS[name](view(pixels), strength), pixels) for strength in STRENGTHS]
    assert 0.5 < changes[0] < changes[1] < changes[2]


pictures = st.tuples(st.integers(1, 40), st.integers(1, 40)).flatmap(
    lambda size: arrays(np.uint8, (*size, 3), elements=st.integers(0, 255), fill=st.integers(0, 255))
)


@given(pictures, st.text(max_size=5), st.integers(1, 400))
@settings(max_examples=60, deadline=None)
def test_any_picture_keeps_its_shape_and_is_left_as_it_was(
    pixels: np.ndarray, identity: str, img_size: int
) -> None:
    before = pixels.copy()
    pixels.setflags(write=False)  # as they come from the cache
    first = corrupted(View(pixels, identity, img_size))
    assert all(one.shape == pixels.shape and one.dtype == np.uint8 for one in first)
    again = corrupted(View(np.asfortranarray(before), identity, img_size))
    assert all((one == other).all() for one, other in zip(first, again, strict=True))
    assert (pixels == before).all()


@given(arrays(np.uint8, (9, 14), elements=st.integers(0, 255)))
@settings(max_examples=40, deadline=None)
def test_a_picture_without_colours_gets_none(grey: np.ndarray) -> None:
    for (name, strength), found in zip(ALL, corrupted(view(np.dstack([grey] * 3))), strict=True):
        assert (found == found[..., :1]).all(), (name, strength)


def test_pictures_without_any_contrast() -> None:
    for level in (0, 128, 255):
        flat = np.full((20, 30, 3), level, np.uint8)
        found = dict(zip(ALL, corrupted(view(flat)), strict=True))
        for name in ("blur", "contrast", "pixelate"):
            assert all((found[name, strength] == flat).all() for strength in STRENGTHS)
        raised = min(255, level + round(255 * BRIGHTNESS[1]))
        assert np.abs(found["brightness", 2].astype(int) - raised).max() <= 1


# --- against the definitions ------------------------------------------------------------------------------


@pytest.mark.parametrize("strength", STRENGTHS)
def test_noise_has_the_deviation_of_its_definition(strength: int) -> None:
    grey = np.full((224, 224, 3), 128, np.uint8)
    grey[0, 0, 0] = 129  # a colour
    found = CORRUPTIONS["noise"](view(grey), strength).astype(float) - 128
    share = NOISE[strength - 1]
    clipped = np.clip(np.random.default_rng(0).normal(0, 255 * share, 100_000), -128, 127)
    assert found.std() == pytest.approx(clipped.std(), rel=0.02)
    assert abs(found.mean()) < 1
    channels = found.reshape(-1, 3).T
    assert max(abs(np.corrcoef(channels)[i, j]) for i, j in ((0, 1), (0, 2), (1, 2))) < 0.02


def test_the_noise_of_a_picture_is_its_own_and_one_pattern() -> None:
    grey = np.full((50, 50, 3), 128, np.uint8)
    one, other = (CORRUPTIONS["noise"](view(grey, identity), 1) for identity in "ab")
    assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.1
    stronger = CORRUPTIONS["noise"](view(grey, "a"), 2)
    assert np.corrcoef(one.ravel(), stronger.ravel())[0, 1] > 0.98


@pytest.mark.parametrize("strength", STRENGTHS)
def test_blur_is_gaussian(strength: int) -> None:
    sigma = BLUR[strength - 1]
    found = CORRUPTIONS["blur"](view(), strength)
    exact = gaussian_filter(DRAWN.astype(float), (sigma, sigma, 0), mode="nearest")
    assert distance(found, exact) < 1.5 < distance(DRAWN, exact)


def test_blur_is_the_same_part_of_a_larger_input() -> None:
    image = Image.fromarray(DRAWN)
    large = np.asarray(image.resize((448, 448), Image.Resampling.BICUBIC))
    blurred = Image.fromarray(CORRUPTIONS["blur"](view(large, img_size=448), 2))
    small = np.asarray(blurred.resize((224, 224), Image.Resampling.BOX))
    assert distance(small, CORRUPTIONS["blur"](view(), 2)) < 2


@pytest.mark.parametrize("strength", STRENGTHS)
def test_brightness_raises_the_value_of_hsv(strength: int) -> None:
    hsv = rgb_to_hsv(DRAWN / 255)
    hsv[..., 2] = np.clip(hsv[..., 2] + BRIGHTNESS[strength - 1], 0, 1)
    expected = 255 * hsv_to_rgb(hsv)
    assert np.abs(CORRUPTIONS["brightness"](view(), strength) - expected).max() < 0.6


@pytest.mark.parametrize("strength", STRENGTHS)
def test_contrast_shrinks_the_distance_to_the_mean(strength: int) -> None:
    mean = DRAWN.mean(axis=(0, 1), keepdims=True)
    expected = (DRAWN - mean) * CONTRAST[strength - 1] + mean
    assert np.abs(CORRUPTIONS["contrast"](view(), strength) - expected).max() < 0.6


def test_pixelation_leaves_few_different_columns() -> None:
    found = CORRUPTIONS["pixelate"](view(), 3)
    columns = sum(bool((a != b).any()) for a, b in itertools.pairwise(found.transpose(1, 0, 2)))
    assert columns == 224 * 0.25 - 1


def test_jpeg_is_what_pillow_writes() -> None:
    found = CORRUPTIONS["jpeg"](view(), 3)
    assert 2 < distance(found, DRAWN) < 40
    assert (CORRUPTIONS["jpeg"](view(found), 3) != DRAWN).any()


GOLDEN = {
    ("noise", 1): (144.75, 15.88),
    ("noise", 2): (143.11, 34.36),
    ("noise", 3): (139.83, 62.81),
    ("blur", 1): (144.78, 14.24),
    ("blur", 2): (145.24, 33.17),
    ("blur", 3): (145.16, 48.13),
    ("jpeg", 1): (145.04, 15.05),
    ("jpeg", 2): (145.62, 16.43),
    ("jpeg", 3): (140.95, 21.71),
    ("brightness", 1): (163.63, 18.35),
    ("brightness", 2): (186.51, 41.23),
    ("brightness", 3): (208.73, 63.46),
    ("contrast", 1): (145.31, 29.38),
    ("contrast", 2): (145.25, 39.17),
    ("contrast", 3): (145.29, 46.51),
    ("pixelate", 1): (145.68, 11.61),
    ("pixelate", 2): (145.47, 16.14),
    ("pixelate", 3): (145.53, 21.77),
}
"""Mean of a drawn picture, corrupted, and its mean change: a change of any definition shows."""


def test_the_definitions_have_not_changed() -> None:
    assert list(GOLDEN) == list(ALL)
    for (key, told), pixels in zip(GOLDEN.items(), corrupted(view()), strict=True):
        loose = 0.3 if key[0] in ("jpeg", "blur") else 0.011  # Pillow's libraries compute these
        assert (pixels.mean(), distance(pixels, DRAWN)) == pytest.approx(told, abs=loose), key
