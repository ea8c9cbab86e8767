"""A random view depends on seed, epoch and sample alone, and follows torchvision's algorithm."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from headstart.data.augment import (
    AUGMENTATIONS,
    Augmentation,
    augment,
    random_crop_box,
    resized,
    view_generator,
)

PIXELS = np.random.default_rng(3).integers(0, 256, (50, 70, 3), dtype=np.uint8)
D2L = AUGMENTATIONS["d2l"]


def view(name: str = "d2l", *, seed: int = 0, epoch: int = 0, sample: int | str = 0, size: int = 32):
    return augment(
        PIXELS,
        size,
        AUGMENTATIONS[name],
        seed=seed,
        epoch=epoch,
        sample_id=sample,
        interpolation="bilinear",
    )


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_views_have_the_asked_size_and_repeat(name: str) -> None:
    first = view(name, seed=1, epoch=2, sample=3)
    assert first.shape == (32, 32, 3) and first.dtype == np.uint8
    assert first.flags.c_contiguous
    assert np.array_equal(first, view(name, seed=1, epoch=2, sample=3))


def test_seed_epoch_and_sample_each_change_the_view() -> None:
    views = [view(), view(seed=1), view(epoch=1), view(sample=1), view(sample="1"), view(sample="2")]
    for i, a in enumerate(views):
        for b in views[:i]:
            assert not np.array_equal(a, b)


def test_views_do_not_depend_on_threads_or_order() -> None:
    keys = [(epoch, sample) for epoch in range(3) for sample in range(20)]
    alone = [view(epoch=e, sample=s) for e, s in keys]
    with ThreadPoolExecutor(4) as pool:
        threaded = list(pool.map(lambda key: view(epoch=key[0], sample=key[1]), reversed(keys)))
    for a, b in zip(alone, reversed(threaded), strict=True):
        assert np.array_equal(a, b)


def test_a_view_is_pinned_across_versions() -> None:
    box = random_crop_box(view_generator(0, 0, 0), 50, 70, (0.08, 1.0), (3 / 4, 4 / 3))
    assert box == (12, 25, 19, 17)


def test_crops_keep_the_asked_area_and_ratio() -> None:
    shares, ratios = [], []
    for sample in range(500):
        top, left, h, w = random_crop_box(view_generator(0, 0, sample), 400, 500, (0.08, 1.0), (3 / 4, 4 / 3))
        assert 0 <= top <= 400 - h and 0 <= left <= 500 - w
        shares.append(h * w / 200_000)
        ratios.append(w / h)
    assert 0.075 < min(shares) < 0.12 and 0.85 < max(shares) <= 1.0
    assert 0.73 < min(ratios) < 0.78 and 1.28 < max(ratios) < 1.36


def test_where_no_crop_fits_the_centre_is_taken_as_torchvision_does() -> None:
    import torch
    from torchvision.transforms import RandomResizedCrop

    for height, width in ((10, 400), (400, 10), (100, 100)):
        expected = RandomResizedCrop.get_params(torch.zeros(3, height, width), [5.0, 6.0], [3 / 4, 4 / 3])
        got = random_crop_box(view_generator(0, 0, 0), height, width, (5.0, 6.0), (3 / 4, 4 / 3))
        assert got == expected


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_resized_crop_equals_torchvision(interpolation: str) -> None:
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.functional import resized_crop as reference

    for box in ((3, 5, 20, 31), (0, 0, 50, 70), (10, 10, 24, 24), (49, 0, 1, 70)):
        expected = reference(Image.fromarray(PIXELS), *box, [24, 24], InterpolationMode(interpolation))
        top, left, height, width = box
        crop = np.ascontiguousarray(PIXELS[top : top + height, left : left + width])
        assert np.array_equal(resized(crop, 24, interpolation), np.asarray(expected))


def test_half_of_the_views_are_mirrored() -> None:
    centre = view("none")
    assert np.array_equal(centre, PIXELS[9:41, 19:51])
    kinds = [np.array_equal(view("flip", sample=s), centre) for s in range(400)]
    for s in range(400):
        if not kinds[s]:
            assert np.array_equal(view("flip", sample=s), centre[:, ::-1])
    assert 150 < sum(kinds) < 250


def test_dihedral_shows_all_eight_symmetries_equally() -> None:
    square = PIXELS[:32, :32]
    only_turned = Augmentation("turned", symmetries=tuple(range(8)))
    seen: dict[bytes, int] = {}
    for sample in range(400):
        turned = augment(square, 32, only_turned, seed=0, epoch=0, sample_id=sample, interpolation="bilinear")
        seen[turned.tobytes()] = seen.get(turned.tobytes(), 0) + 1
    all_eight = {
        np.ascontiguousarray(np.rot90(flipped, turn)).tobytes()
        for flipped in (square, square[:, ::-1])
        for turn in range(4)
    }
    assert set(seen) == all_eight
    assert min(seen.values()) > 25


def test_d2l_crops_more_than_the_default() -> None:
    assert D2L.scale == (0.08, 1.0) and D2L.ratio == (3 / 4, 4 / 3) and D2L.flip
    default = AUGMENTATIONS["default"]
    assert default.scale is not None and default.scale[0] > D2L.scale[0] and default.flip


def test_augmentation_leaves_its_input_alone() -> None:
    before = PIXELS.copy()
    for name in AUGMENTATIONS:
        view(name)
    assert np.array_equal(before, PIXELS)
