"""What is kept of a picture: its perceptual hash is pHash, and stays near through what copies go through."""

from __future__ import annotations

import io
from pathlib import Path

import imagehash
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter

from headstart.data.facts import (
    LOOK_BYTES,
    SIDE,
    TOGETHER,
    FactsColumns,
    PictureFacts,
    facts_of,
    looks_of,
    sample_of,
)


def photo(seed: int, size: tuple[int, int] = (200, 160)) -> Image.Image:
    """Something with structure at several scales, as photos have."""
    rng = np.random.default_rng(seed)
    layers = [
        np.asarray(
            Image.fromarray(rng.integers(0, 256, (n, n, 3), dtype=np.uint8)).resize(size, 3), np.float64
        )
        for n in (3, 6, 12)
    ]
    return Image.fromarray(np.clip(sum(layers) / 3, 0, 255).astype(np.uint8))


def facts(image: Image.Image, name: str = "PNG", mode: str = "RGB") -> PictureFacts:
    return facts_of([sample_of(image, name, mode)])[0]


def bits(a: Image.Image, b: Image.Image) -> int:
    one, other = FactsColumns(map(facts, (a, b))).looks()
    return int(np.bitwise_count(one ^ other).sum())


@pytest.mark.parametrize("seed", range(5))
def test_the_hash_is_phash(seed: int) -> None:
    grey = photo(seed, (SIDE, SIDE)).convert("L")
    ours = np.unpackbits(looks_of(np.asarray(grey, np.float32)[None])[0])
    theirs = imagehash.phash(grey, hash_size=16).hash.ravel()
    # a frequency that lies on the median may fall to either side
    assert np.sum(ours.astype(bool) != theirs) <= 2


def test_copies_are_near_and_others_far() -> None:
    picture = photo(1)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=60)
    copies = {
        "recompressed": Image.open(file).convert("RGB"),
        "half the size": picture.resize((100, 80)),
        "another shape": picture.resize((224, 224)),
        "brighter": ImageEnhance.Brightness(picture).enhance(1.15),
        "softer": picture.filter(ImageFilter.GaussianBlur(1)),
    }
    assert {name: bits(picture, copy) <= 40 for name, copy in copies.items()} == dict.fromkeys(copies, True)
    assert min(bits(picture, photo(seed)) for seed in range(2, 12)) > 70


def test_facts_of_a_picture() -> None:
    strip = facts(Image.new("RGB", (300, 20), (200, 100, 50)), "JPEG", "CMYK")
    assert strip[:4] == ("JPEG", "CMYK", 300, 20)
    assert strip.colour == pytest.approx((200, 100, 50), abs=0.1) and strip.contrast == 0
    columns = FactsColumns([strip, strip])
    assert columns[1] == strip and columns.looks().shape == (2, LOOK_BYTES)
    assert PictureFacts.from_list(list(strip)) == strip
    halves = Image.new("L", (64, 64), 0)
    halves.paste(200, (0, 0, 32, 64))
    assert facts(halves.convert("RGB"), "PNG", "L").contrast == pytest.approx(100, abs=0.5)


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (3000, 2), (127, 129)])
def test_any_size_has_facts(size: tuple[int, int]) -> None:
    red = facts(Image.new("RGB", size, "red"))
    assert (red.width, red.height) == size and len(red.look) == 2 * LOOK_BYTES


def test_equal_pixels_have_equal_looks(tmp_path: Path) -> None:
    picture = photo(3)
    picture.save(tmp_path / "a.png")
    picture.save(tmp_path / "b.bmp")
    one, other = (facts(Image.open(tmp_path / name).convert("RGB")) for name in ("a.png", "b.bmp"))
    assert one == other


def test_facts_do_not_depend_on_the_pictures_beside() -> None:
    samples = [sample_of(photo(seed), "PNG", "RGB") for seed in range(2 * TOGETHER + 1)]
    alone = [facts_of([sample])[0] for sample in samples]
    assert facts_of(samples) == alone and len({item.look for item in alone}) == len(samples)
    assert facts_of(samples[::-1]) == alone[::-1] and facts_of([]) == []
