"""What is kept of a picture: its perceptual hash is pHash, and stays near through what copies go through."""

from __future__ import annotations

import io
from pathlib import Path

import imagehash
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter

from headstart.data.facts import LOOK_BYTES, SIDE, FactsColumns, PictureFacts, facts_of, look_of


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


def bits(a: Image.Image, b: Image.Image) -> int:
    one, other = FactsColumns(facts_of(image, "PNG", "RGB") for image in (a, b)).looks()
    return int(np.bitwise_count(one ^ other).sum())


@pytest.mark.parametrize("seed", range(5))
def test_the_hash_is_phash(seed: int) -> None:
    grey = photo(seed, (SIDE, SIDE)).convert("L")
    ours = np.unpackbits(np.frombuffer(bytes.fromhex(look_of(np.asarray(grey, np.float32))), np.uint8))
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
    facts = facts_of(Image.new("RGB", (300, 20), (200, 100, 50)), "JPEG", "CMYK")
    assert facts[:4] == ("JPEG", "CMYK", 300, 20)
    assert facts.colour == pytest.approx((200, 100, 50), abs=0.1) and facts.contrast == 0
    columns = FactsColumns([facts, facts])
    assert columns[1] == facts and columns.looks().shape == (2, LOOK_BYTES)
    assert PictureFacts.from_list(list(facts)) == facts
    halves = Image.new("L", (64, 64), 0)
    halves.paste(200, (0, 0, 32, 64))
    assert facts_of(halves.convert("RGB"), "PNG", "L").contrast == pytest.approx(100, abs=0.5)


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (3000, 2), (127, 129)])
def test_any_size_has_facts(size: tuple[int, int]) -> None:
    facts = facts_of(Image.new("RGB", size, "red"), "PNG", "RGB")
    assert (facts.width, facts.height) == size and len(facts.look) == 2 * LOOK_BYTES


def test_equal_pixels_have_equal_looks(tmp_path: Path) -> None:
    picture = photo(3)
    picture.save(tmp_path / "a.png")
    picture.save(tmp_path / "b.bmp")
    one, other = (facts_of(Image.open(tmp_path / name).convert("RGB"), "", "") for name in ("a.png", "b.bmp"))
    assert one == other
