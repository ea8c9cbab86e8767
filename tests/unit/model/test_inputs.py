"""Network inputs that an accelerator makes of bytes: those that the processor makes, up to rounding.

Everything runs on the CPU device: the same operations that any other device would be given.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from headstart.data.augment import AUGMENTATIONS, Augmentation, Cut, augment, cut
from headstart.data.preprocess import RESAMPLING, Pixels, Preprocess
from headstart.model import resampling
from headstart.model.inputs import Loader, packed, standardised, turned
from headstart.model.precision import Format
from headstart.model.resampling import resized

FP32 = Format("cpu", "fp32")
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SIZE = 48


def spec(interpolation: str = "bicubic", statistics: tuple[tuple[float, ...], ...] = IMAGENET) -> Preprocess:
    mean, std = statistics
    return Preprocess(SIZE, 56, interpolation, mean, std)  # type: ignore[arg-type]


def photo(height: int, width: int, seed: int = 0) -> Pixels:
    """Smooth, with edges and some noise, as pictures are."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (max(2, height // 8), max(2, width // 8), 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    noisy = smooth.astype(int) + rng.integers(-6, 7, smooth.shape)
    noisy[height // 3 : height // 2] = rng.integers(0, 256, 3)
    return noisy.clip(0, 255).astype(np.uint8)


# --- standardising -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statistics", [IMAGENET, ((0.5,) * 3, (0.5,) * 3), ((0.1, 0.9, 0.3), (1.0, 0.3, 7.7))]
)
def test_every_grey_level_is_standardised_to_the_bit(statistics: tuple[tuple[float, ...], ...]) -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, -1)
    found = standardised(torch.from_numpy(levels).permute(0, 3, 1, 2).float(), spec(statistics=statistics))
    assert np.array_equal(found.numpy(), spec(statistics=statistics).normalize(levels))


# --- resizing ------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    sides=st.lists(st.tuples(st.integers(1, 130), st.integers(1, 130)), min_size=1, max_size=4),
    interpolation=st.sampled_from(["bilinear", "bicubic"]),
    seed=st.integers(0, 9),
)
def test_crops_of_any_sizes_are_resized_as_by_pillows_two_passes(
    sides: list[tuple[int, int]], interpolation: str, seed: int
) -> None:
    crops = [photo(height, width, seed + i) for i, (height, width) in enumerate(sides)]
    batch = packed([Cut(crop) for crop in crops])
    found = resized(batch.pixels, batch.sides, SIZE, interpolation).permute(0, 2, 3, 1).numpy()
    assert found.shape == (len(sides), SIZE, SIZE, 3)
    for ours, crop in zip(found, crops, strict=True):
        across = Image.fromarray(crop).resize((SIZE, crop.shape[0]), RESAMPLING[interpolation])
        theirs = np.asarray(across.resize((SIZE, SIZE), RESAMPLING[interpolation]))
        apart = np.abs(ours - theirs.astype(np.float32))
        assert apart.max() <= 2  # a tie that is rounded the other way, in both passes
        assert (apart > 0).mean() < 0.1
        at_once = np.asarray(Image.fromarray(crop).resize((SIZE, SIZE), RESAMPLING[interpolation]))
        assert np.abs(ours - at_once.astype(np.float32)).mean() < 0.5  # which may begin with the other one


def test_what_lies_beside_a_crop_is_never_seen() -> None:
    crops = [photo(20, 90), photo(90, 20), photo(33, 33)]
    batch = packed([Cut(crop) for crop in crops])
    other = batch.pixels.clone()
    for picture, (height, width) in zip(other, batch.sides, strict=True):
        picture[height:] = 255
        picture[:, width:] = 0
    one, two = (resized(pixels, batch.sides, SIZE, "bicubic") for pixels in (batch.pixels, other))
    assert torch.equal(one, two)


def test_memory_is_bounded_by_resizing_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = packed([Cut(photo(30 + i, 60 - i, i)) for i in range(7)])
    whole = resized(batch.pixels, batch.sides, SIZE, "bilinear")
    monkeypatch.setattr(resampling, "AT_A_TIME", 3)
    assert torch.equal(resized(batch.pixels, batch.sides, SIZE, "bilinear"), whole)


def test_turning_is_numpys() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (8, SIZE, SIZE, 3), dtype=np.uint8)
    ways = list(itertools.product((False, True), range(4)))
    mirrored, turns = np.array([m for m, _ in ways]), np.array([t for _, t in ways])
    found = turned(torch.from_numpy(pictures).permute(0, 3, 1, 2), mirrored, turns).permute(0, 2, 3, 1)
    for ours, picture, (mirror, turn) in zip(found.numpy(), pictures, ways, strict=True):
        assert np.array_equal(ours, np.rot90(picture[:, ::-1] if mirror else picture, turn))


# --- whole views ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("augmentation", AUGMENTATIONS.values(), ids=lambda a: a.name)
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_random_view_is_the_same_on_both_ways(augmentation: Augmentation, interpolation: str) -> None:
    """The same part of the picture, turned the same way: a pixel beside it would differ by far more."""
    pictures = [
        photo(*sides, seed=i) for i, sides in enumerate([(56, 75), (75, 56), (56, 200), (40, 40)] * 3)
    ]
    chance = [{"seed": 3, "epoch": 2, "sample_id": f"picture {i}"} for i in range(len(pictures))]
    preprocess = spec(interpolation)

    def by_pillow(i: int) -> Pixels:
        return augment(pictures[i], SIZE, augmentation, interpolation=interpolation, **chance[i])  # type: ignore[arg-type]

    def in_part(i: int) -> Cut:
        return cut(pictures[i], SIZE, augmentation, **chance[i])  # type: ignore[arg-type]

    groups = [range(5), range(5, 12)]
    theirs = torch.cat(list(Loader(preprocess, FP32, 2).batches(by_pillow, groups)))
    ours = torch.cat(list(Loader(preprocess, FP32, 2, on_device=True).batches(in_part, groups)))
    std = torch.tensor(preprocess.std)[:, None, None]
    apart = ((ours - theirs) * std * 255).abs()
    if augmentation.scale is None:
        assert torch.equal(ours, theirs)
    assert apart.quantile(0.999) <= 2.001  # more only where bicubic overshoots at an edge and is clipped
    assert apart.mean() < 0.35


# --- batches -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("on_device", [False, True])
@pytest.mark.parametrize("groups", [[], [[]], [[3]], [[0, 1, 2], [], [5, 4]], [range(12), range(12, 15)]])
@pytest.mark.parametrize("workers", [1, 3])
def test_evaluation_views_are_equal_to_the_bit(
    groups: Sequence[Sequence[int]], on_device: bool, workers: int
) -> None:
    pictures = [photo(SIZE, SIZE, i) for i in range(15)]
    loader = Loader(spec(), FP32, workers, on_device=on_device)
    batches = list(loader.batches(lambda i: pictures[i], groups))
    assert [len(batch) for batch in batches] == [len(group) for group in groups]
    for batch, group in zip(batches, groups, strict=True):
        assert batch.shape[1:] == (3, SIZE, SIZE) and batch.dtype == torch.float32
        assert batch.is_contiguous(memory_format=torch.channels_last)
        if len(group):
            expected = spec().normalize(np.stack([pictures[i] for i in group]))
            assert np.array_equal(batch.numpy(), expected)


@pytest.mark.parametrize("on_device", [False, True])
def test_a_short_batch_is_filled_with_zeros(on_device: bool) -> None:
    loader = Loader(spec(), FP32, 1, on_device=on_device)
    (batch,) = loader.batches(lambda i: photo(SIZE, SIZE, i), [[0, 1, 2]], size=5)
    assert len(batch) == 5
    assert not batch[3:].any() and batch[:3].any()
    assert batch.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("on_device", [False, True])
@pytest.mark.parametrize("size", [2, 40])
def test_a_picture_that_cannot_be_read_ends_it_at_its_place(on_device: bool, size: int) -> None:
    def view(i: int) -> Pixels:
        if i >= size:
            raise OSError("gone")
        return photo(SIZE, SIZE, i)

    batches = Loader(spec(), FP32, 2, on_device=on_device).batches(view, [range(size), range(size, 2 * size)])
    assert len(next(batches)) == size
    with pytest.raises(OSError, match="gone"):
        next(batches)


def test_the_processor_is_no_accelerator() -> None:
    assert [Format(device, "fp32").accelerated for device in ("cpu", "cuda", "cuda:1", "mps")] == [
        False,
        True,
        True,
        True,
    ]
    assert not Loader(spec(), FP32, 1).on_device
    assert Loader(spec(), Format("mps", "fp32"), 1).on_device
